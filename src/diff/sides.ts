/**
 * Two clusters compiled with one registry: the same number means the same address, endpoint and node on both sides.
 *
 * What an address counts as is worked out when rules are compiled, so everything that either side knows, and all that will be
 * asked about, is registered before. Cost: two compiles; three where one side registers what nobody could know beforehand.
 */
import { PROTOCOL_NUMBERS } from '../compile/frontends.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { Registry } from '../compile/registry.ts'
import { Directory, type DirectoryNaming, ExplainContext } from '../explain/context.ts'
import type { Cluster, ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { canonicalIp } from '../k8s/ip.ts'

export { PROTOCOL_NUMBERS }

export interface Side {
  readonly cluster: Cluster
  readonly context: ExplainContext
  /** By `namespace/name`. */
  readonly services: ReadonlyMap<string, ClusterService>
  readonly pods: ReadonlyMap<string, ClusterPod>
}

export interface Sides {
  readonly registry: Registry
  readonly old: Side
  readonly new: Side
}

export interface SideOptions {
  readonly naming?: DirectoryNaming
  readonly mode?: ProxyMode | null
}

/** @param asked  addresses that questions will be about, besides those of the clusters */
export function openSides(
  old: Cluster,
  changed: Cluster,
  asked: Iterable<string>,
  { naming = {}, mode = null }: SideOptions = {},
): Sides {
  const registry = new Registry()
  for (const cluster of [old, changed]) registerAll(cluster, registry)
  for (const address of asked) registry.address(address)
  const open = (cluster: Cluster): ExplainContext => new ExplainContext(new Directory(cluster, naming, mode), registry)
  let first = open(old)
  const second = open(changed)
  if (registry.addressCount > first.rules.addressFlags.length) first = open(old)
  return { registry, old: sideOf(old, first), new: sideOf(changed, second) }
}

function sideOf(cluster: Cluster, context: ExplainContext): Side {
  return {
    cluster,
    context,
    services: context.directory.services,
    pods: new Map(cluster.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod])),
  }
}

function registerAll({ nodes, pods, services, slices }: Cluster, registry: Registry): void {
  const add = (text: string): void => {
    const address = canonicalIp(text)
    if (address !== null) registry.address(address)
  }
  for (const node of nodes) {
    registry.node(node.name)
    for (const address of node.addresses) add(address)
  }
  for (const { addresses } of pods) for (const address of addresses) add(address)
  for (const { clusterIPs, externalIPs, loadBalancer } of services) {
    for (const address of clusterIPs) add(address)
    for (const address of externalIPs) add(address)
    for (const { ip } of loadBalancer) add(ip)
  }
  for (const { endpoints = [] } of slices) for (const { addresses } of endpoints) for (const one of addresses) add(one)
}
