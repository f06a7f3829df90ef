/**
 * Services with everything that the API server, the allocators and a cloud would fill in.
 *
 * Invariants: what is written stays; a derived address or port is a hash of the Service's name, so that it is the same in
 *             every run and another Service does not change it (unless the two hash to one place).
 * Source:     kubernetes/kubernetes pkg/registry/core/service: defaults, IP and node port allocation; KEP-3070 and
 *             KEP-3668 keep the low end of both ranges for numbers that are written by hand.
 */
import { UserError } from '../errors.ts'
import { AddressPool, isAddress, LOAD_BALANCER_CIDRS, type Network } from './addresses.ts'
import { announcedBy, poolAddress, requestedAddresses } from './announce.ts'
import type { Cluster, ClusterNode, ClusterService, ClusterServicePort, LoadBalancerAddress } from './cluster.ts'
import { stableHash } from './hash.ts'
import { type Inventory, keyOf, type Notes, titleOf } from './inventory.ts'
import { cidrContains, ipFamily, ipFromBigInt } from './ip.ts'
import type { IpAddressPool, IpFamily, Service } from './types.ts'

const DEFAULT_AFFINITY_SECONDS = 10800
const FIRST_NODE_PORT = 30000
const LAST_NODE_PORT = 32767
/** 86 of 2768: KEP-3668's min(max(16, range / 32), 128). */
const STATIC_NODE_PORTS = 86
/** Cluster IPs below this are left to the API server (.1), the DNS (.10) and those who write theirs by hand. */
const RESERVED_CLUSTER_IPS = 16
/** Fixed places in the service CIDR, by kubeadm's convention. */
const WELL_KNOWN_SERVICES: ReadonlyMap<string, number> = new Map([
  ['default/kubernetes', 1],
  ['kube-system/kube-dns', 10],
])

/**
 * @throws UserError  E_SERVICE_CIDR_FULL or E_NODE_PORTS_FULL when there are more Services than addresses or ports
 */
export function deriveServices(
  inventory: Inventory,
  network: Network,
  previous: Cluster | undefined,
  notes: Notes,
  nodes: readonly ClusterNode[],
): ClusterService[] {
  const allocator = new Allocator(inventory, network, previous)
  const derived = new Map<Service, ClusterService>()
  // In order of names, so that the order of the files decides nothing; those that had an address before choose first.
  const order = [...inventory.services].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
  for (const hadBefore of [true, false]) {
    for (const service of order) {
      if (allocator.isKnown(service) === hadBefore)
        derived.set(service, deriveService(service, network, allocator, notes))
    }
  }
  return inventory.services.map((service) => withAnnouncers(service, derived.get(service)!, inventory, nodes))
}

function withAnnouncers(
  written: Service,
  service: ClusterService,
  inventory: Inventory,
  nodes: readonly ClusterNode[],
): ClusterService {
  const loadBalancer = service.loadBalancer.map((one): LoadBalancerAddress => {
    if (one.ip === '' || one.ipMode === 'Proxy') return one
    const announced = announcedBy(one.ip, written, inventory, nodes)
    return announced === undefined ? one : { ...one, announced }
  })
  return { ...service, loadBalancer }
}

function deriveService(service: Service, network: Network, allocator: Allocator, notes: Notes): ClusterService {
  const { spec, metadata } = service
  const type = spec.type ?? 'ClusterIP'
  const title = titleOf(service)
  const written = writtenClusterIps(service)
  const headless = type !== 'ExternalName' && (spec.clusterIP === 'None' || spec.clusterIPs?.[0] === 'None')
  const ipFamilies = familiesOf(service, written, headless, network)
  let clusterIPs = written
  if (!headless && type !== 'ExternalName') {
    const missing = ipFamilies.filter((family) => !written.some((ip) => ipFamily(ip) === family))
    const added = missing.map((family) => allocator.clusterIp(service, family))
    if (added.length > 0) notes.derive(title, `clusterIP ${added.join(' and ')}`)
    clusterIPs = [...written, ...added]
  }
  const ports = portsOf(service, allocator)
  const nodePorts = ports.filter(({ nodePort }, i) => nodePort !== (spec.ports?.[i]?.nodePort ?? 0))
  if (nodePorts.length > 0) {
    const list = nodePorts.map(({ name, nodePort }) => (name === '' ? nodePort : `${nodePort} (${name})`))
    notes.derive(title, `nodePort ${list.join(', ')}`)
  }
  const loadBalancer = loadBalancerOf(service, ipFamilies, allocator, notes)
  let healthCheckNodePort = spec.healthCheckNodePort ?? 0
  if (healthCheckNodePort === 0 && type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local') {
    healthCheckNodePort = allocator.nodePort(service, 'health check', healthCheckPortBefore)
    notes.derive(title, `healthCheckNodePort ${healthCheckNodePort}`)
  }
  return {
    namespace: metadata.namespace ?? 'default',
    name: metadata.name,
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    type,
    headless,
    clusterIPs,
    ipFamilies,
    externalIPs: spec.externalIPs ?? [],
    loadBalancer,
    sourceRanges: spec.loadBalancerSourceRanges ?? [],
    externalName: spec.externalName ?? '',
    ports,
    selector: hasSelector(service) ? spec.selector! : null,
    externalTrafficPolicy: spec.externalTrafficPolicy ?? 'Cluster',
    internalTrafficPolicy: spec.internalTrafficPolicy ?? 'Cluster',
    healthCheckNodePort,
    publishNotReadyAddresses: spec.publishNotReadyAddresses ?? false,
    affinityTimeoutSeconds:
      spec.sessionAffinity === 'ClientIP'
        ? (spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS)
        : 0,
    trafficDistribution: spec.trafficDistribution ?? '',
    origin: service.origin,
  }
}

