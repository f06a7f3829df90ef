/**
 * Where a pod goes: the nodes that it may run on, and of those the one that the scheduler's default spreading likes best.
 *
 * Modelled: nodeName, nodeSelector, required node affinity, taints and tolerations, pods a node takes at most.
 * Not modelled: requests and limits, affinity between pods, topologySpreadConstraints of the pod, preferences.
 * Source: kubernetes/kubernetes pkg/scheduler/framework/plugins; default spreading is PodTopologySpread's
 *         `defaultConstraints` over zone and hostname.
 * Cost:   one pass over the nodes for each pod.
 */
import { matchesExpression } from './labels.ts'
import type { PlannedNode } from './nodes.ts'
import type { NodeSelectorTerm, PodSpec } from './types.ts'

/** Tolerations that the DaemonSet controller adds to its pods. */
const DAEMON_TOLERATIONS = [
  'not-ready',
  'unreachable',
  'disk-pressure',
  'memory-pressure',
  'pid-pressure',
  'unschedulable',
  'network-unavailable',
].map((taint) => ({ key: `node.kubernetes.io/${taint}`, operator: 'Exists' }))

/** Where the pods of one owner are: how many on each node and in each zone. */
interface Spread {
  readonly nodes: Map<string, number>
  readonly zones: Map<string, number>
}

export class Scheduler {
  readonly #nodes: readonly PlannedNode[]
  readonly #pods = new Map<string, number>()
  readonly #ofOwner = new Map<string, Spread>()

  constructor(nodes: readonly PlannedNode[]) {
    this.#nodes = nodes
  }

  /** Counts a pod that is on a node already, or that was just put there. */
  place({ node }: PlannedNode, owner: string): void {
    increment(this.#pods, node.name)
    if (owner === '') return
    const spread = this.#ofOwner.get(owner) ?? { nodes: new Map(), zones: new Map() }
    this.#ofOwner.set(owner, spread)
    increment(spread.nodes, node.name)
    increment(spread.zones, node.zone)
  }

  /** Whether a pod's selector and required node affinity let it be on the node. */
  mayHold(name: string, spec: PodSpec): boolean {
    return this.#nodes.some(
      (planned) => planned.node.name === name && isSelected(planned, spec) && isLiked(planned, spec),
    )
  }

  /** Whether a pod may run on the node and there is room for it. */
  fits(planned: PlannedNode, spec: PodSpec, isDaemon: boolean): boolean {
    return (this.#pods.get(planned.node.name) ?? 0) < planned.maxPods && mayRun(planned, spec, isDaemon)
  }

  /**
   * The best node that has room and for which `accept` holds: fewest pods of the same owner in the zone, then on the
   * node, then fewest pods of any kind, then the first.
   */
  choose(spec: PodSpec, owner: string, accept: (node: PlannedNode) => boolean): PlannedNode | null {
    const spread = this.#ofOwner.get(owner)
    let best: PlannedNode | null = null
    let [leastInZone, leastOnNode, leastPods] = [0, 0, 0]
    for (const planned of this.#nodes) {
      const { name, zone } = planned.node
      const inZone = spread?.zones.get(zone) ?? 0
      const onNode = spread?.nodes.get(name) ?? 0
      const pods = this.#pods.get(name) ?? 0
      const difference = inZone - leastInZone || onNode - leastOnNode || pods - leastPods
      if (best !== null && difference >= 0) continue
      if (!this.fits(planned, spec, false) || !accept(planned)) continue
      best = planned
      leastInZone = inZone
      leastOnNode = onNode
      leastPods = pods
    }
    return best
  }

  /** Why no node is left for a pod: what its selector, its affinity or its tolerations keep it from, or that there is no room. */
  whyNone(spec: PodSpec, isDaemon: boolean): string {
    const selected = this.#nodes.filter((planned) => isSelected(planned, spec))
    if (selected.length === 0) {
      const missing = Object.entries(spec.nodeSelector ?? {}).find(
        ([key, value]) => !this.#nodes.some(({ node }) => node.labels[key] === value),
      )
      if (missing !== undefined) return `no node has the label ${missing.join('=')} that its nodeSelector asks for`
      return 'no node has all labels that its nodeSelector asks for'
    }
    const liked = selected.filter((planned) => isLiked(planned, spec))
    if (liked.length === 0) return 'no node is what its required node affinity asks for'
    const tolerated = liked.filter((planned) => mayRun(planned, spec, isDaemon))
    if (tolerated.length === 0) {
      const { key } = liked[0]!.taints.find((taint) => !isBearable(taint, tolerationsOf(spec, isDaemon)))!
      return `it does not tolerate the taint ${key}${liked.length === 1 ? '' : ' or others'} of the ${liked.length === 1 ? 'node' : 'nodes'} that it could be on`
    }
    const full = tolerated.filter(({ node, maxPods }) => (this.#pods.get(node.name) ?? 0) >= maxPods)
    if (full.length === tolerated.length) return 'the nodes that it could be on hold as many pods as they take'
    return 'the nodes that it could be on have no address left'
  }
}

function isSelected({ node }: PlannedNode, spec: PodSpec): boolean {
  return Object.entries(spec.nodeSelector ?? {}).every(([key, value]) => node.labels[key] === value)
}

function isLiked(planned: PlannedNode, { affinity }: PodSpec): boolean {
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms
  return terms === undefined || terms.some((term) => matchesTerm(term, planned))
}

function tolerationsOf({ tolerations = [] }: PodSpec, isDaemon: boolean): NonNullable<PodSpec['tolerations']> {
  return isDaemon ? [...tolerations, ...DAEMON_TOLERATIONS] : tolerations
}

function isBearable(taint: PlannedNode['taints'][number], tolerations: NonNullable<PodSpec['tolerations']>): boolean {
  return taint.effect === 'PreferNoSchedule' || isTolerated(taint, tolerations)
}

function mayRun(planned: PlannedNode, spec: PodSpec, isDaemon: boolean): boolean {
  if (spec.nodeName !== undefined && spec.nodeName !== '') return spec.nodeName === planned.node.name
  if (!isSelected(planned, spec) || !isLiked(planned, spec)) return false
  const tolerations = tolerationsOf(spec, isDaemon)
  return planned.taints.every((taint) => isBearable(taint, tolerations))
}

/** A term without any requirement matches nothing. */
function matchesTerm({ matchExpressions = [], matchFields = [] }: NodeSelectorTerm, { node }: PlannedNode): boolean {
  const fields = { 'metadata.name': node.name }
  return (
    matchExpressions.length + matchFields.length > 0 &&
    matchExpressions.every(({ key, operator, values = [] }) => matchesExpression(key, operator, values, node.labels)) &&
    matchFields.every(({ key, operator, values = [] }) => matchesExpression(key, operator, values, fields))
  )
}

function isTolerated(
  taint: { readonly key: string; readonly effect: string; readonly value?: string },
  tolerations: NonNullable<PodSpec['tolerations']>,
): boolean {
  return tolerations.some(({ key = '', operator = 'Equal', value = '', effect = '' }) => {
    if (effect !== '' && effect !== taint.effect) return false
    if (operator === 'Exists') return key === '' || key === taint.key
    return key === taint.key && value === (taint.value ?? '')
  })
}

function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
