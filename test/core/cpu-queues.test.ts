/**
 * The nodes' CPU queues against queueing theory, with fixed seeds.
 *
 * M/D/1 mean wait (Pollaczek–Khinchine), M/M/1 sojourn percentiles, M/D/1/K loss from the embedded Markov chain (Gross and
 * Harris, Fundamentals of Queueing Theory, §5.1), each within 3 %.
 */
import { describe, expect, test } from 'vitest'
import { HOP_LAST, WAIT_DROPPED } from '../../native-free-core/cpu-queues.ts'
import {
  createNodeQueues,
  HOP_BYTES,
  type HopColumns,
  hopColumns,
  NANOS_PER_TICK,
} from '../../native-free-core/index.ts'

const STEP = 100_000
const SERVICE_NANOS = 20_000

/** mulberry32: uniform in (0, 1]. */
function uniform(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (((t ^ (t >>> 14)) >>> 0) + 1) / 4294967296
  }
}

function columns(capacity: number): HopColumns {
  return hopColumns(new ArrayBuffer(capacity * HOP_BYTES), 0, capacity)
}

/** Puts Poisson arrivals through one queue; calls back with each packet's wait and service time. */
function simulate(
  options: { load: number; packets: number; backlog: number; seed: number; service: (random: () => number) => number },
  each: (waitNanos: number, serviceNanos: number) => void,
): { busy: number; drops: number; nanos: number } {
  const random = uniform(options.seed)
  const hops = columns(STEP)
  const queues = createNodeQueues(Int32Array.of(1), options.backlog, STEP, () => true)
  const busy = new Float64Array(1)
  const drops = new Float64Array(1)
  let now = 0
  for (let done = 0; done < options.packets; done += STEP) {
    const base = Math.floor(now / NANOS_PER_TICK)
    for (let i = 0; i < STEP; i++) {
      now += (-Math.log(random()) * SERVICE_NANOS) / options.load
      hops.time[i] = Math.round(now / NANOS_PER_TICK) - base
      hops.server[i] = HOP_LAST
      hops.cost[i] = Math.round(options.service(random))
    }
    queues.add(hops, 0, STEP)
    queues.run(base * NANOS_PER_TICK, busy, drops)
    for (let i = 0; i < STEP; i++) each(hops.wait[i], hops.cost[i])
  }
  return { busy: busy[0], drops: drops[0], nanos: now }
}

describe('one queue with Poisson arrivals', () => {
  test.each([
    [0.3, 1_000_000],
    [0.7, 1_500_000],
    [0.9, 4_000_000],
  ])('fixed service time, load %s: the mean wait is M/D/1', (load, packets) => {
    let sum = 0
    const { busy, nanos } = simulate(
      { load, packets, backlog: 1_000, seed: 7, service: () => SERVICE_NANOS },
      (wait) => {
        sum += wait
      },
    )
    const expected = (load * SERVICE_NANOS) / (2 * (1 - load))
    expect(Math.abs(sum / packets / expected - 1)).toBeLessThan(0.03)
    expect(Math.abs(busy / nanos / load - 1)).toBeLessThan(0.01)
  })

  test.each([
    [0.3, 1_000_000],
    [0.7, 1_500_000],
    [0.9, 4_000_000],
  ])('exponential service time, load %s: the percentiles are M/M/1', (load, packets) => {
    const stay = new Float64Array(packets)
    let at = 0
    simulate(
      { load, packets, backlog: 2_000, seed: 11, service: (random) => -Math.log(random()) * SERVICE_NANOS },
      (wait, service) => {
        stay[at++] = wait + service
      },
    )
    stay.sort()
    for (const fraction of [0.5, 0.9, 0.99]) {
      const expected = (-Math.log(1 - fraction) * SERVICE_NANOS) / (1 - load)
      expect(Math.abs(stay[Math.floor(packets * fraction)] / expected - 1), `p${fraction * 100}`).toBeLessThan(0.03)
    }
  })

  test.each([
    [0.7, 4],
    [0.9, 6],
    [1.2, 10],
  ])('load %s and %s places: the loss is M/D/1/K', (load, places) => {
    const packets = 1_500_000
    let dropped = 0
    simulate({ load, packets, backlog: places - 1, seed: 3, service: () => SERVICE_NANOS }, (wait) => {
      if (wait === WAIT_DROPPED) dropped++
    })
    expect(Math.abs(dropped / packets / lossOfMd1k(load, places) - 1)).toBeLessThan(0.03)
  })
})

