/**
 * What a rollout takes a node's rules for is what the compiled rules say: at every change of a course, for every node and policy, `decide` on the
 * compiled Service gives the endpoints, the refusal or the drop that the rollout's own sets give.
 */
import { expect, test } from 'vitest'
import { ACTION_DNAT, ACTION_DROP, ACTION_REJECT, createDecision, decide } from '../../native-free-core/index.ts'
import { compileRules } from '../../src/compile/compile.ts'
import { DEFAULT_MODEL } from '../../src/compile/model.ts'
import { Registry } from '../../src/compile/registry.ts'
import type { EndpointSlice } from '../../src/k8s/types.ts'
import { Chance } from '../../src/rollout/chance.ts'
import { takeCourse } from '../../src/rollout/happenings.ts'
import { ENDPOINT_LISTED, ENDPOINT_READY, ENDPOINT_SERVING, ENDPOINT_TERMINATING } from '../../src/rollout/pod.ts'
import { endpointSets } from '../../src/rollout/views.ts'
import { type Fixture, worldOf } from './fixture.ts'

const TCP = 6

const sleep = { lifecycle: { preStop: { sleep: { seconds: 6 } } } }
const rows: [string, Fixture][] = [
  ['a rolling update', { replicas: 4, container: sleep, timeline: { events: [{ at: 5, rollout: 'deployment/web' }] } }],
  [
    'a drain, a failing node and a scale to nothing',
    {
      replicas: 3,
      container: sleep,
      timeline: {
        events: [
          { at: 5, drain: 'a' },
          { at: 30, fail: 'b', back: '100s' },
          { at: 200, scale: 'deployment/web', to: 0 },
        ],
      },
    },
  ],
  ['a DaemonSet', { kind: 'DaemonSet', container: sleep, timeline: { events: [{ at: 5, rollout: 'ds/web' }] } }],
  [
    'flapping probes',
    {
      replicas: 3,
      timeline: { events: [{ at: 5, unready: 'deployment/web', pods: 'all', for: '4s', every: '20s', times: 3 }] },
    },
  ],
]

test.each(rows)('%s', (_name, fixture) => {
  const { site, timeline } = worldOf({ ...fixture, service: { type: 'LoadBalancer', loadBalancerIP: '192.0.2.10' } })
  const [service] = site.services
  const course = takeCourse(site, timeline, new Chance(5, 0))
  const sets = endpointSets(course, site, service!)
  expect(sets.length).toBeGreaterThan(5)
  const addressOf = (pod: number): string => `10.250.${pod >> 8}.${pod & 255}`
  let compared = 0
  for (const set of sets) {
    const at = Math.max(0, set.fromMs)
    const endpoints = course.pods.flatMap((pod) => {
      const flags = pod.endpoint.at(at)
      if ((flags & ENDPOINT_LISTED) === 0) return []
      return [
        {
          addresses: [addressOf(pod.id)],
          nodeName: course.nodes[pod.node]!.name,
          conditions: {
            ready: (flags & ENDPOINT_READY) !== 0,
            serving: (flags & ENDPOINT_SERVING) !== 0,
            terminating: (flags & ENDPOINT_TERMINATING) !== 0,
          },
        },
      ]
    })
    const slice: EndpointSlice = {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'web-1', namespace: 'default', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      endpoints,
      ports: [{ name: '', port: 8080, protocol: 'TCP' }],
      origin: { file: '', document: 1, item: -1 },
    }
    const cluster = { ...site.cluster, slices: [slice] }
    for (const policy of ['Cluster', 'Local'] as const) {
      const registry = new Registry()
      const compiled = compileRules(cluster, registry, {
        policy,
        mode: 'nftables',
        model: DEFAULT_MODEL,
        destinations: [],
        clientMap: new Int32Array(0),
        gcIntervalMs: 1000,
      })
      const rules = compiled.columns
      const vip = cluster.services[0]!.loadBalancer[0]!.ip
      for (const node of course.nodes) {
        const out = createDecision()
        const [source, destination] = [registry.address('203.0.113.7'), registry.address(vip)]
        decide(rules, registry.node(node.name), { source, destination, port: 80, protocol: TCP }, out)
        const chosen = Array.from(
          { length: out.setCount },
          (_, i) => registry.endpoints[rules.members[out.setStart + i]!]!.address,
        )
        const own = policy === 'Local' ? (set.local.get(node.index) ?? []) : set.cluster
        expect(chosen.sort(), `${policy} on ${node.name} at ${at}`).toEqual(
          own.map((pod) => registry.address(addressOf(pod))).sort(),
        )
        const action = own.length > 0 ? ACTION_DNAT : set.hasAny ? ACTION_DROP : ACTION_REJECT
        expect(out.action, `${policy} on ${node.name} at ${at}`).toBe(action)
        compared++
      }
    }
  }
  expect(compared).toBe(sets.length * 6)
})
