/** What is not read is said where it matters, and what asks for too much is refused. */
import { describe, expect, test } from 'vitest'
import { proxySettings } from '../../src/compile/kube-proxy.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { reduce } from './helpers.ts'

function load(...objects: object[]) {
  return parseManifests([
    { name: 'all.json', text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }) },
  ])
}

function messages(...objects: object[]): string[] {
  return load(...objects).warnings.map(({ code, message }) => `${code} ${message}`)
}

const object = (apiVersion: string, kind: string, name = 'x') => ({
  apiVersion,
  kind,
  metadata: { name, namespace: 'a' },
})
const template = { metadata: { labels: { app: 'web' } }, spec: { containers: [{ name: 'web', image: 'web' }] } }
const workload = (kind: string, spec: object, apiVersion = 'apps/v1') => ({
  apiVersion,
  kind,
  metadata: { name: 'web', namespace: 'shop' },
  spec: { selector: { matchLabels: { app: 'web' } }, template, ...spec },
})

describe('kinds that are passed over', () => {
  test.each([
    [
      'projectcalico.org/v3',
      'NetworkPolicy',
      /^W_NOT_MODELLED NetworkPolicy a\/x is not modelled: what it forbids is delivered/,
    ],
    ['crd.projectcalico.org/v1', 'GlobalNetworkPolicy', /what it forbids is delivered/],
    ['policy.networking.k8s.io/v1alpha1', 'AdminNetworkPolicy', /what it forbids is delivered/],
    ['policy.networking.k8s.io/v1alpha1', 'BaselineAdminNetworkPolicy', /what it forbids is delivered/],
    ['policy.networking.k8s.io/v1alpha2', 'ClusterNetworkPolicy', /what it forbids is delivered/],
    ['cilium.io/v2', 'CiliumClusterwideNetworkPolicy', /what it forbids is delivered/],
    ['gateway.networking.k8s.io/v1', 'HTTPRoute', /^W_NOT_MODELLED HTTPRoute a\/x is not modelled/],
    ['traefik.io/v1alpha1', 'IngressRoute', /^W_NOT_MODELLED/],
    ['cilium.io/v2', 'CiliumNetworkPolicy', /^W_NOT_MODELLED/],
    ['kustomize.config.k8s.io/v1beta1', 'Kustomization', /run kustomize build/],
    ['v1', 'Sevice', /^W_UNKNOWN_KIND Sevice a\/x is left out: v1 has no kind Sevice; did you mean Service\?/],
    ['apps/v1', 'Deploymnet', /did you mean Deployment\?/],
  ])('%s %s', (apiVersion, kind, expected) => {
    expect(messages(object(apiVersion, kind))).toEqual([expect.stringMatching(expected)])
  })

  test.each([
    ['v1', 'Secret'],
    ['v1', 'ServiceAccount'],
    ['rbac.authorization.k8s.io/v1', 'ClusterRole'],
    ['apiextensions.k8s.io/v1', 'CustomResourceDefinition'],
    ['example.com/v1', 'Sevice'],
  ])('%s %s: not a word', (apiVersion, kind) => expect(messages(object(apiVersion, kind))).toEqual([]))

  test('many of a kind are one warning', () => {
    const policies = ['x', 'y', 'z'].map((name) => object('cilium.io/v2', 'CiliumNetworkPolicy', name))
    expect(messages(...policies)).toEqual([expect.stringContaining('a/x and 2 more of this kind are not modelled')])
  })

  test('a trace warns of them too', () => {
    const text = JSON.stringify({ ...object('cilium.io/v2', 'CiliumNetworkPolicy'), spec: { podSelector: {} } })
    const [kept] = reduce([{ name: 'deny.json', text }])
    expect(kept!.text).not.toContain('podSelector')
    expect(parseManifests([kept!]).warnings.map(({ code }) => code)).toEqual(['W_NOT_MODELLED'])
  })
})

