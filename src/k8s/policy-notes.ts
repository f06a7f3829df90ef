/**
 * What to know of the NetworkPolicies of a cluster: who enforces them and how, and those that do not mean what they seem to.
 *
 * None of it is refused by the API server. Cost: policies × pods of their namespaces.
 */
import type { ClusterPod } from './cluster.ts'
import { type Notes, titleOf } from './inventory.ts'
import { cidrCovers, parseCidr } from './ip.ts'
import { type Labels, matchesSelector } from './labels.ts'
import { isolates, peersOf, rulesOf } from './network-policy.ts'
import type { FoundPlugin } from './policy-plugin.ts'
import type { LabelSelector, Namespace, NetworkPolicy, NetworkPolicyPeer } from './types.ts'

const DIRECTIONS = ['ingress', 'egress'] as const
/** Set by the API server on every namespace. */
const NAME_LABEL = 'kubernetes.io/metadata.name'

/** Labels of every namespace there is: as its object says, or the one that each has. */
export function namespaceLabelsOf(
  names: readonly string[],
  objects: readonly Namespace[],
): Readonly<Record<string, Labels>> {
  const written = new Map(objects.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]))
  return Object.fromEntries(names.map((name) => [name, { ...written.get(name), [NAME_LABEL]: name }]))
}

interface Surroundings {
  readonly pods: readonly ClusterPod[]
  readonly namespaceLabels: Readonly<Record<string, Labels>>
  readonly serviceCidrs: readonly string[]
  readonly plugin: FoundPlugin
}

export function notePolicies(policies: readonly NetworkPolicy[], around: Surroundings, notes: Notes): void {
  const first = policies[0]
  if (first === undefined) return
  const { plugin } = around
  if (plugin.decides === 'nowhere') {
    const more = policies.length === 1 ? 'it has' : `it and ${policies.length - 1} more have`
    const message = `${more} no effect: ${plugin.name} (${plugin.object}) enforces no NetworkPolicy, and no manifest shows anything that does`
    notes.warn('W_POLICY_NOT_ENFORCED', titleOf(first), message)
    return
  }
  notes.derive('NetworkPolicies', assumption(plugin))
  const wanted = new Set<string>()
  for (const policy of policies) {
    noteSelection(policy, around, notes)
    for (const direction of DIRECTIONS) {
      noteIgnored(policy, direction, notes)
      if (!isolates(policy, direction)) continue
      for (const [i, rule] of rulesOf(policy, direction).entries()) {
        const field = `spec.${direction}[${i}]`
        for (const peer of peersOf(rule)) notePeer({ policy, direction, field }, peer, around, wanted, notes)
        if (direction === 'egress') continue
        for (const { port, protocol = 'TCP' } of rule.ports ?? []) {
          if (typeof port !== 'string') continue
          const selected = selectedPods(policy, around.pods)
          const has = (pod: ClusterPod): boolean =>
            pod.ports.some((one) => one.name === port && one.protocol === protocol)
          if (selected.length > 0 && !selected.some(has)) {
            const message = `${field}: no pod that it selects has a ${protocol} port named '${port}', so the rule lets nothing in there`
            notes.warn('W_POLICY_PORT', titleOf(policy), message)
          }
        }
      }
    }
  }
}

function assumption({ name, object, decides }: FoundPlugin): string {
  const who = name === '' ? 'enforced by a plugin that no manifest shows' : `enforced by ${name} (${object})`
  const where =
    decides === 'before-masquerade'
      ? 'decided behind DNAT and, on the pod’s own node, before kube-proxy’s masquerade, as Calico’s iptables rules, kube-router and kindnet do'
      : 'decided at the pod’s own interface, behind DNAT and masquerade'
  return `${who}, ${where}; pods on their node’s network are neither selected nor meant by a podSelector; what a pod’s own node sends it is let in (kubelet’s probes), what it sends its node is not; a pod always reaches itself; ipBlock compares addresses, pods’ as well; connections under way outlive a change`
}

function selectedPods({ metadata, spec }: NetworkPolicy, pods: readonly ClusterPod[]): ClusterPod[] {
  const namespace = metadata.namespace ?? 'default'
  return pods.filter((pod) => pod.namespace === namespace && matchesSelector(spec.podSelector ?? {}, pod.labels))
}

