/**
 * A Timeline's events put to a world, and the world run until all has settled.
 *
 * Source: kubectl pkg/drain (all evictions at once, a refused one again after 5 s), cluster-autoscaler FAQ (5 s after the taint, at most 600 s of
 * grace), cloud-provider node lifecycle (looks every 5 s whether a machine is still there).
 */
import { UserError } from '../errors.ts'
import { isMap } from '../k8s/schema.ts'
import { suggestion } from '../nearest.ts'
import { forbiddingBudget } from './budget.ts'
import type { Chance } from './chance.ts'
import { type Controller, controllerOf, type RolloutStep } from './controllers.ts'
import { lifecycleOf } from './lifecycle.ts'
import type { Pod } from './pod.ts'
import { podReference, type Site, type SiteWorkload, workloadIndex } from './site.ts'
import type { PodCount, Timeline, TimelineEvent } from './timeline.ts'
import { type Node, type Note, World } from './world.ts'

const EVICTION_RETRY_MS = 5000
/** A drain that is refused for so long is given up: nothing will change any more. */
const MAX_DRAIN_MS = 3_600_000
const AUTOSCALER_DELAY_MS = 5000
const AUTOSCALER_GRACE_MS = 600_000
const CLOUD_CHECK_MS = 5000
/** Nothing is followed for longer than this. */
const MAX_MS = 7 * 86_400_000

/** A drain that was held up: by which budget, from when, and whether it ended. */
export interface HeldDrain {
  readonly node: string
  readonly pod: string
  readonly budget: string
  readonly sinceMs: number
  endMs: number | null
}

export interface Course {
  readonly pods: readonly Pod[]
  readonly nodes: readonly Node[]
  readonly notes: readonly Note[]
  readonly steps: ReadonlyMap<number, readonly RolloutStep[]>
  /** The first event, and the time from which nothing more happens. */
  readonly firstMs: number
  readonly settledMs: number
  /** Workloads whose rollout does not come to its end. */
  readonly stuck: readonly { readonly workload: string; readonly deadlineMs: number }[]
  readonly held: readonly HeldDrain[]
  /** From the first event of a rollout until the last pod is available; 0 without one. */
  readonly rolloutMs: number
  readonly peakPods: number
}

/** One run of the timeline. Cost: some microseconds an event and pod. */
export function takeCourse(site: Site, timeline: Timeline, chance: Chance): Course {
  return new Happenings(site, timeline, chance).run()
}

class Happenings {
  readonly #world: World
  readonly #site: Site
  readonly #timeline: Timeline
  readonly #controllers: Controller[]
  readonly #held: HeldDrain[] = []
  readonly #rolled = new Map<Controller, { readonly fromMs: number; endMs: number | null }>()
  #settledMs = 0
  #peakPods = 0

  constructor(site: Site, timeline: Timeline, chance: Chance) {
    this.#world = new World(site, timeline, chance)
    this.#site = site
    this.#timeline = timeline
    this.#controllers = site.workloads.map((workload) => controllerOf(this.#world, workload))
    for (const { name, workload, node, ready } of site.pods) {
      const ordinal = ordinalOf(name, site.workloads[workload]!)
      this.#world.addOld(name, workload, ordinal, node, ready)
    }
  }

