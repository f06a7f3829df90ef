/**
 * What kube-proxy's rules on one node say about the first packet of a connection.
 *
 * `decide` is the only place that knows the order of the rules: frontend → source ranges → policy → endpoint set →
 * verdict → masquerade. It chooses nothing and keeps no state; `schedulers.ts` picks the endpoint out of the set. `replay`
 * and `explain` both call it, so they cannot disagree.
 *
 * Cost: one probe of the frontend table, two binary searches at most; allocates nothing (the answer is a reused record).
 * Source: pkg/proxy/{nftables,iptables,ipvs}/proxier.go and pkg/proxy/topology.go of Kubernetes 1.31 to 1.35.
 */

import {
  REASON_BACKEND_GONE,
  REASON_ENDPOINT_IS_SERVICE,
  REASON_ENDPOINT_NOT_ROUTED,
  REASON_NO_ENDPOINT,
  REASON_NO_LOCAL_ENDPOINT,
  REASON_NO_SUCH_PORT,
  REASON_NODE_IP_NOT_IN_RANGES,
  REASON_NONE,
  REASON_NOT_IN_SOURCE_RANGES,
  REASON_POD_STOPPED,
  REASON_UNALLOCATED_CLUSTER_IP,
} from './drop-reasons.ts'
import type { AddressId, EndpointId, FrontendId, NodeId, Port, Protocol, ServicePortId, SetId } from './kinds.ts'
import { PROTOCOL_SCTP } from './packet.ts'
import {
  ADDRESS_CLUSTER_IP,
  ADDRESS_DETECTED,
  ADDRESS_EXTERNAL_FRONTEND,
  ADDRESS_IN_SERVICE_CIDR,
  ADDRESS_KEEPS_SOURCE,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_NODE_PORTS,
  ADDRESS_ON_EVERY_NODE,
  ADDRESS_POD,
  ADDRESS_POD_RANGE,
  ADDRESS_SILENT,
  ADDRESS_STOPPED,
  DETECTOR_CLUSTER_CIDR,
  DETECTOR_LOCAL_PODS,
  DETECTOR_NODE_CIDR,
  DETECTOR_NONE,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_CLUSTER_IP,
  FRONTEND_EXTERNAL_IP,
  FRONTEND_HEALTH_CHECK,
  FRONTEND_LOAD_BALANCER_IP,
  FRONTEND_NODE_PORT,
  familyOf,
  frontendHash,
  MODE_IPTABLES,
  MODE_IPVS,
  MODE_NFTABLES,
  nodePortAddress,
  type RuleColumns,
  SERVICE_EXTERNAL_LOCAL,
  SERVICE_HAS_ANY,
  SERVICE_INTERNAL_LOCAL,
  SERVICE_USES_CLUSTER,
  SET_NOWHERE,
  SETTING_DETECTOR,
  SETTING_DROP_UNALLOCATED,
  SETTING_EGRESS_MASQUERADE,
  SETTING_FRONTEND_MASK,
  SETTING_LOCAL_DROPS_ALL,
  SETTING_MASQUERADE_ALL,
  SETTING_MODE,
} from './rule-columns.ts'

/** Where the source stands, seen from the node that decides. */
export const SOURCE_EXTERNAL = 0
/** Matches the node's local-traffic detector: kube-proxy takes it for a pod. */
export const SOURCE_POD = 1
/** One of this node's own addresses. */
export const SOURCE_NODE = 2

/** Which endpoint set was used, and why. */
export const USED_NONE = 0
export const USED_CLUSTER = 1
export const USED_LOCAL = 2
/** External policy Local, but the client is in the cluster: treated as cluster traffic. */
export const USED_SHORT_CIRCUIT = 3
/** ipvs: Local without a local endpoint falls back to the cluster's. */
export const USED_FALLBACK = 4

