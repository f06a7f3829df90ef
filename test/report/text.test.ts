import { stripVTControlCharacters } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { renderText } from '../../src/report/text.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import { clusterRun, endpoint, latency, localRun, nodeReport, report } from './fixture.ts'

const SEED = 20261122

/** The lines of one section, without its title. */
function section(text: string, title: string): string[] {
  const block = text.split('\n\n').find((part) => part.startsWith(title))
  return block === undefined ? [] : block.trimEnd().split('\n').slice(1)
}

describe('the whole report', () => {
  test('Local and Cluster side by side', () => {
    expect(renderText(report())).toMatchInlineSnapshot(`
      "dpemu replay: two-plus-one
      6,000 connections, 24,000 packets (11.4 MiB) over 60 s from 500 clients; proxy mode nftables
      externalTrafficPolicy set on default/web

      In short
        Local: pod web-2 gets 50.0 % of the connections to default/web:http (fair share 33.3 %,
        Cluster 33.4 %).
        Local keeps the client address on every connection; Cluster hides it on every connection.
        Cluster takes 3,000 connections (50.0 % of all) over a second node that Local does not.
        Advice: Local, if pods see client addresses and fewer hops are worth it; but the load is less
        even. As many pods on each node that gets traffic (topologySpreadConstraints over
        kubernetes.io/hostname, or a DaemonSet) make it even. It depends most on where the pods of
        default/web:http are.

      Throughput
                                         Cluster         Local
        offered connections               100 /s        100 /s
        delivered connections             100 /s        100 /s
        offered packets                   400 /s        400 /s
        delivered packets                 400 /s        400 /s
        offered bandwidth            1.60 Mbit/s   1.60 Mbit/s
        delivered bandwidth          1.60 Mbit/s   1.60 Mbit/s

      Connections
                                         Cluster         Local
        attempted                          6,000         6,000
        established                        6,000         6,000
        failed                                 0             0
        client address kept                  0 %         100 %
        masqueraded                        100 %           0 %
        crossed nodes                     50.0 %           0 %
        packets accepted                  24,000        24,000

      Path latency (model)
                                         Cluster         Local
        packet mean                      57.2 µs       45.1 µs
        packet p50                       52.0 µs       41.0 µs
        packet p90                        121 µs       80.5 µs
        packet p95                        121 µs       80.5 µs
        packet p99                        190 µs        120 µs
        packet p99.9                      285 µs        180 µs
        packet max                        380 µs        240 µs
        first packet p50                 64.0 µs       50.0 µs
        first packet p99                  226 µs        150 µs
        connection setup p50              104 µs       82.0 µs
        connection setup p99              380 µs        240 µs
        packets, 32.0 µs to 192 µs  █·▄▄·······▁  █·▄▄·······▁

      Share of connections: default/web:http (3 endpoints, fair share 33.3 %)
        endpoint                  node             Cluster             Local
        default/web-0             node-a  █████▍    33.5 %  ████      25.0 %
        default/web-1             node-a  █████▎    33.1 %  ████      25.0 %
        default/web-2             node-b  █████▍    33.4 %  ████████  50.0 %
        fullest over mean                             1.00              1.50
        coefficient of variation                      0.01              0.35

      Nodes
        node    run      entered     conntrack peak / max  source ports
        node-a  Cluster    3,000  1,200 / 131,072   0.9 %            40
                Local      3,000  1,200 / 131,072   0.9 %             0
        node-b  Cluster    3,000  1,900 / 131,072   1.4 %            55
                Local      3,000  1,200 / 131,072   0.9 %             0
        entered: connections whose first packet met the dataplane on this node
        source ports: most in use at once for masquerading to one destination

      Warnings (1)
        web.yaml, document 2, spec.clientIP: spec.clientIP is not a field of Service; did you mean
          spec.sessionAffinityConfig.clientIP? [W_UNKNOWN_FIELD]

      Filled in, as a cluster would
        Service default/web: clusterIP 10.96.0.12

      Emulated
        Kubernetes 1.31 to 1.35, Linux 6.18, CoreDNS 1.14.7, ingress-nginx 1.12 and later

      Constants of the model
        linkMicros = 45 us (calibration.json rtt_us.sameAz, half of avg)

      dpemu's own speed (measured; no part of the result)
        packets emulated: 229 k/s for 210 ms (2 workers, 16 shards)
        processing time per packet: p50 310 ns, p99 820 ns
        peak memory: 120 MiB; native add-ons: none
        dpemu 0.1.0, Node 20.20.2, linux x64, 2 cpus
      "
    `)
  })

  test('thresholds come first', () => {
    const results = evaluateThresholds([parseThreshold('runs[policy=local].endpoints.share < 40%')], report())
    const blocks = renderText(report(), results).split('\n\n')
    expect(blocks[1]).toBe(
      [
        'Thresholds',
        '  ✗ runs[policy=local].endpoints.share < 40%',
        '      runs[policy=local,proxyMode=nftables].endpoints[service=default/web:http,endpoint=10.244.2.2:8080].share:',
        '        0.5',
      ].join('\n'),
    )
  })

  test('fits in 100 columns, does not pad line ends, and colour adds nothing but colour', () => {
    const text = renderText(report())
    for (const line of text.split('\n')) {
      expect([...line].length).toBeLessThanOrEqual(100)
      expect(line).toBe(line.trimEnd())
    }
    const coloured = renderText(report(), [], { color: true })
    expect(coloured).toContain('\u001b[')
    expect(stripVTControlCharacters(coloured)).toBe(text)
  })

  test.each([60, 72, 80, 100])('fits in a terminal of %i columns', (width) => {
    const many = [clusterRun(), localRun(), clusterRun({ proxyMode: 'ipvs' }), localRun({ proxyMode: 'ipvs' })]
    for (const runs of [many, many.slice(0, 2), many.slice(0, 1)]) {
      const long = runs.map((run) => ({
        ...run,
        endpoints: run.endpoints.map((one) => ({ ...one, pod: `default/a-rather-long-name-of-a-pod-${one.pod}` })),
        services: ['first', 'second'].map((name) => ({
          ...run.services[0]!,
          service: `shop-of-things/${name}-service:http`,
        })),
      }))
      const text = renderText(report(long), [], { color: false, width })
      expect(text.split('\n').filter((line) => [...line].length > width)).toEqual([])
      // Nothing is lost by it: every run has its figure of each row.
      expect(text.match(/delivered bandwidth/g)!.length).toBeGreaterThan(0)
      expect(text.match(/1\.60 Mbit\/s/g)).toHaveLength(2 * runs.length)
    }
  })

  test('constants come last, whole, and those that nobody set only when asked for', () => {
    const source = `measured ${'on a machine that has a long name and '.repeat(6)}a kernel`
    const model = [
      { name: 'sameZoneNanos', value: 30_000, unit: 'ns', source: 'model.yaml', isSet: true },
      { name: 'establishedNanos', value: 2600, unit: 'ns', source, isSet: false },
    ]
    const short = section(renderText(report(undefined, { model })), 'Constants of the model')
    expect(short).toEqual([
      '  sameZoneNanos = 30000 ns (model.yaml)',
      '  1 more as measured or documented: --constants lists them with their sources',
    ])
    const all = renderText(report(undefined, { model }), [], { color: false, constants: true })
    expect(section(all, 'Constants of the model').join(' ').replace(/\s+/g, ' ')).toContain(source)
    expect(all.indexOf('Constants of the model')).toBeGreaterThan(all.indexOf('Warnings (1)'))
  })

  test('runs that came to the same are one column', () => {
    const text = renderText(report([clusterRun(), clusterRun({ policy: 'local' })], { comparedServices: [] }))
    expect(section(text, 'Throughput')[0]!.trim()).toBe('Cluster = Local')
    expect(section(text, 'Throughput')[1]).toMatch(/^ {2}offered connections +100 \/s$/)
  })

  test('connections a second are of the time in which clients came', () => {
    const trace = { ...report().trace, durationSeconds: 69.1, arrivalSeconds: 60 }
    expect(section(renderText(report(undefined, { trace })), 'Throughput').at(-1)).toBe(
      '  connections: over the 60 s in which they come; packets and bandwidth: over 69.1 s',
    )
  })

  test('the emulator’s own speed stands last and is never called latency', () => {
    const blocks = renderText(report()).split('\n\n')
    expect(blocks.at(-1)).toContain('processing time per packet: p50 310 ns, p99 820 ns')
    expect(blocks.at(-1)).not.toMatch(/latency/i)
    for (const block of blocks.slice(0, -1)) expect(block).not.toMatch(/processing/i)
  })
})

