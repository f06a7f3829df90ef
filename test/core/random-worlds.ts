/** Random small clusters, and random packets of eight connections on them: what the properties of the dataplane run on. */
import fc from 'fast-check'
import type { NetworkPolicy } from '../../src/k8s/types.ts'
import { specs } from '../policy/support.ts'
import { type ClusterSpec, clusterOf, NODE_NAMES, type ServiceSpec } from './cluster.ts'
import { Lab, type LabOptions, type Packet } from './harness.ts'

export const SEED = 20_266
/** The last is in the pods' network and on no node: taken for a pod, and coming from outside. */
const OUTSIDE = ['198.51.100.7', '198.51.100.8', '10.1.200.9']

export interface Setting {
  readonly cluster: ClusterSpec
  readonly dials: readonly string[]
  readonly clients: readonly string[]
  readonly mode: 'nftables' | 'iptables' | 'ipvs'
  readonly tcpLoose: number
  readonly egressMasquerade: number
  readonly seed: number
  /** All addresses are of this family: the same world in either. */
  readonly family: 'IPv4' | 'IPv6'
  /** Of the KubeProxyConfiguration: longer and shorter than conntrack's timers. */
  readonly ipvsUdpSeconds: number
}

const policy = fc.constantFrom('Cluster' as const, 'Local' as const)

export const setting: fc.Arbitrary<Setting> = fc
  .record({
    nodes: fc.oneof(
      { weight: 3, arbitrary: fc.integer({ min: 1, max: 3 }) },
      { weight: 1, arbitrary: fc.integer({ min: 4, max: 8 }) },
    ),
    external: policy,
    internal: policy,
    endpoints: fc.array(
      fc.record({ node: fc.nat(7), host: fc.integer({ min: 5, max: 8 }), ready: fc.boolean(), draining: fc.boolean() }),
      { maxLength: 5 },
    ),
    affinitySeconds: fc.constantFrom(0, 40),
    proxyMode: fc.boolean(),
    keepsClient: fc.boolean(),
    mode: fc.constantFrom('nftables' as const, 'iptables' as const, 'ipvs' as const),
    tcpLoose: fc.nat(1),
    egressMasquerade: fc.nat(1),
    seed: fc.integer(),
    ranges: fc.boolean(),
    // Beside node ports, at one of them, and at one address.
    hostPorts: fc.constantFrom([], ['8088/80/TCP', '8053/53/UDP'], ['30080/80/TCP', '192.168.0.1:30053/53/UDP']),
    ipvsUdpSeconds: fc.constantFrom(20, 100, 300),
    family: fc.constantFrom('IPv4' as const, 'IPv6' as const),
    detector: fc.constantFrom('ClusterCIDR', 'ClusterCIDR', 'NodeCIDR', 'none'),
    masqueradeAll: fc.boolean(),
    zones: fc.constantFrom(['', ''], ['x', 'y']),
  })
  .map((choice): Setting => {
    const endpoints = choice.endpoints.map(({ node, host, ready, draining }) => ({
      address: `10.1.${node % choice.nodes}.${host}`,
      node: NODE_NAMES[node % choice.nodes],
      ready,
      serving: ready || draining,
      terminating: !ready && draining,
    }))
    const shared = {
      external: choice.external,
      internal: choice.internal,
      affinitySeconds: choice.affinitySeconds,
      endpoints,
    }
    const services: ServiceSpec[] = [
      {
        ...shared,
        name: 'web',
        clusterIP: '10.96.0.10',
        targetPort: 8080,
        nodePort: 30080,
        balancer: ['203.0.113.1'],
        proxyMode: choice.proxyMode,
        keepsClient: choice.keepsClient,
        externalIPs: ['203.0.113.9'],
        sourceRanges: choice.ranges ? ['198.51.100.7/32', '10.0.0.0/8'] : [],
      },
      { ...shared, name: 'dns', clusterIP: '10.96.0.11', protocol: 'UDP', port: 53, nodePort: 30053 },
      { ...shared, name: 'calls', clusterIP: '10.96.0.12', protocol: 'SCTP', port: 9899, nodePort: 30099 },
    ]
    const nodes = Array.from({ length: choice.nodes }, (_, i) => i)
    const kubeProxy = {
      detectLocalMode: choice.detector === 'none' ? 'ClusterCIDR' : choice.detector,
      ...(choice.detector === 'ClusterCIDR' ? { clusterCIDR: '10.1.0.0/16' } : {}),
      ...(choice.mode === 'ipvs' ? {} : { [choice.mode]: { masqueradeAll: choice.masqueradeAll } }),
      ipvs: { udpTimeout: `${choice.ipvsUdpSeconds}s` },
    }
    const zones = nodes.map((i) => choice.zones[i % 2])
    return {
      cluster: {
        nodes: choice.nodes,
        services,
        pods: { '10.1.0.77': 'a' },
        hostPorts: { '10.1.0.77': choice.hostPorts },
        kubeProxy,
        zones,
      },
      family: choice.family,
      ipvsUdpSeconds: choice.ipvsUdpSeconds,
      dials: [
        '203.0.113.1:80/tcp',
        '203.0.113.9:80/tcp',
        '10.96.0.10:80/tcp',
        '10.96.0.11:53/udp',
        '10.96.0.12:9899/sctp',
        ...nodes.flatMap((i) => [
          `192.168.0.${i + 1}:30080/tcp`,
          `192.168.0.${i + 1}:30053/udp`,
          `192.168.0.${i + 1}:30099/sctp`,
        ]),
        ...nodes.map((i) => `!10.1.${i}.5:8080/tcp`),
        '!192.168.0.1:8088/tcp',
        '!192.168.0.1:8053/udp',
        '!192.0.2.1:443/tcp',
        '!192.0.2.1:443/udp',
      ],
      // Outside, a pod, every node, and the pods that are endpoints: those can meet themselves.
      clients: [
        ...OUTSIDE,
        '10.1.0.77',
        ...nodes.map((i) => `192.168.0.${i + 1}`),
        ...endpoints.slice(0, 2).map(({ address }) => address),
      ],
      mode: choice.mode,
      tcpLoose: choice.tcpLoose,
      egressMasquerade: choice.egressMasquerade,
      seed: choice.seed,
    }
  })

