/**
 * How plugins of a Corefile match a name: exactly, by its beginning, its end, a part of it, or a regular expression.
 *
 * Go's regular expressions (RE2) are read by JavaScript's: the same language but for `(?P<name>…)`, leading `(?i)` and the
 * like, which are translated. Names are matched folded, with their final dot.
 * Source: coredns/coredns plugin/rewrite/name.go, https://github.com/google/re2/wiki/Syntax.
 */
import { corefileError } from './caddyfile.ts'
import { absolute, lower } from './domain-names.ts'

export const MATCH_KINDS: ReadonlySet<string> = new Set(['exact', 'prefix', 'suffix', 'substring', 'regex'])
/** Longer patterns are refused. Source: maxRegexpLen. */
const MAX_PATTERN = 10_000

/** The pattern of a directive. Errors: UserError E_COREFILE for what is no regular expression. */
export function goRegExp(pattern: string, line: number): RegExp {
  const [, letters = ''] = /^\(\?([imsU]+)\)/.exec(pattern) ?? []
  const body = (letters === '' ? pattern : pattern.slice(letters.length + 3))
    .replaceAll('(?P<', '(?<')
    .replaceAll('\\A', '^')
    .replaceAll('\\z', '$')
  const flags = [...new Set(letters)].filter((letter) => letter !== 'U').join('')
  if (pattern.length > MAX_PATTERN) {
    throw corefileError(line, `a pattern of ${pattern.length} characters, ${MAX_PATTERN} is the most`)
  }
  try {
    return new RegExp(body, flags)
  } catch {
    throw corefileError(line, `${pattern} is no regular expression`)
  }
}

/** How many groups a pattern has. */
export function groupCount(pattern: RegExp): number {
  return new RegExp(`${pattern.source}|`, pattern.flags).exec('')!.length - 1
}

/** `{0}`, `{1}` … of a replacement, by the groups of a match. */
export function fillGroups(replacement: string, groups: readonly (string | undefined)[]): string {
  return replacement.replace(/\{(\d{1,3})\}/g, (whole, index) =>
    Number(index) < groups.length ? (groups[Number(index)] ?? '') : whole,
  )
}

/** A name of a directive as CoreDNS keeps it: folded, with a final dot, even where it stands for a part of a name. */
export function normalName(text: string): string {
  return lower(absolute(text))
}
