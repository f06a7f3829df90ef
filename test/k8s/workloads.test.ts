/** Pods that manifests ask for in less usual ways, where they go, and what is said of them. */
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { endpointsOf } from './helpers.ts'

function cluster(...items: object[]): Cluster {
  const text = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  return deriveCluster(parseManifests([{ name: 'all.json', text }]).objects)
}

const named = (apiVersion: string, kind: string, rest: object, name = 'web') => ({
  apiVersion,
  kind,
  metadata: { name },
  ...rest,
})
const template = (spec: object = {}, labels: object = { app: 'web' }) => ({ metadata: { labels }, spec })
const service = (selector: object = { app: 'web' }, rest: object = {}) =>
  named('v1', 'Service', { spec: { selector, ports: [{ port: 80 }], ...rest } })
const workload = (spec: object, kind = 'Deployment', name = 'web') =>
  named(kind === 'Job' ? 'batch/v1' : 'apps/v1', kind, { spec: { template: template(), ...spec } }, name)

describe('a Job', () => {
  test.each<[string, object, object | undefined, number]>([
    ['one pod by default', {}, undefined, 1],
    ['as many as run at a time', { parallelism: 4 }, undefined, 4],
    ['no more than there are completions left', { parallelism: 4, completions: 6 }, { succeeded: 4 }, 2],
    ['a work queue that has begun to end makes no new ones', { parallelism: 4 }, { succeeded: 1 }, 0],
    ['suspended', { suspend: true, parallelism: 4 }, undefined, 0],
    ['over', { parallelism: 2 }, { conditions: [{ type: 'Complete', status: 'True' }] }, 0],
  ])('%s', (_, spec, status, pods) => {
    const { slices, pods: all } = cluster(
      { ...workload(spec, 'Job', 'train'), status },
      service({ 'job-name': 'train' }),
    )
    expect(all).toHaveLength(pods)
    expect(slices.flatMap(({ endpoints }) => endpoints)).toHaveLength(pods)
  })

  test('with indexes has stable host names', () => {
    const { pods } = cluster(workload({ completionMode: 'Indexed', completions: 2, parallelism: 2 }, 'Job', 'train'))
    expect(pods.map(({ hostname, labels }) => [hostname, labels['batch.kubernetes.io/job-completion-index']])).toEqual([
      ['train-0', '0'],
      ['train-1', '1'],
    ])
  })

  test('takes no address from those who stay', () => {
    const addresses = ({ pods }: Cluster) =>
      pods.filter(({ owner }) => !owner.startsWith('Job')).map((pod) => pod.addresses)
    const alone = cluster(workload({ replicas: 5 }, 'StatefulSet'))
    expect(addresses(cluster(workload({ replicas: 5 }, 'StatefulSet'), workload({}, 'Job', 'a')))).toEqual(
      addresses(alone),
    )
  })
})

test('a bare pod that two selectors match is the same one’s in either order of the files', () => {
  const bare = named('v1', 'Pod', { spec: { containers: [{ name: 'c', image: 'c' }] } }, 'bare')
  const pod = { ...bare, metadata: { name: 'bare', labels: { app: 'web' } } }
  const selector = { matchLabels: { app: 'web' } }
  const two = ['old', 'new'].map((name) => workload({ replicas: 1, selector }, 'ReplicaSet', name))
  const ownersOf = (...items: object[]): string[] => cluster(pod, ...items).pods.map(({ owner }) => owner)
  expect(ownersOf(...two).sort()).toEqual(ownersOf(...two.reverse()).sort())
})

describe('what removed API versions said', () => {
  const parse = (object: object) => parseManifests([{ name: 'a.json', text: JSON.stringify(object) }])

  test.each(['extensions/v1beta1', 'apps/v1beta1', 'apps/v1beta2'])('Deployment of %s', (apiVersion) => {
    const { objects, warnings } = parse(
      named(apiVersion, 'Deployment', { spec: { replicas: 2, template: template() } }),
    )
    expect(objects).toMatchObject([{ apiVersion: 'apps/v1', spec: { replicas: 2 } }])
    expect(warnings).toEqual([
      {
        code: 'W_API_VERSION',
        where: 'a.json, document 1',
        message: `Deployment of ${apiVersion} is read as one of apps/v1: Kubernetes 1.16 and later refuse it`,
      },
    ])
  })

  test.each(['extensions/v1beta1', 'networking.k8s.io/v1beta1'])('Ingress of %s', (apiVersion) => {
    const backend = { serviceName: 'web', servicePort: 80 }
    const http = { paths: [{ path: '/', backend: { serviceName: 'web', servicePort: 'http' } }] }
    const { objects, warnings } = parse(
      named(apiVersion, 'Ingress', { spec: { backend, rules: [{ host: 'a.b', http }] } }),
    )
    expect(warnings.map(({ code }) => code)).toEqual(['W_API_VERSION'])
    expect(objects).toMatchObject([
      {
        apiVersion: 'networking.k8s.io/v1',
        spec: {
          defaultBackend: { service: { name: 'web', port: { number: 80 } } },
          rules: [
            {
              host: 'a.b',
              http: {
                paths: [
                  {
                    path: '/',
                    pathType: 'ImplementationSpecific',
                    backend: { service: { name: 'web', port: { name: 'http' } } },
                  },
                ],
              },
            },
          ],
        },
      },
    ])
  })

  test('EndpointSlice of discovery.k8s.io/v1beta1', () => {
    const topology = { 'kubernetes.io/hostname': 'n1', 'topology.kubernetes.io/zone': 'z' }
    const { objects } = parse(
      named('discovery.k8s.io/v1beta1', 'EndpointSlice', {
        addressType: 'IPv4',
        endpoints: [{ addresses: ['10.1.1.1'], topology }],
      }),
    )
    expect(objects).toMatchObject([{ endpoints: [{ addresses: ['10.1.1.1'], nodeName: 'n1', zone: 'z' }] }])
  })

  test('another kind of such a version is left out as before', () => {
    expect(parse(named('extensions/v1beta1', 'Service', { spec: {} })).objects).toEqual([])
  })
})

