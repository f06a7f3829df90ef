/**
 * Replies as messages: their size with and without compression, what fits into a UDP reply, and their bytes.
 *
 * CoreDNS sends a reply uncompressed if it fits; else compressed, and cut from the end of the sections with TC set. Names are
 * compressed as miekg/dns does it: owner names and the names in CNAME, NS, PTR, SOA and MX data become pointers to a suffix
 * seen before; SRV targets are written out, but later names may point to them.
 * Cost: one pass over the records for each size. Encoding (dns-packet) is uncompressed.
 * Source: coredns/coredns request/request.go Scrub, Size; miekg/dns msg_truncate.go, msg.go compressionLenSearch;
 * RFC 1035 §4.1.4, RFC 6891 §6.
 */
import * as dnsPacket from 'dns-packet'
import { absolute, labelOctets, labelsOf } from './domain-names.ts'
import type { DnsRecord, DnsReply } from './records.ts'

export interface Transport {
  readonly tcp: boolean
  /** EDNS0 size in the question, or null for a question without EDNS0. */
  readonly ednsSize: number | null
  /** The server's cap on it (plugin bufsize), or null. */
  readonly sizeCap: number | null
  /** Family of the packets: IPv6 replies are compressed earlier. */
  readonly family: 'IPv4' | 'IPv6'
}

export interface SentReply {
  /** With the sections as sent, and TC where records were cut. */
  readonly reply: DnsReply
  readonly sizeBytes: number
  /** The most that could have been sent. */
  readonly limitBytes: number
  readonly compressed: boolean
}

const HEADER_OCTETS = 12
/** Root name, type, size, flags, no options. */
const OPT_OCTETS = 11
const QUESTION_FIXED_OCTETS = 4
/** Type, class, ttl, length of the data. */
const RECORD_FIXED_OCTETS = 10
const MIN_UDP_OCTETS = 512
const MAX_TCP_OCTETS = 65535
/** Beyond it a UDP reply that fits uncompressed is compressed anyway, not to be fragmented. */
const FRAGMENT_OCTETS = { IPv4: 1480, IPv6: 1220 }
/** A pointer has 14 bits. */
const MAX_POINTER_TARGET = 2 << 13

/**
 * What leaves the server: the reply, cut where the transport demands it.
 *
 * @param qname  absolute
 */
export function sendReply(qname: string, reply: DnsReply, transport: Transport): SentReply {
  const opt = transport.ednsSize === null ? 0 : OPT_OCTETS
  const asked = transport.ednsSize ?? MIN_UDP_OCTETS
  const udpLimit = Math.max(MIN_UDP_OCTETS, Math.min(asked, transport.sizeCap ?? asked))
  const limitBytes = transport.tcp ? MAX_TCP_OCTETS : udpLimit
  const plain = messageOctets(qname, reply, false) + opt
  if (plain <= limitBytes) {
    const compressed = !transport.tcp && plain > FRAGMENT_OCTETS[transport.family]
    return { reply, sizeBytes: compressed ? messageOctets(qname, reply, true) + opt : plain, limitBytes, compressed }
  }
  const cut = truncate(qname, reply, limitBytes - opt)
  return { reply: cut, sizeBytes: messageOctets(qname, cut, true) + opt, limitBytes, compressed: true }
}

/** Octets of a reply without its OPT record. */
export function messageOctets(qname: string, reply: DnsReply, compress: boolean): number {
  const names = new NameSizer(compress)
  let octets = HEADER_OCTETS + names.add(qname, HEADER_OCTETS, true) + QUESTION_FIXED_OCTETS
  for (const record of sectionsOf(reply).flat()) octets += recordOctets(record, octets, names)
  return octets
}

/** Keeps records from the front while they fit compressed; behind the first that does not, nothing does. */
function truncate(qname: string, reply: DnsReply, limit: number): DnsReply {
  const names = new NameSizer(true)
  let octets = HEADER_OCTETS + names.add(qname, HEADER_OCTETS, true) + QUESTION_FIXED_OCTETS
  const kept = sectionsOf(reply).map((section) => {
    const end = section.findIndex((record) => {
      octets += recordOctets(record, octets, names)
      return octets > limit
    })
    return end < 0 ? section : section.slice(0, end)
  })
  const [answer, authority, additional] = kept as [DnsRecord[], DnsRecord[], DnsRecord[]]
  const cut = sectionsOf(reply).some((section, i) => section.length > kept[i]!.length)
  return { ...reply, answer, authority, additional, truncated: reply.truncated || cut }
}

function sectionsOf(reply: DnsReply): [readonly DnsRecord[], readonly DnsRecord[], readonly DnsRecord[]] {
  return [reply.answer, reply.authority, reply.additional]
}

/** Sizes of names in the order they are written, remembering the suffixes that later ones may point to. */
class NameSizer {
  readonly #seen: Set<string> | null

  constructor(compress: boolean) {
    this.#seen = compress ? new Set() : null
  }

