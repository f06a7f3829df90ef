/**
 * What Kubernetes' own tests expect of a plugin: namespaces x, y and z with pods a, b and c each, and who still reaches whom.
 *
 * Each row is asked twice, to the pod's own address and to its Service, whose port is another one. A pod always reaches itself.
 * Source: kubernetes/kubernetes test/e2e/network/netpol/network_policy.go (facts; loopback is left out there).
 */
import { describe, expect, test } from 'vitest'
import { outcomeOf } from '../../src/explain/outcome.ts'
import { renderAnswer } from '../../src/explain/text.ts'
import { explainAll, type Manifest, node } from '../packetflow/support.ts'

const SPACES = ['x', 'y', 'z'] as const
const PODS = ['a', 'b', 'c'] as const
const NAMES = SPACES.flatMap((space) => PODS.map((pod) => `${space}/${pod}`))
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const

const address = (name: string): string => {
  const i = NAMES.indexOf(name)
  // Spread over both nodes, so that packets stay on one and cross.
  return `10.244.${1 + (i % 2)}.${10 + i}`
}
const serviceAddress = (name: string): string => `10.96.1.${10 + NAMES.indexOf(name)}`

const CLUSTER: readonly Manifest[] = [
  node('n1', ['192.168.0.1'], {}, ['10.244.1.0/24']),
  node('n2', ['192.168.0.2'], {}, ['10.244.2.0/24']),
  ...SPACES.map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { ns: name } } })),
  ...NAMES.flatMap((name, i) => {
    const [namespace, pod] = name.split('/') as [string, string]
    const ports = PROTOCOLS.flatMap((protocol) =>
      [80, 81].map((port) => ({ name: `serve-${port}-${protocol.toLowerCase()}`, containerPort: port, protocol })),
    )
    return [
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: pod, namespace, labels: { pod } },
        spec: { nodeName: `n${1 + (i % 2)}`, containers: [{ name: 'c', ports }] },
        status: { podIP: address(name), podIPs: [{ ip: address(name) }] },
      },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: `s-${pod}`, namespace },
        spec: {
          clusterIP: serviceAddress(name),
          selector: { pod },
          ports: ports.map(({ name: portName, containerPort, protocol }) => ({
            ...{ name: portName, protocol },
            ...{ port: 10_000 + containerPort, targetPort: containerPort },
          })),
        },
      },
    ]
  }),
]

const A = { matchLabels: { pod: 'a' } }
const B = { matchLabels: { pod: 'b' } }
const ns = (name: string): object => ({ matchLabels: { ns: name } })
const notX = { matchExpressions: [{ key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['x'] }] }
const bOrC = { matchExpressions: [{ key: 'pod', operator: 'In', values: ['b', 'c'] }] }

/** `x/deny`, then the spec. */
type Policy = readonly [name: string, spec: object]
type Reach = (from: string, to: string) => boolean

interface Row {
  readonly name: string
  readonly policies: readonly Policy[]
  readonly port?: 80 | 81
  readonly protocol?: (typeof PROTOCOLS)[number]
  readonly reaches: Reach
}

const into =
  (target: string, allowed: (from: string) => boolean): Reach =>
  (from, to) =>
    to !== target || allowed(from)
const outOf =
  (source: string, allowed: (to: string) => boolean): Reach =>
  (from, to) =>
    from !== source || allowed(to)
const within = (space: string, name: string): boolean => name.startsWith(`${space}/`)
const ingress = (...rules: object[]): object => ({ podSelector: A, ingress: rules })
const egress = (...rules: object[]): object => ({ podSelector: A, policyTypes: ['Egress'], egress: rules })
const xa = (name: string, spec: object): Policy => [`x/${name}`, spec]