  run(): Course {
    const { clock } = this.#world
    const { durationMs, events } = this.#timeline
    for (const event of events) clock.at(event.atMs, () => this.#happen(event))
    const endMs = durationMs ?? MAX_MS
    while (clock.nextMs <= endMs) {
      clock.step()
      if (clock.nextMs > clock.nowMs) this.#sync()
      this.#settledMs = clock.nowMs
    }
    const rolls = [...this.#rolled]
    return {
      pods: this.#world.pods,
      nodes: this.#world.nodes,
      notes: this.#world.notes,
      steps: new Map(this.#controllers.map(({ workload, steps }) => [workload.index, steps])),
      firstMs: events[0]?.atMs ?? 0,
      settledMs: this.#settledMs,
      stuck: rolls
        .filter(([, { endMs }]) => endMs === null)
        .map(([{ workload }, { fromMs }]) => ({
          workload: workload.title,
          deadlineMs: fromMs + (workload.object.spec.progressDeadlineSeconds ?? 600) * 1000,
        })),
      held: this.#held,
      rolloutMs: Math.max(0, ...rolls.map(([, { fromMs, endMs }]) => (endMs ?? this.#settledMs) - fromMs)),
      peakPods: this.#peakPods,
    }
  }

  /** Controllers take their steps, which may make for others, until none has one left. */
  #sync(): void {
    const world = this.#world
    for (let i = 0; world.isDirty && i < 1000; i++) {
      world.isDirty = false
      for (const controller of this.#controllers) controller.sync()
      world.placeWaiting()
    }
    for (const [controller, roll] of this.#rolled) {
      if (roll.endMs === null && controller.isComplete) {
        roll.endMs = world.nowMs
        world.note(`${controller.workload.title} has rolled out`)
      }
    }
    let pods = 0
    for (const { isDeleted } of world.pods) if (!isDeleted) pods++
    this.#peakPods = Math.max(this.#peakPods, pods)
  }

  #happen(event: TimelineEvent): void {
    const world = this.#world
    // What came before, at this very instant too, has had its effect.
    this.#sync()
    switch (event.verb) {
      case 'rollout': {
        const controller = this.#controllerOf(event.target, event.where)
        const { workload } = controller
        const spec = laidOver(workload.object.spec.template.spec, event.patch)
        const last = controller.revisions.at(-1)!
        world.note(`${workload.title} is rolled out`)
        controller.roll({
          lifecycle: event.patch === null ? last.lifecycle : lifecycleOf(spec as never, workload.port),
          startup: event.startup ?? workload.settings.startup,
        })
        this.#rolled.set(controller, { fromMs: world.nowMs, endMs: null })
        return
      }
      case 'scale': {
        const controller = this.#controllerOf(event.target, event.where)
        world.note(`${controller.workload.title} is scaled to ${event.to}`)
        controller.scale(event.to)
        return
      }
      case 'delete':
        for (const pod of this.#podsOf(event, event.pods)) world.deletePod(pod, event.force ? 0 : undefined)
        return
      case 'crash':
        for (const pod of this.#podsOf(event, event.pods)) world.crash(pod)
        return
      case 'unready':
        for (let i = 0; i < event.times; i++) {
          world.clock.at(event.atMs + i * event.everyMs, () => this.#flap(event))
        }
        return
      // Changes of objects are the replay's.
      case 'apply':
        return
      case 'drain':
        this.#drain(this.#nodeOf(event.node), event)
        return
      case 'fail': {
        const node = this.#nodeOf(event.node)
        world.fail(node)
        world.clock.at(world.nowMs + event.backMs, () => world.revive(node))
        return
      }
      case 'taint':
        this.#scaleDown(this.#nodeOf(event.node))
        return
      case 'shutdown': {
        const node = this.#nodeOf(event.node)
        world.shutdown(node, event.forMs)
        if (Number.isFinite(event.backMs)) world.clock.at(world.nowMs + event.backMs, () => world.revive(node))
        return
      }
      case 'stop':
        this.#stop(this.#nodeOf(event.node), event)
    }
  }

  #stop(node: Node, { what, forMs }: TimelineEvent & { verb: 'stop' }): void {
    const world = this.#world
    if (what === 'heartbeat') {
      world.stopHeartbeat(node)
      world.clock.at(world.nowMs + forMs, () => world.resumeHeartbeat(node))
      return
    }
    const steps = what === 'sync' ? node.syncs : node.proxy
    const whose = what === 'sync' ? `syncs of kube-proxy on ${node.name}` : `kube-proxy on ${node.name}`
    world.note(what === 'sync' ? `${whose} fail` : `${whose} stops`)
    steps.set(world.nowMs, 0)
    world.clock.at(world.nowMs + forMs, () => {
      if (node.isUp) steps.set(world.nowMs, 1)
      world.note(what === 'sync' ? `${whose} work again` : `${whose} starts`)
    })
  }

  #flap(event: TimelineEvent & { verb: 'unready' }): void {
    const world = this.#world
    const pods = this.#podsOf(event, event.pods)
    for (const pod of pods) {
      world.note(`probes of ${pod.name} fail`)
      world.setHealth(pod, false)
    }
    world.clock.at(world.nowMs + event.forMs, () => {
      for (const pod of pods) world.setHealth(pod, true)
    })
  }

  #drain(node: Node, { thenDelete, afterMs, timeoutMs }: TimelineEvent & { verb: 'drain' }): void {
    const world = this.#world
    world.note(`node ${node.name} is drained`)
    node.isCordoned = true
    const fromMs = world.nowMs
    const pods = this.#drainable(node)
    const held = new Map<Pod, HeldDrain>()
    const evict = (pod: Pod): void => {
      const own = held.get(pod)
      if (pod.isLive && node.isUp) {
        const budget = forbiddingBudget(pod, this.#site.budgets, this.#controllers)
        if (budget !== null) {
          if (own === undefined) {
            const note = { node: node.name, pod: pod.name, budget: budget.title, sinceMs: world.nowMs, endMs: null }
            held.set(pod, note)
            this.#held.push(note)
            world.note(`${budget.title} forbids that ${pod.name} is evicted`)
          }
          if (world.nowMs + EVICTION_RETRY_MS - fromMs > Math.min(timeoutMs, MAX_DRAIN_MS)) return
          world.clock.at(world.nowMs + EVICTION_RETRY_MS, () => {
            // Whatever happens at this instant has happened.
            this.#sync()
            evict(pod)
          })
          return
        }
      }
      if (own !== undefined) own.endMs = world.nowMs
      world.deletePod(pod)
    }
    for (const pod of pods) evict(pod)
    if (!thenDelete) return
    this.#whenGone(pods, () => world.clock.at(world.nowMs + afterMs, () => world.deleteNode(node, 0)))
  }

  /** As the cluster autoscaler does it: the taint, a wait, evictions, and the machine is gone. */
  #scaleDown(node: Node): void {
    const world = this.#world
    world.note(`node ${node.name} is tainted ToBeDeletedByClusterAutoscaler`)
    node.tainted.set(world.nowMs, 1)
    node.isCordoned = true
    world.clock.at(world.nowMs + AUTOSCALER_DELAY_MS, () => {
      const pods = this.#drainable(node)
      for (const pod of pods) world.deletePod(pod, Math.min(pod.lifecycle.graceMs, AUTOSCALER_GRACE_MS))
      this.#whenGone(pods, () => world.deleteNode(node, CLOUD_CHECK_MS))
    })
  }

  #drainable(node: Node): Pod[] {
    return this.#world.pods.filter(
      (pod) =>
        pod.node === node.index && !pod.isDeleted && this.#site.workloads[pod.workload]!.object.kind !== 'DaemonSet',
    )
  }

  /** Looks once a second, as kubectl does, and at once. */
  #whenGone(pods: readonly Pod[], then: () => void): void {
    const world = this.#world
    const fromMs = world.nowMs
    const look = (): void => {
      if (pods.every(({ isDeleted }) => isDeleted)) then()
      else if (world.nowMs - fromMs < MAX_DRAIN_MS) world.clock.at(world.nowMs + 1000, look)
    }
    look()
  }

  #nodeOf(name: string): Node {
    return this.#world.nodes.find((node) => node.name === name)!
  }

  #controllerOf(reference: string, where: string): Controller {
    return this.#controllers[workloadIndex(this.#site, reference, where)]!
  }

