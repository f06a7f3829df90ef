/** KERNEL §5: ClientIP affinity, as measured with a timeout of 4 s and three pods, two of them on node a. */
import { describe, expect, test } from 'vitest'
import { below } from '../../native-free-core/hash.ts'
import { draw, NODE_AFFINITY_HITS } from '../../native-free-core/index.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { type ClusterSpec, clusterOf, type EndpointSpec, type ServiceSpec } from '../core/cluster.ts'
import { Lab, type LabOptions } from '../core/harness.ts'
import { CLIENT, CLUSTER_IP, NODE_A, NODE_B, send, web } from '../core/web.ts'
import { conntrackFlush, expectShare, outside, pass } from './node.ts'

const MODES = ['nftables', 'iptables'] as const
const A1: EndpointSpec = { address: '10.1.0.5', node: 'a' }
const A2: EndpointSpec = { address: '10.1.0.6', node: 'a' }
const B1: EndpointSpec = { address: '10.1.1.5', node: 'b' }
const UDP_SAME_NUMBER = '192.168.0.1:30080/udp'
/** Pods that call, on node a. */
const CALLERS = Array.from({ length: 90 }, (_, i) => `10.1.0.${100 + i}`)
const CLIENTS = outside(600)

function affine(changes: Partial<ServiceSpec> = {}): ServiceSpec {
  return web({ endpoints: [A1, A2, B1], affinitySeconds: 4, ...changes })
}

function clusterWith(services: readonly ServiceSpec[], more: Partial<ClusterSpec> = {}): Cluster {
  return clusterOf({ nodes: 2, services, pods: Object.fromEntries(CALLERS.map((pod) => [pod, 'a'])), ...more })
}

function labWith(changes: Partial<ServiceSpec> = {}, options: LabOptions = {}): Lab {
  const udp: ServiceSpec = { ...affine({ balancer: [] }), name: 'quic', clusterIP: '10.96.0.20', protocol: 'UDP' }
  return new Lab(clusterWith([affine(changes), udp]), [NODE_A, NODE_B, CLUSTER_IP, UDP_SAME_NUMBER], {
    clients: [...CLIENTS, CLIENT],
    connections: 8192,
    ...options,
  })
}

/** The source port that a lab's next connection takes: every connection has a tuple of its own. */
const nextPorts = new WeakMap<Lab, number>()

/** A new connection of an address. @returns the pod that it is given */
function dial(on: Lab, from: string, to: string, atMs: number): string {
  const port = nextPorts.get(on) ?? 1024
  nextPorts.set(on, port + 1)
  const connection = on.connect(from, to, port)
  pass(on, connection, atMs, ['client', to.endsWith('udp') ? 'none' : 'syn'])
  return on.endpoint(connection).split(':')[0]
}

/** One new connection of each address. */
function dialAll(on: Lab, from: readonly string[], to: string, atMs: number): string[] {
  return from.map((address) => dial(on, address, to, atMs))
}

const equal = (a: readonly string[], b: readonly string[]): number => a.filter((pod, i) => pod === b[i]).length

