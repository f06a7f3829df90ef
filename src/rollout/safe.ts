/**
 * The smallest settings that lose nothing, found by running the timeline with them.
 *
 * Loss falls as preStop grows, until it eats the grace period that requests need: so the grace period grows along. Candidates are whole seconds,
 * and the same chance is used for all of them, so that what differs is the setting. Zero means zero in every run, lost and late.
 */
import type { Policy } from './balancer.ts'
import type { Lifecycle } from './lifecycle.ts'
import { countRuns, mean, type Tally, type Work } from './runs.ts'
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
  /** null: no preStop makes it zero. */
  readonly preStopSeconds: number | null
  readonly graceSeconds: number | null
  readonly because: string
}

export interface Search {
  readonly table: readonly PreStopRow[]
  readonly safe: readonly SafeSetting[]
}

/** Longer hooks than this are not tried. */
const MOST_SECONDS = 600
/** What stands in the table beside what the search needs. */
const ROWS = [0, 1, 5, 10, 15, 20, 30, 60]
const MARGIN_SECONDS = 3

/** @param asIs  the runs with the settings of the manifests */
export function searchSafe(work: Work, asIs: Tally, onStep: () => void = () => {}): Search {
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
  const isZero = (policy: Policy, seconds: number): boolean => {
    const { lost, delayed } = at(seconds)
    return lost[policy] === 0 && delayed[policy] === 0
  }
  const needed = Math.max(...asIs.policies.flatMap(({ neededMs }) => [...neededMs]), 0) / 1000
  const safe = (['cluster', 'local'] as const).map((policy) => smallest(policy, isZero, needed, work.site))
  const most = Math.max(...[...tried.keys()], 10)
  for (const seconds of ROWS) if (seconds <= most) at(seconds)
  return { table: [...tried.values()].sort((a, b) => a.preStopSeconds - b.preStopSeconds), safe }
}

function smallest(
  policy: Policy,
  isZero: (policy: Policy, seconds: number) => boolean,
  neededSeconds: number,
  site: Site,
): SafeSetting {
  if (isZero(policy, 0))
    return { policy, preStopSeconds: 0, graceSeconds: graceFor(site, 0), because: 'nothing is lost without a hook' }
  // Upwards until one is enough: what the runs show first, then twice as much.
  let high = Math.max(1, Math.ceil(neededSeconds))
  let low = 0
  while (!isZero(policy, high)) {
    low = high
    high *= 2
    if (high > MOST_SECONDS) {
      return {
        policy,
        preStopSeconds: null,
        graceSeconds: null,
        because: `no preStop up to ${MOST_SECONDS / 60} min makes it zero`,
      }
    }
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (isZero(policy, middle)) high = middle
    else low = middle
  }
  return {
    policy,
    preStopSeconds: high,
    graceSeconds: graceFor(site, high),
    because: `with ${low} s the last sender still knew the pod when it stopped, with ${high} s nobody did in any run`,
  }
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
  const tally = countRuns({ ...work, site })
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