test('addresses that were blacked out are derived, and said', () => {
  const text = JSON.stringify({
    apiVersion: 'v1',
    kind: 'List',
    items: [
      named('v1', 'Node', {
        spec: { podCIDR: '***HIDDEN***/25', podCIDRs: ['***HIDDEN***/25'] },
        status: {
          addresses: [
            { type: 'InternalIP', address: '***HIDDEN***' },
            { type: 'Hostname', address: 'web' },
          ],
        },
      }),
      named('v1', 'Pod', { spec: { nodeName: 'web' }, status: { podIP: 'REDACTED' } }),
      service(undefined, { clusterIP: 'x-ipv4-0000000001-x' }),
    ],
  })
  const { objects, warnings } = parseManifests([{ name: 'a.json', text }])
  expect(warnings.map(({ code, message }) => `${code} ${message}`)).toEqual([
    'W_REDACTED spec.podCIDR of Node web is blacked out; another one is derived',
    'W_REDACTED spec.podCIDRs of Node web is blacked out; another one is derived',
    'W_REDACTED status.addresses of Node web is blacked out; another one is derived',
    'W_REDACTED status.podIP of Pod web is blacked out; another one is derived',
    'W_REDACTED spec.clusterIP of Service web is blacked out; another one is derived',
  ])
  const { nodes, pods, services } = deriveCluster(objects)
  expect([nodes[0]!.podCidrs, pods[0]!.addresses, services[0]!.clusterIPs].map(({ length }) => length)).toEqual([
    1, 1, 1,
  ])
  const wrong = JSON.stringify(named('v1', 'Node', { spec: { podCIDR: '10.0.0.0/77' } }))
  expect(() => parseManifests([{ name: 'a.json', text: wrong }]), 'a slip of the pen is none').toThrow(/podCIDR/)
})

