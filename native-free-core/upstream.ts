/**
 * The connections that proxies keep to backends: opened, kept idle, used again, closed.
 *
 * A proxy has workers, and a worker is what pools belong to, as nginx' processes have one each: at most `KEEPALIVE` idle
 * connections, least recently used ones closed first, none idle for longer than `IDLE_MS`, none older than `LIFE_MS` or of more
 * than `MAX_REQUESTS` requests. Each is a flow record behind those of the trace, and its packets go through the same functions and
 * leave the same conntrack entries, NAT mappings and hops as any other connection's.
 *
 * Invariants (`selfCheck`): each connection is in the free list, in one list of idle ones, or in use; links go both ways.
 * Layout: a free list and one doubly linked list of idle connections a worker, most recently used first, in Int32 arrays.
 * Cost: a reuse is a walk over idle connections to the first one of the target, an opening a connection's set-up and the packets of its handshake.
 * Source: ingress-nginx internal/ingress/controller/config/config.go (upstream-keepalive-connections 320, -timeout 60,
 * -time 1h, -requests 10000), linux net.ipv4.ip_local_port_range.
 */

import { REASON_NONE } from './drop-reasons.ts'
import {
  FLOW_ANSWERED,
  FLOW_CHAIN,
  FLOW_CLIENT,
  FLOW_DESTINATION,
  FLOW_DESTINATION_INDEX,
  FLOW_ENDPOINT,
  FLOW_ENTRY,
  FLOW_ENTRY2,
  FLOW_FIRST_NANOS,
  FLOW_FLAGS,
  FLOW_FORWARD_NANOS,
  FLOW_NEW,
  FLOW_OPEN,
  FLOW_PORTS,
  FLOW_SHIFT,
  FLOW_STATUS,
} from './flow-record.ts'
import { type AddressId, type EndpointId, nodeProtocolOf, type Port, portPair, type Shard, type Tick } from './kinds.ts'
import { FLAG_REPLY, PROTOCOL_TCP, TCP_ACK, TCP_FIN, TCP_SYN, wholeMs } from './packet.ts'
import type { QueueEvents } from './queue-events.ts'
import {
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  INGRESS_BROKEN,
  INGRESS_CROSS_NODE,
  INGRESS_EVICTED,
  INGRESS_IDLE_CLOSED,
  INGRESS_MASQUERADED,
  INGRESS_OPENED,
  INGRESS_REUSED,
  INGRESS_WORN,
  type ResultLayout,
} from './result.ts'
import { NO_RULES, type RuleColumns } from './rule-columns.ts'
import type { SlowPath } from './slow-path.ts'

export const KEEPALIVE = 320
const IDLE_MS = 60_000
/** When a connection was last used whose client is no more: long ago. */
const ORPHANED = -IDLE_MS
const LIFE_MS = 3_600_000
const MAX_REQUESTS = 10_000
const FIRST_PORT = 32_768
const PORTS = 28_232
/** Ports that are tried before one is taken that an entry still has. */
const PORT_TRIES = 64
/** IP and TCP headers; a SYN has options. */
const SYN_BYTES = 52
const ACK_BYTES = 40

export interface UpstreamParts {
  readonly flows: Int32Array
  readonly slowPath: SlowPath
  readonly log: QueueEvents
  readonly result: Float64Array
  readonly layout: ResultLayout
  /** Number of the first flow record that is an upstream connection's, and how many there are. */
  readonly firstFlow: number
  readonly capacity: number
  readonly shards: number
  /** Workers of all proxies together. */
  readonly groups: number
}

/** What a worker of a proxy connects to; reused from call to call. */
export interface Dialled {
  /** Of the proxy. */
  source: AddressId
  address: AddressId
  port: Port
  /** In the destination table: what is meant, a Service or a machine. */
  destinationIndex: number
  /** Of the target, where the proxy chose it itself, else -1. */
  endpoint: EndpointId
  /** Of `workers` of this proxy: their ports do not meet. */
  worker: number
  workers: number
}

export class Upstreams {
  rules: RuleColumns = NO_RULES
  /** By shard: the time at which an idle connection is to be closed next. */
  readonly dueMs: Float64Array

