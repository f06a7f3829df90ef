/**
 * The same dataplane again, slow and obvious: Maps with strings for keys, a state machine in words, no lines, no cache.
 *
 * It shares with the core the rules of one node (`decide`), the seeded words and the port search, which have tests of
 * their own. Conntrack, timers, NAT, affinity, turns and the way of a packet through the nodes are written anew. Tables
 * have no limit and nothing is swept: an expired entry is simply not there.
 */

import { below, PURPOSE_ENTRY_NODE, PURPOSE_LOAD_BALANCER } from '../../native-free-core/hash.ts'
import { isTranslatedAgain } from '../../native-free-core/host-port.ts'
import {
  ACTION_DNAT,
  ACTION_NONE,
  ADDRESS_BALANCER,
  ADDRESS_IPV6,
  ADDRESS_NODE,
  ADDRESS_POD,
  ADDRESS_POD_RANGE,
  createDecision,
  decideAtNode,
  draw,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_CLUSTER_IP,
  FRONTEND_EXTERNAL_IP,
  FRONTEND_HOST_PORT,
  FRONTEND_LOAD_BALANCER_IP,
  findFrontend,
  findPort,
  finish,
  mix,
  PURPOSE_ENDPOINT,
  PURPOSE_SNAT,
  REASONS,
  type RuleColumns,
  TICKS_PER_MS,
} from '../../native-free-core/index.ts'
import type { Packet } from './harness.ts'
import { type Sender, type TcpState, tcpOutcome, tcpPacket } from './tcp-table.ts'

export interface OracleOptions {
  readonly mode: 'nftables' | 'iptables' | 'ipvs'
  readonly seed: number
  readonly nodes: number
  readonly tcpLoose: boolean
  readonly egressMasquerade: boolean
  /** How long ipvs knows a UDP connection. */
  readonly ipvsUdpSeconds: number
}

interface Tuple {
  readonly source: number
  readonly sourcePort: number
  readonly destination: number
  readonly destinationPort: number
}

type State = TcpState | 'unreplied' | 'replied' | 'stream' | 'generic'

interface Entry {
  readonly original: Tuple
  readonly reply: Tuple
  readonly createdMs: number
  readonly endpoint: number
  /** kube-proxy translated it, and not portmap. */
  readonly byKubeProxy: boolean
  state: State
  seenReply: boolean
  pickedUp: boolean
  /** A SYN was ignored, which the server may yet answer. */
  synIgnored: boolean
  expiresMs: number
}

interface Connection {
  client: number
  clientPort: number
  destination: number
  destinationPort: number
  readonly protocol: number
  readonly forService: boolean
  status: 'new' | 'open' | 'failed'
  /** Nodes in the order in which a packet of the client crosses them. */
  nodes: number[]
  /** What the pod sees. */
  delivered: Tuple | null
  endpoint: number
}

const IPVS_SECONDS: Partial<Record<State, number>> = { ESTABLISHED: 900, FIN_WAIT: 120, CLOSE_WAIT: 60 }
const SECONDS: Readonly<Record<State, number>> = {
  'no entry': 0,
  SYN_SENT: 120,
  SYN_RECV: 60,
  ESTABLISHED: 86_400,
  FIN_WAIT: 120,
  CLOSE_WAIT: 3600,
  LAST_ACK: 30,
  TIME_WAIT: 120,
  'CLOSE by client': 10,
  'CLOSE by server': 10,
  SYN_SENT2: 120,
  unreplied: 30,
  replied: 30,
  stream: 120,
  generic: 600,
}
const UNACKNOWLEDGED_SECONDS = 300
const CLOSING: readonly State[] = [
  'FIN_WAIT',
  'CLOSE_WAIT',
  'LAST_ACK',
  'TIME_WAIT',
  'CLOSE by client',
  'CLOSE by server',
]
const TCP = 6
const UDP = 17

/** A packet on its way, as it looks where it has come to. */
interface Travel {
  readonly connection: Connection
  readonly packet: Packet
  readonly word: number
  at: Tuple
  nodes: number[]
  endpoint: number
}

const swapped = (tuple: Tuple): Tuple => ({
  source: tuple.destination,
  sourcePort: tuple.destinationPort,
  destination: tuple.source,
  destinationPort: tuple.sourcePort,
})
const keyOf = (tuple: Tuple, protocol: number): string =>
  `${tuple.source}:${tuple.sourcePort} > ${tuple.destination}:${tuple.destinationPort} ${protocol}`

