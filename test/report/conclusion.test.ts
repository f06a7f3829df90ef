import { describe, expect, test } from 'vitest'
import { conclude } from '../../src/report/conclusion.ts'
import type { IngressReport } from '../../src/report/types.ts'
import { clusterRun, endpoint, ingressReport, localRun, nodeReport, report } from './fixture.ts'

describe('Local against Cluster, in words', () => {
  test('what Local gains and what it costs', () => {
    expect(conclude(report())).toEqual([
      'Local keeps the client address on every connection (Cluster: on none) and never crosses nodes (Cluster: 50.0 %).',
      'But with Local pod web-2 gets 50.0 % of the connections to default/web:http (fair share 33.3 %, Cluster 33.4 %).',
      'Path latency (model) under Local: p50 41.0 µs instead of 52.0 µs, p99 120 µs instead of 190 µs.',
    ])
  })

  test('connections that only Local loses, and why', () => {
    const local = localRun({
      connections: { attempted: 6_000, established: 5_400, failed: 600, broken: 0 },
      drops: { 'no-local-endpoint': 1_800, 'conntrack-full': 2 },
    })
    expect(conclude(report([clusterRun(), local]))[1]).toBe(
      'But with Local 10.0 % of connections fail (Cluster: none), mostly no-local-endpoint (the traffic policy is Local and this node has no usable endpoint; the client hears nothing).',
    )
  })

  test('where Cluster is the one that fails, it says so', () => {
    const cluster = clusterRun({
      connections: { attempted: 6_000, established: 3_000, failed: 3_000, broken: 0 },
      drops: { 'snat-ports-exhausted': 3_000 },
    })
    expect(conclude(report([cluster, localRun()]))[1]).toMatch(
      /^With Cluster 50\.0 % of connections fail \(Local: none\), mostly snat-ports-exhausted/,
    )
  })

  test('silent where they are equal', () => {
    expect(conclude(report([clusterRun(), clusterRun({ policy: 'local' })]))).toEqual([
      'Local and Cluster do the same to this traffic.',
    ])
  })

  test('no Service that the policy touches', () => {
    expect(conclude(report([clusterRun(), clusterRun({ policy: 'local' })], { comparedServices: [] }))).toEqual([
      'No Service can be reached from outside the cluster, so externalTrafficPolicy changes nothing here.',
    ])
  })

  test('an uneven share that chance explains is not a finding', () => {
    const few = [endpoint(0, 'node-a', 5, 12), endpoint(1, 'node-a', 3, 12), endpoint(2, 'node-b', 4, 12)]
    const even = [0, 1, 2].map((i) => endpoint(i, 'node-a', 4, 12))
    const ratio = (maxOverMean: number) => [
      { service: 'default/web:http', endpoints: 3, maxOverMean, coefficientOfVariation: 0.2 },
    ]
    const text = conclude(
      report([
        clusterRun({ endpoints: even, imbalance: ratio(1) }),
        localRun({ endpoints: few, imbalance: ratio(1.25) }),
      ]),
    )
    expect(text.join(' ')).not.toContain('fair share')
  })

  test('a conntrack table near its limit under one of them', () => {
    const local = localRun({
      nodes: [nodeReport('node-a', { conntrackPeak: 9_000, conntrackMax: 10_000 }), nodeReport('node-b')],
    })
    expect(conclude(report([clusterRun(), local])).at(-1)).toBe(
      'The fullest conntrack table reaches 90.0 % under Local (node-a) and 1.4 % under Cluster (node-b).',
    )
  })

  test('the same finding for several proxy modes is said once; different ones name their mode', () => {
    const nft = [clusterRun(), localRun()]
    const ipt = nft.map((run) => ({ ...run, proxyMode: 'iptables' }))
    expect(conclude(report([...nft, ...ipt]))).toEqual(conclude(report(nft)))
    const same = clusterRun({ policy: 'local', proxyMode: 'iptables' })
    const lines = conclude(report([...nft, ipt[0]!, same]))
    expect(lines[0]).toMatch(/^nftables: Local keeps/)
    expect(lines.at(-1)).toBe('iptables: Local and Cluster do the same to this traffic.')
  })
})

describe('without a pair to compare', () => {
  test('one run: what failed and what is uneven', () => {
    expect(conclude(report([localRun()]))).toEqual([
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

  test('several runs: once where all say the same, else each by its name', () => {
    const paths = ['instance', 'proxy'].map((ingressPath) =>
      localRun({ ingressPath, imbalance: [], ingress: ingressReport() }),
    )
    expect(conclude(report(paths))).toEqual(['Every connection was established.'])
    const refused = { ...paths[1]!, ingress: ingressReport({ byStatus: { 200: 5_400, 404: 300, 502: 240, 503: 60 } }) }
    expect(conclude(report([paths[0]!, refused]))).toEqual([
      'local, nftables, instance: every connection was established.',
      'local, nftables, proxy: every connection was established.',
      'local, nftables, proxy: 5.0 % of requests were answered 502 or 503.',
    ])
  })
})

describe('requests that no backend answers', () => {
  const refused = ingressReport({ byStatus: { 200: 3_000, 503: 3_000 } })
  const said = (lines: readonly string[]): string[] => lines.filter((line) => line.includes('of requests'))

  test.each<[string, IngressReport | null, IngressReport | null, string[]]>([
    ['under both alike', refused, refused, []],
    ['under neither', ingressReport(), ingressReport(), []],
    ['without any request', null, null, []],
    ['under Local', ingressReport(), refused, ['But with Local 50.0 % of requests are answered 503 (Cluster: none).']],
    [
      'under Cluster more than under Local',
      refused,
      ingressReport({ byStatus: { 200: 5_940, 504: 60 } }),
      ['With Cluster 50.0 % of requests are answered 503 (Local: 1.0 %).'],
    ],
  ])('%s', (_, cluster, local, expected) => {
    const runs = [clusterRun({ ingress: cluster }), localRun({ ingress: local })]
    expect(said(conclude(report(runs)))).toEqual(expected)
  })
})
