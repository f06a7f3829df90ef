/**
 * One run seen by the connections of one Service: who knows what when, put together from a course of events and what is in front of the Service.
 */
import { targetsOf } from './balancer.ts'
import type { Chance } from './chance.ts'
import type { Scene } from './dial.ts'
import type { Course } from './happenings.ts'
import { CLOUDS, LOAD_BALANCERS, type LoadBalancer, SERVICE_HINTS } from './profiles.ts'
import type { Site, SiteService } from './site.ts'
import type { Timeline } from './timeline.ts'
import type { Way } from './traffic.ts'
import { endpointSets, namesOf, rulesOf } from './views.ts'

/** Source: CoreDNS plugin/kubernetes. */
const DEFAULT_TTL_MS = 5000
/** That NodeLocal DNSCache keeps answers for on top: an assumption. */
const NODE_LOCAL_MS = 30_000
/** Followed after everything has settled. */
const TAIL_MS = 10_000

/** What is in front of a Service, and where that is known from. */
export interface Front {
  readonly service: SiteService
  readonly way: Way
  readonly balancer: LoadBalancer | null
  /** '' where a Timeline or the manifests say it. */
  readonly assumed: string
}

export function frontOf(site: Site, timeline: Timeline, service: SiteService): Front {
  const { type, headless, annotations, loadBalancer } = service.service
  const { from } = timeline.traffic
  if (headless) return { service, way: 'names', balancer: null, assumed: '' }
  if (!service.isExternal || from === 'inside') return { service, way: 'inside', balancer: null, assumed: '' }
  if (timeline.loadBalancer !== null) return { service, way: 'outside', balancer: timeline.loadBalancer, assumed: '' }
  if (type !== 'LoadBalancer') return { service, way: 'outside', balancer: null, assumed: '' }
  const named = (name: string): LoadBalancer => LOAD_BALANCERS.find((one) => one.name === name)!
  const hint = SERVICE_HINTS.find(([annotation, value]) => value.test(annotations[annotation] ?? ''))
  if (hint !== undefined) return { service, way: 'outside', balancer: named(hint[2]), assumed: '' }
  const announced = loadBalancer.find((one) => one.announced !== undefined)?.announced?.way
  if (announced === 'L2' || announced === 'BGP')
    return { service, way: 'outside', balancer: named(announced === 'L2' ? 'metallb-l2' : 'metallb-bgp'), assumed: '' }
  const provider = providerOf(site)
  const cloud = CLOUDS.find(([prefix]) => provider.startsWith(prefix))
  if (cloud !== undefined) {
    const assumed = `load balancer ${cloud[1]}, by the nodes' providerID (loadBalancer)`
    return { service, way: 'outside', balancer: named(cloud[1]), assumed }
  }
  return {
    service,
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

/** How long a client keeps an answer; Infinity: it never asks again. */
export function answerMs(site: Site, timeline: Timeline): number {
  const { dns } = timeline.clients
  if (dns === 'never') return Number.POSITIVE_INFINITY
  if (dns !== 'ttl') return dns
  const ttl = /kubernetes[^{}]*\{[^{}]*?\bttl\s+(\d+)/.exec(site.cluster.corefile ?? '')?.[1]
  const nodeLocal = typeof site.cluster.nodeDnsCorefile === 'string' ? NODE_LOCAL_MS : 0
  return (ttl === undefined ? DEFAULT_TTL_MS : Number(ttl) * 1000) + nodeLocal
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
  const namesMs = fronts.some(({ way }) => way === 'names') && timeline.clients.dns !== 'never' ? 60_000 : 0
  return Math.ceil(course.settledMs + sliceMs + watchMs + nodeSync + Math.max(0, namesMs, ...balancerMs) + TAIL_MS)
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
  const rules = course.nodes.map(({ name, proxy }) => {
    const own = timeline.nodeSyncMs.get(name)
    const control =
      own === undefined ? timeline.controlPlane : { ...timeline.controlPlane, syncMs: own.syncMs, syncQuantiles: null }
    return rulesOf(sets, proxy, control, minSyncMs, chance, name)
  })
  const answers = { course, sets, rules, service, control: timeline.controlPlane, endMs }
  return {
    course,
    site,
    timeline,
    service,
    sets,
    rules,
    names: namesOf(sets, timeline.controlPlane),
    answerMs: answerMs(site, timeline),
    targets:
      balancer === null
        ? null
        : {
            cluster: targetsOf(balancer, 'cluster', answers, chance),
            local: targetsOf(balancer, 'local', answers, chance),
          },
    balancerKind: balancer?.targets ?? null,
    onUnhealthy: balancer?.onUnhealthy ?? 'keep',
    way,
  }
}
