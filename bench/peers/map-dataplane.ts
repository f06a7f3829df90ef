/**
 * The same dataplane as one would write it first: objects, and a Map with a string key for each direction of a flow.
 *
 * One node, TCP; addresses are text, as manifests write them. It makes every decision that the core makes — Service lookup,
 * affinity, endpoint choice, masquerade port search, state machine, timers, sweep, counters, latency histogram — out of the
 * Cluster and not of the compiled rules, so that equal digests mean something. It shares the core's published tables and seeded choices (state transitions,
 * random words, port search, buckets): these define the answer. The result is written in the core's layout.
 */
import {
  bucketOf,
  DELETE,
  draw,
  ENDPOINT_BYTES,
  ENDPOINT_CONNECTIONS,
  ENDPOINT_PACKETS,
  ENDPOINT_WORDS,
  ESTABLISHED,
  FLAG_CLASS,
  FLAG_REPLY,
  findPort,
  finish,
  firstPacketCost,
  HEADER_ONLY_BYTES,
  HISTOGRAM_MAX,
  HISTOGRAM_SUM,
  IGNORED,
  INVALID,
  mix,
  PURPOSE_COST,
  PURPOSE_ENDPOINT,
  PURPOSE_SNAT,
  pickUniform,
  REASON_INSERT_FAILED,
  REASON_INVALID_STATE,
  REASON_REPLY_LOST,
  REASON_SNAT_PORTS_EXHAUSTED,
  REOPEN,
  type ResultLayout,
  resultLayout,
  STATUS_ASSURED,
  STATUS_SEEN_REPLY,
  SYN_RECV,
  TICKS_PER_MS,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
  TOTAL_NOT_SENT,
  TOTAL_OFFERED_PACKETS,
  TRANSITIONS,
} from '../../native-free-core/index.ts'
import { SWEEP_MS, type World } from '../world.ts'

const TCP = 6
/** nodeProtocol of the core on node 0: part of its seeded choices. */
const NODE_PROTOCOL = TCP

interface MapEndpoint {
  /** The registry's number, for the counters. */
  readonly id: number
  readonly addressId: number
  readonly address: string
  readonly port: number
}

interface MapService {
  readonly name: string
  readonly endpoints: readonly MapEndpoint[]
  readonly affinityMs: number
  /** Whether this frontend masquerades, and is reached through the load balancer. */
  readonly external: boolean
}

interface MapEntry {
  readonly originalKey: string
  readonly replyKey: string
  readonly endpoint: MapEndpoint
  readonly nanos: number
  state: number
  status: number
  expiresMs: number
}

interface MapConnection {
  /** Addresses as manifests and traces write them; their numbers are part of the seeded choices alone. */
  readonly client: string
  readonly destination: string
  readonly clientId: number
  readonly destinationId: number
  readonly sourcePort: number
  readonly destinationPort: number
  /** What the server sees and answers to, once it is open. */
  reply: { source: string; destination: string; sourcePort: number; destinationPort: number } | null
  failed: boolean
}

export class MapDataplane {
  readonly layout: ResultLayout
  readonly result: Float64Array
  private readonly services: ReadonlyMap<string, MapService>
  private readonly entries = new Map<string, MapEntry>()
  private readonly affinity = new Map<string, { endpoint: MapEndpoint; expiresMs: number }>()
  private readonly connections: MapConnection[] = []
  private readonly world: World
  private readonly seed: number
  private readonly gateway: string
  private readonly addresses: readonly string[]
  private nextSweepMs = SWEEP_MS

  constructor(world: World, seed: number) {
    this.world = world
    this.seed = seed
    this.layout = resultLayout(1, world.endpoints)
    this.result = new Float64Array(this.layout.length)
    this.gateway = '10.0.0.1'
    this.addresses = Array.from({ length: world.registry.addressCount }, (_, id) => world.registry.addressText(id))
    this.services = mapServices(world)
  }

  get size(): number {
    return this.entries.size / 2
  }

  define(slot: number, client: number, destination: number, sourcePort: number): void {
    const dialled = this.world.destinations[destination]
    this.connections[slot] = {
      client: this.addresses[client],
      destination: this.addresses[dialled.address],
      clientId: client,
      destinationId: dialled.address,
      sourcePort,
      destinationPort: dialled.port,
      reply: null,
      failed: false,
    }
  }

