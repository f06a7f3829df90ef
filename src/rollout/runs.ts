/**
 * Many runs of one timeline, each with its own chance, and what they cost.
 *
 * Both policies meet the same arrivals, which make the same choices. Only what is decided when a SYN comes, and what breaks later, is counted;
 * packets are not replayed. Counts by cause are kept for each run, so that medians and 95 % are over runs.
 * Cost: about a microsecond a connection and policy; a run's course and views take some tenths of a millisecond for ten pods.
 */
import type { Policy } from './balancer.ts'
import { CAUSES, type Cause, PHASE_OF, PHASES, type Phase, SIGHTS, type Sight } from './causes.ts'
import { Chance } from './chance.ts'
import { createFate, Dialer, type Fate, type Scene } from './dial.ts'
import { type Course, takeCourse } from './happenings.ts'
import { keepOpen, type LongLived } from './long-lived.ts'
import { endOf, type Front, sceneOf } from './scene.ts'
import type { Site } from './site.ts'
import type { Timeline } from './timeline.ts'
import { type Arrivals, poissonArrivals } from './traffic.ts'

export const POLICIES: readonly Policy[] = ['cluster', 'local']
/** Lost connections of one cause that are kept to be told. */
const SAMPLES = 3
/** Of a column by second: a week. */
const LAST_SECOND = 604_800
/** Runs in which long-lived connections are followed. */
const LONG_LIVED_RUNS = 20

export interface Work {
  readonly site: Site
  readonly timeline: Timeline
  readonly fronts: readonly Front[]
  readonly perSecond: number
  readonly seed: number
  readonly runs: number
  /** Whether connections that stay open are followed; left out: they are. */
  readonly longLived?: boolean
  /** In place of a rate: one for each front. */
  readonly arrivals?: readonly Arrivals[]
  /** Each Service under the policy that it is written with: there is one tally then, the first. */
  readonly asWritten?: boolean
  /** In place of hashed chance, for tests. */
  readonly chance?: (run: number) => Chance
}

export interface LossKey {
  readonly service: string
  readonly cause: Cause
  readonly phase: Phase
  readonly clientSees: Sight
  readonly lost: boolean
}

/** A lost connection of the first run, to be told. */
export interface Sample {
  /** Index of the scene that it was met in. */
  readonly scene: number
  readonly service: string
  readonly atMs: number
  readonly cause: Cause
  readonly clientSees: Sight
  readonly node: number
  readonly pod: number
  readonly brokenMs: number
}

export interface PolicyTally {
  readonly policy: Policy
  /** By run. */
  readonly offered: Float64Array
  readonly lost: Float64Array
  readonly delayed: Float64Array
  readonly gapMs: Float64Array
  /** By run and kind. */
  readonly losses: Map<string, { readonly key: LossKey; readonly counts: Float64Array }>
  /** Mean a second, over the runs. */
  lostBySecond: Float64Array
  delayedBySecond: Float64Array
  /** How long after a deletion its last loss came: what preStop must outlast. */
  readonly neededMs: Float64Array
  readonly samples: Sample[]
}

/** What runs are counted in; a shard's columns are as long as all runs', and 0 where a run is not its own. */
export interface Counts {
  readonly policies: readonly PolicyTally[]
  readonly rolloutMs: Float64Array
  readonly peakPods: Float64Array
  /** Of the runs that were looked at, in their order. */
  readonly longLived: readonly LongLived[]
}

/** What is told of the first run. */
export interface FirstRun {
  readonly course: Course
  readonly scenes: readonly Scene[]
  readonly endMs: number
}

export interface Tally extends Counts, FirstRun {}

/** @param onRun  is told after each run */
export function countRuns(work: Work, onRun: (done: number) => void = () => {}): Tally {
  const all = Array.from({ length: work.runs }, (_, run) => run)
  const { first, ...counts } = countSome(work, all, onRun)
  meanOverRuns(counts, work.runs)
  return { ...counts, ...first! }
}

/** Sums a second → means over all runs. */
export function meanOverRuns({ policies }: Counts, runs: number): void {
  for (const { lostBySecond, delayedBySecond } of policies) {
    for (let i = 0; i < lostBySecond.length; i++) {
      lostBySecond[i]! /= runs
      delayedBySecond[i]! /= runs
    }
  }
}

