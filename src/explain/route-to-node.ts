/**
 * How a packet gets to the node whose rules decide about it: the way `ConnectionSetup.travel` of the core takes a first packet,
 * without state and with every choice named.
 *
 * Given: the node that has the source, or for a packet from outside the node that the destination brings it to (a load
 * balancer's choice among the nodes that pass its health check). Where no rule of its own node is for the packet and the
 * destination is another node's address, it goes there untranslated and is decided there.
 * A property in test/packetflow holds this against the dataplane.
 */
import {
  ACTION_NONE,
  ADDRESS_BALANCER,
  ADDRESS_DETECTED,
  ADDRESS_EXTERNAL_FRONTEND,
  ADDRESS_IN_SERVICE_CIDR,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_POD_RANGE,
  type AddressId,
  BALANCER_NODE_DOWN,
  createDecision,
  type Decision,
  decideAtNode,
  dialsFromItsAddress,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_LOAD_BALANCER_IP,
  type FrontendId,
  familyOf,
  findFrontend,
  leavesCluster,
  type NodeId,
  type Port,
  type Protocol,
  REASON_NO_HEALTHY_NODE,
  REASON_NO_ROUTE,
  REASON_NONE,
  type RuleColumns,
} from '../../native-free-core/index.ts'
import type { Announced } from '../k8s/cluster.ts'
import type { ExplainContext } from './context.ts'
import { joinPort, listed } from './dialled-name.ts'
import { egressFate, type Judged, judgeEgress } from './network-policy.ts'
import type { Step } from './types.ts'

/** Addresses are ids of the registry. */
export interface PacketQuestion {
  readonly source: AddressId
  /** 0 where it is not known. */
  readonly sourcePort: number
  readonly destination: AddressId
  readonly port: Port
  readonly protocol: Protocol
  /** Index of the node where the packet is seen, whatever the addresses say; -1 for the packet's own way. */
  readonly node: NodeId
  /** Only that node is asked, even where its rules leave the packet to another. */
  readonly stays: boolean
  /** Which of several nodes the packet is known to have come in on; -1: the first is followed. */
  readonly entered: number
}

/** Takes a step of the way, made only where somebody reads it. */
type Tell = (step: () => Step) => void

const silent: Tell = () => {}

export interface Approach {
  /** Where it is decided; -1 where the packet comes to no node. */
  readonly node: NodeId
  /** The packet as it looks there. */
  readonly source: AddressId
  readonly sourcePort: number
  readonly destination: AddressId
  readonly port: Port
  readonly protocol: Protocol
  readonly decision: Decision
  /** REASON_NONE, or why it came to no node. */
  readonly lost: number
  /** The node that the client sits on, -1 outside the cluster. */
  readonly clientNode: NodeId
  /** It came through a load balancer that is a machine of its own, not a node that answers for the address. */
  readonly balanced: boolean
  readonly steps: readonly Step[]
  /** The policies of the client's pod stop it before it gets to another node. */
  readonly stopped: Judged | null
}

