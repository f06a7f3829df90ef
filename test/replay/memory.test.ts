/**
 * A trace larger than memory streams: what a replay needs does not grow with the length of the trace, and it runs in a heap
 * a tenth of the file's size.
 */
import { statSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import type { ReplayReport } from '../../src/report/types.ts'
import { cluster, stream } from './cluster.ts'
import { dpemu, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const MIB = 2 ** 20
const HEAP_MIB = 16
/** What the allocator and the collector may do differently from run to run. */
const SLACK_BYTES = 32 * MIB

/** About 700 connections are open at any time; only how long this goes on differs. */
async function trace(name: string, seconds: number): Promise<string> {
  const steady = { requests: 600, requestBytes: 100, responseBytes: 100, thinkTime: '1ms' }
  const scenario = { seed: 5, duration: `${seconds}s`, traffic: [stream({ rate: 100 }, steady)] }
  return traceOf(folder, name, scenario, cluster())
}

function replayInLittle(path: string): ReplayReport {
  const { code, stdout, stderr } = dpemu(
    ['replay', path, '-o', 'json', '-q', '--policy', 'local', '--workers', '2'],
    [`--max-old-space-size=${HEAP_MIB}`],
  )
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return JSON.parse(stdout) as ReplayReport
}

describe('memory', () => {
  let shortBytes: number
  let longBytes: number
  let short: ReplayReport
  let long: ReplayReport
  beforeAll(async () => {
    const paths = [await trace('short', 10), await trace('long', 110)]
    ;[shortBytes, longBytes] = paths.map((path) => statSync(path).size)
    ;[short, long] = paths.map(replayInLittle)
  })

  it(`a trace of more than ten times the heap of ${HEAP_MIB} MiB is replayed to its end`, () => {
    expect(longBytes).toBeGreaterThan(10 * HEAP_MIB * MIB)
    expect(long.runs[0].connections.established).toBe(long.trace.connections)
    expect(long.runs[0].verdicts.accept).toBe(long.trace.packets)
  })

  it('ten times the packets need no more memory', () => {
    expect(long.trace.packets).toBeGreaterThan(9 * short.trace.packets)
    // Were the trace held, this much more would be needed, many times the slack.
    expect(longBytes - shortBytes).toBeGreaterThan(4 * SLACK_BYTES)
    expect(long.engine.peakRssBytes).toBeLessThan(short.engine.peakRssBytes + SLACK_BYTES)
  })
})
