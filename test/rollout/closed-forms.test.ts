/** Many runs against what can be worked out with pencil and paper: counts within four standard deviations. */
import { describe, expect, test } from 'vitest'
import type { Policy } from '../../src/rollout/balancer.ts'
import { Chance } from '../../src/rollout/chance.ts'
import { takeCourse } from '../../src/rollout/happenings.ts'
import { countRuns, mean, type Tally } from '../../src/rollout/runs.ts'
import { frontOf } from '../../src/rollout/scene.ts'
import { type Fixture, worldOf } from './fixture.ts'

function tallyOf(fixture: Fixture, perSecond: number, runs: number): Tally {
  const { site, timeline } = worldOf({ ...fixture, timeline: { clients: { synRetries: 0 }, ...fixture.timeline } })
  const fronts = site.services.map((service) => frontOf(site, timeline, service))
  return countRuns({ site, timeline, fronts, perSecond, seed: 1, runs })
}

/** Mean of a policy's losses over the runs, and four standard errors of it. */
function lost(tally: Tally, policy: Policy): { readonly mean: number; readonly within: number } {
  const column = tally.policies.find((one) => one.policy === policy)!.lost
  const m = mean(column)
  const variance = column.reduce((sum, value) => sum + (value - m) ** 2, 0) / (column.length - 1)
  return { mean: m, within: 4 * Math.sqrt(variance / column.length) + 1e-9 }
}

function expectNear(found: { readonly mean: number; readonly within: number }, wanted: number): void {
  expect(Math.abs(found.mean - wanted), `${found.mean} ± ${found.within} against ${wanted}`).toBeLessThanOrEqual(
    found.within,
  )
}

const sleep = (seconds: number): object => ({ lifecycle: { preStop: { sleep: { seconds } } } })
const nodes = ['a', 'b', 'c', 'd']

describe('stale rules', () => {
  test.each([
    [2, 0, 1, 50],
    [2, 0, 3, 150],
    [4, 0, 3, 75],
    [4, 2, 3, 25],
    [4, 3, 3, 0],
  ])('one of %i pods, preStop %i s, rules %i s late: rate / n × (lag - preStop)', (replicas, preStop, lag, wanted) => {
    const tally = tallyOf(
      {
        replicas,
        on: nodes.slice(0, replicas),
        nodes,
        container: sleep(preStop),
        service: { type: 'ClusterIP' },
        timeline: {
          events: [{ at: 10, delete: 'p1' }],
          controlPlane: { profile: 'ideal', sync: `${lag}s` },
          duration: '20s',
        },
      },
      100,
      30,
    )
    if (wanted === 0) expect(lost(tally, 'cluster').mean).toBe(0)
    else expectNear(lost(tally, 'cluster'), wanted)
  })

  test.each([3, 8])('a whole rollout of %i pods costs rate × lag, whatever their number', (replicas) => {
    const strategy = { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } }
    const tally = tallyOf(
      {
        replicas,
        nodes,
        workload: { strategy },
        service: { type: 'ClusterIP' },
        timeline: {
          events: [{ at: 10, rollout: 'deployment/web' }],
          controlPlane: { profile: 'ideal', sync: '500ms' },
        },
      },
      100,
      40,
    )
    // Rules of the new pod come as late as those of the old one go: n pods are in the rules.
    expectNear(lost(tally, 'cluster'), 100 * 0.5)
  })
})

describe('Local and the balancer', () => {
  // 100 a second on four nodes; a pod ends without a word and its replacement may not run on its node.
  const trial = (loadBalancer: object, preStop: number): Tally =>
    tallyOf(
      {
        replicas: 4,
        on: nodes,
        nodes,
        container: sleep(preStop),
        pod: { terminationGracePeriodSeconds: 100 },
        timeline: {
          events: [{ at: 10, drain: 'a' }],
          controlPlane: { profile: 'ideal', sync: '200ms' },
          loadBalancer: { timeout: 1, healthy: 1, ...loadBalancer },
        },
      },
      100,
      60,
    )
  /** λ a node × [((kI + d - A)+)² - (((k-1)I + d - A)+)²] / 2I */
  const wanted = (interval: number, k: number, d: number, a: number): number =>
    (25 * (Math.max(0, k * interval + d - a) ** 2 - Math.max(0, (k - 1) * interval + d - a) ** 2)) / (2 * interval)

  test.each([
    [3, 2, 0],
    [3, 2, 5],
    [5, 2, 5],
    [10, 2, 10],
    [8, 3, 15],
    [10, 6, 30],
  ])('probes of %i s, %i failures, preStop %i s', (interval, unhealthy, preStop) => {
    const tally = trial({ interval, unhealthy }, preStop)
    // Rules that are 0.2 s late still name the pod when it stops at once: those are refused, and count as well.
    expectNear(lost(tally, 'local'), wanted(interval, unhealthy, 0.2, preStop))
  })

  test('what the balancer needs on top', () => {
    expectNear(lost(trial({ interval: 10, unhealthy: 2, propagation: '35s' }, 30), 'local'), wanted(10, 2, 35.2, 30))
  })

  test('is nothing once preStop is as long as it takes', () => {
    expect(lost(trial({ interval: 3, unhealthy: 2 }, 7), 'local').mean).toBe(0)
  })
})

