/** Pods with a hostPort, as the portmap plugin leads packets to them: portmap_iptables.go of containernetworking/plugins. */
import { describe, expect, test } from 'vitest'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import { Registry } from '../../src/compile/registry.ts'
import { Directory, ExplainContext } from '../../src/explain/context.ts'
import { explainPacket } from '../../src/explain/packet.ts'
import { ask, isAnswer, packetOf, register } from '../../src/explain/resolve-packet.ts'
import { clusterOf, load } from '../k8s/helpers.ts'
import { outcome, stateful } from './support.ts'

const NODES = [1, 2]
  .map(
    (i) => `
apiVersion: v1
kind: Node
metadata: { name: n${i} }
spec: { podCIDR: 10.244.${i}.0/24 }
status: { addresses: [{ type: InternalIP, address: 192.168.5.${i} }, { type: InternalIP, address: 172.16.5.${i} }] }`,
  )
  .join('\n---')

function pod(name: string, node: number, ip: string, ports = '', more = ''): string {
  return `---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: default, labels: { app: ${name} } }
spec: { nodeName: n${node}, ${more} containers: [{ name: c, ports: [${ports}] }] }
status: { phase: Running, podIP: ${ip}, podIPs: [{ ip: ${ip} }] }`
}

const CLIENTS = [pod('near', 1, '10.244.1.9'), pod('far', 2, '10.244.2.9')].join('\n')
const ENVOY = [NODES, CLIENTS, pod('envoy', 1, '10.244.1.5', '{ containerPort: 8080, hostPort: 80 }')].join('\n')

interface Question {
  readonly from: string
  readonly to: string
  readonly protocol?: 'UDP' | 'TCP'
  readonly node?: string
}

/** `dnat 10.244.1.5:8080, sees 198.18.0.7`. */
function told(
  manifests: string,
  { from, to, protocol = 'TCP', node }: Question,
  mode: ProxyMode | null = null,
): string {
  const directory = new Directory(clusterOf(manifests), {}, mode)
  const registry = new Registry()
  const fail = (message: string): Error => new Error(message)
  const asked = ask({ from, to, protocol, node: node ?? null }, directory, fail)
  if (isAnswer(asked)) return outcome(asked.explanation)
  register(asked, registry)
  const { explanation } = explainPacket(new ExplainContext(directory, registry), packetOf(asked, registry))
  const seen = explanation.seen.length === 0 ? '' : `, sees ${explanation.seen.join(' ')}`
  return `${outcome(explanation)}${seen}`
}

const MODES = ['nftables', 'iptables', 'ipvs'] as const

describe.each(MODES)('%s', (mode) => {
  test.each([
    [
      'a client outside keeps its address',
      { from: '198.18.0.7', to: '192.168.5.1:80' },
      'dnat 10.244.1.5:8080, sees 198.18.0.7',
    ],
    [
      'at every address of the node',
      { from: '198.18.0.7', to: '172.16.5.1:80' },
      'dnat 10.244.1.5:8080, sees 198.18.0.7',
    ],
    ['not at another node', { from: '198.18.0.7', to: '192.168.5.2:80' }, 'none, sees 198.18.0.7'],
    ['not at another port', { from: '198.18.0.7', to: '192.168.5.1:8080' }, 'none, sees 198.18.0.7'],
    [
      'not over another protocol',
      { from: '198.18.0.7', to: '192.168.5.1:80', protocol: 'UDP' },
      'none, sees 198.18.0.7',
    ],
    [
      'a pod of the node: hairpin over the bridge',
      { from: 'default/near', to: '192.168.5.1:80' },
      'dnat 10.244.1.5:8080 masq, sees 10.244.1.1',
    ],
    ['the pod itself', { from: 'default/envoy', to: '192.168.5.1:80' }, 'dnat 10.244.1.5:8080 masq, sees 10.244.1.1'],
    [
      'a pod of another node, which its own node masquerades',
      { from: 'default/far', to: '192.168.5.1:80' },
      'dnat 10.244.1.5:8080, sees 192.168.5.2',
    ],
    ['the node itself', { from: '192.168.5.1', to: '192.168.5.1:80' }, 'dnat 10.244.1.5:8080, sees 192.168.5.1'],
    ['another node', { from: '192.168.5.2', to: '192.168.5.1:80' }, 'dnat 10.244.1.5:8080, sees 192.168.5.2'],
    [
      'localhost of the node is masqueraded',
      { from: '127.0.0.1', to: '127.0.0.1:80', node: 'n1' },
      'dnat 10.244.1.5:8080 masq, sees 10.244.1.1',
    ],
    [
      'a process of the node that dials localhost is localhost',
      { from: 'node/n1', to: '127.0.0.1:80' },
      'dnat 10.244.1.5:8080 masq, sees 10.244.1.1',
    ],
    ['localhost of another node', { from: '127.0.0.1', to: '127.0.0.1:80', node: 'n2' }, 'none, sees 127.0.0.1'],
    ['the pod at its own port', { from: '198.18.0.7', to: '10.244.1.5:8080' }, 'none, sees 198.18.0.7'],
  ] as const)('%s', (_, question, expected) => {
    expect(told(ENVOY, question, mode)).toBe(expected)
  })
})

