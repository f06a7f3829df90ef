/**
 * `dpemu capacity`: a scenario → the rate at which it breaks, or a grid of runs → exit code.
 *
 * Everything that can be wrong with the command line is found before the first run. Finished runs are kept in a file as
 * they come, so that the same command goes on after Ctrl-C; the file goes away with the answer, unless it was named.
 */
import { readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseAxes } from '../capacity/axes.ts'
import type {
  CapacityHooks,
  CapacityOptions,
  CapacityOutcome,
  measureCapacity as MeasureCapacity,
} from '../capacity/capacity.ts'
import { DEFAULT_OBJECTIVES, DEFAULT_TOLERANCE, parseObjectives } from '../capacity/objectives.ts'
import type { StateFile } from '../capacity/state.ts'
import { type ConstantName, DEFAULT_MODEL, describeModel } from '../compile/model.ts'
import { writeOutputNow } from '../files/output.ts'
import { resolveOutput } from '../files/target.ts'
import { type Shard, shardName } from '../parts/shard.ts'
import { CAPACITY_SUBJECT, OBJECTIVE_SUBJECT } from '../report/capacity-fields.ts'
import { renderCapacityMarkdown, renderCapacityText } from '../report/capacity-sections.ts'
import type { CapacityReport } from '../report/capacity-types.ts'
import { renderCapacityCsv } from '../report/csv.ts'
import { renderCapacityGha } from '../report/gha.ts'
import { renderCapacityHtml } from '../report/html/capacity.ts'
import { renderJson } from '../report/json.ts'
import { renderJunit } from '../report/junit.ts'
import { renderThresholds, type TextOptions } from '../report/text.ts'
import { evaluateThresholds, parseExpression, type Threshold, type ThresholdResult } from '../report/threshold.ts'
import { countOf, formatSeconds } from '../report/units.ts'
import { readScenario } from '../trace/scenario.ts'
import { commaList, usageError, wholeNumber } from './arguments.ts'
import { commandLineOf } from './command-line.ts'
import { withoutDisabled } from './disabled-warnings.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import { type Interruption, type Io, interruptionOf } from './io.ts'
import { type Output, parseOutputs, stdoutFormat, writeOutputs } from './outputs.ts'
import { isPartMade, type PartRun, partRun, partSummary, writePart } from './part.ts'
import { startProgress } from './progress.ts'
import { warningPrinter } from './warnings.ts'

const FORMATS = ['text', 'json', 'csv', 'markdown', 'junit', 'gha', 'gha-bigger', 'html'] as const
const POLICIES = ['cluster', 'local', 'as-is'] as const
const PROXY_MODES = ['nftables', 'iptables', 'ipvs'] as const
const MAX_WORKERS = 256
const MAX_SEED = 0xffff_ffff
const MAX_SEEDS = 1000
const MAX_CONNECTIONS = 100_000_000
const NO_STATE = 'none'
/** Of the fingerprint, in the name of a state of our own. */
const KEY_DIGITS = 12

type Format = (typeof FORMATS)[number]

/** As typed: one field a flag, absent where the flag was. */
export interface CapacityCommandOptions {
  readonly scenario: string
  readonly manifests: readonly string[]
  readonly ranges: readonly string[]
  readonly lists: readonly string[]
  readonly knee: boolean
  readonly policy: readonly string[]
  readonly proxyMode: readonly string[]
  readonly objective: readonly string[]
  readonly tolerance?: string | undefined
  readonly connections?: string | undefined
  readonly seed?: string | undefined
  readonly seeds?: string | undefined
  readonly model?: string | undefined
  readonly workers?: string | undefined
  readonly state?: string | undefined
  /** `3/16`: this shard's cells, into a part. */
  readonly shard?: string | undefined
  /** Figures that tables have beside those of objectives; comma separated. */
  readonly columns?: readonly string[] | undefined
  readonly threshold: readonly string[]
  readonly output: readonly string[]
  /** List all constants of the model. */
  readonly constants?: boolean | undefined
  readonly quiet: boolean
}

