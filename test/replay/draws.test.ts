/** `--seeds` and `--placements` end to end: what is drawn, that it is the same each time, and what cannot be drawn. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { beforeAll, describe, expect, it } from 'vitest'
import { replayDraws } from '../../dist/src/replay/draws.js'
import { mergeDraws } from '../../src/report/draws.ts'
import { renderJson } from '../../src/report/json.ts'
import type { ReplayReport } from '../../src/report/types.ts'
import { cluster, NODES, stream } from './cluster.ts'
import { dpemu, options, ROOT, replayed, resultText, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()

/** Three pods for two nodes: which has two of them is a tie. */
function deployment(spec: object = {}): object[] {
  return [
    ...NODES,
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web' },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: { containers: [{ name: 'web', ports: [{ containerPort: 8080 }] }], ...spec },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web' },
      spec: { type: 'LoadBalancer', selector: { app: 'web' }, ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.10' }] } },
    },
  ]
}

const SCENARIO = { seed: 7, duration: '10s', traffic: [stream({ rate: 60 })] }

async function drawn(trace: string, seeds: number, placements: number, change: object = {}): Promise<ReplayReport> {
  return mergeDraws(await replayDraws(options(trace, change), { seeds, placements }))
}

let trace = ''
let placed = ''

beforeAll(async () => {
  trace = await traceOf(folder, 'seeds', SCENARIO, cluster())
  placed = await traceOf(folder, 'placed', SCENARIO, deployment())
})

describe('seeds', () => {
  it('the first draw is the replay as it is, the others have other connections', async () => {
    const { reports, seeds } = await replayDraws(options(trace), { seeds: 3, placements: 1 })
    const { given: _, ...alone } = await replayed(trace)
    expect(resultText(reports[0]!)).toBe(resultText(alone))
    expect(seeds[0]).toBe(7)
    expect(new Set(seeds).size).toBe(3)
    expect(new Set(reports.map(({ trace: { bytes } }) => bytes)).size).toBe(3)
  })

  it('a drawn trace is the one that generate makes of that seed', async () => {
    const { reports, seeds } = await replayDraws(options(trace), { seeds: 2, placements: 1 })
    const again = await traceOf(folder, 'again', { ...SCENARIO, seed: seeds[1] }, cluster())
    const { given: _, ...alone } = await replayed(again)
    // The course of a run over time is that of the first draw.
    expect(reports[1]!.runs).toEqual(alone.runs.map((run) => ({ ...run, series: null })))
  })

  it('the same for any number of workers, and from one time to the next', async () => {
    const texts = await Promise.all([1, 2, 3].map(async (workers) => resultText(await drawn(trace, 3, 1, { workers }))))
    expect(new Set(texts).size).toBe(1)
  })

  it('--seed is the base', async () => {
    const merged = await drawn(trace, 2, 1, { seed: 99 })
    expect(merged.draws!.seeds[0]).toBe(99)
    expect(merged.draws!.seeds[1]).not.toBe((await drawn(trace, 2, 1)).draws!.seeds[1])
  })
})

describe('placements', () => {
  it('of pods that no manifest puts anywhere: each is one that the scheduler could have made', async () => {
    const merged = await drawn(placed, 1, 12)
    const { placements, count } = merged.draws!
    expect(count).toBe(12)
    const owner = 'Deployment default/web'
    const spreads = placements.map(({ pods }) => Object.values(pods[owner]!).sort())
    for (const counts of spreads) {
      expect(counts.reduce((sum, pods) => sum + pods, 0)).toBe(3)
      // The default spread keeps them apart as far as it goes.
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
    }
    const where = new Set(placements.map(({ pods }) => JSON.stringify(pods[owner])))
    expect(where.size).toBeGreaterThan(1)
    expect(merged.derived.some(({ object, what }) => object === owner && /^in placement 1: /.test(what))).toBe(true)
  })

  it('under the same connections', async () => {
    const { reports } = await replayDraws(options(placed), { seeds: 1, placements: 3 })
    expect(new Set(reports.map(({ trace: one }) => JSON.stringify(one))).size).toBe(1)
  })

  it('with seeds: each with each, and the JSON fits its schema', async () => {
    const merged = await drawn(placed, 2, 3)
    expect(merged.draws).toMatchObject({ count: 6 })
    expect(merged.draws!.each).toHaveLength(6)
    const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(
      JSON.parse(readFileSync(join(ROOT, 'schemas', 'replay.schema.json'), 'utf8')),
    )
    validate(JSON.parse(renderJson(merged)))
    expect(validate.errors ?? []).toEqual([])
  })

  it('where every pod has its node there is nothing to draw, which is said', async () => {
    const { reports } = await replayDraws(options(trace), { seeds: 1, placements: 2 })
    expect(reports[0]!.warnings.map(({ code }) => code)).toContain('W_PLACEMENTS')
    expect(reports[0]!.runs.map((run) => ({ ...run, series: null }))).toEqual(reports[1]!.runs)
  })
})

describe('the command', () => {
  it('says medians and ranges, and thresholds are held against the medians', () => {
    const { code, stdout } = dpemu([
      ...['replay', trace, '--seeds', '3', '-q'],
      ...['--threshold', 'runs[policy=local].connections.failed == 0'],
    ])
    expect(code).toBe(0)
    expect(stdout).toContain('medians of 3 seeds')
    expect(stdout).toContain('Thresholds, on the medians of 3 seeds')
  })

  it.each([
    [['--seeds', '0'], '--seeds must be a whole number from 1 to 1000'],
    [['--placements', 'x'], '--placements must be a whole number from 1 to 1000'],
    [['--seeds', '50', '--placements', '50'], '50 seeds with 50 placements each are 2500 replays; 1000 are the most'],
    [['--seeds', '2', '--dump-conntrack', 'node-a@1'], '--dump-conntrack is about one replay'],
  ])('%j is refused', (flags, message) => {
    const { code, stderr } = dpemu(['replay', trace, '-q', ...flags])
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)])
  })

  it('leaves no trace of the traces that it made', () => {
    const before = readFileSync(trace)
    const own = join(folder, 'tmp')
    writeFileSync(join(folder, 'keep'), '')
    const { code } = dpemu(['replay', trace, '--seeds', '2', '-q', '-o', `json=${own}.json`])
    expect(code).toBe(0)
    expect(readFileSync(trace).equals(before)).toBe(true)
    expect(JSON.parse(readFileSync(`${own}.json`, 'utf8')).draws.seeds).toHaveLength(2)
  })
})
