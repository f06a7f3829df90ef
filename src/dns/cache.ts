/**
 * How long CoreDNS' `cache` plugin keeps a reply: until then a change in the cluster is not seen through this replica.
 *
 * Source: coredns/coredns plugin/cache/cache.go and README, plugin/pkg/dnsutil/ttl.go MinimalTTL.
 */
import { blockOf } from './answer.ts'
import type { CacheHalf } from './corefile.ts'
import { longestZone, lower } from './domain-names.ts'
import type { DnsReply } from './records.ts'
import type { DnsServer } from './zone.ts'

/**
 * Seconds that the answering CoreDNS keeps the reply to `qname` (absolute), 0 where it does not: no cache plugin, a zone for
 * which it is disabled, a truncated reply, a negative one without SOA.
 */
export function cacheSeconds(server: DnsServer, qname: string, reply: DnsReply): number {
  const name = lower(qname)
  const cache = blockOf(server, qname)?.cache ?? null
  if (cache === null || reply.truncated || longestZone(cache.zones, name) === null) return 0
  if (reply.rcode === 'SERVFAIL') return cache.servfailTtl
  const negative = reply.rcode === 'NXDOMAIN' || reply.answer.length === 0
  if (negative && !reply.authority.some((record) => record.type === 'SOA')) return 0
  if (reply.rcode !== 'NOERROR' && reply.rcode !== 'NXDOMAIN') return 0
  const half: CacheHalf = negative ? cache.denial : cache.success
  if (longestZone(half.disabledZones, name) !== null) return 0
  const ttls = [...reply.answer, ...reply.authority, ...reply.additional].map((record) => record.ttl)
  return Math.min(half.maxTtl, Math.max(half.minTtl, Math.min(...ttls)))
}
