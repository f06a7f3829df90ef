/**
 * Names on the wire: the questions that a client's resolver asks before it dials a name, and what it is told.
 *
 * `compile` has walked the search list already: for each name and each distinct resolv.conf there is a *walk*, one step a
 * search domain, one question a step and record type, each with the reply that the cluster would give. Here the questions
 * of a step travel to the DNS Service as one UDP flow (A and AAAA leave through one socket, as glibc and musl do it), meet
 * conntrack, rules, DNAT and the second node like any other packet, and the first step with an answer ends the walk.
 * The client takes the first address of its family: any of them where CoreDNS shuffles, else the first.
 *
 * Answers can be old. A client's own cache is exact: (client, name) → what it was told, for as long as configured. A CoreDNS
 * replica's cache is known by its rhythm: a name in use is asked for again as soon as its entry has run out, so an entry
 * was made at the last multiple of its lifetime, counted from when the trace asks for it first; the answer is that of the rule set
 * in force then. A name that is seldom asked for is thereby stale longer than it would be. Caches begin empty; a question
 * of which no first moment is known has a phase of its replica's own.
 *
 * A name in the client's hosts file is not asked for. What a reply makes of the walk is the C library's: glibc ends it at any
 * answer, Go at an address, musl at anything but NXDOMAIN, and believes the first reply that fails.
 *
 * Not here: the resolver's retries (a lost question fails the connection) and CoreDNS' own questions to the resolver outside.
 * Questions leave at the tick of the packet that needed the answer, each step's after the path latency of those before it.
 * Cost: a step is a connection's opening (bench: new-connections); numbers only, allocates nothing but the cache's growth.
 * Source: glibc resolv/res_send.c, coredns plugin/{cache,loadbalance}, RFC 1035 §4.2, RFC 7766 §5 (TCP after truncation).
 */

import type { Conntrack } from './conntrack.ts'
import {
  REASON_DNS_LOST,
  REASON_NAME_NOT_RESOLVED,
  REASON_NONE,
  REASON_POLICY_DNS,
  REASON_POLICY_EGRESS,
  REASON_POLICY_INGRESS,
} from './drop-reasons.ts'
import { below, draw, finish, mix, PURPOSE_NAME_ANSWER, PURPOSE_NAME_CACHE, PURPOSE_NAME_PORT } from './hash.ts'
import {
  type AddressId,
  type EndpointId,
  type Millis,
  type Nanos,
  nodeProtocolOf,
  type PortPair,
  type Protocol,
  portPair,
  type RandomWord,
} from './kinds.ts'
import { PROTOCOL_TCP, PROTOCOL_UDP } from './packet.ts'
import type { Path } from './path.ts'
import { policyFate } from './policy.ts'
import {
  DNS_BYTES,
  DNS_CACHED,
  DNS_CONNECTIONS,
  DNS_ENTRIES,
  DNS_GONE,
  DNS_LOST,
  DNS_NO_RESOLVER,
  DNS_NOT_RESOLVED,
  DNS_PACKETS,
  DNS_RCODES,
  DNS_RESOLVED,
  DNS_STALE,
  DNS_TCP,
  DNS_TYPES,
  ENDPOINT_BYTES,
  ENDPOINT_CONNECTIONS,
  ENDPOINT_PACKETS,
  ENDPOINT_WORDS,
  type ResultLayout,
} from './result.ts'
import {
  ADDRESS_CLUSTER_IP,
  ADDRESS_IN_SERVICE_CIDR,
  ADDRESS_LIVE,
  ADDRESS_POD_RANGE,
  ADDRESS_SILENT,
  ADDRESS_STOPPED,
  familyOf,
  LIBC_GO,
  LIBC_MUSL,
  LIBC_MUSL_1_1,
  NAMES_CLIENT_CACHE_MS,
  NAMES_LIBC,
  NAMES_RESOLVERS,
  NAMES_TYPES,
  NO_RULES,
  type RuleColumns,
  SERVER_ASSUMED,
  SETTING_POLICY_DNS,
} from './rule-columns.ts'
import { CLASS_ACK, CLASS_FIN, CLASS_NONE, CLASS_SYNACK } from './tcp-states.ts'

