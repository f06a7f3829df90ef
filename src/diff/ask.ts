/**
 * The same questions to both sides: every target from every class of clients that can get to it.
 *
 * From outside: load balancers at each node that both of them choose, addresses that routers bring in at each ready node, and nodes'
 * own addresses; cluster IPs are not routed outside. Inside: every node and class of pods. An address of a node is dialled from that
 * node, its pods, and of the others from one of each kind, since nothing but the kind tells them apart there; with NetworkPolicies,
 * where the client's own policies and its node count too, from all.
 * Cost: (nodes + classes of pods) a target, two decisions each; nothing for what `unchanged.ts` knows to be the same.
 */
import {
  ADDRESS_NODE,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_LOAD_BALANCER_IP,
  findFrontend,
  HOST_PORT_ONE_ADDRESS,
  hostPortAddress,
  NODE_PORT_ADDRESS,
  NODE_PORT_ADDRESS_IPV6,
} from '../../native-free-core/index.ts'
import type { ExplainContext } from '../explain/context.ts'
import { hasPolicies } from '../explain/network-policy.ts'
import type { PacketQuestion } from '../explain/route-to-node.ts'
import { ipFamily } from '../k8s/ip.ts'
import type { IpFamily } from '../k8s/types.ts'
import { addressWords, type Block, blocksOf, type Client, type Clients, membership } from './clients.ts'
import type { Objects } from './objects.ts'
import { type Outcome, outcomeOf, sameOutcome } from './outcome.ts'
import type { Side, Sides } from './sides.ts'
import type { Target } from './targets.ts'
import { Unchanged } from './unchanged.ts'

/** Pods that dial what they are endpoints of, each asked by itself. */
export const ENDPOINTS_THEMSELVES = 'endpoints themselves'

/** An answer that differs. */
export interface Finding {
  readonly client: Client
  readonly target: Target
  readonly old: Outcome
  readonly new: Outcome
  /** Node index where it comes in by a load balancer's choice, -1 for its own way. */
  readonly entered: number
}

/** A load balancer chooses among other nodes. */
export interface EntryFinding {
  readonly target: Target
  readonly client: Client
  readonly old: readonly number[]
  readonly new: readonly number[]
}

export interface Told {
  finding(finding: Finding): void
  entry(finding: EntryFinding): void
}

/** Who asks from outside: addresses that `outsideAddresses` has given, all of them registered. */
export interface Outside {
  /** On either side of the borders of blocks that every frontend is asked with; and all of those blocks. */
  readonly common: readonly string[]
  readonly blocks: readonly Block[]
  /** Those of NetworkPolicies; of the others it is enough what an address counts as. */
  readonly policies: readonly Block[]
  /** For source ranges. */
  of(ranges: readonly string[]): readonly string[]
}

/** @returns questions asked */
export function askAll(
  sides: Sides,
  clients: Clients,
  targets: readonly Target[],
  outside: Outside,
  objects: Objects,
  told: Told,
): number {
  return new Asker(sides, clients, outside, objects, told).run(targets)
}

class Asker {
  readonly #sides: Sides
  readonly #clients: Clients
  readonly #told: Told
  readonly #hasPolicies: boolean
  readonly #outside: Outside
  readonly #ofCommon: Readonly<Record<IpFamily, readonly Client[]>>
  readonly #remote = new Map<string, readonly (readonly Client[])[]>()
  /** Nodes that are ready on both sides; and whether the first of either is another, or there is none of both. */
  readonly #ready: readonly number[]
  readonly #otherReady: boolean
  readonly #unchanged: Unchanged
  /** Of the target that is asked about: everybody, or those that are not the same on both sides. */
  #onlyChanged = false
  #questions = 0

