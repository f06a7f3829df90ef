/**
 * Pods beside pods, for the scheduler: how many that a selector means are in each domain of a topology, kept up to date while
 * pods are placed.
 *
 * Cost:   a counter is made by one pass over the pods placed so far, and is told of each pod placed after that.
 * Source: kubernetes/kubernetes pkg/scheduler/framework/plugins/{interpodaffinity,podtopologyspread}.
 */
import { type Labels, matchesSelector } from './labels.ts'
import type { LabelSelector, PodAffinityTerm, PodSpec } from './types.ts'

/** As far as other pods are concerned. */
export interface Neighbour {
  readonly namespace: string
  readonly labels: Labels
  readonly spec: PodSpec
}

/** Whom a rule means, and by which label of nodes. */
interface Meant {
  /** null: all. */
  readonly namespaces: readonly string[] | null
  readonly selector: LabelSelector | undefined
  readonly topologyKey: string
}

interface Counter {
  readonly meant: Meant
  readonly counts: Map<string, number>
}

export class Neighbours {
  readonly #placed: { readonly pod: Neighbour; readonly nodeLabels: Labels }[] = []
  readonly #counters = new Map<string, Counter>()
  /** Required anti-affinity of placed pods: whom they keep out, and of which domains. */
  readonly #keptOut = new Map<string, Counter>()

  add(pod: Neighbour, nodeLabels: Labels): void {
    this.#placed.push({ pod, nodeLabels })
    for (const counter of this.#counters.values()) if (isMeant(counter.meant, pod)) count(counter, nodeLabels)
    for (const term of requiredApart(pod.spec)) {
      const meant = meantBy(term, pod.namespace)
      const key = JSON.stringify(meant)
      const holder = this.#keptOut.get(key) ?? { meant, counts: new Map<string, number>() }
      this.#keptOut.set(key, holder)
      count(holder, nodeLabels)
    }
  }

  /** Domain → pods that a term of a pod in `namespace` means there. */
  counts(term: PodAffinityTerm, namespace: string): ReadonlyMap<string, number> {
    const meant = meantBy(term, namespace)
    const key = JSON.stringify(meant)
    let counter = this.#counters.get(key)
    if (counter === undefined) {
      counter = { meant, counts: new Map() }
      for (const { pod, nodeLabels } of this.#placed) if (isMeant(meant, pod)) count(counter, nodeLabels)
      this.#counters.set(key, counter)
    }
    return counter.counts
  }

  /** Whether any placed pod has such a rule at all. */
  get keepSomebodyOut(): boolean {
    return this.#keptOut.size > 0
  }

  /** A placed pod's anti-affinity that keeps `pod` off a node. */
  keepsOut(pod: Neighbour, nodeLabels: Labels): boolean {
    for (const { meant, counts } of this.#keptOut.values()) {
      const domain = nodeLabels[meant.topologyKey]
      if (domain !== undefined && counts.has(domain) && isMeant(meant, pod)) return true
    }
    return false
  }
}

export function requiredApart({ affinity }: PodSpec): readonly PodAffinityTerm[] {
  return affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
}

export function requiredNear({ affinity }: PodSpec): readonly PodAffinityTerm[] {
  return affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? []
}

/** Whether a pod's own term means the pod itself. */
export function meansItself(term: PodAffinityTerm, pod: Neighbour): boolean {
  return isMeant(meantBy(term, pod.namespace), pod)
}

function meantBy(term: PodAffinityTerm, namespace: string): Meant {
  const { labelSelector: selector, namespaces = [], namespaceSelector, topologyKey = '' } = term
  // Labels of namespaces are not looked at: a selector of namespaces means all of them.
  const among = namespaceSelector !== undefined ? null : namespaces.length > 0 ? namespaces : [namespace]
  return { namespaces: among, selector, topologyKey }
}

function isMeant({ namespaces, selector }: Meant, pod: Neighbour): boolean {
  return (
    selector !== undefined &&
    (namespaces === null || namespaces.includes(pod.namespace)) &&
    matchesSelector(selector, pod.labels)
  )
}

function count({ meant, counts }: Counter, nodeLabels: Labels): void {
  const domain = nodeLabels[meant.topologyKey]
  if (domain !== undefined) counts.set(domain, (counts.get(domain) ?? 0) + 1)
}
