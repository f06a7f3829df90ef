/**
 * Who is masqueraded, and to which endpoints: every pair of traffic policies, from pod, node and outside to each frontend.
 *
 * Source: TestInternalExternalMasquerade of pkg/proxy/{iptables,nftables}/proxier_test.go, and the tables of proxier.go that it
 * covers: the policies of one side never touch the other side's frontends; masqueradeAll is for cluster IPs only.
 */
import { describe } from 'vitest'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import {
  CLIENT,
  MODES,
  NODE,
  POD,
  type ProxyOptions,
  type Row,
  RULE_MODES,
  row,
  rows,
  service,
  slice,
  world,
} from './support.ts'

const LB = '1.2.3.4'
const VIP = '172.30.0.41'
const ALL = 'dnat 10.180.0.1:80 10.180.1.1:80'
const LOCAL = 'dnat 10.180.0.1:80'

type Policy = 'Cluster' | 'Local'

/** One endpoint on this node, one elsewhere. */
function objects(mode: ProxyMode, internal: Policy, external: Policy, options: ProxyOptions) {
  const spec = {
    type: 'LoadBalancer',
    clusterIP: VIP,
    internalTrafficPolicy: internal,
    externalTrafficPolicy: external,
  }
  return [
    ...world(mode, options),
    service('svc1', spec, [LB]),
    slice('svc1', ['10.180.0.1@test-node', '10.180.1.1@node2']),
  ]
}

interface Case {
  readonly name: string
  readonly options: ProxyOptions
  /** Masquerade to a cluster IP from pod, node and outside. */
  readonly masquerade: readonly [pod: boolean, node: boolean, external: boolean]
  /** Whether a pod is short-circuited past externalTrafficPolicy Local. */
  readonly podsKnown: boolean
}

const CASES: readonly Case[] = [
  { name: 'with a detector', options: {}, masquerade: [false, true, true], podsKnown: true },
  { name: 'masqueradeAll', options: { masqueradeAll: true }, masquerade: [true, true, true], podsKnown: true },
  { name: 'no detector', options: { detector: false }, masquerade: [false, false, false], podsKnown: false },
  {
    name: 'no detector, masqueradeAll',
    options: { detector: false, masqueradeAll: true },
    masquerade: [true, true, true],
    podsKnown: false,
  },
]

const masq = (set: string, yes: boolean): string => (yes ? `${set} masq` : set)

function toClusterIp(internal: Policy, { masquerade }: Case): Row[] {
  const set = internal === 'Local' ? LOCAL : ALL
  return [
    row('pod to cluster IP', POD, `${VIP}:80`, masq(set, masquerade[0])),
    row('node to cluster IP', NODE, `${VIP}:80`, masq(set, masquerade[1])),
    row('external to cluster IP', CLIENT, `${VIP}:80`, masq(set, masquerade[2])),
  ]
}

function toExternal(external: Policy, { podsKnown }: Case): Row[] {
  return [`${NODE}:3001`, `${LB}:80`].flatMap((to) =>
    external === 'Cluster'
      ? [
          row('pod', POD, to, `${ALL} masq`),
          row('node', NODE, to, `${ALL} masq`),
          row('external', CLIENT, to, `${ALL} masq`),
        ]
      : [
          row('pod', POD, to, podsKnown ? ALL : LOCAL),
          row('node', NODE, to, `${ALL} masq`),
          row('external', CLIENT, to, LOCAL),
        ],
  )
}

describe.each(RULE_MODES)('%s', (mode) => {
  for (const one of CASES) {
    for (const internal of ['Cluster', 'Local'] as const) {
      for (const external of ['Cluster', 'Local'] as const) {
        describe(`${one.name}, internalTrafficPolicy ${internal}, externalTrafficPolicy ${external}`, () => {
          rows(objects(mode, internal, external, one.options), [
            ...toClusterIp(internal, one),
            ...toExternal(external, one),
          ])
        })
      }
    }
  }
})

