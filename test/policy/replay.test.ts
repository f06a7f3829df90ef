/** NetworkPolicies in a replay: what is dropped and counted, in either policy, with names, through an Ingress, and what the report says. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { WorkerPool } from '../../dist/src/replay/pool.js'
import { replay } from '../../dist/src/replay/replay.js'
import { conclude } from '../../src/report/conclusion.ts'
import type { ReplayReport } from '../../src/report/types.ts'
import { generateTrace } from '../../src/trace/generate.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-policies-'))
const pool = new WorkerPool(1)
afterAll(async () => {
  await pool.close()
  rmSync(folder, { recursive: true, force: true })
})

type Manifest = Readonly<Record<string, unknown>>

const node = (i: number): Manifest => ({
  ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: `n${i}` } },
  spec: { podCIDR: `10.244.${i}.0/24` },
  status: { addresses: [{ type: 'InternalIP', address: `192.168.0.${i}` }], capacity: { cpu: '4' } },
})
const pod = (name: string, i: number, ip: string, app: string, namespace = 'default'): Manifest => ({
  ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, labels: { app } } },
  spec: { nodeName: `n${i}`, containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }] },
  status: { podIP: ip, conditions: [{ type: 'Ready', status: 'True' }] },
})
const policy = (name: string, spec: object, namespace = 'default'): Manifest => ({
  ...{ apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name, namespace }, spec },
})

const SHOP: readonly Manifest[] = [
  ...[1, 2, 3].map(node),
  pod('web-1', 1, '10.244.1.10', 'web'),
  pod('web-2', 2, '10.244.2.10', 'web'),
  pod('client-3', 3, '10.244.3.10', 'client'),
  {
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' } },
    spec: {
      type: 'LoadBalancer',
      clusterIP: '10.96.0.20',
      selector: { app: 'web' },
      ports: [{ port: 80, targetPort: 8080 }],
    },
    status: { loadBalancer: { ingress: [{ ip: '203.0.113.80' }] } },
  },
]
const WEB = { podSelector: { matchLabels: { app: 'web' } } }
/** The addresses of a scenario's clients. */
const CLIENTS = { ipBlock: { cidr: '198.18.0.0/15' } }
const NODES = { ipBlock: { cidr: '192.168.0.0/24' } }

let runs = 0

async function run(
  objects: readonly Manifest[],
  traffic: object,
  policies: ('cluster' | 'local' | 'as-is')[] = ['cluster', 'local'],
): Promise<ReplayReport> {
  const own = join(folder, String(runs++))
  mkdirSync(own)
  const manifests = join(own, 'm.json')
  writeFileSync(manifests, JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }))
  const scenarioPath = join(own, 'scenario.yaml')
  const output = join(own, 'trace.msgpack')
  writeFileSync(scenarioPath, JSON.stringify({ name: 'policies', seed: 1, duration: '20s', traffic: [traffic] }))
  await generateTrace({ scenarioPath, output, manifests: [manifests] })
  return replay(
    { trace: output, manifests: [], policies, proxyModes: [], workers: 1, shards: 1, seed: null, model: null },
    { pool },
  )
}

/** As small as connections get. */
const SHORT = { requests: 0, rtt: '10ms', close: 'client-rst' }
const fromOutside = {
  ...{ name: 'clients', from: { external: { addresses: 200 } }, to: { service: 'web' } },
  ...{ arrivals: { process: 'poisson', connections: 900 }, ...SHORT },
}

function told({ runs }: ReplayReport): unknown[] {
  return runs.map(({ policy: name, connections, drops }) => [
    name,
    connections.failed === 0 ? 'none' : connections.failed === connections.attempted ? 'all' : 'some',
    Object.keys(drops),
  ])
}

describe('clients by their addresses', () => {
  test('an ipBlock for clients lets them in under Local, and under Cluster where the pod is on the node that they come to', async () => {
    const report = await run([...SHOP, policy('clients', { ...WEB, ingress: [{ from: [CLIENTS] }] })], fromOutside)
    expect(told(report)).toEqual([
      ['cluster', 'some', ['network-policy-ingress']],
      ['local', 'none', []],
    ])
    const { drops, connections } = report.runs[0]!
    // Nodes 1 and 2 have one of the two pods, node 3 has none: 1 - (2 × 1/2) / 3 go astray.
    expect(connections.failed / connections.attempted).toBeCloseTo(2 / 3, 1)
    expect(drops['network-policy-ingress']).toBe(connections.failed)
    expect(conclude(report).join(' ')).toMatch(
      /NetworkPolicies drop 0 % of connections \(Cluster: 6\d(\.\d)? %\); Cluster: pods on other nodes see a node's address .* or keep Local/,
    )
  })

  test('one for the nodes lets them in under Cluster alone', async () => {
    const report = await run([...SHOP, policy('nodes', { ...WEB, ingress: [{ from: [NODES] }] })], fromOutside)
    expect(told(report)).toEqual([
      ['cluster', 'some', ['network-policy-ingress']],
      ['local', 'all', ['network-policy-ingress']],
    ])
    const text = conclude(report).join(' ')
    expect(text).toContain("pods see the clients' own addresses")
    expect(text).toContain('not Local as it stands')
  })

  test('what both drop is said once, with the policies to look for', async () => {
    const report = await run([...SHOP, policy('deny', { podSelector: {} })], fromOutside)
    expect(told(report)).toEqual([
      ['cluster', 'all', ['network-policy-ingress']],
      ['local', 'all', ['network-policy-ingress']],
    ])
    expect(conclude(report).join(' ')).toContain(
      'Either way, NetworkPolicies drop 100 % of connections: no ingress rule',
    )
  })
})

describe('names', () => {
  const byName = {
    ...{ name: 'calls', from: { pods: { name: 'client-3' } }, to: { name: 'web', port: 80 } },
    ...{ arrivals: { process: 'poisson', connections: 50 }, ...SHORT },
  }
  const isolated = policy('client', {
    podSelector: { matchLabels: { app: 'client' } },
    policyTypes: ['Egress'],
    egress: [{ to: [WEB] }],
  })
  const toDns = policy('dns', {
    podSelector: {},
    policyTypes: ['Egress'],
    egress: [
      {
        to: [{ namespaceSelector: {}, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }],
        ports: [{ port: 53, protocol: 'UDP' }],
      },
    ],
  })
  const dns: readonly Manifest[] = [
    {
      ...pod('coredns', 1, '10.244.1.53', 'dns', 'kube-system'),
      metadata: { name: 'coredns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service' },
      metadata: { name: 'kube-dns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
      spec: {
        clusterIP: '10.96.0.10',
        selector: { 'k8s-app': 'kube-dns' },
        ports: [{ name: 'dns', port: 53, protocol: 'UDP' }],
      },
    },
  ]

  test.each([
    ['CoreDNS among the manifests', dns],
    ['no DNS server among them', []],
  ])('are out of reach without a rule for DNS: %s', async (_, more) => {
    const stopped = await run([...SHOP, ...more, isolated], byName, ['as-is'])
    expect(told(stopped)).toEqual([['as-is', 'all', ['network-policy-dns']]])
    expect(conclude(stopped).join(' ')).toContain('egress to port 53 of the DNS pods')
    const allowed = await run([...SHOP, ...more, isolated, toDns], byName, ['as-is'])
    expect(told(allowed)).toEqual([['as-is', 'none', []]])
  })
})
