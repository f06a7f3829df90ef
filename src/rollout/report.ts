/**
 * The JSON contract of `dpemu rollout`, and how the runs become it.
 *
 * Counts are means over the runs beside their median and 95 %; times are seconds of the timeline. Schema: schemas/rollout.schema.json.
 */
import type { Warning } from '../errors.ts'
import type { DerivedNote } from '../k8s/cluster.ts'
import type { Subject } from '../report/threshold.ts'
import type { Emulated } from '../report/types.ts'
import { assumptionsOf } from './assumptions.ts'
import type { Policy } from './balancer.ts'
import { type Cause, type Phase, type Sight, STALE_CAUSES } from './causes.ts'
import { clockText } from './durations.ts'
import { lossFigures, rounded, type Spread } from './figures.ts'
import { narrate } from './narrate.ts'
import { type Counts, type FirstRun, mean, type Tally, type Work } from './runs.ts'
import type { Search } from './safe.ts'
import { slowestSenderMs } from './scene.ts'

export type { Spread } from './figures.ts'

export interface RolloutReport {
  readonly schemaVersion: 1
  readonly kind: 'rollout'
  readonly version: string
  readonly emulates: Emulated
  /** `Deployment default/web`; '' where a Timeline's events say all. */
  readonly target: string
  readonly seed: number
  readonly runs: number
  /** New connections a second, all Services together. */
  readonly connectionsPerSecond: number
  readonly proxyMode: string
  readonly controlPlane: { readonly name: string; readonly source: string }
  readonly services: readonly {
    readonly service: string
    /** How its clients come: outside (load balancer), inside (cluster IP), names (headless) or ingress (ingress-nginx). */
    readonly way: string
    /** '' without one. */
    readonly loadBalancer: string
    readonly source: string
  }[]
  readonly offered: readonly { readonly policy: Policy; readonly count: number }[]
  readonly lost: readonly ({ readonly policy: Policy; readonly lostFraction: number } & Spread)[]
  readonly delayed: readonly ({ readonly policy: Policy } & Spread)[]
  readonly gaps: readonly { readonly policy: Policy; readonly p50Seconds: number; readonly p95Seconds: number }[]
  readonly losses: readonly ({
    readonly policy: Policy
    readonly service: string
    readonly cause: Cause
    readonly phase: Phase
    readonly clientSees: Sight
    readonly outcome: 'lost' | 'delayed'
  } & Spread)[]
  /** Means a second from 0 on. */
  readonly overTime: {
    readonly policy: Policy
    readonly lost: readonly number[]
    readonly delayed: readonly number[]
  }[]
  /** Connections that clients keep open: breaks of each, and those of the pod with most in units of an even share at the end. */
  readonly longLived: readonly {
    readonly policy: Policy
    readonly breaksEach: number
    readonly byCause: readonly { readonly cause: Cause; readonly breaksEach: number }[]
    readonly mostOverFair: number
  }[]
  readonly rollout: { readonly meanSeconds: number; readonly peakPods: number }
  /** How long the slowest sender takes to learn of a deletion: a preStop as long keeps all from being sent to a pod that has stopped. 0: nothing was; null: one never learns. */
  readonly neededPreStopSeconds: readonly { readonly policy: Policy; readonly neededSeconds: number | null }[]
  /** null: not asked for. */
  readonly safe:
    | readonly {
        readonly policy: Policy
        readonly preStopSeconds: number | null
        readonly graceSeconds: number
        /** Of a readinessProbe that the pods do not have and need; null: none is missing. */
        readonly readinessPeriodSeconds: number | null
        readonly leaves: number
        readonly because: string
      }[]
    | null
  readonly preStopTable: readonly {
    readonly preStopSeconds: number
    readonly graceSeconds: number
    readonly lost: Readonly<Record<Policy, number>>
    readonly delayed: Readonly<Record<Policy, number>>
    readonly rolloutSeconds: number
    readonly peakPods: number
  }[]
  /** Of the first run. */
  readonly firstRun: {
    readonly endSeconds: number
    readonly events: readonly { readonly atSeconds: number; readonly what: string }[]
    readonly pods: readonly {
      readonly name: string
      readonly node: string
      readonly createdSeconds: number | null
      readonly deletedSeconds: number | null
      readonly sigtermSeconds: number | null
      readonly endedSeconds: number | null
    }[]
    readonly told: readonly {
      readonly policy: Policy
      readonly service: string
      readonly atSeconds: number
      readonly cause: Cause
      readonly clientSees: Sight
      readonly story: readonly string[]
    }[]
  }
  readonly derived: readonly DerivedNote[]
  readonly warnings: readonly Warning[]
}

