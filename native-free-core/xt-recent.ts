/**
 * ClientIP affinity in iptables mode: one `recent` list for each endpoint on each node, of at most 100 clients.
 *
 * A list keeps its clients in the order of their last entry. Entering the 101st forgets the one that was entered longest ago;
 * being looked up does not count. An expired client stays until it is pushed out, or is the list's oldest when the list is
 * looked at (`--reap`). Boundary: a client entered at t is found until t + timeout (xt_recent compares with >=).
 *
 * Layout: entries in parallel Int32Arrays, linked into their list in order, found through an open-addressed index of
 * (list, client). Cost: a lookup for each endpoint of the set, as the rules do it.
 * Source: net/netfilter/xt_recent.c (ip_list_tot 100), pkg/proxy/iptables/proxier.go; capacity measured.
 */

import { finish, mix } from './hash.ts'
import type { AddressId, EndpointId, Int32Column, Millis, NodeId } from './kinds.ts'
import { PairCounters } from './pair-counters.ts'

export const RECENT_LIST_CLIENTS = 100

export class RecentLists {
  /** (node, endpoint) → list number; the count is the clients in it. */
  private readonly lists = new PairCounters()
  private head: number[] = []
  private tail: number[] = []
  /** By entry: its client, list, last entry (ms), neighbours; entry 0 is none. */
  private client: Int32Array = new Int32Array(256)
  private list: Int32Array = new Int32Array(256)
  /** Whole: a client may stay for as long as nobody pushes it out. */
  private stamp: Float64Array = new Float64Array(256)
  private next: Int32Array = new Int32Array(256)
  private previous: Int32Array = new Int32Array(256)
  private entries = 1
  private free = 0
  private used = 0
  private slots: Int32Array = new Int32Array(512)

  get size(): number {
    return this.used
  }

  clear(): void {
    this.lists.clear()
    this.head = []
    this.tail = []
    this.entries = 1
    this.free = 0
    this.used = 0
    this.slots.fill(0)
  }

  /**
   * @param sinceMs  the earliest last entry of a client that has not expired: now less the timeout
   * @returns        position of the first endpoint in rule order whose list holds the client, or -1
   */
  find(
    client: AddressId,
    node: NodeId,
    sinceMs: Millis,
    members: Int32Column<EndpointId>,
    start: number,
    count: number,
  ): number {
    for (let position = 0; position < count; position++) {
      const list = this.listOf(node, members[start + position])
      const entry = this.lookup(list, client)
      const found = entry !== 0 && this.stamp[entry] >= sinceMs
      const oldest = this.head[list]
      if (oldest !== 0 && this.stamp[oldest] < sinceMs) this.remove(oldest)
      if (found) return position
    }
    return -1
  }

  /** Enter a client into an endpoint's list, as its newest. */
  renew(client: AddressId, node: NodeId, endpoint: EndpointId, nowMs: Millis): void {
    const list = this.listOf(node, endpoint)
    let entry = this.lookup(list, client)
    if (entry !== 0) this.unlink(entry)
    else {
      if (this.lists.counts[list] >= RECENT_LIST_CLIENTS) this.remove(this.head[list])
      entry = this.take()
      this.client[entry] = client
      this.list[entry] = list
      this.addSlot(entry)
      this.lists.counts[list]++
      this.used++
    }
    this.stamp[entry] = nowMs
    this.previous[entry] = this.tail[list]
    this.next[entry] = 0
    if (this.tail[list] === 0) this.head[list] = entry
    else this.next[this.tail[list]] = entry
    this.tail[list] = entry
  }

  /** Lists of endpoints that no rule names any more are gone. Live clients by node are added to `counts`. */
  sweep(alive: Int32Array, counts: Int32Array): void {
    for (let list = 0; list < this.lists.size; list++) {
      if (alive[this.lists.second[list]] === 0) while (this.head[list] !== 0) this.remove(this.head[list])
      counts[this.lists.first[list]] += this.lists.counts[list]
    }
  }

