/** The short way of first packets comes to what the general one comes to, whatever stands in its way. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FLOW_FAILED, FLOW_FIRST_NANOS, FLOW_OPEN2, FLOW_WORDS } from '../../native-free-core/flow-record.ts'
import { ENTRY_NODE_PROTOCOL, ENTRY_SHIFT, FLOW_SHIFT, FLOW_STATUS } from '../../native-free-core/index.ts'
import type { PairCounters } from '../../native-free-core/pair-counters.ts'
import type { ClusterViews } from '../../src/compile/views.ts'
import { clusterOf, type ServiceSpec } from './cluster.ts'
import { Lab, type Packet } from './harness.ts'
import { eightToServices, labOf, policedSetting, SEED, scriptOf, shareable, step } from './random-worlds.ts'

/** What is counted of each pair that has anything. */
function pairsOf({ counts, first, second, size }: PairCounters): string[] {
  const pairs = Array.from({ length: size }, (_, i) => `${first[i]} ${second[i]}: ${counts[i]}`)
  return pairs.filter((_, i) => counts[i] !== 0).sort()
}

/** All that a dataplane has after a run: counters, entries, timers, and what is known of each connection. */
function stateOf(lab: Lab, connections: number, atMs: number): unknown {
  const { flows, result } = lab.dataplane
  lab.selfCheck()
  return {
    result: [...result],
    series: lab.series(),
    hops: lab.hops(),
    counts: lab.conntrack(),
    ports: lab.dataplane.slowPath.conntrack.ports.map(pairsOf),
    serviceEntries: lab.dataplane.slowPath.conntrack.serviceEntries.map(pairsOf),
    timers: lab.nodeNames.map((node) => lab.timers(node, atMs)),
    // Of a connection that was refused its line says nothing else that anybody asks for.
    flows: Array.from({ length: connections }, (_, i) => {
      const flow = i << FLOW_SHIFT
      const failed = (flows[flow + FLOW_STATUS] & 0xff) === FLOW_FAILED
      return failed ? 'failed' : [...flows.subarray(flow, flow + FLOW_WORDS)]
    }),
  }
}

/** Many openings and short waits, so that connections are opened within one batch. */
const busyStep = fc.oneof(
  { weight: 1, arbitrary: step },
  {
    weight: 3,
    arbitrary: fc
      .record({ one: step, waitMs: fc.nat(60) })
      .map(({ one, waitMs }) => ({ ...one, waitMs, what: 'anew' as const })),
  },
)

describe('either way', () => {
  /** How many connections came to be, and how many of them on two nodes: or the property looks at too little. */
  let opened = 0
  let across = 0

  test.each([
    ['where no limit binds', 2000],
    ['where a node holds three entries', 3],
  ])('packets in batches have the same end: %s', (_, entries) => {
    fc.assert(
      fc.property(
        policedSetting,
        eightToServices,
        fc.array(busyStep, { minLength: 20, maxLength: 120 }),
        fc.constantFrom(1, 3),
        // So many that the tables fit in a core's cache, and so many that they do not and batches are planned ahead.
        fc.constantFrom(512, 16_384),
        fc.boolean(),
        fc.record({
          queued: fc.boolean(),
          snatRandomFully: fc.nat(1),
          firstPort: fc.constantFrom(0, 300, 700, 40_000),
        }),
        (drawn, choices, steps, shards, room, plain, { queued, snatRandomFully, firstPort }) => {
          const world = plain ? shareable(drawn) : drawn
          const { connections, packets } = scriptOf(world, choices, steps)
          const ends = [true, false].map((fastSetup) => {
            const { tcpLoose, egressMasquerade } = world
            const model = { tcpLoose, egressMasquerade, snatRandomFully }
            const lab = labOf(world, { fastSetup, shards, entries: entries * shards, connections: room, queued, model })
            const shardOf = (connection: number): number => connection % shards
            // Few enough ports that tuples are met again, and enough that most are not.
            connections.forEach(({ client, dial }, i) => {
              lab.connect(client, dial, firstPort + ((i * 7) % 16), shardOf(i))
            })
            // Shards take turns.
            for (let from = 0; from < packets.length; from += 30) {
              const turn = packets.slice(from, from + 30)
              for (let shard = 0; shard < shards; shard++) {
                lab.replay(
                  turn.filter(({ connection }) => shardOf(connection) === shard),
                  shard,
                )
              }
            }
            for (let shard = 0; shard < shards; shard++) lab.dataplane.end(shard)
            return stateOf(lab, connections.length, packets[packets.length - 1].atMs)
          })
          expect(ends[0]).toEqual(ends[1])
          const { flows } = ends[0] as { flows: (string | number[])[] }
          for (const flow of flows) {
            if (typeof flow === 'string') continue
            opened++
            if ((flow[FLOW_STATUS] & 0xff) === FLOW_OPEN2) across++
          }
        },
      ),
      { seed: SEED, numRuns: 200 },
    )
  })

  test('and there were connections of both kinds', () => {
    expect(opened).toBeGreaterThan(1000)
    expect(across).toBeGreaterThan(100)
  })
})

