/**
 * HTTP proxies: what a request on a client's connection sets off behind the proxy that the connection leads to.
 *
 * `compile` has routed every request of the trace already (host, path and method are numbers here): a *route* is a status and,
 * for 200, a backend, and a backend is a run of targets for each way a proxy may go. A worker of the proxy picks a target in turn
 * (round robin, one pointer a worker and backend, from a random start), takes an idle connection to it or opens one, and from
 * then on what the client sends goes on over it at once, and what the trace's answers bring came over it. When the answer is
 * whole the connection goes back to its worker's pool. A request that the proxy answers itself goes no further.
 *
 * A client's connection belongs to one worker, by a hash of it as SO_REUSEPORT has it; workers are dealt out over the shards, so
 * that pools and pointers are exact, whatever the number of threads.
 * Cost: a relayed packet is one of either connection and a few look-ups, and what upstream.ts says; allocates nothing but at the beginning of a run.
 * Source: ingress-nginx rootfs/etc/nginx/lua/balancer.lua, lua-resty-balancer; nginx proxy_next_upstream_tries 3.
 */

import { REASON_NONE, REASONS, REJECT } from './drop-reasons.ts'
import {
  FLOW_BACKEND,
  FLOW_CLIENT,
  FLOW_DESTINATION,
  FLOW_EDGE,
  FLOW_ENDPOINT,
  FLOW_FORWARD_NANOS,
  FLOW_NAT_SOURCE,
  FLOW_PORTS,
  FLOW_SHIFT,
  FLOW_STATUS,
} from './flow-record.ts'
import { below, draw, finish, mix, PURPOSE_PROXY_TARGET, PURPOSE_PROXY_WORKER } from './hash.ts'
import type { AddressId, FlowOffset, Shard, Tick } from './kinds.ts'
import {
  FLAG_REPLY,
  FLAG_REQUEST,
  type RequestColumns,
  TCP_FIN,
  TCP_PSH,
  TCP_RST,
  UNKNOWN_BYTES,
  wholeMs,
} from './packet.ts'
import type { QueueEvents } from './queue-events.ts'
import {
  ENDPOINT_BYTES,
  ENDPOINT_PACKETS,
  ENDPOINT_WORDS,
  INGRESS_ABORTED,
  INGRESS_CLIENT_SEEN,
  INGRESS_CONNECTIONS,
  INGRESS_REFUSED,
  INGRESS_REQUESTS,
  INGRESS_TIMED_OUT,
  INGRESS_UNAVAILABLE,
  PROXY_CONNECTIONS,
  PROXY_REQUESTS,
  PROXY_WORDS,
  type ResultLayout,
} from './result.ts'
import {
  ADDRESS_LIVE,
  familyOf,
  NO_RULES,
  PROXY_WAYS,
  type RuleColumns,
  TARGET_ADDRESS,
  TARGET_ENDPOINT,
  TARGET_MEANING,
  TARGET_PORT,
  TARGET_WORDS,
  WAY_PROXY,
} from './rule-columns.ts'
import type { SlowPath } from './slow-path.ts'
import { type Dialled, Upstreams } from './upstream.ts'

/** Targets that are tried for one request. */
const TRIES = 3
/** By family: IP and TCP without options, as the bytes of a message are told from those of its packets. */
const HEADER_BYTES = [40, 60] as const

export interface ProxyParts {
  readonly flows: Int32Array
  readonly slowPath: SlowPath
  readonly log: QueueEvents
  readonly result: Float64Array
  readonly layout: ResultLayout
  readonly requests: RequestColumns
  readonly shards: number
  /** Flow records of the trace, then those of upstream connections. */
  readonly connections: number
  readonly upstreams: number
  /** Workers of all proxies together. */
  readonly groups: number
}

