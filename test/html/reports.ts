/** Reports as pages: the hand-made ones of other tests, with series over time, hostile names, or very many endpoints. */
import { renderReplayHtml } from '../../src/report/html/replay.ts'
import type { PathsReport, ReplayReport, RunReport, SeriesReport } from '../../src/report/types.ts'
import { clusterRun, dnsReport, endpoint, ingressReport, localRun, nodeReport, report } from '../report/fixture.ts'

export const BINS = 40

/** Counts that go up, and a node that fills. */
export function series(endpoints: readonly string[]): SeriesReport {
  const up = Array.from({ length: BINS }, (_, bin) => bin * 10)
  const traffic = { packets: up, connections: up.map((count) => count / 10), bytes: up }
  const none = up.map(() => 0)
  return {
    binSeconds: 1.5,
    offered: traffic,
    delivered: traffic,
    failedConnections: up.map((_, bin) => (bin > 30 ? 2 : 0)),
    brokenConnections: none,
    notSent: none,
    dropsByReason: { 'conntrack-full': up.map((_, bin) => (bin > 30 ? 4 : 0)) },
    pathLatencyMicros: {
      count: up,
      p50: up.map((_, bin) => (bin === 0 ? null : 50 + bin)),
      p99: up.map((_, bin) => (bin === 0 ? null : 150 + bin)),
    },
    nodes: ['node-a', 'node-b'].map((node, i) => ({
      node,
      conntrackEntries: up.map((count) => count * 300 * (i + 1)),
      sourcePorts: up,
      affinityEntries: none,
      cpuUtilization: up.map((count) => count / 1000),
    })),
    nodesLeftOut: 0,
    endpoints: endpoints.map((one) => ({ service: 'default/web:http', endpoint: one, connections: up })),
    endpointsLeftOut: 0,
    requestsByStatus: { '200': up, '503': up.map((_, bin) => bin % 3) },
    dnsQueries: up,
  }
}

const CLUSTER: PathsReport = {
  fromOutside: 6_000,
  stayed: 0,
  stayedMasqueraded: 1_500,
  left: 0,
  leftMasqueraded: 1_500,
  arrived: 0,
  arrivedMasqueraded: 1_500,
}
const LOCAL: PathsReport = {
  fromOutside: 3_000,
  stayed: 3_000,
  stayedMasqueraded: 0,
  left: 0,
  leftMasqueraded: 0,
  arrived: 0,
  arrivedMasqueraded: 0,
}

function withSeries(run: RunReport, paths: PathsReport): RunReport {
  const nodes = run.nodes.map((node) => ({ ...node, paths }))
  return { ...run, nodes, series: series(run.endpoints.map((one) => one.endpoint)) }
}

/** With everything that a page can show. */
export function fullReport(): ReplayReport {
  const full = { dns: dnsReport({ queries: 40, byRcode: { NOERROR: 40 }, connections: 20 }), ingress: ingressReport() }
  return report(
    [
      withSeries(clusterRun({ ...full, drops: { 'conntrack-full': 12 } }), { ...CLUSTER, fromOutside: 3_000 }),
      withSeries(localRun({ ...full, drops: {} }), LOCAL),
    ],
    { changes: [20] },
  )
}

export const COMMAND = "dpemu replay trace.msgpack --threshold 'dropFraction < 1 %' -o html=report.html"

export function page(one: ReplayReport = fullReport()): string {
  return renderReplayHtml(one, [], COMMAND)
}

export const HOSTILE: readonly string[] = [
  '</script><script>alert(1)</script>',
  '<!--<script>',
  '<img src=x onerror=alert(1)>',
  '\u202egnirts desrever\u2066',
  `${'a-very-long-name-'.repeat(15)}`.slice(0, 253),
  '$& $1 $` {{x}} $' + '{y}',
  'اسم',
  'back\\slash"quote\'tick`\u0000\u2028',
]

/** As many endpoints and nodes as one asks for, each with a name that would like to be more than a name. */
export function hostileReport(endpoints: number, nodes: number): ReplayReport {
  const name = (i: number): string => `${HOSTILE[i % HOSTILE.length]}-${i}`
  const nodeNames = Array.from({ length: nodes }, (_, i) => name(i))
  const run = {
    endpoints: Array.from({ length: endpoints }, (_, i) => ({
      ...endpoint(i, nodeNames[i % nodes]!, 1 + ((i * 7919) % 1000), endpoints * 500),
      endpoint: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:8080`,
      pod: `default/${name(i)}`,
    })),
    nodes: nodeNames.map((node, i) => ({ ...nodeReport(node, { conntrackPeak: i * 100 }), paths: LOCAL })),
  }
  return report([clusterRun(run), localRun(run)], {
    trace: { ...report().trace, name: HOSTILE[0]! },
    derived: HOSTILE.map((object) => ({ object, what: object })),
    warnings: HOSTILE.map((where) => ({ code: 'W_X', where, message: where })),
  })
}
