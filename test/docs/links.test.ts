/** Documents hold together: links and anchors lead somewhere, files and line widths are as they say. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'
import { anchorsOf, linesOf, linksOf, markdownFiles, ROOT, read } from './markdown.ts'

const MAX_COLUMNS = 120
const MAX_README_LINES = 120
const files = markdownFiles()

/** `file:line: what`, for every link of the file that leads nowhere. */
function brokenLinks(file: string): string[] {
  return linksOf(read(file)).flatMap(({ number, target }) => {
    if (/^[a-z]+:/.test(target)) return []
    const [path, anchor] = target.split('#')
    const place = path === '' ? file : relative(ROOT, join(ROOT, dirname(file), path))
    if (place.startsWith('..') || !existsSync(join(ROOT, place))) return [`${file}:${number}: no ${target}`]
    if (anchor === undefined) return []
    if (!place.endsWith('.md')) return [`${file}:${number}: ${target} has no headings`]
    return anchorsOf(readFileSync(join(ROOT, place), 'utf8')).has(anchor) ? [] : [`${file}:${number}: no ${target}`]
  })
}

test('the rules below look at something', () => {
  expect(files).toContain('README.md')
  expect(files).toContain('docs/commands.md')
  expect(files.flatMap((file) => linksOf(read(file))).length).toBeGreaterThan(50)
  expect(anchorsOf('# One `two`: three\n## Twice\n## Twice\n')).toEqual(new Set(['one-two-three', 'twice', 'twice-1']))
})

test('links lead to files and headings that are there', () => {
  expect(files.flatMap(brokenLinks)).toEqual([])
})

test('files that are named are there', () => {
  /** A path from the root; a name alone may be anybody's. */
  const path = /`((?:src|native-free-core|bench|scripts|schemas|test|docs|traces|\.ci|\.github|bin)\/[\w./-]*\w\/?)`/g
  const missing = files
    .filter((file) => file !== 'CHANGELOG.md')
    .flatMap((file) =>
      linesOf(read(file)).flatMap(({ number, text }) =>
        [...text.matchAll(path)]
          .filter(([, named]) => !existsSync(join(ROOT, named)))
          .map(([, named]) => `${file}:${number}: no ${named}`),
      ),
    )
  expect(missing).toEqual([])
})

describe('widths', () => {
  test('lines of prose have at most 120 columns', () => {
    const wide = files.flatMap((file) =>
      linesOf(read(file))
        .filter(({ text, block }) => block === null && !text.startsWith('|') && [...text].length > MAX_COLUMNS)
        .map(({ number, text }) => `${file}:${number}: ${[...text].length} columns`),
    )
    expect(wide).toEqual([])
  })

  test('README.md: one screen after the other, not a book', () => {
    const lines = read('README.md').trimEnd().split('\n')
    expect(lines.length).toBeLessThanOrEqual(MAX_README_LINES)
    expect(lines.filter((line) => [...line].length > MAX_COLUMNS)).toEqual([])
  })

  test('README.md: the two commands that everything begins with', () => {
    expect(read('README.md')).toContain('npm ci && npx dpemu replay traces/storefront/trace.msgpack')
    expect(read('README.md')).toContain('npm ci && npm test')
  })
})
