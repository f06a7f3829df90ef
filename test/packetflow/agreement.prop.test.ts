/**
 * What `explain` says and what the dataplane of a replay does are the same, on random clusters.
 *
 * For every packet: the endpoint chosen is one of the set that is explained, at the same node; what is dropped or rejected
 * is so for the same reason; masquerade is told where it happens; a reply that would be lost is warned of.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { REASON_BACKEND_GONE } from '../../native-free-core/drop-reasons.ts'
import {
  REASON_NONE,
  REASON_POLICY_EGRESS,
  REASON_POLICY_INGRESS,
  REASON_REPLY_BYPASSES_NAT,
  REASONS,
} from '../../native-free-core/index.ts'
import type { Destination } from '../../src/compile/compile.ts'
import { Registry } from '../../src/compile/registry.ts'
import { Directory, ExplainContext } from '../../src/explain/context.ts'
import { explainPacket, type Packet } from '../../src/explain/packet.ts'
import { type Result, Session } from '../../src/explain/stepper.ts'
import { renderAnswer } from '../../src/explain/text.ts'
import type { NetworkPolicy } from '../../src/k8s/types.ts'
import { specs } from '../policy/support.ts'
import { load, type Manifest, MODES, node, outcome, service, slice } from './support.ts'

const NODES = ['n1', 'n2', 'n3'] as const
const STATES = ['', ' unready', ' terminating', ' dying'] as const
const VIP = '172.30.0.41'
const LB = '1.2.3.4'
const EXTERNAL_IP = '192.168.99.22'

/** Sources and destinations that the cluster below has, or has not. */
const SOURCES = [
  '10.180.1.7',
  '10.180.2.7',
  '10.180.1.1',
  '10.180.2.1',
  '192.168.0.1',
  '192.168.0.2',
  '203.0.113.2',
  '203.0.113.130',
]
const DESTINATIONS: readonly (readonly [address: string, port: number])[] = [
  [VIP, 80],
  [VIP, 81],
  [LB, 80],
  [EXTERNAL_IP, 80],
  ['192.168.0.1', 3001],
  ['192.168.0.2', 3001],
  ['192.168.0.3', 3001],
  ['192.168.0.1', 30000],
  ['192.168.0.2', 22],
  ['10.180.1.7', 8080],
]

/** Of NetworkPolicies: clients outside, the nodes, the pods. */
const BLOCKS = [
  { cidr: '203.0.113.0/25' },
  { cidr: '192.168.0.0/24', except: ['192.168.0.3/32'] },
  { cidr: '10.0.0.0/8', except: ['10.180.1.0/24'] },
  { cidr: '0.0.0.0/0' },
]

const none: fc.Arbitrary<NetworkPolicy['spec'][]> = fc.constant([])
/** What masquerade makes of the source decides. */
const CLIENTS_ONLY: NetworkPolicy['spec'][] = [
  { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from: [{ ipBlock: BLOCKS[0]! }, { podSelector: {} }] }] },
]

const world = fc.record({
  mode: fc.constantFrom(...MODES),
  detector: fc.constantFrom('cluster', 'node', 'none'),
  masqueradeAll: fc.boolean(),
  internal: fc.constantFrom('Cluster', 'Local'),
  external: fc.constantFrom('Cluster', 'Local'),
  ranges: fc.constantFrom([], ['203.0.113.0/25'], ['203.0.113.0/25', '192.168.0.0/24', '10.0.0.0/8']),
  ipMode: fc.constantFrom('VIP', 'Proxy'),
  affinity: fc.boolean(),
  notReady: fc.boolean(),
  policies: fc.oneof(
    none,
    fc.constant(CLIENTS_ONLY),
    fc.constant(CLIENTS_ONLY),
    fc.array(specs(BLOCKS), { maxLength: 3 }),
  ),
  plugin: fc.constantFrom('', 'calico/node:v3', 'cilium/cilium:v1'),
  endpoints: fc.array(
    fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 4 }), fc.constantFrom(...STATES)),
    {
      maxLength: 6,
    },
  ),
  packets: fc.array(fc.tuple(fc.nat(SOURCES.length - 1), fc.nat(DESTINATIONS.length - 1)).filter(isRouted), {
    minLength: 1,
    maxLength: 24,
  }),
})

