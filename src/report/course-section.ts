/**
 * What changes over a run, as small pictures: a row a figure and run, with its highest value, when that was, and when the figure was
 * first met where it is one that should not be.
 *
 * Figures that stay as they are have no row; with none there is no section. Bins are gathered into slices of equal length: of
 * levels and latencies the highest bin counts, of counts the sum.
 */
import type { Cell, Section } from './document.ts'
import { runNames } from './run-names.ts'
import { courseLine } from './sparkline.ts'
import type { ReplayReport, RunReport, SeriesReport } from './types.ts'
import { clipMiddle, formatCount, formatMicros, formatPercent, formatRate, formatSeconds } from './units.ts'

const SLICES = 32
const MAX_REASONS = 4
const NAME_WIDTH = 24
/** Of a limit: what stays below it is no matter. */
const LEAST_SHARE = 0.1
/** Beside the mean, or the median of the slices: what a figure must reach to have changed. */
const MUCH_MORE = 1.5
const MUCH_SLOWER = 2
/** Connections a slice from which the chance of arrivals is no change: 1.5 times as many are five standard deviations then. */
const LEAST_ARRIVALS = 100
/** Towards one destination: 1024 to 65535. */
const SOURCE_PORTS = 64_512

type Values = readonly (number | null)[]

/** A figure of a run over time. */
interface Course {
  /** By bin. */
  readonly values: Values
  /** Slices add up rather than show their highest bin. */
  readonly sums: boolean
  /** Whether the figure by itself is worth a row. */
  readonly changes: boolean
  readonly text: (highest: number) => string
}

interface Figure {
  readonly label: string
  /** Should never be met at all. */
  readonly isFault: boolean
  readonly of: (run: RunReport, series: SeriesReport) => Course
}

/** @param pictures  whether there is room for them */
export function courseSection(report: ReplayReport, pictures: boolean): Section[] {
  const runs = report.runs.flatMap((run) => (run.series === null ? [] : [{ run, series: run.series }]))
  if (runs.length < report.runs.length) return []
  const heads = runNames(report.runs)
  const several = runs.length > 1
  const figures = [...faults(report.runs), ...FIGURES]
  const said = new Set<string>()
  const rows = figures.flatMap((figure): Cell[][] => {
    const courses = runs.map(({ run, series }) => figure.of(run, series))
    if (!courses.some(({ changes }) => changes)) return []
    // One reason for all that fails would say the same again.
    const values = JSON.stringify(courses.map((course) => course.values))
    if (said.has(values)) return []
    said.add(values)
    const slices = courses.map(sliced)
    const most = Math.max(...slices.map(highestOf))
    return courses.map((course, i) => {
      const { binSeconds } = runs[i]!.series
      const peak = highestOf(course.values)
      const at = (bin: number): string => (peak === 0 ? '' : formatSeconds(bin * binSeconds))
      const shown: Cell = peak === 0 ? { text: 'none', tone: 'quiet' } : course.text(peak)
      return [
        i === 0 ? figure.label : '',
        ...(several ? [clipMiddle(heads[i]!, NAME_WIDTH)] : []),
        ...(pictures ? [courseLine(slices[i]!, most)] : []),
        figure.isFault && peak > 0 ? { text: course.text(peak), tone: 'bad' } : shown,
        at(course.values.indexOf(peak)),
        figure.isFault ? at(course.values.findIndex((value) => value !== null && value > 0)) : '',
      ]
    })
  })
  if (rows.length === 0) return []
  const { binSeconds, offered } = runs[0]!.series
  const bins = offered.packets.length
  const isFirst = rows.some((row) => row.at(-1) !== '')
  const shown = isFirst ? rows : rows.map((row) => row.slice(0, -1))
  const drawn = report.draws === null ? '' : ' Of the first draw.'
  return [
    {
      title: 'Over the run',
      list: false,
      lines: [{ text: `in ${bins} bins of ${formatSeconds(binSeconds)} (series in -o json).${drawn}`, tone: 'quiet' }],
      table: {
        head: [
          '',
          ...(several ? ['run'] : []),
          ...(pictures ? [`0 s to ${formatSeconds(bins * binSeconds)}`] : []),
          'highest',
          'at',
          ...(isFirst ? ['first at'] : []),
        ],
        align: [
          'left',
          ...(several ? ['left' as const] : []),
          ...(pictures ? ['left' as const] : []),
          'right',
          'right',
          ...(isFirst ? ['right' as const] : []),
        ],
        rows: shown,
        runTable: false,
      },
    },
  ]
}