/** @param told  false: nobody reads `steps`, which stay empty: src/diff asks by the hundred thousand */
export function approach(context: ExplainContext, question: PacketQuestion, told: boolean = true): Approach {
  const { rules } = context
  const steps: Step[] = []
  const tell: Tell = told ? (step) => steps.push(step()) : silent
  const decision = createDecision()
  const packet = { ...question }
  let clientNode = clientNodeOf(rules, question)
  let balanced = false
  let stopped: Judged | null = null
  const end = (node: NodeId, lost = REASON_NONE): Approach => ({
    node,
    // Field by field: spreading objects takes most of the time of a way that is not told.
    source: packet.source,
    sourcePort: packet.sourcePort,
    destination: packet.destination,
    port: packet.port,
    protocol: packet.protocol,
    decision,
    lost,
    clientNode,
    balanced,
    steps,
    stopped,
  })

  let node = question.node >= 0 ? question.node : rules.addressNode[packet.source]!
  if (node < 0) {
    const entry = enter(context, packet, question.entered, tell)
    if (entry.node < 0) return end(-1, entry.lost)
    node = entry.node
    balanced = entry.balanced
  }
  const dialled = findFrontend(rules, packet.destination, packet.port, packet.protocol)
  if (dialsFromItsAddress(rules, node, packet.source, packet.destination, dialled)) {
    tell(() => fromItsAddress(context, node, packet))
    packet.source = packet.destination
    // Other nodes have the address too, and keep answers to it.
    clientNode = -1
  }
  decideAtNode(rules, node, packet, decision)
  const owner = rules.addressNode[packet.destination]!
  const goesOn =
    !question.stays &&
    decision.action === ACTION_NONE &&
    owner >= 0 &&
    owner !== node &&
    (rules.addressFlags[packet.destination]! & ADDRESS_NODE) !== 0
  if (!goesOn) return end(node)
  const { source, destination, port, protocol } = packet
  const passage = { node, source, seen: source, destination, port, protocol, dialledPort: port }
  if (told || egressFate(context, passage) !== REASON_NONE) {
    const judged = judgeEgress(context, passage)
    if (judged !== null) tell(() => judged.step)
    if (judged !== null && judged.reason !== REASON_NONE) stopped = judged
  }
  if (stopped !== null) return end(node)
  goOnward(context, packet, node, owner, tell)
  decideAtNode(rules, owner, packet, decision)
  return end(owner)
}

function fromItsAddress(
  context: ExplainContext,
  node: NodeId,
  packet: { readonly source: AddressId; readonly destination: AddressId },
): Step {
  const { registry, rules } = context
  const address = registry.addressText(packet.destination)
  const isLoopback = (rules.addressFlags[packet.destination]! & ADDRESS_LOOPBACK) !== 0
  const detail = isLoopback
    ? `${address} is this node itself: what one of its processes sends there has a loopback address as its source, and not ${registry.addressText(packet.source)}`
    : `ipvs has ${address} on kube-ipvs0: a process of the node that dials it gets it as its source too, in place of ${registry.addressText(packet.source)}`
  return { at: `node ${context.nodeName(node)}`, stage: 'route', detail }
}

/** Its own node, or the one where a packet with a pod's source is said to be seen. */
function clientNodeOf(rules: RuleColumns, question: PacketQuestion): number {
  const owner = rules.addressNode[question.source]!
  if (owner >= 0 || question.node < 0) return owner
  return (rules.addressFlags[question.source]! & (ADDRESS_POD_RANGE | ADDRESS_DETECTED)) !== 0 ? question.node : -1
}

/** No rule here is for another node's address: the packet goes there, from a pod with its node's address. */
function goOnward(
  context: ExplainContext,
  packet: { source: AddressId; destination: AddressId },
  node: NodeId,
  owner: number,
  tell: Tell,
): void {
  const { rules, registry } = context
  const before = packet.source
  const leaves = leavesCluster(rules, before, packet.destination)
  if (leaves) packet.source = rules.nodeRemoteEgress[node * 2 + familyOf(rules, packet.destination)]!
  tell(() => {
    const address = registry.addressText(packet.destination)
    const hidden = leaves
      ? `; the network plugin masquerades pod traffic out of the pod range, so ${registry.addressText(before)} arrives there as ${registry.addressText(packet.source)}`
      : ''
    const detail = `${address} is an address of node ${context.nodeName(owner)}: the packet goes there untranslated and is decided there${hidden}`
    return { at: `node ${context.nodeName(node)}`, stage: 'route', detail }
  })
}

