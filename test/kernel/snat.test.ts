/** KERNEL §3: masquerade and its source ports, through the dataplane. The search alone has its rows in test/core/snat. */
import { describe, expect, test } from 'vitest'
import {
  draw,
  findPort,
  NODE_SNAT_EXHAUSTED,
  TOTAL_ESTABLISHED,
  TOTAL_MASQUERADED,
} from '../../native-free-core/index.ts'
import { clusterOf, type ServiceSpec } from '../core/cluster.ts'
import { Lab, type LabOptions } from '../core/harness.ts'
import { CLIENT, lab, NODE_A, onA, onB, POD_A, POD_B, send, web } from '../core/web.ts'
import { CLOSE, outside, pass, sendAll } from './node.ts'

/** Clients of one source port each; the first 511 fill the smallest range. */
const CLIENTS = outside(600)
const THREE = [30_081, 30_082, 30_083]

/** Three Services of one remote pod each; everything is masqueraded. */
function three(options: LabOptions = {}): Lab {
  const services = THREE.map(
    (nodePort, i): ServiceSpec => ({
      ...web({ balancer: [], endpoints: [{ address: `10.1.1.${5 + i}`, node: 'b' }], nodePort }),
      name: `web-${i}`,
      clusterIP: `10.96.0.${10 + i}`,
    }),
  )
  const dials = THREE.map((port) => `192.168.0.1:${port}/tcp`)
  return new Lab(clusterOf({ nodes: 2, services }), dials, { clients: CLIENTS, ...options })
}

const first = `192.168.0.1:${THREE[0]}/tcp`
const second = `192.168.0.1:${THREE[1]}/tcp`

/** What pods see as source ports, of the connections that were delivered. */
function portsOf(on: Lab, connections: readonly number[]): number[] {
  return connections.map((connection) => Number(on.seenSource(connection).split(':')[1]))
}

/** One SYN by each client, from the same source port. @returns the connections that got through */
function fromEach(on: Lab, clients: readonly string[], to: string, sourcePort: number, atMs: number): number[] {
  return clients
    .map((client) => on.connect(client, to, sourcePort))
    .filter((connection) => send(on, connection, atMs, 'client', 'syn') === 'accept')
}

describe('KERNEL 3.1: the ports that a source port may become', () => {
  test.each([
    [100, 1, 511],
    [511, 1, 511],
    [555, 600, 1023],
    [1023, 600, 1023],
    [1024, 1024, 65_535],
    [40_000, 1024, 65_535],
  ])('from %i into %i..%i', (sourcePort, low, high) => {
    const on = three()
    const ports = portsOf(on, fromEach(on, CLIENTS.slice(0, 300), first, sourcePort, 0))
    expect(Math.min(...ports)).toBeGreaterThanOrEqual(low)
    expect(Math.max(...ports)).toBeLessThanOrEqual(high)
    expect(new Set(ports).size).toBe(ports.length)
  })

  test('without random-fully the first of 300 clients with one source port keeps it; all 300 are distinct', () => {
    const on = three({ model: { snatRandomFully: 0 } })
    const ports = portsOf(on, fromEach(on, CLIENTS.slice(0, 300), first, 40_000, 0))
    expect(ports.filter((port) => port === 40_000)).toHaveLength(1)
    expect(ports[0]).toBe(40_000)
    expect(new Set(ports).size).toBe(300)
  })

  test('… and a port of 512 to 599 stays below 600 where it is kept, but a search goes above', () => {
    const on = three({ model: { snatRandomFully: 0 } })
    const ports = portsOf(on, fromEach(on, CLIENTS.slice(0, 2), first, 555, 0))
    expect(ports[0]).toBe(555)
    expect(ports[1]).toBeGreaterThanOrEqual(600)
  })
})

describe('KERNEL 3.2: a port is taken for one reply tuple only', () => {
  test('3 destinations × 300 clients, ports kept: 900 entries on 300 distinct ports', () => {
    const on = three({ model: { snatRandomFully: 0 } })
    const connections = THREE.flatMap((nodePort) =>
      CLIENTS.slice(0, 300).map((client, i) => {
        const connection = on.connect(client, `192.168.0.1:${nodePort}/tcp`, 40_000 + i)
        pass(on, connection, 0, ['client', 'syn'])
        return connection
      }),
    )
    expect(on.conntrack()).toEqual([900, 900])
    expect(new Set(portsOf(on, connections)).size).toBe(300)
    on.selfCheck()
  })

  test('fully random, the 511 ports below 512 serve 450 clients of each of 3 destinations', () => {
    const on = three()
    const connections = THREE.flatMap((nodePort) =>
      fromEach(on, CLIENTS.slice(0, 450), `192.168.0.1:${nodePort}/tcp`, 100, 0),
    )
    expect(connections.length).toBeGreaterThan(1340)
    expect(new Set(portsOf(on, connections)).size).toBeLessThanOrEqual(511)
    on.selfCheck()
  })

  test('TCP and UDP do not share: the same node, address and number', () => {
    const services: ServiceSpec[] = [
      web({ balancer: [], endpoints: [onB] }),
      { ...web({ balancer: [], endpoints: [onB] }), name: 'quic', clusterIP: '10.96.0.20', protocol: 'UDP' },
    ]
    const dials = [NODE_A, '192.168.0.1:30080/udp']
    const on = new Lab(clusterOf({ nodes: 2, services }), dials, { clients: CLIENTS, model: { snatRandomFully: 0 } })
    const connections = [on.connect(CLIENTS[0], dials[0], 40_000), on.connect(CLIENTS[1], dials[1], 40_000)]
    pass(on, connections[0], 0, ['client', 'syn'])
    pass(on, connections[1], 0, ['client', 'none'])
    expect(portsOf(on, connections)).toEqual([40_000, 40_000])
  })
})

