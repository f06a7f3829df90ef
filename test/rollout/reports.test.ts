/**
 * What people reported of real rollouts: direction, order of magnitude and cause, not their very numbers.
 *
 * Each row names the public thread, what was rolled behind what, and what a right answer shows.
 */
import { describe, expect, test } from 'vitest'
import type { Policy } from '../../src/rollout/balancer.ts'
import { countRuns, mean, type Tally } from '../../src/rollout/runs.ts'
import { frontOf } from '../../src/rollout/scene.ts'
import { type Fixture, worldOf } from './fixture.ts'

interface Report extends Fixture {
  readonly perSecond?: number
  readonly runs?: number
  readonly minor?: number
}

function tallyOf({ perSecond = 100, runs = 25, minor, ...fixture }: Report): Tally {
  const { site, timeline } = worldOf(
    { ...fixture, timeline: { controlPlane: 'small', clients: { synRetries: 0 }, ...fixture.timeline } },
    minor,
  )
  return countRuns({
    site,
    timeline,
    fronts: site.services.map((service) => frontOf(site, timeline, service)),
    perSecond,
    seed: 3,
    runs,
  })
}

function lost(report: Report, policy: Policy = 'cluster'): number {
  return mean(tallyOf(report).policies.find((one) => one.policy === policy)!.lost)
}

function share(report: Report, policy: Policy): number {
  const { lost, offered } = tallyOf(report).policies.find((one) => one.policy === policy)!
  return mean(lost) / mean(offered)
}

function causes(report: Report, policy: Policy = 'cluster'): string[] {
  const { losses } = tallyOf(report).policies.find((one) => one.policy === policy)!
  return [...new Set([...losses.values()].map(({ key }) => `${key.cause}: ${key.clientSees}`))].sort()
}

const sleep = (seconds: number, readinessProbe: object | null = { periodSeconds: 2 }): object => ({
  readinessProbe,
  ...(seconds > 0 ? { lifecycle: { preStop: { sleep: { seconds } } } } : {}),
})
const restart = (more: object = {}, kind = 'deployment'): object => ({
  events: [{ at: 10, rollout: `${kind}/web` }],
  ...more,
})
const NODES = ['a', 'b', 'c']

describe('DaemonSets behind Local', () => {
  const daemon = (loadBalancer: string, workload: object = {}): Report => ({
    kind: 'DaemonSet',
    nodes: NODES,
    workload,
    container: sleep(0),
    timeline: restart({ loadBalancer }, 'daemonset'),
  })

  test('kubernetes#114052, #132161: a rolling update fails some requests, on GCE more than on Azure, and none with maxSurge', () => {
    const gce = share(daemon('gce-ccm'), 'local')
    const azure = share(daemon('azure'), 'local')
    expect(gce).toBeGreaterThan(azure)
    expect(azure).toBeGreaterThan(0)
    // They saw 92.8 % and 94.2 % succeed.
    expect(gce).toBeLessThan(0.35)
    const surging = daemon('gce-ccm', { updateStrategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } })
    // What is left is kube-proxy's lag, which maxSurge cannot help.
    expect(share(surging, 'local')).toBeLessThan(0.01)
    expect(causes(surging, 'local').every((cause) => cause.startsWith('stale-rules'))).toBe(true)
  })

  test('kubernetes#85643, #50977: before 1.26 no preStop helps Local, since then one that outlasts the probes does', () => {
    const drain = (minor: number, seconds: number): Report => ({
      replicas: 3,
      on: NODES,
      minor,
      container: sleep(seconds),
      pod: { terminationGracePeriodSeconds: 120 },
      timeline: { events: [{ at: 10, drain: 'a' }], loadBalancer: 'gce-ccm' },
    })
    expect(lost(drain(25, 0), 'local')).toBeGreaterThan(100)
    expect(lost(drain(25, 60), 'local')).toBeGreaterThan(100)
    expect(lost(drain(28, 60), 'local')).toBe(0)
  })
})

