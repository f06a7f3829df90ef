/**
 * The code that runs in a worker thread: a slice of the lanes, all runs, one after the other.
 *
 * One core instance is made on first use and kept, so that the compiler sees its arrays as constants; each run clears it.
 * Time is taken around a block, never inside.
 */
import { createRequire } from 'node:module'
import { createDataplane, type Dataplane, SAMPLES } from '../../native-free-core/index.ts'
import { UserError } from '../errors.ts'
import { openTrace, type TraceFile } from '../trace/read.ts'
import {
  AbortedError,
  CONTROL_ABORT,
  CONTROL_PROGRESS,
  CONTROL_WORDS,
  type WorkerOutcome,
  type WorkerResult,
  type WorkerRun,
  type WorkerRunResult,
  type WorkerTask,
} from './messages.ts'
import { Settlement } from './settle.ts'
import { WindowReader } from './window.ts'

const PROGRESS_UNIT = 1024

/** Whatever it throws is a bug. */
export default function runTask(task: WorkerTask): WorkerOutcome {
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
    (lane) => (lane % task.shards) % task.workers === task.worker,
  )
  const reader = new WindowReader(trace, lanes, task.shards)
  const dataplane = createDataplane({
    connections: reader.lines,
    entries: task.entries,
    shards: task.shards,
    nodes: task.nodes,
    endpoints: task.endpoints,
    packetRows: reader.maxPacketRows,
    connectionRows: trace.maxRows,
  })
  const runs = task.runs.map((run) => new RunInWorker(task, run, own, reader, dataplane).go())
  const cache = createRequire(import.meta.url).cache
  return { runs, nativeAddons: Object.keys(cache).some((path) => path.endsWith('.node')) }
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

  constructor(task: WorkerTask, run: WorkerRun, own: readonly number[], reader: WindowReader, dataplane: Dataplane) {
    this.task = task
    this.run = run
    this.own = own
    this.reader = reader
    this.dataplane = dataplane
    this.control = new Int32Array(task.control, 0, CONTROL_WORDS)
    this.settlement = new Settlement(task.control, task.workers, task.shards, task.nodes)
  }

  go(): WorkerRunResult {
    const { dataplane, reader, run, task } = this
    dataplane.begin(run)
    if (task.settles) this.settlement.begin(dataplane.budgets, run.conntrackMax)
    else for (let shard = 0; shard < task.shards; shard++) dataplane.budgets.set(run.conntrackMax, shard * task.nodes)
    const stepTicks = Math.max(1, Math.ceil(run.durationTicks / SAMPLES))
    let step = 1
    for (let window = 0; window < reader.windows; window++) {
      if (Atomics.load(this.control, CONTROL_ABORT) !== 0) throw new AbortedError('the run was called off')
      reader.read(window, dataplane.packets, dataplane.connections, dataplane.define)
      if (!task.settles) {
        this.processUntil(Number.MAX_SAFE_INTEGER)
        continue
      }
      // The window's last tick is not known to a worker that has none of its packets, but the steps are the same for all.
      const lastTick = this.windowEnds()[window]!
      for (; step * stepTicks <= lastTick; step++) {
        this.processUntil(step * stepTicks)
        this.settle()
      }
      this.processUntil(Number.MAX_SAFE_INTEGER)
      this.settle()
    }
    for (const shard of this.own) dataplane.end(shard)
    this.report(0, true)
    const result = dataplane.result.slice()
    return {
      result,
      ports: dataplane.portSeries(),
      holders: dataplane.holderSeries(),
      blockNanos: Float64Array.from(this.blockNanos),
      blockRows: Float64Array.from(this.blockRows),
    }
  }

  /** Puts every waiting packet before `tick` through. */
  private processUntil(tick: number): void {
    const { dataplane, reader } = this
    const { time } = dataplane.packets
    for (let i = 0; i < reader.count; i++) {
      const rows = reader.rows[i]!
      let to = rows.to
      if (tick !== Number.MAX_SAFE_INTEGER) {
        let low = rows.from
        while (low < to) {
          const middle = (low + to) >> 1
          if (rows.baseTick + time[middle]! < tick) low = middle + 1
          else to = middle
        }
      }
      if (to === rows.from) continue
      const began = performance.now()
      dataplane.process(rows.shard, rows.lineBase, rows.baseTick, rows.from, to)
      this.blockNanos.push(((performance.now() - began) * 1e6) / (to - rows.from))
      this.blockRows.push(to - rows.from)
      this.report(to - rows.from, false)
      rows.from = to
    }
  }

  private settle(): void {
    const { dataplane, run } = this
    this.settlement.settle(dataplane.table.counts, this.own, dataplane.budgets, run.conntrackMax)
  }

  private ends: Float64Array | null = null

  /** Tick from which each window's successor begins, from the index: the same in every worker. */
  private windowEnds(): Float64Array {
    if (this.ends !== null) return this.ends
    this.ends = this.reader.windowEnds(this.run.durationTicks)
    return this.ends
  }

  private report(packets: number, all: boolean): void {
    this.unreported += packets
    if (!all && this.unreported < PROGRESS_UNIT * 64) return
    Atomics.add(this.control, CONTROL_PROGRESS, Math.round(this.unreported / PROGRESS_UNIT))
    this.unreported = 0
  }
}
