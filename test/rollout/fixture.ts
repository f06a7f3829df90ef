/** A cluster in a few words: three nodes, a workload, its Service, and a Timeline. */
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import type { KubeObject } from '../../src/k8s/types.ts'
import { type Chance, FixedChance } from '../../src/rollout/chance.ts'
import { type Course, takeCourse } from '../../src/rollout/happenings.ts'
import { type Site, surveySite } from '../../src/rollout/site.ts'
import { parseTimeline, type Timeline } from '../../src/rollout/timeline.ts'

export type Json = object

export interface Fixture {
  readonly kind?: 'Deployment' | 'StatefulSet' | 'DaemonSet'
  readonly replicas?: number
  /** Laid over `spec` of the workload. */
  readonly workload?: Json
  /** Laid over the pod's spec. */
  readonly pod?: Json
  /** Laid over the container. */
  readonly container?: Json
  readonly service?: Json
  readonly nodes?: readonly string[]
  /** Nodes of the workload's pods, in their order; else as the scheduler places them. */
  readonly on?: readonly string[]
  readonly more?: readonly Json[]
  readonly timeline?: Json
  /** Seconds from start to listening. */
  readonly startup?: number | string
}

/** A probe that sees every change at the next whole second, so that a pod is ready when its app is. */
export const PROMPT = { periodSeconds: 1, failureThreshold: 1 }

export function objectsOf(fixture: Fixture): KubeObject[] {
  const { kind = 'Deployment', replicas = 1, nodes = ['a', 'b', 'c'] } = fixture
  const labels = { app: 'web' }
  const container = {
    name: 'web',
    image: 'web',
    ports: [{ containerPort: 8080 }],
    readinessProbe: PROMPT,
    ...fixture.container,
  }
  const template = { metadata: { labels }, spec: { containers: [container], ...fixture.pod } }
  const documents: Json[] = [
    ...nodes.map((name) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'kubernetes.io/hostname': name } },
    })),
    {
      apiVersion: 'apps/v1',
      kind,
      metadata: { name: 'web' },
      spec: {
        ...(kind === 'DaemonSet' ? {} : { replicas }),
        selector: { matchLabels: labels },
        template,
        ...fixture.workload,
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web' },
      spec: { type: 'LoadBalancer', selector: labels, ports: [{ port: 80, targetPort: 8080 }], ...fixture.service },
    },
    ...(fixture.on ?? []).map((nodeName, i) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: kind === 'StatefulSet' ? `web-${i}` : `p${i + 1}`,
        labels,
        ownerReferences: [
          {
            kind: kind === 'Deployment' ? 'ReplicaSet' : kind,
            name: kind === 'Deployment' ? 'web-1' : 'web',
            controller: true,
          },
        ],
      },
      spec: { ...template.spec, nodeName },
    })),
    ...(fixture.more ?? []),
  ]
  const text = documents.map((one) => JSON.stringify(one)).join('\n---\n')
  return parseManifests([{ name: 'test.yaml', text }]).objects
}

export function timelineOf(fixture: Fixture): Timeline {
  const { startup = '8s', timeline = {}, kind = 'Deployment' } = fixture
  return parseTimeline(
    {
      apiVersion: 'dpemu/v1',
      kind: 'Timeline',
      controlPlane: 'ideal',
      nodeMonitorGracePeriod: '50s',
      workloads: {
        [`${kind.toLowerCase()}/web`]: { startup, requests: { duration: 0 } },
      },
      ...timeline,
    },
    'test',
  )
}

export interface World {
  readonly site: Site
  readonly timeline: Timeline
}

export function worldOf(fixture: Fixture, minor = 34): World {
  const timeline = timelineOf(fixture)
  return { site: surveySite(objectsOf(fixture), timeline, null, minor), timeline }
}

/** All phases 0, unless told. */
export const STILL = { probe: 0, lease: 0, 'lease check': 0, relist: 0, sync: 0, balancer: 0 }

export function courseOf(fixture: Fixture, chance: Chance = new FixedChance(STILL), minor = 34): Course {
  const { site, timeline } = worldOf(fixture, minor)
  return takeCourse(site, timeline, chance)
}

/** `0 new+1 old-1 · 8 old-1`: the steps of a rollout, times in seconds. */
export function stepsOf(course: Course): string {
  const byTime = new Map<number, string[]>()
  for (const { atMs, which, delta } of course.steps.get(0) ?? []) {
    const list = byTime.get(atMs) ?? []
    list.push(`${which}${delta > 0 ? '+' : ''}${delta}`)
    byTime.set(atMs, list)
  }
  return [...byTime].map(([ms, list]) => `${ms / 1000} ${list.join(' ')}`).join(' · ')
}

export { deriveCluster }
