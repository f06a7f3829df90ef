/** Parts merged are what one machine would have printed, byte for byte. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseAxes } from '../../src/capacity/axes.ts'
import { type CapacityOptions, measureCapacity } from '../../src/capacity/capacity.ts'
import { parseObjectives } from '../../src/capacity/objectives.ts'
import { measureCapacityPart } from '../../src/capacity/part.ts'
import type { StateFile } from '../../src/capacity/state.ts'
import { runMerge } from '../../src/commands/merge.ts'
import { type RolloutOptions, runRollout } from '../../src/commands/rollout.ts'
import { UserError } from '../../src/errors.ts'
import { partText } from '../../src/parts/part.ts'
import { renderJson } from '../../src/report/json.ts'
import { fakeMeasurer, figures, measurement } from '../capacity/fixture.ts'
import { fakeIo } from '../cli/fake-io.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const FOLDER = mkdtempSync(join(tmpdir(), 'dpemu-merge-'))
afterAll(() => rmSync(FOLDER, { recursive: true }))

async function merged(parts: readonly string[], format = 'json', more: object = {}): Promise<[number, string]> {
  const io = fakeIo()
  const code = await runMerge({ parts, threshold: [], output: [format], quiet: true, ...more }, io)
  return [code, io.written.stdout]
}

async function codeOf(run: Promise<unknown>): Promise<string> {
  try {
    await run
  } catch (error) {
    if (error instanceof UserError) return `${error.code}: ${error.message}`
    throw error
  }
  return ''
}

describe('a rollout', () => {
  const BASE: RolloutOptions = {
    manifests: [join(ROOT, 'traces/rollout-nlb/manifests')],
    timeline: join(ROOT, 'traces/rollout-nlb/timeline.yaml'),
    runs: '25',
    rate: '60/s',
    safe: false,
    threshold: [],
    output: [],
    quiet: true,
  }

  async function whole(format: string, change: Partial<RolloutOptions> = {}): Promise<string> {
    const io = fakeIo()
    await runRollout({ ...BASE, output: [format], ...change }, io)
    return io.written.stdout
  }

  async function parts(count: number, change: Partial<RolloutOptions> = {}): Promise<string[]> {
    const paths: string[] = []
    for (let index = 1; index <= count; index++) {
      const path = join(FOLDER, `rollout-${index}-of-${count}.json`)
      const io = fakeIo()
      await runRollout({ ...BASE, shard: `${index}/${count}`, output: [`part=${path}`], ...change }, io)
      expect(io.written.stdout).toBe('')
      paths.push(path)
    }
    return paths
  }

  test.each([1, 3, 4])('in %i parts, in every view', async (count) => {
    const made = await parts(count)
    for (const format of ['json', 'text', 'markdown']) {
      expect(await merged([...made].reverse(), format)).toEqual([0, await whole(format)])
    }
  })

  test.each(['rollout-crash', 'rollout-daemonset', 'rollout-neg'])('%s, in more parts than runs', async (name) => {
    const change = {
      manifests: [join(ROOT, 'traces', name, 'manifests')],
      timeline: join(ROOT, 'traces', name, 'timeline.yaml'),
      runs: '3',
    }
    expect((await merged(await parts(5, change)))[1]).toBe(await whole('json', change))
  })

  test('thresholds are judged when it is merged', async () => {
    const made = await parts(2)
    expect((await merged(made, 'json', { threshold: ['runs == 25'] }))[0]).toBe(0)
    expect((await merged(made, 'json', { threshold: ['runs == 24'] }))[0]).toBe(99)
  })

  test('parts of another seed, rate or workload are not merged', async () => {
    const [one] = await parts(2)
    const ANNOTATED = join(FOLDER, 'annotated')
    cpSync(BASE.manifests[0]!, ANNOTATED, { recursive: true })
    const [name] = readdirSync(ANNOTATED)
    writeFileSync(join(ANNOTATED, name!), `# changed\n${readFileSync(join(ANNOTATED, name!), 'utf8')}`)
    for (const [change, what] of [
      [{ seed: '7' }, 'seed'],
      [{ rate: '61/s' }, 'options'],
      [{ runs: '26' }, 'runs'],
      [{ manifests: [ANNOTATED] }, 'manifests'],
    ] as const) {
      const other = join(FOLDER, 'other.json')
      await runRollout({ ...BASE, ...change, shard: '2/2', output: [`part=${other}`] }, fakeIo())
      expect(await codeOf(merged([one!, other]))).toBe(
        `E_PART: it is of another run than ${one}: they differ in ${what}`,
      )
    }
  })

  test('what is about the whole report waits for merge; a search is not split', async () => {
    const refused = (change: Partial<RolloutOptions>): Promise<string> =>
      codeOf(runRollout({ ...BASE, shard: '1/2', ...change }, fakeIo()))
    expect(await refused({ threshold: ['runs == 1'] })).toMatch(/E_USAGE: --threshold is about the whole report/)
    expect(await refused({ output: ['json'] })).toMatch(/E_USAGE: -o json: with --shard a part is written/)
    expect(await refused({ safe: true })).toMatch(/E_USAGE: --safe is one search/)
    expect(await codeOf(runRollout({ ...BASE, output: ['part=x'] }, fakeIo()))).toMatch(/E_USAGE: -o part=x/)
  })
})

describe('a capacity run', () => {
  let options: CapacityOptions
  /** A run fails above a rate of its own; what it measures hangs on all that it was asked for. */
  const fake = (): ReturnType<typeof fakeMeasurer> =>
    fakeMeasurer(({ rate, connections, policy, scenario }) => {
      const limit = policy === 'local' ? 3000 : 2000
      const fraction = (rate / limit) * 0.8 + scenario.seed / 1e12
      return measurement({
        connections: Number.isFinite(connections) ? connections : 100,
        figures: figures({ conntrackFraction: fraction, maxOverMean: 1 / 3 + scenario.seed / 1e9 }),
        warnings: [
          { code: 'W_X', where: policy, message: 'odd' },
          { code: 'W_X', where: 'all', message: 'odd' },
        ],
      })
    })

  beforeAll(() => {
    const scenario = join(FOLDER, 's.yaml')
    writeFileSync(
      join(FOLDER, 'web.yaml'),
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
      scenario,
      JSON.stringify({
        name: 'web',
        seed: 5,
        duration: '10s',
        manifests: ['web.yaml'],
        traffic: [{ from: { external: { addresses: 9 } }, to: { service: 'web' }, arrivals: { rate: 1000 } }],
      }),
    )
    options = {
      ...{ scenario, manifests: [], axes: [], knee: true, policies: ['cluster', 'local'], proxyModes: [] },
      objectives: parseObjectives(['conntrackFraction < 80%']),
      ...{ tolerance: 0.02, connections: null, seed: null, seeds: 1, model: null, workers: 1 },
    }
  })

  async function parts(count: number, settings: CapacityOptions): Promise<{ paths: string[]; runs: number[] }> {
    const paths: string[] = []
    const runs: number[] = []
    for (let index = 1; index <= count; index++) {
      const measurer = fake()
      const hooks = { measurer: measurer.make }
      const { head, body } = await measureCapacityPart(settings, { index, count }, () => false, hooks)
      const path = join(FOLDER, `capacity-${index}-of-${count}.json`)
      writeFileSync(path, partText(head, body))
      paths.push(path)
      runs.push(measurer.asked.length)
    }
    return { paths, runs }
  }

  const sweep = (): CapacityOptions => ({
    ...options,
    knee: false,
    axes: parseAxes(['rate=1..4:1'], [], []),
    seeds: 3,
  })

  test.each<[string, () => CapacityOptions]>([
    ['a search', () => options],
    ['a search with seeds', () => ({ ...options, seeds: 4 })],
    ['a sweep with seeds', sweep],
    ['a sweep of searches', () => ({ ...options, axes: parseAxes(['nodes=2..4:1'], [], []) })],
  ])('%s: the report of one machine, and no run made twice', async (_what, settings) => {
    const measurer = fake()
    const one = await measureCapacity(settings(), { measurer: measurer.make })
    for (const count of [1, 2, 5]) {
      const { paths, runs } = await parts(count, settings())
      expect((await merged(paths))[1]).toBe(renderJson(one.report))
      expect(runs.reduce((sum, each) => sum + each, 0)).toBe(measurer.asked.length)
    }
  })

  test('cells are dealt out by what they cost: of four rates the dearest alone weighs as much as the others', async () => {
    const settings = {
      ...options,
      knee: false,
      policies: ['local'] as const,
      axes: parseAxes([], ['rate=1,2,3,6'], []),
    }
    const { runs } = await parts(2, settings)
    expect(runs).toEqual([1, 3])
  })

  test('a pod that is started again makes no run that its state has, and nothing where its part is there', async () => {
    let kept: string | null = null
    const state: StateFile = {
      ...{ path: 'state.json', isOwn: true, read: () => kept },
      write: (text) => {
        kept = text
      },
    }
    const shard = { index: 1, count: 2 }
    const dying = fake()
    const killed = measureCapacityPart(sweep(), shard, () => false, {
      state: () => state,
      measurer: () => {
        const measurer = dying.make()
        return {
          ...measurer,
          measure: (lane, job, onProgress) => {
            if (dying.asked.length === 5) throw new Error('killed')
            return measurer.measure(lane, job, onProgress)
          },
        }
      },
    })
    await expect(killed).rejects.toThrow('killed')
    const again = fake()
    const outcome = await measureCapacityPart(sweep(), shard, () => false, { state: () => state, measurer: again.make })
    expect([outcome.resumed, again.asked.length]).toEqual([5, 12 - 5])
    const idle = fake()
    const { body } = await measureCapacityPart(sweep(), shard, () => true, { measurer: idle.make })
    expect([body, idle.asked.length]).toEqual([null, 0])
  })

  test.each<[string, (settings: CapacityOptions) => CapacityOptions, string]>([
    ['a seed', (settings) => ({ ...settings, seed: 9 }), 'seed and seeds'],
    ['objectives', (settings) => ({ ...settings, objectives: parseObjectives(['p99 < 1ms']) }), 'options'],
    ['rates', (settings) => ({ ...settings, axes: parseAxes(['rate=1..5:1'], [], []) }), 'options'],
  ])('parts of other %s are not merged', async (_what, change, differing) => {
    const { paths } = await parts(2, sweep())
    const other = await measureCapacityPart(change(sweep()), { index: 2, count: 2 }, () => false, {
      measurer: fake().make,
    })
    const path = join(FOLDER, 'foreign.json')
    writeFileSync(path, partText(other.head, other.body))
    expect(await codeOf(merged([paths[0]!, path]))).toBe(
      `E_PART: it is of another run than ${paths[0]}: they differ in ${differing}`,
    )
  })

  test('a view that the command has not is refused', async () => {
    const { paths } = await parts(1, sweep())
    expect(await codeOf(merged(paths, 'dot'))).toMatch(/E_USAGE: -o dot/)
    expect((await merged(paths, 'csv', { columns: ['maxOverMean'] }))[1]).toContain('maxOverMean')
  })
})

test('nothing else is written', () => {
  expect(readdirSync(FOLDER).filter((name) => !/\.(json|yaml)$/.test(name))).toEqual(['annotated'])
  expect(readFileSync(join(FOLDER, 's.yaml'), 'utf8')).toContain('web')
})
