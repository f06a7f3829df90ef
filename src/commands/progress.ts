/**
 * A progress bar on standard error, drawn only when that is a terminal.
 *
 * It is redrawn when the shown percentage changes, so at most 101 times a task. The estimate of the time left is the
 * only use of a clock here, and no result depends on it.
 */
import { formatBar, formatSeconds } from '../report/units.ts'
import type { Io } from './io.ts'

const BAR_WIDTH = 30
const ERASE_LINE = '\r\u001b[2K'

export interface Progress {
  update(done: number, total: number): void
  /** Take the bar away; whatever is written next begins on a clean line. A later update draws it again. */
  clear(): void
}

export function startProgress(io: Pick<Io, 'stderr' | 'isTerminal'>, label: string, quiet: boolean): Progress {
  if (quiet || !io.isTerminal) return { update: () => {}, clear: () => {} }
  const startMs = performance.now()
  let shown = -1
  return {
    update(done, total) {
      const fraction = total > 0 ? Math.min(1, done / total) : 0
      const percent = Math.floor(fraction * 100)
      if (percent === shown) return
      shown = percent
      const elapsedSeconds = (performance.now() - startMs) / 1000
      const left = fraction > 0 && elapsedSeconds > 1 ? (elapsedSeconds / fraction) * (1 - fraction) : 0
      const estimate = left >= 1 ? `  ${formatSeconds(Math.round(left))} left` : ''
      io.stderr(`${ERASE_LINE}${label} ${formatBar(fraction, BAR_WIDTH)} ${String(percent).padStart(3)} %${estimate}`)
    },
    clear() {
      if (shown < 0) return
      shown = -1
      io.stderr(ERASE_LINE)
    },
  }
}
