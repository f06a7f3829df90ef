/**
 * What a capacity report says: the answer in words, one row a cell, every run of a search, then the fine print.
 *
 * A sweep of many cells is a table; its runs are left to the JSON.
 */

import { figureValue } from './capacity-fields.ts'
import type {
  BrokenObjective,
  CapacityCell,
  CapacityReport,
  CapacityRun,
  CellDraws,
  Crossing,
  Figures,
  ParameterValue,
} from './capacity-types.ts'
import { type Cell, listSection, type ReportDocument, type Section, textSection } from './document.ts'
import { dimensionOf } from './fields.ts'
import { renderDocumentMarkdown } from './markdown.ts'
import { type DocumentOptions, finePrint } from './sections.ts'
import { withRange } from './spread.ts'
import { renderDocumentText, type TextOptions } from './text.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'
import { countOf, formatBytes, formatCount, formatMicros, formatPercent, formatRatio, formatSeconds } from './units.ts'

/** Cells whose searches are shown run by run, and that get a sentence each. */
const MAX_IN_WORDS = 6

/** `columns`: paths of figures that tables have beside those of objectives. */
export interface CapacityOptions {
  readonly columns?: readonly string[] | undefined
}

export function renderCapacityText(
  report: CapacityReport,
  thresholds: readonly ThresholdResult[] = [],
  options: TextOptions & CapacityOptions = { color: false },
): string {
  return renderDocumentText(capacityDocument(report, thresholds, options), options)
}

export function renderCapacityMarkdown(
  report: CapacityReport,
  thresholds: readonly ThresholdResult[] = [],
  options: DocumentOptions & CapacityOptions = {},
): string {
  return renderDocumentMarkdown(capacityDocument(report, thresholds, options))
}

export function capacityDocument(
  report: CapacityReport,
  thresholds: readonly ThresholdResult[],
  { constants, columns = [] }: DocumentOptions & CapacityOptions,
): ReportDocument {
  const { cells, scenario, search } = report
  const few = cells.length <= MAX_IN_WORDS
  return {
    title: `dpemu capacity: ${scenario.name}`,
    subtitle: subtitle(report),
    sections: [
      ...(thresholds.length > 0 ? [listSection('Thresholds', thresholdLines(thresholds))] : []),
      textSection(
        'In short',
        search === null
          ? [inShort(report), ...report.crossings.map(crossingSentence)]
          : few
            ? cells.flatMap(kneeSentences)
            : [inShort(report)],
      ),
      cellSection(report, columns),
      ...(search !== null && few ? cells.map((cell) => searchSection(report, cell, columns)) : []),
      ...finePrint({ ...report, derived: [] }, constants),
    ],
  }
}

function subtitle({ scenario, search, objectives, cells, seeds }: CapacityReport): string[] {
  const seed = seeds.length === 1 ? `seed ${scenario.seed}` : `${seeds.length} seeds from ${scenario.seed} on`
  const own = `the scenario's own rate is ${rateText(scenario.connectionsPerSecond)}, ${seed}`
  const medians =
    seeds.length === 1
      ? []
      : [
          search === null
            ? 'each figure is the median of the seeds by itself; in brackets the least and the most, where they differ'
            : 'of each search the one of the seed with the median knee; in brackets the lowest and the highest',
        ]
  const runs =
    search === null
      ? countOf(cells.length, 'run')
      : `searched to ${formatPercent(search.tolerance)}, ${search.connections === null ? 'runs of 100,000 connections and more' : `runs of ${countOf(search.connections, 'connection')}`}`
  return [`${runs}; ${own}`, ...medians, `must hold: ${objectives.join(', ')}`]
}

function inShort({ cells, search }: CapacityReport): string {
  if (search === null) {
    const held = cells.filter(({ run }) => run?.holds === true).length
    return `${held} of ${countOf(cells.length, 'run')} met all objectives.`
  }
  const knees = cells.flatMap(({ knee }) => knee?.connectionsPerSecond ?? [])
  if (knees.length === 0) return 'No rate that was tried held anywhere.'
  return `Knees from ${rateText(Math.min(...knees))} to ${rateText(Math.max(...knees))} over ${countOf(cells.length, 'cell')}.`
}

function crossingSentence(crossing: Crossing): Cell {
  const { figure, parameters, lowerBelow, lowerAbove, connectionsPerSecond } = crossing
  const [below, above] = crossing.betweenConnectionsPerSecond
  const where = Object.entries(parameters).map(([name, value]) => `${name}=${value}`)
  const at = where.length === 0 ? '' : `with ${where.join(', ')} `
  const between = `found between ${rateText(below)} and ${rateText(above)}`
  return `${figure} ${at}is lower under ${policyText(lowerBelow)} up to ${rateText(connectionsPerSecond)} and under ${policyText(lowerAbove)} above (${between}).`
}

