/**
 * The slow path: what a packet can do that the fast path does not. ConnectionSetup a connection is in `connection-setup.ts`; here are state
 * changes, entries that have gone, and connections whose pod has.
 */

import { ConnectionSetup } from './connection-setup.ts'
import {
  ENTRY_DESTINATION,
  ENTRY_EXPIRES,
  ENTRY_NODE_PROTOCOL,
  ENTRY_PORTS,
  ENTRY_REPLY_DESTINATION,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SHIFT,
  ENTRY_SOURCE,
  swapPorts,
} from './conntrack-table.ts'
import { REASON_ENTRY_LOST, REASON_NONE, REASON_REPLY_LOST } from './drop-reasons.ts'
import {
  FLOW_ANSWERED,
  FLOW_BACKEND,
  FLOW_CHAIN,
  FLOW_CLIENT,
  FLOW_DESTINATION,
  FLOW_ENDPOINT,
  FLOW_ENTRY,
  FLOW_FAILED,
  FLOW_FIRST_NANOS,
  FLOW_FLAGS,
  FLOW_NAT_PORTS,
  FLOW_NAT_SOURCE,
  FLOW_NODE_PROTOCOL,
  FLOW_OPEN,
  FLOW_PORTS,
  FLOW_SHIFT,
  FLOW_STATUS,
} from './flow-record.ts'
import type { FlowOffset, Millis32, Shard, Tick32 } from './kinds.ts'
import { FLAG_REPLY, HEADER_ONLY_BYTES, PROTOCOL_TCP, PROTOCOL_UDP } from './packet.ts'
import { policyBetween } from './policy.ts'
import { SETTING_TCP_LOOSE } from './rule-columns.ts'
import { CLASS_NONE, CLASS_SYN, FLAG_CLASS, INVALID, initialState, REOPEN } from './tcp-states.ts'

export class SlowPath extends ConnectionSetup {
  /**
   * A packet of an open connection that the fast path could not take: a state change, or an entry that has gone.
   * @returns REASON_NONE when it was delivered
   */
  step(shard: Shard, flow: FlowOffset, flags: number, length: number, nowMs: Millis32, tick: Tick32): number {
    const { flows } = this
    const protocol = flows[flow + FLOW_STATUS] >> 8
    const flagClass = protocol === PROTOCOL_TCP ? FLAG_CLASS[flags & 63] : CLASS_NONE
    const direction = flags >> 7
    this.conntrack.shard = shard
    this.conntrack.nowMs = nowMs | 0
    const payload = protocol === PROTOCOL_TCP && length > HEADER_ONLY_BYTES
    if (!this.resolve(flow)) return this.entryGone(shard, flow, flags, nowMs, tick)
    const { path } = this
    const outcome = this.conntrack.advance(path.entry0, direction, flagClass, payload)
    if (path.entry1 !== 0) this.conntrack.advance(path.entry1, direction, flagClass, payload)
    if (path.entry2 !== 0) this.conntrack.advance(path.entry2, direction, flagClass, payload)
    if (outcome === INVALID) return this.invalid(flows[flow + FLOW_NODE_PROTOCOL] >> 8)
    if (outcome === REOPEN) return this.open(shard, flow, flags, nowMs, tick)
    return REASON_NONE
  }

  /** Whether the connection of a flow record is under way and all its entries are alive. */
  isAlive(flow: FlowOffset, nowMs: Millis32): boolean {
    const status = this.flows[flow + FLOW_STATUS] & 0xff
    this.conntrack.nowMs = nowMs | 0
    return status >= FLOW_OPEN && status <= FLOW_CHAIN && this.resolve(flow)
  }

  /** Whether the entries of an orphaned connection are still there. */
  hasEntries(flow: FlowOffset, nowMs: Millis32): boolean {
    this.conntrack.nowMs = nowMs | 0
    return this.resolve(flow)
  }

  /**
   * A packet of a client whose pod is gone. Conntrack lets it through although nobody will answer, and it keeps the entries alive.
   * @returns whether it opens a connection of its own: a datagram without an entry, or a SYN where the old connection is over
   */
  opensAnew(flow: FlowOffset, flags: number, nowMs: Millis32): boolean {
    this.conntrack.nowMs = nowMs | 0
    const isTcp = this.flows[flow + FLOW_STATUS] >> 8 === PROTOCOL_TCP
    const flagClass = isTcp ? FLAG_CLASS[flags & 63] : CLASS_NONE
    if (!this.resolve(flow)) return !isTcp || flagClass === CLASS_SYN
    const { path } = this
    const outcome = this.conntrack.advance(path.entry0, 0, flagClass, false)
    if (path.entry1 !== 0) this.conntrack.advance(path.entry1, 0, flagClass, false)
    if (path.entry2 !== 0) this.conntrack.advance(path.entry2, 0, flagClass, false)
    return outcome === REOPEN
  }

