/**
 * A packet filter as it was read from a dump: hooks, chains, and rules as matches and statements, whatever tool printed them.
 *
 * nft and iptables end up in the same words, so one evaluator (`follow.ts`) says what either does. What a rule holds beyond these words
 * is kept as `unknown` with its text: it matches nothing, and whoever follows it hears of it. Addresses are intervals of big integers.
 */
import { canonicalIp, ipToBigInt, parseCidr } from '../../k8s/ip.ts'
import type { Family } from '../node-rules.ts'

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'

/** Both ends belong to it. */
export interface Interval {
  readonly first: bigint
  readonly last: bigint
}

export type ConnectionState = 'new' | 'established' | 'related' | 'invalid' | 'untracked' | 'dnat' | 'snat'

/** What a packet is looked up by in sets and maps. */
export type Field = 'source' | 'destination' | 'protocol' | 'port'

export type Match =
  | { readonly kind: 'source' | 'destination'; readonly intervals: readonly Interval[]; readonly not: boolean }
  | { readonly kind: 'protocol'; readonly protocols: ReadonlySet<string>; readonly not: boolean }
  /** Destination port. */
  | {
      readonly kind: 'port'
      readonly ranges: readonly (readonly [first: number, last: number])[]
      readonly not: boolean
    }
  | { readonly kind: 'local'; readonly of: 'source' | 'destination'; readonly not: boolean }
  | { readonly kind: 'interface'; readonly name: string; readonly isPrefix: boolean; readonly not: boolean }
  | { readonly kind: 'mark'; readonly mask: number; readonly value: number; readonly not: boolean }
  | { readonly kind: 'state'; readonly states: ReadonlySet<string>; readonly not: boolean }
  | { readonly kind: 'random'; readonly probability: number }
  /** The client was seen at this list within so many seconds. */
  | { readonly kind: 'remembered'; readonly list: string; readonly seconds: number; readonly not: boolean }
  /** Membership in a named set. */
  | { readonly kind: 'member'; readonly set: string; readonly fields: readonly Field[]; readonly not: boolean }
  | { readonly kind: 'unknown'; readonly text: string }

export type Verdict =
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  | { readonly kind: 'return' | 'accept' | 'drop' | 'masquerade' }
  /** `with`: `port-unreachable`, `tcp-reset`, … */
  | { readonly kind: 'reject'; readonly with: string }
  | { readonly kind: 'dnat'; readonly address: string; readonly port: number }

export type Statement =
  | Verdict
  /** mark = (mark & keep) ^ flip */
  | { readonly kind: 'mark-as'; readonly keep: number; readonly flip: number }
  | { readonly kind: 'remember'; readonly list: string }
  /** Looked up by the fields; `map` is a named one or written in place. */
  | { readonly kind: 'choose'; readonly fields: readonly Field[]; readonly map: string | VerdictMap }
  /** One of so many numbers, each as likely. */
  | {
      readonly kind: 'draw'
      readonly modulus: number
      readonly verdicts: readonly (readonly [first: number, last: number, verdict: Verdict])[]
    }
  | { readonly kind: 'no-op' }

export interface Rule {
  /** Matches and statements in their order: the first match that fails ends the rule. */
  readonly steps: readonly (Match | Statement)[]
  readonly comment: string
  readonly line: number
}

export interface Chain {
  readonly name: string
  readonly rules: Rule[]
  /** For one that hangs on a hook. */
  base: { readonly hook: Hook; readonly priority: number; readonly type: string } | null
}

/** Keys are the fields' texts, joined by ` . `. */
export type VerdictMap = ReadonlyMap<string, Verdict>

export interface NamedSet {
  /** Whole keys as text; ipset members that are networks are in `networks` by what stands before them. */
  readonly members: Set<string>
  readonly intervals: Interval[]
  readonly networks: Map<string, Interval[]>
  /** How long an element stays; 0: for ever. */
  timeoutSeconds: number
  /** Of an ipset: `ip`, `port`, `net` in their order; empty for a set of nft. */
  readonly parts: readonly string[]
}

export interface Program {
  readonly tool: 'nft' | 'iptables'
  readonly family: Family
  readonly file: string
  /** Rules have their place in the list for a line. */
  readonly isJson: boolean
  /** By name; iptables has them as `nat KUBE-SERVICES`, since each table has its own. */
  readonly chains: Map<string, Chain>
  readonly sets: Map<string, NamedSet>
  readonly maps: Map<string, Map<string, Verdict>>
}

export function newProgram(tool: Program['tool'], family: Family, file: string, isJson = false): Program {
  return { tool, family, file, isJson, chains: new Map(), sets: new Map(), maps: new Map() }
}

export function newSet(parts: readonly string[] = []): NamedSet {
  return { members: new Set(), intervals: [], networks: new Map(), timeoutSeconds: 0, parts }
}

/** Where a rule stands in its file. */
export function placeOf({ file, isJson }: Program, line: number): string {
  return isJson ? `${file}, nftables[${line}]` : `${file}, line ${line}`
}

/** The chain of that name, made where it is new. */
export function chainOf(program: Program, name: string): Chain {
  const known = program.chains.get(name)
  if (known !== undefined) return known
  const made: Chain = { name, rules: [], base: null }
  program.chains.set(name, made)
  return made
}

/** `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9`; null for anything else. */
export function parseInterval(text: string): Interval | null {
  const cidr = parseCidr(text)
  if (cidr !== null) return { first: cidr.first, last: cidr.last }
  const dash = text.indexOf('-')
  if (dash > 0) {
    const first = parseInterval(text.slice(0, dash))
    const last = parseInterval(text.slice(dash + 1))
    return first === null || last === null || first.first > last.last ? null : { first: first.first, last: last.last }
  }
  const address = canonicalIp(text)
  if (address === null) return null
  const value = ipToBigInt(address)
  return { first: value, last: value }
}

export function isMatch(step: Match | Statement): step is Match {
  switch (step.kind) {
    case 'source':
    case 'destination':
    case 'protocol':
    case 'port':
    case 'local':
    case 'interface':
    case 'mark':
    case 'state':
    case 'random':
    case 'remembered':
    case 'member':
    case 'unknown':
      return true
    default:
      return false
  }
}

/** Text → whole number, decimal or hexadecimal; NaN for anything else. */
export function numberOf(text: string): number {
  return /^(\d{1,10}|0x[0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : Number.NaN
}

/** `3h`, `1h30m`, `10800s`, `10800`: nft's spans in seconds; NaN for anything else. */
export function secondsOf(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text)
  if (!/^(\d{1,10}(ms|d|h|m|s))+$/.test(text)) return Number.NaN
  const units: Readonly<Record<string, number>> = { d: 86_400, h: 3600, m: 60, s: 1, ms: 0.001 }
  let total = 0
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|d|h|m|s)/g)) total += Number(count) * units[unit!]!
  return total
}

export const PROTOCOLS: Readonly<Record<string, string>> = {
  '6': 'tcp',
  '17': 'udp',
  '132': 'sctp',
  '1': 'icmp',
  '58': 'icmpv6',
}

export function protocolText(text: string): string {
  return PROTOCOLS[text] ?? text.toLowerCase()
}
