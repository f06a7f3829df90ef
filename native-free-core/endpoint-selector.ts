/**
 * Which endpoint a new connection is given on a node: the one that ipvs has for it, or its client is bound to, else the mode's choice.
 *
 * Holds what outlives a connection and is not conntrack: ClientIP affinity (nftables and ipvs: timed entries; iptables:
 * `recent` lists), the ipvs schedulers and ipvs' UDP connections, one of each a shard. Entering or renewing happens here and
 * nowhere else, so only a new connection does it.
 */

import { AffinityTable } from './affinity.ts'
import { type Conntrack, entryFrontend } from './conntrack.ts'
import {
  ENTRY_DESTINATION,
  ENTRY_ENDPOINT,
  ENTRY_EXPIRES,
  ENTRY_NODE_PROTOCOL,
  ENTRY_OWNER,
  ENTRY_PORTS,
  ENTRY_SHIFT,
  ENTRY_SOURCE,
  ENTRY_STATE,
} from './conntrack-table.ts'
import { createDecision, type Decision, decide, type PacketHeader } from './decide.ts'
import type { Tuple } from './hash.ts'
import { IpvsConnections } from './ipvs-connections.ts'
import type {
  AddressId,
  EndpointId,
  EntryNumber,
  FrontendId,
  Millis32,
  NodeId,
  NodeProtocol,
  Port,
  PortPair,
  Protocol,
  RandomWord,
  Shard,
} from './kinds.ts'
import { PROTOCOL_UDP } from './packet.ts'
import {
  FRONTEND_HOST_PORT,
  MODE_IPTABLES,
  MODE_IPVS,
  NO_RULES,
  type RuleColumns,
  SCHEDULER_DH,
  SCHEDULER_LC,
  SETTING_IPVS_UDP_MS,
  SETTING_MODE,
  SETTING_SCHEDULER,
} from './rule-columns.ts'
import { pickUniform, Schedulers } from './schedulers.ts'
import { RecentLists } from './xt-recent.ts'

/** What a connection was given, and how; reused from call to call. */
export interface Choice {
  endpoint: EndpointId
  /** Whether the client was bound: -1 no affinity asked for, 0 no, 1 yes. */
  affinity: number
  /** ipvs had the connection already. */
  recalled: boolean
}

export class EndpointSelector {
  rules: RuleColumns = NO_RULES
  readonly affinity: readonly AffinityTable[]
  /** In iptables mode, in place of `affinity`. */
  readonly recent: readonly RecentLists[]
  readonly schedulers: readonly Schedulers[]
  /** UDP connections that ipvs has and conntrack has not. */
  readonly ipvs: readonly IpvsConnections[]
  /** The last one. */
  readonly choice: Choice = { endpoint: -1, affinity: -1, recalled: false }
  private readonly decision: Decision = createDecision()
  /** Of the entry that goes. */
  private readonly lost: Tuple = { source: 0, destination: 0, ports: 0, nodeProtocol: 0 }
  private readonly conntrack: Conntrack
  private readonly nodes: number

  constructor(conntrack: Conntrack, shards: number, nodes: number) {
    this.conntrack = conntrack
    this.nodes = nodes
    this.affinity = Array.from({ length: shards }, () => new AffinityTable())
    this.recent = Array.from({ length: shards }, () => new RecentLists())
    this.schedulers = Array.from({ length: shards }, () => new Schedulers())
    this.ipvs = Array.from({ length: shards }, () => new IpvsConnections())
    conntrack.onRemove = (entry) => this.entryRemoved(entry)
  }

  clear(): void {
    for (const table of this.affinity) table.clear()
    for (const lists of this.recent) lists.clear()
    for (const schedulers of this.schedulers) schedulers.clear()
    for (const connections of this.ipvs) connections.clear()
  }

