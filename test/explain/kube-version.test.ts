/** Answers that differ from one release of Kubernetes to the next. */
import { describe, expect, test } from 'vitest'
import { parseKubernetesVersion } from '../../src/kubernetes-version.ts'
import { failure, file, lines, one } from './support.ts'

const CLUSTER = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24}, status: {NODEINFO addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, labels: {app: client}}, spec: {nodeName: n1}, status: {podIP: 10.244.1.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: near, labels: {app: statsd}}, spec: {nodeName: n1}, status: {podIP: 10.244.1.8}}
---
{apiVersion: v1, kind: Pod, metadata: {name: far, labels: {app: statsd}}, spec: {nodeName: n2}, status: {podIP: 10.244.2.8}}
---
{apiVersion: v1, kind: Service, metadata: {name: statsd}, spec: {clusterIP: 10.96.0.7, trafficDistribution: PreferSameNode, selector: {app: statsd}, ports: [{port: 8125, protocol: UDP}]}}
`
const cluster = (kubelet = ''): string[] => [
  file(CLUSTER.replace('NODEINFO', kubelet === '' ? '' : `nodeInfo: {kubeletVersion: ${kubelet}},`)),
]

describe('a sender that never pauses, to a UDP Service that has lost its last pod', () => {
  const rows = [
    { id: 1, time: 0, from: '10.244.1.5:5000', to: '10.96.0.7:8125', protocol: 'udp' },
    { time: 5, delete: { kind: 'Pod', namespace: 'default', name: 'far' } },
    { time: 5, delete: { kind: 'Pod', namespace: 'default', name: 'near' } },
    { id: 2, time: 20, from: '10.244.1.5:5000', to: '10.96.0.7:8125', protocol: 'udp' },
  ]
  test.each([
    ['1.31', 'reject no-endpoint'],
    ['1.32', 'drop backend-gone'],
    ['1.36', 'drop backend-gone'],
    ['1.37', 'reject no-endpoint'],
  ])('%s: %s', (kubeVersion, expected) => {
    const [, after] = lines(rows, { manifests: cluster(), stateful: true, kubeVersion })
    // The entry that nobody deleted leads on to a pod that is no more.
    expect(`${after!.verdict} ${after!.reason}`).toBe(expected)
  })
})

describe('trafficDistribution: PreferSameNode', () => {
  const ask = (options: object, kubelet = ''): number =>
    one({ manifests: cluster(kubelet), from: 'default/client', to: 'statsd:8125', protocol: 'udp', ...options })
      .endpoints.length
  test.each([
    ['counts from 1.34 on', { kubeVersion: '1.34' }, '', 1],
    ['not before', { kubeVersion: '1.33' }, '', 2],
    ["the nodes' kubelets tell", {}, 'v1.33.5', 2],
    ['what is asked for counts more', { kubeVersion: '1.35' }, 'v1.33.5', 1],
    ['nothing tells: 1.35', {}, '', 1],
  ])('%s', (_words, options, kubelet, endpoints) => {
    expect(ask(options, kubelet)).toBe(endpoints)
  })
})

describe('policy Local, no pod on the node, and a pod or the node itself dials', () => {
  const entry = file(`${CLUSTER.replace('NODEINFO', '')}---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: n2}, status: {podIP: 10.244.2.9}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 10.96.0.8, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}}}
`)
  test.each([
    ['1.31', 'nftables', '192.0.2.9:80', 'drop'],
    ['1.32', 'nftables', '192.168.0.1:30080', 'drop'],
    ['1.33', 'nftables', '192.0.2.9:80', 'dnat'],
    ['1.35', 'nftables', '192.168.0.1:30080', 'dnat'],
    ['1.31', 'iptables', '192.0.2.9:80', 'dnat'],
    ['1.31', 'nftables', '10.96.0.8:80', 'dnat'],
  ] as const)('%s, %s, %s: %s', (kubeVersion, proxyMode, to, verdict) => {
    for (const from of ['default/client', 'node/n1']) {
      const told = one({ manifests: [entry], from, to, kubeVersion, proxyMode })
      expect(told.verdict, from).toBe(verdict)
      if (verdict === 'drop') expect(told.reason).toBe('no-local-endpoint')
    }
  })

  test('with a pod on the node they are short-circuited in any release', () => {
    const told = one({ manifests: [entry], from: 'node/n2', to: '192.0.2.9:80', kubeVersion: '1.31' })
    expect(told.verdict).toBe('dnat')
  })
})

test.each(['1.31', 'v1.34.2', '1.37'])('%s is a release', (text) => {
  expect(parseKubernetesVersion(text)).toBeGreaterThan(30)
})

test.each(['', '1.30', '1.38', '2.0', 'latest', '1.3'])('"%s" is none that is emulated', (text) => {
  expect(failure(() => parseKubernetesVersion(text))).toMatch(
    /^E_USAGE 2 --kube-version is .*\(a release from 1\.31 to 1\.37/,
  )
})
