/**
 * What CoreDNS answers to one question: a pure function of the server and the question.
 *
 * The order of decisions is CoreDNS' own: server block by longest zone → rewrite, autopath, acl, template, hosts → the
 * kubernetes plugin's zone → record type → the name's labels → Service, endpoint or pod → forward, the resolver outside. Sections are in
 * the order of the cluster's slices; CoreDNS' `loadbalance` shuffles addresses afterwards, which is no part of this.
 * Invariants: never throws, always has an rcode; reads nothing but its arguments.
 * Cost: map look-ups and the records it returns.
 * Source: coredns/coredns plugin/kubernetes/{handler,kubernetes,parse,reverse,ns}.go and plugin/backend_lookup.go;
 * kubernetes/dns docs/specification.md 1.1.0.
 */
import ipaddr from 'ipaddr.js'
import { asksZone, backendsOf, type Context, nameServers } from './backends.ts'
import type { AclRule, ServerBlock } from './corefile.ts'
import {
  absolute,
  addressOfReverse,
  below,
  isWithin,
  longestZone,
  lower,
  nameFault,
  parseAddress,
} from './domain-names.ts'
import { hostsReply } from './hosts.ts'
import {
  type DnsRecord,
  type DnsReply,
  NOTHING_UPSTREAM,
  type Rcode,
  recordType,
  type Upstream,
  upstreamReply,
} from './records.ts'
import { rewriteQuestion, rewriteReply } from './rewrite.ts'
import { templateReply } from './template.ts'
import type { ViewQuestion } from './view.ts'
import { type DnsServer, endpointLabel, isPublished } from './zone.ts'

export interface DnsQuestion {
  /** Absolute; a missing final dot is added. */
  readonly qname: string
  /** Any case; `TYPE65` and unknown types are answered as CoreDNS answers types it has no records of. */
  readonly qtype: string
  /** What the resolver outside the cluster knows; left out: nothing. */
  readonly upstream?: Upstream
  /** Address of who asks, where that is known: `acl` and `autopath` look at it. */
  readonly client?: string
  /** Search domains of the nodes, which CoreDNS' own resolv.conf has (dnsPolicy Default): `autopath` walks them too. */
  readonly nodeSearches?: readonly string[]
}

/**
 * The SOA's serial. CoreDNS puts the time of the last change it saw there; manifests have no such time, and an answer may
 * depend on nothing but them.
 */
const SOA_SERIAL = 1
const DNS_VERSION = { ttl: 28800, data: '"1.1.0"' }
/** CNAMEs that may stand before another one is added: 11 in one reply. Source: backend_lookup.go A. */
const MAX_CNAMES_BEFORE = 10
/** Look-ups of one question that the server makes at itself. Source: core/dnsserver/server.go maxreentries. */
const MAX_REENTRIES = 10

/** `null` in place of records: the name does not exist. */
interface Found {
  readonly answer: readonly DnsRecord[] | null
  readonly additional?: readonly DnsRecord[]
  readonly truncated?: boolean
}

export function answerQuery(server: DnsServer, question: DnsQuestion): DnsReply {
  return answerAt({ server, behind: null }, question)
}

/** What a pod gets that asks the cluster's DNS address: of NodeLocal DNSCache where that runs, which asks CoreDNS in turn. */
export function answerPod(server: DnsServer, question: DnsQuestion): DnsReply {
  if (server.nodeLocal === null) return answerQuery(server, question)
  return answerAt({ server: { ...server, corefile: server.nodeLocal }, behind: server }, question)
}

function answerAt(at: Pick<Chain, 'server' | 'behind'>, question: DnsQuestion): DnsReply {
  const qname = absolute(question.qname)
  if (qname !== '.' && nameFault(qname) !== null) return emptyReply('FORMERR')
  const qtype = recordType(question.qtype) ?? 'TYPE0'
  const asked = {
    upstream: question.upstream ?? NOTHING_UPSTREAM,
    client: question.client ?? '',
    nodeSearches: question.nodeSearches ?? [],
  }
  return reply({ ...at, ...asked, depth: 0 }, qname, qtype)
}

/** What a resolver outside the cluster answers: for pods whose resolv.conf does not name the cluster's DNS server. */
export function answerOutside(question: DnsQuestion): DnsReply {
  const qname = absolute(question.qname)
  if (qname !== '.' && nameFault(qname) !== null) return emptyReply('FORMERR')
  return upstreamReply(question.upstream ?? NOTHING_UPSTREAM, qname, recordType(question.qtype) ?? 'TYPE0')
}

/**
 * The server block that a question goes to: of those whose views it meets the one with the longest zone that holds the name,
 * the first of several.
 */
