/**
 * Golden scenarios: each folder of traces/ with a scenario.yaml is generated, replayed and held against its expected.json,
 * byte for byte; with the constants in its model.yaml where it has one. A new case is a new folder.
 *
 * `UPDATE=1 npx vitest run test/scenarios.test.ts` writes the files anew; the diff is then reviewed as numbers.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { ReplayReport } from '../src/report/types.ts'
import { bundledTrace, ROOT, replayed, temporaryFolder } from './replay/support.ts'

const traces = join(ROOT, 'traces')
const scenarios = readdirSync(traces).filter((name) => existsSync(join(traces, name, 'scenario.yaml')))
const folder = temporaryFolder()

/**
 * What is kept: everything a result is, the runs whole. Left out are `engine`, which is measured, and the lists that say
 * the same of every replay of these manifests and are held by tests of their own: the model's constants and what was derived.
 */
function golden({ schemaVersion, kind, trace, comparedServices, runs, warnings }: ReplayReport): string {
  return `${JSON.stringify({ schemaVersion, kind, trace, comparedServices, runs, warnings }, null, 2)}\n`
}

it('there are scenarios', () => {
  expect(scenarios).toEqual(expect.arrayContaining(['affinity-1800', 'storefront', 'two-plus-one']))
})

describe.each(scenarios)('%s', (name) => {
  it('replays to what is expected of it', async () => {
    const fresh = await bundledTrace(folder, name)
    const committed = join(traces, name, 'trace.msgpack')
    const there = existsSync(committed)
    if (there)
      expect(readFileSync(committed).equals(readFileSync(fresh)), `${committed} is not what it generates`).toBe(true)
    const expected = join(traces, name, 'expected.json')
    const model = join(traces, name, 'model.yaml')
    const actual = golden(
      await replayed(there ? committed : fresh, { model: existsSync(model) ? relative(ROOT, model) : null }),
    )
    if (process.env['UPDATE'] === '1') writeFileSync(expected, actual)
    expect(actual).toBe(readFileSync(expected, 'utf8'))
  })
})
