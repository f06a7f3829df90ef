/**
 * Little's law: entries = rate × life. The scenarios time-wait, snat-ports and udp-one-shot, and the same traffic just below.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { replay } from '../../dist/src/replay/replay.js'
import type { NodeReport } from '../../src/report/types.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { options, sharedPool } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-little-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The one node's figures when a bundled scenario runs at another rate for so many seconds. */
async function run(scenario: string, rate: number, seconds: number, shards = 16): Promise<NodeReport> {
  const source = resolve('traces', scenario)
  const text = readFileSync(join(source, 'scenario.yaml'), 'utf8')
    .replace(/rate: \d+/, `rate: ${rate}`)
    .replace(/duration: \d+s/, `duration: ${seconds}s`)
    .replace('manifests: [manifests]', `manifests: ['${join(source, 'manifests')}']`)
  const path = join(folder, `${scenario}-${rate}.yaml`)
  writeFileSync(path, text)
  const trace = `${path}.msgpack`
  await generateTrace({ scenarioPath: path, output: trace })
  const report = await replay(options(trace, { policies: ['as-is'], shards }), { pool: sharedPool(2) })
  return report.runs[0]!.nodes[0]!
}

test('time-wait: 1,092 short connections a second fit into 131,072 entries, for ever', async () => {
  const node = await run('time-wait', 1080, 200)
  expect(node.conntrackDrops).toBe(0)
  // 1080 × 120 s and a little for the connection itself and the sweep.
  expect(node.conntrackPeak).toBeGreaterThan(1080 * 120 * 0.995)
  expect(node.conntrackPeak).toBeLessThan(1080 * 122)
})

test('time-wait: at 1,150 a second the table is full after 131,072 / 1,150 = 114 s, and names its Service', async () => {
  const node = await run('time-wait', 1150, 130)
  expect(node.conntrackPeak).toBe(131_072)
  expect(node.conntrackFirstDropSeconds).toBeGreaterThan(113)
  expect(node.conntrackFirstDropSeconds).toBeLessThan(115)
  expect(node.conntrackDrops).toBeGreaterThan(6000)
  expect(node.conntrackHolders[0]).toEqual({ service: 'default/web:http', entries: 131_072, share: 1 })
})

test('time-wait: sixteen shards agree with one: first drop and peak within 1 %, drops within 2 %', async () => {
  const [sharded, exact] = [await run('time-wait', 1150, 130), await run('time-wait', 1150, 130, 1)]
  expect(Math.abs(sharded.conntrackFirstDropSeconds! / exact.conntrackFirstDropSeconds! - 1)).toBeLessThan(0.01)
  expect(Math.abs(sharded.conntrackPeak / exact.conntrackPeak - 1)).toBeLessThan(0.01)
  expect(Math.abs(sharded.conntrackDrops / exact.conntrackDrops - 1)).toBeLessThan(0.02)
})

test('snat-ports: sixteen shards agree with one: ports within 1 %', async () => {
  const [sharded, exact] = [await run('snat-ports', 600, 130), await run('snat-ports', 600, 130, 1)]
  expect(Math.abs(sharded.snatPortsPeak / exact.snatPortsPeak - 1)).toBeLessThan(0.01)
})

test('snat-ports: 538 masqueraded connections a second use the 64,512 ports of one destination, 500 do not', async () => {
  const below = await run('snat-ports', 500, 150)
  // At 93 % of the range some ports are taken over from closing connections already.
  expect(below.snatPortsPeak).toBeGreaterThan(500 * 120 * 0.98)
  expect(below.snatPortsPeak).toBeLessThan(500 * 121)
  expect(below.snatExhausted).toBe(0)
  const above = await run('snat-ports', 600, 130)
  // Taking over the ports of closing connections begins before the last port is found.
  expect(above.snatPortsPeak).toBeGreaterThan(64_512 * 0.97)
  expect(above.snatPortsPeak).toBeLessThanOrEqual(64_512)
  expect(above.conntrack.found).toBeGreaterThan(below.conntrack.found * 2)
})

test('udp-one-shot: 4,369 datagrams a second fill the table; early drop makes room and nothing is lost', async () => {
  const below = await run('udp-one-shot', 4200, 40)
  expect(below.conntrackPeak).toBeLessThan(131_072)
  expect(below.earlyDrops).toBe(0)
  const above = await run('udp-one-shot', 4500, 40)
  expect(above.conntrackPeak).toBe(131_072)
  expect(above.earlyDrops).toBeGreaterThan(5_000)
  expect(above.conntrackDrops).toBeLessThan(20)
})