export function blockOf(
  server: DnsServer,
  qname: string,
  { qtype = 'A', client = '' }: { readonly qtype?: string; readonly client?: string } = {},
): ServerBlock | null {
  const name = lower(absolute(qname))
  const pod = server.index.podsByAddress(client)[0]
  const asked = (block: ServerBlock): ViewQuestion => {
    const known = block.hasMetadata && block.kubernetes?.pods === 'verified' ? pod : undefined
    const labels: Readonly<Record<string, string | undefined>> = {
      'kubernetes/client-namespace': known?.namespace,
      'kubernetes/client-pod-name': known?.name,
    }
    return { qname: name, qtype, client, metadata: (label) => labels[label] ?? '' }
  }
  let best: ServerBlock | null = null
  let bestLength = -1
  for (const block of server.corefile.blocks) {
    const zone = longestZone(block.zones, name)
    if (zone !== null && zone.length > bestLength && block.views.every((view) => view(asked(block)))) {
      best = block
      bestLength = zone.length
    }
  }
  return best
}

/** What one question carries through the plugins. */
interface Chain {
  readonly server: DnsServer
  readonly upstream: Upstream
  /** '' where it is not known. */
  readonly client: string
  readonly nodeSearches: readonly string[]
  readonly depth: number
  /** The server that questions for the cluster's DNS address are forwarded to; null where this is that server. */
  readonly behind: DnsServer | null
}

/** The plugins of a server block in the order of plugin.cfg: rewrite, autopath, acl, then those that answer. */
function reply(chain: Chain, qname: string, qtype: string): DnsReply {
  if (chain.depth > MAX_REENTRIES) return emptyReply('SERVFAIL')
  const block = blockOf(chain.server, qname, { qtype, client: chain.client })
  if (block === null) return emptyReply('REFUSED')
  if (block.rewrites.length === 0) return autopathReply(chain, block, qname, qtype)
  const asked = rewriteQuestion(block.rewrites, { qname, qtype })
  if (asked.broken) return emptyReply('SERVFAIL')
  const lookup = (name: string): DnsReply => reply({ ...chain, depth: chain.depth + 1 }, name, qtype)
  return rewriteReply(autopathReply(chain, block, asked.qname, asked.qtype), asked.responses, lookup)
}

/**
 * `autopath @kubernetes`: a name with the first search domain of the pod that asks is walked through the whole list here,
 * and the reply is put below the name asked for by a CNAME. Source: plugin/autopath/autopath.go, plugin/kubernetes/autopath.go.
 */
function autopathReply(chain: Chain, block: ServerBlock, qname: string, qtype: string): DnsReply {
  const first = answerFrom(chain, block, qname, qtype)
  const { kubernetes, autopath } = block
  const name = lower(qname)
  if (kubernetes === null || autopath === null || longestZone(autopath, name) === null) return first
  const zone = longestZone(kubernetes.zones, name)
  const pod = chain.server.index.podsByAddress(chain.client)[0]
  if (zone === null || pod === undefined || first.rcode !== 'NXDOMAIN') return first
  const search = `${pod.namespace}.${below('svc', zone)}`
  if (!name.endsWith(`.${search}`)) return first
  const base = qname.slice(0, qname.length - search.length - 1)
  const own = chain.nodeSearches.map((search) => lower(absolute(search)))
  for (const rest of [below('svc', zone), zone, ...own, '.']) {
    const found = answerFrom(chain, block, below(base, rest), qtype)
    // What no plugin takes is an error, which ends the walk.
    if (found.rcode === 'NXDOMAIN') continue
    const [record] = found.answer
    if (record === undefined) return found
    const alias: DnsRecord = { name: qname, ttl: record.ttl, type: 'CNAME', data: record.name }
    return { ...found, answer: [alias, ...found.answer] }
  }
  return first
}

function answerFrom(chain: Chain, block: ServerBlock, qname: string, qtype: string): DnsReply {
  const name = lower(qname)
  const refused = aclReply(block.acl, name, qtype, chain.client)
  if (refused !== null) return refused
  const lookup = (target: string): DnsReply => reply({ ...chain, depth: chain.depth + 1 }, target, qtype)
  const ready =
    templateReply(block.templates, qname, qtype, lookup) ??
    (block.hosts === null ? null : hostsReply(block.hosts, qname, qtype))
  if (ready !== null) return ready
  const plugin = block.kubernetes
  const zone = plugin === null ? null : longestZone(plugin.zones, name)
  if (plugin === null || zone === null) return forwardReply(chain, block, qname, qtype)
  if (qtype === 'AXFR' || qtype === 'IXFR') return emptyReply('REFUSED')
  const context: Context = { ...chain, plugin, zone: qname.slice(qname.length - zone.length) }
  const found = findRecords(context, qname, qtype)
  if (found.answer === null) {
    if (longestZone(plugin.fallthrough, name) !== null) return forwardReply(chain, block, qname, qtype)
    return negativeReply('NXDOMAIN', context)
  }
  if (found.answer.length === 0) return negativeReply('NOERROR', context)
  return {
    rcode: 'NOERROR',
    authoritative: true,
    truncated: found.truncated ?? false,
    answer: found.answer,
    authority: [],
    additional: found.additional ?? [],
  }
}

