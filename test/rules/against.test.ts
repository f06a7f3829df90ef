/** A node's rules beside the manifests: what is printed is the same as what it was printed from, and what was changed is found and named. */
import { describe, expect, test } from 'vitest'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { type Comparison, compareDump } from '../../src/rules/against.ts'
import { readDump } from '../../src/rules/read/dump.ts'
import { type ClusterSpec, clusterOf, type ServiceSpec } from '../core/cluster.ts'
import { randomOf, randomWorld, type World } from '../live/worlds.ts'
import { dumpOf } from './dumps.ts'

const MODES = ['nftables', 'iptables', 'ipvs'] as const

function against(cluster: Cluster, text: string, node = 'a'): Comparison {
  return compareDump(cluster, readDump([{ path: 'node.txt', text }], null), node)
}

function differences({ differences: list }: Comparison): string[] {
  return list.map(({ kind, service, frontend, text }) => `${kind} | ${service} | ${frontend} | ${text}`)
}

function specOf(world: World): ClusterSpec {
  const shared = {
    external: world.external,
    internal: world.internal,
    affinitySeconds: world.affinitySeconds,
    endpoints: world.endpoints,
  }
  const detection =
    world.detector === 'NodeCIDR'
      ? { detectLocalMode: 'NodeCIDR' }
      : { detectLocalMode: 'ClusterCIDR', ...(world.detector === 'ClusterCIDR' ? { clusterCIDR: '10.1.0.0/16' } : {}) }
  return {
    nodes: 3,
    serviceCidrsWritten: world.serviceCidrs,
    pods: { '10.1.0.77': 'a', '10.1.0.5': 'a', '10.1.1.6': 'b' },
    kubeProxy: { ...detection, [world.mode]: { masqueradeAll: world.masqueradeAll } },
    services: [
      {
        ...shared,
        name: 'web',
        targetPort: 8080,
        nodePort: 30080,
        balancer: ['203.0.113.1'],
        externalIPs: ['203.0.113.9'],
        sourceRanges: world.ranges,
        ...(world.external === 'Local' ? { healthCheckNodePort: 32000 } : {}),
      },
      { ...shared, name: 'dns', clusterIP: '10.96.0.11', protocol: 'UDP', port: 53, nodePort: 30053 },
    ],
  }
}

describe('what a cluster programs is what its manifests say', () => {
  test.each(MODES)('%s: random clusters, each node', (mode) => {
    const random = randomOf(77)
    let packets = 0
    for (let i = 0; i < 150; i++) {
      const world = { ...randomWorld(random), affinitySeconds: random() < 0.4 ? 10_800 : 0 }
      const cluster = clusterOf(specOf({ ...world, mode: mode === 'ipvs' ? 'iptables' : mode }))
      for (const node of ['a', 'b']) {
        const comparison = against(cluster, dumpOf(cluster, mode, node), node)
        expect(differences(comparison), JSON.stringify(world)).toEqual([])
        expect(comparison.warnings.filter(({ code }) => code === 'W_DUMP_RULE')).toEqual([])
        packets += comparison.packets
      }
    }
    expect(packets).toBeGreaterThan(10_000)
  })
})

const WEB: ServiceSpec = {
  name: 'web',
  targetPort: 8080,
  nodePort: 30080,
  balancer: ['203.0.113.1'],
  endpoints: [
    { address: '10.1.0.5', node: 'a' },
    { address: '10.1.1.5', node: 'b' },
  ],
}

function clusterWith(change: Partial<ServiceSpec>, more: readonly ServiceSpec[] = []): Cluster {
  return clusterOf({
    nodes: 2,
    pods: { '10.1.0.77': 'a' },
    kubeProxy: { clusterCIDR: '10.1.0.0/16' },
    services: [{ ...WEB, ...change }, ...more],
  })
}

