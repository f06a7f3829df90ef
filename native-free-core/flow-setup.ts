/**
 * The way of a first packet: from its source over the rules of each node it meets to the pod, in the order of real nodes.
 *
 * Entry node (the client's own, or the load balancer's choice) → conntrack → rules (`decide`) → endpoint (`EndpointSelector`) →
 * masquerade → insert → the endpoint's node. What is created and chosen is said here, and nothing else can fail in a new way;
 * `fast-setup.ts` does the ordinary cases in one run, with the same result.
 * Cost: a look into each table that the packet meets and an insert on each node (bench: new-connections); allocates nothing.
 */

import { Conntrack, type ConntrackParts } from './conntrack.ts'
import {
  createTuples,
  ENTRY_ENDPOINT,
  ENTRY_FRONTEND_SHIFT,
  ENTRY_NODE_PROTOCOL,
  ENTRY_REPLY_DESTINATION,
  ENTRY_REPLY_PORTS,
  ENTRY_REPLY_SOURCE,
  ENTRY_SHIFT,
  ENTRY_SOURCE,
  ENTRY_STATE,
  type EntryTuples,
  swapPorts,
} from './conntrack-table.ts'
import { Cores } from './cores.ts'
import { establishedCost, firstPacketCost, propagationBetween } from './cost-model.ts'
import {
  ACTION_DNAT,
  ACTION_NONE,
  ADDRESS_DOUBTFUL,
  createDecision,
  type Decision,
  dialsFromItsAddress,
  endpointFate,
  findFrontend,
  hairpinMark,
  leavesCluster,
  MASQUERADE_EGRESS,
  masqueradeAddress,
  masqueradeTowards,
  type PacketHeader,
} from './decide.ts'
import { type Forwarder, isUnreachable, NO_WIRE, type PacketSink } from './dns-client.ts'
import {
  REASON_BACKEND_GONE,
  REASON_CONNTRACK_FULL,
  REASON_ENDPOINT_IS_SERVICE,
  REASON_INSERT_FAILED,
  REASON_INVALID_STATE,
  REASON_NO_HEALTHY_NODE,
  REASON_NO_IPVS_CONNECTION,
  REASON_NO_ROUTE,
  REASON_NO_SERVICE,
  REASON_NODE_DOWN,
  REASON_NONE,
  REASON_POD_STOPPED,
  REASON_REPLY_BYPASSES_NAT,
  REASON_SNAT_PORTS_EXHAUSTED,
} from './drop-reasons.ts'
import { EndpointSelector } from './endpoint-selector.ts'
import { FLOW_CLIENT, FLOW_DESTINATION, FLOW_PORTS, type Lanes } from './flow-record.ts'
import {
  below,
  draw,
  finish,
  hashTuple,
  mix,
  PURPOSE_COST,
  PURPOSE_ENDPOINT,
  PURPOSE_ENTRY_NODE,
  PURPOSE_LOAD_BALANCER,
  PURPOSE_SNAT,
} from './hash.ts'
import { decideAtNode, isTranslatedAgain } from './host-port.ts'
import type {
  AddressId,
  EndpointId,
  EntryNumber,
  FlowOffset,
  FrontendId,
  NodeId,
  NodeProtocol,
  Port,
  PortPair,
  Protocol,
  RandomWord,
  ServicePortId,
} from './kinds.ts'
import { PROTOCOL_TCP } from './packet.ts'
import { Path } from './path.ts'
import { policyFate } from './policy.ts'
import {
  NODE_AFFINITY_HITS,
  NODE_AFFINITY_MISSES,
  NODE_INVALID,
  NODE_SNAT_EXHAUSTED,
  NODE_WORDS,
  type ResultLayout,
} from './result.ts'
import {
  ADDRESS_BALANCER,
  ADDRESS_CLUSTER_IP,
  ADDRESS_DETECTED,
  ADDRESS_IN_SERVICE_CIDR,
  ADDRESS_NODE,
  ADDRESS_POD_RANGE,
  BALANCER_NODE_DOWN,
  DESTINATION_NAME,
  DESTINATION_SERVICE,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_HOST_PORT,
  FRONTEND_LOAD_BALANCER_IP,
  familyOf,
  MODE_IPVS,
  NO_RULES,
  type RuleColumns,
  SETTING_BALANCER_NANOS,
  SETTING_CLIENT_NANOS,
  SETTING_LOCAL_DELIVERY_NANOS,
  SETTING_MODE,
  SETTING_NODES,
  SETTING_TCP_LOOSE,
  WAY_PROXY,
} from './rule-columns.ts'
import { CLASS_NONE, CLASS_SYN, ESTABLISHED, INVALID, initialState, REOPEN } from './tcp-states.ts'

