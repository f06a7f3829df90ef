/**
 * What is a frontend on a node and what is not: node ports and the addresses that serve them, external IPs, dual stack,
 * Services that kube-proxy passes over.
 *
 * Source: TestNodePorts of pkg/proxy/{iptables,nftables}/proxier_test.go; pkg/proxy/serviceport.go, util/nodeport_addresses.go;
 * pkg/proxy/nftables/README.md.
 */
import { describe } from 'vitest'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import {
  ALT_NODE,
  CLIENT,
  MODES,
  NODE,
  POD,
  type ProxyOptions,
  RULE_MODES,
  row,
  rows,
  service,
  slice,
  world,
} from './support.ts'

const VIP = '172.30.0.41'
const VIP6 = 'fd00:172:30::41'
const V4 = 'dnat 10.180.0.1:80 10.180.2.1:80'
const V6 = 'dnat [fd00:10:180::1]:80 [fd00:10:180::2:1]:80'

const DUAL_SERVICE = service('svc1', {
  type: 'NodePort',
  clusterIP: VIP,
  clusterIPs: [VIP, VIP6],
  ipFamilies: ['IPv4', 'IPv6'],
  ipFamilyPolicy: 'RequireDualStack',
})
const DUAL_SLICES = [
  slice('svc1', ['10.180.0.1', '10.180.2.1@test-node']),
  slice('svc1', ['fd00:10:180::1', 'fd00:10:180::2:1@test-node']),
]

interface NodePortCase {
  readonly name: string
  readonly mode: ProxyMode
  readonly options: ProxyOptions
  /** Whether the node's second addresses answer, of each family. */
  readonly alt4: boolean
  readonly alt6: boolean
  readonly localhost: boolean
}

const NODE_PORT_CASES: readonly NodePortCase[] = [
  { name: 'iptables', mode: 'iptables', options: {}, alt4: true, alt6: true, localhost: true },
  {
    name: 'iptables, localhostNodePorts off',
    mode: 'iptables',
    options: { localhostNodePorts: false },
    alt4: true,
    alt6: true,
    localhost: false,
  },
  {
    name: 'iptables, both networks',
    mode: 'iptables',
    options: { nodePortAddresses: ['192.168.0.0/24', '192.168.1.0/24', '2001:db8::/64', '2001:db8:1::2/128'] },
    alt4: true,
    alt6: true,
    localhost: false,
  },
  {
    name: 'iptables, one network and loopback',
    mode: 'iptables',
    options: { nodePortAddresses: ['192.168.0.0/24', '127.0.0.0/8'] },
    alt4: false,
    alt6: true,
    localhost: true,
  },
  {
    name: 'iptables, loopback in nodePortAddresses but localhostNodePorts off',
    mode: 'iptables',
    options: { nodePortAddresses: ['192.168.0.0/24', '127.0.0.1/32'], localhostNodePorts: false },
    alt4: false,
    alt6: true,
    localhost: false,
  },
  {
    name: 'iptables, CIDRs of one family are no limit for the other',
    mode: 'iptables',
    options: { nodePortAddresses: ['2001:db8::/64'] },
    alt4: true,
    alt6: false,
    localhost: true,
  },
  {
    name: 'iptables, an all-zero CIDR is no limit',
    mode: 'iptables',
    options: { nodePortAddresses: ['0.0.0.0/0'] },
    alt4: true,
    alt6: true,
    localhost: true,
  },
  {
    name: 'nftables: the primary address only',
    mode: 'nftables',
    options: {},
    alt4: false,
    alt6: false,
    localhost: false,
  },
  {
    name: 'nftables, both networks',
    mode: 'nftables',
    options: { nodePortAddresses: ['192.168.0.0/24', '192.168.1.0/24', '2001:db8::/64', '2001:db8:1::2/128'] },
    alt4: true,
    alt6: true,
    localhost: false,
  },
  {
    name: 'nftables, loopback asked for',
    mode: 'nftables',
    options: { nodePortAddresses: ['192.168.0.2/32', '127.0.0.0/8', '2001:db8::1/128'] },
    alt4: false,
    alt6: false,
    localhost: false,
  },
  { name: 'ipvs', mode: 'ipvs', options: {}, alt4: true, alt6: true, localhost: false },
]

describe.each(NODE_PORT_CASES)('node ports: $name', ({ mode, options, alt4, alt6, localhost }) => {
  const v4 = (yes: boolean): string => (yes ? `${V4} masq` : 'none')
  const v6 = (yes: boolean): string => (yes ? `${V6} masq` : 'none')
  rows(
    [...world(mode, options), DUAL_SERVICE, ...DUAL_SLICES],
    [
      row('pod to cluster IP', POD, `${VIP}:80`, V4),
      row('external to the node', CLIENT, `${NODE}:3001`, v4(true)),
      row('node to itself', NODE, `${NODE}:3001`, v4(true)),
      row('external to the second address', CLIENT, `${ALT_NODE}:3001`, v4(alt4)),
      row('localhost', '127.0.0.1', '127.0.0.1:3001', v4(localhost)),
      // An endpoint is on no known node and outside of the pods' fd00:10::/64: the network plugin masquerades towards it.
      row('pod to cluster IP, IPv6', 'fd00:10::2', `[${VIP6}]:80`, `${V6} masq`),
      row('external to the node, IPv6', '2600:5200::1', '[2001:db8::1]:3001', v6(true)),
      row('node to itself, IPv6', '2001:db8::1', '[2001:db8::1]:3001', v6(true)),
      row('external to the second address, IPv6', '2600:5200::1', '[2001:db8:1::2]:3001', v6(alt6)),
      row('localhost, IPv6', '::1', '[::1]:3001', 'none'),
      row("another node's address is not this node's", CLIENT, '192.168.0.101:3001', 'none'),
      row('the Service port is no node port', CLIENT, `${NODE}:80`, 'none'),
      row(
        'the node port is no port of the cluster IP',
        POD,
        `${VIP}:3001`,
        mode === 'iptables' ? 'none' : 'reject no-such-port',
      ),
    ],
  )
})

