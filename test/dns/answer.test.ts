/** Which answer a name has: a row for each rule of CoreDNS' kubernetes plugin, beside those of vectors.test.ts. */
import { describe, expect, test } from 'vitest'
import { answerOutside, answerQuery } from '../../src/dns/answer.ts'
import { parseUpstream } from '../../src/dns/records.ts'
import { createDnsServer, type DnsServer } from '../../src/dns/zone.ts'
import { clusterOf, coredns, kubernetesBlock, type Manifest, serverOf, service, slice, texts } from './support.ts'

const SOA = 'cluster.local. 30 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 30'

const objects: Manifest[] = [
  { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'empty' } },
  service('web', {
    clusterIP: '10.96.0.20',
    ports: [
      { name: 'http', port: 80, protocol: 'TCP' },
      { name: 'admin', port: 8080, protocol: 'TCP' },
    ],
  }),
  slice('web', ['10.244.1.5', { addresses: ['10.244.1.6'], hostname: 'web-a' }]),
  service('gone', { clusterIP: '10.96.0.21', ports: [{ port: 80 }] }),
  service('mute', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
  slice('mute', [{ addresses: ['10.244.1.7'], conditions: { ready: false } }]),
  service('mixed', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
  slice('mixed', [
    { addresses: ['10.244.2.1'], conditions: { ready: true } },
    { addresses: ['10.244.2.2'], conditions: {} },
    { addresses: ['10.244.2.3'], conditions: { ready: false, serving: true, terminating: true } },
    { addresses: ['10.244.2.4'], conditions: { ready: true, serving: false, terminating: true } },
  ]),
  service('six', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
  slice('six', ['fd00:10:244::']),
  service('named', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
  slice('named', [
    { addresses: ['10.244.3.1'], targetRef: { kind: 'Pod', name: 'named-x1' } },
    { addresses: ['10.244.3.2'], targetRef: { kind: 'Pod', name: 'n'.repeat(64) } },
    { addresses: ['10.244.3.3'], hostname: 'own', targetRef: { kind: 'Pod', name: 'named-x3' } },
  ]),
  service('nameless', { clusterIP: '10.96.0.22', ports: [{ port: 5000, protocol: 'UDP' }] }),
  slice('nameless', ['10.244.4.1'], { ports: [{ port: 5000, protocol: 'UDP' }] }),
  {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'box', namespace: 'default' },
    spec: { containers: [{ name: 'c' }] },
    status: { podIP: '10.244.9.9', podIPs: [{ ip: '10.244.9.9' }] },
  },
]

const kubeadm = serverOf(objects)

/** `RCODE` and the sections' records, the shortest form a row can be compared with. */
function ask(
  server: DnsServer,
  question: string,
  upstream?: unknown,
): { rcode: string; answer: string[]; authority: string[]; additional: string[] } {
  const [qname, qtype = 'A'] = question.split(' ')
  const reply = answerQuery(server, { qname, qtype, upstream: parseUpstream(upstream, 'row') })
  return {
    rcode: reply.rcode,
    answer: texts(reply.answer),
    authority: texts(reply.authority),
    additional: texts(reply.additional),
  }
}

const nodata = { rcode: 'NOERROR', answer: [], authority: [SOA], additional: [] }
const nxdomain = { rcode: 'NXDOMAIN', answer: [], authority: [SOA], additional: [] }
const answers = (...records: string[]) => ({ rcode: 'NOERROR', answer: records.sort(), authority: [], additional: [] })

describe('names of Services', () => {
  test('a Service without any endpoint still has its cluster IP', () => {
    expect(ask(kubeadm, 'gone.default.svc.cluster.local')).toEqual(
      answers('gone.default.svc.cluster.local. 30 A 10.96.0.21'),
    )
  })
  test('with `ignore empty_service` it has no name; one with ready endpoints and headless ones keep theirs', () => {
    const server = serverOf(objects, ['pods insecure', 'ttl 30', 'ignore empty_service'])
    expect(ask(server, 'gone.default.svc.cluster.local.')).toEqual(nxdomain)
    expect(ask(server, 'web.default.svc.cluster.local.').rcode).toBe('NOERROR')
    expect(ask(server, 'mixed.default.svc.cluster.local.').answer).toHaveLength(3)
  })
  test('headless: ready or unset is in, whatever serving and terminating say; not ready is out', () => {
    expect(ask(kubeadm, 'mixed.default.svc.cluster.local.')).toEqual(
      answers(...[1, 2, 4].map((n) => `mixed.default.svc.cluster.local. 30 A 10.244.2.${n}`)),
    )
  })
  test('headless without a ready endpoint does not exist', () => {
    expect(ask(kubeadm, 'mute.default.svc.cluster.local.')).toEqual(nxdomain)
    expect(ask(kubeadm, 'mute.default.svc.cluster.local. SRV')).toEqual(nxdomain)
  })
  test('headless with endpoints of the other family only has no records of this type', () => {
    expect(ask(kubeadm, 'six.default.svc.cluster.local. A')).toEqual(nodata)
    expect(ask(kubeadm, 'six.default.svc.cluster.local. AAAA').answer).toEqual([
      'six.default.svc.cluster.local. 30 AAAA fd00:10:244::',
    ])
  })
  test('`noendpoints`: headless and endpoint names are gone, cluster IPs stay', () => {
    const server = serverOf(objects, ['pods insecure', 'ttl 30', 'noendpoints'])
    expect(ask(server, 'mixed.default.svc.cluster.local.')).toEqual(nxdomain)
    expect(ask(server, 'web-a.web.default.svc.cluster.local.')).toEqual(nxdomain)
    expect(ask(server, 'web.default.svc.cluster.local.').rcode).toBe('NOERROR')
  })
})

describe('names of endpoints', () => {
  test.each([
    ['web-a.web', '10.244.1.6'],
    ['10-244-1-5.web', '10.244.1.5'],
    ['own.named', '10.244.3.3'],
    ['10-244-3-1.named', '10.244.3.1'],
  ])('%s is %s, headless or not', (name, address) => {
    expect(ask(kubeadm, `${name}.default.svc.cluster.local.`).answer).toEqual([
      `${name}.default.svc.cluster.local. 30 A ${address}`,
    ])
  })
  test('an endpoint with a host name has no dashed name', () => {
    expect(ask(kubeadm, '10-244-1-6.web.default.svc.cluster.local.')).toEqual(nxdomain)
  })
  test('a dashed address that ends in a dash gets a 0', () => {
    expect(ask(kubeadm, 'fd00-10-244--0.six.default.svc.cluster.local. AAAA').answer).toHaveLength(1)
    expect(ask(kubeadm, 'fd00-10-244--.six.default.svc.cluster.local. AAAA')).toEqual(nxdomain)
  })
  test('`endpoint_pod_names`: host name, then Pod name below 64 characters, then the address', () => {
    const server = serverOf(objects, ['ttl 30', 'endpoint_pod_names'])
    const srv = ask(server, '_http._tcp.named.default.svc.cluster.local. SRV')
    expect(srv.answer.map((text) => text.split(' ').at(-1)?.split('.')[0])).toEqual(['10-244-3-2', 'named-x1', 'own'])
    expect(ask(server, '10-244-3-1.named.default.svc.cluster.local.')).toEqual(nxdomain)
  })
})

describe('SRV', () => {
  test('a cluster IP with two ports: the Service ports, 50 each, on the bare name', () => {
    expect(ask(kubeadm, 'web.default.svc.cluster.local. SRV')).toEqual({
      rcode: 'NOERROR',
      answer: [
        'web.default.svc.cluster.local. 30 SRV 0 50 80 web.default.svc.cluster.local.',
        'web.default.svc.cluster.local. 30 SRV 0 50 8080 web.default.svc.cluster.local.',
      ],
      authority: [],
      additional: ['web.default.svc.cluster.local. 30 A 10.96.0.20'],
    })
  })
  test('weight is the whole part of 100 over the pairs, and never below 1', () => {
    const many = Array.from({ length: 150 }, (_, i) => `10.245.0.${i + 1}`)
    const server = serverOf([
      service('big', { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] }),
      slice('big', many),
    ])
    const weights = ask(server, '_http._tcp.big.default.svc.cluster.local. SRV').answer.map(
      (text) => text.split(' ')[4],
    )
    expect(weights).toHaveLength(150)
    expect(new Set(weights)).toEqual(new Set(['1']))
  })
  test.each([
    ['_http._udp.web.default.svc.cluster.local. SRV', 'another protocol'],
    ['_https._tcp.web.default.svc.cluster.local. SRV', 'another port'],
    ['_x._udp.nameless.default.svc.cluster.local. SRV', 'a port without a name'],
  ])('%s does not exist: %s', (question) => {
    expect(ask(kubeadm, question)).toEqual(nxdomain)
  })
  test('an unnamed port has SRV on the bare name', () => {
    expect(ask(kubeadm, 'nameless.default.svc.cluster.local. SRV').answer).toEqual([
      'nameless.default.svc.cluster.local. 30 SRV 0 100 5000 nameless.default.svc.cluster.local.',
    ])
  })
  test('asked for A, `_port._proto` gives the address, and the underscores may be left out', () => {
    expect(ask(kubeadm, '_http._tcp.web.default.svc.cluster.local.').answer).toEqual([
      '_http._tcp.web.default.svc.cluster.local. 30 A 10.96.0.20',
    ])
    expect(ask(kubeadm, 'http.tcp.web.default.svc.cluster.local.').answer).toEqual([
      'http.tcp.web.default.svc.cluster.local. 30 A 10.96.0.20',
    ])
  })
})

describe('no such name, or no such record', () => {
  test.each([
    'cluster.local.',
    'svc.cluster.local.',
    'pod.cluster.local.',
    'default.svc.cluster.local.',
    'empty.svc.cluster.local.',
    'default.pod.cluster.local.',
    'web.default.svc.cluster.local. MX',
    'web.default.svc.cluster.local. HTTPS',
    'web.default.svc.cluster.local. TYPE65280',
    'web.default.svc.cluster.local. ANY',
    'web.default.svc.cluster.local. CNAME',
    'web.default.svc.cluster.local. NS',
  ])('%s is NODATA', (question) => {
    expect(ask(kubeadm, question)).toEqual(nodata)
  })
  test.each([
    'other.svc.cluster.local.',
    'web.other.svc.cluster.local.',
    'missing.default.svc.cluster.local. HTTPS',
    'a.b.c.web.default.svc.cluster.local.',
    'web-a.x.y.web.default.svc.cluster.local.',
    'a.b.c.10-244-9-9.default.pod.cluster.local.',
    'ns.dns.cluster.local. PTR',
    'web.default.cluster.local.',
    'dns-version.cluster.local. A',
    'default.svc.cluster.local. TXT',
  ])('%s is NXDOMAIN', (question) => {
    expect(ask(kubeadm, question)).toEqual(nxdomain)
  })
  test.each(['AXFR', 'IXFR'])('%s is refused', (type) => {
    expect(ask(kubeadm, `cluster.local. ${type}`)).toEqual({
      rcode: 'REFUSED',
      answer: [],
      authority: [],
      additional: [],
    })
  })
  test('the SOA is an answer at the apex only, and its ttl is 300 at most', () => {
    expect(ask(kubeadm, 'cluster.local. SOA').answer).toEqual([SOA])
    expect(ask(kubeadm, 'missing.default.svc.cluster.local. SOA')).toEqual(nodata)
    const server = serverOf(objects, ['ttl 3600'])
    expect(ask(server, 'cluster.local. SOA').answer).toEqual([
      'cluster.local. 300 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 3600',
    ])
  })
  test('`namespaces` hides the others', () => {
    const server = serverOf(objects, ['ttl 30', 'namespaces empty'])
    expect(ask(server, 'web.default.svc.cluster.local.')).toEqual(nxdomain)
    expect(ask(server, 'empty.svc.cluster.local.')).toEqual(nodata)
    expect(ask(server, '20.0.96.10.in-addr.arpa. PTR').rcode).toBe('NXDOMAIN')
  })
})

describe('letter case', () => {
  test('the answer repeats the question, targets are as the objects write them', () => {
    expect(ask(kubeadm, 'WEB.Default.svc.Cluster.LOCAL.').answer).toEqual([
      'WEB.Default.svc.Cluster.LOCAL. 30 A 10.96.0.20',
    ])
    expect(ask(kubeadm, '_HTTP._Tcp.weB.default.svc.Cluster.LOCAL. SRV')).toEqual({
      rcode: 'NOERROR',
      answer: ['_HTTP._Tcp.weB.default.svc.Cluster.LOCAL. 30 SRV 0 100 80 web.default.svc.Cluster.LOCAL.'],
      authority: [],
      additional: ['web.default.svc.Cluster.LOCAL. 30 A 10.96.0.20'],
    })
    expect(ask(kubeadm, 'x.svc.CLUSTER.local.').authority).toEqual([SOA.replaceAll('cluster.local', 'CLUSTER.local')])
  })
})

describe('names of pods', () => {
  const name = (label: string, namespace = 'default') => `${label}.${namespace}.pod.cluster.local.`
  test.each([
    ['disabled', '10-244-9-9', 'default', 'NXDOMAIN'],
    ['insecure', '10-244-9-9', 'default', 'NOERROR'],
    ['insecure', '192-0-2-1', 'default', 'NOERROR'],
    ['insecure', '192-0-2-1', 'other', 'NXDOMAIN'],
    ['insecure', 'box', 'default', 'NXDOMAIN'],
    ['insecure', '1-2-3', 'default', 'NXDOMAIN'],
    ['insecure', '1-2-3-400', 'default', 'NXDOMAIN'],
    ['verified', '10-244-9-9', 'default', 'NOERROR'],
    ['verified', '10-244-9-9', 'empty', 'NXDOMAIN'],
    ['verified', '192-0-2-1', 'default', 'NXDOMAIN'],
  ])('pods %s: %s in %s is %s', (mode, label, namespace, rcode) => {
    const reply = ask(serverOf(objects, [`pods ${mode}`, 'ttl 30']), name(label, namespace))
    expect(reply.rcode).toBe(rcode)
    expect(reply.answer).toEqual(
      rcode === 'NOERROR' ? [`${name(label, namespace)} 30 A ${label.replaceAll('-', '.')}`] : [],
    )
  })
  test("disabled is CoreDNS' default, insecure kubeadm's", () => {
    expect(ask(serverOf(objects, []), name('10-244-9-9')).rcode).toBe('NXDOMAIN')
    expect(ask(kubeadm, name('10-244-9-9')).answer).toEqual([`${name('10-244-9-9')} 30 A 10.244.9.9`])
  })
  test('an IPv6 address is spelled with dashes for colons', () => {
    expect(ask(kubeadm, `${name('fd00--1')} AAAA`).answer).toEqual([`${name('fd00--1')} 30 AAAA fd00::1`])
    expect(ask(kubeadm, `${name('fd00--1')} A`)).toEqual(nodata)
    expect(ask(kubeadm, `${name('fd00--1-2')} AAAA`).answer).toEqual([`${name('fd00--1-2')} 30 AAAA fd00::1:2`])
  })
  test('verified knows a pod by its first address only', () => {
    const dual = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'dual', namespace: 'default' },
      spec: { containers: [{ name: 'c' }] },
      status: { podIP: '10.244.9.8', podIPs: [{ ip: '10.244.9.8' }, { ip: 'fd00::8' }] },
    }
    const server = serverOf([...objects, dual], ['pods verified', 'ttl 30'])
    expect(ask(server, name('10-244-9-8')).rcode).toBe('NOERROR')
    expect(ask(server, `${name('fd00--8')} AAAA`)).toEqual(nxdomain)
  })
})

