/**
 * A cluster that changes: one object applied or deleted, as kubectl would.
 *
 * Pure: the objects before and a change give the objects after; `deriveCluster` with the cluster before then keeps every
 * address and port that was handed out. Errors: E_CHANGE (exit 3) naming where the change was written.
 */
import { UserError, type Warning } from '../errors.ts'
import { parseObject } from './load.ts'
import type { KubeObject } from './types.ts'

export interface ObjectChange {
  /** A whole object, as a manifest holds it. */
  readonly apply?: unknown
  readonly delete?: unknown
}

export interface ChangedObjects {
  readonly objects: KubeObject[]
  readonly warnings: readonly Warning[]
}

/** @param where file and line, or field, for messages */
export function applyChange(objects: readonly KubeObject[], change: ObjectChange, where: string): ChangedObjects {
  if ((change.apply === undefined) === (change.delete === undefined)) {
    throw refuse(where, 'a change has exactly one of apply and delete')
  }
  if (change.apply === undefined) return { objects: withoutObject(objects, change.delete, where), warnings: [] }
  const parsed = parseObject(change.apply, where)
  if (parsed.objects.length === 0) throw refuse(where, 'apply holds no object with a part in the dataplane')
  const replaced = new Set(parsed.objects.map(keyOf))
  return {
    objects: [...objects.filter((object) => !replaced.has(keyOf(object))), ...parsed.objects],
    warnings: parsed.warnings,
  }
}

function withoutObject(objects: readonly KubeObject[], target: unknown, where: string): KubeObject[] {
  if (typeof target !== 'object' || target === null)
    throw refuse(where, 'delete must be a map of kind, namespace, name')
  const { kind, namespace, name } = target as Readonly<Record<string, unknown>>
  if (typeof kind !== 'string' || typeof name !== 'string') throw refuse(where, 'delete needs kind and name')
  const wanted = typeof namespace === 'string' ? namespace : 'default'
  const left = objects.filter(
    ({ kind: own, metadata }) =>
      own !== kind || metadata.name !== name || (metadata.namespace !== undefined && metadata.namespace !== wanted),
  )
  if (left.length === objects.length) throw refuse(where, `there is no ${kind} ${wanted}/${name} to delete`)
  return left
}

function keyOf({ kind, metadata }: KubeObject): string {
  return `${kind} ${metadata.namespace ?? ''}/${metadata.name}`
}

function refuse(where: string, message: string): UserError {
  return new UserError('E_CHANGE', message, { where })
}
