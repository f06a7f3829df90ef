/**
 * What the names of a trace mean in its cluster, at every stage of it: resolv.confs, servers, and each question's reply.
 *
 * A pod's resolv.conf is what kubelet wrote when the pod started, so it stays as it was at the first stage that has the
 * pod; the replies are those of each stage. Pods that share a resolv.conf and their /etc/hosts as far as names are dialled share their walks. The whole search list is asked,
 * not only as far as the answer: a server that still holds an old reply may send the client on.
 * Addresses and endpoints get their numbers here, before any rule set is compiled, so that all agree on them.
 * Cost: names × kinds of resolv.conf × search domains × record types questions a stage.
 */
import { DNS_TCP_PACKETS, SERVER_ASSUMED, SERVER_NONE } from '../../native-free-core/index.ts'
import type { Answer, NameTables, Question, Walk } from '../compile/dns-columns.ts'
import type { Registry } from '../compile/registry.ts'
import { answerOutside, answerPod, blockOf } from '../dns/answer.ts'
import { cacheSeconds } from '../dns/cache.ts'
import { absolute, labelsOf, longestZone, lower, parseAddress } from '../dns/domain-names.ts'
import { hostsEntry } from '../dns/hosts-file.ts'
import { type DnsRecord, type DnsReply, parseUpstream, type Rcode, type Upstream } from '../dns/records.ts'
import { podResolvConf, type ResolvConf, searchSequence } from '../dns/resolver.ts'
import { messageOctets, sendReply, type Transport } from '../dns/wire.ts'
import { createDnsServer, type DnsServer, dnsServices, isPublished } from '../dns/zone.ts'
import type { Warning } from '../errors.ts'
import type { Cluster, ClusterPod, ClusterService } from '../k8s/cluster.ts'
import type { Libc } from '../libc.ts'
import { ADDRESS_TYPES, type AddressType, addressCount, DEFAULT_DNS, type TraceHeader } from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'
import { type Dialling, firstDials } from './first-dials.ts'

/** RFC 1035 §4.1.1. */
const RCODES: Readonly<Record<Rcode, number>> = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
}
const UDP_BYTES = 8
const TCP_BYTES = 20
/** MSS, window scale and SACK permitted, in both SYNs. */
const SYN_OPTION_BYTES = 12
/** Before each message over TCP. */
const TCP_LENGTH_BYTES = 2
const IP_BYTES = { IPv4: 20, IPv6: 40 } as const
const NO_RECORDS: DnsReply = {
  rcode: 'NOERROR',
  authoritative: false,
  truncated: false,
  answer: [],
  authority: [],
  additional: [],
}

/** A resolv.conf, and the server that packets go to. */
interface Resolver {
  readonly conf: ResolvConf
  /** Address id, `SERVER_*` where the questions are not sent. */
  readonly server: number
  readonly family: 'IPv4' | 'IPv6'
  /** By name: its addresses in the pods' /etc/hosts; a name that is not there is asked for. */
  readonly hosts: ReadonlyMap<string, readonly string[]>
}

interface DialledName {
  readonly name: string
  readonly port: number
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
}

/**
 * @param stages     the cluster at the start and after each change
 * @param clientMap  by address id of the trace: the id in this cluster; empty for "the same"
 * @param registry   has been preloaded with the trace's addresses
 * @param asked      the trace, which tells when names are asked first (null: nobody knows), and the tick of the cluster's last
 *                   change (null for none)
 * @returns          by stage; null for a trace that dials no name
 * Errors: UserError E_COREFILE, E_UPSTREAM.
 */
