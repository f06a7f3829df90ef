/** Load-balancer addresses that nodes answer for themselves: MetalLB in both modes, kube-vip. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { file, one } from './support.ts'

const ADDRESS = '192.0.2.21'
const NAMES = ['node-a', 'node-b', 'node-c', 'node-d']

/** Nodes a to d, d is excluded from load balancers; pods on a and b, rack 1 has a and c. */
function cluster(extra: readonly object[], pods: readonly string[] = ['node-a', 'node-b']): string {
  const objects = [
    ...NAMES.map((name, i) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: {
        name,
        labels: {
          rack: i % 2 === 0 ? '1' : '2',
          ...(i === 3 ? { 'node.kubernetes.io/exclude-from-external-load-balancers': '' } : {}),
        },
      },
      spec: { podCIDR: `10.244.${i}.0/24` },
      status: {
        addresses: [{ type: 'InternalIP', address: `192.168.30.${i + 1}` }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    })),
    ...pods.map((nodeName, i) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `web-${i}`, namespace: 'default', labels: { app: 'web' } },
      spec: { nodeName, containers: [{ name: 'web', image: 'web' }] },
      status: { podIP: `10.244.${NAMES.indexOf(nodeName)}.9`, conditions: [{ type: 'Ready', status: 'True' }] },
    })),
    ...extra,
  ]
  return objects.map((object) => JSON.stringify(object)).join('\n---\n')
}

function service(policy: string, annotations: Readonly<Record<string, string>> = {}, ip = ADDRESS): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default', annotations },
    spec: {
      type: 'LoadBalancer',
      externalTrafficPolicy: policy,
      clusterIP: '10.96.0.9',
      selector: { app: 'web' },
      ports: [{ port: 80, nodePort: 30080 }],
    },
    status: { loadBalancer: { ingress: ip === '' ? [] : [{ ip }] } },
  }
}

const metallb = (kind: string, spec: object, name = 'one', labels = {}): object => ({
  apiVersion: 'metallb.io/v1beta1',
  kind,
  metadata: { name, namespace: 'metallb-system', labels },
  spec,
})
const POOL = metallb('IPAddressPool', { addresses: ['192.0.2.16-192.0.2.31'] }, 'lan', { tier: 'edge' })

/** As MetalLB's speakers agree on one: bytes of the hash, the smallest first. */
function leader(names: readonly string[]): string {
  const hash = (name: string): string => createHash('sha256').update(`${name}#${ADDRESS}`).digest('hex')
  return [...names].sort((a, b) => (hash(a) < hash(b) ? -1 : 1))[0]!
}

function answering(policy: string, extra: readonly object[], pods?: readonly string[]): string {
  const manifests = [file(cluster([service(policy), ...extra], pods))]
  const { steps } = one({ manifests, from: '198.51.100.7', to: `${ADDRESS}:80` })
  return steps.find(({ at }) => at === 'load balancer')!.detail
}

const RACK_1 = { nodeSelectors: [{ matchLabels: { rack: '1' } }] }

describe('MetalLB', () => {
  const l2 = (spec: object = {}): object => metallb('L2Advertisement', spec)
  test.each([
    [
      'layer 2, Cluster: one of all nodes but the excluded one',
      'Cluster',
      [POOL, l2()],
      ['node-a', 'node-b', 'node-c'],
    ],
    ['layer 2, Local: one of those with an endpoint', 'Local', [POOL, l2()], ['node-a', 'node-b']],
    [
      'an advertisement without spec is for all',
      'Cluster',
      [POOL, metallb('L2Advertisement', {})],
      ['node-a', 'node-b', 'node-c'],
    ],
    ['of the nodes that it selects', 'Cluster', [POOL, l2(RACK_1)], ['node-a', 'node-c']],
    ['and Local asks both', 'Local', [POOL, l2(RACK_1)], ['node-a']],
    ['by the name of its pool', 'Cluster', [POOL, l2({ ...RACK_1, ipAddressPools: ['lan'] })], ['node-a', 'node-c']],
    [
      'by labels of its pool',
      'Cluster',
      [POOL, l2({ ...RACK_1, ipAddressPoolSelectors: [{ matchLabels: { tier: 'edge' } }] })],
      ['node-a', 'node-c'],
    ],
    [
      'advertisements add up',
      'Cluster',
      [POOL, l2(RACK_1), metallb('L2Advertisement', { nodeSelectors: [{ matchLabels: { rack: '2' } }] }, 'two')],
      ['node-a', 'node-b', 'node-c'],
    ],
  ] as const)('%s', (_, policy, extra, candidates) => {
    expect(answering(policy, extra)).toMatch(new RegExp(`; ${leader(candidates)} answers$`))
  })

  test.each([
    ['nothing advertises the pool', 'Cluster', [POOL], undefined],
    ['only another pool is advertised', 'Cluster', [POOL, l2({ ipAddressPools: ['wan'] })], undefined],
    ['no endpoint is ready', 'Cluster', [POOL, l2()], []],
    ['Local, and no selected node has an endpoint', 'Local', [POOL, l2(RACK_1)], ['node-b']],
  ] as const)('nobody answers: %s', (_, policy, extra, pods) => {
    const manifests = [file(cluster([service(policy), ...extra], pods))]
    const explained = one({ manifests, from: '198.51.100.7', to: `${ADDRESS}:80` })
    expect(explained).toMatchObject({ verdict: 'drop', reason: 'no-healthy-node' })
    expect(explained.steps.at(-1)!.detail).toContain('no node answers')
  })

  test('BGP: all eligible nodes, and more of them than layer 2 has', () => {
    expect(answering('Cluster', [POOL, metallb('BGPAdvertisement', {})])).toContain('; node-a, node-b, node-c answer;')
    expect(answering('Local', [POOL, metallb('BGPAdvertisement', {})])).toContain('; node-a, node-b answer;')
  })

  test('an address that no pool has is not its own', () => {
    const pool = metallb('IPAddressPool', { addresses: ['203.0.113.0/28'] })
    expect(answering('Cluster', [pool, l2()])).toContain('every ready node is healthy; node-a, node-b, node-c pass')
  })

  test.each([
    [{}, '192.0.2.16'],
    [{ 'metallb.io/loadBalancerIPs': '192.0.2.30' }, '192.0.2.30'],
    [{ 'metallb.universe.tf/address-pool': 'manual' }, '203.0.113.8'],
  ])('gives a Service without an address one of its pools: %j', (annotations, address) => {
    const manual = metallb('IPAddressPool', { addresses: ['203.0.113.8/30'], autoAssign: false }, 'manual')
    const text = cluster([service('Cluster', annotations, ''), POOL, manual, l2()])
    const { steps } = one({ manifests: [file(text)], from: '198.51.100.7', to: 'default/web:80' })
    expect(steps[0]!.detail).toContain(`its load balancer's address, ${address}:80`)
  })
})

describe('kube-vip', () => {
  test.each(['Cluster', 'Local'])('the node that has the address takes all in, %s', (policy) => {
    const manifests = [file(cluster([service(policy, { 'kube-vip.io/vipHost': 'node-c' })]))]
    const explained = one({ manifests, from: '198.51.100.7', to: `${ADDRESS}:80` })
    expect(explained.node).toBe('node-c')
    expect(explained.verdict).toBe(policy === 'Local' ? 'drop' : 'dnat')
  })
})
