/** What a damaged requests block, and a header that says something impossible about HTTP, are told apart by. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { formatInspection } from '../../src/commands/inspect-text.ts'
import type { UserError } from '../../src/errors.ts'
import {
  createPacketColumns,
  createRequestColumns,
  PACKETS_BLOCK,
  REQUESTS_BLOCK,
  type TraceContent,
} from '../../src/trace/format.ts'
import { parseHeader } from '../../src/trace/header.ts'
import { inspectTrace } from '../../src/trace/inspect.ts'
import { openTrace } from '../../src/trace/read.ts'
import { verifyTrace } from '../../src/trace/verify.ts'
import { contentWith, DESTINATION, type Row, temporaryFolder, writeRows } from './support.ts'

const folder = temporaryFolder()
const path = join(folder, 'requests.msgpack')
const GET = { host: 'a.example.com', path: '/', method: 'GET', scheme: 'http' } as const
const content: TraceContent = { ...contentWith(3), requests: [GET, { ...GET, path: '/b' }] }
/** All connections are of one client and port, so of one lane. */
const connections = [{ client: 1, destination: 0, sourcePort: 50_000 }]
/** Request, reply, request, packet without one, request. */
const rows: Row[] = [
  { connection: 0, tick: 0, flags: 0x18, length: 140, asks: [0, 100, 500] },
  { connection: 0, tick: 10, flags: 0x98, length: 540 },
  { connection: 0, tick: 20, flags: 0x18, length: 150, asks: [1, 110, 600] },
  { connection: 0, tick: 30, flags: 0x10, length: 40 },
  { connection: 0, tick: 40, flags: 0x18, length: 160, asks: [0, 120, 700] },
]

const COLUMNS = ['row', 'request', 'requestBytes', 'responseBytes'] as const

/** Where the values of the trace's only requests block begin in the file. */
function placesIn(bytes: Buffer): Record<'crc' | (typeof COLUMNS)[number], number> {
  const trace = openTrace(path)
  const from = trace.index.offset[trace.index.kind.indexOf(REQUESTS_BLOCK)]
  trace.close()
  // A short string is a byte with its length, a column 0xc4 and its length, a checksum 0xce.
  const behind = (name: string, head: number) =>
    bytes.indexOf(Buffer.concat([Buffer.from([0xa0 | name.length]), Buffer.from(name)]), from) + 1 + name.length + head
  const columns = Object.fromEntries(COLUMNS.map((name) => [name, behind(name, 2)]))
  return { crc: behind('crc', 1), ...columns } as ReturnType<typeof placesIn>
}

type Change = (at: ReturnType<typeof placesIn>, bytes: Buffer) => void

/** Change words of the requests block, give it the checksum of what it then is, and read the trace. */
function errorOf(change: Change, mended = true): UserError {
  writeRows(path, content, connections, rows, 16)
  const bytes = readFileSync(path)
  const at = placesIn(bytes)
  change(at, bytes)
  const size = rows.filter(({ asks }) => asks !== undefined).length * 4
  const crc = COLUMNS.reduce((sum, name) => crc32(bytes.subarray(at[name], at[name] + size), sum), 0)
  if (mended) bytes.writeUInt32BE(crc, at.crc)
  writeFileSync(path, bytes)
  try {
    verifyTrace(path)
  } catch (error) {
    return error as UserError
  }
  throw new Error('nothing was found wrong')
}

describe('a requests block', () => {
  it('is whole to begin with, and its rows lie in the block before', () => {
    writeRows(path, content, connections, rows, 16)
    expect(verifyTrace(path).packets).toBe(5)
    const trace = openTrace(path)
    const block = trace.index.kind.indexOf(REQUESTS_BLOCK)
    expect(trace.index.kind[block - 1]).toBe(PACKETS_BLOCK)
    const packets = createPacketColumns(trace.maxRows)
    const requests = createRequestColumns(trace.maxRows)
    trace.readPackets(block - 1, packets)
    expect(trace.readRequests(block, requests)).toBe(3)
    expect([...requests.row.subarray(0, 3)].map((row) => packets.time[row])).toEqual([0, 20, 40])
    trace.close()
  })

  it.each<[string, Change, string]>([
    ['a row twice', ({ row }, bytes) => bytes.writeUInt32LE(0, row + 4), 'request 1 goes back'],
    ['a row that goes back', ({ row }, bytes) => bytes.writeUInt32LE(3, row), 'request 1 goes back'],
    [
      'a row behind the packets',
      ({ row }, bytes) => bytes.writeUInt32LE(5, row + 8),
      'request 2 goes back, or names a packet',
    ],
    [
      'a request that is not in the list',
      ({ request }, bytes) => bytes.writeUInt32LE(2, request),
      'request 0 goes back, or names',
    ],
    ['a reply', ({ row }, bytes) => bytes.writeUInt32LE(1, row + 4), 'request 1 begins with a reply'],
  ])('that names %s is refused', (_, change, message) => {
    const error = errorOf(change)
    expect(error.code).toBe('E_TRACE_CORRUPT')
    expect(error.message).toContain(message)
    expect(error.where).toMatch(/block \d+ \(requests, lane \d+, window 0\) at byte \d+$/)
  })

  it('whose checksum does not match is refused', () => {
    expect(errorOf(({ request }, bytes) => bytes.writeUInt32LE(1, request), false).message).toContain('checksum')
  })

  it('of a UDP connection is refused', () => {
    writeRows(
      path,
      { ...contentWith(3, [{ ...DESTINATION, protocol: 17 }]), requests: [GET] },
      connections,
      rows.slice(0, 2),
      16,
    )
    expect(() => verifyTrace(path)).toThrow('request 0 is not of a TCP connection')
  })
})

