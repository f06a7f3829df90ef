/**
 * The same replay several times: over traces of other seeds, over other placements of the pods, or both.
 *
 * The first draw is the replay as it would be without: the trace as it is, pods where they are derived. Every other seed's trace is
 * generated from the scenario in the trace's header into a temporary folder, replayed under each placement and taken away. Draws
 * follow one another, so that memory and disk are those of one. The result is a function of trace, manifests, options and seed.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { UserError, type Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { seedsFrom } from '../random.ts'
import type { PlacementReport, ReplayReport } from '../report/types.ts'
import { regenerateTrace } from '../trace/generate.ts'
import { openTrace, type TraceFile } from '../trace/read.ts'
import { AbortedError } from './messages.ts'
import type { ReplayOptions } from './plan.ts'
import { WorkerPool } from './pool.ts'
import { type ReplayHooks, replay } from './replay.ts'

export interface DrawCounts {
  /** 1: the trace's alone. */
  readonly seeds: number
  /** 1: the derived one alone. */
  readonly placements: number
}

export interface Draws {
  readonly seeds: readonly number[]
  readonly placements: readonly PlacementReport[]
  /** Seeds times placements, seeds slowest; the first is the replay as it is without draws. */
  readonly reports: readonly ReplayReport[]
}

/** Of a draw's time, where its trace is generated first; roughly, for the progress bar. */
const GENERATING = 0.4

/** Of a placement: how many pods of each owner are on each node. */
type Spread = readonly (readonly [owner: string, nodes: readonly (readonly [node: string, pods: number])[]])[]

/** Some draws of a replay: plain data. */
export interface SomeDraws {
  readonly seeds: readonly number[]
  /** By draw: seeds times placements, seeds slowest. */
  readonly reports: readonly (readonly [draw: number, report: ReplayReport])[]
  readonly spreads: readonly (readonly [placement: number, spread: Spread])[]
}

export type DrawHooks = Omit<ReplayHooks, 'onTable' | 'onCluster'>

/**
 * @throws UserError for a trace, manifest or model that cannot be used; AbortedError when the signal came
 */
export async function replayDraws(options: ReplayOptions, counts: DrawCounts, hooks: DrawHooks = {}): Promise<Draws> {
  const { draws, note } = allDraws([await replaySome(options, counts, () => true, hooks)], counts, options.trace)
  if (note !== null) hooks.onWarning?.(note)
  return draws
}

/** @param parts  that have each draw once between them */
export function allDraws(
  parts: readonly SomeDraws[],
  counts: DrawCounts,
  trace: string,
): { readonly draws: Draws; readonly note: Warning | null } {
  const reports: ReplayReport[] = []
  for (const [draw, report] of parts.flatMap((part) => part.reports)) reports[draw] = report
  const spreads = new Map(parts.flatMap((part) => part.spreads))
  const placements = placementsOf(Array.from({ length: counts.placements }, (_, i) => new Map(spreads.get(i)!)))
  const isOne = counts.placements > 1 && placements.every(({ pods }) => Object.keys(pods).length === 0)
  const note = isOne ? onePlacement(trace) : null
  if (note !== null) reports[0] = { ...reports[0]!, warnings: [...reports[0]!.warnings, note] }
  return { draws: { seeds: parts[0]!.seeds, placements, reports }, note }
}

/**
 * @param isOwn  which of the draws are made
 * @throws UserError for a trace, manifest or model that cannot be used; AbortedError when the signal came
 */