  /**
   * @param decision      with the set to choose from
   * @param nodeProtocol  node << 8 | protocol
   * @param ports         source << 16 | destination
   * @param random        random word of the connection for this purpose
   */
  choose(
    decision: Decision,
    nodeProtocol: NodeProtocol,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    random: RandomWord,
  ): Choice {
    const node = nodeProtocol >> 8
    const { choice } = this
    choice.affinity = -1
    choice.recalled = false
    if (this.isRemembered(decision.frontend, nodeProtocol)) {
      const known = this.recall(decision, nodeProtocol, source, destination, ports)
      if (known >= 0) {
        choice.recalled = true
        choice.endpoint = known
        return choice
      }
    }
    const { members, settings, serviceAffinityMs } = this.rules
    const { shard, nowMs } = this.conntrack
    const { setStart, setCount } = decision
    const mode = settings[SETTING_MODE]
    const owner = this.ownerOf(decision, node)
    const timeoutMs = serviceAffinityMs[decision.servicePort]
    let position = -1
    if (timeoutMs > 0) {
      position =
        mode === MODE_IPTABLES
          ? this.recent[shard].find(source, node, this.conntrack.exactMs() - timeoutMs, members, setStart, setCount)
          : this.affinity[shard].find(source, owner, nowMs, members, setStart, setCount)
      choice.affinity = position < 0 ? 0 : 1
    }
    if (position < 0) {
      const scheduler = settings[SETTING_SCHEDULER]
      const hashed = scheduler === SCHEDULER_DH ? destination : source
      position =
        mode === MODE_IPVS
          ? this.schedulers[shard].pick(scheduler, owner, hashed, members, setStart, setCount)
          : pickUniform(random, setCount)
    }
    const endpoint = members[setStart + position]
    if (timeoutMs > 0) {
      if (mode === MODE_IPTABLES) this.recent[shard].renew(source, node, endpoint, this.conntrack.exactMs())
      else this.affinity[shard].renew(source, owner, endpoint, nowMs + timeoutMs)
    }
    choice.endpoint = endpoint
    return choice
  }

  /** The connection that was chosen for last has its conntrack entry. */
  placed(entry: EntryNumber): void {
    const base = entry << ENTRY_SHIFT
    const { entries } = this.conntrack.table
    const nodeProtocol = entries[base + ENTRY_NODE_PROTOCOL]
    const { shard } = this.conntrack
    if (this.choice.recalled) {
      // From now on the entry stands for it, and it is counted already.
      const connections = this.ipvs[shard]
      const source = entries[base + ENTRY_SOURCE]
      const slot = connections.find(
        source,
        entries[base + ENTRY_DESTINATION],
        entries[base + ENTRY_PORTS],
        nodeProtocol,
      )
      if (slot >= 0) connections.remove(slot)
    } else if (this.countsConnections()) {
      const frontend = entryFrontend(entries[base + ENTRY_STATE]) - 1
      this.countScheduled(shard, nodeProtocol >> 8, frontend, entries[base + ENTRY_ENDPOINT] - 1, 1)
    }
  }

  /** Whether ipvs has a UDP connection of this tuple, to `endpoint`, though conntrack has no entry of it. */
  isKnownToIpvs(
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    nodeProtocol: NodeProtocol,
    endpoint: EndpointId,
  ): boolean {
    const { shard, nowMs } = this.conntrack
    const connections = this.ipvs[shard]
    if (connections.size === 0) return false
    const slot = connections.find(source, destination, ports, nodeProtocol)
    return slot >= 0 && connections.isAlive(slot, nowMs) && connections.endpoint(slot) === endpoint
  }

  /** ipvs forgets connections that have been silent for too long. */
  sweepConnections(shard: Shard, nowMs: Millis32): void {
    this.ipvs[shard].sweep(nowMs, (node, frontend, endpoint) => this.uncount(shard, node, frontend, endpoint))
  }

  /** After a change: and those whose endpoint has left the virtual server. */
  keepServed(shard: Shard): void {
    const { rules, decision } = this
    const asked: PacketHeader = { source: 0, destination: 0, port: 0, protocol: 0 }
    const isServed = (
      source: AddressId,
      destination: AddressId,
      port: Port,
      protocol: Protocol,
      node: NodeId,
      endpoint: EndpointId,
    ): boolean => {
      asked.source = source
      asked.destination = destination
      asked.port = port
      asked.protocol = protocol
      decide(rules, node, asked, decision)
      return this.isMember(decision, endpoint)
    }
    this.ipvs[shard].keepServed(isServed, (node, frontend, endpoint) => this.uncount(shard, node, frontend, endpoint))
  }

  /** Affinity that has run out, or whose endpoint no rule names any more, goes; what is left is added to `counts` by node. */
  sweep(shard: Shard, nowMs: Millis32, counts: Int32Array): void {
    const { endpointAlive, settings } = this.rules
    if (settings[SETTING_MODE] === MODE_IPTABLES) this.recent[shard].sweep(endpointAlive, counts)
    else this.affinity[shard].sweep(nowMs, endpointAlive, counts, this.nodes)
  }

