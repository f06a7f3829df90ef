/**
 * `explain --stateful`: packets in order of time through one dataplane, with the cluster changing on the way.
 *
 * First all lines are read: changes give clusters, names give addresses. Then every cluster's rules are compiled in order with
 * one registry, so that identities last and all sizes are known. Then the lines run. An opening packet is explained by the
 * rules (as without state) and by what the dataplane chose; a later one by its conntrack entry.
 */

import {
  PROTOCOL_TCP,
  REASON_NONE,
  REASON_POLICY_EGRESS,
  REASON_POLICY_INGRESS,
  REASON_REPLY_BYPASSES_NAT,
  REASONS,
  VERDICT_NAMES,
} from '../../native-free-core/index.ts'
import type { Destination } from '../compile/compile.ts'
import { Registry } from '../compile/registry.ts'
import type { Warning } from '../errors.ts'
import { applyChange } from '../k8s/change.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { Directory, ExplainContext, type LoadedManifests } from './context.ts'
import { protocolText } from './describe.ts'
import { joinPort } from './dialled-name.ts'
import { explainRequest, Routes } from './http.ts'
import { failAt, type HttpLine, type Line, type PacketLine } from './lines.ts'
import { explainPacket, type Packet, titleOf } from './packet.ts'
import { type Asked, ask, isAnswer, packetOf, register, withAlternatives } from './resolve-packet.ts'
import { type EntryState, type Result, type Sent, Session } from './stepper.ts'
import { tupleText } from './translate.ts'
import type { Answer, Explanation, FrontendName, Step, VerdictName } from './types.ts'

/** What a line has become once names and changes are worked out. */
type Prepared =
  | { readonly kind: 'packet'; readonly line: PacketLine; readonly asked: Asked }
  | { readonly kind: 'done'; readonly line: PacketLine; readonly answer: Answer }
  | { readonly kind: 'http'; readonly line: HttpLine; readonly directory: Directory }
  | { readonly kind: 'change'; readonly timeSeconds: number; readonly directory: Directory }

/** What is remembered of a connection from its opening. */
interface Connection {
  readonly number: number
  readonly destination: number
  service: string | null
  frontend: FrontendName | null
}

/** @param defaultNode  `--node`, for lines that have none */
export function explainStateful(
  lines: readonly Line[],
  loaded: LoadedManifests,
  defaultNode: string | null,
  warn: (warning: Warning) => void,
): Answer[] {
  const registry = new Registry()
  const first = new Directory(loaded.cluster, loaded.naming, loaded.mode)
  const prepared = prepare(lines, loaded, first, defaultNode, registry, warn)
  const run = new StatefulRun(prepared, first, registry, warn)
  return run.answers()
}

function prepare(
  lines: readonly Line[],
  loaded: LoadedManifests,
  first: Directory,
  defaultNode: string | null,
  registry: Registry,
  warn: (warning: Warning) => void,
): Prepared[] {
  let objects = loaded.objects
  let directory = first
  const began = lines[0]?.timeSeconds ?? 0
  return lines.map((line): Prepared => {
    const timeSeconds = line.timeSeconds - began
    if (line.kind === 'change') {
      const changed = applyChange(objects, line.change, line.where)
      objects = changed.objects
      directory = new Directory(deriveCluster(objects, directory.cluster), loaded.naming, loaded.mode)
      for (const warning of [...changed.warnings, ...directory.cluster.warnings]) warn(warning)
      return { kind: 'change', timeSeconds, directory }
    }
    if (line.kind === 'http') return { kind: 'http', line, directory }
    const fail = failAt(line.where)
    const asked = ask({ ...line, node: line.node ?? defaultNode }, directory, fail)
    const timed = { ...line, timeSeconds }
    if (isAnswer(asked)) return { kind: 'done', line: timed, answer: asked }
    if (asked.sourcePort === 0) {
      throw fail(
        `from has no port: with --stateful a packet belongs to the connection that its tuple names`,
        `write "from":"${joinPort(asked.source, 40000)}"`,
      )
    }
    register(asked, registry)
    return { kind: 'packet', line: timed, asked }
  })
}

class StatefulRun {
  private readonly prepared: readonly Prepared[]
  private readonly registry: Registry
  private readonly contexts = new Map<Directory, ExplainContext>()
  private readonly destinations = new Map<string, number>()
  private readonly connections = new Map<string, Connection>()
  private readonly session: Session
  private context: ExplainContext

