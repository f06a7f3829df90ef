/** With a trace: the figures of both sides, as compare has them. Workers run what the compiler writes, so this asks the command. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { generateTrace } from '../../src/trace/generate.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-diff-trace-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const root = fileURLToPath(new URL('../../', import.meta.url))
const example = join(root, 'traces/two-plus-one')
const trace = join(folder, 'trace.msgpack')
const old = join(example, 'manifests')
const changed = join(folder, 'local.yaml')

beforeAll(async () => {
  const text = readFileSync(join(old, 'web.yaml'), 'utf8')
  writeFileSync(changed, text.replace('externalTrafficPolicy: Cluster', 'externalTrafficPolicy: Local'))
  await generateTrace({ scenarioPath: join(example, 'scenario.yaml'), output: trace })
}, 60_000)

function diff(...args: readonly string[]): { status: number | null; stdout: string } {
  const command = [join(root, 'bin/dpemu.js'), 'diff', '--quiet', '--exit-code', '--trace', trace, ...args]
  return spawnSync(process.execPath, command, { encoding: 'utf8', maxBuffer: 1 << 26 })
}

test('a trace through both sides: figures that differ, behind the causes and in JSON', () => {
  const json = join(folder, 'diff.json')
  const { status, stdout } = diff(old, changed, '-o', `json=${json}`, '-o', 'text')
  expect(status).toBe(1)
  const comparison = stdout.indexOf('dpemu compare: old, new')
  expect(comparison).toBeGreaterThan(stdout.indexOf('externalTrafficPolicy Cluster → Local'))
  const document = JSON.parse(readFileSync(json, 'utf8')) as {
    replays: { kind: string; reports: string[]; differences: unknown[] }
  }
  const validate = new Ajv({ strict: true }).compile(
    JSON.parse(readFileSync(join(root, 'schemas/diff.schema.json'), 'utf8')),
  )
  expect(validate(document), JSON.stringify(validate.errors)).toBe(true)
  expect(document.replays).toMatchObject({ kind: 'compare', reports: ['old', 'new'] })
  expect(document.replays.differences.length).toBeGreaterThan(3)
}, 60_000)

test('the same manifests: neither answers nor figures differ', () => {
  const { status, stdout } = diff(old, old)
  expect(status).toBe(0)
  expect(stdout).toContain('No client could tell the one from the other')
  expect(stdout).toContain('none differs')
}, 60_000)
