/** KERNEL §1: conntrack states and timers, as measured on Linux 6.18 packet by packet. */
import { describe, expect, test } from 'vitest'
import type { KubeProxyConfiguration } from '../../src/k8s/types.ts'
import { clusterOf, type ServiceSpec } from '../core/cluster.ts'
import { FLAGS, type FlagName, Lab } from '../core/harness.ts'
import { TCP_STATES, TCP_TABLE, type TcpState } from '../core/tcp-table.ts'
import { CLIENT, cluster, dns, lab, NODE_A, send, UDP_A, type Who } from '../core/web.ts'
import { CLOSE, conntrackList, entryOf, HANDSHAKE, pass } from './node.ts'

type Sent = readonly [Who, FlagName]

/** kube-proxy told to leave the kernel's timeouts alone. */
const KERNEL_TIMEOUTS: Partial<KubeProxyConfiguration> = {
  conntrack: { tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
}

/** One node, one pod on it, address kept: a connection is one entry. */
function local(kubeProxy: Partial<KubeProxyConfiguration> | null = null): Lab {
  return lab({ external: 'Local' }, {}, { kubeProxy })
}

/** The packets that bring an entry into each state. */
const WAY: Readonly<Record<TcpState, readonly Sent[]>> = {
  'no entry': [],
  SYN_SENT: HANDSHAKE.slice(0, 1),
  SYN_RECV: HANDSHAKE.slice(0, 2),
  ESTABLISHED: HANDSHAKE,
  FIN_WAIT: [...HANDSHAKE, ...CLOSE.slice(0, 1)],
  CLOSE_WAIT: [...HANDSHAKE, ...CLOSE.slice(0, 2)],
  LAST_ACK: [...HANDSHAKE, ...CLOSE.slice(0, 3)],
  TIME_WAIT: [...HANDSHAKE, ...CLOSE],
  'CLOSE by client': [...HANDSHAKE, ['client', 'rst']],
  'CLOSE by server': [...HANDSHAKE, ['server', 'rst']],
  SYN_SENT2: [
    ['client', 'syn'],
    ['server', 'syn'],
  ],
}

const PACKET_FLAG = { SYN: 'syn', 'SYN+ACK': 'synack', FIN: 'fin', ACK: 'ack', RST: 'rst', 'no flag': 'none' } as const

describe('KERNEL 1.1: how long an entry lives in each state', () => {
  test.each([
    ['SYN_SENT', 120, 120],
    ['SYN_RECV', 60, 60],
    ['ESTABLISHED', 432_000, 86_400],
    ['FIN_WAIT', 120, 120],
    ['CLOSE_WAIT', 60, 3_600],
    ['LAST_ACK', 30, 30],
    ['TIME_WAIT', 120, 120],
    ['CLOSE by client', 10, 10],
    ['CLOSE by server', 10, 10],
    ['SYN_SENT2', 120, 120],
  ] as const)('TCP %s: %i s by the kernel, %i s under kube-proxy', (state, kernel, kubeProxy) => {
    for (const [config, seconds] of [
      [KERNEL_TIMEOUTS, kernel],
      [null, kubeProxy],
    ] as const) {
      const on = local(config)
      const connection = on.connect(CLIENT, NODE_A, 40_000)
      pass(on, connection, 1000, ...WAY[state])
      const [entry] = conntrackList(on, 'a', 1000)
      expect(entry.state).toBe(state.split(' ')[0])
      expect(entry.leftMs).toBe(seconds * 1000)
    }
  })

  test('KubeProxyConfiguration sets ESTABLISHED, CLOSE_WAIT and both of UDP', () => {
    const on = local({
      conntrack: {
        tcpEstablishedTimeout: '2h',
        tcpCloseWaitTimeout: '15m',
        udpTimeout: '7s',
        udpStreamTimeout: '1m30s',
      },
    })
    const tcp = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, tcp, 0, ...HANDSHAKE)
    expect(entryOf(on, 0)).toBe('ESTABLISHED 7200 s, assured')
    pass(on, tcp, 0, ...CLOSE.slice(0, 2))
    expect(entryOf(on, 0)).toBe('CLOSE_WAIT 900 s, assured')
    const udp = on.connect(CLIENT, UDP_A, 40_000)
    pass(on, udp, 0, ['client', 'none'])
    expect(conntrackList(on, 'a', 0)[1]).toMatchObject({ state: 'UNREPLIED', leftMs: 7_000 })
    pass(on, udp, 3000, ['server', 'none'], ['client', 'none'])
    expect(conntrackList(on, 'a', 3000)[1]).toMatchObject({ state: 'STREAM', leftMs: 90_000 })
  })

  test('a protocol without a tracker of its own: 600 s in either direction', () => {
    const sctp: ServiceSpec = { ...dns, name: 'diameter', port: 3868, nodePort: 31_868, protocol: 'SCTP' }
    const dial = '192.168.0.1:31868/sctp'
    const on = new Lab(clusterOf({ nodes: 1, services: [sctp] }), [dial], { clients: [CLIENT] })
    const connection = on.connect(CLIENT, dial, 40_000)
    pass(on, connection, 0, ['client', 'none'])
    for (const [atMs, from] of [
      [0, 'client'],
      [5000, 'server'],
      [599_000, 'client'],
    ] as const) {
      pass(on, connection, atMs, [from, 'none'])
      expect(conntrackList(on, 'a', atMs)[0]).toMatchObject({ state: 'GENERIC', leftMs: 600_000 })
    }
  })
})

