/**
 * What a command may touch of the world outside: three streams, the terminal's abilities, and Ctrl-C.
 *
 * Commands take an `Io` so that tests can run them in this process; `processIo` is the real one.
 */
import { readFileSync } from 'node:fs'
import { UserError } from '../errors.ts'
import { ENDING_SIGNALS, type EndingSignal, SIGNAL_EXIT_CODES } from '../files/temporary.ts'
import { decodeText, MAX_TEXT_BYTES } from '../text-file.ts'
import type { WarningFilter } from './disabled-warnings.ts'

export interface Io {
  /** Data. */
  stdout(text: string): void
  /** Progress, warnings, everything else. */
  stderr(text: string): void
  /** All of standard input as text; the same text each time. */
  stdin(): string
  /** What was typed after `dpemu`; left out where nothing was. */
  readonly commandLine?: readonly string[]
  /** Tells warnings that nobody wants to read. */
  readonly disabledWarnings?: WarningFilter
  /** Standard error is a terminal: progress may be drawn. */
  readonly isTerminal: boolean
  /** Standard output may be coloured. */
  readonly color: boolean
  /** Columns that text on standard output may take; null where nobody knows: it is no terminal. */
  readonly width: number | null
  /** Standard error may be coloured. */
  readonly errorColor: boolean
  /**
   * From the first call on Ctrl-C, SIGTERM and SIGHUP run the handlers instead of ending the process; a second one ends it.
   * Handlers are told the exit code: 130, 143 or 129.
   */
  onInterrupt(handler: (exitCode: number) => void): void
}

/** What a command that was told to stop listens to, and the exit code that it then ends with. */
export interface Interruption {
  readonly signal: AbortSignal
  readonly exitCode: number
}

export function interruptionOf(io: Pick<Io, 'onInterrupt'>): Interruption {
  const abort = new AbortController()
  const interruption = { signal: abort.signal, exitCode: SIGNAL_EXIT_CODES.SIGINT as number }
  io.onInterrupt((exitCode) => {
    interruption.exitCode = exitCode
    abort.abort()
  })
  return interruption
}

export function processIo(): Io {
  // A reader that went away (`dpemu … | head`) is no error of ours; what is left to say has nobody to hear it.
  for (const [name, stream] of [
    ['standard output', process.stdout] as const,
    ['standard error', process.stderr] as const,
  ]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') return
      throw new UserError('E_OUTPUT', `cannot write to ${name} (${error.code ?? error.message})`, { exitCode: 2 })
    })
  }
  let input: string | null = null
  const interruptHandlers: ((exitCode: number) => void)[] = []
  return {
    stdout: (text) => {
      if (process.stdout.writable) process.stdout.write(text)
    },
    stderr: (text) => {
      if (process.stderr.writable) process.stderr.write(text)
    },
    stdin: () => {
      input ??= readStandardInput()
      return input
    },
    isTerminal: process.stderr.isTTY === true,
    color: wantsColor(process.stdout.isTTY === true, process.env),
    width: widthOf(process.env, process.stdout.isTTY === true ? process.stdout.columns : undefined),
    errorColor: wantsColor(process.stderr.isTTY === true, process.env),
    onInterrupt: (handler) => {
      if (interruptHandlers.length === 0) for (const signal of ENDING_SIGNALS) process.on(signal, interrupt)
      interruptHandlers.push(handler)
    },
  }

  function interrupt(signal: EndingSignal): void {
    const handlers = interruptHandlers.splice(0)
    if (handlers.length === 0) process.exit(SIGNAL_EXIT_CODES[signal])
    for (const handler of handlers) handler(SIGNAL_EXIT_CODES[signal])
  }
}

/**
 * NO_COLOR (any non-empty value) wins, then FORCE_COLOR, then the terminal.
 *
 * Source: no-color.org; FORCE_COLOR as Node and most tools read it, with `0` and `false` as "no".
 */
export function wantsColor(isTerminal: boolean, env: Readonly<Record<string, string | undefined>>): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false
  const force = env['FORCE_COLOR']
  if (force !== undefined) return force !== '0' && force !== 'false'
  return isTerminal && env['TERM'] !== 'dumb'
}

/** The narrowest text that is laid out; in a narrower window the terminal breaks lines. */
const LEAST_WIDTH = 60

/**
 * COLUMNS wins over the terminal's own size, as in most tools.
 *
 * @param columns  of the terminal; undefined where there is none
 */
export function widthOf(env: Readonly<Record<string, string | undefined>>, columns: number | undefined): number | null {
  const given = env['COLUMNS'] ?? ''
  const width = /^\d{1,5}$/.test(given) && Number(given) > 0 ? Number(given) : columns
  return width === undefined || width === 0 ? null : Math.max(LEAST_WIDTH, width)
}

function readStandardInput(): string {
  try {
    return decodeText(readFileSync(0))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    const reason = code === 'ERR_STRING_TOO_LONG' ? `it has more than ${MAX_TEXT_BYTES >> 20} MiB` : code
    throw new UserError('E_STDIN', `cannot read standard input (${reason})`, {
      hint: 'pipe a file into dpemu, or name one instead of -',
      exitCode: 2,
    })
  }
}
