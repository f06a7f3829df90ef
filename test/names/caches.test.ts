/** Which answer a client is given when the cluster has changed: replicas by their rhythm, clients by their memory. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Conntrack } from '../../native-free-core/conntrack.ts'
import { DnsClient, type Forwarder, NO_WIRE } from '../../native-free-core/dns-client.ts'
import {
  ADDRESS_LIVE,
  DNS_CACHED,
  DNS_GONE,
  DNS_STALE,
  NAMES_CLIENT_CACHE_MS,
  NAMES_RESOLVERS,
  NAMES_SETTINGS,
  NAMES_TYPES,
  QUERY_ANSWER_COUNT,
  QUERY_ANSWER_START,
  QUERY_CACHE_MS,
  QUERY_ENDS,
  QUERY_WORDS,
  REASON_NAME_NOT_RESOLVED,
  REASON_NONE,
  type RuleColumns,
  resultLayout,
} from '../../native-free-core/index.ts'
import { Path } from '../../native-free-core/path.ts'
import { DNS_WORDS } from '../../native-free-core/result.ts'
import { RULE_COLUMNS } from '../../native-free-core/rule-columns.ts'

/** Address ids: 0 the client, 1 the server, 10 and up what the name means at each stage. */
const CLIENT = 0
const SERVER = 1
const REPLICAS = 3
const ENDPOINTS = 8

interface StageOptions {
  /** Address that the name has; null: it has none. */
  readonly address: number | null
  readonly cacheMs: number
  readonly clientCacheMs?: number
  /** Endpoint ids of the replicas that are there. */
  readonly replicas?: readonly number[]
}

function stage({ address, cacheMs, clientCacheMs = 0, replicas = [0, 1, 2] }: StageOptions): RuleColumns {
  const empty = Object.fromEntries(RULE_COLUMNS.map((name) => [name, new Int32Array(0)]))
  const columns: RuleColumns = empty as Record<keyof RuleColumns, Int32Array>
  columns.addressFlags = new Int32Array(100)
  if (address !== null) columns.addressFlags[address] = ADDRESS_LIVE
  columns.addressNode = new Int32Array(100).fill(-1)
  columns.endpointAlive = Int32Array.from({ length: ENDPOINTS }, (_, id) => (replicas.includes(id) ? 1 : 0))
  columns.nameSettings = new Int32Array(NAMES_SETTINGS)
  columns.nameSettings[NAMES_RESOLVERS] = 1
  columns.nameSettings[NAMES_TYPES] = 1
  columns.nameSettings[NAMES_CLIENT_CACHE_MS] = clientCacheMs
  columns.resolverOf = Int32Array.of(0)
  columns.resolverServer = Int32Array.of(SERVER)
  columns.walkStart = Int32Array.of(0)
  columns.walkCount = Int32Array.of(1)
  columns.nameQueries = new Int32Array(QUERY_WORDS)
  columns.nameQueries[QUERY_CACHE_MS] = cacheMs
  columns.nameQueries[QUERY_ENDS] = address === null ? 0 : 1
  columns.nameQueries[QUERY_ANSWER_START] = 0
  columns.nameQueries[QUERY_ANSWER_COUNT] = address === null ? 0 : 1
  columns.nameAnswers = address === null ? new Int32Array(0) : Int32Array.of(address, ENDPOINTS - 1)
  return columns
}

/** A dataplane that delivers every question to the replica named. */
function setUp(first: RuleColumns, seed = 1) {
  const layout = resultLayout(1, ENDPOINTS)
  const conntrack = { nowMs: 0, exactMs: (): number => conntrack.nowMs }
  const carrier = {
    path: new Path(),
    conntrack: conntrack as unknown as Conntrack,
    seed,
    result: new Float64Array(layout.length),
    layout,
    endpoint: 0,
    sink: NO_WIRE,
    inject: () => REASON_NONE,
  }
  const names = new DnsClient(carrier satisfies Forwarder)
  names.begin(first)
  const counters = (): Float64Array => carrier.result.subarray(layout.dns, layout.dns + DNS_WORDS)
  /** Any client's resolution at a time. */
  const resolve = (client: number, atMs: number): number => {
    conntrack.nowMs = atMs
    return names.resolve(client, 0, atMs).reason
  }
  /** What the replica gives at a time: an address, or null. */
  const ask = (atMs: number, replica = 0): number | null => {
    carrier.endpoint = replica
    const reason = resolve(CLIENT, atMs)
    if (reason === REASON_NAME_NOT_RESOLVED) return null
    expect(reason).toBe(REASON_NONE)
    return names.told.address
  }
  return { names, ask, resolve, counters }
}

const seeded = { seed: 7, numRuns: 300 }

