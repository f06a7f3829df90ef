/** The page of a capacity report: where it breaks, the runs of each search as curves, sweeps as curves and heat maps. */
import { figureValue } from '../../src/report/capacity-fields.ts'
import type { CapacityCell, CapacityRun } from '../../src/report/capacity-types.ts'
import type { CapacityPage } from '../../src/report/html/page-data.ts'
import { formatCount, formatMicros, formatPercent, formatRate, formatRatio } from '../../src/report/units.ts'
import { barChart } from '../charts/bars.ts'
import { heatMap } from '../charts/heat.ts'
import { lineChart } from '../charts/line.ts'
import { chooser, h, shown } from '../dom.ts'
import { table } from '../table.ts'
import { finePrint, thresholdsPart } from './fine-print.ts'
import { changing, grid, type Part, part, plainNumber, titled } from './section.ts'

const FIGURES: readonly (readonly [path: string, name: string])[] = [
  ['pathLatencyMicros.packet.p99', 'path latency of packets, p99'],
  ['pathLatencyMicros.packet.p50', 'path latency of packets, p50'],
  ['requestLatencyMicros.p99', 'request latency, p99'],
  ['dropFraction', 'packets dropped'],
  ['failedFraction', 'connections failed'],
  ['brokenFraction', 'connections broken'],
  ['conntrackFraction', 'fullest conntrack table'],
  ['snatFraction', 'source ports in use'],
  ['cpuFraction', 'CPU of the busiest node'],
  ['cpuPeakFraction', 'CPU of the busiest node, peak'],
  ['podFraction', 'CPU of the busiest pod'],
  ['maxOverMean', 'fullest endpoint over the mean'],
  ['crossNodeFraction', 'connections that cross nodes'],
  ['clientIpPreservedFraction', 'client address kept'],
]

function formatOf(path: string): (value: number) => string {
  if (path.includes('Micros')) return formatMicros
  if (path === 'maxOverMean') return formatRatio
  return path.endsWith('Fraction') ? formatPercent : formatCount
}

export function capacityParts(page: CapacityPage): (Part | null)[] {
  return [
    thresholdsPart(page),
    kneesPart(page),
    searchPart(page),
    heatPart(page),
    curvesPart(page),
    cellsPart(page),
    ...finePrint(page),
  ]
}

/** Figures that are not the same nothing everywhere, those of objectives first. */
function figuresOf({ report: { cells, objectives } }: CapacityPage): (readonly [string, string])[] {
  const runs = cells.flatMap(({ run, tried }) => [...(run === null ? [] : [run]), ...tried])
  const named = new Map(FIGURES)
  for (const objective of objectives) {
    const path = objective.split(/[\s<>=!]/)[0]!
    if (!named.has(path)) named.set(path, path)
  }
  const first = (path: string): number => (objectives.some((objective) => objective.startsWith(path)) ? 0 : 1)
  return [...named]
    .filter(([path]) => runs.some(({ figures }) => (figureValue(figures, path) ?? 0) !== 0))
    .sort(([a], [b]) => first(a) - first(b))
}

/** `cpuFraction < 95%` → 0.95; null where the objective is another figure's or compares two. */
function limitsOf(objectives: readonly string[], path: string): { readonly value: number; readonly text: string }[] {
  return objectives.flatMap((objective) => {
    const match = /^(\S+)\s*[<>]=?\s*([\d.]+)\s*(%|ns|us|µs|ms|s)?$/.exec(objective)
    if (match === null || match[1] !== path) return []
    const unit = { '%': 0.01, ns: 0.001, us: 1, µs: 1, ms: 1000, s: 1_000_000 }[match[3] ?? ''] ?? 1
    return [{ value: Number(match[2]) * unit, text: objective }]
  })
}