describe('a node that dies', () => {
  test('Cluster loses far more than Local', () => {
    const tally = tallyOf(
      {
        replicas: 8,
        on: [...nodes, ...nodes],
        nodes,
        timeline: {
          events: [{ at: 10, fail: 'a' }],
          duration: '100s',
          loadBalancer: { interval: 4, unhealthy: 2, timeout: 1, cluster: { interval: 4, unhealthy: 2, timeout: 1 } },
        },
      },
      200,
      60,
    )
    // Out after (k - ½) × 4 s and a second; missed after 50 s - U(0, 10) + U(0, 5).
    const out = 1.5 * 4 + 1
    const missed = 47.5
    expectNear(lost(tally, 'local'), (200 / 4) * out)
    // By the dead node while it is a target; by the others a quarter of what they get.
    const cluster = 200 * ((1 / 4) * out + (2 / 8) * (missed - out / 4))
    expectNear(lost(tally, 'cluster'), cluster)
  })
})

describe('headless names', () => {
  test.each([
    [30, 0],
    [30, 20],
    [5, 2],
  ])('a TTL of %i s, preStop %i s', (ttl, preStop) => {
    const tally = tallyOf(
      {
        replicas: 2,
        on: ['a', 'b'],
        container: sleep(preStop),
        service: { type: 'ClusterIP', clusterIP: 'None' },
        timeline: { events: [{ at: 50, delete: 'p1' }], clients: { synRetries: 0, dns: `${ttl}s` }, duration: '100s' },
      },
      100,
      25,
    )
    // (λ / n) × ((T - A)+)² / 2T; the new pod comes into answers at 8 s, and every answer that has the old one has two.
    expectNear(lost(tally, 'cluster'), (50 * Math.max(0, ttl - preStop) ** 2) / (2 * ttl))
  })
})

describe('requests that are cut off', () => {
  test('exponential ones at SIGKILL: rate / n × mean × exp(- what is left / mean)', () => {
    const tally = tallyOf(
      {
        replicas: 2,
        on: ['a', 'b'],
        pod: { terminationGracePeriodSeconds: 14 },
        container: sleep(10),
        service: { type: 'ClusterIP' },
        timeline: {
          events: [{ at: 60, delete: 'p1' }],
          workloads: { 'deployment/web': { startup: '8s', requests: { mean: '3s' } } },
          duration: '100s',
        },
      },
      100,
      40,
    )
    // Nothing comes to the pod once it is deleted: 14 s from the last to SIGKILL.
    expectNear(lost(tally, 'cluster'), 50 * 3 * Math.exp(-14 / 3))
  })
})

describe('how long a rollout takes', () => {
  test.each([
    [10, '25%', '25%', 2],
    [10, 3, 0, 4],
    [7, 1, 1, 4],
  ])('%i pods, surge %s, unavailable %s: %i waves', (replicas, maxSurge, maxUnavailable, waves) => {
    const { site, timeline } = worldOf({
      replicas,
      workload: { strategy: { rollingUpdate: { maxSurge, maxUnavailable } }, minReadySeconds: 2 },
      timeline: { events: [{ at: 10, rollout: 'deployment/web' }] },
    })
    expect(takeCourse(site, timeline, new Chance(1, 0)).rolloutMs).toBe(waves * 10_000)
  })
})

describe('connections that clients keep open', () => {
  const kept = (strategy: object, replicas: number): { breaks: number; most: number } => {
    const { longLived } = tallyOf(
      {
        replicas,
        nodes,
        workload: { strategy: { rollingUpdate: strategy } },
        container: sleep(1),
        service: { type: 'ClusterIP' },
        timeline: { events: [{ at: 10, rollout: 'deployment/web' }] },
      },
      1,
      20,
    )
    const own = longLived.filter(({ policy }) => policy === 'cluster')
    const average = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length
    return { breaks: average(own.map((one) => one.breaks)), most: average(own.map((one) => one.mostOverFair)) }
  }

  test.each([4, 10])(
    '%i pods one at a time: (1 + 1/N)^N - 1 breaks each, the first new pod with as much more at the end',
    (n) => {
      const { breaks, most } = kept({ maxSurge: 1, maxUnavailable: 0 }, n)
      // 8,000 connections; each breaks some 0.6 to 0.7 times around the mean.
      expect(Math.abs(breaks - ((1 + 1 / n) ** n - 1))).toBeLessThan(4 * (0.75 / Math.sqrt(8000)))
      expect(Math.abs(most - ((1 + 1 / n) ** n - 1))).toBeLessThan(0.15)
    },
  )

  test('all at once: one break each, and even shares', () => {
    const { breaks, most } = kept({ maxSurge: '100%', maxUnavailable: 0 }, 4)
    expect(breaks).toBe(1)
    expect(most).toBeLessThan(1.2)
  })
})
