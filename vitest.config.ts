import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { SOAK } from './vitest.soak.config.ts'

/** Files that put doubles in the place of modules: each in a process of its own. */
export const APART: string[] = ['test/cli/replay.test.ts', 'test/capacity/command.test.ts']

export default defineConfig({
  test: {
    // End-to-end tests replay whole traces, on machines of two shared cores too: a limit is there to end what hangs.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Left to itself vitest keeps one of two cores free.
    maxWorkers: availableParallelism(),
    projects: [
      {
        extends: true,
        // Files of one process share what they import and the threads that replays run on: a third of the time.
        test: { name: 'shared', include: ['test/**/*.test.ts'], exclude: [...SOAK, ...APART], isolate: false },
      },
      { extends: true, test: { name: 'apart', include: APART } },
    ],
  },
})
