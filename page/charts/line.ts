/**
 * Lines over an axis that is even or logarithmic, with a cursor that tells their values and a zoom by drawing over a part.
 *
 * The chart is a slider to the keyboard: arrows move the cursor, Page keys by a tenth, + and - zoom around it, Escape shows
 * all again; what it points at is its value text. Every number is in the table beneath as well.
 */
import { bisectRight } from 'd3-array'
import { brushX, type D3BrushEvent } from 'd3-brush'
import { scaleLinear, scaleLog } from 'd3-scale'
import { select } from 'd3-selection'
import { curveLinear, curveStepAfter, line as lineOf } from 'd3-shape'
import { h, newId, s, shown } from '../dom.ts'
import { drawAxes, LETTER, logTicks, type Margin, responsive, runClass, svgOf } from './frame.ts'
import { type Group, moveCursor, newGroup, zoomTo } from './group.ts'

export interface Line {
  readonly name: string
  /** Of its colour. */
  readonly index: number
  /** Ascending. */
  readonly x: ArrayLike<number>
  readonly y: ArrayLike<number | null>
}

export interface Axis {
  readonly title: string
  readonly format: (value: number) => string
  readonly log?: boolean
  /** Of a logarithmic axis it must be above 0. */
  readonly from?: number
  readonly to?: number
}

export interface LineChart {
  /** What it shows, in words. */
  readonly label: string
  readonly lines: readonly Line[]
  readonly x: Axis
  readonly y: Axis
  readonly height?: number
  /** A value holds until the next. */
  readonly steps?: boolean
  readonly dots?: boolean
  /** Lines across; one far above everything is named at the upper edge, so that it does not press all else to the ground. */
  readonly limits?: readonly { readonly value: number; readonly text: string }[]
  readonly marks?: readonly { readonly at: number; readonly text: string }[]
  readonly group?: Group
}

const DEFAULT_HEIGHT = 240
const MARGIN = { top: 26, right: 20, bottom: 40 }
/** A limit so many times what there is needs no line. */
const FAR = 4
const CURSOR_STEPS = 100

export function lineChart(chart: LineChart): HTMLElement {
  const group = chart.group ?? newGroup()
  const all = xSpan(chart)
  const height = chart.height ?? DEFAULT_HEIGHT
  const place = h('div', {
    class: 'plot',
    tabindex: 0,
    role: 'slider',
    'aria-label': `${chart.label}; arrows move the cursor, plus and minus zoom`,
    'aria-valuemin': 0,
    'aria-valuemax': CURSOR_STEPS,
    'aria-valuenow': 0,
    'aria-valuetext': 'no cursor',
  })
  const readout = h('div', { class: 'readout' })
  const figure = h('div', { class: 'chart' }, readout, place)
  let cursorLine: SVGLineElement | null = null
  let scaleNow: ((value: number) => number) | null = null
  let width = 0

  const show = (): void => {
    const at = group.cursor
    if (cursorLine !== null && scaleNow !== null) {
      const x = at === null ? -1 : scaleNow(at)
      const visible = at !== null && at >= spanNow()[0] && at <= spanNow()[1]
      cursorLine.setAttribute('visibility', visible ? 'visible' : 'hidden')
      cursorLine.setAttribute('x1', String(x))
      cursorLine.setAttribute('x2', String(x))
    }
    const values = chart.lines.map((line) => (at === null ? null : valueAt(line, at)))
    readout.replaceChildren(
      ...chart.lines.map((line, i) => legendItem(line, values[i] ?? null, chart)),
      h('span', { class: 'at' }, at === null ? '' : `at ${chart.x.format(at)}`),
    )
    place.setAttribute(
      'aria-valuenow',
      String(at === null ? 0 : Math.round(partOf(at, all, chart.x.log === true) * CURSOR_STEPS)),
    )
    place.setAttribute(
      'aria-valuetext',
      at === null
        ? 'no cursor'
        : `at ${chart.x.format(at)}: ${chart.lines.map((line, i) => `${shown(line.name)} ${values[i] == null ? 'none' : chart.y.format(values[i])}`).join(', ')}`,
    )
  }
  const spanNow = (): readonly [number, number] => group.span ?? all
  const draw = (): void => {
    if (width === 0) return
    const drawn = drawInto(place, chart, spanNow(), width, height, {
      cursor: (value) => moveCursor(group, value),
      zoom: (span) => zoomTo(group, span),
    })
    cursorLine = drawn.cursor
    scaleNow = drawn.x
    show()
  }
  let lastSpan = group.span
  const follow = (): void => {
    // Taken off the page: another has its place.
    if (!place.isConnected) group.listeners.delete(follow)
    else if (group.span === lastSpan) show()
    else {
      lastSpan = group.span
      draw()
    }
  }
  group.listeners.add(follow)
  responsive(place, (given) => {
    width = given
    draw()
  })
  place.addEventListener('keydown', (event) => {
    const log = chart.x.log === true
    const span = spanNow()
    const part = group.cursor === null ? 0 : partOf(group.cursor, span, log)
    const to = {
      ArrowRight: part + 0.01,
      ArrowLeft: part - 0.01,
      PageUp: part + 0.1,
      PageDown: part - 0.1,
      Home: 0,
      End: 1,
    }[event.key]
    if (to !== undefined) moveCursor(group, atPart(Math.min(1, Math.max(0, to)), span, log))
    else if (event.key === '+' || event.key === '=') zoomTo(group, around(part, 0.5, span, all, log))
    else if (event.key === '-') zoomTo(group, around(part, 2, span, all, log))
    else if (event.key === 'Escape') zoomTo(group, null)
    else return
    event.preventDefault()
  })
  show()
  return figure
}

