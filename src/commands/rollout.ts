/**
 * `dpemu rollout`: manifests and a Timeline → many runs → what a change costs in connections, Local and Cluster side by side.
 *
 * Without a Timeline's events the workload that is named is restarted after ten seconds. Nothing is written before all runs are done.
 */

import { emulatedIn } from '../emulates.ts'
import { UserError, type Warning } from '../errors.ts'
import { parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import { suggestion } from '../nearest.ts'
import { partHead } from '../parts/part.ts'
import { renderThresholds } from '../report/text.ts'
import { evaluateThresholds, parseExpression, type Threshold } from '../report/threshold.ts'
import { countOf } from '../report/units.ts'
import { durationMs } from '../rollout/durations.ts'
import { renderRolloutHtml } from '../rollout/html.ts'
import { type Picture, pictureOf } from '../rollout/picture.ts'
import { CONTROL_PLANES, LOAD_BALANCERS } from '../rollout/profiles.ts'
import { type BasisParts, ROLLOUT_SUBJECT, type RolloutReport, rolloutReport } from '../rollout/report.ts'
import { countRuns, type Work } from '../rollout/runs.ts'
import { searchSafe } from '../rollout/safe.ts'
import { frontOf } from '../rollout/scene.ts'
import { type Site, surveySite } from '../rollout/site.ts'
import { renderRolloutJson, renderRolloutMarkdown, renderRolloutText } from '../rollout/text.ts'
import { EMPTY_TIMELINE, findTimeline, perSecond, type Timeline } from '../rollout/timeline.ts'
import { traceArrivals } from '../rollout/trace-arrivals.ts'
import type { Arrivals } from '../rollout/traffic.ts'
import { readTextFile } from '../text-file.ts'
import { packageVersion } from '../version.ts'
import { usageError, wholeNumber } from './arguments.ts'
import { commandLineOf } from './command-line.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import { type Interruption, type Io, interruptionOf } from './io.ts'
import { type Output, parseOutputs, stdoutFormat, writeOutputs } from './outputs.ts'
import { isPartMade, type PartRun, partRun, partSummary, writePart } from './part.ts'
import { startProgress } from './progress.ts'
import { warningPrinter } from './warnings.ts'

/** As typed: one field a flag, absent where the flag was. */
export interface RolloutOptions {
  /** `deployment/web`; absent where the Timeline's events say all. */
  readonly workload?: string | undefined
  readonly manifests: readonly string[]
  readonly timeline?: string | undefined
  readonly rate?: string | undefined
  /** Connections of a trace in place of a rate. */
  readonly trace?: string | undefined
  readonly runs?: string | undefined
  readonly seed?: string | undefined
  readonly safe: boolean
  readonly startup?: string | undefined
  readonly loadBalancer?: string | undefined
  readonly controlPlane?: string | undefined
  readonly kubeVersion?: string | undefined
  /** `3/16`: this shard's runs, into a part. */
  readonly shard?: string | undefined
  readonly threshold: readonly string[]
  readonly output: readonly string[]
  readonly quiet: boolean
}

const FORMATS = ['text', 'json', 'markdown', 'html'] as const
type Format = (typeof FORMATS)[number]

const DEFAULT_RATE = 100
const DEFAULT_RUNS = 100
const MAX_RUNS = 100_000
const MAX_SEED = Number.MAX_SAFE_INTEGER
/** When the workload is restarted, and nothing else is said. */
const RESTART_MS = 10_000
const OLDEST_MINOR = 22
const NEWEST_MINOR = 37

/** @returns the exit code: 0, or 99 when a threshold failed @throws UserError */
export async function runRollout(options: RolloutOptions, io: Io): Promise<number> {
  const part = partRun('rollout', options, inputsOf(options))
  if (part !== null && options.safe) {
    throw usageError(
      '--safe is one search, in which each setting hangs on what the last one showed: it is not split',
      'leave out --shard, or --safe',
    )
  }
  if (part !== null) return runRolloutPart(part, options, io)
  const views = rolloutViews(options, inputsOf(options))
  const { work, titles } = workOf(options, io)
  const progress = startProgress(io, 'rollout', options.quiet)
  const tally = countRuns(work, (done) => progress.update(done, work.runs))
  let settings = 0
  // How many settings the search will need nobody knows; they are some dozen.
  const search = options.safe
    ? searchSafe(work, tally, () => progress.update(++settings, Math.max(20, settings)))
    : null
  progress.clear()
  // Until here Ctrl-C ends the process at once: nothing has been written.
  const interruption = interruptionOf(io)
  const report = rolloutReport({ work, tally, search, ...titles })
  return writeRollout(report, pictureOf(tally), views, io, interruption)
}

/** One shard's runs into a part. */
async function runRolloutPart(part: PartRun, options: RolloutOptions, io: Io): Promise<number> {
  const { work, titles, inputs } = workOf(options, io)
  const { countPart, runsOfShard } = await import('../rollout/part.ts')
  const own = runsOfShard(work.runs, part.shard).length
  const head = partHead('rollout', part.shard, inputs)
  const isThere = isPartMade(part, head)
  if (!isThere) {
    const progress = startProgress(io, 'rollout', options.quiet)
    const body = countPart(work, part.shard, titles, (done) => progress.update(done, own))
    progress.clear()
    const code = await writePart(part, head, body, interruptionOf(io), io)
    if (code !== 0) return code
  }
  if (!options.quiet) io.stderr(partSummary(part, `${countOf(own, 'run')} of ${work.runs}`, isThere))
  return 0
}

function inputsOf({ manifests, timeline, trace }: RolloutOptions): string[] {
  return [...manifests, ...[timeline, trace].filter((path) => path !== undefined)]
}

/** What is to be run; what the report says of it; and all that the runs depend on, by what the user knows it as. */
interface Planned {
  readonly work: Work
  readonly titles: Omit<BasisParts, 'work' | 'tally'>
  readonly inputs: Readonly<Record<string, unknown>>
}

function workOf(options: RolloutOptions, io: Io): Planned {
  if (options.trace !== undefined && options.rate !== undefined)
    throw usageError('--trace and --rate exclude each other')
  const rate = options.rate === undefined ? null : rateOf(options.rate)
  const runs = options.runs === undefined ? null : wholeNumber('--runs', options.runs, { min: 1, max: MAX_RUNS })
  const seed = options.seed === undefined ? 1 : wholeNumber('--seed', options.seed, { min: 0, max: MAX_SEED })
  const minor = options.kubeVersion === undefined ? null : minorOf(options.kubeVersion)

  const files = readManifestFiles(options.manifests, () => io.stdin())
  const parsed = requireObjects(parseManifests(files), options.manifests)
  const own =
    options.timeline === undefined
      ? files
      : [{ name: options.timeline, text: readTextFile(options.timeline, 'timeline', 'E_TIMELINE') }]
  const given = findTimeline(own)
  if (options.timeline !== undefined && given === null)
    throw new UserError('E_TIMELINE', 'there is no Timeline in it', {
      where: options.timeline,
      hint: 'apiVersion: dpemu/v1, kind: Timeline',
    })
  const warnings: Warning[] = parsed.warnings.filter(({ message }) => !message.startsWith('Timeline '))
  const timeline = withFlags(withoutApply(given ?? EMPTY_TIMELINE, warnings), options, warnings)
  const site = surveySite(parsed.objects, timeline, options.workload ?? null, minor)
  const fronts = site.services.map((service) => frontOf(site, timeline, service))
  if (fronts.length === 0) {
    throw new UserError('E_NO_SERVICE', 'no Service selects the pods in question: nobody connects to them', {
      hint: 'pods of workloads count (Deployment, StatefulSet, DaemonSet, ReplicaSet), not pods by themselves',
      where: options.workload ?? timeline.where,
    })
  }
  warnings.push(...site.warnings)
  const recorded = options.trace === undefined ? null : arrivalsOf(options.trace, site, timeline, warnings)
  const work: Work = {
    site,
    timeline,
    fronts,
    perSecond: recorded?.perSecond ?? rate ?? timeline.traffic.perSecond ?? DEFAULT_RATE,
    ...(recorded === null ? {} : { arrivals: recorded.arrivals }),
    seed,
    runs: runs ?? timeline.runs ?? DEFAULT_RUNS,
  }
  const { workload, startup, loadBalancer, controlPlane, kubeVersion } = options
  return {
    work,
    titles: {
      target:
        workload === undefined ? '' : (site.workloads.find(({ object }) => isNamed(object, workload))?.title ?? ''),
      version: packageVersion(),
      emulates: { ...emulatedIn(site.kubernetesMinor), kubernetes: `1.${site.kubernetesMinor}` },
      warnings,
    },
    inputs: {
      manifests: files.map(({ name, text }) => [name, text]),
      timeline: options.timeline === undefined ? null : own[0],
      trace: recorded?.arrivals ?? null,
      options: [workload, startup, loadBalancer, controlPlane, kubeVersion, work.perSecond],
      runs: work.runs,
      seed,
    },
  }
}

export interface RolloutViews {
  readonly thresholds: readonly Threshold[]
  readonly outputs: readonly Output<Format>[]
  readonly quiet: boolean
}

/** @throws UserError for what was typed after -o or --threshold */
export function rolloutViews(
  { threshold, output, quiet }: Pick<RolloutOptions, 'threshold' | 'output' | 'quiet'>,
  inputs: readonly string[],
): RolloutViews {
  return {
    thresholds: threshold.map((text) => parseExpression(text, ROLLOUT_SUBJECT)),
    outputs: parseOutputs(output, FORMATS, inputs),
    quiet,
  }
}

/** Warnings, files, then standard output. @returns the exit code */
export async function writeRollout(
  report: RolloutReport,
  picture: Picture,
  { thresholds, outputs, quiet }: RolloutViews,
  io: Io,
  interruption: Interruption,
): Promise<number> {
  const printer = warningPrinter(io, { update: () => {}, clear: () => {} }, quiet)
  for (const warning of report.warnings) printer.print(warning)
  printer.finish()
  const results = evaluateThresholds(thresholds, report)
  const render = (format: Format, color: boolean, width: number | null): string => {
    if (format === 'json') return renderRolloutJson(report, results)
    if (format === 'html') return renderRolloutHtml(report, picture, results, commandLineOf(io.commandLine))
    if (format === 'markdown') return renderRolloutMarkdown(report, picture, results)
    return renderRolloutText(report, picture, results, { color, width })
  }
  await writeOutputs(outputs, (format) => render(format, false, null), interruption)
  if (interruption.signal.aborted) return interruption.exitCode
  const format = stdoutFormat(outputs, quiet)
  if (format !== 'text' && format !== 'markdown') io.stderr(renderThresholds(results, { color: io.errorColor }))
  if (format !== null) io.stdout(render(format, io.color, io.width))
  return results.every(({ pass }) => pass) ? 0 : EXIT_THRESHOLD
}

/** @throws UserError for a trace without connections to the Services, or that ends before the last event */
function arrivalsOf(
  path: string,
  site: Site,
  timeline: Timeline,
  warnings: Warning[],
): { readonly arrivals: readonly Arrivals[]; readonly perSecond: number } {
  const { arrivals, durationMs, others } = traceArrivals(path, site, site.services)
  const names = site.services.map(({ name }) => name).join(', ')
  const count = arrivals.reduce((sum, { timesMs }) => sum + timesMs.length, 0)
  if (count === 0) throw new UserError('E_NO_CONNECTIONS', `it has no connection to ${names}`, { where: path })
  const late = timeline.events.find(({ atMs }) => atMs > durationMs)
  if (late !== undefined) {
    throw new UserError('E_TIMELINE', `at ${late.atMs / 1000} s the trace is over; it lasts ${durationMs / 1000} s`, {
      where: late.where === '' ? path : late.where,
    })
  }
  if (others > 0) {
    const message = `${countOf(others, 'connection')} to other destinations than ${names} are passed over`
    warnings.push({ code: 'W_OTHER_CONNECTIONS', where: path, message })
  }
  return { arrivals, perSecond: Number(((count * 1000) / Math.max(1, durationMs)).toFixed(3)) }
}

/** A rollout takes the manifests as they are. */
function withoutApply(timeline: Timeline, warnings: Warning[]): Timeline {
  const events = timeline.events.filter(({ verb, where }) => {
    if (verb === 'apply')
      warnings.push({
        code: 'W_NOT_MODELLED',
        where,
        message: 'apply: a rollout takes the manifests as they are; `dpemu replay --timeline` applies it',
      })
    return verb !== 'apply'
  })
  return { ...timeline, events }
}

/** The Timeline with what flags say in its place, and the restart where no event is left. */
function withFlags(timeline: Timeline, options: RolloutOptions, warnings: Warning[]): Timeline {
  const { workload } = options
  let result = timeline
  if (options.loadBalancer !== undefined)
    result = { ...result, loadBalancer: named('--load-balancer', options.loadBalancer, LOAD_BALANCERS) }
  if (options.controlPlane !== undefined) {
    const controlPlane = named('--control-plane', options.controlPlane, CONTROL_PLANES)
    result = { ...result, controlPlane, controlPlaneGiven: true }
  }
  if (workload === undefined) {
    if (result.events.length > 0) return result
    throw usageError('no workload to restart, and no Timeline with events', 'dpemu rollout deployment/web -f MANIFESTS')
  }
  if (result.events.length > 0) {
    warnings.push({
      code: 'W_TIMELINE_EVENTS',
      where: result.where,
      message: `its events are left out: ${workload} was named, and is restarted; leave it out to see the events`,
    })
  }
  const startup = options.startup === undefined ? null : durationMs(options.startup)
  if (options.startup !== undefined && startup === null)
    throw usageError(`--startup must be a time such as 8s, not '${options.startup}'`)
  const event = {
    atMs: RESTART_MS,
    where: '',
    verb: 'rollout' as const,
    target: workload,
    patch: null,
    startup: startup === null ? null : { minMs: startup, maxMs: startup },
  }
  return { ...result, events: [event] }
}

function named<T extends { readonly name: string }>(flag: string, text: string, known: readonly T[]): T {
  const found = known.find(({ name }) => name === text)
  if (found !== undefined) return found
  const names = known.map(({ name }) => name)
  const hint = suggestion(text, names)
  throw usageError(`${flag} does not know '${text}'`, hint === '' ? `known: ${names.join(', ')}` : hint)
}

function rateOf(text: string): number {
  const rate = perSecond(text)
  if (rate === null) throw usageError(`--rate must be connections a second such as 200/s, not '${text}'`)
  return rate
}

function minorOf(text: string): number {
  const minor = Number(/^v?1\.(\d+)(\.\d+)?$/.exec(text.trim())?.[1])
  if (minor >= OLDEST_MINOR && minor <= NEWEST_MINOR) return minor
  throw usageError(`--kube-version is ${JSON.stringify(text)}`, `a release from 1.${OLDEST_MINOR} to 1.${NEWEST_MINOR}`)
}

function isNamed(
  { kind, metadata }: { readonly kind: string; readonly metadata: { readonly name: string } },
  reference: string,
): boolean {
  const parts = reference.toLowerCase().split('/')
  const short: Readonly<Record<string, string>> = { deploy: 'deployment', sts: 'statefulset', ds: 'daemonset' }
  const kinds = parts.map((part) => short[part] ?? part.replace(/s$/, ''))
  return kinds.includes(kind.toLowerCase()) && reference.endsWith(`/${metadata.name}`)
}
