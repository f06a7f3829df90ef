/**
 * What the HTTP requests of a trace come to, worked out before the run: which proxies there are on the way that was asked for,
 * what clients dial there, and the route of every distinct request in every rule set of the run.
 *
 * Hosts and paths end here: the core sees numbers. Where a trace holds requests and no connection leads to a proxy they are
 * plain traffic, and there is no plan.
 */
import type { Destination } from '../compile/compile.ts'
import type { IngressBackend, IngressProxy, IngressTables } from '../compile/ingress.ts'
import { splitEndpoint } from '../compile/ingress.ts'
import type { Registry } from '../compile/registry.ts'
import { UserError, type Warning } from '../errors.ts'
import {
  type ControllerGroup,
  compileRoutes,
  type Entrance,
  entranceOf,
  groupByController,
  hasProxyHeader,
  type IngressPath,
  type ProxyHeader,
  type RouteResult,
  type RouteTable,
  requestFor,
  route,
} from '../ingress/index.ts'
import type { SourceRanges } from '../ingress/source-ranges.ts'
import type { Cluster, ClusterService } from '../k8s/cluster.ts'
import { addressText, type TraceDestination, type TraceHeader } from '../trace/format.ts'
import { type ClientClass, ClientClasses } from './client-classes.ts'

/** A route in words; `service` is that of the rule, usable or not. */
export interface RouteName {
  readonly status: number
  /** null where no rule took the request. */
  readonly rule: string | null
  /** `namespace/name`. */
  readonly ingress: string | null
  readonly service: string | null
}

export interface ProxyName {
  /** `namespace/name`, or null for a cloud load balancer. */
  readonly pod: string | null
  readonly address: string
  readonly node: string | null
  readonly workers: number
}

export interface IngressPlan {
  /** As asked for, or null: as each Ingress has it. */
  readonly path: IngressPath | null
  readonly routes: readonly RouteName[]
  readonly proxies: readonly ProxyName[]
  /** The trace's destinations, those that mean an Ingress bound to what its clients dial. */
  readonly destinations: readonly Destination[]
  /** By stage of the cluster. */
  readonly tables: readonly IngressTables[]
  /** Some backend is reached by node ports and remembers clients: all requests come from one address then. */
  readonly sharesAffinity: boolean
  readonly notes: readonly string[]
}

/**
 * @param clusters  as it is first, and after each change
 * @param bound     the trace's destinations, without those of Ingresses
 * @returns null where no request goes through a proxy
 * @throws UserError E_INGRESS_PATH where the way asked for does not exist
 */
export function planIngress(
  header: TraceHeader,
  clusters: readonly Cluster[],
  bound: readonly Destination[],
  path: IngressPath | null,
  registry: Registry,
  warnings: Warning[],
): IngressPlan | null {
  const [first, ...later] = clusters.map((cluster) => new Doors(header, cluster, path))
  const all = first!.open()
  if (all.entrances.length === 0) return null
  // A change may take a way from a client that is on it, and it finds nobody: that is for the run to tell.
  const stages = [all, ...later.map((doors) => doors.openWhatIsThere())]
  const destinations = header.destinations.map((destination, i) => {
    const entrance = all.byDestination.get(i)
    return entrance === undefined ? bound[i]! : dial(destination, entrance, registry)
  })
  const proxies = new Numbered<PlannedProxy>()
  const present = stages.map(
    ({ entrances }) => new Set(entrances.flatMap((entrance) => numberProxies(entrance, proxies))),
  )
  const routes = new Numbered<RouteName & { readonly backend: number }>()
  const backends = new Numbered<string>()
  const routers = clusters.map((cluster) => new Router(header, cluster, routes, backends, warnings))
  const classes = classesOf(clusters, routers)
  const routed = routers.map((router, stage) => {
    const { entrances, ingresses } = stages[stage]!
    const lists = new Numbered<readonly number[]>()
    const own = proxies.list.map(({ key, way }) => {
      const at = entrances.flatMap((entrance, i) => (proxyKeys(entrance).includes(key) ? [i] : []))
      const listener = router.listenerOf(at.map((i) => ingresses[i]!))
      const balancer = at.map((i) => entrances[i]!.balancer).find((one) => one !== null) ?? null
      const seen = way !== 'instance'
      const isProxy = way === 'proxy'
      const isPlain = at.some((i) => entrances[i]!.isPlain)
      const routes = classes.list.map((client, i) => {
        const before = isProxy ? router.headerFor(listener, balancer, client) : 'unknown'
        const kind = typeof before === 'object' ? 'told' : before
        return lists.number(`${listener} ${seen} ${kind} ${isPlain} ${i}`, () =>
          router.routesAt(listener, seen, client, before, isPlain),
        )
      })
      return { routes, isTold: isProxy && router.isTold(listener, balancer) }
    })
    return { lists: lists.list, own, found: router.found }
  })
  return {
    path,
    routes: routes.list,
    proxies: proxies.list,
    destinations,
    tables: routed.map(({ lists, own, found }, stage) => ({
      classOf: classes.list.length > 1 ? (address: string) => classes.of(address) : null,
      proxies: proxies.list.map(
        ({ pod, way, workers, addresses, ports }, proxy): IngressProxy => ({
          pod,
          way,
          workers,
          ports,
          addresses: addresses.map((address) => registry.address(address)),
          isThere: present[stage]!.has(proxy),
          ...own[proxy]!,
        }),
      ),
      requestRoutes: lists,
      routeBackend: routes.list.map(({ backend }) => backend),
      backends: backends.list.map((key) => found.get(key) ?? gone(key)),
    })),
    sharesAffinity: sharesAffinity(clusters, proxies.list, backends.list),
    notes: [...new Set([...all.entrances.flatMap(({ notes }) => notes), ...crowds(header, all)])],
  }
}

