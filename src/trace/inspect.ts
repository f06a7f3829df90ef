/**
 * What is in a trace: `dpemu inspect`.
 *
 * One pass over the file, which is checked on the way (verify.ts). Memory: some 20 bytes for each slot, a count for each
 * address and destination.
 */
import {
  addressCount,
  addressText,
  CONNECTIONS_BLOCK,
  type DestinationKind,
  FLAG_REPLY,
  LANES,
  PACKETS_BLOCK,
  PROTOCOL_NAMES,
  REQUESTS_BLOCK,
  type RequestColumns,
  type Steer,
  TICKS_PER_SECOND,
  type TraceTotals,
} from './format.ts'
import { LogHistogram } from './log-histogram.ts'
import { openTrace, type TraceFile } from './read.ts'
import { scanTrace } from './verify.ts'

/** How many of the busiest clients are named. */
const TOP_CLIENTS = 5
/** How many of the most frequent hosts and paths are named. */
const TOP_REQUESTS = 10

export interface TraceInspection {
  schemaVersion: 1
  kind: 'inspect'
  file: {
    bytes: number
    format: string
    version: number
    windows: number
    connectionBlocks: number
    packetBlocks: number
    requestBlocks: number
    maxRows: number
  }
  name: string
  provenance: { generator: string; seed: number; scenario: string | null }
  totals: { packets: number; connections: number; bytes: number; durationSeconds: number; clients: number }
  rates: { packetsPerSecond: number; connectionsPerSecond: number; bitsPerSecond: number }
  directions: { original: Amount; reply: Amount }
  protocols: (Amount & { protocol: string; connections: number })[]
  destinations: DestinationInspection[]
  /** HTTP requests; all 0 and empty in a trace without. */
  requests: RequestInspection
  /** The busiest first. */
  topClients: { address: string; name: string | null; connections: number }[]
  packetBytes: Spread
  connectionPackets: Spread
  connectionBytes: Spread
  /** How evenly the work could be shared out. */
  lanes: { count: number; used: number; maxPackets: number; maxOverMean: number; slots: number }
  manifests: { name: string; bytes: number }[]
}

export interface Amount {
  packets: number
  bytes: number
}

export interface RequestInspection {
  count: number
  /** Different combinations of host, path, method and scheme that were asked for. */
  distinct: number
  /** By host and path, whatever the method and scheme, the most frequent first; at most ten. `share` is of `count`. */
  top: { host: string; path: string; count: number; share: number }[]
}

export interface DestinationInspection extends Amount {
  address: string
  port: number
  protocol: string
  to: DestinationKind
  /** What a client resolves first, with `to: name`. */
  name?: string
  /** Whose entrance it is, with `to: ingress`. */
  ingress?: string
  service: string | null
  servicePort: number | null
  node: string | null
  steer: Steer
  connections: number
}

/** Values are exact below 128 and within 1/64 above. */
export interface Spread {
  count: number
  mean: number
  min: number
  p50: number
  p90: number
  p99: number
  max: number
}

/** Errors: those of `openTrace` and `scanTrace`; nothing is reported of a damaged trace. */
export function inspectTrace(path: string): TraceInspection {
  const trace = openTrace(path)
  try {
    return inspect(trace)
  } finally {
    trace.close()
  }
}

