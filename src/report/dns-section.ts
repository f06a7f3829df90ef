/**
 * What names cost and where they led: queries and how they ended, what they cost conntrack, and the load on each DNS server.
 *
 * Left out where no connection dialled a name. Whom a headless Service's names led to stands with the shares of connections.
 */
import { type Cell, runTable, type Section } from './document.ts'
import { runNames } from './run-names.ts'
import type { DnsReport, ReplayReport } from './types.ts'
import { clipMiddle, formatBytes, formatCount, formatPercent, formatRatio } from './units.ts'

const NAME_WIDTH = 36
const MAX_HEADLESS = 8

export function dnsSections(report: ReplayReport): Section[] {
  const { runs } = report
  if (runs.every(({ dns }) => dns.connections === 0 && dns.queries === 0)) return []
  const heads = runNames(runs)
  const row = (label: string, value: (dns: DnsReport) => Cell): Cell[] => [label, ...runs.map(({ dns }) => value(dns))]
  const rare = (label: string, value: (dns: DnsReport) => number, tone: 'bad' | 'plain'): Cell[][] => {
    if (runs.every(({ dns }) => value(dns) === 0)) return []
    return [row(label, (dns) => ({ text: formatCount(value(dns)), tone: value(dns) > 0 ? tone : 'plain' }))]
  }
  const names = (map: (dns: DnsReport) => Record<string, number>): string[] =>
    [...new Set(runs.flatMap(({ dns }) => Object.keys(map(dns))))].sort()
  const rows: Cell[][] = [
    row('connections to names', (dns) => formatCount(dns.connections)),
    row('queries', (dns) => formatCount(dns.queries)),
    row('queries per connection', (dns) => formatRatio(dns.queriesPerConnection)),
    ...names((dns) => dns.byType).map((type) => row(`asked for ${type}`, (dns) => formatCount(dns.byType[type] ?? 0))),
    ...names((dns) => dns.byRcode).map((rcode) =>
      row(`answered ${rcode}`, (dns) => formatCount(dns.byRcode[rcode] ?? 0)),
    ),
    ...rare('asked again over TCP', (dns) => dns.tcpRetries, 'plain'),
    ...rare('answered by the client’s cache', (dns) => dns.cached, 'plain'),
    ...rare('names not resolved', (dns) => dns.failed, 'bad'),
    ...rare('queries lost', (dns) => dns.lost, 'bad'),
    ...rare('stale answers', (dns) => dns.staleAnswers, 'bad'),
    ...rare('dialled addresses that were gone', (dns) => dns.goneAddresses, 'bad'),
    ...rare('conntrack entries made for queries', (dns) => dns.conntrackEntries, 'plain'),
    ...rare('most of them at once', (dns) => dns.conntrackPeak, 'plain'),
    ...rare('packets', (dns) => dns.packets, 'plain'),
    ...(runs.some(({ dns }) => dns.bytes > 0) ? [row('bytes', (dns) => formatBytes(dns.bytes))] : []),
  ]
  const headless = [...new Set(runs.flatMap(({ dns }) => dns.headless))].sort()
  const note =
    headless.length === 0
      ? []
      : [
          `Dialled pod by pod, balanced by nobody but the resolvers’ shuffle: ${headless.slice(0, MAX_HEADLESS).join(', ')}${headless.length > MAX_HEADLESS ? ` and ${headless.length - MAX_HEADLESS} more` : ''}`,
        ]
  return [runTable('DNS', heads, rows, note), ...serverSection(report)]
}

/** Queries by server, a row each, a count and a share a run. */
function serverSection({ runs }: ReplayReport): Section[] {
  const servers = new Map(runs.flatMap(({ dns }) => dns.servers.map((server) => [server.address, server] as const)))
  if (servers.size === 0) return []
  const rows = [...servers.values()].map(({ address, pod, node }): Cell[] => [
    clipMiddle(node === null ? (pod ?? address) : `${pod ?? address} on ${node}`, NAME_WIDTH),
    ...runs.map(({ dns }): Cell => {
      const server = dns.servers.find((one) => one.address === address)
      return server === undefined ? '0' : `${formatCount(server.queries)} (${formatPercent(server.share)})`
    }),
  ])
  return [runTable('Queries by DNS server', runNames(runs), rows)]
}
