/**
 * The conntrack table: dense 64-byte entries behind a small tagged index, two tuples an entry.
 *
 * Layout, an entry of 16 int32 words (`ENTRY_*`): original tuple, node and protocol, reply tuple, expiry, state and status,
 * both hashes, and what the entry was made for. An entry's number times 16 is its offset; entry 0 is never used, so a
 * reference of 0 means "none" and may be read without harm.
 * The index is one array of 4-byte slots, linear probing: the top 8 bits of a slot are the tag (the hash's top bits), the
 * low 24 hold (entry << 1 | direction) + 1. Deletion shifts back, there are no tombstones.
 * The same tuple on two nodes has the same hash, so such entries stand beside each other; the node is part of the key.
 * Entries live in pages of 64 that belong to one shard, so a shard's entries can be swept without links in the entry.
 *
 * Invariants (`selfCheck`): each live entry is found by both its tuples; each slot points at a live entry whose hash
 * leads to it without a gap; counts by shard and node equal the entries there are.
 * Cost: about 104 bytes an entry at full capacity (64 + 2 tuples × 4 bytes at a load of 0.25 to 0.5, + page tables).
 * A lookup reads one or two cache lines of the index and one entry.
 * Source: measured against bucketised, robin-hood and cuckoo indices; equal within noise, and the simplest.
 */

import { CHECKED, check } from './checked.ts'
import { hashTuple, type Tuple } from './hash.ts'
import type { AddressId, EntryNumber, Millis32, NodeProtocol, PortPair, Shard, TupleHash } from './kinds.ts'

export const ENTRY_WORDS = 16
export const ENTRY_SHIFT = 4

/** Original direction: source id, destination id, ports (source << 16 | destination). */
export const ENTRY_SOURCE = 0
export const ENTRY_DESTINATION = 1
export const ENTRY_PORTS = 2
/** node << 8 | protocol, part of both tuples; -1 in a free entry. */
export const ENTRY_NODE_PROTOCOL = 3
/** Reply direction, as the reply packet carries it. */
export const ENTRY_REPLY_SOURCE = 4
export const ENTRY_REPLY_DESTINATION = 5
export const ENTRY_REPLY_PORTS = 6
/** Milliseconds of virtual time; alive while it is greater than now. */
export const ENTRY_EXPIRES = 7
/** State in the low 4 bits, `STATUS_*` above, and from bit 8 on the frontend id + 1 that was dialled, or 0. */
export const ENTRY_STATE = 8
export const ENTRY_HASH = 9
export const ENTRY_REPLY_HASH = 10
/** Index + 1 of the counter of (node, service port) that the entry is counted in. */
export const ENTRY_SERVICE_COUNTER = 11
/** Endpoint id + 1, or 0. */
export const ENTRY_ENDPOINT = 12
/** The shard that owns the entry; in a free entry, the next free one of the same shard. */
export const ENTRY_OWNER = 13
export const ENTRY_CREATED = 14
/** Index + 1 of the source-port counter that the entry holds a port of, or 0. */
export const ENTRY_PORT_COUNTER = 15

export const STATUS_SEEN_REPLY = 16
export const STATUS_ASSURED = 32
/** ESTABLISHED by pick-up: keeps the short timer until assured. */
export const STATUS_PICKED_UP = 64
export const ENTRY_FRONTEND_SHIFT = 8

const PAGE_SHIFT = 6
const PAGE_ENTRIES = 1 << PAGE_SHIFT
const REF_BITS = 0xffffff
const TAG_BITS = 0xff000000 | 0

/** nf_conntrack_buckets of a machine with 4 GiB and more; kube-proxy raises it only for tables over four times that. */
export const KERNEL_BUCKETS_BITS = 18

/** Most entries one table can hold: 24 bits of reference, two tuples an entry. */
export const MAX_ENTRIES: number = (1 << 23) - 2 * PAGE_ENTRIES

