/**
 * What the objects of two clusters say otherwise, field by field: what a difference in behaviour may come from.
 *
 * Only fields that have a part in the dataplane are looked at; defaults are filled in on both sides, so leaving a field out and
 * writing its default is the same.
 */

import type { ProxySettings } from '../compile/kube-proxy.ts'
import { endpointsOfPort, type ProxyEndpoint, slicesByService } from '../compile/usable.ts'
import { joinPort, listed } from '../explain/dialled-name.ts'
import type { Cluster, ClusterNode, ClusterService } from '../k8s/cluster.ts'
import { type Labels, matchesSelector } from '../k8s/labels.ts'
import type { NetworkPolicy } from '../k8s/types.ts'
import { keyOf } from '../policy/compile.ts'
import type { Side, Sides } from './sides.ts'
import type { ObjectChange } from './types.ts'

type Show = (service: ClusterService) => string

/** Field as the API spells it, and what it says. */
const SERVICE_FIELDS: Readonly<Record<string, Show>> = {
  type: ({ type }) => type,
  clusterIP: ({ headless, clusterIPs }) => (headless ? 'None' : listOf(clusterIPs)),
  ports: ({ ports }) =>
    listOf(
      ports.map(
        ({ name, protocol, port, nodePort }) =>
          `${name === '' ? '' : `${name}:`}${port}/${protocol.toLowerCase()}${nodePort > 0 ? ` (nodePort ${nodePort})` : ''}`,
      ),
    ),
  targetPort: ({ ports }) => listOf(ports.map(({ port, targetPort }) => `${port} → ${targetPort}`)),
  externalIPs: ({ externalIPs }) => listOf(externalIPs),
  'status.loadBalancer': ({ loadBalancer }) =>
    listOf(
      loadBalancer.map(({ ip, hostname, ipMode, keepsClient, announced }) => {
        const how = announced === undefined ? '' : ` (${announced.way} by ${listOf(announced.nodes)})`
        return `${ip === '' ? hostname : ip}${ipMode === 'Proxy' ? ' (ipMode Proxy)' : ''}${keepsClient ? ' (keeps clients)' : ''}${how}`
      }),
    ),
  loadBalancerSourceRanges: ({ sourceRanges }) => listOf(sourceRanges),
  externalTrafficPolicy: ({ externalTrafficPolicy }) => externalTrafficPolicy,
  internalTrafficPolicy: ({ internalTrafficPolicy }) => internalTrafficPolicy,
  healthCheckNodePort: ({ healthCheckNodePort }) => (healthCheckNodePort === 0 ? '' : String(healthCheckNodePort)),
  publishNotReadyAddresses: ({ publishNotReadyAddresses }) => String(publishNotReadyAddresses),
  sessionAffinity: ({ affinityTimeoutSeconds }) =>
    affinityTimeoutSeconds === 0 ? 'None' : `ClientIP for ${affinityTimeoutSeconds} s`,
  trafficDistribution: ({ trafficDistribution }) => trafficDistribution,
  selector: ({ selector }) => labelsText(selector ?? {}),
  externalName: ({ externalName }) => externalName,
  'metadata.labels': ({ labels }) =>
    labelsText(
      Object.fromEntries(Object.entries(labels).filter(([name]) => name.startsWith('service.kubernetes.io/'))),
    ),
}

function listOf(texts: readonly string[]): string {
  return texts.join(', ')
}

/** Compared in full, and told so that a line holds it. */
function told(object: string, field: string, from: string, to: string): ObjectChange {
  return { object, field, from: clipped(from), to: clipped(to) }
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .sort()
    .join(',')
}

/** The objects of two sides, compared when somebody asks. */
export class Objects {
  readonly #sides: Sides
  readonly #services = new Map<string, readonly ObjectChange[]>()
  readonly #endpoints = new Map<string, readonly ObjectChange[]>()
  readonly #slices: readonly [old: ReturnType<typeof slicesByService>, changed: ReturnType<typeof slicesByService>]
  readonly #podsAt: readonly [old: ReadonlyMap<string, string>, changed: ReadonlyMap<string, string>]
  readonly #replicas: readonly [old: ReadonlyMap<string, number>, changed: ReadonlyMap<string, number>]
  /** NetworkPolicies that came, went or say something else, by key. */
  readonly policies: readonly {
    readonly key: string
    readonly change: ObjectChange
    readonly either: readonly NetworkPolicy[]
  }[]
  readonly nodes: readonly ObjectChange[]
  readonly settings: readonly ObjectChange[]
  /** What NetworkPolicies look at besides themselves: labels of pods and namespaces, and who enforces them. */
  readonly labels: readonly ObjectChange[]

