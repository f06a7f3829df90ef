import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // End-to-end tests replay whole traces, on machines of two shared cores too: a limit is there to end what hangs.
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
})
