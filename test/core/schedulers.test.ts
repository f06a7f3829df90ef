/** Seeded choices: uniform where kube-proxy's are, and as the ipvs schedulers take turns. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { below } from '../../native-free-core/hash.ts'
import {
  draw,
  hashTuple,
  PURPOSE_ENDPOINT,
  PURPOSE_SNAT,
  pickUniform,
  SCHEDULER_DH,
  SCHEDULER_LC,
  SCHEDULER_RR,
  SCHEDULER_SH,
} from '../../native-free-core/index.ts'
import { PairCounters } from '../../native-free-core/pair-counters.ts'
import { Schedulers } from '../../native-free-core/schedulers.ts'

const SEED = 20_265

/** The value that chi-square passes once in a million times (Wilson-Hilferty). */
function limit(degrees: number): number {
  const z = 4.75
  const t = 2 / (9 * degrees)
  return degrees * (1 - t + z * Math.sqrt(t)) ** 3
}

function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
}

describe('uniform choice', () => {
  test.each([2, 3, 7, 100])('of %i endpoints is uniform over connections', (n) => {
    for (const [seed, node] of [
      [1, 0],
      [2, 5],
      [-7, 99],
    ]) {
      const counts = Array<number>(n).fill(0)
      for (let connection = 0; connection < 400 * n; connection++) {
        counts[pickUniform(draw(seed, connection, node, PURPOSE_ENDPOINT), n)]++
      }
      expect(chiSquare(counts), `seed ${seed}`).toBeLessThan(limit(n - 1))
    }
  })

  test('of one endpoint is that endpoint', () => {
    fc.assert(
      fc.property(fc.integer(), (word) => {
        expect(pickUniform(word, 1)).toBe(0)
      }),
      { seed: SEED },
    )
  })

  test('stays within the set for every word', () => {
    fc.assert(
      fc.property(fc.integer({ min: -0x80000000, max: 0x7fffffff }), fc.integer({ min: 1, max: 70_000 }), (word, n) => {
        expect(below(word, n)).toBeGreaterThanOrEqual(0)
        expect(below(word, n)).toBeLessThan(n)
      }),
      { seed: SEED },
    )
    expect(below(0, 3)).toBe(0)
    expect(below(-1, 3)).toBe(2)
  })

  test('on two nodes, or for two purposes, of one connection are independent', () => {
    const pairs = Array<number>(9).fill(0)
    const purposes = Array<number>(9).fill(0)
    for (let connection = 0; connection < 9000; connection++) {
      const here = below(draw(1, connection, 0, PURPOSE_ENDPOINT), 3)
      pairs[here * 3 + below(draw(1, connection, 1, PURPOSE_ENDPOINT), 3)]++
      purposes[here * 3 + below(draw(1, connection, 0, PURPOSE_SNAT), 3)]++
    }
    expect(chiSquare(pairs)).toBeLessThan(limit(8))
    expect(chiSquare(purposes)).toBeLessThan(limit(8))
  })

  test('another seed gives another choice, the same seed the same', () => {
    const words = (seed: number): number[] => Array.from({ length: 50 }, (_, i) => draw(seed, i, 0, PURPOSE_ENDPOINT))
    expect(words(1)).toEqual(words(1))
    expect(words(1)).not.toEqual(words(2))
  })
})

test('the hash of a tuple is known before the node that it will be looked up on, and another for each protocol', () => {
  const of = (node: number, protocol: number): number => hashTuple(10, 20, 30, (node << 8) | protocol)
  expect(of(3, 6)).toBe(of(0, 6))
  expect(new Set([6, 17, 132].map((protocol) => of(0, protocol))).size).toBe(3)
})

test('hashes of tuples that differ in one word spread over the low bits of an index and over the tags', () => {
  for (const word of [0, 1, 2]) {
    const home = Array<number>(64).fill(0)
    const tag = Array<number>(64).fill(0)
    for (let i = 0; i < 64 * 200; i++) {
      const tuple = [10, 20, 30, 6]
      tuple[word] = i
      const hash = hashTuple(tuple[0], tuple[1], tuple[2], tuple[3])
      home[hash & 63]++
      tag[hash >>> 26]++
    }
    expect(chiSquare(home), `word ${word}, home`).toBeLessThan(limit(63))
    expect(chiSquare(tag), `word ${word}, tag`).toBeLessThan(limit(63))
  }
})