/** Blocking probability of M/D/1/K: the chain at departures, then Poisson arrivals see time averages. */
function lossOfMd1k(load: number, places: number): number {
  const arrive = (k: number): number => {
    let p = Math.exp(-load)
    for (let i = 1; i <= k; i++) p *= load / i
    return p
  }
  // Unnormalised left-behind probabilities q[0..K-1] from the balance equations.
  const q = [1]
  for (let n = 0; n + 1 < places; n++) {
    let rest = q[n] - q[0] * arrive(n)
    for (let i = 1; i <= n; i++) rest -= q[i] * arrive(n - i + 1)
    q.push(rest / arrive(0))
  }
  const empty = 1 / q.reduce((sum, p) => sum + p, 0)
  return 1 - 1 / (empty + load)
}

describe('a pod with several workers', () => {
  test.each([
    [0.5, 2],
    [0.8, 2],
    [0.8, 4],
  ])('load %s over %s workers: the mean wait is M/M/c (Erlang C)', (load, workers) => {
    const packets = 2_000_000
    const random = uniform(13)
    const hops = columns(STEP)
    const pods = { workers: Int32Array.of(workers), backlog: 4_000 }
    const queues = createNodeQueues(Int32Array.of(1), 10, STEP, () => true, pods)
    let now = 0
    let sum = 0
    for (let done = 0; done < packets; done += STEP) {
      const base = Math.floor(now / NANOS_PER_TICK)
      for (let i = 0; i < STEP; i++) {
        now += (-Math.log(random()) * SERVICE_NANOS) / (load * workers)
        hops.time[i] = Math.round(now / NANOS_PER_TICK) - base
        hops.server[i] = (1 << 16) | HOP_LAST
        hops.cost[i] = Math.round(-Math.log(random()) * SERVICE_NANOS)
      }
      queues.add(hops, 0, STEP)
      queues.run(base * NANOS_PER_TICK, new Float64Array(2), new Float64Array(2))
      for (let i = 0; i < STEP; i++) sum += hops.wait[i]
    }
    const expected = (erlangC(load * workers, workers) * SERVICE_NANOS) / (workers * (1 - load))
    expect(Math.abs(sum / packets / expected - 1)).toBeLessThan(0.03)
  })

  test('shares its backlog out over them, and nothing of the node’s', () => {
    const hops = columns(8)
    hops.server.fill((1 << 16) | HOP_LAST)
    hops.cost.fill(1_000_000)
    const queues = createNodeQueues(Int32Array.of(1), 10, 8, () => true, { workers: Int32Array.of(2), backlog: 2 })
    const busy = new Float64Array(2)
    const drops = new Float64Array(2)
    queues.add(hops, 0, 8)
    queues.run(0, busy, drops)
    // Two are served at once, two wait, four are refused.
    expect([...hops.wait.slice(0, 4)]).toEqual([0, 0, 1_000_000, 1_000_000])
    expect([...hops.wait.slice(4)]).toEqual([WAIT_DROPPED, WAIT_DROPPED, WAIT_DROPPED, WAIT_DROPPED])
    expect([...busy]).toEqual([0, 4_000_000])
    expect([...drops]).toEqual([0, 4])
  })
})

/** Chance of waiting with `offered` Erlangs on c servers. */
function erlangC(offered: number, servers: number): number {
  let term = 1
  let sum = 1
  for (let k = 1; k < servers; k++) {
    term *= offered / k
    sum += term
  }
  const last = ((term * offered) / servers) * (servers / (servers - offered))
  return last / (sum + last)
}

