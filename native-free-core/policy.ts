/**
 * What NetworkPolicies say about a first packet, from tables of integers that `compile` has made of the objects.
 *
 * A pod that policies isolate in a direction has a *profile* there: the run of rules of all of them. A packet passes where one rule
 * lets both its port and its peer through; rules only add. A rule's peers are groups of pods (a bit for each class of pods that no
 * selector tells apart) and blocks of addresses with exceptions; its ports are ranges, or names that the destination pod resolves.
 *
 * Asked where plugins ask: egress on the client pod's node, behind DNAT and before masquerade; ingress on the destination pod's
 * node, by setting before that node's own masquerade or behind it. Of a node before it, the source is what that has left of it. Let
 * through without a look: what a pod's own node sends it (kubelet), a pod that reaches itself, and whatever is no first packet.
 * Cost: nothing but a comparison without policies; else two look-ups, and for a pod with a profile its rules until one lets through.
 * Source: the API text of networking.k8s.io/v1; kubernetes test/e2e/network/netpol; felix/rules (Calico), kube-router's npc.
 */

import { isOwnAddress } from './decide.ts'
import { REASON_NONE, REASON_POLICY_EGRESS, REASON_POLICY_INGRESS } from './drop-reasons.ts'
import { type AddressId, type NodeId, type NodeProtocol, nodeProtocolOf, type Port, type Protocol } from './kinds.ts'
import {
  ADDRESS_ON_EVERY_NODE,
  familyOf,
  type RuleColumns,
  SETTING_POLICIES,
  SETTING_POLICY_WORDS,
} from './rule-columns.ts'

/** `SETTING_POLICIES`: there are none; and where ingress is asked. */
export const POLICIES_NONE = 0
export const POLICIES_BEFORE_MASQUERADE = 1
export const POLICIES_AT_POD = 2

/** Words of `addressPolicy`: profile + 1 by direction, class + 1; 0 for none. */
export const POLICY_INGRESS = 0
export const POLICY_EGRESS = 1
export const POLICY_CLASS = 2
export const POLICY_ADDRESS_WORDS = 3

/** A rule: runs of `policyPeers` and `policyPorts`; a count of -1 is all. */
export const RULE_PEER_START = 0
export const RULE_PEER_COUNT = 1
export const RULE_PORT_START = 2
export const RULE_PORT_COUNT = 3
export const RULE_WORDS = 4

/** A port: protocol, first and last number, and the number of a name or -1. */
export const PORT_PROTOCOL = 0
export const PORT_LOW = 1
export const PORT_HIGH = 2
export const PORT_NAME = 3
export const PORT_WORDS = 4

/** A block: address and mask, as a range of `ranges`; its family; a run of `policyExcepts`, of eight words each. */
export const BLOCK_FAMILY = 8
export const BLOCK_EXCEPT_START = 9
export const BLOCK_EXCEPT_COUNT = 10
export const BLOCK_WORDS = 11

/** A port with a name that a class of pods has: name, protocol, number. */
export const NAMED_WORDS = 3

/**
 * Whether policies stop a first packet on a node.
 *
 * @param nodeProtocol node << 8 | protocol
 * @param source       as it comes, `natSource` as it leaves the node behind masquerade (the same where there is none)
 * @param destination  behind translation, with its port
 * @returns            REASON_NONE, REASON_POLICY_EGRESS or REASON_POLICY_INGRESS
 */
export function policyFate(
  rules: RuleColumns,
  nodeProtocol: NodeProtocol,
  source: AddressId,
  natSource: AddressId,
  destination: AddressId,
  port: Port,
): number {
  if (rules.settings[SETTING_POLICIES] === POLICIES_NONE) return REASON_NONE
  const node = nodeProtocol >> 8
  const protocol = nodeProtocol & 0xff
  const leaving = egressProfile(rules, node, source, destination)
  if (leaving >= 0 && allowingRule(rules, leaving, destination, destination, port, protocol) < 0) {
    return REASON_POLICY_EGRESS
  }
  const from = ingressSource(rules, source, natSource)
  const entering = source === destination ? -1 : ingressProfile(rules, node, from, destination)
  return entering >= 0 && allowingRule(rules, entering, from, destination, port, protocol) < 0
    ? REASON_POLICY_INGRESS
    : REASON_NONE
}

/** The same over both nodes, for a packet that nothing translates. */
export function policyBetween(
  rules: RuleColumns,
  source: AddressId,
  destination: AddressId,
  port: Port,
  protocol: Protocol,
): number {
  if (rules.settings[SETTING_POLICIES] === POLICIES_NONE) return REASON_NONE
  const here = rules.addressNode[source]
  const there = rules.addressNode[destination]
  const leaving = policyFate(rules, nodeProtocolOf(here, protocol), source, source, destination, port)
  if (leaving !== REASON_NONE || there === here) return leaving
  return policyFate(rules, nodeProtocolOf(there, protocol), source, source, destination, port)
}

/** The source that an ingress rule compares, on the node that masquerades. */
export function ingressSource(rules: RuleColumns, source: AddressId, natSource: AddressId): number {
  return rules.settings[SETTING_POLICIES] === POLICIES_AT_POD ? natSource : source
}

