/** What it cost the nodes: conntrack, source ports and CPU, each against its limit. */

import type { ReplayPage } from '../../src/report/html/page-data.ts'
import type { NodeReport } from '../../src/report/types.ts'
import { formatCount, formatPercent, formatSeconds } from '../../src/report/units.ts'
import { barChart } from '../charts/bars.ts'
import { numbers, table } from '../table.ts'
import { type Part, part, threes, titled } from './section.ts'

/** Source ports that a node has towards one destination: 1024 to 65535. */
export const SOURCE_PORTS = 64_512

export function nodesPart({ report: { runs }, runNames }: ReplayPage): Part | null {
  const names = [...new Set(runs.flatMap(({ nodes }) => nodes.map(({ node }) => node)))]
  if (names.length === 0) return null
  const maps = runs.map(({ nodes }) => new Map(nodes.map((node) => [node.node, node])))
  const chart = (title: string, of: (node: NodeReport) => number | null, limitText: string): HTMLElement =>
    titled(
      title,
      barChart({
        label: `${title} by node`,
        rows: names.map((name) => ({
          name,
          values: maps.map((map) => {
            const node = map.get(name)
            return node === undefined ? null : of(node)
          }),
          limit: 1,
        })),
        runs: runNames,
        format: formatPercent,
        to: 1,
        limitText,
        noun: 'nodes',
      }),
    )
  const rows = runs.flatMap((run, i) => run.nodes.map((node) => ({ run: runNames[i]!, ...node })))
  type Row = (typeof rows)[number]
  const count = (head: string, of: (row: Row) => number, bad = false) => ({
    head,
    value: of,
    text: (row: Row) => formatCount(of(row)),
    tone: (row: Row) => (bad && of(row) > 0 ? ('bad' as const) : ('' as const)),
  })
  return part(
    'nodes',
    'Nodes',
    'Each figure at its highest, as a part of its limit.',
    threes(
      chart(
        'Conntrack table, fullest',
        ({ conntrackPeak, conntrackMax }) => (conntrackMax === 0 ? null : conntrackPeak / conntrackMax),
        'full',
      ),
      chart(
        'Source ports in use towards one destination',
        ({ snatPortsPeak }) => snatPortsPeak / SOURCE_PORTS,
        `all ${formatCount(SOURCE_PORTS)}`,
      ),
      chart('CPU time on packets, busiest moment', ({ cpuUtilizationPeak }) => cpuUtilizationPeak, 'all cores busy'),
    ),
    table(
      'All nodes',
      [
        { head: 'node', value: ({ node }: Row) => node },
        { head: 'run', value: ({ run }) => run },
        count('connections entering', ({ connections }) => connections),
        count('conntrack peak', ({ conntrackPeak }) => conntrackPeak),
        count('conntrack max', ({ conntrackMax }) => conntrackMax),
        count('conntrack drops', ({ conntrackDrops }) => conntrackDrops, true),
        {
          head: 'first drop',
          value: ({ conntrackFirstDropSeconds }) => conntrackFirstDropSeconds,
          text: ({ conntrackFirstDropSeconds: at }) => (at === null ? 'never' : formatSeconds(at)),
        },
        count('source ports peak', ({ snatPortsPeak }) => snatPortsPeak),
        count('ports exhausted', ({ snatExhausted }) => snatExhausted, true),
        count('affinity peak', ({ affinityPeak }) => affinityPeak),
        {
          head: 'CPU',
          value: ({ cpuUtilization }) => cpuUtilization,
          text: ({ cpuUtilization }) => formatPercent(cpuUtilization),
        },
        {
          head: 'CPU peak',
          value: ({ cpuUtilizationPeak }) => cpuUtilizationPeak,
          text: ({ cpuUtilizationPeak }) => formatPercent(cpuUtilizationPeak),
        },
        count('backlog drops', ({ backlogDrops }) => backlogDrops, true),
      ],
      rows,
    ),
    numbers(
      'who held entries when a table was fullest',
      [
        { head: 'node', value: ({ node }) => node },
        { head: 'run', value: ({ run }) => run },
        { head: 'Service port', value: ({ service }) => service },
        { head: 'entries', value: ({ entries }) => entries, text: ({ entries }) => formatCount(entries) },
        { head: 'share', value: ({ share }) => share, text: ({ share }) => formatPercent(share) },
      ],
      rows.flatMap(({ node, run, conntrackHolders }) => conntrackHolders.map((holder) => ({ node, run, ...holder }))),
    ),
  )
}
