/**
 * CoreDNS' `view` plugin: an expression that a question has to meet to be this server block's.
 *
 * Of the expression language what Corefiles use is read: `type()`, `name()`, `client_ip()`, `class()`, `proto()`,
 * `metadata(LABEL)` of the kubernetes plugin, `incidr(IP, CIDR)`, texts, lists, `== != in matches contains startsWith endsWith`,
 * `not ! and && or ||` and brackets. Whoever asks from an unknown address is in no range and has no metadata.
 * Source: coredns/coredns plugin/view, plugin/pkg/expression, plugin/kubernetes/metadata.go; expr-lang/expr, language definition.
 */
import ipaddr from 'ipaddr.js'
import { parseAddress } from './domain-names.ts'
import { goRegExp } from './match.ts'

/** What expressions can ask about a question. */
export interface ViewQuestion {
  /** Absolute, as asked. */
  readonly qname: string
  readonly qtype: string
  /** '' where it is not known. */
  readonly client: string
  /** Of the client's pod, with `metadata` and `pods verified` in the block; '' where there is none. */
  readonly metadata: (label: string) => string
}

export type View = (question: ViewQuestion) => boolean

type Value = string | boolean | number | readonly Value[]
type Term = (question: ViewQuestion) => Value
type Operator = (a: Value, b: Value, line: number) => Value

class NotRead extends Error {}

const OPERATORS: Readonly<Record<string, Operator>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  in: (a, b) => Array.isArray(b) && b.includes(a),
  contains: (a, b) => String(a).includes(String(b)),
  startsWith: (a, b) => String(a).startsWith(String(b)),
  endsWith: (a, b) => String(a).endsWith(String(b)),
  matches: (a, b, line) => goRegExp(String(b), line).test(String(a)),
}
const FUNCTIONS: Readonly<Record<string, (question: ViewQuestion, args: readonly Value[]) => Value>> = {
  type: ({ qtype }) => qtype,
  name: ({ qname }) => qname,
  class: () => 'IN',
  proto: () => 'udp',
  client_ip: ({ client }) => (client.includes(':') ? `[${client}]` : client),
  metadata: ({ metadata }, [label]) => metadata(String(label)),
  incidr: (_question, [address, cidr]) => isIn(String(address).replace(/^\[(.*)\]$/, '$1'), String(cidr)),
}
const TOKEN = /\s*(?:('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(\d+)|([A-Za-z_]\w*)|(==|!=|&&|\|\||[!()[\],]))/y

/** @returns  null for an expression that is not read here */
export function parseView(expression: string, line: number): View | null {
  try {
    const read = new Reader(tokensOf(expression), line).whole()
    return (question) => read(question) === true
  } catch (error) {
    if (error instanceof NotRead) return null
    throw error
  }
}

function tokensOf(text: string): string[] {
  const tokens: string[] = []
  TOKEN.lastIndex = 0
  while (TOKEN.lastIndex < text.trimEnd().length) {
    const found = TOKEN.exec(text)
    if (found === null) throw new NotRead()
    tokens.push(found[0].trim())
  }
  return tokens
}

/** Recursive descent: or, and, not, comparison, value. */
class Reader {
  private at = 0
  private depth = 0
  private readonly tokens: readonly string[]
  private readonly line: number

  constructor(tokens: readonly string[], line: number) {
    this.tokens = tokens
    this.line = line
  }

  whole(): Term {
    const term = this.either()
    if (this.at < this.tokens.length) throw new NotRead()
    return term
  }

  private either(): Term {
    if (++this.depth > 50) throw new NotRead()
    let left = this.both()
    while (this.take('||', 'or')) {
      const [a, b] = [left, this.both()]
      left = (question) => a(question) === true || b(question) === true
    }
    this.depth--
    return left
  }

  private both(): Term {
    let left = this.negated()
    while (this.take('&&', 'and')) {
      const [a, b] = [left, this.negated()]
      left = (question) => a(question) === true && b(question) === true
    }
    return left
  }

  private negated(): Term {
    let negations = 0
    while (this.take('!', 'not')) negations++
    const term = this.comparison()
    return negations % 2 === 0 ? term : (question) => term(question) !== true
  }

  private comparison(): Term {
    const left = this.value()
    const isNot = this.tokens[this.at] === 'not'
    const word = this.tokens[this.at + (isNot ? 1 : 0)] ?? ''
    const operator = Object.hasOwn(OPERATORS, word) ? OPERATORS[word] : undefined
    if (operator === undefined) return left
    this.at += isNot ? 2 : 1
    const right = this.value()
    const { line } = this
    // A pattern that is none is found where it is read, not where it is used.
    if (word === 'matches') operator('', right({ qname: '', qtype: '', client: '', metadata: () => '' }), line)
    return (question) => (operator(left(question), right(question), line) === true) !== isNot
  }

  private value(): Term {
    const token = this.tokens[this.at++]
    if (token === undefined) throw new NotRead()
    if (token === '(') {
      const inner = this.either()
      if (!this.take(')')) throw new NotRead()
      return inner
    }
    if (token === '[') {
      const items = this.list(']')
      return (question) => items.map((item) => item(question))
    }
    if (/^['"]/.test(token)) {
      const text = token.slice(1, -1).replace(/\\(.)/g, '$1')
      return () => text
    }
    if (/^\d/.test(token)) return () => Number(token)
    if (token === 'true' || token === 'false') return () => token === 'true'
    const called = Object.hasOwn(FUNCTIONS, token) ? FUNCTIONS[token] : undefined
    if (called === undefined || !this.take('(')) throw new NotRead()
    const args = this.list(')')
    return (question) =>
      called(
        question,
        args.map((arg) => arg(question)),
      )
  }

  private list(end: string): Term[] {
    const items: Term[] = []
    while (!this.take(end)) {
      if (items.length > 0 && !this.take(',')) throw new NotRead()
      items.push(this.either())
    }
    return items
  }

  private take(...words: readonly string[]): boolean {
    if (!words.includes(this.tokens[this.at] ?? '')) return false
    this.at++
    return true
  }
}

function isIn(address: string, cidr: string): boolean {
  const parsed = parseAddress(address)
  if (parsed === null || !ipaddr.isValidCIDR(cidr)) return false
  const [own, range] = [ipaddr.parse(parsed.text), ipaddr.parseCIDR(cidr)]
  return own.kind() === range[0].kind() && own.match(range)
}
