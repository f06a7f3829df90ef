import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type KneeOptions,
  type KneeResult,
  kneeOf,
  nextRate,
  remainingRuns,
  type Tried,
} from '../../src/capacity/knee.ts'

const SEED = 20260
const OPTIONS: KneeOptions = { start: 100, least: 0.1, most: 1e7, tolerance: 0.02 }

interface Search extends KneeResult {
  readonly tried: Tried[]
}

/** Carries the whole search out against something that answers at once. */
function search(holdsAt: (rate: number) => boolean, options: KneeOptions = OPTIONS): Search {
  const tried: Tried[] = []
  for (let rate = nextRate(tried, options); rate !== null; rate = nextRate(tried, options)) {
    expect(tried.map((one) => one.rate)).not.toContain(rate)
    expect(rate).toBeGreaterThanOrEqual(options.least)
    expect(rate).toBeLessThanOrEqual(options.most)
    tried.push({ rate, holds: holdsAt(rate) })
  }
  return { tried, ...kneeOf(tried) }
}

describe('what is tried', () => {
  test('doublings until it fails, then the middle, in ratios', () => {
    const { tried } = search((rate) => rate <= 700)
    expect(tried.slice(0, 6).map(({ rate }) => rate)).toEqual([100, 200, 400, 800, 565.685, 672.717])
  })

  test('halvings where the start already fails', () => {
    const { tried } = search((rate) => rate <= 30)
    expect(tried.slice(0, 3).map(({ rate }) => rate)).toEqual([100, 50, 25])
  })

  test('a rate above the knee is looked at too, and one below it', () => {
    const { tried, holds, fails } = search((rate) => rate <= 700)
    expect(tried.some(({ rate }) => rate > fails! && rate <= fails! * 1.2)).toBe(true)
    expect(tried.some(({ rate }) => rate < holds! && rate >= holds! / 1.2)).toBe(true)
  })
})

describe('the knee', () => {
  test('of anything that holds up to a rate and fails above is found within the tolerance', () => {
    fc.assert(
      fc.property(
        fc.double({ min: -2, max: 6.9, noNaN: true }),
        fc.constantFrom(0.005, 0.02, 0.1, 1),
        fc.double({ min: 0.5, max: 5e4, noNaN: true }),
        (exponent, tolerance, start) => {
          const knee = 10 ** exponent
          const options = { start, least: start / 1e7, most: 1e7, tolerance }
          const { holds, fails, holdsAgain, tried } = search((rate) => rate <= knee, options)
          expect(holds).not.toBeNull()
          expect(fails).not.toBeNull()
          expect(holds!).toBeLessThanOrEqual(knee)
          expect(fails!).toBeGreaterThan(knee)
          expect(fails! / holds!).toBeLessThanOrEqual(1 + tolerance)
          expect(holdsAgain).toBeNull()
          expect(tried.length).toBeLessThan(Math.abs(Math.log2(knee / start)) + Math.log2(1 / tolerance) + 6)
        },
      ),
      { seed: SEED },
    )
  })

  test('whatever is searched, every rate tried bears the answer out, or the answer says that it does not', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.05, max: 2e7, noNaN: true }), { maxLength: 12 }),
        fc.boolean(),
        (edges, first) => {
          // Holds and fails in turn between the edges.
          const holdsAt = (rate: number): boolean => edges.filter((edge) => edge < rate).length % 2 === (first ? 0 : 1)
          const { tried, holds, fails, holdsAgain } = search(holdsAt)
          expect(tried.length).toBeLessThanOrEqual(64)
          if (holds !== null) expect(tried).toContainEqual({ rate: holds, holds: true })
          if (fails !== null) expect(tried).toContainEqual({ rate: fails, holds: false })
          if (holds !== null && fails !== null) expect(fails).toBeGreaterThan(holds)
          for (const one of tried) {
            if (one.holds && fails !== null && one.rate > fails) expect(holdsAgain).not.toBeNull()
            if (!one.holds) expect(one.rate).toBeGreaterThanOrEqual(fails!)
          }
          expect(holdsAgain === null || holdsAt(holdsAgain)).toBe(true)
        },
      ),
      { seed: SEED },
    )
  })

  test('something that fails, and holds again above: the lowest break counts, and it is told', () => {
    const found = search((rate) => rate <= 795 || (rate > 850 && rate < 900))
    expect(found).toMatchObject({ holds: 791.383, fails: 800, holdsAgain: 880 })
  })

  test('a dip just below the first answer moves it there', () => {
    const { holds, fails, holdsAgain } = search((rate) => rate <= 401 && !(rate > 350 && rate < 380))
    expect(holds!).toBeLessThanOrEqual(350)
    expect(fails!).toBeGreaterThan(350)
    expect(fails! / holds!).toBeLessThanOrEqual(1.02)
    expect(holdsAgain).toBe(400)
  })

  test('never failing and never holding end at the bounds', () => {
    expect(search(() => true)).toMatchObject({ holds: OPTIONS.most, fails: null })
    expect(search(() => false)).toMatchObject({ holds: null, fails: OPTIONS.least })
  })
})

describe('how much is left, for a progress bar', () => {
  test('is 0 at the end, at least 1 before, and shrinks once the knee is between two rates', () => {
    const tried: Tried[] = []
    let bracketed = Number.POSITIVE_INFINITY
    for (let rate = nextRate(tried, OPTIONS); rate !== null; rate = nextRate(tried, OPTIONS)) {
      const left = remainingRuns(tried, OPTIONS)
      expect(left).toBeGreaterThanOrEqual(1)
      if (tried.some(({ holds }) => !holds)) {
        expect(left).toBeLessThanOrEqual(bracketed)
        bracketed = left
      }
      tried.push({ rate, holds: rate <= 12_345 })
    }
    expect(remainingRuns(tried, OPTIONS)).toBe(0)
  })
})
