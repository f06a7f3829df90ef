/** Which orders of blocks an index may list, checked on indices that are made up and carry a right checksum. */
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { LANES, type TraceTotals } from '../../src/trace/format.ts'
import { indexCrc } from '../../src/trace/index-crc.ts'
import { parseIndex } from '../../src/trace/index-map.ts'

const KINDS: Readonly<Record<string, number>> = { c: 0, p: 1, r: 2, later: 9 }
const HEADER_BYTES = 100
const BLOCK_BYTES = 1000

/** Blocks as `kind lane window rows`; every one has the same size. */
function parse(lines: readonly string[]) {
  const blocks = lines.map((line) => {
    const [kind, ...numbers] = line.split(' ') as [string, ...string[]]
    const [lane, window, rows] = numbers.map(Number) as [number, number, number]
    return { kind: KINDS[kind], lane, window, rows }
  })
  const rowsOf = (kind: number) => blocks.reduce((sum, block) => sum + (block.kind === kind ? block.rows : 0), 0)
  const bytes = (array: Uint32Array | Float64Array): Uint8Array => new Uint8Array(array.buffer)
  const columns = {
    kinds: Uint8Array.from(blocks, ({ kind }) => kind),
    lanes: Uint8Array.from(blocks, ({ lane }) => lane),
    windows: bytes(Uint32Array.from(blocks, ({ window }) => window)),
    offsets: bytes(Float64Array.from(blocks, (_, i) => HEADER_BYTES + i * BLOCK_BYTES)),
    sizes: bytes(Uint32Array.from(blocks, () => BLOCK_BYTES)),
    rows: bytes(Uint32Array.from(blocks, ({ rows }) => rows)),
    baseTicks: bytes(Float64Array.from(blocks, () => 0)),
    slotsPerLane: bytes(new Uint32Array(LANES)),
  }
  const totals: TraceTotals = {
    packets: rowsOf(KINDS['p']),
    connections: rowsOf(KINDS['c']),
    bytes: 0,
    durationTicks: 0,
    windows: 1 + Math.max(...blocks.map(({ window }) => window)),
    clients: 0,
  }
  const known = blocks.filter(({ kind }) => kind <= 2)
  const maxRows = Math.max(...known.map(({ rows }) => rows))
  const crc = indexCrc(Object.values(columns), totals, maxRows, 7)
  return parseIndex({ ...columns, totals, maxRows, headerCrc: 7, crc }, HEADER_BYTES + lines.length * BLOCK_BYTES, 'x')
}

describe('requests in an index', () => {
  it.each([
    ['behind their packets', ['c 0 0 5', 'p 0 0 9', 'r 0 0 9']],
    ['of some lanes and windows only', ['p 0 0 9', 'p 3 0 9', 'r 3 0 1', 'c 0 1 2', 'p 0 1 9', 'p 3 1 9', 'r 3 1 4']],
    ['behind a block of a later kind', ['p 0 0 9', 'later 0 0 40', 'r 0 0 3']],
  ])('may be %s', (_, lines) => {
    const { index } = parse(lines)
    expect([...index.kind]).toEqual(
      lines.filter((line) => !line.startsWith('later')).map((line) => KINDS[line.split(' ')[0]]),
    )
  })

  it.each([
    ['before their packets', ['r 0 0 3', 'p 0 0 9']],
    ['without packets', ['c 0 0 3', 'r 0 0 3']],
    ['of another lane than the packets', ['p 0 0 9', 'r 1 0 3']],
    ['of another window than the packets', ['p 0 0 9', 'r 0 1 3']],
    ['behind the packets of the next lane', ['p 0 0 9', 'p 1 0 9', 'r 0 0 3']],
    ['more than the packets', ['p 0 0 9', 'r 0 0 10']],
    ['two blocks', ['p 0 0 9', 'r 0 0 3', 'r 0 0 3']],
    ['none, rather than an empty block', ['p 0 0 9', 'r 0 0 0']],
    ['followed by connections of their window and lane', ['p 0 0 9', 'r 0 0 3', 'c 0 0 3']],
    ['more than a block of its size can hold', ['p 0 0 80', 'r 0 0 63']],
  ])('may not be %s', (_, lines) => {
    expect(() => parse(lines)).toThrow(UserError)
    expect(() => parse(lines)).toThrow(/out of order in its window and lane|cannot have \d+ rows/)
  })
})
