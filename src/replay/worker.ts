/**
 * The code that runs in a worker thread: a slice of the lanes, all runs, one after the other.
 *
 * One core instance is made on first use and kept, so that the compiler sees its arrays as constants; each run clears it.
 * Time is taken around a block, never inside.
 */
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import {
  createDataplane,
  createNodeQueues,
  type Dataplane,
  type HopColumns,
  hopColumns,
  NANOS_PER_TICK,
  NODE_BACKLOG_DROPS,
  NODE_WORDS,
  type NodeQueues,
  POD_QUEUE_BUSY,
  POD_QUEUE_REFUSED,
  POD_QUEUE_WORDS,
  SAMPLES,
  TICKS_PER_MS,
  TOTAL_ATTEMPTED,
  ticksPerSample,
} from '../../native-free-core/index.ts'
import { UserError } from '../errors.ts'
import { CONNECTIONS_BLOCK, REQUESTS_BLOCK } from '../trace/format.ts'
import { openTrace, type TraceFile } from '../trace/read.ts'
import {
  AbortedError,
  CONTROL_ABORT,
  CONTROL_PROGRESS,
  CONTROL_WORDS,
  type Rendezvous,
  type TableDump,
  type WorkerOutcome,
  type WorkerResult,
  type WorkerRun,
  type WorkerRunResult,
  type WorkerTask,
} from './messages.ts'
import { queueOwners } from './queue-owners.ts'
import { Settlement } from './quotas.ts'
import { RoomRecord } from './room.ts'
import { tableRows } from './table-dump.ts'
import { rowsByWindow, type ShardRows, WindowReader, workerOfLane } from './window.ts'

const PROGRESS_UNIT = 1024
/** Steps of a sample interval while a node may soon be full. */
const SETTLING_STEPS = 8

/** How long a finished worker stays at least: Node 20 aborts when a thread ends while the optimiser still compiles for it. */
const COMPILERS_DRAIN_MS = 30
let finishedAt = Number.NEGATIVE_INFINITY
/** For a thread that never comes, since its code could not be loaded. */
const LONGEST_WAIT_MS = 5000

/** Whatever it throws is a bug. */
export default async function runTask(task: WorkerTask | Rendezvous): Promise<WorkerOutcome | null> {
  if ('meet' in task) return meet(task)
  const outcome = perform(task)
  finishedAt = performance.now()
  return outcome
}

async function meet({ meet, threads }: Rendezvous): Promise<null> {
  const here = new Int32Array(meet)
  Atomics.add(here, 0, 1)
  Atomics.notify(here, 0)
  for (let seen = Atomics.load(here, 0); seen < threads; seen = Atomics.load(here, 0)) {
    if (Atomics.wait(here, 0, seen, LONGEST_WAIT_MS) === 'timed-out') break
  }
  const left = finishedAt + COMPILERS_DRAIN_MS - performance.now()
  if (left > 0) await setTimeout(left)
  return null
}

function perform(task: WorkerTask): WorkerOutcome {
  try {
    const trace = openTrace(task.tracePath)
    try {
      return { kind: 'done', result: runOn(trace, task) }
    } finally {
      trace.close()
    }
  } catch (error) {
    if (error instanceof AbortedError) return { kind: 'aborted' }
    if (!(error instanceof UserError)) throw error
    const { code, message, where, hint, exitCode } = error
    return { kind: 'refused', error: { code, message, where, hint, exitCode } }
  }
}

function runOn(trace: TraceFile, task: WorkerTask): WorkerResult {
  const own = Array.from({ length: task.shards }, (_, shard) => shard).filter(
    (shard) => shard % task.workers === task.worker,
  )
  const lanes = Array.from({ length: trace.header.lanes }, (_, lane) => lane).filter(
    (lane) => workerOfLane(lane, task.shards, task.workers) === task.worker,
  )
  const hops = task.hops.map(({ buffer, capacity }) => hopColumns(buffer, 0, capacity))
  const reader = new WindowReader(trace, lanes, task.shards)
  const dataplane = createDataplane({
    connections: reader.flows,
    entries: task.entries,
    shards: task.shards,
    lanes: task.flowsByLane ? reader.lanesHere() : undefined,
    nodes: task.nodes,
    endpoints: task.endpoints,
    packetRows: reader.maxPacketRows,
    connectionRows: trace.maxRows,
    extent: task.extent,
    ...(task.requests === null ? {} : { requests: { ...task.requests, rows: reader.maxRequestRows } }),
    hops: hops[task.worker]!,
    ...(task.seriesEndpoints === null ? {} : { series: { endpoints: task.seriesEndpoints } }),
  })
  // The queues of a node or pod belong to one worker, whichever shards its packets come from.
  const mostHops = task.hops.reduce((sum, { capacity }) => sum + capacity, 0)
  const pods = task.pods.workers.length
  const owners = queueOwners(task.coreStages, pods, task.shards, task.workers, task.flowsByLane)
  const mine = (place: number, core: number): boolean => owners.serves(task.worker, place, core)
  const capacity = owners.apart ? hops[task.worker]!.time.length : mostHops
  const queues = createNodeQueues(task.cores, task.backlog, capacity, mine, task.pods)
  const flows = mostOpened(trace, task)
  const runs = task.runs.map((run, i) =>
    new RunInWorker(run, {
      ...{ task, own, reader, dataplane, queues, hops },
      apart: owners.apart,
      mostOpened: flows,
      dump: i === 0 ? task.dump : null,
    }).go(),
  )
  const cache = createRequire(import.meta.url).cache
  return { runs, nativeAddons: Object.keys(cache).some((path) => path.endsWith('.node')) }
}

