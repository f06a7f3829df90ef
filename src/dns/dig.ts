/**
 * One name looked up, by a pod or as it stands: the reply as it arrives, over UDP and where it must over TCP.
 *
 * Source: dig's own output for the form; resolv.conf(5), musl's and Go's resolvers for what a client asks for.
 */
import { UserError } from '../errors.ts'
import type { Cluster, ClusterPod } from '../k8s/cluster.ts'
import type { Libc } from '../libc.ts'
import { suggestion } from '../nearest.ts'
import { answerQuery, blockOf } from './answer.ts'
import type { ReplyView } from './dig-text.ts'
import { absolute } from './domain-names.ts'
import type { DnsReply, Upstream } from './records.ts'
import {
  findPods,
  isMusl,
  type NodeResolver,
  podResolvConf,
  type Resolution,
  type ResolvConf,
  resolveName,
} from './resolver.ts'
import { sendReply, type Transport } from './wire.ts'
import { clusterDnsAddress, type DnsServer } from './zone.ts'

/** Who answers for the world outside, and how the asking resolver behaves. */
export interface Naming {
  readonly upstream: Upstream
  readonly libc: Libc
  /** The nodes' resolv.conf; null where it was not given. */
  readonly node: NodeResolver | null
}

/** One question as asked, before any search list. */
export interface DigQuery {
  readonly id: string | number | null
  readonly name: string
  readonly qtype: string
  readonly upstream: Upstream
}

/** Who asks. */
export interface AskingPod {
  /** `namespace/name`. */
  readonly name: string
  readonly conf: ResolvConf
  readonly address: string
  /** Where and why its questions are dropped, so that nothing comes back; left out where they are not. */
  readonly blocked?: readonly { readonly at: string; readonly detail: string }[]
}

export interface DigSettings {
  readonly cluster: Cluster
  readonly server: DnsServer
  readonly pod: AskingPod | null
  readonly naming: Naming
  readonly tcp: boolean
  readonly ednsSize: number | null
}

/** Everything that was found out about one query. */
export interface DigOutcome {
  readonly query: DigQuery
  readonly view: ReplyView
  readonly resolution: Resolution | null
}

/** What `dpemu dig -o json` prints; `schemaVersion` grows when a field changes its meaning. */
export type DigDocument = Readonly<Record<string, unknown>>

/** The JSON document of one answer; of a pod's question also the pod and the queries it took. */
export function digDocument({ query, view, resolution }: DigOutcome, { pod }: DigSettings): DigDocument {
  const { reply, sizeBytes } = view.sent
  if (pod?.blocked !== undefined) {
    return {
      schemaVersion: 1,
      ...(query.id === null ? {} : { id: query.id }),
      ...{ qname: view.qname, qtype: view.qtype, rcode: 'TIMEOUT', answer: [], authority: [], additional: [] },
      ...{ name: query.name, from: pod.name, queries: [], blocked: pod.blocked },
    }
  }
  return {
    schemaVersion: 1,
    ...(query.id === null ? {} : { id: query.id }),
    qname: view.qname,
    qtype: view.qtype,
    rcode: reply.rcode,
    authoritative: reply.authoritative,
    truncated: reply.truncated,
    ...(reply.unknown ? { unknown: true } : {}),
    transport: view.tcp ? 'tcp' : 'udp',
    sizeBytes,
    answer: reply.answer,
    authority: reply.authority,
    additional: reply.additional,
    ...(pod === null || resolution === null
      ? {}
      : {
          name: query.name,
          from: pod.name,
          resolvConf: { nameservers: pod.conf.nameservers, searches: pod.conf.searches, options: pod.conf.options },
          queries: resolution.queries,
        }),
  }
}

