/** The text's section of what changes over a run: what has a row, and what its row says. */
import { describe, expect, test } from 'vitest'
import { renderText } from '../../src/report/text.ts'
import type { RunReport, SeriesReport } from '../../src/report/types.ts'
import { clusterRun, localRun, report, seriesReport } from './fixture.ts'

function section(runs: readonly RunReport[], width: number | null = null): string {
  const text = renderText(report([...runs]), [], { color: false, width })
  return /^Over the run\n([\s\S]*?)\n\n/m.exec(text)?.[1] ?? ''
}

/** 64 bins of a second. */
function bins(of: (bin: number) => number): number[] {
  return Array.from({ length: 64 }, (_, bin) => of(bin))
}

function course(change: Partial<SeriesReport>): SeriesReport {
  const zeros = bins(() => 0)
  const counts = { packets: bins(() => 1000), connections: bins(() => 500), bytes: bins(() => 50_000) }
  return seriesReport({
    binSeconds: 1,
    offered: counts,
    delivered: counts,
    failedConnections: zeros,
    brokenConnections: zeros,
    notSent: zeros,
    pathLatencyMicros: { count: bins(() => 1000), p50: bins(() => 50), p99: bins(() => 100) },
    nodes: [
      { node: 'node-a', conntrackEntries: zeros, sourcePorts: zeros, affinityEntries: zeros, cpuUtilization: zeros },
    ],
    endpoints: [],
    dnsQueries: zeros,
    ...change,
  })
}

describe('over the run', () => {
  test('nothing changes: there is no such section', () => {
    expect(section([clusterRun(), localRun()])).toBe('')
    expect(section([clusterRun({ series: course({}) })])).toBe('')
  })

  test('without a series there is none', () => {
    expect(section([clusterRun({ series: null, drops: { 'conntrack-full': 7 } })])).toBe('')
  })

  test('what fails says when it was first met and when it was most', () => {
    const failed = bins((bin) => (bin === 40 ? 100 : bin >= 32 ? 50 : 0))
    const run = clusterRun({
      series: course({ failedConnections: failed, dropsByReason: { 'conntrack-full': failed } }),
      drops: { 'conntrack-full': 1650 },
    })
    expect(section([run])).toBe(
      [
        '                      0 s to 64 s                       highest    at  first at',
        '  connections failed  ················▆▆▆▆█▆▆▆▆▆▆▆▆▆▆▆   100 /s  40 s      32 s',
        '  in 64 bins of 1 s (series in -o json).',
      ].join('\n'),
    )
  })

  test('runs stand under each other, on one scale; a run without any says so', () => {
    const lost = (packets: number): number[] => bins((bin) => (bin < 4 ? packets : 0))
    const [one, two] = [10, 0].map((packets, i) =>
      (i === 0 ? clusterRun : localRun)({
        series: course({ dropsByReason: packets === 0 ? {} : { 'no-local-endpoint': lost(packets) } }),
        drops: packets === 0 ? {} : { 'no-local-endpoint': 40 },
      }),
    )
    expect(section([one!, two!]).split('\n').slice(1, 3)).toEqual([
      '  no-local-endpoint  Cluster  ██······························    10 /s  0 s       0 s',
      '                     Local    ································     none',
    ])
  })

  test.each([
    [
      'offered connections',
      { offered: { ...course({}).offered, connections: bins((bin) => (bin < 8 ? 900 : 400)) } },
      true,
    ],
    [
      'offered connections',
      { offered: { ...course({}).offered, connections: bins((bin) => (bin < 8 ? 20 : 5)) } },
      false,
    ],
    ['packet p99', { pathLatencyMicros: { count: [], p50: [], p99: bins((bin) => (bin === 9 ? 200 : 100)) } }, true],
    ['packet p99', { pathLatencyMicros: { count: [], p50: [], p99: bins((bin) => (bin === 9 ? 190 : 100)) } }, false],
    ['conntrack, fullest node', nodeCourse({ conntrackEntries: bins((bin) => bin * 300) }), true],
    ['conntrack, fullest node', nodeCourse({ conntrackEntries: bins((bin) => bin * 100) }), false],
    ['source ports, busiest node', nodeCourse({ sourcePorts: bins((bin) => bin * 110) }), true],
    ['source ports, busiest node', nodeCourse({ sourcePorts: bins((bin) => bin * 10) }), false],
    ['CPU, busiest node', nodeCourse({ cpuUtilization: bins((bin) => (bin === 30 ? 0.8 : 0.3)) }), true],
    ['CPU, busiest node', nodeCourse({ cpuUtilization: bins(() => 0.8) }), false],
  ] satisfies [string, Partial<SeriesReport>, boolean][])('%s: what moves enough has a row', (label, change, shown) => {
    expect(section([clusterRun({ series: course(change) })]).includes(label)).toBe(shown)
  })

  test('of nodes the fullest is shown, as a part of its limit', () => {
    const nodes = [60_000, 20].map((most, i) => ({
      ...course({}).nodes[0]!,
      node: i === 0 ? 'node-b' : 'node-a',
      conntrackEntries: bins((bin) => (bin === 63 ? most : 0)),
    }))
    const run = clusterRun({ series: course({ nodes }) })
    expect(section([run]).split('\n')[1]).toMatch(/^ {2}conntrack, fullest node {2}·{31}█ +45\.8 % {2}63 s$/)
  })

  test('a narrow terminal has the figures without the pictures', () => {
    const run = clusterRun({ series: course({ failedConnections: bins((bin) => bin) }) })
    expect(section([run], 60)).toBe(
      [
        '                      highest    at  first at',
        '  connections failed    63 /s  63 s       1 s',
        '  in 64 bins of 1 s (series in -o json).',
      ].join('\n'),
    )
  })

  test('over draws it is that of the first', () => {
    const text = renderText(
      report([clusterRun({ series: course({ failedConnections: bins(() => 1) }) })], {
        draws: {
          count: 2,
          seeds: [1, 2],
          placements: [],
          advice: [],
          least: [clusterRun()],
          most: [clusterRun()],
          each: [],
        },
      }),
    )
    expect(text).toContain('in 64 bins of 1 s (series in -o json). Of the first draw.')
  })
})

function nodeCourse(change: Partial<SeriesReport['nodes'][number]>): Partial<SeriesReport> {
  const zeros = Array.from({ length: 64 }, () => 0)
  const idle = {
    node: 'node-a',
    conntrackEntries: zeros,
    sourcePorts: zeros,
    affinityEntries: zeros,
    cpuUtilization: zeros,
  }
  return { nodes: [{ ...idle, ...change }] }
}