describe('reverse names', () => {
  test('a cluster IP has one name, an endpoint one for each Service and name', () => {
    expect(ask(kubeadm, '20.0.96.10.in-addr.arpa. PTR').answer).toEqual([
      '20.0.96.10.in-addr.arpa. 30 PTR web.default.svc.cluster.local.',
    ])
    expect(ask(kubeadm, '6.1.244.10.in-addr.arpa. PTR').answer).toEqual([
      '6.1.244.10.in-addr.arpa. 30 PTR web-a.web.default.svc.cluster.local.',
    ])
  })
  test('an endpoint that is not ready has none', () => {
    expect(ask(serverOf(objects, []), '7.1.244.10.in-addr.arpa. PTR').rcode).toBe('NXDOMAIN')
  })
  test('an address of no Service goes to the resolver outside with `fallthrough`, and is NXDOMAIN without', () => {
    const pod = '9.9.244.10.in-addr.arpa. PTR'
    const known = ['9.9.244.10.in-addr.arpa. 60 PTR host.example.com.']
    expect(ask(kubeadm, pod)).toEqual({ rcode: 'NXDOMAIN', answer: [], authority: [], additional: [] })
    expect(ask(kubeadm, pod, known)).toEqual(answers(...known))
    const strict = ask(serverOf(objects, []), pod, known)
    expect(strict.rcode).toBe('NXDOMAIN')
    expect(strict.authority).toEqual([
      'in-addr.arpa. 5 SOA ns.dns.in-addr.arpa. hostmaster.in-addr.arpa. 1 7200 1800 86400 5',
    ])
  })
  test('part of an address, and an address with too many labels, are no addresses', () => {
    const server = serverOf(objects, [])
    for (const qname of ['244.10.in-addr.arpa.', '1.5.1.244.10.in-addr.arpa.', '300.1.244.10.in-addr.arpa.']) {
      expect(ask(server, `${qname} PTR`).rcode).toBe('NXDOMAIN')
    }
  })
  test('a CIDR as a zone stands for its reverse zones, down to the border of a label', () => {
    const server = serverOf(objects, ['ttl 30'], 'cluster.local 10.97.0.0/15 fd00::/16')
    const negative = (name: string) => ask(server, `${name} PTR`).authority.map((text) => text.split(' ')[0])
    expect(ask(server, '20.0.96.10.in-addr.arpa. PTR').rcode).toBe('NOERROR')
    expect(negative('1.1.97.10.in-addr.arpa.')).toEqual(['97.10.in-addr.arpa.'])
    expect(negative('1.1.98.10.in-addr.arpa.')).toEqual([])
    expect(negative('1.0.0.d.f.ip6.arpa.')).toEqual(['0.0.d.f.ip6.arpa.'])
  })
})