/** In the cluster and outside are told apart where a proxy expects what only a load balancer outside sends. */
function classesOf(clusters: readonly Cluster[], routers: readonly Router[]): ClientClasses {
  const inside = routers.some((router) => router.isToldAnywhere)
    ? clusters.flatMap(({ nodes, pods }) => [...nodes, ...pods].flatMap(({ addresses }) => addresses))
    : []
  return new ClientClasses(
    routers.flatMap((router) => router.sourceRanges),
    new Set(inside),
  )
}

interface PlannedProxy extends ProxyName {
  readonly key: string
  readonly way: IngressPath
  readonly addresses: readonly string[]
  readonly ports: readonly [number, number]
}

function proxyKeys({ replicas }: Entrance): string[] {
  return replicas.map(({ pod, addresses }) => `${pod} ${addresses[0]}`)
}

function numberProxies(entrance: Entrance, proxies: Numbered<PlannedProxy>): number[] {
  const { replicas, path: way, ports } = entrance
  const keys = proxyKeys(entrance)
  return replicas.map(({ pod, addresses, node, workers }, i) => {
    const key = keys[i]!
    const name = { pod: pod === '' ? null : pod, address: addresses[0]!, node, workers }
    return proxies.number(key, () => ({ ...name, key, way, addresses, ports }))
  })
}

/** Some backend remembers clients and sees proxies in their place, whose requests come from all shards. */
function sharesAffinity(
  clusters: readonly Cluster[],
  proxies: readonly PlannedProxy[],
  backends: readonly string[],
): boolean {
  const throughNodePorts = proxies.some(({ way }) => way === 'instance')
  const asked = backends.map(backendOfKey).filter(({ byClusterIp }) => byClusterIp || throughNodePorts)
  return asked.some(({ namespace, service }) =>
    clusters.some(({ services }) =>
      services.some((one) => one.namespace === namespace && one.name === service && one.affinityTimeoutSeconds > 0),
    ),
  )
}

/** A trace for one address has one destination for all clients, where they would share the nodes out. */
function crowds({ destinations }: TraceHeader, { byDestination }: OpenDoors): string[] {
  return [...byDestination].flatMap(([i, { dialled }]) => {
    const { node, ingress } = destinations[i]!
    if (dialled.length < 2 || dialled.some((one) => one.node === node)) return []
    return [
      `the trace dials one address for Ingress ${ingress}, and clients would share out ${dialled.length} nodes: all dial ${dialled[0]!.address}`,
    ]
  })
}

/** Things that get a number when they are first seen. */
class Numbered<T> {
  readonly list: T[] = []
  private readonly ids = new Map<string, number>()

  number(key: string, make: () => T): number {
    const known = this.ids.get(key)
    if (known !== undefined) return known
    this.ids.set(key, this.list.length)
    return this.list.push(make()) - 1
  }
}

interface OpenDoors {
  readonly byDestination: ReadonlyMap<number, Entrance>
  /** Those, and the ones of Ingresses whose proxies are dialled without naming one. */
  readonly entrances: readonly Entrance[]
  /** Whose they are, `namespace/name`. */
  readonly ingresses: readonly string[]
}

