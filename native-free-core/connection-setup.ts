/**
 * Opens connections: what the trace says of one goes on its way, and what became of it is written down.
 *
 * A connection to a name asks for the address first (`DnsClient`); then its opening packet travels (`FlowSetup`), and the path it
 * took is kept in its flow record, for the fast path to follow.
 */

import {
  ENTRY_REPLY_DESTINATION,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SHIFT,
  swapPorts,
} from './conntrack-table.ts'
import { DnsClient } from './dns-client.ts'
import { REASON_INVALID_STATE, REASON_NONE } from './drop-reasons.ts'
import {
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
  FLOW_FIRST_NANOS,
  FLOW_FLAGS,
  FLOW_FORWARD_NANOS,
  FLOW_HASH_BITS,
  FLOW_MASQUERADED,
  FLOW_NAT_PORTS,
  FLOW_NAT_SOURCE,
  FLOW_NEW,
  FLOW_NODE_PROTOCOL,
  FLOW_NODE_PROTOCOL2,
  FLOW_OPEN,
  FLOW_OPEN2,
  FLOW_PORTS,
  FLOW_PROXIED,
  FLOW_SHIFT,
  FLOW_STATUS,
} from './flow-record.ts'
import { FlowSetup, type FlowSetupParts } from './flow-setup.ts'
import { finish, mix } from './hash.ts'
import type { AddressId, FlowOffset, Millis32, PortPair, RandomWord, Shard, Tick32 } from './kinds.ts'
import { FLAG_REPLY, PROTOCOL_TCP } from './packet.ts'
import {
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  NODE_ARRIVED,
  NODE_CONNECTIONS,
  NODE_FROM_OUTSIDE,
  NODE_LEFT,
  NODE_STAYED,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_CROSS_NODE,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
} from './result.ts'
import { DESTINATION_NAME } from './rule-columns.ts'
import { CLASS_NONE, FLAG_CLASS } from './tcp-states.ts'

export class ConnectionSetup extends FlowSetup {
  readonly names: DnsClient

  constructor(parts: FlowSetupParts) {
    super(parts)
    this.names = new DnsClient(this)
  }

  /** A new run. */
  begin(seed: number): void {
    this.seed = seed
    this.conntrack.begin()
    this.selector.clear()
    this.names.begin(this.rules)
  }

  /**
   * The opening packet of a connection (or a packet of one whose entries are gone).
   * @param flow  offset of the connection's flow record
   * @param tick  the packet's time, low 32 bits: part of the connection's identity
   * @returns     REASON_NONE when it was delivered, else why not; the flow record's status says the same
   */
  open(shard: Shard, flow: FlowOffset, flags: number, nowMs: Millis32, tick: Tick32): number {
    const { flows } = this
    this.conntrack.shard = shard
    this.conntrack.nowMs = nowMs
    this.startFlow(flow, flags, tick)
    this.names.told.nanos = 0
    if ((flags & FLAG_REPLY) !== 0) {
      // An answer to a connection that nobody opened: it leads nowhere, and is tried once only.
      if ((flows[flow + FLOW_STATUS] & 0xff) === FLOW_NEW) {
        flows[flow + FLOW_STATUS] = FLOW_FAILED | (this.protocol << 8)
      }
      return REASON_INVALID_STATE
    }
    const meant = this.rules.destinationIsService[flows[flow + FLOW_DESTINATION_INDEX]]
    let reason = meant === DESTINATION_NAME ? this.dialName(flow, flags, tick) : REASON_NONE
    if (reason === REASON_NONE) reason = this.forward(flow, meant)
    if (reason !== REASON_NONE) {
      flows[flow + FLOW_STATUS] = FLOW_FAILED | (this.protocol << 8)
      return reason
    }
    this.finishFlow(flow)
    return REASON_NONE
  }

  /** A connection sets out as its flow record says. */
  private startFlow(flow: FlowOffset, flags: number, tick: Tick32): void {
    const { flows } = this
    const protocol = flows[flow + FLOW_STATUS] >> 8
    const source = flows[flow + FLOW_CLIENT]
    const destination = flows[flow + FLOW_DESTINATION]
    const ports = flows[flow + FLOW_PORTS]
    const flagClass = protocol === PROTOCOL_TCP ? FLAG_CLASS[flags & 63] : CLASS_NONE
    this.start(source, destination, ports, protocol, flagClass, connectionRandom(tick, source, destination, ports))
  }

  /** A new connection asks where the name is and dials what it is told; one under way stays where it is. */
  private dialName(flow: FlowOffset, flags: number, tick: Tick32): number {
    const { flows, names } = this
    if ((flows[flow + FLOW_STATUS] & 0xff) !== FLOW_NEW) {
      this.endpoint = flows[flow + FLOW_ENDPOINT]
      return REASON_NONE
    }
    const name = this.rules.destinationName[flows[flow + FLOW_DESTINATION_INDEX]]
    const { reason, address, endpoint } = names.resolve(this.source, name, this.connectionRandomWord)
    if (reason === REASON_NONE) flows[flow + FLOW_DESTINATION] = address
    // The questions were the packets at hand until now.
    this.startFlow(flow, flags, tick)
    if (reason === REASON_NONE) this.endpoint = endpoint
    return reason
  }