describe('the name server of the zone', () => {
  const dns = [
    service(
      'kube-dns',
      { clusterIP: '10.96.0.10', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] },
      'kube-system',
    ),
    slice('kube-dns', ['10.244.0.2'], { ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }, 'kube-system'),
    service('dns-peers', { clusterIP: 'None', ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }, 'kube-system'),
    slice('dns-peers', ['10.244.0.2'], { ports: [{ name: 'dns', port: 53, protocol: 'UDP' }] }, 'kube-system'),
  ]
  test('is every Service that holds the server as an endpoint', () => {
    expect(ask(serverOf([...objects, ...dns]), 'cluster.local. NS')).toEqual({
      rcode: 'NOERROR',
      answer: [
        'cluster.local. 30 NS 10-244-0-2.dns-peers.kube-system.svc.cluster.local.',
        'cluster.local. 30 NS kube-dns.kube-system.svc.cluster.local.',
      ],
      authority: [],
      additional: [
        '10-244-0-2.dns-peers.kube-system.svc.cluster.local. 30 A 10.244.0.2',
        'kube-dns.kube-system.svc.cluster.local. 30 A 10.96.0.10',
      ],
    })
  })
  test('has the name ns.dns', () => {
    const server = serverOf([...objects, ...dns])
    expect(ask(server, 'ns.dns.cluster.local.').answer).toEqual([
      'ns.dns.cluster.local. 30 A 10.244.0.2',
      'ns.dns.cluster.local. 30 A 10.96.0.10',
    ])
    expect(ask(server, 'ns.dns.cluster.local. AAAA')).toEqual(nodata)
  })
  test('is ns.dns with the address that pods ask, where the manifests hold no DNS server', () => {
    const reply = ask(kubeadm, 'cluster.local. NS')
    expect(reply.answer).toEqual(['cluster.local. 30 NS ns.dns.cluster.local.'])
    expect(reply.additional).toEqual(['ns.dns.cluster.local. 30 A 10.96.0.10'])
  })
})

