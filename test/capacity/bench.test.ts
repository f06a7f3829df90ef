import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type BenchCommandOptions, type RunProgram, runBench } from '../../src/commands/bench.ts'
import { fakeIo } from '../cli/fake-io.ts'

const NOTHING: BenchCommandOptions = { quick: false, output: [] }
const MEASURED = '{"kind":"bench","rows":[]}\n'

let folder = ''
let calls: string[][] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dpemu-bench-test-'))
  calls = []
})
afterEach(() => rmSync(folder, { recursive: true }))

/** The benchmarks' program, as it would behave. */
function program(codes: { measure?: number; compare?: number } = {}): RunProgram {
  return async (args, print) => {
    calls.push([...args])
    if (args[0] === 'compare') {
      expect(readFileSync(args[2]!, 'utf8')).toBe(MEASURED)
      print('compared\n')
      return codes.compare ?? 0
    }
    writeFileSync(args[args.indexOf('--json') + 1]!, MEASURED)
    print('measured\n')
    return codes.measure ?? 0
  }
}

function baseline(text = MEASURED): string {
  const path = join(folder, 'base.json')
  writeFileSync(path, text)
  return path
}

test('measures, and prints the tables', async () => {
  const io = fakeIo()
  expect(await runBench({ ...NOTHING, rows: 'packet', quick: true }, io, program())).toBe(0)
  expect(io.written).toEqual({ stdout: 'measured\n', stderr: '' })
  expect(calls).toEqual([['--in-dpemu', '--rows', 'packet', '--quick', '--json', expect.any(String)]])
})

test.each([
  [0, 0],
  [99, 99],
])('with a baseline, a comparison that ends with %i decides', async (compare, code) => {
  const io = fakeIo()
  const base = baseline()
  expect(await runBench({ ...NOTHING, baseline: base, tolerance: '20%' }, io, program({ compare }))).toBe(code)
  expect(calls[1]).toEqual(['compare', base, expect.any(String), '--tolerance', '0.2'])
  expect(io.written.stdout).toBe('measured\ncompared\n')
})

test('the figures are there after a regression too, so that it can be looked at', async () => {
  const output = [`json=${join(folder, 'now.json')}`, `text=${join(folder, 'now.txt')}`]
  expect(await runBench({ ...NOTHING, baseline: baseline(), output }, fakeIo(), program({ compare: 99 }))).toBe(99)
  expect(readFileSync(join(folder, 'now.json'), 'utf8')).toBe(MEASURED)
  expect(readFileSync(join(folder, 'now.txt'), 'utf8')).toBe('measured\ncompared\n')
})

test('JSON alone on standard output, the tables on standard error', async () => {
  const io = fakeIo()
  await runBench({ ...NOTHING, output: ['json'] }, io, program())
  expect(io.written).toEqual({ stdout: MEASURED, stderr: 'measured\n' })
})

test('benchmarks that fail are not compared', async () => {
  expect(await runBench({ ...NOTHING, baseline: baseline() }, fakeIo(), program({ measure: 2 }))).toBe(2)
  expect(calls).toHaveLength(1)
})

test('Ctrl-C is 130, and leaves nothing', async () => {
  const io = fakeIo()
  const interrupted: RunProgram = async (args, print) => {
    io.interrupt()
    return program()(args, print)
  }
  const output = [`json=${join(folder, 'now.json')}`]
  expect(await runBench({ ...NOTHING, output }, io, interrupted)).toBe(130)
  expect(() => readFileSync(join(folder, 'now.json'))).toThrow('ENOENT')
})

describe('refused before anything is measured', () => {
  test.each<[Partial<BenchCommandOptions>, object]>([
    [{ baseline: '/nowhere.json' }, { code: 'E_BENCH_FILE', exitCode: 2, where: '/nowhere.json' }],
    [{ tolerance: '0.1' }, { code: 'E_USAGE', message: '--tolerance goes with --baseline' }],
    [{ output: ['csv'] }, { code: 'E_USAGE' }],
  ])('%j', async (change, expected) => {
    await expect(runBench({ ...NOTHING, ...change }, fakeIo(), program())).rejects.toMatchObject(expected)
    expect(calls).toEqual([])
  })

  test.each(['-1', '0', 'much', '1e400'])('--tolerance %s', async (tolerance) => {
    const refused = runBench({ ...NOTHING, baseline: baseline(), tolerance }, fakeIo(), program())
    await expect(refused).rejects.toMatchObject({ code: 'E_USAGE', exitCode: 2 })
  })

  test.each(['', '[]', 'null', '{"kind":"replay"}'])('a baseline that holds %j', async (text) => {
    const refused = runBench({ ...NOTHING, baseline: baseline(text) }, fakeIo(), program())
    await expect(refused).rejects.toMatchObject({ code: 'E_BENCH_FILE', exitCode: 2 })
    expect(calls).toEqual([])
  })
})