export class Oracle {
  private readonly rules: RuleColumns
  private readonly options: OracleOptions
  private readonly connections: Connection[] = []
  /** By node: every tuple of every entry, in both directions. */
  private readonly tables: Map<string, Entry>[]
  /** By node and owner: endpoint → client → until when. */
  private readonly affinity = new Map<string, Map<number, Map<number, number>>>()
  private readonly turns = new Map<string, number>()
  /** ipvs' own UDP connections, by node and the client's tuple. */
  private readonly ipvs = new Map<string, { readonly endpoint: number; readonly untilMs: number }>()
  private nowMs = 0

  constructor(rules: RuleColumns, options: OracleOptions) {
    this.rules = rules
    this.options = options
    this.tables = Array.from({ length: options.nodes }, () => new Map())
  }

  /** 0 for IPv4, 1 for IPv6. */
  private familyAt(address: number): number {
    return this.has(address, ADDRESS_IPV6) ? 1 : 0
  }

  connect(client: number, clientPort: number, destinationIndex: number): void {
    this.connections.push({
      client,
      clientPort,
      destination: this.rules.destinationAddress[destinationIndex],
      destinationPort: this.rules.destinationPort[destinationIndex],
      protocol: this.rules.destinationProtocol[destinationIndex],
      forService: this.rules.destinationIsService[destinationIndex] === 1,
      status: 'new',
      nodes: [],
      delivered: null,
      endpoint: -1,
    })
  }

  send(packet: Packet): string {
    this.nowMs = packet.atMs
    const connection = this.connections[packet.connection]
    if (connection.status === 'failed') return 'not-sent'
    if (connection.status === 'new') return this.open(connection, packet, -1)
    const entries = this.entriesOf(connection)
    if (entries === null) return this.lost(connection, packet)
    const outcomes = entries.map(({ node, entry }) => this.advance(node, entry, connection.protocol, packet))
    if (outcomes[0] === 'invalid') return 'invalid-state'
    return outcomes[0] === 'new entry' ? this.open(connection, packet, -1) : 'accept'
  }

  /** Milliseconds that each live entry still has, by node, the longest first. */
  timers(): number[][] {
    return this.tables.map((table) =>
      [...new Set(table.values())]
        .map((entry) => entry.expiresMs - this.nowMs)
        .filter((left) => left > 0)
        .sort((a, b) => b - a),
    )
  }

  endpoint(connection: number): number {
    return this.connections[connection].endpoint
  }

  delivered(connection: number): Tuple | null {
    return this.connections[connection].delivered
  }

  private lookup(node: number, tuple: Tuple, protocol: number): Entry | null {
    const entry = this.tables[node].get(keyOf(tuple, protocol))
    return entry !== undefined && entry.expiresMs > this.nowMs ? entry : null
  }

  private forget(node: number, entry: Entry, protocol: number): void {
    for (const tuple of [entry.original, entry.reply]) {
      const key = keyOf(tuple, protocol)
      if (this.tables[node].get(key) === entry) this.tables[node].delete(key)
    }
  }

  private clientTuple(connection: Connection): Tuple {
    return {
      source: connection.client,
      sourcePort: connection.clientPort,
      destination: connection.destination,
      destinationPort: connection.destinationPort,
    }
  }

  /** The entries on a connection's way, if all are there and lead where it has always led. */
  private entriesOf(connection: Connection): { node: number; entry: Entry }[] | null {
    let tuple = this.clientTuple(connection)
    const found: { node: number; entry: Entry }[] = []
    for (const node of connection.nodes) {
      const entry = this.lookup(node, tuple, connection.protocol)
      if (entry === null) return null
      found.push({ node, entry })
      tuple = swapped(entry.reply)
    }
    return keyOf(tuple, 0) === keyOf(connection.delivered!, 0) ? found : null
  }

