/** Pools of connections to backends against plain arrays: random exchanges, ends, silences and losses, `selfCheck` after each. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  FLOW_DESTINATION,
  FLOW_NODE_PROTOCOL,
  FLOW_OPEN,
  FLOW_ORPHANED,
  FLOW_PORTS,
  FLOW_SHIFT,
  FLOW_STATUS,
  FLOW_WORDS,
} from '../../native-free-core/flow-record.ts'
import {
  INGRESS_EVICTED,
  INGRESS_IDLE_CLOSED,
  INGRESS_OPENED,
  INGRESS_REUSED,
  INGRESS_WORDS,
  INGRESS_WORN,
  resultLayout,
} from '../../native-free-core/result.ts'
import { type UpstreamParts, Upstreams } from '../../native-free-core/upstream.ts'

const SEED = 20_261
const GROUPS = 2
const CAPACITY = 800
const FIRST_LINE = 3

/** A core in which every packet arrives; `refuses` is for one that does not. */
function pools(refuses: () => boolean = () => false) {
  const flows = new Int32Array((FIRST_LINE + CAPACITY) * FLOW_WORDS)
  const layout = resultLayout(1, 4)
  const result = new Float64Array(layout.length)
  const sent: number[] = []
  const slowPath = {
    path: { hops: 1, masqueraded: 0 },
    entered: 0,
    conntrack: { find: () => 0 },
    countLoss: () => {},
    open(_shard: number, flow: number) {
      flows[flow + FLOW_NODE_PROTOCOL] = 6
      flows[flow + FLOW_STATUS] = refuses() ? 4 : FLOW_OPEN | (6 << 8)
      return refuses() ? 4 : 0
    },
    step(_shard: number, flow: number) {
      sent.push(flow)
      return 0
    },
  }
  const parts = {
    ...{ flows, slowPath, result, layout, log: { aside() {}, lost() {} } },
    ...{ firstFlow: FIRST_LINE, capacity: CAPACITY, shards: 1, groups: GROUPS },
  }
  const upstreams = new Upstreams(parts as unknown as UpstreamParts)
  upstreams.rules = { addressNode: Int32Array.of(0, 0, 0, 0, 0) } as unknown as Upstreams['rules']
  upstreams.begin()
  const count = (word: number): number => result[layout.ingress + word]
  const open = (group: number, peer: number, nowMs: number): number => {
    const target = { source: 0, address: peer, port: 80, destinationIndex: 0, endpoint: peer % 4 }
    return upstreams.open(0, group, { ...target, worker: group, workers: GROUPS }, nowMs * 10_000)
  }
  return { upstreams, flows, sent, count, open }
}

interface Pooled {
  readonly id: number
  readonly group: number
  readonly peer: number
  readonly openedMs: number
  usedMs: number
  requests: number
  gone: boolean
}

type Step =
  | { readonly kind: 'ask'; readonly group: number; readonly peer: number; readonly times: number }
  | { readonly kind: 'end' | 'close' | 'orphan' | 'broken'; readonly which: number; readonly times: number }
  | { readonly kind: 'wear'; readonly which: number; readonly times: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'gone'; readonly peer: number }
  | { readonly kind: 'drop'; readonly group: number }

