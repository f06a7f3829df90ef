/**
 * What the rules must know of every address: whose it is, and what it counts as.
 *
 * Cost: a few comparisons an address; membership in blocks is integer arithmetic on the words, so that a trace with a
 * million clients adds some tens of milliseconds.
 */
import {
  ADDRESS_BALANCER,
  ADDRESS_CLUSTER_IP,
  ADDRESS_DETECTED,
  ADDRESS_EXTERNAL_FRONTEND,
  ADDRESS_IN_SERVICE_CIDR,
  ADDRESS_IPV6,
  ADDRESS_KEEPS_SOURCE,
  ADDRESS_LIVE,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_NODE_PORTS,
  ADDRESS_ON_EVERY_NODE,
  ADDRESS_POD,
  ADDRESS_POD_RANGE,
} from '../../native-free-core/index.ts'
import type { Cluster, DerivedNote } from '../k8s/cluster.ts'
import { type Cidr, ipFromBigInt, parseCidr } from '../k8s/ip.ts'
import type { ProxyService } from './frontends.ts'
import { nodePortAddressesOf, type ProxySettings, servesLocalhost } from './kube-proxy.ts'
import type { Registry } from './registry.ts'

export interface AddressColumns {
  readonly flags: Int32Array
  /** Node that owns the address, or -1. */
  readonly node: Int32Array
  /** Node whose podCIDR holds it, or -1. */
  readonly detectNode: Int32Array
}

/** The bridge that pods hang on has the first address of its node's pod CIDR. */
export function gatewayText(cidr: Cidr): string {
  return ipFromBigInt(cidr.first + 1n, cidr.family)
}

/** Eight words: the block's first address, masked, and its mask. IPv4 is mapped into IPv6. */
export function maskWords(cidr: Cidr): number[] {
  const mapped = cidr.family === 'IPv4'
  const prefix = mapped ? cidr.prefix + 96 : cidr.prefix
  const bits = mapped ? (0xffffn << 32n) | cidr.first : cidr.first
  const mask = ((1n << BigInt(prefix)) - 1n) << BigInt(128 - prefix)
  const split = (value: bigint): number[] =>
    [96n, 64n, 32n, 0n].map((shift) => Number((value >> shift) & 0xffffffffn) | 0)
  return [...split(bits & mask), ...split(mask)]
}

/** A list of blocks that is asked for many addresses. */
class Blocks {
  private readonly words: Int32Array
  private readonly owners: readonly number[]

  constructor(cidrs: readonly { readonly text: string; readonly owner: number }[]) {
    const parsed = cidrs.flatMap(({ text, owner }) => {
      const cidr = parseCidr(text)
      return cidr ? [{ words: maskWords(cidr), owner }] : []
    })
    this.words = Int32Array.from(parsed.flatMap(({ words }) => words))
    this.owners = parsed.map(({ owner }) => owner)
  }

  /** Owner of the first block that holds the address, or -1. */
  find(addresses: Int32Array, id: number): number {
    const { words } = this
    const a = id * 4
    for (let i = 0; i < this.owners.length; i++) {
      const b = i * 8
      if (
        (addresses[a + 3]! & words[b + 7]!) === words[b + 3]! &&
        (addresses[a + 2]! & words[b + 6]!) === words[b + 2]! &&
        (addresses[a + 1]! & words[b + 5]!) === words[b + 1]! &&
        (addresses[a]! & words[b + 4]!) === words[b]!
      ) {
        return this.owners[i]!
      }
    }
    return -1
  }
}

export function addressColumns(
  cluster: Cluster,
  settings: ProxySettings,
  registry: Registry,
  services: readonly ProxyService[],
): AddressColumns {
  const count = registry.addressCount
  const columns: AddressColumns = {
    flags: new Int32Array(count),
    node: new Int32Array(count).fill(-1),
    detectNode: new Int32Array(count).fill(-1),
  }
  const nodeIndex = new Map(cluster.nodes.map((one) => [one.name, registry.node(one.name)]))
  // A node's address is the node's even where a pod or an endpoint has it too, so nodes come after those.
  fillByBlock(columns, cluster, settings, registry)
  fillPods(columns, cluster, registry, nodeIndex)
  fillEndpoints(columns, cluster, registry, nodeIndex)
  fillNodes(columns, cluster, settings, registry)
  fillFrontends(columns, services, settings, registry)
  return columns
}

