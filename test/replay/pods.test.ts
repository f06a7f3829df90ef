/** Pods as queues of requests in a whole replay, and the latencies of each Service on its own. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RunReport } from '../../src/report/types.ts'
import { cluster, type KubeObject, stream } from './cluster.ts'
import { site, visitors } from './site.ts'
import { replayed, replayedOnce, resultText, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const RATE = 600
let trace: string

beforeAll(async () => {
  const traffic = [stream({ rate: RATE }, { requests: 2, thinkTime: '5ms' })]
  trace = await traceOf(folder, 'pods', { seed: 5, duration: '40s', traffic }, cluster())
})

let models = 0
function modelFile(constants: Readonly<Record<string, number>>): string {
  const path = join(folder, `model-${models++}.yaml`)
  writeFileSync(path, JSON.stringify(constants))
  return path
}

function run(constants: Readonly<Record<string, number>>, workers = 2): Promise<RunReport> {
  return replayedOnce(trace, { model: modelFile(constants), workers })
}

const requestsOf = ({ endpoints }: RunReport): number =>
  endpoints.reduce((sum, { podRequests }) => sum + podRequests, 0)

describe('pods', () => {
  test('answer at once without a word on it: no request has a latency', async () => {
    const { requestLatencyMicros, endpoints } = await run({})
    expect(requestLatencyMicros.count).toBe(0)
    expect(endpoints.every(({ podRequests, podUtilization }) => podRequests + podUtilization === 0)).toBe(true)
  })

  test('take every request once; path latencies stay what they were', async () => {
    const before = await run({})
    const after = await run({ podRequestNanos: 200_000 })
    expect(requestsOf(after)).toBe(2 * after.connections.established)
    expect(after.requestLatencyMicros.count).toBe(2 * after.connections.established)
    expect(after.pathLatencyMicros).toEqual(before.pathLatencyMicros)
  })

  // 1,200 requests a second over three pods, Poisson but for pairs 5 ms apart: 400 to a pod.
  test.each([
    ['0.5 ms, constant: as good as no queue', 500_000, 0],
    ['2 ms, exponential: 80 % busy', 2_000_000, 1],
  ])('%s', async (_, podRequestNanos, podRequestExponential) => {
    const { endpoints, requestLatencyMicros, pathLatencyMicros } = await run({ podRequestNanos, podRequestExponential })
    const load = (2 * RATE * podRequestNanos) / 1e9 / 3
    for (const { podUtilization } of endpoints) expect(Math.abs(podUtilization / load - 1)).toBeLessThan(0.08)
    const served = requestLatencyMicros.mean - pathLatencyMicros.packet.mean
    const service = podRequestNanos / 1000
    // M/D/1 or M/M/1, within what pairs of requests and 40 s of chance allow.
    const expected = service * (1 + (load / (1 - load)) * (podRequestExponential === 1 ? 1 : 0.5))
    expect(Math.abs(served / expected - 1)).toBeLessThan(0.25)
  })

  test('are served the same by any number of workers', async () => {
    const constants = { podRequestNanos: 2_000_000, podRequestExponential: 1 }
    const [one, two, seven] = await Promise.all([run(constants, 1), run(constants, 2), run(constants, 7)])
    expect(two).toEqual(one)
    expect(seven).toEqual(one)
  })

  test('refuse what their queue does not hold, under a reason of its own', async () => {
    const short = await run({ podRequestNanos: 4_000_000, podQueueRequests: 3 })
    const long = await run({ podRequestNanos: 4_000_000, podQueueRequests: 50 })
    const refused = (one: RunReport): number => one.drops['pod-queue-full'] ?? 0
    expect(refused(long)).toBeGreaterThan(0)
    expect(refused(short)).toBeGreaterThan(refused(long))
    expect(short.requestLatencyMicros.count + refused(short)).toBe(requestsOf(short))
    expect(short.nodes.every(({ backlogDrops }) => backlogDrops === 0)).toBe(true)
  })

  test.each([
    ['2', 'half the CPU use, over two workers', 0.5],
    ['500m', 'twice as busy', 2],
  ])('held to %s CPUs: %s', async (cpu, _, factor) => {
    const limited = cluster().map((object): KubeObject => {
      if (object.kind !== 'Pod' || object.metadata.labels?.['app'] !== 'web') return object
      const [container] = object.spec['containers'] as object[]
      return { ...object, spec: { ...object.spec, containers: [{ ...container, resources: { limits: { cpu } } }] } }
    })
    const scenario = { seed: 5, duration: '10s', traffic: [stream({ rate: 100 })] }
    const model = modelFile({ podRequestNanos: 1_000_000 })
    const plain = await replayedOnce(await traceOf(folder, 'unlimited', scenario, cluster()), { model })
    const held = await replayedOnce(await traceOf(folder, `limited-${cpu}`, scenario, limited), { model })
    const busy = ({ endpoints }: RunReport): number => endpoints.reduce((sum, pod) => sum + pod.podUtilization, 0)
    expect(busy(held) / busy(plain)).toBeCloseTo(factor, 5)
  })
})

describe('Services', () => {
  const other: KubeObject[] = [
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'api', namespace: 'default' },
      spec: { selector: { app: 'client' }, clusterIP: '10.96.80.2', ports: [{ port: 80, targetPort: 8080 }] },
    },
  ]

  test('have latencies of their own, which together are the run’s', async () => {
    const traffic = [
      stream({ rate: 50 }),
      { ...stream({ rate: 20 }), from: { pods: { selector: { app: 'web' } } }, to: { service: 'api' } },
    ]
    const two = await traceOf(folder, 'two', { seed: 6, duration: '20s', traffic }, [...cluster(), ...other])
    const { services, pathLatencyMicros } = await replayedOnce(two, { policies: ['local'] })
    expect(services.map(({ service }) => service)).toEqual(['default/api:80', 'default/web:http'])
    const [api, web] = services
    for (const kind of ['packet', 'firstPacket', 'connectionSetup'] as const) {
      expect(api!.pathLatencyMicros[kind].count + web!.pathLatencyMicros[kind].count).toBe(
        pathLatencyMicros[kind].count,
      )
    }
    // From outside through the load balancer to the same node, and from pod to pod, half of them across nodes.
    expect(web!.pathLatencyMicros.packet.p50).toBeGreaterThan(50)
    expect(api!.pathLatencyMicros.packet.mean).toBeLessThan(web!.pathLatencyMicros.packet.mean)
  })

  test('are the same for any number of workers', async () => {
    const texts = await Promise.all([1, 2, 7].map(async (workers) => resultText(await replayed(trace, { workers }))))
    expect(new Set(texts).size).toBe(1)
  })
})

describe('the pod of an HTTP proxy', () => {
  test('refuses requests under the same reason when it cannot keep up', async () => {
    const file = await traceOf(
      folder,
      'proxied',
      { seed: 3, duration: '2s', traffic: [visitors(400, { arrivals: { process: 'poisson', rate: 200 } })] },
      site(),
    )
    const constants = { proxyRequestNanos: 20_000_000, podQueueRequests: 3 }
    const run = await replayedOnce(file, { model: modelFile(constants), ingressPaths: ['proxy'] })
    expect(run.drops['pod-queue-full']).toBeGreaterThan(50)
    expect(run.drops['backlog-full']).toBeUndefined()
    expect(run.nodes.every(({ backlogDrops }) => backlogDrops === 0)).toBe(true)
  })
})
