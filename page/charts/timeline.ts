/** Rows of what pods and nodes are, over time, from the letters of the text report's picture. */
import { scaleLinear } from 'd3-scale'
import { clipMiddle, formatSeconds } from '../../src/report/units.ts'
import { h, s, shown } from '../dom.ts'
import { LETTER, responsive, svgOf } from './frame.ts'

export interface TimelineRow {
  readonly name: string
  readonly parts: readonly {
    readonly from: number
    readonly to: number
    readonly kind: string
    readonly text: string
  }[]
}

export interface Timeline {
  readonly label: string
  readonly rows: readonly TimelineRow[]
  readonly kinds: readonly { readonly kind: string; readonly text: string }[]
  readonly endSeconds: number
  readonly marks: readonly { readonly at: number; readonly text: string }[]
}

const ROW = 20

export function timeline(chart: Timeline): HTMLElement {
  const place = h('div', { class: 'plot' })
  const legend = h(
    'div',
    { class: 'readout' },
    ...chart.kinds.map(({ kind, text }) => {
      const swatch = s(
        'svg',
        { width: 18, height: 12, 'aria-hidden': 'true' },
        s('rect', { class: `span ${kind}`, width: 18, height: 12 }),
      )
      return h('span', { class: 'legend-item' }, swatch, ` ${text}`)
    }),
  )
  responsive(place, (width) => place.replaceChildren(draw(chart, width)))
  return h('div', { class: 'chart' }, legend, place)
}

function draw({ label, rows, endSeconds, marks }: Timeline, width: number): SVGSVGElement {
  const longest = Math.max(...rows.map(({ name }) => shown(name).length), 1)
  const left = Math.min(Math.floor(width * 0.4), Math.ceil(longest * LETTER) + 10)
  const x = scaleLinear([0, endSeconds], [left, width - 12])
  const bottom = rows.length * ROW
  const svg = svgOf(width, bottom + 26, label)
  for (const { at, text } of marks)
    svg.append(
      s(
        'line',
        { class: 'mark', x1: x(at), x2: x(at), y1: 0, y2: bottom },
        s('title', {}, `${formatSeconds(at)}: ${shown(text)}`),
      ),
    )
  for (const [i, { name, parts }] of rows.entries()) {
    svg.append(
      s(
        'text',
        { class: 'label', x: left - 8, y: i * ROW + 14, 'text-anchor': 'end' },
        s('title', {}, shown(name)),
        clipMiddle(shown(name), Math.max(6, Math.floor((left - 8) / LETTER))),
      ),
    )
    for (const { from, to, kind, text } of parts) {
      svg.append(
        s(
          'g',
          {},
          s('title', {}, `${shown(name)}: ${text} from ${formatSeconds(from)} to ${formatSeconds(to)}`),
          s('rect', {
            class: `span ${kind}`,
            x: x(from),
            y: i * ROW + 3,
            width: Math.max(1, x(to) - x(from)),
            height: ROW - 6,
          }),
        ),
      )
    }
  }
  for (const tick of x.ticks(Math.max(2, Math.floor((width - left) / 80)))) {
    svg.append(
      s('line', { class: 'tick-line', x1: x(tick), x2: x(tick), y1: bottom, y2: bottom + 5 }),
      s('text', { class: 'label', x: x(tick), y: bottom + 18, 'text-anchor': 'middle' }, `${tick} s`),
    )
  }
  return svg
}
