/**
 * What conntrack does around its table: make room, insert, advance, expire, find a source port, and count all of it.
 *
 * One object serves all shards and nodes of a worker; the shard and the time of the packet at hand are fields, so that
 * nothing is allocated per packet. A node's limit is enforced by quotas, one a shard, which the caller settles.
 *
 * A full table: early drop looks through 8 buckets from the new tuple's own and deletes every un-ASSURED entry of the node in
 * the first bucket that has one; expired ones are reaped on the way but do not count as room. Where nothing can be
 * evicted the packet is dropped, and the sweeper is told: above 95 % its next slow cycle (62 s) kills up to 257 closing or
 * un-ASSURED entries and forgets the order. With S shards each looks through S times the buckets for its own entries and
 * kills a share, so that the chance is the node's.
 * Source: linux net/netfilter/nf_conntrack_core.c (early_drop, gc_worker), measured on 6.18.
 */

import { CHECKED, check } from './checked.ts'
import {
  type ConntrackTable,
  createTuples,
  ENTRY_CREATED,
  ENTRY_DESTINATION,
  ENTRY_ENDPOINT,
  ENTRY_EXPIRES,
  ENTRY_FRONTEND_SHIFT,
  ENTRY_NODE_PROTOCOL,
  ENTRY_OWNER,
  ENTRY_PORT_COUNTER,
  ENTRY_PORTS,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SERVICE_COUNTER,
  ENTRY_SHIFT,
  ENTRY_STATE,
  type EntryTuples,
  STATUS_ASSURED,
  STATUS_PICKED_UP,
  STATUS_SEEN_REPLY,
} from './conntrack-table.ts'
import { findFrontend } from './decide.ts'
import { hashTuple } from './hash.ts'
import type {
  AddressId,
  EndpointId,
  EntryNumber,
  Millis,
  Millis32,
  NodeId,
  NodeProtocol,
  Port,
  PortPair,
  RandomWord,
  ServicePortId,
  Shard,
  TupleHash,
} from './kinds.ts'
import { findPort } from './nat-ports.ts'
import { PROTOCOL_UDP } from './packet.ts'
import { PairCounters } from './pair-counters.ts'
import {
  NODE_CONNTRACK_DROPS,
  NODE_EARLY_DROPS,
  NODE_FOUND,
  NODE_INSERT,
  NODE_INSERT_FAILED,
  NODE_WORDS,
  type ResultLayout,
} from './result.ts'
import {
  FRONTEND_HEALTH_CHECK,
  NO_RULES,
  nodePortAddress,
  type RuleColumns,
  SETTING_CLEANS_EMPTY,
  SETTING_RANDOM_FULLY,
  SETTING_UNACKNOWLEDGED_MS,
} from './rule-columns.ts'
import {
  BY_AGE,
  CLASS_SYN,
  CLASS_SYNACK,
  CLOSE_BY_CLIENT,
  CLOSE_BY_SERVER,
  CLOSE_WAIT,
  DELETE,
  ESTABLISHED,
  FIN_WAIT,
  GENERIC,
  IGNORED,
  INVALID,
  initialState,
  LAST_ACK,
  REOPEN,
  SYN_RECV,
  TIME_WAIT,
  TRANSITIONS,
  UDP_REPLIED,
  UDP_STREAM,
  UDP_STREAM_AGE_MS,
} from './tcp-states.ts'

/** Buckets that early drop looks through: NF_CT_EVICTION_RANGE. */
const EVICTION_RANGE = 8
/** The sweeper's early drop: one slow cycle, the kills it stops after (64000 / HZ + 1 at HZ 250), and its threshold. */
const GC_EARLY_DROP_CYCLE_MS = 62_000
const GC_EARLY_DROP_KILLS = 257
const GC_EARLY_DROP_FILL = 0.95
const REAP_MS = 10
const TIGHT = 0.9
/** The source port's bits of a pair of ports. */
const PAIR_SOURCE = 0xffff0000 | 0
/**
 * Status bit 7, the last below ENTRY_FRONTEND_SHIFT: a SYN of the client was ignored, which the server's SYN/ACK may answer.
 * Only a change of state takes it away: the kernel asks the SYN/ACK's sequence number instead, which a trace has not.
 */