export class Proxies {
  readonly upstreams: Upstreams
  private rules: RuleColumns = NO_RULES
  private seed = 0
  private readonly parts: ProxyParts
  /**
   * By flow record of the trace: upstream connection + 1 of the exchange under way, bytes of its answer to come, worker + 1, and
   * who opened it (the flow record's client is a balancer where one proxies in front of the proxy).
   */
  private readonly upstreamOf: Int32Array
  private readonly answerLeft: Float64Array
  private readonly groupOf: Int32Array
  private readonly clientOf: Int32Array
  private readonly dialled: Dialled = {
    source: -1,
    address: -1,
    port: 0,
    destinationIndex: 0,
    endpoint: -1,
    worker: 0,
    workers: 1,
  }
  /** By proxy: its first worker. */
  private groupStart: Int32Array = new Int32Array(0)
  /** By worker × backends × ways: the target that was last given a request, or -1. */
  private turn: Int32Array = new Int32Array(0)

  constructor(parts: ProxyParts) {
    this.parts = parts
    const { connections } = parts
    this.upstreams = new Upstreams({ ...parts, firstFlow: connections, capacity: parts.upstreams })
    this.upstreamOf = new Int32Array(connections)
    this.answerLeft = new Float64Array(connections)
    this.groupOf = new Int32Array(connections)
    this.clientOf = new Int32Array(connections)
  }

  begin(seed: number): void {
    this.seed = seed
    this.upstreamOf.fill(0)
    this.groupOf.fill(0)
    this.turn.fill(-1)
    this.upstreams.begin()
  }

  take(rules: RuleColumns): void {
    this.rules = rules
    this.upstreams.rules = rules
    const { proxyWorkers } = rules
    this.groupStart = new Int32Array(proxyWorkers.length + 1)
    for (let i = 0; i < proxyWorkers.length; i++) this.groupStart[i + 1] = this.groupStart[i] + proxyWorkers[i]
    const turns = this.parts.groups * rules.backendStart.length
    if (turns !== this.turn.length) this.turn = new Int32Array(turns).fill(-1)
    for (let proxy = 0; proxy < proxyWorkers.length; proxy++) if (this.isDeleted(proxy)) this.dropPools(proxy)
  }

  /** A pod that is no more; balancers outside the cluster stay. */
  private isDeleted(proxy: number): boolean {
    const { proxyWay, proxySource, addressFlags } = this.rules
    const isAlive = (source: AddressId): boolean => source >= 0 && (addressFlags[source] & ADDRESS_LIVE) !== 0
    return proxyWay[proxy] === WAY_PROXY && !isAlive(proxySource[proxy * 2]) && !isAlive(proxySource[proxy * 2 + 1])
  }

  private dropPools(proxy: number): void {
    for (let group = this.groupStart[proxy]; group < this.groupStart[proxy + 1]; group++) this.upstreams.drop(group)
  }

  /** A slot is given to another connection: what its last one left under way is closed when time goes on. */
  define(flow: FlowOffset, client: AddressId): void {
    const index = flow >> FLOW_SHIFT
    this.groupOf[index] = 0
    this.clientOf[index] = client
    if (this.upstreamOf[index] === 0) return
    this.count(INGRESS_ABORTED, 1)
    this.upstreams.orphan(this.upstreamOf[index] - 1)
    this.upstreamOf[index] = 0
  }

  /** Idle connections whose time has come. */
  advance(shard: Shard, tick: Tick): void {
    if (this.upstreams.dueMs[shard] <= wholeMs(tick)) this.upstreams.closeIdle(shard, tick)
  }

  /** The client's connection is no more. */
  abandon(flow: FlowOffset, tick: Tick): void {
    const index = flow >> FLOW_SHIFT
    const upstream = this.upstreamOf[index] - 1
    if (upstream < 0) return
    this.upstreamOf[index] = 0
    this.count(INGRESS_ABORTED, 1)
    this.upstreams.close(upstream, tick)
  }

