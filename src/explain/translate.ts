/**
 * What becomes of a packet that has an endpoint, in words: the tuple before and after, masquerade and why, the way to the
 * endpoint's node, and what the pod sees.
 */
import {
  ADDRESS_ON_EVERY_NODE,
  endpointFate,
  FRONTEND_CLUSTER_IP,
  familyOf,
  hairpinMark,
  isNodePort,
  isOutwardAddress,
  isOwnAddress,
  MASQUERADE_ALL,
  MASQUERADE_EGRESS,
  MASQUERADE_EXTERNAL,
  MASQUERADE_HAIRPIN,
  MASQUERADE_NODE,
  MASQUERADE_NODE_PORT,
  MASQUERADE_OFF_CLUSTER,
  masqueradeAddress,
  masqueradeTowards,
  REASON_NONE,
  REASONS,
  SETTING_MASQUERADE_ALL,
} from '../../native-free-core/index.ts'
import type { ClusterPod } from '../k8s/cluster.ts'
import { declaredInstead } from '../k8s/declared.ts'
import type { ExplainContext } from './context.ts'
import { count, protocolText, type Scene, sourceText } from './describe.ts'
import { joinPort, listed } from './dialled-name.ts'
import { hasPolicies, type Judged, judgeEgress, judgeIngress, type Passage, passageFate } from './network-policy.ts'
import type { Approach } from './route-to-node.ts'
import type { Step } from './types.ts'

/** What a dataplane did with the connection, where there is one. */
export interface Done {
  readonly endpoint: number
  /** Address id and port that the pod sees as the source. */
  readonly seen: number
  readonly seenPort: number
}

export function tupleText(
  context: ExplainContext,
  source: number,
  sourcePort: number,
  to: string,
  protocol: number,
): string {
  const address = context.registry.addressText(source)
  const from = sourcePort === 0 ? address : joinPort(address, sourcePort)
  return `${from} → ${to} ${protocolText(protocol)}`
}

/** The packet as it comes to the node. */
export function arrivingTuple(context: ExplainContext, way: Approach): string {
  const to = joinPort(context.registry.addressText(way.destination), way.port)
  return tupleText(context, way.source, way.sourcePort, to, way.protocol)
}

/** The address that the node puts in as source towards an endpoint. */
export function egressOf({ context, way }: Scene, endpoint: number): number {
  const { rules } = context
  return masqueradeAddress(rules, way.node, endpoint, familyOf(rules, way.destination))
}

/** A pod that reaches itself through its own Service. */
export function isHairpin({ context, way }: Scene, endpoint: number): boolean {
  return context.rules.endpointAddress[endpoint] === way.source
}

/** MASQUERADE_* bits that count towards an endpoint. */
function masqueradeBits(scene: Scene, endpoint: number): number {
  const { context, way } = scene
  const marks = way.decision.masquerade | hairpinMark(context.rules, way.node, way.source, endpoint)
  return masqueradeTowards(context.rules, way.node, way.source, context.rules.endpointAddress[endpoint]!, marks)
}

export function isMasqueraded(scene: Scene, endpoint: number): boolean {
  return masqueradeBits(scene, endpoint) !== 0
}

/** On the node's own network: delivered there, whatever the mark says. */
function isDeliveredHere({ context, way }: Scene, endpoint: number): boolean {
  return isOwnAddress(context.rules, way.node, context.rules.endpointAddress[endpoint]!)
}

/** The node that has the endpoint's address, whatever its EndpointSlice says; -1 for none. */
function nodeOf({ context: { rules } }: Scene, endpoint: number): number {
  return rules.addressNode[rules.endpointAddress[endpoint]!]!
}

/** The reply of an endpoint on another node, or of the client to itself, does not come back through this node, which alone could translate it. */
export function losesReply(scene: Scene, endpoint: number): boolean {
  const { way } = scene
  if (isMasqueraded(scene, endpoint)) return false
  const node = nodeOf(scene, endpoint)
  return isHairpin(scene, endpoint) || (node >= 0 && node !== way.node && way.clientNode !== way.node)
}

