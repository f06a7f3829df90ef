/** What the trace tests share: a folder that goes away, small traces, and all rows of a trace as plain objects. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import type { TraceContent, TraceDestination } from '../../src/trace/format.ts'
import {
  createConnectionColumns,
  createPacketColumns,
  createRequestColumns,
  PACKETS_BLOCK,
  REQUESTS_BLOCK,
} from '../../src/trace/format.ts'
import { openTrace } from '../../src/trace/read.ts'
import { TraceWriter } from '../../src/trace/write.ts'

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-trace-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export const DESTINATION: TraceDestination = {
  address: 0,
  port: 80,
  protocol: 6,
  to: 'clusterIP',
  service: 'default/web',
  servicePort: 80,
  node: null,
  steer: 'tuple',
}

/** Address 0 is 10.96.0.1, then clients 10.0.0.1 …; the last is 2001:db8::1. */
export function contentWith(clients: number, destinations: readonly TraceDestination[] = [DESTINATION]): TraceContent {
  const v4 = Uint8Array.from([
    10,
    96,
    0,
    1,
    ...Array.from({ length: clients }, (_, i) => [10, 0, i >> 8, i + 1]).flat(),
  ])
  const v6 = new Uint8Array(16)
  v6.set([0x20, 0x01, 0x0d, 0xb8])
  v6[15] = 1
  return {
    name: 'small',
    provenance: { generator: 'test', seed: 7, scenario: null },
    manifests: [{ name: 'web.yaml', text: 'kind: Service\n' }],
    addresses: { v4, v6 },
    clientNames: [[1, 'pod/default/client-0']],
    destinations,
    changes: [],
  }
}

/** Index into the header's requests, bytes of the request, bytes of the response. */
export type Asked = readonly [request: number, requestBytes: number, responseBytes: number]

export interface Row {
  readonly connection: number
  readonly tick: number
  readonly flags: number
  readonly length: number
  /** The request that the packet begins. */
  readonly asks?: Asked
}

/** Write packets of connections that open at their first packet and are released after their last. */
export function writeRows(
  path: string,
  content: TraceContent,
  connections: readonly { client: number; destination: number; sourcePort: number }[],
  rows: readonly Row[],
  windowRows: number,
): void {
  const writer = new TraceWriter(path, content, { windowRows })
  const handles = new Map<number, number>()
  const last = new Map(rows.map(({ connection }, i) => [connection, i]))
  rows.forEach(({ connection, tick, flags, length, asks }, i) => {
    if (!handles.has(connection)) {
      const { client, destination, sourcePort } = connections[connection]
      handles.set(connection, writer.defineConnection(client, destination, sourcePort))
    }
    writer.packet(handles.get(connection)!, tick, flags, length)
    if (asks !== undefined) writer.request(handles.get(connection)!, ...asks)
    if (last.get(connection) === i) writer.release(handles.get(connection)!)
  })
  writer.end()
}

export interface ReadPacket {
  readonly lane: number
  readonly window: number
  readonly client: number
  readonly destination: number
  readonly sourcePort: number
  readonly tick: number
  readonly flags: number
  readonly length: number
  /** Which of the trace's connections, in the order of their rows. */
  readonly connection: number
  readonly asks?: Asked
}

/** Every packet of a trace with its connection, as a reader that follows docs/trace-format.md sees it. */
export function readAll(path: string): ReadPacket[] {
  const trace = openTrace(path)
  try {
    const { index } = trace
    const packets = createPacketColumns(trace.maxRows)
    const connections = createConnectionColumns(trace.maxRows)
    const requests = createRequestColumns(trace.maxRows)
    const living = new Map<string, Pick<ReadPacket, 'client' | 'destination' | 'sourcePort' | 'connection'>>()
    const all: ReadPacket[] = []
    let count = 0
    for (let block = 0; block < index.count; block++) {
      const lane = index.lane[block]
      const window = index.window[block]
      if (index.kind[block] === PACKETS_BLOCK) {
        const rows = trace.readPackets(block, packets)
        for (let row = 0; row < rows; row++) {
          all.push({
            ...living.get(`${lane}/${packets.slot[row]}`)!,
            lane,
            window,
            tick: packets.baseTick + packets.time[row],
            flags: packets.flags[row],
            length: packets.length[row],
          })
        }
      } else if (index.kind[block] === REQUESTS_BLOCK) {
        const first = all.length - index.rows[block - 1]
        const rows = trace.readRequests(block, requests)
        for (let i = 0; i < rows; i++) {
          const at = first + requests.row[i]
          all[at] = { ...all[at], asks: [requests.request[i], requests.requestBytes[i], requests.responseBytes[i]] }
        }
      } else {
        const rows = trace.readConnections(block, connections)
        for (let row = 0; row < rows; row++) {
          living.set(`${lane}/${connections.slot[row]}`, {
            client: connections.client[row],
            destination: connections.destination[row],
            sourcePort: connections.sourcePort[row],
            connection: count++,
          })
        }
      }
    }
    return all
  } finally {
    trace.close()
  }
}
