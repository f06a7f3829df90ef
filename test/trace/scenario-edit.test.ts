import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseScenario, type Scenario } from '../../src/trace/scenario.ts'
import { connectionsPerSecond, editScenario, scaleScenario, scalingLimits } from '../../src/trace/scenario-edit.ts'

const STREAM = { from: { external: { addresses: 10 } }, to: { service: 'web' } }

function textOf(change: object): string {
  return JSON.stringify({ name: 's', duration: '100s', traffic: [{ ...STREAM, arrivals: { rate: 50 } }], ...change })
}

function scaled(change: object, factor: number, connections: number | null = null): Scenario {
  return parseScenario(scaleScenario(textOf(change), 's.yaml', { factor, connections }), 's.yaml')
}

describe('fields set by path', () => {
  test.each<[string, string | number, (scenario: Scenario) => unknown, unknown]>([
    ['duration', '10s', ({ durationSeconds }) => durationSeconds, 10],
    ['seed', 9, ({ seed }) => seed, 9],
    ['traffic[0].arrivals.rate', 7, ({ traffic }) => traffic[0]!.arrivals.perSecond, 7],
    ['traffic[0].arrivals.process', 'constant', ({ traffic }) => traffic[0]!.arrivals.process, 'constant'],
    ['traffic[0].rtt', '3ms', ({ traffic }) => traffic[0]!.rtt, { kind: 'constant', value: 0.003 }],
    [
      'traffic[0].from.external.addresses',
      99,
      ({ traffic }) => traffic[0]!.from,
      { kind: 'external', cidr: '198.18.0.0/15', addresses: 99 },
    ],
    ['traffic[0].to[0].weight', 3, ({ traffic }) => traffic[0]!.to[0]!.weight, 3],
    ['traffic[0].returning.visits', 4, ({ traffic }) => traffic[0]!.returning?.visits, 4],
    [
      'traffic[0].close.client-rst',
      1,
      ({ traffic }) => traffic[0]!.close,
      [
        { how: 'fin', weight: 2 },
        { how: 'client-rst', weight: 1 },
      ],
    ],
  ])('%s = %j', (path, value, read, expected) => {
    const stream = { ...STREAM, arrivals: { rate: 50 }, returning: { gap: '1s' }, close: { fin: 2 } }
    const edited = editScenario(textOf({ traffic: [stream] }), 's.yaml', [{ path, value }])
    expect(read(parseScenario(edited, 's.yaml'))).toEqual(expected)
  })

  test('streams that share a YAML alias are changed apart', () => {
    const text = `{name: s, duration: 9s, traffic: [&a {from: {external: {addresses: 1}}, to: {service: web}, arrivals: {rate: 5}}, *a]}`
    const edited = parseScenario(
      editScenario(text, 's.yaml', [{ path: 'traffic[1].arrivals.rate', value: 8 }]),
      's.yaml',
    )
    expect(edited.traffic.map(({ arrivals }) => arrivals.perSecond)).toEqual([5, 8])
    const doubled = parseScenario(scaleScenario(text, 's.yaml', { factor: 2, connections: null }), 's.yaml')
    expect(doubled.traffic.map(({ arrivals }) => arrivals.perSecond)).toEqual([10, 10])
  })

  test.each<[string, string]>([
    ['traffic[1].rtt', 'traffic[1].rtt leads nowhere: there are 1 entries, counted from 0'],
    ['traffic[0].rttt', 'traffic[0].rttt is not a field of a scenario'],
    ['traffic[0].rtt.x', 'traffic[0].rtt.x is not a field'],
    ['name.x', 'name.x leads through what is no map'],
    ['traffic.x', 'traffic.x leads through what is no map'],
    ['name[0]', 'name[0] leads to no single value'],
    ['__proto__.x', '__proto__.x is no path to a field'],
    ['traffic[0', 'traffic[0 is no path to a field'],
    ['constructor.name', 'constructor is not a field'],
  ])('%s is refused', (path, message) => {
    expect(() => editScenario(textOf({}), 's.yaml', [{ path, value: 1 }])).toThrow(message)
  })
})

