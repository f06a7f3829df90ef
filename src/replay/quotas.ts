/**
 * Shares what belongs to a whole node out over the shards, in step with virtual time; and the barrier that keeps step.
 *
 * Each shard may hold as many conntrack entries on a node as its budget says. At the end of a step every worker writes
 * its shards' counts and waits for the others; then each budget becomes what the shard holds plus an equal share of
 * what is left. The sum over the shards is the node's maximum at any time, and since only counts enter, the result does
 * not depend on the number of workers. A step is one of the run's sample intervals or the end of a window, and shorter where
 * a node may soon be full.
 * Cost: one barrier a step: negligible where the others arrive while a worker spins, else what waking its thread takes.
 */
import { AbortedError, CONTROL_ABORT, CONTROL_ARRIVED, CONTROL_GENERATION, CONTROL_WORDS } from './messages.ts'

/** Nobody waits longer than this for a worker that has died: the main thread sets CONTROL_ABORT within it. */
const WAIT_MS = 200
/** Looks before a worker goes to sleep: half the time that waking it takes, and the others are rarely that far behind. */
const SPINS = 4000
/** A node may soon be full when so many more steps like the last one would fill it beyond a half. */
const STEPS_AHEAD = 8
/** Most that one flow has on one node: it may come back to where it has been. */
export const ENTRIES_ON_A_NODE = 2

export class Settlement {
  private readonly control: Int32Array
  private readonly counts: readonly [Int32Array, Int32Array]
  private readonly workers: number
  private readonly shards: number
  private readonly nodes: number
  private parity: 0 | 1 = 0
  /** By node: what its shards held when they settled last. */
  private readonly held: Int32Array
  /** Connections that all workers had opened when they settled last. */
  opened = 0
  /** Whether some node may soon be full, so that shares must be settled more often. */
  near = false

  constructor(buffer: SharedArrayBuffer, workers: number, shards: number, nodes: number) {
    this.control = new Int32Array(buffer, 0, CONTROL_WORDS)
    const size = shards * nodes
    this.counts = [
      new Int32Array(buffer, CONTROL_WORDS * 4, size + shards),
      new Int32Array(buffer, (CONTROL_WORDS + size + shards) * 4, size + shards),
    ]
    this.workers = workers
    this.shards = shards
    this.nodes = nodes
    this.held = new Int32Array(nodes)
  }

  static bytes(shards: number, nodes: number): number {
    return (CONTROL_WORDS + 2 * shards * (nodes + 1)) * 4
  }

  /** Budgets at the start of a run, when no shard holds anything. */
  begin(quotas: Int32Array, maxima: Int32Array): void {
    this.held.fill(0)
    this.opened = 0
    this.share(new Int32Array(this.shards * this.nodes), quotas, maxima)
  }

  /**
   * Before the barrier at the end of a step: what this worker's shards hold.
   * @param counts  this worker's table counts; only the rows of its own shards are read
   * @param own     its shards
   * @param opened  connections that it has opened or tried to
   */
  publish(counts: Int32Array, own: readonly number[], opened = 0): void {
    const { nodes } = this
    // Two buffers in turn: nobody writes this one again before all have read it and arrived at the next barrier.
    this.parity = this.parity === 0 ? 1 : 0
    const shared = this.counts[this.parity]
    for (const shard of own) shared.set(counts.subarray(shard * nodes, (shard + 1) * nodes), shard * nodes)
    shared[this.shards * nodes + own[0]!] = opened
  }

  /** After it: the quotas of the next step. */
  settle(quotas: Int32Array, maxima: Int32Array): void {
    const counts = this.counts[this.parity]
    this.share(counts, quotas, maxima)
    this.opened = 0
    for (let i = this.shards * this.nodes; i < counts.length; i++) this.opened += counts[i]!
  }

  /**
   * Whether no node can get full by so many new flows and by those that it holds being opened once more, since their entries
   * may expire under way.
   */
  hasRoomFor(flows: number, maxima: Int32Array): boolean {
    return this.held.every((held, node) => ENTRIES_ON_A_NODE * (held + flows) <= maxima[node]!)
  }

  private share(counts: Int32Array, quotas: Int32Array, maxima: Int32Array): void {
    const { shards, nodes } = this
    this.near = false
    for (let node = 0; node < nodes; node++) {
      let held = 0
      for (let shard = 0; shard < shards; shard++) held += counts[shard * nodes + node]!
      const grown = Math.max(0, held - this.held[node]!)
      if (held + STEPS_AHEAD * grown > maxima[node]! >> 1) this.near = true
      this.held[node] = held
      const free = Math.max(0, maxima[node]! - held)
      const each = Math.floor(free / shards)
      const rest = free - each * shards
      for (let shard = 0; shard < shards; shard++) {
        quotas[shard * nodes + node] = counts[shard * nodes + node]! + each + (shard < rest ? 1 : 0)
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
    for (let i = 0; i < SPINS; i++) if (Atomics.load(control, CONTROL_GENERATION) !== generation) return
    while (Atomics.load(control, CONTROL_GENERATION) === generation) {
      if (Atomics.load(control, CONTROL_ABORT) !== 0) throw new AbortedError('the run was called off')
      Atomics.wait(control, CONTROL_GENERATION, generation, WAIT_MS)
    }
  }
}
