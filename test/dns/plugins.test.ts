/** Corefiles that change names: what each plugin answers, by the sources of CoreDNS. */
import { describe, expect, test } from 'vitest'
import { answerQuery } from '../../src/dns/answer.ts'
import { parseUpstream } from '../../src/dns/records.ts'
import { createDnsServer } from '../../src/dns/zone.ts'
import { clusterOf, coredns, service } from './support.ts'

const UPSTREAM = parseUpstream(
  [
    'www.example.com. 300 A 192.0.2.80',
    'db.corp.example.net. 60 A 192.0.2.53',
    '*.wild.example. 60 A 192.0.2.99',
    'host.sub.wild.example. 60 A 192.0.2.1',
    '*.alias.example. 60 CNAME www.example.com.',
  ],
  'test',
)
const WEB = service('web', { clusterIP: '10.96.0.20', ports: [{ port: 80 }] }, 'shop')
const KUBERNETES =
  '  kubernetes cluster.local in-addr.arpa ip6.arpa {\n    pods verified\n    ttl 30\n  }\n  forward . 192.0.2.1\n'
const CLIENT = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'client', namespace: 'default' },
  spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'c' }] },
  status: { phase: 'Running', podIP: '10.244.1.9', podIPs: [{ ip: '10.244.1.9' }] },
}

/** `rcode: name ttl type data, …`. */
function ask(plugins: string, question: string, client = '', rest = ''): string {
  const cluster = clusterOf([WEB, CLIENT, coredns(`.:53 {\n${plugins}\n${KUBERNETES}}\n${rest}`)])
  const [qname, qtype = 'A'] = question.split(' ')
  const reply = answerQuery(createDnsServer(cluster), { qname, qtype, upstream: UPSTREAM, client })
  return `${reply.rcode}: ${reply.answer.map(({ name, ttl, type, data }) => `${name} ${ttl} ${type} ${data}`).join(', ')}`
}

describe('rewrite', () => {
  const WEB_NAME = 'web.shop.svc.cluster.local'
  test.each([
    [
      'exact: the name asked for is put back',
      `rewrite name shop.example.com ${WEB_NAME}`,
      'Shop.example.com.',
      'NOERROR: shop.example.com. 30 A 10.96.0.20',
    ],
    [
      'exact: names below it are not meant',
      `rewrite name shop.example.com ${WEB_NAME}`,
      'a.shop.example.com.',
      'NXDOMAIN: ',
    ],
    [
      'exact, written out',
      `rewrite stop name exact shop.example.com ${WEB_NAME}`,
      'shop.example.com.',
      'NOERROR: shop.example.com. 30 A 10.96.0.20',
    ],
    [
      'regex without answer: the reply has another name',
      'rewrite name regex (.*)\\.shop\\.example {1}.shop.svc.cluster.local',
      'web.shop.example.',
      `NOERROR: ${WEB_NAME}. 30 A 10.96.0.20`,
    ],
    [
      'regex with answer auto',
      'rewrite name regex (.*)\\.shop\\.example {1}.shop.svc.cluster.local answer auto',
      'web.shop.example.',
      'NOERROR: web.shop.example. 30 A 10.96.0.20',
    ],
    [
      'regex with answer name',
      'rewrite name regex (.*)\\.shop\\.example\\.$ {1}.shop.svc.cluster.local answer name (.*)\\.shop\\.svc\\.cluster\\.local\\.$ {1}.shop.example',
      'web.shop.example.',
      'NOERROR: web.shop.example. 30 A 10.96.0.20',
    ],
    [
      'a block of stop, name and answer',
      'rewrite stop {\n name regex (.*)\\.shop\\.example {1}.shop.svc.cluster.local\n answer name (.*)\\.shop\\.svc\\.cluster\\.local {1}.shop.example\n}',
      'web.shop.example.',
      'NOERROR: web.shop.example. 30 A 10.96.0.20',
    ],
    [
      'suffix with answer auto',
      'rewrite name suffix .shop.example .shop.svc.cluster.local answer auto',
      'web.shop.example.',
      'NOERROR: web.shop.example. 30 A 10.96.0.20',
    ],
    [
      'substring is kept with a final dot, so it does not match inside',
      'rewrite name substring shop.ex shop.svc.ex',
      'web.shop.example.',
      'NXDOMAIN: ',
    ],
    [
      'the first rule that applies ends it',
      `rewrite name a.example ${WEB_NAME}\nrewrite name ${WEB_NAME} www.example.com`,
      'a.example.',
      'NOERROR: a.example. 30 A 10.96.0.20',
    ],
    [
      'continue goes on',
      `rewrite continue name a.example ${WEB_NAME}\nrewrite name ${WEB_NAME} www.example.com`,
      'a.example.',
      'NOERROR: a.example. 300 A 192.0.2.80',
    ],
    [
      'the order of plugins is not that of the file',
      `hosts {\n 192.0.2.7 ${WEB_NAME}\n fallthrough\n}\nrewrite name a.example ${WEB_NAME}`,
      'a.example.',
      'NOERROR: a.example. 3600 A 192.0.2.7',
    ],
    ['type', 'rewrite type AAAA A', 'www.example.com. AAAA', 'NOERROR: www.example.com. 300 A 192.0.2.80'],
    ['ttl, one', 'rewrite ttl www.example.com 10', 'www.example.com.', 'NOERROR: www.example.com. 10 A 192.0.2.80'],
    [
      'ttl, a range',
      'rewrite ttl suffix example.com. -120',
      'www.example.com.',
      'NOERROR: www.example.com. 120 A 192.0.2.80',
    ],
    ['rcode', 'rewrite rcode nothing.example NXDOMAIN NOERROR', 'nothing.example.', 'NOERROR: '],
    [
      'in capitals',
      `rewrite name SHOP.example.com ${WEB_NAME}`,
      'shop.example.com.',
      'NOERROR: shop.example.com. 30 A 10.96.0.20',
    ],
  ])('%s', (_, plugins, question, expected) => {
    expect(ask(plugins, question)).toBe(expected)
  })
})

