/**
 * What `--from` and `--to` may say, down to addresses: an address, a pod, a node, a Service, or a DNS name.
 *
 * A name is looked up as the client itself would: a pod asks with its resolv.conf and search list, everybody else is answered
 * as a pod of namespace default would be. Nothing here looks at rules. Errors are made by the caller's `fail`, because a
 * flag and a line of a file are reported differently.
 */

import { hostsEntry } from '../dns/hosts-file.ts'
import { findPods, podResolvConf, type Resolution, type ResolvConf, resolveName } from '../dns/resolver.ts'
import { clusterDnsAddress } from '../dns/zone.ts'
import type { ClusterNode, ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { canonicalIp, cidrContains, ipFamily, parseCidr } from '../k8s/ip.ts'
import type { Protocol } from '../k8s/types.ts'
import { nearestName, suggestion } from '../nearest.ts'
import type { Directory } from './context.ts'
import type { Fail, Step } from './types.ts'
import { whyUnresolved } from './unresolved.ts'

export interface Source {
  /** `pod default/client`, or '' for an address. */
  readonly name: string
  /** One a family at most; canonical. */
  readonly addresses: readonly string[]
  /** 0 where none was given. */
  readonly port: number
  readonly pod: ClusterPod | null
}

export interface Target {
  /** As written. */
  readonly text: string
  readonly isName: boolean
  readonly addresses: readonly string[]
  readonly port: number
  /** Where the port was given by name, the protocol that goes with it. */
  readonly protocol: Protocol | null
  readonly steps: readonly Step[]
  /** Several addresses in the answer of a headless Service: the client takes one of them. */
  readonly headless: boolean
  /** The name is an alias of one outside the cluster, whose addresses are not known here. */
  readonly leadsOutside: boolean
  /** Why it has no address; '' where it has one. */
  readonly why: string
  /** NetworkPolicies keep the client from asking. */
  readonly stopped?: true
}

/** Address and port of a text; `port` is '' where it has none. Brackets are taken off an IPv6 address. */
export function splitPort(text: string): { readonly host: string; readonly port: string } {
  const bracket = /^\[([^\]]*)\](?::(.*))?$/.exec(text)
  if (bracket !== null) return { host: bracket[1]!, port: bracket[2] ?? '' }
  if (canonicalIp(text) !== null) return { host: text, port: '' }
  const colon = text.lastIndexOf(':')
  return colon < 0 ? { host: text, port: '' } : { host: text.slice(0, colon), port: text.slice(colon + 1) }
}

export function resolveSource(text: string, directory: Directory, fail: Fail): Source {
  const { host, port: portText } = splitPort(text.trim())
  const port = portText === '' ? 0 : portNumber(portText)
  if (port === null) throw fail(`source port '${portText}' of ${text} is not a number from 1 to 65535`)
  const address = canonicalIp(host)
  if (address !== null) {
    const pod = directory.podAt(address) ?? null
    return { name: pod === null ? '' : `pod ${podName(pod)}`, addresses: [address], port, pod }
  }
  if (looksNumeric(host)) throw fail(`'${host}' is not an IP address`)
  const node = nodeOf(host, directory, fail)
  if (node !== null) return { name: `node ${node.name}`, addresses: node.addresses, port, pod: null }
  const pod = podOf(host, directory, fail)
  return { name: `pod ${podName(pod)}`, addresses: pod.addresses, port, pod }
}

/** What keeps a pod's questions from its name server; null where nothing does. */
export type Stopper = (pod: ClusterPod, conf: ResolvConf) => readonly Step[] | null

/**
 * @param source   who asks: decides how a name is looked up
 * @param stopper  asked before a pod's name is looked up
 */
