/** A comparison as text, Markdown and JSON. */
import { basename } from 'node:path'
import { type Cell, listSection, type ReportDocument, type Section, shorten, type Tone } from '../report/document.ts'
import type { Dimension } from '../report/fields.ts'
import { renderDocumentHtml } from '../report/html/document.ts'
import { renderDocumentMarkdown } from '../report/markdown.ts'
import { renderDocumentText, type TextOptions } from '../report/text.ts'
import {
  countOf,
  formatBytes,
  formatCount,
  formatMicros,
  formatNanos,
  formatPercent,
  formatSeconds,
} from '../report/units.ts'
import { shown } from './circumstances.ts'
import type { Comparison } from './compare.ts'
import type { Difference, Direction } from './differences.ts'
import type { FailOn } from './fail-on.ts'

export type CompareFormat = 'text' | 'json' | 'markdown' | 'html'

export interface CompareTextOptions extends TextOptions {
  /** All that differs, however much it is. */
  readonly all?: boolean
  /** What was typed; for pages. */
  readonly command?: string
}

const MAX_DIFFERENCES = 30
const MAX_ONLY = 10
const MAX_CIRCUMSTANCES = 12
const MAX_MATCHES = 6

export function renderComparison(format: CompareFormat, comparison: Comparison, options: CompareTextOptions): string {
  if (format === 'json') return `${JSON.stringify(comparison, null, 2)}\n`
  // A page has room for all, and a filter.
  if (format === 'html') return renderDocumentHtml(comparisonDocument(comparison, true), options.command ?? '')
  const document = comparisonDocument(comparison, options.all ?? null)
  return format === 'markdown' ? renderDocumentMarkdown(document) : renderDocumentText(document, options)
}

/** @param all  null: the thirty largest, and whoever asks has no way to ask for more here */
function comparisonDocument(comparison: Comparison, all: boolean | null): ReportDocument {
  const { compared, differences, reports } = comparison
  const names = namesOf(reports)
  const of = (direction: Direction): number => differences.filter((one) => one.direction === direction).length
  const counts =
    differences.length === 0
      ? 'none differs'
      : `${formatCount(differences.length)} differ: ${formatCount(of('worse'))} worse, ${formatCount(of('better'))} better`
  return {
    title: `dpemu compare: ${names.join(', ')}`,
    subtitle: [`${countOf(compared, 'figure')} of ${comparison.of} reports, against ${names[0]!}; ${counts}`],
    sections: [
      ...failOnSection(comparison.failOn, reports, names),
      ...circumstanceSection(comparison, names),
      ...differenceSection(comparison, names, all),
      ...onlySection(comparison, names),
    ],
  }
}

function failOnSection(failOn: readonly FailOn[], reports: readonly string[], names: readonly string[]): Section[] {
  if (failOn.length === 0) return []
  const nameOf = (report: string): string => (reports.length > 2 ? `${names[reports.indexOf(report)]!}: ` : '')
  const plain = (value: number | null): string =>
    value === null ? 'nothing was recorded' : String(Number(value.toPrecision(12)))
  const lines = failOn.flatMap(({ expression, fails, matches }): Cell[] => {
    const failing = matches.filter((match) => match.fails)
    return [
      { text: `${fails ? '✗' : '✓'} ${expression}`, tone: fails ? 'bad' : 'good' },
      ...shorten(
        failing.map(
          ({ report, path, value, limit }) => `  ${nameOf(report)}${path}: ${plain(value)} against ${plain(limit)}`,
        ),
        MAX_MATCHES,
      ),
    ]
  })
  return [listSection('Fails on', lines)]
}

function circumstanceSection({ circumstances }: Comparison, names: readonly string[]): Section[] {
  if (circumstances.length === 0) return []
  const rows = circumstances
    .slice(0, MAX_CIRCUMSTANCES)
    .map(({ what, values }): Cell[] => [what, ...values.map((value) => shown(value))])
  const more = circumstances.length - rows.length
  return [
    {
      title: 'Not made from the same',
      list: false,
      lines: more > 0 ? [{ text: `... and ${formatCount(more)} more (-o json has all)`, tone: 'quiet' }] : [],
      table: { head: ['', ...names], align: ['left', ...names.map(() => 'left' as const)], rows, runTable: false },
    },
  ]
}

