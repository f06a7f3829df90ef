/**
 * IP addresses and CIDR blocks as Kubernetes reads them: canonical text, families, membership, arithmetic.
 *
 * Invariants: an address is held as canonical text everywhere (`10.0.0.1`, `2001:db8::1`), so equal addresses are equal
 *             strings and an address is IPv6 exactly when it holds a colon.
 * Cost:       canonical IPv4 text is recognised without an exception, a regular expression or an allocation.
 * Source:     leading zeros are decimal (Go's ParseIPSloppy, which the API server and kube-proxy use); IPv6 text is
 *             RFC 5952; an IPv4-mapped IPv6 address is the IPv4 address (Go's net.IP.To4).
 */
import ipaddr from 'ipaddr.js'
import type { IpFamily } from './types.ts'

/** A block of addresses: `text` is canonical with the host bits cleared. */
export interface Cidr {
  readonly text: string
  readonly family: IpFamily
  readonly prefix: number
  readonly first: bigint
  readonly last: bigint
}

const DOT = 46
const ZERO = 48

/**
 * The 32 bits of a dotted quad, or -1 when the text is none. Leading zeros are decimal: `010.0.0.1` is 10.0.0.1.
 */
export function parseIpv4(text: string): number {
  let value = 0
  let octet = 0
  let digits = 0
  let dots = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === DOT) {
      if (digits === 0 || ++dots > 3) return -1
      value = value * 256 + octet
      octet = 0
      digits = 0
    } else {
      const digit = code - ZERO
      if (digit < 0 || digit > 9) return -1
      octet = octet * 10 + digit
      digits++
      if (octet > 255) return -1
    }
  }
  return dots === 3 && digits > 0 ? value * 256 + octet : -1
}

export function formatIpv4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`
}

/** Canonical text of an address, or null when the text is none. Zones (`fe80::1%eth0`) are no addresses here. */
export function canonicalIp(text: string): string | null {
  const value = parseIpv4(text)
  if (value >= 0) return formatIpv4(value)
  if (!text.includes(':') || text.includes('%') || !ipaddr.IPv6.isValid(text)) return null
  const address = ipaddr.IPv6.parse(text)
  return address.isIPv4MappedAddress() ? address.toIPv4Address().toString() : address.toRFC5952String()
}

/** Of a canonical address or CIDR. */
export function ipFamily(canonical: string): IpFamily {
  return canonical.includes(':') ? 'IPv6' : 'IPv4'
}

/** The bits of a canonical address. */
export function ipToBigInt(canonical: string): bigint {
  if (!canonical.includes(':')) return BigInt(parseIpv4(canonical))
  let value = 0n
  for (const part of ipaddr.IPv6.parse(canonical).parts) value = (value << 16n) | BigInt(part)
  return value
}

export function ipFromBigInt(value: bigint, family: IpFamily): string {
  if (family === 'IPv4') return formatIpv4(Number(value))
  const parts = Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn))
  return new ipaddr.IPv6(parts).toRFC5952String()
}

/** A block such as `10.0.0.0/8`; host bits are cleared as Go's ParseCIDR does. Null when the text is none. */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/')
  if (slash < 0) return null
  const length = text.slice(slash + 1)
  const address = canonicalIp(text.slice(0, slash))
  if (address === null || !/^\d{1,3}$/.test(length)) return null
  const family = ipFamily(address)
  // An IPv4-mapped block counts its prefix in 128 bits.
  const mapped = family === 'IPv4' && text.includes(':')
  const prefix = Number(length) - (mapped ? 96 : 0)
  if (prefix < 0 || prefix > addressBits(family)) return null
  return makeCidr(ipToBigInt(address), prefix, family)
}

/** The block of `prefix` bits that holds `address`. */
export function makeCidr(address: bigint, prefix: number, family: IpFamily): Cidr {
  const hostBits = BigInt(addressBits(family) - prefix)
  const first = (address >> hostBits) << hostBits
  const last = first + (1n << hostBits) - 1n
  return { text: `${ipFromBigInt(first, family)}/${prefix}`, family, prefix, first, last }
}

export function cidrContains(cidr: Cidr, canonical: string): boolean {
  if (ipFamily(canonical) !== cidr.family) return false
  const value = ipToBigInt(canonical)
  return value >= cidr.first && value <= cidr.last
}

/** Whether `inner` lies wholly inside `outer`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last
}

export function cidrsOverlap(a: Cidr, b: Cidr): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last
}

/** The smallest block that holds all of `cidrs`, which are of one family and at least one. */
export function commonCidr(cidrs: readonly Cidr[]): Cidr {
  let { first, last, prefix } = cidrs[0]!
  const family = cidrs[0]!.family
  for (const cidr of cidrs) {
    if (cidr.first < first) first = cidr.first
    if (cidr.last > last) last = cidr.last
    if (cidr.prefix < prefix) prefix = cidr.prefix
  }
  let common = makeCidr(first, prefix, family)
  while (common.last < last) common = makeCidr(first, common.prefix - 1, family)
  return common
}

function addressBits(family: IpFamily): number {
  return family === 'IPv4' ? 32 : 128
}

/** What the API server takes for no endpoint: `loopback`, `link-local`, `unspecified`, `link-local multicast`; null for the rest. */
export function specialRange(address: string): string | null {
  const range = ipaddr.parse(address).range()
  if (range === 'loopback' || range === 'unspecified') return range
  if (range === 'linkLocal') return 'link-local'
  return /^224\.0\.0\.|^ff02:/.test(address) ? 'link-local multicast' : null
}
