/** Markdown files of the project as the tests of this folder read them: which there are, their headings, links and code blocks. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT: string = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const UNTRACKED = new Set(['node_modules', 'dist', 'coverage', '.git'])

/** Paths from the root, in order. */
export function markdownFiles(): string[] {
  return readdirSync(ROOT, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.md'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter((path) => !path.split('/').some((part) => UNTRACKED.has(part)))
    .sort()
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

export interface Line {
  readonly number: number
  readonly text: string
  /** The info string of the fenced block that it is in; null in prose, and for the fences themselves. */
  readonly block: string | null
}

export function linesOf(text: string): Line[] {
  let fence: { readonly mark: string; readonly info: string } | null = null
  return text.split('\n').map((line, i) => {
    const [, mark, info] = /^\s*(`{3,}|~{3,})\s*(.*)$/.exec(line) ?? []
    if (mark !== undefined && (fence === null || mark.startsWith(fence.mark))) {
      fence = fence === null ? { mark, info: info.trim() } : null
      return { number: i + 1, text: line, block: null }
    }
    return { number: i + 1, text: line, block: fence?.info ?? null }
  })
}

/** What follows `#` in a link to a heading, as GitHub makes it; headings of the same text are numbered. */
export function anchorsOf(text: string): Set<string> {
  const seen = new Map<string, number>()
  const anchors = new Set<string>()
  for (const { text: line, block } of linesOf(text)) {
    const title = block === null ? /^#{1,6}\s+(.*?)\s*#*$/.exec(line)?.[1] : undefined
    if (title === undefined) continue
    const slug = title
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-')
    const before = seen.get(slug) ?? 0
    seen.set(slug, before + 1)
    anchors.add(before === 0 ? slug : `${slug}-${before}`)
  }
  return anchors
}

export interface Link {
  readonly number: number
  readonly target: string
}

/** Links in prose; what stands in backticks is none. */
export function linksOf(text: string): Link[] {
  return linesOf(text).flatMap(({ number, text: line, block }) =>
    block === null
      ? [...line.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => ({ number, target }))
      : [],
  )
}

export interface Command {
  /** Line of the file. */
  readonly number: number
  readonly command: string
  readonly shown: readonly string[]
}

/** The commands of a `console` block, in their order: lines that begin with `$ `, each with the output that is shown below it. */
export function consoleBlocks(text: string): Command[][] {
  const blocks: Command[][] = []
  let open: { number: number; command: string; shown: string[] }[] | null = null
  for (const { number, text: line, block } of linesOf(text)) {
    if (block !== 'console') {
      open = null
      continue
    }
    if (open === null) {
      open = []
      blocks.push(open)
    }
    if (line.startsWith('$ ')) open.push({ number, command: line.slice(2), shown: [] })
    else open.at(-1)?.shown.push(line)
  }
  return blocks
}

/** Blocks of `js` that use the library, each with the line that it begins at. */
export function programsOf(text: string): { readonly number: number; readonly code: string }[] {
  const found: { number: number; code: string }[] = []
  let before: string | null = null
  for (const { number, text: line, block } of linesOf(text)) {
    if (block === 'js' && before !== 'js') found.push({ number, code: '' })
    if (block === 'js') found[found.length - 1].code += `${line}\n`
    before = block
  }
  return found.filter(({ code }) => code.includes("from 'dpemu'"))
}
