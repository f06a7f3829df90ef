/** How controllers roll, scale and drain: the arithmetic of kubernetes/kubernetes pkg/controller/{deployment,statefulset,daemon}. */
import { describe, expect, test } from 'vitest'
import type { Course } from '../../src/rollout/happenings.ts'
import { ENDPOINT_READY } from '../../src/rollout/pod.ts'
import { courseOf, type Fixture, stepsOf } from './fixture.ts'

const ROLL = { events: [{ at: 0, rollout: 'deployment/web' }] }

function readyAt(course: Course, seconds: number): number {
  return course.pods.filter(({ endpoint }) => (endpoint.at(seconds * 1000) & ENDPOINT_READY) !== 0).length
}

describe('a Deployment rolls in waves', () => {
  test.each([
    [1, '25%', '25%', '0 new+1 · 1 old-1'],
    [2, '25%', '25%', '0 new+1 · 1 old-1 new+1 · 2 old-1'],
    [3, '25%', '25%', '0 new+1 · 1 old-1 new+1 · 2 old-1 new+1 · 3 old-1'],
    [4, '25%', '25%', '0 new+1 old-1 new+1 · 1 old-2 new+2 · 2 old-1'],
    [5, '25%', '25%', '0 new+2 old-1 new+1 · 1 old-3 new+2 · 2 old-1'],
    [8, '25%', '25%', '0 new+2 old-2 new+2 · 1 old-4 new+4 · 2 old-2'],
    [10, '25%', '25%', '0 new+3 old-2 new+2 · 1 old-5 new+5 · 2 old-3'],
    [10, '30%', 0, '0 new+3 · 1 old-3 new+3 · 2 old-3 new+3 · 3 old-3 new+1 · 4 old-1'],
    [4, 0, 1, '0 old-1 new+1 · 1 old-1 new+1 · 2 old-1 new+1 · 3 old-1 new+1'],
    [2, '0%', '1%', '0 old-1 new+1 · 1 old-1 new+1'],
    [4, '100%', 0, '0 new+4 · 1 old-4'],
  ])('%i replicas, surge %s, unavailable %s', (replicas, maxSurge, maxUnavailable, steps) => {
    const strategy = { rollingUpdate: { maxSurge, maxUnavailable } }
    expect(stepsOf(courseOf({ replicas, startup: '1s', workload: { strategy }, timeline: ROLL }))).toBe(steps)
  })

  test('with the defaults where the manifest has none', () => {
    expect(stepsOf(courseOf({ replicas: 4, startup: '10s', timeline: ROLL }))).toBe(
      '0 new+1 old-1 new+1 · 10 old-2 new+2 · 20 old-1',
    )
  })

  test('minReadySeconds makes each wave longer', () => {
    const fixture = { replicas: 4, startup: '10s', workload: { minReadySeconds: 15 }, timeline: ROLL }
    expect(stepsOf(courseOf(fixture))).toBe('0 new+1 old-1 new+1 · 25 old-2 new+2 · 50 old-1')
  })

  test('never fewer are ready than it may be, and a long preStop adds pods and no time', () => {
    const course = courseOf({
      replicas: 4,
      startup: '10s',
      container: { lifecycle: { preStop: { sleep: { seconds: 25 } } } },
      timeline: ROLL,
    })
    for (let second = 0; second <= 40; second++) expect(readyAt(course, second)).toBeGreaterThanOrEqual(3)
    expect(course.rolloutMs).toBe(20_000)
    expect(course.peakPods).toBe(8)
  })

  test('a new revision that is never ready stops it for good', () => {
    const course = courseOf({
      replicas: 4,
      timeline: { events: [{ at: 0, rollout: 'deployment/web', startup: 'never' }], duration: '1h' },
    })
    expect(readyAt(course, 3600)).toBe(3)
    expect(course.pods.filter(({ isDeleted }) => !isDeleted)).toHaveLength(5)
    expect(course.stuck).toEqual([{ workload: 'Deployment default/web', deadlineMs: 600_000 }])
  })

  test('Recreate waits until the old pods are gone', () => {
    const course = courseOf({
      replicas: 2,
      workload: { strategy: { type: 'Recreate' } },
      container: { lifecycle: { preStop: { sleep: { seconds: 5 } } } },
      timeline: ROLL,
    })
    expect(stepsOf(course)).toBe('0 old-2 · 5 new+2')
    expect(readyAt(course, 12.9)).toBe(0)
    expect(readyAt(course, 13)).toBe(2)
  })
})

describe('which pod goes first when it is scaled down', () => {
  test('one that is not ready, then one of two on a node', () => {
    const fixture: Fixture = {
      replicas: 4,
      on: ['a', 'a', 'b', 'c'],
      timeline: {
        events: [
          { at: 0, unready: 'p4', for: '100s' },
          { at: 50, scale: 'deployment/web', to: 3 },
          { at: 60, scale: 'deployment/web', to: 2 },
        ],
      },
    }
    const deleted = courseOf(fixture).pods.filter(({ isTerminating }) => isTerminating)
    expect(deleted.map(({ name, deletedMs }) => [name, deletedMs])).toEqual([
      ['p1', 60_000],
      ['p4', 50_000],
    ])
  })
})

