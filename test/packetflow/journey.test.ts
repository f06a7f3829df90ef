/** Where a packet comes in, hop by hop, when nobody says which node sees it: read in the steps that an SRE is shown. */
import { describe, expect, test } from 'vitest'
import type { Answer } from '../../src/explain/types.ts'
import { CLIENT, explainAll, type Manifest, node, row, rows, service, slice } from './support.ts'

const VIP = '172.30.0.41'
const LB = '1.2.3.4'

function pod(name: string, nodeName: string, podIP: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'ns1' },
    spec: { nodeName },
    status: { podIP, podIPs: [{ ip: podIP }] },
  }
}

function cluster(
  spec: Manifest,
  endpoints: string[],
  loadBalancer: (string | Manifest)[] = [LB],
  more: Manifest[] = [],
): Manifest[] {
  return [
    node('n1', ['192.168.0.1'], {}, ['10.244.1.0/24']),
    node('n2', ['192.168.0.2'], {}, ['10.244.2.0/24']),
    node('n3', ['192.168.0.3'], {}, ['10.244.3.0/24']),
    pod('client', 'n1', '10.244.1.9'),
    pod('web-1', 'n2', '10.244.2.5'),
    pod('web-2', 'n3', '10.244.3.5'),
    service('web', { type: 'LoadBalancer', clusterIP: VIP, ...spec }, loadBalancer),
    slice('web', endpoints),
    ...more,
  ]
}

const WEB = ['10.244.2.5@n2', '10.244.3.5@n3']

function explain(objects: readonly Manifest[], from: string, to: string): Answer {
  return explainAll(objects, [{ from, to, protocol: 'TCP', node: null }])[0]!
}

/** `load balancer route | node n1 dnat`: the places and stages, in order. */
function way({ explanation }: Answer): string {
  return explanation.steps.map(({ at, stage }) => `${at} ${stage}`).join(' | ')
}

function detail({ explanation }: Answer, stage: string, at?: string): string {
  return explanation.steps
    .filter((step) => step.stage === stage && (at === undefined || step.at === at))
    .map((step) => step.detail)
    .join('\n')
}

describe('from outside', () => {
  test('to a load balancer under Local: only nodes that pass the health check, all named', () => {
    const answer = explain(cluster({ externalTrafficPolicy: 'Local' }, WEB), CLIENT, `${LB}:80`)
    expect(answer.explanation).toMatchObject({
      verdict: 'dnat',
      node: 'n2',
      endpoints: ['10.244.2.5:80'],
      masquerade: false,
    })
    expect(detail(answer, 'route', 'load balancer')).toBe(
      'externalTrafficPolicy: Local of Service ns1/web: healthCheckNodePort answers 200 on nodes with a ready endpoint only; n2, n3 pass; n2 is followed here',
    )
    expect(way(answer)).toBe(
      'load balancer route | node n2 frontend | node n2 policy | node n2 endpoint | node n2 dnat | node n2 masquerade | node n2 route | pod ns1/web-1 deliver',
    )
    expect(detail(answer, 'deliver')).toBe(`sees the client as ${CLIENT}`)
  })

  test('to a load balancer under Cluster: any ready node, a hop more, and masquerade', () => {
    const answer = explain(cluster({}, ['10.244.2.5@n2']), CLIENT, `${LB}:80`)
    expect(answer.explanation).toMatchObject({
      verdict: 'dnat',
      node: 'n1',
      endpoints: ['10.244.2.5:80'],
      masquerade: true,
    })
    expect(detail(answer, 'route', 'load balancer')).toContain(
      'every ready node is healthy; n1, n2, n3 pass; n1 is followed here',
    )
    expect(detail(answer, 'dnat')).toBe(`${CLIENT} → ${LB}:80 tcp becomes ${CLIENT} → 10.244.2.5:80 tcp`)
    expect(detail(answer, 'masquerade')).toBe(
      'yes, as 192.168.0.1: externalTrafficPolicy: Cluster of Service ns1/web; the answer must come back through this node',
    )
    expect(detail(answer, 'route', 'node n1')).toBe('10.244.2.5:80: one hop to node n2')
    expect(detail(answer, 'deliver')).toBe(`sees 192.168.0.1 in place of ${CLIENT}`)
  })

  test('no node passes the health check', () => {
    const answer = explain(
      cluster({ externalTrafficPolicy: 'Local' }, ['10.244.2.5@n2 terminating']),
      CLIENT,
      `${LB}:80`,
    )
    expect(answer.explanation).toMatchObject({ verdict: 'drop', reason: 'no-healthy-node', node: null })
  })

  test('ipMode Proxy: the balancer ends the connection and dials a node port from its own address', () => {
    const answer = explain(cluster({}, WEB, [{ ip: LB, ipMode: 'Proxy' }]), CLIENT, `${LB}:80`)
    expect(answer.explanation).toMatchObject({ verdict: 'dnat', frontend: 'nodePort', node: 'n1', masquerade: true })
    expect(detail(answer, 'route', 'load balancer')).toContain(`its own, ${LB} → 192.168.0.1:3001`)
  })

  test('to a node address: that node decides', () => {
    const answer = explain(cluster({ externalTrafficPolicy: 'Local' }, WEB), CLIENT, '192.168.0.1:3001')
    expect(answer.explanation).toMatchObject({ verdict: 'drop', reason: 'no-local-endpoint', node: 'n1' })
    expect(detail(answer, 'endpoint')).toContain(
      'usable elsewhere: 10.244.2.5:80 (pod ns1/web-1, node n2), 10.244.3.5:80',
    )
  })

  test('between two strangers', () => {
    const answer = explain(cluster({}, WEB), CLIENT, '8.8.8.8:53')
    expect(answer.explanation).toMatchObject({ verdict: 'drop', reason: 'no-route', node: null })
  })
})

