/**
 * Regular expressions of location paths, matched in linear time.
 *
 * A path in a manifest is somebody else's text, and a backtracking engine can be made to run for years by `(a+)+$`.
 * This one compiles to a small program and steps all its threads through the text at once (Pike's machine), so a match
 * costs at most program length × text length, whatever the pattern. Priorities are those of Perl and PCRE: leftmost
 * match, earlier alternative, greedy unless `?` follows.
 *
 * Understood: what RE2 and PCRE share: literals, `.`, classes, groups, `|`, `* + ? {n,m}`, `^ $ \b \B`, `\d \w \s`;
 * and of PCRE look-ahead and look-behind, whose answers at all places of a text are found in one pass over it.
 * Refused with a reason: back references, groups in a look-around that has to match, possessive and atomic groups, flags other than `i`, programs
 * over MAX_PROGRAM instructions. Always without regard to case, because nginx's `~*` and `(?i)` are the only users.
 *
 * Source: Russ Cox, "Regular Expression Matching: the Virtual Machine Approach"; RE2's syntax page for the subset.
 */

export interface LinearRegex {
  readonly source: string
  /** Number of capturing groups. */
  readonly groupCount: number
  /**
   * @param text     what to search
   * @param anchored true: the match must begin at the first character
   * @returns        `[whole, group 1, …]`, '' for a group that took no part; null where nothing matches
   */
  exec(text: string, anchored: boolean): readonly string[] | null
}

export type RegexOutcome =
  | { readonly ok: true; readonly regex: LinearRegex }
  | { readonly ok: false; readonly problem: string }

/** With paths of at most 8 KiB this bounds a match to some ten million steps. */
const MAX_PROGRAM = 2000
/** Deeper nesting than this is nobody's path, and the parser recurses. */
const MAX_DEPTH = 100
/** RE2's own bound on `{n,m}`. */
const MAX_REPEAT = 1000

type CharTest = (code: number) => boolean
type Node =
  | { readonly kind: 'char'; readonly test: CharTest }
  | { readonly kind: 'assert'; readonly test: PositionTest }
  | { readonly kind: 'sequence'; readonly parts: readonly Node[] }
  | { readonly kind: 'choice'; readonly options: readonly Node[] }
  | { readonly kind: 'capture'; readonly index: number; readonly body: Node }
  | {
      readonly kind: 'repeat'
      readonly body: Node
      readonly min: number
      readonly max: number
      readonly greedy: boolean
    }
type PositionTest = (text: string, at: number) => boolean

type Instruction =
  | { op: 'char'; test: CharTest }
  | { op: 'assert'; test: PositionTest }
  | { op: 'split'; first: number; second: number }
  | { op: 'jump'; to: number }
  | { op: 'save'; slot: number }
  | { op: 'match' }

class RegexProblem extends Error {}

/** Compile `source`. Errors: none thrown; a pattern outside the subset comes back with the reason. Cost: linear. */
export function compileRegex(source: string): RegexOutcome {
  try {
    const parser = new Parser(source)
    const tree = parser.parse()
    const program = assemble(tree)
    const groupCount = parser.groupCount
    return {
      ok: true,
      regex: { source, groupCount, exec: (text, anchored) => run(program, groupCount, text, anchored) },
    }
  } catch (error) {
    if (error instanceof RegexProblem) return { ok: false, problem: error.message }
    throw error
  }
}

// ---------------------------------------------------------------------------------------------- characters

const isDigit: CharTest = (c) => c >= 48 && c <= 57
const isLower: CharTest = (c) => c >= 97 && c <= 122
const isUpper: CharTest = (c) => c >= 65 && c <= 90
const isWord: CharTest = (c) => isDigit(c) || isLower(c) || isUpper(c) || c === 95
const isSpace: CharTest = (c) => c === 32 || (c >= 9 && c <= 13)
const not =
  (test: CharTest): CharTest =>
  (c) =>
    !test(c)

