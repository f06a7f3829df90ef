/**
 * Deployments, StatefulSets, DaemonSets and ReplicaSets as controllers see them: each `sync` takes the steps that can be taken now.
 *
 * Controllers act without delay on what the world says; the lags that matter to connections are those of who watches endpoints.
 * Source: kubernetes/kubernetes pkg/controller/deployment/rolling.go, pkg/controller/controller_utils.go (ActivePodsWithRanks),
 *         pkg/controller/statefulset/stateful_set_control.go, pkg/controller/daemon/update.go.
 */
import { stableSuffix } from '../k8s/hash.ts'
import { resolveCount, surgeAndUnavailable } from './counts.ts'
import type { Lifecycle } from './lifecycle.ts'
import type { Pod } from './pod.ts'
import type { SiteWorkload } from './site.ts'
import type { Span } from './timeline.ts'
import type { World } from './world.ts'

/** A step of a rollout: pods of the new revision added or old ones taken away. */
export interface RolloutStep {
  readonly atMs: number
  readonly which: 'new' | 'old'
  readonly delta: number
}

/** What a revision's pods are made of. */
export interface Revision {
  readonly lifecycle: Lifecycle
  readonly startup: Span
}

export abstract class Controller {
  readonly workload: SiteWorkload
  readonly steps: RolloutStep[] = []
  /** By number; the last one is the current. */
  readonly revisions: Revision[]
  replicas: number
  protected readonly world: World
  readonly #names = new Set<string>()
  #made = 0

  constructor(world: World, workload: SiteWorkload) {
    this.world = world
    this.workload = workload
    this.replicas = workload.replicas
    this.revisions = [{ lifecycle: workload.lifecycle, startup: workload.settings.startup }]
  }

  get pods(): Pod[] {
    return this.world.pods.filter(({ workload, isDeleted }) => workload === this.workload.index && !isDeleted)
  }

  protected get live(): Pod[] {
    return this.pods.filter(({ isLive }) => isLive)
  }

  get current(): number {
    return this.revisions.length - 1
  }

  get minReadyMs(): number {
    return (this.workload.object.spec.minReadySeconds ?? 0) * 1000
  }

  /** Steps until nothing more can be done now. */
  abstract sync(): void

  /** The template changes. */
  roll(revision: Revision): void {
    this.revisions.push(revision)
    this.world.isDirty = true
  }

  scale(replicas: number): void {
    this.replicas = replicas
    this.world.isDirty = true
  }

  /** All pods are of the current revision, as many as there should be, and available. */
  get isComplete(): boolean {
    const { live } = this
    return (
      live.length === this.replicas &&
      live.every((pod) => pod.revision === this.current && pod.isAvailable(this.world.nowMs, this.minReadyMs))
    )
  }

  protected isAvailable(pod: Pod): boolean {
    return pod.isAvailable(this.world.nowMs, this.minReadyMs)
  }

  protected add(revision: number, ordinal = -1, node: number | null = null): Pod {
    const { lifecycle, startup } = this.revisions[revision]!
    const name = ordinal >= 0 ? `${this.workload.object.metadata.name}-${ordinal}` : this.#freshName(revision)
    const pod = this.world.addNew({ name, workload: this.workload.index, revision, ordinal, lifecycle }, startup, node)
    return pod
  }

  protected step(which: 'new' | 'old', delta: number): void {
    if (delta !== 0) this.steps.push({ atMs: this.world.nowMs, which, delta })
  }

  #freshName(revision: number): string {
    const { title, object } = this.workload
    const hash = object.kind === 'Deployment' ? `${stableSuffix(`${title} revision ${revision}`, 5)}-` : ''
    for (;;) {
      const name = `${object.metadata.name}-${hash}${stableSuffix(`${title} ${this.#made++}`, 5)}`
      if (this.#names.has(name)) continue
      this.#names.add(name)
      return name
    }
  }
}

/** A Deployment's ReplicaSets, or a ReplicaSet by itself. */
export class DeploymentController extends Controller {
  /** spec.replicas of each revision's ReplicaSet. */
  readonly #wanted: number[] = [this.workload.replicas]

  override roll(revision: Revision): void {
    super.roll(revision)
    this.#wanted.push(0)
  }

