/**
 * What a rollout is about: nodes, the workloads and pods that are followed, the Services in front of them, disruption budgets, and kube-proxy's settings.
 *
 * Everything comes from the manifests by way of the derived cluster; what a Timeline says of workloads and nodes is looked up here, and what
 * was assumed is noted. Only pods of followed workloads have a life of their own: those that events name, and those behind a Service that has traffic.
 */
import { UserError, type Warning } from '../errors.ts'
import { surveyNetwork } from '../k8s/addresses.ts'
import type { Cluster, ClusterService, DerivedNote } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { keyOf, Notes, takeInventory, titleOf } from '../k8s/inventory.ts'
import { matchesLabels, matchesSelector } from '../k8s/labels.ts'
import type { CountOrPercent } from '../k8s/lifecycle.ts'
import { deriveNodes, type PlannedNode } from '../k8s/nodes.ts'
import type { KubeObject, PodDisruptionBudget, Workload } from '../k8s/types.ts'
import { podMakers } from '../k8s/workloads.ts'
import { suggestion } from '../nearest.ts'
import { durationMs } from './durations.ts'
import { type Lifecycle, lifecycleOf } from './lifecycle.ts'
import { DEFAULT_MIN_SYNC_MS } from './profiles.ts'
import { leadsTo, type ProxySettings, proxyOf } from './proxy.ts'
import { withGates } from './scene.ts'
import { DEFAULT_WORKLOAD, type Timeline, type TimelineEvent, type WorkloadSettings } from './timeline.ts'

export interface SiteWorkload {
  readonly index: number
  /** `Deployment default/web`. */
  readonly title: string
  readonly object: Workload
  readonly replicas: number
  /** Port that the followed Services send to, as written. */
  readonly port: number | string | null
  readonly lifecycle: Lifecycle
  readonly settings: WorkloadSettings
  /** From its containers being ready until the pod is: what a load balancer's readiness gate takes. */
  readonly gateMs: number
}

export interface SitePod {
  readonly name: string
  readonly workload: number
  readonly node: number
  readonly ready: boolean
}

export interface SiteBudget {
  readonly title: string
  readonly covers: (workload: number) => boolean
  readonly minAvailable: CountOrPercent | null
  readonly maxUnavailable: CountOrPercent | null
}

export interface Site {
  readonly objects: readonly KubeObject[]
  readonly cluster: Cluster
  readonly nodes: readonly PlannedNode[]
  readonly workloads: readonly SiteWorkload[]
  readonly pods: readonly SitePod[]
  /** Pods that are not followed, on each node: how many, for the scheduler's sake. */
  readonly otherPods: readonly number[]
  readonly services: readonly SiteService[]
  readonly budgets: readonly SiteBudget[]
  readonly minSyncMs: number
  readonly proxyMode: 'iptables' | 'ipvs' | 'nftables'
  readonly kubernetesMinor: number
  readonly derived: readonly DerivedNote[]
  readonly warnings: readonly Warning[]
}

export interface SiteService {
  readonly service: ClusterService
  /** `default/web`. */
  readonly name: string
  /** By index of the workload: whether its pods are selected. */
  readonly selects: readonly boolean[]
  readonly isExternal: boolean
}

const ROLLING: ReadonlySet<string> = new Set(['Deployment', 'StatefulSet', 'DaemonSet'])
const KIND_NAMES: Readonly<Record<string, string>> = {
  deployment: 'Deployment',
  deployments: 'Deployment',
  deploy: 'Deployment',
  statefulset: 'StatefulSet',
  statefulsets: 'StatefulSet',
  sts: 'StatefulSet',
  daemonset: 'DaemonSet',
  daemonsets: 'DaemonSet',
  ds: 'DaemonSet',
  replicaset: 'ReplicaSet',
  replicasets: 'ReplicaSet',
  rs: 'ReplicaSet',
  replicationcontroller: 'ReplicationController',
  rc: 'ReplicationController',
}
/** Where neither a flag, a Timeline nor the Nodes tell. */
const DEFAULT_MINOR = 35

/**
 * @param objects   of the manifests
 * @param rollout   the workload that is rolled, as typed; null where the Timeline's events say all
 * @param minor     the release that was asked for; null: as the Nodes tell
 * @param asked     the proxy mode that was asked for; null: as the manifests say
 * @throws UserError E_TIMELINE, E_WORKLOAD for names that there are none of
 */
