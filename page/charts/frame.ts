/** What all charts have: a place that is drawn anew when its width changes, axes, and colours of runs. */
import { ticks } from 'd3-array'
import { type AxisScale, axisBottom, axisLeft } from 'd3-axis'
import { select } from 'd3-selection'
import { s } from '../dom.ts'

export interface Margin {
  readonly top: number
  readonly right: number
  readonly bottom: number
  readonly left: number
}

/** Runs beyond take colours anew; their dashes differ. */
export const COLORS = 6

/** `run-0` …: colour, and dashes beside it for those who do not see colours. */
export function runClass(index: number): string {
  return `run-${index % COLORS}`
}

/** Draws at the width that there is, and again when that changes; on paper the last drawing is scaled. */
export function responsive(host: HTMLElement, draw: (width: number) => void): void {
  let last = 0
  new ResizeObserver(() => {
    const width = Math.floor(host.clientWidth)
    if (width === last || width === 0) return
    last = width
    draw(width)
  }).observe(host)
}

export function svgOf(width: number, height: number, label: string): SVGSVGElement {
  return s('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label })
}

/** Room that a letter of a chart's text takes. */
export const LETTER = 6.7

type Scale = AxisScale<number>

interface Axes {
  readonly x: Scale
  readonly y: Scale
  readonly margin: Margin
  readonly width: number
  readonly height: number
  readonly xTicks: readonly number[]
  readonly yTicks: readonly number[]
  readonly xFormat: (value: number) => string
  readonly yFormat: (value: number) => string
  readonly xTitle: string
  readonly yTitle: string
}

export function drawAxes(svg: SVGSVGElement, axes: Axes): void {
  const { x, y, margin, width, height } = axes
  const inner = width - margin.left - margin.right
  const below = s('g', { class: 'axis', transform: `translate(0,${height - margin.bottom})` })
  const left = s('g', { class: 'axis', transform: `translate(${margin.left},0)` })
  svg.append(below, left)
  select(below).call(
    axisBottom(x)
      .tickValues([...axes.xTicks])
      .tickFormat((value) => axes.xFormat(Number(value)))
      .tickSizeOuter(0),
  )
  select(left).call(
    axisLeft(y)
      .tickValues([...axes.yTicks])
      .tickFormat((value) => axes.yFormat(Number(value)))
      .tickSizeInner(-inner)
      .tickPadding(6),
  )
  left.classList.add('grid')
  left.querySelector('.domain')?.remove()
  svg.append(
    s('text', { class: 'axis-title', x: width - margin.right, y: height - 4, 'text-anchor': 'end' }, axes.xTitle),
    s('text', { class: 'axis-title', x: 2, y: 11 }, axes.yTitle),
  )
}

/** Of a logarithmic axis: powers of ten, with 2 and 5 between them where there is room; round numbers where it is short. */
export function logTicks(from: number, to: number, room: number): number[] {
  if (to / from < 10) return ticks(from, to, room)
  const factors = Math.log10(to / from) * 3 <= room ? [1, 2, 5] : Math.log10(to / from) * 2 <= room ? [1, 3] : [1]
  const found: number[] = []
  const step = Math.max(1, Math.ceil(Math.log10(to / from) / Math.max(1, room)))
  for (let power = Math.floor(Math.log10(from)); power <= Math.ceil(Math.log10(to)); power += step) {
    for (const factor of factors) {
      const value = Number((factor * 10 ** power).toPrecision(3))
      if (value >= from * 0.999 && value <= to * 1.001) found.push(value)
    }
  }
  return found
}
