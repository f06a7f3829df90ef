/** Sizes of replies, what is cut, and bytes: against the formulas, and against dns-packet as an encoder of its own. */
import * as dnsPacket from 'dns-packet'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { answerQuery } from '../../src/dns/answer.ts'
import type { DnsReply } from '../../src/dns/records.ts'
import { encodeReply, messageOctets, sendReply, type Transport } from '../../src/dns/wire.ts'
import { serverOf, service, slice } from './support.ts'

const MYSQL = 'mysql.default.svc.cluster.local.'
const UDP: Transport = { tcp: false, ednsSize: null, sizeCap: null, family: 'IPv4' }

function headless(count: number, family: 4 | 6 = 4): DnsReply {
  const addresses = Array.from({ length: count }, (_, i) =>
    family === 4 ? `10.244.${i >> 8}.${i & 255}` : `fd00::${i.toString(16)}`,
  )
  const server = serverOf([
    service('mysql', { clusterIP: 'None', ports: [{ name: 'mysql', port: 3306 }] }),
    slice('mysql', addresses),
  ])
  return answerQuery(server, { qname: MYSQL, qtype: family === 4 ? 'A' : 'AAAA' })
}

describe('how many addresses fit into one reply', () => {
  test.each([
    // addresses, EDNS0 size, addresses sent, TC
    [28, null, 28, false],
    [29, null, 28, true],
    [100, null, 28, true],
    [73, 1232, 73, false],
    [74, 1232, 73, true],
    [29, 100, 28, true],
    [254, 4096, 252, true],
    [252, 4096, 252, false],
    [31, 540, 30, true],
    [40, 541, 30, true],
  ])('%i addresses, EDNS0 %s: %i sent, TC %s', (count, ednsSize, sent, truncated) => {
    const { reply, sizeBytes, limitBytes } = sendReply(MYSQL, headless(count), { ...UDP, ednsSize })
    expect(reply.answer).toHaveLength(sent)
    expect(reply.truncated).toBe(truncated)
    expect(sizeBytes).toBeLessThanOrEqual(limitBytes)
  })
  test('IPv6 addresses take 28 octets each', () => {
    expect(sendReply(MYSQL, headless(20, 6), UDP).reply.answer).toHaveLength(16)
    expect(sendReply(MYSQL, headless(16, 6), UDP).reply.truncated).toBe(false)
  })
  test('over TCP all of them', () => {
    expect(sendReply(MYSQL, headless(1000), { ...UDP, tcp: true }).reply.answer).toHaveLength(1000)
    expect(sendReply(MYSQL, headless(5000), { ...UDP, tcp: true }).reply.truncated).toBe(true)
  })
  test('plugin bufsize caps what the client offers', () => {
    expect(sendReply(MYSQL, headless(80), { ...UDP, ednsSize: 4096, sizeCap: 1232 }).reply.answer).toHaveLength(73)
  })
})

