/**
 * Counts by a pair of numbers, made on first use: source ports in use by (node, endpoint), ipvs connections by
 * (virtual server, endpoint). Open addressing; a counter keeps its index for the run, so that whoever holds a port can
 * give it back without another search. Reached by new and ended connections only.
 */
import { finish, mix } from './hash.ts'

export class PairCounters {
  /** Current count by counter index. */
  counts: Int32Array = new Int32Array(64)
  /** The pair of each counter. */
  first: Int32Array = new Int32Array(64)
  second: Int32Array = new Int32Array(64)
  size = 0
  private slots: Int32Array = new Int32Array(128)

  clear(): void {
    this.counts = new Int32Array(64)
    this.first = new Int32Array(64)
    this.second = new Int32Array(64)
    this.slots = new Int32Array(128)
    this.size = 0
  }

  /** Index of the counter of a pair; it is made where it is missing. */
  index(a: number, b: number): number {
    const mask = this.slots.length - 1
    for (let i = finish(mix(mix(0x51ed270b, a), b)) & mask; ; i = (i + 1) & mask) {
      const at = this.slots[i] - 1
      if (at < 0) {
        if (this.size === this.counts.length) {
          this.grow()
          return this.index(a, b)
        }
        this.first[this.size] = a
        this.second[this.size] = b
        this.slots[i] = ++this.size
        return this.size - 1
      }
      if (this.first[at] === a && this.second[at] === b) return at
    }
  }

  private grow(): void {
    const wider = (column: Int32Array): Int32Array => {
      const next = new Int32Array(column.length * 2)
      next.set(column)
      return next
    }
    this.counts = wider(this.counts)
    this.first = wider(this.first)
    this.second = wider(this.second)
    this.slots = new Int32Array(this.counts.length * 2)
    const mask = this.slots.length - 1
    for (let at = 0; at < this.size; at++) {
      let i = finish(mix(mix(0x51ed270b, this.first[at]), this.second[at])) & mask
      while (this.slots[i] !== 0) i = (i + 1) & mask
      this.slots[i] = at + 1
    }
  }
}
