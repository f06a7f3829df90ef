/** Who asks for a Service by a name from outside of the cluster, and load balancers that are known by name only. */
import { describe, expect, test } from 'vitest'
import { file, one } from './support.ts'

const entry = (
  status: object,
  policy: string,
  type = 'LoadBalancer',
  annotations: Readonly<Record<string, string>> = {},
  nodePort = 30443,
): string =>
  [
    ...[1, 2].map((i) => ({
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: `n${i}` },
      spec: { podCIDR: `10.244.${i}.0/24` },
      status: {
        addresses: [{ type: 'InternalIP', address: `192.168.0.${i}` }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    })),
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'entry-0', namespace: 'shop', labels: { app: 'entry' } },
      spec: { nodeName: 'n2', containers: [{ name: 'entry', image: 'entry' }] },
      status: {
        podIP: '10.244.2.7',
        podIPs: [{ ip: '10.244.2.7' }],
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'entry', namespace: 'shop', annotations },
      spec: {
        type,
        clusterIP: '10.96.0.9',
        externalTrafficPolicy: policy,
        selector: { app: 'entry' },
        allocateLoadBalancerNodePorts: nodePort > 0,
        ports: [{ name: 'https', port: 443, targetPort: 8443, nodePort }],
      },
      status: { loadBalancer: status },
    },
  ]
    .map((object) => JSON.stringify(object))
    .join('\n---\n')

const BY_IP = { ingress: [{ ip: '203.0.113.80' }] }
const BY_NAME = { ingress: [{ hostname: 'lb.example.net' }] }
const CLIENT = '198.51.100.9'

describe("a Service's name, from outside", () => {
  test.each([
    ['entry.shop:443', BY_IP, 'LoadBalancer', 'loadBalancerIP'],
    ['shop/entry:https', BY_IP, 'LoadBalancer', 'loadBalancerIP'],
    ['entry.shop.svc.cluster.local:443', BY_IP, 'LoadBalancer', 'loadBalancerIP'],
    ['entry.shop:443', {}, 'NodePort', 'nodePort'],
  ])('%s dials what the outside has: %#', (to, status, type, frontend) => {
    const explained = one({ manifests: [file(entry(status, 'Cluster', type))], from: CLIENT, to })
    expect(explained).toMatchObject({ frontend, verdict: 'dnat', endpoints: ['10.244.2.7:8443'], masquerade: true })
    expect(explained.steps[0]!.detail).toContain('a client outside of the cluster does not ask its DNS')
  })

  test('a pod asks DNS and dials the cluster IP, as before', () => {
    const explained = one({ manifests: [file(entry(BY_IP, 'Cluster'))], from: '10.244.2.7', to: 'entry.shop:443' })
    expect(explained.frontend).toBe('clusterIP')
  })
})

describe('a load balancer that has a host name only', () => {
  test.each(['lb.example.net:443', 'LB.example.net.:443', 'shop/entry:443'])(
    'is found as %s, and passes its health check under Local',
    (to) => {
      const explained = one({ manifests: [file(entry(BY_NAME, 'Local'))], from: CLIENT, to })
      expect(explained).toMatchObject({
        verdict: 'dnat',
        node: 'n2',
        endpoints: ['10.244.2.7:8443'],
        masquerade: false,
      })
    },
  )

  test('is out of the cluster for a pod: kube-proxy has no rule for a host name', () => {
    const explained = one({ manifests: [file(entry(BY_NAME, 'Local'))], from: '10.244.2.7', to: 'lb.example.net:443' })
    expect(explained).toMatchObject({ verdict: 'none', frontend: null })
    const details = explained.steps.map(({ detail }) => detail).join('\n')
    expect(details).toContain('kube-proxy makes no rule for a host name')
    expect(details).toContain('cannot bring a connection back to the machine that it came from')
  })

  const ANNOTATION = 'service.beta.kubernetes.io/aws-load-balancer-'
  const NLB = 'k8s-shop-entry-0.elb.eu-central-1.amazonaws.com'
  const PRESERVE = { [`${ANNOTATION}target-group-attributes`]: 'preserve_client_ip.enabled=true' }
  const TO_PODS = { [`${ANNOTATION}nlb-target-type`]: 'ip' }
  test.each([
    ['an NLB to instances keeps the client', NLB, {}, true],
    ['an NLB to pods does not', NLB, TO_PODS, false],
    ['unless told so', NLB, { ...TO_PODS, ...PRESERVE }, true],
    ['nlb-ip is to pods', NLB, { [`${ANNOTATION}type`]: 'nlb-ip' }, false],
    [
      'to instances, told not to',
      NLB,
      { [`${ANNOTATION}target-group-attributes`]: 'stickiness.enabled=true, preserve_client_ip.enabled=false' },
      false,
    ],
    ['a classic ELB never does', 'a1b2-123.eu-central-1.elb.amazonaws.com', PRESERVE, false],
    ['any other is taken to', 'lb.example.net', {}, true],
  ] as const)('%s', (_, hostname, annotations, kept) => {
    const manifests = [file(entry({ ingress: [{ hostname }] }, 'Local', 'LoadBalancer', annotations))]
    const explained = one({ manifests, from: CLIENT, to: `${hostname}:443` })
    expect(explained).toMatchObject({ verdict: 'dnat', node: 'n2', endpoints: ['10.244.2.7:8443'] })
    expect(explained.steps.at(-1)!.detail.includes(CLIENT)).toBe(kept)
  })

  test('without node ports it has no healthy target', () => {
    const manifests = [file(entry(BY_NAME, 'Cluster', 'LoadBalancer', {}, 0))]
    const explained = one({ manifests, from: CLIENT, to: 'lb.example.net:443' })
    expect(explained).toMatchObject({ verdict: 'drop', reason: 'no-healthy-node' })
    expect(explained.steps.at(-1)!.detail).toContain('allocateLoadBalancerNodePorts: false')
  })
})
