/** Two or more reports of one kind as one document of what differs. Pure; its JSON is schemas/compare.schema.json. */
import type { Threshold } from '../report/threshold.ts'
import { type Circumstance, circumstancesOf } from './circumstances.ts'
import { type Difference, differencesOf } from './differences.ts'
import { type FailOn, judgeFailOn } from './fail-on.ts'
import { figuresOf } from './figures.ts'
import { type Compared, type Kind, ofOneKind } from './read.ts'

export interface Comparison {
  readonly schemaVersion: 1
  readonly kind: 'compare'
  /** Of the reports. */
  readonly of: Kind
  /** As they were given; the first is what the others are held against. */
  readonly reports: readonly string[]
  /** How `failOn` came out, in the order in which they were given. */
  readonly failOn: readonly FailOn[]
  /** What the reports were made from and with, where it is not the same. */
  readonly circumstances: readonly Circumstance[]
  /** Figures that all reports have. */
  readonly compared: number
  /** The largest first. */
  readonly differences: readonly Difference[]
  /** Runs, endpoints, nodes that only some reports have. */
  readonly onlyIn: readonly { readonly what: string; readonly present: readonly boolean[] }[]
}

/**
 * @throws UserError `E_REPORT` where there are not two at least or they are of several kinds; `E_THRESHOLD` where an expression chose
 *         nothing
 */
export function compareReports(reports: readonly Compared[], failOn: readonly Threshold[]): Comparison {
  const kind = ofOneKind(reports)
  return {
    schemaVersion: 1,
    kind: 'compare',
    of: kind,
    reports: reports.map(({ name }) => name),
    failOn: failOn.map((threshold) => judgeFailOn(threshold, reports)),
    circumstances: circumstancesOf(reports, kind),
    ...differencesOf(figuresOf(reports)),
  }
}
