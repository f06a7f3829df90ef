/**
 * ipvs mode, UDP: ipvs' own table remembers which pod a client's port was given, for 300 s after the last packet (ipvs.udpTimeout),
 * though conntrack forgets after 30 s or 120 s.
 *
 * Source: linux net/netfilter/ipvs/ip_vs_core.c (a packet with a connection is not scheduled; one whose destination has gone is, since
 * kube-proxy sets expire_nodest_conn), ip_vs_proto_udp.c (300 s), ip_vs_nfct.c; pkg/proxy/ipvs/graceful_termination.go (UDP: none).
 */
import { describe, expect, test } from 'vitest'
import { type ClusterSpec, clusterOf, type EndpointSpec, type ServiceSpec } from '../core/cluster.ts'
import { Lab, type LabOptions } from '../core/harness.ts'
import { send } from '../core/web.ts'
import { conntrackFlush } from '../kernel/node.ts'
import { type Manifest, service, slice, stateful, world } from './support.ts'

const CLIENT = '198.51.100.7'
const CLUSTER_IP = '10.96.0.11:53/udp'
const NODE_PORT = '192.168.0.1:30053/udp'
const POD = '10.1.0.77'
const PODS: readonly EndpointSpec[] = ['10.1.0.5', '10.1.0.6', '10.1.0.7'].map((address) => ({ address, node: 'a' }))

function dns(changes: Partial<ServiceSpec> = {}): ServiceSpec {
  return {
    name: 'dns',
    clusterIP: '10.96.0.11',
    port: 53,
    nodePort: 30053,
    protocol: 'UDP',
    endpoints: PODS,
    ...changes,
  }
}

function spec(service: Partial<ServiceSpec> = {}, ipvs: Record<string, string> = {}): ClusterSpec {
  const kubeProxy = { clusterCIDR: '10.1.0.0/16', ipvs }
  return { nodes: 2, services: [dns(service)], pods: { [POD]: 'a' }, kubeProxy }
}

function lab(
  service: Partial<ServiceSpec> = {},
  ipvs: Record<string, string> = {},
  mode: LabOptions['mode'] = 'ipvs',
  more: LabOptions = {},
): Lab {
  return new Lab(clusterOf(spec(service, ipvs)), [CLUSTER_IP, NODE_PORT], { clients: [CLIENT], mode, ...more })
}

const datagram = (on: Lab, connection: number, seconds: number): string =>
  send(on, connection, seconds * 1000, 'client', 'none')
const answer = (on: Lab, connection: number, seconds: number): string =>
  send(on, connection, seconds * 1000, 'server', 'none')

/** Of a connection that is silent for a while: which pods it was given before and after, and how many turns other clients took. */
function podsAround(on: Lab, silence: number, answered = false): string[] {
  const mine = on.connect(POD, CLUSTER_IP, 40_000)
  expect(datagram(on, mine, 0)).toBe('accept')
  const before = on.endpoint(mine)
  if (answered) {
    expect(answer(on, mine, 1)).toBe('accept')
    expect(datagram(on, mine, 4)).toBe('accept')
  }
  const from = answered ? 4 : 0
  // The scheduler's next turn is another pod's.
  expect(datagram(on, on.connect(POD, CLUSTER_IP, 41_000), from + 1)).toBe('accept')
  expect(datagram(on, mine, from + silence)).toBe('accept')
  return [before, on.endpoint(mine)]
}