const UNKNOWN = -2

/** What the slow path works on; made once with the core. */
export interface FlowSetupParts extends ConntrackParts {
  readonly lanes: Lanes | null
  readonly flows: Int32Array
  /** Two words a flow record: entry and node << 8 | protocol of the third node. */
  readonly thirdEntries: Int32Array
}

export class FlowSetup implements Forwarder {
  rules: RuleColumns = NO_RULES
  readonly result: Float64Array
  readonly layout: ResultLayout
  seed = 0
  sink: PacketSink = NO_WIRE
  private readonly cores: Cores
  readonly conntrack: Conntrack
  readonly selector: EndpointSelector
  /** Where packets come in, whatever their addresses say: for `explain --node`; -1 for the model's own choice. */
  entryOverride: NodeId = -1
  /** What the rules said last: for `explain`. */
  readonly decision: Decision = createDecision()
  private readonly tuples: EntryTuples = createTuples()
  private readonly asked: PacketHeader = { source: 0, destination: 0, port: 0, protocol: 0 }

  protected readonly entries: Int32Array
  protected readonly flows: Int32Array
  protected readonly third: Int32Array
  /** How the packet that was opened last travelled. */
  readonly path: Path = new Path()

  /** The packet on its way: as it looks at the point reached. */
  protected source: AddressId = 0
  protected destination: AddressId = 0
  protected packetPorts: PortPair = 0
  protected protocol: Protocol = 0
  protected flagClass = 0
  protected connectionRandomWord: RandomWord = 0
  /** Endpoint id that it is for, or -1. */
  endpoint: EndpointId = -1
  /** Service port that the path has been translated for, or -1. */
  private servicePort: ServicePortId = -1
  /** The node where the connection came in, -1 when it never did. */
  entered: NodeId = -1
  private clientNode: NodeId = -1
  /** At the address that the packet is for, -1 for none; where it has been looked up. */
  private frontend: FrontendId = UNKNOWN
  /** The node that a connection under way has come in on so far: balancers and routers keep a flow where it is; -1 for none. */
  protected staysOn: NodeId = -1

  constructor(parts: FlowSetupParts) {
    this.result = parts.result
    this.layout = parts.layout
    this.conntrack = new Conntrack(parts)
    this.selector = new EndpointSelector(this.conntrack, parts.shards, parts.nodes)
    this.entries = parts.table.entries
    this.flows = parts.flows
    this.third = parts.thirdEntries
    this.cores = new Cores(parts.lanes, parts.nodes)
  }

  /** Takes up a rule set: at the start of a run, and when the cluster has changed. */
  take(rules: RuleColumns): void {
    this.rules = rules
    this.conntrack.rules = rules
    this.selector.rules = rules
    this.cores.take(rules)
  }

  /** The core of a node that takes a flow. @param hash any word; its low 8 bits count */
  core(node: NodeId, hash: number, flow: FlowOffset): number {
    return this.cores.of(node, hash, flow, this.conntrack.shard)
  }

  /** A packet sets out: what it looks like, and the random word of its connection. */
  protected start(
    source: AddressId,
    destination: AddressId,
    ports: PortPair,
    protocol: Protocol,
    flagClass: number,
    random: RandomWord,
  ): void {
    this.source = source
    this.destination = destination
    this.packetPorts = ports
    this.protocol = protocol
    this.flagClass = flagClass
    this.connectionRandomWord = random
    this.endpoint = -1
    this.servicePort = -1
    this.entered = -1
    this.frontend = UNKNOWN
    this.path.begin()
  }

