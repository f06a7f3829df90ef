/**
 * Plans the traffic of a scenario over a cluster: which addresses are clients, what they dial, what they ask for.
 *
 * Names of pods, Services and Ingresses become address ids and destination indices here; the generator sees numbers only. All
 * addresses are known before the first packet, since the trace's header holds them.
 * Cost: once for each client. Errors: E_SCENARIO_FIELD, for what the cluster does not have.
 */
import ipaddr from 'ipaddr.js'
import { UserError } from '../errors.ts'
import { type Entrance, entranceOf, findIngress, SCHEME_PORTS } from '../ingress/index.ts'
import type { Cluster, ClusterPod, ClusterService, ClusterServicePort } from '../k8s/cluster.ts'
import { ipFromBigInt, parseCidr } from '../k8s/ip.ts'
import { suggestion } from '../nearest.ts'
import { type Sampler, weighted, zipf } from './distributions.ts'
import {
  type DestinationKind,
  PROTOCOL_NAMES,
  type ProtocolNumber,
  type Scheme,
  type Steer,
  type TraceDestination,
  type TraceRequest,
} from './format.ts'
import type { Scenario, Source, Stream, Target, Via } from './scenario.ts'

export interface TrafficPlan {
  readonly addresses: { readonly v4: Uint8Array; readonly v6: Uint8Array }
  readonly clientNames: readonly (readonly [number, string])[]
  readonly destinations: readonly TraceDestination[]
  /** The distinct HTTP requests of all streams. */
  readonly requests: readonly TraceRequest[]
  readonly streams: readonly StreamPlan[]
}

export interface StreamPlan {
  readonly stream: Stream
  /** Clients that arrive by themselves; those behind a NAT share addresses. */
  readonly clients: number
  /** Address id of client i, by IP family; null where the stream has none of that family. */
  readonly clientAddresses: { readonly v4: Uint32Array | null; readonly v6: Uint32Array | null }
  readonly chooseClient: Sampler
  /** Indices of destinations; `chooseDestination` gives a position in it. */
  readonly destinations: Uint32Array
  readonly chooseDestination: Sampler
  /** What exchanges ask for, or null for a stream that does not speak HTTP. */
  readonly http: HttpPlan | null
}

export interface HttpPlan {
  /** One of the stream's exchanges. */
  readonly choose: Sampler
  /** Index of the request that exchange e is, by position among the stream's destinations: their schemes differ. */
  readonly requests: readonly Uint32Array[]
}

/** A destination before ids are final: `address` is the text. */
type Dialled = Omit<TraceDestination, 'address'> & { readonly address: string }
/** A destination of a stream, and what its connections speak where they speak HTTP. */
interface Choice {
  readonly destination: number
  readonly weight: number
  readonly scheme: Scheme
}
type Family = 'v4' | 'v6'
/** Text of client i in each family it has. */
interface Clients {
  readonly count: number
  readonly v4: readonly string[] | null
  readonly v6: readonly string[] | null
}

/** @param file  of the scenario, for messages */
export function planTraffic(scenario: Scenario, cluster: Cluster, file: string): TrafficPlan {
  const named = scenario.traffic.some((stream) => stream.to.some(({ kind }) => kind === 'name'))
  const planner = new Planner(cluster, file, named)
  planner.enter(scenario.traffic.flatMap((stream) => stream.to))
  const drafts = scenario.traffic.map((stream) => ({ stream, ...planner.draft(stream) }))
  const { addresses, idOf } = planner.table.finish()
  const ids = (texts: readonly string[] | null) => (texts === null ? null : Uint32Array.from(texts, idOf))
  return {
    addresses,
    clientNames: [...planner.podNames].map(([address, name]) => [idOf(address), name] as const),
    destinations: planner.dialled.map((destination) => ({ ...destination, address: idOf(destination.address) })),
    requests: planner.requests,
    streams: drafts.map(({ stream, clients, choices }) => ({
      stream,
      clients: clients.count,
      clientAddresses: { v4: ids(clients.v4), v6: ids(clients.v6) },
      chooseClient: zipf(clients.count, stream.clientExponent),
      destinations: Uint32Array.from(choices, ({ destination }) => destination),
      chooseDestination: weighted(choices.map(({ weight }) => weight)),
      http: planner.httpOf(stream, choices),
    })),
  }
}