describe('a client that asks again from the same port after', () => {
  test.each([
    [29, 'the same pod: conntrack knows it', true, {}],
    [31, 'the same pod: conntrack has forgotten, ipvs has not', true, {}],
    [299, 'the same pod', true, {}],
    [300, 'the next pod: ipvs has forgotten too', false, {}],
    [90, 'the next pod with ipvs.udpTimeout 60s', false, { udpTimeout: '60s' }],
    [59, 'the same pod with ipvs.udpTimeout 60s', true, { udpTimeout: '60s' }],
    [20, 'the next pod with ipvs.udpTimeout 20s: conntrack goes with it', false, { udpTimeout: '20s' }],
    [900, 'the same pod with ipvs.udpTimeout 1h', true, { udpTimeout: '1h' }],
  ] as const)('%i s gets %s', (silence, _words, same, ipvs) => {
    const [before, after] = podsAround(lab({}, ipvs), silence)
    expect(before).toBe('10.1.0.5:53')
    expect(after).toBe(same ? before : '10.1.0.7:53')
  })

  test('121 s of a stream, which conntrack keeps for 120 s: the same pod', () => {
    const [before, after] = podsAround(lab(), 121, true)
    expect(after).toBe(before)
  })

  test('31 s under nftables: a pod by chance, as for any other connection', () => {
    const given = new Set<string>()
    for (let seed = 0; seed < 12; seed++) given.add(podsAround(lab({}, {}, 'nftables', { seed }), 31).join(' '))
    expect([...given].some((pods) => pods.split(' ')[0] !== pods.split(' ')[1])).toBe(true)
  })
})

describe('what starts the 300 s again', () => {
  test('the client’s packets', () => {
    const on = lab()
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    for (const seconds of [0, 200, 400, 690]) expect(datagram(on, mine, seconds)).toBe('accept')
    expect(on.endpoint(mine)).toBe('10.1.0.5:53')
  })

  test('the pod’s answers', () => {
    const on = lab()
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    expect(answer(on, mine, 25)).toBe('accept')
    expect(datagram(on, on.connect(POD, CLUSTER_IP, 41_000), 26)).toBe('accept')
    expect(datagram(on, mine, 320)).toBe('accept')
    expect(on.endpoint(mine)).toBe('10.1.0.5:53')
  })

  test('another connection from the same port to the same address is the same one to ipvs', () => {
    const on = lab()
    expect(datagram(on, on.connect(POD, CLUSTER_IP, 40_000), 0)).toBe('accept')
    const later = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, later, 100)).toBe('accept')
    expect(on.endpoint(later)).toBe('10.1.0.5:53')
  })

  test.each([
    ['another port of the client', POD, CLUSTER_IP, 40_001],
    ['another client', CLIENT, NODE_PORT, 40_000],
    ['another address of the Service', POD, NODE_PORT, 40_000],
  ] as const)('%s is not', (_words, client, to, port) => {
    const on = lab()
    for (const address of [CLUSTER_IP, NODE_PORT]) {
      expect(datagram(on, on.connect(POD, address, 39_999), 0)).toBe('accept')
    }
    expect(datagram(on, on.connect(POD, CLUSTER_IP, 40_000), 0)).toBe('accept')
    const later = on.connect(client, to, port)
    expect(datagram(on, later, 100)).toBe('accept')
    expect(on.endpoint(later)).toBe(to === CLUSTER_IP ? '10.1.0.7:53' : '10.1.0.6:53')
  })
})

