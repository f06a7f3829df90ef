/** Who asks for a Service by a name from outside of the cluster, and load balancers that are known by name only. */
import { describe, expect, test } from 'vitest'
import { file, one } from './support.ts'

const entry = (status: object, policy: string, type = 'LoadBalancer'): string =>
  [
    ...[1, 2].map((i) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `n${i}` },
      spec: { podCIDR: `10.244.${i}.0/24` },
      status: {
        addresses: [{ type: 'InternalIP', address: `192.168.0.${i}` }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    })),
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'entry-0', namespace: 'shop', labels: { app: 'entry' } },
      spec: { nodeName: 'n2', containers: [{ name: 'entry', image: 'entry' }] },
      status: {
        podIP: '10.244.2.7',
        podIPs: [{ ip: '10.244.2.7' }],
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'entry', namespace: 'shop' },
      spec: {
        type,
        clusterIP: '10.96.0.9',
        externalTrafficPolicy: policy,
        selector: { app: 'entry' },
        ports: [{ name: 'https', port: 443, targetPort: 8443, nodePort: 30443 }],
      },
      status: { loadBalancer: status },
    },
  ]
    .map((object) => JSON.stringify(object))
    .join('\n---\n')

const BY_IP = { ingress: [{ ip: '203.0.113.80' }] }
const BY_NAME = { ingress: [{ hostname: 'lb.example.net' }] }
const CLIENT = '198.51.100.9'

describe("a Service's name, from outside", () => {
  test.each([
    ['entry.shop:443', BY_IP, 'LoadBalancer', 'loadBalancerIP'],
    ['shop/entry:https', BY_IP, 'LoadBalancer', 'loadBalancerIP'],
    ['entry.shop.svc.cluster.local:443', BY_IP, 'LoadBalancer', 'loadBalancerIP'],
    ['entry.shop:443', {}, 'NodePort', 'nodePort'],
  ])('%s dials what the outside has: %#', (to, status, type, frontend) => {
    const explained = one({ manifests: [file(entry(status, 'Cluster', type))], from: CLIENT, to })
    expect(explained).toMatchObject({ frontend, verdict: 'dnat', endpoints: ['10.244.2.7:8443'], masquerade: true })
    expect(explained.steps[0]!.detail).toContain('a client outside of the cluster does not ask its DNS')
  })

  test('a pod asks DNS and dials the cluster IP, as before', () => {
    const explained = one({ manifests: [file(entry(BY_IP, 'Cluster'))], from: '10.244.2.7', to: 'entry.shop:443' })
    expect(explained.frontend).toBe('clusterIP')
  })
})

describe('a load balancer that has a host name only', () => {
  test.each(['lb.example.net:443', 'LB.example.net.:443', 'shop/entry:443'])(
    'is found as %s, and passes its health check under Local',
    (to) => {
      const explained = one({ manifests: [file(entry(BY_NAME, 'Local'))], from: CLIENT, to })
      expect(explained).toMatchObject({
        verdict: 'dnat',
        node: 'n2',
        endpoints: ['10.244.2.7:8443'],
        masquerade: false,
      })
    },
  )
})
