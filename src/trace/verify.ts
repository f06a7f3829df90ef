/**
 * Reads a whole trace in file order and checks what no single block can show: windows are in order of time, packets
 * belong to connections that have been defined, requests begin with a packet of a TCP client, totals are true.
 *
 * Cost: one pass; memory is a byte for each slot and the largest block.
 */

import { UserError } from '../errors.ts'
import {
  CONNECTIONS_BLOCK,
  type ConnectionColumns,
  createConnectionColumns,
  createPacketColumns,
  createRequestColumns,
  FLAG_REPLY,
  type PacketColumns,
  REQUESTS_BLOCK,
  type RequestColumns,
  type TraceTotals,
} from './format.ts'
import { openTrace, type TraceFile } from './read.ts'

/** What a slot holds, for what is checked of its packets; 0 for nothing yet. */
const OTHER = 1
const TCP = 2

/** Called for each block in file order; the columns are valid until the next call. */
export interface TraceVisitor {
  connections?(columns: ConnectionColumns, rows: number, lane: number): void
  packets?(columns: PacketColumns, rows: number, lane: number): void
  /** Right after the packets that they are of. */
  requests?(columns: RequestColumns, rows: number, lane: number): void
}

/**
 * Read and check every row of a trace.
 *
 * Errors: E_TRACE_CORRUPT, E_TRACE_TRUNCATED; what the visitor has seen until then is not to be used.
 */
export function scanTrace(trace: TraceFile, visitor: TraceVisitor): void {
  const { index, totals, header } = trace
  const packets = createPacketColumns(trace.maxRows)
  const connections = createConnectionColumns(trace.maxRows)
  const requests = createRequestColumns(index.kind.includes(REQUESTS_BLOCK) ? trace.maxRows : 0)
  const defined = Array.from(trace.slotsPerLane, (slots) => new Uint8Array(slots))
  const clientSeen = new Uint8Array(header.addresses.v4.length / 4 + header.addresses.v6.length / 16)
  let bytes = 0
  let clients = 0
  let window = -1
  let windowEnd = 0
  let lastTick = 0
  for (let block = 0; block < index.count; block++) {
    const lane = index.lane[block]!
    const definedInLane = defined[lane]!
    if (index.window[block] !== window) {
      window = index.window[block]!
      windowEnd = lastTick
    }
    if (index.kind[block] === CONNECTIONS_BLOCK) {
      const rows = trace.readConnections(block, connections)
      for (let row = 0; row < rows; row++) {
        const isTcp = header.destinations[connections.destination[row]!]!.protocol === 6
        definedInLane[connections.slot[row]!] = isTcp ? TCP : OTHER
        const client = connections.client[row]!
        clients += 1 - clientSeen[client]!
        clientSeen[client] = 1
      }
      visitor.connections?.(connections, rows, lane)
      continue
    }
    if (index.kind[block] === REQUESTS_BLOCK) {
      const rows = trace.readRequests(block, requests)
      // The block before is the one whose packets they begin with, so `packets` still holds them.
      for (let i = 0; i < rows; i++) {
        const row = requests.row[i]!
        if (packets.flags[row]! & FLAG_REPLY) throw trace.corrupt(block, `request ${i} begins with a reply`)
        if (definedInLane[packets.slot[row]!] !== TCP)
          throw trace.corrupt(block, `request ${i} is not of a TCP connection`)
      }
      visitor.requests?.(requests, rows, lane)
      continue
    }
    const rows = trace.readPackets(block, packets)
    for (let row = 0; row < rows; row++) {
      bytes += packets.length[row]!
      if (definedInLane[packets.slot[row]!] === 0) throw trace.corrupt(block, `packet ${row} belongs to no connection`)
    }
    if (packets.baseTick + packets.time[0]! < windowEnd) {
      throw trace.corrupt(block, 'it has packets earlier than those of the window before')
    }
    lastTick = Math.max(lastTick, packets.baseTick + packets.time[rows - 1]!)
    visitor.packets?.(packets, rows, lane)
  }
  if (bytes !== totals.bytes || clients !== totals.clients || lastTick !== totals.durationTicks) {
    throw new UserError('E_TRACE_CORRUPT', 'the totals in the index are not those of the packets', {
      where: trace.path,
    })
  }
}

/**
 * Check a trace from its first byte to its last.
 *
 * @returns its totals
 * Errors: those of `openTrace` and `scanTrace`.
 */
export function verifyTrace(path: string): TraceTotals {
  const trace = openTrace(path)
  try {
    scanTrace(trace, {})
    return trace.totals
  } finally {
    trace.close()
  }
}
