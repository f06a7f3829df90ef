/**
 * Records, replies, and what the resolver outside the cluster knows.
 *
 * A record is `name ttl type data`, all text but the ttl, names absolute: the form of a zone file and of `dpemu dig -o json`.
 * Invariants: a reply's sections never share record objects with an index; every reply has an rcode.
 * Source: RFC 1035 §3.2 and §4.1.
 */
import { UserError } from '../errors.ts'
import { absolute, below, isWithin, labelsOf, lower, parseAddress } from './domain-names.ts'

export interface DnsRecord {
  readonly name: string
  /** Seconds. */
  readonly ttl: number
  readonly type: string
  /** As a zone file writes it: SRV is `priority weight port target`, TXT is quoted. */
  readonly data: string
}

export type Rcode = 'NOERROR' | 'FORMERR' | 'SERVFAIL' | 'NXDOMAIN' | 'NOTIMP' | 'REFUSED'

export interface DnsReply {
  readonly rcode: Rcode
  /** AA: the answer is the cluster's own, not the outside resolver's. */
  readonly authoritative: boolean
  /** TC, as the answering server set it; `wire.ts` sets it for size. */
  readonly truncated: boolean
  readonly answer: readonly DnsRecord[]
  readonly authority: readonly DnsRecord[]
  readonly additional: readonly DnsRecord[]
  /** The question went outside, and nothing was said of what is known there: the rcode is a guess. */
  readonly unknown?: boolean
}

/** What the resolver outside the cluster would say: it knows these records and no others. */
export interface Upstream {
  readonly records: readonly DnsRecord[]
  /** TC in its replies. */
  readonly truncated: boolean
  /** Given: it answers every question with this rcode and no records. */
  readonly rcode: Rcode | null
  /** Nothing was said about it, which is not the same as an empty list of records. */
  readonly silent?: boolean
}

export const NOTHING_UPSTREAM: Upstream = { records: [], truncated: false, rcode: null, silent: true }

/** Codes of the record types that have a name, for `qtype` given as a number. Source: the IANA registry of DNS parameters. */
const TYPE_CODES: ReadonlyMap<string, number> = new Map([
  ['A', 1],
  ['NS', 2],
  ['CNAME', 5],
  ['SOA', 6],
  ['NULL', 10],
  ['PTR', 12],
  ['HINFO', 13],
  ['MX', 15],
  ['TXT', 16],
  ['RP', 17],
  ['AFSDB', 18],
  ['SIG', 24],
  ['KEY', 25],
  ['AAAA', 28],
  ['LOC', 29],
  ['SRV', 33],
  ['NAPTR', 35],
  ['KX', 36],
  ['CERT', 37],
  ['DNAME', 39],
  ['OPT', 41],
  ['APL', 42],
  ['DS', 43],
  ['SSHFP', 44],
  ['IPSECKEY', 45],
  ['RRSIG', 46],
  ['NSEC', 47],
  ['DNSKEY', 48],
  ['DHCID', 49],
  ['NSEC3', 50],
  ['NSEC3PARAM', 51],
  ['TLSA', 52],
  ['SMIMEA', 53],
  ['HIP', 55],
  ['CDS', 59],
  ['CDNSKEY', 60],
  ['OPENPGPKEY', 61],
  ['CSYNC', 62],
  ['ZONEMD', 63],
  ['SVCB', 64],
  ['HTTPS', 65],
  ['SPF', 99],
  ['EUI48', 108],
  ['EUI64', 109],
  ['TKEY', 249],
  ['TSIG', 250],
  ['IXFR', 251],
  ['AXFR', 252],
  ['ANY', 255],
  ['URI', 256],
  ['CAA', 257],
])
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([...TYPE_CODES].map(([name, code]) => [code, name]))

/**
 * A record type by name, `TYPE33` or code, as the name in capitals; null when there is no such type.
 * An unnamed code stays `TYPE65280` (RFC 3597).
 */
export function recordType(type: string | number): string | null {
  const text = String(type).toUpperCase()
  if (TYPE_CODES.has(text)) return text
  const code = /^(?:TYPE)?(\d{1,5})$/.exec(text)?.[1]
  if (code === undefined || Number(code) > 65535) return null
  return TYPE_NAMES.get(Number(code)) ?? `TYPE${Number(code)}`
}

const RCODES: ReadonlySet<string> = new Set(['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'])
/** Types whose data is nothing but one name. */
const NAME_DATA: ReadonlySet<string> = new Set(['CNAME', 'NS', 'PTR', 'DNAME'])

/**
 * What the outside resolver knows, as people write it in a query line: a list of records, or
 * `{"records": […], "truncated": true}`, or `{"rcode": "SERVFAIL"}`; a record is `name ttl type data` or an object.
 *
 * @param where  of the value, for the message
 * Errors: UserError E_UPSTREAM for anything else.
 */
