/** Whatever is in a dump: a comparison, or a UserError that says where. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { compareDump } from '../../src/rules/against.ts'
import { comparisonJson, comparisonText } from '../../src/rules/against-text.ts'
import { readDump } from '../../src/rules/read/dump.ts'
import { clusterOf } from '../core/cluster.ts'
import { dumpTexts } from './dumps.ts'

const SEED = { seed: 20_261 }
const CLUSTER = clusterOf({
  nodes: 2,
  services: [
    {
      name: 'web',
      nodePort: 30080,
      balancer: ['203.0.113.1'],
      sourceRanges: ['198.51.100.0/24'],
      affinitySeconds: 60,
      external: 'Local',
      endpoints: [
        { address: '10.1.0.5', node: 'a' },
        { address: '10.1.1.5', node: 'b' },
      ],
    },
  ],
})
const TEXTS = dumpTexts(CLUSTER)

function holds(text: string): void {
  try {
    const comparison = compareDump(CLUSTER, readDump([{ path: 'fuzz.txt', text }], null), 'a')
    JSON.parse(comparisonJson(comparison))
    expect(comparisonText(comparison)).not.toContain('undefined')
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    expect(error.where).not.toBe('')
    expect(error.exitCode).toBe(3)
  }
}

const dump = fc.constantFrom(...TEXTS)

test('bytes that were changed', () => {
  const change = fc.record({
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    to: fc.constantFrom(...'{};,"! \n@:.0123/-ax'),
  })
  fc.assert(
    fc.property(dump, fc.array(change, { minLength: 1, maxLength: 6 }), (text, changes) => {
      let changed = text
      for (const { at, to } of changes) {
        const i = Math.floor(at * changed.length)
        changed = changed.slice(0, i) + to + changed.slice(i + 1)
      }
      holds(changed)
    }),
    { ...SEED, numRuns: 400 },
  )
})

test('lines that are missing, doubled, cut or in another order', () => {
  const step = fc.record({ kind: fc.nat(3), at: fc.nat(10_000), other: fc.nat(10_000) })
  fc.assert(
    fc.property(dump, fc.array(step, { minLength: 1, maxLength: 5 }), (text, steps) => {
      const lines = text.split('\n')
      for (const { kind, at, other } of steps) {
        const i = at % lines.length
        if (kind === 0) lines.splice(i, 1)
        else if (kind === 1) lines.splice(i, 0, lines[other % lines.length]!)
        else if (kind === 2) lines[i] = lines[i]!.slice(0, other % (lines[i]!.length + 1))
        else lines[i] = lines[other % lines.length]!
        if (lines.length === 0) lines.push('')
      }
      holds(lines.join('\n'))
    }),
    { ...SEED, numRuns: 400 },
  )
})

test('words of the tools in any order', () => {
  const words = [...new Set(TEXTS.join(' ').split(/\s+/))].filter((word) => word !== '')
  const text = fc
    .array(fc.constantFrom(...words, '\n', '\n', '{', '}'), { maxLength: 80 })
    .map((list) => list.join(' '))
  const start = fc.constantFrom(
    'table ip kube-proxy { ',
    '*nat\n',
    '-A -t ',
    '{"nftables": [',
    'add rule ip kube-proxy x ',
    '',
  )
  fc.assert(
    fc.property(start, text, (first, rest) => holds(first + rest)),
    { ...SEED, numRuns: 1500 },
  )
})

test('chains that lead in circles are an error, and end', () => {
  const text = [
    'table ip kube-proxy {',
    '\tchain nat-prerouting {',
    '\t\ttype nat hook prerouting priority dstnat; policy accept;',
    '\t\tjump a',
    '\t}',
    '\tchain a {',
    '\t\tip daddr 10.96.0.10 tcp dport 80 goto b',
    '\t}',
    '\tchain b {',
    '\t\tgoto a',
    '\t}',
    '}',
  ].join('\n')
  expect(() => compareDump(CLUSTER, readDump([{ path: 'x', text }], null), 'a')).toThrow(
    expect.objectContaining({ code: 'E_DUMP', message: expect.stringContaining('circles') }),
  )
})
