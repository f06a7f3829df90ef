/** The moments of a course: what each node's rules hold, whom balancers send to, what pods do with a SYN. */
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { FixedChance } from '../../src/rollout/chance.ts'
import { takeCourse } from '../../src/rollout/happenings.ts'
import { type Moment, momentsOf } from '../../src/rollout/moments.ts'
import { podsOfCourse, withModels } from '../../src/rollout/pod-addresses.ts'
import { frontOf, sceneOf } from '../../src/rollout/scene.ts'
import { type Fixture, objectsOf, STILL, worldOf } from './fixture.ts'

const END_MS = 120_000

function played(fixture: Fixture): { moments: Moment[]; pods: (readonly string[] | null)[]; names: string[] } {
  const { site, timeline } = worldOf(fixture)
  const objects = objectsOf(fixture)
  const cluster = deriveCluster(objects)
  const chance = new FixedChance(STILL)
  const course = takeCourse(site, timeline, chance)
  const scenes = site.services.map((service) =>
    sceneOf(course, site, timeline, frontOf(site, timeline, service), chance, END_MS),
  )
  const base = withModels(objects, site, cluster)
  const pods = podsOfCourse(course, site, base)
  return {
    moments: momentsOf(scenes, pods, base, END_MS),
    pods: pods.map((pod) => pod?.addresses ?? null),
    names: course.pods.map(({ name }) => name),
  }
}

function momentAt(moments: readonly Moment[], seconds: number): Moment {
  return moments.filter(({ atMs }) => atMs <= seconds * 1000).at(-1)!
}

/** `a=p1,p2 b=p1`: pods whose endpoints a node's rules hold, as ready (or ending: with a dagger). */
function rulesAt(
  moments: readonly Moment[],
  seconds: number,
  names: readonly string[],
  pods: ReturnType<typeof played>['pods'],
): string {
  const moment = momentAt(moments, seconds)
  const views = moment.views('cluster', { addresses: null })
  const nameOf = (address: string): string => names[pods.findIndex((own) => own?.includes(address))]!
  return [...views.slices.get('default/web')!]
    .map(([node, slices]) => {
      const endpoints = slices.flatMap((slice) => slice.endpoints)
      const text = endpoints.map(
        ({ addresses, conditions }) => `${nameOf(addresses[0]!)}${conditions?.terminating ? '†' : ''}`,
      )
      return `${node}=${text.join(',')}`
    })
    .join(' ')
}

const TWO: Fixture = {
  replicas: 2,
  on: ['a', 'b'],
  pod: { terminationGracePeriodSeconds: 5 },
  timeline: { events: [{ at: '10s', delete: 'pod/p1' }] },
}

describe('a pod that is deleted', () => {
  test('is in the rules of a node until that node has been told: each node its own', () => {
    const { moments, names, pods } = played({
      ...TWO,
      timeline: {
        ...TWO.timeline,
        controlPlane: { slice: '0s', watch: '0s', sync: '0s', nodes: { c: { sync: '3s' } } },
      },
    })
    expect(rulesAt(moments, 9.9, names, pods)).toBe('a=p1,p2 b=p1,p2 c=p1,p2')
    const at = rulesAt(moments, 10.5, names, pods)
    expect(at).toMatch(/ c=p1,p2$/)
    expect(at.startsWith('a=p1†') || at.startsWith('a=p2')).toBe(true)
    expect(rulesAt(moments, 13.5, names, pods)).not.toMatch(/c=p1,p2$/)
  })

  test('refuses from SIGTERM on, what is open ends with its process, then nobody has its address', () => {
    const { moments, pods } = played({
      ...TWO,
      container: { lifecycle: { preStop: { sleep: { seconds: 2 } } } },
    })
    const stateAt = (seconds: number): string => {
      const moment = momentAt(moments, seconds)
      const state = moment.views('cluster', { addresses: null }).pods.get(pods[0]![0]!)
      return state === undefined ? 'accepts' : `${state.accepts}${state.isLive ? '' : ', not live'}`
    }
    expect([9, 11.9, 12, 20].map(stateAt)).toEqual(['accepts', 'accepts', 'refuses, not live', 'silent, not live'])
  })

  test('its successor has an address of its own, that nobody has had', () => {
    const { pods } = played(TWO)
    const all = pods.flatMap((one) => one ?? [])
    expect(all.length).toBe(3)
    expect(new Set(all).size).toBe(3)
  })
})