function inspect(trace: TraceFile): TraceInspection {
  const { header, index, totals } = trace
  const statistics = new Statistics(trace)
  scanTrace(trace, statistics)
  statistics.closeAll()
  const { connectionsOf, packetsOf, bytesOf, lanePackets } = statistics
  const seconds = totals.durationTicks / TICKS_PER_SECOND
  const perSecond = (amount: number): number => (seconds > 0 ? amount / seconds : 0)
  const destinations = header.destinations.map((destination, i) => ({
    ...destination,
    address: addressText(header.addresses, destination.address),
    protocol: PROTOCOL_NAMES[destination.protocol],
    connections: connectionsOf[i]!,
    packets: packetsOf[i]!,
    bytes: bytesOf[i]!,
  }))
  const protocols = [...new Set(destinations.map(({ protocol }) => protocol))].map((protocol) => {
    const those = destinations.filter((destination) => destination.protocol === protocol)
    const sum = (amount: 'connections' | 'packets' | 'bytes') => those.reduce((all, one) => all + one[amount], 0)
    return { protocol, connections: sum('connections'), packets: sum('packets'), bytes: sum('bytes') }
  })
  const blocks = (wanted: number) => index.kind.reduce((count, kind) => count + (kind === wanted ? 1 : 0), 0)
  const maxPackets = Math.max(...lanePackets)
  return {
    schemaVersion: 1,
    kind: 'inspect',
    file: {
      bytes: trace.fileBytes,
      format: header.format,
      version: header.version,
      windows: totals.windows,
      connectionBlocks: blocks(CONNECTIONS_BLOCK),
      packetBlocks: blocks(PACKETS_BLOCK),
      requestBlocks: blocks(REQUESTS_BLOCK),
      maxRows: trace.maxRows,
    },
    name: header.name,
    provenance: header.provenance,
    totals: totalsInSeconds(totals, seconds),
    rates: {
      packetsPerSecond: perSecond(totals.packets),
      connectionsPerSecond: perSecond(totals.connections),
      bitsPerSecond: perSecond(totals.bytes * 8),
    },
    directions: { original: statistics.original, reply: statistics.reply },
    protocols,
    destinations,
    requests: requestsAsked(trace, statistics.countOfRequest),
    topClients: topClients(trace, statistics.connectionsOfClient),
    packetBytes: spread(statistics.packetBytes),
    connectionPackets: spread(statistics.connectionPackets),
    connectionBytes: spread(statistics.connectionBytes),
    lanes: {
      count: LANES,
      used: lanePackets.reduce((used, packets) => used + (packets > 0 ? 1 : 0), 0),
      maxPackets,
      maxOverMean: totals.packets > 0 ? (maxPackets * LANES) / totals.packets : 0,
      slots: trace.slotsPerLane.reduce((sum, slots) => sum + slots, 0),
    },
    manifests: header.manifests.map(({ name, text }) => ({ name, bytes: Buffer.byteLength(text) })),
  }
}

/** What the pass counts, by destination, client, lane and slot. */
class Statistics {
  readonly connectionsOf: Float64Array
  readonly packetsOf: Float64Array
  readonly bytesOf: Float64Array
  readonly connectionsOfClient: Uint32Array
  /** By index into the header's requests. */
  readonly countOfRequest: Float64Array
  readonly lanePackets: Float64Array = new Float64Array(LANES)
  readonly original: Amount = { packets: 0, bytes: 0 }
  readonly reply: Amount = { packets: 0, bytes: 0 }
  readonly packetBytes: LogHistogram = new LogHistogram()
  readonly connectionPackets: LogHistogram = new LogHistogram()
  readonly connectionBytes: LogHistogram = new LogHistogram()
  /** By lane and slot: destination + 1 of the connection that lives there, what it has sent so far. */
  private readonly living: readonly { destination: Uint32Array; packets: Float64Array; bytes: Float64Array }[]

  constructor(trace: TraceFile) {
    const destinations = trace.header.destinations.length
    this.connectionsOf = new Float64Array(destinations)
    this.packetsOf = new Float64Array(destinations)
    this.bytesOf = new Float64Array(destinations)
    this.connectionsOfClient = new Uint32Array(addressCount(trace.header.addresses))
    this.countOfRequest = new Float64Array(trace.header.requests?.length ?? 0)
    this.living = Array.from(trace.slotsPerLane, (slots) => ({
      destination: new Uint32Array(slots),
      packets: new Float64Array(slots),
      bytes: new Float64Array(slots),
    }))
  }

