/**
 * Where the connections of an Ingress's clients go: what they dial, and which proxies take their requests.
 *
 * `paths.ts` describes the hops of a way; here are its addresses. Both decide by `choose-path.ts`. Pure.
 * Cost: one pass over what the cluster holds.
 * Sources: those of paths.ts; ingress-nginx docs, `worker-processes` (auto: one a CPU).
 */
import { UserError } from '../errors.ts'
import type { IngressPath } from '../ingress-path.ts'
import type { Cluster, ClusterNode, ClusterPod, ClusterService, ClusterServicePort } from '../k8s/cluster.ts'
import type { Endpoint, EndpointSlice, Ingress, IpFamily } from '../k8s/types.ts'
import { suggestion } from '../nearest.ts'
import { type ChosenPath, choosePath, findProxyService, isCloudController, isIngressProxy } from './choose-path.ts'
import { classNameOf, groupByController, ingressText, namespaceOf } from './classes.ts'
import { configOf } from './nginx-config.ts'
import { loadBalancerAddresses } from './own-addresses.ts'
import { readIngress } from './read-ingress.ts'

/** One that ends clients' connections and opens others to backends. */
export interface ProxyReplica {
  /** `namespace/name` of the pod, or the address of an endpoint that is no known pod; '' for a cloud load balancer. */
  readonly pod: string
  /** What it opens its connections to backends from, the primary first. */
  readonly addresses: readonly string[]
  /** null outside the cluster. */
  readonly node: string | null
  /** Processes that share its connections out: the node's CPUs for a proxy pod, 16 (assumed) for a cloud load balancer. */
  readonly workers: number
}

export interface DialledEntrance {
  readonly address: string
  /** Where the address is a node's. */
  readonly node: string | null
  readonly port: number
  /** `namespace/name` of the proxy's Service; null where no Service is dialled. */
  readonly service: string | null
  /** Its `port`, not its node port. */
  readonly servicePort: number | null
}

export interface Entrance {
  readonly path: IngressPath
  /** One address, or one for each node where nodes are dialled. Never empty. */
  readonly dialled: readonly DialledEntrance[]
  /** With path `proxy` the ready pods; else one, the load balancer, whose source address towards the cluster is its own. */
  readonly replicas: readonly ProxyReplica[]
  /** Who dials the port for HTTPS speaks TLS to the load balancer, and the proxy is sent plain HTTP. */
  readonly isPlain: boolean
  /** What the proxies listen on, for HTTP and for HTTPS; 0 for none. */
  readonly ports: readonly [number, number]
  /** The Service whose load balancer is dialled, a machine that could send the PROXY protocol; null for any other way in. */
  readonly balancer: ClusterService | null
  /** The proxy pods have their nodes' addresses. */
  readonly hostNetwork: boolean
  /** What was assumed, one sentence each. */
  readonly notes: readonly string[]
}

/** No cloud says how many processes its load balancers have; enough that they are no bottleneck of a small cluster. */
const CLOUD_WORKERS = 16
/** Where an endpoint does not say its node. */
const UNKNOWN_NODE_WORKERS = 4
export const SCHEME_PORTS: Readonly<Record<'http' | 'https', number>> = { http: 80, https: 443 }

/**
 * @param ingress  `namespace/name`
 * @param path     null: as the controller of its IngressClass has it
 * @throws UserError E_INGRESS_PATH: no such Ingress or none that serves it, no ready proxy pods, no way to them from outside,
 *         or their Service has no port for the scheme
 */
export function entranceOf(
  cluster: Cluster,
  ingress: string,
  scheme: 'http' | 'https',
  path: IngressPath | null,
): Entrance {
  const found = findIngress(cluster, ingress)
  const chosen = path === null ? ownPath(cluster, found) : { path, assumed: null }
  const assumed = chosen.assumed === null ? [] : [chosen.assumed]
  const entrance =
    chosen.path === 'proxy'
      ? proxyEntrance(cluster, ingress, scheme)
      : cloudEntrance(cluster, found, ingress, scheme, chosen.path)
  return { ...entrance, notes: [...assumed, ...entrance.notes] }
}

/** @throws UserError E_INGRESS_PATH where there is none of that name */
export function findIngress(cluster: Cluster, name: string): Ingress {
  const nameOf = (ingress: Ingress) => `${namespaceOf(ingress)}/${ingress.metadata.name}`
  const found = cluster.ingresses.find((ingress) => nameOf(ingress) === name)
  if (found !== undefined) return found
  throw refusal(`there is no Ingress ${name}`, suggestion(name, cluster.ingresses.map(nameOf)))
}

function refusal(message: string, hint: string): UserError {
  return new UserError('E_INGRESS_PATH', message, { hint })
}

