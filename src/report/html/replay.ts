/** A replay report as a page. */
import { CAUSE_WORDS, PHASE_WORDS } from '../../rollout/causes.ts'
import { chanceLines } from '../chance.ts'
import { conclude } from '../conclusion.ts'
import { cellText } from '../document.ts'
import { renderJson } from '../json.ts'
import { reasonSentence } from '../reasons.ts'
import { runNames } from '../run-names.ts'
import { replayDocument } from '../sections.ts'
import type { ThresholdResult } from '../threshold.ts'
import type { ReplayReport } from '../types.ts'
import type { ReplayPage } from './page-data.ts'
import { renderPage } from './render.ts'

/** @param command  what makes the run again; '' where it was no command */
export function renderReplayHtml(report: ReplayReport, results: readonly ThresholdResult[], command: string): string {
  const { title, subtitle } = replayDocument(report, results)
  const reasons = new Set(report.runs.flatMap(({ drops }) => Object.keys(drops)))
  return renderPage({
    kind: 'replay',
    title,
    subtitle,
    inShort: [...conclude(report), ...chanceLines(report).map(cellText)],
    command,
    runNames: runNames(report.runs),
    reasons: Object.fromEntries([...reasons].sort().map((reason) => [reason, reasonSentence(reason)])),
    words: report.timeline === undefined ? {} : { ...CAUSE_WORDS, ...PHASE_WORDS },
    report: JSON.parse(renderJson(report, results)) as ReplayPage['report'],
  })
}
