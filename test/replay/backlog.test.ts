/** Full receive queues: nodes that cannot keep up drop what `backlogPackets` does not hold, in a whole replay. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import type { RunReport } from '../../src/report/types.ts'
import { cluster, NODES, stream } from './cluster.ts'
import { replayedOnce, sumOf, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
let trace: string

beforeAll(async () => {
  trace = await traceOf(folder, 'crowd', { seed: 5, duration: '10s', traffic: [stream({ rate: 300 })] }, cluster())
})

/** The replay on nodes with these constants. */
function run(name: string, constants: string, workers = 2): Promise<RunReport> {
  const model = join(folder, `${name}.yaml`)
  writeFileSync(model, constants)
  return replayedOnce(trace, { model, workers })
}

test('nodes that keep up drop nothing', async () => {
  const { nodes } = await run('fast', 'backlogPackets: 1000\n')
  expect(sumOf(nodes, 'backlogDrops')).toBe(0)
})

test('at 20 ms a packet a short queue drops, a longer one drops less, whatever the number of workers', async () => {
  const short = await run('short', 'establishedNanos: 20000000\nbacklogPackets: 5\n')
  const long = await run('long', 'establishedNanos: 20000000\nbacklogPackets: 200\n')
  const alone = await run('alone', 'establishedNanos: 20000000\nbacklogPackets: 5\n', 1)
  expect(sumOf(long.nodes, 'backlogDrops')).toBeGreaterThan(0)
  expect(sumOf(short.nodes, 'backlogDrops')).toBeGreaterThan(sumOf(long.nodes, 'backlogDrops'))
  expect(short.delivered.packetsPerSecond).toBeLessThan(short.offered.packetsPerSecond)
  expect(alone.nodes).toEqual(short.nodes)
})

test('a node that has other CPUs later on keeps its queues whole, whatever the number of workers', async () => {
  const [first] = NODES
  const smaller = { ...first, status: { ...first!.status, capacity: { cpu: '3' } } }
  const changed = await traceOf(
    folder,
    'changed',
    {
      seed: 5,
      duration: '10s',
      changes: [{ at: '4s', apply: smaller }],
      traffic: [stream({ rate: 300 })],
    },
    cluster(),
  )
  const model = join(folder, 'busy.yaml')
  writeFileSync(model, 'establishedNanos: 1000000\n')
  const [one, two, four] = await Promise.all([1, 2, 4].map((workers) => replayedOnce(changed, { model, workers })))
  expect(two).toEqual(one)
  expect(four).toEqual(one)
})

test('without a word on it the queue holds the kernel’s 1,000 packets', async () => {
  const silent = await run('silent', 'establishedNanos: 80000000\n')
  const written = await run('written', 'establishedNanos: 80000000\nbacklogPackets: 1000\n')
  expect(silent.nodes).toEqual(written.nodes)
  expect(sumOf(silent.nodes, 'backlogDrops')).toBeGreaterThan(0)
})
