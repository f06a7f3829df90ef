/** Adds the workers' results up. The order of the results does not matter: everything is a sum or a maximum. */
import {
  mergeResults,
  type PairSeries,
  type ResultLayout,
  resultLayout,
  type SeriesCounts,
} from '../../native-free-core/index.ts'
import type { WorkerRunResult } from './messages.ts'
import { extentOf, type ReplayPlan } from './plan.ts'

export interface MergedRun {
  readonly layout: ResultLayout
  readonly result: Float64Array
  /** Source ports by node and endpoint id. */
  readonly ports: readonly PairSeries[]
  /** Conntrack entries by node and service port id + 1. */
  readonly serviceEntries: readonly PairSeries[]
  /** Counters over time; null where they were not asked for. */
  readonly series: SeriesCounts | null
}

export function mergeRuns(plan: ReplayPlan, parts: readonly WorkerRunResult[]): MergedRun {
  const layout = resultLayout(plan.registry.nodes.length, Math.max(1, plan.registry.endpoints.length), extentOf(plan))
  const result = new Float64Array(layout.length)
  for (const part of parts) mergeResults(result, part.result, layout)
  return {
    layout,
    result,
    ports: mergeSeries(parts.map((part) => part.ports)),
    serviceEntries: mergeSeries(parts.map((part) => part.serviceEntries)),
    series: mergeCounts(parts.flatMap(({ series }) => series ?? [])),
  }
}

function mergeCounts([first, ...others]: readonly SeriesCounts[]): SeriesCounts | null {
  if (first === undefined) return null
  for (const other of others) {
    for (const column of ['counts', 'endpoints', 'latencies'] as const) {
      const into = first[column]
      const from = other[column]
      for (let i = 0; i < into.length; i++) into[i]! += from[i]!
    }
  }
  return first
}

function mergeSeries(parts: readonly (readonly PairSeries[])[]): PairSeries[] {
  const merged = new Map<string, PairSeries>()
  for (const { node, other, samples } of parts.flat()) {
    const key = `${node} ${other}`
    const known = merged.get(key)
    if (known === undefined) merged.set(key, { node, other, samples: samples.slice() })
    else
      samples.forEach((value, i) => {
        known.samples[i]! += value
      })
  }
  return [...merged.values()]
}