  /**
   * Finds the live entries of a flow record's hops, from the client's side: each hop's key is the packet as the hop before sent it on.
   * @returns whether all are there and still lead to the pod that the flow record names; `path` holds them
   */
  private resolve(flow: FlowOffset): boolean {
    const { flows, entries, path, third } = this
    const at = (flow >> FLOW_SHIFT) * 2
    const chain = (flows[flow + FLOW_STATUS] & 0xff) === FLOW_CHAIN
    let source = flows[flow + FLOW_CLIENT]
    let destination = flows[flow + FLOW_DESTINATION]
    let ports = flows[flow + FLOW_PORTS]
    path.entry0 = path.entry1 = path.entry2 = 0
    for (let hop = 0; hop < (chain ? 3 : 2); hop++) {
      const nodeProtocol = hop === 2 ? third[at + 1] : flows[flow + FLOW_NODE_PROTOCOL + hop]
      if (nodeProtocol < 0) break
      const stored = hop === 2 ? third[at] : flows[flow + FLOW_ENTRY + hop]
      let base = stored << ENTRY_SHIFT
      let entry = stored
      if (
        entries[base + ENTRY_NODE_PROTOCOL] !== nodeProtocol ||
        entries[base + ENTRY_SOURCE] !== source ||
        entries[base + ENTRY_DESTINATION] !== destination ||
        entries[base + ENTRY_PORTS] !== ports ||
        ((entries[base + ENTRY_EXPIRES] - this.conntrack.nowMs) | 0) <= 0
      ) {
        entry = this.conntrack.find(source, destination, ports, nodeProtocol)
        if (entry === 0) return false
        base = entry << ENTRY_SHIFT
        if (hop === 2) third[at] = entry
        else flows[flow + FLOW_ENTRY + hop] = entry
      }
      if (hop === 0) path.entry0 = entry
      else if (hop === 1) path.entry1 = entry
      else path.entry2 = entry
      source = entries[base + ENTRY_REPLY_DESTINATION]
      destination = entries[base + ENTRY_REPLY_SOURCE]
      ports = swapPorts(entries[base + ENTRY_REPLY_PORTS])
    }
    return (
      source === flows[flow + FLOW_NAT_SOURCE] &&
      destination === flows[flow + FLOW_BACKEND] &&
      ports === flows[flow + FLOW_NAT_PORTS]
    )
  }

  /** An entry of an open connection has expired or was evicted. */
  private entryGone(shard: Shard, flow: FlowOffset, flags: number, nowMs: Millis32, tick: Tick32): number {
    const { flows } = this
    const backend = flows[flow + FLOW_BACKEND]
    const ports = flows[flow + FLOW_NAT_PORTS]
    const natSource = flows[flow + FLOW_NAT_SOURCE]
    const protocol = flows[flow + FLOW_STATUS] >> 8
    if ((flags & FLAG_REPLY) !== 0) {
      const translated =
        backend !== flows[flow + FLOW_DESTINATION] ||
        natSource !== flows[flow + FLOW_CLIENT] ||
        ports !== flows[flow + FLOW_PORTS]
      if (!translated) {
        // Untranslated, conntrack picks the connection up from the other side, where it picks up at all.
        const flagClass = protocol === PROTOCOL_TCP ? FLAG_CLASS[flags & 63] : CLASS_NONE
        const picksUp = initialState(protocol, flagClass, this.rules.settings[SETTING_TCP_LOOSE] !== 0) !== INVALID
        // To conntrack it is the first packet of a connection from there.
        return picksUp
          ? policyBetween(this.rules, backend, natSource, ports >>> 16, protocol)
          : this.invalid(flows[flow + FLOW_NODE_PROTOCOL] >> 8)
      }
      // ipvs translates a late answer back as long as it has the connection; what NAT of the node did to the source only conntrack knew.
      const keptSource = natSource === flows[flow + FLOW_CLIENT] && ports >>> 16 === flows[flow + FLOW_PORTS] >>> 16
      if (keptSource && this.isKnownToIpvs(flow)) return this.openAgain(shard, flow, flags & ~FLAG_REPLY, nowMs, tick)
      flows[flow + FLOW_STATUS] = FLOW_FAILED | (protocol << 8)
      return REASON_REPLY_LOST
    }
    const reason = this.openAgain(shard, flow, flags, nowMs, tick)
    if (reason !== REASON_NONE) return reason
    const same =
      backend === flows[flow + FLOW_BACKEND] &&
      natSource === flows[flow + FLOW_NAT_SOURCE] &&
      ports === flows[flow + FLOW_NAT_PORTS]
    if (same || protocol === PROTOCOL_UDP) return REASON_NONE
    // The pod gets a segment of a connection it does not know and answers with a RST.
    flows[flow + FLOW_STATUS] = FLOW_FAILED | (protocol << 8)
    return REASON_ENTRY_LOST
  }

  private isKnownToIpvs(flow: FlowOffset): boolean {
    const { flows } = this
    return this.selector.isKnownToIpvs(
      flows[flow + FLOW_CLIENT],
      flows[flow + FLOW_DESTINATION],
      flows[flow + FLOW_PORTS],
      flows[flow + FLOW_NODE_PROTOCOL],
      flows[flow + FLOW_ENDPOINT],
    )
  }

  /** A connection under way makes new entries, where it came in before. */
  private openAgain(shard: Shard, flow: FlowOffset, flags: number, nowMs: Millis32, tick: Tick32): number {
    const { flows } = this
    const firstNanos = flows[flow + FLOW_FIRST_NANOS]
    const answered = flows[flow + FLOW_FLAGS] & FLOW_ANSWERED
    this.staysOn = flows[flow + FLOW_NODE_PROTOCOL] >> 8
    const reason = this.open(shard, flow, flags, nowMs, tick)
    this.staysOn = -1
    if (reason !== REASON_NONE) return reason
    flows[flow + FLOW_FIRST_NANOS] = firstNanos
    flows[flow + FLOW_FLAGS] |= answered
    return REASON_NONE
  }
}
