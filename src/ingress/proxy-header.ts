/**
 * Whether the load balancer before a Service puts the PROXY protocol's header in front of connections: by annotation.
 *
 * Source: the annotations that each cloud's controller documents: aws-load-balancer-proxy-protocol, the NLB attribute
 * proxy_protocol_v2.enabled, do-loadbalancer-enable-proxy-protocol, load-balancer.hetzner.cloud/uses-proxyprotocol,
 * loadbalancer.openstack.org/proxy-protocol, linode-loadbalancer-default-proxy-protocol, scw-loadbalancer-proxy-protocol-v2,
 * ovh-loadbalancer-proxy-protocol, vultr-loadbalancer-proxy-protocol, civo's loadbalancer-enable-proxy-protocol.
 */
import type { ClusterService } from '../k8s/cluster.ts'

const NAMED = /proxy-?protocol(-v[12]|-version)?$/i
const OFF = /^(|false|none|no|0|disabled?)$/i
const AWS_ATTRIBUTES = 'service.beta.kubernetes.io/aws-load-balancer-target-group-attributes'
const AWS_SWITCH = /(?:^|,)\s*proxy_protocol_v2\.enabled\s*=\s*(true|false)/

/** null where nothing is said. */
export function sendsProxyHeader({ annotations }: ClusterService): boolean | null {
  const attribute = AWS_SWITCH.exec(annotations[AWS_ATTRIBUTES] ?? '')?.[1]
  const written = Object.entries(annotations).flatMap(([key, value]) =>
    NAMED.test(key) ? [!OFF.test(value.trim())] : [],
  )
  if (attribute !== undefined) written.push(attribute === 'true')
  return written.length === 0 ? null : written.includes(true)
}

/**
 * Whether connections through a load balancer come with the header.
 *
 * @param expected  the proxy expects it: a load balancer of which nothing is said is then taken to send it
 */
export function hasProxyHeader(service: ClusterService | undefined, expected: boolean): boolean {
  return (service === undefined ? null : sendsProxyHeader(service)) ?? expected
}
