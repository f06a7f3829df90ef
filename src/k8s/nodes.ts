/**
 * Nodes: those of the manifests with addresses, pod CIDRs and CPUs filled in, or a default cluster of three.
 *
 * Source: labels that the kubelet sets (k8s.io/api/core/v1/well_known_labels.go); taints that the node lifecycle controller
 *         sets (kubernetes/kubernetes pkg/controller/nodelifecycle).
 */
import { AddressPool, type Network, parseAll } from './addresses.ts'
import type { Cluster, ClusterNode } from './cluster.ts'
import { type Inventory, type Notes, titleOf } from './inventory.ts'
import { type Cidr, cidrContains, cidrsOverlap, ipFamily } from './ip.ts'
import { kubeletLabels } from './labels.ts'
import { madeUpNodes } from './made-up-nodes.ts'
import { PodCidrs, writtenPodCidrs } from './podcidrs.ts'
import { type Amounts, allocatableOf } from './resources.ts'
import type { IpFamily, NodeObject } from './types.ts'

/** A node and what only the scheduler wants to know of it. */
export interface PlannedNode {
  readonly node: ClusterNode
  readonly taints: readonly { readonly key: string; readonly effect: string; readonly value?: string }[]
  /** Pods it takes at most, from allocatable or capacity; Infinity where neither says. */
  readonly maxPods: number
  /** CPU and memory for pods; Infinity where the node does not say. */
  readonly allocatable: Amounts
}

const DEFAULT_CPUS = 4
const ZONE_LABELS = ['topology.kubernetes.io/zone', 'failure-domain.beta.kubernetes.io/zone']
/** Node addresses come from the first of these blocks that nothing written is in. */
const NODE_CIDRS: Readonly<Record<IpFamily, readonly string[]>> = {
  IPv4: ['10.0.0.0/24', '172.18.0.0/24', '192.168.240.0/24'],
  IPv6: ['fd00:10::/112', 'fd00:18::/112'],
}
/** Of a node block, the addresses before .11 are left to routers and the like. */
const RESERVED_NODE_ADDRESSES = 11
export function deriveNodes(
  inventory: Inventory,
  network: Network,
  previous: Cluster | undefined,
  notes: Notes,
): PlannedNode[] {
  const hostIps = hostIpsOf(inventory)
  const written = inventory.nodes.length > 0 ? inventory.nodes : madeUpNodes(inventory, notes)
  const earlier = new Map(previous?.nodes.map((node) => [node.name, node]))
  const addresses = nodeAddressPools(inventory, network)
  const kept = keepAddresses(
    written.filter(({ metadata }) => !hostIps.has(metadata.name)),
    earlier,
    network,
  )
  const podCidrs = new PodCidrs(inventory, network, earlier)
  return written.map((object) => {
    const title = titleOf(object)
    const filled: string[] = []
    let ips: readonly string[] = writtenNodeAddresses(object)
    if (ips.length === 0) {
      const ofPods = hostIps.get(object.metadata.name)
      ips = ofPods ?? kept.get(object.metadata.name) ?? addresses.flatMap((pool) => pool.takeNext() ?? [])
      filled.push(`address ${ips.join(' and ')}${ofPods === undefined ? '' : ' by status.hostIP of its pods'}`)
    }
    let blocks = writtenPodCidrs(object)
    if (blocks.length === 0) {
      blocks = podCidrs.take(object.metadata.name)
      filled.push(`podCIDR ${blocks.join(' and ')}`)
    }
    const cpus = cpusOf(object, filled, notes)
    const ready = object.status?.conditions?.find(({ type }) => type === 'Ready')?.status ?? 'True'
    const labels = { ...kubeletLabels(object.metadata.name), ...object.metadata.labels }
    if (inventory.nodes.length === 0) {
      filled.unshift('not in the manifests')
      const asked = Object.entries(object.metadata.labels ?? {}).map(([key, value]) => `${key}=${value}`)
      if (asked.length > 0) filled.push(`labels that pods ask for: ${asked.join(', ')}`)
    }
    if (ready !== 'True')
      filled.push(
        'NotReady: taken to be down, so load balancers send it nothing (clouds do where kube-proxy still answers)',
      )
    if (filled.length > 0) notes.derive(title, filled.join(', '))
    return {
      node: {
        name: object.metadata.name,
        labels,
        zone: ZONE_LABELS.map((label) => labels[label]).find((zone) => zone !== undefined) ?? '',
        addresses: ips,
        podCidrs: blocks,
        cpus,
        ready: ready === 'True',
      },
      taints: taintsOf(object, ready === 'True'),
      maxPods: Number(
        object.status?.allocatable?.['pods'] ?? object.status?.capacity?.['pods'] ?? Number.POSITIVE_INFINITY,
      ),
      allocatable: allocatableOf(object.status?.allocatable),
    }
  })
}

