/** Endpoints at addresses that are no pod's: what each mode does with the packet that it has translated to one. */
import { loadAll } from 'js-yaml'
import { describe, expect, test } from 'vitest'
import { file, one } from '../explain/support.ts'
import type { KubeObject } from '../replay/cluster.ts'
import { replayed, temporaryFolder, traceOf } from '../replay/support.ts'

const CLUSTER = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, labels: {app: client}}, spec: {nodeName: n1}, status: {podIP: 10.244.1.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web}}, spec: {nodeName: n2}, status: {podIP: 10.244.2.5}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.96.0.20, selector: {app: web}, externalIPs: [198.51.100.7], ports: [{port: 80, nodePort: 30080}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: idle}, spec: {clusterIP: 10.96.0.30, selector: {app: nobody}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alias}, spec: {clusterIP: 10.96.0.21, ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: alias-1, labels: {kubernetes.io/service-name: alias}}
addressType: IPv4
ports: [{name: "", port: PORT, protocol: TCP}]
endpoints: [{addresses: [ADDRESS]}]
---
{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: MODE, clusterCIDR: 10.244.0.0/16}
`
const RANGE =
  '---\n{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/16]}}\n'

function cluster(mode: string, address: string, port = 80, more = ''): string {
  return CLUSTER.replace('ADDRESS', address).replace('PORT', String(port)).replace('MODE', mode) + more
}

const MODES = ['nftables', 'iptables', 'ipvs'] as const
type Row = [words: string, address: string, port: number, more: string, expected: [string, string, string]]

describe('from a pod through a Service, in nftables, iptables and ipvs', () => {
  test.each<Row>([
    [
      'to the cluster IP of another Service: refused after translation, lost, refused by the node that has it',
      '10.96.0.20',
      80,
      '',
      ['reject endpoint-is-service', 'drop endpoint-not-routed', 'reject endpoint-is-service'],
    ],
    [
      'which has no endpoints: the filter table of iptables refuses as well',
      '10.96.0.30',
      80,
      '',
      ['reject endpoint-is-service', 'reject endpoint-is-service', 'reject endpoint-is-service'],
    ],
    [
      'to an address of the Service network that nobody has',
      '10.96.0.99',
      80,
      RANGE,
      ['drop endpoint-not-routed', 'drop endpoint-not-routed', 'drop endpoint-not-routed'],
    ],
    [
      'to the load balancer of another Service: ipvs has the address itself',
      '203.0.113.9',
      80,
      '',
      ['dnat null', 'dnat null', 'reject endpoint-is-service'],
    ],
    ['to an external IP', '198.51.100.7', 80, '', ['dnat null', 'dnat null', 'reject endpoint-is-service']],
    ["to the node's own address: who listens there", '192.168.0.1', 9100, '', ['dnat null', 'dnat null', 'dnat null']],
    [
      "to a node port on the node's own address: nobody listens, and rules are not asked again",
      '192.168.0.1',
      30080,
      '',
      ['reject endpoint-is-service', 'reject endpoint-is-service', 'reject endpoint-is-service'],
    ],
    [
      "to a node port on another node's: its rules are asked",
      '192.168.0.2',
      30080,
      '',
      ['dnat null', 'dnat null', 'dnat null'],
    ],
  ])('%s', (_words, address, port, more, expected) => {
    const answers = MODES.map((mode) => {
      const manifests = [file(cluster(mode, address, port, more))]
      const { verdict, reason } = one({ manifests, from: 'default/client', to: 'alias:80' })
      return `${verdict} ${reason}`
    })
    expect(answers).toEqual(expected)
  })

  test.each(['127.0.0.1', '169.254.1.1', '0.0.0.0', '224.0.0.5'])('%s is refused with the object', (address) => {
    const ask = (): unknown =>
      one({ manifests: [file(cluster('nftables', address))], from: 'default/client', to: 'alias:80' })
    expect(ask).toThrow(/endpoints\[0\]\.addresses\[0\]|an address that other machines can reach/)
  })
})

describe('in a replay', () => {
  const folder = temporaryFolder()
  const run = async (address: string, port: number): Promise<Record<string, unknown>[]> => {
    const objects = loadAll(cluster('nftables', address, port)) as KubeObject[]
    const scenario = {
      seed: 1,
      duration: '10s',
      traffic: [
        {
          from: { pods: { name: 'client' } },
          to: { service: 'alias', port: 80 },
          arrivals: { process: 'constant', connections: 50 },
        },
      ],
    }
    const trace = await traceOf(folder, `address-${address}-${port}`, scenario, objects)
    const reports = await Promise.all(
      [1, 2].map((workers) => replayed(trace, { policies: ['as-is'], proxyModes: [...MODES], workers })),
    )
    const results = reports.map(({ runs }) =>
      runs.map(({ connections, drops, endpoints }) => ({
        ...drops,
        established: connections.established,
        web: endpoints.filter(({ service }) => service.includes('web')).reduce((sum, one) => sum + one.connections, 0),
      })),
    )
    expect(results[1]).toEqual(results[0])
    return results[0]!
  }

  test('connections to a cluster IP behind a Service end as the mode has it', async () => {
    const [nftables, iptables, ipvs] = await run('10.96.0.20', 80)
    expect(nftables).toMatchObject({ 'endpoint-is-service': 50, established: 0, web: 0 })
    expect(iptables).toMatchObject({ 'endpoint-not-routed': 50, established: 0, web: 0 })
    expect(ipvs).toMatchObject({ 'endpoint-is-service': 50, established: 0, web: 0 })
  })

  test("a node port on another node leads on to that Service's pods", async () => {
    for (const result of await run('192.168.0.2', 30080)) expect(result).toMatchObject({ established: 50, web: 50 })
  })
})