/** @param done  what really happened; null: any endpoint of the set may be taken */
export function translationSteps(scene: Scene, done: Done | null): Step[] {
  const going = endpointsOf(scene, done).filter((endpoint) => fateOf(scene, endpoint) === REASON_NONE)
  const lost = fateSteps(scene, done)
  const first = [dnatStep(scene, done), ...lost]
  if (going.length === 0) return first
  const leaving = policySteps(scene, going, judgeEgress)
  const out = going.filter((endpoint) => (judgeEgress(scene.context, passageTo(scene, endpoint))?.reason ?? 0) === 0)
  if (out.length === 0) return [...first, ...leaving]
  const entering = policySteps(scene, out, judgeIngress)
  const passing = out.filter((endpoint) => policyFateOf(scene, endpoint) === REASON_NONE)
  return [
    ...first,
    ...leaving,
    masqueradeStep(scene, done),
    ...hopSteps(scene, done),
    ...entering,
    ...(passing.length === 0
      ? []
      : [deliverStep(passing.length === going.length ? scene : { ...scene, members: passing }, done)]),
  ]
}

/** The packet on its way to an endpoint, for policies. */
function passageTo(scene: Scene, endpoint: number): Passage {
  const { rules } = scene.context
  const { node, source, protocol, port: dialledPort } = scene.way
  const seen = isMasqueraded(scene, endpoint) ? egressOf(scene, endpoint) : source
  const destination = rules.endpointAddress[endpoint]!
  return { node, source, seen, destination, port: rules.endpointPort[endpoint]!, protocol, dialledPort }
}

/** Why NetworkPolicies stop the packet on its way to an endpoint; REASON_NONE where they do not. */
export function policyFateOf(scene: Scene, endpoint: number): number {
  return hasPolicies(scene.context) ? passageFate(scene.context, passageTo(scene, endpoint)) : REASON_NONE
}

/** What policies say of a packet, one step for the endpoints that they say the same of. */
function policySteps(
  scene: Scene,
  endpoints: readonly number[],
  judge: (context: ExplainContext, passage: Passage) => Judged | null,
): Step[] {
  if (!hasPolicies(scene.context)) return []
  const steps = endpoints.flatMap((endpoint) => judge(scene.context, passageTo(scene, endpoint))?.step ?? [])
  return steps.filter(({ at, detail }, i) => steps.findIndex((one) => one.at === at && one.detail === detail) === i)
}

function endpointsOf(scene: Scene, done: Done | null): readonly number[] {
  return done === null ? scene.members : [done.endpoint]
}

function fateOf({ context, way }: Scene, endpoint: number): number {
  return endpointFate(context.rules, way.node, endpoint, way.protocol)
}

/** Endpoints that are addresses of Services themselves. */
function fateSteps(scene: Scene, done: Done | null): Step[] {
  const { context, way } = scene
  const { rules, registry, directory } = context
  return endpointsOf(scene, done).flatMap((endpoint): Step[] => {
    const address = registry.addressText(rules.endpointAddress[endpoint]!)
    const service = directory.serviceAt(address)
    const whose = service === undefined ? '' : ` (of Service ${service.namespace}/${service.name})`
    const fate = fateOf(scene, endpoint)
    const at = `node ${context.nodeName(way.node)}`
    if (fate !== REASON_NONE)
      return [{ at, stage: 'route', detail: `${registry.endpointText(endpoint)}${whose}: ${REASONS[fate]!.sentence}` }]
    if (isOutwardAddress(rules, rules.endpointAddress[endpoint]!)) {
      const detail = `${address}${whose} is where a load balancer or router takes packets in: what has been translated to it leaves for there, and is not followed back`
      return [{ at, stage: 'route', detail }]
    }
    const port = rules.endpointPort[endpoint]!
    if (!isNodePort(rules, rules.endpointAddress[endpoint]!, port, way.protocol)) return []
    const owner = context.nodeName(rules.addressNode[rules.endpointAddress[endpoint]!]!)
    return [{ at, stage: 'route', detail: `${port} is a node port: node ${owner} translates the packet once more` }]
  })
}

function dnatStep(scene: Scene, done: Done | null): Step {
  const { context, way } = scene
  const endpoints = endpointsOf(scene, done)
  const first = context.registry.endpointText(endpoints[0]!)
  const after = tupleText(context, way.source, way.sourcePort, first, way.protocol)
  const others = endpoints.length === 1 ? '' : ` (or another of the ${endpoints.length})`
  return {
    at: `node ${context.nodeName(way.node)}`,
    stage: 'dnat',
    detail: `${arrivingTuple(context, way)} becomes ${after}${others}`,
  }
}

