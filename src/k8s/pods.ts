/**
 * Pods with their nodes and addresses: written ones as they are, the others placed as the scheduler would and given
 * addresses from their node's podCIDR.
 *
 * Invariants: a pod's nodeName is one of the cluster's nodes or ''; no two pods share an address, host network apart.
 */
import { Random } from '../random.ts'
import { AddressPool, type Network, parseAll } from './addresses.ts'
import type { Cluster, ClusterNode, ClusterPod } from './cluster.ts'
import { type Inventory, type Notes, titleOf } from './inventory.ts'
import { ipFamily } from './ip.ts'
import { cpusIn, type PlannedNode } from './nodes.ts'
import { Scheduler } from './schedule.ts'
import type { Pod, PodSpec, Workload } from './types.ts'
import {
  candidateOf,
  checkPodCount,
  type DesiredPod,
  daemonPods,
  podMakers,
  replicaPods,
  replicasOf,
  writtenPods,
} from './workloads.ts'

/** A pod and the node name that its endpoints carry: as written, even if there is no such Node. */
export interface PlannedPod {
  readonly pod: ClusterPod
  readonly endpointNodeName: string
}

/** The first two addresses of a podCIDR are the network's and the bridge's. */
const RESERVED_POD_ADDRESSES = 2
/** More nodes than this are counted in a note, not named. */
const MAX_NAMED_NODES = 6

/**
 * @param placement  0: the one that is the same each time; any other number is another that kube-scheduler could have made: ties
 *                   by chance, workloads in any order
 */
export function derivePods(
  inventory: Inventory,
  nodes: readonly PlannedNode[],
  network: Network,
  previous: Cluster | undefined,
  notes: Notes,
  placement: number = 0,
): PlannedPod[] {
  const chance = placement === 0 ? null : new Random(placement, 'placement')
  const placer = new Placer(nodes, network, previous, notes, chance)
  const written = writtenPods(inventory)
  const ofOwner = new Map<string, DesiredPod[]>()
  for (const pod of written) {
    const own = ofOwner.get(pod.owner)
    if (own === undefined) ofOwner.set(pod.owner, [pod])
    else own.push(pod)
  }
  const planned = placer.placeAll(written)
  let count = planned.length
  // In order of names: where a pod goes must not depend on the order of the files. Jobs come and go, so they come last.
  const orderOf = (workload: Workload): string => (workload.kind === 'Job' ? '~' : '') + titleOf(workload)
  const workloads = podMakers(inventory).sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))
  const ofWorkload = new Map<Workload, PlannedPod[]>()
  // Which workload was there first nobody knows either. The pods are in the same order whichever was.
  for (const workload of chance === null ? workloads : shuffled(workloads, chance)) {
    const title = titleOf(workload)
    const own = ofOwner.get(title) ?? []
    const isDaemon = workload.kind === 'DaemonSet'
    const replicas = isDaemon ? null : replicasOf(workload, inventory)
    checkPodCount(count + (replicas?.count ?? 0))
    const desired =
      replicas === null
        ? daemonPods(workload, own, nodes, placer.scheduler)
        : replicaPods(workload, own, replicas.count)
    if (desired.length === 0) {
      if (isDaemon && own.length === 0) {
        const why = placer.scheduler.whyNone(candidateOf(workload), true)
        notes.warn('W_POD_UNPLACED', title, `it has no pod: ${why}`)
      }
      continue
    }
    const placed = placer.placeAll(desired)
    count += placed.length
    ofWorkload.set(workload, placed)
    if (replicas !== null && replicas.decidedBy !== '')
      notes.derive(title, `${replicas.count} replicas by ${replicas.decidedBy}`)
    notes.derive(title, `${placed.length} ${placed.length === 1 ? 'pod' : 'pods'}: ${describeNodes(placed)}`)
    const unplaced = placed.filter(({ pod }) => pod.nodeName === '').length
    if (unplaced > 0) {
      const pods = placed.length === 1 ? 'its pod fits' : `${unplaced} of its ${placed.length} pods fit`
      const address = unplaced === 1 ? 'has no address' : 'have no address'
      const why = placer.scheduler.whyNone(candidateOf(workload), false)
      notes.warn('W_POD_UNPLACED', title, `${pods} on no node and ${address}: ${why}`)
    }
  }
  for (const workload of workloads) for (const pod of ofWorkload.get(workload) ?? []) planned.push(pod)
  return planned
}

