/** ipvs has every address of a Service on kube-ipvs0: a process of the node that dials one has it as its source as well. */
import { expect, test } from 'vitest'
import { detail, file, one } from '../explain/support.ts'

const CLUSTER = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: n1}, status: {podIP: 10.244.1.5}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.96.0.20, externalTrafficPolicy: POLICY, selector: {app: web}, externalIPs: [198.51.100.7], ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
---
{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: MODE, CIDRdetectLocalMode: DETECT}
`

type Row = [words: string, mode: string, policy: string, from: string, to: string, detect: string, seen: string]
const PODS = 'ClusterCIDR'

test.each<Row>([
  [
    'Local, from a node with a pod: the load balancer address',
    'ipvs',
    'Local',
    '192.168.0.1',
    '203.0.113.9:80',
    PODS,
    '203.0.113.9',
  ],
  ['an external IP', 'ipvs', 'Local', '192.168.0.1', '198.51.100.7:80', PODS, '198.51.100.7'],
  ['Cluster: masqueraded, as from anybody', 'ipvs', 'Cluster', '192.168.0.1', '203.0.113.9:80', PODS, '10.244.1.1'],
  [
    'a cluster IP: masqueraded, for no pod has that source',
    'ipvs',
    'Local',
    '192.168.0.1',
    '10.96.0.20:80',
    PODS,
    '10.244.1.1',
  ],
  ['without a detector too', 'ipvs', 'Local', '192.168.0.1', '10.96.0.20:80', 'BridgeInterface', '10.244.1.1'],
  [
    'a node port is at the address of the node',
    'ipvs',
    'Local',
    '192.168.0.1',
    '192.168.0.1:30080',
    PODS,
    '192.168.0.1',
  ],
  ['in the other modes the node is seen', 'iptables', 'Local', '192.168.0.1', '203.0.113.9:80', PODS, '10.244.1.1'],
  ['from outside nothing changes', 'ipvs', 'Local', '198.51.100.99', '203.0.113.9:80', PODS, '198.51.100.99'],
])('%s', (_words, mode, policy, from, to, detect, seen) => {
  const text = CLUSTER.replace('POLICY', policy)
    .replace('MODE', mode)
    .replace('CIDRdetectLocalMode', detect === PODS ? 'clusterCIDR: 10.244.0.0/16, detectLocalMode' : 'detectLocalMode')
    .replace('DETECT', detect)
  const explanation = one({ manifests: [file(text)], from, to })
  expect(explanation.verdict).toBe('dnat')
  expect(detail(explanation, 'deliver')).toMatch(
    new RegExp(`^sees (the client as )?${seen.replaceAll('.', '\\.')}( |$)`),
  )
})

test('without a pod of its own the node sends to others, whose answers stay on their own node', () => {
  const text = CLUSTER.replace('POLICY', 'Local')
    .replace('MODE', 'ipvs')
    .replace('CIDRdetectLocalMode', 'clusterCIDR: 10.244.0.0/16, detectLocalMode')
    .replace('DETECT', PODS)
  const explanation = one({ manifests: [file(text)], from: '192.168.0.2', to: '203.0.113.9:80' })
  expect(detail(explanation, 'deliver')).toContain('go to 203.0.113.9, which their own node has on kube-ipvs0 too')
})