describe('load balancers that know pods', () => {
  const behind = (profile: string, seconds: number, more: object = {}): Report => ({
    replicas: 2,
    on: ['a', 'b'],
    container: sleep(seconds),
    pod: { terminationGracePeriodSeconds: 300 },
    timeline: restart({ loadBalancer: { profile, readinessGate: true }, ...more }),
  })

  test('ingress-gce#2222: NEGs are a minute behind, so a preStop of 20 s is not enough, and 120 s is', () => {
    const report = behind('gke-neg', 20)
    // 100 a second, a third of them to each of two pods that end, for half a minute each.
    expect(lost(report)).toBeGreaterThan(500)
    expect(lost(report)).toBeLessThan(4000)
    expect(causes(report)).toEqual(['lb-stale-target: refused', 'lb-stale-target: timed out'])
    expect(lost(behind('gke-neg', 120))).toBe(0)
  })

  test('aws-load-balancer-controller#2366: NLB with pod targets sends for two minutes more', () => {
    expect(lost(behind('aws-nlb-ip', 60))).toBeGreaterThan(0)
    expect(lost(behind('aws-nlb-ip', 125))).toBe(0)
  })

  test('aws-load-balancer-controller#1064: ALB with pod targets needs some 25 s', () => {
    expect(lost(behind('aws-alb-ip', 5))).toBeGreaterThan(0)
    expect(lost(behind('aws-alb-ip', 26))).toBe(0)
  })

  test('application-gateway-kubernetes-ingress#75: a gateway that takes 40 s needs a preStop as long', () => {
    const gateway = (seconds: number): Report =>
      behind('gke-neg', seconds, {
        loadBalancer: { profile: 'gke-neg', deregister: '40s', register: '20s' },
      })
    expect(lost(gateway(10))).toBeGreaterThan(0)
    expect(lost(gateway(41))).toBe(0)
  })
})

describe('instance targets', () => {
  test('aws/containers-roadmap#470: NLB under Local goes on for half a minute after it has found a node unhealthy', () => {
    const nlb = (seconds: number): Report => ({
      replicas: 3,
      on: NODES,
      container: sleep(seconds),
      pod: { terminationGracePeriodSeconds: 120 },
      timeline: { events: [{ at: 10, drain: 'a' }], loadBalancer: 'aws-nlb' },
    })
    expect(lost(nlb(20), 'local')).toBeGreaterThan(500)
    expect(lost(nlb(60), 'local')).toBe(0)
    expect(lost(nlb(20), 'cluster')).toBe(0)
  })

  test('autoscaler#1907: a node without a pod is removed, and what it forwards is lost under Cluster only', () => {
    const removed: Report = {
      replicas: 2,
      on: ['a', 'b'],
      container: sleep(0),
      timeline: {
        events: [{ at: 40, taint: 'c', as: 'cluster-autoscaler' }],
        loadBalancer: 'gce-ccm',
        workloads: { 'deployment/web': { startup: '8s', requests: { duration: '15s' } } },
      },
    }
    expect(lost(removed)).toBeGreaterThan(100)
    expect(causes(removed)).toEqual(['ingress-node-gone: hung', 'ingress-node-gone: timed out'])
    expect(lost(removed, 'local')).toBe(0)
  })

  test('karpenter-provider-aws#4673: an NLB that is minutes behind sends to nodes that are gone', () => {
    const gone: Report = {
      replicas: 2,
      on: ['a', 'b'],
      container: sleep(0),
      timeline: {
        events: [
          Object.fromEntries([
            ['at', 40],
            ['drain', 'c'],
            ['then', 'delete'],
          ]),
        ],
        loadBalancer: { profile: 'aws-nlb', interval: 10, propagation: '180s', deregister: '180s' },
      },
    }
    // A third of 100 a second for three minutes.
    expect(lost(gone)).toBeGreaterThan(4000)
    expect(causes(gone)).toEqual(['ingress-node-gone: timed out'])
  })
})

