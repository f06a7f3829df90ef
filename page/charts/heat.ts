/** A grid of fields, each as dark as its value is high, with the value written in it. */
import { scaleLinear } from 'd3-scale'
import { clipMiddle } from '../../src/report/units.ts'
import { h, s, shown } from '../dom.ts'
import { LETTER, responsive, svgOf } from './frame.ts'

export interface HeatMap {
  readonly label: string
  readonly columns: readonly string[]
  readonly rows: readonly string[]
  readonly columnTitle: string
  readonly rowTitle: string
  /** By row and column; null: no value. */
  readonly values: readonly (readonly (number | null)[])[]
  readonly format: (value: number) => string
  /** By row and column: outlined. */
  readonly marked?: readonly (readonly boolean[])[]
  /** Of the colours, shared by maps side by side. */
  readonly from: number
  readonly to: number
}

const ROW = 30
/** One hue from light to dark, so that no pair of colours has to be told apart. */
const LIGHT = '#f2f6fb'
const MIDDLE = '#5b9fd0'
const DARK = '#0b3c6f'
const LETTER_SMALL = 6.2

export function heatMap(map: HeatMap): HTMLElement {
  const place = h('div', { class: 'plot' })
  responsive(place, (width) => place.replaceChildren(draw(map, width)))
  return h('div', { class: 'chart' }, place)
}

function draw(map: HeatMap, width: number): SVGSVGElement {
  const { columns, rows, values, from, to } = map
  const longest = Math.max(...rows.map((row) => row.length), map.rowTitle.length)
  const left = Math.min(Math.floor(width * 0.3), Math.ceil(longest * LETTER) + 12)
  const cell = (width - left - 2) / Math.max(1, columns.length)
  const color = scaleLinear<string>([from, (from + to) / 2, to > from ? to : from + 1], [LIGHT, MIDDLE, DARK]).clamp(
    true,
  )
  const height = rows.length * ROW + 44
  const svg = svgOf(width, height, map.label)
  for (const [r, row] of rows.entries()) {
    svg.append(
      s(
        'text',
        { class: 'label', x: left - 8, y: r * ROW + ROW / 2 + 4, 'text-anchor': 'end' },
        clipMiddle(shown(row), Math.floor(left / LETTER)),
      ),
    )
    for (const [c, column] of columns.entries()) {
      const value = values[r]?.[c] ?? null
      const text = value === null ? '–' : map.format(value)
      const isDark = value !== null && to > from && (value - from) / (to - from) > 0.55
      const isMarked = map.marked?.[r]?.[c] === true
      const group = s(
        'g',
        { class: 'cell' },
        s(
          'title',
          {},
          `${map.rowTitle} ${shown(row)}, ${map.columnTitle} ${shown(column)}: ${text}${isMarked ? ', an objective failed' : ''}`,
        ),
        s('rect', {
          x: left + c * cell + 1,
          y: r * ROW + 1,
          width: Math.max(1, cell - 2),
          height: ROW - 2,
          fill: value === null ? 'none' : color(value),
          class: isMarked ? 'failed' : 'held',
          'data-value': value,
        }),
      )
      if (text.length * LETTER_SMALL < cell - 6)
        group.append(
          s(
            'text',
            {
              class: isDark ? 'in-dark' : 'in-light',
              x: left + (c + 0.5) * cell,
              y: r * ROW + ROW / 2 + 4,
              'text-anchor': 'middle',
            },
            `${isMarked ? '✗ ' : ''}${text}`,
          ),
        )
      svg.append(group)
    }
  }
  const every = Math.max(1, Math.ceil((Math.max(...columns.map((column) => column.length), 1) * LETTER + 8) / cell))
  for (const [c, column] of columns.entries()) {
    if (c % every === 0)
      svg.append(
        s(
          'text',
          { class: 'label', x: left + (c + 0.5) * cell, y: rows.length * ROW + 16, 'text-anchor': 'middle' },
          shown(column),
        ),
      )
  }
  svg.append(
    s('text', { class: 'axis-title', x: width - 2, y: height - 6, 'text-anchor': 'end' }, `${map.columnTitle} →`),
    s('text', { class: 'axis-title', x: 0, y: height - 6 }, `↑ ${map.rowTitle}`),
  )
  return svg
}
