/**
 * End to end: `dpemu replay` as a user runs it, from the start of Node to the report, by trace, policy and workers.
 *
 * The traces are generated into a temporary folder and removed. Before anything is timed, the report of one worker is
 * held against the trace's own totals, and then every other run against that report: all but `engine` must be the same.
 * Wall time here, since that is what a user waits for; the engine's own figure stands beside it.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { ReplayReport } from '../src/report/types.ts'
import type { TraceTotals } from '../src/trace/format.ts'
import { generateTrace } from '../src/trace/generate.ts'
import { median } from './measure.ts'

export interface ReplayMeasurement {
  readonly trace: string
  readonly policy: string
  readonly workers: number
  /** Put through in one invocation, over all policies. */
  readonly packets: number
  /** Seconds of wall time, Node's start included. */
  readonly rounds: readonly number[]
  readonly min: number
  readonly median: number
  /** Million packets a second by the report's own `engine`, best round. */
  readonly engineMillions: number
}

export interface ReplayOptions {
  /** About so many packets a trace. */
  readonly packets: number
  readonly rounds: number
  readonly traces: readonly ReplayTrace[]
  readonly policies: readonly string[]
  /** Empty: 1, 2, 4 … to the number of CPUs. */
  readonly workers: readonly number[]
}

export interface ReplayTrace {
  readonly name: string
  /** Exchanges of a request and its response in a connection. */
  readonly requests: number
}

/** Long connections, where the fast path does nearly everything; and short ones, where the slow path weighs in. */
export const REPLAY_TRACES: readonly ReplayTrace[] = [
  { name: 'long-connections', requests: 100 },
  { name: 'short-connections', requests: 1 },
]

const PROGRAM = fileURLToPath(new URL('../../bin/dpemu.js', import.meta.url))
const MAX_REPORT_BYTES = 1 << 28
const NODES = 4
const REPLAY_SERVICES = 16
const REPLICAS = 8
const SECONDS = 60
/** Handshake and close; a request with its response is three packets at these sizes (request, ACK with it, response). */
const FIXED_PACKETS = 6
const PACKETS_A_REQUEST = 3

