/**
 * CoreDNS' `hosts` plugin: addresses by name as in /etc/hosts, written into the Corefile.
 *
 * A name that stands here is answered here, and with an empty reply for the other family; one that does not goes on only with
 * `fallthrough`, else the answer is SERVFAIL. Reverse questions for the addresses are answered too.
 * Source: coredns/coredns plugin/hosts/{hosts,setup,hostsfile}.go.
 */
import { corefileError, type Directive } from './caddyfile.ts'
import { absolute, addressOfReverse, longestZone, lower, parseAddress } from './domain-names.ts'
import type { DnsRecord, DnsReply } from './records.ts'

export interface HostsPlugin {
  readonly zones: readonly string[]
  readonly ttl: number
  readonly fallthrough: readonly string[]
  /** Other types than A, AAAA and PTR go on too. */
  readonly fallthroughUnsupported: boolean
  /** By folded name, addresses in the order written. */
  readonly addresses: ReadonlyMap<string, readonly string[]>
  /** By canonical address; empty with `no_reverse`. */
  readonly names: ReadonlyMap<string, readonly string[]>
}

const DEFAULT_TTL = 3600

/** @param zonesOf  reads zones as the server block's keys are read */
export function parseHosts(
  directive: Directive,
  blockZones: readonly string[],
  zonesOf: (text: string, line: number) => string[],
): HostsPlugin {
  const zoneArgs = directive.args.slice(1)
  const zones = zoneArgs.length > 0 ? zoneArgs.flatMap((zone) => zonesOf(zone, directive.line)) : blockZones
  const addresses = new Map<string, string[]>()
  const names = new Map<string, string[]>()
  let ttl = DEFAULT_TTL
  let fallthrough: readonly string[] = []
  let fallthroughUnsupported = false
  let reverse = true
  for (const { name, args, line } of directive.body) {
    if (name === 'fallthrough') fallthrough = args.length === 0 ? ['.'] : args.flatMap((zone) => zonesOf(zone, line))
    else if (name === 'fallthrough_unsupported') fallthroughUnsupported = true
    else if (name === 'no_reverse') reverse = false
    else if (name === 'ttl') {
      ttl = Number(args[0])
      if (!Number.isInteger(ttl) || ttl <= 0 || ttl > 65535)
        throw corefileError(line, `hosts ttl ${args[0]} is not 1 to 65535`)
    } else if (name === 'reload') {
      if (args.length !== 1) throw corefileError(line, 'hosts reload takes a duration')
    } else if (fallthrough.length > 0) {
      // CoreDNS takes lines for entries only as long as no fallthrough stands before them.
      throw corefileError(line, `hosts: unknown property ${name}`, 'entries stand before fallthrough')
    } else {
      const address = parseAddress(name)
      if (address === null) continue
      for (const host of args.map((text) => lower(absolute(text)))) {
        if (longestZone(zones, host) === null) continue
        addresses.set(host, [...(addresses.get(host) ?? []), address.text])
        names.set(address.text, [...(names.get(address.text) ?? []), host])
      }
    }
  }
  if (fallthroughUnsupported && fallthrough.length === 0) {
    throw corefileError(directive.line, 'hosts fallthrough_unsupported requires fallthrough')
  }
  return { zones, ttl, fallthrough, fallthroughUnsupported, addresses, names: reverse ? names : new Map() }
}

/** @returns  null: the question goes on to the next plugin */
export function hostsReply(plugin: HostsPlugin, qname: string, qtype: string): DnsReply | null {
  const name = lower(qname)
  const { ttl } = plugin
  const reply = (answer: DnsRecord[]): DnsReply => ({
    rcode: 'NOERROR',
    authoritative: true,
    truncated: false,
    answer,
    authority: [],
    additional: [],
  })
  if (qtype === 'PTR') {
    const found = plugin.names.get(addressOfReverse(name)?.text ?? '')
    return found === undefined ? null : reply(found.map((data) => ({ name: qname, ttl, type: 'PTR', data })))
  }
  if (longestZone(plugin.zones, name) === null) return null
  const held = plugin.addresses.get(name) ?? plugin.addresses.get(name.replace(/^[^.]+/, '*')) ?? []
  const goesOn = longestZone(plugin.fallthrough, name) !== null
  if (qtype !== 'A' && qtype !== 'AAAA' && plugin.fallthroughUnsupported && goesOn) return null
  const answer = held
    .filter((data) => parseAddress(data)?.type === qtype)
    .map((data) => ({ name: qname, ttl, type: qtype, data }))
  if (held.length > 0) return reply(answer)
  return goesOn ? null : { ...reply([]), rcode: 'SERVFAIL', authoritative: false }
}