  /** The pods that an event is about: one by name, or of a workload the first so many, in an order that is chance. */
  #podsOf(event: TimelineEvent & { target: string }, count: PodCount | null): Pod[] {
    const world = this.#world
    const name = podReference(event.target)?.split('/').at(-1) ?? null
    if (name !== null) {
      const found = world.pods.filter((pod) => pod.name === name && !pod.isDeleted)
      if (found.length > 0) return found
      throw new UserError('E_TIMELINE', `there is no pod ${name} at ${event.atMs / 1000} s`, {
        where: event.where,
        hint: suggestion(
          name,
          world.pods.filter(({ isDeleted }) => !isDeleted).map((pod) => pod.name),
        ),
      })
    }
    const { live } = { live: this.#controllerOf(event.target, event.where).pods.filter(({ isLive }) => isLive) }
    const wanted =
      count === null
        ? event.verb === 'delete'
          ? live.length
          : 1
        : 'count' in count
          ? count.count
          : Math.ceil(count.fraction * live.length)
    return live
      .map((pod) => ({ pod, key: world.chance.unit(event.where, pod.name) }))
      .sort((a, b) => a.key - b.key)
      .slice(0, wanted)
      .map(({ pod }) => pod)
  }
}

/** Of `web-2`, 2; -1 for what is no StatefulSet's. */
function ordinalOf(name: string, workload: SiteWorkload): number {
  if (workload.object.kind !== 'StatefulSet') return -1
  return Number(/-(\d+)$/.exec(name)?.[1] ?? -1)
}

/** Maps are merged, lists of named things by name, everything else is replaced. */
function laidOver(base: unknown, patch: unknown): unknown {
  if (patch === null || patch === undefined) return base
  if (Array.isArray(base) && Array.isArray(patch)) {
    const isNamed = (one: unknown): one is { name: unknown } => isMap(one) && one['name'] !== undefined
    if (!patch.every(isNamed)) return patch
    const merged = base.map((one) =>
      laidOver(
        one,
        patch.find((other) => isMap(one) && other.name === one['name']),
      ),
    )
    return [...merged, ...patch.filter((other) => !base.some((one) => isMap(one) && one['name'] === other.name))]
  }
  if (!isMap(base) || !isMap(patch)) return patch
  const copy: Record<string, unknown> = { ...base }
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete copy[name]
    else copy[name] = laidOver(base[name], value)
  }
  return copy
}
