/**
 * Figures side by side: what differs, the largest first.
 *
 * How large a difference is, is the change over the larger of the two values and a little more, the size from which such a figure
 * matters (ten of a count, a microsecond, a percentage point): so 1 → 3 lost packets do not stand above 10 ms → 20 ms. Of several
 * reports the one that differs most from the first decides.
 */
import { type Dimension, dimensionOf } from '../report/fields.ts'
import type { Figures } from './figures.ts'

export type Direction = 'worse' | 'better' | 'neutral'

export interface Difference {
  /** As expressions name it. */
  readonly path: string
  readonly dimension: Dimension
  /** In the order of the reports; null: nothing was recorded. */
  readonly values: readonly (number | null)[]
  /** Of each report against the first, as a part of the first's value; null for the first, and where there is no such part. */
  readonly relative: readonly (number | null)[]
  /** Of the report that differs most. */
  readonly direction: Direction
}

export interface Differences {
  /** Figures that all reports have. */
  readonly compared: number
  readonly differences: readonly Difference[]
  /** What only some reports have, and which: a run, an endpoint, a node. */
  readonly onlyIn: readonly { readonly what: string; readonly present: readonly boolean[] }[]
}

/** The size of a figure from which its changes matter. */
const MATTERS: Readonly<Record<Dimension, number>> = {
  micros: 1,
  nanos: 10,
  seconds: 0.01,
  bytes: 1000,
  fraction: 0.01,
  count: 10,
}

const LESS_IS_BETTER =
  /^(failed|broken|drop|reject|notSent|mean|p50|p90|p95|p99|p999|max|most|count|conntrackPeak|conntrackDrops|earlyDrops|snatPortsPeak|snatExhausted|cpuUtilization|cpuUtilizationPeak|podUtilization|backlogDrops|invalid|insertFailed|maxOverMean|mostOverFair|breaksEach|coefficientOfVariation|dropFraction|failedFraction|brokenFraction|conntrackFraction|snatFraction|cpuFraction|cpuPeakFraction|podFraction|lostFraction|p50Seconds|p95Seconds|unmatched|lost|staleAnswers|goneAddresses|withoutResolver|min|median|neededSeconds|leaves)$/
const MORE_IS_BETTER =
  /^(established|accept|clientIpPreservedFraction|xForwardedForClientFraction|reuseFraction|millions|engineMillions|timesScenario)$/
/** Lists and maps in which a number of connections or requests says nothing for better or worse. */
const NEUTRAL: ReadonlySet<string> = new Set(['offered', 'ratios'])

/** @param figures  of each report, the first of which the others are held against */
export function differencesOf(figures: readonly Figures[]): Differences {
  const paths = [...new Set(figures.flatMap(({ values }) => [...values.keys()]))]
  const differences: (Difference & { readonly size: number })[] = []
  const onlyIn = new Map<string, boolean[]>()
  let compared = 0
  for (const path of paths) {
    const values = figures.map((one) => valueIn(one, path))
    if (values.includes(undefined)) {
      const what = elementOf(path, figures)
      const present = figures.map((one, i) => values[i] !== undefined || hasElement(one, what))
      if (present.includes(false)) onlyIn.set(what, present)
      else
        onlyIn.set(
          path,
          values.map((value) => value !== undefined),
        )
      continue
    }
    compared++
    const known = values as (number | null)[]
    if (known.every((value) => value === known[0])) continue
    const fields = figures.find((one) => one.fields.has(path))!.fields.get(path)!
    const dimension = dimensionOf(fields)
    const sizes = known.map((value) => sizeOf(known[0]!, value, dimension))
    const size = Math.max(...sizes)
    const most = known[sizes.indexOf(size)]!
    differences.push({
      path,
      dimension,
      values: known,
      relative: known.map((value, i) => (i === 0 ? null : relativeTo(known[0]!, value))),
      direction: directionOf(fields, known[0]!, most),
      size,
    })
  }
  return {
    compared,
    differences: differences
      .sort((a, b) => b.size - a.size || (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
      .map(({ size: _, ...difference }) => difference),
    onlyIn: [...onlyIn].map(([what, present]) => ({ what, present })),
  }
}

/** What a map of counts does not name is 0, where there is such a map. */
function valueIn({ values, maps }: Figures, path: string): number | null | undefined {
  const value = values.get(path)
  return value === undefined && maps.has(path.slice(0, path.lastIndexOf('.'))) ? 0 : value
}

/** The outermost element on the way to a figure that some report does not have. */
function elementOf(path: string, figures: readonly Figures[]): string {
  const ends = [...path.matchAll(/\](?=\.|$)/g)].map(({ index }) => path.slice(0, index + 1))
  const heads = [path.slice(0, path.indexOf('.')), ...ends].filter((head) => head !== '')
  return heads.find((head) => figures.some((one) => !hasElement(one, head))) ?? path
}

const elements = new WeakMap<Figures, ReadonlySet<string>>()

/** Whether a report has any figure below an element. */
function hasElement(figures: Figures, element: string): boolean {
  let known = elements.get(figures)
  if (known === undefined) {
    const all = new Set<string>()
    for (const path of figures.values.keys()) {
      all.add(path.slice(0, path.indexOf('.')))
      for (const { index } of path.matchAll(/\](?=\.|$)/g)) all.add(path.slice(0, index + 1))
    }
    known = all
    elements.set(figures, all)
  }
  return known.has(element)
}

/** 0..1. */
function sizeOf(base: number | null, value: number | null, dimension: Dimension): number {
  if (base === value) return 0
  if (base === null || value === null) return 1
  return Math.abs(value - base) / (Math.max(Math.abs(base), Math.abs(value)) + MATTERS[dimension])
}

function relativeTo(base: number | null, value: number | null): number | null {
  if (base === null || value === null) return null
  if (value === base) return 0
  return base === 0 ? null : (value - base) / Math.abs(base)
}

function directionOf(fields: readonly string[], base: number | null, value: number | null): Direction {
  const leaf = fields.at(-1)!
  if (base === value) return 'neutral'
  // Null is never.
  if (leaf === 'conntrackFirstDropSeconds')
    return (value ?? Number.POSITIVE_INFINITY) < (base ?? Number.POSITIVE_INFINITY) ? 'worse' : 'better'
  const inMap = fields.at(-2) === 'drops' || (fields.at(-2) === 'byStatus' && /^5/.test(leaf))
  const less = inMap || (LESS_IS_BETTER.test(leaf) && !isNeutral(fields))
  const delivered =
    fields.at(-2) === 'delivered' || (fields.at(-2) === 'knee' && leaf.startsWith('connectionsPerSecond'))
  const more = delivered || (MORE_IS_BETTER.test(leaf) && !isNeutral(fields))
  if (!less && !more) return 'neutral'
  // Nothing to measure where there was something: nothing came through.
  if (value === null) return 'worse'
  if (base === null) return 'better'
  return value > base === less ? 'worse' : 'better'
}

function isNeutral(fields: readonly string[]): boolean {
  return fields.some((field) => NEUTRAL.has(field))
}
