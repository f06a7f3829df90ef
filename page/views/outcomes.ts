/** What the traffic came to: the runs side by side, and what was lost and why. */

import type { ReplayPage } from '../../src/report/html/page-data.ts'
import type { RunReport } from '../../src/report/types.ts'
import { formatBitRate, formatCount, formatMicros, formatPercent, formatRate } from '../../src/report/units.ts'
import { barChart } from '../charts/bars.ts'
import { h } from '../dom.ts'
import { runTable, table } from '../table.ts'
import { type Part, pair, part, titled } from './section.ts'

type Row = {
  readonly name: string
  readonly of: (run: RunReport) => number | null
  readonly text: (value: number) => string
  readonly bad?: boolean
}

const LATENCIES: readonly Row[] = [
  {
    name: 'path latency of packets, p50',
    of: ({ pathLatencyMicros: { packet } }) => (packet.count === 0 ? null : packet.p50),
    text: formatMicros,
  },
  {
    name: 'path latency of packets, p99',
    of: ({ pathLatencyMicros: { packet } }) => (packet.count === 0 ? null : packet.p99),
    text: formatMicros,
  },
]
const ROWS: readonly Row[] = [
  { name: 'connections attempted', of: ({ connections }) => connections.attempted, text: formatCount },
  { name: 'connections established', of: ({ connections }) => connections.established, text: formatCount },
  { name: 'connections failed', of: ({ connections }) => connections.failed, text: formatCount, bad: true },
  { name: 'connections broken later', of: ({ connections }) => connections.broken, text: formatCount, bad: true },
  {
    name: 'client address kept',
    of: ({ clientIpPreservedFraction }) => clientIpPreservedFraction,
    text: formatPercent,
  },
  { name: 'masqueraded', of: ({ masqueradedFraction }) => masqueradedFraction, text: formatPercent },
  { name: 'crossed nodes', of: ({ crossNodeFraction }) => crossNodeFraction, text: formatPercent },
  ...LATENCIES,
  { name: 'offered connections', of: ({ offered }) => offered.connectionsPerSecond, text: formatRate },
  { name: 'delivered connections', of: ({ delivered }) => delivered.connectionsPerSecond, text: formatRate },
  { name: 'offered packets', of: ({ offered }) => offered.packetsPerSecond, text: formatRate },
  { name: 'delivered packets', of: ({ delivered }) => delivered.packetsPerSecond, text: formatRate },
  { name: 'offered bandwidth', of: ({ offered }) => offered.bitsPerSecond, text: formatBitRate },
  { name: 'delivered bandwidth', of: ({ delivered }) => delivered.bitsPerSecond, text: formatBitRate },
  { name: 'packets accepted', of: ({ verdicts }) => verdicts.accept, text: formatCount },
  { name: 'packets dropped', of: ({ verdicts }) => verdicts.drop, text: formatCount, bad: true },
  { name: 'packets rejected', of: ({ verdicts }) => verdicts.reject, text: formatCount, bad: true },
  { name: 'packets never sent', of: ({ verdicts }) => verdicts.notSent, text: formatCount, bad: true },
]

export function outcomesPart({ report: { runs }, runNames }: ReplayPage): Part | null {
  const path = (['clientIpPreservedFraction', 'masqueradedFraction', 'crossNodeFraction'] as const).map((field, i) => ({
    name: ['client address kept', 'masqueraded', 'crossed nodes'][i]!,
    values: runs.map((run) => run[field]),
  }))
  return part(
    'runs',
    'Side by side',
    '',
    pair(
      titled(
        'Of established connections',
        barChart({
          label: 'What became of connections, by run',
          rows: path,
          runs: runNames,
          format: formatPercent,
          to: 1,
          noun: 'figures',
        }),
      ),
      runTable(
        'The runs',
        runNames,
        ROWS.map(({ of, ...row }) => ({ ...row, values: runs.map(of) })),
      ),
    ),
  )
}

export function dropsPart({ report: { runs }, runNames, reasons }: ReplayPage): Part | null {
  const total = new Map<string, number>()
  for (const { drops } of runs)
    for (const [reason, packets] of Object.entries(drops)) total.set(reason, (total.get(reason) ?? 0) + packets)
  const named = [...total]
    .filter(([, packets]) => packets > 0)
    .sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
    .map(([reason]) => reason)
  if (named.length === 0)
    return part('drops', 'Drops by reason', '', h('p', { class: 'good' }, '✓ No packet was dropped or rejected.'))
  return part(
    'drops',
    'Drops by reason',
    'Packets dropped or rejected.',
    barChart({
      label: 'Packets dropped or rejected, by reason',
      rows: named.map((name) => ({ name, values: runs.map(({ drops }) => drops[name] ?? 0) })),
      runs: runNames,
      format: formatCount,
      noun: 'reasons',
    }),
    table(
      'Drop reasons',
      [
        { head: 'reason', value: (reason: string) => reason },
        { head: 'what it means', value: (reason: string) => reasons[reason] ?? '' },
        ...runNames.map((run, i) => ({
          head: run,
          value: (reason: string) => runs[i]!.drops[reason] ?? 0,
          text: (reason: string) => formatCount(runs[i]!.drops[reason] ?? 0),
        })),
      ],
      named,
    ),
  )
}
