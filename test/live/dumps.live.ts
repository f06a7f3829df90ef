/**
 * Real dumps: random clusters' rulesets loaded into a network namespace, listed by the tools of this machine, and compared with the manifests.
 *
 * What nft and both back ends of iptables print is not what they were given: masks, ports, marks, probabilities, set elements.
 */
import { execFileSync } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compareDump } from '../../src/rules/against.ts'
import { readDump } from '../../src/rules/read/dump.ts'
import { clusterOf, type EndpointSpec } from '../core/cluster.ts'
import { dumpOf } from '../rules/dumps.ts'
import { whyNot } from './site.ts'
import { randomOf, randomWorld } from './worlds.ts'

const reason = whyNot()
if (reason !== null) console.log(`live tests are skipped: ${reason}`)

const NAMESPACE = `dpd${process.pid}`
const WORLDS = Math.min(60, Math.ceil(Number(process.env['DPEMU_LIVE_CASES'] ?? 2000) / 50))

function run(command: readonly string[], input = ''): string {
  return execFileSync('ip', ['netns', 'exec', NAMESPACE, ...command], {
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['pipe', 'pipe', 'ignore'],
  })
}

const TO_IPV6 = (address: string): string =>
  address.replace(/^10\.1\.(\d+)\.(\d+)$/, 'fd00:1:0:$1::$2').replace(/^192\.168\.0\.(\d+)$/, 'fd00:99::$1')

describe.skipIf(reason !== null)('what the tools list is what the manifests say', () => {
  beforeAll(() => void execFileSync('ip', ['netns', 'add', NAMESPACE]))
  afterAll(() => void execFileSync('ip', ['netns', 'del', NAMESPACE]))

  test.each([
    ['nft list ruleset', 'nftables', ['nft', '-f', '-'], ['nft', 'list', 'ruleset'], 'IPv4'],
    ['nft -j list ruleset', 'nftables', ['nft', '-f', '-'], ['nft', '-j', 'list', 'ruleset'], 'IPv4'],
    ['nft list ruleset', 'nftables', ['nft', '-f', '-'], ['nft', 'list', 'ruleset'], 'IPv6'],
    ['nft -nn list ruleset', 'nftables', ['nft', '-f', '-'], ['nft', '-nn', 'list', 'ruleset'], 'IPv4'],
    ['iptables-nft-save', 'iptables', ['iptables-nft-restore'], ['iptables-nft-save'], 'IPv4'],
    ['iptables-legacy-save -c', 'iptables', ['iptables-legacy-restore'], ['iptables-legacy-save', '-c'], 'IPv4'],
    ['ip6tables-nft-save', 'iptables', ['ip6tables-nft-restore'], ['ip6tables-nft-save'], 'IPv6'],
  ] as const)('%s (%s)', (_name, mode, load, list, family) => {
    const random = randomOf(4711)
    const isV6 = family === 'IPv6'
    for (let i = 0; i < WORLDS; i++) {
      const world = randomWorld(random)
      const endpoints = world.endpoints.map(
        (one): EndpointSpec => (isV6 ? { ...one, address: TO_IPV6(one.address) } : one),
      )
      const shared = {
        external: world.external,
        internal: world.internal,
        affinitySeconds: random() < 0.5 ? 10_800 : 0,
        endpoints,
      }
      const own = clusterOf({
        nodes: 3,
        serviceCidrsWritten: world.serviceCidrs,
        kubeProxy: {
          detectLocalMode: world.detector === 'NodeCIDR' ? 'NodeCIDR' : 'ClusterCIDR',
          clusterCIDR: world.detector === 'none' ? '' : isV6 ? 'fd00:1::/48' : '10.1.0.0/16',
          [mode]: { masqueradeAll: world.masqueradeAll },
        },
        services: [
          {
            ...shared,
            name: 'web',
            clusterIP: isV6 ? 'fd00:96::10' : '10.96.0.10',
            targetPort: 8080,
            nodePort: 30080,
            balancer: [isV6 ? '2001:db8::1' : '203.0.113.1'],
            externalIPs: [isV6 ? '2001:db8::9' : '203.0.113.9'],
            sourceRanges: isV6 ? (world.ranges.length > 0 ? ['2001:db8:1::/64'] : []) : world.ranges,
            ...(world.external === 'Local' ? { healthCheckNodePort: 32000 } : {}),
          },
          {
            ...shared,
            name: 'dns',
            clusterIP: isV6 ? 'fd00:96::11' : '10.96.0.11',
            protocol: 'UDP',
            port: 53,
            nodePort: 30053,
          },
        ],
      })
      const cluster = isV6
        ? {
            ...own,
            nodes: own.nodes.map((node) => ({ ...node, addresses: node.addresses.map(TO_IPV6), podCidrs: [] })),
            serviceCidrs: ['fd00:96::/112'],
            clusterCidrs: ['fd00:1::/48'],
          }
        : own
      run(['nft', 'flush', 'ruleset'])
      if (load[0].includes('legacy')) run(['iptables-legacy-restore'], '*filter\nCOMMIT\n*nat\nCOMMIT\n')
      run(load, dumpOf(cluster, mode, 'a', family))
      const dump = readDump([{ path: list.join(' '), text: run(list) }], null)
      const comparison = compareDump(cluster, dump, 'a')
      expect(comparison.differences, JSON.stringify(world)).toEqual([])
      expect(comparison.warnings.filter(({ code }) => code === 'W_DUMP_RULE')).toEqual([])
      expect(comparison.packets).toBeGreaterThan(20)
    }
  })
})