function policyText(policy: string): string {
  return policy === 'local' ? 'Local' : 'Cluster'
}

function kneeSentences({ name, knee, run, broke, draws }: CapacityCell): Cell[] {
  if (knee === null) return []
  const { connectionsPerSecond, failsAtConnectionsPerSecond, holdsAgainAtConnectionsPerSecond, timesScenario } = knee
  const lines: Cell[] = []
  if (knee.outcome === 'below') {
    lines.push({ text: `${name}: nothing holds, down to ${rateText(failsAtConnectionsPerSecond!)}.`, tone: 'bad' })
  } else {
    const times = `${formatRatio(timesScenario!)} times the scenario's rate`
    const end = knee.outcome === 'above' ? ', the highest rate tried' : ''
    lines.push({ text: `${name}: holds up to ${rateText(connectionsPerSecond!)}${end} (${times}).`, tone: 'good' })
    if (draws !== null) lines.push(`  ${drawsSentence(draws)}`)
    if (run !== null && !run.settled) {
      const span = formatSeconds(run.durationSeconds)
      lines.push({
        text: `  That run of ${span} is too short to judge: tables and ports were still filling.`,
        tone: 'bad',
      })
    }
  }
  const first = broke[0]
  if (first !== undefined) lines.push(`  At ${rateText(failsAtConnectionsPerSecond!)} ${brokenText(first)}.`)
  for (const other of broke.slice(1)) lines.push(`  Also there: ${brokenText(other)}.`)
  if (holdsAgainAtConnectionsPerSecond !== null) {
    const again = `holds again at ${rateText(holdsAgainAtConnectionsPerSecond)}`
    lines.push({ text: `  Not one knee: it ${again}. The lowest break counts.`, tone: 'bad' })
  }
  return lines
}

/** How far the seeds go apart, and whether the same breaks first. */
function drawsSentence({ least, most, each }: CellDraws): string {
  const causes = new Map<string, number>()
  for (const { brokeFirst } of each) if (brokeFirst !== null) causes.set(brokeFirst, (causes.get(brokeFirst) ?? 0) + 1)
  const ranked = [...causes].sort((a, b) => b[1] - a[1])
  const first =
    ranked.length < 2
      ? ''
      : `; what breaks first differs: ${ranked.map(([objective, times]) => `${objective} with ${times}`).join(', ')}`
  const range =
    least === most
      ? `the same with all ${each.length} seeds`
      : `${rateText(least)} to ${rateText(most)} over ${each.length} seeds`
  return `${range}${first}.`
}

function brokenText({
  objective,
  figure,
  value,
  limit,
  excess,
  node,
  service,
  serviceShare,
  reason,
}: BrokenObjective): string {
  const beyond = excess === null ? '' : `, ${formatPercent(excess)} beyond ${figureText(figure, limit)}`
  const at = node === null ? '' : ` on ${node}`
  const holder =
    service === null
      ? ''
      : serviceShare === null
        ? `, in a pod of ${service}`
        : `; ${service} holds ${formatPercent(serviceShare)} of the entries of that node`
  const why = reason === null ? '' : `; mostly ${reason}`
  return `${figure} is ${figureText(figure, value)}${at}${beyond} (${objective})${holder}${why}`
}

function cellSection(report: CapacityReport, chosen: readonly string[]): Section {
  const { axes, cells, search, objectives } = report
  const parameters = axes.map(({ name }) => name).filter((name) => name !== 'policy' && name !== 'proxyMode')
  const modes = new Set(cells.map(({ proxyMode }) => proxyMode)).size > 1
  const figures = search === null ? [...new Set([...figuresIn(objectives, cells), ...chosen])] : []
  const columns: Column[] = [
    ...parameters.map((name): Column => [name, true, (cell) => parameterText(cell.parameters[name])]),
    ['policy', false, ({ policy }) => policy],
    ...(modes ? [['proxy mode', false, ({ proxyMode }: CapacityCell) => proxyMode] as Column] : []),
    ...(search === null ? runColumns(figures) : [...KNEE_COLUMNS, ...chosen.map(figureColumn)]),
  ]
  return {
    title: search === null ? 'Runs' : 'Knees',
    table: {
      head: columns.map(([head]) => head),
      align: columns.map(([, right]) => (right ? 'right' : 'left')),
      rows: cells.map((cell) => columns.map(([, , value]) => value(cell))),
      runTable: false,
    },
    lines: search === null && cells.some(({ run }) => run?.settled === false) ? [UNSETTLED] : [],
    list: false,
  }
}

const UNSETTLED: Cell = {
  text: '*: too short to judge: conntrack tables and source ports had no time to settle',
  tone: 'quiet',
}

type Column = [head: string, right: boolean, value: (cell: CapacityCell) => Cell]

