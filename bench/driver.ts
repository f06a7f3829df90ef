/** A dataplane that is put through its paces: the core, or a peer that makes the same decisions. */
import type { ConnectionColumns, PacketColumns } from '../native-free-core/index.ts'
import type { Window } from './workload.ts'

export interface Driver {
  /** Columns that the workload fills before `run`. */
  readonly packets: PacketColumns
  readonly connections: ConnectionColumns
  /** Takes the window's connections in and puts its packets through. @returns CPU time, ns */
  run(window: Window): number
  /** All counters so far, and the number of entries. */
  digest(): string
}