export function surveySite(
  objects: readonly KubeObject[],
  timeline: Timeline,
  rollout: string | null,
  minor: number | null,
  asked: Site['proxyMode'] | null = null,
): Site {
  const cluster = deriveCluster(objects)
  const inventory = takeInventory(objects)
  const nodes = deriveNodes(inventory, surveyNetwork(inventory), undefined, new Notes(objects))
  const makers = podMakers(inventory)
  const notes = new Notes(objects)
  const derived: DerivedNote[] = []
  const assume = (object: string, what: string): void => {
    derived.push({ object, what })
  }
  const nodeIndex = new Map(nodes.map(({ node }, i) => [node.name, i]))
  for (const event of timeline.events) {
    if (!('node' in event) || nodeIndex.has(event.node)) continue
    throw new UserError('E_TIMELINE', `there is no node ${event.node}`, {
      where: event.where,
      hint: suggestion(event.node, [...nodeIndex.keys()]),
    })
  }
  for (const [name, { where }] of timeline.nodeSyncMs) {
    if (!nodeIndex.has(name))
      throw new UserError('E_TIMELINE', `there is no node ${name}`, {
        where,
        hint: suggestion(name, [...nodeIndex.keys()]),
      })
  }
  const find = (reference: string, where: string): Workload => findWorkload(makers, reference, where)
  const named = new Set<Workload>()
  if (rollout !== null) named.add(requireRolling(find(rollout, ''), ''))
  for (const event of timeline.events) {
    const target = targetOf(event)
    if (target === null) continue
    const pod = podReference(target)
    const owner =
      pod === null ? null : cluster.pods.find((one) => one.name === pod || `${one.namespace}/${one.name}` === pod)
    if (pod !== null && owner === undefined) {
      throw new UserError('E_TIMELINE', `there is no pod ${pod}`, {
        where: event.where,
        hint: suggestion(
          pod,
          cluster.pods.map(({ name }) => name),
        ),
      })
    }
    const workload = pod === null ? find(target, event.where) : makers.find((one) => titleOf(one) === owner?.owner)
    if (workload === undefined) {
      throw new UserError('E_TIMELINE', `nothing makes pod ${pod}: a Timeline follows pods of workloads`, {
        where: event.where,
        hint: 'write it as a Deployment with one replica, or StatefulSet where its name counts',
      })
    }
    named.add(event.verb === 'rollout' ? requireRolling(workload, event.where) : workload)
  }
  const settings = new Map([...timeline.workloads].map(([name, one]) => [find(name, one.where), one]))
  const services = servicesInQuestion(cluster, timeline, [...named])
  const followed = makers.filter(
    (workload) =>
      named.has(workload) ||
      services.some(
        ({ selector, namespace }) =>
          selector !== null &&
          namespace === (workload.metadata.namespace ?? 'default') &&
          matchesLabels(selector, workload.spec.template.metadata?.labels ?? {}),
      ),
  )
  const selects = (service: ClusterService, workload: Workload): boolean =>
    service.selector !== null &&
    service.namespace === (workload.metadata.namespace ?? 'default') &&
    matchesLabels(service.selector, workload.spec.template.metadata?.labels ?? {})
  const workloads = followed.map((object, index): SiteWorkload => {
    const title = titleOf(object)
    const own = services.find((service) => selects(service, object))
    const port = own?.ports[0]?.targetPort ?? null
    const given = settings.get(object)
    const lifecycle = lifecycleOf(object.spec.template.spec, port)
    noteAssumptions(assume, title, lifecycle, given?.given ?? new Set(), given?.settings ?? DEFAULT_WORKLOAD)
    if (lifecycle.preStopMs > lifecycle.graceMs) {
      notes.warn(
        'W_GRACE',
        title,
        `its preStop takes ${lifecycle.preStopMs / 1000} s and terminationGracePeriodSeconds is ${lifecycle.graceMs / 1000}: the hook is cut off and its process has 2 s from there`,
      )
    }
    const replicas = cluster.pods.filter(({ owner, terminating }) => owner === title && !terminating).length
    return { index, title, object, replicas, port, lifecycle, settings: given?.settings ?? DEFAULT_WORKLOAD, gateMs: 0 }
  })
  const titles = new Map(workloads.map(({ title, index }) => [title, index]))
  const otherPods = nodes.map(() => 0)
  const pods = cluster.pods.flatMap((pod): SitePod[] => {
    const node = nodeIndex.get(pod.nodeName) ?? -1
    const workload = titles.get(pod.owner)
    if (workload === undefined) {
      if (node >= 0) otherPods[node]!++
      return []
    }
    return node < 0 || pod.terminating ? [] : [{ name: pod.name, workload, node, ready: pod.ready }]
  })
  const mode = asked ?? cluster.kubeProxy?.mode
  const proxyMode = mode === 'iptables' || mode === 'ipvs' ? mode : 'nftables'
  const written = cluster.kubeProxy?.[proxyMode]?.minSyncPeriod
  const minSyncMs = durationMs(written) || DEFAULT_MIN_SYNC_MS[proxyMode]
  if (written === undefined && timeline.controlPlane.minSyncMs === null && minSyncMs > 0) {
    assume('kube-proxy', `${proxyMode}.minSyncPeriod ${minSyncMs / 1000} s`)
  }
  for (const service of services) warnOfService(notes, service, cluster, proxyOf({ cluster, objects }, { service }))
  for (const scaler of inventory.autoscalers) {
    const { kind, name } = scaler.spec.scaleTargetRef
    if (workloads.some(({ object }) => object.kind === kind && object.metadata.name === name))
      notes.warn(
        'W_NOT_MODELLED',
        titleOf(scaler),
        'its scaling is not modelled in a rollout: the number of pods stays',
      )
  }
  if (proxyMode === 'ipvs') {
    const message =
      'ipvs keeps connections of endpoints that are gone at weight 0: a client that uses their source port again is refused, which is not modelled'
    notes.warn('W_NOT_MODELLED', 'kube-proxy', message)
  }
  return withGates(timeline, {
    objects,
    cluster,
    nodes,
    workloads,
    pods,
    otherPods,
    services: services.map((service) => ({
      service,
      name: `${service.namespace}/${service.name}`,
      selects: followed.map((workload) => selects(service, workload)),
      isExternal: service.type !== 'ClusterIP' || service.externalIPs.length > 0,
    })),
    budgets: objects
      .filter((one): one is PodDisruptionBudget => one.kind === 'PodDisruptionBudget')
      .map((budget) => ({
        title: `PodDisruptionBudget ${keyOf(budget)}`,
        minAvailable: budget.spec?.minAvailable ?? null,
        maxUnavailable: budget.spec?.maxUnavailable ?? null,
        covers: (index) => {
          const { object } = workloads[index]!
          return (
            budget.spec?.selector !== undefined &&
            (object.metadata.namespace ?? 'default') === (budget.metadata.namespace ?? 'default') &&
            matchesSelector(budget.spec.selector, object.spec.template.metadata?.labels ?? {})
          )
        },
      })),
    minSyncMs,
    proxyMode,
    kubernetesMinor: minor ?? versionOf(timeline) ?? cluster.kubernetesMinor ?? DEFAULT_MINOR,
    derived,
    warnings: [...cluster.warnings, ...notes.warnings],
  })
}