test('a balancer goes on sending to a node without a pod until it has noticed, under Local only', () => {
  const { moments } = played({
    replicas: 1,
    on: ['a'],
    timeline: { events: [{ at: '10s', scale: 'deployment/web', to: 0 }], loadBalancer: 'gke-l4' },
  })
  const targetsAt = (policy: 'cluster' | 'local', seconds: number): readonly string[] =>
    momentAt(moments, seconds).views(policy, { addresses: null }).balanced.get('default/web')!
  expect(targetsAt('local', 9)).toEqual(['a'])
  expect(targetsAt('local', 12)).toEqual(['a'])
  expect(targetsAt('cluster', 60)).toEqual(['a', 'b', 'c'])
})

test('from no pod to one: the first has the ports and labels that the template says', () => {
  const { moments, pods } = played({
    replicas: 0,
    timeline: { events: [{ at: '10s', scale: 'deployment/web', to: 1 }] },
  })
  const last = moments.at(-1)!.views('cluster', { addresses: null }).slices.get('default/web')!.get('a')!
  expect(last.flatMap(({ endpoints }) => endpoints.map(({ addresses }) => addresses[0]))).toEqual(pods[0])
  expect(last[0]!.ports).toEqual([expect.objectContaining({ port: 8080 })])
})

test('a StatefulSet makes its pod anew under the same name, at another address', () => {
  const { names, pods } = played({
    kind: 'StatefulSet',
    replicas: 1,
    timeline: { events: [{ at: '10s', rollout: 'statefulset/web' }] },
  })
  expect(names).toEqual(['web-0', 'web-0'])
  expect(pods[0]).not.toEqual(pods[1])
})

test('moments nearer to each other than is asked for are one, at the end of the stretch', () => {
  const { site, timeline } = worldOf(TWO)
  const cluster = deriveCluster(objectsOf(TWO))
  const chance = new FixedChance(STILL)
  const course = takeCourse(site, timeline, chance)
  const scene = sceneOf(course, site, timeline, frontOf(site, timeline, site.services[0]!), chance, END_MS)
  const pods = podsOfCourse(course, site, cluster)
  const fine = momentsOf([scene], pods, cluster, END_MS)
  const coarse = momentsOf([scene], pods, cluster, END_MS, 5000)
  expect(coarse.length).toBeLessThan(fine.length)
  expect(coarse.every(({ atMs }) => atMs % 5000 === 0)).toBe(true)
  const states = (moment: Moment): object => moment.views('cluster', { addresses: null }).pods
  expect(states(coarse.at(-1)!)).toEqual(states(fine.at(-1)!))
})

describe('the names of a StatefulSet of three', () => {
  /** Names that have a record, by what CoreDNS knows. */
  const recordsAt = (moments: readonly Moment[], cluster: Cluster, seconds: number): string => {
    const { slices } = momentAt(moments, seconds).cluster(cluster)
    const endpoints = slices.flatMap((slice) => slice.endpoints)
    return endpoints
      .flatMap(({ conditions, hostname }) => (conditions?.ready === true && hostname !== undefined ? [hostname] : []))
      .sort()
      .join()
  }
  const rolled = (service: object): { records: string[]; order: string[] } => {
    const fixture: Fixture = {
      kind: 'StatefulSet',
      replicas: 3,
      workload: { serviceName: 'web' },
      pod: { terminationGracePeriodSeconds: 5 },
      service: { type: 'ClusterIP', clusterIP: 'None', ...service },
      timeline: { events: [{ at: '10s', rollout: 'statefulset/web' }] },
    }
    const { moments, names } = played(fixture)
    const cluster = deriveCluster(objectsOf(fixture))
    const records = moments.map(({ atMs }) => recordsAt(moments, cluster, atMs / 1000))
    return { records: records.filter((one, i) => one !== records[i - 1]), order: names.slice(3) }
  }

  test('go one by one from the highest down, and come back when the pod is ready; never two at once', () => {
    const { order, records } = rolled({})
    expect(order).toEqual(['web-2', 'web-1', 'web-0'])
    expect(records).toEqual([
      'web-0,web-1,web-2',
      'web-0,web-1',
      // All lags are 0 here: the next one goes at the instant at which the last is ready.
      'web-0,web-2',
      'web-1,web-2',
      'web-0,web-1,web-2',
    ])
  })

  test('with publishNotReadyAddresses a name stays until the pod itself is gone', () => {
    const plain = rolled({})
    const { records } = rolled({ publishNotReadyAddresses: true })
    expect(records.every((one) => one.split(',').length >= 2)).toBe(true)
    expect(records.length).toBeLessThanOrEqual(plain.records.length)
  })
})
