/** What an operator does on a node, for the rows about the kernel: list conntrack, delete from it, and count out of many. */
import { expect } from 'vitest'
import {
  ENTRY_EXPIRES,
  ENTRY_NODE_PROTOCOL,
  ENTRY_SHIFT,
  ENTRY_STATE,
  STATE_NAMES,
  STATUS_ASSURED,
  STATUS_SEEN_REPLY,
} from '../../native-free-core/index.ts'
import { FLAGS, type FlagName, type Lab, type Packet } from '../core/harness.ts'
import { send, type Who } from '../core/web.ts'

/** One line of `conntrack -L`. */
export interface Tracked {
  readonly state: string
  readonly seenReply: boolean
  readonly assured: boolean
  readonly leftMs: number
}

/** The entries of a node, the one with the longest timer first; expired ones that nobody met included. */
export function conntrackList(on: Lab, node: string, nowMs: number): Tracked[] {
  const { table } = on.dataplane
  const found: Tracked[] = []
  forEachEntry(on, (entry) => {
    const base = entry << ENTRY_SHIFT
    if (table.entries[base + ENTRY_NODE_PROTOCOL] >> 8 !== on.nodeNames.indexOf(node)) return
    const word = table.entries[base + ENTRY_STATE]
    found.push({
      state: STATE_NAMES[word & 15],
      seenReply: (word & STATUS_SEEN_REPLY) !== 0,
      assured: (word & STATUS_ASSURED) !== 0,
      leftMs: table.entries[base + ENTRY_EXPIRES] - nowMs,
    })
  })
  return found.sort((a, b) => b.leftMs - a.leftMs)
}

/** The only entry of node a, in short: `ESTABLISHED 86400 s, assured`. */
export function entryOf(on: Lab, nowMs: number): string {
  const found = conntrackList(on, 'a', nowMs)
  if (found.length !== 1) return `${found.length} entries`
  return `${found[0].state} ${found[0].leftMs / 1000} s${found[0].assured ? ', assured' : ''}`
}

/** `conntrack -F` on every node. @returns how many went */
export function conntrackFlush(on: Lab): number {
  const { conntrack } = on.dataplane.slowPath
  let removed = 0
  forEachEntry(on, (entry) => {
    conntrack.remove(entry)
    removed++
  })
  return removed
}

function forEachEntry(on: Lab, visit: (entry: number) => void): void {
  on.dataplane.table.forEachOfShard(0, visit)
}

/** Sends packets one after the other at one moment; each must pass. */
export function pass(
  on: Lab,
  connection: number,
  atMs: number,
  ...packets: readonly (readonly [Who, FlagName])[]
): void {
  for (const [from, flag] of packets) {
    expect(send(on, connection, atMs, from, flag, flag === 'data' ? 500 : 52), `${flag} by the ${from}`).toBe('accept')
  }
}

/** Rows of the packet columns, beyond which a list must be cut. */
const CHUNK = 16_000

/** Puts the same packets through for each of many connections at one moment, as fast as the core can. */
export function sendAll(
  on: Lab,
  connections: readonly number[],
  atMs: number,
  ...packets: readonly (readonly [Who, FlagName])[]
): void {
  let rows: Packet[] = []
  for (const connection of connections) {
    for (const [from, flag] of packets) rows.push({ connection, atMs, from, flags: FLAGS[flag], length: 52 })
    if (rows.length < CHUNK) continue
    on.replay(rows)
    rows = []
  }
  on.replay(rows)
}

export const HANDSHAKE = [
  ['client', 'syn'],
  ['server', 'synack'],
  ['client', 'ack'],
] as const

export const CLOSE = [
  ['client', 'fin'],
  ['server', 'ack'],
  ['server', 'fin'],
  ['client', 'ack'],
] as const

/** So many addresses outside the cluster. */
export function outside(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `198.18.${i >> 8}.${i & 255}`)
}

/** A tuple for each of many connections: as few clients as there must be, every port of 1024 to 65535. */
export function connectMany(on: Lab, clients: readonly string[], to: string, count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, i) => {
    const n = from + i
    return on.connect(clients[Math.floor(n / 64_512)], to, 1024 + (n % 64_512))
  })
}

/** Of so many independent trials about this share came out so: within 4.5 standard deviations. */
export function expectShare(hits: number, trials: number, share: number): void {
  const tolerance = 4.5 * Math.sqrt(trials * share * (1 - share))
  expect(hits, `${hits} of ${trials}`).toBeGreaterThanOrEqual(trials * share - tolerance)
  expect(hits, `${hits} of ${trials}`).toBeLessThanOrEqual(trials * share + tolerance)
}