  sync(): void {
    if (this.workload.object.spec.paused === true) {
      this.#reconcile()
      return
    }
    for (let i = 0; i < 1000; i++) {
      this.#reconcile()
      if (!(this.#isRecreate ? this.#recreate() : this.#growNew() || this.#shrinkOld())) return
    }
  }

  get #isRecreate(): boolean {
    return this.workload.object.spec.strategy?.type === 'Recreate'
  }

  /** Every ReplicaSet has as many pods as it wants. */
  #reconcile(): void {
    const { live } = this
    for (const [revision, wanted] of this.#wanted.entries()) {
      const own = live.filter((pod) => pod.revision === revision)
      for (let i = own.length; i < wanted; i++) this.add(revision)
      if (own.length <= wanted) continue
      for (const pod of this.#ranked(own, live).slice(0, own.length - wanted)) this.world.deletePod(pod)
    }
  }

  #recreate(): boolean {
    const { current } = this
    let changed = false
    for (let i = 0; i < current; i++) {
      if (this.#wanted[i] === 0) continue
      this.step('old', -this.#wanted[i]!)
      this.#wanted[i] = 0
      changed = true
    }
    if (changed) return true
    if (this.pods.some(({ revision }) => revision < current)) return false
    return this.#setNew(this.replicas)
  }

  #growNew(): boolean {
    const { current, replicas } = this
    const wanted = this.#wanted[current]!
    if (wanted === replicas) return false
    if (wanted > replicas) return this.#setNew(replicas)
    const total = this.#wanted.reduce((sum, count) => sum + count, 0)
    const room = replicas + this.#limits().surge - total
    return room > 0 && this.#setNew(wanted + Math.min(room, replicas - wanted))
  }

  #setNew(count: number): boolean {
    const { current } = this
    const delta = count - this.#wanted[current]!
    if (delta === 0) return false
    this.step('new', delta)
    this.#wanted[current] = count
    return true
  }

  #shrinkOld(): boolean {
    const { current, live } = this
    const old = this.#wanted.slice(0, current).reduce((sum, count) => sum + count, 0)
    if (old === 0) return false
    const least = this.replicas - this.#limits().unavailable
    const availableOf = (revision: number): number =>
      live.filter((pod) => pod.revision === revision && this.isAvailable(pod)).length
    const newUnavailable = this.#wanted[current]! - availableOf(current)
    let most = old + this.#wanted[current]! - least - newUnavailable
    if (most <= 0) return false
    let removed = 0
    const take = (revision: number, count: number): void => {
      this.#wanted[revision]! -= count
      removed += count
    }
    // Pods that serve nobody go first, the oldest revision's before others'.
    for (let revision = 0; revision < current && most > 0; revision++) {
      const unhealthy = Math.min(most, this.#wanted[revision]! - availableOf(revision))
      if (unhealthy <= 0) continue
      take(revision, unhealthy)
      most -= unhealthy
    }
    let available = live.filter((pod) => this.isAvailable(pod)).length - least
    for (let revision = 0; revision < current && available > 0; revision++) {
      const count = Math.min(available, this.#wanted[revision]!)
      take(revision, count)
      available -= count
    }
    this.step('old', -removed)
    return removed > 0
  }

  #limits(): { readonly surge: number; readonly unavailable: number } {
    const { maxSurge, maxUnavailable } = this.workload.object.spec.strategy?.rollingUpdate ?? {}
    return surgeAndUnavailable(this.replicas, maxSurge, maxUnavailable)
  }

  /** Which pods go first. */
  #ranked(own: readonly Pod[], related: readonly Pod[]): Pod[] {
    const { nowMs } = this.world
    const crowd = new Map<number, number>()
    for (const { node } of related) crowd.set(node, (crowd.get(node) ?? 0) + 1)
    const age = (sinceMs: number): number => Math.floor(Math.log2(Math.max(1, nowMs - sinceMs)))
    const keys = (pod: Pod): number[] => [
      pod.node < 0 ? 0 : 1,
      pod.isRunning ? 1 : 0,
      pod.isReady ? 1 : 0,
      -(crowd.get(pod.node) ?? 0),
      pod.isReady ? age(pod.readySinceMs) : 0,
      -pod.restarts,
      age(pod.createdMs),
      pod.id,
    ]
    return own
      .map((pod) => ({ pod, keys: keys(pod) }))
      .sort((a, b) => {
        for (let i = 0; i < a.keys.length; i++) if (a.keys[i] !== b.keys[i]) return a.keys[i]! - b.keys[i]!
        return 0
      })
      .map(({ pod }) => pod)
  }
}