/** What is lost, and why: the reasons with the most packets. */
function faults(runs: readonly RunReport[]): Figure[] {
  const packets = new Map<string, number>()
  for (const { drops } of runs) {
    for (const [reason, count] of Object.entries(drops)) packets.set(reason, (packets.get(reason) ?? 0) + count)
  }
  const reasons = [...packets].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, MAX_REASONS)
  const fault = (label: string, of: (series: SeriesReport) => Values): Figure => ({
    label,
    isFault: true,
    of: (_, series) => {
      const values = of(series)
      return {
        values,
        sums: true,
        changes: highestOf(values) > 0,
        text: (highest) => formatRate(highest / series.binSeconds),
      }
    },
  })
  return [
    fault('connections failed', ({ failedConnections }) => failedConnections),
    fault('connections broken', ({ brokenConnections }) => brokenConnections),
    ...reasons.map(([reason]) =>
      fault(reason, ({ dropsByReason, offered }) => dropsByReason[reason] ?? offered.packets.map(() => 0)),
    ),
  ]
}

const FIGURES: readonly Figure[] = [
  {
    label: 'offered connections',
    isFault: false,
    of: (_, { offered, binSeconds }) => {
      const values = offered.connections
      const slices = sliced({ values, sums: true })
      const mean = total(values) / slices.length
      return {
        values,
        sums: true,
        changes: mean >= LEAST_ARRIVALS && highestOf(slices) >= MUCH_MORE * mean,
        text: (highest) => formatRate(highest / binSeconds),
      }
    },
  },
  {
    label: 'packet p99',
    isFault: false,
    of: (_, { pathLatencyMicros: { p99 } }) => {
      const slices = sliced({ values: p99, sums: false }).filter((micros) => micros !== null)
      const sorted = slices.sort((a, b) => a - b)
      const median = sorted[Math.ceil(sorted.length / 2) - 1] ?? 0
      return {
        values: p99,
        sums: false,
        changes: highestOf(slices) >= MUCH_SLOWER * median && median > 0,
        text: formatMicros,
      }
    },
  },
  {
    label: 'conntrack, fullest node',
    isFault: false,
    of: ({ nodes }, { nodes: courses }) => {
      const max = new Map(nodes.map(({ node, conntrackMax }) => [node, conntrackMax]))
      const shares = courses.map(({ node, conntrackEntries }) => {
        const limit = max.get(node) ?? 0
        return limit === 0 ? [] : conntrackEntries.map((entries) => entries / limit)
      })
      return share(shares)
    },
  },
  {
    label: 'source ports, busiest node',
    isFault: false,
    of: (_, { nodes }) => ({
      ...share(nodes.map(({ sourcePorts }) => sourcePorts.map((ports) => ports / SOURCE_PORTS))),
      text: (highest) => formatCount(Math.round(highest * SOURCE_PORTS)),
    }),
  },
  {
    label: 'CPU, busiest node',
    isFault: false,
    of: (_, { nodes }) => {
      const course = share(nodes.map(({ cpuUtilization }) => cpuUtilization))
      const mean = total(course.values.map((value) => value ?? 0)) / Math.max(1, course.values.length)
      return { ...course, changes: course.changes && highestOf(course.values) >= MUCH_MORE * mean }
    },
  },
]

/** Of the node whose highest value is the highest. */
function share(nodes: readonly (readonly number[])[]): Course {
  const values = nodes.reduce<readonly number[]>(
    (highest, node) => (highestOf(node) > highestOf(highest) ? node : highest),
    [],
  )
  return { values, sums: false, changes: highestOf(values) >= LEAST_SHARE, text: formatPercent }
}

/** At most SLICES values of equal length in time. */
function sliced({ values, sums }: Pick<Course, 'values' | 'sums'>): (number | null)[] {
  const count = Math.min(SLICES, values.length)
  return Array.from({ length: count }, (_, slice) => {
    const from = Math.floor((slice * values.length) / count)
    const part = values.slice(from, Math.floor(((slice + 1) * values.length) / count)).filter((value) => value !== null)
    if (part.length === 0) return null
    return sums ? total(part) : highestOf(part)
  })
}

function highestOf(values: Values): number {
  return values.reduce<number>((most, value) => Math.max(most, value ?? 0), 0)
}

function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0)
}
