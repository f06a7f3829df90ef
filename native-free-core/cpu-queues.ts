/**
 * Queues: each node is a set of cores, each with a receive queue of its own; each pod that is modelled is a set of workers
 * that share one queue of requests. First come first served.
 *
 * A packet that crosses a node is a *hop*: it arrives at a time, on the core that its flow hashes to (receive-side scaling), and
 * takes CPU time. It waits for what is before it (Lindley's recursion), and is dropped when `backlog` packets wait already
 * (netdev_max_backlog). Hops are written by the shards as they go through their packets, sorted here by arrival and walked
 * node by node in time order, whatever shard or worker they came from: queues belong to a node, not to a flow.
 *
 * Layout: hop columns in step with each other; `server` is node (or nodes + pod) << 16 | core << 8 | flags. A packet's hops lie one after the
 * other, the last one flagged. Times are ticks from the step's base; the order of equal times is the order of shards.
 * Cost: a few compares and stores a hop, a third of its time in the sort (bench: packet-step-queued). Allocates once.
 * Source: the model of one queue is M/G/1 with K places; test/core/queue.test.ts holds it against theory.
 */
import { NANOS_PER_TICK } from './packet.ts'

/** Flags in the low 8 bits of `server`. */
export const HOP_LAST = 1
/** The opening packet of its connection. */
export const HOP_FIRST = 2
/** The first answer: completes the set-up of a TCP connection. */
export const HOP_ANSWERS = 4
/** The packet costs time here and has no latency of its own: it goes no further, or is one of several at once. */
export const HOP_LOST = 8
/** A question to a name server or its reply: its waiting is part of the set-up of the connection that needed it. */
export const HOP_QUERY = 16
/** Behind the packet that brought it: a request in its pod. */
export const HOP_REQUEST = 32

/** `wait` of a hop that found the backlog full. */
export const WAIT_DROPPED = 0xffffffff

/** What shards write and queues answer; shared between workers. */
export interface HopColumns {
  /** Arrival in ticks from the step's base. */
  readonly time: Uint32Array
  readonly server: Int32Array
  /** CPU time in ns. */
  readonly cost: Uint32Array
  /** Filled in by the queues: ns spent waiting, or WAIT_DROPPED. */
  readonly wait: Uint32Array
}

export const HOP_BYTES = 16

/**
 * Loops run in calls of so many items. A function that is called once a step and loops long is optimised on-stack only, and thrown
 * away again at what stands behind its loop; one that is called often is optimised for good (an eighth of the time a hop, bench: packet-step-queued).
 */
const CHUNK = 512
/** What fits in the upper half of `server`. */
const MAX_SERVERS = 65_536
const DIGIT_BITS = 11
/** Stretches of time that hops are sorted into, at most. */
const MAX_BUCKET_BITS = 16
/** Mean number of hops in the stretch of a hop beyond which insertion is no way to sort them. */
const CROWDED = 24

/** @param buffer at least capacity × HOP_BYTES long from `offset` on */
export function hopColumns(buffer: ArrayBufferLike, offset: number, capacity: number): HopColumns {
  return {
    time: new Uint32Array(buffer, offset, capacity),
    server: new Int32Array(buffer, offset + capacity * 4, capacity),
    cost: new Uint32Array(buffer, offset + capacity * 8, capacity),
    wait: new Uint32Array(buffer, offset + capacity * 12, capacity),
  }
}

/** Hops as the sort moves them: their times, and their numbers among those taken in; without these a pair's number is its place. */
interface Pairs {
  readonly keys: Uint32Array
  readonly items: Int32Array | null
}

interface Sorted extends Pairs {
  readonly items: Int32Array
}

/** Pods with queues; their places are numbered behind the nodes'. */
export interface PodQueues {
  /** Workers by pod, at least 1. */
  readonly workers: Int32Array
  /** Requests that may wait in a pod's queue. */
  readonly backlog: number
}

export interface NodeQueues {
  /** Empty all queues. */
  clear(): void
  /** Take in a run of hops; those of queues that are not this instance's are passed over. Call in the order of shards. */
  add(hops: HopColumns, from: number, to: number): void
  /**
   * Put what was taken in through the queues, in time order, and answer in the hops' `wait`.
   * @param baseNanos  time of the step's base
   * @param busy       CPU time is added by place
   * @param drops      dropped packets are added by place
   */
  run(baseNanos: number, busy: Float64Array, drops: Float64Array): void
}

/**
 * @param cores     by node, at least 1
 * @param backlog   packets that may wait in a queue
 * @param capacity  most hops of a step
 * @param mine      whether this instance serves a queue: of a node by its core, of a pod by 0
 */