/** @returns the exit code: 0, 99 when a threshold failed, 130, 143 or 129 when interrupted */
export async function runCapacity(options: CapacityCommandOptions, io: Io): Promise<number> {
  const part = partRun('capacity', options, inputsOf(options), {
    '--columns': (options.columns ?? []).length > 0,
    '--constants': options.constants === true,
  })
  if (part !== null) return runCapacityPart(part, options, io)
  const views = capacityViews(options, inputsOf(options))
  const settings = capacityOptions(options)
  const { measureCapacity }: { measureCapacity: typeof MeasureCapacity } = await import('../capacity/capacity.ts')
  const run = startRun(options, null, io)
  const startMs = performance.now()
  const outcome = await run.finish((hooks) => measureCapacity(settings, hooks))
  if (typeof outcome === 'number') return outcome
  const { interruption, progress } = run
  const report = withoutUnwanted(outcome.report, io)
  const warnings = warningPrinter(io, progress, options.quiet)
  for (const warning of report.warnings) warnings.print(warning)
  warnings.finish()
  return writeCapacity(report, views, io, {
    interruption,
    beforeStdout: () => {
      removeOwn(run.state)
      if (!options.quiet) io.stderr(`${summary(outcome, (performance.now() - startMs) / 1000)}\n`)
    },
  })
}

/** One shard's cells into a part. */
async function runCapacityPart(part: PartRun, options: CapacityCommandOptions, io: Io): Promise<number> {
  const settings = capacityOptions(options)
  const { measureCapacityPart } = await import('../capacity/part.ts')
  const run = startRun(options, part.shard, io)
  const startMs = performance.now()
  const outcome = await run.finish((hooks) =>
    measureCapacityPart(settings, part.shard, (head) => isPartMade(part, head), hooks),
  )
  if (typeof outcome === 'number') return outcome
  const { body, cells, cellsInAll } = outcome
  if (body !== null) {
    const code = await writePart(part, outcome.head, body, run.interruption, io)
    if (code !== 0) return code
    removeOwn(run.state)
  }
  const what = `${countOf(cells, 'cell')} of ${cellsInAll}`
  const made =
    body === null ? '' : `; ${summary(outcome, (performance.now() - startMs) / 1000).slice('dpemu: '.length)}`
  if (!options.quiet) io.stderr(partSummary(part, `${what}${made}`, body === null))
  return 0
}

/** A run's progress, its interruption and its state. */
interface CapacityRunning {
  readonly interruption: Interruption
  readonly progress: ReturnType<typeof startProgress>
  readonly state: StateFile | null
  /** @returns what was measured, or the exit code where it was interrupted */
  finish<Outcome>(measure: (hooks: CapacityHooks) => Promise<Outcome>): Promise<Outcome | number>
}

function startRun(options: CapacityCommandOptions, shard: Shard | null, io: Io): CapacityRunning {
  const { name } = readScenario(options.scenario)
  // Shards in one folder must not write over each other's.
  const suffix = shard === null ? '' : `.${shardName(shard)}`
  const given = options.state === undefined || options.state === NO_STATE ? options.state : `${options.state}${suffix}`
  if (given !== undefined) stateFile(given, true)
  const interruption = interruptionOf(io)
  const progress = startProgress(io, 'capacity', options.quiet)
  let state: StateFile | null = null
  return {
    interruption,
    progress,
    get state() {
      return state
    },
    finish: async (measure) => {
      try {
        return await measure({
          onProgress: (fraction) => progress.update(fraction, 1),
          signal: interruption.signal,
          stdin: () => io.stdin(),
          state: (fingerprint) => {
            const title = name.replace(/[^\w.-]+/g, '-').slice(0, 100)
            const own = `capacity.${title}.${fingerprint.slice(0, KEY_DIGITS)}${suffix}.state.json`
            state = stateFile(given ?? own, given !== undefined)
            return state
          },
        })
      } catch (error) {
        progress.clear()
        if (!interruption.signal.aborted) throw error
        const path = keptIn(state)
        if (path !== null)
          io.stderr(`dpemu: interrupted; ${path} keeps the finished runs, the same command goes on from there\n`)
        return interruption.exitCode
      } finally {
        progress.clear()
      }
    },
  }
}