const CLASS_ESCAPES: Readonly<Record<string, CharTest>> = {
  d: isDigit,
  D: not(isDigit),
  w: isWord,
  W: not(isWord),
  s: isSpace,
  S: not(isSpace),
}
const CONTROL_ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, a: 7, e: 27 }
const POSIX_CLASSES: Readonly<Record<string, CharTest>> = {
  alnum: (c) => isDigit(c) || isLower(c) || isUpper(c),
  alpha: (c) => isLower(c) || isUpper(c),
  digit: isDigit,
  lower: isLower,
  upper: isUpper,
  space: isSpace,
  word: isWord,
  punct: (c) => c > 32 && c < 127 && !isDigit(c) && !isLower(c) && !isUpper(c),
  xdigit: (c) => isDigit(c) || (c >= 97 && c <= 102) || (c >= 65 && c <= 70),
}

/** ASCII case only, which is what nginx's PCRE does without UTF mode. */
const otherCase = (c: number): number => (isLower(c) ? c - 32 : isUpper(c) ? c + 32 : c)

function ignoringCase(test: CharTest): CharTest {
  return (c) => test(c) || test(otherCase(c))
}

const atWordEdge: PositionTest = (text, at) => {
  const before = at > 0 && isWord(text.charCodeAt(at - 1))
  const after = at < text.length && isWord(text.charCodeAt(at))
  return before !== after
}

// -------------------------------------------------------------------------------------------------- parser

class Parser {
  groupCount = 0
  private readonly source: string
  private at = 0
  private depth = 0

  constructor(source: string) {
    this.source = source
  }

  parse(): Node {
    const tree = this.choice()
    if (this.at < this.source.length) throw new RegexProblem(`unmatched ) at character ${this.at + 1}`)
    return tree
  }

  private choice(): Node {
    if (++this.depth > MAX_DEPTH) throw new RegexProblem(`groups nested deeper than ${MAX_DEPTH}`)
    const options = [this.sequence()]
    while (this.take('|')) options.push(this.sequence())
    this.depth--
    return options.length === 1 ? options[0]! : { kind: 'choice', options }
  }

  private sequence(): Node {
    const parts: Node[] = []
    while (this.at < this.source.length && !this.sees('|') && !this.sees(')')) parts.push(this.repeated(this.atom()))
    return { kind: 'sequence', parts }
  }

  private repeated(atom: Node): Node {
    const bounds = this.bounds()
    if (bounds === null) return atom
    if (this.sees('+')) throw new RegexProblem('possessive quantifiers are not supported')
    const greedy = !this.take('?')
    const repeat: Node = { kind: 'repeat', body: atom, ...bounds, greedy }
    if (this.sees('*') || this.sees('+') || this.sees('?')) throw new RegexProblem('a quantifier follows a quantifier')
    return repeat
  }

  private bounds(): { min: number; max: number } | null {
    if (this.take('*')) return { min: 0, max: Number.POSITIVE_INFINITY }
    if (this.take('+')) return { min: 1, max: Number.POSITIVE_INFINITY }
    if (this.take('?')) return { min: 0, max: 1 }
    const braces = /^\{(\d+)(,(\d*))?\}/.exec(this.source.slice(this.at, this.at + 16))
    if (braces === null) return null
    this.at += braces[0].length
    const min = Number(braces[1])
    const max = braces[2] === undefined ? min : braces[3] === '' ? Number.POSITIVE_INFINITY : Number(braces[3])
    if (min > MAX_REPEAT || (max > MAX_REPEAT && max !== Number.POSITIVE_INFINITY))
      throw new RegexProblem(`repeats over ${MAX_REPEAT} times`)
    if (max < min) throw new RegexProblem(`bad repeat ${braces[0]}`)
    return { min, max }
  }

  private atom(): Node {
    const char = this.source[this.at++]!
    switch (char) {
      case '(':
        return this.group()
      case '[':
        return { kind: 'char', test: this.charClass() }
      case '.':
        return { kind: 'char', test: (c) => c !== 10 }
      case '^':
        return { kind: 'assert', test: (_text, at) => at === 0 }
      case '$':
        return {
          kind: 'assert',
          test: (text, at) => at === text.length || (at === text.length - 1 && text.endsWith('\n')),
        }
      case '*':
      case '+':
      case '?':
        throw new RegexProblem(`nothing to repeat at character ${this.at}`)
      case '\\':
        return this.escapedAtom()
      default:
        return literal(char.charCodeAt(0))
    }
  }