const group = fc.nat(GROUPS - 1)
const peer = fc.integer({ min: 1, max: 4 })
const many = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 5 }) }, fc.integer({ min: 100, max: 350 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('ask' as const), group, peer, times: many }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(), times: many }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('close' as const, 'orphan' as const, 'broken' as const),
      which: fc.nat(),
      times: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('wear' as const),
      which: fc.nat(),
      times: fc.integer({ min: 4000, max: 6000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.constantFrom(0, 1, 20_000, 59_999, 60_000, 2_000_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('gone' as const), peer }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drop' as const), group }) },
)

/** The same in words: most recently used first. */
class Oracle {
  readonly pool: Pooled[][] = Array.from({ length: GROUPS }, () => [])
  readonly inUse: Pooled[] = []
  readonly counts = new Float64Array(INGRESS_WORDS)

  reuse(which: number, wanted: number): Pooled | null {
    for (const one of [...this.pool[which]]) {
      if (!one.gone && one.peer !== wanted) continue
      this.pool[which].splice(this.pool[which].indexOf(one), 1)
      if (one.gone) continue
      this.counts[INGRESS_REUSED]++
      return one
    }
    return null
  }

  giveBack(one: Pooled, nowMs: number): void {
    this.inUse.splice(this.inUse.indexOf(one), 1)
    one.requests++
    if (one.gone) return
    if (one.requests >= 10_000 || nowMs - one.openedMs >= 3_600_000) {
      this.counts[INGRESS_WORN]++
      return
    }
    one.usedMs = nowMs
    const pool = this.pool[one.group]
    pool.unshift(one)
    if (pool.length <= 320) return
    pool.pop()
    this.counts[INGRESS_EVICTED]++
  }

  wait(nowMs: number): void {
    this.pool.forEach((pool, i) => {
      const expired = pool.filter(({ usedMs }) => usedMs + 60_000 <= nowMs)
      this.counts[INGRESS_IDLE_CLOSED] += expired.filter(({ usedMs, gone }) => usedMs >= 0 && !gone).length
      this.pool[i] = pool.filter((one) => !expired.includes(one))
    })
  }
}

function play(steps: readonly Step[]): void {
  const { upstreams, flows, count, open } = pools()
  const oracle = new Oracle()
  let nowMs = 0
  const pick = (which: number): Pooled | undefined => oracle.inUse[which % Math.max(1, oracle.inUse.length)]
  const ask = (in_: number, wanted: number): void => {
    const expected = oracle.reuse(in_, wanted)
    const at = upstreams.reuse(in_, wanted, 80)
    expect(at).toBe(expected?.id ?? -1)
    if (expected !== null) {
      oracle.inUse.push(expected)
      return
    }
    const id = open(in_, wanted, nowMs)
    oracle.counts[INGRESS_OPENED]++
    expect(oracle.inUse.some((one) => one.id === id) || oracle.pool.flat().some((one) => one.id === id)).toBe(false)
    oracle.inUse.push({ id, group: in_, peer: wanted, openedMs: nowMs, usedMs: nowMs, requests: 0, gone: false })
  }
  for (const one of steps) {
    if (one.kind === 'ask') {
      const room = CAPACITY - oracle.inUse.length - oracle.pool.flat().length
      for (let i = 0; i < Math.min(one.times, room); i++) ask(one.group, one.peer)
    } else if (one.kind === 'wait') {
      nowMs += one.ms
      oracle.wait(nowMs)
      if (upstreams.dueMs[0] <= nowMs) upstreams.closeIdle(0, nowMs * 10_000)
    } else if (one.kind === 'gone') {
      for (const pooled of [...oracle.inUse, ...oracle.pool.flat()]) {
        if (pooled.peer !== one.peer) continue
        pooled.gone = true
        flows[upstreams.flowOf(pooled.id) + FLOW_STATUS] = FLOW_ORPHANED | (6 << 8)
      }
    } else if (one.kind === 'drop') {
      oracle.pool[one.group] = []
      upstreams.drop(one.group)
    } else if (one.kind === 'wear') {
      const chosen = pick(one.which)
      for (let i = 0; chosen !== undefined && i < one.times && oracle.inUse.includes(chosen); i++) {
        oracle.giveBack(chosen, nowMs)
        upstreams.giveBack(chosen.id, nowMs * 10_000)
        if (!oracle.pool[chosen.group].includes(chosen)) break
        oracle.inUse.push(oracle.reuse(chosen.group, chosen.peer)!)
        expect(upstreams.reuse(chosen.group, chosen.peer, 80)).toBe(chosen.id)
      }
    } else {
      for (let i = 0; i < one.times; i++) {
        const chosen = pick(one.which)
        if (chosen === undefined) break
        if (one.kind === 'end') {
          oracle.giveBack(chosen, nowMs)
          upstreams.giveBack(chosen.id, nowMs * 10_000)
          continue
        }
        oracle.inUse.splice(oracle.inUse.indexOf(chosen), 1)
        if (one.kind === 'close') upstreams.close(chosen.id, nowMs * 10_000)
        else if (one.kind === 'broken') upstreams.broken(chosen.id)
        else {
          upstreams.orphan(chosen.id)
          chosen.usedMs = -60_000
          oracle.pool[chosen.group].push(chosen)
        }
      }
      // Time goes on before anybody asks again.
      oracle.wait(nowMs)
      if (upstreams.dueMs[0] <= nowMs) upstreams.closeIdle(0, nowMs * 10_000)
    }
    upstreams.selfCheck(oracle.inUse.length)
    for (const word of [INGRESS_OPENED, INGRESS_REUSED, INGRESS_IDLE_CLOSED, INGRESS_EVICTED, INGRESS_WORN]) {
      expect([word, count(word)]).toEqual([word, oracle.counts[word]])
    }
  }
}

test('pools do what arrays do', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => play(steps)),
    { seed: SEED, numRuns: 300 },
  )
})

