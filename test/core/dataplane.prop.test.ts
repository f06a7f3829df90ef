/** Random small clusters and random packets: the dataplane against the slow oracle, in batches, and over several shards. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mergeResults } from '../../native-free-core/index.ts'
import { type ClusterSpec, clusterOf, NODE_NAMES, type ServiceSpec } from './cluster.ts'
import { Lab, type LabOptions, type Packet } from './harness.ts'
import { Oracle } from './oracle.ts'

const SEED = 20_266
const OUTSIDE = ['198.51.100.7', '198.51.100.8']

interface Setting {
  readonly cluster: ClusterSpec
  readonly dials: readonly string[]
  readonly clients: readonly string[]
  readonly mode: 'nftables' | 'iptables' | 'ipvs'
  readonly tcpLoose: number
  readonly egressMasquerade: number
  readonly seed: number
}

const policy = fc.constantFrom('Cluster' as const, 'Local' as const)

const setting: fc.Arbitrary<Setting> = fc
  .record({
    nodes: fc.integer({ min: 1, max: 3 }),
    external: policy,
    internal: policy,
    endpoints: fc.array(
      fc.record({ node: fc.nat(2), host: fc.integer({ min: 5, max: 8 }), ready: fc.boolean(), draining: fc.boolean() }),
      { maxLength: 5 },
    ),
    affinitySeconds: fc.constantFrom(0, 40),
    proxyMode: fc.boolean(),
    mode: fc.constantFrom('nftables' as const, 'iptables' as const, 'ipvs' as const),
    tcpLoose: fc.nat(1),
    egressMasquerade: fc.nat(1),
    seed: fc.integer(),
    ranges: fc.boolean(),
  })
  .map((choice): Setting => {
    const endpoints = choice.endpoints.map(({ node, host, ready, draining }) => ({
      address: `10.1.${node % choice.nodes}.${host}`,
      node: NODE_NAMES[node % choice.nodes],
      ready,
      serving: ready || draining,
      terminating: !ready && draining,
    }))
    const shared = {
      external: choice.external,
      internal: choice.internal,
      affinitySeconds: choice.affinitySeconds,
      endpoints,
    }
    const services: ServiceSpec[] = [
      {
        ...shared,
        name: 'web',
        clusterIP: '10.96.0.10',
        targetPort: 8080,
        nodePort: 30080,
        balancer: ['203.0.113.1'],
        proxyMode: choice.proxyMode,
        externalIPs: ['203.0.113.9'],
        sourceRanges: choice.ranges ? ['198.51.100.7/32', '10.0.0.0/8'] : [],
      },
      { ...shared, name: 'dns', clusterIP: '10.96.0.11', protocol: 'UDP', port: 53, nodePort: 30053 },
    ]
    const nodes = Array.from({ length: choice.nodes }, (_, i) => i)
    return {
      cluster: { nodes: choice.nodes, services, pods: { '10.1.0.77': 'a' } },
      dials: [
        '203.0.113.1:80/tcp',
        '203.0.113.9:80/tcp',
        '10.96.0.10:80/tcp',
        '10.96.0.11:53/udp',
        ...nodes.flatMap((i) => [`192.168.0.${i + 1}:30080/tcp`, `192.168.0.${i + 1}:30053/udp`]),
        ...nodes.map((i) => `!10.1.${i}.5:8080/tcp`),
        '!192.0.2.1:443/tcp',
        '!192.0.2.1:443/udp',
      ],
      // Outside, a pod, every node, and the pods that are endpoints: those can meet themselves.
      clients: [
        ...OUTSIDE,
        '10.1.0.77',
        ...nodes.map((i) => `192.168.0.${i + 1}`),
        ...endpoints.slice(0, 2).map(({ address }) => address),
      ],
      mode: choice.mode,
      tcpLoose: choice.tcpLoose,
      egressMasquerade: choice.egressMasquerade,
      seed: choice.seed,
    }
  })

/** What happens on a connection: single packets, or the sequences that lead far into the state machine. */
interface Step {
  readonly connection: number
  readonly waitMs: number
  readonly what: 'packet' | 'handshake' | 'exchange' | 'close' | 'anew'
  readonly from: 'client' | 'server'
  readonly flags: number
  readonly length: number
}

