/**
 * Counts by a pair of numbers, made on first use: source ports in use by (node, endpoint), entries by (node, service port), ipvs
 * connections by (virtual server, endpoint). Open addressing; a counter keeps its index for the run, so that whoever holds a port
 * can give it back without another search. Reached by new and ended connections only.
 */
import { finish, mix } from './hash.ts'

/** A slot: the pair, and the counter's index + 1 or 0 for none; the fourth word keeps slots from straddling cache lines. */
const SLOT_SHIFT = 2

export class PairCounters {
  /** Current count by counter index. */
  counts: Int32Array = new Int32Array(64)
  /** The pair of each counter. */
  first: Int32Array = new Int32Array(64)
  second: Int32Array = new Int32Array(64)
  size = 0
  private slots: Int32Array = new Int32Array(128 << SLOT_SHIFT)

  clear(): void {
    this.counts = new Int32Array(64)
    this.first = new Int32Array(64)
    this.second = new Int32Array(64)
    this.slots = new Int32Array(128 << SLOT_SHIFT)
    this.size = 0
  }

  /** Index of the counter of a pair; it is made where it is missing. */
  index(a: number, b: number): number {
    const { slots } = this
    const mask = (slots.length >> SLOT_SHIFT) - 1
    for (let i = home(a, b) & mask; ; i = (i + 1) & mask) {
      const slot = i << SLOT_SHIFT
      const counter = slots[slot + 2]
      if (counter === 0) return this.make(slot, a, b)
      if (slots[slot] === a && slots[slot + 1] === b) return counter - 1
    }
  }

  /** Reads the place where the search for a pair begins, for whoever will search soon. */
  prefetch(a: number, b: number): number {
    const { slots } = this
    return slots[(home(a, b) & ((slots.length >> SLOT_SHIFT) - 1)) << SLOT_SHIFT]
  }

  private make(slot: number, a: number, b: number): number {
    if (this.size === this.counts.length) {
      this.grow()
      return this.index(a, b)
    }
    const counter = this.size++
    this.first[counter] = a
    this.second[counter] = b
    this.slots[slot] = a
    this.slots[slot + 1] = b
    this.slots[slot + 2] = counter + 1
    return counter
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
    const slots = new Int32Array((this.counts.length * 2) << SLOT_SHIFT)
    this.slots = slots
    const mask = (slots.length >> SLOT_SHIFT) - 1
    for (let counter = 0; counter < this.size; counter++) {
      let i = home(this.first[counter], this.second[counter]) & mask
      while (slots[(i << SLOT_SHIFT) + 2] !== 0) i = (i + 1) & mask
      const slot = i << SLOT_SHIFT
      slots[slot] = this.first[counter]
      slots[slot + 1] = this.second[counter]
      slots[slot + 2] = counter + 1
    }
  }
}

function home(a: number, b: number): number {
  return finish(mix(mix(0x51ed270b, a), b))
}
