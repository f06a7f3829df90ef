/**
 * A table of answers as a picture: rows with their names on the left, columns with theirs upright above them, a coloured box with a
 * word in each cell, and what is behind it where the pointer rests.
 *
 * The picture is static SVG 1.1 without scripts, styles from elsewhere or fonts: it opens in browsers and in tickets. Colour is never
 * the only difference. Names come from manifests, so all text is escaped. Source: W3C, Scalable Vector Graphics 1.1.
 */
import { xmlText } from './xml.ts'

export interface MatrixCell {
  readonly text: string
  readonly tone: 'good' | 'bad' | 'mixed'
  /** Shown as a tooltip. */
  readonly title: string
}

export interface Matrix {
  readonly title: string
  readonly rows: readonly string[]
  readonly columns: readonly string[]
  /** Row by row. */
  readonly cells: readonly (readonly MatrixCell[])[]
}

/** Pixels. Letters of the text are as wide as those of most monospaced fonts of 12 px. */
const LETTER = 7.25
const LINE = 24
const GAP = 12
const TITLE = 36
const LEAST_COLUMN = 64

const FILLS: Readonly<Record<MatrixCell['tone'], string>> = { good: '#d2f4d9', mixed: '#fff3c4', bad: '#ffd8d3' }

export function matrixSvg({ title, rows, columns, cells }: Matrix): string {
  const texts = cells.flat().map(({ text }) => text)
  const column = Math.max(LEAST_COLUMN, ...texts.map((text) => widthOf(text) + GAP))
  const left = Math.max(0, ...rows.map(widthOf)) + 2 * GAP
  const top = TITLE + Math.max(0, ...columns.map(widthOf)) + GAP
  const width = Math.ceil(Math.max(left + columns.length * column, widthOf(title) + GAP) + GAP)
  const height = Math.ceil(top + rows.length * LINE + GAP)
  const heads = columns.map((name, i) => {
    const x = number(left + (i + 0.5) * column + 4)
    return `  <text transform="translate(${x} ${number(top - 6)}) rotate(-90)">${xmlText(name)}</text>`
  })
  const lines = rows.flatMap((name, row) => {
    const y = top + row * LINE
    return [
      `  <text x="${number(left - GAP)}" y="${number(y + 16)}" text-anchor="end">${xmlText(name)}</text>`,
      ...(cells[row] ?? []).map((cell, i) => cellSvg(cell, left + i * column, y, column)),
    ]
  })
  return `${[
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="monospace" font-size="12">`,
    `  <title>${xmlText(title)}</title>`,
    `  <rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `  <text x="${GAP}" y="22" font-weight="bold">${xmlText(title)}</text>`,
    ...heads,
    ...lines,
    '</svg>',
  ].join('\n')}\n`
}

function cellSvg({ text, tone, title }: MatrixCell, x: number, y: number, width: number): string {
  const box = `<rect x="${number(x + 1)}" y="${number(y + 1)}" width="${number(width - 2)}" height="${LINE - 2}" rx="3" fill="${FILLS[tone]}"/>`
  const word = `<text x="${number(x + width / 2)}" y="${number(y + 16)}" text-anchor="middle">${xmlText(text)}</text>`
  return `  <g><title>${xmlText(title)}</title>${box}${word}</g>`
}

/** Letters of East Asian scripts take two columns. */
function widthOf(text: string): number {
  let columns = 0
  for (const letter of text)
    columns += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/.test(
      letter,
    )
      ? 2
      : 1
  return columns * LETTER
}

function number(value: number): string {
  return String(Number(value.toFixed(2)))
}