/** Index of the followed workload that a reference means; -1 for a pod. */
export function workloadIndex(site: Site, reference: string, where: string): number {
  if (podReference(reference) !== null) return -1
  const object = findWorkload(
    site.workloads.map((one) => one.object),
    reference,
    where,
  )
  return site.workloads.find((one) => one.object === object)!.index
}

/** The pod's name in `pod/NAME` or a bare NAME; null for `KIND/NAME`. */
export function podReference(reference: string): string | null {
  const parts = reference.split('/')
  if (parts.length === 1) return reference
  return /^(pods?|po)$/i.test(parts[0]!) ? parts.slice(1).join('/') : null
}

function targetOf(event: TimelineEvent): string | null {
  return 'target' in event ? event.target : null
}

/** Minor release that a Timeline asks for; null for none. @throws UserError E_TIMELINE */
export function versionOf({ kubeVersion, where }: Timeline): number | null {
  if (kubeVersion === null) return null
  const minor = /^v?1\.(\d+)(\.\d+)?$/.exec(kubeVersion.trim())?.[1]
  if (minor !== undefined) return Number(minor)
  throw new UserError('E_TIMELINE', `${JSON.stringify(kubeVersion)} is no release of Kubernetes`, {
    where: `${where}, kubeVersion`,
    hint: 'such as "1.34", in quotes',
  })
}

