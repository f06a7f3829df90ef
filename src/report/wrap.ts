/** Lines of text in the columns that there are: broken at spaces, never inside a word or before a unit. */

/** A space, unless it stands before a unit: `33.3 %` is not broken. */
const BREAK = /\s+(?!(?:%|[nµm]?s|[kMGT]?(?:bit)?\/s|[KMGT]?i?B)(?!\w))/

/** Break at spaces; a leading indent is kept, and a word longer than the width stays whole. */
export function wrap(text: string, width: number): string[] {
  const indent = /^ */.exec(text)![0]
  const lines: string[] = []
  let line = indent
  for (const word of text.trim().split(BREAK)) {
    const joined = line === indent ? line + word : `${line} ${word}`
    if (joined.length > width && line !== indent) {
      lines.push(line)
      line = indent + word
    } else {
      line = joined
    }
  }
  return [...lines, line]
}

/**
 * Text whose lines are wrapped one by one, those after the first further in than it.
 *
 * @param wrapped  which lines are; others stay as they are, however long
 * @param hanging  what lines after the first begin with, before the line's own indent
 */
export function wrapLines(
  text: string,
  width: number | null,
  { wrapped = () => true, hanging = '  ' }: { wrapped?: (line: string) => boolean; hanging?: string } = {},
): string {
  if (width === null) return text
  return text
    .split('\n')
    .flatMap((line) => {
      if ([...line].length <= width || !wrapped(line)) return [line]
      const indent = /^ */.exec(line)![0]
      const [first = '', ...rest] = wrap(line, width)
      // What is left has less room than the first line.
      const tail = rest.map((part) => part.trim()).join(' ')
      const start = indent + hanging
      return [first, ...wrap(tail, width - start.length).map((part) => start + part)]
    })
    .join('\n')
}