/** Ports of a tuple as seen from the other direction. */
export function swapPorts(ports: PortPair): PortPair {
  return (ports << 16) | (ports >>> 16)
}

/** Both tuples of an entry to be, and their hashes (`hashTuple`): whoever has looked for them knows. Reused from call to call. */
export interface EntryTuples extends Tuple {
  hash: TupleHash
  replySource: AddressId
  replyDestination: AddressId
  replyPorts: PortPair
  replyHash: TupleHash
}

export function createTuples(): EntryTuples {
  return {
    source: 0,
    destination: 0,
    ports: 0,
    nodeProtocol: 0,
    hash: 0,
    replySource: 0,
    replyDestination: 0,
    replyPorts: 0,
    replyHash: 0,
  }
}

export interface ConntrackTable {
  /** The entries themselves: 16 words each, for the fast path. */
  readonly entries: Int32Array
  /** Live entries by shard × nodes + node, expired ones that nobody met yet included. */
  readonly counts: Int32Array
  /** Forget everything. */
  clear(): void
  /**
   * Find the entry of a shard that a tuple belongs to. Other shards' entries are not seen, so that it does not matter which
   * of them share a table.
   * @returns entry << 1 | direction (0 original, 1 reply), or -1; an expired entry is returned, the caller looks at the timer
   */
  find(
    shard: Shard,
    hash: TupleHash,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    nodeProtocol: NodeProtocol,
  ): number
  /** Reads the place in the index where the search for a hash begins, for whoever will search soon. */
  prefetch(hash: TupleHash): number
  /**
   * Take a free entry of a shard and index both its tuples. The caller has made sure that neither is taken.
   * @returns the entry's number, or 0 when the table is physically full
   */
  insert(
    shard: Shard,
    hash: TupleHash,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    nodeProtocol: NodeProtocol,
    replyHash: TupleHash,
    replySource: AddressId,
    replyDestination: AddressId,
    replyPorts: PortPair,
  ): EntryNumber
  /** Whether a shard can be given one or two entries more. */
  hasRoom(shard: Shard, more: 1 | 2): boolean
  /** Take an entry out of index and counts; its words stay readable until the next insert. */
  remove(entry: EntryNumber): void
  /**
   * What early drop looks through: a run of the kernel's buckets, beginning with the one of `hash`.
   * Calls `visit` with each live entry that has a tuple in them and the tuple's bucket, counted from the first; an entry can
   * come twice. The kernel's table has KERNEL_BUCKETS buckets; ours is cut into as many stretches of the index.
   * The visitor must not remove.
   */
  forEachInBuckets(hash: TupleHash, buckets: number, visit: (entry: EntryNumber, bucket: number) => void): void
  /** Calls `visit` for each live entry of a shard; the visitor may remove the entry it is given. */
  forEachOfShard(shard: Shard, visit: (entry: EntryNumber) => void): void
  /** The same for those that have expired: a sweep looks at every entry and finds few, so the look is here. */
  forEachExpired(shard: Shard, nowMs: Millis32, visit: (entry: EntryNumber) => void): void
  /** Number of live entries. */
  size(): number
  /** @throws Error naming the first broken invariant */
  selfCheck(): void
  readonly bytes: number
}

/**
 * @param capacity  most live entries, at most MAX_ENTRIES
 * @param shards    number of shards the entries are divided over
 * @param nodes     number of nodes, for the counts
 */
