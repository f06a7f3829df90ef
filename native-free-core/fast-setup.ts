/**
 * The first packet of nearly every connection, in one straight run: to an address that is a Service's (cluster IP, load balancer;
 * from within also external IP), over one or two nodes, nothing in its way. Whatever is out of the ordinary is left to
 * `SlowPath.open`, untouched: so this decides nothing of its own, and a connection comes out the same either way
 * (test/core/fast-setup.prop.test.ts).
 *
 * It has two halves. `plan` finds out what the new connections of a batch will become, before its first packet is processed, and
 * changes nothing that counts: it goes step by step over all of them, so that their cache misses overlap, and at last reads the
 * places of the index that they will be entered at. `open` looks whether the plan still holds and enters the connection.
 * What the rules say hangs on frontend, node and what the source looks like from there, so `decide` is asked once for each.
 *
 * Cost: about two thirds of the general driver's time (bench: new-connections, against `fastSetup: false`): that one makes two
 * dozen calls, each of which fetches again what the one before had in registers, and waits for most cache misses one by one.
 * Allocates nothing; holds 270 KiB, of which it touches what the Services dialled need.
 */

import { CHECKED, check } from './checked.ts'
import { connectionRandom } from './connection-setup.ts'
import {
  alignedWords,
  ENTRY_CREATED,
  ENTRY_ENDPOINT,
  ENTRY_EXPIRES,
  ENTRY_FRONTEND_SHIFT,
  ENTRY_PORT_COUNTER,
  ENTRY_SERVICE_COUNTER,
  ENTRY_SHIFT,
  ENTRY_STATE,
  swapPorts,
} from './conntrack-table.ts'
import { establishedCost, firstPacketCost, propagationBetween } from './cost-model.ts'
import {
  ACTION_DNAT,
  ADDRESS_DOUBTFUL,
  classifySource,
  createDecision,
  decide,
  endpointFate,
  findFrontend,
  hairpinMark,
  masqueradeAddress,
  masqueradeTowards,
  type PacketHeader,
} from './decide.ts'
import { REASON_NONE } from './drop-reasons.ts'
import type { FastSetup, FastSetupParts } from './fast-setup-types.ts'
import {
  FLOW_BACKEND,
  FLOW_CLIENT,
  FLOW_CORE_SHIFT,
  FLOW_CORE2_SHIFT,
  FLOW_DESTINATION,
  FLOW_DESTINATION_INDEX,
  FLOW_ENDPOINT,
  FLOW_ENTRY,
  FLOW_ENTRY2,
  FLOW_FIRST_NANOS,
  FLOW_FLAGS,
  FLOW_FORWARD_NANOS,
  FLOW_HASH_BITS,
  FLOW_MASQUERADED,
  FLOW_NAT_PORTS,
  FLOW_NAT_SOURCE,
  FLOW_NEW,
  FLOW_NODE_PROTOCOL,
  FLOW_NODE_PROTOCOL2,
  FLOW_OPEN,
  FLOW_OPEN2,
  FLOW_PORTS,
  FLOW_STATUS,
} from './flow-record.ts'
import { below, draw, hashTuple, PURPOSE_COST, PURPOSE_ENDPOINT, PURPOSE_LOAD_BALANCER, PURPOSE_SNAT } from './hash.ts'
import { isTranslatedAgain } from './host-port.ts'
import type {
  AddressId,
  EndpointId,
  EntryNumber,
  FlowOffset,
  FrontendId,
  Millis32,
  NodeId,
  Protocol,
  Shard,
  Tick,
  Tick32,
} from './kinds.ts'
import { firstTry } from './nat-ports.ts'
import { FLAG_REPLY, PROTOCOL_TCP, TICKS_PER_MS } from './packet.ts'
import { policyFate } from './policy.ts'
import { ENDPOINT_WORDS, NODE_AFFINITY_HITS, NODE_AFFINITY_MISSES, NODE_INSERT, NODE_WORDS } from './result.ts'
import {
  DESTINATION_NAME,
  FRONTEND_BALANCER_PROXY,
  FRONTEND_LOAD_BALANCER_IP,
  familyOf,
  MODE_IPTABLES,
  MODE_IPVS,
  NO_RULES,
  type RuleColumns,
  SETTING_BALANCER_NANOS,
  SETTING_CLIENT_NANOS,
  SETTING_LOCAL_DELIVERY_NANOS,
  SETTING_MODE,
  SETTING_POLICIES,
  SETTING_RANDOM_FULLY,
} from './rule-columns.ts'
import { pickUniform } from './schedulers.ts'
import { CLASS_NONE, CLASS_SYN, FLAG_CLASS, initialState } from './tcp-states.ts'