/** Fisher and Yates. */
function shuffled<Item>(items: readonly Item[], chance: Random): Item[] {
  const order = [...items]
  for (let i = order.length - 1; i > 0; i--) {
    const other = chance.below(i + 1)
    ;[order[i], order[other]] = [order[other]!, order[i]!]
  }
  return order
}

function describeNodes(placed: readonly PlannedPod[]): string {
  const counts = new Map<string, number>()
  for (const { pod } of placed) {
    const nodeName = pod.nodeName === '' ? 'no node' : pod.nodeName
    counts.set(nodeName, (counts.get(nodeName) ?? 0) + 1)
  }
  if (counts.size > MAX_NAMED_NODES) return `over ${counts.size} nodes`
  return Array.from(counts, ([name, count]) => (count === 1 ? name : `${count} on ${name}`)).join(', ')
}

class Placer {
  readonly scheduler: Scheduler
  readonly #nodes: ReadonlyMap<string, PlannedNode>
  readonly #network: Network
  readonly #notes: Notes
  readonly #previous: ReadonlyMap<string, ClusterPod>
  readonly #pools = new Map<string, readonly AddressPool[]>()
  /** Addresses of the previous cluster's pods that nothing written claims now: set aside, whoever comes first. */
  readonly #reserved = new Set<string>()

  constructor(
    nodes: readonly PlannedNode[],
    network: Network,
    previous: Cluster | undefined,
    notes: Notes,
    chance: Random | null,
  ) {
    this.scheduler = new Scheduler(nodes, chance)
    this.#nodes = new Map(nodes.map((planned) => [planned.node.name, planned]))
    this.#network = network
    this.#notes = notes
    this.#previous = new Map(previous?.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod]))
    for (const { hostNetwork, addresses } of previous?.pods ?? []) {
      for (const ip of addresses) if (!hostNetwork && !network.used.has(ip)) this.#reserved.add(ip)
    }
    for (const ip of this.#reserved) network.used.add(ip)
  }

  /** Pods whose node is known come first, so that the others see the nodes as full as they are. */
  placeAll(pods: readonly DesiredPod[]): PlannedPod[] {
    const placed = pods.map((pod) => {
      const node = this.#nodes.get(pod.spec.nodeName ?? '') ?? this.#earlierNode(pod)
      if (node !== undefined) this.scheduler.place(node, pod)
      return { pod, node: node ?? null }
    })
    return placed.map(({ pod, node }) => this.#plan(pod, node ?? this.#chooseNode(pod)))
  }

  /** The node that a pod without a nodeName was on, if it may still run there. */
  #earlierNode(pod: DesiredPod): PlannedNode | undefined {
    if ((pod.spec.nodeName ?? '') !== '' || isPending(pod.written)) return undefined
    const node = this.#nodes.get(this.#previous.get(`${pod.namespace}/${pod.name}`)?.nodeName ?? '')
    return node !== undefined && this.scheduler.fits(node, pod, false) ? node : undefined
  }

  #chooseNode(pod: DesiredPod): PlannedNode | null {
    // A Pod that its dump shows as pending is on no node yet, and one that names a node is not moved.
    if (isPending(pod.written) || (pod.spec.nodeName ?? '') !== '') return null
    const hostNetwork = pod.spec.hostNetwork === true
    const node = this.scheduler.choose(pod, ({ node }) => hostNetwork || this.#hasAddress(node))
    if (node !== null) this.scheduler.place(node, pod)
    return node
  }

  #plan(desired: DesiredPod, node: PlannedNode | null): PlannedPod {
    const { namespace, name, spec, written } = desired
    const title = `Pod ${namespace}/${name}`
    const hostNetwork = spec.hostNetwork === true
    let addresses = writtenAddresses(written)
    const filled: string[] = []
    if (node !== null && (spec.nodeName ?? '') === '') filled.push(`node ${node.node.name}`)
    if (addresses.length === 0 && node !== null && !isPending(written)) {
      addresses = hostNetwork ? firstOfFamilies(node.node.addresses) : this.#takeAddresses(desired, node)
      filled.push(addresses.length === 0 ? 'no address' : `address ${addresses.join(' and ')}`)
      if (addresses.length === 0) {
        this.#notes.warn('W_POD_UNPLACED', title, `the podCIDR of node ${node.node.name} has no address left for it`)
      }
    }
    if (written !== null && filled.length > 0) this.#notes.derive(title, filled.join(', '))
    if (written !== null && node === null) this.#warnUnplaced(title, written, desired)
    const nodeName = node?.node.name ?? ''
    return {
      pod: {
        namespace,
        name,
        labels: desired.labels,
        nodeName,
        addresses,
        hostNetwork,
        hostname: spec.hostname ?? '',
        subdomain: spec.subdomain ?? '',
        dnsPolicy: spec.dnsPolicy ?? 'ClusterFirst',
        dnsConfig: spec.dnsConfig ?? {},
        hostAliases: spec.hostAliases ?? [],
        ready: isReady(written),
        terminating: written?.metadata.deletionTimestamp !== undefined,
        ports: portsOf(spec),
        cpuLimit: cpuLimitOf(spec),
        owner: desired.owner,
      },
      endpointNodeName: nodeName === '' ? (spec.nodeName ?? '') : nodeName,
    }
  }

