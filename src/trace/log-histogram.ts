/**
 * Counts of whole numbers in buckets that are at most 1/64 wide of their value: exact below 128, then 64 a power of two.
 *
 * Cost: a few ns to record; memory grows with the largest value, 64 counts a doubling.
 */
const EXACT = 128
const STEPS = 64

export class LogHistogram {
  count = 0
  sum = 0
  max = 0
  min: number = Number.POSITIVE_INFINITY
  private readonly buckets: number[] = []

  /** @param value  a whole number that is not negative */
  record(value: number): void {
    const bucket = bucketOf(value)
    while (this.buckets.length <= bucket) this.buckets.push(0)
    this.buckets[bucket]!++
    this.count++
    this.sum += value
    if (value > this.max) this.max = value
    if (value < this.min) this.min = value
  }

  /** The value that a share of all values does not exceed; 0 when there are none. */
  quantile(share: number): number {
    if (this.count === 0) return 0
    const rank = Math.max(1, Math.ceil(share * this.count))
    let below = 0
    for (let bucket = 0; bucket < this.buckets.length; bucket++) {
      below += this.buckets[bucket]!
      if (below >= rank) return Math.max(this.min, Math.min(this.max, upperEnd(bucket)))
    }
    return this.max
  }
}

function bucketOf(value: number): number {
  if (value < EXACT) return value
  const doubling = Math.floor(Math.log2(value))
  // log2 rounds: a value just below a power of two may come out as that power.
  const power = 2 ** doubling > value ? doubling - 1 : doubling
  return EXACT + (power - 7) * STEPS + Math.floor((value / 2 ** power - 1) * STEPS)
}

function upperEnd(bucket: number): number {
  if (bucket < EXACT) return bucket
  const power = Math.floor((bucket - EXACT) / STEPS) + 7
  const step = ((bucket - EXACT) % STEPS) + 1
  return 2 ** power * (1 + step / STEPS) - 1
}