function masqueradeStep(scene: Scene, done: Done | null): Step {
  const { context, way } = scene
  const endpoints = endpointsOf(scene, done)
  const where = { at: `node ${context.nodeName(way.node)}`, stage: 'masquerade' } as const
  const masqueraded = endpoints.filter((one) => isMasqueraded(scene, one))
  const kept = endpoints.filter((one) => !isMasqueraded(scene, one))
  if (masqueraded.length === 0) return { ...where, detail: `no: ${whyNot(scene, kept)}` }
  const bits = masqueraded.reduce((all, one) => all | masqueradeBits(scene, one), 0)
  const as = done === null ? egressText(scene, masqueraded) : seenText(context, done)
  if (bits === MASQUERADE_HAIRPIN) {
    return { ...where, detail: `yes, as ${as}: ${hairpinText(scene, endpoints.length, masqueraded[0]!)}` }
  }
  const which = kept.length === 0 ? '' : ` towards ${endpointTexts(scene, masqueraded)}`
  const others = kept.length === 0 ? '' : `; not towards ${endpointTexts(scene, kept)}: ${whyNot(scene, kept)}`
  return { ...where, detail: `yes, as ${as}${which}: ${whyMasqueraded(scene, bits)}${others}` }
}

function endpointTexts({ context }: Scene, endpoints: readonly number[]): string {
  return listed(endpoints.map((one) => context.registry.endpointText(one)))
}

function seenText(context: ExplainContext, done: Done): string {
  const address = context.registry.addressText(done.seen)
  return done.seenPort === 0 ? address : joinPort(address, done.seenPort)
}

/** The node's addresses towards a set of endpoints: one for its own pods, one for everything else. */
function egressText(scene: Scene, endpoints: readonly number[]): string {
  const { registry } = scene.context
  const overBridge = (one: number): boolean => nodeOf(scene, one) === scene.way.node && !isDeliveredHere(scene, one)
  const local = endpoints.find(overBridge)
  const remote = endpoints.find((one) => !overBridge(one))
  const texts = [local, remote].flatMap((one) =>
    one === undefined ? [] : [registry.addressText(egressOf(scene, one))],
  )
  if (texts.length < 2 || texts[0] === texts[1]) return texts[0]!
  return `${texts[0]} towards pods of this node and ${texts[1]} towards other nodes`
}

function whyMasqueraded(scene: Scene, bits: number): string {
  const { context, port } = scene
  if ((bits & MASQUERADE_ALL) !== 0) return 'masqueradeAll of KubeProxyConfiguration is set'
  if ((bits & MASQUERADE_OFF_CLUSTER) !== 0)
    return `${sourceText(scene)}; what comes to a cluster IP and is no local pod is masqueraded`
  if ((bits & MASQUERADE_EXTERNAL) !== 0)
    return `externalTrafficPolicy: Cluster of ${port.title}; the answer must come back through this node`
  if ((bits & MASQUERADE_NODE) !== 0) return `${sourceText(scene)}, short-circuited to endpoints on every node`
  if ((bits & MASQUERADE_NODE_PORT) !== 0)
    return `${scene.way.port} is also some Service's node port: in ipvs mode KUBE-NODE-PORT masquerades what goes to that number at any address of kube-ipvs0`
  if ((bits & MASQUERADE_EGRESS) !== 0) return egressReason(context)
  return 'hairpin'
}

/** The network plugin that is assumed, and what it does. */
export function egressReason({ cluster }: ExplainContext): string {
  const range =
    cluster.clusterCidrs.length === 0 ? 'the pod range' : `the pod range ${listed([...cluster.clusterCidrs])}`
  return `by the network plugin and not by kube-proxy: pod traffic that leaves ${range}, as flannel and kindnet do`
}

function hairpinText({ context, way }: Scene, endpoints: number, endpoint: number): string {
  const itself = `${context.registry.endpointText(endpoint)} is the client itself (hairpin)`
  return endpoints === 1
    ? itself
    : `only if the client gets itself: ${itself}; ${context.registry.addressText(way.source)} is kept otherwise`
}

function whyNot(scene: Scene, kept: readonly number[]): string {
  const { context, port, way } = scene
  const { rules, compiled } = context
  if (way.decision.masquerade !== 0 && kept.every((one) => isDeliveredHere(scene, one))) {
    return 'it is on the host network of this node: the packet is delivered there (INPUT) and never passes POSTROUTING, where marked packets are masqueraded'
  }
  if (rules.frontendKind[way.decision.frontend] === FRONTEND_CLUSTER_IP) {
    if (compiled.settings.detector === 'none' && rules.settings[SETTING_MASQUERADE_ALL] === 0) {
      return 'kube-proxy has no detector for local pods, and then never masquerades what goes to a cluster IP'
    }
    return `${sourceText(scene)}, and the traffic goes to a cluster IP`
  }
  return `externalTrafficPolicy: Local of ${port.title} keeps the client's address`
}

