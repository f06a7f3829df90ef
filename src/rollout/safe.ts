/**
 * The smallest settings that lose nothing, found by running the timeline with them.
 *
 * Loss falls as preStop grows, until it eats the grace period that requests need: so the grace period grows along. Candidates are whole seconds,
 * and the same chance is used for all of them, so that what differs is the setting. Zero means zero in every run, lost and late.
 * Where connections come to pods that do not listen yet, the pods get a readinessProbe first: the one that asks least often of those that help.
 */
import type { Policy } from './balancer.ts'
import type { Lifecycle } from './lifecycle.ts'
import { countRuns, mean, type Tally, type Work } from './runs.ts'
import { slowestSenderMs } from './scene.ts'
import type { Site } from './site.ts'

export interface PreStopRow {
  readonly preStopSeconds: number
  readonly graceSeconds: number
  /** Means over the runs. */
  readonly lost: Readonly<Record<Policy, number>>
  readonly delayed: Readonly<Record<Policy, number>>
  readonly rolloutSeconds: number
  readonly peakPods: number
}

export interface SafeSetting {
  readonly policy: Policy
  /** null: no preStop helps. */
  readonly preStopSeconds: number | null
  readonly graceSeconds: number
  /** Of a readinessProbe that the pods do not have and need; null: none is missing. */
  readonly readinessPeriodSeconds: number | null
  /** What is still lost or late with it, of other causes; the mean of the runs. */
  readonly leaves: number
  readonly because: string
}

export interface Search {
  readonly table: readonly PreStopRow[]
  readonly safe: readonly SafeSetting[]
}

/** Longer hooks than this are not tried. */
const MAX_SECONDS = 600
/** What stands in the table beside what the search needs. */
const ROWS = [0, 1, 5, 10, 15, 20, 30, 60]
const MARGIN_SECONDS = 3

/** @param asIs  the runs with the settings of the manifests */
export function searchSafe(given: Work, asIs: Tally, onStep: () => void = () => {}): Search {
  const probe = missingProbe(given, asIs, onStep)
  const work = probe === null ? given : { ...given, site: withProbe(given.site, probe) }
  const tried = new Map<number, PreStopRow>()
  const at = (seconds: number): PreStopRow => {
    let row = tried.get(seconds)
    if (row === undefined) {
      row = rowOf(work, seconds)
      tried.set(seconds, row)
      onStep()
    }
    return row
  }
  const lossAt: LossAt = (policy, seconds) => {
    const { lost, delayed } = at(seconds)
    return lost[policy] + delayed[policy]
  }
  const safe = asIs.policies.map(({ policy, neededMs }) => {
    const slowestMs = slowestSenderMs(work.fronts, work.site, work.timeline, policy)
    const needed = neededMs.some((ms) => ms > 0) ? Math.min(slowestMs / 1000, MAX_SECONDS / 2) : 0
    const least = smallest(policy, lossAt, needed, work.site)
    return probe === null ? least : { ...least, readinessPeriodSeconds: probe, because: `${least.because}${PROBED}` }
  })
  const most = safe.some(({ preStopSeconds }) => preStopSeconds !== null) ? Math.max(...tried.keys(), 10) : 0
  for (const seconds of ROWS) if (seconds <= most) at(seconds)
  return { table: [...tried.values()].sort((a, b) => a.preStopSeconds - b.preStopSeconds), safe }
}

const PROBED = '; a readinessProbe keeps new pods out until they listen'
/** Default of the API first. */
const PROBE_SECONDS = [10, 5, 2, 1]

/** How often a readinessProbe must ask that is not there, in seconds; null where none is missing, or none helps. */
function missingProbe(work: Work, { policies }: Tally, onStep: () => void): number | null {
  const early = (tally: Pick<Tally, 'policies'>): number => {
    const losses = tally.policies.flatMap((one) => [...one.losses.values()])
    return losses.reduce((sum, { key, counts }) => sum + (key.cause === 'not-listening-yet' ? mean(counts) : 0), 0)
  }
  const isMissing = work.site.workloads.some(({ lifecycle }) => lifecycle.readiness === null)
  if (!isMissing || early({ policies }) === 0) return null
  for (const seconds of PROBE_SECONDS) {
    const tally = countRuns({ ...work, site: withProbe(work.site, seconds), longLived: false })
    onStep()
    if (early(tally) === 0) return seconds
  }
  return null
}

