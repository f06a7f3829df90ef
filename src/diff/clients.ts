/**
 * Who is asked for: one client for each class that the rules of either side can tell apart.
 *
 * A class of pods has the same node, address flags and place in NetworkPolicies on both sides, and is in the same blocks of
 * addresses; a node is itself; outside of the cluster there is one address on either side of each border of a block. So what holds
 * for the client holds for its class. Pods that are endpoints of what they dial meet themselves and are asked one by one (ask.ts).
 * Only clients that both sides have are asked: what comes or goes has no behaviour that could change.
 */
import { POLICY_ADDRESS_WORDS, type RuleColumns } from '../../native-free-core/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { canonicalIp, ipFamily, ipFromBigInt, ipToBigInt, parseCidr } from '../k8s/ip.ts'
import { peersOf } from '../k8s/network-policy.ts'
import type { IpFamily } from '../k8s/types.ts'
import type { Side, Sides } from './sides.ts'

/** RFC 2544 and documentation networks: clients that are nobody's in a cluster, the first that is in no block. */
const OUTSIDERS: Readonly<Record<IpFamily, readonly string[]>> = {
  IPv4: ['198.18.0.7', '198.51.100.77', '203.0.113.77', '192.0.2.77', '8.8.8.8', '100.64.77.77'],
  IPv6: ['2001:db8:77::77', '2001:db8:ffff::77', '2600:77::77'],
}
export const OUTSIDER_ADDRESSES: readonly string[] = [...OUTSIDERS.IPv4, ...OUTSIDERS.IPv6]

export interface Block {
  readonly text: string
  readonly family: IpFamily
  readonly first: bigint
  readonly last: bigint
}

export interface Client {
  readonly kind: 'outside' | 'node' | 'pod'
  /** `outside`, `node a`, `pods on node a`. */
  readonly name: string
  /** As `explain --from` takes it. */
  readonly from: string
  /** Address ids. */
  readonly old: number
  readonly new: number
  /** Nodes, by index; -1 outside. */
  readonly oldNode: number
  readonly newNode: number
  /** How many are in the class. */
  readonly count: number
  /** Address ids on both sides of everyone in the class; pods alone. */
  readonly members: readonly (readonly [old: number, new: number, from: string])[]
  /** Namespaces of the pods in it. */
  readonly namespaces: readonly string[]
  /** From outside with an address of the cluster's own ranges: possible, and seldom what a reader is after. */
  readonly isOdd?: true
}

/** Blocks of addresses that make up what an address counts as (`addressWords`): those of either side. */
export function countedBlocks(...clusters: readonly Cluster[]): Block[] {
  const texts = clusters.flatMap((cluster) => [
    ...cluster.clusterCidrs,
    ...cluster.serviceCidrs,
    ...(cluster.calicoPools ?? []).map(({ cidr }) => cidr),
    ...(cluster.kubeProxy?.clusterCIDR ?? '').split(','),
    ...cluster.nodes.flatMap(({ podCidrs }) => podCidrs),
  ])
  return blocksOf(texts)
}

/** Blocks of NetworkPolicies, with which sources and destinations are compared as they are. */
export function policyBlocks(...clusters: readonly Cluster[]): Block[] {
  const texts = clusters.flatMap(({ networkPolicies = [] }) =>
    networkPolicies.flatMap(({ spec }) =>
      [...(spec.ingress ?? []), ...(spec.egress ?? [])].flatMap((rule) =>
        peersOf(rule).flatMap(({ ipBlock }) =>
          ipBlock === undefined ? [] : [ipBlock.cidr, ...(ipBlock.except ?? [])],
        ),
      ),
    ),
  )
  return blocksOf(texts)
}

export function blocksOf(texts: Iterable<string>): Block[] {
  const blocks: Block[] = []
  for (const text of new Set(texts)) {
    const cidr = parseCidr(text.trim())
    if (cidr !== null) blocks.push({ text: cidr.text, family: cidr.family, first: cidr.first, last: cidr.last })
  }
  return blocks
}

/** Addresses outside of the cluster, one on either side of each border, that no object of either side has. */
export function outsideAddresses(blocks: readonly Block[], taken: ReadonlySet<string>): string[] {
  const found = new Set<string>()
  for (const family of ['IPv4', 'IPv6'] as const) {
    const own = blocks.filter((block) => block.family === family)
    const isPlain = (text: string): boolean => {
      const bits = ipToBigInt(text)
      return !taken.has(text) && !own.some(({ first, last }) => bits >= first && bits <= last)
    }
    const plain = OUTSIDERS[family].find(isPlain)
    if (plain !== undefined) found.add(plain)
    for (const { first, last } of own) {
      for (const border of [first, last + 1n]) {
        const inside = freeFrom(border, border === first ? last : null, family, taken)
        if (inside !== null) found.add(inside)
      }
    }
  }
  return [...found]
}

