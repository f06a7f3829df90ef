/** What the batched driver of first packets works on, and what can be asked of it; `fast-setup.ts` makes it. */

import type { FlowOffset, Millis32, Shard, Tick, Tick32 } from './kinds.ts'
import type { PacketColumns } from './packet.ts'
import type { ResultLayout } from './result.ts'
import type { RuleColumns } from './rule-columns.ts'
import type { SlowPath } from './slow-path.ts'

export interface FastSetupParts {
  readonly slowPath: SlowPath
  readonly flows: Int32Array
  readonly packets: PacketColumns
  /** Flow records of the packets of the batch at hand. */
  readonly batchFlows: Int32Array
  readonly result: Float64Array
  readonly layout: ResultLayout
  readonly shards: number
  readonly nodes: number
  /** Most entries by shard × nodes + node. */
  readonly quotas: Int32Array
}

export interface FastSetup {
  /** Takes up a rule set. */
  take(rules: RuleColumns): void
  /**
   * Plans the new connections of the batch whose packets stand in the rows from `from` on.
   * @returns a checksum of what was read, so that the loads are not optimised away
   */
  plan(shard: Shard, baseTick: Tick, from: number, size: number): number
  /**
   * Opens a connection as `SlowPath.open` does, where it is an ordinary one. Counting it is left to the caller.
   * @param inBatch  position of the packet in its batch, planned or not
   * @returns      false when it is not, and then nothing has changed
   */
  open(shard: Shard, inBatch: number, flow: FlowOffset, flags: number, nowMs: Millis32, tick: Tick32): boolean
}