/** Why the connection is masqueraded; bits, 0 for "it is not". The hairpin case depends on the endpoint chosen. */
export const MASQUERADE_ALL = 1
/** To a cluster IP from something that is no pod. */
export const MASQUERADE_OFF_CLUSTER = 2
/** To an external frontend under policy Cluster. */
export const MASQUERADE_EXTERNAL = 4
/** Short-circuit from the node itself. */
export const MASQUERADE_NODE = 8
export const MASQUERADE_HAIRPIN = 16
/** Leaving the cluster: the network plugin's masquerade of pods' traffic to the outside. */
export const MASQUERADE_EGRESS = 32
/** ipvs: the port dialled is some Service's node port, whose masquerade rule looks at nothing but the number. */
export const MASQUERADE_NODE_PORT = 64

/** `action`: what the rules do with the packet. */
export const ACTION_NONE = 0
export const ACTION_ACCEPT = 1
export const ACTION_DNAT = 2
export const ACTION_DROP = 3
export const ACTION_REJECT = 4
export const ACTION_NAMES: readonly string[] = ['none', 'accept', 'dnat', 'drop', 'reject']

/** What rules read of a first packet, as it stands when it reaches a node; reused from call to call, as the answer is. */
export interface PacketHeader {
  source: AddressId
  destination: AddressId
  /** The destination's. */
  port: Port
  protocol: Protocol
}

/** The answer, reused from call to call. */
export interface Decision {
  action: number
  reason: number
  /** Frontend index, or -1. */
  frontend: FrontendId
  /** Service port id, or -1. */
  servicePort: ServicePortId
  source: number
  used: number
  /** Run of `members` that a new connection may be given. */
  setStart: number
  setCount: number
  /** MASQUERADE_* bits, hairpin apart. */
  masquerade: number
  /** Source ranges: -1 none written, 0 outside, 1 inside, 2 let through as the VIP itself. */
  ranges: number
}

export function createDecision(): Decision {
  return {
    action: ACTION_NONE,
    reason: REASON_NONE,
    frontend: -1,
    servicePort: -1,
    source: SOURCE_EXTERNAL,
    used: USED_NONE,
    setStart: 0,
    setCount: 0,
    masquerade: 0,
    ranges: -1,
  }
}

/** Index of the frontend at (address, port, protocol), or -1. */
export function findFrontend(rules: RuleColumns, address: AddressId, port: Port, protocol: Protocol): FrontendId {
  const table = rules.frontendTable
  const mask = rules.settings[SETTING_FRONTEND_MASK]
  for (let i = frontendHash(address, port, protocol) & mask; ; i = (i + 1) & mask) {
    const base = i << 2
    const index = table[base + 3]
    if (index === 0) return -1
    if (table[base] === address && table[base + 1] === port && table[base + 2] === protocol) return index - 1
  }
}

/**
 * How the source looks from a node: the detector's word comes first, as its rule does.
 *
 * Invariant: without source ranges (`frontendRangeCount` is 0) `decide` depends on the source by this class alone. fast-setup.ts
 * caches its answers by (frontend, node, class); test/core/decide-classes.test.ts holds it.
 */
export function classifySource(rules: RuleColumns, node: NodeId, source: AddressId): number {
  if (isDetected(rules, node, source)) return SOURCE_POD
  const flags = rules.addressFlags[source]
  const own = (flags & ADDRESS_NODE) !== 0 && rules.addressNode[source] === node
  if (own || (flags & ADDRESS_LOOPBACK) !== 0) return SOURCE_NODE
  return isBoundVip(rules, source) ? SOURCE_NODE : SOURCE_EXTERNAL
}

/** An address that ipvs has on kube-ipvs0 of every node: as a source it is the node's own. */
function isBoundVip(rules: RuleColumns, address: AddressId): boolean {
  return (rules.addressFlags[address] & ADDRESS_ON_EVERY_NODE) !== 0
}

/**
 * Whether a process of the node that dials an address has that address as its source as well: the kernel takes for a destination of
 * its own the same address as source (ip_route_output). Loopback is such, and in ipvs mode what Services have on kube-ipvs0.
 *
 * @param frontend  at the address and port dialled, or -1
 */