const STATUS_SYN_IGNORED = 128

export interface ConntrackParts {
  readonly result: Float64Array
  readonly layout: ResultLayout
  /** Most entries by shard × nodes + node. */
  readonly quotas: Int32Array
  readonly table: ConntrackTable
  readonly shards: number
  readonly nodes: number
}

export class Conntrack {
  rules: RuleColumns = NO_RULES
  private readonly result: Float64Array
  private readonly layout: ResultLayout
  private readonly quotas: Int32Array
  /** The shard and the time of the packet at hand. */
  shard: Shard = 0
  nowMs: Millis32 = 0
  /**
   * A whole time near the packets at hand, ms since the start of the run. `nowMs` and the times in entries are its low 32 bits:
   * they wrap every 49.7 days, so only their differences count, which are right below 2^31 ms (24.8 days). Timeouts are below
   * that (the model allows 2,000,000 s), and what has expired is swept `SAMPLES` times a run at least.
   */
  readonly clockMs: Float64Array = new Float64Array(1)
  /** (node, endpoint) → source ports held, by shard. */
  readonly ports: readonly PairCounters[]
  /** (node, service port + 1) → entries, by shard; 0 stands for traffic of no Service. */
  readonly serviceEntries: readonly PairCounters[]
  readonly table: ConntrackTable
  /** Called with each entry that goes, while its words can still be read. */
  onRemove: (entry: EntryNumber) => void = () => {}

  private readonly entries: Int32Array
  private readonly shards: number
  private readonly nodes: number
  /** By shard × nodes + node: early drop found nothing since the last slow cycle; and when that is due. */
  private readonly wantsEarlyDrop: Uint8Array
  private readonly nextEarlyDropMs: Float64Array
  private readonly lastReapMs: Float64Array

  private firstBucket = 0
  private victims: number[] = []
  private reaped: number[] = []
  private readonly lookForVictim: (entry: EntryNumber, bucket: number) => void
  private readonly removeExpired: (entry: EntryNumber) => void

  /** Of the new tuple that early drop makes room for. */
  private crowdedNode: NodeId = 0
  /** Whose reply tuple the port search asks for: it has the port that was tried last. */
  private search: EntryTuples = createTuples()
  private searchMayReclaim = false
  private readonly taken: (port: Port, harder: boolean) => boolean

  constructor(parts: ConntrackParts) {
    this.result = parts.result
    this.layout = parts.layout
    this.quotas = parts.quotas
    this.table = parts.table
    this.entries = parts.table.entries
    this.shards = parts.shards
    this.nodes = parts.nodes
    this.ports = Array.from({ length: parts.shards }, () => new PairCounters())
    this.serviceEntries = Array.from({ length: parts.shards }, () => new PairCounters())
    this.wantsEarlyDrop = new Uint8Array(parts.shards * parts.nodes)
    this.nextEarlyDropMs = new Float64Array(parts.shards)
    this.lastReapMs = new Float64Array(parts.shards)
    this.lookForVictim = (entry, bucket) => this.considerVictim(entry, bucket)
    this.removeExpired = (entry) => this.remove(entry)
    this.taken = (port, harder) => this.isTaken(port, harder)
  }

  /** The time of the packet at hand, whole: ms since the start of the run. */
  exactMs(): Millis {
    return this.clockMs[0] + ((this.nowMs - this.clockMs[0]) | 0)
  }

  /** A new run. */
  begin(): void {
    this.clockMs[0] = 0
    for (const counters of this.ports) counters.clear()
    for (const counters of this.serviceEntries) counters.clear()
    this.wantsEarlyDrop.fill(0)
    this.nextEarlyDropMs.fill(GC_EARLY_DROP_CYCLE_MS)
    this.lastReapMs.fill(-REAP_MS)
  }

  /** The live entry of a tuple, in either direction; 0 when there is none. */
  find(source: AddressId, destination: AddressId, ports: PortPair, nodeProtocol: NodeProtocol): EntryNumber {
    const hash = hashTuple(source, destination, ports, nodeProtocol)
    return this.findHashed(hash, source, destination, ports, nodeProtocol)
  }

