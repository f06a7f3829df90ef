/** What nodes remember of connections, for how long, and what comes of it: timers, reuse, full tables, affinity, changes. */
import { describe, expect, test } from 'vitest'
import {
  NODE_AFFINITY_HITS,
  NODE_AFFINITY_MISSES,
  NODE_CONNTRACK_DROPS,
  NODE_EARLY_DROPS,
  TOTAL_ATTEMPTED,
  TOTAL_BROKEN,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_FAILED,
} from '../../native-free-core/index.ts'
import { clusterOf, type EndpointSpec, type ServiceSpec } from './cluster.ts'
import { type FlagName, Lab } from './harness.ts'
import {
  CALLER,
  CLIENT,
  CLUSTER_IP,
  close,
  cluster,
  dns,
  handshake,
  lab,
  NODE_A,
  NODE_B,
  OTHER,
  onA,
  onB,
  POD_A,
  POD_B,
  send,
  UDP_A,
  VIP,
  type Who,
  web,
} from './web.ts'

const DAY = 86_400_000

describe('timers, in virtual time', () => {
  test('UDP idle for 30 s: the next datagram is a new connection to the node, and a new choice', () => {
    const on = lab()
    const reached = new Set<string>()
    const connection = on.connect(CLIENT, UDP_A, 40_000)
    for (let i = 0; i < 16; i++) {
      expect(send(on, connection, i * 30_000, 'client', 'none')).toBe('accept')
      reached.add(on.endpoint(connection))
    }
    expect(reached.size).toBeGreaterThan(2)
  })

  test('UDP that never falls silent for 30 s stays with its pod', () => {
    const on = lab()
    const connection = on.connect(CLIENT, UDP_A, 40_000)
    send(on, connection, 0, 'client', 'none')
    const first = on.endpoint(connection)
    for (let i = 1; i < 20; i++) {
      send(on, connection, i * 29_999, 'client', 'none')
      expect(on.endpoint(connection)).toBe(first)
    }
  })

  test.each([
    ['unanswered: 30 s', [['client', 0]], 30_000],
    [
      'answered: still 30 s',
      [
        ['client', 0],
        ['server', 10],
      ],
      30_000,
    ],
    [
      'answered and more within two seconds: 30 s',
      [
        ['client', 0],
        ['server', 10],
        ['client', 2000],
      ],
      30_000,
    ],
    [
      'a packet after two seconds makes it a stream: 120 s',
      [
        ['client', 0],
        ['server', 10],
        ['client', 2001],
      ],
      120_000,
    ],
    [
      'the first answer after two seconds does not',
      [
        ['client', 0],
        ['server', 5000],
      ],
      30_000,
    ],
    [
      '… but what follows it does',
      [
        ['client', 0],
        ['server', 5000],
        ['server', 5001],
      ],
      120_000,
    ],
  ] as const)('UDP %s', (_words, datagrams, expected) => {
    const on = lab()
    const connection = on.connect(CLIENT, UDP_A, 40_000)
    let atMs = 0
    for (const [from, when] of datagrams) {
      atMs = when
      expect(send(on, connection, atMs, from, 'none')).toBe('accept')
    }
    expect(on.timers('a', atMs)).toEqual([expected])
  })

  test('TCP along its life', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    const walk: [Who, FlagName, number, number][] = [
      ['client', 'syn', 52, 120_000],
      ['server', 'synack', 52, 60_000],
      ['client', 'ack', 52, DAY],
      ['client', 'data', 500, 300_000],
      ['server', 'ack', 52, DAY],
      ['server', 'data', 1500, 300_000],
      ['client', 'ack', 52, DAY],
      ['client', 'fin', 52, 120_000],
      ['server', 'ack', 52, 3_600_000],
      ['server', 'fin', 52, 30_000],
      ['client', 'ack', 52, 120_000],
    ]
    walk.forEach(([from, flag, length, left], i) => {
      expect(send(on, connection, i * 10, from, flag, length)).toBe('accept')
      expect(on.timers('a', i * 10), `${flag} by the ${from}`).toEqual([left])
    })
  })

  test('data in flight for 300 s loses the entry; under Local with one pod nobody notices', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    handshake(on, connection, 0)
    send(on, connection, 0, 'client', 'data', 500)
    expect(send(on, connection, 300_000, 'client', 'data', 500)).toBe('accept')
    expect(on.timers('a', 300_000)).toEqual([300_000])
  })

  test('… masqueraded, the pod sees another port and answers with a RST', () => {
    const on = lab({ endpoints: [onA] })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    handshake(on, connection, 0)
    send(on, connection, 0, 'client', 'data', 500)
    expect(send(on, connection, 300_000, 'client', 'data', 500)).toBe('entry-lost')
    expect(send(on, connection, 300_001, 'client', 'data', 500)).toBe('not-sent')
    expect(on.total(TOTAL_BROKEN)).toBe(1)
  })

  test('… and an answer that finds no entry goes back untranslated', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    handshake(on, connection, 0)
    send(on, connection, 0, 'client', 'data', 500)
    expect(send(on, connection, 300_000, 'server', 'data', 500)).toBe('reply-lost')
  })

  test('expired entries count until they are met or swept', () => {
    const on = lab({ external: 'Local' }, { gcIntervalMs: 50_000 })
    send(on, on.connect(CLIENT, UDP_A, 1), 0, 'client', 'none')
    expect(send(on, on.connect(CLIENT, UDP_A, 2), 31_000, 'client', 'none')).toBe('accept')
    expect(on.conntrack()).toEqual([2, 0])
    expect(send(on, on.connect(CLIENT, UDP_A, 3), 50_000, 'client', 'none')).toBe('accept')
    expect(on.conntrack()).toEqual([2, 0])
    on.selfCheck()
  })
})

