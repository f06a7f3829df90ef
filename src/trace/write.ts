/**
 * Writes a trace as a stream: packets come in order of time, one window of them is held, then sorted into lanes and
 * written as blocks.
 *
 * The file is written beside its place and renamed when it is complete; `abort` removes what there is.
 * Cost: linear in packets: sorting into lanes, a checksum, the write. Memory: a window of packets, and 4 bytes for each slot.
 * The description of the format is in format.ts and docs/trace-format.md.
 */
import { crc32 } from 'node:zlib'
import { type OutputFile, openOutput } from '../files/output.ts'
import {
  addressCount,
  BLOCK_KINDS,
  CONNECTIONS_BLOCK,
  FLAG_REPLY,
  LANES,
  laneOf,
  MAX_WINDOW_ROWS,
  MAX_WINDOW_TICKS,
  PACKETS_BLOCK,
  REQUESTS_BLOCK,
  TICK_NANOS,
  TOTAL_NAMES,
  TRACE_FORMAT,
  TRACE_VERSION,
  TRAILER_BYTES,
  type TraceContent,
  type TraceTotals,
  UNKNOWN_BYTES,
} from './format.ts'
import { indexCrc } from './index-crc.ts'
import { integer, packObject } from './msgpack.ts'

const LANE_BITS = Math.log2(LANES)
/** A connection handle is slot * LANES + lane and stays a 31-bit integer. */
const MAX_SLOTS = 2 ** (31 - LANE_BITS)

type Column = Uint32Array | Uint16Array | Uint8Array

/** The columns of each kind of block by kind code, in the order of their checksum. */
const COLUMN_NAMES = [
  ['slot', 'client', 'destination', 'sourcePort'],
  ['time', 'slot', 'flags', 'length'],
  ['row', 'request', 'requestBytes', 'responseBytes'],
] as const

/** Rows of one kind of the window: as they came, and room to sort them by lane. */
class WindowRows<Columns extends readonly Column[]> {
  readonly lane: Uint8Array
  readonly columns: Columns
  readonly sorted: readonly Column[]
  count = 0

  constructor(rows: number, columns: Columns) {
    this.lane = new Uint8Array(rows)
    this.columns = columns
    this.sorted = columns.map((column) => column.slice())
  }
}

export class TraceWriter {
  private readonly file: OutputFile
  private readonly content: TraceContent
  private readonly windowRows: number
  private readonly headerCrc: number

  /** Columns: slot, client, destination, sourcePort. */
  private readonly connectionRows: WindowRows<readonly [Uint32Array, Uint32Array, Uint32Array, Uint16Array]>
  /** Columns: time, slot, flags, length. */
  private readonly packetRows: WindowRows<readonly [Uint32Array, Uint32Array, Uint8Array, Uint16Array]>
  /** Columns: row (of the window's packets, until it is of the lane's), request, requestBytes, responseBytes. */
  private readonly requestRows: WindowRows<readonly [Uint32Array, Uint32Array, Uint32Array, Uint32Array]>
  private readonly order: Uint32Array

  private readonly slotsPerLane: Uint32Array = new Uint32Array(LANES)
  private readonly freeSlots: number[][] = Array.from({ length: LANES }, () => [])
  private readonly released: number[] = []
  private readonly clientSeen: Uint8Array

  private readonly blocks: {
    kind: number
    lane: number
    window: number
    offset: number
    size: number
    rows: number
    baseTick: number
  }[] = []
  private offset = 0
  private window = 0
  private windowTick = 0
  private lastTick = 0
  private packets = 0
  private connections = 0
  private bytes = 0
  private clients = 0
  /** The connection of the packet just given, if it may begin a request; -1 otherwise. */
  private asking = -1

  /**
   * @param path     where the trace will be; a file is there at `end` and not before, a pipe gets what there is; `-` is standard output
   * @param options  `windowRows`: packets of a window, MAX_WINDOW_ROWS at most and by default
   * Errors: E_OUTPUT.
   */
  constructor(path: string, content: TraceContent, options: { windowRows?: number } = {}) {
    this.content = content
    const rows = Math.max(1, Math.min(options.windowRows ?? MAX_WINDOW_ROWS, MAX_WINDOW_ROWS))
    this.windowRows = rows
    const words = () => new Uint32Array(rows)
    this.connectionRows = new WindowRows(rows, [words(), words(), words(), new Uint16Array(rows)])
    this.packetRows = new WindowRows(rows, [words(), words(), new Uint8Array(rows), new Uint16Array(rows)])
    const { requests = [] } = content
    const requestRows = requests.length === 0 ? 0 : rows
    const requestWords = () => new Uint32Array(requestRows)
    this.requestRows = new WindowRows(requestRows, [requestWords(), requestWords(), requestWords(), requestWords()])
    this.order = new Uint32Array(rows)
    this.clientSeen = new Uint8Array(addressCount(content.addresses))

    const header = packObject({
      format: TRACE_FORMAT,
      version: TRACE_VERSION,
      tickNanos: TICK_NANOS,
      lanes: LANES,
      name: content.name,
      provenance: content.provenance,
      manifests: content.manifests,
      ...((content.warnings ?? []).length === 0 ? {} : { warnings: content.warnings }),
      addresses: { v4: asBuffer(content.addresses.v4), v6: asBuffer(content.addresses.v6) },
      clientNames: content.clientNames,
      destinations: content.destinations,
      changes: content.changes,
      ...(content.timeline === undefined ? {} : { timeline: content.timeline }),
      ...(content.dns === undefined ? {} : { dns: content.dns }),
      ...(requests.length === 0 ? {} : { requests }),
    })
    this.headerCrc = crc32(header)
    this.file = openOutput(path)
    this.append(header)
  }

