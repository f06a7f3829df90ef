import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { addressText, FLAG_REPLY, LANES, MAX_WINDOW_TICKS, UNKNOWN_BYTES } from '../../src/trace/format.ts'
import { openTrace } from '../../src/trace/read.ts'
import { verifyTrace } from '../../src/trace/verify.ts'
import { TraceWriter } from '../../src/trace/write.ts'
import { contentWith, DESTINATION, type ReadPacket, readAll, temporaryFolder, writeRows } from './support.ts'

const folder = temporaryFolder()
const path = join(folder, 'round.msgpack')

const CLIENTS = 20
const DESTINATIONS = [
  DESTINATION,
  { ...DESTINATION, port: 53, protocol: 17, steer: 'client' },
  { ...DESTINATION, port: 443, steer: 'destination' },
] as const

const REQUESTS = [
  { host: 'app1.example.com', path: '/backend1', method: 'GET', scheme: 'https' },
  { host: 'app1.example.com', path: '/backend2?a=%20b', method: 'POST', scheme: 'http' },
  { host: '', path: '*', method: 'OPTIONS', scheme: 'http' },
] as const
const size = fc.oneof(fc.constantFrom(0, UNKNOWN_BYTES), fc.integer({ min: 0, max: UNKNOWN_BYTES }))

/** Connections, and packets of them in order of time with gaps from nothing to far more than a window may span. */
const traffic = fc.record({
  connections: fc.array(
    fc.record({
      client: fc.integer({ min: 1, max: CLIENTS }),
      destination: fc.integer({ min: 0, max: DESTINATIONS.length - 1 }),
      sourcePort: fc.integer({ min: 0, max: 65_535 }),
    }),
    { minLength: 1, maxLength: 30 },
  ),
  steps: fc.array(
    fc.record({
      connection: fc.nat(),
      gap: fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: 0, max: 5000 }) },
        fc.integer({ min: 0, max: 3 * MAX_WINDOW_TICKS }),
      ),
      flags: fc.integer({ min: 0, max: 255 }),
      length: fc.integer({ min: 0, max: 65_535 }),
      asks: fc.option(fc.tuple(fc.nat(2), size, size), { nil: undefined }),
    }),
    { maxLength: 200 },
  ),
  windowRows: fc.integer({ min: 1, max: 64 }),
})

describe('what is written is what is read', () => {
  it('every packet, with its connection, in order of time', () => {
    fc.assert(
      fc.property(traffic, ({ connections, steps, windowRows }) => {
        let tick = 0
        const rows = steps.map(({ connection: number, gap, flags, length, asks }) => {
          tick += gap
          const connection = number % connections.length
          // A request begins with a packet of a TCP client.
          const may = (flags & FLAG_REPLY) === 0 && DESTINATIONS[connections[connection].destination].protocol === 6
          return { connection, tick, flags, length, ...(may && asks !== undefined ? { asks } : {}) }
        })
        writeRows(path, { ...contentWith(CLIENTS, DESTINATIONS), requests: REQUESTS }, connections, rows, windowRows)

        const packets = readAll(path)
        const plain = (packet: (typeof rows)[number] | ReadPacket, of: (typeof connections)[number]) =>
          JSON.stringify([
            packet.tick,
            packet.flags,
            packet.length,
            packet.asks,
            of.client,
            of.destination,
            of.sourcePort,
          ])
        expect(packets.map((packet) => plain(packet, packet)).sort()).toEqual(
          rows.map((row) => plain(row, connections[row.connection])).sort(),
        )

        const totals = verifyTrace(path)
        const used = new Set(rows.map((row) => row.connection))
        expect(totals).toEqual({
          packets: rows.length,
          connections: used.size,
          bytes: rows.reduce((sum, row) => sum + row.length, 0),
          durationTicks: tick,
          windows: new Set(packets.map((packet) => packet.window)).size,
          clients: new Set([...used].map((connection) => connections[connection].client)).size,
        })
      }),
      { seed: 1, numRuns: 150 },
    )
  })

  it('requests are of the packets that they were given for, in any lane', () => {
    const connections = Array.from({ length: 40 }, (_, i) => ({ client: 1 + (i % 7), destination: 0, sourcePort: i }))
    // Every packet tells by its length which request it begins: none, or that of its size.
    const rows = Array.from({ length: 1000 }, (_, i) => ({
      connection: (i * 7) % 40,
      tick: i,
      flags: 0x18,
      length: 40 + i,
      ...(i % 3 === 0 ? { asks: [i % 2, i, UNKNOWN_BYTES] as const } : {}),
    }))
    writeRows(path, { ...contentWith(8), requests: REQUESTS }, connections, rows, 300)
    const packets = readAll(path)
    expect(new Set(packets.map(({ lane }) => lane)).size).toBeGreaterThan(8)
    for (const { length, asks } of packets) {
      const i = length - 40
      expect(asks).toEqual(i % 3 === 0 ? [i % 2, i, UNKNOWN_BYTES] : undefined)
    }
    const trace = openTrace(path)
    expect(trace.requestCount).toBe(334)
    trace.close()
  })

  it('no window has more packets or ticks than it may, and windows are in order of time', () => {
    fc.assert(
      fc.property(traffic, ({ connections, steps, windowRows }) => {
        let tick = 0
        const rows = steps.map(({ gap, asks: _, ...step }) => {
          tick += gap
          return { ...step, connection: step.connection % connections.length, tick }
        })
        writeRows(path, contentWith(CLIENTS, DESTINATIONS), connections, rows, windowRows)
        const windows = new Map<number, number[]>()
        for (const { window, tick } of readAll(path)) windows.set(window, [...(windows.get(window) ?? []), tick])
        let end = 0
        for (const window of [...windows.keys()].sort((a, b) => a - b)) {
          const ticks = windows.get(window)!
          expect(ticks.length).toBeLessThanOrEqual(windowRows)
          expect(Math.max(...ticks) - Math.min(...ticks)).toBeLessThanOrEqual(MAX_WINDOW_TICKS)
          expect(Math.min(...ticks)).toBeGreaterThanOrEqual(end)
          end = Math.max(...ticks)
        }
      }),
      { seed: 2, numRuns: 60 },
    )
  })
})