const step: fc.Arbitrary<Step> = fc.record({
  connection: fc.nat(7),
  waitMs: fc.oneof(
    { weight: 6, arbitrary: fc.nat(3000) },
    { weight: 3, arbitrary: fc.constantFrom(9_999, 10_000, 29_999, 30_000, 40_000, 40_001, 60_000, 119_999, 120_000) },
    { weight: 1, arbitrary: fc.constantFrom(300_000, 3_600_000) },
  ),
  what: fc.constantFrom('packet', 'packet', 'handshake', 'exchange', 'close', 'anew'),
  from: fc.constantFrom('client', 'client', 'server'),
  flags: fc.constantFrom(0, 1, 2, 4, 16, 17, 18, 20, 24),
  length: fc.constantFrom(40, 60, 61, 1500),
})

const SEQUENCES = {
  handshake: [
    ['client', 2],
    ['server', 18],
    ['client', 16],
  ],
  exchange: [
    ['client', 24],
    ['server', 16],
    ['server', 24],
    ['client', 16],
  ],
  close: [
    ['client', 17],
    ['server', 16],
    ['server', 17],
    ['client', 16],
  ],
} as const

/** Which client, destination and port each of eight connections has; few ports, so that tuples are met again. */
const connection = fc.record({ client: fc.nat(100), dial: fc.nat(100), port: fc.integer({ min: 40_000, max: 40_001 }) })
const eight = fc.array(connection, { minLength: 8, maxLength: 8 })

interface Script {
  /** Client, destination and port of each connection, in the order they are made. */
  readonly connections: readonly { readonly client: string; readonly dial: string; readonly port: number }[]
  readonly packets: readonly Packet[]
}

function scriptOf(
  world: Setting,
  choices: readonly { client: number; dial: number; port: number }[],
  steps: readonly Step[],
): Script {
  const describe = (one: { client: number; dial: number; port: number }) => ({
    client: world.clients[one.client % world.clients.length],
    dial: world.dials[one.dial % world.dials.length].replace('!', ''),
    port: one.port,
  })
  const connections = choices.map(describe)
  const current = choices.map((_, i) => i)
  const packets: Packet[] = []
  let atMs = 0
  for (const one of steps) {
    atMs += one.waitMs
    if (one.what === 'anew') {
      // A later connection of the same tuple.
      current[one.connection] = connections.length
      connections.push(describe(choices[one.connection]))
    }
    const sequence =
      one.what === 'packet' ? [[one.from, one.flags] as const] : SEQUENCES[one.what === 'anew' ? 'handshake' : one.what]
    for (const [from, flags] of sequence) {
      packets.push({ connection: current[one.connection], atMs, from, flags, length: flags === 24 ? 1500 : one.length })
    }
  }
  return { connections, packets }
}

function labOf(world: Setting, options: LabOptions = {}): Lab {
  return new Lab(clusterOf(world.cluster), world.dials, {
    mode: world.mode,
    seed: world.seed,
    clients: OUTSIDE,
    model: { tcpLoose: world.tcpLoose, egressMasquerade: world.egressMasquerade },
    connections: 512,
    entries: 2000,
    durationMs: 200_000_000,
    ...options,
  })
}

describe('against the oracle', () => {
  /** Outcomes that the runs together must have met, or the property looks at too little. */
  const met = new Map<string, number>()

  test('every packet has the same outcome, every connection the same pod and source, every node the same timers', () => {
    fc.assert(
      fc.property(setting, eight, fc.array(step, { minLength: 5, maxLength: 40 }), (world, choices, steps) => {
        const { connections, packets } = scriptOf(world, choices, steps)
        const lab = labOf(world)
        const oracle = new Oracle(lab.rules.columns, {
          mode: world.mode,
          seed: world.seed,
          nodes: world.cluster.nodes,
          tcpLoose: world.tcpLoose === 1,
          egressMasquerade: world.egressMasquerade === 1,
        })
        const plain = world.dials.map((dial) => dial.replace('!', ''))
        for (const { client, dial, port } of connections) {
          lab.connect(client, dial, port)
          oracle.connect(lab.client(client), port, plain.indexOf(dial))
        }
        packets.forEach((packet, i) => {
          const where = `packet ${i}: ${JSON.stringify({ ...packet, ...connections[packet.connection] })}`
          const outcome = oracle.send(packet)
          met.set(outcome, (met.get(outcome) ?? 0) + 1)
          expect(lab.send(packet), where).toBe(outcome)
          if (outcome === 'accept') {
            const endpoint = oracle.endpoint(packet.connection)
            expect(lab.endpoint(packet.connection), where).toBe(endpoint < 0 ? '' : lab.registry.endpointText(endpoint))
            const seen = oracle.delivered(packet.connection)!
            expect(lab.seenSource(packet.connection), where).toBe(
              lab.registry.addressPort(seen.source, seen.sourcePort),
            )
            expect(lab.deliveredTo(packet.connection), where).toBe(
              lab.registry.addressPort(seen.destination, seen.destinationPort),
            )
          }
          const live = lab.nodeNames.map((node) => lab.timers(node, packet.atMs).filter((left) => left > 0))
          expect(live, where).toEqual(oracle.timers())
          lab.selfCheck()
        })
      }),
      { seed: SEED, numRuns: 300 },
    )
  })

  test('and the packets had every kind of outcome', () => {
    expect([...met.keys()].sort()).toEqual(
      expect.arrayContaining([
        'accept',
        'entry-lost',
        'invalid-state',
        'no-endpoint',
        'no-healthy-node',
        'no-local-endpoint',
        'no-route',
        'not-in-source-ranges',
        'not-sent',
        'reply-bypasses-nat',
        'reply-lost',
      ]),
    )
    expect(met.get('accept')).toBeGreaterThan(3000)
  })
})

