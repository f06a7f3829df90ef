/**
 * Tables that sort by any column and keep the rows that hold a word, some dozens of rows at a time.
 *
 * Rows become elements when they are shown, so that ten thousand cost no more than fifty.
 */
import { formatCount } from '../src/report/units.ts'
import { h, newId, shown } from './dom.ts'

export interface Column<Row> {
  readonly head: string
  /** What is sorted by: numbers as numbers, null last. */
  readonly value: (row: Row) => string | number | null
  /** What is written; left out: the value. */
  readonly text?: (row: Row) => string
  readonly tone?: (row: Row) => 'bad' | 'good' | ''
}

const PAGE = 50
const FILTER_FROM = 8

export function table<Row>(caption: string, columns: readonly Column<Row>[], rows: readonly Row[]): HTMLElement {
  let sortedBy: { readonly column: number; readonly down: boolean } | null = null
  let words: readonly string[] = []
  let limit = PAGE
  const textOf = (row: Row, { text, value }: Column<Row>): string => shown(text?.(row) ?? String(value(row) ?? 'none'))
  const isNumber = columns.map(({ value }) => rows.some((row) => typeof value(row) === 'number'))
  const haystacks = new Map<Row, string>()
  const haystack = (row: Row): string => {
    const known = haystacks.get(row)
    if (known !== undefined) return known
    const made = columns
      .map((column) => textOf(row, column))
      .join('\n')
      .toLowerCase()
    haystacks.set(row, made)
    return made
  }

  const body = h('tbody')
  const heads = columns.map((column, i) =>
    h(
      'th',
      { scope: 'col', class: isNumber[i] ? 'number' : null },
      h('button', { type: 'button', onclick: () => sortBy(i) }, column.head),
    ),
  )
  const more = h('button', { type: 'button', class: 'more', onclick: () => grow() })
  const count = h('span', { class: 'count', role: 'status' })
  const filterId = newId('filter')
  const filter = h('input', {
    id: filterId,
    type: 'search',
    placeholder: 'words in a row',
    oninput: () => keep(filter.value),
    spellcheck: 'false',
  })
  const tools =
    rows.length < FILTER_FROM
      ? null
      : h('div', { class: 'tools' }, h('label', { for: filterId }, 'Filter'), filter, count)
  const scroller = h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption), h('thead', {}, h('tr', {}, ...heads)), body),
  )
  fill()
  return h('div', { class: 'table' }, tools, scroller, more)

  function sortBy(column: number): void {
    const before = sortedBy
    // Names from a to z first, numbers from the highest down first.
    sortedBy = before?.column === column ? { column, down: !before.down } : { column, down: isNumber[column] === true }
    fill()
  }
  function keep(text: string): void {
    words = text
      .toLowerCase()
      .split(/\s+/)
      .filter((word) => word !== '')
    limit = PAGE
    fill()
  }
  function grow(): void {
    limit *= 4
    fill()
  }
  function fill(): void {
    const kept =
      words.length === 0 ? [...rows] : rows.filter((row) => words.every((word) => haystack(row).includes(word)))
    if (sortedBy !== null) {
      const { column, down } = sortedBy
      const value = columns[column]!.value
      kept.sort((a, b) => compare(value(a), value(b), down))
    }
    for (const [i, head] of heads.entries()) {
      if (sortedBy?.column === i) head.setAttribute('aria-sort', sortedBy.down ? 'descending' : 'ascending')
      else head.removeAttribute('aria-sort')
    }
    body.replaceChildren(...kept.slice(0, limit).map(rowElement))
    const left = kept.length - limit
    more.hidden = left <= 0
    more.textContent = `Show more (${formatCount(left)} are not shown)`
    count.textContent =
      words.length === 0
        ? `${formatCount(rows.length)} rows`
        : `${formatCount(kept.length)} of ${formatCount(rows.length)} rows`
  }
  function rowElement(row: Row): HTMLElement {
    const cells = columns.map((column, i) => {
      const tone = column.tone?.(row) ?? ''
      const classes = [isNumber[i] ? 'number' : 'name', tone].filter((one) => one !== '').join(' ')
      return i === 0
        ? h('th', { scope: 'row', class: classes }, textOf(row, column))
        : h('td', { class: classes }, textOf(row, column))
    })
    return h('tr', {}, ...cells)
  }
}

function compare(a: string | number | null, b: string | number | null, down: boolean): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1
  const order =
    typeof a === 'number' && typeof b === 'number'
      ? a - b
      : String(a) < String(b)
        ? -1
        : String(a) === String(b)
          ? 0
          : 1
  return down ? -order : order
}

/** The numbers of a chart, folded away; they are made when somebody wants to see them, or prints. */
export function numbers<Row>(caption: string, columns: readonly Column<Row>[], rows: readonly Row[]): HTMLElement {
  const details = h(
    'details',
    { class: 'numbers' },
    h('summary', {}, `Numbers: ${caption} (${formatCount(rows.length)})`),
  )
  details.addEventListener('toggle', () => {
    if (details.open && details.childElementCount === 1) details.append(table(caption, columns, rows))
  })
  return details
}

/** One row a figure, one column a run. */
export function runTable(
  caption: string,
  runs: readonly string[],
  rows: readonly {
    readonly name: string
    readonly values: readonly (number | null)[]
    readonly text: (value: number) => string
    readonly bad?: boolean
  }[],
): HTMLElement {
  type Row = (typeof rows)[number]
  return table<Row>(
    caption,
    [
      { head: 'figure', value: ({ name }) => name },
      ...runs.map((run, i) => ({
        head: run,
        value: (row: Row) => row.values[i] ?? null,
        text: (row: Row) => (row.values[i] == null ? 'none' : row.text(row.values[i])),
        tone: (row: Row) => (row.bad === true && (row.values[i] ?? 0) > 0 ? ('bad' as const) : ('' as const)),
      })),
    ],
    rows,
  )
}