  #warnUnplaced(title: string, { spec, status }: Pod, desired: DesiredPod): void {
    if ((spec.nodeName ?? '') !== '') {
      const message = `its node ${spec.nodeName} is not among the Nodes of the manifests`
      this.#notes.warn('W_UNKNOWN_NODE', title, message)
    } else if (status?.phase === 'Pending') {
      this.#notes.warn('W_POD_UNPLACED', title, 'it is Pending in the manifests and has no node')
    } else {
      const why = this.scheduler.whyNone(desired, false)
      this.#notes.warn('W_POD_UNPLACED', title, `it fits on no node and has no address: ${why}`)
    }
  }

  #takeAddresses({ namespace, name }: DesiredPod, { node }: PlannedNode): string[] {
    const earlier = this.#previous.get(`${namespace}/${name}`)
    if (earlier !== undefined && earlier.nodeName === node.name && !earlier.hostNetwork) {
      const kept = earlier.addresses.filter((ip) => this.#reserved.delete(ip))
      if (kept.length > 0) return kept
    }
    return firstOfFamilies(this.#poolsOf(node).flatMap((pool) => pool.takeNext() ?? []))
  }

  #hasAddress(node: ClusterNode): boolean {
    return this.#poolsOf(node).some((pool) => pool.hasNext())
  }

  #poolsOf({ name, podCidrs }: ClusterNode): readonly AddressPool[] {
    let pools = this.#pools.get(name)
    if (pools === undefined) {
      pools = parseAll(podCidrs).map((cidr) => new AddressPool(cidr, this.#network.used, RESERVED_POD_ADDRESSES))
      this.#pools.set(name, pools)
    }
    return pools
  }
}

/** Shown as pending by whoever dumped it: it runs nowhere. A Pod without status is one that is yet to be created. */
function isPending(written: Pod | null): boolean {
  return written?.status?.phase === 'Pending' && (written.spec.nodeName ?? '') === ''
}

function isReady(written: Pod | null): boolean {
  const ready = written?.status?.conditions?.find(({ type }) => type === 'Ready')
  return ready === undefined ? written?.status?.phase !== 'Pending' : ready.status === 'True'
}

function writtenAddresses(written: Pod | null): string[] {
  const ips = written?.status?.podIPs?.map(({ ip }) => ip) ?? []
  if (ips.length === 0 && written?.status?.podIP !== undefined) ips.push(written.status.podIP)
  return firstOfFamilies(ips)
}

function firstOfFamilies(ips: readonly string[]): string[] {
  return ips.filter((ip, index) => ips.findIndex((other) => ipFamily(other) === ipFamily(ip)) === index)
}

function runningContainers({ containers = [], initContainers = [] }: PodSpec): NonNullable<PodSpec['containers']> {
  return [...containers, ...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')]
}

/** A pod is held to a number of CPUs only where each of its containers is. */
function cpuLimitOf(spec: PodSpec): number {
  const limits = runningContainers(spec).map(({ resources }) => cpusIn(resources?.limits?.['cpu'] ?? 0))
  return limits.some((limit) => limit === 0) ? 0 : limits.reduce((sum, limit) => sum + limit, 0)
}

/** Of containers and of sidecars, which are init containers that keep running. */
function portsOf(spec: PodSpec): ClusterPod['ports'] {
  return runningContainers(spec).flatMap(({ ports = [] }) =>
    ports.map(({ name = '', containerPort, protocol = 'TCP', hostPort = 0, hostIP = '' }) => ({
      ...{ name, containerPort, protocol },
      ...(hostPort > 0 ? { hostPort } : {}),
      ...(hostPort > 0 && hostIP !== '' ? { hostIP } : {}),
    })),
  )
}