function differenceSection({ differences }: Comparison, names: readonly string[], all: boolean | null): Section[] {
  if (differences.length === 0) return []
  const groups = grouped(differences)
  const shownOnes = all ? groups : groups.slice(0, MAX_DIFFERENCES)
  const more = differences.length - shownOnes.reduce((sum, group) => sum + group.length, 0)
  const [, ...others] = names
  const where = all === null ? '-o json has all' : '--all, or -o json'
  // With two reports the change stands behind the values, else each value has its own.
  const change = names.length === 2 ? ['change'] : []
  return [
    {
      title: 'What differs, the largest first',
      list: false,
      lines: more > 0 ? [{ text: `... and ${formatCount(more)} more (${where})`, tone: 'quiet' }] : [],
      table: {
        head: ['figure', ...names, ...change],
        align: ['left', ...names.map(() => 'right' as const), ...change.map(() => 'right' as const)],
        rows: shownOnes.map((group) => differenceRow(group, others.length)),
        runTable: false,
      },
    },
  ]
}

const TONES: Readonly<Record<Direction, Tone>> = { worse: 'bad', better: 'good', neutral: 'plain' }

/** Of the same name with the same values: a Service's latency where it is the only one, the limit of like nodes. */
function grouped(differences: readonly Difference[]): Difference[][] {
  const groups = new Map<string, Difference[]>()
  for (const one of differences) {
    const key = JSON.stringify([one.path.slice(one.path.lastIndexOf('.')), one.values])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [one])
    else group.push(one)
  }
  return [...groups.values()]
}

function differenceRow(group: readonly Difference[], others: number): Cell[] {
  const shortest = group.reduce((one, other) => (other.path.length < one.path.length ? other : one))
  const { dimension, values, relative, direction } = shortest
  const path = group.length === 1 ? shortest.path : `${shortest.path} (and ${group.length - 1} more)`
  const tone = TONES[direction]
  const changes = relative.map((part, i) => changeText(values[0]!, values[i]!, part))
  const [base, ...rest] = values.map((value) => valueText(value, dimension))
  if (others === 1) return [path, base!, { text: rest[0]!, tone }, { text: changes[1]!, tone }]
  return [path, base!, ...rest.map((text, i): Cell => ({ text: `${text} (${changes[i + 1]!})`, tone }))]
}

function onlySection({ onlyIn }: Comparison, names: readonly string[]): Section[] {
  if (onlyIn.length === 0) return []
  const lines = onlyIn.map(({ what, present }) => `only in ${names.filter((_, i) => present[i]).join(', ')}: ${what}`)
  return [listSection('Not in all', shorten(lines, MAX_ONLY))]
}

function valueText(value: number | null, dimension: Dimension): string {
  if (value === null) return 'none'
  switch (dimension) {
    case 'micros':
      return formatMicros(value)
    case 'nanos':
      return formatNanos(value)
    case 'seconds':
      return formatSeconds(value)
    case 'bytes':
      return formatBytes(value)
    case 'fraction':
      return formatPercent(value)
    case 'count':
      return formatCount(value)
  }
}

/** `+12.3 %`, `−0.1 %`, `×25`; `new` from nothing, `gone` to nothing. */
function changeText(base: number | null, value: number | null, relative: number | null): string {
  if (relative === 0 || base === value) return '='
  if (value === null) return 'gone'
  if (relative === null) return 'new'
  if (relative >= 9.995) return `×${formatCount(Math.round(relative + 1))}`
  const size = formatPercent(Math.abs(relative))
  return `${relative > 0 ? '+' : '−'}${size}`
}

/** The files' names, with as much of their folders as tells them apart. */
function namesOf(reports: readonly string[]): string[] {
  const short = reports.map((report) => basename(report))
  return new Set(short).size === reports.length ? short : [...reports]
}
