/** KERNEL §4: where a new connection goes under each policy, from each origin, and what the pod sees. */
import { describe, expect, test } from 'vitest'
import { TOTAL_CROSS_NODE, TOTAL_MASQUERADED } from '../../native-free-core/index.ts'
import type { EndpointSpec, ServiceSpec } from '../core/cluster.ts'
import type { Lab, LabOptions } from '../core/harness.ts'
import { CALLER, CLIENT, CLUSTER_IP, lab, NODE_A, NODE_B, send } from '../core/web.ts'
import { expectShare, HANDSHAKE, pass } from './node.ts'

const A1 = '10.1.0.5'
const A2 = '10.1.0.6'
const B1 = '10.1.1.5'
const GATEWAY_A = '10.1.0.1'
const HOST_A = '192.168.0.1'
/** As measured: two pods on node a, one on node b. */
const THREE: EndpointSpec[] = [
  { address: A1, node: 'a' },
  { address: A2, node: 'a' },
  { address: B1, node: 'b' },
]
const MODES = ['nftables', 'iptables'] as const
const CONNECTIONS = 600

function three(service: Partial<ServiceSpec> = {}, options: LabOptions = {}): Lab {
  return lab({ endpoints: THREE, ...service }, options)
}

/** So many connections from one address; each must pass. @returns pod → the addresses it saw, and how many it got */
function spread(
  on: Lab,
  from: string,
  to: string,
  count = CONNECTIONS,
): Record<string, { seen: string[]; got: number }> {
  const pods: Record<string, { seen: string[]; got: number }> = {}
  for (let i = 0; i < count; i++) {
    const connection = on.connect(from, to, 1024 + i)
    pass(on, connection, i, ...HANDSHAKE)
    const pod = on.deliveredTo(connection).split(':')[0]
    const source = on.seenSource(connection).split(':')[0]
    pods[pod] ??= { seen: [], got: 0 }
    pods[pod].got++
    if (!pods[pod].seen.includes(source)) pods[pod].seen.push(source)
  }
  return pods
}

const seenBy = (pods: ReturnType<typeof spread>): Record<string, string[]> =>
  Object.fromEntries(Object.entries(pods).map(([pod, { seen }]) => [pod, seen]))

describe.each(MODES)('KERNEL 4.1, %s', (mode) => {
  test.each([
    [NODE_A, { [A1]: [GATEWAY_A], [A2]: [GATEWAY_A], [B1]: [HOST_A] }, 1 / 3],
    [NODE_B, { [A1]: ['192.168.0.2'], [A2]: ['192.168.0.2'], [B1]: ['10.1.1.1'] }, 2 / 3],
  ])(
    'Cluster through %s: 1/3 to each pod of the cluster, always masqueraded; one more hop for the other node’s',
    (to, seen, crossing) => {
      const on = three({}, { mode })
      const pods = spread(on, CLIENT, to)
      expect(seenBy(pods)).toEqual(seen)
      for (const { got } of Object.values(pods)) expectShare(got, CONNECTIONS, 1 / 3)
      expect(on.total(TOTAL_MASQUERADED)).toBe(CONNECTIONS)
      expectShare(on.total(TOTAL_CROSS_NODE), CONNECTIONS, crossing)
    },
  )

  test('Local: only the node’s own pods, in equal shares, and nothing crosses nodes', () => {
    const on = three({ external: 'Local' }, { mode })
    const pods = spread(on, CLIENT, NODE_A)
    expect(seenBy(pods)).toEqual({ [A1]: [CLIENT], [A2]: [CLIENT] })
    expectShare(pods[A1].got, CONNECTIONS, 1 / 2)
    expect(seenBy(spread(on, CLIENT, NODE_B))).toEqual({ [B1]: [CLIENT] })
    expect(on.total(TOTAL_CROSS_NODE)).toBe(0)
    expect(on.total(TOTAL_MASQUERADED)).toBe(0)
    expect(on.conntrack()).toEqual([CONNECTIONS, CONNECTIONS])
  })
})

describe.each(MODES)('KERNEL 4.2, %s', (mode) => {
  test('Local on a node without a local endpoint: silent drop, no entry left', () => {
    const on = three({ external: 'Local', endpoints: [{ address: B1, node: 'b' }] }, { mode })
    expect(send(on, on.connect(CLIENT, NODE_A, 40_000), 0, 'client', 'syn')).toBe('no-local-endpoint')
    expect(on.conntrack()).toEqual([0, 0])
  })

  test.each(['Cluster', 'Local'] as const)('no endpoints at all under %s: refused, no entry left', (external) => {
    const on = three({ external, endpoints: [] }, { mode })
    for (const [from, to] of [
      [CLIENT, NODE_A],
      [CALLER, CLUSTER_IP],
      [CALLER, NODE_A],
      [HOST_A, NODE_A],
    ] as const) {
      expect(send(on, on.connect(from, to, 40_000), 0, 'client', 'syn'), `${from} to ${to}`).toBe('no-endpoint')
    }
    expect(on.conntrack()).toEqual([0, 0])
  })
})

