/**
 * Pods and nodes in virtual time: kubelets that start, probe and end containers, nodes that fail and come back.
 *
 * Who makes pods come and go is in `controllers.ts`, what the Timeline says in `happenings.ts`; both act on this. What comes out are step
 * functions: what each pod does with a SYN, what its endpoint says, what state each node is in.
 * Source: kubernetes/kubernetes pkg/kubelet/prober, pkg/kubelet/kuberuntime (preStop takes from the grace period, 2 s are left at least),
 *         pkg/controller/nodelifecycle (lease every 10 s, looked at every 5 s), the pod lifecycle page of the documentation.
 */
import type { Chance } from './chance.ts'
import { Clock } from './clock.ts'
import { nextProbeMs } from './lifecycle.ts'
import type { Occupant } from './placement.ts'
import { Placement } from './placement.ts'
import {
  ACCEPT_GONE,
  ACCEPT_NOT_YET,
  ACCEPT_SILENT,
  ACCEPT_STOPPED,
  ACCEPT_YES,
  BREAK_CLOSED,
  BREAK_CRASHED,
  BREAK_KILLED,
  BREAK_NODE,
  ENDPOINT_LISTED,
  ENDPOINT_READY,
  ENDPOINT_SERVING,
  ENDPOINT_TERMINATING,
  Pod,
  type PodMade,
} from './pod.ts'
import type { Site } from './site.ts'
import { Steps } from './steps.ts'
import type { Span, Timeline } from './timeline.ts'

/** That a container has at least between SIGTERM and SIGKILL. Source: minimumGracePeriodInSeconds of the kubelet. */
const LEAST_GRACE_MS = 2000
/** From the end of a pod's containers until nobody has its address: an assumption. */
export const SANDBOX_MS = 1000
/** Waits before restarts of one container: none, then 10 s doubled up to 300 s. */
const BACK_OFF_MS = 10_000
const MAX_BACK_OFF_MS = 300_000
/** The kubelet renews its node's lease, and the node controller looks at leases, this often. */
const LEASE_MS = 10_000
const LEASE_CHECK_MS = 5000
/** Of node-monitor-grace-period, from 1.32 on and before. Source: kubernetes/kubernetes#126287. */
const NODE_GRACE_MS = 50_000
const NODE_GRACE_BEFORE_132_MS = 40_000
/** A request that lasts longer than this many times the mean is not waited for, where lengths are exponential. */
const TAIL = 5
/** How long before the start pods are taken to be older than, so that what a rollout prefers among them is their names. */
const LONG_AGO_MS = -3_600_000

export class Node {
  readonly index: number
  readonly name: string
  /** 1 while it runs. */
  readonly up: Steps = new Steps(1)
  /** 1 while kube-proxy runs on it. */
  readonly proxy: Steps = new Steps(1)
  /** 0 while syncs of kube-proxy fail: it runs and answers, and writes nothing. */
  readonly syncs: Steps = new Steps(1)
  /** 0 while the node's lease is not renewed, though all on it runs. */
  readonly heartbeat: Steps = new Steps(1)
  /** 1 while it has a taint that makes kube-proxy's /healthz fail. */
  readonly tainted: Steps = new Steps(0)
  /** 1 once its Node object is deleted. */
  readonly deleted: Steps = new Steps(0)
  /** 0 once the node controller has missed it. */
  readonly ready: Steps = new Steps(1)
  isCordoned: boolean = false

  constructor(index: number, name: string) {
    this.index = index
    this.name = name
  }

  get isUp(): boolean {
    return this.up.last === 1
  }
}

/** Something that happened, for the picture and for `explain`. */
export interface Note {
  readonly atMs: number
  readonly text: string
}

export class World {
  readonly site: Site
  readonly timeline: Timeline
  readonly chance: Chance
  readonly clock: Clock = new Clock()
  readonly placement: Placement
  readonly pods: Pod[] = []
  readonly nodes: Node[]
  readonly notes: Note[] = []
  /** Something changed that controllers have not looked at. */
  isDirty: boolean = false

  constructor(site: Site, timeline: Timeline, chance: Chance) {
    this.site = site
    this.timeline = timeline
    this.chance = chance
    this.placement = new Placement(site)
    this.nodes = site.nodes.map(({ node }, i) => new Node(i, node.name))
  }

  get nowMs(): number {
    return this.clock.nowMs
  }