  /**
   * A packet of a client's connection that has got to, or comes from, its proxy: what it does behind the proxy, and the
   * hops of its whole way.
   * @param request  number in the request columns + 1 where it begins one, else 0
   */
  packet(shard: Shard, flow: FlowOffset, flags: number, length: number, request: number, tick: Tick): void {
    const { flows, log } = this.parts
    const extra = this.begins(shard, flow, flags, request, tick)
    const upstream = this.relay(shard, flow, flags, length, tick)
    const behind = upstream < 0 ? -1 : this.upstreams.flowOf(upstream)
    const forward =
      flows[flow + FLOW_FORWARD_NANOS] + Math.max(0, extra) + (behind < 0 ? 0 : flows[behind + FLOW_FORWARD_NANOS])
    const podQueue = extra < 0 ? -1 : this.podQueueOf(flow)
    log.through(flow, behind, podQueue, tick, forward, length)
    if (behind >= 0) this.countBehind(behind, length)
    if (behind >= 0 && (flags & (FLAG_REPLY | TCP_PSH)) === TCP_PSH) log.serve(behind, tick, forward, length)
    this.afterPacket(flow, flags, length, tick)
  }

  /**
   * The same for the first packet of a direction, which in a trace that begins in mid-flow may be part of an exchange: its
   * own hops and latency have been written down already.
   */
  first(shard: Shard, flow: FlowOffset, flags: number, length: number, request: number, tick: Tick): void {
    this.begins(shard, flow, flags, request, tick)
    const upstream = this.relay(shard, flow, flags, length, tick)
    if (upstream >= 0) {
      const behind = this.upstreams.flowOf(upstream)
      this.parts.log.aside(behind, tick, false)
      this.countBehind(behind, length)
    }
    this.afterPacket(flow, flags, length, tick)
  }

  /** @returns nanoseconds that a request which the packet begins waits for its connection, -1 where it begins none */
  private begins(shard: Shard, flow: FlowOffset, flags: number, request: number, tick: Tick): number {
    const index = flow >> FLOW_SHIFT
    // Exact for what a request may find in a pool; `advance` before each batch is for those that nobody asks.
    this.advance(shard, tick)
    if ((flags & FLAG_REQUEST) === 0 || request === 0) return -1
    if (this.upstreamOf[index] !== 0) this.finishExchange(index, tick)
    return this.request(shard, flow, request - 1, tick)
  }

  /** @returns the upstream connection that the packet has gone over, -1 for none */
  private relay(shard: Shard, flow: FlowOffset, flags: number, length: number, tick: Tick): number {
    const index = flow >> FLOW_SHIFT
    const upstream = this.upstreamOf[index] - 1
    if (upstream < 0 || (flags & TCP_RST) !== 0) return -1
    // A FIN ends the client's connection alone; what it brings goes on.
    if ((flags & TCP_FIN) !== 0 && this.payload(flow, length) === 0) return -1
    const reason = this.upstreams.isOpen(upstream)
      ? this.upstreams.step(shard, upstream, flags & ~(FLAG_REQUEST | TCP_FIN), length, tick)
      : -1
    if (reason === REASON_NONE) return upstream
    if (reason > 0) this.parts.slowPath.countLoss(reason)
    this.upstreamOf[index] = 0
    this.upstreams.broken(upstream)
    return -1
  }

  private afterPacket(flow: FlowOffset, flags: number, length: number, tick: Tick): void {
    const index = flow >> FLOW_SHIFT
    if (this.upstreamOf[index] === 0) return
    const isUnknown = this.answerLeft[index] === UNKNOWN_BYTES
    if ((flags & FLAG_REPLY) !== 0 && !isUnknown) this.answerLeft[index] -= this.payload(flow, length)
    const isOver = this.answerLeft[index] <= 0
    if (isOver) this.finishExchange(index, tick)
    else if ((flags & (TCP_FIN | TCP_RST)) !== 0) {
      // An answer of unknown length ends with the connection; any other has been cut short, and so has all that a client resets.
      const isReset = (flags & (TCP_RST | FLAG_REPLY)) === TCP_RST
      if (isUnknown && !isReset) this.finishExchange(index, tick)
      else this.abandon(flow, tick)
    }
  }