  process(slot: number, flags: number, length: number, tick: number): void {
    const nowMs = Math.floor(tick / TICKS_PER_MS)
    if (nowMs >= this.nextSweepMs) this.sweep()
    this.add(TOTAL_OFFERED_PACKETS, 1)
    const connection = this.connections[slot]
    if (connection.failed) {
      this.add(TOTAL_NOT_SENT, 1)
      return
    }
    const isReply = (flags & FLAG_REPLY) !== 0
    const { reply } = connection
    if (reply === null) {
      this.open(connection, flags, length, nowMs, tick)
      return
    }
    const key = isReply
      ? tupleKey(reply.source, reply.destination, reply.sourcePort, reply.destinationPort)
      : tupleKey(connection.client, connection.destination, connection.sourcePort, connection.destinationPort)
    const entry = this.entries.get(key)
    if (entry === undefined || entry.expiresMs <= nowMs) {
      if (entry !== undefined) this.remove(entry)
      if (isReply) {
        connection.failed = true
        this.lose(REASON_REPLY_LOST)
      } else this.open(connection, flags, length, nowMs, tick)
      return
    }
    const outcome = this.advance(entry, isReply, flags, length, nowMs)
    if (outcome === INVALID) {
      this.lose(REASON_INVALID_STATE)
      return
    }
    this.deliver(entry.endpoint, length, entry.nanos)
  }

  private open(connection: MapConnection, flags: number, length: number, nowMs: number, tick: number): void {
    const { client, clientId, destination, destinationId, sourcePort, destinationPort } = connection
    const { model } = this.world
    const key = tupleKey(client, destination, sourcePort, destinationPort)
    const known = this.entries.get(key)
    if (known !== undefined) this.remove(known)
    const service = this.services.get(`${destination}:${destinationPort}/${TCP}`) as MapService
    const ports = (sourcePort << 16) | destinationPort
    const word = finish(mix(mix(mix(tick | 0, clientId), destinationId), ports))
    const endpoint = this.chooseEndpoint(service, client, word, nowMs)
    const source = service.external ? this.gateway : client
    const chance = draw(this.seed, word, NODE_PROTOCOL, PURPOSE_SNAT)
    const port = findPort(sourcePort, chance, !service.external, 0, 1, (candidate) => {
      const taken = this.entries.get(tupleKey(endpoint.address, source, endpoint.port, candidate))
      if (taken === undefined) return false
      if (taken.expiresMs > nowMs) return true
      this.remove(taken)
      return false
    })
    if (port === 0) {
      connection.failed = true
      this.add(TOTAL_FAILED, 1)
      this.lose(service.external ? REASON_SNAT_PORTS_EXHAUSTED : REASON_INSERT_FAILED)
      return
    }
    const state = TRANSITIONS[FLAG_CLASS[flags & 63] << 4]
    const nanos =
      model.establishedNanos +
      model.podDeliveryNanos +
      (service.external ? model.loadBalancerNanos + model.masqueradeNanos : 0)
    const entry: MapEntry = {
      originalKey: key,
      replyKey: tupleKey(endpoint.address, source, endpoint.port, port),
      endpoint,
      nanos,
      state,
      status: 0,
      expiresMs: nowMs + this.timeout(state),
    }
    this.entries.set(entry.originalKey, entry)
    this.entries.set(entry.replyKey, entry)
    connection.reply = {
      source: endpoint.address,
      destination: source,
      sourcePort: endpoint.port,
      destinationPort: port,
    }
    this.add(TOTAL_ESTABLISHED, 1)
    this.add(service.external ? TOTAL_MASQUERADED : TOTAL_CLIENT_IP_KEPT, 1)
    this.result[this.layout.endpoints + endpoint.id * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS]++
    const cold = draw(this.seed, word, 0, PURPOSE_COST)
    const first = nanos + firstPacketCost(this.world.columns, 0, service.external, cold)
    this.deliver(endpoint, length, first)
  }

