/**
 * The cluster as CoreDNS' kubernetes plugin holds it: Services, endpoints and pods by the keys that questions ask for.
 *
 * Built once from a Cluster and then read only, apart from the maps that are filled on the first question that needs them.
 * Names are keyed folded; the records made of them keep the objects' own case. Order is that of the Cluster's slices.
 * Cost: one pass over Services and slices to group them; a Service's endpoints are flattened when first asked for.
 * Source: coredns/coredns plugin/kubernetes/controller.go (indexers) and object/{service,endpoint,pod}.go.
 */
import type { Warning } from '../errors.ts'
import type { Cluster, ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { ipFromBigInt, parseCidr } from '../k8s/ip.ts'
import type { EndpointSlice } from '../k8s/types.ts'
import { type Corefile, parseNodeCorefile, readCorefile } from './corefile.ts'
import { type Address, lower, parseAddress } from './domain-names.ts'
import type { KubernetesPlugin } from './kubernetes-plugin.ts'

export interface EndpointPort {
  readonly name: string
  readonly protocol: string
  /** -1 where the slice has no ports: the endpoint has addresses but no SRV. */
  readonly port: number
}

export interface IndexedEndpoint {
  readonly address: Address
  /** As the slice spells it: the dashed name is made of this. */
  readonly written: string
  /** '' where the slice has none. */
  readonly hostname: string
  /** '' where it targets no Pod, or one whose name is too long for a label. */
  readonly podName: string
  readonly ready: boolean
  /** Topology zone, folded; '' where the slice has none. */
  readonly zone: string
  readonly ports: readonly EndpointPort[]
}

/** An endpoint and the Service whose slice holds it. */
export interface OwnedEndpoint {
  readonly namespace: string
  readonly service: string
  readonly endpoint: IndexedEndpoint
}

const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'
/** kubeadm's networking.serviceSubnet, where nothing else is said. */
const KUBEADM_SERVICE_CIDR = '10.96.0.0/12'
/** node-cache puts the cluster IP of kube-dns-upstream in its place. */
const CLUSTER_DNS_PLACEHOLDER = '__PILLAR__CLUSTER__DNS__'
const NO_PORTS: readonly EndpointPort[] = [{ name: '', protocol: '', port: -1 }]

export class ZoneIndex {
  readonly #cluster: Cluster
  readonly #namespaces: ReadonlySet<string>
  readonly #services: ReadonlyMap<string, ClusterService>
  readonly #slices: ReadonlyMap<string, readonly EndpointSlice[]>
  readonly #endpoints: Map<string, readonly IndexedEndpoint[]> = new Map()
  #servicesByIp: Map<string, ClusterService[]> | null = null
  #endpointsByIp: Map<string, OwnedEndpoint[]> | null = null
  #podsByIp: Map<string, ClusterPod[]> | null = null
  #serverAddresses: readonly Address[] | null = null

  constructor(cluster: Cluster) {
    this.#cluster = cluster
    this.#namespaces = new Set(cluster.namespaces)
    this.#services = new Map(cluster.services.map((service) => [key(service.name, service.namespace), service]))
    this.#slices = groupBy(cluster.slices, (slice) => key(serviceOf(slice), namespaceOf(slice)))
  }

  /** @param name  folded; Kubernetes allows no other */
  hasNamespace(name: string): boolean {
    return this.#namespaces.has(name)
  }

  service(name: string, namespace: string): ClusterService | undefined {
    return this.#services.get(key(name, namespace))
  }

  /** All endpoints of a Service's slices, ready or not. */
  endpoints(name: string, namespace: string): readonly IndexedEndpoint[] {
    const at = key(name, namespace)
    let endpoints = this.#endpoints.get(at)
    if (endpoints === undefined) {
      endpoints = (this.#slices.get(at) ?? []).flatMap(endpointsOf)
      this.#endpoints.set(at, endpoints)
    }
    return endpoints
  }

  /** @param address  canonical */
  servicesByClusterIp(address: string): readonly ClusterService[] {
    this.#servicesByIp ??= indexBy(this.#cluster.services, (service) => service.clusterIPs.map(canonical))
    return this.#servicesByIp.get(address) ?? []
  }

  /** @param address  canonical */
  endpointsByAddress(address: string): readonly OwnedEndpoint[] {
    this.#endpointsByIp ??= indexBy(
      this.#cluster.slices.flatMap((slice) => {
        const owner = { namespace: namespaceOf(slice), service: serviceOf(slice) }
        return endpointsOf(slice).map((endpoint) => ({ ...owner, endpoint }))
      }),
      (owned) => [owned.endpoint.address.text],
    )
    return this.#endpointsByIp.get(address) ?? []
  }

  /** Pods by their primary address; terminating ones are not held. @param address  canonical */
  podsByAddress(address: string): readonly ClusterPod[] {
    this.#podsByIp ??= indexBy(
      this.#cluster.pods.filter((pod) => !pod.terminating),
      (pod) => pod.addresses.slice(0, 1).map(canonical),
    )
    return this.#podsByIp.get(address) ?? []
  }

  /**
   * The answering CoreDNS' own addresses: a pod labelled `k8s-app: kube-dns`, else the first endpoint of kube-system that
   * listens on port 53, else the address that pods ask (a cluster whose manifests hold no DNS server).
   */
  serverAddresses(): readonly Address[] {
    this.#serverAddresses ??= this.#findServer().flatMap((address) => parseAddress(address) ?? [])
    return this.#serverAddresses
  }

  #findServer(): readonly string[] {
    const pods = this.#cluster.pods.filter((pod) => pod.labels['k8s-app'] === 'kube-dns' && pod.addresses.length > 0)
    const pod = pods.find((candidate) => candidate.ready) ?? pods[0]
    if (pod !== undefined) return pod.addresses
    const slices = this.#cluster.slices.filter(
      (slice) => namespaceOf(slice) === 'kube-system' && slice.ports?.some((port) => port.port === 53),
    )
    const endpoint = slices.flatMap(endpointsOf).find((candidate) => candidate.ready)
    return endpoint === undefined ? [clusterDnsAddress(this.#cluster)] : [endpoint.address.text]
  }
}

