/** Several draws of one replay as one report: medians with ranges, and what may be said of them. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { conclude, conclusionsOf } from '../../src/report/conclusion.ts'
import { mergeDraws } from '../../src/report/draws.ts'
import { figuresOf } from '../../src/report/figures.ts'
import { renderJson } from '../../src/report/json.ts'
import { withRange } from '../../src/report/spread.ts'
import { renderText } from '../../src/report/text.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import type { ReplayReport, RunReport } from '../../src/report/types.ts'
import { clusterRun, endpoint, latency, localRun, NO_LATENCY, nodeReport, report } from './fixture.ts'

const WEB = 'default/web:http'
const ONE_PLACEMENT = [{ placement: 0, pods: {} }]

function overSeeds(...reports: ReplayReport[]): ReplayReport {
  return mergeDraws({ seeds: reports.map((_, i) => i + 1), placements: ONE_PLACEMENT, reports })
}

/** Cluster as it is, Local with so many of 6,000 connections on its fullest pod. */
function drawWith(full: number, change: Partial<RunReport> = {}): ReplayReport {
  const half = (6_000 - full) / 2
  return report([
    clusterRun(),
    localRun({
      endpoints: [endpoint(0, 'a', half, 6_000), endpoint(1, 'a', half, 6_000), endpoint(2, 'b', full, 6_000)],
      imbalance: [{ service: WEB, endpoints: 3, maxOverMean: full / 2_000, coefficientOfVariation: 0.1 }],
      ...change,
    }),
  ])
}

describe('figures over draws', () => {
  test.each([
    ['an odd number', [2_400, 4_000, 3_000], { median: 1.5, least: 1.2, most: 2 }],
    [
      'an even number: the lower of two in the middle',
      [2_400, 4_000, 3_000, 3_600],
      { median: 1.5, least: 1.2, most: 2 },
    ],
  ])('%s', (_, fullest, expected) => {
    const merged = overSeeds(...fullest.map((full) => drawWith(full)))
    const ratio = (runs: readonly { imbalance: RunReport['imbalance'] }[]): number => runs[1]!.imbalance[0]!.maxOverMean
    expect({ median: ratio(merged.runs), least: ratio(merged.draws!.least), most: ratio(merged.draws!.most) }).toEqual(
      expected,
    )
    expect(merged.draws!.count).toBe(fullest.length)
  })

  test('one draw is the report as it is', () => {
    expect(overSeeds(drawWith(3_000))).toEqual(drawWith(3_000))
  })

  test('what a draw does not have is 0 there, "never" is more than any time, and a latency of which nothing was recorded has no say', () => {
    const dropping = drawWith(3_000, {
      drops: { 'conntrack-full': 8 },
      nodes: [nodeReport('a', { conntrackFirstDropSeconds: 12 })],
      requestLatencyMicros: latency(500, 900),
    })
    const fine = drawWith(3_000, {
      drops: {},
      nodes: [nodeReport('a', { conntrackFirstDropSeconds: null })],
      requestLatencyMicros: NO_LATENCY,
    })
    const { runs, draws } = overSeeds(dropping, fine, fine)
    expect(runs[1]!.drops).toEqual({ 'conntrack-full': 0 })
    expect(draws!.most[1]!.drops).toEqual({ 'conntrack-full': 8 })
    expect(draws!.least[1]!.nodes[0]!.conntrackFirstDropSeconds).toBe(12)
    expect(runs[1]!.nodes[0]!.conntrackFirstDropSeconds).toBeNull()
    expect(runs[1]!.requestLatencyMicros).toMatchObject({ count: 0, p50: 500, p99: 900 })
  })

  test('a pod is the same on whichever node, and then on none in particular', () => {
    const there = drawWith(3_000)
    const [cluster, local] = there.runs
    const moved = local!.endpoints.map((one) => ({
      ...one,
      node: `not ${one.node}`,
      endpoint: `other ${one.endpoint}`,
    }))
    const elsewhere = report([cluster!, { ...local!, endpoints: moved }])
    const { runs } = mergeDraws({
      seeds: [1],
      placements: [0, 1].map((placement) => ({ placement, pods: {} })),
      reports: [there, elsewhere],
    })
    expect(runs[1]!.endpoints).toHaveLength(local!.endpoints.length)
    expect(runs[1]!.endpoints.map(({ node }) => node)).toEqual([null, null, null])
  })

  test('distributions are added up', () => {
    const { runs } = overSeeds(drawWith(3_000), drawWith(3_100), drawWith(3_200))
    expect(runs[0]!.histograms.packet.counts).toEqual([36_000, 33_000, 3_000])
  })

  test('thresholds hold of the median; of the worst draw where they ask for it', () => {
    const merged = overSeeds(drawWith(2_400), drawWith(3_000), drawWith(4_000))
    const passes = (text: string): boolean => evaluateThresholds([parseThreshold(text)], merged)[0]!.pass
    expect(passes('runs[policy=local].imbalance.maxOverMean < 1.6')).toBe(true)
    expect(passes('draws.most[policy=local].imbalance.maxOverMean < 1.6')).toBe(false)
    expect(renderText(merged, [])).toContain('medians of 3 seeds')
    const results = evaluateThresholds([parseThreshold('local.p99 < 1ms')], merged)
    expect(renderText(merged, results)).toContain('Thresholds, on the medians of 3 seeds')
  })

  test('a threshold on draws fails where there are none', () => {
    const results = evaluateThresholds([parseThreshold('draws.count > 0')], drawWith(3_000))
    expect(results[0]!.pass).toBe(false)
  })

  test('the JSON has medians and ranges, and not every draw whole', () => {
    const json = JSON.parse(renderJson(overSeeds(drawWith(2_400), drawWith(3_000))))
    expect(Object.keys(json.draws)).toEqual(['count', 'seeds', 'placements', 'advice', 'least', 'most'])
  })
})

