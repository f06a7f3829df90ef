/**
 * The distributions that a scenario can name: sizes in bytes, times in seconds, counts; and weighted choice.
 *
 * A distribution is a plain object, as the scenario says it; `sampler` turns it into a function of a `Random`.
 * Invariants: samples are finite and never negative. Cost: a logarithm or two a sample; a weighted choice is O(1) (Walker's alias).
 * Source of the flow-size profiles: profiles.json, which names the published data behind each.
 */
import { readFileSync } from 'node:fs'
import type { Random } from '../random.ts'

export type Distribution =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'uniform'; readonly from: number; readonly to: number }
  | { readonly kind: 'exponential'; readonly mean: number }
  /** `sigma` is the standard deviation of the logarithm. */
  | { readonly kind: 'lognormal'; readonly median: number; readonly sigma: number }
  | { readonly kind: 'profile'; readonly name: string }
  | { readonly kind: 'mixture'; readonly parts: readonly { readonly weight: number; readonly of: Distribution }[] }

export type Sampler = (random: Random) => number

/** A flow-size distribution: points (bytes, share of flows that are no larger). */
export interface Profile {
  readonly source: string
  /**
   * `cdf`: the published points, linear in between as their users read them. `quantiles`: a few read off a long
   * published list; in between sizes grow geometrically, which comes closer to the list's heavy tail.
   */
  readonly kind: 'cdf' | 'quantiles'
  /** Mean of the published data. */
  readonly sourceMeanBytes: number
  readonly points: readonly (readonly [bytes: number, cumulative: number])[]
}

export const PROFILES: Readonly<Record<string, Profile>> = JSON.parse(
  readFileSync(new URL('./profiles.json', import.meta.url), 'utf8'),
) as Record<string, Profile>

export function sampler(distribution: Distribution): Sampler {
  switch (distribution.kind) {
    case 'constant': {
      const { value } = distribution
      return () => value
    }
    case 'uniform': {
      const { from, to } = distribution
      return (random) => from + random.fraction() * (to - from)
    }
    case 'exponential': {
      const { mean } = distribution
      return (random) => -Math.log(1 - random.fraction()) * mean
    }
    case 'lognormal': {
      const { median, sigma } = distribution
      return (random) => median * Math.exp(sigma * standardNormal(random))
    }
    case 'profile':
      return piecewise(PROFILES[distribution.name]!)
    case 'mixture': {
      const choose = weighted(distribution.parts.map((part) => part.weight))
      const samplers = distribution.parts.map((part) => sampler(part.of))
      return (random) => samplers[choose(random)]!(random)
    }
  }
}

/** The mean that samples tend to. */
export function meanOf(distribution: Distribution): number {
  switch (distribution.kind) {
    case 'constant':
      return distribution.value
    case 'uniform':
      return (distribution.from + distribution.to) / 2
    case 'exponential':
      return distribution.mean
    case 'lognormal':
      return distribution.median * Math.exp(distribution.sigma ** 2 / 2)
    case 'profile': {
      const { points, kind } = PROFILES[distribution.name]!
      return points.slice(1).reduce((sum, [bytes, cumulative], i) => {
        const [before, below] = points[i]!
        const geometric = kind === 'quantiles' && before > 0 && bytes > before
        const mean = geometric ? (bytes - before) / Math.log(bytes / before) : (before + bytes) / 2
        return sum + mean * (cumulative - below)
      }, 0)
    }
    case 'mixture': {
      const weights = distribution.parts.reduce((sum, part) => sum + part.weight, 0)
      return distribution.parts.reduce((sum, part) => sum + (part.weight / weights) * meanOf(part.of), 0)
    }
  }
}

/** Index of a weight, with a probability in proportion to it. Weights are not negative and not all 0. */
export function weighted(weights: ArrayLike<number>): Sampler {
  const count = weights.length
  if (count === 1) return () => 0
  let sum = 0
  for (let i = 0; i < count; i++) sum += weights[i]!
  // Walker's alias method, as Vose builds it: column i keeps its index with probability keep[i], else gives alias[i].
  const keep = new Float64Array(count)
  const alias = new Uint32Array(count)
  const small: number[] = []
  const large: number[] = []
  for (let i = 0; i < count; i++) {
    keep[i] = (weights[i]! * count) / sum
    if (keep[i]! < 1) small.push(i)
    else large.push(i)
  }
  while (small.length > 0 && large.length > 0) {
    const less = small.pop()!
    const more = large.at(-1)!
    alias[less] = more
    keep[more]! -= 1 - keep[less]!
    if (keep[more]! < 1) small.push(large.pop()!)
  }
  // What is left over would be 1 but for rounding.
  for (const i of [...small, ...large]) keep[i] = 1
  return (random) => {
    const column = random.below(count)
    return random.fraction() < keep[column]! ? column : alias[column]!
  }
}

/** Index i of `count` with a probability in proportion to 1 / (i + 1)^exponent; exponent 0 is uniform. */
export function zipf(count: number, exponent: number): Sampler {
  if (exponent === 0) return (random) => random.below(count)
  return weighted(Float64Array.from({ length: count }, (_, i) => (i + 1) ** -exponent))
}

/** By inversion of the cumulative distribution, found by bisection. */
function piecewise({ points, kind }: Profile): Sampler {
  const values = Float64Array.from(points, ([value]) => value)
  const cumulative = Float64Array.from(points, ([, share]) => share)
  return (random) => {
    const share = random.fraction()
    let high = 1
    let last = cumulative.length - 1
    while (high < last) {
      const middle = (high + last) >> 1
      if (cumulative[middle]! > share) last = middle
      else high = middle + 1
    }
    const from = values[high - 1]!
    const to = values[high]!
    const part = (share - cumulative[high - 1]!) / (cumulative[high]! - cumulative[high - 1]!)
    return kind === 'quantiles' && from > 0 ? from * (to / from) ** part : from + part * (to - from)
  }
}

/** Box and Muller's method, one of its two values. */
function standardNormal(random: Random): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.fraction()))
  return radius * Math.cos(2 * Math.PI * random.fraction())
}
