/**
 * Chance in a run: phases of probes and syncs, lags, choices of endpoints.
 *
 * Every draw is a function of seed, run, purpose and who it is for, so nothing depends on the order in which draws are made.
 * Cost: a few multiplications a draw.
 */
import { finish, mix } from '../../native-free-core/index.ts'
import { stableHash } from '../k8s/hash.ts'
import type { LagQuantiles } from './profiles.ts'

export class Chance {
  readonly #base: number

  constructor(seed: number, run: number) {
    this.#base = mix(mix(mix(0x51ed27, seed | 0), Math.floor(seed / 2 ** 32)), run)
  }

  /** At least 0, below 1. */
  unit(purpose: string, who: string, index = 0): number {
    return this.at(stableHash(`${purpose} ${who}`), index)
  }

  /** The same for a purpose that is a number already. */
  at(purpose: number, index: number): number {
    return (finish(mix(mix(this.#base, purpose), index)) >>> 0) / 4294967296
  }

  /** From `min` to below `max`, whole milliseconds. */
  between(min: number, max: number, purpose: string, who: string, index = 0): number {
    return max <= min ? min : Math.floor(min + this.unit(purpose, who, index) * (max - min))
  }
}

/** Chance for tests: every phase is what it is told to be, choices stay hashed. */
export class FixedChance extends Chance {
  readonly #units: Readonly<Record<string, number>>

  /** @param units  by purpose, or by `PURPOSE WHO` */
  constructor(units: Readonly<Record<string, number>>, seed = 0) {
    super(seed, 0)
    this.#units = units
  }

  override unit(purpose: string, who: string, index = 0): number {
    return this.#units[`${purpose} ${who}`] ?? this.#units[purpose] ?? super.unit(purpose, who, index)
  }
}

/** Interpolates in the logarithm between the quantiles; below the first it goes down to a third of it, above the last it stays. */
export function quantileAt(quantiles: LagQuantiles, unit: number): number {
  const points: LagQuantiles = [[0, quantiles[0]![1] / 3], ...quantiles]
  for (let i = 1; i < points.length; i++) {
    const [upper, high] = points[i]!
    if (unit > upper) continue
    const [lower, low] = points[i - 1]!
    return Math.round(low * (high / low) ** ((unit - lower) / (upper - lower)))
  }
  return points.at(-1)![1]
}
