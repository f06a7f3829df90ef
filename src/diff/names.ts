/**
 * The names of both sides, asked as pods ask them, and what pods' resolv.conf says.
 *
 * Asked: A, AAAA and SRV of every Service and of the endpoints of headless ones, and every name that stands in a Corefile. What a
 * pattern of a `rewrite` or `template` could match is not enumerable: where a Corefile differs that is said.
 */
import { answerPod, blockOf } from '../dns/answer.ts'
import { absolute } from '../dns/domain-names.ts'
import type { DnsReply } from '../dns/records.ts'
import { podResolvConf, type ResolvConf } from '../dns/resolver.ts'
import { type DnsServer, endpointLabel } from '../dns/zone.ts'
import { listed } from '../explain/dialled-name.ts'
import type { ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { canonicalIp } from '../k8s/ip.ts'
import type { Gatherer } from './gather.ts'
import { type Objects, stable } from './objects.ts'
import type { Side, Sides } from './sides.ts'
import type { Example, ObjectChange } from './types.ts'

interface Name {
  readonly qname: string
  readonly types: readonly string[]
  /** `shop/web`; '' for a name of a Corefile. */
  readonly owner: string
}

const PODS = { name: 'pods', count: 1 } as const

/** @returns questions asked, and what could not be */
export function compareNames(
  sides: Sides,
  objects: Objects,
  gatherer: Gatherer,
): { readonly questions: number; readonly notCompared: readonly string[] } {
  const { old, new: changed } = sides
  const before = old.context.directory.dns
  const after = changed.context.directory.dns
  const corefile = corefileChanges(old, changed)
  let questions = 0
  for (const { qname, types, owner } of namesOf(sides, before, after)) {
    for (const qtype of types) {
      questions++
      const was = answerPod(before, { qname, qtype })
      const is = answerPod(after, { qname, qtype })
      if (replyKey(was) === replyKey(is)) continue
      gatherer.differences++
      const own = owner === '' ? [] : [...objects.service(owner), ...objects.endpoints(owner)]
      const [from, to] = replyTexts(was, is)
      gatherer.add({
        subject: owner === '' ? 'DNS' : `Service ${owner}`,
        causes: [
          ...(own[0]?.field === '' && own[0].object.startsWith('Service ') ? own.slice(0, 1) : own),
          ...corefile,
        ],
        difference: { kind: 'dns', from, to },
        client: PODS,
        target: `${qname} ${qtype}`,
        example: () => digExample(qname, qtype, was, is),
      })
    }
  }
  for (const [name, pod] of changed.pods) {
    const earlier = old.pods.get(name)
    if (earlier === undefined) continue
    questions++
    compareResolvConf(sides, name, earlier, pod, gatherer)
  }
  const notCompared =
    corefile.length === 0
      ? []
      : ['names that only a pattern in a Corefile (rewrite, template) or the resolver outside answers']
  return { questions, notCompared }
}

function corefileChanges(old: Side, changed: Side): ObjectChange[] {
  const found: ObjectChange[] = []
  for (const [field, object] of [
    ['corefile', 'ConfigMap kube-system/coredns'],
    ['nodeDnsCorefile', 'ConfigMap kube-system/node-local-dns'],
  ] as const) {
    const was = old.cluster[field]?.text ?? ''
    const is = changed.cluster[field]?.text ?? ''
    if (was !== is) found.push({ object, field: 'Corefile', from: '', to: '' })
  }
  return found
}

function namesOf(sides: Sides, before: DnsServer, after: DnsServer): Name[] {
  const found = new Map<string, Name>()
  const add = (qname: string, types: readonly string[], owner: string): void => {
    const name = absolute(qname.toLowerCase())
    if (!found.has(name)) found.set(name, { qname: name, types, owner })
  }
  const { old, new: changed } = sides
  const domains = [...new Set([old.cluster.clusterDomain, changed.cluster.clusterDomain])]
  for (const [side, server] of [
    [old, before],
    [changed, after],
  ] as const) {
    for (const [owner, service] of side.services) {
      for (const domain of domains) addService(service, owner, domain, server, add)
    }
    for (const corefile of [server.corefile, server.nodeLocal]) {
      for (const { hosts } of corefile?.blocks ?? []) {
        for (const name of hosts?.addresses.keys() ?? []) add(name, ['A', 'AAAA'], '')
      }
    }
    for (const text of [side.cluster.corefile?.text, side.cluster.nodeDnsCorefile?.text]) {
      for (const name of writtenNames(text ?? '')) add(name, ['A', 'AAAA'], '')
    }
  }
  return [...found.values()]
}

function addService(
  service: ClusterService,
  owner: string,
  domain: string,
  server: DnsServer,
  add: (qname: string, types: readonly string[], owner: string) => void,
): void {
  const { name, namespace, ports, headless } = service
  const base = `${name}.${namespace}.svc.${domain}`
  add(base, ['A', 'AAAA'], owner)
  for (const port of ports) {
    if (port.name !== '') add(`_${port.name}._${port.protocol.toLowerCase()}.${base}`, ['SRV'], owner)
  }
  const plugin = headless ? blockOf(server, absolute(base))?.kubernetes : null
  if (plugin == null) return
  for (const endpoint of server.index.endpoints(name, namespace)) {
    add(`${endpointLabel(endpoint, plugin)}.${base}`, ['A', 'AAAA'], owner)
  }
}

/** Words of a Corefile that are names with a dot: those that a rewrite or a zone means. */
function writtenNames(text: string): string[] {
  const words = text.split(/[\s{}]+/).filter((word) => /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+\.?$/i.test(word))
  return words.filter((word) => canonicalIp(word) === null && !/\.arpa\.?$/i.test(word))
}

/** Order of records is not told: CoreDNS shuffles addresses, and the order of slices is chance. */
function replyKey({ rcode, answer, truncated }: DnsReply): string {
  return `${rcode} ${truncated} ${answer
    .map(({ name, ttl, type, data }) => `${name} ${ttl} ${type} ${data}`)
    .sort()
    .join('\n')}`
}

function dataText({ rcode, answer }: DnsReply): string {
  if (rcode !== 'NOERROR') return rcode
  return answer.length === 0 ? 'no record' : listed(answer.map(({ type, data }) => `${type} ${data}`).sort())
}

function replyTexts(was: DnsReply, is: DnsReply): [string, string] {
  const [from, to] = [dataText(was), dataText(is)]
  if (from !== to) return [from, to]
  const ttls = ({ answer }: DnsReply): string => `TTL ${[...new Set(answer.map(({ ttl }) => ttl))].sort().join(', ')} s`
  if (ttls(was) !== ttls(is)) return [ttls(was), ttls(is)]
  return [`${from} (before)`, `${to} (after)`]
}

function digExample(qname: string, qtype: string, was: DnsReply, is: DnsReply): Example {
  const typed = qtype === 'A' ? '' : ` ${qtype}`
  return { from: '', to: `${qname} ${qtype}`, old: dataText(was), new: dataText(is), command: `dig ${qname}${typed}` }
}

function compareResolvConf(sides: Sides, name: string, before: ClusterPod, pod: ClusterPod, gatherer: Gatherer): void {
  const { old, new: changed } = sides
  const was = podResolvConf(old.cluster, before, old.context.directory.naming.node ?? undefined)
  const is = podResolvConf(changed.cluster, pod, changed.context.directory.naming.node ?? undefined)
  const [from, to] = [confText(was), confText(is)]
  if (from === to) return
  gatherer.differences++
  const object = pod.owner === '' ? `Pod ${name}` : pod.owner
  const causes = [
    ...field(object, 'dnsPolicy', before.dnsPolicy, pod.dnsPolicy),
    ...field(object, 'dnsConfig', stable(before.dnsConfig), stable(pod.dnsConfig)),
    ...field(object, 'hostNetwork', String(before.hostNetwork), String(pod.hostNetwork)),
    ...field('Cluster', 'DNS domain', old.cluster.clusterDomain, changed.cluster.clusterDomain),
  ]
  const question = `kubernetes.default.svc.${changed.cluster.clusterDomain}`
  gatherer.add({
    ...{ subject: object, causes, difference: { kind: 'resolv-conf', from, to }, client: { name: object, count: 1 } },
    target: `/etc/resolv.conf of ${object}`,
    example: () => ({ from: name, to: question, old: from, new: to, command: `dig ${question} --from ${name}` }),
  })
}

function field(object: string, name: string, from: string, to: string): ObjectChange[] {
  return from === to ? [] : [{ object, field: name, from, to }]
}

function confText({ nameservers, searches, options }: ResolvConf): string {
  return [`nameserver ${nameservers.join(' ')}`, `search ${searches.join(' ')}`, `options ${options.join(' ')}`].join(
    '; ',
  )
}