describe('hosts', () => {
  const HOSTS =
    'hosts {\n 192.0.2.44 registry.example.com registry\n 2001:db8::44 registry.example.com\n fallthrough\n}'
  test.each([
    ['an entry', HOSTS, 'registry.example.com.', 'NOERROR: registry.example.com. 3600 A 192.0.2.44'],
    ['the other family', HOSTS, 'registry.example.com. AAAA', 'NOERROR: registry.example.com. 3600 AAAA 2001:db8::44'],
    ['an entry without the family: no records, and no further', HOSTS, 'registry. AAAA', 'NOERROR: '],
    ['another type: no records', HOSTS, 'registry.example.com. MX', 'NOERROR: '],
    [
      'reverse',
      HOSTS,
      '44.2.0.192.in-addr.arpa. PTR',
      'NOERROR: 44.2.0.192.in-addr.arpa. 3600 PTR registry.example.com., 44.2.0.192.in-addr.arpa. 3600 PTR registry.',
    ],
    [
      'no_reverse',
      'hosts {\n 192.0.2.44 a.example\n no_reverse\n fallthrough\n}',
      '44.2.0.192.in-addr.arpa. PTR',
      'NXDOMAIN: ',
    ],
    ['what it does not hold goes on', HOSTS, 'www.example.com.', 'NOERROR: www.example.com. 300 A 192.0.2.80'],
    [
      'without fallthrough all other names fail, the cluster’s own too',
      'hosts {\n 192.0.2.44 a.example\n}',
      'web.shop.svc.cluster.local.',
      'SERVFAIL: ',
    ],
    [
      'fallthrough for one zone',
      'hosts {\n 192.0.2.44 a.example\n fallthrough example.com\n}',
      'db.corp.example.net.',
      'SERVFAIL: ',
    ],
    [
      'ttl',
      'hosts {\n ttl 60\n 192.0.2.44 a.example\n fallthrough\n}',
      'a.example.',
      'NOERROR: a.example. 60 A 192.0.2.44',
    ],
    [
      'zones: names outside them are not held',
      'hosts /dev/null example.org {\n 192.0.2.44 a.example\n fallthrough\n}',
      'a.example.',
      'NXDOMAIN: ',
    ],
    [
      'it answers before kubernetes',
      'hosts {\n 192.0.2.9 web.shop.svc.cluster.local\n fallthrough\n}',
      'web.shop.svc.cluster.local.',
      'NOERROR: web.shop.svc.cluster.local. 3600 A 192.0.2.9',
    ],
  ])('%s', (_, plugins, question, expected) => {
    expect(ask(plugins, question)).toBe(expected)
  })
})

describe('template', () => {
  const IP =
    'template IN A example.org {\n match "^ip-(?P<a>[0-9]+)-(?P<b>[0-9]+)[.]example[.]org[.]$"\n answer "{{ .Name }} 60 IN A 10.0.{{ .Group.a }}.{{ .Group.b }}"\n fallthrough\n}'
  test.each([
    ['places by name', IP, 'ip-3-4.example.org.', 'NOERROR: ip-3-4.example.org. 60 A 10.0.3.4'],
    [
      'places by number',
      'template IN A x.example {\n match ^(\\d+)\\.x\n answer "{{ .Name }} 5 {{ .Class }} {{ .Type }} 10.0.0.{{ index .Match 1 }}"\n}',
      '7.x.example.',
      'NOERROR: 7.x.example. 5 A 10.0.0.7',
    ],
    ['what does not match goes on with fallthrough', IP, 'other.example.org.', 'NXDOMAIN: '],
    [
      'and fails without',
      'template IN A x.example {\n match ^a\n answer "a.x.example. A 10.0.0.1"\n}',
      'b.x.example.',
      'SERVFAIL: ',
    ],
    ['another type goes on', IP, 'ip-3-4.example.org. AAAA', 'NXDOMAIN: '],
    ['an rcode alone', 'template IN AAAA . {\n rcode NXDOMAIN\n}', 'web.shop.svc.cluster.local. AAAA', 'NXDOMAIN: '],
    ['all AAAA without records', 'template ANY AAAA {\n rcode NOERROR\n}', 'www.example.com. AAAA', 'NOERROR: '],
    [
      'a CNAME is followed',
      'template IN ANY t.example {\n answer "{{ .Name }} 60 IN CNAME www.example.com."\n}',
      'a.t.example.',
      'NOERROR: a.t.example. 60 CNAME www.example.com., www.example.com. 300 A 192.0.2.80',
    ],
    [
      'a text that makes no record',
      'template IN A t.example {\n answer "{{ .Name }} 60 IN A nowhere"\n}',
      'a.t.example.',
      'SERVFAIL: ',
    ],
  ])('%s', (_, plugins, question, expected) => {
    expect(ask(plugins, question)).toBe(expected)
  })
})

