/**
 * What becomes of each connection that arrives, under one policy: decided when its SYN comes, and again for each time that it is sent again.
 *
 * The client's balancer gives it a node (or a pod), the node's rules of that moment give it an endpoint, the pod of that moment answers or does
 * not. A SYN that was translated stays with its pod, since its conntrack entry does; one that was dropped has none and is decided anew. What is
 * open may end before its time: with the pod's process, with a node on its way, by the balancer, on a moved path.
 * Source: Linux net.ipv4.tcp_syn_retries (1, 3, 7, 15, 31, 63 s after the first), nf_conntrack_tcp_timeout_syn_sent (120 s, each SYN again).
 * Cost:   some binary searches over a few steps a connection; no allocation.
 */
import { listIndexAt, type Policy, type Targets } from './balancer.ts'
import { CAUSE, SIGHT } from './causes.ts'
import type { Chance } from './chance.ts'
import type { Course } from './happenings.ts'
import {
  ACCEPT_GONE,
  ACCEPT_NOT_YET,
  ACCEPT_SILENT,
  ACCEPT_STOPPED,
  ACCEPT_YES,
  BREAK_CLOSED,
  BREAK_NODE,
} from './pod.ts'
import type { ProxySettings } from './proxy.ts'
import type { Site, SiteService } from './site.ts'
import type { Steps } from './steps.ts'
import type { Timeline } from './timeline.ts'
import type { Arrivals, Way } from './traffic.ts'
import type { EndpointSets } from './views.ts'

const PURPOSE_ENTRY = 0x1001
const PURPOSE_POD = 0x1002
const PURPOSE_LENGTH = 0x1003
const PURPOSE_AGE = 0x1004
const PURPOSE_CLIENT = 0x1005

/** A dropped packet's outcome, beside the causes. */
const DELIVERED = -1

/** What one run looks like to the connections of a Service. */
export interface Scene {
  readonly course: Course
  readonly site: Site
  readonly timeline: Timeline
  readonly service: SiteService
  readonly sets: readonly EndpointSets[]
  readonly rules: readonly Steps[]
  /** What CoreDNS answers; how long an answer is kept, 0 for one lookup a connection. */
  readonly names: Steps
  readonly answerMs: number
  readonly targets: Readonly<Record<Policy, Targets>> | null
  readonly balancerKind: 'nodes' | 'pods' | 'leader' | 'routes' | null
  readonly onUnhealthy: 'reset' | 'keep' | 'move'
  readonly hashing: 'modulo' | 'resilient'
  readonly proxy: ProxySettings | null
  /** Of each of its workers, the set that it knows. */
  readonly proxyViews: readonly Steps[]
  readonly way: Way
}

/** What became of one connection. The object is reused. */
export interface Fate {
  /** Index of the cause, or -1 for one that went well. */
  cause: number
  sight: number
  /** It was lost; else it was only late. */
  lost: boolean
  /** Index of the node that it entered by, -1 for none; id of the pod, -1 for none: where the cause was met, else where it ended up. */
  node: number
  pod: number
  /** Milliseconds from the first SYN to the one that was answered. */
  lateMs: number
  /** When it broke; -1 for one that was never open. */
  brokenMs: number
}

export function createFate(): Fate {
  return { cause: -1, sight: 0, lost: false, node: -1, pod: -1, lateMs: 0, brokenMs: -1 }
}

export class Dialer {
  readonly #scene: Scene
  readonly #policy: Policy
  readonly #chance: Chance
  readonly #targets: Targets | null
  readonly #isLocal: boolean
  /** With ClientIP affinity: pod by client and node, -1 for none. */
  readonly #pinned: Int32Array | null
  readonly #isIpvs: boolean
  readonly #nodeCount: number
  readonly #who: Arrivals['who'] | null
  readonly #clientCount: number
  /** Of the last attempt. */
  #node = -1
  #pod = -1
  #cause = 0
  /** Nothing came back: the client sends its SYN again. */
  #isSilent = false
  /** Its entry is in conntrack: the next SYN goes the same way. */
  #isBound = false

