/**
 * `dpemu replay`: options → replay → views of the report → exit code.
 *
 * Everything that can be wrong with the command line is found before the replay starts. Nothing is written before the
 * replay is complete, and files before standard output.
 */
import type { Warning } from '../errors.ts'
import { writeOutput } from '../files/output.ts'
import { INGRESS_PATHS } from '../ingress-path.ts'
import { parseKubernetesVersion } from '../kubernetes-version.ts'
import type { PartHead } from '../parts/part.ts'
import { DEFAULT_SHARDS, MAX_SHARDS, MAX_WORKERS, runsOf, workersFor } from '../replay/defaults.ts'
import type { DrawCounts } from '../replay/draws.ts'
import type { replay as Replay, ReplayHooks } from '../replay/replay.ts'
import type { ReplayFormat } from '../report/render.ts'
import { evaluateThresholds, parseThreshold, type Threshold } from '../report/threshold.ts'
import type { ReplayReport } from '../report/types.ts'
import { countOf } from '../report/units.ts'
import { commaList, usageError, wholeNumber } from './arguments.ts'
import { commandLineOf } from './command-line.ts'
import { withoutDisabled } from './disabled-warnings.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import { type Interruption, type Io, interruptionOf } from './io.ts'
import { checkOutput, isStandardOutput, type Output, parseOutputs, stdoutFormat, writeOutputs } from './outputs.ts'
import { isPartMade, type PartRun, partRun, partSummary, writePart } from './part.ts'
import { startProgress } from './progress.ts'
import { warningPrinter } from './warnings.ts'

const FORMATS: readonly ReplayFormat[] = ['text', 'json', 'markdown', 'junit', 'gha', 'gha-bigger', 'html']
const POLICIES = ['cluster', 'local', 'as-is'] as const
const PROXY_MODES = ['nftables', 'iptables', 'ipvs'] as const
/** The seed is a uint32. */
const MAX_SEED = 0xffff_ffff
/** Seeds times placements: all of them are kept for what they have in common. */
const MAX_DRAWS = 1000

/** As typed: one field a flag, absent where the flag was. */
export interface ReplayCommandOptions {
  readonly trace: string
  readonly manifests: readonly string[]
  readonly policy: readonly string[]
  readonly proxyMode: readonly string[]
  readonly kubeVersion?: string | undefined
  readonly ingressPath: readonly string[]
  readonly workers?: string | undefined
  readonly shards?: string | undefined
  readonly seed?: string | undefined
  readonly seeds?: string | undefined
  readonly placements?: string | undefined
  readonly model?: string | undefined
  /** `3/16`: this shard's lanes, into a part. */
  readonly shard?: string | undefined
  readonly threshold: readonly string[]
  /** False: without `series` in the report. */
  readonly series?: boolean | undefined
  readonly dumpConntrack?: string | undefined
  readonly timeline?: string | undefined
  readonly output: readonly string[]
  /** List all constants of the model. */
  readonly constants?: boolean | undefined
  readonly quiet: boolean
}

/** @returns the exit code: 0, 99 when a threshold failed, 130, 143 or 129 when interrupted */
export async function runReplay(options: ReplayCommandOptions, io: Io): Promise<number> {
  const part = partRun('replay', options, inputsOf(options), { '--constants': options.constants === true })
  if (part !== null) return runReplayPart(part, options, io)
  const thresholds = options.threshold.map(parseThreshold)
  const outputs = parseOutputs(options.output, FORMATS, inputsOf(options))
  const dump = options.dumpConntrack === undefined ? null : parseDump(options.dumpConntrack, inputsOf(options))
  if (dump !== null && dump.file === null && outputs.some(({ file }) => file === null)) {
    throw usageError(
      '--dump-conntrack and -o would both go to standard output',
      `write one to a file: --dump-conntrack ${options.dumpConntrack}=FILE`,
    )
  }
  const draws = drawCounts(options)
  const settings: Settings = { ...replayOptions(options), ...(dump === null ? {} : { dumpConntrack: dump }) }
  // What is no trace is found before any thread is made; then threads load their code while this one loads the rest and plans.
  const { openTrace } = await import('../trace/read.ts')
  const trace = openTrace(settings.trace)
  trace.close()
  if (draws !== null && (options.timeline !== undefined || trace.header.timeline !== undefined)) {
    throw (await import('../replay/draws.ts')).withTimeline()
  }
  const workers = settings.workers ?? workersFor(trace.totals.packets * runsOf(settings))
  const { WorkerPool } = await import('../replay/pool.ts')
  const pool = new WorkerPool(workers)
  const run = await (draws === null ? oneReplay() : drawnReplay(draws))

  // The views are loaded while the workers run.
  const views = import('../report/render.ts')
  const interruption = interruptionOf(io)
  const progress = startProgress(io, 'replay', options.quiet)
  const warnings = warningPrinter(io, progress, options.quiet)
  let report: ReplayReport
  let table = ''
  try {
    report = await run(
      { ...settings, workers },
      {
        onProgress: (done, total) => progress.update(done, total),
        onWarning: (warning) => warnings.print(warning),
        signal: interruption.signal,
        stdin: () => io.stdin(),
        pool,
        onTable: (text) => {
          table = text
        },
      },
    )
  } catch (error) {
    if (interruption.signal.aborted) return interruption.exitCode
    throw error
  } finally {
    await pool.close()
    progress.clear()
    warnings.finish()
  }
  if (interruption.signal.aborted) return interruption.exitCode
  const { constants, quiet } = options
  await views
  return writeReplay(report, { thresholds, outputs, constants, quiet }, io, {
    interruption,
    ...(dump === null ? {} : { dump: { file: dump.file, table } }),
  })
}

