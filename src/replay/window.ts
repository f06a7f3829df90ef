/**
 * One window of a trace in memory: the blocks of a worker's lanes, laid out for its shards.
 *
 * Where a shard is one lane its block is read straight into the core's columns. Where a shard takes several lanes their
 * packets are merged by time (ties by lane), which takes longer than reading them; with one shard that is the exact order
 * of the trace. Cost otherwise: the read itself.
 */
import {
  type ConnectionColumns,
  FLAG_REQUEST,
  type Lanes,
  type PacketColumns,
  type RequestColumns,
} from '../../native-free-core/index.ts'
import {
  CONNECTIONS_BLOCK,
  createPacketColumns,
  createRequestColumns,
  PACKETS_BLOCK,
  REQUESTS_BLOCK,
  type PacketColumns as TracePackets,
  type RequestColumns as TraceRequests,
} from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'

/** Rows of the core's packet columns that belong to one shard. */
export interface ShardRows {
  readonly shard: number
  readonly flowBase: number
  baseTick: number
  from: number
  to: number
}

/** Most rows of a kind in one window over some lanes; at least 1. */
export function mostRows(trace: TraceFile, wanted: (lane: number) => boolean, kind: number = PACKETS_BLOCK): number {
  return rowsByWindow(trace, kind, wanted).reduce((most, count) => Math.max(most, count), 1)
}

/** Rows of a kind in each window over some lanes. */
export function rowsByWindow(
  trace: TraceFile,
  kind: number,
  wanted: (lane: number) => boolean = () => true,
): Float64Array {
  const { index } = trace
  const lanes = Array.from({ length: trace.header.lanes }, (_, lane) => wanted(lane))
  const rows = new Float64Array(trace.totals.windows)
  for (let block = 0; block < index.count; block++) {
    if (index.kind[block] === kind && lanes[index.lane[block]!]) rows[index.window[block]!]! += index.rows[block]!
  }
  return rows
}

/** Which worker runs a lane: shards are dealt out in turn. */
export function workerOfLane(lane: number, shards: number, workers: number): number {
  return (lane % shards) % workers
}

/** Takes connection rows that have just been read. */
export type DefineConnections = (flowBase: number, rows: number) => void

export class WindowReader {
  readonly windows: number
  /** Rows by shard, filled by `read`; only the first `count` are of the window. */
  readonly rows: ShardRows[] = []
  count = 0
  /** Lines that the worker's lanes need. */
  readonly flows: number
  private readonly trace: TraceFile
  private readonly lanes: readonly number[]
  private readonly shards: number
  private readonly flowBase: Int32Array
  /** Block number + 1 by window × lanes + lane, for each kind. */
  private readonly connectionBlocks: Int32Array
  private readonly packetBlocks: Int32Array
  private readonly laneCount: number
  private readonly requestBlocks: Int32Array
  private staging: TracePackets[] = []
  /** By row of a staged packet block: place of its request + 1. */
  private stagedRequests: Uint32Array[] = []
  private readonly requestRows: TraceRequests
  private requests: RequestColumns | null = null
  private requestCount = 0

  constructor(trace: TraceFile, lanes: readonly number[], shards: number) {
    this.trace = trace
    this.lanes = lanes
    this.shards = shards
    this.laneCount = trace.header.lanes
    this.windows = trace.totals.windows
    this.flowBase = new Int32Array(this.laneCount)
    let flows = 0
    for (const lane of lanes) {
      this.flowBase[lane] = flows
      flows += trace.slotsPerLane[lane]!
    }
    this.flows = Math.max(1, flows)
    this.connectionBlocks = new Int32Array(this.windows * this.laneCount)
    this.packetBlocks = new Int32Array(this.windows * this.laneCount)
    this.requestBlocks = new Int32Array(this.windows * this.laneCount)
    this.requestRows = createRequestColumns(trace.requestCount === 0 ? 0 : trace.maxRows)
    const { index } = trace
    for (let block = 0; block < index.count; block++) {
      const at = index.window[block]! * this.laneCount + index.lane[block]!
      if (index.kind[block] === CONNECTIONS_BLOCK) this.connectionBlocks[at] = block + 1
      if (index.kind[block] === PACKETS_BLOCK) this.packetBlocks[at] = block + 1
      if (index.kind[block] === REQUESTS_BLOCK) this.requestBlocks[at] = block + 1
    }
  }

  /** Most packet rows of one window over the lanes of this worker, for the core's columns. */
  get maxPacketRows(): number {
    return mostRows(this.trace, (lane) => this.lanes.includes(lane))
  }

  /** Which lines are of which lane, for the core. */
  lanesHere(): Lanes {
    const firstFlow = [...this.lanes.map((lane) => this.flowBase[lane]!), this.flows]
    return { count: this.laneCount, lane: Int32Array.from(this.lanes), firstFlow: Int32Array.from(firstFlow) }
  }

  /** Most requests of one window over the lanes of this worker. */
  get maxRequestRows(): number {
    return mostRows(this.trace, (lane) => this.lanes.includes(lane), REQUESTS_BLOCK)
  }

