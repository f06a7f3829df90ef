/** Traces made, looked at and replayed, and limits searched: with the defaults of the commands. */
import { availableParallelism } from 'node:os'
import {
  type CapacityHooks,
  type CapacityOptions,
  type CapacityOutcome,
  measureCapacity,
} from '../capacity/capacity.ts'
import { DEFAULT_OBJECTIVES, DEFAULT_TOLERANCE, parseObjectives } from '../capacity/objectives.ts'
import { type Comparison, compareReports } from '../compare/compare.ts'
import { parseFailOn } from '../compare/fail-on.ts'
import { checkReport, ofOneKind } from '../compare/read.ts'
import { DEFAULT_SHARDS, runsOf, workersFor } from '../replay/defaults.ts'
import { type DrawCounts, replayDraws } from '../replay/draws.ts'
import { type ReplayHooks, type ReplayOptions, replay as replayPlanned } from '../replay/replay.ts'
import { mergeDraws } from '../report/draws.ts'
import { evaluateThresholds, parseThreshold, type ThresholdResult } from '../report/threshold.ts'
import type { ReplayReport } from '../report/types.ts'
import { openTrace } from '../trace/read.ts'

/**
 * All but `trace` may be left out; each field is described at `ReplayOptions`. `seeds` and `placements`: replay so many draws of the
 * traffic and of the places of pods, each with each; figures are then medians, and `draws` in the report has their ranges.
 */
export type ReplaySettings = Pick<ReplayOptions, 'trace'> & Partial<ReplayOptions & DrawCounts>

/**
 * Puts a trace through every node's dataplane, once for each policy, proxy mode and way in, on a pool of threads.
 *
 * Defaults: both policies, the manifests that the trace carries, the modes that they say, the trace's own seed, as many threads as
 * are worth starting. The report but for `engine` is the same bytes for any number of threads.
 *
 * @throws UserError for a trace, manifest or model that cannot be used; AbortedError when `hooks.signal` came
 * @example
 * const { runs } = await replay({ trace: 'trace.msgpack' })
 * for (const { policy, pathLatencyMicros } of runs) console.log(policy, pathLatencyMicros.packet.p99)
 */
export async function replay(settings: ReplaySettings, hooks: ReplayHooks = {}): Promise<ReplayReport> {
  const { seeds = 1, placements = 1, ...given } = settings
  const options = {
    manifests: [],
    policies: ['cluster', 'local'] as const,
    proxyModes: [],
    shards: DEFAULT_SHARDS,
    seed: null,
    model: null,
    ...given,
  }
  const planned = { ...options, workers: given.workers ?? workersFor(packetsOf(options)) }
  if (seeds * placements === 1) return replayPlanned(planned, hooks)
  return mergeDraws(await replayDraws(planned, { seeds, placements }, hooks))
}

function packetsOf(options: Omit<ReplayOptions, 'workers'>): number {
  const trace = openTrace(options.trace)
  trace.close()
  return trace.totals.packets * runsOf(options)
}

/** All but `scenario` may be left out; `objectives` are texts such as `p99 < 2ms`. */
export type CapacitySettings = Pick<CapacityOptions, 'scenario'> &
  Partial<Omit<CapacityOptions, 'objectives'>> & { readonly objectives?: readonly string[] }

/**
 * The highest rate of connections at which the objectives hold, by policy and proxy mode, and what breaks first.
 *
 * Runs are processes of their own, `workers` at a time; the report does not depend on how many.
 *
 * @throws UserError for inputs that cannot be used; the signal's reason when `hooks.signal` came
 * @example
 * const { report } = await capacity({ scenario: 'scenario.yaml', policies: ['local'] })
 * for (const { knee } of report.cells) console.log(knee)
 */
export function capacity(settings: CapacitySettings, hooks: CapacityHooks = {}): Promise<CapacityOutcome> {
  const { objectives = DEFAULT_OBJECTIVES, axes = [], ...given } = settings
  return measureCapacity(
    {
      manifests: [],
      knee: axes.length === 0,
      policies: ['cluster', 'local'],
      proxyModes: [],
      tolerance: DEFAULT_TOLERANCE,
      connections: null,
      seed: null,
      seeds: 1,
      model: null,
      workers: availableParallelism(),
      ...given,
      axes,
      objectives: parseObjectives(objectives),
    },
    hooks,
  )
}

/**
 * Judges a report as `--threshold` does.
 *
 * @throws UserError  for a text that is no threshold, or names a figure that there is none of
 * @example
 * const [result] = judge(report, ['local.p99 < 1.2 * cluster.p99'])
 */
export function judge(report: ReplayReport, thresholds: readonly string[]): ThresholdResult[] {
  return evaluateThresholds(thresholds.map(parseThreshold), report)
}

/**
 * What differs between reports of one kind, as `dpemu compare` says it: of `replay` and `capacity`, or JSON that the commands wrote.
 *
 * @param reports  two at least; the first is what the others are held against. `name` is what messages call it by
 * @param failOn   expressions that must not hold of the later ones, with `base` for the same figure of the first
 * @throws UserError `E_REPORT` for what is no report, or of another kind; `E_THRESHOLD` for an expression that cannot be judged
 * @example
 * const { differences, failOn } = compare([{ name: 'before', report }, { name: 'after', report: other }], ['local.p99 > base'])
 */
export function compare(
  reports: readonly { readonly name: string; readonly report: object }[],
  failOn: readonly string[] = [],
): Comparison {
  const checked = reports.map(({ name, report }) => checkReport(name, report))
  const kind = ofOneKind(checked)
  return compareReports(
    checked,
    failOn.map((text) => parseFailOn(text, kind)),
  )
}
