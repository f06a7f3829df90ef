/**
 * Virtual time: what is to happen, in order of time, and of two things at one instant the one that was asked for first.
 *
 * Cost: a binary heap, O(log n) an event.
 */
export class Clock {
  nowMs = 0
  readonly #heap: { readonly atMs: number; readonly order: number; readonly run: () => void }[] = []
  #order = 0

  /** @param atMs  not before now; Infinity: never */
  at(atMs: number, run: () => void): void {
    if (!Number.isFinite(atMs)) return
    const heap = this.#heap
    const entry = { atMs: Math.max(this.nowMs, Math.ceil(atMs)), order: this.#order++, run }
    let i = heap.length
    heap.push(entry)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!isBefore(entry, heap[parent]!)) break
      heap[i] = heap[parent]!
      i = parent
    }
    heap[i] = entry
  }

  /** When the next thing happens; Infinity: nothing does. */
  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY
  }

  /** Time goes on to the next thing, which happens. */
  step(): void {
    const heap = this.#heap
    const top = heap[0]!
    const last = heap.pop()!
    if (heap.length > 0) {
      let i = 0
      for (;;) {
        let child = 2 * i + 1
        if (child >= heap.length) break
        if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
        if (!isBefore(heap[child]!, last)) break
        heap[i] = heap[child]!
        i = child
      }
      heap[i] = last
    }
    this.nowMs = top.atMs
    top.run()
  }
}

interface Entry {
  readonly atMs: number
  readonly order: number
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
