/**
 * Opens connections: what the trace says of one goes on its way, and what became of it is written down.
 *
 * A connection to a name asks for the address first (`Names`); then its opening packet travels (`Journey`), and the path it
 * took is kept in its line, for the fast path to follow.
 */
import {
  FLOW_CORE_SHIFT,
  FLOW_CORE2_SHIFT,
  FLOW_HASH_BITS,
  FLOW_MASQUERADED,
  FLOW_PROXIED,
  LINE_BACKEND,
  LINE_CHAIN,
  LINE_CLIENT,
  LINE_DELIVERED_PORTS,
  LINE_DESTINATION,
  LINE_DESTINATION_INDEX,
  LINE_EDGE,
  LINE_ENDPOINT,
  LINE_ENTRY,
  LINE_ENTRY2,
  LINE_FAILED,
  LINE_FIRST_NANOS,
  LINE_FLOW,
  LINE_FORWARD_NANOS,
  LINE_NEW,
  LINE_NODE_PROTOCOL,
  LINE_NODE_PROTOCOL2,
  LINE_OPEN,
  LINE_OPEN2,
  LINE_PORTS,
  LINE_SEEN,
  LINE_SHIFT,
  LINE_STATUS,
} from './connection.ts'
import { CLASS_NONE, FLAG_CLASS } from './conntrack.ts'
import { ENTRY_REPLY_DESTINATION, ENTRY_REPLY_PORTS, ENTRY_REPLY_SOURCE, ENTRY_SHIFT, swapPorts } from './flowtable.ts'
import { finish, mix } from './hash.ts'
import { Journey, type JourneyParts } from './journey.ts'
import { Names } from './names.ts'
import { FLAG_REPLY, PROTOCOL_TCP } from './packet.ts'
import {
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  NODE_CONNECTIONS,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_CROSS_NODE,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
} from './result.ts'
import { DESTINATION_NAME } from './ruleset.ts'
import { REASON_INVALID_STATE, REASON_NONE } from './verdict.ts'

export class Opening extends Journey {
  readonly names: Names

  constructor(parts: JourneyParts) {
    super(parts)
    this.names = new Names(this)
  }

  /** A new run. */
  begin(seed: number): void {
    this.seed = seed
    this.tracker.begin()
    this.selector.clear()
    this.names.begin(this.rules)
  }

  /**
   * The opening packet of a connection (or a packet of one whose entries are gone).
   * @param line  offset of the connection's line
   * @param tick  the packet's time, low 32 bits: part of the connection's identity
   * @returns     REASON_NONE when it was delivered, else why not; the line's status says the same
   */
  open(line: number, flags: number, nowMs: number, tick: number, shard: number): number {
    const { lines } = this
    this.tracker.shard = shard
    this.tracker.nowMs = nowMs
    this.depart(line, flags, tick)
    this.names.nanos = 0
    if ((flags & FLAG_REPLY) !== 0) {
      // An answer to a connection that nobody opened: it leads nowhere, and is tried once only.
      if ((lines[line + LINE_STATUS] & 0xff) === LINE_NEW) {
        lines[line + LINE_STATUS] = LINE_FAILED | (this.protocol << 8)
      }
      return REASON_INVALID_STATE
    }
    const meant = this.rules.destinationIsService[lines[line + LINE_DESTINATION_INDEX]]
    let reason = meant === DESTINATION_NAME ? this.dialName(line, flags, tick) : REASON_NONE
    if (reason === REASON_NONE) reason = this.travel(line, meant)
    if (reason !== REASON_NONE) {
      lines[line + LINE_STATUS] = LINE_FAILED | (this.protocol << 8)
      return reason
    }
    this.finishLine(line)
    return REASON_NONE
  }

  /** A connection sets out as its line says. */
  private depart(line: number, flags: number, tick: number): void {
    const { lines } = this
    const protocol = lines[line + LINE_STATUS] >> 8
    const source = lines[line + LINE_CLIENT]
    const destination = lines[line + LINE_DESTINATION]
    const ports = lines[line + LINE_PORTS]
    const flagClass = protocol === PROTOCOL_TCP ? FLAG_CLASS[flags & 63] : CLASS_NONE
    this.setOut(source, destination, ports, protocol, flagClass, wordOf(tick, source, destination, ports))
  }