describe('nodes that are made up suit the pods', () => {
  const on = (nodeSelector: object, name: string, kind = 'Deployment') =>
    workload({ replicas: 3, template: template({ nodeSelector }, { app: name }) }, kind, name)
  const gpu = { 'cloud.google.com/gke-accelerator': 'nvidia-l4' }

  test.each<[string, object[], number]>([
    ['a label that nobody has', [on(gpu, 'a')], 3],
    ['two values of one label', [on({ disk: 'ssd' }, 'a'), on({ disk: 'hdd' }, 'b')], 6],
    ['four values, more than there are nodes', ['w', 'x', 'y', 'z'].map((disk) => on({ disk }, disk)), 12],
    [
      'labels that only together fit',
      [on({ a: '1', b: '1' }, 'a'), on({ a: '1', b: '2' }, 'b'), on({ b: '1' }, 'c')],
      9,
    ],
    ['a node by its name', [on({ 'kubernetes.io/hostname': 'worker-7' }, 'a')], 3],
    ['another architecture', [on({ 'kubernetes.io/arch': 'arm64' }, 'a'), on({}, 'b')], 6],
    ['a DaemonSet of the control plane', [on({ 'node-role.kubernetes.io/control-plane': '' }, 'a', 'DaemonSet')], 3],
    [
      'one that wants a label and one that must not have it',
      [
        on({ pool: 'app' }, 'a'),
        workload({
          template: template({
            affinity: {
              nodeAffinity: {
                requiredDuringSchedulingIgnoredDuringExecution: {
                  nodeSelectorTerms: [{ matchExpressions: [{ key: 'pool', operator: 'NotIn', values: ['app'] }] }],
                },
              },
            },
          }),
        }),
      ],
      4,
    ],
    [
      'required affinity',
      [
        workload({
          template: template({
            affinity: {
              nodeAffinity: {
                requiredDuringSchedulingIgnoredDuringExecution: {
                  nodeSelectorTerms: [
                    { matchExpressions: [{ key: 'pool', operator: 'In', values: ['gold', 'silver'] }] },
                  ],
                },
              },
            },
          }),
        }),
      ],
      1,
    ],
  ])('%s', (_, objects, placed) => {
    const { pods, warnings } = cluster(...objects)
    expect(warnings).toEqual([])
    expect(pods.filter(({ addresses }) => addresses.length > 0)).toHaveLength(placed)
  })

  test('written nodes stay as they are, Windows is not made up, and both say why', () => {
    const node = named('v1', 'Node', {})
    const why = (...objects: object[]) =>
      cluster(...objects).warnings.map(({ where, message }) => `${where}: ${message}`)
    expect(why(node, on(gpu, 'a'))).toEqual([
      'Deployment default/a (all.json): 3 of its 3 pods fit on no node and have no address: no node has the label cloud.google.com/gke-accelerator=nvidia-l4 that its nodeSelector asks for',
    ])
    expect(why(node, on(gpu, 'a', 'DaemonSet'))).toEqual([
      'DaemonSet default/a (all.json): it has no pod: no node has the label cloud.google.com/gke-accelerator=nvidia-l4 that its nodeSelector asks for',
    ])
    expect(why(on({ 'kubernetes.io/os': 'windows' }, 'a'))[0]).toContain(
      'no node has the label kubernetes.io/os=windows',
    )
    const tainted = named('v1', 'Node', { spec: { taints: [{ key: 'gpu', effect: 'NoSchedule' }] } })
    expect(why(tainted, workload({}))[0]).toContain(
      'it does not tolerate the taint gpu of the node that it could be on',
    )
    const full = named('v1', 'Node', { status: { allocatable: { pods: '0' } } })
    expect(why(full, workload({}))[0]).toContain('no more pods fit (it takes 0)')
  })
})

test('a node that pods are on has the labels that they ask for, and a dump gets no further node', () => {
  const arm = { 'kubernetes.io/arch': 'arm64' }
  const pod = named('v1', 'Pod', { spec: { nodeName: 'n1', nodeSelector: arm } }, 'p')
  const { nodes, pods } = cluster(pod, workload({ template: template({ nodeSelector: arm }) }))
  expect(nodes.map(({ name, labels }) => [name, labels['kubernetes.io/arch']])).toEqual([['n1', 'arm64']])
  expect(pods.map(({ nodeName }) => nodeName)).toEqual(['n1', 'n1'])
})

describe('a Service without endpoints says whose pods it would have', () => {
  test.each<[string, object[], string]>([
    [
      'replicas: 0',
      [workload({ replicas: 0 })],
      'Deployment default/web, whose pods it selects, has none: it has no endpoints',
    ],
    ['nobody', [], 'no pod has the labels app=web that it selects: it has no endpoints'],
  ])('%s', (_, objects, message) => {
    expect(cluster(service(), ...objects).warnings).toMatchObject([{ code: 'W_NO_ENDPOINTS', message }])
  })

  test('but not default/kubernetes, which every dump has', () => {
    const { warnings, derived } = cluster({
      ...service(),
      metadata: { name: 'kubernetes' },
      spec: { ports: [{ port: 443 }] },
    })
    expect(warnings).toEqual([])
    expect(derived).toContainEqual(expect.objectContaining({ object: 'Service default/kubernetes' }))
  })
})

describe('rules about pods beside pods', () => {
  const term = { labelSelector: { matchLabels: { app: 'web' } }, topologyKey: 'kubernetes.io/hostname' }
  const apart = { affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } } }
  const together = { affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } } }
  const even = { topologySpreadConstraints: [{ ...term, maxSkew: 1, whenUnsatisfiable: 'DoNotSchedule' }] }

  test.each<[string, object, number, string, number[]]>([
    ['a DaemonSet apart', apart, 1, 'DaemonSet', [1, 1, 1]],
    ['one replica apart', apart, 1, 'Deployment', [1, 0, 0]],
    ['three apart', apart, 3, 'StatefulSet', [1, 1, 1]],
    ['four apart have a fourth node', apart, 4, 'Deployment', [1, 1, 1, 1]],
    ['two together', together, 2, 'Deployment', [2, 0, 0]],
    ['four spread', even, 4, 'Deployment', [2, 1, 1]],
  ])('%s, on nodes that are made up', (_, spec, replicas, kind, expected) => {
    const { nodes, pods, warnings } = cluster(workload({ replicas, template: template(spec) }, kind))
    expect(warnings).toEqual([])
    expect(nodes.map(({ name }) => pods.filter(({ nodeName }) => nodeName === name).length)).toEqual(expected)
  })
})

test('the endpoints of a Service over made-up nodes', () => {
  expect(endpointsOf(cluster(service(), workload({ replicas: 2 })), 'web')).toHaveLength(2)
})