/** Answers of `decide`, by frontend, node and `SOURCE_*`: a direct-mapped cache, the last writer wins. */
const ANSWERS = 1 << 13
const ANSWER_SHIFT = 3
/** Behind the cache: for an answer that is only compared. */
const SCRATCH: number = ANSWERS << ANSWER_SHIFT
/** Which answer is there, + 1; 0 for none. */
const ANSWER_KEY = 0
/** What a plan of it will be worth: `PLAN_STATE`. */
const ANSWER_STATE = 1
const ANSWER_SET_START = 2
const ANSWER_SET_COUNT = 3
const ANSWER_MASQUERADE = 4
const ANSWER_SERVICE_PORT = 5
/** The counter of the node's entries for the Service port, and the shard + 1 it is valid for: refreshed when the shard changes. */
const ANSWER_SERVICE_COUNTER = 6
const ANSWER_SERVICE_COUNTER_SHARD = 7
const SOURCES = 3

/** What a packet of the batch will become; the answer is copied, since its slot of the cache may be reused before `open`. */
const PLAN_SHIFT = 5
const PLAN_STATE = 0
const PLAN_FLOW = 1
const PLAN_NODE = 2
const PLAN_FRONTEND = 3
/** The connection's random word. */
const PLAN_RANDOM = 4
const PLAN_NOW = 5
const PLAN_SERVICE_PORT = 6
const PLAN_ENDPOINT = 7
/** Position of the endpoint that affinity had bound the client to, or -1. */
const PLAN_BOUND = 8
const PLAN_MASQUERADE = 9
/** What the pod sees: address id and port. */
const PLAN_NAT_SOURCE = 10
const PLAN_NAT_PORT = 11
const PLAN_HASH = 12
const PLAN_REPLY_HASH = 13
/** What the first packet costs beyond those that follow, ns. */
const PLAN_EXTRA = 14
/** The endpoints to choose from. */
const PLAN_SET_START = 15
const PLAN_SET_COUNT = 16
const PLAN_SERVICE_COUNTER = 17

/** `PLAN_STATE`: not looked at. */
const NO_PLAN = 0
/** Valid. */
const PLANNED = 1
/** Valid unless a packet before it in the batch changes the client's affinity: looked up again in `open`. */
const LOOK_AGAIN = 2
/** Punted to the general driver. */
const REFUSED = 3

