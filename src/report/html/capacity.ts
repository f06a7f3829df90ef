/** A capacity report as a page. */
import { capacityDocument } from '../capacity-sections.ts'
import type { CapacityReport } from '../capacity-types.ts'
import { renderJson } from '../json.ts'
import type { ThresholdResult } from '../threshold.ts'
import { inShortOf } from './in-short.ts'
import type { CapacityPage } from './page-data.ts'
import { renderPage } from './render.ts'

/** @param command  what makes the report again; '' where it was no command */
export function renderCapacityHtml(
  report: CapacityReport,
  results: readonly ThresholdResult[],
  command: string,
): string {
  const document = capacityDocument(report, results, {})
  return renderPage({
    kind: 'capacity',
    title: document.title,
    subtitle: document.subtitle,
    inShort: inShortOf(document),
    command,
    report: JSON.parse(renderJson(report, results)) as CapacityPage['report'],
  })
}