/**
 * What no plugin takes is SERVFAIL; what is forwarded to the cluster's own DNS address comes back as a question of its own. Where the whole Corefile has no forward and it was said all the same what a resolver
 * outside knows, that resolver is asked: a test's Corefile is often cut down to the plugin it is about.
 */
function forwardReply(chain: Chain, block: ServerBlock, qname: string, qtype: string): DnsReply {
  const { server, upstream } = chain
  const name = lower(qname)
  // The first one that fits takes the question, whatever comes of it.
  const taker = block.forwards.find(({ zone, except }) => isWithin(zone, name) && longestZone(except, name) === null)
  if (taker?.to.every((to) => server.addresses.has(hostOfServer(to)))) {
    // Behind NodeLocal DNSCache, CoreDNS sees the node's address, whoever asked.
    const next = chain.behind === null ? chain : { ...chain, server: chain.behind, behind: null, client: '' }
    return reply({ ...next, depth: chain.depth + 1 }, qname, qtype)
  }
  const taken = taker !== undefined
  const standsIn = upstream.silent !== true && server.corefile.blocks.every(({ forwards }) => forwards.length === 0)
  return taken || standsIn || block.answersElsewhere ? upstreamReply(upstream, qname, qtype) : emptyReply('SERVFAIL')
}

/** The address in `dns://10.96.0.10:53`. */
function hostOfServer(to: string): string {
  const host = to.replace(/^[a-z]+:\/\//i, '')
  return parseAddress(host)?.text ?? host.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/:\d+$/, '')
}

/** The first rule that fits; without the client's address one with `net` does not. A dropped question has no reply at all. */
function aclReply(rules: readonly AclRule[], name: string, qtype: string, client: string): DnsReply | null {
  const fits = ({ zones, types, nets }: AclRule): boolean =>
    longestZone(zones, name) !== null &&
    (types.size === 0 || types.has(qtype)) &&
    (nets.length === 0 || (client !== '' && nets.some((net) => holds(net, client))))
  const rule = rules.find(fits)
  if (rule === undefined || rule.action === 'allow') return null
  return emptyReply(rule.action === 'block' ? 'REFUSED' : rule.action === 'filter' ? 'NOERROR' : 'SERVFAIL')
}

function holds(net: string, client: string): boolean {
  const address = ipaddr.parse(client)
  const cidr = ipaddr.parseCIDR(net)
  return address.kind() === cidr[0].kind() && address.match(cidr)
}

function emptyReply(rcode: Rcode): DnsReply {
  return { rcode, authoritative: false, truncated: false, answer: [], authority: [], additional: [] }
}

function negativeReply(rcode: Rcode, context: Context): DnsReply {
  return { rcode, authoritative: true, truncated: false, answer: [], authority: [soa(context)], additional: [] }
}

function soa({ plugin, zone }: Context): DnsRecord {
  const data = `${below('ns.dns', zone)} ${below('hostmaster', zone)} ${SOA_SERIAL} 7200 1800 86400 ${plugin.ttl}`
  return { name: zone, ttl: Math.min(plugin.ttl, 300), type: 'SOA', data }
}

function findRecords(context: Context, qname: string, qtype: string): Found {
  const name = lower(qname)
  const ttl = context.plugin.ttl
  switch (qtype) {
    case 'A':
    case 'AAAA':
      return addressRecords(context, qname, qtype, 0)
    case 'SRV':
      return serviceRecords(context, qname)
    case 'CNAME': {
      const first = backendsOf(context, name, qtype)
      if (first === null) return { answer: null }
      const alias = first[0]?.kind === 'CNAME' ? [{ name: qname, ttl, type: 'CNAME', data: first[0].host }] : []
      return { answer: alias }
    }
    case 'PTR':
      return { answer: pointerRecords(context, qname) }
    case 'SOA':
      // Below the apex CoreDNS does not look whether the name exists.
      return { answer: name === lower(context.zone) ? [soa(context)] : [] }
    case 'TXT':
      if (name === below('dns-version', lower(context.zone)))
        return { answer: [{ name: qname, type: 'TXT', ...DNS_VERSION }] }
      // Names without records of their own, such as `svc.<zone>`, are no names to a TXT question; those of a topology zone are.
      return { answer: isTxtName(context, name) ? [] : null }
    case 'NS':
      // CoreDNS compares the folded name with the zone as asked: `CLUSTER.local. NS` is NODATA.
      if (name === context.zone) return nameServerRecords(context, qname)
      break
  }
  // Types without records here: an A question tells NODATA from NXDOMAIN.
  return { answer: backendsOf(context, name, 'A') === null ? null : [] }
}

