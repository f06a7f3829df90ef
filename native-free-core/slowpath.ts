/**
 * The slow path: what a packet can do that the fast path does not. Opening a connection is in `opening.ts`; here are state
 * changes, entries that have gone, and connections whose pod has.
 */
import {
  FLOW_ANSWERED,
  LINE_BACKEND,
  LINE_CHAIN,
  LINE_CLIENT,
  LINE_DELIVERED_PORTS,
  LINE_DESTINATION,
  LINE_ENDPOINT,
  LINE_ENTRY,
  LINE_FAILED,
  LINE_FIRST_NANOS,
  LINE_FLOW,
  LINE_NODE_PROTOCOL,
  LINE_OPEN,
  LINE_PORTS,
  LINE_SEEN,
  LINE_SHIFT,
  LINE_STATUS,
} from './connection.ts'
import { CLASS_NONE, CLASS_SYN, FLAG_CLASS, INVALID, initialState, REOPEN } from './conntrack.ts'
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
} from './flowtable.ts'
import { Opening } from './opening.ts'
import { FLAG_REPLY, HEADER_ONLY_BYTES, PROTOCOL_TCP, PROTOCOL_UDP } from './packet.ts'
import { SETTING_TCP_LOOSE } from './ruleset.ts'
import { REASON_ENTRY_LOST, REASON_NONE, REASON_REPLY_LOST } from './verdict.ts'

export class SlowPath extends Opening {
  /**
   * A packet of an open connection that the fast path could not take: a state change, or an entry that has gone.
   * @returns REASON_NONE when it was delivered
   */
  step(line: number, flags: number, length: number, nowMs: number, tick: number, shard: number): number {
    const { lines } = this
    const protocol = lines[line + LINE_STATUS] >> 8
    const flagClass = protocol === PROTOCOL_TCP ? FLAG_CLASS[flags & 63] : CLASS_NONE
    const direction = flags >> 7
    this.tracker.shard = shard
    this.tracker.nowMs = nowMs | 0
    const payload = protocol === PROTOCOL_TCP && length > HEADER_ONLY_BYTES
    if (!this.resolve(line)) return this.entryGone(line, flags, nowMs, tick, shard)
    const { path } = this
    const outcome = this.tracker.advance(path.entry0, direction, flagClass, payload)
    if (path.entry1 !== 0) this.tracker.advance(path.entry1, direction, flagClass, payload)
    if (path.entry2 !== 0) this.tracker.advance(path.entry2, direction, flagClass, payload)
    if (outcome === INVALID) return this.invalid(lines[line + LINE_NODE_PROTOCOL] >> 8)
    if (outcome === REOPEN) return this.open(line, flags, nowMs, tick, shard)
    return REASON_NONE
  }

  /** Whether the connection of a line is under way and all its entries are alive. */
  isAlive(line: number, nowMs: number): boolean {
    const status = this.lines[line + LINE_STATUS] & 0xff
    this.tracker.nowMs = nowMs | 0
    return status >= LINE_OPEN && status <= LINE_CHAIN && this.resolve(line)
  }

  /** Whether the entries of an orphaned connection are still there. */
  hasEntries(line: number, nowMs: number): boolean {
    this.tracker.nowMs = nowMs | 0
    return this.resolve(line)
  }

  /**
   * A packet of a client whose pod is gone. Conntrack lets it through although nobody will answer, and it keeps the entries alive.
   * @returns whether it opens a connection of its own: a datagram without an entry, or a SYN where the old connection is over
   */
  opensAnew(line: number, flags: number, nowMs: number): boolean {
    this.tracker.nowMs = nowMs | 0
    const isTcp = this.lines[line + LINE_STATUS] >> 8 === PROTOCOL_TCP
    const flagClass = isTcp ? FLAG_CLASS[flags & 63] : CLASS_NONE
    if (!this.resolve(line)) return !isTcp || flagClass === CLASS_SYN
    const { path } = this
    const outcome = this.tracker.advance(path.entry0, 0, flagClass, false)
    if (path.entry1 !== 0) this.tracker.advance(path.entry1, 0, flagClass, false)
    if (path.entry2 !== 0) this.tracker.advance(path.entry2, 0, flagClass, false)
    return outcome === REOPEN
  }