/** By window: flows that can have been opened by its end, over all workers, or by this one that is alone. */
function mostOpened(trace: TraceFile, task: WorkerTask): Float64Array {
  const counted = (lane: number): boolean =>
    !task.alone || workerOfLane(lane, task.shards, task.workers) === task.worker
  const requests = task.requests === null ? null : rowsByWindow(trace, REQUESTS_BLOCK, counted)
  let sum = 0
  return rowsByWindow(trace, CONNECTIONS_BLOCK, counted).map((rows, window) => {
    sum += rows * task.flowsPerConnection + (requests?.[window] ?? 0)
    return sum
  })
}

/** What a worker's runs share, but for the table that the first of them dumps. */
interface WorkerParts {
  readonly task: WorkerTask
  /** Its shards. */
  readonly own: readonly number[]
  readonly reader: WindowReader
  readonly dataplane: Dataplane
  readonly queues: NodeQueues
  readonly hops: readonly HopColumns[]
  /** No other worker's hops are needed, nor this one's by others. */
  readonly apart: boolean
  readonly mostOpened: Float64Array
  readonly dump: TableDump | null
}

class RunInWorker {
  private readonly control: Int32Array
  private readonly settlement: Settlement
  private readonly blockNanos: number[] = []
  private readonly blockRows: number[] = []
  private unreported = 0
  private readonly task: WorkerTask
  private readonly run: WorkerRun
  private readonly own: readonly number[]
  private readonly reader: WindowReader
  private readonly dataplane: Dataplane
  private readonly queues: NodeQueues
  private readonly hops: readonly HopColumns[]
  private readonly apart: boolean
  private readonly mostOpened: Float64Array
  /** Whether limits are settled within the window. */
  private settling = false
  private readonly stepTicks: number
  /** Settling steps of a step. */
  private readonly parts: number
  private readonly busy: Float64Array
  private readonly drops: Float64Array
  /** Of a worker alone, where limits matter: in place of settling. */
  private readonly room: RoomRecord | null
  private readonly dump: TableDump | null
  /** By own shard, once its part of the wanted table is taken. */
  private readonly tables = new Map<number, Int32Array>()

  constructor(run: WorkerRun, parts: WorkerParts) {
    const { task, own, reader, dataplane, queues, hops, apart, mostOpened, dump } = parts
    this.dump = dump
    this.task = task
    this.run = run
    this.own = own
    this.reader = reader
    this.dataplane = dataplane
    this.queues = queues
    this.hops = hops
    this.apart = apart
    this.mostOpened = mostOpened
    this.stepTicks = ticksPerSample(run.durationTicks)
    this.parts = task.settles && this.stepTicks >= SETTLING_STEPS ? SETTLING_STEPS : 1
    this.busy = new Float64Array(task.nodes + task.pods.workers.length)
    this.drops = new Float64Array(this.busy.length)
    this.control = new Int32Array(task.control, 0, CONTROL_WORDS)
    this.settlement = new Settlement(task.control, task.workers, task.shards, task.nodes)
    this.room = task.alone && task.settles ? new RoomRecord(reader.windows, task.nodes) : null
  }

