/**
 * The ways in: what lies between a client and a pod behind an Ingress, hop by hop, as a plain description.
 *
 * Three ways: a cloud load balancer that speaks HTTP and sends to node ports (instance targets); one that sends to pod
 * addresses (IP targets); a proxy in the cluster behind a layer-4 load balancer, a node port, or on its node's own network.
 * One model covers them: a hop is who picks, how often, what is rewritten, and which source address the next one sees.
 * Pure: nothing here routes a request. Cost: one pass over Services and pods.
 * Sources: kubernetes.io/docs/tutorials/services/source-ip; aws-load-balancer-controller docs (target-type, NLB);
 * ingress-gce FAQ and GKE container-native load balancing; ingress-nginx docs/deploy/baremetal.md and miscellaneous.md.
 */
import type { Cluster, ClusterService } from '../k8s/cluster.ts'
import { choosePath, findProxyService, isIngressProxy } from './choose-path.ts'
import { NGINX_PREFIX } from './classes.ts'

/** Whose address a peer sees. `node` is the node that took the packet in. */
export type Peer = 'client' | 'load balancer' | 'node' | 'proxy pod' | "proxy's node"

export interface PathHop {
  readonly by: 'cloud load balancer' | 'layer-4 load balancer' | 'client' | 'kube-proxy' | 'ingress proxy'
  readonly picks: 'node' | 'proxy pod' | 'backend pod' | 'cluster IP'
  /** How often it picks: once a TCP connection, or for each HTTP request on it. */
  readonly unit: 'connection' | 'request'
  readonly nat: 'none' | 'DNAT' | 'DNAT and masquerade'
  /** A proxy ends the connection and opens its own. */
  readonly newConnection: boolean
  /** The source address that the one picked sees. */
  readonly source: Peer
  /** Whose address X-Forwarded-For holds from here on; null where nobody has spoken HTTP yet. */
  readonly xForwardedFor: Peer | null
}

export interface BackendPath {
  readonly kind: 'instance-targets' | 'ip-targets' | 'in-cluster-proxy'
  readonly hops: readonly PathHop[]
  /** TCP connections in series between client and pod. */
  readonly connections: number
  readonly tlsEndsAt: 'cloud load balancer' | 'ingress proxy'
  /** Chance that kube-proxy's pick is on another node than the one that took the packet: 1 − 1/N under Cluster. */
  readonly crossNodeChance: number
  /** Of the backend Service, those fields that have an effect on this way. */
  readonly backendFields: readonly ('externalTrafficPolicy' | 'sessionAffinity')[]
  /** What was assumed or cannot work, one sentence each. */
  readonly notes: readonly string[]
}

export interface BackendPathQuery {
  readonly cluster: Cluster
  /** `spec.controller` of the IngressClass; '' where it is not known. */
  readonly controller: string
  /** `namespace/name` of the Service behind the rule. */
  readonly backend: string
  /** Of the Ingress. */
  readonly annotations?: Readonly<Record<string, string>>
  /** The in-cluster proxy's Service; found by its labels where left out. */
  readonly proxyService?: string
  /** PROXY protocol is on at both ends. */
  readonly proxyProtocol?: boolean
}

const NLB_TARGET_TYPE = 'service.beta.kubernetes.io/aws-load-balancer-nlb-target-type'
const NLB_ATTRIBUTES = 'service.beta.kubernetes.io/aws-load-balancer-target-group-attributes'

export function backendPath(query: BackendPathQuery): BackendPath {
  const annotations = query.annotations ?? {}
  const backend = query.cluster.services.find((service) => `${service.namespace}/${service.name}` === query.backend)
  const { path, assumed } = choosePath(query.controller, annotations, backend, query.backend)
  if (path === 'proxy') return inClusterProxy(query, annotations)
  if (path === 'ip') return ipTargets()
  const way = instanceTargets(query, backend)
  return assumed === null ? way : { ...way, notes: [...way.notes, assumed] }
}

/** Load balancer → node port of the backend Service → kube-proxy → pod. */
function instanceTargets(query: BackendPathQuery, backend: ClusterService | undefined): BackendPath {
  const local = backend?.externalTrafficPolicy === 'Local'
  const notes: string[] = []
  if (backend === undefined) {
    if (query.backend !== '') notes.push(`Service ${query.backend} does not exist`)
  } else if (!backend.ports.some((port) => port.nodePort > 0))
    notes.push(`Service ${query.backend} has no node port, which instance targets need`)
  return {
    kind: 'instance-targets',
    hops: [cloudHop('node'), kubeProxyHop('backend pod', local, 'load balancer', 'client')],
    connections: 2,
    tlsEndsAt: 'cloud load balancer',
    crossNodeChance: local ? 0 : otherNode(query.cluster),
    backendFields: ['externalTrafficPolicy', 'sessionAffinity'],
    notes,
  }
}

/** Load balancer → pod: no node port, no kube-proxy, so no policy and no affinity either. */
function ipTargets(): BackendPath {
  return {
    kind: 'ip-targets',
    hops: [cloudHop('backend pod')],
    connections: 2,
    tlsEndsAt: 'cloud load balancer',
    crossNodeChance: 0,
    backendFields: [],
    notes: [],
  }
}