describe.each(MODES)('KERNEL 5.1, %s: the timer is restarted by each new connection and by nothing else', (mode) => {
  test.each([NODE_A, UDP_SAME_NUMBER])('60 of 60 clients stay for 10 s at intervals of 2.5 s, to %s', (to) => {
    const on = labWith({}, { mode })
    const first = dialAll(on, CLIENTS.slice(0, 60), to, 0)
    for (const atMs of [2500, 5000, 7500, 10_000]) expect(dialAll(on, CLIENTS.slice(0, 60), to, atMs)).toEqual(first)
  })

  test('idle for 3.3 s: sticky; for 4.5 s: random again, 1 of 3', () => {
    const on = labWith({}, { mode })
    const first = dialAll(on, CLIENTS.slice(0, 90), NODE_A, 0)
    expect(dialAll(on, CLIENTS.slice(0, 90), NODE_A, 3300)).toEqual(first)
    let same = 0
    let before = first
    for (let round = 1; round <= 6; round++) {
      const next = dialAll(on, CLIENTS.slice(0, 90), NODE_A, 3300 + round * 4500)
      same += equal(next, before)
      before = next
    }
    expectShare(same, 540, 1 / 3)
  })

  test('the boundary: sticky at exactly 4 s, free a millisecond later', () => {
    const on = labWith({}, { mode })
    const first = dialAll(on, CLIENTS.slice(0, 90), NODE_A, 0)
    expect(dialAll(on, CLIENTS.slice(0, 90), NODE_A, 4000)).toEqual(first)
    expect(equal(dialAll(on, CLIENTS.slice(0, 90), NODE_A, 8001), first)).toBeLessThan(60)
  })

  test.each([
    [NODE_A, 'ack'],
    [UDP_SAME_NUMBER, 'none'],
  ] as const)('traffic of connections under way does not refresh, to %s', (to, flag) => {
    const on = labWith({}, { mode })
    const clients = CLIENTS.slice(0, 300)
    const connections = clients.map((client) => on.connect(client, to, 1000))
    for (const connection of connections) {
      if (flag === 'ack') pass(on, connection, 0, ['client', 'syn'], ['server', 'synack'], ['client', 'ack'])
      else pass(on, connection, 0, ['client', 'none'])
    }
    for (const atMs of [1000, 2000, 3000, 4000]) {
      for (const connection of connections) pass(on, connection, atMs, ['client', flag], ['server', flag])
    }
    const first = connections.map((connection) => on.endpoint(connection).split(':')[0])
    expectShare(equal(dialAll(on, clients, to, 4500), first), 300, 1 / 3)
  })

  test.each([
    ['Cluster', 2 / 3],
    ['Local', 1 / 2],
  ] as const)(
    'a trace of 849 timed connections, %s: gaps under 4 s all keep the pod, longer ones do not',
    (external, changes) => {
      const on = labWith({ external }, { mode, durationMs: 2e8 })
      // Seven clients with gaps of 0.2 to 12 s, longer and shorter than the timeout.
      const last = new Map<string, { pod: string; atMs: number }>()
      let shorter = 0
      let longer = 0
      let changed = 0
      let atMs = 0
      for (let i = 0; i < 849; i++) {
        atMs += 200 + below(draw(11, i, 0, 0), 1200)
        const client = CLIENTS[below(draw(11, i, 1, 0), 7)]
        const pod = dial(on, client, NODE_A, atMs)
        const before = last.get(client)
        last.set(client, { pod, atMs })
        if (before === undefined) continue
        if (atMs - before.atMs <= 4000) {
          shorter++
          expect(pod, `connection ${i}, ${atMs - before.atMs} ms after the one before`).toBe(before.pod)
        } else {
          longer++
          if (pod !== before.pod) changed++
        }
      }
      expect(shorter).toBeGreaterThan(200)
      expect(longer).toBeGreaterThan(200)
      expectShare(changed, longer, changes)
    },
  )
})

