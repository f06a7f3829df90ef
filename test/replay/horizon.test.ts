/** How long a run may be: times are milliseconds in 32 bits, and what does not fit is refused, never wrong. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { beyondHorizon, cutTimeout, LAST_MS } from '../../src/compile/horizon.ts'
import { parseScenario } from '../../src/trace/scenario.ts'
import { cluster, stream } from './cluster.ts'
import { replayed, temporaryFolder, traceOf } from './support.ts'

const DAY_MS = 86_400_000
const folder = temporaryFolder()

describe('timeouts', () => {
  it.each([
    ['an ordinary one stays as it is', 120_000, 60_000, 120_000],
    ['one that fits stays, longer than the run or not', 20 * DAY_MS, 2 * DAY_MS, 20 * DAY_MS],
    ['one that would wrap ends just after the run', 24 * DAY_MS, 2 * DAY_MS, 2 * DAY_MS + 1],
    [
      'one that would wrap and could end within the run stays, and the run is refused',
      3 * DAY_MS,
      23 * DAY_MS,
      3 * DAY_MS,
    ],
  ])('%s', (_, ms, endMs, expected) => expect(cutTimeout(ms, endMs)).toBe(expected))

  it.each([
    [30 * DAY_MS, [120_000], LAST_MS - 120_000],
    [23 * DAY_MS, [3 * DAY_MS, 10], LAST_MS - 3 * DAY_MS],
    [20 * DAY_MS, [DAY_MS], null],
  ])('a run of %i ms', (endMs, timeouts, expected) => expect(beyondHorizon(endMs, timeouts)).toBe(expected))
})

/** Connections 10.5 days apart. */
async function trace(connections: number): Promise<string> {
  const traffic = [stream({ process: 'constant', rate: 1.1e-6 })]
  return await traceOf(folder, `far-apart-${connections}`, { connections, traffic }, cluster())
}

it('a run of ten days with a timeout of 23 days counts every packet', async () => {
  const model = join(folder, 'long.yaml')
  writeFileSync(model, 'tcpEstablishedSeconds: 2000000\n')
  const { runs, trace: summary } = await replayed(await trace(2), { model })
  expect(summary.durationSeconds).toBeGreaterThan(10 * 86_400)
  for (const { verdicts, connections } of runs) {
    expect(connections).toMatchObject({ attempted: 2, established: 2 })
    expect(verdicts.accept).toBe(summary.packets)
  }
})

it('a trace of more than 24 days is refused with the limit', async () => {
  await expect(trace(4).then((path) => replayed(path))).rejects.toMatchObject({
    code: 'E_TRACE_TOO_LONG',
    message: expect.stringMatching(/lasts \d+\.\d days; with this cluster's timeouts a run can last 2\d\.\d days/),
  })
})

it.each([
  ['duration: 30d', /duration/],
  ['duration: 720h', /duration must be at most 24 days/],
])('a scenario with %s names the field', (text, message) => {
  expect(() =>
    parseScenario(
      `name: x\n${text}\ntraffic: [{ from: { external: { cidr: 198.18.0.0/16, addresses: 1 } }, to: [{ service: web }] }]`,
      's.yaml',
    ),
  ).toThrow(message)
})

it('a scenario that asks for a trillion connections is refused', () => {
  const text = JSON.stringify({
    name: 'x',
    duration: '20h',
    traffic: [stream({ rate: 1e7 })],
  })
  expect(() => parseScenario(text, 's.yaml')).toThrow(
    /arrivals come to about 720000000000 connections; a scenario has at most/,
  )
})
