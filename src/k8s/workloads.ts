/**
 * Pods that the manifests ask for: the written ones, and those that Deployments, ReplicaSets, StatefulSets, DaemonSets and Jobs
 * would make, less the written ones that a workload owns.
 *
 * Names are as the controllers make them, with a hash where they have chance, so they are the same in every run.
 * Source: kubernetes/kubernetes pkg/controller/{deployment,replicaset,statefulset,daemon}; generated names are at most
 *         63 characters, 58 of them given (apiserver pkg/storage/names).
 */
import { UserError } from '../errors.ts'
import { stableSuffix } from './hash.ts'
import { type Inventory, keyOf, titleOf } from './inventory.ts'
import { LabelIndex, type Labels } from './labels.ts'
import type { PlannedNode } from './nodes.ts'
import type { Candidate, Scheduler } from './schedule.ts'
import type { LabelSelector, Pod, PodSpec, Workload } from './types.ts'

/** A pod before it has a node and addresses. */
export interface DesiredPod {
  readonly namespace: string
  readonly name: string
  readonly labels: Labels
  readonly spec: PodSpec
  /** `Deployment default/web`, or ''. */
  readonly owner: string
  /** The Pod object, or null where a workload makes the pod. */
  readonly written: Pod | null
}

const MAX_GENERATED_BASE = 58
const FINISHED: ReadonlySet<string> = new Set(['Succeeded', 'Failed'])

/** Pods of the manifests that still run or will run, with their owners. */
export function writtenPods(inventory: Inventory): DesiredPod[] {
  const owners = new Map<Pod, string>()
  const claimants = new LabelIndex(
    inventory.pods.map((pod) => ({ namespace: namespaceOf(pod), labels: pod.metadata.labels ?? {}, pod })),
  )
  const deploymentOfReplicaSet = new Map<string, string>()
  for (const workload of inventory.workloads) {
    const owner = controllerOf(workload)
    if (workload.kind === 'ReplicaSet' && owner?.kind === 'Deployment')
      deploymentOfReplicaSet.set(keyOf(workload), owner.name)
  }
  // Whoever comes first adopts a pod that several selectors match: by name here, whatever the order of the files.
  const adopters = podMakers(inventory).sort((a, b) => (titleOf(a) < titleOf(b) ? -1 : 1))
  for (const workload of adopters) {
    for (const { pod } of claimants.selectBy(namespaceOf(workload), selectorOf(workload))) {
      if (!owners.has(pod) && mayOwn(workload, pod, deploymentOfReplicaSet)) owners.set(pod, titleOf(workload))
    }
  }
  return inventory.pods
    .filter((pod) => !FINISHED.has(pod.status?.phase ?? ''))
    .map((pod) => ({
      namespace: namespaceOf(pod),
      name: pod.metadata.name,
      labels: pod.metadata.labels ?? {},
      spec: pod.spec,
      owner: owners.get(pod) ?? namedOwner(pod),
      written: pod,
    }))
}

/** Pods that a cluster is tested with at most (Kubernetes, considerations for large clusters). */
const MAX_PODS = 150_000

/**
 * Pods of a Job at one time: `parallelism` of them, or as many as there are completions left; none of one that is over.
 *
 * Source: kubernetes/kubernetes pkg/controller/job/job_controller.go, manageJob.
 */
function jobPods({ spec, status }: Workload): number {
  const { parallelism = 1, completions, suspend = false } = spec
  const isOver = status?.conditions?.some(
    ({ type, status }) => (type === 'Complete' || type === 'Failed') && status === 'True',
  )
  if (suspend || isOver === true) return 0
  const succeeded = status?.succeeded ?? 0
  if (completions === undefined) return succeeded > 0 ? 0 : parallelism
  return Math.min(parallelism, Math.max(0, completions - succeeded))
}

/** How many pods a workload has, and which autoscaler says so: '' for its own `replicas`. */
export interface Replicas {
  readonly count: number
  readonly decidedBy: string
}

/**
 * What the autoscaler last wanted, else `replicas` within its bounds; `replicas: 0` switches an autoscaler off.
 *
 * @throws UserError E_TOO_MANY_PODS
 * Source: kubernetes/kubernetes pkg/controller/podautoscaler/horizontal.go
 */
