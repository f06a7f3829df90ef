/**
 * What the name of an output stands for: a file to be replaced as a whole, or something that is written to as it is.
 *
 * Links are followed, to the file that they lead to or would lead to. A device, a pipe or a descriptor of ours
 * (`/dev/stdout`, `/dev/fd/63` of a shell's process substitution) is never replaced: only the name of a regular file may be.
 */
import { accessSync, constants, fstatSync, lstatSync, readlinkSync, type Stats, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { UserError } from '../errors.ts'

export type OutputTarget =
  /** A regular file, there (`stats`) or not yet (null); `path` is no link. */
  | { readonly kind: 'file'; readonly path: string; readonly stats: Stats | null }
  /** A device or a pipe. */
  | { readonly kind: 'stream'; readonly path: string }
  /** Open in this process already. */
  | { readonly kind: 'descriptor'; readonly descriptor: number }

/** As the kernel has it. */
const MAX_LINKS = 40

/**
 * @param path  `-` is standard output
 * @throws UserError `E_OUTPUT`, exit code 2, for what nothing can be written to; nothing is opened or made
 */
export function resolveOutput(path: string): OutputTarget {
  if (path === '-') return { kind: 'descriptor', descriptor: 1 }
  if (/[/\\]$/.test(path)) throw cannotWrite(path, { code: 'EISDIR' })
  try {
    let at = path
    for (let links = 0; links <= MAX_LINKS; links++) {
      const descriptor = descriptorOf(at)
      if (descriptor !== null) return openDescriptor(descriptor)
      const stats = lstatSync(at, { throwIfNoEntry: false })
      if (stats?.isSymbolicLink() !== true) return targetOf(at, stats ?? null)
      const to = readlinkSync(at)
      // Not normalised: `..` behind a link to a folder is that folder's parent.
      at = to.startsWith('/') ? to : `${dirname(at)}/${to}`
    }
    throw { code: 'ELOOP' }
  } catch (error) {
    throw cannotWrite(path, error)
  }
}

/** `/dev/fd/3` and its other names → 3; null for any other path. */
export function descriptorOf(path: string): number | null {
  const named = ['/dev/stdin', '/dev/stdout', '/dev/stderr'].indexOf(path)
  if (named >= 0) return named
  const number = /^\/(?:dev|proc\/(?:self|thread-self|\d+))\/fd\/(\d{1,9})$/.exec(path)
  const own = /^\/proc\/(\d+)\//.exec(path)
  return number === null || (own !== null && Number(own[1]) !== process.pid) ? null : Number(number[1])
}

function openDescriptor(descriptor: number): OutputTarget {
  if (fstatSync(descriptor).isDirectory()) throw { code: 'EISDIR' }
  return { kind: 'descriptor', descriptor }
}

function targetOf(path: string, stats: Stats | null): OutputTarget {
  if (stats === null) {
    accessSync(dirname(path), constants.W_OK | constants.X_OK)
    return { kind: 'file', path, stats }
  }
  if (stats.isDirectory()) throw { code: 'EISDIR' }
  if (stats.isSocket()) throw { code: 'ENXIO' }
  accessSync(path, constants.W_OK)
  return stats.isFile() ? { kind: 'file', path, stats } : { kind: 'stream', path }
}

/** What tells whether two outputs, or an output and an input, are one file; null where being one does no harm. */
export function fileIdentity(target: OutputTarget): string | null {
  if (target.kind !== 'file') return null
  if (target.stats !== null) return `${target.stats.dev}:${target.stats.ino}`
  const folder = statSync(dirname(target.path))
  return `${folder.dev}:${folder.ino}:${resolve(target.path).split(/[/\\]/).at(-1)}`
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'its folder is a file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota is used up',
  EFBIG: 'the file would be larger than the system allows',
  EISDIR: 'it is a folder',
  ELOOP: 'its links lead in a circle',
  ENXIO: 'it is a socket, or a device that is not there',
  EBADF: 'nothing is open there to be written to',
  ENAMETOOLONG: 'the name is too long',
}

/** The system's complaint in words. A UserError stays what it is. */
export function cannotWrite(path: string, error: unknown): UserError {
  if (error instanceof UserError) return error
  const code = (error as NodeJS.ErrnoException).code ?? String(error)
  const name = path === '-' ? 'to standard output' : path
  return new UserError('E_OUTPUT', `cannot write ${name}: ${WHY[code] ?? code}`, { exitCode: 2 })
}