/** The next address from a border on that nobody has: what a block says holds for all of it. */
function freeFrom(start: bigint, last: bigint | null, family: IpFamily, taken: ReadonlySet<string>): string | null {
  const limit = family === 'IPv4' ? 1n << 32n : 1n << 128n
  for (let bits = start; bits < limit && bits - start < 4096n && (last === null || bits <= last); bits++) {
    if (!isUnicast(bits, family)) return null
    const text = ipFromBigInt(bits, family)
    if (!taken.has(text)) return text
  }
  return null
}

function isUnicast(bits: bigint, family: IpFamily): boolean {
  if (family === 'IPv6') return bits > 1n && bits >> 120n !== 0xffn
  const first = Number(bits >> 24n)
  return first !== 0 && first !== 127 && first < 224
}

/** Addresses that some object of a cluster has: none of them is outside. */
export function takenAddresses(...clusters: readonly Cluster[]): Set<string> {
  const taken = new Set<string>()
  for (const { nodes, pods, services, slices } of clusters) {
    for (const { addresses } of [...nodes, ...pods]) for (const one of addresses) taken.add(one)
    for (const { clusterIPs, externalIPs, loadBalancer } of services) {
      for (const one of [...clusterIPs, ...externalIPs, ...loadBalancer.map(({ ip }) => ip)]) taken.add(one)
    }
    for (const { endpoints = [] } of slices)
      for (const { addresses } of endpoints) for (const one of addresses) taken.add(one)
  }
  return taken
}

export class Clients {
  readonly #sides: Sides
  readonly #blocks: readonly Block[]
  /** Of pods and Services. */
  readonly #ownRanges: readonly Block[]
  readonly nodes: Readonly<Record<IpFamily, readonly Client[]>>
  readonly pods: Readonly<Record<IpFamily, readonly Client[]>>

