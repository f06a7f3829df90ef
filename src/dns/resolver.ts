/**
 * The client's side: a pod's resolv.conf as kubelet writes it, and the questions that a C library asks for one name.
 *
 * A name below `ndots` dots is tried with every search domain before it is tried as it stands, so `www.example.com` costs
 * four questions in a pod of the default policy, and twice as many where A and AAAA are asked together.
 * Model: the nameserver of a node is the resolver outside the cluster; its search list is empty unless it is given.
 * Source: kubernetes/kubernetes pkg/kubelet/network/dns/dns.go; resolv.conf(5); glibc resolv/res_query.c
 * __res_context_search; musl src/network/lookup_name.c name_from_dns_search; Go net/dnsconfig.go nameList; KEP-2595.
 */
import type { Cluster, ClusterPod } from '../k8s/cluster.ts'
import type { Libc } from '../libc.ts'
import { answerOutside, answerPod } from './answer.ts'
import { absolute, lower, parseAddress } from './domain-names.ts'
import type { DnsRecord, DnsReply, Rcode, Upstream } from './records.ts'
import { clusterDnsAddress, type DnsServer, dnsServices } from './zone.ts'

export interface ResolvConf {
  /** At most 3. Empty: the node's, which the manifests do not tell. */
  readonly nameservers: readonly string[]
  /** Search domains without final dot, in order, at most 32 and 2048 characters. */
  readonly searches: readonly string[]
  /** As written in the file: `ndots:5`. */
  readonly options: readonly string[]
  readonly ndots: number
  /** The first nameserver is the cluster's DNS Service; otherwise the resolver outside answers. */
  readonly asksCluster: boolean
}

const MAX_NAMESERVERS = 3
/** With ExpandedDNSConfig, on by default for years (KEP-2595). */
const MAX_SEARCHES = 32
const MAX_SEARCH_CHARACTERS = 2048
/** What resolv.conf(5) does without the option, and the most it takes. */
const DEFAULT_NDOTS = 1
const MAX_NDOTS = 15

/** A node's resolv.conf, which manifests do not hold. */
export interface NodeResolver {
  readonly nameservers: readonly string[]
  readonly searches: readonly string[]
  readonly options: readonly string[]
}

const UNKNOWN_NODE: NodeResolver = { nameservers: [], searches: [], options: [] }

