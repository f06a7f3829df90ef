/**
 * What the shards write down for the nodes' CPU queues, and the latencies that come of it.
 *
 * Every packet that is let through leaves one hop for each node it crosses (`cpu-queues.ts` has their layout), and one more in the pod
 * where it ends a request and pods are queues; so do the questions that names need answered. The step over and the queues run, `settle` adds the waits up, records path latency and takes back what a full backlog dropped. Without columns
 * nothing waits and latencies are recorded at once, as `explain` and small tests want it.
 *
 * Arrival: the trace's time, and one-way propagation later on the second node that the packet meets. A packet that is looked at
 * and not let through costs its first node the CPU time all the same.
 * Cost: 3 stores a hop while packets go through, and one more pass over them at the end of a step; allocates nothing.
 */

import { establishedCost } from './cost-model.ts'
import {
  HOP_ANSWERS,
  HOP_FIRST,
  HOP_LAST,
  HOP_LOST,
  HOP_QUERY,
  HOP_REQUEST,
  type HopColumns,
  hopColumns,
  WAIT_DROPPED,
} from './cpu-queues.ts'
import type { PacketSink } from './dns-client.ts'
import { REASON_BACKLOG_FULL, REASON_POD_QUEUE_FULL } from './drop-reasons.ts'
import {
  FLOW_ANSWERED,
  FLOW_BACKEND,
  FLOW_CHAIN,
  FLOW_CLIENT,
  FLOW_CORE_SHIFT,
  FLOW_CORE2_SHIFT,
  FLOW_EDGE,
  FLOW_ENDPOINT,
  FLOW_FAILED,
  FLOW_FIRST_NANOS,
  FLOW_FLAGS,
  FLOW_FORWARD_NANOS,
  FLOW_MASQUERADED,
  FLOW_NODE_PROTOCOL,
  FLOW_PORTS,
  FLOW_SHIFT,
  FLOW_STATUS,
} from './flow-record.ts'
import { draw, finish, mix, PURPOSE_SERVICE } from './hash.ts'
import { bucketOf, HISTOGRAM_MAX, HISTOGRAM_SUM } from './histogram.ts'
import type { FlowOffset, Nanos, NodeId, RandomWord, Tick } from './kinds.ts'
import { NANOS_PER_TICK } from './packet.ts'
import type { Path } from './path.ts'
import {
  ENDPOINT_BYTES,
  ENDPOINT_PACKETS,
  ENDPOINT_WORDS,
  LATENCY_LENGTH,
  POD_QUEUE_REQUESTS,
  POD_QUEUE_WORDS,
  type ResultLayout,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_BROKEN,
} from './result.ts'
import {
  NO_RULES,
  type RuleColumns,
  SETTING_COST_FIRST_P50,
  SETTING_SERVICE_EXPONENTIAL,
  SETTING_ZONES,
} from './rule-columns.ts'
import { SERIES_SHIFT, type Series } from './series.ts'
import type { SlowPath } from './slow-path.ts'

const CHUNK = 512
/** The most that a flow record's latency can hold, 2.1 s; a histogram's last bucket. */
const MAX_NANOS = 0x7fffffff
/** Nodes of a connection's path. */
const MAX_LEGS = 3

export interface QueueEventsParts {
  readonly nodes: number
  readonly flows: Int32Array
  readonly thirdEntries: Int32Array
  readonly slowPath: SlowPath
  readonly result: Float64Array
  readonly layout: ResultLayout
  readonly endpoints: number
  /** null: record at once. */
  readonly columns: HopColumns | null
  readonly series: Series
}

