import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAxes } from '../../src/capacity/axes.ts'
import {
  type CapacityHooks,
  type CapacityOptions,
  type CapacityOutcome,
  measureCapacity,
} from '../../src/capacity/capacity.ts'
import { parseObjectives } from '../../src/capacity/objectives.ts'
import type { StateFile } from '../../src/capacity/state.ts'
import { UserError } from '../../src/errors.ts'
import { renderJson } from '../../src/report/json.ts'
import { type Asked, fakeMeasurer, figures, measurement } from './fixture.ts'

let folder = ''
let options: CapacityOptions
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'dpemu-capacity-test-'))
  mkdirSync(join(folder, 'm'))
  writeFileSync(
    join(folder, 'm', 'web.yaml'),
    `apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec: { replicas: 3, template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: web }] } } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: LoadBalancer, selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`,
  )
  writeFileSync(
    join(folder, 's.yaml'),
    JSON.stringify({
      name: 'web',
      seed: 5,
      duration: '10s',
      manifests: ['m'],
      traffic: [{ from: { external: { addresses: 9 } }, to: { service: 'web' }, arrivals: { rate: 1000 } }],
    }),
  )
  options = {
    scenario: join(folder, 's.yaml'),
    manifests: [],
    axes: [],
    knee: true,
    policies: ['cluster'],
    proxyModes: [],
    objectives: parseObjectives(['conntrackFraction < 80%']),
    tolerance: 0.02,
    connections: null,
    seed: null,
    seeds: 1,
    model: null,
    workers: 2,
  }
})
afterAll(() => rmSync(folder, { recursive: true }))

/** A table that is full at 10,000 connections a second, and settles in 60 s. */
function littlesTable({ rate, connections, policy }: Asked) {
  const durationSeconds = connections / rate
  const settled = durationSeconds >= 90
  const fill = (Math.min(60, durationSeconds) * rate) / 600_000
  const conntrackFraction = policy === 'local' ? fill / 2 : fill
  const culprit = { node: 'node-2', service: 'default/web:80', serviceShare: 1 }
  return measurement({
    connections,
    durationSeconds,
    settled,
    figures: figures({ conntrackFraction }),
    culprits: { conntrack: culprit, snat: null, cpu: null, pod: null, queue: null, drop: null },
  })
}

async function searched(
  change: Partial<CapacityOptions> = {},
  hooks: CapacityHooks = {},
): Promise<CapacityOutcome & { asked: Asked[] }> {
  const fake = fakeMeasurer(littlesTable)
  const outcome = await measureCapacity({ ...options, ...change }, { measurer: fake.make, ...hooks })
  return { ...outcome, asked: fake.asked }
}

function memoryFile(isOwn = false): StateFile & { text: string | null } {
  const file: StateFile & { text: string | null } = {
    path: 'state.json',
    isOwn,
    text: null,
    read: () => file.text,
    write: (text) => {
      file.text = text
    },
  }
  return file
}