/** ipvs takes turns, and the `recent` lists of iptables are reaped, for a whole node: a shard does both for itself. */
function shareable(world: Setting): Setting {
  return { ...world, mode: 'nftables' }
}

test('in batches everything comes out as packet by packet', () => {
  fc.assert(
    fc.property(setting, eight, fc.array(step, { minLength: 20, maxLength: 150 }), (world, choices, steps) => {
      const { connections, packets } = scriptOf(world, choices, steps)
      const results = [false, true].map((batched) => {
        const lab = labOf(world)
        for (const { client, dial, port } of connections) lab.connect(client, dial, port)
        if (batched) lab.replay(packets)
        else for (const packet of packets) lab.send(packet)
        lab.dataplane.end(0)
        lab.selfCheck()
        return { result: [...lab.dataplane.result], ...lab.series(), counts: lab.conntrack() }
      })
      expect(results[1]).toEqual(results[0])
    }),
    { seed: SEED, numRuns: 100 },
  )
})

test('four shards come to what one comes to, where no limit binds', () => {
  fc.assert(
    fc.property(setting, eight, fc.array(step, { minLength: 20, maxLength: 150 }), (drawn, choices, steps) => {
      const world = shareable(drawn)
      const { connections, packets } = scriptOf(world, choices, steps)
      const one = labOf(world)
      const four = labOf(world, { shards: 4 })
      // What must stay together: a client.
      const shards = connections.map(({ client }) => world.clients.indexOf(client) % 4)
      connections.forEach(({ client, dial, port }, i) => {
        one.connect(client, dial, port)
        four.connect(client, dial, port, shards[i])
      })
      for (const packet of packets) expect(four.send(packet)).toBe(one.send(packet))
      one.dataplane.end(0)
      for (let shard = 0; shard < 4; shard++) four.dataplane.end(shard)
      four.selfCheck()
      expect([...four.dataplane.result]).toEqual([...one.dataplane.result])
      expect(four.series()).toEqual(one.series())
    }),
    { seed: SEED, numRuns: 100 },
  )
})

test('two instances, each with its own shards, merge to what one instance with all of them has', () => {
  fc.assert(
    fc.property(setting, eight, fc.array(step, { minLength: 20, maxLength: 100 }), (drawn, choices, steps) => {
      const world = shareable(drawn)
      const { connections, packets } = scriptOf(world, choices, steps)
      const shardOf = connections.map(({ client }) => world.clients.indexOf(client) % 4)
      const together = labOf(world, { shards: 4 })
      const apart = [labOf(world, { shards: 4 }), labOf(world, { shards: 4 })]
      for (const lab of [together, ...apart]) {
        connections.forEach(({ client, dial, port }, i) => {
          lab.connect(client, dial, port, shardOf[i])
        })
      }
      for (const packet of packets) {
        together.send(packet)
        apart[shardOf[packet.connection] % 2].send(packet)
      }
      for (let shard = 0; shard < 4; shard++) {
        together.dataplane.end(shard)
        apart[shard % 2].dataplane.end(shard)
      }
      const merged = apart[0].dataplane.result.slice()
      mergeResults(merged, apart[1].dataplane.result, apart[0].dataplane.layout)
      expect([...merged]).toEqual([...together.dataplane.result])
    }),
    { seed: SEED, numRuns: 60 },
  )
})
