/** Where connections go, packet by packet, in the words of someone who operates a cluster. */
import { describe, expect, test } from 'vitest'
import {
  TOTAL_ATTEMPTED,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_CROSS_NODE,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
} from '../../native-free-core/index.ts'
import { Lab } from './harness.ts'
import {
  CALLER,
  CLIENT,
  CLUSTER_IP,
  close,
  cluster,
  handshake,
  lab,
  NODE_A,
  NODE_B,
  onA,
  onB,
  POD_A,
  POD_B,
  send,
  VIP,
} from './web.ts'

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