/** Node name → the addresses that its pods' status.hostIP gives, one a family. */
function hostIpsOf({ pods }: Inventory): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const { spec, status } of pods) {
    const name = spec.nodeName ?? ''
    const ip = status?.hostIP ?? ''
    if (name === '' || ip === '') continue
    const known = found.get(name)
    if (known === undefined) found.set(name, [ip])
    else if (!known.some((other) => ipFamily(other) === ipFamily(ip))) known.push(ip)
  }
  return found
}

/** InternalIPs first, then ExternalIPs; host names are no addresses. */
function writtenNodeAddresses({ status }: NodeObject): string[] {
  const addresses = status?.addresses ?? []
  return ['InternalIP', 'ExternalIP'].flatMap((wanted) =>
    addresses.filter(({ type }) => type === wanted).map(({ address }) => address),
  )
}

/** Addresses that nodes without written ones had before; they are claimed ahead of nodes that are new. */
function keepAddresses(
  written: readonly NodeObject[],
  earlier: ReadonlyMap<string, ClusterNode>,
  { used }: Network,
): ReadonlyMap<string, readonly string[]> {
  const kept = new Map<string, readonly string[]>()
  for (const object of written) {
    const addresses = earlier.get(object.metadata.name)?.addresses ?? []
    if (writtenNodeAddresses(object).length > 0 || addresses.length === 0) continue
    if (addresses.some((ip) => used.has(ip))) continue
    kept.set(object.metadata.name, addresses)
    for (const ip of addresses) used.add(ip)
  }
  return kept
}

function nodeAddressPools(inventory: Inventory, network: Network): AddressPool[] {
  const taken = [
    ...network.serviceCidrs,
    ...network.clusterCidrs,
    ...parseAll(inventory.nodes.flatMap(writtenPodCidrs)),
  ]
  return network.families.map((family) => {
    const blocks = parseAll(NODE_CIDRS[family])
    const free = blocks.find(
      (block) =>
        !taken.some((cidr) => cidrsOverlap(cidr, block)) && ![...network.used].some((ip) => inBlock(block, ip)),
    )
    return new AddressPool(free ?? blocks[0]!, network.used, RESERVED_NODE_ADDRESSES)
  })
}

function inBlock(block: Cidr, text: string): boolean {
  // `used` also holds node addresses of type Hostname.
  return /^[\d.]+$|:/.test(text) && cidrContains(block, text)
}

/** `4`, `"4"`, `"4000m"`; 0 for what is no number of CPUs. */
export function cpusIn(quantity: unknown): number {
  const match = /^\+?(\d+(?:\.\d*)?|\.\d+)(m?)$/.exec(String(quantity))
  const cpus = match === null ? 0 : Number(match[1]) / (match[2] === 'm' ? 1000 : 1)
  return Number.isFinite(cpus) ? cpus : 0
}

function cpusOf({ metadata, status }: NodeObject, filled: string[], notes: Notes): number {
  const quantity = status?.capacity?.['cpu'] ?? status?.allocatable?.['cpu']
  if (quantity !== undefined) {
    const cpus = cpusIn(quantity)
    if (cpus > 0) return cpus
    notes.warn(
      'W_NODE_CPU',
      `Node ${metadata.name}`,
      `status.capacity.cpu is ${JSON.stringify(quantity)}, which is no number of CPUs`,
    )
  }
  filled.push(`${DEFAULT_CPUS} CPUs`)
  return DEFAULT_CPUS
}

/** The written taints and those that the node controller puts on a node that is cordoned or not ready. */
function taintsOf({ spec }: NodeObject, ready: boolean): PlannedNode['taints'] {
  const taints = [...(spec?.taints ?? [])]
  if (spec?.unschedulable === true) taints.push({ key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' })
  if (!ready) taints.push({ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' })
  return taints
}