  constructor(sides: Sides, clients: Clients, outside: Outside, objects: Objects, told: Told) {
    this.#sides = sides
    this.#clients = clients
    this.#told = told
    this.#hasPolicies = hasPolicies(sides.old.context) || hasPolicies(sides.new.context)
    this.#outside = outside
    const { common, blocks } = outside
    this.#ofCommon = {
      IPv4: distinct(clients.outside(common, 'IPv4', blocks), outside.policies, sides),
      IPv6: distinct(clients.outside(common, 'IPv6', blocks), outside.policies, sides),
    }
    const isReady = new Set(sides.old.cluster.nodes.filter(({ ready }) => ready).map(({ name }) => name))
    this.#ready = sides.new.cluster.nodes
      .filter(({ name, ready }) => ready && isReady.has(name))
      .map(({ name }) => sides.registry.node(name))
    const firsts = [sides.old, sides.new].map(({ cluster }) => cluster.nodes.find(({ ready }) => ready)?.name)
    this.#otherReady = firsts[0] !== firsts[1] || this.#ready.length === 0
    const all = (['IPv4', 'IPv6'] as const).flatMap((family) => [
      ...clients.nodes[family],
      ...clients.pods[family],
      ...this.#ofCommon[family],
    ])
    this.#unchanged = new Unchanged(sides, objects, all)
  }

  run(targets: readonly Target[]): number {
    for (const target of targets) {
      const endpoints = this.#endpointsOf(target)
      const asking = this.#unchanged.about(target, endpoints)
      if (asking === 'nobody') continue
      this.#onlyChanged = asking === 'changed'
      switch (target.kind) {
        case 'clusterIP':
        case 'pod':
          this.#fromInside(target, endpoints)
          break
        case 'nodePort':
        case 'healthCheckNodePort':
        case 'hostPort':
          this.#atNode(target, endpoints)
          break
        default:
          this.#fromInside(target, endpoints)
          this.#fromOutside(target)
      }
    }
    return this.#questions
  }

  #fromInside(target: Target, endpoints: ReadonlySet<number>): void {
    for (const client of this.#clients.nodes[target.family]) this.#ask(client, target)
    const blocks = blocksOf(target.ranges)
    for (const client of this.#clients.pods[target.family]) {
      for (const one of this.#split(client, blocks)) this.#askOneOf([one], endpoints, target)
    }
    this.#themselves(target, endpoints)
  }

  /** The first that is no endpoint of the target: those are asked by themselves. */
  #askOneOf(classes: readonly Client[], endpoints: ReadonlySet<number>, target: Target): void {
    for (const client of classes) {
      const { members } = client
      if (members.length === 0) {
        this.#ask(client, target)
        return
      }
      const found = members.find(([old, changed]) => !endpoints.has(old) && !endpoints.has(changed))
      if (found === undefined) continue
      const [old, changed, from] = found
      const isFirst = client === classes[0] && found === members[0]
      this.#ask(isFirst ? client : { ...classes[0]!, from, old, new: changed }, target)
      return
    }
  }

  /** Address ids of both sides. */
  #endpointsOf(target: Target): Set<number> {
    const { old, new: changed } = this.#sides
    return new Set([...endpointsAt(old.context, target), ...endpointsAt(changed.context, target)])
  }

  /** Pods that are endpoints of what they dial. */
  #themselves(target: Target, ids: ReadonlySet<number>): void {
    const { registry, old, new: changed } = this.#sides
    for (const id of ids) {
      const address = registry.addressText(id)
      if (old.context.directory.nodeAt(address) !== undefined) {
        // On the host network: of another node's processes those are not like the rest.
        const node = this.#clients.nodes[target.family].find((client) => client.old === id)
        if (node !== undefined && target.node >= 0) this.#ask(node, target)
        continue
      }
      const a = old.context.rules.addressNode[id]!
      const b = changed.context.rules.addressNode[id]!
      if (a < 0 || b < 0) continue
      const pod = changed.context.directory.podAt(address)
      const before = old.context.directory.podAt(address)
      if (pod?.name !== before?.name || pod?.namespace !== before?.namespace) continue
      const from = pod === undefined ? address : `pod/${pod.namespace}/${pod.name}`
      this.#ask(
        {
          ...{
            kind: 'pod',
            name: ENDPOINTS_THEMSELVES,
            from,
            old: id,
            new: id,
            oldNode: a,
            newNode: b,
          },
          ...{ count: 1, members: [], namespaces: pod === undefined ? [] : [pod.namespace] },
        },
        target,
      )
    }
  }

  /** A class of pods by the target's own source ranges. */
  #split(client: Client, blocks: readonly Block[]): readonly Client[] {
    if (blocks.length === 0 || client.members.length < 2) return [client]
    const { registry } = this.#sides
    const byKey = new Map<string, (typeof client.members)[number][]>()
    for (const member of client.members) {
      const [a, b] = member
      const was = membership(blocks, registry.addressText(a))
      const key = a === b ? was : `${was} ${membership(blocks, registry.addressText(b))}`
      const known = byKey.get(key)
      if (known === undefined) byKey.set(key, [member])
      else known.push(member)
    }
    if (byKey.size === 1) return [client]
    return [...byKey.values()].map((members): Client => {
      const [old, changed, from] = members[0]!
      return { ...client, from, old, new: changed, count: members.length, members }
    })
  }

  #fromOutside(target: Target): void {
    const clients = this.#outsideOf(target)
    const a = balancerNodes(this.#sides.old, target)
    const b = balancerNodes(this.#sides.new, target)
    for (const client of clients) {
      if (a === null || b === null) {
        if (a === null && b === null) for (const entered of this.#ready) this.#ask(client, target, entered)
        // By itself: what brings it to a node is not the same on both sides, or other nodes take it in.
        if (a !== null || b !== null || this.#otherReady) this.#ask(client, target)
        continue
      }
      const shared = a.filter((node) => b.includes(node))
      if (shared.length === 0) this.#ask(client, target)
      else for (const entered of shared) this.#ask(client, target, entered)
    }
    if (a !== null && b !== null && a.join() !== b.join() && clients.length > 0) {
      this.#told.entry({ target, client: clients[0]!, old: a, new: b })
    }
  }

  /** Those that the target's own source ranges tell apart, too. */
  #outsideOf({ ranges, family }: Target): readonly Client[] {
    if (ranges.length === 0) return this.#ofCommon[family]
    const { common, blocks, policies } = this.#outside
    const addresses = [...new Set([...common, ...this.#outside.of(ranges)])]
    const own = blocksOf(ranges)
    return distinct(this.#clients.outside(addresses, family, [...blocks, ...own]), [...policies, ...own], this.#sides)
  }

  /** At an address of a node, or its loopback. */
  #atNode(target: Target, endpoints: ReadonlySet<number>): void {
    const { registry } = this.#sides
    if (registry.addressText(target.address) === '127.0.0.1') {
      for (const client of this.#clients.nodes[target.family]) {
        if (client.newNode === target.node) this.#ask(client, target)
      }
      return
    }
    for (const client of this.#ofCommon[target.family]) this.#ask(client, target)
    const inside = [...this.#clients.nodes[target.family], ...this.#clients.pods[target.family]]
    for (const client of inside) {
      const isOwn = client.oldNode === target.node || client.newNode === target.node
      if (isOwn || this.#hasPolicies) this.#askOneOf([client], endpoints, target)
    }
    if (!this.#hasPolicies) {
      for (const classes of this.#remoteOf(target)) this.#askOneOf(classes, endpoints, target)
    }
    this.#themselves(target, endpoints)
  }

  /** Classes of clients of other nodes by kind: alike in everything that another node sees of them. */
  #remoteOf(target: Target): readonly (readonly Client[])[] {
    const key = `${target.family} ${target.node}`
    const known = this.#remote.get(key)
    if (known !== undefined) return known
    const { old, new: changed } = this.#sides
    const kinds = new Map<string, Client[]>()
    for (const client of [...this.#clients.nodes[target.family], ...this.#clients.pods[target.family]]) {
      if (client.oldNode === target.node || client.newNode === target.node) continue
      const kind = `${client.kind} ${this.#remoteWords(old, client.old)} ${this.#remoteWords(changed, client.new)}`
      const one = kinds.get(kind)
      if (one === undefined) kinds.set(kind, [{ ...client, name: remoteName(client) }])
      else {
        one[0] = { ...one[0]!, count: one[0]!.count + client.count }
        one.push(client)
      }
    }
    const classes = [...kinds.values()]
    this.#remote.set(key, classes)
    return classes
  }

  /** Its flags, and those of the address that its node may put in the place of it. */
  #remoteWords({ context: { rules } }: Side, address: number): string {
    const node = rules.addressNode[address]!
    const family = ipFamily(this.#sides.registry.addressText(address)) === 'IPv4' ? 0 : 1
    const egress = node < 0 ? -1 : rules.nodeRemoteEgress[node * 2 + family]!
    const isOwnEgress = egress === address
    const flags = egress < 0 ? '' : `${rules.addressFlags[egress]} ${isOwnEgress}`
    return `${rules.addressFlags[address]} ${node >= 0} ${flags}`
  }

  #ask(client: Client, target: Target, entered = -1): void {
    if (this.#onlyChanged && !this.#unchanged.isChanged(client)) return
    const { old, new: changed } = this.#sides
    this.#questions++
    const before = outcomeOf(old.context, questionOf(client.old, target, entered))
    const after = outcomeOf(changed.context, questionOf(client.new, target, entered))
    if (sameOutcome(before, after)) return
    this.#told.finding({ client, target, old: before, new: after, entered })
  }
}

export function questionOf(source: number, target: Target, entered: number): PacketQuestion {
  const { address: destination, port, protocol } = target
  return { source, sourcePort: 0, destination, port, protocol, node: -1, stays: false, entered }
}

function remoteName({ kind, name }: Client): string {
  return kind === 'node' ? 'other nodes' : kind === 'pod' ? 'pods on other nodes' : name
}

/** One of those that no rule tells apart: the same flags on both sides, and in the same blocks. */
function distinct(clients: readonly Client[], blocks: readonly Block[], sides: Sides): Client[] {
  const seen = new Set<string>()
  return clients.filter(({ from, old, new: changed }) => {
    const words = `${addressWords(sides.old.context.rules, old)}|${addressWords(sides.new.context.rules, changed)}`
    const key = `${words}|${membership(blocks, from)}`
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
}

/** null where no load balancer has the address. */
function balancerNodes({ context: { rules } }: Side, target: Target): number[] | null {
  const frontend = findFrontend(rules, target.address, target.port, target.protocol)
  const kind = frontend < 0 ? -1 : rules.frontendKind[frontend]!
  if (kind !== FRONTEND_LOAD_BALANCER_IP && kind !== FRONTEND_BALANCER_PROXY) return null
  if (kind === FRONTEND_LOAD_BALANCER_IP && (rules.addressFlags[target.address]! & ADDRESS_NODE) !== 0) return null
  const start = rules.frontendNodeStart[frontend]!
  return [...rules.balancerNodes.subarray(start, start + rules.frontendNodeCount[frontend]!)].sort((a, b) => a - b)
}

/** Where `explain` follows a packet from outside to, -1 for its own way; and whether a machine of its own sends it on. */
export function firstEntry(
  context: ExplainContext,
  { address, port, protocol }: Target,
): { readonly node: number; readonly isProxy: boolean } {
  const { rules, directory, registry } = context
  const frontend = findFrontend(rules, address, port, protocol)
  const kind = frontend < 0 ? -1 : rules.frontendKind[frontend]!
  if (kind === FRONTEND_LOAD_BALANCER_IP || kind === FRONTEND_BALANCER_PROXY) {
    const count = rules.frontendNodeCount[frontend]!
    const node = count === 0 ? -1 : rules.balancerNodes[rules.frontendNodeStart[frontend]!]!
    return { node, isProxy: kind === FRONTEND_BALANCER_PROXY }
  }
  const ready = directory.cluster.nodes.find((node) => node.ready)
  return { node: ready === undefined ? -1 : registry.node(ready.name), isProxy: false }
}

/** Address ids of the endpoints that a target's Service has on any node. */
function endpointsAt(context: ExplainContext, target: Target): number[] {
  const { rules } = context
  const ids: number[] = []
  for (const servicePort of servicePortsAt(context, target)) {
    const sets = new Set([rules.clusterSet[servicePort]!])
    for (const [start, count] of [
      [rules.clusterOverrideStart[servicePort]!, rules.clusterOverrideCount[servicePort]!],
      [rules.localOverrideStart[servicePort]!, rules.localOverrideCount[servicePort]!],
    ] as const) {
      for (let i = start; i < start + count; i++) sets.add(rules.overrides[i * 2 + 1]!)
    }
    for (const set of sets) {
      const start = rules.setStart[set]!
      for (let i = start; i < start + rules.setCount[set]!; i++) ids.push(rules.endpointAddress[rules.members[i]!]!)
    }
  }
  return ids
}

function servicePortsAt({ rules }: ExplainContext, target: Target): number[] {
  const family = target.family === 'IPv4' ? 0 : 1
  const anyNode = family === 0 ? NODE_PORT_ADDRESS : NODE_PORT_ADDRESS_IPV6
  const { address, port, protocol, node } = target
  const places: readonly (readonly [address: number, protocol: number])[] =
    node < 0
      ? [[address, protocol]]
      : [
          [anyNode, protocol],
          [hostPortAddress(node, family), protocol],
          [address, protocol | HOST_PORT_ONE_ADDRESS],
        ]
  return places.flatMap(([at, how]) => {
    const frontend = findFrontend(rules, at, port, how)
    return frontend < 0 ? [] : [rules.frontendServicePort[frontend]!]
  })
}