/** What the node has, what the manifests say now, and what must be named. */
const CHANGES: readonly (readonly [
  what: string,
  node: Partial<ServiceSpec>,
  now: Partial<ServiceSpec>,
  expected: string,
])[] = [
  [
    'a pod that was added since',
    {},
    { endpoints: [...WEB.endpoints, { address: '10.1.1.9', node: 'b' }] },
    'endpoint-missing | default/web:80 | 10.96.0.10:80/tcp | endpoint 10.1.1.9:8080 gets nothing',
  ],
  [
    'a pod that is gone',
    {},
    { endpoints: WEB.endpoints.slice(0, 1) },
    'endpoint-stale | default/web:80 | 10.96.0.10:80/tcp | endpoint 10.1.1.5:8080 gets connections: in no EndpointSlice of the Service, or not usable',
  ],
  [
    'policy Local, and rules of before: the other node is still used',
    {},
    { external: 'Local' },
    'endpoint-stale | default/web:80 | 203.0.113.1:80/tcp | endpoint 10.1.1.5:8080 gets connections: on node b, not of those that this policy uses here',
  ],
  [
    'another affinity timeout',
    { affinitySeconds: 600 },
    { affinitySeconds: 10_800 },
    'affinity | default/web:80 | 10.96.0.10:80/tcp | clients are kept to their endpoint for 600 s instead of 10800 s',
  ],
  [
    'affinity that was turned on',
    {},
    { affinitySeconds: 10_800 },
    'affinity | default/web:80 | 10.96.0.10:80/tcp | clients are not kept to an endpoint; by the manifests they are, for 10800 s',
  ],
  [
    'affinity that was turned off',
    { affinitySeconds: 30 },
    {},
    'affinity | default/web:80 | 10.96.0.10:80/tcp | clients are kept to their endpoint for 30 s; the Service has no affinity',
  ],
  [
    'no endpoint is left',
    {},
    { endpoints: [] },
    'verdict | default/web:80 | 10.96.0.10:80/tcp | goes to endpoints; by the manifests it is rejected',
  ],
  [
    'a node port that moved: the new one is not there',
    {},
    { nodePort: 30081 },
    'frontend-missing | default/web:80 | 192.168.0.1:30081/tcp | the node has no rule for it',
  ],
]

describe('what changed since is found and named', () => {
  describe.each(['nftables', 'iptables'] as const)('%s', (mode) => {
    test.each(CHANGES)('%s', (_what, node, now, expected) => {
      const comparison = against(clusterWith(now), dumpOf(clusterWith(node), mode))
      expect(differences(comparison)).toContain(expected)
    })

    test('source ranges that were written since', () => {
      const now = clusterWith({ sourceRanges: ['198.51.100.0/24'] })
      const [first, ...rest] = against(now, dumpOf(clusterWith({}), mode)).differences
      expect(first).toMatchObject({
        kind: 'source-ranges',
        frontend: '203.0.113.1:80/tcp',
        text: 'goes to endpoints; by the manifests it is dropped',
      })
      expect(first!.sources.map(({ text }) => text)).not.toContain('198.51.100.0')
      expect(first!.sources.map(({ text }) => text)).toContain('198.51.101.0')
      expect(rest).toEqual([])
    })

    test('another range than before: only who is in one and not in the other sees it', () => {
      const before = clusterWith({ sourceRanges: ['198.51.100.0/24'] })
      const now = clusterWith({ sourceRanges: ['198.51.100.0/25'] })
      const [first, ...rest] = against(now, dumpOf(before, mode)).differences
      expect(first!.kind).toBe('source-ranges')
      expect(first!.sources.map(({ text }) => text)).toEqual(['198.51.100.128'])
      expect(rest).toEqual([])
    })

    test('a Service that the manifests do not have', () => {
      const node = clusterWith({}, [{ ...WEB, name: 'old', clusterIP: '10.96.0.77', nodePort: 0, balancer: [] }])
      const found = against(clusterWith({}), dumpOf(node, mode)).differences
      expect(found.map(({ kind, service, frontend }) => [kind, service, frontend])).toContainEqual([
        'frontend-stale',
        'default/old',
        '10.96.0.77:80/tcp',
      ])
    })

    test('a cluster CIDR that is not the one written: pods are masqueraded', () => {
      const node = clusterOf({ nodes: 2, kubeProxy: { clusterCIDR: '10.9.0.0/16' }, services: [WEB] })
      const found = against(clusterWith({}), dumpOf(node, mode)).differences
      expect(found.map(({ kind, text }) => [kind, text])).toContainEqual([
        'masquerade',
        'is masqueraded; by the manifests it is not',
      ])
      expect(found.every(({ kind }) => kind === 'masquerade')).toBe(true)
    })

    test('where the manifests say nothing of kube-proxy, the dump’s settings are taken and named', () => {
      const node = clusterOf({ nodes: 2, kubeProxy: { clusterCIDR: '10.9.0.0/16' }, services: [WEB] })
      const now = clusterOf({ nodes: 2, services: [WEB] })
      const comparison = against(now, dumpOf(node, mode))
      expect(differences(comparison)).toEqual([])
      expect(comparison.taken).toMatchObject({ mode, clusterCIDR: '10.9.0.0/16' })
    })
  })

  test('ipvs: a pod that is gone, and a persistence that is another', () => {
    const before = dumpOf(clusterWith({ affinitySeconds: 600 }), 'ipvs')
    const found = differences(
      against(clusterWith({ affinitySeconds: 10_800, endpoints: WEB.endpoints.slice(0, 1) }), before),
    )
    expect(found).toContain(
      'endpoint-stale | default/web:80 | 10.96.0.10:80/tcp | endpoint 10.1.1.5:8080 gets connections: in no EndpointSlice of the Service, or not usable',
    )
    expect(found).toContain(
      'affinity | default/web:80 | 10.96.0.10:80/tcp | clients are kept to their endpoint for 600 s instead of 10800 s',
    )
  })

  test('the mode that the manifests ask for and the node does not have', () => {
    const now = clusterOf({
      nodes: 2,
      kubeProxy: { mode: 'nftables', clusterCIDR: '10.1.0.0/16' },
      services: [WEB],
    })
    expect(against(now, dumpOf(clusterWith({}), 'iptables')).differences[0]).toMatchObject({
      kind: 'mode',
      text: 'the manifests say mode nftables, the node has rules of iptables',
    })
  })

  test.each(['nftables', 'ipvs'] as const)('%s: the dump of another node is told', (mode) => {
    const text = dumpOf(clusterWith({}), mode, 'b')
    expect(against(clusterWith({}), text, 'a').warnings.map(({ code }) => code)).toContain('W_OTHER_NODE')
    expect(against(clusterWith({}), text, 'b').warnings.map(({ code }) => code)).not.toContain('W_OTHER_NODE')
  })

  test('what an earlier mode left', () => {
    const text = dumpOf(clusterWith({}), 'nftables') + dumpOf(clusterWith({}), 'iptables')
    const [first] = against(clusterWith({}), text).differences
    expect(first).toMatchObject({ kind: 'mode' })
    expect(first!.text).toContain('iptables')
  })
})

