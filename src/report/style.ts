/** Colour for terminals: four tones as ANSI sequences, or nothing at all. */
import type { Tone } from './document.ts'

export interface Style {
  title(text: string): string
  tone(text: string, tone: Tone): string
}

const ESCAPE = '\u001b['
const TONE_CODES: Readonly<Record<Exclude<Tone, 'plain'>, string>> = { good: '32', bad: '31', quiet: '2' }

export const PLAIN: Style = { title: (text) => text, tone: (text) => text }

export const COLOURED: Style = {
  title: (text) => `${ESCAPE}1m${text}${ESCAPE}0m`,
  tone: (text, tone) => (tone === 'plain' || text === '' ? text : `${ESCAPE}${TONE_CODES[tone]}m${text}${ESCAPE}0m`),
}

export function styleFor(color: boolean): Style {
  return color ? COLOURED : PLAIN
}