export function dialsFromItsAddress(
  rules: RuleColumns,
  node: NodeId,
  source: AddressId,
  destination: AddressId,
  frontend: FrontendId,
): boolean {
  if (!isOwnAddress(rules, node, source)) return false
  if ((rules.addressFlags[destination] & ADDRESS_LOOPBACK) !== 0) {
    return (rules.addressFlags[source] & ADDRESS_LOOPBACK) === 0
  }
  if (frontend < 0 || rules.settings[SETTING_MODE] !== MODE_IPVS) return false
  const kind = rules.frontendKind[frontend]
  const bound = kind === FRONTEND_CLUSTER_IP || kind === FRONTEND_EXTERNAL_IP || kind === FRONTEND_LOAD_BALANCER_IP
  return bound && (rules.addressFlags[destination] & ADDRESS_NODE) === 0
}

/** Whether the local-traffic detector takes a source for a pod; a node's address in the cluster CIDR counts too. */
function isDetected(rules: RuleColumns, node: NodeId, source: AddressId): boolean {
  switch (rules.settings[SETTING_DETECTOR]) {
    case DETECTOR_CLUSTER_CIDR:
      return (rules.addressFlags[source] & ADDRESS_DETECTED) !== 0
    case DETECTOR_NODE_CIDR:
      return rules.addressDetectNode[source] === node
    case DETECTOR_LOCAL_PODS:
      return rules.addressNode[source] === node && (rules.addressFlags[source] & ADDRESS_POD) !== 0
    default:
      return false
  }
}

/** Whether a pod's source would be recognised at all: without a detector cluster IP traffic is never masqueraded. */
function hasDetector(rules: RuleColumns): boolean {
  return rules.settings[SETTING_DETECTOR] !== DETECTOR_NONE
}

/** Whether a packet to this address is delivered on the node itself (INPUT) and is not sent on. */
export function isOwnAddress(rules: RuleColumns, node: NodeId, address: AddressId): boolean {
  const flags = rules.addressFlags[address]
  return ((flags & ADDRESS_NODE) !== 0 && rules.addressNode[address] === node) || (flags & ADDRESS_LOOPBACK) !== 0
}

/**
 * What POSTROUTING makes of a translated packet: by where it really goes, which is not what was dialled.
 *
 * A packet from elsewhere to an address of the node itself goes from PREROUTING to INPUT and never gets there, so its mark has no
 * effect; the node's own packets to it pass OUTPUT and POSTROUTING over the loopback interface. What carries no mark meets the network
 * plugin's rule: pods' traffic out of the pods' range.
 *
 * @param marks  MASQUERADE_* bits of the rules and of a hairpin
 * @returns      MASQUERADE_* bits that count, 0 where the source is kept
 */
export function masqueradeTowards(
  rules: RuleColumns,
  node: NodeId,
  source: AddressId,
  backend: AddressId,
  marks: number,
): number {
  if (isOwnAddress(rules, node, backend)) {
    return isOwnAddress(rules, node, source) || isBoundVip(rules, source) ? marks : 0
  }
  if (marks !== 0) return marks
  return leavesCluster(rules, source, backend) ? MASQUERADE_EGRESS : 0
}

/** Whether the network plugin masquerades a packet: of a pod or the pods' range, for what is neither in that range nor a known pod elsewhere. */
export function leavesCluster(rules: RuleColumns, source: AddressId, destination: AddressId): boolean {
  const from = rules.addressFlags[source]
  const to = rules.addressFlags[destination]
  return (
    rules.settings[SETTING_EGRESS_MASQUERADE] !== 0 &&
    (from & (ADDRESS_POD | ADDRESS_POD_RANGE)) !== 0 &&
    (from & (ADDRESS_NODE | ADDRESS_KEEPS_SOURCE)) === 0 &&
    (to & ADDRESS_POD_RANGE) === 0 &&
    ((to & ADDRESS_NODE) !== 0 || rules.addressNode[destination] < 0)
  )
}

/** MASQUERADE_HAIRPIN where the endpoint is the client itself; ipvs looks for that among the node's own endpoints alone (KUBE-LOOP-BACK). Twin: fast-setup.ts `translate`. */
export function hairpinMark(rules: RuleColumns, node: NodeId, source: AddressId, endpoint: EndpointId): number {
  const isItself = rules.endpointAddress[endpoint] === source
  const isMarked = rules.settings[SETTING_MODE] !== MODE_IPVS || rules.endpointNode[endpoint] === node
  return isItself && isMarked ? MASQUERADE_HAIRPIN : 0
}

