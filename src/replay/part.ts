/**
 * One shard's lanes of a replay, and all shards' as the report that one machine would have made.
 *
 * Shard I of N runs what worker I of N would: its lanes on every node. That is exact as long as its worker would not have met the
 * others. Two things make workers meet: hops of queues that one of them serves for all (`queueOwners`), which the plan tells and
 * which is refused before anything runs; and nodes' limits on conntrack entries, for which each part keeps how near its share
 * came (room.ts), so that the merge proves from all shares that nobody would have settled anything, or refuses.
 * What is a whole node's otherwise (iptables' affinity lists, ports that clients keep, pools of proxies that no lane has to itself)
 * is planned into fewer shards, which the plan says with its reason.
 */

import { UserError } from '../errors.ts'
import { readManifestFiles } from '../k8s/load.ts'
import { packed, unpacked } from '../parts/columns.ts'
import { digestsOf, type Gathered, type PartHead, partHead } from '../parts/part.ts'
import type { Shard } from '../parts/shard.ts'
import type { ReplayReport, TimelineReport } from '../report/types.ts'
import { readTextFile } from '../text-file.ts'
import { CONNECTIONS_BLOCK, REQUESTS_BLOCK } from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'
import type { WorkerResult, WorkerRunResult } from './messages.ts'
import type { ReplayOptions, ReplayPlan } from './plan.ts'
import { WorkerPool } from './pool.ts'
import { queueOwners } from './queue-owners.ts'
import {
  engineReport,
  lossesOf,
  type Measured,
  nodeMaxima,
  type PreparedReplay,
  preparedReplay,
  type ReplayHooks,
  replayReport,
  tasksOf,
  thisMachine,
} from './replay.ts'
import { nodeWithoutRoom } from './room.ts'
import { rowsByWindow } from './window.ts'

/** But for the workers, which are the shards. */
export type PartOptions = Omit<ReplayOptions, 'workers' | 'dumpConntrack'>

interface ReplayPart {
  readonly options: PartOptions
  readonly result: WorkerResult
  /** Of the first shard, where there is a Timeline. */
  readonly timeline: TimelineReport | null
  readonly measured: Measured
}

export interface ReplayPartOutcome {
  readonly head: PartHead
  /** null: the part was there already. */
  readonly body: unknown
}

/** Times of blocks that a part keeps, of the many that there are. */
const KEPT_BLOCKS = 256

/**
 * @param isMade  whether the part is there already
 * @throws UserError for a trace, manifest or model that cannot be used, and `E_COUPLED`, exit code 2, for a replay that is not split so;
 *         AbortedError when the signal came
 */
export async function replayPart(
  options: PartOptions,
  shard: Shard,
  isMade: (head: PartHead) => boolean,
  hooks: Pick<ReplayHooks, 'onProgress' | 'onWarning' | 'signal'> = {},
): Promise<ReplayPartOutcome> {
  const began = performance.now()
  const whole = { ...options, workers: shard.count }
  const prepared = preparedReplay(whole)
  const { plan, trace } = prepared
  const worker = shard.index - 1
  const tasks = tasksOf(plan, trace, options.trace, { alone: shard.count === 1 ? null : worker })
  refuseCoupled(plan, tasks[0]!, shard.count, options.trace)
  if (shard.count > 1) refuseFull(prepared, options.trace)
  const head = partHead('replay', shard, inputsOf(options, trace))
  for (const warning of plan.warnings) hooks.onWarning?.(warning)
  if (isMade(head)) return { head, body: null }
  // Progress counts this worker's packets; that lanes differ a little is no matter to it.
  const total = Math.ceil(trace.totals.packets / shard.count) * plan.runs.length
  const pool = new WorkerPool(1)
  try {
    const [result] = await pool.run([tasks[worker]!], {
      onProgress: (done) => hooks.onProgress?.(Math.min(done, total), total),
      signal: hooks.signal,
    })
    const body: ReplayPart = {
      options,
      result: { ...result!, runs: result!.runs.map(withFewBlocks) },
      timeline: worker === 0 ? await lossesOf(plan, whole) : null,
      measured: { ...thisMachine(), seconds: (performance.now() - began) / 1000 },
    }
    return { head, body: packed(body) }
  } finally {
    await pool.close()
  }
}

/**
 * Reads the trace's header and index and the manifests again, from where the parts found them.
 *
 * @throws UserError `E_PART` where they are no longer what the parts were made of, `E_COUPLED` where a node may have been full
 */
export function mergeReplay({ bodies, inputs }: Gathered): ReplayReport {
  const parts = bodies.map((body) => unpacked(body) as ReplayPart)
  const { options, timeline } = parts[0]!
  const prepared = preparedReplay({ ...options, workers: parts.length })
  const { plan, trace } = prepared
  const now = digestsOf(inputsOf(options, trace))
  const changed = Object.keys(inputs).filter((name) => inputs[name] !== now[name])
  if (changed.length > 0) {
    throw new UserError('E_PART', `the ${changed.join(' and the ')} that the parts were made of changed since`, {
      where: options.trace,
      hint: 'merge where the trace and the manifests lie as they did for the parts',
    })
  }
  const results = parts.map(({ result }) => result)
  if (parts.length > 1 && plan.settles) proveRoom(plan, results, options.trace)
  return {
    ...replayReport(prepared, results, timeline, options),
    engine: engineReport(plan, results, trace.totals.packets * plan.runs.length, measuredOver(parts)),
  }
}