  private payload(flow: FlowOffset, length: number): number {
    return Math.max(0, length - HEADER_BYTES[familyOf(this.rules, this.parts.flows[flow + FLOW_DESTINATION])])
  }

  private finishExchange(index: number, tick: Tick): void {
    const upstream = this.upstreamOf[index] - 1
    this.upstreamOf[index] = 0
    this.upstreams.giveBack(upstream, tick)
  }

  /** A request has come. @returns nanoseconds until it can go on: the handshake of a new connection */
  private request(shard: Shard, flow: FlowOffset, number: number, tick: Tick): number {
    const { rules, upstreams } = this
    const index = flow >> FLOW_SHIFT
    const { requests, result, layout } = this.parts
    const proxy = this.proxyOf(flow)
    if (proxy < 0) return 0
    const group = this.groupFor(shard, flow, proxy)
    const route = rules.requestRoute[this.routesFor(flow, proxy) + requests.request[number]]
    result[layout.routes + route]++
    result[layout.proxies + proxy * PROXY_WORDS + PROXY_REQUESTS]++
    this.count(INGRESS_REQUESTS, 1)
    // Without an answer the exchange lasts until the next request, as one of unknown length does.
    this.answerLeft[index] = requests.responseBytes[number] || UNKNOWN_BYTES
    const backend = rules.routeBackend[route]
    if (backend < 0) return 0
    const run = backend * PROXY_WAYS + rules.proxyWay[proxy]
    const count = rules.backendCount[run]
    if (count === 0) {
      this.count(INGRESS_UNAVAILABLE, 1)
      return 0
    }
    let reason: number = REASON_NONE
    for (let tries = 0; tries < Math.min(count, TRIES); tries++) {
      const target = (rules.backendStart[run] + this.nextTurn(group, run, count)) * TARGET_WORDS
      const idle = upstreams.reuse(group, rules.targets[target + TARGET_ADDRESS], rules.targets[target + TARGET_PORT])
      const upstream = idle >= 0 ? idle : this.connect(shard, group, proxy, target, tick)
      if (upstream < 0) {
        reason = ~upstream
        continue
      }
      this.upstreamOf[index] = upstream + 1
      const endpoint = this.parts.flows[upstreams.flowOf(upstream) + FLOW_ENDPOINT]
      if (endpoint >= 0) result[layout.endpointRequests + endpoint]++
      return idle >= 0 ? 0 : upstreams.setupNanos(upstream)
    }
    // A socket without an address of the target's family: the network is unreachable, which is known at once as a refusal is.
    const isRefused = reason === REASON_NONE || REASONS[reason].verdict === REJECT
    this.count(isRefused ? INGRESS_REFUSED : INGRESS_TIMED_OUT, 1)
    return 0
  }

  /** @returns a new connection to a target, or ~reason; ~REASON_NONE where the proxy has no address of the target's family */
  private connect(shard: Shard, group: number, proxy: number, target: number, tick: Tick): number {
    const { rules, upstreams, dialled } = this
    const { targets } = rules
    const address = targets[target + TARGET_ADDRESS]
    const source = rules.proxySource[proxy * 2 + familyOf(rules, address)]
    if (source < 0) return ~REASON_NONE
    dialled.source = source
    dialled.address = address
    dialled.port = targets[target + TARGET_PORT]
    // The last two destinations stand for any machine and for any Service.
    dialled.destinationIndex = rules.destinationAddress.length - 2 + targets[target + TARGET_MEANING]
    dialled.endpoint = targets[target + TARGET_ENDPOINT]
    dialled.worker = group - this.groupStart[proxy]
    dialled.workers = rules.proxyWorkers[proxy]
    return upstreams.open(shard, group, dialled, tick)
  }

