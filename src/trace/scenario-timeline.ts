/**
 * The Timeline that goes into a trace: the scenario's own, else the one among its manifests. It is checked against the manifests, so that what
 * is wrong is found now rather than by every replay.
 */
import { dirname, resolve } from 'node:path'
import { UserError } from '../errors.ts'
import type { ManifestFile } from '../k8s/files.ts'
import { isMap } from '../k8s/schema.ts'
import type { KubeObject } from '../k8s/types.ts'
import { findDocument, standalone, type TimelineDocument } from '../rollout/document.ts'
import { surveySite } from '../rollout/site.ts'
import { parseTimeline, type TimelineEvent } from '../rollout/timeline.ts'
import { readTextFile } from '../text-file.ts'
import type { Scenario } from './scenario.ts'

/**
 * @param files  the manifests
 * @returns a whole document; undefined where there is none
 * @throws UserError E_TIMELINE
 */
export function timelineFor(
  { durationSeconds, timeline }: Scenario,
  path: string,
  files: readonly ManifestFile[],
  objects: readonly KubeObject[],
): unknown {
  const found = timeline === undefined ? findDocument(files) : documentOf(timeline, path)
  if (found === null) return undefined
  const { folder, value, where } = found
  const parsed = parseTimeline(value, where, folder)
  const late = parsed.events.find(({ atMs }) => atMs > durationSeconds * 1000)
  if (late !== undefined) {
    const message = `at ${late.atMs / 1000} s the scenario is over; it lasts ${durationSeconds} s`
    throw new UserError('E_TIMELINE', message, { where: late.where })
  }
  surveySite(objects, parsed, null, null)
  const byWhere = new Map(parsed.events.map((event) => [event.where, event]))
  return standalone(value, (i) => appliedBy(byWhere.get(`${where}, events[${i}]`)))
}

function appliedBy(event: TimelineEvent | undefined): readonly unknown[] {
  return event?.verb === 'apply' ? event.objects : []
}

function documentOf(written: unknown, path: string): TimelineDocument {
  const folder = dirname(path)
  const whole = { apiVersion: 'dpemu/v1', kind: 'Timeline' }
  const where = `${path}, timeline`
  if (Array.isArray(written)) return { value: { ...whole, events: written }, where, folder }
  if (isMap(written)) return { value: { ...whole, ...written }, where, folder }
  const name = resolve(folder, String(written))
  const found = findDocument([{ name, text: readTextFile(name, 'timeline', 'E_TIMELINE') }])
  if (found === null) {
    throw new UserError('E_TIMELINE', 'there is no Timeline in it', {
      where: name,
      hint: 'apiVersion: dpemu/v1, kind: Timeline',
    })
  }
  return found
}
