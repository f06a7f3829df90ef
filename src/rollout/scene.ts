/**
 * One run seen by the connections of one Service: who knows what when, put together from a course of events and what is in front of the Service.
 */
import { readCorefile } from '../dns/corefile.ts'
import { type Policy, targetsOf } from './balancer.ts'
import type { Chance } from './chance.ts'
import type { Scene } from './dial.ts'
import type { Course } from './happenings.ts'
import { CLOUDS, LOAD_BALANCERS, type LoadBalancer, SERVICE_HINTS } from './profiles.ts'
import { type ProxySettings, proxyOf, proxyViews } from './proxy.ts'
import type { Site, SiteService } from './site.ts'
import type { Timeline } from './timeline.ts'
import type { Way } from './traffic.ts'
import { endpointSets, namesOf, rulesOf } from './views.ts'

/** That NodeLocal DNSCache keeps answers for on top: an assumption. */
export const NODE_LOCAL_MS = 30_000
/** What ingress-nginx takes at most for a change in a burst: its rate limit and a poll. */
const PROXY_MS = 4333
/** Followed after everything has settled. */
const TAIL_MS = 10_000

/** What is in front of a Service, and where that is known from. */
export interface Front {
  readonly service: SiteService
  readonly way: Way
  readonly balancer: LoadBalancer | null
  /** '' where a Timeline or the manifests say it. */
  readonly assumed: string
  /** How long clients keep an answer to the Service's name. */
  readonly answerMs: number
  readonly proxy: ProxySettings | null
}

export function frontOf(site: Site, timeline: Timeline, service: SiteService): Front {
  const { type, headless, annotations, loadBalancer } = service.service
  const { from } = timeline.traffic
  const proxy = proxyOf(site, service)
  const plain = { service, balancer: null, assumed: '', answerMs: 0, proxy: null }
  if (headless) return { ...plain, way: 'names', answerMs: answerMs(site, timeline) }
  if (proxy !== null && (from === 'ingress' || (from === null && !service.isExternal)))
    return { ...plain, way: 'ingress', proxy }
  if (!service.isExternal || from === 'inside' || from === 'ingress') return { ...plain, way: 'inside' }
  if (timeline.loadBalancer !== null) return { ...plain, way: 'outside', balancer: timeline.loadBalancer }
  if (type !== 'LoadBalancer') return { ...plain, way: 'outside' }
  const named = (name: string): LoadBalancer => LOAD_BALANCERS.find((one) => one.name === name)!
  const hint = SERVICE_HINTS.find(([annotation, value]) => value.test(annotations[annotation] ?? ''))
  if (hint !== undefined) return { ...plain, way: 'outside', balancer: named(hint[2]) }
  const announced = loadBalancer.find((one) => one.announced !== undefined)?.announced?.way
  if (announced === 'L2' || announced === 'BGP')
    return { ...plain, way: 'outside', balancer: named(announced === 'L2' ? 'metallb-l2' : 'metallb-bgp') }
  const provider = providerOf(site)
  const cloud = CLOUDS.find(([prefix]) => provider.startsWith(prefix))
  if (cloud !== undefined) {
    const assumed = `load balancer ${cloud[1]}, by the nodes' providerID (loadBalancer)`
    return { ...plain, way: 'outside', balancer: named(cloud[1]), assumed }
  }
  return {
    ...plain,
    way: 'outside',
    balancer: LOAD_BALANCERS[0]!,
    assumed: `load balancer ${LOAD_BALANCERS[0]!.name}, since nothing says which (loadBalancer)`,
  }
}

function providerOf({ objects }: Site): string {
  for (const object of objects)
    if (object.kind === 'Node' && object.spec?.providerID !== undefined) return object.spec.providerID
  return ''
}

/** Source: aws-load-balancer-controller: gates are injected in namespaces with this label. */
const AWS_GATE_LABEL = 'elbv2.k8s.aws/pod-readiness-gate-inject'

/** The site with what readiness gates take: pods behind a balancer that knows pods. */
export function withGates(timeline: Timeline, site: Site): Site {
  const gates = site.workloads.map(() => 0)
  for (const service of site.services) {
    const { balancer } = frontOf(site, timeline, service)
    if (balancer?.targets !== 'pods' || !isGated(site, balancer, service)) continue
    for (const [workload, selects] of service.selects.entries())
      if (selects) gates[workload] = Math.max(gates[workload]!, balancer.registerMs)
  }
  return { ...site, workloads: site.workloads.map((one, i) => ({ ...one, gateMs: gates[i]! })) }
}

export function isGated({ objects }: Site, balancer: LoadBalancer, { service }: SiteService): boolean {
  if (balancer.readinessGate) return true
  return objects.some(
    ({ kind, metadata }) =>
      kind === 'Namespace' && metadata.name === service.namespace && metadata.labels?.[AWS_GATE_LABEL] === 'enabled',
  )
}