/** Rules whose loss no first packet of a Service notices, and why. */
const SILENT: readonly RegExp[] = [
  // Of packets that are no first ones, or that are translated already.
  /-A KUBE-FORWARD |-A FORWARD .*-j KUBE-FORWARD|KUBE-FIREWALL|-A KUBE-POSTROUTING -j MARK --xor-mark|meta mark set meta mark \^/,
  // It only says what the next chain does.
  /will be dropped by/,
  // Addresses of load balancers are not the node's own here, and its own packets to them are let in.
  /-A (OUTPUT|INPUT) .*-j KUBE-PROXY-FIREWALL/,
]

describe('each rule that is lost is noticed', () => {
  test.each(['nftables', 'iptables'] as const)('%s', (mode) => {
    const endpoints = WEB.endpoints
    const cluster = clusterOf({
      nodes: 2,
      pods: { '10.1.0.77': 'a' },
      serviceCidrsWritten: false,
      kubeProxy: { clusterCIDR: '10.1.0.0/16' },
      services: [
        {
          ...WEB,
          external: 'Local',
          sourceRanges: ['198.51.100.0/24'],
          affinitySeconds: 60,
          healthCheckNodePort: 32000,
        },
        { ...WEB, name: 'local', clusterIP: '10.96.0.12', internal: 'Local', nodePort: 0, balancer: [], endpoints },
        {
          ...WEB,
          name: 'empty',
          clusterIP: '10.96.0.13',
          nodePort: 30082,
          balancer: ['203.0.113.7'],
          externalIPs: ['192.168.0.1'],
          endpoints: [],
        },
        {
          ...WEB,
          name: 'away',
          clusterIP: '10.96.0.14',
          nodePort: 30083,
          balancer: ['203.0.113.8'],
          external: 'Local',
          internal: 'Local',
          endpoints: endpoints.slice(1),
        },
      ],
    })
    const lines = dumpOf(cluster, mode).split('\n')
    expect(differences(against(cluster, lines.join('\n')))).toEqual([])
    const silent: string[] = []
    let tried = 0
    lines.forEach((line, i) => {
      const isRule =
        mode === 'iptables'
          ? line.startsWith('-A ')
          : /^\t\t(?!type |comment |elements |size |flags |timeout |\s)/.test(line)
      if (!isRule || SILENT.some((pattern) => pattern.test(line))) return
      tried++
      const without = lines.filter((_, k) => k !== i).join('\n')
      if (against(cluster, without).differences.length === 0) silent.push(line.trim())
    })
    expect(silent).toEqual([])
    expect(tried).toBeGreaterThan(30)
  })

  /** Of ipvs mode's fixed rules: what is taken away, and what shows it. */
  test.each<[RegExp, string, string]>([
    [/-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ\n/, 'masquerade', '203.0.113.1:80/tcp'],
    [/-A KUBE-NODE-PORT .*KUBE-NODE-PORT-TCP dst.*\n/, 'masquerade', '192.168.0.1:30080/tcp'],
    [/-A KUBE-SERVICES .*CLUSTER-IP dst,dst ! -s.*\n/, 'masquerade', '10.96.0.10:80/tcp'],
    [/-A KUBE-SERVICES .*EXTERNAL-IP dst,dst -j KUBE-MARK-MASQ\n/, 'masquerade', '203.0.113.9:80/tcp'],
    [/-A KUBE-POSTROUTING .*LOOP-BACK.*\n/, 'hairpin', '10.96.0.10:80/tcp'],
    [/-A KUBE-POSTROUTING .*MASQUERADE --random-fully\n/, 'masquerade', '10.96.0.10:80/tcp'],
    [/-A KUBE-SOURCE-RANGES-FIREWALL -j DROP\n/, 'source-ranges', '203.0.113.1:80/tcp'],
    [/-A KUBE-SOURCE-RANGES-FIREWALL .*SOURCE-CIDR.*\n/, 'source-ranges', '203.0.113.1:80/tcp'],
    [/-A KUBE-IPVS-OUT-FILTER .*\n/, 'source-ranges', '203.0.113.1:80/tcp'],
    [/-A KUBE-IPVS-FILTER .*REJECT\n/, 'verdict', '10.96.0.10, any other port'],
    [/-A KUBE-IPVS-FILTER .*CLUSTER-IP dst,dst -j RETURN\n/, 'verdict', '10.96.0.10:80/tcp'],
    [/-A KUBE-NODE-PORT .*HEALTH-CHECK.* -j ACCEPT\n/, 'frontend-missing', '192.168.0.1:32000/tcp'],
    [/add KUBE-LOAD-BALANCER-SOURCE-CIDR .*\n/, 'source-ranges', '203.0.113.1:80/tcp'],
  ])('ipvs: %s', (lost, kind, frontend) => {
    const cluster = clusterWith({ sourceRanges: ['198.51.100.0/24'], externalIPs: ['203.0.113.9'] }, [
      {
        ...WEB,
        name: 'local',
        clusterIP: '10.96.0.12',
        nodePort: 30081,
        balancer: ['203.0.113.2'],
        external: 'Local',
        healthCheckNodePort: 32000,
      },
    ])
    const text = dumpOf(cluster, 'ipvs')
    expect(differences(against(cluster, text))).toEqual([])
    expect(text).toMatch(lost)
    const found = against(cluster, text.replace(lost, '')).differences
    expect(found.map((one) => [one.kind, one.frontend])).toContainEqual([kind, frontend])
  })
})