describe('hostIP', () => {
  const manifests = (hostIP: string): string =>
    [NODES, CLIENTS, pod('envoy', 1, '10.244.1.5', `{ containerPort: 8080, hostPort: 80, hostIP: ${hostIP} }`)].join(
      '\n',
    )
  test.each([
    ['192.168.5.1', '192.168.5.1:80', 'dnat 10.244.1.5:8080, sees 198.18.0.7'],
    ['192.168.5.1', '172.16.5.1:80', 'none, sees 198.18.0.7'],
    ['0.0.0.0', '172.16.5.1:80', 'dnat 10.244.1.5:8080, sees 198.18.0.7'],
    ['127.0.0.1', '192.168.5.1:80', 'none, sees 198.18.0.7'],
    ['"::1"', '192.168.5.1:80', 'none, sees 198.18.0.7'],
    ['192.168.9.9', '192.168.5.1:80', 'none, sees 198.18.0.7'],
  ])('%s: %s is %s', (hostIP, to, expected) => {
    expect(told(manifests(hostIP), { from: '198.18.0.7', to })).toBe(expected)
  })

  test('127.0.0.1 is the node alone', () => {
    const question = { from: '127.0.0.1', to: '127.0.0.1:80', node: 'n1' }
    expect(told(manifests('127.0.0.1'), question)).toBe('dnat 10.244.1.5:8080 masq, sees 10.244.1.1')
  })

  test('two pods at one port and two addresses', () => {
    const both = [
      NODES,
      pod('a', 1, '10.244.1.5', '{ containerPort: 1, hostPort: 80, hostIP: 192.168.5.1 }'),
      pod('b', 1, '10.244.1.6', '{ containerPort: 2, hostPort: 80, hostIP: 172.16.5.1 }'),
    ].join('\n')
    expect(told(both, { from: '198.18.0.7', to: '192.168.5.1:80' })).toMatch(/^dnat 10\.244\.1\.5:1,/)
    expect(told(both, { from: '198.18.0.7', to: '172.16.5.1:80' })).toMatch(/^dnat 10\.244\.1\.6:2,/)
  })
})

describe('whose host ports', () => {
  const daemon = (more: string): string => `${NODES}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: svclb, namespace: kube-system }
spec:
  selector: { matchLabels: { app: svclb } }
  template:
    metadata: { labels: { app: svclb } }
    spec: { ${more} containers: [{ name: c, ports: [{ containerPort: 8000, hostPort: 80 }, { containerPort: 53, hostPort: 53, protocol: UDP }] }] }`

  test('a DaemonSet: at each node its own pod', () => {
    expect(told(daemon(''), { from: '198.18.0.7', to: '192.168.5.1:80' })).toMatch(
      /^dnat 10\.244\.1\.\d+:8000, sees 198/,
    )
    expect(told(daemon(''), { from: '198.18.0.7', to: '192.168.5.2:80' })).toMatch(
      /^dnat 10\.244\.2\.\d+:8000, sees 198/,
    )
    expect(told(daemon(''), { from: '198.18.0.7', to: '192.168.5.2:53', protocol: 'UDP' })).toMatch(
      /^dnat 10\.244\.2\.\d+:53,/,
    )
  })

  test('on the host network the port is the own one: nothing is translated', () => {
    expect(
      told(daemon('hostNetwork: true,').replaceAll('containerPort: 8000', 'containerPort: 80'), {
        from: '198.18.0.7',
        to: '192.168.5.1:80',
      }),
    ).toBe('none, sees 198.18.0.7')
  })

  test('nobody is warned of it any more', () => {
    const { objects } = load(daemon(''))
    expect(objects).toHaveLength(3)
    expect(clusterOf(daemon('')).warnings).toEqual([])
  })
})

