/**
 * Which nodes may answer for a load-balancer address: MetalLB's pools and advertisements, kube-vip's leader.
 *
 * Labels are looked at here; who of them answers depends on endpoints, and compile/announcing.ts decides it. An address that no
 * pool has is someone else's, and nothing is said about it.
 * Source: metallb.io, concepts and configuration/_advanced_l2_configuration; metallb/metallb internal/config; kube-vip.io, annotations.
 */
import type { Announced, ClusterNode } from './cluster.ts'
import type { Inventory } from './inventory.ts'
import { canonicalIp, ipFamily, ipFromBigInt, ipToBigInt, parseCidr } from './ip.ts'
import { matchesSelector } from './labels.ts'
import type { Advertisement, IpAddressPool, IpFamily, LabelSelector, Service } from './types.ts'

const VIP_HOST = 'kube-vip.io/vipHost'
const METALLB = ['metallb.io/', 'metallb.universe.tf/']

/** First and last address, both included; null where the text is neither a block nor `first-last` of one family. */
export function parseRange(text: string): { readonly first: bigint; readonly last: bigint; family: IpFamily } | null {
  const ends = text.split('-').map((end) => canonicalIp(end.trim()))
  const [from, to] = ends
  if (ends.length === 2 && from && to && ipFamily(from) === ipFamily(to)) {
    const [first, last] = [ipToBigInt(from), ipToBigInt(to)]
    return first <= last ? { first, last, family: ipFamily(from) } : null
  }
  return parseCidr(text.trim())
}

function rangesOf(pool: IpAddressPool): NonNullable<ReturnType<typeof parseRange>>[] {
  return (pool.spec.addresses ?? []).map(parseRange).filter((range) => range !== null)
}

/** @returns undefined where the manifests say nothing about the address */
export function announcedBy(
  ip: string,
  { metadata }: Service,
  inventory: Inventory,
  nodes: readonly ClusterNode[],
): Announced | undefined {
  const host = metadata.annotations?.[VIP_HOST]
  if (host !== undefined) return { way: 'kube-vip', nodes: [host] }
  const [value, family] = [ipToBigInt(ip), ipFamily(ip)]
  const pool = inventory.addressPools.find((one) =>
    rangesOf(one).some((range) => range.family === family && range.first <= value && value <= range.last),
  )
  if (pool === undefined) return undefined
  const own = inventory.advertisements.filter((one) => isOfPool(one, pool))
  // Where routers are told of the address, they choose; neighbours that ask by ARP are the exception.
  const bgp = own.filter(({ kind }) => kind === 'BGPAdvertisement')
  const chosen = bgp.length > 0 ? bgp : own
  const eligible = nodes.filter(({ labels }) => chosen.some(({ spec }) => matchesAny(spec?.nodeSelectors, labels)))
  return { way: bgp.length > 0 ? 'BGP' : 'L2', nodes: eligible.map(({ name }) => name) }
}

/** An advertisement that names no pool is for all of them. */
function isOfPool({ spec, metadata }: Advertisement, pool: IpAddressPool): boolean {
  if ((metadata.namespace ?? '') !== (pool.metadata.namespace ?? '')) return false
  const names = spec?.ipAddressPools ?? []
  const selectors = spec?.ipAddressPoolSelectors ?? []
  if (names.length === 0 && selectors.length === 0) return true
  return (
    names.includes(pool.metadata.name) ||
    selectors.some((selector) => matchesSelector(selector, pool.metadata.labels ?? {}))
  )
}

function matchesAny(
  selectors: readonly LabelSelector[] | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  return selectors === undefined || selectors.length === 0 || selectors.some((one) => matchesSelector(one, labels))
}

/** The lowest address that is free in the Service's pool, or in the pools that give addresses unasked; null for none. */
export function poolAddress(
  { metadata }: Service,
  family: IpFamily,
  pools: readonly IpAddressPool[],
  used: ReadonlySet<string>,
): string | null {
  const wanted = METALLB.map((domain) => metadata.annotations?.[`${domain}address-pool`]).find((name) => name)
  const open = pools.filter(({ metadata, spec }) =>
    wanted === undefined ? spec.autoAssign !== false : metadata.name === wanted,
  )
  for (const range of open.flatMap(rangesOf)) {
    if (range.family !== family) continue
    for (let value = range.first; value <= range.last; value++) {
      const ip = ipFromBigInt(value, family)
      if (!used.has(ip)) return ip
    }
  }
  return null
}

/** What an annotation asks for by address: `metallb.io/loadBalancerIPs: 192.0.2.5,2001:db8::5`. */
export function requestedAddresses({ metadata }: Service): string[] {
  const text = METALLB.map((domain) => metadata.annotations?.[`${domain}loadBalancerIPs`]).find((list) => list) ?? ''
  return text.split(',').flatMap((ip) => canonicalIp(ip.trim()) ?? [])
}
