import { readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import { describe, expect, test } from 'vitest'
import { CAPACITY_SUBJECT } from '../../src/report/capacity-fields.ts'
import { renderCapacityMarkdown, renderCapacityText } from '../../src/report/capacity-sections.ts'
import { renderCapacityCsv } from '../../src/report/csv.ts'
import { renderCapacityGha } from '../../src/report/gha.ts'
import { renderJson } from '../../src/report/json.ts'
import { renderJunit } from '../../src/report/junit.ts'
import { evaluateThresholds, parseExpression, type ThresholdResult } from '../../src/report/threshold.ts'
import { BROKEN, capacityReport, figures, gridReport, kneeCell, latency, plainCell } from './fixture.ts'

function held(texts: string[], report = capacityReport()): ThresholdResult[] {
  return evaluateThresholds(
    texts.map((text) => parseExpression(text, CAPACITY_SUBJECT)),
    report,
  )
}

describe('text', () => {
  test('of a search: the answer in words, then knees, then every run', () => {
    const text = renderCapacityText(capacityReport(), held(['knee.connectionsPerSecond > 3000']))
    expect(text).toContain('✓ knee.connectionsPerSecond > 3000')
    expect(text).toContain("policy=cluster: holds up to 4,000/s (4.00 times the scenario's rate).")
    expect(text.replace(/\s+/g, ' ')).toContain(
      'At 4,040/s conntrackFraction is 80.8 % on node-b, 1.0 % beyond 80.0 % (conntrackFraction < 80%); default/web:http holds 98.0 % of the entries of that node.',
    )
    expect(text).toMatch(/cluster +4,000\/s +4,040\/s +conntrackFraction < 80% +80.8 % +node-b +default\/web:http/)
    expect(text).toMatch(/4,040\/s +100,000 +100 s \* +80.8 % +✗/)
    expect(text).toContain('*: too short to judge')
    expect(text).toContain('web.yaml: odd')
  })

  test.each<[string, Parameters<typeof kneeCell>[0], string]>([
    [
      'nothing holds',
      {
        run: null,
        knee: {
          outcome: 'below',
          connectionsPerSecond: null,
          failsAtConnectionsPerSecond: 0.977,
          timesScenario: null,
          holdsAgainAtConnectionsPerSecond: null,
        },
      },
      'policy=cluster: nothing holds, down to 0.977/s.',
    ],
    [
      'nothing breaks',
      {
        broke: [],
        knee: {
          outcome: 'above',
          connectionsPerSecond: 1e7,
          failsAtConnectionsPerSecond: null,
          timesScenario: 1e4,
          holdsAgainAtConnectionsPerSecond: null,
        },
      },
      "holds up to 10.0 M/s, the highest rate tried (10,000 times the scenario's rate).",
    ],
    [
      'the run at the knee is no evidence',
      { run: { ...kneeCell().run!, settled: false, durationSeconds: 0.176 } },
      'That run of 176 ms is too short to judge: tables and ports were still filling.',
    ],
    [
      'it holds again above',
      { knee: { ...kneeCell().knee!, holdsAgainAtConnectionsPerSecond: 5000 } },
      'Not one knee: it holds again at 5,000/s. The lowest break counts.',
    ],
    [
      'packets are what is lost',
      {
        broke: [
          {
            ...BROKEN,
            objective: 'dropFraction < 0.001',
            figure: 'dropFraction',
            value: 0.0012,
            limit: 0.001,
            excess: 0.2,
            node: null,
            service: null,
            reason: 'no-local-endpoint',
          },
        ],
      },
      'dropFraction is 0.12 %, 20.0 % beyond 0.1 % (dropFraction < 0.001); mostly no-local-endpoint.',
    ],
  ])('when %s', (_, change, expected) => {
    expect(renderCapacityText(capacityReport([kneeCell(change)])).replace(/\s+/g, ' ')).toContain(expected)
  })

  test('of a sweep: a row a cell, with the figures that its objectives are about, those that are 0 everywhere left out', () => {
    const text = renderCapacityText(gridReport())
    expect(text).toContain('1 of 2 runs met all objectives.')
    expect(text).toMatch(/nodes +policy +offered +connections +conntrack +holds +broke first +node\n/)
    expect(text).toMatch(/ 3 +local +1,000\/s +100,000 +80.8 % +✗ +conntrackFraction < 80% +node-b\n/)
    expect(text).toMatch(/ 6 +local +1,000\/s +100,000 +25.0 % +✓\n/)
  })

  test('of a long sweep of knees: no sentence and no search a cell', () => {
    const cells = Array.from({ length: 9 }, (_, i) =>
      kneeCell({ name: `nodes=${i}, policy=local`, parameters: { nodes: i } }),
    )
    const text = renderCapacityText(capacityReport(cells, { axes: [{ name: 'nodes', values: [1] }] }))
    expect(text).toContain('Knees from 4,000/s to 4,000/s over 9 cells.')
    expect(text).not.toContain('Search:')
  })

  test('Markdown has the same as tables', () => {
    const text = renderCapacityMarkdown(gridReport(), held(['run.figures.dropFraction < 1'], gridReport()))
    expect(text).toMatch(/^# dpemu capacity: storefront\n/)
    expect(text).toContain('- ✓ run.figures.dropFraction &lt; 1')
    expect(text).toContain('| 3 | local | 1,000/s | 100,000 | 80.8 % | ✗ | conntrackFraction &lt; 80% | node-b |')
  })
})

describe('thresholds over a capacity report', () => {
  test.each<[string, boolean]>([
    ['knee.connectionsPerSecond > 3.9k', true],
    ['cells[policy=cluster].knee.connectionsPerSecond >= 4001', false],
    ["cells[name='policy=cluster'].run.figures.conntrackFraction < 80%", true],
    ['run.figures.pathLatencyMicros.packet.p99 < 100us', false],
    ['tried.durationSeconds > 1m', true],
  ])('%s', (text, pass) => expect(held([text])[0]!.pass).toBe(pass))

  test('a knee that was not found does not pass', () => {
    const none = { ...kneeCell().knee!, connectionsPerSecond: null }
    expect(held(['knee.connectionsPerSecond > 0'], capacityReport([kneeCell({ knee: none })]))[0]!.pass).toBe(false)
    expect(held(['knee.connectionsPerSecond > 0'], gridReport())[0]!.pass).toBe(false)
  })

  test.each(['runs.policy < 1', 'knee < 1', 'knee.rate > 1', 'figures.dropFraction < 1'])('%s is refused', (text) => {
    expect(() => parseExpression(text, CAPACITY_SUBJECT)).toThrow(`--threshold '${text}'`)
  })
})

describe('CSV', () => {
  test('one row a cell, axes first, quoted where needed', () => {
    const report = gridReport()
    report.cells[0]!.broke = [{ ...BROKEN, objective: 'a "b", c' }]
    const [head, first, second, ...rest] = renderCapacityCsv(report).split('\n')
    expect(head).toMatch(
      /^nodes,policy,proxyMode,holds,brokeFirst,brokeFirstValue,brokeFirstNode,brokeFirstService,connectionsPerSecond,/,
    )
    expect(first).toMatch(
      /^3,local,nftables,false,"a ""b"", c",0.808,node-b,default\/web:http,1000,100000,900000,100,true,0,0,0,0.808,/,
    )
    expect(second).toMatch(/^6,local,nftables,true,,,,,1000,/)
    expect(rest).toEqual([''])
    expect(new Set([head, second].map((line) => line!.split(',').length)).size).toBe(1)
  })

  test('of a search has the knee, and empty fields where nothing held', () => {
    const none = kneeCell({
      run: null,
      knee: {
        outcome: 'below',
        connectionsPerSecond: null,
        failsAtConnectionsPerSecond: 9,
        timesScenario: null,
        holdsAgainAtConnectionsPerSecond: null,
      },
    })
    const [head, first, second] = renderCapacityCsv(capacityReport([kneeCell(), none])).split('\n')
    expect(head).toMatch(
      /^policy,proxyMode,outcome,kneeConnectionsPerSecond,failsAtConnectionsPerSecond,timesScenario,holds,/,
    )
    expect(first).toMatch(/^cluster,nftables,found,4000,4040,4,true,conntrackFraction < 80%,/)
    expect(second).toMatch(/^cluster,nftables,below,,9,,false,.*,{15,}$/)
  })
})

describe('JUnit', () => {
  test('each threshold a test case, the failed ones with their values', () => {
    const xml = renderJunit(
      'dpemu capacity: <a> & "b"',
      held(['knee.connectionsPerSecond > 1', 'tried.connectionsPerSecond > 3000']),
    )
    expect(xml).toBe(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="dpemu" tests="2" failures="1" errors="0" skipped="0">
  <testsuite name="dpemu capacity: &lt;a&gt; &amp; &quot;b&quot;" tests="2" failures="1" errors="0" skipped="0">
    <testcase classname="dpemu capacity: &lt;a&gt; &amp; &quot;b&quot;" name="knee.connectionsPerSecond &gt; 1"/>
    <testcase classname="dpemu capacity: &lt;a&gt; &amp; &quot;b&quot;" name="tried.connectionsPerSecond &gt; 3000">
      <failure type="threshold" message="1 of 3 values outside the threshold">✗ tried.connectionsPerSecond &gt; 3000
    cells[name=policy=cluster].tried[connectionsPerSecond=1000].connectionsPerSecond: 1000</failure>
    </testcase>
  </testsuite>
</testsuites>
`)
  })

  test('letters that XML cannot hold do not get in', () => {
    expect(renderJunit('a\u0000\u001b\uD800b', [])).toContain('name="a???b"')
  })
})

describe('github-action-benchmark', () => {
  const entries = (text: string) => JSON.parse(text) as { name: string; unit: string; value: number; extra?: string }[]

  test('smaller is better: latency, losses, how full tables get', () => {
    const list = entries(renderCapacityGha(capacityReport(), 'smaller'))
    expect(list.map(({ name, unit, value }) => [name.replace('storefront policy=cluster ', ''), unit, value])).toEqual([
      ['path latency, packet p50', 'µs', 60],
      ['path latency, packet p99', 'µs', 120],
      ['path latency, connection setup p99', 'µs', 250],
      ['packets dropped or rejected', '%', 0],
      ['connections failed', '%', 0],
      ['fullest conntrack table', '%', 79],
    ])
  })

  test('bigger is better: knees of a search, throughput of a sweep', () => {
    expect(entries(renderCapacityGha(capacityReport(), 'bigger'))).toEqual([
      { name: 'storefront policy=cluster knee', unit: 'connections/s', value: 4000, extra: 'fails at 4040/s' },
    ])
    expect(entries(renderCapacityGha(gridReport(), 'bigger')).map(({ name, value }) => [name, value])).toEqual([
      ['storefront nodes=3, policy=local delivered connections', 1000],
      ['storefront nodes=3, policy=local delivered packets', 9000],
      ['storefront nodes=6, policy=local delivered connections', 1000],
      ['storefront nodes=6, policy=local delivered packets', 9000],
    ])
  })

  test('a latency of which nothing was recorded is left out', () => {
    const run = {
      ...plainCell(3).run!,
      figures: figures({ pathLatencyMicros: { ...figures().pathLatencyMicros, packet: latency(0, 0) } }),
    }
    const names = entries(renderCapacityGha(capacityReport([plainCell(3, { run })]), 'smaller')).map(({ name }) => name)
    expect(names.filter((name) => name.includes('packet p'))).toEqual([])
    expect(names).toHaveLength(4)
  })
})

describe('JSON', () => {
  const file = new URL('../../schemas/capacity.schema.json', import.meta.url)
  const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(JSON.parse(readFileSync(file, 'utf8')))

  test.each([
    ['a search', capacityReport()],
    [
      'a search that found nothing',
      capacityReport([
        kneeCell({
          run: null,
          broke: [
            {
              ...BROKEN,
              value: null,
              excess: null,
              node: null,
              service: null,
              serviceShare: null,
              reason: 'conntrack-full',
            },
          ],
        }),
      ]),
    ],
    ['a sweep', gridReport()],
  ])('of %s begins with the schema version and fits the schema', (_, report) => {
    const text = renderJson(report)
    expect(text.startsWith('{\n  "schemaVersion": 1,\n  "kind": "capacity",\n')).toBe(true)
    validate(JSON.parse(text))
    expect(validate.errors ?? []).toEqual([])
  })

  type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

  /** Every document that lacks one field somewhere. */
  function* withoutOneField(value: Json, path = ''): Generator<[string, Json]> {
    if (Array.isArray(value)) {
      for (const [i, item] of value.entries()) {
        for (const [where, less] of withoutOneField(item, `${path}[${i}]`))
          yield [where, value.map((other, j) => (i === j ? less : other))]
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, item] of Object.entries(value)) {
        const { [key]: _, ...rest } = value
        yield [`${path}.${key}`, rest]
        for (const [where, less] of withoutOneField(item, `${path}.${key}`)) yield [where, { ...value, [key]: less }]
      }
    }
  }

  test('every field of the contract is required by the schema', () => {
    const full = JSON.parse(renderJson(capacityReport())) as Json
    const optional = [...withoutOneField(full)].filter(([, less]) => validate(less)).map(([path]) => path)
    expect(optional).toEqual([])
  })
})
