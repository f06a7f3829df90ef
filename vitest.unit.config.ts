/** The loop of seconds: no process, no worker thread, no whole trace, nothing that takes two seconds by itself. */
import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { APART } from './vitest.config.ts'
import { SOAK } from './vitest.soak.config.ts'

const LONG = [
  'test/{bench,capacity,cli,conntrack,docs,files,html,kernel,live,names,replay,reports,rollout,verdicts}/**',
  'test/scenarios.test.ts',
  'test/core/{cpu-queues,nat-ports}.test.ts',
  'test/parts/{jobs,merge,replay}.test.ts',
  'test/packetflow/choice.test.ts',
  'test/report/{draws,text}.test.ts',
  'test/rules/against*.test.ts',
  'test/trace/{bundled,distributions,generate,http}.test.ts',
  'test/k8s/passed-over.test.ts',
]

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...SOAK, ...APART, ...LONG],
    isolate: false,
    maxWorkers: availableParallelism(),
  },
})