export class QueueEvents implements PacketSink {
  /** Hops written in this step. */
  count = 0
  /** Tick that the step's times count from. */
  stepBase = 0
  /** CPU time of a packet of a known flow, without and with masquerade. */
  readonly flowCosts: Int32Array = new Int32Array(2)
  /** Zone of each node (0 for none), and one-way ticks by pair of zones. */
  readonly zones: Int32Array
  zoneCount = 1
  propagationTicks: Int32Array = new Int32Array(1)
  readonly hopTime: Uint32Array
  readonly hopServer: Int32Array
  readonly hopCost: Uint32Array
  /** Of a packet's last hop: its flow record, its latency without waiting, its latency slot << 16 | its length. */
  readonly hopFlow: Int32Array
  readonly hopNanos: Uint32Array
  readonly hopMeta: Uint32Array
  /** By endpoint id + 1: the latency slot of its Service port. */
  readonly slotOf: Uint16Array

  private readonly hopWait: Uint32Array
  private readonly queued: boolean
  private readonly flows: Int32Array
  private readonly third: Int32Array
  private readonly slowPath: SlowPath
  private readonly result: Float64Array
  private readonly layout: ResultLayout
  private readonly nodes: number
  private readonly series: Series
  private lostCost = 0
  private seed = 0
  private rules: RuleColumns = NO_RULES
  /** The connection that is being opened, and its packet's tick. */
  private openingFlow = 0
  private openingTick = 0
  /** Of the packet whose hops are being added up. */
  private waited = 0
  private dropped = false
  /** What dropped it was the queue of a pod on its way, not a node's. */
  private fullPod = false
  /** Of the packet before it: latency with its waits, -1 where it was dropped. */
  private before = -1

  constructor(parts: QueueEventsParts) {
    this.queued = parts.columns !== null
    const columns = parts.columns ?? hopColumns(new ArrayBuffer(0), 0, 0)
    this.hopTime = columns.time
    this.hopServer = columns.server
    this.hopCost = columns.cost
    this.hopWait = columns.wait
    const capacity = columns.time.length
    this.hopFlow = new Int32Array(capacity)
    this.hopNanos = new Uint32Array(capacity)
    this.hopMeta = new Uint32Array(capacity)
    this.slotOf = new Uint16Array(parts.endpoints + 1)
    this.nodes = parts.nodes
    this.series = parts.series
    this.zones = new Int32Array(parts.nodes)
    this.flows = parts.flows
    this.third = parts.thirdEntries
    this.slowPath = parts.slowPath
    this.result = parts.result
    this.layout = parts.layout
  }

  begin(seed: number): void {
    this.seed = seed
  }

  take(rules: RuleColumns): void {
    this.rules = rules
    this.zones.set(rules.nodeZone.map((zone) => zone + 1))
    this.zoneCount = rules.settings[SETTING_ZONES] + 1
    this.propagationTicks = rules.propagation.map((nanos) => Math.round(nanos / NANOS_PER_TICK))
    this.flowCosts[0] = establishedCost(rules, false)
    this.flowCosts[1] = establishedCost(rules, true)
    this.lostCost = this.flowCosts[0] + rules.settings[SETTING_COST_FIRST_P50]
  }

  beginStep(baseTick: Tick): void {
    this.stepBase = baseTick
    this.count = 0
    this.series.beginStep(baseTick)
  }

  /**
   * Hops of a packet of an open connection on as many nodes as it has, on any path.
   * @param tick  the packet's time
   * @returns     the last one's number; the caller says whose it is and moves `count` behind it
   */
  chain(flow: FlowOffset, tick: Tick): number {
    const hop = this.legs(this.count, flow, tick) - 1
    this.hopServer[hop] |= HOP_LAST
    return hop
  }