function kneesPart({ report: { cells, scenario } }: CapacityPage): Part | null {
  const knees = cells.filter(({ knee }) => knee !== null)
  if (knees.length === 0) return null
  return part(
    'knees',
    'Knees',
    `The highest rate at which all objectives held; the scenario’s own is ${formatRate(scenario.connectionsPerSecond)}.`,
    barChart({
      label: 'The highest rate at which all objectives held, by cell',
      rows: knees.map(({ name, knee }) => ({
        name,
        values: [knee!.connectionsPerSecond],
        limit: scenario.connectionsPerSecond,
      })),
      runs: ['connections a second'],
      format: formatRate,
      limitText: 'the scenario’s own rate',
      noun: 'cells',
    }),
    table(
      'Knees',
      [
        { head: 'cell', value: ({ name }: CapacityCell) => name },
        {
          head: 'holds up to',
          value: ({ knee }) => knee?.connectionsPerSecond ?? null,
          text: ({ knee }) => (knee?.connectionsPerSecond == null ? 'no rate' : formatRate(knee.connectionsPerSecond)),
        },
        {
          head: 'times the scenario',
          value: ({ knee }) => knee?.timesScenario ?? null,
          text: ({ knee }) => (knee?.timesScenario == null ? '' : formatRatio(knee.timesScenario)),
        },
        {
          head: 'fails at',
          value: ({ knee }) => knee?.failsAtConnectionsPerSecond ?? null,
          text: ({ knee }) =>
            knee?.failsAtConnectionsPerSecond == null ? 'no rate tried' : formatRate(knee.failsAtConnectionsPerSecond),
        },
        { head: 'what breaks', value: ({ broke }) => broke.map(({ objective }) => objective).join(', ') },
        { head: 'on node', value: ({ broke }) => broke[0]?.node ?? '' },
      ],
      knees,
    ),
  )
}

/** Every run of the searches: a figure over the rate, with its limit. */
function searchPart(page: CapacityPage): Part | null {
  const { report } = page
  const searched = report.cells.filter(({ tried }) => tried.length > 0)
  if (searched.length === 0) return null
  const figures = figuresOf(page)
  let figure = 0
  const view = changing(() => {
    const [path, name] = figures[figure]!
    const limits = limitsOf(report.objectives, path)
    const lines = searched.slice(0, 12).map((cell, index) => {
      const runs = cell.tried
        .flatMap((run) => {
          const value = figureValue(run.figures, path)
          return value === undefined ? [] : [{ rate: run.connectionsPerSecond, value }]
        })
        .sort((a, b) => a.rate - b.rate)
      return { name: cell.name, index, x: runs.map(({ rate }) => rate), y: runs.map(({ value }) => value) }
    })
    return [
      lineChart({
        label: `${name} over the rate`,
        lines,
        x: { title: 'connections a second', format: formatRate, log: true },
        y: { title: name, format: formatOf(path), ...(path.includes('Micros') ? { log: true } : { from: 0 }) },
        dots: true,
        limits,
        height: 300,
      }),
      searched.length > 12 ? h('p', { class: 'note' }, `The first 12 of ${formatCount(searched.length)} cells.`) : null,
    ]
  })
  const runs = searched.flatMap((cell) => cell.tried.map((run) => ({ cell: cell.name, ...run })))
  return part(
    'search',
    'Searches',
    'Every run of a search; a dashed line is the limit that an objective sets.',
    h(
      'div',
      { class: 'choices' },
      chooser(
        'figure',
        figures.map(([, name]) => name),
        (index) => {
          figure = index
          view.redraw()
        },
      ),
    ),
    view.element,
    runsTable('Runs of the searches', figures, runs),
  )
}

