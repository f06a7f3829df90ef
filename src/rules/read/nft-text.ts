/**
 * `nft list ruleset`, and what `nft -f` reads: kube-proxy's tables → Programs, one a family.
 *
 * Words, strings and braces are taken apart by hand; other tables are passed over as balanced braces, whatever they hold. Both ways of
 * writing are read: blocks (`chain x { … }`) and commands (`add rule ip kube-proxy x …`). Statements are those of kube-proxy 1.31 to
 * 1.35 with nft's variants of printing them; anything else in a rule is unknown. Source: nft(8), and listings of nft 1.0 to 1.1.
 */
import { UserError } from '../../errors.ts'
import type { Family } from '../node-rules.ts'
import { dnatTarget, isLocalType, keyText, matchesOf, stateText, type Token, tokenize } from './nft-words.ts'
import {
  chainOf,
  type Field,
  type Hook,
  type Match,
  newProgram,
  newSet,
  numberOf,
  type Program,
  parseInterval,
  type Rule,
  type Statement,
  secondsOf,
  type Verdict,
} from './program.ts'

const KUBE_PROXY = 'kube-proxy'
const PRIORITIES: Readonly<Record<string, number>> = {
  raw: -300,
  mangle: -150,
  dstnat: -100,
  filter: 0,
  security: 50,
  srcnat: 100,
}

/** @throws UserError `E_DUMP`  where braces do not close, or a name is missing */
export function readNft(text: string, file: string, firstLine = 1): Program[] {
  return new Reader(tokenize(text, file, firstLine), file).read()
}

class Reader {
  private readonly tokens: readonly Token[]
  private readonly file: string
  private readonly programs = new Map<Family, Program>()
  private at = 0

  constructor(tokens: readonly Token[], file: string) {
    this.tokens = tokens
    this.file = file
  }

  read(): Program[] {
    while (this.at < this.tokens.length) {
      const word = this.take()
      if (word === ';') continue
      if (word === 'table') this.table()
      else if (word === 'add' || word === 'create') this.command()
      else this.skipStatement()
    }
    return [...this.programs.values()]
  }

  private peek(ahead = 0): string {
    const token = this.tokens[this.at + ahead]
    return token === undefined ? '' : token.quoted ? `"${token.text}"` : token.text
  }

  private line(): number {
    return (this.tokens[this.at] ?? this.tokens.at(-1))?.line ?? 1
  }

  private take(): string {
    const token = this.tokens[this.at]
    if (token === undefined) this.fail('the dump ends in the middle of something')
    this.at++
    return token!.text
  }

  private fail(what: string): never {
    throw new UserError('E_DUMP', what, { where: `${this.file}, line ${this.line()}` })
  }

  private expect(word: string): void {
    while (word !== ';' && this.peek() === ';') this.at++
    const found = this.take()
    if (found !== word) this.fail(`'${word}' was expected, not '${found.slice(0, 60)}'`)
  }

  /** To the end of the statement, with all braces in it. */
  private skipStatement(): void {
    let depth = 0
    while (this.at < this.tokens.length) {
      const word = this.peek()
      if (depth === 0 && (word === ';' || word === '}')) return
      if (word === '{') depth++
      if (word === '}' && --depth === 0) {
        this.at++
        return
      }
      this.at++
    }
    if (depth > 0) this.fail('a brace is not closed')
  }

  /** The program of a table that is kube-proxy's, else null. */
  private programOf(family: string, table: string): Program | null {
    if (table !== KUBE_PROXY || (family !== 'ip' && family !== 'ip6')) return null
    const of: Family = family === 'ip' ? 'IPv4' : 'IPv6'
    const known = this.programs.get(of)
    if (known !== undefined) return known
    const made = newProgram('nft', of, this.file)
    this.programs.set(of, made)
    return made
  }

  private table(): void {
    const family = this.take()
    const table = this.take()
    // `table ip x`, to be sure that it is there, has no block.
    const program = this.peek() === '{' ? this.programOf(family, table) : null
    if (program === null) {
      this.skipStatement()
      return
    }
    this.at++
    for (;;) {
      const word = this.take()
      if (word === ';') continue
      if (word === '}') return
      if (word === 'chain') this.chain(program, this.take())
      else if (word === 'set' || word === 'map') this.collection(program, word, this.take())
      else this.skipStatement()
    }
  }

