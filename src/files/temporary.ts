/**
 * Files that stand beside what they will replace, and are taken away with the process however it ends: by its end, by
 * Ctrl-C, by SIGTERM (a cancelled job, `docker stop`) or by SIGHUP (a closed terminal).
 */

import { randomBytes } from 'node:crypto'
import { closeSync, constants, fchmodSync, fchownSync, openSync, rmSync, type Stats } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** Exit codes as shells report them: 128 and the signal's number. */
export const SIGNAL_EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
export type EndingSignal = keyof typeof SIGNAL_EXIT_CODES
export const ENDING_SIGNALS = Object.keys(SIGNAL_EXIT_CODES) as readonly EndingSignal[]

export interface TemporaryFile {
  readonly path: string
  readonly descriptor: number
}

const live = new Set<string>()

/**
 * An empty file in the folder of `path`, or, where none can be made there though `path` itself can be written to (a
 * mounted file), in the folder for such files.
 *
 * @param stats  of the file that will be replaced, whose mode and owner the new one gets; null: as for any new file
 */
export function openTemporary(path: string, stats: Stats | null): TemporaryFile {
  try {
    return open(dirname(path), stats)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (stats === null || !['EACCES', 'EPERM', 'EROFS'].includes(code ?? '')) throw error
    return open(tmpdir(), stats)
  }
}

function open(folder: string, stats: Stats | null): TemporaryFile {
  const path = join(folder, `.dpemu-${process.pid}-${randomBytes(6).toString('hex')}.tmp`)
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
  // Never more open than the file it stands for, not even before its mode is set.
  watch(path)
  try {
    const descriptor = openSync(path, flags, stats === null ? 0o666 : 0o600)
    if (stats !== null) takeAfter(descriptor, stats)
    return { path, descriptor }
  } catch (error) {
    removeTemporary(path)
    throw error
  }
}

function takeAfter(descriptor: number, stats: Stats): void {
  try {
    fchownSync(descriptor, stats.uid, stats.gid)
  } catch {
    // Only root may give a file away; who may write to a file but does not own it becomes the owner of the new one.
  }
  fchmodSync(descriptor, stats.mode & 0o7777)
}

/** It has become what it was for, or is to go. Does nothing the second time. */
export function forgetTemporary(path: string): void {
  live.delete(path)
  if (live.size > 0) return
  for (const signal of ENDING_SIGNALS) process.removeListener(signal, onSignal)
  process.removeListener('exit', removeAll)
}

export function removeTemporary(path: string): void {
  rmSync(path, { force: true })
  forgetTemporary(path)
}

export function closeAndRemove({ path, descriptor }: TemporaryFile): void {
  try {
    closeSync(descriptor)
  } catch {
    // Closed already, or lost with what was written: it goes either way.
  }
  removeTemporary(path)
}

function watch(path: string): void {
  if (live.size === 0) {
    for (const signal of ENDING_SIGNALS) process.on(signal, onSignal)
    process.on('exit', removeAll)
  }
  live.add(path)
}

function onSignal(signal: EndingSignal): void {
  // Whoever else listens winds up the work and removes the files on the way.
  if (process.listenerCount(signal) > 1) return
  removeAll()
  process.exit(SIGNAL_EXIT_CODES[signal])
}

function removeAll(): void {
  for (const path of live) rmSync(path, { force: true })
}