const BLOCKS = [{ cidr: '198.51.100.7/32' }, { cidr: '192.168.0.0/24' }, { cidr: '0.0.0.0/0', except: ['10.0.0.0/8'] }]
const LABELS = [{ app: 'a' }, { app: 'b' }, { app: 'a', tier: 'c' }, { app: 'c' }, { tier: 'a' }]

/** The same with NetworkPolicies in a third of them; the endpoints are then pods that they may select. */
export const policedSetting: fc.Arbitrary<Setting> = fc
  .tuple(
    setting,
    fc.oneof(
      { weight: 2, arbitrary: fc.constant<NetworkPolicy['spec'][]>([]) },
      { weight: 1, arbitrary: fc.array(specs(BLOCKS), { minLength: 1, maxLength: 2 }) },
    ),
  )
  .map(([world, policies]): Setting => {
    if (policies.length === 0) return world
    const { cluster } = world
    const endpoints = cluster.services[0]!.endpoints.map(({ address, node }) => [address, node ?? ''] as const)
    const pods = { ...cluster.pods, ...Object.fromEntries(endpoints) }
    return { ...world, cluster: { ...cluster, pods, policies, podLabels: LABELS } }
  })

/** What happens on a connection: single packets, or the sequences that lead far into the state machine. */
export interface Step {
  readonly connection: number
  readonly waitMs: number
  readonly what: 'packet' | 'handshake' | 'exchange' | 'close' | 'anew'
  readonly from: 'client' | 'server'
  readonly flags: number
  readonly length: number
}

export const step: fc.Arbitrary<Step> = fc.record({
  connection: fc.nat(7),
  waitMs: fc.oneof(
    { weight: 6, arbitrary: fc.nat(3000) },
    { weight: 3, arbitrary: fc.constantFrom(9_999, 10_000, 29_999, 30_000, 40_000, 40_001, 60_000, 119_999, 120_000) },
    { weight: 1, arbitrary: fc.constantFrom(300_000, 3_600_000) },
  ),
  what: fc.constantFrom('packet', 'packet', 'handshake', 'exchange', 'close', 'anew'),
  from: fc.constantFrom('client', 'client', 'server'),
  flags: fc.constantFrom(0, 1, 2, 4, 16, 17, 18, 20, 24),
  length: fc.constantFrom(40, 60, 61, 1500),
})

const SEQUENCES = {
  handshake: [
    ['client', 2],
    ['server', 18],
    ['client', 16],
  ],
  exchange: [
    ['client', 24],
    ['server', 16],
    ['server', 24],
    ['client', 16],
  ],
  close: [
    ['client', 17],
    ['server', 16],
    ['server', 17],
    ['client', 16],
  ],
} as const