describe('what stands in the way', () => {
  const twoNodes = (changes: Partial<ServiceSpec> = {}) => {
    const web: ServiceSpec = {
      name: 'web',
      clusterIP: '10.96.0.10',
      balancer: ['203.0.113.1'],
      endpoints: [
        { address: '10.1.0.5', node: 'a' },
        { address: '10.1.1.5', node: 'b' },
      ],
      ...changes,
    }
    const far: ServiceSpec = { name: 'far', clusterIP: '10.96.0.11', endpoints: [{ address: '10.1.1.5', node: 'b' }] }
    const farther = { ...far, name: 'farther', clusterIP: '10.96.0.12' }
    const near: ServiceSpec = { name: 'near', clusterIP: '10.96.0.13', endpoints: [{ address: '10.1.0.6', node: 'a' }] }
    const nearer = { ...near, name: 'nearer', clusterIP: '10.96.0.14' }
    return clusterOf({ nodes: 2, services: [web, far, farther, near, nearer], pods: { '10.1.0.77': 'a' } })
  }
  const dials = [
    '203.0.113.1:80/tcp',
    '10.96.0.10:80/tcp',
    '10.96.0.11:80/tcp',
    '10.96.0.12:80/tcp',
    '10.96.0.13:80/tcp',
    '10.96.0.14:80/tcp',
  ]
  const syn = { from: 'client', flags: 2, length: 60 } as const

  interface Way {
    readonly lab: Lab
    /** Opens a connection. @returns what became of it */
    readonly dial: (client: string, to: number, port: number, atMs: number) => string
  }

  /** @returns what `act` returned, the same either way, as is the end */
  function either(changes: Partial<ServiceSpec>, act: (way: Way) => unknown): unknown {
    const [short, general] = [true, false].map((fastSetup) => {
      const lab = new Lab(twoNodes(changes), dials, { clients: ['198.51.100.7', '10.1.200.9'], fastSetup, entries: 40 })
      let connections = 0
      const dial: Way['dial'] = (client, to, port, atMs) => {
        connections++
        return lab.send({ ...syn, connection: lab.connect(client, dials[to], port), atMs })
      }
      const said = act({ lab, dial })
      lab.dataplane.end(0)
      return { said, state: stateOf(lab, connections, 1000) }
    })
    expect(short).toEqual(general)
    return short.said
  }

  test('a pod would answer past the node that translates', () => {
    const said = either({ external: 'Local' }, ({ dial }) =>
      Array.from({ length: 20 }, (_, i) => dial('10.1.200.9', 0, 40_000 + i, i)),
    )
    expect(new Set(said as string[])).toEqual(new Set(['accept', 'reply-bypasses-nat']))
  })

  test('the second node still has what the first one has dropped', () => {
    const said = either({}, ({ lab, dial }) => {
      const first = dial('10.1.0.77', 2, 40_000, 0)
      const { table, slowPath } = lab.dataplane
      const onFirst = (entry: number): boolean => table.entries[(entry << ENTRY_SHIFT) + ENTRY_NODE_PROTOCOL] >> 8 === 0
      table.forEachOfShard(0, (entry) => {
        if (onFirst(entry)) slowPath.conntrack.remove(entry)
      })
      const second = dial('10.1.0.77', 3, 40_000, 10)
      return [first, second, ...lab.conntrack()]
    })
    expect(said).toEqual(['accept', 'accept', 1, 1])
  })

  test.each([
    ['the same node', 4, 5],
    ['another node', 2, 3],
  ])('two Services lead to one pod on %s, and a client dials both from one port', (_, one, other) => {
    const said = either({}, ({ lab, dial }) => {
      const outcomes = [dial('10.1.0.77', one, 40_000, 0), dial('10.1.0.77', other, 40_000, 1)]
      return [...outcomes, lab.seenSource(0) === lab.seenSource(1)]
    })
    expect(said).toEqual(['accept', 'accept', false])
  })

  test('the table is full although the nodes might have more', () => {
    const said = either({}, ({ lab, dial }) => {
      lab.dataplane.quotas.fill(1000)
      return Array.from({ length: 100 }, (_, i) => dial('10.1.0.77', 2, 40_000 + i, i))
    }) as string[]
    expect(said.filter((one) => one === 'accept').length).toBeGreaterThan(30)
    expect(said.at(-1)).toBe('conntrack-full')
  })

  test('what the resolution of a name took is not counted to a connection without one', () => {
    const said = either({}, ({ lab, dial }) => {
      lab.dataplane.slowPath.names.told.nanos = 5_000_000
      return [dial('10.1.0.77', 2, 40_000, 0), lab.dataplane.flows[FLOW_FIRST_NANOS] < 5_000_000]
    })
    expect(said).toEqual(['accept', true])
  })

  test('the cluster changes, and with it what the rules say', () => {
    const said = either({}, ({ lab, dial }) => {
      const before = [1, 2, 3].map((i) => dial('198.51.100.7', 0, 40_000 + i, i))
      lab.change(twoNodes({ endpoints: [{ address: '10.1.1.5', node: 'b', ready: false }] }), 500)
      return [...before, dial('198.51.100.7', 0, 40_010, 600)]
    })
    expect(said).toEqual(['accept', 'accept', 'accept', 'no-endpoint'])
  })
})

