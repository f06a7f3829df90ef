/** The matrix as a picture: well-formed whatever things are called. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { matrixSvg } from '../../src/report/matrix-svg.ts'

const cell = (text: string, title = ''): { text: string; tone: 'good'; title: string } => ({
  text,
  tone: 'good',
  title,
})

test('hostile names are text and nothing else', () => {
  const name = '</text><script>alert("1")</script>&\u0000\ud800'
  const svg = matrixSvg({ title: name, rows: [name], columns: [name], cells: [[cell(name, name)]] })
  expect(svg).not.toContain('<script')
  expect(svg.match(/&lt;script&gt;/g)).toHaveLength(6)
  expect([...svg].every((letter) => letter >= ' ' || letter === '\n')).toBe(true)
})

test('every name has room', () => {
  const rows = ['a', 'some-namespace/some-rather-long-service:with-a-port']
  const svg = matrixSvg({ title: 't', rows, columns: ['x'], cells: [[cell('yes')], [cell('no')]] })
  const width = Number(/width="(\d+)"/.exec(svg)![1])
  expect(width).toBeGreaterThan(rows[1]!.length * 7)
  // Nothing is drawn past the frame.
  for (const [, x, own] of svg.matchAll(/<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g))
    expect(Number(x) + Number(own)).toBeLessThanOrEqual(width)
})

test('an empty matrix is a picture too', () => {
  expect(matrixSvg({ title: 'nothing', rows: [], columns: [], cells: [] })).toMatch(/<\/svg>\n$/)
})

/** Tags that are opened and closed in order, no attribute without quotes, no bare `<` or `&`. */
function isWellFormed(xml: string): boolean {
  const open: string[] = []
  const rest = xml
    .replace(/<\?xml[^>]*\?>/, '')
    .replace(/<(\/?)([a-z]+)((?: [\w:-]+="[^"<]*")*)(\/?)>/g, (_, closing, name, __, empty) => {
      if (closing === '/') return open.pop() === name ? '' : '<'
      if (empty !== '/') open.push(name)
      return ''
    })
  return open.length === 0 && !rest.includes('<') && !/&(?!(amp|lt|gt|quot);)/.test(rest)
}

test('well-formed for any names', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 20 }), { maxLength: 4 }), (names) => {
      const cells = names.map((row) => names.map((column) => cell(row, column)))
      return isWellFormed(matrixSvg({ title: names.join(' '), rows: names, columns: names, cells }))
    }),
    { numRuns: 300 },
  )
})