  /** @returns the place behind the last one written */
  private legs(from: number, flow: FlowOffset, tick: Tick): number {
    const { flows, flowCosts } = this
    const at = tick - this.stepBase
    const flowFlags = flows[flow + FLOW_FLAGS]
    const third = this.third[(flow >> FLOW_SHIFT) * 2 + 1]
    const most = (flows[flow + FLOW_STATUS] & 0xff) === FLOW_CHAIN ? 3 : 2
    let hop = from
    for (let i = 0; i < most; i++) {
      const nodeProtocol = i === 2 ? third : flows[flow + FLOW_NODE_PROTOCOL + i]
      if (nodeProtocol < 0) break
      const node = nodeProtocol >> 8
      const core =
        i === 0
          ? (flowFlags >>> FLOW_CORE_SHIFT) & 255
          : i === 1
            ? flowFlags >>> FLOW_CORE2_SHIFT
            : this.slowPath.core(node, flowFlags, flow)
      this.write(hop++, node, core, at, flowCosts[i === 0 ? (flowFlags & FLOW_MASQUERADED) >> 8 : 0])
    }
    return hop
  }

  /** The packet that has just opened a connection. */
  opening(flow: FlowOffset, tick: Tick, length: number): void {
    const nanos = this.flows[flow + FLOW_FIRST_NANOS]
    const { path, names } = this.slowPath
    if (!this.queued || path.hops === 0) {
      const slot = this.latencyOf(flow)
      this.record(this.layout.firstHistogram + slot, nanos)
      this.recordPacket(slot, nanos)
      this.flows[flow + FLOW_FIRST_NANOS] = nanos + names.told.nanos
      return
    }
    // The set-up begins with the resolution of the name; the packet's own time is added when it is known.
    this.flows[flow + FLOW_FIRST_NANOS] = names.told.nanos
    const last = this.legs(this.count, flow, tick) - 1
    this.hopCost[this.count] = path.cost0
    if (path.hops > 1) this.hopCost[this.count + 1] = path.cost1
    if (path.hops > 2) this.hopCost[this.count + 2] = path.cost2
    this.close(last, HOP_FIRST, flow, nanos, length)
  }

  /** The answer that completes the set-up of a TCP connection. */
  answer(flow: FlowOffset, tick: Tick, length: number): void {
    const nanos = this.flows[flow + FLOW_FORWARD_NANOS]
    if (this.queued && (this.flows[flow + FLOW_STATUS] & 0xff) !== FLOW_EDGE) {
      this.close(this.chain(flow, tick), HOP_ANSWERS, flow, nanos, length)
      return
    }
    const slot = this.latencyOf(flow)
    this.recordPacket(slot, nanos)
    this.record(this.layout.setupHistogram + slot, this.flows[flow + FLOW_FIRST_NANOS] + nanos)
  }

  /** What is opened next, for the questions that it needs answered. */
  opens(flow: FlowOffset, tick: Tick): void {
    this.openingFlow = flow
    this.openingTick = tick
  }

  /**
   * A packet of a question to a name server or of its reply. There is room for those of the connections that a window defines;
   * where a trace defines connections long before they open, more may come at once, and what is too much does not wait.
   * @param random   random word of its flow
   * @param nanos  after the packet of the connection that asks
   * @param waits  whether the set-up of the connection waits for it
   */
  packet(path: Path, random: RandomWord, nanos: Nanos, opening: boolean, waits: boolean): void {
    const { flowCosts } = this
    if (!this.queued || path.hops === 0 || this.count + path.hops > this.hopTime.length) return
    const at = this.openingTick - this.stepBase + Math.round(nanos / NANOS_PER_TICK)
    const first = flowCosts[path.masqueraded === 0 ? 0 : 1]
    const second = flowCosts[0]
    let hop = this.write(
      this.count,
      path.node0,
      this.slowPath.core(path.node0, random, this.openingFlow),
      at,
      opening ? path.cost0 : first,
    )
    if (path.hops > 1) {
      hop = this.write(
        hop + 1,
        path.node1,
        this.slowPath.core(path.node1, random, this.openingFlow),
        at,
        opening ? path.cost1 : second,
      )
    }
    if (path.hops > 2) {
      hop = this.write(
        hop + 1,
        path.node2,
        this.slowPath.core(path.node2, random, this.openingFlow),
        at,
        opening ? path.cost2 : second,
      )
    }
    this.close(hop, waits ? HOP_QUERY : HOP_LOST, this.openingFlow, 0, 0)
  }

