/** Whatever is in the files: objects, or a UserError that exits 3. Nothing else is thrown, and the result is consistent. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { canonicalIp } from '../../src/k8s/ip.ts'
import { type ManifestFile, parseManifests } from '../../src/k8s/load.ts'

const SEED = { seed: 20260822 }
const sources = [
  'seed/statefulset-mysql',
  'seed/session-affinity',
  'seed/ingress-two-hosts',
  'real/ingress-nginx-cloud',
].map((name) => readFileSync(new URL(`./manifests/${name}.yaml`, import.meta.url), 'utf8'))

/** The cluster, or null for a UserError. */
function outcome(files: readonly ManifestFile[], previous?: Cluster): Cluster | null {
  try {
    return deriveCluster(parseManifests(files).objects, previous)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    expect(error.exitCode).toBe(3)
    expect(error.where).not.toBe('')
    return null
  }
}

function expectConsistent(cluster: Cluster): void {
  const nodes = new Set(cluster.nodes.map(({ name }) => name))
  const addresses: string[] = []
  for (const { nodeName, addresses: own, hostNetwork } of cluster.pods) {
    expect(nodeName === '' || nodes.has(nodeName)).toBe(true)
    for (const ip of own) expect(canonicalIp(ip)).toBe(ip)
    if (!hostNetwork) addresses.push(...own)
  }
  for (const { clusterIPs, headless, type, loadBalancer } of cluster.services) {
    addresses.push(...clusterIPs)
    if (!headless && type !== 'ExternalName') expect(clusterIPs.length).toBeGreaterThan(0)
    if (type === 'LoadBalancer') expect(loadBalancer.length).toBeGreaterThan(0)
  }
  expect(new Set(addresses).size).toBe(addresses.length)
  for (const slice of cluster.slices) expect(slice.metadata.labels?.['kubernetes.io/service-name']).toBeTruthy()
}

it('any text', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.string({
      unit: fc.constantFrom('a', ':', ' ', '\n', '-', '[', '{', '}', '"', '&', '*', '!', '|', '#', '%', '\t'),
      maxLength: 80,
    }),
  )
  fc.assert(
    fc.property(text, (text) => {
      outcome([{ name: 'fuzz.yaml', text }])
    }),
    { ...SEED, numRuns: 500 },
  )
})

it('real manifests with pieces cut, moved and replaced', () => {
  const piece = fc.constantFrom(
    '',
    ': ',
    '\n',
    '- ',
    '[]',
    '{}',
    'null',
    '-1',
    '&a ',
    '*a',
    '---\n',
    '  ',
    '"',
    '9999999',
    'true',
  )
  fc.assert(
    fc.property(fc.constantFrom(...sources), fc.nat(), fc.nat(40), piece, (source, at, length, insert) => {
      const start = at % source.length
      const cluster = outcome([
        { name: 'fuzz.yaml', text: source.slice(0, start) + insert + source.slice(start + length) },
      ])
      if (cluster !== null) expectConsistent(cluster)
    }),
    { ...SEED, numRuns: 150 },
  )
})

it('objects with any values in the fields that are read', () => {
  const scalar = fc.oneof(
    fc.constantFrom(
      null,
      true,
      0,
      1,
      80,
      -1,
      70000,
      1.5,
      '',
      'a',
      'None',
      '10.0.0.1',
      '::1',
      '10.0.0.0/8',
      'TCP',
      'Local',
      'ClientIP',
      'LoadBalancer',
      'IPv6',
      '__proto__',
    ),
    fc.string({ maxLength: 8 }),
  )
  const key = fc.constantFrom(
    'name',
    'port',
    'ports',
    'selector',
    'type',
    'clusterIP',
    'clusterIPs',
    'ipFamilies',
    'ipFamilyPolicy',
    'nodePort',
    'targetPort',
    'endpoints',
    'addresses',
    'subsets',
    'ip',
    'containers',
    'template',
    'replicas',
    'spec',
    'metadata',
    'labels',
    'status',
    'taints',
    'podCIDR',
    'podIP',
    'app',
    'constructor',
    'matchLabels',
    'addressType',
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      scalar,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(key, tie('value'), { maxKeys: 5 }),
    ),
  }))
  const kind = fc.constantFrom(
    'v1 Service',
    'v1 Node',
    'v1 Pod',
    'v1 Endpoints',
    'discovery.k8s.io/v1 EndpointSlice',
    'apps/v1 Deployment',
    'apps/v1 DaemonSet',
    'networking.k8s.io/v1 Ingress',
    'v1 List',
  )
  const object = fc
    .tuple(kind, fc.constantFrom('a', 'b'), fc.dictionary(key, value, { maxKeys: 6 }))
    .map(([kind, name, body]) => {
      const [apiVersion, of] = kind.split(' ')
      return { metadata: { name }, spec: {}, items: [], ...body, apiVersion, kind: of }
    })
  fc.assert(
    fc.property(fc.array(object, { maxLength: 4 }), (items) => {
      const cluster = outcome([{ name: 'fuzz.json', text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }) }])
      if (cluster !== null) for (const { nodeName } of cluster.pods) expect(typeof nodeName).toBe('string')
    }),
    { ...SEED, numRuns: 1500 },
  )
})

it('clusters that are valid: consistent, repeatable, and stable when derived again from themselves', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'd', 'e')
  const object = fc.oneof(
    fc
      .record({
        name,
        type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer'),
        policy: fc.constantFrom('Cluster', 'Local'),
        families: fc.constantFrom('SingleStack', 'RequireDualStack'),
      })
      .map(({ name, type, policy, families }) => ({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name },
        spec: {
          type,
          externalTrafficPolicy: policy,
          ipFamilyPolicy: families,
          selector: { app: name },
          ports: [{ port: 80 }],
        },
      })),
    fc
      .record({
        name,
        kind: fc.constantFrom('Deployment', 'StatefulSet', 'DaemonSet'),
        replicas: fc.nat(7),
        hostNetwork: fc.boolean(),
      })
      .map(({ name, kind, replicas, hostNetwork }) => ({
        apiVersion: 'apps/v1',
        kind,
        metadata: { name },
        spec: {
          replicas,
          selector: { matchLabels: { app: name } },
          template: { metadata: { labels: { app: name } }, spec: { hostNetwork } },
        },
      })),
    fc
      .record({ name, cidr: fc.constantFrom(null, '10.244.3.0/24', '10.9.0.0/26'), unschedulable: fc.boolean() })
      .map(({ name, cidr, unschedulable }) => ({
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: `${name}-${cidr === null ? 'x' : cidr.slice(3, 5)}` },
        spec: { podCIDR: cidr, unschedulable },
      })),
    fc.record({ name, nodeName: fc.constantFrom('a-x', '', 'gone') }).map(({ name, nodeName }) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, labels: { app: name } },
      spec: { nodeName },
    })),
  )
  fc.assert(
    fc.property(
      fc.uniqueArray(object, { maxLength: 14, selector: ({ kind, metadata }) => `${kind} ${metadata.name}` }),
      (items) => {
        const files = [{ name: 'fuzz.json', text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }) }]
        const cluster = outcome(files)!
        expect(cluster).not.toBeNull()
        expectConsistent(cluster)
        expect(outcome(files)).toEqual(cluster)
        const again = outcome(files, cluster)!
        expect(again.services).toEqual(cluster.services)
        expect(again.nodes).toEqual(cluster.nodes)
        expect(again.pods).toEqual(cluster.pods)
        expect(again.slices).toEqual(cluster.slices)
      },
    ),
    { ...SEED, numRuns: 300 },
  )
})
