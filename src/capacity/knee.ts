/**
 * The search for the knee: the highest rate at which something holds, by doubling until it fails and then bisecting.
 *
 * Pure: the next rate to try is a function of those tried. Rates have six significant digits, so that the same search
 * always asks for the same ones. What was tried must bear the answer out: every rate up to `holds` held, `fails` failed,
 * they are no further apart than the tolerance, and neighbours on either side were looked at. Where those contradict
 * (it fails, and holds again above) the lowest break counts, and the result says so.
 *
 * Cost: from a start that holds, log2(knee / start) + log2(1 / tolerance) runs, and one or two neighbours.
 */

export interface Tried {
  readonly rate: number
  readonly holds: boolean
}

export interface KneeOptions {
  readonly start: number
  readonly least: number
  readonly most: number
  /** How much the first failing rate may be above the last that held, as a part of it. */
  readonly tolerance: number
}

export interface KneeResult {
  /** The highest rate below every failing one; null where none held. */
  readonly holds: number | null
  /** The lowest failing rate; null where none failed. */
  readonly fails: number | null
  /** A rate above `fails` that held again; null where there was none. */
  readonly holdsAgain: number | null
}

const DIGITS = 6
/** No search needs as many; one over something that flickers ends here. */
const MAX_RUNS = 64
/** How far on either side neighbours are looked at, in tolerances. */
const PROBE = 5
const NEAR = 2 * PROBE

/** @returns null when there is nothing left to try */
export function nextRate(tried: readonly Tried[], options: KneeOptions): number | null {
  const { start, least, most, tolerance } = options
  if (tried.length === 0) return start
  if (tried.length >= MAX_RUNS) return null
  const { holds, fails } = kneeOf(tried)
  if (fails === null) return holds! >= most ? null : Math.min(rounded(holds! * 2), most)
  if (holds === null) return fails <= least ? null : Math.max(rounded(fails / 2), least)
  if (fails > holds * (1 + tolerance)) {
    const middle = rounded(Math.sqrt(holds) * Math.sqrt(fails))
    if (middle > holds && middle < fails) return middle
  }
  const reach = 1 + NEAR * tolerance
  const below = Math.max(least, rounded(holds / (1 + PROBE * tolerance)))
  const seenBelow = tried.some(({ rate }) => rate < holds && rate >= holds / reach)
  if (below < holds && !seenBelow) return below
  const above = Math.min(most, rounded(fails * (1 + PROBE * tolerance)))
  const seenAbove = tried.some(({ rate }) => rate > fails && rate <= fails * reach)
  return above > fails && !seenAbove ? above : null
}

/** The runs that are still to come, as far as can be told: for a progress bar. */
export function remainingRuns(tried: readonly Tried[], options: KneeOptions): number {
  if (nextRate(tried, options) === null) return 0
  const { holds, fails } = kneeOf(tried)
  const bisections = (from: number, to: number): number =>
    Math.max(0, Math.ceil(Math.log2(Math.log(to / from) / Math.log1p(options.tolerance))))
  if (holds !== null && fails !== null) return 1 + bisections(holds, fails)
  // Nobody knows how far off it is: most scenarios are written some doublings below the knee.
  return Math.max(1, 5 - tried.length) + bisections(1, 2) + 1
}

export function kneeOf(tried: readonly Tried[]): KneeResult {
  const failing = tried.filter(({ holds }) => !holds).map(({ rate }) => rate)
  const fails = failing.length === 0 ? null : Math.min(...failing)
  const holding = tried.filter(({ holds }) => holds).map(({ rate }) => rate)
  const below = holding.filter((rate) => fails === null || rate < fails)
  const above = holding.filter((rate) => fails !== null && rate > fails)
  return {
    holds: below.length === 0 ? null : Math.max(...below),
    fails,
    holdsAgain: above.length === 0 ? null : Math.max(...above),
  }
}

function rounded(rate: number): number {
  return Number(rate.toPrecision(DIGITS))
}
