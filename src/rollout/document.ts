/** A Timeline as a document that stands by itself: found among files, with what it applies in place of file names. */
import { dirname } from 'node:path'
import { UserError } from '../errors.ts'
import type { ManifestFile } from '../k8s/files.ts'
import { isMap } from '../k8s/schema.ts'
import { parseDocuments } from '../k8s/yaml.ts'

export interface TimelineDocument {
  readonly value: Readonly<Record<string, unknown>>
  /** File and document, for messages. */
  readonly where: string
  /** That files of `apply` are in. */
  readonly folder: string
}

/**
 * The one Timeline of the files, or null.
 *
 * @throws UserError E_TIMELINE where there are two
 */
export function findDocument(files: readonly ManifestFile[]): TimelineDocument | null {
  let found: TimelineDocument | null = null
  for (const file of files) {
    if (!/\bTimeline\b/.test(file.text)) continue
    for (const { value, number, problem } of parseDocuments(file)) {
      if (problem !== null || !isMap(value) || value['kind'] !== 'Timeline') continue
      if (!String(value['apiVersion']).startsWith('dpemu/')) continue
      const where = `${file.name}, document ${number}`
      if (found !== null)
        throw new UserError('E_TIMELINE', `a second Timeline; the first is at ${found.where}`, { where })
      found = { value, where, folder: dirname(file.name) }
    }
  }
  return found
}

/** @param read  the objects that an `apply` names, as `parseTimeline` has them by event */
export function standalone(
  value: Readonly<Record<string, unknown>>,
  read: (event: number) => readonly unknown[],
): Record<string, unknown> {
  const { events } = value
  if (!Array.isArray(events)) return value
  return {
    ...value,
    events: events.flatMap((event: unknown, i) =>
      isMap(event) && typeof event['apply'] === 'string'
        ? read(i).map((object) => ({ ...event, apply: object }))
        : [event],
    ),
  }
}