export interface ReplayViews {
  readonly thresholds: readonly Threshold[]
  readonly outputs: readonly Output<ReplayFormat>[]
  readonly constants: boolean | undefined
  readonly quiet: boolean
}

/** @throws UserError for what was typed after -o or --threshold */
export function replayViews(
  options: Pick<ReplayCommandOptions, 'threshold' | 'output' | 'constants' | 'quiet'>,
  inputs: readonly string[],
): ReplayViews {
  return {
    thresholds: options.threshold.map(parseThreshold),
    outputs: parseOutputs(options.output, FORMATS, inputs),
    constants: options.constants,
    quiet: options.quiet,
  }
}

/** Files first, then standard output. @returns the exit code */
export async function writeReplay(
  whole: ReplayReport,
  { thresholds, outputs, constants, quiet }: ReplayViews,
  io: Io,
  {
    interruption,
    dump = null,
  }: {
    readonly interruption: Interruption
    /** A conntrack table, and where it goes; null: to standard output. */
    readonly dump?: { readonly file: string | null; readonly table: string } | null
  },
): Promise<number> {
  const report = { ...whole, warnings: withoutDisabled(whole.warnings, io.disabledWarnings) }
  const { renderReplay, renderThresholds } = await import('../report/render.ts')
  const results = evaluateThresholds(thresholds, report)
  const command = commandLineOf(io.commandLine)
  await writeOutputs(
    outputs,
    (format) => renderReplay(format, report, results, { color: false, constants, command }),
    interruption,
  )
  if (interruption.signal.aborted) return interruption.exitCode
  if (dump?.file != null) {
    try {
      await writeOutput(dump.file, dump.table, interruption.signal)
    } catch (error) {
      if (!interruption.signal.aborted) throw error
    }
    if (interruption.signal.aborted) return interruption.exitCode
  }
  // Where the table goes to standard output, the report does not.
  const format = dump !== null && dump.file === null ? null : stdoutFormat(outputs, quiet)
  if (dump !== null && dump.file === null) io.stdout(dump.table)
  // Text and Markdown begin with the thresholds; beside data they belong on standard error.
  if (format !== 'text' && format !== 'markdown') io.stderr(renderThresholds(results, { color: io.errorColor }))
  if (format !== null)
    io.stdout(renderReplay(format, report, results, { color: io.color, width: io.width, constants, command }))
  return results.every((result) => result.pass) ? 0 : EXIT_THRESHOLD
}

/** One shard's lanes, or its draws, into a part. */
async function runReplayPart(part: PartRun, options: ReplayCommandOptions, io: Io): Promise<number> {
  const counts = drawCounts(options)
  const unsplit: readonly (readonly [string, boolean, string])[] = [
    ['--dump-conntrack', options.dumpConntrack !== undefined, 'a table is of all shards: replay on one machine'],
    [
      '--workers',
      options.workers !== undefined && counts === null,
      'a shard of lanes is one thread: more shards use more cores',
    ],
    ['-f -', options.manifests.includes('-'), 'merge reads the manifests again: name a file'],
  ]
  const given = unsplit.find(([, isGiven]) => isGiven)
  if (given !== undefined) throw usageError(`${given[0]} does not go with --shard`, given[2])
  const { workers, ...settings } = replayOptions(options)
  const interruption = interruptionOf(io)
  const progress = startProgress(io, 'replay', options.quiet)
  const warnings = warningPrinter(io, progress, options.quiet)
  const isMade = (head: PartHead): boolean => isPartMade(part, head)
  const hooks = {
    onProgress: (done: number, total: number) => progress.update(done, total),
    onWarning: (warning: Warning) => warnings.print(warning),
    signal: interruption.signal,
  }
  try {
    const { head, body, what } =
      counts === null
        ? await lanesPart(settings, part, isMade, hooks)
        : await someDraws({ ...settings, workers }, counts, part, isMade, hooks)
    progress.clear()
    const code = body === null ? 0 : await writePart(part, head, body, interruption, io)
    if (code !== 0) return code
    if (!options.quiet) io.stderr(partSummary(part, what, body === null))
    return 0
  } catch (error) {
    if (interruption.signal.aborted) return interruption.exitCode
    throw error
  } finally {
    progress.clear()
    warnings.finish()
  }
}

type PartHooks = Pick<ReplayHooks, 'onProgress' | 'onWarning' | 'signal'>

interface MadePart {
  readonly head: PartHead
  readonly body: unknown
  /** Of all that there is, this shard's. */
  readonly what: string
}