describe('a pool', () => {
  const fill = (n: number) => {
    const made = pools()
    const ids = Array.from({ length: n }, (_, i) => made.open(0, 1 + (i % 4), i))
    for (const [i, id] of ids.entries()) made.upstreams.giveBack(id, (1000 + i) * 10_000)
    return { ...made, ids }
  }

  test('gives the connection to a target that was used last', () => {
    const { upstreams, ids } = fill(8)
    expect([2, 2, 2].map((wanted) => upstreams.reuse(0, wanted, 80))).toEqual([ids[5], ids[1], -1])
  })

  test('keeps targets apart by port and workers apart', () => {
    const { upstreams } = fill(8)
    expect([upstreams.reuse(0, 1, 81), upstreams.reuse(1, 1, 80)]).toEqual([-1, -1])
  })

  test('of 320 takes one more by closing the one that was idle longest', () => {
    const { upstreams, ids, count } = fill(321)
    expect(count(INGRESS_EVICTED)).toBe(1)
    expect(upstreams.isOpen(ids[0])).toBe(false)
    expect(upstreams.isOpen(ids[1])).toBe(true)
  })

  test('closes after 60 s, not before', () => {
    const { upstreams, count } = fill(3)
    upstreams.closeIdle(0, 60_999 * 10_000)
    expect([count(INGRESS_IDLE_CLOSED), upstreams.dueMs[0]]).toEqual([0, 61_000])
    upstreams.closeIdle(0, 61_001 * 10_000)
    expect([count(INGRESS_IDLE_CLOSED), upstreams.dueMs[0]]).toEqual([2, 61_002])
  })

  test('says what it closes: three packets on the line', () => {
    const { upstreams, sent, ids } = fill(1)
    const before = sent.length
    upstreams.closeIdle(0, 100_000 * 10_000)
    const flow = (FIRST_LINE + ids[0]) << FLOW_SHIFT
    expect(sent.slice(before)).toEqual([flow, flow, flow])
  })

  test('has the line back at once where a connection cannot be opened', () => {
    const { upstreams, open } = pools(() => true)
    for (let i = 0; i < CAPACITY + 1; i++) expect(open(0, 1, 0)).toBe(~4)
    upstreams.selfCheck(0)
  })
})

test('workers of a proxy take ports in turn, so that no two have the same', () => {
  const { flows, upstreams, open } = pools()
  const ports = Array.from(
    { length: 200 },
    (_, i) => flows[upstreams.flowOf(open(i % GROUPS, 1, 0)) + FLOW_PORTS] >>> 16,
  )
  expect(new Set(ports).size).toBe(200)
  expect(ports.every((port) => port >= 32_768 && port < 61_000)).toBe(true)
  expect(flows[upstreams.flowOf(0) + FLOW_DESTINATION]).toBe(1)
})
