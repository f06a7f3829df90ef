/**
 * Many answers that differ, as few lines: one for each cause, and below it one for each way in which behaviour is another.
 *
 * A cause is named where a field that has a say in this outcome is written otherwise; where several are, the line names them all,
 * and where none is, the outcome is told alone under its Service. What is named is never guessed from the outcome.
 */
import { listed } from '../explain/dialled-name.ts'
import { explainPacket } from '../explain/packet.ts'
import { countOf } from '../report/units.ts'
import { ENDPOINTS_THEMSELVES, type EntryFinding, type Finding, firstEntry, questionOf, type Told } from './ask.ts'
import { type Difference, differencesOf, involves } from './effects.ts'
import type { Objects } from './objects.ts'
import type { Side, Sides } from './sides.ts'
import type { Target, TargetKind } from './targets.ts'
import type { Change, Effect, EffectKind, Example, ObjectChange } from './types.ts'

interface Line {
  readonly causes: readonly ObjectChange[]
  readonly subjects: Set<string>
  readonly effects: Map<string, Gathered>
}

interface Gathered {
  readonly difference: Difference
  /** By class: how many, by who they are where each of a class is asked. */
  readonly clients: Map<string, Map<string, number>>
  readonly targets: Set<string>
  example: () => Example
  /** How good it is as an example: of ordinary clients, and one that a command says. */
  worth: number
  isOrdinary: boolean
}

/** One difference with where it was seen. */
export interface Seen {
  readonly subject: string
  readonly causes: readonly ObjectChange[]
  readonly difference: Difference
  readonly client: { readonly name: string; readonly from?: string; readonly count: number; readonly isOdd?: boolean }
  readonly target: string
  readonly example: () => Example
  /** Left out: yes. A command says it. */
  readonly isAskable?: boolean
}

/** Kinds in the order of what hurts most. */
const ORDER: readonly EffectKind[] = [
  'reachability',
  'reply',
  'route',
  'dns',
  'entry-nodes',
  'health-check',
  'client-address',
  'endpoints',
  'affinity',
  'hop',
  'resolv-conf',
]

/** Fields of a Service that have a say, by what is another; those of endpoints are `endpoints`. */
const REASONS_OF: Readonly<Record<EffectKind, readonly string[]>> = {
  reachability: [
    ...[
      'type',
      'clusterIP',
      'ports',
      'externalIPs',
      'status.loadBalancer',
      'externalTrafficPolicy',
      'internalTrafficPolicy',
    ],
    ...['healthCheckNodePort', 'publishNotReadyAddresses', 'trafficDistribution', 'selector', 'metadata.labels'],
  ],
  endpoints: [
    'externalTrafficPolicy',
    'internalTrafficPolicy',
    'trafficDistribution',
    'publishNotReadyAddresses',
    'selector',
    'targetPort',
    'ports',
  ],
  'client-address': ['externalTrafficPolicy', 'internalTrafficPolicy', 'status.loadBalancer', 'type', 'ports'],
  hop: ['externalTrafficPolicy', 'internalTrafficPolicy', 'trafficDistribution'],
  reply: ['externalTrafficPolicy', 'internalTrafficPolicy', 'status.loadBalancer'],
  affinity: ['sessionAffinity'],
  'health-check': ['externalTrafficPolicy', 'healthCheckNodePort', 'publishNotReadyAddresses', 'selector'],
  'entry-nodes': ['externalTrafficPolicy', 'status.loadBalancer', 'ports', 'publishNotReadyAddresses', 'selector'],
  dns: [],
  'resolv-conf': [],
  route: [],
}

const EXTERNAL: readonly TargetKind[] = [
  ...(['externalIP', 'loadBalancerIP', 'loadBalancerProxy', 'nodePort', 'healthCheckNodePort'] as const),
]
/** Fields that have a say for some frontends only. */
const OF_TARGETS: Readonly<Record<string, readonly TargetKind[]>> = {
  clusterIP: ['clusterIP', 'pod'],
  internalTrafficPolicy: ['clusterIP'],
  externalTrafficPolicy: EXTERNAL,
  externalIPs: ['externalIP'],
  'status.loadBalancer': ['loadBalancerIP', 'loadBalancerProxy'],
  healthCheckNodePort: ['healthCheckNodePort'],
}

export class Gatherer implements Told {
  readonly #sides: Sides
  readonly #objects: Objects
  readonly #lines = new Map<string, Line>()
  differences = 0

