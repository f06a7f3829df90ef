/**
 * Generates a trace of a scenario: reads the manifests, derives the cluster, plans addresses, runs the engine.
 *
 * The same scenario, manifests and seed give the same bytes. Memory is bounded by the live connections, the clients and
 * one window, whatever the length of the trace.
 */
import { dirname, relative, resolve, sep } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { UserError, type Warning } from '../errors.ts'
import { applyChange } from '../k8s/change.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { type ManifestFile, parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { reduceManifests } from '../k8s/reduce.ts'
import type { KubeObject } from '../k8s/types.ts'
import { TrafficGenerator } from './flows.ts'
import { TICKS_PER_SECOND, type TraceTotals } from './format.ts'
import { planTraffic } from './plan.ts'
import type { TraceFile } from './read.ts'
import { parseScenario, readScenario, type Scenario } from './scenario.ts'
import { timelineFor } from './scenario-timeline.ts'
import { TraceWriter } from './write.ts'

/** Raised whenever the same scenario and seed give other bytes. */
const GENERATOR = 'dpemu generate, revision 1'
/** Between two looks at the event loop: some tens of milliseconds. */
const EVENTS_PER_TURN = 200_000

export interface GenerateOptions {
  readonly scenarioPath: string
  /** Files and folders instead of the scenario's own manifests; none counts as left out. */
  readonly manifests?: readonly string[]
  /** Where the trace will be: a file, a pipe, or `-` for standard output. */
  readonly output: string
  /** Instead of the scenario's. */
  readonly seed?: number
  /** `done` of `total` is the part of the duration or of the connections, whichever the scenario ends by. */
  readonly onProgress?: (done: number, total: number) => void
  /** Stops the run and removes what was written; the promise is rejected with its reason. */
  readonly signal?: AbortSignal
}

export interface GenerateResult {
  readonly output: string
  readonly name: string
  readonly seed: number
  readonly totals: TraceTotals
  readonly warnings: readonly Warning[]
}

/**
 * Generate a trace.
 *
 * Errors: E_SCENARIO_NOT_FOUND, E_SCENARIO_YAML, E_SCENARIO_FIELD, E_SCENARIO_EMPTY, E_OUTPUT, and those of
 * reading manifests. No file stays when it fails.
 */
export async function generateTrace(options: GenerateOptions): Promise<GenerateResult> {
  const { scenarioPath } = options
  const scenario = readScenario(scenarioPath)
  const seed = options.seed ?? scenario.seed
  const { files, paths } = readManifests(scenario, options)
  return generateFrom({ ...options, scenario, seed, files, paths })
}

interface Ingredients extends Pick<GenerateOptions, 'scenarioPath' | 'output' | 'onProgress' | 'signal'> {
  readonly scenario: Scenario
  readonly seed: number
  readonly files: readonly ManifestFile[]
  /** As they were given, for messages. */
  readonly paths: readonly string[]
  /** Whole, in place of the scenario's. */
  readonly timeline?: unknown
}

/**
 * The trace that the scenario in a trace's header makes of another seed, with the manifests that are in there.
 *
 * Errors: as of `generateTrace`, with the trace as their place.
 */
export async function regenerateTrace(
  { header, path }: Pick<TraceFile, 'header' | 'path'>,
  options: Pick<Ingredients, 'output' | 'seed' | 'onProgress' | 'signal'>,
): Promise<GenerateResult> {
  const { scenario } = header.provenance
  if (scenario === null) throw new Error(`${path} has no scenario`)
  return generateFrom({
    ...options,
    scenarioPath: path,
    scenario: parseScenario(scenario, `${path}, scenario`),
    files: header.manifests,
    paths: [],
    timeline: header.timeline,
  })
}

async function generateFrom(from: Ingredients): Promise<GenerateResult> {
  const { scenarioPath, scenario, seed, files, paths, output, onProgress, signal } = from
  const parsed = requireObjects(parseManifests(files), paths)
  const cluster = deriveCluster(parsed.objects)
  // Found wrong now rather than by every replay.
  let changed: readonly KubeObject[] = parsed.objects
  for (const [i, change] of scenario.changes.entries()) {
    changed = applyChange(changed, change, `${scenarioPath}, changes[${i}]`).objects
  }
  const timeline = from.timeline ?? timelineFor(scenario, scenarioPath, files, parsed.objects)
  const plan = planTraffic(scenario, cluster, scenarioPath)
  signal?.throwIfAborted()
  const writer = new TraceWriter(output, {
    name: scenario.name,
    provenance: { generator: GENERATOR, seed, scenario: scenario.text },
    manifests: reduceManifests(files, parsed, timeline !== undefined),
    warnings: parsed.warnings,
    addresses: plan.addresses,
    clientNames: plan.clientNames,
    destinations: plan.destinations,
    changes: scenario.changes,
    ...(timeline === undefined ? {} : { timeline }),
    ...(plan.destinations.some(({ to }) => to === 'name') ? { dns: scenario.dns } : {}),
    requests: plan.requests,
  })
  const warnings = [...parsed.warnings, ...cluster.warnings]
  try {
    const generator = new TrafficGenerator(scenario, plan, seed, writer)
    while (generator.run(EVENTS_PER_TURN)) {
      onProgress?.(fractionDone(scenario, generator), 1)
      await setImmediate()
      signal?.throwIfAborted()
      await writer.drain(signal)
    }
    if (generator.packets === 0) {
      throw new UserError('E_SCENARIO_EMPTY', 'no connection opens within the duration', {
        where: scenarioPath,
        hint: 'raise duration or arrivals.rate',
      })
    }
    if (generator.withoutPort > 0) {
      warnings.push({
        code: 'W_SOURCE_PORTS',
        where: scenarioPath,
        message: `${generator.withoutPort} connections were left out: their client address had no source port left towards the destination`,
      })
    }
    const totals = writer.end()
    await writer.drain(signal)
    return { output, name: scenario.name, seed, totals, warnings }
  } catch (error) {
    writer.abort()
    throw error
  }
}

/** The manifests, with names that do not depend on where the scenario lies. */
function readManifests(
  scenario: Scenario,
  options: GenerateOptions,
): { files: ManifestFile[]; paths: readonly string[] } {
  const folder = dirname(resolve(options.scenarioPath))
  const own = scenario.manifests.map((path) => resolve(folder, path))
  const paths = options.manifests?.length ? options.manifests : own
  const files = readManifestFiles(paths).map((file) => {
    return { ...file, name: relative(folder, resolve(file.name)).split(sep).join('/') }
  })
  return { files, paths }
}

function fractionDone(scenario: Scenario, generator: TrafficGenerator): number {
  const ofTime = generator.now / (scenario.durationSeconds * TICKS_PER_SECOND)
  const ofConnections = generator.connections / scenario.connections
  const promised = scenario.traffic.reduce((sum, { arrivals }) => sum + arrivals.connections, 0)
  return Math.min(1, Math.max(ofTime, ofConnections, generator.connections / promised))
}
