import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { CapacityHooks, CapacityOptions, CapacityOutcome } from '../../src/capacity/capacity.ts'
import { type CapacityCommandOptions, runCapacity } from '../../src/commands/capacity.ts'
import { UserError } from '../../src/errors.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { capacityReport } from './fixture.ts'

const measureCapacity = vi.hoisted(() => vi.fn())
vi.mock('../../src/capacity/capacity.ts', () => ({ measureCapacity }))

type Measure = (options: CapacityOptions, hooks: Required<CapacityHooks>) => Promise<CapacityOutcome>
const does = (measure: Measure): void => void measureCapacity.mockImplementation(measure)
const outcome = (change: Partial<CapacityOutcome> = {}): CapacityOutcome => ({
  report: capacityReport(),
  runs: 12,
  resumed: 0,
  packets: 1_200_000,
  ...change,
})

const FINGERPRINT = '0123456789abcdef'

let folder = ''
let NOTHING: CapacityCommandOptions
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dpemu-capacity-test-'))
  const scenario = join(folder, 's.yaml')
  const traffic = [{ from: { external: { addresses: 9 } }, to: { service: 'web' }, arrivals: { rate: 1 } }]
  writeFileSync(scenario, JSON.stringify({ name: 'a shop/b', duration: '1s', traffic }))
  NOTHING = {
    scenario,
    manifests: [],
    ranges: [],
    lists: [],
    knee: false,
    policy: [],
    proxyMode: [],
    objective: [],
    state: 'none',
    threshold: [],
    output: [],
    quiet: false,
  }
  measureCapacity.mockReset()
  does(async () => outcome())
})
afterEach(() => rmSync(folder, { recursive: true }))

function given(): CapacityOptions {
  return measureCapacity.mock.calls[0]![0] as CapacityOptions
}

describe('options', () => {
  test('defaults: a search under Cluster and Local, to two percent', async () => {
    await runCapacity(NOTHING, fakeIo())
    const { objectives, axes, ...rest } = given()
    expect(objectives.map(({ text }) => text)).toEqual([
      'dropFraction < 0.001',
      'pathLatencyMicros.packet.p99 < 2ms',
      'conntrackFraction < 80%',
      'snatFraction < 95%',
      'cpuFraction < 95%',
      'podFraction < 95%',
    ])
    expect(axes).toEqual([])
    expect(rest).toEqual({
      scenario: NOTHING.scenario,
      manifests: [],
      knee: true,
      policies: ['cluster', 'local'],
      proxyModes: [],
      tolerance: 0.02,
      connections: null,
      seed: null,
      seeds: 1,
      model: null,
      workers: expect.any(Number),
    })
  })

  test('columns are figures, in their short forms too; what is none is refused before anything runs', async () => {
    const io = fakeIo()
    await runCapacity({ ...NOTHING, columns: ['maxOverMean,p99'], output: ['csv'] }, io)
    expect(io.written.stdout.split('\n')[0]).toMatch(/,maxOverMean,pathLatencyMicros\.packet\.p99$/)
    const text = fakeIo()
    await runCapacity({ ...NOTHING, columns: ['crossNodeFraction'] }, text)
    expect(text.written.stdout).toMatch(/policy +holds up to .* crossNode\n/)
    measureCapacity.mockClear()
    await expect(runCapacity({ ...NOTHING, columns: ['maxOvrMean'] }, fakeIo())).rejects.toMatchObject({
      code: 'E_THRESHOLD',
      hint: 'did you mean maxOverMean?',
    })
    expect(measureCapacity).not.toHaveBeenCalled()
  })

  test('a sweep is plain runs, unless the knee is asked for', async () => {
    await runCapacity({ ...NOTHING, ranges: ['nodes=3..6'] }, fakeIo())
    expect(given()).toMatchObject({ knee: false, axes: [{ name: 'nodes', values: [3, 4, 5, 6] }] })
    measureCapacity.mockClear()
    await runCapacity({ ...NOTHING, ranges: ['nodes=3..6'], knee: true }, fakeIo())
    expect(given()).toMatchObject({ knee: true })
  })

  test('everything given', async () => {
    const values = { tolerance: '5%', connections: '5000', seed: '7', model: 'm.yaml', workers: '3' }
    await runCapacity(
      { ...NOTHING, ...values, policy: ['Local'], proxyMode: ['ipvs,iptables'], objective: ['snatFraction < 1'] },
      fakeIo(),
    )
    expect(given()).toMatchObject({
      tolerance: 0.05,
      connections: 5000,
      seed: 7,
      model: 'm.yaml',
      workers: 3,
      policies: ['local'],
      proxyModes: ['ipvs', 'iptables'],
      objectives: [{ text: 'snatFraction < 1' }],
    })
  })

  test.each<[Partial<CapacityCommandOptions>, string]>([
    [{ tolerance: '0' }, '--tolerance must be from 0.001 to 1'],
    [{ tolerance: '3%%' }, '--tolerance must be from 0.001 to 1'],
    [{ connections: '0' }, '--connections must be a whole number from 1'],
    [{ policy: ['lokal'] }, "--policy does not know 'lokal'"],
    [{ policy: ['local'], lists: ['policy=cluster'] }, 'policy is both an axis and a flag'],
    [{ connections: '9', lists: ['connections=5'] }, 'connections is both an axis and a flag'],
    [{ ranges: ['rate=1..2'], knee: true }, 'the search for a knee varies the rate itself'],
    [{ objective: ['dropFractio < 1'] }, "--objective 'dropFractio < 1': a run has no field dropFractio"],
    [{ threshold: ['runs.connections < 1'] }, 'a capacity report has no field runs'],
    [{ output: ['yaml'] }, "no output format is called 'yaml'"],
    [{ state: '/nowhere/at/all.json' }, 'cannot write /nowhere/at/all.json'],
  ])('%j is refused before anything runs', async (change, message) => {
    const refused = await runCapacity({ ...NOTHING, ...change }, fakeIo()).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(UserError)
    expect((refused as UserError).message).toContain(message)
    expect((refused as UserError).exitCode).toBe(2)
    expect(measureCapacity).not.toHaveBeenCalled()
  })
})

