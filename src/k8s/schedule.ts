/**
 * Where a pod goes: kube-scheduler's default filters, and of the nodes that are left the one with the best score.
 *
 * Filters: nodeName, nodeSelector, required node affinity, taints, pods a node takes at most, CPU and memory asked for against
 * allocatable (where the node says it), host ports, required affinity and anti-affinity between pods, topologySpreadConstraints
 * with DoNotSchedule. Scores with the default weights: taints (3), preferred node affinity (2), spread (2: the pod's own
 * constraints, else the defaults over zone and host name), preferred affinity between pods (2), least allocated (1), balanced
 * allocation (1). Not looked at: images that nodes have, volumes, extended resources, preemption, preferences of pods that are
 * there already, labels of namespaces. A tie, which the scheduler settles by chance, goes to the node with fewest pods, then to
 * the first; with `chance` to any of the tied nodes, as there, and where no node says what it has to give, how many pods are on
 * it is no reason: what else is there nobody knows.
 * Source: kubernetes/kubernetes pkg/scheduler/framework/plugins, apis/config/v1/default_plugins.go.
 * Cost:   one pass over the nodes for each pod, two where anything but the default spread has a say.
 */
import type { Random } from '../random.ts'
import type { Labels } from './labels.ts'
import { meansItself, type Neighbour, Neighbours, requiredApart, requiredNear } from './neighbours.ts'
import { dislikingTaints, forbiddingTaint, isLiked, isSelected, matchesTerm, mayRun } from './node-fit.ts'
import type { PlannedNode } from './nodes.ts'
import { type Amounts, NOTHING, plus, requestsOf, weightOf } from './resources.ts'
import type { PodAffinityTerm, PodSpec, SpreadConstraint } from './types.ts'

export interface Candidate extends Neighbour {
  /** `Deployment default/web`, or ''. */
  readonly owner: string
}

/** What is on a node. */
interface Load {
  pods: number
  asked: Amounts
  weight: Amounts
  readonly hostPorts: Set<string>
}

/** Where the pods of one owner are: how many on each node, by its index and by name, and in each zone. */
interface Spread {
  readonly byIndex: Int32Array
  readonly nodes: Map<string, number>
  readonly zones: Map<string, number>
}

/** What a spec asks for, worked out once for all pods of a workload. */
interface Profile {
  readonly asked: Amounts
  readonly hostPorts: readonly string[]
  readonly hard: readonly SpreadConstraint[]
  /** Indices of nodes that the spec may run on, room apart. */
  readonly spots: Int32Array
  /** Nothing but the spread tells those nodes apart, and nothing but room keeps it off one. */
  readonly isFree: boolean
}

const ZONE = 'topology.kubernetes.io/zone'

export class Scheduler {
  readonly #nodes: readonly PlannedNode[]
  readonly #loads = new Map<string, Load>()
  readonly #loadAt: Load[] = []
  readonly #indices = new Map<string, number>()
  readonly #profiles = new WeakMap<PodSpec, Profile>()
  readonly #ofOwner = new Map<string, Spread>()
  readonly #neighbours = new Neighbours()
  readonly #zoneWeight: number
  readonly #nodeWeight: number
  readonly #knowsResources: boolean
  readonly #chance: Random | null

  /** @param chance  what settles ties; null: the first of the emptiest nodes, which is the same each time */
  constructor(nodes: readonly PlannedNode[], chance: Random | null = null) {
    this.#nodes = nodes
    this.#chance = chance
    for (const [i, { node }] of nodes.entries()) {
      const load: Load = { pods: 0, asked: NOTHING, weight: NOTHING, hostPorts: new Set() }
      this.#loads.set(node.name, load)
      this.#loadAt.push(load)
      this.#indices.set(node.name, i)
    }
    // What a pod in a domain counts for: the more domains, the more (podtopologyspread/scoring.go, topologyNormalizingWeight).
    this.#zoneWeight = Math.log(new Set(nodes.map(({ node }) => node.zone).filter((zone) => zone !== '')).size + 2)
    this.#nodeWeight = Math.log(nodes.length + 2)
    this.#knowsResources = nodes.some(({ allocatable: { cpu, memory } }) => Number.isFinite(cpu + memory))
  }

