/**
 * The shell examples of the documents do what they show. Each `console` block is run by one shell, in a folder of its
 * document that has the repository's `traces/`; `npx dpemu` is the command line as built.
 *
 * Lines below a command are what it prints on both streams, in their order; `...` stands for lines that are left out. A
 * command must succeed, unless the block goes on with `$ echo $?`. Blocks of `js` that import 'dpemu' are run as they are.
 */
import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Command, consoleBlocks, markdownFiles, programsOf, ROOT, read } from './markdown.ts'

const execute = promisify(execFile)

/** Blocks that are not run, by their first command, and why. */
const NOT_RUN: Readonly<Record<string, string>> = {
  'npx dpemu capacity traces/snat-ports/scenario.yaml --policy cluster': 'a search takes most of a minute',
  'kubectl get svc,endpointslices,nodes,pods,deploy,sts,ds,hpa,ingress -A -o json > cluster.json': 'needs a cluster',
  'nft list ruleset | npx dpemu rules -f cluster.json --node worker-1 --against -': 'needs a node of a cluster',
  'conntrack -L | npx dpemu conntrack -f cluster.json --node worker-1 --against - --rate 500/s':
    'needs a node of a cluster',
}

const MARK = '\u0002'
let root = ''

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'dpemu-docs-'))
  mkdirSync(join(root, 'bin'))
  const npx = join(root, 'bin', 'npx')
  writeFileSync(npx, `#!/bin/sh\nshift\nexec '${process.execPath}' '${join(ROOT, 'bin/dpemu.js')}' "$@"\n`)
  chmodSync(npx, 0o755)
})

afterAll(() => rmSync(root, { recursive: true, force: true }))

interface Ran {
  readonly output: string
  readonly status: number
}

const ranBefore = new Map<string, Promise<Ran[]>>()

/** Runs the commands of a block one after the other in one shell; a block that two documents have is run once. */
function run(block: readonly Command[], folder: string): Promise<Ran[]> {
  const key = block.map(({ command }) => command).join('\n')
  const ran = ranBefore.get(key) ?? runInShell(block, folder)
  ranBefore.set(key, ran)
  return ran
}

async function runInShell(block: readonly Command[], folder: string): Promise<Ran[]> {
  const script = block.map(({ command }) => `(exit $status)\n${command}\nstatus=$?\nprintf '${MARK}%s${MARK}' $status`)
  const { stdout } = await execute('sh', ['-c', `exec 2>&1\nstatus=0\n${script.join('\n')}`], {
    cwd: folder,
    maxBuffer: 1 << 26,
    env: { PATH: `${join(root, 'bin')}:${process.env['PATH']}`, HOME: folder, NO_COLOR: '1' },
  })
  const parts = stdout.split(MARK)
  return block.map((_, i) => ({ output: parts[2 * i] ?? '', status: Number(parts[2 * i + 1] ?? 'NaN') }))
}

/** Whether the lines occur in the output, `...` standing for any number of lines. */
function shows(output: string, shown: readonly string[]): string | null {
  const lines = output.replace(/\n$/, '').split('\n')
  const wanted = [...shown]
  while (wanted.at(-1)?.trim() === '') wanted.pop()
  if (wanted.length === 0) return null
  let at = 0
  let skipping = false
  for (const line of wanted) {
    if (line.trim() === '...') {
      skipping = true
      continue
    }
    const found = skipping ? lines.indexOf(line.trimEnd(), at) : lines[at]?.trimEnd() === line.trimEnd() ? at : -1
    if (found < 0) return `no line “${line}”${skipping ? '' : ` but “${lines[at] ?? ''}”`}`
    at = found + 1
    skipping = false
  }
  return skipping || at === lines.length || lines.slice(at).every((line) => line === '') ? null : `more: ${lines[at]}`
}

describe('programs with the library', () => {
  const programs = markdownFiles().flatMap((file) =>
    programsOf(read(file)).map(({ number, code }) => ({ where: `${file}:${number}`, code })),
  )

  test('there are some', () => expect(programs.length).toBeGreaterThan(0))

  test.concurrent.each(programs)('$where', async ({ code }) => {
    const { stderr } = await execute(process.execPath, ['--input-type=module', '-e', code], {
      cwd: ROOT,
      env: { PATH: process.env['PATH'], NO_COLOR: '1' },
    })
    expect(stderr).toBe('')
  })
})

const documents = markdownFiles()
  .map((file) => ({ file, blocks: consoleBlocks(read(file)).filter(([first]) => first !== undefined) }))
  .filter(({ blocks }) => blocks.length > 0)

test('there are examples', () => {
  expect(documents.map(({ file }) => file)).toContain('README.md')
  expect(shows('a\nb\nc\nd\n', ['a', '...', 'c', '...'])).toBeNull()
  expect(shows('a\nb\nc\n', ['a', 'c'])).not.toBeNull()
  expect(shows('a\nb\n', ['a'])).not.toBeNull()
})

test('what is not run is still there', () => {
  const firsts = documents.flatMap(({ blocks }) => blocks.map(([first]) => first.command))
  expect(Object.keys(NOT_RUN).filter((command) => !firsts.includes(command))).toEqual([])
})

test.concurrent.each(documents)('$file', async ({ file, blocks }) => {
  const folder = join(root, file.replaceAll('/', '-'))
  mkdirSync(folder)
  symlinkSync(join(ROOT, 'traces'), join(folder, 'traces'))
  const wrong: string[] = []
  for (const block of blocks) {
    if (block[0].command in NOT_RUN) continue
    const ran = await run(block, folder)
    block.forEach(({ number, command, shown }, i) => {
      const { output, status } = ran[i]
      const asked = block[i + 1]?.command === 'echo $?'
      const said = shows(output, shown)
      const where = `${file}:${number}: ${command}`
      if (status !== 0 && !asked) wrong.push(`${where}: exit code ${status}\n${output.slice(-500)}`)
      if (said !== null) wrong.push(`${where}: ${said}`)
    })
  }
  expect(wrong).toEqual([])
})