export function resolveTarget(
  text: string,
  source: Source,
  protocol: Protocol | null,
  directory: Directory,
  fail: Fail,
  stopper: Stopper = () => null,
): Target {
  const { host, port: portText } = splitPort(text.trim())
  const plain = { text, isName: true, protocol: null, steps: [], headless: false, leadsOutside: false, why: '' }
  const address = canonicalIp(host)
  if (address !== null) {
    if (portText === '') throw fail(`${text} needs a port`, `write ${joinPort(address, 80)}`)
    return { ...plain, isName: false, addresses: [address], port: numericPort(portText, text, fail) }
  }
  if (host === '') throw fail(`'${text}' names no destination`, 'ADDRESS:PORT, SERVICE:PORT, POD:PORT or a URL')
  if (looksNumeric(host)) throw fail(`'${host}' is not an IP address`)
  const node = nodeOf(host, directory, fail)
  if (node !== null) {
    if (portText === '') throw fail(`${text} needs a port`, 'a node port, for instance')
    return { ...plain, addresses: node.addresses, port: numericPort(portText, text, fail) }
  }
  const balanced = balancerTarget(text, host, portText, protocol, directory, fail)
  if (balanced !== null) return balanced
  const isOutside = comesFromOutside(source, directory)
  const service = serviceOf(host, directory, fail) ?? (isOutside ? serviceWritten(host, directory) : null)
  const dialled =
    service !== null && isOutside ? outsideTarget(text, service, portText, protocol, directory, fail) : null
  if (dialled !== null) return dialled
  if (service !== null) return serviceTarget(text, service, portText, protocol, directory, fail)
  if (/^(?:pods?|po)\//.test(host) || host.includes('/')) {
    const pod = podOf(host, directory, fail)
    return { ...plain, addresses: pod.addresses, port: podPort(pod, portText, text, fail) }
  }
  return nameTarget({ text, host, portText, protocol }, source, directory, fail, stopper)
}

function podName(pod: ClusterPod): string {
  return `${pod.namespace}/${pod.name}`
}

/** `10.0.0.1:80`, `[2001:db8::1]:80`. */
export function joinPort(address: string, port: number | string): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function portNumber(text: string): number | null {
  const number = /^\d{1,5}$/.test(text) ? Number(text) : 0
  return number >= 1 && number <= 65535 ? number : null
}

function numericPort(portText: string, text: string, fail: Fail): number {
  const port = portNumber(portText)
  if (port === null) throw fail(`port '${portText}' of ${text} is not a number from 1 to 65535`)
  return port
}

/** Digits and dots only: a mistyped address, which no pod or name looks like. */
function looksNumeric(host: string): boolean {
  return /^[\d.]+$/.test(host) || host.includes(':')
}

/** `node/NAME`; null for anything else. */
function nodeOf(host: string, directory: Directory, fail: Fail): ClusterNode | null {
  const name = /^nodes?\/(.*)$/.exec(host)?.[1]
  if (name === undefined) return null
  const node = directory.nodes.get(name)
  if (node === undefined) throw fail(`there is no node ${name}`, suggestion(name, [...directory.nodes.keys()]))
  if (node.addresses.length === 0) throw fail(`node ${name} has no address in the manifests`)
  return node
}