  /**
   * A request that its last packet, whose hops have just been written, has brought to its pod: it takes its turn there.
   * @param nanos  the packet's latency without waiting
   */
  serve(flow: FlowOffset, tick: Tick, nanos: Nanos, length: number): void {
    const { rules, flows } = this
    const backend = flows[flow + FLOW_BACKEND]
    const podQueue = backend < rules.addressPodQueue.length ? rules.addressPodQueue[backend] : -1
    if (!this.queued || podQueue < 0) return
    // A proxy on its node's network works on requests alone (`through`); what else comes to that address is not for it.
    if (backend < rules.addressProxy.length && rules.addressProxy[backend] >= 0) return
    const cost = this.serviceNanos(rules.podQueueNanos[podQueue], flow, tick)
    const hop = this.count
    this.hopTime[hop] = tick - this.stepBase + Math.round(nanos / NANOS_PER_TICK)
    this.hopServer[hop] = (this.nodes + podQueue) << 16
    this.hopCost[hop] = cost
    this.close(hop, HOP_REQUEST, flow, cost, length)
  }

  /**
   * A packet between a client and the pod behind its proxy: over the client's connection, the proxy, and the one behind it.
   * @param behind   flow record of the connection that it goes on over, -1 where the proxy keeps it
   * @param podQueue  the proxy's pod where it works on a request that begins, else -1
   * @param nanos    latency of the whole way without waiting, the proxy's work apart
   */
  through(flow: FlowOffset, behind: number, podQueue: number, tick: Tick, nanos: Nanos, length: number): void {
    const last = behind < 0 ? flow : behind
    const cost = podQueue < 0 ? 0 : this.serviceNanos(this.rules.podQueueNanos[podQueue], flow, tick)
    let hop = this.count
    if (this.queued) {
      hop = this.legs(hop, flow, tick)
      if (podQueue >= 0) {
        this.hopTime[hop] = tick - this.stepBase + Math.round(this.flows[flow + FLOW_FORWARD_NANOS] / NANOS_PER_TICK)
        this.hopServer[hop] = (this.nodes + podQueue) << 16
        this.hopCost[hop] = cost
        hop++
        this.result[this.layout.podQueues + podQueue * POD_QUEUE_WORDS + POD_QUEUE_REQUESTS]++
      }
      if (behind >= 0) hop = this.legs(hop, behind, tick)
    }
    if (hop === this.count) this.recordPacket(this.latencyOf(last), nanos + cost)
    else this.close(hop - 1, 0, last, nanos + cost, length)
  }

  /**
   * A packet of a proxy's own making: it costs CPU time and has no latency that anybody waits for.
   * @param opening  it has just opened its connection
   */
  aside(flow: FlowOffset, tick: Tick, opening: boolean): void {
    const { path } = this.slowPath
    if (!this.queued || this.count + MAX_LEGS > this.hopTime.length) return
    const hop = this.legs(this.count, flow, tick)
    if (hop === this.count) return
    if (opening) {
      this.hopCost[this.count] = path.cost0
      if (path.hops > 1) this.hopCost[this.count + 1] = path.cost1
      if (path.hops > 2) this.hopCost[this.count + 2] = path.cost2
    }
    this.close(hop - 1, HOP_LOST, flow, 0, 0)
  }

  /** CPU time of a request in its pod: constant, or exponential with the same mean. */
  private serviceNanos(mean: number, flow: FlowOffset, tick: Tick): number {
    if (this.rules.settings[SETTING_SERVICE_EXPONENTIAL] === 0) return mean
    const request = finish(mix(mix(tick | 0, this.flows[flow + FLOW_CLIENT]), this.flows[flow + FLOW_PORTS]))
    const uniform = ((draw(this.seed, request, 0, PURPOSE_SERVICE) >>> 0) + 1) / 4294967296
    return Math.min(MAX_NANOS, Math.round(-Math.log(uniform) * mean))
  }

