/** The page of a report without charts: its sections, with tables that sort and filter. */
import type { DocumentPage } from '../../src/report/html/page-data.ts'
import { h, shown } from '../dom.ts'
import { table } from '../table.ts'
import { type Part, part } from './section.ts'

type Section = DocumentPage['sections'][number]
type Row = NonNullable<Section['table']>['rows'][number]

export function documentParts({ sections, command }: DocumentPage): (Part | null)[] {
  return [
    ...sections.map((section, i) => sectionPart(section, `part-${i}`)),
    command === ''
      ? null
      : part('again', 'The same again', '', h('pre', { tabindex: 0 }, h('code', {}, shown(command)))),
  ]
}

function sectionPart({ title, lines, table: given }: Section, id: string): Part | null {
  return part(
    id,
    title,
    '',
    given === null
      ? null
      : table(
          `${title}: table`,
          given.head.map((head, i) => ({
            head: head === '' ? 'what' : head,
            value: (row: Row) => (given.align[i] === 'right' ? quantity(row[i]!.text) : row[i]!.text),
            text: (row: Row) => row[i]!.text,
            tone: (row: Row) => toneOf(row[i]!.tone),
          })),
          given.rows,
        ),
    lines.length === 0
      ? null
      : h('ul', { class: 'lines' }, ...lines.map(({ text, tone }) => h('li', { class: toneOf(tone) }, shown(text)))),
  )
}

function toneOf(tone: string): 'good' | 'bad' | '' {
  return tone === 'good' || tone === 'bad' ? tone : ''
}

/** Units of time in microseconds, of sizes in bytes, and prefixes; those of one column are of one kind. */
const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-3,
  µs: 1,
  ms: 1e3,
  s: 1e6,
  min: 6e7,
  h: 3.6e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  k: 1e3,
  M: 1e6,
  G: 1e9,
}

/** What a text of a column of numbers is sorted by: `−12.3 %`, `1.20 ms`, `×25`; null for what is none. */
export function quantity(text: string): number | null {
  const match = /^[<>]?([+−-]?)(×?)([\d,]+(?:\.\d+)?)\s*([^\s(]*)/.exec(text)
  if (match === null) return null
  const [, sign, times, digits, unit] = match
  const size = Number(digits!.replaceAll(',', '')) * (UNITS[unit!] ?? 1)
  // A change told as a factor is beside changes told in percent.
  const value = times === '' ? size : (size - 1) * 100
  return sign === '−' || sign === '-' ? -value : value
}