describe('inside the cluster', () => {
  test('ingress-nginx#322: a controller that stops listening at once is refused for a moment, and a short preStop is enough', () => {
    const controller = (seconds: number): Report => ({
      replicas: 2,
      workload: { minReadySeconds: 10 },
      container: sleep(seconds),
      perSecond: 26,
      runs: 60,
      service: { type: 'ClusterIP' },
      timeline: restart(),
    })
    // They had 2 failures of 1,180 in about half a second.
    expect(lost(controller(0))).toBeGreaterThan(0.5)
    expect(lost(controller(0))).toBeLessThan(13)
    expect(lost(controller(3))).toBe(0)
  })

  test('kube-router#589: without a readinessProbe a new pod is sent to while it starts', () => {
    const report = (readinessProbe: object | null): Report => ({
      replicas: 3,
      workload: { strategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } },
      container: sleep(5, readinessProbe),
      startup: '12s',
      service: { type: 'ClusterIP' },
      timeline: restart(),
    })
    expect(lost(report(null))).toBeGreaterThan(500)
    expect(causes(report(null))).toContain('not-listening-yet: refused')
    expect(lost(report({ periodSeconds: 2 }))).toBe(0)
  })

  test('devantler-tech/platform#1775: one client with ClientIP affinity loses all or nothing', () => {
    const pinned = (clients: number): Report => ({
      replicas: 4,
      container: sleep(0),
      runs: 40,
      service: { type: 'ClusterIP', sessionAffinity: 'ClientIP' },
      timeline: restart({ controlPlane: { profile: 'small', sync: '2s', minSync: '0s' }, traffic: { clients } }),
    })
    const deviation = (report: Report): number => {
      const { lost: column } = tallyOf(report).policies[0]!
      const m = mean(column)
      return Math.sqrt(mean(column.map((value) => (value - m) ** 2))) / m
    }
    expect(deviation(pinned(1))).toBeGreaterThan(3 * deviation(pinned(1000)))
  })

  test('grpc-go#4650, voi-oss/svc#14: headless clients that hold answers lose until they ask again', () => {
    const headless = (seconds: number, dns: unknown): Report => ({
      replicas: 2,
      container: sleep(seconds),
      pod: { terminationGracePeriodSeconds: 90 },
      service: { type: 'ClusterIP', clusterIP: 'None' },
      timeline: restart({ clients: { synRetries: 0, dns } }),
    })
    expect(lost(headless(0, '30s'))).toBeGreaterThan(500)
    expect(lost(headless(36, '30s'))).toBe(0)
    // One that never asks again is not helped by waiting.
    expect(lost(headless(36, 'never'))).toBeGreaterThan(500)
  })

  test('gardener#10223: a kubelet that is late by 45 s costs its pods with a grace of 40 s, and nothing with 50', () => {
    const late = (nodeMonitorGracePeriod: string): Report => ({
      replicas: 3,
      on: NODES,
      container: sleep(0),
      service: { type: 'ClusterIP' },
      timeline: { events: [{ at: 10, fail: 'a', back: '45s' }], nodeMonitorGracePeriod },
    })
    expect(lost(late('40s'))).toBeLessThan(lost(late('50s')))
  })
})

describe('resets', () => {
  test('wso2/api-platform#2121: what is lost are the connections in use, not a rate', () => {
    const gateway = (onSigterm: object): Report => ({
      replicas: 2,
      container: sleep(15),
      service: { type: 'ClusterIP' },
      timeline: restart({ workloads: { 'deployment/web': { startup: '8s', requests: { mean: '500ms' }, onSigterm } } }),
    })
    // The pod has got nothing for 15 s: of requests of half a second none is left.
    expect(lost(gateway({ inFlight: 'abort' }))).toBe(0)
    const busy = (onSigterm: object): Report => ({ ...gateway(onSigterm), container: sleep(0) })
    // Half of 100 a second for half a second, on each of two pods.
    expect(lost(busy({ inFlight: 'abort' }))).toBeGreaterThan(lost(busy({ inFlight: 'finish' })) + 20)
    expect(causes(busy({ inFlight: 'abort' }))).toContain('closed-by-app: reset')
  })
})