class Planner {
  readonly table: AddressTable = new AddressTable()
  readonly dialled: Dialled[] = []
  readonly requests: TraceRequest[] = []
  /** Address of a client pod to `pod/namespace/name`. */
  readonly podNames: Map<string, string> = new Map()
  private readonly cluster: Cluster
  private readonly file: string
  private readonly indexOfDialled = new Map<string, number>()
  private readonly indexOfRequest = new Map<string, number>()
  /** By field of the target. */
  private readonly entrances = new Map<string, { readonly entrance: Entrance; readonly scheme: Scheme }>()
  /** Some target is a name. */
  private readonly named: boolean

  private readonly clusterAddresses: Set<string>

  constructor(cluster: Cluster, file: string, named: boolean) {
    this.cluster = cluster
    this.file = file
    this.named = named
    this.clusterAddresses = new Set([
      ...cluster.nodes.flatMap((node) => node.addresses),
      ...cluster.pods.flatMap((pod) => pod.addresses),
      ...cluster.services.flatMap((service) => [
        ...service.clusterIPs,
        ...service.externalIPs,
        ...service.loadBalancer.map(({ ip }) => ip),
      ]),
    ])
  }

  /** Find the entrances of Ingresses, whose addresses no client may have: to be done before any `draft`. */
  enter(targets: readonly Target[]): void {
    for (const target of targets) {
      if (target.kind !== 'ingress') continue
      const name = `${target.namespace}/${target.name}`
      try {
        const tls: unknown = findIngress(this.cluster, name).spec?.tls
        const hasTls = Array.isArray(tls) && tls.length > 0
        const isHttps = target.port === null ? hasTls : target.port === SCHEME_PORTS.https
        const scheme = isHttps ? 'https' : 'http'
        const entrance = entranceOf(this.cluster, name, scheme, target.path)
        for (const { address } of entrance.dialled) this.clusterAddresses.add(address)
        this.entrances.set(target.field, { entrance, scheme })
      } catch (error) {
        if (!(error instanceof UserError)) throw error
        this.refuse(`${target.field}.ingress`, error.message, error.hint)
      }
    }
  }

  draft(stream: Stream): { clients: Clients; choices: Choice[] } {
    const clients = this.clientsOf(stream)
    const choices = stream.to.flatMap((target, rank) => {
      const dialled = this.dial(target, stream.from, clients)
      if (stream.http.length > 0 && dialled.some(({ protocol }) => protocol !== 6))
        this.refuse(target.field, 'is not TCP, and http goes over TCP')
      const weight = (target.weight * (rank + 1) ** -stream.targetExponent) / dialled.length
      return dialled.map((destination) => ({
        destination: this.indexOf(destination),
        weight,
        scheme: this.schemeOf(target, destination),
      }))
    })
    return { clients, choices }
  }

  httpOf(stream: Stream, choices: readonly Choice[]): HttpPlan | null {
    if (stream.http.length === 0) return null
    return {
      choose: weighted(stream.http.map(({ weight }) => weight)),
      requests: choices.map(({ scheme }) =>
        Uint32Array.from(stream.http, ({ host, path, method }) => this.requestIndex({ host, path, method, scheme })),
      ),
    }
  }

  private requestIndex(request: TraceRequest): number {
    const key = JSON.stringify([request.host, request.path, request.method, request.scheme])
    const index = this.indexOfRequest.get(key) ?? this.requests.push(request) - 1
    this.indexOfRequest.set(key, index)
    return index
  }

  /** https on port 443 and on a Service port of that name, http otherwise. */
  private schemeOf(target: Target, { port, servicePort }: Dialled): Scheme {
    if (target.kind === 'ingress') return this.entrances.get(target.field)!.scheme
    if (target.kind !== 'service') return port === SCHEME_PORTS.https ? 'https' : 'http'
    const name = this.service(target).ports.find((one) => one.port === servicePort)?.name
    return servicePort === SCHEME_PORTS.https || name === 'https' ? 'https' : 'http'
  }

  private refuse(field: string, message: string, hint: string = ''): never {
    throw new UserError('E_SCENARIO_FIELD', `${field}: ${message}`, { where: this.file, hint })
  }

