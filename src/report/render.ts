/** All views of a replay report, for whoever loads them when they are needed. */
import { renderReplayGha } from './gha.ts'
import { renderReplayHtml } from './html/replay.ts'
import { renderJson } from './json.ts'
import { renderJunit } from './junit.ts'
import { renderMarkdown } from './markdown.ts'
import { renderText, type TextOptions } from './text.ts'
import type { ThresholdResult } from './threshold.ts'
import type { ReplayReport } from './types.ts'

export { renderThresholds } from './text.ts'

export type ReplayFormat = 'text' | 'json' | 'markdown' | 'junit' | 'gha' | 'gha-bigger' | 'html'

export function renderReplay(
  format: ReplayFormat,
  report: ReplayReport,
  results: readonly ThresholdResult[],
  options: TextOptions & { readonly command?: string },
): string {
  switch (format) {
    case 'json':
      return renderJson(report, results)
    case 'markdown':
      return renderMarkdown(report, results, options)
    case 'junit':
      return renderJunit(`dpemu replay: ${report.trace.name}`, results)
    case 'gha':
      return renderReplayGha(report, 'smaller')
    case 'gha-bigger':
      return renderReplayGha(report, 'bigger')
    case 'html':
      return renderReplayHtml(report, results, options.command ?? '')
    case 'text':
      return renderText(report, results, options)
  }
}
