/**
 * A Timeline in a replay: the course of its events, and the moments that they make of the cluster.
 *
 * The Timeline is compiled before the run: one course of pods and nodes (`src/rollout`), drawn from the seed, and of that the moments at which
 * somebody's view changes. Each is a rule set that shards take up at its time; the packets' way through the core knows nothing of it.
 */

import type { ProxyMode } from '../compile/kube-proxy.ts'
import { UserError, type Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import type { ManifestFile } from '../k8s/files.ts'
import type { KubeObject } from '../k8s/types.ts'
import type { Scene } from '../rollout/dial.ts'
import type { Course } from '../rollout/happenings.ts'
import type { Moment } from '../rollout/moments.ts'
import { play } from '../rollout/played.ts'
import type { Site } from '../rollout/site.ts'
import { findTimeline, parseTimeline, type Timeline } from '../rollout/timeline.ts'
import { readTextFile } from '../text-file.ts'
import { addressCount, TICKS_PER_SECOND, type TraceHeader } from '../trace/format.ts'
import type { TraceFile } from '../trace/read.ts'

/** Rule sets of all moments of all runs together; beyond it moments that are near to each other are taken together. */
const MOST_BYTES = 1 << 29
const FIRST_STRETCH_MS = 10

export interface TimelinePlan {
  readonly timeline: Timeline
  readonly site: Site
  readonly course: Course
  /** One for each Service, as its clients from outside see it. */
  readonly scenes: readonly Scene[]
  readonly moments: readonly Moment[]
  readonly seed: number
  readonly endMs: number
}

/**
 * The Timeline of a replay: that of `--timeline`, else of the manifests, else of the trace; null for none, or one without events.
 *
 * @throws UserError E_TIMELINE
 */
export function timelineOf(
  path: string | null,
  files: readonly ManifestFile[],
  header: TraceHeader,
  tracePath: string,
): Timeline | null {
  let found: Timeline | null
  if (path === null) {
    found = findTimeline(files)
    if (found === null && header.timeline !== undefined)
      found = parseTimeline(header.timeline, `${tracePath}, timeline`)
  } else {
    found = findTimeline([{ name: path, text: readTextFile(path, 'timeline', 'E_TIMELINE') }])
    if (found === null)
      throw new UserError('E_TIMELINE', 'there is no Timeline in it', {
        where: path,
        hint: 'apiVersion: dpemu/v1, kind: Timeline',
      })
  }
  return found === null || found.events.length === 0 ? null : found
}

export interface TimelineParts {
  readonly timeline: Timeline
  readonly objects: readonly KubeObject[]
  readonly cluster: Cluster
  readonly trace: TraceFile
  readonly minor: number | null
  readonly seed: number
  /** Of the runs, as asked for; what is counted is that of the first. */
  readonly modes: readonly (ProxyMode | null)[]
  /** The manifests are those in the trace. */
  readonly fromTrace: boolean
  /** How many runs there will be, for how much room moments may take. */
  readonly runs: number
  readonly warnings: Warning[]
}

/** @throws UserError E_TIMELINE: unknown names, an event after the end of the trace */
export function planTimeline(parts: TimelineParts): TimelinePlan {
  const { timeline, objects, cluster, trace, minor, modes, seed, warnings } = parts
  const endMs = Math.ceil((trace.totals.durationTicks * 1000) / TICKS_PER_SECOND)
  const late = timeline.events.find(({ atMs }) => atMs > endMs)
  if (late !== undefined) {
    throw new UserError('E_TIMELINE', `at ${late.atMs / 1000} s the trace is over; it lasts ${endMs / 1000} s`, {
      where: late.where,
    })
  }
  if (parts.fromTrace && trace.header.timeline === undefined) {
    warnings.push({
      code: 'W_NO_LIFECYCLE',
      where: trace.path,
      message:
        'its manifests were written without probes, preStop hooks, update strategies and PodDisruptionBudgets, as no Timeline was there: what they say about a rollout takes -f MANIFESTS',
    })
  }
  const played = play({ timeline, objects, cluster, minor, seed, mode: modes[0] ?? null, endMs })
  const { course, scenes, site } = played
  if (site.services.length === 0) {
    throw new UserError('E_TIMELINE', 'no Service selects the pods in question: nobody connects to them', {
      hint: 'pods of workloads count (Deployment, StatefulSet, DaemonSet, ReplicaSet), not pods by themselves',
      where: timeline.where,
    })
  }
  if (modes.length > 1) {
    warnings.push({
      code: 'W_TIMELINE_MODES',
      where: timeline.where,
      message: `what clients lose is counted for ${site.proxyMode}, whose rules follow as they do in that mode; replay one proxy mode at a time for the others`,
    })
  }
  // What the cluster itself warns of is in the replay's warnings already.
  warnings.push(...site.warnings.filter((one) => !cluster.warnings.some(({ message }) => message === one.message)))
  for (const { balancerKind, service } of scenes) {
    if (balancerKind !== 'pods') continue
    warnings.push({
      code: 'W_NOT_MODELLED',
      where: `Service ${service.name}`,
      message:
        'its load balancer sends to pods: packets of the replay go by way of nodes, what it loses is in the timeline part of the report',
    })
  }
  const bytes = bytesOfMoment(cluster, trace.header) * Math.max(1, parts.runs)
  let moments = played.moments()
  let stretchMs = FIRST_STRETCH_MS
  while (moments.length * bytes > MOST_BYTES && stretchMs < endMs) {
    moments = played.moments(stretchMs)
    stretchMs *= 2
  }
  if (stretchMs > FIRST_STRETCH_MS) {
    warnings.push({
      code: 'W_TIMELINE_COARSE',
      where: timeline.where,
      message: `it changes the cluster too often for packets to see each change: those within ${stretchMs / 2} ms are taken together; what is lost is counted exactly`,
    })
  }
  return { timeline, site, course, scenes, moments, seed, endMs }
}

/** About what a rule set takes that differs from the one before: the flags of addresses, and the Services' columns. */
function bytesOfMoment({ services, pods }: Cluster, { addresses }: TraceHeader): number {
  return 4 * (addressCount(addresses) + pods.length * 4 + services.length * 32)
}
