/** Text inputs, read whole: scenarios and model files, and what bytes of any text say. */
import { readFileSync } from 'node:fs'
import { UserError } from './errors.ts'

/**
 * @param title what the file is to the user, `model` or `scenario`
 * @throws UserError with this code, naming the path, when it cannot be read
 */
export function readTextFile(path: string, title: string, code: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code: reason, message } = error as NodeJS.ErrnoException
    const what = reason === 'ENOENT' ? 'no such file' : reason === 'EISDIR' ? 'it is a folder' : message
    throw new UserError(code, `cannot read the ${title}: ${what}`, { where: path })
  }
}

/** The longest string of the engine: 2^29 - 24 characters. A text of one byte a character is as long as its file. */
export const MAX_TEXT_BYTES = 0x1fff_ffe8

/** UTF-8, or UTF-16 where a byte order mark says so, which is what PowerShell's `>` writes. */
export function decodeText(bytes: Buffer): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes)
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes)
  return bytes.toString('utf8')
}