/** A question of a walk in `nameQueries`: what is asked, and the reply. */
export const QUERY_WORDS = 13
/** Number of (name as asked, type): replicas cache by it, whoever asks. */
export const QUERY_ID = 0
/** 0 A, 1 AAAA. */
export const QUERY_TYPE = 1
/** As in a DNS message: 0 NOERROR, 3 NXDOMAIN, … */
export const QUERY_RCODE = 2
/** Bytes of the IP packets. */
export const QUERY_REQUEST_BYTES = 3
export const QUERY_REPLY_BYTES = 4
/** Bytes of all IP packets of the exchange over TCP that follows a truncated reply; 0 where it is whole. */
export const QUERY_TCP_BYTES = 5
/** How long a replica keeps the reply; 0 not at all. */
export const QUERY_CACHE_MS = 6
/** 1 where the reply has records: the search ends here. */
export const QUERY_ENDS = 7
/** Run of `nameAnswers`: addresses of the type. */
export const QUERY_ANSWER_START = 8
export const QUERY_ANSWER_COUNT = 9
/** 1 where the server shuffles them. */
export const QUERY_SHUFFLED = 10
/** One more than the millisecond at which it is asked for the first time; 0 where nobody knows. */
export const QUERY_FIRST_MS = 11
/** 1 where the client's own hosts file has the name: nothing is asked. */
export const QUERY_LOCAL = 12

/** An address in `nameAnswers`: its id, and the endpoint that it is of, or -1 where balancing is left to the dataplane. */
export const ANSWER_WORDS = 2

export const DNS_PORT = 53
const RCODE_NXDOMAIN = 3
/** Packets of an exchange over TCP: handshake 3, question, reply, its ACK, and FIN, FIN, ACK. */
export const DNS_TCP_PACKETS = 9
/** Linux' net.ipv4.ip_local_port_range. */
const FIRST_PORT = 32_768
const PORTS = 28_232
/** Ports that are tried before one is taken that has an entry still; as the kernel would, which does not look at entries. */
const PORT_TRIES = 16

/** What carries a question: the dataplane of every node on its way. */
export interface Forwarder {
  readonly path: Path
  readonly conntrack: Conntrack
  readonly seed: number
  readonly result: Float64Array
  readonly layout: ResultLayout
  /** Endpoint id that the last packet was translated to, or -1. */
  readonly endpoint: EndpointId
  /** Where packets take their turn in the nodes' queues. */
  readonly sink: PacketSink
  /** Takes the first packet of a flow to its destination. @returns REASON_NONE when it was delivered */
  inject(source: AddressId, destination: AddressId, ports: PortPair, protocol: Protocol, random: RandomWord): number
}

/** What is told of every packet of a question's flow. */
export interface PacketSink {
  /**
   * @param random   random word of the flow
   * @param nanos  path latency of what was asked and told before it
   * @param waits  whether the resolution waits for this packet
   */
  packet(path: Path, random: RandomWord, nanos: Nanos, opening: boolean, waits: boolean): void
}

/** Where nothing waits. */
export const NO_WIRE: PacketSink = { packet: () => {} }

/** Whether nobody is at an address that a name gave: a pod that is gone, or a cluster IP that is no Service's any more. */
export function isUnreachable(rules: RuleColumns, address: AddressId, endpoint: EndpointId): boolean {
  const flags = rules.addressFlags[address]
  if ((flags & ADDRESS_IN_SERVICE_CIDR) !== 0) return (flags & ADDRESS_CLUSTER_IP) === 0
  if ((flags & (ADDRESS_STOPPED | ADDRESS_SILENT)) !== 0) return true
  return (flags & ADDRESS_LIVE) === 0 && (endpoint >= 0 || (flags & ADDRESS_POD_RANGE) !== 0)
}

/** What a client was told of a name; reused from call to call. */
export interface Resolution {
  /** REASON_NONE, or why the name has no address; then the two fields that follow mean nothing. */
  reason: number
  address: AddressId
  endpoint: EndpointId
  /** Path latency of questions and replies; 0 where none was asked. */
  nanos: Nanos
}

