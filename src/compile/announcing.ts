/**
 * Which nodes answer for a load-balancer address that MetalLB or kube-vip announces.
 *
 * MetalLB announces nothing while no endpoint of the Service can serve. Under Local only nodes with such an endpoint count. In
 * layer 2 mode one node answers: the first by the SHA-256 of `node#address`; with BGP all are next hops for the routers.
 * Source: metallb/metallb speaker/layer2_controller.go and speaker/bgp_controller.go.
 */
import { createHash } from 'node:crypto'
import type { Announced } from '../k8s/cluster.ts'
import type { ProxyEndpoint } from './usable.ts'

/**
 * @param ready  names of nodes that are ready and not excluded from external load balancers
 * @returns names of nodes, in the order of `ready`; empty where nobody answers
 */
export function announcingNodes(
  announced: Announced,
  address: string,
  local: boolean,
  endpoints: readonly ProxyEndpoint[],
  ready: readonly string[],
): string[] {
  const eligible = ready.filter((name) => announced.nodes.includes(name))
  // Its lease is held whether there are endpoints or not.
  if (announced.way === 'kube-vip') return eligible
  const serving = new Set(endpoints.filter((one) => one.ready || one.serving).map(({ nodeName }) => nodeName))
  if (serving.size === 0) return []
  const candidates = local ? eligible.filter((name) => serving.has(name)) : eligible
  return announced.way === 'BGP' ? candidates : firstByHash(candidates, address)
}

function firstByHash(names: readonly string[], address: string): string[] {
  const hashed = names.map((name) => ({ name, hash: createHash('sha256').update(`${name}#${address}`).digest('hex') }))
  return hashed
    .sort((a, b) => (a.hash < b.hash ? -1 : 1))
    .slice(0, 1)
    .map(({ name }) => name)
}
