/** Parts of one run are told from all others, and what they hold comes back as it was. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { packed, unpacked } from '../../src/parts/columns.ts'
import { gather, isMade, type PartHead, partHead, partText } from '../../src/parts/part.ts'

const FOLDER = mkdtempSync(join(tmpdir(), 'dpemu-parts-'))
afterAll(() => rmSync(FOLDER, { recursive: true }))

const INPUTS = { scenario: 'name: web', manifests: ['a'], seed: 1 }

function head(index: number, count: number, inputs: Record<string, unknown> = INPUTS): PartHead {
  return partHead('capacity', { index, count }, inputs)
}

function file(name: string, text: string): string {
  const path = join(FOLDER, name)
  writeFileSync(path, text)
  return path
}

const part = (name: string, of: PartHead): string => file(name, partText(of, { from: name }))
const ONE = part('1.json', head(1, 3))
const TWO = part('2.json', head(2, 3))
const THREE = part('3.json', head(3, 3))

function refusal(paths: readonly string[]): { message: string; where: string; hint: string; exitCode: number } {
  try {
    gather(paths)
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('it was not refused')
}

test('all parts, in any order, are one run in the order of the shards', () => {
  const { command, bodies } = gather([THREE, ONE, TWO])
  expect(command).toBe('capacity')
  expect(bodies).toEqual([{ from: '1.json' }, { from: '2.json' }, { from: '3.json' }])
})

describe('is an error that names it:', () => {
  test('a part that is missing', () => {
    expect(refusal([ONE, THREE])).toMatchObject({
      message: 'shard 2 is missing, of 3',
      hint: 'run the same command with --shard 2/3',
      exitCode: 3,
    })
    expect(refusal([TWO]).message).toBe('shards 1 and 3 are missing, of 3')
  })

  test('a part that is there twice', () => {
    const copy = part('copy.json', head(2, 3))
    expect(refusal([ONE, TWO, THREE, copy])).toMatchObject({
      message: `it is shard 2 of 3, and so is ${TWO}`,
      where: copy,
    })
  })

  test.each<[string, PartHead, string]>([
    ['manifests', head(2, 3, { ...INPUTS, manifests: ['b'] }), 'manifests'],
    ['a seed', head(2, 3, { ...INPUTS, seed: 2 }), 'seed'],
    ['several things', head(2, 3, { ...INPUTS, scenario: '', seed: 2 }), 'scenario and seed'],
    ['a number of shards', head(2, 4), 'the number of shards (4, 3)'],
    ['a command', partHead('rollout', { index: 2, count: 3 }, INPUTS), 'the command (rollout, capacity)'],
  ])('a part of other %s', (_what, other, differing) => {
    const foreign = part('foreign.json', other)
    expect(refusal([ONE, foreign, THREE])).toMatchObject({
      message: `it is of another run than ${ONE}: they differ in ${differing}`,
      where: foreign,
    })
  })

  test('a part of another version', () => {
    const old = file('old.json', partText({ ...head(2, 3), version: '0.0.1' }, {}))
    expect(refusal([ONE, old, THREE])).toMatchObject({ where: old })
    expect(refusal([ONE, old, THREE]).message).toMatch(/^it was made by dpemu 0\.0\.1, and this is /)
  })

  const whole = partText(head(2, 3), {})
  test.each([
    ['half of a part', whole.slice(0, whole.length / 2)],
    ['nothing', ''],
    ['a report', '{"schemaVersion":1,"kind":"capacity","cells":[]}'],
    ['a list', '[]'],
    ['null', 'null'],
    ['no shard', whole.replace('"shard"', '"shred"')],
    ['a shard beyond all', whole.replace('"index":2', '"index":9')],
    ['half a shard', whole.replace('"index":2', '"index":1.5')],
    ['an unknown command', whole.replace('"capacity"', '"dig"')],
    ['no body', whole.replace('"body":{}', '"body":7')],
    ['no digest', whole.replace('"digest"', '"digit"')],
  ])('%s', (_what, text) => {
    const bad = file('bad.json', text)
    expect(refusal([ONE, bad])).toMatchObject({ where: bad, exitCode: 3 })
    expect(refusal([ONE, bad]).message).toBe('this is no part of a dpemu run, or not a whole one')
  })

  test('a part whose body was changed', () => {
    const changed = file('changed.json', partText(head(2, 3), { runs: 12 }).replace('"runs":12', '"runs":13'))
    expect(refusal([ONE, changed, THREE])).toMatchObject({
      message: 'it is damaged: its body is not what was written',
      where: changed,
    })
    expect(isMade(changed, head(2, 3))).toBe(false)
  })

  test('whatever happens to one letter of a part: it is refused, or the same', () => {
    const text = partText(head(2, 3), { runs: [1, 2.5, -3e-7], name: 'wéb', none: null })
    const before = gather([ONE, file('letter.json', text), THREE]).bodies
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom('0', '7', '"', '{', 'x', ' ', ''), (at, letter) => {
        const path = file('letter.json', text.slice(0, at) + letter + text.slice(at + 1))
        try {
          expect(gather([ONE, path, THREE]).bodies).toEqual(before)
        } catch (error) {
          if (!(error instanceof UserError)) throw error
          expect(error.code).toBe('E_PART')
        }
      }),
      { numRuns: 600, seed: 4 },
    )
  })

  test('a file that is not there', () => {
    expect(refusal([join(FOLDER, 'none.json')]).message).toBe('cannot read it: no such file')
  })
})

test('a part that is there is known again, and no other', () => {
  expect(isMade(ONE, head(1, 3))).toBe(true)
  expect(isMade(ONE, head(2, 3))).toBe(false)
  expect(isMade(ONE, head(1, 3, { ...INPUTS, seed: 2 }))).toBe(false)
  expect(isMade(join(FOLDER, 'none.json'), head(1, 3))).toBe(false)
  expect(isMade(file('junk.json', '{'), head(1, 3))).toBe(false)
})

describe('columns in a document', () => {
  test('come back bit for bit, wherever they stand', () => {
    const value = {
      floats: Float64Array.of(0, -0, 0.1, Number.NaN, Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER),
      list: [{ words: Int32Array.of(-1, 2 ** 31 - 1) }, Uint8Array.of(255), new Uint16Array(0)],
      text: 'web',
      none: null,
      yes: true,
    }
    const back = unpacked(JSON.parse(JSON.stringify(packed(value))))
    expect(back).toEqual(value)
    expect(Object.is((back as typeof value).floats[1], -0)).toBe(true)
  })

  test('a view into a larger buffer is that view', () => {
    const all = Float64Array.of(1, 2, 3, 4)
    expect(unpacked(packed(all.subarray(1, 3)))).toEqual(Float64Array.of(2, 3))
  })

  test.each([
    ['an unknown kind', { $column: 'Function', length: 1, data: '' }],
    ['too long', { $column: 'Float64Array', length: 2 ** 40, data: '' }],
    ['half a number', { $column: 'Float64Array', length: 0.5, data: '' }],
    ['other data', { $column: 'Float64Array', length: 1, data: 'AAAA' }],
    ['too little data', { ...(packed(Float64Array.of(1)) as object), length: 2 }],
    ['too much data', { ...(packed(Float64Array.of(1, 2)) as object), length: 1 }],
  ])('%s is refused', (_what, value) => {
    expect(() => unpacked(value)).toThrow()
  })
})