describe('KERNEL 1.2: every accepted packet starts the timer again', () => {
  test.each(['client', 'server'] as const)('a packet of the %s', (from) => {
    const on = local()
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE)
    for (let atMs = 50_000_000; atMs < 400_000_000; atMs += 50_000_000) {
      pass(on, connection, atMs, [from, 'ack'])
      expect(entryOf(on, atMs)).toBe('ESTABLISHED 86400 s, assured')
    }
  })

  test.each([
    ['ignored', 'client', 'syn', 'accept'],
    ['ignored', 'server', 'synack', 'accept'],
    ['INVALID', 'client', 'synack', 'invalid-state'],
    ['INVALID', 'client', 'none', 'invalid-state'],
    ['INVALID', 'server', 'none', 'invalid-state'],
  ] as const)('but not one that is %s: a %s’s %s leaves state and timer alone', (_class, from, flag, outcome) => {
    const on = local()
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE)
    expect(send(on, connection, 60_000, from, flag)).toBe(outcome)
    expect(entryOf(on, 60_000)).toBe('ESTABLISHED 86340 s, assured')
  })

  test('on both nodes of a connection that crosses', () => {
    const on = lab({ endpoints: [{ address: '10.1.1.5', node: 'b' }] })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE)
    for (const [atMs, from] of [
      [100_000, 'client'],
      [200_000, 'server'],
    ] as const) {
      pass(on, connection, atMs, [from, 'ack'])
      expect(on.timers('a', atMs)).toEqual([86_400_000])
      expect(on.timers('b', atMs)).toEqual([86_400_000])
    }
  })
})

describe('KERNEL 1.3: the state table, cell by cell through the dataplane', () => {
  const cells = TCP_TABLE.flatMap(([from, packet, outcomes]) =>
    TCP_STATES.map((state, i) => ({ from, packet, state, outcome: outcomes[i] })),
  )
  // A connection of a trace has a client: what its server says before it, or as a client of its own, is not modelled.
  const modelled = cells.filter(
    ({ from, packet, state }) =>
      !(from === 'server' && (state === 'no entry' || (state === 'TIME_WAIT' && packet === 'SYN'))),
  )

  test('125 of the 132 measured cells', () => expect(modelled).toHaveLength(125))

  test.each(modelled)('$packet by the $from on $state: $outcome', ({ from, packet, state, outcome }) => {
    const on = local(KERNEL_TIMEOUTS)
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...WAY[state])
    const before = state === 'no entry' ? '0 entries' : entryOf(on, 2000)
    const inserts = on.dataplane.slowPath.conntrack.table.size()
    const said = on.send({ connection, atMs: 2000, from, flags: FLAGS[PACKET_FLAG[packet]], length: 52 })
    const after = entryOf(on, 2000)
    switch (outcome) {
      case 'invalid':
        expect(said).toBe('invalid-state')
        expect(after).toBe(before)
        break
      case 'ignored':
        expect(said).toBe('accept')
        expect(after).toBe(before)
        break
      case 'entry deleted':
        expect(said).toBe('accept')
        expect(after).toBe('0 entries')
        break
      case 'new entry':
        expect(said).toBe('accept')
        expect(after).toBe('SYN_SENT 120 s')
        expect(inserts).toBe(1)
        break
      default:
        expect(said).toBe('accept')
        expect(after.split(' ')[0]).toBe(outcome.split(' ')[0])
        expect(after).not.toBe(before)
    }
  })
})

