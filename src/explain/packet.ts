/**
 * One packet, the first of its connection, explained: the core's decision with the objects and fields behind it.
 *
 * The set of endpoints and the verdict are `decide`'s own, the same rules that a replay runs; this file only reads them.
 * Cost: one decision and a few strings; 10,000 packets against 1,000 Services take about a second after the compile.
 */
import {
  ACTION_ACCEPT,
  ACTION_DNAT,
  ACTION_NAMES,
  ACTION_NONE,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_POD,
  endpointFate,
  FRONTEND_HOST_PORT,
  FRONTEND_NAMES,
  isOutwardAddress,
  REASON_NONE,
  REASONS,
  VERDICT_NAMES,
} from '../../native-free-core/index.ts'
import type { ExplainContext } from './context.ts'
import {
  affinityStep,
  BOUND_TEXT,
  count,
  decisionSteps,
  endpointStep,
  protocolText,
  recalledText,
  type Scene,
  sceneOf,
  servicePortText,
} from './describe.ts'
import { joinPort, listed } from './dialled-name.ts'
import { explainHostPort } from './host-port.ts'
import { hasPolicies, judgeEgress, judgeIngress } from './network-policy.ts'
import { untouchedSeen, untouchedSteps } from './no-service.ts'
import { type Approach, approach, type PacketQuestion } from './route-to-node.ts'
import {
  type Done,
  egressOf,
  isHairpin,
  isMasqueraded,
  losesReply,
  policyFateOf,
  seenInstead,
  translationSteps,
} from './translate.ts'
import type { Answer, Explanation, FrontendName, Step, VerdictName } from './types.ts'

const FRONTENDS: ReadonlySet<string> = new Set(['clusterIP', 'nodePort', 'loadBalancerIP', 'externalIP'])

/** A packet as it was asked for. */
export interface Packet {
  readonly question: PacketQuestion
  /** What names became addresses by, before the packet was sent. */
  readonly before: readonly Step[]
  /** The names themselves, where the user gave such; '' for an address. */
  readonly fromName: string
  readonly toName: string
}

/** What a dataplane did with the packet, for `--stateful`. */
export interface Happened {
  /** Whether the client was found bound by affinity: null where the Service has none. */
  readonly bound: boolean | null
  /** ipvs already had the connection: nobody was chosen. */
  readonly recalled: boolean
  /** null where the packet was not delivered. */
  readonly done: Done | null
  /** Endpoint id that NetworkPolicies have stopped it on its way to. */
  readonly stopped?: number
}

export function titleOf(context: ExplainContext, { question, fromName, toName }: Packet): string {
  const { registry } = context
  const source = registry.addressText(question.source)
  const from = question.sourcePort === 0 ? source : joinPort(source, question.sourcePort)
  const to = `${joinPort(registry.addressText(question.destination), question.port)}/${protocolText(question.protocol)}`
  const named = (name: string, address: string): string => (name === '' ? address : `${name} (${address})`)
  return `${named(fromName, from)} → ${named(toName, to)}`
}

