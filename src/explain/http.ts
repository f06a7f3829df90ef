/**
 * An HTTP request explained: which Ingress rule takes it, which pods may get it, and the ways in before and behind the proxy.
 *
 * `accept` is a request that is answered with 2xx or 3xx, everything else is `reject` with the status as the reason.
 */

import { hostsEntry } from '../dns/hosts-file.ts'
import {
  backendPath,
  compileRoutes,
  type HttpRequest,
  hasProxyHeader,
  isIngressProxy,
  type PathHop,
  type ProxyHeader,
  type RouteResult,
  type RouteTable,
  route,
  tlsEndsBefore,
} from '../ingress/index.ts'
import type { Cluster, ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { canonicalIp } from '../k8s/ip.ts'
import type { Ingress, IngressClass } from '../k8s/types.ts'
import { stoppedBackends } from './backend-policy.ts'
import type { Directory } from './context.ts'
import { joinPort, listed, splitPort } from './dialled-name.ts'
import type { Answer, Step } from './types.ts'

/** Where the rules of an Ingress are applied; hops call it the same. */
const PROXY = 'ingress proxy'

/** The routes of a cluster, compiled when the first request comes. */
export class Routes {
  readonly directory: Directory
  private compiled: RouteTable | null = null

  constructor(directory: Directory) {
    this.directory = directory
  }

  get table(): RouteTable {
    this.compiled ??= compileRoutes(this.directory.cluster)
    return this.compiled
  }
}

export function explainRequest(routes: Routes, request: HttpRequest): Answer {
  const result = route(routes.table, request)
  const steps = result.steps.map(({ stage, detail }): Step => ({ at: PROXY, stage, detail }))
  const { pods } = routes.directory.cluster
  const proxies = pods.filter(({ labels }) => isIngressProxy(labels))
  return behindPolicies(routes, answerOf(routes, request, result, steps), result, proxies)
}

/** What becomes of an answer where NetworkPolicies stand between the proxies and the pods that they choose from. */
function behindPolicies(routes: Routes, answer: Answer, result: RouteResult, proxies: readonly ClusterPod[]): Answer {
  const stopped = result.status === 200 ? stoppedBackends(routes.directory, proxies, result.endpoints) : null
  const { ingress } = answer.explanation
  if (stopped === null || ingress === undefined) return answer
  const { blocked, isAll, steps: why } = stopped
  const steps = [...answer.explanation.steps, ...why]
  const [{ reason }] = blocked as [(typeof blocked)[number]]
  if (!isAll) {
    const endpoints = listed(blocked.map(({ endpoint }) => endpoint))
    const conclusion = `${answer.conclusion}; but NetworkPolicies drop the proxy's connection to ${endpoints} [${reason}]`
    return { ...answer, conclusion, explanation: { ...answer.explanation, blocked, steps } }
  }
  const detail = 'its connection gets no answer: it gives up after its connect timeout and answers 504'
  return {
    ...answer,
    conclusion: `reject: 504, NetworkPolicies drop the proxy's connections to its backends [${reason}]`,
    explanation: {
      ...answer.explanation,
      ...{ verdict: 'reject', endpoints: [], reason: 'http-504', blocked, ingress: { ...ingress, status: 504 } },
      steps: [...steps, { at: PROXY, stage: 'ingress', detail }],
    },
  }
}

function answerOf(routes: Routes, request: HttpRequest, result: RouteResult, steps: readonly Step[]): Answer {
  const accepted = result.status < 400
  const backend = routes.table.backends[result.backendId]
  const where = request.host === '' ? request.authority : request.host
  return {
    title: `${request.method} ${request.scheme}://${where}${request.path}${request.query === '' ? '' : `?${request.query}`}`,
    conclusion: conclusionOf(result),
    explanation: {
      schemaVersion: 1,
      verdict: accepted ? 'accept' : 'reject',
      endpoints: result.status === 200 ? result.endpoints : [],
      masquerade: false,
      seen: [],
      reason: accepted ? null : `http-${result.status}`,
      service: backend?.servicePort ?? null,
      frontend: null,
      node: null,
      steps,
      ingress: { status: result.status, service: result.service, port: result.port, ingress: result.ingress },
    },
  }
}

function conclusionOf(result: RouteResult): string {
  const { status, endpoints, location, reason } = result
  if (location !== null) return `accept: ${status} to ${location}`
  if (status >= 400) return `reject: ${status}, ${reason}`
  const to = endpoints.length === 1 ? endpoints[0] : `one of ${endpoints.length} endpoints: ${listed(endpoints)}`
  return `accept: ${status}, ${reason}; the request goes to ${to}`
}

/** The Service that leads to the proxy, with the address and port that a client dials. */
interface Front {
  readonly service: ClusterService
  readonly address: string
  readonly port: number
}

/**
 * Where a client's packet for a URL goes: the address in the URL, or that of the Service the Ingress (by its status, or by the
 * controller's well-known labels) is reached through.
 */
function frontOf(routes: Routes, request: HttpRequest, result: RouteResult): Front | null {
  const { cluster } = routes.directory
  const wanted = new Set<string>()
  const written = canonicalIp(request.authority.replace(/^\[|\]$/g, ''))
  if (written !== null) wanted.add(written)
  for (const address of routes.table.listeners[result.listenerId]?.addresses ?? []) wanted.add(address)
  const port = request.scheme === 'https' ? 443 : 80
  const reached = cluster.services.find((service) => addressesOf(service).some((address) => wanted.has(address)))
  const service = reached ?? cluster.services.find(isController)
  const address = service === undefined ? undefined : addressesOf(service)[0]
  const serves = service?.ports.some((one) => one.port === port && one.protocol === 'TCP') === true
  if (service === undefined || address === undefined || !serves) return null
  const own = addressesOf(service).find((one) => wanted.has(one))
  return { service, address: own ?? address, port }
}

/** What the machine in a URL is, where it is the cluster's own. */
export interface UrlTarget {
  /** `ADDRESS:PORT` or `NAME:PORT`, as a packet is asked for. */
  readonly to: string
  /** The Service leads to an ingress proxy: what the request asks for is its rules' to decide. */
  readonly proxy: ClusterService | null
}

/**
 * A URL that names a Service, a pod or a node goes there, whoever asks and whatever Ingresses say.
 *
 * @param pod  the client: its namespace is where a name of one label is looked for, and its /etc/hosts comes first; null for no pod
 * @returns null for a machine that the cluster does not know: an Ingress's host, most of the time
 */
export function urlTarget(routes: Routes, url: string, pod: ClusterPod | null): UrlTarget | null {
  const { directory } = routes
  const parts = /^(https?):\/\/(?:[^/?#\\@]*@)?([^/?#\\]*)/i.exec(url)
  if (parts === null) return null
  const { host, port: portText } = splitPort(parts[2]!)
  const port = portText === '' ? (parts[1]!.toLowerCase() === 'https' ? 443 : 80) : Number(portText)
  const written = pod === null ? null : hostsEntry(pod, host, directory.cluster.clusterDomain)
  const address = canonicalIp(written?.addresses[0] ?? host)
  const to = joinPort(written === null ? (address ?? host) : host, port)
  const leads = (service: ClusterService | undefined): UrlTarget | null =>
    service === undefined ? null : { to, proxy: isProxy(routes, service) ? service : null }
  if (address === null) return leads(serviceNamed(host, pod?.namespace ?? 'default', directory))
  const service = directory.cluster.services.find(
    (one) =>
      one.clusterIPs.includes(address) ||
      one.externalIPs.includes(address) ||
      one.loadBalancer.some(({ ip }) => ip === address),
  )
  if (service !== undefined) return leads(service)
  if (directory.podAt(address) !== undefined) return { to, proxy: null }
  if (directory.nodeAt(address) === undefined) return null
  const behind = directory.cluster.services.find(({ ports }) =>
    ports.some(({ nodePort, protocol }) => protocol === 'TCP' && nodePort === port),
  )
  if (behind !== undefined) return leads(behind)
  // An ingress proxy on its node's own network listens there itself.
  const listens = directory.cluster.pods.some((pod) => pod.hostNetwork && isIngressProxy(pod.labels))
  return listens ? null : { to, proxy: null }
}

/** `web`, `web.shop`, `web.shop.svc`, `web.shop.svc.cluster.local`. */
function serviceNamed(host: string, namespace: string, { cluster, services }: Directory): ClusterService | undefined {
  const [name, own = namespace, ...rest] = host.toLowerCase().replace(/\.$/, '').split('.')
  const tail = rest.join('.')
  if (tail !== '' && tail !== 'svc' && tail !== `svc.${cluster.clusterDomain}`) return undefined
  return services.get(`${own}/${name}`)
}

/** By its labels, or because an Ingress's status holds its address. */
function isProxy(routes: Routes, service: ClusterService): boolean {
  if (isIngressProxy(service.labels) || isIngressProxy(service.selector ?? {})) return true
  const own = addressesOf(service)
  return routes.table.listeners.some(({ addresses }) => own.some((address) => addresses.has(address)))
}

function addressesOf(service: ClusterService): string[] {
  if (service.type !== 'LoadBalancer') return [...service.externalIPs]
  return [...service.loadBalancer.map(({ ip }) => ip).filter((ip) => ip !== ''), ...service.externalIPs]
}

/** The Service of the ingress-nginx manifests and of the other charts, by the label that they all set. */
function isController(service: ClusterService): boolean {
  return service.type === 'LoadBalancer' && [service.labels, service.selector ?? {}].some(isIngressProxy)
}

/**
 * The whole way of `--to URL`: to the proxy, through the Ingress, and from the proxy to a pod.
 *
 * @param toProxy  explains the client's packet to the address and port of the proxy's Service; null where it is not to be had
 * @param dialled  the proxy's Service and where it is dialled, where the URL says that itself
 */
export function explainUrl(
  routes: Routes,
  request: HttpRequest,
  toProxy: (to: string) => Answer | null,
  dialled: UrlTarget | null = null,
): Answer {
  const { cluster } = routes.directory
  // Which way the request comes depends on its rule, and what its rule makes of the client on the way it comes.
  const unchecked = route(routes.table, { ...request, from: '' })
  const front = dialled === null ? frontOf(routes, request, unchecked) : null
  const proxy = dialled?.proxy ?? front?.service
  const to = dialled?.to ?? (front === null ? null : joinPort(front.address, front.port))
  const packet = to === null ? null : toProxy(to)
  const path = backendPath({
    cluster,
    controller: controllerOf(routes, unchecked),
    backend: unchecked.service ?? '',
    annotations: annotationsOf(routes, unchecked),
    ...(proxy === undefined ? {} : { proxyService: `${proxy.namespace}/${proxy.name}` }),
  })
  const endsHere = (hop: PathHop): boolean => hop.by === PROXY || hop.by === 'cloud load balancer'
  const split = path.hops.findIndex(endsHere)
  const before = packet === null ? path.hops.slice(0, split).map(hopStep) : packet.explanation.steps
  const peers =
    packet?.explanation.verdict === 'dnat' ? packet.explanation.seen : peersBy(path.hops[split - 1], request, cluster)
  const listener = routes.table.listeners[unchecked.listenerId]
  const header = headerFor(request, packet, proxy, listener?.client.kind === 'proxy-protocol')
  const tlsEndedBefore =
    request.scheme === 'https' && proxy !== undefined && tlsEndsBefore(proxy, Number(splitPort(to ?? '').port))
  const sent: HttpRequest = tlsEndedBefore ? { ...request, scheme: 'http', tlsEndedBefore } : request
  const results = new Map(
    peers.map((peer) => [peer, route(routes.table, { ...sent, from: peer, proxyHeader: header })]),
  )
  const result = results.get(peers[0]!)!
  const steps: Step[] = [
    ...before,
    ...(tlsEndedBefore ? [plainStep(proxy)] : []),
    ...result.steps.map(({ stage, detail }): Step => ({ at: PROXY, stage, detail })),
    ...otherPeers(results),
    ...(result.status === 200 ? path.hops.slice(split).map(hopStep) : []),
    ...path.notes.map((detail): Step => ({ at: PROXY, stage: 'ingress', detail: `note: ${detail}` })),
  ]
  const told = answerOf(routes, request, result, steps)
  const answer = { ...told, explanation: { ...told.explanation, seen: peers.filter((peer) => peer !== '') } }
  if (packet === null || packet.explanation.verdict === 'dnat') {
    // A balancer outside that connects to pods itself has an address that nobody knows here.
    const byProxy = path.hops[split]?.by === PROXY
    return byProxy ? behindPolicies(routes, answer, result, proxiesOf(routes, packet)) : answer
  }
  // The connection never gets to the proxy: what the rule would say has no part in it.
  return {
    ...answer,
    conclusion: `the connection does not reach the ingress proxy: ${packet.conclusion}`,
    explanation: packet.explanation,
  }
}

/** Pods that a request may come to: those that the packet does, else all that are known by their labels. */
function proxiesOf({ directory }: Routes, packet: Answer | null): readonly ClusterPod[] {
  const { pods } = directory.cluster
  if (packet === null) return pods.filter(({ labels }) => isIngressProxy(labels))
  const { endpoints, blocked = [] } = packet.explanation
  const reached = endpoints.filter((one) => blocked.every(({ endpoint }) => endpoint !== one))
  const addresses = new Set(reached.map((one) => splitPort(one).host))
  return pods.filter((pod) => pod.addresses.some((one) => addresses.has(one)))
}

function plainStep({ namespace, name }: ClusterService): Step {
  const detail = `port 443 of Service ${namespace}/${name} leads to the proxy's plain port: TLS has ended at the load balancer, and the proxy is sent plain HTTP`
  return { at: PROXY, stage: 'ingress', detail }
}

/** What comes before the request on its connection; where no packet tells the way, nobody knows. */
function headerFor(
  request: HttpRequest,
  packet: Answer | null,
  proxy: ClusterService | undefined,
  expected: boolean,
): ProxyHeader {
  if (packet === null || packet.explanation.verdict !== 'dnat') return 'unknown'
  return packet.balanced === true && hasProxyHeader(proxy, expected) ? { client: request.from } : 'none'
}

/** Whom the proxy may see as its peer, where no packet tells: nobody is known of a load balancer. Never empty. */
function peersBy(hop: PathHop | undefined, request: HttpRequest, cluster: Cluster): readonly string[] {
  if (hop?.source === 'node') {
    const nodes = cluster.nodes.flatMap(({ addresses }) => addresses.slice(0, 1))
    return nodes.length > 0 ? nodes : ['']
  }
  return hop?.source === 'load balancer' ? [''] : [request.from]
}

/** The first peer's answer is told; of others only that they get another. */
function otherPeers(results: ReadonlyMap<string, RouteResult>): Step[] {
  const [[, first] = ['', undefined], ...others] = results
  return others
    .filter(([, { status }]) => status !== first?.status)
    .slice(0, 1)
    .map(([peer, { status, reason }]) => {
      const detail = `the proxy may also see ${peer} as the client: then ${status}, ${reason}`
      return { at: PROXY, stage: 'ingress', detail }
    })
}

function hopStep(hop: PathHop): Step {
  const what = {
    node: 'a node',
    'proxy pod': 'a pod of the proxy',
    'backend pod': 'a backend pod',
    'cluster IP': "the backend Service's cluster IP",
  }[hop.picks]
  const connection = hop.newConnection ? ', over a connection of its own' : ''
  const nat = hop.nat === 'none' ? '' : ` (${hop.nat})`
  const forwarded = hop.xForwardedFor === null ? '' : `; X-Forwarded-For holds the address of the ${hop.xForwardedFor}`
  return {
    at: hop.by,
    stage: hop.by === 'kube-proxy' ? 'dnat' : 'route',
    detail: `picks ${what} for each ${hop.unit}${connection}${nat}; the source address seen there is that of the ${hop.source}${forwarded}`,
  }
}

function ingressOf(routes: Routes, result: RouteResult): Ingress | undefined {
  return routes.directory.cluster.ingresses.find(
    ({ metadata }) => `${metadata.namespace ?? 'default'}/${metadata.name}` === result.ingress,
  )
}

function annotationsOf(routes: Routes, result: RouteResult): Readonly<Record<string, string>> {
  return ingressOf(routes, result)?.metadata.annotations ?? {}
}

/** `spec.controller` of the class that the Ingress names, or of the only class. */
function controllerOf(routes: Routes, result: RouteResult): string {
  const { ingressClasses } = routes.directory.cluster
  const ingress = ingressOf(routes, result)
  const named = ingress?.spec.ingressClassName ?? ingress?.metadata.annotations?.['kubernetes.io/ingress.class'] ?? ''
  const known: IngressClass | undefined =
    ingressClasses.find(({ metadata }) => metadata.name === named) ??
    (ingressClasses.length === 1 ? ingressClasses[0] : undefined)
  return known?.spec?.controller ?? named
}
