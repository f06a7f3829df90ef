/**
 * From a Service port that a rule names to the endpoints a proxy sends requests to.
 *
 * A backend is usable when its Service exists, has the port, and a slice has a ready endpoint for it; an ExternalName
 * Service is usable by its name. Proxies watch EndpointSlices themselves, so node, policy and affinity of the Service play
 * no part, and neither do terminating endpoints: `ready` alone counts.
 * Source: the API text of IngressServiceBackend; for `ingress-nginx` internal/ingress/controller/endpointslices.go and
 * serviceEndpoints in controller.go, which are laxer about ports.
 */
import type { Cluster, ClusterService, ClusterServicePort } from '../k8s/cluster.ts'
import type { EndpointSlice } from '../k8s/types.ts'
import type { BackendRef, Listener } from './rules.ts'

export interface Backend {
  /** Dense: the position in `RouteTable.backends`. */
  readonly id: number
  /** `namespace/name`, whether the Service exists or not. */
  readonly service: string
  /** Number of the Service port; null where it cannot be told. */
  readonly port: number | null
  /** `namespace/name:portName` as kube-proxy names a service port; null where the Service has no such port. */
  readonly servicePort: string | null
  /** `ip:port` (`[v6]:port`) of each ready endpoint in slice order, or `name:port` of an ExternalName Service. */
  readonly endpoints: readonly string[]
  /** Requests go to the cluster IP and kube-proxy picks the endpoint. */
  readonly byClusterIp: boolean
  readonly usable: boolean
  /** The proxy has somewhere to send requests, which no connection can be made to. */
  readonly refuses?: boolean
  /** `2 ready endpoints`, or why it is not usable. */
  readonly why: string
}

const EMPTY_IN_TRAEFIK =
  '; 503 is with allowEmptyServices, which k3s and the chart set and which is assumed here: without it Traefik makes no router of the path, and other rules or 404 have its requests'

export type BackendResolver = (ref: BackendRef, lookup: Listener['backendLookup'], id: number) => Backend

/** Index the cluster once; resolving is then linear in the slices of one Service. */
export function backendResolver(cluster: Cluster): BackendResolver {
  const services = new Map(cluster.services.map((service) => [`${service.namespace}/${service.name}`, service]))
  const slices = new Map<string, EndpointSlice[]>()
  for (const slice of cluster.slices) {
    const name = slice.metadata.labels?.['kubernetes.io/service-name']
    if (name === undefined) continue
    const key = `${slice.metadata.namespace ?? 'default'}/${name}`
    const list = slices.get(key)
    if (list === undefined) slices.set(key, [slice])
    else list.push(slice)
  }
  return (ref, lookup, id) => {
    const backend = resolve(ref, lookup, id)
    // An upstream without servers is the controller's own, which answers 502.
    return lookup === 'nginx-inc' && !backend.usable ? { ...backend, refuses: true } : backend
  }

  function resolve(ref: BackendRef, lookup: Listener['backendLookup'], id: number): Backend {
    const key = `${ref.namespace}/${ref.name}`
    const none = { id, service: key, endpoints: [], byClusterIp: false, usable: false, servicePort: null }
    const written = typeof ref.port === 'number' ? ref.port : null
    const service = services.get(key)
    if (service === undefined) return { ...none, port: written, why: `Service ${key} does not exist` }
    if (ref.port === null) return { ...none, port: null, why: 'the rule names no Service port' }
    if (service.type === 'ExternalName') return { ...none, ...externalName(service, ref.port, lookup) }
    const port = findPort(service, ref.port, lookup)
    if (port === undefined) return { ...none, port: written, why: `Service ${key} has no port ${ref.port}` }
    const endpoints = readyEndpoints(slices.get(key) ?? [], port, lookup === 'ingress-nginx')
    const ready = `${endpoints.length} ready endpoint${endpoints.length === 1 ? '' : 's'}`
    const empty = `Service ${key} has no ready endpoint for port ${port.port}${lookup === 'traefik' ? EMPTY_IN_TRAEFIK : ''}`
    return {
      id,
      service: key,
      port: port.port,
      servicePort: `${key}:${port.name}`,
      endpoints,
      byClusterIp: ref.byClusterIp && service.clusterIPs.length > 0 && !service.headless,
      usable: endpoints.length > 0,
      why: endpoints.length > 0 ? ready : empty,
    }
  }
}

