/** The verdict: what is said of which figures, in which order, and what is advised. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { conclude, conclusionsOf } from '../../src/report/conclusion.ts'
import { figuresOf } from '../../src/report/figures.ts'
import type { RunReport } from '../../src/report/types.ts'
import { clusterRun, endpoint, ingressReport, latency, localRun, nodeReport, report } from './fixture.ts'

const WEB = 'default/web:http'

/** A run whose Service port sees these latencies, as the run does. */
function seeing(run: RunReport, packet: [number, number], request?: [number, number]): RunReport {
  const pathLatencyMicros = { ...run.pathLatencyMicros, packet: latency(...packet) }
  const requestLatencyMicros = request === undefined ? run.requestLatencyMicros : latency(...request)
  const services = [{ service: WEB, pathLatencyMicros, requestLatencyMicros }]
  return { ...run, pathLatencyMicros, requestLatencyMicros, services }
}

const cluster = seeing(clusterRun(), [52, 190])
const local = seeing(localRun(), [41, 120])

describe('Local against Cluster, in words', () => {
  test('what Local costs comes first, then what it brings, then the advice', () => {
    expect(conclude(report([cluster, local]))).toEqual([
      'Local: pod web-2 gets 50.0 % of the connections to default/web:http (fair share 33.3 %, Cluster 33.4 %).',
      'Local, default/web:http: path latency p50 41.0 µs instead of 52.0 µs, path latency p99 120 µs instead of 190 µs, connection setup p99 240 µs instead of 380 µs.',
      'Local keeps the client address on every connection; Cluster hides it on every connection.',
      'Cluster takes 3,000 connections (50.0 % of all) over a second node that Local does not.',
      'Advice: Local, if a shorter path, faster connection set-up, pods see client addresses and fewer hops are worth it; but the load is less even. As many pods on each node that gets traffic (topologySpreadConstraints over kubernetes.io/hostname, or a DaemonSet) make it even. It depends most on where the pods of default/web:http are and on the time of a hop between nodes (a fifth more or less changes the mean difference of 12.1 µs to 14.5 µs or 9.68 µs).',
    ])
  })

  test('slower requests are said before a shorter path, and Local is not advised', () => {
    const text = conclude(
      report([seeing(cluster, [103, 111], [5_000, 103_000]), seeing(local, [54, 63], [6_000, 1_320_000])]),
    )
    const requests = text.findIndex((line) => line.includes('request latency p99 1.32 s instead of 103 ms (13 times)'))
    expect(requests).toBeGreaterThanOrEqual(0)
    expect(requests).toBeLessThan(text.findIndex((line) => line.includes('path latency')))
    expect(text.at(-1)).toMatch(/^Advice: not Local as it stands: requests get slower\. As many pods on each node/)
  })

  test('connections that only Local loses, why, and what mends it', () => {
    const losing = {
      ...local,
      connections: { attempted: 6_000, established: 5_400, failed: 600, broken: 0 },
      drops: { 'no-local-endpoint': 1_800, 'conntrack-full': 2 },
    }
    const text = conclude(report([cluster, losing]))
    expect(text[0]).toBe(
      'Local: 10.0 % of connections fail (Cluster: 0 %), mostly no-local-endpoint (the traffic policy is Local and this node has no usable endpoint; the client hears nothing).',
    )
    expect(text.at(-1)).toMatch(
      /^Advice: not Local as it stands: connections fail\. A pod on every node that gets traffic/,
    )
  })

  test('where Cluster is the one that fails, it says so, and Local is advised', () => {
    const failing = {
      ...cluster,
      connections: { attempted: 6_000, established: 3_000, failed: 3_000, broken: 0 },
      drops: { 'snat-ports-exhausted': 3_000 },
    }
    const text = conclude(report([failing, local]))
    expect(text).toContainEqual(
      expect.stringMatching(/^Local: 0 % of connections fail \(Cluster: 50\.0 %\), mostly snat-ports-exhausted/),
    )
    expect(text.at(-1)).toMatch(/^Advice: Local: .*fewer failures/)
  })

  test('failures that both have, by cause', () => {
    const broken = {
      connections: { attempted: 6_000, established: 5_900, failed: 100, broken: 0 },
      drops: { 'backend-gone': 100 },
    }
    const text = conclude(
      report([
        { ...cluster, ...broken },
        { ...local, ...broken },
      ]),
    )
    expect(text.join('\n')).toContain('Either way, 1.7 % of connections fail, mostly backend-gone')
  })

  test('a Service that is uneven under both is said once, and affinity named where it is the cause', () => {
    const uneven = (run: RunReport, full: number): RunReport => ({
      ...run,
      endpoints: [endpoint(0, 'node-a', full, 6_000), endpoint(1, 'node-a', 6_000 - full, 6_000)],
      imbalance: [{ service: WEB, endpoints: 2, maxOverMean: full / 3_000, coefficientOfVariation: 0.5 }],
      nodes: [nodeReport('node-a', { affinityHits: 5_000 })],
    })
    const text = conclude(report([uneven(cluster, 4_500), uneven(local, 5_000)]))
    expect(text).toContainEqual(
      expect.stringMatching(
        /^default\/web:http is uneven either way: Local pod web-0 with 83\.3 %, Cluster pod web-0 with 75\.0 % \(fair share 50\.0 %\); ClientIP affinity/,
      ),
    )
  })

  test('silent where they are equal, and says why', () => {
    expect(conclude(report([cluster, { ...cluster, policy: 'local' }]))).toEqual([
      'Advice: no difference that matters, because no connection of this trace takes another way under the other policy.',
    ])
  })

  test('no Service that the policy touches', () => {
    expect(conclude(report([cluster, { ...cluster, policy: 'local' }], { comparedServices: [] }))).toEqual([
      'Advice: no difference that matters, because no Service can be reached from outside the cluster.',
    ])
  })

  test('a Service that is not compared is left out', () => {
    const other = (run: RunReport): RunReport => ({
      ...run,
      services: [...run.services, { ...run.services[0]!, service: 'default/api:grpc' }],
      imbalance: [
        ...run.imbalance,
        { service: 'default/api:grpc', endpoints: 2, maxOverMean: 2, coefficientOfVariation: 1 },
      ],
    })
    expect(conclude(report([other(cluster), other(local)]))).toEqual(conclude(report([cluster, local])))
  })

  test('an uneven share that chance explains is not a finding', () => {
    const few = [endpoint(0, 'node-a', 5, 12), endpoint(1, 'node-a', 3, 12), endpoint(2, 'node-b', 4, 12)]
    const even = [0, 1, 2].map((i) => endpoint(i, 'node-a', 4, 12))
    const ratio = (maxOverMean: number) => [{ service: WEB, endpoints: 3, maxOverMean, coefficientOfVariation: 0.2 }]
    const text = conclude(
      report([
        { ...cluster, endpoints: even, imbalance: ratio(1) },
        { ...local, endpoints: few, imbalance: ratio(1.25) },
      ]),
    )
    expect(text.join(' ')).not.toContain('fair share')
  })

  test('a conntrack table near its limit under one of them, and what a fifth more load would do', () => {
    const full = {
      ...local,
      nodes: [nodeReport('node-a', { conntrackPeak: 9_000, conntrackMax: 10_000 }), nodeReport('node-b')],
    }
    const text = conclude(report([cluster, full]))
    expect(text.join('\n')).toContain('fill of the fullest conntrack table 90.0 % instead of 1.4 %')
    expect(text.at(-1)).toContain(
      'a fifth more takes the conntrack table of node-a from 90.0 % to 108.0 % of its maximum',
    )
  })

  test('the same finding for several proxy modes is said once; different ones name their mode', () => {
    const nft = [cluster, local]
    const ipt = nft.map((run) => ({ ...run, proxyMode: 'iptables' }))
    expect(conclude(report([...nft, ...ipt]))).toEqual(conclude(report(nft)))
    const lines = conclude(report([...nft, ipt[0]!, { ...ipt[0]!, policy: 'local' }]))
    expect(lines[0]).toMatch(/^nftables: Local: pod web-2/)
    expect(lines.at(-1)).toMatch(/^iptables: Advice: no difference that matters/)
  })
})