/** The path that the controller gives the backends of an Ingress. */
function ownPath(cluster: Cluster, ingress: Ingress): ChosenPath {
  const controller = controllerOf(cluster, ingress)
  const annotations = Object.fromEntries(
    Object.entries(ingress.metadata.annotations ?? {}).map(([key, value]) => [key, String(value)]),
  )
  const backends = backendsOf(ingress)
  const choices = backends.map((name) => choosePath(controller, annotations, serviceNamed(cluster, name), name))
  const [first] = choices
  if (first === undefined) return choosePath(controller, annotations, undefined, '(none)')
  if (choices.every(({ path }) => path === first.path)) return first
  // Google's load balancer has a group of targets for each backend, of either sort; the model has one path an Ingress.
  const other = choices.find(({ assumed }) => assumed !== null)?.assumed ?? ''
  return { path: 'instance', assumed: `${other}; all backends of ${ingressText(ingress)} are taken to have one` }
}

/** `spec.controller` of who serves it, or the class's name where no object tells; '' where nothing does. */
function controllerOf(cluster: Cluster, ingress: Ingress): string {
  const className = classNameOf(ingress)
  const group = groupByController(cluster).groups.find(({ ingresses }) => ingresses.includes(ingress))
  if (group !== undefined) return group.controller || className
  // GKE has no IngressClass object for its own controller.
  if (isCloudController(className)) return className
  const classes = cluster.ingressClasses.map(({ metadata }) => metadata.name)
  throw refusal(
    className === ''
      ? `no controller serves ${ingressText(ingress)}: it names no class, and no IngressClass is the default`
      : `no controller serves ${ingressText(ingress)}: there is no IngressClass ${className}`,
    className === ''
      ? `set spec.ingressClassName to one of ${classes.join(', ')}`
      : suggestion(className, classes) || 'add the IngressClass to the manifests',
  )
}

/** `namespace/name` of each Service that a rule or the default backend names. */
function backendsOf(ingress: Ingress): string[] {
  const { rules, defaultBackend } = readIngress(ingress, () => undefined)
  const backends = [...rules.flatMap(({ paths }) => paths.map(({ backend }) => backend)), defaultBackend]
  return [
    ...new Set(backends.flatMap((backend) => (backend?.ref ? [`${backend.ref.namespace}/${backend.ref.name}`] : []))),
  ]
}

function serviceNamed(cluster: Cluster, name: string): ClusterService | undefined {
  return cluster.services.find((service) => `${service.namespace}/${service.name}` === name)
}

/** A load balancer outside the cluster: one address, and requests come from it. */
function cloudEntrance(
  cluster: Cluster,
  ingress: Ingress,
  name: string,
  scheme: 'http' | 'https',
  path: IngressPath,
): Entrance {
  const { family, note } = dialledFamily(cluster)
  const own = loadBalancerAddresses(cluster, family).get(name)
  if (own === undefined)
    throw refusal(`no address is left for the load balancer of Ingress ${name}`, 'write one in its status.loadBalancer')
  const notes = [
    ...(own.assumed === null ? [] : [own.assumed]),
    ...(note === null ? [] : [note]),
    `a cloud load balancer with ${CLOUD_WORKERS} processes is assumed, whose source address towards the cluster is ${own.address}`,
  ]
  if (path === 'instance') {
    for (const backend of backendsOf(ingress)) {
      const service = serviceNamed(cluster, backend)
      if (service === undefined) notes.push(`Service ${backend} does not exist`)
      else if (!service.ports.some(({ nodePort }) => nodePort > 0))
        notes.push(`Service ${backend} has no node port, which instance targets need`)
    }
  }
  return {
    path,
    dialled: [{ address: own.address, node: null, port: SCHEME_PORTS[scheme], service: null, servicePort: null }],
    replicas: [{ pod: '', addresses: [own.address], node: null, workers: CLOUD_WORKERS }],
    ports: [SCHEME_PORTS.http, SCHEME_PORTS.https],
    balancer: null,
    isPlain: false,
    hostNetwork: false,
    notes,
  }
}

