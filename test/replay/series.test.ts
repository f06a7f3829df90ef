/**
 * The course of a run over time, held against a plain recount: a driver that puts packets through the core one at a time and looks
 * at the totals before and after each.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  DNS_TYPES,
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  REASONS,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_ATTEMPTED,
  TOTAL_BROKEN,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_NOT_SENT,
  TOTAL_OFFERED_BYTES,
  TOTAL_OFFERED_PACKETS,
} from '../../dist/native-free-core/index.js'
import type { ReplayOptions } from '../../src/replay/plan.ts'
import type { RunReport, SeriesReport } from '../../src/report/types.ts'
import { contentWith, writeRows } from '../trace/support.ts'
import { cluster, node, pod, service, stream } from './cluster.ts'
import {
  bundledTrace,
  drive,
  manifestFile,
  options,
  replayed,
  replayedOnce,
  resultText,
  temporaryFolder,
  traceOf,
} from './support.ts'

const folder = temporaryFolder()
const TICKS = 10_000_000
const traces = new Map<string, string>()
const BUNDLED = ['two-plus-one', 'affinity-1800', 'mysql', 'ingress-hosts'] as const

function full(entries: number): string {
  const path = join(folder, `model-${entries}.yaml`)
  writeFileSync(path, `conntrackMax: ${entries}\n`)
  return path
}

function courseOf(run: RunReport): SeriesReport {
  if (run.series === null) throw new Error('the run has no series')
  return run.series
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

function highest(levels: readonly number[]): number {
  return levels.reduce((most, level) => Math.max(most, level), 0)
}

type Recount = Pick<
  SeriesReport,
  | 'offered'
  | 'delivered'
  | 'failedConnections'
  | 'brokenConnections'
  | 'notSent'
  | 'dropsByReason'
  | 'endpoints'
  | 'dnsQueries'
>

/** Bin by bin, from what the totals of the core were before and after each packet. */
function recount(change: ReplayOptions, { series, endpoints }: RunReport): Recount {
  const { binSeconds, offered } = series!
  const bins = offered.packets.length
  const binTicks = Math.round(binSeconds * TICKS)
  const followed: { at: (core: ReturnType<typeof drive>['dataplane']) => number; into: number[]; known: number }[] = []
  const follow = (at: (typeof followed)[number]['at']): number[] => {
    const into = Array<number>(bins).fill(0)
    followed.push({ at, into, known: 0 })
    return into
  }
  const word = (place: number): number[] => follow(({ result }) => result[place])
  const counts = (packets: number, connections: number, bytes: number): SeriesReport['offered'] => ({
    packets: word(packets),
    connections: word(connections),
    bytes: word(bytes),
  })
  const ids = new Map<string, number>()
  const drops = REASONS.map(
    ({ code, name }) => [name, follow(({ result, layout }) => result[layout.reasons + code])] as const,
  )
  const recounted = {
    offered: counts(TOTAL_OFFERED_PACKETS, TOTAL_ATTEMPTED, TOTAL_OFFERED_BYTES),
    delivered: counts(TOTAL_ACCEPTED_PACKETS, TOTAL_ESTABLISHED, TOTAL_ACCEPTED_BYTES),
    failedConnections: word(TOTAL_FAILED),
    brokenConnections: word(TOTAL_BROKEN),
    notSent: word(TOTAL_NOT_SENT),
    endpoints: endpoints.map(({ service, endpoint }) => ({
      service,
      endpoint,
      connections: follow(({ result, layout }) => {
        const id = ids.get(`${service} ${endpoint}`)!
        return result[layout.endpoints + id * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS]
      }),
    })),
    dnsQueries: follow(({ result, layout }) => result[layout.dns + DNS_TYPES] + result[layout.dns + DNS_TYPES + 1]),
  }
  drive(change, ({ tick }, core, { registry }) => {
    if (ids.size === 0) {
      registry.endpoints.forEach(({ servicePort }, id) => {
        ids.set(`${registry.servicePortText(servicePort)} ${registry.endpointText(id)}`, id)
      })
    }
    const bin = Math.min(bins - 1, Math.floor(tick / binTicks))
    for (const one of followed) {
      const now = one.at(core)
      one.into[bin] += now - one.known
      one.known = now
    }
  })
  return {
    ...recounted,
    dropsByReason: Object.fromEntries(drops.filter(([, into]) => into.some((count) => count !== 0))),
  }
}

function countsOf(series: SeriesReport): Recount {
  const { offered, delivered, failedConnections, brokenConnections, notSent, dropsByReason, endpoints, dnsQueries } =
    series
  return { offered, delivered, failedConnections, brokenConnections, notSent, dropsByReason, endpoints, dnsQueries }
}