  /** @param who  the clients, by number of the connection; left out: chance says */
  constructor(scene: Scene, policy: Policy, chance: Chance, who: Arrivals['who'] | null = null) {
    this.#who = who
    this.#scene = scene
    this.#policy = policy
    this.#chance = chance
    this.#targets = scene.targets === null ? null : scene.targets[policy]
    const { service } = scene.service
    this.#isLocal =
      scene.way === 'outside' ? policy === 'local' : service.internalTrafficPolicy === 'Local' && scene.way === 'inside'
    this.#nodeCount = scene.course.nodes.length
    this.#clientCount = who?.clientCount ?? scene.timeline.traffic.clients
    this.#pinned =
      service.affinityTimeoutSeconds > 0 ? new Int32Array(this.#clientCount * this.#nodeCount).fill(-1) : null
    this.#isIpvs = scene.site.proxyMode === 'ipvs'
  }

  get policy(): Policy {
    return this.#policy
  }

  /** @param i  number of the connection, for chance: the same one makes the same choices under both policies */
  dial(i: number, atMs: number, fate: Fate): void {
    const { timeline, proxy } = this.#scene
    const { clients } = timeline
    fate.lateMs = 0
    fate.brokenMs = -1
    fate.lost = false
    if (proxy !== null) {
      this.#forward(i, atMs, proxy, fate)
      return
    }
    let first = DELIVERED
    this.#isBound = false
    let waitMs = 1000
    let sinceMs = 0
    for (let attempt = 0; ; attempt++) {
      this.#attempt(i, atMs + sinceMs, attempt)
      if (this.#cause === DELIVERED) break
      if (first === DELIVERED) {
        first = this.#cause
        fate.node = this.#node
        fate.pod = this.#pod
      }
      if (!this.#isSilent || attempt >= clients.synRetries || sinceMs + waitMs > clients.connectTimeoutMs) {
        fate.cause = first
        fate.sight = this.#isSilent ? SIGHT['timed out'] : SIGHT.refused
        fate.lost = true
        return
      }
      sinceMs += waitMs
      waitMs *= 2
    }
    fate.cause = first
    fate.lateMs = sinceMs
    fate.sight = SIGHT.slow
    this.#follow(i, atMs + sinceMs, fate)
  }

  /** A request that a proxy sends to one pod after the other until one answers. */
  #forward(i: number, atMs: number, { tries, connectTimeoutMs }: ProxySettings, fate: Fate): void {
    const { proxyViews, sets } = this.#scene
    this.#node = -1
    const worker = Math.floor(this.#chance.at(PURPOSE_CLIENT, i) * proxyViews.length)
    const { ready } = sets[proxyViews[worker]!.at(atMs)]!
    fate.cause = DELIVERED
    fate.node = -1
    fate.pod = -1
    if (ready.length === 0) {
      lose(fate, CAUSE['ingress-503'], SIGHT['503'])
      return
    }
    const from = Math.floor(this.#chance.at(PURPOSE_POD, i) * ready.length)
    const most = tries === 0 ? ready.length : tries
    for (let attempt = 0; attempt < most; attempt++) {
      // Round robin: the next one, and from the last on to the first.
      this.#pod = ready[(from + attempt) % ready.length]!
      this.#answer(atMs + fate.lateMs, CAUSE['ingress-502'])
      if (this.#cause === DELIVERED) {
        fate.sight = SIGHT.slow
        // Another pod at once is no wait that anybody notices.
        if (fate.lateMs === 0) fate.cause = DELIVERED
        this.#follow(i, atMs + fate.lateMs, fate)
        if (fate.lost) fate.sight = SIGHT['502']
        return
      }
      if (fate.pod < 0) fate.pod = this.#pod
      fate.cause = this.#cause
      if (this.#isSilent) fate.lateMs += connectTimeoutMs
    }
    lose(fate, fate.cause, this.#isSilent ? SIGHT['504'] : SIGHT['502'])
  }

  #attempt(i: number, atMs: number, attempt: number): void {
    if (this.#isBound) {
      this.#answer(atMs, this.#cause)
      return
    }
    const { way, names, answerMs, sets, course, balancerKind } = this.#scene
    this.#node = -1
    this.#pod = -1
    if (way === 'names') {
      const ageMs = Math.floor(this.#chance.at(PURPOSE_AGE, i) * answerMs)
      this.#pick(i, attempt, sets[names.at(atMs - ageMs)]!.ready)
      if (this.#pod < 0) this.#fail(CAUSE['no-endpoint'], false)
      else this.#answer(atMs, ageMs > 0 ? CAUSE['stale-dns'] : CAUSE['stale-rules'])
      return
    }
    if (way === 'outside' && this.#targets !== null) {
      const list = this.#targets.lists[listIndexAt(this.#targets.fromMs, atMs)]!
      if (list.length === 0) {
        this.#fail(CAUSE['no-target'], true)
        return
      }
      const chosen = list[this.#flowHash(i) % list.length]!
      if (balancerKind === 'pods') {
        this.#pod = chosen
        this.#node = course.pods[chosen]!.node
        this.#answer(atMs, CAUSE['lb-stale-target'])
        return
      }
      this.#node = chosen
      if (course.nodes[chosen]!.up.at(atMs) === 0) {
        this.#fail(CAUSE['ingress-node-gone'], true)
        return
      }
    } else {
      this.#node = this.#clientNode(i, atMs)
      if (this.#node < 0) {
        this.#fail(CAUSE['ingress-node-gone'], true)
        return
      }
    }
    const set = sets[this.#scene.rules[this.#node]!.at(atMs)]!
    let endpoints = this.#isLocal ? set.local.get(this.#node) : set.cluster
    // ipvs has no rule that drops: it goes on with all there are.
    if (this.#isLocal && this.#isIpvs && endpoints === undefined && way === 'outside') endpoints = set.cluster
    if (endpoints === undefined || endpoints.length === 0) {
      // What is nowhere is refused, what is only elsewhere is dropped.
      if (set.hasAny && !this.#isIpvs) this.#fail(CAUSE['no-local-endpoint'], true)
      else this.#fail(CAUSE['no-endpoint'], false)
      return
    }
    this.#pick(i, attempt, endpoints)
    this.#answer(atMs, CAUSE['stale-rules'])
  }

  /** Of its addresses and ports: what a balancer takes modulo its targets. */
  #flowHash(i: number): number {
    return Math.floor(this.#chance.at(PURPOSE_ENTRY, i) * 4294967296)
  }

  /** The node of a client in the cluster; one that is down has none. */
  #clientNode(i: number, atMs: number): number {
    const { nodes } = this.#scene.course
    const own = this.#who?.nodes[i] ?? -1
    const from = own >= 0 ? own : this.#flowHash(i) % nodes.length
    for (let n = 0; n < nodes.length; n++) {
      const node = (from + n) % nodes.length
      if (nodes[node]!.up.at(atMs) === 1) return node
    }
    return -1
  }

  #pick(i: number, attempt: number, endpoints: readonly number[]): void {
    if (endpoints.length === 0) return
    const chosen = endpoints[Math.floor(this.#chance.at(PURPOSE_POD + attempt * 16, i) * endpoints.length)]!
    if (this.#pinned === null || this.#node < 0) {
      this.#pod = chosen
      return
    }
    const client = this.#who?.clients[i] ?? Math.floor(this.#chance.at(PURPOSE_CLIENT, i) * this.#clientCount)
    const slot = client * this.#nodeCount + this.#node
    const known = this.#pinned[slot]!
    // An endpoint that the rules do not name any more takes its affinity along.
    this.#pod = known >= 0 && endpoints.includes(known) ? known : chosen
    this.#pinned[slot] = this.#pod
  }

  /** @param stale  the cause where the pod has stopped and the sender did not know */
  #answer(atMs: number, stale: number): void {
    switch (this.#scene.course.pods[this.#pod]!.accept.at(atMs)) {
      case ACCEPT_YES:
        this.#cause = DELIVERED
        return
      case ACCEPT_NOT_YET:
        this.#fail(CAUSE['not-listening-yet'], false)
        return
      case ACCEPT_STOPPED:
        this.#fail(stale, false)
        return
      case ACCEPT_SILENT:
        this.#fail(CAUSE['node-gone'], true)
        this.#isBound = true
        return
      case ACCEPT_GONE:
        this.#fail(stale, true)
        this.#isBound = true
    }
  }

  #fail(cause: number, isSilent: boolean): void {
    this.#cause = cause
    this.#isSilent = isSilent
  }

  /** An open connection until it is done, or broken off. */
  #follow(i: number, openMs: number, fate: Fate): void {
    const { course, site } = this.#scene
    const { request, perConnection } = site.workloads[course.pods[this.#pod]!.workload]!.settings
    let lengthMs = request.durationMs * perConnection
    if (this.#who != null) lengthMs = this.#who.lengthsMs[i]!
    else if (request.distribution === 'exponential') lengthMs *= -Math.log(1 - this.#chance.at(PURPOSE_LENGTH, i))
    this.#hold(i, openMs, openMs + lengthMs, fate)
  }

  /** What breaks a connection that is open from `openMs` until `endMs`, if anything does. */
  #hold(i: number, openMs: number, endMs: number, fate: Fate): void {
    const { course, onUnhealthy, way } = this.#scene
    const node = this.#node
    const pod = course.pods[this.#pod]!
    for (const { atMs, why } of pod.breaks) {
      if (atMs <= openMs) continue
      if (atMs < endMs) {
        const cause = why === BREAK_CLOSED ? 'closed-by-app' : why === BREAK_NODE ? 'node-gone' : 'killed-in-flight'
        this.#broken(fate, CAUSE[cause], why === BREAK_NODE ? SIGHT.hung : SIGHT.reset, atMs)
      }
      break
    }
    if (way !== 'outside' || node < 0 || this.#targets === null || this.#scene.balancerKind === 'pods') return
    const lastMs = fate.brokenMs >= 0 ? fate.brokenMs : endMs
    if (node !== pod.node) {
      const downMs = course.nodes[node]!.up.next(openMs, (up) => up === 0)
      if (downMs < lastMs) this.#broken(fate, CAUSE['ingress-node-gone'], SIGHT.hung, downMs)
    }
    if (onUnhealthy === 'reset') {
      const outMs = this.#targets.ofNode[node]!.next(openMs, (isTarget) => isTarget === 0)
      if (outMs > openMs && outMs < (fate.brokenMs >= 0 ? fate.brokenMs : endMs))
        this.#broken(fate, CAUSE['lb-reset'], SIGHT.reset, outMs)
    } else if (onUnhealthy === 'move') this.#move(i, openMs, endMs, fate)
  }

  /**
   * One connection that its client wants for ever: opened at `atMs`, held until something ends it. An idle one is closed when its pod gets SIGTERM.
   *
   * @returns when it ended; Infinity where it outlives the timeline; -1 where it was not opened at all
   */
  keep(i: number, atMs: number, fate: Fate): number {
    this.dial(i, atMs, fate)
    if (fate.lost && fate.brokenMs < 0) return -1
    const openMs = atMs + fate.lateMs
    fate.lost = false
    fate.brokenMs = -1
    fate.node = this.#node
    fate.pod = this.#pod
    const pod = this.#scene.course.pods[this.#pod]!
    const { settings } = this.#scene.site.workloads[pod.workload]!
    const closes = settings.idle === 'close' && pod.sigtermMs > openMs
    this.#hold(i, openMs, closes ? pod.sigtermMs : Number.POSITIVE_INFINITY, fate)
    if (fate.brokenMs >= 0) return fate.brokenMs
    if (!closes || !Number.isFinite(pod.sigtermMs)) return Number.POSITIVE_INFINITY
    this.#broken(fate, CAUSE['closed-by-app'], SIGHT.reset, pod.sigtermMs)
    return pod.sigtermMs
  }

  /** Another node gets its packets from the time on at which the list of nodes, and with it the choice, changes. */
  #move(i: number, openMs: number, endMs: number, fate: Fate): void {
    const { fromMs, lists } = this.#targets!
    const hash = this.#flowHash(i)
    const isResilient = this.#scene.hashing === 'resilient'
    for (let n = listIndexAt(fromMs, openMs) + 1; n < fromMs.length; n++) {
      const atMs = fromMs[n]!
      if (atMs >= (fate.brokenMs >= 0 ? fate.brokenMs : endMs)) return
      const list = lists[n]!
      const stays = isResilient ? list.includes(this.#node) : list[hash % list.length] === this.#node
      if (list.length > 0 && stays) continue
      this.#broken(fate, CAUSE['path-moved'], list.length === 0 ? SIGHT.hung : SIGHT.reset, atMs)
      return
    }
  }
  #broken(fate: Fate, cause: number, sight: number, atMs: number): void {
    fate.cause = cause
    fate.sight = sight
    fate.lost = true
    fate.brokenMs = atMs
    fate.node = this.#node
    fate.pod = this.#pod
  }
}

function lose(fate: Fate, cause: number, sight: number): void {
  fate.cause = cause
  fate.sight = sight
  fate.lost = true
}
