/** A report as JSON; the schemas are `schemas/replay.schema.json` and `schemas/capacity.schema.json`. */
import type { CapacityReport } from './capacity-types.ts'
import type { ReplayReport } from './types.ts'

/** Two-space indent, `schemaVersion` first, a newline at the end. */
export function renderJson(report: ReplayReport | CapacityReport): string {
  const { schemaVersion, kind, ...rest } = report
  return `${JSON.stringify({ schemaVersion, kind, ...rest }, null, 2)}\n`
}