  /** A question to a name server: a packet like any other, of a flow without a flow record. */
  inject(source: AddressId, destination: AddressId, ports: PortPair, protocol: Protocol, random: RandomWord): number {
    this.start(source, destination, ports, protocol, protocol === PROTOCOL_TCP ? CLASS_SYN : CLASS_NONE, random)
    return this.forward(-1, DESTINATION_NAME)
  }

  /** Whether the packet is meant for a Service: where a name was dialled its address tells. */
  private meansService(meant: number): boolean {
    if (meant !== DESTINATION_NAME) return meant === DESTINATION_SERVICE
    return (this.rules.addressFlags[this.destination] & (ADDRESS_CLUSTER_IP | ADDRESS_IN_SERVICE_CIDR)) !== 0
  }

  /** From the source to the pod. @param flow -1 for a flow without one; @param meant `DESTINATION_*` */
  protected forward(flow: FlowOffset, meant: number): number {
    const { rules } = this
    const wantsService = this.meansService(meant)
    const home = this.homeOf(flow)
    this.clientNode = this.clientNodeOf(home)
    const { settings } = rules
    let node = home
    if (home < 0) {
      this.path.forwardNanos += settings[SETTING_CLIENT_NANOS]
      if (this.endsAtEdge()) {
        this.path.forwardNanos += settings[SETTING_BALANCER_NANOS]
        return REASON_NONE
      }
      node = this.entryNode(flow)
      if (node < 0) {
        if (node === -2) return REASON_NO_HEALTHY_NODE
        if (node === BALANCER_NODE_DOWN) return REASON_NODE_DOWN
        return wantsService ? REASON_NO_SERVICE : REASON_NO_ROUTE
      }
    }
    this.entered = node
    let reason = this.translate(node)
    if (reason >= 0) return reason
    // No rule here. The address may belong to another node, which then sees a packet from a pod or node of the cluster.
    const owner = rules.addressNode[this.destination]
    if (owner >= 0 && owner !== node && (rules.addressFlags[this.destination] & ADDRESS_NODE) !== 0) {
      reason = this.forwardUntranslated(node, leavesCluster(rules, this.source, this.destination))
      if (reason !== REASON_NONE) return reason
      this.path.forwardNanos += propagationBetween(rules, node, owner)
      reason = this.translate(owner)
      if (reason >= 0) return reason
      if (wantsService) return REASON_NO_SERVICE
      return this.forwardUntranslated(owner, false)
    }
    if (wantsService) return REASON_NO_SERVICE
    // Straight to a pod, to this node itself, or out of the cluster.
    const away = owner >= 0 && owner !== node
    reason = this.forwardUntranslated(node, owner < 0 && leavesCluster(rules, this.source, this.destination))
    if (reason !== REASON_NONE) return reason
    if (meant === DESTINATION_NAME && isUnreachable(rules, this.destination, this.endpoint)) return REASON_BACKEND_GONE
    if (away) {
      this.path.forwardNanos += propagationBetween(rules, node, owner)
      reason = this.forwardUntranslated(owner, false)
      if (reason !== REASON_NONE) return reason
    }
    this.path.forwardNanos += owner >= 0 ? settings[SETTING_LOCAL_DELIVERY_NANOS] : settings[SETTING_CLIENT_NANOS]
    return REASON_NONE
  }

  /** The node that the source is on, -1 outside the cluster. A node's own process may get an address of ipvs as its source there. */
  private homeOf(flow: FlowOffset): number {
    const { rules, entryOverride } = this
    // Of a connection under way that has such a source the node is no longer told by it.
    const owner = this.source === this.destination ? this.staysOn : -1
    const home = entryOverride >= 0 ? entryOverride : Math.max(rules.addressNode[this.source], owner)
    if (home < 0) return home
    this.frontend = findFrontend(rules, this.destination, this.packetPorts & 0xffff, this.protocol)
    if (dialsFromItsAddress(rules, home, this.source, this.destination, this.frontend)) {
      this.source = this.destination
      if (flow >= 0) this.flows[flow + FLOW_CLIENT] = this.source
    }
    return home
  }