  private indexOf(destination: Dialled): number {
    const key = JSON.stringify(destination)
    let index = this.indexOfDialled.get(key)
    if (index === undefined) {
      index = this.dialled.push(destination) - 1
      this.indexOfDialled.set(key, index)
      this.table.add(destination.address)
    }
    return index
  }

  private clientsOf(stream: Stream): Clients {
    const { from } = stream
    if (from.kind === 'pods') return this.podClients(from, stream.name)
    if (from.kind === 'addresses') return this.clientsAt(from.addresses, stream.name)
    const addresses = this.addressesOf(from.cidr, from.addresses, stream.name)
    if (from.kind === 'external') return this.clientsAt(addresses, stream.name)
    return this.clientsAt(
      Array.from({ length: from.clients }, (_, client) => addresses[client % addresses.length]!),
      stream.name,
    )
  }

  private clientsAt(addresses: readonly string[], name: string): Clients {
    for (const address of addresses) this.table.add(address)
    const six = addresses.filter(isSix).length
    if (six > 0 && six < addresses.length)
      this.refuse(`${name}.from`, 'has IPv4 and IPv6 addresses; use a stream for each')
    return { count: addresses.length, v4: six === 0 ? addresses : null, v6: six === 0 ? null : addresses }
  }

  private podClients(from: Extract<Source, { kind: 'pods' }>, name: string): Clients {
    const matches = (pod: ClusterPod): boolean =>
      pod.addresses.length > 0 &&
      (from.namespace === null || pod.namespace === from.namespace) &&
      (from.name === null || pod.name === from.name) &&
      (from.workload === null || isOwnedBy(pod, from.workload)) &&
      Object.entries(from.selector).every(([label, value]) => pod.labels[label] === value)
    const pods = this.cluster.pods.filter(matches)
    if (pods.length === 0) {
      const known = [...new Set(this.cluster.pods.map((pod) => (from.name === null ? pod.owner : pod.name)))]
      this.refuse(
        `${name}.from.pods`,
        'matches no pod that has an address',
        suggestion(from.name ?? from.workload ?? '', known),
      )
    }
    const inFamily = (family: Family): readonly string[] | null => {
      const texts = pods.map((pod) => pod.addresses.find((address) => familyOf(address) === family))
      if (!texts.every((text) => text !== undefined)) return null
      texts.forEach((text, i) => {
        this.table.add(text)
        if (!this.podNames.has(text)) this.podNames.set(text, `pod/${pods[i]!.namespace}/${pods[i]!.name}`)
      })
      return texts
    }
    return { count: pods.length, v4: inFamily('v4'), v6: inFamily('v6') }
  }

  /** The first `count` host addresses of a CIDR that are not the cluster's own. */
  private addressesOf(cidr: string, count: number, name: string): string[] {
    const { prefix, family, first } = parseCidr(cidr)!
    const bits = (family === 'IPv6' ? 128 : 32) - prefix
    // The network's own address and IPv4's broadcast address are no hosts, but in the smallest networks they are.
    const skipped = bits >= 2 ? 1 : 0
    let room = 2 ** bits - (family === 'IPv4' ? 2 * skipped : skipped)
    if (count > room) this.refuse(`${name}.from`, `${cidr} has ${room} addresses, ${count} are asked for`)
    const addresses: string[] = []
    for (let host = skipped; addresses.length < count; host++) {
      const address = ipFromBigInt(first + BigInt(host), family)
      if (!this.clusterAddresses.has(address)) addresses.push(address)
      else if (--room < count) this.refuse(`${name}.from`, `${cidr} has too few addresses beside those of the cluster`)
    }
    return addresses
  }

