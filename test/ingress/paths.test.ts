/** The ways in, row by row of the summary: who picks, how often, what the pod sees. Sources in src/ingress/paths.ts. */
import { describe, expect, it } from 'vitest'
import { type BackendPathQuery, backendPath } from '../../src/ingress/index.ts'
import type { Cluster, ClusterNode, ClusterPod, ClusterService } from '../../src/k8s/cluster.ts'
import { clusterOf, service } from './build.ts'

const node = (name: string): ClusterNode => ({
  name,
  labels: {},
  zone: '',
  addresses: ['192.0.2.1'],
  podCidrs: [],
  cpus: 4,
  ready: true,
})
const nodePort = { ports: [{ name: '', protocol: 'TCP' as const, port: 80, targetPort: 8080, nodePort: 30080 }] }
const nginxLabels = { 'app.kubernetes.io/name': 'ingress-nginx' }
const web = (more: Partial<ClusterService> = {}): ClusterService =>
  service('web', { type: 'NodePort', ...nodePort, ...more }).service
const proxy = (more: Partial<ClusterService> = {}): ClusterService =>
  service('ingress-nginx/controller', { type: 'LoadBalancer', labels: nginxLabels, ...nodePort, ...more }).service
const proxyPod: ClusterPod = {
  namespace: 'ingress-nginx',
  name: 'controller',
  labels: nginxLabels,
  nodeName: 'a',
  addresses: ['192.0.2.1'],
  hostNetwork: true,
  hostname: '',
  subdomain: '',
  dnsPolicy: 'ClusterFirst',
  dnsConfig: {},
  ready: true,
  terminating: false,
  cpuLimit: 0,
  ports: [],
  owner: '',
}
const cluster = (services: ClusterService[], pods: ClusterPod[] = []): Cluster => ({
  ...clusterOf({ services }),
  pods,
  nodes: ['a', 'b', 'c', 'd'].map(node),
})
const ask = (services: ClusterService[], controller: string, more: Partial<BackendPathQuery> = {}) =>
  backendPath({ cluster: cluster(services), controller, backend: 'default/web', ...more })

const ALB = 'ingress.k8s.aws/alb'
const NGINX = 'k8s.io/ingress-nginx'
const ipTarget = { annotations: { 'alb.ingress.kubernetes.io/target-type': 'ip' } }
const neg = { annotations: { 'cloud.google.com/neg': '{"ingress": true}' } }

describe('cloud load balancers', () => {
  it.each([
    ['ALB, policy Cluster', ask([web()], ALB), 'instance-targets', 'node', 0.75],
    ['ALB, policy Local', ask([web({ externalTrafficPolicy: 'Local' })], ALB), 'instance-targets', 'load balancer', 0],
    ['ALB, IP targets', ask([web()], ALB, ipTarget), 'ip-targets', 'load balancer', 0],
    ['GCE', ask([web()], 'k8s.io/ingress-gce'), 'instance-targets', 'node', 0.75],
    ['GCE with NEG', ask([web(neg)], 'k8s.io/ingress-gce'), 'ip-targets', 'load balancer', 0],
    [
      'GCE with a broken NEG annotation',
      ask([web({ annotations: { 'cloud.google.com/neg': '{' } })], 'k8s.io/ingress-gce'),
      'instance-targets',
      'node',
      0.75,
    ],
  ] as const)('%s: the pod sees', (_name, way, kind, source, crossNodeChance) => {
    expect(way.kind).toBe(kind)
    expect(way.hops.at(-1)?.source).toBe(source)
    expect(way.hops.at(-1)?.xForwardedFor).toBe('client')
    expect(way.crossNodeChance).toBe(crossNodeChance)
    expect(way.tlsEndsAt).toBe('cloud load balancer')
    expect(way.connections).toBe(2)
  })
  it('instance targets: the load balancer picks a node for each request, kube-proxy a pod for each connection', () => {
    expect(ask([web()], ALB).hops.map(({ by, picks, unit, nat }) => `${by}: ${picks} per ${unit}, ${nat}`)).toEqual([
      'cloud load balancer: node per request, none',
      'kube-proxy: backend pod per connection, DNAT and masquerade',
    ])
    expect(ask([web()], ALB).backendFields).toEqual(['externalTrafficPolicy', 'sessionAffinity'])
  })
  it('IP targets: neither kube-proxy nor the Service has a part', () => {
    const way = ask([web()], ALB, ipTarget)
    expect(way.hops).toHaveLength(1)
    expect(way.backendFields).toEqual([])
  })
  it('instance targets need a node port', () => {
    expect(ask([web({ ports: [] })], ALB).notes).toEqual([
      'Service default/web has no node port, which instance targets need',
    ])
    expect(ask([], ALB).notes).toEqual(['Service default/web does not exist'])
  })
})

