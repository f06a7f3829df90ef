/**
 * A dataplane on a small cluster, fed packet by packet: what a test says is who sends what to whom, and when.
 *
 * Each packet is put through alone, so that what the counters gained is what happened to it; `replay` puts a whole list
 * through in batches, for tests that compare the two.
 */
import {
  createDataplane,
  type Dataplane,
  ENTRY_EXPIRES,
  ENTRY_NODE_PROTOCOL,
  ENTRY_SHIFT,
  FLOW_BACKEND,
  FLOW_ENDPOINT,
  FLOW_NAT_PORTS,
  FLOW_NAT_SOURCE,
  FLOW_SHIFT,
  FLOW_STATUS,
  HOP_BYTES,
  type HopColumns,
  hopColumns,
  NODE_WORDS,
  type PairSeries,
  REASONS,
  type RuleColumns,
  TICKS_PER_MS,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_NOT_SENT,
} from '../../native-free-core/index.ts'
import { type Compiled, compileRules, type Destination } from '../../src/compile/compile.ts'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import { DEFAULT_MODEL, type Model } from '../../src/compile/model.ts'
import { Registry } from '../../src/compile/registry.ts'
import type { ClusterViews } from '../../src/compile/views.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import type { TrafficPolicy } from '../../src/k8s/types.ts'

export const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const
export type ProtocolName = keyof typeof PROTOCOLS

/** TCP flags by name, as tcpdump would say them. */
export const FLAGS = {
  none: 0,
  fin: 17,
  syn: 2,
  synack: 18,
  rst: 4,
  rstack: 20,
  ack: 16,
  data: 24,
} as const
export type FlagName = keyof typeof FLAGS

const HOPS = 1 << 15

export interface LabOptions {
  readonly mode?: ProxyMode
  readonly policy?: TrafficPolicy | null
  readonly model?: Partial<Model>
  readonly shards?: number
  readonly seed?: number
  /** Most entries by node, divided over the shards; a number for every node. */
  readonly entries?: number
  readonly connections?: number
  readonly durationMs?: number
  readonly gcIntervalMs?: number
  /** False: every first packet goes the general way. */
  readonly fastSetup?: boolean
  /** Hops are written for the nodes' CPU queues, which nobody runs: `hops` tells them. */
  readonly queued?: boolean
  /** The cluster as JSON, addresses and dials → the same of another address family. */
  readonly translate?: ((text: string) => string) | undefined
  /** Addresses outside the cluster that will send, numbered before the rules are compiled as a trace's are. */
  readonly clients?: readonly string[]
}

/** One packet of a connection: milliseconds from the start, who sends it, and what it is. */
export interface Packet {
  readonly connection: number
  readonly atMs: number
  readonly from: 'client' | 'server'
  readonly flags: number
  readonly length: number
}

export class Lab {
  readonly dataplane: Dataplane
  readonly registry: Registry = new Registry()
  readonly columns: HopColumns | null
  readonly nodeNames: readonly string[]
  rules: Compiled
  private readonly options: LabOptions
  private readonly destinations: Destination[] = []
  private readonly destinationIndex = new Map<string, number>()
  private readonly shards: number
  private readonly translate: (text: string) => string
  private connections = 0
  private readonly shardOfConnection: number[] = []

  /** @param dials  every `ip:port/protocol` that will be dialled; `!` before it: not meant for a Service */
  constructor(cluster: Cluster, dials: readonly string[], options: LabOptions = {}) {
    this.options = options
    this.translate = options.translate ?? ((text) => text)
    this.shards = options.shards ?? 1
    this.nodeNames = cluster.nodes.map(({ name }) => name)
    for (const text of dials.map(this.translate)) {
      const plain = text.startsWith('!')
      const [, address, port, protocol] = /^!?(.+):(\d+)\/(\w+)$/.exec(text)!
      this.destinationIndex.set(plain ? text.slice(1) : text, this.destinations.length)
      this.destinations.push({
        address: this.registry.address(address.replace(/[[\]]/g, '')),
        port: Number(port),
        protocol: PROTOCOLS[protocol as ProtocolName],
        isService: !plain,
      })
    }
    for (const address of options.clients ?? []) this.registry.address(this.translate(address))
    this.rules = this.compile(cluster)
    this.columns = options.queued === true ? hopColumns(new SharedArrayBuffer(HOPS * HOP_BYTES), 0, HOPS) : null
    this.dataplane = createDataplane({
      connections: options.connections ?? 4096,
      entries: Math.max(64, (options.entries ?? 10_000) * cluster.nodes.length),
      shards: this.shards,
      nodes: cluster.nodes.length,
      endpoints: 256,
      packetRows: 16_384,
      connectionRows: 4096,
      fastSetup: options.fastSetup ?? true,
      ...(this.columns === null ? {} : { hops: this.columns }),
    })
    this.begin()
  }