export class DnsClient {
  /** Of the connection that is being opened: what `resolve` told it. */
  readonly told: Resolution = { reason: REASON_NONE, address: 0, endpoint: -1, nanos: 0 }

  private readonly forwarder: Forwarder
  private readonly cache: AnswerCache = new AnswerCache()
  /** Rule sets in the order in which they came into force, and when they did. */
  private history: RuleColumns[] = []
  private since: number[] = []
  private rules: RuleColumns = NO_RULES

  constructor(forwarder: Forwarder) {
    this.forwarder = forwarder
  }

  /** A new run: its first rule set is in force from ever. */
  begin(rules: RuleColumns): void {
    this.cache.clear()
    this.history = [rules]
    this.since = [Number.NEGATIVE_INFINITY]
    this.rules = rules
  }

  /** The cluster has changed. Without names nothing is remembered. */
  adopt(rules: RuleColumns, nowMs: Millis): void {
    this.rules = rules
    if (rules.nameQueries.length === 0) return
    this.history.push(rules)
    this.since.push(nowMs)
  }

  /**
   * Resolves a name for a client that opens a connection.
   * @param name  index of the name
   * @param random  random word of the connection
   */
  resolve(client: AddressId, name: number, random: RandomWord): Resolution {
    const { told } = this
    told.nanos = 0
    told.reason = this.lookUp(client, name, random)
    return told
  }

  private lookUp(client: AddressId, name: number, random: RandomWord): number {
    const { rules, told } = this
    const nowMs = this.forwarder.conntrack.exactMs()
    this.count(DNS_CONNECTIONS, 1)
    const resolver = rules.resolverOf[client]
    if (resolver < 0) {
      this.count(DNS_NO_RESOLVER, 1)
      return this.unresolved()
    }
    const walk = name * rules.nameSettings[NAMES_RESOLVERS] + resolver
    const keepMs = rules.nameSettings[NAMES_CLIENT_CACHE_MS]
    if (keepMs > 0 && this.cache.find(client, name, nowMs, told)) {
      this.count(DNS_CACHED, 1)
      this.resolved(walk, client, true)
      return REASON_NONE
    }
    const reason = this.walk(client, walk, rules.resolverServer[resolver], random)
    if (reason === REASON_NONE && keepMs > 0) {
      this.cache.put(client, name, told.address, told.endpoint, nowMs + keepMs)
    }
    return reason
  }

  /** The search list, step by step, until one brings records. */
  private walk(client: AddressId, walk: number, server: AddressId, random: RandomWord): number {
    const { rules, forwarder } = this
    const types = rules.nameSettings[NAMES_TYPES]
    const libc = rules.nameSettings[NAMES_LIBC]
    const family = familyOf(rules, client)
    const end = rules.walkStart[walk] + rules.walkCount[walk]
    for (let step = rules.walkStart[walk]; step < end; step++) {
      const first = step * types * QUERY_WORDS
      const flowRandom = finish(mix(random, step - end))
      const isLocal = rules.nameQueries[first + QUERY_LOCAL] !== 0
      const inPackets = server >= 0 && !isLocal
      const sent = inPackets
        ? this.send(client, server, PROTOCOL_UDP, flowRandom)
        : isLocal
          ? REASON_NONE
          : this.policed(client, server, PROTOCOL_UDP)
      if (sent !== REASON_NONE) return this.lost(sent)
      // The carrier's path is another one after a retry over TCP: what is asked of it comes first.
      const replica = inPackets ? forwarder.endpoint : -1
      let ends = isLocal
      let found = false
      let old = false
      let failed = 0
      if (inPackets) this.exchange(first, types, replica, flowRandom)
      for (let type = 0; type < types; type++) {
        const at = first + type * QUERY_WORDS
        const answering = this.answering(at, replica)
        const queries = answering.nameQueries
        const rcode = queries[at + QUERY_RCODE]
        if (!isLocal) {
          this.count(DNS_TYPES + queries[at + QUERY_TYPE], 1)
          this.count(DNS_RCODES + rcode, 1)
        }
        if (queries[at + (libc === LIBC_GO ? QUERY_ANSWER_COUNT : QUERY_ENDS)] !== 0) ends = true
        if (failed === 0) failed = rcode
        if (queries[at + QUERY_TYPE] === family && this.choose(answering, at, flowRandom)) {
          found = true
          old = answering !== rules
        }
        if (inPackets && queries[at + QUERY_TCP_BYTES] > 0) {
          const bytes = queries[at + QUERY_TCP_BYTES]
          const asked = this.askOverTcp(client, server, bytes, finish(mix(flowRandom, type + 1)))
          if (asked !== REASON_NONE) return this.lost(asked)
        }
      }
      if (libc === LIBC_MUSL || (libc === LIBC_MUSL_1_1 && !ends)) {
        if (failed !== 0) found = false
        ends = failed !== RCODE_NXDOMAIN
      }
      if (!ends) continue
      if (!found) return this.unresolved()
      this.resolved(walk, client, old)
      return REASON_NONE
    }
    return this.unresolved()
  }