export function planNames(
  header: TraceHeader,
  stages: readonly Cluster[],
  clientMap: Int32Array,
  registry: Registry,
  warnings: Warning[],
  asked: { readonly trace: TraceFile | null; readonly lastTick: number | null } = { trace: null, lastTick: null },
): NameTables[] | null {
  const { trace, lastTick } = asked
  const { names, nameOfDestination } = dialledNames(header)
  if (names.length === 0) return null
  const dns = header.dns ?? DEFAULT_DNS
  const types = ADDRESS_TYPES.filter((type) => dns.families.includes(type))
  const upstream = parseUpstream(dns.upstream, 'the trace’s header, dns')
  const libc = dns.resolver ?? 'glibc'
  const resolvers = new Resolvers(header, stages, clientMap, registry, warnings, names)
  const questionIds = new Map<string, number>()
  const known = new Set<number>()
  const tables = stages.map((cluster) => {
    const server = createDnsServer(cluster)
    warnings.push(...server.warnings)
    const stage = new Stage(server, registry, upstream, questionIds, known, libc)
    return {
      nameOfDestination,
      types: types.length,
      clientCacheMs: Math.min(0x7fffffff, Math.round(dns.cacheSeconds * 1000)),
      resolverOf: resolvers.ofAddress,
      servers: resolvers.list.map((resolver) => resolver.server),
      walks: names.map((name) => resolvers.list.map((resolver) => stage.walk(name, resolver, types))),
      endpoints: stage.endpoints,
      knownEndpoints: known,
      libc,
      firstMs: new Map<number, number>(),
    }
  })
  if (trace !== null && lastTick !== null) {
    const own = (client: number): number => (clientMap.length > 0 ? clientMap[client]! : client)
    const dialling: Dialling = {
      names: names.length,
      resolvers: resolvers.list.length,
      nameOf: (destination) => nameOfDestination[destination]!,
      resolverOf: (client) => resolvers.ofAddress.get(own(client)) ?? -1,
    }
    const dials = firstDials(trace, dialling, lastTick)
    for (const { firstMs } of tables) putFirst(firstMs, tables[0]!.walks.flat(), dials)
  }
  return tables
}

/** Of each question the first moment at which a name's walk asks it; walks go as far as before any change. */
function putFirst(firstMs: Map<number, number>, walks: readonly Walk[], dials: Float64Array): void {
  walks.forEach((walk, i) => {
    const dialMs = dials[i]!
    if (dialMs === Number.POSITIVE_INFINITY) return
    const last = walk.findIndex((step) => step.some(({ ends }) => ends))
    for (const { id } of (last < 0 ? walk : walk.slice(0, last + 1)).flat())
      firstMs.set(id, Math.min(dialMs, firstMs.get(id) ?? dialMs))
  })
}

function dialledNames(header: TraceHeader): { names: DialledName[]; nameOfDestination: number[] } {
  const names: DialledName[] = []
  const protocols = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' } as const
  const nameOfDestination = header.destinations.map(({ name, port, protocol }) =>
    name === undefined ? -1 : names.push({ name, port, protocol: protocols[protocol] }) - 1,
  )
  return { names, nameOfDestination }
}

/** Which client has which resolv.conf. */
class Resolvers {
  readonly list: Resolver[] = []
  /** Address id of a client to its index in `list`. */
  readonly ofAddress: Map<number, number> = new Map()
  private readonly indexOf = new Map<string, number>()
  private readonly registry: Registry
  private readonly warnings: Warning[]
  /** Somewhere on the way there is a DNS Service: questions to it are packets. */
  private readonly wired: boolean
  private readonly nodeResolver: string[] = []
  /** That are dialled. */
  private readonly names: readonly string[]

  constructor(
    header: TraceHeader,
    stages: readonly Cluster[],
    clientMap: Int32Array,
    registry: Registry,
    warnings: Warning[],
    names: readonly DialledName[],
  ) {
    this.names = [...new Set(names.map(({ name }) => name))]
    this.registry = registry
    this.warnings = warnings
    this.wired = stages.some((cluster) => dnsServices(cluster).length > 0)
    const own = (id: number): number => (clientMap.length > 0 ? clientMap[id]! : id)
    const traced = new Set(clientMap.length > 0 ? clientMap : [])
    const known = addressCount(header.addresses)
    for (const cluster of stages) {
      const pods = new Map(cluster.pods.map((pod) => [`pod/${pod.namespace}/${pod.name}`, pod]))
      // Pods on the host's network share its address: the trace says whose connections they are.
      for (const [id, name] of header.clientNames) {
        const pod = pods.get(name)
        if (pod !== undefined) this.add(own(id), cluster, pod)
      }
      for (const pod of cluster.pods) {
        for (const address of pod.hostNetwork ? [] : pod.addresses) {
          const id = registry.address(address)
          if (id < known || traced.has(id)) this.add(id, cluster, pod)
        }
      }
    }
    this.warn(stages[0]!)
  }