describe('server blocks', () => {
  const stub = `cluster.local:53 {\n  kubernetes\n}\nexample.local:53 {\n  forward . 10.1.1.1\n}\n`
  test('kubernetes without zones has those of its block; a name in no block is refused', () => {
    const server = createDnsServer(clusterOf([...objects, coredns(stub)]))
    expect(ask(server, 'web.default.svc.cluster.local.').answer).toEqual([
      'web.default.svc.cluster.local. 5 A 10.96.0.20',
    ])
    expect(ask(server, 'db.example.local.', ['db.example.local. 60 A 192.0.2.1']).answer).toEqual([
      'db.example.local. 60 A 192.0.2.1',
    ])
    expect(ask(server, 'example.com.').rcode).toBe('REFUSED')
  })
  test('the longest zone wins, in whatever order', () => {
    const nested = `${kubernetesBlock(['ttl 7'])}svc.cluster.local {\n  forward . 10.1.1.1\n}\n`
    const server = createDnsServer(clusterOf([...objects, coredns(nested)]))
    expect(ask(server, 'web.default.svc.cluster.local.').rcode).toBe('NXDOMAIN')
    expect(ask(server, 'cluster.local. SOA').answer[0]).toContain(' 7 SOA ')
  })
})

describe('names outside the cluster', () => {
  const known = [
    'www.example.com. 60 CNAME cdn.example.net.',
    'cdn.example.net. 20 A 192.0.2.80',
    'example.com. 60 MX 10 mx.example.com.',
  ]
  test('are what the resolver outside knows, over CNAMEs', () => {
    expect(ask(kubeadm, 'www.example.com.', known)).toEqual(
      answers('www.example.com. 60 CNAME cdn.example.net.', 'cdn.example.net. 20 A 192.0.2.80'),
    )
    expect(ask(kubeadm, 'example.com. MX', known)).toEqual(answers('example.com. 60 MX 10 mx.example.com.'))
  })
  test('another type of a known name, and a name with names below it, are NODATA; others NXDOMAIN', () => {
    expect(ask(kubeadm, 'example.com. TXT', known).rcode).toBe('NOERROR')
    expect(ask(kubeadm, 'com.', known).rcode).toBe('NOERROR')
    expect(ask(kubeadm, 'example.org.', known).rcode).toBe('NXDOMAIN')
    expect(ask(kubeadm, 'example.org.').rcode).toBe('NXDOMAIN')
  })
  test('fail as it fails', () => {
    expect(ask(kubeadm, 'example.com.', { rcode: 'SERVFAIL' }).rcode).toBe('SERVFAIL')
  })
  test('a loop of CNAMEs ends', () => {
    const loop = ['a.example. 1 CNAME b.example.', 'b.example. 1 CNAME a.example.']
    expect(ask(kubeadm, 'a.example.', loop).answer).toEqual(loop)
  })
  test('a pod that does not ask the cluster gets only those', () => {
    expect(answerOutside({ qname: 'web.default.svc.cluster.local.', qtype: 'A' }).rcode).toBe('NXDOMAIN')
  })
})

