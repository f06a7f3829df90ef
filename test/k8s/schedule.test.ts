/** Where the scheduler would put pods, in the words of those who ask why one is not where they want it. */
import { dump } from 'js-yaml'
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { quantity } from '../../src/k8s/resources.ts'

const HOST = 'kubernetes.io/hostname'
const ZONE = 'topology.kubernetes.io/zone'

function clusterOf(...objects: object[]): Cluster {
  return deriveCluster(
    parseManifests([{ name: 'test.yaml', text: objects.map((one) => dump(one)).join('---\n') }]).objects,
  )
}

interface NodeOptions {
  readonly labels?: Record<string, string>
  readonly taints?: object[]
  readonly allocatable?: Record<string, string>
}

function node(name: string, { labels = {}, taints = [], allocatable }: NodeOptions = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels },
    spec: { taints },
    status: allocatable === undefined ? {} : { allocatable },
  }
}

function deployment(
  name: string,
  replicas: number,
  spec: object,
  labels: Record<string, string> = { app: name },
): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  }
}

const asking = (cpu: string, memory = '1Gi'): object => ({
  containers: [{ name: 'c', resources: { requests: { cpu, memory } } }],
})

function places(cluster: Cluster, owner: string): string[] {
  return cluster.pods.filter((pod) => pod.owner === `Deployment default/${owner}`).map(({ nodeName }) => nodeName)
}

function why(cluster: Cluster): string[] {
  return cluster.warnings.filter(({ code }) => code === 'W_POD_UNPLACED').map(({ message }) => message)
}

const SMALL = { cpu: '2', memory: '4Gi', pods: '110' }
const three = (options: NodeOptions = { allocatable: SMALL }): object[] =>
  ['a', 'b', 'c'].map((name) => node(name, options))

describe('requests against allocatable', () => {
  test('six pods of a CPU and a half on three nodes with two CPUs: three run', () => {
    const cluster = clusterOf(...three(), deployment('web', 6, asking('1500m')))
    expect(places(cluster, 'web').sort()).toEqual(['', '', '', 'a', 'b', 'c'])
    expect(why(cluster)).toEqual([
      '3 of its 6 pods fit on no node and have no address: on all nodes that it could be on CPU is short (it asks for 1500m)',
    ])
  })

  test('what is there already counts, and a limit without a request is one', () => {
    const there = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'big' },
      spec: { nodeName: 'a', containers: [{ name: 'c', resources: { limits: { cpu: '1800m' } } }] },
    }
    expect(places(clusterOf(...three(), there, deployment('web', 2, asking('500m'))), 'web').sort()).toEqual(['b', 'c'])
  })

  test('memory and CPU can be short on different nodes', () => {
    const cluster = clusterOf(
      node('thin', { allocatable: { cpu: '8', memory: '1Gi' } }),
      node('slow', { allocatable: { cpu: '500m', memory: '64Gi' } }),
      deployment('web', 1, asking('2', '2Gi')),
    )
    expect(why(cluster)).toEqual([
      'its pod fits on no node and has no address: of the 2 nodes that it could be on, on 1 memory is short (it asks for 2048Mi), on 1 CPU is short (it asks for 2000m)',
    ])
  })

  test('the emptiest node is best, and equal parts of CPU and memory', () => {
    const cluster = clusterOf(
      node('busy', { allocatable: { cpu: '4', memory: '8Gi' } }),
      node('free', { allocatable: { cpu: '4', memory: '8Gi' } }),
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'there' },
        spec: { nodeName: 'busy', ...asking('2', '4Gi') },
      },
      deployment('web', 1, asking('1', '2Gi')),
    )
    expect(places(cluster, 'web')).toEqual(['free'])
  })

  test.each([
    ['1500m', 1.5],
    ['2', 2],
    ['0.5', 0.5],
    ['128Mi', 134_217_728],
    ['1e3', 1000],
    ['2G', 2e9],
    ['100n', 1e-7],
    ['1.5Ki', 1536],
  ])('%s is %d', (text, value) => {
    expect(quantity(text)).toBeCloseTo(value, 12)
  })

  test.each(['', 'x', '1Q', '-1', '1 Mi', '1mi'])('"%s" is no quantity', (text) => {
    expect(quantity(text)).toBeNaN()
  })
})

describe('host ports', () => {
  const port = { containers: [{ name: 'c', ports: [{ containerPort: 80, hostPort: 8080 }] }] }
  test('two pods with one cannot share a node', () => {
    const cluster = clusterOf(node('a'), node('b'), deployment('edge', 3, port))
    expect(places(cluster, 'edge').sort()).toEqual(['', 'a', 'b'])
    expect(why(cluster)[0]).toContain('host port 8080/TCP is taken')
  })

  test('on the host network every port is one, whoever has it', () => {
    const open = { containers: [{ name: 'c', ports: [{ containerPort: 8080 }] }], hostNetwork: true }
    const cluster = clusterOf(node('a'), node('b'), deployment('a-first', 1, port), deployment('b-second', 1, open))
    expect(places(cluster, 'b-second')).not.toEqual(places(cluster, 'a-first'))
  })
})

