/**
 * Packets that no Service is for: why kube-proxy has no rule (or refuses all the same), and where they go without one.
 */
import {
  ADDRESS_BALANCER,
  ADDRESS_CLUSTER_IP,
  ADDRESS_IN_SERVICE_CIDR,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_NODE_PORTS,
  ADDRESS_ON_EVERY_NODE,
  ADDRESS_POD_RANGE,
  FRONTEND_BALANCER_PROXY,
  familyOf,
  findFrontend,
  leavesCluster,
  MODE_IPTABLES,
  nodePortAddress,
  REASON_NONE,
  REASONS,
  SETTING_MODE,
} from '../../native-free-core/index.ts'
import type { ExplainContext } from './context.ts'
import { protocolText } from './describe.ts'
import { joinPort } from './dialled-name.ts'
import type { Approach } from './route-to-node.ts'
import { arrivingTuple, undeclaredBy } from './translate.ts'
import type { Step } from './types.ts'

/** Whom the one sees who gets it: nobody does where a rule refuses it, or where nobody has the address. */
export function untouchedSeen(context: ExplainContext, way: Approach): string[] {
  const seen = untouchedSource(context, way)
  return seen < 0 ? [] : [context.registry.addressText(seen)]
}

/** The same as an address id, -1 for nobody. */
export function untouchedSource(context: ExplainContext, way: Approach): number {
  const { rules } = context
  const owner = rules.addressNode[way.destination]!
  const isServices = (rules.addressFlags[way.destination]! & (ADDRESS_CLUSTER_IP | ADDRESS_IN_SERVICE_CIDR)) !== 0
  const isVacant = owner < 0 && (rules.addressFlags[way.destination]! & ADDRESS_POD_RANGE) !== 0
  if (way.decision.reason !== REASON_NONE || isServices || isVacant) return -1
  const leaves = owner < 0 && leavesCluster(rules, way.source, way.destination)
  return leaves ? egressAddress(context, way) : way.source
}

/** Why no Service takes the packet, and what happens then. */
export function untouchedSteps(context: ExplainContext, way: Approach): Step[] {
  const at = `node ${context.nodeName(way.node)}`
  const { reason } = way.decision
  const first: Step = { at, stage: 'frontend', detail: whyNoFrontend(context, way) }
  if (reason !== REASON_NONE) return [{ ...first, detail: `${first.detail}: ${REASONS[reason]!.sentence}` }]
  return [first, ...onItsWay(context, way, at)]
}

function whyNoFrontend(context: ExplainContext, way: Approach): string {
  const { rules, registry, compiled } = context
  const address = registry.addressText(way.destination)
  const to = `${joinPort(address, way.port)}/${protocolText(way.protocol)}`
  const flags = rules.addressFlags[way.destination]!
  const frontend = findFrontend(rules, way.destination, way.port, way.protocol)
  if (frontend >= 0 && rules.frontendKind[frontend] === FRONTEND_BALANCER_PROXY) {
    const { title } = context.port(rules.frontendServicePort[frontend]!)
    const named = context.balancerName(address)
    if (named === '')
      return `${to} is a load balancer address of ${title} with ipMode: Proxy: kube-proxy makes no rule for it`
    return `${to} stands for load balancer ${named} of ${title}: kube-proxy makes no rule for a host name, so the packet goes out to the load balancer; how that brings it back is not followed${
      (flags & ADDRESS_BALANCER) !== 0
        ? ''
        : '. It keeps client addresses, and so cannot bring a connection back to the machine that it came from (hairpin, NAT loopback): where it picks this very node, it times out'
    }`
  }
  const service = context.directory.serviceAt(address)
  if ((flags & ADDRESS_CLUSTER_IP) !== 0 && service !== undefined) {
    const ports = service.ports.map(({ port, protocol }) => `${port}/${protocol.toLowerCase()}`).join(', ')
    const quiet = rules.settings[SETTING_MODE] === MODE_IPTABLES ? '; iptables has no rule for its other ports' : ''
    return `${address} is the cluster IP of Service ${service.namespace}/${service.name}, which has ${ports} and not ${way.port}/${protocolText(way.protocol)}${quiet}`
  }
  if ((flags & ADDRESS_ON_EVERY_NODE) !== 0 && way.decision.reason !== REASON_NONE) {
    const owner = rules.addressNode[way.destination]!
    const whose = (flags & ADDRESS_NODE) !== 0 ? `, though it is an address of node ${context.nodeName(owner)}` : ''
    return `${address} is an address of a Service, and ipvs has it bound to kube-ipvs0: the packet is for this node itself${whose}, and KUBE-IPVS-FILTER refuses ports that no Service has`
  }
  if ((flags & ADDRESS_IN_SERVICE_CIDR) !== 0) {
    const quiet =
      way.decision.reason === REASON_NONE
        ? compiled.settings.mode === 'nftables'
          ? '; without ServiceCIDR objects kube-proxy has no rule for that'
          : `; ${compiled.settings.mode} has no rule for that`
        : ''
    return `${address} is in the Service CIDR and no Service has it${quiet}`
  }
  const anyNode = findFrontend(rules, nodePortAddress(rules, way.destination), way.port, way.protocol)
  if ((flags & (ADDRESS_NODE | ADDRESS_LOOPBACK)) !== 0 && (flags & ADDRESS_NODE_PORTS) === 0 && anyNode >= 0) {
    const { title } = context.port(rules.frontendServicePort[anyNode]!)
    return `${way.port} is a node port of ${title}, but ${address} does not serve node ports (${nodePortRule(context, flags)})`
  }
  return `no Service has ${to}`
}

