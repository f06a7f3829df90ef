/** The version in package.json, wherever this file runs from (the sources or `dist`). */
import { existsSync, readFileSync } from 'node:fs'

export function packageVersion(): string {
  for (const up of ['../', '../../']) {
    const file = new URL(`${up}package.json`, import.meta.url)
    if (!existsSync(file)) continue
    const { name, version } = JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown; version?: unknown }
    if (name === 'dpemu' && typeof version === 'string') return version
  }
  return 'unknown'
}
