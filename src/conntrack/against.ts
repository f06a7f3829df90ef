/**
 * A conntrack table beside the manifests: who fills it, which entries lead to endpoints that are gone, and what room is left.
 *
 * An entry belongs to a Service by what was dialled (its original destination) and is judged by who answers (the source of its reply
 * tuple). kube-proxy leaves TCP entries alone when endpoints go, so those stay until their timeout. Cost: a few map look-ups an entry.
 */
import {
  CLOSE_WAIT,
  ESTABLISHED,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_HEALTH_CHECK,
  FRONTEND_HOST_PORT,
  NODE_PORT_ADDRESS,
  NODE_PORT_ADDRESS_IPV6,
  type RuleColumns,
  TIME_WAIT,
  UDP_REPLIED,
  UDP_STREAM,
} from '../../native-free-core/index.ts'
import { compileRules } from '../compile/compile.ts'
import { conntrackMax } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import { Registry } from '../compile/registry.ts'
import { UserError, type Warning } from '../errors.ts'
import type { Cluster, ClusterNode } from '../k8s/cluster.ts'
import { joinPort, slots } from '../rules/node-rules.ts'
import type { TableEntry } from './lines.ts'

export type Counts = Readonly<Record<string, number>>

export interface ServiceShare {
  /** `default/web:http` */
  readonly service: string
  readonly entries: number
  readonly byState: Counts
  /** Of them, to endpoints that the Service does not have any more. */
  readonly endpointGone: number
  /** Of them, to endpoints that take no new connections (terminating, not ready). */
  readonly draining: number
  /** Of them, never translated: made while the node had no rule or no endpoint for it. */
  readonly untranslated: number
}

export interface GoneEndpoint {
  readonly service: string
  readonly endpoint: string
  readonly protocol: string
  readonly entries: number
  readonly byState: Counts
  /** Until the last of them is forgotten by itself; null where the table does not say. */
  readonly longestSeconds: number | null
}

/** What an entry that is of no Service is. */
export type Other =
  | 'to a pod'
  | 'from a pod'
  | 'of the node'
  | 'of another node'
  | 'translated, no such Service'
  | 'between others'

export interface RoomRow {
  readonly kind: string
  /** How long one such connection keeps its entry after its last packet. */
  readonly seconds: number
  /** Entries that it takes in the long run. */
  readonly entries: number
  /** Of the maximum, beside what is there now; negative: connections are lost. */
  readonly left: number
  /** Until the table is full, from now; null: never. */
  readonly fullAfterSeconds: number | null
}

export interface TableReport {
  readonly files: readonly string[]
  readonly node: string | null
  readonly entries: number
  /** nf_conntrack_max; null where neither a node nor a number was given. */
  readonly max: number | null
  readonly byProtocol: Counts
  /** `tcp ESTABLISHED` */
  readonly byState: Counts
  readonly services: readonly ServiceShare[]
  readonly gone: readonly GoneEndpoint[]
  readonly others: Counts
  /** TCP connections that were closed by both sides, a second: an entry stays in TIME_WAIT for a time that is known. */
  readonly closedPerSecond: number
  readonly ratePerSecond: number | null
  readonly room: readonly RoomRow[]
  readonly warnings: readonly Warning[]
}

export interface TableOptions {
  readonly files: readonly string[]
  /** null: any node's addresses are node ports' addresses. */
  readonly node: string | null
  /** Overrides what kube-proxy would set on the node. */
  readonly max: number | null
  readonly ratePerSecond: number | null
}