  /** What a target's clients dial: one destination, or one for each node. */
  private dial(target: Target, from: Source, clients: Clients): Dialled[] {
    if (target.kind === 'address') {
      const { address, port, protocol } = target
      if (clients[familyOf(address)] === null) this.refuse(target.field, 'has no client of its IP family')
      const steer = this.steerOf('tuple', from)
      return [{ address, port, protocol, to: 'address', service: null, servicePort: null, node: null, steer }]
    }
    if (target.kind === 'name') return [this.dialName(target, from, clients)]
    if (target.kind === 'ingress') return this.dialIngress(target, from, clients)
    const service = this.service(target)
    const port = this.port(service, target)
    const via = target.via === 'auto' ? this.chooseVia(service, port, from, target) : target.via
    if (target.node !== null && via !== 'nodePort') this.refuse(`${target.field}.node`, 'goes with via: nodePort')
    const candidates = this.addressesToDial(service, port, via, target, from.kind === 'pods')
    const family = (['v4', 'v6'] as const).find(
      (family) => clients[family] !== null && candidates.some(({ address }) => familyOf(address) === family),
    )
    if (family === undefined) this.refuse(target.field, `has no ${via} of its clients' IP family`)
    const inFamily = candidates.filter(({ address }) => familyOf(address) === family)
    const protocol = Number(
      Object.entries(PROTOCOL_NAMES).find(([, name]) => name === port.protocol)![0],
    ) as ProtocolNumber
    // One address is dialled, as a name in DNS leads to; nodePorts are dialled on all nodes.
    return (via === 'nodePort' ? inFamily : inFamily.slice(0, 1)).map(({ address, node, steer }) => ({
      address,
      port: via === 'nodePort' ? port.nodePort : port.port,
      protocol,
      to: via,
      service: `${service.namespace}/${service.name}`,
      servicePort: port.port,
      node,
      steer: this.steerOf(steer, from),
    }))
  }

  /** What the Ingress's entrance says, with the affinity of the proxy's Service where one is dialled. */
  private dialIngress(target: Extract<Target, { kind: 'ingress' }>, from: Source, clients: Clients): Dialled[] {
    const { entrance } = this.entrances.get(target.field)!
    const inFamily = entrance.dialled.filter(({ address }) => clients[familyOf(address)] !== null)
    if (inFamily.length === 0) this.refuse(`${target.field}.ingress`, "has no address of its clients' IP family")
    return inFamily.map(({ address, port, node, service: name }) => {
      const service = this.cluster.services.find((service) => `${service.namespace}/${service.name}` === name)
      return {
        address,
        port,
        protocol: 6,
        to: 'ingress',
        ingress: `${target.namespace}/${target.name}`,
        ...(target.path === null ? {} : { path: target.path }),
        service: null,
        servicePort: null,
        node,
        steer: this.steerOf(service === undefined ? 'tuple' : steerAt(service, address), from),
      }
    })
  }

  /** The address is asked for when the connection opens; until then it only says of which family the client is. */
  private dialName(target: Extract<Target, { kind: 'name' }>, from: Source, clients: Clients): Dialled {
    const { name, port, protocol } = target
    if (from.kind !== 'pods') {
      this.refuse(
        `${target.field}.name`,
        'is a name, and only pods have a resolver',
        'use pods as clients, or an address',
      )
    }
    const address = clients.v4 !== null ? '0.0.0.0' : '::'
    return { address, port, protocol, to: 'name', name, service: null, servicePort: null, node: null, steer: 'client' }
  }

  /**
   * A client's names, its resolver's cache and its questions are together; so is what else it dials, since a name may lead
   * to the very address and port that another connection of its uses.
   */
  private steerOf(steer: Steer, from: Source): Steer {
    return this.named && from.kind === 'pods' && steer === 'tuple' ? 'client' : steer
  }

  private service(target: Extract<Target, { kind: 'service' }>): ClusterService {
    const { namespace, name } = target
    const found = this.cluster.services.find((service) => service.namespace === namespace && service.name === name)
    const known = this.cluster.services.map((service) => `${service.namespace}/${service.name}`)
    const service =
      found ??
      this.refuse(
        `${target.field}.service`,
        `there is no Service ${namespace}/${name}`,
        suggestion(`${namespace}/${name}`, known),
      )
    if (service.type === 'ExternalName' || service.headless) {
      const what = service.headless ? 'headless' : 'an ExternalName'
      this.refuse(
        `${target.field}.service`,
        `Service ${namespace}/${name} is ${what}: it has no address to dial`,
        'give address and port instead',
      )
    }
    return service
  }

  private port(service: ClusterService, target: Extract<Target, { kind: 'service' }>): ClusterServicePort {
    const { ports } = service
    const found = ports.find((port) => target.port === null || port.port === target.port || port.name === target.port)
    if (found !== undefined && (target.port !== null || ports.length === 1)) return found
    const known = ports.map((port) => (port.name === '' ? String(port.port) : port.name)).join(', ')
    return this.refuse(`${target.field}.port`, `must be one of Service ${target.namespace}/${target.name}: ${known}`)
  }