/** Endpoints by the node they are on, as hops. */
function hopSteps(scene: Scene, done: Done | null): Step[] {
  const { context, way } = scene
  const { registry } = context
  const byNode = new Map<number, string[]>()
  for (const endpoint of endpointsOf(scene, done)) {
    const node = nodeOf(scene, endpoint)
    byNode.set(node, [...(byNode.get(node) ?? []), registry.endpointText(endpoint)])
  }
  const own = byNode.get(way.node) ?? []
  byNode.delete(way.node)
  const parts = own.length === 0 ? [] : [`${listed(own)}: on this node, no hop`]
  for (const [node, endpoints] of byNode) {
    const where = node < 0 ? 'on no known node, straight to its address' : `one hop to node ${context.nodeName(node)}`
    parts.push(`${listed(endpoints)}: ${where}`)
  }
  return [{ at: `node ${context.nodeName(way.node)}`, stage: 'route', detail: parts.join('; ') }]
}

/** Masquerading leaves an address as it is where the client is the node itself. */
export function seenInstead(seen: string, client: string): string {
  const same = seen === client || seen.startsWith(`${client}:`)
  return same ? `${seen}, the client's own address` : `${seen} in place of ${client}`
}

function deliverStep(scene: Scene, done: Done | null): Step {
  const { context, way } = scene
  const endpoints = endpointsOf(scene, done)
  const first = endpoints[0]!
  const pod = context.directory.podAt(context.registry.addressText(context.rules.endpointAddress[first]!))
  const at =
    endpoints.length === 1
      ? pod === undefined
        ? `endpoint ${context.registry.endpointText(first)}`
        : `pod ${pod.namespace}/${pod.name}`
      : 'the pod'
  const client = context.registry.addressText(way.source)
  const masqueraded = endpoints.filter((one) => isMasqueraded(scene, one))
  const sees =
    masqueraded.length === 0
      ? `sees the client as ${done === null ? client : seenText(context, done)}`
      : masqueraded.length < endpoints.length
        ? `sees the client as ${client}, or as ${egressText(scene, masqueraded)} where it is ${masqueraded.every((one) => masqueradeBits(scene, one) === MASQUERADE_HAIRPIN) ? 'the client itself' : 'masqueraded'}`
        : `sees ${seenInstead(done === null ? egressText(scene, endpoints) : seenText(context, done), client)}`
  return {
    at,
    stage: 'deliver',
    detail: `${sees}${lostText(scene, endpoints, client)}${undeclaredText(scene, endpoints)}`,
  }
}

/** Pods that declare ports, and not the one that the packet is for. */
function undeclaredText({ context, way }: Scene, endpoints: readonly number[]): string {
  const { registry, rules } = context
  const protocol = protocolText(way.protocol).toUpperCase()
  for (const endpoint of endpoints) {
    const pod = context.directory.podAt(registry.addressText(rules.endpointAddress[endpoint]!))
    const text = pod === undefined ? '' : undeclaredBy(pod, rules.endpointPort[endpoint]!, protocol)
    if (text !== '') return text
  }
  return ''
}

/** `; no container of shop/db-0 declares 3307/TCP …`, or ''. */
export function undeclaredBy(pod: ClusterPod, port: number, protocol: string): string {
  const declared = declaredInstead(pod, port, protocol)
  return declared === null
    ? ''
    : `; no container of ${pod.namespace}/${pod.name} declares ${port}/${protocol} (${declared}): where nothing listens the pod refuses it`
}

/** Endpoints whose answers do not come back translated, and why; '' where all do. */
function lostText(scene: Scene, endpoints: readonly number[], client: string): string {
  const { context, way } = scene
  const lost = endpoints.filter((one) => losesReply(scene, one))
  const itself = lost.find((one) => isHairpin(scene, one))
  if (itself !== undefined) {
    const text = context.registry.endpointText(itself)
    return `; but ${text} is the client itself, and ipvs masquerades that for endpoints of its own node only, which this is not by its nodeName: a pod answers a packet from its own address to itself, and the connection fails`
  }
  if (lost.length === 0) return ''
  const whose = `; but the answers of ${count(lost.length, 'endpoint')} on other nodes (${endpointTexts(scene, lost)})`
  return (context.rules.addressFlags[way.source]! & ADDRESS_ON_EVERY_NODE) !== 0
    ? `${whose} go to ${client}, which their own node has on kube-ipvs0 too: they stay there and the connection fails`
    : `${whose} go to the client without passing this node: it does not recognise them and the connection fails`
}