/** All that a part depends on, by what the user knows it as. */
export function inputsOf(options: PartOptions, trace: TraceFile): Record<string, unknown> {
  const { trace: path, manifests, model, timeline, seed, ...others } = options
  const file = (name: string | null | undefined, title: string): string | null =>
    name == null ? null : readTextFile(name, title, 'E_PART')
  return {
    trace: [trace.header, trace.totals, trace.index],
    manifests: readManifestFiles(manifests).map(({ name, text }) => [name, text]),
    model: file(model, 'model'),
    timeline: file(timeline, 'timeline'),
    seed: seed ?? trace.header.provenance.seed,
    options: others,
    'names of files': [path, model, timeline ?? null],
  }
}

/** What makes workers meet, as far as the plan tells. */
function refuseCoupled(
  plan: ReplayPlan,
  task: Pick<ReturnType<typeof tasksOf>[number], 'coreStages' | 'pods' | 'flowsByLane'>,
  count: number,
  where: string,
): void {
  if (count === 1) return
  const fail = (message: string, hint: string): never => {
    throw new UserError('E_COUPLED', message, { where, hint, exitCode: 2 })
  }
  if (plan.shards < count) {
    const why = plan.warnings.find(({ code }) => ['W_STEERING', 'W_RECENT_LISTS', 'W_SOURCE_PORTS'].includes(code))
    fail(
      plan.shards === 1 && why !== undefined
        ? `one shard must do all: ${why.message}`
        : `it has ${plan.shards} lanes that can be run apart, and ${count} shards were asked for`,
      plan.shards === 1 ? 'replay it on one machine' : `at most --shard I/${plan.shards}`,
    )
  }
  if (task.pods.workers.length > 0) {
    fail(
      'pods are queues of requests here (podRequestNanos), and requests of all lanes wait in the same ones',
      'replay it on one machine, with --workers',
    )
  }
  if (!task.flowsByLane) {
    fail(
      'its lanes hold clients (ClientIP affinity, or names that clients dial), whose flows are on all cores of a node: packets of all lanes wait in the same queues',
      'replay it on one machine, with --workers',
    )
  }
  const isApart = (stages: readonly Int32Array[], shards: number): boolean =>
    queueOwners(stages, 0, plan.shards, shards, true).apart
  if (isApart(task.coreStages, count)) return
  const node = plan.registry.nodes.findIndex(
    (_, place) =>
      !isApart(
        task.coreStages.map((cores) => cores.subarray(place, place + 1)),
        count,
      ),
  )
  const cores = task.coreStages.map((stage) => stage[node]).find((number) => number !== undefined)
  const most = [16, 8, 4, 2].find((shards) => shards <= plan.shards && isApart(task.coreStages, shards))
  fail(
    `node ${plan.registry.nodes[node]} has ${cores} cores, whose queues ${count} shards do not divide among them`,
    most === undefined ? 'replay it on one machine, with --workers' : `--shard I/${most} does`,
  )
}

/** What the index alone shows: a first window that can fill a node. Later ones hang on what expires. */
function refuseFull({ plan, trace }: PreparedReplay, where: string): void {
  const requests = plan.runs.some(({ ingress }) => ingress !== null) ? rowsByWindow(trace, REQUESTS_BLOCK)[0]! : 0
  const flows = rowsByWindow(trace, CONNECTIONS_BLOCK)[0]! * plan.flowsPerConnection + requests
  if (plan.settles) refuseNear(plan, () => [Float64Array.from(plan.registry.nodes, () => flows)], where)
}

/** @throws UserError `E_COUPLED` naming the node and the run */
function proveRoom(plan: ReplayPlan, results: readonly WorkerResult[], where: string): void {
  refuseNear(plan, (run) => results.map(({ runs }) => runs[run]!.room), where)
}

/** @param shares  of a run: what its shards held and could open, by windows and nodes */
function refuseNear(plan: ReplayPlan, shares: (run: number) => readonly Float64Array[], where: string): void {
  for (const [i, run] of plan.runs.entries()) {
    const { policy, mode } = run
    const maxima = nodeMaxima([run], plan.registry.nodes.length, 'nodeConntrackMax')
    const node = nodeWithoutRoom(shares(i), maxima)
    if (node < 0) continue
    throw new UserError(
      'E_COUPLED',
      `the conntrack table of node ${plan.registry.nodes[node]} may have come near its maximum of ${maxima[node]} (policy ${policy}, ${mode} mode), which all shards share`,
      { where, hint: 'replay it on one machine, with --workers, where what is left is settled among them' },
    )
  }
}

/** Blocks' times as a few that have about the same distribution: all that a report says of them. */
function withFewBlocks(run: WorkerRunResult): WorkerRunResult {
  const order = Array.from(run.blockNanos.keys()).sort((a, b) => run.blockNanos[a]! - run.blockNanos[b]!)
  if (order.length <= KEPT_BLOCKS) return run
  const blockNanos = new Float64Array(KEPT_BLOCKS)
  const blockRows = new Float64Array(KEPT_BLOCKS)
  for (const [place, block] of order.entries()) {
    const kept = Math.floor((place * KEPT_BLOCKS) / order.length)
    blockNanos[kept] = run.blockNanos[block]!
    blockRows[kept]! += run.blockRows[block]!
  }
  return { ...run, blockNanos, blockRows }
}

/** Of machines side by side: the slowest decides. */
function measuredOver(parts: readonly ReplayPart[]): Measured {
  const all = (values: readonly string[]): string => [...new Set(values)].join(', ')
  return {
    node: all(parts.map(({ measured }) => measured.node)),
    machine: all(parts.map(({ measured }) => measured.machine)),
    seconds: Math.max(...parts.map(({ measured }) => measured.seconds)),
    peakRssBytes: Math.max(...parts.map(({ measured }) => measured.peakRssBytes)),
  }
}