  private add(address: number, cluster: Cluster, pod: ClusterPod): void {
    if (this.ofAddress.has(address)) return
    const conf = podResolvConf(cluster, pod)
    const { asksCluster, ndots, searches, nameservers } = conf
    const server = nameservers[0] ?? ''
    const hosts = new Map(
      this.names.flatMap((name) => {
        const entry = hostsEntry(pod, name, cluster.clusterDomain)
        return entry === null ? [] : [[name, entry.addresses] as const]
      }),
    )
    const key = JSON.stringify([asksCluster, ndots, searches, server, [...hosts]])
    let index = this.indexOf.get(key)
    if (index === undefined) {
      const parsed = parseAddress(server)
      const sent = parsed !== null && (this.wired || !asksCluster)
      index = this.list.length
      this.indexOf.set(key, index)
      this.list.push({
        conf,
        server: sent ? this.registry.address(parsed.text) : asksCluster ? SERVER_ASSUMED : SERVER_NONE,
        family: parsed?.type === 'AAAA' ? 'IPv6' : 'IPv4',
        hosts,
      })
    }
    if (server === '') this.nodeResolver.push(`${pod.namespace}/${pod.name}`)
    this.ofAddress.set(address, index)
  }

  private warn(cluster: Cluster): void {
    if (!this.wired && this.list.some(({ conf }) => conf.asksCluster)) {
      this.warnings.push({
        code: 'W_NO_DNS_SERVICE',
        where: `cluster domain ${cluster.clusterDomain}`,
        message:
          'the manifests have no DNS Service: names are answered, but the queries are no packets and cost nothing. Add the kube-dns Service and the CoreDNS Deployment to see what they cost',
      })
    }
    if (this.nodeResolver.length > 0) {
      this.warnings.push({
        code: 'W_NODE_RESOLVER',
        where: `pod/${this.nodeResolver[0]}`,
        message: `${this.nodeResolver.length} client pods use their node’s resolver (dnsPolicy), which manifests do not tell of: the resolver outside the cluster answers, and the queries are no packets`,
      })
    }
  }
}

/** The cluster's DNS at one stage. */
class Stage {
  /** Ids of endpoints that names lead to directly. */
  readonly endpoints: Set<number> = new Set()
  /** Those of all stages. */
  private readonly known: Set<number>
  private readonly server: DnsServer
  private readonly registry: Registry
  private readonly upstream: Upstream
  private readonly questionIds: Map<string, number>
  private readonly libc: Libc

  constructor(
    server: DnsServer,
    registry: Registry,
    upstream: Upstream,
    questionIds: Map<string, number>,
    known: Set<number>,
    libc: Libc,
  ) {
    this.libc = libc
    this.server = server
    this.registry = registry
    this.upstream = upstream
    this.questionIds = questionIds
    this.known = known
  }

  walk(name: DialledName, resolver: Resolver, types: readonly AddressType[]): Walk {
    const written = resolver.hosts.get(name.name)
    if (written !== undefined) return [types.map((type) => this.local(name, type, written))]
    return searchSequence(name.name, resolver.conf, this.libc).map((qname) =>
      types.map((type) => this.question(qname, type, name, resolver)),
    )
  }

  /** A name that stands in /etc/hosts: an answer without a question. */
  private local(name: DialledName, type: AddressType, addresses: readonly string[]): Question {
    const own = addresses.filter((address) => parseAddress(address)?.type === type)
    return {
      ...{ id: this.idOf(`hosts ${lower(name.name)} ${type} ${own.join(' ')}`), type: ADDRESS_TYPES.indexOf(type) },
      ...{ rcode: 0, requestBytes: 0, replyBytes: 0, tcpBytes: 0, cacheMs: 0, shuffled: false, local: true },
      ends: own.length > 0,
      answers: own.map((address) => ({ address: this.registry.address(address), endpoint: -1 })),
    }
  }

  private question(qname: string, type: AddressType, name: DialledName, resolver: Resolver): Question {
    const { server, upstream } = this
    const asked = { qname, qtype: type, upstream }
    const { asksCluster } = resolver.conf
    const whole = asksCluster ? answerPod(server, asked) : answerOutside(asked)
    const block = asksCluster ? blockOf(server, qname) : null
    // Old musl takes what a truncated reply holds.
    const isCut = this.libc === 'musl-1.1'
    const reply = isCut ? sendReply(qname, whole, transportOf(resolver, block?.bufsize ?? null)).reply : whole
    return {
      id: this.idOf(`${lower(qname)} ${type} ${asksCluster}`),
      type: ADDRESS_TYPES.indexOf(type),
      rcode: RCODES[reply.rcode],
      ...sizes(qname, whole, resolver, block?.bufsize ?? null, !isCut),
      cacheMs: asksCluster ? Math.min(0x7fffffff, cacheSeconds(server, qname, whole) * 1000) : 0,
      ends: reply.answer.length > 0,
      answers: this.answers(reply.answer, type, name),
      shuffled: block?.loadbalance ?? false,
      local: false,
    }
  }

