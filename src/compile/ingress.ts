/**
 * HTTP routing → the columns that the core's proxies work by: which address is a proxy, which route a request takes, and
 * where the requests of a backend may go, for each way a proxy has to backends.
 *
 * Routes and backends come in as plain values (src/replay/ingress.ts has asked the routing table once for each distinct
 * request); here they get numbers. All rule sets of a run have the same routes and backends in the same places.
 * Cost: some four words a target.
 */
import {
  PROXY_WAYS,
  TARGET_ENDPOINT,
  TARGET_WORDS,
  WAY_INSTANCE,
  WAY_IP,
  WAY_PROXY,
} from '../../native-free-core/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { ipFamily } from '../k8s/ip.ts'
import type { IpFamily } from '../k8s/types.ts'
import type { Registry } from './registry.ts'

/** What a Service port is to a balancer outside the cluster. */
export interface NodePortTargets {
  readonly nodePort: number
  readonly family: IpFamily
  /** Nodes that pass the health check. */
  readonly nodes: readonly string[]
}

export interface IngressProxy {
  /** `namespace/name`, or null for a balancer outside the cluster. */
  readonly pod: string | null
  /** Address ids, all of the same proxy. */
  readonly addresses: readonly number[]
  /** Whether it is there in this rule set; the addresses of those that are not are theirs as long as nobody has them. */
  readonly isThere: boolean
  /** For HTTP and for HTTPS. */
  readonly ports: readonly [number, number]
  /** Its lists in `requestRoutes`, by class of the client's address. */
  readonly routes: readonly number[]
  /** It takes who opened the connection for its client: the PROXY protocol says so. */
  readonly isTold: boolean
  readonly way: 'proxy' | 'ip' | 'instance'
  readonly workers: number
}

/** A Service port that routes lead to, as it is in one rule set. */
export interface IngressBackend {
  readonly namespace: string
  readonly service: string
  /** Name of the Service port, or its number where it has none. */
  readonly portName: string
  readonly port: number | null
  /** `ip:port` of its ready endpoints. */
  readonly endpoints: readonly string[]
  /** The proxy sends to the cluster IP. */
  readonly byClusterIp: boolean
}

export interface IngressTables {
  readonly proxies: readonly IngressProxy[]
  /** Lists by distinct request of the trace: its route. */
  readonly requestRoutes: readonly (readonly number[])[]
  /** By route: the backend that gets it, or -1 where the proxy answers. */
  readonly routeBackend: readonly number[]
  readonly backends: readonly IngressBackend[]
  /** Class of an address; null where there is one class. */
  readonly classOf: ((address: string) => number) | null
}

export type IngressColumns = Record<
  | 'addressProxy'
  | 'proxyWay'
  | 'proxyWorkers'
  | 'proxyPorts'
  | 'proxySource'
  | 'proxyTold'
  | 'proxyRoutes'
  | 'addressClass'
  | 'requestRoute'
  | 'routeBackend'
  | 'backendStart'
  | 'backendCount'
  | 'targets',
  Int32Array
>

const WAYS = { proxy: WAY_PROXY, ip: WAY_IP, instance: WAY_INSTANCE } as const
/** What a target's address means: a machine, or a Service. */
const MACHINE = 0
const SERVICE = 1

/**
 * @param nodePorts  by `namespace/service:portName`
 * To be called when the registry has all endpoints and addresses.
 */
