/**
 * The node that a new pod goes to while a rollout is on.
 *
 * Of the nodes that the pod may run on and that have room: the one with fewest pods of its workload (those that are ending do not count),
 * first by zone, then by node, then with fewest pods at all. A required anti-affinity of the workload against itself by host name counts
 * pods that are ending too, as in the scheduler.
 * Source: kubernetes/kubernetes pkg/scheduler/framework/plugins/{podtopologyspread,interpodaffinity,noderesources}.
 * Cost:   one pass over nodes and pods for each pod.
 */
import { matchesSelector } from '../k8s/labels.ts'
import { mayRun } from '../k8s/node-fit.ts'
import type { PlannedNode } from '../k8s/nodes.ts'
import { requestsOf } from '../k8s/resources.ts'
import type { PodSpec } from '../k8s/types.ts'
import type { Site, SiteWorkload } from './site.ts'

const HOST_NAME = 'kubernetes.io/hostname'

/** What of a spec decides, worked out once. */
interface Needs {
  readonly nodes: readonly number[]
  readonly cpu: number
  readonly memory: number
  readonly isAlone: boolean
}

/** A pod that takes up room. */
export interface Occupant {
  readonly workload: number
  readonly node: number
  readonly isTerminating: boolean
}

export class Placement {
  readonly #site: Site
  readonly #needs = new Map<number, Needs>()

  constructor(site: Site) {
    this.#site = site
  }

  /** Nodes that a DaemonSet has a pod on. */
  daemonNodes(workload: SiteWorkload): number[] {
    return this.#site.nodes.flatMap((planned, i) =>
      mayRun(planned, workload.object.spec.template.spec, true) ? [i] : [],
    )
  }

  /** @param isOpen  whether a node may have new pods at all @returns index of a node, or -1 */
  choose(workload: number, occupants: readonly Occupant[], isOpen: (node: number) => boolean): number {
    const needs = this.#needsOf(workload)
    const { nodes, otherPods } = this.#site
    const all = [...otherPods]
    const own = nodes.map(() => 0)
    const kept = new Set<number>()
    const used = nodes.map(() => ({ cpu: 0, memory: 0 }))
    const zones = new Map<string, number>()
    for (const one of occupants) {
      if (one.node < 0) continue
      all[one.node]!++
      const theirs = this.#needsOf(one.workload)
      used[one.node]!.cpu += theirs.cpu
      used[one.node]!.memory += theirs.memory
      if (one.workload !== workload) continue
      if (needs.isAlone) kept.add(one.node)
      if (one.isTerminating) continue
      own[one.node]!++
      const { zone } = nodes[one.node]!.node
      if (zone !== '') zones.set(zone, (zones.get(zone) ?? 0) + 1)
    }
    let best = -1
    let bestRank = [0, 0, 0]
    for (const i of needs.nodes) {
      const planned = nodes[i]!
      if (!isOpen(i) || kept.has(i) || all[i]! >= planned.maxPods) continue
      if (
        used[i]!.cpu + needs.cpu > planned.allocatable.cpu ||
        used[i]!.memory + needs.memory > planned.allocatable.memory
      )
        continue
      const rank = [zones.get(planned.node.zone) ?? 0, own[i]!, all[i]!]
      if (best < 0 || isLess(rank, bestRank)) {
        best = i
        bestRank = rank
      }
    }
    return best
  }

  #needsOf(workload: number): Needs {
    let needs = this.#needs.get(workload)
    if (needs === undefined) {
      const { object } = this.#site.workloads[workload]!
      const { spec, metadata } = object.spec.template
      const asked = requestsOf(spec)
      needs = {
        nodes: this.#site.nodes.flatMap((planned: PlannedNode, i) => (mayRun(planned, spec, false) ? [i] : [])),
        cpu: asked.cpu,
        memory: asked.memory,
        isAlone: isAlone(spec, metadata?.labels ?? {}),
      }
      this.#needs.set(workload, needs)
    }
    return needs
  }
}

function isLess(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! < b[i]!
  return false
}

function isAlone({ affinity }: PodSpec, labels: Readonly<Record<string, string>>): boolean {
  return (affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).some(
    ({ topologyKey, labelSelector }) =>
      topologyKey === HOST_NAME && labelSelector !== undefined && matchesSelector(labelSelector, labels),
  )
}