  /** Whether it is addressed to a balancer outside the cluster that ends connections. */
  private endsAtEdge(): boolean {
    const proxy = this.proxyAtHand()
    return proxy >= 0 && this.rules.proxyWay[proxy] !== WAY_PROXY
  }

  /** The HTTP proxy that the packet is addressed to as it stands, by address and port, or -1. */
  protected proxyAtHand(): number {
    const { addressProxy, proxyPorts } = this.rules
    const proxy = this.destination < addressProxy.length ? addressProxy[this.destination] : -1
    if (proxy < 0 || this.protocol !== PROTOCOL_TCP) return -1
    const port = this.packetPorts & 0xffff
    return port === proxyPorts[proxy * 2] || port === proxyPorts[proxy * 2 + 1] ? proxy : -1
  }

  /** The node that the client itself sits on, and so the one that its answers come back to; -1 outside the cluster. */
  private clientNodeOf(home: number): number {
    const owner = this.rules.addressNode[this.source]
    if (owner >= 0 || this.entryOverride < 0) return owner
    return (this.rules.addressFlags[this.source] & (ADDRESS_POD_RANGE | ADDRESS_DETECTED)) !== 0 ? home : -1
  }

  /** Where a packet from outside comes in: -1 nowhere, -2 when the load balancer has no healthy node, or one that is down. Twin: fast-setup.ts `aim`. */
  private entryNode(flow: FlowOffset): number {
    const { rules } = this
    const frontend = findFrontend(rules, this.destination, this.packetPorts & 0xffff, this.protocol)
    this.frontend = frontend
    if (frontend < 0) {
      // An address of the Service network without such a port is routed to some node as well, whose rules then say no.
      const serviceNetwork = ADDRESS_CLUSTER_IP | ADDRESS_IN_SERVICE_CIDR
      const routed = (rules.addressFlags[this.destination] & serviceNetwork) !== 0
      return routed ? this.anyNode() : rules.addressNode[this.destination]
    }
    const kind = rules.frontendKind[frontend]
    if (kind === FRONTEND_LOAD_BALANCER_IP || kind === FRONTEND_BALANCER_PROXY) {
      const count = rules.frontendNodeCount[frontend]
      if (count === 0) return -2
      const random = draw(this.seed, this.connectionRandomWord, 0, PURPOSE_LOAD_BALANCER)
      const chosen = rules.balancerNodes[rules.frontendNodeStart[frontend] + below(random, count)]
      const node = this.staysOn >= 0 ? this.staysOn : chosen
      this.path.forwardNanos += rules.settings[SETTING_BALANCER_NANOS]
      if (kind === FRONTEND_BALANCER_PROXY && node >= 0) this.proxyByBalancer(flow, node, frontend, random)
      return node
    }
    // An external IP that is a node's own comes in there; other addresses are routed to some node.
    const owner = rules.addressNode[this.destination]
    if (owner >= 0) return owner
    return this.anyNode()
  }

  /** Where routers bring a packet for an address that no machine has. */
  private anyNode(): number {
    if (this.staysOn >= 0) return this.staysOn
    return below(draw(this.seed, this.connectionRandomWord, 0, PURPOSE_ENTRY_NODE), this.rules.settings[SETTING_NODES])
  }

  /** To the node port: in a connection of the balancer's own, or in the client's, where it leaves the source alone. */
  private proxyByBalancer(flow: FlowOffset, node: NodeId, frontend: FrontendId, random: RandomWord): void {
    const { rules, flows } = this
    this.frontend = UNKNOWN
    const own = (rules.addressFlags[this.destination] & ADDRESS_BALANCER) !== 0
    const sourcePort = own ? 1024 + ((finish(mix(random, 7)) >>> 0) % 64512) : this.packetPorts >>> 16
    if (own) this.source = this.destination
    this.destination = rules.nodePrimary[node * 2 + familyOf(rules, this.destination)]
    this.packetPorts = (sourcePort << 16) | rules.frontendNodePort[frontend]
    if (flow < 0) return
    // From here on the flow record is the connection to the node port: a pick-up in mid-flow comes from there too.
    flows[flow + FLOW_CLIENT] = this.source
    flows[flow + FLOW_DESTINATION] = this.destination
    flows[flow + FLOW_PORTS] = this.packetPorts
  }

