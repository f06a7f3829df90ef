/**
 * Lines of a conntrack table: `conntrack -L`, with or without `-o extended`, and `/proc/net/nf_conntrack`.
 *
 * A line is a protocol, a timeout, a state where the protocol has one, and two tuples as `name=value`; flags stand in brackets. The three
 * forms differ in a leading family and in what follows the tuples. Source: conntrack(8), linux net/netfilter/nf_conntrack_standalone.c.
 * Cost: linear; one pass over a line and an object for it.
 */
import { UserError } from '../errors.ts'
import { canonicalIp, ipFamily } from '../k8s/ip.ts'
import type { IpFamily } from '../k8s/types.ts'

export interface Tuple {
  /** Canonical text. */
  readonly source: string
  readonly destination: string
  /** 0 for protocols without. */
  readonly sourcePort: number
  readonly destinationPort: number
}

export interface TableEntry {
  readonly family: IpFamily
  /** `tcp`, `udp`, `sctp`, `icmp`, …; a number where the line has no name. */
  readonly protocol: string
  /** Until it is forgotten; null where the table does not say (offloaded flows). */
  readonly seconds: number | null
  /** `ESTABLISHED`, …; for protocols without states UNREPLIED, REPLIED or ASSURED; OFFLOAD for flows that left the table's hands. */
  readonly state: string
  readonly original: Tuple
  readonly reply: Tuple
  /** From 1. */
  readonly line: number
}

/** What conntrack says on standard error, which people have in the same file. */
const REMARK = /^conntrack v[\d.]+ \(conntrack-tools\)|flow entries have been shown/

/**
 * @param file  named in errors
 * @throws UserError `E_CONNTRACK`  for a line that is none of the three forms
 */
export function parseTable(text: string, file: string): TableEntry[] {
  const entries: TableEntry[] = []
  let at = 0
  for (let line = 1; at < text.length; line++) {
    let end = text.indexOf('\n', at)
    if (end < 0) end = text.length
    const words = text.slice(at, end).trim()
    at = end + 1
    if (words === '' || words.startsWith('#') || REMARK.test(words)) continue
    entries.push(parseLine(words, file, line))
  }
  return entries
}

function parseLine(text: string, file: string, line: number): TableEntry {
  const fail = (what: string, hint = ''): never => {
    throw new UserError('E_CONNTRACK', `${what}: ${text.slice(0, 120)}`, { where: `${file}, line ${line}`, hint })
  }
  const words = text.split(/\s+/)
  if (/^\[(NEW|UPDATE|DESTROY)\]$/.test(words[0]!)) {
    fail('this is an event, not an entry', 'events (conntrack -E) say what changed; conntrack -L says what is there')
  }
  let next = 0
  if (words[0] === 'ipv4' || words[0] === 'ipv6') next = 2
  const name = words[next++] ?? ''
  const number = words[next++] ?? ''
  if (!/^\w+$/.test(name) || !/^\d{1,3}$/.test(number)) fail('this is no line of a conntrack table')
  let seconds: number | null = null
  if (/^\d{1,10}$/.test(words[next] ?? '')) seconds = Number(words[next++])
  let state = ''
  if (/^[A-Z][A-Z0-9_-]*$/.test(words[next] ?? '')) state = words[next++]!
  const tuples: [Record<string, string>, Record<string, string>] = [{}, {}]
  let which = -1
  let isUnreplied = false
  let isAssured = false
  let isOffloaded = false
  for (; next < words.length; next++) {
    const word = words[next]!
    if (word === '[UNREPLIED]') isUnreplied = true
    else if (word === '[ASSURED]') isAssured = true
    else if (word === '[OFFLOAD]' || word === '[HW_OFFLOAD]') isOffloaded = true
    else {
      const equals = word.indexOf('=')
      if (equals <= 0) continue
      const field = word.slice(0, equals)
      if (field === 'src') which++
      // What follows the second tuple (mark, use, zone, …) has names of its own.
      if (which >= 0 && which < 2) tuples[which]![field] ??= word.slice(equals + 1)
    }
  }
  if (which !== 1) fail('there are not two tuples (src= and dst=) in it')
  const tuple = (fields: Record<string, string>): Tuple => {
    const source = canonicalIp(fields['src'] ?? '') ?? fail('src= is no address')
    const destination = canonicalIp(fields['dst'] ?? '') ?? fail('dst= is no address')
    const port = (field: string): number => {
      const value = fields[field] ?? '0'
      if (!/^\d{1,5}$/.test(value) || Number(value) > 65_535) fail(`${field}= is no port`)
      return Number(value)
    }
    return { source, destination, sourcePort: port('sport'), destinationPort: port('dport') }
  }
  const original = tuple(tuples[0])
  const reply = tuple(tuples[1])
  if (isOffloaded) state = 'OFFLOAD'
  else if (state === '') state = isUnreplied ? 'UNREPLIED' : isAssured ? 'ASSURED' : 'REPLIED'
  return {
    family: ipFamily(original.source),
    protocol: name === 'unknown' ? number : name,
    seconds,
    state,
    original,
    reply,
    line,
  }
}

const NUMBERS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 }

/** An entry in the form of `conntrack -L`; flags as the kernel has them, which a state alone does not tell. */
export function formatLine(
  { protocol, seconds, state, original, reply }: Omit<TableEntry, 'family' | 'line'>,
  flags: { readonly seenReply: boolean; readonly assured: boolean },
): string {
  const number = NUMBERS[protocol] ?? Number(protocol)
  const name = NUMBERS[protocol] === undefined ? 'unknown' : protocol
  const words = [
    `${name.padEnd(8)} ${number}`,
    String(seconds ?? 0),
    ...(protocol === 'tcp' || protocol === 'sctp' ? [state] : []),
    tupleText(original),
    ...(flags.seenReply ? [] : ['[UNREPLIED]']),
    tupleText(reply),
    ...(flags.assured ? ['[ASSURED]'] : []),
    'mark=0 use=1',
  ]
  return words.join(' ')
}

function tupleText({ source, destination, sourcePort, destinationPort }: Tuple): string {
  return `src=${source} dst=${destination} sport=${sourcePort} dport=${destinationPort}`
}
