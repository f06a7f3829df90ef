/** What `--from` and `--to` may say, and what is said to those who mistype. */
import { describe, expect, test } from 'vitest'
import { detail, explain, failure, file, one } from './support.ts'

const POD = 'shop/client'

describe('sources', () => {
  test.each([
    ['an address', '10.244.1.9', '10.244.1.9'],
    ['an address with a port', '10.244.1.9:40000', '10.244.1.9:40000'],
    ['leading zeros are decimal', '010.244.001.009', '10.244.1.9'],
    ['NAMESPACE/POD', 'shop/client', '10.244.1.9'],
    ['pod/NAME', 'pod/client', '10.244.1.9'],
    ['pod/NAMESPACE/NAME', 'pod/shop/client', '10.244.1.9'],
    ['a bare pod name', 'client', '10.244.1.9'],
    ['a pod with a port', 'shop/client:40000', '10.244.1.9:40000'],
    ['node/NAME', 'node/n1', '192.168.0.1'],
  ])('%s: %s', (_, from, source) => {
    const explanation = one({ from, to: '10.96.0.20:80' })
    expect(explanation.verdict).toBe('dnat')
    expect(detail(explanation, 'dnat')).toMatch(new RegExp(`^${source.replaceAll('.', '\\.')} → 10\\.96\\.0\\.20:80`))
  })
})

describe('destinations', () => {
  test.each([
    ['an address', '10.96.0.20:80', 'clusterIP', 'shop/web:http'],
    ['a short Service name, as the pod asks', 'web:80', 'clusterIP', 'shop/web:http'],
    ['a port by name', 'web:metrics', 'clusterIP', 'shop/web:metrics'],
    ['NAMESPACE/NAME', 'shop/web:http', 'clusterIP', 'shop/web:http'],
    ['svc/NAMESPACE/NAME', 'svc/shop/web:80', 'clusterIP', 'shop/web:http'],
    ['a whole DNS name', 'web.shop.svc.cluster.local:80', 'clusterIP', 'shop/web:http'],
    ['with its final dot', 'web.shop.svc.cluster.local.:80', 'clusterIP', 'shop/web:http'],
    ['a node', 'node/n1:30080', 'nodePort', 'shop/web:http'],
  ])('%s: %s', (_, to, frontend, service) => {
    expect(one({ from: POD, to })).toMatchObject({ verdict: 'dnat', frontend, service })
  })

  test('the port may be left out where there is only one, and its protocol is taken', () => {
    expect(one({ from: POD, to: 'dns' })).toMatchObject({ verdict: 'dnat', service: 'shop/dns:dns' })
    expect(one({ from: POD, to: 'dns:dns' })).toMatchObject({ verdict: 'dnat', service: 'shop/dns:dns' })
    expect(one({ from: POD, to: 'dns:53', protocol: 'udp' })).toMatchObject({ verdict: 'dnat' })
    expect(one({ from: POD, to: 'dns:53' })).toMatchObject({ verdict: 'reject', reason: 'no-such-port' })
  })

  test('a pod, by number or by the name of its port: straight there', () => {
    expect(one({ from: POD, to: 'pod/shop/web-1:admin' })).toMatchObject({ verdict: 'none', node: 'n1' })
    expect(detail(one({ from: POD, to: 'shop/web-2:8080' }), 'route')).toContain(
      '10.244.2.5 is pod shop/web-2: one hop to node n2',
    )
  })

  test('DNS tells which address a name has, and after how many tries', () => {
    expect(detail(one({ from: POD, to: 'web.shop:80' }), 'dns')).toBe(
      'web.shop → web.shop.svc.cluster.local (try 2 of the search list) has address 10.96.0.20 (clusterIP of Service shop/web)',
    )
    expect(detail(one({ from: '203.0.113.7', to: 'cache:6379' }), 'dns')).toBe(
      'a client outside of the cluster does not ask its DNS, and Service default/cache has no address for it; 10.96.0.30, its cluster IP, is followed all the same',
    )
  })

  test('a headless Service: all its pods, one of them followed', () => {
    const explanation = one({ from: POD, to: 'db:sql' })
    expect(explanation.verdict).toBe('none')
    expect([...explanation.endpoints].sort()).toEqual(['10.244.1.7:5432', '10.244.2.7:5432'])
    expect(detail(explanation, 'dns')).toContain('the client takes one of them')
  })

  test('an ExternalName: the alias, and no packet to follow', () => {
    const explanation = one({ from: POD, to: 'billing:443' })
    expect(explanation).toMatchObject({ verdict: 'none', reason: null, endpoints: [], node: null })
    expect(detail(explanation, 'dns')).toBe(
      'billing → billing.shop.svc.cluster.local is an alias (CNAME) of api.billing.example., which only a resolver outside the cluster knows',
    )
  })

  test('a headless Service without endpoints: nothing to dial', () => {
    const explanation = one({ from: POD, to: 'empty:1' })
    expect(explanation).toMatchObject({ verdict: 'drop', reason: 'name-not-resolved' })
    expect(detail(explanation, 'dns')).toBe(
      'empty → empty.shop.svc.cluster.local has no address: NXDOMAIN, no endpoint is published',
    )
  })
})