  private readonly parts: UpstreamParts
  /** By connection: its worker, target (address id and port), when it was opened and last used, requests; -1 links end lists. */
  private readonly group: Int32Array
  private readonly peer: Int32Array
  private readonly peerPort: Int32Array
  private readonly openedMs: Float64Array
  private readonly usedMs: Float64Array
  private readonly requests: Int32Array
  /** Endpoint id where the proxy chose it itself, else -1. */
  private readonly endpoint: Int32Array
  private readonly next: Int32Array
  private readonly previous: Int32Array
  /** By worker. */
  private readonly head: Int32Array
  private readonly tail: Int32Array
  private readonly idle: Int32Array
  private readonly ports: Int32Array
  private readonly shardOf: Int32Array
  private free = -1

  constructor(parts: UpstreamParts) {
    this.parts = parts
    const { capacity, groups, shards } = parts
    this.dueMs = new Float64Array(shards)
    this.group = new Int32Array(capacity)
    this.peer = new Int32Array(capacity)
    this.peerPort = new Int32Array(capacity)
    this.openedMs = new Float64Array(capacity)
    this.usedMs = new Float64Array(capacity)
    this.requests = new Int32Array(capacity)
    this.endpoint = new Int32Array(capacity)
    this.next = new Int32Array(capacity)
    this.previous = new Int32Array(capacity)
    this.head = new Int32Array(groups)
    this.tail = new Int32Array(groups)
    this.idle = new Int32Array(groups)
    this.ports = new Int32Array(groups)
    this.shardOf = new Int32Array(groups)
  }

  begin(): void {
    const { capacity } = this.parts
    for (let i = 0; i < capacity; i++) this.next[i] = i + 1 < capacity ? i + 1 : -1
    this.free = capacity > 0 ? 0 : -1
    this.head.fill(-1)
    this.tail.fill(-1)
    this.idle.fill(0)
    this.ports.fill(0)
    this.dueMs.fill(Number.MAX_SAFE_INTEGER)
  }

  /** Offset of a connection's flow record. */
  flowOf(upstream: number): number {
    return (this.parts.firstFlow + upstream) << FLOW_SHIFT
  }

  isOpen(upstream: number): boolean {
    const status = this.parts.flows[this.flowOf(upstream) + FLOW_STATUS] & 0xff
    return status >= FLOW_OPEN && status <= FLOW_CHAIN
  }

  /** The connection of a worker to a target that was used last of those that are idle, or -1; `closeIdle` comes first. */
  reuse(group: number, address: AddressId, port: Port): number {
    for (let at = this.head[group]; at >= 0; ) {
      const following = this.next[at]
      if (!this.isOpen(at)) {
        // Its pod has gone; the proxy has been told.
        this.unlink(at)
        this.release(at)
      } else if (this.peer[at] === address && this.peerPort[at] === port) {
        this.unlink(at)
        this.count(INGRESS_REUSED, 1)
        return at
      }
      at = following
    }
    return -1
  }

  /**
   * Opens a connection of a worker: SYN, SYN/ACK, ACK.
   * @returns  its number; or ~reason where it failed
   */
  open(shard: Shard, group: number, dialled: Dialled, tick: Tick): number {
    const at = this.free
    if (at < 0) throw new Error('upstream connections: more than the core was made for')
    this.free = this.next[at]
    const { flows, slowPath, log, result, layout } = this.parts
    const flow = this.flowOf(at)
    flows[flow + FLOW_CLIENT] = dialled.source
    flows[flow + FLOW_DESTINATION] = dialled.address
    flows[flow + FLOW_PORTS] = portPair(this.sourcePort(group, dialled), dialled.port)
    flows[flow + FLOW_STATUS] = FLOW_NEW | (PROTOCOL_TCP << 8)
    flows[flow + FLOW_DESTINATION_INDEX] = dialled.destinationIndex
    flows[flow + FLOW_ENTRY] = 0
    flows[flow + FLOW_ENTRY2] = 0
    const reason = slowPath.open(shard, flow, TCP_SYN, wholeMs(tick) | 0, tick | 0)
    if (reason !== REASON_NONE) {
      slowPath.countLoss(reason)
      log.lost(flow, tick)
      this.release(at)
      return ~reason
    }
    const { endpoint } = dialled
    this.endpoint[at] = endpoint
    if (endpoint >= 0) flows[flow + FLOW_ENDPOINT] = endpoint
    const { path } = slowPath
    log.aside(flow, tick, true)
    this.count(INGRESS_OPENED, 1)
    if (path.hops > 1) this.count(INGRESS_CROSS_NODE, 1)
    if (path.masqueraded !== 0) this.count(INGRESS_MASQUERADED, 1)
    const chosen = flows[flow + FLOW_ENDPOINT]
    if (chosen >= 0) {
      const words = layout.endpoints + chosen * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS
      result[words] = result[words] + 1
    }
    flows[flow + FLOW_FLAGS] |= FLOW_ANSWERED
    this.group[at] = group
    this.peer[at] = dialled.address
    this.peerPort[at] = dialled.port
    this.openedMs[at] = wholeMs(tick)
    this.requests[at] = 0
    this.shardOf[group] = shard
    this.own(shard, at, TCP_SYN | TCP_ACK | FLAG_REPLY, SYN_BYTES, tick)
    this.own(shard, at, TCP_ACK, ACK_BYTES, tick)
    return at
  }

