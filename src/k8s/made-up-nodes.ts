/**
 * Nodes for manifests that have none: those that pods name, or at least three, with the labels that the pods ask for.
 *
 * A cluster that such manifests are for has nodes that suit them; where nothing says which, all of ours do.
 */
import type { Inventory, Notes } from './inventory.ts'
import { kubeletLabels } from './labels.ts'
import { meansItself, requiredApart } from './neighbours.ts'
import type { NodeObject, NodeSelectorRequirement, PodSpec } from './types.ts'
import { candidateOf, podMakers, replicasOf } from './workloads.ts'

const DEFAULT_NODE_COUNT = 3
const HOSTNAME = 'kubernetes.io/hostname'
const OS = ['kubernetes.io/os', 'beta.kubernetes.io/os']

type Wanted = Readonly<Record<string, string>>

/** Pods that one node takes, by the kubelet's default. */
const PODS_OF_NODE = 110

/**
 * Nodes that written pods, endpoints and selectors name. Where pods run on some those are all there are, and a warning says so;
 * else they are filled up to three, or to as many as the workloads need, with node-1, node-2, …
 */
export function madeUpNodes(inventory: Inventory, notes: Notes): NodeObject[] {
  const wanted = labelsAsked(inventory)
  const names = namesWritten(inventory)
  const isDump = inventory.pods.some(({ spec }) => (spec.nodeName ?? '') !== '')
  if (isDump) {
    const nodes =
      names.size === 1 ? 'the one node that pods name is' : `the ${names.size} nodes that pods and endpoints name are`
    const message = `the manifests hold no Node: ${nodes} taken for all there are; add the output of kubectl get nodes -o yaml`
    notes.warn('W_NODES_ASSUMED', 'Nodes', message)
  }
  for (const one of wanted) if (one[HOSTNAME] !== undefined) names.add(one[HOSTNAME])
  const needed = Math.max(Math.ceil(podsAsked(inventory) / PODS_OF_NODE), podsApart(inventory))
  const count = isDump ? 1 : Math.max(DEFAULT_NODE_COUNT, needed)
  for (let i = 1; names.size < count; i++) names.add(`node-${i}`)
  const labels = new Map<string, Record<string, string>>([...names].map((name) => [name, {}]))
  // A pod is where it may be: its node has what it asks for.
  for (const { spec } of inventory.pods) Object.assign(labels.get(spec.nodeName ?? '') ?? {}, labelsOf(spec))
  const avoided = labelsAvoided(inventory)
  for (const one of wanted) {
    suit(
      labels,
      one,
      !isDump,
      ([key, value]) =>
        [`${key}=${value}`, key].some((label) => avoided.has(label)) ||
        wanted.some((other) => (other[key] ?? value) !== value),
    )
  }
  return [...labels.keys()].sort(byNumber).map((name) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: labels.get(name)! },
    origin: { file: '', document: 0, item: -1 },
  }))
}

/** Of workloads but DaemonSets, which have a pod on each node whatever their number. */
function podsAsked(inventory: Inventory): number {
  return podMakers(inventory)
    .filter(({ kind }) => kind !== 'DaemonSet')
    .reduce((sum, workload) => sum + replicasOf(workload, inventory).count, 0)
}

/** The most replicas that want a node each. */
function podsApart(inventory: Inventory): number {
  const wantNodes = podMakers(inventory).filter((workload) => {
    const pod = candidateOf(workload)
    return requiredApart(pod.spec).some((term) => term.topologyKey === HOSTNAME && meansItself(term, pod))
  })
  return Math.max(0, ...wantNodes.map((workload) => replicasOf(workload, inventory).count))
}

const { compare: byNumber } = new Intl.Collator('en', { numeric: true })

function namesWritten(inventory: Inventory): Set<string> {
  const names = new Set<string>()
  for (const { spec } of inventory.pods) names.add(spec.nodeName ?? '')
  for (const { endpoints } of inventory.slices) for (const { nodeName } of endpoints) names.add(nodeName ?? '')
  for (const { subsets = [] } of inventory.endpoints) {
    for (const { addresses = [], notReadyAddresses = [] } of subsets) {
      for (const { nodeName } of [...addresses, ...notReadyAddresses]) names.add(nodeName ?? '')
    }
  }
  names.delete('')
  return names
}

/**
 * Gives `wanted` to every node that nothing speaks against; to one where others ask for something else.
 *
 * @param mayAdd      whether there may be one more node, where none is left
 * @param isDisputed  whether others ask for another value of a label, or for nodes without it
 */
function suit(
  labels: Map<string, Record<string, string>>,
  wanted: Wanted,
  mayAdd: boolean,
  isDisputed: (label: readonly [key: string, value: string]) => boolean,
): void {
  const entries = Object.entries(wanted)
  const labelOf = (name: string, key: string): string | undefined => labels.get(name)![key] ?? kubeletLabels(name)[key]
  const names = [...labels.keys()].sort(byNumber)
  if (names.some((name) => entries.every(([key, value]) => labelOf(name, key) === value))) return
  const free = names.filter((name) => entries.every(([key, value]) => (labelOf(name, key) ?? value) === value))
  if (free.length === 0) {
    if (!mayAdd) return
    let number = labels.size + 1
    while (labels.has(`node-${number}`)) number++
    free.push(`node-${number}`)
    labels.set(`node-${number}`, {})
  }
  for (const name of entries.some(isDisputed) ? free.slice(0, 1) : free) Object.assign(labels.get(name)!, wanted)
}

/** Each set of labels that pods ask for once, in an order that no file decides; what asks for Windows finds no node here. */
function labelsAsked(inventory: Inventory): Wanted[] {
  const sets = new Map<string, Wanted>()
  for (const spec of unplacedSpecs(inventory)) {
    const wanted = labelsOf(spec)
    if (OS.some((key) => (wanted[key] ?? 'linux') !== 'linux')) continue
    const entries = Object.entries(wanted).sort(([a], [b]) => (a < b ? -1 : 1))
    if (entries.length > 0) sets.set(JSON.stringify(entries), Object.fromEntries(entries))
  }
  return [...sets.keys()].sort().map((key) => sets.get(key)!)
}

/** `key=value`, and `key` where no value of it is borne. */
function labelsAvoided(inventory: Inventory): ReadonlySet<string> {
  const avoided = unplacedSpecs(inventory).flatMap((spec) =>
    requirementsOf(spec).flatMap(({ key, operator, values = [] }) => {
      if (operator === 'NotIn') return values.map((value) => `${key}=${value}`)
      return operator === 'DoesNotExist' ? [key] : []
    }),
  )
  return new Set(avoided)
}

function unplacedSpecs({ pods, workloads }: Inventory): PodSpec[] {
  return [
    ...pods.map(({ spec }) => spec).filter(({ nodeName = '' }) => nodeName === ''),
    ...workloads.map(({ spec }) => spec.template.spec),
  ]
}

/** The first way to meet a required node affinity. */
function requirementsOf({ affinity }: PodSpec): NodeSelectorRequirement[] {
  return (
    affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms?.[0]?.matchExpressions ??
    []
  )
}

/** nodeSelector, and what a required node affinity asks for. */
function labelsOf(spec: PodSpec): Wanted {
  const required = requirementsOf(spec).flatMap(({ key, operator, values = [] }): [string, string][] => {
    if (operator === 'In' && values[0] !== undefined) return [[key, values[0]]]
    return operator === 'Exists' ? [[key, '']] : []
  })
  // Exists takes any value, so that of another selector as well; a selector's own value counts.
  return { ...Object.fromEntries(required), ...spec.nodeSelector }
}
