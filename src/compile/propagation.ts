/** How long a packet takes from zone to zone, as a column. */
import type { Model } from './model.ts'

/** One-way time by pair of zones; index 0 is a node without a zone, which is taken to be near everything. */
export function propagationColumn(zones: number, model: Model): Int32Array {
  const size = zones + 1
  const nanos = new Int32Array(size * size)
  for (let a = 0; a < size; a++) {
    for (let b = 0; b < size; b++) {
      nanos[a * size + b] = a === b || a === 0 || b === 0 ? model.sameZoneNanos : model.otherZoneNanos
    }
  }
  return nanos
}