/** Everything a question needs: the cluster's index and the Corefile. */
export interface DnsServer {
  readonly index: ZoneIndex
  readonly corefile: Corefile
  /** Addresses that lead back to this server: its Services'. */
  readonly addresses: ReadonlySet<string>
  /** NodeLocal DNSCache, which answers pods before CoreDNS is asked; null without it. */
  readonly nodeLocal: Corefile | null
  readonly warnings: readonly Warning[]
}

/**
 * The DNS server of a cluster, by the Corefile in its manifests or kubeadm's.
 *
 * Errors: UserError E_COREFILE, see readCorefile.
 * Cost: linear in Services and slices; questions then cost map look-ups.
 */
export function createDnsServer(cluster: Cluster): DnsServer {
  const corefile = readCorefile(cluster.corefile, cluster.clusterDomain)
  const named = cluster.slices.filter((slice) => slice.addressType === 'FQDN')
  const warnings: Warning[] = named.map((slice) => ({
    code: 'W_NOT_MODELLED',
    where: `EndpointSlice ${namespaceOf(slice)}/${slice.metadata.name}`,
    message: 'addressType FQDN is not modelled: its endpoints have no DNS records',
  }))
  const written = cluster.nodeDnsCorefile ?? null
  const nodeLocal = written === null ? null : parseNodeCorefile(written, cluster.clusterDomain)
  if (nodeLocal !== null) {
    warnings.push({
      code: 'W_NODE_LOCAL_DNS',
      where: 'ConfigMap kube-system/node-local-dns',
      message:
        'NodeLocal DNSCache answers pods by its own Corefile; its cache and its way are not modelled: a replay sends the queries of pods to the DNS Service',
    })
  }
  const addresses = new Set([CLUSTER_DNS_PLACEHOLDER, clusterDnsAddress(cluster), ...dnsPortAddresses(cluster)])
  return {
    index: new ZoneIndex(cluster),
    corefile,
    addresses,
    nodeLocal,
    warnings: [...corefile.warnings, ...(nodeLocal?.warnings ?? []), ...warnings],
  }
}