describe('beside a Service at the same address and port', () => {
  const service = (spec: string, status = ''): string => `${ENVOY}
${pod('web', 2, '10.244.2.7', '{ containerPort: 8000 }')}
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: default }
spec: { selector: { app: web }, clusterIP: 10.96.0.9, ${spec} }
${status}`
  const atLoadBalancer = (more: string): string =>
    service(
      `type: LoadBalancer, ${more} ports: [{ port: 80, targetPort: 8000, nodePort: 30080 }]`,
      'status: { loadBalancer: { ingress: [{ ip: 192.168.5.1 }] } }',
    )
  const hostPort = 'dnat 10.244.1.5:8080, sees 198.18.0.7'
  const web = 'dnat 10.244.2.7:8000 masq, sees 192.168.5.1'

  test.each([
    [
      'an external IP comes first',
      service('externalIPs: [192.168.5.1], ports: [{ port: 80, targetPort: 8000 }]'),
      web,
      web,
    ],
    ["a load balancer's address comes first", atLoadBalancer(''), web, web],
    [
      'a node port comes first; in ipvs mode portmap, with the mark of the node port',
      service('type: NodePort, ports: [{ port: 8000, targetPort: 8000, nodePort: 80 }]'),
      web,
      'dnat 10.244.1.5:8080 masq, sees 10.244.1.1',
    ],
    [
      'a node port under Local: kube-proxy translates nothing on this node, so portmap does',
      service('type: NodePort, externalTrafficPolicy: Local, ports: [{ port: 8000, targetPort: 8000, nodePort: 80 }]'),
      hostPort,
      hostPort,
    ],
    [
      'a Service without endpoints is refused behind translation only',
      atLoadBalancer('').replace('selector: { app: web }', 'selector: { app: nobody }'),
      hostPort,
      'reject no-endpoint',
    ],
  ])('%s', (_, manifests, expected, inIpvs) => {
    const question = { from: '198.18.0.7', to: '192.168.5.1:80' }
    expect(told(manifests, question, 'nftables')).toBe(expected)
    expect(told(manifests, question, 'iptables')).toBe(expected)
    expect(told(manifests, question, 'ipvs')).toBe(inIpvs)
  })

  test.each([
    ['nftables', 'drop not-in-source-ranges'],
    ['iptables', hostPort],
    ['ipvs', 'drop not-in-source-ranges'],
  ] as const)('source ranges that refuse the client, %s', (mode, expected) => {
    const manifests = atLoadBalancer('loadBalancerSourceRanges: [203.0.113.0/24],')
    expect(told(manifests, { from: '198.18.0.7', to: '192.168.5.1:80' }, mode)).toBe(expected)
  })

  test("an endpoint that is a node's host port is translated there once more", () => {
    const manifests = `${ENVOY}
---
apiVersion: v1
kind: Service
metadata: { name: edge, namespace: default }
spec: { clusterIP: 10.96.0.10, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Endpoints
metadata: { name: edge, namespace: default }
subsets: [{ addresses: [{ ip: 192.168.5.1 }], ports: [{ port: 80 }] }]`
    const lines = [{ id: 'a', time: 1, from: '10.244.2.9:40000', to: '10.96.0.10:80', node: 'n2' }]
    const answers = stateful(load(manifests).objects as never, lines)
    expect(answers.get('a')?.explanation).toMatchObject({ verdict: 'dnat', chosen: '10.244.1.5:8080' })
  })
})

test('a sequence: the connection stays with its pod, and the next packet meets its entry', () => {
  const answers = stateful(load(ENVOY).objects as never, [
    { id: 'syn', time: 1, from: '198.18.0.7:40000', to: '192.168.5.1:80', node: 'n1' },
    { id: 'next', time: 2, from: '198.18.0.7:40000', to: '192.168.5.1:80', flags: 'ACK', node: 'n1' },
  ])
  expect(answers.get('syn')?.explanation).toMatchObject({
    frontend: 'hostPort',
    service: null,
    chosen: '10.244.1.5:8080',
  })
  expect(answers.get('next')?.explanation).toMatchObject({
    verdict: 'dnat',
    frontend: 'hostPort',
    chosen: '10.244.1.5:8080',
  })
})