describe('ipvs schedulers', () => {
  const members = Int32Array.from([90, 10, 11, 12])
  const START = 1
  const COUNT = 3

  function pick(schedulers: Schedulers, scheduler: number, virtualServer = 0, source = 1, destination = 2): number {
    const hashed = scheduler === SCHEDULER_DH ? destination : source
    return schedulers.pick(scheduler, virtualServer, hashed, members, START, COUNT)
  }

  test('rr takes turns, and each virtual server has its own', () => {
    const schedulers = new Schedulers()
    const first = [0, 1, 2, 3, 4].map(() => pick(schedulers, SCHEDULER_RR, 7))
    expect(first).toEqual([0, 1, 2, 0, 1])
    expect(pick(schedulers, SCHEDULER_RR, 8)).toBe(0)
    expect(pick(schedulers, SCHEDULER_RR, 7)).toBe(2)
  })

  test('rr goes on within the set when endpoints are gone', () => {
    const schedulers = new Schedulers()
    for (let i = 0; i < 3; i++) pick(schedulers, SCHEDULER_RR)
    expect(schedulers.pick(SCHEDULER_RR, 0, 1, members, START, 2)).toBeLessThan(2)
  })

  test('lc takes the endpoint with the fewest connections, the first of equals', () => {
    const schedulers = new Schedulers()
    const hold = (endpoint: number, by: number): void => {
      schedulers.connections.counts[schedulers.connections.index(0, endpoint)] += by
    }
    expect(pick(schedulers, SCHEDULER_LC)).toBe(0)
    hold(10, 1)
    expect(pick(schedulers, SCHEDULER_LC)).toBe(1)
    hold(11, 2)
    hold(12, 1)
    expect(pick(schedulers, SCHEDULER_LC)).toBe(0)
    hold(12, -1)
    expect(pick(schedulers, SCHEDULER_LC)).toBe(2)
    expect(pick(schedulers, SCHEDULER_LC, 1)).toBe(0)
  })

  test('sh is a function of the source, dh of the destination', () => {
    const schedulers = new Schedulers()
    const bySource = (source: number, destination: number): number =>
      pick(schedulers, SCHEDULER_SH, 0, source, destination)
    const byDestination = (source: number, destination: number): number =>
      pick(schedulers, SCHEDULER_DH, 0, source, destination)
    for (let i = 0; i < 100; i++) {
      expect(bySource(5, i)).toBe(bySource(5, 0))
      expect(byDestination(i, 5)).toBe(byDestination(0, 5))
    }
    const sources = Array.from({ length: 100 }, (_, source) => bySource(source, 1))
    const destinations = Array.from({ length: 100 }, (_, destination) => byDestination(1, destination))
    expect(new Set(sources)).toEqual(new Set([0, 1, 2]))
    expect(new Set(destinations)).toEqual(new Set([0, 1, 2]))
  })

  test('clearing starts all over', () => {
    const schedulers = new Schedulers()
    pick(schedulers, SCHEDULER_RR)
    schedulers.connections.counts[schedulers.connections.index(0, 10)] = 5
    schedulers.clear()
    expect(pick(schedulers, SCHEDULER_RR)).toBe(0)
    expect(pick(schedulers, SCHEDULER_LC)).toBe(0)
  })
})

describe('counters of pairs', () => {
  test('count as a Map would, and keep their index while they grow', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(30), fc.integer({ min: -1, max: 30 }), fc.integer({ min: -2, max: 5 })), {
          maxLength: 400,
        }),
        (steps) => {
          const counters = new PairCounters()
          const counts = new Map<string, number>()
          const indices = new Map<string, number>()
          for (const [a, b, by] of steps) {
            const key = `${a} ${b}`
            const at = counters.index(a, b)
            counters.counts[at] += by
            counts.set(key, (counts.get(key) ?? 0) + by)
            expect(indices.get(key) ?? at).toBe(at)
            indices.set(key, at)
          }
          expect(counters.size).toBe(counts.size)
          for (const [key, at] of indices) {
            expect(counters.counts[at]).toBe(counts.get(key))
            expect(`${counters.first[at]} ${counters.second[at]}`).toBe(key)
          }
        },
      ),
      { seed: SEED },
    )
  })

  test('are empty after clearing', () => {
    const counters = new PairCounters()
    counters.counts[counters.index(3, 4)] = 9
    counters.clear()
    expect(counters.size).toBe(0)
    expect(counters.counts[counters.index(3, 4)]).toBe(0)
  })
})
