/**
 * A Timeline played on a cluster: one course of its events, who knows what when, and the moments that make rule sets.
 */
import type { Cluster } from '../k8s/cluster.ts'
import type { KubeObject } from '../k8s/types.ts'
import { Chance } from './chance.ts'
import type { Scene } from './dial.ts'
import { type Course, takeCourse } from './happenings.ts'
import { type Moment, momentsOf } from './moments.ts'
import { podsOfCourse, withModels } from './pod-addresses.ts'
import { endOf, frontOf, sceneOf } from './scene.ts'
import { type Site, surveySite } from './site.ts'
import type { Timeline } from './timeline.ts'

export interface Played {
  readonly site: Site
  readonly course: Course
  /** One for each Service, as its clients from outside see it where it has such. */
  readonly scenes: readonly Scene[]
  readonly endMs: number
  /** Of each pod of the course, by id; null for one that never got a node. */
  addresses(): (readonly string[] | null)[]
  /** @param leastMs  moments that are nearer to each other are taken together */
  moments(leastMs?: number): Moment[]
}

export interface Play {
  readonly timeline: Timeline
  readonly objects: readonly KubeObject[]
  /** That they make. */
  readonly cluster: Cluster
  /** Minor release that was asked for; null: as the Timeline or the Nodes tell. */
  readonly minor: number | null
  readonly seed: number
  /** Proxy mode that was asked for; left out or null: as the manifests say. */
  readonly mode?: Site['proxyMode'] | null
  /** Until when it is followed; null: until all has settled. */
  readonly endMs: number | null
}

/** The first of the courses that a seed makes. @throws UserError E_TIMELINE for names that there are none of */
export function play({ timeline, objects, cluster, minor, seed, mode = null, endMs: asked }: Play): Played {
  const site = surveySite(objects, timeline, null, minor, mode)
  const chance = new Chance(seed, 0)
  const course = takeCourse(site, timeline, chance)
  const fronts = site.services.map((service) => {
    const from = service.isExternal ? ('outside' as const) : null
    return frontOf(site, { ...timeline, traffic: { ...timeline.traffic, from } }, service)
  })
  const endMs = asked ?? endOf(course, timeline, fronts)
  const scenes = fronts.map((front) => sceneOf(course, site, timeline, front, chance, endMs))
  return {
    site,
    course,
    scenes,
    endMs,
    addresses: () =>
      podsOfCourse(course, site, withModels(objects, site, cluster)).map((pod) => pod?.addresses ?? null),
    moments: (leastMs) => {
      const base = withModels(objects, site, cluster)
      return momentsOf(scenes, podsOfCourse(course, site, base), base, endMs, leastMs)
    },
  }
}

/** The one of the moments that holds at `ms`. */
export function momentAt(moments: readonly Moment[], ms: number): Moment {
  let found = moments[0]!
  for (const moment of moments) if (moment.atMs <= ms) found = moment
  return found
}
