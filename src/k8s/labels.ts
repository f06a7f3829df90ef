/**
 * Label selectors: does a set of labels match, and which objects of a namespace match, without looking at all of them.
 *
 * Source: apimachinery pkg/labels; a selector that is empty matches everything.
 */
import type { LabelSelector } from './types.ts'

export type Labels = Readonly<Record<string, string>>

export function matchesLabels(wanted: Labels, labels: Labels): boolean {
  for (const key of Object.keys(wanted)) if (labels[key] !== wanted[key]) return false
  return true
}

export function matchesSelector(selector: LabelSelector, labels: Labels): boolean {
  if (!matchesLabels(selector.matchLabels ?? {}, labels)) return false
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) =>
    matchesExpression(key, operator, values, labels),
  )
}

/** One requirement of a label or node selector. `Gt` and `Lt` are for nodes only. */
export function matchesExpression(key: string, operator: string, values: readonly string[], labels: Labels): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case 'Gt':
      return value !== undefined && Number(value) > Number(values[0])
    case 'Lt':
      return value !== undefined && Number(value) < Number(values[0])
    default:
      return false
  }
}

/** Objects by namespace and by each of their labels. */
export class LabelIndex<T extends { readonly namespace: string; readonly labels: Labels }> {
  readonly #byNamespace = new Map<string, T[]>()
  readonly #byLabel = new Map<string, T[]>()

  constructor(items: Iterable<T>) {
    for (const item of items) {
      push(this.#byNamespace, item.namespace, item)
      for (const key of Object.keys(item.labels))
        push(this.#byLabel, labelKey(item.namespace, key, item.labels[key]!), item)
    }
  }

  /** Those of `namespace` with all of the labels, in the order they were given. Cost: the rarest label's objects. */
  select(namespace: string, wanted: Labels): T[] {
    let fewest = this.#byNamespace.get(namespace) ?? []
    for (const key of Object.keys(wanted)) {
      const items = this.#byLabel.get(labelKey(namespace, key, wanted[key]!)) ?? []
      if (items.length < fewest.length) fewest = items
    }
    return fewest.filter((item) => matchesLabels(wanted, item.labels))
  }

  /** The same for a selector with expressions. */
  selectBy(namespace: string, selector: LabelSelector): T[] {
    return this.select(namespace, selector.matchLabels ?? {}).filter((item) => matchesSelector(selector, item.labels))
  }
}

function labelKey(namespace: string, key: string, value: string): string {
  return `${namespace}\n${key}\n${value}`
}

function push<T>(map: Map<string, T[]>, key: string, item: T): void {
  const items = map.get(key)
  if (items === undefined) map.set(key, [item])
  else items.push(item)
}

/** What the kubelet sets on its node. */
export function kubeletLabels(name: string): Record<string, string> {
  return {
    'kubernetes.io/hostname': name,
    'kubernetes.io/os': 'linux',
    'kubernetes.io/arch': 'amd64',
    // Deprecated since 1.14, and the kubelet still sets them.
    'beta.kubernetes.io/os': 'linux',
    'beta.kubernetes.io/arch': 'amd64',
  }
}
