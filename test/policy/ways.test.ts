/** NetworkPolicies in `explain`, `reach`, `dig` and `lint`, in a user's words. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { runDig } from '../../src/commands/dig.ts'
import { runExplain } from '../../src/commands/explain.ts'
import { runLint } from '../../src/commands/lint.ts'
import { runReach } from '../../src/commands/reach.ts'
import type { Explanation } from '../../src/explain/types.ts'
import { fakeIo } from '../cli/fake-io.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-policy-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SHOP = `
{apiVersion: v1, kind: Node, metadata: {name: n1}, spec: {podCIDR: 10.244.1.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, spec: {podCIDR: 10.244.2.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: blue}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: shop, labels: {app: client}}, spec: {nodeName: n1}, status: {podIP: 10.244.1.9}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop, labels: {app: web}}, spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}, status: {podIP: 10.244.1.5}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-2, namespace: shop, labels: {app: web}}, spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}, status: {podIP: 10.244.2.5}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.20, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: proxy, namespace: edge, labels: {app.kubernetes.io/name: ingress-nginx}}, spec: {nodeName: n1, containers: [{name: c}]}, status: {podIP: 10.244.1.30}}
---
apiVersion: v1
kind: Service
metadata: {name: ingress-nginx-controller, namespace: edge, labels: {app.kubernetes.io/name: ingress-nginx}}
spec: {type: LoadBalancer, clusterIP: 10.96.0.30, externalTrafficPolicy: Local, selector: {app.kubernetes.io/name: ingress-nginx}, ports: [{name: http, port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.80}]}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: k8s.io/ingress-nginx}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: shop}
spec: {ingressClassName: nginx, rules: [{host: shop.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
`

let files = 0
function manifests(...policies: readonly [name: string, spec: object][]): string {
  const path = join(folder, `${files++}.yaml`)
  const documents = policies.map(([name, spec]) => {
    const [namespace, own] = name.split('/')
    const kind = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy' }
    return JSON.stringify({ ...kind, metadata: { name: own, namespace }, spec })
  })
  writeFileSync(path, [SHOP, ...documents].join('\n---\n'))
  return path
}

const WEB = { podSelector: { matchLabels: { app: 'web' } } }
const CLIENT = { podSelector: { matchLabels: { app: 'client' } } }
const DENY: [string, object] = ['shop/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }]

function explain(file: string, from: string, to: string): { answer: Explanation; text: string } {
  const run = (output: string): string => {
    const io = fakeIo()
    runExplain({ manifests: [file], from, to, stateful: false, output: [output], quiet: true }, io)
    return io.written.stdout
  }
  return { answer: JSON.parse(run('json')) as Explanation, text: run('text').replace(/\s+/g, ' ') }
}

describe('explain', () => {
  test('names the policies that isolate the pod, and says of each rule why it does not let the packet through', () => {
    const file = manifests(DENY, [
      'shop/web',
      {
        ...WEB,
        ingress: [
          { from: [{ namespaceSelector: {}, podSelector: {} }], ports: [{ port: 80 }] },
          { from: [CLIENT], ports: [{ port: 'metrics' }] },
        ],
      },
    ])
    const { answer, text } = explain(file, '10.244.1.30', '10.96.0.20:80')
    expect([answer.verdict, answer.reason]).toEqual(['drop', 'network-policy-ingress'])
    expect(text).toContain('which NetworkPolicy shop/deny, shop/web isolate')
    expect(text).toContain('shop/deny has no ingress rule')
    expect(text).toContain("spec.ingress[0] of shop/web is for 80/tcp, not 8080/tcp; 80 is the Service's port")
    expect(text).toContain('spec.ingress[1] of shop/web is for metrics/tcp, not 8080/tcp')
    expect(text).toContain('is from podSelector app=client of its own namespace, not pod edge/proxy')
    expect(text).toContain('the client waits until it gives up')
  })

  test('names the rule that lets it through, by the name of the port', () => {
    const file = manifests(['shop/web', { ...WEB, ingress: [{ from: [CLIENT], ports: [{ port: 'http' }] }] }])
    const { answer, text } = explain(file, 'shop/client', '10.96.0.20:80')
    expect([answer.verdict, answer.blocked]).toEqual(['dnat', undefined])
    expect(text).toContain(
      'spec.ingress[0] of shop/web lets it through, from pod shop/client (10.244.1.9) to port 8080/tcp',
    )
  })

  test('a pod reaches itself through its Service whatever policies say, and is let nowhere else', () => {
    const { answer } = explain(manifests(DENY), 'shop/web-1', '10.96.0.20:80')
    expect([answer.verdict, answer.blocked]).toEqual([
      'dnat',
      [{ endpoint: '10.244.2.5:8080', reason: 'network-policy-egress' }],
    ])
  })

  test('what the plugin is taken to do is told where a policy has a part in the answer', () => {
    expect(explain(manifests(DENY), 'shop/client', '10.244.2.5:8080').text).toContain(
      'enforced by a plugin that no manifest shows',
    )
    expect(explain(manifests(), 'shop/client', '10.244.2.5:8080').text).not.toContain('NetworkPolic')
  })

  test('a name is of no use to a pod that may not ask', () => {
    const { answer, text } = explain(manifests(DENY), 'shop/client', 'web:80')
    expect([answer.verdict, answer.reason]).toEqual(['drop', 'network-policy-dns'])
    expect(text).toContain(
      'stands for a CoreDNS pod (k8s-app=kube-dns in kube-system), which the manifests do not have',
    )
  })

  test('a proxy that the pods do not let in answers 504', () => {
    const same = ['shop/same', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }] as const
    const stopped = explain(manifests([...same]), '198.51.100.7', 'http://shop.example/')
    expect(stopped.answer.ingress?.status).toBe(504)
    expect(stopped.text).toContain('from pod edge/proxy (10.244.1.30) to port 8080/tcp')
    const edge = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'edge' } } }
    const allowed = explain(
      manifests([...same], ['shop/edge', { ...WEB, ingress: [{ from: [edge] }] }]),
      '198.51.100.7',
      'http://shop.example/',
    )
    expect([allowed.answer.ingress?.status, allowed.answer.blocked]).toEqual([200, undefined])
  })

  test('with time: what is under way goes on when a policy comes, what is new does not', () => {
    const lines = [
      { time: 0, from: '10.244.1.9:4000', to: '10.96.0.20:80' },
      {
        time: 1,
        apply: {
          apiVersion: 'networking.k8s.io/v1',
          kind: 'NetworkPolicy',
          metadata: { name: 'deny', namespace: 'shop' },
          spec: { podSelector: {} },
        },
      },
      { time: 2, from: '10.244.1.9:4000', to: '10.96.0.20:80' },
      { time: 3, from: '10.244.1.9:4001', to: '10.96.0.20:80' },
    ]
    const io = fakeIo({}, lines.map((line) => JSON.stringify(line)).join('\n'))
    runExplain({ manifests: [manifests()], packets: '-', stateful: true, output: ['ndjson'], quiet: true }, io)
    const answers = io.written.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Explanation)
    expect(answers.map(({ verdict, reason }) => [verdict, reason])).toEqual([
      ['dnat', null],
      ['dnat', null],
      ['drop', 'network-policy-ingress'],
    ])
    expect(answers[2]!.steps.at(-1)!.detail).toContain('shop/deny has no ingress rule')
  })
})

test('reach: the matrix shows whom policies keep out', () => {
  const io = fakeIo()
  const file = manifests(['shop/web', { ...WEB, ingress: [{ from: [CLIENT] }] }])
  runReach({ manifests: [file], output: ['json'], quiet: true }, io)
  const { cells } = JSON.parse(io.written.stdout) as {
    cells: { from: string; to: string; outcome: string; reasons: string[] }[]
  }
  const found = cells
    .filter(({ to }) => to === 'shop/web:http')
    .map(({ from, outcome, reasons }) => [from, outcome, ...reasons])
  expect(found).toEqual([
    ['outside', 'none'],
    ['shop/client', 'deliver'],
    // Itself, and not its neighbour.
    ['shop/web-1', 'some', 'network-policy-ingress'],
    ['shop/web-2', 'some', 'network-policy-ingress'],
    ['edge/proxy', 'drop', 'network-policy-ingress'],
  ])
})

test('dig as a pod that may not ask: no server is reached', () => {
  const io = fakeIo()
  expect(runDig({ manifests: [manifests(DENY)], name: 'web', from: 'shop/client', output: [], quiet: true }, io)).toBe(
    0,
  )
  expect(io.written.stdout).toContain(
    ';; communications error to 10.96.0.10#53: timed out\n;; no servers could be reached',
  )
  expect(io.written.stdout).toContain('NetworkPolicy shop/deny isolates')
})

describe('lint warns of policies that do not mean what they seem to', () => {
  test.each<[what: string, policy: [string, object], message: RegExp]>([
    [
      'one that selects nothing here, and would elsewhere',
      ['edge/web', WEB],
      /selects no pod of namespace edge; shop\/web-1 has such labels/,
    ],
    ['egress: [] without policyTypes', ['shop/out', { ...WEB, egress: [] }], /spec\.egress: \[\] denies nothing/],
    [
      'rules of a direction that policyTypes leaves out',
      ['shop/out', { ...WEB, policyTypes: ['Ingress'], egress: [{}] }],
      /spec\.egress counts for nothing/,
    ],
    [
      'egress to a cluster IP',
      ['shop/out', { ...WEB, egress: [{ to: [{ ipBlock: { cidr: '10.96.0.20/32' } }] }] }],
      /lies in the Service CIDR .* and matches nothing/,
    ],
    [
      'a named port that nobody has',
      ['shop/in', { ...WEB, ingress: [{ ports: [{ port: 'grpc' }] }] }],
      /has a TCP port named 'grpc'/,
    ],
    [
      'a namespace label that none has',
      ['shop/in', { ...WEB, ingress: [{ from: [{ namespaceSelector: { matchLabels: { name: 'edge' } } }] }] }],
      /name=edge matches no namespace/,
    ],
  ])('%s', (_, policy, message) => {
    const io = fakeIo()
    runLint({ manifests: [manifests(policy)], strict: false, output: ['json'] }, io)
    const { warnings, faults } = JSON.parse(io.written.stdout) as { warnings: { message: string }[]; faults: unknown[] }
    expect(faults).toEqual([])
    expect(warnings.map(({ message: text }) => text)).toContainEqual(expect.stringMatching(message))
  })
})
