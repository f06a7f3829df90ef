/** Clusters for DNS tests, made of plain objects as they stand in manifests. */
import { createDnsServer, type DnsServer } from '../../src/dns/zone.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'

/** A manifest's object; the loader checks what it holds. */
export type Manifest = Record<string, unknown>

export function clusterOf(objects: readonly Manifest[]): Cluster {
  const text = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })
  return deriveCluster(parseManifests([{ name: 'objects.json', text }]).objects)
}

/** The server of the objects, by a Corefile with these lines in its kubernetes block, or kubeadm's without any. */
export function serverOf(
  objects: readonly Manifest[],
  options?: readonly string[],
  zones = 'cluster.local in-addr.arpa ip6.arpa',
): DnsServer {
  return createDnsServer(
    clusterOf(options === undefined ? objects : [...objects, coredns(kubernetesBlock(options, zones))]),
  )
}

export function kubernetesBlock(options: readonly string[], zones = 'cluster.local in-addr.arpa ip6.arpa'): string {
  return `.:53 {\n  kubernetes ${zones} {\n${options.map((line) => `    ${line}\n`).join('')}  }\n  forward . /etc/resolv.conf\n}\n`
}

export function coredns(corefile: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'coredns', namespace: 'kube-system' },
    data: { Corefile: corefile },
  }
}

export function service(name: string, spec: Manifest, namespace = 'default'): Manifest {
  return { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace }, spec }
}

export function slice(
  serviceName: string,
  endpoints: readonly (string | Manifest)[],
  extra: Manifest = {},
  namespace = 'default',
): Manifest {
  const written = endpoints.map((endpoint) => (typeof endpoint === 'string' ? { addresses: [endpoint] } : endpoint))
  const first = (written[0] as { addresses?: string[] } | undefined)?.addresses?.[0] ?? ''
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${serviceName}-${first.replace(/[.:]+/g, '-')}x`,
      namespace,
      labels: { 'kubernetes.io/service-name': serviceName },
    },
    addressType: first.includes(':') ? 'IPv6' : 'IPv4',
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
    endpoints: written,
    ...extra,
  }
}

/** Records as one text each, sorted: sections are sets. */
export function texts(records: readonly { name: string; ttl: number; type: string; data: string }[]): string[] {
  return records.map(({ name, ttl, type, data }) => `${name} ${ttl} ${type} ${data}`).sort()
}
