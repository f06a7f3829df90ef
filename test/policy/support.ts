/** Random NetworkPolicies, and what they mean by the letter of the API: no tables, no selectors worked out beforehand. */
import fc from 'fast-check'
import type { Cluster, ClusterPod } from '../../src/k8s/cluster.ts'
import type { LabelSelector, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyRule } from '../../src/k8s/types.ts'

export const LABELS = ['app', 'tier'] as const
export const VALUES = ['a', 'b', 'c'] as const
export const PORT_NAMES = ['http', 'dns'] as const
export const PORTS = [53, 80, 443, 8080, 8090] as const

const expression = fc.oneof(
  fc.record({
    key: fc.constantFrom(...LABELS),
    operator: fc.constantFrom('In', 'NotIn'),
    values: fc.uniqueArray(fc.constantFrom(...VALUES), { minLength: 1, maxLength: 2 }),
  }),
  fc.record({ key: fc.constantFrom(...LABELS), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
)
export const selector: fc.Arbitrary<LabelSelector> = fc.oneof(
  { weight: 1, arbitrary: fc.constant({}) },
  {
    weight: 3,
    arbitrary: fc.record({ matchLabels: fc.dictionary(fc.constantFrom(...LABELS), fc.constantFrom(...VALUES)) }),
  },
  { weight: 2, arbitrary: fc.record({ matchExpressions: fc.array(expression, { minLength: 1, maxLength: 2 }) }) },
)

/** @param blocks  to draw from, each with exceptions that lie in it */
export function specs(
  blocks: readonly { readonly cidr: string; readonly except?: string[] }[],
): fc.Arbitrary<NetworkPolicy['spec']> {
  const peer: fc.Arbitrary<NetworkPolicyPeer> = fc.oneof(
    selector.map((podSelector) => ({ podSelector })),
    selector.map((namespaceSelector) => ({ namespaceSelector })),
    fc.record({ podSelector: selector, namespaceSelector: selector }),
    fc.constantFrom(...blocks).map((ipBlock) => ({ ipBlock })),
  )
  const port = fc.oneof(
    fc.record({
      protocol: fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const),
      port: fc.constantFrom<number | string>(...PORTS, ...PORT_NAMES),
    }),
    fc.record({ port: fc.constantFrom(53, 80), endPort: fc.constantFrom(80, 443, 8080) }),
    fc.record({ protocol: fc.constantFrom('TCP' as const, 'UDP' as const) }),
    fc.constant({}),
  )
  const peers = fc.option(fc.array(peer, { maxLength: 2 }), { nil: undefined })
  const ports = fc.option(fc.array(port, { maxLength: 2 }), { nil: undefined })
  const rule = (side: 'from' | 'to'): fc.Arbitrary<NetworkPolicyRule> =>
    fc.tuple(peers, ports).map(([own, numbers]) => ({
      ...(own === undefined ? {} : { [side]: own }),
      ...(numbers === undefined ? {} : { ports: numbers }),
    }))
  return fc.record(
    {
      podSelector: selector,
      policyTypes: fc.constantFrom(['Ingress' as const], ['Egress' as const], ['Ingress' as const, 'Egress' as const]),
      ingress: fc.array(rule('from'), { maxLength: 2 }),
      egress: fc.array(rule('to'), { maxLength: 2 }),
    },
    { requiredKeys: ['podSelector', 'policyTypes'] },
  )
}

/** A first packet: who sends it as the rules see it, and to what. */
export interface Seen {
  readonly from: string
  readonly to: string
  readonly port: number
  readonly protocol: 'TCP' | 'UDP' | 'SCTP'
}

/** By the letter: for each direction, some policy selects the pod, and no rule of those that do lets the packet through. */
export function verdictOf(cluster: Cluster, packet: Seen, isOfNode: boolean): 'passes' | 'egress' | 'ingress' {
  const podAt = (address: string): ClusterPod | undefined =>
    cluster.pods.find((pod) => !pod.hostNetwork && pod.addresses.includes(address))
  const [from, to] = [podAt(packet.from), podAt(packet.to)]
  if (packet.from === packet.to) return 'passes'
  if (from !== undefined && isStopped(cluster, from, 'egress', packet.to, to, packet, to)) return 'egress'
  if (to !== undefined && !isOfNode && isStopped(cluster, to, 'ingress', packet.from, from, packet, to))
    return 'ingress'
  return 'passes'
}

function isStopped(
  { networkPolicies = [], namespaceLabels = {} }: Cluster,
  pod: ClusterPod,
  direction: 'ingress' | 'egress',
  address: string,
  peer: ClusterPod | undefined,
  { port, protocol }: Seen,
  destination: ClusterPod | undefined,
): boolean {
  const own = networkPolicies.filter(
    ({ metadata, spec }) =>
      (metadata.namespace ?? 'default') === pod.namespace &&
      selects(spec.podSelector ?? {}, pod.labels) &&
      spec.policyTypes!.includes(direction === 'ingress' ? 'Ingress' : 'Egress'),
  )
  if (own.length === 0) return false
  const meansPeer = (one: NetworkPolicyPeer, namespace: string): boolean => {
    if (one.ipBlock !== undefined) {
      const inside = (cidr: string): boolean => contains(cidr, address)
      return inside(one.ipBlock.cidr) && !(one.ipBlock.except ?? []).some(inside)
    }
    if (peer === undefined) return false
    const spaces = one.namespaceSelector
    if (spaces === undefined ? peer.namespace !== namespace : !selects(spaces, namespaceLabels[peer.namespace]!))
      return false
    return selects(one.podSelector ?? {}, peer.labels)
  }
  return !own.some(({ metadata, spec }) =>
    (spec[direction] ?? []).some(({ from, to, ports = [] }) => {
      const peers = from ?? to ?? []
      const rightPort =
        ports.length === 0 ||
        ports.some((one) => {
          if ((one.protocol ?? 'TCP') !== protocol) return false
          if (one.port === undefined) return true
          if (typeof one.port === 'number') return port >= one.port && port <= (one.endPort ?? one.port)
          const called = destination?.ports.filter(({ name, protocol: own }) => name === one.port && own === protocol)
          return (called ?? []).some(({ containerPort }) => containerPort === port)
        })
      return rightPort && (peers.length === 0 || peers.some((one) => meansPeer(one, metadata.namespace ?? 'default')))
    }),
  )
}

function selects({ matchLabels = {}, matchExpressions = [] }: LabelSelector, labels: Readonly<Record<string, string>>) {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key]
      if (operator === 'Exists') return value !== undefined
      if (operator === 'DoesNotExist') return value === undefined
      const isIn = value !== undefined && values.includes(value)
      return operator === 'In' ? isIn : !isIn
    })
  )
}

/** In digits: IPv4 by octets, IPv6 by groups. */
function contains(cidr: string, address: string): boolean {
  const [network, length] = cidr.split('/') as [string, string]
  if (network.includes(':') !== address.includes(':')) return false
  const bits = (text: string): string =>
    text.includes(':')
      ? expand(text)
          .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
          .join('')
      : text
          .split('.')
          .map((octet) => Number(octet).toString(2).padStart(8, '0'))
          .join('')
  return bits(network).slice(0, Number(length)) === bits(address).slice(0, Number(length))
}

function expand(text: string): string[] {
  const [head, tail] = text.split('::') as [string, string | undefined]
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  return tail === undefined ? left : [...left, ...new Array<string>(8 - left.length - right.length).fill('0'), ...right]
}
