/**
 * One shard's cells of a search or a sweep, and all shards' as the report that one machine would have made.
 *
 * Cells are independent: an axis' value, a policy, a proxy mode or a seed is a cell of its own. A search for a knee is not,
 * since each rate hangs on what the last one showed: its cell stays whole on one shard.
 */
import { dealtTo } from '../parts/deal.ts'
import { type Gathered, type PartHead, partHead } from '../parts/part.ts'
import type { Shard } from '../parts/shard.ts'
import type { CapacityReport } from '../report/capacity-types.ts'
import {
  type CapacityHead,
  type CapacityHooks,
  type CapacityOptions,
  type CellResult,
  type Counts,
  capacityReport,
  planCapacity,
  runPlanned,
} from './capacity.ts'

interface CapacityPart {
  readonly head: CapacityHead
  readonly cells: number
  readonly results: readonly { readonly cell: number; readonly result: CellResult }[]
}

export interface CapacityPartOutcome extends Counts {
  readonly head: PartHead
  /** null: the part was there already. */
  readonly body: CapacityPart | null
  /** Its own, and those of all shards. */
  readonly cells: number
  readonly cellsInAll: number
}

/**
 * @param isMade  whether the part is there already
 * @throws UserError for inputs that cannot be used; the signal's reason when it came
 */
export async function measureCapacityPart(
  options: CapacityOptions,
  shard: Shard,
  isMade: (head: PartHead) => boolean,
  hooks: CapacityHooks = {},
): Promise<CapacityPartOutcome> {
  const plan = planCapacity(options, hooks.stdin?.bind(hooks))
  const { scenario, manifests, model, seed, ...others } = plan.inputs
  const head = partHead('capacity', shard, {
    ...{ scenario, manifests, model, seed, seeds: plan.head.seeds, options: { ...others, axes: plan.head.axes } },
    'names of files': [options.scenario, options.model],
  })
  const own = dealtTo(
    plan.cells.map(({ cost }) => cost),
    shard,
  )
  const sizes = { cells: own.length, cellsInAll: plan.cells.length }
  if (isMade(head)) return { head, body: null, runs: 0, resumed: 0, packets: 0, ...sizes }
  const { results, counts } = await runPlanned(
    plan,
    own.map((cell) => plan.cells[cell]!),
    options,
    hooks,
  )
  const body: CapacityPart = {
    head: plan.head,
    cells: plan.cells.length,
    results: own.map((cell, i) => ({ cell, result: results[i]! })),
  }
  return { head, body, ...counts, ...sizes }
}

/** @throws Error where shards have not dealt the cells out among them: a bug */
export function mergeCapacity({ bodies }: Gathered): CapacityReport {
  const parts = bodies as readonly CapacityPart[]
  const { head, cells } = parts[0]!
  const results = new Array<CellResult | undefined>(cells).fill(undefined)
  for (const one of parts.flatMap((part) => part.results)) results[one.cell] = one.result
  return capacityReport(
    head,
    results.map((result, cell) => {
      if (result === undefined) throw new Error(`no part has cell ${cell}`)
      return result
    }),
  )
}
