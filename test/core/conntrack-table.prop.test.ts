/** The conntrack table against a plain Map: random inserts, finds, removes and sweeps, with `selfCheck` after each. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ENTRY_OWNER, swapPorts } from '../../native-free-core/conntrack-table.ts'
import {
  type ConntrackTable,
  createConntrackTable,
  ENTRY_DESTINATION,
  ENTRY_NODE_PROTOCOL,
  ENTRY_PORTS,
  ENTRY_REPLY_DESTINATION,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SHIFT,
  ENTRY_SOURCE,
  hashTuple,
  MAX_ENTRIES,
} from '../../native-free-core/index.ts'

const SEED = 20_261

type Tuple = readonly [source: number, destination: number, ports: number, nodeProtocol: number]

/** An entry of a tuple and the reply tuple (source, destination, ports) with it. */
function put(
  table: ConntrackTable,
  shard: number,
  source: number,
  destination: number,
  ports: number,
  nodeProtocol: number,
  replySource: number,
  replyDestination: number,
  replyPorts: number,
): number {
  const hash = hashTuple(source, destination, ports, nodeProtocol)
  const replyHash = hashTuple(replySource, replyDestination, replyPorts, nodeProtocol)
  return table.insert(
    shard,
    hash,
    source,
    destination,
    ports,
    nodeProtocol,
    replyHash,
    replySource,
    replyDestination,
    replyPorts,
  )
}

interface Flow {
  readonly shard: number
  readonly original: Tuple
  readonly reply: Tuple
}

/** Few addresses and ports, so that flows repeat, and two nodes and two protocols, so that the rest of the key counts. */
const flow: fc.Arbitrary<Flow> = fc
  .record({
    shard: fc.nat(2),
    source: fc.nat(5),
    destination: fc.integer({ min: 10, max: 13 }),
    backend: fc.integer({ min: 20, max: 22 }),
    sourcePort: fc.integer({ min: 65_530, max: 65_535 }),
    node: fc.nat(1),
    protocol: fc.constantFrom(6, 17),
  })
  .map(({ shard, source, destination, backend, sourcePort, node, protocol }) => {
    const nodeProtocol = (node << 8) | protocol
    const ports = (sourcePort << 16) | 80
    return {
      shard,
      original: [source, destination, ports, nodeProtocol],
      reply: [backend, source, (8080 << 16) | sourcePort, nodeProtocol],
    }
  })

type Step =
  | { readonly do: 'insert'; readonly flow: Flow }
  | { readonly do: 'remove'; readonly pick: number }
  | { readonly do: 'sweep'; readonly shard: number; readonly modulus: number }
  | { readonly do: 'clear' }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('insert' as const), flow }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('remove' as const), pick: fc.nat(1000) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('sweep' as const),
      shard: fc.nat(2),
      modulus: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
)

function find(table: ConntrackTable, tuple: Tuple, shard = 0): number {
  return table.find(shard, hashTuple(...tuple), ...tuple)
}

function wordsOf(table: ConntrackTable, entry: number): number[] {
  const base = entry << ENTRY_SHIFT
  return [
    ENTRY_SOURCE,
    ENTRY_DESTINATION,
    ENTRY_PORTS,
    ENTRY_NODE_PROTOCOL,
    ENTRY_REPLY_SOURCE,
    ENTRY_REPLY_DESTINATION,
    ENTRY_REPLY_PORTS,
    ENTRY_OWNER,
  ].map((word) => table.entries[base + word])
}

function expectedWords({ original, reply, shard }: Flow): number[] {
  return [...original, reply[0], reply[1], reply[2], shard]
}