/** What an address counts as by the blocks that hold it. */
function fillByBlock(
  { flags, detectNode }: AddressColumns,
  cluster: Cluster,
  settings: ProxySettings,
  registry: Registry,
): void {
  const words = registry.addressWords()
  const block = (texts: readonly string[]): Blocks => new Blocks(texts.map((text) => ({ text, owner: 0 })))
  const detected = settings.detector === 'ClusterCIDR' ? block(settings.detectorCidrs) : block([])
  const { calicoPools = [] } = cluster
  const pools = calicoPools.map(({ cidr }) => cidr)
  const podRanges = block([...cluster.clusterCidrs, ...commonPodRanges(cluster), ...pools])
  const plain = block(calicoPools.flatMap(({ cidr, nat }) => (nat ? [] : cidr)))
  const serviceRanges = block(cluster.serviceCidrs)
  const loopback = block(['127.0.0.0/8', '::1/128'])
  const nodeRanges =
    settings.detector === 'NodeCIDR'
      ? new Blocks(
          cluster.nodes.flatMap((one) => one.podCidrs.map((text) => ({ text, owner: registry.node(one.name) }))),
        )
      : null
  const localhost = servesLocalhost(settings)
  for (let id = 0; id < flags.length; id++) {
    const v4 = registry.isIpv4(id)
    let bits = v4 ? 0 : ADDRESS_IPV6
    if (detected.find(words, id) >= 0) bits |= ADDRESS_DETECTED
    if (podRanges.find(words, id) >= 0) bits |= ADDRESS_POD_RANGE
    if (plain.find(words, id) >= 0) bits |= ADDRESS_KEEPS_SOURCE
    if (serviceRanges.find(words, id) >= 0) bits |= ADDRESS_IN_SERVICE_CIDR
    if (loopback.find(words, id) >= 0) bits |= ADDRESS_LOOPBACK | (v4 && localhost ? ADDRESS_NODE_PORTS : 0)
    if (nodeRanges !== null) detectNode[id] = nodeRanges.find(words, id)
    flags[id] = bits
  }
}

function fillPods(
  { flags, node }: AddressColumns,
  { pods }: Cluster,
  registry: Registry,
  nodeIndex: ReadonlyMap<string, number>,
): void {
  for (const pod of pods) {
    if (pod.hostNetwork) continue
    for (const address of pod.addresses) {
      const id = registry.address(address)
      flags[id]! |= ADDRESS_POD | ADDRESS_LIVE
      node[id] = nodeIndex.get(pod.nodeName) ?? -1
    }
  }
}

/** Endpoints that name a node live there even where nobody wrote the pod down. */
function fillEndpoints(
  { flags, node }: AddressColumns,
  { slices }: Cluster,
  registry: Registry,
  nodeIndex: ReadonlyMap<string, number>,
): void {
  for (const endpoint of slices.flatMap((slice) => slice.endpoints ?? [])) {
    const owner = nodeIndex.get(endpoint.nodeName ?? '')
    for (const address of endpoint.addresses.slice(0, 1)) {
      const id = registry.address(address)
      if (id >= flags.length) continue
      flags[id]! |= ADDRESS_LIVE
      if (owner !== undefined && node[id] === -1) {
        flags[id]! |= ADDRESS_POD
        node[id] = owner
      }
    }
  }
}

function fillNodes(
  { flags, node }: AddressColumns,
  { nodes }: Cluster,
  settings: ProxySettings,
  registry: Registry,
): void {
  for (const one of nodes) {
    const i = registry.node(one.name)
    const serving = new Set(nodePortAddressesOf(settings, one.addresses))
    for (const address of one.addresses) {
      const id = registry.address(address)
      flags[id] = (flags[id]! & ~ADDRESS_POD) | ADDRESS_NODE | (serving.has(address) ? ADDRESS_NODE_PORTS : 0)
      node[id] = i
    }
    // The bridge's own address is the node's too.
    for (const text of one.podCidrs) {
      const cidr = parseCidr(text)
      if (cidr === null) continue
      const gateway = registry.address(gatewayText(cidr))
      if (gateway < flags.length && node[gateway] === -1) {
        flags[gateway]! |= ADDRESS_NODE
        node[gateway] = i
      }
    }
  }
}

function fillFrontends(
  { flags }: AddressColumns,
  services: readonly ProxyService[],
  { mode }: ProxySettings,
  registry: Registry,
): void {
  for (const { kind, address, keepsClient } of services.flatMap(({ frontends }) => frontends)) {
    if (address === null) continue
    const id = registry.address(address)
    if (mode === 'ipvs' && kind !== 'loadBalancerProxy') flags[id]! |= ADDRESS_ON_EVERY_NODE
    if (kind === 'clusterIP') flags[id]! |= ADDRESS_CLUSTER_IP
    else flags[id]! |= ADDRESS_EXTERNAL_FRONTEND | (kind === 'loadBalancerProxy' && !keepsClient ? ADDRESS_BALANCER : 0)
  }
}

/**
 * What is taken of the network between pods, which no manifest says: their range, and a plugin that masquerades what leaves it.
 *
 * @param egressMasquerade  the model's constant of that name
 */
export function assumedNetwork(cluster: Cluster, egressMasquerade: number): DerivedNote {
  const ranges = [...cluster.clusterCidrs, ...commonPodRanges(cluster)]
  const range = ranges.length === 0 ? 'no pod range is known' : `pod range ${ranges.join(' and ')}`
  const plugin =
    egressMasquerade !== 0
      ? 'a network plugin that masquerades what pods send out of it, as flannel and kindnet do'
      : 'a network plugin that masquerades nothing (egressMasquerade: 0)'
  return { object: 'Network', what: `${range}, ${plugin}` }
}

/** podCIDRs outside the cluster CIDRs, where someone wrote such. */
function commonPodRanges(cluster: Cluster): string[] {
  return cluster.clusterCidrs.length > 0 ? [] : cluster.nodes.flatMap((node) => node.podCidrs)
}
