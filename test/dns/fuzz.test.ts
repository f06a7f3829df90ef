/** No name, type or cluster makes the server throw or answer without an rcode; replies are well formed. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { answerQuery, blockOf } from '../../src/dns/answer.ts'
import { cacheSeconds } from '../../src/dns/cache.ts'
import { addressOfReverse, labelsOf, nameFault, parseAddress, reverseName } from '../../src/dns/domain-names.ts'
import { recordType } from '../../src/dns/records.ts'
import { sendReply } from '../../src/dns/wire.ts'
import { createDnsServer } from '../../src/dns/zone.ts'
import { clusterOf, coredns, kubernetesBlock, serverOf, service, slice } from './support.ts'

const RUN = { seed: 20260820, numRuns: 3000 }
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED']

const objects = [
  service('web', { clusterIP: '10.96.0.20', ports: [{ name: 'http', port: 80 }] }),
  slice('web', ['10.244.1.5']),
  service('peer', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
  slice('peer', [{ addresses: ['10.244.1.6'], hostname: 'peer-0' }, '10.244.1.7']),
  service('a', { type: 'ExternalName', externalName: 'b.default.svc.cluster.local' }),
  service('b', { type: 'ExternalName', externalName: 'a.default.svc.cluster.local' }),
  service('out', { type: 'ExternalName', externalName: 'db.example.com' }),
]
const servers = [
  serverOf(objects),
  serverOf(objects, ['pods verified', 'ignore empty_service', 'endpoint_pod_names', 'fallthrough']),
  createDnsServer(
    clusterOf([
      ...objects,
      coredns('. {\n kubernetes\n}\ncluster.local {\n kubernetes . cluster.local {\n  pods insecure\n }\n}'),
    ]),
  ),
]
const label = fc.oneof(
  fc.constantFrom(
    'web',
    'peer',
    'peer-0',
    '10-244-1-7',
    'a',
    'out',
    'default',
    'svc',
    'pod',
    'cluster',
    'local',
    '_http',
    '_tcp',
    '10',
    '96',
    '0',
    '20',
    'in-addr',
    'ip6',
    'arpa',
    'ns',
    'dns',
    'dns-version',
    'SVC',
    'ClUsTeR',
    'İ',
    '',
    '*',
    '\\.',
    '\\032',
    'xn--1',
    '-',
    '_',
    '__proto__',
    'constructor',
    'x'.repeat(63),
    'x'.repeat(64),
  ),
  fc.string({ maxLength: 8 }),
)
const tail = fc.constantFrom(
  'default.svc.cluster.local.',
  'svc.cluster.local',
  'default.pod.cluster.local.',
  'cluster.local.',
  'in-addr.arpa.',
  '0.96.10.in-addr.arpa.',
  'ip6.arpa',
  'example.com.',
  '.',
  '',
)
const qname = fc.tuple(fc.array(label, { maxLength: 7 }), tail).map(([labels, end]) => [...labels, end].join('.'))
const qtype = fc.oneof(
  fc.constantFrom(
    'A',
    'aaaa',
    'SRV',
    'PTR',
    'CNAME',
    'TXT',
    'SOA',
    'NS',
    'MX',
    'ANY',
    'AXFR',
    'HTTPS',
    'TYPE0',
    'TYPE99999',
  ),
  fc.string({ maxLength: 6 }),
)

test('any name and type has a reply that can be sent', () => {
  const seen = new Set<string>()
  fc.assert(
    fc.property(qname, qtype, fc.nat(servers.length - 1), (name, type, which) => {
      const server = servers[which]
      const reply = answerQuery(server, { qname: name, qtype: type })
      seen.add(reply.rcode)
      expect(RCODES).toContain(reply.rcode)
      const records = [...reply.answer, ...reply.authority, ...reply.additional]
      for (const record of records) {
        expect(record.name.endsWith('.')).toBe(true)
        expect(record.ttl).toBeGreaterThanOrEqual(0)
        expect(recordType(record.type)).toBe(record.type)
      }
      if (reply.rcode === 'NXDOMAIN') expect(reply.answer).toEqual([])
      if (reply.rcode !== 'FORMERR') {
        const absolute = name.endsWith('.') ? name : `${name}.`
        expect(
          sendReply(absolute, reply, { tcp: false, ednsSize: null, sizeCap: null, family: 'IPv4' }).sizeBytes,
        ).toBeLessThanOrEqual(512)
        expect(cacheSeconds(server, absolute, reply)).toBeGreaterThanOrEqual(0)
        expect(blockOf(server, absolute)).not.toBeNull()
      }
      expect(answerQuery(server, { qname: name, qtype: type })).toEqual(reply)
    }),
    RUN,
  )
  expect([...seen].sort()).toEqual(['FORMERR', 'NOERROR', 'NXDOMAIN', 'REFUSED'])
})

test('letter case never changes rcode or data of an address question', () => {
  const upper = fc.array(fc.boolean(), { minLength: 40, maxLength: 40 })
  const known = fc.constantFrom(
    'web.default.svc.cluster.local.',
    'peer-0.peer.default.svc.cluster.local.',
    '20.0.96.10.in-addr.arpa.',
    'a.default.svc.cluster.local.',
    'none.default.svc.cluster.local.',
  )
  fc.assert(
    fc.property(known, upper, fc.constantFrom('A', 'AAAA', 'SRV', 'PTR', 'TXT'), (name, caps, type) => {
      const mixed = [...name].map((c, i) => (caps[i % caps.length] ? c.toUpperCase() : c)).join('')
      const plain = answerQuery(servers[0], { qname: name, qtype: type })
      const reply = answerQuery(servers[0], { qname: mixed, qtype: type })
      expect(reply.rcode).toBe(plain.rcode)
      expect(reply.answer.map(({ data }) => data.toLowerCase())).toEqual(
        plain.answer.map(({ data }) => data.toLowerCase()),
      )
      for (const record of reply.answer) expect(record.name).toBe(mixed)
    }),
    { ...RUN, numRuns: 300 },
  )
})

test('every address has one reverse name, and only that leads back', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const address = parseAddress(text)
      if (address === null) return expect(text).toMatch(/:|\.0\d/)
      expect(addressOfReverse(reverseName(address))).toEqual(address)
      expect(addressOfReverse(`1.${reverseName(address)}`)).toBeNull()
    }),
    { ...RUN, numRuns: 500 },
  )
})

test('labels are what lies between unescaped dots', () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^([a-z]|\\\.|\\\\|\\046){1,9}$/), { minLength: 1, maxLength: 8 }),
      (labels) => {
        const name = `${labels.join('.')}.`
        expect(labelsOf(name)).toEqual(labels)
        expect(nameFault(name)).toBeNull()
      },
    ),
    { ...RUN, numRuns: 500 },
  )
})

test('clusters of any Services answer their own names', () => {
  const dnsLabel = fc.stringMatching(/^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$/)
  const spec = fc.record({
    name: dnsLabel,
    headless: fc.boolean(),
    endpoints: fc.uniqueArray(fc.integer({ min: 1, max: 250 }), { maxLength: 5 }),
  })
  fc.assert(
    fc.property(fc.uniqueArray(spec, { selector: ({ name }) => name, maxLength: 6 }), (services) => {
      const manifests = services.flatMap(({ name, headless, endpoints }, i) => [
        service(name, { clusterIP: headless ? 'None' : `10.96.1.${i}`, ports: [{ name: 'http', port: 80 }] }),
        slice(
          name,
          endpoints.map((n) => `10.244.${i}.${n}`),
        ),
      ])
      const server = serverOf(manifests)
      for (const [i, { name, headless, endpoints }] of services.entries()) {
        const asked = answerQuery(server, { qname: `${name}.default.svc.cluster.local.`, qtype: 'A' })
        const expected = headless ? endpoints.map((n) => `10.244.${i}.${n}`) : [`10.96.1.${i}`]
        expect(asked.rcode).toBe(expected.length > 0 ? 'NOERROR' : 'NXDOMAIN')
        expect(asked.answer.map(({ data }) => data)).toEqual(expected)
        const srv = answerQuery(server, { qname: `_http._tcp.${name}.default.svc.cluster.local.`, qtype: 'SRV' })
        for (const { data } of srv.answer) {
          const target = answerQuery(server, { qname: data.split(' ')[3], qtype: 'A' })
          expect(target.answer).toHaveLength(1)
        }
        expect(srv.additional.map(({ data }) => data)).toEqual(expected)
      }
    }),
    { ...RUN, numRuns: 60 },
  )
})

test('kubernetesBlock of the tests is a Corefile without warnings', () => {
  expect(createDnsServer(clusterOf([coredns(kubernetesBlock(['ttl 5']))])).warnings).toEqual([])
})
