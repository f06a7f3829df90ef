/** Spans of time as people write them in a Timeline, and as Kubernetes' configuration files do. */

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/y

/** `90s`, `1m30s`, `500ms`, or a number of seconds, as whole milliseconds; null for anything else. */
export function durationMs(value: unknown): number | null {
  if (typeof value === 'number') return Number.isFinite(value) && value >= 0 ? Math.round(value * 1000) : null
  if (typeof value !== 'string') return null
  const text = value.trim()
  if (/^\d+(\.\d+)?$/.test(text)) return Math.round(Number(text) * 1000)
  let total = 0
  PART.lastIndex = 0
  do {
    const part = PART.exec(text)
    if (part === null) return null
    total += Number(part[1]) * UNITS[part[2]!]!
  } while (PART.lastIndex < text.length)
  return total <= Number.MAX_SAFE_INTEGER ? Math.round(total) : null
}

/** `12 s`, `1.5 s`, `80 ms`, `5 min`: for sentences. */
export function spanText(ms: number): string {
  if (!Number.isFinite(ms)) return 'for ever'
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 600_000) return `${Number((ms / 1000).toFixed(ms < 10_000 ? 2 : 1))} s`
  return `${Number((ms / 60_000).toFixed(1))} min`
}

/** A time of the timeline: `10.213 s`. */
export function clockText(ms: number): string {
  return `${Number((ms / 1000).toFixed(3))} s`
}