/** Proxy pods, behind their Service or on their nodes' own network. */
function proxyEntrance(cluster: Cluster, ingress: string, scheme: 'http' | 'https'): Entrance {
  const service = findProxyService(cluster)
  const { family, note } = dialledFamily(cluster)
  const notes = note === null ? [] : [note]
  if (service !== undefined) {
    const pods = podsBehind(cluster, service)
    const replicas = pods.map(({ replica }) => replica)
    if (replicas.length === 0)
      throw refusal(
        `no pod of the proxy is ready behind Service ${service.namespace}/${service.name}`,
        `add the Deployment of the ingress controller to the manifests, or choose another path for Ingress ${ingress}`,
      )
    const dialled = dialledThrough(cluster, service, scheme, family, notes)
    return {
      path: 'proxy',
      dialled,
      balancer: isBalanced(service, dialled) ? service : null,
      isPlain: tlsEndsBefore(service, portFor(service, 'https')?.port ?? 0),
      replicas,
      ports: [listeningPort(cluster, service, 'http'), listeningPort(cluster, service, 'https')],
      hostNetwork: pods.some(({ pod }) => pod?.hostNetwork === true),
      notes: [...notes, ...workerNotes(replicas, workersWritten(cluster))],
    }
  }
  const proxies = cluster.pods.filter((pod) => isIngressProxy(pod.labels) && isReady(pod))
  const onNodes = proxies.filter((pod) => pod.hostNetwork)
  if (onNodes.length === 0)
    throw proxies.length === 0
      ? refusal(
          `no ingress proxy is in the cluster: no Service and no ready pod has the label of one`,
          'add the manifests of the ingress controller, ingress-nginx for example, or choose the path instance or ip',
        )
      : refusal(
          'no Service leads to the ingress proxy from outside the cluster',
          'add a Service of type LoadBalancer or NodePort that selects its pods',
        )
  const replicas = onNodes.map((pod) => replicaOf(cluster, pod))
  const nodes = cluster.nodes.filter(({ name }) => onNodes.some(({ nodeName }) => nodeName === name))
  return {
    path: 'proxy',
    dialled: nodes.flatMap((node) => atNode(node, family, SCHEME_PORTS[scheme], null, null)),
    replicas,
    ports: [SCHEME_PORTS.http, SCHEME_PORTS.https],
    balancer: null,
    isPlain: false,
    hostNetwork: true,
    notes: [...notes, ...workerNotes(replicas, workersWritten(cluster))],
  }
}

/** The port leads to the one of the proxy that plain HTTP leads to. */
export function tlsEndsBefore(proxy: ClusterService, port: number): boolean {
  const dialled = proxy.ports.find((one) => one.port === port && one.protocol === 'TCP')
  const plain = proxy.ports.find((one) => one.port === SCHEME_PORTS.http && one.protocol === 'TCP')
  if (dialled === undefined || dialled === plain) return false
  return dialled.targetPort === plain?.targetPort || dialled.targetPort === 'http' || dialled.targetPort === 80
}

/** Not a node that answers for the address, nor a node port. */
function isBalanced(service: ClusterService, dialled: readonly DialledEntrance[]): boolean {
  return service.loadBalancer.some(
    ({ ip, announced }) =>
      announced === undefined && dialled.some(({ address, node }) => node === null && address === ip),
  )
}

/** @param notes  what is assumed on the way is added */
function dialledThrough(
  cluster: Cluster,
  service: ClusterService,
  scheme: 'http' | 'https',
  family: IpFamily,
  notes: string[],
): DialledEntrance[] {
  const name = `${service.namespace}/${service.name}`
  const port = portFor(service, scheme)
  if (port === undefined) {
    const known = service.ports.map(({ port, protocol }) => `${port}/${protocol}`).join(', ')
    throw refusal(
      `Service ${name} of the ingress proxy has no TCP port ${SCHEME_PORTS[scheme]}, and none named ${scheme}`,
      `its ports: ${known || 'none'}`,
    )
  }
  if (service.type === 'LoadBalancer') {
    // One that connects to node ports leads nowhere without them.
    const balanced = service.loadBalancer.filter(
      ({ ip, ipMode }) => ip !== '' && (ipMode === 'VIP' || port.nodePort > 0),
    )
    const outward = [...balanced.map(({ ip }) => ip), ...service.externalIPs]
    const address = outward.find((ip) => familyOf(ip) === family) ?? outward[0]
    if (address !== undefined) return [{ address, node: null, port: port.port, service: name, servicePort: port.port }]
    notes.push(`Service ${name} has a load balancer without an address: its node ports are dialled, as that would`)
  }
  const dialled = cluster.nodes
    .filter((node) => node.ready && port.nodePort > 0)
    .flatMap((node) => atNode(node, family, port.nodePort, name, port.port))
  if (dialled.length > 0) return dialled
  throw refusal(
    `Service ${name} of the ingress proxy cannot be dialled from outside: it has ${port.nodePort > 0 ? 'no ready node' : 'no node port'}`,
    'give it a load-balancer address or a node port',
  )
}

/** By number, as clients dial it; else by the name that proxies' manifests give it. */
function portFor(service: ClusterService, scheme: 'http' | 'https'): ClusterServicePort | undefined {
  const ports = service.ports.filter(({ protocol }) => protocol === 'TCP')
  return ports.find(({ port }) => port === SCHEME_PORTS[scheme]) ?? ports.find(({ name }) => name === scheme)
}

