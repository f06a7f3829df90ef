/**
 * Shares what belongs to a whole node out over the shards, in step with virtual time; and the barrier that keeps step.
 *
 * Each shard may hold as many conntrack entries on a node as its budget says. At the end of a step every worker writes
 * its shards' counts and waits for the others; then each budget becomes what the shard holds plus an equal share of
 * what is left. The sum over the shards is the node's maximum at any time, and since only counts enter, the result does
 * not depend on the number of workers. A step is one of the run's sample intervals or the end of a window.
 * Cost: one barrier a step, about 0.1 ms on two cores.
 */
import { AbortedError, CONTROL_ABORT, CONTROL_ARRIVED, CONTROL_GENERATION, CONTROL_WORDS } from './messages.ts'

/** Nobody waits longer than this for a worker that has died: the main thread sets CONTROL_ABORT within it. */
const WAIT_MS = 200

export class Settlement {
  private readonly control: Int32Array
  private readonly counts: readonly [Int32Array, Int32Array]
  private readonly workers: number
  private readonly shards: number
  private readonly nodes: number
  private parity: 0 | 1 = 0

  constructor(buffer: SharedArrayBuffer, workers: number, shards: number, nodes: number) {
    this.control = new Int32Array(buffer, 0, CONTROL_WORDS)
    const size = shards * nodes
    this.counts = [
      new Int32Array(buffer, CONTROL_WORDS * 4, size),
      new Int32Array(buffer, (CONTROL_WORDS + size) * 4, size),
    ]
    this.workers = workers
    this.shards = shards
    this.nodes = nodes
  }

  static bytes(shards: number, nodes: number): number {
    return (CONTROL_WORDS + 2 * shards * nodes) * 4
  }

  /** Budgets at the start of a run, when no shard holds anything. */
  begin(budgets: Int32Array, maxima: Int32Array): void {
    this.share(new Int32Array(this.shards * this.nodes), budgets, maxima)
  }

  /**
   * Before the barrier at the end of a step: what this worker's shards hold.
   * @param counts  this worker's table counts; only the rows of its own shards are read
   * @param own     its shards
   */
  publish(counts: Int32Array, own: readonly number[]): void {
    const { nodes } = this
    // Two buffers in turn: nobody writes this one again before all have read it and arrived at the next barrier.
    this.parity = this.parity === 0 ? 1 : 0
    const shared = this.counts[this.parity]
    for (const shard of own) shared.set(counts.subarray(shard * nodes, (shard + 1) * nodes), shard * nodes)
  }

  /** After it: the budgets of the next step. */
  settle(budgets: Int32Array, maxima: Int32Array): void {
    this.share(this.counts[this.parity], budgets, maxima)
  }

  private share(counts: Int32Array, budgets: Int32Array, maxima: Int32Array): void {
    const { shards, nodes } = this
    for (let node = 0; node < nodes; node++) {
      let held = 0
      for (let shard = 0; shard < shards; shard++) held += counts[shard * nodes + node]!
      const free = Math.max(0, maxima[node]! - held)
      const each = Math.floor(free / shards)
      const rest = free - each * shards
      for (let shard = 0; shard < shards; shard++) {
        budgets[shard * nodes + node] = counts[shard * nodes + node]! + each + (shard < rest ? 1 : 0)
      }
    }
  }

  /** Wait until every worker is here. @throws AbortedError when the run was called off */
  barrier(): void {
    const { control } = this
    if (this.workers === 1) return
    const generation = Atomics.load(control, CONTROL_GENERATION)
    if (Atomics.add(control, CONTROL_ARRIVED, 1) === this.workers - 1) {
      Atomics.store(control, CONTROL_ARRIVED, 0)
      Atomics.add(control, CONTROL_GENERATION, 1)
      Atomics.notify(control, CONTROL_GENERATION)
      return
    }
    while (Atomics.load(control, CONTROL_GENERATION) === generation) {
      if (Atomics.load(control, CONTROL_ABORT) !== 0) throw new AbortedError('the run was called off')
      Atomics.wait(control, CONTROL_GENERATION, generation, WAIT_MS)
    }
  }
}
