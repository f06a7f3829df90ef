/**
 * Reading a Timeline's maps: every field is known and of its kind, or the error names file, document and field.
 */
import { UserError } from '../errors.ts'
import { isMap } from '../k8s/schema.ts'
import { suggestion } from '../nearest.ts'
import { durationMs } from './durations.ts'

/** A value and where it stands: `friday.yaml, document 1` and `events[3].drain`. */
export class Field {
  readonly value: unknown
  readonly #document: string
  readonly #path: string

  constructor(value: unknown, document: string, path = '') {
    this.value = value
    this.#document = document
    this.#path = path
  }

  get where(): string {
    return this.#path === '' ? this.#document : `${this.#document}, ${this.#path}`
  }

  get isAbsent(): boolean {
    return this.value === undefined || this.value === null
  }

  /** The fields of a map, by name. @throws UserError for one that is not `known`, with the nearest that is */
  map(known: readonly string[]): (name: string) => Field {
    const { value } = this
    if (!isMap(value)) throw this.refuse('expected a map')
    for (const name of Object.keys(value)) {
      if (!known.includes(name)) throw this.step(name).refuse('there is no such field', suggestion(name, known))
    }
    return (name) => this.step(name)
  }

  /** The entries of a map whose names are the user's. */
  entries(): [string, Field][] {
    if (this.isAbsent) return []
    if (!isMap(this.value)) throw this.refuse('expected a map')
    return Object.keys(this.value).map((name) => [name, this.step(name)])
  }

  list(): Field[] {
    if (this.isAbsent) return []
    if (!Array.isArray(this.value)) throw this.refuse('expected a list')
    return this.value.map((value, i) => new Field(value, this.#document, `${this.#path}[${i}]`))
  }

  step(name: string): Field {
    const value = isMap(this.value) && Object.hasOwn(this.value, name) ? this.value[name] : undefined
    const step = /^[\w-]+$/.test(name) ? name : `["${name}"]`
    return new Field(
      value,
      this.#document,
      this.#path === '' || step[0] === '[' ? this.#path + step : `${this.#path}.${step}`,
    )
  }

  text(): string {
    if (typeof this.value !== 'string' || this.value === '') throw this.refuse('expected text')
    return this.value
  }

  boolean(): boolean {
    if (typeof this.value !== 'boolean') throw this.refuse('expected true or false')
    return this.value
  }

  integer(min: number, max: number = 2 ** 31 - 1): number {
    const { value } = this
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      throw this.refuse(`expected a whole number from ${min}`)
    return value
  }

  number(min: number): number {
    if (typeof this.value !== 'number' || !(this.value >= min)) throw this.refuse(`expected a number from ${min}`)
    return this.value
  }

  oneOf<T extends string>(...known: readonly T[]): T {
    const found = known.find((one) => one === this.value)
    if (found === undefined) throw this.refuse(`expected ${known.join(', ')}`, suggestion(String(this.value), known))
    return found
  }

  /** Whole milliseconds. */
  duration(): number {
    const ms = durationMs(this.value)
    if (ms === null) throw this.refuse('expected a time such as 30s, 500ms or 4m, or a number of seconds')
    return ms
  }

  /** The value that `read` makes of the field, or `fallback` where it is not there. */
  or<T, U>(read: (field: this) => T, fallback: U): T | U {
    return this.isAbsent ? fallback : read(this)
  }

  refuse(problem: string, hint = ''): UserError {
    return new UserError(
      'E_TIMELINE',
      `${problem}, not ${shown(this.value)}`.replace(/^(there is no .*), not .*$/s, '$1'),
      {
        where: this.where,
        hint,
      },
    )
  }
}

function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}