  /** A packet on a connection. @returns REASON_NONE when it was delivered */
  step(shard: Shard, upstream: number, flags: number, length: number, tick: Tick): number {
    const { flows, slowPath } = this.parts
    const flow = this.flowOf(upstream)
    const reason = slowPath.step(shard, flow, flags, length, wholeMs(tick) | 0, tick | 0)
    // An entry that has gone is made anew by the rules, and they know nothing of the proxy's choice.
    if (this.endpoint[upstream] >= 0) flows[flow + FLOW_ENDPOINT] = this.endpoint[upstream]
    return reason
  }

  /** Path latency of its handshake, until it may be used. */
  setupNanos(upstream: number): number {
    const { flows } = this.parts
    const flow = this.flowOf(upstream)
    return flows[flow + FLOW_FIRST_NANOS] + flows[flow + FLOW_FORWARD_NANOS]
  }

  /** An exchange is over: the connection waits for the next one, or is closed where it has done enough. */
  giveBack(upstream: number, tick: Tick): void {
    const group = this.group[upstream]
    const shard = this.shardOf[group]
    this.requests[upstream]++
    if (!this.isOpen(upstream)) {
      this.release(upstream)
      return
    }
    if (this.requests[upstream] >= MAX_REQUESTS || wholeMs(tick) - this.openedMs[upstream] >= LIFE_MS) {
      this.count(INGRESS_WORN, 1)
      this.close(upstream, tick)
      return
    }
    const usedMs = wholeMs(tick)
    this.usedMs[upstream] = usedMs
    this.previous[upstream] = -1
    this.next[upstream] = this.head[group]
    if (this.head[group] >= 0) this.previous[this.head[group]] = upstream
    else this.tail[group] = upstream
    this.head[group] = upstream
    this.idle[group]++
    this.dueMs[shard] = Math.min(this.dueMs[shard], usedMs + IDLE_MS)
    if (this.idle[group] <= KEEPALIVE) return
    const last = this.tail[group]
    this.unlink(last)
    this.count(INGRESS_EVICTED, 1)
    this.close(last, tick)
  }

  /** Its client is no more, and time stands still: it is closed as soon as time goes on. */
  orphan(upstream: number): void {
    const group = this.group[upstream]
    this.usedMs[upstream] = ORPHANED
    this.next[upstream] = -1
    this.previous[upstream] = this.tail[group]
    if (this.tail[group] >= 0) this.next[this.tail[group]] = upstream
    else this.head[group] = upstream
    this.tail[group] = upstream
    this.idle[group]++
    this.dueMs[this.shardOf[group]] = 0
  }

  /** Closes what has been idle for too long in a shard's workers. */
  closeIdle(shard: Shard, tick: Tick): void {
    let due = Number.MAX_SAFE_INTEGER
    for (let group = 0; group < this.head.length; group++) {
      if (this.shardOf[group] !== shard) continue
      while (this.tail[group] >= 0 && this.usedMs[this.tail[group]] + IDLE_MS <= wholeMs(tick)) {
        this.expire(this.tail[group], tick)
      }
      if (this.tail[group] >= 0) due = Math.min(due, this.usedMs[this.tail[group]] + IDLE_MS)
    }
    this.dueMs[shard] = due
  }