test('KERNEL 1.4: ESTABLISHED on the client’s first ACK, and ASSURED at that moment', () => {
  const on = local()
  const connection = on.connect(CLIENT, NODE_A, 40_000)
  pass(on, connection, 0, ['client', 'syn'])
  expect(conntrackList(on, 'a', 0)[0]).toMatchObject({ state: 'SYN_SENT', seenReply: false, assured: false })
  pass(on, connection, 1, ['server', 'synack'])
  expect(conntrackList(on, 'a', 1)[0]).toMatchObject({ state: 'SYN_RECV', seenReply: true, assured: false })
  pass(on, connection, 2, ['server', 'ack'])
  expect(conntrackList(on, 'a', 2)[0]).toMatchObject({ state: 'SYN_RECV', seenReply: true, assured: false })
  pass(on, connection, 3, ['client', 'ack'])
  expect(conntrackList(on, 'a', 3)[0]).toMatchObject({ state: 'ESTABLISHED', seenReply: true, assured: true })
})

describe('KERNEL 1.5: data in flight has 300 s, not days', () => {
  test.each([
    ['client', 'server'],
    ['server', 'client'],
  ] as const)('from the %s’s segment until the %s’s ACK', (sender, receiver) => {
    const on = local(KERNEL_TIMEOUTS)
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE)
    expect(entryOf(on, 0)).toBe('ESTABLISHED 432000 s, assured')
    for (let atMs = 1000; atMs < 5000; atMs += 1000) {
      pass(on, connection, atMs, [sender, 'data'])
      expect(entryOf(on, atMs)).toBe('ESTABLISHED 300 s, assured')
    }
    pass(on, connection, 9000, [receiver, 'ack'])
    expect(entryOf(on, 9000)).toBe('ESTABLISHED 432000 s, assured')
  })

  test('a peer that dies with data in flight holds its entry for 300 s: 299.999 s later it is there, then not', () => {
    for (const [waitMs, outcome] of [
      [299_999, 'accept'],
      [300_000, 'reply-lost'],
    ] as const) {
      const on = local()
      const connection = on.connect(CLIENT, NODE_A, 40_000)
      pass(on, connection, 0, ...HANDSHAKE, ['client', 'data'])
      expect(send(on, connection, waitMs, 'server', 'ack')).toBe(outcome)
    }
  })
})

describe('KERNEL 1.6: the close walk', () => {
  test.each([
    ['client', 'server'],
    ['server', 'client'],
  ] as const)('begun by the %s', (first, second) => {
    const on = local(KERNEL_TIMEOUTS)
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE)
    const seen: string[] = []
    for (const packet of [
      [first, 'fin'],
      [second, 'ack'],
      [second, 'fin'],
      [first, 'ack'],
    ] as const) {
      pass(on, connection, 0, packet)
      seen.push(entryOf(on, 0))
    }
    expect(seen).toEqual([
      'FIN_WAIT 120 s, assured',
      'CLOSE_WAIT 60 s, assured',
      'LAST_ACK 30 s, assured',
      'TIME_WAIT 120 s, assured',
    ])
  })

  test('does not ask who sends: a retransmitted FIN of the same side moves FIN_WAIT to LAST_ACK', () => {
    const on = local()
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE, ['client', 'fin'], ['client', 'fin'])
    expect(entryOf(on, 0)).toBe('LAST_ACK 30 s, assured')
  })
})