const KNEE_COLUMNS: Column[] = [
  [
    'holds up to',
    true,
    ({ knee, draws }) => {
      const text = rateText(knee?.connectionsPerSecond ?? null)
      return draws === null ? text : withRange(text, rateText(draws.least), rateText(draws.most))
    },
  ],
  ['fails at', true, ({ knee }) => rateText(knee?.failsAtConnectionsPerSecond ?? null)],
  ['broke first', false, ({ broke }) => broke[0]?.objective ?? ''],
  ['at', true, ({ broke }) => (broke[0] === undefined ? '' : figureText(broke[0].figure, broke[0].value))],
  ['node', false, ({ broke }) => broke[0]?.node ?? ''],
  ['filled by', false, ({ broke }) => broke[0]?.service ?? broke[0]?.reason ?? ''],
]

function runColumns(figures: readonly string[]): Column[] {
  return [
    ['offered', true, ({ run }) => rateText(run?.figures.offered.connectionsPerSecond ?? null)],
    ['connections', true, ({ run }) => `${formatCount(run?.connections ?? 0)}${run?.settled === false ? ' *' : ''}`],
    ...figures.map(figureColumn),
    ['holds', false, ({ run }) => verdict(run?.holds ?? false)],
    ['broke first', false, ({ broke }) => broke[0]?.objective ?? ''],
    ['node', false, ({ broke }) => broke[0]?.node ?? ''],
  ]
}

function figureColumn(figure: string): Column {
  return [
    shortName(figure),
    true,
    ({ run, draws }) => {
      if (run === null) return ''
      const text = (figures: Figures): string => figureText(figure, figureValue(figures, figure))
      if (draws?.leastFigures == null || draws.mostFigures === null) return text(run.figures)
      return withRange(text(run.figures), text(draws.leastFigures), text(draws.mostFigures))
    },
  ]
}

function searchSection({ objectives, cells }: CapacityReport, cell: CapacityCell, chosen: readonly string[]): Section {
  const figures = [...new Set([...figuresIn(objectives, cells), ...chosen])]
  const row = (run: CapacityRun): Cell[] => [
    rateText(run.connectionsPerSecond),
    formatCount(run.connections),
    run.settled ? formatSeconds(run.durationSeconds) : `${formatSeconds(run.durationSeconds)} *`,
    ...figures.map((figure) => figureText(figure, figureValue(run.figures, figure))),
    verdict(run.holds),
  ]
  const unsettled = cell.tried.some(({ settled }) => !settled)
  return {
    title: `Search: ${cell.name}`,
    table: {
      head: ['rate', 'connections', 'span', ...figures.map(shortName), 'holds'],
      align: ['right', 'right', 'right', ...figures.map(() => 'right' as const), 'left'],
      rows: cell.tried.map(row),
      runTable: false,
    },
    lines: unsettled ? [UNSETTLED] : [],
    list: false,
  }
}

/** Figures that objectives are about, in their order; those that are 0 in every run are no column. */
function figuresIn(objectives: readonly string[], cells: readonly CapacityCell[]): string[] {
  const named = [...new Set(objectives.flatMap((objective) => /^[\w.-]+/.exec(objective)?.[0] ?? []))]
  const runs = cells.flatMap(({ run, tried }) => [...tried, ...(run === null ? [] : [run])])
  return named.filter((figure) => runs.some(({ figures }) => (figureValue(figures, figure) ?? 0) !== 0))
}

/** `pathLatencyMicros.packet.p99` is too wide for the head of a column. */
function shortName(figure: string): string {
  return figure
    .replace(/^pathLatencyMicros\./, '')
    .replace(/^requestLatencyMicros\./, 'request ')
    .replace(/Fraction$/, '')
    .replaceAll('.', ' ')
}

function figureText(figure: string, value: number | null | undefined): string {
  if (value === null || value === undefined) return 'none'
  switch (dimensionOf(figure.split('.'))) {
    case 'fraction':
      return fractionText(value)
    case 'micros':
      return formatMicros(value)
    case 'bytes':
      return formatBytes(value)
    default:
      return formatCount(value)
  }
}

/** A tenth of a percent is too coarse for a limit of a thousandth. */
function fractionText(fraction: number): string {
  const percent = fraction * 100
  return fraction === 0 || percent >= 1 ? formatPercent(fraction) : `${Number(percent.toPrecision(2))} %`
}

function rateText(perSecond: number | null): string {
  if (perSecond === null) return 'none'
  return `${formatCount(perSecond >= 100 ? Math.round(perSecond) : Number(perSecond.toPrecision(3)))}/s`
}

function parameterText(value: ParameterValue | undefined): string {
  return value === undefined ? '' : String(value)
}

function verdict(holds: boolean): Cell {
  return holds ? { text: '✓', tone: 'good' } : { text: '✗', tone: 'bad' }
}