  private idOf(question: string): number {
    const known = this.questionIds.get(question) ?? this.questionIds.size
    this.questionIds.set(question, known)
    return known
  }

  private answers(records: readonly DnsRecord[], type: AddressType, name: DialledName): Answer[] {
    const found = new Map<string, Answer>()
    for (const record of records) {
      if (record.type !== type || found.has(record.data)) continue
      const address = this.registry.address(record.data)
      found.set(record.data, { address, endpoint: this.endpointAt(record, address, name) })
    }
    return [...found.values()]
  }

  /** The endpoint that an address is of, where its name is a headless Service's or an endpoint's own; else -1. */
  private endpointAt(record: DnsRecord, address: number, name: DialledName): number {
    const service = this.serviceOf(record.name)
    if (service === undefined || service.clusterIPs.includes(record.data)) return -1
    const servicePort = this.servicePort(service, record.type === 'AAAA' ? 'IPv6' : 'IPv4', name)
    // All that the Service publishes are in the report: nobody balances them, and one may be idle.
    for (const endpoint of this.server.index.endpoints(service.name, service.namespace)) {
      if (endpoint.address.type !== record.type || !isPublished(endpoint)) continue
      const id = this.registry.endpoint(servicePort, this.registry.address(endpoint.address.text), name.port)
      this.endpoints.add(id)
      this.known.add(id)
    }
    return this.registry.endpoint(servicePort, address, name.port)
  }

  /** The Service in whose name a record stands: `[endpoint.]service.namespace.svc.<zone>`. */
  private serviceOf(owner: string): ClusterService | undefined {
    const folded = lower(absolute(owner))
    const zone = longestZone(blockOf(this.server, folded)?.kubernetes?.zones ?? [], folded)
    if (zone === null) return undefined
    const labels = labelsOf(folded.slice(0, folded.length - zone.length) || '.')
    const [service, namespace, kind] = labels.slice(-3)
    return kind === 'svc' ? this.server.index.service(service!, namespace!) : undefined
  }

  /** Named by the Service's port that leads to the one dialled, else by its number. */
  private servicePort(service: ClusterService, family: 'IPv4' | 'IPv6', name: DialledName): number {
    const endpoints = this.server.index.endpoints(service.name, service.namespace)
    const port = service.ports.find(
      (one) =>
        one.protocol === name.protocol &&
        endpoints.some(({ ports }) =>
          ports.some((own) => own.name === one.name && own.protocol === one.protocol && own.port === name.port),
        ),
    )
    const label = port === undefined ? String(name.port) : port.name === '' ? String(port.port) : port.name
    return this.registry.servicePort({ namespace: service.namespace, service: service.name, port: label, family })
  }
}

/** Bytes of the IP packets of one exchange; 0 where nothing is sent. */
function sizes(
  qname: string,
  reply: DnsReply,
  resolver: Resolver,
  sizeCap: number | null,
  retries: boolean,
): { requestBytes: number; replyBytes: number; tcpBytes: number } {
  if (resolver.server < 0) return { requestBytes: 0, replyBytes: 0, tcpBytes: 0 }
  const transport = transportOf(resolver, sizeCap)
  const question = messageOctets(qname, NO_RECORDS, false)
  const sent = sendReply(qname, reply, transport)
  const ip = IP_BYTES[resolver.family]
  const whole =
    retries && sent.reply.truncated && !reply.truncated ? sendReply(qname, reply, { ...transport, tcp: true }) : null
  return {
    requestBytes: ip + UDP_BYTES + question,
    replyBytes: ip + UDP_BYTES + sent.sizeBytes,
    tcpBytes:
      whole === null
        ? 0
        : DNS_TCP_PACKETS * (ip + TCP_BYTES) + 2 * (SYN_OPTION_BYTES + TCP_LENGTH_BYTES) + question + whole.sizeBytes,
  }
}

function transportOf({ family }: Resolver, sizeCap: number | null): Transport {
  return { tcp: false, ednsSize: null, sizeCap, family }
}