  connections(
    columns: { slot: Uint32Array; client: Uint32Array; destination: Uint32Array },
    rows: number,
    lane: number,
  ): void {
    const living = this.living[lane]!
    for (let row = 0; row < rows; row++) {
      const slot = columns.slot[row]!
      this.closeSlot(living, slot)
      living.destination[slot] = columns.destination[row]! + 1
      this.connectionsOf[columns.destination[row]!]!++
      this.connectionsOfClient[columns.client[row]!]!++
    }
  }

  packets(columns: { slot: Uint32Array; flags: Uint8Array; length: Uint16Array }, rows: number, lane: number): void {
    const living = this.living[lane]!
    for (let row = 0; row < rows; row++) {
      const slot = columns.slot[row]!
      const length = columns.length[row]!
      const direction = columns.flags[row]! & FLAG_REPLY ? this.reply : this.original
      direction.packets++
      direction.bytes += length
      living.packets[slot]!++
      living.bytes[slot]! += length
      this.packetBytes.record(length)
    }
    this.lanePackets[lane]! += rows
  }

  requests({ request }: RequestColumns, rows: number): void {
    for (let i = 0; i < rows; i++) this.countOfRequest[request[i]!]!++
  }

  closeAll(): void {
    for (const living of this.living) {
      for (let slot = 0; slot < living.destination.length; slot++) this.closeSlot(living, slot)
    }
  }

  private closeSlot(living: (typeof this.living)[number], slot: number): void {
    const destination = living.destination[slot]! - 1
    if (destination < 0) return
    this.packetsOf[destination]! += living.packets[slot]!
    this.bytesOf[destination]! += living.bytes[slot]!
    this.connectionPackets.record(living.packets[slot]!)
    this.connectionBytes.record(living.bytes[slot]!)
    living.packets[slot] = 0
    living.bytes[slot] = 0
  }
}

function requestsAsked(trace: TraceFile, counts: Float64Array): RequestInspection {
  const { requests = [] } = trace.header
  const count = trace.requestCount
  const byPlace = new Map<string, { host: string; path: string; count: number }>()
  requests.forEach(({ host, path }, i) => {
    if (counts[i] === 0) return
    const key = JSON.stringify([host, path])
    const place = byPlace.get(key)
    if (place === undefined) byPlace.set(key, { host, path, count: counts[i]! })
    else place.count += counts[i]!
  })
  // Sorting is stable: of equals the one that the header lists first.
  const top = [...byPlace.values()].sort((a, b) => b.count - a.count).slice(0, TOP_REQUESTS)
  return {
    count,
    distinct: counts.reduce((distinct, times) => distinct + (times > 0 ? 1 : 0), 0),
    top: top.map((place) => ({ ...place, share: place.count / count })),
  }
}

function topClients(trace: TraceFile, connections: Uint32Array): TraceInspection['topClients'] {
  const { addresses, clientNames } = trace.header
  const names = new Map(clientNames)
  const top: number[] = []
  for (let client = 0; client < connections.length; client++) {
    if (connections[client]! === 0) continue
    if (top.length === TOP_CLIENTS && connections[top.at(-1)!]! >= connections[client]!) continue
    top.push(client)
    top.sort((a, b) => connections[b]! - connections[a]! || a - b)
    top.length = Math.min(top.length, TOP_CLIENTS)
  }
  return top.map((client) => ({
    address: addressText(addresses, client),
    name: names.get(client) ?? null,
    connections: connections[client]!,
  }))
}

function totalsInSeconds(totals: TraceTotals, durationSeconds: number): TraceInspection['totals'] {
  const { packets, connections, bytes, clients } = totals
  return { packets, connections, bytes, durationSeconds, clients }
}

function spread(histogram: LogHistogram): Spread {
  const { count, sum, max } = histogram
  return {
    count,
    mean: count > 0 ? sum / count : 0,
    min: count > 0 ? histogram.min : 0,
    p50: histogram.quantile(0.5),
    p90: histogram.quantile(0.9),
    p99: histogram.quantile(0.99),
    max,
  }
}
