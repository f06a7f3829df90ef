/**
 * Which worker serves which queue, and which workers' hops it takes for that.
 *
 * Receive-side scaling deals flows out to the cores of a node as they are dealt out to lanes, as far as the numbers allow
 * (FlowSetup.spread): a core then has the flows of every 2nd, 4th, … lane. Where the workers share the lanes out in the same
 * rhythm, all hops of a core come from one worker, and that worker serves it: nobody waits for anybody (1.8 in place of 1.5 times as fast
 * on two cores as on one, bench: replay). Other queues, of nodes with an odd number of cores and of pods, take the hops of all workers.
 */
import { LANES } from '../trace/format.ts'

export interface QueueOwners {
  /** Whether a worker serves a queue: of a node by its core, of a pod (numbered behind the nodes) by 0. */
  serves(worker: number, place: number, core: number): boolean
  /** No worker needs the hops of another. */
  readonly apart: boolean
}

/**
 * @param stages        cores by node in every rule set of every run: a cluster may change on the way, the owners may not
 * @param pods          number of pods that are queues
 * @param flowsByLane  flows are dealt out to lanes one by one
 */
export function queueOwners(
  stages: readonly Int32Array[],
  pods: number,
  shards: number,
  workers: number,
  flowsByLane: boolean,
): QueueOwners {
  const nodes = stages.reduce((most, cores) => Math.max(most, cores.length), 0)
  const keeps = (count: number): boolean => commonPowerOfTwo(count, LANES) % workers === 0
  const inRhythm = Array.from(
    { length: nodes },
    (_, node) =>
      flowsByLane && shards % workers === 0 && stages.every((cores) => node >= cores.length || keeps(cores[node]!)),
  )
  return {
    serves: (worker, place, core) => (inRhythm[place] === true ? core % workers : (place + core) % workers) === worker,
    apart: workers === 1 || (pods === 0 && inRhythm.every((is) => is)),
  }
}

/** The largest power of two that divides both. */
function commonPowerOfTwo(a: number, b: number): number {
  let power = 1
  while (a % (power * 2) === 0 && b % (power * 2) === 0) power *= 2
  return power
}