  /** A new connection asks where the name is and dials what it is told; one under way stays where it is. */
  private dialName(line: number, flags: number, tick: number): number {
    const { lines, names } = this
    if ((lines[line + LINE_STATUS] & 0xff) !== LINE_NEW) {
      this.endpoint = lines[line + LINE_ENDPOINT]
      return REASON_NONE
    }
    const name = this.rules.destinationName[lines[line + LINE_DESTINATION_INDEX]]
    const reason = names.resolve(this.source, name, this.connectionWord)
    if (reason === REASON_NONE) lines[line + LINE_DESTINATION] = names.address
    // The questions were the packets at hand until now.
    this.depart(line, flags, tick)
    if (reason === REASON_NONE) this.endpoint = names.endpoint
    return reason
  }

  /** Writes the opened path into the line. */
  private finishLine(line: number): void {
    const { lines, path, entries } = this
    const base = path.entry0 << ENTRY_SHIFT
    const translatedFirst =
      entries[base + ENTRY_REPLY_SOURCE] === this.destination &&
      entries[base + ENTRY_REPLY_DESTINATION] === this.source &&
      entries[base + ENTRY_REPLY_PORTS] === swapPorts(this.packetPorts)
    const status =
      path.hops === 0
        ? LINE_EDGE
        : path.hops === 3 || !translatedFirst
          ? LINE_CHAIN
          : path.hops === 2
            ? LINE_OPEN2
            : LINE_OPEN
    lines[line + LINE_STATUS] = status | (this.protocol << 8)
    lines[line + LINE_ENTRY] = path.entry0
    lines[line + LINE_NODE_PROTOCOL] = (path.node0 << 8) | this.protocol
    lines[line + LINE_ENTRY2] = path.entry1
    lines[line + LINE_NODE_PROTOCOL2] = (path.node1 << 8) | this.protocol
    if (status === LINE_CHAIN) {
      const at = (line >> LINE_SHIFT) * 2
      this.third[at] = path.entry2
      this.third[at + 1] = (path.node2 << 8) | this.protocol
    }
    lines[line + LINE_FORWARD_NANOS] = path.forwardNanos
    const core = path.hops > 0 ? this.core(path.node0, this.connectionWord, line) << FLOW_CORE_SHIFT : 0
    const core2 = path.hops > 1 ? this.core(path.node1, this.connectionWord, line) << FLOW_CORE2_SHIFT : 0
    const flags = (path.masqueraded !== 0 ? FLOW_MASQUERADED : 0) | this.proxied()
    lines[line + LINE_FLOW] = (this.connectionWord & FLOW_HASH_BITS) | flags | core | core2
    lines[line + LINE_FIRST_NANOS] = path.forwardNanos + path.firstExtraNanos
    lines[line + LINE_ENDPOINT] = this.endpoint
    lines[line + LINE_BACKEND] = this.destination
    lines[line + LINE_SEEN] = this.source
    lines[line + LINE_DELIVERED_PORTS] = this.packetPorts
  }

  /** Whether it has got to a port on which a proxy listens: others of a node's address are no concern of a proxy there. */
  private proxied(): number {
    return this.proxyAtHand() < 0 ? 0 : FLOW_PROXIED
  }

  /** Counts the connection that `open` has just tried; only for its first opening. @param reason what `open` returned */
  countOpening(line: number, reason: number, client: number): void {
    const { path } = this
    if (this.entered >= 0) this.count(this.entered, NODE_CONNECTIONS, 1)
    this.total(reason === REASON_NONE ? TOTAL_ESTABLISHED : TOTAL_FAILED)
    if (reason !== REASON_NONE) return
    if (path.hops > 1) this.total(TOTAL_CROSS_NODE)
    if (path.masqueraded !== 0) this.total(TOTAL_MASQUERADED)
    // Behind a balancer at the edge no pod sees the client's address.
    if (this.lines[line + LINE_SEEN] === client && path.hops > 0) this.total(TOTAL_CLIENT_IP_KEPT)
    const endpoint = this.lines[line + LINE_ENDPOINT]
    if (endpoint >= 0) {
      const at = this.layout.endpoints + endpoint * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS
      this.result[at] = this.result[at] + 1
    }
  }

  /** The core on which the node that a connection came in on has taken its packet. */
  enteredCore(line: number): number {
    return this.core(this.entered, this.connectionWord, line)
  }

  private total(word: number): void {
    const at = this.layout.totals + word
    this.result[at] = this.result[at] + 1
  }

  /** Counts a packet that was not delivered. */
  countLoss(reason: number): void {
    const at = this.layout.reasons + reason
    this.result[at] = this.result[at] + 1
  }
}

/** The random word of a connection. */
export function wordOf(tick: number, source: number, destination: number, ports: number): number {
  return finish(mix(mix(mix(tick | 0, source), destination), ports))
}