async function lanesPart(
  settings: Omit<Settings, 'workers'>,
  { shard }: PartRun,
  isMade: (head: PartHead) => boolean,
  hooks: PartHooks,
): Promise<MadePart> {
  const { replayPart } = await import('../replay/part.ts')
  const made = await replayPart(settings, shard, isMade, hooks)
  return { ...made, what: `${DEFAULT_SHARDS / shard.count} of ${DEFAULT_SHARDS} lanes` }
}

async function someDraws(
  settings: Settings,
  counts: DrawCounts,
  { shard }: PartRun,
  isMade: (head: PartHead) => boolean,
  hooks: PartHooks,
): Promise<MadePart> {
  const [{ drawsPart }, { openTrace }, { withTimeline }] = await Promise.all([
    import('../replay/draws-part.ts'),
    import('../trace/read.ts'),
    import('../replay/draws.ts'),
  ])
  const trace = openTrace(settings.trace)
  trace.close()
  if (settings.timeline != null || trace.header.timeline !== undefined) throw withTimeline()
  const workers = settings.workers ?? workersFor(trace.totals.packets * runsOf(settings))
  const made = await drawsPart({ ...settings, workers }, counts, shard, isMade, hooks)
  return { ...made, what: `${countOf(made.draws, 'draw')} of ${counts.seeds * counts.placements}` }
}

async function oneReplay(): Promise<typeof Replay> {
  return (await import('../replay/replay.ts')).replay
}

async function drawnReplay(counts: DrawCounts): Promise<typeof Replay> {
  const [{ replayDraws }, { mergeDraws }] = await Promise.all([
    import('../replay/draws.ts'),
    import('../report/draws.ts'),
  ])
  return async (options, hooks) => mergeDraws(await replayDraws(options, counts, hooks))
}

/** null where there is one of each. */
function drawCounts({ seeds, placements, dumpConntrack }: ReplayCommandOptions): DrawCounts | null {
  if (seeds === undefined && placements === undefined) return null
  const count = (flag: string, text: string | undefined): number =>
    text === undefined ? 1 : wholeNumber(flag, text, { min: 1, max: MAX_DRAWS })
  const counts = { seeds: count('--seeds', seeds), placements: count('--placements', placements) }
  const draws = counts.seeds * counts.placements
  if (draws > MAX_DRAWS)
    throw usageError(
      `${counts.seeds} seeds with ${counts.placements} placements each are ${draws} replays; ${MAX_DRAWS} are the most`,
    )
  if (draws === 1) return null
  if (dumpConntrack !== undefined)
    throw usageError(
      '--dump-conntrack is about one replay, --seeds and --placements make several',
      'leave them out, and choose one with --seed',
    )
  return counts
}

/** `NODE@SECONDS` or `NODE@SECONDS=FILE` */
function parseDump(
  text: string,
  inputs: readonly string[],
): { readonly node: string; readonly seconds: number; readonly file: string | null } {
  const found = /^([^@=]+)@(\d+(?:\.\d+)?)s?(?:=(.+))?$/.exec(text)
  if (found === null) {
    throw usageError(`--dump-conntrack ${text}: it is NODE@SECONDS or NODE@SECONDS=FILE, such as node-a@12.5=table.txt`)
  }
  const file = found[3] ?? '-'
  if (isStandardOutput(file)) return { node: found[1]!, seconds: Number(found[2]), file: null }
  checkOutput(file, inputs)
  return { node: found[1]!, seconds: Number(found[2]), file }
}

function inputsOf({ trace, manifests, model, timeline }: ReplayCommandOptions): string[] {
  return [trace, ...manifests, ...[model, timeline].filter((path) => path !== undefined)]
}

/** As the command line says; how many workers is left open where it does not. */
type Settings = Omit<Parameters<typeof Replay>[0], 'workers'> & { readonly workers: number | null }

function replayOptions(options: ReplayCommandOptions): Settings {
  const policies = commaList('--policy', options.policy, POLICIES)
  return {
    trace: options.trace,
    manifests: [...options.manifests],
    policies: policies.length === 0 ? ['cluster', 'local'] : policies,
    proxyModes: commaList('--proxy-mode', options.proxyMode, PROXY_MODES),
    kubernetesMinor: options.kubeVersion === undefined ? null : parseKubernetesVersion(options.kubeVersion),
    ingressPaths: commaList('--ingress-path', options.ingressPath, INGRESS_PATHS),
    workers:
      options.workers === undefined ? null : wholeNumber('--workers', options.workers, { min: 1, max: MAX_WORKERS }),
    shards: options.shards === undefined ? DEFAULT_SHARDS : shardCount(options.shards),
    seed: options.seed === undefined ? null : wholeNumber('--seed', options.seed, { min: 0, max: MAX_SEED }),
    model: options.model ?? null,
    timeline: options.timeline ?? null,
    series: options.series ?? true,
  }
}

function shardCount(text: string): number {
  const shards = wholeNumber('--shards', text, { min: 1, max: MAX_SHARDS })
  if ((shards & (shards - 1)) !== 0)
    throw usageError(`--shards must be a power of two up to ${MAX_SHARDS}, not ${shards}`)
  return shards
}