  note(text: string): void {
    this.notes.push({ atMs: this.nowMs, text })
  }

  /** A pod that was there before the first event. */
  addOld(name: string, workload: number, ordinal: number, node: number, ready: boolean): Pod {
    const { lifecycle, settings } = this.site.workloads[workload]!
    const period = lifecycle.readiness?.periodMs ?? 1
    const startupMs = this.#startupOf(settings.startup, name)
    const pod = this.#make({ name, workload, revision: 0, ordinal, node, lifecycle, startupMs, createdMs: LONG_AGO_MS })
    // Where its probes fall is chance; where its startup lies is of no interest any more.
    pod.probeBaseMs = LONG_AGO_MS + Math.floor(this.chance.unit('probe', name) * period)
    pod.isRunning = true
    pod.isListening = true
    pod.isStarted = true
    pod.isReady = ready
    pod.isHealthy = ready
    pod.readySinceMs = LONG_AGO_MS
    pod.accept.values[0] = ACCEPT_YES
    pod.endpoint.values[0] = this.#conditions(pod)
    return pod
  }

  /** A pod that a controller makes now; it waits where no node has room. */
  addNew(
    made: Pick<Pod, 'name' | 'workload' | 'revision' | 'ordinal' | 'lifecycle'>,
    startup: Span,
    node: number | null,
  ): Pod {
    const { name, workload } = made
    const startupMs = this.#startupOf(startup, name)
    const chosen = node ?? this.#chooseNode(workload)
    const pod = this.#make({ ...made, node: chosen, startupMs, createdMs: this.nowMs })
    this.note(`${pod.name} is created on ${this.nodes[chosen]?.name ?? 'no node: none has room'}`)
    if (chosen >= 0) this.#start(pod)
    return pod
  }

  /** Tries again for pods that no node had room for. */
  placeWaiting(): void {
    for (const pod of this.pods) {
      if (pod.node >= 0 || !pod.isLive) continue
      pod.node = this.#chooseNode(pod.workload)
      if (pod.node < 0) continue
      this.note(`${pod.name} is placed on ${this.nodes[pod.node]!.name}`)
      this.#start(pod)
    }
  }