describe('outputs', () => {
  test('several at once, and the text to read; what was measured of the program itself only on standard error', async () => {
    const formats = ['json', 'csv', 'markdown', 'junit', 'gha', 'gha-bigger']
    const io = fakeIo()
    const output = formats.map((format) => `${format}=${join(folder, format)}`)
    expect(await runCapacity({ ...NOTHING, output, threshold: ['knee.connectionsPerSecond > 1'] }, io)).toBe(0)
    expect(io.written.stdout).toMatch(/^dpemu capacity: storefront\n/)
    expect(io.written.stderr).toMatch(
      /^dpemu: warning: web.yaml: odd \[W_X\]\ndpemu: 12 runs of 1,200,000 packets in all, in .*\n$/,
    )
    expect(JSON.parse(readFileSync(join(folder, 'json'), 'utf8'))).toMatchObject(capacityReport())
    const first = (format: string) => readFileSync(join(folder, format), 'utf8').split('\n')[0]
    expect(formats.slice(1).map(first)).toEqual([
      expect.stringMatching(/^policy,/),
      '# dpemu capacity: storefront',
      '<?xml version="1.0" encoding="UTF-8"?>',
      '[',
      '[',
    ])
  })

  test('data alone on standard output, thresholds on standard error; 99 when one failed', async () => {
    const io = fakeIo()
    const options = { ...NOTHING, output: ['csv'], threshold: ['knee.connectionsPerSecond > 1M'], quiet: true }
    expect(await runCapacity(options, io)).toBe(99)
    expect(io.written.stdout).toMatch(/^policy,proxyMode,/)
    expect(io.written.stderr).toBe('✗ knee.connectionsPerSecond > 1M (4000)\n')
  })
})

describe('the state', () => {
  const state = () => join(folder, 'state.json')

  test('that was named stays when all is done', async () => {
    does(async (_, hooks) => {
      hooks.state('abc')!.write('{}')
      return outcome()
    })
    expect(await runCapacity({ ...NOTHING, state: state() }, fakeIo())).toBe(0)
    expect(readFileSync(state(), 'utf8')).toBe('{}')
  })

  test('of our own is in the working folder, is kept on Ctrl-C, and goes away with the answer', async () => {
    const { state: _, ...own } = NOTHING
    const before = process.cwd()
    process.chdir(folder)
    try {
      const io = fakeIo()
      does(async (_, hooks) => {
        hooks.state(FINGERPRINT)!.write('{"kept":1}')
        io.interrupt()
        throw hooks.signal.reason
      })
      expect(await runCapacity(own, io)).toBe(130)
      const file = 'capacity.a-shop-b.0123456789ab.state.json'
      expect(io.written.stderr).toContain(`dpemu: interrupted; ${file} keeps the finished runs`)
      expect(readdirSync('.').sort()).toEqual([file, 's.yaml'])

      // Another search in the same folder, of the same scenario: it has a file of its own and leaves this one alone.
      does(async (_, hooks) => {
        const other = hooks.state(`f${FINGERPRINT}`)!
        expect(other.read()).toBeNull()
        other.write('{"other":1}')
        return outcome()
      })
      expect(await runCapacity({ ...own, policy: ['as-is'] }, fakeIo())).toBe(0)
      expect(readdirSync('.').sort()).toEqual([file, 's.yaml'])

      does(async (_, hooks) => {
        const state = hooks.state(FINGERPRINT)!
        expect([state.isOwn, state.read()]).toEqual([true, '{"kept":1}'])
        return outcome({ resumed: 4 })
      })
      const second = fakeIo()
      expect(await runCapacity(own, second)).toBe(0)
      expect(second.written.stderr).toContain(', and 4 runs that were there')
      expect(existsSync(file)).toBe(false)
    } finally {
      process.chdir(before)
    }
  })

  test('none: nothing is kept, and Ctrl-C says nothing', async () => {
    const io = fakeIo()
    does(async (_, hooks) => {
      expect(hooks.state('abc')).toBeNull()
      io.interrupt()
      throw hooks.signal.reason
    })
    expect(await runCapacity({ ...NOTHING, output: [`json=${join(folder, 'a.json')}`] }, io)).toBe(130)
    expect(io.written).toEqual({ stdout: '', stderr: '' })
    expect(readdirSync(folder)).toEqual(['s.yaml'])
  })

  test('an error of a run passes through', async () => {
    const failure = new UserError('E_SCENARIO_FIELD', 'no such Service')
    does(async () => Promise.reject(failure))
    await expect(runCapacity(NOTHING, fakeIo())).rejects.toBe(failure)
  })
})
