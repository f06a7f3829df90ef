/**
 * ClientIP affinity of one shard: which clients were sent to which endpoint lately, on which node.
 *
 * State lives per endpoint, as kube-proxy keeps it (an nftables set or an iptables `recent` list for each endpoint of a
 * service port): a client can stand in several endpoints' lists, and the first of them in rule order wins. Only a new
 * connection enters or renews; a lookup never does. Boundary: an entry made at t holds for a new connection at t + timeout
 * (xt_recent compares with >=) — the nftables timer has the same second in it within its own jiffy.
 * In ipvs mode the owner is a virtual server (frontend) in place of the service port.
 *
 * Layout: open addressing with linear probing, four words a slot: client id, owner × nodes + node, endpoint id + 1 (0 free),
 * expiry in ms (low 32 bits: they wrap, and only differences are compared). All entries of one (client, owner) lie in one probe run. The table doubles when half full: it is reached
 * by new connections only. Cost: one or two cache lines a lookup, 16 bytes an entry at a load of 0.25 to 0.5.
 * Source: pkg/proxy/{nftables,iptables}/proxier.go, net/netfilter/xt_recent.c, measurement.
 */

import { finish, mix } from './hash.ts'
import type { AddressId, EndpointId, Int32Column, Millis32 } from './kinds.ts'

const WORDS = 4
const CLIENT = 0
const OWNER = 1
const ENDPOINT = 2
const EXPIRES = 3

export class AffinityTable {
  private words: Int32Array = new Int32Array(64 * WORDS)
  private mask = 63
  private used = 0

  get size(): number {
    return this.used
  }

  clear(): void {
    this.words = new Int32Array(64 * WORDS)
    this.mask = 63
    this.used = 0
  }

  /**
   * The endpoint that a client is bound to: the first in rule order of those that hold it.
   *
   * @param members       endpoint ids in rule order
   * @param start, count  the endpoints that a new connection may be given
   * @returns             position within the set, or -1
   */
  find(
    client: AddressId,
    owner: number,
    nowMs: Millis32,
    members: Int32Column<EndpointId>,
    start: number,
    count: number,
  ): number {
    const { words, mask } = this
    let best = -1
    for (let i = home(client, owner) & mask; ; i = (i + 1) & mask) {
      const base = i * WORDS
      const endpoint = words[base + ENDPOINT]
      if (endpoint === 0) return best
      if (words[base + CLIENT] !== client || words[base + OWNER] !== owner || ((words[base + EXPIRES] - nowMs) | 0) < 0)
        continue
      for (let position = 0; position < count && (best < 0 || position < best); position++) {
        if (members[start + position] === endpoint - 1) best = position
      }
    }
  }

  /** Reads the place where the search for a client begins, for whoever will search soon. */
  prefetch(client: AddressId, owner: number): number {
    return this.words[(home(client, owner) & this.mask) * WORDS]
  }

  /** Enter a client into an endpoint's list, or start its time again. */
  renew(client: AddressId, owner: number, endpoint: EndpointId, expiresMs: Millis32): void {
    if (this.used * 2 > this.mask) this.grow()
    const { words, mask } = this
    let i = home(client, owner) & mask
    for (;;) {
      const base = i * WORDS
      if (words[base + ENDPOINT] === 0) break
      if (words[base + ENDPOINT] === endpoint + 1 && words[base + CLIENT] === client && words[base + OWNER] === owner) {
        words[base + EXPIRES] = expiresMs
        return
      }
      i = (i + 1) & mask
    }
    const base = i * WORDS
    words[base + CLIENT] = client
    words[base + OWNER] = owner
    words[base + ENDPOINT] = endpoint + 1
    words[base + EXPIRES] = expiresMs
    this.used++
  }

  /**
   * Drop entries that expired before `nowMs`, and those whose endpoint no rule names any more (its list is gone).
   * @param alive    by endpoint id
   * @param counts   live entries by node are added here
   * @param nodes    number of nodes, to tell an entry's own; the core's, which never changes
   */
  sweep(nowMs: Millis32, alive: Int32Array, counts: Int32Array, nodes: number): void {
    const { words } = this
    let dead = 0
    for (let base = 0; base < words.length; base += WORDS) {
      const endpoint = words[base + ENDPOINT]
      if (endpoint === 0) continue
      if (((words[base + EXPIRES] - nowMs) | 0) < 0 || alive[endpoint - 1] === 0) dead++
      else counts[words[base + OWNER] % nodes]++
    }
    if (dead > 0) this.rebuild(words.length / WORDS, nowMs, alive)
  }

  /** @throws Error naming the first broken invariant */
  selfCheck(): void {
    const { words, mask } = this
    let count = 0
    for (let i = 0; i <= mask; i++) {
      const base = i * WORDS
      if (words[base + ENDPOINT] === 0) continue
      count++
      for (let j = home(words[base], words[base + OWNER]) & mask; j !== i; j = (j + 1) & mask) {
        if (words[j * WORDS + ENDPOINT] === 0) throw new Error(`affinity slot ${i} cannot be reached from its home`)
      }
    }
    if (count !== this.used) throw new Error(`affinity holds ${count} entries, ${this.used} counted`)
  }

  private grow(): void {
    this.rebuild((this.mask + 1) * 2, null, null)
  }

  private rebuild(slots: number, nowMs: number | null, alive: Int32Array | null): void {
    const old = this.words
    this.words = new Int32Array(slots * WORDS)
    this.mask = slots - 1
    this.used = 0
    for (let base = 0; base < old.length; base += WORDS) {
      const endpoint = old[base + ENDPOINT]
      if (
        endpoint === 0 ||
        (nowMs !== null && ((old[base + EXPIRES] - nowMs) | 0) < 0) ||
        (alive !== null && alive[endpoint - 1] === 0)
      )
        continue
      this.renew(old[base + CLIENT], old[base + OWNER], endpoint - 1, old[base + EXPIRES])
    }
  }
}

function home(client: AddressId, owner: number): number {
  return finish(mix(mix(0x1b56c4e9, client), owner))
}