describe('KERNEL 1.7: RST', () => {
  test.each(['client', 'server'] as const)('by the %s closes an established connection: 10 s', (from) => {
    const on = local()
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ...HANDSHAKE, [from, 'rst'])
    expect(entryOf(on, 0)).toBe('CLOSE 10 s, assured')
  })

  test.each([
    ['answers a SYN (connection refused)', 'server', 'rstack'],
    ['follows the client’s own SYN', 'client', 'rst'],
  ] as const)('that %s deletes the entry at once, on every node', (_words, from, flag) => {
    const on = lab({ endpoints: [{ address: '10.1.1.5', node: 'b' }] })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    pass(on, connection, 0, ['client', 'syn'])
    expect(on.conntrack()).toEqual([1, 1])
    pass(on, connection, 0, [from, flag])
    expect(on.conntrack()).toEqual([0, 0])
  })

  test('refused connections cost no table space: 10000 of them through a table of 10', () => {
    const on = lab({ external: 'Local' }, { entries: 10, connections: 10_000 })
    for (let i = 0; i < 10_000; i++) {
      pass(on, on.connect(CLIENT, NODE_A, 1024 + i), i, ['client', 'syn'], ['server', 'rstack'])
    }
    expect(on.conntrack()).toEqual([0, 0])
  })
})

describe('KERNEL 1.11: UDP', () => {
  /** Datagrams as (who, when); what the entry says after the last. */
  test.each([
    ['unanswered', 'UNREPLIED 30 s', [['client', 0]]],
    [
      'unanswered but repeated for long',
      'UNREPLIED 30 s',
      [
        ['client', 0],
        ['client', 29_000],
        ['client', 58_000],
      ],
    ],
    [
      'the first answer leaves 30 s',
      'REPLIED 30 s',
      [
        ['client', 0],
        ['server', 5],
      ],
    ],
    [
      'an exchange within two seconds too',
      'REPLIED 30 s',
      [
        ['client', 0],
        ['server', 5],
        ['client', 2000],
      ],
    ],
    [
      'a packet of the client after more than two seconds: 120 s',
      'STREAM 120 s, assured',
      [
        ['client', 0],
        ['server', 5],
        ['client', 2001],
      ],
    ],
    [
      'a packet of the server after more than two seconds: 120 s',
      'STREAM 120 s, assured',
      [
        ['client', 0],
        ['server', 5],
        ['server', 2001],
      ],
    ],
    [
      'a first answer after two seconds gives 30 s',
      'REPLIED 30 s',
      [
        ['client', 0],
        ['server', 2500],
      ],
    ],
    [
      'the packet after it promotes',
      'STREAM 120 s, assured',
      [
        ['client', 0],
        ['server', 2500],
        ['client', 2501],
      ],
    ],
    [
      'a stream stays one',
      'STREAM 120 s, assured',
      [
        ['client', 0],
        ['server', 2500],
        ['client', 2501],
        ['client', 122_500],
      ],
    ],
  ] as const)('%s', (_words, expected, datagrams) => {
    const on = local()
    const connection = on.connect(CLIENT, UDP_A, 40_000)
    for (const [from, atMs] of datagrams) pass(on, connection, atMs, [from, 'none'])
    expect(entryOf(on, datagrams[datagrams.length - 1][1])).toBe(expected)
  })
})

test('an INVALID packet is not translated and does not pass (kube-proxy drops it): KERNEL 1.10', () => {
  const on = new Lab(cluster({ external: 'Local' }), [NODE_A], { clients: [CLIENT] })
  const connection = on.connect(CLIENT, NODE_A, 40_000)
  pass(on, connection, 0, ...HANDSHAKE)
  expect(send(on, connection, 1, 'server', 'none')).toBe('invalid-state')
  pass(on, connection, 2, ['server', 'data'], ['client', 'ack'])
})
