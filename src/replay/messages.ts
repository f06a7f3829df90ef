/** What crosses between the main thread and the workers: plain data, rule sets as shared memory, results as transfers. */

import type { PairSeries, PodQueues, ResultExtent, SeriesCounts } from '../../native-free-core/index.ts'
import type { UserError } from '../errors.ts'

/** One policy × proxy mode. */
export interface WorkerRun {
  /** Packed rule set over shared memory. */
  readonly rules: Int32Array
  readonly seed: number
  readonly durationTicks: number
  /** nf_conntrack_max by node. */
  readonly conntrackMax: Int32Array
  /** Rule sets that take over on the way, by time. */
  readonly changes: readonly { readonly tick: number; readonly rules: Int32Array }[]
}

/** A node's conntrack table is wanted as it is before the packets of a tick. */
export interface TableDump {
  readonly node: number
  readonly tick: number
}

export interface WorkerTask {
  readonly tracePath: string
  readonly worker: number
  readonly workers: number
  readonly shards: number
  readonly nodes: number
  readonly endpoints: number
  /** Conntrack entries that the worker's table must hold. */
  readonly entries: number
  /** It is the only one of its run in this process, and meets nobody: another machine has the others. */
  readonly alone: boolean
  /** Whether a node's limit can be reached at all, so that quotas must be settled on the way. */
  readonly settles: boolean
  /** Flows that a connection can make, those of its name queries included. */
  readonly flowsPerConnection: number
  readonly runs: readonly WorkerRun[]
  /** Flows are dealt out to lanes one by one. */
  readonly flowsByLane: boolean
  /** Cores by node at most, in every rule set, and packets that may wait for one. */
  readonly cores: Int32Array
  readonly coreStages: readonly Int32Array[]
  readonly backlog: number
  /** Pods that are queues of their own. */
  readonly pods: PodQueues
  readonly extent: ResultExtent
  /** By endpoint id: its latency slot. */
  readonly latencySlots: Uint16Array
  /** Endpoints whose connections are followed over time; null: no series is wanted. */
  readonly seriesEndpoints: Int32Array | null
  /** Where requests go through HTTP proxies: the most connections to backends at once, and the proxies' workers. */
  readonly requests: { readonly upstreams: number; readonly workers: number } | null
  /** By worker: its hops (`hopColumns`), and how many fit. */
  readonly hops: readonly { readonly buffer: SharedArrayBuffer; readonly capacity: number }[]
  /** By shard: first hop of the step and the one after its last, in its worker's columns. */
  readonly segments: Int32Array
  /** Words of `CONTROL_*`, then two buffers of counts (quotas.ts). */
  readonly control: SharedArrayBuffer
  /** Of the first run; null: none. */
  readonly dump: TableDump | null
}

/** A task that ends when as many threads are at it: then all of them have loaded their code, and none may still be compiling. */
export interface Rendezvous {
  readonly meet: SharedArrayBuffer
  readonly threads: number
}

export interface WorkerRunResult {
  readonly result: Float64Array
  /** Source ports by endpoint, entries by service port + 1. */
  readonly ports: readonly PairSeries[]
  readonly serviceEntries: readonly PairSeries[]
  readonly series: SeriesCounts | null
  /** Of a worker alone: what a proof that nodes had room needs (room.ts); else empty. */
  readonly room: Float64Array
  /** Rows of table-dump.ts; empty where no table was asked for. */
  readonly table: Int32Array
  /** Processing time of each block: nanoseconds a packet, and its packets. */
  readonly blockNanos: Float64Array
  readonly blockRows: Float64Array
}

export interface WorkerResult {
  readonly runs: readonly WorkerRunResult[]
  readonly nativeAddons: boolean
}

/**
 * How a task ended. What a user can mend crosses as data: the copy of an Error that arrives in another thread has neither
 * its class nor its fields.
 */
export type WorkerOutcome =
  | { readonly kind: 'done'; readonly result: WorkerResult }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'refused'; readonly error: Pick<UserError, 'code' | 'message' | 'where' | 'hint' | 'exitCode'> }

/** Packets done, over all workers and runs, in units of 1024. */
export const CONTROL_PROGRESS = 0
/** Set to 1 to make every worker stop at its next window. */
export const CONTROL_ABORT = 1
/** Arrivals at the barrier, and its generation. */
export const CONTROL_ARRIVED = 2
export const CONTROL_GENERATION = 3
export const CONTROL_WORDS = 16

/** A worker that was told to stop throws this; the main thread knows why. */
export class AbortedError extends Error {
  override readonly name = 'AbortError'
}
