/**
 * What a packet is to the core: one row over the columns of `PacketColumns`, belonging to a flow record.
 *
 * Flags: TCP's own six low bits (RFC 9293 §3.1), bit 7 set for the reply direction (by who sent the first packet).
 * Times are virtual: ticks of 100 ns from the start of the trace.
 */
import type { Millis, Protocol, Tick } from './kinds.ts'

export const TCP_FIN = 1
export const TCP_SYN = 2
export const TCP_RST = 4
export const TCP_PSH = 8
export const TCP_ACK = 16
export const FLAG_REPLY = 128
/** The packet begins an HTTP request; set by the reader of a trace, in a bit that no TCP flag here has. */
export const FLAG_REQUEST = 64

export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
export const PROTOCOL_SCTP = 132

export const TICKS_PER_MS = 10_000
export const NANOS_PER_TICK = 100

/** The last packet of a message from the client: a TCP segment that is pushed, or any datagram. */
export function isRequest(flags: number, protocol: Protocol): boolean {
  return (flags & (FLAG_REPLY | TCP_PSH)) === (protocol === PROTOCOL_TCP ? TCP_PSH : 0)
}

/** The millisecond that a tick lies in, whole: conntrack's own times are its low 32 bits. */
export function wholeMs(tick: Tick): Millis {
  return Math.floor(tick / TICKS_PER_MS)
}

/** An IP packet longer than this carries payload: 40 bytes of IPv6 or 20 of IPv4 headers, TCP with options. */
export const HEADER_ONLY_BYTES = 60

/** Packets of one shard in time order. All columns have the same capacity, fixed when the core is made. */
export interface PacketColumns {
  /** Ticks from a base that is given with the rows, never decreasing. */
  readonly time: Uint32Array
  /** The connection's slot in its lane. */
  readonly slot: Uint32Array
  readonly flags: Uint8Array
  /** Bytes of the IP packet. */
  readonly length: Uint16Array
}

/** HTTP requests of a window; packets name them by their place. */
export interface RequestColumns {
  /** By row of the packet columns: place of the request that it begins + 1, 0 for none. */
  readonly at: Uint32Array
  /** Number of the request among the distinct ones of the trace. */
  readonly request: Uint32Array
  /** Bytes of its answer, UNKNOWN_BYTES where nobody said. */
  readonly responseBytes: Uint32Array
}

export const UNKNOWN_BYTES = 0xffffffff

/** @param packetRows as the packet columns; none of these where no request comes */
export function createRequestColumns(packetRows: number, requests: number): RequestColumns {
  return {
    at: new Uint32Array(requests === 0 ? 0 : packetRows),
    request: new Uint32Array(requests),
    responseBytes: new Uint32Array(requests),
  }
}

/** Connections that begin (or take over a slot) before the packets that follow. */
export interface ConnectionColumns {
  readonly slot: Uint32Array
  /** Address id. */
  readonly client: Uint32Array
  /** Index in the trace's destination table. */
  readonly destination: Uint32Array
  readonly sourcePort: Uint16Array
}

export function createPacketColumns(capacity: number): PacketColumns {
  return {
    time: new Uint32Array(capacity),
    slot: new Uint32Array(capacity),
    flags: new Uint8Array(capacity),
    length: new Uint16Array(capacity),
  }
}

export function createConnectionColumns(capacity: number): ConnectionColumns {
  return {
    slot: new Uint32Array(capacity),
    client: new Uint32Array(capacity),
    destination: new Uint32Array(capacity),
    sourcePort: new Uint16Array(capacity),
  }
}
