/**
 * Warnings that somebody has read and does not want to read again: `--disable-warning`, and DPEMU_DISABLE_WARNING for good.
 *
 * Named after Node's own flag; a text behind the code narrows it down, as in Python's `-W`.
 */
import { formatWarning, type Warning } from '../errors.ts'
import { usageError } from './arguments.ts'

export type WarningFilter = (warning: Warning) => boolean

/**
 * Which warnings are disabled.
 *
 * @param given  `CODE` or `CODE:TEXT`, several with commas between: warnings of this code, whose place or message holds the text
 * @throws UserError  for what is no code
 */
export function disabledWarnings(given: readonly string[]): WarningFilter {
  const rules = given
    .flatMap((value) => value.split(','))
    .map((rule) => rule.trim())
    .filter((rule) => rule !== '')
    .map((rule) => {
      const [, code, text = ''] = /^(W_[A-Z0-9_]+)(?::(.*))?$/s.exec(rule) ?? []
      if (code === undefined) {
        throw usageError(`'${rule}' is not the code of a warning`, 'codes stand behind warnings: W_NO_ENDPOINTS')
      }
      return { code, text }
    })
  return (warning) =>
    rules.some(({ code, text }) => code === warning.code && (text === '' || formatWarning(warning).includes(text)))
}

/** The rest, for a report. */
export function withoutDisabled(warnings: readonly Warning[], filter: WarningFilter | undefined): Warning[] {
  return warnings.filter((warning) => filter?.(warning) !== true)
}
