/** `dpemu compare`: what differs between reports, what is said before, and when the command fails. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { runCompare } from '../../src/commands/compare.ts'
import { type Comparison, compareReports } from '../../src/compare/compare.ts'
import { checkReport, type Fields, parseReport } from '../../src/compare/read.ts'
import { UserError } from '../../src/errors.ts'
import { renderJson } from '../../src/report/json.ts'
import type { RunReport } from '../../src/report/types.ts'
import { capacityReport } from '../capacity/fixture.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { clusterRun, ingressReport, latency, localRun, NO_LATENCY, report } from '../report/fixture.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-compare-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(
  JSON.parse(readFileSync(new URL('../../schemas/compare.schema.json', import.meta.url), 'utf8')),
)

function file(name: string, value: unknown): string {
  const path = join(folder, name)
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value))
  return path
}

interface Outcome {
  readonly code: number
  readonly text: string
  readonly json: Comparison
}

function compared(documents: readonly unknown[], failOn: readonly string[] = []): Outcome {
  const reports = documents.map((document, i) => file(`${'abc'[i]}.json`, document))
  const [io, data] = [fakeIo(), fakeIo()]
  const code = runCompare({ reports, failOn, all: false, output: [] }, io)
  expect(runCompare({ reports, failOn, all: false, output: ['json'] }, data)).toBe(code)
  const json = JSON.parse(data.written.stdout) as Comparison
  validate(json)
  expect(validate.errors ?? []).toEqual([])
  return { code, text: io.written.stdout, json }
}

function refusal(act: () => unknown): UserError {
  try {
    act()
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

const replayOf = (runs: RunReport[]): unknown => JSON.parse(renderJson(report(runs)))
const plain = replayOf([clusterRun(), localRun()])
const slower = replayOf([
  clusterRun(),
  localRun({
    pathLatencyMicros: { ...localRun().pathLatencyMicros, packet: latency(41, 240) },
    connections: { attempted: 6_000, established: 5_940, failed: 60, broken: 0 },
    drops: { 'conntrack-full': 60 },
  }),
])

describe('two reports', () => {
  test('that are the same: nothing differs', () => {
    const { code, text, json } = compared([plain, plain])
    expect([code, json.differences, json.circumstances, json.onlyIn]).toEqual([0, [], [], []])
    expect(text).toMatch(
      /^dpemu compare: a\.json, b\.json\n\d+ figures of replay reports, against a\.json; none differs\n$/,
    )
  })

  test('largest first, with the relative change, and whether it is for the worse', () => {
    const { text, json } = compared([plain, slower])
    expect(json.differences.map(({ path, values, direction }) => [path, values, direction]).slice(0, 3)).toEqual([
      ['local.connections.failed', [0, 60], 'worse'],
      ['local.drops.conntrack-full', [0, 60], 'worse'],
      ['local.pathLatencyMicros.packet.max', [240, 480], 'worse'],
    ])
    const p99 = json.differences.find(({ path }) => path === 'local.pathLatencyMicros.packet.p99')
    expect(p99).toMatchObject({ dimension: 'micros', values: [120, 240], relative: [null, 1] })
    expect(json.differences.at(-1)).toMatchObject({ path: 'local.connections.established', direction: 'worse' })
    expect(text).toMatch(/local\.connections\.failed +0 +60 +new\n/)
    expect(text).toMatch(/local\.pathLatencyMicros\.packet\.p99 +120 µs +240 µs +\+100 %\n/)
  })

  test('better is told from worse', () => {
    const { json } = compared([slower, plain])
    expect(new Set(json.differences.map(({ direction }) => direction))).toEqual(new Set(['better']))
  })

  test('a small count does not stand above a doubled latency', () => {
    const little = replayOf([
      clusterRun(),
      localRun({
        drops: { 'conntrack-full': 2 },
        pathLatencyMicros: { ...localRun().pathLatencyMicros, packet: latency(82, 240) },
      }),
    ])
    const paths = compared([plain, little]).json.differences.map(({ path }) => path)
    expect(paths.indexOf('local.drops.conntrack-full')).toBeGreaterThan(
      paths.indexOf('local.pathLatencyMicros.packet.p50'),
    )
  })

  test('latencies of which nothing was recorded are no zeros', () => {
    const silent = replayOf([
      clusterRun(),
      localRun({ pathLatencyMicros: { packet: NO_LATENCY, firstPacket: NO_LATENCY, connectionSetup: NO_LATENCY } }),
    ])
    const { json, text } = compared([plain, silent])
    const p50 = json.differences.find(({ path }) => path === 'local.pathLatencyMicros.packet.p50')
    expect(p50).toMatchObject({ values: [41, null], relative: [null, null], direction: 'worse' })
    expect(text).toMatch(/local\.pathLatencyMicros\.packet\.p50 +41\.0 µs +none +gone\n/)
  })

  test('traces, manifests, seeds, constants and versions that differ are said before', () => {
    const other = report([clusterRun(), localRun()], {
      inputs: { trace: 'ffff', manifests: 'eeee', seed: 9 },
      model: [{ name: 'linkMicros', value: 90, unit: 'us', source: '', isSet: true }],
    })
    const { json, text } = compared([plain, { ...other, engine: { ...other.engine, version: '9.9.9' } }])
    expect(json.circumstances.map(({ what, values }) => [what, values[1]])).toEqual([
      ['inputs.trace', 'ffff'],
      ['inputs.manifests', 'eeee'],
      ['inputs.seed', '9'],
      ['model.linkMicros', '90'],
      ['engine.version', '9.9.9'],
    ])
    expect(text).toMatch(/Not made from the same\n +a\.json +b\.json\n +inputs\.trace +0123456789abcdef +ffff\n/)
  })

  test('what only one of them has is said, once for all of its figures', () => {
    const { json, text } = compared([plain, replayOf([clusterRun()])])
    expect(json.onlyIn).toEqual([{ what: 'local', present: [true, false] }])
    expect(text).toContain('only in a.json: local\n')
    const fewer = replayOf([clusterRun({ endpoints: clusterRun().endpoints.slice(1) }), localRun()])
    expect(compared([plain, fewer]).json.onlyIn).toEqual([
      { what: 'cluster.endpoints[service=default/web:http,endpoint=10.244.0.2:8080]', present: [true, false] },
    ])
  })

  test('one run each are held against each other, whatever they are called', () => {
    const { json } = compared([replayOf([clusterRun()]), replayOf([localRun({ proxyMode: 'ipvs' })])])
    expect(json.onlyIn).toEqual([])
    expect(json.circumstances[0]).toEqual({ what: 'runs', values: ['cluster nftables', 'local ipvs'] })
    expect(json.differences.map(({ path }) => path)).toContain('runs[*].clientIpPreservedFraction')
  })

  test('runs of both modes are told by policy and mode', () => {
    const runs = [clusterRun(), clusterRun({ proxyMode: 'ipvs' })]
    const changed = [clusterRun(), clusterRun({ proxyMode: 'ipvs', crossNodeFraction: 0.1 })]
    expect(compared([replayOf(runs), replayOf(changed)]).json.differences.map(({ path }) => path)).toEqual([
      'runs[policy=cluster,proxyMode=ipvs].crossNodeFraction',
    ])
  })

  test('without HTTP requests and with them: statuses that are missing are no zeros', () => {
    const { json } = compared([plain, replayOf([clusterRun({ ingress: ingressReport() }), localRun()])])
    expect(json.onlyIn.map(({ what }) => what).every((what) => what.startsWith('cluster.ingress'))).toBe(true)
    expect(json.differences).toEqual([])
  })
})

describe('three reports', () => {
  test('the first is what both others are held against', () => {
    const { text, json } = compared([plain, slower, plain])
    const p99 = json.differences.find(({ path }) => path === 'local.pathLatencyMicros.packet.p99')
    expect(p99).toMatchObject({ values: [120, 240, 120], relative: [null, 1, 0], direction: 'worse' })
    expect(text).toMatch(/local\.pathLatencyMicros\.packet\.p99 +120 µs +240 µs \(\+100 %\) +120 µs \(=\)\n/)
  })
})

describe('other kinds', () => {
  test('capacity reports: knees and figures', () => {
    const base = JSON.parse(JSON.stringify(capacityReport())) as { cells: { knee: { connectionsPerSecond: number } }[] }
    const less = structuredClone(base)
    less.cells[0]!.knee.connectionsPerSecond /= 2
    const { json, code } = compared([base, less], ['knee.connectionsPerSecond < 0.95 * base'])
    expect([json.of, json.differences.length, json.differences[0]!.direction, code]).toEqual([
      'capacity',
      1,
      'worse',
      99,
    ])
    expect(json.differences[0]!.path).toMatch(/^cells\[.*\]\.knee\.connectionsPerSecond$/)
  })

  test('benchmarks', () => {
    const path = new URL('../../bench/results/core.json', import.meta.url)
    const base = JSON.parse(readFileSync(path, 'utf8')) as { rows: { min: number }[] }
    const slow = structuredClone(base)
    slow.rows[0]!.min *= 2
    const { json, code } = compared([base, slow], ['rows[variant=core].min > 1.5 * base'])
    expect([json.of, json.differences[0]!.direction, code]).toEqual(['bench', 'worse', 99])
    expect(compared([base, slow], ['rows[variant=core].min > 3 * base']).code).toBe(0)
  })

  test('rollouts', () => {
    const base = {
      schemaVersion: 1,
      kind: 'rollout',
      target: 'Deployment default/web',
      offered: [{ policy: 'local', count: 100 }],
      lost: [{ policy: 'local', lostFraction: 0, count: 0, p50: 0, p95: 0, most: 0 }],
      losses: [],
    }
    const worse = { ...base, lost: [{ ...base.lost[0], count: 30, lostFraction: 0.3 }] }
    const { json, code } = compared([base, worse], ['lost[policy=local].count > base'])
    expect(json.differences.map(({ path, direction }) => [path, direction])).toEqual([
      ['lost[policy=local].lostFraction', 'worse'],
      ['lost[policy=local].count', 'worse'],
    ])
    expect(code).toBe(99)
  })
})

describe('--fail-on', () => {
  test.each([
    ['local.p99 > base', 99],
    ['local.p99 > 2.1 * base', 0],
    ['local.p99 > 110% * base', 99],
    ['local.pathLatencyMicros.packet.p99 > 200us', 99],
    ['cluster.p99 > base', 0],
    ['connections.failed > base', 99],
    ['local.drops.conntrack-full > base', 99],
    ['runs[policy=local].connections.established < base', 99],
  ])('%s', (expression, code) => {
    expect(compared([plain, slower], [expression]).code).toBe(code)
  })

  test('says which figure, with both values', () => {
    const { text, json } = compared([plain, slower], ['local.p99 > 1.1 * base', 'cluster.p99 > base'])
    expect(text).toMatch(
      /Fails on\n {2}✗ local\.p99 > 1\.1 \* base\n.*packet\.p99: 240 against\s+132\n {2}✓ cluster\.p99 > base\n/,
    )
    expect(json.failOn.map(({ fails }) => fails)).toEqual([true, false])
    expect(json.failOn[0]!.matches[0]).toMatchObject({ value: 240, fails: true })
  })

  test('of several reports any fails, and is named', () => {
    const { text, code } = compared([plain, plain, slower], ['local.connections.failed > base'])
    expect(code).toBe(99)
    expect(text).toMatch(/ {4}c\.json: runs\[policy=local,proxyMode=nftables\]\.connections\.failed: 60 against 0/)
  })

  test('runs of other proxy modes are held against each other in their order', () => {
    const ipvs = replayOf([clusterRun({ proxyMode: 'ipvs' }), localRun({ proxyMode: 'ipvs' })])
    expect(compared([plain, ipvs], ['local.p99 > base']).code).toBe(0)
  })

  test('nothing passes for want of data', () => {
    const silent = replayOf([
      clusterRun(),
      localRun({ pathLatencyMicros: { ...localRun().pathLatencyMicros, packet: NO_LATENCY } }),
    ])
    expect(compared([plain, silent], ['local.p99 > base']).code).toBe(99)
    expect(compared([silent, silent], ['local.p99 > base']).code).toBe(0)
  })

  test.each([
    ['local.p98 > base', 'no field p98'],
    ['local.p99 > base[x=1]', 'takes no [...]'],
    ['local.p99 >', 'expected a number or a field'],
    ['base > local.p99', 'no field base'],
  ])('%s is refused', (expression, message) => {
    const error = refusal(() => compared([plain, slower], [expression]))
    expect([error.code, error.exitCode]).toEqual(['E_THRESHOLD', 2])
    expect(error.message).toContain('--fail-on')
    expect(error.message).toContain(message)
  })
})

describe('what is no report', () => {
  test.each<[string, unknown, string]>([
    ['no JSON', 'hello', 'this is no JSON'],
    ['a list', [], 'this is no report'],
    ['no kind', {}, 'it has no kind; reports of replay, capacity, rollout, bench can be compared'],
    ['another kind', { schemaVersion: 1, kind: 'lint' }, 'kind is "lint"'],
    ['another version', { ...(plain as Fields), schemaVersion: 2 }, 'schemaVersion is 2; this dpemu reads 1'],
    ['no runs', { ...(plain as Fields), runs: undefined }, 'a replay report has runs, and this one has not'],
  ])('%s', (_, document, message) => {
    const path = file('wrong.json', document)
    const good = file('good.json', plain)
    const error = refusal(() => runCompare({ reports: [good, path], failOn: [], all: false, output: [] }, fakeIo()))
    expect([error.code, error.exitCode, error.where]).toEqual(['E_REPORT', 3, path])
    expect(error.message).toContain(message)
  })

  test('kinds that differ: the first that is another is named', () => {
    const [one, two] = [file('one.json', plain), file('two.json', JSON.stringify(capacityReport()))]
    const error = refusal(() => runCompare({ reports: [one, two], failOn: [], all: false, output: [] }, fakeIo()))
    expect([error.where, error.message]).toEqual([two, `this is a capacity report, and ${one} is a replay report`])
  })

  test('a file that is not there', () => {
    const path = join(folder, 'missing.json')
    const error = refusal(() => runCompare({ reports: [path, path], failOn: [], all: false, output: [] }, fakeIo()))
    expect([error.where, error.message]).toEqual([path, 'cannot read the report: no such file'])
  })

  test('one alone', () => {
    const error = refusal(() => runCompare({ reports: ['a'], failOn: [], all: false, output: [] }, fakeIo()))
    expect([error.code, error.exitCode]).toEqual(['E_USAGE', 2])
  })

  test('one of them may come through a pipe', () => {
    const io = fakeIo({}, JSON.stringify(plain))
    expect(runCompare({ reports: ['-', file('x.json', plain)], failOn: [], all: false, output: [] }, io)).toBe(0)
    expect(io.written.stdout).toContain('dpemu compare: standard input, x.json')
  })
})

test('Markdown is a table, with names escaped', () => {
  const path = join(folder, 'comment.md')
  const reports = [file('a.json', plain), file('b.json', slower)]
  runCompare({ reports, failOn: ['local.p99 > base'], all: true, output: [`markdown=${path}`] }, fakeIo())
  const text = readFileSync(path, 'utf8')
  expect(text).toContain('| figure | a.json | b.json | change |\n| :--- | ---: | ---: | ---: |\n')
  expect(text).toContain('- ✗ local.p99 &gt; base\n')
})

test('whatever changes in a report, it is found, and nothing else is', () => {
  const base = plain as Fields
  const numbers: (readonly (string | number)[])[] = []
  const walk = (value: unknown, path: readonly (string | number)[]): void => {
    if (typeof value === 'number') numbers.push(path)
    else if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) walk(inner, [...path, key])
  }
  for (const part of ['connections', 'verdicts', 'imbalance', 'nodes', 'endpoints', 'dns', 'offered'])
    for (const run of [0, 1]) walk((base['runs'] as Fields[])[run]![part], ['runs', run, part])
  fc.assert(
    fc.property(fc.constantFrom(...numbers), fc.double({ min: 1, max: 1e6, noNaN: true }), (path, change) => {
      const copy = structuredClone(base)
      let at = copy as Record<string | number, unknown>
      for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>
      at[path.at(-1)!] = (at[path.at(-1)!] as number) + change
      const { differences } = compareReports([checkReport('a', base), checkReport('b', copy)], [])
      // Said by others: conntrack's drops and early drops; clashResolve is always 0.
      const silent = path.includes('conntrack') && ['drop', 'earlyDrop', 'clashResolve'].includes(String(path.at(-1)))
      expect(differences).toHaveLength(silent || path.includes('conntrackHolders') ? 0 : 1)
      if (differences.length === 1) expect(differences[0]!.path.endsWith(`.${path.at(-1)}`)).toBe(true)
    }),
    { seed: 20_320, numRuns: 200 },
  )
})

test('any bytes are a report or a refusal that names the file', () => {
  const json = fc.json().map((text) => Buffer.from(text))
  const almost = fc
    .record({
      kind: fc.constantFrom('replay', 'capacity', 'rollout', 'bench'),
      schemaVersion: fc.constant(1),
      part: fc.jsonValue(),
    })
    .map(({ kind, schemaVersion, part }) =>
      Buffer.from(
        JSON.stringify({
          kind,
          schemaVersion,
          ...Object.fromEntries(
            [
              'runs',
              'trace',
              'model',
              'cells',
              'scenario',
              'lost',
              'offered',
              'losses',
              'rows',
              'ratios',
              'replay',
              'warnings',
            ].map((name) => [name, name === 'trace' ? {} : [part]]),
          ),
        }),
      ),
    )
  fc.assert(
    fc.property(
      fc.oneof(
        json,
        almost,
        fc.uint8Array().map((bytes) => Buffer.from(bytes)),
      ),
      (bytes) => {
        let report: ReturnType<typeof parseReport>
        try {
          report = parseReport('file.json', bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(UserError)
          expect((error as UserError).where).toBe('file.json')
          return
        }
        expect(compareReports([report, report], []).differences).toEqual([])
      },
    ),
    { seed: 20_321, numRuns: 500 },
  )
})