export async function replaySome(
  options: ReplayOptions,
  counts: DrawCounts,
  isOwn: (draw: number) => boolean,
  hooks: DrawHooks = {},
): Promise<SomeDraws> {
  const trace = openTrace(options.trace)
  trace.close()
  const seeds = seedsFrom(options.seed ?? trace.header.provenance.seed, counts.seeds)
  const total = Array.from({ length: counts.seeds * counts.placements }, (_, draw) => draw).filter(isOwn).length
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-draws-'))
  const removeFolder = (): void => rmSync(folder, { recursive: true, force: true })
  // A second Ctrl-C ends this process where it stands.
  process.once('exit', removeFolder)
  const pool = hooks.pool ?? new WorkerPool(options.workers)
  const said = new Set<string>()
  const onWarning = (warning: Warning): void => {
    const key = `${warning.where}\n${warning.message}`
    if (!said.has(key)) hooks.onWarning?.(warning)
    said.add(key)
  }
  const notes = counts.seeds > 1 && trace.header.provenance.scenario === null ? [withoutScenario(options.trace)] : []
  for (const note of notes) onWarning(note)
  const reports: [number, ReplayReport][] = []
  const spreads = new Map<number, Spread>()
  try {
    for (const [i, seed] of seeds.entries()) {
      const own = Array.from({ length: counts.placements }, (_, placement) => placement).filter((placement) =>
        isOwn(i * counts.placements + placement),
      )
      if (own.length === 0) continue
      const before = reports.length
      const isMade = i > 0 && notes.length === 0
      const part = isMade ? GENERATING / own.length : 0
      const path = isMade
        ? await generated(trace, seed, folder, hooks.signal, (fraction) =>
            hooks.onProgress?.(before + fraction * part * own.length, total),
          )
        : options.trace
      for (const [place, placement] of own.entries()) {
        const done = before + place
        const draw = i * counts.placements + placement
        const report = await replay(
          // The course over time is that of the first draw.
          {
            ...options,
            trace: path,
            seed: i === 0 ? options.seed : seed,
            placement,
            series: options.series !== false && draw === 0,
          },
          {
            ...hooks,
            pool,
            onWarning: (warning) => onWarning(named(warning, path, options.trace)),
            onProgress: (packets, all) => hooks.onProgress?.(done + part + (packets / all) * (1 - part), total),
            onCluster: (cluster) => {
              if (!spreads.has(placement)) spreads.set(placement, spreadOf(cluster))
            },
          },
        )
        if (report.timeline !== undefined) throw withTimeline()
        const warnings = [...notes, ...report.warnings.map((warning) => named(warning, path, options.trace))]
        reports.push([draw, { ...report, warnings }])
      }
      if (isMade) rmSync(path, { force: true })
    }
  } finally {
    if (hooks.pool === undefined) await pool.close()
    removeFolder()
    process.removeListener('exit', removeFolder)
  }
  return { seeds, reports, spreads: [...spreads] }
}

async function generated(
  trace: TraceFile,
  seed: number,
  folder: string,
  signal: AbortSignal | undefined,
  onProgress: (fraction: number) => void,
): Promise<string> {
  const output = join(folder, `seed-${seed}.msgpack`)
  try {
    await regenerateTrace(trace, {
      output,
      seed,
      onProgress: (done, all) => onProgress(done / all),
      ...(signal === undefined ? {} : { signal }),
    })
  } catch (error) {
    if (signal?.aborted) throw new AbortedError('interrupted')
    throw error
  }
  return output
}

/** Made traces lie in a folder that nobody has heard of. */
function named(warning: Warning, path: string, trace: string): Warning {
  if (path === trace) return warning
  return {
    ...warning,
    where: warning.where.replaceAll(path, trace),
    message: warning.message.replaceAll(path, trace),
  }
}

/** Draws of traffic are one thing, courses of a Timeline another: their figures would not be of the same. */
export function withTimeline(): UserError {
  return new UserError('E_USAGE', '--seeds and --placements do not go with a Timeline', {
    hint: 'its own `runs` draws what it costs so many times',
    exitCode: 2,
  })
}

function withoutScenario(path: string): Warning {
  const message =
    'the trace holds no scenario, so its connections are the same for every seed; only what the dataplane and the model leave to chance is drawn anew'
  return { code: 'W_SEEDS', where: path, message }
}

function onePlacement(path: string): Warning {
  const message = 'every pod has one place only, by the manifests or by kube-scheduler: all placements are the same'
  return { code: 'W_PLACEMENTS', where: path, message }
}

function spreadOf(cluster: Cluster): Spread {
  const owners = new Map<string, Map<string, number>>()
  for (const { owner, namespace, name, nodeName } of cluster.pods) {
    const title = owner === '' ? `Pod ${namespace}/${name}` : owner
    const nodes = owners.get(title) ?? new Map<string, number>()
    nodes.set(nodeName, (nodes.get(nodeName) ?? 0) + 1)
    owners.set(title, nodes)
  }
  return [...owners].map(([owner, nodes]) => [owner, [...nodes].sort(([a], [b]) => (a < b ? -1 : 1))] as const)
}

/** How many pods of each owner are on each node, of the owners of which that differs. */
function placementsOf(counts: readonly ReadonlyMap<string, Spread[number][1]>[]): PlacementReport[] {
  const text = (placement: number, owner: string): string => JSON.stringify(counts[placement]!.get(owner) ?? [])
  const differing = [...(counts[0]?.keys() ?? [])].filter((owner) =>
    counts.some((_, placement) => text(placement, owner) !== text(0, owner)),
  )
  return counts.map((owners, placement) => ({
    placement,
    pods: Object.fromEntries(differing.map((owner) => [owner, Object.fromEntries(owners.get(owner) ?? [])])),
  }))
}