describe('a moment of a Timeline', () => {
  const web = (endpoints: ServiceSpec['endpoints']) =>
    clusterOf({
      nodes: 2,
      services: [{ name: 'web', clusterIP: '10.96.0.10', balancer: ['203.0.113.1'], endpoints }],
      pods: { '10.1.0.77': 'a' },
    })
  const FIRST = { address: '10.1.0.5', node: 'a' }
  const SECOND = { address: '10.1.1.5', node: 'b' }
  const both = web([FIRST, SECOND])
  const slicesOf = (endpoints: ServiceSpec['endpoints']) => web(endpoints).slices
  const NOTHING = { slices: new Map(), balanced: new Map(), down: new Set<string>(), pods: new Map() }
  const refuses = { accepts: 'refuses', isLive: true } as const
  const silent = { accepts: 'silent', isLive: false } as const

  /** What became of connections from outside and from a pod on node a, the same with either way of first packets. */
  function fates(views: Omit<ClusterViews, 'shared'>): string[] {
    const ends = [true, false].map((fastSetup) => {
      const lab = new Lab(both, ['203.0.113.1:80/tcp', '10.96.0.10:80/tcp'], { clients: ['198.51.100.7'], fastSetup })
      lab.change(both, 100, { ...views, shared: { addresses: null } })
      const said = Array.from({ length: 60 }, (_, i) => {
        const [client, dial] = i % 2 === 0 ? ['198.51.100.7', '203.0.113.1:80/tcp'] : ['10.1.0.77', '10.96.0.10:80/tcp']
        const connection = lab.connect(client, dial, 40_000 + i)
        return lab.send({ connection, atMs: 200 + i, from: 'client', flags: 2, length: 60 })
      })
      lab.dataplane.end(0)
      return { said, state: stateOf(lab, 60, 1000) }
    })
    expect(ends[0]).toEqual(ends[1])
    return [...new Set(ends[0].said)].sort()
  }

  test('a pod that refuses, one that is silent, and a target that is down', () => {
    expect(fates({ ...NOTHING, pods: new Map([['10.1.0.5', refuses]]) })).toEqual(['accept', 'pod-stopped'])
    expect(fates({ ...NOTHING, pods: new Map([['10.1.1.5', silent]]) })).toEqual(['accept', 'backend-gone'])
    const balanced = new Map([['default/web', ['a', 'b']]])
    expect(fates({ ...NOTHING, balanced, down: new Set(['b']) })).toEqual(['accept', 'node-down'])
    expect(fates({ ...NOTHING, balanced: new Map([['default/web', []]]) })).toEqual(['accept', 'no-healthy-node'])
  })

  test('a node that knows of no endpoint refuses, though another still has one', () => {
    const slices = new Map([
      [
        'default/web',
        new Map([
          ['a', slicesOf([])],
          ['b', slicesOf([SECOND])],
        ]),
      ],
    ])
    expect(fates({ ...NOTHING, slices, balanced: new Map([['default/web', ['a']]]) })).toEqual(['no-endpoint'])
    expect(fates({ ...NOTHING, slices, balanced: new Map([['default/web', ['b']]]) })).toEqual([
      'accept',
      'no-endpoint',
    ])
  })

  test('a node that is late has the endpoint that others have left', () => {
    const slices = new Map([
      [
        'default/web',
        new Map([
          ['a', slicesOf([FIRST, SECOND])],
          ['b', slicesOf([SECOND])],
        ]),
      ],
    ])
    const pods = new Map([['10.1.0.5', silent]])
    expect(fates({ ...NOTHING, slices, pods, balanced: new Map([['default/web', ['b']]]) })).toEqual([
      'accept',
      'backend-gone',
    ])
  })
})