  private lost(connection: Connection, packet: Packet): string {
    const before = connection.delivered!
    if (packet.from === 'server') {
      if (keyOf(before, 0) !== keyOf(this.clientTuple(connection), 0)) {
        if (this.isLateAnswer(connection))
          return this.open(connection, { ...packet, from: 'client' }, connection.nodes[0])
        connection.status = 'failed'
        return 'reply-lost'
      }
      return this.firstState(connection.protocol, packet) === null ? 'invalid-state' : 'accept'
    }
    const outcome = this.open(connection, packet, connection.nodes[0])
    if (outcome !== 'accept' || connection.protocol === UDP) return outcome
    if (keyOf(before, 0) === keyOf(connection.delivered!, 0)) return 'accept'
    connection.status = 'failed'
    return 'entry-lost'
  }

  /** ipvs still has the connection, and the client is not hidden behind the node, which only conntrack would know. */
  private isLateAnswer({ nodes, client, clientPort, delivered, endpoint, ...dialled }: Connection): boolean {
    const tuple = {
      source: client,
      sourcePort: clientPort,
      destination: dialled.destination,
      destinationPort: dialled.destinationPort,
    }
    const known = this.ipvs.get(`${nodes[0]} ${keyOf(tuple, dialled.protocol)}`)
    const isBare = delivered!.source === client && delivered!.sourcePort === clientPort
    return isBare && known !== undefined && known.untilMs > this.nowMs && known.endpoint === endpoint
  }

  /** A packet of a UDP connection that ipvs has translated, in either direction, starts ipvs' own timer. */
  private touchIpvs(node: number, { original, endpoint, byKubeProxy }: Entry, protocol: number): void {
    if (this.options.mode !== 'ipvs' || protocol !== UDP || endpoint < 0 || !byKubeProxy) return
    const untilMs = this.nowMs + this.options.ipvsUdpSeconds * 1000
    this.ipvs.set(`${node} ${keyOf(original, protocol)}`, { endpoint, untilMs })
  }

  /** ipvs forgets sooner than conntrack, and takes the entry along. */
  private seconds(state: State): number {
    if (this.options.mode !== 'ipvs') return SECONDS[state]
    const isUdp = state === 'unreplied' || state === 'replied' || state === 'stream'
    return Math.min(SECONDS[state], (isUdp ? this.options.ipvsUdpSeconds : IPVS_SECONDS[state]) ?? SECONDS[state])
  }

  /** ipvs translates a SYN or what it knows; the node itself answers everything else. */
  private isUnknownToIpvs(protocol: number, packet: Packet): boolean {
    return this.options.mode === 'ipvs' && this.firstState(protocol, packet) === 'ESTABLISHED'
  }

  private firstState(protocol: number, packet: Packet): State | null {
    if (protocol === UDP) return 'unreplied'
    if (protocol !== TCP) return 'generic'
    const outcome = tcpOutcome('client', tcpPacket(packet.flags), 'no entry')
    if (outcome === 'SYN_SENT') return outcome
    return outcome === 'ESTABLISHED' && this.options.tcpLoose ? outcome : null
  }

  private advance(node: number, entry: Entry, protocol: number, packet: Packet): string {
    let next = this.nextState(entry, protocol, packet)
    if (next === 'ignored' && packet.from === 'client') entry.synIgnored = true
    else if (next === 'ignored' && entry.synIgnored && tcpPacket(packet.flags) === 'SYN+ACK') next = 'SYN_RECV'
    if (next === 'entry deleted' || next === 'new entry') {
      this.forget(node, entry, protocol)
      return next
    }
    if (next === 'invalid' || next === 'ignored') return next
    if (packet.from === 'server') entry.seenReply = true
    if (next === 'ESTABLISHED' && (entry.state === 'SYN_RECV' || entry.state === 'ESTABLISHED')) {
      if (entry.seenReply && packet.from === 'client') entry.pickedUp = false
    }
    if (entry.state !== next) entry.synIgnored = false
    entry.state = next
    const inFlight = next === 'ESTABLISHED' && (packet.length > 60 || entry.pickedUp)
    entry.expiresMs = this.nowMs + (inFlight ? UNACKNOWLEDGED_SECONDS : this.seconds(next)) * 1000
    this.touchIpvs(node, entry, protocol)
    return next
  }

  private nextState(
    entry: Entry,
    protocol: number,
    packet: Packet,
  ): State | 'invalid' | 'ignored' | 'new entry' | 'entry deleted' {
    if (protocol === TCP) {
      return tcpOutcome(packet.from as Sender, tcpPacket(packet.flags), entry.state as TcpState)
    }
    if (protocol !== UDP || entry.state === 'stream') return entry.state
    if (entry.state === 'replied') return this.nowMs - entry.createdMs > 2000 ? 'stream' : 'replied'
    return packet.from === 'server' ? 'replied' : 'unreplied'
  }

