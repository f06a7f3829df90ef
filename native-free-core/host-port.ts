/**
 * Host ports of pods, as the portmap plugin leads them: rules of the node that the pod is on, beside kube-proxy's.
 *
 * `decideAtNode` is what becomes of a packet on a node: kube-proxy's word first, then portmap's chain, which stands behind
 * kube-proxy's in PREROUTING and OUTPUT and sees whatever kube-proxy has not translated, refusals of its filter table included:
 * those look for the address before translation and no longer find it. In ipvs mode node ports are translated by INPUT only, after
 * portmap; addresses of load balancers and external IPs are let past all other chains.
 *
 * Cost: nothing where no pod has a host port; else one or two probes of the frontend table a new connection to the node itself.
 * Source: plugins/meta/portmap/portmap_iptables.go of containernetworking/plugins; pkg/proxy/ipvs/proxier.go (acceptIPVSTraffic).
 */
import {
  ACTION_DNAT,
  type Decision,
  decide,
  findFrontend,
  isNodePort,
  isOwnAddress,
  localSetOf,
  MASQUERADE_EXTERNAL,
  MASQUERADE_HAIRPIN,
  type PacketHeader,
  USED_LOCAL,
} from './decide.ts'
import { REASON_NONE, REASON_NOT_IN_SOURCE_RANGES } from './drop-reasons.ts'
import type { AddressId, FrontendId, NodeId, Port, Protocol } from './kinds.ts'
import {
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_POD,
  ADDRESS_POD_RANGE,
  FRONTEND_HEALTH_CHECK,
  FRONTEND_NODE_PORT,
  familyOf,
  HOST_PORT_ONE_ADDRESS,
  HOST_PORTS_BRIDGE,
  hostPortAddress,
  MODE_IPVS,
  MODE_NFTABLES,
  type RuleColumns,
  SERVICE_EXTERNAL_LOCAL,
  SETTING_HOST_PORTS,
  SETTING_MODE,
} from './rule-columns.ts'

/** As `decide`, host ports included. */
export function decideAtNode(
  rules: RuleColumns,
  node: NodeId,
  packet: PacketHeader,
  out: Decision,
  exact: FrontendId = findFrontend(rules, packet.destination, packet.port, packet.protocol),
): void {
  decide(rules, node, packet, out, exact)
  if (rules.settings[SETTING_HOST_PORTS] !== 0) leadToHostPort(rules, node, packet, out)
}

/** Frontend of the host port that a node's address has there, or -1. */
export function findHostPort(
  rules: RuleColumns,
  node: NodeId,
  destination: AddressId,
  port: Port,
  protocol: Protocol,
): FrontendId {
  if (rules.settings[SETTING_HOST_PORTS] === 0 || !isOwnAddress(rules, node, destination)) return -1
  const family = familyOf(rules, destination)
  const isLoopback = (rules.addressFlags[destination] & ADDRESS_LOOPBACK) !== 0
  // The kernel routes no ::1 out of the node, and there is no route_localnet for it.
  if (isLoopback && family === 1) return -1
  const anywhere = hostPortAddress(node, family)
  const one = findFrontend(rules, isLoopback ? anywhere : destination, port, protocol | HOST_PORT_ONE_ADDRESS)
  return one >= 0 ? one : findFrontend(rules, anywhere, port, protocol)
}

/** Whether what was translated to this address of a node is translated there once more. */
export function isTranslatedAgain(rules: RuleColumns, address: AddressId, port: Port, protocol: Protocol): boolean {
  if (isNodePort(rules, address, port, protocol)) return true
  const node = rules.addressNode[address]
  return node >= 0 && findHostPort(rules, node, address, port, protocol) >= 0
}

function leadToHostPort(rules: RuleColumns, node: NodeId, packet: PacketHeader, out: Decision): void {
  const { source, destination, port, protocol } = packet
  const mode = rules.settings[SETTING_MODE]
  const kind = out.frontend < 0 ? -1 : rules.frontendKind[out.frontend]
  if (mode === MODE_IPVS) {
    if (kind >= 0 && kind !== FRONTEND_NODE_PORT && kind !== FRONTEND_HEALTH_CHECK) return
  } else if (out.action === ACTION_DNAT) return
  // The only refusal that comes before translation.
  if (mode === MODE_NFTABLES && out.reason === REASON_NOT_IN_SOURCE_RANGES) return
  const frontend = findHostPort(rules, node, destination, port, protocol)
  if (frontend < 0) return
  const servicePort = rules.frontendServicePort[frontend]
  const set = localSetOf(rules, servicePort, node)
  if (rules.setCount[set] === 0) return
  // KUBE-NODE-PORT has marked it on the way to portmap's chain.
  const marked = kind === FRONTEND_NODE_PORT && mode === MODE_IPVS
  const external = marked && (rules.serviceFlags[out.servicePort] & SERVICE_EXTERNAL_LOCAL) === 0
  out.action = ACTION_DNAT
  out.reason = REASON_NONE
  out.frontend = frontend
  out.servicePort = servicePort
  out.used = USED_LOCAL
  out.setStart = rules.setStart[set]
  out.setCount = rules.setCount[set]
  out.ranges = -1
  out.masquerade = (external ? MASQUERADE_EXTERNAL : 0) | (comesBack(rules, node, source) ? MASQUERADE_HAIRPIN : 0)
}

/** Sources that portmap masquerades: the node's loopback, and the pods on the bridge, which would answer past the node. */
function comesBack(rules: RuleColumns, node: NodeId, source: AddressId): boolean {
  const flags = rules.addressFlags[source]
  if ((flags & ADDRESS_LOOPBACK) !== 0) return true
  const isPod = (flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE)) === (ADDRESS_POD | ADDRESS_POD_RANGE)
  return isPod && rules.addressNode[source] === node && rules.settings[SETTING_HOST_PORTS] === HOST_PORTS_BRIDGE
}