/** The address that masquerading takes on a node: that of the interface towards the endpoint. Twin: fast-setup.ts `translate`. */
export function masqueradeAddress(rules: RuleColumns, node: NodeId, endpoint: EndpointId, family: number): AddressId {
  const backend = rules.endpointAddress[endpoint]
  const overBridge = rules.addressNode[backend] === node && !isOwnAddress(rules, node, backend)
  return (overBridge ? rules.nodeLocalEgress : rules.nodeRemoteEgress)[node * 2 + family]
}

/** An endpoint at such an address may not be reached: `endpointFate` tells. */
export const ADDRESS_DOUBTFUL: number =
  ADDRESS_CLUSTER_IP |
  ADDRESS_IN_SERVICE_CIDR |
  ADDRESS_EXTERNAL_FRONTEND |
  ADDRESS_NODE |
  ADDRESS_STOPPED |
  ADDRESS_SILENT

/**
 * What becomes of a packet on the node that has translated it to an endpoint that is an address of a Service itself: NAT rules
 * see a connection once, so that Service's are not asked.
 *
 * nftables refuses cluster IPs after translation (chain cluster-ips-check), ipvs has them and load balancers' addresses on
 * kube-ipvs0, where nobody listens; iptables refuses those of Services without endpoints in its filter table and lets others go
 * by the node's routes, which lead nowhere. On a node's own address nobody listens at a node port.
 *
 * @returns REASON_NONE where the packet gets to the endpoint's address
 */
export function endpointFate(rules: RuleColumns, node: NodeId, endpoint: EndpointId, protocol: Protocol): number {
  const address = rules.endpointAddress[endpoint]
  const port = rules.endpointPort[endpoint]
  const flags = rules.addressFlags[address]
  const mode = rules.settings[SETTING_MODE]
  if ((flags & ADDRESS_STOPPED) !== 0) return REASON_POD_STOPPED
  if ((flags & ADDRESS_SILENT) !== 0) return REASON_BACKEND_GONE
  if ((flags & ADDRESS_CLUSTER_IP) !== 0) {
    if (mode !== MODE_IPTABLES) return REASON_ENDPOINT_IS_SERVICE
    const frontend = findFrontend(rules, address, port, protocol)
    const refused = frontend >= 0 && (rules.serviceFlags[rules.frontendServicePort[frontend]] & SERVICE_HAS_ANY) === 0
    return refused ? REASON_ENDPOINT_IS_SERVICE : REASON_ENDPOINT_NOT_ROUTED
  }
  if (isOwnAddress(rules, node, address)) {
    return isNodePort(rules, address, port, protocol) ? REASON_ENDPOINT_IS_SERVICE : REASON_NONE
  }
  // A range that was only assumed may well hold real machines.
  if ((flags & ADDRESS_IN_SERVICE_CIDR) !== 0 && rules.settings[SETTING_DROP_UNALLOCATED] !== 0) {
    return REASON_ENDPOINT_NOT_ROUTED
  }
  return mode === MODE_IPVS && isOutwardAddress(rules, address) ? REASON_ENDPOINT_IS_SERVICE : REASON_NONE
}

/** An address of a load balancer or external IP that is no node's own. */
export function isOutwardAddress(rules: RuleColumns, address: AddressId): boolean {
  return (rules.addressFlags[address] & (ADDRESS_EXTERNAL_FRONTEND | ADDRESS_NODE)) === ADDRESS_EXTERNAL_FRONTEND
}

/** Whether a Service has this node port at a node's address. */
export function isNodePort(rules: RuleColumns, address: AddressId, port: Port, protocol: Protocol): boolean {
  if ((rules.addressFlags[address] & ADDRESS_NODE_PORTS) === 0) return false
  const found = findFrontend(rules, nodePortAddress(rules, address), port, protocol)
  return found >= 0 && rules.frontendKind[found] !== FRONTEND_HEALTH_CHECK
}

