/**
 * Who reaches what: every workload, and a client outside of the cluster, against every Service port.
 *
 * Each cell is what `explain` says of a packet from there to there: the same look-up of the name, the same rules, the same
 * decision. Under a Local policy it can matter on which node a client is, so a workload asks once from each node that has one
 * of its pods. Cost: one compile, and a decision for each workload, node and Service port.
 */
import { Registry } from '../compile/registry.ts'
import type { ClusterPod, ClusterService, ClusterServicePort } from '../k8s/cluster.ts'
import { Directory, ExplainContext, type LoadedManifests } from './context.ts'
import { outcomeOf } from './outcome.ts'
import { explainPacket } from './packet.ts'
import { type Asked, ask, isAnswer, packetOf, register, withAlternatives } from './resolve-packet.ts'
import type { Answer, Fail } from './types.ts'

/** RFC 2544, for benchmarks: the clients of scenarios, nobody's in a cluster. */
const OUTSIDE_ADDRESS = '198.18.0.7'
export const OUTSIDE = 'outside'

export interface ReachSource {
  /** `shop/web`, or `outside`. */
  readonly name: string
  /** `Deployment shop/web`, `Pod shop/client`; '' outside. */
  readonly object: string
  /** What asks, one for each node: `pod/shop/web-1`, or an address. */
  readonly clients: readonly string[]
}

export interface ReachTarget {
  /** `shop/web:http` */
  readonly name: string
  /** As `explain --to` takes it. */
  readonly to: string
  readonly protocol: ClusterServicePort['protocol']
  /** It has an address that a client outside of the cluster can dial. */
  readonly exposed: boolean
}

export interface ReachCell {
  readonly from: string
  readonly to: string
  /** Of all clients; `some`: not from every node. */
  readonly outcome: 'deliver' | 'some' | 'drop' | 'reject' | 'none'
  /** Clients asked, and those of them that get there. */
  readonly clients: number
  readonly delivered: number
  /** Reasons of those that do not, without repetition. */
  readonly reasons: readonly string[]
  /** What explain concludes of the first that does not, or of the first. */
  readonly conclusion: string
}

export interface Reach {
  readonly sources: readonly ReachSource[]
  readonly targets: readonly ReachTarget[]
  /** Source by source, each target in order. */
  readonly cells: readonly ReachCell[]
}

/** One question of a list: a client as `explain --from` takes it, a destination as `--to` does. */
export interface Question {
  readonly from: string
  readonly to: string
  readonly protocol: ClusterServicePort['protocol'] | null
  /** The Service port that is meant, where it is one. */
  readonly target?: ReachTarget | undefined
  readonly fail: Fail
}

export function reachOf(loaded: LoadedManifests, chosen: (name: string) => boolean = () => true): Reach {
  const sources = sourcesOf(loaded).filter(({ name }) => chosen(name))
  const targets = targetsOf(loaded)
  const fail: Fail = (message, hint) => new Error(hint === undefined ? message : `${message} (${hint})`)
  const pairs = sources.flatMap((source) => targets.map((target) => ({ source, target })))
  const questions = pairs.flatMap(({ source, target }) =>
    source.clients.map((from): Question => ({ from, to: target.to, protocol: target.protocol, target, fail })),
  )
  const answers = explainAll(loaded, questions)
  let next = 0
  const cells = pairs.map(({ source, target }) => {
    const own = answers.slice(next, next + source.clients.length)
    next += source.clients.length
    return cellOf(source.name, target.name, own)
  })
  return { sources, targets, cells }
}

/** As `explain` answers each, with one compile for all. @throws what a question's `fail` makes */
export function explainAll(loaded: LoadedManifests, questions: readonly Question[]): Answer[] {
  const directory = new Directory(loaded.cluster, loaded.naming, loaded.mode ?? null)
  const registry = new Registry()
  const asked = questions.map(({ from, to, protocol, target, fail }) => {
    if (from === OUTSIDE_ADDRESS && target?.exposed === false) return notExposed(target)
    const one = ask({ from, to, protocol, node: null }, directory, fail)
    if (!isAnswer(one)) register(one, registry)
    return one
  })
  const context = new ExplainContext(directory, registry)
  return asked.map((one: Asked | Answer) =>
    isAnswer(one) ? one : withAlternatives(explainPacket(context, packetOf(one, registry)), one),
  )
}

