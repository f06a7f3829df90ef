import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { renderThresholds } from '../../src/report/text.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import { clusterRun, endpoint, latency, localRun, report } from './fixture.ts'

const SEED = 20261122

function check(text: string, on = report()): { pass: boolean; values: (number | null)[] } {
  const [result] = evaluateThresholds([parseThreshold(text)], on)
  return { pass: result!.pass, values: result!.matches.map((match) => match.value) }
}

function refusal(text: string, on = report()): UserError {
  try {
    check(text, on)
  } catch (error) {
    expect(error).toBeInstanceOf(UserError)
    const refused = error as UserError
    expect([refused.code, refused.exitCode]).toEqual(['E_THRESHOLD', 2])
    return refused
  }
  throw new Error(`${text} was accepted`)
}

describe('a threshold holds or fails', () => {
  test.each<[string, boolean, number[]]>([
    ['runs[policy=local].pathLatencyMicros.packet.p99 < 2000', true, [120]],
    ['runs[policy=local].pathLatencyMicros.packet.p99 < 0.1ms', false, [120]],
    ['runs[policy=cluster].pathLatencyMicros.packet.p99<=190us', true, [190]],
    ['runs[policy=local,proxyMode=nftables].connections.failed == 0', true, [0]],
    ['runs[*].connections.failed == 0', true, [0, 0]],
    ['runs.connections.failed == 0', true, [0, 0]],
    ['connections.failed == 0', true, [0, 0]],
    ['runs[0].clientIpPreservedFraction >= 1', false, [0]],
    ['runs[1].clientIpPreservedFraction >= 100%', true, [1]],
    ['runs[policy=local].endpoints[service=default/web:http].share < 0.4', false, [0.25, 0.25, 0.5]],
    ['endpoints[service=default/web:http].share <= 50%', true, [0.335, 1985 / 6000, 2005 / 6000, 0.25, 0.25, 0.5]],
    ['runs[policy = local].imbalance[service = default/web:http].maxOverMean < 2', true, [1.5]],
    ['runs[policy=local].nodes[node="node-b"].conntrackPeak < 1k', false, [1200]],
    ['runs[policy=local].drops.conntrack-full == 0', true, [0]],
    ['runs[*].dns.byRcode.NXDOMAIN < 1', true, [0, 0]],
    ['runs[*].dns.byRcode.3 < 1', true, [0, 0]],
    ['engine.processingNanosPerPacket.p99 < 1us', true, [820]],
    ['engine.peakRssBytes < 1GiB', true, [125_829_120]],
    ['trace.durationSeconds == 1min', true, [60]],
    ['trace.packets != 24_000', false, [24_000]],
    ['trace.packets >= 2.4e4', true, [24_000]],
    // One figure against another, and short forms.
    ['local.p99 < cluster.p99', true, [120]],
    ['local.p99 < 50% * cluster.p99', false, [120]],
    ['cluster.p99 <= 1.6 * local.p99', true, [190]],
    ['local.p95 <= local.p99', true, [80.5]],
    ['p99 < 200us', true, [190, 120]],
    ['runs.pathLatencyMicros.packet.p99 <= cluster.p99', true, [190, 120]],
    ['local.connections.failed == cluster.connections.failed', true, [0]],
  ])('%s', (text, pass, values) => expect(check(text)).toEqual({ pass, values }))

  test('an endpoint is named in full, with an IPv6 address too', () => {
    const v6 = { ...endpoint(0, 'node-a', 10, 10), endpoint: '[2001:db8::1]:80' }
    const on = report([localRun({ endpoints: [v6] })])
    expect(check('endpoints[endpoint=[2001:db8::1]:80].connections == 10', on).pass).toBe(true)
    expect(check("endpoints[endpoint='[2001:db8::1]:80'].connections == 10", on).pass).toBe(true)
  })

  test('57% is exactly 0.57', () => {
    const on = report([localRun({ crossNodeFraction: 0.57 })])
    expect(check('runs[0].crossNodeFraction == 57%', on).pass).toBe(true)
  })

  test('a latency of which nothing was recorded does not pass', () => {
    const empty = latency(0, 0, 0)
    const on = report([localRun({ pathLatencyMicros: { packet: empty, firstPacket: empty, connectionSetup: empty } })])
    expect(check('runs[*].pathLatencyMicros.packet.p99 < 2ms', on)).toEqual({ pass: false, values: [null] })
    expect(check('runs[*].pathLatencyMicros.packet.count == 0', on).pass).toBe(true)
  })

  test('every operator agrees with arithmetic', () => {
    const operators: [string, (a: number, b: number) => boolean][] = [
      ['<', (a, b) => a < b],
      ['<=', (a, b) => a <= b],
      ['>', (a, b) => a > b],
      ['>=', (a, b) => a >= b],
      ['==', (a, b) => a === b],
      ['!=', (a, b) => a !== b],
    ]
    fc.assert(
      fc.property(fc.nat(40), fc.nat(40), fc.constantFrom(...operators), (failed, limit, [operator, holds]) => {
        const on = report([clusterRun({ connections: { attempted: 50, established: 50 - failed, failed, broken: 0 } })])
        expect(check(`runs[0].connections.failed ${operator} ${limit}`, on).pass).toBe(holds(failed, limit))
      }),
      { seed: SEED },
    )
  })
})

