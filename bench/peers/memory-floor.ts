/**
 * The memory floor: two random cache lines read a packet, over tables of the core's size, and nothing done with them.
 *
 * The packets are the core row's own, so the popularity of the lines is the same. A plain loop: the reads depend on
 * nothing, so the processor has as many of them under way as the loop's instructions leave room for.
 */
import {
  alignedWords,
  type ConnectionColumns,
  createConnectionColumns,
  createPacketColumns,
  type PacketColumns,
} from '../../native-free-core/index.ts'
import { cpuNanos, type RoundSample, type Subject, sink } from '../subject.ts'
import type { Workload } from '../workload.ts'

const FLOW_WORDS = 16

export class MemoryFloor implements Subject {
  private readonly workload: Workload
  private readonly packets: number
  private readonly first: Int32Array
  private readonly second: Int32Array
  private readonly rows: PacketColumns
  private readonly connections: ConnectionColumns
  private readonly firstAt: Int32Array
  private readonly secondAt: Int32Array

  constructor(workload: Workload, packets: number) {
    this.workload = workload
    this.packets = packets
    this.rows = createPacketColumns(this.workload.windowPackets)
    this.connections = createConnectionColumns(this.workload.windowPackets)
    this.firstAt = new Int32Array(this.workload.windowPackets)
    this.secondAt = new Int32Array(this.workload.windowPackets)
    // Written once, so that the pages are there and differ.
    this.first = alignedWords(this.workload.connections * FLOW_WORDS).map((_, i) => i)
    this.second = alignedWords(this.workload.connections * FLOW_WORDS).map((_, i) => ~i)
    while (this.workload.populate(this.rows, this.connections) !== null);
  }

  round(): RoundSample {
    const { connections, first, firstAt, rows, second, secondAt, workload } = this
    let operations = 0
    let nanos = 0
    while (operations < this.packets) {
      const { packets } = workload.next(rows, connections)
      for (let i = 0; i < packets; i++) {
        firstAt[i] = rows.slot[i] * FLOW_WORDS
        secondAt[i] = (workload.connections - 1 - rows.slot[i]) * FLOW_WORDS
      }
      const began = cpuNanos()
      sink(readLines(first, second, firstAt, secondAt, packets))
      nanos += cpuNanos() - began
      operations += packets
    }
    return { operations, nanos }
  }

  digest(): string {
    return ''
  }
}

function readLines(
  first: Int32Array,
  second: Int32Array,
  firstAt: Int32Array,
  secondAt: Int32Array,
  count: number,
): number {
  let read = 0
  for (let i = 0; i < count; i++) read ^= first[firstAt[i]] ^ second[secondAt[i]]
  return read
}