describe('a StatefulSet', () => {
  test('is updated from the highest ordinal down, each pod gone before it is made anew', () => {
    const course = courseOf({
      kind: 'StatefulSet',
      replicas: 3,
      container: { lifecycle: { preStop: { sleep: { seconds: 2 } } } },
      timeline: { events: [{ at: 0, rollout: 'sts/web' }] },
    })
    const order = course.pods.filter(({ revision }) => revision === 1)
    expect(order.map(({ name, createdMs }) => [name, createdMs])).toEqual([
      ['web-2', 2000],
      ['web-1', 12_000],
      ['web-0', 22_000],
    ])
    for (let second = 0; second <= 40; second++) expect(readyAt(course, second)).toBeGreaterThanOrEqual(2)
    expect(course.rolloutMs).toBe(30_000)
  })

  test('partition keeps the lower ordinals as they are', () => {
    const course = courseOf({
      kind: 'StatefulSet',
      replicas: 3,
      workload: { updateStrategy: { rollingUpdate: { partition: 2 } } },
      timeline: { events: [{ at: 0, rollout: 'sts/web' }] },
    })
    expect(course.pods.filter(({ revision }) => revision === 1).map(({ name }) => name)).toEqual(['web-2'])
    expect(course.stuck).toEqual([])
  })

  test('is scaled down from the top, one after the other, and Parallel all at once', () => {
    const scale = (podManagementPolicy: string): (number | string)[][] =>
      courseOf({
        kind: 'StatefulSet',
        replicas: 3,
        workload: { podManagementPolicy },
        container: { lifecycle: { preStop: { sleep: { seconds: 4 } } } },
        timeline: { events: [{ at: 0, scale: 'sts/web', to: 1 }] },
      })
        .pods.filter(({ isTerminating }) => isTerminating)
        .map(({ name, deletedMs }) => [name, deletedMs])
    expect(scale('OrderedReady')).toEqual([
      ['web-1', 4000],
      ['web-2', 0],
    ])
    expect(scale('Parallel')).toEqual([
      ['web-1', 0],
      ['web-2', 0],
    ])
  })
})

describe('a DaemonSet', () => {
  const roll = (rollingUpdate: object): Course =>
    courseOf({
      kind: 'DaemonSet',
      workload: { updateStrategy: { rollingUpdate } },
      container: { lifecycle: { preStop: { sleep: { seconds: 7 } } } },
      timeline: { events: [{ at: 0, rollout: 'ds/web' }] },
    })

  test('has no pod on a node from the end of the old one until the new one is ready', () => {
    const course = roll({})
    expect(course.pods.filter(({ revision }) => revision === 1).map(({ createdMs }) => createdMs)).toEqual([
      7000, 22_000, 37_000,
    ])
    expect(course.rolloutMs).toBe(45_000)
  })

  test('with maxSurge the new one is ready first', () => {
    const course = roll({ maxSurge: 1, maxUnavailable: 0 })
    for (let second = 0; second <= 60; second++) expect(readyAt(course, second)).toBeGreaterThanOrEqual(3)
    expect(course.rolloutMs).toBe(24_000)
  })

  test('several nodes at once', () => {
    expect(roll({ maxUnavailable: '100%' }).rolloutMs).toBe(15_000)
  })
})

describe('a drain', () => {
  const fixture: Fixture = { replicas: 3, on: ['a', 'b', 'b'], timeline: { events: [{ at: 0, drain: 'b' }] } }

  test('evicts all pods of the node at once', () => {
    const course = courseOf(fixture)
    expect(
      course.pods.filter(({ isTerminating }) => isTerminating).map(({ name, deletedMs }) => [name, deletedMs]),
    ).toEqual([
      ['p2', 0],
      ['p3', 0],
    ])
    expect(course.pods.filter(({ createdMs }) => createdMs === 0).every(({ node }) => node !== 1)).toBe(true)
  })

  test('asks again every 5 s where a budget forbids it', () => {
    const budget = {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'web' },
      spec: { minAvailable: 2, selector: { matchLabels: { app: 'web' } } },
    }
    const course = courseOf({ ...fixture, more: [budget] })
    expect(
      course.pods.filter(({ isTerminating }) => isTerminating).map(({ name, deletedMs }) => [name, deletedMs]),
    ).toEqual([
      ['p2', 0],
      ['p3', 10_000],
    ])
    expect(course.held).toEqual([
      { node: 'b', pod: 'p3', budget: 'PodDisruptionBudget default/web', sinceMs: 0, endMs: 10_000 },
    ])
  })

  test('that no budget ever lets through is given up, and said', () => {
    const budget = {
      apiVersion: 'policy/v1',
      kind: 'PodDisruptionBudget',
      metadata: { name: 'web' },
      spec: { minAvailable: '100%', selector: { matchLabels: { app: 'web' } } },
    }
    const course = courseOf({ ...fixture, more: [budget] })
    expect(course.held.map(({ pod, endMs }) => [pod, endMs])).toEqual([
      ['p2', null],
      ['p3', null],
    ])
    expect(course.settledMs).toBe(3_600_000)
  })
})