export function createConntrackTable(capacity: number, shards: number, nodes: number): ConntrackTable {
  if (!(capacity >= 1 && capacity <= MAX_ENTRIES)) {
    throw new RangeError(`conntrack table: capacity ${capacity}, must be 1..${MAX_ENTRIES}`)
  }
  // One page a shard may be partly used, and page 0 holds the entry that is never used. A page stays with its shard, so a
  // quarter more of them leaves room for shards whose shares move; pages that nobody takes are never touched.
  const pages = ((capacity + (capacity >> 2) + PAGE_ENTRIES - 1) >> PAGE_SHIFT) + shards + 1
  let slotCount = 1024
  while (slotCount < capacity * 4) slotCount *= 2
  const mask = slotCount - 1
  const slotBits = 31 - Math.clz32(slotCount)
  const entries = alignedWords(pages * PAGE_ENTRIES * ENTRY_WORDS)
  const slots = alignedWords(slotCount)
  const nextPage = new Int32Array(pages)
  const firstPage = new Int32Array(shards)
  const freeHead = new Int32Array(shards)
  const counts = new Int32Array(shards * nodes)
  let pagesUsed = 1
  let live = 0
  entries.fill(-1, 0, ENTRY_WORDS)

  function clear(): void {
    slots.fill(0)
    entries.fill(0, 0, pagesUsed * PAGE_ENTRIES * ENTRY_WORDS)
    entries.fill(-1, 0, ENTRY_WORDS)
    firstPage.fill(0)
    freeHead.fill(0)
    counts.fill(0)
    pagesUsed = 1
    live = 0
  }

  function find(
    shard: Shard,
    hash: TupleHash,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    nodeProtocol: NodeProtocol,
  ): number {
    let i = hash & mask
    for (;;) {
      const slot = slots[i]
      if (slot === 0) return -1
      if (((slot ^ hash) & TAG_BITS) === 0) {
        const ref = (slot & REF_BITS) - 1
        const base = (ref >> 1) << ENTRY_SHIFT
        const tuple = base + ((ref & 1) << 2)
        if (
          entries[base + ENTRY_NODE_PROTOCOL] === nodeProtocol &&
          entries[tuple] === source &&
          entries[tuple + 1] === destination &&
          entries[tuple + 2] === ports &&
          entries[base + ENTRY_OWNER] === shard
        ) {
          return ref
        }
      }
      i = (i + 1) & mask
    }
  }

  function prefetch(hash: TupleHash): number {
    return slots[hash & mask]
  }

  function addSlot(hash: TupleHash, ref: number): void {
    let i = hash & mask
    while (slots[i] !== 0) i = (i + 1) & mask
    slots[i] = (hash & TAG_BITS) | (ref + 1)
  }

  function removeSlot(hash: TupleHash, ref: number): void {
    const wanted = (hash & TAG_BITS) | (ref + 1)
    let hole = hash & mask
    while (slots[hole] !== wanted) hole = (hole + 1) & mask
    let i = hole
    for (;;) {
      i = (i + 1) & mask
      const slot = slots[i]
      if (slot === 0) break
      const other = (slot & REF_BITS) - 1
      const home = entries[((other >> 1) << ENTRY_SHIFT) + ENTRY_HASH + (other & 1)] & mask
      // The slot may move into the hole unless its home lies cyclically between hole and itself.
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        slots[hole] = slot
        hole = i
      }
    }
    slots[hole] = 0
  }

  function takePage(shard: Shard): boolean {
    if (pagesUsed === pages) return false
    const page = pagesUsed++
    nextPage[page] = firstPage[shard]
    firstPage[shard] = page
    const first = page << PAGE_SHIFT
    for (let entry = first + PAGE_ENTRIES - 1; entry >= first; entry--) {
      const base = entry << ENTRY_SHIFT
      entries[base + ENTRY_NODE_PROTOCOL] = -1
      entries[base + ENTRY_OWNER] = freeHead[shard]
      freeHead[shard] = entry
    }
    return true
  }

  // biome-ignore lint/complexity/useMaxParams: as fields of a record they cost a twentieth of a connection's opening (bench: new-connections)
  function insert(
    shard: Shard,
    hash: TupleHash,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    nodeProtocol: NodeProtocol,
    replyHash: TupleHash,
    replySource: AddressId,
    replyDestination: AddressId,
    replyPorts: PortPair,
  ): EntryNumber {
    if (live >= capacity || (freeHead[shard] === 0 && !takePage(shard))) return 0
    if (CHECKED) {
      check(hash === hashTuple(source, destination, ports, nodeProtocol), "an entry's hash is its tuple's")
      const reply = hashTuple(replySource, replyDestination, replyPorts, nodeProtocol)
      check(replyHash === reply, "an entry's second hash is its reply tuple's")
    }
    const entry = freeHead[shard]
    const base = entry << ENTRY_SHIFT
    freeHead[shard] = entries[base + ENTRY_OWNER]
    entries[base] = source
    entries[base + ENTRY_DESTINATION] = destination
    entries[base + ENTRY_PORTS] = ports
    entries[base + ENTRY_NODE_PROTOCOL] = nodeProtocol
    entries[base + ENTRY_REPLY_SOURCE] = replySource
    entries[base + ENTRY_REPLY_DESTINATION] = replyDestination
    entries[base + ENTRY_REPLY_PORTS] = replyPorts
    entries[base + ENTRY_HASH] = hash
    entries[base + ENTRY_REPLY_HASH] = replyHash
    entries[base + ENTRY_OWNER] = shard
    addSlot(hash, entry << 1)
    addSlot(replyHash, (entry << 1) | 1)
    const count = shard * nodes + (nodeProtocol >> 8)
    counts[count] = counts[count] + 1
    live++
    return entry
  }

  function hasRoom(shard: Shard, more: 1 | 2): boolean {
    if (live + more > capacity) return false
    if (pagesUsed < pages) return true
    const first = freeHead[shard]
    return first !== 0 && (more === 1 || entries[(first << ENTRY_SHIFT) + ENTRY_OWNER] !== 0)
  }

  function remove(entry: EntryNumber): void {
    const base = entry << ENTRY_SHIFT
    removeSlot(entries[base + ENTRY_HASH], entry << 1)
    removeSlot(entries[base + ENTRY_REPLY_HASH], (entry << 1) | 1)
    const shard = entries[base + ENTRY_OWNER]
    const count = shard * nodes + (entries[base + ENTRY_NODE_PROTOCOL] >> 8)
    counts[count] = counts[count] - 1
    entries[base + ENTRY_NODE_PROTOCOL] = -1
    entries[base + ENTRY_EXPIRES] = 0
    entries[base + ENTRY_OWNER] = freeHead[shard]
    freeHead[shard] = entry
    live--
  }

  function forEachOfShard(shard: Shard, visit: (entry: EntryNumber) => void): void {
    for (let page = firstPage[shard]; page !== 0; page = nextPage[page]) {
      const first = page << PAGE_SHIFT
      for (let entry = first; entry < first + PAGE_ENTRIES; entry++) {
        if (entries[(entry << ENTRY_SHIFT) + ENTRY_NODE_PROTOCOL] !== -1) visit(entry)
      }
    }
  }

  function forEachExpired(shard: Shard, nowMs: Millis32, visit: (entry: EntryNumber) => void): void {
    const now = nowMs | 0
    for (let page = firstPage[shard]; page !== 0; page = nextPage[page]) {
      const end = (page + 1) << (PAGE_SHIFT + ENTRY_SHIFT)
      for (let base = page << (PAGE_SHIFT + ENTRY_SHIFT); base < end; base += ENTRY_WORDS) {
        if (((entries[base + ENTRY_EXPIRES] - now) | 0) > 0 || entries[base + ENTRY_NODE_PROTOCOL] === -1) continue
        visit(base >> ENTRY_SHIFT)
      }
    }
  }

  function forEachInBuckets(
    hash: TupleHash,
    buckets: number,
    visit: (entry: EntryNumber, bucket: number) => void,
  ): void {
    const first = bucketOf(hash)
    const perBucket = slotBits > KERNEL_BUCKETS_BITS ? 1 << (slotBits - KERNEL_BUCKETS_BITS) : 1
    const stretch =
      slotBits > KERNEL_BUCKETS_BITS ? buckets * perBucket : (buckets >> (KERNEL_BUCKETS_BITS - slotBits)) + 2
    // A bucket begins at its first slot; tuples that found it taken follow without a gap, so the end is the first free slot.
    let i = hash & mask & ~(perBucket - 1)
    for (let natSource = 0; natSource < stretch || slots[i] !== 0; natSource++, i = (i + 1) & mask) {
      const slot = slots[i]
      if (slot === 0) continue
      const ref = (slot & REF_BITS) - 1
      const own = entries[((ref >> 1) << ENTRY_SHIFT) + ENTRY_HASH + (ref & 1)]
      const bucket = (bucketOf(own) - first) & ((1 << KERNEL_BUCKETS_BITS) - 1)
      if (bucket < buckets) visit(ref >> 1, bucket)
    }
  }

  /** Bucket number of a hash: its place in the index comes first, so that a bucket is a stretch of it. */
  function bucketOf(hash: TupleHash): number {
    const home = hash & mask
    return slotBits >= KERNEL_BUCKETS_BITS
      ? home >> (slotBits - KERNEL_BUCKETS_BITS)
      : (home << (KERNEL_BUCKETS_BITS - slotBits)) |
          ((hash >>> slotBits) & ((1 << (KERNEL_BUCKETS_BITS - slotBits)) - 1))
  }

  function selfCheck(): void {
    let found = 0
    const counted = new Int32Array(counts.length)
    for (let shard = 0; shard < shards; shard++) {
      forEachOfShard(shard, (entry) => {
        found++
        const base = entry << ENTRY_SHIFT
        const nodeProtocol = entries[base + ENTRY_NODE_PROTOCOL]
        if (entries[base + ENTRY_OWNER] !== shard) throw new Error(`entry ${entry} lies in a page of shard ${shard}`)
        counted[shard * nodes + (nodeProtocol >> 8)]++
        for (let direction = 0; direction < 2; direction++) {
          const t = base + (direction << 2)
          const hash = hashTuple(entries[t], entries[t + 1], entries[t + 2], nodeProtocol)
          if (hash !== entries[base + ENTRY_HASH + direction]) throw new Error(`entry ${entry} holds a wrong hash`)
          if (
            find(shard, hash, entries[t], entries[t + 1], entries[t + 2], nodeProtocol) !==
            ((entry << 1) | direction)
          ) {
            throw new Error(`entry ${entry} is not found by its tuple of direction ${direction}`)
          }
        }
      })
    }
    if (found !== live) throw new Error(`${found} entries in the pages, ${live} counted`)
    for (let i = 0; i < counts.length; i++) {
      if (counted[i] !== counts[i]) throw new Error(`count ${i} is ${counts[i]}, there are ${counted[i]} entries`)
    }
    let used = 0
    for (let i = 0; i < slotCount; i++) if (slots[i] !== 0) used++
    if (used !== live * 2) throw new Error(`${used} slots in use for ${live} entries`)
  }

  return {
    entries,
    counts,
    clear,
    find,
    prefetch,
    insert,
    hasRoom,
    remove,
    forEachInBuckets,
    forEachOfShard,
    forEachExpired,
    size: () => live,
    selfCheck,
    bytes: entries.byteLength + slots.byteLength + nextPage.byteLength,
  }
}

/**
 * An Int32Array whose first word lies on a cache line. Large ArrayBuffers start at 16 mod 64 on Linux, so that a 64-byte
 * record would straddle two cache lines; one from WebAssembly.Memory would be page aligned, but the core takes nothing from the
 * platform. The address cannot be read, so the offset is 48 bytes for buffers that malloc maps (over 128 KiB).
 */
export function alignedWords(length: number): Int32Array {
  const bytes = length * 4
  return bytes < 1 << 17 ? new Int32Array(length) : new Int32Array(new ArrayBuffer(bytes + 48), 48, length)
}
