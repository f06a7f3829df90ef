/**
 * One shard's runs of a rollout, and all shards' as the report that one machine would have made.
 *
 * Runs cost the same but for the first few, in which long-lived connections are followed: they are dealt out in turn. Counts
 * are whole numbers, so their sums do not depend on who counted; what is told of the first run comes from the first shard.
 */
import { packed, unpacked } from '../parts/columns.ts'
import type { Gathered } from '../parts/part.ts'
import type { Shard } from '../parts/shard.ts'
import { outlineOf, type Picture, withLosses } from './picture.ts'
import type { BasisParts } from './report.ts'
import { basisOf, type RolloutBasis, type RolloutReport, reportOf } from './report.ts'
import { type Counts, countSome, type LossKey, meanOverRuns, type PolicyTally, type Work } from './runs.ts'

/** Maps as lists: what a document holds. */
interface RolloutPart {
  readonly runs: number
  readonly counts: PlainCounts
  /** Of the first shard. */
  readonly first: { readonly basis: RolloutBasis; readonly outline: Picture } | null
}

interface PlainCounts extends Omit<Counts, 'policies' | 'longLived'> {
  readonly policies: readonly (Omit<PolicyTally, 'losses' | 'samples'> & { readonly losses: readonly Loss[] })[]
  readonly longLived: readonly (Omit<Counts['longLived'][number], 'byCause'> & {
    readonly byCause: readonly (readonly [string, number])[]
  })[]
}

interface Loss {
  readonly id: string
  readonly key: LossKey
  readonly counts: Float64Array
}

/** @returns numbers of the shard's runs, ascending */
export function runsOfShard(runs: number, { index, count }: Shard): number[] {
  return Array.from({ length: runs }, (_, run) => run).filter((run) => run % count === index - 1)
}

/** @returns the body of the part */
export function countPart(
  work: Work,
  shard: Shard,
  titles: Omit<BasisParts, 'work' | 'tally'>,
  onRun: (done: number) => void = () => {},
): unknown {
  const { first, ...counts } = countSome(work, runsOfShard(work.runs, shard), onRun)
  const part: RolloutPart = {
    runs: work.runs,
    counts: {
      ...counts,
      policies: counts.policies.map(({ samples: _, losses, ...columns }) => ({
        ...columns,
        losses: [...losses].map(([id, loss]) => ({ id, ...loss })),
      })),
      longLived: counts.longLived.map((one) => ({ ...one, byCause: [...one.byCause] })),
    },
    first:
      first === null
        ? null
        : {
            basis: basisOf({ work, tally: { ...first, policies: counts.policies }, ...titles }),
            outline: outlineOf(first),
          },
  }
  return packed(part)
}

export function mergeRollout({ bodies }: Gathered): { readonly report: RolloutReport; readonly picture: Picture } {
  const parts = bodies.map((body) => unpacked(body) as RolloutPart)
  const { runs } = parts[0]!
  const { basis, outline } = parts.find(({ first }) => first !== null)!.first!
  const all = parts.map(({ counts }) => counts)
  const counts: Counts = {
    policies: all[0]!.policies.map(({ policy }, i) => {
      const own = all.map(({ policies }) => policies[i]!)
      const sum = (pick: (tally: (typeof own)[number]) => Float64Array): Float64Array => sumOf(own.map(pick))
      return {
        policy,
        offered: sum(({ offered }) => offered),
        lost: sum(({ lost }) => lost),
        delayed: sum(({ delayed }) => delayed),
        gapMs: sum(({ gapMs }) => gapMs),
        neededMs: sum(({ neededMs }) => neededMs),
        lostBySecond: sum(({ lostBySecond }) => lostBySecond),
        delayedBySecond: sum(({ delayedBySecond }) => delayedBySecond),
        losses: mergeLosses(own.map(({ losses }) => losses)),
        samples: [],
      }
    }),
    rolloutMs: sumOf(all.map(({ rolloutMs }) => rolloutMs)),
    peakPods: sumOf(all.map(({ peakPods }) => peakPods)),
    longLived: all
      .flatMap(({ longLived }) => longLived)
      .map((one) => ({ ...one, byCause: new Map(one.byCause) as Counts['longLived'][number]['byCause'] }))
      .sort((a, b) => a.run - b.run),
  }
  meanOverRuns(counts, runs)
  return { report: reportOf(basis, counts, null), picture: withLosses(outline, counts.policies, basis.endMs) }
}

/** Of columns of which one at most is not 0 at a run; those by second may differ in length. */
function sumOf(columns: readonly Float64Array[]): Float64Array {
  const sum = new Float64Array(columns.reduce((most, { length }) => Math.max(most, length), 0))
  for (const column of columns) {
    for (let i = 0; i < column.length; i++) sum[i]! += column[i]!
  }
  return sum
}

/** In the order in which one machine meets them: by the first run that has them, and in it as its shard met them. */
function mergeLosses(parts: readonly (readonly Loss[])[]): PolicyTally['losses'] {
  const met = parts
    .flatMap((losses) =>
      losses.map((loss, place) => ({ loss, place, run: loss.counts.findIndex((count) => count > 0) })),
    )
    .sort((a, b) => a.run - b.run || a.place - b.place)
  const merged: PolicyTally['losses'] = new Map()
  for (const { loss } of met) {
    const known = merged.get(loss.id)
    merged.set(loss.id, {
      key: loss.key,
      counts: known === undefined ? loss.counts : sumOf([known.counts, loss.counts]),
    })
  }
  return merged
}
