/**
 * Which endpoints each node has for a Service, and which nodes a load balancer takes for healthy.
 *
 * Source: pkg/proxy/topology.go (1.34), pkg/proxy/healthcheck.
 */
import type { ClusterNode } from '../k8s/cluster.ts'
import type { ProxyService } from './frontends.ts'
import type { ProxySettings } from './kube-proxy.ts'
import {
  clusterEndpoints,
  isFallback,
  localEndpoints,
  type ProxyEndpoint,
  topologyEndpoints,
  topologyHints,
  topologyMode,
} from './usable.ts'

const EXCLUDE_LABEL = 'node.kubernetes.io/exclude-from-external-load-balancers'

function isUsable(one: ProxyEndpoint): boolean {
  return one.ready || isFallback(one)
}

type EndpointsByNode = ReadonlyMap<string, readonly ProxyEndpoint[]>

/** Nodes whose cluster set is not that of all others, with theirs, in the order of their indices; null: it knows of none anywhere. */
export function clusterByNode(
  known: readonly ProxyEndpoint[],
  byNode: EndpointsByNode | null,
  settings: ProxySettings,
  nodes: readonly ClusterNode[],
  nodeIndex: ReadonlyMap<string, number>,
): [number, ProxyEndpoint[] | null][] {
  if (byNode === null) return topologyOverrides(known, settings, nodes, nodeIndex)
  return nodes
    .map((node): [number, ProxyEndpoint[] | null] => {
      const own = byNode.get(node.name) ?? known
      if (!own.some(isUsable)) return [nodeIndex.get(node.name)!, null]
      const [narrowed] = topologyOverrides(own, settings, [node], nodeIndex)
      return narrowed ?? [nodeIndex.get(node.name)!, clusterEndpoints(own)]
    })
    .sort((a, b) => a[0] - b[0])
}

export function localByNode(
  known: readonly ProxyEndpoint[],
  byNode: EndpointsByNode | null,
): (readonly [string, ProxyEndpoint[] | null])[] {
  if (byNode === null) return [...localEndpoints(known)]
  return [...byNode].flatMap(([node, own]): (readonly [string, ProxyEndpoint[] | null])[] => {
    if (!own.some(isUsable)) return [[node, null] as const]
    const list = localEndpoints(own).get(node)
    return list === undefined ? [] : [[node, list] as const]
  })
}

/** Nodes on which hints narrow the cluster set, with what is left there. */
function topologyOverrides(
  known: readonly ProxyEndpoint[],
  settings: ProxySettings,
  nodes: readonly ClusterNode[],
  nodeIndex: ReadonlyMap<string, number>,
): [number, ProxyEndpoint[]][] {
  const hints = topologyHints(known, settings.sameNodeTopology)
  if (settings.isMisnamed || (!hints.node && !hints.zone)) return []
  const narrowed = nodes.flatMap((node): [number, ProxyEndpoint[]][] => {
    const mode = topologyMode(known, hints, node.name, node.zone)
    return mode === '' ? [] : [[nodeIndex.get(node.name)!, topologyEndpoints(known, mode, node.name, node.zone)]]
  })
  return narrowed.sort((a, b) => a[0] - b[0])
}

export function eligibleNodes(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.filter((node) => node.ready && !(EXCLUDE_LABEL in node.labels))
}

/** Nodes that pass a load balancer's health check: Local asks for a ready local endpoint, Cluster only for the node. */
export function balancedNodes(
  proxied: ProxyService,
  known: readonly ProxyEndpoint[],
  nodes: readonly ClusterNode[],
  nodeIndex: ReadonlyMap<string, number>,
): number[] {
  const eligible = eligibleNodes(nodes).map(({ name }) => nodeIndex.get(name)!)
  if (!proxied.externalLocal) return eligible
  const withEndpoint = new Set(known.filter((one) => one.ready).map((one) => nodeIndex.get(one.nodeName)))
  return eligible.filter((i) => withEndpoint.has(i))
}