/** Where a packet from outside the cluster comes in. */
function enter(
  context: ExplainContext,
  packet: { source: AddressId; sourcePort: number; destination: AddressId; port: Port; protocol: Protocol },
  entered: number,
  tell: Tell,
): { readonly node: NodeId; readonly lost: number; readonly balanced: boolean } {
  const { rules, registry } = context
  const frontend = findFrontend(rules, packet.destination, packet.port, packet.protocol)
  const kind = frontend < 0 ? -1 : rules.frontendKind[frontend]!
  if (kind === FRONTEND_LOAD_BALANCER_IP || kind === FRONTEND_BALANCER_PROXY) {
    const own = kind === FRONTEND_LOAD_BALANCER_IP ? rules.addressNode[packet.destination]! : -1
    if (own >= 0) {
      tell(() => {
        const detail = `${registry.addressText(packet.destination)} is an address of node ${context.nodeName(own)}: that is where the packet comes in`
        return { at: 'client', stage: 'route', detail }
      })
      return { node: own, lost: REASON_NONE, balanced: false }
    }
    const dialled = packet.destination
    const node = throughBalancer(context, frontend, dialled, entered, tell)
    if (node < 0) return { node, lost: REASON_NO_HEALTHY_NODE, balanced: false }
    if (kind === FRONTEND_BALANCER_PROXY) {
      const hides = (rules.addressFlags[packet.destination]! & ADDRESS_BALANCER) !== 0
      if (hides) {
        packet.source = packet.destination
        packet.sourcePort = 0
      }
      packet.destination = rules.nodePrimary[node * 2 + familyOf(rules, packet.destination)]!
      packet.port = rules.frontendNodePort[frontend]!
      tell(() => {
        const to = joinPort(registry.addressText(packet.destination), packet.port)
        const opens = `it ends the client's connection and opens its own, ${registry.addressText(packet.source)} → ${to}; the client's address is known to it alone`
        const keeps = `it sends the connection on to ${to} and keeps the client's address`
        const named = context.balancerName(registry.addressText(dialled))
        const why = named === '' ? 'ipMode: Proxy in status.loadBalancer.ingress' : `load balancer ${named}`
        return { at: 'load balancer', stage: 'route', detail: `${why}: ${hides ? opens : keeps}` }
      })
    }
    return { node, lost: REASON_NONE, balanced: announcedAt(context, frontend, dialled) === undefined }
  }
  const owner = rules.addressNode[packet.destination]!
  const destination = (): string => registry.addressText(packet.destination)
  if (owner >= 0) {
    const whose = (rules.addressFlags[packet.destination]! & ADDRESS_NODE) !== 0 ? 'an address' : 'a pod'
    tell(() => ({
      at: 'client',
      stage: 'route',
      detail: `${destination()} is ${whose} of node ${context.nodeName(owner)}: that is where the packet comes in`,
    }))
    return { node: owner, lost: REASON_NONE, balanced: false }
  }
  const ofCluster =
    frontend >= 0 ||
    (rules.addressFlags[packet.destination]! &
      (ADDRESS_EXTERNAL_FRONTEND | ADDRESS_IN_SERVICE_CIDR | ADDRESS_POD_RANGE | ADDRESS_LOOPBACK)) !==
      0
  if (!ofCluster) {
    const detail = (): string => `neither the source nor ${destination()} belongs to the cluster`
    tell(() => ({ at: 'client', stage: 'route', detail: detail() }))
    return { node: -1, lost: REASON_NO_ROUTE, balanced: false }
  }
  const node = entered >= 0 ? entered : firstReady(context)
  if (node < 0) {
    tell(() => ({ at: 'client', stage: 'route', detail: 'no node of the cluster is ready to take the packet in' }))
    return { node: -1, lost: REASON_NO_ROUTE, balanced: false }
  }
  tell(() => {
    const detail = `${destination()} is no machine's address: routers may bring the packet to any node; ${context.nodeName(node)} is followed here`
    return { at: 'client', stage: 'route', detail }
  })
  return { node, lost: REASON_NONE, balanced: false }
}

