/** Text in the columns that there are. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { wrapLines } from '../../src/report/wrap.ts'

test.each([
  ['one two three four', 9, 'one two\n  three\n  four'],
  ['  one two three', 9, '  one two\n    three'],
  ['a-word-that-is-too-long stays', 10, 'a-word-that-is-too-long\n  stays'],
  ['takes 33.3 % of all', 10, 'takes\n  33.3 %\n  of all'],
  ['short', 60, 'short'],
])('%j in %d columns', (text, width, expected) => {
  expect(wrapLines(text, width)).toBe(expected)
})

test('as it is where nobody knows the width, and lines that are not meant', () => {
  const text = ';; a comment that goes on\ndata that goes on as well'
  expect(wrapLines(text, null)).toBe(text)
  expect(wrapLines(text, 14, { wrapped: (line) => line.startsWith(';;'), hanging: ';;   ' })).toBe(
    ';; a comment\n;;   that goes\n;;   on\ndata that goes on as well',
  )
})

describe('any text', () => {
  const word = fc.stringMatching(/^[a-z]{1,12}$/)
  test('keeps its words, and no line is too wide that could be broken', () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 40 }), fc.integer({ min: 16, max: 80 }), (words, width) => {
        const lines = wrapLines(words.join(' '), width).split('\n')
        expect(lines.flatMap((line) => line.trim().split(/\s+/))).toEqual(words)
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(width)
      }),
    )
  })
})
