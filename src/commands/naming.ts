/** What `--upstream`, `--resolver` and `--node-resolv-conf` say about who answers and who asks, for dig and explain. */
import { readFileSync } from 'node:fs'
import type { Naming } from '../dns/dig.ts'
import { NOTHING_UPSTREAM, parseUpstream } from '../dns/records.ts'
import { parseResolvConf } from '../dns/resolver.ts'
import { UserError } from '../errors.ts'
import { LIBCS, type Libc } from '../libc.ts'
import { usageError } from './arguments.ts'

export interface NamingOptions {
  /** Each a record, or `@FILE` with one a line. */
  readonly upstream?: readonly string[] | undefined
  readonly resolver?: string | undefined
  readonly nodeResolvConf?: string | undefined
}

/** @throws UserError  for records, files and words that cannot be used */
export function readNaming(options: NamingOptions): Naming {
  const given = options.upstream ?? []
  const records = given.flatMap((value) => (value.startsWith('@') ? recordsOf(value.slice(1)) : [value]))
  const libc = options.resolver ?? 'glibc'
  if (!isLibc(libc)) throw usageError(`--resolver ${libc} is none of ${LIBCS.join(', ')}`)
  return {
    upstream: given.length === 0 ? NOTHING_UPSTREAM : parseUpstream(records, '--upstream'),
    libc,
    node:
      options.nodeResolvConf === undefined
        ? null
        : parseResolvConf(readFile('--node-resolv-conf', options.nodeResolvConf)),
  }
}

function isLibc(text: string): text is Libc {
  return (LIBCS as readonly string[]).includes(text)
}

function recordsOf(path: string): string[] {
  return readFile('--upstream', path)
    .split('\n')
    .map((line) => line.replace(/^\s*[;#].*/, '').trim())
    .filter((line) => line !== '')
}

function readFile(flag: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new UserError('E_NAMING', `${flag}: cannot read ${path} (${code})`, { exitCode: 2 })
  }
}