  /** An opening packet that the node it came in on did not let through. */
  lost(flow: FlowOffset, tick: Tick): void {
    const { entered } = this.slowPath
    if (!this.queued || entered < 0) return
    const hop = this.write(this.count, entered, this.slowPath.enteredCore(flow), tick - this.stepBase, this.lostCost)
    this.close(hop, HOP_LOST, 0, 0, 0)
  }

  /** The queues have answered: record the step's latencies, and take back the packets that were dropped. */
  settle(): void {
    this.waited = 0
    this.dropped = false
    this.before = -1
    for (let from = 0; from < this.count; from += CHUNK) this.applyWaits(from, Math.min(this.count, from + CHUNK))
    this.count = 0
    this.series.endStep()
  }

  /** Some hops of the step, in calls short enough to be optimised for good (see CHUNK in cpu-queues.ts). */
  private applyWaits(from: number, to: number): void {
    const { hopWait, hopServer, hopNanos, hopMeta, result } = this
    const firstSlot = this.layout.packetHistogram
    const { latencies, latencyAt } = this.series
    let waited = this.waited
    let dropped = this.dropped
    let before = this.before
    for (let hop = from; hop < to; hop++) {
      const wait = hopWait[hop]
      if (wait === WAIT_DROPPED) {
        dropped = true
        this.fullPod = hopServer[hop] >>> 16 >= this.nodes
      } else waited += wait
      const bits = hopServer[hop] & 0xff
      if ((bits & HOP_LAST) === 0) continue
      const nanos = hopNanos[hop] + waited
      if (dropped || bits !== HOP_LAST) this.settleSpecial(hop, bits, nanos, dropped, before)
      before = dropped ? -1 : nanos
      if (!dropped && (bits & (HOP_LOST | HOP_QUERY | HOP_REQUEST)) === 0) {
        const packetHistogram = firstSlot + (hopMeta[hop] >>> 16) * LATENCY_LENGTH
        const place = bucketOf(Math.min(nanos, 0x7fffffff))
        const bucket = packetHistogram + place
        result[bucket] = result[bucket] + 1
        const timed = latencyAt + (place >> SERIES_SHIFT)
        latencies[timed] = latencies[timed] + 1
        result[packetHistogram + HISTOGRAM_SUM] = result[packetHistogram + HISTOGRAM_SUM] + nanos
        if (nanos > result[packetHistogram + HISTOGRAM_MAX]) result[packetHistogram + HISTOGRAM_MAX] = nanos
      }
      waited = 0
      dropped = false
    }
    this.waited = waited
    this.dropped = dropped
    this.before = before
  }

  /**
   * A packet that opened a connection or completed its set-up, a request, or what a full queue dropped.
   * @param before  latency of the packet that brought a request, -1 where it did not arrive
   */
  private settleSpecial(hop: number, bits: number, nanos: Nanos, dropped: boolean, before: number): void {
    if ((bits & HOP_LOST) !== 0) return
    const first = this.hopFlow[hop] + FLOW_FIRST_NANOS
    const slot = (this.hopMeta[hop] >>> 16) * LATENCY_LENGTH
    if ((bits & HOP_QUERY) !== 0) {
      // A resolver asks again after 5 s: longer than a flow record can hold.
      this.flows[first] = dropped ? MAX_NANOS : Math.min(MAX_NANOS, this.flows[first] + nanos)
    } else if ((bits & HOP_REQUEST) !== 0) {
      if (before >= 0) this.settleRequest(hop, before + nanos, dropped, slot)
    } else if (dropped) this.takeBack(hop, bits)
    else if ((bits & HOP_FIRST) !== 0) {
      this.record(this.layout.firstHistogram + slot, nanos)
      this.flows[first] = Math.min(MAX_NANOS, this.flows[first] + nanos)
    } else this.record(this.layout.setupHistogram + slot, this.flows[first] + nanos)
  }

