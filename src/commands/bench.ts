/**
 * `dpemu bench`: the bundled benchmarks as a gate for CI. Measure → compare with a baseline → exit code.
 *
 * The benchmarks run in a process of their own, as `npm run bench` runs them: nothing of this command is in their way.
 * What decides is the ratio of each row to its peer, measured in the same minutes on the same machine; absolute figures
 * count only between runs of one kind of machine.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from '../errors.ts'
import { usageError } from './arguments.ts'
import { EXIT_BUG } from './failure.ts'
import { type Io, interruptionOf } from './io.ts'
import { parseOutputs, stdoutFormat, writeOutputs } from './outputs.ts'

const FORMATS = ['text', 'json'] as const
const RUN_FILES = ['../bench/run.js', '../../bench/run.js']

/** As typed: one field a flag, absent where the flag was. */
export interface BenchCommandOptions {
  readonly rows?: string | undefined
  readonly quick: boolean
  readonly baseline?: string | undefined
  readonly tolerance?: string | undefined
  /** Comma separated. */
  readonly sizes?: string | undefined
  readonly output: readonly string[]
}

/** Runs the benchmarks' own program. @returns its exit code */
export type RunProgram = (args: readonly string[], print: (text: string) => void) => Promise<number>

/** @returns the exit code: 0, 99 for a regression, 130, 143 or 129 when interrupted, or that of the benchmarks when they failed */
export async function runBench(options: BenchCommandOptions, io: Io, program?: RunProgram): Promise<number> {
  const outputs = parseOutputs(options.output, FORMATS, options.baseline === undefined ? [] : [options.baseline])
  const tolerance = toleranceOf(options)
  if (options.baseline !== undefined) checkBaseline(options.baseline)
  const interruption = interruptionOf(io)
  const run = program ?? benchProgram(io, interruption.signal)
  const folder = mkdtempSync(join(tmpdir(), 'dpemu-bench-'))
  try {
    const measured = join(folder, 'measured.json')
    const format = stdoutFormat(outputs, false)
    let text = ''
    const print = (part: string): void => {
      text += part
      // Beside data on standard output the tables are for whoever watches.
      if (format === 'text') io.stdout(part)
      else io.stderr(part)
    }
    const rows = options.rows === undefined ? [] : ['--rows', options.rows]
    const sizes = options.sizes === undefined ? [] : ['--sizes', options.sizes]
    const code = await run(
      ['--in-dpemu', ...rows, ...sizes, ...(options.quick ? ['--quick'] : []), '--json', measured],
      print,
    )
    if (interruption.signal.aborted) return interruption.exitCode
    if (code !== 0) return code
    const compared =
      options.baseline === undefined ? 0 : await run(['compare', options.baseline, measured, ...tolerance], print)
    if (interruption.signal.aborted) return interruption.exitCode
    const json = readFileSync(measured, 'utf8')
    await writeOutputs(outputs, (format) => (format === 'json' ? json : text), interruption)
    if (interruption.signal.aborted) return interruption.exitCode
    if (format === 'json') io.stdout(json)
    return compared
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function toleranceOf({ tolerance, baseline }: BenchCommandOptions): string[] {
  if (tolerance === undefined) return []
  if (baseline === undefined) throw usageError('--tolerance goes with --baseline')
  const match = /^(\d+(?:\.\d*)?|\.\d+)\s*(%?)$/.exec(tolerance.trim())
  const part = match === null ? 0 : Number(match[1]) / (match[2] === '%' ? 100 : 1)
  if (!(part > 0)) throw usageError(`--tolerance must be a part above 0, such as 0.15 or 15%, not '${tolerance}'`)
  return ['--tolerance', String(part)]
}

/** Found out before minutes of measuring, not after. */
function checkBaseline(path: string): void {
  let kind: unknown
  try {
    kind = (JSON.parse(readFileSync(path, 'utf8')) as { kind?: unknown } | null)?.kind
  } catch (error) {
    throw new UserError('E_BENCH_FILE', `cannot use the baseline: ${(error as Error).message}`, {
      where: path,
      exitCode: 2,
    })
  }
  if (kind === 'bench') return
  throw new UserError('E_BENCH_FILE', 'not a document of dpemu bench', {
    where: path,
    hint: `make one with dpemu bench -o json=${path}`,
    exitCode: 2,
  })
}

function benchProgram(io: Io, signal: AbortSignal): RunProgram {
  const file = RUN_FILES.map((path) => fileURLToPath(new URL(path, import.meta.url))).find((path) => existsSync(path))
  if (file === undefined) {
    throw new UserError('E_BENCH_FILES', 'the benchmarks are not part of the installed package', {
      hint: 'run them in a clone of the project: npm ci && npx dpemu bench',
      exitCode: 2,
    })
  }
  try {
    createRequire(import.meta.url).resolve('benchmark')
  } catch {
    throw new UserError('E_BENCH_PACKAGE', 'the benchmarks need the package benchmark, which is not installed', {
      hint: 'npm install benchmark',
      exitCode: 2,
    })
  }
  return (args, print) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'pipe'], signal })
      child.stdout.setEncoding('utf8').on('data', print)
      child.stderr.setEncoding('utf8').on('data', (text: string) => io.stderr(text))
      child.once('error', (error) => (signal.aborted ? resolve(EXIT_BUG) : reject(error)))
      child.once('close', (code) => resolve(code ?? EXIT_BUG))
    })
}
