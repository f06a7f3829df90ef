import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { combinations, parseAxes } from '../../src/capacity/axes.ts'
import { UserError } from '../../src/errors.ts'

const CONSTANTS = ['conntrackMax', 'tcpTimeWaitSeconds'] as const

function axes(ranges: string[], lists: string[] = []): ReturnType<typeof parseAxes> {
  return parseAxes(ranges, lists, CONSTANTS)
}

describe('-P, a range', () => {
  test.each<[string, number[]]>([
    ['nodes=3..30:9', [3, 12, 21, 30]],
    ['nodes=3..5', [3, 4, 5]],
    ['nodes=3..10:3', [3, 6, 9]],
    ['nodes=7..7:2', [7]],
    ['rate=0.1..0.5:0.1', [0.1, 0.2, 0.3, 0.4, 0.5]],
    ['conntrackMax=1e3..3e3:1e3', [1000, 2000, 3000]],
    ['replicas.shop/web = 0 .. 4 : 2', [0, 2, 4]],
  ])('%s', (text, values) => expect(axes([text])[0]).toMatchObject({ values }))

  test('has its ends, and steps that are all alike', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1e6 }),
        fc.integer({ min: 0, max: 500 }),
        fc.integer({ min: 1, max: 997 }),
        (from, steps, step) => {
          const { values } = axes([`seed=${from}..${from + steps * step}:${step}`])[0]!
          expect(values).toEqual(Array.from({ length: steps + 1 }, (_, i) => from + i * step))
        },
      ),
      { seed: 31 },
    )
  })
})

describe('-L, a list', () => {
  test.each<[string, (string | number | boolean)[]]>([
    ['policy=Local,Cluster,as-is', ['local', 'cluster', 'as-is']],
    ['proxyMode=nftables,IPVS', ['nftables', 'ipvs']],
    ['traffic[0].rtt=1ms,10ms', ['1ms', '10ms']],
    ['traffic[0].requestBytes=200,2e3,.5', [200, 2000, 0.5]],
    ['connections=1000, 2000', [1000, 2000]],
  ])('%s', (text, values) => expect(axes([], [text])[0]).toMatchObject({ values }))
})

test('what an axis of a name changes', () => {
  const lists = [
    'nodes=3',
    'replicas.web=3',
    'replicas.shop/web=3',
    'conntrackMax=9',
    'traffic[0].rtt=1ms',
    'duration=10s',
    'rate=2',
  ]
  expect(axes([], lists).map(({ target }) => target)).toEqual([
    { kind: 'nodes' },
    { kind: 'replicas', namespace: 'default', workload: 'web' },
    { kind: 'replicas', namespace: 'shop', workload: 'web' },
    { kind: 'constant', name: 'conntrackMax' },
    { kind: 'field', path: 'traffic[0].rtt' },
    { kind: 'field', path: 'duration' },
    { kind: 'run', name: 'rate' },
  ])
})

describe('the grid', () => {
  test('is every combination, the last axis varying fastest', () => {
    const made = combinations(axes(['nodes=3..6:3'], ['policy=local,cluster']))
    expect(made.map((one) => [...one.values()])).toEqual([
      [3, 'local'],
      [3, 'cluster'],
      [6, 'local'],
      [6, 'cluster'],
    ])
  })

  test('without an axis is one cell', () => expect(combinations([])).toEqual([new Map()]))

  test('has each combination once, as many as the product of the axes', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 })
    fc.assert(
      fc.property(lengths, (sizes) => {
        const names = ['seed', 'connections', 'nodes', 'conntrackMax']
        const made = combinations(axes(sizes.map((size, i) => `${names[i]}=1..${size}`)))
        expect(made.length).toBe(sizes.reduce((product, size) => product * size, 1))
        expect(new Set(made.map((one) => JSON.stringify([...one]))).size).toBe(made.length)
      }),
      { seed: 32 },
    )
  })
})

describe('refused as wrong usage, with what was most likely meant', () => {
  test.each<[string[], string[], string, string]>([
    [['nodez=1..3'], [], '-P nodez=1..3: there is nothing called nodez to vary', 'did you mean nodes?'],
    [['conntrackmax=1..3'], [], 'there is nothing called conntrackmax to vary', 'did you mean conntrackMax?'],
    [['nodes=0..3'], [], '-P nodes=0..3: 0 is not a whole number from 1 to 1000', ''],
    [['nodes=1..3:0.5'], [], '1.5 is not a whole number', ''],
    [['nodes=3..1'], [], 'the range ends before it begins', ''],
    [['nodes=1..3:0'], [], 'the step must be above 0', ''],
    [['nodes=1-3'], [], 'expected FROM..TO or FROM..TO:STEP', 'for example -P nodes=3..30:3'],
    [['nodes'], [], '-P nodes: expected NAME=VALUES', 'for example'],
    [['seed=0..1000000'], [], 'more than 10000 values', ''],
    [['rate=0..2'], [], "0 is not a factor above 0 of the scenario's own rate", ''],
    [[], ['policy=lokal'], '-L policy=lokal: lokal is not one of cluster, local, as-is', 'did you mean local?'],
    [[], ['policy=local,Local'], 'local is given twice', ''],
    [[], ['policy=local,'], 'a value is missing', ''],
    [[], ['conntrackMax=many'], 'many is not a number', ''],
    [['nodes=1..3'], ['nodes=4'], 'two axes are called nodes', ''],
  ])('%j %j', (ranges, lists, message, hint) => {
    let refused: unknown
    try {
      axes(ranges, lists)
    } catch (error) {
      refused = error
    }
    expect(refused).toBeInstanceOf(UserError)
    expect(refused).toMatchObject({ code: 'E_USAGE', exitCode: 2 })
    expect((refused as UserError).message).toContain(message)
    expect((refused as UserError).hint).toContain(hint)
  })

  test('a grid that nobody would wait for', () => {
    expect(() => combinations(axes(['seed=1..200', 'connections=1..200']))).toThrow('40000 combinations')
  })

  test('any text is an axis or a coded refusal', () => {
    const pieces = fc.constantFrom(
      'nodes',
      'policy',
      'traffic[0].rtt',
      '=',
      '..',
      ':',
      ',',
      '1',
      '-3',
      '1e9',
      '  ',
      'local',
      '🦆',
    )
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces).map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(text, fc.boolean(), (one, isRange) => {
        try {
          expect(axes(isRange ? [one] : [], isRange ? [] : [one])[0]!.values.length).toBeGreaterThan(0)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
          expect(error).toMatchObject({ code: 'E_USAGE', exitCode: 2 })
        }
      }),
      { seed: 33, numRuns: 500 },
    )
  })
})