describe('from a pod', () => {
  test('to a cluster IP: its own node decides', () => {
    const answer = explain(cluster({}, WEB), '10.244.1.9', `${VIP}:80`)
    expect(answer.explanation).toMatchObject({ verdict: 'dnat', node: 'n1', masquerade: false })
    expect(detail(answer, 'masquerade')).toBe(
      'no: 10.244.1.9 is a pod (in clusterCIDR 10.244.0.0/16), and the traffic goes to a cluster IP',
    )
  })

  test('to a load balancer under Local: handled on its own node, short-circuited, no way through the balancer', () => {
    const answer = explain(cluster({ externalTrafficPolicy: 'Local' }, WEB), '10.244.1.9', `${LB}:80`)
    expect(answer.explanation).toMatchObject({ verdict: 'dnat', node: 'n1', masquerade: false })
    expect(answer.explanation.endpoints).toEqual(['10.244.2.5:80', '10.244.3.5:80'])
    expect(detail(answer, 'policy')).toBe(
      'externalTrafficPolicy: Local of Service ns1/web, but 10.244.1.9 is a pod (in clusterCIDR 10.244.0.0/16): in-cluster clients are short-circuited to endpoints on every node (2 of 2)',
    )
  })

  test("to another node's node port: untranslated to there, with its own node's address", () => {
    const answer = explain(cluster({ externalTrafficPolicy: 'Local' }, WEB), '10.244.1.9', '192.168.0.3:3001')
    expect(answer.explanation).toMatchObject({
      verdict: 'dnat',
      node: 'n3',
      endpoints: ['10.244.3.5:80'],
      masquerade: false,
    })
    expect(detail(answer, 'route', 'node n1')).toContain('10.244.1.9 arrives there as 192.168.0.1')
    expect(detail(answer, 'policy')).toContain('192.168.0.1 is node n1, which is outside to this node')
    expect(detail(answer, 'deliver')).toBe('sees the client as 192.168.0.1')
  })

  test('to another pod: straight to its node', () => {
    const answer = explain(cluster({}, WEB), '10.244.1.9', '10.244.2.5:80')
    expect(answer.explanation).toMatchObject({ verdict: 'none', node: 'n1', reason: null })
    expect(detail(answer, 'route')).toBe('10.244.2.5 is pod ns1/web-1: one hop to node n2')
  })

  test('out of the cluster: masqueraded by the network plugin, not by kube-proxy', () => {
    const answer = explain(cluster({}, WEB), '10.244.1.9', '8.8.8.8:53')
    expect(answer.explanation).toMatchObject({ verdict: 'none', masquerade: false })
    expect(detail(answer, 'masquerade')).toContain('as 192.168.0.1, by the network plugin')
  })

  test('its own 127.0.0.1', () => {
    const answer = explain(cluster({}, WEB), '10.244.1.9', '127.0.0.1:3001')
    expect(answer.explanation).toMatchObject({ verdict: 'none', node: 'n1' })
    expect(detail(answer, 'deliver')).toContain('the packet never leaves it')
  })
})

describe('masquerade by the address towards the endpoint', () => {
  test("the bridge's for pods of this node, the node's own for others", () => {
    const answer = explain(cluster({}, ['10.244.1.5@n1', '10.244.2.5@n2']), CLIENT, `${LB}:80`)
    expect(detail(answer, 'masquerade')).toContain(
      'yes, as 10.244.1.1 towards pods of this node and 192.168.0.1 towards other nodes',
    )
  })
})

describe('steps name what was left out, and why', () => {
  const answer = (): Answer =>
    explain(
      cluster({}, ['10.244.2.5@n2', '10.244.3.5@n3 unready', '10.244.3.6@n3 terminating', '10.244.3.7@n3 dying']),
      '10.244.1.9',
      `${VIP}:80`,
    )
  test('by state', () => {
    expect(detail(answer(), 'endpoint')).toBe(
      '10.244.2.5:80 (pod ns1/web-1, node n2); left out: 10.244.3.5:80 not ready, 10.244.3.6:80 terminating, 10.244.3.7:80 terminating, not serving; the only one',
    )
  })
})

describe('a node that is said to see the packet decides, whatever its addresses say', () => {
  rows(cluster({ externalTrafficPolicy: 'Local' }, WEB), [
    row('external at n2', CLIENT, `${LB}:80`, 'dnat 10.244.2.5:80', { node: 'n2' }),
    row('external at n1', CLIENT, `${LB}:80`, 'drop no-local-endpoint', { node: 'n1' }),
    row("another node's address is nothing to n1", CLIENT, '192.168.0.2:3001', 'none', { node: 'n1' }),
  ])
})
