/**
 * A course as moments of the cluster: what each node's rules, the balancers and the pods are from then on, until the next moment.
 *
 * Whatever changes for somebody makes a moment: a node's rules that follow, a target that a balancer takes out, a pod that stops accepting. A
 * replay compiles each into a rule set and takes them up one after the other, as it does with any change of the cluster.
 * Not in a moment, since it is about single connections: what a balancer resets or moves, clients' old DNS answers, SYNs that are sent again.
 * Cost: moments × (pods + nodes); some hundred moments for a rollout of ten pods.
 */
import type { ClusterViews, PodState } from '../compile/views.ts'
import type { Cluster, ClusterPod } from '../k8s/cluster.ts'
import type { EndpointSlice } from '../k8s/types.ts'
import { listIndexAt, type Policy, type Targets } from './balancer.ts'
import type { Scene } from './dial.ts'
import {
  ACCEPT_GONE,
  ACCEPT_SILENT,
  ACCEPT_YES,
  ENDPOINT_LISTED,
  ENDPOINT_READY,
  ENDPOINT_SERVING,
  ENDPOINT_TERMINATING,
  type Pod,
} from './pod.ts'

type Endpoint = EndpointSlice['endpoints'][number]

/** Since 1.26 a node without a ready endpoint uses those that are ending and still serve. Source: KEP-1669. */
const FALLBACK_MINOR = 26
const SERVICE_LABEL = 'kubernetes.io/service-name'

export interface Moment {
  readonly atMs: number
  /** The cluster as it is then; what the site does not follow is `base`'s. */
  cluster(base: Cluster): Cluster
  /** @param policy  null: each Service's own */
  views(policy: Policy | null, shared: ClusterViews['shared']): ClusterViews
}

/**
 * The moments of a course, the first of which holds from the start.
 *
 * @param scenes  one for each Service, with what is in front of it
 * @param pods    by id, as the cluster has them
 * @param base    the cluster at the start, with a pod of each workload to go by
 * @param leastMs moments that are nearer to each other than this are taken together
 */
export function momentsOf(
  scenes: readonly Scene[],
  pods: readonly (ClusterPod | null)[],
  base: Cluster,
  endMs: number,
  leastMs = 0,
): Moment[] {
  const slices = scenes.map((scene) => new SliceVersions(scene, pods, base))
  const moments: Moment[] = [momentAt(-1, scenes, slices, pods)]
  let before = stateAt(-1, scenes, pods)
  for (const ms of timesOf(scenes, endMs, leastMs)) {
    const state = stateAt(ms, scenes, pods)
    if (state !== before) moments.push(momentAt(ms, scenes, slices, pods))
    before = state
  }
  return moments
}

/** Every time at which something changes for somebody, ascending, from 0 to the end. */
function timesOf(scenes: readonly Scene[], endMs: number, leastMs: number): number[] {
  const times = new Set<number>()
  const add = (list: readonly number[]): void => {
    for (const ms of list) if (ms <= endMs && ms > Number.NEGATIVE_INFINITY) times.add(Math.max(0, ms))
  }
  for (const { course, names, rules, targets } of scenes) {
    for (const { times } of [names, ...rules]) add(times)
    for (const { fromMs } of [targets?.cluster, targets?.local].flatMap((one) => one ?? [])) add(fromMs)
    for (const { accept, breaks } of course.pods) {
      add(accept.times)
      add(breaks.map(({ atMs }) => atMs))
    }
    for (const { up } of course.nodes) add(up.times)
  }
  // Taken together at the end of each stretch, when all of it has happened.
  if (leastMs > 0) return [...new Set([...times].map((ms) => Math.ceil(ms / leastMs) * leastMs))].sort(ascending)
  return [...times].sort(ascending)
}

function ascending(a: number, b: number): number {
  return a - b
}

