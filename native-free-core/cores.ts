/**
 * Which core of a node takes a flow: receive-side scaling, as far as it can in the rhythm of lanes.
 *
 * By hash alone where lanes say nothing about flows; else also by lane, as far as the numbers of lanes and cores have a power of two in
 * common: then a core has its flows from few lanes, and threads need not wait for each other. Cost: some 5 ns; allocates nothing.
 */
import { LINE_SHIFT } from './connection.ts'
import type { RuleColumns } from './ruleset.ts'

/** Lanes of a trace that hold flows dealt out one by one, as receive-side scaling deals them out to cores. */
export interface Lanes {
  /** Of the whole trace: a power of two. */
  readonly count: number
  /** Numbers of the lanes here; by their place the first line of each, and the number of lines at the end. */
  readonly lane: Int32Array
  readonly firstLine: Int32Array
}

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

  take(rules: RuleColumns): void {
    const { lanes } = this
    rules.nodeCores.forEach((cores, node) => {
      let common = 1
      while (lanes !== null && cores % (common * 2) === 0 && lanes.count % (common * 2) === 0) common *= 2
      this.byLane[node] = common - 1
      this.byHash[node] = cores / common
    })
  }

  /** @param hash any word; its low 8 bits count. @param shard whose line it may be, behind those of the trace */
  of(node: number, hash: number, line: number, shard: number): number {
    const own = this.byLane[node]
    const byHash = ((hash & 255) * this.byHash[node]) >> 8
    return own === 0 ? byHash : (this.laneOf(line, shard) & own) + (own + 1) * byHash
  }

  /** The lane that a line is in; a line behind those of the trace is of its shard's. */
  private laneOf(line: number, shard: number): number {
    const { firstLine, lane } = this.lanes!
    const number = line >> LINE_SHIFT
    if (number >= firstLine[firstLine.length - 1]) return shard
    let i = 0
    while (firstLine[i + 1] <= number) i++
    return lane[i]
  }
}
