/**
 * The rollouts under traces/, held against their expected.json byte for byte. `UPDATE=1 npx vitest run test/rollout/goldens.test.ts` writes
 * the files anew; the diff is then reviewed as numbers.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runRollout } from '../../src/commands/rollout.ts'
import type { RolloutReport } from '../../src/rollout/report.ts'
import { fakeIo } from '../cli/fake-io.ts'

const TRACES = join(import.meta.dirname, '..', '..', 'traces')
const names = readdirSync(TRACES).filter((name) => existsSync(join(TRACES, name, 'timeline.yaml')))

/** Figures, what happened in the first run and what was assumed; not the course over time, which adds up to them. */
function golden(report: RolloutReport): string {
  const { derived, firstRun, delayed, gaps, losses, lost, neededPreStopSeconds, offered, rollout, services } = report
  const kept = { services, offered, lost, delayed, gaps, losses, neededPreStopSeconds, rollout }
  return `${JSON.stringify({ ...kept, events: firstRun.events, derived }, null, 2)}\n`
}

test('there are some', () => {
  expect(names).toEqual(['rollout-crash', 'rollout-daemonset', 'rollout-neg', 'rollout-nlb'])
})

describe.each(names)('%s', (name) => {
  test('costs what is expected of it', async () => {
    const io = fakeIo()
    await runRollout(
      {
        manifests: [join(TRACES, name, 'manifests')],
        timeline: join(TRACES, name, 'timeline.yaml'),
        safe: false,
        threshold: [],
        output: ['json'],
        quiet: true,
      },
      io,
    )
    const expected = join(TRACES, name, 'expected.json')
    const actual = golden(JSON.parse(io.written.stdout) as RolloutReport)
    if (process.env['UPDATE'] === '1') writeFileSync(expected, actual)
    expect(actual).toBe(readFileSync(expected, 'utf8'))
  })
})
