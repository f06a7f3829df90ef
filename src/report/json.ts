/** A report as JSON; the schemas are `schemas/replay.schema.json` and `schemas/capacity.schema.json`. */
import type { CapacityReport } from './capacity-types.ts'
import { conclusionsOf } from './conclusion.ts'
import type { ReplayReport } from './types.ts'

/** With what the runs come to (`conclusion`). Two-space indent, `schemaVersion` first, a newline at the end. */
export function renderJson(report: ReplayReport | CapacityReport): string {
  const { schemaVersion, kind, ...rest } = report
  const conclusion = report.kind === 'replay' ? { conclusion: conclusionsOf(report) } : {}
  return `${JSON.stringify({ schemaVersion, kind, ...conclusion, ...rest }, null, 2)}\n`
}
