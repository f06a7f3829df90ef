/**
 * podCIDRs for nodes that the manifests give none: a subnet that no other node has and that holds no other node's pods.
 *
 * Source: one /24 (IPv6: /64) of the cluster CIDR for each node, as kube-controller-manager's node IPAM does with its
 *         default mask sizes; 10.244.0.0/16 is the cluster CIDR of kubeadm's and flannel's examples.
 */
import { type Network, parseAll } from './addresses.ts'
import type { ClusterNode } from './cluster.ts'
import type { Inventory } from './inventory.ts'
import { type Cidr, cidrContains, cidrsOverlap, ipFamily, ipToBigInt, makeCidr } from './ip.ts'
import type { IpFamily, NodeObject } from './types.ts'

/** Taken in turn where kube-proxy's configuration has no clusterCIDR. */
const DEFAULT_BLOCKS: Readonly<Record<IpFamily, readonly string[]>> = {
  IPv4: ['10.244.0.0/16', '10.245.0.0/16', '10.246.0.0/15', '10.248.0.0/13', '100.64.0.0/10'],
  IPv6: ['fd00:10:244::/48'],
}
const SUBNET_PREFIX: Readonly<Record<IpFamily, number>> = { IPv4: 24, IPv6: 64 }

export function writtenPodCidrs({ spec }: NodeObject): readonly string[] {
  if (spec?.podCIDRs !== undefined && spec.podCIDRs.length > 0) return spec.podCIDRs
  return spec?.podCIDR === undefined ? [] : [spec.podCIDR]
}

export class PodCidrs {
  /** Subnets that are written, kept or given, by text; those of another size are in `#odd`. */
  readonly #taken: Set<string>
  readonly #odd: readonly Cidr[]
  readonly #families: readonly {
    readonly family: IpFamily
    readonly blocks: readonly Cidr[]
    readonly free: Iterator<Cidr>
  }[]
  /** `family node` → the subnet that is kept for it: what it had before, or the one its written pods are in. */
  readonly #kept = new Map<string, string>()

  constructor(inventory: Inventory, network: Network, earlier: ReadonlyMap<string, ClusterNode>) {
    const written = [...parseAll(inventory.nodes.flatMap(writtenPodCidrs)), ...network.serviceCidrs]
    this.#taken = new Set(written.map(({ text }) => text))
    this.#odd = written.filter(({ prefix, family }) => prefix !== SUBNET_PREFIX[family])
    this.#families = network.families.map((family) => {
      const configured = network.clusterCidrs.filter((cidr) => cidr.family === family)
      const blocks = configured.length > 0 ? configured : parseAll(DEFAULT_BLOCKS[family])
      return { family, blocks, free: this.#freeSubnets(blocks) }
    })
    this.#keepSubnets(inventory, earlier)
  }

  /** One subnet a family, the primary first; fewer where a family's blocks are used up. */
  take(name: string): string[] {
    return this.#families.flatMap(({ family, free }) => {
      const kept = this.#kept.get(`${family} ${name}`)
      if (kept !== undefined) return [kept]
      const next = free.next()
      return next.done === true ? [] : [next.value.text]
    })
  }

  #keepSubnets(inventory: Inventory, earlier: ReadonlyMap<string, ClusterNode>): void {
    const hasOwn = new Set<string>()
    for (const node of inventory.nodes) if (writtenPodCidrs(node).length > 0) hasOwn.add(node.metadata.name)
    const keep = (name: string, subnet: Cidr): void => {
      const key = `${subnet.family} ${name}`
      if (!hasOwn.has(name) && !this.#kept.has(key) && this.#isFree(subnet)) this.#kept.set(key, subnet.text)
      this.#taken.add(subnet.text)
    }
    for (const [name, node] of earlier) for (const cidr of parseAll(node.podCidrs)) keep(name, cidr)
    for (const { spec, status } of inventory.pods) {
      if (spec.hostNetwork === true) continue
      for (const ip of [status?.podIP ?? '', ...(status?.podIPs ?? []).map((podIp) => podIp.ip)]) {
        if (ip === '') continue
        const block = this.#families.flatMap(({ blocks }) => blocks).find((cidr) => cidrContains(cidr, ip))
        if (block !== undefined) keep(spec.nodeName ?? '', subnetOf(block, ip))
      }
    }
  }

  #isFree(subnet: Cidr): boolean {
    return !this.#taken.has(subnet.text) && !this.#odd.some((cidr) => cidrsOverlap(cidr, subnet))
  }

  /** From the second subnet of the first block on, so that node-1 gets 10.244.1.0/24; the first one comes last. */
  *#freeSubnets(blocks: readonly Cidr[]): Generator<Cidr> {
    for (const block of blocks) {
      const prefix = subnetPrefix(block)
      const count = 1n << BigInt(prefix - block.prefix)
      const size = (block.last - block.first + 1n) / count
      for (let index = 1n; index <= count; index++) {
        const subnet = makeCidr(block.first + (index % count) * size, prefix, block.family)
        if (!this.#isFree(subnet)) continue
        this.#taken.add(subnet.text)
        yield subnet
      }
    }
  }
}

/** The subnet of `block` that holds `ip`. */
function subnetOf(block: Cidr, ip: string): Cidr {
  return makeCidr(ipToBigInt(ip), subnetPrefix(block), ipFamily(ip))
}

/** A block too narrow for one subnet is one subnet. */
function subnetPrefix(block: Cidr): number {
  return Math.max(block.prefix, SUBNET_PREFIX[block.family])
}
