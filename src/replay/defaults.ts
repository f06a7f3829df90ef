/** What a replay is run with where nobody says otherwise: the command's defaults and the library's. */
import { availableParallelism } from 'node:os'

export const MAX_WORKERS = 256
export const MAX_SHARDS = 16
export const DEFAULT_SHARDS = 16
/**
 * What makes a thread of its own worth starting, over all runs: it takes as long to load and compile for itself as a warm one takes for so many
 * packets (measured on two cores, with one thread and with two: a quarter of a million 0.51 and 0.54 s; two million 0.96 and 1.03 s; 7.7 million 1.12 and 1.06 s).
 */
const PACKETS_A_WORKER = 2_000_000

/** @param packets  over all runs. @returns threads that are worth starting, at least 1; the report does not depend on it */
export function workersFor(packets: number): number {
  const cpus = Math.min(MAX_WORKERS, availableParallelism())
  return Math.max(1, Math.min(cpus, Math.floor(packets / PACKETS_A_WORKER)))
}
