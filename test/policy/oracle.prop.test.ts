/** The tables that the core decides by say what the objects say, read one by one for each packet. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { POLICIES_BEFORE_MASQUERADE, REASONS, SETTING_POLICIES } from '../../native-free-core/index.ts'
import { policyBetween } from '../../native-free-core/policy.ts'
import { compileRules } from '../../src/compile/compile.ts'
import { DEFAULT_MODEL } from '../../src/compile/model.ts'
import { Registry } from '../../src/compile/registry.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseObject } from '../../src/k8s/load.ts'
import { LABELS, PORT_NAMES, PORTS, specs, VALUES, verdictOf } from './support.ts'

const BLOCKS = [
  { cidr: '0.0.0.0/0' },
  { cidr: '0.0.0.0/0', except: ['10.244.0.0/16', '192.168.0.0/24'] },
  { cidr: '10.244.1.0/24', except: ['10.244.1.10/31'] },
  { cidr: '198.51.100.0/24' },
  { cidr: '192.168.0.1/32' },
  { cidr: '::/0' },
  { cidr: 'fd00:10::/64', except: ['fd00:10::a/128'] },
]
const NAMESPACES = ['x', 'y'] as const
const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const
const labels = fc.dictionary(fc.constantFrom(...LABELS), fc.constantFrom(...VALUES))

const world = fc.record({
  namespaces: fc.tuple(labels, labels),
  pods: fc.array(
    fc.record({
      namespace: fc.constantFrom(...NAMESPACES),
      labels,
      node: fc.constantFrom(1, 2),
      onHost: fc.nat(7),
      ports: fc.array(
        fc.record({
          name: fc.constantFrom(...PORT_NAMES),
          containerPort: fc.constantFrom(...PORTS),
          protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
        }),
        { maxLength: 3 },
      ),
    }),
    { minLength: 1, maxLength: 6 },
  ),
  policies: fc.array(fc.tuple(fc.constantFrom(...NAMESPACES), specs(BLOCKS)), { minLength: 1, maxLength: 4 }),
  packets: fc.array(
    fc.record({
      from: fc.nat(20),
      to: fc.nat(20),
      port: fc.constantFrom(...PORTS),
      protocol: fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const),
      isIpv6: fc.boolean(),
    }),
    { minLength: 10, maxLength: 40 },
  ),
})

type World = typeof world extends fc.Arbitrary<infer T> ? T : never

function objectsOf({ namespaces, pods, policies }: World): unknown[] {
  return [
    ...[1, 2].map((i) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `n${i}` },
      spec: { podCIDR: `10.244.${i}.0/24`, podCIDRs: [`10.244.${i}.0/24`, `fd00:10:0:${i}::/64`] },
      status: { addresses: [`192.168.0.${i}`, `2001:db8::${i}`].map((address) => ({ type: 'InternalIP', address })) },
    })),
    ...NAMESPACES.map((name, i) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: namespaces[i] },
    })),
    ...pods.map((pod, i) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `p${i}`, namespace: pod.namespace, labels: pod.labels },
      spec: { nodeName: `n${pod.node}`, hostNetwork: pod.onHost === 0, containers: [{ name: 'c', ports: pod.ports }] },
      status:
        pod.onHost === 0
          ? {}
          : {
              podIPs: [
                { ip: `10.244.${pod.node}.${10 + i}` },
                { ip: `fd00:10:0:${pod.node}::${(10 + i).toString(16)}` },
              ],
            },
    })),
    ...policies.map(([namespace, spec], i) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: `np${i}`, namespace },
      spec: structuredClone(spec),
    })),
  ]
}

describe('the core and the letter of the API agree', () => {
  test('on random pods, labels, policies and packets', () => {
    const seen = new Map<string, number>()
    fc.assert(
      fc.property(world, (one) => {
        const cluster = deriveCluster(parseObject({ kind: 'List', items: objectsOf(one) }, 'rows').objects)
        const registry = new Registry()
        const outside = ['198.51.100.7', '203.0.113.9', 'fd00:10::a', '2001:db8:1::9']
        const addresses = [
          ...cluster.pods.flatMap((pod) => pod.addresses),
          ...cluster.nodes.flatMap((node) => node.addresses),
          ...outside,
        ]
        for (const address of addresses) registry.address(address)
        const { columns } = compileRules(cluster, registry, {
          ...{ policy: null, mode: null, model: DEFAULT_MODEL, destinations: [] },
          ...{ clientMap: new Int32Array(0), gcIntervalMs: 60_000 },
        })
        const nodeAt = (address: string): string | undefined =>
          cluster.nodes.find((node) => node.addresses.includes(address))?.name
        for (const { from, to, port, protocol, isIpv6 } of one.packets) {
          const family = addresses.filter((address) => address.includes(':') === isIpv6)
          const packet = { from: family[from % family.length], to: family[to % family.length], port, protocol }
          const target = cluster.pods.find((pod) => !pod.hostNetwork && pod.addresses.includes(packet.to))
          const isOfNode = target !== undefined && nodeAt(packet.from) === target.nodeName
          const wanted = verdictOf(cluster, packet, isOfNode)
          const [source, destination] = [registry.address(packet.from), registry.address(packet.to)]
          const reason = REASONS[policyBetween(columns, source, destination, port, PROTOCOLS[protocol])].name
          expect(reason, JSON.stringify(packet)).toBe(wanted === 'passes' ? 'none' : `network-policy-${wanted}`)
          if (columns.settings[SETTING_POLICIES] === POLICIES_BEFORE_MASQUERADE)
            seen.set(reason, (seen.get(reason) ?? 0) + 1)
        }
      }),
      { seed: 20_261, numRuns: 300 },
    )
    for (const reason of ['none', 'network-policy-egress', 'network-policy-ingress'])
      expect(seen.get(reason), reason).toBeGreaterThan(200)
  })
})
