/** Connections through the whole dataplane, packet by packet, in the words of someone who operates a cluster. */
import { describe, expect, test } from 'vitest'
import {
  NODE_AFFINITY_HITS,
  NODE_AFFINITY_MISSES,
  NODE_CONNTRACK_DROPS,
  NODE_EARLY_DROPS,
  TOTAL_ATTEMPTED,
  TOTAL_BROKEN,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_CROSS_NODE,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
} from '../../native-free-core/index.ts'
import { type ClusterSpec, clusterOf, type EndpointSpec, type ServiceSpec } from './cluster.ts'
import { FLAGS, type FlagName, Lab, type LabOptions } from './harness.ts'

const CLIENT = '198.51.100.7'
const OTHER = '198.51.100.8'
const POD_A = '10.1.0.5'
const POD_B = '10.1.1.5'
const CALLER = '10.1.0.77'

const VIP = '203.0.113.1:80/tcp'
const CLUSTER_IP = '10.96.0.10:80/tcp'
const NODE_A = '192.168.0.1:30080/tcp'
const NODE_B = '192.168.0.2:30080/tcp'
const UDP_A = '192.168.0.1:30053/udp'

const onA: EndpointSpec = { address: POD_A, node: 'a' }
const onB: EndpointSpec = { address: POD_B, node: 'b' }

function web(changes: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name: 'web',
    clusterIP: '10.96.0.10',
    port: 80,
    targetPort: 8080,
    nodePort: 30080,
    balancer: ['203.0.113.1'],
    endpoints: [onA, onB],
    ...changes,
  }
}

const dns: ServiceSpec = {
  name: 'dns',
  clusterIP: '10.96.0.11',
  port: 53,
  nodePort: 30053,
  protocol: 'UDP',
  endpoints: [
    { address: '10.1.0.6', node: 'a' },
    { address: '10.1.0.7', node: 'a' },
    { address: '10.1.0.8', node: 'a' },
    { address: '10.1.0.9', node: 'a' },
  ],
}

function cluster(service: Partial<ServiceSpec> = {}, more: Partial<ClusterSpec> = {}) {
  return clusterOf({ nodes: 2, services: [web(service), dns], pods: { [CALLER]: 'a' }, ...more })
}

function lab(service: Partial<ServiceSpec> = {}, options: LabOptions = {}, more: Partial<ClusterSpec> = {}): Lab {
  return new Lab(cluster(service, more), [VIP, CLUSTER_IP, NODE_A, NODE_B, UDP_A], {
    clients: [CLIENT, OTHER],
    ...options,
  })
}

type Who = 'client' | 'server'

/** Sends one packet and says what happened to it. */
function send(on: Lab, connection: number, atMs: number, from: Who, flag: FlagName, length = 52): string {
  return on.send({ connection, atMs, from, flags: FLAGS[flag], length })
}

/** A handshake; every packet must pass. */
function handshake(on: Lab, connection: number, atMs: number): void {
  expect(send(on, connection, atMs, 'client', 'syn')).toBe('accept')
  expect(send(on, connection, atMs, 'server', 'synack')).toBe('accept')
  expect(send(on, connection, atMs, 'client', 'ack')).toBe('accept')
}

/** A close from the client's side, to TIME_WAIT. */
function close(on: Lab, connection: number, atMs: number): void {
  for (const [from, flag] of [
    ['client', 'fin'],
    ['server', 'ack'],
    ['server', 'fin'],
    ['client', 'ack'],
  ] as const) {
    expect(send(on, connection, atMs, from, flag)).toBe('accept')
  }
}

const DAY = 86_400_000

