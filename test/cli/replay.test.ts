import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import type os from 'node:os'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type ReplayCommandOptions, runReplay } from '../../src/commands/replay.ts'
import { UserError } from '../../src/errors.ts'
import { conclusionsOf } from '../../src/report/conclusion.ts'
import type { ReplayReport } from '../../src/report/types.ts'
import { report } from '../report/fixture.ts'
import { fakeIo } from './fake-io.ts'

const replay = vi.hoisted(() => vi.fn())
vi.mock('../../src/replay/replay.ts', () => ({ replay }))
const totals = vi.hoisted(() => ({ packets: 1 }))
vi.mock('../../src/trace/read.ts', () => ({ openTrace: () => ({ totals, close: () => undefined }) }))
vi.mock('node:os', async (original) => ({ ...(await original<typeof os>()), availableParallelism: () => 4 }))
const WorkerPool = vi.hoisted(() => vi.fn())
vi.mock('../../src/replay/pool.ts', () => ({ WorkerPool }))

interface Hooks {
  onProgress(done: number, total: number): void
  onWarning(warning: { code: string; where: string; message: string }): void
  signal: AbortSignal
  stdin(): string
}

const NOTHING: ReplayCommandOptions = {
  trace: 'trace.msgpack',
  manifests: [],
  policy: [],
  proxyMode: [],
  ingressPath: [],
  threshold: [],
  output: [],
  quiet: false,
}

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dpemu-replay-'))
  replay.mockReset()
  WorkerPool.mockReset()
  WorkerPool.mockImplementation(function (this: object) {
    return Object.assign(this, { close: async () => undefined })
  })
  replay.mockImplementation(async () => report())
})
afterEach(() => rmSync(folder, { recursive: true }))

describe('options', () => {
  test('defaults: Cluster and Local, the manifests’ own proxy mode, 16 shards', async () => {
    await runReplay(NOTHING, fakeIo())
    expect(replay.mock.calls[0]![0]).toEqual({
      trace: 'trace.msgpack',
      manifests: [],
      policies: ['cluster', 'local'],
      proxyModes: [],
      ingressPaths: [],
      workers: 1,
      shards: 16,
      seed: null,
      model: null,
      timeline: null,
      series: true,
      kubernetesMinor: null,
    })
  })

  test('everything given', async () => {
    const given = {
      manifests: ['a', 'b'],
      policy: ['as-is'],
      proxyMode: ['ipvs,iptables'],
      ingressPath: ['ip', 'proxy,instance'],
      workers: '3',
      shards: '1',
      seed: '42',
      model: 'm.json',
      series: false,
      kubeVersion: '1.37',
    }
    await runReplay({ ...NOTHING, ...given }, fakeIo())
    expect(replay.mock.calls[0]![0]).toEqual({
      trace: 'trace.msgpack',
      timeline: null,
      manifests: ['a', 'b'],
      policies: ['as-is'],
      proxyModes: ['ipvs', 'iptables'],
      ingressPaths: ['ip', 'proxy', 'instance'],
      workers: 3,
      shards: 1,
      seed: 42,
      model: 'm.json',
      series: false,
      kubernetesMinor: 37,
    })
  })

  test.each<[string, number, Partial<ReplayCommandOptions>, number]>([
    ['a million packets, both policies', 1_000_000, {}, 1],
    ['two million, both policies', 2_000_000, {}, 2],
    ['three million, one policy', 3_000_000, { policy: ['local'] }, 1],
    ['a million, both policies, in three proxy modes', 1_000_000, { proxyMode: ['nftables,iptables,ipvs'] }, 3],
    ['a million, as it is, two ways in', 1_000_000, { policy: ['as-is'], ingressPath: ['ip,proxy'] }, 1],
    ['a hundred million', 100_000_000, {}, 4],
    ['a hundred packets, three workers asked for', 100, { workers: '3' }, 3],
  ])('on four CPUs, %s: as many workers as that is worth', async (_what, packets, given, workers) => {
    totals.packets = packets
    await runReplay({ ...NOTHING, ...given }, fakeIo())
    expect(replay.mock.calls[0]![0]).toMatchObject({ workers })
    expect(WorkerPool).toHaveBeenCalledWith(workers)
  })

  test.each<[Partial<ReplayCommandOptions>, string]>([
    [{ shards: '12' }, '--shards must be a power of two up to 16, not 12'],
    [{ shards: '128' }, "--shards must be a whole number from 1 to 16, not '128'"],
    [{ workers: '0' }, "--workers must be a whole number from 1 to 256, not '0'"],
    [{ seed: '-1' }, "--seed must be a whole number from 0 to 4294967295, not '-1'"],
    [{ policy: ['Lokal'] }, "--policy does not know 'Lokal'"],
    [{ ingressPath: ['proxi'] }, "--ingress-path does not know 'proxi'"],
    [{ threshold: ['runs[0].nonsense < 1'] }, 'runs has no field nonsense'],
    [{ output: ['yaml'] }, "no output format is called 'yaml'"],
  ])('%j is refused before anything runs', async (change, message) => {
    const refused = await runReplay({ ...NOTHING, ...change }, fakeIo()).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(UserError)
    expect((refused as UserError).message).toContain(message)
    expect((refused as UserError).exitCode).toBe(2)
    expect(replay).not.toHaveBeenCalled()
  })
})

