/** Every row of the core benchmarks: what is measured, at which sizes, against which peers, and what it should reach. */
import type { Skew } from './workload.ts'

export type Variant = 'core' | 'map' | 'floor'
export type SizeName = '1k' | '64k' | '1M' | '4M'

export const SIZES: Readonly<Record<SizeName, number>> = { '1k': 1000, '64k': 64_000, '1M': 1_000_000, '4M': 4_000_000 }
export const SIZE_NAMES = Object.keys(SIZES) as readonly SizeName[]
/** A Map of strings at four million entries takes minutes and gigabytes, and says nothing new. */
const MAP_LIMIT = SIZES['1M']

/** What one child process measures. */
export interface Spec {
  readonly row: string
  readonly variant: Variant
  readonly size: SizeName
  readonly skew: Skew
  readonly nodes: number
}

export interface Row {
  readonly name: string
  readonly unit: 'packet' | 'connection' | 'call' | 'entry'
  /** Where the time comes from: CPU time in windows, or benchmark.js. */
  readonly harness: 'windows' | 'benchmark.js'
  readonly sizes: readonly SizeName[]
  readonly skews: readonly Skew[]
  readonly variants: readonly Variant[]
  readonly nodes: number
  /** Million a second a core, by size. */
  readonly targetMillions?: Readonly<Partial<Record<SizeName, number>>>
  /** At least so many times the Map's speed. */
  readonly targetMap?: Readonly<Partial<Record<SizeName, number>>>
  /** At most so many times the memory floor's time. */
  readonly targetFloor?: Readonly<Partial<Record<SizeName, number>>>
}

const BOTH: readonly Variant[] = ['core', 'map']

export const ROWS: readonly Row[] = [
  {
    name: 'packet-step',
    unit: 'packet',
    harness: 'windows',
    sizes: SIZE_NAMES,
    skews: ['uniform', 'zipf'],
    variants: ['core', 'map', 'floor'],
    nodes: 1,
    targetMillions: { '1k': 24, '64k': 17, '1M': 13, '4M': 12 },
    targetMap: { '1k': 15, '64k': 30, '1M': 50 },
    targetFloor: { '1M': 3, '4M': 3 },
  },
  {
    name: 'packet-step-queued',
    unit: 'packet',
    harness: 'windows',
    sizes: SIZE_NAMES,
    skews: ['uniform'],
    variants: ['core', 'floor'],
    nodes: 1,
  },
  {
    name: 'packet-step-4-nodes',
    unit: 'packet',
    harness: 'windows',
    sizes: ['1k', '64k', '1M'],
    skews: ['uniform'],
    variants: ['core', 'floor'],
    nodes: 4,
  },
  {
    name: 'new-connections',
    unit: 'connection',
    harness: 'windows',
    sizes: SIZE_NAMES,
    skews: ['uniform'],
    variants: BOTH,
    nodes: 1,
    targetMillions: { '1M': 2 },
  },
  small('lookup-hit', SIZE_NAMES),
  small('lookup-miss', SIZE_NAMES),
  small('insert-remove', SIZE_NAMES),
  { ...small('expiry-sweep', SIZE_NAMES), unit: 'entry' },
  small('affinity-hit', ['64k']),
  small('affinity-renew', ['64k']),
  small('masquerade-port', ['64k']),
  small('endpoint-choice', ['1k']),
  small('histogram-record', ['1k']),
]

function small(name: string, sizes: readonly SizeName[]): Row {
  return { name, unit: 'call', harness: 'benchmark.js', sizes, skews: ['uniform'], variants: BOTH, nodes: 1 }
}

/** The children that a row needs at one size and popularity: the core first. */
export function specsOf(row: Row, size: SizeName, skew: Skew): Spec[] {
  return row.variants
    .filter((variant) => variant !== 'map' || SIZES[size] <= MAP_LIMIT)
    .map((variant) => ({ row: row.name, variant, size, skew, nodes: row.nodes }))
}
