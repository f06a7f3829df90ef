/**
 * What of a node alone decides whether a pod may be there: name, labels, taints.
 *
 * Source: kubernetes/kubernetes pkg/scheduler/framework/plugins/{nodename,nodeaffinity,tainttoleration}; tolerations of
 *         DaemonSets pkg/controller/daemon/util.
 */
import { matchesExpression } from './labels.ts'
import type { PlannedNode } from './nodes.ts'
import type { NodeSelectorTerm, PodSpec } from './types.ts'

type Tolerations = NonNullable<PodSpec['tolerations']>
type Taint = PlannedNode['taints'][number]

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

export function isSelected({ node }: PlannedNode, spec: PodSpec): boolean {
  return Object.entries(spec.nodeSelector ?? {}).every(([key, value]) => node.labels[key] === value)
}

export function isLiked(planned: PlannedNode, { affinity }: PodSpec): boolean {
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms
  return terms === undefined || terms.some((term) => matchesTerm(term, planned))
}

/** The first taint that keeps a pod off the node, or undefined. */
export function forbiddingTaint({ taints }: PlannedNode, spec: PodSpec, isDaemon: boolean): Taint | undefined {
  const tolerations = isDaemon ? [...(spec.tolerations ?? []), ...DAEMON_TOLERATIONS] : (spec.tolerations ?? [])
  return taints.find((taint) => taint.effect !== 'PreferNoSchedule' && !isTolerated(taint, tolerations))
}

/** Taints that would rather not have the pod. */
export function dislikingTaints({ taints }: PlannedNode, { tolerations = [] }: PodSpec): number {
  return taints.filter((taint) => taint.effect === 'PreferNoSchedule' && !isTolerated(taint, tolerations)).length
}

export function mayRun(planned: PlannedNode, spec: PodSpec, isDaemon: boolean): boolean {
  if (spec.nodeName !== undefined && spec.nodeName !== '') return spec.nodeName === planned.node.name
  return isSelected(planned, spec) && isLiked(planned, spec) && forbiddingTaint(planned, spec, isDaemon) === undefined
}

/** A term without any requirement matches nothing. */
export function matchesTerm(
  { matchExpressions = [], matchFields = [] }: NodeSelectorTerm,
  { node }: PlannedNode,
): boolean {
  const fields = { 'metadata.name': node.name }
  return (
    matchExpressions.length + matchFields.length > 0 &&
    matchExpressions.every(({ key, operator, values = [] }) => matchesExpression(key, operator, values, node.labels)) &&
    matchFields.every(({ key, operator, values = [] }) => matchesExpression(key, operator, values, fields))
  )
}

function isTolerated(taint: Taint, tolerations: Tolerations): boolean {
  return tolerations.some(({ key = '', operator = 'Equal', value = '', effect = '' }) => {
    if (effect !== '' && effect !== taint.effect) return false
    if (operator === 'Exists') return key === '' || key === taint.key
    return key === taint.key && value === (taint.value ?? '')
  })
}