  /** `(?=`, `(?!`, `(?<=`, `(?<!` behind its question mark; null for another group. */
  private lookAround(): Node | null {
    const [written, behind, sign] = /^(<?)([=!])/.exec(this.source.slice(this.at, this.at + 2)) ?? []
    if (written === undefined) return null
    this.at += written.length
    const groups = this.groupCount
    const body = this.choice()
    if (!this.take(')')) throw new RegexProblem('a group is not closed')
    const negative = sign === '!'
    if (!negative && this.groupCount > groups) throw new RegexProblem('a group in a look-around is not supported')
    return { kind: 'assert', test: lookAroundTest(body, behind === '', negative) }
  }

  private group(): Node {
    let index = 0
    if (this.take('?')) {
      const around = this.lookAround()
      if (around !== null) return around
      const flags = /^i?\)/.exec(this.source.slice(this.at, this.at + 2))
      if (flags !== null) {
        // `(?i)` asks for what is on already.
        this.at += flags[0].length
        return { kind: 'sequence', parts: [] }
      }
      const named = /^P?<([A-Za-z_]\w*)>/.exec(this.source.slice(this.at, this.at + 64))
      if (named !== null) {
        this.at += named[0].length
        index = ++this.groupCount
      } else if (!this.take(':')) {
        if (!this.source.startsWith('i:', this.at))
          throw new RegexProblem(`(?${this.source[this.at] ?? ''} is not supported`)
        this.at += 2
      }
    } else index = ++this.groupCount
    const body = this.choice()
    if (!this.take(')')) throw new RegexProblem('a group is not closed')
    return index === 0 ? body : { kind: 'capture', index, body }
  }

  private escapedAtom(): Node {
    const char = this.source[this.at]
    if (char === 'b' || char === 'B' || char === 'A' || char === 'z' || char === 'Z') {
      this.at++
      if (char === 'b') return { kind: 'assert', test: atWordEdge }
      if (char === 'B') return { kind: 'assert', test: (text, at) => !atWordEdge(text, at) }
      if (char === 'A') return { kind: 'assert', test: (_text, at) => at === 0 }
      return { kind: 'assert', test: (text, at) => at === text.length }
    }
    const meant = this.escape()
    return typeof meant === 'number' ? literal(meant) : { kind: 'char', test: meant }
  }

  /** What follows a backslash, inside or outside a class: one character or a set of them. */
  private escape(): number | CharTest {
    const char = this.source[this.at++]
    if (char === undefined) throw new RegexProblem('a backslash ends the pattern')
    const set = CLASS_ESCAPES[char]
    if (set !== undefined) return set
    const control = CONTROL_ESCAPES[char]
    if (control !== undefined) return control
    if (char === 'x') {
      const digits = /^(?:\{([0-9A-Fa-f]{1,4})\}|([0-9A-Fa-f]{2}))/.exec(this.source.slice(this.at, this.at + 6))
      if (digits === null) throw new RegexProblem('bad \\x escape')
      this.at += digits[0].length
      return Number.parseInt(digits[1] ?? digits[2]!, 16)
    }
    if (/[0-9]/.test(char)) throw new RegexProblem('back references are not supported')
    if (/[A-Za-z]/.test(char)) throw new RegexProblem(`\\${char} is not supported`)
    return char.charCodeAt(0)
  }

  private charClass(): CharTest {
    const negated = this.take('^')
    const tests: CharTest[] = []
    for (let first = true; ; first = false) {
      if (this.at >= this.source.length) throw new RegexProblem('a character class is not closed')
      if (!first && this.take(']')) break
      const from = this.classItem()
      if (typeof from !== 'number') {
        tests.push(from)
        continue
      }
      let to = from
      if (this.sees('-') && this.source[this.at + 1] !== ']' && this.at + 1 < this.source.length) {
        this.at++
        const end = this.classItem()
        if (typeof end !== 'number') throw new RegexProblem('a character class has a bad range')
        to = end
      }
      if (to < from) throw new RegexProblem('a character class has a range that runs backwards')
      tests.push((c) => c >= from && c <= to)
    }
    const any = ignoringCase((c) => tests.some((test) => test(c)))
    return negated ? not(any) : any
  }

  private classItem(): number | CharTest {
    if (this.take('\\')) {
      if (this.take('b')) return 8
      return this.escape()
    }
    const posix = /^\[:(\^?)(\w+):\]/.exec(this.source.slice(this.at, this.at + 16))
    if (posix !== null) {
      const test = POSIX_CLASSES[posix[2]!]
      if (test === undefined) throw new RegexProblem(`${posix[0]} is not supported`)
      this.at += posix[0].length
      return posix[1] === '^' ? not(test) : test
    }
    return this.source.charCodeAt(this.at++)
  }

  private sees(char: string): boolean {
    return this.source[this.at] === char
  }

  private take(char: string): boolean {
    if (!this.sees(char)) return false
    this.at++
    return true
  }
}

