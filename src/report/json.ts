/** A report as JSON; the schemas are `schemas/replay.schema.json` and `schemas/capacity.schema.json`. */
import type { CapacityReport } from './capacity-types.ts'
import { conclusionsOf } from './conclusion.ts'
import type { ThresholdMatch, ThresholdResult } from './threshold.ts'
import type { ReplayReport } from './types.ts'

/** How a threshold came out. */
export interface ThresholdReport {
  /** As it was given. */
  readonly threshold: string
  readonly pass: boolean
  /** Every number that it is about; never empty. */
  readonly matches: readonly ThresholdMatch[]
}

/** What the draws are summed up to stays, they themselves do not. */
function withoutDraws(report: ReplayReport): ReplayReport {
  if (report.draws === null) return report
  const { each: _, ...draws } = report.draws
  return { ...report, draws }
}

/**
 * With what the runs come to (`conclusion`) and how thresholds came out (`thresholds`). Two-space indent, `schemaVersion`
 * first, lists of numbers on one line each, a newline at the end.
 */
export function renderJson(report: ReplayReport | CapacityReport, results: readonly ThresholdResult[] = []): string {
  const { schemaVersion, kind, ...rest } = report.kind === 'replay' ? withoutDraws(report) : report
  const conclusion = report.kind === 'replay' ? { conclusion: conclusionsOf(report) } : {}
  const thresholds = results.map(
    ({ threshold, pass, matches }): ThresholdReport => ({ threshold: threshold.text, pass, matches }),
  )
  const text = JSON.stringify({ schemaVersion, kind, ...conclusion, thresholds, ...rest }, null, 2)
  return `${text.replace(NUMBER_LIST, (list) => list.replace(/\s+/g, ' '))}\n`
}

/** A list of numbers (and null), each on a line of its own. Within a string there is no line break. */
const NUMBER_LIST = /\[\n(?:\s+(?:-?\d[\d.e+-]*|null),?\n)+\s+\]/g