describe('ipvs: no short-circuit, and Local falls back to the endpoints of the cluster', () => {
  describe('local endpoint there', () => {
    rows(objects('ipvs', 'Cluster', 'Local', {}), [
      row('pod', POD, `${LB}:80`, LOCAL),
      row('node', NODE, `${LB}:80`, LOCAL),
      row('external', CLIENT, `${LB}:80`, LOCAL),
      row('pod to cluster IP', POD, `${VIP}:80`, ALL),
      row('external to cluster IP', CLIENT, `${VIP}:80`, `${ALL} masq`),
    ])
    rows(objects('ipvs', 'Local', 'Cluster', {}), [
      row('pod to cluster IP', POD, `${VIP}:80`, LOCAL),
      row('external to load balancer', CLIENT, `${LB}:80`, `${ALL} masq`),
      row('external to node port', CLIENT, `${NODE}:3001`, `${ALL} masq`),
    ])
    rows(objects('ipvs', 'Cluster', 'Cluster', { config: { iptables: { masqueradeAll: true } } }), [
      row('masqueradeAll of the iptables section, which ipvs shares', POD, `${VIP}:80`, `${ALL} masq`),
    ])
    rows(objects('ipvs', 'Cluster', 'Cluster', { masqueradeAll: true }), [
      row('masqueradeAll', POD, `${VIP}:80`, `${ALL} masq`),
    ])
  })

  describe('no local endpoint', () => {
    const remote = [...world('ipvs'), slice('svc1', ['10.180.1.1@node2'])]
    rows(
      [...remote, service('svc1', { type: 'LoadBalancer', clusterIP: VIP, externalTrafficPolicy: 'Local' }, [LB])],
      [row('externalTrafficPolicy Local', CLIENT, `${LB}:80`, 'dnat 10.180.1.1:80')],
    )
    rows(
      [...remote, service('svc1', { type: 'NodePort', clusterIP: VIP, internalTrafficPolicy: 'Local' })],
      [row('internalTrafficPolicy Local, reachable from outside', POD, `${VIP}:80`, 'dnat 10.180.1.1:80')],
    )
    const ports = [{ name: 'p80', port: 80, protocol: 'TCP' }]
    rows(
      [...remote, service('svc1', { clusterIP: VIP, internalTrafficPolicy: 'Local', ports })],
      [row('internalTrafficPolicy Local, cluster IP only', POD, `${VIP}:80`, 'reject no-endpoint')],
    )
  })
})

describe.each(MODES)('hairpin in mode %s: a pod that may reach itself', (mode) => {
  const spec = { type: 'LoadBalancer', clusterIP: VIP, externalTrafficPolicy: 'Local' }
  rows(
    [...world(mode), service('svc1', spec, [LB]), slice('svc1', ['10.180.0.1@test-node'])],
    [
      row('as the only endpoint, by cluster IP', '10.180.0.1', `${VIP}:80`, `${LOCAL} masq`),
      row('as the only endpoint, by load balancer', '10.180.0.1', `${LB}:80`, `${LOCAL} masq`),
    ],
  )
  rows(
    [...world(mode), service('svc1', spec, [LB]), slice('svc1', ['10.180.0.1@test-node', '10.180.1.1@node2'])],
    [
      row('as one of two', '10.180.0.1', `${VIP}:80`, `${ALL} masq`),
      row('another pod', '10.180.0.9', `${VIP}:80`, ALL),
    ],
  )
})

describe.each(RULE_MODES)('detectors of mode %s', (mode) => {
  const spec = { type: 'NodePort', clusterIP: VIP, externalTrafficPolicy: 'Local' }
  const base = (config: Record<string, unknown>, nodes: ReturnType<typeof world> = []) => [
    ...world(mode, { detector: false, config }).filter(
      ({ kind, metadata }) =>
        kind !== 'Node' || !nodes.some((one) => JSON.stringify(one['metadata']) === JSON.stringify(metadata)),
    ),
    ...nodes,
    service('svc1', spec),
    slice('svc1', ['10.180.0.1@test-node', '10.180.1.1@node2']),
  ]
  describe('ClusterCIDR counts the pods of every node, and a node address inside the range', () => {
    rows(base({ clusterCIDR: '10.0.0.0/8' }), [
      row('pod of this node', '10.180.0.9', `${NODE}:3001`, ALL),
      row('pod of another node', '10.180.1.9', `${NODE}:3001`, ALL),
    ])
    rows(base({ clusterCIDR: '192.168.0.0/16' }), [
      row('the node itself counts as a pod', NODE, `${VIP}:80`, ALL),
      row('the node itself, short-circuited without masquerade', NODE, `${NODE}:3001`, ALL),
      row('what is outside the range is outside', POD, `${VIP}:80`, `${ALL} masq`),
    ])
  })
  describe('the first clusterCIDR of a family counts, the second does not', () => {
    rows(base({ clusterCIDR: '10.1.0.0/16,10.2.0.0/16' }), [
      row('in the first', '10.1.0.5', `${VIP}:80`, ALL),
      row('in the second', '10.2.0.5', `${VIP}:80`, `${ALL} masq`),
    ])
  })
  describe('NodeCIDR counts the pods of this node only', () => {
    const own = {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'test-node', labels: {} },
      spec: { podCIDR: '10.180.0.0/24', podCIDRs: ['10.180.0.0/24'] },
      status: { addresses: [{ type: 'InternalIP', address: NODE }] },
    }
    rows(base({ detectLocalMode: 'NodeCIDR' }, [own]), [
      row('pod of this node', '10.180.0.9', `${VIP}:80`, ALL),
      row('pod of this node to the node port', '10.180.0.9', `${NODE}:3001`, ALL),
      row('pod of another node', '10.180.1.9', `${VIP}:80`, `${ALL} masq`),
      row('pod of another node to the node port', '10.180.1.9', `${NODE}:3001`, LOCAL),
    ])
  })
})
