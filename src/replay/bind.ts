/**
 * Binds what a trace dials, and who dials, to the cluster it is replayed on.
 *
 * A trace names its targets by Service and port as well as by address, and its in-cluster clients by pod. Replayed on its
 * own manifests both agree; with other manifests (`-f`) the names win, so that a Service whose address changed is
 * still the target. What is no longer there keeps its address, and a warning says so. DNS names stay names: what they
 * mean is asked for when a connection opens (names.ts).
 */
import type { Destination } from '../compile/compile.ts'
import type { Registry } from '../compile/registry.ts'
import type { Warning } from '../errors.ts'
import type { Cluster, ClusterService } from '../k8s/cluster.ts'
import { ipFamily } from '../k8s/ip.ts'
import { addressCount, PROTOCOL_NAMES, type TraceDestination, type TraceHeader } from '../trace/format.ts'

export interface Binding {
  readonly destinations: readonly Destination[]
  /** By address id of the trace; empty where every client has kept its address. */
  readonly clientMap: Int32Array
  readonly warnings: readonly Warning[]
}

/** The registry must have been preloaded with the trace's addresses. */
export function bindTrace(header: TraceHeader, cluster: Cluster, registry: Registry): Binding {
  const warnings: Warning[] = []
  const services = new Map(cluster.services.map((service) => [`${service.namespace}/${service.name}`, service]))
  const missing = new Set<string>()
  const destinations = header.destinations.map((destination): Destination => {
    const { address, port, protocol } = destination
    // A name is bound anew by every client that resolves it.
    if (destination.name !== undefined) return { address, port, protocol, isService: false, name: destination.name }
    const written = { address, port, protocol, isService: destination.service !== null }
    if (destination.service === null) return written
    const service = services.get(destination.service)
    const bound = service === undefined ? null : bindDestination(destination, service, cluster, registry)
    if (bound === null && !missing.has(destination.service)) {
      missing.add(destination.service)
      warnings.push({
        code: 'W_TARGET_MISSING',
        where: `Service ${destination.service}`,
        message:
          service === undefined
            ? 'the trace dials this Service and the manifests do not have it; its connections go to the address they were made for'
            : `the trace dials its ${destination.to} port ${destination.servicePort}/${PROTOCOL_NAMES[protocol]}, which it does not have any more`,
      })
    }
    return bound === null ? written : { ...bound, isService: true }
  })
  return { destinations, clientMap: mapClients(header, cluster, registry, warnings), warnings }
}

function bindDestination(
  destination: TraceDestination,
  service: ClusterService,
  cluster: Cluster,
  registry: Registry,
): { address: number; port: number; protocol: number } | null {
  const protocol = PROTOCOL_NAMES[destination.protocol]
  const port = service.ports.find((one) => one.port === destination.servicePort && one.protocol === protocol)
  if (port === undefined) return null
  const family = ipFamily(registry.addressText(destination.address))
  const written = registry.addressText(destination.address)
  const pick = (addresses: readonly string[]): string | undefined =>
    addresses.includes(written) ? written : addresses.find((address) => ipFamily(address) === family)
  let address: string | undefined
  let number = port.port
  switch (destination.to) {
    case 'clusterIP':
      address = pick(service.clusterIPs)
      break
    case 'externalIP':
      address = pick(service.externalIPs)
      break
    case 'loadBalancerIP':
      address = pick(service.loadBalancer.map((one) => one.ip).filter((ip) => ip !== ''))
      break
    case 'nodePort': {
      if (port.nodePort === 0) return null
      number = port.nodePort
      const node =
        cluster.nodes.find((one) => one.name === destination.node) ??
        cluster.nodes.find((one) => one.addresses.includes(written))
      address = pick(node?.addresses ?? [])
      break
    }
    case 'address':
    case 'name':
    case 'ingress':
      return null
  }
  if (address === undefined) return null
  return { address: registry.address(address), port: number, protocol: destination.protocol }
}

function mapClients(header: TraceHeader, cluster: Cluster, registry: Registry, warnings: Warning[]): Int32Array {
  const pods = new Map(cluster.pods.map((pod) => [`pod/${pod.namespace}/${pod.name}`, pod]))
  const moved: [number, number][] = []
  const gone: string[] = []
  for (const [id, name] of header.clientNames) {
    const written = registry.addressText(id)
    const pod = pods.get(name)
    const address = pod?.addresses.includes(written)
      ? written
      : pod?.addresses.find((one) => ipFamily(one) === ipFamily(written))
    if (address === undefined) gone.push(name)
    else if (address !== written) moved.push([id, registry.address(address)])
  }
  if (gone.length > 0) {
    warnings.push({
      code: 'W_CLIENT_MISSING',
      where: gone[0]!,
      message: `${gone.length} of the trace's client pods are not in the manifests; they count as clients outside the cluster`,
    })
  }
  if (moved.length === 0) return new Int32Array(0)
  const map = Int32Array.from({ length: addressCount(header.addresses) }, (_, id) => id)
  for (const [from, to] of moved) map[from] = to
  return map
}
