/**
 * Which addresses the manifests use, which blocks the cluster draws from, and pools that hand out the rest.
 *
 * Invariants: no derived address is one that a manifest names; a pool never gives an address twice.
 * Source: defaults of kubeadm (service CIDR 10.96.0.0/12) and flannel (pod CIDR 10.244.0.0/16); load-balancer addresses
 *         are from the blocks that RFC 5737, RFC 2544 and RFC 3849 set aside, so they can be no one's.
 */
import type { Inventory } from './inventory.ts'
import { type Cidr, cidrCovers, commonCidr, ipFamily, ipFromBigInt, ipToBigInt, makeCidr, parseCidr } from './ip.ts'
import type { IpFamily } from './types.ts'

export interface Network {
  /** Address families of the cluster, the primary first. */
  readonly families: readonly IpFamily[]
  readonly serviceCidrs: readonly Cidr[]
  readonly serviceCidrsWritten: boolean
  /** KubeProxyConfiguration.clusterCIDR, or empty. */
  readonly clusterCidrs: readonly Cidr[]
  /** Every address that is taken, written or handed out; grows while the cluster is derived. */
  readonly used: Set<string>
}

const block = (text: string): Cidr => parseCidr(text)!

const DEFAULT_SERVICE_CIDRS: Readonly<Record<IpFamily, Cidr>> = {
  IPv4: block('10.96.0.0/12'),
  IPv6: block('fd00:10:96::/112'),
}
/** Service blocks of kubeadm, GKE, EKS, OpenShift, k3s, kubespray and MicroK8s: the first that holds all is taken. */
const KNOWN_SERVICE_CIDRS: readonly Cidr[] = [
  DEFAULT_SERVICE_CIDRS.IPv4,
  block('34.118.224.0/20'),
  block('10.100.0.0/16'),
  block('172.20.0.0/16'),
  block('172.30.0.0/16'),
  block('10.43.0.0/16'),
  block('10.233.0.0/18'),
  block('10.152.183.0/24'),
  DEFAULT_SERVICE_CIDRS.IPv6,
]
/** Pod blocks of flannel and kubeadm's examples, Calico, k3s, kind: a block that holds all podCIDRs stands for them. */
const KNOWN_POD_CIDRS: readonly Cidr[] = ['10.244.0.0/16', '10.42.0.0/16', '192.168.0.0/16', 'fd00:10:244::/48'].map(
  block,
)
export const LOAD_BALANCER_CIDRS: Readonly<Record<IpFamily, readonly Cidr[]>> = {
  IPv4: [block('203.0.113.0/24'), block('198.51.100.0/24'), block('198.18.0.0/15')],
  IPv6: [block('2001:db8:113::/64')],
}

export function surveyNetwork(inventory: Inventory): Network {
  const clusterCidrs = parseAll(inventory.kubeProxy?.clusterCIDR?.split(',') ?? [])
  const written = parseAll(inventory.serviceCidrs.flatMap(({ spec }) => spec.cidrs))
  const clusterIps = inventory.services.flatMap(({ spec }) =>
    spec.type === 'ExternalName' ? [] : [spec.clusterIP ?? '', ...(spec.clusterIPs ?? [])].filter(isAddress),
  )
  const families = clusterFamilies(inventory, [...written, ...clusterCidrs], clusterIps)
  const serviceCidrs =
    written.length > 0
      ? written
      : families.map((family) =>
          serviceCidrFor(
            family,
            clusterIps.filter((ip) => ipFamily(ip) === family),
          ),
        )
  return {
    families,
    serviceCidrs,
    serviceCidrsWritten: written.length > 0,
    clusterCidrs,
    used: new Set([...clusterIps, ...writtenAddresses(inventory)]),
  }
}

/**
 * Dual stack if anything written is of both families. The primary is the one on which blocks, nodes and pods agree; Services
 * alone make it IPv6 only where each of them says so. Otherwise it is IPv4, whatever the order of the objects.
 */
function clusterFamilies(inventory: Inventory, blocks: readonly Cidr[], clusterIps: readonly string[]): IpFamily[] {
  const nodeAddresses = inventory.nodes.map(({ status }) =>
    (status?.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => ipFamily(address)),
  )
  const podCidrs = inventory.nodes.map(({ spec }) =>
    [spec?.podCIDR ?? '', ...(spec?.podCIDRs ?? [])].filter((cidr) => cidr !== '').map(ipFamily),
  )
  const pods = inventory.pods.map(({ status }) =>
    [status?.podIP ?? '', ...(status?.podIPs ?? []).map(({ ip }) => ip)].filter((ip) => ip !== '').map(ipFamily),
  )
  const services = inventory.services
    .filter(({ spec }) => spec.type !== 'ExternalName')
    .map(({ spec }): readonly IpFamily[] => {
      const own = [...[spec.clusterIP ?? '', ...(spec.clusterIPs ?? [])].filter(isAddress).map(ipFamily)]
      return [...own, ...(spec.ipFamilies ?? [])]
    })
  const needsBoth = inventory.services.some(({ spec }) => spec.ipFamilyPolicy === 'RequireDualStack')
  const cluster = [blocks.map(({ family }) => family), ...nodeAddresses, ...podCidrs, ...pods]
  const found = new Set<IpFamily>([...cluster.flat(), ...clusterIps.map(ipFamily), ...services.flat()])
  if (needsBoth) for (const family of ['IPv4', 'IPv6'] as const) found.add(family)
  const firsts = new Set(cluster.flatMap((families) => families.slice(0, 1)))
  const isIpv6 =
    firsts.size > 0 ? !firsts.has('IPv4') : services.length > 0 && services.every((families) => families[0] === 'IPv6')
  const primary: IpFamily = isIpv6 ? 'IPv6' : 'IPv4'
  found.delete(primary)
  return [primary, ...found]
}

