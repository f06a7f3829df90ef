/**
 * Typed access to the fields of a scenario, with messages that name file and field path and suggest known names.
 *
 * Every error is E_SCENARIO_FIELD, exit 3.
 */
import { UserError } from '../errors.ts'
import { suggestion } from '../nearest.ts'
import { type Distribution, PROFILES } from './distributions.ts'

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-9,
  us: 1e-6,
  µs: 1e-6,
  ms: 1e-3,
  s: 1,
  m: 60,
  h: 3600,
}
const SIZE_UNITS: Readonly<Record<string, number>> = {
  ...{ B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9 },
  ...{ KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 },
}

/** What a number in a distribution is: `2ms`, `64KiB` or a plain count. */
export type Quantity = 'duration' | 'size' | 'count'

/** A value of a scenario, and the path that leads to it. */
export class Field {
  readonly value: unknown
  readonly file: string
  /** `traffic[0].from.external`; '' for the whole scenario. */
  readonly path: string

  constructor(value: unknown, file: string, path: string) {
    this.value = value
    this.file = file
    this.path = path
  }

  get missing(): boolean {
    return this.value === undefined || this.value === null
  }

  fail(message: string, hint: string = ''): never {
    const name = this.path === '' ? 'the scenario' : this.path
    throw new UserError('E_SCENARIO_FIELD', `${name} ${message}`, { where: this.file, hint })
  }

  /** The fields of a map, all of them known ones. */
  map<Name extends string>(known: readonly Name[]): Record<Name, Field> {
    if (!isMap(this.value)) this.fail(`must be a map of ${known.join(', ')}`)
    const map = this.value
    const path = (name: string) => (this.path === '' ? name : `${this.path}.${name}`)
    for (const name of Object.keys(map)) {
      if (!(known as readonly string[]).includes(name)) {
        new Field(undefined, this.file, path(name)).fail('is not a field of a scenario', suggestion(name, known))
      }
    }
    return Object.fromEntries(
      known.map((name) => [name, new Field(Object.hasOwn(map, name) ? map[name] : undefined, this.file, path(name))]),
    ) as Record<Name, Field>
  }

  /** The one field of a map that says which of several it is. */
  choice<Name extends string>(known: readonly Name[]): [Name, Field] {
    const given = Object.entries(this.map(known)).filter(([, field]) => !(field as Field).missing) as [Name, Field][]
    if (given.length !== 1) this.fail(`must have exactly one of ${known.join(', ')}`)
    return given[0]!
  }

  /** The items of a list; a single value counts as a list of one. */
  list(): Field[] {
    const items = Array.isArray(this.value) ? (this.value as unknown[]) : [this.value]
    if (this.missing || items.length === 0) this.fail('must have at least one entry')
    return items.map(
      (item, i) => new Field(item, this.file, Array.isArray(this.value) ? `${this.path}[${i}]` : this.path),
    )
  }

  text(): string {
    if (typeof this.value === 'string' && this.value !== '') return this.value
    return this.fail(this.missing ? 'is missing' : 'must be text')
  }

  textOr(otherwise: string): string {
    return this.missing ? otherwise : this.text()
  }

  oneOf<T extends string>(values: readonly T[]): T {
    if ((values as readonly unknown[]).includes(this.value)) return this.value as T
    return this.fail(
      `must be one of ${values.join(', ')}`,
      typeof this.value === 'string' ? suggestion(this.value, values) : '',
    )
  }

  number(least: number, most: number = Number.MAX_VALUE): number {
    if (typeof this.value === 'number' && this.value >= least && this.value <= most) return this.value
    const range = most === Number.MAX_VALUE ? `of at least ${least}` : `from ${least} to ${most}`
    return this.fail(this.missing ? 'is missing' : `must be a number ${range}`)
  }

  integer(least: number, most: number = Number.MAX_SAFE_INTEGER): number {
    const value = this.number(least, most)
    return Number.isInteger(value) ? value : this.fail('must be a whole number')
  }

  /** Seconds: `250us`, `10ms`, `60s`, `70m`, `1h30m`; a number alone is seconds. */
  duration(): number {
    return this.withUnit(DURATION_UNITS, 'a duration such as 10ms, 60s or 70m')
  }

  /** In the unit of the quantity: seconds, bytes, or a number. */
  quantity(quantity: Quantity): number {
    if (quantity === 'duration') return this.duration()
    if (quantity === 'size') return this.withUnit(SIZE_UNITS, 'a size such as 512, 16KiB or 2MB')
    return this.number(0)
  }

  /** A constant, a profile's name (sizes only), or a map that names the kind of distribution. */
  distribution(quantity: Quantity): Distribution {
    const { value } = this
    if (typeof value === 'string' && quantity === 'size' && !/^\d/.test(value)) return this.profile()
    if (typeof value === 'string' || typeof value === 'number') {
      return { kind: 'constant', value: this.quantity(quantity) }
    }
    const kinds = ['constant', 'uniform', 'exponential', 'lognormal', 'profile', 'mixture'] as const
    const [kind, field] = this.choice(kinds)
    switch (kind) {
      case 'constant':
        return { kind, value: field.quantity(quantity) }
      case 'uniform': {
        const bounds = field.list()
        if (bounds.length !== 2) field.fail('must be [from, to]')
        const [from, to] = bounds.map((bound) => bound.quantity(quantity)) as [number, number]
        return to >= from ? { kind, from, to } : field.fail('must be [from, to] with from not above to')
      }
      case 'exponential':
        return { kind, mean: field.map(['mean']).mean.quantity(quantity) }
      case 'lognormal': {
        const { median, sigma } = field.map(['median', 'sigma'])
        return { kind, median: median.quantity(quantity), sigma: sigma.number(0, 5) }
      }
      case 'profile':
        return quantity === 'size' ? field.profile() : field.fail('is a distribution of sizes, not of this')
      case 'mixture':
        return {
          kind,
          parts: field.list().map((part) => {
            const { weight, of } = part.map(['weight', 'of'])
            return { weight: weight.number(1e-9), of: of.distribution(quantity) }
          }),
        }
    }
  }

  private profile(): Distribution {
    const name = this.oneOf(Object.keys(PROFILES))
    return { kind: 'profile', name }
  }

  private withUnit(units: Readonly<Record<string, number>>, what: string): number {
    if (typeof this.value === 'number') return this.number(0)
    const parts = typeof this.value === 'string' ? [...this.value.matchAll(/(\d+(?:\.\d+)?)([a-zµA-Z]+|$)/g)] : []
    const whole = parts.map(([part]) => part).join('') === this.value && parts.length > 0
    if (!whole) return this.fail(this.missing ? 'is missing' : `must be ${what}`)
    return parts.reduce((sum, [, digits, unit]) => {
      const factor = unit === '' ? 1 : units[unit!]
      return factor === undefined ? this.fail(`must be ${what}`) : sum + Number(digits) * factor
    }, 0)
  }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