  begin(): void {
    this.connections = 0
    this.shardOfConnection.length = 0
    this.dataplane.begin({
      rules: this.rules.rules,
      seed: this.options.seed ?? 1,
      durationTicks: (this.options.durationMs ?? 600_000) * TICKS_PER_MS,
    })
    this.dataplane.quotas.fill(Math.floor((this.options.entries ?? 10_000) / this.shards))
  }

  /** The cluster is another one from now on. @param views  where its parts do not know the same */
  change(cluster: Cluster, nowMs: number, views: ClusterViews | null = null): void {
    // A moment of a Timeline leaves out what is as before.
    this.rules = this.compile(cluster, views, views === null ? null : this.rules.columns)
    this.dataplane.adopt(this.rules.rules, nowMs)
  }

  private compile(cluster: Cluster, views: ClusterViews | null = null, before: RuleColumns | null = null): Compiled {
    const { mode, policy, model, gcIntervalMs } = this.options
    const options = {
      policy: policy ?? null,
      mode: mode ?? null,
      model: { ...DEFAULT_MODEL, ...model, written: new Set(Object.keys(model ?? {})) } as Model,
      destinations: this.destinations,
      clientMap: new Int32Array(0),
      gcIntervalMs: gcIntervalMs ?? 60_000,
      views,
      before,
    }
    const same = this.options.translate === undefined ? cluster : JSON.parse(this.translate(JSON.stringify(cluster)))
    return compileRules(same, this.registry, options)
  }

  /** Id of an address that the rules know: of a pod, a node, or one of `clients`. */
  client(address: string): number {
    const known = this.registry.addressCount
    const id = this.registry.address(this.translate(address))
    if (id >= known) throw new Error(`client ${address} is new: name it in the cluster or in the option clients`)
    return id
  }

  /** @param to  one of the dialled destinations. @returns the connection's number */
  connect(client: string, to: string, sourcePort: number, shard = 0): number {
    const { connections } = this.dataplane
    const connection = this.connections++
    const destination = this.destinationIndex.get(this.translate(to))
    if (destination === undefined) throw new Error(`${to} is not among the dialled destinations`)
    connections.slot[0] = connection
    connections.client[0] = this.client(client)
    connections.destination[0] = destination
    connections.sourcePort[0] = sourcePort
    this.dataplane.define(0, 1)
    this.shardOfConnection.push(shard)
    return connection
  }

  /** @returns `accept`, `not-sent`, or the reason why the packet was lost */
  send(packet: Packet): string {
    const { packets, result, layout } = this.dataplane
    const accepted = result[TOTAL_ACCEPTED_PACKETS]
    const notSent = result[TOTAL_NOT_SENT]
    const lost = REASONS.map(({ code }) => result[layout.reasons + code])
    packets.time[0] = 0
    packets.slot[0] = packet.connection
    packets.flags[0] = packet.flags | (packet.from === 'server' ? 128 : 0)
    packets.length[0] = packet.length
    this.dataplane.process(this.shardOfConnection[packet.connection], 0, packet.atMs * TICKS_PER_MS, 0, 1)
    const reasons = REASONS.filter(({ code }) => result[layout.reasons + code] > lost[code]).map(({ name }) => name)
    if (result[TOTAL_ACCEPTED_PACKETS] > accepted) reasons.push('accept')
    if (result[TOTAL_NOT_SENT] > notSent) reasons.push('not-sent')
    if (reasons.length !== 1) throw new Error(`one packet had the outcomes [${reasons.join(', ')}]`)
    return reasons[0]
  }

