/**
 * How many pods a rollout may add and take away.
 *
 * Source: kubernetes/kubernetes pkg/controller/deployment/util ResolveFenceposts: surge is rounded up, unavailability down; where both come
 * to nothing one pod may be unavailable.
 */
import type { CountOrPercent } from '../k8s/lifecycle.ts'

const DEFAULT_SHARE = '25%'

export function resolveCount(value: CountOrPercent, of: number, round: 'up' | 'down'): number {
  if (typeof value === 'number') return value
  const share = (Number(value.slice(0, -1)) * of) / 100
  return round === 'up' ? Math.ceil(share) : Math.floor(share)
}

/** Of a Deployment of `replicas` pods. */
export function surgeAndUnavailable(
  replicas: number,
  maxSurge: CountOrPercent = DEFAULT_SHARE,
  maxUnavailable: CountOrPercent = DEFAULT_SHARE,
): { readonly surge: number; readonly unavailable: number } {
  const surge = resolveCount(maxSurge, replicas, 'up')
  const unavailable = Math.min(replicas, resolveCount(maxUnavailable, replicas, 'down'))
  return { surge, unavailable: surge === 0 && unavailable === 0 ? 1 : unavailable }
}