function podOf(reference: string, directory: Directory, fail: Fail): ClusterPod {
  const { cluster } = directory
  const found = findPods(cluster, reference.replace(/^pods?\/(?=[^/]+\/)/, ''))
  if (found.length === 0) {
    const known = [
      ...cluster.pods.map(podName),
      ...directory.services.keys(),
      ...cluster.nodes.map(({ name }) => `node/${name}`),
    ]
    throw fail(`there is no pod ${reference}`, suggestion(reference.replace(/^(?:pods?|po)\//, ''), known))
  }
  const pod = found.find(({ namespace }) => namespace === 'default') ?? found[0]!
  const namespaces = new Set(found.map(({ namespace }) => namespace))
  if (namespaces.size > 1 && pod.namespace !== 'default') {
    throw fail(`${reference} is a pod in ${[...namespaces].join(' and in ')}`, `write ${podName(pod)}`)
  }
  if (pod.addresses.length === 0) throw fail(`pod ${podName(pod)} has no address: it could not be placed on a node`)
  return pod
}

/** `svc/NAME`, `NAMESPACE/NAME` where that is a Service; null for anything that may be something else. */
function serviceOf(host: string, directory: Directory, fail: Fail): ClusterService | null {
  const written = /^(?:svc|services?)\/(.*)$/.exec(host)?.[1]
  if (written === undefined) return directory.services.get(host) ?? null
  const key = written.includes('/') ? written : `default/${written}`
  const service = directory.services.get(key)
  if (service === undefined) throw fail(`there is no Service ${key}`, suggestion(key, [...directory.services.keys()]))
  return service
}

/** Neither a pod nor a node: it does not ask the cluster's DNS, and cluster IPs lead nowhere for it. */
function comesFromOutside({ pod, addresses }: Source, { cluster }: Directory): boolean {
  if (pod !== null || addresses.length === 0) return false
  const own = [...cluster.nodes, ...cluster.pods].some((one) => addresses.some((a) => one.addresses.includes(a)))
  return !own && !cluster.clusterCidrs.some((cidr) => addresses.some((a) => cidrContains(parseCidr(cidr)!, a)))
}

/** A Service by the name that a pod of namespace default would use: `web`, `web.shop`, `web.shop.svc.cluster.local`. */
function serviceWritten(host: string, { cluster, services }: Directory): ClusterService | null {
  const short = host.replace(/\.$/, '').replace(new RegExp(`\\.svc(\\.${cluster.clusterDomain})?$`), '')
  const [name, namespace = 'default', ...more] = short.split('.')
  return more.length > 0 ? null : (services.get(`${namespace}/${name}`) ?? null)
}

/** The host name in the status of a Service: the name of its load balancer, whoever asks for it. */
function balancerTarget(
  text: string,
  host: string,
  portText: string,
  protocol: Protocol | null,
  { cluster }: Directory,
  fail: Fail,
): Target | null {
  const name = host.replace(/\.$/, '').toLowerCase()
  const service = cluster.services.find((one) =>
    one.loadBalancer.some(({ hostname }) => hostname.toLowerCase() === name),
  )
  if (service === undefined || name === '') return null
  const port = servicePort(service, portText, protocol, text, fail)
  const addresses = service.loadBalancer.flatMap(({ ip, hostname }) =>
    ip !== '' && hostname.toLowerCase() === name ? ip : [],
  )
  if (addresses.length === 0) return null
  const detail = `${host} is the load balancer of Service ${service.namespace}/${service.name}; ${addresses.join(' and ')} stands for its addresses`
  const steps: Step[] = [{ at: 'client', stage: 'dns', detail }]
  return { text, isName: true, ...port, addresses, steps, headless: false, leadsOutside: false, why: '' }
}

/** What a client outside dials to get to a Service, as a scenario's `via: auto` does; null where there is nothing for it. */
function outsideTarget(
  text: string,
  service: ClusterService,
  portText: string,
  protocol: Protocol | null,
  { cluster }: Directory,
  fail: Fail,
): Target | null {
  if (service.headless || service.type === 'ExternalName') return null
  const port = servicePort(service, portText, protocol, text, fail)
  const balanced = service.loadBalancer.flatMap(({ ip }) => (ip === '' ? [] : ip))
  const nodePort = service.ports.find((one) => one.port === port.port)?.nodePort ?? 0
  const key = `${service.namespace}/${service.name}`
  const ways: readonly (readonly [what: string, addresses: readonly string[], port: number])[] = [
    ["its load balancer's address", balanced, port.port],
    ['its external IP', service.externalIPs, port.port],
    [
      'its node port',
      nodePort > 0 ? cluster.nodes.flatMap(({ addresses }) => addresses.slice(0, 1)).slice(0, 1) : [],
      nodePort,
    ],
  ]
  const found = ways.find(([, addresses]) => addresses.length > 0)
  if (found === undefined) {
    if (service.clusterIPs.length === 0) return null
    const detail = `a client outside of the cluster does not ask its DNS, and Service ${key} has no address for it; ${service.clusterIPs.join(' and ')}, its cluster IP, is followed all the same`
    const steps: Step[] = [{ at: 'client', stage: 'dns', detail }]
    return {
      text,
      isName: true,
      ...port,
      addresses: service.clusterIPs,
      steps,
      headless: false,
      leadsOutside: false,
      why: '',
    }
  }
  const [what, addresses, dialled] = found
  const where = addresses.map((address) => joinPort(address, dialled)).join(', ')
  const detail = `a client outside of the cluster does not ask its DNS: of Service ${key} it dials ${what}, ${where}`
  const steps: Step[] = [{ at: 'client', stage: 'dns', detail }]
  return {
    text,
    isName: true,
    ...port,
    port: dialled,
    addresses,
    steps,
    headless: false,
    leadsOutside: false,
    why: '',
  }
}

/** By its namespace and name, as nobody dials it: the answer that its full DNS name would get. */
function serviceTarget(
  text: string,
  service: ClusterService,
  portText: string,
  protocol: Protocol | null,
  directory: Directory,
  fail: Fail,
): Target {
  const key = `${service.namespace}/${service.name}`
  const port = servicePort(service, portText, protocol, text, fail)
  if (service.headless || service.type === 'ExternalName') {
    const qname = `${service.name}.${service.namespace}.svc.${directory.cluster.clusterDomain}.`
    const conf = outsideConf(directory)
    const resolution = lookUp(qname, conf, '', directory)
    const read = readResolution(resolution, qname, 'client', null, directory)
    return { text, isName: true, ...port, ...read, steps: withUnmapped(read, 'client', service, port.port, directory) }
  }
  if (service.clusterIPs.length === 0) throw fail(`Service ${key} has no cluster IP`)
  const detail = `Service ${key} has ${service.clusterIPs.length === 1 ? 'cluster IP' : 'cluster IPs'} ${service.clusterIPs.join(', ')}`
  return {
    text,
    isName: true,
    ...port,
    addresses: service.clusterIPs,
    steps: [{ at: 'client', stage: 'dns', detail }],
    headless: false,
    leadsOutside: false,
    why: '',
  }
}

/** `host:port/protocol` as it was written, and its parts. */
interface Dialled {
  readonly text: string
  readonly host: string
  /** '' where none is written. */
  readonly portText: string
  readonly protocol: Protocol | null
}

/** A name as it is dialled: DNS decides. */
function nameTarget(
  { text, host, portText, protocol }: Dialled,
  source: Source,
  directory: Directory,
  fail: Fail,
  stopper: Stopper,
): Target {
  const { pod } = source
  const { naming, cluster } = directory
  const written = pod === null ? null : hostsTarget(text, host, portText, pod, directory, fail)
  if (written !== null) return written
  const conf = pod === null ? outsideConf(directory) : podResolvConf(cluster, pod, naming.node ?? undefined)
  const stopped = pod === null ? null : stopper(pod, conf)
  if (stopped !== null) {
    const nothing = { addresses: [], port: 0, protocol: null, headless: false, leadsOutside: false }
    return { text, isName: true, ...nothing, steps: stopped, why: 'it cannot ask', stopped: true }
  }
  const walk = lookUp(host, conf, pod?.addresses[0] ?? '', directory)
  const found = existing(walk, directory)
  if (found === null && pod === null) throw fail(`there is no Service or name ${host}`, nameHint(host, directory))
  const resolution = found ?? walk
  const at = pod === null ? 'client' : `pod ${podName(pod)}`
  const service = serviceNamed(resolution.qname, directory)
  const named = service !== null || found !== null
  const port =
    service !== null
      ? servicePort(service, portText, protocol, text, fail)
      : // A name that leads nowhere needs no port.
        { port: named || portText !== '' ? numericPort(portText, text, fail) : 0, protocol: null }
  const read = readResolution(resolution, host, at, pod, directory)
  const own = source.name.startsWith('node ') && service !== null ? [nodeAsks(source.name)] : []
  const steps = service === null ? read.steps : withUnmapped(read, at, service, port.port, directory)
  return { text, isName: true, ...port, ...read, steps: [...own, ...steps] }
}

/** A node's own resolv.conf leads to no cluster name; the address is of interest all the same. */
function nodeAsks(node: string): Step {
  const detail = `${node} does not ask the cluster's DNS: its own resolvers know no cluster name; what a pod of namespace default is told is followed`
  return { at: 'client', stage: 'dns', detail }
}

/** A name that stands in the pod's /etc/hosts is not asked for at all. */
function hostsTarget(
  text: string,
  host: string,
  portText: string,
  pod: ClusterPod,
  directory: Directory,
  fail: Fail,
): Target | null {
  const entry = hostsEntry(pod, host, directory.cluster.clusterDomain)
  if (entry === null) return null
  const { addresses, from } = entry
  const owners = addresses.map((address) => `${address}${ownerOf(address, directory)}`)
  const detail = `${host} is ${owners.join(', ')} in /etc/hosts (${from}); DNS is not asked`
  return {
    text,
    isName: true,
    port: numericPort(portText, text, fail),
    protocol: null,
    addresses,
    steps: [{ at: `pod ${podName(pod)}`, stage: 'dns', detail }],
    headless: false,
    leadsOutside: false,
    why: '',
  }
}

function withUnmapped(
  { steps, addresses }: Pick<Target, 'steps' | 'addresses'>,
  at: string,
  service: ClusterService,
  port: number,
  directory: Directory,
): readonly Step[] {
  const unmapped = addresses.length === 0 ? null : unmappedPort(service, port, directory.cluster)
  return unmapped === null ? steps : [...steps, { at, stage: 'dns', detail: unmapped }]
}

/** A headless Service has no rule that would make one port of another: who dials `port` gets that port of the pod. */
function unmappedPort(service: ClusterService, port: number, { slices }: Directory['cluster']): string | null {
  const written = service.ports.find((one) => one.port === port)
  if (!service.headless || written === undefined) return null
  const numbers = slices
    .filter(
      ({ metadata }) =>
        (metadata.namespace ?? 'default') === service.namespace &&
        metadata.labels?.['kubernetes.io/service-name'] === service.name,
    )
    .flatMap(({ ports }) => ports ?? [])
    .filter(({ name, protocol }) => (name ?? '') === written.name && (protocol ?? 'TCP') === written.protocol)
    .flatMap(({ port: number }) => number ?? [])
  const others = [...new Set(numbers)].filter((number) => number !== port)
  if (others.length === 0 || numbers.includes(port)) return null
  const key = `${service.namespace}/${service.name}`
  return `Service ${key} is headless, which maps no port: the pod is dialled at ${port}, though the Service's ${port} means ${others.join(' or ')} there (targetPort); nothing says that ${port} is listened on`
}

function lookUp(name: string, conf: ResolvConf, client: string, directory: Directory): Resolution {
  const { upstream, libc, node } = directory.naming
  return resolveName(directory.dns, conf, name, ['A', 'AAAA'], {
    client,
    nodeSearches: node?.searches ?? [],
    ...(upstream === undefined ? {} : { upstream }),
    ...(libc === undefined ? {} : { libc }),
  })
}

/** The try that brought records, else the first name that exists or is a Service's although it has no address; else null. */
function existing(resolution: Resolution, directory: Directory): Resolution | null {
  if (resolution.records.length > 0 || resolution.refused !== '') return resolution
  const dry = resolution.queries.find(
    ({ qname, rcode }) => rcode === 'NOERROR' || serviceNamed(qname, directory) !== null,
  )
  return dry === undefined
    ? null
    : { queries: resolution.queries, qname: dry.qname, replies: new Map(), records: [], refused: '' }
}

/** Who is no pod asks as a pod of namespace default does. */
function outsideConf(directory: Directory): ResolvConf {
  const domain = directory.cluster.clusterDomain
  return {
    nameservers: [clusterDnsAddress(directory.cluster)],
    searches: [`default.svc.${domain}`, `svc.${domain}`, domain],
    options: ['ndots:5'],
    ndots: 5,
    asksCluster: true,
  }
}

function nameHint(host: string, directory: Directory): string {
  const keys = [...directory.services.keys()]
  const name = host.split('.')[0]!
  const elsewhere = keys.find((key) => key.endsWith(`/${name}`))
  if (elsewhere !== undefined) return `did you mean ${elsewhere}?`
  const near = nearestName(
    name,
    [...directory.services.values()].map((service) => service.name),
  )
  const key = near === null ? undefined : keys.find((one) => one.endsWith(`/${near}`))
  const outside = host.includes('.') && !host.replace(/\.$/, '').endsWith(`.${directory.cluster.clusterDomain}`)
  if (key === undefined && outside) return 'names outside the cluster are not known here: give the address'
  return key === undefined ? suggestion(host, keys) : `did you mean ${key}?`
}

/** The Service whose own name (or one below it) a DNS name is. */
function serviceNamed(qname: string, directory: Directory): ClusterService | null {
  const zone = `.svc.${directory.cluster.clusterDomain}.`
  const folded = qname.toLowerCase()
  if (!folded.endsWith(zone)) return null
  const [name, namespace] = folded.slice(0, -zone.length).split('.').slice(-2)
  return directory.services.get(`${namespace ?? ''}/${name ?? ''}`) ?? null
}

function readResolution(
  resolution: Resolution,
  asked: string,
  at: string,
  pod: ClusterPod | null,
  directory: Directory,
): Pick<Target, 'addresses' | 'steps' | 'headless' | 'leadsOutside' | 'why'> {
  const { records } = resolution
  const addresses = [
    ...new Set(
      records.filter(({ type }) => type === 'A' || type === 'AAAA').map(({ data }) => canonicalIp(data) ?? data),
    ),
  ]
  const cnames = [...new Set(records.filter(({ type }) => type === 'CNAME').map(({ data }) => data))]
  const tries = [...new Set(resolution.queries.map(({ qname }) => qname))].indexOf(resolution.qname) + 1
  const walked = tries > 1 ? ` (try ${tries} of the search list)` : ''
  const alias = cnames.length > 0 ? ` is an alias (CNAME) of ${cnames.join(', ')}` : ''
  const owners = addresses.map((address) => `${address}${ownerOf(address, directory)}`)
  const headless = addresses.length > 0 && addresses.every((address) => directory.serviceAt(address) === undefined)
  const why =
    addresses.length > 0 || cnames.length > 0
      ? ''
      : resolution.refused ||
        whyUnresolved(asked, resolution, serviceNamed(resolution.qname, directory), pod, directory)
  const found =
    addresses.length === 0
      ? cnames.length > 0
        ? ', which only a resolver outside the cluster knows'
        : ` has no address: ${why}`
      : `${cnames.length > 0 ? ',' : ''} has ${addresses.length === 1 ? 'address' : 'addresses'} ${listed(owners)}`
  const pick = headless && addresses.length > 1 ? '; the client takes one of them' : ''
  const qname = resolution.qname.replace(/\.$/, '')
  const name = qname === asked.replace(/\.$/, '') ? qname : `${asked} → ${qname}`
  return {
    addresses,
    steps: [{ at, stage: 'dns', detail: `${name}${walked}${alias}${found}${pick}` }],
    headless,
    leadsOutside: addresses.length === 0 && (cnames.length > 0 || isUnknown(resolution, why)),
    why,
  }
}

/** Only the outside could have the name, and nothing is known of it. */
function isUnknown({ queries }: Resolution, why: string): boolean {
  return why.includes('--upstream') && queries.some(({ unknown }) => unknown)
}

function ownerOf(address: string, directory: Directory): string {
  const service = directory.serviceAt(address)
  if (service !== undefined) return ` (clusterIP of Service ${service.namespace}/${service.name})`
  const pod = directory.podAt(address)
  return pod === undefined ? '' : ` (pod ${podName(pod)})`
}

/** Ten at most, and how many more there are. */
export function listed(items: readonly string[], most = 10): string {
  return items.length <= most ? items.join(', ') : `${items.slice(0, most).join(', ')} and ${items.length - most} more`
}

function servicePort(
  service: ClusterService,
  portText: string,
  protocol: Protocol | null,
  text: string,
  fail: Fail,
): { readonly port: number; readonly protocol: Protocol | null } {
  const number = portNumber(portText)
  if (number !== null) return { port: number, protocol: null }
  const { ports } = service
  const key = `${service.namespace}/${service.name}`
  const known = ports.map(({ name, port }) => (name === '' ? String(port) : name))
  if (portText === '') {
    if (ports.length === 1) return { port: ports[0]!.port, protocol: ports[0]!.protocol }
    throw fail(`${text} needs a port: Service ${key} has ${ports.length === 0 ? 'none' : known.join(', ')}`)
  }
  const named = ports.filter(({ name }) => name === portText)
  const found = named.find((one) => protocol === null || one.protocol === protocol) ?? named[0]
  if (found === undefined) throw fail(`Service ${key} has no port '${portText}'`, suggestion(portText, known))
  return { port: found.port, protocol: found.protocol }
}

function podPort(pod: ClusterPod, portText: string, text: string, fail: Fail): number {
  const number = portNumber(portText)
  if (number !== null) return number
  const known = pod.ports.map(({ name }) => name).filter((name) => name !== '')
  if (portText === '')
    throw fail(`${text} needs a port`, known.length > 0 ? `${podName(pod)} has ${known.join(', ')}` : '')
  const found = pod.ports.find(({ name }) => name === portText)
  if (found === undefined) throw fail(`pod ${podName(pod)} has no port '${portText}'`, suggestion(portText, known))
  return found.containerPort
}

/** The first pair of one family, the target's order first; null where they have no family in common. */
export function matchFamilies(
  source: readonly string[],
  target: readonly string[],
): { readonly source: string; readonly target: string } | null {
  for (const address of target) {
    const own = source.find((one) => ipFamily(one) === ipFamily(address))
    if (own !== undefined) return { source: own, target: address }
  }
  return null
}
