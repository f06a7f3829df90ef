/**
 * Addresses that were blacked out before a dump was handed on: they are as good as left out where something can be derived in their place.
 *
 * Source: `***HIDDEN***` of replicated's troubleshoot, `x-ipv4-0000000001-x` of OpenShift's must-gather-clean, and words that people use.
 */
import { isMap } from './schema.ts'

const REDACTED = /\*{3}|^x-ipv[46]-|redacted|hidden|masked/i
/** By kind: the fields whose address is derived where it is not written. */
const FIELDS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  Node: [
    ['spec', 'podCIDR'],
    ['spec', 'podCIDRs'],
    ['status', 'addresses'],
  ],
  Pod: [
    ['status', 'podIP'],
    ['status', 'podIPs'],
    ['status', 'hostIP'],
  ],
  Service: [
    ['spec', 'clusterIP'],
    ['spec', 'clusterIPs'],
  ],
}

/** `value` without such addresses, and the fields that had them (`spec.podCIDR`); the same value where there are none. */
export function withoutRedacted(
  kind: string,
  value: Record<string, unknown>,
): { value: Record<string, unknown>; fields: string[] } {
  const fields: string[] = []
  let cleaned = value
  for (const [part, field] of Object.hasOwn(FIELDS, kind) ? FIELDS[kind]! : []) {
    const parent = cleaned[part!]
    if (!isMap(parent) || parent[field!] === undefined) continue
    const written = parent[field!]
    const kept = Array.isArray(written) ? written.filter((item: unknown) => !isRedacted(item)) : written
    if (Array.isArray(written) ? (kept as unknown[]).length === written.length : !isRedacted(written)) continue
    fields.push(`${part}.${field}`)
    cleaned = { ...cleaned, [part!]: { ...parent, [field!]: Array.isArray(kept) ? kept : null } }
  }
  return { value: cleaned, fields }
}

// Also a prefix length behind one, and maps that hold one: `{ type: InternalIP, address: ***HIDDEN*** }`.
function isRedacted(value: unknown): boolean {
  if (typeof value === 'string') return REDACTED.test(value)
  return isMap(value) && ['address', 'ip'].some((field) => isRedacted(value[field]))
}
