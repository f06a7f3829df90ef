/**
 * What becomes of one first packet, as numbers that can be compared: the core's own decision, nothing decided here.
 *
 * The way to a node, the endpoint set, masquerade and NetworkPolicies are the functions that `explain` tells its steps from, so a
 * difference here is one that `explain` prints.
 * Cost: a decision, and for each endpoint of the set its masquerade and policies; about what `explain` takes without its sentences.
 */
import {
  ACTION_ACCEPT,
  ACTION_DNAT,
  ACTION_NONE,
  endpointFate,
  isOwnAddress,
  REASON_NONE,
  REASONS,
  VERDICT_NAMES,
} from '../../native-free-core/index.ts'
import type { ExplainContext } from '../explain/context.ts'
import { readyHere, type Scene } from '../explain/describe.ts'
import { hasPolicies, passageFate } from '../explain/network-policy.ts'
import { untouchedSource } from '../explain/no-service.ts'
import { type Approach, approach, type PacketQuestion } from '../explain/route-to-node.ts'
import { egressOf, isMasqueraded, losesReply, policyFateOf } from '../explain/translate.ts'

/** In place of an address: the client's own, whatever it is on that side. */
export const SEEN_CLIENT = -2
export const SEEN_NOBODY = -1

/** An endpoint that the packet may be given to. */
export interface Member {
  readonly address: number
  readonly port: number
  /** REASON_NONE, or why it does not get there. */
  readonly fate: number
  /** Address id that it sees, or SEEN_CLIENT. */
  readonly seen: number
  readonly hop: boolean
  readonly losesReply: boolean
}

export type Verdict = 'deliver' | 'partly' | 'drop' | 'reject' | 'accept' | 'none'

export interface Outcome {
  readonly verdict: Verdict
  /** Of drop and reject. */
  readonly reason: number
  /** Of accept: 200 or 503. */
  readonly health: number
  /** Of what no rule touches: whom the destination sees. */
  readonly seen: number
  readonly affinityMs: number
  /** Index of the node whose rules decided, -1 for none. */
  readonly node: number
  /** Service port id, -1 for none. */
  readonly servicePort: number
  /** In rule order, which is the order of their addresses as text. */
  readonly members: readonly Member[]
}

export function outcomeOf(context: ExplainContext, question: PacketQuestion): Outcome {
  const way = approach(context, question, false)
  const { decision } = way
  if (way.node < 0) return refused(way.lost, -1)
  if (way.stopped !== null) return refused(way.stopped.reason, decision.servicePort)
  if (decision.action === ACTION_DNAT) return translated(context, way, question.source)
  if (decision.action === ACTION_NONE || decision.action === ACTION_ACCEPT) {
    const { node, source, destination, port, protocol } = way
    const fate = hasPolicies(context)
      ? passageFate(context, { node, source, seen: source, destination, port, protocol, dialledPort: port })
      : REASON_NONE
    if (fate !== REASON_NONE) return refused(fate, decision.servicePort)
    if (decision.action === ACTION_NONE) {
      const seen = ownOr(untouchedSource(context, way), question.source)
      return { ...NOTHING, verdict: 'none', seen, node }
    }
    const ready = readyHere(context, node, context.port(decision.servicePort))
    const health = ready > 0 ? 200 : 503
    return { ...NOTHING, verdict: 'accept', health, node, servicePort: decision.servicePort }
  }
  return refused(decision.reason, decision.servicePort)
}

const NOTHING: Outcome = {
  verdict: 'none',
  reason: REASON_NONE,
  health: 0,
  seen: SEEN_NOBODY,
  affinityMs: 0,
  node: -1,
  servicePort: -1,
  members: [],
}

function refused(reason: number, servicePort: number): Outcome {
  return { ...NOTHING, verdict: verdictOf(reason), reason, servicePort }
}

function verdictOf(reason: number): 'drop' | 'reject' {
  return VERDICT_NAMES[REASONS[reason]!.verdict] as 'drop' | 'reject'
}

function ownOr(seen: number, client: number): number {
  return seen === client ? SEEN_CLIENT : seen
}

function translated(context: ExplainContext, way: Approach, client: number): Outcome {
  const { rules } = context
  const { decision } = way
  // What these functions read of a scene is the way and the rules alone; a host port has no Service behind it.
  const scene = { context, way } as Scene
  const members = new Array<Member>(decision.setCount)
  let passing = 0
  for (let i = 0; i < decision.setCount; i++) {
    const endpoint = rules.members[decision.setStart + i]!
    const address = rules.endpointAddress[endpoint]!
    const fate = endpointFate(rules, way.node, endpoint, way.protocol) || policyFateOf(scene, endpoint)
    const seen = isMasqueraded(scene, endpoint) ? egressOf(scene, endpoint) : way.source
    const owner = rules.addressNode[address]!
    if (fate === REASON_NONE) passing++
    members[i] = {
      address,
      port: rules.endpointPort[endpoint]!,
      fate,
      seen: ownOr(seen, client),
      hop: owner >= 0 && owner !== way.node && !isOwnAddress(rules, way.node, address),
      losesReply: losesReply(scene, endpoint),
    }
  }
  const isRefused = passing === 0
  const reason = isRefused ? members[0]!.fate : REASON_NONE
  const verdict = isRefused ? verdictOf(reason) : passing === members.length ? 'deliver' : 'partly'
  const affinityMs = rules.serviceAffinityMs[decision.servicePort]!
  return { ...NOTHING, verdict, reason, affinityMs, node: way.node, servicePort: decision.servicePort, members }
}

/** Whether no client could tell the one from the other. */
export function sameOutcome(a: Outcome, b: Outcome): boolean {
  if (
    a.verdict !== b.verdict ||
    a.reason !== b.reason ||
    a.health !== b.health ||
    a.seen !== b.seen ||
    a.affinityMs !== b.affinityMs ||
    a.members.length !== b.members.length
  ) {
    return false
  }
  for (let i = 0; i < a.members.length; i++) if (!sameMember(a.members[i]!, b.members[i]!)) return false
  return true
}

/** Whom an endpoint sees that nothing gets to is nobody's business. */
function sameMember(a: Member, b: Member): boolean {
  if (a.address !== b.address || a.port !== b.port || a.fate !== b.fate) return false
  return a.fate !== REASON_NONE || (a.seen === b.seen && a.hop === b.hop && a.losesReply === b.losesReply)
}
