/** KERNEL §1.8 and §1.9: a tuple that is used again, and a connection that conntrack has not seen begin. */
import { describe, expect, test } from 'vitest'
import type { EndpointSpec } from '../core/cluster.ts'
import type { FlagName, Lab, LabOptions } from '../core/harness.ts'
import { CLIENT, lab, NODE_A, send, type Who } from '../core/web.ts'
import { CLOSE, conntrackFlush, entryOf, expectShare, HANDSHAKE, pass } from './node.ts'

const TRIALS = 600

function pods(count: number): EndpointSpec[] {
  return Array.from({ length: count }, (_, i) => ({ address: `10.1.0.${5 + i}`, node: 'a' }))
}

function local(count: number, options: LabOptions = {}): Lab {
  return lab({ external: 'Local', endpoints: pods(count) }, options)
}

/** Ends a connection and opens the same tuple again, many times. @returns how often the pod was the one before */
function samePod(ending: readonly (readonly [Who, FlagName])[], another: boolean): number {
  const on = local(3)
  let connection = on.connect(CLIENT, NODE_A, 40_000)
  pass(on, connection, 0, ...HANDSHAKE)
  let same = 0
  for (let i = 1; i <= TRIALS; i++) {
    const before = on.endpoint(connection)
    pass(on, connection, i * 1000 - 500, ...ending)
    if (another) connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, i * 1000, ...HANDSHAKE)
    if (on.endpoint(connection) === before) same++
    expect(on.conntrack()).toEqual([1, 0])
  }
  return same
}

describe('KERNEL 1.8: a new SYN on a finished 5-tuple', () => {
  test.each([
    ['TIME_WAIT', CLOSE],
    ['CLOSE after the client’s RST', [['client', 'rst']]],
  ] as const)('%s: the entry is replaced and the rules are asked again, same pod in 1 of 3', (_state, ending) => {
    expectShare(samePod(ending, true), TRIALS, 1 / 3)
    expectShare(samePod(ending, false), TRIALS, 1 / 3)
  })

  test('CLOSE after the server’s RST: the SYN passes on the old mapping, same pod always', () => {
    expect(samePod([['server', 'rst']], true)).toBe(TRIALS)
    expect(samePod([['server', 'rst']], false)).toBe(TRIALS)
  })

  test('… and the SYN/ACK that answers it resyncs the entry, which would else be gone 10 s after the RST', () => {
    const on = local(3)
    pass(on, on.connect(CLIENT, NODE_A, 40_000), 0, ...HANDSHAKE, ['server', 'rst'])
    expect(entryOf(on, 0)).toBe('CLOSE 10 s, assured')
    const again = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, again, 4000, ['client', 'syn'])
    expect(entryOf(on, 4000)).toBe('CLOSE 6 s, assured')
    pass(on, again, 4001, ['server', 'synack'])
    expect(entryOf(on, 4001)).toBe('SYN_RECV 60 s, assured')
    pass(on, again, 4002, ['client', 'ack'])
    expect(entryOf(on, 4002)).toBe('ESTABLISHED 86400 s, assured')
  })

  test('SYN on ESTABLISHED (a dead peer’s successor): passes, state unchanged; the SYN/ACK moves it to SYN_RECV', () => {
    const on = local(3)
    const first = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, first, 0, ...HANDSHAKE)
    const again = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, again, 1000, ['client', 'syn'])
    expect(on.endpoint(again)).toBe(on.endpoint(first))
    expect(entryOf(on, 1000)).toBe('ESTABLISHED 86399 s, assured')
    pass(on, again, 1001, ['server', 'synack'])
    expect(entryOf(on, 1001)).toBe('SYN_RECV 60 s, assured')
    pass(on, again, 1002, ['client', 'ack'])
    expect(entryOf(on, 1002)).toBe('ESTABLISHED 86400 s, assured')
  })

  test('a SYN/ACK that answers no SYN changes nothing', () => {
    const on = local(3)
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE)
    pass(on, connection, 1000, ['server', 'synack'])
    expect(entryOf(on, 1000)).toBe('ESTABLISHED 86399 s, assured')
  })
})