/** The entrances of one cluster that the trace's clients use. */
class Doors {
  private readonly header: TraceHeader
  private readonly cluster: Cluster
  private readonly path: IngressPath | null

  constructor(header: TraceHeader, cluster: Cluster, path: IngressPath | null) {
    this.header = header
    this.cluster = cluster
    this.path = path
  }

  /** @throws UserError E_INGRESS_PATH */
  open(): OpenDoors {
    return this.collect((destination) => this.entranceTo(destination))
  }

  openWhatIsThere(): OpenDoors {
    return this.collect((destination) => {
      try {
        return this.entranceTo(destination)
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        return null
      }
    })
  }

  private entranceTo(destination: TraceDestination): Entrance {
    const path = this.path ?? destination.path ?? null
    return entranceOf(this.cluster, destination.ingress!, schemeOf(destination, this.cluster), path)
  }

  private collect(entranceTo: (destination: TraceDestination) => Entrance | null): OpenDoors {
    const { destinations, requests } = this.header
    const byDestination = new Map<number, Entrance>()
    const entrances: Entrance[] = []
    const ingresses: string[] = []
    destinations.forEach((destination, i) => {
      const entrance = destination.ingress === undefined ? null : entranceTo(destination)
      if (entrance === null) return
      byDestination.set(i, entrance)
      entrances.push(entrance)
      ingresses.push(destination.ingress!)
    })
    // Proxies that are dialled without a word of an Ingress: as the Service before them, by its name or by an address.
    for (const { metadata } of requests === undefined ? [] : this.cluster.ingresses) {
      const ingress = `${metadata.namespace ?? 'default'}/${metadata.name}`
      const own = ownEntrances(this.cluster, ingress).find((entrance) => this.isDialled(entrance))
      if (own === undefined) continue
      entrances.push(own)
      ingresses.push(ingress)
    }
    return { byDestination, entrances, ingresses }
  }

  private isDialled({ dialled }: Entrance): boolean {
    const { destinations, addresses } = this.header
    return destinations.some(({ ingress, service, name, address, port }) => {
      if (ingress !== undefined) return false
      if (name !== undefined) return dialled.some((one) => one.service !== null && isNameOf(name, one.service))
      if (service !== null) return dialled.some((one) => one.service === service)
      return dialled.some((one) => one.port === port && one.address === addressText(addresses, address))
    })
  }
}

/** `proxy`, `proxy.edge` or more of what a cluster adds. @param service `edge/proxy` */
function isNameOf(name: string, service: string): boolean {
  const [first, second] = name.split('.')
  const [namespace, own] = service.split('/')
  return first === own && (second === undefined || second === namespace)
}

/** For either scheme; none where nothing says how the Ingress is reached: nobody dials it either. */
function ownEntrances(cluster: Cluster, ingress: string): Entrance[] {
  return (['http', 'https'] as const).flatMap((scheme) => {
    try {
      return entranceOf(cluster, ingress, scheme, null)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return []
    }
  })
}

/** A port that may be a node port says it only through the way it was written for. */
function schemeOf(destination: TraceDestination, cluster: Cluster): 'http' | 'https' {
  if (destination.port === 443) return 'https'
  if (destination.port === 80) return 'http'
  try {
    const { dialled } = entranceOf(cluster, destination.ingress!, 'https', destination.path ?? null)
    return dialled.some(({ port }) => port === destination.port) ? 'https' : 'http'
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    return 'http'
  }
}

function dial({ node }: TraceDestination, { dialled }: Entrance, registry: Registry): Destination {
  const one = dialled.find((entrance) => entrance.node === node) ?? dialled[0]!
  return { address: registry.address(one.address), port: one.port, protocol: 6, isService: one.service !== null }
}

/** Asks one cluster's routing table about every distinct request of the trace. */
class Router {
  /** Backends by key. */
  readonly found: Map<string, IngressBackend> = new Map()
  private readonly header: TraceHeader
  private readonly table: RouteTable
  private readonly groups: readonly ControllerGroup[]
  private readonly routes: Numbered<RouteName & { readonly backend: number }>
  private readonly backends: Numbered<string>
  private readonly warnings: Warning[]

  constructor(
    header: TraceHeader,
    cluster: Cluster,
    routes: Numbered<RouteName & { readonly backend: number }>,
    backends: Numbered<string>,
    warnings: Warning[],
  ) {
    this.header = header
    this.table = compileRoutes(cluster)
    this.groups = groupByController(cluster).groups
    this.routes = routes
    this.backends = backends
    this.warnings = warnings
    warnings.push(...this.table.warnings)
  }

