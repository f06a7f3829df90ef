/** The words of nft: a dump taken apart into tokens, and what values mean in both of its forms, text and JSON. */
import { UserError } from '../../errors.ts'
import { canonicalIp } from '../../k8s/ip.ts'
import {
  type Field,
  type Interval,
  type Match,
  numberOf,
  parseInterval,
  protocolText,
  type Verdict,
} from './program.ts'

export interface Token {
  readonly text: string
  /** Was in quotes. */
  readonly quoted: boolean
  readonly line: number
}

/** Newlines and semicolons are tokens `;`, since they end statements. */
export function tokenize(text: string, file: string, firstLine: number): Token[] {
  const tokens: Token[] = []
  let line = firstLine
  let at = 0
  const push = (word: string, quoted = false): void => void tokens.push({ text: word, quoted, line })
  while (at < text.length) {
    const c = text[at]!
    if (c === '\n') {
      push(';')
      line++
      at++
    } else if (c === ' ' || c === '\t' || c === '\r') at++
    else if (c === '\\' && text[at + 1] === '\n') {
      line++
      at += 2
    } else if (c === '#') {
      const end = text.indexOf('\n', at)
      at = end < 0 ? text.length : end
    } else if (c === '"') {
      const end = text.indexOf('"', at + 1)
      const eol = text.indexOf('\n', at)
      if (end < 0 || (eol >= 0 && eol < end)) {
        throw new UserError('E_DUMP', 'a quotation mark without its other half', { where: `${file}, line ${line}` })
      }
      push(text.slice(at + 1, end), true)
      at = end + 1
    } else if ('{};,'.includes(c)) {
      push(c)
      at++
    } else {
      let end = at
      while (end < text.length && !' \t\r\n{};,"'.includes(text[end]!)) end++
      push(text.slice(at, end))
      at = end
    }
  }
  return tokens
}

/** `10.0.0.1:80`, `[fd00::1]:80` */
export function dnatTarget(text: string): Verdict | null {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const address = found === null ? null : canonicalIp(found[1] ?? found[2]!)
  return found === null || address === null ? null : { kind: 'dnat', address, port: Number(found[3]) }
}

/** Bits of connection states, as `nft -n` prints them. */
const STATE_BITS: Readonly<Record<number, string>> = {
  1: 'invalid',
  2: 'established',
  4: 'related',
  8: 'new',
  64: 'untracked',
}

export function stateText(text: string): string {
  return STATE_BITS[numberOf(text)] ?? text
}

/** RTN_LOCAL of linux/rtnetlink.h is 2. */
export function isLocalType(text: string): boolean {
  return text === 'local' || text === '2'
}

/** Parts of an element's key in the text that packets are looked up by. */
export function keyText(parts: readonly string[]): string {
  return parts.map((part) => canonicalIp(part) ?? part.toLowerCase()).join(' . ')
}

/** A key that is compared with values written in place. */
export function matchesOf(fields: readonly Field[], values: readonly string[], not: boolean): Match[] {
  if (fields.length !== 1) return [{ kind: 'unknown', text: `${fields.join(' . ')} ${values.join(', ')}` }]
  const [field] = fields
  if (field === 'source' || field === 'destination') {
    const intervals = values.map(parseInterval).filter((one): one is Interval => one !== null)
    if (intervals.length !== values.length) return [{ kind: 'unknown', text: values.join(', ') }]
    return [{ kind: field, intervals, not }]
  }
  if (field === 'protocol') return [{ kind: 'protocol', protocols: new Set(values.map(protocolText)), not }]
  const ranges = values.map((value): readonly [number, number] => {
    const [first, last = first] = value.split('-')
    return [Number(first), Number(last)]
  })
  if (ranges.some(([first, last]) => !(first >= 0 && last >= first))) {
    return [{ kind: 'unknown', text: values.join(', ') }]
  }
  return [{ kind: 'port', ranges, not }]
}