describe.each(MODES)('KERNEL 5.2, %s: client × node × service port', (mode) => {
  test('TCP and UDP of one port number are separate: equal by chance', () => {
    const on = labWith({}, { mode })
    const tcp = dialAll(on, CLIENTS.slice(0, 300), NODE_A, 0)
    expectShare(equal(dialAll(on, CLIENTS.slice(0, 300), UDP_SAME_NUMBER, 1), tcp), 300, 1 / 3)
  })

  test('NodePort and ClusterIP of one service port share it: 90 of 90', () => {
    const on = labWith({}, { mode })
    const through = dialAll(on, CALLERS, NODE_A, 0)
    expect(equal(dialAll(on, CALLERS, CLUSTER_IP, 1000), through)).toBe(90)
    expect(new Set(through).size).toBe(3)
  })

  test('nodes are independent: equal by chance', () => {
    const on = labWith({}, { mode })
    const clients = CLIENTS.slice(0, mode === 'iptables' ? 240 : 600)
    const here = dialAll(on, clients, NODE_A, 0)
    expectShare(equal(dialAll(on, clients, NODE_B, 1), here), clients.length, 1 / 3)
  })

  test('a switch of the policy keeps it', () => {
    const on = labWith({ external: 'Local' }, { mode })
    const first = dialAll(on, CLIENTS.slice(0, 90), NODE_A, 0)
    on.change(clusterWith([affine({ external: 'Cluster' })]), 500)
    expect(dialAll(on, CLIENTS.slice(0, 90), NODE_A, 1000)).toEqual(first)
    on.change(clusterWith([affine({ external: 'Local' })]), 1500)
    expect(dialAll(on, CLIENTS.slice(0, 90), NODE_A, 2000)).toEqual(first)
  })

  test('the key is the address as the node sees it: all pods behind one node’s masquerade go to one pod', () => {
    const masqueraded = labWith({}, { mode })
    expect(new Set(dialAll(masqueraded, CALLERS, NODE_B, 0)).size).toBe(1)
    const plain = labWith({}, { mode, model: { egressMasquerade: 0 } })
    expect(new Set(dialAll(plain, CALLERS, NODE_B, 0)).size).toBe(3)
  })
})

describe.each(MODES)('KERNEL 5.3, %s: a client in two lists goes to the first in rule order', (mode) => {
  /** Cluster, then Local on the node dialled, then Cluster again; clients that began on the other node's pod. */
  function flip(to: string, endpoints: readonly EndpointSpec[], began: string): { pods: string[]; clients: number } {
    const options = { mode, clients: CLIENTS, connections: 8192 }
    const on = new Lab(clusterWith([affine({ endpoints })]), [to], options)
    // Fewer than an iptables list holds.
    const clients = CLIENTS.slice(0, 99)
    const first = dialAll(on, clients, to, 0)
    const moved = clients.filter((_, i) => first[i] === began)
    on.change(clusterWith([affine({ endpoints, external: 'Local' })]), 500)
    for (const pod of dialAll(on, moved, to, 1000)) expect(pod).not.toBe(began)
    on.change(clusterWith([affine({ endpoints, external: 'Cluster' })]), 1500)
    return { pods: dialAll(on, moved, to, 2000), clients: moved.length }
  }

  test('from node b’s pod to node a’s and back to Cluster: all stay on a, which comes first', () => {
    const { pods, clients } = flip(NODE_A, [A1, B1], B1.address)
    expect(clients).toBeGreaterThan(30)
    expect(pods).toEqual(Array(clients).fill(A1.address))
  })

  test('with the other node’s pod first in the order all go back to it', () => {
    const { pods, clients } = flip(NODE_B, [A1, B1], A1.address)
    expect(clients).toBeGreaterThan(30)
    expect(pods).toEqual(Array(clients).fill(A1.address))
  })

  test('the order is that of the text of address and port, not of the manifest', () => {
    const ten: EndpointSpec = { address: '10.1.1.10', node: 'b' }
    const nine: EndpointSpec = { address: '10.1.0.9', node: 'a' }
    const { pods, clients } = flip(NODE_A, [ten, nine], ten.address)
    expect(pods).toEqual(Array(clients).fill(nine.address))
    const late: EndpointSpec = { address: '10.1.0.9', node: 'a' }
    const early: EndpointSpec = { address: '10.1.0.10', node: 'b' }
    const back = flip(NODE_A, [late, early], early.address)
    expect(back.clients).toBeGreaterThan(30)
    expect(back.pods).toEqual(Array(back.clients).fill(early.address))
  })
})

describe.each(MODES)('KERNEL 5.4, %s', (mode) => {
  test('an endpoint goes: its clients pick anew, all others keep theirs; it comes back: nobody moves', () => {
    const on = labWith({}, { mode })
    const clients = CLIENTS.slice(0, 180)
    const first = dialAll(on, clients, NODE_A, 0)
    on.change(clusterWith([affine({ endpoints: [A1, B1] })]), 500)
    const second = dialAll(on, clients, NODE_A, 1000)
    first.forEach((pod, i) => {
      if (pod === A2.address) expect([A1.address, B1.address]).toContain(second[i])
      else expect(second[i]).toBe(pod)
    })
    on.change(clusterWith([affine()]), 1500)
    expect(dialAll(on, clients, NODE_A, 2000)).toEqual(second)
  })
})

