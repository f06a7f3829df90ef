/**
 * Which endpoints of a service port a node may use: kube-proxy's CategorizeEndpoints.
 *
 * Cluster set: the ready endpoints after topology; if none is ready, all that are serving and terminating, on any node.
 * Local set: the ready ones on this node; if none, this node's serving and terminating ones. The two fallbacks are
 * independent, so the sets can disagree. Neither ready nor terminating, or terminating and not serving: never used.
 * Topology looks at hints only, all or nothing: one ready endpoint without a hint switches the filter off.
 * Source: pkg/proxy/topology.go (1.34), pkg/proxy/endpointslicecache.go.
 */

import type { ClusterService, ClusterServicePort } from '../k8s/cluster.ts'
import { ipFamily } from '../k8s/ip.ts'
import type { EndpointSlice } from '../k8s/types.ts'

/** An endpoint of one service port and family as kube-proxy knows it. */
export interface ProxyEndpoint {
  readonly address: string
  readonly port: number
  /** '' without; then it is local nowhere. */
  readonly nodeName: string
  readonly ready: boolean
  readonly serving: boolean
  readonly terminating: boolean
  readonly zoneHints: readonly string[]
  readonly nodeHints: readonly string[]
}

/** Those of each Service, by `namespace/name`, in their order; slices of no Service are left out. */
export function slicesByService(slices: readonly EndpointSlice[]): Map<string, EndpointSlice[]> {
  const byService = new Map<string, EndpointSlice[]>()
  for (const slice of slices) {
    const name = slice.metadata.labels?.['kubernetes.io/service-name']
    if (name === undefined) continue
    const key = `${slice.metadata.namespace ?? 'default'}/${name}`
    const list = byService.get(key)
    if (list === undefined) byService.set(key, [slice])
    else list.push(slice)
  }
  return byService
}

/**
 * The endpoints of a service port, in rule order (the string order of ip:port).
 * Slice ports are matched by name and protocol; a slice port without a name or a number is ignored, as is the second
 * address of an endpoint. Same ip:port twice: a non-terminating entry replaces, a terminating one never does.
 */
export function endpointsOfPort(
  port: ClusterServicePort,
  family: 'IPv4' | 'IPv6',
  slices: readonly EndpointSlice[],
): ProxyEndpoint[] {
  const byKey = new Map<string, ProxyEndpoint>()
  for (const slice of slices) {
    if (slice.addressType !== family) continue
    for (const slicePort of slice.ports ?? []) {
      if (slicePort.port === undefined || slicePort.port === null || slicePort.port === 0) continue
      if ((slicePort.name ?? '') !== port.name || (slicePort.protocol ?? 'TCP') !== port.protocol) continue
      for (const endpoint of slice.endpoints ?? []) {
        const address = endpoint.addresses[0]
        if (address === undefined || ipFamily(address) !== family) continue
        const terminating = endpoint.conditions?.terminating ?? false
        const key = address.includes(':') ? `[${address}]:${slicePort.port}` : `${address}:${slicePort.port}`
        if (terminating && byKey.has(key)) continue
        byKey.set(key, {
          address,
          port: slicePort.port,
          nodeName: endpoint.nodeName ?? '',
          ready: endpoint.conditions?.ready ?? true,
          serving: endpoint.conditions?.serving ?? true,
          terminating,
          zoneHints: (endpoint.hints?.forZones ?? []).map((hint) => hint.name),
          nodeHints: (endpoint.hints?.forNodes ?? []).map((hint) => hint.name),
        })
      }
    }
  }
  return [...byKey.keys()].sort(compareText).map((key) => byKey.get(key)!)
}

/** kube-proxy's `usable`: ready, or the fallback while terminating. */
export function isFallback(endpoint: ProxyEndpoint): boolean {
  return endpoint.serving && endpoint.terminating
}

/** Cluster set of nodes where no topology applies. */
export function clusterEndpoints(endpoints: readonly ProxyEndpoint[]): ProxyEndpoint[] {
  const ready = endpoints.filter((endpoint) => endpoint.ready)
  return ready.length > 0 ? ready : endpoints.filter(isFallback)
}

export type TopologyMode = 'PreferSameNode' | 'PreferSameZone' | ''

/** How far hints go for a service port at all: each node then still needs an endpoint that is meant for it. */
export function topologyHints(
  endpoints: readonly ProxyEndpoint[],
  sameNodeEnabled: boolean,
): { readonly node: boolean; readonly zone: boolean } {
  const ready = endpoints.filter((endpoint) => endpoint.ready)
  return {
    node: sameNodeEnabled && ready.length > 0 && ready.every((endpoint) => endpoint.nodeHints.length > 0),
    zone: ready.length > 0 && ready.every((endpoint) => endpoint.zoneHints.length > 0),
  }
}

/** The mode on one node. */
export function topologyMode(
  endpoints: readonly ProxyEndpoint[],
  hints: { readonly node: boolean; readonly zone: boolean },
  nodeName: string,
  zone: string,
): TopologyMode {
  const ready = endpoints.filter((endpoint) => endpoint.ready)
  if (hints.node && ready.some((endpoint) => endpoint.nodeHints.includes(nodeName))) return 'PreferSameNode'
  if (hints.zone && zone !== '' && ready.some((endpoint) => endpoint.zoneHints.includes(zone))) return 'PreferSameZone'
  return ''
}

/** Cluster set of a node to which a topology mode applies: no fallback inside a mode. */
export function topologyEndpoints(
  endpoints: readonly ProxyEndpoint[],
  mode: TopologyMode,
  nodeName: string,
  zone: string,
): ProxyEndpoint[] {
  const ready = endpoints.filter((endpoint) => endpoint.ready)
  if (mode === 'PreferSameNode') return ready.filter((endpoint) => endpoint.nodeHints.includes(nodeName))
  return ready.filter((endpoint) => endpoint.zoneHints.includes(zone))
}

/** Local sets by node name; nodes without a local endpoint are left out. */
export function localEndpoints(endpoints: readonly ProxyEndpoint[]): Map<string, ProxyEndpoint[]> {
  const byNode = new Map<string, ProxyEndpoint[]>()
  for (const endpoint of endpoints) {
    if (endpoint.nodeName === '') continue
    const list = byNode.get(endpoint.nodeName)
    if (list === undefined) byNode.set(endpoint.nodeName, [endpoint])
    else list.push(endpoint)
  }
  const sets = new Map<string, ProxyEndpoint[]>()
  for (const [node, list] of byNode) {
    const set = clusterEndpoints(list)
    if (set.length > 0) sets.set(node, set)
  }
  return sets
}

/** Reachable from outside at all: what kube-proxy calls externally accessible, and what a policy can be tried on. */
export function isExternallyReachable(service: ClusterService): boolean {
  return service.type === 'LoadBalancer' || service.type === 'NodePort' || service.externalIPs.length > 0
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