describe('the search for a knee', () => {
  test('finds it where runs are long enough for tables to settle, and names what broke', async () => {
    const { report } = await searched({ policies: ['cluster', 'local'] })
    const [cluster, local] = report.cells
    expect(cluster!.knee!.connectionsPerSecond).toBeGreaterThan(8000 / 1.02)
    expect(cluster!.knee!.connectionsPerSecond).toBeLessThanOrEqual(8000)
    expect(local!.knee!.connectionsPerSecond).toBeGreaterThan(16_000 / 1.02)
    expect(cluster!.knee).toMatchObject({ outcome: 'found', holdsAgainAtConnectionsPerSecond: null })
    expect(cluster!.broke).toMatchObject([
      { objective: 'conntrackFraction < 80%', node: 'node-2', service: 'default/web:80', serviceShare: 1 },
    ])
    expect(cluster!.run!.settled).toBe(true)
    expect(report.scenario).toEqual({ name: 'web', seed: 5, connectionsPerSecond: 1000 })
  })

  test('a run that ends before the tables have settled is made longer, and no longer than needed', async () => {
    const { asked } = await searched({ objectives: parseObjectives(['conntrackFraction < 50%']) })
    const at = (rate: number): number[] =>
      asked.filter((one) => one.rate === rate).map(({ connections }) => connections)
    expect(at(1000)).toEqual([100_000])
    expect(at(2000)).toEqual([100_000, 200_000])
    expect(at(4000)).toEqual([200_000, 400_000])
    // It fails before the tables have settled: a longer run would fail as well.
    expect(at(8000)).toEqual([400_000])
  })

  test('with a number of connections every run has that number, and an answer that it is too few for is told', async () => {
    const { report, asked } = await searched({ connections: 50_000 })
    expect(new Set(asked.map(({ connections }) => connections))).toEqual(new Set([50_000]))
    // 50,000 entries never fill a table of 600,000.
    expect(report.cells[0]!.knee!.outcome).toBe('above')
    expect(report.warnings.map(({ code }) => code)).toContain('W_UNSETTLED')
  })

  test('objectives that do not hang on tables need no longer runs', async () => {
    const { asked, report } = await searched({ objectives: parseObjectives(['cpuFraction < 1']) })
    expect(new Set(asked.map(({ connections }) => connections))).toEqual(new Set([100_000]))
    expect(report.warnings).toEqual([])
  })

  test('where nothing holds', async () => {
    const { report } = await searched({ objectives: parseObjectives(['conntrackFraction < 0']) })
    expect(report.cells[0]).toMatchObject({ knee: { outcome: 'below', connectionsPerSecond: null }, run: null })
    expect(report.cells[0]!.broke).toHaveLength(1)
  })

  test('twice is the same bytes, on any number of lanes', async () => {
    const first = await searched({ policies: ['cluster', 'local'] })
    const fake = fakeMeasurer(async (asked) => {
      // Whoever is asked first answers last.
      await new Promise((resolve) => setTimeout(resolve, asked.policy === 'cluster' ? 3 : 0))
      return littlesTable(asked)
    }, 2)
    const second = await measureCapacity({ ...options, policies: ['cluster', 'local'] }, { measurer: fake.make })
    expect(renderJson(second.report)).toBe(renderJson(first.report))
  })

  test('progress never goes back, and ends at 1', async () => {
    const seen: number[] = []
    await searched({}, { onProgress: (fraction) => seen.push(fraction) })
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.at(-1)).toBe(1)
  })
})

describe('a sweep', () => {
  const constants = ['conntrackMax'] as const

  test('is one run a cell, with what its axes say', async () => {
    const axes = parseAxes(
      ['rate=1..2'],
      ['traffic[0].arrivals.process=constant', 'seed=8', 'policy=local,cluster'],
      constants,
    )
    const { report, asked } = await searched({ axes, knee: false, policies: [] })
    expect(report.cells.map(({ name }) => name)).toEqual([
      'rate=1, traffic[0].arrivals.process=constant, seed=8, policy=local',
      'rate=1, traffic[0].arrivals.process=constant, seed=8, policy=cluster',
      'rate=2, traffic[0].arrivals.process=constant, seed=8, policy=local',
      'rate=2, traffic[0].arrivals.process=constant, seed=8, policy=cluster',
    ])
    expect(asked.map(({ rate, policy }) => [rate, policy])).toEqual([
      [1000, 'local'],
      [1000, 'cluster'],
      [2000, 'local'],
      [2000, 'cluster'],
    ])
    expect(
      asked.every(({ scenario }) => scenario.seed === 8 && scenario.traffic[0]!.arrivals.process === 'constant'),
    ).toBe(true)
    expect(report.cells[2]).toMatchObject({
      parameters: { rate: 2, seed: 8 },
      knee: null,
      tried: [],
      run: { timesScenario: 2 },
    })
    expect(report.search).toBeNull()
  })

  test('of the cluster and the model changes their texts', async () => {
    const jobs: [number, string | null][] = []
    const fake = fakeMeasurer(littlesTable)
    const measurer = () => ({
      ...fake.make(),
      measure: async (...[lane, job, onProgress]: Parameters<ReturnType<typeof fake.make>['measure']>) => {
        jobs.push([job.manifests[0]!.text.match(/"kind":"Node"/g)?.length ?? 0, job.model])
        return fake.make().measure(lane, job, onProgress)
      },
    })
    const axes = parseAxes(['nodes=2..4:2', 'conntrackMax=500..500'], [], constants)
    await measureCapacity({ ...options, axes, knee: false }, { measurer })
    expect(jobs).toEqual([
      [2, '{"conntrackMax":500}'],
      [4, '{"conntrackMax":500}'],
    ])
  })

  test.each<[string[], string, string]>([
    [['conntrackMax=-1'], 'E_MODEL', 'conntrackMax is -1'],
    [['traffic[3].rtt=1'], 'E_SCENARIO_FIELD', 'traffic[3].rtt leads nowhere'],
    [['replicas.wob=3'], 'E_CAPACITY_REPLICAS', 'replicas.default/wob'],
  ])('%j is refused before anything runs', async (lists, code, message) => {
    const fake = fakeMeasurer(littlesTable)
    const axes = parseAxes([], lists, constants)
    const refused = await measureCapacity({ ...options, axes, knee: false }, { measurer: fake.make }).catch(
      (error: unknown) => error,
    )
    expect(refused).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(fake.asked).toEqual([])
  })

  test('an error of one run names its cell, and ends the others', async () => {
    const fake = fakeMeasurer((asked) => {
      if (asked.policy === 'local') throw new UserError('E_SCENARIO_FIELD', 'no such node', { where: 's.yaml' })
      return littlesTable(asked)
    })
    const failed = measureCapacity({ ...options, policies: ['cluster', 'local'] }, { measurer: fake.make })
    await expect(failed).rejects.toMatchObject({ code: 'E_SCENARIO_FIELD', where: 's.yaml, with policy=local' })
    expect(fake.closed).toBeGreaterThan(0)
  })
})