  private open(connection: Connection, packet: Packet, cameInOn: number): string {
    if (packet.from === 'server') {
      if (connection.status === 'new') connection.status = 'failed'
      return 'invalid-state'
    }
    const at = this.clientTuple(connection)
    const tick = (packet.atMs * TICKS_PER_MS) | 0
    const ports = (at.sourcePort << 16) | at.destinationPort
    const word = finish(mix(mix(mix(tick, at.source), at.destination), ports))
    const home = this.rules.addressNode[connection.client]
    const fromVip = this.dialsFromVip(home, connection)
    if (fromVip) connection.client = connection.destination
    const sent = this.clientTuple(connection)
    const travel: Travel = { connection, packet: { ...packet, length: 0 }, word, at: sent, nodes: [], endpoint: -1 }
    const outcome = this.way(travel, fromVip ? home : cameInOn)
    connection.status = outcome === 'accept' ? 'open' : 'failed'
    if (outcome !== 'accept') return outcome
    connection.nodes = travel.nodes
    connection.delivered = travel.at
    connection.endpoint = travel.endpoint
    return 'accept'
  }

  /** ipvs has the address on every node, so a node's own socket has it as its source as well. */
  private dialsFromVip(home: number, { client, destination, destinationPort, protocol }: Connection): boolean {
    if (home < 0 || this.options.mode !== 'ipvs' || !this.has(client, ADDRESS_NODE)) return false
    const found = findFrontend(this.rules, destination, destinationPort, protocol)
    const kinds = [FRONTEND_CLUSTER_IP, FRONTEND_EXTERNAL_IP, FRONTEND_LOAD_BALANCER_IP]
    return found >= 0 && kinds.includes(this.rules.frontendKind[found]) && !this.has(destination, ADDRESS_NODE)
  }

  /** From the client to the pod. */
  private way(travel: Travel, cameInOn: number): string {
    const { rules } = this
    const { forService } = travel.connection
    const { source, destination } = travel.at
    let node = source === destination ? cameInOn : rules.addressNode[source]
    if (node < 0) {
      const entry = this.entryNode(travel, cameInOn)
      if (entry === 'unhealthy') return 'no-healthy-node'
      if (entry < 0) return forService ? 'no-service' : 'no-route'
      node = entry
    }
    const translated = this.translate(node, travel)
    if (translated !== null) return translated
    const owner = rules.addressNode[travel.at.destination]
    const toOtherNode = owner >= 0 && owner !== node && this.has(travel.at.destination, ADDRESS_NODE)
    if (!toOtherNode && forService) return 'no-service'
    const leaves = (toOtherNode || owner < 0) && this.leavesCluster(travel.at)
    const passed = this.forward(node, travel, leaves)
    if (passed !== 'accept' || owner < 0 || owner === node) return passed
    if (toOtherNode) {
      const there = this.translate(owner, travel)
      if (there !== null) return there
      if (forService) return 'no-service'
    }
    return this.forward(owner, travel, false)
  }

  private entryNode(travel: Travel, cameInOn: number): number | 'unhealthy' {
    const { rules, options } = this
    const { at, connection, word } = travel
    const frontend = findFrontend(rules, at.destination, at.destinationPort, connection.protocol)
    const owner = rules.addressNode[at.destination]
    if (frontend < 0) return owner
    const kind = rules.frontendKind[frontend]
    if (kind !== FRONTEND_LOAD_BALANCER_IP && kind !== FRONTEND_BALANCER_PROXY) {
      if (owner >= 0) return owner
      return cameInOn >= 0 ? cameInOn : below(draw(options.seed, word, 0, PURPOSE_ENTRY_NODE), options.nodes)
    }
    const count = rules.frontendNodeCount[frontend]
    if (count === 0) return 'unhealthy'
    const balancing = draw(options.seed, word, 0, PURPOSE_LOAD_BALANCER)
    const chosen = rules.balancerNodes[rules.frontendNodeStart[frontend] + below(balancing, count)]
    const node = cameInOn >= 0 ? cameInOn : chosen
    if (kind === FRONTEND_BALANCER_PROXY) {
      if (this.has(at.destination, ADDRESS_BALANCER)) {
        connection.client = at.destination
        connection.clientPort = 1024 + ((finish(mix(balancing, 7)) >>> 0) % 64_512)
      }
      connection.destination = rules.nodePrimary[node * 2 + this.familyAt(connection.destination)]
      connection.destinationPort = rules.frontendNodePort[frontend]
      travel.at = this.clientTuple(connection)
    }
    return node
  }