/** TCP only: the proxies speak HTTP. A number is a Service port first; ingress-nginx then takes it for a target port. */
function findPort(
  service: ClusterService,
  wanted: number | string,
  lookup: Listener['backendLookup'],
): ClusterServicePort | undefined {
  const ports = service.ports.filter((port) => port.protocol === 'TCP')
  const direct = ports.find((port) => (typeof wanted === 'number' ? port.port === wanted : port.name === wanted))
  if (direct !== undefined || lookup === 'api') return direct
  const text = String(wanted)
  return ports.find((port) => String(port.port) === text || String(port.targetPort) === text || port.name === text)
}

function readyEndpoints(slices: readonly EndpointSlice[], port: ClusterServicePort, lax: boolean): string[] {
  const found = new Set<string>()
  for (const slice of slices) {
    if (slice.addressType === 'FQDN') continue
    const numbers = targetPorts(slice, port, lax)
    for (const endpoint of slice.endpoints) {
      // The API reads an unset or null `ready` as true.
      if (endpoint.conditions?.ready === false) continue
      for (const number of numbers) for (const address of endpoint.addresses) found.add(addressText(address, number))
    }
  }
  return [...found]
}

/** `lax`: an unnamed Service port takes every TCP port of the slice, a numeric target port stands in for a missing one. */
function targetPorts(slice: EndpointSlice, port: ClusterServicePort, lax: boolean): number[] {
  const written = slice.ports ?? []
  const target = lax && typeof port.targetPort === 'number' ? port.targetPort : 0
  if (written.length === 0) return target > 0 ? [target] : []
  const numbers: number[] = []
  for (const slicePort of written) {
    if ((slicePort.protocol ?? 'TCP') !== 'TCP') continue
    const matches = (slicePort.name ?? '') === port.name || (lax && port.name === '')
    const number = (matches ? (slicePort.port ?? 0) : 0) || target
    if (number > 0) numbers.push(number)
  }
  return numbers
}

function addressText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** By name. ingress-nginx also takes a port number that the Service does not list, and refuses loopback targets. */
function externalName(
  service: ClusterService,
  wanted: number | string,
  lookup: Listener['backendLookup'],
): Omit<Backend, 'id' | 'service' | 'byClusterIp'> {
  const target = service.externalName.replace(/\.$/, '')
  const key = `${service.namespace}/${service.name}`
  const port = findPort(service, wanted, 'api')
  const number = port?.port ?? (typeof wanted === 'number' ? wanted : null)
  const servicePort = port === undefined ? null : `${key}:${port.name}`
  const unusable = (why: string) => ({ port: number, servicePort, endpoints: [], usable: false, why })
  if (target === '') return unusable(`Service ${key} has no externalName`)
  if (number === null) return unusable(`Service ${key} has no port ${wanted}`)
  if (lookup === 'ingress-nginx' && /^(localhost|127\.[\d.]+|::1)$/.test(target))
    return unusable(`ingress-nginx refuses externalName ${target}`)
  // ingress-nginx makes 0 of a name, where it has looked the port up by its number.
  if (lookup === 'ingress-nginx' && typeof wanted === 'number' && typeof port?.targetPort === 'string') {
    const why = `ingress-nginx makes port 0 of targetPort ${port.targetPort} of ExternalName Service ${key}, as there are no pods that name it; by the port's name it is ${number}`
    return { ...unusable(why), refuses: true }
  }
  if (lookup === 'nginx-inc')
    return unusable(
      `ExternalName Service ${key}: names are resolved by NGINX Plus alone, else the upstream has no server`,
    )
  const targetPort = typeof port?.targetPort === 'number' ? port.targetPort : number
  return {
    port: number,
    servicePort,
    endpoints: [addressText(target, targetPort)],
    usable: true,
    why: `ExternalName ${target}`,
  }
}
