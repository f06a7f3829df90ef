/**
 * KERNEL §4.7 and KUBE-PROXY §6: UDP entries outlive their pods, and what kube-proxy deletes after a change.
 *
 * The kernel alone is shown by taking kube-proxy's clean-up away: so a node looks between the change and the clean-up.
 */
import { describe, expect, test, vi } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { clusterOf, type EndpointSpec, type ServiceSpec } from '../core/cluster.ts'
import { Lab } from '../core/harness.ts'
import { CLIENT, OTHER, send } from '../core/web.ts'
import { conntrackFlush, HANDSHAKE, pass } from './node.ts'

const NODE_PORT = '192.168.0.1:30053/udp'
const BALANCER = '203.0.113.53:53/udp'
const TCP_PORT = '192.168.0.1:30053/tcp'
const SCTP_PORT = '192.168.0.1:30053/sctp'
const ALL = [NODE_PORT, BALANCER, TCP_PORT, SCTP_PORT]

const X: EndpointSpec = { address: '10.1.0.5', node: 'a' }
const Y: EndpointSpec = { address: '10.1.0.6', node: 'a' }
const Z: EndpointSpec = { address: '10.1.1.5', node: 'b' }

function service(endpoints: readonly EndpointSpec[], changes: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name: 'dns',
    clusterIP: '10.96.0.10',
    port: 53,
    nodePort: 30053,
    protocol: 'UDP',
    balancer: ['203.0.113.53'],
    endpoints,
    ...changes,
  }
}

function clusterWith(endpoints: readonly EndpointSpec[], changes: Partial<ServiceSpec> = {}): Cluster {
  return clusterOf({ nodes: 2, services: [service(endpoints, changes)] })
}

function labWith(cluster: Cluster, dials: readonly string[] = ALL): Lab {
  return new Lab(cluster, dials, { clients: [CLIENT, OTHER] })
}

/** From now on nobody cleans up after a change. */
function withoutKubeProxy(on: Lab): void {
  vi.spyOn(on.dataplane.slowPath.conntrack, 'cleanStaleUdp').mockImplementation(() => {})
}

const datagram = (on: Lab, connection: number, atMs: number): string => send(on, connection, atMs, 'client', 'none')

describe('KERNEL 4.7: the kernel alone', () => {
  test('20 datagrams of one 5-tuple go to one pod', () => {
    const on = labWith(clusterWith([X, Y, Z]))
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    const pods = new Set<string>()
    for (let i = 0; i < 20; i++) {
      expect(datagram(on, connection, i * 1000)).toBe('accept')
      pods.add(on.endpoint(connection))
      expect(on.timers('a', i * 1000)).toEqual([30_000])
    }
    expect(pods.size).toBe(1)
  })

  test('with the pod gone 15 of 15 datagrams vanish, each keeps the entry alive, and a new source port works at once', () => {
    const on = labWith(clusterWith([X]))
    withoutKubeProxy(on)
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    expect(datagram(on, connection, 0)).toBe('accept')
    on.change(clusterWith([Y]), 500)
    for (let i = 0; i < 15; i++) {
      const atMs = 1000 + i * 20_000
      expect(datagram(on, connection, atMs)).toBe('backend-gone')
      expect(on.timers('a', atMs)).toContain(30_000)
    }
    const fresh = on.connect(CLIENT, NODE_PORT, 40_001)
    expect(datagram(on, fresh, 300_000)).toBe('accept')
    expect(on.endpoint(fresh)).toBe('10.1.0.6:53')
  })

  test.each([
    ['conntrack -D', 1000],
    ['30 s of silence', 30_000],
  ] as const)('%s heals the old one', (how, waitMs) => {
    const on = labWith(clusterWith([X]))
    withoutKubeProxy(on)
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    datagram(on, connection, 0)
    on.change(clusterWith([Y]), 500)
    expect(datagram(on, connection, 600)).toBe('backend-gone')
    if (how === 'conntrack -D') expect(conntrackFlush(on)).toBe(1)
    expect(datagram(on, connection, 600 + waitMs)).toBe('accept')
    expect(on.endpoint(connection)).toBe('10.1.0.6:53')
  })

  test('an entry made before the Service existed blackholes 5 of 5 datagrams until it is deleted', () => {
    const on = labWith(clusterOf({ nodes: 2, services: [] }), [`!${NODE_PORT}`])
    withoutKubeProxy(on)
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    datagram(on, connection, 0)
    on.change(clusterWith([X]), 500)
    for (let i = 1; i <= 5; i++) {
      datagram(on, connection, i * 1000)
      expect(on.deliveredTo(connection)).toBe('192.168.0.1:30053')
    }
    expect(conntrackFlush(on)).toBe(1)
    expect(datagram(on, connection, 6000)).toBe('accept')
    expect(on.deliveredTo(connection)).toBe('10.1.0.5:53')
  })

  test('one that was refused leaves no entry, and its tuple works as soon as there are endpoints', () => {
    const on = labWith(clusterWith([]))
    expect(datagram(on, on.connect(CLIENT, NODE_PORT, 40_000), 0)).toBe('no-endpoint')
    expect(on.conntrack()).toEqual([0, 0])
    on.change(clusterWith([X]), 500)
    const again = on.connect(CLIENT, NODE_PORT, 40_000)
    expect(datagram(on, again, 1000)).toBe('accept')
    expect(on.endpoint(again)).toBe('10.1.0.5:53')
  })
})