  /**
   * A new connection, from the next packet on.
   *
   * @param client       address id
   * @param destination  index into the destinations
   * @returns a handle for `packet` and `release`
   */
  defineConnection(client: number, destination: number, sourcePort: number): number {
    const target = this.content.destinations[destination]
    if (target === undefined || client >= this.clientSeen.length) throw new RangeError('no such client or destination')
    if (this.connectionRows.count === this.windowRows) this.flush()
    const lane = laneOf(target.steer, client, destination, sourcePort)
    const slot = this.freeSlots[lane]!.pop() ?? this.slotsPerLane[lane]!++
    if (slot >= MAX_SLOTS) throw new RangeError('too many live connections in a lane')
    const row = this.connectionRows.count++
    this.connectionRows.lane[row] = lane
    this.connectionRows.columns[0][row] = slot
    this.connectionRows.columns[1][row] = client
    this.connectionRows.columns[2][row] = destination
    this.connectionRows.columns[3][row] = sourcePort
    this.connections++
    if (this.clientSeen[client] === 0) {
      this.clientSeen[client] = 1
      this.clients++
    }
    return slot * LANES + lane
  }

  /**
   * The next packet of the trace.
   *
   * @param tick    not before the packet before it
   * @param flags   see FLAG_SYN and its neighbours in format.ts
   * @param length  IP bytes, 65,535 at most
   */
  packet(connection: number, tick: number, flags: number, length: number): void {
    if (tick < this.lastTick) throw new RangeError('packets must come in order of time')
    if (this.packetRows.count === 0) this.windowTick = tick
    else if (this.packetRows.count === this.windowRows || tick - this.windowTick > MAX_WINDOW_TICKS) {
      this.flush()
      this.windowTick = tick
    }
    const row = this.packetRows.count++
    this.packetRows.lane[row] = connection & (LANES - 1)
    this.packetRows.columns[0][row] = tick - this.windowTick
    this.packetRows.columns[1][row] = connection >>> LANE_BITS
    this.packetRows.columns[2][row] = flags
    this.packetRows.columns[3][row] = length
    this.lastTick = tick
    this.packets++
    this.bytes += length
    this.asking = flags & FLAG_REPLY ? -1 : connection
  }

  /**
   * The packet just given begins a request.
   *
   * @param connection     of that packet, which must be the client's
   * @param request        index into the content's requests
   * @param requestBytes   payload of the whole request, or UNKNOWN_BYTES
   * @param responseBytes  payload of the whole answer, or UNKNOWN_BYTES
   */
  request(connection: number, request: number, requestBytes: number, responseBytes: number): void {
    if (connection !== this.asking) throw new RangeError('a request comes right after its first packet, once')
    if (this.content.requests?.[request] === undefined) throw new RangeError('no such request')
    for (const bytes of [requestBytes, responseBytes]) {
      if (!(Number.isInteger(bytes) && bytes >= 0 && bytes <= UNKNOWN_BYTES)) throw new RangeError('no such size')
    }
    const row = this.requestRows.count++
    this.requestRows.lane[row] = connection & (LANES - 1)
    this.requestRows.columns[0][row] = this.packetRows.count - 1
    this.requestRows.columns[1][row] = request
    this.requestRows.columns[2][row] = requestBytes
    this.requestRows.columns[3][row] = responseBytes
    this.asking = -1
  }

  /** A connection's last packet has been given: its slot may be used again, from the next window on. */
  release(connection: number): void {
    this.released.push(connection)
  }

  /** Write what is held, the index and the trailer, and put the file in its place. */
  end(): TraceTotals {
    this.flush()
    const totals: TraceTotals = {
      packets: this.packets,
      connections: this.connections,
      bytes: this.bytes,
      durationTicks: this.lastTick,
      windows: this.window,
      clients: this.clients,
    }
    const indexOffset = this.offset
    this.append(this.packIndex(totals))
    const trailer = Buffer.alloc(TRAILER_BYTES)
    trailer[0] = 0xcf
    trailer.writeBigUInt64BE(BigInt(indexOffset), 1)
    this.append(trailer)
    this.file.end()
    return totals
  }