  /** Puts packets of one shard through in time order, in as few calls as 32 bits of ticks allow. */
  replay(packets: readonly Packet[], shard = 0): void {
    const columns = this.dataplane.packets
    for (let from = 0; from < packets.length; ) {
      const baseMs = packets[from].atMs
      let rows = 0
      while (from + rows < packets.length && (packets[from + rows].atMs - baseMs) * TICKS_PER_MS < 2 ** 32) {
        const packet = packets[from + rows]
        columns.time[rows] = (packet.atMs - baseMs) * TICKS_PER_MS
        columns.slot[rows] = packet.connection
        columns.flags[rows] = packet.flags | (packet.from === 'server' ? 128 : 0)
        columns.length[rows] = packet.length
        rows++
      }
      this.dataplane.process(shard, 0, baseMs * TICKS_PER_MS, 0, rows)
      from += rows
    }
  }

  /** The endpoint that a connection has been given, `''` for none. */
  endpoint(connection: number): string {
    const id = this.dataplane.flows[(connection << FLOW_SHIFT) + FLOW_ENDPOINT]
    return id < 0 || this.isNew(connection) ? '' : this.registry.endpointText(id)
  }

  /** What the pod sees as the source: `ip:port`. */
  seenSource(connection: number): string {
    const { flows } = this.dataplane
    const flow = connection << FLOW_SHIFT
    return this.registry.addressPort(flows[flow + FLOW_NAT_SOURCE], flows[flow + FLOW_NAT_PORTS] >>> 16)
  }

  /** Where the packets of a connection end up: `ip:port`. */
  deliveredTo(connection: number): string {
    const { flows } = this.dataplane
    const flow = connection << FLOW_SHIFT
    return this.registry.addressPort(flows[flow + FLOW_BACKEND], flows[flow + FLOW_NAT_PORTS] & 0xffff)
  }

  private isNew(connection: number): boolean {
    return (this.dataplane.flows[(connection << FLOW_SHIFT) + FLOW_STATUS] & 0xff) === 0
  }

  /** Conntrack entries by node, expired ones that nobody met included. */
  conntrack(): number[] {
    const { counts } = this.dataplane.table
    const nodes = this.nodeNames.length
    return this.nodeNames.map((_, node) => {
      let sum = 0
      for (let shard = 0; shard < this.shards; shard++) sum += counts[shard * nodes + node]
      return sum
    })
  }

  /** Milliseconds that each entry of a node still has at `nowMs`, the longest first. */
  timers(node: string, nowMs: number): number[] {
    const { table } = this.dataplane
    const index = this.nodeNames.indexOf(node)
    const left: number[] = []
    for (let shard = 0; shard < this.shards; shard++) {
      table.forEachOfShard(shard, (entry) => {
        const base = entry << ENTRY_SHIFT
        if (table.entries[base + ENTRY_NODE_PROTOCOL] >> 8 === index)
          left.push(table.entries[base + ENTRY_EXPIRES] - nowMs)
      })
    }
    return left.sort((a, b) => b - a)
  }

  total(word: number): number {
    return this.dataplane.result[this.dataplane.layout.totals + word]
  }

  nodeTotal(node: string, word: number): number {
    const { result, layout } = this.dataplane
    return result[layout.nodes + this.nodeNames.indexOf(node) * NODE_WORDS + word]
  }

  /** Source ports held and entries by who holds them, over time; in the order of their numbers. */
  series(): { ports: PairSeries[]; serviceEntries: PairSeries[] } {
    const order = (a: PairSeries, b: PairSeries): number => a.node - b.node || a.other - b.other
    return {
      ports: this.dataplane.portSeries().sort(order),
      serviceEntries: this.dataplane.serviceEntrySeries().sort(order),
    }
  }

  /** Time, server and CPU time of all hops written since the beginning. */
  hops(): number[][] {
    const { columns } = this
    if (columns === null) return []
    return Array.from({ length: this.dataplane.hopCount() }, (_, i) => [
      columns.time[i],
      columns.server[i],
      columns.cost[i],
    ])
  }

  selfCheck(): void {
    this.dataplane.table.selfCheck()
    for (const table of this.dataplane.slowPath.selector.affinity) table.selfCheck()
    for (const lists of this.dataplane.slowPath.selector.recent) lists.selfCheck()
    for (const connections of this.dataplane.slowPath.selector.ipvs) connections.selfCheck()
  }
}
