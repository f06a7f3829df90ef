/** Series over virtual time under one cursor and one zoom: what was offered and what became of it, latency, and the nodes. */
import type { ReplayPage } from '../../src/report/html/page-data.ts'
import type { RunReport, SeriesReport } from '../../src/report/types.ts'
import { formatCount, formatMicros, formatPercent } from '../../src/report/units.ts'
import { newGroup, zoomTo } from '../charts/group.ts'
import { type Line, lineChart } from '../charts/line.ts'
import { chooser, h } from '../dom.ts'
import { numbers } from '../table.ts'
import { SOURCE_PORTS } from './nodes.ts'
import { changing, grid, type Part, part, rateText, timeText, titled } from './section.ts'
import { servicesByWeight } from './shares.ts'

type Values = readonly (number | null)[]
type Series = SeriesReport

export function overTimePart({ report, runNames }: ReplayPage): Part | null {
  const { runs, changes, draws } = report
  const known = runs.flatMap((run, index) =>
    run.series == null ? [] : [{ series: run.series, index, name: runNames[index]!, run }],
  )
  if (known.length === 0)
    return part(
      'time',
      'Over time',
      '',
      h('p', {}, 'This report has no series over time (--no-series, or a report of an older version).'),
    )
  const group = newGroup()
  const marks = changes.map((at) => ({ at, text: 'the cluster changes' }))
  const format = timeText
  const binSeconds = known[0]!.series.binSeconds
  const x = {
    title: 'time from the start of the trace',
    format,
    from: 0,
    to: binSeconds * known[0]!.series.offered.packets.length,
  }
  /** Starts of bins, and the end of the last. */
  const edges = (values: Values, seconds: number): number[] =>
    [...values.keys(), values.length].map((bin) => bin * seconds)
  /** One line a run and part; a bin holds until the next. */
  const chart = (
    title: string,
    parts: readonly (readonly [name: string, of: (series: Series) => Values | undefined])[],
    yFormat: (value: number) => string,
    options: {
      readonly rate?: boolean
      readonly to?: number
      readonly limits?: readonly { readonly value: number; readonly text: string }[]
    } = {},
  ): HTMLElement | null => {
    const lines = known.flatMap(({ series, index, name }): Line[] =>
      parts.flatMap(([word, of], p) => {
        const values = of(series)
        if (values === undefined || (p > 0 && values.every((value) => value === null || value === 0))) return []
        const scaled =
          options.rate === true ? values.map((value) => (value === null ? null : value / series.binSeconds)) : values
        const label = [parts.length > 1 ? word : '', known.length > 1 || parts.length === 1 ? name : '']
          .filter((text) => text !== '')
          .join(', ')
        return [
          {
            name: label,
            index: parts.length > 1 ? p * known.length + index : index,
            x: edges(values, series.binSeconds),
            y: scaled,
          },
        ]
      }),
    )
    if (lines.every(({ y }) => Array.from(y).every((value) => value === null || value === 0))) return null
    return titled(
      title,
      lineChart({
        label: `${title} over time`,
        lines,
        x,
        y: { title: '', format: yFormat, ...(options.to === undefined ? {} : { to: options.to }) },
        steps: true,
        marks,
        group,
        height: 190,
        ...(options.limits === undefined ? {} : { limits: options.limits }),
      }),
    )
  }
  const keysOf = (of: (series: Series) => Readonly<Record<string, Values>>): string[] =>
    [...new Set(known.flatMap(({ series }) => Object.keys(of(series))))].sort()

  const nodeNames = [...new Set(known.flatMap(({ series }) => series.nodes.map(({ node }) => node)))]
  let node = -1
  const nodes = changing(() => {
    const of =
      (key: 'conntrackEntries' | 'sourcePorts' | 'affinityEntries' | 'cpuUtilization') =>
      (series: Series): Values | undefined =>
        node < 0
          ? highest(series.nodes.map((one) => one[key]))
          : series.nodes.find((one) => one.node === nodeNames[node])?.[key]
    const maxima = new Set(
      runs.flatMap((run) =>
        run.nodes.filter((one) => node < 0 || one.node === nodeNames[node]).map(({ conntrackMax }) => conntrackMax),
      ),
    )
    const which = node < 0 ? 'of the node with most' : ''
    return [
      grid(
        chart(`Conntrack entries ${which}`, [['', of('conntrackEntries')]], formatCount, {
          limits: [...maxima].slice(0, 3).map((value) => ({ value, text: `full: ${formatCount(value)}` })),
        }),
        chart(`Source ports in use ${which}`, [['', of('sourcePorts')]], formatCount, {
          limits: [{ value: SOURCE_PORTS, text: `all: ${formatCount(SOURCE_PORTS)}` }],
        }),
        chart(`CPU time on packets ${which}`, [['', of('cpuUtilization')]], formatPercent, {
          limits: [{ value: 1, text: 'all cores busy' }],
        }),
        chart(`Affinity entries ${which}`, [['', of('affinityEntries')]], formatCount),
      ),
    ]
  })
  const followed = new Set(known.flatMap(({ series }) => series.endpoints.map(({ service }) => service)))
  const services = servicesByWeight(report).filter((service) => followed.has(service))
  const content = [
    grid(
      chart('Connections established', [['established', ({ delivered }) => delivered.connections]], rateText, {
        rate: true,
      }),
      known.every(({ series: { offered, delivered } }) => String(offered.connections) === String(delivered.connections))
        ? null
        : chart('Connections attempted', [['attempted', ({ offered }) => offered.connections]], rateText, {
            rate: true,
          }),
      chart(
        'Connections failed or broken',
        [
          ['failed', ({ failedConnections }) => failedConnections],
          ['broken', ({ brokenConnections }) => brokenConnections],
        ],
        rateText,
        { rate: true },
      ),
      chart('Packets delivered', [['delivered', ({ delivered }) => delivered.packets]], rateText, { rate: true }),
      chart('Path latency p50', [['p50', ({ pathLatencyMicros }) => pathLatencyMicros.p50]], formatMicros),
      chart('Path latency p99', [['p99', ({ pathLatencyMicros }) => pathLatencyMicros.p99]], formatMicros),
      ...keysOf(({ dropsByReason }) => dropsByReason).map((reason) =>
        chart(`Dropped: ${reason}`, [['', ({ dropsByReason }) => dropsByReason[reason]]], rateText, { rate: true }),
      ),
      ...keysOf(({ requestsByStatus }) => requestsByStatus).map((status) =>
        chart(`Requests answered ${status}`, [['', ({ requestsByStatus }) => requestsByStatus[status]]], rateText, {
          rate: true,
        }),
      ),
      chart('DNS queries', [['', ({ dnsQueries }) => dnsQueries]], rateText, { rate: true }),
    ),
    nodeNames.length === 0
      ? null
      : h(
          'div',
          { class: 'choices' },
          chooser('Nodes', ['the highest of all', ...nodeNames], (index) => {
            node = index - 1
            nodes.redraw()
          }),
        ),
    nodes.element,
    ...services.slice(0, 1).map(() => endpointsOverTime(services, known, x, group)),
    numbers(
      'series of the runs',
      [
        { head: 'run', value: ({ run }: Row) => run },
        { head: 'from', value: ({ at }) => at, text: ({ at }) => format(at) },
        ...COLUMNS.map(({ head, of, text }) => ({
          head,
          value: ({ series, bin }: Row) => of(series)[bin] ?? null,
          text: ({ series, bin }: Row) => (of(series)[bin] == null ? 'none' : text(of(series)[bin]!)),
        })),
      ],
      known.flatMap(({ series, name }) =>
        series.offered.packets.map((_, bin) => ({ run: name, at: bin * series.binSeconds, bin, series })),
      ),
    ),
  ]
  const tools = h(
    'div',
    { class: 'choices' },
    h('button', { type: 'button', onclick: () => zoomTo(group, null) }, 'Show all of the time'),
  )
  const leftOut = Math.max(...known.map(({ series }) => series.nodesLeftOut))
  const of = `${draws === null ? '' : ' Of several draws it is the first.'}${leftOut === 0 ? '' : ` ${formatCount(leftOut)} nodes, those furthest from their limits, are left out.`}`
  return part(
    'time',
    'Over time',
    `In steps of ${format(binSeconds)} of the trace; one cursor goes through all charts. Draw over a part to zoom into it.${of}`,
    tools,
    ...content,
  )
}