/** Endpoint set of a service port on a node: the run's entry for the node, or the default. */
export function clusterSetOf(rules: RuleColumns, servicePort: ServicePortId, node: NodeId): SetId {
  const set = searchOverride(
    rules,
    rules.clusterOverrideStart[servicePort],
    rules.clusterOverrideCount[servicePort],
    node,
  )
  return set < 0 ? rules.clusterSet[servicePort] : set
}

/** Local endpoint set of a service port on a node; set 0 (empty) where it has none. */
export function localSetOf(rules: RuleColumns, servicePort: ServicePortId, node: NodeId): SetId {
  const set = searchOverride(rules, rules.localOverrideStart[servicePort], rules.localOverrideCount[servicePort], node)
  return Math.max(set, 0)
}

function searchOverride(rules: RuleColumns, start: number, count: number, node: NodeId): SetId {
  const { overrides } = rules
  let low = start
  let high = start + count
  while (low < high) {
    const middle = (low + high) >> 1
    if (overrides[middle * 2] < node) low = middle + 1
    else high = middle
  }
  return low < start + count && overrides[low * 2] === node ? overrides[low * 2 + 1] : -1
}

/** Whether `address` lies in any of the frontend's source ranges. */
function inRanges(rules: RuleColumns, frontend: FrontendId, address: AddressId): boolean {
  const { ranges, addressWords } = rules
  const end = rules.frontendRangeStart[frontend] + rules.frontendRangeCount[frontend]
  const a = address * 4
  for (let range = rules.frontendRangeStart[frontend]; range < end; range++) {
    const r = range * 8
    if (
      (addressWords[a] & ranges[r + 4]) === ranges[r] &&
      (addressWords[a + 1] & ranges[r + 5]) === ranges[r + 1] &&
      (addressWords[a + 2] & ranges[r + 6]) === ranges[r + 2] &&
      (addressWords[a + 3] & ranges[r + 7]) === ranges[r + 3]
    ) {
      return true
    }
  }
  return false
}

/**
 * Fills `out` with what node `node` does to a new connection's first packet.
 *
 * @param exact  the frontend at exactly this address and port (`findFrontend`), where the caller knows it
 * Outcomes: `action` none (no rule matches), accept (health check port), dnat (with the set to choose from), drop or
 *           reject (with the reason).
 */
export function decide(
  rules: RuleColumns,
  node: NodeId,
  packet: PacketHeader,
  out: Decision,
  exact: FrontendId = findFrontend(rules, packet.destination, packet.port, packet.protocol),
): void {
  const { source, destination, port, protocol } = packet
  const mode = rules.settings[SETTING_MODE]
  out.source = classifySource(rules, node, source)
  out.used = USED_NONE
  out.setStart = 0
  out.setCount = 0
  out.masquerade = 0
  out.ranges = -1
  out.reason = REASON_NONE
  out.servicePort = -1
  out.frontend = frontendAt(rules, node, destination, port, protocol, exact)
  if (out.frontend < 0) {
    undecided(rules, mode, node, destination, out)
    return
  }
  const kind = rules.frontendKind[out.frontend]
  const servicePort = rules.frontendServicePort[out.frontend]
  out.servicePort = servicePort
  if (kind === FRONTEND_HEALTH_CHECK) {
    out.action = ACTION_ACCEPT
    return
  }
  const flags = rules.serviceFlags[servicePort]
  const hasAny = (flags & SERVICE_HAS_ANY) !== 0

  if (kind === FRONTEND_LOAD_BALANCER_IP && rules.frontendRangeCount[out.frontend] > 0) {
    // iptables installs no range filter for a Service without endpoints, so its clients get the REJECT instead.
    if ((mode !== MODE_IPTABLES || hasAny) && !passesRanges(rules, node, packet, out)) return
  }

  chooseSet(rules, node, kind, out)
  if (out.setCount === 0) {
    // What iptables refuses at load-balancer and external addresses stands in INPUT and FORWARD: a node's own packets to an address
    // elsewhere pass neither, and go where the address is.
    const isVip = kind === FRONTEND_LOAD_BALANCER_IP || kind === FRONTEND_EXTERNAL_IP
    if (
      mode === MODE_IPTABLES &&
      isVip &&
      isOwnAddress(rules, node, source) &&
      !isOwnAddress(rules, node, destination)
    ) {
      out.action = ACTION_NONE
      return
    }
    if (hasAny && out.setStart !== SET_NOWHERE && mode !== MODE_IPVS) {
      out.action = ACTION_DROP
      out.reason = REASON_NO_LOCAL_ENDPOINT
    } else {
      out.action = ACTION_REJECT
      out.reason = REASON_NO_ENDPOINT
    }
    return
  }
  out.action = ACTION_DNAT
  out.masquerade = masqueradeOf(rules, kind, flags, out)
  if (mode === MODE_IPVS && out.masquerade === 0 && hasNumberOfNodePort(rules, kind, destination, port, protocol)) {
    out.masquerade = MASQUERADE_NODE_PORT
  }
  // Without a detector ipvs still masquerades what a node dials from a cluster IP: set match "src,dst" of KUBE-CLUSTER-IP.
  if (kind === FRONTEND_CLUSTER_IP && mode === MODE_IPVS && !hasDetector(rules)) {
    const own = findFrontend(rules, source, port, protocol)
    if (own >= 0 && rules.frontendKind[own] === FRONTEND_CLUSTER_IP) out.masquerade |= MASQUERADE_OFF_CLUSTER
  }
}