/** The block that the written cluster IPs of one family are from: a well-known one, or the narrowest that is plausible. */
function serviceCidrFor(family: IpFamily, clusterIps: readonly string[]): Cidr {
  if (clusterIps.length === 0) return DEFAULT_SERVICE_CIDRS[family]
  const bits = family === 'IPv4' ? 32 : 128
  const all = commonCidr(clusterIps.map((ip) => makeCidr(ipToBigInt(ip), bits, family)))
  const known = KNOWN_SERVICE_CIDRS.find((cidr) => cidrCovers(cidr, all))
  // A service CIDR is seldom narrower than /16 (IPv6: /112), and one IP tells no more than that.
  const prefix = Math.min(all.prefix, family === 'IPv4' ? 16 : 112)
  return known ?? makeCidr(all.first, prefix, family)
}

/** The block that pods are from, as `clusterCIDR` would name it: one a family. */
export function clusterCidrsOf(podCidrs: readonly string[]): string[] {
  const parsed = parseAll(podCidrs)
  return (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const ofFamily = parsed.filter((cidr) => cidr.family === family)
    if (ofFamily.length === 0) return []
    const common = commonCidr(ofFamily)
    return [(KNOWN_POD_CIDRS.find((known) => cidrCovers(known, common)) ?? common).text]
  })
}

function* writtenAddresses(inventory: Inventory): Generator<string> {
  for (const { status } of inventory.nodes) for (const { address } of status?.addresses ?? []) yield address
  for (const { status } of inventory.pods) {
    if (status?.podIP !== undefined) yield status.podIP
    for (const { ip } of status?.podIPs ?? []) yield ip
    if (status?.hostIP !== undefined) yield status.hostIP
  }
  for (const { spec, status } of inventory.services) {
    yield* spec.externalIPs ?? []
    if (spec.loadBalancerIP !== undefined) yield spec.loadBalancerIP
    for (const { ip } of status?.loadBalancer?.ingress ?? []) if (ip !== undefined) yield ip
  }
  for (const { endpoints } of inventory.slices) for (const { addresses } of endpoints) yield* addresses
  for (const { subsets } of inventory.endpoints) {
    for (const { addresses = [], notReadyAddresses = [] } of subsets ?? []) {
      for (const { ip } of addresses) yield ip
      for (const { ip } of notReadyAddresses) yield ip
    }
  }
}

/** An address that a Service has, not `None` and not ''. */
export function isAddress(clusterIp: string): boolean {
  return clusterIp !== '' && clusterIp !== 'None'
}

export function parseAll(cidrs: readonly string[]): Cidr[] {
  return cidrs.map(parseCidr).filter((cidr) => cidr !== null)
}

/**
 * Hands out the addresses of one block that are not in `used`, and puts them there.
 *
 * The first `reserved` and the last address of the block (IPv4's broadcast) are never given.
 */
export class AddressPool {
  readonly #cidr: Cidr
  readonly #used: Set<string>
  readonly #first: bigint
  readonly #size: bigint
  #next = 0n

  constructor(cidr: Cidr, used: Set<string>, reserved: number) {
    this.#cidr = cidr
    this.#used = used
    this.#first = cidr.first + BigInt(reserved)
    const size = cidr.last - this.#first
    this.#size = size > 0n ? size : 0n
  }

  /** The free address at or after the place that `hash` points to, or null when there is none. */
  takeAt(hash: number): string | null {
    if (this.#size === 0n) return null
    const start = BigInt(hash) % this.#size
    for (let step = 0n; step < this.#size; step++) {
      const ip = this.#at((start + step) % this.#size)
      if (this.#used.has(ip)) continue
      this.#used.add(ip)
      return ip
    }
    return null
  }

  /** The lowest free address, or null. Cost: constant over many calls, since nothing is given back. */
  takeNext(): string | null {
    if (!this.hasNext()) return null
    const ip = this.#at(this.#next)
    this.#used.add(ip)
    return ip
  }

  hasNext(): boolean {
    while (this.#next < this.#size && this.#used.has(this.#at(this.#next))) this.#next++
    return this.#next < this.#size
  }

  #at(offset: bigint): string {
    return ipFromBigInt(this.#first + offset, this.#cidr.family)
  }
}