describe('a header', () => {
  const header = () => ({ ...content, format: 'dpemu-trace', version: 1, tickNanos: 100, lanes: 16 })
  const entrance = { ...DESTINATION, to: 'ingress', ingress: 'default/web', service: null, servicePort: null }
  const messageOf = (fields: object): string => {
    try {
      parseHeader({ ...header(), ...fields }, 'x.msgpack')
      return ''
    } catch (error) {
      return (error as UserError).message
    }
  }

  it.each([
    [{ requests: {} }, "the header's requests"],
    [{ requests: ['GET /'] }, "the header's requests[0]"],
    [{ requests: [GET, { ...GET, host: 7 }] }, "the header's requests[1].host"],
    [{ requests: [{ ...GET, path: null }] }, "the header's requests[0].path"],
    [{ requests: [{ ...GET, method: undefined }] }, "the header's requests[0].method"],
    [{ requests: [{ ...GET, scheme: 'ftp' }] }, "the header's requests[0].scheme"],
    [{ destinations: [{ ...entrance, ingress: undefined }] }, "the header's destinations[0].ingress"],
    [{ destinations: [{ ...entrance, protocol: 17 }] }, "the header's destinations[0].protocol"],
    [{ destinations: [{ ...entrance, service: 'default/web' }] }, "the header's destinations[0].service"],
    [{ destinations: [{ ...entrance, servicePort: 80 }] }, "the header's destinations[0].service"],
  ])('%j is refused', (fields, field) => {
    expect(messageOf(fields)).toBe(`${field} is missing or not what it must be`)
  })

  it('without requests, or with an entrance on a node, is none', () => {
    const { requests: _, ...without } = content
    expect(messageOf(without)).toBe('')
    expect(messageOf({ destinations: [{ ...entrance, node: 'node-a' }] })).toBe('')
  })
})

describe('inspect', () => {
  it('counts requests by host and path, the most frequent first', () => {
    writeRows(path, content, connections, rows, 16)
    const inspection = inspectTrace(path)
    expect(inspection.requests).toEqual({
      count: 3,
      distinct: 2,
      top: [
        { host: 'a.example.com', path: '/', count: 2, share: 2 / 3 },
        { host: 'a.example.com', path: '/b', count: 1, share: 1 / 3 },
      ],
    })
    expect(inspection.file).toMatchObject({ connectionBlocks: 1, packetBlocks: 1, requestBlocks: 1 })
    const text = formatInspection(inspection)
    expect(text).toMatch(/^requests +3 \(3(\.0+)? a connection\), 2 distinct$/m)
    expect(text).toMatch(/^a\.example\.com +\/ +2 +66\.7 ?%$/m)
  })

  it('adds up methods and schemes, lists ten, and keeps each on its line', () => {
    const paths = Array.from({ length: 12 }, (_, i) => (i === 0 ? `/\n${'x'.repeat(100)}` : `/${i}`))
    const requests = [
      ...paths.map((path) => ({ ...GET, path })),
      { ...GET, path: '/11', method: 'POST', scheme: 'https' } as const,
    ]
    const asked = requests.map((_, i): Row => ({ connection: 0, tick: i, flags: 0x18, length: 140, asks: [i, 1, 1] }))
    writeRows(path, { ...contentWith(3), requests }, connections, asked, 64)
    const inspection = inspectTrace(path)
    expect(inspection.requests.distinct).toBe(13)
    expect(inspection.requests.top).toHaveLength(10)
    expect(inspection.requests.top[0]).toEqual({ host: GET.host, path: '/11', count: 2, share: 2 / 13 })
    const text = formatInspection(inspection)
    expect(text).toContain('"/\\n')
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThan(140)
  })

  it('says nothing of HTTP in a trace without', () => {
    writeRows(
      path,
      contentWith(3),
      connections,
      rows.map(({ asks: _, ...row }) => row),
      16,
    )
    const inspection = inspectTrace(path)
    expect(inspection.requests).toEqual({ count: 0, distinct: 0, top: [] })
    expect(formatInspection(inspection)).not.toContain('request')
  })
})
