/**
 * What takes minutes: properties against oracles, fuzzed parsers, runs long enough for queueing theory and closed forms,
 * recounts packet by packet, shards as processes, the packed package, the documents' examples.
 */
import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

export const SOAK: string[] = [
  'test/**/*.prop.test.ts',
  'test/**/fuzz.test.ts',
  'test/core/cost-model.test.ts',
  'test/kernel/table-size.test.ts',
  'test/replay/littles-law.test.ts',
  'test/replay/determinism.test.ts',
  'test/trace/corrupt.test.ts',
  'test/library/package.test.ts',
  'test/docs/examples.test.ts',
  'test/replay/draws.test.ts',
  'test/replay/series.test.ts',
  'test/rollout/closed-forms.test.ts',
  'test/parts/replay.test.ts',
]

/** The core with its invariants checked (native-free-core/checked.ts), for what runs from source. */
const checked = {
  name: 'checked',
  transform: (code: string, id: string): string | undefined =>
    id.endsWith('native-free-core/checked.ts')
      ? code.replace(/CHECKED(: boolean)? = false/, 'CHECKED$1 = true')
      : undefined,
}

export default defineConfig({
  plugins: [checked],
  test: {
    include: SOAK,
    isolate: false,
    maxWorkers: availableParallelism(),
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