describe('dumps as they are found', () => {
  const cluster = clusterWith({ affinitySeconds: 60 })

  test('counters, comments, other tables and chains of other software', () => {
    const rules = dumpOf(cluster, 'iptables')
      .split('\n')
      .map((line) => (line.startsWith('-A ') ? `[12:3456] ${line}` : line))
      .join('\n')
      .replace(
        '-A PREROUTING',
        '-A PREROUTING -m comment --comment "cali:6gwbT8clXdHdC1b1" -j cali-PREROUTING\n-A PREROUTING',
      )
      .replace(':KUBE-MARK-MASQ', ':cali-PREROUTING - [0:0]\n:KUBE-MARK-MASQ')
    const text = `# Generated by iptables-save v1.8.9 (nf_tables) on Mon Jan  5 10:00:00 2026\n*mangle\n:PREROUTING ACCEPT [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n# Completed on Mon Jan  5 10:00:00 2026\n${rules}`
    const comparison = against(cluster, text)
    expect(differences(comparison)).toEqual([])
    expect(comparison.passedOver).toEqual(['cali-PREROUTING'])
    const nft = `table inet filter {\n\tset x { type ipv4_addr; elements = { 1.2.3.4 } }\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n\t\tct state vmap { established : accept, related : accept }\n\t\tiifname "lo" accept comment "brace } in a string"\n\t}\n}\n${dumpOf(cluster, 'nftables')}`
    expect(differences(against(cluster, nft))).toEqual([])
  })

  test('the shape that 1.31 has: filter chains before translation, and one behind it for cluster IPs', () => {
    const text = dumpOf(cluster, 'nftables')
      .replace('filter-prerouting-pre-dnat', 'filter-prerouting')
      .replaceAll(/(hook (?:input|forward|output) priority) 0;/g, '$1 -110;')
      .replace(/\tchain filter-output-pre-dnat \{[^}]*\}\n/, '')
      .replace(
        /(\tchain filter-output \{\n.*\n\t\tct state new jump service-endpoints-check\n)\t\tct state new jump cluster-ips-check\n/,
        '$1\t\tct state new jump firewall-check\n\t}\n\tchain filter-output-post-dnat {\n\t\ttype filter hook output priority -90; policy accept;\n\t\tct state new jump cluster-ips-check\n',
      )
    expect(text).toContain('filter-output-post-dnat')
    expect(text).not.toContain('pre-dnat')
    expect(differences(against(cluster, text))).toEqual([])
  })

  test('the table of iptables-nft in nft list ruleset: what to run instead', () => {
    const text =
      'table ip nat {\n\tchain KUBE-SERVICES {\n\t\txt match "comment" counter packets 0 bytes 0 jump KUBE-NODEPORTS\n\t}\n}\n'
    expect(() => against(cluster, text)).toThrow(
      expect.objectContaining({ code: 'E_DUMP', hint: expect.stringContaining('iptables-save') }),
    )
  })

  test('a rule with a match that is not known is said, and taken for one that never matches', () => {
    const text = dumpOf(cluster, 'iptables').replace(
      '-A KUBE-MARK-MASQ -j',
      '-A KUBE-MARK-MASQ -m time --timestart 10:00 -j',
    )
    const comparison = against(cluster, text)
    expect(comparison.warnings.map(({ message }) => message).join()).toContain('--timestart')
    expect(comparison.differences.some(({ kind }) => kind === 'masquerade')).toBe(true)
  })

  test('built-in chains that are not declared, or without a policy', () => {
    const text = dumpOf(cluster, 'iptables')
    expect(
      differences(against(cluster, text.replace(/^:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) .*\n/gm, ''))),
    ).toEqual([])
    expect(differences(against(cluster, text.replace(/^:(PREROUTING|INPUT) ACCEPT/gm, ':$1 -')))).toEqual([])
  })

  test.each(['-P PREROUTING ACCEPT\n-N KUBE-SERVICES\n', 'Chain KUBE-SERVICES (2 references)\n'])(
    'iptables -S and -L do not say which table: %j',
    (text) => {
      expect(() => against(cluster, text)).toThrow(
        expect.objectContaining({ hint: expect.stringContaining('iptables-save') }),
      )
    },
  )

  test('PREROUTING that does not lead to kube-proxy’s chains', () => {
    const text = dumpOf(cluster, 'iptables').replace(/-A PREROUTING .*\n/, '')
    const found = differences(against(cluster, text))
    expect(found).toContain('hook |  |  | IPv4: PREROUTING of table nat does not lead to KUBE-SERVICES')
  })

  test.each([
    ['*nat\n-A KUBE-SERVICES -m comment --comment "no end -j KUBE\nCOMMIT\n', 'node.txt, line 2'],
    ['table ip kube-proxy {\n\tchain x {\n\t\tip daddr 10.0.0.1\n', 'node.txt, line 3'],
    ['Chain KUBE-SERVICES (2 references)\n', 'node.txt, line 1'],
    ['-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -m\n', 'node.txt, line 2'],
    ['{"nftables": [', 'node.txt'],
    ['', 'node.txt'],
  ])('%j is refused, with its place', (text, where) => {
    expect(() => against(cluster, text)).toThrow(expect.objectContaining({ code: 'E_DUMP', where, exitCode: 3 }))
  })
})
