/**
 * Replies as `dig` prints them, for people: header, sections, size; no query time, since no packet was sent.
 *
 * Source: the layout of ISC BIND 9 bin/dig/dighost.c, which readers and scripts know.
 */
import type { DnsRecord, DnsReply } from './records.ts'
import type { Resolution, ResolvConf } from './resolver.ts'
import type { SentReply } from './wire.ts'

export interface ReplyView {
  readonly qname: string
  readonly qtype: string
  readonly sent: SentReply
  readonly tcp: boolean
  /** TC came over UDP, and the client asked again over TCP. */
  readonly retried: boolean
  readonly ednsSize: number | null
  /** CoreDNS shuffles the addresses of each reply (plugin loadbalance). */
  readonly shuffled: boolean
  /** `10.96.0.10#53 (CoreDNS: cluster.local in-addr.arpa ip6.arpa)`. */
  readonly server: string
}

export function renderReply(view: ReplyView): string {
  const { reply, sizeBytes } = view.sent
  const opt = view.ednsSize === null ? 0 : 1
  const counts = `QUERY: 1, ANSWER: ${reply.answer.length}, AUTHORITY: ${reply.authority.length}, ADDITIONAL: ${reply.additional.length + opt}`
  const addresses = reply.answer.filter(({ type }) => type === 'A' || type === 'AAAA').length
  const lines = [
    ...(view.retried ? [';; Truncated, retrying in TCP mode.'] : []),
    ';; Got answer (emulated: no packet was sent):',
    `;; ->>HEADER<<- opcode: QUERY, status: ${reply.unknown ? 'UNKNOWN' : reply.rcode}`,
    ...(reply.unknown
      ? [';; asked outside the cluster, of which nothing is known here: --upstream says what it answers']
      : []),
    `;; flags: ${flags(reply)}; ${counts}`,
    ...(view.ednsSize === null
      ? []
      : ['', ';; OPT PSEUDOSECTION:', `; EDNS: version: 0, flags:; udp: ${view.ednsSize}`]),
    '',
    ';; QUESTION SECTION:',
    `;${view.qname}\tIN\t${view.qtype}`,
    ...section('ANSWER', reply.answer),
    ...section('AUTHORITY', reply.authority),
    ...section('ADDITIONAL', reply.additional),
    '',
    `;; SERVER: ${view.server} (${view.tcp ? 'TCP' : 'UDP'})`,
    `;; MSG SIZE  rcvd: ${sizeBytes}`,
    ...(view.shuffled && addresses > 1 ? [';; loadbalance: CoreDNS shuffles these addresses in each reply'] : []),
  ]
  return `${lines.join('\n')}\n`
}

/** Data only, one record a line, as `dig +short`. */
export function renderShort(reply: DnsReply): string {
  return reply.answer.map((record) => `${record.data}\n`).join('')
}

/** The walk of a pod's search list, and what it cost; `pod` is `namespace/name`. */
export function renderWalk(pod: string, name: string, conf: ResolvConf, { queries }: Resolution): string {
  const width = Math.max(...queries.map((query) => query.qname.length))
  const nameservers = conf.nameservers.length > 0 ? conf.nameservers.join(' ') : "the node's, outside the cluster"
  const asked = `${queries.length} ${queries.length === 1 ? 'query' : 'queries'}`
  const lines = [
    `;; Pod ${pod} looks up ${name}: nameserver ${nameservers}`,
    `;; search ${conf.searches.length > 0 ? conf.searches.join(' ') : '(none)'}; options ${conf.options.length > 0 ? conf.options.join(' ') : '(none)'}`,
    ...queries.map(({ qname, qtype, rcode, answers, unknown }, i) => {
      const outcome = unknown
        ? 'unknown: asked outside the cluster'
        : rcode === 'NOERROR' && answers === 0
          ? 'NOERROR, no records'
          : rcode
      return `;;  ${i + 1}. ${qname.padEnd(width)} ${qtype} ${outcome}`
    }),
    `;; ${asked}; a client that asks A and AAAA together sends twice as many`,
  ]
  return `${lines.join('\n')}\n\n`
}

function flags(reply: DnsReply): string {
  const set = [
    'qr',
    ...(reply.authoritative ? ['aa'] : []),
    ...(reply.truncated ? ['tc'] : []),
    'rd',
    ...(reply.authoritative ? [] : ['ra']),
  ]
  return set.join(' ')
}

function section(name: string, records: readonly DnsRecord[]): string[] {
  if (records.length === 0) return []
  const nameWidth = Math.max(...records.map((record) => record.name.length))
  const ttlWidth = Math.max(...records.map((record) => String(record.ttl).length))
  return [
    '',
    `;; ${name} SECTION:`,
    ...records.map(
      ({ name: owner, ttl, type, data }) =>
        `${owner.padEnd(nameWidth)} ${String(ttl).padEnd(ttlWidth)} IN ${type} ${data}`,
    ),
  ]
}