  /** The first packet of a flow to the server. @returns a reason */
  private send(client: AddressId, server: AddressId, protocol: Protocol, random: RandomWord): number {
    const port = this.sourcePort(client, server, protocol, random)
    const reason = this.forwarder.inject(client, server, portPair(port, DNS_PORT), protocol, random)
    this.count(DNS_ENTRIES, this.forwarder.path.hops)
    return reason
  }

  /** A port of the client's own that no live entry has; the last one tried where all have. */
  private sourcePort(client: AddressId, server: AddressId, protocol: Protocol, random: RandomWord): number {
    const { conntrack, seed } = this.forwarder
    const node = this.rules.addressNode[client]
    let port = 0
    for (let tries = 0; tries < PORT_TRIES; tries++) {
      port = FIRST_PORT + below(draw(seed, random, tries, PURPOSE_NAME_PORT), PORTS)
      if (node < 0 || conntrack.find(client, server, portPair(port, DNS_PORT), nodeProtocolOf(node, protocol)) === 0)
        break
    }
    return port
  }

  /** The questions of a step and their replies, on the flow that has just been opened. */
  private exchange(first: number, types: number, replica: EndpointId, random: RandomWord): void {
    const { path, sink } = this.forwarder
    let bytes = 0
    for (let type = 0; type < types; type++) {
      const at = first + type * QUERY_WORDS
      const queries = this.answering(at, replica).nameQueries
      bytes += queries[at + QUERY_REQUEST_BYTES] + queries[at + QUERY_REPLY_BYTES]
    }
    for (let type = 1; type < types; type++) this.advance(0, CLASS_NONE, false)
    for (let type = 0; type < types; type++) this.advance(1, CLASS_NONE, false)
    // Both questions are on their way at once: the resolution waits for one of them and its reply.
    const replyNanos = this.told.nanos + path.firstExtraNanos + path.forwardNanos
    for (let type = 0; type < types; type++) sink.packet(path, random, this.told.nanos, type === 0, type === 0)
    for (let type = 0; type < types; type++) sink.packet(path, random, replyNanos, false, type === 0)
    this.told.nanos += path.firstExtraNanos + 2 * path.forwardNanos
    this.countTraffic(replica, 2 * types, bytes)
    this.countQueries(replica, types)
  }

  /** The same question over TCP, after a truncated reply: a connection of its own. */
  private askOverTcp(client: AddressId, server: AddressId, bytes: number, random: RandomWord): number {
    this.count(DNS_TCP, 1)
    const reason = this.send(client, server, PROTOCOL_TCP, random)
    if (reason !== REASON_NONE) return reason
    const { path, sink } = this.forwarder
    // The resolution waits for handshake, question and reply, not for the ACKs and the close.
    for (let packet = 0; packet < DNS_TCP_PACKETS; packet++) {
      sink.packet(path, random, this.told.nanos + packet * path.forwardNanos, packet === 0, packet < 5 && packet !== 2)
    }
    this.advance(1, CLASS_SYNACK, false)
    this.advance(0, CLASS_ACK, false)
    this.advance(0, CLASS_ACK, true)
    this.advance(1, CLASS_ACK, true)
    this.advance(0, CLASS_ACK, false)
    this.advance(0, CLASS_FIN, false)
    this.advance(1, CLASS_FIN, false)
    this.advance(0, CLASS_ACK, false)
    this.told.nanos += path.firstExtraNanos + 4 * path.forwardNanos
    const { endpoint } = this.forwarder
    this.countTraffic(endpoint, DNS_TCP_PACKETS, bytes)
    this.countQueries(endpoint, 1)
    return REASON_NONE
  }

