/** KERNEL §2: a full conntrack table, at the size it was measured: 262144 entries, as many buckets. */
import { describe, expect, test } from 'vitest'
import {
  NODE_CONNTRACK_DROPS,
  NODE_EARLY_DROPS,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_ESTABLISHED,
} from '../../native-free-core/index.ts'
import { clusterOf } from '../core/cluster.ts'
import { Lab } from '../core/harness.ts'
import { CLIENT, dns, lab, NODE_A, NODE_B, onA, send, UDP_A, web } from '../core/web.ts'
import { CLOSE, connectMany, conntrackList, HANDSHAKE, outside, pass, sendAll } from './node.ts'

const MAX = 262_144
const CLIENTS = outside(8)
/** Numbers of the tuples that come when the table is full. */
const LATE = 300_000

/** One node with its pods, everything Local: a connection is one entry. */
function node(entries: number, more: number, gcIntervalMs = 60_000): Lab {
  const services = [web({ external: 'Local', endpoints: [onA] }), { ...dns, external: 'Local' as const }]
  return new Lab(clusterOf({ nodes: 1, services }), [NODE_A, UDP_A], {
    clients: CLIENTS,
    entries,
    connections: entries + more,
    gcIntervalMs,
  })
}

/** The new connections that get through, each with its first packet. */
function admitted(on: Lab, connections: readonly number[], atMs: number, flag: 'syn' | 'none'): number {
  const before = on.total(TOTAL_ESTABLISHED)
  sendAll(on, connections, atMs, ['client', flag])
  return on.total(TOTAL_ESTABLISHED) - before
}

describe('KERNEL 2.3: at the limit each new tuple looks for room (early drop)', () => {
  test('full of un-ASSURED UDP: 20000 of 20000 new flows and 200 of 200 SYNs get in, one eviction each', () => {
    const on = node(MAX, 20_200)
    sendAll(on, connectMany(on, CLIENTS, UDP_A, MAX), 0, ['client', 'none'])
    expect(on.conntrack()).toEqual([MAX])
    expect(on.nodeTotal('a', NODE_EARLY_DROPS)).toBe(0)
    expect(admitted(on, connectMany(on, CLIENTS, UDP_A, 20_000, LATE), 1, 'none')).toBe(20_000)
    const evicted = on.nodeTotal('a', NODE_EARLY_DROPS)
    expect(evicted).toBeGreaterThanOrEqual(20_000)
    expect(evicted).toBeLessThan(20_010)
    expect(admitted(on, connectMany(on, CLIENTS, NODE_A, 200), 2, 'syn')).toBe(200)
    expect(on.nodeTotal('a', NODE_EARLY_DROPS) - evicted).toBeGreaterThan(190)
    expect(on.nodeTotal('a', NODE_EARLY_DROPS) - evicted).toBeLessThan(210)
    expect(on.nodeTotal('a', NODE_CONNTRACK_DROPS)).toBe(0)
    on.selfCheck()
  })

  test('full of ASSURED with 500 slots free: about 512 of 1000 SYNs get in, the others are dropped and counted', () => {
    const on = node(MAX, 1000)
    const old = connectMany(on, CLIENTS, NODE_A, MAX - 500)
    sendAll(on, old, 0, ...HANDSHAKE)
    const passed = admitted(on, connectMany(on, CLIENTS, NODE_A, 1000, LATE), 1, 'syn')
    // 500, and of the rest about 3 %: the earlier SYNs are un-ASSURED, and 8 buckets hold 16 of 524288 tuples.
    expect(passed).toBeGreaterThan(500)
    expect(passed).toBeLessThan(535)
    expect(on.nodeTotal('a', NODE_CONNTRACK_DROPS)).toBe(1000 - passed)
    // Packets of connections under way are never affected.
    const accepted = on.total(TOTAL_ACCEPTED_PACKETS)
    sendAll(on, old.slice(0, 10_000), 2, ['client', 'data'], ['server', 'ack'])
    expect(on.total(TOTAL_ACCEPTED_PACKETS) - accepted).toBe(20_000)
    expect(on.nodeTotal('a', NODE_CONNTRACK_DROPS)).toBe(1000 - passed)
    on.selfCheck()
  })

  test('20000 new UDP flows against 512 evictable entries among 262144: 3 % get in', () => {
    const on = node(MAX, 20_000)
    sendAll(on, connectMany(on, CLIENTS, NODE_A, MAX - 512), 0, ...HANDSHAKE)
    sendAll(on, connectMany(on, CLIENTS, UDP_A, 512), 0, ['client', 'none'])
    const passed = admitted(on, connectMany(on, CLIENTS, UDP_A, 20_000, LATE), 1, 'none')
    // 1 - exp(-512 × 2 tuples × 8 buckets / 262144) = 3.08 %: 615, and some for those that evict two.
    expect(passed).toBeGreaterThan(520)
    expect(passed).toBeLessThan(720)
    expect(on.nodeTotal('a', NODE_CONNTRACK_DROPS)).toBe(20_000 - passed)
    on.selfCheck()
  })

  test('the answer to a SYN that got in assures it: then nothing can push it out', () => {
    const on = node(1000, 6000)
    const served = connectMany(on, CLIENTS, NODE_A, 1000)
    sendAll(on, served, 0, ...HANDSHAKE)
    expect(admitted(on, connectMany(on, CLIENTS, NODE_A, 5000, LATE), 1, 'syn')).toBe(0)
    expect(conntrackList(on, 'a', 1).every(({ state }) => state === 'ESTABLISHED')).toBe(true)
    for (const connection of served.slice(0, 50)) pass(on, connection, 2, ['client', 'data'], ['server', 'data'])
  })
})

