/**
 * What changes cost in connections: concrete cases, given → when → expect.
 *
 * Unless a row says otherwise: nodes a, b, c; a Service of type LoadBalancer; all lags 0 but the one that is named; probes of the balancer at whole
 * multiples of their interval; the process ends at once on SIGTERM; 10 connections a second for each node from outside, at .05, .15, ...
 */
import { describe, expect, test } from 'vitest'
import type { Policy } from '../../src/rollout/balancer.ts'
import { CAUSES, type Cause, SIGHTS } from '../../src/rollout/causes.ts'
import { FixedChance } from '../../src/rollout/chance.ts'
import { createFate, Dialer } from '../../src/rollout/dial.ts'
import { takeCourse } from '../../src/rollout/happenings.ts'
import { frontOf, sceneOf } from '../../src/rollout/scene.ts'
import { type Fixture, STILL, worldOf } from './fixture.ts'

interface Lost {
  readonly s: number
  readonly cause: Cause
  readonly sees: string
  readonly node: string
  readonly pod: string
  readonly lost: boolean
}

const SIGHT_NAMES = SIGHTS as readonly string[]

/** Nodes in turn, as the balancer has them, so that each gets the same share; endpoints by hash. */
class InTurn extends FixedChance {
  readonly #nodes: number
  constructor(nodes: number, units: Record<string, number> = {}) {
    super({ ...STILL, ...units }, 7)
    this.#nodes = nodes
  }
  override at(purpose: number, index: number): number {
    return purpose === 0x1001 ? ((index % this.#nodes) + 0.5) / 2 ** 32 : super.at(purpose, index)
  }
}

interface Trial extends Fixture {
  /** Seconds from and to, and how many a second for all nodes together. */
  readonly arrivals?: readonly [from: number, to: number, perSecond: number]
  readonly policy?: Policy
  readonly minor?: number
  readonly units?: Record<string, number>
}

function losses(trial: Trial): Lost[] {
  const { site, timeline } = worldOf(
    { ...trial, timeline: { clients: { synRetries: 0 }, ...trial.timeline } },
    trial.minor,
  )
  const chance = new InTurn(3, trial.units)
  const course = takeCourse(site, timeline, chance)
  const [from, to, perSecond] = trial.arrivals ?? [0, 40, 30]
  const scene = sceneOf(course, site, timeline, frontOf(site, timeline, site.services[0]!), chance, (to + 120) * 1000)
  const dialer = new Dialer(scene, trial.policy ?? 'cluster', chance)
  const fate = createFate()
  const found: Lost[] = []
  const perNode = perSecond / 3
  for (let i = 0; ; i++) {
    const ms = Math.round(from * 1000 + (Math.floor(i / 3) + 0.5) * (1000 / perNode))
    if (ms >= to * 1000) break
    dialer.dial(i, ms, fate)
    if (fate.cause < 0) continue
    found.push({
      s: ms / 1000,
      cause: CAUSES[fate.cause]!,
      sees: SIGHT_NAMES[fate.sight]!,
      node: course.nodes[fate.node]?.name ?? '',
      pod: course.pods[fate.pod]?.name ?? '',
      lost: fate.lost,
    })
  }
  return found
}

function span(found: readonly Lost[]): readonly [from: number, to: number] | null {
  return found.length === 0 ? null : [found[0]!.s, found.at(-1)!.s]
}

const sleep = (seconds: number): object => ({ lifecycle: { preStop: { sleep: { seconds } } } })
const LAG = { profile: 'ideal', sync: '500ms' }
const GKE = { controlPlane: 'ideal', loadBalancer: { interval: 3, unhealthy: 2, healthy: 1, timeout: 1 } }
const deletion = (at: number, more: object = {}): object => ({ events: [{ at, delete: 'p1' }], ...more })

describe('rules that are behind', () => {
  const trial = (container: object, more: object = {}): Trial => ({
    replicas: 2,
    on: ['a', 'b'],
    container,
    service: { type: 'ClusterIP' },
    arrivals: [9.5, 11, 300],
    timeline: deletion(10, { controlPlane: LAG, ...more }),
  })

  test('a pod that ends at once is refused for as long as the rules name it', () => {
    const found = losses(trial({}))
    expect(found.every((one) => one.cause === 'stale-rules' && one.sees === 'refused' && one.pod === 'p1')).toBe(true)
    expect(span(found)![0]).toBeGreaterThanOrEqual(10)
    expect(span(found)![1]).toBeLessThan(10.5)
    // Of 150 half go to the pod: four standard deviations are 24.
    expect(Math.abs(found.length - 75)).toBeLessThan(25)
  })

  test('a preStop that outlasts the lag loses nothing', () => {
    expect(losses(trial(sleep(1)))).toEqual([])
  })

  test('a process that accepts for a while after SIGTERM is as good as a hook', () => {
    const workloads = {
      'deployment/web': { startup: '8s', requests: { duration: 0 }, onSigterm: { accept: 'keep', exitAfter: '400ms' } },
    }
    const found = losses(trial({}, { workloads }))
    expect(span(found)![0]).toBeGreaterThanOrEqual(10.4)
    expect(span(found)![1]).toBeLessThan(10.5)
  })

  test('with ClientIP affinity all connections of a pinned client are lost, and others none', () => {
    const found = losses({
      ...trial({}),
      service: { type: 'ClusterIP', sessionAffinity: 'ClientIP' },
      timeline: deletion(10, { controlPlane: LAG, traffic: { clients: 1 } }),
    })
    const nodes = new Set(found.map(({ node }) => node))
    // A client's choice is made on each node of its own; of each that chose the pod all 50 are lost.
    expect(found).toHaveLength(50 * nodes.size)
  })
})

describe('the fallback to pods that are ending', () => {
  test('scaled to nothing: served until they stop, refused from then on', () => {
    const found = losses({
      replicas: 2,
      on: ['a', 'b'],
      container: sleep(20),
      timeline: { events: [{ at: 10, scale: 'deployment/web', to: 0 }], loadBalancer: 'gce-ccm' },
      arrivals: [0, 32, 30],
    })
    expect(span(found)![0]).toBeGreaterThanOrEqual(30)
    expect(found.every(({ cause, sees }) => cause === 'no-endpoint' && sees === 'refused')).toBe(true)
    expect(found).toHaveLength(60)
  })

  const local: Trial = {
    replicas: 2,
    on: ['a', 'b'],
    policy: 'local',
    container: sleep(20),
    workload: { replicas: 2 },
    // Nobody takes the node out.
    timeline: deletion(10, { loadBalancer: { interval: 1000 } }),
    arrivals: [9, 29, 30],
  }

  test('under Local the pod goes on serving its node', () => {
    expect(losses(local).filter(({ node }) => node === 'a')).toEqual([])
  })

  test('before 1.26 its node drops from the first sync on', () => {
    const found = losses({ ...local, minor: 25 }).filter(({ node }) => node === 'a')
    expect(span(found)).toEqual([10.05, 28.95])
    expect(found[0]).toMatchObject({ cause: 'no-local-endpoint', sees: 'timed out' })
  })
})

describe('a load balancer that probes', () => {
  const trial = (at: number, container: object, more: object = {}): Trial => ({
    replicas: 2,
    on: ['a', 'b'],
    nodes: ['a', 'b', 'c'],
    policy: 'local',
    container,
    timeline: { ...GKE, ...deletion(at), ...more },
  })

  test.each([
    [10.0, 15],
    [11.9, 15],
    [12.1, 18],
  ])('the last pod of a node is deleted at %s: nothing arrives from %s on', (at, out) => {
    // Without a hook what is lost shows until when connections came.
    const found = losses({ ...trial(at, {}), replicas: 1, workload: { replicas: 2 } }).filter(
      ({ node }) => node === 'a',
    )
    expect(Math.max(...found.map(({ s }) => s))).toBeLessThan(out)
    expect(Math.max(...found.map(({ s }) => s))).toBeGreaterThan(out - 0.2)
    expect(losses(trial(at, sleep(30)))).toEqual([])
  })

  /** Three pods on three nodes, so that every node is a target at first; what replaces the first goes elsewhere. */
  const three: Trial = {
    replicas: 3,
    on: ['a', 'b', 'c'],
    policy: 'local',
    timeline: { ...GKE, events: [{ at: 9.9, drain: 'a' }] },
  }

  test('without preStop what it still sends is dropped', () => {
    const found = losses(three)
    expect(found).toHaveLength(51)
    expect(
      found.every(({ cause, sees, node }) => cause === 'no-local-endpoint' && sees === 'timed out' && node === 'a'),
    ).toBe(true)
    expect(losses({ ...three, policy: 'cluster' })).toEqual([])
  })

  test('a client that sends its SYN again is late, not lost', () => {
    const found = losses({ ...three, timeline: { ...three.timeline, clients: { synRetries: 6 } } })
    expect(found).toHaveLength(51)
    expect(found.every(({ lost, sees }) => !lost && sees === 'slow')).toBe(true)
  })

  test('a replacement on the same node before it notices: dropped until then, and it never notices', () => {
    const found = losses({
      kind: 'DaemonSet',
      policy: 'local',
      timeline: {
        controlPlane: 'ideal',
        loadBalancer: { interval: 8, unhealthy: 3, healthy: 1, timeout: 1 },
        events: [{ at: 10, delete: 'ds/web', pods: 1 }],
      },
    })
    expect(found).toHaveLength(80)
    expect(span(found)).toEqual([10.05, 17.95])
  })
})

describe('a DaemonSet behind Local', () => {
  const roll = (workload: object, seconds: number): Lost[] =>
    losses({
      kind: 'DaemonSet',
      policy: 'local',
      workload,
      container: sleep(seconds),
      timeline: { ...GKE, events: [{ at: 10, rollout: 'ds/web' }] },
      arrivals: [0, 90, 30],
    })

  test('loses nothing when preStop outlasts the balancer', () => {
    expect(roll({}, 7)).toEqual([])
    expect(roll({}, 1).length).toBeGreaterThan(0)
  })

  test('or with maxSurge, when nothing at all is waited for', () => {
    expect(roll({ updateStrategy: { rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } } }, 0)).toEqual([])
  })
})

describe('pods that come', () => {
  test('without a readinessProbe half of the connections are refused until it listens', () => {
    const trial: Trial = {
      replicas: 1,
      on: ['a'],
      service: { type: 'ClusterIP' },
      timeline: { events: [{ at: 5, scale: 'deployment/web', to: 2 }] },
      arrivals: [0, 20, 60],
    }
    const found = losses({ ...trial, container: { readinessProbe: null } })
    expect(found.every(({ cause, sees }) => cause === 'not-listening-yet' && sees === 'refused')).toBe(true)
    expect(span(found)![0]).toBeGreaterThanOrEqual(5)
    expect(span(found)![1]).toBeLessThan(13)
    // Of 480 half: four standard deviations are 44.
    expect(Math.abs(found.length - 240)).toBeLessThan(45)
    expect(losses(trial)).toEqual([])
  })
})

describe('nodes that die', () => {
  const crash: Trial = {
    replicas: 3,
    on: ['a', 'b', 'c'],
    timeline: { events: [{ at: 100, fail: 'b' }], loadBalancer: { interval: 3, unhealthy: 2, timeout: 1 } },
    arrivals: [90, 170, 300],
  }

  test('from pods: a third times out until the node is missed', () => {
    const found = losses({ ...crash, service: { type: 'ClusterIP' } })
    expect(found.every(({ cause, sees }) => cause === 'node-gone' && sees === 'timed out')).toBe(true)
    expect(span(found)![0]).toBeGreaterThanOrEqual(100)
    expect(span(found)![1]).toBeLessThan(150)
    // 15,000 in 50 s.
    expect(Math.abs(found.length - 5000)).toBeLessThan(4 * Math.sqrt((15_000 * 2) / 9))
  })

  test('from outside under Local only what the balancer still sends there', () => {
    const found = losses({ ...crash, policy: 'local' })
    // Probes at 102 and 105, each a second until it is given up.
    expect(span(found)![1]).toBeLessThan(106)
    expect(found.every(({ node }) => node === 'b')).toBe(true)
    expect(losses(crash).length).toBeGreaterThan(5 * found.length)
  })

  test('a SYN that was sent to a dead pod stays with it when it is sent again', () => {
    const found = losses({
      ...crash,
      service: { type: 'ClusterIP' },
      timeline: { ...crash.timeline, clients: { synRetries: 6 } },
    })
    expect(found.every(({ lost }) => lost)).toBe(true)
  })
})

describe('connections that are open', () => {
  const open = (more: object, container: object = {}, trial: Partial<Trial> = {}): Lost[] =>
    losses({
      replicas: 1,
      on: ['a'],
      pod: { terminationGracePeriodSeconds: 30 },
      container,
      service: { type: 'ClusterIP' },
      timeline: deletion(40, more),
      arrivals: [0, 40, 30],
      ...trial,
    })
  const requests = (duration: string, onSigterm: object = {}): object => ({
    workloads: { 'deployment/web': { startup: 0, requests: { duration }, onSigterm } },
  })

  test('are finished within the grace period, and cut off at its end', () => {
    expect(open(requests('5s'), sleep(20))).toEqual([])
    // SIGTERM at 30 s after the deletion, SIGKILL 2 s later: what began less than 32 - 35 s before is cut off.
    const found = open(requests('35s'), sleep(40))
    expect(found.every(({ cause, sees, lost }) => cause === 'killed-in-flight' && sees === 'reset' && lost)).toBe(true)
    expect(span(found)![0]).toBeGreaterThan(37)
  })

  test('or broken off at once by a process that does not wait', () => {
    const found = open(requests('5s', { inFlight: 'abort' }))
    expect(found[0]).toMatchObject({ cause: 'closed-by-app', sees: 'reset' })
    expect(span(found)).toEqual([35.05, 39.95])
  })

  const outside: Partial<Trial> = {
    kind: 'Deployment',
    replicas: 3,
    on: ['a', 'b', 'c'],
    policy: 'local',
    service: {},
    arrivals: [0, 9, 30],
    container: sleep(25),
  }
  const drain = (onUnhealthy: string): object => ({
    ...requests('15s'),
    ...GKE,
    loadBalancer: { interval: 3, unhealthy: 2, onUnhealthy },
    events: [{ at: 9.9, drain: 'a' }],
  })

  test('are reset by a balancer that does so with what is open to an unhealthy target', () => {
    const found = open({}, {}, { ...outside, timeline: drain('reset') })
    expect(found.length).toBeGreaterThan(0)
    expect(found.every(({ cause, sees, node }) => cause === 'lb-reset' && sees === 'reset' && node === 'a')).toBe(true)
    expect(open({}, {}, { ...outside, timeline: drain('keep') })).toEqual([])
  })

  test('that pass a node which is taken away hang under Cluster, and Local has none of them', () => {
    // Node c has no pod: it is only a way in.
    const trial: Partial<Trial> = {
      replicas: 2,
      on: ['a', 'b'],
      service: {},
      arrivals: [0, 10, 30],
      timeline: {
        ...requests('20s'),
        loadBalancer: 'gce-ccm',
        events: [{ at: 10, taint: 'c', as: 'cluster-autoscaler' }],
      },
    }
    const found = open({}, {}, trial)
    expect(found.length).toBeGreaterThan(0)
    expect(
      found.every(({ cause, sees, node }) => cause === 'ingress-node-gone' && sees === 'hung' && node === 'c'),
    ).toBe(true)
    expect(open({}, {}, { ...trial, policy: 'local' })).toEqual([])
  })

  test('of an address that moves to another node are reset', () => {
    const found = open(
      {},
      {},
      {
        ...outside,
        policy: 'cluster',
        timeline: {
          ...requests('20s'),
          loadBalancer: 'metallb-l2',
          events: ['a', 'b'].map((node) => ({ at: 9.9, fail: node })),
        },
      },
    )
    // Whichever of the three spoke for the address: either it did not move, or all that is open is broken.
    const causes = new Set(found.map(({ cause }) => cause))
    for (const cause of causes) expect(['ingress-node-gone', 'node-gone', 'path-moved']).toContain(cause)
    expect(found.length).toBeGreaterThan(0)
  })
})

describe('names', () => {
  const headless = (corefile: number, container: object = {}, dns: unknown = 'ttl'): Lost[] =>
    losses({
      replicas: 2,
      on: ['a', 'b'],
      container,
      service: { type: 'ClusterIP', clusterIP: 'None' },
      timeline: deletion(10, { clients: { synRetries: 0, dns } }),
      arrivals: [0, 60, 60],
      more: [
        {
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: { name: 'coredns', namespace: 'kube-system' },
          data: { Corefile: `.:53 {\n  kubernetes cluster.local {\n    ttl ${corefile}\n  }\n}\n` },
        },
      ],
    })

  test.each([
    [30, 40],
    [5, 15],
  ])('with a TTL of %i s the pod is asked for until %i s', (ttl, until) => {
    const found = headless(ttl)
    expect(found.every(({ cause, pod }) => cause === 'stale-dns' && pod === 'p1')).toBe(true)
    expect(span(found)![1]).toBeLessThan(until)
    expect(span(found)![1]).toBeGreaterThan(until - 3)
  })

  test('a preStop longer than the TTL loses nothing, unless a client never asks again', () => {
    expect(headless(5, sleep(6))).toEqual([])
    expect(headless(5, sleep(6), 'never').length).toBeGreaterThan(0)
  })
})

describe('pods as targets', () => {
  const neg = (seconds: number): Lost[] =>
    losses({
      replicas: 2,
      on: ['a', 'b'],
      container: sleep(seconds),
      pod: { terminationGracePeriodSeconds: 200 },
      timeline: { ...GKE, loadBalancer: { profile: 'gke-neg', interval: 600 }, events: [{ at: 10, delete: 'p1' }] },
      arrivals: [0, 150, 60],
    })

  test('are sent to until the balancer has taken them out, whatever the rules say', () => {
    const found = neg(20)
    expect(found.every(({ cause, pod }) => cause === 'lb-stale-target' && pod === 'p1')).toBe(true)
    expect(span(found)![0]).toBeGreaterThanOrEqual(30)
    expect(span(found)![1]).toBeLessThan(70)
    expect(neg(60)).toEqual([])
  })
})

describe('a kube-proxy that has stopped', () => {
  test('its node keeps the rules that it had, and fails health checks', () => {
    const found = losses({
      replicas: 2,
      on: ['a', 'b'],
      service: { type: 'ClusterIP' },
      timeline: {
        events: [
          { at: 5, stop: 'kube-proxy', node: 'c', for: '30s' },
          { at: 10, delete: 'p1' },
        ],
      },
      arrivals: [0, 50, 60],
    })
    expect(found.every(({ node, cause }) => node === 'c' && cause === 'stale-rules')).toBe(true)
    expect(span(found)![1]).toBeLessThan(35)
    expect(span(found)![1]).toBeGreaterThan(34)
  })
})

describe('behind ingress-nginx', () => {
  const ingress = {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name: 'web' },
    spec: {
      ingressClassName: 'nginx',
      rules: [
        {
          http: {
            paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'web', port: { number: 80 } } } }],
          },
        },
      ],
    },
  }
  const behind = (trial: Trial): Lost[] =>
    losses({ on: ['a', 'b'], replicas: 2, service: { type: 'ClusterIP' }, more: [ingress], ...trial })

  test('a pod that is refused is hidden by another try', () => {
    expect(behind({ timeline: deletion(10), arrivals: [0, 30, 300] })).toEqual([])
  })

  test('with one try it is not, until the workers have heard of it: a second at most for a lone change', () => {
    const annotated = {
      ...ingress,
      metadata: { name: 'web', annotations: { 'nginx.ingress.kubernetes.io/proxy-next-upstream': 'off' } },
    }
    const found = behind({ timeline: deletion(10), more: [annotated], arrivals: [0, 30, 300], units: { poll: 0.9 } })
    expect(found.every(({ cause, sees, pod }) => cause === 'ingress-502' && sees === '502' && pod === 'p1')).toBe(true)
    expect(span(found)![0]).toBeGreaterThanOrEqual(10)
    expect(span(found)![1]).toBeLessThan(10.9)
  })

  test('with all pods ending there is no fallback: 503, where the Service itself would deliver', () => {
    const trial: Trial = {
      container: sleep(20),
      timeline: { events: [{ at: 10, scale: 'deployment/web', to: 0 }] },
      arrivals: [0, 29, 60],
    }
    const found = behind(trial)
    expect(found.every(({ cause, sees }) => cause === 'ingress-503' && sees === '503')).toBe(true)
    expect(span(found)![0]).toBeLessThan(11.1)
    expect(losses({ ...trial, on: ['a', 'b'], replicas: 2, service: { type: 'ClusterIP' } })).toEqual([])
  })

  test('a pod on a node that is gone costs the connect timeout, and another pod answers', () => {
    const found = behind({ timeline: { events: [{ at: 10, fail: 'a' }] }, arrivals: [0, 30, 60] })
    expect(found.length).toBeGreaterThan(0)
    expect(found.every(({ lost, sees, cause }) => !lost && sees === 'slow' && cause === 'node-gone')).toBe(true)
  })
})

