/**
 * Whether no node's conntrack table can come near its maximum in a window: counted by workers that do not meet, and proved when
 * their counts are added up.
 *
 * What workers that meet look at before each window is a sum over them: entries held, and flows that the window can open
 * (`Settlement.hasRoomFor`). A worker alone takes for granted that there is room, which is how the window then runs, and
 * keeps its own share of the sum. Where all shares together say that there was room, no worker would have run otherwise.
 * Windows are taken together where there are many: the most of a group stands for all of it, so that the proof may fail
 * where there was room, never the other way round.
 */
import { ENTRIES_ON_A_NODE } from './quotas.ts'

/** Groups of windows that are kept apart. */
const MAX_GROUPS = 1024

export class RoomRecord {
  /** `group × nodes + node`: the most that was held there and could be opened. */
  readonly needs: Float64Array
  private readonly windows: number
  private readonly groups: number
  private readonly nodes: number
  private readonly held: Float64Array
  private opened = 0

  constructor(windows: number, nodes: number) {
    this.windows = windows
    this.nodes = nodes
    this.groups = Math.min(MAX_GROUPS, windows)
    this.needs = new Float64Array(this.groups * nodes)
    this.held = new Float64Array(nodes)
  }

  /**
   * At the end of a window, where workers that meet would publish.
   * @param counts  entries by shard and node
   * @param own     this worker's shards
   * @param opened  flows that its connections have opened or tried to, the most
   */
  hold(counts: Int32Array, own: readonly number[], opened: number): void {
    const { held, nodes } = this
    held.fill(0)
    for (const shard of own) {
      for (let node = 0; node < nodes; node++) held[node]! += counts[shard * nodes + node]!
    }
    this.opened = opened
  }

  /** Before a window. @param mostOpened  flows of this worker's lanes that can be opened by its end */
  begin(window: number, mostOpened: number): void {
    const { held, needs, nodes } = this
    const at = Math.floor((window * this.groups) / this.windows) * nodes
    for (let node = 0; node < nodes; node++) {
      needs[at + node] = Math.max(needs[at + node]!, held[node]! + mostOpened - this.opened)
    }
  }
}

/**
 * @param shares  `needs` of all workers
 * @param maxima  nf_conntrack_max by node
 * @returns       the first node that may have been near its maximum, -1 for none
 */
export function nodeWithoutRoom(shares: readonly Float64Array[], maxima: Int32Array): number {
  const nodes = maxima.length
  for (let at = 0; at < shares[0]!.length; at++) {
    const needed = shares.reduce((sum, needs) => sum + needs[at]!, 0)
    if (ENTRIES_ON_A_NODE * needed > maxima[at % nodes]!) return at % nodes
  }
  return -1
}
