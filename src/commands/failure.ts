/** What a failed command says on standard error, and the exit code it ends with. */
import { UserError } from '../errors.ts'

export const EXIT_BUG = 1

export interface Failure {
  readonly text: string
  readonly exitCode: number
}

/** An error that the user can mend: what, where, and what to do about it. Never a stack. */
export function userFailure(error: UserError): Failure {
  const lines = [`dpemu: error: ${error.message} [${error.code}]`]
  if (error.where !== '') lines.push(`  at ${error.where}`)
  if (error.hint !== '') lines.push(`  hint: ${error.hint}`)
  return { text: `${lines.join('\n')}\n`, exitCode: error.exitCode }
}

/** Anything else is a bug of ours: all that a report of it needs. */
export function bugFailure(error: unknown, argv: readonly string[], version: string): Failure {
  const stack = error instanceof Error ? (error.stack ?? `${error.name}: ${error.message}`) : String(error)
  const cause = error instanceof Error && error.cause !== undefined ? [`caused by: ${String(error.cause)}`] : []
  const lines = [
    'dpemu: internal error: this is a bug in dpemu, not in your input. Please report it with these lines and, if you can, the input:',
    `  dpemu ${version}, Node ${process.version}, ${process.platform} ${process.arch}`,
    `  command: ${['dpemu', ...argv].map(quoted).join(' ')}`,
    ...[stack, ...cause].flatMap((text) => text.split('\n')).map((line) => `  ${line}`),
  ]
  return { text: `${lines.join('\n')}\n`, exitCode: EXIT_BUG }
}

export function failureOf(error: unknown, argv: readonly string[], version: string): Failure {
  return error instanceof UserError ? userFailure(error) : bugFailure(error, argv, version)
}

/** As it can be pasted into a shell. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}