describe('outputs', () => {
  test('text to standard output, warnings to standard error', async () => {
    replay.mockImplementation(async (_: unknown, hooks: Hooks) => {
      hooks.onProgress(1, 2)
      hooks.onWarning({ code: 'W_X', where: 'web.yaml', message: 'odd' })
      return report()
    })
    const io = fakeIo()
    expect(await runReplay(NOTHING, io)).toBe(0)
    expect(io.written.stdout).toMatch(/^dpemu replay: two-plus-one\n/)
    expect(io.written.stderr).toBe('dpemu: warning: web.yaml: odd [W_X]\n')
  })

  test('JSON alone on standard output, thresholds on standard error', async () => {
    const io = fakeIo()
    expect(await runReplay({ ...NOTHING, output: ['json'], threshold: ['connections.failed == 0'] }, io)).toBe(0)
    expect(JSON.parse(io.written.stdout)).toMatchObject({ ...report(), conclusion: conclusionsOf(report()) })
    expect(io.written.stderr).toBe('✓ connections.failed == 0\n')
  })

  test('several at once; whoever only asks for files still reads the text', async () => {
    const output = ['json=a.json', 'markdown=b.md'].map((value) => value.replace('=', `=${folder}/`))
    const io = fakeIo()
    expect(await runReplay({ ...NOTHING, output }, io)).toBe(0)
    expect(JSON.parse(readFileSync(join(folder, 'a.json'), 'utf8'))).toMatchObject(report())
    expect(readFileSync(join(folder, 'b.md'), 'utf8')).toMatch(/^# dpemu replay/)
    expect(io.written.stdout).toMatch(/^dpemu replay/)
    expect(readdirSync(folder).sort()).toEqual(['a.json', 'b.md'])

    const quiet = fakeIo()
    await runReplay({ ...NOTHING, output, quiet: true }, quiet)
    expect(quiet.written).toEqual({ stdout: '', stderr: '' })
  })

  test('thresholds as JUnit, figures for github-action-benchmark', async () => {
    const output = ['junit', 'gha', 'gha-bigger'].map((format) => `${format}=${join(folder, format)}`)
    const io = fakeIo()
    expect(await runReplay({ ...NOTHING, output, threshold: ['connections.failed == 0'] }, io)).toBe(0)
    const read = (format: string) => readFileSync(join(folder, format), 'utf8')
    expect(read('junit')).toContain('<testcase classname="dpemu replay: two-plus-one" name="connections.failed == 0"/>')
    const entries = (format: string) => JSON.parse(read(format)) as { name: string; unit: string; value: number }[]
    expect(entries('gha')).toHaveLength(12)
    expect(entries('gha')[1]).toEqual({ name: 'two-plus-one Cluster path latency, packet p99', unit: 'µs', value: 190 })
    expect(entries('gha').map(({ name }) => name)).toContain('two-plus-one Local fullest conntrack table')
    expect(entries('gha-bigger').map(({ name, value }) => [name, value])).toEqual([
      ['two-plus-one Cluster delivered connections', 100],
      ['two-plus-one Cluster delivered packets', 400],
      ['two-plus-one Local delivered connections', 100],
      ['two-plus-one Local delivered packets', 400],
    ])
  })

  test('standard input reaches the manifests', async () => {
    replay.mockImplementation(
      async (_: unknown, hooks: Hooks): Promise<ReplayReport> =>
        report([], { trace: { ...report().trace, name: hooks.stdin() } }),
    )
    const io = fakeIo({}, 'from-stdin')
    await runReplay({ ...NOTHING, output: ['json'] }, io)
    expect(io.written.stdout).toContain('from-stdin')
  })
})

describe('exit codes', () => {
  test('99 when a threshold failed; the report is there all the same', async () => {
    const output = [`json=${join(folder, 'a.json')}`]
    const io = fakeIo()
    expect(await runReplay({ ...NOTHING, output, threshold: ['endpoints.share < 40%'] }, io)).toBe(99)
    expect(io.written.stdout).toContain('✗ endpoints.share < 40%')
    expect(readdirSync(folder)).toEqual(['a.json'])
  })

  test('a threshold whose selector chose nothing is wrong usage, and nothing is written', async () => {
    const io = fakeIo()
    const options = {
      ...NOTHING,
      output: [`json=${join(folder, 'a.json')}`],
      threshold: ['runs[policy=as-is].connections.failed == 0'],
    }
    await expect(runReplay(options, io)).rejects.toMatchObject({ code: 'E_THRESHOLD', exitCode: 2 })
    expect(io.written.stdout).toBe('')
    expect(readdirSync(folder)).toEqual([])
  })

  test.each<[string, (signal: AbortSignal) => Promise<ReplayReport>]>([
    ['the replay stops', async (signal) => Promise.reject(signal.reason)],
    ['the replay was just complete', async () => report()],
  ])('130 on Ctrl-C when %s, and no output', async (_, outcome) => {
    const io = fakeIo()
    replay.mockImplementation(async (_options: unknown, hooks: Hooks) => {
      io.interrupt()
      expect(hooks.signal.aborted).toBe(true)
      return outcome(hooks.signal)
    })
    expect(await runReplay({ ...NOTHING, output: [`json=${join(folder, 'a.json')}`] }, io)).toBe(130)
    expect(io.written.stdout).toBe('')
    expect(readdirSync(folder)).toEqual([])
  })

  test('an error of the replay passes through, after the bar is taken away', async () => {
    const failure = new UserError('E_TRACE_CHECKSUM', 'bad block')
    replay.mockImplementation(async (_: unknown, hooks: Hooks) => {
      hooks.onProgress(1, 2)
      throw failure
    })
    const io = fakeIo({ isTerminal: true })
    await expect(runReplay(NOTHING, io)).rejects.toBe(failure)
    expect(io.written.stderr.endsWith('\r\u001b[2K')).toBe(true)
  })
})
