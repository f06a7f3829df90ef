/**
 * From what a line or the flags say to a packet of addresses: names looked up, families matched, node and protocol settled.
 *
 * Needs the cluster's objects only, no rules: the addresses that come out must be registered before rules are compiled.
 */
import { REASON_NAME_NOT_RESOLVED, REASON_POLICY_DNS, REASONS } from '../../native-free-core/index.ts'
import { PROTOCOL_NUMBERS } from '../compile/frontends.ts'
import type { Registry } from '../compile/registry.ts'
import type { Protocol } from '../k8s/types.ts'
import { suggestion } from '../nearest.ts'
import type { Directory } from './context.ts'
import { joinPort, matchFamilies, resolveSource, resolveTarget, type Target } from './dialled-name.ts'
import { stoppedQuestion } from './dns-policy.ts'
import type { Packet } from './packet.ts'
import type { Answer, Fail, Step } from './types.ts'

export interface Wanted {
  readonly from: string
  readonly to: string
  /** null: tcp, or what a port name says. */
  readonly protocol: Protocol | null
  readonly node: string | null
}

/** A packet with its addresses in text. */
export interface Asked {
  readonly source: string
  readonly sourcePort: number
  readonly destination: string
  readonly port: number
  readonly protocol: number
  readonly node: string | null
  readonly before: readonly Step[]
  /** As given, '' for addresses. */
  readonly fromName: string
  readonly toName: string
  /** Other addresses that the same name stands for: a client of a headless Service may take any of them. */
  readonly alternatives: readonly string[]
}

/** @returns  an Answer where a name has no address, so that there is no packet */
export function ask(wanted: Wanted, directory: Directory, fail: Fail): Asked | Answer {
  const source = resolveSource(wanted.from, directory, fail)
  const target = resolveTarget(wanted.to, source, wanted.protocol, directory, fail, (pod, conf) =>
    stoppedQuestion(directory, pod, conf),
  )
  if (wanted.node !== null && !directory.nodes.has(wanted.node)) {
    throw fail(`there is no node ${wanted.node}`, suggestion(wanted.node, [...directory.nodes.keys()]))
  }
  const from = source.name === '' ? (source.addresses[0] ?? '') : source.name
  if (target.addresses.length === 0) return unresolved(from, target)
  const pair = matchFamilies(source.addresses, target.addresses)
  if (pair === null && target.isName && source.name !== '') {
    const families = target.addresses.join(', ')
    return unresolved(from, { ...target, why: `${from} has no address of the IP family of ${families}` })
  }
  if (pair === null) {
    throw fail(`${from} has no address of the IP family of ${target.text} (${target.addresses.join(', ')})`, '')
  }
  const protocol = wanted.protocol ?? target.protocol ?? 'TCP'
  return {
    source: pair.source,
    sourcePort: source.port,
    destination: pair.target,
    port: target.port,
    protocol: PROTOCOL_NUMBERS[protocol],
    node: wanted.node,
    before: target.steps,
    fromName: source.name,
    toName: target.isName ? target.text : '',
    alternatives: target.headless ? target.addresses : [],
  }
}

export function isAnswer(value: Asked | Answer): value is Answer {
  return 'explanation' in value
}

export function register(asked: Asked, registry: Registry): void {
  registry.address(asked.source)
  registry.address(asked.destination)
}

/** @param registry  that the rules were compiled with, after `register` */
export function packetOf(asked: Asked, registry: Registry): Packet {
  return {
    question: {
      source: registry.address(asked.source),
      sourcePort: asked.sourcePort,
      destination: registry.address(asked.destination),
      port: asked.port,
      protocol: asked.protocol,
      node: asked.node === null ? -1 : registry.node(asked.node),
      stays: asked.node !== null,
      entered: -1,
    },
    before: asked.before,
    fromName: asked.fromName,
    toName: asked.toName,
  }
}

/** All pods behind a headless name stand in the answer, though one packet goes to one of them. */
export function withAlternatives(answer: Answer, asked: Asked): Answer {
  if (asked.alternatives.length === 0 || answer.explanation.verdict !== 'none') return answer
  const endpoints = asked.alternatives.map((address) => joinPort(address, asked.port))
  return { ...answer, explanation: { ...answer.explanation, endpoints } }
}

function unresolved(from: string, target: Target): Answer {
  const reason = REASONS[target.stopped === true ? REASON_POLICY_DNS : REASON_NAME_NOT_RESOLVED]!
  const outside = target.leadsOutside
  return {
    title: `${from} → ${target.text}`,
    conclusion: outside
      ? 'none: the name leads out of the cluster, kube-proxy has no part in it'
      : target.stopped === true
        ? `drop: ${reason.sentence} [${reason.name}]`
        : `drop: the name leads to no address for this client: ${target.why} [${reason.name}]`,
    explanation: {
      schemaVersion: 1,
      verdict: outside ? 'none' : 'drop',
      endpoints: [],
      masquerade: false,
      seen: [],
      reason: outside ? null : reason.name,
      service: null,
      frontend: null,
      node: null,
      steps: target.steps,
    },
  }
}