test.each([
  ['103 µs', '98.1 µs', '110 µs', '103 µs (98.1..110 µs)'],
  ['980 µs', '900 µs', '1.10 ms', '980 µs (900 µs..1.10 ms)'],
  ['12.5 %', '12.5 %', '12.5 %', '12.5 %'],
  ['3,455/s', '3,300/s', '3,560/s', '3,455/s (3,300..3,560/s)'],
  ['2.09', '1.33', '2.27', '2.09 (1.33..2.27)'],
])('%s with the least %s and the most %s is written %s', (text, least, most, expected) => {
  expect(withRange(text, least, most)).toBe(expected)
})

describe('conclusions over draws', () => {
  test('what every draw has is said with its range', () => {
    const text = conclude(overSeeds(drawWith(3_000), drawWith(3_600), drawWith(4_000)))
    expect(text).toContainEqual(
      'Local: pod web-2 gets 60.0 % (50.0..66.7 %) of the connections to default/web:http (fair share 33.3 %, fullest under Cluster 33.5 %).',
    )
    expect(text.at(-1)).toMatch(/^Advice: Local, if/)
  })

  test('what draws differ in is not decided, and the advice does not rest on it', () => {
    const text = conclude(overSeeds(drawWith(2_010), drawWith(3_000), drawWith(2_010), drawWith(3_600)))
    expect(text[0]).toBe(
      'Not decided by 4 seeds: fullest endpoint over the mean of default/web:http, Cluster 1.00, Local 1.00 (1.00..1.80); worse under Local in 2.',
    )
    expect(text.at(-1)).toMatch(
      /^Advice: Local: .*nothing measured gets worse\. Whether the load is less even, 4 seeds do not decide\./,
    )
  })

  test('nine of ten are enough, and it is said how many', () => {
    const draws = Array.from({ length: 10 }, (_, i) => drawWith(i === 0 ? 2_010 : 3_600))
    const text = conclude(overSeeds(...draws))
    expect(text.join('\n')).toContain('fullest under Cluster 33.5 %), in 9 of 10 seeds.')
    expect(conclude(overSeeds(...draws.slice(0, 9), drawWith(2_010)))[0]).toMatch(/^Not decided by 10 seeds/)
  })

  test('placements: how much the answer depends on them', () => {
    const merged = mergeDraws({
      seeds: [1],
      placements: [0, 1, 2].map((placement) => ({
        placement,
        pods: { 'Deployment default/web': { 'node-a': placement + 1 } },
      })),
      reports: [drawWith(2_010), drawWith(2_010), drawWith(4_000)],
    })
    expect(merged.draws!.advice).toEqual([
      { pair: 'nftables', answer: 'Local', draws: 2 },
      { pair: 'nftables', answer: 'Local at a cost', draws: 1 },
    ])
    const text = renderText(merged).replace(/\s+/g, ' ')
    expect(text).toContain(
      'Of 3 placements, each by itself, the answer is Local in 2, Local at a cost in 1: it depends on where the scheduler puts the pods.',
    )
    expect(merged.derived).toContainEqual({ object: 'Deployment default/web', what: 'in placement 2: 3 on node-a' })
  })

  test('one seed says what another could change, by how many choices decide', () => {
    const few = report([clusterRun({ endpoints: [0, 1, 2].map((i) => endpoint(i, 'a', 20, 60)) })])
    expect(renderText(few).replace(/\s+/g, ' ')).toContain(
      "This is one seed: another easily moves an endpoint's share of default/web:http by 12 points (60 connections decide it). --seeds 10 gives medians and ranges.",
    )
    const affinity = report([clusterRun({ nodes: [nodeReport('a', { affinityHits: 5_960, affinityMisses: 40 })] })])
    expect(renderText(affinity).replace(/\s+/g, ' ')).toContain(
      'by 15 points or more (40 choices for clients with ClientIP affinity decide it)',
    )
    expect(renderText(report([clusterRun()]))).not.toContain('This is one seed')
  })
})