  /** The same for a tuple whose hash is known. */
  findHashed(
    hash: TupleHash,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    nodeProtocol: NodeProtocol,
  ): EntryNumber {
    const ref = this.table.find(this.shard, hash, source, destination, ports, nodeProtocol)
    if (ref < 0) return 0
    return this.reapIfExpired(ref >> 1) ? 0 : ref >> 1
  }

  /**
   * Makes an entry of a packet, which is known by the first of two tuples and is answered by the other.
   * @param servicePort  the Service port that the connection is for, or -1
   * @returns            0 when the node's table is full
   * Twin: fast-setup.ts `fill`.
   */
  insert(tuples: EntryTuples, flagClass: number, servicePort: ServicePortId): EntryNumber {
    const { nodeProtocol } = tuples
    const node = nodeProtocol >> 8
    const at = this.shard * this.nodes + node
    const { table, entries, rules } = this
    if (table.counts[at] >= this.quotas[at]) this.reapShard()
    if (table.counts[at] >= this.quotas[at] && !this.earlyDrop(tuples.hash, node)) {
      this.wantsEarlyDrop[at] = 1
      this.countFull(node)
      return 0
    }
    const entry = table.insert(
      this.shard,
      tuples.hash,
      tuples.source,
      tuples.destination,
      tuples.ports,
      nodeProtocol,
      tuples.replyHash,
      tuples.replySource,
      tuples.replyDestination,
      tuples.replyPorts,
    )
    if (entry === 0) {
      this.countFull(node)
      return 0
    }
    if (CHECKED) check(table.counts[at] <= this.quotas[at], "a node's entries in a shard stay within its quota")
    const base = entry << ENTRY_SHIFT
    const state = initialState(nodeProtocol & 0xff, flagClass, true)
    const pickedUp = state === ESTABLISHED ? STATUS_PICKED_UP : 0
    entries[base + ENTRY_STATE] = state | pickedUp
    entries[base + ENTRY_CREATED] = this.nowMs
    entries[base + ENTRY_ENDPOINT] = 0
    entries[base + ENTRY_PORT_COUNTER] = 0
    const timeoutMs = pickedUp !== 0 ? rules.settings[SETTING_UNACKNOWLEDGED_MS] : rules.timeouts[state]
    entries[base + ENTRY_EXPIRES] = (this.nowMs + timeoutMs) | 0
    entries[base + ENTRY_SERVICE_COUNTER] = this.hold(node, servicePort)
    this.count(node, NODE_INSERT)
    return entry
  }

  /**
   * What a packet does to an entry: state, status, timer.
   * @param direction  0 original, 1 reply
   * @param payload    whether it carries data
   * @returns          a state (below 16), IGNORED, INVALID, REOPEN or DELETE; for the last two the entry is gone
   */
  advance(entry: EntryNumber, direction: number, flagClass: number, payload: boolean): number {
    const { entries, rules, nowMs } = this
    const base = entry << ENTRY_SHIFT
    const stateWord = entries[base + ENTRY_STATE]
    const state = stateWord & 15
    let next = TRANSITIONS[((direction * 6 + flagClass) << 4) | state]
    if (next === BY_AGE) {
      next = (nowMs - entries[base + ENTRY_CREATED]) >>> 0 > UDP_STREAM_AGE_MS ? UDP_STREAM : UDP_REPLIED
    }
    if (next === REOPEN || next === DELETE) {
      this.remove(entry)
      return next
    }
    if (next === IGNORED && direction === 0 && flagClass === CLASS_SYN) {
      entries[base + ENTRY_STATE] = stateWord | STATUS_SYN_IGNORED
    } else if (
      next === IGNORED &&
      direction === 1 &&
      flagClass === CLASS_SYNACK &&
      (stateWord & STATUS_SYN_IGNORED) !== 0
    ) {
      // Client and server are in sync and the entry is not: it follows them.
      next = SYN_RECV
    }
    if (next === INVALID || next === IGNORED) return next
    let status = stateWord & ~15
    if (next !== state) status &= ~STATUS_SYN_IGNORED
    if (direction === 1) status |= STATUS_SEEN_REPLY
    if (next === ESTABLISHED && (state === SYN_RECV || state === ESTABLISHED) && (status & STATUS_SEEN_REPLY) !== 0) {
      // A connection picked up under way is assured by the first original packet after a reply.
      if ((status & STATUS_PICKED_UP) === 0 || direction === 0) status = (status | STATUS_ASSURED) & ~STATUS_PICKED_UP
    }
    if (next === UDP_STREAM || (next === GENERIC && direction === 1)) status |= STATUS_ASSURED
    entries[base + ENTRY_STATE] = next | status
    const waits = next === ESTABLISHED && (payload || (status & STATUS_PICKED_UP) !== 0)
    const timeoutMs = waits ? rules.settings[SETTING_UNACKNOWLEDGED_MS] : rules.timeouts[next]
    entries[base + ENTRY_EXPIRES] = (nowMs + timeoutMs) | 0
    return next
  }