describe('pods beside pods', () => {
  const term = (app: string, topologyKey = HOST): object => ({ labelSelector: { matchLabels: { app } }, topologyKey })
  const need = (field: 'podAffinity' | 'podAntiAffinity', app: string, topologyKey = HOST): object => ({
    affinity: { [field]: { requiredDuringSchedulingIgnoredDuringExecution: [term(app, topologyKey)] } },
  })
  const like = (field: 'podAffinity' | 'podAntiAffinity', app: string): object => ({
    affinity: {
      [field]: { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: term(app) }] },
    },
  })
  const nodes = three({})

  test.each<[string, object[], string, string[]]>([
    [
      'a cache beside the pods that use it',
      [deployment('app', 2, {}), deployment('cache', 2, need('podAffinity', 'app'))],
      'cache',
      ['a', 'b'],
    ],
    ['nothing to be beside: nowhere', [deployment('cache', 1, need('podAffinity', 'app'))], 'cache', ['']],
    [
      'the first of those that want to be together is anywhere',
      [deployment('x', 3, need('podAffinity', 'x'))],
      'x',
      ['a', 'a', 'a'],
    ],
    [
      'apart from itself, a fourth has no place',
      [deployment('x', 4, need('podAntiAffinity', 'x'))],
      'x',
      ['', 'a', 'b', 'c'],
    ],
    [
      'those that are there keep others out as well',
      [deployment('a-loner', 2, need('podAntiAffinity', 'guest')), deployment('guest', 1, {})],
      'guest',
      ['c'],
    ],
    [
      'a preference is met where it can be',
      [deployment('app', 1, {}), deployment('cache', 1, like('podAffinity', 'app'))],
      'cache',
      ['a'],
    ],
    ['and given up where it cannot', [deployment('x', 4, like('podAntiAffinity', 'x'))], 'x', ['a', 'a', 'b', 'c']],
  ])('%s', (_words, workloads, owner, expected) => {
    expect(places(clusterOf(...nodes, ...workloads), owner).sort()).toEqual(expected)
  })
})

describe('spread', () => {
  const zone = (name: string, letter: string): object => node(name, { labels: { [ZONE]: letter } })
  const spread = (whenUnsatisfiable: string, topologyKey: string, more: object = {}): object => ({
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey, whenUnsatisfiable, labelSelector: { matchLabels: { app: 'web' } }, ...more },
    ],
  })
  const uneven = [zone('a1', 'a'), zone('a2', 'a'), zone('a3', 'a'), zone('b1', 'b')]

  test.each<[string, object[], number, object, string]>([
    ['by default three nodes of a zone outweigh the one of another', uneven, 4, {}, 'a1 a2 a3 b1'],
    ['DoNotSchedule over zones keeps them even', uneven, 4, spread('DoNotSchedule', ZONE), 'a1 a2 b1 b1'],
    ['ScheduleAnyway over zones as well, where it can', uneven, 4, spread('ScheduleAnyway', ZONE), 'a1 a2 b1 b1'],
    [
      'a node without the label is not for it',
      [node('plain'), zone('a1', 'a')],
      2,
      spread('DoNotSchedule', ZONE),
      'a1 a1',
    ],
    [
      'fewer zones than minDomains: one a zone',
      [zone('a1', 'a'), zone('b1', 'b')],
      4,
      spread('DoNotSchedule', ZONE, { minDomains: 3 }),
      '  a1 b1',
    ],
    [
      'a tainted node does not hold the others back',
      [node('a'), node('b', { taints: [{ key: 'x', effect: 'PreferNoSchedule' }] })],
      1,
      {},
      'a',
    ],
  ])('%s', (_words, nodes, replicas, spec, expected) => {
    expect(
      places(clusterOf(...nodes, deployment('web', replicas, spec)), 'web')
        .sort()
        .join(' '),
    ).toBe(expected)
  })

  test('preferred node affinity', () => {
    const preferred = {
      weight: 50,
      preference: { matchExpressions: [{ key: 'disk', operator: 'In', values: ['ssd'] }] },
    }
    const spec = { affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [preferred] } } }
    const cluster = clusterOf(node('a'), node('b', { labels: { disk: 'ssd' } }), deployment('web', 1, spec))
    expect(places(cluster, 'web')).toEqual(['b'])
  })
})

test('as many nodes are made up as the workloads need', () => {
  const { nodes, pods } = clusterOf(deployment('web', 1000, {}))
  expect(nodes).toHaveLength(10)
  expect(pods.every(({ addresses }) => addresses.length === 1)).toBe(true)
})