  /** A packet on every node of the flow's path. */
  private advance(direction: number, flagClass: number, payload: boolean): void {
    const { path, conntrack } = this.forwarder
    if (path.hops > 0) conntrack.advance(path.entry0, direction, flagClass, payload)
    if (path.hops > 1) conntrack.advance(path.entry1, direction, flagClass, payload)
    if (path.hops > 2) conntrack.advance(path.entry2, direction, flagClass, payload)
  }

  /**
   * The rule set whose reply a replica gives to a question: that of the moment when it last asked itself.
   * @param at       offset of the question, which is the same in all rule sets of a run
   * @param replica  endpoint id of the answering CoreDNS, -1 where it is none
   */
  private answering(at: number, replica: EndpointId): RuleColumns {
    const { history, since } = this
    let younger = this.rules
    for (let i = history.length - 2; i >= 0; i--) {
      const older = history[i]
      const keepMs = older.nameQueries[at + QUERY_CACHE_MS]
      if (keepMs === 0 || (replica >= 0 && older.endpointAlive[replica] !== 1)) return younger
      const madeMs = this.lastMadeMs(older.nameQueries, at, replica, keepMs)
      if (madeMs >= since[i + 1]) return younger
      if (madeMs >= since[i]) return older
      younger = older
    }
    return younger
  }

  private lastMadeMs(queries: Int32Array, at: number, replica: EndpointId, keepMs: number): number {
    const { seed, conntrack } = this.forwarder
    const firstMs = queries[at + QUERY_FIRST_MS] - 1
    const phaseMs =
      firstMs >= 0 ? firstMs : below(draw(seed, queries[at + QUERY_ID], replica, PURPOSE_NAME_CACHE), keepMs)
    return phaseMs + Math.floor((conntrack.exactMs() - phaseMs) / keepMs) * keepMs
  }

  /** Takes an address out of a reply. @returns whether it has one */
  private choose(answering: RuleColumns, at: number, random: RandomWord): boolean {
    const { nameQueries, nameAnswers } = answering
    const count = nameQueries[at + QUERY_ANSWER_COUNT]
    if (count === 0) return false
    const shuffled = nameQueries[at + QUERY_SHUFFLED] !== 0
    const position = shuffled ? below(draw(this.forwarder.seed, random, 0, PURPOSE_NAME_ANSWER), count) : 0
    const answer = (nameQueries[at + QUERY_ANSWER_START] + position) * ANSWER_WORDS
    this.told.address = nameAnswers[answer]
    this.told.endpoint = nameAnswers[answer + 1]
    return true
  }

  /** @param old  whether the answer came out of a cache that may be behind */
  private resolved(walk: number, client: AddressId, old: boolean): void {
    this.count(DNS_RESOLVED, 1)
    if (old && !this.isCurrent(walk, familyOf(this.rules, client))) this.count(DNS_STALE, 1)
    if (isUnreachable(this.rules, this.told.address, this.told.endpoint)) this.count(DNS_GONE, 1)
  }

  private unresolved(): number {
    this.count(DNS_NOT_RESOLVED, 1)
    return REASON_NAME_NOT_RESOLVED
  }

  private lost(reason: number): number {
    this.count(DNS_LOST, 1)
    const stopped = reason === REASON_POLICY_EGRESS || reason === REASON_POLICY_INGRESS
    return stopped ? REASON_POLICY_DNS : REASON_DNS_LOST
  }

  /** Policies have a word about questions to the cluster's DNS, though the manifests have no server that they could be packets to. */
  private policed(client: AddressId, server: AddressId, protocol: Protocol): number {
    const assumed = this.rules.settings[SETTING_POLICY_DNS]
    if (server !== SERVER_ASSUMED || assumed < 0) return REASON_NONE
    const node = this.rules.addressNode[client]
    return policyFate(this.rules, nodeProtocolOf(node, protocol), client, client, assumed, DNS_PORT)
  }

