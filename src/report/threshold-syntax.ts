/**
 * The grammar of a threshold expression, without knowledge of what fields there are; see `threshold.ts`.
 *
 * Cost: one pass over the text, no backtracking.
 */
import { UserError } from '../errors.ts'
import type { Operator } from './threshold.ts'

export interface Filter {
  readonly key: string
  readonly value: string
}

export type EndpointSelector =
  | { readonly kind: 'all' }
  | { readonly kind: 'index'; readonly index: number }
  | { readonly kind: 'filter'; readonly filters: readonly Filter[] }

export interface Segment {
  readonly name: string
  readonly selector: EndpointSelector | null
}

export interface ScannedThreshold {
  readonly path: readonly Segment[]
  readonly operator: Operator
  readonly right: ScannedNumber | ScannedField
}

export interface ScannedNumber {
  readonly kind: 'number'
  readonly number: number
  /** As written; '' where there is none. */
  readonly unit: string
}

/** Another field, `1.2 * cluster.p99`. */
export interface ScannedField {
  readonly kind: 'field'
  readonly factor: number
  readonly path: readonly Segment[]
}

const NAME = /[A-Za-z_][\w-]*/y
/** Inside of another, a field may be a status. */
const INNER_NAME = /[A-Za-z_][\w-]*|\d+/y
const INDEX = /\d{1,9}/y
const OPERATOR = /<=|>=|==|!=|<|>/y
const NUMBER = /[+-]?(?:\d+(?:_\d+)*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y
const UNIT = /%|[A-Za-zµμ]+/y
const SPACE = /\s*/y

/** For messages. */
export interface Wording {
  /** That expressions are given with. */
  readonly flag: string
  readonly example: string
}

/**
 * @throws UserError `E_THRESHOLD`, exit code 2, with the place in the text
 */
export function scanThreshold(text: string, wording: Wording): ScannedThreshold {
  const scanner = new Scanner(text, wording)
  const path = readPath(scanner)
  const operator = scanner.need(OPERATOR, 'one of < <= > >= == !=') as Operator
  const right = readRight(scanner)
  scanner.end()
  return { path, operator, right }
}

function readPath(scanner: Scanner): Segment[] {
  const path = [readSegment(scanner, NAME)]
  while (scanner.skip('.')) path.push(readSegment(scanner, INNER_NAME))
  return path
}

function readRight(scanner: Scanner): ScannedNumber | ScannedField {
  const digits = scanner.take(NUMBER)
  if (digits === null) {
    if (!scanner.sees(NAME)) throw scanner.refuse('a number or a field')
    return { kind: 'field', factor: 1, path: readPath(scanner) }
  }
  const number = Number(digits.replaceAll('_', ''))
  if (!Number.isFinite(number)) throw scanner.refuse('a number that is not too large')
  const unit = scanner.take(UNIT) ?? ''
  if (!scanner.skip('*')) return { kind: 'number', number, unit }
  if (unit !== '' && unit !== '%') throw scanner.refuse('a factor without a unit before *')
  return { kind: 'field', factor: unit === '%' ? number / 100 : number, path: readPath(scanner) }
}

function readSegment(scanner: Scanner, kind: RegExp): Segment {
  const name = scanner.need(kind, 'a field name')
  if (!scanner.skip('[')) return { name, selector: null }
  const selector = readSelector(scanner)
  if (!scanner.skip(']')) throw scanner.refuse(']')
  return { name, selector }
}

function readSelector(scanner: Scanner): EndpointSelector {
  if (scanner.skip('*')) return { kind: 'all' }
  const index = scanner.take(INDEX)
  if (index !== null) return { kind: 'index', index: Number(index) }
  const filters: Filter[] = []
  do {
    const key = scanner.need(NAME, '*, a number or key=value')
    if (!scanner.skip('=')) throw scanner.refuse('=')
    // `==` is what people write who think of the operator.
    scanner.skip('=')
    filters.push({ key, value: scanner.filterValue() })
  } while (scanner.skip(','))
  return { kind: 'filter', filters }
}

class Scanner {
  readonly #text: string
  readonly #wording: Wording
  #at = 0

  constructor(text: string, wording: Wording) {
    this.#text = text
    this.#wording = wording
  }

  /** The next token if it is of this kind. Space before it does not count. */
  take(kind: RegExp): string | null {
    this.#skipSpace()
    kind.lastIndex = this.#at
    const match = kind.exec(this.#text)
    if (match === null) return null
    this.#at = kind.lastIndex
    return match[0]
  }

  /** Whether the next token is of this kind; it stays. */
  sees(kind: RegExp): boolean {
    const at = this.#at
    const found = this.take(kind) !== null
    this.#at = at
    return found
  }

  need(kind: RegExp, what: string): string {
    const token = this.take(kind)
    if (token === null) throw this.refuse(what)
    return token
  }

  skip(letter: string): boolean {
    this.#skipSpace()
    if (this.#text[this.#at] !== letter) return false
    this.#at++
    return true
  }

  /** Up to the `,` or `]` that ends it; brackets inside it are counted, as in `[2001:db8::1]:80`; or quoted. */
  filterValue(): string {
    this.#skipSpace()
    const quote = this.#text[this.#at]
    if (quote === '"' || quote === "'") return this.#quoted(quote)
    const start = this.#at
    let depth = 0
    while (this.#at < this.#text.length) {
      const letter = this.#text[this.#at]!
      if (depth === 0 && (letter === ',' || letter === ']')) break
      if (letter === '[') depth++
      if (letter === ']') depth--
      this.#at++
    }
    const value = this.#text.slice(start, this.#at).trim()
    if (value === '') throw this.refuse('a value')
    return value
  }

  end(): void {
    this.#skipSpace()
    if (this.#at < this.#text.length) throw this.refuse('the end')
  }

  refuse(expected: string): UserError {
    const rest = this.#text.slice(this.#at, this.#at + 20)
    const found = rest === '' ? 'the end' : `'${rest}'`
    return new UserError(
      'E_THRESHOLD',
      `${this.#wording.flag} '${this.#text.trim()}': expected ${expected} at column ${this.#at + 1}, found ${found}`,
      { hint: `for example: ${this.#wording.example}`, exitCode: 2 },
    )
  }

  #quoted(quote: string): string {
    const start = this.#at + 1
    const end = this.#text.indexOf(quote, start)
    if (end < 0) throw this.refuse(`a closing ${quote}`)
    this.#at = end + 1
    return this.#text.slice(start, end)
  }

  #skipSpace(): void {
    SPACE.lastIndex = this.#at
    SPACE.exec(this.#text)
    this.#at = SPACE.lastIndex
  }
}
