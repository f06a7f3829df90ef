/** Bands as wide as their counts, from left to right; bands of connections that are masqueraded are hatched. */
import { type SankeyGraph, sankey, sankeyLinkHorizontal } from 'd3-sankey'
import { clipMiddle } from '../../src/report/units.ts'
import { h, newId, s, shown } from '../dom.ts'
import { LETTER, responsive, svgOf } from './frame.ts'

export interface FlowNode {
  readonly id: string
  readonly name: string
  /** From the left, 0 on. */
  readonly column: number
}

export interface FlowLink {
  readonly source: string
  readonly target: string
  readonly value: number
  readonly masqueraded: boolean
  readonly hop: boolean
}

export interface FlowChart {
  readonly label: string
  readonly nodes: readonly FlowNode[]
  readonly links: readonly FlowLink[]
  readonly format: (value: number) => string
  /** Over the columns. */
  readonly heads: readonly string[]
}

const BOX = 10
const LEAST_WIDTH = 620

export function flowChart(chart: FlowChart): HTMLElement {
  const place = h('div', { class: 'plot' })
  const legend = h(
    'div',
    { class: 'readout' },
    ...[
      ['flow', 'as it came, on its node'],
      ['flow hop', 'hop to another node'],
      ['flow snat', 'masqueraded (SNAT): the pod sees the node'],
    ].map(([classes, text]) => {
      const id = newId('hatch')
      const swatch = s(
        'svg',
        { width: 22, height: 12, 'aria-hidden': 'true' },
        hatch(id),
        s('rect', { class: classes!, width: 22, height: 12 }),
        classes === 'flow snat' ? s('rect', { width: 22, height: 12, fill: `url(#${id})` }) : null,
      )
      return h('span', { class: 'legend-item' }, swatch, ` ${text}`)
    }),
  )
  responsive(place, (width) => place.replaceChildren(draw(chart, Math.max(width, LEAST_WIDTH))))
  const scroller = h('div', { class: 'scroll wide', tabindex: 0, role: 'region', 'aria-label': chart.label }, place)
  return h('div', { class: 'chart' }, legend, scroller)
}

function hatch(id: string): SVGElement {
  return s(
    'pattern',
    { id, width: 6, height: 6, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
    s('line', { class: 'hatch', x1: 0, x2: 0, y1: 0, y2: 6 }),
  )
}

function draw({ label, nodes, links, format, heads }: FlowChart, width: number): SVGSVGElement {
  const perColumn = heads.map((_, column) => nodes.filter((node) => node.column === column).length)
  const height = 40 + Math.max(...perColumn) * 30
  const last = heads.length - 1
  const longest = (column: number): number =>
    Math.max(...nodes.filter((node) => node.column === column).map(({ name }) => shown(name).length), 1)
  const right = Math.min(Math.floor(width * 0.28), longest(last) * LETTER + 14)
  const room = Math.floor((width - right) / last)
  type Node = FlowNode
  type Link = FlowLink
  const layout = sankey<Node, Link>()
    .nodeId((node) => node.id)
    .nodeAlign((node) => (node as unknown as FlowNode).column)
    .nodeWidth(BOX)
    .nodePadding(14)
    .extent([
      [1, 28],
      [width - right, height - 6],
    ])
  const graph: SankeyGraph<Node, Link> = layout({
    nodes: nodes.map((node) => ({ ...node })),
    links: links.map((link) => ({ ...link })),
  })
  const svg = svgOf(width, height, label)
  const id = newId('hatch')
  svg.append(hatch(id))
  const path = sankeyLinkHorizontal<Node, Link>()
  const columnX = new Map(graph.nodes.map((node) => [node.column, node.x0 ?? 0]))
  for (const [column, head] of heads.entries())
    svg.append(s('text', { class: 'column-head', x: columnX.get(column) ?? 0, y: 12 }, head))
  for (const link of graph.links) {
    const from = link.source as Node
    const to = link.target as Node
    const title = `${shown(from.name)} → ${shown(to.name)}: ${format(link.value)}${link.hop ? ', a hop to another node' : ''}${link.masqueraded ? ', masqueraded' : ''}`
    const d = path(link) ?? ''
    const band = Math.max(1, link.width ?? 1)
    svg.append(
      s(
        'g',
        { class: 'band', 'data-value': link.value },
        s('title', {}, title),
        s('path', {
          class: `flow-line${link.hop ? ' hop' : ''}${link.masqueraded ? ' snat' : ''}`,
          d,
          'stroke-width': band,
        }),
        link.masqueraded ? s('path', { class: 'flow-hatch', d, 'stroke-width': band, stroke: `url(#${id})` }) : null,
      ),
    )
  }
  for (const node of graph.nodes) {
    const { x0 = 0, x1 = 0, y0 = 0, y1 = 0, value = 0 } = node
    const letters = Math.floor((node.column === last ? right - 14 : room - BOX - 8) / LETTER)
    svg.append(
      s(
        'g',
        {},
        s('title', {}, `${shown(node.name)}: ${format(value)}`),
        s('rect', { class: 'flow-node', x: x0, y: y0, width: x1 - x0, height: Math.max(1, y1 - y0) }),
      ),
      s(
        'text',
        { class: 'label flow-label', x: x1 + 5, y: (y0 + y1) / 2 + 4 },
        clipMiddle(shown(node.name), Math.max(5, letters)),
      ),
    )
  }
  return svg
}