/** Profile that a packet of a pod meets on leaving it, -1 where none is asked there. */
export function egressProfile(rules: RuleColumns, node: NodeId, source: AddressId, destination: AddressId): number {
  if (source === destination || rules.addressNode[source] !== node) return -1
  return profileOf(rules, source, POLICY_EGRESS)
}

/** Profile that a packet meets on its way into a pod, -1 where none is asked there. @param from as the node's rules see it */
export function ingressProfile(rules: RuleColumns, node: NodeId, from: AddressId, destination: AddressId): number {
  if (from === destination || rules.addressNode[destination] !== node) return -1
  const profile = profileOf(rules, destination, POLICY_INGRESS)
  return profile >= 0 && isOfNode(rules, node, from) ? -1 : profile
}

/** Whether a packet is the node's own; one from an address that ipvs has on every node is, too. */
export function isOfNode(rules: RuleColumns, node: NodeId, from: AddressId): boolean {
  return isOwnAddress(rules, node, from) || (rules.addressFlags[from] & ADDRESS_ON_EVERY_NODE) !== 0
}

/** Profile of an address in a direction, or -1: no policy selects it. */
export function profileOf(rules: RuleColumns, address: AddressId, direction: number): number {
  const { addressPolicy } = rules
  const at = address * POLICY_ADDRESS_WORDS + direction
  return at < addressPolicy.length ? addressPolicy[at] - 1 : -1
}

/**
 * The first rule of a profile that lets a packet through, or -1.
 * @param peer         the address at the other end
 * @param destination  whose ports have the names: the pod itself for ingress, the peer for egress
 */
export function allowingRule(
  rules: RuleColumns,
  profile: number,
  peer: AddressId,
  destination: AddressId,
  port: Port,
  protocol: Protocol,
): number {
  const { profileStart, profileRules } = rules
  const end = profileStart[profile + 1]
  for (let i = profileStart[profile]; i < end; i++) {
    const rule = profileRules[i]
    if (passesPort(rules, rule, destination, port, protocol) && passesPeer(rules, rule, peer)) return rule
  }
  return -1
}

export function passesPort(
  rules: RuleColumns,
  rule: number,
  destination: AddressId,
  port: Port,
  protocol: Protocol,
): boolean {
  const { policyRules, policyPorts } = rules
  const base = rule * RULE_WORDS
  const count = policyRules[base + RULE_PORT_COUNT]
  if (count < 0) return true
  const start = policyRules[base + RULE_PORT_START]
  for (let i = start; i < start + count; i++) {
    const at = i * PORT_WORDS
    if (policyPorts[at + PORT_PROTOCOL] !== protocol) continue
    if (port >= policyPorts[at + PORT_LOW] && port <= policyPorts[at + PORT_HIGH]) return true
    const name = policyPorts[at + PORT_NAME]
    if (name >= 0 && isNamed(rules, destination, name, port, protocol)) return true
  }
  return false
}

/** Whether the pod at an address calls a port so. */
function isNamed(rules: RuleColumns, address: AddressId, name: number, port: Port, protocol: Protocol): boolean {
  const { policyNames, policyClassPorts } = rules
  const podClass = profileOf(rules, address, POLICY_CLASS)
  if (podClass < 0) return false
  const end = policyClassPorts[podClass + 1]
  for (let i = policyClassPorts[podClass]; i < end; i++) {
    const at = i * NAMED_WORDS
    if (policyNames[at] === name && policyNames[at + 1] === protocol && policyNames[at + 2] === port) return true
  }
  return false
}

export function passesPeer(rules: RuleColumns, rule: number, peer: AddressId): boolean {
  const { policyRules, policyPeers, policyGroups } = rules
  const base = rule * RULE_WORDS
  const count = policyRules[base + RULE_PEER_COUNT]
  if (count < 0) return true
  const words = rules.settings[SETTING_POLICY_WORDS]
  const podClass = profileOf(rules, peer, POLICY_CLASS)
  const start = policyRules[base + RULE_PEER_START]
  for (let i = start; i < start + count; i++) {
    const one = policyPeers[i]
    if (one < 0) {
      if (inBlock(rules, ~one, peer)) return true
    } else if (podClass >= 0 && ((policyGroups[one * words + (podClass >> 5)] >>> (podClass & 31)) & 1) !== 0) {
      return true
    }
  }
  return false
}

function inBlock(rules: RuleColumns, block: number, address: AddressId): boolean {
  const { policyBlocks, policyExcepts } = rules
  const base = block * BLOCK_WORDS
  if (policyBlocks[base + BLOCK_FAMILY] !== familyOf(rules, address)) return false
  if (!isWithin(rules, policyBlocks, base, address)) return false
  const start = policyBlocks[base + BLOCK_EXCEPT_START]
  const end = start + policyBlocks[base + BLOCK_EXCEPT_COUNT]
  for (let i = start; i < end; i++) if (isWithin(rules, policyExcepts, i * 8, address)) return false
  return true
}

/** @param at  where eight words begin: address and mask */
function isWithin({ addressWords }: RuleColumns, blocks: Int32Array, at: number, address: AddressId): boolean {
  const a = address * 4
  return (
    (addressWords[a + 3] & blocks[at + 7]) === blocks[at + 3] &&
    (addressWords[a + 2] & blocks[at + 6]) === blocks[at + 2] &&
    (addressWords[a + 1] & blocks[at + 5]) === blocks[at + 1] &&
    (addressWords[a] & blocks[at + 4]) === blocks[at]
  )
}