function noteSelection(policy: NetworkPolicy, { pods }: Surroundings, notes: Notes): void {
  const namespace = policy.metadata.namespace ?? 'default'
  const selected = selectedPods(policy, pods)
  const onHost = selected.filter(({ hostNetwork }) => hostNetwork)
  if (onHost.length > 0) {
    const names = `${onHost[0]!.namespace}/${onHost[0]!.name}${onHost.length > 1 ? ` and ${onHost.length - 1} more` : ''}`
    notes.derive(titleOf(policy), `not for ${names}, on the node’s network`)
  }
  if (selected.length > onHost.length || pods.length === 0) return
  const elsewhere = pods.find(
    (pod) =>
      pod.namespace !== namespace &&
      !isEmpty(policy.spec.podSelector) &&
      matchesSelector(policy.spec.podSelector!, pod.labels),
  )
  const guess =
    elsewhere === undefined
      ? ''
      : `; ${elsewhere.namespace}/${elsewhere.name} has such labels, but a policy selects pods of its own namespace`
  notes.warn(
    'W_POLICY_SELECTS_NOTHING',
    titleOf(policy),
    `its podSelector selects no pod of namespace ${namespace}${guess}`,
  )
}

function isEmpty(selector: LabelSelector | undefined): boolean {
  const { matchLabels = {}, matchExpressions = [] } = selector ?? {}
  return Object.keys(matchLabels).length === 0 && matchExpressions.length === 0
}

function noteIgnored(policy: NetworkPolicy, direction: 'ingress' | 'egress', notes: Notes): void {
  const written = policy.spec[direction]
  if (written === undefined || isolates(policy, direction)) return
  const type = direction === 'ingress' ? 'Ingress' : 'Egress'
  const why =
    written.length === 0 && direction === 'egress'
      ? `spec.egress: [] denies nothing: policyTypes does not hold Egress (left out, it holds it only where there are egress rules)`
      : `spec.${direction} counts for nothing: policyTypes does not hold ${type}`
  notes.warn('W_POLICY_RULES_IGNORED', titleOf(policy), why)
}

/** Where a peer stands. */
interface PeerPlace {
  readonly policy: NetworkPolicy
  readonly direction: 'ingress' | 'egress'
  /** `spec.ingress[0].from[1]` */
  readonly field: string
}

function notePeer(
  { policy, direction, field }: PeerPlace,
  { namespaceSelector, ipBlock }: NetworkPolicyPeer,
  { namespaceLabels, serviceCidrs }: Surroundings,
  wanted: Set<string>,
  notes: Notes,
): void {
  const title = titleOf(policy)
  if (ipBlock !== undefined) {
    const block = parseCidr(ipBlock.cidr)
    const inside = serviceCidrs.find((text) => block !== null && cidrCovers(parseCidr(text)!, block))
    if (direction === 'egress' && inside !== undefined) {
      const message = `${field}: ipBlock ${ipBlock.cidr} lies in the Service CIDR ${inside}, and matches nothing: policies are asked behind translation, when the address is the endpoint's`
      notes.warn('W_POLICY_CLUSTER_IP', title, message)
    }
  }
  if (namespaceSelector === undefined) return
  if (Object.values(namespaceLabels).some((labels) => matchesSelector(namespaceSelector, labels))) return
  const text = selectorText(namespaceSelector)
  const message = `${field}: namespaceSelector ${text} matches no namespace of the manifests; one without a Namespace object has the label ${NAME_LABEL} alone`
  if (wanted.has(text)) return
  wanted.add(text)
  notes.warn('W_POLICY_SELECTS_NOTHING', title, message)
}

/** `app=web,tier in (a,b)`, `(all)`. */
export function selectorText({ matchLabels = {}, matchExpressions = [] }: LabelSelector): string {
  const parts = [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(({ key, operator, values = [] }) => {
      if (operator === 'Exists') return key
      if (operator === 'DoesNotExist') return `!${key}`
      return `${key} ${operator === 'In' ? 'in' : 'notin'} (${values.join(',')})`
    }),
  ]
  return parts.length === 0 ? '(all)' : parts.join(',')
}
