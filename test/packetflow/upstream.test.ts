/**
 * The packet tables of kube-proxy's own tests, row by row.
 *
 * Source: kubernetes/kubernetes pkg/proxy/{iptables,nftables}/proxier_test.go, the tests named below (about v1.33).
 */
import { describe } from 'vitest'
import { ALT_NODE, BLOCKED, CLIENT, NODE, POD, RULE_MODES, row, rows, service, slice, world } from './support.ts'

const LB = '1.2.3.4'
const LB2 = '5.6.7.8'
const VIP = '172.30.0.41'

describe.each(RULE_MODES)('%s', (mode) => {
  describe('TestClusterIPGeneral', () => {
    const ports = [
      { name: 'http', port: 80, protocol: 'TCP' },
      { name: 'https', port: 443, protocol: 'TCP', targetPort: 8443 },
      { name: 'dns-udp', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 53, protocol: 'TCP', targetPort: 5353 },
      { name: 'dns-sctp', port: 53, protocol: 'SCTP' },
    ]
    const slicePorts = [
      { name: 'http', port: 80, protocol: 'TCP' },
      { name: 'https', port: 8443, protocol: 'TCP' },
      { name: 'dns-udp', port: 53, protocol: 'UDP' },
      { name: 'dns-tcp', port: 5353, protocol: 'TCP' },
      { name: 'dns-sctp', port: 53, protocol: 'SCTP' },
    ]
    const unused = mode === 'iptables' ? 'none' : 'reject no-such-port'
    rows(
      [
        ...world(mode, { serviceCidrs: ['172.30.0.0/16'] }),
        service('svc1', { clusterIP: VIP, ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }),
        slice('svc1', ['10.180.0.1@test-node'], [{ name: 'http', port: 80, protocol: 'TCP' }]),
        service('svc2', { clusterIP: '172.30.0.42', ports }),
        slice('svc2', ['10.180.0.1@test-node', '10.180.2.1@node2'], slicePorts),
      ],
      [
        row('simple clusterIP', '10.180.0.2', `${VIP}:80`, 'dnat 10.180.0.1:80'),
        row('hairpin to cluster IP', '10.180.0.1', `${VIP}:80`, 'dnat 10.180.0.1:80 masq'),
        row('multiple endpoints', '10.180.0.2', '172.30.0.42:80', 'dnat 10.180.0.1:80 10.180.2.1:80'),
        row('target port', '10.180.0.2', '172.30.0.42:443', 'dnat 10.180.0.1:8443 10.180.2.1:8443'),
        row('TCP of three protocols', '10.180.0.2', '172.30.0.42:53', 'dnat 10.180.0.1:5353 10.180.2.1:5353'),
        row('UDP of three protocols', '10.180.0.2', '172.30.0.42:53', 'dnat 10.180.0.1:53 10.180.2.1:53', {
          protocol: 'UDP',
        }),
        row('SCTP of three protocols', '10.180.0.2', '172.30.0.42:53', 'dnat 10.180.0.1:53 10.180.2.1:53', {
          protocol: 'SCTP',
        }),
        row('a TCP port does not match UDP', '10.180.0.2', '172.30.0.42:80', unused, { protocol: 'UDP' }),
        row("svc1 does not accept svc2's ports", '10.180.0.2', `${VIP}:443`, unused),
        row(
          'unallocated cluster IP',
          '10.180.0.2',
          '172.30.0.50:80',
          mode === 'iptables' ? 'none' : 'drop unallocated-cluster-ip',
        ),
      ],
    )
  })

  describe('TestNoEndpointsReject', () => {
    rows(
      [...world(mode), service('svc1', { type: 'LoadBalancer', clusterIP: VIP, externalIPs: ['192.168.99.11'] }, [LB])],
      [
        row('pod to cluster IP', POD, `${VIP}:80`, 'reject no-endpoint'),
        row('external to external IP', CLIENT, '192.168.99.11:80', 'reject no-endpoint'),
        row('pod to node port', POD, `${NODE}:3001`, 'reject no-endpoint'),
        row('external to node port', CLIENT, `${NODE}:3001`, 'reject no-endpoint'),
        row('pod to load balancer', POD, `${LB}:80`, 'reject no-endpoint'),
        row('external to load balancer', CLIENT, `${LB}:80`, 'reject no-endpoint'),
        row(
          'external to node port at another address of the node',
          CLIENT,
          `${ALT_NODE}:3001`,
          mode === 'iptables' ? 'reject no-endpoint' : 'none',
        ),
      ],
    )
  })

  describe('TestLoadBalancer', () => {
    const spec = {
      type: 'LoadBalancer',
      clusterIP: VIP,
      loadBalancerSourceRanges: ['192.168.0.0/24', ' 203.0.113.0/25'],
    }
    const to = 'dnat 10.180.0.1:80'
    rows(
      [...world(mode), service('svc1', spec, [LB, LB2]), slice('svc1', ['10.180.0.1'])],
      [
        row('pod to cluster IP', POD, `${VIP}:80`, to),
        row('external to node port', CLIENT, `${NODE}:3001`, `${to} masq`),
        row('node port bypasses the source ranges', BLOCKED, `${NODE}:3001`, `${to} masq`),
        row('accepted at the first VIP', CLIENT, `${LB}:80`, `${to} masq`),
        row('accepted at the second VIP', CLIENT, `${LB2}:80`, `${to} masq`),
        row('blocked at the first VIP', BLOCKED, `${LB}:80`, 'drop not-in-source-ranges'),
        row('blocked at the second VIP', BLOCKED, `${LB2}:80`, 'drop not-in-source-ranges'),
        row('pod blocked', POD, `${LB}:80`, 'drop not-in-source-ranges'),
        row('node in the ranges', NODE, `${LB}:80`, `${to} masq`),
        row('node that carries the VIP as source', LB, `${LB}:80`, `${to} masq`),
        row('node that carries the other VIP as source', LB2, `${LB}:80`, `${to} masq`),
      ],
    )
  })

  describe('LoadBalancerSourceRanges without the node, or without endpoints', () => {
    const spec = { type: 'LoadBalancer', clusterIP: VIP, loadBalancerSourceRanges: ['203.0.113.0/25'] }
    rows(
      [...world(mode), service('svc1', spec, [LB]), slice('svc1', ['10.180.0.1'])],
      [
        row('node is not in the ranges', NODE, `${LB}:80`, 'drop not-in-source-ranges'),
        row('nor is it under the VIP', LB, `${LB}:80`, 'drop not-in-source-ranges'),
      ],
    )
    rows(
      [...world(mode), service('svc1', spec, [LB])],
      [
        row(
          'no endpoint, blocked client',
          BLOCKED,
          `${LB}:80`,
          mode === 'iptables' ? 'reject no-endpoint' : 'drop not-in-source-ranges',
        ),
        row('no endpoint, accepted client', CLIENT, `${LB}:80`, 'reject no-endpoint'),
      ],
    )
  })

  describe('TestExternalTrafficPolicyLocal', () => {
    const local = 'dnat 10.180.2.1:80'
    const all = 'dnat 10.180.0.1:80 10.180.2.1:80'
    const spec = {
      type: 'LoadBalancer',
      clusterIP: VIP,
      externalTrafficPolicy: 'Local',
      externalIPs: ['192.168.99.11'],
      healthCheckNodePort: 30000,
    }
    rows(
      [...world(mode), service('svc1', spec, [LB]), slice('svc1', ['10.180.0.1', '10.180.2.1@test-node'])],
      [
        row('pod to cluster IP', POD, `${VIP}:80`, all),
        row('pod to external IP', POD, '192.168.99.11:80', all),
        row('external to external IP', CLIENT, '192.168.99.11:80', local),
        row('pod to load balancer', POD, `${LB}:80`, all),
        row('external to load balancer', CLIENT, `${LB}:80`, local),
        row('pod to node port', POD, `${NODE}:3001`, all),
        row('external to node port', CLIENT, `${NODE}:3001`, local),
        row('node to node port', NODE, `${NODE}:3001`, `${all} masq`),
        row('node to load balancer', NODE, `${LB}:80`, `${all} masq`),
        row('another node is external', '192.168.0.101', `${LB}:80`, local),
      ],
    )
  })

  describe('TestExternalTrafficPolicyCluster', () => {
    const all = 'dnat 10.180.0.1:80 10.180.2.1:80'
    const spec = { type: 'LoadBalancer', clusterIP: VIP, externalIPs: ['192.168.99.22'] }
    rows(
      [...world(mode), service('svc1', spec, [LB]), slice('svc1', ['10.180.0.1', '10.180.2.1@test-node'])],
      [
        row('pod to cluster IP', POD, `${VIP}:80`, all),
        row('pod to external IP', POD, '192.168.99.22:80', `${all} masq`),
        row('external to external IP', CLIENT, '192.168.99.22:80', `${all} masq`),
        row('pod to load balancer', POD, `${LB}:80`, `${all} masq`),
        row('external to load balancer', CLIENT, `${LB}:80`, `${all} masq`),
        row('pod to node port', POD, `${NODE}:3001`, `${all} masq`),
        row('external to node port', CLIENT, `${NODE}:3001`, `${all} masq`),
        row('node to node port', NODE, `${NODE}:3001`, `${all} masq`),
      ],
    )
  })

  describe('TestInternalTrafficPolicy', () => {
    const spec = { clusterIP: '172.30.1.1', ports: [{ port: 80, protocol: 'TCP' }] }
    const port = [{ name: '', port: 80, protocol: 'TCP' }]
    const three = (where: string): string[] => [`10.0.1.1@${where}`, '10.0.1.2@node2', '10.0.1.3@node3']
    const cases: [string, string, string[], string][] = [
      ['Cluster', 'Cluster', three('test-node'), 'dnat 10.0.1.1:80 10.0.1.2:80 10.0.1.3:80'],
      ['Local, one local endpoint', 'Local', three('test-node'), 'dnat 10.0.1.1:80'],
      [
        'Local, two local endpoints',
        'Local',
        ['10.0.1.1@test-node', '10.0.1.2@test-node', '10.0.1.3@node3'],
        'dnat 10.0.1.1:80 10.0.1.2:80',
      ],
      ['Local, none local', 'Local', ['10.0.1.1@node2', '10.0.1.2@node3'], 'drop no-local-endpoint'],
      ['Local, endpoints deleted', 'Local', [], 'reject no-endpoint'],
    ]
    for (const [name, internalTrafficPolicy, endpoints, expected] of cases) {
      rows(
        [...world(mode), service('svc1', { ...spec, internalTrafficPolicy }), slice('svc1', endpoints, port)],
        [row(name, POD, '172.30.1.1:80', expected)],
      )
    }
  })

  describe('TestTerminatingEndpointsTrafficPolicyLocal', () => {
    const spec = { type: 'LoadBalancer', clusterIP: '172.30.1.1', externalTrafficPolicy: 'Local' }
    const given = (endpoints: string[]): ReturnType<typeof world> => [
      ...world(mode),
      service('svc1', spec, [LB]),
      slice('svc1', endpoints),
    ]
    rows(
      given([
        '10.0.1.1@test-node',
        '10.0.1.2@test-node',
        '10.0.1.3@test-node terminating',
        '10.0.1.4@test-node dying',
        '10.0.1.5@node2',
      ]),
      [
        row('ready endpoints exist, in cluster', POD, '172.30.1.1:80', 'dnat 10.0.1.1:80 10.0.1.2:80 10.0.1.5:80'),
        row('ready endpoints exist, outside', CLIENT, `${LB}:80`, 'dnat 10.0.1.1:80 10.0.1.2:80'),
      ],
    )
    rows(
      given([
        '10.0.1.2@test-node terminating',
        '10.0.1.3@test-node terminating',
        '10.0.1.4@test-node dying',
        '10.0.1.5@node2',
      ]),
      [
        row('only terminating local ones: the remote ready one in cluster', POD, '172.30.1.1:80', 'dnat 10.0.1.5:80'),
        row('only terminating local ones: those outside', CLIENT, `${LB}:80`, 'dnat 10.0.1.2:80 10.0.1.3:80'),
      ],
    )
    rows(given(['10.0.1.5@node2 terminating']), [
      row('a terminating one on another node, in cluster', POD, '172.30.1.1:80', 'dnat 10.0.1.5:80'),
      row('a terminating one on another node, outside', CLIENT, `${LB}:80`, 'drop no-local-endpoint'),
    ])
    rows(given(['10.0.1.5@test-node dying', '10.0.1.6@node2 dying']), [
      row('none usable anywhere, in cluster', POD, '172.30.1.1:80', 'reject no-endpoint'),
      row('none usable anywhere, outside', CLIENT, `${LB}:80`, 'reject no-endpoint'),
    ])
  })

  describe('TestTerminatingEndpointsTrafficPolicyCluster', () => {
    const spec = { type: 'LoadBalancer', clusterIP: '172.30.1.1', externalTrafficPolicy: 'Cluster' }
    const given = (endpoints: string[]): ReturnType<typeof world> => [
      ...world(mode),
      service('svc1', spec, [LB]),
      slice('svc1', endpoints),
    ]
    rows(
      given([
        '10.0.1.1@test-node',
        '10.0.1.2@test-node',
        '10.0.1.3@node2 terminating',
        '10.0.1.4@node2 dying',
        '10.0.1.5@node2',
      ]),
      [row('ready ones only', CLIENT, `${LB}:80`, 'dnat 10.0.1.1:80 10.0.1.2:80 10.0.1.5:80 masq')],
    )
    rows(
      given([
        '10.0.1.2@test-node terminating',
        '10.0.1.3@test-node terminating',
        '10.0.1.4@test-node dying',
        '10.0.1.5@node2 terminating',
      ]),
      [
        row('only terminating ones, in cluster', POD, '172.30.1.1:80', 'dnat 10.0.1.2:80 10.0.1.3:80 10.0.1.5:80'),
        row('only terminating ones, outside', CLIENT, `${LB}:80`, 'dnat 10.0.1.2:80 10.0.1.3:80 10.0.1.5:80 masq'),
      ],
    )
    rows(given(['10.0.1.5@node2 terminating']), [
      row('terminating on another node', CLIENT, `${LB}:80`, 'dnat 10.0.1.5:80 masq'),
    ])
  })

  describe('TestLoadBalancerIngressRouteTypeProxy', () => {
    const given = (ipMode: string): ReturnType<typeof world> => [
      ...world(mode),
      service('svc1', { type: 'LoadBalancer', clusterIP: VIP }, [{ ip: LB, ipMode }]),
      slice('svc1', ['10.180.0.1']),
    ]
    rows(given('Proxy'), [
      row('ipMode Proxy: no rule for the VIP', CLIENT, `${LB}:80`, 'none'),
      row('ipMode Proxy: nor for a pod', POD, `${LB}:80`, 'none'),
      row('ipMode Proxy: the node port', LB, `${NODE}:3001`, 'dnat 10.180.0.1:80 masq'),
    ])
    rows(given('VIP'), [row('ipMode VIP', CLIENT, `${LB}:80`, 'dnat 10.180.0.1:80 masq')])
  })

  describe('TestBadIPs: leading zeros are decimal', () => {
    const spec = {
      type: 'LoadBalancer',
      clusterIP: '172.30.0.041',
      externalIPs: ['192.168.099.022'],
      loadBalancerSourceRanges: ['203.000.113.000/025'],
    }
    const to = 'dnat 10.180.0.1:80 masq'
    rows(
      [...world(mode), service('svc1', spec, ['1.2.3.004']), slice('svc1', ['10.180.00.001'])],
      [
        row('cluster IP', POD, `${VIP}:80`, 'dnat 10.180.0.1:80'),
        row('external IP', CLIENT, '192.168.99.22:80', to),
        row('load balancer, in range', CLIENT, `${LB}:80`, to),
        row('load balancer, out of range', BLOCKED, `${LB}:80`, 'drop not-in-source-ranges'),
      ],
    )
  })
})