  constructor(sides: Sides) {
    this.#sides = sides
    const { old, new: changed } = sides
    this.#slices = [slicesByService(old.cluster.slices), slicesByService(changed.cluster.slices)]
    this.#podsAt = [ownersByAddress(old.cluster), ownersByAddress(changed.cluster)]
    this.#replicas = [replicas(old.cluster), replicas(changed.cluster)]
    this.policies = policyChanges(old.cluster, changed.cluster)
    this.nodes = nodeChanges(old.cluster.nodes, changed.cluster.nodes)
    this.settings = settingChanges(old, changed)
    this.labels = labelChanges(old, changed)
  }

  /** Of the Service itself, by field; one change where it came or went. */
  service(key: string): readonly ObjectChange[] {
    const known = this.#services.get(key)
    if (known !== undefined) return known
    const before = this.#sides.old.services.get(key)
    const after = this.#sides.new.services.get(key)
    const object = `Service ${key}`
    const changes =
      before === undefined || after === undefined
        ? before === after
          ? []
          : [{ object, field: '', from: before === undefined ? '' : 'there', to: after === undefined ? '' : 'there' }]
        : Object.entries(SERVICE_FIELDS).flatMap(([field, show]): ObjectChange[] => {
            const from = show(before)
            const to = show(after)
            return from === to ? [] : [told(object, field, from, to)]
          })
    this.#services.set(key, changes)
    return changes
  }

  /** Of what stands behind a Service: endpoints that came, went or changed, and workloads that have another number of pods. */
  endpoints(key: string): readonly ObjectChange[] {
    const known = this.#endpoints.get(key)
    if (known !== undefined) return known
    const [before, after] = [this.#sides.old, this.#sides.new].map((side, i) => this.#endpointsOf(side, i, key))
    const scaled = new Map<string, ObjectChange>()
    const parts: { from: string[]; to: string[] } = { from: [], to: [] }
    for (const [text, was] of before!) {
      const is = after!.get(text)
      if (is === undefined) {
        this.#scaled(was, scaled)
        parts.from.push(text)
      } else if (stateOf(was) !== stateOf(is)) {
        parts.from.push(`${text} ${stateOf(was)}`)
        parts.to.push(`${text} ${stateOf(is)}`)
      }
    }
    for (const [text, is] of after!) {
      if (before!.has(text)) continue
      this.#scaled(is, scaled)
      parts.to.push(text)
    }
    const isSame = parts.from.length === 0 && parts.to.length === 0
    const own = {
      object: `endpoints of Service ${key}`,
      field: '',
      from: listed(parts.from, 6),
      to: listed(parts.to, 6),
    }
    const changes = isSame ? [] : [...scaled.values(), own]
    this.#endpoints.set(key, changes)
    return changes
  }

  #scaled({ address }: ProxyEndpoint, into: Map<string, ObjectChange>): void {
    const owner = this.#podsAt[0].get(address) ?? this.#podsAt[1].get(address) ?? ''
    const from = this.#replicas[0].get(owner) ?? 0
    const to = this.#replicas[1].get(owner) ?? 0
    if (owner === '' || from === to) return
    into.set(owner, { object: owner, field: 'pods', from: String(from), to: String(to) })
  }

  #endpointsOf(side: Side, i: number, key: string): Map<string, ProxyEndpoint> {
    const found = new Map<string, ProxyEndpoint>()
    for (const port of side.services.get(key)?.ports ?? []) {
      for (const family of ['IPv4', 'IPv6'] as const) {
        for (const one of endpointsOfPort(port, family, this.#slices[i]!.get(key) ?? [])) {
          found.set(joinPort(one.address, one.port), one)
        }
      }
    }
    return found
  }

