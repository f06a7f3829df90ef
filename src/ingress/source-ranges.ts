/**
 * Which client addresses a rule lets in: an allow list and a deny list of CIDRs, as an Ingress annotation gives them.
 *
 * The deny list is read first; an allow list, where there is one, must hold the client. Cost: linear in the lists.
 */
import ipaddr from 'ipaddr.js'

type Range = readonly [ipaddr.IPv4 | ipaddr.IPv6, number]

export interface SourceRanges {
  readonly allow: readonly Range[]
  readonly deny: readonly Range[]
}

/** Reads `10.0.0.0/8, 192.0.2.1`. What is no address or CIDR is left out and listed in `bad`. */
export function parseRanges(text: string): { readonly ranges: readonly Range[]; readonly bad: readonly string[] } {
  const ranges: Range[] = []
  const bad: string[] = []
  for (const item of text.split(',')) {
    const word = item.trim()
    if (word === '') continue
    if (ipaddr.isValidCIDR(word)) ranges.push(ipaddr.parseCIDR(word))
    else if (ipaddr.IPv4.isValidFourPartDecimal(word)) ranges.push([ipaddr.IPv4.parse(word), 32])
    else if (ipaddr.IPv6.isValid(word)) ranges.push([ipaddr.IPv6.parse(word), 128])
    else bad.push(word)
  }
  return { ranges, bad }
}

/** Whether a client may pass. `client` is an address without a port; one that cannot be read is not let in. */
export function allows(ranges: SourceRanges, client: string): boolean {
  if (!ipaddr.isValid(client)) return false
  const address = ipaddr.process(client)
  if (ranges.deny.some((range) => holds(range, address))) return false
  return ranges.allow.length === 0 || ranges.allow.some((range) => holds(range, address))
}

function holds(range: Range, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  const [network, bits] = range
  return network.kind() === address.kind() && address.match(network, bits)
}
