/**
 * Host ports of pods as frontends of their nodes, in the manner of a Local node port: a service port for each workload and host
 * port, whose endpoints are the pods on the node.
 */
import { HOST_PORT_ONE_ADDRESS, hostPortAddress } from '../../native-free-core/index.ts'
import type { Cluster, ClusterPod } from '../k8s/cluster.ts'
import { ipFamily, parseCidr } from '../k8s/ip.ts'
import { PROTOCOL_NUMBERS } from './frontends.ts'
import type { Registry } from './registry.ts'

export interface HostPortFrontend {
  /** In the frontend table: an address, or what stands for all of a node's. */
  readonly address: number
  readonly port: number
  /** With HOST_PORT_ONE_ADDRESS where it is an address of its own. */
  readonly protocol: number
}

export interface HostPortService {
  /** Service port id. */
  readonly servicePort: number
  /** Node index → endpoint ids, sorted by node. */
  readonly nodes: readonly (readonly [node: number, endpoints: readonly number[]])[]
  readonly frontends: readonly HostPortFrontend[]
}

interface OpenService {
  readonly nodes: Map<number, number[]>
  readonly frontends: HostPortFrontend[]
}

/** Registers service ports, endpoints and addresses. */
export function hostPortServices(
  cluster: Cluster,
  registry: Registry,
  nodeIndex: ReadonlyMap<string, number>,
): HostPortService[] {
  const services = new Map<number, OpenService>()
  for (const pod of cluster.pods) {
    const node = nodeIndex.get(pod.nodeName)
    // On the host network the port is the pod's own.
    if (pod.hostNetwork || node === undefined) continue
    for (const port of pod.ports) {
      if (port.hostPort !== undefined) addHostPort(services, registry, pod, node, { ...port, hostPort: port.hostPort })
    }
  }
  return Array.from(services, ([servicePort, { nodes, frontends }]) => ({
    servicePort,
    nodes: [...nodes].sort((a, b) => a[0] - b[0]),
    frontends,
  }))
}

/** One port of a pod, for each of the pod's addresses whose family hostIP admits. */
function addHostPort(
  services: Map<number, OpenService>,
  registry: Registry,
  pod: ClusterPod,
  node: number,
  { hostPort, hostIP = '', containerPort, protocol }: ClusterPod['ports'][number] & { readonly hostPort: number },
): void {
  const isAny = hostIP === '' || hostIP === '0.0.0.0' || hostIP === '::'
  const name = `hostPort-${hostPort}${protocol === 'TCP' ? '' : `-${protocol}`}${isAny ? '' : `-${hostIP}`}`
  const number = PROTOCOL_NUMBERS[protocol]
  for (const address of pod.addresses) {
    const family = ipFamily(address)
    if (hostIP !== '' && ipFamily(hostIP) !== family) continue
    const servicePort = registry.servicePort({ ...ownerOf(pod), port: name, family })
    const endpoint = registry.endpoint(servicePort, registry.address(address), containerPort)
    const anywhere = hostPortAddress(node, family === 'IPv4' ? 0 : 1)
    const known = services.get(servicePort) ?? { nodes: new Map<number, number[]>(), frontends: [] }
    services.set(servicePort, known)
    known.nodes.set(node, [...(known.nodes.get(node) ?? []), endpoint])
    known.frontends.push({
      // Loopback is every node's: whose it is tells the node.
      address: isAny || isLoopback(hostIP) ? anywhere : registry.address(hostIP),
      port: hostPort,
      protocol: isAny ? number : number | HOST_PORT_ONE_ADDRESS,
    })
  }
}

/** Whether pods hang on a bridge with their node's podCIDR; Calico's have a network each to themselves. */
export function pairsByBridge(cluster: Cluster): boolean {
  return (cluster.calicoPools ?? []).length === 0
}

function isLoopback(address: string): boolean {
  return parseCidr(`${address}/8`)?.text === '127.0.0.0/8'
}

/** The workload, or a pod written by hand. */
function ownerOf({ owner, namespace, name }: ClusterPod): { readonly namespace: string; readonly service: string } {
  return { namespace, service: owner === '' ? name : owner.slice(owner.indexOf('/') + 1) }
}
