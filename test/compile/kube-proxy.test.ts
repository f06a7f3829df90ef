/** KubeProxyConfiguration and its defaults, by defaults.go, server_linux.go, sysctls.go and nodeport_addresses.go. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  conntrackMax,
  KERNEL_CONNTRACK_MAX,
  nodePortAddressesOf,
  type ProxyMode,
  type ProxySettings,
  parseGoDuration,
  proxySettings,
  servesLocalhost,
} from '../../src/compile/kube-proxy.ts'
import type { Warning } from '../../src/errors.ts'
import type { KubeProxyConfiguration } from '../../src/k8s/types.ts'
import { clusterOf, nodeOf } from '../core/cluster.ts'
import { clusterOf as derivedCluster } from '../k8s/helpers.ts'

function settingsOf(
  kubeProxy: Partial<KubeProxyConfiguration> | null,
  mode: ProxyMode | null = null,
): ProxySettings & { readonly warnings: readonly Warning[] } {
  const warnings: Warning[] = []
  const cluster = clusterOf({ nodes: 1, services: [], kubeProxy })
  return { ...proxySettings(cluster, mode, warnings), warnings }
}

const codesOf = (settings: { readonly warnings: readonly Warning[] }): string[] =>
  settings.warnings.map(({ code }) => code)

describe('defaults', () => {
  test('of a cluster without any KubeProxyConfiguration', () => {
    expect(settingsOf(null)).toEqual({
      mode: 'nftables',
      detector: 'ClusterCIDR',
      detectorCidrs: ['10.1.0.0/16'],
      masqueradeAll: false,
      localhostNodePorts: true,
      nodePortAddresses: null,
      scheduler: 'rr',
      sameNodeTopology: true,
      conntrackMaxPerCore: 32_768,
      conntrackMin: 131_072,
      tcpEstablishedSeconds: 86_400,
      tcpCloseWaitSeconds: 3_600,
      udpSeconds: 0,
      udpStreamSeconds: 0,
      ipvsTcpSeconds: 900,
      ipvsFinSeconds: 120,
      ipvsUdpSeconds: 300,
      isMisnamed: false,
      localDropsAll: false,
      warnings: [],
    })
  })
})

describe('detector without a configuration', () => {
  test.each([
    ['10.244.1.9', 'ClusterCIDR'],
    ['10.0.1.77', 'none'],
  ] as const)('a pod of address %s: %s', (podIP, expected) => {
    const cluster = derivedCluster(
      `apiVersion: v1\nkind: Node\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {nodeName: a}\nstatus: {podIP: ${podIP}}\n`,
    )
    expect(proxySettings(cluster, null, []).detector).toBe(expected)
  })
})

describe('mode', () => {
  test.each([
    ['', null, 'iptables', []],
    ['iptables', null, 'iptables', []],
    ['ipvs', null, 'ipvs', []],
    ['iptables', 'ipvs', 'ipvs', []],
    ['userspace', null, 'nftables', ['W_NOT_MODELLED']],
  ] as const)('"%s" in the configuration, %s on the command line: %s', (mode, wanted, expected, codes) => {
    const settings = settingsOf({ mode }, wanted)
    expect(settings.mode).toBe(expected)
    expect(codesOf(settings)).toEqual(codes)
  })

  test('masqueradeAll is that of the mode in use', () => {
    const config = { iptables: { masqueradeAll: true } }
    expect(settingsOf(config, 'iptables').masqueradeAll).toBe(true)
    expect(settingsOf(config, 'nftables').masqueradeAll).toBe(false)
    expect(settingsOf({ nftables: { masqueradeAll: true } }, 'nftables').masqueradeAll).toBe(true)
    expect(settingsOf({ ipvs: { masqueradeAll: true } }, 'ipvs').masqueradeAll).toBe(true)
  })

  test.each([
    ['', 'rr', []],
    ['wrr', 'rr', []],
    ['lc', 'lc', []],
    ['wlc', 'lc', []],
    ['sed', 'lc', ['W_NOT_MODELLED']],
    ['mh', 'sh', ['W_NOT_MODELLED']],
    ['dh', 'dh', []],
    ['lblc', 'rr', ['W_NOT_MODELLED']],
  ])('ipvs scheduler "%s" is %s', (scheduler, expected, codes) => {
    const settings = settingsOf({ ipvs: { scheduler } }, 'ipvs')
    expect(settings.scheduler).toBe(expected)
    expect(codesOf(settings)).toEqual(codes)
    expect(settingsOf({ ipvs: { scheduler } }, 'nftables').warnings).toEqual([])
  })
})

describe('local traffic detector', () => {
  test.each([
    ['clusterCIDR and no mode', { clusterCIDR: '10.244.0.0/16' }, 'ClusterCIDR', ['10.244.0.0/16']],
    [
      'the first CIDR of each family',
      { clusterCIDR: '10.244.0.0/16,10.245.0.0/16, 2001:db8::/56' },
      'ClusterCIDR',
      ['10.244.0.0/16', '2001:db8::/56'],
    ],
    ['ClusterCIDR mode without clusterCIDR', { detectLocalMode: 'ClusterCIDR' }, 'none', []],
    ['a configuration that says nothing', {}, 'none', []],
    ['NodeCIDR', { detectLocalMode: 'NodeCIDR', clusterCIDR: '10.244.0.0/16' }, 'NodeCIDR', []],
    ['BridgeInterface', { detectLocalMode: 'BridgeInterface' }, 'LocalPods', []],
    ['InterfaceNamePrefix', { detectLocalMode: 'InterfaceNamePrefix' }, 'LocalPods', []],
  ] as const)('%s', (_words, config, detector, detectorCidrs) => {
    expect(settingsOf(config)).toMatchObject({ detector, detectorCidrs, warnings: [] })
  })

  test('an unknown mode detects nothing, and says so', () => {
    const settings = settingsOf({ detectLocalMode: 'Magic' })
    expect(settings.detector).toBe('none')
    expect(codesOf(settings)).toEqual(['W_NOT_MODELLED'])
  })
})

describe('durations', () => {
  test.each([
    ['24h0m0s', 86_400],
    ['1h', 3600],
    ['1h30m', 5400],
    ['90s', 90],
    ['1.5s', 1.5],
    ['300ms', 0.3],
    ['0', 0],
    ['0s', 0],
    ['-5s', -5],
    ['+5s', 5],
  ])('%s is %d s', (text, seconds) => {
    expect(parseGoDuration(text)).toBeCloseTo(seconds, 9)
  })

  test.each(['', '5', 's', '5 s', '1d', 'h1', '5s5', '--5s', '1h-5m', 'abc'])('"%s" is none', (text) => {
    expect(parseGoDuration(text)).toBe(null)
  })

  test('hours, minutes and seconds add up', () => {
    fc.assert(
      fc.property(fc.nat(1000), fc.nat(100), fc.nat(100), (h, m, s) => {
        expect(parseGoDuration(`${h}h${m}m${s}s`)).toBe(h * 3600 + m * 60 + s)
      }),
      { seed: 20_271 },
    )
  })

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const seconds = parseGoDuration(text)
        expect(seconds === null || Number.isFinite(seconds)).toBe(true)
      }),
      { seed: 20_271 },
    )
  })

  test.each([
    ['20s', 20],
    ['10m', 600],
    ['0s', 300],
    ['', 300],
  ])('ipvs.udpTimeout: "%s" is %i s, without a warning', (udpTimeout, seconds) => {
    const settings = settingsOf({ ipvs: { udpTimeout } }, 'ipvs')
    expect(settings.ipvsUdpSeconds).toBe(seconds)
    expect(codesOf(settings)).toEqual([])
  })

  test('conntrack timeouts are taken from the configuration', () => {
    const conntrack = {
      tcpEstablishedTimeout: '2h',
      tcpCloseWaitTimeout: '30s',
      udpTimeout: '10s',
      udpStreamTimeout: '1m',
    }
    expect(settingsOf({ conntrack })).toMatchObject({
      tcpEstablishedSeconds: 7200,
      tcpCloseWaitSeconds: 30,
      udpSeconds: 10,
      udpStreamSeconds: 60,
      warnings: [],
    })
  })

  test.each(['soon', '-5s'])('the timeout "%s" is a warning, and the default is used', (text) => {
    const settings = settingsOf({ conntrack: { tcpEstablishedTimeout: text } })
    expect(settings.tcpEstablishedSeconds).toBe(86_400)
    expect(codesOf(settings)).toEqual(['W_DURATION'])
  })
})

describe('the name that kube-proxy goes by', () => {
  test.each([
    ['no name', {}, false],
    ['an empty one', { hostnameOverride: '' }, false],
    ['a node’s, in capitals', { hostnameOverride: ' A' }, false],
    ['of no node', { hostnameOverride: 'ip-10-0-0-1' }, true],
  ] as const)('%s', (_words, config, isMisnamed) => {
    const settings = settingsOf(config)
    expect(settings.isMisnamed).toBe(isMisnamed)
    expect(codesOf(settings)).toEqual(isMisnamed ? ['W_NODE_NAME'] : [])
  })
})

describe('nf_conntrack_max', () => {
  test.each([
    ['4 cores: 32768 a core are the minimum exactly', {}, 4, 131_072],
    ['2 cores: the minimum', {}, 2, 131_072],
    ['8 cores', {}, 8, 262_144],
    ['half a core counts as one more', {}, 8.5, 294_912],
    ['96 cores: scaled to a million and no further', {}, 96, 1_048_576],
    ['another factor', { maxPerCore: 100, min: 0 }, 4, 400],
    ['a minimum above the cap', { min: 2_000_000 }, 96, 2_000_000],
    ['factor 0 leaves the kernel’s', { maxPerCore: 0 }, 4, KERNEL_CONNTRACK_MAX],
  ])('%s', (_words, conntrack, cpus, expected) => {
    expect(conntrackMax(settingsOf({ conntrack }), nodeOf('a', { cpus }))).toBe(expected)
  })
})

describe('addresses that answer node ports', () => {
  const addresses = ['192.168.0.1', '10.9.0.1', '2001:db8::1', '2001:db8:1::1']
  test.each<[string, ProxyMode, string[] | null, string[]]>([
    ['iptables by default: all', 'iptables', null, addresses],
    ['ipvs by default: all', 'ipvs', null, addresses],
    ['nftables by default: the primary of each family', 'nftables', null, ['192.168.0.1', '2001:db8::1']],
    ['primary, in any mode', 'iptables', ['primary'], ['192.168.0.1', '2001:db8::1']],
    [
      'inside the CIDRs; no CIDR of a family is no limit for it',
      'iptables',
      ['10.9.0.0/24'],
      ['10.9.0.1', '2001:db8::1', '2001:db8:1::1'],
    ],
    [
      'CIDRs of the other family only are no limit',
      'iptables',
      ['2001:db8:1::/64'],
      ['192.168.0.1', '10.9.0.1', '2001:db8:1::1'],
    ],
    ['0.0.0.0/0 is no limit', 'nftables', ['0.0.0.0/0'], addresses],
    ['several CIDRs', 'nftables', ['10.9.0.0/24', '192.168.0.0/24', '::1/128'], ['192.168.0.1', '10.9.0.1']],
  ])('%s', (_words, mode, nodePortAddresses, expected) => {
    expect(nodePortAddressesOf(settingsOf({ nodePortAddresses }, mode), addresses)).toEqual(expected)
  })

  const GATE = { KubeProxyNFTablesLocalhostNodePorts: true }
  test.each<[string, ProxyMode, Partial<KubeProxyConfiguration>, number]>([
    ['the gate and a range of loopback', 'nftables', { featureGates: GATE, nodePortAddresses: ['127.0.0.0/8'] }, 1],
    ['the gate and IPv6 loopback', 'nftables', { featureGates: GATE, nodePortAddresses: ['::1/128'] }, 1],
    ['the gate and localhost', 'nftables', { featureGates: GATE, nodePortAddresses: ['localhost', 'primary'] }, 2],
    ['the gate and everything', 'nftables', { featureGates: GATE, nodePortAddresses: ['0.0.0.0/0'] }, 0],
    ['the gate alone', 'nftables', { featureGates: GATE }, 0],
    ['the range alone', 'nftables', { nodePortAddresses: ['127.0.0.0/8'] }, 0],
    ['another mode', 'iptables', { featureGates: GATE, nodePortAddresses: ['127.0.0.0/8'] }, 0],
  ])('loopback in nftables mode, %s: what is not modelled is said', (_words, mode, config, warnings) => {
    expect(codesOf(settingsOf(config, mode))).toEqual(Array(warnings).fill('W_NOT_MODELLED'))
  })

  test('an empty list is none', () => {
    expect(settingsOf({ nodePortAddresses: [] }).nodePortAddresses).toBe(null)
  })

  test.each<[string, ProxyMode, Partial<KubeProxyConfiguration>, boolean]>([
    ['iptables', 'iptables', {}, true],
    ['iptables, switched off', 'iptables', { iptables: { localhostNodePorts: false } }, false],
    ['iptables, limited to another net', 'iptables', { nodePortAddresses: ['10.0.0.0/8'] }, false],
    ['iptables, limited to loopback too', 'iptables', { nodePortAddresses: ['127.0.0.0/8'] }, true],
    ['iptables, primary only', 'iptables', { nodePortAddresses: ['primary'] }, false],
    ['nftables', 'nftables', {}, false],
    ['ipvs', 'ipvs', {}, false],
  ])('localhost node ports in %s', (_words, mode, config, expected) => {
    expect(servesLocalhost(settingsOf(config, mode))).toBe(expected)
  })
})