describe('routes by BGP', () => {
  /** 1,200 flows from outside over four nodes that all announce the address, open when the last one stops. */
  const broken = (hashing: string): number => {
    const { site, timeline } = worldOf({
      replicas: 4,
      nodes: ['a', 'b', 'c', 'd'],
      on: ['a', 'b', 'c', 'd'],
      timeline: {
        loadBalancer: { profile: 'metallb-bgp', hashing, dead: 0 },
        events: [{ at: 10, fail: 'd' }],
        workloads: { 'deployment/web': { startup: '8s', requests: { duration: '100s' } } },
      },
    })
    const chance = new FixedChance(STILL, 3)
    const course = takeCourse(site, timeline, chance)
    const scene = sceneOf(course, site, timeline, frontOf(site, timeline, site.services[0]!), chance, 60_000)
    const dialer = new Dialer(scene, 'cluster', chance)
    const fate = createFate()
    let moved = 0
    for (let i = 0; i < 1200; i++) {
      dialer.dial(i, 1000, fate)
      const isWay = CAUSES[fate.cause] === 'path-moved' || CAUSES[fate.cause] === 'ingress-node-gone'
      // Those of the node that died and of pods on it end with it, whatever the hash.
      if (fate.lost && (isWay || course.nodes[fate.node]!.name === 'd')) moved++
    }
    return moved
  }

  test('modulo hashing moves three quarters of all flows, resilient hashing those of the node alone', () => {
    const withPods = (ways: number): number => 1200 * ways
    expect(Math.abs(broken('resilient') - withPods(1 / 4))).toBeLessThan(4 * Math.sqrt((1200 * 3) / 16))
    // Three quarters change their node; of flows to the pod on the dead node, which end with it, only those that came in there count.
    const share = (3 / 4) * (3 / 4) + (1 / 4) * (1 / 4)
    expect(Math.abs(broken('modulo') - withPods(share))).toBeLessThan(4 * Math.sqrt(1200 * share * (1 - share)))
  })
})