  /** After `add`: table, chain, set, map, rule or element of a family and a table. */
  private command(): void {
    const what = this.take()
    if (what === 'table') {
      this.programOf(this.take(), this.take())
      this.skipStatement()
      return
    }
    const isKnown = ['chain', 'set', 'map', 'rule', 'element'].includes(what)
    const program = isKnown ? this.programOf(this.take(), this.take()) : null
    if (program === null) {
      this.skipStatement()
      return
    }
    const name = this.take()
    if (what === 'chain') {
      if (this.peek() === '{') this.chain(program, name)
      else chainOf(program, name)
    } else if (what === 'set' || what === 'map') this.collection(program, what, name)
    else if (what === 'rule') chainOf(program, name).rules.push(this.rule())
    else this.elements(program, name)
  }

  private chain(program: Program, name: string): void {
    const chain = chainOf(program, name)
    this.expect('{')
    for (;;) {
      const word = this.peek()
      if (word === ';') {
        this.at++
        continue
      }
      if (word === '}') {
        this.at++
        return
      }
      if (word === '') this.fail('a chain is not closed')
      if (word === 'type' && this.peek(2) === 'hook') {
        this.at++
        const type = this.take()
        this.at++
        const hook = this.take() as Hook
        chain.base = { type, hook, priority: this.priority() }
        this.skipStatement()
      } else if (word === 'policy' || word === 'comment' || word === 'flags') this.skipStatement()
      else chain.rules.push(this.rule())
    }
  }

  /** `priority dstnat - 10`, `priority -110` */
  private priority(): number {
    if (this.peek() !== 'priority') return 0
    this.at++
    const first = this.take()
    const base = PRIORITIES[first] ?? Number(first)
    const sign = this.peek()
    if (sign !== '+' && sign !== '-') return Number.isFinite(base) ? base : 0
    this.at++
    const more = Number(this.take())
    return sign === '+' ? base + more : base - more
  }

  private collection(program: Program, what: string, name: string): void {
    const set = newSet()
    if (what === 'set') program.sets.set(name, set)
    else program.maps.set(name, new Map())
    // `add set ip kube-proxy x { … }` and the block have the same inside.
    this.expect('{')
    for (;;) {
      const word = this.take()
      if (word === '}') return
      if (word === 'timeout') set.timeoutSeconds = secondsOf(this.take()) || 0
      else if (word === 'elements') {
        this.expect('=')
        this.elements(program, name)
      } else if (word !== ';') this.skipStatement()
    }
  }

  /** `{ a . b : goto c, … }`; what stands about an element (timeout, expires, counter, comment) says nothing here. */
  private elements(program: Program, name: string): void {
    for (const { key, verdict } of this.braced()) {
      const map = program.maps.get(name)
      if (map !== undefined) {
        if (verdict !== null) map.set(key, verdict)
        continue
      }
      const set = program.sets.get(name)
      if (set === undefined) continue
      const interval = parseInterval(key)
      if (interval !== null && interval.first !== interval.last) set.intervals.push(interval)
      else set.members.add(key)
    }
  }

  private braced(): { key: string; verdict: Verdict | null }[] {
    this.expect('{')
    const found: { key: string; verdict: Verdict | null }[] = []
    let key: string[] = []
    let verdict: Verdict | null = null
    let isKey = true
    for (;;) {
      const word = this.take()
      if (word === ';') continue
      if (word === ',' || word === '}') {
        if (key.length > 0) found.push({ key: keyText(key), verdict })
        key = []
        verdict = null
        isKey = true
        if (word === '}') return found
      } else if (word === ':') {
        isKey = false
        verdict = this.verdict()
        if (verdict === null) this.take()
      } else if (['comment', 'timeout', 'expires', 'counter'].includes(word)) {
        isKey = false
        if (word === 'counter') this.at += 4
        else this.take()
      } else if (isKey && word !== '.') key.push(word)
    }
  }