  /** Wait for a reader of the trace that is slower than its writer; between turns, and after `end`. Errors: E_OUTPUT. */
  drain(signal?: AbortSignal): Promise<void> {
    return this.file.drain(signal)
  }

  /** Give up: no file stays. Does nothing after `end`. */
  abort(): void {
    this.file.abort()
  }

  /** Write the window that is held, lane by lane: each lane's connections, its packets, and the requests among them. */
  private flush(): void {
    if (this.connectionRows.count + this.packetRows.count === 0) return
    const connectionEnds = sortByLane(this.connectionRows, this.order)
    const packetEnds = sortByLane(this.packetRows, this.order)
    const { count, lane: laneOfRequest, columns: requestColumns } = this.requestRows
    for (let i = 0; i < count; i++) {
      const lane = laneOfRequest[i]!
      requestColumns[0][i] = this.order[requestColumns[0][i]!]! - (lane === 0 ? 0 : packetEnds[lane - 1]!)
    }
    const requestEnds = sortByLane(this.requestRows, this.order)
    for (let lane = 0; lane < LANES; lane++) {
      this.appendBlock(CONNECTIONS_BLOCK, lane, this.connectionRows.sorted, connectionEnds)
      this.appendBlock(PACKETS_BLOCK, lane, this.packetRows.sorted, packetEnds)
      this.appendBlock(REQUESTS_BLOCK, lane, this.requestRows.sorted, requestEnds)
    }
    this.connectionRows.count = 0
    this.packetRows.count = 0
    this.requestRows.count = 0
    this.asking = -1
    this.window++
    for (const connection of this.released) this.freeSlots[connection & (LANES - 1)]!.push(connection >>> LANE_BITS)
    this.released.length = 0
  }

  private appendBlock(kind: number, lane: number, columns: readonly Column[], ends: Uint32Array): void {
    const from = lane === 0 ? 0 : ends[lane - 1]!
    const to = ends[lane]!
    if (from === to) return
    const rows = to - from
    const bytes = columns.map((column) => asBuffer(column.subarray(from, to)))
    const crc = bytes.reduce((crc, column) => crc32(column, crc), 0)
    const isPackets = kind === PACKETS_BLOCK
    const block = packObject({
      kind: BLOCK_KINDS[kind],
      lane,
      window: this.window,
      ...(isPackets ? { baseTick: integer(this.windowTick) } : {}),
      rows,
      crc,
      ...Object.fromEntries(COLUMN_NAMES[kind]!.map((name, i) => [name, bytes[i]!])),
    })
    const baseTick = isPackets ? this.windowTick : 0
    this.blocks.push({ kind, lane, window: this.window, offset: this.offset, size: block.length, rows, baseTick })
    this.append(block)
  }

  private packIndex(totals: TraceTotals): Buffer {
    const { blocks } = this
    const columns = {
      kinds: asBuffer(Uint8Array.from(blocks, (block) => block.kind)),
      lanes: asBuffer(Uint8Array.from(blocks, (block) => block.lane)),
      windows: asBuffer(Uint32Array.from(blocks, (block) => block.window)),
      offsets: asBuffer(Float64Array.from(blocks, (block) => block.offset)),
      sizes: asBuffer(Uint32Array.from(blocks, (block) => block.size)),
      rows: asBuffer(Uint32Array.from(blocks, (block) => block.rows)),
      baseTicks: asBuffer(Float64Array.from(blocks, (block) => block.baseTick)),
      slotsPerLane: asBuffer(this.slotsPerLane),
    }
    const maxRows = blocks.reduce((most, block) => Math.max(most, block.rows), 0)
    return packObject({
      kind: 'index',
      crc: indexCrc(Object.values(columns), totals, maxRows, this.headerCrc),
      headerCrc: this.headerCrc,
      totals: Object.fromEntries(TOTAL_NAMES.map((name) => [name, integer(totals[name])])),
      maxRows,
      ...columns,
    })
  }

  private append(bytes: Uint8Array): void {
    this.file.write(bytes)
    this.offset += bytes.length
  }
}

/**
 * A stable counting sort of a window's rows by lane, into `sorted`.
 *
 * @param order  scratch, a word for each row
 * @returns the position after each lane's last row
 */
function sortByLane(rows: WindowRows<readonly Column[]>, order: Uint32Array): Uint32Array {
  const { lane, count } = rows
  const next = new Uint32Array(LANES + 1)
  for (let row = 0; row < count; row++) next[lane[row]! + 1]!++
  for (let i = 0; i < LANES; i++) next[i + 1]! += next[i]!
  for (let row = 0; row < count; row++) order[row] = next[lane[row]!]!++
  rows.columns.forEach((column, i) => {
    const to = rows.sorted[i]!
    for (let row = 0; row < count; row++) to[order[row]!] = column[row]!
  })
  return next
}

function asBuffer(array: ArrayBufferView): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength)
}
