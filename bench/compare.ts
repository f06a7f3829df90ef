/**
 * Compares two documents of `npm run bench`: `node dist/bench/compare.js BASE.json NEW.json [--tolerance 0.15]`.
 *
 * Ratios against the peers decide, since they hold on any machine. Absolute figures decide only for rows that have no
 * peer, only between runs of the same CPU and Node version, and with twice the tolerance. Exit code: 0, or 99 when a row
 * got slower by more than the tolerance, or 2 when a file cannot be used.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { UserError } from '../src/errors.ts'
import type { BenchDocument } from './report.ts'
import { renderTable } from './table.ts'

const EXIT_REGRESSION = 99
const DEFAULT_TOLERANCE = 0.15

export interface Comparison {
  readonly row: string
  readonly what: string
  readonly base: number
  readonly now: number
  /** How much worse, as a part of the base; negative is better. */
  readonly worse: number
  readonly regressed: boolean
}

/** @param tolerance  part of the base that a figure may be worse by */
export function compareDocuments(base: BenchDocument, now: BenchDocument, tolerance: number): Comparison[] {
  const list: Comparison[] = []
  const rated = new Set<string>()
  const add = (row: string, what: string, from: number, to: number, worse: number, limit: number): void => {
    list.push({ row, what, base: from, now: to, worse, regressed: worse > limit })
  }
  for (const one of now.ratios) {
    const row = `${one.row} ${one.size} ${one.skew}`
    rated.add(row)
    const before = base.ratios.find(
      (other) =>
        other.row === one.row && other.size === one.size && other.skew === one.skew && other.against === one.against,
    )
    if (before === undefined) continue
    // Against the Map more is better, against the floor less.
    const worse = one.against === 'map' ? 1 - one.ratio / before.ratio : one.ratio / before.ratio - 1
    add(row, one.against === 'map' ? '× map speed' : '× floor time', before.ratio, one.ratio, worse, tolerance)
  }
  const comparable = base.machine.cpu === now.machine.cpu && base.node === now.node
  for (const one of now.rows) {
    const row = `${one.row} ${one.size} ${one.skew}`
    if (!comparable || rated.has(row) || one.variant !== 'core') continue
    const before = base.rows.find(
      (other) =>
        other.row === one.row && other.size === one.size && other.skew === one.skew && other.variant === 'core',
    )
    if (before !== undefined) add(row, 'ns', before.min, one.min, one.min / before.min - 1, 2 * tolerance)
  }
  for (const one of now.replay) {
    const before = base.replay.find(
      (other) =>
        other.trace === one.trace &&
        other.policy === one.policy &&
        other.workers === one.workers &&
        other.packets === one.packets,
    )
    if (!comparable || before === undefined) continue
    add(
      `replay ${one.trace} ${one.policy} × ${one.workers}`,
      's',
      before.min,
      one.min,
      one.min / before.min - 1,
      2 * tolerance,
    )
  }
  return list
}

/** @throws UserError E_BENCH_FILE */
export function readDocument(path: string): BenchDocument {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new UserError('E_BENCH_FILE', (error as Error).message, { where: path, exitCode: 2 })
  }
  const document = value as Partial<BenchDocument> | null
  const whole =
    document?.kind === 'bench' &&
    document.machine !== undefined &&
    [document.rows, document.ratios, document.replay].every((list) => Array.isArray(list))
  if (!whole) {
    throw new UserError('E_BENCH_FILE', 'not a document of `npm run bench -- --json FILE`', {
      where: path,
      exitCode: 2,
    })
  }
  return document as BenchDocument
}

/** The comparison as a table, and the exit code it amounts to. */
export function renderComparison(list: readonly Comparison[]): { text: string; exitCode: number } {
  const cells = list.map(({ row, what, base, now, worse, regressed }) => [
    row,
    what,
    base.toFixed(2),
    now.toFixed(2),
    `${(worse * 100).toFixed(0)} %`,
    regressed ? 'REGRESSED' : '',
  ])
  const regressed = list.filter((one) => one.regressed).length
  const table = renderTable(['row', 'figure', 'base', 'now', 'worse by', ''], cells)
  const text = `${table}\n${list.length} compared, ${regressed} regressed\n`
  return { text, exitCode: regressed > 0 ? EXIT_REGRESSION : 0 }
}

/** @returns the exit code */
export function runCompare(args: readonly string[], print: (text: string) => void): number {
  const { positionals, values } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { tolerance: { type: 'string', default: String(DEFAULT_TOLERANCE) } },
  })
  const tolerance = Number(values.tolerance)
  if (positionals.length !== 2 || !(tolerance > 0)) {
    throw new UserError('E_USAGE', 'compare takes BASE.json NEW.json and --tolerance above 0', { exitCode: 2 })
  }
  const list = compareDocuments(readDocument(positionals[0]), readDocument(positionals[1]), tolerance)
  if (list.length === 0) {
    throw new UserError('E_BENCH_FILE', 'the two documents have no row in common', {
      where: positionals[1],
      exitCode: 2,
    })
  }
  const { text, exitCode } = renderComparison(list)
  print(text)
  return exitCode
}
