/**
 * A node's conntrack table in the middle of a replay: taken out of the shards as numbers, and written down as `conntrack -L` has it.
 *
 * Rows of TABLE_ROW words: both tuples, what is left of the timeout in ms, state and status, protocol. They are taken between two packets
 * of each shard at the same moment, so what is in them does not depend on workers; lines are sorted. Expired entries are left out.
 */
import {
  type ConntrackTable,
  ENTRY_DESTINATION,
  ENTRY_EXPIRES,
  ENTRY_NODE_PROTOCOL,
  ENTRY_PORTS,
  ENTRY_REPLY_DESTINATION,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SHIFT,
  ENTRY_SOURCE,
  ENTRY_STATE,
  STATE_NAMES,
  STATUS_ASSURED,
  STATUS_SEEN_REPLY,
} from '../../native-free-core/index.ts'
import type { Registry } from '../compile/registry.ts'
import { formatLine } from '../conntrack/lines.ts'

const TABLE_ROW = 9
const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }

/** The live entries of a shard on a node. */
export function tableRows(table: ConntrackTable, shard: number, node: number, nowMs: number): Int32Array {
  const { entries } = table
  const words: number[] = []
  table.forEachOfShard(shard, (entry) => {
    const at = entry << ENTRY_SHIFT
    const nodeProtocol = entries[at + ENTRY_NODE_PROTOCOL]!
    const left = (entries[at + ENTRY_EXPIRES]! - nowMs) | 0
    if (nodeProtocol >> 8 !== node || left <= 0) return
    words.push(
      entries[at + ENTRY_SOURCE]!,
      entries[at + ENTRY_DESTINATION]!,
      entries[at + ENTRY_PORTS]!,
      entries[at + ENTRY_REPLY_SOURCE]!,
      entries[at + ENTRY_REPLY_DESTINATION]!,
      entries[at + ENTRY_REPLY_PORTS]!,
      left,
      entries[at + ENTRY_STATE]!,
      nodeProtocol & 0xff,
    )
  })
  return Int32Array.from(words)
}

/** @param rows  of all workers */
export function tableText(rows: readonly Int32Array[], registry: Registry): string {
  const lines: string[] = []
  for (const words of rows) {
    for (let at = 0; at < words.length; at += TABLE_ROW) {
      const tuple = (from: number) => ({
        source: registry.addressText(words[from]!),
        destination: registry.addressText(words[from + 1]!),
        sourcePort: words[from + 2]! >>> 16,
        destinationPort: words[from + 2]! & 0xffff,
      })
      const state = words[at + 7]!
      const seenReply = (state & STATUS_SEEN_REPLY) !== 0
      const protocol = PROTOCOL_NAMES[words[at + 8]!] ?? String(words[at + 8]!)
      const name = STATE_NAMES[state & 15]!
      lines.push(
        formatLine(
          {
            protocol,
            seconds: Math.floor(words[at + 6]! / 1000),
            // SCTP has one state here, with one timeout; the kernel has several.
            state: protocol === 'sctp' ? (seenReply ? 'ESTABLISHED' : 'COOKIE_WAIT') : name,
            original: tuple(at),
            reply: tuple(at + 3),
          },
          { seenReply, assured: (state & STATUS_ASSURED) !== 0 },
        ),
      )
    }
  }
  return lines
    .sort()
    .map((line) => `${line}\n`)
    .join('')
}
