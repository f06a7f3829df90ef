/** Small clusters for tests, written as short as they can be said; everything left out has the API's default. */
import type { Cluster, ClusterNode, ClusterPod, ClusterService } from '../../src/k8s/cluster.ts'
import type {
  EndpointSlice,
  KubeProxyConfiguration,
  NetworkPolicy,
  Origin,
  Protocol,
  TrafficPolicy,
} from '../../src/k8s/types.ts'

const ORIGIN: Origin = { file: 'test.yaml', document: 1, item: -1 }

export interface EndpointSpec {
  readonly address: string
  readonly node?: string
  readonly ready?: boolean
  readonly serving?: boolean
  readonly terminating?: boolean
}

export interface ServiceSpec {
  readonly name: string
  readonly type?: ClusterService['type']
  readonly clusterIP?: string
  readonly port?: number
  readonly protocol?: Protocol
  readonly targetPort?: number
  readonly nodePort?: number
  readonly balancer?: readonly string[]
  readonly proxyMode?: boolean
  /** With `proxyMode`: the load balancer leaves the source address alone. */
  readonly keepsClient?: boolean
  readonly externalIPs?: readonly string[]
  readonly external?: TrafficPolicy
  readonly internal?: TrafficPolicy
  readonly sourceRanges?: readonly string[]
  readonly affinitySeconds?: number
  readonly healthCheckNodePort?: number
  readonly labels?: Readonly<Record<string, string>>
  readonly headless?: boolean
  readonly endpoints: readonly EndpointSpec[]
}

export interface ClusterSpec {
  /** Node i is `a`, `b`, …, has address 192.168.0.(i + 1) and pods of 10.1.i.0/24. */
  readonly nodes: number
  readonly services: readonly ServiceSpec[]
  /** Pods without a Service: address → node. Endpoints that name a node are pods too. */
  readonly pods?: Readonly<Record<string, string>>
  /** Of those: address → hostPort/containerPort/PROTOCOL, or with a hostIP before them. */
  readonly hostPorts?: Readonly<Record<string, readonly string[]>>
  readonly zones?: readonly string[]
  readonly kubeProxy?: Partial<KubeProxyConfiguration> | null
  readonly serviceCidrsWritten?: boolean
  /** All pods are in namespace default; pod i has the labels of `podLabels[i]`. */
  readonly policies?: readonly NetworkPolicy['spec'][]
  readonly podLabels?: readonly Readonly<Record<string, string>>[]
}

export const NODE_NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] as const

export function nodeOf(name: string, changes: Partial<ClusterNode> = {}): ClusterNode {
  const i = NODE_NAMES.indexOf(name as (typeof NODE_NAMES)[number])
  return {
    name,
    labels: {},
    zone: '',
    addresses: [`192.168.0.${i + 1}`],
    podCidrs: [`10.1.${i}.0/24`],
    cpus: 4,
    ready: true,
    ...changes,
  }
}

export function serviceOf(spec: ServiceSpec): ClusterService {
  const balancer = spec.balancer ?? []
  const keeps = spec.proxyMode && spec.keepsClient ? { keepsClient: true as const } : {}
  return {
    namespace: 'default',
    name: spec.name,
    labels: spec.labels ?? {},
    annotations: {},
    type: spec.type ?? (balancer.length > 0 ? 'LoadBalancer' : spec.nodePort ? 'NodePort' : 'ClusterIP'),
    headless: spec.headless ?? false,
    clusterIPs: spec.headless ? [] : [spec.clusterIP ?? '10.96.0.10'],
    ipFamilies: [spec.clusterIP?.includes(':') ? 'IPv6' : 'IPv4'],
    externalIPs: spec.externalIPs ?? [],
    loadBalancer: balancer.map((ip) => ({ ip, hostname: '', ipMode: spec.proxyMode ? 'Proxy' : 'VIP', ...keeps })),
    sourceRanges: spec.sourceRanges ?? [],
    externalName: '',
    ports: [
      {
        name: '',
        protocol: spec.protocol ?? 'TCP',
        port: spec.port ?? 80,
        targetPort: spec.targetPort ?? spec.port ?? 80,
        nodePort: spec.nodePort ?? 0,
      },
    ],
    selector: null,
    externalTrafficPolicy: spec.external ?? 'Cluster',
    internalTrafficPolicy: spec.internal ?? 'Cluster',
    healthCheckNodePort: spec.healthCheckNodePort ?? 0,
    publishNotReadyAddresses: false,
    affinityTimeoutSeconds: spec.affinitySeconds ?? 0,
    trafficDistribution: '',
    origin: ORIGIN,
  }
}

