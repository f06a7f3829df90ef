/**
 * NetworkPolicies → the tables of integers that native-free-core/policy.ts decides by.
 *
 * Pods that no selector and no named port tells apart are one class; pods with the same policies have one profile a direction.
 * Selectors are worked out here, once: in the core a peer is a bit. Pods on their node's network have the node's address, which no
 * policy selects and no selector means.
 * Cost: policies × (namespace, labels) that differ, and peers × classes; addresses that are no pod's cost three zero words.
 */
import {
  BLOCK_WORDS,
  NAMED_WORDS,
  POLICIES_AT_POD,
  POLICIES_BEFORE_MASQUERADE,
  POLICIES_NONE,
  POLICY_ADDRESS_WORDS,
  POLICY_CLASS,
  POLICY_EGRESS,
  POLICY_INGRESS,
  type RuleColumns,
  SETTING_POLICIES,
  SETTING_POLICY_DNS,
  SETTING_POLICY_WORDS,
} from '../../native-free-core/index.ts'
import { maskWords } from '../compile/address-columns.ts'
import type { Registry } from '../compile/registry.ts'
import type { Cluster, ClusterPod } from '../k8s/cluster.ts'
import { ipFromBigInt, parseCidr } from '../k8s/ip.ts'
import { type Labels, matchesLabels, matchesSelector } from '../k8s/labels.ts'
import { isolates, peersOf, rulesOf } from '../k8s/network-policy.ts'
import type { LabelSelector, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort } from '../k8s/types.ts'

export type Direction = 'ingress' | 'egress'
export const DIRECTIONS: readonly Direction[] = ['ingress', 'egress']

const PROTOCOLS = { TCP: 6, UDP: 17, SCTP: 132 } as const
/** Of the Service and the pods of CoreDNS in every distribution. */
const DNS_LABELS: Labels = { 'k8s-app': 'kube-dns' }
const DNS_NAMESPACE = 'kube-system'

export type PolicyColumn =
  | 'addressPolicy'
  | 'profileStart'
  | 'profileRules'
  | 'policyRules'
  | 'policyPeers'
  | 'policyGroups'
  | 'policyBlocks'
  | 'policyExcepts'
  | 'policyPorts'
  | 'policyClassPorts'
  | 'policyNames'

/** A rule of the tables, by its number: where it is written. */
export interface RuleName {
  readonly policy: NetworkPolicy
  readonly direction: Direction
  /** Position in `spec.ingress` or `spec.egress`. */
  readonly position: number
}

export interface PolicyTables {
  readonly columns: Pick<RuleColumns, PolicyColumn>
  /** Values of `SETTING_POLICIES`, `SETTING_POLICY_WORDS` and `SETTING_POLICY_DNS`. */
  readonly settings: readonly (readonly [setting: number, value: number])[]
  readonly rules: readonly RuleName[]
  /** By profile: the policies that isolate its pods, by name. */
  readonly profiles: readonly (readonly NetworkPolicy[])[]
}

const EMPTY = new Int32Array(0)
const NONE: PolicyTables = {
  columns: {
    addressPolicy: EMPTY,
    profileStart: EMPTY,
    profileRules: EMPTY,
    policyRules: EMPTY,
    policyPeers: EMPTY,
    policyGroups: EMPTY,
    policyBlocks: EMPTY,
    policyExcepts: EMPTY,
    policyPorts: EMPTY,
    policyClassPorts: EMPTY,
    policyNames: EMPTY,
  },
  settings: [[SETTING_POLICY_DNS, -1]],
  rules: [],
  profiles: [],
}

/** What a selector looks at. */
type Subject = Pick<ClusterPod, 'namespace' | 'labels' | 'ports'>