/** Whatever a moment is made of, as text: equal texts are one moment. */
function stateAt(ms: number, scenes: readonly Scene[], pods: readonly (ClusterPod | null)[]): string {
  const parts: (number | string)[] = []
  for (const { names, rules, targets } of scenes) {
    parts.push(names.at(ms), ...rules.map((one) => one.at(ms)))
    for (const one of [targets?.cluster, targets?.local].flatMap((one) => one ?? []))
      parts.push(listIndexAt(one.fromMs, ms))
  }
  const { course } = scenes[0]!
  for (const pod of course.pods) {
    if (pods[pod.id] === null) continue
    const { accepts, isLive } = podState(pod, ms)
    parts.push(accepts, isLive ? 1 : 0)
  }
  parts.push(...course.nodes.map(({ up }) => up.at(ms)))
  return parts.join()
}

function podState({ accept, breaks }: Pod, ms: number): PodState {
  const now = accept.at(ms)
  const accepts =
    now === ACCEPT_YES ? 'yes' : now === ACCEPT_SILENT || now === ACCEPT_GONE ? 'silent' : ('refuses' as const)
  let brokenMs = Number.NEGATIVE_INFINITY
  for (const { atMs } of breaks) if (atMs <= ms) brokenMs = atMs
  // What is open ended with the process; the one that was started after it has connections of its own.
  const sinceMs = now === ACCEPT_YES ? accept.times[accept.indexAt(ms)]! : Number.NEGATIVE_INFINITY
  return { accepts, isLive: brokenMs === Number.NEGATIVE_INFINITY || sinceMs > brokenMs }
}

function momentAt(
  ms: number,
  scenes: readonly Scene[],
  slices: readonly SliceVersions[],
  pods: readonly (ClusterPod | null)[],
): Moment {
  const { course, site } = scenes[0]!
  const followed = new Set(site.workloads.map(({ title }) => title))
  const known = new Set(scenes.map(({ service }) => service.name))
  const there = ({ id }: Pod): boolean => pods[id] !== null
  return {
    atMs: Math.max(0, ms),
    cluster: (base) => ({
      ...base,
      // All pods that there ever are: rules may still name one that is gone, and moments have one table of addresses.
      pods: [
        ...base.pods.filter(({ owner }) => !followed.has(owner)),
        ...course.pods.filter(there).map(({ id }) => pods[id]!),
      ],
      slices: [
        ...base.slices.filter((slice) => !known.has(serviceOf(slice))),
        ...scenes.flatMap(({ names }, i) => slices[i]!.at(names.at(ms))),
      ],
    }),
    views: (policy, shared) => ({
      shared,
      slices: new Map(
        scenes.map(({ rules, service }, i) => [
          service.name,
          new Map(course.nodes.map(({ index, name }) => [name, slices[i]!.at(rules[index]!.at(ms))])),
        ]),
      ),
      balanced: new Map(
        scenes.flatMap(({ balancerKind, service, targets }) => {
          if (targets === null || balancerKind === 'pods') return []
          const own = service.service.externalTrafficPolicy === 'Local' ? 'local' : 'cluster'
          return [[service.name, namesAt(targets[policy ?? own], course.nodes, ms)] as const]
        }),
      ),
      down: new Set(course.nodes.filter(({ up }) => up.at(ms) === 0).map(({ name }) => name)),
      pods: new Map(
        course.pods.filter(there).flatMap((pod) => {
          const state = podState(pod, ms)
          if (state.accepts === 'yes' && state.isLive) return []
          return pods[pod.id]!.hostNetwork ? [] : pods[pod.id]!.addresses.map((address) => [address, state] as const)
        }),
      ),
    }),
  }
}

function namesAt({ fromMs, lists }: Targets, nodes: readonly { readonly name: string }[], ms: number): string[] {
  return lists[listIndexAt(fromMs, ms)]!.map((node) => nodes[node]!.name)
}

function serviceOf({ metadata }: EndpointSlice): string {
  return `${metadata.namespace ?? 'default'}/${metadata.labels?.[SERVICE_LABEL] ?? ''}`
}

