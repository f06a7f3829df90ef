import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { compareDocuments, renderComparison, runCompare } from '../../bench/compare.ts'
import { addMeasurements, type BenchDocument, createDocument, meetsTarget, renderTables } from '../../bench/report.ts'
import { ROWS, SIZES, type Spec, specsOf } from '../../bench/rows.ts'

const PACKET_STEP = ROWS.find(({ name }) => name === 'packet-step')!

function spec(variant: Spec['variant']): Spec {
  return { row: 'packet-step', variant, size: '1M', skew: 'uniform', nodes: 1 }
}

/** A document of one row: ns a packet, round by round. */
function documentOf(core: number[], map: number[], floor: number[]): BenchDocument {
  const document = createDocument('/', ['--quick'])
  const measured = (
    [
      ['core', core],
      ['map', map],
      ['floor', floor],
    ] as const
  ).map(([variant, rounds]) => ({
    spec: spec(variant),
    rounds,
    min: Math.min(...rounds),
    median: [...rounds].sort((a, b) => a - b)[rounds.length >> 1]!,
  }))
  addMeasurements(document, PACKET_STEP, measured)
  return document
}

describe('ratios are taken round by round', () => {
  test('a round in which the machine was twice as slow for all changes no ratio', () => {
    const quiet = documentOf([50, 50, 50], [3000, 3000, 3000], [25, 25, 25])
    const noisy = documentOf([50, 100, 75], [3000, 6000, 4500], [25, 50, 37.5])
    expect(noisy.ratios).toEqual(quiet.ratios)
    expect(quiet.ratios.map(({ against, ratio }) => [against, ratio])).toEqual([
      ['map', 60],
      ['floor', 2],
    ])
  })

  test('the Map must be beaten by the target, the floor must not be left by more than it', () => {
    const good = documentOf([50], [3000], [25])
    const bad = documentOf([70], [3000], [20])
    expect(good.ratios.map(meetsTarget)).toEqual([true, true])
    expect(bad.ratios.map(meetsTarget)).toEqual([false, false])
    expect(renderTables(bad)).toContain('missed')
  })
})

describe('compare', () => {
  const base = documentOf([50], [3000], [25])

  test('the same figures are no regression', () => {
    const list = compareDocuments(base, base, 0.15)
    expect(list.map(({ worse, regressed }) => [worse, regressed])).toEqual([
      [0, false],
      [0, false],
    ])
    expect(renderComparison(list).exitCode).toBe(0)
  })

  test('a core that takes 30 % longer on the same machine is one, against both peers', () => {
    const list = compareDocuments(base, documentOf([65], [3000], [25]), 0.15)
    expect(list.every(({ regressed }) => regressed)).toBe(true)
    expect(renderComparison(list)).toMatchObject({ exitCode: 99 })
  })

  test('a machine that is twice as slow at everything is none', () => {
    const list = compareDocuments(base, documentOf([100], [6000], [50]), 0.15)
    expect(list.some(({ regressed }) => regressed)).toBe(false)
  })

  test('rows without a peer are compared only on the same machine', () => {
    const alone = { ...base, ratios: [] }
    const slower = { ...documentOf([100], [6000], [50]), ratios: [] }
    expect(compareDocuments(alone, slower, 0.15).map(({ what, regressed }) => [what, regressed])).toEqual([
      ['ns', true],
    ])
    const elsewhere = { ...slower, machine: { ...slower.machine, cpu: 'another' } }
    expect(compareDocuments(alone, elsewhere, 0.15)).toEqual([])
  })
})

describe('compare on files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-compare-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const base = file('base.json', JSON.stringify(documentOf([50], [3000], [25])))

  test('prints the table and says 99 on a regression', () => {
    const now = file('now.json', JSON.stringify(documentOf([100], [3000], [25])))
    let text = ''
    expect(
      runCompare([base, now], (part) => {
        text += part
      }),
    ).toBe(99)
    expect(text).toContain('2 compared, 2 regressed')
  })

  test.each([
    ['a file that is not there', [base, join(folder, 'missing.json')], 'E_BENCH_FILE'],
    ['a file that is no JSON', [base, file('broken.json', '{')], 'E_BENCH_FILE'],
    ['JSON of another kind', [base, file('other.json', '{"kind":"replay"}')], 'E_BENCH_FILE'],
    ['one file', [base], 'E_USAGE'],
    ['a tolerance that is no number', [base, base, '--tolerance', 'much'], 'E_USAGE'],
  ])('%s is a user error', (_, args, code) => {
    expect(() => runCompare(args, () => {})).toThrow(expect.objectContaining({ code, exitCode: 2 }))
  })
})

test('the Map is left out where it would take minutes, the core never is', () => {
  for (const row of ROWS) {
    for (const size of row.sizes) {
      const variants = specsOf(row, size, 'uniform').map(({ variant }) => variant)
      expect(variants[0]).toBe('core')
      expect(variants.includes('map')).toBe(row.variants.includes('map') && SIZES[size] <= SIZES['1M'])
    }
  }
})

test('a document says how to measure it again', () => {
  const args = ['--rows', '^(packet-step)$', '--sizes', '1k,64k', '--json', 'now.json', '--rounds', '3']
  expect(createDocument('/', args).command).toBe("npm run bench -- --rows '^(packet-step)$' --sizes 1k,64k --rounds 3")
  expect(createDocument('/', ['--json=now.json']).command).toBe('npm run bench --')
})
