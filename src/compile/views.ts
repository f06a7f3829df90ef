/**
 * A moment of a cluster that changes, as its parts know it: each node's kube-proxy, the load balancers, and the pods themselves.
 *
 * A rule set has the endpoints of a Service for each node anyway, for topology hints and traffic policy Local; here they come from what that
 * node has been told so far. So a node that is late costs the core nothing: the next moment is the next rule set.
 */
import {
  ADDRESS_LIVE,
  ADDRESS_SILENT,
  ADDRESS_STOPPED,
  BALANCER_NODE_DOWN,
  RULE_COLUMNS,
  type RuleColumns,
} from '../../native-free-core/index.ts'
import type { EndpointSlice } from '../k8s/types.ts'
import type { AddressColumns } from './address-columns.ts'
import type { ProxyService } from './frontends.ts'
import type { Registry } from './registry.ts'
import { endpointsOfPort, type ProxyEndpoint } from './usable.ts'

/** What a pod does with a new connection, and whether those that are open go on. */
export interface PodState {
  readonly accepts: 'yes' | 'refuses' | 'silent'
  readonly isLive: boolean
}

export interface ClusterViews {
  /** By `namespace/name` and node: the slices that its rules hold. Services that are left out are the same everywhere. */
  readonly slices: ReadonlyMap<string, ReadonlyMap<string, readonly EndpointSlice[]>>
  /** By `namespace/name`: nodes that its load balancer sends new connections to. */
  readonly balanced: ReadonlyMap<string, readonly string[]>
  /** Nodes that are down. */
  readonly down: ReadonlySet<string>
  /** By address; those that are left out accept connections. */
  readonly pods: ReadonlyMap<string, PodState>
  /** What moments of one cluster have in common; made by the first. */
  readonly shared: { addresses: AddressColumns | null }
}

/** By node: the endpoints of a service port in its rules; null where all nodes have the cluster's. */
export function endpointsByNode(
  views: ClusterViews | null | undefined,
  { service, port, family }: ProxyService,
): ReadonlyMap<string, readonly ProxyEndpoint[]> | null {
  const own = views?.slices.get(`${service.namespace}/${service.name}`)
  if (own === undefined) return null
  // Most nodes hold the same version.
  const known = new Map<readonly EndpointSlice[], ProxyEndpoint[]>()
  const read = (slices: readonly EndpointSlice[]): ProxyEndpoint[] => {
    const read = known.get(slices) ?? endpointsOfPort(port, family, slices)
    known.set(slices, read)
    return read
  }
  return new Map([...own].map(([node, slices]) => [node, read(slices)]))
}

/** All endpoints that some node knows, in the order of rules, each in the best state that a node takes it for. */
export function unionOf(byNode: ReadonlyMap<string, readonly ProxyEndpoint[]>): ProxyEndpoint[] {
  const union = new Map<string, ProxyEndpoint>()
  for (const list of new Set(byNode.values())) {
    for (const one of list) {
      const key = `${one.address} ${one.port}`
      const other = union.get(key)
      const ready = one.ready || other?.ready === true
      const serving = one.serving || other?.serving === true
      union.set(key, { ...one, ready, serving, terminating: one.terminating || other?.terminating === true })
    }
  }
  return [...union.values()]
}

/** Indices of the nodes that a balancer sends to, those that are down as `BALANCER_NODE_DOWN`; null where the cluster says it. */
export function balancedBy(
  views: ClusterViews | null | undefined,
  service: string,
  nodeIndex: ReadonlyMap<string, number>,
): number[] | null {
  const names = views?.balanced.get(service)
  if (names === undefined) return null
  return names.map((name) => (views!.down.has(name) ? BALANCER_NODE_DOWN : nodeIndex.get(name)!))
}

/** The columns of addresses, with what pods do in their flags. Moments of one cluster have the same, but for those. */
export function viewedAddresses(
  views: ClusterViews | null | undefined,
  registry: Registry,
  make: () => AddressColumns,
): AddressColumns {
  if (views == null) return make()
  const { shared } = views
  // An address that was met since has no row yet.
  if (shared.addresses?.flags.length !== registry.addressCount) shared.addresses = make()
  const { flags: plain, node, detectNode } = shared.addresses
  const flags = plain.slice()
  for (const [address, { accepts, isLive }] of views.pods) {
    const id = registry.address(address)
    if (accepts === 'refuses') flags[id]! |= ADDRESS_STOPPED
    if (accepts === 'silent') flags[id]! |= ADDRESS_SILENT
    if (!isLive) flags[id]! &= ~ADDRESS_LIVE
  }
  return { flags, node, detectNode }
}

/** The columns, those that are equal to what came before as the same arrays. */
export function takenOver(before: RuleColumns | null, columns: RuleColumns): RuleColumns {
  if (before === null) return columns
  const taken: Record<string, Int32Array> = { ...columns }
  for (const name of RULE_COLUMNS) if (areEqual(before[name], columns[name])) taken[name] = before[name]
  return taken as unknown as RuleColumns
}

function areEqual(a: Int32Array, b: Int32Array): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