describe('answers that come late', () => {
  test.each([
    ['ipvs', 100, 'accept'],
    ['ipvs', 301, 'reply-lost'],
    ['iptables', 100, 'reply-lost'],
  ] as const)('%s, after %i s, to a client whose address was kept: %s', (mode, seconds, outcome) => {
    const on = lab({}, {}, mode)
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    expect(answer(on, mine, seconds)).toBe(outcome)
  })

  test('to a client behind the node’s address: lost, since only conntrack knew whose it was', () => {
    const on = lab()
    const mine = on.connect(CLIENT, NODE_PORT, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    expect(answer(on, mine, 100)).toBe('reply-lost')
  })
})

describe('what else happens to it', () => {
  test('masqueraded: the same pod, which sees another source port of the node', () => {
    const on = lab()
    const mine = on.connect(CLIENT, NODE_PORT, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    const seen = on.seenSource(mine)
    expect(datagram(on, on.connect(CLIENT, NODE_PORT, 41_000), 1)).toBe('accept')
    expect(datagram(on, mine, 100)).toBe('accept')
    expect(on.endpoint(mine)).toBe('10.1.0.5:53')
    expect(on.seenSource(mine)).not.toBe(seen)
    expect(on.seenSource(mine).split(':')[0]).toBe(seen.split(':')[0])
  })

  test('conntrack -F in between changes nothing', () => {
    const on = lab()
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    expect(conntrackFlush(on)).toBe(1)
    expect(datagram(on, mine, 1)).toBe('accept')
    expect(on.endpoint(mine)).toBe('10.1.0.5:53')
  })

  test.each([
    ['its pod is gone', PODS.slice(1)],
    [
      'its pod is terminating and others are ready',
      [{ ...PODS[0]!, ready: false, serving: true, terminating: true }, ...PODS.slice(1)],
    ],
  ] as const)('%s: the next packet is scheduled anew', (_words, endpoints) => {
    const on = lab()
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    on.change(clusterOf(spec({ endpoints })), 60_000)
    expect(datagram(on, mine, 100)).toBe('accept')
    expect(['10.1.0.6:53', '10.1.0.7:53']).toContain(on.endpoint(mine))
  })

  test('its pod left and came back in between: forgotten when it left (expire_nodest_conn)', () => {
    const on = lab()
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    on.change(clusterOf(spec({ endpoints: PODS.slice(1) })), 60_000)
    on.change(clusterOf(spec()), 61_000)
    expect(datagram(on, mine, 100)).toBe('accept')
    expect(on.endpoint(mine)).toBe('10.1.0.6:53')
  })

  test('sessionAffinity of another pod by now: the connection stays, affinity is for new ones', () => {
    const affinitySeconds = 40
    const on = lab({ affinitySeconds })
    const mine = on.connect(POD, CLUSTER_IP, 40_000)
    expect(datagram(on, mine, 0)).toBe('accept')
    const other = on.connect(POD, CLUSTER_IP, 41_000)
    expect(datagram(on, other, 50)).toBe('accept')
    expect(on.endpoint(other)).toBe('10.1.0.6:53')
    expect(datagram(on, mine, 60)).toBe('accept')
    expect(on.endpoint(mine)).toBe('10.1.0.5:53')
  })

  test('least-connection counts it for as long as ipvs knows it', () => {
    const on = lab({}, { scheduler: 'lc' }, 'ipvs', { gcIntervalMs: 1000, durationMs: 600_000 })
    for (const port of [40_000, 40_001]) expect(datagram(on, on.connect(POD, CLUSTER_IP, port), 0)).toBe('accept')
    const third = on.connect(POD, CLUSTER_IP, 40_002)
    // Conntrack has forgotten the first two; ipvs has not.
    expect(datagram(on, third, 100)).toBe('accept')
    expect(on.endpoint(third)).toBe('10.1.0.7:53')
    const late = on.connect(POD, CLUSTER_IP, 40_003)
    expect(datagram(on, late, 310)).toBe('accept')
    expect(on.endpoint(late)).toBe('10.1.0.5:53')
    on.selfCheck()
  })
})

test('explain --stateful says why: conntrack has no entry, ipvs has the connection', () => {
  const slicePorts = [{ name: 'dns', port: 53, protocol: 'UDP' }]
  const objects = [
    ...world('ipvs'),
    service('dns', { clusterIP: '172.30.0.41', ports: slicePorts }),
    slice('dns', ['10.0.1.1@test-node', '10.0.1.2@test-node', '10.0.1.3@test-node'], slicePorts),
  ]
  const line = (id: string, time: number, port: number): Manifest => {
    return { id, time, from: `10.0.0.2:${port}`, to: '172.30.0.41:53', protocol: 'udp' }
  }
  const answers = stateful(objects, [line('first', 0, 40_000), line('other', 1, 40_001), line('again', 200, 40_000)])
  const [first, other, again] = ['first', 'other', 'again'].map((id) => answers.get(id)!.explanation)
  expect(other!.chosen).not.toBe(first!.chosen)
  expect(again!.chosen).toBe(first!.chosen)
  const said = again!.steps.map(({ detail }) => detail).join('\n')
  expect(said).toContain('ipvs still has the connection in its own table')
  expect(said).toContain('kept for 300 s after its last packet; neither scheduler nor affinity is asked')
})
