/**
 * Readers: small functions that turn a parsed YAML or JSON value into a checked, normalised copy, or say what is wrong.
 *
 * `object<T>` wants a reader for every field of `T`, so types.ts and what is read cannot drift apart without a compile
 * error. Fields that have no reader are left out of the copy: what comes out holds only what dpemu reads.
 * Invariants: `null` is an absent field, as the API server treats it; nothing else is coerced.
 * Cost:       no path is built unless a value is wrong; a `FieldProblem` gathers its path while it travels up.
 */
import { canonicalIp, parseCidr } from './ip.ts'

/** Turns a value that is neither null nor undefined into a `T`, or throws a FieldProblem. */
export type Reader<T> = (value: unknown) => T

/** A value that cannot be what its field wants. Becomes a UserError in load.ts, which knows the file. */
export class FieldProblem extends Error {
  /** Field names and list positions, the innermost first. */
  readonly path: (string | number)[] = []
  readonly found: string
  readonly expected: string

  constructor(found: string, expected: string) {
    super(`${found}; expected ${expected}`)
    this.name = 'FieldProblem'
    this.found = found
    this.expected = expected
  }
}

/** `spec.ports[0].port`. */
export function formatPath(path: readonly (string | number)[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[\w-]+$/.test(step)) text += text === '' ? step : `.${step}`
    else text += `["${step}"]`
  }
  return text
}

/** A value for a message: scalars as written, the rest by its kind only, so that no input makes a long message. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  return String(value)
}

/** Throws; `expected` reads on from "expected …". */
export function wrong(value: unknown, expected: string): never {
  throw new FieldProblem(describe(value), expected)
}

export const string: Reader<string> = (value) =>
  typeof value === 'string'
    ? value
    : wrong(value, typeof value === 'object' ? 'a string' : 'a string (put it in quotes)')

export const boolean: Reader<boolean> = (value) => (typeof value === 'boolean' ? value : wrong(value, 'true or false'))

export function integer(min: number, max: number): Reader<number> {
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `a whole number from ${min}` : `a whole number from ${min} to ${max}`
  return (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
      ? value
      : wrong(value, expected)
}

export const port: Reader<number> = integer(1, 65535)
/** 0 is "none", as Go's zero value is. */
export const portOrNone: Reader<number> = integer(0, 65535)

const portNumber = integer(1, 65535)
/** A port number, or the name of a container port. */
export const portOrName: Reader<number | string> = (value) =>
  typeof value === 'string' && value !== ''
    ? value
    : typeof value === 'number'
      ? portNumber(value)
      : wrong(value, 'a port number or name')

export function oneOf<T extends string>(...values: readonly T[]): Reader<T> {
  const known: ReadonlySet<unknown> = new Set(values)
  return (value) => (known.has(value) ? (value as T) : wrong(value, values.join(', ').replace(/, ([^,]*)$/, ' or $1')))
}

/** As `oneOf`, where '' means that the field was left out (Go's zero value, which kubectl prints). */
export function oneOfOrEmpty<T extends string>(...values: readonly T[]): Reader<T | undefined> {
  const read = oneOf(...values)
  return (value) => (value === '' ? undefined : read(value))
}

/** An address in canonical text. */
export const ip: Reader<string> = (value) => {
  const canonical = typeof value === 'string' ? canonicalIp(value.trim()) : null
  return canonical ?? wrong(value, 'an IP address')
}

/** An address, `None` or '' (a Service that has not got one). */
export const clusterIp: Reader<string> = (value) =>
  value === '' || value === 'None'
    ? value
    : typeof value === 'string'
      ? (canonicalIp(value.trim()) ?? wrong(value, 'an IP address or None'))
      : wrong(value, 'an IP address or None')

/** A CIDR block in canonical text; blanks around it are trimmed, as kube-proxy does. */
export const cidr: Reader<string> = (value) => {
  const parsed = typeof value === 'string' ? parseCidr(value.trim()) : null
  return parsed === null ? wrong(value, 'a CIDR block such as 10.0.0.0/8') : parsed.text
}

export function list<T>(item: Reader<T>): Reader<T[]> {
  return (value) => {
    if (!Array.isArray(value)) return wrong(value, 'a list')
    const items: T[] = []
    for (let i = 0; i < value.length; i++) items.push(at(i, value[i], item))
    return items
  }
}

/** A map of names to values; entries that are null are left out. */
export function mapOf<T>(item: Reader<T>): Reader<Record<string, T>> {
  return (value) => {
    if (!isMap(value)) return wrong(value, 'a map')
    const entries: [string, T][] = []
    for (const key of Object.keys(value)) if (value[key] != null) entries.push([key, at(key, value[key], item)])
    return Object.fromEntries(entries)
  }
}

export const labels: Reader<Record<string, string>> = mapOf(string)

type Fields<T> = { readonly [K in keyof T]-?: Reader<Exclude<T[K], null> | undefined> }

/** A map with the fields of `T`; `required` ones must be there. */
export function object<T extends object>(fields: Fields<T>, required: readonly (keyof T & string)[] = []): Reader<T> {
  const readers = Object.entries(fields) as [string, Reader<unknown>][]
  return (value) => {
    if (!isMap(value)) return wrong(value, 'a map')
    const copy: Record<string, unknown> = {}
    for (const [name, read] of readers) {
      // Own fields only: a manifest may well have a field named like something on Object.prototype.
      const field = Object.hasOwn(value, name) ? value[name] : undefined
      if (field === null || field === undefined) {
        if ((required as readonly string[]).includes(name))
          at(name, field, () => wrong(field, 'a value: the field is required'))
        continue
      }
      const result = at(name, field, read)
      if (result !== undefined) copy[name] = result
    }
    return copy as T
  }
}

export function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Reads `value` and adds `step` to the path of what goes wrong below. */
export function at<T>(step: string | number, value: unknown, read: Reader<T>): T {
  try {
    return read(value)
  } catch (error) {
    if (error instanceof FieldProblem) error.path.push(step)
    throw error
  }
}
