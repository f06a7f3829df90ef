/**
 * Who does what: items dealt out to shards by what they cost, the same on every machine.
 *
 * The dearest first, each to the shard that has least so far (ties: the earlier item, the lower shard): no shard takes more
 * than 4/3 of what the best deal would. Source: Graham, Bounds on multiprocessing timing anomalies (1969).
 */

/**
 * @param costs  of the items, in any unit; 0 or more
 * @returns      by item: its shard, from 1
 */
export function deal(costs: readonly number[], count: number): number[] {
  const order = costs.map((_, item) => item).sort((a, b) => costs[b]! - costs[a]! || a - b)
  const load = new Array<number>(count).fill(0)
  const items = new Array<number>(count).fill(0)
  const owners = new Array<number>(costs.length)
  for (const item of order) {
    let least = 0
    for (let shard = 1; shard < count; shard++) {
      const lighter = load[shard]! - load[least]! || items[shard]! - items[least]!
      if (lighter < 0) least = shard
    }
    owners[item] = least + 1
    load[least]! += costs[item]!
    items[least]!++
  }
  return owners
}

/** Items of one shard, ascending. */
export function dealtTo(
  costs: readonly number[],
  { index, count }: { readonly index: number; readonly count: number },
): number[] {
  const owners = deal(costs, count)
  return costs.map((_, item) => item).filter((item) => owners[item] === index)
}
