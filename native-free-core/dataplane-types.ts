/** What one worker's dataplane is made with, what a run of it is given, and what it can be asked; `dataplane.ts` makes it. */

import type { ConntrackTable } from './conntrack-table.ts'
import type { HopColumns } from './cpu-queues.ts'
import type { Lanes } from './flow-record.ts'
import type { Millis, Shard, Tick } from './kinds.ts'
import type { ConnectionColumns, PacketColumns, RequestColumns } from './packet.ts'
import type { PairSeries, ResultExtent, ResultLayout } from './result.ts'
import type { SeriesCounts } from './series.ts'
import type { SlowPath } from './slow-path.ts'

export interface DataplaneLimits {
  /** Connections under way at once: flow records. */
  readonly connections: number
  /** Most conntrack entries over all nodes and shards that this instance holds. */
  readonly entries: number
  readonly shards: number
  /** Left out: lanes say nothing about flows, so receive-side scaling goes by hash alone. */
  readonly lanes?: Lanes | undefined
  readonly nodes: number
  /** Endpoint ids, over all rule sets that will be used. */
  readonly endpoints: number
  /** Rows of the packet columns, and of the connection columns. */
  readonly packetRows: number
  readonly connectionRows: number
  /** Latency slots, pods that are queues, routes of requests and HTTP proxies; none but one slot when left out. */
  readonly extent?: ResultExtent
  /** Of a trace with HTTP requests: most of them in one window, connections that proxies may have at once, all their workers. */
  readonly requests?: { readonly rows: number; readonly upstreams: number; readonly workers: number }
  /**
   * Where hops are written for the nodes' CPU queues, at least three a packet row; the caller runs the queues and calls
   * `applyWaits`. Left out: nothing waits, latencies are recorded at once.
   */
  readonly hops?: HopColumns
  /** How counters grow over the run is kept as well; only with `hops`. Left out: it is not. */
  readonly series?: {
    /** Ids of the endpoints whose connections are followed. */
    readonly endpoints: Int32Array
  }
  /**
   * False: all first packets go the general way, which leaves behind how it went, for `explain`; and for tests, which hold the
   * short one (`fast-setup.ts`) against it.
   */
  readonly fastSetup?: boolean
}

export interface Run {
  readonly rules: Int32Array
  readonly seed: number
  /** Length of the trace, for the sample times. */
  readonly durationTicks: number
  /** By endpoint id: its latency slot. Left out: all share slot 0. */
  readonly latencySlots?: Uint16Array
}

export interface Dataplane {
  readonly packets: PacketColumns
  readonly connections: ConnectionColumns
  readonly requests: RequestColumns
  readonly table: ConntrackTable
  readonly flows: Int32Array
  readonly slowPath: SlowPath
  readonly result: Float64Array
  readonly layout: ResultLayout
  /** Most entries by shard × nodes + node; the caller settles them between windows so that a node's sum is its maximum. */
  readonly quotas: Int32Array
  /** Forget everything and take up a rule set. */
  begin(run: Run): void
  /**
   * The cluster changed: new rules, state stays. Affinity of endpoints that no rule names is dropped, and UDP entries that
   * kube-proxy would delete are.
   */
  adopt(rules: Int32Array, nowMs: Millis): void
  /** Take `rows` connection definitions in; `flowBase` is the number of the lane's first flow record. */
  define(flowBase: number, rows: number): void
  /** Put the packets in rows `from` to `to` of `packets` through: one shard's, in time order. */
  process(shard: Shard, flowBase: number, baseTick: Tick, from: number, to: number): void
  /** Hops written since `beginStep`. */
  hopCount(): number
  /** A step begins: hops count their times from this tick. */
  beginStep(baseTick: Tick): void
  /** The queues have answered: record the latencies of the step's packets, and take back those that were dropped. */
  applyWaits(): void
  /** Take the remaining samples of a shard: once, after its last packet. */
  end(shard: Shard): void
  /** Counters over time, of all shards of this instance: a copy; null where the limits ask for none. */
  series(): SeriesCounts | null
  /** Source ports in use by node and endpoint id over time, of all shards of this instance. */
  portSeries(): PairSeries[]
  /** Conntrack entries by node and service port id + 1 (0 for none) over time. */
  serviceEntrySeries(): PairSeries[]
}