/** Counts and levels of the first so many bins, wherever they are; reasons that did not occur in them are left out. */
function firstBins(value: unknown, bins: number): unknown {
  if (Array.isArray(value))
    return typeof value[0] === 'number' ? value.slice(0, bins) : value.map((one) => firstBins(one, bins))
  if (typeof value !== 'object' || value === null) return value
  const fields = Object.entries(value).map(([name, one]) => [name, firstBins(one, bins)] as const)
  return Object.fromEntries(fields.filter(([name, one]) => name in COUNTS || !isZero(one)))
}

const COUNTS = { packets: 0, connections: 0, bytes: 0, service: 0, endpoint: 0 }

function isZero(value: unknown): boolean {
  return Array.isArray(value) && value.every((count) => count === 0)
}

/** Counts add up to the figures of the run, and levels reach its peaks. */
function addsUp(run: RunReport): void {
  const series = courseOf(run)
  const { packets } = series.offered
  const lists = [
    ...Object.values(series.offered),
    ...Object.values(series.delivered),
    ...Object.values(series.dropsByReason),
    ...Object.values(series.pathLatencyMicros),
    ...Object.values(series.requestsByStatus),
    ...series.nodes.flatMap(({ node: _, ...levels }) => Object.values(levels)),
    ...series.endpoints.map(({ connections }) => connections),
    series.failedConnections,
    series.brokenConnections,
    series.notSent,
    series.dnsQueries,
  ]
  expect(new Set(lists.map(({ length }) => length))).toEqual(new Set([packets.length]))
  expect(total(series.offered.connections)).toBe(run.connections.attempted)
  expect(total(series.delivered.connections)).toBe(run.connections.established)
  expect(total(series.failedConnections)).toBe(run.connections.failed)
  expect(total(series.brokenConnections)).toBe(run.connections.broken)
  expect(total(series.delivered.packets)).toBe(run.verdicts.accept)
  expect(total(series.notSent)).toBe(run.verdicts.notSent)
  expect(total(series.pathLatencyMicros.count)).toBe(run.pathLatencyMicros.packet.count)
  expect(total(series.dnsQueries)).toBe(run.dns.queries)
  const sums = (lists: Readonly<Record<string, number[]>>): Record<string, number> =>
    Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, total(list)]))
  expect(sums(series.dropsByReason)).toEqual(run.drops)
  expect(sums(series.requestsByStatus)).toEqual(run.ingress?.byStatus ?? {})
  expect(series.endpoints.map(({ service, endpoint, connections }) => [service, endpoint, total(connections)])).toEqual(
    run.endpoints.map(({ service, endpoint, connections }) => [service, endpoint, connections]),
  )
  expect(series.nodes.map(({ node, conntrackEntries }) => [node, highest(conntrackEntries)])).toEqual(
    run.nodes.map(({ node, conntrackPeak }) => [node, conntrackPeak]),
  )
  expect(series.nodes.map(({ sourcePorts }) => highest(sourcePorts))).toEqual(
    run.nodes.map(({ snatPortsPeak }) => snatPortsPeak),
  )
  expect(series.nodes.map(({ affinityEntries }) => highest(affinityEntries))).toEqual(
    run.nodes.map(({ affinityPeak }) => affinityPeak),
  )
  const { p50, p99 } = series.pathLatencyMicros
  series.pathLatencyMicros.count.forEach((count, bin) => {
    if (count === 0) expect([p50[bin], p99[bin]]).toEqual([null, null])
    else {
      expect(p99[bin]).toBeGreaterThanOrEqual(p50[bin]!)
      expect(p50[bin]).toBeGreaterThan(0)
    }
  })
}

beforeAll(async () => {
  for (const name of BUNDLED) traces.set(name, await bundledTrace(folder, name))
})

describe.each(BUNDLED)('%s', (name) => {
  it('the counts of the bins add up to those of the run, and its levels reach the peaks of the nodes', async () => {
    const { runs } = await replayed(traces.get(name)!)
    for (const run of runs) addsUp(run)
  })

  it('every bin is what a recount packet by packet finds', async () => {
    const change = options(traces.get(name)!, { policies: ['as-is'], shards: 1 })
    const { runs, changes } = await replayed(traces.get(name)!, { policies: ['as-is'], shards: 1 })
    const series = courseOf(runs[0])
    // What the recount does not have: queues that overflow, and changes of the cluster.
    expect(runs[0].drops['backlog-full'] ?? 0).toBe(0)
    const bins = changes.length === 0 ? 256 : Math.floor(changes[0] / series.binSeconds)
    expect(bins).toBeGreaterThan(100)
    expect(firstBins(countsOf(series), bins)).toEqual(firstBins(recount(change, runs[0]), bins))
  })
})

