/** The checksum of a trace's index, which the writer sets and the reader compares. */
import { crc32 } from 'node:zlib'
import { TOTAL_NAMES, type TraceTotals } from './format.ts'

/** CRC-32 of the index's columns in their order, then totals, maxRows and headerCrc, each as a little-endian float64. */
export function indexCrc(
  columns: readonly Uint8Array[],
  totals: TraceTotals,
  maxRows: number,
  headerCrc: number,
): number {
  const numbers = Float64Array.from([...TOTAL_NAMES.map((name) => totals[name]), maxRows, headerCrc])
  const all = [...columns, new Uint8Array(numbers.buffer)]
  return all.reduce((crc, column) => crc32(column, crc), 0)
}
