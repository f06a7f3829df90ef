/** Where a packet from outside comes in. */
import { expect, test } from 'vitest'
import { file, one, SHOP } from './support.ts'

const OWN = SHOP.replace('ingress: [{ip: 198.51.100.10}]', 'ingress: [{ip: 192.168.0.1}, {ip: 192.168.0.3}]').concat(
  '---\n{apiVersion: v1, kind: Node, metadata: {name: n3}, spec: {podCIDR: 10.244.3.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.3}]}}\n',
)

test.each([
  ['192.168.0.1:80', 'n1', 'dnat', null],
  ['192.168.0.3:80', 'n3', 'drop', 'no-local-endpoint'],
])("a load balancer's address %s that is a node's own enters there: %s", (to, node, verdict, reason) => {
  expect(one({ manifests: [file(OWN)], from: '203.0.113.7', to })).toMatchObject({ node, verdict, reason })
})