  /** Writes the opened path into the flow record. Twin: fast-setup.ts `open`. */
  private finishFlow(flow: FlowOffset): void {
    const { flows, path, entries } = this
    const base = path.entry0 << ENTRY_SHIFT
    const translatedFirst =
      entries[base + ENTRY_REPLY_SOURCE] === this.destination &&
      entries[base + ENTRY_REPLY_DESTINATION] === this.source &&
      entries[base + ENTRY_REPLY_PORTS] === swapPorts(this.packetPorts)
    const status =
      path.hops === 0
        ? FLOW_EDGE
        : path.hops === 3 || !translatedFirst
          ? FLOW_CHAIN
          : path.hops === 2
            ? FLOW_OPEN2
            : FLOW_OPEN
    flows[flow + FLOW_STATUS] = status | (this.protocol << 8)
    flows[flow + FLOW_ENTRY] = path.entry0
    flows[flow + FLOW_NODE_PROTOCOL] = (path.node0 << 8) | this.protocol
    flows[flow + FLOW_ENTRY2] = path.entry1
    flows[flow + FLOW_NODE_PROTOCOL2] = (path.node1 << 8) | this.protocol
    if (status === FLOW_CHAIN) {
      const at = (flow >> FLOW_SHIFT) * 2
      this.third[at] = path.entry2
      this.third[at + 1] = (path.node2 << 8) | this.protocol
    }
    flows[flow + FLOW_FORWARD_NANOS] = path.forwardNanos
    const core = path.hops > 0 ? this.core(path.node0, this.connectionRandomWord, flow) << FLOW_CORE_SHIFT : 0
    const core2 = path.hops > 1 ? this.core(path.node1, this.connectionRandomWord, flow) << FLOW_CORE2_SHIFT : 0
    const flags = (path.masqueraded !== 0 ? FLOW_MASQUERADED : 0) | this.proxied()
    flows[flow + FLOW_FLAGS] = (this.connectionRandomWord & FLOW_HASH_BITS) | flags | core | core2
    flows[flow + FLOW_FIRST_NANOS] = path.forwardNanos + path.firstExtraNanos
    flows[flow + FLOW_ENDPOINT] = this.endpoint
    flows[flow + FLOW_BACKEND] = this.destination
    flows[flow + FLOW_NAT_SOURCE] = this.source
    flows[flow + FLOW_NAT_PORTS] = this.packetPorts
  }

  /** Whether it has got to a port on which a proxy listens: others of a node's address are no concern of a proxy there. */
  private proxied(): number {
    return this.proxyAtHand() < 0 ? 0 : FLOW_PROXIED
  }

  /** Counts the connection that `open` has just tried; only for its first opening. @param reason what `open` returned */
  countOpening(flow: FlowOffset, reason: number, client: AddressId): void {
    const { path } = this
    if (this.entered >= 0) this.count(this.entered, NODE_CONNECTIONS, 1)
    this.total(reason === REASON_NONE ? TOTAL_ESTABLISHED : TOTAL_FAILED)
    if (reason !== REASON_NONE) return
    if (path.hops > 1) this.total(TOTAL_CROSS_NODE)
    if (path.masqueraded !== 0) this.total(TOTAL_MASQUERADED)
    // Behind a balancer at the edge no pod sees the client's address.
    if (this.flows[flow + FLOW_NAT_SOURCE] === client && path.hops > 0) this.total(TOTAL_CLIENT_IP_KEPT)
    const endpoint = this.flows[flow + FLOW_ENDPOINT]
    if (endpoint >= 0) {
      const at = this.layout.endpoints + endpoint * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS
      this.result[at] = this.result[at] + 1
      if (this.entered >= 0) this.countPath(this.rules.addressNode[this.flows[flow + FLOW_BACKEND]], client)
    }
  }

  /** @param to  the endpoint's node, negative for one outside of the cluster */
  private countPath(to: number, client: number): void {
    const { entered } = this
    const masked = this.path.masqueraded !== 0 ? 1 : 0
    if (this.rules.addressNode[client] < 0) this.count(entered, NODE_FROM_OUTSIDE, 1)
    this.count(entered, (to === entered ? NODE_STAYED : NODE_LEFT) + masked, 1)
    if (to >= 0 && to !== entered) this.count(to, NODE_ARRIVED + masked, 1)
  }

  /** The core on which the node that a connection came in on has taken its packet. */
  enteredCore(flow: FlowOffset): number {
    return this.core(this.entered, this.connectionRandomWord, flow)
  }

  private total(counter: number): void {
    const at = this.layout.totals + counter
    this.result[at] = this.result[at] + 1
  }

  /** Counts a packet that was not delivered. */
  countLoss(reason: number): void {
    const at = this.layout.reasons + reason
    this.result[at] = this.result[at] + 1
  }
}

/** The random word of a connection. */
export function connectionRandom(tick: Tick32, source: AddressId, destination: AddressId, ports: PortPair): RandomWord {
  return finish(mix(mix(mix(tick | 0, source), destination), ports))
}