/** An empty selector is none: the API server does not even keep it. */
export function hasSelector({ spec }: Service): boolean {
  return spec.type !== 'ExternalName' && Object.keys(spec.selector ?? {}).length > 0
}

function writtenClusterIps({ spec }: Service): string[] {
  const ips = [...(spec.clusterIPs ?? []).filter(isAddress)]
  if (ips.length === 0 && spec.clusterIP !== undefined && isAddress(spec.clusterIP)) ips.push(spec.clusterIP)
  return ips
}

/** Source: pkg/registry/core/service/storage/alloc.go, initIPFamilyFields. */
function familiesOf(
  service: Service,
  clusterIPs: readonly string[],
  headless: boolean,
  network: Network,
): readonly IpFamily[] {
  const { ipFamilies, ipFamilyPolicy, type } = service.spec
  const wanted = [...new Set([...(ipFamilies ?? []), ...clusterIPs.map(ipFamily)])]
  if (type === 'ExternalName') return wanted
  if (ipFamilyPolicy === 'RequireDualStack') return [...new Set([...wanted, ...network.families])]
  // A headless Service without selector may have endpoints of both families unless it says otherwise.
  const prefersDualStack =
    ipFamilyPolicy === 'PreferDualStack' ||
    (ipFamilyPolicy === undefined && headless && ipFamilies === undefined && !hasSelector(service))
  const served = network.families.filter((family) => network.serviceCidrs.some((cidr) => cidr.family === family))
  if (prefersDualStack) return [...new Set([...wanted, ...served])]
  return wanted.length > 0 ? wanted : served.slice(0, 1)
}

function portsOf(service: Service, allocator: Allocator): ClusterServicePort[] {
  const { type, ports = [], allocateLoadBalancerNodePorts = true } = service.spec
  const wantsNodePorts = type === 'NodePort' || (type === 'LoadBalancer' && allocateLoadBalancerNodePorts)
  return ports.map(({ name = '', protocol = 'TCP', port, targetPort = port, nodePort = 0 }) => {
    const derive = wantsNodePorts && nodePort === 0
    const before = (earlier: ClusterService): number =>
      earlier.ports.find((p) => p.port === port && p.protocol === protocol)?.nodePort ?? 0
    return {
      name,
      protocol,
      port,
      targetPort,
      nodePort: derive ? allocator.nodePort(service, `${port}/${protocol}`, before) : nodePort,
    }
  })
}

function healthCheckPortBefore(earlier: ClusterService): number {
  return earlier.healthCheckNodePort
}

const AWS_ANNOTATION = 'service.beta.kubernetes.io/aws-load-balancer-'
const NETWORK_ELB = /\.elb\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$/i
/** `NAME-123.eu-west-1.elb.amazonaws.com` dials nodes itself; a network load balancer is `NAME.elb.eu-west-1.amazonaws.com` and passes on. */
const CLASSIC_ELB = /\.[a-z0-9-]+\.elb\.amazonaws\.com(\.cn)?$/i

interface NamedBalancer {
  readonly keeps: boolean
  readonly podTargets: boolean
  readonly what: string
}

/**
 * What a load balancer known by its name does with client addresses.
 *
 * A network load balancer (AWS) keeps them to instances; to pods it does so for TCP only if told to. ipMode says it of others.
 * Source: aws-load-balancer-controller, guide/service/annotations; ELB user guide, client IP preservation.
 */