  /**
   * What a delete request does; one for a pod that is being deleted does nothing.
   *
   * @param graceMs  in place of the pod's own; 0: no hook, no waiting, and the object is gone at once
   */
  deletePod(pod: Pod, graceMs: number = pod.lifecycle.graceMs): void {
    if (!pod.isLive) return
    const { nowMs } = this
    pod.isTerminating = true
    pod.deletedMs = nowMs
    this.isDirty = true
    this.note(`${pod.name} is deleted`)
    if (pod.node < 0 || graceMs === 0) {
      this.#end(pod, BREAK_KILLED)
      this.#gone(pod)
      return
    }
    const preStopMs = Math.min(pod.lifecycle.preStopMs, graceMs)
    pod.sigtermMs = nowMs + preStopMs
    pod.killMs = nowMs + Math.max(graceMs, preStopMs + LEAST_GRACE_MS)
    this.#changed(pod)
    this.clock.at(pod.sigtermMs, () => this.#terminate(pod))
  }

  /** Its process ends by itself; the kubelet starts it again. */
  crash(pod: Pod): void {
    if (!pod.isRunning || !this.#isUp(pod)) return
    this.note(`${pod.name} crashes`)
    this.#end(pod, BREAK_CRASHED)
    if (pod.isTerminating) return
    const { restarts } = pod
    const backOffMs = restarts === 0 ? 0 : Math.min(BACK_OFF_MS * 2 ** (restarts - 1), MAX_BACK_OFF_MS)
    pod.restarts++
    const { epoch } = pod
    this.#whenSeen(pod, () => {
      this.#setReady(pod, false)
      this.clock.at(this.nowMs + backOffMs, () => {
        if (pod.epoch === epoch && !pod.isDeleted && this.#isUp(pod)) this.#start(pod)
      })
    })
  }

  /** What the readiness probe is told from now on. */
  setHealth(pod: Pod, isHealthy: boolean): void {
    if (pod.isDeleted) return
    pod.isHealthy = isHealthy
    this.#probe(pod)
  }

  fail(node: Node): void {
    if (!node.isUp) return
    node.up.set(this.nowMs, 0)
    node.proxy.set(this.nowMs, 0)
    this.isDirty = true
    this.note(`node ${node.name} fails`)
    for (const pod of this.#podsOn(node)) {
      pod.epoch++
      pod.isRunning = false
      pod.isListening = false
      pod.isProbing = false
      pod.accept.set(this.nowMs, ACCEPT_SILENT)
      pod.breaks.push({ atMs: this.nowMs, why: BREAK_NODE })
    }
    this.#watch(node)
  }

  /** Nothing is heard of the node from now on: the node controller misses it after the grace period. */
  #watch(node: Node): void {
    const graceMs =
      this.timeline.nodeMonitorGraceMs ?? (this.site.kubernetesMinor >= 32 ? NODE_GRACE_MS : NODE_GRACE_BEFORE_132_MS)
    const sinceLease = this.chance.unit('lease', node.name) * LEASE_MS
    const untilCheck = this.chance.unit('lease check', node.name) * LEASE_CHECK_MS
    this.clock.at(this.nowMs + graceMs - sinceLease + untilCheck, () => this.#miss(node))
  }

  /** The lease is not renewed: the node runs, and is missed where that lasts for longer than the grace period. */
  stopHeartbeat(node: Node): void {
    node.heartbeat.set(this.nowMs, 0)
    this.note(`node ${node.name} is not heard of`)
    this.#watch(node)
  }

  resumeHeartbeat(node: Node): void {
    if (!node.isUp || node.deleted.last === 1) return
    node.heartbeat.set(this.nowMs, 1)
    node.ready.set(this.nowMs, 1)
    this.isDirty = true
    this.note(`node ${node.name} is heard of again`)
    for (const pod of this.#podsOn(node)) {
      this.#changed(pod)
      // What was evicted in the meantime is ended now.
      if (pod.isTerminating && !Number.isFinite(pod.sigtermMs)) {
        pod.isTerminating = false
        this.deletePod(pod)
      }
    }
  }

  /**
   * The kubelet ends the node's pods by itself and lets the machine go down: nobody has deleted them, so that their endpoints stay ready until
   * they have ended. Source: KEP-2000; kubernetes/kubernetes#116965 (readiness is not turned false in time).
   */
  shutdown(node: Node, forMs: number): void {
    if (!node.isUp) return
    this.note(`node ${node.name} shuts down`)
    node.isCordoned = true
    for (const pod of this.#podsOn(node)) {
      if (pod.isTerminating || !pod.isRunning) continue
      const graceMs = Math.min(pod.lifecycle.graceMs, forMs)
      const preStopMs = Math.min(pod.lifecycle.preStopMs, graceMs)
      pod.sigtermMs = this.nowMs + preStopMs
      pod.killMs = this.nowMs + Math.max(graceMs, preStopMs + LEAST_GRACE_MS)
      this.clock.at(pod.sigtermMs, () => this.#terminate(pod))
    }
    this.clock.at(this.nowMs + forMs, () => this.fail(node))
  }

  /** Power comes back: its pods start anew, where their objects are still there. */
  revive(node: Node): void {
    if (node.isUp || node.deleted.last === 1) return
    node.up.set(this.nowMs, 1)
    node.proxy.set(this.nowMs, 1)
    node.heartbeat.set(this.nowMs, 1)
    node.ready.set(this.nowMs, 1)
    this.isDirty = true
    this.note(`node ${node.name} is back`)
    for (const pod of this.#podsOn(node)) {
      if (pod.isTerminating) this.#gone(pod)
      else {
        this.#setReady(pod, false)
        this.#start(pod)
      }
    }
  }

  /** The machine and its Node object go; its pods go with them. */
  deleteNode(node: Node, objectAfterMs: number): void {
    this.fail(node)
    this.clock.at(this.nowMs + objectAfterMs, () => {
      node.deleted.set(this.nowMs, 1)
      node.ready.set(this.nowMs, 0)
      this.isDirty = true
      this.note(`node ${node.name} is deleted`)
      for (const pod of this.#podsOn(node)) {
        pod.isTerminating = true
        this.#gone(pod)
      }
    })
  }

  /** A node that may have new pods. */
  isOpen(node: number): boolean {
    const { isUp, isCordoned, ready, tainted } = this.nodes[node]!
    return isUp && !isCordoned && ready.last === 1 && tainted.last === 0
  }

  occupants(): Occupant[] {
    return this.pods.filter(({ isDeleted }) => !isDeleted)
  }

  #startupOf({ minMs, maxMs }: Span, name: string): number {
    return Number.isFinite(minMs) ? this.chance.between(minMs, maxMs, 'startup', name) : minMs
  }

  #chooseNode(workload: number): number {
    return this.placement.choose(workload, this.occupants(), (node) => this.isOpen(node))
  }

