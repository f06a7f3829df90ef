/** `dpemu help metrics`: every figure that thresholds, objectives and columns may name, with its unit. */

import { CAPACITY_SUBJECT, OBJECTIVE_SUBJECT } from '../report/capacity-fields.ts'
import { type Metric, metricsOf } from '../report/metrics.ts'
import { REPLAY_SUBJECT, type Subject } from '../report/threshold.ts'

const KINDS: readonly (readonly [title: string, subject: Subject])[] = [
  ['replay --threshold', REPLAY_SUBJECT],
  ['capacity --threshold', CAPACITY_SUBJECT],
  ['capacity --objective and --columns', OBJECTIVE_SUBJECT],
]

export function metricsHelp(): string {
  const blocks = KINDS.map(([title, subject]) => {
    const metrics = metricsOf(subject)
    const width = Math.max(...metrics.map(({ path }) => path.length))
    return [`${title}: for example ${subject.example}`, ...metrics.map((metric) => `  ${line(metric, width)}`)].join(
      '\n',
    )
  })
  return `${[...blocks, NOTES].join('\n\n')}\n`
}

const NOTES = `With --seeds or --placements runs are medians; draws.least and draws.most have every figure of runs as well: draws.most[policy=local].connections.failed.
[*] is all elements of a list, [0] the first, [key=value] those that have it. A name that a run decides stands as NAME.
Short forms: local.p99 is runs[policy=local].pathLatencyMicros.packet.p99, and so with cluster, mean, p50, p90, p95, p999 and max.
The right side may be a number with a unit, or another figure, with a factor if need be: local.p99 < 1.2 * cluster.p99`

function line({ path, unit }: Metric, width: number): string {
  return unit === '' ? path : `${path.padEnd(width)}  ${unit}`
}