  constructor(sides: Sides, objects: Objects) {
    this.#sides = sides
    this.#objects = objects
  }

  finding(finding: Finding): void {
    const { client, target, old, new: changed, entered } = finding
    this.differences++
    for (const difference of differencesOf(old, changed, this.#sides)) {
      this.add({
        subject: subjectOf(target),
        causes: this.#causes(finding, difference.kind),
        difference,
        client,
        target: target.text,
        example: () => this.#example(client, target, entered),
        isAskable: this.#entryOption(client, target, entered) !== null,
      })
    }
  }

  entry({ target, client, old, new: changed }: EntryFinding): void {
    this.differences++
    const { registry } = this.#sides
    const text = (nodes: readonly number[]): string =>
      nodes.length === 0
        ? 'no node'
        : nodes.length > 8
          ? countOf(nodes.length, 'node')
          : nodes.map((node) => registry.nodes[node]).join(', ')
    const difference = { kind: 'entry-nodes', from: text(old), to: text(changed) } as const
    const causes = [...this.#serviceCauses(target, 'entry-nodes'), ...this.#objects.nodes]
    this.add({
      ...{ subject: subjectOf(target), causes, difference, client, target: target.text },
      example: () => this.#example(client, target, -1),
    })
  }

  add({ subject, causes, difference, client, target, example, isAskable = true }: Seen): void {
    const key = causes.length === 0 ? subject : causes.map((one) => Object.values(one).join(' ')).join('\n')
    let line = this.#lines.get(key)
    if (line === undefined) {
      line = { causes, subjects: new Set(), effects: new Map() }
      this.#lines.set(key, line)
    }
    line.subjects.add(subject)
    const own = `${difference.kind}\n${difference.from}\n${difference.to}`
    let gathered = line.effects.get(own)
    if (gathered === undefined) {
      gathered = { difference, clients: new Map(), targets: new Set(), example, worth: -1, isOrdinary: false }
      line.effects.set(own, gathered)
    }
    const isOrdinary = client.isOdd !== true
    const worth = (isOrdinary ? 2 : 0) + (isAskable ? 1 : 0)
    if (isOrdinary) gathered.isOrdinary = true
    if (worth > gathered.worth) {
      gathered.worth = worth
      gathered.example = example
    }
    const who = client.name === ENDPOINTS_THEMSELVES ? (client.from ?? '') : ''
    const known = gathered.clients.get(client.name)
    if (known === undefined) gathered.clients.set(client.name, new Map([[who, client.count]]))
    else known.set(who, Math.max(client.count, known.get(who) ?? 0))
    gathered.targets.add(target)
  }

  changes(): Change[] {
    const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
    return [...this.#lines.values()]
      .map(({ causes, subjects, effects }) => {
        const all = [...effects.values()].sort((a, b) => rankOf(a) - rankOf(b) || totalOf(b) - totalOf(a))
        const change: Change = { subjects: [...subjects].sort(), causes, effects: all.map(effectOf) }
        return { rank: rankOf(all[0]!), change }
      })
      .sort(
        (a, b) =>
          a.rank - b.rank ||
          compare(a.change.subjects[0]!, b.change.subjects[0]!) ||
          compare(JSON.stringify(a.change.causes), JSON.stringify(b.change.causes)),
      )
      .map(({ change }) => change)
  }

  #causes({ client, target, old, new: changed }: Finding, kind: EffectKind): readonly ObjectChange[] {
    const own = this.#objects.service(target.owner)
    const isExistence = own.length === 1 && own[0]!.field === ''
    if (isExistence) return own
    const [a, b] = [involves(old), involves(changed)]
    if (kind === 'reachability' && (a.policies || b.policies)) {
      const addresses = [
        client.old,
        client.new,
        target.address,
        ...[...old.members, ...changed.members].map(({ address }) => address),
      ]
      const policies = this.#objects.policiesOf(addresses)
      const found = policies.length > 0 ? policies : this.#objects.labels
      if (found.length > 0) return found
    }
    if (kind === 'reachability' && (a.ranges || b.ranges)) {
      const ranges = own.filter(({ field }) => field === 'loadBalancerSourceRanges')
      if (ranges.length > 0) return ranges
    }
    const ofService = this.#serviceCauses(target, kind)
    const moved = this.#moved(client)
    const isLocal = [...ofService, ...moved].length > 0
    const general = kind === 'affinity' ? [] : this.#objects.settings
    if (isLocal || general.length > 0) return [...ofService, ...moved, ...general]
    return this.#objects.nodes
  }

  #serviceCauses({ owner, kind: target }: Target, kind: EffectKind): readonly ObjectChange[] {
    const changed = this.#objects.service(owner)
    // The API server gives a health check port to what becomes Local, and takes it back.
    const follows = changed.some(({ field }) => field === 'externalTrafficPolicy' || field === 'type')
    const fields = REASONS_OF[kind].filter(
      (field) => (OF_TARGETS[field]?.includes(target) ?? true) && !(follows && field === 'healthCheckNodePort'),
    )
    const found = changed.filter(({ field }) => field === '' || fields.includes(field))
    const asksEndpoints = kind !== 'affinity'
    return asksEndpoints ? [...found, ...this.#objects.endpoints(owner)] : found
  }

  #moved({ kind, oldNode, newNode, count, from }: Finding['client']): readonly ObjectChange[] {
    if (kind !== 'pod' || oldNode === newNode) return []
    const { nodes } = this.#sides.registry
    const object = count === 1 ? `Pod ${from.replace(/^pod\//, '')}` : countOf(count, 'pod')
    return [{ object, field: 'nodeName', from: nodes[oldNode] ?? '', to: nodes[newNode] ?? '' }]
  }

  #example(client: Finding['client'], target: Target, entered: number): Example {
    const { old, new: changed } = this.#sides
    const told = (side: Side, source: number): string => {
      const question = questionOf(source, target, entered)
      return explainPacket(side.context, { question, before: [], fromName: '', toName: '' }).conclusion
    }
    const protocol = target.text.slice(target.text.lastIndexOf('/') + 1)
    const how = this.#entryOption(client, target, entered)
    const options = `${protocol === 'tcp' ? '' : ` --protocol ${protocol}`}${how ?? ''}`
    return {
      from: client.from,
      to: target.to,
      old: told(old, client.old),
      new: told(changed, client.new),
      command: how === null ? '' : `explain --from ${client.from} --to ${target.to}${options}`,
    }
  }