describe('reusing a tuple', () => {
  const four = [5, 6, 7, 8].map((i): EndpointSpec => ({ address: `10.1.0.${i}`, node: 'a' }))

  test('a SYN on TIME_WAIT is a new connection, and a new choice', () => {
    const on = lab({ external: 'Local', endpoints: four })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    const reached = new Set<string>()
    for (let i = 0; i < 16; i++) {
      handshake(on, connection, i * 1000)
      reached.add(on.endpoint(connection))
      close(on, connection, i * 1000 + 1)
    }
    expect(reached.size).toBeGreaterThan(2)
    expect(on.conntrack()).toEqual([1, 0])
  })

  test('so is one by a later connection of the same tuple', () => {
    const on = lab({ external: 'Local', endpoints: four })
    const reached = new Set<string>()
    for (let i = 0; i < 16; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000)
      handshake(on, connection, i * 1000)
      reached.add(on.endpoint(connection))
      close(on, connection, i * 1000 + 1)
    }
    expect(reached.size).toBeGreaterThan(2)
    expect(on.conntrack()).toEqual([1, 0])
  })

  test('a SYN after the client’s RST is a new choice too', () => {
    const on = lab({ external: 'Local', endpoints: four })
    const reached = new Set<string>()
    for (let i = 0; i < 16; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000)
      handshake(on, connection, i * 1000)
      reached.add(on.endpoint(connection))
      expect(send(on, connection, i * 1000 + 1, 'client', 'rst')).toBe('accept')
    }
    expect(reached.size).toBeGreaterThan(2)
  })

  test('a SYN after the server’s RST travels on the old mapping: the same pod every time', () => {
    const on = lab({ external: 'Local', endpoints: four })
    const reached = new Set<string>()
    for (let i = 0; i < 16; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000)
      handshake(on, connection, i * 1000)
      reached.add(on.endpoint(connection))
      expect(send(on, connection, i * 1000 + 1, 'server', 'rst')).toBe('accept')
    }
    expect(reached.size).toBe(1)
  })

  test('a refused connection costs no entry', () => {
    const on = lab({ endpoints: [onB] })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    send(on, connection, 0, 'client', 'syn')
    expect(on.conntrack()).toEqual([1, 1])
    expect(send(on, connection, 1, 'server', 'rstack')).toBe('accept')
    expect(on.conntrack()).toEqual([0, 0])
    on.selfCheck()
  })
})