/** As kubelet reads it: the last `search` and `options` line counts, `domain` and a search for the root are not looked at. */
export function parseResolvConf(text: string): NodeResolver {
  const nameservers: string[] = []
  let searches: string[] = []
  let options: string[] = []
  for (const line of text.split('\n')) {
    const [word, ...rest] = line
      .replace(/[#;].*/, '')
      .trim()
      .split(/\s+/)
    if (word === 'nameserver' && rest[0] !== undefined) nameservers.push(rest[0])
    else if (word === 'search') searches = rest.filter((domain) => domain !== '.')
    else if (word === 'options') options = rest
  }
  return { nameservers, searches, options }
}

/**
 * The resolv.conf that kubelet writes for a pod, of its dnsPolicy and dnsConfig.
 *
 * @param node  of the pod's node: its search domains come after the cluster's, and with dnsPolicy Default it is all there is
 */
export function podResolvConf(cluster: Cluster, pod: ClusterPod, node: NodeResolver = UNKNOWN_NODE): ResolvConf {
  // ClusterFirst means nothing on the host's network; ClusterFirstWithHostNet is for that.
  const policy = pod.dnsPolicy === 'ClusterFirst' && pod.hostNetwork ? 'Default' : pod.dnsPolicy
  const ofCluster = policy === 'ClusterFirst' || policy === 'ClusterFirstWithHostNet'
  const domain = cluster.clusterDomain.replace(/\.$/, '')
  const config = pod.dnsConfig
  const ofNode = policy === 'Default' ? node : UNKNOWN_NODE
  const nameservers = [
    ...(ofCluster ? [clusterDnsAddress(cluster)] : ofNode.nameservers),
    ...(config.nameservers ?? []),
  ]
  const searches = [
    ...(ofCluster ? [`${pod.namespace}.svc.${domain}`, `svc.${domain}`, domain] : []),
    ...(policy === 'None' ? [] : node.searches),
    ...(config.searches ?? []),
  ]
  const options = new Map<string, string>(ofCluster ? [['ndots', '5']] : ofNode.options.map(splitOption))
  for (const { name, value } of config.options ?? []) if (name !== undefined) options.set(name, value ?? '')
  const dnsAddresses = new Set([
    clusterDnsAddress(cluster),
    ...dnsServices(cluster).flatMap((service) => service.clusterIPs),
  ])
  const first = parseAddress(nameservers[0] ?? '')?.text ?? ''
  const ndots = Number(options.get('ndots') ?? DEFAULT_NDOTS)
  return {
    nameservers: [...new Set(nameservers)].slice(0, MAX_NAMESERVERS),
    searches: fitSearches([...new Set(searches.map((search) => (search === '.' ? '.' : search.replace(/\.$/, ''))))]),
    options: [...options].map(([name, value]) => (value === '' ? name : `${name}:${value}`)),
    ndots: Number.isInteger(ndots) && ndots >= 0 ? Math.min(ndots, MAX_NDOTS) : DEFAULT_NDOTS,
    asksCluster: dnsAddresses.has(first) || (LINK_LOCAL.test(first) && hasNodeLocalCache(cluster)),
  }
}

/** Where node-local DNS caches listen; a cloud's own resolver may as well. */
const LINK_LOCAL = /^(169\.254\.|fe80:|fd00:ec2:)/

/** A cache on each node that answers cluster names as CoreDNS does. */
function hasNodeLocalCache({ pods }: Cluster): boolean {
  return pods.some(({ labels }) =>
    /^node-?local-?dns$/.test(labels['k8s-app'] ?? labels['app.kubernetes.io/name'] ?? ''),
  )
}

function splitOption(option: string): [name: string, value: string] {
  const colon = option.indexOf(':')
  return colon < 0 ? [option, ''] : [option.slice(0, colon), option.slice(colon + 1)]
}

/** kubelet drops domains from the end until the list and the line it makes are short enough. */
function fitSearches(searches: readonly string[]): string[] {
  const fitting = searches.slice(0, MAX_SEARCHES)
  while (fitting.join(' ').length > MAX_SEARCH_CHARACTERS) fitting.pop()
  return fitting
}

export function isMusl(libc: Libc): boolean {
  return libc === 'musl' || libc === 'musl-1.1'
}

/**
 * The absolute names a C library tries for `name`, in order, until one answers.
 *
 * glibc and Go: from `ndots` dots on, the name as it stands comes first and the search list after it; below, it comes last. musl
 * never searches from `ndots` dots on. A final dot means as it stands, only. A `.` in the list makes a name with two dots at its end of
 * it for musl, which cannot be asked: before 1.2.4 the look-up ends there, later the entry is passed over.
 */
export function searchSequence(
  name: string,
  conf: Pick<ResolvConf, 'searches' | 'ndots'>,
  libc: Libc = 'glibc',
): string[] {
  const whole = absolute(name)
  if (name === '' || whole === name) return [whole]
  const dots = name.split('.').length - 1
  const below = (searches: readonly string[]): string[] =>
    searches.map((search) => (search === '.' ? whole : `${name}.${absolute(search)}`))
  if (isMusl(libc) && dots < conf.ndots) {
    const dot = conf.searches.indexOf('.')
    if (dot >= 0 && libc === 'musl-1.1') return [...new Set(below(conf.searches.slice(0, dot)))]
    return [...new Set([...below(conf.searches.filter((search) => search !== '.')), whole])]
  }
  const searched = below(conf.searches)
  if (dots < conf.ndots) return [...new Set([...searched, whole])]
  return isMusl(libc) ? [whole] : [...new Set([whole, ...searched])]
}

export interface ResolverQuery {
  readonly qname: string
  readonly qtype: string
  readonly rcode: Rcode
  readonly answers: number
  /** Nothing was said of what the resolver outside knows of this name. */
  readonly unknown: boolean
}

export interface Resolution {
  /** Every question asked, in order: the cost of the name. */
  readonly queries: readonly ResolverQuery[]
  /** The absolute name of the last try: the one that answered, if any did. */
  readonly qname: string
  /** By record type, the replies of the last try. */
  readonly replies: ReadonlyMap<string, DnsReply>
  /** Of those the records that the C library takes: none where it gives up or goes on. */
  readonly records: readonly DnsRecord[]
  /** Why it takes none of the records that came; '' where it takes them, or none came. */
  readonly refused: string
}

export interface ResolveOptions {
  readonly upstream?: Upstream
  readonly libc?: Libc
  /** Address of the client. */
  readonly client?: string
  /** Of the nodes' resolv.conf. */
  readonly nodeSearches?: readonly string[]
}

/**
 * Walks the search list with questions of the types given (`['A', 'AAAA']` as getaddrinfo asks), until a try brings records.
 *
 * glibc goes on after NXDOMAIN, after a reply without records and after SERVFAIL; musl stops at anything but NXDOMAIN, and believes the
 * first reply that says NXDOMAIN, even where the other one holds addresses. glibc takes addresses of the name asked for and of
 * its aliases alone; musl and Go look at no owner. glibc and musl take records of the type asked for alone (A records that answer an
 * AAAA question are none); Go and old musl take what addresses there are. glibc ends its walk at any answer, Go at an address.
 */
export function resolveName(
  server: DnsServer,
  conf: ResolvConf,
  name: string,
  qtypes: readonly string[],
  options: ResolveOptions = {},
): Resolution {
  const queries: ResolverQuery[] = []
  const { upstream, libc = 'glibc', client = '', nodeSearches = [] } = options
  const none: DnsReply = {
    rcode: 'NXDOMAIN',
    authoritative: false,
    truncated: false,
    answer: [],
    authority: [],
    additional: [],
  }
  let last: Omit<Resolution, 'queries'> = {
    qname: absolute(name),
    replies: new Map(qtypes.map((qtype) => [qtype, none])),
    records: [],
    refused: '',
  }
  for (const qname of searchSequence(name, conf, libc)) {
    const replies = new Map<string, DnsReply>()
    for (const qtype of qtypes) {
      const question = { qname, qtype, client, nodeSearches, ...(upstream === undefined ? {} : { upstream }) }
      const reply = conf.asksCluster ? answerPod(server, question) : answerOutside(question)
      replies.set(qtype, reply)
      queries.push({ qname, qtype, rcode: reply.rcode, answers: reply.answer.length, unknown: reply.unknown ?? false })
    }
    const read = isMusl(libc) ? readByMusl(replies, libc) : readByOthers(qname, replies, libc)
    last = { qname, replies, ...read }
    if (read.ends) break
  }
  return { queries, ...last }
}

interface ReadReplies {
  readonly records: readonly DnsRecord[]
  readonly refused: string
  /** The search list is not walked on. */
  readonly ends: boolean
}

/**
 * Source: musl src/network/lookup_name.c name_from_dns: A before AAAA, the first error decides; before 1.2.1 what one reply
 * brought counted, whatever the other said.
 */
function readByMusl(replies: ReadonlyMap<string, DnsReply>, libc: Libc): ReadReplies {
  const all = [...replies.values()].flatMap(({ answer }) => answer)
  const records = libc === 'musl-1.1' ? all : [...replies].flatMap(([qtype, { answer }]) => ofType(qtype, answer))
  const failed = [...replies].find(([, { rcode }]) => rcode !== 'NOERROR')
  if (failed === undefined || (libc === 'musl-1.1' && records.length > 0)) {
    const passedOver = all.length > 0 && records.length === 0
    return {
      records,
      refused: passedOver ? 'no record is of the type asked for, and musl takes no other' : '',
      ends: true,
    }
  }
  const [qtype, { rcode }] = failed
  const refused =
    records.length === 0 ? '' : `${rcode} for ${qtype}, and musl believes that in spite of the other reply's records`
  return { records: [], refused, ends: rcode !== 'NXDOMAIN' }
}

/** Source: glibc resolv/nss_dns/dns-host.c getanswer_r and its successors; Go net/dnsclient_unix.go goLookupIPCNAMEOrder. */
function readByOthers(qname: string, replies: ReadonlyMap<string, DnsReply>, libc: Libc): ReadReplies {
  const all = [...replies.values()].flatMap(({ answer }) => answer)
  if (libc === 'go')
    return { records: all, refused: '', ends: all.some(({ type }) => type !== 'CNAME' || replies.has('CNAME')) }
  const named = [...replies].flatMap(([qtype, { answer }]) => ofType(qtype, ofName(qname, answer)))
  // An alias alone is an answer, unless what it leads to was passed over.
  const records = named.some(({ type }) => type !== 'CNAME') || !all.some(isAddress) ? named : []
  return {
    records,
    refused: records.length > 0 || all.length === 0 ? '' : whyRefused(qname, replies),
    ends: all.length > 0,
  }
}

function whyRefused(qname: string, replies: ReadonlyMap<string, DnsReply>): string {
  for (const [qtype, { answer }] of replies) {
    const [other] = ofName(qname, answer).filter((record) => isAddress(record) && record.type !== qtype)
    if (other !== undefined)
      return `the answer to ${qtype} holds ${other.type} records, and glibc takes those of the type that it asked for alone`
  }
  const [first] = [...replies.values()].flatMap(({ answer }) => answer)
  return `the answer is about ${first!.name.replace(/\.$/, '')}, and glibc takes none about another name than it asked for`
}

function isAddress({ type }: DnsRecord): boolean {
  return type === 'A' || type === 'AAAA'
}

/** Addresses of the other family are no answer; whatever else is there stays. */
function ofType(qtype: string, records: readonly DnsRecord[]): DnsRecord[] {
  return records.filter((record) => !isAddress(record) || record.type === qtype || qtype === 'ANY')
}

/** Records of the name and of its aliases, which stand before what they lead to. */
function ofName(qname: string, answer: readonly DnsRecord[]): DnsRecord[] {
  let owner = lower(qname)
  const taken: DnsRecord[] = []
  for (const record of answer) {
    if (lower(record.name) !== owner) continue
    taken.push(record)
    if (record.type === 'CNAME') owner = lower(record.data)
  }
  return taken
}

/** The pods that `--from` may mean: `pod/NAME`, `NAMESPACE/NAME` or `NAME`, of a Pod or of the workload it belongs to. */
export function findPods(cluster: Cluster, reference: string): ClusterPod[] {
  const spec = lower(reference).replace(/^(?:pods?|po)\//, '')
  const [first, second, ...rest] = spec.split('/')
  if (rest.length > 0) return []
  const namespace = second === undefined ? null : first!
  const name = second ?? first!
  const inNamespace = cluster.pods.filter((pod) => namespace === null || pod.namespace === namespace)
  const named = inNamespace.filter((pod) => pod.name === name)
  if (named.length > 0) return named
  return inNamespace.filter((pod) => pod.owner !== '' && pod.owner.split('/').at(-1) === name)
}
