/**
 * A replay report as text for a terminal of 80 to 100 columns.
 *
 * Invariants: without colour the text is the same with the sequences left out; no line is padded at its end. Columns of
 * run tables have one width over all sections.
 */
import { type Cell, cellText, cellTone, type ReportDocument, type Section, type Table } from './document.ts'
import { replayDocument } from './sections.ts'
import { type Style, styleFor } from './style.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'
import type { ReplayReport } from './types.ts'

const LINE_WIDTH = 96
const INDENT = '  '
const GAP = '  '

export interface TextOptions {
  readonly color: boolean
}

export function renderText(
  report: ReplayReport,
  thresholds: readonly ThresholdResult[] = [],
  options: TextOptions = { color: false },
): string {
  return renderDocumentText(replayDocument(report, thresholds), options)
}

/** The ✓/✗ block alone, for standard error where standard output is data. */
export function renderThresholds(results: readonly ThresholdResult[], options: TextOptions = { color: false }): string {
  const style = styleFor(options.color)
  return thresholdLines(results)
    .map((line) => `${style.tone(printable(cellText(line)), cellTone(line))}\n`)
    .join('')
}

/** Any report's sections. */
export function renderDocumentText(document: ReportDocument, options: TextOptions): string {
  const style = styleFor(options.color)
  const widths = runTableWidths(document.sections)
  const head = [
    style.title(printable(document.title)),
    ...document.subtitle.flatMap((line) => wrap(printable(line), LINE_WIDTH)),
  ]
  const blocks = document.sections.map((section) => [
    style.title(printable(section.title)),
    ...sectionLines(section, widths, style),
  ])
  return `${[head, ...blocks].map((lines) => lines.join('\n')).join('\n\n')}\n`
}

function sectionLines(section: Section, shared: readonly number[], style: Style): string[] {
  const lines: string[] = []
  const { table } = section
  if (table !== null && table.rows.length > 0) {
    lines.push(...tableLines(table, table.runTable ? shared : columnWidths([table]), style))
  }
  for (const line of section.lines) {
    // An item that breaks over lines is recognised by its indented rest.
    const rest = section.list ? INDENT : ''
    wrap(printable(cellText(line)), LINE_WIDTH - INDENT.length - rest.length).forEach((part, index) => {
      lines.push(INDENT + (index > 0 ? rest : '') + style.tone(part, cellTone(line)))
    })
  }
  return lines
}

function tableLines(table: Table, widths: readonly number[], style: Style): string[] {
  const line = (cells: readonly Cell[], tone: (cell: Cell, padded: string) => string): string => {
    const padded = cells.map((cell, column) => {
      const fill = ' '.repeat(Math.max(0, widths[column]! - lengthOf(cell)))
      const text = tone(cell, printable(cellText(cell)))
      return table.align[column] === 'right' ? fill + text : text + fill
    })
    return INDENT + padded.join(GAP).trimEnd()
  }
  const head = line(table.head, (_, text) => style.tone(text, 'quiet'))
  return [head, ...table.rows.map((row) => line(row, (cell, text) => style.tone(text, cellTone(cell))))]
}

function runTableWidths(sections: readonly Section[]): number[] {
  return columnWidths(sections.flatMap(({ table }) => (table?.runTable ? [table] : [])))
}

function columnWidths(tables: readonly Table[]): number[] {
  const widths: number[] = []
  for (const table of tables) {
    for (const row of [table.head, ...table.rows]) {
      row.forEach((cell, column) => {
        widths[column] = Math.max(widths[column] ?? 0, lengthOf(cell))
      })
    }
  }
  return widths
}

/** Names come from traces and manifests; a control character in one must not reach the terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?')
}

function lengthOf(cell: Cell): number {
  return [...printable(cellText(cell))].length
}

/** A space, unless it stands before a unit: `33.3 %` is not broken. */
const BREAK = /\s+(?!(?:%|[nµm]?s|[kMGT]?(?:bit)?\/s|[KMGT]?i?B)(?!\w))/

/** Break at spaces; a leading indent is kept, and a word longer than the width stays whole. */
function wrap(text: string, width: number): string[] {
  const indent = /^ */.exec(text)![0]
  const lines: string[] = []
  let line = indent
  for (const word of text.trim().split(BREAK)) {
    const joined = line === indent ? line + word : `${line} ${word}`
    if (joined.length > width && line !== indent) {
      lines.push(line)
      line = indent + word
    } else {
      line = joined
    }
  }
  return [...lines, line]
}