  private nextTurn(group: number, run: number, count: number): number {
    const at = group * this.rules.backendStart.length + run
    const last = this.turn[at]
    const turn = last < 0 ? below(draw(this.seed, group, run, PURPOSE_PROXY_TARGET), count) : (last + 1) % count
    this.turn[at] = turn
    return turn
  }

  /** The worker that a connection is with: one of those that belong to its shard. */
  private groupFor(shard: Shard, flow: FlowOffset, proxy: number): number {
    const index = flow >> FLOW_SHIFT
    const known = this.groupOf[index] - 1
    if (known >= this.groupStart[proxy] && known < this.groupStart[proxy + 1]) return known
    const { flows, shards, result, layout } = this.parts
    const workers = this.rules.proxyWorkers[proxy]
    const random = finish(mix(mix(flows[flow + FLOW_CLIENT], flows[flow + FLOW_PORTS]), proxy))
    const here = Math.max(1, Math.floor(workers / shards))
    const worker = (shard % workers) + shards * below(draw(this.seed, random, 0, PURPOSE_PROXY_WORKER), here)
    const group = this.groupStart[proxy] + Math.min(worker, workers - 1)
    this.groupOf[index] = group + 1
    // A connection that was opened again may have got to another proxy.
    if (known >= 0) return group
    this.count(INGRESS_CONNECTIONS, 1)
    result[layout.proxies + proxy * PROXY_WORDS + PROXY_CONNECTIONS]++
    if (this.clientAt(flow, proxy) === this.clientOf[index]) this.count(INGRESS_CLIENT_SEEN, 1)
    return group
  }

  /** Whom the proxy takes for the client: a balancer at the edge whom it talks to, a proxy behind a node what NAT has left. */
  private clientAt(flow: FlowOffset, proxy: number): number {
    const { flows } = this.parts
    const isEdge = (flows[flow + FLOW_STATUS] & 0xff) === FLOW_EDGE
    return isEdge || this.rules.proxyTold[proxy] !== 0
      ? this.clientOf[flow >> FLOW_SHIFT]
      : flows[flow + FLOW_NAT_SOURCE]
  }

  /** Where the routes of a proxy for the class of the connection's client begin. */
  private routesFor(flow: FlowOffset, proxy: number): number {
    const { addressClass, proxyRoutes, proxyWay } = this.rules
    const client = addressClass.length === 0 ? -1 : this.clientAt(flow, proxy)
    const known = client >= 0 && client < addressClass.length
    const classes = Math.floor(proxyRoutes.length / proxyWay.length)
    return proxyRoutes[proxy * classes + (known ? addressClass[client] : 0)]
  }

  private proxyOf(flow: FlowOffset): number {
    const { addressProxy } = this.rules
    const address = this.parts.flows[flow + FLOW_BACKEND]
    return address < addressProxy.length ? addressProxy[address] : -1
  }

  /** The proxy's pod as a queue, -1 for one outside the cluster. */
  private podQueueOf(flow: FlowOffset): number {
    const { addressPodQueue } = this.rules
    const backend = this.parts.flows[flow + FLOW_BACKEND]
    return backend < addressPodQueue.length ? addressPodQueue[backend] : -1
  }

  private countBehind(flow: FlowOffset, length: number): void {
    const { flows, result, layout } = this.parts
    const endpoint = flows[flow + FLOW_ENDPOINT]
    if (endpoint < 0) return
    const at = layout.endpoints + endpoint * ENDPOINT_WORDS
    result[at + ENDPOINT_PACKETS] = result[at + ENDPOINT_PACKETS] + 1
    result[at + ENDPOINT_BYTES] = result[at + ENDPOINT_BYTES] + length
  }

  private count(counter: number, by: number): void {
    const { result, layout } = this.parts
    const at = layout.ingress + counter
    result[at] = result[at] + by
  }
}