/** @param happened  null: nobody was sent anywhere, the whole set is told */
export function explainPacket(context: ExplainContext, packet: Packet, happened: Happened | null = null): Answer {
  const title = titleOf(context, packet)
  if (staysInPod(context, packet)) return inPod(context, packet, title)
  const way = approach(context, packet.question)
  const steps = [...packet.before, ...way.steps]
  if (way.node < 0) return neverArrives(way, steps, title)
  if (way.stopped !== null) return stoppedAnswer(way.stopped.reason, context.nodeName(way.node), steps, title)
  if (isHostPort(context, way)) return explainHostPort(context, way, steps, title, happened?.done ?? null)
  const scene = sceneOf(context, way)
  const node = context.nodeName(way.node)
  if (scene === null) {
    const verdict = ACTION_NAMES[way.decision.action] as VerdictName
    const passed = throughPolicies(context, way, untouchedSteps(context, way))
    if (passed.reason !== REASON_NONE) return stoppedAnswer(passed.reason, node, [...steps, ...passed.steps], title)
    const told = plain(verdict, way.decision.reason, node, [...steps, ...passed.steps])
    const explanation = { ...told, seen: untouchedSeen(context, way) }
    return { title, explanation, conclusion: plainConclusion(context, way, node) }
  }
  steps.push(...decisionSteps(scene))
  if (way.decision.action === ACTION_ACCEPT) {
    const passed = throughPolicies(context, way, steps.splice(-1))
    if (passed.reason !== REASON_NONE) return stoppedAnswer(passed.reason, node, [...steps, ...passed.steps], title)
    steps.push(...passed.steps)
  }
  if (way.decision.action === ACTION_DNAT) {
    const recalled = happened?.recalled === true
    const affinity = recalled ? null : affinityStep(scene, happened?.bound ?? null)
    if (affinity !== null) steps.push(affinity)
    const done = happened?.done ?? null
    if (done !== null && !scene.members.includes(done.endpoint)) return translatedAgain(scene, steps, title, done)
    const chosen = done === null ? '' : context.registry.endpointText(done.endpoint)
    const how = recalled ? recalledText(scene) : happened?.bound === true ? BOUND_TEXT : ''
    steps.push(endpointStep(scene, chosen, how))
    if (happened === null) steps.push(...translationSteps(scene, null))
    else if (done !== null) steps.push(...translationSteps(scene, done))
    else if (happened.stopped !== undefined) {
      const one = { ...scene, members: [happened.stopped] }
      return ofService(one, [...steps, ...translationSteps(one, null)], title, null)
    }
  }
  return ofService(scene, steps, title, happened?.done ?? null)
}

/** A packet that no Service has translated meets the policies of both pods, between the steps of its way. */
function throughPolicies(
  context: ExplainContext,
  way: Approach,
  steps: readonly Step[],
): { readonly steps: readonly Step[]; readonly reason: number } {
  const { node, source, destination, port, protocol, decision } = way
  if (decision.reason !== REASON_NONE || !hasPolicies(context)) return { steps, reason: REASON_NONE }
  const passage = { node, source, seen: source, destination, port, protocol, dialledPort: port }
  const leaving = judgeEgress(context, passage)
  const [first, ...rest] = steps
  const out = [first!, ...(leaving === null ? [] : [leaving.step])]
  if (leaving !== null && leaving.reason !== REASON_NONE) return { steps: out, reason: leaving.reason }
  const entering = judgeIngress(context, passage)
  if (entering === null) return { steps: [...out, ...rest], reason: REASON_NONE }
  const before = rest.filter(({ stage }) => stage !== 'deliver')
  const after = entering.reason === REASON_NONE ? rest.slice(before.length) : []
  return { steps: [...out, ...before, entering.step, ...after], reason: entering.reason }
}

function stoppedAnswer(reason: number, node: string, steps: readonly Step[], title: string): Answer {
  const verdict = VERDICT_NAMES[REASONS[reason]!.verdict] as VerdictName
  return { title, explanation: plain(verdict, reason, node, steps), conclusion: fateText(reason) }
}

/** The endpoint was a node port of another node, whose rules gave the packet an endpoint of their own. */
function translatedAgain(scene: Scene, steps: readonly Step[], title: string, done: Done): Answer {
  const { registry } = scene.context
  const seen = registry.addressText(done.seen)
  const detail = `${registry.endpointText(done.endpoint)} is what the rules there gave it to; it sees ${joinPort(seen, done.seenPort)}`
  const all: Step[] = [
    ...steps,
    endpointStep(scene, '', ''),
    ...translationSteps(scene, null),
    { at: 'the pod', stage: 'deliver', detail },
  ]
  const answer = ofService(scene, all, title, null)
  return { ...answer, explanation: { ...answer.explanation, seen: [seen] } }
}

function isHostPort({ rules }: ExplainContext, { decision }: Approach): boolean {
  return decision.frontend >= 0 && rules.frontendKind[decision.frontend] === FRONTEND_HOST_PORT
}

/** 127.0.0.1 in a pod is the pod. */
function staysInPod({ rules }: ExplainContext, { question }: Packet): boolean {
  const source = rules.addressFlags[question.source]!
  return (
    question.node < 0 &&
    (rules.addressFlags[question.destination]! & ADDRESS_LOOPBACK) !== 0 &&
    (source & ADDRESS_POD) !== 0 &&
    (source & ADDRESS_NODE) === 0
  )
}

