/** The way of connections: clients → load balancer → the node they enter → the node of the pod → the pod. */
import type { ReplayPage } from '../../src/report/html/page-data.ts'
import type { PathsReport, RunReport } from '../../src/report/types.ts'
import { formatCount } from '../../src/report/units.ts'
import { type FlowLink, type FlowNode, flowChart } from '../charts/sankey.ts'
import { h } from '../dom.ts'
import { numbers } from '../table.ts'
import { type Part, part, titled } from './section.ts'

/** Nodes and pods that have a band of their own; the others share one. */
const MOST_NODES = 12
const MOST_PODS = 14
const OTHERS = 'others'
const HEADS = ['clients', '', 'enter by', '', 'node of the pod', 'pods'] as const

export function flowPart({ report: { runs }, runNames }: ReplayPage): Part | null {
  const charts = runs.map((run, i) => runChart(run, runNames[i]!))
  if (charts.every((chart) => chart === null)) return null
  const rows = runs.flatMap((run, i) => run.nodes.map(({ node, paths }) => ({ run: runNames[i]!, node, ...paths })))
  type Row = (typeof rows)[number]
  const column = (head: string, of: (row: Row) => number) => ({
    head,
    value: of,
    text: (row: Row) => formatCount(of(row)),
  })
  return part(
    'flow',
    'The way of connections',
    'Established connections to Services. A band that leaves its node is a hop; a hatched one is masqueraded, so that the pod sees a node in place of the client.',
    h('div', {}, ...charts),
    numbers(
      'ways by node',
      [
        { head: 'node', value: ({ node }: Row) => node },
        { head: 'run', value: ({ run }) => run },
        column('from outside', ({ fromOutside }) => fromOutside),
        column('stay', ({ stayed }) => stayed),
        column('stay, masqueraded', ({ stayedMasqueraded }) => stayedMasqueraded),
        column('hop away', ({ left }) => left),
        column('hop away, masqueraded', ({ leftMasqueraded }) => leftMasqueraded),
        column('arrive by a hop', ({ arrived }) => arrived),
        column('arrive by a hop, masqueraded', ({ arrivedMasqueraded }) => arrivedMasqueraded),
      ],
      rows,
    ),
  )
}

function total({ stayed, stayedMasqueraded, left, leftMasqueraded }: PathsReport): number {
  return stayed + stayedMasqueraded + left + leftMasqueraded
}

function runChart(run: RunReport, name: string): HTMLElement | null {
  const nodes = run.nodes.flatMap((node) => (node.paths == null ? [] : [{ node: node.node, paths: node.paths }]))
  const all = nodes.reduce((sum, { paths }) => sum + total(paths), 0)
  if (all === 0) return null
  const weight = ({ paths }: (typeof nodes)[number]): number => total(paths) + paths.arrived + paths.arrivedMasqueraded
  const own = new Set(
    [...nodes]
      .sort((a, b) => weight(b) - weight(a))
      .slice(0, nodes.length > MOST_NODES + 1 ? MOST_NODES : nodes.length)
      .map(({ node }) => node),
  )
  const others = `${formatCount(nodes.length - own.size)} other nodes`
  const nameOf = (node: string): string => (own.has(node) ? node : OTHERS)
  const links = new Map<string, FlowLink & { value: number }>()
  const add = (source: string, target: string, value: number, masqueraded = false, hop = false): void => {
    if (value === 0) return
    const key = JSON.stringify([source, target, masqueraded, hop])
    const known = links.get(key)
    if (known === undefined) links.set(key, { source, target, value, masqueraded, hop })
    else known.value += value
  }
  for (const { node, paths: e } of nodes) {
    const at = nameOf(node)
    add('outside', 'balancer', e.fromOutside)
    add('balancer', `in ${at}`, e.fromOutside)
    add('inside', `in ${at}`, total(e) - e.fromOutside)
    add(`in ${at}`, `at ${at}`, e.stayed)
    add(`in ${at}`, `at ${at}`, e.stayedMasqueraded, true)
    add(`in ${at}`, 'hop', e.left, false, true)
    add(`in ${at}`, 'hop', e.leftMasqueraded, true, true)
    add('hop', `at ${at}`, e.arrived, false, true)
    add('hop', `at ${at}`, e.arrivedMasqueraded, true, true)
  }
  // Pods share what gets to their node by their connections; those of proxies and of recorded DNS are among them.
  const pods = new Map<string, { readonly name: string; readonly node: string; count: number }>()
  for (const { pod, endpoint, node, connections } of run.endpoints) {
    if (node === null || connections === 0) continue
    const key = pod ?? endpoint
    const known = pods.get(`${node} ${key}`)
    if (known === undefined) pods.set(`${node} ${key}`, { name: key, node, count: connections })
    else known.count += connections
  }
  const ranked = [...pods.entries()].sort(([, a], [, b]) => b.count - a.count)
  const shownPods = new Set(
    ranked.slice(0, ranked.length > MOST_PODS + 1 ? MOST_PODS : ranked.length).map(([key]) => key),
  )
  for (const [key, { node, count }] of ranked)
    add(`at ${nameOf(node)}`, shownPods.has(key) ? `pod ${key}` : 'pod others', count)
  const label = (id: string): FlowNode => {
    if (id === 'outside') return { id, name: 'outside', column: 0 }
    if (id === 'inside') return { id, name: 'in the cluster', column: 0 }
    if (id === 'balancer') return { id, name: 'load balancer', column: 1 }
    if (id === 'hop') return { id, name: 'hop', column: 3 }
    if (id.startsWith('pod ')) {
      const key = id.slice(4)
      return { id, name: pods.get(key)?.name ?? `${formatCount(ranked.length - shownPods.size)} other pods`, column: 5 }
    }
    const node = id.slice(3)
    return { id, name: node === OTHERS && !own.has(OTHERS) ? others : node, column: id.startsWith('in ') ? 2 : 4 }
  }
  const ids = [...new Set([...links.values()].flatMap(({ source, target }) => [source, target]))]
  // A column that nothing goes through is none.
  const used = ids.map(label)
  const columns = [...new Set(used.map(({ column }) => column))].sort((a, b) => a - b)
  const chart = flowChart({
    label: `The way of connections, ${name}`,
    nodes: used.map((node) => ({ ...node, column: columns.indexOf(node.column) })),
    links: [...links.values()],
    format: (value) => `${formatCount(value)} connections`,
    heads: columns.map((column) => HEADS[column]!),
  })
  return titled(name, chart)
}
