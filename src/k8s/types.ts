/**
 * The Kubernetes objects that have a part in the dataplane, with the fields dpemu reads, spelled as the API spells them.
 *
 * Every field is what a manifest may hold, so nearly all are optional; `derive.ts` fills in what a cluster would.
 * Source: the API reference of v1, discovery.k8s.io/v1, apps/v1, networking.k8s.io/v1 and kubeproxy.config.k8s.io/v1alpha1.
 */

import type { ContainerLifecycle, CountOrPercent, UpdateSettings } from './lifecycle.ts'

/** Where an object was written: for messages only. */
export interface Origin {
  readonly file: string
  /** 1-based number of the YAML document in the file; the item's position in a `kind: List` is part of `item`. */
  readonly document: number
  /** 0-based position in a List, or -1. */
  readonly item: number
}

export interface ObjectMeta {
  name: string
  namespace?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  creationTimestamp?: string
  deletionTimestamp?: string
  ownerReferences?: { kind: string; name: string; controller?: boolean }[]
}

interface KubeObjectOf<Kind extends string> {
  apiVersion: string
  kind: Kind
  metadata: ObjectMeta
  origin: Origin
}

export type Protocol = 'TCP' | 'UDP' | 'SCTP'
export type TrafficPolicy = 'Cluster' | 'Local'
export type IpFamily = 'IPv4' | 'IPv6'

export interface ServicePort {
  name?: string
  protocol?: Protocol
  port: number
  targetPort?: number | string
  nodePort?: number
  appProtocol?: string
}

export interface LoadBalancerIngress {
  ip?: string
  hostname?: string
  ipMode?: 'VIP' | 'Proxy'
}

export interface ServiceSpec {
  type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
  selector?: Record<string, string>
  ports?: ServicePort[]
  clusterIP?: string
  clusterIPs?: string[]
  ipFamilies?: IpFamily[]
  ipFamilyPolicy?: 'SingleStack' | 'PreferDualStack' | 'RequireDualStack'
  externalIPs?: string[]
  externalName?: string
  loadBalancerIP?: string
  loadBalancerClass?: string
  loadBalancerSourceRanges?: string[]
  allocateLoadBalancerNodePorts?: boolean
  externalTrafficPolicy?: TrafficPolicy
  internalTrafficPolicy?: TrafficPolicy
  healthCheckNodePort?: number
  publishNotReadyAddresses?: boolean
  sessionAffinity?: 'None' | 'ClientIP'
  sessionAffinityConfig?: { clientIP?: { timeoutSeconds?: number } } | null
  trafficDistribution?: string
}

export interface Service extends KubeObjectOf<'Service'> {
  spec: ServiceSpec
  status?: { loadBalancer?: { ingress?: LoadBalancerIngress[] } }
}

export interface EndpointAddress {
  ip: string
  hostname?: string
  nodeName?: string
  targetRef?: { kind?: string; name?: string; namespace?: string }
}

export interface Endpoints extends KubeObjectOf<'Endpoints'> {
  subsets?: {
    addresses?: EndpointAddress[]
    notReadyAddresses?: EndpointAddress[]
    ports?: { name?: string; port: number; protocol?: Protocol; appProtocol?: string }[]
  }[]
}

export interface EndpointConditions {
  ready?: boolean | null
  serving?: boolean | null
  terminating?: boolean | null
}

export interface Endpoint {
  addresses: string[]
  conditions?: EndpointConditions
  hostname?: string
  nodeName?: string
  zone?: string
  hints?: { forZones?: { name: string }[]; forNodes?: { name: string }[] }
  targetRef?: { kind?: string; name?: string; namespace?: string }
}

export interface EndpointSlice extends KubeObjectOf<'EndpointSlice'> {
  addressType: 'IPv4' | 'IPv6' | 'FQDN'
  endpoints: Endpoint[]
  ports?: { name?: string | null; port?: number | null; protocol?: Protocol; appProtocol?: string }[]
}

export interface NodeObject extends KubeObjectOf<'Node'> {
  spec?: {
    podCIDR?: string
    podCIDRs?: string[]
    /** Names the cloud: `aws:///eu-west-1a/i-0abc`. */
    providerID?: string
    unschedulable?: boolean
    taints?: { key: string; effect: string; value?: string }[]
  }
  status?: {
    addresses?: { type: string; address: string }[]
    capacity?: Record<string, string | number>
    allocatable?: Record<string, string | number>
    conditions?: { type: string; status: string }[]
    nodeInfo?: { kubeletVersion?: string }
  }
}

export interface Resources {
  limits?: Record<string, string | number>
  requests?: Record<string, string | number>
}

export interface ContainerPort {
  name?: string
  containerPort: number
  protocol?: Protocol
  hostPort?: number
  hostIP?: string
}

export interface DnsConfig {
  nameservers?: string[]
  searches?: string[]
  options?: { name?: string; value?: string }[]
}

