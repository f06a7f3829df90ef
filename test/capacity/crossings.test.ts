/** Where Local and Cluster change places in a sweep over rates. */
import { describe, expect, test } from 'vitest'
import { crossingsOf } from '../../src/capacity/crossings.ts'
import { parseObjectives } from '../../src/capacity/objectives.ts'
import { renderCapacityText } from '../../src/report/capacity-sections.ts'
import type { CapacityCell } from '../../src/report/capacity-types.ts'
import { capacityReport, capacityRun, figures, kneeCell, latency } from './fixture.ts'

const OBJECTIVES = parseObjectives(['requestLatencyMicros.mean < 1ms'])

/** A run at a rate under a policy, with this mean. */
function cell(policy: string, rate: number, mean: number, parameters: CapacityCell['parameters'] = {}): CapacityCell {
  return {
    name: `rate=${rate}, policy=${policy}`,
    policy,
    proxyMode: 'nftables',
    parameters: { rate: rate / 1000, ...parameters },
    knee: null,
    run: capacityRun({
      connectionsPerSecond: rate,
      figures: figures({ requestLatencyMicros: { ...latency(1), mean } }),
    }),
    tried: [],
    broke: [],
    draws: null,
  }
}

/** Means under Local and Cluster by rate. */
function sweep(means: Readonly<Record<number, readonly [local: number, cluster: number]>>): CapacityCell[] {
  return Object.entries(means).flatMap(([rate, [local, cluster]]) => [
    cell('local', Number(rate), local),
    cell('cluster', Number(rate), cluster),
  ])
}

describe('crossings', () => {
  test.each([
    ['Local wins throughout', { 1000: [100, 200], 2000: [100, 200] }, []],
    ['equal at every rate', { 1000: [100, 100], 2000: [100, 100] }, []],
    ['Local first, then Cluster', { 1000: [100, 200], 2000: [300, 200] }, [['local', 'cluster', 1500]]],
    ['three quarters of the way', { 1000: [100, 400], 2000: [500, 400] }, [['local', 'cluster', 1750]]],
    [
      'there and back',
      { 1000: [100, 200], 2000: [300, 200], 3000: [100, 200] },
      [
        ['local', 'cluster', 1500],
        ['cluster', 'local', 2500],
      ],
    ],
    ['one rate', { 1000: [100, 200] }, []],
    ['equal on the way through', { 1000: [100, 200], 2000: [5, 5], 3000: [300, 200] }, [['local', 'cluster', 2000]]],
  ] as const)('%s', (_, means, expected) => {
    const found = crossingsOf(sweep(means), OBJECTIVES)
    expect(found.map((one) => [one.lowerBelow, one.lowerAbove, one.connectionsPerSecond])).toEqual(expected)
  })

  test('a run in which nothing was served has no figure to cross', () => {
    const nothing = (one: CapacityCell): CapacityCell => ({
      ...one,
      run: { ...one.run!, figures: figures({ requestLatencyMicros: latency(0, 0) }) },
    })
    const cells = sweep({ 1000: [300, 200], 2000: [300, 200] })
    expect(
      crossingsOf(
        cells.map((one, i) => (i === 2 ? nothing(one) : one)),
        OBJECTIVES,
      ),
    ).toEqual([])
  })

  test('the order of the cells plays no part, other parameters are apart', () => {
    const twice = [3, 6].flatMap((nodes) => [
      cell('local', 2000, 300, { nodes }),
      cell('cluster', 1000, 200, { nodes }),
      cell('local', 1000, 100, { nodes }),
      cell('cluster', 2000, nodes === 3 ? 200 : 400, { nodes }),
    ])
    expect(crossingsOf(twice, OBJECTIVES).map(({ parameters }) => parameters)).toEqual([{ nodes: 3 }])
  })

  test.each([
    ['one policy', sweep({ 1000: [1, 2], 2000: [3, 2] }).filter(({ policy }) => policy === 'local')],
    ['a search', [kneeCell(), kneeCell()]],
    ['no rates', sweep({ 1000: [1, 2], 2000: [3, 2] }).map((one) => ({ ...one, parameters: {} }))],
  ])('none in %s', (_, cells) => {
    expect(crossingsOf(cells, OBJECTIVES)).toEqual([])
  })

  test('are said in words', () => {
    const cells = sweep({ 1000: [100, 200], 2000: [300, 200] })
    const report = capacityReport(cells, { search: null, crossings: crossingsOf(cells, OBJECTIVES) })
    expect(renderCapacityText(report).replace(/\s+/g, ' ')).toContain(
      'requestLatencyMicros.mean is lower under Local up to 1,500/s and under Cluster above (found between 1,000/s and 2,000/s).',
    )
  })
})
