/** The linear-time matcher: rows, agreement with the engine of JavaScript where both mean the same, and bounds. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileRegex } from '../../src/ingress/regex.ts'

function exec(source: string, text: string, anchored = true): readonly string[] | null {
  const compiled = compileRegex(source)
  if (!compiled.ok) throw new Error(compiled.problem)
  return compiled.regex.exec(text, anchored)
}

describe('rows', () => {
  it.each<[string, string, string[] | null]>([
    ['/foo', '/FOObar', ['/FOO']],
    ['/foo$', '/foobar', null],
    ['/a(/|$)(.*)', '/a/b/c', ['/a/b/c', '/', 'b/c']],
    ['/a(/|$)(.*)', '/a', ['/a', '', '']],
    ['/a(/|$)(.*)', '/ab', null],
    ['/(a|ab)(c|bcd)?', '/abcd', ['/abcd', 'a', 'bcd']],
    ['/(.*?)/(.*)', '/a/b/c', ['/a/b/c', 'a', 'b/c']],
    ['/[A-Z0-9]{3}', '/xy1', ['/xy1']],
    ['/[^/]+/x', '/a/b/x', null],
    ['/[[:alpha:]]+', '/ab1', ['/ab']],
    ['/v\\d{1,2}\\.\\d+', '/v12.3', ['/v12.3']],
    ['/x{,3}', '/x{,3}', ['/x{,3}']],
    ['/(?i)a', '/A', ['/A']],
    ['/(?<name>b)', '/b', ['/b', 'b']],
    ['/(?P<name>b)', '/b', ['/b', 'b']],
    ['/(?:b|c)d', '/cd', ['/cd']],
    ['/\\bab\\b', '/ab-', ['/ab']],
    ['/[]x]', '/]', ['/]']],
    ['/[a\\-z]', '/-', ['/-']],
    ['/\\x41', '/a', ['/a']],
    ['(a*)*', 'aab', ['aa', 'aa']],
    ['/(?!api(?:/|$))(.*)', '/apis', ['/apis', 'apis']],
    ['/(?!api(?:/|$))(.*)', '/api', null],
    ['/(?!api(?:/|$))(.*)', '/api/x', null],
    ['/(?=.*\\.js$)a(.*)', '/a/x.js', ['/a/x.js', '/x.js']],
    ['/.*(?<!\\.php)$', '/x.php', null],
    ['/.*(?<!\\.php)$', '/x.png', ['/x.png']],
    ['/(?!(a|b)c)(.)', '/ad', ['/a', '', 'a']],
    ['', '/x', ['']],
  ])('%s on %s', (source, text, groups) => {
    expect(exec(source, text)).toEqual(groups)
  })
  it('finds the leftmost match where it is not tied to the start', () => {
    expect(exec('b+', 'aabbb', false)).toEqual(['bbb'])
    expect(exec('b+', 'aabbb', true)).toBeNull()
  })
})

describe('refused, with the reason', () => {
  it.each([
    ['/(a)\\1', 'back references are not supported'],
    ['/(?=(a))', 'a group in a look-around is not supported'],
    ['/(?=a', 'a group is not closed'],
    ['/(?<a', '(?< is not supported'],
    ['/(?>a)', '(?> is not supported'],
    ['/a++', 'possessive quantifiers are not supported'],
    ['/a**', 'a quantifier follows a quantifier'],
    ['/(a', 'a group is not closed'],
    ['/a)', 'unmatched ) at character 3'],
    ['/[a', 'a character class is not closed'],
    ['/[z-a]', 'a character class has a range that runs backwards'],
    ['/a{2000}', 'repeats over 1000 times'],
    ['/a{3,2}', 'bad repeat {3,2}'],
    ['*', 'nothing to repeat at character 1'],
    ['/\\', 'a backslash ends the pattern'],
    ['/\\p{L}', '\\p is not supported'],
    ['/((a{900}){900}){900}', 'needs more than 2000 steps'],
    ['/(?:(?:(?:){1000}){1000}){1000}', 'needs more than 2000 steps'],
    ['('.repeat(5000), 'groups nested deeper than 100'],
  ])('%.30s', (source, problem) => {
    expect(compileRegex(source)).toEqual({ ok: false, problem })
  })
})

describe('properties', () => {
  // Patterns that ECMAScript and PCRE read alike: no captures below a quantifier, where their groups differ.
  const atom = fc.constantFrom('a', 'b', '/', '.', '[ab]', '[^a]', '\\d', '\\w', 'A', '1')
  const quantifier = fc.constantFrom('', '', '*', '+', '?', '*?', '+?', '??', '{2}', '{0,2}', '{1,}')
  const { pattern } = fc.letrec<{ pattern: string; term: string }>((tie) => ({
    term: fc.oneof(
      { depthSize: 'small' },
      fc.tuple(atom, quantifier).map(([a, q]) => a + q),
      tie('pattern').map((inner) => `(${inner})`),
      fc.tuple(atom, atom, quantifier).map(([a, b, q]) => `(?:${a}|${b})${q}`),
      fc.constantFrom('^', '$', '\\b'),
    ),
    pattern: fc
      .array(
        fc.array(tie('term'), { minLength: 1, maxLength: 4 }).map((terms) => terms.join('')),
        { minLength: 1, maxLength: 2 },
      )
      .map((choices) => choices.join('|')),
  }))
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'A', '/', '1', '-'), maxLength: 12 })

  it('agrees with RegExp on whole match and groups', () => {
    fc.assert(
      fc.property(pattern, text, (source, subject) => {
        const theirs = new RegExp(source, 'i').exec(subject)
        expect(exec(source, subject, false)).toEqual(theirs === null ? null : [...theirs].map((group) => group ?? ''))
      }),
      { seed: 20261122, numRuns: 3000 },
    )
  })
  it('agrees with RegExp on look-ahead and look-behind', () => {
    const around = fc.tuple(fc.constantFrom('(?=', '(?!', '(?<=', '(?<!'), pattern)
    const sides = fc.tuple(pattern, around, fc.constantFrom('', '.', 'a', '.*', 'a|b'))
    fc.assert(
      fc.property(sides, text, ([before, [open, inner], after], subject) => {
        const inside = inner.replace(/\((?!\?)/g, '(?:')
        const source = `(?:${before})${open}${inside})${after}`
        const theirs = new RegExp(source, 'i').exec(subject)
        expect(exec(source, subject, false)).toEqual(theirs === null ? null : [...theirs].map((group) => group ?? ''))
      }),
      { seed: 20261128, numRuns: 3000 },
    )
  })
  it('never throws, whatever the pattern', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'ab()[]{}|*+?\\^$.,-:<>=!1i/'), maxLength: 24 }),
        text,
        (source, subject) => {
          const compiled = compileRegex(source)
          if (compiled.ok) expect(compiled.regex.exec(subject, true)?.length ?? 1).toBeGreaterThan(0)
          else expect(compiled.problem).not.toBe('')
        },
      ),
      { seed: 7, numRuns: 3000 },
    )
  })
})