export interface NodeSelectorRequirement {
  key: string
  operator: string
  values?: string[]
}

export interface NodeSelectorTerm {
  matchExpressions?: NodeSelectorRequirement[]
  matchFields?: NodeSelectorRequirement[]
}

export interface Affinity {
  nodeAffinity?: {
    requiredDuringSchedulingIgnoredDuringExecution?: { nodeSelectorTerms?: NodeSelectorTerm[] }
    preferredDuringSchedulingIgnoredDuringExecution?: { weight?: number; preference?: NodeSelectorTerm }[]
  }
  podAffinity?: PodAffinity
  podAntiAffinity?: PodAffinity
}

export interface PodAffinity {
  requiredDuringSchedulingIgnoredDuringExecution?: PodAffinityTerm[]
  preferredDuringSchedulingIgnoredDuringExecution?: { weight?: number; podAffinityTerm?: PodAffinityTerm }[]
}

export interface PodAffinityTerm {
  labelSelector?: LabelSelector
  topologyKey?: string
  namespaces?: string[]
  namespaceSelector?: LabelSelector
}

export interface SpreadConstraint {
  topologyKey?: string
  whenUnsatisfiable?: string
  maxSkew?: number
  minDomains?: number
  labelSelector?: LabelSelector
}

/** A line of a pod's /etc/hosts. */
export interface HostAlias {
  ip?: string
  hostnames?: string[]
}

export interface Container extends ContainerLifecycle {
  name?: string
  ports?: ContainerPort[]
  args?: string[]
  image?: string
  resources?: Resources
}

export interface PodSpec {
  nodeName?: string
  hostname?: string
  subdomain?: string
  hostNetwork?: boolean
  dnsPolicy?: 'ClusterFirst' | 'ClusterFirstWithHostNet' | 'Default' | 'None'
  dnsConfig?: DnsConfig
  hostAliases?: HostAlias[]
  nodeSelector?: Record<string, string>
  containers?: Container[]
  initContainers?: ({
    name?: string
    ports?: ContainerPort[]
    restartPolicy?: string
    resources?: Resources
  } & ContainerLifecycle)[]
  terminationGracePeriodSeconds?: number
  tolerations?: { key?: string; operator?: string; value?: string; effect?: string }[]
  affinity?: Affinity
  topologySpreadConstraints?: SpreadConstraint[]
}

export interface Pod extends KubeObjectOf<'Pod'> {
  spec: PodSpec
  status?: {
    podIP?: string
    podIPs?: { ip: string }[]
    hostIP?: string
    phase?: string
    conditions?: { type: string; status: string }[]
  }
}

export interface PodTemplate {
  metadata?: { labels?: Record<string, string>; annotations?: Record<string, string> }
  spec: PodSpec
}

/**
 * Deployment, ReplicaSet, ReplicationController, StatefulSet, DaemonSet and Job; the last two have no `replicas`, only StatefulSet has
 * `serviceName`. A ReplicationController's selector is a map of labels in its manifest and `matchLabels` here.
 */
export interface Workload
  extends KubeObjectOf<'Deployment' | 'ReplicaSet' | 'ReplicationController' | 'StatefulSet' | 'DaemonSet' | 'Job'> {
  spec: {
    /** Of a Job alone, as is all of `status`. */
    parallelism?: number
    completions?: number
    completionMode?: 'NonIndexed' | 'Indexed'
    suspend?: boolean
    replicas?: number
    serviceName?: string
    selector?: LabelSelector
    template: PodTemplate
    ordinals?: { start?: number }
  } & UpdateSettings
  status?: { succeeded?: number; conditions?: { type: string; status: string }[] }
}

export interface HorizontalPodAutoscaler extends KubeObjectOf<'HorizontalPodAutoscaler'> {
  spec: { scaleTargetRef: { kind: string; name: string }; minReplicas?: number; maxReplicas?: number }
  status?: { desiredReplicas?: number }
}

/** policy/v1 */
export interface PodDisruptionBudget extends KubeObjectOf<'PodDisruptionBudget'> {
  spec?: { selector?: LabelSelector; minAvailable?: CountOrPercent; maxUnavailable?: CountOrPercent }
}

export interface LabelSelector {
  matchLabels?: Record<string, string>
  matchExpressions?: { key: string; operator: string; values?: string[] }[]
}

export interface Namespace extends KubeObjectOf<'Namespace'> {}

export interface IngressBackend {
  service?: { name: string; port?: { number?: number; name?: string } }
  resource?: { apiGroup?: string; kind: string; name: string }
}

export interface IngressPath {
  path?: string
  pathType: 'Exact' | 'Prefix' | 'ImplementationSpecific'
  backend: IngressBackend
}

