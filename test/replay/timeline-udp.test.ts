/** UDP flows and pods that end: one client address and port, a packet a second, while the pod that it goes to is deleted. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { ReplayReport } from '../../src/report/types.ts'
import { replayed, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const labels = { app: 'dns' }
const container = {
  name: 'dns',
  image: 'dns',
  ports: [{ containerPort: 5353, protocol: 'UDP' }],
  readinessProbe: { periodSeconds: 1 },
  lifecycle: { preStop: { sleep: { seconds: 5 } } },
}
const template = { metadata: { labels }, spec: { terminationGracePeriodSeconds: 30, containers: [container] } }
const pod = (name: string, nodeName: string): object => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels, ownerReferences: [{ kind: 'ReplicaSet', name: 'dns-1', controller: true }] },
  spec: { ...template.spec, nodeName },
})
const objects = (replicas: number): object[] => [
  ...['a', 'b', 'c'].map((name) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name } })),
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'dns' },
    spec: { replicas, selector: { matchLabels: labels }, template },
  },
  ...(replicas === 2 ? [pod('p1', 'a'), pod('p2', 'b')] : [pod('p1', 'a')]),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'dns' },
    spec: {
      type: 'LoadBalancer',
      selector: labels,
      ports: [{ name: 'dns', port: 53, targetPort: 5353, protocol: 'UDP' }],
    },
  },
]
/** Flows of 40 exchanges a second apart, all of them opened in the first second. */
const scenario = (flows: number): object => ({
  seed: 11,
  connections: flows,
  traffic: [
    {
      name: 'flows',
      from: { external: { addresses: flows } },
      to: { service: 'default/dns', port: 53 },
      arrivals: { process: 'constant', rate: flows },
      requests: 40,
      thinkTime: '1s',
      requestBytes: 100,
      responseBytes: 100,
    },
  ],
})

async function play(name: string, replicas: number, event: object, sync: string): Promise<ReplayReport> {
  const trace = await traceOf(folder, name, scenario(40), objects(replicas))
  const manifests = join(folder, `${name}-manifests`, 'objects.json')
  const timeline = join(folder, `${name}-timeline.yaml`)
  const controlPlane = { slice: '0s', watch: '0s', sync, minSync: '0s' }
  const own = { apiVersion: 'dpemu/v1', kind: 'Timeline', events: [event], controlPlane, loadBalancer: 'metallb-bgp' }
  const workloads = { 'deployment/dns': { startup: '3s', onSigterm: { accept: 'keep' }, requests: { duration: 0 } } }
  writeFileSync(timeline, JSON.stringify({ ...own, workloads }))
  return replayed(trace, { manifests: [manifests], timeline, policies: ['cluster'] })
}

describe('a pod that is deleted at 10 s and ends at 15 s', () => {
  test('keeps its flows as long as it serves; each loses what it sends until the rules have been written', async () => {
    const { runs } = await play('udp', 2, { at: '10s', delete: 'pod/p1' }, '3s')
    const [run] = runs
    const share = run!.endpoints.find(({ pod }) => pod === 'default/p1')!
    const flows = share.connections
    expect(flows).toBeGreaterThan(5)
    // A packet a second and its answer until 15 s, though the pod is out of the rules since 13 s.
    expect(share.packets).toBe(flows * 2 * 15)
    // Then the kubelet's next look (1 s at most) and the sync of 3 s; kube-proxy deletes the entry, and the flow goes on with another pod.
    const lost = run!.drops['backend-gone']!
    expect(lost).toBeGreaterThanOrEqual(flows * 3)
    expect(lost).toBeLessThanOrEqual(flows * 4)
    expect(Object.keys(run!.drops)).toEqual(['backend-gone'])
    const packets = run!.endpoints.reduce((sum, one) => sum + one.packets, 0)
    // Each of 40 flows sends 40 packets, and is answered unless the packet was lost.
    expect(packets + 2 * lost).toBeGreaterThanOrEqual(40 * 80 - 2 * lost)
  })

  test('new flows go to the other one from the first sync on', async () => {
    const { runs } = await play('udp-ideal', 2, { at: '10s', delete: 'pod/p1' }, '0s')
    const p2 = runs[0]!.endpoints.find(({ pod }) => pod === 'default/p2')!
    expect(p2.packets).toBeGreaterThan(0)
    const lost = Object.values(runs[0]!.drops).reduce((sum, count) => sum + count, 0)
    const p1 = runs[0]!.endpoints.find(({ pod }) => pod === 'default/p1')!
    // At most a packet or two of each flow between the end of the process and the kubelet's next look.
    expect(lost).toBeLessThanOrEqual(p1.connections * 3)
  })
})
