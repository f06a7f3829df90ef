/**
 * Which core of a node takes a flow, as receive-side scaling deals flows out.
 *
 * By hash alone where lanes say nothing about flows; else also by lane, as far as the numbers of lanes and cores have a power of
 * two in common: then a core has its flows from few lanes, and threads need not wait for each other.
 */

import { FLOW_SHIFT, type Lanes } from './flow-record.ts'
import type { FlowOffset, NodeId, Shard } from './kinds.ts'
import type { RuleColumns } from './rule-columns.ts'

export class Cores {
  private readonly lanes: Lanes | null
  /** By node: flows are spread by lane over so many cores (a power of two), less 1; and from there on by hash. */
  private readonly byLane: Int32Array
  private readonly byHash: Int32Array

  constructor(lanes: Lanes | null, nodes: number) {
    this.lanes = lanes
    this.byLane = new Int32Array(nodes)
    this.byHash = new Int32Array(nodes).fill(1)
  }

  take({ nodeCores }: RuleColumns): void {
    const { lanes } = this
    nodeCores.forEach((cores, node) => {
      let common = 1
      while (lanes !== null && cores % (common * 2) === 0 && lanes.count % (common * 2) === 0) common *= 2
      this.byLane[node] = common - 1
      this.byHash[node] = cores / common
    })
  }

  /**
   * @param hash   any word; its low 8 bits count
   * @param shard  of the flow: a flow record behind those of the trace is in its lane
   */
  of(node: NodeId, hash: number, flow: FlowOffset, shard: Shard): number {
    const own = this.byLane[node]
    const rest = ((hash & 255) * this.byHash[node]) >> 8
    return own === 0 ? rest : (this.laneOf(flow, shard) & own) + (own + 1) * rest
  }

  private laneOf(flow: FlowOffset, shard: Shard): number {
    const { firstFlow, lane } = this.lanes!
    const number = flow >> FLOW_SHIFT
    if (number >= firstFlow[firstFlow.length - 1]) return shard
    let i = 0
    while (firstFlow[i + 1] <= number) i++
    return lane[i]
  }
}
