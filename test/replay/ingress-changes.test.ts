/** Requests on a cluster that changes, on other manifests, by any number of workers and shards; and what is refused. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { IngressReport, RunReport } from '../../src/report/types.ts'
import type { KubeObject } from './cluster.ts'
import { HOST, ingress, proxyPod, type SiteOptions, site, visitors, WEB_IP, webPod, webService } from './site.ts'
import { dpemu, manifestFile, replayed, replayedOnce, resultText, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
let traces = 0

function trace(objects: readonly KubeObject[], stream: object = {}, more: object = {}): Promise<string> {
  const scenario = { seed: 3, duration: '20s', traffic: [visitors(400, stream)], ...more }
  return traceOf(folder, `changes-${traces++}`, scenario, objects)
}

const ingressOf = ({ ingress: report }: RunReport): IngressReport => report!
const podRequests = ({ pods }: IngressReport): Record<string, number> =>
  Object.fromEntries(pods.map(({ pod, endpoint, requests }) => [pod ?? endpoint, requests]))
const goes = (kind: string, name: string, namespace = 'default'): object => ({ delete: { kind, namespace, name } })

describe('half way', () => {
  const changed = async (changes: readonly object[], options: SiteOptions = {}): Promise<IngressReport> => {
    const more = changes.length === 0 ? {} : { changes: changes.map((change) => ({ at: '10s', ...change })) }
    return ingressOf(await replayedOnce(await trace(site(options), {}, more)))
  }

  test.each<[string, readonly object[], SiteOptions, readonly number[]]>([
    ['nothing: a third each', [], {}, [134, 133, 133]],
    ['a pod goes: the others take its part', [goes('Pod', 'web-2')], {}, [167, 166, 67]],
    ['a pod comes: it takes its part', [{ apply: webPod(3, 1) }], {}, [117, 117, 117, 50]],
  ])('%s', async (_, changes, options, expected) => {
    const report = await changed(changes, options)
    expect(report.byStatus).toEqual({ 200: 400 })
    const counts = Object.values(podRequests(report)).sort((a, b) => b - a)
    expect(counts).toHaveLength(expected.length)
    for (const [i, count] of counts.entries()) expect(Math.abs(count - expected[i])).toBeLessThanOrEqual(2)
  })

  test('all pods go: 503 from then on; they come back: 200 again', async () => {
    const away = [1, 2, 3].map((_, i) => ({ at: '5s', ...goes('Pod', `web-${i}`) }))
    const back = { at: '15s', apply: webPod(7, 2) }
    const { byStatus } = ingressOf(await replayedOnce(await trace(site(), {}, { changes: [...away, back] })))
    expect(Object.keys(byStatus)).toEqual(['200', '503'])
    expect(Math.abs(byStatus['503'] - 200)).toBeLessThanOrEqual(2)
  })

  test('the proxy is replaced: the new one takes the requests, with pools of its own', async () => {
    const report = await changed([goes('Pod', 'proxy-0', 'edge'), { apply: proxyPod(1, 2) }])
    expect(report.proxies.map(({ pod, node }) => [pod, node])).toEqual([
      ['edge/proxy-0', 'node-1'],
      ['edge/proxy-1', 'node-2'],
    ])
    for (const { requests } of report.proxies) expect(Math.abs(requests - 200)).toBeLessThanOrEqual(2)
    expect(report.requests).toBe(report.proxies[0].requests + report.proxies[1].requests)
    expect(report.byStatus).toEqual({ 200: report.requests })
    // Nobody closes the connections of a pod that is no more.
    expect(report.upstream).toMatchObject({ connections: 6, closed: { idle: 0 } })
  })

  test('the last proxy goes: clients are refused, and no request is made up', async () => {
    const {
      ingress: report,
      connections,
      drops,
    } = await replayedOnce(await trace(site(), {}, { changes: [{ at: '10s', ...goes('Pod', 'proxy-0', 'edge') }] }))
    expect(Math.abs(connections.failed - 200)).toBeLessThanOrEqual(2)
    expect(report!.requests).toBe(400 - connections.failed - (drops['backend-gone'] ?? 0))
  })

  test('a rule comes to lead elsewhere', async () => {
    const other = [webService({ selector: { app: 'shop' } }, 'shop', '10.96.80.7', 30087), webPod(5, 1, 'shop')]
    const moved = ingress('site', 'nginx', { [HOST]: 'shop' })
    const file = await trace([...site(), ...other], {}, { changes: [{ at: '10s', apply: moved }] })
    const { rules } = ingressOf(await replayedOnce(file))
    expect(rules.map(({ service }) => service).sort()).toEqual(['default/shop', 'default/web'])
    for (const { requests } of rules) expect(Math.abs(requests - 200)).toBeLessThanOrEqual(2)
  })

  test('a pod goes in mid-answer: what was under way is broken', async () => {
    const slow = { responseBytes: 20_000, serverTime: '2s' }
    const changes = [{ at: '10s', ...goes('Pod', 'web-0') }]
    const report = ingressOf(await replayedOnce(await trace(site(), slow, { changes })))
    // 20 a second, a third of them to this pod, each for 2 seconds.
    expect(Math.abs(report.upstream.closed.broken - 13)).toBeLessThanOrEqual(2)
    expect(report.byStatus).toEqual({ 200: 400 })
  })
})

describe('the same bytes', () => {
  const busy = {
    requests: { uniform: [1, 4] },
    thinkTime: { exponential: { mean: '300ms' } },
    close: { fin: 0.9, 'client-rst': 0.1 },
  }
  const big: SiteOptions = { cpus: '4', proxies: [1, 2], web: [1, 1, 2, 3] }

  test.each([1, 2, 7])('%i workers, as one', async (workers) => {
    const changes = [
      { at: '7s', ...goes('Pod', 'web-1') },
      { at: '9s', ...goes('Pod', 'proxy-0', 'edge') },
    ]
    const file = await trace(site(big), busy, { changes })
    const paths = ['instance', 'ip', 'proxy'] as const
    const one = await replayed(file, { workers: 1, ingressPaths: paths })
    const more = await replayed(file, { workers, ingressPaths: paths })
    expect(one.engine.shards).toBeGreaterThan(1)
    expect(resultText(more)).toBe(resultText(one))
  })

  test('one shard and several agree in requests, answers and rules, and nearly in who gets them', async () => {
    const file = await trace(site({ ...big, policy: 'Local' }), busy)
    // On path instance a pod gets what its connections are given, and which those are is chance.
    const paths = ['ip', 'proxy'] as const
    const [one, many] = [
      await replayed(file, { shards: 1, ingressPaths: paths }),
      await replayed(file, { ingressPaths: paths }),
    ]
    expect([one.engine.shards, many.engine.shards]).toEqual([1, 4])
    one.runs.forEach((run, i) => {
      const [a, b] = [ingressOf(run), ingressOf(many.runs[i])]
      expect([b.requests, b.connections, b.byStatus, b.rules]).toEqual([a.requests, a.connections, a.byStatus, a.rules])
      for (const [pod, { requests }] of a.pods.entries()) {
        expect(Math.abs(b.pods[pod].requests - requests)).toBeLessThanOrEqual(24)
      }
    })
  })

  test('affinity of a backend that sees proxies takes one shard, and says so', async () => {
    const objects = site({ ...big, webSpec: { sessionAffinity: 'ClientIP' } })
    const file = await trace(objects)
    const { engine, given } = await replayed(file, { ingressPaths: ['instance'] })
    expect(engine.shards).toBe(1)
    expect(given.map(({ code }) => code)).toContain('W_STEERING')
    const proxy = await replayed(file, { ingressPaths: ['proxy'] })
    expect(proxy.engine.shards).toBe(4)
    const annotations = { 'nginx.ingress.kubernetes.io/service-upstream': 'true' }
    const byClusterIp = await trace(site({ ...big, annotations, webSpec: { sessionAffinity: 'ClientIP' } }))
    expect((await replayed(byClusterIp, { ingressPaths: ['proxy'] })).engine.shards).toBe(1)
  })

  test('and so does affinity of the proxies’ Service where the trace was made for a way without it', async () => {
    const objects = site({ ...big, ingressClass: 'alb', frontSpec: { sessionAffinity: 'ClientIP' } })
    const file = await trace(objects)
    expect((await replayed(file)).engine.shards).toBe(16)
    const { engine, given } = await replayed(file, { ingressPaths: ['proxy'] })
    expect(engine.shards).toBe(1)
    expect(given.map(({ code }) => code)).toContain('W_STEERING')
  })
})

describe('other manifests', () => {
  test('the Ingress is found by its name, wherever its front has moved', async () => {
    const file = await trace(site())
    const moved = site({ front: 'NodePort', web: [3, 3] })
    const manifests = [manifestFile(folder, 'moved', moved)]
    const { ingress: report, connections, drops } = await replayedOnce(file, { manifests })
    expect([connections.established, drops]).toEqual([400, {}])
    expect(podRequests(report!)).toEqual({ 'default/web-0': 200, 'default/web-1': 200 })
  })

  test('without it there is no way in, and the message says so', async () => {
    const file = await trace(site())
    const objects = site().filter(({ kind }) => kind !== 'Ingress')
    const { code, stderr } = dpemu(['replay', file, '-f', manifestFile(folder, 'none', objects)])
    expect([code, stderr]).toEqual([3, expect.stringContaining('there is no Ingress default/site')])
  })

  test('a trace for one address, on manifests whose nodes are dialled: all dial the first, and a warning says so', async () => {
    const file = await trace(site())
    const manifests = [manifestFile(folder, 'ports', site({ front: 'NodePort' }))]
    const { given } = await replayed(file, { manifests })
    expect(given.map(({ message }) => message).join('\n')).toContain('all dial 192.168.40.11')
  })
})

describe('the command', () => {
  test('--ingress-path proxy without a controller: what is missing, and nothing written', async () => {
    const objects = site({ ingressClass: 'alb' }).filter(({ metadata }) => metadata.namespace !== 'edge')
    const file = await trace(objects)
    const output = join(folder, 'nothing.json')
    const { code, stdout, stderr } = dpemu(['replay', file, '--ingress-path', 'proxy', '-o', `json=${output}`])
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr).toMatch(/no ingress proxy is in the cluster.*\n.*add the manifests of the ingress controller/)
    expect(existsSync(output)).toBe(false)
  })

  test('a way that there is not: exit code 2', async () => {
    const { code, stderr } = dpemu(['replay', await trace(site()), '--ingress-path', 'nodeport'])
    expect([code, stderr]).toEqual([2, expect.stringMatching(/instance.*ip.*proxy/)])
  })

  test.each([
    ['runs[ingressPath=proxy].ingress.byStatus.503 < 1', 99],
    ['runs[ingressPath=proxy].ingress.byStatus.502 < 1', 0],
    ['runs[ingressPath=instance].ingress.byStatus.502 <= 399', 99],
    ['runs.ingress.requests == 400', 0],
  ])('--threshold %s: exit code %i', async (threshold, expected) => {
    // No pods: path proxy says so itself, on path instance the node refuses.
    const file = await trace(site({ web: [] }))
    const paths = ['--policy', 'as-is', '--ingress-path', 'proxy,instance']
    expect(dpemu(['replay', file, ...paths, '--threshold', threshold]).code).toBe(expected)
  })
})

describe('both IP families', () => {
  const dual = (made: KubeObject, v6: string): KubeObject => ({
    ...made,
    status: { ...made.status, podIPs: [...(made.status!['podIPs'] as object[]), { ip: v6 }] },
  })
  const spec = { ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'PreferDualStack', clusterIPs: [WEB_IP, 'fd00:96::80'] }
  const dualPods = (prefix: string): KubeObject[] =>
    site({ webSpec: spec }).map((one) =>
      one.kind === 'Pod' && one.metadata.name.startsWith(prefix)
        ? dual(one, `fd00:10::${one.metadata.name}`.replace(/[a-z]+-(\d)$/, prefix === 'web' ? 'a$1' : '$1'))
        : one,
    )

  test('a proxy with both reaches each pod at both of its addresses', async () => {
    const { pods, byStatus, upstream } = ingressOf(await replayedOnce(await trace(dualPods(''))))
    expect([byStatus, upstream.failed]).toEqual([{ 200: 400 }, 0])
    expect(pods).toHaveLength(6)
    for (const { requests } of pods) expect(Math.abs(requests - 67)).toBeLessThanOrEqual(1)
  })

  test('a proxy with one tries three addresses and then gives up', async () => {
    const { pods, byStatus, upstream } = ingressOf(await replayedOnce(await trace(dualPods('web'))))
    // Three of IPv4, then three of IPv6: a request that begins with the first of these finds none.
    expect([byStatus, upstream.failed]).toEqual([{ 200: 300, 502: 100 }, 100])
    for (const { endpoint, requests } of pods) expect(requests).toBe(endpoint.startsWith('[') ? 0 : 100)
  })
})