  private verdict(): Verdict | null {
    const word = this.peek()
    switch (word) {
      case 'jump':
      case 'goto':
        this.at++
        return { kind: word, chain: this.take() }
      case 'accept':
      case 'drop':
      case 'return':
        this.at++
        return { kind: word }
      default:
        return null
    }
  }

  /** To the end of the line. */
  private rule(): Rule {
    const line = this.line()
    const steps: (Match | Statement)[] = []
    let comment = ''
    for (;;) {
      const word = this.peek()
      if (word === ';' || word === '}' || word === '') break
      if (word === 'comment') {
        this.at++
        comment = this.take()
        continue
      }
      steps.push(...this.step())
    }
    return { steps, comment, line }
  }

  private step(): (Match | Statement)[] {
    const verdict = this.verdict()
    if (verdict !== null) return [verdict]
    const start = this.at
    const first = this.take()
    const key = this.key(first)
    if (key !== null) return this.match(key)
    switch (first) {
      case 'counter':
        while (this.peek() === 'packets' || this.peek() === 'bytes') this.at += 2
        return [{ kind: 'no-op' }]
      case 'log':
      case 'notrack':
      case 'flow':
        this.skipStatement()
        return [{ kind: 'no-op' }]
      case 'reject':
        return [this.reject()]
      case 'masquerade':
        while (/^(fully-random|random|persistent)/.test(this.peek())) {
          this.at++
          if (this.peek() === ',') this.at++
        }
        return [{ kind: 'masquerade' }]
      case 'update':
      case 'add': {
        const list = this.take().replace(/^@/, '')
        if (this.peek() === '{') this.braced()
        return [{ kind: 'remember', list }]
      }
      case 'mark':
        return this.mark()
      case 'meta':
        if (this.peek() === 'mark') {
          this.at++
          return this.mark()
        }
        break
      case 'ct':
        if (this.peek() === 'state') {
          this.at++
          return [this.state()]
        }
        // Counts of a connection's packets and bytes (offloading to a flowtable): no first packet has any.
        if (this.peek() === 'packets' || this.peek() === 'bytes') {
          this.at += 3
          return [{ kind: 'state', states: new Set(['established']), not: false }]
        }
        break
      case 'fib':
        return [this.fib(start)]
      case 'numgen':
        return [this.draw(start)]
      case 'iifname': {
        const not = this.not()
        const name = this.take()
        return [{ kind: 'interface', name: name.replace(/\*$/, ''), isPrefix: name.endsWith('*'), not }]
      }
      case 'dnat':
        return [this.dnat(start)]
      default:
    }
    return this.unknown(start)
  }

  /** The rest of the rule is not understood, so nothing of it is guessed. */
  private unknown(start: number): (Match | Statement)[] {
    const line = this.tokens[start]!.line
    while (![';', '}', ''].includes(this.peek())) {
      if (this.peek() === '{') this.braced()
      else this.at++
    }
    const text = this.tokens
      .slice(start, this.at)
      .map((token) => token.text)
      .join(' ')
    return [{ kind: 'unknown', text: `${text.slice(0, 100)} (line ${line})` }]
  }

  private not(): boolean {
    const word = this.peek()
    if (word === '!=' || word === '==') this.at++
    return word === '!='
  }

  /** `ip daddr . meta l4proto . th dport`; null where the words are no key. */
  private key(first: string): Field[] | null {
    const field = this.field(first)
    if (field === null) return null
    const fields = [field]
    while (this.peek() === '.') {
      this.at++
      const next = this.field(this.take())
      if (next === null) this.fail('a key of fields that are not known')
      fields.push(next)
    }
    return fields
  }

  private field(first: string): Field | null {
    const second = this.peek()
    const found: Field | null =
      first === 'ip' || first === 'ip6'
        ? second === 'saddr'
          ? 'source'
          : second === 'daddr'
            ? 'destination'
            : second === 'protocol' || second === 'nexthdr'
              ? 'protocol'
              : null
        : first === 'meta' && second === 'l4proto'
          ? 'protocol'
          : ['th', 'tcp', 'udp', 'sctp'].includes(first) && second === 'dport'
            ? 'port'
            : null
    if (found !== null) this.at++
    if (found === 'port' && first !== 'th') this.impliedProtocol = first
    return found
  }

  private impliedProtocol = ''

