/** Reading what was typed after a flag: whole numbers and comma lists, with errors that say what was expected. */
import { UserError } from '../errors.ts'
import { suggestion } from '../nearest.ts'

export interface Range {
  readonly min: number
  readonly max: number
}

/** @throws UserError `E_USAGE`, exit code 2 */
export function wholeNumber(flag: string, text: string, { min, max }: Range): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!(number >= min && number <= max)) {
    throw usageError(`${flag} must be a whole number from ${min} to ${max}, not '${text}'`)
  }
  return number
}

/**
 * `Local,cluster` → ['local', 'cluster']: case does not count, repetitions do not either.
 *
 * @throws UserError `E_USAGE`, exit code 2, with the nearest known name
 */
export function commaList<Name extends string>(
  flag: string,
  values: readonly string[],
  known: readonly Name[],
): Name[] {
  const names = values.flatMap((value) => value.split(',')).map((name) => name.trim())
  const chosen = new Set<Name>()
  for (const name of names) {
    const found = known.find((candidate) => candidate === name.toLowerCase())
    if (found === undefined) throw usageError(`${flag} does not know '${name}'`, suggestion(name, known))
    chosen.add(found)
  }
  return [...chosen]
}

export function usageError(message: string, hint = ''): UserError {
  return new UserError('E_USAGE', message, { hint, exitCode: 2 })
}
