/**
 * The lines of `--packets`: one JSON object a line, a packet, an HTTP request, or with `--stateful` a change of the cluster.
 *
 * All lines are read and checked before anything is explained, so that nothing is half-answered.
 * Errors: E_PACKETS (exit 3) naming file and line.
 */
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../../native-free-core/index.ts'
import { UserError } from '../errors.ts'
import { type HttpRequest, parseHttpLine } from '../ingress/index.ts'
import type { ObjectChange } from '../k8s/change.ts'
import type { Protocol } from '../k8s/types.ts'
import type { Fail, LineId } from './types.ts'

interface LineBase {
  /** `packets.ndjson, line 3`. */
  readonly where: string
  readonly id: LineId
  /** Seconds; 0 without `--stateful`. */
  readonly timeSeconds: number
}

export interface PacketLine extends LineBase {
  readonly kind: 'packet'
  readonly from: string
  readonly to: string
  readonly protocol: Protocol | null
  readonly node: string | null
  /** TCP flag bits of exactly this packet, or null for a packet as the connection needs it. */
  readonly flags: number | null
  /** Sent by the other side; the line's tuple is still the connection's own. */
  readonly isReply: boolean
}

export interface HttpLine extends LineBase {
  readonly kind: 'http'
  /** As written. */
  readonly url: string
  readonly request: HttpRequest
}

export interface ChangeLine extends LineBase {
  readonly kind: 'change'
  readonly change: ObjectChange
}

export type Line = PacketLine | HttpLine | ChangeLine

const HINT = 'one a line: {"id":"p1","from":"10.244.1.5","to":"10.96.0.10:80","protocol":"tcp"}'
const STATEFUL_HINT = 'one a line: {"id":"p1","time":0,"from":"10.244.1.5:40000","to":"10.96.0.10:80","protocol":"tcp"}'

const FLAGS: Readonly<Record<string, number>> = { FIN: TCP_FIN, SYN: TCP_SYN, RST: TCP_RST, PSH: TCP_PSH, ACK: TCP_ACK }

/** The most seconds between the first line and the last: entries' timers count milliseconds in 32 bits. */
const MAX_SECONDS = 1_500_000

export function failAt(where: string, hint: string = HINT): Fail {
  return (message, advice) => new UserError('E_PACKETS', message, { where, hint: advice ?? hint })
}

/** @param file  as it is called in messages */
export function parseLines(text: string, file: string, stateful: boolean): Line[] {
  const lines = text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    return [parseLine(line.replace(/^\uFEFF/, ''), i + 1, `${file}, line ${i + 1}`, stateful)]
  })
  if (stateful) checkTimes(lines)
  return lines
}

function parseLine(text: string, number: number, where: string, stateful: boolean): Line {
  const fail = failAt(where, stateful ? STATEFUL_HINT : HINT)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw fail('the line is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail('the line is not a JSON object')
  const fields = value as Readonly<Record<string, unknown>>
  const base = { where, id: lineId(fields['id'], number, fail), timeSeconds: lineTime(fields['time'], stateful, fail) }
  if ('apply' in fields || 'delete' in fields) {
    if (!stateful) throw fail('a line with apply or delete needs --stateful')
    const change: ObjectChange = {
      ...(fields['apply'] === undefined ? {} : { apply: fields['apply'] }),
      ...(fields['delete'] === undefined ? {} : { delete: fields['delete'] }),
    }
    return { kind: 'change', ...base, change }
  }
  if ('url' in fields) {
    const request = httpRequest(fields, fail)
    return { kind: 'http', ...base, url: String(fields['url']), request }
  }
  return {
    kind: 'packet',
    ...base,
    from: requiredText(fields, 'from', fail),
    to: requiredText(fields, 'to', fail),
    protocol:
      fields['protocol'] === undefined || fields['protocol'] === null ? null : protocolOf(fields['protocol'], fail),
    node: optionalText(fields, 'node', fail),
    ...packetShape(fields, stateful, fail),
  }
}

function lineId(id: unknown, number: number, fail: Fail): LineId {
  if (id === undefined) return number
  if (id === null || typeof id === 'string' || typeof id === 'number') return id
  throw fail('id is neither text nor a number')
}

function lineTime(time: unknown, stateful: boolean, fail: Fail): number {
  if (!stateful) return 0
  if (typeof time === 'number' && time >= 0 && Number.isFinite(time)) return time
  throw fail(
    time === undefined ? 'time is missing: seconds, with --stateful on every line' : 'time is not a number of seconds',
  )
}

/** `tcp`, `UDP`, … */
export function protocolOf(value: unknown, fail: Fail): Protocol {
  const name = typeof value === 'string' ? value.toUpperCase() : ''
  if (name === 'TCP' || name === 'UDP' || name === 'SCTP') return name
  throw fail(`protocol ${JSON.stringify(value)} is not tcp, udp or sctp`)
}

function packetShape(
  fields: Readonly<Record<string, unknown>>,
  stateful: boolean,
  fail: Fail,
): { readonly flags: number | null; readonly isReply: boolean } {
  const { flags, direction } = fields
  if (!stateful) {
    if (flags !== undefined || direction !== undefined) throw fail('flags and direction need --stateful')
    return { flags: null, isReply: false }
  }
  if (direction !== undefined && direction !== 'original' && direction !== 'reply') {
    throw fail(`direction ${JSON.stringify(direction)} is not original or reply`)
  }
  return { flags: flags === undefined ? null : flagBits(flags, fail), isReply: direction === 'reply' }
}

/** `"SYN"`, `"FIN,ACK"`. */
function flagBits(value: unknown, fail: Fail): number {
  if (typeof value !== 'string') throw fail(`flags ${JSON.stringify(value)} is not text such as "SYN" or "FIN,ACK"`)
  let bits = 0
  for (const name of value.toUpperCase().split(/[\s,|+]+/)) {
    const bit = FLAGS[name]
    if (bit === undefined) throw fail(`'${name}' is not a TCP flag: ${Object.keys(FLAGS).join(', ')}`)
    bits |= bit
  }
  return bits
}

function requiredText(fields: Readonly<Record<string, unknown>>, name: string, fail: Fail): string {
  const value = fields[name]
  if (typeof value === 'string' && value.trim() !== '') return value
  throw fail(value === undefined ? `${name} is missing` : `${name} is not text`)
}

function optionalText(fields: Readonly<Record<string, unknown>>, name: string, fail: Fail): string | null {
  const value = fields[name]
  if (value === undefined || value === null || value === '') return null
  if (typeof value === 'string') return value
  throw fail(`${name} is not text`)
}

/** parseHttpLine reports as for a flag; here it is a line of a file. */
function httpRequest(fields: Readonly<Record<string, unknown>>, fail: Fail): HttpRequest {
  try {
    return parseHttpLine(fields)
  } catch (error) {
    throw error instanceof UserError ? fail(error.message, '{"id":"r1","url":"http://shop.example/cart"}') : error
  }
}

function checkTimes(lines: readonly Line[]): void {
  let last = lines[0]?.timeSeconds ?? 0
  const first = last
  for (const { timeSeconds, where } of lines) {
    if (timeSeconds < last)
      throw failAt(where)(
        `time ${timeSeconds} lies before the line before it (${last})`,
        'put the lines in order of time',
      )
    if (timeSeconds - first > MAX_SECONDS) {
      throw failAt(where)(
        `time ${timeSeconds} is more than ${MAX_SECONDS} seconds after the first line's`,
        'times are seconds',
      )
    }
    last = timeSeconds
  }
}