describe('compression', () => {
  const L = 33
  test('a reply that fits uncompressed is sent uncompressed', () => {
    const sent = sendReply(MYSQL, headless(9), UDP)
    expect(sent.compressed).toBe(false)
    expect(sent.sizeBytes).toBe(12 + (L + 4) + 9 * (L + 14))
  })
  test('one that does not is compressed: 16 octets an address', () => {
    const sent = sendReply(MYSQL, headless(10), UDP)
    expect(sent.compressed).toBe(true)
    expect(sent.sizeBytes).toBe(12 + (L + 4) + 10 * 16)
  })
  test('an OPT record adds 11 octets', () => {
    expect(sendReply(MYSQL, headless(1), { ...UDP, ednsSize: 4096 }).sizeBytes).toBe(
      sendReply(MYSQL, headless(1), UDP).sizeBytes + 11,
    )
  })
  test('over 1480 octets of UDP over IPv4, 1220 over IPv6, it is compressed though it would fit', () => {
    const at = (count: number, family: 'IPv4' | 'IPv6', tcp = false) =>
      sendReply(MYSQL, headless(count), { tcp, ednsSize: 4096, sizeCap: null, family }).compressed
    expect([at(30, 'IPv4'), at(31, 'IPv4'), at(24, 'IPv6'), at(25, 'IPv6'), at(31, 'IPv4', true)]).toEqual([
      false,
      true,
      false,
      true,
      false,
    ])
  })
  test('SRV targets are written out, and the addresses behind them point to them', () => {
    const server = serverOf([
      service('web', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
      slice('web', ['10.244.1.1', '10.244.1.2']),
    ])
    const qname = '_http._tcp.web.default.svc.cluster.local.'
    const reply = answerQuery(server, { qname, qtype: 'SRV' })
    const target = '10-244-1-1.web.default.svc.cluster.local.'.length + 1
    expect(messageOctets(qname, reply, true)).toBe(12 + (qname.length + 1 + 4) + 2 * (2 + 10 + 6 + target) + 2 * 16)
  })
  test('the SOA of a negative reply points into the question', () => {
    const reply = answerQuery(serverOf([]), { qname: 'a.cluster.local.', qtype: 'A' })
    // owner 2; ns.dns. 7 + 2, hostmaster. 11 + 2, five numbers.
    expect(messageOctets('a.cluster.local.', reply, true)).toBe(12 + (17 + 4) + (2 + 10 + 9 + 13 + 20))
  })
  test('a section that is cut ends the message', () => {
    const server = serverOf([
      service('web', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
      slice(
        'web',
        Array.from({ length: 8 }, (_, i) => `10.244.1.${i}`),
      ),
    ])
    const sent = sendReply(
      'web.default.svc.cluster.local.',
      answerQuery(server, { qname: 'web.default.svc.cluster.local.', qtype: 'SRV' }),
      UDP,
    )
    expect(sent.reply.answer).toHaveLength(7)
    expect(sent.reply.additional).toEqual([])
    expect(sent.reply.truncated).toBe(true)
  })
})

test('the uncompressed size is the length that dns-packet encodes, and its bytes say the same', () => {
  const label = fc.stringMatching(/^[a-z0-9]{1,12}$/)
  const name = fc.array(label, { minLength: 1, maxLength: 5 }).map((labels) => `${labels.join('.')}.`)
  const ip = fc.ipV4()
  const ttl = fc.nat(86400)
  const record = fc.oneof(
    fc.record({ name, ttl, type: fc.constant('A'), data: ip }),
    fc.record({ name, ttl, type: fc.constant('AAAA'), data: fc.constantFrom('fd00::1', '2001:db8::5:0:1') }),
    fc.record({ name, ttl, type: fc.constantFrom('CNAME', 'NS', 'PTR'), data: name }),
    fc.record({ name, ttl, type: fc.constant('MX'), data: name.map((target) => `10 ${target}`) }),
    fc.record({ name, ttl, type: fc.constant('SRV'), data: name.map((target) => `0 50 80 ${target}`) }),
    fc.record({
      name,
      ttl,
      type: fc.constant('SOA'),
      data: name.map((zone) => `ns.${zone} hostmaster.${zone} 1 7200 1800 86400 5`),
    }),
    fc.record({
      name,
      ttl,
      type: fc.constant('TXT'),
      data: fc.constantFrom('"1.1.0"', '"a b" "c"', `"${'x'.repeat(300)}"`, '""'),
    }),
  )
  const section = fc.array(record, { maxLength: 6 })
  fc.assert(
    fc.property(name, section, section, section, fc.boolean(), (qname, answer, authority, additional, edns) => {
      const reply: DnsReply = { rcode: 'NOERROR', authoritative: true, truncated: false, answer, authority, additional }
      const bytes = encodeReply(qname, 'A', reply, edns ? 1232 : null)
      const plain = messageOctets(qname, reply, false)
      expect(bytes.length).toBe(plain + (edns ? 11 : 0))
      expect(messageOctets(qname, reply, true)).toBeLessThanOrEqual(plain)
      const decoded = dnsPacket.decode(Buffer.from(bytes))
      expect(decoded.answers?.map((read) => `${read.name}. ${read.type}`)).toEqual(
        answer.map((wrote) => `${wrote.name} ${wrote.type}`),
      )
      expect(decoded.additionals).toHaveLength(additional.length + (edns ? 1 : 0))
    }),
    { seed: 20260820, numRuns: 300 },
  )
})

test('whatever the limit, what is sent fits it, keeps the order, and says so when records are missing', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 120 }), fc.integer({ min: 0, max: 5000 }), (count, ednsSize) => {
      const whole = headless(count)
      const { reply, sizeBytes, limitBytes } = sendReply(MYSQL, whole, { ...UDP, ednsSize })
      expect(sizeBytes).toBeLessThanOrEqual(limitBytes)
      expect(limitBytes).toBe(Math.max(512, ednsSize))
      expect(reply.answer).toEqual(whole.answer.slice(0, reply.answer.length))
      expect(reply.truncated).toBe(reply.answer.length < whole.answer.length)
    }),
    { seed: 20260820, numRuns: 60 },
  )
})

test('flags and rcode are in the bytes', () => {
  const reply = answerQuery(serverOf([]), { qname: 'a.cluster.local.', qtype: 'A' })
  const decoded = dnsPacket.decode(
    Buffer.from(encodeReply('a.cluster.local.', 'A', reply, null)),
  ) as dnsPacket.DecodedPacket & { rcode: string }
  expect({
    rcode: decoded.rcode,
    aa: decoded.flag_aa,
    tc: decoded.flag_tc,
    authority: decoded.authorities?.length,
  }).toEqual({ rcode: 'NXDOMAIN', aa: true, tc: false, authority: 1 })
})
