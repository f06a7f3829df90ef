/**
 * An HTTP request explained: which Ingress rule takes it, which pods may get it, and the ways in before and behind the proxy.
 *
 * `accept` is a request that is answered with 2xx or 3xx, everything else is `reject` with the status as the reason.
 */
import {
  compileRoutes,
  type HttpRequest,
  type PathHop,
  type RouteResult,
  type RouteTable,
  route,
  wayIn,
} from '../ingress/index.ts'
import type { ClusterService } from '../k8s/cluster.ts'
import { canonicalIp } from '../k8s/ip.ts'
import type { Ingress, IngressClass } from '../k8s/types.ts'
import type { Directory } from './context.ts'
import { joinPort, listed } from './names.ts'
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
  return answerOf(routes, request, result, steps)
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

function addressesOf(service: ClusterService): string[] {
  if (service.type !== 'LoadBalancer') return [...service.externalIPs]
  return [...service.loadBalancer.map(({ ip }) => ip).filter((ip) => ip !== ''), ...service.externalIPs]
}

/** The Service of the ingress-nginx manifests and of the other charts, by the label that they all set. */
function isController(service: ClusterService): boolean {
  const names = [service.labels, service.selector ?? {}].map((labels) => labels['app.kubernetes.io/name'] ?? '')
  return (
    service.type === 'LoadBalancer' &&
    names.some((name) =>
      /^(ingress-nginx|nginx-ingress|traefik|haproxy-ingress|kubernetes-ingress|contour|kong)$/.test(name),
    )
  )
}

/**
 * The whole way of `--to URL`: to the proxy, through the Ingress, and from the proxy to a pod.
 *
 * @param toProxy  explains the client's packet to the address and port of the proxy's Service; null where it is not to be had
 */
export function explainUrl(routes: Routes, request: HttpRequest, toProxy: (to: string) => Answer | null): Answer {
  const result = route(routes.table, request)
  const front = frontOf(routes, request, result)
  const packet = front === null ? null : toProxy(joinPort(front.address, front.port))
  const way = wayIn({
    cluster: routes.directory.cluster,
    controller: controllerOf(routes, result),
    backend: result.service ?? '',
    annotations: annotationsOf(routes, result),
    ...(front === null ? {} : { proxyService: `${front.service.namespace}/${front.service.name}` }),
  })
  const isProxy = (hop: PathHop): boolean => hop.by === PROXY || hop.by === 'cloud load balancer'
  const split = way.hops.findIndex(isProxy)
  const before = packet === null ? way.hops.slice(0, split).map(hopStep) : packet.explanation.steps
  const steps: Step[] = [
    ...before,
    ...result.steps.map(({ stage, detail }): Step => ({ at: PROXY, stage, detail })),
    ...(result.status === 200 ? way.hops.slice(split).map(hopStep) : []),
    ...way.notes.map((detail): Step => ({ at: PROXY, stage: 'ingress', detail: `note: ${detail}` })),
  ]
  const answer = answerOf(routes, request, result, steps)
  if (packet === null || packet.explanation.verdict === 'dnat') return answer
  // The connection never gets to the proxy: what the rule would say has no part in it.
  return {
    ...answer,
    conclusion: `the connection does not reach the ingress proxy: ${packet.conclusion}`,
    explanation: packet.explanation,
  }
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
