/**
 * What a Timeline costs the connections of a trace: each dialled through the courses of the Timeline's runs, with SYNs that are sent again.
 *
 * The trace says when each connection sends its first packet, to which Service, by which way and from which node; who gets it and what becomes of
 * it is decided as in `dpemu rollout`. Policies meet the same arrivals with the same choices.
 * Cost: one pass over the trace, and about a microsecond a connection, policy and run.
 */
import type { TimelineReport } from '../report/types.ts'
import { assumptionsOf } from '../rollout/assumptions.ts'
import { lossFigures } from '../rollout/figures.ts'
import { narrate } from '../rollout/narrate.ts'
import { proxyOf } from '../rollout/proxy.ts'
import { countRuns, type PolicyTally, type Sample, type Tally, type Work, writtenPolicy } from '../rollout/runs.ts'
import { type Front, frontOf } from '../rollout/scene.ts'
import type { SiteService } from '../rollout/site.ts'
import type { Arrivals, Way } from '../rollout/traffic.ts'
import { addressCount, addressText, FLAG_REPLY, TICKS_PER_SECOND, type TraceDestination } from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'
import { scanTrace } from '../trace/verify.ts'
import type { PolicyName } from './plan.ts'
import type { TimelinePlan } from './timeline.ts'

/** Arrivals of one Service by one way. */
interface Group {
  readonly front: Front
  readonly times: number[]
  readonly nodes: number[]
  readonly clients: number[]
  /** Of the last packet of each. */
  readonly lastMs: number[]
}

export interface TraceDials {
  readonly fronts: readonly Front[]
  readonly arrivals: readonly Arrivals[]
  readonly others: number
}

/** The connections of a trace to the Services that a Timeline is about. */
export function dialsOf(trace: TraceFile, plan: TimelinePlan): TraceDials {
  const { header, slotsPerLane } = trace
  const groups = new Map<string, Group>()
  const groupOf = header.destinations.map((destination): Group | null => {
    const found = meaning(destination, plan, addressText(header.addresses, destination.address))
    if (found === null) return null
    const key = `${found.service.name} ${found.way}`
    const group = groups.get(key) ?? {
      front: frontFor(found, plan),
      times: [],
      nodes: [],
      clients: [],
      lastMs: [],
    }
    groups.set(key, group)
    return group
  })
  const nodeOf = nodesOfClients(trace, plan)
  let others = 0
  /** By lane and slot: the destination of a connection that has not sent anything yet, else -1; and its client. */
  const waiting = Array.from(slotsPerLane, (slots) => new Int32Array(slots).fill(-1))
  const clients = Array.from(slotsPerLane, (slots) => new Int32Array(slots))
  /** And of one that has: its destination, else -1, and its place in the group. */
  const open = Array.from(slotsPerLane, (slots) => new Int32Array(slots).fill(-1))
  const places = Array.from(slotsPerLane, (slots) => new Int32Array(slots))
  scanTrace(trace, {
    connections: ({ client, destination, slot }, rows, lane) => {
      for (let row = 0; row < rows; row++) {
        const isFollowed = groupOf[destination[row]!] !== null
        waiting[lane]![slot[row]!] = isFollowed ? destination[row]! : -1
        open[lane]![slot[row]!] = -1
        clients[lane]![slot[row]!] = client[row]!
        if (!isFollowed) others++
      }
    },
    packets: ({ baseTick, flags, slot, time }, rows, lane) => {
      const own = waiting[lane]!
      const opened = open[lane]!
      for (let row = 0; row < rows; row++) {
        const at = slot[row]!
        if (opened[at]! >= 0) {
          groupOf[opened[at]!]!.lastMs[places[lane]![at]!] = ((baseTick + time[row]!) * 1000) / TICKS_PER_SECOND
          continue
        }
        if (own[at]! < 0 || (flags[row]! & FLAG_REPLY) !== 0) continue
        const group = groupOf[own[at]!]!
        const client = clients[lane]![at]!
        group.times.push(Math.floor(((baseTick + time[row]!) * 1000) / TICKS_PER_SECOND))
        group.nodes.push(nodeOf[client]!)
        group.clients.push(client)
        opened[at] = own[at]!
        places[lane]![at] = group.lastMs.push(group.times[group.times.length - 1]!) - 1
        own[at] = -1
      }
    },
  })
  const met = [...groups].filter(([, { times }]) => times.length > 0).sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    fronts: met.map(([, { front }]) => front),
    arrivals: met.map(([, group]) => inOrder(group, addressCount(header.addresses))),
    others,
  }
}