describe('TestTracePacket (iptables)', () => {
  const ports = (nodePort?: number): { ports: object[] } => ({
    ports: [{ name: 'p80', port: 80, protocol: 'TCP', ...(nodePort === undefined ? {} : { nodePort }) }],
  })
  rows(
    [
      ...world('iptables'),
      service('svc1', { clusterIP: VIP, ...ports() }),
      slice('svc1', ['10.180.0.1']),
      service(
        'svc2',
        {
          type: 'LoadBalancer',
          clusterIP: '172.30.0.42',
          externalTrafficPolicy: 'Local',
          externalIPs: ['192.168.99.22'],
          healthCheckNodePort: 30000,
          ...ports(3001),
        },
        [LB],
      ),
      slice('svc2', ['10.180.0.2']),
      service('svc4', { type: 'NodePort', clusterIP: '172.30.0.44', externalIPs: ['192.168.99.33'], ...ports(3004) }),
      slice('svc4', ['10.180.0.4', '10.180.0.5@test-node']),
      service('svc6', { clusterIP: '172.30.0.46', ...ports() }),
    ],
    [
      row('no match', POD, '10.0.0.3:80', 'none'),
      row('single endpoint', POD, `${VIP}:80`, 'dnat 10.180.0.1:80'),
      row('multiple endpoints', POD, '172.30.0.44:80', 'dnat 10.180.0.4:80 10.180.0.5:80'),
      row('node, short-circuited', NODE, '192.168.99.22:80', 'dnat 10.180.0.2:80 masq'),
      row('no local endpoint', CLIENT, '192.168.99.22:80', 'drop no-local-endpoint'),
      row('health check port', NODE, `${NODE}:30000`, 'accept'),
      row('no endpoint', POD, '172.30.0.46:80', 'reject no-endpoint'),
    ],
  )
})