describe('lanes', () => {
  const connections = Array.from({ length: 400 }, (_, i) => ({
    client: 1 + (i % CLIENTS),
    destination: i % 3,
    sourcePort: 32_768 + i,
  }))
  const rows = connections.map((_, i) => ({ connection: i, tick: i, flags: 2, length: 40 }))

  it('hold together what the destination asks for, and spread the rest', () => {
    writeRows(path, contentWith(CLIENTS, DESTINATIONS), connections, rows, 50)
    const packets = readAll(path)
    const lanes = (of: (packet: (typeof packets)[number]) => boolean) =>
      new Set(packets.filter(of).map((packet) => packet.lane)).size
    expect(lanes((packet) => packet.destination === 0)).toBeGreaterThan(LANES / 2)
    for (let client = 1; client <= CLIENTS; client++) {
      expect(lanes((packet) => packet.destination === 1 && packet.client === client)).toBeLessThanOrEqual(1)
    }
    expect(lanes((packet) => packet.destination === 1)).toBeGreaterThan(5)
    expect(lanes((packet) => packet.destination === 2)).toBe(1)
  })
})

describe('slots', () => {
  it('are used again, and only in a later window', () => {
    const writer = new TraceWriter(path, contentWith(1), { windowRows: 4 })
    // One connection at a time, all in one lane: same client, port and destination.
    for (let i = 0; i < 40; i++) {
      const connection = writer.defineConnection(1, 0, 40_000)
      writer.packet(connection, i * 10, 2, 40)
      writer.release(connection)
    }
    writer.end()
    const trace = openTrace(path)
    // Four connections fill a window, so four slots are in use at most, and all are used again.
    expect(Math.max(...trace.slotsPerLane)).toBe(4)
    trace.close()
    expect(readAll(path).map((packet) => packet.tick)).toEqual(Array.from({ length: 40 }, (_, i) => i * 10))
  })
})