  /** The listener that all of some Ingresses belong to; -1 where they have several, and the host's name decides. */
  listenerOf(ingresses: readonly string[]): number {
    const names = (group: ControllerGroup): string[] =>
      group.ingresses.map(({ metadata }) => `${metadata.namespace ?? 'default'}/${metadata.name}`)
    const listeners = new Set(ingresses.map((name) => this.groups.findIndex((group) => names(group).includes(name))))
    const [listener] = listeners
    return listeners.size === 1 && listener !== undefined ? listener : -1
  }

  get sourceRanges(): SourceRanges[] {
    return this.table.rules.flatMap(({ sourceRanges }) => sourceRanges ?? [])
  }

  /** The PROXY protocol is expected somewhere. */
  get isToldAnywhere(): boolean {
    return this.table.listeners.some(({ client }) => client.kind === 'proxy-protocol')
  }

  /** Connections come with a header that the proxy reads. */
  isTold(listener: number, balancer: ClusterService | null): boolean {
    return this.expectsHeader(listener) && balancer !== null && hasProxyHeader(balancer, true)
  }

  private expectsHeader(listener: number): boolean {
    const { listeners } = this.table
    return (listeners[listener] ?? listeners[0])?.client.kind === 'proxy-protocol'
  }

  /** A client in the cluster comes past a load balancer whose address its node's rules know. */
  headerFor(listener: number, balancer: ClusterService | null, { address, isInside }: ClientClass): ProxyHeader {
    if (balancer === null || !hasProxyHeader(balancer, this.expectsHeader(listener))) return 'none'
    const isBypassed = isInside && balancer.loadBalancer.every(({ ipMode }) => ipMode === 'VIP')
    return isBypassed ? 'none' : { client: address }
  }

  /**
   * @param seen     the proxy sees whether a backend has endpoints
   * @param isPlain  TLS ends before the proxy
   */
  routesAt(listener: number, seen: boolean, client: ClientClass, proxyHeader: ProxyHeader, isPlain: boolean): number[] {
    // Of the peer that sends a header nothing is known but that it is the load balancer: it is trusted.
    const from = typeof proxyHeader === 'object' ? '' : client.address
    return (this.header.requests ?? []).map(({ host, path, method, scheme }) => {
      const tlsEndedBefore = isPlain && scheme === 'https'
      const sent = { ...requestFor(host, path, tlsEndedBefore ? 'http' : scheme), method, from, proxyHeader }
      const asked = tlsEndedBefore ? { ...sent, tlsEndedBefore } : sent
      const result = route(this.table, asked, listener)
      const backend = this.backendOf(result, seen)
      const status = backend < 0 ? result.status : 200
      const rule = this.table.rules[result.ruleId]?.text ?? null
      const name = { status, rule, ingress: result.ingress, service: result.service }
      return this.routes.number(JSON.stringify([name, backend]), () => ({ ...name, backend }))
    })
  }

  /** -1 where the proxy answers itself. */
  private backendOf({ status, backendId }: RouteResult, seen: boolean): number {
    const target = this.table.backends[backendId]
    if (target === undefined) return -1
    // Where kube-proxy chooses the pod a proxy sends requests on whether there are any or not.
    const unseen = target.servicePort !== null && (target.byClusterIp || !seen)
    if (status !== 200 && !unseen) return -1
    const [namespace, service] = target.service.split('/') as [string, string]
    const portName = target.servicePort?.slice(target.servicePort.lastIndexOf(':') + 1) || String(target.port)
    const { port, endpoints, byClusterIp } = target
    const key = JSON.stringify([namespace, service, portName, byClusterIp])
    this.found.set(key, { namespace, service, portName, port, endpoints, byClusterIp })
    if (endpoints.some((endpoint) => splitEndpoint(endpoint) === null)) {
      this.warnings.push({
        code: 'W_NOT_MODELLED',
        where: `Service ${target.service}`,
        message: 'an ExternalName behind an Ingress is not resolved in a replay: its requests are answered with 503',
      })
    }
    return this.backends.number(key, () => key)
  }
}

/** A backend that another stage of the cluster has. */
function gone(key: string): IngressBackend {
  return { ...backendOfKey(key), port: null, endpoints: [] }
}

function backendOfKey(key: string): Pick<IngressBackend, 'namespace' | 'service' | 'portName' | 'byClusterIp'> {
  const [namespace, service, portName, byClusterIp] = JSON.parse(key) as [string, string, string, boolean]
  return { namespace, service, portName, byClusterIp }
}