function namedBalancer({ metadata, status }: Service, hostname: string): NamedBalancer {
  const annotation = (name: string): string => String(metadata.annotations?.[AWS_ANNOTATION + name] ?? '')
  if (CLASSIC_ELB.test(hostname)) {
    return { keeps: false, podTargets: false, what: 'a classic ELB, which hides client addresses' }
  }
  const podTargets = annotation('nlb-target-type') === 'ip' || annotation('type') === 'nlb-ip'
  const preserve = /(?:^|,)\s*preserve_client_ip\.enabled\s*=\s*(true|false)\s*(?:,|$)/.exec(
    annotation('target-group-attributes'),
  )?.[1]
  const written = status?.loadBalancer?.ingress?.find((one) => one.hostname === hostname)?.ipMode
  if (preserve === undefined && written === 'Proxy') {
    return { keeps: false, podTargets, what: 'ipMode: Proxy, which hides client addresses' }
  }
  const keeps = preserve === undefined ? !podTargets : preserve === 'true'
  const why = preserve === undefined ? (podTargets ? ', its targets being pods' : '') : ` by preserve_client_ip.enabled`
  const network = NETWORK_ELB.test(hostname) || podTargets || preserve !== undefined
  if (!network) return { keeps, podTargets, what: 'taken to keep client addresses' }
  return {
    keeps,
    podTargets,
    what: `a network load balancer, which ${keeps ? 'keeps' : 'hides'} client addresses${why}`,
  }
}

function warnOfNamedBalancer(service: Service, hostname: string, { podTargets }: NamedBalancer, notes: Notes): void {
  if ((service.spec.loadBalancerSourceRanges ?? []).length > 0) {
    const message = `loadBalancerSourceRanges are for load balancer ${hostname} to enforce, which is not modelled: every client is let through`
    notes.warn('W_NOT_MODELLED', titleOf(service), message)
  }
  if (!podTargets) return
  const instead =
    service.spec.allocateLoadBalancerNodePorts === false
      ? 'the Service has no node ports, so that way cannot be replayed'
      : 'it is replayed through node ports, as to instances'
  notes.warn(
    'W_NOT_MODELLED',
    titleOf(service),
    `load balancer ${hostname} connects to pods itself, past kube-proxy (target type ip): ${instead}`,
  )
}

function loadBalancerOf(
  service: Service,
  ipFamilies: readonly IpFamily[],
  allocator: Allocator,
  notes: Notes,
): LoadBalancerAddress[] {
  const written = service.status?.loadBalancer?.ingress ?? []
  const hostname = written.find((one) => (one.ip ?? '') === '' && (one.hostname ?? '') !== '')?.hostname ?? ''
  if (hostname !== '' && written.every(({ ip }) => (ip ?? '') === '')) {
    const kind = namedBalancer(service, hostname)
    warnOfNamedBalancer(service, hostname, kind, notes)
    // Targets that are pods need no node port, and without one there is no way that could be replayed.
    if (kind.podTargets && service.spec.allocateLoadBalancerNodePorts === false) {
      return written.map(({ hostname = '', ipMode = 'VIP' }) => ({ ip: '', hostname, ipMode }))
    }
    const ips = allocator.loadBalancerIps(service, ipFamilies)
    const what = `${ips.join(' and ')} in place of the addresses of load balancer ${hostname} (${kind.what})`
    notes.derive(titleOf(service), what)
    // kube-proxy reads `ip` alone: there is no rule for a host name, whatever its ipMode.
    return ips.map((ip) => ({ ip, hostname, ipMode: 'Proxy', ...(kind.keeps ? { keepsClient: true } : {}) }))
  }
  if (written.length > 0) {
    return written.map(({ ip = '', hostname = '', ipMode = 'VIP' }) => ({ ip, hostname, ipMode }))
  }
  if (service.spec.type !== 'LoadBalancer') return []
  const { loadBalancerIP } = service.spec
  const asked = loadBalancerIP === undefined ? requestedAddresses(service) : [loadBalancerIP]
  const ips = asked.length > 0 ? asked : allocator.loadBalancerIps(service, ipFamilies, true)
  notes.derive(titleOf(service), `load-balancer IP ${ips.join(' and ')}`)
  return ips.map((ip) => ({ ip, hostname: '', ipMode: 'VIP' }))
}

/** Gives out what is free, by hash; a Service that was there before gets what it had. */
class Allocator {
  readonly #network: Network
  readonly #previous: ReadonlyMap<string, ClusterService>
  readonly #clusterIps: readonly { family: IpFamily; pool: AddressPool }[]
  readonly #loadBalancerIps: readonly { family: IpFamily; pool: AddressPool }[]
  readonly #nodePorts = new Set<number>()
  readonly #addressPools: readonly IpAddressPool[]