  private expire(upstream: number, tick: Tick): void {
    this.unlink(upstream)
    if (this.usedMs[upstream] !== ORPHANED && this.isOpen(upstream)) this.count(INGRESS_IDLE_CLOSED, 1)
    this.close(upstream, tick)
  }

  /** The proxy is no more: nobody closes its idle connections. */
  drop(group: number): void {
    for (let at = this.head[group]; at >= 0; ) {
      const following = this.next[at]
      this.unlink(at)
      this.release(at)
      at = following
    }
  }

  /** FIN, FIN, ACK, by the proxy. The flow record is free afterwards; conntrack keeps its entries as long as it does. */
  close(upstream: number, tick: Tick): void {
    const shard = this.shardOf[this.group[upstream]]
    if (this.isOpen(upstream)) {
      this.own(shard, upstream, TCP_FIN | TCP_ACK, ACK_BYTES, tick)
      this.own(shard, upstream, TCP_FIN | TCP_ACK | FLAG_REPLY, ACK_BYTES, tick)
      this.own(shard, upstream, TCP_ACK, ACK_BYTES, tick)
    }
    this.release(upstream)
  }

  /** A packet on the way failed: nothing more can be sent on it. */
  broken(upstream: number): void {
    this.count(INGRESS_BROKEN, 1)
    this.release(upstream)
  }

  /** A packet of the proxy's own making, of no client: it costs the nodes CPU time. */
  private own(shard: Shard, upstream: number, flags: number, length: number, tick: Tick): void {
    const { slowPath, log } = this.parts
    const flow = this.flowOf(upstream)
    const reason = this.step(shard, upstream, flags, length, tick)
    if (reason === REASON_NONE) log.aside(flow, tick, false)
    else slowPath.countLoss(reason)
  }

  /** Workers take turns over the ports, so that no two of a proxy have the same. */
  private sourcePort(group: number, { source, address, port, worker, workers }: Dialled): number {
    const { conntrack } = this.parts.slowPath
    const node = this.rules.addressNode[source]
    const mine = Math.max(1, Math.floor(PORTS / workers))
    let taken = 0
    for (let tries = 0; tries < PORT_TRIES; tries++) {
      taken = FIRST_PORT + this.ports[group] * workers + worker
      this.ports[group] = (this.ports[group] + 1) % mine
      if (node < 0) break
      if (conntrack.find(source, address, portPair(taken, port), nodeProtocolOf(node, PROTOCOL_TCP)) === 0) break
    }
    return taken
  }

  /** @param inUse  connections that have been given out and not come back @throws Error naming the first thing that is wrong */
  selfCheck(inUse: number): void {
    const { capacity } = this.parts
    const natSource = new Uint8Array(capacity)
    const see = (at: number, what: string): void => {
      if (natSource[at] !== 0) throw new Error(`upstream connection ${at} is ${what} and somewhere else`)
      natSource[at] = 1
    }
    let free = 0
    for (let at = this.free; at >= 0; at = this.next[at], free++) see(at, 'free')
    let idle = 0
    for (let group = 0; group < this.head.length; group++) {
      let before = -1
      let count = 0
      for (let at = this.head[group]; at >= 0; at = this.next[at], count++) {
        see(at, `idle in worker ${group}`)
        if (this.group[at] !== group || this.previous[at] !== before) throw new Error(`worker ${group}: links broken`)
        before = at
      }
      if (this.tail[group] !== before || this.idle[group] !== count)
        throw new Error(`worker ${group}: its end or count`)
      idle += count
    }
    if (free + idle + inUse !== capacity) throw new Error(`${free} free, ${idle} idle, ${inUse} in use of ${capacity}`)
  }

  private unlink(upstream: number): void {
    const group = this.group[upstream]
    const before = this.previous[upstream]
    const after = this.next[upstream]
    if (before >= 0) this.next[before] = after
    else this.head[group] = after
    if (after >= 0) this.previous[after] = before
    else this.tail[group] = before
    this.idle[group]--
  }

  private release(upstream: number): void {
    this.parts.flows[this.flowOf(upstream) + FLOW_STATUS] = FLOW_NEW
    this.next[upstream] = this.free
    this.free = upstream
  }

  private count(counter: number, by: number): void {
    const { result, layout } = this.parts
    const at = layout.ingress + counter
    result[at] = result[at] + by
  }
}