describe('without two policies', () => {
  test('one run: what failed and what is uneven', () => {
    expect(conclude(report([local]))).toEqual([
      'Every connection was established.',
      'Pod web-2 got 50.0 % of the connections to default/web:http (fair share 33.3 %).',
    ])
  })

  test('an empty trace', () => {
    const idle = localRun({
      connections: { attempted: 0, established: 0, failed: 0, broken: 0 },
      endpoints: [],
      imbalance: [],
    })
    expect(conclude(report([idle]))).toEqual(['The trace has no connections.'])
  })

  test('ways into an Ingress are compared with the first', () => {
    const way = (ingressPath: string, p99: number, status: Record<string, number>): RunReport => ({
      ...clusterRun({ policy: 'as-is', ingressPath, imbalance: [], ingress: ingressReport({ byStatus: status }) }),
      pathLatencyMicros: { ...clusterRun().pathLatencyMicros, packet: latency(50, p99) },
    })
    const text = conclude(
      report([
        way('instance', 500, { 200: 5_700, 404: 300 }),
        way('ip', 60, { 200: 5_700, 404: 300 }),
        way('proxy', 900, { 200: 3_000, 404: 300, 503: 2_700 }),
      ]),
    )
    expect(text).toEqual([
      'Either way, 5.0 % of requests are answered 404.',
      expect.stringMatching(
        /^as-is ip|^ip: path latency p99 60\.0 µs instead of 500 µs \(8\.3 times\)?|^ip: path latency p99 60\.0 µs instead of 500 µs\.$/,
      ),
      expect.stringMatching(/^Advice between instance and ip: ip: a shorter path/),
      'proxy: 45.0 % of requests are answered 503 (instance: 0 %).',
      'proxy: path latency p99 900 µs instead of 500 µs.',
      expect.stringMatching(/^Advice between instance and proxy: not proxy as it stands: requests fail\./),
    ])
  })
})