describe('a connection already under way when the trace begins', () => {
  test('is picked up with tcp_loose, like a new one, for 300 s until it is assured', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    expect(send(on, connection, 0, 'client', 'ack')).toBe('accept')
    expect(on.timers('a', 0)).toEqual([300_000])
    expect(send(on, connection, 0, 'client', 'ack')).toBe('accept')
    expect(on.timers('a', 0)).toEqual([300_000])
    expect(send(on, connection, 1, 'server', 'ack')).toBe('accept')
    expect(on.timers('a', 1)).toEqual([300_000])
    expect(send(on, connection, 2, 'client', 'ack')).toBe('accept')
    expect(on.timers('a', 2)).toEqual([DAY])
  })

  test('is INVALID without', () => {
    const on = lab({ external: 'Local' }, { model: { tcpLoose: 0 } })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    expect(send(on, connection, 0, 'client', 'ack')).toBe('invalid-state')
    expect(on.conntrack()).toEqual([0, 0])
  })

  test.each(['fin', 'rst', 'synack', 'none'] as const)('a %s is INVALID in any case', (flag) => {
    const on = lab({ external: 'Local' })
    expect(send(on, on.connect(CLIENT, NODE_A, 40_000), 0, 'client', flag)).toBe('invalid-state')
  })

  test('one whose first packet is an answer has no entry to go by, and is one failed connection', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    expect(send(on, connection, 0, 'server', 'data')).toBe('invalid-state')
    expect(send(on, connection, 1, 'server', 'data')).toBe('not-sent')
    expect(on.total(TOTAL_ATTEMPTED)).toBe(1)
    expect(on.total(TOTAL_FAILED)).toBe(1)
  })

  test('an answer between pods that finds no entry is picked up from the other side, with tcp_loose', () => {
    for (const [tcpLoose, flag, expected] of [
      [1, 'data', 'accept'],
      [0, 'data', 'invalid-state'],
      [1, 'fin', 'invalid-state'],
    ] as const) {
      const on = new Lab(cluster(), [`!${POD_B}:8080/tcp`], { model: { tcpLoose } })
      const connection = on.connect(CALLER, `${POD_B}:8080/tcp`, 40_000)
      handshake(on, connection, 0)
      send(on, connection, 0, 'client', 'data', 500)
      expect(send(on, connection, 300_000, 'server', flag)).toBe(expected)
    }
  })
})

describe('a full conntrack table', () => {
  test('of assured connections drops new ones; those under way go on', () => {
    const on = lab({ external: 'Local' }, { entries: 5 })
    const old = Array.from({ length: 5 }, (_, i) => on.connect(CLIENT, NODE_A, 40_000 + i))
    for (const connection of old) handshake(on, connection, 0)
    const late = on.connect(CLIENT, NODE_A, 41_000)
    expect(send(on, late, 1, 'client', 'syn')).toBe('conntrack-full')
    expect(send(on, late, 2, 'client', 'syn')).toBe('not-sent')
    for (const connection of old) {
      expect(send(on, connection, 3, 'client', 'data', 500)).toBe('accept')
      expect(send(on, connection, 3, 'server', 'ack')).toBe('accept')
    }
    expect(on.nodeTotal('a', NODE_CONNTRACK_DROPS)).toBe(1)
    expect(on.conntrack()).toEqual([5, 0])
    // Another node has a table of its own.
    expect(send(on, on.connect(CLIENT, NODE_B, 41_000), 4, 'client', 'syn')).toBe('accept')
    on.selfCheck()
  })

  test('of TIME_WAIT is an outage until they expire', () => {
    const on = lab({ external: 'Local' }, { entries: 4, gcIntervalMs: 1000 })
    for (let i = 0; i < 4; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
      handshake(on, connection, 0)
      close(on, connection, 0)
    }
    expect(send(on, on.connect(CLIENT, NODE_A, 41_000), 50_000, 'client', 'syn')).toBe('conntrack-full')
    expect(send(on, on.connect(CLIENT, NODE_A, 41_001), 121_000, 'client', 'syn')).toBe('accept')
  })

  test('of unanswered datagrams makes room by early drop where it finds one near', () => {
    // One in 8 of 262144 buckets is rarely in reach of so small a table; of 400 tries some are.
    const entries = 3000
    const on = lab({}, { entries, connections: 8192 })
    for (let i = 0; i < entries; i++) {
      expect(send(on, on.connect(CLIENT, UDP_A, 1 + i), 0, 'client', 'none')).toBe('accept')
    }
    let admitted = 0
    const extra = 2000
    for (let i = 0; i < extra; i++) {
      if (send(on, on.connect(OTHER, UDP_A, 1 + i), 1, 'client', 'none') === 'accept') admitted++
    }
    // 8 buckets x 2 tuples an entry of 262144 buckets: 1 - exp(-3000 x 2 x 8 / 262144) = 0.167.
    expect(admitted / extra).toBeGreaterThan(0.12)
    expect(admitted / extra).toBeLessThan(0.22)
    expect(on.nodeTotal('a', NODE_EARLY_DROPS)).toBeGreaterThanOrEqual(admitted)
    expect(on.nodeTotal('a', NODE_CONNTRACK_DROPS)).toBe(extra - admitted)
    on.selfCheck()
  })
})