describe('interrupted', () => {
  test('it stops, closes what runs, and goes on from there to the same bytes', async () => {
    const file = memoryFile()
    const abort = new AbortController()
    const fake = fakeMeasurer((asked) => {
      if (fake.asked.length === 6) {
        abort.abort()
        throw new Error('a process of the search ended with SIGKILL')
      }
      return littlesTable(asked)
    })
    const first = measureCapacity(options, { measurer: fake.make, signal: abort.signal, state: () => file })
    await expect(first).rejects.toThrow('aborted')
    expect(fake.closed).toBeGreaterThan(0)

    const whole = await searched()
    const resumed = await searched({}, { state: () => file })
    expect(resumed.resumed).toBe(5)
    expect(resumed.asked).toEqual(whole.asked.slice(5))
    expect(renderJson(resumed.report)).toBe(renderJson(whole.report))

    const again = await searched({}, { state: () => file })
    expect([again.runs, again.asked]).toEqual([0, []])
    expect(renderJson(again.report)).toBe(renderJson(whole.report))
  })

  test.each<[string, Partial<CapacityOptions>]>([
    ['another tolerance', { tolerance: 0.1 }],
    ['another grid', { axes: parseAxes(['nodes=2..3'], [], []) }],
    ['another seed', { seed: 6 }],
    ['other objectives', { objectives: parseObjectives(['cpuFraction < 1']) }],
  ])('a state of %s is refused and left as it is', async (_, change) => {
    const file = memoryFile()
    await searched({}, { state: () => file })
    await expect(searched(change, { state: () => file })).rejects.toMatchObject({
      code: 'E_CAPACITY_STATE',
      exitCode: 2,
      where: 'state.json',
    })
    const { resumed } = await searched({}, { state: () => file })
    expect(resumed).toBeGreaterThan(0)
  })

  test('searches that differ in anything that counts keep their runs apart, others do not', async () => {
    const keys = async (change: Partial<CapacityOptions>): Promise<string> => {
      let key = ''
      await searched(change, {
        state: (fingerprint) => {
          key = fingerprint
          return null
        },
      })
      return key
    }
    const own = await keys({})
    expect(await keys({ workers: 7 })).toBe(own)
    const others = await Promise.all(
      [{ policies: ['local' as const] }, { tolerance: 0.1 }, { seed: 6 }, { connections: 50_000 }].map(keys),
    )
    expect(new Set([own, ...others]).size).toBe(5)
  })

  test.each(['', '{', 'null', '[]', '{"kind":"capacity-state"}', '{"kind":"bench","runs":{}}'])(
    '%j is no state',
    async (text) => {
      const file = memoryFile()
      file.text = text
      await expect(searched({}, { state: () => file })).rejects.toMatchObject({
        code: 'E_CAPACITY_STATE',
        message: 'this is no state of dpemu capacity',
      })
    },
  )
})