/** Of all Services of kube-system that lead to port 53: `kube-dns-upstream` has another address for the same pods. */
function dnsPortAddresses({ services }: Cluster): string[] {
  return services
    .filter(({ namespace, ports }) => namespace === 'kube-system' && ports.some(({ port }) => port === 53))
    .flatMap(({ clusterIPs }) => clusterIPs)
}

/** The Services through which pods reach the cluster's DNS server: kubeadm's name, and what others call it. */
export function dnsServices(cluster: Cluster): readonly ClusterService[] {
  const inSystem = cluster.services.filter(
    (service) => service.namespace === 'kube-system' && service.clusterIPs.length > 0,
  )
  const named = inSystem.filter((service) => service.name === 'kube-dns')
  return named.length > 0 ? named : inSystem.filter((service) => service.ports.some((port) => port.port === 53))
}

/**
 * The nameserver in a pod's resolv.conf: the DNS Service's cluster IP, else the tenth address of the first Service CIDR,
 * where kubeadm puts it (GetDNSIP): 10.96.0.10 by default.
 */
export function clusterDnsAddress(cluster: Cluster): string {
  const written = dnsServices(cluster)[0]?.clusterIPs[0]
  if (written !== undefined) return written
  const range = parseCidr(cluster.serviceCidrs[0] ?? KUBEADM_SERVICE_CIDR) ?? parseCidr(KUBEADM_SERVICE_CIDR)!
  return ipFromBigInt(range.first + 10n, range.family)
}

/** Whether the plugin publishes the endpoint: readiness alone decides; serving and terminating are not looked at. */
export function isPublished(endpoint: IndexedEndpoint): boolean {
  return endpoint.ready
}

/** The label an endpoint is known by below its Service. Source: endpointHostname in plugin/kubernetes/kubernetes.go. */
export function endpointLabel(endpoint: IndexedEndpoint, plugin: KubernetesPlugin): string {
  if (endpoint.hostname !== '') return endpoint.hostname
  if (plugin.endpointPodNames && endpoint.podName !== '') return endpoint.podName
  const dashed = endpoint.written.replaceAll(endpoint.written.includes('.') ? '.' : ':', '-')
  return dashed.endsWith('-') ? `${dashed}0` : dashed
}

/** Unset conditions count as ready. */
function endpointsOf(slice: EndpointSlice): IndexedEndpoint[] {
  const ports = slice.ports?.length
    ? slice.ports.map(({ name, protocol, port }) => ({
        name: name ?? '',
        protocol: protocol ?? 'TCP',
        port: port ?? -1,
      }))
    : NO_PORTS
  return (slice.endpoints ?? []).flatMap((endpoint) => {
    const ready = endpoint.conditions?.ready ?? true
    const target = endpoint.targetRef?.name ?? ''
    const shared = {
      hostname: endpoint.hostname ?? '',
      podName: target.length < 64 ? target : '',
      ready,
      zone: lower(endpoint.zone ?? ''),
      ports,
    }
    return endpoint.addresses.flatMap((written) => {
      const address = parseAddress(written)
      return address === null ? [] : [{ address, written, ...shared }]
    })
  })
}

function key(name: string, namespace: string): string {
  return lower(`${name}.${namespace}`)
}

function serviceOf(slice: EndpointSlice): string {
  return slice.metadata.labels?.[SERVICE_NAME_LABEL] ?? ''
}

function namespaceOf(slice: EndpointSlice): string {
  return slice.metadata.namespace ?? 'default'
}

function canonical(address: string): string {
  return parseAddress(address)?.text ?? address
}

function groupBy<Item>(items: readonly Item[], keyOf: (item: Item) => string): Map<string, Item[]> {
  return indexBy(items, (item) => [keyOf(item)])
}

function indexBy<Item>(items: readonly Item[], keysOf: (item: Item) => readonly string[]): Map<string, Item[]> {
  const index = new Map<string, Item[]>()
  for (const item of items) {
    for (const at of keysOf(item)) {
      const held = index.get(at)
      if (held === undefined) index.set(at, [item])
      else held.push(item)
    }
  }
  return index
}