  /** First tick of each window, over all lanes: read from the index, so every worker gets the same. */
  windowStarts(): Float64Array {
    const starts = new Float64Array(this.windows).fill(Number.MAX_SAFE_INTEGER)
    const { index } = this.trace
    for (let block = 0; block < index.count; block++) {
      const window = index.window[block]!
      if (index.kind[block] === PACKETS_BLOCK) starts[window] = Math.min(starts[window]!, index.baseTick[block]!)
    }
    return starts
  }

  /**
   * Reads a window: connections are defined at once, packets wait in `into` as `rows` says.
   * @param requests  takes what packets begin; left out, requests are passed over
   */
  read(
    window: number,
    into: PacketColumns,
    connections: ConnectionColumns,
    define: DefineConnections,
    requests: RequestColumns | null = null,
  ): void {
    this.count = 0
    this.requests = requests
    this.requestCount = 0
    let at = 0
    for (const lane of this.lanes) {
      const block = this.connectionBlocks[window * this.laneCount + lane]! - 1
      if (block >= 0) define(this.flowBase[lane]!, this.trace.readConnections(block, connections))
    }
    for (let shard = 0; shard < this.shards; shard++) {
      const own = this.lanes.filter(
        (lane) => lane % this.shards === shard && this.packetBlocks[window * this.laneCount + lane]! > 0,
      )
      if (own.length === 0) continue
      at = own.length === 1 ? this.readLane(window, shard, own[0]!, into, at) : this.merge(window, shard, own, into, at)
    }
  }

  private addRows(shard: number, flowBase: number, baseTick: number, from: number, to: number): void {
    this.rows[this.count++] = { shard, flowBase, baseTick, from, to }
  }

  private readLane(window: number, shard: number, lane: number, into: PacketColumns, at: number): number {
    const target: TracePackets = {
      time: into.time.subarray(at),
      slot: into.slot.subarray(at),
      flags: into.flags.subarray(at),
      length: into.length.subarray(at),
      baseTick: 0,
    }
    const rows = this.trace.readPackets(this.packetBlocks[window * this.laneCount + lane]! - 1, target)
    this.addRows(shard, this.flowBase[lane]!, target.baseTick, at, at + rows)
    if (this.requests !== null) this.readRequests(window, lane, rows, target.flags, this.requests.at.subarray(at))
    return at + rows
  }

  /** Requests of a lane's window, and which of its packets begin them. */
  private readRequests(window: number, lane: number, rows: number, flags: Uint8Array, at: Uint32Array): void {
    const { request, responseBytes } = this.requests!
    const staged = this.requestRows
    at.fill(0, 0, rows)
    // What a recorded trace may have in this bit (ECE) has no meaning here.
    for (let row = 0; row < rows; row++) flags[row]! &= ~FLAG_REQUEST
    const block = this.requestBlocks[window * this.laneCount + lane]! - 1
    if (block < 0) return
    const count = this.trace.readRequests(block, staged)
    for (let i = 0; i < count; i++) {
      const place = this.requestCount++
      request[place] = staged.request[i]!
      responseBytes[place] = staged.responseBytes[i]!
      at[staged.row[i]!] = place + 1
      flags[staged.row[i]!]! |= FLAG_REQUEST
    }
  }

  private merge(window: number, shard: number, lanes: readonly number[], into: PacketColumns, at: number): number {
    while (this.staging.length < lanes.length) {
      this.staging.push(createPacketColumns(this.trace.maxRows))
      this.stagedRequests.push(new Uint32Array(this.requests === null ? 0 : this.trace.maxRows))
    }
    const ends: number[] = []
    const next: number[] = []
    let baseTick = Number.MAX_SAFE_INTEGER
    lanes.forEach((lane, i) => {
      const rows = this.trace.readPackets(this.packetBlocks[window * this.laneCount + lane]! - 1, this.staging[i]!)
      ends.push(rows)
      if (this.requests !== null) {
        this.readRequests(window, lane, rows, this.staging[i]!.flags, this.stagedRequests[i]!)
      }
      next.push(0)
      if (this.staging[i]!.baseTick < baseTick) baseTick = this.staging[i]!.baseTick
    })
    // A small tournament: lanes ordered by their next packet, moved back one place at a time after each take.
    const tickOf = (i: number): number => this.staging[i]!.baseTick + this.staging[i]!.time[next[i]!]!
    const order = lanes.map((_, i) => i).sort((a, b) => tickOf(a) - tickOf(b) || a - b)
    const from = at
    while (order.length > 0) {
      const i = order[0]!
      const staged = this.staging[i]!
      const row = next[i]!
      into.time[at] = staged.baseTick + staged.time[row]! - baseTick
      into.slot[at] = this.flowBase[lanes[i]!]! + staged.slot[row]!
      into.flags[at] = staged.flags[row]!
      into.length[at] = staged.length[row]!
      if (this.requests !== null) this.requests.at[at] = this.stagedRequests[i]![row]!
      at++
      next[i] = row + 1
      if (row + 1 === ends[i]) {
        order.shift()
        continue
      }
      const tick = tickOf(i)
      let place = 0
      while (place + 1 < order.length) {
        const other = order[place + 1]!
        const otherTick = tickOf(other)
        if (otherTick > tick || (otherTick === tick && other > i)) break
        order[place] = other
        place++
      }
      order[place] = i
    }
    this.addRows(shard, 0, baseTick, from, at)
    return at
  }
}