  constructor(prepared: readonly Prepared[], first: Directory, registry: Registry, warn: (warning: Warning) => void) {
    this.prepared = prepared
    this.registry = registry
    const destinations: Destination[] = []
    const packets = prepared.filter((one) => one.kind === 'packet')
    for (const { asked } of packets) {
      const key = destinationKey(asked)
      if (!this.destinations.has(key)) {
        this.destinations.set(key, destinations.length)
        const address = registry.address(asked.destination)
        destinations.push({ address, port: asked.port, protocol: asked.protocol, isService: false })
      }
      const own = connectionKey(asked)
      if (this.connections.has(own)) continue
      const destination = this.destinations.get(key)!
      this.connections.set(own, { number: this.connections.size, destination, service: null, frontend: null })
    }
    const directories = [first, ...prepared.flatMap((one) => (one.kind === 'change' ? [one.directory] : []))]
    for (const directory of directories) {
      const context = new ExplainContext(directory, registry, destinations)
      for (const warning of context.compiled.warnings) warn(warning)
      this.contexts.set(directory, context)
    }
    this.context = this.contexts.get(first)!
    this.session = new Session(this.context, {
      connections: this.connections.size,
      packets: packets.length,
      endpoints: registry.endpoints.length,
      nodes: registry.nodes.length,
      durationSeconds: Math.max(0, ...packets.slice(-1).map(({ line }) => line.timeSeconds)),
    })
  }

  answers(): Answer[] {
    let routes: Routes | null = null
    return this.prepared.flatMap((one): Answer[] => {
      if (one.kind === 'change') {
        this.context = this.contexts.get(one.directory)!
        this.session.adopt(this.context, one.timeSeconds)
        return []
      }
      if (one.kind === 'http') {
        if (routes?.directory !== one.directory) routes = new Routes(one.directory)
        return [withId(explainRequest(routes, one.line.request), one.line)]
      }
      if (one.kind === 'done') return [withId(chosenOf(one.answer, null), one.line)]
      return [withId(this.packet(one.line, one.asked), one.line)]
    })
  }

  private packet(line: PacketLine, asked: Asked): Answer {
    const { registry } = this
    const connection = this.connections.get(connectionKey(asked))!
    const packet = packetOf(asked, registry)
    const result = this.session.send(sentOf(line, asked, packet, connection))
    const opens = !result.known && !line.isReply
    const answer = opens
      ? this.opening(packet, asked, connection, result)
      : this.underWay(packet, line, connection, result)
    return chosenOf(answer, result.endpoint < 0 ? null : registry.endpointText(result.endpoint))
  }

  /** A first packet: the rules' own words, and what the dataplane made of them. */
  private opening(packet: Packet, asked: Asked, connection: Connection, result: Result): Answer {
    const { context } = this
    const delivered = result.reason === REASON_NONE || result.reason === REASON_REPLY_BYPASSES_NAT
    const isPolicy = result.reason === REASON_POLICY_EGRESS || result.reason === REASON_POLICY_INGRESS
    const { endpoint, seen, seenPort } = result
    const told = explainPacket(
      context,
      { ...packet, question: { ...packet.question, stays: false, entered: result.entered } },
      {
        bound: result.affinity < 0 ? null : result.affinity === 1,
        recalled: result.recalled,
        done: delivered && endpoint >= 0 ? { endpoint, seen, seenPort } : null,
        ...(isPolicy && endpoint >= 0 ? { stopped: endpoint } : {}),
      },
    )
    const { explanation } = withAlternatives(told, asked)
    connection.service = explanation.service
    connection.frontend = explanation.frontend
    const { node, steps: rules } = explanation
    const steps = node === null ? rules : withMiss(rules, node, result.recalled)
    const full = { ...told, explanation: { ...explanation, steps } }
    return result.reason === REASON_NONE ? full : lost(full, result)
  }

  /** A packet that meets its entry, or an answer that looks for it: the rules are not asked. */
  private underWay(packet: Packet, line: PacketLine, connection: Connection, result: Result): Answer {
    const { context, registry } = this
    const { reason, endpoint } = result
    const node = result.entered < 0 ? null : context.nodeName(result.entered)
    const at = node === null ? 'client' : `node ${node}`
    const { name, sentence, verdict } = REASONS[reason]!
    const passed = reason === REASON_NONE
    const title = line.isReply ? `answer to ${titleOf(context, packet)}` : titleOf(context, packet)
    const chosen = endpoint < 0 ? [] : [registry.endpointText(endpoint)]
    const masqueraded = result.known && result.seen !== packet.question.source
    const explanation: Explanation = {
      schemaVersion: 1,
      verdict: passed ? (endpoint < 0 ? 'none' : 'dnat') : (VERDICT_NAMES[verdict] as VerdictName),
      endpoints: result.known ? chosen : [],
      masquerade: passed && endpoint >= 0 && masqueraded,
      seen: passed && !line.isReply && result.backend >= 0 ? [registry.addressText(result.seen)] : [],
      reason: passed ? null : name,
      service: connection.service,
      frontend: connection.frontend,
      node,
      steps: [
        ...packet.before,
        { at, stage: 'conntrack', detail: entryText(result) },
        ...(passed && result.backend >= 0 ? this.translated(at, packet, line, result) : []),
        ...(passed ? [] : [{ at, stage: 'conntrack', detail: `${name}: ${sentence}` } as const]),
      ],
    }
    const conclusion = passed
      ? endpoint < 0
        ? 'none: it passes untranslated, as its entry says'
        : `dnat to ${chosen[0]}, as its entry says`
      : `${explanation.verdict}: ${sentence} [${name}]`
    return { title, conclusion, explanation }
  }

