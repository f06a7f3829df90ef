/**
 * UDP connections that ipvs still has when conntrack no longer does, of one shard.
 *
 * ipvs keeps a table of its own: client address and port, virtual server → endpoint, started again by each packet, 300 s for UDP
 * (ipvs.udpTimeout). Conntrack forgets UDP after 30 or 120 s of silence, or when early drop takes the entry. A packet that comes in between
 * makes a new conntrack entry, with a source port of its own where it is masqueraded, and goes to the endpoint that ipvs has: no scheduler
 * and no affinity is asked. While conntrack has an entry both end with the same packets, so only what has lost its entry stands here: it
 * comes when an entry goes, whose timer tells the last packet, and goes when the next packet makes a new one.
 *
 * Layout: open addressing with linear probing and no tombstones, eight words a slot, at most half of them taken. It doubles when it is full.
 * Cost: one or two cache lines a look; reached in ipvs mode only, by UDP entries that go and UDP packets without an entry.
 * Source: net/netfilter/ipvs/ip_vs_core.c (ip_vs_in_hook), ip_vs_conn.c, ip_vs_proto_udp.c, ip_vs_nfct.c (ip_vs_update_conntrack).
 */

import { hashTuple, type Tuple } from './hash.ts'
import type {
  AddressId,
  EndpointId,
  FrontendId,
  Millis32,
  NodeId,
  NodeProtocol,
  Port,
  PortPair,
  Protocol,
  TupleHash,
} from './kinds.ts'

const SHIFT = 3
const SOURCE = 0
const DESTINATION = 1
const PORTS = 2
/** node << 8 | protocol. */
const NODE_PROTOCOL = 3
/** Endpoint id + 1, 0 in a free slot. */
const ENDPOINT = 4
const FRONTEND = 5
/** Milliseconds of virtual time, low 32 bits: alive while it is later than now. */
const EXPIRES = 6
const HASH = 7

/** Called with a connection that ipvs forgets. */
export type Forgotten = (node: NodeId, frontend: FrontendId, endpoint: EndpointId) => void

export class IpvsConnections {
  private words: Int32Array = new Int32Array(64 << SHIFT)
  private mask = 63
  private used = 0

  get size(): number {
    return this.used
  }

  clear(): void {
    this.words = new Int32Array(64 << SHIFT)
    this.mask = 63
    this.used = 0
  }

  /** @param ports source << 16 | destination. @returns the slot of a connection, expired or not, for the calls below; -1 for none */
  find(source: AddressId, destination: AddressId, ports: PortPair, nodeProtocol: NodeProtocol): number {
    const { words, mask } = this
    for (let i = hashTuple(source, destination, ports, nodeProtocol) & mask; ; i = (i + 1) & mask) {
      const at = i << SHIFT
      if (words[at + ENDPOINT] === 0) return -1
      if (
        words[at + SOURCE] === source &&
        words[at + DESTINATION] === destination &&
        words[at + PORTS] === ports &&
        words[at + NODE_PROTOCOL] === nodeProtocol
      ) {
        return i
      }
    }
  }

  endpoint(slot: number): number {
    return this.words[(slot << SHIFT) + ENDPOINT] - 1
  }

  frontend(slot: number): number {
    return this.words[(slot << SHIFT) + FRONTEND]
  }

  isAlive(slot: number, nowMs: Millis32): boolean {
    return ((this.words[(slot << SHIFT) + EXPIRES] - nowMs) | 0) > 0
  }

  /** A connection that is not there yet loses its conntrack entry. @param expiresMs when ipvs will forget it */
  add(tuple: Tuple, endpoint: EndpointId, frontend: FrontendId, expiresMs: Millis32): void {
    const { source, destination, ports, nodeProtocol } = tuple
    if (this.used * 2 > this.mask) this.grow()
    const { words } = this
    const hash = hashTuple(source, destination, ports, nodeProtocol)
    const at = this.freeFrom(hash) << SHIFT
    words[at + SOURCE] = source
    words[at + DESTINATION] = destination
    words[at + PORTS] = ports
    words[at + NODE_PROTOCOL] = nodeProtocol
    words[at + ENDPOINT] = endpoint + 1
    words[at + FRONTEND] = frontend
    words[at + EXPIRES] = expiresMs
    words[at + HASH] = hash
    this.used++
  }