/** @returns -1 where no node passes the health check */
function throughBalancer(
  context: ExplainContext,
  frontend: FrontendId,
  destination: AddressId,
  entered: number,
  tell: Tell,
): number {
  const { rules } = context
  const start = rules.frontendNodeStart[frontend]!
  const targets = Array.from(rules.balancerNodes.subarray(start, start + rules.frontendNodeCount[frontend]!))
  const nodes = targets.filter((one) => one !== BALANCER_NODE_DOWN)
  const hasNoPort = rules.frontendKind[frontend] === FRONTEND_BALANCER_PROXY && rules.frontendNodePort[frontend] === 0
  const node = hasNoPort || nodes.length === 0 ? -1 : entered >= 0 ? entered : nodes[0]!
  const down = targets.length - nodes.length
  if (node >= 0 && down > 0) {
    const detail = `${down === 1 ? 'one of its targets is a node that is' : `${down} of its targets are nodes that are`} down: what goes there is lost`
    tell(() => ({ at: 'load balancer', stage: 'route', detail }))
  }
  tell(() => balancerStep(context, frontend, destination, node, nodes, hasNoPort))
  return node
}

function balancerStep(
  context: ExplainContext,
  frontend: FrontendId,
  destination: AddressId,
  node: NodeId,
  nodes: readonly number[],
  hasNoPort: boolean,
): Step {
  const { proxied, title } = context.port(context.rules.frontendServicePort[frontend]!)
  const announced = announcedAt(context, frontend, destination)
  const check = announced
    ? announcement(announced, proxied.externalLocal, title)
    : proxied.externalLocal
      ? `externalTrafficPolicy: Local of ${title}: healthCheckNodePort answers 200 on nodes with a ready endpoint only`
      : `externalTrafficPolicy: Cluster of ${title}: every ready node is healthy`
  if (hasNoPort) {
    const detail = `${title} has no node port (allocateLoadBalancerNodePorts: false): the load balancer has no node to send to`
    return { at: 'load balancer', stage: 'route', detail }
  }
  if (node < 0) {
    return { at: 'load balancer', stage: 'route', detail: `${check}; no node ${announced ? 'answers' : 'passes'}` }
  }
  const names = listed(nodes.map((one) => context.nodeName(one)))
  const followed = nodes.length === 1 ? '' : `; ${context.nodeName(node)} is followed here`
  if (context.directory.views?.balanced.has(title.replace('Service ', '')) === true) {
    return { at: 'load balancer', stage: 'route', detail: `at that time it sends to ${names}${followed}` }
  }
  const verb = announced ? 'answer' : 'pass'
  const passing = nodes.length === 1 ? `${names} ${verb}${announced ? 's' : 'es'}` : `${names} ${verb}`
  return { at: 'load balancer', stage: 'route', detail: `${check}; ${passing}${followed}` }
}

function announcedAt(context: ExplainContext, frontend: FrontendId, destination: AddressId): Announced | undefined {
  const { proxied } = context.port(context.rules.frontendServicePort[frontend]!)
  const dialled = context.registry.addressText(destination)
  return proxied.frontends.find(({ address, announced }) => announced !== undefined && address === dialled)?.announced
}

/** Who answers for an address that no cloud takes in. */
function announcement({ way, nodes }: Announced, local: boolean, title: string): string {
  if (way === 'kube-vip') return `kube-vip.io/vipHost of ${title}: ${nodes.join(', ')} has the address`
  if (nodes.length === 0) return `MetalLB: no advertisement has the address's pool on any node`
  const who = `nodes that ${way === 'L2' ? 'the L2Advertisement' : 'the BGPAdvertisement'} selects${local ? ` and that have an endpoint (externalTrafficPolicy: Local of ${title})` : ''}`
  return way === 'L2'
    ? `MetalLB, layer 2: of the ${who} the one with the smallest SHA-256 of NODE#ADDRESS answers ARP, and no other takes anything in`
    : `MetalLB, BGP: routers spread over the ${who}`
}

function firstReady(context: ExplainContext): number {
  const ready = context.cluster.nodes.find((node) => node.ready)
  return ready === undefined ? -1 : context.registry.node(ready.name)
}