  /** Changed NetworkPolicies that select one of the pods, on the side where they are. */
  policiesOf(addresses: readonly number[]): readonly ObjectChange[] {
    const { registry, old, new: changed } = this.#sides
    const texts = [...new Set(addresses)].map((id) => registry.addressText(id))
    const pods = [old, changed].flatMap(({ context }) => texts.flatMap((text) => context.directory.podAt(text) ?? []))
    return this.policies
      .filter(({ either }) =>
        either.some(({ metadata, spec }) =>
          pods.some(
            ({ namespace, labels }) =>
              namespace === (metadata.namespace ?? 'default') &&
              matchesSelector(spec.podSelector ?? {}, labels as Labels),
          ),
        ),
      )
      .map(({ change }) => change)
  }
}

function stateOf({ ready, serving, terminating, nodeName, zoneHints, nodeHints }: ProxyEndpoint): string {
  const condition = ready ? 'ready' : serving && terminating ? 'terminating' : 'not ready'
  const hints = [...zoneHints, ...nodeHints]
  return `${condition}${nodeName === '' ? '' : ` on ${nodeName}`}${hints.length === 0 ? '' : ` for ${hints.join(', ')}`}`
}

function ownersByAddress({ pods }: Cluster): Map<string, string> {
  const owners = new Map<string, string>()
  for (const { owner, addresses } of pods) for (const address of addresses) if (owner !== '') owners.set(address, owner)
  return owners
}

function replicas({ pods }: Cluster): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { owner } of pods) if (owner !== '') counts.set(owner, (counts.get(owner) ?? 0) + 1)
  return counts
}