  go(): WorkerRunResult {
    const { dataplane, queues, reader, run, task } = this
    dataplane.begin({ ...run, latencySlots: task.latencySlots })
    queues.clear()
    this.settlement.begin(dataplane.quotas, run.conntrackMax)
    // Where windows begin comes from the index, so that workers without a packet in one stop at the same times.
    const starts = reader.windowStarts()
    // Where a limit may be reached soon the shares are settled more often: the shorter the step, the nearer to one shard.
    const stops = new Stops(this.stepTicks, this.parts, run.changes)
    for (let window = 0; window < reader.windows; window++) {
      if (Atomics.load(this.control, CONTROL_ABORT) !== 0) throw new AbortedError('the run was called off')
      const { packets, connections, requests } = dataplane
      this.begin(window)
      reader.read(window, packets, connections, dataplane.define, task.requests === null ? null : requests)
      const end = starts[window + 1] ?? run.durationTicks + 1
      let from = starts[window]!
      // Stops in a silence before the window need no step, but changes of the cluster must be taken in.
      for (; stops.tick <= from; stops.advance(this.stride)) this.change(stops)
      for (; stops.tick < end; stops.advance(this.stride)) {
        this.step(from, stops.tick, stops.tick, this.settling)
        this.change(stops)
        from = stops.tick
      }
      this.step(from, Number.MAX_SAFE_INTEGER, end, task.settles)
    }
    this.takeTables(Number.MAX_SAFE_INTEGER)
    for (const shard of this.own) dataplane.end(shard)
    this.report(0, true)
    return {
      result: dataplane.result.slice(),
      ports: dataplane.portSeries(),
      serviceEntries: dataplane.serviceEntrySeries(),
      series: dataplane.series(),
      room: this.room?.needs ?? new Float64Array(0),
      table: joined([...this.tables.values()]),
      blockNanos: Float64Array.from(this.blockNanos),
      blockRows: Float64Array.from(this.blockRows),
    }
  }

  /** A window in which no node can get full needs no settling on the way. */
  private begin(window: number): void {
    const { dataplane, room, run, settlement, task } = this
    const mostOpened = this.mostOpened[window]!
    const opened = settlement.opened * task.flowsPerConnection
    room?.begin(window, mostOpened)
    this.settling = room === null && task.settles && !settlement.hasRoomFor(mostOpened - opened, run.conntrackMax)
    if (this.settling) return
    for (let shard = 0; shard < task.shards; shard++) dataplane.quotas.set(run.conntrackMax, shard * task.nodes)
  }

  /** How many parts of a step are taken in one. */
  private get stride(): number {
    return this.settling && this.settlement.near ? 1 : this.parts
  }

  private change(stops: Stops): void {
    for (const rules of stops.rules) this.dataplane.adopt(rules, Math.floor(stops.tick / TICKS_PER_MS))
  }

  /**
   * One step of virtual time: packets, then the nodes' queues, then what is shared out anew.
   * @param until  packets before this tick
   * @param end    the moment at which the step ends
   * @param settles  whether nodes' limits are shared out anew
   */
  private step(from: number, until: number, end: number, settles: boolean): void {
    const { dataplane, queues, room, settlement, task } = this
    dataplane.beginStep(from)
    this.processUntil(until)
    this.takeTables(end)
    if (settles) {
      const { conntrack } = dataplane.slowPath
      const nowMs = Math.floor(end / TICKS_PER_MS)
      for (const shard of this.own) conntrack.reapIfTight(shard, nowMs)
      const attempted = dataplane.result[TOTAL_ATTEMPTED]!
      if (room === null) settlement.publish(dataplane.table.counts, this.own, attempted)
      else room.hold(dataplane.table.counts, this.own, attempted * task.flowsPerConnection)
    }
    if (room === null && (settles || !this.apart)) settlement.barrier()
    if (room === null && settles) settlement.settle(dataplane.quotas, this.run.conntrackMax)
    for (let shard = 0; shard < task.shards; shard++) {
      if (this.apart && shard % task.workers !== task.worker) continue
      const hops = this.hops[shard % task.workers]!
      queues.add(hops, task.segments[shard * 2]!, task.segments[shard * 2 + 1]!)
    }
    queues.run(from * NANOS_PER_TICK, this.busy, this.drops)
    this.countQueues(Math.min(SAMPLES - 1, Math.floor(from / this.stepTicks)))
    if (!this.apart) settlement.barrier()
    dataplane.applyWaits()
    for (const shard of this.own) task.segments.fill(0, shard * 2, shard * 2 + 2)
  }

  private countQueues(sample: number): void {
    const { result, layout } = this.dataplane
    for (let node = 0; node < this.task.nodes; node++) {
      result[layout.busySeries + sample * this.task.nodes + node]! += this.busy[node]!
      result[layout.nodes + node * NODE_WORDS + NODE_BACKLOG_DROPS]! += this.drops[node]!
    }
    for (let podQueue = 0; podQueue < this.task.pods.workers.length; podQueue++) {
      const at = layout.podQueues + podQueue * POD_QUEUE_WORDS
      result[at + POD_QUEUE_BUSY]! += this.busy[this.task.nodes + podQueue]!
      result[at + POD_QUEUE_REFUSED]! += this.drops[this.task.nodes + podQueue]!
    }
    this.busy.fill(0)
    this.drops.fill(0)
  }

