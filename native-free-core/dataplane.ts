/**
 * One worker's dataplane: every node's tables for the shards it runs, and the loop that packets go through.
 *
 * Make exactly one instance per thread: the typed arrays are then constants to the compiler, which is worth a third to a
 * half of the speed (bench: packet-step; a second instance costs that for both). Capacities are fixed when it is made; `begin`
 * clears it for the next run. Packets come in through `packets`, connection definitions through `connections`.
 *
 * The loop takes batches of 128: one pass reads each packet's flow record, one reads the conntrack entries the flow records
 * name, the third does the work. The first two do nothing else, so that their cache misses overlap (3 times as
 * fast as one pass at a million entries, bench: packet-step). A stale flow record falls to the slow path, so batching never changes a result.
 * Where a batch opens connections, `fastSetup` plans them before the third pass.
 *
 * Virtual time is the packets' own. At fixed times (`SAMPLES` a run) counts are sampled, and every `gcIntervalMs` expired
 * entries are swept, shard by shard at the same virtual moments, so that results do not depend on the number of workers.
 */

import {
  alignedWords,
  createConntrackTable,
  ENTRY_DESTINATION,
  ENTRY_EXPIRES,
  ENTRY_NODE_PROTOCOL,
  ENTRY_PORTS,
  ENTRY_REPLY_DESTINATION,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SHIFT,
  ENTRY_SOURCE,
  ENTRY_STATE,
  STATUS_PICKED_UP,
  STATUS_SEEN_REPLY,
} from './conntrack-table.ts'
import { HOP_LAST } from './cpu-queues.ts'
import type { Dataplane, DataplaneLimits, Run } from './dataplane-types.ts'
import { REASON_BACKEND_GONE, REASON_NONE } from './drop-reasons.ts'
import { createFastSetup } from './fast-setup.ts'
import {
  FLOW_ANSWERED,
  FLOW_BACKEND,
  FLOW_CHAIN,
  FLOW_CLIENT,
  FLOW_CORE_SHIFT,
  FLOW_CORE2_SHIFT,
  FLOW_DESTINATION,
  FLOW_DESTINATION_INDEX,
  FLOW_EDGE,
  FLOW_ENDPOINT,
  FLOW_ENTRY,
  FLOW_ENTRY2,
  FLOW_FAILED,
  FLOW_FLAGS,
  FLOW_FORWARD_NANOS,
  FLOW_MASQUERADED,
  FLOW_NAT_PORTS,
  FLOW_NAT_SOURCE,
  FLOW_NEW,
  FLOW_NODE_PROTOCOL,
  FLOW_NODE_PROTOCOL2,
  FLOW_OPEN,
  FLOW_OPEN2,
  FLOW_ORPHANED,
  FLOW_PORTS,
  FLOW_PROXIED,
  FLOW_SHIFT,
  FLOW_STATUS,
  FLOW_WORDS,
} from './flow-record.ts'
import { bucketOf, HISTOGRAM_MAX, HISTOGRAM_SUM } from './histogram.ts'
import type { FlowOffset, Millis, Millis32, Shard, Tick, Tick32 } from './kinds.ts'
import {
  createConnectionColumns,
  createPacketColumns,
  createRequestColumns,
  FLAG_REPLY,
  HEADER_ONLY_BYTES,
  isRequest,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TICKS_PER_MS,
} from './packet.ts'
import { Proxies } from './proxy.ts'
import { QueueEvents } from './queue-events.ts'
import {
  ENDPOINT_BYTES,
  ENDPOINT_PACKETS,
  ENDPOINT_WORDS,
  LATENCY_LENGTH,
  resultLayout,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_ATTEMPTED,
  TOTAL_BROKEN,
  TOTAL_NOT_SENT,
  TOTAL_OFFERED_BYTES,
  TOTAL_OFFERED_PACKETS,
} from './result.ts'
import {
  ADDRESS_LIVE,
  NO_RULES,
  openRules,
  type RuleColumns,
  SETTING_NODES,
  SETTING_UNACKNOWLEDGED_MS,
} from './rule-columns.ts'
import { Sampler } from './sampler.ts'
import { Series } from './series.ts'
import { SlowPath } from './slow-path.ts'
import { ESTABLISHED, STEADY } from './tcp-states.ts'

