/**
 * Where a command's results go: `-o FORMAT` to standard output, `-o FORMAT=FILE` to a file, any number in one run.
 *
 * That a folder exists and that a file can be written to is checked before the work starts, not after it.
 */
import { statSync } from 'node:fs'
import { UserError } from '../errors.ts'
import { writeOutput } from '../files/output.ts'
import { descriptorOf, fileIdentity, resolveOutput } from '../files/target.ts'
import { suggestion } from '../nearest.ts'
import type { Interruption } from './io.ts'

export interface Output<Format extends string> {
  readonly format: Format
  /** null: standard output. */
  readonly file: string | null
}

/**
 * @param values   what was given with -o, in order
 * @param inputs   files that the command reads
 * @returns        one of them at most for standard output
 * @throws UserError `E_USAGE`, exit code 2: unknown format, two for standard output, a folder that cannot be written to
 */
export function parseOutputs<Format extends string>(
  values: readonly string[],
  formats: readonly Format[],
  inputs: readonly string[] = [],
): Output<Format>[] {
  const outputs = values.map((value): Output<Format> => {
    const equals = value.indexOf('=')
    const name = equals < 0 ? value : value.slice(0, equals)
    const format = formats.find((known) => known === name)
    if (format === undefined) {
      throw usage(`-o ${value}: no output format is called '${name}'`, suggestion(name, formats))
    }
    const file = equals < 0 ? '-' : value.slice(equals + 1)
    if (file === '') throw usage(`-o ${value}: the file name is missing`)
    if (isStandardOutput(file)) return { format, file: null }
    checkOutput(file, inputs)
    return { format, file }
  })
  const toStdout = outputs.filter((output) => output.file === null)
  if (toStdout.length > 1) {
    const [first, second] = toStdout
    throw usage(
      `-o ${first!.format} and -o ${second!.format} would both go to standard output`,
      `write one to a file: -o ${second!.format}=FILE`,
    )
  }
  const files = outputs.flatMap(({ file }) =>
    file === null ? [] : [{ file, identity: fileIdentity(resolveOutput(file)) }],
  )
  const twice = files.find(
    ({ identity }, i) => identity !== null && files.findIndex((one) => one.identity === identity) < i,
  )
  if (twice !== undefined) throw usage(`two outputs would go to ${twice.file}`)
  return outputs
}

/** `-`, or any of its names in the file system. */
export function isStandardOutput(file: string): boolean {
  return file === '-' || descriptorOf(file) === 1
}

/** Who only asked for files still gets to read the report, unless they asked for quiet; null: nothing to say. */
export function stdoutFormat<Format extends string>(
  outputs: readonly Output<Format>[],
  quiet: boolean,
): Format | 'text' | null {
  const chosen = outputs.find((output) => output.file === null)
  if (chosen !== undefined) return chosen.format
  return quiet && outputs.length > 0 ? null : 'text'
}

/**
 * @param inputs  files that the command reads, which it will not write over
 * @throws UserError `E_OUTPUT`, exit code 2, when writing `path` is bound to fail
 */
export function checkOutput(path: string, inputs: readonly string[] = []): void {
  const identity = fileIdentity(resolveOutput(path))
  if (identity === null) return
  for (const input of inputs) {
    const stats = statSync(input, { throwIfNoEntry: false })
    if (stats?.isFile() === true && `${stats.dev}:${stats.ino}` === identity) {
      throw new UserError('E_OUTPUT', `cannot write ${path}: it is read by this command`, { exitCode: 2 })
    }
  }
}

/** Write the views that go to files, one after the other; it ends early, without an error, when interrupted. */
export async function writeOutputs<Format extends string>(
  outputs: readonly Output<Format>[],
  render: (format: Format) => string,
  { signal }: Pick<Interruption, 'signal'>,
): Promise<void> {
  try {
    for (const { format, file } of outputs) if (file !== null) await writeOutput(file, render(format), signal)
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

function usage(message: string, hint = ''): UserError {
  return new UserError('E_USAGE', message, { hint, exitCode: 2 })
}
