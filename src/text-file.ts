/** Small text inputs, read whole: scenarios and model files. */
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
