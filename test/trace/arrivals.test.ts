/** What a rate of connections is taken over: the time in which they begin. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { arrivalSeconds } from '../../src/trace/arrivals.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { openTrace } from '../../src/trace/read.ts'
import { temporaryFolder } from '../replay/support.ts'

const folder = temporaryFolder()
const MANIFESTS = join(import.meta.dirname, '../../traces/two-plus-one/manifests')

async function spanOf(
  name: string,
  arrivals: object,
  more: object = {},
): Promise<{ span: number; connections: number; duration: number }> {
  const scenario = join(folder, `${name}.yaml`)
  const stream = { from: { external: { addresses: 50 } }, to: { service: 'web' }, arrivals, ...more }
  writeFileSync(scenario, JSON.stringify({ name, seed: 3, duration: '20s', manifests: [MANIFESTS], traffic: [stream] }))
  const output = join(folder, `${name}.msgpack`)
  await generateTrace({ scenarioPath: scenario, output, manifests: [] })
  const trace = openTrace(output)
  try {
    const { connections, durationTicks } = trace.totals
    return { span: arrivalSeconds(trace), connections, duration: durationTicks / 1e7 }
  } finally {
    trace.close()
  }
}

test('clients that come for 20 s and stay for minutes: the rate is that of their coming', async () => {
  const stays = { requests: 30, thinkTime: '4s' }
  const { span, connections, duration } = await spanOf('stay', { process: 'constant', rate: 50 }, stays)
  expect(duration).toBeGreaterThan(60)
  expect(connections / span).toBeCloseTo(50, 6)
})

test('how long a run is does not change the rate', async () => {
  const { span, connections } = await spanOf('short', { process: 'constant', rate: 2 })
  expect(connections / span).toBeCloseTo(2, 6)
})
