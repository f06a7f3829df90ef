/** An `Io` that remembers what was written, for running commands in this process. */
import type { Io } from '../../src/commands/io.ts'

export interface FakeIo extends Io {
  readonly written: { stdout: string; stderr: string }
  /** What Ctrl-C would do. */
  interrupt(): void
}

export function fakeIo(change: Partial<Pick<Io, 'isTerminal' | 'color' | 'errorColor'>> = {}, input = ''): FakeIo {
  const written = { stdout: '', stderr: '' }
  const handlers: (() => void)[] = []
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
    errorColor: false,
    onInterrupt: (handler) => handlers.push(handler),
    interrupt: () => {
      for (const handler of handlers) handler()
    },
    ...change,
  }
}
