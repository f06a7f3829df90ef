/** ClientIP affinity against a plain list of (node, owner, client, endpoint, expiry), with `selfCheck` after each step. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { AffinityTable } from '../../native-free-core/index.ts'

const SEED = 20_262
const NODES = 3
const ENDPOINTS = 6

interface Remembered {
  readonly client: number
  readonly owner: number
  readonly endpoint: number
  expiresMs: number
}

type Step =
  | { readonly do: 'renew'; readonly client: number; readonly owner: number; readonly endpoint: number }
  | { readonly do: 'find'; readonly client: number; readonly owner: number; readonly members: number[] }
  | { readonly do: 'wait'; readonly ms: number }
  | { readonly do: 'sweep'; readonly alive: boolean[] }
  | { readonly do: 'clear' }

const client = fc.nat(30)
const owner = fc.nat(11)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant('renew' as const), client, owner, endpoint: fc.nat(ENDPOINTS - 1) }),
  },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('find' as const),
      client,
      owner,
      members: fc.shuffledSubarray([...Array(ENDPOINTS).keys()]),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.nat(400) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('sweep' as const),
      alive: fc.array(fc.boolean(), { minLength: ENDPOINTS, maxLength: ENDPOINTS }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
)

test('random renewals, lookups and sweeps give what the list gives', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = new AffinityTable()
      let list: Remembered[] = []
      let nowMs = 0
      for (const one of steps) {
        if (one.do === 'renew') {
          const expiresMs = nowMs + 500
          table.renew(one.client, one.owner, one.endpoint, expiresMs)
          const known = list.find(
            (entry) => entry.client === one.client && entry.owner === one.owner && entry.endpoint === one.endpoint,
          )
          if (known) known.expiresMs = expiresMs
          else list.push({ client: one.client, owner: one.owner, endpoint: one.endpoint, expiresMs })
        } else if (one.do === 'find') {
          const expected = one.members.findIndex((endpoint) =>
            list.some(
              (entry) =>
                entry.client === one.client &&
                entry.owner === one.owner &&
                entry.endpoint === endpoint &&
                entry.expiresMs >= nowMs,
            ),
          )
          // The set lies somewhere inside the members of all sets.
          const members = Int32Array.from([0, 1, ...one.members, 2, 3])
          expect(table.find(one.client, one.owner, nowMs, members, 2, one.members.length)).toBe(expected)
        } else if (one.do === 'wait') nowMs += one.ms
        else if (one.do === 'sweep') sweep(one.alive)
        else {
          table.clear()
          list = []
        }
        table.selfCheck()
        expect(table.size).toBe(list.length)
      }

      function sweep(living: readonly boolean[]): void {
        const counts = new Int32Array(NODES)
        table.sweep(nowMs, Int32Array.from(living, Number), counts, NODES)
        list = list.filter((entry) => entry.expiresMs >= nowMs && living[entry.endpoint])
        const byNode = [0, 1, 2].map((node) => list.filter((entry) => entry.owner % NODES === node).length)
        expect([...counts]).toEqual(byNode)
      }
    }),
    { seed: SEED, numRuns: 150 },
  )
})

describe('rows', () => {
  const A = 0
  const B = 1
  const members = Int32Array.from([A, B])

  test('a client that stands in two lists goes to the first in rule order', () => {
    const table = new AffinityTable()
    table.renew(7, 0, B, 1000)
    table.renew(7, 0, A, 1000)
    expect(table.find(7, 0, 0, members, 0, 2)).toBe(0)
    expect(table.find(7, 0, 0, Int32Array.from([B, A]), 0, 2)).toBe(0)
    expect(table.find(7, 0, 0, Int32Array.from([A]), 0, 1)).toBe(0)
  })

  test('an entry made at t for 1800 s holds at t + 1800 s, and not a millisecond later', () => {
    const table = new AffinityTable()
    table.renew(7, 0, B, 5000 + 1_800_000)
    expect(table.find(7, 0, 1_805_000, members, 0, 2)).toBe(1)
    expect(table.find(7, 0, 1_805_001, members, 0, 2)).toBe(-1)
  })

  test('looking does not renew', () => {
    const table = new AffinityTable()
    table.renew(7, 0, B, 1000)
    expect(table.find(7, 0, 999, members, 0, 2)).toBe(1)
    expect(table.find(7, 0, 1001, members, 0, 2)).toBe(-1)
  })

  test('a renewal starts the time again, without a second entry', () => {
    const table = new AffinityTable()
    table.renew(7, 0, B, 1000)
    table.renew(7, 0, B, 2000)
    expect(table.size).toBe(1)
    expect(table.find(7, 0, 2000, members, 0, 2)).toBe(1)
  })

  test('another client, another service port and another node know nothing of it', () => {
    const table = new AffinityTable()
    table.renew(7, 4, B, 1000)
    expect(table.find(8, 4, 0, members, 0, 2)).toBe(-1)
    expect(table.find(7, 5, 0, members, 0, 2)).toBe(-1)
  })

  test('an endpoint that left the set is forgotten by the sweep: when it returns nobody moves back', () => {
    const table = new AffinityTable()
    table.renew(7, 0, B, 1000)
    table.sweep(0, Int32Array.from([1, 0]), new Int32Array(NODES), NODES)
    expect(table.find(7, 0, 0, members, 0, 2)).toBe(-1)
    expect(table.size).toBe(0)
  })
})
