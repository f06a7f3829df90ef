/**
 * `replay`: trace and manifests in, report out. Plan → workers → merge → summary.
 *
 * Everything in the report but `engine` is a function of trace, manifests, options and seed; the number of workers does
 * not enter it.
 */
import { cpus } from 'node:os'
import { HOP_BYTES, KEEPALIVE } from '../../native-free-core/index.ts'
import { assumedNetwork } from '../compile/address-columns.ts'
import { describeModel } from '../compile/model.ts'
import { emulatedIn } from '../emulates.ts'
import { UserError, type Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import type { EngineReport, ReplayReport, RunReport, TimelineReport } from '../report/types.ts'
import { arrivalSeconds } from '../trace/arrivals.ts'
import { CONNECTIONS_BLOCK, REQUESTS_BLOCK, TICKS_PER_SECOND } from '../trace/format.ts'
import { openTrace, type TraceFile } from '../trace/read.ts'
import { packageVersion } from '../version.ts'
import { inputsReport } from './inputs.ts'
import { mergeRuns } from './merge.ts'
import { CONTROL_WORDS, type TableDump, type WorkerResult, type WorkerTask } from './messages.ts'
import { extentOf, MAX_HOPS, type PlannedRun, planReplay, type ReplayOptions, type ReplayPlan } from './plan.ts'
import { WorkerPool } from './pool.ts'
import { Settlement } from './quotas.ts'
import { summarizeRun } from './summarize.ts'
import { tableText } from './table-dump.ts'
import { mostRows, workerOfLane } from './window.ts'

export type { ReplayOptions } from './plan.ts'

export interface ReplayHooks {
  /** Packets done and to be done, over all runs. */
  onProgress?(done: number, total: number): void
  onWarning?(warning: Warning): void
  readonly signal?: AbortSignal
  /** Text of standard input, for `-f -`. */
  stdin?(): string
  /** The conntrack table that `dumpConntrack` asks for, in the lines of `conntrack -L`. */
  onTable?(text: string): void
  /** The cluster that the manifests make, before any change of the trace. */
  onCluster?(cluster: Cluster): void
  /** Made beforehand for at least as many workers; whoever made it closes it. Left out: one is made, and closed in the end. */
  readonly pool?: WorkerPool
}

/**
 * @throws UserError for a trace, manifest or model that cannot be used; AbortedError when the signal came
 */
export async function replay(options: ReplayOptions, hooks: ReplayHooks = {}): Promise<ReplayReport> {
  const began = performance.now()
  if (hooks.pool !== undefined) return replayOn(hooks.pool, options, hooks, began)
  const pool = new WorkerPool(options.workers)
  try {
    return await replayOn(pool, options, hooks, began)
  } finally {
    await pool.close()
  }
}

async function replayOn(
  pool: WorkerPool,
  options: ReplayOptions,
  hooks: ReplayHooks,
  began: number,
): Promise<ReplayReport> {
  const prepared = preparedReplay(options, hooks)
  const { plan, trace } = prepared
  hooks.onCluster?.(plan.cluster)
  for (const warning of plan.warnings) hooks.onWarning?.(warning)
  const total = trace.totals.packets * plan.runs.length
  const running = pool.run(tasksOf(plan, trace, options.trace, { dump: dumpOf(options, plan, trace) }), {
    onProgress: (done) => hooks.onProgress?.(Math.min(done, total), total),
    signal: hooks.signal,
  })
  const [results, timeline] = await Promise.all([running, lossesOf(plan, options)])
  hooks.onProgress?.(total, total)
  if (options.dumpConntrack !== undefined) {
    hooks.onTable?.(
      tableText(
        results.map((result) => result.runs[0]!.table),
        plan.registry,
      ),
    )
  }
  const report = replayReport(prepared, results, timeline, options)
  for (const warning of report.warnings.slice(plan.warnings.length)) hooks.onWarning?.(warning)
  const measured = { ...thisMachine(), seconds: (performance.now() - began) / 1000 }
  return { ...report, engine: engineReport(plan, results, total, measured) }
}

/** What there is before anything runs. */
export interface PreparedReplay {
  readonly plan: ReplayPlan
  /** Closed: its header and index are here. */
  readonly trace: TraceFile
  /** Seconds in which connections begin. */
  readonly arrivals: number
}

export function preparedReplay(options: ReplayOptions, hooks: Pick<ReplayHooks, 'stdin'> = {}): PreparedReplay {
  const trace = openTrace(options.trace)
  try {
    if (trace.totals.packets === 0) {
      throw new UserError('E_TRACE_NO_PACKETS', 'the trace holds no packets', { where: options.trace })
    }
    return { plan: planReplay(options, trace, hooks.stdin?.bind(hooks)), trace, arrivals: arrivalSeconds(trace) }
  } finally {
    trace.close()
  }
}

/** @param results  of all workers, in their order */
export function replayReport(
  { plan, trace, arrivals }: PreparedReplay,
  results: readonly WorkerResult[],
  timeline: TimelineReport | null,
  options: Pick<ReplayOptions, 'model'>,
): Omit<ReplayReport, 'engine'> {
  const durationSeconds = Math.max(1, trace.totals.durationTicks) / TICKS_PER_SECOND
  const runs = plan.runs.map((run, i) =>
    summarizeRun(
      run,
      mergeRuns(
        plan,
        results.map((result) => result.runs[i]!),
      ),
      plan,
      { durationSeconds, arrivalSeconds: arrivals, durationTicks: trace.totals.durationTicks },
    ),
  )
  return {
    schemaVersion: 1,
    kind: 'replay',
    trace: {
      name: trace.header.name,
      packets: trace.totals.packets,
      connections: trace.totals.connections,
      durationSeconds,
      arrivalSeconds: arrivals,
      clients: trace.totals.clients,
      bytes: trace.totals.bytes,
    },
    inputs: inputsReport(trace, plan.manifests, plan.seed),
    comparedServices: [...plan.comparedServices],
    runs,
    draws: null,
    model: describeModel(plan.model, options.model),
    derived: [...plan.cluster.derived, assumedNetwork(plan.cluster, plan.model.egressMasquerade)].map(
      ({ object, what }) => ({ object, what }),
    ),
    warnings: [...plan.warnings, ...lateWarnings(runs)],
    changes: trace.header.changes.map(({ timeSeconds }) => timeSeconds),
    emulates: emulatedIn(plan.cluster.kubernetesMinor),
    ...(timeline === null ? {} : { timeline }),
  }
}

/** What the Timeline costs clients, worked out while the workers run. */
export async function lossesOf(
  { timeline }: ReplayPlan,
  { policies, trace: path }: ReplayOptions,
): Promise<TimelineReport | null> {
  if (timeline === null) return null
  const { dialsOf, timelineReport } = await import('./timeline-losses.ts')
  const trace = openTrace(path)
  try {
    return timelineReport(timeline, dialsOf(trace, timeline), policies)
  } finally {
    trace.close()
  }
}

/** What only the run could tell. */
function lateWarnings(runs: readonly RunReport[]): Warning[] {
  const most = runs.reduce((count, { dns }) => Math.max(count, dns.withoutResolver), 0)
  if (most === 0) return []
  return [
    {
      code: 'W_NO_RESOLVER',
      where: 'names',
      message: `${most} connections to names come from clients that are no pods of the manifests: nothing says how they resolve, so they fail (name-not-resolved)`,
    },
  ]
}

/** @throws UserError `E_USAGE`, exit code 2: a node that is not there, a time outside of the trace, more than one run */
function dumpOf({ dumpConntrack }: ReplayOptions, plan: ReplayPlan, trace: TraceFile): TableDump | null {
  if (dumpConntrack === undefined) return null
  const { node, seconds } = dumpConntrack
  const fail = (message: string, hint = ''): never => {
    throw new UserError('E_USAGE', `--dump-conntrack: ${message}`, { hint, exitCode: 2 })
  }
  const index = plan.registry.nodes.indexOf(node)
  if (index < 0) fail(`there is no node "${node}"`, `the manifests have ${plan.registry.nodes.join(', ')}`)
  if (plan.runs.length > 1) {
    const names = plan.runs.map(({ policy, mode }) => `${policy} in ${mode} mode`).join(', ')
    fail(
      `the table is that of one run, and there are ${plan.runs.length} (${names})`,
      'say which: --policy, --proxy-mode',
    )
  }
  const end = trace.totals.durationTicks / TICKS_PER_SECOND
  if (seconds > end) fail(`the trace ends at ${end} s`)
  return { node: index, tick: Math.round(seconds * TICKS_PER_SECOND) }
}

/** @param alone  the only worker that is run here, whose hops are the only ones that need room */
export function tasksOf(
  plan: ReplayPlan,
  trace: TraceFile,
  path: string,
  { dump = null, alone = null }: { readonly dump?: TableDump | null; readonly alone?: number | null } = {},
): WorkerTask[] {
  const nodes = plan.registry.nodes.length
  const hops = Array.from({ length: plan.workers }, (_, worker) => {
    if (alone !== null && worker !== alone) return { buffer: new SharedArrayBuffer(0), capacity: 0 }
    const own = (lane: number): boolean => workerOfLane(lane, plan.shards, plan.workers) === worker
    const hopsOfPacket = MAX_HOPS + (plan.registry.podQueues.length > 0 ? 1 : 0)
    const hopsOfNames = plan.hopsOfNames === 0 ? 0 : mostRows(trace, own, CONNECTIONS_BLOCK) * plan.hopsOfNames
    const capacity = mostRows(trace, own) * hopsOfPacket + hopsOfNames + hopsOfProxies(plan, trace, worker)
    return { buffer: new SharedArrayBuffer(capacity * HOP_BYTES), capacity }
  })
  const segments = new Int32Array(new SharedArrayBuffer(plan.shards * 8))
  const control = new SharedArrayBuffer(Math.max(Settlement.bytes(plan.shards, nodes), CONTROL_WORDS * 4))
  return Array.from({ length: plan.workers }, (_, worker) => ({
    tracePath: path,
    worker,
    workers: plan.workers,
    shards: plan.shards,
    nodes,
    endpoints: Math.max(1, plan.registry.endpoints.length),
    entries: plan.entries,
    alone: alone !== null,
    settles: plan.settles,
    flowsPerConnection: plan.flowsPerConnection,
    // Where lanes hold clients, flows of one client share a lane, but not a core.
    flowsByLane: trace.header.destinations.every(({ steer }) => steer === 'tuple'),
    cores: nodeMaxima(plan.runs, nodes, 'nodeCores'),
    coreStages: ruleSets(plan.runs).map(({ columns }) => columns.nodeCores),
    backlog: plan.model.backlogPackets,
    pods: {
      workers: Int32Array.from(plan.registry.podQueues, ({ workers }) => workers),
      backlog: plan.model.podQueueRequests,
    },
    extent: extentOf(plan),
    latencySlots: plan.latencies.slotOf,
    seriesEndpoints: plan.seriesEndpoints,
    requests: requestRoom(plan, trace, worker),
    hops,
    segments,
    runs: plan.runs.map((run) => ({
      rules: run.compiled.rules,
      seed: plan.seed,
      durationTicks: trace.totals.durationTicks,
      conntrackMax: nodeMaxima([run], nodes, 'nodeConntrackMax'),
      changes: run.changes.map(({ tick, compiled }) => ({ tick, rules: compiled.rules })),
    })),
    control,
    dump,
  }))
}

/** Connections to backends that a worker's share of the proxies may have at once; null where no request goes through one. */
function requestRoom(plan: ReplayPlan, trace: TraceFile, worker: number): WorkerTask['requests'] {
  const proxied = plan.runs.flatMap(({ ingress }) => ingress ?? [])
  if (proxied.length === 0) return null
  const workers = proxied.map(({ proxies }) => proxies.reduce((sum, proxy) => sum + proxy.workers, 0))
  const groups = workers.reduce((most, count) => Math.max(most, count), 0)
  const clients = trace.slotsPerLane
    .filter((_, lane) => workerOfLane(lane, plan.shards, plan.workers) === worker)
    .reduce((sum, slots) => sum + slots, 0)
  // One for each client at most, and one more than a pool may hold before the last is closed.
  return { upstreams: Math.min(trace.requestCount, clients + groups * (KEEPALIVE + 1)) + 1, workers: groups }
}

/**
 * The way behind the proxy of each packet; of each request its turn in the proxy, targets that do not answer, a handshake and a
 * close; and a close of each connection that was there before.
 */
function hopsOfProxies(plan: ReplayPlan, trace: TraceFile, worker: number): number {
  const room = requestRoom(plan, trace, worker)
  if (room === null) return 0
  const own = (lane: number): boolean => workerOfLane(lane, plan.shards, plan.workers) === worker
  const requests = mostRows(trace, own, REQUESTS_BLOCK)
  return mostRows(trace, own) * MAX_HOPS + requests * (1 + 3 + 6 * MAX_HOPS) + room.upstreams * 3 * MAX_HOPS
}

function ruleSets(runs: readonly PlannedRun[]): PlannedRun['compiled'][] {
  return runs.flatMap((run) => [run.compiled, ...run.changes.map(({ compiled }) => compiled)])
}

/** A column by node over all changes of the cluster: a node that joins on the way has its own from the start, and is idle. */
export function nodeMaxima(
  runs: readonly PlannedRun[],
  nodes: number,
  column: 'nodeConntrackMax' | 'nodeCores',
): Int32Array {
  const maxima = new Int32Array(nodes)
  for (const { columns } of ruleSets(runs)) {
    columns[column].forEach((value, node) => {
      maxima[node] = Math.max(maxima[node]!, value)
    })
  }
  return maxima
}

/** Where results were made, and how long that took. */
export interface Measured extends Pick<EngineReport, 'node' | 'machine' | 'peakRssBytes'> {
  readonly seconds: number
}

export function thisMachine(): Omit<Measured, 'seconds'> {
  return {
    node: process.version,
    machine: `${cpus()[0]?.model.trim() ?? 'unknown CPU'} × ${cpus().length}`,
    peakRssBytes: process.resourceUsage().maxRSS * 1024,
  }
}

export function engineReport(
  plan: Pick<ReplayPlan, 'workers' | 'shards'>,
  results: readonly WorkerResult[],
  packets: number,
  { node, machine, peakRssBytes, seconds }: Measured,
): EngineReport {
  const runs = results.flatMap((result) => result.runs)
  const blocks = runs.flatMap(({ blockNanos, blockRows }) =>
    Array.from(blockNanos, (nanos, i) => ({ nanos, rows: blockRows[i]! })),
  )
  blocks.sort((a, b) => a.nanos - b.nanos)
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0)
  const at = (fraction: number): number => {
    let seen = 0
    for (const block of blocks) {
      seen += block.rows
      if (seen >= rows * fraction) return block.nanos
    }
    return 0
  }
  return {
    version: packageVersion(),
    node,
    machine,
    workers: plan.workers,
    shards: plan.shards,
    wallSeconds: seconds,
    packetsPerSecond: packets / seconds,
    processingNanosPerPacket: { p50: at(0.5), p99: at(0.99) },
    peakRssBytes,
    nativeAddons: results.some((result) => result.nativeAddons),
  }
}