describe('ExternalName', () => {
  const alias = (name: string, externalName: string) => service(name, { type: 'ExternalName', externalName })
  const server = serverOf([
    ...objects,
    alias('out', 'Db.Example.com'),
    alias('deep', 'x.deep.default.svc.cluster.local'),
    alias('pod', '10-244-9-9.default.pod.cluster.local'),
    alias('arpa', '5.1.244.10.in-addr.arpa'),
  ])
  const name = 'out.default.svc.cluster.local.'
  const cname = `${name} 30 CNAME Db.Example.com.`
  test('an outside target keeps its own ttl and the case it is written in', () => {
    expect(ask(server, name, ['db.example.com. 3600 A 192.0.2.53'])).toEqual(
      answers(cname, 'db.example.com. 3600 A 192.0.2.53'),
    )
  })
  test('outside NXDOMAIN, NODATA or nothing known: the CNAME alone', () => {
    expect(ask(server, name)).toEqual(answers(cname))
    expect(ask(server, `${name} AAAA`, ['db.example.com. 60 A 192.0.2.53'])).toEqual(answers(cname))
  })
  test('a failing resolver: nothing', () => {
    expect(ask(server, name, { rcode: 'SERVFAIL' })).toEqual(nodata)
  })
  test('TC from outside is passed on', () => {
    const upstream = parseUpstream({ truncated: true, records: ['db.example.com. 60 A 192.0.2.53'] }, 'row')
    expect(answerQuery(server, { qname: name, qtype: 'A', upstream }).truncated).toBe(true)
  })
  test('a target below the name itself is a loop', () => {
    expect(ask(server, 'deep.default.svc.cluster.local.')).toEqual(nodata)
  })
  test('a pod name is a target like any other', () => {
    expect(ask(server, 'pod.default.svc.cluster.local.').answer).toEqual([
      '10-244-9-9.default.pod.cluster.local. 30 A 10.244.9.9',
      'pod.default.svc.cluster.local. 30 CNAME 10-244-9-9.default.pod.cluster.local.',
    ])
  })
  test('a target in another zone of the server is asked of the server itself', () => {
    expect(ask(server, 'arpa.default.svc.cluster.local.')).toEqual(
      answers('arpa.default.svc.cluster.local. 30 CNAME 5.1.244.10.in-addr.arpa.'),
    )
  })
  test('MX, PTR and SRV of it are NODATA', () => {
    for (const type of ['MX', 'PTR', 'SRV']) expect(ask(server, `${name} ${type}`)).toEqual(nodata)
  })
})