  /** @param blocks  of NetworkPolicies */
  constructor(sides: Sides, blocks: readonly Block[]) {
    this.#sides = sides
    this.#blocks = blocks
    const clusters = [sides.old.cluster, sides.new.cluster]
    this.#ownRanges = blocksOf(
      clusters.flatMap(({ clusterCidrs, serviceCidrs, nodes }) => [
        ...clusterCidrs,
        ...serviceCidrs,
        ...nodes.flatMap(({ podCidrs }) => podCidrs),
      ]),
    )
    this.nodes = { IPv4: this.#nodesOf('IPv4'), IPv6: this.#nodesOf('IPv6') }
    this.pods = { IPv4: this.#podsOf('IPv4'), IPv6: this.#podsOf('IPv6') }
  }

  /**
   * @param addresses  of `outsideAddresses`, registered before the rules were compiled
   * @param blocks     that they are told apart by, for their names
   */
  outside(addresses: readonly string[], family: IpFamily, blocks: readonly Block[]): Client[] {
    const own = addresses.filter((address) => ipFamily(address) === family)
    return own.map((address): Client => {
      const id = this.#sides.registry.address(address)
      const block = narrowest(blocks, address)
      return {
        ...{ kind: 'outside', name: block === null ? 'outside' : `outside, from ${block.text}` },
        ...{ from: address, old: id, new: id, oldNode: -1, newNode: -1, count: 1, members: [], namespaces: [] },
        ...(narrowest(this.#ownRanges, address) === null ? {} : { isOdd: true as const }),
      }
    })
  }

  #nodesOf(family: IpFamily): Client[] {
    const { registry, old, new: changed } = this.#sides
    return changed.cluster.nodes.flatMap((node): Client[] => {
      const before = old.context.directory.nodes.get(node.name)
      if (before === undefined) return []
      const was = before.addresses.filter((address) => ipFamily(address) === family)
      const is = node.addresses.filter((address) => ipFamily(address) === family)
      if (was.length === 0 || is.length === 0) return []
      const index = registry.node(node.name)
      // Its primary address, and those besides that both sides know.
      const pairs = [[was[0]!, is[0]!], ...is.slice(1).flatMap((one) => (was.includes(one) ? [[one, one]] : []))]
      return pairs.map(([a, b], i): Client => {
        const isPrimary = i === 0
        return {
          kind: 'node',
          name: isPrimary ? `node ${node.name}` : `node ${node.name} (${b})`,
          from: isPrimary ? `node/${node.name}` : b!,
          ...{ old: registry.address(a!), new: registry.address(b!), oldNode: index, newNode: index },
          ...{ count: 1, members: [], namespaces: [] },
        }
      })
    })
  }

  #podsOf(family: IpFamily): Client[] {
    const { registry, old, new: changed } = this.#sides
    const classes = new Map<string, { members: [number, number, string][]; namespaces: Set<string> }>()
    const add = (was: string, is: string, from: string, namespace: string): void => {
      const a = registry.address(was)
      const b = registry.address(is)
      const key = `${wordsOf(old, a)}|${wordsOf(changed, b)}|${this.blocksOf(was)}|${was === is ? '' : this.blocksOf(is)}`
      const known = classes.get(key)
      if (known === undefined) classes.set(key, { members: [[a, b, from]], namespaces: new Set([namespace]) })
      else {
        known.members.push([a, b, from])
        known.namespaces.add(namespace)
      }
    }
    const seen = new Set<string>()
    for (const [name, pod] of changed.pods) {
      const before = old.pods.get(name)
      const is = pod.hostNetwork ? undefined : pod.addresses.find((address) => ipFamily(address) === family)
      const was = before?.hostNetwork ? undefined : before?.addresses.find((address) => ipFamily(address) === family)
      for (const one of [is, was]) if (one !== undefined) seen.add(one)
      if (is !== undefined && was !== undefined) add(was, is, `pod/${name}`, pod.namespace)
    }
    for (const pod of old.pods.values()) for (const one of pod.addresses) seen.add(one)
    for (const pod of changed.pods.values()) for (const one of pod.addresses) seen.add(one)
    // Endpoints on a node whose pods nobody wrote down.
    const before = endpointAddresses(old.cluster, family)
    for (const address of endpointAddresses(changed.cluster, family)) {
      const id = registry.address(address)
      const isPod = (side: Side): boolean =>
        side.context.rules.addressNode[id]! >= 0 && side.context.directory.nodeAt(address) === undefined
      if (before.has(address) && !seen.has(address) && isPod(old) && isPod(changed)) add(address, address, address, '')
    }
    return [...classes.values()].map(({ members, namespaces }): Client => {
      const [a, b, from] = members[0]!
      const oldNode = old.context.rules.addressNode[a]!
      const newNode = changed.context.rules.addressNode[b]!
      return {
        kind: 'pod',
        name: podsName(registry.nodes[newNode] ?? '', registry.nodes[oldNode] ?? ''),
        ...{ from, old: a, new: b, oldNode, newNode, count: members.length, members },
        namespaces: [...namespaces].filter((name) => name !== '').sort(),
      }
    })
  }

  /** Which of the common blocks hold an address. */
  blocksOf(address: string): string {
    return membership(this.#blocks, address)
  }
}

function narrowest(blocks: readonly Block[], address: string): Block | null {
  const family = ipFamily(address)
  const bits = ipToBigInt(address)
  let best: Block | null = null
  for (const block of blocks) {
    if (block.family !== family || bits < block.first || bits > block.last) continue
    if (best === null || block.last - block.first < best.last - best.first) best = block
  }
  return best
}

export function membership(blocks: readonly Block[], address: string): string {
  if (blocks.length === 0) return ''
  const family = ipFamily(address)
  const bits = ipToBigInt(address)
  let key = ''
  for (const block of blocks) key += block.family === family && bits >= block.first && bits <= block.last ? '1' : '0'
  return key
}

function podsName(node: string, before: string): string {
  const place = node === '' ? 'no node' : `node ${node}`
  return node === before ? `pods on ${place}` : `pods on ${place}, before on ${before === '' ? 'no node' : before}`
}

function endpointAddresses({ slices }: Cluster, family: IpFamily): Set<string> {
  const found = new Set<string>()
  for (const { endpoints = [] } of slices) {
    for (const { addresses } of endpoints) {
      const address = canonicalIp(addresses[0] ?? '')
      if (address !== null && ipFamily(address) === family) found.add(address)
    }
  }
  return found
}

/** Everything that rules know of a source besides its bits. */
function wordsOf({ context: { rules } }: Side, address: number): string {
  const at = address * POLICY_ADDRESS_WORDS
  return `${addressWords(rules, address)} ${rules.addressPolicy.subarray(at, at + POLICY_ADDRESS_WORDS).join(' ')}`
}

export function addressWords(rules: RuleColumns, address: number): string {
  return `${rules.addressFlags[address]} ${rules.addressNode[address]} ${rules.addressDetectNode[address]}`
}