describe('sections', () => {
  test('drops by reason, with the sentence that explains each', () => {
    const local = localRun({
      connections: { attempted: 6_000, established: 5_900, failed: 100, broken: 0 },
      verdicts: { accept: 23_600, drop: 300, reject: 0, notSent: 300 },
      drops: { 'no-local-endpoint': 300 },
    })
    const text = renderText(report([clusterRun(), local]))
    const lines = section(text, 'Packets dropped or rejected')
    expect(lines[1]).toMatch(/^ {2}no-local-endpoint +0 +300$/)
    expect(lines.slice(2).join(' ')).toContain(
      'no-local-endpoint: the traffic policy is Local and this node has no usable endpoint',
    )
    expect(section(text, 'Connections').join('\n')).toMatch(/failed +0 +100 \(1\.7 %\)/)
  })

  test('what did not happen has no row, column or section', () => {
    // Which CoreDNS is emulated is said of every run.
    const text = renderText(report()).replace('CoreDNS', '')
    for (const absent of ['dropped', 'rejected', 'affinity', 'exhausted', 'DNS']) expect(text).not.toContain(absent)
  })

  test('affinity, source ports and full tables show up with the node that had them', () => {
    const node = nodeReport('node-a', {
      affinityHits: 900,
      affinityMisses: 12,
      snatExhausted: 3,
      conntrackDrops: 5,
      earlyDrops: 2,
    })
    const [head, row] = section(renderText(report([localRun({ nodes: [node] })])), 'Nodes')
    expect(head!.trim().split(/ {2,}/)).toEqual([
      'node',
      'entered',
      'conntrack peak / max',
      'full',
      'early drops',
      'exhausted',
      'affinity hit / miss',
    ])
    expect(row!.trim().split(/ {2,}/)).toEqual([
      'node-a',
      '3,000',
      '1,200 / 131,072',
      '0.9 %',
      '5',
      '2',
      '3',
      '900 / 12',
    ])
  })

  test('of many endpoints the twelve whose share differs most are shown, the rest counted', () => {
    const count = 250
    const even = Array.from({ length: count }, (_, i) => endpoint(i, 'node-a', 24, 6_000))
    const skewed = even.map((row, i) => (i < 20 ? { ...row, connections: 24 + i, share: (24 + i) / 6_000 } : row))
    const text = renderText(report([clusterRun({ endpoints: even }), localRun({ endpoints: skewed })]))
    const lines = section(text, 'Share of connections')
    const pods = lines.filter((line) => line.includes('default/web-'))
    expect(pods).toHaveLength(12)
    expect(pods[0]).toContain('default/web-19 ')
    expect(pods[11]).toContain('default/web-8 ')
    expect(lines.at(-1)).toBe('  ... and 238 more endpoints that differ less (-o json has all)')
  })

  test('a long list of derived objects is cut at ten', () => {
    const derived = Array.from({ length: 25 }, (_, i) => ({ object: `Service default/web-${i}`, what: 'clusterIP' }))
    const lines = section(renderText(report(undefined, { derived })), 'Filled in')
    expect(lines).toHaveLength(11)
    expect(lines.at(-1)).toBe('  ... and 15 more (-o json has all)')
  })

  test('runs of several proxy modes are told apart by their column', () => {
    const runs = [clusterRun(), localRun(), clusterRun({ proxyMode: 'iptables' }), localRun({ proxyMode: 'iptables' })]
    const [head] = section(renderText(report(runs)), 'Throughput')
    expect(head!.trim().split(/ {2,}/)).toEqual([
      'Cluster nftables',
      'Local nftables',
      'Cluster iptables',
      'Local iptables',
    ])
    const single = renderText(report([clusterRun(), clusterRun({ proxyMode: 'ipvs', crossNodeFraction: 0.4 })]))
    expect(section(single, 'Throughput')[0]!.trim().split(/ {2,}/)).toEqual(['nftables', 'ipvs'])
  })

  test('a run that delivered nothing has no latency, and says so', () => {
    const none = latency(0, 0, 0)
    const nothing = { fromMicros: [], toMicros: [], counts: [] }
    const dead = localRun({
      pathLatencyMicros: { packet: none, firstPacket: none, connectionSetup: none },
      histograms: { packet: nothing, firstPacket: nothing, connectionSetup: nothing, request: nothing },
    })
    expect(section(renderText(report([dead])), 'Path latency')).toEqual([
      '  No packet was delivered, so there is none.',
    ])
    expect(renderText(report([clusterRun(), dead]))).toMatch(/packet p99 +190 µs +none/)
  })

  test('Service ports without connections are counted, not shown', () => {
    const idle = { ...endpoint(9, 'node-a', 0, 0), service: 'default/idle:http' }
    const text = renderText(report([localRun({ endpoints: [...localRun().endpoints, idle] })]))
    expect(text).not.toContain('default/idle')
    expect(section(text, 'Other Services')).toEqual(['  1 Service port got no connection.'])
  })
})