  /**
   * The packet meets a node's rules.
   * @returns -1 when no rule is for it, else a reason (REASON_NONE: translated and on its way to the endpoint's node)
   */
  private translate(node: NodeId): number {
    const { rules, decision } = this
    const nodeProtocol = (node << 8) | this.protocol
    const known = this.lookUp(nodeProtocol)
    if (known > 0) {
      const kept = this.hitEntry(known)
      if (kept >= 0) return kept === REASON_NONE ? this.natByEntry(known, node) : kept
    }
    const port = this.packetPorts & 0xffff
    const exact = this.frontend !== UNKNOWN ? this.frontend : findFrontend(rules, this.destination, port, this.protocol)
    const { asked } = this
    asked.source = this.source
    asked.destination = this.destination
    asked.port = port
    asked.protocol = this.protocol
    decideAtNode(rules, node, asked, decision, exact)
    if (decision.action === ACTION_NONE) return -1
    if (decision.reason !== REASON_NONE) return decision.reason
    if (decision.action !== ACTION_DNAT) return this.forwardUntranslated(node, false)
    const loose = rules.settings[SETTING_TCP_LOOSE] !== 0
    const state = initialState(this.protocol, this.flagClass, loose)
    if (state === INVALID) return this.invalid(node)
    // What conntrack would pick up reaches the address itself: ipvs makes connections of SYNs only (tcp_conn_schedule, ip_vs_proto_tcp.c).
    const byIpvs =
      rules.settings[SETTING_MODE] === MODE_IPVS && rules.frontendKind[decision.frontend] !== FRONTEND_HOST_PORT
    if (state === ESTABLISHED && byIpvs) return REASON_NO_IPVS_CONNECTION
    const random = draw(this.seed, this.connectionRandomWord, node, PURPOSE_ENDPOINT)
    const { source, destination, packetPorts } = this
    const { endpoint, affinity } = this.selector.choose(
      decision,
      nodeProtocol,
      source,
      destination,
      packetPorts,
      random,
    )
    if (affinity >= 0) this.count(node, affinity === 0 ? NODE_AFFINITY_MISSES : NODE_AFFINITY_HITS, 1)
    const backend = rules.endpointAddress[endpoint]
    const backendNode = rules.addressNode[backend]
    const marks = decision.masquerade | hairpinMark(rules, node, this.source, endpoint)
    const masquerade = masqueradeTowards(rules, node, this.source, backend, marks)
    const toItself = backend === this.source && masquerade === 0 && backendNode === node
    const doubtful = (rules.addressFlags[backend] & ADDRESS_DOUBTFUL) !== 0
    const fate = doubtful ? endpointFate(rules, node, endpoint, this.protocol) : REASON_NONE
    // What is refused leaves no entry behind; what is sent into the void does.
    if (fate === REASON_ENDPOINT_IS_SERVICE || fate === REASON_POD_STOPPED) return fate
    const masked = masquerade !== 0
    const egress = masked ? masqueradeAddress(rules, node, endpoint, familyOf(rules, this.destination)) : this.source
    const to = rules.endpointPort[endpoint]
    const barred = policyFate(rules, nodeProtocol, this.source, egress, backend, to)
    if (barred !== REASON_NONE) {
      this.endpoint = endpoint
      return barred
    }
    const reason = this.insertTranslated(node, endpoint, egress, masked)
    if (reason !== REASON_NONE || fate !== REASON_NONE) return reason || fate
    this.path.masqueraded |= masquerade
    this.endpoint = endpoint
    // A pod answers a packet from its own address to itself.
    if (toItself) return REASON_REPLY_BYPASSES_NAT
    return this.reachBackend(node, backendNode, masked)
  }

