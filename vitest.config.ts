import { defineConfig } from 'vitest/config'
import { SOAK } from './vitest.soak.config.ts'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: SOAK,
    // Files of one process share what they import and the threads that replays run on: a third of the time.
    isolate: false,
    // End-to-end tests replay whole traces, on machines of two shared cores too: a limit is there to end what hangs.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