describe('dual stack is two single-stack proxies', () => {
  describe.each(MODES)('%s', (mode) => {
    rows(
      [...world(mode), DUAL_SERVICE, slice('svc1', ['fd00:10:180::1@node2'])],
      [
        row('IPv6 has an endpoint', 'fd00:10::2', `[${VIP6}]:80`, 'dnat [fd00:10:180::1]:80'),
        row('IPv4 has none', POD, `${VIP}:80`, 'reject no-endpoint'),
        row('IPv6 node port', '2600:5200::1', '[2001:db8::1]:3001', 'dnat [fd00:10:180::1]:80 masq'),
        row('IPv4 node port', CLIENT, `${NODE}:3001`, 'reject no-endpoint'),
      ],
    )
  })
})

describe.each(RULE_MODES)('external IPs in mode %s', (mode) => {
  const ports = [{ name: 'p80', port: 80, protocol: 'TCP' }]
  const endpoints = slice('svc1', ['10.180.0.1', '10.180.2.1@test-node'])
  rows(
    [
      ...world(mode),
      service('svc1', { clusterIP: VIP, externalIPs: ['192.168.99.22'], externalTrafficPolicy: 'Local', ports }),
      endpoints,
    ],
    [
      row(
        'externalTrafficPolicy counts for a ClusterIP Service with external IPs',
        CLIENT,
        '192.168.99.22:80',
        'dnat 10.180.2.1:80',
      ),
      row('pod', POD, '192.168.99.22:80', V4),
    ],
  )
  rows(
    [...world(mode), service('svc1', { clusterIP: VIP, externalIPs: ['192.168.99.11'], ports }), endpoints],
    [row("an external IP may be the node's own address", CLIENT, '192.168.99.11:80', `${V4} masq`)],
  )
  rows(
    [
      ...world(mode),
      service(
        'svc1',
        {
          type: 'LoadBalancer',
          clusterIP: VIP,
          externalIPs: ['192.168.99.22'],
          loadBalancerSourceRanges: ['198.18.0.0/15'],
        },
        ['1.2.3.4'],
      ),
      endpoints,
    ],
    [
      row('source ranges do not cover external IPs', CLIENT, '192.168.99.22:80', `${V4} masq`),
      row('nor the cluster IP', CLIENT, `${VIP}:80`, `${V4} masq`),
      row('but the VIP', CLIENT, '1.2.3.4:80', 'drop not-in-source-ranges'),
    ],
  )
})

describe('ipvs blocks the node itself when its address is not in the source ranges', () => {
  rows(
    [
      ...world('ipvs'),
      service('svc1', { type: 'LoadBalancer', clusterIP: VIP, loadBalancerSourceRanges: ['203.0.113.0/25'] }, [
        '1.2.3.4',
      ]),
      slice('svc1', ['10.180.0.1']),
    ],
    [
      row('node', NODE, '1.2.3.4:80', 'drop node-ip-not-in-source-ranges'),
      row('client in range', CLIENT, '1.2.3.4:80', 'dnat 10.180.0.1:80 masq'),
      row('client out of range', '198.51.100.1', '1.2.3.4:80', 'drop not-in-source-ranges'),
    ],
  )
})

describe.each(MODES)('Services that kube-proxy (%s) passes over', (mode) => {
  const ports = [{ name: 'p80', port: 80, protocol: 'TCP' }]
  const given = (name: string, more: object, labels: Record<string, string> = {}) => [
    ...world(mode),
    service(name, { clusterIP: VIP, ports, ...more }, [], labels),
    slice(name, ['10.180.0.1@test-node']),
  ]
  rows(given('svc1', {}, { 'service.kubernetes.io/service-proxy-name': 'other' }), [
    row('of another proxy', POD, `${VIP}:80`, 'none'),
  ])
  rows(given('svc1', {}, { 'service.kubernetes.io/headless': '' }), [
    row('labelled headless', POD, `${VIP}:80`, 'none'),
  ])
  rows(given('svc1', { type: 'ExternalName', externalName: 'db.example.com' }), [
    row('ExternalName with a cluster IP', POD, `${VIP}:80`, 'none'),
  ])
  rows(given('svc1', { clusterIP: 'None' }), [row('headless: straight to the pod', POD, '10.180.0.1:80', 'none')])
})
