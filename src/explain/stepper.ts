/**
 * A dataplane that is fed one packet at a time and tells what became of each: the state behind `explain --stateful`.
 *
 * The state (conntrack, affinity, schedulers, source ports) is the core's own, driven as a replay worker drives it, with one
 * shard and one line a connection. A connection is its tuple and the node where it is seen. A packet of an unknown
 * connection, or of one whose entries are gone, opens it: for TCP a SYN, its answer and an ACK at the same moment, so that
 * it is established; later packets are data that the other side acknowledges. Virtual time begins with the first line.
 */
import {
  createDataplane,
  type Dataplane,
  ENTRY_EXPIRES,
  ENTRY_SHIFT,
  ENTRY_STATE,
  FLAG_REPLY,
  FLOW_BACKEND,
  FLOW_CHAIN,
  FLOW_CLIENT,
  FLOW_ENDPOINT,
  FLOW_ENTRY,
  FLOW_NAT_PORTS,
  FLOW_NAT_SOURCE,
  FLOW_NODE_PROTOCOL,
  FLOW_OPEN,
  FLOW_ORPHANED,
  FLOW_SHIFT,
  FLOW_STATUS,
  MAX_ENTRIES,
  NODE_CONNECTIONS,
  NODE_WORDS,
  PROTOCOL_TCP,
  REASON_NONE,
  REASONS,
  STATE_NAMES,
  TCP_ACK,
  TCP_PSH,
  TCP_SYN,
  TICKS_PER_MS,
  TOTAL_NOT_SENT,
} from '../../native-free-core/index.ts'
import type { ExplainContext } from './context.ts'

/** Entries that one opening can leave behind: one on each of three nodes. */
const MAX_HOPS = 3
const TICKS_PER_SECOND = TICKS_PER_MS * 1000
/** IP packets with and without payload. */
const DATA_BYTES = 1000
const BARE_BYTES = 52

export interface SessionSizes {
  readonly connections: number
  readonly packets: number
  readonly endpoints: number
  readonly nodes: number
  readonly durationSeconds: number
}

/** A packet of a connection, numbered by the caller. */
export interface Sent {
  readonly connection: number
  /** Address id of the client, index of the destination, source port. */
  readonly client: number
  readonly destination: number
  readonly sourcePort: number
  readonly protocol: number
  /** Where it comes in, or -1. */
  readonly node: number
  readonly timeSeconds: number
  /** Exactly these TCP flags, or null for what the connection needs. */
  readonly flags: number | null
  readonly isReply: boolean
}

/** A conntrack entry as it stands at some moment. */
export interface EntryState {
  readonly name: string
  readonly secondsLeft: number
}

export interface Result {
  /** The packet found the connection's entries. */
  readonly known: boolean
  /** The entry before the packet (null where there was none), and after it (null where it is gone). */
  readonly before: EntryState | null
  readonly after: EntryState | null
  /** REASON_NONE when it was delivered. */
  readonly reason: number
  /** Node where the connection came in, -1 where it never did. */
  readonly entered: number
  /** Endpoint id, -1 for none. */
  readonly endpoint: number
  /** -1 without affinity, 0 not bound before, 1 bound. */
  readonly affinity: number
  /** ipvs had the connection though conntrack had no entry of it. */
  readonly recalled: boolean
  /** What the pod sees: addresses as ids, and ports. Of the packet itself where it was not delivered. */
  readonly seen: number
  readonly seenPort: number
  readonly backend: number
  readonly backendPort: number
}

export class Session {
  private readonly dataplane: Dataplane
  private readonly reasonCounts: Float64Array
  private readonly nodeCounts: Float64Array
  private readonly defined = new Set<number>()
  /** Of the last packet that was tried: what follows a lost one is lost for the same reason. */
  private lastReason = REASON_NONE
  /** Where the connection opened last came in. */
  private entered = -1

  constructor(context: ExplainContext, sizes: SessionSizes) {
    const wanted = sizes.packets * MAX_HOPS + 64
    this.dataplane = createDataplane({
      connections: Math.max(1, sizes.connections),
      entries: Math.min(wanted, MAX_ENTRIES),
      shards: 1,
      nodes: sizes.nodes,
      endpoints: Math.max(1, sizes.endpoints),
      packetRows: 1,
      connectionRows: 1,
      // The general way leaves behind what it looked at and decided.
      fastSetup: false,
    })
    this.reasonCounts = new Float64Array(REASONS.length)
    this.nodeCounts = new Float64Array(sizes.nodes)
    this.dataplane.begin({
      rules: context.compiled.rules,
      seed: 1,
      durationTicks: Math.max(1, Math.ceil(sizes.durationSeconds * TICKS_PER_SECOND)),
    })
    this.takeLimits(context)
  }

  /** The cluster has changed. */
  adopt(context: ExplainContext, timeSeconds: number): void {
    this.dataplane.adopt(context.compiled.rules, Math.floor(timeSeconds * 1000))
    this.takeLimits(context)
  }

  private takeLimits({ rules }: ExplainContext): void {
    this.dataplane.quotas.fill(0)
    this.dataplane.quotas.set(rules.nodeConntrackMax)
  }

  send(sent: Sent): Result {
    const { slowPath } = this.dataplane
    const flow = sent.connection << FLOW_SHIFT
    const tick = Math.round(sent.timeSeconds * TICKS_PER_SECOND)
    const nowMs = Math.floor(tick / TICKS_PER_MS)
    slowPath.entryOverride = sent.node
    slowPath.selector.choice.affinity = -1
    slowPath.selector.choice.recalled = false
    this.entered = -1
    const known = this.isKnown(sent.connection, nowMs)
    const before = known ? this.entryState(flow, nowMs) : null
    const exact = sent.flags !== null || sent.isReply
    if (!known && (!exact || !this.isUnderWay(sent.connection))) this.define(sent)
    const reason = this.put(sent, tick, known, exact)
    const result = this.read(sent, flow, known, before, reason, nowMs)
    slowPath.entryOverride = -1
    return result
  }

