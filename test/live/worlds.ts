/** Random clusters as node `a` sees them, what is dialled there, and what dpemu says may become of it. */
import { ACTION_NAMES, createDecision, decide, REASON_NONE } from '../../native-free-core/index.ts'
import type { Destination } from '../../src/compile/compile.ts'
import { Registry } from '../../src/compile/registry.ts'
import { Directory, ExplainContext } from '../../src/explain/context.ts'
import { Session } from '../../src/explain/stepper.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { emitRules, type Tool } from '../../src/rules/index.ts'
import { clusterOf, type EndpointSpec } from '../core/cluster.ts'
import type { Place } from './site.ts'

export interface World {
  /** IPv4 where it is left out. */
  readonly family?: LiveFamily
  readonly mode: 'nftables' | 'iptables'
  readonly detector: 'ClusterCIDR' | 'NodeCIDR' | 'none'
  readonly masqueradeAll: boolean
  readonly serviceCidrs: boolean
  readonly external: 'Cluster' | 'Local'
  readonly internal: 'Cluster' | 'Local'
  readonly ranges: readonly string[]
  readonly affinitySeconds: number
  readonly endpoints: readonly EndpointSpec[]
}

export interface Case {
  readonly place: Place
  readonly protocol: 'tcp' | 'udp'
  readonly from: string
  readonly to: string
  readonly port: number
}

export const CLIENTS: readonly (readonly [place: Place, address: string])[] = [
  ['client', '198.51.100.7'],
  ['client', '198.51.100.8'],
  ['client', '10.1.200.9'],
  ['client', '10.1.0.77'],
  ['client', '192.168.0.3'],
  ['node', '192.168.0.1'],
  ['p5', '10.1.0.5'],
  ['p6', '10.1.0.6'],
]
export const DIALS: readonly (readonly [protocol: 'tcp' | 'udp', address: string, port: number])[] = [
  ['tcp', '203.0.113.1', 80],
  ['tcp', '203.0.113.9', 80],
  ['tcp', '10.96.0.10', 80],
  ['tcp', '10.96.0.10', 81],
  ['tcp', '10.96.7.7', 80],
  ['udp', '10.96.0.11', 53],
  ['tcp', '192.168.0.1', 30080],
  ['udp', '192.168.0.1', 30053],
  ['tcp', '192.168.0.1', 32000],
  ['tcp', '10.1.1.5', 8080],
  ['tcp', '192.0.2.1', 443],
]

export type LiveFamily = 'IPv4' | 'IPv6'

/** The IPv6 address that stands where an IPv4 one does; hosts keep their digits. */
const IPV6: readonly (readonly [pattern: RegExp, to: string])[] = [
  [/^10\.1\.0\.(\d+)$/, 'fd00:1::$1'],
  [/^10\.1\.(\d+)\.(\d+)$/, 'fd00:1:0:$1::$2'],
  [/^10\.96\.0\.(\d+)$/, 'fd00:96::$1'],
  [/^10\.96\.7\.7$/, 'fd00:96::7:7'],
  [/^192\.168\.0\.(\d+)$/, 'fd00:99::$1'],
  [/^203\.0\.113\.(\d+)$/, '2001:db8:113::$1'],
  [/^198\.51\.100\.(\d+)$/, '2001:db8:100::$1'],
  [/^192\.0\.2\.(\d+)$/, '2001:db8:2::$1'],
]
const IPV6_BLOCKS: Readonly<Record<string, string>> = {
  '10.1.0.0/16': 'fd00:1::/48',
  '10.96.0.0/16': 'fd00:96::/112',
  '198.51.100.7/32': '2001:db8:100::7/128',
  '10.0.0.0/8': 'fd00::/16',
  '198.51.100.0/25': '2001:db8:100::/121',
  '192.168.0.0/24': 'fd00:99::/64',
}

export function inFamily(family: LiveFamily, text: string): string {
  if (family === 'IPv4') return text
  if (text.includes('/')) return IPV6_BLOCKS[text]!
  for (const [pattern, to] of IPV6) if (pattern.test(text)) return text.replace(pattern, to)
  throw new Error(`${text} has no IPv6 address`)
}

export function caseIn(family: LiveFamily, one: Case): Case {
  return { ...one, from: inFamily(family, one.from), to: inFamily(family, one.to) }
}

/** A generator of numbers below 1 from a seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export function randomWorld(random: () => number): World {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
  const endpoints = Array.from({ length: Math.floor(random() * 6) }, (): EndpointSpec => {
    const n = Math.floor(random() * 3)
    const isHost = random() < 0.15
    const ready = random() < 0.7
    const draining = random() < 0.5
    return {
      address: isHost && n < 2 ? `192.168.0.${n + 1}` : `10.1.${n}.${5 + Math.floor(random() * 4)}`,
      node: 'abc'[n]!,
      ready,
      serving: ready || draining,
      terminating: !ready && draining,
    }
  })
  return {
    mode: pick(['nftables', 'iptables']),
    detector: pick(['ClusterCIDR', 'ClusterCIDR', 'NodeCIDR', 'none']),
    masqueradeAll: random() < 0.15,
    serviceCidrs: random() < 0.5,
    external: pick(['Cluster', 'Local']),
    internal: pick(['Cluster', 'Cluster', 'Local']),
    ranges: pick([[], [], ['198.51.100.7/32', '10.0.0.0/8'], ['198.51.100.0/25', '192.168.0.0/24']]),
    affinitySeconds: 0,
    endpoints: [...new Map(endpoints.map((one) => [one.address, one])).values()],
  }
}

export interface Judged {
  readonly native: Readonly<Partial<Record<Tool, string>>>
  /** Everything that may be answered to a case, in the agents' words; null where one node cannot tell. */
  outcomes(one: Case): ReadonlySet<string> | null
}

