/** `dpemu conntrack` as it is typed, and the emulated table that `replay --dump-conntrack` writes in the same form. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runConntrack } from '../../src/commands/conntrack.ts'
import { parseTable } from '../../src/conntrack/lines.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { bundledTrace } from '../replay/support.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MANIFESTS = join(ROOT, 'traces/two-plus-one/manifests')
const folder = mkdtempSync(join(tmpdir(), 'dpemu-conntrack-'))
let trace: string

beforeAll(async () => {
  trace = await bundledTrace(folder, 'two-plus-one')
})
afterAll(() => rmSync(folder, { recursive: true }))

function dpemu(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const run = spawnSync(process.execPath, [join(ROOT, 'bin/dpemu.js'), ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  return { status: run.status, stdout: run.stdout, stderr: run.stderr }
}

function replayed(...more: string[]): { status: number | null; stdout: string; stderr: string } {
  return dpemu('replay', trace, '--policy', 'cluster', '-q', ...more)
}

describe('replay --dump-conntrack', () => {
  test('the same lines for any number of workers, sorted, and nothing else on standard output', () => {
    const first = replayed('--dump-conntrack', 'node-two@30', '--workers', '1')
    expect([first.status, first.stderr]).toEqual([0, ''])
    const entries = parseTable(first.stdout, 'dump')
    expect(entries.length).toBeGreaterThan(1000)
    expect(first.stdout.trimEnd().split('\n')).toEqual(first.stdout.trimEnd().split('\n').sort())
    for (const workers of ['2', '7']) {
      expect(replayed('--dump-conntrack', 'node-two@30', '--workers', workers).stdout === first.stdout).toBe(true)
    }
  })

  test('the report is the one it would be without', () => {
    const file = join(folder, 'table.txt')
    const report = (text: string): unknown => ({ ...JSON.parse(text), engine: null })
    const withTable = replayed('-o', 'json', '--dump-conntrack', `node-one@12.345=${file}`)
    expect(report(withTable.stdout)).toEqual(report(replayed('-o', 'json').stdout))
    expect(parseTable(readFileSync(file, 'utf8'), file).length).toBeGreaterThan(100)
  })

  test('closed connections stay for two minutes, so after 40 s nothing of them has been forgotten', async () => {
    const storefront = await bundledTrace(folder, 'storefront')
    const at = (seconds: number) => {
      const { stdout } = dpemu('replay', storefront, '--policy', 'local', '--dump-conntrack', `node-a@${seconds}`)
      return parseTable(stdout, 'x')
    }
    expect(at(0)).toEqual([])
    const late = at(40)
    expect(late.length).toBeGreaterThan(at(5).length)
    const closed = late.filter(({ state }) => state === 'TIME_WAIT').map(({ seconds }) => seconds!)
    expect(closed.length).toBeGreaterThan(late.length / 2)
    expect(Math.min(...closed)).toBeGreaterThanOrEqual(79)
    expect(Math.max(...closed)).toBeLessThanOrEqual(120)
    const open = late.filter(({ state }) => state === 'ESTABLISHED').map(({ seconds }) => seconds!)
    expect(open.length).toBeGreaterThan(0)
    // Data that nobody has acknowledged yet: five minutes.
    expect(open.filter((seconds) => seconds < 86_000 && seconds !== 299 && seconds !== 300)).toEqual([])
    expect(Math.max(...open)).toBeGreaterThan(86_000)
  })

  test('and the reader of real tables finds every entry a Service’s or on its way to a pod', () => {
    const { stdout } = replayed('--dump-conntrack', 'node-two@30')
    const io = fakeIo({}, stdout)
    const code = runConntrack(
      { manifests: [MANIFESTS], against: ['-'], node: 'node-two', rate: '100/s', output: ['json'], quiet: true },
      io,
    )
    const report = JSON.parse(io.written.stdout)
    expect(code).toBe(0)
    expect(report.services[0].service).toBe('default/web:http')
    expect(report.gone).toEqual([])
    expect(Object.keys(report.others).filter((kind) => kind !== 'to a pod')).toEqual([])
    const schema = JSON.parse(readFileSync(join(ROOT, 'schemas/conntrack.schema.json'), 'utf8'))
    const validate = new Ajv({ strict: true, allowUnionTypes: true, allErrors: true }).compile(schema)
    validate(report)
    expect(validate.errors ?? []).toEqual([])
  })

  test.each<[string[], string]>([
    [['--dump-conntrack', 'node-two'], 'it is NODE@SECONDS or NODE@SECONDS=FILE'],
    [['--dump-conntrack', 'nobody@1'], 'there is no node "nobody"'],
    [['--dump-conntrack', 'node-two@99999'], 'the trace ends at'],
    [['--dump-conntrack', 'node-two@1', '--policy', 'local'], 'the table is that of one run, and there are 2'],
    [['--dump-conntrack', 'node-two@1', '-o', 'json'], 'would both go to standard output'],
    [['--dump-conntrack', 'node-two@1=/no/such/folder/x'], 'its folder does not exist'],
  ])('%j is refused', (args, message) => {
    const { status, stdout, stderr } = replayed(...args)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
  })
})

describe('conntrack --against', () => {
  test.each<[string, Partial<Parameters<typeof runConntrack>[0]>, string, object]>([
    ['no file', { against: [] }, '', { code: 'E_USAGE' }],
    ['a file that is not there', { against: ['/no/such/file'] }, '', { code: 'E_CONNTRACK', exitCode: 2 }],
    ['a node that is not there', { node: 'nobody' }, '', { code: 'E_NODE', exitCode: 2 }],
    ['a rate that is none', { rate: 'much' }, '', { code: 'E_USAGE' }],
    ['a rate for no node', { rate: '5/s' }, '', { code: 'E_USAGE' }],
    ['what is no table', {}, 'hello\n', { code: 'E_CONNTRACK', where: 'standard input, line 1', exitCode: 3 }],
  ])('%s', (_name, change, input, error) => {
    const options = { manifests: [MANIFESTS], against: ['-'], output: [], quiet: true, ...change }
    expect(() => runConntrack(options, fakeIo({}, input))).toThrow(expect.objectContaining(error))
  })

  test('an empty table is a table', () => {
    const io = fakeIo({}, '')
    runConntrack({ manifests: [MANIFESTS], against: ['-'], node: 'node-one', output: [], quiet: true }, io)
    expect(io.written.stdout).toContain('nobody: it is empty')
  })
})
