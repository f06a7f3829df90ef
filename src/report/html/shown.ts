/** A name as a page shows it: `\u202e` in place of what cannot be seen or turns around the text beside it. */

/** C0 and C1, and what Unicode has to turn text around, to join and to hide. */
const TRICKS = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu

export function shown(name: string): string {
  return name.replace(TRICKS, (letter) => `\\u${letter.codePointAt(0)!.toString(16).padStart(4, '0')}`)
}
