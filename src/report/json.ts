/** A replay report as JSON; the schema is `schemas/replay.schema.json`. */
import type { ReplayReport } from './types.ts'

/** Two-space indent, `schemaVersion` first, a newline at the end. */
export function renderJson(report: ReplayReport): string {
  const { schemaVersion, kind, ...rest } = report
  return `${JSON.stringify({ schemaVersion, kind, ...rest }, null, 2)}\n`
}