describe('a replica’s cache', () => {
  it('gives the old answer up to some moment within its lifetime, and the new one ever after', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 60_000 }),
        fc.integer({ min: 0, max: 200_000 }),
        fc.integer({ min: 0, max: REPLICAS - 1 }),
        (seed, cacheMs, changeMs, replica) => {
          const { names, ask } = setUp(stage({ address: 10, cacheMs }), seed)
          expect(ask(Math.max(0, changeMs - 1), replica)).toBe(10)
          names.adopt(stage({ address: 11, cacheMs }), changeMs)
          const seen: number[] = []
          for (let part = 0; part <= 20; part++) seen.push(ask(changeMs + Math.floor((cacheMs * part) / 20), replica)!)
          expect(seen.at(-1)).toBe(11)
          expect([...seen].sort()).toEqual(seen)
        },
      ),
      seeded,
    )
  })

  it('holds on for half of its lifetime on average: the change comes at any moment of it', () => {
    let held = 0
    for (let seed = 0; seed < 400; seed++) {
      const { names, ask } = setUp(stage({ address: 10, cacheMs: 30_000 }), seed)
      names.adopt(stage({ address: 11, cacheMs: 30_000 }), 100_000)
      if (ask(115_000) === 10) held++
    }
    expect(held).toBeGreaterThan(150)
    expect(held).toBeLessThan(250)
  })

  it('has a rhythm of its own in each replica', () => {
    const { names, ask } = setUp(stage({ address: 10, cacheMs: 30_000 }))
    names.adopt(stage({ address: 11, cacheMs: 30_000 }), 100_000)
    const turn = (replica: number): number => {
      let ms = 100_000
      while (ask(ms, replica) === 10) ms += 100
      return ms
    }
    expect(new Set([0, 1, 2].map(turn)).size).toBe(3)
  })

  it('never gives what was before the replica was there', () => {
    const { names, ask } = setUp(stage({ address: 10, cacheMs: 3_600_000, replicas: [0] }))
    names.adopt(stage({ address: 11, cacheMs: 3_600_000, replicas: [0, 1] }), 1000)
    names.adopt(stage({ address: 12, cacheMs: 3_600_000, replicas: [0, 1, 2] }), 2000)
    expect(ask(2001, 2)).toBe(12)
    expect([11, 12]).toContain(ask(2001, 1))
  })

  it('over several changes answers are never older than its lifetime, and never from the future', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 5000 }),
        fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 0, max: 10_000 }),
        (seed, cacheMs, gaps, later) => {
          const { names, ask } = setUp(stage({ address: 10, cacheMs }), seed)
          const since = [0]
          for (const [i, gap] of gaps.entries()) {
            since.push(since[i] + gap)
            names.adopt(stage({ address: 11 + i, cacheMs }), since[i + 1])
          }
          const nowMs = since.at(-1)! + later
          const generation = ask(nowMs)! - 10
          // It was true at some moment of the last `cacheMs`.
          const until = since[generation + 1] ?? Number.POSITIVE_INFINITY
          expect(until).toBeGreaterThan(nowMs - cacheMs)
          expect(generation).toBeLessThanOrEqual(gaps.length)
        },
      ),
      seeded,
    )
  })

  it('of no lifetime is no cache', () => {
    const { names, ask, counters } = setUp(stage({ address: 10, cacheMs: 0 }))
    names.adopt(stage({ address: 11, cacheMs: 0 }), 1000)
    expect([0, 1, 2].map((replica) => ask(1000, replica))).toEqual([11, 11, 11])
    expect(counters()[DNS_STALE]).toBe(0)
  })

  it('keeps a name missing that has just come', () => {
    const { names, ask } = setUp(stage({ address: null, cacheMs: 10_000 }))
    names.adopt(stage({ address: 11, cacheMs: 10_000 }), 100_000)
    expect(ask(100_000)).toBeNull()
    expect(ask(110_000)).toBe(11)
  })
})

describe('stale and gone', () => {
  it('an old answer that is still right is neither', () => {
    const { names, ask, counters } = setUp(stage({ address: 10, cacheMs: 30_000 }))
    names.adopt(stage({ address: 10, cacheMs: 30_000 }), 100_000)
    expect(ask(100_000)).toBe(10)
    expect([counters()[DNS_STALE], counters()[DNS_GONE]]).toEqual([0, 0])
  })

  it('one whose pod is somewhere else now is stale, and gone where nobody is', () => {
    const { names, ask, counters } = setUp(stage({ address: 10, cacheMs: 30_000 }))
    const moved = stage({ address: 11, cacheMs: 30_000 })
    moved.addressFlags[10] = ADDRESS_LIVE
    names.adopt(moved, 100_000)
    expect(ask(100_000)).toBe(10)
    expect([counters()[DNS_STALE], counters()[DNS_GONE]]).toEqual([1, 0])
    names.adopt(stage({ address: 11, cacheMs: 30_000 }), 100_001)
    expect(ask(100_001)).toBe(10)
    expect([counters()[DNS_STALE], counters()[DNS_GONE]]).toEqual([2, 1])
  })
})

describe('a client’s cache', () => {
  it('answers for as long as it may, without a question', () => {
    const { names, ask, counters } = setUp(stage({ address: 10, cacheMs: 0, clientCacheMs: 5000 }))
    expect(ask(1000)).toBe(10)
    names.adopt(stage({ address: 11, cacheMs: 0, clientCacheMs: 5000 }), 2000)
    expect(ask(5999)).toBe(10)
    expect([counters()[DNS_CACHED], counters()[DNS_STALE]]).toEqual([1, 1])
    expect(ask(6000)).toBe(11)
    expect(counters()[DNS_CACHED]).toBe(1)
  })

  it('is a map of client and name to what was told, against a Map', () => {
    const clients = 40
    const columns = stage({ address: 10, cacheMs: 0, clientCacheMs: 100 })
    columns.resolverOf = new Int32Array(clients)
    const { resolve, counters } = setUp(columns)
    const known = new Map<number, number>()
    let cached = 0
    let nowMs = 0
    fc.assert(
      fc.property(fc.integer({ min: 0, max: clients - 1 }), fc.integer({ min: 0, max: 60 }), (client, wait) => {
        nowMs += wait
        if ((known.get(client) ?? 0) > nowMs) cached++
        else known.set(client, nowMs + 100)
        resolve(client, nowMs)
        expect(counters()[DNS_CACHED]).toBe(cached)
      }),
      { seed: 3, numRuns: 3000 },
    )
    expect(cached).toBeGreaterThan(100)
  })
})