describe('many queues', () => {
  test('are served in time order whatever shard wrote the hops, and waits go back to the right ones', () => {
    const a = columns(8)
    const b = columns(8)
    // node 0 with two cores, node 1 with one: (time, node, core)
    const server = (node: number, core: number): number => (node << 16) | (core << 8) | HOP_LAST
    ;[
      [5, server(0, 0)],
      [20, server(1, 0)],
    ].forEach(([time, where], i) => {
      a.time[i] = time
      a.server[i] = where
      a.cost[i] = 1000
    })
    ;[
      [0, server(0, 0)],
      [5, server(0, 1)],
      [20, server(1, 0)],
    ].forEach(([time, where], i) => {
      b.time[i] = time
      b.server[i] = where
      b.cost[i] = 1000
    })
    const queues = createNodeQueues(Int32Array.of(2, 1), 10, 16, () => true)
    const busy = new Float64Array(2)
    queues.add(a, 0, 2)
    queues.add(b, 0, 3)
    queues.run(0, busy, new Float64Array(2))
    // The hop at 500 ns waits for the one at 0; equal times go by the order of shards.
    expect([...a.wait.slice(0, 2)]).toEqual([500, 0])
    expect([...b.wait.slice(0, 3)]).toEqual([0, 0, 1000])
    expect([...busy]).toEqual([3000, 2000])
  })

  test('an instance passes over the nodes that are not its own', () => {
    const hops = columns(2)
    hops.server.set([HOP_LAST, (1 << 16) | HOP_LAST])
    hops.cost.fill(100)
    hops.wait.fill(77)
    const queues = createNodeQueues(Int32Array.of(1, 1), 10, 2, (node) => node === 1)
    queues.add(hops, 0, 2)
    queues.run(0, new Float64Array(2), new Float64Array(2))
    expect([...hops.wait]).toEqual([77, 0])
  })

  test('times over 22 bits are sorted too', () => {
    const hops = columns(3)
    hops.time.set([4_000_000_000, 3, 70_000_000])
    hops.server.fill(HOP_LAST)
    hops.cost.fill(1)
    const queues = createNodeQueues(Int32Array.of(1), 10, 3, () => true)
    queues.add(hops, 0, 3)
    queues.run(0, new Float64Array(1), new Float64Array(1))
    expect([...hops.wait]).toEqual([0, 0, 0])
  })

  /** The same in plain words: sort by time, ties by the order written, then wait for who is before. */
  function waitsOf(times: readonly number[], cost: number): number[] {
    const order = times.map((_, i) => i).sort((a, b) => times[a] - times[b] || a - b)
    const waits: number[] = []
    let free = 0
    for (const i of order) {
      const arrival = times[i] * NANOS_PER_TICK
      waits[i] = Math.max(0, free - arrival)
      free = Math.max(free, arrival) + cost
    }
    return waits
  }

  const COUNT = 3000
  const runs = (random: () => number): number[] =>
    Array.from({ length: COUNT }, (_, i) => (i % 500) * 37 + Math.floor(random() * 30))
  test.each<[string, (random: () => number) => number[]]>([
    ['evenly, in no order', (random) => Array.from({ length: COUNT }, () => Math.floor(random() * 1e6))],
    ['in runs that shards have sorted', runs],
    [
      'in two bursts and a straggler',
      (random) => Array.from({ length: COUNT }, (_, i) => (i === 7 ? 9e8 : random() < 0.5 ? 3 : 5e6)),
    ],
    [
      'within few ticks, the last of all far away',
      (random) => [...Array.from({ length: COUNT }, () => Math.floor(random() * 400)), 4e9],
    ],
    ['backwards', () => Array.from({ length: COUNT }, (_, i) => (COUNT - i) * 11)],
    ['all at once', () => Array<number>(COUNT).fill(0)],
  ])('%s: each waits for those before it, ties in the order written', (_name, timesOf) => {
    const times = timesOf(uniform(5))
    const hops = columns(times.length)
    const queues = createNodeQueues(Int32Array.of(1), 1e6, times.length, () => true)
    // Twice, so that nothing of the first step is left over.
    for (let step = 0; step < 2; step++) {
      queues.clear()
      hops.time.set(times)
      hops.server.fill(HOP_LAST)
      hops.cost.fill(700)
      queues.add(hops, 0, times.length)
      queues.run(0, new Float64Array(1), new Float64Array(1))
      expect([...hops.wait]).toEqual(waitsOf(times, 700))
    }
  })
})