  /** Takes a connection out. Slots that were known before mean nothing afterwards. */
  remove(slot: number): void {
    const { words, mask } = this
    let hole = slot
    for (let i = (slot + 1) & mask; words[(i << SHIFT) + ENDPOINT] !== 0; i = (i + 1) & mask) {
      const first = words[(i << SHIFT) + HASH] & mask
      // What began its search behind the hole is found without it.
      if (((i - first) & mask) < ((i - hole) & mask)) continue
      words.copyWithin(hole << SHIFT, i << SHIFT, (i + 1) << SHIFT)
      hole = i
    }
    words[(hole << SHIFT) + ENDPOINT] = 0
    this.used--
  }

  /** Connections that have expired go. */
  sweep(nowMs: Millis32, forgotten: Forgotten): void {
    if (this.used === 0) return
    this.keep((at) => ((this.words[at + EXPIRES] - nowMs) | 0) > 0, forgotten)
  }

  /**
   * Connections whose endpoint is none of their virtual server's any more go: kube-proxy has expire_nodest_conn set.
   * @param isServed  source, destination and port that were dialled, protocol, node, endpoint
   */
  keepServed(
    isServed: (
      source: AddressId,
      destination: AddressId,
      port: Port,
      protocol: Protocol,
      node: NodeId,
      endpoint: EndpointId,
    ) => boolean,
    forgotten: Forgotten,
  ): void {
    if (this.used === 0) return
    this.keep((at) => {
      const { words } = this
      const nodeProtocol = words[at + NODE_PROTOCOL]
      return isServed(
        words[at + SOURCE],
        words[at + DESTINATION],
        words[at + PORTS] & 0xffff,
        nodeProtocol & 0xff,
        nodeProtocol >> 8,
        words[at + ENDPOINT] - 1,
      )
    }, forgotten)
  }

  /** @throws Error naming the first broken invariant */
  selfCheck(): void {
    const { words, mask } = this
    let count = 0
    for (let i = 0; i <= mask; i++) {
      const at = i << SHIFT
      if (words[at + ENDPOINT] === 0) continue
      count++
      const found = this.find(words[at + SOURCE], words[at + DESTINATION], words[at + PORTS], words[at + NODE_PROTOCOL])
      if (found !== i) throw new Error(`ipvs connection in slot ${i} is found in slot ${found}`)
    }
    if (count !== this.used) throw new Error(`ipvs holds ${count} connections, ${this.used} counted`)
  }

  private keep(stays: (at: number) => boolean, forgotten: Forgotten): void {
    const { words } = this
    let gone = 0
    for (let at = 0; at < words.length; at += 1 << SHIFT) {
      if (words[at + ENDPOINT] === 0 || stays(at)) continue
      forgotten(words[at + NODE_PROTOCOL] >> 8, words[at + FRONTEND], words[at + ENDPOINT] - 1)
      words[at + ENDPOINT] = 0
      gone++
    }
    if (gone > 0) this.rebuild(this.mask + 1)
  }

  private grow(): void {
    this.rebuild((this.mask + 1) * 2)
  }

  private rebuild(slots: number): void {
    const old = this.words
    this.words = new Int32Array(slots << SHIFT)
    this.mask = slots - 1
    this.used = 0
    for (let at = 0; at < old.length; at += 1 << SHIFT) {
      if (old[at + ENDPOINT] === 0) continue
      this.words.set(old.subarray(at, at + (1 << SHIFT)), this.freeFrom(old[at + HASH]) << SHIFT)
      this.used++
    }
  }

  private freeFrom(hash: TupleHash): number {
    const { words, mask } = this
    let i = hash & mask
    while (words[(i << SHIFT) + ENDPOINT] !== 0) i = (i + 1) & mask
    return i
  }
}
