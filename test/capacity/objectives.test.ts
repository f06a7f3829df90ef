import { describe, expect, test } from 'vitest'
import { culpritsOf, figuresOf, isSettled } from '../../src/capacity/figures.ts'
import { brokenObjectives, DEFAULT_OBJECTIVES, hangsOnTables, parseObjectives } from '../../src/capacity/objectives.ts'
import { figures, latency, nodeReport, runReport } from './fixture.ts'

const NOBODY = { conntrack: null, snat: null, cpu: null, pod: null, queue: null, drop: null }

describe('figures of a run', () => {
  test('are of the worst node, each of its own', () => {
    const nodes = [
      nodeReport('a', { conntrackPeak: 100, snatPortsPeak: 16_128, cpuUtilization: 0.3, cpuUtilizationPeak: 0.4 }),
      nodeReport('b', { conntrackPeak: 810, snatPortsPeak: 0, cpuUtilization: 0.1, cpuUtilizationPeak: 0.9 }),
    ]
    const run = runReport(nodes, {
      verdicts: { accept: 900, drop: 60, reject: 40, notSent: 7 },
      connections: { attempted: 200, established: 150, failed: 50, broken: 15 },
    })
    expect(figuresOf(run)).toMatchObject({
      dropFraction: 0.1,
      failedFraction: 0.25,
      brokenFraction: 0.1,
      conntrackFraction: 0.81,
      snatFraction: 0.25,
      cpuFraction: 0.3,
      cpuPeakFraction: 0.9,
      maxOverMean: 1.1,
    })
    expect(culpritsOf(run)).toMatchObject({
      conntrack: { node: 'b' },
      snat: { node: 'a' },
      cpu: { node: 'b' },
      queue: { node: 'b' },
    })
  })

  test('of nothing at all are 0, and nobody is to blame', () => {
    const idle = nodeReport('a', { conntrackPeak: 0, cpuUtilization: 0, cpuUtilizationPeak: 0 })
    const run = runReport([idle], {
      verdicts: { accept: 0, drop: 0, reject: 0, notSent: 0 },
      connections: { attempted: 0, established: 0, failed: 0, broken: 0 },
      imbalance: [],
    })
    expect(figuresOf(run)).toMatchObject({ dropFraction: 0, failedFraction: 0, brokenFraction: 0, maxOverMean: 0 })
    expect(culpritsOf(run)).toEqual(NOBODY)
  })

  test('a table has settled once it took half as many entries again as it ever held', () => {
    const node = (insert: number, conntrackPeak = 500) =>
      nodeReport('a', { conntrackPeak, conntrack: { ...nodeReport('a').conntrack, insert } })
    const length = { durationSeconds: 1, timeWaitSeconds: 120 }
    expect(isSettled(runReport([node(750)]), length)).toBe(true)
    expect(isSettled(runReport([node(749)]), length)).toBe(false)
    // An idle node beside it says nothing.
    expect(isSettled(runReport([node(750), node(3, 3)]), length)).toBe(true)
  })

  test.each([
    ['source ports ran short', { snatPortsPeak: 64_512 }],
    ['a connection found no source port', { snatExhausted: 1 }],
    ['entries were evicted', { earlyDrops: 1 }],
    ['a table was full', { conntrackDrops: 1 }],
  ])('where %s turnover tells nothing: the run must outlast what it opened', (_, change) => {
    const run = runReport([nodeReport('a', { ...change, conntrack: { ...nodeReport('a').conntrack, insert: 9e6 } })])
    // 176 ms of 573,440 connections a second are no evidence for that rate.
    expect(isSettled(run, { durationSeconds: 0.176, timeWaitSeconds: 120 })).toBe(false)
    expect(isSettled(run, { durationSeconds: 180, timeWaitSeconds: 120 })).toBe(true)
  })
})