function policyChanges(old: Cluster, changed: Cluster): Objects['policies'] {
  const before = new Map((old.networkPolicies ?? []).map((policy) => [keyOf(policy), policy]))
  const after = new Map((changed.networkPolicies ?? []).map((policy) => [keyOf(policy), policy]))
  return [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((key) => {
    const was = before.get(key)
    const is = after.get(key)
    const object = `NetworkPolicy ${key}`
    if (was === undefined) return [{ key, change: { object, field: '', from: '', to: 'there' }, either: [is!] }]
    if (is === undefined) return [{ key, change: { object, field: '', from: 'there', to: '' }, either: [was] }]
    const fields = (['podSelector', 'policyTypes', 'ingress', 'egress'] as const).filter(
      (field) => stable(was.spec[field]) !== stable(is.spec[field]),
    )
    if (fields.length === 0) return []
    const [field] = fields
    const isOne = fields.length === 1
    const from = isOne ? clipped(stable(was.spec[field!])) : ''
    const to = isOne ? clipped(stable(is.spec[field!])) : ''
    return [
      { key, change: { object, field: fields.map((one) => `spec.${one}`).join(', '), from, to }, either: [was, is] },
    ]
  })
}

const MAX_SHOWN = 100

function clipped(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN - 1)}…` : text
}

/** JSON whose fields are in order of their names. */
export function stable(value: unknown): string {
  return (
    JSON.stringify(value, (_key, inner: unknown) =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ) ?? ''
  )
}

const NODE_FIELDS: Readonly<Record<string, (node: ClusterNode) => string>> = {
  'status.addresses': ({ addresses }) => listOf(addresses),
  'spec.podCIDRs': ({ podCidrs }) => listOf(podCidrs),
  'status.conditions': ({ ready }) => (ready ? 'ready' : 'not ready'),
  zone: ({ zone }) => zone,
  'node.kubernetes.io/exclude-from-external-load-balancers': ({ labels }) =>
    'node.kubernetes.io/exclude-from-external-load-balancers' in labels ? 'excluded' : 'included',
}

function nodeChanges(old: readonly ClusterNode[], changed: readonly ClusterNode[]): ObjectChange[] {
  const before = new Map(old.map((node) => [node.name, node]))
  const after = new Map(changed.map((node) => [node.name, node]))
  return [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((name): ObjectChange[] => {
    const was = before.get(name)
    const is = after.get(name)
    const object = `Node ${name}`
    if (was === undefined) return [{ object, field: '', from: '', to: 'there' }]
    if (is === undefined) return [{ object, field: '', from: 'there', to: '' }]
    return Object.entries(NODE_FIELDS).flatMap(([field, show]) =>
      show(was) === show(is) ? [] : [told(object, field, show(was), show(is))],
    )
  })
}

/** Of kube-proxy's configuration, those that decide where a packet goes. */
const PROXY_FIELDS: Readonly<Record<string, (settings: ProxySettings) => string>> = {
  mode: ({ mode }) => mode,
  detectLocalMode: ({ detector, detectorCidrs }) =>
    detectorCidrs.length === 0 ? detector : `${detector} ${detectorCidrs.join(', ')}`,
  masqueradeAll: ({ masqueradeAll }) => String(masqueradeAll),
  nodePortAddresses: ({ nodePortAddresses }) => (nodePortAddresses === null ? 'not set' : listOf(nodePortAddresses)),
  'iptables.localhostNodePorts': ({ localhostNodePorts }) => String(localhostNodePorts),
  'featureGates.PreferSameTrafficDistribution': ({ sameNodeTopology }) => String(sameNodeTopology),
  hostnameOverride: ({ isMisnamed }) => (isMisnamed ? 'a name that no node has' : "the node's name"),
}

function settingChanges(old: Side, changed: Side): ObjectChange[] {
  const was = old.context.compiled.settings
  const is = changed.context.compiled.settings
  const proxy = Object.entries(PROXY_FIELDS).flatMap(([field, show]): ObjectChange[] =>
    show(was) === show(is) ? [] : [told('KubeProxyConfiguration', field, show(was), show(is))],
  )
  const cluster: readonly [object: string, field: string, show: (cluster: Cluster) => string][] = [
    [
      'Cluster',
      'release of Kubernetes',
      ({ kubernetesMinor }) => (kubernetesMinor === null ? 'not told' : `1.${kubernetesMinor}`),
    ],
    ['Cluster', 'pod range', ({ clusterCidrs }) => listOf(clusterCidrs)],
    [
      'ServiceCIDR',
      'spec.cidrs',
      ({ serviceCidrs, serviceCidrsWritten }) =>
        `${listOf(serviceCidrs)}${serviceCidrsWritten ? '' : ' (not written)'}`,
    ],
    [
      'IPPool',
      'spec',
      ({ calicoPools = [] }) => listOf(calicoPools.map(({ cidr, nat }) => `${cidr}${nat ? ' (natOutgoing)' : ''}`)),
    ],
  ]
  return [
    ...proxy,
    ...cluster.flatMap(([object, field, show]): ObjectChange[] => {
      const from = show(old.cluster)
      const to = show(changed.cluster)
      return from === to ? [] : [told(object, field, from, to)]
    }),
  ]
}

function labelChanges(old: Side, changed: Side): ObjectChange[] {
  if ((old.cluster.networkPolicies ?? changed.cluster.networkPolicies) === undefined) return []
  const found: ObjectChange[] = []
  for (const [name, pod] of changed.pods) {
    const before = old.pods.get(name)
    if (before === undefined) continue
    const object = pod.owner === '' ? `Pod ${name}` : pod.owner
    const from = `${labelsText(before.labels)} ${stable(before.ports.map(({ name, containerPort }) => [name, containerPort]))}`
    const to = `${labelsText(pod.labels)} ${stable(pod.ports.map(({ name, containerPort }) => [name, containerPort]))}`
    if (from === to || found.some((one) => one.object === object)) continue
    const isLabels = labelsText(before.labels) !== labelsText(pod.labels)
    found.push({
      object,
      field: isLabels ? 'labels' : 'ports',
      from: isLabels ? labelsText(before.labels) : '',
      to: isLabels ? labelsText(pod.labels) : '',
    })
  }
  const was = old.cluster.namespaceLabels ?? {}
  const is = changed.cluster.namespaceLabels ?? {}
  for (const name of Object.keys(was).sort()) {
    if (is[name] === undefined || labelsText(was[name]!) === labelsText(is[name])) continue
    found.push({ object: `Namespace ${name}`, field: 'labels', from: labelsText(was[name]!), to: labelsText(is[name]) })
  }
  const plugin = ({ policyPlugin }: Cluster): string =>
    policyPlugin === undefined ? '' : `${policyPlugin.name || 'not told'} (${policyPlugin.decides})`
  const a = plugin(old.cluster)
  const b = plugin(changed.cluster)
  if (a !== b && a !== '' && b !== '') found.push({ object: 'Cluster', field: 'network plugin', from: a, to: b })
  return found
}
