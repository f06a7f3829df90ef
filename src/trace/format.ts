/**
 * The trace format, version 1: names, limits and types. docs/trace-format.md is its description for readers in other languages.
 *
 * A file is a sequence of MessagePack objects: the header map, blocks, the index map, and 9 bytes that say where the
 * index begins. Rows live in little-endian `bin` columns, so that a block is read with one read and a few copies.
 *
 * Invariants:
 * - A *lane* holds what must stay together (a connection, or all connections of a client); a block belongs to one lane.
 * - A *window* is a stretch of time over all lanes. No packet of window w is later than any of window w + 1, and the
 *   blocks of window w come before those of w + 1. Inside a block, time never goes back.
 * - A connection lives in a *slot* of its lane. All connection rows of a window apply before its packets, so a slot
 *   that is freed in window w is given away again in window w + 1 at the earliest.
 * - An address id is a position in the address table, IPv4 first.
 * - A requests block follows the packets block of its window and lane, and names rows of that block.
 *
 * Only little-endian hosts read and write traces; that is every platform of Node.js but s390x.
 */
import ipaddr from 'ipaddr.js'
import type { Warning } from '../errors.ts'
import type { IngressPath } from '../ingress-path.ts'
import type { Libc } from '../libc.ts'

export const TRACE_FORMAT = 'dpemu-trace'
export const TRACE_VERSION = 1
/** Length of a tick, the unit of virtual time. */
export const TICK_NANOS = 100
export const TICKS_PER_SECOND: number = 1e9 / TICK_NANOS
/** A power of two, so that a lane is a mask of a hash. */
export const LANES = 16
/** The most packets of a window over all lanes, and so the most rows of a block. */
export const MAX_WINDOW_ROWS = 262_144
/** The most ticks between the first and the last packet of a window: what a u32 offset can hold. */
export const MAX_WINDOW_TICKS = 0xffff_ffff
/** 0xcf and the byte offset of the index as u64be. */
export const TRAILER_BYTES = 9

export const CONNECTIONS_BLOCK = 0
export const PACKETS_BLOCK = 1
export const REQUESTS_BLOCK = 2
/** Block kind code (as in the index) to the name in the block. */
export const BLOCK_KINDS: readonly string[] = ['connections', 'packets', 'requests']

/** In a request's sizes: not known, as a recording may not tell. */
export const UNKNOWN_BYTES = 0xffff_ffff

/** Packet flags: the TCP header's own bits, and the direction. All 0 but the direction for UDP and SCTP. */
export const FLAG_FIN = 0x01
export const FLAG_SYN = 0x02
export const FLAG_RST = 0x04
export const FLAG_PSH = 0x08
export const FLAG_ACK = 0x10
export const FLAG_URG = 0x20
/** Set on packets from the destination back to the client. */
export const FLAG_REPLY = 0x80

/** IP protocol numbers. */
export type ProtocolNumber = 6 | 17 | 132
export const PROTOCOL_NAMES: Readonly<Record<ProtocolNumber, 'TCP' | 'UDP' | 'SCTP'>> = {
  6: 'TCP',
  17: 'UDP',
  132: 'SCTP',
}

export const DESTINATION_KINDS = [
  'clusterIP',
  'nodePort',
  'loadBalancerIP',
  'externalIP',
  'address',
  'name',
  'ingress',
] as const
export type DestinationKind = (typeof DESTINATION_KINDS)[number]

/**
 * What keeps connections in one lane: `tuple` client, source port and destination; `client` the client alone (its
 * connections share an affinity entry); `destination` the destination alone (a proxying load balancer hides the client).
 */
export const STEERS = ['tuple', 'client', 'destination'] as const
export type Steer = (typeof STEERS)[number]

