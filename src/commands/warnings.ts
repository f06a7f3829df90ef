/** Warnings on standard error as they come, each said once, and no more than a screen of them. */
import { formatWarning, type Warning } from '../errors.ts'
import type { Io } from './io.ts'
import type { Progress } from './progress.ts'

const MAX_LINES = 20

export interface WarningPrinter {
  print(warning: Warning): void
  /** Say how many were held back. */
  finish(): void
}

export function warningPrinter(
  io: Pick<Io, 'stderr' | 'disabledWarnings'>,
  progress: Progress,
  quiet: boolean,
): WarningPrinter {
  const seen = new Set<string>()
  return {
    print(warning) {
      const text = `${formatWarning(warning)} [${warning.code}]`
      if (quiet || seen.has(text) || io.disabledWarnings?.(warning) === true) return
      seen.add(text)
      if (seen.size > MAX_LINES) return
      progress.clear()
      io.stderr(`dpemu: warning: ${text}\n`)
    },
    finish() {
      if (seen.size > MAX_LINES) io.stderr(`dpemu: ... and ${seen.size - MAX_LINES} more warnings\n`)
    },
  }
}
