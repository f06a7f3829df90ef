/** The `recent` lists of iptables mode against arrays: 100 clients a list, the least recently entered forgotten first. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RECENT_LIST_CLIENTS, RecentLists } from '../../native-free-core/xt-recent.ts'

const SEED = 20_267
const TIMEOUT_MS = 500
const ENDPOINTS = 3

type Step =
  | { readonly do: 'renew'; readonly client: number; readonly node: number; readonly endpoint: number }
  | { readonly do: 'fill'; readonly first: number; readonly clients: number; readonly endpoint: number }
  | { readonly do: 'find'; readonly client: number; readonly node: number; readonly members: number[] }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'sweep'; readonly alive: boolean[] }

// More clients than a list holds, and runs of new ones, so that lists overflow.
const client = fc.nat(140)
const node = fc.nat(1)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({ do: fc.constant('renew' as const), client, node, endpoint: fc.nat(ENDPOINTS - 1) }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('fill' as const),
      first: fc.nat(60),
      clients: fc.nat(80),
      endpoint: fc.nat(ENDPOINTS - 1),
    }),
  },
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant('find' as const), client, node, members: fc.shuffledSubarray([0, 1, 2]) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(60) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('sweep' as const),
      alive: fc.array(fc.boolean(), { minLength: ENDPOINTS, maxLength: ENDPOINTS }),
    }),
  },
)

test('random entries, lookups and sweeps give what the arrays give', () => {
  let evicted = 0
  fc.assert(
    fc.property(fc.array(step, { minLength: 120, maxLength: 240 }), (steps) => {
      const lists = new RecentLists()
      /** By node and endpoint: the clients, the longest not entered first. */
      const arrays = new Map<string, { client: number; stampMs: number }[]>()
      const arrayOf = (at: number, endpoint: number): { client: number; stampMs: number }[] => {
        const key = `${at} ${endpoint}`
        const known = arrays.get(key) ?? []
        arrays.set(key, known)
        return known
      }
      let nowMs = 0
      for (const one of steps) {
        if (one.do === 'renew') renew(one.client, one.node, one.endpoint)
        else if (one.do === 'fill') {
          for (let i = 0; i < one.clients; i++) renew(one.first + i, 0, one.endpoint)
        } else if (one.do === 'find') {
          let expected = -1
          for (const [position, endpoint] of one.members.entries()) {
            const array = arrayOf(one.node, endpoint)
            const entry = array.find((candidate) => candidate.client === one.client)
            const found = entry !== undefined && entry.stampMs + TIMEOUT_MS >= nowMs
            // --reap: at most the list's oldest entry goes at each look.
            if (array[0] !== undefined && array[0].stampMs + TIMEOUT_MS < nowMs) array.shift()
            if (found) {
              expected = position
              break
            }
          }
          const members = Int32Array.from([9, ...one.members, 9])
          expect(lists.find(one.client, one.node, nowMs - TIMEOUT_MS, members, 1, one.members.length)).toBe(expected)
        } else if (one.do === 'wait') nowMs += one.ms
        else {
          const counts = new Int32Array(2)
          lists.sweep(Int32Array.from(one.alive, Number), counts)
          for (const key of arrays.keys()) if (!one.alive[Number(key.split(' ')[1])]) arrays.set(key, [])
          expect([...counts]).toEqual([sizeOf('0 '), sizeOf('1 ')])
        }
        expect(lists.size).toBe(sizeOf(''))
      }
      lists.selfCheck()

      function renew(who: number, at: number, endpoint: number): void {
        lists.renew(who, at, endpoint, nowMs)
        const array = arrayOf(at, endpoint)
        const known = array.findIndex((entry) => entry.client === who)
        if (known >= 0) array.splice(known, 1)
        else if (array.length === RECENT_LIST_CLIENTS) {
          array.shift()
          evicted++
        }
        array.push({ client: who, stampMs: nowMs })
      }

      function sizeOf(prefix: string): number {
        return [...arrays].reduce((sum, [key, array]) => sum + (key.startsWith(prefix) ? array.length : 0), 0)
      }
    }),
    { seed: SEED, numRuns: 60, endOnFailure: true },
  )
  expect(evicted).toBeGreaterThan(100)
})

describe('rows', () => {
  const A = 0
  const members = Int32Array.from([A])
  const found = (lists: RecentLists, who: number, nowMs: number): boolean =>
    lists.find(who, 0, nowMs - TIMEOUT_MS, members, 0, 1) === 0

  test('a client entered at t is known until t + timeout, boundary included', () => {
    const lists = new RecentLists()
    lists.renew(1, 0, A, 1000)
    expect(found(lists, 1, 1500)).toBe(true)
    expect(found(lists, 1, 1501)).toBe(false)
  })

  test('the 101st client of an endpoint pushes out the one entered longest ago; being looked up does not count', () => {
    const lists = new RecentLists()
    for (let who = 0; who < 100; who++) lists.renew(who, 0, A, who)
    expect(found(lists, 0, 100)).toBe(true)
    lists.renew(100, 0, A, 100)
    expect(found(lists, 0, 101)).toBe(false)
    expect(found(lists, 1, 101)).toBe(true)
    lists.renew(1, 0, A, 101)
    lists.renew(101, 0, A, 102)
    expect(found(lists, 1, 103)).toBe(true)
    expect(found(lists, 2, 103)).toBe(false)
    expect(lists.size).toBe(100)
  })

  test('nodes have lists of their own', () => {
    const lists = new RecentLists()
    lists.renew(1, 1, A, 0)
    expect(found(lists, 1, 0)).toBe(false)
  })
})