  /** Puts the packet through, and those that go with it; the reason is that of the packet itself. */
  private put(sent: Sent, tick: number, known: boolean, exact: boolean): number {
    const isTcp = sent.protocol === PROTOCOL_TCP
    if (exact) {
      const flags = isTcp ? (sent.flags ?? TCP_ACK | TCP_PSH) : 0
      const bare = isTcp && (flags & TCP_PSH) === 0
      return this.process(sent, tick, flags | (sent.isReply ? FLAG_REPLY : 0), bare ? BARE_BYTES : DATA_BYTES)
    }
    if (!isTcp) return this.process(sent, tick, 0, DATA_BYTES)
    const reason = this.process(sent, tick, known ? TCP_ACK | TCP_PSH : TCP_SYN, known ? DATA_BYTES : BARE_BYTES)
    if (reason !== REASON_NONE) return reason
    const affinity = this.dataplane.slowPath.selector.choice.affinity
    this.process(sent, tick, (known ? TCP_ACK : TCP_SYN | TCP_ACK) | FLAG_REPLY, BARE_BYTES)
    if (!known) this.process(sent, tick, TCP_ACK, BARE_BYTES)
    this.dataplane.slowPath.selector.choice.affinity = affinity
    return reason
  }

  private define(sent: Sent): void {
    const { connections } = this.dataplane
    connections.slot[0] = sent.connection
    connections.client[0] = sent.client
    connections.destination[0] = sent.destination
    connections.sourcePort[0] = sent.sourcePort
    this.dataplane.define(0, 1)
    this.defined.add(sent.connection)
  }

  private status(connection: number): number {
    return this.dataplane.flows[(connection << FLOW_SHIFT) + FLOW_STATUS]! & 0xff
  }

  private isUnderWay(connection: number): boolean {
    const status = this.status(connection)
    return this.defined.has(connection) && ((status >= FLOW_OPEN && status <= FLOW_CHAIN) || status === FLOW_ORPHANED)
  }

  /** Whether conntrack still knows the connection: its pod may have gone all the same. */
  private isKnown(connection: number, nowMs: number): boolean {
    if (!this.isUnderWay(connection)) return false
    const { slowPath } = this.dataplane
    const flow = connection << FLOW_SHIFT
    return this.status(connection) === FLOW_ORPHANED ? slowPath.hasEntries(flow, nowMs) : slowPath.isAlive(flow, nowMs)
  }

  /** @returns the reason for which the packet was lost, or REASON_NONE */
  private process(sent: Sent, tick: number, flags: number, length: number): number {
    const { packets, result, layout } = this.dataplane
    const { reasonCounts, nodeCounts } = this
    reasonCounts.set(result.subarray(layout.reasons, layout.reasons + reasonCounts.length))
    for (let node = 0; node < nodeCounts.length; node++) nodeCounts[node] = this.entries(node)
    const unsent = result[layout.totals + TOTAL_NOT_SENT]!
    packets.time[0] = 0
    packets.slot[0] = sent.connection
    packets.flags[0] = flags
    packets.length[0] = length
    this.dataplane.process(0, 0, tick, 0, 1)
    const entered = nodeCounts.findIndex((before, node) => this.entries(node) > before)
    if (entered >= 0) this.entered = entered
    if (result[layout.totals + TOTAL_NOT_SENT]! > unsent) return this.lastReason
    this.lastReason = Math.max(
      0,
      reasonCounts.findIndex((before, code) => result[layout.reasons + code]! > before),
    )
    return this.lastReason
  }

  private entries(node: number): number {
    const { result, layout } = this.dataplane
    return result[layout.nodes + node * NODE_WORDS + NODE_CONNECTIONS]!
  }

  private read(
    sent: Sent,
    flow: number,
    known: boolean,
    before: EntryState | null,
    reason: number,
    nowMs: number,
  ): Result {
    const { flows, slowPath } = this.dataplane
    const open = this.isUnderWay(sent.connection)
    const delivered = flows[flow + FLOW_NAT_PORTS]!
    return {
      known,
      before,
      after: (known || open) && slowPath.hasEntries(flow, nowMs) ? this.entryState(flow, nowMs) : null,
      reason,
      entered: this.entered < 0 && (known || open) ? flows[flow + FLOW_NODE_PROTOCOL]! >> 8 : this.entered,
      // A lost reply leaves the line unfinished, though an endpoint has been chosen.
      endpoint: open || known ? flows[flow + FLOW_ENDPOINT]! : slowPath.endpoint,
      affinity: slowPath.selector.choice.affinity,
      recalled: slowPath.selector.choice.recalled,
      seen: open ? flows[flow + FLOW_NAT_SOURCE]! : flows[flow + FLOW_CLIENT]!,
      seenPort: open ? delivered >>> 16 : sent.sourcePort,
      backend: open ? flows[flow + FLOW_BACKEND]! : -1,
      backendPort: open ? delivered & 0xffff : 0,
    }
  }

  private entryState(flow: number, nowMs: number): EntryState {
    const { entries } = this.dataplane.table
    const base = this.dataplane.flows[flow + FLOW_ENTRY]! << ENTRY_SHIFT
    return {
      name: STATE_NAMES[entries[base + ENTRY_STATE]! & 15]!,
      secondsLeft: ((entries[base + ENTRY_EXPIRES]! - nowMs) | 0) / 1000,
    }
  }
}