export class StatefulSetController extends Controller {
  get #isParallel(): boolean {
    return this.workload.object.spec.podManagementPolicy === 'Parallel'
  }

  sync(): void {
    const { current, replicas } = this
    const start = this.workload.object.spec.ordinals?.start ?? 0
    const byOrdinal = new Map(this.pods.map((pod) => [pod.ordinal, pod]))
    const { updateStrategy } = this.workload.object.spec
    const partition = start + (updateStrategy?.rollingUpdate?.partition ?? 0)
    const isHealthy = (pod: Pod | undefined): boolean => pod?.isLive === true && this.isAvailable(pod)
    for (let ordinal = start; ordinal < start + replicas; ordinal++) {
      const pod = byOrdinal.get(ordinal)
      if (pod === undefined) {
        const revision = ordinal >= partition && updateStrategy?.type !== 'OnDelete' ? current : this.#oldRevision()
        byOrdinal.set(ordinal, this.add(revision, ordinal))
        this.step('new', 1)
      }
      // One after the other: the next pod waits for this one.
      if (!this.#isParallel && !isHealthy(byOrdinal.get(ordinal))) return
    }
    const beyond = [...byOrdinal.values()].filter(({ ordinal }) => ordinal >= start + replicas)
    beyond.sort((a, b) => b.ordinal - a.ordinal)
    for (const pod of beyond) {
      if (pod.isLive) {
        this.world.deletePod(pod)
        this.step('old', -1)
      }
      if (!this.#isParallel) return
    }
    if (updateStrategy?.type === 'OnDelete') return
    const most = Math.max(1, resolveCount(updateStrategy?.rollingUpdate?.maxUnavailable ?? 1, replicas, 'up'))
    let unavailable = 0
    for (let ordinal = start; ordinal < start + replicas; ordinal++)
      if (!isHealthy(byOrdinal.get(ordinal))) unavailable++
    for (let ordinal = start + replicas - 1; ordinal >= partition; ordinal--) {
      if (unavailable >= most) return
      const pod = byOrdinal.get(ordinal)
      if (pod === undefined || !pod.isLive || pod.revision === current) continue
      if (isHealthy(pod)) unavailable++
      this.world.deletePod(pod)
      this.step('old', -1)
    }
  }

  override get isComplete(): boolean {
    const partition = this.workload.object.spec.updateStrategy?.rollingUpdate?.partition ?? 0
    const { live } = this
    return (
      live.length === this.replicas &&
      live.every((pod) => this.isAvailable(pod) && (pod.revision === this.current || pod.ordinal < partition))
    )
  }

  #oldRevision(): number {
    return Math.max(0, this.current - 1)
  }
}

export class DaemonSetController extends Controller {
  readonly #nodes: readonly number[] = this.world.placement.daemonNodes(this.workload)

  sync(): void {
    const { current } = this
    const { updateStrategy } = this.workload.object.spec
    const nodes = this.#nodes.filter((node) => this.world.nodes[node]!.deleted.last === 0)
    this.replicas = nodes.length
    const share = nodes.length
    const surge = resolveCount(updateStrategy?.rollingUpdate?.maxSurge ?? 0, share, 'up')
    const unavailableMost =
      surge > 0 ? 0 : Math.max(1, resolveCount(updateStrategy?.rollingUpdate?.maxUnavailable ?? 1, share, 'up'))
    const onNode = (node: number): Pod[] => this.pods.filter((pod) => pod.node === node)
    for (const node of nodes) {
      if (onNode(node).length > 0 || !this.world.nodes[node]!.isUp) continue
      this.add(current, -1, node)
      this.step('new', 1)
    }
    if (updateStrategy?.type === 'OnDelete') return
    const isCovered = (node: number): boolean => onNode(node).some((pod) => this.isAvailable(pod))
    if (surge > 0) {
      this.#surge(nodes, surge, onNode)
      return
    }
    let unavailable = nodes.filter((node) => !isCovered(node)).length
    // Those that serve nobody first: they cost nothing.
    const order = [...nodes].sort((a, b) => Number(isCovered(a)) - Number(isCovered(b)) || a - b)
    for (const node of order) {
      const old = onNode(node).find((pod) => pod.isLive && pod.revision < current)
      if (old === undefined) continue
      const counted = isCovered(node)
      if (counted && unavailable >= unavailableMost) continue
      if (counted) unavailable++
      this.world.deletePod(old)
      this.step('old', -1)
    }
  }

  #surge(nodes: readonly number[], surge: number, onNode: (node: number) => Pod[]): void {
    const { current } = this
    let surging = 0
    for (const node of nodes) {
      const pods = onNode(node).filter(({ isLive }) => isLive)
      const old = pods.find(({ revision }) => revision < current)
      const fresh = pods.find(({ revision }) => revision === current)
      if (old === undefined || fresh === undefined) continue
      if (this.isAvailable(fresh)) {
        this.world.deletePod(old)
        this.step('old', -1)
      } else surging++
    }
    for (const node of nodes) {
      if (surging >= surge) return
      const pods = onNode(node).filter(({ isLive }) => isLive)
      if (!pods.some(({ revision }) => revision < current) || pods.some(({ revision }) => revision === current))
        continue
      if (!this.world.nodes[node]!.isUp) continue
      this.add(current, -1, node)
      this.step('new', 1)
      surging++
    }
  }
}

export function controllerOf(world: World, workload: SiteWorkload): Controller {
  switch (workload.object.kind) {
    case 'StatefulSet':
      return new StatefulSetController(world, workload)
    case 'DaemonSet':
      return new DaemonSetController(world, workload)
    default:
      return new DeploymentController(world, workload)
  }
}