describe('the header', () => {
  it('comes back as it was given', () => {
    const content = contentWith(3, DESTINATIONS)
    writeRows(path, content, [], [], 8)
    const trace = openTrace(path)
    const { format, version, tickNanos, lanes, ...header } = trace.header
    expect({ format, version, tickNanos, lanes }).toEqual({
      format: 'dpemu-trace',
      version: 1,
      tickNanos: 100,
      lanes: 16,
    })
    expect({ ...header, addresses: null }).toEqual({ ...content, addresses: null })
    expect(addressText(header.addresses, 0)).toBe('10.96.0.1')
    expect(addressText(header.addresses, 2)).toBe('10.0.0.2')
    expect(addressText(header.addresses, 4)).toBe('2001:db8::1')
    expect(trace.totals.packets).toBe(0)
    trace.close()
  })

  it('lists requests and entrances of Ingresses', () => {
    const entrance = { ...DESTINATION, to: 'ingress', ingress: 'shop/web', service: null, servicePort: null } as const
    writeRows(path, { ...contentWith(3, [entrance]), requests: REQUESTS }, [], [], 8)
    const trace = openTrace(path)
    expect(trace.header.requests).toEqual(REQUESTS)
    expect(trace.header.destinations).toEqual([entrance])
    trace.close()
  })

  it('does not name requests where there are none', () => {
    writeRows(path, { ...contentWith(3), requests: [] }, [], [], 8)
    const trace = openTrace(path)
    expect(trace.header).not.toHaveProperty('requests')
    trace.close()
  })
})

describe('a request begins with the packet just given', () => {
  const one = (writer: TraceWriter) => writer.defineConnection(1, 0, 40_000)
  it.each<[string, (writer: TraceWriter) => void]>([
    ['and with nothing before any packet', (writer) => writer.request(one(writer), 0, 1, 1)],
    [
      'not with one of another connection',
      (writer) => {
        const [first, second] = [one(writer), one(writer)]
        writer.packet(first, 0, 24, 140)
        writer.request(second, 0, 1, 1)
      },
    ],
    [
      'not with a reply',
      (writer) => {
        const connection = one(writer)
        writer.packet(connection, 0, 24 | FLAG_REPLY, 140)
        writer.request(connection, 0, 1, 1)
      },
    ],
    [
      'not twice',
      (writer) => {
        const connection = one(writer)
        writer.packet(connection, 0, 24, 140)
        writer.request(connection, 0, 1, 1)
        writer.request(connection, 0, 1, 1)
      },
    ],
    [
      'not with one that has been written out',
      (writer) => {
        const connection = one(writer)
        writer.packet(connection, 0, 24, 140)
        for (let i = 0; i < 8; i++) one(writer)
        writer.request(connection, 0, 1, 1)
      },
    ],
    [
      'and is one of the list',
      (writer) => {
        const connection = one(writer)
        writer.packet(connection, 0, 24, 140)
        writer.request(connection, REQUESTS.length, 1, 1)
      },
    ],
    [
      'and has sizes of 32 bits',
      (writer) => {
        const connection = one(writer)
        writer.packet(connection, 0, 24, 140)
        writer.request(connection, 0, 1, 2 ** 32)
      },
    ],
  ])('%s', (_, wrong) => {
    const writer = new TraceWriter(
      join(folder, 'wrong.msgpack'),
      { ...contentWith(1), requests: REQUESTS },
      { windowRows: 8 },
    )
    expect(() => wrong(writer)).toThrow(RangeError)
    writer.abort()
  })
})

describe('the file', () => {
  it('is not there before the end, and nothing stays after an abort', () => {
    const place = join(folder, 'aborted.msgpack')
    const writer = new TraceWriter(place, contentWith(1))
    writer.packet(writer.defineConnection(1, 0, 1), 0, 2, 40)
    expect(existsSync(place)).toBe(false)
    writer.abort()
    expect(readdirSync(folder).filter((name) => name.startsWith('aborted'))).toEqual([])
  })

  it('that cannot be written is an error of the user', () => {
    const place = join(folder, 'no', 'such', 'folder', 'trace.msgpack')
    expect(() => new TraceWriter(place, contentWith(1))).toThrow(UserError)
  })

  it('has the same bytes for the same calls', () => {
    const rows = Array.from({ length: 100 }, (_, i) => ({ connection: i % 7, tick: i * i, flags: 16, length: 40 + i }))
    const connections = Array.from({ length: 7 }, (_, i) => ({ client: 1 + i, destination: 0, sourcePort: 1000 + i }))
    writeRows(path, contentWith(8), connections, rows, 16)
    const first = readFileSync(path)
    writeRows(path, contentWith(8), connections, rows, 16)
    expect(readFileSync(path).equals(first)).toBe(true)
  })
})
