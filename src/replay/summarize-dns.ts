/** Numbers → names for what DNS cost and gave: the `dns` part of a run's report. Pure. */
import {
  DNS_BYTES,
  DNS_CACHED,
  DNS_CONNECTIONS,
  DNS_ENTRIES,
  DNS_GONE,
  DNS_LOST,
  DNS_NO_RESOLVER,
  DNS_NOT_RESOLVED,
  DNS_PACKETS,
  DNS_RCODES,
  DNS_RESOLVED,
  DNS_STALE,
  DNS_TCP,
  DNS_TYPES,
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  SAMPLES,
} from '../../native-free-core/index.ts'
import type { Rcode } from '../dns/records.ts'
import { dnsServices } from '../dns/zone.ts'
import type { DnsReport } from '../report/types.ts'
import { ADDRESS_TYPES } from '../trace/format.ts'
import type { MergedRun } from './merge.ts'
import type { Places } from './places.ts'
import type { ReplayPlan } from './plan.ts'

/** By number, RFC 1035 §4.1.1. */
const RCODE_NAMES: readonly Rcode[] = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED']

export function dnsReport(merged: MergedRun, plan: ReplayPlan, places: Places): DnsReport {
  const { result, layout } = merged
  const word = (at: number): number => result[layout.dns + at]!
  const counts = (names: readonly string[], first: number): Record<string, number> =>
    Object.fromEntries(names.map((name, i) => [name, word(first + i)] as const).filter(([, count]) => count > 0))
  const queries = ADDRESS_TYPES.reduce((sum, _, i) => sum + word(DNS_TYPES + i), 0)
  const connections = word(DNS_CONNECTIONS)
  return {
    queries,
    byRcode: counts(RCODE_NAMES, DNS_RCODES),
    byType: counts(ADDRESS_TYPES, DNS_TYPES),
    connections,
    queriesPerConnection: connections === 0 ? 0 : queries / connections,
    resolved: word(DNS_RESOLVED),
    cached: word(DNS_CACHED),
    failed: word(DNS_NOT_RESOLVED),
    withoutResolver: word(DNS_NO_RESOLVER),
    lost: word(DNS_LOST),
    staleAnswers: word(DNS_STALE),
    goneAddresses: word(DNS_GONE),
    tcpRetries: word(DNS_TCP),
    packets: word(DNS_PACKETS),
    bytes: word(DNS_BYTES),
    conntrackEntries: word(DNS_ENTRIES),
    conntrackPeak: conntrackPeak(merged, plan),
    servers: serverReports(merged, plan, places),
    headless: headlessPorts(merged, plan),
  }
}

/** Most entries of the DNS Service at one sample, over all nodes. */
function conntrackPeak({ serviceEntries }: MergedRun, plan: ReplayPlan): number {
  const services = new Set(plan.clusters.flatMap(dnsServices).map(({ namespace, name }) => `${namespace}/${name}`))
  const sums = new Float64Array(SAMPLES)
  for (const { other, samples } of serviceEntries) {
    const owner = plan.registry.servicePorts[other - 1]
    if (owner === undefined || !services.has(`${owner.namespace}/${owner.service}`)) continue
    samples.forEach((entries, sample) => {
      sums[sample]! += entries
    })
  }
  return sums.reduce((most, entries) => Math.max(most, entries), 0)
}

/** By pod: one that serves UDP and TCP has an endpoint for each. */
function serverReports({ result, layout }: MergedRun, plan: ReplayPlan, places: Places): DnsReport['servers'] {
  const { registry } = plan
  const byAddress = new Map<string, { pod: string | null; node: string | null; queries: number }>()
  const services = new Set<string>()
  registry.endpoints.forEach(({ servicePort }, endpoint) => {
    if (result[layout.endpointQueries + endpoint]! > 0) services.add(registry.servicePortText(servicePort))
  })
  // A replica that nobody asked is a finding.
  registry.endpoints.forEach(({ servicePort, address }, endpoint) => {
    if (!services.has(registry.servicePortText(servicePort))) return
    const text = registry.addressText(address)
    const known = byAddress.get(text) ?? { pod: places.podOf(endpoint), node: places.nodeOf(endpoint), queries: 0 }
    known.queries += result[layout.endpointQueries + endpoint]!
    byAddress.set(text, known)
  })
  const total = [...byAddress.values()].reduce((sum, { queries }) => sum + queries, 0)
  return [...byAddress]
    .map(([address, server]) => ({ address, ...server, share: server.queries / total }))
    .sort((a, b) => (a.address < b.address ? -1 : 1))
}

/** Service ports whose pods were dialled directly. */
function headlessPorts({ result, layout }: MergedRun, plan: ReplayPlan): string[] {
  const { registry } = plan
  const headless = new Set(
    plan.clusters
      .flatMap((cluster) => cluster.services)
      .filter((service) => service.headless)
      .map(({ namespace, name }) => `${namespace}/${name}`),
  )
  const ports = new Set<string>()
  registry.endpoints.forEach(({ servicePort }, endpoint) => {
    const { namespace, service } = registry.servicePorts[servicePort]!
    const connections = result[layout.endpoints + endpoint * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS]!
    if (connections > 0 && headless.has(`${namespace}/${service}`)) ports.add(registry.servicePortText(servicePort))
  })
  return [...ports].sort()
}