  private chooseEndpoint(service: MapService, client: string, word: number, nowMs: number): MapEndpoint {
    const key = `${client}@${service.name}`
    const bound = service.affinityMs > 0 ? this.affinity.get(key) : undefined
    const endpoint =
      bound !== undefined && bound.expiresMs >= nowMs
        ? bound.endpoint
        : service.endpoints[pickUniform(draw(this.seed, word, 0, PURPOSE_ENDPOINT), service.endpoints.length)]
    if (service.affinityMs > 0) this.affinity.set(key, { endpoint, expiresMs: nowMs + service.affinityMs })
    return endpoint
  }

  private advance(entry: MapEntry, isReply: boolean, flags: number, length: number, nowMs: number): number {
    const next = TRANSITIONS[(((isReply ? 6 : 0) + FLAG_CLASS[flags & 63]) << 4) | entry.state]
    if (next === REOPEN || next === DELETE) this.remove(entry)
    if (next === REOPEN || next === DELETE || next === INVALID || next === IGNORED) return next
    if (isReply) entry.status |= STATUS_SEEN_REPLY
    if (next === ESTABLISHED && (entry.state === SYN_RECV || entry.state === ESTABLISHED))
      entry.status |= STATUS_ASSURED
    entry.state = next
    const waits = next === ESTABLISHED && length > HEADER_ONLY_BYTES
    entry.expiresMs = nowMs + (waits ? this.world.model.tcpUnacknowledgedSeconds * 1000 : this.timeout(next))
    return next
  }

  private timeout(state: number): number {
    return this.world.columns.timeouts[state]
  }

  private deliver(endpoint: MapEndpoint, length: number, nanos: number): void {
    const { layout, result } = this
    this.add(TOTAL_ACCEPTED_PACKETS, 1)
    this.add(TOTAL_ACCEPTED_BYTES, length)
    const at = layout.endpoints + endpoint.id * ENDPOINT_WORDS
    result[at + ENDPOINT_PACKETS]++
    result[at + ENDPOINT_BYTES] += length
    result[layout.packetHistogram + bucketOf(nanos)]++
    result[layout.packetHistogram + HISTOGRAM_SUM] += nanos
    if (nanos > result[layout.packetHistogram + HISTOGRAM_MAX]) result[layout.packetHistogram + HISTOGRAM_MAX] = nanos
  }

  private sweep(): void {
    for (const entry of this.entries.values()) {
      if (entry.expiresMs <= this.nextSweepMs) this.remove(entry)
    }
    this.nextSweepMs += SWEEP_MS
  }

  private remove(entry: MapEntry): void {
    this.entries.delete(entry.originalKey)
    this.entries.delete(entry.replyKey)
  }

  private add(word: number, by: number): void {
    this.result[this.layout.totals + word] += by
  }

  private lose(reason: number): void {
    this.result[this.layout.reasons + reason]++
  }
}

/** Services by `address:port/protocol` of each frontend, straight from the manifests' objects. */
export function mapServices(world: World): Map<string, MapService> {
  const { cluster, registry } = world
  const services = new Map<string, MapService>()
  const ids = new Map(registry.endpoints.map((one, id) => [`${one.address}:${one.port}`, id]))
  cluster.services.forEach((service, i) => {
    const slice = cluster.slices[i]
    const port = slice.ports?.[0]?.port ?? 0
    const endpoints = slice.endpoints
      .map((one) => one.addresses[0])
      .sort((a, b) => (`${a}:${port}` < `${b}:${port}` ? -1 : 1))
      .map((address) => {
        const addressId = registry.address(address)
        return { id: ids.get(`${addressId}:${port}`) ?? -1, addressId, address, port }
      })
    const affinityMs = service.affinityTimeoutSeconds * 1000
    const add = (text: string, external: boolean): void => {
      const key = `${text}:${service.ports[0].port}/${TCP}`
      services.set(key, { name: service.name, endpoints, affinityMs, external })
    }
    add(service.clusterIPs[0], false)
    add(service.loadBalancer[0].ip, true)
  })
  return services
}

function tupleKey(source: string, destination: string, sourcePort: number, destinationPort: number): string {
  return `${source}:${sourcePort}>${destination}:${destinationPort}/${TCP}`
}