  private has(address: number, flag: number): boolean {
    return (this.rules.addressFlags[address] & flag) !== 0
  }

  private leavesCluster(at: Tuple): boolean {
    const isPods = this.has(at.source, ADDRESS_POD) || this.has(at.source, ADDRESS_POD_RANGE)
    const fromPod = isPods && !this.has(at.source, ADDRESS_NODE)
    return this.options.egressMasquerade && fromPod && !this.has(at.destination, ADDRESS_POD_RANGE)
  }

  /** @returns null when no rule is for the packet */
  private translate(node: number, travel: Travel): string | null {
    const { rules } = this
    const { connection, packet, at } = travel
    const met = this.meet(node, travel)
    if (met === 'invalid-state') return met
    if (met !== null) {
      travel.endpoint = met.endpoint
      const masqueraded = met.reply.destination !== met.original.source
      return this.toBackend(node, rules.addressNode[travel.at.destination], masqueraded, travel)
    }
    const decision = createDecision()
    const { source, destination, destinationPort: port } = at
    decideAtNode(rules, node, { source, destination, port, protocol: connection.protocol }, decision)
    if (decision.action === ACTION_NONE) return null
    if (decision.reason !== 0) return REASONS[decision.reason].name
    if (decision.action !== ACTION_DNAT) return this.forward(node, travel, false)
    if (this.firstState(connection.protocol, packet) === null) return 'invalid-state'
    const byPortmap = rules.frontendKind[decision.frontend] === FRONTEND_HOST_PORT
    if (!byPortmap && this.isUnknownToIpvs(connection.protocol, packet)) return 'no-ipvs-connection'
    const set = [...rules.members.subarray(decision.setStart, decision.setStart + decision.setCount)]
    const endpoint = this.choose(node, decision.servicePort, decision.frontend, set, travel)
    const backend = rules.endpointAddress[endpoint]
    const backendNode = rules.addressNode[backend]
    const here = (address: number): boolean => this.has(address, ADDRESS_NODE) && rules.addressNode[address] === node
    const loops = backend === at.source && (this.options.mode !== 'ipvs' || rules.endpointNode[endpoint] === node)
    const marked = decision.masquerade !== 0 || loops
    const leaves = this.has(backend, ADDRESS_NODE) || rules.addressNode[backend] < 0
    const masquerade = here(backend)
      ? marked && (here(at.source) || at.source === connection.destination)
      : marked || (leaves && this.leavesCluster({ ...at, destination: backend }))
    const overBridge = backendNode === node && !here(backend)
    const column = node * 2 + this.familyAt(backend)
    const egress = overBridge ? rules.nodeLocalEgress[column] : rules.nodeRemoteEgress[column]
    const made = this.make(
      node,
      travel,
      backend,
      rules.endpointPort[endpoint],
      masquerade ? egress : null,
      endpoint,
      byPortmap,
    )
    if (made !== 'accept') return made
    travel.endpoint = endpoint
    if (backend === at.source && !masquerade && backendNode === node) return 'reply-bypasses-nat'
    return this.toBackend(node, backendNode, masquerade, travel)
  }

  private toBackend(node: number, backendNode: number, masqueraded: boolean, travel: Travel): string {
    if (backendNode < 0 || backendNode === node) return 'accept'
    const { destination, destinationPort } = travel.at
    const again =
      travel.nodes.length < 2 && isTranslatedAgain(this.rules, destination, destinationPort, travel.connection.protocol)
    const passed = (again ? this.translate(backendNode, travel) : null) ?? this.forward(backendNode, travel, false)
    if (passed !== 'accept') return passed
    const clientNode = this.rules.addressNode[travel.connection.client]
    return !masqueraded && clientNode !== node ? 'reply-bypasses-nat' : 'accept'
  }