  /** @param nanos  from sending the request to the end of its service */
  private settleRequest(hop: number, nanos: Nanos, dropped: boolean, slot: number): void {
    const podQueue = (this.hopServer[hop] >>> 16) - this.nodes
    this.result[this.layout.podQueues + podQueue * POD_QUEUE_WORDS + POD_QUEUE_REQUESTS]++
    if (!dropped) {
      this.record(this.layout.requestHistogram + slot, nanos)
      return
    }
    this.countDelivered(this.hopFlow[hop], this.hopMeta[hop] & 0xffff, -1)
    this.slowPath.countLoss(REASON_POD_QUEUE_FULL)
  }

  /** Offset of the latencies of a flow record's Service port from those of slot 0. */
  latencyOf(flow: FlowOffset): number {
    return this.slotOf[this.flows[flow + FLOW_ENDPOINT] + 1] * LATENCY_LENGTH
  }

  /** A delivered packet whose latency no queue adds to. @param slot  offset of its Service port's latencies */
  private recordPacket(slot: number, nanos: Nanos): void {
    this.record(this.layout.packetHistogram + slot, nanos)
    const { latencies, latencyAt } = this.series
    latencies[latencyAt + (bucketOf(Math.min(nanos, 0x7fffffff)) >> SERIES_SHIFT)]++
  }

  record(histogram: number, nanos: Nanos): void {
    const { result } = this
    result[histogram + bucketOf(Math.min(nanos, 0x7fffffff))]++
    result[histogram + HISTOGRAM_SUM] += nanos
    if (nanos > result[histogram + HISTOGRAM_MAX]) result[histogram + HISTOGRAM_MAX] = nanos
  }

  /** Counts a delivered packet, or takes one back. @param by 1 or -1 */
  countDelivered(flow: FlowOffset, length: number, by: number): void {
    const { result, layout } = this
    result[TOTAL_ACCEPTED_PACKETS] += by
    result[TOTAL_ACCEPTED_BYTES] += by * length
    const endpoint = this.flows[flow + FLOW_ENDPOINT]
    if (endpoint < 0) return
    const at = layout.endpoints + endpoint * ENDPOINT_WORDS
    result[at + ENDPOINT_PACKETS] += by
    result[at + ENDPOINT_BYTES] += by * length
  }

  private write(hop: number, node: NodeId, core: number, at: number, cost: number): number {
    this.hopTime[hop] = at
    this.hopServer[hop] = (node << 16) | (core << 8)
    this.hopCost[hop] = cost
    return hop
  }

  private close(hop: number, bits: number, flow: FlowOffset, nanos: Nanos, length: number): void {
    this.hopServer[hop] |= HOP_LAST | bits
    this.hopFlow[hop] = flow
    this.hopNanos[hop] = nanos
    this.hopMeta[hop] = (this.slotOf[this.flows[flow + FLOW_ENDPOINT] + 1] << 16) | length
    this.count = hop + 1
  }

  /**
   * A packet that a full backlog dropped had been counted as delivered. Where it was the one that opened its connection, what
   * the connection sends in later steps is not sent; what it sent in this one has been.
   */
  private takeBack(hop: number, bits: number): void {
    const flow = this.hopFlow[hop]
    this.countDelivered(flow, this.hopMeta[hop] & 0xffff, -1)
    this.slowPath.countLoss(this.fullPod ? REASON_POD_QUEUE_FULL : REASON_BACKLOG_FULL)
    if ((bits & HOP_ANSWERS) !== 0) this.flows[flow + FLOW_FLAGS] &= ~FLOW_ANSWERED
    if ((bits & HOP_FIRST) === 0) return
    this.result[TOTAL_BROKEN]++
    this.flows[flow + FLOW_STATUS] = (this.flows[flow + FLOW_STATUS] & ~0xff) | FLOW_FAILED
  }
}
