/**
 * The known name that a mistyped one most likely meant.
 *
 * Source: optimal string alignment distance (insert, delete, replace, swap of neighbours); a name is offered when at
 * most a third of the longer one differs, or when one name holds the other.
 */

/** The nearest of `known`, or null when nothing is near enough to be worth saying. Case does not count. */
export function nearestName(name: string, known: Iterable<string>): string | null {
  const wanted = name.toLowerCase()
  if (wanted === '') return null
  let best: string | null = null
  let bestDistance = Number.POSITIVE_INFINITY
  for (const candidate of known) {
    const lower = candidate.toLowerCase()
    if (lower === '') continue
    const distance = editDistance(wanted, lower)
    const near = distance <= Math.max(1, Math.floor(Math.max(wanted.length, lower.length) / 3))
    const holds = wanted.length >= 3 && (lower.includes(wanted) || wanted.includes(lower))
    if ((near || holds) && distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** `; did you mean X?`, or the known names when nothing is near and they are few. */
export function suggestion(name: string, known: readonly string[]): string {
  const near = nearestName(name, known)
  if (near !== null) return `did you mean ${near}?`
  const named = known.filter((one) => one !== '')
  return named.length > 0 && named.length <= 20 ? `known: ${named.join(', ')}` : ''
}

function editDistance(a: string, b: string): number {
  // Longer than any name we know: the distance would only be "far", and the table would be large.
  if (a.length > 64 || b.length > 64) return Number.POSITIVE_INFINITY
  let beforePrevious: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, beforePrevious[j - 2]! + 1)
      }
      row.push(cost)
    }
    beforePrevious = previous
    previous = row
  }
  return previous[b.length]!
}