/** The EndpointSlices of a Service after each change of its endpoints; the same object for the same change. */
class SliceVersions {
  readonly #scene: Scene
  readonly #pods: readonly (ClusterPod | null)[]
  /** Slices to go by, each of other ports or another family, with the workloads whose pods are in it. */
  readonly #models: readonly {
    readonly slice: EndpointSlice
    readonly workloads: ReadonlySet<number>
    readonly others: readonly Endpoint[]
  }[]
  readonly #versions = new Map<number, readonly EndpointSlice[]>()
  readonly #zones: ReadonlyMap<string, string>

  constructor(scene: Scene, pods: readonly (ClusterPod | null)[], base: Cluster) {
    const { site, service } = scene
    this.#scene = scene
    this.#pods = pods
    this.#zones = new Map(base.nodes.map(({ name, zone }) => [name, zone]))
    const titles = new Map(site.workloads.map(({ title, index }) => [title, index]))
    const workloadAt = new Map(
      base.pods.flatMap(({ addresses, owner }) =>
        titles.has(owner) ? addresses.map((address) => [address, titles.get(owner)!] as const) : [],
      ),
    )
    const models = new Map<string, { slice: EndpointSlice; workloads: Set<number>; others: Endpoint[] }>()
    for (const slice of base.slices) {
      if (serviceOf(slice) !== service.name) continue
      const key = `${slice.addressType} ${JSON.stringify(slice.ports ?? [])}`
      const model = models.get(key) ?? { slice, workloads: new Set<number>(), others: [] }
      models.set(key, model)
      for (const endpoint of slice.endpoints ?? []) {
        const workload = workloadAt.get(endpoint.addresses[0] ?? '')
        if (workload === undefined) model.others.push(endpoint)
        else model.workloads.add(workload)
      }
    }
    this.#models = [...models.values()]
  }

  at(index: number): readonly EndpointSlice[] {
    const known = this.#versions.get(index)
    if (known !== undefined) return known
    const { course, sets } = this.#scene
    const ms = sets[index]!.fromMs
    const made = this.#models.map(({ slice, workloads, others }) => ({
      ...slice,
      endpoints: [
        ...others,
        ...course.pods
          .filter(({ workload }) => workloads.has(workload))
          .flatMap((pod) => this.#endpointAt(pod, ms, slice)),
      ],
    }))
    this.#versions.set(index, made)
    return made
  }

  #endpointAt({ endpoint, id, ordinal }: Pod, ms: number, { addressType, endpoints }: EndpointSlice): Endpoint[] {
    const { site, service } = this.#scene
    const flags = endpoint.at(ms)
    const pod = this.#pods[id]
    if ((flags & ENDPOINT_LISTED) === 0 || pod == null) return []
    const address = pod.addresses.find((one) => one.includes(':') === (addressType === 'IPv6'))
    if (address === undefined) return []
    const hasHostnames = ordinal >= 0 && endpoints.some(({ hostname }) => hostname !== undefined)
    const hints = this.#hints(pod.nodeName, endpoints)
    return [
      {
        addresses: [address],
        nodeName: pod.nodeName,
        conditions: {
          ready: service.service.publishNotReadyAddresses || (flags & ENDPOINT_READY) !== 0,
          serving: (flags & ENDPOINT_SERVING) !== 0,
          terminating: site.kubernetesMinor >= FALLBACK_MINOR && (flags & ENDPOINT_TERMINATING) !== 0,
        },
        ...(hasHostnames ? { hostname: pod.name } : {}),
        ...(hints === null ? {} : { hints }),
      },
    ]
  }

  /** Where the Service has hints, those of an endpoint's own node and zone. */
  #hints(node: string, endpoints: readonly Endpoint[]): NonNullable<Endpoint['hints']> | null {
    const forNodes = endpoints.some(({ hints }) => (hints?.forNodes ?? []).length > 0)
    const forZones = endpoints.some(({ hints }) => (hints?.forZones ?? []).length > 0)
    const zone = this.#zones.get(node) ?? ''
    if (!forNodes && (!forZones || zone === '')) return null
    return { ...(forNodes ? { forNodes: [{ name: node }] } : {}), ...(forZones ? { forZones: [{ name: zone }] } : {}) }
  }
}
