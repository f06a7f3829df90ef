/** Adds the workers' results up. The order of the results does not matter: everything is a sum or a maximum. */
import { mergeResults, type PortSeries, type ResultLayout, resultLayout } from '../../native-free-core/index.ts'
import type { WorkerRunResult } from './messages.ts'
import type { ReplayPlan } from './plan.ts'

export interface MergedRun {
  readonly layout: ResultLayout
  readonly result: Float64Array
  readonly ports: readonly PortSeries[]
}

export function mergeRuns(plan: ReplayPlan, parts: readonly WorkerRunResult[]): MergedRun {
  const layout = resultLayout(plan.registry.nodes.length, Math.max(1, plan.registry.endpoints.length))
  const result = new Float64Array(layout.length)
  const ports = new Map<string, { node: number; endpoint: number; samples: Int32Array }>()
  for (const part of parts) {
    mergeResults(result, part.result, layout)
    for (const { node, endpoint, samples } of part.ports) {
      const known = ports.get(`${node} ${endpoint}`)
      if (known === undefined) ports.set(`${node} ${endpoint}`, { node, endpoint, samples: samples.slice() })
      else samples.forEach((value, i) => {
        known.samples[i]! += value
      })
    }
  }
  return { layout, result, ports: [...ports.values()] }
}
