/**
 * Progress on standard error: a bar where that is a terminal, elsewhere (a log of CI) a line every ten seconds.
 *
 * The bar is redrawn when the shown percentage changes, so at most 101 times a task. The estimate of the time left is the
 * only use of a clock here, and no result depends on it.
 */
import { formatBar, formatSeconds } from '../report/units.ts'
import type { Io } from './io.ts'

const BAR_WIDTH = 30
/** Between two lines in a log. */
const LINE_MS = 10_000
const ERASE_LINE = '\r\u001b[2K'

export interface Progress {
  update(done: number, total: number): void
  /** Take the bar away; whatever is written next begins on a clean line. A later update draws it again. */
  clear(): void
}

/** @param nowMs  the clock */
export function startProgress(
  io: Pick<Io, 'stderr' | 'isTerminal'>,
  label: string,
  quiet: boolean,
  nowMs: () => number = () => performance.now(),
): Progress {
  if (quiet) return { update: () => {}, clear: () => {} }
  const startMs = nowMs()
  if (!io.isTerminal) return progressLines(io, label, startMs, nowMs)
  let shown = -1
  return {
    update(done, total) {
      const fraction = total > 0 ? Math.min(1, done / total) : 0
      const percent = Math.floor(fraction * 100)
      if (percent === shown) return
      shown = percent
      const estimate = estimateText(fraction, nowMs() - startMs)
      io.stderr(
        `${ERASE_LINE}${label} ${formatBar(fraction, BAR_WIDTH)} ${String(percent).padStart(3)} %${estimate === '' ? '' : `  ${estimate}`}`,
      )
    },
    clear() {
      if (shown < 0) return
      shown = -1
      io.stderr(ERASE_LINE)
    },
  }
}

function progressLines(io: Pick<Io, 'stderr'>, label: string, startMs: number, nowMs: () => number): Progress {
  let lastMs = startMs
  return {
    update(done, total) {
      const now = nowMs()
      if (now - lastMs < LINE_MS) return
      lastMs = now
      const fraction = total > 0 ? Math.min(1, done / total) : 0
      const estimate = estimateText(fraction, now - startMs)
      const after = formatSeconds(Math.round((now - startMs) / 1000))
      io.stderr(
        `dpemu: ${label}: ${Math.floor(fraction * 100)} % after ${after}${estimate === '' ? '' : `, ${estimate}`}\n`,
      )
    },
    clear: () => {},
  }
}

/** `12 s left`, or nothing where it is too early to say. */
function estimateText(fraction: number, elapsedMs: number): string {
  const left = fraction > 0 && elapsedMs > 1000 ? (elapsedMs / 1000 / fraction) * (1 - fraction) : 0
  return left >= 1 ? `${formatSeconds(Math.round(left))} left` : ''
}