function literal(code: number): Node {
  const other = otherCase(code)
  return { kind: 'char', test: (c) => c === code || c === other }
}

// ------------------------------------------------------------------------------------- program and machine

function assemble(tree: Node): readonly Instruction[] {
  const program: Instruction[] = []
  const push = <T extends Instruction>(instruction: T): T => {
    if (program.length >= MAX_PROGRAM) throw new RegexProblem(`needs more than ${MAX_PROGRAM} steps`)
    program.push(instruction)
    return instruction
  }
  /** `greedy` tries the body first, otherwise what comes after it. The way out is filled in by `close`. */
  const open = (greedy: boolean) => {
    const split = push({ op: 'split', first: 0, second: 0 })
    const body = program.length
    return (out: number): void => {
      split.first = greedy ? body : out
      split.second = greedy ? out : body
    }
  }
  // Counts visits too: `(?:(?:){1000}){1000}` writes no instruction and would still take for ever.
  let visits = 0
  const emit = (node: Node): void => {
    if (++visits > MAX_PROGRAM * 4) throw new RegexProblem(`needs more than ${MAX_PROGRAM} steps`)
    switch (node.kind) {
      case 'char':
        push({ op: 'char', test: node.test })
        return
      case 'assert':
        push({ op: 'assert', test: node.test })
        return
      case 'sequence':
        for (const part of node.parts) emit(part)
        return
      case 'capture':
        push({ op: 'save', slot: node.index * 2 })
        emit(node.body)
        push({ op: 'save', slot: node.index * 2 + 1 })
        return
      case 'choice': {
        const ends: { op: 'jump'; to: number }[] = []
        node.options.forEach((option, i) => {
          if (i === node.options.length - 1) {
            emit(option)
            return
          }
          const close = open(true)
          emit(option)
          ends.push(push({ op: 'jump', to: 0 }))
          close(program.length)
        })
        for (const end of ends) end.to = program.length
        return
      }
      case 'repeat': {
        for (let i = 0; i < node.min; i++) emit(node.body)
        if (node.max === Number.POSITIVE_INFINITY) {
          const start = program.length
          const close = open(node.greedy)
          emit(node.body)
          push({ op: 'jump', to: start })
          close(program.length)
          return
        }
        const closers: ((out: number) => void)[] = []
        for (let i = node.min; i < node.max; i++) {
          closers.push(open(node.greedy))
          emit(node.body)
        }
        for (const close of closers) close(program.length)
      }
    }
  }
  emit(tree)
  push({ op: 'match' })
  return program
}

function withSlot(saved: readonly number[], slot: number, at: number): readonly number[] {
  const copy = saved.slice()
  copy[slot] = at
  return copy
}

/** Backwards and without captures. */
function reversed(node: Node): Node {
  switch (node.kind) {
    case 'sequence':
      return { kind: 'sequence', parts: node.parts.map(reversed).reverse() }
    case 'choice':
      return { kind: 'choice', options: node.options.map(reversed) }
    case 'capture':
      return reversed(node.body)
    case 'repeat':
      return { ...node, body: reversed(node.body) }
    default:
      return node
  }
}

