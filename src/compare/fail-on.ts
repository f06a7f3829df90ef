/**
 * `--fail-on`: expressions over the later reports, with `base` for the same figure of the first one. The command fails where one holds
 * of any figure that it names.
 *
 *   local.connections.failed > base
 *   local.p99 > 1.1 * base
 *   nodes.conntrackPeak > 100k
 *
 * Invariant: nothing passes for want of data. Where a figure was measured on one side only, that counts as failing.
 */
import { CAPACITY_SUBJECT } from '../report/capacity-fields.ts'
import { againstBase, parseExpression, REPLAY_SUBJECT, type Subject, type Threshold } from '../report/threshold.ts'
import { ROLLOUT_SUBJECT } from '../rollout/report.ts'
import type { Compared, Kind } from './read.ts'

export interface FailOn {
  /** As it was given. */
  readonly expression: string
  readonly fails: boolean
  /** Every figure that it is about, report by report. */
  readonly matches: readonly FailOnMatch[]
}

export interface FailOnMatch {
  readonly report: string
  readonly path: string
  readonly value: number | null
  /** What it was held against, in the same unit. */
  readonly limit: number | null
  readonly fails: boolean
}

const BENCH_SHAPE = {
  rows: [{ row: '', size: '', skew: '', variant: '', unit: '', min: 0, median: 0, millions: 0 }],
  ratios: [{ row: '', size: '', skew: '', against: '', ratio: 0 }],
  replay: [{ trace: '', policy: '', workers: 0, packets: 0, min: 0, median: 0, engineMillions: 0 }],
}

const SUBJECTS: Readonly<Record<Kind, Subject>> = {
  replay: { ...REPLAY_SUBJECT, example: 'local.p99 > 1.1 * base' },
  capacity: { ...CAPACITY_SUBJECT, example: 'cells[policy=local].knee.connectionsPerSecond < 0.95 * base' },
  rollout: { ...ROLLOUT_SUBJECT, example: 'lost[policy=local].count > base' },
  bench: {
    flag: '',
    example: 'rows[row=packet-step,variant=core].min > 1.1 * base',
    what: 'a document of benchmarks',
    shape: BENCH_SHAPE,
    list: null,
  },
}

/** @throws UserError `E_THRESHOLD`, exit code 2: no expression, or about a figure that such reports do not have */
export function parseFailOn(text: string, kind: Kind): Threshold {
  return parseExpression(text, { ...SUBJECTS[kind], flag: '--fail-on', hasBase: true })
}

/** @throws UserError `E_THRESHOLD`, exit code 2, when a selector chose nothing in a report */
export function judgeFailOn(threshold: Threshold, [base, ...others]: readonly Compared[]): FailOn {
  const matches = others.flatMap(({ name, document }) =>
    againstBase(threshold, document, base!.document).map(({ path, value, limit, pass }): FailOnMatch => {
      const isOneSided = (value === null) !== (limit === null)
      return { report: name, path, value, limit, fails: pass || isOneSided }
    }),
  )
  return { expression: threshold.text, fails: matches.some(({ fails }) => fails), matches }
}
