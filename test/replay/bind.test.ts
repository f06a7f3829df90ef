/** `-f`: a trace replayed on other manifests than those it was made for. Names win over addresses. */
import { readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { FLOW_CLIENT, FLOW_ENDPOINT, FLOW_NODE_PROTOCOL } from '../../dist/native-free-core/flow-record.js'
import type { ReplayOptions } from '../../src/replay/plan.ts'
import type { ReplayReport } from '../../src/report/types.ts'
import { CLIENTS, cluster, type KubeObject, NODE_PORT, NODES, PODS, pod, service, stream } from './cluster.ts'
import { drive, manifestFile, options, replayed, resultText, sumOf, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
let trace: string
let files = 0

beforeAll(async () => {
  const inside = { from: { pods: { selector: { app: 'client' } } } }
  const traffic = [
    stream({ connections: 2000 }),
    stream({ connections: 300 }, { ...inside, to: { service: 'web', via: 'clusterIP' } }),
    stream({ connections: 300 }, { to: { service: 'web', via: 'nodePort' } }),
  ]
  trace = await traceOf(folder, 'mixed', { seed: 9, duration: '60s', traffic }, cluster())
})

async function on(
  objects: readonly KubeObject[],
  change: Partial<ReplayOptions> = {},
): Promise<ReplayReport & { given: { code: string; where: string; message: string }[] }> {
  return replayed(trace, { policies: ['as-is'], manifests: [manifestFile(folder, `f${files++}`, objects)], ...change })
}

describe('the same manifests', () => {
  it('given with -f are no change', async () => {
    const own = await replayed(trace)
    const given = await replayed(trace, { manifests: [manifestFile(folder, 'same', cluster())] })
    expect(resultText(given)).toBe(resultText(own))
    expect(given.given).toEqual([])
  })
})

describe('a Service whose addresses changed', () => {
  const elsewhere = {
    clusterIP: '10.96.99.9',
    clusterIPs: ['10.96.99.9'],
    ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: NODE_PORT + 1 }],
  }

  it('is still the target, through the load balancer, its cluster IP and its node port', async () => {
    const { runs, given } = await on(cluster(service(elsewhere, '192.0.2.99')))
    expect(given).toEqual([])
    expect(runs[0].connections).toEqual({ attempted: 2600, established: 2600, failed: 0, broken: 0 })
    expect(runs[0].drops).toEqual({})
    expect(runs[0].endpoints.reduce((sum, { connections }) => sum + connections, 0)).toBe(2600)
  })

  it('and another target port is where its connections arrive', async () => {
    const ports = [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 9090, nodePort: NODE_PORT }]
    const { runs } = await on(cluster(service({ ports })))
    expect(runs[0].endpoints.map(({ endpoint }) => endpoint)).toEqual([
      '10.244.1.10:9090',
      '10.244.1.11:9090',
      '10.244.2.10:9090',
    ])
  })
})

describe('a target that is gone', () => {
  const failed = { attempted: 2600, established: 0, failed: 2600, broken: 0 }

  it('no such Service: a warning, and its connections fail with the reason no-service', async () => {
    const { runs, given, warnings } = await on([...NODES, ...PODS, ...CLIENTS])
    expect(given).toEqual([
      expect.objectContaining({
        code: 'W_TARGET_MISSING',
        where: 'Service default/web',
        message: expect.stringContaining('the trace dials this Service and the manifests do not have it'),
      }),
    ])
    expect(warnings).toEqual(given)
    const [{ connections, drops, verdicts, endpoints }] = runs
    expect(connections).toEqual(failed)
    expect(drops).toEqual({ 'no-service': 2600 })
    expect(verdicts).toMatchObject({ accept: 0, drop: 0, reject: 2600 })
    expect(endpoints).toEqual([])
  })

  it('a Service that is there under the same address but another name is not the one that was meant', async () => {
    const other = { ...service(), metadata: { name: 'shop', namespace: 'default' } }
    const { given } = await on(cluster(other))
    expect(given.map(({ code, where }) => [code, where])).toEqual([['W_TARGET_MISSING', 'Service default/web']])
  })

  it('the Service is there and the port is not', async () => {
    const ports = [{ name: 'http', protocol: 'TCP', port: 8081, targetPort: 8080, nodePort: NODE_PORT + 1 }]
    const { runs, given } = await on(cluster(service({ ports })))
    expect(given.map(({ code }) => code)).toEqual(['W_TARGET_MISSING'])
    expect(given[0].message).toContain('port 80/TCP, which it does not have any more')
    expect(runs[0].connections).toEqual(failed)
    // Pods dial a cluster IP that exists, where nftables rejects what no Service uses; the others find nothing at all.
    expect(runs[0].drops).toEqual({ 'no-such-port': 300, 'no-service': 2300 })
  })

  it('the Service has no pods: rejected', async () => {
    const { runs, given } = await on([...NODES, ...CLIENTS, service()])
    expect(given.map(({ code }) => code)).toEqual(['W_NO_ENDPOINTS'])
    expect(runs[0].drops).toEqual({ 'no-endpoint': 2600 })
    expect(runs[0].connections).toEqual(failed)
  })
})

