/**
 * The document that a run of the benchmarks makes, and its tables.
 *
 * Ratios are the medians of the ratios of the same round: both sides met the same machine, so they survive noise that
 * makes absolute figures worthless.
 */
import { execFileSync } from 'node:child_process'
import { cpus, loadavg, totalmem } from 'node:os'
import { type Measurement, median as medianOf } from './measure.ts'
import type { ReplayMeasurement } from './replay.ts'
import type { Row, SizeName } from './rows.ts'
import { renderTable } from './table.ts'

export interface BenchDocument {
  readonly schemaVersion: 1
  readonly kind: 'bench'
  readonly machine: {
    readonly cpu: string
    readonly cpus: number
    readonly memoryBytes: number
    readonly platform: string
    /** Processes that wanted a CPU when the measurement began, over the last minute. */
    readonly loadAverage: number
  }
  readonly node: string
  readonly v8: string
  /** Commit, with `+` where the tree had changes; null outside a repository. */
  readonly revision: string | null
  /** What was typed to measure it. */
  readonly command: string
  readonly rows: RowResult[]
  readonly ratios: RatioResult[]
  readonly replay: ReplayMeasurement[]
}

export interface RowResult {
  readonly row: string
  readonly size: string
  readonly skew: string
  readonly variant: string
  readonly unit: string
  readonly harness: string
  /** ns an operation: best round, median round, all rounds. */
  readonly min: number
  readonly median: number
  readonly rounds: readonly number[]
  /** Million a second at the best round, and the target where there is one. */
  readonly millions: number
  readonly targetMillions: number | null
}

export interface RatioResult {
  readonly row: string
  readonly size: string
  readonly skew: string
  /** `map`: how many times the Map's speed. `floor`: how many times the time of bare memory reads. */
  readonly against: 'map' | 'floor'
  readonly ratio: number
  readonly target: number | null
}

/** @param args  of the command line */
export function createDocument(root: string, args: readonly string[]): BenchDocument {
  return {
    schemaVersion: 1,
    kind: 'bench',
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cpus: cpus().length,
      memoryBytes: totalmem(),
      platform: `${process.platform} ${process.arch}`,
      loadAverage: loadavg()[0] ?? 0,
    },
    node: process.version,
    v8: process.versions.v8,
    revision: revisionOf(root),
    command: commandOf(args),
    rows: [],
    ratios: [],
    replay: [],
  }
}

/** To be typed again: where the document went is left out, and what a shell would take for its own is quoted. */
function commandOf(args: readonly string[]): string {
  const kept = args.filter((arg, i) => !arg.startsWith('--json') && args[i - 1] !== '--json')
  return ['npm run bench --', ...kept.map((arg) => (/^[\w.,=-]+$/.test(arg) ? arg : `'${arg}'`))].join(' ')
}

function revisionOf(root: string): string | null {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain') === '' ? '' : '+'}`
  } catch {
    // No repository, or no git: the figures stand without.
    return null
  }
}

/** Takes the measurements of one row, size and popularity into the document. */
export function addMeasurements(document: BenchDocument, row: Row, measured: readonly Measurement[]): void {
  const core = measured.find(({ spec }) => spec.variant === 'core')
  for (const { spec, rounds, min, median } of measured) {
    const { size, skew, variant } = spec
    document.rows.push({
      row: row.name,
      size,
      skew,
      variant,
      unit: row.unit,
      harness: row.harness,
      min,
      median,
      rounds,
      millions: 1000 / min,
      targetMillions: variant === 'core' ? (row.targetMillions?.[size] ?? null) : null,
    })
    if (variant === 'core' || core === undefined) continue
    const pairs = core.rounds.map((nanos, i) => (variant === 'map' ? rounds[i] / nanos : nanos / rounds[i]))
    document.ratios.push({
      row: row.name,
      size,
      skew,
      against: variant,
      ratio: medianOf(pairs),
      target: targetOf(row, variant, size),
    })
  }
}

function targetOf(row: Row, against: 'map' | 'floor', size: SizeName): number | null {
  return (against === 'map' ? row.targetMap : row.targetFloor)?.[size] ?? null
}

/** Whether a ratio reaches its target; true where there is none. */
export function meetsTarget({ against, ratio, target }: RatioResult): boolean {
  return target === null || (against === 'map' ? ratio >= target : ratio <= target)
}

const digits = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))

/** The tables, as plain text. */
export function renderTables(document: BenchDocument): string {
  const { machine, node, ratios, replay, revision, rows } = document
  const memory = (machine.memoryBytes / 2 ** 30).toFixed(0)
  const parts = [
    `${machine.cpu} × ${machine.cpus}, ${memory} GiB, ${machine.platform}, Node ${node}${revision === null ? '' : `, revision ${revision}`}`,
  ]
  if (rows.length > 0) {
    const head = ['row', 'size', 'popularity', 'subject', 'per', 'ns min', 'ns median', 'M/s', 'target']
    const cells = rows.map((one) => [
      one.row,
      one.size,
      one.skew,
      one.variant,
      one.unit,
      digits(one.min),
      digits(one.median),
      digits(one.millions),
      one.targetMillions === null ? '' : String(one.targetMillions),
    ])
    parts.push(renderTable(head, cells))
  }
  if (ratios.length > 0) {
    const cells = ratios.map((one) => [
      one.row,
      one.size,
      one.skew,
      one.against === 'map' ? 'times as fast as the Map' : 'times the time of the memory floor',
      one.ratio.toFixed(2),
      one.target === null ? '' : `${one.against === 'map' ? '≥' : '≤'} ${one.target}`,
      one.target === null ? '' : meetsTarget(one) ? 'met' : 'missed',
    ])
    parts.push(renderTable(['row', 'size', 'popularity', 'ratio', 'value', 'target', ''], cells))
    parts.push(
      'target: what this project holds itself to on its own machine; a miss is no failure. Failures are what --baseline finds.',
    )
  }
  if (replay.length > 0) {
    const head = ['replay', 'policy', 'workers', 'packets', 's min', 's median', 'M packets/s', 'in the engine']
    const cells = replay.map((one) => [
      one.trace,
      one.policy,
      String(one.workers),
      String(one.packets),
      one.min.toFixed(2),
      one.median.toFixed(2),
      digits(one.packets / one.min / 1e6),
      digits(one.engineMillions),
    ])
    parts.push(renderTable(head, cells))
  }
  return `${parts.join('\n\n')}\n`
}
