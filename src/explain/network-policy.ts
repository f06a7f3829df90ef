/**
 * NetworkPolicies in words: which isolate the pod, which rule lets the packet through, or why none does.
 *
 * The decision is the core's (native-free-core/policy.ts) on the same tables that a replay runs; this file reads it and the objects
 * behind it.
 */
import {
  type AddressId,
  allowingRule,
  egressProfile,
  ingressProfile,
  ingressSource,
  type NodeId,
  nodeProtocolOf,
  POLICIES_NONE,
  type Port,
  type Protocol,
  passesPeer,
  passesPort,
  policyFate,
  REASON_NONE,
  REASON_POLICY_EGRESS,
  REASON_POLICY_INGRESS,
  SETTING_POLICIES,
} from '../../native-free-core/index.ts'
import { peersOf } from '../k8s/network-policy.ts'
import { selectorText } from '../k8s/policy-notes.ts'
import type { NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule } from '../k8s/types.ts'
import { type Direction, keyOf } from '../policy/compile.ts'
import type { ExplainContext } from './context.ts'
import { protocolText } from './describe.ts'
import { joinPort, listed } from './dialled-name.ts'
import type { Step } from './types.ts'

/** A first packet on its way to an address, behind translation. Addresses are ids. */
export interface Passage {
  /** Node that the packet is on when it is translated, or where it sets out. */
  readonly node: NodeId
  readonly source: AddressId
  /** What `node` makes of the source by masquerade; the same where it does not. */
  readonly seen: AddressId
  readonly destination: AddressId
  readonly port: Port
  readonly protocol: Protocol
  /** What was dialled: `port` before translation. */
  readonly dialledPort: number
}

/** What the policies of one pod say. */
export interface Judged {
  /** REASON_NONE where a rule lets it through. */
  readonly reason: number
  readonly step: Step
}

/** Whether a cluster has any that count. */
export function hasPolicies({ rules }: ExplainContext): boolean {
  return rules.settings[SETTING_POLICIES] !== POLICIES_NONE
}

/** REASON_NONE, or why the packet does not get through: the client's own policies first. */
export function passageFate({ rules }: ExplainContext, passage: Passage): number {
  const { node, source, seen, destination, port, protocol } = passage
  const here = policyFate(rules, nodeProtocolOf(node, protocol), source, seen, destination, port)
  const there = rules.addressNode[destination]!
  if (here !== REASON_NONE || there < 0 || there === node) return here
  return policyFate(rules, nodeProtocolOf(there, protocol), seen, seen, destination, port)
}

/** REASON_NONE, or that the policies of the client's pod do not let the packet out. */
export function egressFate(context: ExplainContext, passage: Passage): number {
  const { rules } = context
  const { node, source, destination, port, protocol } = passage
  const profile = hasPolicies(context) ? egressProfile(rules, node, source, destination) : -1
  if (profile < 0) return REASON_NONE
  return allowingRule(rules, profile, destination, destination, port, protocol) < 0 ? REASON_POLICY_EGRESS : REASON_NONE
}

/** What the policies of the client's pod say; null where none is asked. */
export function judgeEgress(context: ExplainContext, passage: Passage): Judged | null {
  const { rules } = context
  const { node, source, destination } = passage
  const profile = hasPolicies(context) ? egressProfile(rules, node, source, destination) : -1
  return profile < 0
    ? null
    : judge(context, { direction: 'egress', profile, node, pod: source, peer: destination }, passage)
}

/** What those of the pod that the packet is for say; null where none is asked. */
export function judgeIngress(context: ExplainContext, passage: Passage): Judged | null {
  const { rules } = context
  const { node, source, seen, destination } = passage
  const there = rules.addressNode[destination]!
  if (!hasPolicies(context) || there < 0 || source === destination) return null
  const from = there === node ? ingressSource(rules, source, seen) : seen
  const profile = ingressProfile(rules, there, from, destination)
  return profile < 0
    ? null
    : judge(context, { direction: 'ingress', profile, node: there, pod: destination, peer: from }, passage)
}

/** One pod's question to its policies. */
interface Question {
  readonly direction: Direction
  readonly profile: number
  /** Where the pod is. */
  readonly node: NodeId
  /** Whose policies they are. */
  readonly pod: AddressId
  /** The address at the other end, as the rules see it. */
  readonly peer: AddressId
}