/** @throws nothing: whatever the rcode, it is an answer */
export function lookUp(settings: DigSettings, query: DigQuery): DigOutcome {
  const { server, pod, cluster } = settings
  const { upstream, qtype } = query
  if (pod !== null) {
    const resolution = resolveName(server, pod.conf, query.name, [qtype], {
      upstream,
      libc: settings.naming.libc,
      client: pod.address,
      nodeSearches: settings.naming.node?.searches ?? [],
    })
    const reply = resolution.replies.get(qtype)!
    const address = pod.conf.nameservers[0] ?? 'the node'
    const at = pod.conf.asksCluster ? serverLine(server, resolution.qname, address) : `${address} (outside the cluster)`
    return { query, resolution, view: deliver(settings, resolution.qname, qtype, reply, at) }
  }
  const qname = absolute(query.name)
  const reply = answerQuery(server, { qname, qtype, upstream })
  return {
    query,
    resolution: null,
    view: deliver(settings, qname, qtype, reply, serverLine(server, qname, clusterDnsAddress(cluster))),
  }
}

/** The reply as it arrives: over UDP, and over TCP if it must and may. */
function deliver(settings: DigSettings, qname: string, qtype: string, reply: DnsReply, server: string): ReplyView {
  const { libc } = settings.naming
  // glibc and Go heed `use-vc`, musl does not; Go says that it takes 1232 bytes.
  const tcp = settings.tcp || (!isMusl(libc) && (settings.pod?.conf.options.includes('use-vc') ?? false))
  const ednsSize = settings.ednsSize ?? (libc === 'go' ? 1232 : null)
  const block = blockOf(settings.server, qname)
  const family = server.startsWith('[') ? 'IPv6' : 'IPv4'
  const transport: Transport = { tcp, ednsSize, sizeCap: block?.bufsize ?? null, family }
  const sent = sendReply(qname, reply, transport)
  const retried = sent.reply.truncated && !reply.truncated && !tcp && settings.ednsSize === null && libc !== 'musl-1.1'
  const last = retried ? sendReply(qname, reply, { ...transport, tcp: true }) : sent
  return {
    qname,
    qtype,
    sent: last,
    tcp: tcp || retried,
    retried,
    ednsSize,
    shuffled: block?.loadbalance ?? false,
    server,
  }
}

function serverLine(server: DnsServer, qname: string, address: string): string {
  const zones = blockOf(server, qname)?.kubernetes?.zones ?? []
  const at = address.includes(':') ? `[${address}]#53` : `${address}#53`
  return `${at} (CoreDNS${zones.length > 0 ? `: ${zones.map((zone) => zone.replace(/(?<=.)\.$/, '')).join(' ')}` : ''})`
}

/** A pod as a client: its resolv.conf and the address that it asks from. */
export function askingPod(cluster: Cluster, reference: string, naming: Naming): NonNullable<DigSettings['pod']> {
  const pod = podNamed(cluster, reference)
  return {
    name: `${pod.namespace}/${pod.name}`,
    conf: podResolvConf(cluster, pod, naming.node ?? undefined),
    address: pod.addresses[0] ?? '',
  }
}

/** @throws UserError `E_POD_UNKNOWN`, or `E_USAGE` for a name that pods of two namespaces have; exit code 2 */
export function podNamed(cluster: Cluster, reference: string): ClusterPod {
  const found = findPods(cluster, reference)
  if (found.length === 0) {
    const known = cluster.pods.map((pod) => `${pod.namespace}/${pod.name}`)
    const hints =
      known.length === 0 ? 'the manifests have no pods' : suggestion(reference.replace(/^pods?\//, ''), known)
    throw new UserError('E_POD_UNKNOWN', `--from ${reference}: there is no such pod`, { hint: hints, exitCode: 2 })
  }
  const namespaces = new Set(found.map((pod) => pod.namespace))
  const inDefault = found.find((pod) => pod.namespace === 'default')
  if (namespaces.size > 1 && inDefault === undefined) {
    throw new UserError('E_USAGE', `--from ${reference} is a pod in ${[...namespaces].join(' and in ')}`, {
      hint: `write --from ${found[0]!.namespace}/${found[0]!.name}`,
      exitCode: 2,
    })
  }
  return inDefault ?? found[0]!
}
