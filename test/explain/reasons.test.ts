/** Answers that were right and did not say why: ports that are not mapped, not matched, led by portmap. */
import { describe, expect, test } from 'vitest'
import { clusterOf } from '../k8s/helpers.ts'
import { explain, file, one } from './support.ts'

const NODES = [1, 2]
  .map(
    (i) => `
apiVersion: v1
kind: Node
metadata: { name: node-${i} }
spec: { podCIDR: 10.244.${i}.0/24 }
status: { addresses: [{ type: InternalIP, address: 192.168.50.1${i} }], conditions: [{ type: Ready, status: "True" }] }`,
  )
  .join('\n---')

const pod = (name: string, ip: string, node: number, port: string): string => `
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: default, labels: { app: ${name} } }
spec: { nodeName: node-${node}, containers: [{ name: c, image: c, ports: [${port}] }] }
status: { phase: Running, podIP: ${ip}, podIPs: [{ ip: ${ip} }], conditions: [{ type: Ready, status: "True" }] }`

const manifest = (...objects: readonly string[]): string => [NODES, ...objects].join('\n---\n')
const text = ({ steps }: { readonly steps: readonly { readonly detail: string }[] }): string =>
  steps.map(({ detail }) => detail).join('\n')

describe('a headless Service', () => {
  const vectors = manifest(
    pod('caller', '10.244.1.5', 1, ''),
    pod('vectors', '10.244.2.7', 2, '{ name: http, containerPort: 8000 }'),
    `
apiVersion: v1
kind: Service
metadata: { name: vectors, namespace: default }
spec: { clusterIP: None, selector: { app: vectors }, ports: [{ name: http, port: 80, targetPort: http }] }`,
  )
  test.each(['vectors:80', 'default/vectors:80', 'vectors:http'])('%s is not remapped, and that is said', (to) => {
    const explained = one({ manifests: [file(vectors)], from: 'default/caller', to })
    expect(text(explained)).toContain("the pod is dialled at 80, though the Service's 80 means 8000 there")
  })

  test('the port of the pod itself needs no word', () => {
    const explained = one({ manifests: [file(vectors)], from: 'default/caller', to: 'vectors:8000' })
    expect(text(explained)).not.toContain('maps no port')
  })
})

describe('ports are matched by name', () => {
  const pg = (service: string, endpoints: string): string =>
    manifest(
      pod('caller', '10.244.1.5', 1, ''),
      `
apiVersion: v1
kind: Service
metadata: { name: pg, namespace: default }
spec: { clusterIP: 10.96.71.1, ports: [{ ${service} port: 5432 }] }
---
apiVersion: v1
kind: Endpoints
metadata: { name: pg, namespace: default }
subsets: [{ addresses: [{ ip: 192.0.2.19 }], ports: [{ ${endpoints} port: 5432 }] }]`,
    )
  test.each([
    ['named and unnamed', 'name: foobar,', '', "port 5432 without a name, and the Service port is named 'foobar'"],
    ['unnamed and named', '', 'name: pg,', "port 5432 'pg', and the Service port has no name"],
    ['two names', 'name: a,', 'name: b,', "port 5432 'b', and the Service port is named 'a'"],
  ])('%s: no endpoint, for that reason', (_, service, endpoints, why) => {
    const explained = one({ manifests: [file(pg(service, endpoints))], from: 'default/caller', to: 'pg:5432' })
    expect(explained).toMatchObject({ verdict: 'reject', reason: 'no-endpoint' })
    expect(text(explained)).toContain(why)
    expect(clusterOf(pg(service, endpoints)).warnings.map(({ code }) => code)).toContain('W_PORT_NAME')
  })

  test.each([
    ['both unnamed', '', ''],
    ['one name', 'name: pg,', 'name: pg,'],
  ])('%s: delivered, no warning', (_, service, endpoints) => {
    const explained = one({ manifests: [file(pg(service, endpoints))], from: 'default/caller', to: 'pg:5432' })
    expect(explained).toMatchObject({ verdict: 'dnat', endpoints: ['192.0.2.19:5432'] })
    expect(clusterOf(pg(service, endpoints)).warnings.map(({ code }) => code)).not.toContain('W_PORT_NAME')
  })
})

test('an address that masquerading leaves as it is stands in place of none', () => {
  const web = manifest(
    pod('web', '10.244.2.7', 2, '{ containerPort: 8080 }'),
    `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { type: NodePort, clusterIP: 10.96.0.9, selector: { app: web }, ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }] }`,
  )
  const explained = one({ manifests: [file(web)], from: '192.168.50.11', to: '192.168.50.11:30080' })
  expect(explained).toMatchObject({ verdict: 'dnat', masquerade: true })
  expect(text(explained)).toContain("sees 192.168.50.11, the client's own address")
  expect(text(explained)).not.toMatch(/(\d+(?:\.\d+){3}) in place of \1/)
})

describe('hostPort', () => {
  const envoy = manifest(pod('envoy', '10.244.1.2', 1, '{ containerPort: 8080, hostPort: 80 }'))
  test('names the pod, and only on its own node', () => {
    const at = (address: string): string =>
      text(one({ manifests: [file(envoy)], from: '198.18.0.7', to: `${address}:80` }))
    expect(at('192.168.50.11')).toContain(
      '192.168.50.11:80/tcp is hostPort 80 of pod default/envoy on this node (containerPort 8080)',
    )
    expect(at('192.168.50.12')).not.toContain('hostPort')
  })

  test('an answer is one of hostPort, of no Service', () => {
    expect(one({ manifests: [file(envoy)], from: '198.18.0.7', to: '192.168.50.11:80' })).toMatchObject({
      verdict: 'dnat',
      endpoints: ['10.244.1.2:8080'],
      service: null,
      frontend: 'hostPort',
      seen: ['198.18.0.7'],
    })
  })
})

describe('a load balancer whose Service has no endpoint, asked by a node', () => {
  const web = manifest(`
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { type: LoadBalancer, clusterIP: 10.96.71.9, selector: { app: web }, ports: [{ port: 80, nodePort: 30080 }] }
status: { loadBalancer: { ingress: [{ ip: 203.0.113.9 }] } }`)
  const asked = (proxyMode: 'iptables' | 'nftables', from: string): string =>
    explain({ manifests: [file(web)], from, to: '203.0.113.9:80', proxyMode }).stdout.replace(/\s+/g, ' ')

  test('iptables has its refusal where packets of the node itself do not pass', () => {
    expect(asked('iptables', 'node/node-1')).toContain('that goes out to the address as it is')
    expect(asked('iptables', '198.51.100.7')).toContain('[no-endpoint]')
  })

  test('nftables refuses them too', () => {
    expect(asked('nftables', 'node/node-1')).toContain('[no-endpoint]')
  })
})
