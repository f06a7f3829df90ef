/**
 * Drives the core as src/replay/worker.ts does: one instance, `begin`, quotas, then `define` and `process` a window.
 *
 * One shard, so that every access may fall anywhere in the table: the hardest case. A replay's 16 shards take turns and
 * touch a sixteenth of it each time. With `queued` each window is also a step of the nodes' CPU queues, as in a replay: hops
 * are written, sorted by arrival and walked, and latencies recorded with the waits. Without, latencies are recorded at once.
 */
import {
  type ConnectionColumns,
  createDataplane,
  createNodeQueues,
  type Dataplane,
  HOP_BYTES,
  type HopColumns,
  hopColumns,
  NANOS_PER_TICK,
  type NodeQueues,
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
/** Nodes that one packet may cross. */
const MAX_HOPS = 3

/** The CPU queues and what they fill in. */
interface Queueing {
  readonly queues: NodeQueues
  readonly hops: HopColumns
  readonly busy: Float64Array
  readonly drops: Float64Array
}

export interface CoreDriverOptions {
  /** Slots beyond the workload's own. */
  readonly spare?: number
  readonly queued?: boolean
}

export class CoreDriver implements Driver {
  readonly packets: PacketColumns
  readonly connections: ConnectionColumns
  private readonly dataplane: Dataplane
  private readonly queueing: Queueing | null

  /** @param live  conntrack entries on one node */
  constructor(world: World, workload: Workload, live: number, options: CoreDriverOptions = {}) {
    const { spare = 0, queued = false } = options
    const rows = Math.max(workload.windowPackets, spare)
    // With more nodes than one a connection has an entry on each of the two that it may cross.
    const entries = Math.ceil(live * HEADROOM) * Math.min(2, world.nodes) + 64
    this.queueing = queued ? createQueueing(world, rows * MAX_HOPS) : null
    this.dataplane = createDataplane({
      connections: workload.connections + spare,
      entries: entries + spare,
      shards: 1,
      nodes: world.nodes,
      endpoints: world.endpoints,
      packetRows: rows,
      connectionRows: rows,
      ...(this.queueing === null ? {} : { hops: this.queueing.hops }),
    })
    this.dataplane.begin({ rules: world.rules, seed: RUN_SEED, durationTicks: DURATION_SECONDS * TICKS_PER_SECOND })
    this.dataplane.quotas.set(world.columns.nodeConntrackMax)
    this.packets = this.dataplane.packets
    this.connections = this.dataplane.connections
  }

  run(window: Window): number {
    const { dataplane, queueing } = this
    const began = cpuNanos()
    if (window.definitions > 0) dataplane.define(0, window.definitions)
    if (queueing !== null) dataplane.beginStep(window.baseTick)
    dataplane.process(0, 0, window.baseTick, 0, window.packets)
    if (queueing !== null) {
      queueing.queues.add(queueing.hops, 0, dataplane.hopCount())
      queueing.queues.run(window.baseTick * NANOS_PER_TICK, queueing.busy, queueing.drops)
      dataplane.applyWaits()
    }
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

function createQueueing(world: World, capacity: number): Queueing {
  const { nodes } = world
  return {
    queues: createNodeQueues(world.columns.nodeCores, world.model.backlogPackets, capacity, () => true),
    hops: hopColumns(new SharedArrayBuffer(capacity * HOP_BYTES), 0, capacity),
    busy: new Float64Array(nodes),
    drops: new Float64Array(nodes),
  }
}