/** @throws UserError `E_NODE`  for a node that the manifests do not have */
export function judgeTable(cluster: Cluster, entries: readonly TableEntry[], options: TableOptions): TableReport {
  const node = options.node === null ? null : nodeOf(cluster, options.node)
  const registry = new Registry()
  const { columns, settings, warnings } = compileRules(cluster, registry, {
    policy: null,
    mode: null,
    model: DEFAULT_MODEL,
    destinations: [],
    clientMap: new Int32Array(0),
    gcIntervalMs: 60_000,
  })
  const max = options.max ?? (node === null ? null : conntrackMax(settings, node))
  const known = new Known(cluster, columns, registry, node)
  const services = new Map<number, MutableShare>()
  const gone = new Map<string, MutableGone>()
  const others: Record<string, number> = {}
  const byProtocol: Record<string, number> = {}
  const byState: Record<string, number> = {}
  for (const entry of entries) {
    add(byProtocol, entry.protocol)
    const state = `${entry.protocol} ${entry.state}`
    add(byState, state)
    const servicePort = known.serviceOf(entry)
    if (servicePort < 0) {
      add(others, known.otherOf(entry))
      continue
    }
    let share = services.get(servicePort)
    if (share === undefined) {
      share = { entries: 0, byState: {}, endpointGone: 0, draining: 0, untranslated: 0 }
      services.set(servicePort, share)
    }
    share.entries++
    add(share.byState, state)
    const { source, sourcePort } = entry.reply
    if (source === entry.original.destination && sourcePort === entry.original.destinationPort) {
      share.untranslated++
      continue
    }
    const endpoint = joinPort(source, sourcePort)
    const standing = known.standing(servicePort, endpoint)
    if (standing === 'usable') continue
    if (standing === 'draining') {
      share.draining++
      continue
    }
    share.endpointGone++
    const key = `${servicePort} ${endpoint} ${entry.protocol}`
    const one = gone.get(key) ?? {
      servicePort,
      endpoint,
      protocol: entry.protocol,
      entries: 0,
      byState: {},
      longest: -1,
    }
    one.entries++
    add(one.byState, state)
    one.longest = Math.max(one.longest, entry.seconds ?? -1)
    gone.set(key, one)
  }
  return {
    files: options.files,
    node: options.node,
    entries: entries.length,
    max,
    byProtocol: sorted(byProtocol),
    byState: sorted(byState),
    services: [...services]
      .map(([id, share]) => ({ service: registry.servicePortText(id), ...share, byState: sorted(share.byState) }))
      .sort((a, b) => b.entries - a.entries || compare(a.service, b.service)),
    gone: [...gone.values()]
      .map(({ servicePort, longest, ...one }) => ({
        service: registry.servicePortText(servicePort),
        ...one,
        byState: sorted(one.byState),
        longestSeconds: longest < 0 ? null : longest,
      }))
      .sort((a, b) => b.entries - a.entries || compare(a.endpoint, b.endpoint)),
    others: sorted(others),
    closedPerSecond: (byState['tcp TIME_WAIT'] ?? 0) / (columns.timeouts[TIME_WAIT]! / 1000),
    ratePerSecond: options.ratePerSecond,
    room:
      options.ratePerSecond === null || max === null
        ? []
        : roomAt(options.ratePerSecond, entries.length, max, columns.timeouts),
    warnings,
  }
}

interface MutableShare {
  entries: number
  readonly byState: Record<string, number>
  endpointGone: number
  draining: number
  untranslated: number
}

interface MutableGone {
  readonly servicePort: number
  readonly endpoint: string
  readonly protocol: string
  entries: number
  readonly byState: Record<string, number>
  longest: number
}

function nodeOf(cluster: Cluster, name: string): ClusterNode {
  const found = cluster.nodes.find((node) => node.name === name)
  if (found !== undefined) return found
  throw new UserError('E_NODE', `there is no node "${name}"`, {
    hint: `the manifests have ${cluster.nodes.map((node) => node.name).join(', ')}`,
    exitCode: 2,
  })
}

/**
 * What a rate of further connections does to the table, by how they end. An entry stays for its timeout after the last packet, so in the
 * long run rate × timeout of them are there; how long connections live comes on top, which nobody knows but who makes them.
 */
function roomAt(rate: number, present: number, max: number, timeouts: Int32Array): RoomRow[] {
  const kinds: readonly (readonly [kind: string, state: number])[] = [
    ['TCP, closed by both sides (TIME_WAIT)', TIME_WAIT],
    ['TCP, closed by one side only (CLOSE_WAIT)', CLOSE_WAIT],
    ['TCP, never closed (ESTABLISHED)', ESTABLISHED],
    ['UDP, one question and its answer', UDP_REPLIED],
    ['UDP, for more than two seconds (stream)', UDP_STREAM],
  ]
  return kinds.map(([kind, state]) => {
    const seconds = timeouts[state]! / 1000
    const entries = Math.ceil(rate * seconds)
    const left = max - present - entries
    const free = Math.max(0, max - present)
    return { kind, seconds, entries, left, fullAfterSeconds: left >= 0 ? null : free / rate }
  })
}

const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 }

/** The manifests as an entry is looked up in them: by texts, since a table's addresses need no numbers. */
class Known {
  private readonly frontends = new Map<string, number>()
  private readonly nodePorts = new Map<string, number>()
  private readonly usable = new Map<number, Set<string>>()
  private readonly serving = new Map<number, Set<string>>()
  private readonly nodeAddresses = new Map<string, boolean>()
  private readonly ownAddresses: ReadonlySet<string>
  private readonly pods = new Set<string>()