interface Row {
  readonly run: string
  readonly at: number
  readonly bin: number
  readonly series: Series
}

const COLUMNS: readonly {
  readonly head: string
  readonly of: (series: Series) => Values
  readonly text: (value: number) => string
}[] = [
  { head: 'attempted', of: ({ offered }) => offered.connections, text: formatCount },
  { head: 'established', of: ({ delivered }) => delivered.connections, text: formatCount },
  { head: 'failed', of: ({ failedConnections }) => failedConnections, text: formatCount },
  { head: 'packets offered', of: ({ offered }) => offered.packets, text: formatCount },
  { head: 'packets delivered', of: ({ delivered }) => delivered.packets, text: formatCount },
  { head: 'p50', of: ({ pathLatencyMicros }) => pathLatencyMicros.p50, text: formatMicros },
  { head: 'p99', of: ({ pathLatencyMicros }) => pathLatencyMicros.p99, text: formatMicros },
]

const MOST_LINES = 6

function endpointsOverTime(
  services: readonly string[],
  known: readonly { readonly series: Series; readonly index: number; readonly name: string; readonly run: RunReport }[],
  x: { readonly title: string; readonly format: (value: number) => string; readonly from: number; readonly to: number },
  group: ReturnType<typeof newGroup>,
): HTMLElement {
  let chosen = 0
  const view = changing(() => [
    grid(
      ...known.map(({ series, name, run }) => {
        const podOf = new Map(run.endpoints.map((one) => [`${one.service} ${one.endpoint}`, one.pod ?? one.endpoint]))
        const own = series.endpoints
          .filter(({ service }) => service === services[chosen])
          .map((one) => ({ ...one, total: one.connections.reduce((sum, count) => sum + count, 0) }))
          .sort((a, b) => b.total - a.total)
        const lines = own.slice(0, MOST_LINES).map(({ endpoint, connections }, index) => ({
          name: podOf.get(`${services[chosen]} ${endpoint}`) ?? endpoint,
          index,
          x: [...connections.keys(), connections.length].map((bin) => bin * series.binSeconds),
          y: [...connections, connections.at(-1) ?? 0].map((count) => count / series.binSeconds),
        }))
        const more = own.length > MOST_LINES ? ` (the ${MOST_LINES} with most of ${formatCount(own.length)})` : ''
        return titled(
          `Connections by endpoint, ${name}${more}`,
          lineChart({
            label: `Connections by endpoint over time, ${name}`,
            lines,
            x,
            y: { title: '', format: rateText },
            steps: true,
            group,
            height: 190,
          }),
        )
      }),
    ),
  ])
  const tools =
    services.length < 2
      ? null
      : h(
          'div',
          { class: 'choices' },
          chooser('Service port', services, (index) => {
            chosen = index
            view.redraw()
          }),
        )
  return h('div', {}, tools, view.element)
}

function highest(all: readonly Values[]): number[] | undefined {
  const [first] = all
  if (first === undefined) return undefined
  return first.map((_, bin) => Math.max(...all.map((values) => values[bin] ?? 0)))
}