export function ingressColumns(
  tables: IngressTables | null,
  cluster: Cluster,
  registry: Registry,
  nodePorts: ReadonlyMap<string, NodePortTargets>,
): IngressColumns {
  const none = new Int32Array(0)
  if (tables === null) {
    return {
      addressProxy: none,
      proxyWay: none,
      proxyWorkers: none,
      proxyPorts: none,
      proxySource: none,
      proxyTold: none,
      proxyRoutes: none,
      addressClass: none,
      requestRoute: none,
      routeBackend: none,
      backendStart: none,
      backendCount: none,
      targets: none,
    }
  }
  const addressProxy = new Int32Array(registry.addressCount).fill(-1)
  const proxySource = new Int32Array(tables.proxies.length * 2).fill(-1)
  for (const there of [false, true]) {
    tables.proxies.forEach(({ addresses, isThere, way }, proxy) => {
      if (isThere !== there) return
      for (const address of addresses) {
        addressProxy[address] = proxy
        const family = ipFamily(registry.addressText(address)) === 'IPv6' ? 1 : 0
        if (proxySource[proxy * 2 + family]! < 0) proxySource[proxy * 2 + family] = address
      }
      // Of a balancer outside the cluster one address is known, and it is let to reach either family from it.
      const [primary = -1] = addresses
      for (const at of way === 'proxy' ? [] : [proxy * 2, proxy * 2 + 1]) {
        if (proxySource[at]! < 0) proxySource[at] = primary
      }
    })
  }
  const targets: number[] = []
  const start = new Int32Array(tables.backends.length * PROXY_WAYS)
  const count = new Int32Array(start.length)
  tables.backends.forEach((backend, i) => {
    const pods = podTargets(backend, registry)
    const runs: Readonly<Record<number, Target[]>> = {
      [WAY_PROXY]: backend.byClusterIp ? clusterIpTarget(backend, cluster, registry) : pods,
      [WAY_IP]: pods,
    }
    for (let way = 0; way < PROXY_WAYS; way++) {
      const run = runs[way] ?? nodePortTargets(backend, cluster, registry, nodePorts)
      start[i * PROXY_WAYS + way] = targets.length / TARGET_WORDS
      count[i * PROXY_WAYS + way] = run.length
      targets.push(...run.flat())
    }
  })
  return {
    addressProxy,
    proxyWay: Int32Array.from(tables.proxies, ({ way }) => WAYS[way]),
    proxyWorkers: Int32Array.from(tables.proxies, ({ workers }) => workers),
    proxyPorts: Int32Array.from(tables.proxies.flatMap(({ ports }) => ports)),
    proxySource,
    proxyTold: Int32Array.from(tables.proxies, ({ isTold }) => Number(isTold)),
    proxyRoutes: Int32Array.from(
      tables.proxies.flatMap(({ routes }) => routes.map((list) => list * (tables.requestRoutes[0]?.length ?? 0))),
    ),
    addressClass: classColumn(tables, registry),
    requestRoute: Int32Array.from(tables.requestRoutes.flat()),
    routeBackend: Int32Array.from(tables.routeBackend),
    backendStart: start,
    backendCount: count,
    targets: Int32Array.from(targets),
  }
}

function classColumn({ classOf }: IngressTables, registry: Registry): Int32Array {
  if (classOf === null) return new Int32Array(0)
  return Int32Array.from({ length: registry.addressCount }, (_, id) => classOf(registry.addressText(id)))
}

/** Endpoint ids that proxies choose themselves. */
export function targetEndpoints({ targets }: IngressColumns): number[] {
  const chosen: number[] = []
  for (let at = TARGET_ENDPOINT; at < targets.length; at += TARGET_WORDS)
    if (targets[at]! >= 0) chosen.push(targets[at]!)
  return chosen
}

/** Address, port, endpoint, meaning. */
type Target = [number, number, number, number]

/** Endpoints that are addresses; a name of an ExternalName Service is none. */
function podTargets({ namespace, service, portName, endpoints }: IngressBackend, registry: Registry): Target[] {
  return endpoints.flatMap((text): Target[] => {
    const parsed = splitEndpoint(text)
    if (parsed === null) return []
    const family = ipFamily(parsed.address) as 'IPv4' | 'IPv6'
    const servicePort = registry.servicePort({ namespace, service, port: portName, family })
    const address = registry.address(parsed.address)
    return [[address, parsed.port, registry.endpoint(servicePort, address, parsed.port), MACHINE]]
  })
}

/** `10.0.0.1:80` and `[2001:db8::1]:80`; null for a name. */
export function splitEndpoint(text: string): { readonly address: string; readonly port: number } | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|(\d+\.\d+\.\d+\.\d+)):(\d+)$/.exec(text)
  return match === null ? null : { address: (match[1] ?? match[2])!, port: Number(match[3]) }
}

function clusterIpTarget({ namespace, service, port }: IngressBackend, cluster: Cluster, registry: Registry): Target[] {
  const found = cluster.services.find((one) => one.namespace === namespace && one.name === service)
  const [address] = found?.clusterIPs ?? []
  return address === undefined || port === null ? [] : [[registry.address(address), port, -1, SERVICE]]
}

function nodePortTargets(
  { namespace, service, portName }: IngressBackend,
  cluster: Cluster,
  registry: Registry,
  nodePorts: ReadonlyMap<string, NodePortTargets>,
): Target[] {
  const found = nodePorts.get(`${namespace}/${service}:${portName}`)
  if (found === undefined || found.nodePort === 0) return []
  return found.nodes.flatMap((name): Target[] => {
    const node = cluster.nodes.find((one) => one.name === name)
    const address = node?.addresses.find((one) => ipFamily(one) === found.family)
    return address === undefined ? [] : [[registry.address(address), found.nodePort, -1, SERVICE]]
  })
}
