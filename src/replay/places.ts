/** Where endpoints are, by name: a pod and node that joined or left on the way counts as well. */
import type { PlannedRun, ReplayPlan } from './plan.ts'

export class Places {
  private readonly pods: ReadonlyMap<string, string>
  private readonly run: PlannedRun
  private readonly plan: ReplayPlan

  constructor(run: PlannedRun, plan: ReplayPlan) {
    this.run = run
    this.plan = plan
    const pods = new Map<string, string>()
    for (const pod of plan.clusters.flatMap((cluster) => cluster.pods)) {
      if (pod.hostNetwork) continue
      for (const address of pod.addresses) if (!pods.has(address)) pods.set(address, `${pod.namespace}/${pod.name}`)
    }
    this.pods = pods
  }

  /** `namespace/name` of the pod that an endpoint is, or null. */
  podOf(endpoint: number): string | null {
    const { registry } = this.plan
    return this.pods.get(registry.addressText(registry.endpoints[endpoint]!.address)) ?? null
  }

  /** Name of its node while it was in use, or null. */
  nodeOf(endpoint: number): string | null {
    const { compiled, changes } = this.run
    const stages = [compiled, ...changes.map((change) => change.compiled)]
    const { columns } = stages.find((stage) => stage.columns.endpointAlive[endpoint] === 1) ?? compiled
    const named = columns.endpointNode[endpoint] ?? -1
    // Written by hand, an endpoint may name no node; it is where its address is all the same.
    const node = named >= 0 ? named : (columns.addressNode[columns.endpointAddress[endpoint] ?? -1] ?? -1)
    return node < 0 ? null : this.plan.registry.nodes[node]!
  }
}