function findWorkload(makers: readonly Workload[], reference: string, where: string): Workload {
  const parts = reference.split('/')
  const kindAt = parts.length === 3 && KIND_NAMES[parts[0]!.toLowerCase()] === undefined ? 1 : 0
  const kind = KIND_NAMES[parts[kindAt]?.toLowerCase() ?? '']
  const name = parts.at(-1)!
  const namespace = parts.length === 3 ? parts[1 - kindAt]! : null
  const known = makers.map((one) => `${one.kind.toLowerCase()}/${one.metadata.name}`)
  const refuse = (message: string, hint: string): UserError =>
    new UserError(where === '' ? 'E_WORKLOAD' : 'E_TIMELINE', message, { where, hint, exitCode: where === '' ? 2 : 3 })
  if (kind === undefined || parts.length < 2 || parts.length > 3)
    throw refuse(
      `${reference} names no workload; expected KIND/NAME, as in deployment/web`,
      suggestion(reference, known),
    )
  const found = makers.filter(
    ({ kind: own, metadata }) =>
      own === kind && metadata.name === name && (namespace === null || (metadata.namespace ?? 'default') === namespace),
  )
  const chosen = found.find(({ metadata }) => (metadata.namespace ?? 'default') === 'default') ?? found[0]
  if (chosen === undefined) throw refuse(`there is no ${reference} in the manifests`, suggestion(reference, known))
  if (found.length > 1 && (chosen.metadata.namespace ?? 'default') !== 'default') {
    const where = found.map(({ metadata }) => metadata.namespace).join(', ')
    throw refuse(
      `${reference} is in several namespaces: ${where}`,
      `write ${kind.toLowerCase()}/${chosen.metadata.namespace}/${name}`,
    )
  }
  return chosen
}

function requireRolling(workload: Workload, where: string): Workload {
  if (ROLLING.has(workload.kind)) return workload
  throw new UserError(where === '' ? 'E_WORKLOAD' : 'E_TIMELINE', `a ${workload.kind} has no rollout`, {
    where,
    hint: 'Deployments, StatefulSets and DaemonSets have',
    exitCode: where === '' ? 2 : 3,
  })
}

/** The Services that connections are sent to: the one that the Timeline names, else those in front of the workloads in question. */
function servicesInQuestion(cluster: Cluster, timeline: Timeline, named: readonly Workload[]): ClusterService[] {
  const wanted = timeline.traffic.service
  const usable = cluster.services.filter(({ type, selector }) => type !== 'ExternalName' && selector !== null)
  if (wanted !== null) {
    const [name, namespace = 'default'] = wanted.split('/').reverse()
    const found = usable.find((one) => one.name === name && one.namespace === namespace)
    if (found !== undefined) return [found]
    throw new UserError('E_TIMELINE', `there is no Service ${wanted} with a selector`, {
      where: `${timeline.where}, traffic.service`,
      hint: suggestion(
        wanted,
        usable.map((one) => `${one.namespace}/${one.name}`),
      ),
    })
  }
  const inFront = usable.filter(({ namespace, selector }) =>
    named.some(
      ({ metadata, spec }) =>
        (metadata.namespace ?? 'default') === namespace &&
        matchesLabels(selector!, spec.template.metadata?.labels ?? {}),
    ),
  )
  if (inFront.length > 0 || named.length > 0) return inFront
  // Only nodes are spoken of: everything that has pods is in question.
  return usable.filter(({ namespace, selector }) =>
    cluster.pods.some((pod) => pod.namespace === namespace && pod.owner !== '' && matchesLabels(selector!, pod.labels)),
  )
}

function noteAssumptions(
  assume: (object: string, what: string) => void,
  title: string,
  lifecycle: Lifecycle,
  given: ReadonlySet<string>,
  settings: WorkloadSettings,
): void {
  if (!given.has('startup'))
    assume(title, `${settings.startup.minMs / 1000} s from start to listening (workloads.startup)`)
  if (!given.has('onSigterm')) assume(title, 'on SIGTERM it stops listening, finishes requests and ends (onSigterm)')
  if (!given.has('requests'))
    assume(title, `requests of ${settings.request.durationMs} ms, one a connection (requests)`)
  for (const what of lifecycle.unknown) assume(title, what)
}

function warnOfService(notes: Notes, service: ClusterService, cluster: Cluster, proxy: ProxySettings | null): void {
  const title = `Service ${service.namespace}/${service.name}`
  if (service.ports.every(({ protocol }) => protocol !== 'TCP')) {
    notes.warn(
      'W_NOT_MODELLED',
      title,
      'flows of UDP and SCTP that outlive their endpoint are not modelled: each counts as a new connection',
    )
  }
  if (service.trafficDistribution !== '')
    notes.warn(
      'W_NOT_MODELLED',
      title,
      `trafficDistribution ${service.trafficDistribution} is not modelled in a rollout: any endpoint may be chosen`,
    )
  const behind = cluster.ingresses.find((ingress) => leadsTo(ingress, service.namespace, service.name))
  if (behind !== undefined && proxy === null) {
    const message = `its way to ${title} is not modelled in a rollout: connections go to the Service itself`
    notes.warn('W_NOT_MODELLED', titleOf(behind), message)
  }
}