  /**
   * Finds the live entries of a line's hops, from the client's side: each hop's key is the packet as the hop before sent it on.
   * @returns whether all are there and still lead to the pod that the line names; `path` holds them
   */
  private resolve(line: number): boolean {
    const { lines, entries, path, third } = this
    const at = (line >> LINE_SHIFT) * 2
    const chain = (lines[line + LINE_STATUS] & 0xff) === LINE_CHAIN
    let source = lines[line + LINE_CLIENT]
    let destination = lines[line + LINE_DESTINATION]
    let ports = lines[line + LINE_PORTS]
    path.entry0 = path.entry1 = path.entry2 = 0
    for (let hop = 0; hop < (chain ? 3 : 2); hop++) {
      const nodeProtocol = hop === 2 ? third[at + 1] : lines[line + LINE_NODE_PROTOCOL + hop]
      if (nodeProtocol < 0) break
      const stored = hop === 2 ? third[at] : lines[line + LINE_ENTRY + hop]
      let base = stored << ENTRY_SHIFT
      let entry = stored
      if (
        entries[base + ENTRY_NODE_PROTOCOL] !== nodeProtocol ||
        entries[base + ENTRY_SOURCE] !== source ||
        entries[base + ENTRY_DESTINATION] !== destination ||
        entries[base + ENTRY_PORTS] !== ports ||
        ((entries[base + ENTRY_EXPIRES] - this.tracker.nowMs) | 0) <= 0
      ) {
        entry = this.tracker.find(source, destination, ports, nodeProtocol)
        if (entry === 0) return false
        base = entry << ENTRY_SHIFT
        if (hop === 2) third[at] = entry
        else lines[line + LINE_ENTRY + hop] = entry
      }
      if (hop === 0) path.entry0 = entry
      else if (hop === 1) path.entry1 = entry
      else path.entry2 = entry
      source = entries[base + ENTRY_REPLY_DESTINATION]
      destination = entries[base + ENTRY_REPLY_SOURCE]
      ports = swapPorts(entries[base + ENTRY_REPLY_PORTS])
    }
    return (
      source === lines[line + LINE_SEEN] &&
      destination === lines[line + LINE_BACKEND] &&
      ports === lines[line + LINE_DELIVERED_PORTS]
    )
  }

  /** An entry of an open connection has expired or was evicted. */
  private entryGone(line: number, flags: number, nowMs: number, tick: number, shard: number): number {
    const { lines } = this
    const backend = lines[line + LINE_BACKEND]
    const ports = lines[line + LINE_DELIVERED_PORTS]
    const seen = lines[line + LINE_SEEN]
    const protocol = lines[line + LINE_STATUS] >> 8
    if ((flags & FLAG_REPLY) !== 0) {
      const translated =
        backend !== lines[line + LINE_DESTINATION] ||
        seen !== lines[line + LINE_CLIENT] ||
        ports !== lines[line + LINE_PORTS]
      if (!translated) {
        // Untranslated, conntrack picks the connection up from the other side, where it picks up at all.
        const flagClass = protocol === PROTOCOL_TCP ? FLAG_CLASS[flags & 63] : CLASS_NONE
        const picksUp = initialState(protocol, flagClass, this.rules.settings[SETTING_TCP_LOOSE] !== 0) !== INVALID
        return picksUp ? REASON_NONE : this.invalid(lines[line + LINE_NODE_PROTOCOL] >> 8)
      }
      // ipvs translates a late answer back as long as it has the connection; what NAT of the node did to the source only conntrack knew.
      const keptSource = seen === lines[line + LINE_CLIENT] && ports >>> 16 === lines[line + LINE_PORTS] >>> 16
      if (keptSource && this.isKnownToIpvs(line)) return this.openAgain(line, flags & ~FLAG_REPLY, nowMs, tick, shard)
      lines[line + LINE_STATUS] = LINE_FAILED | (protocol << 8)
      return REASON_REPLY_LOST
    }
    const reason = this.openAgain(line, flags, nowMs, tick, shard)
    if (reason !== REASON_NONE) return reason
    const same =
      backend === lines[line + LINE_BACKEND] &&
      seen === lines[line + LINE_SEEN] &&
      ports === lines[line + LINE_DELIVERED_PORTS]
    if (same || protocol === PROTOCOL_UDP) return REASON_NONE
    // The pod gets a segment of a connection it does not know and answers with a RST.
    lines[line + LINE_STATUS] = LINE_FAILED | (protocol << 8)
    return REASON_ENTRY_LOST
  }

  private isKnownToIpvs(line: number): boolean {
    const { lines } = this
    return this.selector.isKnownToIpvs(
      lines[line + LINE_CLIENT],
      lines[line + LINE_DESTINATION],
      lines[line + LINE_PORTS],
      lines[line + LINE_NODE_PROTOCOL],
      lines[line + LINE_ENDPOINT],
    )
  }

  /** A connection under way makes new entries, where it came in before. */
  private openAgain(line: number, flags: number, nowMs: number, tick: number, shard: number): number {
    const { lines } = this
    const firstNanos = lines[line + LINE_FIRST_NANOS]
    const answered = lines[line + LINE_FLOW] & FLOW_ANSWERED
    this.staysOn = lines[line + LINE_NODE_PROTOCOL] >> 8
    const reason = this.open(line, flags, nowMs, tick, shard)
    this.staysOn = -1
    if (reason !== REASON_NONE) return reason
    lines[line + LINE_FIRST_NANOS] = firstNanos
    lines[line + LINE_FLOW] |= answered
    return REASON_NONE
  }
}
