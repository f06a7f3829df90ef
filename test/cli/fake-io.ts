/** An `Io` that remembers what was written, for running commands in this process. */
import type { Io } from '../../src/commands/io.ts'

export interface FakeIo extends Io {
  readonly written: { stdout: string; stderr: string }
  /** What Ctrl-C would do, or another signal with its exit code. */
  interrupt(exitCode?: number): void
}

export function fakeIo(
  change: Partial<Pick<Io, 'isTerminal' | 'color' | 'errorColor' | 'width'>> = {},
  input = '',
): FakeIo {
  const written = { stdout: '', stderr: '' }
  const handlers: ((exitCode: number) => void)[] = []
  return {
    written,
    stdout: (text) => {
      written.stdout += text
    },
    stderr: (text) => {
      written.stderr += text
    },
    stdin: () => input,
    isTerminal: false,
    color: false,
    width: null,
    errorColor: false,
    onInterrupt: (handler) => handlers.push(handler),
    interrupt: (exitCode = 130) => {
      for (const handler of handlers) handler(exitCode)
    },
    ...change,
  }
}