/** Generates, checks, measures. @throws Error when a report is wrong */
export async function measureReplay(options: ReplayOptions): Promise<ReplayMeasurement[]> {
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-bench-'))
  try {
    const measured: ReplayMeasurement[] = []
    for (const trace of options.traces) {
      const { path, totals } = await makeTrace(folder, trace, options.packets)
      for (const policy of options.policies) {
        measured.push(...(await measurePolicy(path, totals, trace.name, policy, options)))
      }
      rmSync(path)
    }
    return measured
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** 1, 2, 4 … and the number of CPUs. */
export function workerCounts(): number[] {
  const most = availableParallelism()
  const counts: number[] = []
  for (let workers = 1; workers < most; workers *= 2) counts.push(workers)
  return [...counts, most]
}

async function measurePolicy(
  path: string,
  totals: TraceTotals,
  trace: string,
  policy: string,
  options: ReplayOptions,
): Promise<ReplayMeasurement[]> {
  const counts = options.workers.length > 0 ? options.workers : workerCounts()
  const { report: reference } = await runReplay(path, policy, 1)
  checkTotals(reference, totals)
  const rounds = counts.map((): number[] => [])
  const engine = counts.map(() => 0)
  for (let round = 0; round < options.rounds; round++) {
    for (const [i, workers] of counts.entries()) {
      const { report, seconds } = await runReplay(path, policy, workers)
      if (resultOf(report) !== resultOf(reference)) {
        throw new Error(`replay ${trace} ${policy}: ${workers} workers give another result than 1`)
      }
      rounds[i].push(seconds)
      engine[i] = Math.max(engine[i], report.engine.packetsPerSecond / 1e6)
    }
  }
  return counts.map((workers, i) => ({
    trace,
    policy,
    workers,
    packets: totals.packets * reference.runs.length,
    rounds: rounds[i],
    min: Math.min(...rounds[i]),
    median: median(rounds[i]),
    engineMillions: engine[i],
  }))
}

async function runReplay(
  path: string,
  policy: string,
  workers: number,
): Promise<{ report: ReplayReport; seconds: number }> {
  const began = performance.now()
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [PROGRAM, 'replay', path, '--policy', policy, '--workers', String(workers), '-o', 'json', '-q'],
    { maxBuffer: MAX_REPORT_BYTES },
  )
  const seconds = (performance.now() - began) / 1000
  return { report: JSON.parse(stdout) as ReplayReport, seconds }
}

/** Everything but what was measured. */
function resultOf({ engine: _, ...result }: ReplayReport): string {
  return JSON.stringify(result)
}

/** @throws Error naming the first figure of the report that the trace does not bear out */
function checkTotals(report: ReplayReport, totals: TraceTotals): void {
  const expect = (what: string, found: number, wanted: number): void => {
    if (found !== wanted) throw new Error(`replay: ${what} is ${found}, must be ${wanted}`)
  }
  expect('trace.packets', report.trace.packets, totals.packets)
  expect('trace.connections', report.trace.connections, totals.connections)
  for (const run of report.runs) {
    const { accept, drop, reject } = run.verdicts
    expect(`${run.policy}: connections attempted`, run.connections.attempted, totals.connections)
    expect(`${run.policy}: connections established`, run.connections.established, totals.connections)
    expect(`${run.policy}: packets accepted`, accept, totals.packets)
    expect(`${run.policy}: packets lost`, drop + reject, 0)
    const endpointPackets = run.endpoints.reduce((sum, endpoint) => sum + endpoint.packets, 0)
    expect(`${run.policy}: packets over all endpoints`, endpointPackets, totals.packets)
  }
}

async function makeTrace(
  folder: string,
  trace: ReplayTrace,
  packets: number,
): Promise<{ path: string; totals: TraceTotals }> {
  mkdirSync(join(folder, 'manifests'), { recursive: true })
  writeFileSync(join(folder, 'manifests', 'cluster.yaml'), manifests())
  const connections = Math.max(1, Math.round(packets / (FIXED_PACKETS + trace.requests * PACKETS_A_REQUEST)))
  const scenarioPath = join(folder, `${trace.name}.yaml`)
  writeFileSync(scenarioPath, scenario(trace, connections))
  const path = join(folder, `${trace.name}.msgpack`)
  const { totals } = await generateTrace({ scenarioPath, output: path })
  return { path, totals }
}

function scenario(trace: ReplayTrace, connections: number): string {
  const targets = Array.from({ length: REPLAY_SERVICES }, (_, i) => `      - { service: web-${i} }`)
  return [
    `name: ${trace.name}`,
    'seed: 11',
    'manifests: [manifests]',
    'traffic:',
    '  - from: { external: { addresses: 4096 } }',
    '    to:',
    ...targets,
    `    arrivals: { process: poisson, rate: ${connections / SECONDS}, connections: ${connections} }`,
    `    requests: ${trace.requests}`,
    '    requestBytes: 400',
    '    responseBytes: 1200',
    `    thinkTime: { exponential: { mean: ${Math.round((SECONDS * 250) / trace.requests)}ms } }`,
    '    rtt: 10ms',
    '',
  ].join('\n')
}

/** Every node has pods of every Service, so that no connection fails under Local. */
function manifests(): string {
  const nodes = Array.from({ length: NODES }, (_, i) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: `node-${i}` },
    spec: { podCIDR: `10.244.${i}.0/24` },
    status: {
      capacity: { cpu: '8' },
      conditions: [{ type: 'Ready', status: 'True' }],
      addresses: [{ type: 'InternalIP', address: `192.168.0.${i + 10}` }],
    },
  }))
  const services = Array.from({ length: REPLAY_SERVICES }, (_, i) => [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: `web-${i}`, namespace: 'default' },
      spec: {
        type: 'LoadBalancer',
        selector: { app: `web-${i}` },
        ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: `web-${i}`, namespace: 'default' },
      spec: {
        replicas: REPLICAS,
        selector: { matchLabels: { app: `web-${i}` } },
        template: {
          metadata: { labels: { app: `web-${i}` } },
          spec: { containers: [{ name: 'web', image: 'web', ports: [{ containerPort: 8080 }] }] },
        },
      },
    },
  ])
  return [...nodes, ...services.flat()].map((object) => `---\n${JSON.stringify(object)}\n`).join('')
}
