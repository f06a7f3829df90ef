/** How a value that differs from draw to draw is written: the median, and the least and the most behind it. */
import { type Cell, cellText, cellTone } from './document.ts'
import type { DrawsReport, ReplayReport, RunReport } from './types.ts'

/** Of one figure over the draws. */
export interface Spread {
  readonly least: number
  readonly most: number
}

/** `103 µs (98.1..110 µs)`; where all are written alike, once. */
export function spreadText(format: (value: number) => string, value: number, spread: Spread | null): string {
  return spread === null ? format(value) : withRange(format(value), format(spread.least), format(spread.most))
}

/** A row's cells, one a run, each with its range where there are draws. */
export function cellsOver({ runs, draws }: ReplayReport, value: (run: RunReport) => Cell): Cell[] {
  return runs.map((run, i) => {
    const cell = value(run)
    const [least, most] = [draws?.least[i], draws?.most[i]]
    if (least === undefined || most === undefined) return cell
    // Distributions are added up: no cell that has a range is made of them.
    const { histograms, series } = run
    const [from, to] = [value({ ...least, histograms, series }), value({ ...most, histograms, series })]
    const text = withRange(cellText(cell), cellText(from), cellText(to))
    return { text, tone: cellTone(cell) === 'plain' ? cellTone(to) : cellTone(cell) }
  })
}

/** `3,455/s (3,300..3,560/s)`: a unit that both ends have is said once; where all are written alike, the text alone. */
export function withRange(text: string, from: string, to: string): string {
  if (from === text && to === text) return text
  const unit = /(\s|\/)\D+$/.exec(to)?.[0] ?? ''
  const least = unit !== '' && from.endsWith(unit) ? from.slice(0, -unit.length) : from
  return `${text} (${least}..${to})`
}

/** `10 seeds`, `5 placements`, `20 draws`. */
export function drawsText({ count, seeds, placements }: DrawsReport): string {
  const what = placements.length === 1 ? 'seeds' : seeds.length === 1 ? 'placements' : 'draws'
  return `${count} ${what}`
}