describe('over random reports', () => {
  const share = fc.double({ min: 0, max: 1, noNaN: true })
  const micros = fc.double({ min: 1, max: 1e6, noNaN: true })
  const anyRun = fc
    .record({
      failed: fc.integer({ min: 0, max: 6_000 }),
      broken: fc.integer({ min: 0, max: 100 }),
      kept: share,
      crossed: share,
      path: fc.tuple(micros, micros),
      request: fc.tuple(micros, micros),
      full: fc.integer({ min: 2_000, max: 6_000 }),
      conntrack: fc.integer({ min: 0, max: 10_000 }),
      ports: fc.integer({ min: 0, max: 64_512 }),
      cpu: share,
      status: fc.integer({ min: 0, max: 6_000 }),
      http: fc.boolean(),
    })
    .map((draw): RunReport => {
      const rest = 6_000 - draw.full
      const run = clusterRun({
        connections: { attempted: 6_000, established: 6_000 - draw.failed, failed: draw.failed, broken: draw.broken },
        clientIpPreservedFraction: draw.kept,
        crossNodeFraction: draw.crossed,
        endpoints: [endpoint(0, 'a', draw.full, 6_000), endpoint(1, 'a', rest, 6_000), endpoint(2, 'b', 0, 6_000)],
        imbalance: [{ service: WEB, endpoints: 3, maxOverMean: draw.full / 2_000, coefficientOfVariation: 0 }],
        nodes: [
          nodeReport('a', {
            conntrackPeak: draw.conntrack,
            conntrackMax: 10_000,
            snatPortsPeak: draw.ports,
            cpuUtilizationPeak: draw.cpu,
          }),
        ],
        ingress: ingressReport({ byStatus: { 200: 6_000 - draw.status, 503: draw.status } }),
      })
      return seeing({ ...run, ingress: draw.http ? run.ingress : null }, draw.path, draw.request)
    })

  test('nothing that gets worse by more than a fifth is left out, and no direction contradicts its figures', () => {
    let worsened = 0
    fc.assert(
      fc.property(anyRun, anyRun, (one, two) => {
        const whole = report([one, { ...two, policy: 'local' }])
        const told = conclusionsOf(whole)
        const before = new Map(figuresOf(one, whole).map((figure) => [`${figure.effect} ${figure.of}`, figure.value]))
        for (const { effect, of, value, matters } of figuresOf(two, whole)) {
          const base = before.get(`${effect} ${of}`)
          const found = told.find((conclusion) => conclusion.effect === effect && conclusion.service === of)
          if (base === undefined || value < matters || value <= base * 1.2) continue
          worsened++
          // Two uneven shares near each other are one finding.
          expect([effect, found?.direction]).toEqual([
            effect,
            effect === 'imbalance' && value < base * 1.5 && base >= matters ? 'same' : 'worse',
          ])
        }
        for (const { effect, direction, values } of told) {
          if (effect === 'advice' || direction === 'same') continue
          const [first = 0, second = 0] = values.map(({ value }) => value)
          expect(direction).toBe(second > first ? 'worse' : 'better')
        }
        const order = told.map(({ direction }) => ['worse', 'same', 'better', 'advice'].indexOf(direction))
        expect(order).toEqual([...order].sort((a, b) => a - b))
        // Advice never praises Local where connections or requests fail more.
        const failing = told.some(({ effect, direction }) => direction === 'worse' && /failed|broken/.test(effect))
        const advice = told.at(-1)!.sentence
        if (failing && /^Advice: Local/.test(advice)) {
          const small = told.filter(({ effect, direction }) => direction === 'worse' && /failed|broken/.test(effect))
          for (const { values } of small) {
            const [first = 0, second = 0] = values.map(({ value }) => value)
            expect(second / first).toBeLessThan(1.2)
          }
        }
      }),
      { numRuns: 500, seed: 20 },
    )
    expect(worsened).toBeGreaterThan(500)
  })
})
