/**
 * One shard's draws of a replay, whole replays all of them, and all shards' as the report of one machine.
 *
 * Draws are independent, so nothing couples the shards. Where there are seeds enough a shard takes all placements of a seed, whose
 * trace is then generated once; else draws are dealt out one by one.
 */
import { dealtTo } from '../parts/deal.ts'
import { type Gathered, partHead } from '../parts/part.ts'
import type { Shard } from '../parts/shard.ts'
import { openTrace } from '../trace/read.ts'
import { allDraws, type DrawCounts, type DrawHooks, type Draws, replaySome, type SomeDraws } from './draws.ts'
import { inputsOf, type PartOptions, type ReplayPartOutcome } from './part.ts'

interface DrawsPart {
  readonly counts: DrawCounts
  /** As it was named, for a warning. */
  readonly trace: string
  readonly drawn: SomeDraws
}

export interface DrawsPartOutcome extends ReplayPartOutcome {
  /** Its own draws. */
  readonly draws: number
}

/** @returns numbers of the shard's draws, ascending */
export function drawsOfShard({ seeds, placements }: DrawCounts, shard: Shard): number[] {
  const size = seeds >= shard.count ? placements : 1
  const items = dealtTo(new Array<number>((seeds * placements) / size).fill(size), shard)
  return items.flatMap((item) => Array.from({ length: size }, (_, i) => item * size + i))
}

/** As `replayPart`. @param workers  threads of each replay */
export async function drawsPart(
  options: PartOptions & { readonly workers: number },
  counts: DrawCounts,
  shard: Shard,
  isMade: (head: ReplayPartOutcome['head']) => boolean,
  hooks: DrawHooks = {},
): Promise<DrawsPartOutcome> {
  const { workers: _, ...others } = options
  const trace = openTrace(options.trace)
  trace.close()
  const head = partHead('replay', shard, { ...inputsOf(others, trace), draws: counts })
  const own = new Set(drawsOfShard(counts, shard))
  if (isMade(head)) return { head, body: null, draws: own.size }
  const drawn = await replaySome(options, counts, (draw) => own.has(draw), hooks)
  const body: DrawsPart = { counts, trace: options.trace, drawn }
  return { head, body, draws: own.size }
}

/** @returns the draws of all shards, for `mergeDraws` */
export function drawsOfParts({ bodies }: Gathered): Draws {
  const parts = bodies as readonly DrawsPart[]
  const { counts, trace } = parts[0]!
  const { draws } = allDraws(
    parts.map(({ drawn }) => drawn),
    counts,
    trace,
  )
  return draws
}