describe('over random draws', () => {
  const anyRun = fc
    .record({
      failed: fc.integer({ min: 0, max: 6_000 }),
      kept: fc.double({ min: 0, max: 1, noNaN: true }),
      crossed: fc.double({ min: 0, max: 1, noNaN: true }),
      path: fc.tuple(fc.double({ min: 1, max: 1e4, noNaN: true }), fc.double({ min: 1, max: 1e4, noNaN: true })),
      full: fc.integer({ min: 2_000, max: 6_000 }),
      conntrack: fc.integer({ min: 0, max: 10_000 }),
    })
    .map((draw) => {
      const rest = 6_000 - draw.full
      const run = clusterRun({
        connections: { attempted: 6_000, established: 6_000 - draw.failed, failed: draw.failed, broken: 0 },
        clientIpPreservedFraction: draw.kept,
        crossNodeFraction: draw.crossed,
        endpoints: [endpoint(0, 'a', draw.full, 6_000), endpoint(1, 'a', rest, 6_000), endpoint(2, 'b', 0, 6_000)],
        imbalance: [{ service: WEB, endpoints: 3, maxOverMean: draw.full / 2_000, coefficientOfVariation: 0 }],
        nodes: [nodeReport('a', { conntrackPeak: draw.conntrack, conntrackMax: 10_000 })],
      })
      const pathLatencyMicros = { ...run.pathLatencyMicros, packet: latency(...draw.path) }
      return { ...run, services: [{ service: WEB, pathLatencyMicros, requestLatencyMicros: NO_LATENCY }] }
    })
  /** Draws near each other or not: both kinds of answers must come. */
  const anyDraws = fc
    .tuple(fc.array(fc.tuple(anyRun, anyRun), { minLength: 2, maxLength: 12 }), fc.boolean())
    .map(([pairs, alike]) => (alike ? pairs.map(() => pairs[0]!) : pairs))
    .map((pairs) => pairs.map(([one, two]) => report([one, { ...two, policy: 'local' }])))

  test('no sentence contradicts the figures, and nothing is concluded that fewer than nine in ten draws have', () => {
    const seen = { decided: 0, undecided: 0 }
    fc.assert(
      fc.property(anyDraws, (reports) => {
        const merged = overSeeds(...reports)
        const figures = reports.map((one) =>
          one.runs.map(
            (run) => new Map(figuresOf(run, one).map((figure) => [`${figure.effect} ${figure.of}`, figure.value])),
          ),
        )
        for (const { effect, service, direction, values, draws, sentence } of conclusionsOf(merged)) {
          if (effect === 'advice') continue
          const [base, other] = values
          for (const [i, value] of values.entries()) {
            const each = figures.map((runs) => runs[i]!.get(`${effect} ${service}`)!).sort((a, b) => a - b)
            expect([value.least, value.value, value.most]).toEqual([
              each[0],
              each[Math.ceil(each.length / 2) - 1],
              each.at(-1),
            ])
          }
          if (direction === 'undecided') {
            seen.undecided++
            expect(sentence).toContain(`Not decided by ${reports.length} seeds`)
            continue
          }
          seen.decided++
          expect(draws).toBeGreaterThanOrEqual(reports.length * 0.9)
          if (direction === 'same') continue
          expect(direction).toBe(other!.value > base!.value ? 'worse' : 'better')
          const agreeing = figures.filter(([one, two]) => {
            const [a, b] = [one!.get(`${effect} ${service}`)!, two!.get(`${effect} ${service}`)!]
            return direction === 'worse' ? b > a : b < a
          })
          expect(agreeing.length).toBeGreaterThanOrEqual(draws!)
        }
      }),
      { numRuns: 300, seed: 16 },
    )
    expect(seen.decided).toBeGreaterThan(300)
    expect(seen.undecided).toBeGreaterThan(300)
  })

  test('draws that are all the same say what one says', () => {
    fc.assert(
      fc.property(fc.tuple(anyRun, anyRun), fc.integer({ min: 2, max: 6 }), ([one, two], count) => {
        const single = report([one, { ...two, policy: 'local' }])
        const merged = overSeeds(...Array.from({ length: count }, () => single))
        const told = (whole: ReplayReport): unknown[] =>
          conclusionsOf(whole).map(({ effect, direction, service, answer }) => [effect, direction, service, answer])
        expect(told(merged)).toEqual(told(single))
      }),
      { numRuns: 100, seed: 17 },
    )
  })
})
