/** Distributions in a row of letters. */
import { expect, test } from 'vitest'
import { axisOf, sparkline } from '../../src/report/sparkline.ts'
import { renderText } from '../../src/report/text.ts'
import { clusterRun, localRun, report } from './fixture.ts'

const bins = (...rows: readonly (readonly [number, number, number])[]) => ({
  fromMicros: rows.map(([from]) => from),
  toMicros: rows.map(([, to]) => to),
  counts: rows.map(([, , count]) => count),
})

test.each([
  ['two ends', bins([1, 2, 10], [8, 16, 5]), '█··▄'],
  ['the same in each doubling', bins([1, 2, 3], [2, 4, 3], [4, 8, 3], [8, 16, 3]), '████'],
  ['a thousandth is not empty', bins([1, 2, 1000], [8, 16, 1]), '█··▁'],
  ['a bin over all of it', bins([1, 16, 7]), '████'],
])('%s', (_, histogram, expected) => {
  expect(sparkline(histogram, { fromMicros: 1, toMicros: 16 }, 4)).toBe(expected)
})

test('one axis for all runs, none for nothing', () => {
  expect(axisOf([bins([4, 5, 1]), bins([1, 2, 1], [8, 9, 1])])).toEqual({ fromMicros: 1, toMicros: 9 })
  expect(axisOf([bins()])).toBeNull()
  expect(sparkline(bins(), { fromMicros: 1, toMicros: 2 }, 3)).toBe('···')
  expect(sparkline(bins([0, 0.001, 4]), axisOf([bins([0, 0.001, 4])])!, 2)).toBe('█·')
})

test('in the report where there is room', () => {
  const runs = [clusterRun(), localRun()]
  expect(renderText(report(runs), [], { color: false, width: 80 })).toContain('packets, 32.0 µs to 192 µs')
  expect(renderText(report(runs), [], { color: false, width: 70 })).not.toContain('packets, 32.0')
})