  /**
   * Gives the reply tuple a destination port (the packet's source port behind the node) that makes it unique on the node.
   * @param tuples      the reply tuple with the port that the packet comes with; it has the one found, and its hash, afterwards
   * @param random      random word of the connection for this purpose
   * @param translates  whether the rules masquerade; otherwise the port changes only where it clashes
   * @param opens       whether the packet is a SYN, which may take over the port of a closing connection
   * @returns           whether one was found; if not, that is counted
   */
  findSourcePort(tuples: EntryTuples, random: RandomWord, translates: boolean, opens: boolean): boolean {
    this.search = tuples
    this.searchMayReclaim = opens
    const fully = translates && this.rules.settings[SETTING_RANDOM_FULLY] !== 0
    const found = findPort(tuples.replyPorts & 0xffff, random, !fully, this.shard, this.shards, this.taken)
    if (found === 0) this.count(tuples.nodeProtocol >> 8, NODE_INSERT_FAILED)
    return found !== 0
  }

  /** One more entry of a node is for a Service port, or for none (-1). @returns what the entry keeps of it */
  hold(node: NodeId, servicePort: ServicePortId): number {
    const serviceEntries = this.serviceEntries[this.shard]
    const serviceCounter = serviceEntries.index(node, servicePort + 1)
    serviceEntries.counts[serviceCounter] = serviceEntries.counts[serviceCounter] + 1
    return serviceCounter + 1
  }

  /** The entry holds one more source port towards an endpoint. */
  holdPort(entry: EntryNumber, node: NodeId, endpoint: EndpointId): void {
    const counters = this.ports[this.shard]
    const counter = counters.index(node, endpoint)
    counters.counts[counter]++
    this.entries[(entry << ENTRY_SHIFT) + ENTRY_PORT_COUNTER] = counter + 1
  }

  /** Takes an entry out, and gives back what it held. */
  remove(entry: EntryNumber): void {
    const base = entry << ENTRY_SHIFT
    const { entries } = this
    const owner = entries[base + ENTRY_OWNER]
    const counter = entries[base + ENTRY_PORT_COUNTER] - 1
    if (counter >= 0) this.ports[owner].counts[counter]--
    this.serviceEntries[owner].counts[entries[base + ENTRY_SERVICE_COUNTER] - 1]--
    this.onRemove(entry)
    this.table.remove(entry)
  }

  /** A sweep of one shard: expired entries go, and what the sweeper was told to kill. */
  sweep(shard: Shard, nowMs: Millis): void {
    const { table, nodes } = this
    // Whoever calls has it from columns of doubles. Stored as one it would give this object another shape, once and in the middle of a run:
    // all of the slow path would be compiled anew, and work on doubles from then on.
    this.nowMs = nowMs | 0
    this.clockMs[0] = nowMs
    table.forEachExpired(shard, this.nowMs, this.removeExpired)
    if (nowMs < this.nextEarlyDropMs[shard]) return
    this.nextEarlyDropMs[shard] = nowMs + GC_EARLY_DROP_CYCLE_MS
    for (let node = 0; node < nodes; node++) {
      const at = shard * nodes + node
      if (this.wantsEarlyDrop[at] === 0) continue
      this.wantsEarlyDrop[at] = 0
      if (table.counts[at] > this.quotas[at] * GC_EARLY_DROP_FILL) this.killClosing(shard, node)
    }
  }

