/**
 * Domain names in presentation form: absolute, compared without case, kept in the case they were written in.
 *
 * Invariants: names handed to the other modules of this folder end in a dot; `lower` folds ASCII letters only, so a name
 * and its folded form always have the same length and a zone can be cut off a name by length.
 * Cost: a folded name is one string; labels are split only where a caller needs them.
 * Source: RFC 1035 §2.3.4 (63 octets a label, 255 a name), §5.1 (escapes); RFC 4343 (case).
 */
import { isIPv4, isIPv6 } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Lower case of the ASCII letters only, as DNS compares names (RFC 4343). */
export function lower(name: string): string {
  // Plain `toLowerCase` may change the length of non-ASCII text.
  return /^[\0-\x7f]*$/.test(name) ? name.toLowerCase() : name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

/** The name with its final dot; '' is the root. */
export function absolute(name: string): string {
  return endsInDot(name) ? name : `${name}.`
}

/** Whether the last dot ends the name, and is not an escaped one that belongs to the last label. */
function endsInDot(name: string): boolean {
  if (!name.endsWith('.')) return false
  let backslashes = 0
  for (let i = name.length - 2; i >= 0 && name[i] === '\\'; i--) backslashes++
  return backslashes % 2 === 0
}

/** Labels of an absolute name, left to right, escapes kept as written; the root has none. */
export function labelsOf(name: string): string[] {
  if (name === '.') return []
  const body = name.slice(0, -1)
  if (!body.includes('\\')) return body.split('.')
  const labels: string[] = []
  let start = 0
  for (let i = 0; i < body.length; i++) {
    if (body[i] === '\\') i++
    else if (body[i] === '.') {
      labels.push(body.slice(start, i))
      start = i + 1
    }
  }
  labels.push(body.slice(start))
  return labels
}

/** A whole escape: `\\046` or a backslash and the character itself. */
const ESCAPE = /\\(?:[01]\d\d|2[0-4]\d|25[0-5]|\D)/g

/** Octets of a label on the wire: `\.` and `\032` are one octet each, other characters are UTF-8. */
export function labelOctets(label: string): number {
  const plain = label.includes('\\') ? label.replace(ESCAPE, 'x') : label
  return /^[\0-\x7f]*$/.test(plain) ? plain.length : Buffer.byteLength(plain)
}

/**
 * What keeps a name from being put into a DNS message, or null when nothing does.
 *
 * @param name  absolute
 */
export function nameFault(name: string): string | null {
  let octets = 1
  for (const label of labelsOf(name)) {
    const length = labelOctets(label)
    if (length === 0) return 'has an empty label'
    if (length > 63) return `has a label of ${length} octets, 63 is the most`
    if (label.includes('\\') && label.replace(ESCAPE, '').includes('\\')) return 'has a broken escape'
    octets += length + 1
  }
  return octets > 255 ? `takes ${octets} octets, 255 is the most` : null
}

/** Whether `name` is `zone` or below it; both absolute and folded. */
export function isWithin(zone: string, name: string): boolean {
  if (zone === '.') return true
  if (!name.endsWith(zone)) return false
  const before = name.length - zone.length
  return before === 0 || (name[before - 1] === '.' && name[before - 2] !== '\\')
}

/** The longest of `zones` that holds `name` (all absolute and folded), or null. */
export function longestZone(zones: readonly string[], name: string): string | null {
  let best: string | null = null
  for (const zone of zones) if (isWithin(zone, name) && (best === null || zone.length > best.length)) best = zone
  return best
}

/** `prefix` (labels without a final dot) below `zone`; the root adds only the dot. */
export function below(prefix: string, zone: string): string {
  return zone === '.' ? `${prefix}.` : `${prefix}.${zone}`
}

export interface Address {
  /** Canonical text: RFC 5952 for IPv6. */
  readonly text: string
  /** The record type that holds it; an IPv4-mapped IPv6 address is an A, as Go's net.IP.To4 has it. */
  readonly type: 'A' | 'AAAA'
}

/** The address that a text spells strictly (no leading zeros, no short forms, no zone index), or null. */
export function parseAddress(text: string): Address | null {
  if (isIPv4(text)) return { text, type: 'A' }
  if (!isIPv6(text) || text.includes('%')) return null
  const parsed = ipaddr.IPv6.parse(text)
  if (parsed.isIPv4MappedAddress()) return { text: parsed.toIPv4Address().toString(), type: 'A' }
  return { text: parsed.toString(), type: 'AAAA' }
}

/** Whether the folded name is in one of the two reverse trees. */
export function isReverse(name: string): boolean {
  return isWithin('in-addr.arpa.', name) || isWithin('ip6.arpa.', name)
}

/**
 * The address that a whole reverse name stands for, or null: `1.0.96.10.in-addr.arpa.` is 10.96.0.1.
 *
 * @param name  absolute and folded
 * Source: RFC 1035 §3.5, RFC 3596 §2.5; a name for part of an address is none.
 */
export function addressOfReverse(name: string): Address | null {
  if (name.endsWith('.in-addr.arpa.')) {
    const octets = name.slice(0, -'.in-addr.arpa.'.length).split('.')
    return octets.length === 4 ? parseAddress(octets.reverse().join('.')) : null
  }
  if (name.endsWith('.ip6.arpa.')) {
    const nibbles = name.slice(0, -'.ip6.arpa.'.length).split('.')
    if (nibbles.length !== 32 || nibbles.some((nibble) => !/^[0-9a-f]$/.test(nibble))) return null
    return parseAddress(
      nibbles
        .reverse()
        .join('')
        .replace(/(.{4})(?=.)/g, '$1:'),
    )
  }
  return null
}

/** The name whose PTR tells who has the address. */
export function reverseName({ text, type }: Address): string {
  if (type === 'A') return `${text.split('.').reverse().join('.')}.in-addr.arpa.`
  const digits = ipaddr.IPv6.parse(text)
    .toByteArray()
    .flatMap((byte) => [byte >> 4, byte & 15])
  return `${digits
    .reverse()
    .map((digit) => digit.toString(16))
    .join('.')}.ip6.arpa.`
}
