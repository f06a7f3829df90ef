/** What stands behind the words of a Corefile: zones and numbers, and the warning for what is not modelled. */
import ipaddr from 'ipaddr.js'
import type { Warning } from '../errors.ts'
import { COREFILE_WHERE, corefileError, type Directive } from './caddyfile.ts'
import { absolute, lower, nameFault } from './domain-names.ts'

export function notModelled(directive: Directive, what: string): Warning {
  return {
    code: 'W_NOT_MODELLED',
    where: `${COREFILE_WHERE}, line ${directive.line}`,
    message: `${what} is not modelled: answers are as without it`,
  }
}

export function wholeNumber(text: string, least: number, most: number, what: string, line: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw corefileError(line, `${what} ${text} is not a whole number from ${least} to ${most}`)
  }
  return value
}

/**
 * The zones that a key or argument names: `dns://example.org:53` and `.` one, a CIDR its reverse zones. A prefix that
 * does not end on a label's border stands for all the zones it covers (at most 128).
 */
export function zonesOf(key: string, line: number): string[] {
  const host = key.replace(/^[a-z]+:\/\//i, '')
  if (ipaddr.isValidCIDR(host.replace(/:\d+$/, ''))) return reverseZones(host.replace(/:\d+$/, ''))
  if (ipaddr.isValidCIDR(host)) return reverseZones(host)
  const zone = lower(absolute(host.replace(/:\d+$/, '')))
  const fault = zone === '.' ? null : nameFault(zone)
  if (fault !== null) throw corefileError(line, `the zone ${key} ${fault}`)
  return [zone]
}

function reverseZones(cidr: string): string[] {
  const [address, prefix] = ipaddr.parseCIDR(cidr)
  const bytes = address.toByteArray()
  const bitsPerLabel = address.kind() === 'ipv4' ? 8 : 4
  const digits = bitsPerLabel === 8 ? bytes : bytes.flatMap((byte) => [byte >> 4, byte & 15])
  const whole = Math.floor(prefix / bitsPerLabel)
  const rest = prefix % bitsPerLabel
  const fixed = digits.slice(0, whole).map((digit) => digit.toString(bitsPerLabel === 8 ? 10 : 16))
  const tree = bitsPerLabel === 8 ? 'in-addr.arpa.' : 'ip6.arpa.'
  const zone = (labels: readonly string[]): string => [...[...labels].reverse(), tree].join('.')
  if (rest === 0) return [zone(fixed)]
  const count = 2 ** (bitsPerLabel - rest)
  const start = digits[whole]! - (digits[whole]! % count)
  return Array.from({ length: count }, (_, i) => zone([...fixed, (start + i).toString(bitsPerLabel === 8 ? 10 : 16)]))
}
