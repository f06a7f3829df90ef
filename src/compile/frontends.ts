/**
 * Every address and port that a client may dial, as kube-proxy makes rules for them.
 *
 * Headless and ExternalName Services make none, nor do those labelled `service.kubernetes.io/service-proxy-name` or
 * `service.kubernetes.io/headless`. The unit is the service port of one IP family. Source: pkg/proxy/serviceport.go.
 */

import type { Announced, ClusterService, ClusterServicePort } from '../k8s/cluster.ts'
import { ipFamily } from '../k8s/ip.ts'
import type { TrafficPolicy } from '../k8s/types.ts'
import { isExternallyReachable } from './usable.ts'

export const PROTOCOL_NUMBERS = { TCP: 6, UDP: 17, SCTP: 132 } as const

const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name'
const HEADLESS_LABEL = 'service.kubernetes.io/headless'

export type FrontendKind =
  | 'clusterIP'
  | 'nodePort'
  | 'loadBalancerIP'
  | 'externalIP'
  | 'healthCheckNodePort'
  | 'loadBalancerProxy'
  | 'hostPort'

export interface Frontend {
  readonly kind: FrontendKind
  /** Canonical, or null for the node port of every serving node address. */
  readonly address: string | null
  readonly port: number
  readonly protocol: number
  /** Of a `loadBalancerProxy`: node ports see the client's own address. */
  readonly keepsClient?: true
  readonly announced?: Announced
}

/** One service port and family, with the frontends that lead to it. */
export interface ProxyService {
  readonly service: ClusterService
  readonly port: ClusterServicePort
  readonly family: 'IPv4' | 'IPv6'
  readonly externalLocal: boolean
  readonly internalLocal: boolean
  /** Node port, load-balancer VIP or external IP present. */
  readonly externallyAccessible: boolean
  readonly frontends: readonly Frontend[]
}

/** Whether kube-proxy looks at the Service at all. */
export function isProxied(service: ClusterService): boolean {
  return (
    !service.headless &&
    service.type !== 'ExternalName' &&
    !(PROXY_NAME_LABEL in service.labels) &&
    !(HEADLESS_LABEL in service.labels)
  )
}

/** @param policy replaces externalTrafficPolicy of externally reachable Services; null leaves it as written */
export function proxyServices(services: readonly ClusterService[], policy: TrafficPolicy | null): ProxyService[] {
  const list: ProxyService[] = []
  for (const service of services) {
    if (!isProxied(service)) continue
    const wanted = policy !== null && isExternallyReachable(service) ? policy : service.externalTrafficPolicy
    for (const family of ['IPv4', 'IPv6'] as const) {
      const clusterIPs = service.clusterIPs.filter((ip) => ipFamily(ip) === family)
      if (clusterIPs.length === 0) continue
      for (const port of service.ports) list.push(proxyService(service, port, family, clusterIPs, wanted))
    }
  }
  return list
}

function proxyService(
  service: ClusterService,
  port: ClusterServicePort,
  family: 'IPv4' | 'IPv6',
  clusterIPs: readonly string[],
  policy: TrafficPolicy,
): ProxyService {
  const protocol = PROTOCOL_NUMBERS[port.protocol]
  const frontends: Frontend[] = []
  const add = (kind: FrontendKind, address: string | null, number: number): void => {
    frontends.push({ kind, address, port: number, protocol })
  }
  for (const ip of clusterIPs) add('clusterIP', ip, port.port)
  const externalLocal = policy === 'Local' && isExternallyReachable(service)
  let accessible = port.nodePort > 0
  for (const ip of service.externalIPs) {
    if (ipFamily(ip) !== family) continue
    add('externalIP', ip, port.port)
    accessible = true
  }
  for (const { ip, ipMode, keepsClient, announced } of service.type === 'LoadBalancer' ? service.loadBalancer : []) {
    if (ip === '' || ipFamily(ip) !== family) continue
    if (announced) frontends.push({ kind: 'loadBalancerIP', address: ip, port: port.port, protocol, announced })
    else if (keepsClient)
      frontends.push({ kind: 'loadBalancerProxy', address: ip, port: port.port, protocol, keepsClient })
    else add(ipMode === 'Proxy' ? 'loadBalancerProxy' : 'loadBalancerIP', ip, port.port)
    if (ipMode !== 'Proxy') accessible = true
  }
  if (port.nodePort > 0) add('nodePort', null, port.nodePort)
  if (service.type === 'LoadBalancer' && externalLocal && service.healthCheckNodePort > 0) {
    frontends.push({
      kind: 'healthCheckNodePort',
      address: null,
      port: service.healthCheckNodePort,
      protocol: PROTOCOL_NUMBERS.TCP,
    })
  }
  return {
    service,
    port,
    family,
    externalLocal,
    internalLocal: service.internalTrafficPolicy === 'Local',
    externallyAccessible: accessible,
    frontends,
  }
}