describe('KERNEL 1.9: a segment in mid-connection without an entry', () => {
  test.each(['ack', 'data'] as const)('tcp_loose=1: a %s makes an ESTABLISHED entry of 300 s, not assured', (flag) => {
    const on = local(3)
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ['client', flag])
    expect(entryOf(on, 0)).toBe('ESTABLISHED 300 s')
    pass(on, connection, 1000, ['client', 'ack'])
    expect(entryOf(on, 1000)).toBe('ESTABLISHED 300 s')
    pass(on, connection, 2000, ['server', 'ack'])
    expect(entryOf(on, 2000)).toBe('ESTABLISHED 300 s')
    pass(on, connection, 3000, ['client', 'ack'])
    expect(entryOf(on, 3000)).toBe('ESTABLISHED 86400 s, assured')
  })

  test('… which has gone through the NAT rules like a new one: any of three pods', () => {
    const on = local(3)
    const first = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, first, 0, ...HANDSHAKE)
    let same = 0
    for (let i = 1; i <= TRIALS; i++) {
      conntrackFlush(on)
      const connection = on.connect(CLIENT, NODE_A, 40_000)
      pass(on, connection, i * 1000, ['client', 'ack'])
      if (on.endpoint(connection) === on.endpoint(first)) same++
    }
    expectShare(same, TRIALS, 1 / 3)
  })

  test.each(['ack', 'data'] as const)('tcp_loose=0: a %s is INVALID and leaves nothing behind', (flag) => {
    const on = local(3, { model: { tcpLoose: 0 } })
    expect(send(on, on.connect(CLIENT, NODE_A, 40_000), 0, 'client', flag)).toBe('invalid-state')
    expect(on.conntrack()).toEqual([0, 0])
  })

  test.each(['fin', 'rst', 'synack', 'none'] as const)('a %s is INVALID even with tcp_loose', (flag) => {
    const on = local(3)
    expect(send(on, on.connect(CLIENT, NODE_A, 40_000), 0, 'client', flag)).toBe('invalid-state')
    expect(on.conntrack()).toEqual([0, 0])
  })
})

describe('KERNEL 2.8: conntrack -D under a live TCP connection', () => {
  /** Of so many connections, those that go on after their entries were deleted: three exchanges each. */
  function survivors(on: Lab, connections: readonly number[]): number {
    connections.forEach((connection, i) => {
      pass(on, connection, i, ...HANDSHAKE)
    })
    expect(conntrackFlush(on)).toBeGreaterThanOrEqual(connections.length)
    const exchange = (connection: number, atMs: number): boolean =>
      send(on, connection, atMs, 'client', 'data', 500) === 'accept' &&
      send(on, connection, atMs, 'server', 'ack') === 'accept'
    return connections.filter((connection, i) => [0, 1, 2].every((n) => exchange(connection, 10_000 + i * 10 + n)))
      .length
  }

  const sixHundred = (on: Lab): number[] =>
    Array.from({ length: TRIALS }, (_, i) => on.connect(CLIENT, NODE_A, 40_000 + i))

  test('Local with two pods: the next segment is given one of the two, half survive', () => {
    const on = local(2)
    expectShare(survivors(on, sixHundred(on)), TRIALS, 1 / 2)
  })

  test('Local with one pod: nobody notices', () => {
    const on = local(1)
    expect(survivors(on, sixHundred(on))).toBe(TRIALS)
  })

  test('masqueraded: the pod sees another source port and answers with a RST', () => {
    const on = lab({ endpoints: pods(1) })
    const connections = sixHundred(on).slice(0, 60)
    connections.forEach((connection, i) => {
      pass(on, connection, i, ...HANDSHAKE)
    })
    conntrackFlush(on)
    connections.forEach((connection, i) => {
      expect(send(on, connection, 10_000 + i, 'client', 'data', 500)).toBe('entry-lost')
    })
  })

  test('tcp_loose=0: none survives', () => {
    const on = local(2, { model: { tcpLoose: 0 } })
    expect(survivors(on, sixHundred(on))).toBe(0)
  })
})