/** Lanes come one after the other: by time, and at one time in the order of lanes. */
function inOrder({ clients, lastMs, nodes, times }: Group, clientCount: number): Arrivals {
  const order = Uint32Array.from(times.keys()).sort((a, b) => times[a]! - times[b]! || a - b)
  return {
    timesMs: Float64Array.from(order, (i) => times[i]!),
    who: {
      nodes: Int32Array.from(order, (i) => nodes[i]!),
      clients: Int32Array.from(order, (i) => clients[i]!),
      clientCount,
      lengthsMs: Float64Array.from(order, (i) => lastMs[i]! - times[i]!),
    },
  }
}

/** Index of the node of each client address that is a pod's, else -1. */
function nodesOfClients({ header }: TraceFile, { course, site }: TimelinePlan): Int32Array {
  const nodes = new Int32Array(addressCount(header.addresses)).fill(-1)
  const indices = new Map(course.nodes.map(({ index, name }) => [name, index]))
  const nodeOf = new Map(site.cluster.pods.map((pod) => [`pod/${pod.namespace}/${pod.name}`, pod.nodeName]))
  for (const [id, name] of header.clientNames) nodes[id] = indices.get(nodeOf.get(name) ?? '') ?? -1
  return nodes
}

interface Meaning {
  readonly service: SiteService
  readonly way: Way
}

function meaning(destination: TraceDestination, { site }: TimelinePlan, address: string): Meaning | null {
  const { to, port } = destination
  for (const service of site.services) {
    const { clusterIPs, externalIPs, headless, loadBalancer, namespace, name, ports } = service.service
    if (to === 'ingress') {
      const proxy = proxyOf(site, service)
      if (proxy?.ingress === `Ingress ${destination.ingress}`) return { service, way: 'ingress' }
      continue
    }
    if (to === 'name') {
      const dialled = destination.name ?? ''
      if (dialled === name || dialled.startsWith(`${name}.${namespace}`))
        return { service, way: headless ? 'names' : 'inside' }
      continue
    }
    if (destination.service === service.name) return { service, way: to === 'clusterIP' ? 'inside' : 'outside' }
    if (destination.service !== null) continue
    const isVirtual = [...externalIPs, ...loadBalancer.map(({ ip }) => ip)].includes(address)
    if (clusterIPs.includes(address) && ports.some((one) => one.port === port)) return { service, way: 'inside' }
    if (isVirtual && ports.some((one) => one.port === port)) return { service, way: 'outside' }
  }
  return null
}

function frontFor({ service, way }: Meaning, { site, timeline }: TimelinePlan): Front {
  if (way === 'names') return frontOf(site, timeline, service)
  return frontOf(site, { ...timeline, traffic: { ...timeline.traffic, from: way } }, service)
}

function told(sample: Sample, policy: PolicyName, { scenes }: Tally): string[] {
  const scene = scenes[sample.scene]!
  return narrate(sample, policy === 'as-is' ? writtenPolicy(scene) : policy, scene)
}

/** @param policies  of the replay's runs */
export function timelineReport(
  plan: TimelinePlan,
  { arrivals, fronts, others }: TraceDials,
  policies: readonly PolicyName[],
): TimelineReport {
  const { moments, site, timeline } = plan
  const work: Work = {
    site,
    timeline: { ...timeline, durationMs: plan.endMs },
    fronts,
    perSecond: 1,
    arrivals,
    seed: plan.seed,
    runs: timeline.runs ?? 1,
    longLived: false,
  }
  const sideBySide = policies.some((policy) => policy !== 'as-is') ? countRuns(work) : null
  const written = policies.includes('as-is') ? countRuns({ ...work, asWritten: true }) : null
  const tallies = [...new Set(policies)].map((name): { name: PolicyName; tally: PolicyTally; whole: Tally } => {
    const whole = name === 'as-is' ? written! : sideBySide!
    return { name, whole, tally: whole.policies.find(({ policy }) => policy === name) ?? whole.policies[0]! }
  })
  return {
    source: timeline.where,
    runs: work.runs,
    events: plan.course.notes
      .filter(({ atMs }) => atMs <= plan.endMs)
      .map(({ atMs, text }) => ({ atSeconds: atMs / 1000, what: text })),
    services: fronts.map(({ balancer, service, way }, i) => ({
      service: service.name,
      way,
      loadBalancer: balancer?.name ?? '',
      connections: arrivals[i]!.timesMs.length,
    })),
    otherConnections: others,
    ...lossFigures(tallies, Math.ceil(plan.endMs / 1000)),
    told: tallies.flatMap(({ name, tally, whole }) =>
      tally.samples.map((sample) => ({
        policy: name,
        service: sample.service,
        atSeconds: sample.atMs / 1000,
        cause: sample.cause,
        clientSees: sample.clientSees,
        story: told(sample, name, whole),
      })),
    ),
    derived: assumptionsOf(site, timeline, fronts).map(({ object, what }) => ({ object, what })),
    moments: moments.length,
  }
}