describe('KUBE-PROXY §6: the clean-up after a change', () => {
  test.each([
    ['a node port', NODE_PORT],
    ['a load balancer’s address', BALANCER],
  ])('through %s: entries to an endpoint that has gone are deleted, all others stay', (_words, dial) => {
    const on = labWith(clusterWith([X, Y]))
    const connections = Array.from({ length: 40 }, (_, i) => {
      const connection = on.connect(CLIENT, dial, 40_000 + i)
      expect(datagram(on, connection, i)).toBe('accept')
      return connection
    })
    const stale = connections.filter((connection) => on.endpoint(connection) === '10.1.0.5:53')
    expect(stale.length).toBeGreaterThan(5)
    expect(stale.length).toBeLessThan(35)
    on.change(clusterWith([Y]), 1000)
    const left = on.conntrack()[0] + on.conntrack()[1]
    // Through the load balancer a connection may have come in on node b: two entries, of which one was DNATed.
    if (dial === NODE_PORT) expect(left).toBe(40 - stale.length)
    for (const connection of connections) {
      expect(datagram(on, connection, 2000)).toBe('accept')
      expect(on.endpoint(connection)).toBe('10.1.0.6:53')
    }
    on.selfCheck()
  })

  test('an endpoint on another port of the same address is another endpoint', () => {
    const on = labWith(clusterWith([X]))
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    datagram(on, connection, 0)
    on.change(clusterWith([X], { targetPort: 5353 }), 1000)
    expect(on.conntrack()).toEqual([0, 0])
    expect(datagram(on, connection, 2000)).toBe('accept')
    expect(on.endpoint(connection)).toBe('10.1.0.5:5353')
  })

  test('a Service without a serving endpoint is skipped: its entries stay, and blackhole, until there is one', () => {
    const on = labWith(clusterWith([X]))
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    datagram(on, connection, 0)
    on.change(clusterWith([]), 500)
    expect(on.conntrack()).toEqual([1, 0])
    expect(datagram(on, connection, 1000)).toBe('backend-gone')
    on.change(clusterWith([Y]), 1500)
    expect(on.conntrack()).toEqual([0, 0])
    expect(datagram(on, connection, 2000)).toBe('accept')
    expect(on.endpoint(connection)).toBe('10.1.0.6:53')
  })

  test('traffic policy and termination do not matter: what still serves keeps its entries', () => {
    const on = labWith(clusterWith([X, Z]))
    const connections = Array.from({ length: 20 }, (_, i) => on.connect(CLIENT, NODE_PORT, 40_000 + i))
    connections.forEach((connection, i) => {
      expect(datagram(on, connection, i)).toBe('accept')
    })
    const before = on.conntrack()
    const endpoints = connections.map((connection) => on.endpoint(connection))
    on.change(clusterWith([{ ...X, ready: false, serving: true, terminating: true }, Z], { external: 'Local' }), 1000)
    expect(on.conntrack()).toEqual(before)
    for (const connection of connections) expect(datagram(on, connection, 2000)).toBe('accept')
    expect(connections.map((connection) => on.endpoint(connection))).toEqual(endpoints)
    expect(new Set(endpoints).size).toBe(2)
  })

  test('what serves no longer loses them, though it is still there', () => {
    const on = labWith(clusterWith([X]))
    datagram(on, on.connect(CLIENT, NODE_PORT, 40_000), 0)
    on.change(clusterWith([{ ...X, ready: false, serving: false }, Y]), 1000)
    expect(on.conntrack()).toEqual([0, 0])
  })

  test('entries that were never DNATed are deleted once there are endpoints, not before', () => {
    const on = labWith(clusterOf({ nodes: 2, services: [] }), [`!${NODE_PORT}`])
    const connection = on.connect(CLIENT, NODE_PORT, 40_000)
    datagram(on, connection, 0)
    on.change(clusterWith([]), 500)
    expect(on.conntrack()).toEqual([1, 0])
    on.change(clusterWith([X]), 1000)
    expect(on.conntrack()).toEqual([0, 0])
    expect(datagram(on, connection, 2000)).toBe('accept')
    expect(on.deliveredTo(connection)).toBe('10.1.0.5:53')
  })

  test('a node port’s number counts at any destination, and other UDP is left alone', () => {
    const outsideSame = '192.0.2.1:30053/udp'
    const outsideOther = '192.0.2.1:30054/udp'
    const pod = '10.1.0.5'
    const on = labWith(clusterOf({ nodes: 2, services: [], pods: { [pod]: 'a' } }), [
      `!${outsideSame}`,
      `!${outsideOther}`,
    ])
    datagram(on, on.connect(pod, outsideSame, 40_000), 0)
    datagram(on, on.connect(pod, outsideOther, 40_000), 0)
    expect(on.conntrack()).toEqual([2, 0])
    on.change(clusterWith([X]), 1000)
    expect(on.conntrack()).toEqual([1, 0])
  })

  test.each([
    ['TCP', TCP_PORT],
    ['SCTP', SCTP_PORT],
  ] as const)(
    '%s entries are never deleted, not even where UDP is served at the same address and port',
    (protocol, dial) => {
      const both = (endpoints: readonly EndpointSpec[]): Cluster =>
        clusterOf({ nodes: 2, services: [service([Z], { name: 'udp' }), service(endpoints, { protocol })] })
      const on = labWith(both([X]))
      const connection = on.connect(CLIENT, dial, 40_000)
      if (protocol === 'TCP') pass(on, connection, 0, ...HANDSHAKE)
      else pass(on, connection, 0, ['client', 'none'], ['server', 'none'])
      on.change(both([Y]), 1000)
      expect(on.conntrack()).toEqual([1, 0])
      expect(send(on, connection, 2000, 'client', protocol === 'TCP' ? 'data' : 'none')).toBe('backend-gone')
      on.change(both([]), 3000)
      expect(on.conntrack()).toEqual([1, 0])
    },
  )
})
