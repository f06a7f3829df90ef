import { defineConfig } from 'vitest/config'

/** Tests that need root and a kernel with nftables: `npm run test:live`. */
export default defineConfig({
  // Limits are there to end what hangs.
  test: {
    include: ['test/live/*.live.ts'],
    testTimeout: 300_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
})
