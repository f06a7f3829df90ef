/** Parts of the page: a heading that the contents name, what it means in a sentence, and what is in it. */
import { formatCount, formatRate, formatSeconds } from '../../src/report/units.ts'
import { h } from '../dom.ts'

export interface Part {
  readonly id: string
  readonly title: string
  readonly element: HTMLElement
}

/** null: there is nothing to show. */
export function part(
  id: string,
  title: string,
  note: string,
  ...content: readonly (HTMLElement | null)[]
): Part | null {
  const shownContent = content.filter((one) => one !== null)
  if (shownContent.length === 0) return null
  const element = h(
    'section',
    { id, 'aria-labelledby': `${id}-title` },
    h('h2', { id: `${id}-title` }, title),
    note === '' ? null : h('p', { class: 'note' }, note),
    ...shownContent,
  )
  return { id, title, element }
}

/** A chart with a heading of its own. */
export function titled(title: string, ...content: readonly (HTMLElement | null)[]): HTMLElement {
  return h('div', { class: 'titled' }, h('h3', {}, title), ...content)
}

/** A chart with its table beside it where there is room. */
export function pair(chart: HTMLElement, numbers: HTMLElement): HTMLElement {
  return h('div', { class: 'pair' }, chart, numbers)
}

/** Of narrow charts: three a row. */
export function threes(...content: readonly HTMLElement[]): HTMLElement {
  return h('div', { class: 'grid small' }, ...content)
}

export function grid(...content: readonly (HTMLElement | null)[]): HTMLElement {
  return h('div', { class: 'grid' }, ...content)
}

/** What is shown is chosen by the reader: `draw` makes it anew. */
export function changing(draw: () => readonly (HTMLElement | null)[]): {
  readonly element: HTMLElement
  readonly redraw: () => void
} {
  const element = h('div')
  const redraw = (): void => element.replaceChildren(...draw().filter((one) => one !== null))
  redraw()
  return { element, redraw }
}

/** A point of virtual time on an axis; seconds as long as they are few. */
export function timeText(seconds: number): string {
  return seconds < 1000 ? `${Number(seconds.toPrecision(4))} s` : formatSeconds(seconds)
}

/** A rate of a chart, likewise. */
export function rateText(perSecond: number): string {
  return Math.abs(perSecond) < 1000 ? `${Number(perSecond.toPrecision(3))} /s` : formatRate(perSecond)
}

/** A number of an axis, without digits that say nothing. */
export function plainNumber(value: number): string {
  return Number.isInteger(value) ? formatCount(value) : String(Number(value.toPrecision(4)))
}