export interface Ingress extends KubeObjectOf<'Ingress'> {
  spec: {
    ingressClassName?: string
    defaultBackend?: IngressBackend
    tls?: { hosts?: string[]; secretName?: string }[]
    rules?: { host?: string; http?: { paths: IngressPath[] } }[]
  }
  status?: { loadBalancer?: { ingress?: LoadBalancerIngress[] } }
}

export interface IngressClass extends KubeObjectOf<'IngressClass'> {
  spec?: { controller?: string; parameters?: unknown }
}

/** traefik.io/v1alpha1: of its kinds those that change where a request goes, or whether it is let through. */
export interface Middleware extends KubeObjectOf<'Middleware'> {
  spec?: {
    stripPrefix?: { prefixes?: string[] }
    addPrefix?: { prefix?: string }
    replacePath?: { path?: string }
    redirectScheme?: { scheme?: string; permanent?: boolean; port?: string }
    ipAllowList?: { sourceRange?: string[] }
    ipWhiteList?: { sourceRange?: string[] }
    chain?: { middlewares?: { name?: string; namespace?: string }[] }
    basicAuth?: object
    digestAuth?: object
    forwardAuth?: object
    stripPrefixRegex?: object
    replacePathRegex?: object
    redirectRegex?: object
    errors?: object
    plugin?: object
  }
}

/** metallb.io/v1beta1 */
export interface IpAddressPool extends KubeObjectOf<'IPAddressPool'> {
  /** Blocks or `first-last`. */
  spec: { addresses?: string[]; autoAssign?: boolean }
}

/** projectcalico.org/v3, and as its resource definition stores it. */
export interface CalicoPool extends KubeObjectOf<'IPPool'> {
  spec: { cidr: string; natOutgoing?: boolean; disabled?: boolean }
}

export interface Advertisement extends KubeObjectOf<'L2Advertisement' | 'BGPAdvertisement'> {
  spec?: { ipAddressPools?: string[]; ipAddressPoolSelectors?: LabelSelector[]; nodeSelectors?: LabelSelector[] }
}

export interface ServiceCidr extends KubeObjectOf<'ServiceCIDR'> {
  spec: { cidrs: string[] }
}

export interface NetworkPolicyPort {
  protocol?: Protocol
  /** A number, or the name of a port of the destination pod; left out: all of the protocol. */
  port?: number | string
  endPort?: number
}

export interface NetworkPolicyPeer {
  podSelector?: LabelSelector
  namespaceSelector?: LabelSelector
  ipBlock?: { cidr: string; except?: string[] }
}

/** Of `ingress` with `from`, of `egress` with `to`. */
export interface NetworkPolicyRule {
  ports?: NetworkPolicyPort[]
  from?: NetworkPolicyPeer[]
  to?: NetworkPolicyPeer[]
}

export type PolicyType = 'Ingress' | 'Egress'

/** networking.k8s.io/v1 */
export interface NetworkPolicy extends KubeObjectOf<'NetworkPolicy'> {
  spec: {
    /** `{}` and left out: every pod of the namespace. */
    podSelector?: LabelSelector
    policyTypes?: PolicyType[]
    ingress?: NetworkPolicyRule[]
    egress?: NetworkPolicyRule[]
  }
}

export interface ConfigMap extends KubeObjectOf<'ConfigMap'> {
  data?: Record<string, string>
}

/** As Go writes durations: `1s`, `500ms`. */
interface SyncPeriods {
  minSyncPeriod?: string
  syncPeriod?: string
}

/** kubeproxy.config.k8s.io/v1alpha1; it has no metadata in real files, so `metadata.name` is set to `kube-proxy`. */
export interface KubeProxyConfiguration extends KubeObjectOf<'KubeProxyConfiguration'> {
  mode?: string
  clusterCIDR?: string
  detectLocalMode?: string
  hostnameOverride?: string
  nodePortAddresses?: string[] | null
  featureGates?: Record<string, boolean>
  iptables?: SyncPeriods & { masqueradeAll?: boolean; localhostNodePorts?: boolean | null }
  ipvs?: SyncPeriods & {
    scheduler?: string
    masqueradeAll?: boolean
    tcpTimeout?: string
    tcpFinTimeout?: string
    udpTimeout?: string
  }
  nftables?: SyncPeriods & { masqueradeAll?: boolean }
  conntrack?: {
    maxPerCore?: number
    min?: number
    tcpEstablishedTimeout?: string
    tcpCloseWaitTimeout?: string
    tcpBeLiberal?: boolean
    udpTimeout?: string
    udpStreamTimeout?: string
  }
}

export type KubeObject =
  | Service
  | Endpoints
  | EndpointSlice
  | NodeObject
  | Pod
  | Namespace
  | Workload
  | HorizontalPodAutoscaler
  | PodDisruptionBudget
  | Ingress
  | IngressClass
  | Middleware
  | ServiceCidr
  | NetworkPolicy
  | IpAddressPool
  | CalicoPool
  | Advertisement
  | ConfigMap
  | KubeProxyConfiguration
