/** Nodes that are late, silent or on their way down: what is known of their pods, and what balancers hear. */
import { describe, expect, test } from 'vitest'
import type { UserError } from '../../src/errors.ts'
import { FixedChance } from '../../src/rollout/chance.ts'
import { createFate, Dialer, type Scene } from '../../src/rollout/dial.ts'
import { takeCourse } from '../../src/rollout/happenings.ts'
import { ENDPOINT_READY, ENDPOINT_SERVING, ENDPOINT_TERMINATING } from '../../src/rollout/pod.ts'
import { frontOf, sceneOf } from '../../src/rollout/scene.ts'
import { type Fixture, STILL, timelineOf, worldOf } from './fixture.ts'

function sceneFor(fixture: Fixture, minor = 34, endMs = 400_000): Scene {
  const { site, timeline } = worldOf(fixture, minor)
  const chance = new FixedChance(STILL)
  const course = takeCourse(site, timeline, chance)
  return sceneOf(course, site, timeline, frontOf(site, timeline, site.services[0]!), chance, endMs)
}

/** `100-140`: seconds in which a pod's endpoint is not ready; open at the end. */
function unready({ course }: Scene, pod: string): string {
  const { endpoint } = course.pods.find(({ name }) => name === pod)!
  const parts: string[] = []
  let since = -1
  endpoint.times.forEach((ms, i) => {
    const isReady = (endpoint.values[i]! & ENDPOINT_READY) !== 0
    if (!isReady && since < 0) since = ms
    if (isReady && since >= 0) {
      parts.push(`${since / 1000}-${ms / 1000}`)
      since = -1
    }
  })
  if (since >= 0) parts.push(`${since / 1000}-`)
  return parts.join(' ')
}

const TWO: Fixture = { replicas: 2, on: ['a', 'b'] }

describe('a node whose lease comes late: its API server is out of reach for 45 s', () => {
  const late = (grace: string): Scene =>
    sceneFor({
      ...TWO,
      timeline: { nodeMonitorGracePeriod: grace, events: [{ at: '100s', stop: 'heartbeat', node: 'b', for: '45s' }] },
    })

  test('with a grace period of 40 s its healthy pods leave the rules, and come back', () => {
    const scene = late('40s')
    expect(unready(scene, 'p2')).toBe('140-145')
    expect(unready(scene, 'p1')).toBe('')
    const fate = createFate()
    const dialer = new Dialer(scene, 'cluster', new FixedChance(STILL))
    for (let i = 0; i < 200; i++) {
      dialer.dial(i, 141_000 + i, fate)
      expect([fate.cause, scene.course.pods[fate.pod < 0 ? 0 : fate.pod]!.name]).toEqual([-1, 'p1'])
    }
  })

  test('with 50 s, as since 1.32, nothing happens', () => {
    expect(unready(late('50s'), 'p2')).toBe('')
  })

  test('for longer than the tolerated time its pods are replaced, and end when it is heard of again', () => {
    const scene = sceneFor({
      ...TWO,
      timeline: {
        nodeMonitorGracePeriod: '40s',
        tolerationSeconds: 30,
        events: [{ at: '100s', stop: 'heartbeat', node: 'b', for: '120s' }],
      },
    })
    const [, old] = scene.course.pods
    expect(scene.course.pods.length).toBe(3)
    expect(old!.deletedMs).toBeGreaterThanOrEqual(170_000)
    expect(old!.exitMs).toBeGreaterThanOrEqual(220_000)
    expect(Number.isFinite(old!.exitMs)).toBe(true)
  })
})

describe('syncs of kube-proxy that fail from 10 s on', () => {
  const stuck = (more: object = {}): Scene =>
    sceneFor({
      ...TWO,
      replicas: 1,
      on: ['a'],
      timeline: {
        loadBalancer: { profile: 'gke-l4', interval: 1, unhealthy: 1, healthy: 1, propagation: 0 },
        events: [
          { at: '10s', stop: 'sync', node: 'a', ...more },
          { at: '10s', scale: 'deployment/web', to: 2 },
        ],
      },
    })

  test('health checks fail 60 s after the change that cannot be written, though an endpoint is there', () => {
    const scene = stuck()
    // The change: the new pod's endpoint is listed at once.
    const changeMs = scene.sets[1]!.fromMs
    const { ofNode } = scene.targets!.local
    const outMs = ofNode[0]!.next(0, (isTarget) => isTarget === 0)
    expect(outMs - changeMs).toBeGreaterThanOrEqual(60_000)
    expect(outMs - changeMs).toBeLessThanOrEqual(61_000)
    expect(scene.rules[0]!.at(300_000)).toBe(0)
  })

  test('and pass again once they work', () => {
    const { ofNode } = stuck({ for: '100s' }).targets!.local
    const outMs = ofNode[0]!.next(0, (isTarget) => isTarget === 0)
    expect(ofNode[0]!.next(outMs, (isTarget) => isTarget === 1)).toBeGreaterThanOrEqual(110_000)
    expect(Number.isFinite(ofNode[0]!.next(outMs, (isTarget) => isTarget === 1))).toBe(true)
  })

  test('shorter than that nobody notices', () => {
    const { ofNode } = stuck({ for: '30s' }).targets!.local
    expect(ofNode[0]!.next(0, (isTarget) => isTarget === 0)).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('a graceful shutdown of a node, 20 s', () => {
  const shutdown = (seconds: number): Scene =>
    sceneFor({
      ...TWO,
      container: seconds > 0 ? { lifecycle: { preStop: { sleep: { seconds } } } } : {},
      pod: { terminationGracePeriodSeconds: 30 },
      timeline: { events: [{ at: '100s', shutdown: 'b', for: '20s' }] },
    })

  test('its pods end without having been deleted: ready until they have, so it costs as much as a crash', () => {
    const scene = shutdown(5)
    const pod = scene.course.pods[1]!
    expect([pod.sigtermMs, pod.exitMs]).toEqual([105_000, 105_000])
    expect(pod.endpoint.at(104_999) & ENDPOINT_READY).toBe(ENDPOINT_READY)
    expect(pod.endpoint.at(104_999) & ENDPOINT_TERMINATING).toBe(0)
    expect(pod.endpoint.at(106_500) & (ENDPOINT_READY | ENDPOINT_SERVING)).toBe(0)
  })

  test('a hook that is longer than the shutdown is cut off at its end', () => {
    expect(shutdown(60).course.pods[1]!.sigtermMs).toBe(120_000)
  })

  test('then the machine is off, and missed like one that failed', () => {
    const { course } = shutdown(0)
    expect(course.nodes[1]!.up.at(119_999)).toBe(1)
    expect(course.nodes[1]!.up.at(120_000)).toBe(0)
    expect(course.nodes[1]!.ready.at(171_000)).toBe(0)
  })
})

test.each([
  [
    [
      { at: 1, stop: 'sync', node: 'a', for: 10 },
      { at: 5, stop: 'sync', node: 'a', for: 1 },
    ],
    'sync on a has stopped already',
  ],
  [
    [
      { at: 1, shutdown: 'a', for: 10 },
      { at: 5, fail: 'a' },
    ],
    'node a is down already',
  ],
])('events that overlap are refused: %o', (events, message) => {
  try {
    timelineOf({ timeline: { events } })
  } catch (error) {
    expect((error as UserError).message).toBe(message)
    return
  }
  throw new Error('it was not refused')
})