describe('what is refused, and what is suggested', () => {
  test.each<[string, string, string]>([
    ['runs[0].conections.failed == 0', 'runs has no field conections', 'did you mean connections?'],
    ['run[0].connections.failed == 0', 'a report has no field run', 'did you mean runs?'],
    ['runs[0].connections.failled == 0', 'connections has no field failled', 'did you mean failed?'],
    ['runs[0].connections == 0', 'connections is not a number', 'its fields: attempted, established, failed'],
    ['runs[0].policy == 0', 'policy is not a number', ''],
    ['runs[0].connections[0].failed == 0', 'connections is not a list, so it cannot have [...]', ''],
    ['runs[0].connections.failed.x == 0', 'failed is a value and has no field x', ''],
    ['runs[polcy=local].connections.failed == 0', 'runs has no field polcy', 'did you mean policy?'],
    [
      'runs[policy=loca].connections.failed == 0',
      'nothing in runs matches [policy=loca]',
      'did you mean policy=local?',
    ],
    ['runs[7].connections.failed == 0', 'nothing in runs matches [7]', 'it has 2, counted from 0'],
    ['runs[0].drops.contrack-full == 0', 'no drop reason is called contrack-full', 'did you mean conntrack-full?'],
    [
      'runs[0].endpoints[service=default/web].share < 1',
      'nothing in runs[policy=cluster,proxyMode=nftables].endpoints',
      'did you mean service=default/web:http?',
    ],
    ['runs[0].connections.failed < 5%', 'failed is not measured in %', 'units of failed: k, M, G'],
    ['runs[0].crossNodeFraction < 5ms', 'crossNodeFraction is not measured in ms', 'units of crossNodeFraction: %'],
    ['runs[0].connections.failed', 'expected one of < <= > >= == != at column 27, found the end', 'for example'],
    ['runs[0].connections.failed = 0', 'expected one of < <= > >= == != at column 28', 'for example'],
    ['runs[0.connections.failed == 0', "expected ] at column 7, found '.connections.failed '", 'for example'],
    ['runs[].connections.failed == 0', 'expected *, a number or key=value at column 6', 'for example'],
    ['runs[policy=].connections.failed == 0', 'expected a value at column 13', 'for example'],
    ['runs[0].connections.failed == zero', 'a report has no field zero', 'dpemu help metrics'],
    ['runs[0].connections.failed == ?', "expected a number or a field at column 31, found '?'", 'for example'],
    ['local.p99 < cluster.connections.failed', 'p99 and failed do not measure the same', ''],
    ['local.p99 < p99', 'the right side is 2 numbers', 'choose one'],
    ['local.p99 < 2ms * cluster.p99', 'expected a factor without a unit', 'for example'],
    ['locl.p99 < 1ms', 'a report has no field locl', ''],
    ['runs[0].connections.failed == 0 && x', "expected the end at column 33, found '&& x'", 'for example'],
    ['runs[0].__proto__.x == 0', 'runs has no field __proto__', ''],
    ['runs[0].connections.failed < 1e999', 'expected a number that is not too large', 'for example'],
    ['', 'expected a field name at column 1, found the end', 'for example'],
    ['503 < 1', "expected a field name at column 1, found '503 < 1'", 'for example'],
    ['runs[0].ingress.byStatus.5xx < 1', 'expected one of < <= > >= == != at column 27', 'for example'],
    ['runs[0].ingress.byStatus.99 < 1', '99 is no HTTP status', ''],
    ['runs[0].ingress.byStatus.ok < 1', 'ok is no HTTP status', ''],
  ])('%s', (text, message, hint) => {
    const refused = refusal(text)
    expect(refused.message).toContain(message)
    expect(refused.hint).toContain(hint)
  })

  test('names and units are checked before a run, when there is no report yet', () => {
    expect(() => parseThreshold('runs[0].conections.failed == 0')).toThrow(UserError)
    expect(() => parseThreshold('runs[0].drops.no-such-reason == 0')).toThrow(UserError)
    expect(() => parseThreshold('runs[policy=whatever].connections.failed == 0')).not.toThrow()
  })

  test('any text is a threshold or a coded refusal', () => {
    const pieces = fc.constantFrom(
      'runs',
      '[0]',
      '[*]',
      '[policy=local]',
      '[',
      ']',
      '.',
      'connections',
      'failed',
      'drops',
      '<',
      '==',
      '1',
      '5%',
      '2ms',
      ' ',
      '"',
      'endpoints',
      'share',
      '-',
      '1e9',
      ',',
      '=',
      'constructor',
    )
    const nearly = fc.array(pieces, { maxLength: 14 }).map((list) => list.join(''))
    fc.assert(
      fc.property(fc.oneof(nearly, fc.string({ unit: 'binary', maxLength: 60 })), (text) => {
        try {
          const result = check(text)
          expect(result.values.length).toBeGreaterThan(0)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
        }
      }),
      { seed: SEED, numRuns: 2_000 },
    )
  })
})