/** Client → (load balancer →) node → kube-proxy → proxy pod → backend pod; the proxy reads EndpointSlices itself. */
function inClusterProxy(query: BackendPathQuery, annotations: Readonly<Record<string, string>>): BackendPath {
  const { cluster } = query
  const front = proxyFront(query)
  const hops: PathHop[] = [...front.hops]
  // Without trusted headers or PROXY protocol, X-Forwarded-For is the peer that the proxy sees, whatever the client sent.
  const forwarded = query.proxyProtocol === true ? 'client' : front.peer
  const source: Peer = front.onHostNetwork ? "proxy's node" : 'proxy pod'
  const byClusterIp = annotations[`${NGINX_PREFIX}service-upstream`] === 'true'
  const proxyHop = {
    by: 'ingress proxy',
    unit: 'request',
    nat: 'none',
    newConnection: true,
    source,
    xForwardedFor: forwarded,
  } as const
  hops.push({ ...proxyHop, picks: byClusterIp ? 'cluster IP' : 'backend pod' })
  if (byClusterIp)
    hops.push({
      ...proxyHop,
      by: 'kube-proxy',
      picks: 'backend pod',
      unit: 'connection',
      nat: 'DNAT',
      newConnection: false,
    })
  return {
    kind: 'in-cluster-proxy',
    hops,
    connections: 1 + hops.filter((hop) => hop.newConnection).length,
    tlsEndsAt: 'ingress proxy',
    crossNodeChance: front.throughKubeProxy && !front.local ? otherNode(cluster) : 0,
    backendFields: byClusterIp ? ['sessionAffinity'] : [],
    notes: front.notes,
  }
}

interface ProxyFront {
  readonly hops: readonly PathHop[]
  /** Whose address the proxy sees as its peer. */
  readonly peer: Peer
  readonly onHostNetwork: boolean
  readonly throughKubeProxy: boolean
  readonly local: boolean
  readonly notes: readonly string[]
}

function proxyFront(query: BackendPathQuery): ProxyFront {
  const { cluster } = query
  const service = findProxyService(cluster, query.proxyService)
  const direct: PathHop = {
    by: 'client',
    picks: 'node',
    unit: 'connection',
    nat: 'none',
    newConnection: false,
    source: 'client',
    xForwardedFor: null,
  }
  const onHostNetwork = cluster.pods.some((pod) => pod.hostNetwork && isIngressProxy(pod.labels))
  if (service === undefined && onHostNetwork) {
    return { hops: [direct], peer: 'client', onHostNetwork, throughKubeProxy: false, local: false, notes: [] }
  }
  const notes =
    service === undefined
      ? [
          "the proxy's own Service is not in the manifests: a LoadBalancer Service with externalTrafficPolicy Cluster is assumed",
        ]
      : []
  const balanced = service === undefined || service.type === 'LoadBalancer'
  if (balanced && service !== undefined && service.annotations[NLB_TARGET_TYPE] === 'ip') {
    // Towards IP targets an NLB keeps the client's address only when told to.
    const keeps = /preserve_client_ip\.enabled=true/.test(service.annotations[NLB_ATTRIBUTES] ?? '')
    const peer: Peer = keeps ? 'client' : 'load balancer'
    const hop: PathHop = {
      ...direct,
      by: 'layer-4 load balancer',
      picks: 'proxy pod',
      source: peer,
      newConnection: !keeps,
    }
    return { hops: [hop], peer, onHostNetwork, throughKubeProxy: false, local: false, notes }
  }
  const proxying =
    balanced && service?.loadBalancer.some((address) => address.ipMode === 'Proxy' && !address.keepsClient) === true
  const arrives: Peer = proxying ? 'load balancer' : 'client'
  const first: PathHop = balanced
    ? { ...direct, by: 'layer-4 load balancer', source: arrives, newConnection: proxying }
    : direct
  const local = service?.externalTrafficPolicy === 'Local'
  const second = kubeProxyHop('proxy pod', local, arrives, null)
  return { hops: [first, second], peer: second.source, onHostNetwork, throughKubeProxy: true, local, notes }
}

function cloudHop(picks: 'node' | 'backend pod'): PathHop {
  return {
    by: 'cloud load balancer',
    picks,
    unit: 'request',
    nat: 'none',
    newConnection: true,
    source: 'load balancer',
    xForwardedFor: 'client',
  }
}

/** kube-proxy at a node port: policy Cluster masquerades to the receiving node's address, Local leaves the source alone. */
function kubeProxyHop(
  picks: 'proxy pod' | 'backend pod',
  local: boolean,
  arrives: Peer,
  xForwardedFor: Peer | null,
): PathHop {
  return {
    by: 'kube-proxy',
    picks,
    unit: 'connection',
    nat: local ? 'DNAT' : 'DNAT and masquerade',
    newConnection: false,
    source: local ? arrives : 'node',
    xForwardedFor,
  }
}

function otherNode(cluster: Cluster): number {
  const nodes = cluster.nodes.filter((node) => node.ready).length
  return nodes === 0 ? 0 : 1 - 1 / nodes
}