function nodePortRule(context: ExplainContext, flags: number): string {
  const { mode, nodePortAddresses, localhostNodePorts } = context.compiled.settings
  if ((flags & ADDRESS_LOOPBACK) !== 0) {
    if (mode !== 'iptables') return `${mode} never serves them on loopback addresses`
    if (!localhostNodePorts) return 'iptables.localhostNodePorts is false'
  }
  if (nodePortAddresses !== null) return `nodePortAddresses: ${nodePortAddresses.join(', ')}`
  return `nodePortAddresses is not set, and ${mode} then serves the primary address only`
}

function onItsWay(context: ExplainContext, way: Approach, at: string): Step[] {
  const { rules, registry } = context
  const address = registry.addressText(way.destination)
  const pod = context.directory.podAt(address)
  const owner = rules.addressNode[way.destination]!
  const flags = rules.addressFlags[way.destination]!
  if (pod !== undefined) {
    const hop = owner < 0 || owner === way.node ? 'on this node, no hop' : `one hop to node ${context.nodeName(owner)}`
    return [
      { at, stage: 'route', detail: `${address} is pod ${pod.namespace}/${pod.name}: ${hop}` },
      {
        at: `pod ${pod.namespace}/${pod.name}`,
        stage: 'deliver',
        detail: `sees ${arrivingTuple(context, way)}${undeclaredBy(pod, way.port, protocolText(way.protocol).toUpperCase())}`,
      },
    ]
  }
  if (owner >= 0 && (flags & ADDRESS_NODE) !== 0) {
    const where = owner === way.node ? 'this node itself' : `node ${context.nodeName(owner)}, which decides for itself`
    return [{ at, stage: 'route', detail: `${address} is ${where}` }]
  }
  if (owner >= 0)
    return [{ at, stage: 'route', detail: `${address} is an endpoint on node ${context.nodeName(owner)}` }]
  if ((flags & ADDRESS_POD_RANGE) !== 0) {
    return [{ at, stage: 'route', detail: `${address} is in the pods' range, but no pod or endpoint has it` }]
  }
  if (!leavesCluster(rules, way.source, way.destination)) {
    return [{ at, stage: 'route', detail: `${address} is not in the cluster: the packet leaves by the node's routes` }]
  }
  const egress = registry.addressText(egressAddress(context, way))
  return [
    { at, stage: 'route', detail: `${address} is not in the cluster: the packet leaves by the node's routes` },
    {
      at,
      stage: 'masquerade',
      detail: `as ${egress}, by the network plugin and not by kube-proxy: pod traffic that leaves the pod range`,
    },
  ]
}

/** That pods' packets leave a node with. */
function egressAddress({ rules }: ExplainContext, way: Approach): number {
  return rules.nodeRemoteEgress[way.node * 2 + familyOf(rules, way.destination)]!
}
