/** The text of `dpemu inspect`: one screen for a trace of a few destinations. */
import type { Table } from '../report/document.ts'
import { renderTable } from '../report/text.ts'
import {
  formatBitRate,
  formatBytes,
  formatCount,
  formatPercent,
  formatRate,
  formatRatio,
  formatSeconds,
} from '../report/units.ts'
import { wrapLines } from '../report/wrap.ts'
import type { DestinationInspection, Spread, TraceInspection } from '../trace/inspect.ts'

/** Destinations beyond these are summed up in one line. */
const LISTED_DESTINATIONS = 40
/** Of what a fact is called. */
const LABEL_WIDTH = 12
/** Of a host or path. */
const SHOWN_CHARACTERS = 60

/** @param width  columns that there are; null: not known */
export function formatInspection(inspection: TraceInspection, width: number | null = null): string {
  const { file, totals, rates, directions, provenance, lanes } = inspection
  const facts: [string, string][] = [
    ['trace', `${inspection.name} (${file.format} version ${file.version}, ${formatBytes(file.bytes)})`],
    [
      'made by',
      `${provenance.generator}, seed ${provenance.seed}${provenance.scenario === null ? '' : ', scenario inside'}`,
    ],
    ['duration', formatSeconds(totals.durationSeconds)],
    [
      'packets',
      `${formatCount(totals.packets)} (${formatRate(rates.packetsPerSecond)}, ${formatBitRate(rates.bitsPerSecond)})`,
    ],
    ['connections', `${formatCount(totals.connections)} (${formatRate(rates.connectionsPerSecond)})`],
    ...requestFact(inspection),
    ['clients', formatCount(totals.clients)],
    [
      'replies',
      `${formatPercent(share(directions.reply.packets, totals.packets))} of packets, ${formatPercent(share(directions.reply.bytes, totals.bytes))} of bytes`,
    ],
    ...inspection.protocols.map(({ protocol, connections, packets }): [string, string] => [
      protocol,
      `${formatCount(connections)} connections, ${formatCount(packets)} packets`,
    ]),
    ['lanes', `${lanes.used} of ${lanes.count}, busiest ${formatRatio(lanes.maxOverMean)} times the mean`],
    [
      'blocks',
      [
        `${formatCount(file.packetBlocks)} of packets`,
        `${formatCount(file.connectionBlocks)} of connections`,
        ...(file.requestBlocks > 0 ? [`${formatCount(file.requestBlocks)} of requests`] : []),
        `${formatCount(file.windows)} windows`,
      ].join(', '),
    ],
    [
      'manifests',
      inspection.manifests.map(({ name, bytes }) => `${name} (${formatBytes(bytes)})`).join(', ') || 'none',
    ],
  ]
  return [
    facts.map(([name, value]) => factLine(name, value, width)).join('\n'),
    destinationTable(inspection.destinations, width),
    ...(inspection.requests.count > 0 ? [requestTable(inspection, width)] : []),
    spreadTable(inspection, width),
    clientTable(inspection, width),
  ]
    .join('\n\n')
    .replace(/ +$/gm, '')
    .concat('\n')
}

/** Values begin below each other, on whichever line. */
function factLine(name: string, value: string, width: number | null): string {
  const line = `${name.padEnd(LABEL_WIDTH)} ${value}`
  return wrapLines(line, width, { hanging: ' '.repeat(LABEL_WIDTH + 1) })
}

/** Nothing of a trace without HTTP. */
function requestFact({ requests, totals }: TraceInspection): [string, string][] {
  if (requests.count === 0) return []
  const each = formatRatio(share(requests.count, totals.connections))
  return [
    ['requests', `${formatCount(requests.count)} (${each} a connection), ${formatCount(requests.distinct)} distinct`],
  ]
}

function requestTable({ requests }: TraceInspection, width: number | null): string {
  return tableText(
    ['HOST', 'PATH', 'REQUESTS', 'SHARE'],
    requests.top.map(({ host, path, count, share }) => [
      shown(host),
      shown(path),
      formatCount(count),
      formatPercent(share),
    ]),
    width,
  )
}

/** A host or path as one cell: what would break the line or the terminal is escaped, what is very long is cut. */
function shown(text: string): string {
  if (text === '') return '-'
  const plain = /^[\x21-\x7e]*$/.test(text) ? text : JSON.stringify(text).replace(/[^\x20-\x7e]/g, '?')
  return plain.length > SHOWN_CHARACTERS ? `${plain.slice(0, SHOWN_CHARACTERS - 1)}…` : plain
}

function destinationTable(destinations: readonly DestinationInspection[], width: number | null): string {
  const byConnections = [...destinations].sort((a, b) => b.connections - a.connections)
  const rows = byConnections.slice(0, LISTED_DESTINATIONS).map((one) => {
    const host = one.name ?? (one.address.includes(':') ? `[${one.address}]` : one.address)
    return [
      `${host}:${one.port}/${one.protocol}`,
      one.node === null ? one.to : `${one.to} on ${one.node}`,
      one.ingress ?? (one.service === null ? '-' : `${one.service}:${one.servicePort}`),
      ...[formatCount(one.connections), formatCount(one.packets), formatBytes(one.bytes)],
    ]
  })
  const table = tableText(['DESTINATION', 'VIA', 'SERVICE', 'CONNECTIONS', 'PACKETS', 'BYTES'], rows, width)
  const more = destinations.length - LISTED_DESTINATIONS
  return more > 0 ? `${table}\nand ${formatCount(more)} more` : table
}

function spreadTable(inspection: TraceInspection, width: number | null): string {
  const row = (
    name: string,
    { mean, min, p50, p90, p99, max }: Spread,
    format: (value: number) => string,
  ): string[] => [name, ...[mean, min, p50, p90, p99, max].map(format)]
  const rows = [
    row('bytes of a packet', inspection.packetBytes, (bytes) => formatCount(Math.round(bytes))),
    row('packets of a connection', inspection.connectionPackets, formatCount),
    row('bytes of a connection', inspection.connectionBytes, formatBytes),
  ]
  return tableText(['PER', 'MEAN', 'MIN', 'P50', 'P90', 'P99', 'MAX'], rows, width)
}

function clientTable(inspection: TraceInspection, width: number | null): string {
  const rows = inspection.topClients.map(({ address, name, connections }) => [
    address,
    name ?? '-',
    formatCount(connections),
  ])
  return tableText(['BUSIEST CLIENTS', 'POD', 'CONNECTIONS'], rows, width)
}

function tableText(head: readonly string[], rows: readonly (readonly string[])[], width: number | null): string {
  const table: Table = { head, align: head.map(() => 'left' as const), rows, runTable: false }
  return renderTable(table, width)
}

function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}
