import { describe, expect, it } from 'vitest'
import { Random } from '../../src/random.ts'
import { type Distribution, meanOf, PROFILES, sampler, weighted, zipf } from '../../src/trace/distributions.ts'
import { EventHeap } from '../../src/trace/event-heap.ts'
import { LogHistogram } from '../../src/trace/log-histogram.ts'

function samples(distribution: Distribution, count = 200_000): Float64Array {
  const sample = sampler(distribution)
  const random = new Random(11, JSON.stringify(distribution))
  return Float64Array.from({ length: count }, () => sample(random))
}

const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length
const quantile = (values: Float64Array, share: number) => values.slice().sort()[Math.floor(share * values.length)]

describe('random numbers', () => {
  it('are the same for the same seed and purpose, and others for another', () => {
    const take = (seed: number, purpose: string) => {
      const random = new Random(seed, purpose)
      return Array.from({ length: 5 }, () => random.next()).join()
    }
    expect(take(1, 'a')).toBe(take(1, 'a'))
    const all = [take(1, 'a'), take(2, 'a'), take(1, 'b'), take(1 + 2 ** 32, 'a')]
    expect(new Set(all).size).toBe(all.length)
  })

  it('fill every tenth alike', () => {
    const random = new Random(5, 'tenths')
    const counts = new Float64Array(10)
    for (let i = 0; i < 100_000; i++) counts[random.below(10)]++
    // Chi square with 9 degrees of freedom: above 27.9 once in a thousand seeds.
    expect(counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0)).toBeLessThan(27.9)
  })
})

describe('samples have the mean that they should', () => {
  it.each<[string, Distribution]>([
    ['constant', { kind: 'constant', value: 3 }],
    ['uniform', { kind: 'uniform', from: 2, to: 10 }],
    ['exponential', { kind: 'exponential', mean: 5 }],
    ['lognormal', { kind: 'lognormal', median: 4, sigma: 0.5 }],
    [
      'mixture',
      {
        kind: 'mixture',
        parts: [
          { weight: 1, of: { kind: 'constant', value: 10 } },
          { weight: 3, of: { kind: 'uniform', from: 0, to: 4 } },
        ],
      },
    ],
  ])('%s', (_, distribution) => {
    const values = samples(distribution)
    expect(mean(values) / meanOf(distribution)).toBeCloseTo(1, 1.7)
    expect(Math.min(...values.subarray(0, 50_000))).toBeGreaterThanOrEqual(0)
  })

  it('a lognormal has its median', () => {
    expect(quantile(samples({ kind: 'lognormal', median: 1800, sigma: 0.25 }), 0.5) / 1800).toBeCloseTo(1, 2)
  })
})

describe('profiles', () => {
  it.each(Object.keys(PROFILES))('%s has the quantiles and the mean of its source', (name) => {
    const { points, kind, sourceMeanBytes } = PROFILES[name]
    const values = samples({ kind: 'profile', name }, 400_000).sort()
    for (const [bytes, share] of points) {
      // Points that stand above each other are a jump, which has no one quantile.
      const alone = points.filter(([, other]) => Math.abs(other - share) < 0.005).length === 1
      if (share < 0.05 || share > 0.99 || !alone || bytes < 5) continue
      const below = values.findIndex((value) => value > bytes) / values.length
      expect(Math.abs(below - share), `share of flows up to ${bytes}`).toBeLessThan(0.005)
    }
    // What is given in few quantiles does not say all about the tail.
    expect(Math.abs(meanOf({ kind: 'profile', name }) / sourceMeanBytes - 1)).toBeLessThan(
      kind === 'cdf' ? 0.001 : 0.25,
    )
    expect(values.at(-1)).toBeLessThanOrEqual(points.at(-1)![0])
  })
})

describe('weighted choice', () => {
  it('follows the weights', () => {
    const weights = [5, 0, 1, 3, 1]
    const choose = weighted(weights)
    const random = new Random(3, 'weights')
    const counts = new Float64Array(weights.length)
    for (let i = 0; i < 100_000; i++) counts[choose(random)]++
    weights.forEach((weight, i) => {
      expect(counts[i] / 100_000).toBeCloseTo(weight / 10, 2)
    })
    expect(counts[1]).toBe(0)
  })

  it('Zipf gives the second half as often as the first, divided by 2^s', () => {
    const choose = zipf(1000, 1.2)
    const random = new Random(4, 'zipf')
    const counts = new Float64Array(1000)
    for (let i = 0; i < 500_000; i++) counts[choose(random)]++
    expect(counts[0] / counts[1]).toBeCloseTo(2 ** 1.2, 1)
    expect(counts[3] / counts[7]).toBeCloseTo(2 ** 1.2, 0.5)
  })
})

describe('the event heap', () => {
  it('gives events in order of time, whatever is done to it', () => {
    const random = new Random(9, 'heap')
    const heap = new EventHeap()
    let now = 0
    let left = 0
    for (let i = 0; i < 50_000; i++) {
      if (heap.size === 0 || random.fraction() < 0.3) {
        heap.push(now + random.below(1000), i)
        left++
      } else {
        expect(heap.topTime).toBeGreaterThanOrEqual(now)
        now = heap.topTime
        if (random.fraction() < 0.5) heap.replaceTop(now + random.below(1000))
        else {
          heap.pop()
          left--
        }
      }
      expect(heap.size).toBe(left)
    }
  })
})

describe('the histogram', () => {
  it('has quantiles within a 64th of the exact ones', () => {
    const random = new Random(6, 'histogram')
    const histogram = new LogHistogram()
    const values = Float64Array.from({ length: 20_000 }, () => Math.floor(Math.exp(random.fraction() * 20)))
    for (const value of values) histogram.record(value)
    values.sort()
    for (const share of [0.01, 0.5, 0.9, 0.99, 1]) {
      const exact = values[Math.ceil(share * values.length) - 1]
      expect(Math.abs(histogram.quantile(share) - exact)).toBeLessThanOrEqual(exact / 64)
    }
    expect(new LogHistogram().quantile(0.5)).toBe(0)
  })
})