describe('forward, acl, autopath', () => {
  const STUB = 'corp.example.net:53 {\n forward . 192.0.2.53\n}\n'
  test.each([
    [
      'a stub domain has its own block',
      '',
      'db.corp.example.net.',
      '',
      STUB,
      'NOERROR: db.corp.example.net. 60 A 192.0.2.53',
    ],
    ['a name of a block without forward', '', 'a.lone.example.', '', 'lone.example {\n errors\n}\n', 'SERVFAIL: '],
    [
      'except',
      '',
      'a.b.lone.example.',
      '',
      'lone.example {\n forward . 192.0.2.1 {\n  except b.lone.example\n }\n}\n',
      'SERVFAIL: ',
    ],
    [
      'forward of another zone only',
      '',
      'a.lone.example.',
      '',
      'lone.example {\n forward b.lone.example 192.0.2.1\n}\n',
      'SERVFAIL: ',
    ],
    ['acl block', 'acl {\n block type A net 10.244.0.0/16\n}', 'www.example.com.', '10.244.1.9', '', 'REFUSED: '],
    [
      'acl of another network',
      'acl {\n block net 192.0.2.0/24\n}',
      'www.example.com.',
      '10.244.1.9',
      '',
      'NOERROR: www.example.com. 300 A 192.0.2.80',
    ],
    [
      'acl allow before block',
      'acl {\n allow net 10.244.1.9\n block\n}',
      'www.example.com.',
      '10.244.1.9',
      '',
      'NOERROR: www.example.com. 300 A 192.0.2.80',
    ],
    ['acl filter', 'acl example.com {\n filter type A\n}', 'www.example.com.', '', '', 'NOERROR: '],
    [
      'autopath walks on for the pod that asks',
      'autopath @kubernetes',
      'web.shop.default.svc.cluster.local.',
      '10.244.1.9',
      '',
      'NOERROR: web.shop.default.svc.cluster.local. 30 CNAME web.shop.svc.cluster.local., web.shop.svc.cluster.local. 30 A 10.96.0.20',
    ],
    [
      'to the outside too',
      'autopath @kubernetes',
      'www.example.com.default.svc.cluster.local.',
      '10.244.1.9',
      '',
      'NOERROR: www.example.com.default.svc.cluster.local. 300 CNAME www.example.com., www.example.com. 300 A 192.0.2.80',
    ],
    [
      'not for who is no pod',
      'autopath @kubernetes',
      'web.shop.default.svc.cluster.local.',
      '192.0.2.200',
      '',
      'NXDOMAIN: ',
    ],
    [
      'nor from a later search domain',
      'autopath @kubernetes',
      'www.example.com.svc.cluster.local.',
      '10.244.1.9',
      '',
      'NXDOMAIN: ',
    ],
  ])('%s', (_, plugins, question, client, rest, expected) => {
    expect(ask(plugins, question, client, rest)).toBe(expected)
  })
})

describe('wildcards of the resolver outside (RFC 4592)', () => {
  test.each([
    ['a name that does not exist', 'a.wild.example.', 'NOERROR: a.wild.example. 60 A 192.0.2.99'],
    ['several labels deep', 'a.b.c.wild.example.', 'NOERROR: a.b.c.wild.example. 60 A 192.0.2.99'],
    ['another type: no records', 'a.wild.example. AAAA', 'NOERROR: '],
    ['the parent exists, without records', 'wild.example.', 'NOERROR: '],
    ['an empty non-terminal blocks it', 'sub.wild.example.', 'NOERROR: '],
    ['and so do the names below that: its closest encloser has no wildcard', 'a.sub.wild.example.', 'NXDOMAIN: '],
    ['the asterisk itself', '*.wild.example.', 'NOERROR: *.wild.example. 60 A 192.0.2.99'],
    [
      'a CNAME',
      'b.alias.example.',
      'NOERROR: b.alias.example. 60 CNAME www.example.com., www.example.com. 300 A 192.0.2.80',
    ],
    ['not beside it', 'a.tame.example.', 'NXDOMAIN: '],
  ])('%s', (_, question, expected) => {
    expect(ask('', question)).toBe(expected)
  })
})