/** World and cases are written in IPv4; the addresses that are asked about are those of the world's family. */
export function judge(world: World, cases: readonly Case[]): Judged {
  const family = world.family ?? 'IPv4'
  const own = (text: string): string => inFamily(family, text)
  const shared = {
    external: world.external,
    internal: world.internal,
    affinitySeconds: world.affinitySeconds,
    endpoints: world.endpoints.map((one) => ({ ...one, address: own(one.address) })),
  }
  const detection =
    world.detector === 'NodeCIDR'
      ? { detectLocalMode: 'NodeCIDR' }
      : {
          detectLocalMode: 'ClusterCIDR',
          ...(world.detector === 'ClusterCIDR' ? { clusterCIDR: own('10.1.0.0/16') } : {}),
        }
  const written = clusterOf({
    nodes: 3,
    serviceCidrsWritten: world.serviceCidrs,
    pods: Object.fromEntries(['10.1.0.77', '10.1.0.5', '10.1.0.6'].map((pod) => [own(pod), 'a'])),
    kubeProxy: { mode: world.mode, ...detection, [world.mode]: { masqueradeAll: world.masqueradeAll } },
    services: [
      {
        ...shared,
        name: 'web',
        clusterIP: own('10.96.0.10'),
        targetPort: 8080,
        nodePort: 30080,
        balancer: [own('203.0.113.1')],
        externalIPs: [own('203.0.113.9')],
        sourceRanges: world.ranges.map(own),
        ...(world.external === 'Local' ? { healthCheckNodePort: 32000 } : {}),
      },
      { ...shared, name: 'dns', clusterIP: own('10.96.0.11'), protocol: 'UDP', port: 53, nodePort: 30053 },
    ],
  })
  const cluster: Cluster =
    family === 'IPv4'
      ? written
      : {
          ...written,
          nodes: written.nodes.map((node, i) => ({
            ...node,
            addresses: node.addresses.map(own),
            podCidrs: [i === 0 ? 'fd00:1::/64' : `fd00:1:0:${i}::/64`],
          })),
          serviceCidrs: [own('10.96.0.0/16')],
          clusterCidrs: [own('10.1.0.0/16')],
        }
  const registry = new Registry()
  for (const { from } of cases) registry.address(own(from))
  const destinations: Destination[] = DIALS.map(([protocol, address, port]) => ({
    address: registry.address(own(address)),
    port,
    protocol: protocol === 'tcp' ? 6 : 17,
    isService: false,
  }))
  const context = new ExplainContext(new Directory(cluster), registry, destinations)
  const { native } = emitRules(cluster, context.compiled, registry, 'a', family)
  const node = registry.node('a')
  const out = createDecision()

  const outcomes = (one: Case): ReadonlySet<string> | null => {
    const index = DIALS.findIndex(([p, a, n]) => p === one.protocol && a === one.to && n === one.port)
    const { address, port, protocol } = destinations[index]!
    const client = registry.address(own(one.from))
    decide(context.rules, node, { source: client, destination: address, port, protocol }, out)
    const action = ACTION_NAMES[out.action]!
    if (action === 'drop') return new Set(['silent'])
    if (action === 'reject') return new Set(['refused'])
    const tries = action === 'dnat' ? 12 * out.setCount : 1
    const session = new Session(context, {
      connections: tries,
      packets: tries * 4,
      endpoints: registry.endpoints.length,
      nodes: registry.nodes.length,
      durationSeconds: tries,
    })
    const found = new Set<string>()
    for (let i = 0; i < tries; i++) {
      const result = session.send({
        connection: i,
        client,
        destination: index,
        sourcePort: 40_000 + i,
        protocol,
        node,
        timeSeconds: i / 100,
        flags: null,
        isReply: false,
      })
      // Nothing was translated: whoever has the address answers, where every port that is dialled is open.
      if (action !== 'dnat') {
        if (protocol === 17) return null
        const seen = result.reason === REASON_NONE ? registry.addressText(result.seen) : '*'
        return new Set([`${own(one.to)} ${port} ${seen}`])
      }
      if (result.reason !== REASON_NONE) return null
      const backend = registry.addressText(result.backend)
      const seen = registry.addressText(result.seen)
      found.add(`${backend} ${result.backendPort} ${seen}`)
    }
    return found
  }
  return { native, outcomes }
}
