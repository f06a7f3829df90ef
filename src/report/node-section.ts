/**
 * What the traffic cost each node: a row a node and run, so that the runs of one node stand under each other.
 *
 * Columns that hold only zeros are left out, and the nodes that came nearest to their conntrack limit are shown.
 */
import type { Cell, Section } from './document.ts'
import { runNames } from './run-names.ts'
import type { NodeReport, ReplayReport } from './types.ts'
import { clipMiddle, countOf, formatCount, formatPercent, formatSeconds } from './units.ts'

const MAX_NODES = 12
const NODE_WIDTH = 24

interface Column {
  readonly head: string
  readonly always: boolean
  /** What decides whether the column is shown, and the tone of `bad` ones. */
  readonly value: (node: NodeReport) => number
  readonly text: (node: NodeReport) => string
  readonly bad: boolean
}

function counted(
  head: string,
  value: (node: NodeReport) => number,
  options: { always?: boolean; bad?: boolean } = {},
): Column {
  return {
    head,
    value,
    text: (node) => formatCount(value(node)),
    always: options.always ?? false,
    bad: options.bad ?? false,
  }
}

const COLUMNS: readonly Column[] = [
  counted('entered', (node) => node.connections, { always: true }),
  {
    head: 'conntrack peak / max',
    value: (node) => node.conntrackPeak,
    text: ({ conntrackPeak, conntrackMax }) =>
      `${formatCount(conntrackPeak)} / ${formatCount(conntrackMax)}${conntrackMax > 0 ? ` ${formatPercent(conntrackPeak / conntrackMax).padStart(7)}` : ''}`,
    always: true,
    bad: false,
  },
  {
    head: 'CPU mean / peak',
    value: (node) => node.cpuUtilizationPeak,
    text: ({ cpuUtilization, cpuUtilizationPeak }) =>
      `${formatPercent(cpuUtilization)} / ${formatPercent(cpuUtilizationPeak)}`,
    always: false,
    bad: false,
  },
  counted('backlog', (node) => node.backlogDrops, { bad: true }),
  counted('full', (node) => node.conntrackDrops, { bad: true }),
  counted('early drops', (node) => node.earlyDrops, { bad: true }),
  counted('source ports', (node) => node.snatPortsPeak),
  counted('exhausted', (node) => node.snatExhausted, { bad: true }),
  {
    head: 'affinity hit / miss',
    value: (node) => node.affinityHits + node.affinityMisses,
    text: ({ affinityHits, affinityMisses }) => `${formatCount(affinityHits)} / ${formatCount(affinityMisses)}`,
    always: false,
    bad: false,
  },
]

/** What the less plain column heads count; said only where the column is shown. */
const NOTES: Readonly<Record<string, string>> = {
  entered: 'entered: connections whose first packet met the dataplane on this node',
  'CPU mean / peak': 'CPU: time that packets take over what the cores have; peak is the busiest 256th of the run',
  backlog: 'backlog: packets dropped because a receive queue was full',
  full: 'full: new connections refused because the conntrack table was full',
  'early drops': 'early drops: unassured conntrack entries evicted to make room',
  'source ports': 'source ports: most in use at once for masquerading to one destination',
  exhausted: 'exhausted: connections that found no free source port',
}

export function nodeSection(report: ReplayReport): Section[] {
  const names = [...new Set(report.runs.flatMap((run) => run.nodes.map((node) => node.node)))]
  if (names.length === 0) return []
  const byRun = report.runs.map((run) => new Map(run.nodes.map((node) => [node.node, node])))
  const all = report.runs.flatMap((run) => run.nodes)
  const columns = COLUMNS.filter((column) => column.always || all.some((node) => column.value(node) > 0))
  const shown = nearestToLimit(names, byRun)
  const heads = runNames(report.runs)
  const rows = shown.flatMap((name) =>
    byRun.flatMap((nodes, run): Cell[][] => {
      const node = nodes.get(name)
      if (node === undefined) return []
      const cells = columns.map((column): Cell => {
        const text = column.text(node)
        return column.bad && column.value(node) > 0 ? { text, tone: 'bad' } : text
      })
      const label = run === 0 || report.runs.length === 1 ? clipMiddle(name, NODE_WIDTH) : ''
      return report.runs.length === 1 ? [[label, ...cells]] : [[label, heads[run]!, ...cells]]
    }),
  )
  const left = names.length - shown.length
  const lines: Cell[] = columns.flatMap((column) => {
    const note = NOTES[column.head]
    return note === undefined ? [] : [{ text: note, tone: 'quiet' as const }]
  })
  lines.unshift(...fullTables(report, shown))
  if (left > 0)
    lines.unshift({ text: `... and ${countOf(left, 'node')} with emptier tables (-o json has all)`, tone: 'quiet' })
  const runColumn = report.runs.length === 1 ? [] : ['run']
  return [
    {
      title: 'Nodes',
      lines,
      list: false,
      table: {
        head: ['node', ...runColumn, ...columns.map((column) => column.head)],
        align: ['left', ...runColumn.map(() => 'left' as const), ...columns.map(() => 'right' as const)],
        rows,
        runTable: false,
      },
    },
  ]
}

/** When a table was full first, and who held it then. */
function fullTables(report: ReplayReport, shown: readonly string[]): Cell[] {
  const heads = runNames(report.runs)
  return report.runs.flatMap((run, i) =>
    run.nodes.flatMap((node): Cell[] => {
      if (node.conntrackFirstDropSeconds === null || !shown.includes(node.node)) return []
      const where = report.runs.length === 1 ? node.node : `${node.node} under ${heads[i]}`
      const serviceEntries = node.conntrackHolders.map(({ service, share }) => `${service} ${formatPercent(share)}`)
      const when = formatSeconds(node.conntrackFirstDropSeconds)
      return [{ text: `${where}: conntrack table full at ${when}; held by ${serviceEntries.join(', ')}`, tone: 'bad' }]
    }),
  )
}

function nearestToLimit(
  names: readonly string[],
  byRun: readonly ReadonlyMap<string, NodeReport>[],
): readonly string[] {
  if (names.length <= MAX_NODES) return names
  const fill = (name: string): number =>
    Math.max(
      ...byRun.map((nodes) => {
        const node = nodes.get(name)
        return node === undefined || node.conntrackMax === 0 ? 0 : node.conntrackPeak / node.conntrackMax
      }),
    )
  const fills = new Map(names.map((name) => [name, fill(name)]))
  return [...names].sort((a, b) => fills.get(b)! - fills.get(a)!).slice(0, MAX_NODES)
}