/** `explain` follows a packet to a cluster IP from wherever it is said to come; that nothing brings it there is known here. */
function notExposed({ name }: ReachTarget): Answer {
  return {
    title: `${OUTSIDE} → ${name}`,
    conclusion: 'none: it has no load balancer, external IP or node port, and cluster addresses are not routed outside',
    explanation: {
      schemaVersion: 1,
      verdict: 'none',
      endpoints: [],
      masquerade: false,
      seen: [],
      reason: null,
      service: name,
      frontend: null,
      node: null,
      steps: [],
    },
  }
}

/** The Service port that `shop/api:grpc`, `api.shop:grpc` or `api.shop:9000` names. */
export function targetNamed(name: string, loaded: LoadedManifests): ReachTarget | undefined {
  return targetsOf(loaded).find((target) => {
    const colon = target.name.lastIndexOf(':')
    const [namespace, service] = target.name.slice(0, colon).split('/')
    return [target.name, target.to, `${service}.${namespace}${target.name.slice(colon)}`].includes(name)
  })
}

/** Clients of a name: a workload, `NAMESPACE/*`, `outside`, or what `explain --from` takes, as it is. */
export function clientsOf(name: string, loaded: LoadedManifests): readonly string[] {
  const sources = sourcesOf(loaded)
  const namespace = /^([^/]+)\/\*$/.exec(name)?.[1]
  if (namespace !== undefined) {
    return sources.filter((source) => source.name.startsWith(`${namespace}/`)).flatMap(({ clients }) => clients)
  }
  return sources.find((source) => source.name === name)?.clients ?? [name]
}

function sourcesOf({ cluster }: LoadedManifests): ReachSource[] {
  const groups = new Map<string, { object: string; name: string; pods: ClusterPod[] }>()
  for (const pod of cluster.pods) {
    if (pod.addresses.length === 0) continue
    const object = pod.owner === '' ? `Pod ${pod.namespace}/${pod.name}` : pod.owner
    const group = groups.get(object)
    if (group === undefined) groups.set(object, { object, name: object.split(' ')[1]!, pods: [pod] })
    else group.pods.push(pod)
  }
  const found = [...groups.values()]
  const twice = new Set(found.map(({ name }) => name).filter((name, i, all) => all.indexOf(name) < i))
  const workloads = found.map(({ object, name, pods }): ReachSource => {
    const byNode = new Map(pods.map((pod) => [pod.nodeName, pod] as const).reverse())
    return {
      // A Deployment and a StatefulSet may have one name.
      name: twice.has(name) ? object : name,
      object,
      clients: [...byNode.values()].reverse().map((pod) => `pod/${pod.namespace}/${pod.name}`),
    }
  })
  return [{ name: OUTSIDE, object: '', clients: [OUTSIDE_ADDRESS] }, ...workloads]
}

function targetsOf({ cluster }: LoadedManifests): ReachTarget[] {
  return cluster.services
    .filter(({ type }) => type !== 'ExternalName')
    .flatMap((service) => service.ports.map((port) => targetOf(service, port)))
}

function targetOf(
  service: ClusterService,
  { name: portName, port, nodePort, protocol }: ClusterServicePort,
): ReachTarget {
  const { namespace, name, externalIPs, loadBalancer } = service
  return {
    name: `${namespace}/${name}:${portName === '' ? port : portName}`,
    to: `${name}.${namespace}:${port}`,
    protocol,
    exposed: nodePort > 0 || externalIPs.length > 0 || loadBalancer.length > 0,
  }
}

function cellOf(from: string, to: string, answers: readonly Answer[]): ReachCell {
  const outcomes = answers.map(({ explanation }) => {
    const outcome = outcomeOf(explanation)
    // Policies let it through to some of the endpoints only.
    return outcome === 'deliver' && (explanation.blocked ?? []).length > 0 ? 'some' : outcome
  })
  const delivered = outcomes.filter((outcome) => outcome === 'deliver').length
  const failing = answers.filter((_, i) => outcomes[i] !== 'deliver')
  const shown = failing[0] ?? answers[0]!
  return {
    from,
    to,
    outcome:
      delivered === answers.length
        ? 'deliver'
        : delivered > 0 || outcomes.includes('some')
          ? 'some'
          : outcomeOf(shown.explanation),
    clients: answers.length,
    delivered,
    reasons: [
      ...new Set(
        failing.flatMap(({ explanation: { reason, blocked = [] } }) => reason ?? blocked.map((one) => one.reason)),
      ),
    ],
    conclusion: shown.conclusion,
  }
}
