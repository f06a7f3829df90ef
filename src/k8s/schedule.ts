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
}

function mayRun(planned: PlannedNode, spec: PodSpec, isDaemon: boolean): boolean {
  const { name, labels } = planned.node
  if (spec.nodeName !== undefined && spec.nodeName !== '') return spec.nodeName === name
  for (const [key, value] of Object.entries(spec.nodeSelector ?? {})) if (labels[key] !== value) return false
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms
  if (terms !== undefined && !terms.some((term) => matchesTerm(term, planned))) return false
  const tolerations = isDaemon ? [...(spec.tolerations ?? []), ...DAEMON_TOLERATIONS] : (spec.tolerations ?? [])
  return planned.taints.every((taint) => taint.effect === 'PreferNoSchedule' || isTolerated(taint, tolerations))
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