function inPod(context: ExplainContext, packet: Packet, title: string): Answer {
  const address = context.registry.addressText(packet.question.source)
  const detail = `${context.registry.addressText(packet.question.destination)} is the pod itself: the packet never leaves it`
  const step: Step = { at: `pod ${address}`, stage: 'deliver', detail }
  const node = context.nodeName(context.rules.addressNode[packet.question.source]!)
  const told = plain('none', REASON_NONE, node === '' ? null : node, [...packet.before, step])
  const explanation = { ...told, seen: [context.registry.addressText(packet.question.destination)] }
  return { title, explanation, conclusion: 'delivered inside of the pod: kube-proxy has no part in it' }
}

function neverArrives(way: Approach, steps: readonly Step[], title: string): Answer {
  const reason = REASONS[way.lost]!
  const verdict = VERDICT_NAMES[reason.verdict] as VerdictName
  return {
    title,
    explanation: plain(verdict, way.lost, null, steps),
    conclusion: `${verdict}: ${reason.sentence} [${reason.name}]`,
  }
}

function plain(verdict: VerdictName, reason: number, node: string | null, steps: readonly Step[]): Explanation {
  return {
    schemaVersion: 1,
    verdict,
    endpoints: [],
    masquerade: false,
    seen: [],
    reason: reason === REASON_NONE ? null : REASONS[reason]!.name,
    service: null,
    frontend: null,
    node,
    steps,
  }
}

function plainConclusion({ directory, registry }: ExplainContext, way: Approach, node: string): string {
  if (way.decision.action === ACTION_NONE) {
    const pod = directory.podAt(registry.addressText(way.destination))
    if (pod === undefined) return `none: kube-proxy on node ${node} does nothing with it`
    return `delivered to pod ${pod.namespace}/${pod.name} as it is: no Service is in its way, and kube-proxy on node ${node} has no part in it`
  }
  const reason = REASONS[way.decision.reason]!
  return `${ACTION_NAMES[way.decision.action]}: ${reason.sentence} [${reason.name}]`
}

/** @param done  where it is known which endpoint was taken: masquerade is then that of this connection */
function ofService(scene: Scene, steps: readonly Step[], title: string, done: Done | null): Answer {
  const { context, way, members } = scene
  const { decision } = way
  const kind = FRONTEND_NAMES[context.rules.frontendKind[decision.frontend]!]!
  const taken = done === null ? members : [done.endpoint]
  const fate = decision.action === ACTION_DNAT ? commonFate(scene, taken) : REASON_NONE
  const verdict = (
    fate === REASON_NONE ? ACTION_NAMES[decision.action] : VERDICT_NAMES[REASONS[fate]!.verdict]
  ) as VerdictName
  const masquerade = verdict === 'dnat' && taken.some((endpoint) => isMasqueraded(scene, endpoint))
  const explanation: Explanation = {
    ...plain(verdict, fate || decision.reason, context.nodeName(way.node), steps),
    endpoints: members.map((endpoint) => context.registry.endpointText(endpoint)),
    masquerade,
    seen: verdict === 'dnat' ? seenAddresses(scene, taken, done) : [],
    service: servicePortText(scene),
    frontend: FRONTENDS.has(kind) ? (kind as FrontendName) : null,
  }
  const conclusion = fate === REASON_NONE ? conclusionOf(scene, explanation, done) : fateText(fate)
  const blocked = decision.action === ACTION_DNAT ? blockedOf(scene, taken) : []
  const answer = {
    title,
    explanation: blocked.length === 0 ? explanation : { ...explanation, blocked },
    conclusion: verdict === 'dnat' && blocked.length > 0 ? `${conclusion}${blockedText(blocked)}` : conclusion,
  }
  return verdict === 'dnat' ? { ...answer, balanced: way.balanced } : answer
}