export function replicasOf(workload: Workload, { autoscalers }: Inventory): Replicas {
  const { replicas } = workload.spec
  const scaler = autoscalers.find(
    ({ metadata, spec: { scaleTargetRef } }) =>
      scaleTargetRef.kind === workload.kind &&
      scaleTargetRef.name === workload.metadata.name &&
      (metadata.namespace ?? 'default') === namespaceOf(workload),
  )
  const own = workload.kind === 'Job' ? jobPods(workload) : (replicas ?? 1)
  const { minReplicas = 1, maxReplicas = Number.MAX_SAFE_INTEGER } = scaler?.spec ?? {}
  const scaled = scaler === undefined || own === 0 ? own : (scaler.status?.desiredReplicas ?? 0)
  const count = scaler === undefined || scaled > 0 ? scaled : Math.min(maxReplicas, Math.max(minReplicas, own))
  const decided = scaler !== undefined && own !== 0
  if (count > MAX_PODS) {
    const name = workload.kind === 'Job' ? 'spec.parallelism' : 'spec.replicas'
    const field = decided && count !== own ? `the replicas that ${titleOf(scaler)} asks for` : name
    throw new UserError(
      'E_TOO_MANY_PODS',
      `${field} of ${titleOf(workload)} is ${count}; a cluster has at most ${MAX_PODS} pods`,
      {
        where: `${workload.origin.file}, document ${workload.origin.document}, ${name}`,
      },
    )
  }
  return { count: own === 0 ? 0 : count, decidedBy: decided && count !== own ? titleOf(scaler) : '' }
}

/** @throws UserError E_TOO_MANY_PODS where the workloads together ask for more than a cluster holds */
export function checkPodCount(pods: number): void {
  if (pods <= MAX_PODS) return
  throw new UserError(
    'E_TOO_MANY_PODS',
    `the workloads ask for ${pods} pods together; a cluster has at most ${MAX_PODS}`,
  )
}

/**
 * The pods that `workload` would add to those written for it; for a DaemonSet see `daemonPods`.
 *
 * @param own       the written pods that belong to it
 * @param replicas  as `replicasOf` has them
 */
export function replicaPods(workload: Workload, own: readonly DesiredPod[], replicas: number): DesiredPod[] {
  if (workload.kind === 'StatefulSet') {
    const start = workload.spec.ordinals?.start ?? 0
    const names = new Set(own.map(({ name }) => name))
    const ordinals = Array.from({ length: replicas }, (_, i) => start + i)
    return ordinals
      .filter((ordinal) => !names.has(`${workload.metadata.name}-${ordinal}`))
      .map((ordinal) => statefulPod(workload, ordinal))
  }
  if (workload.kind === 'Job' && workload.spec.completionMode === 'Indexed') {
    return Array.from({ length: Math.max(0, replicas - own.length) }, (_, i) => indexedPod(workload, own.length + i))
  }
  // A pod that is being deleted is replaced at once.
  const running = own.filter(({ written }) => written?.metadata.deletionTimestamp === undefined)
  const names = new NameMaker(own)
  return Array.from({ length: Math.max(0, replicas - running.length) }, (_, i) =>
    templatePod(workload, names.make(generatedBase(workload), `${keyOf(workload)} ${i}`)),
  )
}

/** A pod of a workload's, before it has a name. */
export function candidateOf(workload: Workload): Candidate {
  const { metadata, spec } = workload.spec.template
  return { namespace: namespaceOf(workload), labels: metadata?.labels ?? {}, spec, owner: titleOf(workload) }
}

/** One pod on each node that it may run on and that has no written one. */
export function daemonPods(
  workload: Workload,
  own: readonly DesiredPod[],
  nodes: readonly PlannedNode[],
  scheduler: Scheduler,
): DesiredPod[] {
  const served = new Set(own.map(({ spec }) => spec.nodeName))
  const names = new NameMaker(own)
  return nodes
    .filter((planned) => !served.has(planned.node.name) && scheduler.fits(planned, candidateOf(workload), true))
    .map(({ node }) => {
      const pod = templatePod(workload, names.make(generatedBase(workload), `${keyOf(workload)} ${node.name}`))
      return { ...pod, spec: { ...pod.spec, nodeName: node.name } }
    })
}

/**
 * The workloads that make pods, which is all but those that another one manages: a ReplicaSet whose Deployment is in the
 * manifests makes no pods of its own, the Deployment is expanded instead.
 */
export function podMakers({ workloads }: Inventory): Workload[] {
  const titles = new Set(workloads.map(titleOf))
  return workloads.filter((workload) => {
    const owner = controllerOf(workload)
    return owner === undefined || !titles.has(`${owner.kind} ${namespaceOf(workload)}/${owner.name}`)
  })
}