export function parseUpstream(value: unknown, where: string): Upstream {
  if (value === undefined || value === null) return NOTHING_UPSTREAM
  const given = Array.isArray(value) ? { records: value } : value
  if (!isObject(given)) throw upstreamError('is not a list of records or an object with "records"', where)
  const records = given['records'] ?? []
  if (!Array.isArray(records)) throw upstreamError('"records" is not a list', where)
  const rcode = typeof given['rcode'] === 'string' ? given['rcode'].toUpperCase() : null
  if (rcode !== null && !RCODES.has(rcode))
    throw upstreamError(`"rcode" ${rcode} is none of ${[...RCODES].join(', ')}`, where)
  return {
    records: records.map((record: unknown, i) => parseRecord(record, `${where}, record ${i + 1}`)),
    truncated: given['truncated'] === true,
    rcode: rcode as Rcode | null,
  }
}

/** One record of a zone file (RFC 1035 §5.1), ttl and class in either order or left out (3600, IN); null for anything else. */
export function recordOfText(text: string): DnsRecord | null {
  const match = /^\s*(\S+)\s+(?:(\d+)\s+)?(?:IN\s+)?(?:(\d+)\s+)?([A-Za-z]\w*)\s+(\S.*?)\s*$/.exec(text)
  if (match === null) return null
  const [, name, before, after, type, data] = match
  try {
    return makeRecord(name!, Number(before ?? after ?? 3600), type!, data!, '')
  } catch (error) {
    if (error instanceof UserError) return null
    throw error
  }
}

function parseRecord(value: unknown, where: string): DnsRecord {
  if (typeof value === 'string') {
    const match = /^\s*(\S+)\s+(\d+)\s+(?:IN\s+)?(\S+)\s+(\S.*?)\s*$/i.exec(value)
    if (match === null) throw upstreamError(`"${value}" is not "name ttl type data"`, where)
    return makeRecord(match[1]!, Number(match[2]), match[3]!, match[4]!, where)
  }
  if (!isObject(value)) throw upstreamError('a record is "name ttl type data" or an object with those four', where)
  const { name, ttl, type, data } = value
  if (typeof name !== 'string' || typeof type !== 'string' || typeof data !== 'string') {
    throw upstreamError('a record has "name", "type" and "data", all text', where)
  }
  return makeRecord(name, ttl === undefined ? 0 : Number(ttl), type, data, where)
}

function makeRecord(name: string, ttl: number, type: string, data: string, where: string): DnsRecord {
  const known = recordType(type)
  if (known === null) throw upstreamError(`${type} is not a record type`, where)
  if (!Number.isInteger(ttl) || ttl < 0 || ttl > 0x7fffffff)
    throw upstreamError(`the ttl ${ttl} is not 0 to 2147483647`, where)
  if ((known === 'A' || known === 'AAAA') && parseAddress(data)?.type !== known) {
    throw upstreamError(`${data} is not an address for a record of type ${known}`, where)
  }
  return { name: absolute(name), ttl, type: known, data: NAME_DATA.has(known) ? absolute(data) : data }
}

function upstreamError(message: string, where: string): UserError {
  return new UserError('E_UPSTREAM', `upstream ${message}`, {
    where,
    hint: 'write "upstream": ["db.example.com. 60 A 192.0.2.53"]',
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * The outside resolver's reply: records of the name and type, over CNAMEs; NODATA where the name has other records or is
 * an empty non-terminal; the wildcard below the closest encloser where the name does not exist; NXDOMAIN otherwise. Its
 * negative replies carry no SOA, since nothing says whose it would be. The records are taken for those of one zone.
 *
 * @param qname  absolute
 * Source: RFC 4592 §3.3.1 and §2.2.2: an existing name, one with names below it too, blocks every wildcard above it.
 */
export function upstreamReply(upstream: Upstream, qname: string, qtype: string): DnsReply {
  const reply = {
    authoritative: false,
    truncated: upstream.truncated,
    authority: [],
    additional: [],
    ...(upstream.silent ? { unknown: true } : {}),
  }
  if (upstream.rcode !== null) return { ...reply, rcode: upstream.rcode, answer: [] }
  const answer: DnsRecord[] = []
  const seen = new Set<string>()
  let asked = qname
  for (;;) {
    const name = lower(asked)
    seen.add(name)
    const here = recordsAt(upstream, asked)
    const wanted = here?.filter((record) => record.type === qtype || qtype === 'ANY') ?? []
    const alias = wanted.length === 0 ? here?.find((record) => record.type === 'CNAME') : undefined
    answer.push(...wanted)
    if (alias !== undefined) answer.push(alias)
    if (alias !== undefined && !seen.has(lower(alias.data))) {
      asked = alias.data
      continue
    }
    return { ...reply, rcode: here === null ? 'NXDOMAIN' : 'NOERROR', answer }
  }
}

/** The records of a name, or those of the wildcard that stands for it, under the name asked for; null: it does not exist. */
function recordsAt({ records }: Upstream, asked: string): readonly DnsRecord[] | null {
  const at = (name: string): DnsRecord[] => records.filter((record) => lower(record.name) === name)
  const exists = (name: string): boolean => records.some((record) => isWithin(name, lower(record.name)))
  const name = lower(asked)
  if (exists(name)) return at(name)
  let encloser = name
  while (encloser !== '.' && !exists(encloser)) encloser = parentOf(encloser)
  const wildcard = at(below('*', encloser))
  return wildcard.length === 0 ? null : wildcard.map((record) => ({ ...record, name: asked }))
}

function parentOf(name: string): string {
  const labels = labelsOf(name).slice(1)
  return labels.length === 0 ? '.' : `${labels.join('.')}.`
}