describe('the table behaves as a Map of both tuples', () => {
  test.each([1, 3, 7, 40])('with a capacity of %i entries, 3 shards, 2 nodes', (capacity) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const table = createConntrackTable(capacity, 3, 2)
        const byTuple = new Map<string, number>()
        const flows = new Map<number, Flow>()
        const forget = (entry: number): void => {
          const { original, reply } = flows.get(entry)!
          byTuple.delete(original.join())
          byTuple.delete(reply.join())
          flows.delete(entry)
        }
        for (const one of steps) {
          if (one.do === 'insert') {
            const { shard, original, reply } = one.flow
            // The caller promises that neither tuple is taken.
            if (byTuple.has(original.join()) || byTuple.has(reply.join())) continue
            const entry = put(table, shard, ...original, reply[0], reply[1], reply[2])
            if (flows.size === capacity) expect(entry).toBe(0)
            else {
              expect(entry).toBeGreaterThan(0)
              expect(flows.has(entry)).toBe(false)
              flows.set(entry, one.flow)
              byTuple.set(original.join(), entry << 1)
              byTuple.set(reply.join(), (entry << 1) | 1)
            }
          } else if (one.do === 'remove') {
            const entry = [...flows.keys()][one.pick % Math.max(1, flows.size)]
            if (entry === undefined) continue
            table.remove(entry)
            forget(entry)
          } else if (one.do === 'sweep') {
            const visited: number[] = []
            table.forEachOfShard(one.shard, (entry) => {
              visited.push(entry)
              if (entry % one.modulus === 0) table.remove(entry)
            })
            const own = [...flows].filter(([, { shard }]) => shard === one.shard).map(([entry]) => entry)
            expect([...visited].sort((a, b) => a - b)).toEqual(own.sort((a, b) => a - b))
            for (const entry of visited) if (entry % one.modulus === 0) forget(entry)
          } else {
            table.clear()
            byTuple.clear()
            flows.clear()
          }
          table.selfCheck()
          expect(table.size()).toBe(flows.size)
          // References stay valid: an entry keeps its number and its words whatever happens around it.
          for (const [entry, kept] of flows) expect(wordsOf(table, entry)).toEqual(expectedWords(kept))
          for (const [key, ref] of byTuple) {
            expect(find(table, key.split(',').map(Number) as unknown as Tuple, flows.get(ref >> 1)?.shard)).toBe(ref)
          }
          for (let count = 0; count < 6; count++) {
            const here = [...flows.values()].filter(
              ({ shard, original }) => shard * 2 + (original[3] >> 8) === count,
            ).length
            expect(table.counts[count]).toBe(here)
          }
        }
      }),
      { seed: SEED, numRuns: 60 },
    )
  })

  test('what was never put in is not found, and the node is part of the key', () => {
    const table = createConntrackTable(8, 1, 2)
    const here: Tuple = [1, 2, 3, 6]
    put(table, 0, ...here, 4, 1, 5)
    const entry = find(table, here) >> 1
    expect(entry).toBeGreaterThan(0)
    expect(find(table, here) & 1).toBe(0)
    expect(find(table, [4, 1, 5, 6])).toBe((entry << 1) | 1)
    expect(find(table, [1, 2, 3, (1 << 8) | 6])).toBe(-1)
    expect(find(table, [1, 2, 3, 17])).toBe(-1)
    expect(find(table, [2, 1, 3, 6])).toBe(-1)
  })

  test('an untranslated flow whose tuple is its own reply tuple is held once for each direction', () => {
    const table = createConntrackTable(8, 1, 1)
    const loop: Tuple = [1, 1, (53 << 16) | 53, 17]
    const entry = put(table, 0, ...loop, 1, 1, (53 << 16) | 53)
    expect(find(table, loop) >> 1).toBe(entry)
    table.remove(entry)
    expect(find(table, loop)).toBe(-1)
    table.selfCheck()
  })
})