  constructor(inventory: Inventory, network: Network, previous: Cluster | undefined) {
    this.#network = network
    this.#addressPools = inventory.addressPools
    this.#previous = new Map(previous?.services.map((service) => [`${service.namespace}/${service.name}`, service]))
    this.#clusterIps = network.serviceCidrs.map((cidr) => {
      const isSmall = cidr.last - cidr.first < 2 * RESERVED_CLUSTER_IPS
      return { family: cidr.family, pool: new AddressPool(cidr, network.used, isSmall ? 1 : RESERVED_CLUSTER_IPS) }
    })
    this.#loadBalancerIps = (['IPv4', 'IPv6'] as const).flatMap((family) =>
      LOAD_BALANCER_CIDRS[family].map((cidr) => ({ family, pool: new AddressPool(cidr, network.used, 1) })),
    )
    for (const { spec } of inventory.services) {
      for (const { nodePort } of spec.ports ?? []) this.#nodePorts.add(nodePort ?? 0)
      this.#nodePorts.add(spec.healthCheckNodePort ?? 0)
    }
  }

  isKnown(service: Service): boolean {
    return this.#previous.has(keyOf(service))
  }

  clusterIp(service: Service, family: IpFamily): string {
    const key = keyOf(service)
    const inRange = (ip: string): boolean =>
      ipFamily(ip) === family && this.#network.serviceCidrs.some((cidr) => cidrContains(cidr, ip))
    const earlier = this.#previous.get(key)?.clusterIPs.find(inRange)
    if (earlier !== undefined && this.#claim(earlier)) return earlier
    const place = WELL_KNOWN_SERVICES.get(key)
    const range = this.#network.serviceCidrs.find((cidr) => cidr.family === family)
    if (place !== undefined && range !== undefined && BigInt(place) < range.last - range.first) {
      const ip = ipFromBigInt(range.first + BigInt(place), family)
      if (this.#claim(ip)) return ip
    }
    const ip = this.#take(this.#clusterIps, key, family)
    if (ip !== null) return ip
    throw new UserError('E_SERVICE_CIDR_FULL', `no ${family} address is left for ${titleOf(service)}`, {
      where: `service CIDR ${this.#network.serviceCidrs.map(({ text }) => text).join(', ')}`,
      hint:
        range === undefined
          ? `Add a ServiceCIDR object with an ${family} block.`
          : 'Give the ServiceCIDR object a wider block.',
    })
  }

  /**
   * One address a family; the blocks hold more than anyone has Services.
   * @param pooled  MetalLB's pools come first, where the manifests have some
   */
  loadBalancerIps(service: Service, families: readonly IpFamily[], pooled = false): string[] {
    const key = keyOf(service)
    const earlier = this.#previous.get(key)?.loadBalancer.filter(({ ip }) => ip !== '' && this.#claim(ip)) ?? []
    if (earlier.length > 0) return earlier.map(({ ip }) => ip)
    return families.flatMap((family) => {
      const ip = pooled ? poolAddress(service, family, this.#addressPools, this.#network.used) : null
      if (ip !== null && this.#claim(ip)) return ip
      return this.#take(this.#loadBalancerIps, key, family) ?? []
    })
  }

  /**
   * @param purpose  which of the Service's node ports: `80/TCP`
   * @param before   the node port that it had for that purpose, or 0
   */
  nodePort(service: Service, purpose: string, before: (earlier: ClusterService) => number): number {
    const known = this.#previous.get(keyOf(service))
    const earlier = known === undefined ? 0 : before(known)
    if (earlier !== 0 && !this.#nodePorts.has(earlier)) {
      this.#nodePorts.add(earlier)
      return earlier
    }
    const first = FIRST_NODE_PORT + STATIC_NODE_PORTS
    const size = LAST_NODE_PORT - first + 1
    const start = stableHash(`${keyOf(service)} ${purpose}`) % size
    for (let step = 0; step < size; step++) {
      const port = first + ((start + step) % size)
      if (this.#nodePorts.has(port)) continue
      this.#nodePorts.add(port)
      return port
    }
    throw new UserError('E_NODE_PORTS_FULL', `no node port is left for ${titleOf(service)}`, {
      where: `node ports ${first}-${LAST_NODE_PORT}`,
      hint: 'Set allocateLoadBalancerNodePorts: false on Services whose load balancer reaches pods directly.',
    })
  }

  #take(pools: readonly { family: IpFamily; pool: AddressPool }[], key: string, family: IpFamily): string | null {
    for (const { family: of, pool } of pools) {
      const ip = of === family ? pool.takeAt(stableHash(key)) : null
      if (ip !== null) return ip
    }
    return null
  }

  #claim(ip: string): boolean {
    if (this.#network.used.has(ip)) return false
    this.#network.used.add(ip)
    return true
  }
}