describe('TestHealthCheckNodePort (iptables): accepted at every address, whatever nodePortAddresses says', () => {
  const spec = { type: 'LoadBalancer', clusterIP: VIP, externalTrafficPolicy: 'Local', healthCheckNodePort: 30000 }
  const given = world('iptables', { nodePortAddresses: ['127.0.0.0/8'] })
  rows([...given, service('svc1', spec, [LB])], [row('the port', CLIENT, `${NODE}:30000`, 'accept')])
  rows(
    [...given, service('svc1', { ...spec, externalTrafficPolicy: 'Cluster' }, [LB])],
    [row('under policy Cluster there is none', CLIENT, `${NODE}:30000`, 'none')],
  )
  rows(given, [row('the Service is gone', CLIENT, `${NODE}:30000`, 'none')])
})

describe('TestDropUnallocated (nftables)', () => {
  const objects = [service('svc1', { clusterIP: VIP }), slice('svc1', ['10.180.0.1'])]
  rows(
    [...world('nftables', { serviceCidrs: ['172.30.0.0/16', 'fd00:172:30::/112'] }), ...objects],
    [
      row('allocated', POD, `${VIP}:80`, 'dnat 10.180.0.1:80'),
      row('unallocated', POD, '172.30.0.50:80', 'drop unallocated-cluster-ip'),
      row('unallocated, IPv6', 'fd00:10::2', '[fd00:172:30::50]:80', 'drop unallocated-cluster-ip'),
      row('outside the range', POD, '172.31.0.50:80', 'none'),
    ],
  )
  rows([...world('nftables'), ...objects], [row('without a ServiceCIDR object', POD, '172.30.0.50:80', 'none')])
})
