/** The ways from an Ingress's clients to its backends: addresses, NAT, nodes crossed, entries, and who gets the requests. */
import { describe, expect, test } from 'vitest'
import {
  FLOW_BACKEND,
  FLOW_CHAIN,
  FLOW_CLIENT,
  FLOW_DESTINATION,
  FLOW_NAT_SOURCE,
  FLOW_OPEN,
  FLOW_STATUS,
  FLOW_WORDS,
} from '../../dist/native-free-core/flow-record.js'
import type { IngressPath } from '../../src/ingress/index.ts'
import type { IngressReport, RunReport } from '../../src/report/types.ts'
import { CLOUD_IP, HOST, nodeIp, type SiteOptions, site, visitors, WEB_IP } from './site.ts'
import { drive, options, replayed, replayedOnce, sumOf, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
let traces = 0

function trace(change: SiteOptions, stream: object = {}, connections = 300): Promise<string> {
  const scenario = { seed: 3, duration: '20s', traffic: [visitors(connections, stream)] }
  return traceOf(folder, `ways-${traces++}`, scenario, site(change))
}

async function run(change: SiteOptions, path: IngressPath | null, stream: object = {}): Promise<RunReport> {
  return replayedOnce(await trace(change, stream), { ingressPaths: path === null ? [] : [path] })
}

const ingressOf = ({ ingress }: RunReport): IngressReport => ingress!

/** Of the connections that proxies have open at the end: source, destination, and both as the pod sees them. */
async function upstreams(change: SiteOptions, path: IngressPath | null): Promise<string[][]> {
  const file = await trace(change)
  const settings = options(file, { policies: ['as-is'], ingressPaths: path === null ? [] : [path] })
  const { dataplane, plan, upstreams: from } = drive(settings, () => {})
  const { flows } = dataplane
  const text = (at: number): string => plan.registry.addressText(flows[at])
  const found: string[][] = []
  for (let flow = from; flow < flows.length; flow += FLOW_WORDS) {
    const status = flows[flow + FLOW_STATUS] & 0xff
    if (status < FLOW_OPEN || status > FLOW_CHAIN) continue
    found.push([FLOW_CLIENT, FLOW_DESTINATION, FLOW_NAT_SOURCE, FLOW_BACKEND].map((word) => text(flow + word)))
  }
  expect(found.length).toBeGreaterThan(0)
  return found
}

const PODS = ['10.244.1.10', '10.244.2.11', '10.244.3.12']
const NODES = [1, 2, 3].map(nodeIp)
/** A node's own address towards other nodes, the pod network's gateway towards its own pods. */
const AS_NODES = [...NODES, '10.244.1.1', '10.244.2.1', '10.244.3.1']

describe('the backend pod sees', () => {
  test.each<[string, SiteOptions, IngressPath | null, string[], string[], string[]]>([
    ['path instance, Cluster: the node that took the packet', {}, 'instance', [CLOUD_IP], NODES, AS_NODES],
    ['path instance, Local: the load balancer', { policy: 'Local' }, 'instance', [CLOUD_IP], NODES, [CLOUD_IP]],
    ['path ip: the load balancer', {}, 'ip', [CLOUD_IP], PODS, [CLOUD_IP]],
    ['path proxy: the proxy pod, whatever the policy', {}, 'proxy', ['10.244.1.200'], PODS, ['10.244.1.200']],
    ['path proxy, Local', { policy: 'Local' }, 'proxy', ['10.244.1.200'], PODS, ['10.244.1.200']],
    ['a proxy on the host network: its node', { front: 'hostNetwork' }, 'proxy', [nodeIp(1)], PODS, [nodeIp(1)]],
    [
      'service-upstream: the proxy, after DNAT',
      { annotations: { 'nginx.ingress.kubernetes.io/service-upstream': 'true' } },
      'proxy',
      ['10.244.1.200'],
      [WEB_IP],
      ['10.244.1.200'],
    ],
  ])('%s', async (_, change, path, sources, dialled, seen) => {
    // The cloud load balancer has the address of an Ingress of its class.
    const cloud = path === 'proxy' ? {} : { ingressClass: 'alb' as const }
    const found = await upstreams({ ...cloud, ...change }, path)
    const values = (i: number): Set<string> => new Set(found.map((flow) => flow[i]))
    expect([...values(0)].sort()).toEqual([...sources].sort())
    for (const address of values(1)) expect(dialled).toContain(address)
    for (const address of values(2)) expect(seen).toContain(address)
    if (seen === AS_NODES) expect([...values(2)].some((address) => NODES.includes(address))).toBe(true)
    for (const address of values(3)) expect(PODS).toContain(address)
  })
})

describe('X-Forwarded-For holds the client', () => {
  test.each<[string, SiteOptions, number]>([
    ['behind a pass-through load balancer, Cluster: never', {}, 0],
    ['behind a pass-through load balancer, Local: always', { policy: 'Local' }, 1],
    ['behind node ports, Cluster: never', { front: 'NodePort' }, 0],
    ['behind a load balancer that proxies, Local: never, it is the balancer', { policy: 'Local', ipMode: 'Proxy' }, 0],
    ['behind a load balancer that proxies, Cluster: never', { ipMode: 'Proxy' }, 0],
    ['on the host network: always', { front: 'hostNetwork' }, 1],
    ['from a cloud load balancer: always', { ingressClass: 'alb' }, 1],
  ])('%s', async (_, change, fraction) => {
    const ingress = ingressOf(await run(change, null))
    expect(ingress.connections).toBe(300)
    expect(ingress.xForwardedForClientFraction).toBe(fraction)
  })
})

describe('NAT behind the proxy', () => {
  const SERVICE_UPSTREAM = { annotations: { 'nginx.ingress.kubernetes.io/service-upstream': 'true' } }

  test.each<[string, SiteOptions, IngressPath, number]>([
    ['instance, Cluster: every connection is masqueraded', {}, 'instance', 1],
    ['instance, Local: none', { policy: 'Local' }, 'instance', 0],
    ['ip: none', {}, 'ip', 0],
    ['proxy: none', {}, 'proxy', 0],
    ['proxy with service-upstream: none, the proxy is a pod', SERVICE_UPSTREAM, 'proxy', 0],
  ])('%s', async (_, change, path, fraction) => {
    const { upstream } = ingressOf(await run(change, path))
    expect(upstream.connections).toBeGreaterThan(0)
    expect(upstream.masqueradedFraction).toBe(fraction)
  })

  // A client that goes without an answer takes its upstream connection with it: each request has one of its own.
  const ABORTED = { close: 'client-rst', http: [{ host: HOST, path: '/' }], responseBytes: 0 }

  test('entries: instance Cluster by connections of the load balancer, proxy Cluster by those of clients, ip by neither', async () => {
    const entries = async (path: IngressPath): Promise<[number, number]> => {
      const { ingress, nodes } = await run({}, path, { requests: 2 })
      // None expires in these 20 seconds.
      return [sumOf(nodes, 'conntrackPeak'), ingress!.upstream.connections]
    }
    const [instance, flows] = await entries('instance')
    const [ip, direct] = await entries('ip')
    const [proxy] = await entries('proxy')
    expect(instance).toBeGreaterThanOrEqual(flows)
    expect(instance).toBeLessThanOrEqual(2 * flows)
    expect(ip).toBe(direct)
    expect(proxy).toBeGreaterThan(300)
    expect(instance).toBeLessThan(150)
  })

  test('source ports are for the load balancer’s connections on path instance, for clients’ on path proxy, none on path ip', async () => {
    const ports = async (path: IngressPath, change: SiteOptions = {}): Promise<number> => {
      const { nodes } = await run(change, path)
      return sumOf(nodes, 'snatPortsPeak')
    }
    const [instance, ip, proxy] = [await ports('instance'), await ports('ip'), await ports('proxy')]
    expect(ip).toBe(0)
    expect(instance).toBeGreaterThan(0)
    expect(instance).toBeLessThan(100)
    expect(proxy).toBe(300)
    expect(await ports('instance', { policy: 'Local' })).toBe(0)
  })

  test.each([2, 3, 5])('instance, Cluster, %i nodes: a connection crosses with probability 1 − 1/N', async (nodes) => {
    const change: SiteOptions = { nodes, web: Array.from({ length: nodes }, (_, i) => i + 1) }
    const file = await trace(change, ABORTED, 4000)
    const { upstream, byStatus } = ingressOf(await replayedOnce(file, { ingressPaths: ['instance'] }))
    expect([upstream.connections, byStatus['200']]).toEqual([4000, 4000])
    const expected = 1 - 1 / nodes
    // Four standard deviations of 4,000 draws.
    const deviation = Math.sqrt((expected * (1 - expected)) / 4000)
    expect(Math.abs(upstream.crossNodeFraction - expected)).toBeLessThan(4 * deviation)
    const local = await replayedOnce(file, { policies: ['local'], ingressPaths: ['instance'] })
    expect(local.ingress!.upstream.crossNodeFraction).toBe(0)
  })
})

describe('who gets the requests', () => {
  const shares = ({ pods }: IngressReport): number[] => pods.map(({ requests }) => requests)

  test('600 requests over 3 pods from one worker: 200 each, however uneven the way in is', async () => {
    // One proxy of two takes all that Local lets in: the other's node is not a node of the balancer.
    const change: SiteOptions = { policy: 'Local', proxies: [1], web: [1, 1, 2] }
    const file = await trace(change, { requests: 2 })
    const { requests, ...ingress } = ingressOf(await replayedOnce(file, { ingressPaths: ['proxy'] }))
    expect(requests).toBe(600)
    expect(shares(ingress as IngressReport)).toEqual([200, 200, 200])
  })

  test('Local on path instance: half the requests to the node with one pod, quarters to those of the other', async () => {
    const change: SiteOptions = { policy: 'Local', nodes: 2, web: [1, 2, 2], ingressClass: 'alb' }
    const file = await trace(change, { close: 'client-rst', responseBytes: 0 }, 4000)
    const [alone, ...pair] = shares(ingressOf(await replayedOnce(file)))
    // The load balancer takes turns: 16 workers, each of which may be one ahead.
    expect(Math.abs(alone - 2000)).toBeLessThanOrEqual(16)
    for (const count of pair) expect(Math.abs(count - 1000)).toBeLessThan(4 * Math.sqrt(2000 / 4))
  })

  test('path ip: in turn over the pods, wherever they are', async () => {
    const file = await trace({
      web: [1, 1, 1, 2],
      ingressClass: 'alb',
      annotations: { 'alb.ingress.kubernetes.io/target-type': 'ip' },
    })
    const counts = shares(ingressOf(await replayedOnce(file)))
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(300)
    for (const count of counts) expect(Math.abs(count - 75)).toBeLessThanOrEqual(16)
  })

  test('requests of one connection go to several pods on path proxy; to as many as the load balancer has connections on path instance', async () => {
    const file = await trace({}, { from: { external: { addresses: 1 } }, requests: 30, thinkTime: '10ms' }, 1)
    const { runs } = await replayed(file, { policies: ['as-is'], ingressPaths: ['proxy', 'instance'] })
    expect(shares(ingressOf(runs[0]))).toEqual([10, 10, 10])
    expect(ingressOf(runs[1]).upstream.connections).toBe(3)
  })

  test('two proxies: each has pools of its own, and counts what it was given', async () => {
    const ingress = ingressOf(await run({ proxies: [1, 2], policy: 'Local' }, null, { requests: 3 }))
    expect(ingress.proxies.map(({ pod, node }) => [pod, node])).toEqual([
      ['edge/proxy-0', 'node-1'],
      ['edge/proxy-1', 'node-2'],
    ])
    expect(ingress.proxies.reduce((sum, { requests }) => sum + requests, 0)).toBe(900)
    expect(ingress.proxies.reduce((sum, { connections }) => sum + connections, 0)).toBe(300)
    // A worker each, which needs no second connection to a pod while no two requests are under way at once.
    expect(ingress.upstream.connections).toBe(6)
  })
})

describe('a scenario may ask for a way in', () => {
  const masquerades = ({ ingress }: RunReport): boolean => ingress!.upstream.masqueradedFraction === 1

  test.each([
    ['instance', true],
    ['ip', false],
    ['proxy', false],
  ] as const)('path: %s', async (path, masqueraded) => {
    const to = { ingress: 'site', path }
    const file = await trace({}, { to })
    const run = await replayedOnce(file, { policies: ['as-is'] })
    expect(run.ingressPath).toBe('as-is')
    expect(run.ingress!.proxies.map(({ pod }) => pod !== null)).toEqual([path === 'proxy'])
    expect(masquerades(run)).toBe(masqueraded)
    // And the command line may ask for another.
    const [other] = (await replayed(file, { policies: ['as-is'], ingressPaths: ['instance'] })).runs
    expect(masquerades(other!)).toBe(true)
  })
})
