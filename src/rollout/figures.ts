/** Counts over runs as figures: means beside their median and 95 %, by policy and cause. */
import type { Cause, Phase, Sight } from './causes.ts'
import { mean, type PolicyTally, quantile } from './runs.ts'

/** Over the runs. */
export interface Spread {
  /** The mean. */
  readonly count: number
  readonly p50: number
  readonly p95: number
  readonly most: number
}

export function spread(column: PolicyTally['lost']): Spread {
  return {
    count: rounded(mean(column)),
    p50: quantile(column, 0.5),
    p95: quantile(column, 0.95),
    most: column.length === 0 ? 0 : Math.max(...column),
  }
}

/** Three digits behind the point, and never 0 for what is more. */
export function rounded(value: number): number {
  const short = Number(value.toFixed(3))
  return short === 0 && value > 0 ? 0.001 : short
}

export interface LossFigures<Name extends string> {
  readonly offered: { policy: Name; count: number }[]
  readonly lost: ({ policy: Name; lostFraction: number } & Spread)[]
  readonly delayed: ({ policy: Name } & Spread)[]
  readonly gaps: { policy: Name; p50Seconds: number; p95Seconds: number }[]
  readonly losses: ({
    policy: Name
    service: string
    cause: Cause
    phase: Phase
    clientSees: Sight
    outcome: 'lost' | 'delayed'
  } & Spread)[]
  /** Means a second from 0 on. */
  readonly overTime: { policy: Name; lost: number[]; delayed: number[] }[]
}

/** @param seconds  for how many of them there are figures over time */
export function lossFigures<Name extends string>(
  tallies: readonly { readonly name: Name; readonly tally: PolicyTally }[],
  seconds: number,
): LossFigures<Name> {
  return {
    offered: tallies.map(({ name, tally }) => ({ policy: name, count: rounded(mean(tally.offered)) })),
    lost: tallies.map(({ name, tally: { lost, offered } }) => ({
      policy: name,
      ...spread(lost),
      lostFraction: mean(offered) === 0 ? 0 : mean(lost) / mean(offered),
    })),
    delayed: tallies.map(({ name, tally }) => ({ policy: name, ...spread(tally.delayed) })),
    gaps: tallies.map(({ name, tally: { gapMs } }) => ({
      policy: name,
      p50Seconds: quantile(gapMs, 0.5) / 1000,
      p95Seconds: quantile(gapMs, 0.95) / 1000,
    })),
    losses: tallies.flatMap(({ name, tally }) =>
      [...tally.losses.values()]
        .map(({ key: { lost, ...key }, counts }) => ({
          policy: name,
          ...key,
          outcome: lost ? ('lost' as const) : ('delayed' as const),
          ...spread(counts),
        }))
        .sort((a, b) => b.count - a.count),
    ),
    overTime: tallies.map(({ name, tally: { lostBySecond, delayedBySecond } }) => ({
      policy: name,
      lost: [...lostBySecond.subarray(0, seconds)].map(rounded),
      delayed: [...delayedBySecond.subarray(0, seconds)].map(rounded),
    })),
  }
}