/**
 * ipvs has cluster IPs and load balancers' addresses on the node, so what goes there is for an address of the node (dst-type LOCAL) as node
 * ports are; and KUBE-NODE-PORT, which comes before such packets are let by, asks for the port's number alone. SCTP's set has addresses.
 */
function hasNumberOfNodePort(
  rules: RuleColumns,
  kind: number,
  destination: AddressId,
  port: Port,
  protocol: Protocol,
): boolean {
  if ((kind !== FRONTEND_CLUSTER_IP && kind !== FRONTEND_LOAD_BALANCER_IP) || protocol === PROTOCOL_SCTP) return false
  const found = findFrontend(rules, nodePortAddress(rules, destination), port, protocol)
  if (found < 0 || rules.frontendKind[found] !== FRONTEND_NODE_PORT) return false
  return (rules.serviceFlags[rules.frontendServicePort[found]] & SERVICE_EXTERNAL_LOCAL) === 0
}

/** Frontend as this node sees it: VIPs anywhere, node ports and health check ports on its own serving addresses. */
function frontendAt(
  rules: RuleColumns,
  node: NodeId,
  destination: AddressId,
  port: Port,
  protocol: Protocol,
  exact: FrontendId,
): FrontendId {
  if (exact >= 0 && rules.frontendKind[exact] !== FRONTEND_BALANCER_PROXY) return exact
  const flags = rules.addressFlags[destination]
  const local =
    (flags & ADDRESS_LOOPBACK) !== 0 || ((flags & ADDRESS_NODE) !== 0 && rules.addressNode[destination] === node)
  if (!local) return -1
  const found = findFrontend(rules, nodePortAddress(rules, destination), port, protocol)
  if (found < 0) return -1
  if ((flags & ADDRESS_NODE_PORTS) !== 0) return found
  // Two kinds of iptables rules match every local address (dst-type LOCAL), served or not: those that accept a health check
  // port, and those that refuse a node port without endpoints.
  if (rules.settings[SETTING_MODE] !== MODE_IPTABLES) return -1
  const servicePort = rules.frontendServicePort[found]
  const everywhere =
    rules.frontendKind[found] === FRONTEND_HEALTH_CHECK || (rules.serviceFlags[servicePort] & SERVICE_HAS_ANY) === 0
  return everywhere ? found : -1
}