  #make(made: Omit<PodMade, 'id'>): Pod {
    const pod = new Pod({ id: this.pods.length, ...made })
    this.pods.push(pod)
    return pod
  }

  #podsOn(node: Node): Pod[] {
    return this.pods.filter((pod) => pod.node === node.index && !pod.isDeleted)
  }

  #isUp(pod: Pod): boolean {
    return pod.node >= 0 && this.nodes[pod.node]!.isUp
  }

  #start(pod: Pod): void {
    pod.epoch++
    const { epoch, lifecycle } = pod
    pod.isRunning = true
    pod.isStarted = lifecycle.startup === null
    pod.probeBaseMs = this.nowMs
    pod.failures = 0
    pod.successes = 0
    pod.isProbing = false
    pod.accept.set(this.nowMs, ACCEPT_NOT_YET)
    pod.isGated = this.site.workloads[pod.workload]!.gateMs > 0
    this.#changed(pod)
    // Without a probe a container counts as ready as soon as it runs.
    if (lifecycle.readiness === null && lifecycle.startup === null) this.#setReady(pod, true)
    this.clock.at(this.nowMs + pod.startupMs, () => {
      if (pod.epoch !== epoch || !pod.isRunning) return
      pod.isListening = true
      pod.accept.set(this.nowMs, ACCEPT_YES)
      if (lifecycle.startup === null) {
        this.#probe(pod)
        return
      }
      this.clock.at(nextProbeMs(lifecycle.startup, pod.probeBaseMs, this.nowMs), () => {
        if (pod.epoch !== epoch || !pod.isRunning) return
        pod.isStarted = true
        if (lifecycle.readiness === null) {
          this.#setReady(pod, true)
          return
        }
        // The readiness probe is triggered as soon as the startup probe has passed.
        pod.isProbing = true
        this.#tick(pod, epoch)
      })
    })
  }

  /** Probes are looked at only while they may change something; between them the answer stays what it was. */
  #probe(pod: Pod): void {
    const { readiness } = pod.lifecycle
    if (readiness === null || pod.isProbing || !pod.isStarted || !pod.isRunning) return
    pod.isProbing = true
    const { epoch } = pod
    this.clock.at(nextProbeMs(readiness, pod.probeBaseMs, this.nowMs), () => this.#tick(pod, epoch))
  }

  #tick(pod: Pod, epoch: number): void {
    const { readiness } = pod.lifecycle
    if (pod.epoch !== epoch || readiness === null || pod.isDeleted) return
    const passes = pod.isHealthy && pod.isListening
    pod.successes = passes ? pod.successes + 1 : 0
    pod.failures = passes ? 0 : pod.failures + 1
    if (passes && !pod.isReady && pod.successes >= readiness.success) this.#setReady(pod, true)
    if (!passes && pod.isReady && pod.failures >= readiness.failure) this.#setReady(pod, false)
    pod.isProbing = passes !== pod.isReady
    if (pod.isProbing) this.clock.at(this.nowMs + readiness.periodMs, () => this.#tick(pod, epoch))
  }

  #setReady(pod: Pod, isReady: boolean): void {
    if (isReady && pod.isGated) {
      // The load balancer is told of the pod now; it counts as ready when it is a target.
      const { epoch } = pod
      this.clock.at(this.nowMs + this.site.workloads[pod.workload]!.gateMs, () => {
        if (pod.epoch !== epoch || !pod.isGated) return
        pod.isGated = false
        this.#setReady(pod, true)
      })
      return
    }
    if (pod.isReady !== isReady) {
      pod.isReady = isReady
      pod.readySinceMs = this.nowMs
      this.isDirty = true
      const { minReadySeconds = 0 } = this.site.workloads[pod.workload]!.object.spec
      // It counts as available only then.
      if (isReady && minReadySeconds > 0) {
        this.clock.at(this.nowMs + minReadySeconds * 1000, () => {
          this.isDirty = true
        })
      }
      if (!pod.isTerminating) this.note(`${pod.name} is ${isReady ? 'ready' : 'not ready'}`)
    }
    this.#changed(pod)
  }

  #terminate(pod: Pod): void {
    if (!pod.isRunning || !this.#isUp(pod)) {
      this.#finish(pod)
      return
    }
    const { settings } = this.site.workloads[pod.workload]!
    this.note(`${pod.name} gets SIGTERM`)
    if (settings.accept === 'stop') {
      pod.isListening = false
      pod.accept.set(this.nowMs, ACCEPT_STOPPED)
      this.#probe(pod)
    }
    if (settings.inFlight === 'abort') pod.breaks.push({ atMs: this.nowMs, why: BREAK_CLOSED })
    const { durationMs, distribution } = settings.request
    const finishing = settings.inFlight === 'abort' ? 0 : distribution === 'fixed' ? durationMs : durationMs * TAIL
    const exitMs = Math.min(pod.killMs, this.nowMs + Math.max(settings.exitAfterMs, finishing))
    const { epoch } = pod
    this.clock.at(exitMs, () => {
      if (pod.epoch !== epoch || !pod.isRunning) return
      this.#end(pod, BREAK_KILLED)
      this.#finish(pod)
    })
  }

  /** Nothing of the pod runs: what is left are its endpoint and its object. */
  #finish(pod: Pod): void {
    if (!this.#isUp(pod)) return
    this.#whenSeen(pod, () => {
      this.#setReady(pod, false)
      this.clock.at(this.nowMs + this.timeline.controlPlane.removalMs, () => this.#gone(pod))
    })
  }

  /** Its process ends, and with it what is open. */
  #end(pod: Pod, why: number): void {
    if (!pod.isRunning) return
    pod.isRunning = false
    pod.isListening = false
    pod.isProbing = false
    pod.exitMs = this.nowMs
    pod.epoch++
    pod.accept.set(this.nowMs, ACCEPT_STOPPED)
    pod.breaks.push({ atMs: this.nowMs, why })
    if (!pod.isTerminating) return
    this.note(`${pod.name} has ended`)
    const { epoch } = pod
    this.clock.at(this.nowMs + SANDBOX_MS, () => {
      if (pod.epoch === epoch && pod.accept.last === ACCEPT_STOPPED) pod.accept.set(this.nowMs, ACCEPT_GONE)
    })
  }

  /** The kubelet looks for ended containers now and then. */
  #whenSeen(pod: Pod, then: () => void): void {
    const { relistMs } = this.timeline.controlPlane
    this.clock.at(this.nowMs + this.chance.unit('relist', pod.name, pod.restarts) * relistMs, then)
  }

  #gone(pod: Pod): void {
    if (pod.isDeleted) return
    pod.isDeleted = true
    pod.isReady = false
    pod.goneMs = this.nowMs
    this.isDirty = true
    this.#changed(pod)
  }

  #miss(node: Node): void {
    const isHeard = (): boolean => node.isUp && node.heartbeat.last === 1
    if (isHeard() || node.deleted.last === 1) return
    node.ready.set(this.nowMs, 0)
    this.isDirty = true
    this.note(`node ${node.name} is missed: its pods count as not ready`)
    for (const pod of this.#podsOn(node)) this.#changed(pod)
    this.clock.at(this.nowMs + this.timeline.tolerationMs, () => {
      if (isHeard() || node.deleted.last === 1) return
      // What runs a DaemonSet tolerates the taint for ever.
      for (const pod of this.#podsOn(node)) {
        if (this.site.workloads[pod.workload]!.object.kind === 'DaemonSet' || pod.isTerminating) continue
        pod.isTerminating = true
        pod.deletedMs = this.nowMs
        this.isDirty = true
        this.#changed(pod)
        this.note(`${pod.name} is evicted from the node that is gone`)
      }
    })
  }

  #changed(pod: Pod): void {
    pod.endpoint.set(this.nowMs, this.#conditions(pod))
  }

  #conditions(pod: Pod): number {
    if (pod.isDeleted || pod.node < 0) return 0
    const ready = pod.isReady && this.nodes[pod.node]!.ready.last === 1
    return (
      ENDPOINT_LISTED |
      (ready ? ENDPOINT_SERVING : 0) |
      (ready && !pod.isTerminating ? ENDPOINT_READY : 0) |
      (pod.isTerminating ? ENDPOINT_TERMINATING : 0)
    )
  }
}
