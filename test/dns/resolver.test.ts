/** What a pod's C library asks for one name, and what that costs. */
import { describe, expect, test } from 'vitest'
import { answerQuery } from '../../src/dns/answer.ts'
import { cacheSeconds } from '../../src/dns/cache.ts'
import { NOTHING_UPSTREAM, parseUpstream } from '../../src/dns/records.ts'
import { findPods, podResolvConf, resolveName, searchSequence } from '../../src/dns/resolver.ts'
import { clusterDnsAddress, createDnsServer } from '../../src/dns/zone.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { clusterOf, coredns, type Manifest, serverOf, service, slice } from './support.ts'

function pod(name: string, spec: Manifest = {}, namespace = 'default'): Manifest {
  const status = {
    podIP: '10.244.1.1',
    podIPs: [{ ip: '10.244.1.1' }],
    phase: 'Running',
    conditions: [{ type: 'Ready', status: 'True' }],
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { containers: [{ name: 'c' }], ...spec },
    status,
  }
}

const kubeDns = service(
  'kube-dns',
  { clusterIP: '10.96.0.10', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] },
  'kube-system',
)
const objects = [
  kubeDns,
  service('web', { clusterIP: '10.96.0.20', ports: [{ name: 'http', port: 80 }] }),
  service('peer', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
  slice('peer', [{ addresses: ['10.244.1.5'], hostname: 'peer-0' }]),
  service('api', { clusterIP: '10.96.0.30', ports: [{ port: 80 }] }, 'prod'),
  pod('box'),
]
const cluster = clusterOf(objects)
const server = createDnsServer(cluster)
const confOf = (of: Cluster, name = 'box') => podResolvConf(of, findPods(of, name)[0])
const conf = confOf(cluster)

describe('resolv.conf', () => {
  test("ClusterFirst: the cluster's DNS, three search domains, ndots:5", () => {
    expect(conf).toEqual({
      nameservers: ['10.96.0.10'],
      searches: ['default.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
      options: ['ndots:5'],
      ndots: 5,
      asksCluster: true,
    })
  })
  test.each([
    [
      'hostNetwork with ClusterFirst is Default',
      { hostNetwork: true },
      { nameservers: [], searches: [], options: [], ndots: 1, asksCluster: false },
    ],
    ['Default', { dnsPolicy: 'Default' }, { nameservers: [], searches: [], options: [], ndots: 1, asksCluster: false }],
    ['ClusterFirstWithHostNet', { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' }, { ...conf }],
    [
      'None has what dnsConfig says',
      {
        dnsPolicy: 'None',
        dnsConfig: {
          nameservers: ['192.0.2.1'],
          searches: ['corp.example.'],
          options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }],
        },
      },
      {
        nameservers: ['192.0.2.1'],
        searches: ['corp.example'],
        options: ['ndots:2', 'edns0'],
        ndots: 2,
        asksCluster: false,
      },
    ],
    [
      "None with the cluster's DNS asks it",
      { dnsPolicy: 'None', dnsConfig: { nameservers: ['10.96.0.10'] } },
      { nameservers: ['10.96.0.10'], searches: [], options: [], ndots: 1, asksCluster: true },
    ],
    [
      'dnsConfig is added, options override by name',
      {
        dnsConfig: {
          nameservers: ['192.0.2.1'],
          searches: ['corp.example', 'cluster.local'],
          options: [
            { name: 'ndots', value: '2' },
            { name: 'timeout', value: '3' },
          ],
        },
      },
      {
        nameservers: ['10.96.0.10', '192.0.2.1'],
        searches: ['default.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example'],
        options: ['ndots:2', 'timeout:3'],
        ndots: 2,
        asksCluster: true,
      },
    ],
  ])('%s', (_, spec, expected) => {
    expect(confOf(clusterOf([kubeDns, pod('box', spec)]))).toEqual(expected)
  })
  test('at most 3 nameservers, 32 search domains, 2048 characters', () => {
    const searches = Array.from({ length: 40 }, (_, i) => `${'d'.repeat(100)}${i}.example`)
    const nameservers = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4']
    const short = confOf(
      clusterOf([
        pod('box', {
          dnsConfig: {
            nameservers: nameservers.slice(0, 3),
            searches: searches.slice(0, 32).map((_, i) => `s${i}.example`),
          },
        }),
      ]),
    )
    expect(short.searches).toHaveLength(32)
    expect(short.nameservers).toHaveLength(3)
    const long = confOf(clusterOf([pod('box', { dnsConfig: { searches: searches.slice(0, 29) } })]))
    expect(long.searches.join(' ').length).toBeLessThanOrEqual(2048)
    expect(long.searches.length).toBeGreaterThan(15)
  })
  test('without a DNS Service the nameserver is the tenth address of the Service CIDR, as kubeadm puts it', () => {
    expect(clusterDnsAddress({ ...cluster, services: [], serviceCidrs: ['10.32.0.0/16'] })).toBe('10.32.0.10')
    expect(clusterDnsAddress({ ...cluster, services: [], serviceCidrs: ['fd00:10:96::/112'] })).toBe('fd00:10:96::a')
    expect(clusterDnsAddress({ ...cluster, services: [], serviceCidrs: ['fd00:1:2:3:4:5:6:0/112'] })).toBe(
      'fd00:1:2:3:4:5:6:a',
    )
    expect(clusterDnsAddress({ ...cluster, services: [], serviceCidrs: [] })).toBe('10.96.0.10')
  })
})

describe('cost of a name under ndots:5', () => {
  test.each([
    ['web', 1, 'NOERROR'],
    ['api.prod', 2, 'NOERROR'],
    ['web.default.svc', 3, 'NOERROR'],
    ['web.default.svc.cluster.local', 4, 'NOERROR'],
    ['web.default.svc.cluster.local.', 1, 'NOERROR'],
    ['peer-0.peer.default.svc.cluster.local', 1, 'NOERROR'],
    ['www.example.com', 4, 'NOERROR'],
    ['www.example.org', 4, 'NXDOMAIN'],
  ])('%s: %i queries, then %s', (name, count, rcode) => {
    const upstream = parseUpstream(['www.example.com. 60 A 192.0.2.80'], 'row')
    const { queries, replies } = resolveName(server, conf, name, ['A'], { upstream })
    expect(queries).toHaveLength(count)
    expect(queries.slice(0, -1).every((query) => query.answers === 0)).toBe(true)
    expect(replies.get('A')?.rcode).toBe(rcode)
    expect(resolveName(server, conf, name, ['A', 'AAAA'], { upstream }).queries).toHaveLength(2 * count)
  })
  test('each further search domain adds one', () => {
    const wide = { ...conf, searches: [...conf.searches, 'corp.example', 'example.net'] }
    expect(resolveName(server, wide, 'www.example.com', ['A']).queries).toHaveLength(6)
  })
})

describe('order of tries', () => {
  const search = { searches: ['a.example', 'b.example'], ndots: 2 }
  test.each([
    ['host', 'glibc', ['host.a.example.', 'host.b.example.', 'host.']],
    ['x.host', 'glibc', ['x.host.a.example.', 'x.host.b.example.', 'x.host.']],
    ['y.x.host', 'glibc', ['y.x.host.', 'y.x.host.a.example.', 'y.x.host.b.example.']],
    ['y.x.host', 'musl', ['y.x.host.']],
    ['x.host', 'musl', ['x.host.a.example.', 'x.host.b.example.', 'x.host.']],
    ['host.', 'glibc', ['host.']],
    ['', 'glibc', ['.']],
  ] as const)('%s, %s', (name, libc, tries) => {
    expect(searchSequence(name, search, libc)).toEqual(tries)
  })
  test('glibc goes on after a reply without records, musl stops there', () => {
    // `web` exists in the namespace but has no AAAA.
    expect(resolveName(server, conf, 'web', ['AAAA']).queries.map(({ rcode }) => rcode)).toEqual([
      'NOERROR',
      'NXDOMAIN',
      'NXDOMAIN',
      'NXDOMAIN',
    ])
    expect(resolveName(server, conf, 'web', ['AAAA'], { libc: 'musl' }).queries).toHaveLength(1)
  })
  test('A and AAAA are one try: an address of either ends the walk', () => {
    expect(
      resolveName(server, conf, 'web', ['A', 'AAAA']).queries.map(({ qtype, answers }) => `${qtype} ${answers}`),
    ).toEqual(['A 1', 'AAAA 0'])
  })
})

test("a pod on the node's resolver does not see the cluster", () => {
  const host = confOf(clusterOf([kubeDns, pod('box', { dnsPolicy: 'Default' })]))
  const { queries } = resolveName(server, host, 'web.default.svc.cluster.local', ['A'])
  expect(queries.at(-1)).toMatchObject({ rcode: 'NXDOMAIN', answers: 0 })
})

describe('A records in the reply to AAAA (rewrite type)', () => {
  const corefile = (from: string, to: string) =>
    `.:53 {\n rewrite type ${from} ${to}\n kubernetes cluster.local {\n  ttl 30\n }\n forward . /etc/resolv.conf\n}\n`
  const typed = (from: string, to: string) => createDnsServer(clusterOf([...objects, coredns(corefile(from, to))]))

  test.each([
    ['glibc', []],
    ['musl', []],
    ['go', ['10.96.0.20']],
    ['musl-1.1', ['10.96.0.20']],
  ] as const)('%s asks AAAA alone', (libc, addresses) => {
    const { records, queries, refused } = resolveName(typed('AAAA', 'A'), conf, 'web', ['AAAA'], { libc })
    expect(records.map(({ data }) => data)).toEqual(addresses)
    expect(queries).toHaveLength(1)
    expect(refused === '').toBe(addresses.length > 0)
  })

  test('asked together, the reply to A counts, once', () => {
    const { records, queries, refused } = resolveName(typed('AAAA', 'A'), conf, 'web', ['A', 'AAAA'])
    expect(records.map(({ data }) => data)).toEqual(['10.96.0.20'])
    expect([queries.length, refused]).toEqual([2, ''])
  })

  test('the other way round nobody of glibc has an address of an IPv4 Service', () => {
    const { records } = resolveName(typed('A', 'AAAA'), conf, 'web', ['A', 'AAAA'])
    expect(records).toEqual([])
  })
})

describe('which pod', () => {
  const many = clusterOf([pod('box'), pod('box', {}, 'prod'), pod('pod', {}, 'prod')])
  test.each([
    ['box', ['default/box', 'prod/box']],
    ['pod/box', ['default/box', 'prod/box']],
    ['prod/box', ['prod/box']],
    ['pod/prod/box', ['prod/box']],
    ['missing', []],
    ['a/b/c', []],
  ])('%s', (reference, found) => {
    expect(findPods(many, reference).map(({ namespace, name }) => `${namespace}/${name}`)).toEqual(found)
  })
})

describe('how long CoreDNS keeps a reply', () => {
  const kept = (question: string, corefile?: string, upstream?: unknown) => {
    const [qname, qtype] = question.split(' ')
    const asked = corefile === undefined ? server : createDnsServer(clusterOf([...objects, coredns(corefile)]))
    const known = upstream === undefined ? NOTHING_UPSTREAM : parseUpstream(upstream, 'row')
    return cacheSeconds(asked, qname, answerQuery(asked, { qname, qtype, upstream: known }))
  }
  const block = (cache: string, ttl = 30) =>
    `. {\n kubernetes cluster.local {\n  ttl ${ttl}\n }\n forward . 1.1.1.1\n ${cache}\n}`
  const WEB = 'web.default.svc.cluster.local. A'
  test.each([
    ["kubeadm: the answer's ttl", kept(WEB), 30],
    ["a missing name: the SOA's ttl", kept('x.default.svc.cluster.local. A'), 30],
    ['at least 5 s', kept(WEB, block('cache 30', 0)), 5],
    ['at most what cache says', kept(WEB, block('cache 10')), 10],
    ['the lowest ttl of the reply', kept('www.example.com. A', undefined, ['www.example.com. 12 A 192.0.2.1']), 12],
    ['no cache', kept(WEB, block('loadbalance')), 0],
    [
      'newer kubeadm: not at all',
      kept(WEB, block('cache 30 {\n  disable success cluster.local\n  disable denial cluster.local\n }')),
      0,
    ],
    [
      'newer kubeadm: outside names still are',
      kept('www.example.com. A', block('cache 30 {\n  disable success cluster.local\n }'), [
        'www.example.com. 60 A 192.0.2.1',
      ]),
      30,
    ],
    ['a negative reply without SOA is not', kept('www.example.com. A'), 0],
    ['SERVFAIL for 5 s', kept('www.example.com. A', undefined, { rcode: 'SERVFAIL' }), 5],
    [
      'a truncated reply is not',
      kept('www.example.com. A', undefined, { truncated: true, records: ['www.example.com. 60 A 192.0.2.1'] }),
      0,
    ],
    ['another zone than cached', kept(WEB, block('cache 30 example.org')), 0],
  ])('%s', (_, seconds, expected) => {
    expect(seconds).toBe(expected)
  })
})

test('the server is made of the same objects in the same way', () => {
  expect(answerQuery(serverOf(objects), { qname: 'peer.default.svc.cluster.local', qtype: 'SRV' })).toEqual(
    answerQuery(server, { qname: 'peer.default.svc.cluster.local', qtype: 'SRV' }),
  )
})