test('a cluster at the limits Kubernetes supports is a page too: 10,000 Services, one with 200,000 endpoints', () => {
  const many = Array.from({ length: 200_000 }, (_, i) => endpoint(i, 'node-a', i % 7, 600_000))
  const services = Array.from({ length: 10_000 }, (_, i) => ({
    ...endpoint(i, 'node-a', 90, 100),
    service: `default/s${i}:http`,
  }))
  const imbalance = services.map(({ service }) => ({
    service,
    endpoints: 2,
    maxOverMean: 1.8,
    coefficientOfVariation: 0.8,
  }))
  const even = imbalance.map((row) => ({ ...row, maxOverMean: 1 }))
  const endpoints = [...many, ...services]
  const text = renderText(report([clusterRun({ endpoints, imbalance: even }), localRun({ endpoints, imbalance })]))
  expect(section(text, 'In short').join(' ')).toContain('9,998 more Services likewise')
  expect(text.split('\n').length).toBeLessThan(200)
})

test('no report, however odd its numbers and names, breaks the page', () => {
  const names = fc.string({ unit: 'binary', minLength: 1, maxLength: 80 })
  const odd = fc.record({
    connections: fc.nat(1e9),
    share: fc.oneof(fc.double({ min: 0, max: 1 }), fc.constant(Number.NaN)),
    pod: fc.option(names),
    node: fc.option(names),
    service: names,
    endpoint: names,
  })
  fc.assert(
    fc.property(fc.array(odd, { maxLength: 20 }), fc.array(names, { maxLength: 4 }), (endpoints, nodes) => {
      const run = localRun({
        endpoints: endpoints.map((row) => ({ ...row, packets: 0, bytes: 0, podRequests: 0, podUtilization: 0 })),
        imbalance: endpoints.map(({ service }) => ({
          service,
          endpoints: 1,
          maxOverMean: 3,
          coefficientOfVariation: Number.NaN,
        })),
        nodes: nodes.map((node) => nodeReport(node)),
      })
      const text = renderText(report([clusterRun(), run]))
      expect(text).not.toMatch(/undefined|NaN|\[object/)
      expect(text.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
      expect(text.endsWith('\n')).toBe(true)
    }),
    { seed: SEED, numRuns: 200 },
  )
})