describe('KERNEL 3.2 and 3.3: capacity', () => {
  test('one backend takes as many connections as the range has ports, then refuses; a second takes as many more', () => {
    const on = three({ connections: 16_000 })
    for (const [to, entries] of [
      [first, 511],
      [second, 1022],
    ] as const) {
      for (let attempt = 0; attempt < 12; attempt++) fromEach(on, CLIENTS, to, 10 + attempt, attempt)
      expect(on.conntrack()).toEqual([entries, entries])
      expect(send(on, on.connect(CLIENTS[0], to, 99), 20, 'client', 'syn')).toBe('snat-ports-exhausted')
    }
    expect(on.nodeTotal('a', NODE_SNAT_EXHAUSTED)).toBeGreaterThan(2)
    on.selfCheck()
  })

  // A residue class of the range stands in for a range of that size.
  test.each([
    [100, 645, 4],
    [200, 322, 208],
  ])(
    'a range of %i ports: exactly as many of 400 flows pass, as many more to a second backend',
    (size, shards, shard) => {
      for (const backend of [1, 2]) {
        const used = new Set<number>()
        let passed = 0
        for (let flow = 0; flow < 400; flow++) {
          const port = findPort(40_000, draw(7, flow, backend, 3), false, shard, shards, (one) => used.has(one))
          if (port === 0) continue
          used.add(port)
          passed++
        }
        expect(passed).toBe(size)
        expect(used.size).toBe(size)
      }
    },
  )
})

/** A node with one remote pod, and room for as many connections. */
function single(connections: number, options: LabOptions = {}): Lab {
  return lab({ endpoints: [onB], balancer: [] }, { clients: CLIENTS, entries: 70_000, connections, ...options })
}

test('KERNEL 3.4: the ports 1024 to 2047 are twice as likely (65536 mod 64512)', () => {
  const on = single(20_000)
  const connections = Array.from({ length: 20_000 }, (_, i) => on.connect(CLIENTS[0], NODE_A, 10_000 + i))
  sendAll(on, connections, 0, ['client', 'syn'])
  const low = portsOf(on, connections).filter((port) => port < 2048).length
  // 608 of 20000 were measured, 625 is 2 × 1024 / 65536; uniform would give 318.
  expect(low).toBeGreaterThan(520)
  expect(low).toBeLessThan(700)
})

describe('KERNEL 3.5: failures begin well before the range is full', () => {
  test('fraction of 1200 new flows that fail, fully random, one backend, as measured twice', () => {
    const on = single(200_000)
    const { conntrack } = on.dataplane.slowPath
    const { table } = on.dataplane
    let tuples = 0
    let atMs = 0
    /** @returns how many of so many new flows fail */
    const attempt = (flows: number): number => {
      const connections = Array.from({ length: flows }, () => {
        const n = tuples++
        return on.connect(CLIENTS[Math.floor(n / 64_000)], NODE_A, 1024 + (n % 64_000))
      })
      const before = on.total(TOTAL_ESTABLISHED)
      sendAll(on, connections, ++atMs, ['client', 'syn'])
      return flows - (on.total(TOTAL_ESTABLISHED) - before)
    }
    for (const [occupied, low, high] of [
      [0.5, 0, 0],
      [0.9, 0, 0.007],
      [0.95, 0.058, 0.063],
      [0.98, 0.3, 0.307],
      [0.99, 0.517, 0.519],
      [0.995, 0.709, 0.726],
    ] as const) {
      const target = Math.round(64_512 * occupied)
      while (on.conntrack()[0] < target) attempt(Math.min(16_000, target - on.conntrack()[0]))
      const known = new Set<number>()
      table.forEachOfShard(0, (entry) => known.add(entry))
      let failed = 0
      for (let round = 0; round < 10; round++) {
        failed += attempt(120)
        // The level is held: what has just been made goes again.
        table.forEachOfShard(0, (entry) => {
          if (!known.has(entry)) conntrack.remove(entry)
        })
      }
      const tolerance = 4.5 * Math.sqrt(Math.max(high * (1 - high), 0.002) / 1200)
      expect(failed / 1200, `at ${occupied}`).toBeGreaterThanOrEqual(low - tolerance)
      expect(failed / 1200, `at ${occupied}`).toBeLessThanOrEqual(high + tolerance)
    }
    on.selfCheck()
  })

  test('keeping ports, clients that share a contiguous range fail 2-3 % already at 50 %', () => {
    const on = single(40_000, { model: { snatRandomFully: 0 } })
    const half = 32_256
    sendAll(
      on,
      Array.from({ length: half }, (_, i) => on.connect(CLIENTS[0], NODE_A, 1024 + i)),
      0,
      ['client', 'syn'],
    )
    expect(on.conntrack()[0]).toBe(half)
    const late = Array.from({ length: 3000 }, (_, i) => on.connect(CLIENTS[1], NODE_A, 1024 + i))
    const before = on.total(TOTAL_ESTABLISHED)
    sendAll(on, late, 1, ['client', 'syn'])
    const failed = (3000 - (on.total(TOTAL_ESTABLISHED) - before)) / 3000
    expect(failed).toBeGreaterThan(0.015)
    expect(failed).toBeLessThan(0.045)
  })
})

