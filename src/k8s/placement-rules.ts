/**
 * Rules about pods beside pods (affinity, anti-affinity, spread): not modelled when pods are placed, and looked at afterwards.
 *
 * Most are met by the default spreading; there is a warning only where pods stand where a rule would not have let them.
 * Cost:   for a workload with such rules, its pods and those that the rules select.
 * Source: kubernetes/kubernetes pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}.
 */
import type { ClusterNode } from './cluster.ts'
import { type Inventory, type Notes, titleOf } from './inventory.ts'
import { LabelIndex, type Labels } from './labels.ts'
import type { PlannedPod } from './pods.ts'
import type { Scheduler } from './schedule.ts'
import type { LabelSelector, PodAffinityTerm, SpreadConstraint, Workload } from './types.ts'

interface Placed {
  readonly namespace: string
  readonly labels: Labels
  readonly node: ClusterNode
  readonly owner: string
}

export function warnOfPlacement(
  inventory: Inventory,
  planned: readonly PlannedPod[],
  nodes: ReadonlyMap<string, ClusterNode>,
  scheduler: Scheduler,
  notes: Notes,
): void {
  const ruled = inventory.workloads.filter(hasRules)
  if (ruled.length === 0) return
  const placed = planned.flatMap(({ pod }): Placed[] => {
    const node = nodes.get(pod.nodeName)
    return node === undefined ? [] : [{ namespace: pod.namespace, labels: pod.labels, node, owner: pod.owner }]
  })
  const rules = new Rules(placed, [...nodes.values()], scheduler)
  for (const workload of ruled) {
    const title = titleOf(workload)
    const own = placed.filter(({ owner }) => owner === title)
    for (const [field, broken] of rules.broken(workload, own)) {
      if (broken === 0) continue
      const pods = broken === 1 ? '1 of its pods stands' : `${broken} of its pods stand`
      const message = `${field} is not modelled, its pods are spread over zones and nodes as by default: ${pods} where it would not let them`
      notes.warn('W_NOT_MODELLED', title, message)
    }
  }
}

function hasRules({ spec: { template } }: Workload): boolean {
  const { affinity, topologySpreadConstraints = [] } = template.spec
  return (
    (affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).length > 0 ||
    (affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []).length > 0 ||
    topologySpreadConstraints.some(isHard)
  )
}

function isHard({ whenUnsatisfiable }: SpreadConstraint): boolean {
  return whenUnsatisfiable === 'DoNotSchedule'
}

class Rules {
  readonly #index: LabelIndex<Placed>
  readonly #namespaces: readonly string[]
  readonly #nodes: readonly ClusterNode[]
  readonly #scheduler: Scheduler

  constructor(placed: readonly Placed[], nodes: readonly ClusterNode[], scheduler: Scheduler) {
    this.#index = new LabelIndex(placed)
    this.#namespaces = [...new Set(placed.map(({ namespace }) => namespace))]
    this.#nodes = nodes
    this.#scheduler = scheduler
  }

  /** By field, how many of the pods `own` of a workload stand where its rules forbid. */
  broken({ spec: { template } }: Workload, own: readonly Placed[]): (readonly [field: string, pods: number])[] {
    const { affinity, topologySpreadConstraints = [] } = template.spec
    const near = affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
    const far = affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
    const spread = topologySpreadConstraints.filter(isHard)
    const eligible = this.#nodes.filter((node) => this.#scheduler.mayHold(node.name, template.spec))
    return [
      ['podAffinity', own.filter((pod) => near.some((term) => !this.#isNear(pod, term))).length],
      ['podAntiAffinity', own.filter((pod) => far.some((term) => this.#others(pod, term).length > 0)).length],
      ['topologySpreadConstraints', Math.max(0, ...spread.map((rule) => this.#tooMany(own, rule, eligible)))],
    ]
  }

  /** The first pod of those that want to be together may be anywhere. */
  #isNear(pod: Placed, term: PodAffinityTerm): boolean {
    if (this.#others(pod, term).length > 0) return true
    const selected = this.#selected(pod, term)
    return selected.length === 1 && selected[0] === pod
  }

  /** Pods that the term selects in the domain of `pod`, without itself. */
  #others(pod: Placed, term: PodAffinityTerm): Placed[] {
    const domain = pod.node.labels[term.topologyKey ?? '']
    if (domain === undefined) return []
    return this.#selected(pod, term).filter(
      (other) => other !== pod && other.node.labels[term.topologyKey ?? ''] === domain,
    )
  }

  #selected(pod: Placed, { labelSelector, namespaces, namespaceSelector }: PodAffinityTerm): Placed[] {
    if (labelSelector === undefined) return []
    const among = namespaceSelector !== undefined ? this.#namespaces : namespaces?.length ? namespaces : [pod.namespace]
    return among.flatMap((namespace) => this.#index.selectBy(namespace, labelSelector))
  }

  /** How many pods the fullest domain has above what the emptiest allows. */
  #tooMany(own: readonly Placed[], rule: SpreadConstraint, eligible: readonly ClusterNode[]): number {
    const { topologyKey = '', maxSkew = 1, labelSelector } = rule
    const counts = new Map<string, number>()
    for (const { labels } of eligible) if (labels[topologyKey] !== undefined) counts.set(labels[topologyKey], 0)
    const [first] = own
    if (first === undefined || labelSelector === undefined || counts.size === 0) return 0
    for (const { node } of this.#index.selectBy(first.namespace, labelSelector satisfies LabelSelector)) {
      const domain = node.labels[topologyKey]
      if (domain !== undefined) counts.set(domain, (counts.get(domain) ?? 0) + 1)
    }
    return Math.max(0, Math.max(...counts.values()) - Math.min(...counts.values()) - maxSkew)
  }
}