describe('the block that people and CI read', () => {
  test('one line a threshold, and the values that broke it', () => {
    const texts = [
      'runs[policy=local].pathLatencyMicros.packet.p99 < 2ms',
      'endpoints[service=default/web:http].share < 40%',
      'connections.failed == 0',
    ]
    const results = evaluateThresholds(texts.map(parseThreshold), report())
    expect(renderThresholds(results)).toBe(
      [
        '✓ runs[policy=local].pathLatencyMicros.packet.p99 < 2ms (120 µs)',
        '✗ endpoints[service=default/web:http].share < 40%',
        '    runs[policy=local,proxyMode=nftables].endpoints[service=default/web:http,endpoint=10.244.2.2:8080].share: 0.5',
        '✓ connections.failed == 0',
        '',
      ].join('\n'),
    )
    expect(renderThresholds(results, { color: true })).toContain('\u001b[31m✗ endpoints')
  })

  test('a failed comparison of two figures shows both', () => {
    const results = evaluateThresholds([parseThreshold('cluster.p99 < local.p99')], report())
    expect(renderThresholds(results)).toBe('✗ cluster.p99 < local.p99 (190 µs against 120 µs)\n')
  })

  test('a comparison with something of which nothing was recorded fails', () => {
    const dead = clusterRun({ pathLatencyMicros: { ...clusterRun().pathLatencyMicros, packet: latency(0, 0, 0) } })
    const [result] = evaluateThresholds([parseThreshold('local.p99 < cluster.p99')], report([dead, localRun()]))
    expect(result).toMatchObject({ pass: false, matches: [{ value: 120, limit: null }] })
  })

  test('a value just above the limit does not read as if it had met it', () => {
    const on = report([
      localRun({ pathLatencyMicros: { ...localRun().pathLatencyMicros, packet: latency(50, 2000.4) } }),
    ])
    expect(
      renderThresholds(evaluateThresholds([parseThreshold('runs[0].pathLatencyMicros.packet.p99 < 2ms')], on)),
    ).toBe('✗ runs[0].pathLatencyMicros.packet.p99 < 2ms (2000.4 µs)\n')
  })
})
