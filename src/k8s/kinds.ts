/**
 * The kinds that are read: their apiVersion, whether they live in a namespace, and a reader for each.
 *
 * What is refused here the API server refuses too; what kube-proxy accepts is never refused (node ports outside the
 * usual range, addresses with leading zeros, an ExternalName Service with a clusterIP).
 * Source: the API reference and the validation of kubernetes/kubernetes pkg/apis/{core,discovery,apps,networking}.
 */
import { parseRange } from './announce.ts'
import { specialRange } from './ip.ts'
import { containerLifecycle, countOrPercent, updateSettings } from './lifecycle.ts'
import { networkPolicy } from './network-policy.ts'
import {
  at,
  boolean,
  cidr,
  clusterIp,
  FieldProblem,
  integer,
  ip,
  isMap,
  labels,
  list,
  mapOf,
  object,
  oneOf,
  oneOfOrEmpty,
  port,
  portOrName,
  portOrNone,
  type Reader,
  string,
  wrong,
} from './schema.ts'
import type {
  Advertisement,
  Affinity,
  CalicoPool,
  ConfigMap,
  Container,
  ContainerPort,
  DnsConfig,
  Endpoint,
  EndpointAddress,
  EndpointSlice,
  Endpoints,
  HorizontalPodAutoscaler,
  Ingress,
  IngressBackend,
  IngressClass,
  IngressPath,
  IpAddressPool,
  KubeObject,
  KubeProxyConfiguration,
  LabelSelector,
  LoadBalancerIngress,
  Middleware,
  Namespace,
  NodeObject,
  NodeSelectorRequirement,
  NodeSelectorTerm,
  ObjectMeta,
  Origin,
  Pod,
  PodAffinity,
  PodAffinityTerm,
  PodDisruptionBudget,
  PodSpec,
  PodTemplate,
  Service,
  ServiceCidr,
  ServicePort,
  ServiceSpec,
  SpreadConstraint,
  Workload,
} from './types.ts'

/** What is left of an object when apiVersion, kind, metadata and origin, which all have, are taken away. */
type Body<T> = Omit<T, 'apiVersion' | 'kind' | 'metadata' | 'origin'>

export interface KindDefinition {
  readonly apiVersions: readonly string[]
  readonly namespaced: boolean
  readonly body: Reader<object>
}

const count = integer(0, Number.MAX_SAFE_INTEGER)
const anyNumber: Reader<number | string> = (value) =>
  typeof value === 'number' || typeof value === 'string' ? value : wrong(value, 'a quantity')
const protocol = oneOfOrEmpty('TCP', 'UDP', 'SCTP')
const family = oneOf('IPv4', 'IPv6')
const trafficPolicy = oneOfOrEmpty('Cluster', 'Local')
const name: Reader<string> = (value) => (value === '' ? wrong(value, 'a name') : string(value))
const anything: Reader<unknown> = (value) => value
const targetRef = object<{ kind?: string; name?: string; namespace?: string }>({
  kind: string,
  name: string,
  namespace: string,
})

const metadata = object<ObjectMeta>(
  {
    name,
    namespace: string,
    labels,
    annotations: labels,
    creationTimestamp: string,
    deletionTimestamp: string,
    ownerReferences: list(object({ kind: string, name: string, controller: boolean }, ['kind', 'name'])),
  },
  ['name'],
)

const loadBalancerStatus = object<{ loadBalancer?: { ingress?: LoadBalancerIngress[] } }>({
  loadBalancer: object({
    ingress: list(
      object<LoadBalancerIngress>({
        ip: (value) => (value === '' ? undefined : ip(value)),
        hostname: string,
        ipMode: oneOfOrEmpty('VIP', 'Proxy'),
      }),
    ),
  }),
})

const servicePort = object<ServicePort>(
  {
    name: string,
    protocol,
    port,
    // 0 is what Go prints for a targetPort that was never set.
    targetPort: (value) => (value === 0 || value === '' ? undefined : portOrName(value)),
    nodePort: portOrNone,
    appProtocol: string,
  },
  ['port'],
)

