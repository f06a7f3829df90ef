/** Every address and port that a client may dial, by serviceport.go. */
import { describe, expect, test } from 'vitest'
import { proxyServices } from '../../src/compile/frontends.ts'
import type { ClusterService } from '../../src/k8s/cluster.ts'
import type { TrafficPolicy } from '../../src/k8s/types.ts'
import { type ServiceSpec, serviceOf } from '../core/cluster.ts'

const base: ServiceSpec = { name: 'web', clusterIP: '10.96.0.10', endpoints: [] }

function dialled(service: ClusterService, policy: TrafficPolicy | null = null): string[] {
  return proxyServices([service], policy).flatMap(({ frontends }) =>
    frontends.map(({ kind, address, port }) => `${kind} ${address ?? '*'} ${port}`),
  )
}

describe('frontends', () => {
  test.each<[string, Partial<ServiceSpec>, string[]]>([
    ['a ClusterIP Service', {}, ['clusterIP 10.96.0.10 80']],
    ['a NodePort Service', { nodePort: 30080 }, ['clusterIP 10.96.0.10 80', 'nodePort * 30080']],
    [
      'a LoadBalancer',
      { nodePort: 30080, balancer: ['203.0.113.1'] },
      ['clusterIP 10.96.0.10 80', 'loadBalancerIP 203.0.113.1 80', 'nodePort * 30080'],
    ],
    [
      'a LoadBalancer that proxies',
      { nodePort: 30080, balancer: ['203.0.113.1'], proxyMode: true },
      ['clusterIP 10.96.0.10 80', 'loadBalancerProxy 203.0.113.1 80', 'nodePort * 30080'],
    ],
    [
      'a balancer that has only a host name',
      { type: 'LoadBalancer', nodePort: 30080, balancer: [''] },
      ['clusterIP 10.96.0.10 80', 'nodePort * 30080'],
    ],
    [
      'external IPs, of its own family only',
      { externalIPs: ['203.0.113.9', '2001:db8::9'] },
      ['clusterIP 10.96.0.10 80', 'externalIP 203.0.113.9 80'],
    ],
    [
      'the health check port: only Local and LoadBalancer',
      { balancer: ['203.0.113.1'], nodePort: 30080, external: 'Local', healthCheckNodePort: 31000 },
      ['clusterIP 10.96.0.10 80', 'loadBalancerIP 203.0.113.1 80', 'nodePort * 30080', 'healthCheckNodePort * 31000'],
    ],
    [
      'no health check port under Cluster',
      { balancer: ['203.0.113.1'], nodePort: 30080, healthCheckNodePort: 31000 },
      ['clusterIP 10.96.0.10 80', 'loadBalancerIP 203.0.113.1 80', 'nodePort * 30080'],
    ],
    [
      'load balancer addresses of another type mean nothing',
      { type: 'NodePort', nodePort: 30080, balancer: ['203.0.113.1'] },
      ['clusterIP 10.96.0.10 80', 'nodePort * 30080'],
    ],
  ])('%s', (_words, changes, expected) => {
    expect(dialled(serviceOf({ ...base, ...changes }))).toEqual(expected)
  })

  test.each<[string, Partial<ServiceSpec>]>([
    ['a headless Service', { headless: true }],
    ['an ExternalName, even with a cluster IP', { type: 'ExternalName' }],
    ['one of another proxy', { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } }],
    ['one labelled headless', { labels: { 'service.kubernetes.io/headless': '' } }],
  ])('%s has none', (_words, changes) => {
    expect(dialled(serviceOf({ ...base, ...changes }))).toEqual([])
  })

  test('a dual stack Service is two, one of each family', () => {
    const service = {
      ...serviceOf({ ...base, externalIPs: ['203.0.113.9', '2001:db8::9'] }),
      clusterIPs: ['10.96.0.10', '2001:db8:96::a'],
    }
    expect(proxyServices([service], null).map(({ family }) => family)).toEqual(['IPv4', 'IPv6'])
    expect(dialled(service)).toEqual([
      'clusterIP 10.96.0.10 80',
      'externalIP 203.0.113.9 80',
      'clusterIP 2001:db8:96::a 80',
      'externalIP 2001:db8::9 80',
    ])
  })
})

describe('policies', () => {
  function policiesOf(spec: Partial<ServiceSpec>, policy: TrafficPolicy | null = null) {
    const [one] = proxyServices([serviceOf({ ...base, ...spec })], policy)
    return {
      externalLocal: one!.externalLocal,
      internalLocal: one!.internalLocal,
      accessible: one!.externallyAccessible,
    }
  }

  test.each<[string, Partial<ServiceSpec>, TrafficPolicy | null, ReturnType<typeof policiesOf>]>([
    [
      'Local on a NodePort Service',
      { nodePort: 30080, external: 'Local' },
      null,
      { externalLocal: true, internalLocal: false, accessible: true },
    ],
    [
      'Local on a ClusterIP Service means nothing',
      { external: 'Local' },
      null,
      { externalLocal: false, internalLocal: false, accessible: false },
    ],
    [
      '… but it does with external IPs',
      { external: 'Local', externalIPs: ['203.0.113.9'] },
      null,
      { externalLocal: true, internalLocal: false, accessible: true },
    ],
    [
      'a policy to try replaces what is written',
      { nodePort: 30080, external: 'Local' },
      'Cluster',
      { externalLocal: false, internalLocal: false, accessible: true },
    ],
    [
      '… in both directions',
      { nodePort: 30080 },
      'Local',
      { externalLocal: true, internalLocal: false, accessible: true },
    ],
    [
      '… but not where nothing comes from outside',
      {},
      'Local',
      { externalLocal: false, internalLocal: false, accessible: false },
    ],
    [
      'internalTrafficPolicy is left alone by it',
      { internal: 'Local' },
      'Cluster',
      { externalLocal: false, internalLocal: true, accessible: false },
    ],
    [
      'a balancer that only proxies and has no node port is not accessible',
      { balancer: ['203.0.113.1'], proxyMode: true },
      null,
      { externalLocal: false, internalLocal: false, accessible: false },
    ],
  ])('%s', (_words, spec, policy, expected) => {
    expect(policiesOf(spec, policy)).toEqual(expected)
  })
})