/** No Service at this address and port. */
function undecided(rules: RuleColumns, mode: number, node: NodeId, destination: AddressId, out: Decision): void {
  const flags = rules.addressFlags[destination]
  // ipvs refuses what it does not serve at all addresses that it has bound, which are not those of the node's other interfaces.
  const isGuarded =
    mode === MODE_IPVS
      ? isBoundVip(rules, destination) && !isOwnAddress(rules, node, destination)
      : mode === MODE_NFTABLES && (flags & ADDRESS_CLUSTER_IP) !== 0
  if (isGuarded) {
    out.action = ACTION_REJECT
    out.reason = REASON_NO_SUCH_PORT
  } else if (
    mode === MODE_NFTABLES &&
    (flags & ADDRESS_IN_SERVICE_CIDR) !== 0 &&
    (flags & ADDRESS_CLUSTER_IP) === 0 &&
    rules.settings[SETTING_DROP_UNALLOCATED] !== 0
  ) {
    out.action = ACTION_DROP
    out.reason = REASON_UNALLOCATED_CLUSTER_IP
  } else {
    out.action = ACTION_NONE
  }
}

/** Whether source ranges let the packet pass; else `out` is refused. */
function passesRanges(rules: RuleColumns, node: NodeId, packet: PacketHeader, out: Decision): boolean {
  const { source, destination, port, protocol } = packet
  const mode = rules.settings[SETTING_MODE]
  const primary = rules.nodePrimary[node * 2 + familyOf(rules, destination)]
  const nodeInRanges = primary >= 0 && inRanges(rules, out.frontend, primary)
  if (inRanges(rules, out.frontend, source)) {
    out.ranges = 1
    return true
  }
  // A node that reaches a VIP of the Service may carry a VIP as source; it is let in where the node's address would be.
  const vip = nodeInRanges ? findFrontend(rules, source, port, protocol) : -1
  if (vip >= 0 && rules.frontendServicePort[vip] === out.servicePort) {
    out.ranges = 2
    return true
  }
  out.ranges = 0
  out.action = ACTION_DROP
  out.reason =
    mode === MODE_IPVS && out.source === SOURCE_NODE ? REASON_NODE_IP_NOT_IN_RANGES : REASON_NOT_IN_SOURCE_RANGES
  return false
}

function chooseSet(rules: RuleColumns, node: NodeId, kind: number, out: Decision): void {
  const { servicePort } = out
  const mode = rules.settings[SETTING_MODE]
  const flags = rules.serviceFlags[servicePort]
  const internal = kind === FRONTEND_CLUSTER_IP
  const wantsLocal = (flags & (internal ? SERVICE_INTERNAL_LOCAL : SERVICE_EXTERNAL_LOCAL)) !== 0
  if (!wantsLocal) {
    use(rules, clusterSetOf(rules, servicePort, node), USED_CLUSTER, out)
    return
  }
  const isInside = !internal && mode !== MODE_IPVS && out.source !== SOURCE_EXTERNAL
  const isDropped =
    rules.settings[SETTING_LOCAL_DROPS_ALL] !== 0 && rules.setCount[localSetOf(rules, servicePort, node)] === 0
  if (isInside && !isDropped) {
    use(rules, clusterSetOf(rules, servicePort, node), USED_SHORT_CIRCUIT, out)
    return
  }
  use(rules, localSetOf(rules, servicePort, node), USED_LOCAL, out)
  if (out.setCount === 0 && mode === MODE_IPVS && (flags & SERVICE_USES_CLUSTER) !== 0) {
    use(rules, clusterSetOf(rules, servicePort, node), USED_FALLBACK, out)
  }
}

function use(rules: RuleColumns, set: SetId, used: number, out: Decision): void {
  out.used = used
  out.setStart = rules.setStart[set]
  out.setCount = rules.setCount[set]
}

function masqueradeOf(rules: RuleColumns, kind: number, flags: number, out: Decision): number {
  if (kind === FRONTEND_CLUSTER_IP) {
    if (rules.settings[SETTING_MASQUERADE_ALL] !== 0) return MASQUERADE_ALL
    return hasDetector(rules) && out.source !== SOURCE_POD ? MASQUERADE_OFF_CLUSTER : 0
  }
  if ((flags & SERVICE_EXTERNAL_LOCAL) === 0) return MASQUERADE_EXTERNAL
  return out.used === USED_SHORT_CIRCUIT && out.source === SOURCE_NODE ? MASQUERADE_NODE : 0
}