describe('what stands in front of an in-cluster proxy, and what X-Forwarded-For then holds', () => {
  const proxying = { loadBalancer: [{ ip: '203.0.113.1', hostname: '', ipMode: 'Proxy' as const }] }
  const local = { externalTrafficPolicy: 'Local' as const }
  const nlbIp = (attributes: string): Partial<ClusterService> => ({
    annotations: {
      'service.beta.kubernetes.io/aws-load-balancer-nlb-target-type': 'ip',
      'service.beta.kubernetes.io/aws-load-balancer-target-group-attributes': attributes,
    },
  })
  it.each([
    ['pass-through load balancer, Cluster', proxy(), {}, 'node', 2],
    ['pass-through load balancer, Local', proxy(local), {}, 'client', 2],
    ['NodePort, Cluster', proxy({ type: 'NodePort' }), {}, 'node', 2],
    ['NodePort, Local', proxy({ type: 'NodePort', ...local }), {}, 'client', 2],
    ['proxying load balancer, Local', proxy({ ...proxying, ...local }), {}, 'load balancer', 3],
    ['proxying load balancer, Cluster', proxy(proxying), {}, 'node', 3],
    ['proxying load balancer with PROXY protocol', proxy(proxying), { proxyProtocol: true }, 'client', 3],
    ['NLB with IP targets', proxy(nlbIp('')), {}, 'load balancer', 3],
    [
      'NLB with IP targets that keeps the client address',
      proxy(nlbIp('preserve_client_ip.enabled=true')),
      {},
      'client',
      2,
    ],
  ] as const)('%s', (_name, front, more, forwarded, connections) => {
    const way = ask([web(), front], NGINX, more)
    expect(way.hops.at(-1)).toMatchObject({
      by: 'ingress proxy',
      picks: 'backend pod',
      unit: 'request',
      nat: 'none',
      source: 'proxy pod',
      xForwardedFor: forwarded,
    })
    expect(way.connections).toBe(connections)
    expect(way.tlsEndsAt).toBe('ingress proxy')
    expect(way.backendFields).toEqual([])
  })
  it('host network: no Service, no NAT, the pod sees the node', () => {
    const way = backendPath({ cluster: cluster([web()], [proxyPod]), controller: NGINX, backend: 'default/web' })
    expect(way.hops.map(({ by, nat, source, xForwardedFor }) => [by, nat, source, xForwardedFor])).toEqual([
      ['client', 'none', 'client', null],
      ['ingress proxy', 'none', "proxy's node", 'client'],
    ])
  })
  it('Cluster may cross nodes on the way to the proxy, Local never does', () => {
    expect(ask([web(), proxy()], NGINX).crossNodeChance).toBe(0.75)
    expect(ask([web(), proxy(local)], NGINX).crossNodeChance).toBe(0)
  })
  it('service-upstream brings kube-proxy back in', () => {
    const way = ask([web(), proxy()], NGINX, {
      annotations: { 'nginx.ingress.kubernetes.io/service-upstream': 'true' },
    })
    expect(way.hops.map(({ by, picks }) => `${by}: ${picks}`)).toEqual([
      'layer-4 load balancer: node',
      'kube-proxy: proxy pod',
      'ingress proxy: cluster IP',
      'kube-proxy: backend pod',
    ])
    expect(way.backendFields).toEqual(['sessionAffinity'])
  })
  it('says what it assumed of a proxy that is not in the manifests', () => {
    const way = ask([web()], 'example.com/other')
    expect(way.notes).toHaveLength(1)
    expect(way.hops).toHaveLength(3)
    expect(
      ask([web(), service('edge/gate', { type: 'NodePort' }).service], 'example.com/other', {
        proxyService: 'edge/gate',
      }).notes,
    ).toEqual([])
  })
})