const BATCH = 128
/**
 * About what the second-level cache of a core holds: reading ahead in tables that fit brings nothing (a tenth less time without at
 * 1,000 entries, bench: packet-step).
 */
const CACHED_BYTES = 1 << 19
/**
 * Half a tick before the multiplication keeps the quotient away from whole numbers, where rounding could tell: so it is the
 * division's own for all of a window's ticks, and cheaper.
 */
const MS_PER_TICK = 1 / TICKS_PER_MS
/** A core's bits in a hop's place. */
const CORE_BITS = 0xff00
/** Second half of the timeout table: of packets with data, for whose ACK ESTABLISHED waits less long. */
const WITH_DATA = 16

export function createDataplane(limits: DataplaneLimits): Dataplane {
  const { shards, nodes } = limits
  const table = createConntrackTable(limits.entries, shards, nodes)
  const entries = table.entries
  const flowCount = limits.connections + (limits.requests?.upstreams ?? 0)
  const flows = alignedWords(flowCount * FLOW_WORDS)
  const thirdEntries = new Int32Array(flowCount * 2)
  const packets = createPacketColumns(limits.packetRows)
  const connections = createConnectionColumns(limits.connectionRows)
  const layout = resultLayout(nodes, limits.endpoints, limits.extent)
  const result = new Float64Array(layout.length)
  const quotas = new Int32Array(shards * nodes)
  const timeouts = new Int32Array(32)
  const readsAhead = table.bytes + flows.byteLength > CACHED_BYTES
  const batchFlows = new Int32Array(BATCH)
  const sink = new Int32Array(1)
  const parts = { table, flows, thirdEntries, shards, nodes, result, layout, quotas }
  const slowPath = new SlowPath({ ...parts, lanes: limits.lanes ?? null })
  const { conntrack } = slowPath
  const fastSetup = createFastSetup({ ...parts, slowPath, packets, batchFlows })
  const fastSetupOn = limits.fastSetup !== false
  const { time, slot, flags, length } = packets
  const { packetHistogram, endpoints: endpointsAt } = layout
  const queued = limits.hops !== undefined
  const sampler = new Sampler({ ...parts, slowPath })
  const due = sampler.nextTick
  const series = new Series(result, layout, limits.series?.endpoints ?? null)
  const log = new QueueEvents({
    ...parts,
    slowPath,
    endpoints: limits.endpoints,
    columns: limits.hops ?? null,
    series,
  })
  const { hopTime, hopServer, hopCost, hopFlow, hopNanos, hopMeta, slotOf, flowCosts, zones } = log
  let rules = NO_RULES
  const requests = createRequestColumns(limits.packetRows, limits.requests?.rows ?? 0)
  const { at: requestAt } = requests
  const proxying = limits.requests !== undefined
  const proxies = new Proxies({
    ...parts,
    slowPath,
    log,
    requests,
    connections: limits.connections,
    upstreams: limits.requests?.upstreams ?? 0,
    groups: limits.requests?.workers ?? 0,
  })
  /** Pods are queues of their own. */
  let serving = false
  slowPath.sink = log

  function begin(run: Run): void {
    table.clear()
    flows.fill(0)
    result.fill(0)
    takeRules(run.rules, null)
    log.begin(run.seed)
    log.slotOf.fill(0)
    if (run.latencySlots !== undefined) log.slotOf.set(run.latencySlots, 1)
    slowPath.begin(run.seed)
    sampler.begin(rules, run.durationTicks)
    series.begin(run.durationTicks)
    proxies.begin(run.seed)
  }

  function takeRules(words: Int32Array, rulesBefore: RuleColumns | null): void {
    rules = openRules(words, rulesBefore)
    if (rules.settings[SETTING_NODES] > nodes) throw new Error('rule set: more nodes than the core was made for')
    slowPath.take(rules)
    fastSetup.take(rules)
    sampler.rules = rules
    timeouts.set(rules.timeouts)
    timeouts.set(rules.timeouts, WITH_DATA)
    log.take(rules)
    serving = rules.podQueueNanos.length > 0
    if (proxying) proxies.take(rules)
    timeouts[WITH_DATA | ESTABLISHED] = rules.settings[SETTING_UNACKNOWLEDGED_MS]
  }

  function adopt(words: Int32Array, nowMs: Millis): void {
    const before = rules.addressFlags
    takeRules(words, rules)
    conntrack.clockMs[0] = nowMs
    conntrack.nowMs = nowMs | 0
    slowPath.names.adopt(rules, nowMs)
    orphanFlows(before, rules.addressFlags)
    for (let shard = 0; shard < shards; shard++) {
      slowPath.selector.sweep(shard, conntrack.nowMs, new Int32Array(nodes))
      conntrack.cleanStaleUdp(shard)
      slowPath.selector.keepServed(shard)
    }
  }

  /** Connections whose pod was there before and is not now. */
  function orphanFlows(before: Int32Array, after: Int32Array): void {
    if (!before.some((flags, id) => (flags & ~after[id] & ADDRESS_LIVE) !== 0)) return
    for (let flow = 0; flow < flows.length; flow += FLOW_WORDS) {
      const status = flows[flow + FLOW_STATUS] & 0xff
      if (status !== FLOW_OPEN && status !== FLOW_OPEN2 && status !== FLOW_CHAIN) continue
      const backend = flows[flow + FLOW_BACKEND]
      if (backend < before.length && (before[backend] & ADDRESS_LIVE & ~after[backend]) !== 0) {
        flows[flow + FLOW_STATUS] = (flows[flow + FLOW_STATUS] & ~0xff) | FLOW_ORPHANED
      }
    }
  }

  function define(flowBase: number, rows: number): void {
    const { destinationAddress, destinationPort, destinationProtocol, clientMap } = rules
    const moved = clientMap.length > 0
    for (let i = 0; i < rows; i++) {
      const flow = (flowBase + connections.slot[i]) << FLOW_SHIFT
      const destination = connections.destination[i]
      const client = moved ? clientMap[connections.client[i]] : connections.client[i]
      if (proxying) proxies.define(flow, client)
      flows[flow + FLOW_CLIENT] = client
      flows[flow + FLOW_DESTINATION] = destinationAddress[destination]
      flows[flow + FLOW_PORTS] = (connections.sourcePort[i] << 16) | destinationPort[destination]
      flows[flow + FLOW_STATUS] = FLOW_NEW | (destinationProtocol[destination] << 8)
      flows[flow + FLOW_ENTRY] = 0
      flows[flow + FLOW_ENTRY2] = 0
      flows[flow + FLOW_DESTINATION_INDEX] = destination
    }
  }

  function process(shard: Shard, flowBase: number, baseTick: Tick, from: number, to: number): void {
    for (let start = from; start < to; ) {
      let end = Math.min(start + BATCH, to)
      if (baseTick + time[end - 1] >= due[shard]) {
        if (baseTick + time[start] >= due[shard]) {
          sampler.run(shard, baseTick + time[start])
          continue
        }
        end = start + 1
        while (baseTick + time[end] < due[shard]) end++
      }
      batch(shard, flowBase, baseTick, start, end)
      start = end
    }
  }

  /**
   * Reads the batch's flow records and nothing else, four at a time: independent loads in one expression keep more misses
   * in flight than a loop of one (a quarter less time at 64k entries, bench: packet-step; eight at a time bring no more).
   */
  function prefetchFlows(size: number): number {
    /** Negative when a status is FLOW_NEW. */
    let least = 0
    let i = 0
    for (; i + 3 < size; i += 4) {
      least |=
        ((flows[batchFlows[i] + FLOW_STATUS] & 0xff) - 1) |
        ((flows[batchFlows[i + 1] + FLOW_STATUS] & 0xff) - 1) |
        ((flows[batchFlows[i + 2] + FLOW_STATUS] & 0xff) - 1) |
        ((flows[batchFlows[i + 3] + FLOW_STATUS] & 0xff) - 1)
    }
    for (; i < size; i++) least |= (flows[batchFlows[i] + FLOW_STATUS] & 0xff) - 1
    return least
  }

  /** The same for the entries that the flow records name, on both nodes. */
  function prefetchEntries(size: number): number {
    let touched = 0
    let i = 0
    for (; i + 3 < size; i += 4) {
      const a = batchFlows[i]
      const b = batchFlows[i + 1]
      const c = batchFlows[i + 2]
      const d = batchFlows[i + 3]
      touched ^=
        entries[flows[a + FLOW_ENTRY] << ENTRY_SHIFT] ^
        entries[flows[b + FLOW_ENTRY] << ENTRY_SHIFT] ^
        entries[flows[c + FLOW_ENTRY] << ENTRY_SHIFT] ^
        entries[flows[d + FLOW_ENTRY] << ENTRY_SHIFT]
      touched ^=
        entries[flows[a + FLOW_ENTRY2] << ENTRY_SHIFT] ^
        entries[flows[b + FLOW_ENTRY2] << ENTRY_SHIFT] ^
        entries[flows[c + FLOW_ENTRY2] << ENTRY_SHIFT] ^
        entries[flows[d + FLOW_ENTRY2] << ENTRY_SHIFT]
    }
    for (; i < size; i++) {
      const flow = batchFlows[i]
      touched ^= entries[flows[flow + FLOW_ENTRY] << ENTRY_SHIFT] ^ entries[flows[flow + FLOW_ENTRY2] << ENTRY_SHIFT]
    }
    return touched
  }

  // biome-ignore lint/complexity/noExcessiveCognitiveComplexity: the loop of every packet: its cases share the locals read above them, which each part would have to be handed
  function batch(shard: Shard, flowBase: number, baseTick: Tick, from: number, to: number): void {
    const size = to - from
    for (let i = 0; i < size; i++) batchFlows[i] = (flowBase + slot[from + i]) << FLOW_SHIFT
    if (readsAhead) {
      const opens = prefetchFlows(size) < 0
      sink[0] = prefetchEntries(size) ^ (opens && fastSetupOn ? fastSetup.plan(shard, baseTick, from, size) : 0)
    }
    conntrack.clockMs[0] = Math.floor(baseTick / TICKS_PER_MS)
    const restTicks = baseTick - conntrack.clockMs[0] * TICKS_PER_MS
    // Times of 32 bits, as entries have them: they wrap, and only differences are compared (`conntrack.ts`).
    const baseMs = conntrack.clockMs[0] | 0
    if (proxying) proxies.advance(shard, baseTick + time[from])
    let bytes = 0
    let accepted = 0
    let acceptedBytes = 0
    const { zoneCount, propagationTicks } = log
    const sinceStep = (baseTick - log.stepBase) | 0
    /** Hops written: kept here while packets are in a steady state, and handed over to what is called. */
    let hops = log.count
    for (let i = 0; i < size; i++) {
      const row = from + i
      const flow = batchFlows[i]
      const packetFlags = flags[row]
      const packetLength = length[row]
      const status = flows[flow + FLOW_STATUS] & 0xff
      const nowMs = (baseMs + (((restTicks + time[row] + 0.5) * MS_PER_TICK) | 0)) | 0
      bytes += packetLength
      let passes = false
      if (status === FLOW_OPEN || status === FLOW_OPEN2) {
        // Known flow: every word of both tuples, on each node, then the state machine.
        const source = flows[flow + FLOW_CLIENT]
        const destination = flows[flow + FLOW_DESTINATION]
        const ports = flows[flow + FLOW_PORTS]
        const natSource = flows[flow + FLOW_NAT_SOURCE]
        const backend = flows[flow + FLOW_BACKEND]
        const delivered = flows[flow + FLOW_NAT_PORTS]
        const replyPorts = (delivered << 16) | (delivered >>> 16)
        const entry = flows[flow + FLOW_ENTRY] << ENTRY_SHIFT
        const stateWord = entries[entry + ENTRY_STATE]
        const state = stateWord & 15
        const seenReply = (packetFlags >> 7) * STATUS_SEEN_REPLY
        if (
          // No branch that depends on direction or length, which nobody can predict (a tenth of the loop, bench: packet-step).
          ((entries[entry + ENTRY_NODE_PROTOCOL] ^ flows[flow + FLOW_NODE_PROTOCOL]) |
            (entries[entry + ENTRY_SOURCE] ^ source) |
            (entries[entry + ENTRY_DESTINATION] ^ destination) |
            (entries[entry + ENTRY_PORTS] ^ ports) |
            (entries[entry + ENTRY_REPLY_SOURCE] ^ backend) |
            (entries[entry + ENTRY_REPLY_DESTINATION] ^ natSource) |
            (entries[entry + ENTRY_REPLY_PORTS] ^ replyPorts) |
            ((stateWord & (STATUS_PICKED_UP | seenReply)) ^ seenReply) |
            (STEADY[(packetFlags << 4) | state] ^ 1)) ===
            0 &&
          ((entries[entry + ENTRY_EXPIRES] - nowMs) | 0) > 0
        ) {
          const timeout = timeouts[(((HEADER_ONLY_BYTES - packetLength) >>> 31) << 4) | state]
          if (status === FLOW_OPEN) {
            entries[entry + ENTRY_EXPIRES] = (nowMs + timeout) | 0
            passes = true
          } else {
            const entry2 = flows[flow + FLOW_ENTRY2] << ENTRY_SHIFT
            const stateWord2 = entries[entry2 + ENTRY_STATE]
            if (
              ((entries[entry2 + ENTRY_NODE_PROTOCOL] ^ flows[flow + FLOW_NODE_PROTOCOL2]) |
                (entries[entry2 + ENTRY_SOURCE] ^ natSource) |
                (entries[entry2 + ENTRY_DESTINATION] ^ backend) |
                (entries[entry2 + ENTRY_PORTS] ^ delivered) |
                (entries[entry2 + ENTRY_REPLY_SOURCE] ^ backend) |
                (entries[entry2 + ENTRY_REPLY_DESTINATION] ^ natSource) |
                (entries[entry2 + ENTRY_REPLY_PORTS] ^ replyPorts) |
                ((stateWord2 & (15 | STATUS_PICKED_UP | seenReply)) ^ (state | seenReply))) ===
                0 &&
              ((entries[entry2 + ENTRY_EXPIRES] - nowMs) | 0) > 0
            ) {
              entries[entry + ENTRY_EXPIRES] = (nowMs + timeout) | 0
              entries[entry2 + ENTRY_EXPIRES] = (nowMs + timeout) | 0
              passes = true
            }
          }
        }
      }
      if (!passes) {
        log.count = hops
        const counts = slow(shard, flow, row, i, nowMs, baseTick)
        if (proxying && !counts && (flows[flow + FLOW_STATUS] & 0xff) === FLOW_FAILED) {
          proxies.abandon(flow, baseTick + time[row])
        }
        hops = log.count
        if (!counts) continue
      }
      const nanos = flows[flow + FLOW_FORWARD_NANOS]
      const endpoint = flows[flow + FLOW_ENDPOINT]
      const latency = slotOf[endpoint + 1]
      const flowFlags = flows[flow + FLOW_FLAGS]
      if (proxying && (flowFlags & FLOW_PROXIED) !== 0) {
        log.count = hops
        proxies.packet(shard, flow, packetFlags, packetLength, requestAt[row], baseTick + time[row])
        hops = log.count
      } else if (queued) {
        const masqueraded = (flowFlags & FLOW_MASQUERADED) >> 8
        const at = (sinceStep + time[row]) | 0
        const node = flows[flow + FLOW_NODE_PROTOCOL] >> 8
        let hop = hops
        if (status === FLOW_OPEN) {
          hopTime[hop] = at
          hopServer[hop] = (node << 16) | ((flowFlags >> (FLOW_CORE_SHIFT - 8)) & CORE_BITS) | HOP_LAST
          hopCost[hop] = flowCosts[masqueraded]
        } else if (status === FLOW_OPEN2) {
          const node2 = flows[flow + FLOW_NODE_PROTOCOL2] >> 8
          const ticks = propagationTicks[zones[node] * zoneCount + zones[node2]]
          const reply = packetFlags >> 7
          hopTime[hop] = at + ticks * reply
          hopServer[hop] = (node << 16) | ((flowFlags >> (FLOW_CORE_SHIFT - 8)) & CORE_BITS)
          hopCost[hop] = flowCosts[masqueraded]
          hop++
          hopTime[hop] = at + ticks * (1 - reply)
          hopServer[hop] = (node2 << 16) | ((flowFlags >>> (FLOW_CORE2_SHIFT - 8)) & CORE_BITS) | HOP_LAST
          hopCost[hop] = flowCosts[0]
        } else {
          log.count = hop
          hop = log.chain(flow, baseTick + time[row])
        }
        hopFlow[hop] = flow
        hopNanos[hop] = nanos
        hopMeta[hop] = (latency << 16) | packetLength
        hops = hop + 1
        if (serving && isRequest(packetFlags, flows[flow + FLOW_STATUS] >> 8)) {
          log.count = hops
          log.serve(flow, baseTick + time[row], nanos, packetLength)
          hops = log.count
        }
      } else {
        const histogram = packetHistogram + latency * LATENCY_LENGTH
        const bucket = histogram + bucketOf(nanos)
        result[bucket] = result[bucket] + 1
        result[histogram + HISTOGRAM_SUM] = result[histogram + HISTOGRAM_SUM] + nanos
        if (nanos > result[histogram + HISTOGRAM_MAX]) result[histogram + HISTOGRAM_MAX] = nanos
      }
      accepted++
      acceptedBytes += packetLength
      if (endpoint >= 0) {
        const at = endpointsAt + endpoint * ENDPOINT_WORDS
        result[at + ENDPOINT_PACKETS] = result[at + ENDPOINT_PACKETS] + 1
        result[at + ENDPOINT_BYTES] = result[at + ENDPOINT_BYTES] + packetLength
      }
    }
    log.count = hops
    result[TOTAL_OFFERED_PACKETS] += size
    result[TOTAL_OFFERED_BYTES] += bytes
    result[TOTAL_ACCEPTED_PACKETS] += accepted
    result[TOTAL_ACCEPTED_BYTES] += acceptedBytes
  }

  /**
   * Everything but a packet of a known flow in its steady state.
   * @returns whether it is to be counted as a packet of the established connection
   */
  function slow(
    shard: Shard,
    flow: FlowOffset,
    row: number,
    inBatch: number,
    nowMs: Millis32,
    baseTick: Tick,
  ): boolean {
    const status = flows[flow + FLOW_STATUS] & 0xff
    if (status === FLOW_FAILED) {
      result[TOTAL_NOT_SENT]++
      return false
    }
    const tick = (baseTick + time[row]) | 0
    if (status === FLOW_NEW) return openConnection(shard, flow, row, inBatch, nowMs, baseTick)
    if (status === FLOW_EDGE) return atEdge(shard, flow, row, baseTick)
    if (status === FLOW_ORPHANED) return orphaned(shard, flow, row, nowMs, tick)
    const reason = slowPath.step(shard, flow, flags[row], length[row], nowMs, tick)
    if (reason !== REASON_NONE) {
      slowPath.countLoss(reason)
      if ((flows[flow + FLOW_STATUS] & 0xff) === FLOW_FAILED) result[TOTAL_BROKEN]++
      return false
    }
    if (flags[row] >= FLAG_REPLY && (flows[flow + FLOW_FLAGS] & FLOW_ANSWERED) === 0) {
      flows[flow + FLOW_FLAGS] |= FLOW_ANSWERED
      // The first answer: for TCP the connection is set up when it has reached the client.
      if (flows[flow + FLOW_STATUS] >> 8 === PROTOCOL_TCP) {
        log.countDelivered(flow, length[row], 1)
        log.answer(flow, baseTick + time[row], length[row])
        behindProxy(shard, flow, row, baseTick)
        return false
      }
    }
    return true
  }

  /** The first packet of a direction has been recorded; in a trace that begins in mid-flow it may be part of an exchange. */
  function behindProxy(shard: Shard, flow: FlowOffset, row: number, baseTick: Tick): void {
    if (!proxying || (flows[flow + FLOW_FLAGS] & FLOW_PROXIED) === 0) return
    proxies.first(shard, flow, flags[row], length[row], requestAt[row], baseTick + time[row])
  }

  /** A packet of a connection that ends at a balancer outside the cluster: no node has a say in it. */
  function atEdge(shard: Shard, flow: FlowOffset, row: number, baseTick: Tick): boolean {
    if (flags[row] < FLAG_REPLY || (flows[flow + FLOW_FLAGS] & FLOW_ANSWERED) !== 0) return true
    flows[flow + FLOW_FLAGS] |= FLOW_ANSWERED
    log.countDelivered(flow, length[row], 1)
    log.answer(flow, baseTick + time[row], length[row])
    behindProxy(shard, flow, row, baseTick)
    return false
  }

  /** A packet of a connection whose pod has gone. */
  function orphaned(shard: Shard, flow: FlowOffset, row: number, nowMs: Millis32, tick: Tick32): boolean {
    if (flags[row] >= FLAG_REPLY) {
      result[TOTAL_NOT_SENT]++
      return false
    }
    const protocol = flows[flow + FLOW_STATUS] >> 8
    if (slowPath.opensAnew(flow, flags[row], nowMs)) {
      const reason = slowPath.open(shard, flow, flags[row], nowMs, tick)
      if (reason !== REASON_NONE) slowPath.countLoss(reason)
      return reason === REASON_NONE
    }
    slowPath.countLoss(REASON_BACKEND_GONE)
    if (protocol !== PROTOCOL_UDP) {
      flows[flow + FLOW_STATUS] = FLOW_FAILED | (protocol << 8)
      result[TOTAL_BROKEN]++
    }
    return false
  }

  function openConnection(
    shard: Shard,
    flow: FlowOffset,
    row: number,
    inBatch: number,
    nowMs: Millis32,
    baseTick: Tick,
  ): boolean {
    const tick = (baseTick + time[row]) | 0
    const client = flows[flow + FLOW_CLIENT]
    log.opens(flow, baseTick + time[row])
    const ordinary = fastSetupOn && fastSetup.open(shard, inBatch, flow, flags[row], nowMs, tick)
    const reason = ordinary ? REASON_NONE : slowPath.open(shard, flow, flags[row], nowMs, tick)
    result[TOTAL_ATTEMPTED]++
    slowPath.countOpening(flow, reason, client)
    if (reason !== REASON_NONE) {
      slowPath.countLoss(reason)
      log.lost(flow, baseTick + time[row])
      return false
    }
    // The opening packet is slower than those that follow: it is counted here, with its own time.
    log.countDelivered(flow, length[row], 1)
    log.opening(flow, baseTick + time[row], length[row])
    behindProxy(shard, flow, row, baseTick)
    if (serving && isRequest(flags[row], flows[flow + FLOW_STATUS] >> 8)) {
      log.serve(flow, baseTick + time[row], flows[flow + FLOW_FORWARD_NANOS], length[row])
    }
    return false
  }

  return {
    packets,
    connections,
    requests,
    table,
    flows,
    slowPath,
    result,
    layout,
    quotas,
    begin,
    adopt,
    define,
    process,
    hopCount: () => log.count,
    beginStep: (baseTick) => log.beginStep(baseTick),
    applyWaits: () => log.settle(),
    series: () => series.take(),
    end: (shard) => sampler.end(shard),
    portSeries: () => sampler.portSeries(),
    serviceEntrySeries: () => sampler.serviceEntrySeries(),
  }
}
