/**
 * CPU queues: each node is a set of cores, each with a receive queue of its own, first come first served.
 *
 * A packet that crosses a node is a *hop*: it arrives at a time, on the core that its flow hashes to (receive-side scaling), and
 * takes CPU time. It waits for what is before it (Lindley's recursion), and is dropped when `backlog` packets wait already
 * (netdev_max_backlog). Hops are written by the shards as they go through their packets, sorted here by arrival and walked
 * node by node in time order, whatever shard or worker they came from: queues belong to a node, not to a flow.
 *
 * Layout: hop columns in step with each other; `place` is node << 16 | core << 8 | flags. A packet's hops lie one after the
 * other, the last one flagged. Times are ticks from the step's base; the order of equal times is the order of shards.
 * Cost: 15-25 ns a hop, most of it the radix sort. Allocates once.
 * Source: the model of one queue is M/G/1 with K places; test/core/queue.test.ts holds it against theory.
 */
import { NANOS_PER_TICK } from './packet.ts'

/** Flags in the low 8 bits of `place`. */
export const HOP_LAST = 1
/** The opening packet of its connection. */
export const HOP_FIRST = 2
/** The first answer: completes the set-up of a TCP connection. */
export const HOP_ANSWERS = 4
/** The packet goes no further for another reason: it costs time here and has no latency. */
export const HOP_LOST = 8

/** `wait` of a hop that found the backlog full. */
export const WAIT_DROPPED = 0xffffffff

/** What shards write and queues answer; shared between workers. */
export interface HopColumns {
  /** Arrival in ticks from the step's base. */
  readonly time: Uint32Array
  readonly place: Int32Array
  /** CPU time in ns. */
  readonly cost: Uint32Array
  /** Filled in by the queues: ns spent waiting, or WAIT_DROPPED. */
  readonly wait: Uint32Array
}

export const HOP_BYTES = 16

const DIGIT_BITS = 11
const DIGIT_MASK = (1 << DIGIT_BITS) - 1

/** @param buffer at least capacity × HOP_BYTES long from `offset` on */
export function hopColumns(buffer: ArrayBufferLike, offset: number, capacity: number): HopColumns {
  return {
    time: new Uint32Array(buffer, offset, capacity),
    place: new Int32Array(buffer, offset + capacity * 4, capacity),
    cost: new Uint32Array(buffer, offset + capacity * 8, capacity),
    wait: new Uint32Array(buffer, offset + capacity * 12, capacity),
  }
}

export interface NodeQueues {
  /** Empty all queues. */
  clear(): void
  /** Take in a run of hops; those of nodes that are not this instance's are passed over. Call in the order of shards. */
  add(hops: HopColumns, from: number, to: number): void
  /**
   * Put what was taken in through the queues, in time order, and answer in the hops' `wait`.
   * @param baseNanos  time of the step's base
   * @param busy       CPU time is added by node
   * @param drops      dropped packets are added by node
   */
  run(baseNanos: number, busy: Float64Array, drops: Float64Array): void
}

/**
 * @param cores     by node, at least 1
 * @param backlog   packets that may wait in a queue
 * @param capacity  most hops of a step
 * @param mine      whether this instance serves a node
 */
