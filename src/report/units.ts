/**
 * Numbers as people read them: counts, rates, durations, sizes and fractions, three significant digits where rounded.
 *
 * Invariants: no locale, no clock; the same number is always the same text. A fraction that is not exactly 0 or 1 is
 * never printed as `0 %` or `100 %`: an SRE reads those as "none" and "all". Not finite is `n/a`.
 */
import type { Emulated } from './types.ts'

/** U+00B5, the micro sign: one column wide everywhere, and in every terminal font. */
const MICRO = 'µ'

const NOT_A_NUMBER = 'n/a'

/** `999`, `12,345`, `9,999,999`, then `12.3 M`. Counts below ten million are exact, so that columns can be added up. */
export function formatCount(count: number): string {
  if (!Number.isFinite(count)) return NOT_A_NUMBER
  if (Math.abs(count) >= 10_000_000) return scaled(count, '')
  return groupDigits(Number.isInteger(count) ? String(count) : significant(count))
}

/** Per second: `0 /s`, `950 /s`, `12.3 k/s`, `1.20 M/s`. */
export function formatRate(perSecond: number): string {
  return scaled(perSecond, '/s')
}

/** `950 bit/s`, `12.3 kbit/s`, `1.20 Gbit/s`. */
export function formatBitRate(bitsPerSecond: number): string {
  return scaled(bitsPerSecond, 'bit/s')
}

/** A time in microseconds: `0 µs`, `820 ns`, `45.3 µs`, `1.23 ms`, `2.50 s`. */
export function formatMicros(micros: number): string {
  if (!Number.isFinite(micros)) return NOT_A_NUMBER
  const size = Math.abs(micros)
  if (size === 0) return `0 ${MICRO}s`
  if (size < 0.9995) return `${significant(micros * 1e3)} ns`
  if (size < 999.5) return `${significant(micros)} ${MICRO}s`
  if (size < 999_500) return `${significant(micros / 1e3)} ms`
  return `${significant(micros / 1e6)} s`
}

/** A time in nanoseconds, in the units of `formatMicros`. */
export function formatNanos(nanos: number): string {
  return nanos === 0 ? '0 ns' : formatMicros(nanos / 1e3)
}

/** A span of the trace or of the clock: `0 s`, `850 ms`, `12.3 s`, `70 min`, `4 h 10 min`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return NOT_A_NUMBER
  if (seconds === 0) return '0 s'
  if (Math.abs(seconds) < 120) return trimZeros(formatMicros(seconds * 1e6))
  const minutes = Math.round(seconds / 60)
  if (minutes < 120) return `${trimZeros(significant(seconds / 60))} min`
  const rest = minutes % 60
  return rest === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${rest} min`
}

/** `512 B`, `1.50 KiB`, `120 MiB`, `2.00 GiB`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return NOT_A_NUMBER
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 ? String(Math.round(value)) : significant(value)} ${units[unit]}`
}

/** A fraction as a percentage: `0 %`, `<0.1 %`, `33.3 %`, `>99.9 %`, `100 %`. */
export function formatPercent(fraction: number): string {
  if (!Number.isFinite(fraction)) return NOT_A_NUMBER
  if (fraction === 0) return '0 %'
  if (fraction === 1) return '100 %'
  if (fraction > 0 && fraction < 0.0005) return '<0.1 %'
  if (fraction > 0.9995 && fraction < 1) return '>99.9 %'
  return `${(fraction * 100).toFixed(1)} %`
}

/** A ratio near 1: `1.00`, `1.53`, `12.4`. */
export function formatRatio(ratio: number): string {
  if (!Number.isFinite(ratio)) return NOT_A_NUMBER
  return Math.abs(ratio) < 9.995 ? ratio.toFixed(2) : groupDigits(significant(ratio))
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'] as const

/**
 * A bar of `width` characters, in steps of an eighth of one; padded with spaces so that columns stay aligned.
 *
 * @param fraction  of the full width; clamped to 0..1. Anything above 0 shows at least the thinnest block.
 */
export function formatBar(fraction: number, width: number): string {
  const filled = Number.isFinite(fraction) ? Math.min(1, Math.max(0, fraction)) : 0
  const eighths = filled === 0 ? 0 : Math.max(1, Math.round(filled * width * 8))
  return ('█'.repeat(eighths >> 3) + EIGHTHS[eighths & 7]).padEnd(width)
}

/** Keep both ends of a long name: pod names differ at the end, namespaces at the start. */
export function clipMiddle(text: string, width: number): string {
  const letters = [...text]
  if (letters.length <= width) return text
  const tail = Math.floor((width - 1) / 2)
  const head = width - 1 - tail
  return `${letters.slice(0, head).join('')}…${letters.slice(letters.length - tail).join('')}`
}

/** Keep the start of a sentence. */
export function clipEnd(text: string, width: number): string {
  const letters = [...text]
  return letters.length <= width
    ? text
    : `${letters
        .slice(0, width - 1)
        .join('')
        .trimEnd()}…`
}

/** `1 packet`, `2 packets`, `12,345 packets`. */
export function countOf(count: number, singular: string, plural: string = `${singular}s`): string {
  return `${formatCount(count)} ${count === 1 ? singular : plural}`
}

function scaled(value: number, unit: string): string {
  if (!Number.isFinite(value)) return NOT_A_NUMBER
  const prefixes = ['', 'k', 'M', 'G', 'T', 'P']
  let rest = value
  let power = 0
  while (Math.abs(rest) >= 999.5 && power < prefixes.length - 1) {
    rest /= 1000
    power++
  }
  const digits = power === 0 && Number.isInteger(rest) ? String(rest) : significant(rest)
  return `${digits} ${prefixes[power]}${unit}`.trimEnd()
}

/** Three significant digits, never in exponent form. */
function significant(value: number): string {
  const size = Math.abs(value)
  if (size >= 99.95 || size === 0) return String(Math.round(value))
  if (size >= 9.995) return value.toFixed(1)
  if (size >= 0.9995) return value.toFixed(2)
  return size < 0.0005 ? '<0.001' : value.toFixed(3)
}

function groupDigits(digits: string): string {
  return digits.replace(/^(-?\d+)/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ','))
}

/** `60.0 s` is `60 s`: a span in words, not a column of numbers. */
function trimZeros(text: string): string {
  return text.replace(/(\.\d*?)0+(?= |$)/, '$1').replace(/\.(?= |$)/, '')
}

/** `Kubernetes 1.31 to 1.35, Linux 6.18, …` */
export function emulatesText({ kubernetes, kernel, coredns, ingressNginx }: Emulated): string {
  return `Kubernetes ${kubernetes}, Linux ${kernel}, CoreDNS ${coredns}, ingress-nginx ${ingressNginx}`
}
