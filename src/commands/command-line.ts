/** The command that was typed, as a shell takes it again. */

/** Words that a shell takes as they are. */
const PLAIN = /^[\w@%+=:,./-]+$/

/** @param argv  what came after `dpemu`; undefined where nothing did */
export function commandLineOf(argv: readonly string[] | undefined): string {
  return argv === undefined ? '' : ['dpemu', ...argv].map(quoted).join(' ')
}

function quoted(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