/**
 * A run is a function of the work and its number, and of no other run.
 *
 * @param own    numbers of runs, ascending
 * @param onRun  is told after each of them
 * @returns      columns by second are sums; `first` is null where the first run is not among them
 */
export function countSome(
  work: Work,
  own: readonly number[],
  onRun: (done: number) => void = () => {},
): Counts & { readonly first: FirstRun | null } {
  const { site, timeline, fronts, runs, seed } = work
  const tallies = POLICIES.slice(0, work.asWritten === true ? 1 : 2).map((policy) => emptyTally(policy, runs))
  const rolloutMs = new Float64Array(runs)
  const peakPods = new Float64Array(runs)
  let first: FirstRun | null = null
  const fate = createFate()
  const longLived: LongLived[] = []
  for (const [done, run] of own.entries()) {
    const chance = work.chance?.(run) ?? new Chance(seed, run)
    const course = takeCourse(site, timeline, chance)
    const lastMs = work.arrivals?.map(({ timesMs }) => timesMs.at(-1) ?? 0) ?? []
    const endMs = Math.max(endOf(course, timeline, fronts), ...lastMs)
    rolloutMs[run] = course.rolloutMs
    peakPods[run] = course.peakPods
    const scenes = fronts.map((front) => sceneOf(course, site, timeline, front, chance, endMs))
    if (run === 0) first = { course, scenes, endMs }
    for (const tally of tallies) growTo(tally, Math.ceil(endMs / 1000) + 1)
    for (const [s, scene] of scenes.entries()) {
      const arrivals = work.arrivals?.[s] ?? poissonArrivals(chance, work.perSecond / fronts.length, endMs, s)
      for (const tally of tallies) {
        const policy = work.asWritten === true ? writtenPolicy(scene) : tally.policy
        count(tally, { run, index: s, scene, arrivals, chance, policy }, fate)
        if (run < LONG_LIVED_RUNS && work.longLived !== false)
          longLived.push(keepOpen(run, scene, tally.policy, chance, endMs))
      }
    }
    onRun(done + 1)
  }
  return { policies: tallies, first, rolloutMs, peakPods, longLived }
}

/** Runs differ in length. */
function growTo(tally: PolicyTally, seconds: number): void {
  if (tally.lostBySecond.length >= seconds) return
  const grown = (column: Float64Array): Float64Array => {
    const longer = new Float64Array(seconds)
    longer.set(column)
    return longer
  }
  tally.lostBySecond = grown(tally.lostBySecond)
  tally.delayedBySecond = grown(tally.delayedBySecond)
}

function emptyTally(policy: Policy, runs: number): PolicyTally {
  const column = (): Float64Array => new Float64Array(runs)
  return {
    policy,
    offered: column(),
    lost: column(),
    delayed: column(),
    gapMs: column(),
    losses: new Map(),
    lostBySecond: new Float64Array(0),
    delayedBySecond: new Float64Array(0),
    neededMs: column(),
    samples: [],
  }
}

export function writtenPolicy({ service: { service } }: Scene): Policy {
  return service.externalTrafficPolicy === 'Local' ? 'local' : 'cluster'
}

/** Arrivals of one run by one way. */
interface Counted {
  readonly run: number
  /** Of the scene. */
  readonly index: number
  readonly scene: Scene
  readonly arrivals: Arrivals
  readonly chance: Chance
  readonly policy: Policy
}