  private match(fields: readonly Field[]): (Match | Statement)[] {
    const implied = this.impliedProtocol
    this.impliedProtocol = ''
    const before: Match[] = implied === '' ? [] : [{ kind: 'protocol', protocols: new Set([implied]), not: false }]
    if (this.peek() === 'vmap') {
      this.at++
      const name = this.peek()
      if (name.startsWith('@')) {
        this.at++
        return [...before, { kind: 'choose', fields, map: name.slice(1) }]
      }
      const map = new Map<string, Verdict>()
      for (const { key, verdict } of this.braced()) if (verdict !== null) map.set(key, verdict)
      return [...before, { kind: 'choose', fields, map }]
    }
    const not = this.not()
    if (this.peek().startsWith('@')) return [...before, { kind: 'member', set: this.take().slice(1), fields, not }]
    const values = this.peek() === '{' ? this.braced().map(({ key }) => key) : [this.take()]
    return [...before, ...matchesOf(fields, values, not)]
  }

  private mark(): (Match | Statement)[] {
    const start = this.at - 1
    if (this.peek() === 'set') {
      this.at++
      if (this.peek() === 'meta') this.at++
      if (this.peek() !== 'mark') {
        const value = numberOf(this.take())
        return [{ kind: 'mark-as', keep: 0, flip: value | 0 }]
      }
      this.at++
      const operator = this.take()
      const value = numberOf(this.take()) | 0
      if (operator === '|' || operator === 'or') return [{ kind: 'mark-as', keep: ~value, flip: value }]
      if (operator === '^' || operator === 'xor') return [{ kind: 'mark-as', keep: -1, flip: value }]
      if (operator === '&' || operator === 'and') return [{ kind: 'mark-as', keep: value, flip: 0 }]
      return this.unknown(start)
    }
    let mask = -1
    if (this.peek() === '&' || this.peek() === 'and') {
      this.at++
      mask = numberOf(this.take()) | 0
    }
    const not = this.not()
    const value = numberOf(this.peek())
    if (Number.isNaN(value)) return this.unknown(start)
    this.at++
    return [{ kind: 'mark', mask, value: value | 0, not }]
  }

  private state(): Match {
    const not = this.not()
    const states: string[] = []
    if (this.peek() === '{') for (const { key } of this.braced()) states.push(key)
    else {
      states.push(this.take())
      while (this.peek() === ',') {
        this.at++
        states.push(this.take())
      }
    }
    return { kind: 'state', states: new Set(states.map(stateText)), not }
  }

  private reject(): Statement {
    if (this.peek() !== 'with') return { kind: 'reject', with: 'port-unreachable' }
    this.at++
    const first = this.take()
    if (first === 'tcp') this.at++
    if (first === 'tcp') return { kind: 'reject', with: 'tcp-reset' }
    if (this.peek() === 'type') this.at++
    return { kind: 'reject', with: this.take() }
  }

  private fib(start: number): Match {
    const side = this.take()
    const what = this.take()
    const not = this.not()
    const value = this.take()
    if ((side !== 'saddr' && side !== 'daddr') || what !== 'type' || !isLocalType(value)) {
      return this.unknown(start)[0] as Match
    }
    return { kind: 'local', of: side === 'saddr' ? 'source' : 'destination', not }
  }

  /** `numgen random mod 3 vmap { 0 : goto a, 1-2 : goto b }` */
  private draw(start: number): Match | Statement {
    const kind = this.take()
    if (kind !== 'random' || this.peek() !== 'mod') return this.unknown(start)[0]!
    this.at++
    const modulus = Number(this.take())
    if (this.peek() !== 'vmap' || !(modulus > 0)) return this.unknown(start)[0]!
    this.at++
    const verdicts = this.braced().flatMap(({ key, verdict }) => {
      const [first, last = first] = key.split('-')
      return verdict === null ? [] : [[Number(first), Number(last), verdict] as const]
    })
    return { kind: 'draw', modulus, verdicts }
  }

  private dnat(start: number): Match | Statement {
    while (['ip', 'ip6', 'to'].includes(this.peek())) this.at++
    const to = dnatTarget(this.take())
    return to ?? this.unknown(start)[0]!
  }
}
