/** Clusters for the rows: a few words in, the `Cluster` that a derived set of manifests would give out. */
import type { Cluster, ClusterService } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import type { ConfigMap, EndpointSlice, Ingress, IngressClass, Origin } from '../../src/k8s/types.ts'

const origin: Origin = { file: 'test', document: 1, item: -1 }

/** As far as routing reads a cluster. */
export interface Objects {
  ingresses?: readonly Ingress[]
  ingressClasses?: readonly IngressClass[]
  services?: readonly ClusterService[]
  slices?: readonly EndpointSlice[]
  ingressConfigs?: readonly ConfigMap[]
}

export function clusterOf(objects: Objects): Cluster {
  return {
    nodes: [],
    pods: [],
    services: objects.services ?? [],
    slices: objects.slices ?? [],
    namespaces: [],
    ingresses: objects.ingresses ?? [],
    ingressClasses: objects.ingressClasses ?? [],
    kubernetesMinor: null,
    ingressConfigs: objects.ingressConfigs ?? [],
    serviceCidrs: [],
    serviceCidrsWritten: false,
    clusterCidrs: [],
    kubeProxy: null,
    corefile: null,
    clusterDomain: 'cluster.local',
    derived: [],
    warnings: [],
  }
}

/** A Service on TCP 80 → 8080 unless told otherwise, with one ready endpoint (or none, or several). */
export function service(
  name: string,
  options: Partial<ClusterService> & { endpoints?: number } = {},
): { service: ClusterService; slice: EndpointSlice } {
  const [namespace, short] = name.includes('/') ? (name.split('/') as [string, string]) : ['default', name]
  const { endpoints = 1, ...given } = options
  const made: ClusterService = {
    namespace,
    name: short,
    labels: {},
    annotations: {},
    type: 'ClusterIP',
    headless: false,
    clusterIPs: ['10.96.0.10'],
    ipFamilies: ['IPv4'],
    externalIPs: [],
    loadBalancer: [],
    sourceRanges: [],
    externalName: '',
    ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 0 }],
    selector: null,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    healthCheckNodePort: 0,
    publishNotReadyAddresses: false,
    affinityTimeoutSeconds: 0,
    trafficDistribution: '',
    origin,
    ...given,
  }
  return {
    service: made,
    slice: {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `${short}-1`, namespace, labels: { 'kubernetes.io/service-name': short } },
      origin,
      addressType: 'IPv4',
      ports: made.ports.map((port) => ({
        name: port.name,
        port: typeof port.targetPort === 'number' ? port.targetPort : 8080,
        protocol: port.protocol,
      })),
      endpoints: Array.from({ length: endpoints }, (_, i) => ({
        addresses: [`10.244.0.${i + 1}`],
        conditions: { ready: true },
      })),
    },
  }
}

export function ingressClass(name: string, controller: string, annotations: Record<string, string> = {}): IngressClass {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: { name, annotations },
    spec: { controller },
    origin,
  }
}

export const DEFAULT: Record<string, string> = { 'ingressclass.kubernetes.io/is-default-class': 'true' }
export const generic: IngressClass = ingressClass('web', 'example.com/ingress-controller', DEFAULT)
export const nginx: IngressClass = ingressClass('nginx', 'k8s.io/ingress-nginx', DEFAULT)

/** `host path type service[:port]`, host `-` for none, path `-` for none. */
export function ingress(
  name: string,
  rules: readonly string[],
  more: { annotations?: Record<string, string>; spec?: Partial<Ingress['spec']>; metadata?: object } = {},
): Ingress {
  const [namespace, short] = name.includes('/') ? (name.split('/') as [string, string]) : ['default', name]
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: {
      name: short,
      namespace,
      ...(more.annotations ? { annotations: more.annotations } : {}),
      ...more.metadata,
    },
    origin,
    spec: {
      rules: rules.map((line) => {
        const [host, path, pathType, backend] = line.split(' ') as [string, string, 'Prefix', string]
        return {
          ...(host === '-' ? {} : { host }),
          http: { paths: [{ ...(path === '-' ? {} : { path }), pathType, backend: backendOf(backend) }] },
        }
      }),
      ...more.spec,
    },
  }
}

export function backendOf(text: string): { service: { name: string; port: { number?: number; name?: string } } } {
  const [name, port = '80'] = text.split(':') as [string, string?]
  return { service: { name, port: /^\d+$/.test(port) ? { number: Number(port) } : { name: port } } }
}

/** A cluster of these Ingresses under one class, with these Services and no others. */
export function clusterWith(
  theClass: IngressClass,
  ingresses: readonly Ingress[],
  made: readonly { service: ClusterService; slice: EndpointSlice }[] = [],
): Cluster {
  return clusterOf({
    ingresses,
    ingressClasses: [theClass],
    services: made.map((each) => each.service),
    slices: made.map((each) => each.slice),
  })
}

/** What the loader makes of manifests, as a user would pass them: everything a cluster would fill in is filled in. */
export function clusterFromText(name: string, text: string): Cluster {
  return deriveCluster(parseManifests([{ name, text }]).objects)
}
