/**
 * What `rules` prints: kube-proxy's own names, and the chains that its dumps show for the same objects.
 *
 * Names and lines are facts of pkg/proxy/{iptables,nftables}/proxier_test.go: ns1/svc1:p80 at 172.30.0.41 with endpoint 10.180.0.1.
 */
import { describe, expect, test } from 'vitest'
import { compileRules } from '../../src/compile/compile.ts'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../../src/compile/model.ts'
import { Registry } from '../../src/compile/registry.ts'
import { type Emitted, emitRules } from '../../src/rules/index.ts'
import {
  iptablesEndpointChain,
  iptablesPortChain,
  nftablesEndpointName,
  nftablesPortName,
} from '../../src/rules/names.ts'
import { type ClusterSpec, clusterOf } from '../core/cluster.ts'

const SVC1 = { namespace: 'ns1', service: 'svc1', port: 'p80', protocol: 'tcp' }

function emit(spec: ClusterSpec, mode: ProxyMode, node = 'a'): Emitted {
  const cluster = clusterOf(spec)
  const registry = new Registry()
  const compiled = compileRules(cluster, registry, {
    policy: null,
    mode,
    model: DEFAULT_MODEL,
    destinations: [],
    clientMap: new Int32Array(0),
    gcIntervalMs: 60_000,
  })
  return emitRules(cluster, compiled, registry, node, 'IPv4')
}

function web(more: Partial<ClusterSpec['services'][number]> = {}): ClusterSpec {
  return {
    nodes: 2,
    services: [
      {
        name: 'web',
        nodePort: 30080,
        balancer: ['203.0.113.1'],
        endpoints: [
          { address: '10.1.0.5', node: 'a' },
          { address: '10.1.1.5', node: 'b' },
        ],
        ...more,
      },
    ],
  }
}

describe('chains are named as kube-proxy names them', () => {
  test.each([
    ['KUBE-SVC-XPGD46QRK7WJZT7O', iptablesPortChain('KUBE-SVC-', SVC1)],
    ['KUBE-SEP-SXIVWICOYRO3J4NJ', iptablesEndpointChain(SVC1, '10.180.0.1:80')],
    [
      'KUBE-SVC-NPX46M4PTMTKRN6Y',
      iptablesPortChain('KUBE-SVC-', { ...SVC1, namespace: 'default', service: 'kubernetes', port: 'https' }),
    ],
    ['ULMVA6XW-ns1/svc1/tcp/p80', nftablesPortName(SVC1)],
    ['5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80', nftablesEndpointName(SVC1, '10.180.0.1', 80)],
    ['2CRNCTTE-ns1/svc1/tcp/p80__fd00.10.180..2.1/80', nftablesEndpointName(SVC1, 'fd00:10:180::2:1', 80)],
  ])('%s', (expected, name) => {
    expect(name).toBe(expected)
  })
})

describe('nftables', () => {
  test('policy Local without a local endpoint: pods and the node go on, others are dropped', () => {
    const text = emit(web({ external: 'Local', endpoints: [{ address: '10.1.1.5', node: 'b' }] }), 'nftables').native
      .nft!
    expect(text).toContain('203.0.113.1 . tcp . 80 comment "default/web" : drop')
    expect(text).toMatch(/ip saddr 10\.1\.0\.0\/16 goto service-\S+ comment "short-circuit pod traffic"/)
    expect(text).not.toContain('chain local-')
  })

  test('no endpoint at all: rejected, and no chain', () => {
    const text = emit(web({ endpoints: [] }), 'nftables').native.nft!
    expect(text).toContain('tcp . 30080 comment "default/web" : goto reject-chain')
    expect(text).not.toContain('numgen')
  })

  test('only the primary address answers node ports', () => {
    expect(emit(web(), 'nftables').native.nft).toMatch(/set nodeport-ips \{[^}]*elements = \{ 192\.168\.0\.1 \}/)
  })

  test('affinity is a set with a timeout for each endpoint', () => {
    const text = emit(web({ affinitySeconds: 40 }), 'nftables').native.nft!
    expect(text.match(/flags dynamic,timeout\n\t\ttimeout 40s/g)).toHaveLength(2)
  })

  test('ranges inside others are left out, since intervals may not overlap', () => {
    const text = emit(web({ sourceRanges: ['10.0.0.0/8', '10.1.0.0/16', '10.0.0.0/8'] }), 'nftables').native.nft!
    expect(text).toContain('ip saddr != { 10.0.0.0/8 } drop')
  })
})

describe('iptables', () => {
  test('endpoints are chosen evenly, in the order of their text', () => {
    const lines = emit(web(), 'iptables').native['iptables-restore']!.split('\n')
    const choices = lines.filter((line) => line.includes('-> 10.1.'))
    expect(choices[0]).toContain('--mode random --probability 0.5000000000')
    expect(choices[1]).not.toContain('statistic')
  })

  test('without endpoints source ranges are not looked at', () => {
    const text = emit(web({ endpoints: [], sourceRanges: ['198.51.100.0/24'] }), 'iptables').native['iptables-restore']!
    expect(text).not.toContain('KUBE-FW-')
    expect(text).toContain('-m addrtype --dst-type LOCAL -p tcp -m tcp --dport 30080 -j REJECT')
  })
})

describe('ipvs', () => {
  test('Local without a local endpoint falls back to the cluster’s', () => {
    const { ipvsadm, ipset } = emit(web({ external: 'Local' }), 'ipvs').native
    expect(ipvsadm).toContain('-a -t 203.0.113.1:80 -r 10.1.0.5:80 -m -w 1\n-A')
    expect(ipvsadm).toContain('-a -t 10.96.0.10:80 -r 10.1.1.5:80 -m -w 1')
    expect(ipset).toContain('add KUBE-NODE-PORT-LOCAL-TCP 30080')
    const elsewhere = emit(web({ external: 'Local', endpoints: [{ address: '10.1.1.5', node: 'b' }] }), 'ipvs').native
    expect(elsewhere.ipvsadm).toContain('-a -t 203.0.113.1:80 -r 10.1.1.5:80 -m -w 1')
  })
})

test('a node that is not there is a clear error', () => {
  expect(() => emit(web(), 'nftables', 'z')).toThrow('there is no node "z"')
})