function legendItem(line: Line, value: number | null, chart: LineChart): HTMLElement {
  const swatch = s(
    'svg',
    { width: 22, height: 8, 'aria-hidden': 'true' },
    s('line', { class: `line ${runClass(line.index)}`, x1: 0, x2: 22, y1: 4, y2: 4 }),
  )
  return h(
    'span',
    { class: 'legend-item' },
    swatch,
    ` ${shown(line.name)}`,
    value === null ? null : h('b', {}, ` ${chart.y.format(value)}`),
  )
}

interface Handlers {
  readonly cursor: (value: number | null) => void
  readonly zoom: (span: readonly [number, number] | null) => void
}

function drawInto(
  place: HTMLElement,
  chart: LineChart,
  span: readonly [number, number],
  width: number,
  height: number,
  handlers: Handlers,
): { readonly cursor: SVGLineElement; readonly x: (value: number) => number } {
  const [yFrom, yTo] = ySpan(chart)
  const y = (chart.y.log === true ? scaleLog() : scaleLinear()).domain([yFrom, yTo])
  const yTicks = chart.y.log === true ? logTicks(yFrom, yTo, 6) : y.ticks(5)
  const longest = Math.max(...yTicks.map((tick) => chart.y.format(tick).length), 2)
  const margin: Margin = { ...MARGIN, left: Math.ceil(longest * LETTER) + 12 }
  y.range([height - margin.bottom, margin.top])
  const x = (chart.x.log === true ? scaleLog() : scaleLinear())
    .domain([...span])
    .range([margin.left, width - margin.right])
  const room = Math.max(2, Math.floor((width - margin.left) / 80))
  const candidates =
    chart.x.log === true
      ? logTicks(span[0], span[1], room)
      : x.ticks(room).filter((tick) => tick >= span[0] && tick <= span[1])
  const xTicks = withRoom(candidates, (tick) => x(tick), chart.x.format)
  const svg = svgOf(width, height, chart.label)
  drawAxes(svg, {
    x,
    y,
    margin,
    width,
    height,
    xTicks,
    yTicks,
    xFormat: chart.x.format,
    yFormat: chart.y.format,
    xTitle: chart.x.title,
    yTitle: chart.y.title,
  })
  const clip = newId('clip')
  svg.append(
    s(
      'clipPath',
      { id: clip },
      s('rect', {
        x: margin.left,
        y: margin.top - 4,
        width: Math.max(0, width - margin.left - margin.right),
        height: height - margin.top - margin.bottom + 8,
      }),
    ),
  )
  const body = s('g', { 'clip-path': `url(#${clip})` })
  for (const { at, text } of chart.marks ?? []) {
    if (at < span[0] || at > span[1]) continue
    body.append(
      s(
        'line',
        { class: 'mark', x1: x(at), x2: x(at), y1: margin.top, y2: height - margin.bottom },
        s('title', {}, shown(text)),
      ),
    )
  }
  for (const { value, text } of chart.limits ?? []) {
    if (value < yFrom) continue
    if (value > yTo) {
      svg.append(
        s('text', { class: 'limit-text above', x: width - margin.right, y: margin.top - 10 }, `↑ ${shown(text)}`),
      )
      continue
    }
    body.append(
      s('line', { class: 'limit', x1: margin.left, x2: width - margin.right, y1: y(value), y2: y(value) }),
      s(
        'text',
        { class: 'limit-text', x: margin.left + 4, y: y(value) < margin.top + 14 ? y(value) + 12 : y(value) - 4 },
        shown(text),
      ),
    )
  }
  for (const line of chart.lines) drawLine(body, line, x, y, chart)
  const cursor = s('line', { class: 'cursor', y1: margin.top, y2: height - margin.bottom, visibility: 'hidden' })
  body.append(cursor)
  svg.append(body)
  addPointer(svg, x, margin, width, height, handlers)
  place.replaceChildren(svg)
  return { cursor, x: (value) => x(value) }
}

type Scale = ReturnType<typeof scaleLinear<number, number>> | ReturnType<typeof scaleLog<number, number>>