/** A readinessProbe with the API's defaults but for its period, where there is none. */
function withProbe(site: Site, periodSeconds: number): Site {
  const probe = { initialDelayMs: 0, periodMs: periodSeconds * 1000, success: 1, failure: 3 }
  return withLifecycle(site, (lifecycle) => ({ ...lifecycle, readiness: lifecycle.readiness ?? probe }))
}

/** What a policy loses, or is late, with a preStop of so many seconds. */
type LossAt = (policy: Policy, seconds: number) => number

/** From here on a longer hook is taken to change nothing. */
const SAME = 0.95

function smallest(policy: Policy, lossAt: LossAt, neededSeconds: number, site: Site): SafeSetting {
  const none = lossAt(policy, 0)
  const setting = (preStopSeconds: number, leaves: number, because: string): SafeSetting => ({
    policy,
    preStopSeconds,
    graceSeconds: graceFor(site, preStopSeconds),
    readinessPeriodSeconds: null,
    leaves,
    because,
  })
  if (none === 0) return setting(0, 0, 'nothing is lost without a hook')
  if (neededSeconds === 0) return { ...setting(0, none, 'what is lost comes of no deletion'), preStopSeconds: null }
  // Upwards until one is enough, or until more does not help: what the slowest sender takes first, then twice as much.
  let high = Math.max(1, Math.ceil(neededSeconds))
  let low = 0
  let floor = lossAt(policy, high)
  while (floor > 0 && high * 2 <= MAX_SECONDS) {
    const next = lossAt(policy, high * 2)
    if (next > floor * SAME) break
    low = high
    high *= 2
    floor = next
  }
  if (floor > none * SAME) return { ...setting(0, none, 'a longer hook changes nothing'), preStopSeconds: null }
  const isEnough = (seconds: number): boolean => lossAt(policy, seconds) <= floor / SAME
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (isEnough(middle)) high = middle
    else low = middle
  }
  const left = lossAt(policy, high)
  const because =
    left === 0
      ? `with ${low} s a sender still knew the pod when it stopped, with ${high} s none did in any run`
      : `with ${low} s a sender still knew the pod when it stopped; what is left with ${high} s has another cause`
  return setting(high, left, because)
}

/** preStop, the longest request, and some seconds; never less than there is. */
function graceFor(site: Site, preStopSeconds: number): number {
  const own = site.workloads.map(({ lifecycle, settings }) => {
    const request = settings.request.durationMs * (settings.request.distribution === 'exponential' ? 5 : 1)
    const finishing = Math.max(settings.exitAfterMs, settings.inFlight === 'finish' ? request : 0) / 1000
    const enough = preStopSeconds + Math.ceil(finishing) + MARGIN_SECONDS
    return Math.max(lifecycle.graceMs / 1000, enough)
  })
  return Math.max(...own, preStopSeconds + MARGIN_SECONDS)
}

function rowOf(work: Work, preStopSeconds: number): PreStopRow {
  const graceSeconds = graceFor(work.site, preStopSeconds)
  const site = withLifecycle(work.site, (lifecycle) => ({
    ...lifecycle,
    preStopMs: preStopSeconds * 1000,
    graceMs: graceSeconds * 1000,
  }))
  const tally = countRuns({ ...work, site, longLived: false })
  const of = (pick: (one: Tally['policies'][number]) => Float64Array): Record<Policy, number> => ({
    cluster: mean(pick(tally.policies[0]!)),
    local: mean(pick(tally.policies[1]!)),
  })
  return {
    preStopSeconds,
    graceSeconds,
    lost: of(({ lost }) => lost),
    delayed: of(({ delayed }) => delayed),
    rolloutSeconds: mean(tally.rolloutMs) / 1000,
    peakPods: Math.max(...tally.peakPods),
  }
}

function withLifecycle(site: Site, change: (lifecycle: Lifecycle) => Lifecycle): Site {
  return { ...site, workloads: site.workloads.map((one) => ({ ...one, lifecycle: change(one.lifecycle) })) }
}