describe('what broke, and on which node', () => {
  const full = { node: 'node-b', service: 'default/web:http', serviceShare: 0.98 }

  test.each<[string, Parameters<typeof figures>[0], Partial<Parameters<typeof brokenObjectives>[2]>, object]>([
    [
      'conntrackFraction < 80%',
      { conntrackFraction: 0.84 },
      { conntrack: full },
      { value: 0.84, limit: 0.8, node: 'node-b', service: 'default/web:http', serviceShare: 0.98, reason: null },
    ],
    [
      'dropFraction < 0.001',
      { dropFraction: 0.02 },
      { drop: { ...full, reason: 'conntrack-full' } },
      { node: 'node-b', service: 'default/web:http', reason: 'conntrack-full' },
    ],
    [
      'dropFraction < 0.001',
      { dropFraction: 0.02 },
      { drop: { ...full, reason: 'backlog-full' } },
      { node: 'node-b', service: null, reason: 'backlog-full' },
    ],
    [
      'failedFraction == 0',
      { failedFraction: 0.5 },
      { drop: { node: null, service: null, serviceShare: null, reason: 'no-local-endpoint' } },
      { value: 0.5, excess: null, node: null, reason: 'no-local-endpoint' },
    ],
    ['snatFraction < 50%', { snatFraction: 0.6 }, { snat: full }, { node: 'node-b', service: null }],
    ['podFraction < 0.9', { podFraction: 0.95 }, { pod: full }, { node: 'node-b', service: full.service }],
    ['cpuPeakFraction < 0.9', { cpuPeakFraction: 0.95 }, { cpu: full }, { node: 'node-b', service: null }],
    [
      'pathLatencyMicros.packet.p99 < 2ms',
      { pathLatencyMicros: { ...figures().pathLatencyMicros, packet: latency(2500) } },
      { queue: full, conntrack: full },
      { figure: 'pathLatencyMicros.packet.p99', value: 2500, limit: 2000, excess: 0.25, node: 'node-b', service: null },
    ],
    [
      'pathLatencyMicros.packet.p99 < 2ms',
      { pathLatencyMicros: { ...figures().pathLatencyMicros, packet: latency(2500) } },
      { conntrack: full },
      { node: null },
    ],
    ['delivered.connectionsPerSecond > 2000', {}, {}, { value: 1000, excess: 0.5, node: null }],
    [
      'drops.conntrack-full == 0',
      { drops: { 'conntrack-full': 3 } },
      { drop: { ...full, reason: 'conntrack-full' } },
      { value: 3, node: 'node-b' },
    ],
  ])('%s, given %j', (objective, change, culprits, expected) => {
    const broke = brokenObjectives(parseObjectives([objective]), figures(change), { ...NOBODY, ...culprits })
    expect(broke).toEqual([expect.objectContaining({ objective, ...expected })])
  })

  test('an objective of which nothing was recorded does not hold', () => {
    const empty = figures({ pathLatencyMicros: { ...figures().pathLatencyMicros, packet: latency(0, 0) } })
    expect(brokenObjectives(parseObjectives(['pathLatencyMicros.packet.p99 < 2ms']), empty, NOBODY)).toMatchObject([
      { value: null, excess: null },
    ])
  })

  test('of several the furthest beyond its limit comes first; beyond 0 is beyond all', () => {
    const texts = ['conntrackFraction < 80%', 'snatFraction < 50%', 'failedFraction == 0', 'cpuFraction < 90%']
    const broke = brokenObjectives(
      parseObjectives(texts),
      figures({ conntrackFraction: 0.88, snatFraction: 0.6, failedFraction: 0.001, cpuFraction: 0.5 }),
      NOBODY,
    )
    expect(broke.map(({ objective }) => objective)).toEqual([
      'failedFraction == 0',
      'snatFraction < 50%',
      'conntrackFraction < 80%',
    ])
  })

  test('the default objectives hold of a quiet run', () => {
    expect(brokenObjectives(parseObjectives(DEFAULT_OBJECTIVES), figures(), NOBODY)).toEqual([])
  })
})

test('which objectives hang on how far tables have filled', () => {
  const texts = [
    'conntrackFraction < 80%',
    'dropFraction < 1%',
    'snatFraction < 1',
    'cpuFraction < 1',
    'pathLatencyMicros.packet.p99 < 2ms',
  ]
  expect(parseObjectives(texts).map(hangsOnTables)).toEqual([true, true, true, false, false])
})

test.each([
  ['dropFractio < 1', "--objective 'dropFractio < 1': a run has no field dropFractio", 'did you mean dropFraction?'],
  ['conntrackFraction < 80ms', 'conntrackFraction is not measured in ms', 'units of conntrackFraction: %'],
  ['pathLatencyMicros.packet < 1', 'packet is not a number', 'p99'],
  ['drops.conntrack < 1', 'no drop reason is called conntrack', 'did you mean conntrack-full?'],
  [
    'conntrackFraction',
    "--objective 'conntrackFraction': expected one of < <= > >= == !=",
    'for example: dropFraction < 0.001',
  ],
])('%s is refused as wrong usage', (text, message, hint) => {
  let refused: unknown
  try {
    parseObjectives([text])
  } catch (error) {
    refused = error
  }
  expect(refused).toMatchObject({
    code: 'E_THRESHOLD',
    exitCode: 2,
    message: expect.stringContaining(message),
    hint: expect.stringContaining(hint),
  })
})