describe('a table of 3,000 entries that overflows', () => {
  it('is told at the time at which the table is first full, and is the same with 1, 2 and 7 workers', async () => {
    const texts = new Set<string>()
    for (const workers of [1, 2, 7]) {
      const report = await replayed(traces.get('two-plus-one')!, { model: full(3000), workers })
      texts.add(resultText(report))
      for (const run of report.runs) {
        addsUp(run)
        const { binSeconds, dropsByReason } = courseOf(run)
        const first = dropsByReason['conntrack-full']!.findIndex((packets) => packets > 0)
        const seconds = run.nodes.flatMap(({ conntrackFirstDropSeconds }) => conntrackFirstDropSeconds ?? [])
        // The run's first refusal is in milliseconds.
        const earliest = Math.min(...seconds)
        expect(earliest).toBeGreaterThanOrEqual(Math.floor(first * binSeconds * 1000) / 1000)
        expect(earliest).toBeLessThan((first + 1) * binSeconds)
      }
    }
    expect(texts.size).toBe(1)
  })
})

describe('any traffic', () => {
  it('of any length, in tables of any size, adds up and is the same for any number of workers', async () => {
    let made = 0
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          rate: fc.integer({ min: 5, max: 400 }),
          duration: fc.constantFrom('5ms', '50ms', '1s', '7s', '90s'),
          entries: fc.constantFrom(64, 200, 100_000),
          sessionAffinity: fc.constantFrom('None', 'ClientIP'),
          shards: fc.constantFrom(1, 4, 16),
          policies: fc.constantFrom(['cluster'] as const, ['local'] as const),
        }),
        async ({ rate, duration, entries, sessionAffinity, shards, policies }) => {
          const scenario = { seed: 5, duration, traffic: [stream({ rate: duration === '90s' ? rate / 5 : rate })] }
          const trace = await traceOf(folder, `any-${made++}`, scenario, cluster(service({ sessionAffinity }))).catch(
            () => null,
          )
          // In five milliseconds there may be no connection.
          if (trace === null) return
          const settings = { policies, shards, model: full(entries) }
          const one = await replayed(trace, { ...settings, workers: 1 })
          addsUp(one.runs[0])
          expect(resultText(await replayed(trace, { ...settings, workers: 7 }))).toBe(resultText(one))
          if (shards > 1 || entries < 100_000) return
          const change = options(trace, { ...settings, policies })
          expect(countsOf(courseOf(one.runs[0]))).toEqual(recount(change, one.runs[0]))
        },
      ),
      { seed: 20_311, numRuns: 30 },
    )
  })

  it('of a few ticks has as many bins as ticks at most', async () => {
    const content = contentWith(1)
    const path = join(folder, 'ticks.msgpack')
    const rows = [0, 0, 3, 5, 6].map((tick) => ({ connection: 0, tick, flags: 2, length: 60 }))
    writeRows(path, content, [{ client: 0, destination: 0, sourcePort: 50_000 }], rows, 16)
    const manifests = [manifestFile(folder, 'ticks', cluster())]
    const { series } = await replayedOnce(path, { manifests })
    expect(series?.offered.packets).toEqual([2, 0, 0, 1, 0, 2])
    expect(series?.binSeconds).toBe(1e-7)
  })
})

describe('how much of it there is', () => {
  it('a run is the same without, but for its series', async () => {
    const withSeries = await replayedOnce(traces.get('affinity-1800')!)
    const without = await replayedOnce(traces.get('affinity-1800')!, { series: false })
    expect(without).toEqual({ ...withSeries, series: null })
  })

  it('bins are a 256th of the trace each', async () => {
    const { trace, runs } = await replayed(traces.get('two-plus-one')!)
    const { binSeconds, offered } = courseOf(runs[0])
    expect(offered.packets).toHaveLength(256)
    expect(binSeconds * 256).toBeCloseTo(trace.durationSeconds, 4)
  })

  it('of many nodes and endpoints the 256 that matter most are listed, and the others are counted', async () => {
    const numbers = Array.from({ length: 300 }, (_, i) => i)
    const objects = [
      ...numbers.map((i) => ({
        ...node(`wide-${i}`, i & 255),
        spec: { podCIDR: `10.${244 + (i >> 8)}.${i & 255}.0/24` },
        status: { addresses: [{ type: 'InternalIP', address: `192.168.${40 + (i >> 7)}.${1 + (i & 127)}` }] },
      })),
      ...numbers.map((i) => pod(`web-${i}`, `wide-${i}`, `10.${244 + (i >> 8)}.${i & 255}.10`)),
      service(),
    ]
    const trace = await traceOf(folder, 'wide', { seed: 5, duration: '2s', traffic: [stream({ rate: 300 })] }, objects)
    const run = await replayedOnce(trace)
    const series = courseOf(run)
    expect([series.nodes.length, series.nodesLeftOut]).toEqual([256, run.nodes.length - 256])
    expect([series.endpoints.length, series.endpointsLeftOut]).toEqual([256, run.endpoints.length - 256])
    const listed = new Set(series.endpoints.map(({ endpoint }) => endpoint))
    const least = Math.min(...series.endpoints.map(({ connections }) => total(connections)))
    for (const { endpoint, connections } of run.endpoints) {
      if (!listed.has(endpoint)) expect(connections).toBeLessThanOrEqual(least)
    }
  })
})