  /**
   * What kube-proxy deletes after a change: UDP entries that were made for a UDP Service and lead to something that is no
   * serving endpoint of it. A Service without any serving endpoint is left alone by some releases, TCP and SCTP always are.
   * Source: pkg/proxy/conntrack/cleanup.go.
   */
  cleanStaleUdp(shard: Shard): void {
    const { entries, rules } = this
    if (!hasUdp(rules)) return
    this.table.forEachOfShard(shard, (entry) => {
      const base = entry << ENTRY_SHIFT
      if ((entries[base + ENTRY_NODE_PROTOCOL] & 0xff) !== PROTOCOL_UDP) return
      const port = entries[base + ENTRY_PORTS] & 0xffff
      let frontend = findFrontend(rules, entries[base + ENTRY_DESTINATION], port, PROTOCOL_UDP)
      // Any destination with a node port's number counts, as kube-proxy's filter has no address for those.
      if (frontend < 0) {
        const anyNode = nodePortAddress(rules, entries[base + ENTRY_DESTINATION])
        frontend = findFrontend(rules, anyNode, port, PROTOCOL_UDP)
      }
      if (frontend < 0 || rules.frontendKind[frontend] === FRONTEND_HEALTH_CHECK) return
      const set = rules.servingSet[rules.frontendServicePort[frontend]]
      const start = rules.setStart[set]
      const count = rules.setCount[set]
      if (count === 0 && rules.settings[SETTING_CLEANS_EMPTY] === 0) return
      const backend = entries[base + ENTRY_REPLY_SOURCE]
      const backendPort = entries[base + ENTRY_REPLY_PORTS] >>> 16
      for (let i = start; i < start + count; i++) {
        const endpoint = rules.members[i]
        if (rules.endpointAddress[endpoint] === backend && rules.endpointPort[endpoint] === backendPort) return
      }
      this.remove(entry)
    })
  }

  /** Before a shard's counts are published: where a node is nearly full, what has expired must not count. */
  reapIfTight(shard: Shard, nowMs: Millis): void {
    this.shard = shard
    this.nowMs = nowMs | 0
    this.clockMs[0] = nowMs
    for (let at = shard * this.nodes; at < (shard + 1) * this.nodes; at++) {
      if (this.table.counts[at] > this.quotas[at] * TIGHT) {
        this.reapShard()
        return
      }
    }
  }

  /**
   * A shard at its budget looks for expired entries first: on a busy node lookups would have reaped them on the way, long before
   * the next sweep. At most once in REAP_MS of virtual time, since it looks at every entry.
   */
  private reapShard(): void {
    const { shard, nowMs } = this
    const exactMs = this.exactMs()
    if (exactMs - this.lastReapMs[shard] < REAP_MS) return
    this.lastReapMs[shard] = exactMs
    this.table.forEachExpired(shard, nowMs, this.removeExpired)
  }

  /** The sweeper's early drop on one node: a shard's share of the kills. */
  private killClosing(shard: Shard, node: NodeId): void {
    const { entries } = this
    let left = Math.floor(GC_EARLY_DROP_KILLS / this.shards) + (shard < GC_EARLY_DROP_KILLS % this.shards ? 1 : 0)
    this.table.forEachOfShard(shard, (entry) => {
      const base = entry << ENTRY_SHIFT
      if (left === 0 || entries[base + ENTRY_NODE_PROTOCOL] >> 8 !== node) return
      const stateWord = entries[base + ENTRY_STATE]
      if ((stateWord & STATUS_ASSURED) !== 0 && !isClosing(stateWord & 15)) return
      this.remove(entry)
      this.count(node, NODE_EARLY_DROPS)
      left--
    })
  }

