import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  clipEnd,
  clipMiddle,
  countOf,
  formatBar,
  formatBitRate,
  formatBytes,
  formatCount,
  formatMicros,
  formatNanos,
  formatPercent,
  formatRate,
  formatRatio,
  formatSeconds,
} from '../../src/report/units.ts'

const SEED = 20261122

describe('numbers as an SRE reads them', () => {
  test.each<[string, string]>([
    [formatCount(0), '0'],
    [formatCount(999), '999'],
    [formatCount(12_345), '12,345'],
    [formatCount(9_999_999), '9,999,999'],
    [formatCount(12_345_678), '12.3 M'],
    [formatRate(0), '0 /s'],
    [formatRate(950), '950 /s'],
    [formatRate(12_345), '12.3 k/s'],
    [formatRate(999_999), '1.00 M/s'],
    [formatRate(1_200_000), '1.20 M/s'],
    [formatRate(0.25), '0.250 /s'],
    [formatBitRate(1_234_000_000), '1.23 Gbit/s'],
    [formatBitRate(950), '950 bit/s'],
    [formatMicros(0), '0 µs'],
    [formatMicros(0.82), '820 ns'],
    [formatMicros(45.25), '45.3 µs'],
    [formatMicros(999.7), '1.00 ms'],
    [formatMicros(1_234), '1.23 ms'],
    [formatMicros(2_500_000), '2.50 s'],
    [formatNanos(310), '310 ns'],
    [formatNanos(1_500), '1.50 µs'],
    [formatNanos(0), '0 ns'],
    [formatSeconds(0), '0 s'],
    [formatSeconds(0.85), '850 ms'],
    [formatSeconds(60), '60 s'],
    [formatSeconds(12.34), '12.3 s'],
    [formatSeconds(4_200), '70 min'],
    [formatSeconds(15_000), '4 h 10 min'],
    [formatSeconds(86_400), '24 h'],
    [formatBytes(512), '512 B'],
    [formatBytes(1_536), '1.50 KiB'],
    [formatBytes(125_829_120), '120 MiB'],
    [formatBytes(1_048_575), '1.00 MiB'],
    [formatPercent(0), '0 %'],
    [formatPercent(1), '100 %'],
    [formatPercent(1 / 3), '33.3 %'],
    [formatPercent(0.998), '99.8 %'],
    [formatRatio(1.5), '1.50'],
    [formatRatio(12.44), '12.4'],
    [formatRatio(1_234.5), '1,235'],
    [countOf(1, 'packet'), '1 packet'],
    [countOf(1_200, 'packet'), '1,200 packets'],
    [clipMiddle('default/frontend-7d4b9c6f-x2x9z', 15), 'default…f-x2x9z'],
    [clipMiddle('short', 15), 'short'],
    [clipEnd('a sentence about a constant', 12), 'a sentence…'],
  ])('%s', (actual, expected) => expect(actual).toBe(expected))

  test('a fraction is 0 % or 100 % only when it is exactly that', () => {
    expect(formatPercent(0.00001)).toBe('<0.1 %')
    expect(formatPercent(0.99999)).toBe('>99.9 %')
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (fraction) => {
        const text = formatPercent(fraction)
        expect(text === '0 %' || text === '0.0 %').toBe(fraction === 0)
        expect(text === '100 %' || text === '100.0 %').toBe(fraction === 1)
      }),
      { seed: SEED },
    )
  })

  test('no number is printed as NaN, Infinity or with an exponent', () => {
    const formats = [
      formatCount,
      formatRate,
      formatBitRate,
      formatMicros,
      formatNanos,
      formatSeconds,
      formatBytes,
      formatPercent,
      formatRatio,
    ]
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e15 }), (number) => {
        for (const format of formats) expect(format(number)).not.toMatch(/NaN|Infinity|\de[+-]/)
      }),
      { seed: SEED },
    )
    for (const format of formats) {
      expect(format(Number.NaN)).toBe('n/a')
      expect(format(Number.POSITIVE_INFINITY)).toBe('n/a')
    }
  })

  test('rounding keeps three digits right: the printed rate is within half a percent', () => {
    const prefixes: Record<string, number> = { '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 }
    fc.assert(
      fc.property(fc.double({ min: 1, max: 9e14, noNaN: true }), (rate) => {
        const [, digits, prefix] = /^([\d.]+) ([kMGTP]?)\/s$/.exec(formatRate(rate))!
        expect(Math.abs(Number(digits) * prefixes[prefix!]! - rate)).toBeLessThanOrEqual(rate * 0.0051)
      }),
      { seed: SEED },
    )
  })
})

describe('bars', () => {
  test.each([
    [0, '        '],
    [0.0001, '▏       '],
    [0.5, '████    '],
    [0.6875, '█████▌  '],
    [1, '████████'],
    [7, '████████'],
    [Number.NaN, '        '],
  ])('%f of eight', (fraction, bar) => expect(formatBar(fraction, 8)).toBe(bar))

  test('always as wide as asked, and never shorter for more', () => {
    const length = (bar: string): number =>
      [...bar.trimEnd()].reduce((sum, block) => sum + 0x2590 - block.codePointAt(0)!, 0)
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true }), (a, b) => {
        expect([...formatBar(a, 12)]).toHaveLength(12)
        if (a <= b) expect(length(formatBar(a, 12))).toBeLessThanOrEqual(length(formatBar(b, 12)))
      }),
      { seed: SEED },
    )
  })
})
