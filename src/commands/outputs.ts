/**
 * Where a command's results go: `-o FORMAT` to standard output, `-o FORMAT=FILE` to a file, any number in one run.
 *
 * Files are written beside their place and renamed, so that a file is whole or not there. That a folder exists and can
 * be written to is checked before the work starts, not after it.
 */
import { accessSync, constants, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { UserError } from '../errors.ts'
import { suggestion } from '../nearest.ts'

export interface Output<Format extends string> {
  readonly format: Format
  /** null: standard output. */
  readonly file: string | null
}

/**
 * @param values   what was given with -o, in order
 * @returns        one of them at most for standard output
 * @throws UserError `E_USAGE`, exit code 2: unknown format, two for standard output, a folder that cannot be written to
 */
export function parseOutputs<Format extends string>(
  values: readonly string[],
  formats: readonly Format[],
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
    if (file !== '-') checkWritable(file)
    return { format, file: file === '-' ? null : file }
  })
  const toStdout = outputs.filter((output) => output.file === null)
  if (toStdout.length > 1) {
    const [first, second] = toStdout
    throw usage(
      `-o ${first!.format} and -o ${second!.format} would both go to standard output`,
      `write one to a file: -o ${second!.format}=FILE`,
    )
  }
  const files = outputs.flatMap((output) => output.file ?? [])
  const twice = files.find((file, index) => files.indexOf(file) !== index)
  if (twice !== undefined) throw usage(`two outputs would go to ${twice}`)
  return outputs
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

/** @throws UserError `E_OUTPUT`, exit code 2; nothing is left behind. */
export function writeWhole(path: string, text: string): void {
  const beside = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(beside, text)
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw cannotWrite(path, error)
  }
}

/** @throws UserError `E_OUTPUT`, exit code 2, when writing `path` is bound to fail. */
export function checkWritable(path: string): void {
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK)
  } catch (error) {
    throw cannotWrite(path, error)
  }
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw cannotWrite(path, { code: 'EISDIR' })
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'its folder is a file',
  EACCES: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EISDIR: 'it is a folder',
}

function cannotWrite(path: string, error: unknown): UserError {
  const code = (error as NodeJS.ErrnoException).code ?? String(error)
  return new UserError('E_OUTPUT', `cannot write ${path}: ${WHY[code] ?? code}`, { exitCode: 2 })
}

function usage(message: string, hint = ''): UserError {
  return new UserError('E_USAGE', message, { hint, exitCode: 2 })
}