export function withoutUnwanted(report: CapacityReport, { disabledWarnings }: Io): CapacityReport {
  return { ...report, warnings: withoutDisabled(report.warnings, disabledWarnings) }
}

export interface CapacityViews {
  readonly thresholds: readonly Threshold[]
  readonly outputs: readonly Output<Format>[]
  readonly columns: readonly string[]
  readonly constants: boolean | undefined
  readonly quiet: boolean
}

/** @throws UserError for what was typed after -o, --threshold or --columns */
export function capacityViews(
  options: Pick<CapacityCommandOptions, 'threshold' | 'output' | 'columns' | 'constants' | 'quiet'>,
  inputs: readonly string[],
): CapacityViews {
  return {
    thresholds: options.threshold.map((text) => parseExpression(text, CAPACITY_SUBJECT)),
    outputs: parseOutputs(options.output, FORMATS, inputs),
    columns: columnsOf(options.columns ?? []),
    constants: options.constants,
    quiet: options.quiet,
  }
}

/** Files first, then standard output. @returns the exit code */
export async function writeCapacity(
  report: CapacityReport,
  { thresholds, outputs, columns, constants, quiet }: CapacityViews,
  io: Io,
  { interruption, beforeStdout }: { readonly interruption: Interruption; readonly beforeStdout?: () => void },
): Promise<number> {
  const results = evaluateThresholds(thresholds, report)
  const command = commandLineOf(io.commandLine)
  await writeOutputs(
    outputs,
    (format) => render(format, report, results, { color: false, constants, columns, command }),
    interruption,
  )
  if (interruption.signal.aborted) return interruption.exitCode
  beforeStdout?.()
  const format = stdoutFormat(outputs, quiet)
  if (format !== 'text' && format !== 'markdown') io.stderr(renderThresholds(results, { color: io.errorColor }))
  if (format !== null)
    io.stdout(render(format, report, results, { color: io.color, width: io.width, constants, columns, command }))
  return results.every((result) => result.pass) ? 0 : EXIT_THRESHOLD
}

function inputsOf({ scenario, manifests, model }: CapacityCommandOptions): string[] {
  return [scenario, ...manifests, ...(model === undefined ? [] : [model])]
}

function render(
  format: Format,
  report: CapacityReport,
  results: readonly ThresholdResult[],
  options: TextOptions & { readonly columns: readonly string[]; readonly command: string },
): string {
  switch (format) {
    case 'json':
      return renderJson(report, results)
    case 'csv':
      return renderCapacityCsv(report, options.columns)
    case 'markdown':
      return renderCapacityMarkdown(report, results, options)
    case 'junit':
      return renderJunit(`dpemu capacity: ${report.scenario.name}`, results)
    case 'gha':
      return renderCapacityGha(report, 'smaller')
    case 'gha-bigger':
      return renderCapacityGha(report, 'bigger')
    case 'html':
      return renderCapacityHtml(report, results, options.command)
    case 'text':
      return renderCapacityText(report, results, options)
  }
}

