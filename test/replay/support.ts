/**
 * What the end-to-end tests share: traces made on the spot, the built `replay`, the built command, and a slow driver of
 * the core that shows every packet.
 *
 * `replay` comes from dist because its workers load compiled files, and the core beside it so that both are of one build;
 * `npm test` builds first.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll } from 'vitest'
import { FLOW_NEW, FLOW_SHIFT, FLOW_STATUS } from '../../dist/native-free-core/flow-record.js'
import { createDataplane, type Dataplane } from '../../dist/native-free-core/index.js'
import { extentOf, planReplay, type ReplayOptions, type ReplayPlan } from '../../dist/src/replay/plan.js'
import { WorkerPool } from '../../dist/src/replay/pool.js'
import { replay, tasksOf } from '../../dist/src/replay/replay.js'
import { WindowReader } from '../../dist/src/replay/window.js'
import { openTrace } from '../../dist/src/trace/read.js'
import type { Warning } from '../../src/errors.ts'
import type { NodeReport, ReplayReport, RunReport } from '../../src/report/types.ts'
import { generateTrace } from '../../src/trace/generate.ts'

export const ROOT: string = join(import.meta.dirname, '..', '..')
export const DPEMU: string = join(ROOT, 'bin', 'dpemu.js')

/** A folder of the test file's own that goes away after its last test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-replay-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export function scenarioFile(name: string): string {
  return join(ROOT, 'traces', name, 'scenario.yaml')
}

/** The trace of a bundled scenario, made anew. @returns its path */
export async function bundledTrace(folder: string, name: string): Promise<string> {
  const output = join(folder, `${name}.msgpack`)
  await generateTrace({ scenarioPath: scenarioFile(name), output })
  return output
}

/** A trace of a scenario and manifests given as values: JSON is YAML. @returns its path */
export async function traceOf(
  folder: string,
  name: string,
  scenario: object,
  objects: readonly object[],
): Promise<string> {
  const scenarioPath = join(folder, `${name}.yaml`)
  const output = join(folder, `${name}.msgpack`)
  writeFileSync(scenarioPath, JSON.stringify({ name, ...scenario }))
  await generateTrace({ scenarioPath, output, manifests: [manifestFile(folder, `${name}-manifests`, objects)] })
  return output
}

/** Objects as `kubectl get -o json` would print them. @returns the file's path */
export function manifestFile(folder: string, name: string, objects: readonly object[]): string {
  const path = join(folder, name, 'objects.json')
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }))
  return path
}

export function options(trace: string, change: Partial<ReplayOptions> = {}): ReplayOptions {
  return {
    trace,
    manifests: [],
    policies: ['cluster', 'local'],
    proxyModes: [],
    workers: 2,
    shards: 16,
    seed: null,
    model: null,
    ...change,
  }
}

const pools = new Map<number, WorkerPool>()

/** Threads that stay for all tests of this process: to start two and have them load their code costs more than most replays. */
export function sharedPool(workers: number): WorkerPool {
  const threads = workers <= 2 ? 2 : 7
  const pool = workers > 7 ? undefined : (pools.get(threads) ?? new WorkerPool(threads))
  if (pool === undefined) throw new RangeError(`${workers} workers: tests share pools of at most 7`)
  pools.set(threads, pool)
  return pool
}

/** The built replay, with the warnings it gave on the way. */
export async function replayed(
  trace: string,
  change: Partial<ReplayOptions> = {},
): Promise<ReplayReport & { given: Warning[] }> {
  const given: Warning[] = []
  const report = await replay(options(trace, change), {
    onWarning: (warning) => given.push(warning),
    pool: sharedPool(change.workers ?? 2),
  })
  return { ...report, given }
}

/** One run of one policy. */
export async function replayedOnce(trace: string, change: Partial<ReplayOptions> = {}): Promise<RunReport> {
  const { runs } = await replayed(trace, { policies: ['as-is'], ...change })
  return runs[0]
}

/** Everything of a report that must not depend on the machine, as it is printed. */
export function resultText(report: ReplayReport): string {
  const { engine: _, ...result } = report
  return JSON.stringify(result)
}

export function runOf(report: ReplayReport, policy: string, proxyMode = 'nftables'): RunReport {
  const run = report.runs.find((one) => one.policy === policy && one.proxyMode === proxyMode)
  if (run === undefined) throw new Error(`the report has no run ${policy} × ${proxyMode}`)
  return run
}

type NodeCount = { [Field in keyof NodeReport]: NodeReport[Field] extends number ? Field : never }[keyof NodeReport]

export function sumOf(nodes: readonly NodeReport[], field: NodeCount): number {
  return nodes.reduce((sum, node) => sum + node[field], 0)
}

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The command as a user runs it. */
export function dpemu(args: readonly string[], nodeFlags: readonly string[] = []): Finished {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...nodeFlags, DPEMU, ...args], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
    maxBuffer: 64 * 2 ** 20,
  })
  return { code: status, stdout, stderr }
}

/** A packet after the core has dealt with it. */
export interface Seen {
  readonly tick: number
  /** Offset of its connection's line in `dataplane.lines`. */
  readonly flow: number
  /** It was the connection's first. */
  readonly opening: boolean
  readonly flags: number
  readonly length: number
}

/**
 * The exact sequential run, one packet at a time in this thread: what `--shards 1` does, watched.
 *
 * @param watch  called after each packet
 * @returns      the core as the run left it; lines from `upstreams` on are connections that proxies opened
 */
export function drive(
  change: ReplayOptions,
  watch: (packet: Seen, dataplane: Dataplane, plan: ReplayPlan) => void,
): { dataplane: Dataplane; plan: ReplayPlan; upstreams: number } {
  const trace = openTrace(change.trace)
  try {
    const plan = planReplay({ ...change, shards: 1, workers: 1 }, trace)
    const { requests } = tasksOf(plan, trace, change.trace)[0]
    const lanes = Array.from({ length: trace.header.lanes }, (_, lane) => lane)
    const reader = new WindowReader(trace, lanes, 1)
    const dataplane = createDataplane({
      connections: reader.flows,
      entries: plan.entries,
      shards: 1,
      nodes: plan.registry.nodes.length,
      endpoints: plan.registry.endpoints.length,
      packetRows: reader.maxPacketRows,
      connectionRows: trace.maxRows,
      extent: extentOf(plan),
      ...(requests === null ? {} : { requests: { ...requests, rows: reader.maxRequestRows } }),
    })
    const { compiled } = plan.runs[0]
    dataplane.begin({ rules: compiled.rules, seed: plan.seed, durationTicks: trace.totals.durationTicks })
    dataplane.quotas.set(compiled.columns.nodeConntrackMax)
    const { flows, packets } = dataplane
    for (let window = 0; window < reader.windows; window++) {
      reader.read(
        window,
        packets,
        dataplane.connections,
        dataplane.define,
        requests === null ? null : dataplane.requests,
      )
      for (const { shard, flowBase, baseTick, from, to } of reader.rows.slice(0, reader.count)) {
        for (let row = from; row < to; row++) {
          const flow = (flowBase + packets.slot[row]) << FLOW_SHIFT
          const opening = (flows[flow + FLOW_STATUS] & 0xff) === FLOW_NEW
          dataplane.process(shard, flowBase, baseTick, row, row + 1)
          const tick = baseTick + packets.time[row]
          watch({ tick, flow, opening, flags: packets.flags[row], length: packets.length[row] }, dataplane, plan)
        }
      }
    }
    dataplane.end(0)
    return { dataplane, plan, upstreams: reader.flows << FLOW_SHIFT }
  } finally {
    trace.close()
  }
}
