/** The text of `dpemu inspect`: one screen for a trace of a few destinations. */
import Table from 'cli-table3'
import {
  formatBitRate,
  formatBytes,
  formatCount,
  formatPercent,
  formatRate,
  formatRatio,
  formatSeconds,
} from '../report/units.ts'
import type { DestinationInspection, Spread, TraceInspection } from './inspect.ts'

/** Destinations beyond these are summed up in one line. */
const LISTED_DESTINATIONS = 40
/** Of a host or path. */
const SHOWN_CHARACTERS = 60

export function formatInspection(inspection: TraceInspection): string {
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
    facts.map(([name, value]) => `${name.padEnd(12)} ${value}`).join('\n'),
    destinationTable(inspection.destinations),
    ...(inspection.requests.count > 0 ? [requestTable(inspection)] : []),
    spreadTable(inspection),
    clientTable(inspection),
  ]
    .join('\n\n')
    .replace(/ +$/gm, '')
    .concat('\n')
}

/** Nothing of a trace without HTTP. */
function requestFact({ requests, totals }: TraceInspection): [string, string][] {
  if (requests.count === 0) return []
  const each = formatRatio(share(requests.count, totals.connections))
  return [
    ['requests', `${formatCount(requests.count)} (${each} a connection), ${formatCount(requests.distinct)} distinct`],
  ]
}

function requestTable({ requests }: TraceInspection): string {
  const table = plainTable(['HOST', 'PATH', 'REQUESTS', 'SHARE'])
  for (const { host, path, count, share } of requests.top) {
    table.push([shown(host), shown(path), formatCount(count), formatPercent(share)])
  }
  return table.toString()
}

/** A host or path as one cell: what would break the line or the terminal is escaped, what is very long is cut. */
function shown(text: string): string {
  if (text === '') return '-'
  const plain = /^[\x21-\x7e]*$/.test(text) ? text : JSON.stringify(text).replace(/[^\x20-\x7e]/g, '?')
  return plain.length > SHOWN_CHARACTERS ? `${plain.slice(0, SHOWN_CHARACTERS - 1)}…` : plain
}

function destinationTable(destinations: readonly DestinationInspection[]): string {
  const table = plainTable(['DESTINATION', 'VIA', 'SERVICE', 'CONNECTIONS', 'PACKETS', 'BYTES'])
  const byConnections = [...destinations].sort((a, b) => b.connections - a.connections)
  for (const one of byConnections.slice(0, LISTED_DESTINATIONS)) {
    const host = one.name ?? (one.address.includes(':') ? `[${one.address}]` : one.address)
    table.push([
      `${host}:${one.port}/${one.protocol}`,
      one.node === null ? one.to : `${one.to} on ${one.node}`,
      one.ingress ?? (one.service === null ? '-' : `${one.service}:${one.servicePort}`),
      ...[formatCount(one.connections), formatCount(one.packets), formatBytes(one.bytes)],
    ])
  }
  const more = destinations.length - LISTED_DESTINATIONS
  return more > 0 ? `${table.toString()}\nand ${formatCount(more)} more` : table.toString()
}

function spreadTable(inspection: TraceInspection): string {
  const table = plainTable(['PER', 'MEAN', 'MIN', 'P50', 'P90', 'P99', 'MAX'])
  const row = (name: string, { mean, min, p50, p90, p99, max }: Spread, format: (value: number) => string): void => {
    table.push([name, ...[mean, min, p50, p90, p99, max].map(format)])
  }
  row('bytes of a packet', inspection.packetBytes, (bytes) => formatCount(Math.round(bytes)))
  row('packets of a connection', inspection.connectionPackets, formatCount)
  row('bytes of a connection', inspection.connectionBytes, formatBytes)
  return table.toString()
}

function clientTable(inspection: TraceInspection): string {
  const table = plainTable(['BUSIEST CLIENTS', 'POD', 'CONNECTIONS'])
  for (const { address, name, connections } of inspection.topClients) {
    table.push([address, name ?? '-', formatCount(connections)])
  }
  return table.toString()
}

function plainTable(head: string[]): Table.Table {
  const none = ['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right']
  const inside = ['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid']
  return new Table({
    head,
    chars: { ...Object.fromEntries([...none, ...inside].map((part) => [part, ''])), middle: '  ' },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  })
}

function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}