describe('KERNEL 5.5: iptables keeps 100 addresses a list', () => {
  /** Two endpoints, each client twice in a fixed order. @returns how many came to the same pod */
  function sticky(clients: number, mode: 'nftables' | 'iptables', seed: number): number {
    const on = labWith({ endpoints: [A1, A2], affinitySeconds: 600 }, { mode, seed })
    const first = dialAll(on, CLIENTS.slice(0, clients), NODE_A, 0)
    const same = equal(dialAll(on, CLIENTS.slice(0, clients), NODE_A, 60_000), first)
    on.selfCheck()
    return same
  }

  // Measured on Linux 6.18 in a few runs: 150; 191 to 197; 107 to 140; 197 to 222, which is chance. The bounds leave room for
  // the runs that were not made: four standard deviations of that many coins.
  test.each([
    [150, 150, 150],
    [200, 180, 200],
    [250, 95, 155],
    [400, 165, 245],
  ])('%i clients: %i to %i of them return to their pod', (clients, least, most) => {
    for (let seed = 1; seed <= 5; seed++) {
      const same = sticky(clients, 'iptables', seed)
      expect(same).toBeGreaterThanOrEqual(least)
      expect(same).toBeLessThanOrEqual(most)
    }
  })

  test('KERNEL 5.6: nftables has no such limit: 400 of 400', () => {
    expect(sticky(400, 'nftables', 1)).toBe(400)
  })

  test('the 101st client of a list pushes out the one that was entered longest ago, and it alone', () => {
    const on = labWith({ endpoints: [A1], affinitySeconds: 600 }, { mode: 'iptables' })
    const hits = (): number => on.nodeTotal('a', NODE_AFFINITY_HITS)
    dialAll(on, CLIENTS.slice(0, 100), NODE_A, 0)
    dial(on, CLIENTS[0], NODE_A, 1000)
    expect(hits()).toBe(1)
    dial(on, CLIENTS[100], NODE_A, 2000)
    // The first was entered again, so the second is now the oldest.
    dial(on, CLIENTS[0], NODE_A, 3000)
    expect(hits()).toBe(2)
    dial(on, CLIENTS[2], NODE_A, 3000)
    expect(hits()).toBe(3)
    dial(on, CLIENTS[1], NODE_A, 4000)
    expect(hits()).toBe(3)
  })
})

describe.each(MODES)('KERNEL 5.7, %s', (mode) => {
  test('affinity is not conntrack: conntrack -F forgets no client', () => {
    const on = labWith({}, { mode })
    const first = dialAll(on, CLIENTS.slice(0, 60), NODE_A, 0)
    expect(conntrackFlush(on)).toBeGreaterThan(60)
    expect(dialAll(on, CLIENTS.slice(0, 60), NODE_A, 1000)).toEqual(first)
  })

  test('a sync that has nothing to do with the Service keeps it', () => {
    const on = labWith({}, { mode })
    const first = dialAll(on, CLIENTS.slice(0, 60), NODE_A, 0)
    const another: ServiceSpec = { name: 'another', clusterIP: '10.96.0.5', endpoints: [A1] }
    on.change(clusterWith([another, affine()]), 500)
    expect(dialAll(on, CLIENTS.slice(0, 60), NODE_A, 1000)).toEqual(first)
  })

  test('a client that was turned away is not remembered', () => {
    const on = labWith({ external: 'Local', endpoints: [B1] }, { mode })
    expect(send(on, on.connect(CLIENT, NODE_A, 40_000), 0, 'client', 'syn')).toBe('no-local-endpoint')
    on.change(clusterWith([affine()]), 500)
    dial(on, CLIENT, NODE_A, 1000)
    expect(on.nodeTotal('a', NODE_AFFINITY_HITS)).toBe(0)
  })
})
