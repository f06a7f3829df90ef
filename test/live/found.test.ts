/** What the kernel knew better, as rows that need no kernel. */
import { expect, test } from 'vitest'
import { type Case, judge, type World } from './worlds.ts'

const WORLD: World = {
  mode: 'iptables',
  detector: 'none',
  masqueradeAll: false,
  serviceCidrs: false,
  external: 'Cluster',
  internal: 'Cluster',
  ranges: [],
  affinitySeconds: 0,
  endpoints: [],
}
const NODE_TO_VIP: Case = { place: 'node', protocol: 'tcp', from: '192.168.0.1', to: '203.0.113.1', port: 80 }

test.each<[string, Partial<World>, Partial<Case>, string]>([
  // iptables: the refusal stands in INPUT and FORWARD, which a node's own packets to another machine do not pass.
  ['iptables: a node, a load balancer without endpoints', {}, {}, '203.0.113.1 80 192.168.0.1'],
  ['iptables: the same for an external IP', {}, { to: '203.0.113.9' }, '203.0.113.9 80 192.168.0.1'],
  ['iptables: its own node port comes by INPUT', {}, { to: '192.168.0.1', port: 30080 }, 'refused'],
  ['iptables: cluster IPs are refused in OUTPUT too', {}, { to: '10.96.0.10' }, 'refused'],
  ['iptables: a client outside', {}, { from: '198.51.100.7' }, 'refused'],
  ['nftables: refused in OUTPUT', { mode: 'nftables' }, {}, 'refused'],
])('%s', (_name, world, change, expected) => {
  const one = { ...NODE_TO_VIP, ...change }
  expect([...judge({ ...WORLD, ...world }, [one]).outcomes(one)!]).toEqual([expected])
})