/**
 * A replay has nothing that brings a packet from outside to a cluster IP without such a port; `explain` supposes a router
 * that does, and says so.
 */
function isRouted([from, to]: readonly [number, number]): boolean {
  const [address, port] = DESTINATIONS[to]
  return !(SOURCES[from].startsWith('203.') && address === VIP && port === 81)
}

const POLICY_REASONS = [REASON_POLICY_EGRESS, REASON_POLICY_INGRESS]

type World = typeof world extends fc.Arbitrary<infer T> ? T : never

function manifestsOf(one: World): Manifest[] {
  const detection =
    one.detector === 'node'
      ? { detectLocalMode: 'NodeCIDR' }
      : { detectLocalMode: 'ClusterCIDR', ...(one.detector === 'cluster' ? { clusterCIDR: '10.0.0.0/8' } : {}) }
  const endpoints = [...new Map(one.endpoints.map(([n, i, state]) => [`10.180.${n}.${i}@n${n}`, state]))]
  return [
    ...NODES.map((name, i) => {
      const made = node(name, [`192.168.0.${i + 1}`], {}, [`10.180.${i + 1}.0/24`])
      const conditions = [{ type: 'Ready', status: one.notReady && i === 2 ? 'False' : 'True' }]
      return { ...made, status: { ...(made['status'] as object), conditions } }
    }),
    pod('one', 'n1', '10.180.1.7', 'a'),
    pod('two', 'n2', '10.180.2.7', 'b'),
    ...[...new Set(one.endpoints.map(([n, i]) => `${n}.${i}`))].map((place) => {
      const [n] = place.split('.')
      return pod(`pod-${place}`, `n${n}`, `10.180.${place}`, n === '1' ? 'a' : 'c')
    }),
    ...one.policies.map((spec, i) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `policy-${i}`, namespace: 'ns1' },
      spec: structuredClone(spec),
    })),
    ...(one.plugin === '' ? [] : [agent(one.plugin)]),
    {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode: one.mode,
      ...detection,
      [one.mode]: { masqueradeAll: one.masqueradeAll },
    },
    service(
      'svc1',
      {
        type: 'LoadBalancer',
        clusterIP: VIP,
        externalIPs: [EXTERNAL_IP],
        internalTrafficPolicy: one.internal,
        externalTrafficPolicy: one.external,
        loadBalancerSourceRanges: one.ranges,
        healthCheckNodePort: 30000,
        sessionAffinity: one.affinity ? 'ClientIP' : 'None',
      },
      [{ ip: LB, ipMode: one.ipMode }],
    ),
    slice(
      'svc1',
      endpoints.map(([place, state]) => `${place}${state}`),
    ),
  ]
}

function agent(image: string): Manifest {
  const spec = { template: { spec: { hostNetwork: true, containers: [{ name: 'c', image }] } } }
  return { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { name: 'agent', namespace: 'kube-system' }, spec }
}

function pod(name: string, nodeName: string, podIP: string, app: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'ns1', labels: { app } },
    spec: { nodeName, containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 80 }] }] },
    status: { podIP, podIPs: [{ ip: podIP }] },
  }
}

/** Runs every packet as a new connection and gives what was done beside what is explained. */
function compare(
  one: World,
  check: (explained: ReturnType<typeof explainPacket>, result: Result, context: ExplainContext) => void,
): void {
  const directory = new Directory(load(manifestsOf(one)).cluster)
  const registry = new Registry()
  const sources = SOURCES.map((address) => registry.address(address))
  const destinations: Destination[] = DESTINATIONS.map(([address, port]) => ({
    address: registry.address(address),
    port,
    protocol: 6,
    isService: false,
  }))
  const context = new ExplainContext(directory, registry, destinations)
  const session = new Session(context, {
    connections: one.packets.length,
    packets: one.packets.length,
    endpoints: registry.endpoints.length,
    nodes: registry.nodes.length,
    durationSeconds: one.packets.length,
  })
  one.packets.forEach(([from, to], i) => {
    const { address, port, protocol } = destinations[to]
    const result = session.send({
      connection: i,
      client: sources[from],
      destination: to,
      sourcePort: 40000 + i,
      protocol,
      node: -1,
      timeSeconds: i,
      flags: null,
      isReply: false,
    })
    const packet: Packet = {
      question: {
        source: sources[from],
        sourcePort: 40000 + i,
        destination: address,
        port,
        protocol,
        node: -1,
        stays: false,
        entered: result.entered,
      },
      before: [],
      fromName: '',
      toName: '',
    }
    check(explainPacket(context, packet), result, context)
  })
}

