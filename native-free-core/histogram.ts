/**
 * Log-linear histogram of nanoseconds: 128 buckets for each power of two, so a reading is within 0.4 % of the truth.
 *
 * Layout: a Float64Array of counts; values 0..127 have a bucket each, then 128 buckets for [2^k, 2^(k+1)), k = 7..30.
 * Values of 2^31 ns (2.1 s) and more share the last bucket; the exact sum and maximum are kept beside the buckets.
 * Merging is addition. Cost: a clz and an add (bench: histogram-record); Float64 counts, since BigUint64Array costs 20 times that.
 */

const SUB_BITS = 7
const SUB = 1 << SUB_BITS

/** Buckets, then sum and maximum. */
export const HISTOGRAM_BUCKETS: number = SUB + (31 - SUB_BITS) * SUB
export const HISTOGRAM_SUM: number = HISTOGRAM_BUCKETS
export const HISTOGRAM_MAX: number = HISTOGRAM_BUCKETS + 1
export const HISTOGRAM_LENGTH: number = HISTOGRAM_BUCKETS + 2

/** Index of the bucket that holds `nanos` (0..2^31-1, whole). */
export function bucketOf(nanos: number): number {
  if (nanos < SUB) return nanos
  const exponent = 31 - Math.clz32(nanos)
  return ((exponent - SUB_BITS) << SUB_BITS) + SUB + ((nanos >>> (exponent - SUB_BITS)) & (SUB - 1))
}

/** The middle of a bucket, in nanoseconds. */
export function bucketMiddle(bucket: number): number {
  if (bucket < SUB) return bucket
  const shift = (bucket - SUB) >> SUB_BITS
  const low = (SUB + ((bucket - SUB) & (SUB - 1))) * 2 ** shift
  return low + (2 ** shift - 1) / 2
}

/** Add one value; values past the range are clamped into the last bucket but summed as they are. */
export function record(histogram: Float64Array, nanos: number): void {
  const clamped = nanos > 0x7fffffff ? 0x7fffffff : nanos | 0
  const bucket = bucketOf(clamped)
  histogram[bucket] = histogram[bucket] + 1
  histogram[HISTOGRAM_SUM] = histogram[HISTOGRAM_SUM] + nanos
  if (nanos > histogram[HISTOGRAM_MAX]) histogram[HISTOGRAM_MAX] = nanos
}

/** How many values were recorded. */
export function histogramCount(histogram: Float64Array): number {
  let count = 0
  for (let i = 0; i < HISTOGRAM_BUCKETS; i++) count += histogram[i]
  return count
}

/**
 * The value below which a fraction of the recorded ones lie, in nanoseconds; 0 for an empty histogram.
 * @param fraction 0..1; the nearest-rank definition, read at the middle of the bucket and never above the maximum
 */
export function percentile(histogram: Float64Array, fraction: number): number {
  const count = histogramCount(histogram)
  if (count === 0) return 0
  const rank = Math.max(1, Math.ceil(count * fraction))
  let natSource = 0
  for (let i = 0; i < HISTOGRAM_BUCKETS; i++) {
    natSource += histogram[i]
    if (natSource >= rank) return Math.min(bucketMiddle(i), histogram[HISTOGRAM_MAX])
  }
  return histogram[HISTOGRAM_MAX]
}