describe('what ends a pod', () => {
  const end = (preStop: number, grace: number, event: object = { delete: 'p1' }, timeline: object = {}): number[] => {
    const course = courseOf({
      replicas: 1,
      on: ['a'],
      pod: { terminationGracePeriodSeconds: grace },
      container: { lifecycle: { preStop: { sleep: { seconds: preStop } } } },
      timeline: { events: [{ at: 0, ...event }], ...timeline },
    })
    const { sigtermMs, killMs, exitMs } = course.pods[0]!
    return [sigtermMs, killMs, exitMs].map((ms) => ms / 1000)
  }

  test('preStop, then SIGTERM, then the rest of the grace period', () => {
    expect(end(20, 30)).toEqual([20, 30, 20])
  })

  test('a preStop beyond the grace period is cut off, and 2 s are left', () => {
    expect(end(40, 30)).toEqual([30, 32, 30])
    expect(end(29, 30)).toEqual([29, 31, 29])
  })

  test('a request that lasts is waited for until SIGKILL', () => {
    const slow = { workloads: { 'deployment/web': { requests: { duration: '5s' } } } }
    expect(end(20, 30, undefined, slow)).toEqual([20, 30, 25])
    expect(end(40, 30, undefined, slow)).toEqual([30, 32, 32])
  })

  test('force runs no hook', () => {
    expect(end(20, 30, { delete: 'p1', force: true })[2]).toBe(0)
  })
})

describe('probes', () => {
  const readiness = { periodSeconds: 10, failureThreshold: 3 }

  test('take a pod out after three failures in a row and back after one success', () => {
    const course = courseOf({
      on: ['a'],
      container: { readinessProbe: readiness },
      timeline: { events: [{ at: 100, unready: 'p1', for: '40s' }] },
    })
    // Of 10 s, ticks begin an hour ago at a phase of 5 s.
    expect(course.pods[0]!.endpoint.times.slice(1)).toEqual([120_000, 140_000])
  })

  test('with ticks at 5 s of each ten', async () => {
    const { FixedChance } = await import('../../src/rollout/chance.ts')
    const { STILL } = await import('./fixture.ts')
    const course = courseOf(
      {
        on: ['a'],
        container: { readinessProbe: readiness },
        timeline: { events: [{ at: 100, unready: 'p1', for: '40s' }] },
      },
      new FixedChance({ ...STILL, probe: 0.5 }),
    )
    expect(course.pods[0]!.endpoint.times.slice(1)).toEqual([125_000, 145_000])
  })

  test('a pod without one is ready before it listens', () => {
    const course = courseOf({
      replicas: 1,
      container: { readinessProbe: null },
      timeline: { events: [{ at: 0, scale: 'deployment/web', to: 2 }] },
    })
    const pod = course.pods[1]!
    expect(pod.endpoint.at(0) & ENDPOINT_READY).not.toBe(0)
    expect(pod.accept.times.slice(1)).toEqual([8000])
  })

  test('wait for the startup probe', () => {
    const course = courseOf({
      replicas: 1,
      startup: '12s',
      container: { readinessProbe: { periodSeconds: 30 }, startupProbe: { periodSeconds: 5, failureThreshold: 30 } },
      timeline: { events: [{ at: 0, scale: 'deployment/web', to: 2 }] },
    })
    expect(readyAt(course, 14.9)).toBe(1)
    expect(readyAt(course, 15)).toBe(2)
  })
})

describe('nodes', () => {
  test('a node that fails is missed after the grace period, and its pods are made anew 300 s later', () => {
    const course = courseOf({ replicas: 3, timeline: { events: [{ at: 100, fail: 'b' }] } })
    const lost = course.pods.find(({ node }) => node === 1)!
    expect(lost.endpoint.next(0, (value) => (value & ENDPOINT_READY) === 0)).toBe(150_000)
    expect(course.pods.at(-1)!.createdMs).toBe(450_000)
  })

  test('the autoscaler waits 5 s after its taint', () => {
    const course = courseOf({ replicas: 3, timeline: { events: [{ at: 10, taint: 'b', as: 'cluster-autoscaler' }] } })
    const evicted = course.pods.find(({ node }) => node === 1)!
    expect(evicted.deletedMs).toBe(15_000)
    expect(course.nodes[1]!.up.times[1]).toBe(16_000)
    expect(course.nodes[1]!.deleted.times[1]).toBe(21_000)
  })

  test('crashes: refused until it is seen, then started again', () => {
    const course = courseOf({ on: ['a'], timeline: { events: [{ at: 10, crash: 'deployment/web' }] } })
    const [pod] = course.pods
    expect(pod!.accept.times.slice(1)).toEqual([10_000, 18_000])
    expect(pod!.endpoint.times.slice(1)).toEqual([10_000, 18_000])
  })
})
