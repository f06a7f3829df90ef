/**
 * Manifest files as bytes on a disk: which ones a path stands for, and their text.
 *
 * A file that is named is meant: whatever is wrong in it is an error. Of a folder everything is taken that may be a manifest, and most
 * folders hold other things as well; those files are marked as found, and load.ts passes over what is no object in them.
 * Source: kubectl's `-f`: .json, .yaml and .yml of a folder (pkg/cli/resource, FileExtensions), with all folders below as `-R` does.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../errors.ts'
import { decodeText, MAX_TEXT_BYTES } from '../text-file.ts'

export interface ManifestFile {
  readonly name: string
  readonly text: string
  /** It lay in a folder that was named, and was not named itself. */
  readonly isFound?: true
}

const MANIFEST_NAME = /\.(ya?ml|json)$|^Kustomization$/i

/**
 * The texts of the manifest files that `paths` name.
 *
 * @param paths  files, folders (all .yaml, .yml and .json files in them and below, in the order of their paths; names
 *               that begin with a dot are passed over) and `-` for standard input
 * @param stdin  gives the text of standard input
 * @throws UserError  E_MANIFEST_MISSING, E_MANIFEST_EMPTY (a folder without manifests), E_MANIFEST_UNREADABLE,
 *                    E_MANIFEST_SIZE
 */
export function readManifestFiles(
  paths: readonly string[],
  stdin: () => string = () => decodeText(readFileSync(0)),
): ManifestFile[] {
  return paths.flatMap((path) => {
    if (path === '-') return [{ name: 'standard input', text: readable('standard input', stdin) }]
    if (!readable(path, () => statSync(path)).isDirectory()) return [{ name: path, text: textOf(path) }]
    const found = manifestsBelow(path)
    if (found.length === 0) {
      throw new UserError('E_MANIFEST_EMPTY', 'the folder holds no manifest', {
        where: path,
        hint: 'Manifests are files that end in .yaml, .yml or .json.',
      })
    }
    return found.sort().map((name): ManifestFile => ({ name, text: textOf(name), isFound: true }))
  })
}

function manifestsBelow(folder: string): string[] {
  return readable(folder, () => readdirSync(folder, { withFileTypes: true })).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.name.startsWith('.')) return []
    if (entry.isDirectory()) return manifestsBelow(path)
    // A link to a folder is not followed, as kubectl does not: it could lead back up. One that leads nowhere is not there.
    if (!MANIFEST_NAME.test(entry.name)) return []
    return readable(path, () => statSync(path, { throwIfNoEntry: false }))?.isFile() === true ? [path] : []
  })
}

function textOf(path: string): string {
  return readable(path, () => {
    const { size } = statSync(path)
    if (size > MAX_TEXT_BYTES) throw tooLong(path, size)
    return decodeText(readFileSync(path))
  })
}

function tooLong(path: string, bytes: number): UserError {
  const size = Math.ceil(bytes / 2 ** 20)
  return new UserError(
    'E_MANIFEST_SIZE',
    `the file has ${size} MiB; a manifest file has at most ${MAX_TEXT_BYTES >> 20}`,
    {
      where: path,
      hint: 'Put its objects into several files, or dump without pods: kubectl get svc,endpointslices,nodes,ingresses -A -o json',
    },
  )
}

function readable<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof UserError) throw error
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new UserError('E_MANIFEST_MISSING', 'no such file or folder', { where: path })
    }
    const reason = error instanceof Error ? error.message : String(error)
    throw new UserError('E_MANIFEST_UNREADABLE', `cannot be read: ${reason}`, { where: path })
  }
}
