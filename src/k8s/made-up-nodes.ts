/**
 * Nodes for manifests that have none: as many as are named, at least three, with the labels that the pods ask for.
 *
 * A cluster that such manifests are for has nodes that suit them; where nothing says which, all of ours do.
 */
import type { Inventory } from './inventory.ts'
import { kubeletLabels } from './labels.ts'
import type { NodeObject, PodSpec } from './types.ts'

const DEFAULT_NODE_COUNT = 3
const HOSTNAME = 'kubernetes.io/hostname'
const OS = ['kubernetes.io/os', 'beta.kubernetes.io/os']

type Wanted = Readonly<Record<string, string>>

/** Nodes that written pods, endpoints and selectors name, filled up to three with node-1, node-2, … */
export function madeUpNodes(inventory: Inventory): NodeObject[] {
  const wanted = labelsAsked(inventory)
  const names = namesWritten(inventory)
  for (const one of wanted) names.add(one[HOSTNAME] ?? '')
  names.delete('')
  for (let i = 1; names.size < DEFAULT_NODE_COUNT; i++) names.add(`node-${i}`)
  const labels = new Map<string, Record<string, string>>([...names].map((name) => [name, {}]))
  for (const one of wanted) suit(labels, one, wanted)
  return [...labels.keys()].sort(byNumber).map((name) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: labels.get(name)! },
    origin: { file: '', document: 0, item: -1 },
  }))
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
  return names
}

/** Gives `wanted` to every node that nothing speaks against: to one where others ask for another value, to a new one where none is left. */
function suit(labels: Map<string, Record<string, string>>, wanted: Wanted, all: readonly Wanted[]): void {
  const entries = Object.entries(wanted)
  const labelOf = (name: string, key: string): string | undefined => labels.get(name)![key] ?? kubeletLabels(name)[key]
  const names = [...labels.keys()].sort(byNumber)
  if (names.some((name) => entries.every(([key, value]) => labelOf(name, key) === value))) return
  const free = names.filter((name) => entries.every(([key, value]) => (labelOf(name, key) ?? value) === value))
  const isDisputed = entries.some(([key, value]) => all.some((other) => (other[key] ?? value) !== value))
  if (free.length === 0) {
    let number = labels.size + 1
    while (labels.has(`node-${number}`)) number++
    free.push(`node-${number}`)
    labels.set(`node-${number}`, {})
  }
  for (const name of isDisputed ? free.slice(0, 1) : free) Object.assign(labels.get(name)!, wanted)
}

/** Each set of labels that pods ask for once, in an order that no file decides; what asks for Windows finds no node here. */
function labelsAsked({ pods, workloads }: Inventory): Wanted[] {
  const specs = [
    ...pods.map(({ spec }) => spec).filter(({ nodeName = '' }) => nodeName === ''),
    ...workloads.map(({ spec }) => spec.template.spec),
  ]
  const sets = new Map<string, Wanted>()
  for (const spec of specs) {
    const wanted = labelsOf(spec)
    if (OS.some((key) => (wanted[key] ?? 'linux') !== 'linux')) continue
    const entries = Object.entries(wanted).sort(([a], [b]) => (a < b ? -1 : 1))
    if (entries.length > 0) sets.set(JSON.stringify(entries), Object.fromEntries(entries))
  }
  return [...sets.keys()].sort().map((key) => sets.get(key)!)
}

/** nodeSelector, and of required node affinity the first way to meet it. */
function labelsOf({ nodeSelector, affinity }: PodSpec): Wanted {
  const [term] = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? []
  const required = (term?.matchExpressions ?? []).flatMap(({ key, operator, values = [] }): [string, string][] => {
    if (operator === 'In' && values[0] !== undefined) return [[key, values[0]]]
    return operator === 'Exists' ? [[key, '']] : []
  })
  // Exists takes any value, so that of another selector as well; a selector's own value counts.
  return { ...Object.fromEntries(required), ...nodeSelector }
}