  /** Whether the address is one that the name would give without any cache. */
  private isCurrent(walk: number, family: number): boolean {
    const { nameQueries, nameAnswers, nameSettings, walkStart, walkCount } = this.rules
    const types = nameSettings[NAMES_TYPES]
    const end = walkStart[walk] + walkCount[walk]
    for (let step = walkStart[walk]; step < end; step++) {
      let ends = false
      for (let type = 0; type < types; type++) {
        const at = (step * types + type) * QUERY_WORDS
        if (nameQueries[at + QUERY_ENDS] === 0) continue
        ends = true
        if (nameQueries[at + QUERY_TYPE] !== family) continue
        const start = nameQueries[at + QUERY_ANSWER_START]
        for (let i = start; i < start + nameQueries[at + QUERY_ANSWER_COUNT]; i++) {
          if (nameAnswers[i * ANSWER_WORDS] === this.told.address) return true
        }
      }
      if (ends) return false
    }
    return false
  }

  private count(counter: number, by: number): void {
    this.forwarder.result[this.forwarder.layout.dns + counter] += by
  }

  private countQueries(replica: EndpointId, by: number): void {
    if (replica >= 0) this.forwarder.result[this.forwarder.layout.endpointQueries + replica] += by
  }

  private countTraffic(replica: EndpointId, packets: number, bytes: number): void {
    this.count(DNS_PACKETS, packets)
    this.count(DNS_BYTES, bytes)
    if (replica < 0) return
    const { layout, result } = this.forwarder
    const at = layout.endpoints + replica * ENDPOINT_WORDS
    result[at + ENDPOINT_CONNECTIONS]++
    result[at + ENDPOINT_PACKETS] += packets
    result[at + ENDPOINT_BYTES] += bytes
  }
}

/**
 * What clients remember: (client, name) → address, endpoint, expiry.
 *
 * Open addressing, five words a slot; an entry is written over when the client asks again. Grows when half full, to twice the
 * pairs there are.
 */
class AnswerCache {
  /** Client id + 1 (0 free), name, address id, endpoint id, expiry in ms. */
  private words: Float64Array = new Float64Array(0)
  private mask = -1
  private used = 0

  clear(): void {
    this.words = new Float64Array(0)
    this.mask = -1
    this.used = 0
  }

  /** @returns whether there is one that has not expired; `told` has its address and endpoint then */
  find(client: AddressId, name: number, nowMs: Millis, told: Resolution): boolean {
    if (this.mask < 0) return false
    const base = this.slot(client, name) * 5
    const { words } = this
    if (words[base] === 0 || words[base + 4] <= nowMs) return false
    // `| 0`: the columns are doubles, and these fields hold integers.
    told.address = words[base + 2] | 0
    told.endpoint = words[base + 3] | 0
    return true
  }

  put(client: AddressId, name: number, address: AddressId, endpoint: EndpointId, expiresMs: Millis): void {
    if (this.used * 2 > this.mask) this.grow()
    const base = this.slot(client, name) * 5
    const { words } = this
    if (words[base] === 0) this.used++
    words[base] = client + 1
    words[base + 1] = name
    words[base + 2] = address
    words[base + 3] = endpoint
    words[base + 4] = expiresMs
  }

  private slot(client: AddressId, name: number): number {
    const { words, mask } = this
    let i = finish(mix(mix(0x6a09e667, client), name)) & mask
    while (words[i * 5] !== 0 && (words[i * 5] !== client + 1 || words[i * 5 + 1] !== name)) i = (i + 1) & mask
    return i
  }

  private grow(): void {
    const old = this.words
    const slots = this.mask < 0 ? 64 : (this.mask + 1) * 2
    this.words = new Float64Array(slots * 5)
    this.mask = slots - 1
    for (let base = 0; base < old.length; base += 5) {
      if (old[base] !== 0) this.words.set(old.subarray(base, base + 5), this.slot(old[base] - 1, old[base + 1]) * 5)
    }
  }
}