describe('ClientIP affinity', () => {
  const affine = { external: 'Cluster', affinitySeconds: 1800 } as const
  const MINUTE = 60_000

  test.each(['nftables', 'iptables', 'ipvs'] as const)(
    'keeps a client with its pod for 30 minutes after its last new connection, in %s',
    (mode) => {
      const on = lab(affine, { mode })
      const first = on.connect(CLIENT, NODE_A, 40_000)
      handshake(on, first, 0)
      for (let i = 1; i < 12; i++) {
        const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
        expect(send(on, connection, i * 30 * MINUTE, 'client', 'syn')).toBe('accept')
        expect(on.endpoint(connection)).toBe(on.endpoint(first))
      }
      expect(on.nodeTotal('a', NODE_AFFINITY_HITS)).toBe(11)
      expect(on.nodeTotal('a', NODE_AFFINITY_MISSES)).toBe(1)
      on.selfCheck()
    },
  )

  test('a millisecond later it is a new choice; traffic of the old connection renews nothing', () => {
    const on = lab(affine, { durationMs: 10 * 3_600_000 })
    const reached = new Set<string>()
    let atMs = 0
    for (let i = 0; i < 12; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
      handshake(on, connection, atMs)
      reached.add(on.endpoint(connection))
      send(on, connection, atMs + 20 * MINUTE, 'client', 'data', 500)
      atMs += 30 * MINUTE + 1
    }
    expect(reached.size).toBe(2)
    expect(on.nodeTotal('a', NODE_AFFINITY_HITS)).toBe(0)
  })

  test.each([
    ['nftables', 1],
    ['iptables', 1],
    ['ipvs', 0],
  ] as const)(
    'node port and cluster IP of one service port share it in nftables and iptables, not in ipvs: %s',
    (mode, hits) => {
      const on = lab(affine, { mode })
      handshake(on, on.connect(CALLER, CLUSTER_IP, 40_000), 0)
      handshake(on, on.connect(CALLER, NODE_A, 40_001), 1)
      expect(on.nodeTotal('a', NODE_AFFINITY_HITS)).toBe(hits)
    },
  )

  test('nodes do not know of each other’s', () => {
    const on = lab(affine)
    handshake(on, on.connect(CLIENT, NODE_A, 40_000), 0)
    handshake(on, on.connect(CLIENT, NODE_B, 40_001), 1)
    expect(on.nodeTotal('b', NODE_AFFINITY_MISSES)).toBe(1)
  })
})