  /** Makes room for a new tuple. @returns whether something was evicted */
  private earlyDrop(hash: TupleHash, node: NodeId): boolean {
    this.firstBucket = 0x7fffffff
    this.victims.length = 0
    this.reaped.length = 0
    this.crowdedNode = node
    this.table.forEachInBuckets(hash, EVICTION_RANGE * this.shards, this.lookForVictim)
    for (const entry of this.reaped)
      if (this.entries[(entry << ENTRY_SHIFT) + ENTRY_NODE_PROTOCOL] >= 0) this.remove(entry)
    let dropped = 0
    for (const entry of this.victims) {
      // Both tuples of an entry can lie in the bucket.
      if (this.entries[(entry << ENTRY_SHIFT) + ENTRY_NODE_PROTOCOL] < 0) continue
      this.remove(entry)
      this.count(node, NODE_EARLY_DROPS)
      dropped++
    }
    return dropped > 0
  }

  private considerVictim(entry: EntryNumber, bucket: number): void {
    const { entries } = this
    const base = entry << ENTRY_SHIFT
    if (entries[base + ENTRY_OWNER] !== this.shard) return
    if (entries[base + ENTRY_NODE_PROTOCOL] >> 8 !== this.crowdedNode) return
    if (((entries[base + ENTRY_EXPIRES] - this.nowMs) | 0) <= 0) {
      this.reaped.push(entry)
      return
    }
    if ((entries[base + ENTRY_STATE] & STATUS_ASSURED) !== 0 || bucket > this.firstBucket) return
    if (bucket < this.firstBucket) {
      this.firstBucket = bucket
      this.victims.length = 0
    }
    this.victims.push(entry)
  }

  private isTaken(port: Port, harder: boolean): boolean {
    const { search } = this
    const { replySource, replyDestination, nodeProtocol } = search
    const replyPorts = (search.replyPorts & PAIR_SOURCE) | port
    const hash = hashTuple(replySource, replyDestination, replyPorts, nodeProtocol)
    search.replyPorts = replyPorts
    search.replyHash = hash
    const entry = this.findHashed(hash, replySource, replyDestination, replyPorts, nodeProtocol)
    if (entry === 0) return false
    // The kernel reclaims the port of a closing connection for a SYN, whose sequence number is taken to be the higher one.
    if (harder && this.searchMayReclaim && isClosing(this.entries[(entry << ENTRY_SHIFT) + ENTRY_STATE] & 15)) {
      this.remove(entry)
      return false
    }
    this.count(nodeProtocol >> 8, NODE_FOUND)
    return true
  }

  private reapIfExpired(entry: EntryNumber): boolean {
    if (((this.entries[(entry << ENTRY_SHIFT) + ENTRY_EXPIRES] - this.nowMs) | 0) > 0) return false
    this.remove(entry)
    return true
  }

  private countFull(node: NodeId): void {
    this.count(node, NODE_CONNTRACK_DROPS)
    const at = this.layout.firstFull + node
    // Shards follow one another here, so the first refusal met need not be the earliest.
    const exactMs = this.exactMs()
    if (this.result[at] === 0 || exactMs + 1 < this.result[at]) this.result[at] = exactMs + 1
  }

  private count(node: NodeId, counter: number): void {
    const at = this.layout.nodes + node * NODE_WORDS + counter
    this.result[at] = this.result[at] + 1
  }
}

/** TCP states that the sweeper's early drop may take although they are assured, and whose ports a SYN may take over. */
function isClosing(state: number): boolean {
  return (
    state === FIN_WAIT ||
    state === CLOSE_WAIT ||
    state === LAST_ACK ||
    state === TIME_WAIT ||
    state === CLOSE_BY_CLIENT ||
    state === CLOSE_BY_SERVER
  )
}

/** Frontend id + 1 that an entry was made through, or 0. */
export function entryFrontend(stateWord: number): number {
  return stateWord >>> ENTRY_FRONTEND_SHIFT
}

/** Whether any Service may be dialled over UDP. */
function hasUdp({ frontendTable }: RuleColumns): boolean {
  for (let at = 0; at < frontendTable.length; at += 4) {
    if (frontendTable[at + 3] !== 0 && frontendTable[at + 2] === PROTOCOL_UDP) return true
  }
  return false
}
