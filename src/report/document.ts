/**
 * A report as titled sections of tables and lines: what text and Markdown both render.
 *
 * Sections whose tables compare runs have one column a run after the label (`runTable`); renderers give those the same
 * widths in every section, so that the eye can go straight down a run's column.
 */

export type Tone = 'plain' | 'good' | 'bad' | 'quiet'

export interface StyledCell {
  readonly text: string
  readonly tone: Tone
}

export type Cell = string | StyledCell

export interface Table {
  readonly head: readonly string[]
  readonly align: readonly ('left' | 'right')[]
  readonly rows: readonly (readonly Cell[])[]
  /** First column is a label, every other one a run, in the report's order. */
  readonly runTable: boolean
}

export interface Section {
  readonly title: string
  readonly table: Table | null
  /** After the table; each is one paragraph. */
  readonly lines: readonly Cell[]
  /** Lines are items of a list, not sentences. */
  readonly list: boolean
}

export interface ReportDocument {
  readonly title: string
  readonly subtitle: readonly string[]
  readonly sections: readonly Section[]
}

export function cellText(cell: Cell): string {
  return typeof cell === 'string' ? cell : cell.text
}

export function cellTone(cell: Cell): Tone {
  return typeof cell === 'string' ? 'plain' : cell.tone
}

export function textSection(title: string, lines: readonly Cell[]): Section {
  return { title, table: null, lines, list: false }
}

export function listSection(title: string, lines: readonly Cell[]): Section {
  return { title, table: null, lines, list: true }
}

/** A table of one row a metric and one column a run. */
export function runTable(
  title: string,
  runHeads: readonly string[],
  rows: readonly (readonly Cell[])[],
  lines: readonly Cell[] = [],
): Section {
  const align = ['left' as const, ...runHeads.map(() => 'right' as const)]
  return { title, table: { head: ['', ...runHeads], align, rows, runTable: true }, lines, list: false }
}

/** The first `limit` of a list, and a line that counts the rest. */
export function shorten(lines: readonly string[], limit: number): Cell[] {
  if (lines.length <= limit) return [...lines]
  const more = lines.length - limit
  return [...lines.slice(0, limit), { text: `... and ${more} more (-o json has all)`, tone: 'quiet' }]
}