/** What clients dial; a connection names one by its index. */
export interface TraceDestination {
  /** Address id. */
  readonly address: number
  readonly port: number
  readonly protocol: ProtocolNumber
  readonly to: DestinationKind
  /** With `to: name`: as the client types it (`mysql-0.mysql`). `address` then is 0.0.0.0 or ::, and only tells the family. */
  readonly name?: string
  /** With `to: ingress`: `namespace/name` of the Ingress whose entrance is dialled. `service` then is null, `protocol` 6. */
  readonly ingress?: string
  /** With `to: ingress`: the way in that the scenario asks for; left out: as the Ingress's controller has it. */
  readonly path?: IngressPath
  /** `namespace/name` of the Service the trace was made for, or null. */
  readonly service: string | null
  /** The Service's `port` (not its nodePort), or null. */
  readonly servicePort: number | null
  /** Node of a nodePort destination, or of an Ingress's entrance that is a node; null otherwise. */
  readonly node: string | null
  readonly steer: Steer
}

export interface TraceManifest {
  readonly name: string
  readonly text: string
}

export interface TraceProvenance {
  readonly generator: string
  readonly seed: number
  /** Text of the scenario, or null for a trace that was not generated. */
  readonly scenario: string | null
}

export const SCHEMES = ['http', 'https'] as const
export type Scheme = (typeof SCHEMES)[number]

/** What clients ask for over HTTP; a row of a requests block names one by its index. */
export interface TraceRequest {
  /** The Host header, as sent; '' for none. */
  readonly host: string
  /** As sent, with its query if there is one. */
  readonly path: string
  readonly method: string
  readonly scheme: Scheme
}

/** A change of the cluster at a moment of the trace: an object applied, or `{kind, namespace, name}` deleted. */
export interface TraceChange {
  readonly timeSeconds: number
  readonly apply?: unknown
  readonly delete?: unknown
}

/** How clients resolve the names that they dial. */
export interface TraceDns {
  /** Record types that a client asks for, at once. */
  readonly families: readonly AddressType[]
  /** How long a client keeps an answer, whatever its TTL; 0 not at all. */
  readonly cacheSeconds: number
  /** Who walks the search list in every client; left out: glibc. */
  readonly resolver?: Libc
  /** What the resolver outside the cluster knows: records as `name ttl type data`. */
  readonly upstream: readonly string[]
}
export const ADDRESS_TYPES = ['A', 'AAAA'] as const
export type AddressType = (typeof ADDRESS_TYPES)[number]
export const DEFAULT_DNS: TraceDns = { families: ADDRESS_TYPES, cacheSeconds: 0, upstream: [] }

/** What a writer says about a trace; the rest of the header is fixed by the version. */
export interface TraceContent {
  readonly name: string
  readonly provenance: TraceProvenance
  readonly manifests: readonly TraceManifest[]
  /** What the writer found wrong with the manifests that these are cut down from; left out where it found nothing. */
  readonly warnings?: readonly Warning[]
  /** 4 and 16 bytes an address, in network order. */
  readonly addresses: { readonly v4: Uint8Array; readonly v6: Uint8Array }
  /** Clients that are pods of the manifests: address id and `pod/namespace/name`. */
  readonly clientNames: readonly (readonly [addressId: number, name: string])[]
  readonly destinations: readonly TraceDestination[]
  readonly changes: readonly TraceChange[]
  /** A Timeline document as written, files that it applies in their place; left out without one. */
  readonly timeline?: unknown
  /** Left out of a trace that dials no name. */
  readonly dns?: TraceDns
  /** The distinct HTTP requests; left out of a trace that has none. */
  readonly requests?: readonly TraceRequest[]
}

export interface TraceHeader extends TraceContent {
  readonly format: typeof TRACE_FORMAT
  readonly version: number
  readonly tickNanos: number
  readonly lanes: number
}

export interface TraceTotals {
  readonly packets: number
  readonly connections: number
  /** IP bytes. */
  readonly bytes: number
  /** From tick 0 to the last packet. */
  readonly durationTicks: number
  readonly windows: number
  /** Distinct client addresses that have a connection. */
  readonly clients: number
}
/** The order in which totals enter the index's checksum. */
export const TOTAL_NAMES: readonly (keyof TraceTotals)[] = [
  'packets',
  'connections',
  'bytes',
  'durationTicks',
  'windows',
  'clients',
]