/** Why no endpoint can be reached behind its address; REASON_NONE where one can. */
function commonFate(scene: Scene, endpoints: readonly number[]): number {
  const { context, way } = scene
  const fates = endpoints.map(
    (endpoint) => endpointFate(context.rules, way.node, endpoint, way.protocol) || policyFateOf(scene, endpoint),
  )
  return fates.every((fate) => fate !== REASON_NONE) ? (fates[0] ?? REASON_NONE) : REASON_NONE
}

/** Endpoints that policies let nothing through to. */
function blockedOf(scene: Scene, endpoints: readonly number[]): NonNullable<Explanation['blocked']> {
  return endpoints.flatMap((endpoint) => {
    const reason = policyFateOf(scene, endpoint)
    return reason === REASON_NONE
      ? []
      : [{ endpoint: scene.context.registry.endpointText(endpoint), reason: REASONS[reason]!.name }]
  })
}

function blockedText(blocked: NonNullable<Explanation['blocked']>): string {
  const reasons = [...new Set(blocked.map(({ reason }) => reason))].join(', ')
  return `; but NetworkPolicies drop it on its way to ${listed(blocked.map(({ endpoint }) => endpoint))} [${reasons}]`
}

function fateText(fate: number): string {
  const { name, sentence, verdict } = REASONS[fate]!
  return `${VERDICT_NAMES[verdict]}: ${sentence} [${name}]`
}

/** @param taken  endpoint ids */
function seenAddresses(scene: Scene, taken: readonly number[], done: Done | null): string[] {
  const { context, way } = scene
  if (done !== null) return [context.registry.addressText(done.seen)]
  const client = context.registry.addressText(way.source)
  const seen = taken.map((endpoint) =>
    isMasqueraded(scene, endpoint) ? context.registry.addressText(egressOf(scene, endpoint)) : client,
  )
  return [...new Set(seen)]
}

function conclusionOf(scene: Scene, { verdict, endpoints, masquerade, node }: Explanation, done: Done | null): string {
  const { context, way, members } = scene
  const { registry } = context
  if (verdict === 'accept') return `accept: kube-proxy's health check server on node ${node} answers`
  if (verdict === 'none')
    return `none: kube-proxy turns away what node ${node} forwards or takes in for this address, not what the node itself sends: that goes out to the address as it is`
  if (verdict !== 'dnat') {
    const reason = REASONS[way.decision.reason]!
    return `${verdict}: ${reason.sentence} [${reason.name}]`
  }
  const client = registry.addressText(way.source)
  const to =
    done !== null
      ? `to ${registry.endpointText(done.endpoint)}`
      : endpoints.length === 1
        ? `to ${endpoints[0]}`
        : `to one of ${count(endpoints.length, 'endpoint')}: ${listed(endpoints)}`
  const isOutward = (endpoint: number): boolean =>
    isOutwardAddress(context.rules, context.rules.endpointAddress[endpoint]!)
  if ((done === null ? members : [done.endpoint]).every(isOutward))
    return `dnat ${to}, where a load balancer or router takes packets in; it is not followed back from there`
  if (!masquerade) {
    const taken = done === null ? members : [done.endpoint]
    const lost = taken.every((endpoint) => losesReply(scene, endpoint))
      ? ', but the answer goes past this node and the connection fails'
      : ''
    return `dnat ${to}; the pod sees the client's address ${client}${lost}`
  }
  if (done !== null)
    return `dnat ${to}; masqueraded, the pod sees ${seenInstead(registry.addressText(done.seen), client)}`
  const kept = members.filter((endpoint) => !isMasqueraded(scene, endpoint))
  if (kept.length > 0) {
    const others = members.filter((endpoint) => isMasqueraded(scene, endpoint))
    return others.every((endpoint) => isHairpin(scene, endpoint))
      ? `dnat ${to}; masqueraded where the client reaches itself`
      : `dnat ${to}; masqueraded but for ${listed(kept.map((endpoint) => registry.endpointText(endpoint)))}, which sees ${client}`
  }
  const egress = [...new Set(members.map((endpoint) => registry.addressText(egressOf(scene, endpoint))))]
  return `dnat ${to}; masqueraded, the pod sees ${seenInstead(egress.join(' or '), client)}`
}
