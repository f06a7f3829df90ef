/**
 * `dpemu capacity`: scenario and manifests in, knees or a grid of runs out. Plan cells → run them → report.
 *
 * Everything in the report is a function of scenario, manifests, model and options. Runs are made several cells at once;
 * a cell's own runs follow one another, since each asks for what the last one found.
 */
import { basename, dirname, isAbsolute, relative, resolve, sep } from 'node:path'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL, describeModel, parseModel } from '../compile/model.ts'
import { EMULATES } from '../emulates.ts'
import { UserError, type Warning } from '../errors.ts'
import { type ManifestFile, parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { reduceManifests } from '../k8s/reduce.ts'
import { seedsFrom } from '../random.ts'
import type { PolicyName } from '../replay/plan.ts'
import type { CapacityCell, CapacityReport } from '../report/capacity-types.ts'
import type { Threshold } from '../report/threshold.ts'
import { readTextFile } from '../text-file.ts'
import { readScenario, type Scenario } from '../trace/scenario.ts'
import { connectionsPerSecond } from '../trace/scenario-edit.ts'
import { packageVersion } from '../version.ts'
import type { Axis } from './axes.ts'
import { type CellInputs, type PlannedCell, planCells } from './cells.ts'
import { type Measurer, processMeasurer } from './children.ts'
import { crossingsOf } from './crossings.ts'
import { foldSeeds, SEED_AXIS } from './draws.ts'
import type { Measurement } from './measure.ts'
import { parseObjectives } from './objectives.ts'
import { type CellOptions, runCell } from './run-cell.ts'
import { fingerprintOf, State, type StateFile } from './state.ts'

export interface CapacityOptions {
  readonly scenario: string
  /** Instead of the scenario's own; empty: those. */
  readonly manifests: readonly string[]
  readonly axes: readonly Axis[]
  /** Search each cell's knee; otherwise each cell is one run. */
  readonly knee: boolean
  readonly policies: readonly PolicyName[]
  /** Empty: as the manifests say. */
  readonly proxyModes: readonly ProxyMode[]
  readonly objectives: readonly Threshold[]
  readonly tolerance: number
  /** Of each run; null: in a search as many as the tables need to settle, otherwise the scenario's own. */
  readonly connections: number | null
  readonly seed: number | null
  /** How many seeds each search or run is made with. */
  readonly seeds: number
  readonly model: string | null
  /** Threads; the result does not depend on it. */
  readonly workers: number
}

export interface CapacityHooks {
  /** Part of all that is to be done, 0 to 1. */
  onProgress?(fraction: number): void
  readonly signal?: AbortSignal
  /** Text of standard input, for `-f -`. */
  stdin?(): string
  /** Where finished runs are kept, by the fingerprint of the search. */
  state?(fingerprint: string): StateFile | null
  /** What makes the runs; processes where left out. */
  measurer?(cells: number, workers: number): Measurer
}

export interface CapacityOutcome {
  readonly report: CapacityReport
  /** Runs made, and those found in the state. */
  readonly runs: number
  readonly resumed: number
  readonly packets: number
}

/** What is to be run, and all of the report that no run is needed for. */
export interface CapacityPlan {
  readonly cells: readonly PlannedCell[]
  readonly head: CapacityHead
  /** All that runs and report depend on, by what the user knows it as. */
  readonly inputs: Readonly<Record<string, unknown>>
}

/** Its warnings are those that were there before the runs. */
export type CapacityHead = Omit<CapacityReport, 'cells' | 'crossings'>

/** @throws UserError for inputs that cannot be used; the signal's reason when it came */
export async function measureCapacity(options: CapacityOptions, hooks: CapacityHooks = {}): Promise<CapacityOutcome> {
  const plan = planCapacity(options, hooks.stdin?.bind(hooks))
  const { results, counts } = await runPlanned(plan, plan.cells, options, hooks)
  return { report: capacityReport(plan.head, results), ...counts }
}

/** @throws UserError for inputs that cannot be used */
export function planCapacity(options: CapacityOptions, stdin?: () => string): CapacityPlan {
  const scenario = readScenario(options.scenario)
  const baseSeed = options.seed ?? scenario.seed
  const seeds = seedsFrom(baseSeed, options.seeds)
  const { inputs, warnings } = readInputs(options, scenario, seeds, stdin)
  const model = inputs.model === null ? DEFAULT_MODEL : parseModel(inputs.model.text, inputs.model.path)
  return {
    cells: planCells(inputs),
    head: {
      schemaVersion: 1,
      kind: 'capacity',
      version: packageVersion(),
      scenario: {
        name: scenario.name,
        seed: baseSeed,
        connectionsPerSecond: connectionsPerSecond(scenario),
      },
      search: options.knee ? { tolerance: options.tolerance, connections: options.connections } : null,
      seeds,
      objectives: options.objectives.map(({ text }) => text),
      axes: options.axes.map(({ name, values }) => ({ name, values })),
      model: describeModel(model, options.model),
      warnings: [...warnings, ...returningWarning(scenario, options)],
      emulates: { ...EMULATES },
    },
    inputs: allOf(options, inputs),
  }
}

/**
 * @param cells  of the plan, all or some
 * @returns      a result for each, in their order
 */
export async function runPlanned(
  plan: CapacityPlan,
  cells: readonly PlannedCell[],
  options: CapacityOptions,
  hooks: CapacityHooks,
): Promise<{ results: CellResult[]; counts: Counts }> {
  const fingerprint = fingerprintOf(plan.inputs)
  const state = new State(hooks.state?.(fingerprint) ?? null, fingerprint)
  hooks.signal?.throwIfAborted()
  const counts = { runs: 0, resumed: 0, packets: 0 }
  return { results: await runCells(cells, options, hooks, state, counts), counts }
}

/** @param results  of all cells of the plan, in their order */
export function capacityReport(head: CapacityHead, results: readonly CellResult[]): CapacityReport {
  const { schemaVersion, kind, version, scenario, search, seeds, axes, model, warnings, emulates } = head
  const objectives = parseObjectives(head.objectives)
  const made = results.map(({ cell }) => cell)
  const cells = seeds.length === 1 ? made : foldSeeds(made, objectives)
  return {
    ...{ schemaVersion, kind, version, scenario, search, seeds, objectives: head.objectives, axes, cells },
    crossings: crossingsOf(cells, objectives),
    model,
    warnings: unique([...warnings, ...results.flatMap((result) => result.warnings)]),
    emulates,
  }
}

function readInputs(
  options: CapacityOptions,
  scenario: Scenario,
  seeds: readonly number[],
  stdin?: () => string,
): { inputs: CellInputs; warnings: readonly Warning[] } {
  const folder = dirname(resolve(options.scenario))
  const own = scenario.manifests.map((path) => resolve(folder, path))
  const paths = options.manifests.length > 0 ? options.manifests : own
  const files = relativeNames(folder, readManifestFiles(paths, stdin))
  const parsed = requireObjects(parseManifests(files), paths)
  const inputs = {
    scenarioFile: options.scenario,
    scenarioName: basename(options.scenario),
    scenario: scenario.text,
    // Every run reads them again, and without the folder that they were found in.
    manifests: reduceManifests(files, parsed),
    model:
      options.model === null ? null : { path: options.model, text: readTextFile(options.model, 'model', 'E_MODEL') },
    axes: seeds.length === 1 ? options.axes : [...options.axes, seedAxis(seeds)],
    policies: options.policies,
    proxyModes: options.proxyModes,
    seed: options.seed,
    connections: options.connections,
  }
  return { inputs, warnings: parsed.warnings }
}

function seedAxis(seeds: readonly number[]): Axis {
  return { name: SEED_AXIS, values: [...seeds], target: { kind: 'run', name: 'seed' } }
}

/** Names that do not depend on where the scenario lies, and lead nowhere outside a folder they are written to. */
function relativeNames(folder: string, files: readonly ManifestFile[]): ManifestFile[] {
  const taken = new Set<string>()
  return files.map((file, i) => {
    const { name } = file
    const inside = relative(folder, resolve(name))
    const isOutside = inside.startsWith('..') || isAbsolute(inside) || inside === ''
    const plain = isOutside ? basename(name) : inside.split(sep).join('/')
    const unlike = taken.has(plain) ? `${i}-${basename(name)}` : plain
    taken.add(unlike)
    return { ...file, name: unlike }
  })
}

/** All that runs and report depend on. */
function allOf(options: CapacityOptions, inputs: CellInputs): Record<string, unknown> {
  return {
    version: packageVersion(),
    scenario: inputs.scenario,
    manifests: inputs.manifests,
    model: inputs.model?.text ?? null,
    axes: inputs.axes.map(({ name, values }) => [name, values]),
    knee: options.knee,
    policies: options.policies,
    proxyModes: options.proxyModes,
    objectives: options.objectives.map(({ text }) => text),
    tolerance: options.tolerance,
    connections: options.connections,
    seed: options.seed,
  }
}

export interface Counts {
  runs: number
  resumed: number
  packets: number
}

/** As a part of a run holds it too. */
export interface CellResult {
  readonly cell: CapacityCell
  readonly warnings: readonly Warning[]
}

async function runCells(
  cells: readonly PlannedCell[],
  options: CapacityOptions,
  hooks: CapacityHooks,
  state: State,
  counts: Counts,
): Promise<CellResult[]> {
  const measurer = (hooks.measurer ?? processMeasurer)(cells.length, options.workers)
  const stop = (): void => void measurer.close()
  hooks.signal?.addEventListener('abort', stop)
  const results: CellResult[] = []
  const progress = new Array<number>(cells.length).fill(0)
  const errors: unknown[] = []
  let next = 0
  const work = async (lane: number): Promise<void> => {
    while (next < cells.length && errors.length === 0) {
      const index = next++
      const cell = cells[index]!
      const cellOptions: CellOptions = {
        ...options,
        measure: async (scaling, onProgress) => {
          const key = `${cell.name}; ${scaling.factor} × ${scaling.connections ?? 'own length'}`
          const known = state.get(key)
          if (known !== undefined) {
            counts.resumed++
            return known
          }
          const measurement: Measurement = await measurer.measure(lane, cell.job(scaling), onProgress)
          counts.runs++
          counts.packets += measurement.packets
          state.set(key, measurement)
          return measurement
        },
        onProgress: (fraction) => {
          // An estimate that turned out too low must not send the bar back.
          progress[index] = Math.max(progress[index]!, fraction)
          hooks.onProgress?.(progress.reduce((sum, part) => sum + part, 0) / cells.length)
        },
      }
      try {
        results[index] = await runCell(cell, cellOptions)
      } catch (error) {
        errors.push(cells.length > 1 ? namingCell(error, cell) : error)
        // What the others were at would be thrown away.
        await measurer.close()
      }
    }
  }
  try {
    await Promise.all(Array.from({ length: measurer.lanes }, (_, lane) => work(lane)))
  } finally {
    hooks.signal?.removeEventListener('abort', stop)
    await measurer.close()
  }
  hooks.signal?.throwIfAborted()
  if (errors.length > 0) throw errors[0]
  return results
}

function namingCell(error: unknown, { name }: PlannedCell): unknown {
  if (!(error instanceof UserError)) return error
  const { code, message, where, hint, exitCode } = error
  return new UserError(code, message, { where: `${where === '' ? '' : `${where}, `}with ${name}`, hint, exitCode })
}

function returningWarning({ traffic }: Scenario, { scenario, knee }: CapacityOptions): Warning[] {
  if (!knee || traffic.every(({ returning }) => returning === null)) return []
  const message = 'clients come back by themselves: rates count the arrivals of new ones, and returns come on top'
  return [{ code: 'W_RETURNING', where: scenario, message }]
}

function unique(warnings: readonly Warning[]): Warning[] {
  const seen = new Set<string>()
  return warnings.filter(({ where, message }) => {
    const key = `${where}\n${message}`
    return !seen.has(key) && seen.add(key)
  })
}