  /** @throws Error naming the first broken invariant */
  selfCheck(): void {
    let natSource = 0
    for (let list = 0; list < this.lists.size; list++) {
      let length = 0
      let before = 0
      for (let entry = this.head[list]; entry !== 0; entry = this.next[entry]) {
        if (this.previous[entry] !== before)
          throw new Error(`recent list ${list}: entry ${entry} has a wrong neighbour`)
        if (this.lookup(list, this.client[entry]) !== entry) throw new Error(`recent entry ${entry} is not found`)
        before = entry
        length++
      }
      if (before !== this.tail[list]) throw new Error(`recent list ${list} does not end at its tail`)
      if (length !== this.lists.counts[list])
        throw new Error(`recent list ${list} holds ${length} clients, not its count`)
      if (length > RECENT_LIST_CLIENTS) throw new Error(`recent list ${list} holds ${length} clients`)
      natSource += length
    }
    if (natSource !== this.used) throw new Error(`${natSource} recent entries in lists, ${this.used} counted`)
  }

  private listOf(node: NodeId, endpoint: EndpointId): number {
    const list = this.lists.index(node, endpoint)
    while (this.head.length <= list) {
      this.head.push(0)
      this.tail.push(0)
    }
    return list
  }

  private lookup(list: number, client: AddressId): number {
    const mask = this.slots.length - 1
    for (let i = home(list, client) & mask; ; i = (i + 1) & mask) {
      const entry = this.slots[i]
      if (entry === 0 || (this.list[entry] === list && this.client[entry] === client)) return entry
    }
  }

  private take(): number {
    if (this.free !== 0) {
      const entry = this.free
      this.free = this.next[entry]
      return entry
    }
    if (this.entries === this.client.length) this.grow()
    return this.entries++
  }

  private remove(entry: number): void {
    this.unlink(entry)
    this.removeSlot(entry)
    this.lists.counts[this.list[entry]]--
    this.next[entry] = this.free
    this.free = entry
    this.used--
  }

  private unlink(entry: number): void {
    const list = this.list[entry]
    const before = this.previous[entry]
    const after = this.next[entry]
    if (before === 0) this.head[list] = after
    else this.next[before] = after
    if (after === 0) this.tail[list] = before
    else this.previous[after] = before
  }

  private addSlot(entry: number): void {
    const mask = this.slots.length - 1
    let i = home(this.list[entry], this.client[entry]) & mask
    while (this.slots[i] !== 0) i = (i + 1) & mask
    this.slots[i] = entry
  }

  private removeSlot(entry: number): void {
    const { slots } = this
    const mask = slots.length - 1
    let hole = home(this.list[entry], this.client[entry]) & mask
    while (slots[hole] !== entry) hole = (hole + 1) & mask
    for (let i = (hole + 1) & mask; slots[i] !== 0; i = (i + 1) & mask) {
      const from = home(this.list[slots[i]], this.client[slots[i]]) & mask
      if (((i - from) & mask) >= ((i - hole) & mask)) {
        slots[hole] = slots[i]
        hole = i
      }
    }
    slots[hole] = 0
  }

  private grow(): void {
    const wider = (column: Int32Array): Int32Array => {
      const longer = new Int32Array(column.length * 2)
      longer.set(column)
      return longer
    }
    this.client = wider(this.client)
    this.list = wider(this.list)
    const stamps = new Float64Array(this.stamp.length * 2)
    stamps.set(this.stamp)
    this.stamp = stamps
    this.next = wider(this.next)
    this.previous = wider(this.previous)
    this.slots = new Int32Array(this.client.length * 2)
    for (let list = 0; list < this.lists.size; list++) {
      for (let entry = this.head[list]; entry !== 0; entry = this.next[entry]) this.addSlot(entry)
    }
  }
}

function home(list: number, client: AddressId): number {
  return finish(mix(mix(0x63d83595, list), client))
}