describe('names that no message can hold', () => {
  test.each(['a..b.', `${'x'.repeat(64)}.cluster.local.`, `${'abcdefg.'.repeat(33)}`, 'a\\', 'a\\999b.', '.a.'])(
    '%j is FORMERR',
    (qname) => {
      expect(answerQuery(kubeadm, { qname, qtype: 'A' }).rcode).toBe('FORMERR')
    },
  )
  test('an escaped dot is part of a label', () => {
    expect(ask(kubeadm, 'web\\.default.svc.cluster.local.')).toEqual(nxdomain)
    // `x.cluster` is one label here, so the name is not in the zone and nobody's SOA is there.
    expect(ask(kubeadm, 'web.default.svc.x\\.cluster.local.').authority).toEqual([])
  })
  test('the root is a name like any other', () => {
    expect(ask(kubeadm, '. NS').rcode).toBe('NXDOMAIN')
  })
})

test("manifests without a Corefile and without kube-dns are answered by kubeadm's defaults", () => {
  const server = createDnsServer(clusterOf([service('db', { type: 'ExternalName', externalName: 'db.example.com' })]))
  expect(ask(server, 'db.default.svc.cluster.local. CNAME')).toEqual(
    answers('db.default.svc.cluster.local. 30 CNAME db.example.com.'),
  )
})
