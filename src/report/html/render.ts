/**
 * A report as one HTML file that needs nothing else: style, program and data are in it, and its policy lets nothing in.
 *
 * The template (dist/cli/page.html, made by scripts/bundle.mjs out of page/) is read when a page is asked for, not before. Its
 * Content-Security-Policy names the hashes of its one style and its one script, so that nothing else could run, whatever a
 * name holds. What is in short stands in the markup, for whoever has no scripts; all else is drawn by the page.
 */
import { readFileSync } from 'node:fs'
import { deflateRawSync } from 'node:zlib'
import { packageRoot } from '../../version.ts'
import { xmlText } from '../xml.ts'
import type { PageData } from './page-data.ts'
import { shown } from './shown.ts'

/** Data of more letters is deflated. */
const PLAIN_LETTERS = 32_768

/** @returns the file's text */
export function renderPage(data: PageData): string {
  const template = readFileSync(new URL('dist/cli/page.html', packageRoot()), 'utf8')
  const parts: Readonly<Record<string, string>> = {
    TITLE: markup(data.title),
    STATIC: staticPart(data),
    DATA: dataPart(JSON.stringify(data)),
  }
  return template.replace(/<!--(TITLE|STATIC|DATA)-->/g, (_, name: string) => parts[name]!)
}

/** Escaped so that no text in it can end the element, or turn the file around for who reads it; `shown` writes as JSON escapes do. */
function dataPart(json: string): string {
  if (json.length <= PLAIN_LETTERS)
    return `<script id="data" type="application/json">${shown(json.replace(/</g, '\\u003c'))}</script>`
  return `<script id="data" type="application/octet-stream">${deflateRawSync(json, { level: 9 }).toString('base64')}</script>`
}

function staticPart({ title, subtitle, inShort }: PageData): string {
  const lines = subtitle.map((line) => `<p class="subtitle">${markup(line)}</p>`).join('')
  const head = `<header><h1>${markup(title)}</h1>${lines}</header>`
  if (inShort.length === 0) return head
  const sentences = inShort.map((sentence) => `<li>${markup(sentence)}</li>`).join('')
  return `${head}<section id="in-short"><h2>In short</h2><ul>${sentences}</ul></section>`
}

function markup(text: string): string {
  return xmlText(shown(text))
}