  /** The entry that the packet belongs to on a node already, after what the packet does to it; the packet goes on as it says. */
  private meet(node: number, travel: Travel): Entry | 'invalid-state' | null {
    const entry = this.lookup(node, travel.at, travel.connection.protocol)
    if (entry === null) return null
    const outcome = this.advance(node, entry, travel.connection.protocol, travel.packet)
    if (outcome === 'new entry') return null
    if (outcome === 'invalid') return 'invalid-state'
    travel.nodes.push(node)
    travel.at = swapped(entry.reply)
    return entry
  }

  private forward(node: number, travel: Travel, masquerade: boolean): string {
    const met = this.meet(node, travel)
    if (met !== null) return met === 'invalid-state' ? met : 'accept'
    if (this.firstState(travel.connection.protocol, travel.packet) === null) return 'invalid-state'
    const column = node * 2 + this.familyAt(travel.at.destination)
    const egress = masquerade ? this.rules.nodeRemoteEgress[column] : null
    return this.make(node, travel, travel.at.destination, travel.at.destinationPort, egress, -1)
  }

  /** Makes an entry, with a source port that is free, and rewrites the packet. */
  private make(
    node: number,
    travel: Travel,
    backend: number,
    backendPort: number,
    egress: number | null,
    endpoint: number,
    byPortmap = false,
  ): string {
    const { at, connection, packet, word } = travel
    const { protocol } = connection
    const answers = (port: number): Tuple => ({
      source: backend,
      sourcePort: backendPort,
      destination: egress ?? at.source,
      destinationPort: port,
    })
    const takenPort = (port: number, harder: boolean): boolean => {
      const other = this.lookup(node, answers(port), protocol)
      if (other === null) return false
      const opens = protocol === TCP && tcpPacket(packet.flags) === 'SYN'
      if (!(harder && opens && CLOSING.includes(other.state))) return true
      this.forget(node, other, protocol)
      return false
    }
    const random = draw(this.options.seed, word, (node << 8) | protocol, PURPOSE_SNAT)
    const port = findPort(at.sourcePort, random, egress === null, 0, 1, takenPort)
    if (port === 0) return egress === null ? 'insert-failed' : 'snat-ports-exhausted'
    const state = this.firstState(protocol, packet)!
    const pickedUp = state === 'ESTABLISHED'
    const entry: Entry = {
      original: at,
      reply: answers(port),
      createdMs: this.nowMs,
      endpoint,
      byKubeProxy: !byPortmap,
      state,
      seenReply: false,
      pickedUp,
      synIgnored: false,
      expiresMs: this.nowMs + (pickedUp ? UNACKNOWLEDGED_SECONDS : this.seconds(state)) * 1000,
    }
    this.tables[node].set(keyOf(entry.original, protocol), entry)
    this.tables[node].set(keyOf(entry.reply, protocol), entry)
    this.touchIpvs(node, entry, protocol)
    travel.nodes.push(node)
    travel.at = swapped(entry.reply)
    return 'accept'
  }

  private choose(node: number, servicePort: number, frontend: number, set: readonly number[], travel: Travel): number {
    const { mode, seed } = this.options
    const owner = `${node} ${mode === 'ipvs' ? frontend : servicePort}`
    const client = travel.at.source
    const known = this.ipvs.get(`${node} ${keyOf(travel.at, travel.connection.protocol)}`)
    if (known !== undefined && known.untilMs > this.nowMs && set.includes(known.endpoint)) return known.endpoint
    const timeoutMs = this.rules.serviceAffinityMs[servicePort]
    const lists = this.affinity.get(owner) ?? new Map<number, Map<number, number>>()
    let endpoint = timeoutMs === 0 ? undefined : set.find((one) => (lists.get(one)?.get(client) ?? -1) >= this.nowMs)
    if (endpoint === undefined && mode === 'ipvs') {
      const turn = (this.turns.get(owner) ?? 0) % set.length
      this.turns.set(owner, turn + 1)
      endpoint = set[turn]
    }
    endpoint ??= set[below(draw(seed, travel.word, node, PURPOSE_ENDPOINT), set.length)]
    if (timeoutMs > 0) {
      this.affinity.set(owner, lists)
      const list = lists.get(endpoint) ?? new Map<number, number>()
      lists.set(endpoint, list.set(client, this.nowMs + timeoutMs))
    }
    return endpoint
  }
}
