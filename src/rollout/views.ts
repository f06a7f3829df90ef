/**
 * What each sender believes, over time: every node's rules, every load balancer's targets, what names resolve to.
 *
 * Endpoints change at instants; between two of them nothing does. So an endpoint set is a number, the index of the last change that it holds,
 * and a node's rules are a step function of such numbers: the same sets, later. Nothing here knows of connections.
 * Source: kubernetes/kubernetes pkg/proxy/runner (the first sync after a pause at once, the next not before minSyncPeriod after its end),
 *         pkg/proxy/healthcheck, pkg/proxy/topology.go by way of `compile/usable.ts`.
 * Cost:   pods × changes for the sets, nodes × changes for the rules, nodes × probes for the balancer; once a run.
 */
import { clusterEndpoints, localEndpoints, type ProxyEndpoint } from '../compile/usable.ts'
import { type Chance, quantileAt } from './chance.ts'
import type { Course } from './happenings.ts'
import { ENDPOINT_LISTED, ENDPOINT_READY, ENDPOINT_SERVING, ENDPOINT_TERMINATING } from './pod.ts'
import type { ControlPlane } from './profiles.ts'
import type { Site, SiteService } from './site.ts'
import { Steps } from './steps.ts'

/** Since 1.26 a node without a ready endpoint uses those that are ending and still serve. Source: KEP-1669. */
const FALLBACK_MINOR = 26

/** Endpoint sets of one Service between one change and the next. Numbers are pods' ids. */
export interface EndpointSets {
  readonly fromMs: number
  readonly cluster: readonly number[]
  /** By node; nodes without are left out. */
  readonly local: ReadonlyMap<number, readonly number[]>
  /** Ready endpoints by node: what a health check port counts. */
  readonly readyOn: ReadonlyMap<number, number>
  /** What DNS, NEGs and ingress controllers know: ready ones. */
  readonly ready: readonly number[]
  /** On at least one node there is something to use. */
  readonly hasAny: boolean
}

interface Candidate extends ProxyEndpoint {
  readonly pod: number
}

/** All sets that a Service has in a course, in order of time; the first holds from ever. */
export function endpointSets(course: Course, site: Site, { service, selects }: SiteService): EndpointSets[] {
  const pods = course.pods.filter(({ workload }) => selects[workload] === true)
  const times = [...new Set(pods.flatMap(({ endpoint }) => endpoint.times))].sort((a, b) => a - b)
  const cursors = pods.map(() => 0)
  const withFallback = site.kubernetesMinor >= FALLBACK_MINOR
  return times.map((fromMs) => {
    const candidates: Candidate[] = []
    for (const [i, { endpoint, id, node }] of pods.entries()) {
      while (cursors[i]! + 1 < endpoint.times.length && endpoint.times[cursors[i]! + 1]! <= fromMs) cursors[i]!++
      const flags = endpoint.values[cursors[i]!]!
      if ((flags & ENDPOINT_LISTED) !== 0) {
        candidates.push(candidateOf(id, node, flags, service.publishNotReadyAddresses, withFallback))
      }
    }
    return setsOf(fromMs, candidates)
  })
}

function candidateOf(pod: number, node: number, flags: number, publishes: boolean, withFallback: boolean): Candidate {
  return {
    pod,
    address: '',
    port: 0,
    nodeName: String(node),
    ready: publishes || (flags & ENDPOINT_READY) !== 0,
    serving: (flags & ENDPOINT_SERVING) !== 0,
    terminating: withFallback && (flags & ENDPOINT_TERMINATING) !== 0,
    zoneHints: [],
    nodeHints: [],
  }
}

function setsOf(fromMs: number, candidates: readonly Candidate[]): EndpointSets {
  const ids = (endpoints: readonly ProxyEndpoint[]): number[] => endpoints.map((one) => (one as Candidate).pod)
  const cluster = ids(clusterEndpoints(candidates))
  const local = new Map([...localEndpoints(candidates)].map(([node, list]) => [Number(node), ids(list)]))
  const readyOn = new Map<number, number>()
  const ready: number[] = []
  for (const { ready: isReady, nodeName, pod } of candidates) {
    if (!isReady) continue
    ready.push(pod)
    readyOn.set(Number(nodeName), (readyOn.get(Number(nodeName)) ?? 0) + 1)
  }
  return { fromMs, cluster, local, readyOn, ready, hasAny: cluster.length > 0 || local.size > 0 }
}

/** Index of the set that holds at `ms`. */
export function setIndexAt(sets: readonly EndpointSets[], ms: number): number {
  let low = 0
  let high = sets.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (sets[middle]!.fromMs <= ms) low = middle
    else high = middle - 1
  }
  return low
}

/**
 * The rules of one node: from when on it has which set.
 *
 * @param who  for chance: a sync's length may be drawn
 */
export function rulesOf(
  sets: readonly EndpointSets[],
  { proxy, syncs }: { readonly proxy: Steps; readonly syncs: Steps },
  control: ControlPlane,
  minSyncMs: number,
  chance: Chance,
  who: string,
): Steps {
  const rules = new Steps(0)
  const lagMs = control.sliceMs + control.watchMs
  let lastEndMs = Number.NEGATIVE_INFINITY
  let drawn = 0
  const sync = (startMs: number): void => {
    const lengthMs =
      control.syncQuantiles === null
        ? control.syncMs
        : quantileAt(control.syncQuantiles, chance.unit('sync', who, drawn))
    drawn++
    lastEndMs = startMs + lengthMs
    rules.set(lastEndMs, setIndexAt(sets, startMs - lagMs))
  }
  for (let i = 1; i < sets.length; i++) {
    const knownMs = sets[i]!.fromMs + lagMs
    // A change that the last sync has taken in already.
    if (rules.last >= i) continue
    const wantedMs = Math.max(knownMs, lastEndMs + minSyncMs)
    // While kube-proxy is down nothing is written; when it comes back it writes all of it.
    const startMs = nextOfBoth(proxy, syncs, wantedMs)
    if (Number.isFinite(startMs)) sync(startMs)
  }
  return rules
}

/** The first time at or after `ms` at which kube-proxy runs and its syncs work; Infinity for never. */
function nextOfBoth(proxy: Steps, syncs: Steps, ms: number): number {
  const isOne = (value: number): boolean => value === 1
  let atMs = ms
  for (;;) {
    const runsMs = proxy.next(atMs, isOne)
    const bothMs = Number.isFinite(runsMs) ? syncs.next(runsMs, isOne) : runsMs
    if (!Number.isFinite(bothMs) || proxy.at(bothMs) === 1) return bothMs
    atMs = bothMs
  }
}

/** What CoreDNS answers: ready endpoints, as soon as it has heard of them. A step function of set indices. */
export function namesOf(sets: readonly EndpointSets[], control: ControlPlane): Steps {
  const steps = new Steps(0)
  for (let i = 1; i < sets.length; i++) steps.set(sets[i]!.fromMs + control.sliceMs + control.watchMs, i)
  return steps
}