describe('KERNEL 3.6: the ports of closing connections are reclaimed for a SYN', () => {
  /** All 511 ports towards one backend in use by connections that ended so. */
  function full(...ending: readonly (readonly ['client' | 'server', 'fin' | 'ack' | 'rst'])[]): Lab {
    const on = three({ connections: 16_000 })
    for (let attempt = 0; attempt < 12; attempt++) {
      for (const connection of fromEach(on, CLIENTS, first, 10 + attempt, 0)) {
        pass(on, connection, 0, ['server', 'synack'], ['client', 'ack'])
      }
    }
    expect(on.conntrack()).toEqual([511, 511])
    const open = Array.from({ length: 12 * CLIENTS.length }, (_, i) => i).filter((one) => on.endpoint(one) !== '')
    for (const packet of ending) sendAll(on, open, 1, packet)
    return on
  }

  const twenty = (on: Lab): number => fromEach(on, CLIENTS.slice(0, 20), first, 300, 5).length

  test.each([
    ['TIME_WAIT', CLOSE],
    ['CLOSE', [['server', 'rst']]],
  ] as const)('all ports in %s: 20 of 20 succeed', (_state, ending) => {
    const on = full(...ending)
    expect(twenty(on)).toBe(20)
    expect(on.conntrack()[0]).toBe(511)
    on.selfCheck()
  })

  test('all ports ESTABLISHED: 0 of 20', () => {
    const on = full()
    expect(twenty(on)).toBe(0)
    expect(on.conntrack()[0]).toBe(511)
  })

  test('not for UDP: 0 of 20', () => {
    const dial = '192.168.0.1:30080/udp'
    const service = { ...web({ balancer: [], endpoints: [onB] }), protocol: 'UDP' as const }
    const on = new Lab(clusterOf({ nodes: 2, services: [service] }), [dial], { clients: CLIENTS, connections: 16_000 })
    for (let attempt = 0; attempt < 12; attempt++) {
      for (const client of CLIENTS) send(on, on.connect(client, dial, 10 + attempt), 0, 'client', 'none')
    }
    expect(on.conntrack()).toEqual([511, 511])
    const late = CLIENTS.slice(0, 20).map((client) => on.connect(client, dial, 300))
    for (const connection of late) expect(send(on, connection, 1, 'client', 'none')).toBe('snat-ports-exhausted')
  })
})

describe('KERNEL 3.7 and 3.8: what the pod sees', () => {
  test.each(['nftables', 'iptables'] as const)(
    'Cluster, %s: the bridge’s address on the same node, the node’s from another, and never the client’s port',
    (mode) => {
      const on = lab({ endpoints: [onA, onB] }, { mode, model: { snatRandomFully: 1 } })
      const seen = new Map<string, Set<string>>()
      let kept = 0
      for (let i = 0; i < 600; i++) {
        const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
        pass(on, connection, i, ['client', 'syn'])
        const [address, port] = on.seenSource(connection).split(':')
        const pod = on.deliveredTo(connection).split(':')[0]
        seen.set(pod, (seen.get(pod) ?? new Set()).add(address))
        if (Number(port) === 40_000 + i) kept++
      }
      expect(seen).toEqual(
        new Map([
          [POD_A, new Set(['10.1.0.1'])],
          [POD_B, new Set(['192.168.0.1'])],
        ]),
      )
      expect(kept).toBe(0)
      expect(on.total(TOTAL_MASQUERADED)).toBe(600)
    },
  )

  test('Local keeps address and port in 600 of 600', () => {
    const on = lab({ external: 'Local' })
    for (let i = 0; i < 600; i++) {
      const connection = on.connect(CLIENT, NODE_A, 40_000 + i)
      pass(on, connection, i, ['client', 'syn'])
      expect(on.seenSource(connection)).toBe(`${CLIENT}:${40_000 + i}`)
    }
    expect(on.total(TOTAL_MASQUERADED)).toBe(0)
  })
})
