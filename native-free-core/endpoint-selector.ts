/**
 * Which endpoint a new connection is given on a node: the one its client is bound to, else the mode's choice.
 *
 * Holds what outlives a connection and is not conntrack: ClientIP affinity (nftables and ipvs: timed entries; iptables:
 * `recent` lists) and the ipvs schedulers, one of each a shard. Entering or renewing happens here and nowhere else, so
 * only a new connection does it.
 */
import { AffinityTable } from './affinity.ts'
import { type Conntrack, entryFrontend } from './conntrack.ts'
import { ENTRY_ENDPOINT, ENTRY_NODE_PROTOCOL, ENTRY_OWNER, ENTRY_SHIFT, ENTRY_STATE } from './conntrack-table.ts'
import type { Decision } from './decide.ts'
import {
  MODE_IPTABLES,
  MODE_IPVS,
  type RuleColumns,
  SCHEDULER_LC,
  SETTING_MODE,
  SETTING_SCHEDULER,
} from './rule-columns.ts'
import { pickUniform, Schedulers } from './schedulers.ts'
import { RecentLists } from './xt-recent.ts'

export class EndpointSelector {
  rules!: RuleColumns
  readonly affinity: readonly AffinityTable[]
  /** In iptables mode, in place of `affinity`. */
  readonly recent: readonly RecentLists[]
  readonly schedulers: readonly Schedulers[]
  /** Whether the last choice found its client bound: -1 no affinity asked for, 0 no, 1 yes. */
  lastAffinity = -1
  private readonly conntrack: Conntrack
  private readonly nodes: number

  constructor(conntrack: Conntrack, shards: number, nodes: number) {
    this.conntrack = conntrack
    this.nodes = nodes
    this.affinity = Array.from({ length: shards }, () => new AffinityTable())
    this.recent = Array.from({ length: shards }, () => new RecentLists())
    this.schedulers = Array.from({ length: shards }, () => new Schedulers())
    conntrack.onRemove = (entry) => this.entryRemoved(entry)
  }

  clear(): void {
    for (const table of this.affinity) table.clear()
    for (const lists of this.recent) lists.clear()
    for (const schedulers of this.schedulers) schedulers.clear()
  }

  /**
   * @param decision  with the set to choose from
   * @param word      random word of the connection for this purpose
   * @returns         endpoint id
   */
  choose(decision: Decision, node: number, source: number, destination: number, word: number): number {
    const { members, settings, serviceAffinityMs } = this.rules
    const { shard, nowMs } = this.conntrack
    const { setStart, setCount } = decision
    const mode = settings[SETTING_MODE]
    const owner = this.ownerOf(decision, node)
    const timeoutMs = serviceAffinityMs[decision.servicePort]
    let position = -1
    this.lastAffinity = -1
    if (timeoutMs > 0) {
      position =
        mode === MODE_IPTABLES
          ? this.recent[shard].find(source, node, this.conntrack.exactMs(), timeoutMs, members, setStart, setCount)
          : this.affinity[shard].find(source, owner, nowMs, members, setStart, setCount)
      this.lastAffinity = position < 0 ? 0 : 1
    }
    if (position < 0) {
      const scheduler = settings[SETTING_SCHEDULER]
      position =
        mode === MODE_IPVS
          ? this.schedulers[shard].pick(scheduler, owner, source, destination, members, setStart, setCount)
          : pickUniform(word, setCount)
    }
    const endpoint = members[setStart + position]
    if (timeoutMs > 0) {
      if (mode === MODE_IPTABLES) this.recent[shard].renew(source, node, endpoint, this.conntrack.exactMs())
      else this.affinity[shard].renew(source, owner, endpoint, nowMs + timeoutMs)
    }
    return endpoint
  }

  /** A connection through `frontend` has been given `endpoint`. */
  placed(node: number, frontend: number, endpoint: number): void {
    if (this.countsConnections()) this.countScheduled(this.conntrack.shard, node, frontend, endpoint, 1)
  }

  /** Affinity that has run out, or whose endpoint no rule names any more, goes; what is left is added to `counts` by node. */
  sweep(shard: number, nowMs: number, counts: Int32Array): void {
    const { endpointAlive, settings } = this.rules
    if (settings[SETTING_MODE] === MODE_IPTABLES) this.recent[shard].sweep(endpointAlive, counts)
    else this.affinity[shard].sweep(nowMs, endpointAlive, counts, this.nodes)
  }

  /**
   * Whose affinity it is: the service port's, in ipvs mode the virtual server's, each on its node. The core's number of
   * nodes never changes, that of Services may: so this key outlives a change of the cluster.
   */
  private ownerOf(decision: Decision, node: number): number {
    const ipvs = this.rules.settings[SETTING_MODE] === MODE_IPVS
    return (ipvs ? decision.frontend : decision.servicePort) * this.nodes + node
  }

  /** ipvs least-connection schedulers look at the connections that a server holds. */
  private countsConnections(): boolean {
    const { settings } = this.rules
    return settings[SETTING_SCHEDULER] === SCHEDULER_LC && settings[SETTING_MODE] === MODE_IPVS
  }

  private entryRemoved(entry: number): void {
    if (!this.countsConnections()) return
    const base = entry << ENTRY_SHIFT
    const { entries } = this.conntrack.table
    const frontend = entryFrontend(entries[base + ENTRY_STATE]) - 1
    if (frontend < 0) return
    const node = entries[base + ENTRY_NODE_PROTOCOL] >> 8
    this.countScheduled(entries[base + ENTRY_OWNER], node, frontend, entries[base + ENTRY_ENDPOINT] - 1, -1)
  }

  /** ipvs counts connections by virtual server (frontend on a node) and endpoint. */
  private countScheduled(shard: number, node: number, frontend: number, endpoint: number, by: number): void {
    const { connections } = this.schedulers[shard]
    const at = connections.index(frontend * this.nodes + node, endpoint)
    connections.counts[at] += by
  }
}