type OfRuns =
  | 'offered'
  | 'lost'
  | 'delayed'
  | 'gaps'
  | 'losses'
  | 'overTime'
  | 'longLived'
  | 'rollout'
  | 'neededPreStopSeconds'
type OfSearch = 'safe' | 'preStopTable'

/** What no run but the first is needed for; plain data. */
export interface RolloutBasis {
  readonly report: Omit<RolloutReport, OfRuns | OfSearch>
  readonly endMs: number
  /** By policy, in the order of the tally: how long its slowest sender takes; null: for ever. */
  readonly slowestMs: readonly (number | null)[]
}

export interface BasisParts {
  readonly work: Work
  readonly tally: FirstRun & Pick<Tally, 'policies'>
  readonly target: string
  readonly version: string
  readonly emulates: Emulated
  readonly warnings: readonly Warning[]
}

export function rolloutReport({
  search,
  ...parts
}: BasisParts & { tally: Tally; search: Search | null }): RolloutReport {
  return reportOf(basisOf(parts), parts.tally, search)
}

/** @param tally  its samples and policies are needed, none of its columns */
export function basisOf({ work, tally, target, version, emulates, warnings }: BasisParts): RolloutBasis {
  const { site, timeline, fronts } = work
  const { course, endMs } = tally
  return {
    endMs,
    slowestMs: tally.policies.map(({ policy }) => {
      const ms = slowestSenderMs(fronts, site, timeline, policy)
      return Number.isFinite(ms) ? ms : null
    }),
    report: {
      schemaVersion: 1,
      kind: 'rollout',
      version,
      emulates,
      target,
      seed: work.seed,
      runs: work.runs,
      connectionsPerSecond: work.perSecond,
      proxyMode: site.proxyMode,
      controlPlane: { name: timeline.controlPlane.name, source: timeline.controlPlane.source },
      services: fronts.map(({ service, way, balancer }) => ({
        service: service.name,
        way,
        loadBalancer: balancer?.name ?? '',
        source: balancer?.source ?? '',
      })),
      firstRun: {
        endSeconds: endMs / 1000,
        events: course.notes.map(({ atMs, text }) => ({ atSeconds: atMs / 1000, what: text })),
        pods: course.pods.map((pod) => ({
          name: pod.name,
          node: course.nodes[pod.node]?.name ?? '',
          createdSeconds: secondsOr(pod.createdMs < 0 ? Number.NaN : pod.createdMs),
          deletedSeconds: secondsOr(pod.deletedMs),
          sigtermSeconds: secondsOr(pod.sigtermMs),
          endedSeconds: secondsOr(pod.exitMs),
        })),
        told: tally.policies.flatMap(({ policy, samples }) =>
          samples.map((sample) => ({
            policy,
            service: sample.service,
            atSeconds: sample.atMs / 1000,
            cause: sample.cause,
            clientSees: sample.clientSees,
            story: narrate(sample, policy, tally.scenes[sample.scene]!),
          })),
        ),
      },
      derived: assumptionsOf(site, timeline, fronts),
      warnings: [...warnings, ...courseWarnings(tally)],
    },
  }
}