describe('the cluster changes under way', () => {
  test('established connections survive the removal of every endpoint; new ones are rejected', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    handshake(on, connection, 0)
    on.change(cluster({ external: 'Local', endpoints: [] }, { pods: { [POD_A]: 'a' } }), 1)
    expect(send(on, connection, 2, 'client', 'data', 500)).toBe('accept')
    expect(send(on, connection, 3, 'server', 'data', 500)).toBe('accept')
    expect(send(on, on.connect(CLIENT, NODE_A, 40_001), 4, 'client', 'syn')).toBe('no-endpoint')
  })

  test('… but not the end of their pod', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    handshake(on, connection, 0)
    on.change(cluster({ external: 'Local', endpoints: [onB] }), 1)
    expect(send(on, connection, 2, 'server', 'data', 500)).toBe('not-sent')
    expect(send(on, connection, 3, 'client', 'data', 500)).toBe('backend-gone')
    expect(send(on, connection, 4, 'client', 'data', 500)).toBe('not-sent')
    expect(on.total(TOTAL_BROKEN)).toBe(1)
  })

  test('UDP entries to a pod that is gone are deleted: the next datagram goes elsewhere', () => {
    const on = lab()
    const connection = on.connect(CLIENT, UDP_A, 40_000)
    send(on, connection, 0, 'client', 'none')
    const first = on.endpoint(connection).split(':')[0]
    const rest = dns.endpoints.filter(({ address }) => address !== first)
    on.change(clusterOf({ nodes: 2, services: [web(), { ...dns, endpoints: rest }], pods: { [CALLER]: 'a' } }), 1)
    expect(on.conntrack()).toEqual([0, 0])
    expect(send(on, connection, 2, 'client', 'none')).toBe('accept')
    expect(on.endpoint(connection).split(':')[0]).not.toBe(first)
  })

  test('affinity outlives a new Service, and goes with its endpoint', () => {
    const affine = { affinitySeconds: 1800 }
    for (const mode of ['nftables', 'iptables'] as const) {
      const on = lab(affine, { mode })
      const first = on.connect(CLIENT, NODE_A, 40_000)
      handshake(on, first, 0)
      const another: ServiceSpec = { name: 'another', clusterIP: '10.96.0.12', endpoints: [onA] }
      on.change(clusterOf({ nodes: 2, services: [another, web(affine), dns], pods: { [CALLER]: 'a' } }), 1)
      for (let i = 1; i < 8; i++) {
        const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
        handshake(on, connection, 1 + i)
        expect(on.endpoint(connection)).toBe(on.endpoint(first))
      }
      expect(on.nodeTotal('a', NODE_AFFINITY_HITS)).toBe(7)
      const gone = on.endpoint(first).startsWith(POD_A) ? onB : onA
      on.change(cluster({ ...affine, endpoints: [gone] }), 20)
      on.change(cluster(affine), 21)
      handshake(on, on.connect(CLIENT, NODE_A, 41_000), 22)
      expect(on.nodeTotal('a', NODE_AFFINITY_HITS)).toBe(7)
      on.selfCheck()
    }
  })
})

describe('a load balancer in front', () => {
  test('keeps sending a connection to the node that it chose, also after that node has forgotten it', () => {
    const on = new Lab(
      clusterOf({
        nodes: 5,
        services: [
          web({
            external: 'Local',
            endpoints: [0, 1, 2, 3, 4].map((i) => ({ address: `10.1.${i}.5`, node: 'abcde'[i] })),
          }),
        ],
      }),
      [VIP],
      { clients: [CLIENT] },
    )
    for (let i = 0; i < 10; i++) {
      const connection = on.connect(CLIENT, VIP, 40_000 + i)
      handshake(on, connection, i * 1000)
      const first = on.deliveredTo(connection)
      send(on, connection, i * 1000, 'client', 'data', 500)
      expect(send(on, connection, i * 1000 + 300_000, 'client', 'data', 500)).toBe('accept')
      expect(on.deliveredTo(connection)).toBe(first)
    }
  })

  test('that proxies talks to the node port from its own address', () => {
    const on = lab({ external: 'Local', proxyMode: true })
    const connection = on.connect(CLIENT, VIP, 40_000)
    handshake(on, connection, 0)
    expect(on.seenSource(connection).split(':')[0]).toBe('203.0.113.1')
    expect(on.total(TOTAL_CLIENT_IP_KEPT)).toBe(0)
  })
})
