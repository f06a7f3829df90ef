/**
 * Invariants as code: `if (CHECKED) check(…)` is nothing in the bundle, where the constant is written out, and holds in the suite of
 * properties and long runs (`npm run test:soak`), which switches it on.
 */

export const CHECKED: boolean = false

/** @throws Error naming the invariant: a bug of the core */
export function check(holds: boolean, invariant: string): void {
  if (!holds) throw new Error(`invariant: ${invariant}`)
}
