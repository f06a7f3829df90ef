/**
 * The code that runs in a worker thread: a slice of the lanes, all runs, one after the other.
 *
 * One core instance is made on first use and kept, so that the compiler sees its arrays as constants; each run clears it.
 * Time is taken around a block, never inside.
 */
import { createRequire } from 'node:module'
import { createDataplane, type Dataplane, SAMPLES, TICKS_PER_MS } from '../../native-free-core/index.ts'
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
    const windowEnds = reader.windowEnds(run.durationTicks)
    const stops = new Stops(task.settles ? Math.max(1, Math.ceil(run.durationTicks / SAMPLES)) : 0, run.changes)
    for (let window = 0; window < reader.windows; window++) {
      if (Atomics.load(this.control, CONTROL_ABORT) !== 0) throw new AbortedError('the run was called off')
      reader.read(window, dataplane.packets, dataplane.connections, dataplane.define)
      // Where a window ends comes from the index, so that workers without a packet in it stop at the same times.
      for (; stops.tick <= windowEnds[window]!; stops.advance()) {
        this.processUntil(stops.tick)
        if (stops.isStep) this.settle()
        for (const rules of stops.rules) dataplane.adopt(rules, Math.floor(stops.tick / TICKS_PER_MS))
      }
      this.processUntil(Number.MAX_SAFE_INTEGER)
      if (task.settles) this.settle()
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

  private report(packets: number, all: boolean): void {
    this.unreported += packets
    if (!all && this.unreported < PROGRESS_UNIT * 64) return
    Atomics.add(this.control, CONTROL_PROGRESS, Math.round(this.unreported / PROGRESS_UNIT))
    this.unreported = 0
  }
}

/** The moments of a run at which every worker stops: settlement steps, and changes of the cluster. */
class Stops {
  tick: number
  isStep = false
  rules: readonly Int32Array[] = []
  private step = 1
  private change = 0
  private readonly stepTicks: number
  private readonly changes: WorkerRun['changes']

  /** @param stepTicks 0 for none */
  constructor(stepTicks: number, changes: WorkerRun['changes']) {
    this.stepTicks = stepTicks
    this.changes = changes
    this.tick = 0
    this.take()
  }

  /** On to the next moment. */
  advance(): void {
    if (this.isStep) this.step++
    this.change += this.rules.length
    this.take()
  }

  private take(): void {
    const nextStep = this.stepTicks === 0 ? Number.POSITIVE_INFINITY : this.step * this.stepTicks
    const nextChange = this.changes[this.change]?.tick ?? Number.POSITIVE_INFINITY
    this.tick = Math.min(nextStep, nextChange)
    this.isStep = nextStep === this.tick && nextStep !== Number.POSITIVE_INFINITY
    const due: Int32Array[] = []
    for (let i = this.change; this.changes[i]?.tick === this.tick; i++) due.push(this.changes[i]!.rules)
    this.rules = due
  }
}