export function sliceOf(spec: ServiceSpec): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: spec.name, namespace: 'default', labels: { 'kubernetes.io/service-name': spec.name } },
    addressType: spec.endpoints[0]?.address.includes(':') ? 'IPv6' : 'IPv4',
    ports: [{ name: '', port: spec.targetPort ?? spec.port ?? 80, protocol: spec.protocol ?? 'TCP' }],
    endpoints: spec.endpoints.map(({ address, node, ready, serving, terminating }) => ({
      addresses: [address],
      ...(node === undefined ? {} : { nodeName: node }),
      conditions: { ready: ready ?? true, serving: serving ?? ready ?? true, terminating: terminating ?? false },
    })),
    origin: ORIGIN,
  }
}

/** `8088/80/TCP` or `192.168.0.1:8088/80/TCP`. */
function hostPortOf(text: string): ClusterPod['ports'][number] {
  const [, hostIP = '', hostPort, containerPort, protocol] = /^(?:(.+):)?(\d+)\/(\d+)\/(\w+)$/.exec(text)!
  const written = {
    name: '',
    containerPort: Number(containerPort),
    protocol: protocol as 'TCP',
    hostPort: Number(hostPort),
  }
  return hostIP === '' ? written : { ...written, hostIP }
}

export function clusterOf(spec: ClusterSpec): Cluster {
  const pods = Object.entries(spec.pods ?? {}).map(
    ([address, nodeName], i): ClusterPod => ({
      namespace: 'default',
      name: `pod-${i}`,
      labels: spec.podLabels?.[i] ?? {},
      nodeName,
      addresses: [address],
      hostNetwork: false,
      cpuLimit: 0,
      hostname: '',
      subdomain: '',
      dnsPolicy: 'ClusterFirst',
      dnsConfig: {},
      ready: true,
      terminating: false,
      ports: (spec.hostPorts?.[address] ?? []).map(hostPortOf),
      owner: '',
    }),
  )
  return {
    nodes: NODE_NAMES.slice(0, spec.nodes).map((name, i) => nodeOf(name, { zone: spec.zones?.[i] ?? '' })),
    pods,
    services: spec.services.map(serviceOf),
    slices: spec.services.map(sliceOf),
    namespaces: ['default'],
    ...(spec.policies === undefined ? {} : policiesOf(spec.policies)),
    ingresses: [],
    ingressClasses: [],
    kubernetesMinor: null,
    ingressConfigs: [],
    serviceCidrs: ['10.96.0.0/16'],
    serviceCidrsWritten: spec.serviceCidrsWritten ?? false,
    clusterCidrs: ['10.1.0.0/16'],
    kubeProxy: kubeProxyOf(spec.kubeProxy ?? null),
    corefile: null,
    clusterDomain: 'cluster.local',
    derived: [],
    warnings: [],
  }
}

function policiesOf(specs: NonNullable<ClusterSpec['policies']>) {
  return {
    namespaceLabels: { default: { 'kubernetes.io/metadata.name': 'default' } },
    networkPolicies: specs.map(
      (spec, i): NetworkPolicy => ({
        apiVersion: 'networking.k8s.io/v1',
        kind: 'NetworkPolicy',
        metadata: { name: `policy-${i}`, namespace: 'default' },
        spec,
        origin: ORIGIN,
      }),
    ),
  }
}

export function kubeProxyOf(config: Partial<KubeProxyConfiguration> | null): KubeProxyConfiguration | null {
  if (config === null) return null
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    metadata: { name: 'kube-proxy' },
    origin: ORIGIN,
    ...config,
  }
}