  /** From the node that translated to the endpoint's own. Twin: fast-setup.ts `translate`. */
  private reachBackend(node: NodeId, backendNode: NodeId, masqueraded: boolean): number {
    const { rules } = this
    if (backendNode >= 0 && backendNode !== node) {
      this.path.forwardNanos += propagationBetween(rules, node, backendNode)
      const reason = this.arriveAt(backendNode)
      if (reason !== REASON_NONE) return reason
      // Unmasqueraded, the pod answers to the client itself; the answer passes this node only if the client sits on it.
      if (!masqueraded && this.clientNode !== node) return REASON_REPLY_BYPASSES_NAT
    }
    this.path.forwardNanos +=
      backendNode >= 0 ? rules.settings[SETTING_LOCAL_DELIVERY_NANOS] : rules.settings[SETTING_CLIENT_NANOS]
    return REASON_NONE
  }

  /** The endpoint's node: a pod's only forwards, but at a node port or host port its rules translate once more. */
  private arriveAt(node: NodeId): number {
    const again =
      this.path.hops < 2 && isTranslatedAgain(this.rules, this.destination, this.packetPorts & 0xffff, this.protocol)
    if (!again) return this.forwardUntranslated(node, false)
    this.frontend = UNKNOWN
    const reason = this.translate(node)
    return reason >= 0 ? reason : this.forwardUntranslated(node, false)
  }

  /** Makes the entry of the node that translates, and rewrites the packet. */
  private insertTranslated(node: NodeId, endpoint: EndpointId, egress: AddressId, masquerade: boolean): number {
    const { rules } = this
    const backend = rules.endpointAddress[endpoint]
    this.servicePort = this.decision.servicePort
    const entry = this.track(node, backend, rules.endpointPort[endpoint], egress, masquerade)
    if (entry < 0) return -entry
    const base = entry << ENTRY_SHIFT
    this.entries[base + ENTRY_STATE] |= (this.decision.frontend + 1) << ENTRY_FRONTEND_SHIFT
    this.entries[base + ENTRY_ENDPOINT] = endpoint + 1
    if (masquerade) this.conntrack.holdPort(entry, node, endpoint)
    this.selector.placed(entry)
    this.path.spend(establishedCost(rules, masquerade), this.firstCost(node, this.decision.servicePort, masquerade))
    this.source = egress
    this.destination = backend
    this.packetPorts = swapPorts(this.tuples.replyPorts)
    return REASON_NONE
  }

  /** The entry that the packet meets on a node, or 0. `tuples` has its own tuple afterwards, for `track`. */
  private lookUp(nodeProtocol: NodeProtocol): number {
    const { tuples, source, destination, packetPorts: ports } = this
    const hash = hashTuple(source, destination, ports, nodeProtocol)
    tuples.source = source
    tuples.destination = destination
    tuples.ports = ports
    tuples.nodeProtocol = nodeProtocol
    tuples.hash = hash
    return this.conntrack.findHashed(hash, source, destination, ports, nodeProtocol)
  }

  /**
   * Makes an entry for the packet that `lookUp` was asked for; `backend` answers to `egress`, at a port that is searched here.
   * @returns its number, or less than 0: minus the reason why there is none
   */
  private track(node: NodeId, backend: AddressId, backendPort: Port, egress: AddressId, masquerade: boolean): number {
    const { tuples, conntrack } = this
    tuples.replySource = backend
    tuples.replyDestination = egress
    tuples.replyPorts = (backendPort << 16) | (this.packetPorts >>> 16)
    const random = draw(this.seed, this.connectionRandomWord, tuples.nodeProtocol, PURPOSE_SNAT)
    const opens = this.protocol === PROTOCOL_TCP && this.flagClass === CLASS_SYN
    if (!conntrack.findSourcePort(tuples, random, masquerade, opens)) return -this.portsExhausted(node, masquerade)
    const entry = conntrack.insert(tuples, this.flagClass, this.servicePort)
    if (entry === 0) return -REASON_CONNTRACK_FULL
    this.path.add(node, entry)
    return entry
  }

