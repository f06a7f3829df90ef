/** What runs are called in tables. */
import type { RunReport } from './types.ts'

/** How a run is called at the head of its column: the policy, with the proxy mode and the ingress path where the runs differ in it. */
export function runNames(runs: readonly RunReport[]): string[] {
  const modes = new Set(runs.map((run) => run.proxyMode))
  const policies = new Set(runs.map((run) => run.policy))
  const paths = new Set(runs.map((run) => run.ingressPath))
  return runs.map((run) => {
    // `Cluster = Local` is what runs that came to the same are called together.
    const isName = run.policy === 'as-is' || run.policy.includes(' = ')
    const policy = isName ? run.policy : run.policy.charAt(0).toUpperCase() + run.policy.slice(1)
    const differing = [
      ...(policies.size > 1 ? [policy] : []),
      ...(modes.size > 1 ? [run.proxyMode] : []),
      ...(paths.size > 1 ? [run.ingressPath ?? ''] : []),
    ]
    return differing.length === 0 ? policy : differing.join(' ')
  })
}
