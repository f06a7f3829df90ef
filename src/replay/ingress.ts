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
  compileRoutes,
  type Entrance,
  entranceOf,
  type IngressPath,
  type RouteTable,
  requestFor,
  route,
} from '../ingress/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import type { TraceDestination, TraceHeader } from '../trace/format.ts'

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
  const first = clusters[0]!
  const entrances = entrancesOf(header, first, path)
  const destinations = header.destinations.map((destination, i) => {
    const entrance = entrances.byDestination.get(i)
    return entrance === undefined ? bound[i]! : dial(destination, entrance, registry)
  })
  if (entrances.all.length === 0) return null
  const proxies = new Numbered<ProxyName & { readonly way: IngressPath; readonly addresses: readonly string[] }>()
  for (const { replicas, path: way } of entrances.all) {
    for (const { pod, addresses, node, workers } of replicas) {
      const name = { pod: pod === '' ? null : pod, address: addresses[0]!, node, workers }
      proxies.number(`${pod} ${addresses[0]}`, { ...name, way, addresses })
    }
  }
  const routes = new Numbered<RouteName & { readonly backend: number }>()
  const backends = new Numbered<string>()
  const stages = clusters.map((cluster) => routeAll(header, compileRoutes(cluster), routes, backends, warnings))
  const requests = header.requests ?? []
  const used = entrances.all.some(({ path: way }) => way === 'instance')
  return {
    path,
    routes: routes.list,
    proxies: proxies.list,
    destinations,
    tables: stages.map(({ requestRoute, found }) => ({
      proxies: proxies.list.map(
        ({ way, workers, addresses }): IngressProxy => ({
          way,
          workers,
          addresses: addresses.map((address) => registry.address(address)),
        }),
      ),
      requestRoute: requests.map((_, i) => requestRoute[i]!),
      routeBackend: routes.list.map(({ backend }) => backend),
      backends: backends.list.map((key) => found.get(key) ?? gone(key)),
    })),
    sharesAffinity: used && first.services.some(({ affinityTimeoutSeconds }) => affinityTimeoutSeconds > 0),
    notes: [...new Set(entrances.all.flatMap(({ notes }) => notes))],
  }
}

/** Things that get a number when they are first seen. */
class Numbered<T> {
  readonly list: T[] = []
  private readonly ids = new Map<string, number>()

  number(key: string, value: T): number {
    const known = this.ids.get(key)
    if (known !== undefined) return known
    this.ids.set(key, this.list.length)
    return this.list.push(value) - 1
  }
}

interface Entrances {
  readonly byDestination: ReadonlyMap<number, Entrance>
  readonly all: readonly Entrance[]
}

function entrancesOf(header: TraceHeader, cluster: Cluster, path: IngressPath | null): Entrances {
  const byDestination = new Map<number, Entrance>()
  header.destinations.forEach((destination, i) => {
    if (destination.ingress === undefined) return
    byDestination.set(i, entranceOf(cluster, destination.ingress, schemeOf(destination, cluster), path))
  })
  const all = [...byDestination.values()]
  // Requests to the proxies' own Service, dialled as a Service.
  const dialled = new Set(header.destinations.flatMap(({ service }) => service ?? []))
  if (header.requests !== undefined && dialled.size > 0) {
    for (const ingress of cluster.ingresses) {
      const entrance = ownEntrance(cluster, `${ingress.metadata.namespace ?? 'default'}/${ingress.metadata.name}`)
      if (entrance?.path === 'proxy' && entrance.dialled.some(({ service }) => dialled.has(service ?? ''))) {
        all.push(entrance)
      }
    }
  }
  return { byDestination, all }
}

/** null where nothing says how it is reached: nobody dials it either. */
function ownEntrance(cluster: Cluster, ingress: string): Entrance | null {
  for (const scheme of ['http', 'https'] as const) {
    try {
      return entranceOf(cluster, ingress, scheme, null)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
    }
  }
  return null
}

/** A port that may be a node port says it only through the way it was written for. */
function schemeOf(destination: TraceDestination, cluster: Cluster): 'http' | 'https' {
  if (destination.port === 443) return 'https'
  if (destination.port === 80) return 'http'
  try {
    const { dialled } = entranceOf(cluster, destination.ingress!, 'https', null)
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

interface Routed {
  readonly requestRoute: readonly number[]
  /** Backends of this stage by key. */
  readonly found: ReadonlyMap<string, IngressBackend>
}

function routeAll(
  header: TraceHeader,
  table: RouteTable,
  routes: Numbered<RouteName & { readonly backend: number }>,
  backends: Numbered<string>,
  warnings: Warning[],
): Routed {
  warnings.push(...table.warnings)
  const found = new Map<string, IngressBackend>()
  const requestRoute = (header.requests ?? []).map(({ host, path, method, scheme }) => {
    const result = route(table, { ...requestFor(host, path, scheme), method })
    const rule = table.rules[result.ruleId]
    let backend = -1
    if (result.status === 200) {
      const target = table.backends[result.backendId]!
      const [namespace, service] = target.service.split('/') as [string, string]
      const portName = target.servicePort?.slice(target.servicePort.lastIndexOf(':') + 1) || String(target.port)
      const key = JSON.stringify([namespace, service, portName, target.byClusterIp])
      backend = backends.number(key, key)
      found.set(key, {
        namespace,
        service,
        portName,
        port: target.port,
        endpoints: target.endpoints,
        byClusterIp: target.byClusterIp,
      })
      if (target.endpoints.some((endpoint) => splitEndpoint(endpoint) === null)) {
        warnings.push({
          code: 'W_NOT_MODELLED',
          where: `Service ${target.service}`,
          message: 'an ExternalName behind an Ingress is not resolved in a replay: its requests are answered with 503',
        })
      }
    }
    const name = { status: result.status, rule: rule?.text ?? null, ingress: result.ingress, service: result.service }
    return routes.number(JSON.stringify([name, backend]), { ...name, backend })
  })
  return { requestRoute, found }
}

/** A backend that another stage of the cluster has. */
function gone(key: string): IngressBackend {
  const [namespace, service, portName, byClusterIp] = JSON.parse(key) as [string, string, string, boolean]
  return { namespace, service, portName, port: null, endpoints: [], byClusterIp }
}
