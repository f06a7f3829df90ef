/**
 * The cluster from one change to the next: changes of its objects, which act everywhere at once, and the moments of a Timeline, which do not.
 */

import { TICKS_PER_MS } from '../../native-free-core/index.ts'
import type { ClusterViews } from '../compile/views.ts'
import type { Warning } from '../errors.ts'
import { applyChange, type ObjectChange } from '../k8s/change.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import type { KubeObject } from '../k8s/types.ts'
import type { Moment } from '../rollout/moments.ts'
import type { Timeline } from '../rollout/timeline.ts'
import { TICKS_PER_SECOND } from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'
import type { TimelinePlan } from './timeline.ts'

export interface Stage {
  readonly tick: number
  readonly cluster: Cluster
  /** Number of changes of objects before it. */
  readonly changes: number
  /** null without a Timeline. */
  readonly moment: Moment | null
}

interface PlannedChange {
  readonly tick: number
  readonly change: ObjectChange
  /** For messages. */
  readonly where: string
}

/** What changes objects: the trace, and `apply` of a Timeline, in the order of time. */
export function changesOf(trace: TraceFile, timeline: Timeline | null): PlannedChange[] {
  const written = trace.header.changes.map((change, i) => ({
    tick: Math.round(change.timeSeconds * TICKS_PER_SECOND),
    change,
    where: `${trace.path}, changes[${i}]`,
  }))
  const applied = (timeline?.events ?? []).flatMap((event) =>
    event.verb === 'apply'
      ? event.objects.map((apply) => ({ tick: event.atMs * TICKS_PER_MS, change: { apply }, where: event.where }))
      : [],
  )
  return [...written, ...applied].sort((a, b) => a.tick - b.tick)
}

/** The cluster after each of them. */
export function changedClusters(
  objects: readonly KubeObject[],
  cluster: Cluster,
  changes: readonly PlannedChange[],
  placement: number,
  warnings: Warning[],
): { readonly tick: number; readonly cluster: Cluster }[] {
  let current = objects
  let previous = cluster
  return changes.map(({ tick, change, where }) => {
    const changed = applyChange(current, change, where)
    current = changed.objects
    previous = deriveCluster(current, previous, placement)
    warnings.push(...changed.warnings, ...previous.warnings)
    return { tick, cluster: previous }
  })
}

/** The first stage holds from the start; the others in order. */
export function stagesOf(
  cluster: Cluster,
  changed: readonly { readonly tick: number; readonly cluster: Cluster }[],
  timed: TimelinePlan | null,
): Stage[] {
  if (timed === null) {
    return [
      { tick: 0, cluster, changes: 0, moment: null },
      ...changed.map((one, i) => ({ ...one, changes: i + 1, moment: null })),
    ]
  }
  const [start, ...moments] = timed.moments
  const stages: Stage[] = [{ tick: 0, cluster: start!.cluster(cluster), changes: 0, moment: start! }]
  let base = cluster
  let changes = 0
  let moment = start!
  let next = 0
  const push = (tick: number): void => {
    stages.push({ tick, cluster: moment.cluster(base), changes, moment })
  }
  for (const one of changed) {
    for (; next < moments.length && moments[next]!.atMs * TICKS_PER_MS < one.tick; next++) {
      moment = moments[next]!
      push(moment.atMs * TICKS_PER_MS)
    }
    base = one.cluster
    changes++
    push(one.tick)
  }
  for (; next < moments.length; next++) {
    moment = moments[next]!
    push(moment.atMs * TICKS_PER_MS)
  }
  return stages
}

/** What moments between two changes of objects have in common, for one run. */
export function sharedByStage(): (stage: Stage) => ClusterViews['shared'] {
  const known = new Map<number, ClusterViews['shared']>()
  return ({ changes }) => {
    const shared = known.get(changes) ?? { addresses: null }
    known.set(changes, shared)
    return shared
  }
}
