/** The ✓/✗ block: one line a threshold, and under a failed one the values that broke it. */
import type { Cell } from './document.ts'
import { type Dimension, dimensionOf } from './fields.ts'
import type { ThresholdMatch, ThresholdResult } from './threshold.ts'

const MAX_VALUES = 6

export function thresholdLines(results: readonly ThresholdResult[]): Cell[] {
  return results.flatMap((result) => {
    const { threshold, pass, matches } = result
    const fields = threshold.path.map((segment) => segment.name)
    const unit = dimensionOf(fields)
    const format = ({ value, limit }: ThresholdMatch): string =>
      formatValue(value, unit) + (threshold.other === null ? '' : ` against ${formatValue(limit, unit)}`)
    const only = matches.length === 1 ? ` (${format(matches[0]!)})` : ''
    if (pass) return [{ text: `✓ ${threshold.text}${only}`, tone: 'good' as const }]
    const failed = matches.filter((match) => !match.pass)
    const lines: Cell[] = [{ text: `✗ ${threshold.text}${only}`, tone: 'bad' }]
    if (matches.length === 1) return lines
    for (const match of failed.slice(0, MAX_VALUES)) lines.push(`    ${match.path}: ${format(match)}`)
    if (failed.length > MAX_VALUES) lines.push(`    ... and ${failed.length - MAX_VALUES} more`)
    return lines
  })
}

const UNITS: Readonly<Record<Dimension, string>> = {
  micros: ' µs',
  nanos: ' ns',
  seconds: ' s',
  bytes: ' B',
  fraction: '',
  count: '',
}

/** In the field's own unit and hardly rounded: `1.20 ms` could be on either side of a limit of `1200 µs`. */
function formatValue(value: number | null, dimension: Dimension): string {
  return value === null ? 'nothing was recorded' : `${Number(value.toPrecision(12))}${UNITS[dimension]}`
}