  private portsExhausted(node: NodeId, masquerade: boolean): number {
    if (!masquerade) return REASON_INSERT_FAILED
    this.count(node, NODE_SNAT_EXHAUSTED, 1)
    return REASON_SNAT_PORTS_EXHAUSTED
  }

  /** A node that only forwards: tracks, and masquerades where the packet leaves the cluster. */
  private forwardUntranslated(node: NodeId, masquerade: boolean): number {
    const { rules, path } = this
    const nodeProtocol = (node << 8) | this.protocol
    const known = this.lookUp(nodeProtocol)
    if (known > 0) {
      const kept = this.hitEntry(known)
      if (kept >= 0) {
        if (kept === REASON_NONE) this.forwardKnown(known, node)
        return kept
      }
    }
    if (initialState(this.protocol, this.flagClass, rules.settings[SETTING_TCP_LOOSE] !== 0) === INVALID) {
      return this.invalid(node)
    }
    const to = this.packetPorts & 0xffff
    const barred = policyFate(rules, nodeProtocol, this.source, this.source, this.destination, to)
    if (barred !== REASON_NONE) return barred
    const egress = masquerade ? rules.nodeRemoteEgress[node * 2 + familyOf(rules, this.destination)] : this.source
    const entry = this.track(node, this.destination, to, egress, masquerade)
    if (entry < 0) return -entry
    this.path.spend(establishedCost(rules, masquerade), this.firstCost(node, -1, masquerade))
    if (masquerade) path.masqueraded |= MASQUERADE_EGRESS
    this.source = egress
    this.packetPorts = swapPorts(this.tuples.replyPorts)
    return REASON_NONE
  }

  /** What rule evaluation costs the opening packet on a node, beyond an established one. */
  private firstCost(node: NodeId, servicePort: ServicePortId, masquerade: boolean): number {
    return firstPacketCost(
      this.rules,
      servicePort,
      masquerade,
      draw(this.seed, this.connectionRandomWord, node, PURPOSE_COST),
    )
  }

  /** A known entry on a plain hop: the packet goes on as the entry says. */
  private forwardKnown(entry: EntryNumber, node: NodeId): void {
    const base = entry << ENTRY_SHIFT
    this.path.add(node, entry)
    this.path.spend(establishedCost(this.rules, false), 0)
    this.source = this.entries[base + ENTRY_REPLY_DESTINATION]
    this.frontend = UNKNOWN
    this.destination = this.entries[base + ENTRY_REPLY_SOURCE]
    this.packetPorts = swapPorts(this.entries[base + ENTRY_REPLY_PORTS])
  }

  /** A known entry on the translating hop: the old mapping decides, not the rules. */
  private natByEntry(entry: EntryNumber, node: NodeId): number {
    const base = entry << ENTRY_SHIFT
    const masqueraded = this.entries[base + ENTRY_REPLY_DESTINATION] !== this.entries[base + ENTRY_SOURCE]
    this.forwardKnown(entry, node)
    this.endpoint = this.entries[base + ENTRY_ENDPOINT] - 1
    const backendNode = this.rules.addressNode[this.destination]
    if (masqueraded) this.path.masqueraded |= MASQUERADE_EGRESS
    return this.reachBackend(node, backendNode, masqueraded)
  }

  /**
   * The opening packet meets an entry that is already there: state machine first.
   * @returns -1 when the entry was finished and has been removed, else a reason (REASON_NONE: the packet passes)
   */
  private hitEntry(entry: EntryNumber): number {
    const node = this.entries[(entry << ENTRY_SHIFT) + ENTRY_NODE_PROTOCOL] >> 8
    const outcome = this.conntrack.advance(entry, 0, this.flagClass, false)
    if (outcome === REOPEN) return -1
    return outcome === INVALID ? this.invalid(node) : REASON_NONE
  }

  protected invalid(node: NodeId): number {
    this.count(node, NODE_INVALID, 1)
    return REASON_INVALID_STATE
  }

  protected count(node: NodeId, counter: number, by: number): void {
    const at = this.layout.nodes + node * NODE_WORDS + counter
    this.result[at] = this.result[at] + by
  }
}
