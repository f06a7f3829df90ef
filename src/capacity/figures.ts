/**
 * One replayed run in figures, and which node, Service or reason is behind the worst of them. Pure.
 *
 * A conntrack table is settled when it has had time to let entries go: over a run of length D it takes rate × D entries
 * and holds rate × (what an entry lives) of them at most (Little's law), so entries made over the most at once is D in
 * lifetimes. Below `SETTLED_TURNOVER` the table may still have been filling when the run ended. Where entries or ports were
 * taken over because there was no room, turnover says nothing about lifetimes: then the run must be as long as it takes.
 */
import type { Figures } from '../report/capacity-types.ts'
import type { EndpointReport, NodeReport, RunReport } from '../report/types.ts'

/** Ports 1024 to 65535, which is what kube-proxy's masquerade chooses from. */
const SOURCE_PORTS = 64_512
const SETTLED_TURNOVER = 1.5
/** From here on the search for a port takes over those of closing connections. */
const PORTS_SHORT = 0.9

/** What stands behind the figures of a run. */
export interface Culprits {
  /** The node with the fullest conntrack table, and the Service port that fills it. */
  readonly conntrack: Culprit | null
  readonly snat: Culprit | null
  readonly cpu: Culprit | null
  /** Node and Service port of the busiest pod; null where pods are no queues. */
  readonly pod: Culprit | null
  /** The node whose queues hold packets up; null where none is busy enough for that. */
  readonly queue: Culprit | null
  /** The most frequent drop or reject reason, and the node whose table, ports or queues did it. */
  readonly drop: (Culprit & { readonly reason: string }) | null
}

export interface Culprit {
  readonly node: string | null
  readonly service: string | null
  readonly serviceShare: number | null
}

/** A receive queue that is less busy holds up a packet for about one service time (M/D/1): it is not what breaks. */
const BUSY = 0.7

export function figuresOf(run: RunReport): Figures {
  const { connections, verdicts, nodes } = run
  const lost = verdicts.drop + verdicts.reject
  return {
    dropFraction: part(lost, verdicts.accept + lost),
    failedFraction: part(connections.failed, connections.attempted),
    brokenFraction: part(connections.broken, connections.established),
    conntrackFraction: most(nodes.map(conntrackFraction)),
    snatFraction: most(nodes.map(snatFraction)),
    cpuFraction: most(nodes.map(({ cpuUtilization }) => cpuUtilization)),
    cpuPeakFraction: most(nodes.map(cpuPeak)),
    crossNodeFraction: run.crossNodeFraction,
    masqueradedFraction: run.masqueradedFraction,
    clientIpPreservedFraction: run.clientIpPreservedFraction,
    maxOverMean: most(run.imbalance.map(({ maxOverMean }) => maxOverMean)),
    offered: run.offered,
    delivered: run.delivered,
    pathLatencyMicros: run.pathLatencyMicros,
    requestLatencyMicros: run.requestLatencyMicros,
    podFraction: most(run.endpoints.map(({ podUtilization }) => podUtilization)),
    drops: { ...run.drops },
  }
}

export function culpritsOf({ nodes, drops, endpoints }: RunReport): Culprits {
  const [reason] = Object.entries(drops).reduce<readonly [string, number]>(
    (worst, [name, packets]) => (packets > worst[1] ? [name, packets] : worst),
    ['', 0],
  )
  return {
    conntrack: worst(nodes, conntrackFraction),
    snat: worst(nodes, snatFraction),
    cpu: worst(nodes, cpuPeak),
    pod: busiestPod(endpoints),
    queue: worst(
      nodes.filter((node) => cpuPeak(node) >= BUSY),
      cpuPeak,
    ),
    drop: reason === '' ? null : { ...droppingNode(reason, nodes), reason },
  }
}

export interface RunLength {
  readonly durationSeconds: number
  /** How long the entry of a connection lives that was closed properly. */
  readonly timeWaitSeconds: number
}

/** @returns whether every table that counts had time to let entries go */
export function isSettled({ nodes }: RunReport, { durationSeconds, timeWaitSeconds }: RunLength): boolean {
  const fullest = most(nodes.map(conntrackFraction))
  const isLong = durationSeconds >= SETTLED_TURNOVER * timeWaitSeconds
  return nodes
    .filter((node) => conntrackFraction(node) >= fullest / 2 || isShort(node))
    .every((node) => node.conntrack.insert >= SETTLED_TURNOVER * node.conntrackPeak && (isLong || !isShort(node)))
}

/** New connections took the room of others. */
function isShort(node: NodeReport): boolean {
  return snatFraction(node) >= PORTS_SHORT || node.snatExhausted > 0 || node.earlyDrops > 0 || node.conntrackDrops > 0
}

/** Only tables, ports and queues are a node's own: what other reasons drop, policy and endpoints decided. */
function droppingNode(reason: string, nodes: readonly NodeReport[]): Culprit {
  const counts: Readonly<Record<string, (node: NodeReport) => number>> = {
    'conntrack-full': (node) => node.conntrackDrops,
    'snat-ports-exhausted': (node) => node.snatExhausted,
    'backlog-full': (node) => node.backlogDrops,
  }
  const count = counts[reason]
  return (count === undefined ? null : worst(nodes, count)) ?? { node: null, service: null, serviceShare: null }
}

function busiestPod(endpoints: readonly EndpointReport[]): Culprit | null {
  const [busiest] = [...endpoints].sort((a, b) => b.podUtilization - a.podUtilization)
  if (busiest === undefined || busiest.podUtilization === 0) return null
  return { node: busiest.node, service: busiest.service, serviceShare: null }
}

function worst(nodes: readonly NodeReport[], figure: (node: NodeReport) => number): Culprit | null {
  let found: NodeReport | null = null
  for (const node of nodes) if (figure(node) > (found === null ? 0 : figure(found))) found = node
  if (found === null) return null
  const holder = found.conntrackHolders[0]
  return { node: found.node, service: holder?.service ?? null, serviceShare: holder?.share ?? null }
}

function conntrackFraction({ conntrackPeak, conntrackMax }: NodeReport): number {
  return part(conntrackPeak, conntrackMax)
}

function cpuPeak({ cpuUtilizationPeak }: NodeReport): number {
  return cpuUtilizationPeak
}

function snatFraction({ snatPortsPeak }: NodeReport): number {
  return snatPortsPeak / SOURCE_PORTS
}

function part(count: number, whole: number): number {
  return whole === 0 ? 0 : count / whole
}

function most(values: readonly number[]): number {
  return values.reduce((highest, value) => Math.max(highest, value), 0)
}
