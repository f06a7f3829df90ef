/** What a replay is run with where nobody says otherwise: the command's defaults and the library's. */
import { availableParallelism } from 'node:os'
import type { ReplayOptions } from './plan.ts'

export const MAX_WORKERS = 256
export const MAX_SHARDS = 16
export const DEFAULT_SHARDS = 16
/**
 * What makes a thread of its own worth starting, over all runs: it takes as long to load and compile for itself as a warm one
 * takes for so many packets. On two cores one thread is as fast as two at two million packets (`time dpemu replay --workers`).
 */
const PACKETS_A_WORKER = 2_000_000

/** Runs of a replay: policies × proxy modes × ways in. */
export function runsOf(options: Pick<ReplayOptions, 'policies' | 'proxyModes' | 'ingressPaths'>): number {
  const { policies, proxyModes, ingressPaths = [] } = options
  return policies.length * Math.max(1, proxyModes.length) * Math.max(1, ingressPaths.length)
}

/** @param packets  over all runs. @returns threads that are worth starting, at least 1; the report does not depend on it */
export function workersFor(packets: number): number {
  const cpus = Math.min(MAX_WORKERS, availableParallelism())
  return Math.max(1, Math.min(cpus, Math.floor(packets / PACKETS_A_WORKER)))
}