  /** Puts every waiting packet before `tick` through. */
  private processUntil(tick: number): void {
    const { dataplane, reader } = this
    const { time } = dataplane.packets
    for (let i = 0; i < reader.count; i++) {
      const rows = reader.rows[i]!
      let to = rows.to
      if (tick !== Number.MAX_SAFE_INTEGER) to = firstAt(time, rows.from, to, tick - rows.baseTick)
      const segment = rows.shard * 2
      this.task.segments[segment] = dataplane.hopCount()
      this.task.segments[segment + 1] = dataplane.hopCount()
      if (to === rows.from) continue
      const began = performance.now()
      const cut = this.cutOf(rows, to)
      if (cut < 0) dataplane.process(rows.shard, rows.flowBase, rows.baseTick, rows.from, to)
      else {
        // The shard's part of a wanted table is taken between two packets; nothing else knows of it.
        if (cut > rows.from) dataplane.process(rows.shard, rows.flowBase, rows.baseTick, rows.from, cut)
        this.takeTable(rows.shard)
        dataplane.process(rows.shard, rows.flowBase, rows.baseTick, cut, to)
      }
      this.blockNanos.push(((performance.now() - began) * 1e6) / (to - rows.from))
      this.blockRows.push(to - rows.from)
      this.task.segments[segment + 1] = dataplane.hopCount()
      this.report(to - rows.from, false)
      rows.from = to
    }
  }

  /** The row before which the shard's table is to be taken, -1 where it is not among these. */
  private cutOf({ shard, baseTick, from }: ShardRows, to: number): number {
    if (this.dump === null || this.tables.has(shard)) return -1
    const cut = firstAt(this.dataplane.packets.time, from, to, this.dump.tick - baseTick)
    return cut < to ? cut : -1
  }

  /** Of shards without a packet at or after the wanted moment in what has been processed. @param end  all before this tick has been */
  private takeTables(end: number): void {
    if (this.dump === null || this.dump.tick >= end) return
    for (const shard of this.own) if (!this.tables.has(shard)) this.takeTable(shard)
  }

  private takeTable(shard: number): void {
    const { node, tick } = this.dump!
    this.tables.set(shard, tableRows(this.dataplane.table, shard, node, Math.floor(tick / TICKS_PER_MS)))
  }

  private report(packets: number, all: boolean): void {
    this.unreported += packets
    if (!all && this.unreported < PROGRESS_UNIT * 64) return
    Atomics.add(this.control, CONTROL_PROGRESS, Math.round(this.unreported / PROGRESS_UNIT))
    this.unreported = 0
  }
}

/** First row of [from, to) at or after a time, or `to`. */
function firstAt(time: Uint32Array, from: number, to: number, at: number): number {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >> 1
    if (time[middle]! < at) low = middle + 1
    else high = middle
  }
  return low
}

function joined(parts: readonly Int32Array[]): Int32Array {
  const all = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/**
 * The moments of a run at which every worker stops: the ends of steps or of their equal parts, and changes of the cluster. No step
 * reaches over the end of a sample interval.
 */
class Stops {
  tick: number
  private isStep = false
  rules: readonly Int32Array[] = []
  private step = 1
  private change = 0
  private readonly stepTicks: number
  private readonly parts: number
  private readonly changes: WorkerRun['changes']

  constructor(stepTicks: number, parts: number, changes: WorkerRun['changes']) {
    this.stepTicks = stepTicks
    this.parts = parts
    this.changes = changes
    this.tick = 0
    this.take()
  }

  /** On to the next moment. @param stride  parts that are taken in one: it ends where a multiple of them does */
  advance(stride: number): void {
    if (this.isStep) this.step += stride - (this.step % stride)
    this.change += this.rules.length
    this.take()
  }

  private take(): void {
    const { parts, step, stepTicks } = this
    const nextStep = Math.floor(step / parts) * stepTicks + Math.floor(((step % parts) * stepTicks) / parts)
    const nextChange = this.changes[this.change]?.tick ?? Number.POSITIVE_INFINITY
    this.tick = Math.min(nextStep, nextChange)
    this.isStep = nextStep === this.tick
    const due: Int32Array[] = []
    for (let i = this.change; this.changes[i]?.tick === this.tick; i++) due.push(this.changes[i]!.rules)
    this.rules = due
  }
}
