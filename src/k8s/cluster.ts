/**
 * The cluster as the rest of dpemu sees it: manifests with everything filled in that a running cluster would have.
 *
 * `load.ts` reads files into objects, `derive.ts` makes a `Cluster` of them. From here on nothing is optional that a
 * cluster always has: pods have nodes and addresses, Services have cluster IPs and node ports, selectors have become
 * EndpointSlices. Addresses are in canonical text form (`10.0.0.1`, `2001:db8::1`), CIDRs too.
 */
import type { Warning } from '../errors.ts'
import type { CorefileText } from './corefile-parts.ts'
import type {
  ConfigMap,
  DnsConfig,
  EndpointSlice,
  HostAlias,
  Ingress,
  IngressClass,
  KubeProxyConfiguration,
  Middleware,
  NetworkPolicy,
  Origin,
  Protocol,
  TrafficPolicy,
} from './types.ts'

export interface ClusterNode {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** `topology.kubernetes.io/zone`, or ''. */
  readonly zone: string
  /** Every address of the node, InternalIP first, in the manifest's order; the first of a family is its primary. */
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
  /** From status.capacity.cpu; 4 where the manifest has none (listed in `derived`). */
  readonly cpus: number
  /** Ready condition true or absent. */
  readonly ready: boolean
}

export interface ClusterPod {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  /** Name of its node; always one of `Cluster.nodes`, or '' for a Pod that could not be placed (a warning says so). */
  readonly nodeName: string
  /** Primary first, one per family at most; the node's addresses for hostNetwork pods; empty when unplaced. */
  readonly addresses: readonly string[]
  readonly hostNetwork: boolean
  readonly hostname: string
  readonly subdomain: string
  readonly dnsPolicy: 'ClusterFirst' | 'ClusterFirstWithHostNet' | 'Default' | 'None'
  readonly dnsConfig: DnsConfig
  /** Lines of its /etc/hosts, as written. */
  readonly hostAliases?: readonly HostAlias[]
  readonly ready: boolean
  readonly terminating: boolean
  readonly ports: readonly {
    readonly name: string
    readonly containerPort: number
    readonly protocol: Protocol
    /** Only where there is one. */
    readonly hostPort?: number
    /** The one address of its node that it is at; without, all of them. */
    readonly hostIP?: string
  }[]
  /** Sum of its containers' resources.limits.cpu; 0 where one of them has none, so that the pod has no limit. */
  readonly cpuLimit: number
  /** `Deployment default/web`, or '' for a Pod written by hand. */
  readonly owner: string
}

export interface ClusterServicePort {
  readonly name: string
  readonly protocol: Protocol
  readonly port: number
  /** As written (number or name); the port itself where left out. kube-proxy never reads it, DNS and Ingress do. */
  readonly targetPort: number | string
  /** 0 where it has none. */
  readonly nodePort: number
}

/** Who may answer for an address on the nodes' own network: by node labels alone, endpoints not yet looked at. */
export interface Announced {
  readonly way: 'L2' | 'BGP' | 'kube-vip'
  /** Names of nodes; empty where nothing advertises the pool. */
  readonly nodes: readonly string[]
}

export interface LoadBalancerAddress {
  /** '' for an entry that has only a host name, unless one was derived to stand for it. */
  readonly ip: string
  readonly hostname: string
  readonly ipMode: 'VIP' | 'Proxy'
  /** With `Proxy`: connections to node ports keep their client's address (an NLB with instance targets). */
  readonly keepsClient?: true
  /** Only where MetalLB's or kube-vip's objects say it. */
  readonly announced?: Announced
}