/** Whether `body` matches from a place on (ahead) or up to it. Of the text looked at last the answers are kept. */
function lookAroundTest(body: Node, ahead: boolean, negative: boolean): PositionTest {
  const program = assemble(ahead ? reversed(body) : reversed(reversed(body)))
  let known = ''
  let table: Uint8Array | null = null
  return (text, at) => {
    if (table === null || known !== text) {
      table = reachable(program, text, ahead)
      known = text
    }
    return (table[at] === 1) !== negative
  }
}

/** The places where a match that began anywhere ends, in a walk through the text from its start or, backwards, from its end. */
function reachable(program: readonly Instruction[], text: string, backwards: boolean): Uint8Array {
  const ends = new Uint8Array(text.length + 1)
  const visited = new Int32Array(program.length).fill(-1)
  let current: number[] = []
  const queue = (list: number[], pc: number, at: number): void => {
    if (visited[pc] === at) return
    visited[pc] = at
    const instruction = program[pc]!
    if (instruction.op === 'jump') queue(list, instruction.to, at)
    else if (instruction.op === 'split') {
      queue(list, instruction.first, at)
      queue(list, instruction.second, at)
    } else if (instruction.op === 'save' || (instruction.op === 'assert' && instruction.test(text, at)))
      queue(list, pc + 1, at)
    else if (instruction.op === 'match') ends[at] = 1
    else if (instruction.op === 'char') list.push(pc)
  }
  for (let step = 0; step <= text.length; step++) {
    const at = backwards ? text.length - step : step
    queue(current, 0, at)
    const code = text.charCodeAt(backwards ? at - 1 : at)
    const next: number[] = []
    for (const pc of current) {
      const instruction = program[pc]!
      if (instruction.op === 'char' && instruction.test(code)) queue(next, pc + 1, backwards ? at - 1 : at + 1)
    }
    current = next
  }
  return ends
}

interface Thread {
  readonly pc: number
  /** Start and end of each group; -1 where it took no part. */
  readonly saved: readonly number[]
}

function run(program: readonly Instruction[], groupCount: number, text: string, anchored: boolean): string[] | null {
  // visited[pc] is the position for which pc was last queued: a thread of lower priority at the same place is dropped.
  const visited = new Int32Array(program.length).fill(-1)
  const queue = (list: Thread[], pc: number, at: number, saved: readonly number[]): void => {
    if (visited[pc] === at) return
    visited[pc] = at
    const instruction = program[pc]!
    switch (instruction.op) {
      case 'jump':
        queue(list, instruction.to, at, saved)
        return
      case 'split':
        queue(list, instruction.first, at, saved)
        queue(list, instruction.second, at, saved)
        return
      case 'save':
        queue(list, pc + 1, at, withSlot(saved, instruction.slot, at))
        return
      case 'assert':
        if (instruction.test(text, at)) queue(list, pc + 1, at, saved)
        return
      default:
        list.push({ pc, saved })
    }
  }

  const none: readonly number[] = new Array<number>(groupCount * 2 + 2).fill(-1)
  let found: readonly number[] | null = null
  let current: Thread[] = []
  for (let at = 0; at <= text.length; at++) {
    // A later start has lower priority than every thread that is under way, and none once something matched.
    if (found === null && (at === 0 || !anchored)) queue(current, 0, at, withSlot(none, 0, at))
    const next: Thread[] = []
    const code = at < text.length ? text.charCodeAt(at) : -1
    for (const { pc, saved } of current) {
      const instruction = program[pc]!
      if (instruction.op === 'match') {
        found = withSlot(saved, 1, at)
        break
      }
      if (instruction.op === 'char' && code >= 0 && instruction.test(code)) queue(next, pc + 1, at + 1, saved)
    }
    if (next.length === 0 && (anchored || found !== null)) break
    current = next
  }
  if (found === null) return null
  const groups: string[] = []
  for (let slot = 0; slot < found.length; slot += 2) {
    const from = found[slot]!
    const to = found[slot + 1]!
    groups.push(from < 0 || to < 0 ? '' : text.slice(from, to))
  }
  return groups
}
