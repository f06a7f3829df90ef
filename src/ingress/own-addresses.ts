/**
 * The addresses of the cloud load balancers that Ingresses have: as their status says, else derived.
 *
 * Invariants: a derived address is a hash of the Ingress's name, from the blocks that derived addresses of LoadBalancer
 *             Services are from, and one that nothing else in the cluster has; so another Ingress does not change it
 *             (unless the two hash to one place).
 * Cost: one pass over everything in the cluster that has an address.
 */
import { AddressPool, LOAD_BALANCER_CIDRS } from '../k8s/addresses.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { stableHash } from '../k8s/hash.ts'
import { canonicalIp, ipFamily } from '../k8s/ip.ts'
import type { Ingress, IpFamily } from '../k8s/types.ts'
import { groupByController, namespaceOf } from './classes.ts'
import { readIngress } from './read-ingress.ts'

export interface OwnAddress {
  readonly address: string
  /** What was filled in, in a sentence; null for an address of the status. */
  readonly assumed: string | null
}

/**
 * @param family  that the address is of where the status does not decide
 * @returns by `namespace/name`: the address of each Ingress's own load balancer
 */
export function loadBalancerAddresses(cluster: Cluster, family: IpFamily): ReadonlyMap<string, OwnAddress> {
  const used = addressesIn(cluster)
  const written = new Map(cluster.ingresses.map((ingress) => [nameOf(ingress), statusAddresses(ingress)]))
  const found = new Map<string, OwnAddress>()
  for (const [name, addresses] of written) {
    // What a Service or node has is where a proxy is reached: it is no address of a load balancer for HTTP.
    const own = addresses.filter((address) => !used.has(address))
    const address = own.find((one) => ipFamily(one) === family) ?? own[0]
    if (address !== undefined) found.set(name, { address, assumed: null })
  }
  const shared = sharedBalancers(cluster)
  for (const [name, key] of shared) {
    const own = found.get(name)
    if (own !== undefined) for (const [other, of] of shared) if (of === key && !found.has(other)) found.set(other, own)
  }
  for (const { address } of found.values()) used.add(address)
  const pools = LOAD_BALANCER_CIDRS[family].map((cidr) => new AddressPool(cidr, used, 1))
  // In order of names, so that the order of the files decides nothing.
  for (const name of [...written.keys()].sort()) {
    if (found.has(name)) continue
    const leader = [...shared].find(([other, key]) => key === shared.get(name) && found.has(other))
    if (leader !== undefined) {
      found.set(name, found.get(leader[0])!)
      continue
    }
    const hash = stableHash(`Ingress ${name}`)
    let address: string | null = null
    for (const pool of pools) address ??= pool.takeAt(hash)
    if (address === null) continue
    const why =
      written.get(name)!.length > 0
        ? 'the one in its status belongs to something else in the cluster'
        : 'its status has none'
    found.set(name, {
      address,
      assumed: `the load balancer of Ingress ${name} is given the address ${address}; ${why}`,
    })
  }
  return found
}

/** By `namespace/name` of those that share a load balancer with another: what they share. */
function sharedBalancers(cluster: Cluster): Map<string, string> {
  const groups = groupByController(cluster).groups.filter(
    ({ preset, ingresses }) => preset === 'alb' && ingresses.length > 1,
  )
  return new Map(groups.flatMap(({ text, ingresses }) => ingresses.map((ingress) => [nameOf(ingress), text] as const)))
}

/** Every address that something of the cluster has but an Ingress. */
function addressesIn(cluster: Cluster): Set<string> {
  return new Set([
    ...cluster.nodes.flatMap((node) => node.addresses),
    ...cluster.pods.flatMap((pod) => pod.addresses),
    ...cluster.slices.flatMap((slice) => slice.endpoints.flatMap((endpoint) => endpoint.addresses)),
    ...cluster.services.flatMap((service) => [
      ...service.clusterIPs,
      ...service.externalIPs,
      ...service.loadBalancer.map(({ ip }) => ip),
    ]),
  ])
}

/** Host names are left out: nobody can say where they lead. */
function statusAddresses(ingress: Ingress): string[] {
  return readIngress(ingress, () => undefined).addresses.flatMap((address) => canonicalIp(address) ?? [])
}

function nameOf(ingress: Ingress): string {
  return `${namespaceOf(ingress)}/${ingress.metadata.name}`
}