describe('explain and the dataplane agree', () => {
  test('on endpoint, reason, masquerade and lost replies', () => {
    const seen = new Map<string, number>()
    fc.assert(
      fc.property(world, (one) => {
        compare(one, (answer, result, context) => {
          const { explanation } = answer
          const reason = REASONS[result.reason]
          const message = `${reason.name}, endpoint ${result.endpoint}\n${renderAnswer(answer)}`
          seen.set(explanation.verdict, (seen.get(explanation.verdict) ?? 0) + 1)
          const stopped = POLICY_REASONS.includes(result.reason)
          const blocked = explanation.blocked ?? []
          if (stopped) seen.set(reason.name, (seen.get(reason.name) ?? 0) + 1)
          if (explanation.verdict === 'dnat') {
            const chosen = context.registry.endpointText(result.endpoint)
            const told = blocked.find(({ endpoint }) => endpoint === chosen)?.reason ?? 'none'
            expect(told, message).toBe(stopped ? reason.name : 'none')
            if (stopped) {
              seen.set('some of several', (seen.get('some of several') ?? 0) + 1)
              return
            }
            expect([REASON_NONE, REASON_REPLY_BYPASSES_NAT], message).toContain(result.reason)
            expect(explanation.endpoints, message).toContain(context.registry.endpointText(result.endpoint))
            const text = explanation.steps.map(({ detail }) => detail).join('\n')
            if (result.reason === REASON_REPLY_BYPASSES_NAT) {
              expect(text, message).toContain('the connection fails')
              return
            }
            if (explanation.endpoints.length - blocked.length === 1)
              expect(text, message).not.toContain('the connection fails')
            const source = context.registry.addressText(result.seen)
            const deliver = explanation.steps.find(({ stage }) => stage === 'deliver')
            expect(deliver?.detail, message).toContain(source)
          } else if (explanation.verdict === 'none' || explanation.verdict === 'accept') {
            expect(result.endpoint, message).toBe(-1)
            expect([REASON_NONE, REASON_BACKEND_GONE], message).toContain(result.reason)
          } else {
            // Of several endpoints each may be stopped for another reason.
            const reasons = blocked.length > 0 ? blocked.map((one) => one.reason) : [explanation.reason]
            expect(reasons, message).toContain(reason.name)
            if (!stopped) expect(result.endpoint, message).toBe(-1)
          }
        })
      }),
      { seed: 20240611, numRuns: 500 },
    )
    const policies = ['network-policy-egress', 'network-policy-ingress', 'some of several']
    expect([...seen.keys()].sort()).toEqual([
      'accept',
      'dnat',
      'drop',
      ...policies.slice(0, 2),
      'none',
      'reject',
      'some of several',
    ])
    for (const word of policies) expect(seen.get(word), word).toBeGreaterThan(20)
  })

  test('a reply that is lost for every endpoint is warned of', () => {
    const one: World = {
      mode: 'ipvs',
      detector: 'cluster',
      masqueradeAll: false,
      internal: 'Cluster',
      external: 'Local',
      ranges: [],
      ipMode: 'VIP',
      affinity: false,
      notReady: false,
      policies: [],
      plugin: '',
      endpoints: [[2, 1, '']],
      packets: [[6, 4]],
    }
    compare(one, (answer, result) => {
      expect(result.reason).toBe(REASON_REPLY_BYPASSES_NAT)
      expect(outcome(answer.explanation)).toBe('dnat 10.180.2.1:80')
      expect(answer.explanation.steps.at(-1)?.detail).toContain('the connection fails')
    })
  })
})
