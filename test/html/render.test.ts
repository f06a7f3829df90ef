/** The file that `-o html` writes, without a browser: what is in it, and what cannot get out. */
import { createHash } from 'node:crypto'
import { inflateRawSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { commandLineOf } from '../../src/commands/command-line.ts'
import { renderCapacityHtml } from '../../src/report/html/capacity.ts'
import type { PageData } from '../../src/report/html/page-data.ts'
import { renderJson } from '../../src/report/json.ts'
import { capacityReport } from '../capacity/fixture.ts'
import { report } from '../report/fixture.ts'
import { COMMAND, fullReport, HOSTILE, hostileReport, page } from './reports.ts'

function between(text: string, from: string, to: string): string {
  const start = text.indexOf(from) + from.length
  return text.slice(start, text.indexOf(to, start))
}

function dataOf(html: string): Exclude<PageData, { kind: 'document' }> {
  const deflated = '<script id="data" type="application/octet-stream">'
  if (!html.includes(deflated))
    return JSON.parse(between(html, '<script id="data" type="application/json">', '</script>')) as Exclude<
      PageData,
      { kind: 'document' }
    >
  return JSON.parse(inflateRawSync(Buffer.from(between(html, deflated, '</script>'), 'base64')).toString()) as Exclude<
    PageData,
    { kind: 'document' }
  >
}

describe('a page', () => {
  const html = page()

  test('lets in its own style and program, by their hashes, and nothing else', () => {
    const policy = between(html, 'http-equiv="Content-Security-Policy" content="', '">')
    const hash = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
    const script = between(html, '<script>', '</script>')
    const style = between(html, '<style>', '</style>')
    expect(policy).toBe(
      `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; base-uri 'none'; form-action 'none'`,
    )
    expect(html.match(/ (src|href|on\w+|style)=/g)).toBeNull()
    expect(/\beval\(|new Function\(/.test(script)).toBe(false)
  })

  test('has the report as its JSON has it, the sentences and the command', () => {
    const data = dataOf(html)
    expect(data.report).toEqual(JSON.parse(renderJson(fullReport())))
    expect([data.kind, data.command]).toEqual(['replay', COMMAND])
    expect(between(html, '<section id="in-short">', '</section>')).toContain(`<li>${data.inShort[0]}</li>`)
  })

  test('is under 400 kB beside its data, which is deflated where it is large', () => {
    expect(Buffer.byteLength(html) - between(html, '<script id="data"', '</script>').length).toBeLessThan(400_000)
    const large = page(hostileReport(10_000, 1_000))
    const json = JSON.stringify(dataOf(large))
    expect(large.length).toBeLessThan(400_000 + json.length / 5)
  })

  test('is the same bytes for the same report', () => {
    expect(page() === html).toBe(true)
  })

  test('names the licences of the code that it carries', () => {
    expect(/d3-scale \d+\.\d+\.\d+ \(ISC\)/.test(html)).toBe(true)
  })
})

describe('names that would like to be more', () => {
  test.each([
    ['as they are', page(hostileReport(8, 8))],
    ['deflated', page(hostileReport(500, 100))],
  ])('end no element: %s', (_, html) => {
    expect(html.match(/<script/g)).toHaveLength(2)
    expect(html.match(/<\/script>/g)).toHaveLength(2)
    expect(html.includes('<img')).toBe(false)
    expect(html.includes('\u202e')).toBe(false)
    const { report: inside } = dataOf(html)
    expect(inside.warnings.map(({ where }) => where)).toEqual(HOSTILE)
  })
})

test('a report whose text holds what a replacement would take for its own stays as it is', () => {
  const html = page(
    report(undefined, { warnings: [{ code: 'W_X', where: '<!--STATIC-->$&$`', message: '<!--DATA-->' }] }),
  )
  expect(dataOf(html).report.warnings[0]!.where).toBe('<!--STATIC-->$&$`')
  expect(html.match(/id="in-short"/g)).toHaveLength(1)
})

test('a capacity report that found nothing is a page too', () => {
  expect(dataOf(renderCapacityHtml(capacityReport([]), [], '')).kind).toBe('capacity')
})

test.each([
  [['replay', 'a.msgpack', '-o', 'html=x.html'], 'dpemu replay a.msgpack -o html=x.html'],
  [
    ['replay', 'my trace', '--threshold', "p99 < 2ms && it's"],
    `dpemu replay 'my trace' --threshold 'p99 < 2ms && it'\\''s'`,
  ],
  [['x', ''], "dpemu x ''"],
  [undefined, ''],
])('%j is typed again as %s', (argv, text) => {
  expect(commandLineOf(argv)).toBe(text)
})
