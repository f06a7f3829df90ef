/**
 * kube-proxy's own expected rules for a cluster of six Services, beside what the same objects give here: the same for every packet.
 *
 * Compared by following packets through both, the published rules and the printed ones, and by asking `decide` about the same objects.
 * Objects and rules: TestOverall{NFTables,IPTables}Rules of pkg/proxy/{nftables,iptables}/proxier_test.go (Apache-2.0), see `vectors`.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { ipToBigInt } from '../../src/k8s/ip.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { compareDump } from '../../src/rules/against.ts'
import { readDump } from '../../src/rules/read/dump.ts'
import { Follower, type Leaf, type Packet } from '../../src/rules/read/follow.ts'
import { dumpOf } from './dumps.ts'

type Mode = 'nftables' | 'iptables'

function published(mode: Mode): string {
  return readFileSync(new URL(`./vectors/kube-proxy-${mode}.txt`, import.meta.url), 'utf8')
}

function clusterOf(mode: Mode): Cluster {
  const service = (i: number, spec: object, ingress: readonly string[] = []): object => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: `svc${i}`, namespace: `ns${i}` },
    spec: { type: 'ClusterIP', clusterIP: `172.30.0.4${i}`, clusterIPs: [`172.30.0.4${i}`], ...spec },
    status: { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } },
  })
  const ports = (nodePort?: number): object => ({
    ports: [{ name: 'p80', port: 80, protocol: 'TCP', ...(nodePort === undefined ? {} : { nodePort }) }],
  })
  const slice = (i: number, endpoints: readonly object[]): object => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `svc${i}-1`, namespace: `ns${i}`, labels: { 'kubernetes.io/service-name': `svc${i}` } },
    addressType: 'IPv4',
    endpoints,
    ports: [{ name: 'p80', port: 80, protocol: 'TCP' }],
  })
  const items = [
    {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'test-node' },
      status: {
        addresses: ['192.168.0.2', '192.168.1.2'].map((address) => ({ type: 'InternalIP', address })),
      },
    },
    {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode,
      clusterCIDR: '10.0.0.0/8',
      ...(mode === 'nftables' ? { nodePortAddresses: ['192.168.0.2/32'] } : {}),
    },
    {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'ServiceCIDR',
      metadata: { name: 'kubernetes' },
      spec: { cidrs: ['172.30.0.0/16'] },
    },
    service(1, ports()),
    service(
      2,
      {
        ...ports(3001),
        type: 'LoadBalancer',
        externalTrafficPolicy: 'Local',
        externalIPs: ['192.168.99.22'],
        healthCheckNodePort: 30000,
      },
      ['1.2.3.4'],
    ),
    service(3, { ...ports(3003), type: 'NodePort' }),
    service(4, { ...ports(), externalIPs: ['192.168.99.33'] }),
    service(
      5,
      {
        ...ports(3002),
        type: 'LoadBalancer',
        loadBalancerSourceRanges: [' 203.0.113.0/25'],
        // The iptables case has none.
        ...(mode === 'nftables' ? { sessionAffinity: 'ClientIP' } : {}),
      },
      ['5.6.7.8'],
    ),
    service(6, ports()),
    slice(1, [{ addresses: ['10.180.0.1'] }]),
    slice(2, [{ addresses: ['10.180.0.2'] }]),
    slice(3, [{ addresses: ['10.180.0.3'] }]),
    slice(4, [{ addresses: ['10.180.0.4'] }, { addresses: ['10.180.0.5'], nodeName: 'test-node' }]),
    slice(5, [{ addresses: ['10.180.0.3'] }]),
  ]
  const text = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  return deriveCluster(parseManifests([{ name: 'published.json', text }]).objects)
}

const SOURCES = [
  '10.0.0.2',
  '10.255.255.255',
  '11.0.0.0',
  '9.255.255.255',
  '10.180.0.1',
  '10.180.0.3',
  '192.168.0.2',
  '192.168.1.2',
  '192.168.0.3',
  '203.0.113.2',
  '203.0.113.127',
  '203.0.113.128',
  '5.6.7.8',
]
const ADDRESSES = [
  ...[1, 2, 3, 4, 5, 6].map((i) => `172.30.0.4${i}`),
  '172.30.0.99',
  '192.168.99.22',
  '192.168.99.33',
  '1.2.3.4',
  '5.6.7.8',
  '192.168.0.2',
  '192.168.1.2',
]
const PORTS = [80, 443, 3001, 3002, 3003, 30000]

function said({ verdict, address, port, weight, masquerade, hairpin, list, seconds, with: how }: Leaf): string {
  const isKept = list === '' ? '' : ` kept ${seconds}`
  return `${verdict} ${how} ${address}:${port} ${weight.toFixed(6)} ${masquerade} ${hairpin}${isKept}`
}

describe.each(['nftables', 'iptables'] as const)('%s', (mode) => {
  const cluster = clusterOf(mode)

  test('the published rules do what these objects say', () => {
    const comparison = compareDump(cluster, readDump([{ path: 'published', text: published(mode) }], null), 'test-node')
    expect(comparison.differences).toEqual([])
    expect(comparison.warnings.filter(({ code }) => code === 'W_DUMP_RULE')).toEqual([])
    expect(comparison.packets).toBeGreaterThan(70)
  })

  test('and every packet goes the same way through them and through the printed ones', () => {
    const follower = (text: string): Follower =>
      new Follower(readDump([{ path: mode, text }], null).programs.get('IPv4')!)
    const theirs = follower(published(mode))
    const ours = follower(dumpOf(cluster, mode, 'test-node'))
    const seen = new Set<string>()
    for (const sourceText of SOURCES) {
      for (const destinationText of ADDRESSES) {
        for (const port of PORTS) {
          for (const protocol of ['tcp', 'udp']) {
            const fromNode = /^192\.168\.[01]\.2$/.test(sourceText)
            const packet: Packet = {
              source: ipToBigInt(sourceText),
              sourceText,
              destination: ipToBigInt(destinationText),
              destinationText,
              protocol,
              port,
              fromNode,
              sourceIsLocal: fromNode,
              destinationIsLocal: /^192\.168\.[01]\.2$/.test(destinationText),
              interface: 'eth0',
            }
            const expected = theirs.follow(packet).leaves.map(said).sort()
            expect(
              ours.follow(packet).leaves.map(said).sort(),
              JSON.stringify([sourceText, destinationText, port]),
            ).toEqual(expected)
            for (const one of expected) seen.add(one.split(' ')[0]!)
          }
        }
      }
    }
    const kinds =
      mode === 'iptables' ? ['accept', 'dnat', 'drop', 'none', 'reject'] : ['dnat', 'drop', 'none', 'reject']
    expect([...seen].sort()).toEqual(kinds)
  })
})