describe('a connection from outside to a node port', () => {
  test('passes in both directions, and is one connection', () => {
    const on = lab({ external: 'Local' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    handshake(on, connection, 0)
    for (let i = 0; i < 10; i++) {
      expect(send(on, connection, i, i % 2 ? 'client' : 'server', 'data', 1500)).toBe('accept')
    }
    expect(on.endpoint(connection)).toBe(`${POD_A}:8080`)
    expect(on.conntrack()).toEqual([1, 0])
    expect(on.total(TOTAL_ATTEMPTED)).toBe(1)
    expect(on.total(TOTAL_ESTABLISHED)).toBe(1)
    on.selfCheck()
  })

  test('under Local keeps address and port of the client, and stays on the node', () => {
    const on = lab({ external: 'Local' })
    for (let i = 0; i < 20; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
      handshake(on, connection, i)
      expect(on.deliveredTo(connection)).toBe(`${POD_A}:8080`)
      expect(on.seenSource(connection)).toBe(`${CLIENT}:${40_000 + i}`)
    }
    expect(on.conntrack()).toEqual([20, 0])
    expect(on.total(TOTAL_CLIENT_IP_KEPT)).toBe(20)
    expect(on.total(TOTAL_CROSS_NODE)).toBe(0)
    expect(on.total(TOTAL_MASQUERADED)).toBe(0)
  })

  test('under Cluster goes to pods of both nodes, masqueraded by the address towards each', () => {
    const on = lab()
    const seen = new Map<string, Set<string>>()
    for (let i = 0; i < 60; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
      handshake(on, connection, i)
      const [address] = on.seenSource(connection).split(':')
      const to = on.endpoint(connection)
      seen.set(to, (seen.get(to) ?? new Set()).add(address))
    }
    // Same node: the bridge's own address; other node: the node's.
    expect(seen.get(`${POD_A}:8080`)).toEqual(new Set(['10.1.0.1']))
    expect(seen.get(`${POD_B}:8080`)).toEqual(new Set(['192.168.0.1']))
    const crossed = on.total(TOTAL_CROSS_NODE)
    expect(crossed).toBeGreaterThan(15)
    expect(crossed).toBeLessThan(45)
    expect(on.conntrack()).toEqual([60, crossed])
    expect(on.total(TOTAL_MASQUERADED)).toBe(60)
    expect(on.total(TOTAL_CLIENT_IP_KEPT)).toBe(0)
    on.selfCheck()
  })

  test('masqueraded connections of one source port to one pod get ports of their own', () => {
    const clients = Array.from({ length: 40 }, (_, i) => `198.51.100.${i + 10}`)
    const on = lab({ endpoints: [onB] }, { clients })
    const ports = clients.map((client) => {
      const connection = on.connect(client, NODE_A, 40_000)
      expect(send(on, connection, 0, 'client', 'syn')).toBe('accept')
      return on.seenSource(connection)
    })
    expect(new Set(ports).size).toBe(40)
  })

  test('through the load balancer reaches only nodes with an endpoint under Local', () => {
    const on = lab({ external: 'Local', endpoints: [onB] })
    for (let i = 0; i < 20; i++) {
      const connection = on.connect(CLIENT, VIP, 40_000 + i)
      expect(send(on, connection, 0, 'client', 'syn')).toBe('accept')
      expect(on.endpoint(connection)).toBe(`${POD_B}:8080`)
    }
    expect(on.conntrack()).toEqual([0, 20])
  })

  test('through the load balancer under Cluster comes in on every node', () => {
    const on = lab({ endpoints: [onB] })
    for (let i = 0; i < 40; i++) {
      expect(send(on, on.connect(CLIENT, VIP, 40_000 + i), 0, 'client', 'syn')).toBe('accept')
    }
    const crossed = on.total(TOTAL_CROSS_NODE)
    expect(crossed).toBeGreaterThan(8)
    expect(crossed).toBeLessThan(32)
    expect(on.conntrack()).toEqual([crossed, 40])
  })
})

describe('nothing to send it to', () => {
  test('Local on a node without endpoint: dropped, nothing is left behind, and the rest of the connection is not sent', () => {
    const on = lab({ external: 'Local', endpoints: [onB] })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    expect(send(on, connection, 0, 'client', 'syn')).toBe('no-local-endpoint')
    expect(send(on, connection, 1000, 'client', 'syn')).toBe('not-sent')
    expect(send(on, connection, 2000, 'server', 'synack')).toBe('not-sent')
    expect(on.conntrack()).toEqual([0, 0])
    expect(on.total(TOTAL_FAILED)).toBe(1)
    expect(on.total(TOTAL_ATTEMPTED)).toBe(1)
  })

  test('no endpoint at all: rejected under either policy, nothing is left behind', () => {
    for (const external of ['Local', 'Cluster'] as const) {
      const on = lab({ external, endpoints: [] })
      expect(send(on, on.connect(CLIENT, NODE_A, 40_000), 0, 'client', 'syn')).toBe('no-endpoint')
      expect(on.conntrack()).toEqual([0, 0])
    }
  })

  test('Local without any endpoint: the load balancer has no healthy node', () => {
    const on = lab({ external: 'Local', endpoints: [] })
    expect(send(on, on.connect(CLIENT, VIP, 40_000), 0, 'client', 'syn')).toBe('no-healthy-node')
  })

  test('a Service that is gone, and an address that nobody has', () => {
    const on = new Lab(cluster(), ['10.96.0.99:80/tcp', '!192.0.2.1:80/tcp'], { clients: [CLIENT] })
    expect(send(on, on.connect(CALLER, '10.96.0.99:80/tcp', 40_000), 0, 'client', 'syn')).toBe('no-service')
    expect(send(on, on.connect(CLIENT, '192.0.2.1:80/tcp', 40_000), 0, 'client', 'syn')).toBe('no-route')
  })

  test('ipvs falls back to other nodes’ pods under Local, whose replies do not pass the node that translated', () => {
    const on = lab({ external: 'Local', endpoints: [onB] }, { mode: 'ipvs' })
    const connection = on.connect(CLIENT, NODE_A, 40_000)
    expect(send(on, connection, 0, 'client', 'syn')).toBe('reply-bypasses-nat')
    expect(send(on, connection, 0, 'client', 'ack')).toBe('not-sent')
  })
})

describe('from inside the cluster', () => {
  test('a pod reaches the cluster IP with its own address', () => {
    const on = lab()
    for (let i = 0; i < 20; i++) {
      const connection = on.connect(CALLER, CLUSTER_IP, 40_000 + i)
      handshake(on, connection, 0)
      expect(on.seenSource(connection)).toBe(`${CALLER}:${40_000 + i}`)
    }
    expect(on.total(TOTAL_MASQUERADED)).toBe(0)
  })

  test('a pod that reaches itself through its Service is masqueraded, and only then', () => {
    const on = lab()
    const seen = new Map<string, Set<string>>()
    for (let i = 0; i < 40; i++) {
      const connection = on.connect(POD_A, CLUSTER_IP, 40_000 + i)
      handshake(on, connection, 0)
      const to = on.deliveredTo(connection)
      seen.set(to, (seen.get(to) ?? new Set()).add(on.seenSource(connection).split(':')[0]))
    }
    expect(seen.get(`${POD_A}:8080`)).toEqual(new Set(['10.1.0.1']))
    expect(seen.get(`${POD_B}:8080`)).toEqual(new Set([POD_A]))
  })

  test('a pod to its own node’s port under Local: all pods of the cluster', () => {
    const on = lab({ external: 'Local' })
    const reached = new Set<string>()
    for (let i = 0; i < 40; i++) {
      const connection = on.connect(CALLER, NODE_A, 40_000 + i)
      handshake(on, connection, 0)
      reached.add(on.endpoint(connection))
    }
    expect(reached).toEqual(new Set([`${POD_A}:8080`, `${POD_B}:8080`]))
  })

  test('a pod to another node’s port under Local arrives as a node: that node’s pods, seen from the caller’s node', () => {
    const on = lab({ external: 'Local' })
    for (let i = 0; i < 20; i++) {
      const connection = on.connect(CALLER, NODE_B, 40_000 + i)
      handshake(on, connection, 0)
      expect(on.deliveredTo(connection)).toBe(`${POD_B}:8080`)
      expect(on.seenSource(connection).split(':')[0]).toBe('192.168.0.1')
    }
    expect(on.conntrack()).toEqual([20, 20])
  })

  test('a pod to another node’s port under Cluster may come back to a pod on its own node: three entries, two nodes', () => {
    const on = lab({ endpoints: [onA] })
    const connection = on.connect(CALLER, NODE_B, 40_000)
    handshake(on, connection, 0)
    expect(on.deliveredTo(connection)).toBe(`${POD_A}:8080`)
    expect(on.conntrack()).toEqual([2, 1])
    for (let i = 0; i < 4; i++)
      expect(send(on, connection, i * 1000, i % 2 ? 'client' : 'server', 'data')).toBe('accept')
    close(on, connection, 5000)
    on.selfCheck()
    expect(on.timers('a', 5000)).toEqual([120_000, 120_000])
    expect(on.timers('b', 5000)).toEqual([120_000])
  })

  test('pod to pod is tracked on both nodes and translated on neither', () => {
    const on = new Lab(cluster(), [`!${POD_B}:8080/tcp`])
    const connection = on.connect(CALLER, `${POD_B}:8080/tcp`, 40_000)
    handshake(on, connection, 0)
    expect(on.seenSource(connection)).toBe(`${CALLER}:40000`)
    expect(on.endpoint(connection)).toBe('')
    expect(on.conntrack()).toEqual([1, 1])
  })

  test('a pod to the internet is masqueraded by the network plugin, unless the model says otherwise', () => {
    for (const [egressMasquerade, address] of [
      [1, '192.168.0.1'],
      [0, CALLER],
    ] as const) {
      const on = new Lab(cluster(), ['!192.0.2.1:443/tcp'], { model: { egressMasquerade } })
      const connection = on.connect(CALLER, '192.0.2.1:443/tcp', 40_000)
      handshake(on, connection, 0)
      expect(on.seenSource(connection).split(':')[0]).toBe(address)
    }
  })
})

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