  /**
   * Whose affinity it is: the service port's, in ipvs mode the virtual server's, each on its node. The core's number of
   * nodes never changes, that of Services may: so this key outlives a change of the cluster.
   */
  private ownerOf(decision: Decision, node: NodeId): number {
    const ipvs = this.rules.settings[SETTING_MODE] === MODE_IPVS
    return (ipvs ? decision.frontend : decision.servicePort) * this.nodes + node
  }

  /** ipvs least-connection schedulers look at the connections that a server holds. */
  private countsConnections(): boolean {
    const { settings } = this.rules
    return settings[SETTING_SCHEDULER] === SCHEDULER_LC && settings[SETTING_MODE] === MODE_IPVS
  }

  private entryRemoved(entry: EntryNumber): void {
    if (this.rules.settings[SETTING_MODE] !== MODE_IPVS) return
    const base = entry << ENTRY_SHIFT
    const { entries } = this.conntrack.table
    const frontend = entryFrontend(entries[base + ENTRY_STATE]) - 1
    if (frontend < 0) return
    const shard = entries[base + ENTRY_OWNER]
    const nodeProtocol = entries[base + ENTRY_NODE_PROTOCOL]
    const endpoint = entries[base + ENTRY_ENDPOINT] - 1
    if (this.isRemembered(frontend, nodeProtocol) && this.remember(base, shard, frontend, nodeProtocol, endpoint))
      return
    this.uncount(shard, nodeProtocol >> 8, frontend, endpoint)
  }

  /** Whether ipvs' own table may know more of connections through a frontend than conntrack. */
  private isRemembered(frontend: FrontendId, nodeProtocol: NodeProtocol): boolean {
    const { settings, frontendKind } = this.rules
    return (
      settings[SETTING_MODE] === MODE_IPVS &&
      (nodeProtocol & 0xff) === PROTOCOL_UDP &&
      frontendKind[frontend] !== FRONTEND_HOST_PORT
    )
  }

  /** An entry goes and ipvs still has the connection. @returns whether it does */
  private remember(
    base: number,
    shard: Shard,
    frontend: FrontendId,
    nodeProtocol: NodeProtocol,
    endpoint: EndpointId,
  ): boolean {
    const { rules, conntrack } = this
    const { entries } = conntrack.table
    // The entry's timer was started by the packet that started ipvs' own.
    const lastMs = entries[base + ENTRY_EXPIRES] - rules.timeouts[entries[base + ENTRY_STATE] & 15]
    const expiresMs = (lastMs + rules.settings[SETTING_IPVS_UDP_MS]) | 0
    if (((expiresMs - conntrack.nowMs) | 0) <= 0) return false
    const connections = this.ipvs[shard]
    const { lost } = this
    lost.source = entries[base + ENTRY_SOURCE]
    lost.destination = entries[base + ENTRY_DESTINATION]
    lost.ports = entries[base + ENTRY_PORTS]
    lost.nodeProtocol = nodeProtocol
    connections.add(lost, endpoint, frontend, expiresMs)
    return true
  }

  /** The endpoint of a connection that ipvs has, -1 for none; one whose endpoint is not to be had any more it forgets. */
  private recall(
    decision: Decision,
    nodeProtocol: NodeProtocol,
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
  ): number {
    const { shard, nowMs } = this.conntrack
    const connections = this.ipvs[shard]
    if (connections.size === 0) return -1
    const slot = connections.find(source, destination, ports, nodeProtocol)
    if (slot < 0) return -1
    const endpoint = connections.endpoint(slot)
    if (connections.isAlive(slot, nowMs) && this.isMember(decision, endpoint)) return endpoint
    const frontend = connections.frontend(slot)
    connections.remove(slot)
    this.uncount(shard, nodeProtocol >> 8, frontend, endpoint)
    return -1
  }

  private isMember({ setStart, setCount }: Decision, endpoint: EndpointId): boolean {
    const { members } = this.rules
    for (let i = setStart; i < setStart + setCount; i++) if (members[i] === endpoint) return true
    return false
  }

  private uncount(shard: Shard, node: NodeId, frontend: FrontendId, endpoint: EndpointId): void {
    if (this.countsConnections()) this.countScheduled(shard, node, frontend, endpoint, -1)
  }

  /** ipvs counts connections by virtual server (frontend on a node) and endpoint. */
  private countScheduled(shard: Shard, node: NodeId, frontend: FrontendId, endpoint: EndpointId, by: number): void {
    const { connections } = this.schedulers[shard]
    const at = connections.index(frontend * this.nodes + node, endpoint)
    connections.counts[at] += by
  }
}