describe('scaled to a rate', () => {
  test('with its own length: rates and counts are multiplied, times stay', () => {
    const { traffic, durationSeconds } = scaled(
      { traffic: [{ ...STREAM, arrivals: { rate: 50, connections: 30 }, start: '10s' }] },
      3,
    )
    expect(durationSeconds).toBe(100)
    expect(traffic[0]).toMatchObject({ startSeconds: 10, arrivals: { perSecond: 150, connections: 90 } })
  })

  test('to a number of connections: the timeline is stretched over as long as they last', () => {
    // 5,000 and 2,500 connections of its own; 30,000 at twice the rate are four times as many in twice the time.
    const changes = [{ at: '25s', delete: { kind: 'Pod', name: 'a' } }]
    const late = { ...STREAM, arrivals: { rate: 50 }, start: '50s' }
    const {
      traffic,
      connections,
      durationSeconds,
      changes: moved,
    } = scaled({ traffic: [{ ...STREAM, arrivals: { rate: 50 } }, late], changes }, 2, 30_000)
    expect([connections, durationSeconds]).toEqual([30_000, Number.POSITIVE_INFINITY])
    expect(traffic.map(({ arrivals, startSeconds }) => [arrivals.perSecond, startSeconds])).toEqual([
      [100, 0],
      [100, 100],
    ])
    expect(moved[0]!.timeSeconds).toBe(50)
  })

  test('a count without a rate has the rate that the duration gives it', () => {
    const { traffic } = scaled(
      { traffic: [{ ...STREAM, arrivals: { connections: 1000, process: 'constant' } }] },
      5,
      20_000,
    )
    expect(traffic[0]!.arrivals).toEqual({ process: 'constant', perSecond: 50, connections: 20_000 })
  })

  test('a scenario that ends by its connections alone', () => {
    expect(scaled({ duration: undefined, connections: 400 }, 4).connections).toBe(1600)
    expect(scaled({ duration: undefined, connections: 400 }, 4, 99).connections).toBe(99)
  })

  test('streams keep their shares, and those that began keep beginning, whatever the factor', () => {
    const stream = fc.record({
      rate: fc.double({ min: 0.1, max: 1000, noNaN: true }),
      start: fc.integer({ min: 0, max: 90 }),
    })
    fc.assert(
      fc.property(
        fc.array(stream, { minLength: 1, maxLength: 5 }),
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        fc.integer({ min: 1000, max: 1_000_000 }),
        (streams, factor, connections) => {
          const traffic = streams.map(({ rate, start }) => ({ ...STREAM, arrivals: { rate }, start: `${start}s` }))
          const text = textOf({ traffic })
          const result = parseScenario(scaleScenario(text, 's.yaml', { factor, connections }), 's.yaml')
          const own = parseScenario(text, 's.yaml')
          expect(connectionsPerSecond(result)).toBeCloseTo(connectionsPerSecond(own) * factor, 6)
          // At the time when that many have opened, each stream has opened its share.
          const opened = (scenario: Scenario, end: number): number[] =>
            scenario.traffic.map(({ arrivals, startSeconds }) => arrivals.perSecond * Math.max(0, end - startSeconds))
          const before = opened(own, 100)
          const total = before.reduce((sum, one) => sum + one, 0)
          const stretch = connections / (total * factor)
          opened(result, 100 * stretch).forEach((count, i) => {
            expect(count / connections).toBeCloseTo(before[i]! / total, 6)
          })
        },
      ),
      { seed: 41 },
    )
  })

  test('limits are where the slowest and the fastest stream can still be generated', () => {
    const own = parseScenario(
      textOf({ traffic: [2, 500].map((rate) => ({ ...STREAM, arrivals: { rate } })) }),
      's.yaml',
    )
    const { least, most } = scalingLimits(own)
    expect([least * 2, most * 500]).toEqual([1e-6, 1e7])
  })
})
