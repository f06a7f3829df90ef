/** The DNS section: in text and Markdown, with what is rare left out where it did not happen; and thresholds over it. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import { describe, expect, it } from 'vitest'
import { renderJson } from '../../src/report/json.ts'
import { renderMarkdown } from '../../src/report/markdown.ts'
import { renderText } from '../../src/report/text.ts'
import { evaluateThresholds, parseThreshold } from '../../src/report/threshold.ts'
import type { DnsReport } from '../../src/report/types.ts'
import { clusterRun, dnsReport, localRun, report } from '../report/fixture.ts'

const server = (name: string, queries: number, share: number): DnsReport['servers'][number] => ({
  address: `10.244.1.${name.length}`,
  pod: `kube-system/${name}`,
  node: 'node-a',
  queries,
  share,
})
const busy = dnsReport({
  queries: 16_000,
  byRcode: { NOERROR: 12_000, NXDOMAIN: 4_000 },
  byType: { A: 8_000, AAAA: 8_000 },
  connections: 6_000,
  queriesPerConnection: 16 / 6,
  resolved: 5_990,
  failed: 10,
  staleAnswers: 7,
  goneAddresses: 5,
  packets: 32_000,
  bytes: 4_000_000,
  conntrackEntries: 15_000,
  conntrackPeak: 3_100,
  servers: [server('coredns-a', 12_000, 0.75), server('coredns-bb', 4_000, 0.25)],
  headless: ['default/mysql:mysql'],
})
const both = report([
  clusterRun({ dns: busy }),
  localRun({ dns: { ...busy, staleAnswers: 0, servers: busy.servers.slice(0, 1) } }),
])

function sectionOf(text: string, title: string): string {
  return text.split('\n\n').find((block) => block.startsWith(title)) ?? ''
}

describe('text', () => {
  it('tells what names cost, and what came of it', () => {
    const lines = sectionOf(renderText(both), 'DNS')
      .split('\n')
      .map((line) => line.trim().replace(/ {2,}/g, ' | '))
    expect(lines).toEqual([
      'DNS',
      'Cluster | Local',
      'connections to names | 6,000 | 6,000',
      'queries | 16,000 | 16,000',
      'queries per connection | 2.67 | 2.67',
      'asked for A | 8,000 | 8,000',
      'asked for AAAA | 8,000 | 8,000',
      'answered NOERROR | 12,000 | 12,000',
      'answered NXDOMAIN | 4,000 | 4,000',
      'names not resolved | 10 | 10',
      'stale answers | 7 | 0',
      'dialled addresses that were gone | 5 | 5',
      'conntrack entries made for queries | 15,000 | 15,000',
      'most of them at once | 3,100 | 3,100',
      'packets | 32,000 | 32,000',
      'bytes | 3.81 MiB | 3.81 MiB',
      'Dialled pod by pod, balanced by nobody but the resolvers’ shuffle: default/mysql:mysql',
    ])
  })

  it('has a row for each server, 0 where a run did not have it', () => {
    const rows = sectionOf(renderText(both), 'Queries by DNS server').split('\n').slice(2)
    expect(rows.map((line) => line.trim().replace(/ {2,}/g, ' | '))).toEqual([
      'kube-system/coredns-a on node-a | 12,000 (75.0 %) | 12,000 (75.0 %)',
      'kube-system/coredns-bb on node-a | 4,000 (25.0 %) | 0',
    ])
  })

  it('is not there where nothing was asked', () => {
    expect(renderText(report([clusterRun()]))).not.toMatch(/^DNS|DNS server/m)
  })
})

describe('Markdown', () => {
  it('has the same rows', () => {
    const text = renderMarkdown(both)
    expect(text).toContain('## DNS')
    expect(text).toContain('| queries per connection | 2.67 | 2.67 |')
    expect(text).toContain('| kube-system/coredns-bb on node-a | 4,000 (25.0 %) | 0 |')
  })
})

describe('thresholds', () => {
  it.each([
    ['runs[*].dns.queriesPerConnection < 3', true],
    ['runs[*].dns.staleAnswers == 0', false],
    ['runs[0].dns.servers[*].share < 80%', true],
    ['runs[0].dns.byRcode.NXDOMAIN < 1', false],
  ])('%s', (text, passes) => {
    expect(evaluateThresholds([parseThreshold(text)], both).map((result) => result.pass)).toEqual([passes])
  })
})

it('the JSON is what its schema says', () => {
  const schema = JSON.parse(
    readFileSync(join(import.meta.dirname, '..', '..', 'schemas', 'replay.schema.json'), 'utf8'),
  ) as object
  const validate = new Ajv({ strict: false }).compile(schema)
  const written = JSON.parse(renderJson(both)) as object
  expect(validate(written)).toBe(true)
  const broken = { ...written, runs: [{ ...both.runs[0], dns: { ...busy, servers: [{ address: 5 }] } }] }
  expect(validate(broken)).toBe(false)
})
