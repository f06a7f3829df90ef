/**
 * Small pictures in a row of a table, one letter a slice.
 *
 * A latency's distribution: slices of a logarithmic axis, as high as the part of the values in them; the axis is that of all runs, so
 * that columns can be held against each other. A figure over time: as high as it is beside the highest of all runs. A slice
 * with any value at all is not empty.
 */
import type { LatencyHistogram } from './types.ts'

const LEVELS = '▁▂▃▄▅▆▇█'
/** Visible, so that the ends of the axis are. */
const EMPTY = '·'

/** From the lowest to the highest value of any. */
export interface Axis {
  readonly fromMicros: number
  readonly toMicros: number
}

/** null where nothing was recorded. */
export function axisOf(histograms: readonly LatencyHistogram[]): Axis | null {
  const from = Math.min(...histograms.flatMap(({ fromMicros }) => fromMicros[0] ?? Number.POSITIVE_INFINITY))
  const to = Math.max(...histograms.flatMap(({ toMicros }) => toMicros.at(-1) ?? 0))
  // Nothing is below one nanosecond, and a logarithm has no 0.
  const least = Math.max(from, 0.001)
  return to === 0 ? null : { fromMicros: least, toMicros: Math.max(to, least * 1.125) }
}

/** `▂█··▁`: `width` letters. */
export function sparkline({ fromMicros, toMicros, counts }: LatencyHistogram, axis: Axis, width: number): string {
  const slices = new Float64Array(width)
  const scale = width / Math.log(axis.toMicros / axis.fromMicros)
  // An edge of a slice that a logarithm misses by the last digits is that edge.
  const at = (micros: number): number =>
    Number((Math.log(Math.max(micros, axis.fromMicros) / axis.fromMicros) * scale).toFixed(9))
  counts.forEach((count, i) => {
    const low = Math.min(at(fromMicros[i]!), width)
    const high = Math.min(at(toMicros[i]!), width)
    if (high <= low) {
      slices[Math.min(width - 1, Math.floor(low))]! += count
      return
    }
    for (let slice = Math.floor(low); slice < high; slice++) {
      slices[slice]! += (count * (Math.min(high, slice + 1) - Math.max(low, slice))) / (high - low)
    }
  })
  const most = slices.reduce((highest, value) => Math.max(highest, value), 0)
  return Array.from(slices, (value) => letter(value, most)).join('')
}

/** `···▂▇█`: a letter a value, null and 0 empty. @param most  the height of a full letter */
export function courseLine(values: readonly (number | null)[], most: number): string {
  return values.map((value) => letter(value ?? 0, most)).join('')
}

function letter(value: number, most: number): string {
  return value === 0
    ? EMPTY
    : LEVELS[Math.min(LEVELS.length, Math.max(1, Math.ceil((value / most) * LEVELS.length))) - 1]!
}