export function createNodeQueues(
  cores: Int32Array,
  backlog: number,
  capacity: number,
  mine: (server: number, core: number) => boolean,
  pods: PodQueues = { workers: new Int32Array(0), backlog: 1 },
): NodeQueues {
  for (const waiting of [backlog, pods.backlog]) {
    if (!(waiting >= 1)) throw new RangeError(`queues: a backlog of ${waiting}, must be 1 or more`)
  }
  const nodes = cores.length
  const servers = nodes + pods.workers.length
  if (servers > MAX_SERVERS) throw new RangeError(`queues: ${servers} nodes and pods, ${MAX_SERVERS} can be served`)
  const firstQueue = new Int32Array(servers + 1)
  for (let server = 0; server < servers; server++) {
    firstQueue[server + 1] = firstQueue[server] + (server < nodes ? cores[server] : pods.workers[server - nodes])
  }
  const queues = firstQueue[servers]
  /** From here on queues are the workers of pods: a request goes to the first of them to be free. */
  const firstShared = firstQueue[nodes]
  /** By queue: its ring of leaving times, to know how many are still there; and the place that it is of. */
  const ringStart = new Int32Array(queues + 1)
  const serverOf = new Int32Array(queues)
  const served = new Uint8Array(queues)
  for (let server = 0; server < servers; server++) {
    // Workers share a backlog: each stands for its part of it, and has the one being served beside it.
    const workers = firstQueue[server + 1] - firstQueue[server]
    const room = server < nodes ? backlog + 1 : Math.max(1, Math.ceil(pods.backlog / workers)) + 1
    for (let queue = firstQueue[server]; queue < firstQueue[server + 1]; queue++) {
      ringStart[queue + 1] = ringStart[queue] + room
      serverOf[queue] = server
      served[queue] = mine(server, server < nodes ? queue - firstQueue[server] : 0) ? 1 : 0
    }
  }
  /** By queue: when the last packet taken in leaves, ns. */
  const freeAt = new Float64Array(queues)
  const departures = new Float64Array(ringStart[queues])
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
  const itemsA = new Int32Array(capacity)
  const unsorted: Pairs = { keys: arrivals, items: null }
  const sortedA: Sorted = { keys: keysA, items: itemsA }
  const sortedB: Sorted = { keys: new Uint32Array(capacity), items: new Int32Array(capacity) }
  const digits = new Int32Array(1 << MAX_BUCKET_BITS)
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
    const { time, server, cost } = hops
    parts.push({ hops, from, to })
    let at = count
    let latest = highest
    for (let i = from; i < to; i++) {
      const where = server[i]
      const queue = firstQueue[where >>> 16] + ((where >>> 8) & 0xff)
      if (served[queue] === 0) continue
      const arrival = time[i]
      arrivals[at] = arrival
      queueOf[at] = queue
      costs[at] = cost[i]
      if (arrival > latest) latest = arrival
      at++
    }
    count = at
    highest = latest
  }

  function countDigits(keys: Uint32Array, shift: number, mask: number, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const digit = (keys[i] >>> shift) & mask
      digits[digit] = digits[digit] + 1
    }
  }

  /** Moves a chunk of pairs to their places. */
  function move(source: Pairs, target: Sorted, shift: number, mask: number, from: number): void {
    const { keys, items } = source
    const { keys: toKeys, items: toItems } = target
    const to = Math.min(count, from + CHUNK)
    for (let i = from; i < to; i++) {
      const key = keys[i]
      const digit = (key >>> shift) & mask
      const server = digits[digit]
      digits[digit] = server + 1
      toKeys[server] = key
      toItems[server] = items === null ? i : items[i]
    }
  }

  /** The counts of so many digits become the places where each begins. @returns the sum of their squares */
  function placeDigits(size: number): number {
    let sum = 0
    let squares = 0
    for (let digit = 0; digit < size; digit++) {
      const here = digits[digit]
      digits[digit] = sum
      sum += here
      squares += here * here
    }
    return squares
  }

  function countAll(keys: Uint32Array, shift: number, mask: number): void {
    digits.fill(0, 0, mask + 1)
    for (let from = 0; from < count; from += CHUNK) countDigits(keys, shift, mask, from, Math.min(count, from + CHUNK))
  }

  function moveAll(source: Pairs, target: Sorted, shift: number, mask: number): void {
    for (let from = 0; from < count; from += CHUNK) move(source, target, shift, mask, from)
  }

  /** Puts right what is out of order within a bucket. */
  function insertChunk(from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const key = keysA[i]
      if (keysA[i - 1] <= key) continue
      const item = itemsA[i]
      let at = i
      do {
        keysA[at] = keysA[at - 1]
        itemsA[at] = itemsA[at - 1]
        at--
      } while (at > 0 && keysA[at - 1] > key)
      keysA[at] = key
      itemsA[at] = item
    }
  }

  /**
   * Stable. Shards write in the order of time, so hops are moved once into as many stretches of time as there are hops, one run
   * after the other and nearly in place, and what lies within a stretch is put in order by insertion. A radix sort from the
   * lowest digit scatters them over the whole memory in its first pass (an eighth longer for all of it, bench: replay); that one is for bursts.
   * @returns times and numbers in order
   */
  function sort(): Sorted {
    const timeBits = 32 - Math.clz32(highest)
    const bits = Math.max(0, Math.min(timeBits, MAX_BUCKET_BITS, 32 - Math.clz32(count)))
    const shift = timeBits - bits
    const mask = (1 << bits) - 1
    countAll(arrivals, shift, mask)
    if (placeDigits(mask + 1) > count * CROWDED) return sortByDigits(timeBits)
    moveAll(unsorted, sortedA, shift, mask)
    for (let from = 1; from < count; from += CHUNK) insertChunk(from, Math.min(count, from + CHUNK))
    return sortedA
  }

  /** Least significant digit first, in as few passes as times need with digits as small as these allow. */
  function sortByDigits(timeBits: number): Sorted {
    const passes = Math.max(1, Math.ceil(timeBits / DIGIT_BITS))
    const width = Math.ceil(timeBits / passes)
    const mask = (1 << width) - 1
    let source = unsorted
    let target = sortedA
    for (let pass = 0; pass < passes; pass++) {
      target = pass % 2 === 0 ? sortedA : sortedB
      countAll(source.keys, pass * width, mask)
      placeDigits(mask + 1)
      moveAll(source, target, pass * width, mask)
      source = target
    }
    return target
  }

  function run(baseNanos: number, busy: Float64Array, drops: Float64Array): void {
    const { keys, items: order } = sort()
    for (let from = 0; from < count; from += CHUNK) serve(keys, order, from, Math.min(count, from + CHUNK), baseNanos)
    answer()
    for (let queue = 0; queue < queues; queue++) {
      const server = serverOf[queue]
      busy[server] = busy[server] + queueBusy[queue]
      drops[server] = drops[server] + queueDrops[queue]
    }
    queueBusy.fill(0)
    queueDrops.fill(0)
    parts.length = 0
    count = 0
    highest = 0
  }

  /** The queues themselves: one loop and no call in it, since a call would box its doubles (five times as long, bench: packet-step-queued). */
  function serve(keys: Uint32Array, order: Int32Array, begin: number, end: number, baseNanos: number): void {
    for (let i = begin; i < end; i++) {
      const item = order[i]
      let queue = queueOf[item]
      const arrival = baseNanos + keys[i] * NANOS_PER_TICK
      if (queue >= firstShared) {
        const end = firstQueue[serverOf[queue] + 1]
        for (let other = queue + 1; other < end; other++) if (freeAt[other] < freeAt[queue]) queue = other
      }
      const free = freeAt[queue]
      const cost = costs[item]
      const ring = ringStart[queue]
      const room = ringStart[queue + 1] - ring
      let first = head[queue]
      let here = waiting[queue]
      if (free <= arrival) here = 0
      else if (here === room) {
        // Leaving times are looked at only when there seems to be no room: those that have left by now make some.
        while (here > 0 && departures[ring + first] <= arrival) {
          first = first + 1 === room ? 0 : first + 1
          here--
        }
        head[queue] = first
        if (here === room) {
          queueDrops[queue] = queueDrops[queue] + 1
          waits[item] = WAIT_DROPPED
          continue
        }
      }
      const start = free > arrival ? free : arrival
      const leaves = start + cost
      freeAt[queue] = leaves
      const last = first + here
      departures[ring + (last >= room ? last - room : last)] = leaves
      waiting[queue] = here + 1
      queueBusy[queue] = queueBusy[queue] + cost
      waits[item] = start - arrival
    }
  }

  /** Hands the waits back to the hops they belong to. */
  function answer(): void {
    let at = 0
    for (const { hops, from, to } of parts) {
      const { server, wait } = hops
      for (let i = from; i < to; i++) {
        const where = server[i]
        if (served[firstQueue[where >>> 16] + ((where >>> 8) & 0xff)] !== 0) wait[i] = waits[at++]
      }
    }
  }

  return { clear, add, run }
}