function capacityOptions(options: CapacityCommandOptions): CapacityOptions {
  const constants = describeModel(DEFAULT_MODEL, null).map(({ name }) => name as ConstantName)
  const axes = parseAxes(options.ranges, options.lists, constants)
  const knee = options.knee || axes.length === 0
  const given = { policy: options.policy, proxyMode: options.proxyMode, rate: knee ? ['search'] : [] }
  for (const [name, values] of Object.entries({
    ...given,
    connections: list(options.connections),
    seed: [...list(options.seed), ...list(options.seeds)],
  })) {
    if (values.length === 0 || axes.every((axis) => axis.name !== name)) continue
    throw usageError(
      name === 'rate' ? 'the search for a knee varies the rate itself' : `${name} is both an axis and a flag`,
      name === 'rate' ? 'leave out --knee or the axis rate' : 'give one of them',
    )
  }
  const policies = commaList('--policy', options.policy, POLICIES)
  const objectives = options.objective.length > 0 ? options.objective : DEFAULT_OBJECTIVES
  return {
    scenario: options.scenario,
    manifests: [...options.manifests],
    axes,
    knee,
    policies: policies.length === 0 ? ['cluster', 'local'] : policies,
    proxyModes: commaList('--proxy-mode', options.proxyMode, PROXY_MODES),
    objectives: parseObjectives(objectives),
    tolerance: options.tolerance === undefined ? DEFAULT_TOLERANCE : toleranceOf(options.tolerance),
    connections:
      options.connections === undefined
        ? null
        : wholeNumber('--connections', options.connections, { min: 1, max: MAX_CONNECTIONS }),
    seed: options.seed === undefined ? null : wholeNumber('--seed', options.seed, { min: 0, max: MAX_SEED }),
    seeds: options.seeds === undefined ? 1 : wholeNumber('--seeds', options.seeds, { min: 1, max: MAX_SEEDS }),
    model: options.model ?? null,
    workers:
      options.workers === undefined
        ? Math.min(MAX_WORKERS, availableParallelism())
        : wholeNumber('--workers', options.workers, { min: 1, max: MAX_WORKERS }),
  }
}

/** Paths of figures, written as in objectives. @throws UserError for one that there is none of */
function columnsOf(values: readonly string[]): string[] {
  const names = values.flatMap((value) => value.split(',')).map((name) => name.trim())
  const subject = { ...OBJECTIVE_SUBJECT, flag: '--columns', example: 'maxOverMean,snatFraction' }
  return names.map((name) =>
    parseExpression(`${name} >= 0`, subject)
      .path.map((segment) => segment.name)
      .join('.'),
  )
}

function list(value: string | undefined): string[] {
  return value === undefined ? [] : [value]
}

/** `0.02` or `2%`. */
function toleranceOf(text: string): number {
  const match = /^(\d+(?:\.\d*)?|\.\d+)\s*(%?)$/.exec(text.trim())
  const tolerance = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1)
  if (!(tolerance >= 0.001 && tolerance <= 1)) {
    throw usageError(`--tolerance must be from 0.001 to 1, or 0.1% to 100%, not '${text}'`)
  }
  return tolerance
}

/** @param isNamed  by the user; one of our own is kept in the working folder, where that can be written to */
function stateFile(path: string, isNamed: boolean): StateFile | null {
  if (path === NO_STATE && isNamed) return null
  try {
    if (resolveOutput(path).kind !== 'file') throw usageError(`--state ${path}: runs are kept in a regular file`)
  } catch (error) {
    if (!isNamed) return null
    throw error
  }
  return {
    path,
    isOwn: !isNamed,
    read: () => readIfThere(path),
    write: (text) => writeOutputNow(path, text),
  }
}

/** Null where no run has been kept. */
function keptIn(state: StateFile | null): string | null {
  return state === null || state.read() === null ? null : state.path
}

function removeOwn(state: StateFile | null): void {
  if (state?.isOwn === true) rmSync(state.path, { force: true })
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw usageError(`cannot read ${path}: ${(error as Error).message}`)
  }
}

function summary({ runs, resumed, packets }: Omit<CapacityOutcome, 'report'>, seconds: number): string {
  const before = resumed === 0 ? '' : `, and ${countOf(resumed, 'run')} that were there`
  return `dpemu: ${countOf(runs, 'run')} of ${countOf(packets, 'packet')} in all, in ${formatSeconds(seconds)}${before}`
}