describe('pods elsewhere', () => {
  it('client pods dial from where they are now', async () => {
    const moved = [CLIENTS[0], pod('client-1', 'node-1', '10.244.1.51', 'client')]
    const only = { policies: ['local'] as const }
    const [before, after] = [await on(cluster(), only), await on([...NODES, ...PODS, ...moved, service()], only)]
    expect(after.given).toEqual([])
    const entered = ({ runs }: ReplayReport): number[] => runs[0].nodes.map(({ connections }) => connections)
    const dialled = entered(after)[0] - entered(before)[0]
    // client-1's connections, about half of 300, come in at node-1 now.
    expect(dialled).toBeGreaterThan(100)
    expect(dialled).toBeLessThan(200)
    expect(entered(after)[0] + entered(after)[1]).toBe(2600)
    expect(after.runs[0].connections.failed).toBe(0)
  })

  it('endpoints are those of the new manifests', async () => {
    const { runs } = await on([...NODES, pod('web-9', 'node-2', '10.244.2.90'), ...CLIENTS, service()])
    expect(runs[0].endpoints.map(({ pod: name, node, connections }) => [name, node, connections])).toEqual([
      ['default/web-9', 'node-2', 2600],
    ])
  })

  it('client pods that are gone count as clients outside, and a warning says so', async () => {
    const { runs, given } = await on([...NODES, ...PODS, service()])
    expect(given.map(({ code, message }) => [code, message.split(' ')[0]])).toEqual([['W_CLIENT_MISSING', '2']])
    expect(runs[0].connections.attempted).toBe(2600)
  })
})

describe('affinity that the trace was not laid out for', () => {
  const sticky = {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 1800 } },
  }

  it('takes one shard, says so, and is right: a client has one pod at a node', async () => {
    const report = await on(cluster(service(sticky)), { workers: 2, shards: 16 })
    expect(report.given.map(({ code }) => code)).toEqual(['W_STEERING'])
    expect(report.given[0].message).toContain('Generate the trace again')
    expect([report.engine.shards, report.engine.workers]).toEqual([1, 1])

    const manifests = [manifestFile(folder, 'sticky', cluster(service(sticky)))]
    const pods = new Map<string, Set<number>>()
    drive(options(trace, { policies: ['as-is'], manifests }), ({ flow, opening }, { flows }) => {
      if (!opening) return
      const key = `${flows[flow + FLOW_NODE_PROTOCOL] >> 8} ${flows[flow + FLOW_CLIENT]}`
      pods.set(key, (pods.get(key) ?? new Set()).add(flows[flow + FLOW_ENDPOINT]))
    })
    expect([...pods.values()].every((given) => given.size === 1)).toBe(true)
    const { nodes } = report.runs[0]
    expect(sumOf(nodes, 'affinityMisses')).toBe(pods.size)
    expect(sumOf(nodes, 'affinityHits')).toBe(2600 - pods.size)
  })

  it('a trace generated with those manifests gives the same shares on all shards and no warning', async () => {
    const traffic = [stream({ connections: 2000 })]
    const laidOut = await traceOf(
      folder,
      'sticky-trace',
      { seed: 9, duration: '60s', traffic },
      cluster(service(sticky)),
    )
    const wide = await replayed(laidOut)
    const exact = await replayed(laidOut, { shards: 1 })
    expect(wide.given).toEqual([])
    expect(wide.engine.shards).toBe(16)
    expect(wide.runs.map(({ endpoints }) => endpoints)).toEqual(exact.runs.map(({ endpoints }) => endpoints))
  })
})

it('the trace itself is only read', async () => {
  const before = readFileSync(trace)
  await on(cluster(service({}, '192.0.2.99')))
  expect(readFileSync(trace).equals(before)).toBe(true)
})