function judge(context: ExplainContext, question: Question, passage: Passage): Judged {
  const { direction, profile, node, pod, peer } = question
  const { rules, compiled } = context
  const { destination, port, protocol } = passage
  const { policies } = compiled
  const own = policies.profiles[profile]!
  const rule = allowingRule(rules, profile, peer, destination, port, protocol)
  const whose = nameAt(context, pod)
  const names = listed(own.map(keyOf))
  const isolating = `${direction} of ${whose}, which NetworkPolicy ${names} isolate${own.length === 1 ? 's' : ''}`
  const packet =
    direction === 'egress'
      ? `to ${withPort(context, destination, port)}/${protocolText(protocol)}`
      : `from ${nameAt(context, peer)} to port ${port}/${protocolText(protocol)}`
  const at = `node ${context.nodeName(node)}`
  if (rule >= 0) {
    const { policy, position } = policies.rules[rule]!
    const detail = `${isolating}: spec.${direction}[${position}] of ${keyOf(policy)} lets it through, ${packet}`
    return { reason: REASON_NONE, step: { at, stage: 'network-policy', detail } }
  }
  const why = own.map((policy) => whyNot(context, policy, direction, peer, passage)).join('; ')
  const detail = `${isolating}: no rule lets it through, ${packet}. ${why}${hiddenText(context, direction, peer, passage)}. It is dropped, and the client waits until it gives up`
  const reason = direction === 'egress' ? REASON_POLICY_EGRESS : REASON_POLICY_INGRESS
  return { reason, step: { at, stage: 'network-policy', detail } }
}

/** Why no rule of a policy lets a packet through. */
function whyNot(
  context: ExplainContext,
  policy: NetworkPolicy,
  direction: Direction,
  peer: AddressId,
  { destination, port, protocol, dialledPort }: Passage,
): string {
  const { rules, compiled } = context
  const own = compiled.policies.rules.flatMap((one, rule) =>
    one.policy === policy && one.direction === direction ? [{ ...one, rule }] : [],
  )
  if (own.length === 0) return `${keyOf(policy)} has no ${direction} rule`
  return own
    .map(({ rule, position }) => {
      const written = policy.spec[direction]![position]!
      const parts: string[] = []
      if (!passesPort(rules, rule, destination, port, protocol)) {
        const service =
          dialledPort !== port && passesPort(rules, rule, destination, dialledPort, protocol)
            ? `; ${dialledPort} is the Service's port, and rules are asked about the pod's`
            : ''
        parts.push(`is for ${portsText(written)}, not ${port}/${protocolText(protocol)}${service}`)
      }
      if (!passesPeer(rules, rule, peer)) {
        parts.push(`is ${direction === 'egress' ? 'to' : 'from'} ${peersText(written)}, not ${nameAt(context, peer)}`)
      }
      return `spec.${direction}[${position}] of ${keyOf(policy)} ${parts.join(', and ')}`
    })
    .join('; ')
}

/** Where an address is not the one that whoever wrote the rule may have had in mind. */
function hiddenText(context: ExplainContext, direction: Direction, peer: AddressId, passage: Passage): string {
  const { registry } = context
  if (direction === 'egress' || peer === passage.source) return ''
  return `; ${registry.addressText(peer)} stands there in place of ${registry.addressText(passage.source)}, which node ${context.nodeName(passage.node)} has masqueraded`
}

function nameAt({ registry, directory }: ExplainContext, id: number): string {
  const address = registry.addressText(id)
  const pod = directory.podAt(address)
  if (pod !== undefined) return `pod ${pod.namespace}/${pod.name} (${address})`
  const node = directory.nodeAt(address)
  if (node !== undefined) return `${address} (node ${node.name})`
  return address
}

function withPort(context: ExplainContext, id: number, port: Port): string {
  const { registry, directory } = context
  const address = registry.addressText(id)
  const pod = directory.podAt(address)
  return `${pod === undefined ? '' : `pod ${pod.namespace}/${pod.name} at `}${joinPort(address, port)}`
}

function portsText({ ports = [] }: NetworkPolicyRule): string {
  return listed(ports.map(portText))
}

function portText({ protocol = 'TCP', port, endPort }: NetworkPolicyPort): string {
  const suffix = `/${protocol.toLowerCase()}`
  if (port === undefined) return `any port${suffix}`
  return endPort === undefined ? `${port}${suffix}` : `${port}-${endPort}${suffix}`
}

function peersText(rule: NetworkPolicyRule): string {
  return listed(peersOf(rule).map(peerText))
}

function peerText({ podSelector, namespaceSelector, ipBlock }: NetworkPolicyPeer): string {
  if (ipBlock !== undefined) {
    const { cidr, except = [] } = ipBlock
    return `ipBlock ${cidr}${except.length === 0 ? '' : ` except ${except.join(' and ')}`}`
  }
  const pods = podSelector === undefined ? '' : `podSelector ${selectorText(podSelector)}`
  if (namespaceSelector === undefined) return `${pods} of its own namespace`
  const spaces = `namespaceSelector ${selectorText(namespaceSelector)}`
  return pods === '' ? spaces : `${pods} in ${spaces}`
}
