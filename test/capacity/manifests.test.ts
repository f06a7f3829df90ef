import { describe, expect, test } from 'vitest'
import { parseAxes } from '../../src/capacity/axes.ts'
import { manifestOf, withField, withNodes, withReplicas } from '../../src/capacity/manifests.ts'
import { UserError } from '../../src/errors.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import type { KubeObject } from '../../src/k8s/types.ts'

const NODES = `
apiVersion: v1
kind: Node
metadata: { name: a, labels: { topology.kubernetes.io/zone: z1, kubernetes.io/hostname: a } }
spec: { podCIDR: 10.244.7.0/24 }
status: { capacity: { cpu: 8 }, addresses: [{ type: InternalIP, address: 10.1.0.1 }] }
---
apiVersion: v1
kind: Node
metadata: { name: b, labels: { topology.kubernetes.io/zone: z2 } }
status: { capacity: { cpu: 2 } }
---
`
const DEPLOYMENT = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 4
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web }] } }
---
`
const POD = `
apiVersion: v1
kind: Pod
metadata: { name: web-x, labels: { app: web } }
spec: { nodeName: b, containers: [{ name: web }] }
status: { podIP: 10.244.9.9 }
---
`

function objects(text: string): KubeObject[] {
  return parseManifests([{ name: 'm.yaml', text }]).objects
}

function refusal(act: () => unknown): UserError {
  try {
    act()
  } catch (error) {
    if (error instanceof UserError) return error
  }
  throw new Error('was not refused')
}

describe('nodes', () => {
  test('further ones are copies in turn, with zone and size, and addresses and pod CIDRs of their own', () => {
    const { nodes } = deriveCluster(withNodes(objects(NODES + DEPLOYMENT), 5))
    expect(nodes.map(({ name, zone, cpus }) => [name, zone, cpus])).toEqual([
      ['a', 'z1', 8],
      ['b', 'z2', 2],
      ['a-2', 'z1', 8],
      ['b-2', 'z2', 2],
      ['a-3', 'z1', 8],
    ])
    expect(new Set(nodes.flatMap(({ addresses }) => addresses)).size).toBe(5)
    expect(new Set(nodes.flatMap(({ podCidrs }) => podCidrs)).size).toBe(5)
    expect(nodes.map(({ labels }) => labels['kubernetes.io/hostname'])).toEqual(['a', 'b', 'a-2', 'b-2', 'a-3'])
  })

  test('fewer are the first of them, and pods go to those', () => {
    const { nodes, pods } = deriveCluster(withNodes(objects(NODES + DEPLOYMENT), 1))
    expect(nodes.map(({ name }) => name)).toEqual(['a'])
    expect(pods.map(({ nodeName }) => nodeName)).toEqual(['a', 'a', 'a', 'a'])
  })

  test('where there are none, they are added to or taken from those that a cluster is given', () => {
    expect(deriveCluster(withNodes(objects(DEPLOYMENT), 2)).nodes.map(({ name }) => name)).toEqual(['node-1', 'node-2'])
    expect(deriveCluster(withNodes(objects(DEPLOYMENT), 4)).nodes.map(({ name }) => name)).toEqual([
      'node-1',
      'node-2',
      'node-3',
      'node-1-2',
    ])
  })

  test('as many as there are is the cluster there is', () => {
    const own = objects(NODES + DEPLOYMENT)
    expect(deriveCluster(withNodes(own, 2))).toEqual(deriveCluster(own))
  })

  test('what is bound to a node keeps it', () => {
    const { code, message, where } = refusal(() => withNodes(objects(NODES + POD), 1))
    expect([code, message, where]).toEqual([
      'E_CAPACITY_NODES',
      '1 nodes are too few: Pod web-x is bound to node b',
      'm.yaml, document 3',
    ])
    expect(deriveCluster(withNodes(objects(NODES + POD), 4)).nodes).toHaveLength(4)
  })
})

describe('replicas', () => {
  test.each([0, 1, 9])('%i pods', (replicas) => {
    const { pods } = deriveCluster(withReplicas(objects(NODES + DEPLOYMENT), 'default', 'web', replicas))
    expect(pods).toHaveLength(replicas)
  })

  test.each<[string, string, string]>([
    ['no such workload', 'wob', 'replicas.default/wob: no Deployment, StatefulSet or ReplicaSet is called that'],
    ['fewer than the written Pods', 'web', 'replicas.default/web: the manifests hold 1 Pods of it'],
  ])('%s', (_, name, message) => {
    const refused = refusal(() => withReplicas(objects(NODES + DEPLOYMENT + POD), 'default', name, 0))
    expect([refused.code, refused.message, refused.exitCode]).toEqual(['E_CAPACITY_REPLICAS', message, 2])
  })
})

test('objects written out are read back the same, without a warning', () => {
  const proxy = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n---\n'
  const coredns =
    'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: coredns, namespace: kube-system }\ndata: { Corefile: ".:53 {}" }\n---\n'
  const before = objects(NODES + DEPLOYMENT + POD + proxy + coredns)
  const { objects: after, warnings } = parseManifests([manifestOf(before)])
  const bare = (list: readonly KubeObject[]) => list.map(({ origin: _, ...rest }) => rest)
  expect(warnings).toEqual([])
  expect(bare(after)).toEqual(bare(before))
  const { warnings: _, ...cluster } = deriveCluster(after)
  const { warnings: __, ...own } = deriveCluster(before)
  expect(JSON.stringify(cluster).replace(/"origin":\{.*?\}/g, '')).toBe(
    JSON.stringify(own).replace(/"origin":\{.*?\}/g, ''),
  )
})

describe('a field of the manifests', () => {
  const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
`
  /** As `-L` is given it. */
  function swept(axis: string, text = NODES + DEPLOYMENT + SERVICE): KubeObject[] {
    const [{ target, values }] = parseAxes([], [axis], []) as [ReturnType<typeof parseAxes>[number]]
    if (target.kind !== 'manifest') throw new Error(`${axis} is no field of a manifest`)
    return withField(objects(text), target.field, values[0]!)
  }

  test.each<[string, string, unknown]>([
    ['Service/web:spec.sessionAffinity=ClientIP', 'Service', { sessionAffinity: 'ClientIP' }],
    ['Service/default/web:spec.externalTrafficPolicy=Local', 'Service', { externalTrafficPolicy: 'Local' }],
    ['Service/web:spec.ports[0].nodePort=30080', 'Service', { ports: [{ port: 80, nodePort: 30_080 }] }],
    [
      'Service/web:spec.sessionAffinityConfig.clientIP.timeoutSeconds=1800',
      'Service',
      { sessionAffinityConfig: { clientIP: { timeoutSeconds: 1800 } } },
    ],
    ['Deployment/web:spec.replicas=7', 'Deployment', { replicas: 7 }],
  ])('%s', (axis, kind, spec) => {
    const changed = swept(axis)
    expect(changed.find((object) => object.kind === kind)).toMatchObject({ spec })
    // The rest is as it was.
    expect(changed.filter((object) => object.kind !== kind)).toEqual(
      objects(NODES + DEPLOYMENT + SERVICE).filter((object) => object.kind !== kind),
    )
  })

  test.each<[string, string]>([
    ['Service/other:spec.sessionAffinity=ClientIP', 'there is no Service default/other'],
    ['Service/web:spec.sesionAffinity=ClientIP', 'spec.sesionAffinity is not a field of Service'],
    ['Service/web:spec.externalTrafficPolicy=local', 'expected Cluster or Local'],
    ['Service/web:spec.ports[0].port=http', 'expected a whole number'],
  ])('%s is refused', (axis, message) => {
    expect(() => swept(axis)).toThrow(
      expect.objectContaining({ code: 'E_CAPACITY_FIELD', exitCode: 2, message: expect.stringContaining(message) }),
    )
  })
})
