/** What the API server refuses is refused here, with file, document and field; nothing else is. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { failure, load, reduce } from '../k8s/helpers.ts'
import { specs } from './support.ts'

function policy(spec: unknown): string {
  return JSON.stringify({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: 'np', namespace: 'shop' },
    spec,
  })
}

const ingress = (...rules: unknown[]): unknown => ({ podSelector: {}, ingress: rules })
const port = (one: unknown): unknown => ingress({ ports: [one] })
const peer = (one: unknown): unknown => ingress({ from: [one] })
const expression = (one: unknown): unknown => ({ podSelector: { matchExpressions: [one] } })

describe('refused', () => {
  test.each<[what: string, spec: unknown, field: string, message: RegExp]>([
    ['no spec', undefined, 'spec', /is missing/],
    [
      'a CIDR without a length',
      peer({ ipBlock: { cidr: '10.0.0.1' } }),
      'spec.ingress[0].from[0].ipBlock.cidr',
      /a CIDR block/,
    ],
    [
      'a CIDR that is none',
      peer({ ipBlock: { cidr: '10.0.0.300/8' } }),
      'spec.ingress[0].from[0].ipBlock.cidr',
      /a CIDR block/,
    ],
    ['an ipBlock without one', peer({ ipBlock: {} }), 'spec.ingress[0].from[0].ipBlock.cidr', /is missing/],
    [
      'an exception outside of its block',
      peer({ ipBlock: { cidr: '10.0.0.0/16', except: ['10.0.1.0/24', '10.1.0.0/24'] } }),
      'spec.ingress[0].from[0].ipBlock.except[1]',
      /a block inside of cidr 10\.0\.0\.0\/16/,
    ],
    [
      'an exception that is the whole block',
      peer({ ipBlock: { cidr: '10.0.0.0/16', except: ['10.0.0.0/16'] } }),
      'spec.ingress[0].from[0].ipBlock.except[0]',
      /smaller than it/,
    ],
    [
      'an exception of the other family',
      peer({ ipBlock: { cidr: '10.0.0.0/16', except: ['fd00::/64'] } }),
      'spec.ingress[0].from[0].ipBlock.except[0]',
      /a block inside/,
    ],
    [
      'ipBlock beside podSelector',
      peer({ podSelector: {}, ipBlock: { cidr: '10.0.0.0/8' } }),
      'spec.ingress[0].from[0].ipBlock',
      /either ipBlock or/,
    ],
    ['an empty peer', peer({}), 'spec.ingress[0].from[0]', /podSelector, namespaceSelector or ipBlock/],
    ['endPort without port', port({ endPort: 90 }), 'spec.ingress[0].ports[0].endPort', /given without port/],
    [
      'endPort below port',
      port({ port: 90, endPort: 80 }),
      'spec.ingress[0].ports[0].endPort',
      /at least port, which is 90/,
    ],
    [
      'endPort with a name',
      port({ port: 'http', endPort: 80 }),
      'spec.ingress[0].ports[0].endPort',
      /given with the port name/,
    ],
    ['port 0', port({ port: 0 }), 'spec.ingress[0].ports[0].port', /from 1 to 65535/],
    ['port 65536', port({ port: 65536 }), 'spec.ingress[0].ports[0].port', /from 1 to 65535/],
    ['a port name of 16 characters', port({ port: 'abcdefghijklmnop' }), 'spec.ingress[0].ports[0].port', /at most 15/],
    ['a port name with capitals', port({ port: 'HTTP' }), 'spec.ingress[0].ports[0].port', /small letters/],
    ['a port in quotes', port({ port: '80' }), 'spec.ingress[0].ports[0].port', /port name/],
    [
      'a protocol that is none',
      port({ port: 80, protocol: 'ICMP' }),
      'spec.ingress[0].ports[0].protocol',
      /TCP, UDP or SCTP/,
    ],
    [
      'an operator that is none',
      expression({ key: 'a', operator: 'Equals' }),
      'spec.podSelector.matchExpressions[0].operator',
      /In, NotIn/,
    ],
    [
      'In without values',
      expression({ key: 'a', operator: 'In' }),
      'spec.podSelector.matchExpressions[0].values',
      /at least one value/,
    ],
    [
      'Exists with values',
      expression({ key: 'a', operator: 'Exists', values: ['b'] }),
      'spec.podSelector.matchExpressions[0].values',
      /no values/,
    ],
    [
      'a key that is none',
      expression({ key: 'a b', operator: 'Exists' }),
      'spec.podSelector.matchExpressions[0].key',
      /a label such as/,
    ],
    [
      'a value that is none',
      { podSelector: { matchLabels: { app: 'a b' } } },
      'spec.podSelector.matchLabels.app',
      /a label value/,
    ],
    [
      'a policy type that is none',
      { podSelector: {}, policyTypes: ['ingress'] },
      'spec.policyTypes[0]',
      /Ingress or Egress/,
    ],
    [
      'three policy types',
      { podSelector: {}, policyTypes: ['Ingress', 'Egress', 'Ingress'] },
      'spec.policyTypes',
      /a list of 3/,
    ],
    ['ingress that is no list', { podSelector: {}, ingress: {} }, 'spec.ingress', /a list/],
  ])('%s', (_, spec, field, message) => {
    const found = failure(() => load(policy(spec), 'np.yaml'))
    expect([found.code, found.exitCode, found.where]).toEqual(['E_MANIFEST_FIELD', 3, `np.yaml, document 1, ${field}`])
    expect(found.message).toMatch(message)
    expect(found.message).toContain('NetworkPolicy shop/np')
  })
})

describe('taken', () => {
  test.each<[what: string, spec: unknown]>([
    ['an empty spec: all pods, no ingress', {}],
    ['null where a list may be', { podSelector: null, ingress: null, egress: null, policyTypes: null }],
    ['a port of 15 characters', port({ port: 'abcdefghijklmno' })],
    ['a range of one', port({ port: 80, endPort: 80 })],
    ['an IPv6 block with exceptions', peer({ ipBlock: { cidr: 'fd00::/48', except: ['fd00:0:0:1::/64'] } })],
    ['both selectors', peer({ podSelector: {}, namespaceSelector: {} })],
    ['a key with a prefix', { podSelector: { matchLabels: { 'example.com/tier': 'web' } } }],
  ])('%s', (_, spec) => {
    expect(load(policy(spec)).objects).toHaveLength(1)
  })

  test('from under egress is a field that the API does not have', () => {
    const { warnings } = load(policy({ podSelector: {}, egress: [{ from: [{ podSelector: {} }] }] }))
    expect(warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining('spec.egress[0].from is not a field'),
    ])
  })

  test('one of extensions/v1beta1 is read as one of today', () => {
    const old = { ...JSON.parse(policy({ podSelector: {} })), apiVersion: 'extensions/v1beta1' }
    const { objects, warnings } = load(JSON.stringify(old))
    expect(objects.map(({ apiVersion }) => apiVersion)).toEqual(['networking.k8s.io/v1'])
    expect(warnings[0]!.message).toContain('1.16 and later refuse it')
  })

  test('no value makes it throw anything but a UserError', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.constantFrom('ingress', 'egress', 'podSelector', 'policyTypes'),
        (value, field) => {
          try {
            deriveCluster(load(policy({ podSelector: {}, [field]: value })).objects)
          } catch (error) {
            expect(error).toBeInstanceOf(UserError)
          }
        },
      ),
      { seed: 7, numRuns: 2000 },
    )
  })

  test('a trace holds policies with the labels that their selectors need', () => {
    const pod = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'shop' },
      spec: { template: { metadata: { labels: { app: 'web' }, annotations: { note: 'x' } }, spec: {} } },
    }
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop', labels: { team: 'blue' } } }
    const agent = {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'aws-node', namespace: 'kube-system' },
      spec: {
        template: {
          spec: {
            containers: [
              { name: 'a', image: 'r/amazon-k8s-cni:v1.19' },
              {
                name: 'b',
                image: 'r/amazon/aws-network-policy-agent:v1.2',
                args: ['--enable-network-policy=true', '--secret=x'],
              },
            ],
          },
        },
      },
    }
    fc.assert(
      fc.property(specs([{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }]), (spec) => {
        const files = [policy(spec), pod, namespace, agent].map((one, i) => ({
          name: `${i}.json`,
          text: typeof one === 'string' ? one : JSON.stringify(one),
        }))
        const read = (list: readonly { name: string; text: string }[]) => {
          const cluster = deriveCluster(parseManifests(list).objects)
          const { networkPolicies = [], namespaceLabels, policyPlugin, pods } = cluster
          const policies = networkPolicies.map(({ metadata, spec: own }) => ({ metadata, own }))
          return { policies, namespaceLabels, decides: policyPlugin?.decides, labels: pods.map(({ labels }) => labels) }
        }
        const reduced = reduce(files)
        expect(read(reduced)).toEqual(read(files))
        expect(reduced.map(({ text }) => text).join('')).not.toContain('secret')
        expect(read(reduced).decides).toBe('at-the-pod')
      }),
      { seed: 3, numRuns: 50 },
    )
  })
})