describe('names without an address: a verdict, and which object and field it is', () => {
  const WORLD = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: mysql}, spec: {clusterIP: None, selector: {app: mysql}, ports: [{name: mysql, port: 3306}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: legacy}, spec: {type: ExternalName, externalName: 172.31.21.16}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: mysql}
spec:
  replicas: 2
  serviceName: mysql-headless
  selector: {matchLabels: {app: mysql}}
  template: {metadata: {labels: {app: mysql}}, spec: {containers: [{name: m, image: mysql}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db}, spec: {clusterIP: None, selector: {app: db}, ports: [{name: db, port: 5432}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-0, labels: {app: db}}, spec: {nodeName: n1, hostname: db-0, subdomain: db, containers: [{name: d, image: d}]},
 status: {phase: Running, podIP: 10.244.1.77, podIPs: [{ip: 10.244.1.77}], conditions: [{type: Ready, status: "False"}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: six}, spec: {clusterIP: None, ipFamilies: [IPv6], ports: [{name: a, port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-a, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
endpoints: [{addresses: ["fd00::5"], conditions: {ready: true}}]
ports: [{name: a, port: 80, protocol: TCP}]
---
{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: apps}, spec: {nodeName: n1, containers: [{name: d, image: d}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: app}, spec: {nodeName: n1, containers: [{name: d, image: d}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host}, spec: {nodeName: n1, hostNetwork: true, containers: [{name: d, image: d}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: mute}, spec: {nodeName: n1, dnsPolicy: None, containers: [{name: d, image: d}]}}
`
  const world = file(WORLD)
  test.each([
    [
      'default/app',
      'mysql-0.mysql:3306',
      '2 endpoints are published, none with the host name mysql-0: serviceName of StatefulSet default/mysql is mysql-headless, not mysql',
    ],
    ['default/app', 'mysql-7.mysql:3306', '2 endpoints are published, and there is no pod default/mysql-7'],
    ['apps/app', 'mysql-0.mysql:3306', 'Service mysql is in namespace default: ask for mysql-0.mysql.default'],
    ['apps/app', 'mysql', 'Service mysql is in namespace default: ask for mysql.default'],
    [
      'default/host',
      'mysql-0.mysql:3306',
      "pod default/host is on its node's network and asks the node's resolver: that needs dnsPolicy ClusterFirstWithHostNet",
    ],
    ['default/mute', 'mysql:3306', 'pod default/mute has no nameserver (dnsPolicy None)'],
    ['default/app', 'db-0.db:5432', 'pod default/db-0 is not ready: its endpoint is not published'],
    [
      'default/app',
      'db:5432',
      'no endpoint is published: pod default/db-0 is not ready (publishNotReadyAddresses is not set)',
    ],
    ['default/app', 'legacy:3306', 'externalName 172.31.21.16 is an address, and CoreDNS makes no CNAME of one'],
    ['default/app', 'mysqll:3306', 'did you mean default/mysql?'],
    ['default/app', 'six:80', 'pod default/app has no address of the IP family of fd00::5'],
  ])('%s → %s: %s', (from, to, why) => {
    const { code, stdout } = explain({ manifests: [world], from, to })
    expect(code).toBe(0)
    const words = stdout.replace(/\s+/g, ' ')
    expect(words).toContain(why)
    expect(words).toContain('verdict: drop: the name leads to no address for this client')
    expect(words).not.toContain('or the client has no resolver')
  })
  test('a name of the world is unknown, until --upstream says what it is', () => {
    const asked = { manifests: [world], from: 'default/app', to: 'www.example.com:443' }
    expect(one(asked)).toMatchObject({ verdict: 'none', reason: null })
    expect(detail(one(asked), 'dns')).toContain('unknown, names outside the cluster are not known here')
    const told = one({ ...asked, naming: { upstream: ['www.example.com. 60 A 192.0.2.80'] } })
    expect(detail(told, 'dns')).toContain('has address 192.0.2.80')
  })
})

describe('mistakes', () => {
  test.each([
    ['no --to', { from: POD }, 'E_USAGE 2 explain needs --from and --to, or --packets'],
    ['no --from', { to: 'web:80' }, 'E_USAGE 2 explain needs --from and --to, or --packets'],
    ['no port', { from: POD, to: '10.96.0.20' }, 'E_USAGE 2 10.96.0.20 needs a port (write 10.96.0.20:80)'],
    [
      'a port that is none',
      { from: POD, to: '10.96.0.20:99999' },
      "E_USAGE 2 port '99999' of 10.96.0.20:99999 is not a number",
    ],
    ['half an address', { from: '10.244.1', to: 'web:80' }, "E_USAGE 2 '10.244.1' is not an IP address"],
    ['half an IPv6 address', { from: POD, to: '[2001:db8::zz]:80' }, "E_USAGE 2 '2001:db8::zz' is not an IP address"],
    [
      'a Service of another namespace',
      { from: '203.0.113.7', to: 'web:80' },
      'E_USAGE 2 there is no Service or name web (did you mean shop/web?)',
    ],
    [
      'a mistyped namespace',
      { from: POD, to: 'svc/shp/web:80' },
      'E_USAGE 2 there is no Service shp/web (did you mean shop/web?)',
    ],
    [
      'a mistyped pod',
      { from: 'shop/clinet', to: 'web:80' },
      'E_USAGE 2 there is no pod shop/clinet (did you mean shop/client?)',
    ],
    ['a mistyped node', { from: POD, to: 'node/n3:30080' }, 'E_USAGE 2 there is no node n3 (did you mean n1?)'],
    ['a mistyped --node', { from: POD, to: 'web:80', node: 'm2' }, 'E_USAGE 2 there is no node m2 (did you mean n2?)'],
    [
      'a mistyped port name',
      { from: POD, to: 'web:htpp' },
      "E_USAGE 2 Service shop/web has no port 'htpp' (did you mean http?)",
    ],
    [
      'a port that is not said',
      { from: POD, to: 'web' },
      'E_USAGE 2 web needs a port: Service shop/web has http, metrics',
    ],
    [
      'a protocol that is none',
      { from: POD, to: 'web:80', protocol: 'icmp' },
      'E_USAGE 2 protocol "icmp" is not tcp, udp or sctp',
    ],
    [
      'two families',
      { from: '2001:db8::7', to: '10.96.0.20:80' },
      'E_USAGE 2 2001:db8::7 has no address of the IP family of 10.96.0.20:80',
    ],
    ['a node without a port', { from: POD, to: 'node/n1' }, 'E_USAGE 2 node/n1 needs a port'],
    ['nothing', { from: POD, to: ':80' }, "E_USAGE 2 ':80' names no destination"],
    ['--stateful alone', { from: POD, to: 'web:80', stateful: true }, 'E_USAGE 2 --stateful needs --packets'],
    [
      'both ways to ask',
      { packets: '-', from: POD },
      'E_USAGE 2 --packets and --from, --to or --protocol exclude each other',
    ],
    [
      'both on standard input',
      { packets: '-', manifests: ['-'] },
      'E_USAGE 2 -f - and --packets - both read standard input',
    ],
    [
      'a file that is not there',
      { packets: '/nonexistent/p.ndjson' },
      'E_PACKETS 2 cannot read /nonexistent/p.ndjson (ENOENT)',
    ],
    [
      'an unknown format',
      { from: POD, to: 'web:80', output: ['yaml'] },
      "E_USAGE 2 -o yaml: no output format is called 'yaml'",
    ],
  ])('%s', (_, options, message) => {
    expect(failure(() => explain(options)).slice(0, message.length)).toBe(message)
  })
})