  /** Counts a pod that is on a node already, or that was just put there. */
  place({ node }: PlannedNode, pod: Candidate): void {
    const load = this.#loads.get(node.name)!
    load.pods++
    const profile = this.#profileOf(pod.spec)
    load.asked = plus(load.asked, profile.asked)
    load.weight = plus(load.weight, weightOf(pod.spec))
    for (const port of profile.hostPorts) load.hostPorts.add(port)
    this.#neighbours.add(pod, node.labels)
    if (pod.owner === '') return
    let spread = this.#ofOwner.get(pod.owner)
    if (spread === undefined) {
      spread = { byIndex: new Int32Array(this.#nodes.length), nodes: new Map(), zones: new Map() }
      this.#ofOwner.set(pod.owner, spread)
    }
    spread.byIndex[this.#indices.get(node.name)!]!++
    increment(spread.nodes, node.name)
    increment(spread.zones, node.zone)
  }

  /** Whether a pod may run on the node and there is room for it. */
  fits(planned: PlannedNode, pod: Candidate, isDaemon: boolean): boolean {
    return mayRun(planned, pod.spec, isDaemon) && this.#obstacle(planned, pod, this.#emptiest(pod)) === null
  }

  /** The best node that has room and for which `accept` holds. */
  choose(pod: Candidate, accept: (node: PlannedNode) => boolean): PlannedNode | null {
    const profile = this.#profileOf(pod.spec)
    if (profile.isFree && !this.#neighbours.keepSomebodyOut) return this.#chooseFree(pod, profile, accept)
    const emptiest = this.#emptiest(pod)
    const left = this.#nodes.filter(
      (planned) =>
        mayRun(planned, pod.spec, false) && this.#obstacle(planned, pod, emptiest) === null && accept(planned),
    )
    if (left.length === 0) return null
    const crowd = left.map((planned) => this.#crowd(planned, pod))
    const scores = this.#isPlain(pod.spec, left) ? null : this.#scores(left, pod, crowd)
    if (this.#chance !== null) {
      const values = scores ?? crowd.map((one) => -one)
      const highest = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY)
      const tied = left.filter((_, i) => values[i] === highest)
      return tied[this.#chance.below(tied.length)]!
    }
    let best = 0
    for (let i = 1; i < left.length; i++) {
      const better =
        (scores === null ? 0 : scores[i]! - scores[best]!) ||
        crowd[best]! - crowd[i]! ||
        this.#loads.get(left[best]!.node.name)!.pods - this.#loads.get(left[i]!.node.name)!.pods
      if (better > 0) best = i
    }
    return left[best]!
  }

  /** The same for a pod that only room and spread have a say about; most pods are. */
  #chooseFree(pod: Candidate, { spots }: Profile, accept: (node: PlannedNode) => boolean): PlannedNode | null {
    const spread = this.#ofOwner.get(pod.owner)
    let best = -1
    let [leastCrowd, leastPods] = [0, 0]
    let tied = 0
    for (const i of spots) {
      const planned = this.#nodes[i]!
      const { pods } = this.#loadAt[i]!
      const { zone } = planned.node
      const inZone = zone === '' || spread === undefined ? 0 : (spread.zones.get(zone) ?? 0)
      const crowd = inZone * this.#zoneWeight + (spread === undefined ? 0 : spread.byIndex[i]!) * this.#nodeWeight
      const isTied = best >= 0 && crowd === leastCrowd
      if (best >= 0 && (crowd > leastCrowd || (isTied && this.#chance === null && pods >= leastPods))) continue
      if (pods >= planned.maxPods || !accept(planned)) continue
      tied = isTied ? tied + 1 : 1
      // Each of the tied nodes is as likely as the others, in one pass.
      if (isTied && this.#chance !== null && this.#chance.below(tied) > 0) continue
      best = i
      leastCrowd = crowd
      leastPods = pods
    }
    return best < 0 ? null : this.#nodes[best]!
  }

  #profileOf(spec: PodSpec): Profile {
    let profile = this.#profiles.get(spec)
    if (profile === undefined) {
      profile = this.#makeProfile(spec)
      this.#profiles.set(spec, profile)
    }
    return profile
  }

  #makeProfile(spec: PodSpec): Profile {
    const asked = requestsOf(spec)
    const hostPorts = hostPortsOf(spec)
    const indices = this.#nodes.flatMap((planned, i) => (mayRun(planned, spec, false) ? [i] : []))
    const nodes = indices.map((i) => this.#nodes[i]!)
    const hasRoom = nodes.every(
      ({ allocatable }) =>
        (asked.cpu === 0 || allocatable.cpu === Number.POSITIVE_INFINITY) &&
        (asked.memory === 0 || allocatable.memory === Number.POSITIVE_INFINITY),
    )
    const hasRules =
      hostPorts.length > 0 ||
      (spec.topologySpreadConstraints ?? []).length > 0 ||
      requiredNear(spec).length > 0 ||
      requiredApart(spec).length > 0
    return {
      asked,
      hostPorts,
      hard: hardConstraints(spec),
      spots: Int32Array.from(indices),
      isFree: hasRoom && !hasRules && this.#isPlain(spec, nodes),
    }
  }

  /** Why no node is left for a pod, in a sentence. */
  whyNone(pod: Candidate, isDaemon: boolean): string {
    const { spec } = pod
    const selected = this.#nodes.filter((planned) => isSelected(planned, spec))
    if (selected.length === 0) {
      const missing = Object.entries(spec.nodeSelector ?? {}).find(
        ([key, value]) => !this.#nodes.some(({ node }) => node.labels[key] === value),
      )
      if (missing !== undefined) return `no node has the label ${missing.join('=')} that its nodeSelector asks for`
      return 'no node has all labels that its nodeSelector asks for'
    }
    const liked = selected.filter((planned) => isLiked(planned, spec))
    if (liked.length === 0) return 'no node is what its required node affinity asks for'
    const tolerated = liked.filter((planned) => mayRun(planned, spec, isDaemon))
    if (tolerated.length === 0) {
      const { key } = forbiddingTaint(liked[0]!, spec, isDaemon)!
      return `it does not tolerate the taint ${key}${liked.length === 1 ? '' : ' or others'} of the ${liked.length === 1 ? 'node' : 'nodes'} that it could be on`
    }
    const emptiest = this.#emptiest(pod)
    const obstacles = new Map<string, number>()
    for (const planned of tolerated)
      increment(obstacles, this.#obstacle(planned, pod, emptiest) ?? 'no address is left')
    const [only = ''] = obstacles.keys()
    if (obstacles.size === 1)
      return `on ${tolerated.length === 1 ? 'the node' : 'all nodes'} that it could be on ${only}`
    const parts = Array.from(obstacles, ([what, nodes]) => `on ${nodes} ${what}`)
    return `of the ${tolerated.length} nodes that it could be on, ${parts.join(', ')}`
  }

  /** What keeps a pod off a node that suits it; null for nothing. */
  #obstacle(planned: PlannedNode, pod: Candidate, emptiest: readonly number[]): string | null {
    const { node, maxPods, allocatable } = planned
    const load = this.#loads.get(node.name)!
    if (load.pods >= maxPods) return `no more pods fit (it takes ${maxPods})`
    const { asked, hostPorts, hard } = this.#profileOf(pod.spec)
    if (asked.cpu > 0 && load.asked.cpu + asked.cpu > allocatable.cpu) return `CPU is short (it asks for ${asked.cpu}m)`
    if (asked.memory > 0 && load.asked.memory + asked.memory > allocatable.memory)
      return `memory is short (it asks for ${Math.ceil(asked.memory / 2 ** 20)}Mi)`
    const taken = hostPorts.find((port) => load.hostPorts.has(port))
    if (taken !== undefined) return `host port ${taken} is taken`
    return this.#unwelcome(node.labels, pod, hard, emptiest)
  }

  #unwelcome(
    labels: Labels,
    pod: Candidate,
    hard: readonly SpreadConstraint[],
    emptiest: readonly number[],
  ): string | null {
    const there = (term: PodAffinityTerm): number => {
      const domain = labels[term.topologyKey ?? '']
      return domain === undefined ? 0 : (this.#neighbours.counts(term, pod.namespace).get(domain) ?? 0)
    }
    const near = requiredNear(pod.spec)
    if (near.some((term) => labels[term.topologyKey ?? ''] === undefined))
      return 'the label of its podAffinity is missing'
    // The first of a group that wants to be together may be anywhere.
    const isFirst = (): boolean =>
      near.every((term) => this.#neighbours.counts(term, pod.namespace).size === 0 && meansItself(term, pod))
    if (near.some((term) => there(term) === 0) && !isFirst())
      return 'its podAffinity finds none of the pods it asks for'
    if (requiredApart(pod.spec).some((term) => there(term) > 0))
      return 'its podAntiAffinity forbids pods that are there'
    if (this.#neighbours.keepsOut(pod, labels)) return 'the podAntiAffinity of pods that are there forbids it'
    const uneven = hard.some((constraint, i) => {
      const { topologyKey = '', maxSkew = 1 } = constraint
      if (labels[topologyKey] === undefined) return true
      const self = meansItself(constraint, pod) ? 1 : 0
      return there(constraint) + self - emptiest[i]! > maxSkew
    })
    return uneven ? 'its topologySpreadConstraints forbid one more' : null
  }

  /** By hard constraint of the pod: the pods in the emptiest of the domains that it may be in. */
  #emptiest(pod: Candidate): readonly number[] {
    return hardConstraints(pod.spec).map((constraint) => {
      const { topologyKey = '', minDomains = 1 } = constraint
      const counts = this.#neighbours.counts(constraint, pod.namespace)
      const domains = new Set<string>()
      for (const planned of this.#nodes) {
        const domain = planned.node.labels[topologyKey]
        if (domain !== undefined && isSelected(planned, pod.spec) && isLiked(planned, pod.spec)) domains.add(domain)
      }
      if (domains.size < minDomains) return 0
      return Math.min(...[...domains].map((domain) => counts.get(domain) ?? 0))
    })
  }

  /** How many of its own a pod would have around it, weighed: the less, the better. */
  #crowd({ node }: PlannedNode, pod: Candidate): number {
    const own = (pod.spec.topologySpreadConstraints ?? []).filter((one) => !isHard(one))
    if ((pod.spec.topologySpreadConstraints ?? []).length > 0) {
      return own.reduce((sum, constraint) => {
        const counts = this.#neighbours.counts(constraint, pod.namespace)
        const domain = node.labels[constraint.topologyKey ?? ''] ?? ''
        const isZone = constraint.topologyKey === ZONE
        return sum + (counts.get(domain) ?? 0) * (isZone ? this.#zoneWeight : this.#nodeWeight)
      }, 0)
    }
    const spread = this.#ofOwner.get(pod.owner)
    const inZone = node.zone === '' ? 0 : (spread?.zones.get(node.zone) ?? 0)
    return inZone * this.#zoneWeight + (spread?.nodes.get(node.name) ?? 0) * this.#nodeWeight
  }

  /** Nothing but the spread tells the nodes apart. */
  #isPlain(spec: PodSpec, left: readonly PlannedNode[]): boolean {
    const { nodeAffinity, podAffinity, podAntiAffinity } = spec.affinity ?? {}
    return (
      !this.#knowsResources &&
      nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution === undefined &&
      podAffinity?.preferredDuringSchedulingIgnoredDuringExecution === undefined &&
      podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution === undefined &&
      left.every(({ taints }) => taints.length === 0)
    )
  }

  #scores(left: readonly PlannedNode[], pod: Candidate, crowd: readonly number[]): number[] {
    const taints = left.map((planned) => dislikingTaints(planned, pod.spec))
    const liking = left.map((planned) => nodePreference(planned, pod.spec))
    const company = left.map((planned) => this.#company(planned.node.labels, pod))
    const [mostTaints, mostLiking] = [Math.max(...taints), Math.max(...liking)]
    const [least, most] = [Math.min(...crowd), Math.max(...crowd)]
    const [worst, dearest] = [Math.min(...company), Math.max(...company)]
    return left.map((planned, i) => {
      const bearable = mostTaints === 0 ? 100 : 100 - Math.trunc((100 * taints[i]!) / mostTaints)
      const liked = mostLiking === 0 ? 0 : Math.trunc((100 * liking[i]!) / mostLiking)
      const room = most === 0 ? 100 : Math.trunc((100 * (most + least - crowd[i]!)) / most)
      const friends = dearest === worst ? 0 : Math.trunc((100 * (company[i]! - worst)) / (dearest - worst))
      return 3 * bearable + 2 * liked + 2 * room + 2 * friends + this.#resourceScore(planned, pod.spec)
    })
  }

  /** Preferred affinity less preferred anti-affinity. */
  #company(labels: Labels, pod: Candidate): number {
    const { podAffinity, podAntiAffinity } = pod.spec.affinity ?? {}
    const sum = (terms: readonly { weight?: number; podAffinityTerm?: PodAffinityTerm }[] = []): number =>
      terms.reduce((total, { weight = 0, podAffinityTerm: term }) => {
        const domain = labels[term?.topologyKey ?? '']
        if (term === undefined || domain === undefined) return total
        return total + weight * (this.#neighbours.counts(term, pod.namespace).get(domain) ?? 0)
      }, 0)
    return (
      sum(podAffinity?.preferredDuringSchedulingIgnoredDuringExecution) -
      sum(podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution)
    )
  }

  /** Least allocated and balanced allocation, 0 to 100 each. */
  #resourceScore({ node, allocatable }: PlannedNode, spec: PodSpec): number {
    if (!Number.isFinite(allocatable.cpu + allocatable.memory) || allocatable.cpu * allocatable.memory === 0) return 0
    const load = this.#loads.get(node.name)!
    const weight = plus(load.weight, weightOf(spec))
    const free = (key: keyof Amounts): number =>
      weight[key] > allocatable[key] ? 0 : Math.trunc(((allocatable[key] - weight[key]) * 100) / allocatable[key])
    const asked = plus(load.asked, requestsOf(spec))
    const part = (key: keyof Amounts): number => Math.min(1, asked[key] / allocatable[key])
    const uneven = Math.abs(part('cpu') - part('memory')) / 2
    return Math.trunc((free('cpu') + free('memory')) / 2) + Math.trunc((1 - uneven) * 100)
  }
}

function isHard({ whenUnsatisfiable }: SpreadConstraint): boolean {
  return whenUnsatisfiable === 'DoNotSchedule'
}

function hardConstraints({ topologySpreadConstraints = [] }: PodSpec): readonly SpreadConstraint[] {
  return topologySpreadConstraints.filter(isHard)
}

function nodePreference(planned: PlannedNode, { affinity }: PodSpec): number {
  const terms = affinity?.nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? []
  return terms.reduce(
    (sum, { weight = 0, preference }) =>
      sum + (preference !== undefined && matchesTerm(preference, planned) ? weight : 0),
    0,
  )
}

/** `80/TCP`: what no two pods on a node may both have. On the host network each port is one. */
function hostPortsOf({ hostNetwork, containers = [], initContainers = [] }: PodSpec): string[] {
  const running = [...containers, ...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')]
  return running.flatMap(({ ports = [] }) =>
    ports.flatMap(({ containerPort, hostPort = 0, protocol = 'TCP' }) => {
      const port = hostNetwork === true ? containerPort : hostPort
      return port > 0 ? [`${port}/${protocol}`] : []
    }),
  )
}

function increment(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