function count(tally: PolicyTally, { run, index, scene, arrivals, chance, policy }: Counted, fate: Fate): void {
  const { timesMs, who } = arrivals
  const dialer = new Dialer(scene, policy, chance, who)
  const { course } = scene
  const deletions = deletionsByNode(course)
  // Whether a connection was good at last, and when: a gap is the time between two that were, with lost ones in between.
  let lastGoodMs = 0
  let inGap = false
  tally.offered[run]! += timesMs.length
  for (let i = 0; i < timesMs.length; i++) {
    const atMs = timesMs[i]!
    dialer.dial(i, atMs, fate)
    if (!fate.lost || fate.brokenMs >= 0) {
      if (inGap) tally.gapMs[run] = Math.max(tally.gapMs[run]!, atMs - lastGoodMs)
      lastGoodMs = atMs
      inGap = false
    } else inGap = true
    if (fate.cause < 0) continue
    const when = fate.brokenMs >= 0 ? fate.brokenMs : atMs
    const phase =
      when < course.firstMs ? 0 : when > course.settledMs + 120_000 ? PHASES.length - 1 : PHASE_OF[fate.cause]!
    note(tally, run, scene, fate, phase)
    const bin = Math.min(LAST_SECOND, Math.floor(when / 1000))
    // A break may come after its run's end; where it is counted must not hang on how long other runs were.
    growTo(tally, bin + 1)
    if (fate.lost) {
      tally.lost[run]!++
      tally.lostBySecond[bin]!++
      const deletedMs = deletionBefore(deletions, fate, course, when)
      if (deletedMs >= 0) tally.neededMs[run] = Math.max(tally.neededMs[run]!, when - deletedMs)
    } else {
      tally.delayed[run]!++
      tally.delayedBySecond[bin]!++
      const deletedMs = deletionBefore(deletions, fate, course, atMs)
      if (deletedMs >= 0) tally.neededMs[run] = Math.max(tally.neededMs[run]!, atMs - deletedMs)
    }
    if (run === 0) keep(tally, index, scene, fate, atMs)
  }
  if (inGap && timesMs.length > 0)
    tally.gapMs[run] = Math.max(tally.gapMs[run]!, timesMs[timesMs.length - 1]! - lastGoodMs)
}

function note(tally: PolicyTally, run: number, scene: Scene, fate: Fate, phase: number): void {
  const id = `${scene.service.name} ${fate.cause} ${phase} ${fate.sight} ${fate.lost ? 1 : 0}`
  let entry = tally.losses.get(id)
  if (entry === undefined) {
    const key: LossKey = {
      service: scene.service.name,
      cause: CAUSES[fate.cause]!,
      phase: PHASES[phase]!,
      clientSees: SIGHTS[fate.sight]!,
      lost: fate.lost,
    }
    entry = { key, counts: new Float64Array(tally.lost.length) }
    tally.losses.set(id, entry)
  }
  entry.counts[run]!++
}

function keep(tally: PolicyTally, index: number, scene: Scene, fate: Fate, atMs: number): void {
  const cause = CAUSES[fate.cause]!
  let known = 0
  for (const one of tally.samples) if (one.cause === cause) known++
  if (known >= SAMPLES) return
  const { node, pod, brokenMs } = fate
  tally.samples.push({
    scene: index,
    service: scene.service.name,
    atMs,
    cause,
    clientSees: SIGHTS[fate.sight]!,
    node,
    pod,
    brokenMs,
  })
}

/** Times of deletions by node, ascending. */
function deletionsByNode({ pods, nodes }: Course): readonly (readonly number[])[] {
  return nodes.map(({ index }) =>
    pods
      .filter(({ node, deletedMs }) => node === index && Number.isFinite(deletedMs))
      .map(({ deletedMs }) => deletedMs)
      .sort((a, b) => a - b),
  )
}

/** The deletion that a loss comes of: of its pod, or the last one on its node; -1 where there is none. */
function deletionBefore(deletions: readonly (readonly number[])[], fate: Fate, { pods }: Course, ms: number): number {
  if (fate.pod >= 0) {
    const { deletedMs } = pods[fate.pod]!
    return deletedMs <= ms ? deletedMs : -1
  }
  if (fate.node < 0) return -1
  let found = -1
  for (const deletedMs of deletions[fate.node]!) if (deletedMs <= ms) found = deletedMs
  return found
}

/** Of a column: its value below which a share of the runs lies. */
export function quantile(column: Float64Array, share: number): number {
  const sorted = Float64Array.from(column).sort()
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? 0
}

export function mean(column: Float64Array): number {
  let sum = 0
  for (const value of column) sum += value
  return column.length === 0 ? 0 : sum / column.length
}
