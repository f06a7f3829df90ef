import { defineConfig } from 'vitest/config'

/** Tests that need root and a kernel with nftables: `npm run test:live`. */
export default defineConfig({
  test: { include: ['test/live/*.live.ts'], hookTimeout: 120_000, fileParallelism: false },
})
