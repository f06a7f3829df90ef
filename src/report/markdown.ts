/**
 * A replay report as GitHub Markdown, for pull requests and job summaries: the text report's sections as tables.
 *
 * Names come from manifests and traces, so whatever Markdown or HTML could read as markup is escaped.
 */
import { type Cell, cellText, type ReportDocument, type Section, type Table } from './document.ts'
import { type DocumentOptions, replayDocument } from './sections.ts'
import type { ThresholdResult } from './threshold.ts'
import type { ReplayReport } from './types.ts'

export function renderMarkdown(
  report: ReplayReport,
  thresholds: readonly ThresholdResult[] = [],
  { constants }: DocumentOptions = {},
): string {
  return renderDocumentMarkdown(replayDocument(report, thresholds, { constants }))
}

/** Any report's sections. */
export function renderDocumentMarkdown(document: ReportDocument): string {
  const head = [`# ${escaped(document.title)}`, ...document.subtitle.map(escaped)]
  return `${[...head, ...document.sections.map(sectionText)].join('\n\n')}\n`
}

function sectionText(section: Section): string {
  const parts = [`## ${escaped(section.title)}`]
  if (section.table !== null && section.table.rows.length > 0) parts.push(tableText(section.table))
  if (section.lines.length > 0)
    parts.push(section.list ? listText(section.lines) : section.lines.map(lineText).join('  \n'))
  return parts.join('\n\n')
}

/** An indented line belongs to the item above it. */
function listText(lines: readonly Cell[]): string {
  return lines
    .map((line) => (cellText(line).startsWith(' ') ? `  - ${lineText(line)}` : `- ${lineText(line)}`))
    .join('\n')
}

/** Padding that aligns columns in a terminal is no use here. */
function lineText(line: Cell): string {
  return escaped(cellText(line).trim().replace(/ {2,}/g, ' '))
}

function tableText(table: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const rule = table.align.map((side) => (side === 'right' ? '---:' : ':---'))
  const rows = table.rows.map((row) => line(row.map((cell) => lineText(cell))))
  return [line(table.head.map(escaped)), line(rule), ...rows].join('\n')
}

function escaped(text: string): string {
  return text
    .replace(/[\r\n]+/g, ' ')
    .replace(/[\\`*_[\]|]/g, '\\$&')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
}
