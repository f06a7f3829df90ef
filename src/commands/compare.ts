/**
 * `dpemu compare`: reports → what differs → text, Markdown, JSON, and an exit code for pipelines.
 *
 * Expressions are checked before anything is written. A difference alone is no failure; `--fail-on` makes it one.
 */
import { readFileSync } from 'node:fs'
import { compareReports } from '../compare/compare.ts'
import { parseFailOn } from '../compare/fail-on.ts'
import { type Compared, ofOneKind, parseReport } from '../compare/read.ts'
import { type CompareFormat, renderComparison } from '../compare/text.ts'
import { UserError } from '../errors.ts'
import { writeOutputNow } from '../files/output.ts'
import { usageError } from './arguments.ts'
import { commandLineOf } from './command-line.ts'
import { EXIT_THRESHOLD } from './exit.ts'
import type { Io } from './io.ts'
import { parseOutputs, stdoutFormat } from './outputs.ts'

const FORMATS: readonly CompareFormat[] = ['text', 'json', 'markdown', 'html']

export interface CompareCommandOptions {
  /** Files; `-` for standard input. */
  readonly reports: readonly string[]
  readonly failOn: readonly string[]
  readonly all: boolean
  readonly output: readonly string[]
}

/** @returns the exit code: 0, or 99 when an expression of --fail-on holds @throws UserError for what is no report */
export function runCompare(
  options: CompareCommandOptions,
  io: Pick<Io, 'stdout' | 'stderr' | 'stdin' | 'color' | 'width' | 'commandLine'>,
): number {
  if (options.reports.length < 2) {
    throw usageError('compare needs two reports at least', 'dpemu compare before.json after.json')
  }
  if (options.reports.filter((file) => file === '-').length > 1) {
    throw usageError('only one report can come from standard input')
  }
  const outputs = parseOutputs(
    options.output,
    FORMATS,
    options.reports.filter((file) => file !== '-'),
  )
  const reports = options.reports.map((file) => readReport(file, io))
  const kind = ofOneKind(reports)
  const failOn = options.failOn.map((text) => parseFailOn(text, kind))
  const comparison = compareReports(reports, failOn)
  const { all } = options
  const command = commandLineOf(io.commandLine)
  for (const { format, file } of outputs) {
    if (file !== null) writeOutputNow(file, renderComparison(format, comparison, { color: false, all, command }))
  }
  const format = stdoutFormat(outputs, false)
  if (format !== null)
    io.stdout(renderComparison(format, comparison, { color: io.color, width: io.width, all, command }))
  return comparison.failOn.some(({ fails }) => fails) ? EXIT_THRESHOLD : 0
}

function readReport(file: string, io: Pick<Io, 'stdin'>): Compared {
  if (file === '-') return parseReport('standard input', Buffer.from(io.stdin()))
  let bytes: Buffer
  try {
    bytes = readFileSync(file)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const what = code === 'ENOENT' ? 'no such file' : code === 'EISDIR' ? 'it is a folder' : message
    throw new UserError('E_REPORT', `cannot read the report: ${what}`, { where: file })
  }
  return parseReport(file, bytes)
}
