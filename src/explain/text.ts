/** The text form of an answer: a story from place to place with numbered steps, to be pasted into a ticket. */
import type { Answer, Step } from './types.ts'

/** Text is wrapped at this column at the latest; a word that is longer stands alone. */
const MAX_WIDTH = 110

/** @param width  columns that there are; null: not known */
export function renderAnswer({ title, conclusion, explanation }: Answer, width: number | null = null): string {
  const most = Math.min(MAX_WIDTH, width ?? MAX_WIDTH)
  const { id, service, node, chosen, steps } = explanation
  const where = [
    ...(service === null ? [] : [`Service ${service}`]),
    ...(node === null ? [] : [`decided at node ${node}`]),
  ]
  const head = `${id === undefined ? '' : `${id}: `}${title}${where.length === 0 ? '' : `   [${where.join(', ')}]`}`
  const given = chosen === undefined ? [] : [`chosen:  ${chosen ?? 'none'}`]
  return [
    ...wrap('', head, most),
    '',
    ...renderSteps(steps, most),
    '',
    ...given,
    ...wrap('verdict: ', conclusion, most),
    ...(explanation.timeline === undefined ? [] : ['', 'who learns what when:']),
    ...(explanation.timeline ?? []).flatMap((line) => wrap('  ', line, most)),
    '',
  ].join('\n')
}

/** What the manifests left out, below the verdict; '' where that is nothing. */
export function renderFilledIn(lines: readonly string[], width: number | null = null): string {
  if (lines.length === 0) return ''
  const most = Math.min(MAX_WIDTH, width ?? MAX_WIDTH)
  return `${['', 'filled in, as a cluster would:', ...lines.flatMap((line) => wrap('  ', line, most))].join('\n')}\n`
}

/** Under the name of each place the steps that were taken there. */
function renderSteps(steps: readonly Step[], most: number): string[] {
  const digits = String(steps.length).length
  const stageWidth = Math.max(...steps.map(({ stage }) => stage.length), 0)
  let place = ''
  return steps.flatMap(({ at, stage, detail }, i) => {
    const label = `  ${String(i + 1).padStart(digits)}  ${stage.padEnd(stageWidth)}  `
    const lines = wrap(label, detail, most)
    if (at === place) return lines
    place = at
    return [at, ...lines]
  })
}

/** Lines of at most `most` columns; those after the first begin below the text. */
function wrap(label: string, text: string, most: number): string[] {
  const lines: string[] = []
  let line = label
  for (const word of text.split(' ')) {
    const full = line.length > label.length
    if (full && line.length + 1 + word.length > most) {
      lines.push(line)
      line = ' '.repeat(label.length) + word
    } else line += full ? ` ${word}` : word
  }
  return [...lines, line].map((one) => one.trimEnd())
}
