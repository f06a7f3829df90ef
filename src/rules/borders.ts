/** Source addresses on either side of every border that rules draw: who is asked, so that the answer holds for everybody. */
import type { RuleColumns } from '../../native-free-core/index.ts'
import type { Family } from './node-rules.ts'
import type { Interval } from './read/program.ts'

/** The first address of each block and the one behind it, without those that nobody sends from. */
export function borders(family: Family, blocks: Iterable<Interval>): bigint[] {
  const limit = family === 'IPv4' ? 1n << 32n : 1n << 128n
  const found = new Set<bigint>()
  for (const { first, last } of blocks) {
    for (const bits of [first, last + 1n]) if (bits > 0n && bits < limit && isUnicast(bits, family)) found.add(bits)
  }
  return [...found]
}

function isUnicast(bits: bigint, family: Family): boolean {
  if (family === 'IPv6') return bits > 1n && bits >> 120n !== 0xffn
  const first = Number(bits >> 24n)
  return first !== 0 && first !== 127 && first < 224
}

/** Source ranges of a frontend as the columns have them. */
export function rangesOf(rules: RuleColumns, frontend: number): Interval[] {
  const start = rules.frontendRangeStart[frontend]!
  return Array.from({ length: rules.frontendRangeCount[frontend]! }, (_, i) => {
    const words = rules.ranges.subarray((start + i) * 8, (start + i) * 8 + 8)
    const bits = (from: number): bigint =>
      [0, 1, 2, 3].reduce((sum, k) => (sum << 32n) | BigInt(words[from + k]! >>> 0), 0n)
    const mask = bits(4)
    const isMapped = bits(0) >> 32n === 0xffffn && mask >> 32n === (1n << 96n) - 1n
    const base = isMapped ? bits(0) & 0xffffffffn : bits(0)
    const host = isMapped ? ~mask & 0xffffffffn : ~mask & ((1n << 128n) - 1n)
    return { first: base, last: base + host }
  })
}