export function createNodeQueues(
  cores: Int32Array,
  backlog: number,
  capacity: number,
  mine: (node: number) => boolean,
): NodeQueues {
  const nodes = cores.length
  const firstCore = new Int32Array(nodes + 1)
  for (let node = 0; node < nodes; node++) firstCore[node + 1] = firstCore[node] + cores[node]
  const queues = firstCore[nodes]
  const served = Uint8Array.from({ length: nodes }, (_, node) => (mine(node) ? 1 : 0))
  const places = backlog + 1
  /** By queue: when the last packet taken in leaves, ns; a ring of leaving times, to know how many are still there. */
  const freeAt = new Float64Array(queues)
  const departures = new Float64Array(queues * places)
  const head = new Int32Array(queues)
  const waiting = new Int32Array(queues)
  const queueBusy = new Float64Array(queues)
  const queueDrops = new Float64Array(queues)
  /** What was taken in, in the order of shards; the sort moves only (time, number) pairs. */
  const arrivals = new Uint32Array(capacity)
  const queueOf = new Int32Array(capacity)
  const costs = new Int32Array(capacity)
  const waits = new Uint32Array(capacity)
  const keysA = new Uint32Array(capacity)
  const keysB = new Uint32Array(capacity)
  const itemsA = new Int32Array(capacity)
  const itemsB = new Int32Array(capacity)
  const digits = new Int32Array(1 << DIGIT_BITS)
  const parts: { readonly hops: HopColumns; readonly from: number; readonly to: number }[] = []
  let count = 0
  let highest = 0

  function clear(): void {
    freeAt.fill(0)
    head.fill(0)
    waiting.fill(0)
    parts.length = 0
    count = 0
    highest = 0
  }

  function add(hops: HopColumns, from: number, to: number): void {
    const { time, place, cost } = hops
    parts.push({ hops, from, to })
    let at = count
    let latest = highest
    for (let i = from; i < to; i++) {
      const where = place[i]
      const node = where >>> 16
      if (served[node] === 0) continue
      const arrival = time[i]
      arrivals[at] = arrival
      queueOf[at] = firstCore[node] + ((where >>> 8) & 0xff)
      costs[at] = cost[i]
      if (arrival > latest) latest = arrival
      at++
    }
    count = at
    highest = latest
  }

  function scatter(
    shift: number,
    keys: Uint32Array,
    items: Int32Array,
    toKeys: Uint32Array,
    toItems: Int32Array,
    first: boolean,
  ): void {
    digits.fill(0)
    for (let i = 0; i < count; i++) {
      const digit = (keys[i] >>> shift) & DIGIT_MASK
      digits[digit] = digits[digit] + 1
    }
    let sum = 0
    for (let digit = 0; digit <= DIGIT_MASK; digit++) {
      const here = digits[digit]
      digits[digit] = sum
      sum += here
    }
    for (let i = 0; i < count; i++) {
      const key = keys[i]
      const digit = (key >>> shift) & DIGIT_MASK
      const to = digits[digit]
      digits[digit] = to + 1
      toKeys[to] = key
      toItems[to] = first ? i : items[i]
    }
  }

  /** Least significant digit first, as many passes as the latest time needs; stable. @returns where the order is */
  function sort(): Int32Array {
    scatter(0, arrivals, itemsA, keysA, itemsA, true)
    if (highest >>> DIGIT_BITS === 0) return itemsA
    scatter(DIGIT_BITS, keysA, itemsA, keysB, itemsB, false)
    if (highest >>> (2 * DIGIT_BITS) === 0) return itemsB
    scatter(2 * DIGIT_BITS, keysB, itemsB, keysA, itemsA, false)
    return itemsA
  }

  function run(baseNanos: number, busy: Float64Array, drops: Float64Array): void {
    serve(sort(), baseNanos)
    answer()
    for (let node = 0; node < nodes; node++) {
      for (let queue = firstCore[node]; queue < firstCore[node + 1]; queue++) {
        busy[node] = busy[node] + queueBusy[queue]
        drops[node] = drops[node] + queueDrops[queue]
      }
    }
    queueBusy.fill(0)
    queueDrops.fill(0)
    parts.length = 0
    count = 0
    highest = 0
  }

  /**
   * The queues themselves. A function of its own with nothing behind the loop: optimised on-stack, code behind it has never run
   * and throws the optimised code away at each call (measured: 4 times slower).
   */
  function serve(order: Int32Array, baseNanos: number): void {
    // One loop and no call in it: a call would box its doubles, which costs as much as all the rest (126 against 25 ns a hop).
    for (let i = 0; i < count; i++) {
      const item = order[i]
      const queue = queueOf[item]
      const arrival = baseNanos + arrivals[item] * NANOS_PER_TICK
      const ring = queue * places
      let first = head[queue]
      let here = waiting[queue]
      // Those that have left by now.
      while (here > 0 && departures[ring + first] <= arrival) {
        first = first + 1 === places ? 0 : first + 1
        here--
      }
      head[queue] = first
      if (here === places) {
        waiting[queue] = here
        queueDrops[queue] = queueDrops[queue] + 1
        waits[item] = WAIT_DROPPED
        continue
      }
      const cost = costs[item]
      const free = freeAt[queue]
      const start = Math.max(free, arrival)
      freeAt[queue] = start + cost
      const last = first + here
      departures[ring + (last >= places ? last - places : last)] = start + cost
      waiting[queue] = here + 1
      queueBusy[queue] = queueBusy[queue] + cost
      waits[item] = start - arrival
    }
  }

  /** Hands the waits back to the hops they belong to. */
  function answer(): void {
    let at = 0
    for (const { hops, from, to } of parts) {
      const { place, wait } = hops
      for (let i = from; i < to; i++) if (served[place[i] >>> 16] !== 0) wait[i] = waits[at++]
    }
  }

  return { clear, add, run }
}