/** Where the Service's port leads to in its pods, 0 for none. */
function listeningPort(cluster: Cluster, service: ClusterService, scheme: 'http' | 'https'): number {
  const port = portFor(service, scheme)
  if (port === undefined) return 0
  const ports = slicesOf(cluster, service).flatMap((slice) => slice.ports ?? [])
  const found = ports.find(({ name, protocol }) => (name ?? '') === port.name && (protocol ?? 'TCP') === 'TCP')
  return found?.port ?? 0
}

function slicesOf(cluster: Cluster, { namespace, name }: ClusterService): EndpointSlice[] {
  return cluster.slices.filter(
    ({ metadata, addressType }) =>
      (metadata.namespace ?? 'default') === namespace &&
      metadata.labels?.['kubernetes.io/service-name'] === name &&
      addressType !== 'FQDN',
  )
}

function atNode(
  node: ClusterNode,
  family: IpFamily,
  port: number,
  service: string | null,
  servicePort: number | null,
): DialledEntrance[] {
  const address = node.addresses.find((one) => familyOf(one) === family)
  return address === undefined ? [] : [{ address, node: node.name, port, service, servicePort }]
}

/** The ready endpoints of a Service, each pod once, in the order of its slices. */
function podsBehind(
  cluster: Cluster,
  service: ClusterService,
): { readonly pod: ClusterPod | undefined; readonly replica: ProxyReplica }[] {
  const byAddress = new Map(
    cluster.pods
      .filter(({ hostNetwork }) => !hostNetwork)
      .flatMap((pod) => pod.addresses.map((ip) => [ip, pod] as const)),
  )
  const byName = new Map(cluster.pods.map((pod) => [`${pod.namespace}/${pod.name}`, pod]))
  const found = new Map<string, { readonly pod: ClusterPod | undefined; readonly replica: ProxyReplica }>()
  for (const slice of slicesOf(cluster, service)) {
    for (const endpoint of slice.endpoints) {
      // The API reads an unset or null `ready` as true.
      if (endpoint.conditions?.ready === false) continue
      const [address] = endpoint.addresses
      if (address === undefined) continue
      // Pods on the host network share their node's address: only the reference tells them apart.
      const pod = byName.get(`${service.namespace}/${endpoint.targetRef?.name ?? ''}`) ?? byAddress.get(address)
      const key = pod === undefined ? address : `${pod.namespace}/${pod.name}`
      if (found.has(key)) continue
      found.set(key, { pod, replica: pod === undefined ? replicaAt(cluster, endpoint) : replicaOf(cluster, pod) })
    }
  }
  return [...found.values()]
}

function replicaOf(cluster: Cluster, pod: ClusterPod): ProxyReplica {
  const node = cluster.nodes.find(({ name }) => name === pod.nodeName)
  return {
    pod: `${pod.namespace}/${pod.name}`,
    addresses: pod.addresses,
    node: node?.name ?? null,
    workers: workersWritten(cluster) ?? workersOn(node),
  }
}

/** An endpoint that somebody wrote by hand. */
function replicaAt(cluster: Cluster, endpoint: Endpoint): ProxyReplica {
  const node = cluster.nodes.find(({ name }) => name === endpoint.nodeName)
  return {
    pod: endpoint.addresses[0]!,
    addresses: endpoint.addresses,
    node: node?.name ?? null,
    workers: workersWritten(cluster) ?? workersOn(node),
  }
}

/** `worker-processes` of the only ConfigMap of a proxy; null: one a CPU. */
function workersWritten(cluster: Cluster): number | null {
  return configOf(cluster, { classes: [] }, []).workers
}

function workersOn(node: ClusterNode | undefined): number {
  return node === undefined ? UNKNOWN_NODE_WORKERS : Math.max(1, Math.floor(node.cpus))
}

function workerNotes(replicas: readonly ProxyReplica[], written: number | null): string[] {
  if (written !== null) return [`worker-processes of the ConfigMap: ${written} a proxy`]
  const homeless = replicas.filter(({ node }) => node === null).map(({ pod }) => pod)
  const unknown = `${homeless.join(', ')}: node not known, ${UNKNOWN_NODE_WORKERS} worker processes are assumed`
  return [
    'a proxy is taken to have as many worker processes as its node has CPUs, as ingress-nginx does',
    ...(homeless.length > 0 ? [unknown] : []),
  ]
}

function isReady(pod: ClusterPod): boolean {
  return pod.ready && !pod.terminating && pod.addresses.length > 0
}

/** Clients dial one IP family: IPv4, unless the cluster has none of it. */
function dialledFamily(cluster: Cluster): { readonly family: IpFamily; readonly note: string | null } {
  const families = new Set(cluster.nodes.flatMap((node) => node.addresses).map(familyOf))
  if (!families.has('IPv6')) return { family: 'IPv4', note: null }
  if (!families.has('IPv4')) return { family: 'IPv6', note: null }
  return { family: 'IPv4', note: 'the cluster has both IP families: clients are taken to dial IPv4' }
}

function familyOf(address: string): IpFamily {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
