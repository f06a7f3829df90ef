/**
 * The one way in which this program writes to what a user named.
 *
 * A regular file is written beside its place and renamed over it when it is complete, so that it is whole or as it was; its
 * mode stays. A device, a pipe or a descriptor is written to as it is. Bytes that a pipe does not take at once are
 * kept, so a caller that writes much looks after `drain` in between; no call blocks on a slow reader but `drainNow`.
 */
import { closeSync, constants, ftruncateSync, openSync, readSync, renameSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { cannotWrite, resolveOutput } from './target.ts'
import { closeAndRemove, forgetTemporary, openTemporary, removeTemporary, type TemporaryFile } from './temporary.ts'

const POLL_MS = 10
const COPY_BYTES = 1 << 20

/** The reader of a pipe went away, as in `dpemu … | head`: nobody is there to hear of it. */
export class ReaderGoneError extends Error {
  constructor() {
    super('nobody reads the output any more')
    this.name = 'ReaderGoneError'
  }
}

export interface OutputFile {
  /** Bytes may be used again by the caller when this returns. */
  write(bytes: Uint8Array): void
  /** Resolves when everything was taken, and after `end` when the output is closed. */
  drain(signal?: AbortSignal): Promise<void>
  /** The same, for callers that cannot wait otherwise; a signal ends the process if nobody listens for it. */
  drainNow(): void
  /** No more will come: a file is in its place when this returns, a stream is closed when it is drained. */
  end(): void
  /** Give up: a file stays as it was. Does nothing after `end`. */
  abort(): void
}

/**
 * @param path  what the user named; `-` is standard output
 * @throws UserError `E_OUTPUT`, exit code 2, as every call does when the system refuses; ReaderGoneError
 */
export function openOutput(path: string): OutputFile {
  const target = resolveOutput(path)
  switch (target.kind) {
    case 'descriptor':
      return new StreamOutput(path, null, target.descriptor)
    case 'stream':
      return new StreamOutput(path, target.path, -1)
    case 'file':
      try {
        return new ReplacingOutput(path, target.path, openTemporary(target.path, target.stats))
      } catch (error) {
        throw cannotWrite(path, error)
      }
  }
}

/** @throws UserError `E_OUTPUT`, exit code 2; nothing is left behind. A reader that goes away is no error. */
export async function writeOutput(path: string, text: string, signal?: AbortSignal): Promise<void> {
  await written(path, text, (output) => output.drain(signal))
}

/** As `writeOutput`, waiting where it stands: for callers that listen for no signals. */
export function writeOutputNow(path: string, text: string): void {
  void written(path, text, (output) => output.drainNow())
}

function written<Done extends Promise<void> | void>(
  path: string,
  text: string,
  drain: (output: OutputFile) => Done,
): Done {
  let output: OutputFile | null = null
  const failed = (error: unknown): void => {
    output?.abort()
    if (!(error instanceof ReaderGoneError)) throw error
  }
  try {
    output = openOutput(path)
    output.write(Buffer.from(text))
    output.end()
    const done = drain(output)
    return (done instanceof Promise ? done.catch(failed) : done) as Done
  } catch (error) {
    failed(error)
    return undefined as Done
  }
}

class ReplacingOutput implements OutputFile {
  readonly #name: string
  readonly #path: string
  readonly #temporary: TemporaryFile
  #isOpen = true

  constructor(name: string, path: string, temporary: TemporaryFile) {
    this.#name = name
    this.#path = path
    this.#temporary = temporary
  }

  write(bytes: Uint8Array): void {
    this.#attempt(() => writeAll(this.#temporary.descriptor, bytes))
  }

  async drain(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
  }

  drainNow(): void {}

  end(): void {
    this.#attempt(() => {
      closeSync(this.#temporary.descriptor)
      putInPlace(this.#temporary.path, this.#path)
    })
    this.#isOpen = false
  }

  abort(): void {
    if (this.#isOpen) closeAndRemove(this.#temporary)
    this.#isOpen = false
  }

  #attempt(operation: () => void): void {
    try {
      operation()
    } catch (error) {
      this.abort()
      throw cannotWrite(this.#name, error)
    }
  }
}

/** What a name that cannot be renamed over says: a mounted file, or one in a folder that is not ours to change. */
const NOT_RENAMED = ['EBUSY', 'EXDEV', 'EACCES', 'EPERM', 'EROFS']

function putInPlace(temporary: string, path: string): void {
  try {
    renameSync(temporary, path)
    forgetTemporary(temporary)
  } catch (error) {
    if (!NOT_RENAMED.includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    copyInto(temporary, path)
    removeTemporary(temporary)
  }
}

function copyInto(from: string, path: string): void {
  const source = openSync(from, 'r')
  try {
    const target = openSync(path, 'r+')
    try {
      ftruncateSync(target)
      const bytes = Buffer.allocUnsafe(COPY_BYTES)
      for (let count = readSync(source, bytes); count > 0; count = readSync(source, bytes)) {
        writeAll(target, bytes.subarray(0, count))
      }
    } finally {
      closeSync(target)
    }
  } finally {
    closeSync(source)
  }
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(descriptor, bytes, written)
}

class StreamOutput implements OutputFile {
  readonly #name: string
  /** To be opened, and closed again; null: it was open before. */
  readonly #path: string | null
  #descriptor: number
  readonly #pending: Uint8Array[] = []
  #ended = false
  #closed = false

  constructor(name: string, path: string | null, descriptor: number) {
    this.#name = name
    this.#path = path
    this.#descriptor = descriptor
    this.#pump()
  }

  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const taken = this.#pump() ? this.#take(bytes) : 0
    // A copy: the caller's buffer will hold something else when the reader is ready.
    if (taken < bytes.length) this.#pending.push(Uint8Array.from(bytes.subarray(taken)))
  }

  async drain(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    while (!this.#pump()) await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal })
  }

  drainNow(): void {
    const never = new Int32Array(new SharedArrayBuffer(4))
    while (!this.#pump()) Atomics.wait(never, 0, 0, POLL_MS)
  }

  end(): void {
    this.#ended = true
    this.#pump()
  }

  abort(): void {
    if (this.#closed) return
    this.#closed = true
    this.#pending.length = 0
    if (this.#path !== null && this.#descriptor >= 0) closeSync(this.#descriptor)
  }

  /** Write what is kept, as far as it is taken. @returns whether nothing is left to do */
  #pump(): boolean {
    if (this.#closed) return true
    if (this.#descriptor < 0 && !this.#open()) return false
    while (this.#pending.length > 0) {
      const first = this.#pending[0]!
      const taken = this.#take(first)
      if (taken < first.length) {
        this.#pending[0] = first.subarray(taken)
        return false
      }
      this.#pending.shift()
    }
    if (this.#ended) this.abort()
    return true
  }

  /** A pipe can be opened once somebody reads it; opening it and waiting would be deaf to Ctrl-C. */
  #open(): boolean {
    try {
      this.#descriptor = openSync(
        this.#path!,
        constants.O_WRONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0),
      )
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENXIO') return false
      throw cannotWrite(this.#name, error)
    }
  }

  #take(bytes: Uint8Array): number {
    let taken = 0
    try {
      while (taken < bytes.length) taken += writeSync(this.#descriptor, bytes, taken)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EAGAIN') return taken
      this.abort()
      throw code === 'EPIPE' ? new ReaderGoneError() : cannotWrite(this.#name, error)
    }
    return taken
  }
}