/** How long a client keeps an answer; Infinity: it never asks again. */
export function answerMs(site: Site, timeline: Timeline): number {
  const { dns } = timeline.clients
  if (dns === 'never') return Number.POSITIVE_INFINITY
  if (dns !== 'ttl') return dns
  const { corefile, nodeDnsCorefile, clusterDomain } = site.cluster
  const plugin = readCorefile(corefile, clusterDomain).blocks.find(({ kubernetes }) => kubernetes !== null)?.kubernetes
  const nodeLocal = nodeDnsCorefile === undefined || nodeDnsCorefile === null ? 0 : NODE_LOCAL_MS
  return (plugin?.ttl ?? 0) * 1000 + nodeLocal
}

/** Until when connections are followed. */
export function endOf(course: Course, timeline: Timeline, fronts: readonly Front[]): number {
  if (timeline.durationMs !== null) return timeline.durationMs
  const { sliceMs, watchMs, syncMs, syncQuantiles } = timeline.controlPlane
  const nodeSync = Math.max(
    syncMs,
    syncQuantiles?.at(-1)?.[1] ?? 0,
    ...[...timeline.nodeSyncMs.values()].map((one) => one.syncMs),
  )
  const balancers = fronts.flatMap(({ balancer }) => balancer ?? [])
  const balancerMs = balancers.map((one) => {
    const probes = [one.cluster, one.local].map(({ intervalMs, unhealthy, healthy, timeoutMs }) => {
      return intervalMs * Math.max(unhealthy, healthy) + timeoutMs
    })
    return one.targets === 'nodes' ? Math.max(...probes) + one.propagationMs : Math.max(one.deregisterMs, one.deadMs)
  })
  const namesMs = Math.max(0, ...fronts.map((front) => (Number.isFinite(front.answerMs) ? front.answerMs : 60_000)))
  return Math.ceil(course.settledMs + sliceMs + watchMs + nodeSync + Math.max(0, namesMs, ...balancerMs) + TAIL_MS)
}

/**
 * How long the slowest sender takes to learn of a deletion, at the most: what a preStop must outlast. Infinity: one never does.
 *
 * Local on a node whose last pod is deleted waits for the load balancer, Cluster for the rules of all nodes.
 */
export function slowestSenderMs(fronts: readonly Front[], site: Site, timeline: Timeline, policy: Policy): number {
  const { sliceMs, watchMs, syncMs, syncQuantiles, minSyncMs } = timeline.controlPlane
  const known = sliceMs + watchMs
  const sync = Math.max(
    syncMs,
    syncQuantiles?.at(-1)?.[1] ?? 0,
    ...[...timeline.nodeSyncMs.values()].map((one) => one.syncMs),
  )
  const rules = known + (minSyncMs ?? site.minSyncMs) + sync
  const lags = fronts.map(({ way, balancer, answerMs }) => {
    if (way === 'names') return known + answerMs
    if (way === 'ingress') return known + PROXY_MS
    if (balancer === null) return rules
    const probes = balancer[policy]
    switch (balancer.targets) {
      case 'pods':
        return known + balancer.deregisterMs
      case 'nodes':
        return probes.kind === 'health-check-port'
          ? rules + probes.unhealthy * probes.intervalMs + balancer.propagationMs
          : rules
      default:
        return rules + (policy === 'local' ? Math.max(balancer.registerMs, balancer.deregisterMs) : 0)
    }
  })
  return Math.max(0, ...lags)
}

export function sceneOf(
  course: Course,
  site: Site,
  timeline: Timeline,
  front: Front,
  chance: Chance,
  endMs: number,
): Scene {
  const { service, way, balancer } = front
  const sets = endpointSets(course, site, service)
  const minSyncMs = timeline.controlPlane.minSyncMs ?? site.minSyncMs
  const rules = course.nodes.map(({ name, proxy, syncs }) => {
    const own = timeline.nodeSyncMs.get(name)
    const control =
      own === undefined ? timeline.controlPlane : { ...timeline.controlPlane, syncMs: own.syncMs, syncQuantiles: null }
    return rulesOf(sets, { proxy, syncs }, control, minSyncMs, chance, name)
  })
  const isRegistered = balancer !== null && balancer.targets === 'pods' && isGated(site, balancer, service)
  const answers = { course, sets, rules, service, control: timeline.controlPlane, endMs, isRegistered }
  return {
    course,
    site,
    timeline,
    service,
    sets,
    rules,
    names: namesOf(sets, timeline.controlPlane),
    answerMs: front.answerMs,
    targets:
      balancer === null
        ? null
        : {
            cluster: targetsOf(balancer, 'cluster', answers, chance),
            local: targetsOf(balancer, 'local', answers, chance),
          },
    balancerKind: balancer?.targets ?? null,
    onUnhealthy: balancer?.onUnhealthy ?? 'keep',
    hashing: balancer?.hashing ?? 'modulo',
    proxy: front.proxy,
    proxyViews: front.proxy === null ? [] : proxyViews(sets, timeline.controlPlane, chance),
    way,
  }
}
