/** What runs are called in tables. */
import type { RunReport } from './types.ts'

/** How a run is called at the head of its column: the policy, with the proxy mode where the runs differ in it. */
export function runNames(runs: readonly RunReport[]): string[] {
  const modes = new Set(runs.map((run) => run.proxyMode))
  const policies = new Set(runs.map((run) => run.policy))
  return runs.map((run) => {
    const name = run.policy === 'as-is' ? 'as-is' : run.policy.charAt(0).toUpperCase() + run.policy.slice(1)
    if (modes.size <= 1) return name
    return policies.size <= 1 ? run.proxyMode : `${name} ${run.proxyMode}`
  })
}