function runsTable(
  caption: string,
  figures: readonly (readonly [string, string])[],
  runs: readonly (CapacityRun & { readonly cell: string })[],
): HTMLElement {
  return table(
    caption,
    [
      { head: 'cell', value: ({ cell }) => cell },
      {
        head: 'rate',
        value: ({ connectionsPerSecond }) => connectionsPerSecond,
        text: ({ connectionsPerSecond }) => formatRate(connectionsPerSecond),
      },
      {
        head: 'holds',
        value: ({ holds }) => (holds ? '✓ yes' : '✗ no'),
        tone: ({ holds }) => (holds ? 'good' : 'bad'),
      },
      ...figures.map(([path, name]) => ({
        head: name,
        value: ({ figures: all }: CapacityRun) => figureValue(all, path) ?? null,
        text: ({ figures: all }: CapacityRun) => {
          const value = figureValue(all, path)
          return value === undefined ? 'none' : formatOf(path)(value)
        },
      })),
    ],
    runs,
  )
}

function axesOf({
  report: { axes, cells },
}: CapacityPage): { readonly name: string; readonly values: readonly string[] }[] {
  const all = axes.map(({ name, values }) => ({ name, values: values.map(String) }))
  const own = (name: string, of: (cell: CapacityCell) => string): void => {
    const values = [...new Set(cells.map(of))]
    if (!all.some((axis) => axis.name === name) && values.length > 1) all.push({ name, values })
  }
  own('policy', ({ policy }) => policy)
  own('proxyMode', ({ proxyMode }) => proxyMode)
  return all
}

function coordinate(cell: CapacityCell, axis: string): string {
  if (axis === 'policy') return cell.policy
  if (axis === 'proxyMode') return cell.proxyMode
  return String(cell.parameters[axis] ?? '')
}

/** What a field shows: a figure of the run, or the knee where there is one. */
function valuesOf(page: CapacityPage): {
  readonly name: string
  readonly path: string
  readonly of: (cell: CapacityCell) => number | null
  readonly format: (value: number) => string
}[] {
  const knee = {
    name: 'knee',
    path: '',
    of: (cell: CapacityCell) => cell.knee?.connectionsPerSecond ?? null,
    format: formatRate,
  }
  const figures = figuresOf(page).map(([path, name]) => ({
    name,
    path,
    of: (cell: CapacityCell) => (cell.run === null ? null : (figureValue(cell.run.figures, path) ?? null)),
    format: formatOf(path),
  }))
  return page.report.cells.some((cell) => cell.knee !== null) ? [knee, ...figures] : figures
}

/** Two axes as rows and columns, one map for each combination of the others. */
function heatPart(page: CapacityPage): Part | null {
  const { cells } = page.report
  const axes = axesOf(page)
  // Policies are best seen side by side: they are the last to become rows or columns.
  const plain = [...axes].sort((a, b) => Number(a.name === 'policy') - Number(b.name === 'policy'))
  if (plain.length < 2) return null
  const values = valuesOf(page)
  let figure = 0
  let columns = plain[0]!.name
  let rows = plain[1]!.name
  const view = changing(() => {
    const { of, format, name } = values[figure]!
    const others = axes.filter((axis) => axis.name !== columns && axis.name !== rows)
    const byFacet = new Map<string, CapacityCell[]>()
    for (const cell of cells) {
      const facet = others.map((axis) => `${axis.name}=${coordinate(cell, axis.name)}`).join(', ')
      byFacet.set(facet, [...(byFacet.get(facet) ?? []), cell])
    }
    const all = cells.flatMap((cell) => of(cell) ?? [])
    const columnValues = axes.find((axis) => axis.name === columns)!.values
    const rowValues = axes.find((axis) => axis.name === rows)!.values
    return [
      grid(
        ...[...byFacet].slice(0, 12).map(([facet, own]) => {
          const at = new Map(
            own.map((cell) => [JSON.stringify([coordinate(cell, rows), coordinate(cell, columns)]), cell]),
          )
          const cellAt = (row: string, column: string): CapacityCell | undefined =>
            at.get(JSON.stringify([row, column]))
          return titled(
            facet === '' ? name : `${name}, ${shown(facet)}`,
            heatMap({
              label: `${name} by ${rows} and ${columns}${facet === '' ? '' : `, ${shown(facet)}`}`,
              columns: columnValues,
              rows: rowValues,
              columnTitle: columns,
              rowTitle: rows,
              values: rowValues.map((row) =>
                columnValues.map((column) => {
                  const cell = cellAt(row, column)
                  return cell === undefined ? null : of(cell)
                }),
              ),
              marked: rowValues.map((row) => columnValues.map((column) => cellAt(row, column)?.run?.holds === false)),
              format,
              from: Math.min(...all),
              to: Math.max(...all),
            }),
          )
        }),
      ),
    ]
  })
  const names = plain.map(({ name }) => name)
  return part(
    'map',
    'Sweep as a map',
    'Darker is more; ✗ and a frame: an objective failed.',
    h(
      'div',
      { class: 'choices' },
      chooser(
        'figure',
        values.map(({ name }) => name),
        (index) => {
          figure = index
          view.redraw()
        },
      ),
      names.length < 3
        ? null
        : chooser('across', names.slice(0, 3), (index) => {
            columns = names[index]!
            rows = names.find((name) => name !== columns)!
            view.redraw()
          }),
    ),
    view.element,
  )
}