const serviceSpecFields = object<ServiceSpec>({
  type: oneOfOrEmpty('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
  selector: labels,
  ports: list(servicePort),
  clusterIP: clusterIp,
  clusterIPs: list(clusterIp),
  ipFamilies: list(family),
  ipFamilyPolicy: oneOfOrEmpty('SingleStack', 'PreferDualStack', 'RequireDualStack'),
  externalIPs: list(ip),
  externalName: string,
  loadBalancerIP: (value) => (value === '' ? undefined : ip(value)),
  loadBalancerClass: string,
  loadBalancerSourceRanges: list(cidr),
  allocateLoadBalancerNodePorts: boolean,
  externalTrafficPolicy: trafficPolicy,
  internalTrafficPolicy: trafficPolicy,
  healthCheckNodePort: portOrNone,
  publishNotReadyAddresses: boolean,
  sessionAffinity: oneOfOrEmpty('None', 'ClientIP'),
  sessionAffinityConfig: object({ clientIP: object({ timeoutSeconds: integer(1, 86400) }) }),
  trafficDistribution: string,
})

const serviceSpec: Reader<ServiceSpec> = (value) => {
  const spec = serviceSpecFields(value)
  if (spec.ports !== undefined) refuseDuplicatePorts(spec.ports)
  return spec
}

function refuseDuplicatePorts(ports: readonly ServicePort[]): void {
  const numbers = new Set<string>()
  const names = new Set<string>()
  for (const [index, { port, protocol = 'TCP', name = '' }] of ports.entries()) {
    const number = `${port}/${protocol}`
    if (numbers.has(number)) throw duplicate(index, `port ${number} again`, 'each port and protocol once')
    if (names.has(name)) {
      throw name === ''
        ? duplicate(index, 'a second port without a name', 'a name for every port of a Service that has several')
        : duplicate(index, `port name ${JSON.stringify(name)} again`, 'each port name once')
    }
    numbers.add(number)
    names.add(name)
  }
}

function duplicate(index: number, found: string, expected: string): FieldProblem {
  const problem = new FieldProblem(found, expected)
  problem.path.push(index, 'ports')
  return problem
}

const service = object<Body<Service>>({ spec: serviceSpec, status: loadBalancerStatus }, ['spec'])

/** Source: ValidateNonSpecialIP in pkg/apis/core/validation: the API server refuses the whole object. */
const endpointIp: Reader<string> = (value) => {
  const address = ip(value)
  const kind = specialRange(address)
  if (kind === null) return address
  throw new FieldProblem(`${kind} address ${address}`, 'an address that other machines can reach')
}

const endpointAddress = object<EndpointAddress>({ ip: endpointIp, hostname: string, nodeName: string, targetRef }, [
  'ip',
])
const endpoints = object<Body<Endpoints>>({
  subsets: list(
    object({
      addresses: list(endpointAddress),
      notReadyAddresses: list(endpointAddress),
      ports: list(object({ name: string, port, protocol, appProtocol: string }, ['port'])),
    }),
  ),
})

const namedList = list(object({ name: string }, ['name']))
const endpointOf = (address: Reader<string>): Reader<Endpoint> =>
  object<Endpoint>(
    {
      addresses: list(address),
      conditions: object({ ready: boolean, serving: boolean, terminating: boolean }),
      hostname: string,
      nodeName: string,
      zone: string,
      hints: object({ forZones: namedList, forNodes: namedList }),
      targetRef,
    },
    ['addresses'],
  )
const sliceOf = (address: Reader<string>): Reader<Body<EndpointSlice>> =>
  object<Body<EndpointSlice>>(
    {
      addressType: oneOf('IPv4', 'IPv6', 'FQDN'),
      endpoints: list(endpointOf(address)),
      ports: list(object({ name: string, port: portOrNone, protocol, appProtocol: string })),
    },
    ['addressType'],
  )
const ipSlice = sliceOf(endpointIp)
const nameSlice = sliceOf(string)
const endpointSlice: Reader<Body<EndpointSlice>> = (value) => {
  const slice = isMap(value) && value['addressType'] === 'FQDN' ? nameSlice(value) : ipSlice(value)
  // kubectl prints `endpoints: null` for a slice without any; one without addresses is passed over by kube-proxy.
  slice.endpoints = (slice.endpoints ?? []).filter(({ addresses }) => addresses.length > 0)
  return slice
}

const conditions = list(object({ type: string, status: string }, ['type', 'status']))

const node = object<Body<NodeObject>>({
  spec: object({
    podCIDR: (value) => (value === '' ? undefined : cidr(value)),
    podCIDRs: list(cidr),
    providerID: string,
    unschedulable: boolean,
    taints: list(object({ key: string, effect: string, value: string }, ['key', 'effect'])),
  }),
  status: object({
    addresses: list(nodeAddress),
    capacity: mapOf(anyNumber),
    allocatable: mapOf(anyNumber),
    conditions,
    nodeInfo: object({ kubeletVersion: string }),
  }),
})

/** Addresses of type Hostname and InternalDNS are names; the others are IP addresses. */
function nodeAddress(value: unknown): { type: string; address: string } {
  const read = object({ type: string, address: string }, ['type', 'address'])(value)
  if (read.type === 'InternalIP' || read.type === 'ExternalIP') read.address = at('address', read.address, ip)
  return read
}

const containerPort = object<ContainerPort>(
  {
    ...{ name: string, containerPort: port, protocol, hostPort: portOrNone },
    hostIP: (value) => (value === '' ? undefined : ip(value)),
  },
  ['containerPort'],
)
const requirements = list(
  object<NodeSelectorRequirement>({ key: string, operator: string, values: list(string) }, ['key', 'operator']),
)
const labelSelector = object<LabelSelector>({
  matchLabels: labels,
  matchExpressions: list(
    object({ key: string, operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist'), values: list(string) }, [
      'key',
      'operator',
    ]),
  ),
})
const podAffinityTerm = object<PodAffinityTerm>({
  labelSelector,
  topologyKey: string,
  namespaces: list(string),
  namespaceSelector: labelSelector,
})
const others = object<PodAffinity>({
  requiredDuringSchedulingIgnoredDuringExecution: list(podAffinityTerm),
  preferredDuringSchedulingIgnoredDuringExecution: list(object({ weight: count, podAffinityTerm })),
})
const nodeSelectorTerm = object<NodeSelectorTerm>({ matchExpressions: requirements, matchFields: requirements })

const resources = object({ limits: mapOf(anyNumber), requests: mapOf(anyNumber) })
const podSpec = object<PodSpec>({
  nodeName: string,
  hostname: string,
  subdomain: string,
  hostNetwork: boolean,
  dnsPolicy: oneOfOrEmpty('ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'),
  dnsConfig: object<DnsConfig>({
    nameservers: list(string),
    searches: list(string),
    options: list(object({ name: string, value: string })),
  }),
  hostAliases: list(object({ ip: string, hostnames: list(string) })),
  nodeSelector: labels,
  containers: list(
    object<Container>({
      ...{ name: string, ports: list(containerPort), args: list(string), image: string, resources },
      ...containerLifecycle,
    }),
  ),
  initContainers: list(
    object({
      ...{ name: string, ports: list(containerPort), restartPolicy: string, resources },
      ...containerLifecycle,
    }),
  ),
  terminationGracePeriodSeconds: count,
  tolerations: list(object({ key: string, operator: string, value: string, effect: string })),
  affinity: object<Affinity>({
    nodeAffinity: object({
      requiredDuringSchedulingIgnoredDuringExecution: object({
        nodeSelectorTerms: list(nodeSelectorTerm),
      }),
      preferredDuringSchedulingIgnoredDuringExecution: list(object({ weight: count, preference: nodeSelectorTerm })),
    }),
    podAffinity: others,
    podAntiAffinity: others,
  }),
  topologySpreadConstraints: list(
    object<SpreadConstraint>({
      ...{ topologyKey: string, whenUnsatisfiable: string, maxSkew: count, minDomains: count },
      labelSelector,
    }),
  ),
})

const podIp: Reader<string | undefined> = (value) => (value === '' ? undefined : ip(value))
const pod = object<Body<Pod>>(
  {
    spec: podSpec,
    status: object({
      podIP: podIp,
      podIPs: list(object({ ip }, ['ip'])),
      hostIP: podIp,
      phase: string,
      conditions,
    }),
  },
  ['spec'],
)

const podTemplate = object<PodTemplate>({ metadata: object({ labels, annotations: labels }), spec: podSpec }, ['spec'])
const workload = object<Body<Workload>>(
  {
    spec: object(
      {
        replicas: count,
        serviceName: string,
        selector: labelSelector,
        template: podTemplate,
        ordinals: object({ start: count }),
        parallelism: count,
        completions: count,
        completionMode: oneOfOrEmpty('NonIndexed', 'Indexed'),
        suspend: boolean,
        ...updateSettings,
      },
      ['template'],
    ),
    status: object({ succeeded: count, conditions }),
  },
  ['spec'],
)

const ingressBackend = object<IngressBackend>({
  service: object({ name, port: object({ number: portOrNone, name: string }) }, ['name']),
  resource: object({ apiGroup: string, kind: string, name: string }, ['kind', 'name']),
})
const ingressPath = object<IngressPath>(
  { path: string, pathType: oneOf('Exact', 'Prefix', 'ImplementationSpecific'), backend: ingressBackend },
  ['pathType', 'backend'],
)
const ingress = object<Body<Ingress>>(
  {
    spec: object({
      ingressClassName: string,
      defaultBackend: ingressBackend,
      tls: list(object({ hosts: list(string), secretName: string })),
      rules: list(
        object({ host: string, http: object<{ paths: IngressPath[] }>({ paths: list(ingressPath) }, ['paths']) }),
      ),
    }),
    status: loadBalancerStatus,
  },
  ['spec'],
)

/** One or two blocks with a comma between, as the --cluster-cidr flag takes them. */
const cidrs: Reader<string | undefined> = (value) => {
  const text = string(value)
  return text.trim() === '' ? undefined : text.split(',').map(cidr).join(',')
}

/** Words beside CIDR blocks: `primary` alone, and any of them in a list from Kubernetes 1.37 on. */
const NODE_PORT_KEYWORDS: ReadonlySet<unknown> = new Set(['primary', 'localhost', 'all'])

const syncPeriods = { minSyncPeriod: string, syncPeriod: string } as const
const kubeProxy = object<Body<KubeProxyConfiguration>>({
  mode: oneOfOrEmpty('iptables', 'ipvs', 'nftables', 'kernelspace'),
  clusterCIDR: cidrs,
  detectLocalMode: oneOfOrEmpty('ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'),
  hostnameOverride: string,
  nodePortAddresses: list((value) => (NODE_PORT_KEYWORDS.has(value) ? (value as string) : cidr(value))),
  featureGates: mapOf(boolean),
  iptables: object({ ...syncPeriods, masqueradeAll: boolean, localhostNodePorts: boolean }),
  ipvs: object({
    ...syncPeriods,
    ...{ scheduler: string, masqueradeAll: boolean },
    ...{ tcpTimeout: string, tcpFinTimeout: string, udpTimeout: string },
  }),
  nftables: object({ ...syncPeriods, masqueradeAll: boolean }),
  conntrack: object({
    maxPerCore: count,
    min: count,
    tcpEstablishedTimeout: string,
    tcpCloseWaitTimeout: string,
    tcpBeLiberal: boolean,
    udpTimeout: string,
    udpStreamTimeout: string,
  }),
})

const addressRange: Reader<string> = (value) =>
  typeof value === 'string' && parseRange(value) !== null ? value : wrong(value, 'a CIDR block or FIRST-LAST')
const advertisement = {
  apiVersions: ['metallb.io/v1beta1'],
  namespaced: true,
  body: object<Body<Advertisement>>({
    spec: object({
      ipAddressPools: list(string),
      ipAddressPoolSelectors: list(labelSelector),
      nodeSelectors: list(labelSelector),
    }),
  }),
} as const

const autoscaler = object<Body<HorizontalPodAutoscaler>>(
  {
    spec: object(
      {
        scaleTargetRef: object({ kind: string, name: string }, ['kind', 'name']),
        minReplicas: count,
        maxReplicas: count,
      },
      ['scaleTargetRef'],
    ),
    status: object({ desiredReplicas: count }),
  },
  ['spec'],
)
/** As a ReplicaSet, but its selector is a map of labels. */
const replicationController: Reader<object> = (value) => {
  const { spec } = value as { spec?: { selector?: unknown } }
  if (spec?.selector === undefined || spec.selector === null) return workload(value)
  // As a trace holds it, which was read before.
  if (isMap(spec.selector) && isMap(spec.selector['matchLabels'])) return workload(value)
  return workload({ ...(value as object), spec: { ...spec, selector: { matchLabels: spec.selector } } })
}
const apps = { apiVersions: ['apps/v1'], namespaced: true, body: workload } as const
const definitions: Readonly<Record<KubeObject['kind'], KindDefinition>> = {
  Service: { apiVersions: ['v1'], namespaced: true, body: service },
  Endpoints: { apiVersions: ['v1'], namespaced: true, body: endpoints },
  EndpointSlice: { apiVersions: ['discovery.k8s.io/v1'], namespaced: true, body: endpointSlice },
  Node: { apiVersions: ['v1'], namespaced: false, body: node },
  Pod: { apiVersions: ['v1'], namespaced: true, body: pod },
  Namespace: { apiVersions: ['v1'], namespaced: false, body: object<Body<Namespace>>({}) },
  Deployment: apps,
  ReplicaSet: apps,
  StatefulSet: apps,
  DaemonSet: apps,
  Job: { apiVersions: ['batch/v1'], namespaced: true, body: workload },
  ReplicationController: { apiVersions: ['v1'], namespaced: true, body: replicationController },
  HorizontalPodAutoscaler: {
    apiVersions: ['autoscaling/v2', 'autoscaling/v1', 'autoscaling/v2beta2', 'autoscaling/v2beta1'],
    namespaced: true,
    body: autoscaler,
  },
  PodDisruptionBudget: {
    apiVersions: ['policy/v1', 'policy/v1beta1'],
    namespaced: true,
    body: object<Body<PodDisruptionBudget>>({
      spec: object({ selector: labelSelector, minAvailable: countOrPercent, maxUnavailable: countOrPercent }),
    }),
  },
  Ingress: { apiVersions: ['networking.k8s.io/v1'], namespaced: true, body: ingress },
  IngressClass: {
    apiVersions: ['networking.k8s.io/v1'],
    namespaced: false,
    body: object<Body<IngressClass>>({ spec: object({ controller: string, parameters: anything }) }),
  },
  Middleware: {
    apiVersions: ['traefik.io/v1alpha1', 'traefik.containo.us/v1alpha1'],
    namespaced: true,
    body: object<Body<Middleware>>({
      spec: object({
        stripPrefix: object({ prefixes: list(string) }),
        addPrefix: object({ prefix: string }),
        replacePath: object({ path: string }),
        redirectScheme: object({ scheme: string, permanent: boolean, port: string }),
        ipAllowList: object({ sourceRange: list(string) }),
        ipWhiteList: object({ sourceRange: list(string) }),
        chain: object({ middlewares: list(object({ name: string, namespace: string })) }),
        // That they are there is all that is kept.
        basicAuth: object({}),
        digestAuth: object({}),
        forwardAuth: object({}),
        stripPrefixRegex: object({}),
        replacePathRegex: object({}),
        redirectRegex: object({}),
        errors: object({}),
        plugin: object({}),
      }),
    }),
  },
  ServiceCIDR: {
    // The beta has the same fields.
    apiVersions: ['networking.k8s.io/v1', 'networking.k8s.io/v1beta1'],
    namespaced: false,
    body: object<Body<ServiceCidr>>({ spec: object({ cidrs: list(cidr) }, ['cidrs']) }, ['spec']),
  },
  NetworkPolicy: { apiVersions: ['networking.k8s.io/v1'], namespaced: true, body: networkPolicy },
  IPAddressPool: {
    apiVersions: ['metallb.io/v1beta1'],
    namespaced: true,
    body: object<Body<IpAddressPool>>({ spec: object({ addresses: list(addressRange), autoAssign: boolean }) }, [
      'spec',
    ]),
  },
  IPPool: {
    apiVersions: ['crd.projectcalico.org/v1', 'projectcalico.org/v3'],
    namespaced: false,
    body: object<Body<CalicoPool>>({ spec: object({ cidr, natOutgoing: boolean, disabled: boolean }, ['cidr']) }, [
      'spec',
    ]),
  },
  L2Advertisement: advertisement,
  BGPAdvertisement: advertisement,
  ConfigMap: { apiVersions: ['v1'], namespaced: true, body: object<Body<ConfigMap>>({ data: labels }) },
  KubeProxyConfiguration: { apiVersions: ['kubeproxy.config.k8s.io/v1alpha1'], namespaced: false, body: kubeProxy },
}
const byKind: ReadonlyMap<string, KindDefinition> = new Map(Object.entries(definitions))

/** Kinds that are read. */
export const READ_KINDS: readonly string[] = Object.keys(definitions)

/** The definition of a kind that has a part in the dataplane, or undefined. */
export function kindDefinition(kind: string): KindDefinition | undefined {
  return byKind.get(kind)
}

/**
 * A checked copy of one object that holds only what dpemu reads, addresses in canonical text.
 *
 * @throws FieldProblem  with the path of the first value that is wrong
 */
export function readObject(definition: KindDefinition, value: Record<string, unknown>, origin: Origin): KubeObject {
  const kind = value['kind']
  // A configuration file of kube-proxy has no metadata; every other object has.
  const meta =
    kind === 'KubeProxyConfiguration' ? { name: 'kube-proxy' } : at('metadata', value['metadata'] ?? {}, metadata)
  if (definition.namespaced && (meta.namespace ?? '') === '') meta.namespace = 'default'
  if (!definition.namespaced) delete meta.namespace
  return { apiVersion: value['apiVersion'], kind, metadata: meta, ...definition.body(value), origin } as KubeObject
}
