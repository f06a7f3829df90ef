/**
 * Bars side by side, one for each run in each row, with the limit or the fair share of a row drawn across it.
 *
 * More rows than a page can show become a line over ranks: what all of them are like is seen there, and each is in the table.
 */
import { scaleLinear } from 'd3-scale'
import { clipMiddle, formatCount } from '../../src/report/units.ts'
import { h, s, shown } from '../dom.ts'
import { LETTER, responsive, runClass, svgOf } from './frame.ts'
import { lineChart } from './line.ts'

export interface BarRow {
  readonly name: string
  /** By run; null: none. */
  readonly values: readonly (number | null)[]
  /** Drawn across the row. */
  readonly limit?: number
}

export interface BarChart {
  readonly label: string
  readonly rows: readonly BarRow[]
  readonly runs: readonly string[]
  readonly format: (value: number) => string
  /** The axis ends here at least. */
  readonly to?: number
  readonly limitText?: string
  /** Of rows, for the axis of ranks: `endpoints`. */
  readonly noun: string
}

/** More are drawn as a line over ranks. */
export const MOST_ROWS = 40
const BAR = 13
const GAP = 9
const NARROW = 560

export function barChart(chart: BarChart): HTMLElement {
  if (chart.rows.length > MOST_ROWS) return ranks(chart)
  const place = h('div', { class: 'plot' })
  const limit =
    chart.limitText === undefined ? null : h('span', { class: 'legend-item' }, limitSwatch(), ` ${chart.limitText}`)
  const legend = h('div', { class: 'readout' }, ...chart.runs.map((run, i) => barLegend(run, i)), limit)
  responsive(place, (width) => place.replaceChildren(draw(chart, width)))
  return h('div', { class: 'chart' }, legend, place)
}

function barLegend(run: string, index: number): HTMLElement {
  const swatch = s(
    'svg',
    { width: 12, height: 12, 'aria-hidden': 'true' },
    s('rect', { class: `bar ${runClass(index)}`, x: 1, y: 1, width: 10, height: 10 }),
  )
  return h('span', { class: 'legend-item' }, swatch, ` ${shown(run)}`)
}

function limitSwatch(): SVGElement {
  return s(
    'svg',
    { width: 12, height: 12, 'aria-hidden': 'true' },
    s('line', { class: 'limit', x1: 6, x2: 6, y1: 0, y2: 12 }),
  )
}

function draw(chart: BarChart, width: number): SVGSVGElement {
  const { rows, runs, format } = chart
  const narrow = width < NARROW
  const longestName = Math.max(...rows.map(({ name }) => [...shown(name)].length), 1)
  const labelWidth = narrow ? 0 : Math.min(Math.floor(width * 0.34), Math.ceil(longestName * LETTER) + 10)
  const letters = Math.max(6, Math.floor((narrow ? width : labelWidth - 8) / LETTER))
  const most = Math.max(
    chart.to ?? 0,
    ...rows.flatMap(({ values, limit }) => [...values.map((value) => value ?? 0), limit ?? 0]),
  )
  const longestValue = Math.max(
    ...rows.flatMap(({ values }) => values.map((value) => (value === null ? 4 : format(value).length))),
    1,
  )
  const x = scaleLinear([0, most > 0 ? most : 1], [labelWidth, width - Math.ceil(longestValue * LETTER) - 10])
  const labelHeight = narrow ? 17 : 0
  const rowHeight = labelHeight + runs.length * BAR + GAP
  const svg = svgOf(width, rows.length * rowHeight + 4, chart.label)
  for (const [i, { name, values, limit }] of rows.entries()) {
    const top = i * rowHeight + 4
    const group = s(
      'g',
      {},
      s(
        'title',
        {},
        `${shown(name)}: ${values.map((value, run) => `${runs[run]} ${value === null ? 'none' : format(value)}`).join(', ')}`,
      ),
    )
    const middle = top + labelHeight + (runs.length * BAR) / 2 + 4
    group.append(
      narrow
        ? s('text', { class: 'label', x: 0, y: top + 12 }, clipMiddle(shown(name), letters))
        : s(
            'text',
            { class: 'label', x: labelWidth - 8, y: middle, 'text-anchor': 'end' },
            clipMiddle(shown(name), letters),
          ),
    )
    for (const [run, value] of values.entries()) {
      const y = top + labelHeight + run * BAR
      const end = value === null ? labelWidth : Math.max(x(value), value > 0 ? labelWidth + 1 : labelWidth)
      if (chart.to !== undefined)
        group.append(s('rect', { class: 'track', x: labelWidth, y, width: x(chart.to) - labelWidth, height: BAR - 2 }))
      group.append(
        s('rect', {
          class: `bar ${runClass(run)}`,
          x: labelWidth,
          y,
          width: end - labelWidth,
          height: BAR - 2,
          'data-run': run,
          'data-value': value,
        }),
        s('text', { class: 'value', x: end + 5, y: y + BAR - 3.5 }, value === null ? 'none' : format(value)),
      )
    }
    if (limit !== undefined)
      group.append(
        s('line', {
          class: 'limit',
          x1: x(limit),
          x2: x(limit),
          y1: top + labelHeight - 2,
          y2: top + labelHeight + runs.length * BAR,
        }),
      )
    svg.append(group)
  }
  return svg
}

/** Each run by itself from the highest value down. */
function ranks({ label, rows, runs, format, limitText, noun, to }: BarChart): HTMLElement {
  const limits = new Set(rows.flatMap(({ limit }) => limit ?? []))
  const lines = runs.map((name, index) => {
    const y = rows.flatMap(({ values }) => values[index] ?? []).sort((a, b) => b - a)
    return { name, index, x: y.map((_, rank) => rank + 1), y }
  })
  return lineChart({
    label: `${label}; ${formatCount(rows.length)} ${noun} from the highest down`,
    lines,
    x: {
      title: `${noun}, from the highest down`,
      format: (rank) => `no. ${formatCount(Math.round(rank))}`,
      from: 1,
      to: rows.length,
    },
    y: {
      title: '',
      format,
      from: 0,
      ...(to === undefined ? {} : { to: Math.max(to, ...lines.map(({ y }) => y[0] ?? 0)) * 1.05 }),
    },
    limits: limits.size === 1 ? [...limits].map((value) => ({ value, text: limitText ?? 'limit' })) : [],
  })
}
