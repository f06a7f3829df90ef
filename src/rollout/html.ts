/** A rollout report as a page. */
import { inShortOf } from '../report/html/in-short.ts'
import type { RolloutJson } from '../report/html/page-data.ts'
import { renderPage } from '../report/html/render.ts'
import type { ThresholdResult } from '../report/threshold.ts'
import { CAUSE_WORDS, PHASE_WORDS } from './causes.ts'
import type { Picture } from './picture.ts'
import type { RolloutReport } from './report.ts'
import { renderRolloutJson, rolloutDocument } from './text.ts'

/** @param command  what makes the report again */
export function renderRolloutHtml(
  report: RolloutReport,
  picture: Picture,
  results: readonly ThresholdResult[],
  command: string,
): string {
  const document = rolloutDocument(report, picture, results)
  return renderPage({
    kind: 'rollout',
    title: document.title,
    subtitle: document.subtitle,
    inShort: inShortOf(document),
    command,
    words: { ...CAUSE_WORDS, ...PHASE_WORDS },
    picture: { rows: picture.fine, leftOut: picture.leftOut },
    report: JSON.parse(renderRolloutJson(report, results)) as RolloutJson,
  })
}
