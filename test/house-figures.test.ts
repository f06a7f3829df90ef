/**
 * No figure of this program's own speed stands in a comment without its provenance: machines differ, and so do hours of one
 * machine. A comment gives a ratio and the row of `bench` that shows it (`bench: packet-step`), or a command in backticks.
 * What is measured in absolute terms is in a committed document of `bench/results`, and `docs/speed.md` is made from it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { ROWS } from '../bench/rows.ts'

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/** Figures that are definitions, not measurements, by file. */
const DEFINITIONS: Readonly<Record<string, readonly string[]>> = {
  'native-free-core/packet.ts': ['ticks of 100 ns'],
  'native-free-core/histogram.ts': ['2^31 ns'],
  'src/trace/flows.ts': ['takes 12 µs'],
}

const TIME = /\d ?(?:ns|µs|us)\b/
const RATIO =
  /\d ?%? (?:less time|more time|longer|faster|slower)\b|\btimes (?:as fast|as slow|as long|faster|slower)\b/

function sources(): string[] {
  return ['native-free-core', 'src', 'scripts'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && /\.(ts|mjs)$/.test(entry.name))
      .map((entry) => relative(ROOT, join(entry.parentPath, entry.name))),
  )
}

/** Comments as they are read: a block, or lines of `//` below each other, in one piece without their marks. */
function commentsOf(code: string): string[] {
  const found = code.matchAll(/\/\*[\s\S]*?\*\/|(?:^[ \t]*\/\/.*\n?)+|(?<=[\s;,{])\/\/ .*/gm)
  return [...found].map(([text]) => text.replace(/^[ \t]*(?:\/\*\*?|\*\/|\*|\/\/)/gm, ' ').replace(/\s+/g, ' '))
}

function claims(file: string, comment: string): boolean {
  const known = (DEFINITIONS[file] ?? []).reduce((rest, definition) => rest.replace(definition, ''), comment)
  const prose = known.replace(/`[^`]*`/g, '')
  return TIME.test(prose) || RATIO.test(prose)
}

/** The rows that a comment names; what is no row of the benchmarks is an error of the comment. */
function rowsOf(comment: string): string[] {
  return [...comment.matchAll(/\bbench: ([\w-]+)/g)].map(([, row]) => row!)
}

test('comments give no figure of speed without the row or the command that shows it', () => {
  const bare = sources().flatMap((file) =>
    commentsOf(readFileSync(join(ROOT, file), 'utf8'))
      .filter((comment) => claims(file, comment) && !hasSource(comment))
      .map((comment) => `${file}: ${comment.trim().slice(0, 160)}`),
  )
  expect(bare).toEqual([])
})

/** A row of the benchmarks, or a command to run. */
function hasSource(comment: string): boolean {
  return rowsOf(comment).length > 0 || /`[^`]*\b(?:dpemu|npm run bench|fastSetup)\b[^`]*`/.test(comment)
}

test('documents give figures of speed only where they are made from a measurement', () => {
  const speed = /\d ?ns\b|\d [MG]\/s\b|million packets a second|\d (?:s|ms|ns|µs) in place of/
  const bare = ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', 'bench/README.md']
    .concat(readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`))
    .flatMap((file) =>
      readFileSync(join(ROOT, file), 'utf8')
        .replace(/^<!-- generated: [\s\S]*?<!-- end -->/gm, '')
        .replace(/^```[\s\S]*?^```/gm, '')
        .replace(/`[^`\n]*`/g, '')
        // A tick is defined so.
        .replace(/\b100 ns\b/g, '')
        .split('\n')
        .filter((line) => speed.test(line))
        .map((line) => `${file}: ${line}`),
    )
  expect(bare).toEqual([])
})

test('rows that comments name are rows of the benchmarks', () => {
  const rows = new Set([...ROWS.map(({ name }) => name), 'replay'])
  const named = sources().flatMap((file) =>
    commentsOf(readFileSync(join(ROOT, file), 'utf8')).flatMap((comment) =>
      rowsOf(comment).map((row) => ({ file, row })),
    ),
  )
  expect(named.length).toBeGreaterThan(10)
  expect(named.filter(({ row }) => !rows.has(row))).toEqual([])
})

test('the rule finds what it looks for', () => {
  expect(commentsOf('/** Cost: some 50 ns a packet.\n * More. */\nx // 3 times faster\n')).toHaveLength(2)
  expect(claims('x.ts', ' Cost: some 50 ns a packet.')).toBe(true)
  expect(claims('x.ts', ' 10 % less time without')).toBe(true)
  expect(claims('x.ts', ' writes `820 ns` as text')).toBe(false)
  expect(hasSource(' three times as fast (bench: packet-step)')).toBe(true)
})
