/**
 * Packet-flow rows: who sends where, and what becomes of it, in one line each; a failing row prints the steps.
 *
 * The objects are those of kube-proxy's own packet-flow tests: node `test-node` (192.168.0.2 and others), clusterCIDR
 * 10.0.0.0/8, Services of 172.30.0.0/16. Expectations are one string: `dnat 10.180.0.1:80 10.180.2.1:80 masq`, `drop
 * no-local-endpoint`, `reject no-endpoint`, `accept`, `none`.
 */
import { expect, test } from 'vitest'
import type { ProxyMode } from '../../src/compile/kube-proxy.ts'
import { Registry } from '../../src/compile/registry.ts'
import { Directory, ExplainContext, type LoadedManifests } from '../../src/explain/context.ts'
import { parseLines } from '../../src/explain/lines.ts'
import { explainPacket } from '../../src/explain/packet.ts'
import { ask, isAnswer, packetOf, register, type Wanted } from '../../src/explain/resolve-packet.ts'
import { explainStateful } from '../../src/explain/stateful.ts'
import { renderAnswer } from '../../src/explain/text.ts'
import type { Answer, Explanation } from '../../src/explain/types.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseObject } from '../../src/k8s/load.ts'
import type { Protocol } from '../../src/k8s/types.ts'

export type Manifest = Readonly<Record<string, unknown>>

export const MODES: readonly ProxyMode[] = ['iptables', 'nftables', 'ipvs']
/** The two that have rules in common. */
export const RULE_MODES: readonly ProxyMode[] = ['iptables', 'nftables']

export const POD = '10.0.0.2'
export const NODE = '192.168.0.2'
export const ALT_NODE = '192.168.1.2'
export const CLIENT = '203.0.113.2'
export const BLOCKED = '203.0.113.130'

export interface ProxyOptions {
  readonly masqueradeAll?: boolean
  /** False: detectLocalMode ClusterCIDR without a clusterCIDR. */
  readonly detector?: boolean
  readonly nodePortAddresses?: readonly string[]
  readonly localhostNodePorts?: boolean
  readonly serviceCidrs?: readonly string[]
  /** More fields of KubeProxyConfiguration. */
  readonly config?: Manifest
}

const DUAL = ['192.168.0.2', '2001:db8::1', '192.168.1.2', '2001:db8:1::2', '192.168.99.11']

export function node(
  name: string,
  addresses: readonly string[],
  labels: Manifest = {},
  podCIDRs?: readonly string[],
): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels },
    ...(podCIDRs === undefined ? {} : { spec: { podCIDR: podCIDRs[0], podCIDRs } }),
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  }
}

/** `test-node` and two more, and kube-proxy's configuration. */
export function world(mode: ProxyMode, options: ProxyOptions = {}): Manifest[] {
  const section = {
    ...(options.masqueradeAll === undefined ? {} : { masqueradeAll: options.masqueradeAll }),
    ...(mode === 'iptables' && options.localhostNodePorts !== undefined
      ? { localhostNodePorts: options.localhostNodePorts }
      : {}),
  }
  const detector = options.detector ?? true
  return [
    node('test-node', DUAL),
    node('node2', ['192.168.0.101', '2001:db8::101']),
    node('node3', ['192.168.0.102', '2001:db8::102']),
    {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode,
      detectLocalMode: 'ClusterCIDR',
      ...(detector ? { clusterCIDR: '10.0.0.0/8,fd00:10::/64' } : {}),
      ...(options.nodePortAddresses === undefined ? {} : { nodePortAddresses: options.nodePortAddresses }),
      [mode]: section,
      ...options.config,
    },
    ...(options.serviceCidrs === undefined
      ? []
      : [
          {
            apiVersion: 'networking.k8s.io/v1',
            kind: 'ServiceCIDR',
            metadata: { name: 'kubernetes' },
            spec: { cidrs: options.serviceCidrs },
          },
        ]),
  ]
}

/** @param loadBalancerIps  `ip` or whole entries of status.loadBalancer.ingress */
export function service(
  name: string,
  spec: Manifest,
  loadBalancerIps: readonly (string | Manifest)[] = [],
  labels: Manifest = {},
): Manifest {
  const ingress = loadBalancerIps.map((one) => (typeof one === 'string' ? { ip: one } : one))
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'ns1', labels },
    spec: { ports: [{ name: 'p80', port: 80, protocol: 'TCP', nodePort: 3001 }], ...spec },
    status: { loadBalancer: { ingress } },
  }
}

/**
 * Endpoints as `address[@node][ state]...`: states are `unready`, `terminating` (and serving), `dying` (terminating, not
 * serving), `zone=…` and `node=…` hints.
 */
