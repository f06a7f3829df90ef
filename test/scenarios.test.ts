/**
 * Golden scenarios: each folder of traces/ with a scenario.yaml is generated, replayed and held against its expected.json,
 * byte for byte. A new case is a new folder, and a row in `WITH` where it is replayed with more than the policies.
 *
 * `UPDATE=1 npx vitest run test/scenarios.test.ts` writes the files anew; the diff is then reviewed as numbers.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { ReplayOptions } from '../src/replay/plan.ts'
import type { ReplayReport } from '../src/report/types.ts'
import { bundledTrace, ROOT, replayed, temporaryFolder } from './replay/support.ts'

const traces = join(ROOT, 'traces')
const scenarios = readdirSync(traces).filter((name) => existsSync(join(traces, name, 'scenario.yaml')))
const folder = temporaryFolder()

const WITH: Readonly<Record<string, Partial<ReplayOptions>>> = {
  'hot-pod': { model: 'traces/hot-pod/model.yaml' },
  'ingress-ways': { ingressPaths: ['instance', 'ip', 'proxy'] },
}

/**
 * What is kept: everything a result is. Left out are `engine`, which is measured, the runs' course over time, which is long and
 * adds up to what is here (test/replay/series.test.ts), and the lists that say the same of every replay of these manifests and are
 * held by tests of their own: the model's constants and what was derived.
 */
function golden({ schemaVersion, kind, trace, comparedServices, runs, warnings }: ReplayReport): string {
  const figures = runs.map(({ series: _, ...run }) => run)
  return `${JSON.stringify({ schemaVersion, kind, trace, comparedServices, runs: figures, warnings }, null, 2)}\n`
}

it('there are scenarios', () => {
  expect(scenarios).toEqual(
    expect.arrayContaining(['affinity-1800', 'storefront', 'two-plus-one', ...Object.keys(WITH)]),
  )
})

describe.each(scenarios)('%s', (name) => {
  it('replays to what is expected of it', async () => {
    const fresh = await bundledTrace(folder, name)
    const committed = join(traces, name, 'trace.msgpack')
    const there = existsSync(committed)
    if (there)
      expect(readFileSync(committed).equals(readFileSync(fresh)), `${committed} is not what it generates`).toBe(true)
    const expected = join(traces, name, 'expected.json')
    const actual = golden(await replayed(there ? committed : fresh, WITH[name]))
    if (process.env['UPDATE'] === '1') writeFileSync(expected, actual)
    expect(actual).toBe(readFileSync(expected, 'utf8'))
  })
})