/** @param registry  has every pod's address; one more is given a number where the manifests have no DNS server */
export function policyTables(cluster: Cluster, registry: Registry): PolicyTables {
  const { networkPolicies = [], policyPlugin } = cluster
  if (networkPolicies.length === 0 || policyPlugin?.decides === 'nowhere') return NONE
  const tables = new Tables(networkPolicies, cluster.namespaceLabels ?? {})
  const assumed = assumedDns(cluster)
  const dns = assumed === '' ? -1 : registry.address(assumed)
  const addresses = new Int32Array(registry.addressCount * POLICY_ADDRESS_WORDS)
  const place = (address: number, subject: Subject): void =>
    addresses.set(tables.wordsOf(subject), address * POLICY_ADDRESS_WORDS)
  for (const pod of cluster.pods) {
    if (pod.hostNetwork) continue
    for (const address of pod.addresses) place(registry.address(address), pod)
  }
  if (dns >= 0) {
    const ports = [
      { name: 'dns', containerPort: 53, protocol: 'UDP' },
      { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
    ] as const
    place(dns, { namespace: DNS_NAMESPACE, labels: DNS_LABELS, ports })
  }
  const asked = policyPlugin?.decides === 'at-the-pod' ? POLICIES_AT_POD : POLICIES_BEFORE_MASQUERADE
  return tables.finish(addresses, asked, dns)
}

/**
 * An address in the pods' range for a CoreDNS pod that the manifests leave out, as they mostly do: that of the Service would not
 * do, since rules are asked behind translation. '' where they have one.
 */
function assumedDns({ services, pods, clusterCidrs }: Cluster): string {
  const isDns = (labels: Labels): boolean => matchesLabels(DNS_LABELS, labels)
  const written =
    services.some(
      ({ namespace, labels, name }) => namespace === DNS_NAMESPACE && (isDns(labels) || name === 'kube-dns'),
    ) || pods.some(({ namespace, labels }) => namespace === DNS_NAMESPACE && isDns(labels))
  const range = parseCidr(clusterCidrs[0] ?? '')
  return written || range === null ? '' : ipFromBigInt(range.last - 2n, range.family)
}

class Tables {
  readonly #policies: readonly NetworkPolicy[]
  readonly #namespaceLabels: Readonly<Record<string, Labels>>
  /** Numbers of a policy's rules, by direction. */
  readonly #rulesOf = new Map<NetworkPolicy, Readonly<Record<Direction, readonly number[]>>>()
  readonly #rules: RuleName[] = []
  readonly #ruleWords: number[] = []
  readonly #peers: number[] = []
  readonly #ports: number[] = []
  readonly #blocks: number[] = []
  readonly #excepts: number[] = []
  readonly #groups = new Map<string, { readonly index: number; readonly means: (subject: Subject) => boolean }>()
  readonly #names = new Map<string, number>()
  readonly #profileIds = new Map<string, number>()
  readonly #profiles: NetworkPolicy[][] = []
  /** By namespace and labels: profiles of both directions, as key of the class. */
  readonly #subjects = new Map<string, readonly [ingress: number, egress: number, members: string]>()
  readonly #classIds = new Map<string, number>()
  readonly #classes: { readonly groups: string; readonly ports: readonly number[] }[] = []

  constructor(policies: readonly NetworkPolicy[], namespaceLabels: Readonly<Record<string, Labels>>) {
    this.#policies = [...policies].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
    this.#namespaceLabels = namespaceLabels
    for (const policy of this.#policies) {
      this.#rulesOf.set(policy, {
        ingress: this.#addRules(policy, 'ingress'),
        egress: this.#addRules(policy, 'egress'),
      })
    }
  }

  #addRules(policy: NetworkPolicy, direction: Direction): number[] {
    if (!isolates(policy, direction)) return []
    return rulesOf(policy, direction).map((rule, position) => {
      const peers = peersOf(rule)
      const { ports = [] } = rule
      this.#ruleWords.push(
        this.#peers.length,
        peers.length === 0 ? -1 : peers.length,
        this.#ports.length / 4,
        ports.length === 0 ? -1 : ports.length,
      )
      for (const peer of peers) this.#peers.push(this.#peer(peer, policy))
      for (const port of ports) this.#ports.push(...this.#port(port))
      return this.#rules.push({ policy, direction, position }) - 1
    })
  }

  #peer(peer: NetworkPolicyPeer, policy: NetworkPolicy): number {
    if (peer.ipBlock !== undefined) return ~this.#block(peer.ipBlock)
    const meant = meantBy(peer, namespaceOf(policy), this.#namespaceLabels)
    const key = JSON.stringify(peer.namespaceSelector === undefined ? [peer, namespaceOf(policy)] : [peer])
    const group = this.#groups.get(key) ?? { index: this.#groups.size, means: meant }
    this.#groups.set(key, group)
    return group.index
  }

  #block({ cidr, except = [] }: { readonly cidr: string; readonly except?: readonly string[] }): number {
    const block = parseCidr(cidr)!
    this.#blocks.push(...maskWords(block), block.family === 'IPv4' ? 0 : 1, this.#excepts.length / 8, except.length)
    for (const text of except) this.#excepts.push(...maskWords(parseCidr(text)!))
    return this.#blocks.length / BLOCK_WORDS - 1
  }

  #port({ protocol = 'TCP', port, endPort }: NetworkPolicyPort): number[] {
    if (typeof port !== 'string') return [PROTOCOLS[protocol], port ?? 0, endPort ?? port ?? 65535, -1]
    const name = this.#names.get(port) ?? this.#names.size
    this.#names.set(port, name)
    // No number: an empty range.
    return [PROTOCOLS[protocol], 1, 0, name]
  }

  /** The words of `addressPolicy` for a pod. */
  wordsOf(subject: Subject): number[] {
    const key = JSON.stringify([subject.namespace, subject.labels])
    let known = this.#subjects.get(key)
    if (known === undefined) {
      const members = [...this.#groups.values()].map(({ means }) => (means(subject) ? '1' : '0')).join('')
      known = [this.#profileOf(subject, 'ingress'), this.#profileOf(subject, 'egress'), members]
      this.#subjects.set(key, known)
    }
    const [ingress, egress, members] = known
    const words = new Array<number>(POLICY_ADDRESS_WORDS)
    words[POLICY_INGRESS] = ingress + 1
    words[POLICY_EGRESS] = egress + 1
    words[POLICY_CLASS] = this.#classOf(subject, members) + 1
    return words
  }

  #profileOf({ namespace, labels }: Subject, direction: Direction): number {
    const own = this.#policies.filter(
      (policy) =>
        namespaceOf(policy) === namespace &&
        isolates(policy, direction) &&
        matchesSelector(policy.spec.podSelector ?? {}, labels),
    )
    if (own.length === 0) return -1
    const key = `${direction} ${own.map(keyOf).join(' ')}`
    const known = this.#profileIds.get(key)
    if (known !== undefined) return known
    this.#profileIds.set(key, this.#profiles.length)
    return this.#profiles.push(own) - 1
  }

  #classOf({ ports }: Subject, groups: string): number {
    const named = ports.flatMap(({ name, protocol, containerPort }) => {
      const number = this.#names.get(name)
      return number === undefined ? [] : [number, PROTOCOLS[protocol], containerPort]
    })
    const key = `${groups} ${named.join(',')}`
    const known = this.#classIds.get(key)
    if (known !== undefined) return known
    this.#classIds.set(key, this.#classes.length)
    return this.#classes.push({ groups, ports: named }) - 1
  }

  finish(addressPolicy: Int32Array, asked: number, dns: number): PolicyTables {
    const words = Math.max(1, Math.ceil(this.#classes.length / 32))
    const policyGroups = new Int32Array(this.#groups.size * words)
    const starts: number[] = []
    const named: number[] = []
    for (const [index, { groups, ports }] of this.#classes.entries()) {
      starts.push(named.length / NAMED_WORDS)
      named.push(...ports)
      for (let group = 0; group < groups.length; group++) {
        if (groups[group] === '1') policyGroups[group * words + (index >> 5)]! |= 1 << (index & 31)
      }
    }
    const ids = [...this.#profileIds.keys()]
    const profileRules = this.#profiles.map((own, i) => {
      const direction = ids[i]!.startsWith('ingress') ? 'ingress' : 'egress'
      return own.flatMap((policy) => this.#rulesOf.get(policy)![direction])
    })
    return {
      columns: {
        addressPolicy,
        profileStart: runs(profileRules.map((rules) => rules.length)),
        profileRules: Int32Array.from(profileRules.flat()),
        policyRules: Int32Array.from(this.#ruleWords),
        policyPeers: Int32Array.from(this.#peers),
        policyGroups,
        policyBlocks: Int32Array.from(this.#blocks),
        policyExcepts: Int32Array.from(this.#excepts),
        policyPorts: Int32Array.from(this.#ports),
        policyClassPorts: Int32Array.from([...starts, named.length / NAMED_WORDS]),
        policyNames: Int32Array.from(named),
      },
      settings: [
        [SETTING_POLICIES, this.#profiles.length === 0 ? POLICIES_NONE : asked],
        [SETTING_POLICY_WORDS, words],
        [SETTING_POLICY_DNS, dns],
      ],
      rules: this.#rules,
      profiles: this.#profiles,
    }
  }
}

/** Where each run begins, and the end. */
function runs(lengths: readonly number[]): Int32Array {
  const starts = [0]
  for (const length of lengths) starts.push(starts.at(-1)! + length)
  return Int32Array.from(starts)
}

/** Whom a peer's selectors mean: pods of the policy's own namespace, or of those that namespaceSelector selects. */
function meantBy(
  { podSelector = {}, namespaceSelector }: NetworkPolicyPeer,
  namespace: string,
  namespaceLabels: Readonly<Record<string, Labels>>,
): (subject: Subject) => boolean {
  const own: LabelSelector | undefined = namespaceSelector
  return (subject) =>
    (own === undefined
      ? subject.namespace === namespace
      : matchesSelector(own, namespaceLabels[subject.namespace] ?? {})) && matchesSelector(podSelector, subject.labels)
}

function namespaceOf({ metadata }: NetworkPolicy): string {
  return metadata.namespace ?? 'default'
}

/** `shop/deny-all` */
export function keyOf(policy: NetworkPolicy): string {
  return `${namespaceOf(policy)}/${policy.metadata.name}`
}