function selectorOf({ kind, spec, metadata }: Workload): LabelSelector {
  if (kind === 'Job' && spec.selector === undefined) return { matchLabels: { 'job-name': metadata.name } }
  return spec.selector ?? { matchLabels: spec.template.metadata?.labels ?? {} }
}

/** A controller adopts a pod that its selector matches unless the pod says that another one owns it. */
function mayOwn(workload: Workload, pod: Pod, deploymentOfReplicaSet: ReadonlyMap<string, string>): boolean {
  const owner = controllerOf(pod)
  if (owner === undefined) return true
  if (owner.kind === workload.kind) return owner.name === workload.metadata.name
  if (workload.kind !== 'Deployment' || owner.kind !== 'ReplicaSet') return false
  const deployment = deploymentOfReplicaSet.get(`${namespaceOf(pod)}/${owner.name}`)
  // A dump of Deployments and Pods without ReplicaSets: theirs is named after the Deployment.
  return deployment === undefined
    ? owner.name.startsWith(`${workload.metadata.name}-`)
    : deployment === workload.metadata.name
}

function namedOwner(pod: Pod): string {
  const owner = controllerOf(pod)
  // The owner of a static pod is its node.
  return owner === undefined || owner.kind === 'Node' ? '' : `${owner.kind} ${namespaceOf(pod)}/${owner.name}`
}

function controllerOf({ metadata }: Pod | Workload): { kind: string; name: string } | undefined {
  return metadata.ownerReferences?.find(({ controller }) => controller === true)
}

function namespaceOf({ metadata }: Pod | Workload): string {
  return metadata.namespace ?? 'default'
}

function statefulPod(workload: Workload, ordinal: number): DesiredPod {
  const name = `${workload.metadata.name}-${ordinal}`
  const pod = templatePod(workload, name)
  return {
    ...pod,
    labels: {
      ...pod.labels,
      'statefulset.kubernetes.io/pod-name': name,
      'apps.kubernetes.io/pod-index': String(ordinal),
    },
    spec: { ...pod.spec, hostname: name, subdomain: workload.spec.serviceName ?? '' },
  }
}

/** Source: kubernetes/kubernetes pkg/controller/job/indexed_job_utils.go: its host name is the Job's name and the index. */
function indexedPod(workload: Workload, index: number): DesiredPod {
  const hostname = `${workload.metadata.name}-${index}`
  const suffix = stableSuffix(`${keyOf(workload)} index ${index}`, 5)
  const pod = templatePod(workload, `${hostname.slice(0, MAX_GENERATED_BASE - 1)}-${suffix}`)
  return {
    ...pod,
    labels: { ...pod.labels, 'batch.kubernetes.io/job-completion-index': String(index) },
    spec: { ...pod.spec, hostname: pod.spec.hostname ?? hostname },
  }
}

function templatePod(workload: Workload, name: string): DesiredPod {
  const { template } = workload.spec
  const { name: own } = workload.metadata
  const added: Labels =
    workload.kind === 'Deployment'
      ? { 'pod-template-hash': templateHash(workload) }
      : workload.kind === 'Job'
        ? { 'batch.kubernetes.io/job-name': own, 'job-name': own }
        : {}
  return {
    namespace: namespaceOf(workload),
    name,
    labels: { ...template.metadata?.labels, ...added },
    spec: template.spec,
    owner: titleOf(workload),
    written: null,
  }
}

/** Of the name, not of the template: in a cluster a changed template makes new pods, here it changes those there are. */
function templateHash(workload: Workload): string {
  return stableSuffix(`${titleOf(workload)} template`, 10)
}

function generatedBase(workload: Workload): string {
  const { name } = workload.metadata
  return workload.kind === 'Deployment' ? `${name}-${templateHash(workload)}-` : `${name}-`
}

class NameMaker {
  readonly #taken: Set<string>

  constructor(pods: readonly DesiredPod[]) {
    this.#taken = new Set(pods.map(({ name }) => name))
  }

  make(base: string, seed: string): string {
    for (let attempt = 0; ; attempt++) {
      const name = base.slice(0, MAX_GENERATED_BASE) + stableSuffix(attempt === 0 ? seed : `${seed} ${attempt}`, 5)
      if (this.#taken.has(name)) continue
      this.#taken.add(name)
      return name
    }
  }
}