export function createFastSetup(parts: FastSetupParts): FastSetup {
  const { slowPath, flows, batchFlows, result, layout, shards, nodes, quotas } = parts
  const { time, flags: packetFlags } = parts.packets
  const { conntrack, selector, path } = slowPath
  const { told } = slowPath.names
  const { table } = conntrack
  const { entries, counts } = table
  const answers = alignedWords((ANSWERS + 1) << ANSWER_SHIFT)
  const plans = alignedWords(batchFlows.length << PLAN_SHIFT)
  /** Positions in the batch of its new connections. */
  const fresh = new Int32Array(batchFlows.length)
  const decision = createDecision()
  const asked: PacketHeader = { source: 0, destination: 0, port: 0, protocol: 0 }
  let rules = NO_RULES
  let serves = false
  /** There are NetworkPolicies. */
  let policed = false

  function take(next: RuleColumns): void {
    rules = next
    // Punted whole: ipvs (its schedulers count connections), clusters with HTTP proxies (their connections need the general driver),
    // and rule sets whose cache keys exceed an int32.
    const keys = rules.frontendKind.length * nodes * SOURCES
    serves = rules.settings[SETTING_MODE] !== MODE_IPVS && rules.addressProxy.length === 0 && keys < 0x7fffffff
    policed = rules.settings[SETTING_POLICIES] !== 0
    answers.fill(0)
  }

  /** Where a node's answer to a connection that dials `frontend` is. */
  function answerTo(frontend: FrontendId, node: NodeId, flow: FlowOffset): number {
    const key = (frontend * nodes + node) * SOURCES + classifySource(rules, node, flows[flow + FLOW_CLIENT]) + 1
    const answer = (key & (ANSWERS - 1)) << ANSWER_SHIFT
    if (answers[answer + ANSWER_KEY] !== key) {
      ask(answer, frontend, node, flow)
      answers[answer + ANSWER_KEY] = key
    } else if (CHECKED && answers[answer + ANSWER_STATE] !== REFUSED) {
      ask(SCRATCH, frontend, node, flow)
      for (let i = ANSWER_STATE; i <= ANSWER_SERVICE_PORT; i++) {
        check(answers[answer + i] === answers[SCRATCH + i], 'decide sees only frontend, node and source class')
      }
    }
    return answer
  }

  function ask(answer: number, frontend: FrontendId, node: NodeId, flow: FlowOffset): void {
    asked.source = flows[flow + FLOW_CLIENT]
    asked.destination = flows[flow + FLOW_DESTINATION]
    asked.port = flows[flow + FLOW_PORTS] & 0xffff
    asked.protocol = flows[flow + FLOW_STATUS] >> 8
    decide(rules, node, asked, decision, frontend)
    const affinityMs = decision.servicePort < 0 ? 0 : rules.serviceAffinityMs[decision.servicePort]
    // Not cacheable by (frontend, node, source class), so punted: source ranges read the address itself, a proxying balancer dials
    // from another one, and iptables' affinity is kept in `recent` lists.
    const ordinary =
      decision.action === ACTION_DNAT &&
      rules.frontendKind[frontend] !== FRONTEND_BALANCER_PROXY &&
      rules.frontendRangeCount[frontend] === 0 &&
      (affinityMs === 0 || rules.settings[SETTING_MODE] !== MODE_IPTABLES)
    answers[answer + ANSWER_STATE] = !ordinary ? REFUSED : affinityMs === 0 ? PLANNED : LOOK_AGAIN
    answers[answer + ANSWER_SET_START] = decision.setStart
    answers[answer + ANSWER_SET_COUNT] = decision.setCount
    answers[answer + ANSWER_MASQUERADE] = decision.masquerade
    answers[answer + ANSWER_SERVICE_PORT] = decision.servicePort
    answers[answer + ANSWER_SERVICE_COUNTER_SHARD] = 0
  }

  function plan(shard: Shard, baseTick: Tick, from: number, size: number): number {
    let count = 0
    for (let inBatch = 0; inBatch < size; inBatch++) {
      const flow = batchFlows[inBatch]
      if ((flows[flow + FLOW_STATUS] & 0xff) !== FLOW_NEW) continue
      const tick = baseTick + time[from + inBatch]
      aim(inBatch, flow, packetFlags[from + inBatch], Math.floor(tick / TICKS_PER_MS) | 0, tick | 0)
      fresh[count++] = inBatch
    }
    let touched = 0
    for (let i = 0; i < count; i++) touched ^= consult(shard, fresh[i])
    for (let i = 0; i < count; i++) choose(shard, fresh[i])
    for (let i = 0; i < count; i++) translate(shard, fresh[i])
    const ports = conntrack.ports[shard]
    for (let i = 0; i < count; i++) {
      const p = fresh[i] << PLAN_SHIFT
      if (plans[p + PLAN_STATE] === REFUSED) {
        touched ^= touchFirst(batchFlows[fresh[i]])
        continue
      }
      const endpoint = plans[p + PLAN_ENDPOINT]
      touched ^= table.prefetch(plans[p + PLAN_HASH]) ^ table.prefetch(plans[p + PLAN_REPLY_HASH])
      if (plans[p + PLAN_MASQUERADE] !== 0) touched ^= ports.prefetch(plans[p + PLAN_NODE], endpoint)
      touched ^= result[layout.endpoints + endpoint * ENDPOINT_WORDS] | 0
    }
    return touched
  }

  /** Reads the place where the general way will look first. */
  function touchFirst(flow: FlowOffset): number {
    const protocol = flows[flow + FLOW_STATUS] >> 8
    return table.prefetch(
      hashTuple(flows[flow + FLOW_CLIENT], flows[flow + FLOW_DESTINATION], flows[flow + FLOW_PORTS], protocol),
    )
  }

  /** All of it for one packet. @returns `PLAN_STATE` */
  function planNow(
    shard: Shard,
    inBatch: number,
    flow: FlowOffset,
    flags: number,
    nowMs: Millis32,
    tick: Tick32,
  ): number {
    aim(inBatch, flow, flags, nowMs, tick)
    consult(shard, inBatch)
    choose(shard, inBatch)
    translate(shard, inBatch)
    return plans[(inBatch << PLAN_SHIFT) + PLAN_STATE]
  }

  /** Where the packet is going, and the node it comes in on. */
  function aim(inBatch: number, flow: FlowOffset, flags: number, nowMs: Millis32, tick: Tick32): void {
    const p = inBatch << PLAN_SHIFT
    plans[p + PLAN_STATE] = REFUSED
    const protocol = flows[flow + FLOW_STATUS] >> 8
    // Connections under way are picked up on the general way.
    if (!serves || flags >= FLAG_REPLY || (protocol === PROTOCOL_TCP && FLAG_CLASS[flags & 63] !== CLASS_SYN)) return
    if (rules.destinationIsService[flows[flow + FLOW_DESTINATION_INDEX]] === DESTINATION_NAME) return
    const source = flows[flow + FLOW_CLIENT]
    const destination = flows[flow + FLOW_DESTINATION]
    const ports = flows[flow + FLOW_PORTS]
    const frontend = findFrontend(rules, destination, ports & 0xffff, protocol)
    if (frontend < 0) return
    const random = connectionRandom(tick, source, destination, ports)
    let node = rules.addressNode[source]
    if (node < 0) {
      const count = rules.frontendNodeCount[frontend]
      if (rules.frontendKind[frontend] !== FRONTEND_LOAD_BALANCER_IP || count === 0) return
      const choice = below(draw(slowPath.seed, random, 0, PURPOSE_LOAD_BALANCER), count)
      node = rules.balancerNodes[rules.frontendNodeStart[frontend] + choice]
      if (node < 0) return
    }
    plans[p + PLAN_STATE] = PLANNED
    plans[p + PLAN_FLOW] = flow
    plans[p + PLAN_NODE] = node
    plans[p + PLAN_FRONTEND] = frontend
    plans[p + PLAN_RANDOM] = random
    plans[p + PLAN_NOW] = nowMs
  }

  /** What the node's rules say. @returns something read of the client's affinity */
  function consult(shard: Shard, inBatch: number): number {
    const p = inBatch << PLAN_SHIFT
    if (plans[p + PLAN_STATE] === REFUSED) return 0
    const node = plans[p + PLAN_NODE]
    const flow = plans[p + PLAN_FLOW]
    const answer = answerTo(plans[p + PLAN_FRONTEND], node, flow)
    const servicePort = answers[answer + ANSWER_SERVICE_PORT]
    plans[p + PLAN_STATE] = answers[answer + ANSWER_STATE]
    plans[p + PLAN_SERVICE_PORT] = servicePort
    plans[p + PLAN_MASQUERADE] = answers[answer + ANSWER_MASQUERADE]
    plans[p + PLAN_SET_START] = answers[answer + ANSWER_SET_START]
    plans[p + PLAN_SET_COUNT] = answers[answer + ANSWER_SET_COUNT]
    if (plans[p + PLAN_STATE] === REFUSED) return 0
    if (answers[answer + ANSWER_SERVICE_COUNTER_SHARD] !== shard + 1) {
      answers[answer + ANSWER_SERVICE_COUNTER_SHARD] = shard + 1
      answers[answer + ANSWER_SERVICE_COUNTER] = conntrack.serviceEntries[shard].index(node, servicePort + 1)
    }
    plans[p + PLAN_SERVICE_COUNTER] = answers[answer + ANSWER_SERVICE_COUNTER]
    if (plans[p + PLAN_STATE] !== LOOK_AGAIN) return 0
    return selector.affinity[shard].prefetch(flows[flow + FLOW_CLIENT], servicePort * nodes + node)
  }

  /** Position of the endpoint that affinity binds the client of a plan to, or -1. */
  function boundTo(shard: Shard, p: number): number {
    const client = flows[plans[p + PLAN_FLOW] + FLOW_CLIENT]
    const owner = plans[p + PLAN_SERVICE_PORT] * nodes + plans[p + PLAN_NODE]
    const start = plans[p + PLAN_SET_START]
    return selector.affinity[shard].find(
      client,
      owner,
      plans[p + PLAN_NOW],
      rules.members,
      start,
      plans[p + PLAN_SET_COUNT],
    )
  }

  /** The endpoint: the one that the client is bound to, or any. */
  function choose(shard: Shard, inBatch: number): void {
    const p = inBatch << PLAN_SHIFT
    if (plans[p + PLAN_STATE] === REFUSED) return
    const node = plans[p + PLAN_NODE]
    const count = plans[p + PLAN_SET_COUNT]
    let position = plans[p + PLAN_STATE] === LOOK_AGAIN ? boundTo(shard, p) : -1
    plans[p + PLAN_BOUND] = position
    if (position < 0) {
      position = pickUniform(draw(slowPath.seed, plans[p + PLAN_RANDOM], node, PURPOSE_ENDPOINT), count)
    }
    plans[p + PLAN_ENDPOINT] = rules.members[plans[p + PLAN_SET_START] + position]
  }

  /** What the endpoint will see, and both tuples' places. */
  function translate(shard: Shard, inBatch: number): void {
    const p = inBatch << PLAN_SHIFT
    if (plans[p + PLAN_STATE] === REFUSED) return
    const flow = plans[p + PLAN_FLOW]
    const node = plans[p + PLAN_NODE]
    const endpoint = plans[p + PLAN_ENDPOINT]
    const protocol = flows[flow + FLOW_STATUS] >> 8
    const source = flows[flow + FLOW_CLIENT]
    const destination = flows[flow + FLOW_DESTINATION]
    const ports = flows[flow + FLOW_PORTS]
    const { seed } = slowPath
    const random = plans[p + PLAN_RANDOM]
    const backend = rules.endpointAddress[endpoint]
    if ((rules.addressFlags[backend] & ADDRESS_DOUBTFUL) !== 0 && !isPlain(node, endpoint, backend, protocol)) {
      plans[p + PLAN_STATE] = REFUSED
      return
    }
    const marks = plans[p + PLAN_MASQUERADE] | hairpinMark(rules, node, source, endpoint)
    const masquerade = masqueradeTowards(rules, node, source, backend, marks)
    let natSource = source
    let seenPort = ports >>> 16
    if (masquerade !== 0) {
      natSource = masqueradeAddress(rules, node, endpoint, familyOf(rules, destination))
      if (rules.settings[SETTING_RANDOM_FULLY] !== 0) {
        seenPort = firstTry(seenPort, draw(seed, random, (node << 8) | protocol, PURPOSE_SNAT), shard, shards)
      }
    }
    if (seenPort === 0 || (policed && isBarred(node, source, natSource, endpoint, protocol)))
      plans[p + PLAN_STATE] = REFUSED
    plans[p + PLAN_HASH] = hashTuple(source, destination, ports, protocol)
    plans[p + PLAN_REPLY_HASH] = hashTuple(
      backend,
      natSource,
      (rules.endpointPort[endpoint] << 16) | seenPort,
      protocol,
    )
    plans[p + PLAN_NAT_SOURCE] = natSource
    plans[p + PLAN_NAT_PORT] = seenPort
    plans[p + PLAN_MASQUERADE] = masquerade
    plans[p + PLAN_EXTRA] = firstPacketCost(
      rules,
      plans[p + PLAN_SERVICE_PORT],
      masquerade !== 0,
      draw(seed, random, node, PURPOSE_COST),
    )
  }

  /** NetworkPolicies stop it, here or on the endpoint's node. */
  function isBarred(
    node: NodeId,
    source: AddressId,
    natSource: AddressId,
    endpoint: EndpointId,
    protocol: Protocol,
  ): boolean {
    const backend = rules.endpointAddress[endpoint]
    const port = rules.endpointPort[endpoint]
    if (policyFate(rules, (node << 8) | protocol, source, natSource, backend, port) !== REASON_NONE) return true
    const there = rules.addressNode[backend]
    return (
      there >= 0 &&
      there !== node &&
      policyFate(rules, (there << 8) | protocol, natSource, natSource, backend, port) !== REASON_NONE
    )
  }

  /** Nothing more is in the way to an endpoint at an address of a node or a Service. */
  function isPlain(node: NodeId, endpoint: EndpointId, backend: AddressId, protocol: Protocol): boolean {
    return (
      endpointFate(rules, node, endpoint, protocol) === REASON_NONE &&
      !isTranslatedAgain(rules, backend, rules.endpointPort[endpoint], protocol)
    )
  }

  function open(
    shard: Shard,
    inBatch: number,
    flow: FlowOffset,
    flags: number,
    nowMs: Millis32,
    tick: Tick32,
  ): boolean {
    const p = inBatch << PLAN_SHIFT
    let worth = plans[p + PLAN_STATE]
    plans[p + PLAN_STATE] = NO_PLAN
    if (worth === NO_PLAN || (worth === LOOK_AGAIN && boundTo(shard, p) !== plans[p + PLAN_BOUND])) {
      worth = planNow(shard, inBatch, flow, flags, nowMs, tick)
      plans[p + PLAN_STATE] = NO_PLAN
    }
    if (worth === REFUSED) return false
    const affine = worth === LOOK_AGAIN
    const protocol = flows[flow + FLOW_STATUS] >> 8
    const source = flows[flow + FLOW_CLIENT]
    const destination = flows[flow + FLOW_DESTINATION]
    const ports = flows[flow + FLOW_PORTS]
    const node = plans[p + PLAN_NODE]
    const nodeProtocol = (node << 8) | protocol
    const hash = plans[p + PLAN_HASH]
    const replyHash = plans[p + PLAN_REPLY_HASH]
    const endpoint = plans[p + PLAN_ENDPOINT]
    const backend = rules.endpointAddress[endpoint]
    const backendNode = rules.addressNode[backend]
    const natSource = plans[p + PLAN_NAT_SOURCE]
    const masquerade = plans[p + PLAN_MASQUERADE]
    const masquerades = masquerade !== 0
    const away = backendNode >= 0 && backendNode !== node
    const fromOutside = rules.addressNode[source] < 0
    // Not masqueraded, the pod would answer past the node that translates.
    if (away && fromOutside && !masquerades) return false
    const replyPorts = (rules.endpointPort[endpoint] << 16) | plans[p + PLAN_NAT_PORT]
    const delivered = swapPorts(replyPorts)
    const at = shard * nodes + node
    if (counts[at] >= quotas[at]) return false
    if (table.find(shard, hash, source, destination, ports, nodeProtocol) >= 0) return false
    if (table.find(shard, replyHash, backend, natSource, replyPorts, nodeProtocol) >= 0) return false
    const nodeProtocol2 = (backendNode << 8) | protocol
    let hash2 = 0
    if (away) {
      hash2 = hashTuple(natSource, backend, delivered, protocol)
      const at2 = shard * nodes + backendNode
      if (counts[at2] >= quotas[at2]) return false
      if (table.find(shard, hash2, natSource, backend, delivered, nodeProtocol2) >= 0) return false
      if (table.find(shard, replyHash, backend, natSource, replyPorts, nodeProtocol2) >= 0) return false
    }
    if (!table.hasRoom(shard, away ? 2 : 1)) return false

    // Nothing is in its way.
    conntrack.shard = shard
    conntrack.nowMs = nowMs
    const state = initialState(protocol, protocol === PROTOCOL_TCP ? CLASS_SYN : CLASS_NONE, true)
    const servicePort = plans[p + PLAN_SERVICE_PORT]
    if (affine) {
      const expiresMs = nowMs + rules.serviceAffinityMs[servicePort]
      selector.affinity[shard].renew(source, servicePort * nodes + node, endpoint, expiresMs)
      const counter = plans[p + PLAN_BOUND] >= 0 ? NODE_AFFINITY_HITS : NODE_AFFINITY_MISSES
      count(layout.nodes + node * NODE_WORDS + counter)
    }
    const entry = table.insert(
      shard,
      hash,
      source,
      destination,
      ports,
      nodeProtocol,
      replyHash,
      backend,
      natSource,
      replyPorts,
    )
    const serviceCounter = plans[p + PLAN_SERVICE_COUNTER]
    const holding = conntrack.serviceEntries[shard].counts
    holding[serviceCounter] = holding[serviceCounter] + 1
    const stateWord = state | ((plans[p + PLAN_FRONTEND] + 1) << ENTRY_FRONTEND_SHIFT)
    fill(entry, stateWord, endpoint + 1, nowMs, serviceCounter + 1)
    if (masquerades) conntrack.holdPort(entry, node, endpoint)

    const { settings } = rules
    const random = plans[p + PLAN_RANDOM]
    const cost = establishedCost(rules, masquerades)
    const extra = plans[p + PLAN_EXTRA]
    let forward = cost + settings[backendNode >= 0 ? SETTING_LOCAL_DELIVERY_NANOS : SETTING_CLIENT_NANOS]
    if (fromOutside) forward += settings[SETTING_CLIENT_NANOS] + settings[SETTING_BALANCER_NANOS]
    let first = extra
    let flowFlags = (random & FLOW_HASH_BITS) | (masquerades ? FLOW_MASQUERADED : 0)
    flowFlags |= slowPath.core(node, random, flow) << FLOW_CORE_SHIFT
    slowPath.entered = node
    told.nanos = 0
    path.hops = 1
    path.cost0 = cost + extra
    path.masqueraded = masquerade
    if (away) {
      const entry2 = table.insert(
        shard,
        hash2,
        natSource,
        backend,
        delivered,
        nodeProtocol2,
        replyHash,
        backend,
        natSource,
        replyPorts,
      )
      fill(entry2, state, 0, nowMs, conntrack.hold(backendNode, servicePort))
      const cost2 = establishedCost(rules, false)
      const extra2 = firstPacketCost(rules, -1, false, draw(slowPath.seed, random, backendNode, PURPOSE_COST))
      forward += cost2 + propagationBetween(rules, node, backendNode)
      first += extra2
      flowFlags |= slowPath.core(backendNode, random, flow) << FLOW_CORE2_SHIFT
      path.hops = 2
      path.cost1 = cost2 + extra2
      flows[flow + FLOW_ENTRY2] = entry2
      flows[flow + FLOW_NODE_PROTOCOL2] = nodeProtocol2
      count(layout.nodes + backendNode * NODE_WORDS + NODE_INSERT)
    } else {
      flows[flow + FLOW_ENTRY2] = 0
      flows[flow + FLOW_NODE_PROTOCOL2] = (-1 << 8) | protocol
    }
    flows[flow + FLOW_STATUS] = (away ? FLOW_OPEN2 : FLOW_OPEN) | (protocol << 8)
    flows[flow + FLOW_ENTRY] = entry
    flows[flow + FLOW_NODE_PROTOCOL] = nodeProtocol
    flows[flow + FLOW_FORWARD_NANOS] = forward
    flows[flow + FLOW_FLAGS] = flowFlags
    flows[flow + FLOW_FIRST_NANOS] = forward + first
    flows[flow + FLOW_ENDPOINT] = endpoint
    flows[flow + FLOW_BACKEND] = backend
    flows[flow + FLOW_NAT_SOURCE] = natSource
    flows[flow + FLOW_NAT_PORTS] = delivered
    count(layout.nodes + node * NODE_WORDS + NODE_INSERT)
    return true
  }

  /** The words of an entry that the table does not fill in. */
  function fill(
    entry: EntryNumber,
    stateWord: number,
    endpoint: number,
    nowMs: Millis32,
    serviceCounter: number,
  ): void {
    const base = entry << ENTRY_SHIFT
    entries[base + ENTRY_STATE] = stateWord
    entries[base + ENTRY_CREATED] = nowMs
    entries[base + ENTRY_ENDPOINT] = endpoint
    entries[base + ENTRY_PORT_COUNTER] = 0
    entries[base + ENTRY_EXPIRES] = (nowMs + rules.timeouts[stateWord & 15]) | 0
    entries[base + ENTRY_SERVICE_COUNTER] = serviceCounter
  }

  function count(at: number): void {
    result[at] = result[at] + 1
  }

  return { take, plan, open }
}