export interface ClusterService {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName'
  /** `clusterIP: None`. */
  readonly headless: boolean
  /** Empty for headless; an ExternalName Service may carry one that means nothing. */
  readonly clusterIPs: readonly string[]
  /** `IPv4` and/or `IPv6`, the primary first; for headless Services too. */
  readonly ipFamilies: readonly ('IPv4' | 'IPv6')[]
  readonly externalIPs: readonly string[]
  readonly loadBalancer: readonly LoadBalancerAddress[]
  /** Trimmed, canonical CIDRs. */
  readonly sourceRanges: readonly string[]
  readonly externalName: string
  readonly ports: readonly ClusterServicePort[]
  readonly selector: Readonly<Record<string, string>> | null
  /** As written, `Cluster` where left out; kube-proxy heeds it only where KUBE-PROXY's rule says (compile does that). */
  readonly externalTrafficPolicy: TrafficPolicy
  readonly internalTrafficPolicy: TrafficPolicy
  /** 0 where it has none. */
  readonly healthCheckNodePort: number
  readonly publishNotReadyAddresses: boolean
  /** Seconds, or 0 for sessionAffinity None. */
  readonly affinityTimeoutSeconds: number
  /** '' where left out. */
  readonly trafficDistribution: string
  readonly origin: Origin
}

/** What enforces NetworkPolicies. */
export interface PolicyPlugin {
  /**
   * Where an ingress rule is asked on the pod's node: before kube-proxy's masquerade there (filter FORWARD: Calico's iptables and
   * nftables dataplanes, kube-router, kindnet, Azure), or at the pod's own interface behind it (eBPF, Open vSwitch); or nowhere.
   */
  readonly decides: 'before-masquerade' | 'at-the-pod' | 'nowhere'
  /** `Calico`, or '' where no manifest tells. */
  readonly name: string
}

/** One thing that the manifests left out and that was filled in, for the report: `Service default/web`, `clusterIP 10.96.0.12`. */
export interface DerivedNote {
  readonly object: string
  readonly what: string
}

export interface Cluster {
  readonly nodes: readonly ClusterNode[]
  /** No Node is in the manifests: those here have names of our own, or those that pods tell. */
  readonly nodesMadeUp?: true
  readonly pods: readonly ClusterPod[]
  readonly services: readonly ClusterService[]
  /** Written ones, mirrored Endpoints, and those made of selectors; each has label `kubernetes.io/service-name`. */
  readonly slices: readonly EndpointSlice[]
  readonly namespaces: readonly string[]
  /** By namespace: its labels, `kubernetes.io/metadata.name` among them; absent without NetworkPolicies. */
  readonly namespaceLabels?: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** By namespace and name; left out where there are none. */
  readonly networkPolicies?: readonly NetworkPolicy[]
  /** Who enforces them, as far as manifests tell. */
  readonly policyPlugin?: PolicyPlugin
  readonly ingresses: readonly Ingress[]
  readonly ingressClasses: readonly IngressClass[]
  /** Traefik's; left out where there are none. */
  readonly middlewares?: readonly Middleware[]
  /** Minor release of Kubernetes 1: as asked for, else that of the oldest kubelet that the Nodes tell; null where nothing does. */
  readonly kubernetesMinor: number | null
  /** ConfigMaps of ingress controllers. */
  readonly ingressConfigs: readonly ConfigMap[]
  /** From ServiceCIDR objects, else derived; `serviceCidrsWritten` tells which (nftables drops unallocated ones only then). */
  readonly serviceCidrs: readonly string[]
  readonly serviceCidrsWritten: boolean
  /** What pods' addresses come from: KubeProxyConfiguration.clusterCIDR, else the nodes' podCIDRs' common block, else derived. */
  readonly clusterCidrs: readonly string[]
  /** As written, or null: compile and replay apply the defaults. */
  readonly kubeProxy: KubeProxyConfiguration | null
  /** Calico's pools, those that are in use: whether packets of their addresses to what no pool has are masqueraded. */
  readonly calicoPools?: readonly { readonly cidr: string; readonly nat: boolean }[]
  /** Of ConfigMap kube-system/coredns, what it imports put in place; or null. */
  readonly corefile: CorefileText | null
  /** Of NodeLocal DNSCache. */
  readonly nodeDnsCorefile?: CorefileText | null
  readonly clusterDomain: string
  readonly derived: readonly DerivedNote[]
  readonly warnings: readonly Warning[]
}