  /** How `explain` is told where the packet comes in; null where it cannot be: a proxy's choice is its own. */
  #entryOption({ isOdd }: Finding['client'], target: Target, entered: number): string | null {
    if (entered < 0) return ''
    const sides = [this.#sides.old, this.#sides.new].map(({ context }) => firstEntry(context, target))
    if (sides.every(({ node }) => node === entered)) return ''
    // Seen at a node, an address of the pods' range is taken for one of its pods.
    return isOdd === true || sides.some(({ isProxy }) => isProxy)
      ? null
      : ` --node ${this.#sides.registry.nodes[entered]}`
  }
}

function subjectOf({ kind, owner }: Target): string {
  return kind === 'hostPort' ? `hostPort of ${owner}` : `Service ${owner}`
}

function totalOf({ clients }: Gathered): number {
  let sum = 0
  for (const counts of clients.values()) for (const count of counts.values()) sum += count
  return sum
}

/** What ordinary clients see comes first. */
function rankOf({ difference, isOrdinary }: Gathered): number {
  return ORDER.indexOf(difference.kind) + (isOrdinary ? 0 : ORDER.length)
}

function effectOf(gathered: Gathered): Effect {
  const { difference, clients, targets, example } = gathered
  return {
    ...difference,
    clients: totalOf(gathered),
    clientClasses: [...clients.keys()],
    targets: [...targets].sort(),
    example: example(),
  }
}

/** `externalTrafficPolicy Cluster → Local`, `added`, `pods 3 → 2` */
export function causeText({ object, field, from, to }: ObjectChange): string {
  if (field === '' && from === 'there' && to === '') return `${object}: removed`
  if (field === '' && from === '' && to === 'there') return `${object}: added`
  if (object.startsWith('endpoints of ')) {
    const parts = [...(from === '' ? [] : [`no longer ${from}`]), ...(to === '' ? [] : [`now ${to}`])]
    return `${object}: ${parts.join('; ')}`
  }
  if (from === '' && to === '') return `${object}: ${field} changed`
  return `${object}: ${field} ${from === '' ? '(none)' : from} → ${to === '' ? '(none)' : to}`
}

/** Of a change: its causes, or whose behaviour it is where none is named. */
export function changeTitle({ causes, subjects }: Change): string {
  if (causes.length > 0) return causes.map(causeText).join('; and ')
  return `${listed([...subjects])}: no single field accounts for it`
}
