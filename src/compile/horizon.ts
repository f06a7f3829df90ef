/**
 * How far the core's clock goes. It counts whole milliseconds in signed 32 bits, 24.8 days, because an entry's words are that wide.
 *
 * An expiry is a time of the run plus a timeout, and the sum must fit too. A timeout longer than the whole run never ends within it, so it
 * may be cut down to one millisecond more than the run without changing a result; only those that can end limit how long a run may be.
 */

/** The last millisecond that the core can tell. */
export const LAST_MS: number = 2 ** 31 - 1
/** Where nothing is known of a run's end: half of the clock for times, half for timeouts (12.4 days each). */
export const OPEN_END_MS: number = 2 ** 30 - 1

/**
 * @param ms     a timeout
 * @param endMs  the run's last millisecond
 * @returns      the same; where its sum with a time of the run would not fit, at most one millisecond more than the run
 */
export function cutTimeout(ms: number, endMs: number): number {
  return endMs + ms > LAST_MS ? Math.min(ms, endMs + 1) : ms
}

/**
 * @param timeouts  in milliseconds, as `cutTimeout` gives them
 * @returns         null where every expiry of the run fits, else the longest that a run with these timeouts may be
 */
export function beyondHorizon(endMs: number, timeouts: Iterable<number>): number | null {
  let longest = 0
  for (const ms of timeouts) longest = Math.max(longest, ms)
  return endMs + longest <= LAST_MS ? null : LAST_MS - longest
}
