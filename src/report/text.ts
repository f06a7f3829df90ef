/**
 * A replay report as text for a terminal of 60 columns and more.
 *
 * Sentences take as many columns as are there and at most LINE_WIDTH, which is also what is taken where nobody knows. A
 * table that is too wide has its labels shortened in the middle, and then its columns below each other, with the labels
 * again. Invariants: without colour the text is the same with the sequences left out; no line is padded at its end. Columns
 * of run tables have one width over all sections.
 */
import { type Cell, cellText, cellTone, type ReportDocument, type Section, type Table } from './document.ts'
import { type DocumentOptions, replayDocument } from './sections.ts'
import { type Style, styleFor } from './style.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'
import type { ReplayReport } from './types.ts'
import { clipMiddle } from './units.ts'
import { wrap } from './wrap.ts'

const LINE_WIDTH = 96
const INDENT = '  '
const GAP = '  '

/** What labels of a table are shortened to before its columns are folded: the first, and a second beside it. */
const LEAST_LABELS = [24, 10] as const

export interface TextOptions extends DocumentOptions {
  readonly color: boolean
  /** Columns of the terminal; null or left out: not known. */
  readonly width?: number | null
}

export function renderText(
  report: ReplayReport,
  thresholds: readonly ThresholdResult[] = [],
  options: TextOptions = { color: false },
): string {
  return renderDocumentText(replayDocument(report, thresholds, options), options)
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
  const width = options.width ?? Number.POSITIVE_INFINITY
  const lineWidth = Math.min(LINE_WIDTH, width)
  const widths = runTableWidths(document.sections)
  const head = [
    style.title(printable(document.title)),
    ...document.subtitle.flatMap((line) => wrap(printable(line), lineWidth)),
  ]
  const blocks = document.sections.map((section) => [
    ...wrap(printable(section.title), lineWidth).map((line) => style.title(line)),
    ...sectionLines(section, widths, style, { width, lineWidth }),
  ])
  return `${[head, ...blocks].map((lines) => lines.join('\n')).join('\n\n')}\n`
}

interface Room {
  /** Of the terminal. */
  readonly width: number
  /** Of sentences. */
  readonly lineWidth: number
}

function sectionLines(section: Section, shared: readonly number[], style: Style, { width, lineWidth }: Room): string[] {
  const lines: string[] = []
  const { table } = section
  if (table !== null && table.rows.length > 0) {
    lines.push(...foldedLines(table, table.runTable ? shared : columnWidths([table]), width - INDENT.length, style))
  }
  for (const line of section.lines) {
    // An item that breaks over lines is recognised by its indented rest.
    const rest = section.list ? INDENT : ''
    wrap(printable(cellText(line)), lineWidth - INDENT.length - rest.length).forEach((part, index) => {
      lines.push(INDENT + (index > 0 ? rest : '') + style.tone(part, cellTone(line)))
    })
  }
  return lines
}

/** A table by itself, without colour; in `width` columns, or as wide as it is. */
export function renderTable(table: Table, width: number | null): string {
  const room = width ?? Number.POSITIVE_INFINITY
  const lines = foldedLines(table, columnWidths([table]), room, styleFor(false))
  return lines.map((line) => line.slice(INDENT.length)).join('\n')
}

/** A table in the room that there is: as it is, with shorter labels, or with its columns in several blocks. */
function foldedLines(table: Table, own: readonly number[], room: number, style: Style): string[] {
  const all = table.head.map((_, column) => column)
  const widths = [...own]
  const total = (columns: readonly number[]): number =>
    columns.reduce((sum, column) => sum + widths[column]!, GAP.length * (columns.length - 1))
  const labels = table.align[1] === 'left' && table.head.length > 2 ? 2 : 1
  for (let label = 0; label < labels && total(all) > room; label++) {
    widths[label] = Math.max(Math.min(own[label]!, LEAST_LABELS[label]!), widths[label]! - (total(all) - room))
  }
  if (total(all) <= room) return tableLines(table, widths, all, style)
  const keys = all.slice(0, labels)
  const blocks: number[][] = []
  for (const column of all.slice(labels)) {
    const block = blocks.at(-1)
    if (block !== undefined && total([...keys, ...block, column]) <= room) block.push(column)
    else blocks.push([column])
    // A single column that is wider than all there is.
    widths[column] = Math.min(widths[column]!, Math.max(LEAST_LABELS[1], room - total(keys) - GAP.length))
  }
  return blocks.flatMap((block) => tableLines(table, widths, [...keys, ...block], style))
}

function tableLines(table: Table, widths: readonly number[], columns: readonly number[], style: Style): string[] {
  const line = (cells: readonly Cell[], tone: (cell: Cell, padded: string) => string): string => {
    const padded = columns.map((column) => {
      const cell = cells[column]!
      const shown = clipMiddle(printable(cellText(cell)), widths[column]!)
      const fill = ' '.repeat(Math.max(0, widths[column]! - [...shown].length))
      const text = tone(cell, shown)
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
