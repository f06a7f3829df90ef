/**
 * Elements by hand, without markup in strings: whatever a name holds, it is text.
 *
 * Names come from manifests and traces. Control characters and marks that turn the direction of text are written as their
 * code points, so that a name cannot rearrange what stands around it.
 */
import { shown } from '../src/report/html/shown.ts'

export { shown } from '../src/report/html/shown.ts'

type Child = Node | string | null | undefined | false

/** Attributes; `on…` are listeners, `class` is a class. */
type Attributes = Readonly<Record<string, string | number | boolean | null | undefined | ((event: Event) => void)>>

export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  fill(element, attributes, children)
  return element
}

export function s<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  fill(element, attributes, children)
  return element
}

function fill(element: Element, attributes: Attributes, children: readonly Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue
    if (typeof value === 'function') element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value === true ? '' : String(value))
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false))
}

let ids = 0

/** Unique within the page. */
export function newId(stem: string): string {
  ids += 1
  return `${stem}-${ids}`
}

/** A name of several, with a label before them. */
export function chooser(
  label: string,
  options: readonly string[],
  onChange: (index: number) => void,
  chosen = 0,
): HTMLElement {
  const id = newId('choose')
  const select = h(
    'select',
    { id, onchange: () => onChange(select.selectedIndex) },
    ...options.map((option, index) => h('option', { selected: index === chosen }, shown(option))),
  )
  return h('span', { class: 'chooser' }, h('label', { for: id }, label), select)
}