  constructor(cluster: Cluster, rules: RuleColumns, registry: Registry, node: ClusterNode | null) {
    for (const slot of slots(rules)) {
      const servicePort = rules.frontendServicePort[slot.frontend]!
      const kind = rules.frontendKind[slot.frontend]!
      if (kind === FRONTEND_HEALTH_CHECK || kind === FRONTEND_BALANCER_PROXY || kind === FRONTEND_HOST_PORT) continue
      if (slot.address === NODE_PORT_ADDRESS || slot.address === NODE_PORT_ADDRESS_IPV6) {
        const family = slot.address === NODE_PORT_ADDRESS ? 'IPv4' : 'IPv6'
        this.nodePorts.set(`${family} ${slot.protocol} ${slot.port}`, servicePort)
      } else {
        this.frontends.set(`${registry.addressText(slot.address)} ${slot.protocol} ${slot.port}`, servicePort)
      }
    }
    for (let servicePort = 0; servicePort < registry.servicePorts.length; servicePort++) {
      // Whoever is in the serving set and in no other gets no new connections.
      this.serving.set(servicePort, this.textsOf(rules, registry, rules.servingSet[servicePort] ?? 0))
      const used = new Set<string>()
      for (const set of setsOf(rules, servicePort))
        for (const text of this.textsOf(rules, registry, set)) used.add(text)
      this.usable.set(servicePort, used)
    }
    for (const one of cluster.nodes) {
      for (const address of one.addresses) this.nodeAddresses.set(address, node === null || one === node)
    }
    this.ownAddresses = new Set(node?.addresses ?? [])
    for (const pod of cluster.pods) if (!pod.hostNetwork) for (const address of pod.addresses) this.pods.add(address)
    for (const slice of cluster.slices) {
      for (const { addresses } of slice.endpoints ?? []) {
        for (const address of addresses) if (!this.nodeAddresses.has(address)) this.pods.add(address)
      }
    }
  }

  private textsOf(rules: RuleColumns, registry: Registry, set: number): Set<string> {
    return new Set(
      membersOf(rules, set).map((id) =>
        joinPort(registry.addressText(rules.endpointAddress[id]!), rules.endpointPort[id]!),
      ),
    )
  }

  /** Service port id, or -1. */
  serviceOf({ protocol, family, original }: TableEntry): number {
    const number = PROTOCOLS[protocol]
    if (number === undefined) return -1
    const { destination, destinationPort } = original
    const exact = this.frontends.get(`${destination} ${number} ${destinationPort}`)
    if (exact !== undefined) return exact
    const isNodes = this.nodeAddresses.get(destination) === true || /^127\./.test(destination) || destination === '::1'
    return isNodes ? (this.nodePorts.get(`${family} ${number} ${destinationPort}`) ?? -1) : -1
  }

  standing(servicePort: number, endpoint: string): 'usable' | 'draining' | 'gone' {
    if (this.usable.get(servicePort)?.has(endpoint)) return 'usable'
    return this.serving.get(servicePort)?.has(endpoint) ? 'draining' : 'gone'
  }

  otherOf({ original, reply }: TableEntry): Other {
    const isTranslated = reply.source !== original.destination || reply.sourcePort !== original.destinationPort
    if (isTranslated) return 'translated, no such Service'
    if (this.pods.has(original.destination)) return 'to a pod'
    if (this.pods.has(original.source)) return 'from a pod'
    if (this.isOfNode(original.destination) || this.isOfNode(original.source)) return 'of the node'
    if (this.nodeAddresses.has(original.destination) || this.nodeAddresses.has(original.source))
      return 'of another node'
    return 'between others'
  }

  private isOfNode(address: string): boolean {
    return this.ownAddresses.has(address) || /^127\./.test(address) || address === '::1'
  }
}

function membersOf(rules: RuleColumns, set: number): number[] {
  const start = rules.setStart[set] ?? 0
  return [...rules.members.subarray(start, start + (rules.setCount[set] ?? 0))]
}

/** The default cluster set and each node's own, cluster and local. */
function setsOf(rules: RuleColumns, servicePort: number): number[] {
  const sets = [rules.clusterSet[servicePort] ?? 0]
  const runs = [
    [rules.clusterOverrideStart[servicePort] ?? 0, rules.clusterOverrideCount[servicePort] ?? 0],
    [rules.localOverrideStart[servicePort] ?? 0, rules.localOverrideCount[servicePort] ?? 0],
  ] as const
  for (const [start, count] of runs) for (let i = start; i < start + count; i++) sets.push(rules.overrides[i * 2 + 1]!)
  return sets
}

function add(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** Most first. */
function sorted(counts: Record<string, number>): Counts {
  return Object.fromEntries(Object.entries(counts).sort(([a, x], [b, y]) => y - x || compare(a, b)))
}