function drawLine(body: SVGGElement, { x: xs, y: ys, index }: Line, x: Scale, y: Scale, chart: LineChart): void {
  const isDrawn = (i: number): boolean => ys[i] != null && (chart.y.log !== true || ys[i]! > 0)
  const path = lineOf<number>(
    (i) => x(xs[i]!),
    (i) => y(ys[i]!),
  )
    .defined(isDrawn)
    .curve(chart.steps === true ? curveStepAfter : curveLinear)
  const points = Array.from(xs, (_, i) => i)
  body.append(s('path', { class: `line ${runClass(index)}`, d: path(points) ?? '' }))
  // A lone value has no line.
  const lone = (i: number): boolean =>
    isDrawn(i) && !(i > 0 && isDrawn(i - 1)) && !(i + 1 < xs.length && isDrawn(i + 1))
  for (const i of points) {
    if (chart.dots === true ? isDrawn(i) : lone(i))
      body.append(s('circle', { class: `dot ${runClass(index)}`, cx: x(xs[i]!), cy: y(ys[i]!), r: 3 }))
  }
}

/** Those whose labels do not run into the one before. */
function withRoom(ticks: readonly number[], x: (tick: number) => number, format: (tick: number) => string): number[] {
  let end = Number.NEGATIVE_INFINITY
  return ticks.filter((tick) => {
    const half = (format(tick).length * LETTER) / 2
    if (x(tick) - half < end + LETTER) return false
    end = x(tick) + half
    return true
  })
}

/** The cursor follows the pointer; drawing over a part shows that part, a double click all of it. */
function addPointer(
  svg: SVGSVGElement,
  x: Scale,
  margin: Margin,
  width: number,
  height: number,
  { cursor, zoom }: Handlers,
): void {
  const brush = brushX<unknown>()
    .extent([
      [margin.left, margin.top],
      [width - margin.right, height - margin.bottom],
    ])
    // A finger that moves up or down scrolls.
    .touchable(false)
  const layer = s('g', { class: 'brush' })
  svg.append(layer)
  brush.on('end', (event: D3BrushEvent<unknown>) => {
    if (event.selection === null || event.sourceEvent === undefined) return
    const [from, to] = event.selection as [number, number]
    brush.clear(select<SVGGElement, unknown>(layer))
    if (to - from > 5) zoom([x.invert(from), x.invert(to)])
  })
  select<SVGGElement, unknown>(layer).call(brush)
  const follow = (event: PointerEvent): void => {
    const box = svg.getBoundingClientRect()
    const at = ((event.clientX - box.left) * width) / box.width
    cursor(at < margin.left || at > width - margin.right ? null : x.invert(at))
  }
  svg.addEventListener('pointermove', follow)
  svg.addEventListener('pointerdown', follow)
  svg.addEventListener('pointerleave', (event) => {
    if (event.pointerType === 'mouse') cursor(null)
  })
  svg.addEventListener('dblclick', () => zoom(null))
}

/** The last value at or before; null before the first. */
export function valueAt({ x, y }: Line, at: number): number | null {
  const i = bisectRight(x, at * (1 + 1e-9)) - 1
  return i < 0 ? null : (y[i] ?? null)
}

function xSpan({ lines, x }: LineChart): readonly [number, number] {
  const ends = lines.flatMap((line) => (line.x.length === 0 ? [] : [line.x[0]!, line.x[line.x.length - 1]!]))
  const from = x.from ?? Math.min(...ends, x.log === true ? Number.POSITIVE_INFINITY : 0)
  const to = x.to ?? Math.max(...ends)
  if (!Number.isFinite(from) || !Number.isFinite(to)) return x.log === true ? [1, 10] : [0, 1]
  return to > from ? [from, to] : [from, from + (x.log === true ? from : 1)]
}

function ySpan({ lines, y, limits }: LineChart): readonly [number, number] {
  let least = Number.POSITIVE_INFINITY
  let most = 0
  for (const { y: values } of lines) {
    for (let i = 0; i < values.length; i++) {
      const value = values[i]
      if (value == null || (y.log === true && value <= 0)) continue
      if (value > most) most = value
      if (value < least) least = value
    }
  }
  const near = (limits ?? []).filter(({ value }) => value < most * FAR)
  const over = Math.max(most, ...near.map(({ value }) => value))
  const to = y.to ?? (over > 0 ? over * 1.05 : 1)
  if (y.log !== true) return [y.from ?? Math.min(0, least), to]
  const from = y.from ?? (Number.isFinite(least) ? least / 1.3 : to / 10)
  return [Math.min(from, to / 2), to]
}

function partOf(value: number, [from, to]: readonly [number, number], log: boolean): number {
  return log ? Math.log(value / from) / Math.log(to / from) : (value - from) / (to - from)
}

function atPart(part: number, [from, to]: readonly [number, number], log: boolean): number {
  return log ? from * (to / from) ** part : from + part * (to - from)
}

/** The part of `factor` times the span around a place in it, within all there is; null: all. */
function around(
  part: number,
  factor: number,
  span: readonly [number, number],
  all: readonly [number, number],
  log: boolean,
): readonly [number, number] | null {
  const from = Math.max(0, partOf(atPart(part - part * factor, span, log), all, log))
  const to = Math.min(1, partOf(atPart(part + (1 - part) * factor, span, log), all, log))
  return from <= 0 && to >= 1 ? null : [atPart(from, all, log), atPart(to, all, log)]
}
