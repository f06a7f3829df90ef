/**
 * Whether PodDisruptionBudgets let a pod be evicted now.
 *
 * Source: kubernetes/kubernetes pkg/controller/disruption: healthy pods less those that must be, where a percentage of what controllers want is
 * rounded up; the eviction of a pod that is not ready is let through only while the budget is met (IfHealthyBudget, the default).
 */
import type { Controller } from './controllers.ts'
import { resolveCount } from './counts.ts'
import type { Pod } from './pod.ts'
import type { SiteBudget } from './site.ts'

/** The budget that forbids it, or null. */
export function forbiddingBudget(
  pod: Pod,
  budgets: readonly SiteBudget[],
  controllers: readonly Controller[],
): SiteBudget | null {
  for (const budget of budgets) {
    if (!budget.covers(pod.workload)) continue
    const covered = controllers.filter(({ workload }) => budget.covers(workload.index))
    const expected = covered.reduce((sum, { replicas }) => sum + replicas, 0)
    const healthy = covered.reduce((sum, { pods }) => sum + pods.filter((one) => one.isLive && one.isReady).length, 0)
    const needed =
      budget.minAvailable !== null
        ? resolveCount(budget.minAvailable, expected, 'up')
        : budget.maxUnavailable !== null
          ? expected - resolveCount(budget.maxUnavailable, expected, 'up')
          : 0
    const allowed = pod.isReady ? healthy - 1 >= needed : healthy >= needed
    if (!allowed) return budget
  }
  return null
}
