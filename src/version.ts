/** The package that this file is of, wherever it runs from (the sources or `dist`): its version and its folder. */
import { existsSync, readFileSync } from 'node:fs'

export function packageVersion(): string {
  return find()?.version ?? 'unknown'
}

/** The folder with package.json in it. @throws Error where there is none */
export function packageRoot(): URL {
  const found = find()
  if (found === null) throw new Error('the folder of the package was not found')
  return found.root
}

function find(): { readonly root: URL; readonly version: string } | null {
  for (const up of ['../', '../../']) {
    const root = new URL(up, import.meta.url)
    const file = new URL('package.json', root)
    if (!existsSync(file)) continue
    const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown; version?: unknown }
    if (name === 'dpemu' && typeof version === 'string') return { root, version }
  }
  return null
}