test('KERNEL 2.1: the count that is compared with the limit is each node’s own', () => {
  const on = lab({ external: 'Local' }, { entries: 3 })
  for (let i = 0; i < 3; i++) pass(on, on.connect(CLIENT, NODE_A, 40_000 + i), 0, ...HANDSHAKE)
  expect(send(on, on.connect(CLIENT, NODE_A, 41_000), 1, 'client', 'syn')).toBe('conntrack-full')
  pass(on, on.connect(CLIENT, NODE_B, 41_000), 2, ...HANDSHAKE)
  expect(on.conntrack()).toEqual([3, 1])
})

describe('KERNEL 2.4: full of TIME_WAIT = outage', () => {
  test('20 SYN/s against a table filled in 8 s: all dropped but 257 after the slow cycle, until they expire', () => {
    const entries = 20_000
    const seconds = 140
    const on = node(entries, seconds * 20 + 20, 1000)
    const closing = connectMany(on, CLIENTS, NODE_A, entries)
    for (let i = 0; i < 80; i++) {
      sendAll(on, closing.slice(i * 250, (i + 1) * 250), i * 100, ...HANDSHAKE, ...CLOSE)
    }
    expect(on.conntrack()).toEqual([entries])
    /** SYNs that got in, by the second in which they came; they are answered, so that they are ASSURED. */
    const bySecond: number[] = []
    for (let second = 10; second < seconds; second++) {
      let passed = 0
      for (let i = 0; i < 20; i++) {
        const atMs = second * 1000 + i * 50
        const connection = on.connect(CLIENTS[7], NODE_A, 1024 + second * 20 + i)
        if (send(on, connection, atMs, 'client', 'syn') !== 'accept') continue
        pass(on, connection, atMs, ['server', 'synack'], ['client', 'ack'])
        passed++
      }
      bySecond[second] = passed
    }
    const between = (from: number, to: number): number => bySecond.slice(from, to).reduce((sum, n) => sum + n, 0)
    expect(between(10, 62)).toBe(0)
    expect(between(62, 120)).toBe(257)
    // 257 slots at 20 a second last for 13 s.
    expect(between(76, 120)).toBe(0)
    expect(between(121, seconds)).toBe((seconds - 121) * 20)
    expect(on.nodeTotal('a', NODE_EARLY_DROPS)).toBe(257)
    on.selfCheck()
  })

  test('closed by RST they are gone after 10 s', () => {
    const on = node(1000, 10)
    sendAll(on, connectMany(on, CLIENTS, NODE_A, 1000), 0, ...HANDSHAKE, ['client', 'rst'])
    expect(send(on, on.connect(CLIENTS[7], NODE_A, 5000), 9_999, 'client', 'syn')).toBe('conntrack-full')
    expect(send(on, on.connect(CLIENTS[7], NODE_A, 5001), 10_100, 'client', 'syn')).toBe('accept')
  })
})

describe('KERNEL 2.5: an expired entry counts until it is met', () => {
  function expired(): { on: Lab; connection: number } {
    const on = node(100, 0, 60_000)
    const [connection] = connectMany(on, CLIENTS, UDP_A, 1)
    pass(on, connection, 0, ['client', 'none'])
    pass(on, connectMany(on, CLIENTS, UDP_A, 1, 1)[0], 45_000, ['client', 'none'])
    expect(conntrackList(on, 'a', 45_000).map(({ leftMs }) => leftMs)).toEqual([30_000, -15_000])
    return { on, connection }
  }

  test('by a lookup: the next datagram of the same tuple', () => {
    const { on, connection } = expired()
    pass(on, connection, 45_000, ['client', 'none'])
    expect(conntrackList(on, 'a', 45_000).map(({ leftMs }) => leftMs)).toEqual([30_000, 30_000])
  })

  test('by the sweep, once in gcIntervalSeconds', () => {
    const { on } = expired()
    pass(on, connectMany(on, CLIENTS, UDP_A, 1, 2)[0], 59_999, ['client', 'none'])
    expect(on.conntrack()).toEqual([3])
    pass(on, connectMany(on, CLIENTS, UDP_A, 1, 3)[0], 60_000, ['client', 'none'])
    expect(on.conntrack()).toEqual([3])
  })

  test('by a new connection that finds the table full', () => {
    const on = node(10, 10)
    sendAll(on, connectMany(on, CLIENTS, NODE_A, 10), 0, ...HANDSHAKE, ...CLOSE)
    expect(send(on, on.connect(CLIENTS[7], NODE_A, 5000), 119_999, 'client', 'syn')).toBe('conntrack-full')
    expect(on.conntrack()).toEqual([10])
    const late = on.connect(CLIENTS[7], NODE_A, 5001)
    expect(send(on, late, 120_200, 'client', 'syn')).toBe('accept')
    expect(on.conntrack()).toEqual([1])
  })
})