describe.each(MODES)('KERNEL 4.4, %s: pod to ClusterIP', (mode) => {
  test('keeps its address', () => {
    const on = three({}, { mode })
    expect(seenBy(spread(on, CALLER, CLUSTER_IP))).toEqual({ [A1]: [CALLER], [A2]: [CALLER], [B1]: [CALLER] })
    expect(on.total(TOTAL_MASQUERADED)).toBe(0)
  })

  test('but for the hairpin: a pod that is given itself is masqueraded, in 1 of 3', () => {
    const on = three({}, { mode })
    const pods = spread(on, A1, CLUSTER_IP)
    expect(seenBy(pods)).toEqual({ [A1]: [GATEWAY_A], [A2]: [A1], [B1]: [A1] })
    expect(on.total(TOTAL_MASQUERADED)).toBe(pods[A1].got)
    expectShare(pods[A1].got, CONNECTIONS, 1 / 3)
  })
})

describe.each(MODES)('KERNEL 4.5, %s: pod to NodePort under Local', (mode) => {
  test('of its own node: internal, all pods of the cluster, with its own address', () => {
    const on = three({ external: 'Local' }, { mode })
    expect(seenBy(spread(on, CALLER, NODE_A))).toEqual({ [A1]: [CALLER], [A2]: [CALLER], [B1]: [CALLER] })
  })

  test('of another node, with the network plugin’s masquerade: external, only that node’s pods, from a node address', () => {
    const on = three({ external: 'Local' }, { mode, model: { egressMasquerade: 1 } })
    expect(seenBy(spread(on, CALLER, NODE_B))).toEqual({ [B1]: [HOST_A] })
  })

  test('of another node, without: all pods, but a third pod on the caller’s node answers past the node that translated', () => {
    const on = three({ external: 'Local' }, { mode, model: { egressMasquerade: 0 } })
    const outcomes: Record<string, number> = {}
    for (let i = 0; i < CONNECTIONS; i++) {
      const connection = on.connect(A1, NODE_B, 1024 + i)
      const said = send(on, connection, i, 'client', 'syn')
      const key =
        said === 'accept'
          ? `${on.deliveredTo(connection).split(':')[0]} sees ${on.seenSource(connection).split(':')[0]}`
          : said
      outcomes[key] = (outcomes[key] ?? 0) + 1
    }
    // The caller is A1: given itself it is masqueraded by node b, given A2 the answer stays on node a.
    expect(Object.keys(outcomes).sort()).toEqual([`${A1} sees 192.168.0.2`, `${B1} sees ${A1}`, 'reply-bypasses-nat'])
    expectShare(outcomes['reply-bypasses-nat'], CONNECTIONS, 1 / 3)
  })

  test('the same under Cluster is masqueraded by the node that translates: every pick works', () => {
    const on = three({ external: 'Cluster' }, { mode, model: { egressMasquerade: 0 } })
    const pods = spread(on, A1, NODE_B)
    expect(seenBy(pods)).toEqual({ [A1]: ['192.168.0.2'], [A2]: ['192.168.0.2'], [B1]: ['10.1.1.1'] })
  })
})

describe.each(MODES)('KERNEL 4.6, %s', (mode) => {
  test.each([
    ['NodePort', NODE_A, 'Local'],
    ['NodePort', NODE_A, 'Cluster'],
    ['ClusterIP', CLUSTER_IP, 'Local'],
  ] as const)('node to %s %s under %s: all pods, masqueraded', (_kind, to, external) => {
    const on = three({ external }, { mode })
    const pods = spread(on, HOST_A, to)
    expect(seenBy(pods)).toEqual({ [A1]: [GATEWAY_A], [A2]: [GATEWAY_A], [B1]: [HOST_A] })
    expect(on.total(TOTAL_MASQUERADED)).toBe(CONNECTIONS)
  })

  test('node to the NodePort of another node under Local: external there, only that node’s pods', () => {
    const on = three({ external: 'Local' }, { mode })
    expect(seenBy(spread(on, HOST_A, NODE_B))).toEqual({ [B1]: [HOST_A] })
  })

  test('external to ClusterIP through a node: all pods, masqueraded', () => {
    const on = three({ external: 'Local' }, { mode })
    const pods = spread(on, CLIENT, CLUSTER_IP)
    expect(Object.keys(pods).sort()).toEqual([A1, A2, B1])
    expect(on.total(TOTAL_MASQUERADED)).toBe(CONNECTIONS)
    for (const { seen } of Object.values(pods)) expect(seen).not.toContain(CLIENT)
  })
})