  /** @param offset  where in the message the name begins; @param compressible  whether it may itself be a pointer */
  add(name: string, offset: number, compressible: boolean): number {
    const labels = labelsOf(name)
    let octets = 0
    let pointer = -1
    for (const [i, label] of labels.entries()) {
      const suffix = this.#seen === null ? '' : labels.slice(i).join('.')
      if (this.#seen?.has(suffix)) {
        if (pointer < 0) pointer = octets
        if (compressible) return pointer + 2
      } else if (pointer < 0 && offset + octets < MAX_POINTER_TARGET) this.#seen?.add(suffix)
      octets += labelOctets(label) + 1
    }
    return octets + 1
  }
}

function recordOctets(record: DnsRecord, offset: number, names: NameSizer): number {
  const owner = names.add(record.name, offset, true)
  return owner + RECORD_FIXED_OCTETS + dataOctets(record, offset + owner + RECORD_FIXED_OCTETS, names)
}

function dataOctets({ type, data }: DnsRecord, offset: number, names: NameSizer): number {
  const fields = data.split(/\s+/)
  switch (type) {
    case 'A':
      return 4
    case 'AAAA':
      return 16
    case 'CNAME':
    case 'NS':
    case 'PTR':
      return names.add(absolute(data), offset, true)
    case 'MX':
      return 2 + names.add(absolute(fields[1] ?? ''), offset + 2, true)
    case 'SRV':
      return 6 + names.add(absolute(fields[3] ?? ''), offset + 6, false)
    case 'SOA': {
      const mname = names.add(absolute(fields[0] ?? ''), offset, true)
      return mname + names.add(absolute(fields[1] ?? ''), offset + mname, true) + 20
    }
    case 'TXT':
      return textsOf(data).reduce((sum, text) => sum + 1 + Buffer.byteLength(text), 0)
    default:
      // Only records from outside have other types; their text stands in for their length.
      return Buffer.byteLength(data)
  }
}

/** The character strings of TXT data: `"a" "b"`, or bare words; long ones are split as a message must. */
function textsOf(data: string): string[] {
  const texts = [...data.matchAll(/"((?:\\[\s\S]|[^"\\])*)"|(\S+)/g)].map(([, quoted, word]) =>
    (quoted ?? word ?? '').replace(/\\(.)/g, '$1'),
  )
  return texts.flatMap((text) => (text === '' ? [''] : (text.match(/[\s\S]{1,255}/g) ?? [])))
}

/**
 * The bytes of a reply, uncompressed: question and sections, OPT where the question had one.
 *
 * Records of types that dns-packet cannot write from zone-file text are left out.
 */
export function encodeReply(qname: string, qtype: string, reply: DnsReply, ednsSize: number | null): Uint8Array {
  const flags =
    dnsPacket.RECURSION_DESIRED |
    (reply.authoritative ? dnsPacket.AUTHORITATIVE_ANSWER : dnsPacket.RECURSION_AVAILABLE) |
    (reply.truncated ? dnsPacket.TRUNCATED_RESPONSE : 0)
  const opt: dnsPacket.Answer[] =
    ednsSize === null
      ? []
      : [
          {
            type: 'OPT',
            name: '.',
            udpPayloadSize: ednsSize,
            flags: 0,
            flag_do: false,
            extendedRcode: 0,
            ednsVersion: 0,
            options: [],
          },
        ]
  return dnsPacket.encode({
    type: 'response',
    flags: flags | RCODE_BITS[reply.rcode],
    questions: [{ name: qname, type: qtype as dnsPacket.RecordType }],
    answers: reply.answer.flatMap(wireRecord),
    authorities: reply.authority.flatMap(wireRecord),
    additionals: [...reply.additional.flatMap(wireRecord), ...opt],
  })
}

const RCODE_BITS: Readonly<Record<DnsReply['rcode'], number>> = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
}

function wireRecord({ name, ttl, type, data }: DnsRecord): dnsPacket.Answer[] {
  const fields = data.split(/\s+/)
  const number = (i: number): number => Number(fields[i] ?? 0)
  switch (type) {
    case 'A':
    case 'AAAA':
    case 'CNAME':
    case 'NS':
    case 'PTR':
      return [{ name, ttl, type, data }]
    case 'TXT':
      return [{ name, ttl, type, data: textsOf(data) }]
    case 'MX':
      return [{ name, ttl, type, data: { preference: number(0), exchange: fields[1] ?? '.' } }]
    case 'SRV':
      return [
        {
          name,
          ttl,
          type,
          data: { priority: number(0), weight: number(1), port: number(2), target: fields[3] ?? '.' },
        },
      ]
    case 'SOA': {
      const [mname = '.', rname = '.'] = fields
      const timers = { serial: number(2), refresh: number(3), retry: number(4), expire: number(5), minimum: number(6) }
      return [{ name, ttl, type, data: { mname, rname, ...timers } }]
    }
    default:
      return []
  }
}