/** @param tally  of all runs */
export function reportOf(basis: RolloutBasis, tally: Counts, search: Search | null): RolloutReport {
  const { firstRun, derived, warnings, ...head } = basis.report
  const lengthSeconds = Math.ceil(basis.endMs / 1000)
  return {
    ...head,
    ...lossFigures(
      tally.policies.map((one) => ({ name: one.policy, tally: one })),
      lengthSeconds,
    ),
    longLived: tally.policies.map(({ policy }) => longLivedOf(tally, policy)),
    rollout: { meanSeconds: rounded(mean(tally.rolloutMs) / 1000), peakPods: Math.max(0, ...tally.peakPods) },
    neededPreStopSeconds: tally.policies.map(({ policy, neededMs, losses }, i) => {
      const slowestMs = basis.slowestMs[i] ?? Number.POSITIVE_INFINITY
      const isStale = [...losses.values()].some(({ key }) => STALE_CAUSES.has(key.cause))
      const isNeeded = isStale && neededMs.some((ms) => ms > 0)
      return { policy, neededSeconds: isNeeded ? secondsOr(Math.ceil(slowestMs / 1000) * 1000) : 0 }
    }),
    safe: search?.safe.map((one) => ({ ...one, leaves: rounded(one.leaves) })) ?? null,
    preStopTable: (search?.table ?? []).map((row) => ({
      ...row,
      lost: { cluster: rounded(row.lost.cluster), local: rounded(row.lost.local) },
      delayed: { cluster: rounded(row.delayed.cluster), local: rounded(row.delayed.local) },
      rolloutSeconds: rounded(row.rolloutSeconds),
    })),
    firstRun,
    derived,
    warnings,
  }
}

function longLivedOf({ longLived }: Counts, policy: Policy): RolloutReport['longLived'][number] {
  const own = longLived.filter((one) => one.policy === policy)
  const average = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / Math.max(1, own.length)
  const causes = [...new Set(own.flatMap(({ byCause }) => [...byCause.keys()]))].sort()
  return {
    policy,
    breaksEach: rounded(average(own.map(({ breaks }) => breaks))),
    byCause: causes.map((cause) => ({
      cause,
      breaksEach: rounded(average(own.map(({ byCause }) => byCause.get(cause) ?? 0))),
    })),
    mostOverFair: rounded(average(own.map(({ mostOverFair }) => mostOverFair))),
  }
}

/** What the first run shows that the user should know. */
function courseWarnings({ course }: FirstRun): Warning[] {
  return [
    ...course.stuck.map(({ workload, deadlineMs }) => ({
      code: 'W_ROLLOUT_STUCK',
      where: workload,
      message: `its rollout does not end: Progressing turns False at ${clockText(deadlineMs)}, and nothing is rolled back`,
    })),
    ...course.held
      .filter(({ endMs }) => endMs === null)
      .map(({ node, pod, budget, sinceMs }) => ({
        code: 'W_DRAIN_HELD',
        where: budget,
        message: `the drain of node ${node} does not end: ${pod} may not be evicted from ${clockText(sinceMs)} on; given up at ${clockText(course.settledMs)}`,
      })),
  ]
}

function secondsOr(ms: number): number | null {
  return Number.isFinite(ms) ? ms / 1000 : null
}

const SPREAD = { count: 0, p50: 0, p95: 0, most: 0 }

/** Fields that thresholds may name. */
export const ROLLOUT_SUBJECT: Subject = {
  flag: '--threshold',
  example: 'lost[policy=local].count == 0',
  what: 'a rollout report',
  list: null,
  shape: {
    runs: 0,
    connectionsPerSecond: 0,
    offered: [{ policy: '', count: 0 }],
    lost: [{ policy: '', lostFraction: 0, ...SPREAD }],
    delayed: [{ policy: '', ...SPREAD }],
    gaps: [{ policy: '', p50Seconds: 0, p95Seconds: 0 }],
    losses: [{ policy: '', service: '', cause: '', phase: '', clientSees: '', outcome: '', ...SPREAD }],
    longLived: [{ policy: '', breaksEach: 0, byCause: [{ cause: '', breaksEach: 0 }], mostOverFair: 0 }],
    rollout: { meanSeconds: 0, peakPods: 0 },
    neededPreStopSeconds: [{ policy: '', neededSeconds: 0 }],
    safe: [{ policy: '', preStopSeconds: 0, graceSeconds: 0, readinessPeriodSeconds: 0, leaves: 0, because: '' }],
  },
}