export function slice(
  serviceName: string,
  endpoints: readonly string[],
  ports: readonly Manifest[] = [{ name: 'p80', port: 80 }],
): Manifest {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${serviceName}-${endpoints.join(' ').includes('::') ? 'v6' : 'v4'}`,
      namespace: 'ns1',
      labels: { 'kubernetes.io/service-name': serviceName },
    },
    addressType: endpoints.join(' ').includes('::') ? 'IPv6' : 'IPv4',
    endpoints: endpoints.map(endpoint),
    ports,
  }
}

function endpoint(text: string): Manifest {
  const [place = '', ...states] = text.split(' ')
  const [address, nodeName] = place.split('@')
  const conditions: Record<string, boolean> = {}
  const hints: Record<string, Manifest[]> = {}
  for (const state of states) {
    if (state === 'unready') Object.assign(conditions, { ready: false, serving: false })
    else if (state === 'terminating') Object.assign(conditions, { ready: false, serving: true, terminating: true })
    else if (state === 'dying') Object.assign(conditions, { ready: false, serving: false, terminating: true })
    else {
      const [key, name] = state.split('=')
      const list = key === 'zone' ? 'forZones' : 'forNodes'
      hints[list] = [...(hints[list] ?? []), { name }]
    }
  }
  return {
    addresses: [address],
    conditions,
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(Object.keys(hints).length === 0 ? {} : { hints }),
  }
}

export function load(objects: readonly Manifest[]): LoadedManifests {
  const parsed = parseObject({ apiVersion: 'v1', kind: 'List', items: objects }, 'rows')
  const cluster = deriveCluster(parsed.objects)
  return { objects: parsed.objects, cluster, warnings: [...parsed.warnings, ...cluster.warnings] }
}

const fail = (message: string, hint = ''): Error => new Error(`${message} (${hint})`)

/** Explains packets against one cluster, compiled once. */
export function explainAll(objects: readonly Manifest[], wanted: readonly Wanted[]): Answer[] {
  const directory = new Directory(load(objects).cluster)
  const registry = new Registry()
  const asked = wanted.map((one) => ask(one, directory, fail))
  for (const one of asked) if (!isAnswer(one)) register(one, registry)
  const context = new ExplainContext(directory, registry)
  return asked.map((one) => (isAnswer(one) ? one : explainPacket(context, packetOf(one, registry))))
}

/** `dnat 10.180.0.1:80 masq`, `drop no-local-endpoint`, `none`, … */
export function outcome({ verdict, endpoints, masquerade, reason }: Explanation): string {
  if (verdict === 'dnat') return ['dnat', ...endpoints, ...(masquerade ? ['masq'] : [])].join(' ')
  return reason === null ? verdict : `${verdict} ${reason}`
}

export interface Row {
  readonly name: string
  readonly from: string
  readonly to: string
  readonly expect: string
  readonly protocol?: Protocol
  /** Default `test-node`; null: the packet's own way. */
  readonly node?: string | null
}

/** One test a row. */
export function rows(objects: readonly Manifest[], list: readonly Row[]): void {
  const answers = explainAll(
    objects,
    list.map(({ from, to, protocol, node }) => ({
      from,
      to,
      protocol: protocol ?? 'TCP',
      node: node === undefined ? 'test-node' : node,
    })),
  )
  list.forEach((row, i) => {
    test(`${row.name}: ${row.from} → ${row.to}`, () => expectOutcome(answers[i]!, row.expect))
  })
}

/** A row in short: name, source, destination, expectation. */
export function row(name: string, from: string, to: string, expected: string, more: Partial<Row> = {}): Row {
  return { name, from, to, expect: expected, ...more }
}

export function expectOutcome(answer: Answer, expected: string): void {
  const found = outcome(answer.explanation)
  expect(found, found === expected ? '' : `\n${renderAnswer(answer)}`).toBe(expected)
}

/** Lines of `--stateful` against objects; answers by id. */
export function stateful(objects: readonly Manifest[], lines: readonly Manifest[]): Map<unknown, Answer> {
  const text = lines.map((line) => JSON.stringify(line)).join('\n')
  const answers = explainStateful(parseLines(text, 'rows', true), load(objects), 'test-node', () => {})
  return new Map(answers.map((answer) => [answer.explanation.id, answer]))
}

export function chosen(answers: ReadonlyMap<unknown, Answer>, id: string): string {
  const answer = answers.get(id)
  if (answer === undefined) throw new Error(`no answer ${id}`)
  return answer.explanation.chosen ?? `none: ${renderAnswer(answer)}`
}