const ROWS: readonly Row[] = [
  {
    name: 'deny ingress from pods on other namespaces: to x only from x',
    policies: [['x/deny', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] }]],
    reaches: (from, to) => !within('x', to) || within('x', from),
  },
  {
    name: 'deny ingress access to updated pod: default deny in x',
    policies: [['x/deny', { podSelector: {}, ingress: [] }]],
    reaches: (_, to) => !within('x', to),
  },
  {
    name: 'default-deny-all: both directions',
    policies: [['x/deny', { podSelector: {}, policyTypes: ['Ingress', 'Egress'] }]],
    reaches: (from, to) => !within('x', to) && !within('x', from),
  },
  {
    name: 'policyTypes left out: ingress is denied, egress is not',
    policies: [['x/deny', { podSelector: {}, egress: [] }]],
    reaches: (_, to) => !within('x', to),
  },
  {
    name: 'policyTypes left out with egress rules: both are',
    policies: [['x/deny', { podSelector: A, egress: [{ to: [{ podSelector: B }] }] }]],
    reaches: (from, to) => to !== 'x/a' && (from !== 'x/a' || to === 'x/b'),
  },
  {
    name: 'allow ingress from pods of one label in the same namespace',
    policies: [xa('allow', ingress({ from: [{ podSelector: B }] }))],
    reaches: into('x/a', (from) => from === 'x/b'),
  },
  {
    name: 'allow all pods of all namespaces (podSelector and namespaceSelector empty), beside a default deny',
    policies: [
      ['x/deny', { podSelector: {} }],
      xa('allow', ingress({ from: [{ podSelector: {}, namespaceSelector: {} }] })),
    ],
    reaches: (_, to) => !within('x', to) || to === 'x/a',
  },
  {
    name: 'allow from all namespaces by an empty namespaceSelector',
    policies: [xa('allow', ingress({ from: [{ namespaceSelector: {} }] }))],
    reaches: () => true,
  },
  {
    name: 'allow only from another namespace, by its name label',
    policies: [
      xa('allow', ingress({ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'y' } } }] })),
    ],
    reaches: into('x/a', (from) => within('y', from)),
  },
  {
    name: 'podSelector with matchExpressions',
    policies: [
      xa(
        'allow',
        ingress({ from: [{ podSelector: { matchExpressions: [{ key: 'pod', operator: 'In', values: ['b'] }] } }] }),
      ),
    ],
    reaches: into('x/a', (from) => from === 'x/b'),
  },
  {
    name: 'namespaceSelector with matchExpressions',
    policies: [
      xa(
        'allow',
        ingress({
          from: [{ namespaceSelector: { matchExpressions: [{ key: 'ns', operator: 'In', values: ['y'] }] } }],
        }),
      ),
    ],
    reaches: into('x/a', (from) => within('y', from)),
  },
  {
    name: 'podSelector or namespaceSelector: two peers',
    policies: [xa('allow', ingress({ from: [{ namespaceSelector: notX }, { podSelector: B }] }))],
    reaches: into('x/a', (from) => !within('x', from) || from === 'x/b'),
  },
  {
    name: 'podSelector and namespaceSelector: one peer',
    policies: [xa('allow', ingress({ from: [{ namespaceSelector: notX, podSelector: B }] }))],
    reaches: into('x/a', (from) => from === 'y/b' || from === 'z/b'),
  },
  {
    name: 'several podSelectors and namespaceSelectors',
    policies: [xa('allow', ingress({ from: [{ namespaceSelector: notX, podSelector: bOrC }] }))],
    reaches: into('x/a', (from) => !within('x', from) && !from.endsWith('/a')),
  },
  {
    name: 'any of several podSelectors',
    policies: [xa('allow', ingress({ from: [{ podSelector: B }, { podSelector: { matchLabels: { pod: 'c' } } }] }))],
    reaches: into('x/a', (from) => from === 'x/b' || from === 'x/c'),
  },
  {
    name: 'only a pod of another namespace',
    policies: [xa('allow', ingress({ from: [{ namespaceSelector: ns('y'), podSelector: A }] }))],
    reaches: into('x/a', (from) => from === 'y/a'),
  },
  {
    name: 'ports: the one that is allowed',
    policies: [
      xa('allow', ingress({ from: [{ namespaceSelector: ns('y') }], ports: [{ port: 81, protocol: 'TCP' }] })),
    ],
    port: 81,
    reaches: into('x/a', (from) => within('y', from)),
  },
  {
    name: 'ports: another one',
    policies: [
      xa('allow', ingress({ from: [{ namespaceSelector: ns('y') }], ports: [{ port: 81, protocol: 'TCP' }] })),
    ],
    port: 80,
    reaches: into('x/a', () => false),
  },
  {
    name: 'multiple, stacked policies with overlapping podSelectors: 80 is in one of them',
    policies: [
      xa('allow-81', ingress({ from: [{ namespaceSelector: ns('y') }], ports: [{ port: 81 }] })),
      ['x/allow-80', { podSelector: {}, ingress: [{ from: [{ namespaceSelector: ns('y') }], ports: [{ port: 80 }] }] }],
    ],
    port: 80,
    reaches: (from, to) => !within('x', to) || within('y', from),
  },
  {
    name: 'allow-all beside a policy that denies: the union counts',
    policies: [xa('allow-all', ingress({})), ['x/deny', { podSelector: {}, ingress: [] }]],
    reaches: (_, to) => !within('x', to) || to === 'x/a',
  },
  {
    name: 'ingress on one named port',
    policies: [xa('allow', ingress({ ports: [{ port: 'serve-81-tcp' }] }))],
    port: 81,
    reaches: () => true,
  },
  {
    name: 'ingress on a port that another name has',
    policies: [xa('allow', ingress({ ports: [{ port: 'serve-81-tcp' }] }))],
    port: 80,
    reaches: into('x/a', () => false),
  },
  {
    name: 'a named port is of its protocol',
    policies: [xa('allow', ingress({ ports: [{ port: 'serve-80-udp' }] }))],
    port: 80,
    protocol: 'UDP',
    reaches: into('x/a', () => false),
  },
  {
    name: 'egress on one named port, which the destination pod has',
    policies: [xa('allow', egress({ ports: [{ port: 'serve-80-tcp' }] }))],
    port: 80,
    reaches: () => true,
  },
  {
    name: 'egress on a named port of another number',
    policies: [xa('allow', egress({ ports: [{ port: 'serve-80-tcp' }] }))],
    port: 81,
    reaches: outOf('x/a', () => false),
  },
  {
    name: 'egress based on podSelector alone, in the same namespace',
    policies: [xa('allow', egress({ to: [{ podSelector: B }] }))],
    reaches: outOf('x/a', (to) => to === 'x/b'),
  },
  {
    name: 'egress based on podSelector and namespaceSelector',
    policies: [xa('allow', egress({ to: [{ namespaceSelector: ns('y'), podSelector: A }] }))],
    reaches: outOf('x/a', (to) => to === 'y/a'),
  },
  {
    name: 'ingress in one and egress in another namespace have both to allow it',
    policies: [
      xa('in', ingress({ from: [{ namespaceSelector: ns('y') }] })),
      ['y/out', { podSelector: A, policyTypes: ['Egress'], egress: [{ to: [{ namespaceSelector: ns('z') }] }] }],
    ],
    reaches: (from, to) => (to !== 'x/a' || within('y', from)) && (from !== 'y/a' || within('z', to)),
  },
  {
    name: 'multiple ingress policies with ingress allow-all taking precedence',
    policies: [xa('allow-81', ingress({ ports: [{ port: 81 }] })), ['x/all', { podSelector: {}, ingress: [{}] }]],
    port: 80,
    reaches: () => true,
  },
  {
    name: 'multiple egress policies with egress allow-all taking precedence',
    policies: [
      xa('allow-80', egress({ ports: [{ port: 80 }] })),
      ['x/all', { podSelector: {}, policyTypes: ['Egress'], egress: [{}] }],
    ],
    port: 81,
    reaches: () => true,
  },
  {
    name: 'deny egress from all pods of a namespace',
    policies: [['x/deny', { podSelector: {}, policyTypes: ['Egress'] }]],
    reaches: (from) => !within('x', from),
  },
  {
    name: 'except clause while egress access to a server by CIDR',
    policies: [xa('allow', egress({ to: [{ ipBlock: { cidr: '10.244.0.0/16', except: [`${address('y/b')}/32`] } }] }))],
    reaches: outOf('x/a', (to) => to !== 'y/b'),
  },
  {
    name: 'ipBlock and its except overlapping with a second rule that allows the address',
    policies: [
      xa('allow', egress({ to: [{ ipBlock: { cidr: '10.244.0.0/16', except: [`${address('y/b')}/32`] } }] })),
      xa('more', egress({ to: [{ ipBlock: { cidr: `${address('y/b')}/32` } }] })),
    ],
    reaches: () => true,
  },
  {
    name: 'ports without a number: every port of the protocol',
    policies: [xa('allow', ingress({ ports: [{ protocol: 'UDP' }] }))],
    protocol: 'UDP',
    reaches: () => true,
  },
  {
    name: 'UDP, where only TCP is allowed on the port',
    policies: [xa('allow', ingress({ ports: [{ port: 80 }] }))],
    protocol: 'UDP',
    reaches: into('x/a', () => false),
  },
  {
    name: 'protocol SCTP is not mistaken for TCP: TCP to the SCTP port',
    policies: [xa('allow', ingress({ ports: [{ port: 80, protocol: 'SCTP' }] }))],
    reaches: into('x/a', () => false),
  },
  {
    name: 'SCTP based on port',
    policies: [xa('allow', ingress({ ports: [{ port: 81, protocol: 'SCTP' }] }))],
    port: 81,
    protocol: 'SCTP',
    reaches: () => true,
  },
  {
    name: 'endPort: 80 to 90 of the destination',
    policies: [xa('allow', egress({ ports: [{ port: 81, endPort: 90 }] }))],
    port: 81,
    reaches: () => true,
  },
  {
    name: 'endPort: below the range',
    policies: [xa('allow', egress({ ports: [{ port: 81, endPort: 90 }] }))],
    port: 80,
    reaches: outOf('x/a', () => false),
  },
  {
    name: 'from: [] and ports: [] mean all',
    policies: [xa('allow', ingress({ from: [], ports: [] }))],
    reaches: () => true,
  },
  {
    name: 'a policy of another namespace means nothing here',
    policies: [['y/deny', { podSelector: A, ingress: [] }]],
    reaches: into('y/a', () => false),
  },
  {
    name: 'a namespace that has the label only after it was given one',
    policies: [xa('allow', ingress({ from: [{ namespaceSelector: { matchLabels: { team: 'blue' } } }] }))],
    reaches: into('x/a', () => false),
  },
]

describe.each(ROWS.map((row) => [row.name, row] as const))('%s', (_, row) => {
  const { policies, port = 80, protocol = 'TCP', reaches } = row
  const objects = [
    ...CLUSTER,
    ...policies.map(([name, spec]) => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { name: name.split('/')[1], namespace: name.split('/')[0] },
      spec,
    })),
  ]
  test.each([
    ['its own address', (name: string) => `${address(name)}:${port}`],
    ['its Service', (name: string) => `${serviceAddress(name)}:${10_000 + port}`],
  ])('by %s', (_, to) => {
    const pairs = NAMES.flatMap((from) => NAMES.map((target) => [from, target] as const))
    const answers = explainAll(
      objects,
      pairs.map(([from, target]) => ({ from: address(from), to: to(target), protocol, node: null })),
    )
    for (const [i, [from, target]] of pairs.entries()) {
      const wanted = from === target || reaches(from, target) ? 'deliver' : 'drop'
      expect(outcomeOf(answers[i]!.explanation), `${from} → ${target}\n${renderAnswer(answers[i]!)}`).toBe(wanted)
    }
  })
})
