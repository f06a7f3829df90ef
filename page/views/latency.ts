/** Whole distributions of latency, as the part of packets that took at most so long, or longer. */

import type { ReplayPage } from '../../src/report/html/page-data.ts'
import type { LatencyHistogram, LatencySummary, RunReport } from '../../src/report/types.ts'
import { formatCount, formatMicros, formatPercent } from '../../src/report/units.ts'
import { type Line, lineChart } from '../charts/line.ts'
import { chooser, h } from '../dom.ts'
import { numbers, table } from '../table.ts'
import { changing, type Part, part } from './section.ts'

type Kind = keyof RunReport['histograms']
const KINDS: readonly (readonly [Kind, string])[] = [
  ['packet', 'packets'],
  ['firstPacket', 'first packets'],
  ['connectionSetup', 'connection setup'],
  ['request', 'requests, served'],
]
const POINTS = [
  ['mean', 'mean'],
  ['p50', 'p50'],
  ['p90', 'p90'],
  ['p95', 'p95'],
  ['p99', 'p99'],
  ['p999', 'p99.9'],
  ['max', 'max'],
] as const

export function latencyPart({ report: { runs }, runNames }: ReplayPage): Part | null {
  const histograms = (run: RunReport): Partial<Record<Kind, LatencyHistogram>> => run.histograms
  const kinds = KINDS.filter(([kind]) => runs.some((run) => (histograms(run)[kind]?.counts.length ?? 0) > 0))
  if (kinds.length === 0) return null
  let kind = 0
  let tail = false
  const view = changing(() => {
    const [key, word] = kinds[kind]!
    const lines = runs.map((run, index) => distribution(histograms(run)[key], runNames[index]!, index, tail))
    return [
      lineChart({
        label: `Distribution of path latency of ${word}, ${runNames.join(' and ')}`,
        lines,
        x: { title: `path latency of ${word} (model)`, format: formatMicros, log: true },
        y: tail
          ? { title: `part of ${word} that took longer`, format: small, log: true, to: 1 }
          : { title: `part of ${word} that took at most so long`, format: formatPercent, from: 0, to: 1 },
        height: 300,
        steps: false,
      }),
      numbers(
        `distribution of ${word}`,
        [
          { head: 'run', value: ({ run }: Bin) => run },
          { head: 'from', value: ({ from }) => from, text: ({ from }) => formatMicros(from) },
          { head: 'to below', value: ({ to }) => to, text: ({ to }) => formatMicros(to) },
          { head: word, value: ({ count }) => count, text: ({ count }) => formatCount(count) },
        ],
        runs.flatMap((run, index) => bins(histograms(run)[key], runNames[index]!)),
      ),
    ]
  })
  const tools = h(
    'div',
    { class: 'choices' },
    kinds.length < 2
      ? null
      : chooser(
          'of',
          kinds.map(([, word]) => word),
          (index) => {
            kind = index
            view.redraw()
          },
        ),
    chooser('as', ['at most so long', 'longer than (the tail)'], (index) => {
      tail = index === 1
      view.redraw()
    }),
  )
  return part(
    'latency',
    'Path latency (model)',
    'A line further to the left is faster. Draw over a part to see it larger; a double click shows all again.',
    tools,
    view.element,
    quantiles(runs, runNames),
    services(runs, runNames),
  )
}

interface Bin {
  readonly run: string
  readonly from: number
  readonly to: number
  readonly count: number
}

function bins(histogram: LatencyHistogram | undefined, run: string): Bin[] {
  if (histogram === undefined) return []
  return histogram.counts.map((count, i) => ({
    run,
    from: histogram.fromMicros[i]!,
    to: histogram.toMicros[i]!,
    count,
  }))
}

/** Straight between the edges of bins. */
export function distribution(
  histogram: LatencyHistogram | undefined,
  name: string,
  index: number,
  tail: boolean,
): Line {
  const { fromMicros, toMicros, counts } = histogram ?? { fromMicros: [], toMicros: [], counts: [] }
  const total = counts.reduce((sum, count) => sum + count, 0)
  const x: number[] = []
  const y: number[] = []
  let below = 0
  const push = (at: number): void => {
    // Of a logarithmic axis: what took no time is at its left end.
    x.push(Math.max(at, 0.01))
    y.push(tail ? (total - below) / total : below / total)
  }
  for (const [i, count] of counts.entries()) {
    if (x.length === 0 || fromMicros[i]! > x.at(-1)!) push(fromMicros[i]!)
    below += count
    push(toMicros[i]!)
  }
  return { name, index, x, y }
}

function small(fraction: number): string {
  return fraction > 0 && fraction < 0.001 ? `1 in ${formatCount(Math.round(1 / fraction))}` : formatPercent(fraction)
}

function quantiles(runs: readonly RunReport[], names: readonly string[]): HTMLElement {
  const kinds: [string, (run: RunReport) => LatencySummary][] = [
    ['packet', (run) => run.pathLatencyMicros.packet],
    ['first packet', (run) => run.pathLatencyMicros.firstPacket],
    ['connection setup', (run) => run.pathLatencyMicros.connectionSetup],
    ['request, served', (run) => run.requestLatencyMicros],
  ]
  const rows = kinds
    .filter(([, of]) => runs.some((run) => of(run).count > 0))
    .flatMap(([kind, of]) => runs.map((run, i) => ({ kind, run: names[i]!, summary: of(run) })))
  type Row = (typeof rows)[number]
  return table(
    'Path latency of all Services',
    [
      { head: 'of', value: ({ kind }: Row) => kind },
      { head: 'run', value: ({ run }) => run },
      { head: 'count', value: ({ summary }) => summary.count, text: ({ summary }) => formatCount(summary.count) },
      ...POINTS.map(([point, head]) => ({
        head,
        value: ({ summary }: Row) => (summary.count === 0 ? null : summary[point]),
        text: ({ summary }: Row) => (summary.count === 0 ? 'none' : formatMicros(summary[point])),
      })),
    ],
    rows,
  )
}

function services(runs: readonly RunReport[], names: readonly string[]): HTMLElement | null {
  const rows = runs.flatMap((run, index) =>
    run.services.map(({ service, pathLatencyMicros: { packet, connectionSetup } }) => ({
      run: names[index]!,
      service,
      packet,
      connectionSetup,
    })),
  )
  if (new Set(rows.map(({ service }) => service)).size < 2) return null
  type Row = (typeof rows)[number]
  const column = (
    head: string,
    of: (row: Row) => number | null,
  ): { head: string; value: (row: Row) => number | null; text: (row: Row) => string } => ({
    head,
    value: of,
    text: (row) => (of(row) === null ? 'none' : formatMicros(of(row)!)),
  })
  return table(
    'Path latency by Service',
    [
      { head: 'Service port', value: ({ service }: Row) => service },
      { head: 'run', value: ({ run }) => run },
      { head: 'packets', value: ({ packet }) => packet.count, text: ({ packet }) => formatCount(packet.count) },
      column('p50', ({ packet }) => (packet.count === 0 ? null : packet.p50)),
      column('p99', ({ packet }) => (packet.count === 0 ? null : packet.p99)),
      column('setup p99', (row) => (row.connectionSetup.count === 0 ? null : row.connectionSetup.p99)),
    ],
    [...rows].sort((a, b) => b.packet.count - a.packet.count),
  )
}
