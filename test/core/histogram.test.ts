/** The latency histogram: 128 buckets for each power of two, so within 0.4 % of the truth. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  bucketMiddle,
  bucketOf,
  HISTOGRAM_BUCKETS,
  HISTOGRAM_LENGTH,
  HISTOGRAM_MAX,
  HISTOGRAM_SUM,
  histogramCount,
  percentile,
  record,
} from '../../native-free-core/index.ts'

const SEED = 20_263
const LARGEST = 0x7fffffff
const nanos = fc.oneof(fc.nat(300), fc.nat(100_000), fc.nat(LARGEST))

function histogramOf(values: readonly number[]): Float64Array {
  const histogram = new Float64Array(HISTOGRAM_LENGTH)
  for (const value of values) record(histogram, value)
  return histogram
}

describe('buckets', () => {
  test('the middle of a value’s bucket is within 0.4 % of the value', () => {
    fc.assert(
      fc.property(nanos, (value) => {
        const bucket = bucketOf(value)
        expect(bucket).toBeGreaterThanOrEqual(0)
        expect(bucket).toBeLessThan(HISTOGRAM_BUCKETS)
        expect(Math.abs(bucketMiddle(bucket) - value)).toBeLessThanOrEqual(value * 0.004)
      }),
      { seed: SEED, numRuns: 1500 },
    )
  })

  test('every bucket is the bucket of its own middle, and buckets follow each other without a gap', () => {
    const wrong: number[] = []
    for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
      const middle = Math.floor(bucketMiddle(bucket))
      if (bucketOf(middle) !== bucket) wrong.push(bucket)
      if (bucket > 0 && bucketMiddle(bucket) <= bucketMiddle(bucket - 1)) wrong.push(bucket)
    }
    expect(wrong).toEqual([])
  })

  test.each([
    [0, 0],
    [127, 127],
    [128, 128],
    [255, 255],
    [256, 256],
    [257, 256],
    [LARGEST, HISTOGRAM_BUCKETS - 1],
  ])('%i ns falls into bucket %i', (value, bucket) => {
    expect(bucketOf(value)).toBe(bucket)
  })
})

describe('percentiles', () => {
  test('agree with sorting, by the nearest rank', () => {
    fc.assert(
      fc.property(
        fc.array(nanos, { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (values, fraction) => {
          const sorted = [...values].sort((a, b) => a - b)
          const rank = Math.max(1, Math.ceil(values.length * fraction))
          const truth = sorted[rank - 1]
          expect(Math.abs(percentile(histogramOf(values), fraction) - truth)).toBeLessThanOrEqual(truth * 0.004)
        },
      ),
      { seed: SEED, numRuns: 500 },
    )
  })

  test('never lie above the largest value', () => {
    fc.assert(
      fc.property(fc.array(nanos, { minLength: 1, maxLength: 50 }), (values) => {
        expect(percentile(histogramOf(values), 1)).toBeLessThanOrEqual(Math.max(...values))
      }),
      { seed: SEED },
    )
  })

  test('of nothing are 0', () => {
    const empty = histogramOf([])
    expect([0, 0.5, 0.99, 1].map((fraction) => percentile(empty, fraction))).toEqual([0, 0, 0, 0])
    expect(histogramCount(empty)).toBe(0)
  })
})

test('values of more than 2.1 s are clamped into the last bucket, but summed and topped as they are', () => {
  const histogram = histogramOf([5_000_000_000, 10])
  expect(histogram[HISTOGRAM_BUCKETS - 1]).toBe(1)
  expect(histogram[HISTOGRAM_SUM]).toBe(5_000_000_010)
  expect(histogram[HISTOGRAM_MAX]).toBe(5_000_000_000)
  expect(histogramCount(histogram)).toBe(2)
})