describe('many Services', () => {
  const SERVICES = 1400
  const CONNECTIONS = 4000
  const outside = Array.from({ length: 40 }, (_, i) => `198.51.100.${i + 1}`)
  const services = Array.from({ length: SERVICES }, (_, i): ServiceSpec => {
    const third = i >> 8
    const fourth = i & 255
    return {
      name: `service-${i}`,
      clusterIP: `10.96.${third}.${fourth}`,
      balancer: [`203.0.${100 + third}.${fourth}`],
      affinitySeconds: i % 5 === 0 ? 30 : 0,
      external: i % 3 === 0 ? 'Local' : 'Cluster',
      endpoints: [
        { address: `10.1.0.${5 + (i % 3)}`, node: 'a' },
        { address: `10.1.1.${5 + (i % 4)}`, node: 'b' },
      ],
    }
  })
  const dials = services.flatMap(({ clusterIP, balancer }) => [`${clusterIP}:80/tcp`, `${balancer![0]}:80/tcp`])

  /** More answers than there are places for them: some are asked for again within one batch. */
  test('answers that share a place are not taken for each other', () => {
    const ends = [true, false].map((fastSetup) => {
      const cluster = clusterOf({ nodes: 2, services, pods: { '10.1.0.77': 'a', '10.1.1.77': 'b' } })
      const lab = new Lab(cluster, dials, { clients: outside, connections: CONNECTIONS, entries: 20_000, fastSetup })
      const clients = [...outside, '10.1.0.77', '10.1.1.77', '192.168.0.1', '192.168.0.2']
      const packets: Packet[] = []
      for (let i = 0; i < CONNECTIONS; i++) {
        const dial = dials[(i * 2_654_435_761) % dials.length]
        lab.connect(clients[(i * 7) % clients.length], dial, 20_000 + i)
        packets.push({ connection: i, atMs: i >> 4, from: 'client', flags: 2, length: 60 })
      }
      lab.replay(packets)
      lab.dataplane.end(0)
      return stateOf(lab, CONNECTIONS, 1000)
    })
    expect(ends[0]).toEqual(ends[1])
  })
})