describe('probe runs', () => {
  /** Tuples of which all start at the last slots of the smallest index (1024 slots), so that runs wrap around. */
  function tuplesAtTheEnd(wanted: number): Tuple[] {
    const found: Tuple[] = []
    for (let source = 0; found.length < wanted; source++) {
      const tuple: Tuple = [source, 7, 99, 6]
      if ((hashTuple(...tuple) & 1023) >= 1020) found.push(tuple)
    }
    return found
  }

  test('wrap around the end of the index and close up again in any order of removal', () => {
    const tuples = tuplesAtTheEnd(24)
    fc.assert(
      fc.property(fc.shuffledSubarray([...tuples.keys()], { minLength: 1 }), (order) => {
        const table = createConntrackTable(64, 1, 1)
        const entries = tuples.map((tuple, i) => put(table, 0, ...tuple, 1000 + i, tuple[0], 1))
        table.selfCheck()
        const removed = new Set<number>()
        for (const i of order) {
          table.remove(entries[i])
          removed.add(i)
          table.selfCheck()
          tuples.forEach((tuple, j) => {
            expect(find(table, tuple)).toBe(removed.has(j) ? -1 : entries[j] << 1)
          })
        }
      }),
      { seed: SEED, numRuns: 60 },
    )
  })

  test('equal hashes are told apart by the tuple, not by the tag', () => {
    const wanted = new Map<number, Tuple>()
    let pair: readonly [Tuple, Tuple] | null = null
    for (let source = 0; pair === null; source++) {
      const tuple: Tuple = [source, 7, 99, 6]
      // Same tag (top 8 bits) and same home in the index of 1024 slots.
      const hash = hashTuple(...tuple)
      const key = ((hash >>> 24) << 10) | (hash & 1023)
      const other = wanted.get(key)
      if (other !== undefined) pair = [other, tuple]
      wanted.set(key, tuple)
    }
    const table = createConntrackTable(4, 1, 1)
    const first = put(table, 0, ...pair[0], 8, 8, 8)
    const second = put(table, 0, ...pair[1], 9, 9, 9)
    expect(find(table, pair[0])).toBe(first << 1)
    expect(find(table, pair[1])).toBe(second << 1)
    table.remove(first)
    expect(find(table, pair[0])).toBe(-1)
    expect(find(table, pair[1])).toBe(second << 1)
    table.selfCheck()
  })
})

describe('capacity', () => {
  test('a full table gives 0 and takes no harm; one removal makes room for one', () => {
    const table = createConntrackTable(130, 1, 1)
    for (let i = 0; i < 130; i++) expect(put(table, 0, i, 1, 1, 6, 500, i, 1)).toBeGreaterThan(0)
    expect(put(table, 0, 999, 1, 1, 6, 500, 999, 1)).toBe(0)
    expect(find(table, [999, 1, 1, 6])).toBe(-1)
    expect(table.size()).toBe(130)
    table.selfCheck()
    table.remove(find(table, [77, 1, 1, 6]) >> 1)
    expect(put(table, 0, 999, 1, 1, 6, 500, 999, 1)).toBeGreaterThan(0)
    expect(put(table, 0, 998, 1, 1, 6, 500, 998, 1)).toBe(0)
    table.selfCheck()
  })

  test('one shard may fill the whole table, again and again', () => {
    const table = createConntrackTable(1000, 4, 1)
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 1000; i++) {
        expect(put(table, 2, i, 1, 1, 6, 5000, i, 1), `round ${round}, entry ${i}`).toBeGreaterThan(0)
      }
      expect(put(table, 2, 1000, 1, 1, 6, 5000, 1000, 1)).toBe(0)
      table.selfCheck()
      table.forEachOfShard(2, (entry) => table.remove(entry))
      expect(table.size()).toBe(0)
    }
  })

  test('shards fill the table together in any proportion, while none of them has let go of anything', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(3), { minLength: 300, maxLength: 300 }), (shards) => {
        const table = createConntrackTable(300, 4, 1)
        shards.forEach((shard, i) => {
          expect(put(table, shard, i, 1, 1, 6, 5000, i, 1)).toBeGreaterThan(0)
        })
        table.selfCheck()
        expect([...table.counts]).toEqual([0, 1, 2, 3].map((shard) => shards.filter((one) => one === shard).length))
        expect(put(table, 0, 300, 1, 1, 6, 5000, 300, 1)).toBe(0)
      }),
      { seed: SEED, numRuns: 20 },
    )
  })

  test.each([0, -1, Number.NaN, MAX_ENTRIES + 1])('a capacity of %d is refused', (capacity) => {
    expect(() => createConntrackTable(capacity, 1, 1)).toThrow(RangeError)
  })

  test('costs at most 104 bytes an entry at a capacity of a million', () => {
    expect(createConntrackTable(1_000_000, 64, 10).bytes / 1_000_000).toBeLessThanOrEqual(104)
    expect(createConntrackTable(1 << 20, 1, 1).bytes / (1 << 20)).toBeLessThanOrEqual(104)
  })
})

test('swapping ports twice gives them back', () => {
  fc.assert(
    fc.property(fc.nat(65_535), fc.nat(65_535), (source, destination) => {
      const ports = (source << 16) | destination
      expect(swapPorts(ports)).toBe((destination << 16) | source)
      expect(swapPorts(swapPorts(ports))).toBe(ports)
    }),
    { seed: SEED },
  )
})