/** Which client, destination and port each of eight connections has; few ports, so that tuples are met again. */
const connection = fc.record({ client: fc.nat(100), dial: fc.nat(100), port: fc.integer({ min: 40_000, max: 40_001 }) })
/** The same where most dial a Service's own address, and meet there. */
export const eightToServices = fc.array(
  fc.record({
    client: fc.oneof({ weight: 1, arbitrary: fc.nat(100) }, { weight: 2, arbitrary: fc.nat(2) }),
    dial: fc.oneof({ weight: 1, arbitrary: fc.nat(100) }, { weight: 4, arbitrary: fc.constantFrom(0, 2, 3) }),
    port: fc.integer({ min: 40_000, max: 40_002 }),
  }),
  { minLength: 8, maxLength: 8 },
)
export const eight = fc.array(connection, { minLength: 8, maxLength: 8 })

export interface Script {
  /** Client, destination and port of each connection, in the order they are made. */
  readonly connections: readonly { readonly client: string; readonly dial: string; readonly port: number }[]
  readonly packets: readonly Packet[]
}

export function scriptOf(
  world: Setting,
  choices: readonly { client: number; dial: number; port: number }[],
  steps: readonly Step[],
): Script {
  const describe = (one: { client: number; dial: number; port: number }) => ({
    client: world.clients[one.client % world.clients.length],
    dial: world.dials[one.dial % world.dials.length].replace('!', ''),
    port: one.port,
  })
  const connections = choices.map(describe)
  const current = choices.map((_, i) => i)
  const packets: Packet[] = []
  let atMs = 0
  for (const one of steps) {
    atMs += one.waitMs
    if (one.what === 'anew') {
      // A later connection of the same tuple.
      current[one.connection] = connections.length
      connections.push(describe(choices[one.connection]))
    }
    const sequence =
      one.what === 'packet' ? [[one.from, one.flags] as const] : SEQUENCES[one.what === 'anew' ? 'handshake' : one.what]
    for (const [from, flags] of sequence) {
      packets.push({ connection: current[one.connection], atMs, from, flags, length: flags === 24 ? 1500 : one.length })
    }
  }
  return { connections, packets }
}

export function labOf(world: Setting, options: LabOptions = {}): Lab {
  const translate = world.family === 'IPv6' ? asIPv6 : undefined
  return new Lab(clusterOf(world.cluster), world.dials, {
    translate,
    mode: world.mode,
    seed: world.seed,
    clients: OUTSIDE,
    model: { tcpLoose: world.tcpLoose, egressMasquerade: world.egressMasquerade },
    connections: 512,
    entries: 2000,
    durationMs: 200_000_000,
    ...options,
  })
}

/** Every IPv4 address and block of these worlds in a text as the IPv6 one that stands for it, and the families' names. */
export function asIPv6(text: string): string {
  return text
    .replaceAll('"IPv4"', '"IPv6"')
    .replaceAll('0.0.0.0/0', '::/0')
    .replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)(\/\d+)?(?=(:\d)?)/g, (_all, a, b, c, d, block, port) => {
      const hex = (part: string): string => Number(part).toString(16)
      const bits = { '/8': '/16', '/16': a === '10' && b === '96' ? '/108' : '/48', '/24': '/64', '/32': '/128' }
      const length = block === undefined ? '' : bits[block as keyof typeof bits]
      const host = d === '0' ? '' : hex(d)
      const subnet = c === '0' || block === '/16' ? '' : `:${hex(c)}`
      const nets: Record<string, string> = {
        '192.168': 'fd00:192:168',
        '198.51': '2001:db8:198',
        '203.0': '2001:db8:203',
      }
      let made = `${nets[`${a}.${b}`] ?? '2001:db8:192'}::${host}`
      if (a === '10') made = b === '0' ? 'fd00::' : b === '96' ? `fd00:10:96::${host}` : `fd00:10:1${subnet}::${host}`
      return port === undefined ? made + length : `[${made}]`
    })
}

/**
 * What must stay together: what is one client to a Service. A load balancer that sends from an address of its own is one, and so are a node
 * and the pods that leave it for another node's address.
 */
export function shardsOf(world: Setting, connections: Script['connections']): number[] {
  const hides = world.cluster.services.filter(
    ({ proxyMode, keepsClient }) => proxyMode === true && keepsClient !== true,
  )
  const hidden = hides.flatMap(({ balancer = [] }) => balancer)
  return connections.map(({ client, dial }) => {
    if (hidden.some((address) => dial.startsWith(`${address}:`))) return 0
    const node = /^10\.1\.(\d)\./.exec(client)?.[1]
    return world.clients.indexOf(node === undefined ? client : `192.168.0.${Number(node) + 1}`) % 4
  })
}

/** ipvs takes turns, and the `recent` lists of iptables are reaped, for a whole node: a shard does both for itself. */
export function shareable(world: Setting): Setting {
  return { ...world, mode: 'nftables' }
}