  /** The stored translation, in the direction of the packet. */
  private translated(at: string, packet: Packet, line: PacketLine, result: Result): Step[] {
    const { context, registry } = this
    const { question } = packet
    const outer = tupleText(
      context,
      question.source,
      question.sourcePort,
      joinPort(registry.addressText(question.destination), question.port),
      question.protocol,
    )
    const backend = joinPort(registry.addressText(result.backend), result.backendPort)
    const seen = joinPort(registry.addressText(result.seen), result.seenPort)
    const client = joinPort(registry.addressText(question.source), question.sourcePort)
    const dialled = joinPort(registry.addressText(question.destination), question.port)
    const protocol = protocolText(question.protocol)
    if (line.isReply) {
      const detail = `${backend} → ${seen} ${protocol} becomes ${dialled} → ${client} ${protocol}`
      return [
        { at, stage: 'dnat', detail },
        { at: 'client', stage: 'deliver', detail: `gets the answer from ${dialled}, the address it dialled` },
      ]
    }
    const pod = context.directory.podAt(registry.addressText(result.backend))
    const where = pod === undefined ? `endpoint ${backend}` : `pod ${pod.namespace}/${pod.name}`
    return [
      { at, stage: 'dnat', detail: `${outer} becomes ${seen} → ${backend} ${protocol}, the stored translation` },
      {
        at: where,
        stage: 'deliver',
        detail: `sees ${seen}${seen === client ? ', the client itself' : ` in place of ${client}`}`,
      },
    ]
  }
}

/** The rules had no objection, or another one, and the packet was lost all the same. */
function lost(answer: Answer, { reason }: Result): Answer {
  const { explanation } = answer
  const { name, sentence, verdict } = REASONS[reason]!
  if (explanation.reason === name) return answer
  const said: VerdictName = reason === REASON_REPLY_BYPASSES_NAT ? 'dnat' : (VERDICT_NAMES[verdict] as VerdictName)
  const step: Step = {
    at: explanation.node === null ? 'client' : `node ${explanation.node}`,
    stage: reason === REASON_REPLY_BYPASSES_NAT ? 'deliver' : 'conntrack',
    detail: `${name}: ${sentence}`,
  }
  return {
    ...answer,
    conclusion: `${said}: ${sentence} [${name}]`,
    explanation: { ...explanation, verdict: said, reason: name, steps: [...explanation.steps, step] },
  }
}

function sentOf(line: PacketLine, asked: Asked, packet: Packet, connection: Connection): Sent {
  return {
    connection: connection.number,
    client: packet.question.source,
    destination: connection.destination,
    sourcePort: asked.sourcePort,
    protocol: asked.protocol,
    node: packet.question.node,
    timeSeconds: line.timeSeconds,
    flags: asked.protocol === PROTOCOL_TCP ? line.flags : null,
    isReply: line.isReply,
  }
}

function entryText({ known, before, after }: Result): string {
  if (!known || before === null) return 'miss: no entry for this connection'
  const found = `hit: ${stateText(before)}`
  if (after === null) return `${found}; the entry is gone after this packet`
  if (after.name !== before.name) return `${found}; now ${stateText(after)}: the rules are not asked`
  return `${found}, the timer starts again at ${seconds(after.secondsLeft)}: the stored translation applies, the rules are not asked`
}

function stateText({ name, secondsLeft }: EntryState): string {
  return `${name}, ${seconds(secondsLeft)} left`
}

function seconds(value: number): string {
  return `${Number(value.toFixed(1))} s`
}

/** After what brought the packet to the node, before the first thing that its rules say. */
function withMiss(steps: readonly Step[], node: string, recalled: boolean): Step[] {
  const first = steps.findIndex(({ stage }) => stage === 'frontend')
  const index = first < 0 ? steps.length : first
  const detail = recalled
    ? 'miss: no entry for this tuple any more; ipvs still has the connection in its own table'
    : 'miss: no entry for this tuple, it is the first packet of a connection and the rules decide'
  return [...steps.slice(0, index), { at: `node ${node}`, stage: 'conntrack', detail }, ...steps.slice(index)]
}

function destinationKey({ destination, port, protocol }: Asked): string {
  return `${destination} ${port} ${protocol}`
}

function connectionKey(asked: Asked): string {
  return `${asked.source} ${asked.sourcePort} ${destinationKey(asked)} ${asked.node ?? ''}`
}

function chosenOf(answer: Answer, chosen: string | null): Answer {
  return { ...answer, explanation: { ...answer.explanation, chosen } }
}

/** The line's id comes second, behind the schema version. */
export function withId(answer: Answer, { id }: { readonly id: Line['id'] }): Answer {
  const { schemaVersion, ...rest } = answer.explanation
  return { ...answer, explanation: { schemaVersion, id, ...rest } }
}
