/**
 * The names that kube-proxy gives to chains and sets: a prefix, and a hash that keeps them apart.
 *
 * nftables: eight base32 digits of the SHA-256 of the readable name, then that name, 240 characters at most. iptables: sixteen digits
 * alone, since a chain's name has room for 28 characters. Source: pkg/proxy/{nftables,iptables}/proxier.go.
 */
import { createHash } from 'node:crypto'

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
/** Characters of an nftables name less the longest prefix. */
const LONGEST_NFTABLES_BASE = 240

/** A Service port as its chains are named by. */
export interface PortName {
  readonly namespace: string
  readonly service: string
  /** '' without. */
  readonly port: string
  /** Lower case. */
  readonly protocol: string
}

/** `ns1/svc1:p80`, or `ns1/svc1` where the port has no name: comments, and what iptables hashes. */
export function portText({ namespace, service, port }: PortName): string {
  return port === '' ? `${namespace}/${service}` : `${namespace}/${service}:${port}`
}

/** RFC 4648 base32 of the SHA-256, as many digits as asked for (51 at most). */
export function base32Hash(text: string, digits: number): string {
  const bytes = createHash('sha256').update(text).digest()
  let out = ''
  for (let digit = 0; digit < digits; digit++) {
    const bit = digit * 5
    const pair = (bytes[bit >> 3]! << 8) | (bytes[(bit >> 3) + 1] ?? 0)
    out += ALPHABET[(pair >> (11 - (bit & 7))) & 31]
  }
  return out
}

function hashed(name: string): string {
  const whole = `${base32Hash(name, 8)}-${name}`
  return whole.length > LONGEST_NFTABLES_BASE ? `${whole.slice(0, LONGEST_NFTABLES_BASE - 3)}...` : whole
}

/** `ULMVA6XW-ns1/svc1/tcp/p80` */
export function nftablesPortName({ namespace, service, port, protocol }: PortName): string {
  return hashed(`${namespace}/${service}/${protocol}/${port}`)
}

/** `5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80`; colons of IPv6 become dots, which a chain's name may have. */
export function nftablesEndpointName(
  { namespace, service, port, protocol }: PortName,
  address: string,
  number: number,
): string {
  return hashed(`${namespace}/${service}/${protocol}/${port}__${address.replaceAll(':', '.')}/${number}`)
}

/** @param prefix  `KUBE-SVC-`, `KUBE-SVL-`, `KUBE-EXT-`, `KUBE-FW-` */
export function iptablesPortChain(prefix: string, name: PortName): string {
  return prefix + base32Hash(portText(name) + name.protocol, 16)
}

/** @param endpoint  `10.180.0.1:80` */
export function iptablesEndpointChain(name: PortName, endpoint: string): string {
  return `KUBE-SEP-${base32Hash(portText(name) + name.protocol + endpoint, 16)}`
}