  private chooseVia(
    service: ClusterService,
    port: ClusterServicePort,
    from: Source,
    target: Target,
  ): DestinationKind & Via {
    if (from.kind === 'pods') return 'clusterIP'
    if (service.loadBalancer.some(({ ip }) => ip !== '')) return 'loadBalancerIP'
    if (service.externalIPs.length > 0) return 'externalIP'
    if (port.nodePort > 0) return 'nodePort'
    return this.refuse(
      target.field,
      'cannot be reached from outside the cluster',
      'use pods as clients, or another Service',
    )
  }

  private addressesToDial(
    service: ClusterService,
    port: ClusterServicePort,
    via: DestinationKind & Via,
    target: Extract<Target, { kind: 'service' }>,
    fromPods: boolean,
  ): { address: string; node: string | null; steer: Steer }[] {
    const plain = (address: string) => ({ address, node: null, steer: steerAt(service, address) })
    if (via === 'clusterIP') return service.clusterIPs.map(plain)
    if (via === 'externalIP') return service.externalIPs.map(plain)
    if (via === 'loadBalancerIP' && fromPods && service.loadBalancer.some(({ ipMode }) => ipMode === 'Proxy')) {
      this.refuse(
        `${target.field}.via`,
        'leads pods out to a load balancer that kube-proxy has no rule for, and the way back in is not modelled',
        'use via: clusterIP, or clients outside of the cluster',
      )
    }
    if (via === 'loadBalancerIP') return service.loadBalancer.flatMap(({ ip }) => (ip === '' ? [] : [plain(ip)]))
    const nodes = this.cluster.nodes.filter((node) => (target.node === null ? node.ready : node.name === target.node))
    if (nodes.length === 0) {
      const known = this.cluster.nodes.map((node) => node.name)
      this.refuse(`${target.field}.node`, 'is not a node of the cluster', suggestion(target.node ?? '', known))
    }
    if (port.nodePort === 0) return []
    return nodes.flatMap((node) =>
      (['v4', 'v6'] as const).flatMap((family) => {
        const address = node.addresses.find((text) => familyOf(text) === family)
        return address === undefined ? [] : [{ ...plain(address), node: node.name }]
      }),
    )
  }
}

/** What must stay together of a Service's connections: a client's, or all, behind a load balancer that hides its clients. */
function steerAt(service: ClusterService, address: string): Steer {
  if (service.affinityTimeoutSeconds === 0) return 'tuple'
  return service.loadBalancer.some(
    ({ ip, ipMode, keepsClient }) => ip === address && ipMode === 'Proxy' && !keepsClient,
  )
    ? 'destination'
    : 'client'
}

/** Distinct addresses in order of first use; ids are known when all have been added, as IPv4 comes first. */
class AddressTable {
  private readonly v4 = new Map<string, number>()
  private readonly v6 = new Map<string, number>()

  add(address: string): void {
    const table = isSix(address) ? this.v6 : this.v4
    if (!table.has(address)) table.set(address, table.size)
  }

  finish(): { addresses: TrafficPlan['addresses']; idOf: (address: string) => number } {
    const bytesOf = (table: Map<string, number>, width: number): Uint8Array => {
      const bytes = new Uint8Array(table.size * width)
      for (const [address, position] of table) bytes.set(ipaddr.parse(address).toByteArray(), position * width)
      return bytes
    }
    return {
      addresses: { v4: bytesOf(this.v4, 4), v6: bytesOf(this.v6, 16) },
      idOf: (address) => (isSix(address) ? this.v4.size + this.v6.get(address)! : this.v4.get(address)!),
    }
  }
}

/** `web`, `Deployment/web` or `deployment/web` names the owner `Deployment default/web`. */
function isOwnedBy(pod: ClusterPod, workload: string): boolean {
  const [kind, owner] = pod.owner.split(' ')
  const name = owner?.split('/')[1]
  const [first, second] = workload.split('/')
  return second === undefined ? name === first : name === second && kind?.toLowerCase() === first!.toLowerCase()
}

/** Of canonical text. */
function isSix(address: string): boolean {
  return address.includes(':')
}

function familyOf(address: string): Family {
  return isSix(address) ? 'v6' : 'v4'
}