/** One axis of numbers from left to right, one line for each combination of the others. */
function curvesPart(page: CapacityPage): Part | null {
  const { cells, objectives } = page.report
  const axes = axesOf(page)
  const numeric = axes.filter(
    ({ values }) => values.length > 1 && values.every((value) => Number.isFinite(Number(value))),
  )
  if (numeric.length === 0) return null
  const values = valuesOf(page)
  let figure = 0
  let along = 0
  const view = changing(() => {
    const { of, format, name, path } = values[figure]!
    const axis = numeric[along]!.name
    const byLine = new Map<string, CapacityCell[]>()
    for (const cell of cells) {
      const rest = axes
        .filter((other) => other.name !== axis)
        .map((other) => `${other.name}=${coordinate(cell, other.name)}`)
        .join(', ')
      byLine.set(rest, [...(byLine.get(rest) ?? []), cell])
    }
    const lines = [...byLine].slice(0, 12).map(([line, own], index) => {
      const points = own
        .flatMap((cell) => {
          const value = of(cell)
          return value === null ? [] : [{ x: Number(coordinate(cell, axis)), y: value }]
        })
        .sort((a, b) => a.x - b.x)
      return { name: line === '' ? name : line, index, x: points.map(({ x }) => x), y: points.map(({ y }) => y) }
    })
    const all = numeric[along]!.values.map(Number)
    return [
      lineChart({
        label: `${name} over ${axis}`,
        lines,
        x: { title: axis, format: plainNumber, from: Math.min(...all), to: Math.max(...all) },
        y: { title: name, format, from: 0 },
        dots: true,
        limits: limitsOf(objectives, path),
        height: 300,
      }),
      byLine.size > 12 ? h('p', { class: 'note' }, `The first 12 of ${formatCount(byLine.size)} lines.`) : null,
    ]
  })
  return part(
    'curves',
    'Sweep as curves',
    '',
    h(
      'div',
      { class: 'choices' },
      chooser(
        'figure',
        values.map(({ name }) => name),
        (index) => {
          figure = index
          view.redraw()
        },
      ),
      numeric.length < 2
        ? null
        : chooser(
            'over',
            numeric.map(({ name }) => name),
            (index) => {
              along = index
              view.redraw()
            },
          ),
    ),
    view.element,
  )
}

function cellsPart(page: CapacityPage): Part | null {
  const runs = page.report.cells.flatMap((cell) => (cell.run === null ? [] : [{ cell: cell.name, ...cell.run }]))
  return part(
    'cells',
    'All cells',
    `Must hold: ${page.report.objectives.join(', ')}.`,
    runsTable('Cells', figuresOf(page), runs),
  )
}