function isTxtName(context: Context, name: string): boolean {
  const backends = backendsOf(context, name, 'TXT')
  return backends !== null && (backends.length > 0 || asksZone(context, name))
}

/**
 * A or AAAA records of a name, over the CNAMEs of ExternalName Services.
 *
 * A CNAME is left out altogether where its target, inside the zone, has no address of the type, and where it would loop.
 */
function addressRecords(context: Context, owner: string, qtype: 'A' | 'AAAA', cnamesBefore: number): Found {
  const name = lower(owner)
  const backends = backendsOf(context, name, qtype)
  if (backends === null) return { answer: null }
  const ttl = context.plugin.ttl
  const answer: DnsRecord[] = []
  const seen = new Set<string>()
  let truncated = false
  for (const { host, kind } of backends) {
    if (kind === qtype && !seen.has(host)) {
      seen.add(host)
      answer.push({ name: owner, ttl, type: qtype, data: host })
    }
    if (kind !== 'CNAME') continue
    const target = lower(host)
    const alias: DnsRecord = { name: owner, ttl, type: 'CNAME', data: host }
    // Loops end here too.
    if (cnamesBefore > MAX_CNAMES_BEFORE) continue
    if (isWithin(lower(context.zone), target)) {
      const next = addressRecords(context, host, qtype, cnamesBefore + 1)
      if (next.answer?.length) answer.push(alias, ...next.answer)
      truncated ||= next.truncated ?? false
      continue
    }
    const outside = reply({ ...context, depth: context.depth + 1 }, host, qtype)
    truncated ||= outside.truncated
    // A failing resolver leaves nothing; one that knows no such name or type leaves the CNAME alone.
    if (outside.rcode === 'NOERROR' || outside.rcode === 'NXDOMAIN') answer.push(alias, ...outside.answer)
  }
  return { answer, truncated }
}

/** SRV, one for each name and port, and the addresses of those names. */
function serviceRecords(context: Context, qname: string): Found {
  const backends = backendsOf(context, lower(qname), 'SRV')
  if (backends === null) return { answer: null }
  const targets = backends.filter((backend) => backend.kind !== 'CNAME')
  const ttl = context.plugin.ttl
  // Shared over the pairs of address and port, before equal records are merged.
  const weight = Math.max(1, Math.floor(100 / targets.length))
  const answer = new Map<string, DnsRecord>()
  const additional = new Map<string, DnsRecord>()
  for (const { host, kind, port, name } of targets) {
    if (port === -1) continue
    const data = `0 ${weight} ${port} ${name}`
    if (!answer.has(data)) answer.set(data, { name: qname, ttl, type: 'SRV', data })
    const at = `${name} ${host}`
    if (!additional.has(at)) additional.set(at, { name, ttl, type: kind, data: host })
  }
  return { answer: [...answer.values()], additional: [...additional.values()] }
}

/** A cluster IP has one name; any other address one for each Service and endpoint name that publishes it. */
function pointerRecords(context: Context, qname: string): readonly DnsRecord[] | null {
  const name = lower(qname)
  const address = addressOfReverse(name)
  if (address === null) return backendsOf(context, name, 'PTR') === null ? null : []
  const { plugin } = context
  const { index } = context.server
  const exposed = (namespace: string): boolean =>
    plugin.namespaces.size === 0 || (plugin.namespaces.has(namespace) && index.hasNamespace(namespace))
  const pointer = (labels: string): DnsRecord => ({
    name: qname,
    ttl: plugin.ttl,
    type: 'PTR',
    data: below(labels, plugin.primaryZone),
  })
  const service = index.servicesByClusterIp(address.text).find((candidate) => exposed(candidate.namespace))
  if (service !== undefined) return [pointer(`${service.name}.${service.namespace}.svc`)]
  const names = new Set<string>()
  for (const { namespace, service: serviceName, endpoint } of plugin.noEndpoints
    ? []
    : index.endpointsByAddress(address.text)) {
    if (!isPublished(endpoint) || !exposed(namespace)) continue
    names.add(`${endpointLabel(endpoint, plugin)}.${serviceName}.${namespace}.svc`)
  }
  return names.size === 0 ? null : [...names].map(pointer)
}

function nameServerRecords(context: Context, qname: string): Found {
  const ttl = context.plugin.ttl
  const servers = nameServers(context)
  const names = [...new Set(servers.map((server) => server.name))]
  return {
    answer: names.map((name) => ({ name: qname, ttl, type: 'NS', data: name })),
    additional: servers.map(({ name, kind, host }) => ({ name, ttl, type: kind, data: host })),
  }
}