/** One entry a block, in file order. Blocks of unknown kinds have been left out. */
export interface TraceIndex {
  readonly count: number
  readonly kind: Uint8Array
  readonly lane: Uint8Array
  readonly window: Uint32Array
  readonly offset: Float64Array
  readonly size: Uint32Array
  readonly rows: Uint32Array
  /** Tick that a packet block's times count from; 0 for connection blocks. */
  readonly baseTick: Float64Array
}

/** Where `readPackets` puts a block's rows: packet i is at `baseTick + time[i]` ticks. */
export interface PacketColumns {
  readonly time: Uint32Array
  readonly slot: Uint32Array
  readonly flags: Uint8Array
  /** IP bytes. */
  readonly length: Uint16Array
  baseTick: number
}

/** Where `readConnections` puts a block's rows. */
export interface ConnectionColumns {
  readonly slot: Uint32Array
  /** Address id. */
  readonly client: Uint32Array
  /** Index into the header's destinations. */
  readonly destination: Uint32Array
  readonly sourcePort: Uint16Array
}

/** Where `readRequests` puts a block's rows. */
export interface RequestColumns {
  /** Row, in the packets block of the same window and lane, of the packet that begins the request; ever larger. */
  readonly row: Uint32Array
  /** Index into the header's requests. */
  readonly request: Uint32Array
  /** Payload bytes from client to server, or UNKNOWN_BYTES. */
  readonly requestBytes: Uint32Array
  /** Payload bytes of the answer, or UNKNOWN_BYTES. */
  readonly responseBytes: Uint32Array
}

export function createPacketColumns(maxRows: number): PacketColumns {
  return {
    time: new Uint32Array(maxRows),
    slot: new Uint32Array(maxRows),
    flags: new Uint8Array(maxRows),
    length: new Uint16Array(maxRows),
    baseTick: 0,
  }
}

export function createConnectionColumns(maxRows: number): ConnectionColumns {
  return {
    slot: new Uint32Array(maxRows),
    client: new Uint32Array(maxRows),
    destination: new Uint32Array(maxRows),
    sourcePort: new Uint16Array(maxRows),
  }
}

export function createRequestColumns(maxRows: number): RequestColumns {
  return {
    row: new Uint32Array(maxRows),
    request: new Uint32Array(maxRows),
    requestBytes: new Uint32Array(maxRows),
    responseBytes: new Uint32Array(maxRows),
  }
}

/** How many address ids a trace has. */
export function addressCount(addresses: TraceContent['addresses']): number {
  return addresses.v4.length / 4 + addresses.v6.length / 16
}

/** The bytes of an address id, a view of the table: 4 for IPv4, 16 for IPv6. */
export function addressBytes(addresses: TraceContent['addresses'], id: number): Uint8Array {
  const v4 = addresses.v4.length / 4
  return id < v4
    ? addresses.v4.subarray(id * 4, id * 4 + 4)
    : addresses.v6.subarray((id - v4) * 16, (id - v4) * 16 + 16)
}

/** The canonical text of an address id: `10.0.0.1`, `2001:db8::1`. */
export function addressText(addresses: TraceContent['addresses'], id: number): string {
  const address = ipaddr.fromByteArray([...addressBytes(addresses, id)])
  return address.kind() === 'ipv6' ? (address as ipaddr.IPv6).toRFC5952String() : address.toString()
}

/** The lane of a connection: a hash of what its destination's `steer` says must stay together. */
export function laneOf(steer: Steer, client: number, destination: number, sourcePort: number): number {
  let hash = 0
  if (steer === 'client') hash = Math.imul(client + 1, 0x9e3779b1)
  else if (steer === 'destination') hash = Math.imul(destination + 1, 0x85ebca77)
  else hash = Math.imul(client + 1, 0x9e3779b1) ^ Math.imul(destination * 65536 + sourcePort + 1, 0xc2b2ae3d)
  // The finalizer of MurmurHash3, so that neighbouring ids and ports spread over the lanes.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) & (LANES - 1)
}