describe('how many pods a workload has', () => {
  const scaler = (spec: object, status?: object, kind = 'Deployment') => ({
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: 'web', namespace: 'shop' },
    spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind, name: 'web' }, maxReplicas: 10, ...spec },
    status,
  })
  test.each<[string, object[], number]>([
    ['neither replicas nor autoscaler', [workload('Deployment', {})], 1],
    ['an autoscaler’s least', [workload('Deployment', {}), scaler({ minReplicas: 3 })], 3],
    ['replicas above the least', [workload('Deployment', { replicas: 5 }), scaler({ minReplicas: 3 })], 5],
    ['replicas above the most', [workload('Deployment', { replicas: 50 }), scaler({ minReplicas: 3 })], 10],
    [
      'what the autoscaler last wanted',
      [workload('Deployment', { replicas: 4 }), scaler({ minReplicas: 2 }, { desiredReplicas: 7 })],
      7,
    ],
    ['replicas: 0 switches it off', [workload('Deployment', { replicas: 0 }), scaler({ minReplicas: 3 })], 0],
    [
      'an autoscaler of another kind',
      [workload('Deployment', {}), scaler({ minReplicas: 3 }, undefined, 'StatefulSet')],
      1,
    ],
    [
      'a StatefulSet',
      [workload('StatefulSet', { serviceName: 'web' }), scaler({ minReplicas: 2 }, undefined, 'StatefulSet')],
      2,
    ],
    [
      'a ReplicationController',
      [workload('ReplicationController', { replicas: 2, selector: { app: 'web' } }, 'v1')],
      2,
    ],
    [
      'a ReplicationController without selector',
      [workload('ReplicationController', { replicas: 3, selector: undefined }, 'v1')],
      3,
    ],
  ])('%s', (_, objects, count) => {
    const { pods, derived } = deriveCluster(load(...objects).objects)
    expect(pods.filter(({ namespace }) => namespace === 'shop')).toHaveLength(count)
    if (count === 3 && objects.length === 2)
      expect(derived.find(({ object }) => object === 'Deployment shop/web')?.what).toContain(
        '3 replicas by HorizontalPodAutoscaler shop/web',
      )
  })

  test('the pods of a ReplicationController are endpoints of a Service', () => {
    const service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    }
    const rc = workload('ReplicationController', { replicas: 2, selector: { app: 'web' } }, 'v1')
    const { slices } = deriveCluster(load(service, rc).objects)
    expect(slices.flatMap(({ endpoints }) => endpoints)).toHaveLength(2)
  })

  test.each(['Deployment', 'StatefulSet', 'ReplicaSet'])(
    'a billion replicas of a %s are refused, with the field',
    (kind) => {
      const { objects } = load(workload(kind, { replicas: 1_000_000_000 }))
      expect(() => deriveCluster(objects)).toThrow(
        expect.objectContaining({
          code: 'E_TOO_MANY_PODS',
          where: 'all.json, document 1, spec.replicas',
          message: `spec.replicas of ${kind} shop/web is 1000000000; a cluster has at most 150000 pods`,
        }),
      )
    },
  )

  test('so are workloads that ask for too much together, and what a cluster holds is made', () => {
    const many = (name: string) => ({
      ...workload('Deployment', { replicas: 100_000 }),
      metadata: { name, namespace: 'shop' },
    })
    expect(() => deriveCluster(load(many('a'), many('b')).objects)).toThrow(/ask for 200000 pods together/)
    expect(deriveCluster(load(many('a')).objects).pods).toHaveLength(100_000)
  })
})

test.each([
  ['no configuration', null, 'nftables'],
  ['a configuration without a mode', {}, 'iptables'],
  ['mode: ""', { mode: '' }, 'iptables'],
  ['mode: ipvs', { mode: 'ipvs' }, 'ipvs'],
])('kube-proxy with %s', (_, config, mode) => {
  const objects =
    config === null
      ? []
      : [{ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration', ...config }]
  expect(proxySettings(deriveCluster(load(...objects).objects), null, []).mode).toBe(mode)
})
