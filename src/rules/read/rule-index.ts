/** Rules of long chains by the one destination that they are for, so that a packet is not compared with every Service of a cluster. */
import type { Chain } from './program.ts'

/** Shorter chains are gone through rule by rule. */
const INDEXED_FROM = 64

interface ChainIndex {
  /** Rule numbers, ascending, as in `others`: rules for many destinations. */
  readonly byDestination: ReadonlyMap<bigint, readonly number[]>
  readonly others: readonly number[]
  /** Both together, for destinations that were asked for. */
  readonly merged: Map<bigint, readonly number[]>
}

export class RuleIndex {
  private readonly indexes = new Map<Chain, ChainIndex | null>()

  /** The first rule from `at` on that may match the destination, or -1. */
  next(chain: Chain, at: number, destination: bigint): number {
    const index = chain.rules.length <= INDEXED_FROM ? null : this.of(chain)
    if (index === null) return at < chain.rules.length ? at : -1
    let list = index.merged.get(destination)
    if (list === undefined) {
      list = [...index.others, ...(index.byDestination.get(destination) ?? [])].sort((a, b) => a - b)
      index.merged.set(destination, list)
    }
    let low = 0
    let high = list.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (list[middle]! < at) low = middle + 1
      else high = middle
    }
    return list[low] ?? -1
  }

  /** Null where most rules are for many destinations. */
  private of(chain: Chain): ChainIndex | null {
    const known = this.indexes.get(chain)
    if (known !== undefined) return known
    const byDestination = new Map<bigint, number[]>()
    const others: number[] = []
    chain.rules.forEach(({ steps }, i) => {
      const exact = steps.find(
        (step) =>
          step.kind === 'destination' &&
          !step.not &&
          step.intervals.length === 1 &&
          step.intervals[0]!.first === step.intervals[0]!.last,
      )
      if (exact?.kind !== 'destination') others.push(i)
      else {
        const address = exact.intervals[0]!.first
        const list = byDestination.get(address)
        if (list === undefined) byDestination.set(address, [i])
        else list.push(i)
      }
    })
    const index = others.length * 2 > chain.rules.length ? null : { byDestination, others, merged: new Map() }
    this.indexes.set(chain, index)
    return index
  }
}
