/** The text form of an answer: a story with numbered steps that can be pasted into a ticket. */
import type { Answer, Step } from './types.ts'

/** Text is wrapped at this column; a word that is longer stands alone. */
const WIDTH = 110

export function renderAnswer({ title, conclusion, explanation }: Answer): string {
  const { id, service, node, chosen, steps } = explanation
  const where = [
    ...(service === null ? [] : [`Service ${service}`]),
    ...(node === null ? [] : [`decided at node ${node}`]),
  ]
  const head = `${id === undefined ? '' : `${id}: `}${title}${where.length === 0 ? '' : `   (${where.join(', ')})`}`
  const given = chosen === undefined ? [] : [`chosen: ${chosen ?? 'none'}`]
  return [head, ...renderSteps(steps), '', ...given, ...wrap(`verdict: ${conclusion}`, 9), ''].join('\n')
}

function renderSteps(steps: readonly Step[]): string[] {
  const number = String(steps.length).length
  const at = Math.min(28, Math.max(...steps.map((step) => step.at.length), 0))
  const stage = Math.max(...steps.map((step) => step.stage.length), 0)
  return steps.flatMap((step, i) => {
    const label = `${String(i + 1).padStart(number + 1)}  ${step.at.padEnd(at)}  ${step.stage.padEnd(stage)}  `
    return wrap(label + step.detail, Math.min(label.length, 52), label.length)
  })
}

/** Lines of at most WIDTH columns; those after the first are indented. @param keep  characters at the start that stay as they are */
function wrap(text: string, indent: number, keep = 0): string[] {
  const lines: string[] = []
  let line = text.slice(0, keep)
  let empty = true
  for (const word of text.slice(keep).split(' ')) {
    if (!empty && line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = ' '.repeat(indent)
      empty = true
    }
    line += empty ? word : ` ${word}`
    empty = false
  }
  return [...lines, line].map((one) => one.trimEnd())
}
