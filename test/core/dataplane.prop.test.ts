/** Random small clusters and random packets: the dataplane against the slow oracle, in batches, and over several shards. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CHECKED } from '../../native-free-core/checked.ts'
import { mergeResults } from '../../native-free-core/index.ts'
import { Oracle } from './oracle.ts'
import { eight, labOf, SEED, scriptOf, setting, shardsOf, shareable, step } from './random-worlds.ts'

test('the core checks its invariants here, and not in the bundle', () => {
  expect(CHECKED).toBe(true)
  expect(readFileSync('dist/native-free-core/index.js', 'utf8')).not.toContain('stay within its quota')
})

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
          ipvsUdpSeconds: world.ipvsUdpSeconds,
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
        'no-ipvs-connection',
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
      const shards = shardsOf(world, connections)
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
      const shardOf = shardsOf(world, connections)
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
