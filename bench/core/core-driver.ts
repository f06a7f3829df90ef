/**
 * Drives the core as src/replay/worker.ts does: one instance, `begin`, budgets, then `define` and `process` a window.
 *
 * One shard, so that every access may fall anywhere in the table: the hardest case. A replay's 16 shards take turns and
 * touch a sixteenth of it each time.
 */
import {
  type ConnectionColumns,
  createDataplane,
  type Dataplane,
  type PacketColumns,
} from '../../native-free-core/index.ts'
import { resultDigest } from '../digest.ts'
import type { Driver } from '../driver.ts'
import { cpuNanos } from '../subject.ts'
import { TICKS_PER_SECOND, type Window, type Workload } from '../workload.ts'
import { RUN_SEED, type World } from '../world.ts'

/** Far beyond any run's end; samples are taken on the way. */
const DURATION_SECONDS = 86_400
/** Room over the live size for closed connections that wait for the sweep. */
const HEADROOM = 1.04

export class CoreDriver implements Driver {
  readonly packets: PacketColumns
  readonly connections: ConnectionColumns
  private readonly dataplane: Dataplane

  /**
   * @param live   conntrack entries on one node
   * @param spare  slots beyond the workload's own
   */
  constructor(world: World, workload: Workload, live: number, spare = 0) {
    const rows = Math.max(workload.windowPackets, spare)
    // With more nodes than one a connection has an entry on each of the two that it may cross.
    const entries = Math.ceil(live * HEADROOM) * Math.min(2, world.nodes) + 64
    this.dataplane = createDataplane({
      connections: workload.connections + spare,
      entries: entries + spare,
      shards: 1,
      nodes: world.nodes,
      endpoints: world.endpoints,
      packetRows: rows,
      connectionRows: rows,
    })
    this.dataplane.begin({ rules: world.rules, seed: RUN_SEED, durationTicks: DURATION_SECONDS * TICKS_PER_SECOND })
    this.dataplane.budgets.set(world.columns.nodeConntrackMax)
    this.packets = this.dataplane.packets
    this.connections = this.dataplane.connections
  }

  run(window: Window): number {
    const began = cpuNanos()
    if (window.definitions > 0) this.dataplane.define(0, window.definitions)
    this.dataplane.process(0, 0, window.baseTick, 0, window.packets)
    return cpuNanos() - began
  }

  digest(): string {
    const { layout, result, table } = this.dataplane
    return `${resultDigest(layout, result)}, entries ${table.size()}`
  }

  /** @throws Error naming the first broken invariant of the conntrack table */
  selfCheck(): void {
    this.dataplane.table.selfCheck()
  }
}
