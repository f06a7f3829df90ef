/**
 * Manifests with more or fewer nodes, or other numbers of replicas: what a sweep does to the cluster.
 *
 * Nodes are kept in their order; further ones are copies of them in turn, so that zones and sizes keep their mix, without
 * the addresses and pod CIDRs, which are derived for them as for any node. What the manifests bind to a node or write as
 * Pods stays: a number that would go against it is refused.
 */
import { UserError } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { formatOrigin, type ManifestFile, parseManifests } from '../k8s/load.ts'
import type { KubeObject, NodeObject, Workload } from '../k8s/types.ts'
import type { ParameterValue } from '../report/capacity-types.ts'
import type { ManifestField } from './axes.ts'

const HOSTNAME_LABEL = 'kubernetes.io/hostname'
const NOWHERE = { file: '', document: 0, item: -1 } as const

/** @throws UserError E_CAPACITY_NODES naming what is bound to a node that would go */
export function withNodes(objects: readonly KubeObject[], count: number): KubeObject[] {
  const others = objects.filter(({ kind }) => kind !== 'Node')
  const nodes = nodesOf(objects)
  const kept = nodes.slice(0, count)
  const gone = new Set(nodes.slice(count).map(({ metadata }) => metadata.name))
  for (const object of others) {
    const bound = boundNodes(object).find((name) => gone.has(name))
    if (bound === undefined) continue
    throw new UserError(
      'E_CAPACITY_NODES',
      `${count} nodes are too few: ${object.kind} ${object.metadata.name} is bound to node ${bound}`,
      { where: formatOrigin(object.origin), hint: 'leave Pods and EndpointSlices to be made from their workloads' },
    )
  }
  const names = new Set(nodes.map(({ metadata }) => metadata.name))
  for (let i = 0; kept.length < count; i++) kept.push(copyOf(nodes[i % nodes.length]!, names))
  return [...others, ...kept]
}

/** @throws UserError E_CAPACITY_REPLICAS where there is no such workload, or its written Pods are more */
export function withReplicas(
  objects: readonly KubeObject[],
  namespace: string,
  name: string,
  replicas: number,
): KubeObject[] {
  const found = objects.filter((object): object is Workload => isScalable(object) && isNamed(object, namespace, name))
  const workload = found[0]
  const refuse = (message: string, hint: string): UserError =>
    new UserError('E_CAPACITY_REPLICAS', `replicas.${namespace}/${name}: ${message}`, { hint, exitCode: 2 })
  if (workload === undefined) {
    const known = objects
      .filter(isScalable)
      .map(({ metadata }) => `${metadata.namespace ?? 'default'}/${metadata.name}`)
    throw refuse(
      'no Deployment, StatefulSet or ReplicaSet is called that',
      known.length === 0 ? '' : `there are ${known.slice(0, 12).join(', ')}`,
    )
  }
  const scaled = objects.map((object) =>
    object === workload ? { ...workload, spec: { ...workload.spec, replicas } } : object,
  )
  const title = `${workload.kind} ${namespace}/${name}`
  const pods = deriveCluster(scaled).pods.filter(({ owner }) => owner === title).length
  if (pods !== replicas) {
    throw refuse(`the manifests hold ${pods} Pods of it`, 'leave its Pods out of the manifests: they are made from it')
  }
  return scaled
}

/**
 * An object with another value in one of its fields; what is not there on the way is made.
 *
 * @throws UserError E_CAPACITY_FIELD, exit code 2, where there is no such object or field, or it cannot have that value
 */
export function withField(objects: readonly KubeObject[], field: ManifestField, value: ParameterValue): KubeObject[] {
  const { text, objectKind, namespace, name, path } = field
  const refuse = (message: string, hint = ''): UserError =>
    new UserError('E_CAPACITY_FIELD', `${text}: ${message}`, { hint, exitCode: 2 })
  const found = objects.find((object) => object.kind === objectKind && isNamed(object, namespace, name))
  if (found === undefined) {
    const known = objects
      .filter(({ kind }) => kind === objectKind)
      .map(({ kind, metadata }) => `${kind}/${metadata.namespace ?? 'default'}/${metadata.name}`)
    throw refuse(
      `there is no ${objectKind} ${namespace}/${name}`,
      known.length === 0 ? '' : `there are ${known.slice(0, 12).join(', ')}`,
    )
  }
  const changed = objects.map((object) => (object === found ? withValue(object, path, value) : object) as KubeObject)
  try {
    const before = new Set(parseManifests([manifestOf(objects)]).warnings.map(({ message }) => message))
    const fault = parseManifests([manifestOf(changed)]).warnings.find(
      ({ code, message }) => code === 'W_UNKNOWN_FIELD' && !before.has(message),
    )
    if (fault !== undefined) throw refuse(fault.message)
  } catch (error) {
    if (error instanceof UserError && error.code !== 'E_CAPACITY_FIELD') throw refuse(error.message)
    throw error
  }
  return changed
}

function withValue(object: unknown, [step, ...rest]: readonly (string | number)[], value: ParameterValue): unknown {
  if (step === undefined) return value
  if (typeof step === 'number') {
    const list = Array.isArray(object) ? [...object] : []
    list[step] = withValue(list[step], rest, value)
    return list
  }
  const fields = typeof object === 'object' && object !== null ? (object as Readonly<Record<string, unknown>>) : {}
  return { ...fields, [step]: withValue(fields[step], rest, value) }
}

/** One file that parses to these objects again. */
export function manifestOf(objects: readonly KubeObject[]): ManifestFile {
  const items = objects.map((object) => {
    const { origin: _, ...written } = object
    if (object.kind !== 'KubeProxyConfiguration') return written
    // A configuration file is no API object: its name was given to it when it was read.
    const { metadata: __, ...configuration } = written
    return configuration
  })
  return { name: 'manifests.json', text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }) }
}

/** Those of the manifests, else the ones that a cluster is given, as Node objects. */
function nodesOf(objects: readonly KubeObject[]): NodeObject[] {
  const written = objects.filter((object): object is NodeObject => object.kind === 'Node')
  if (written.length > 0) return written
  const { nodes }: Pick<Cluster, 'nodes'> = deriveCluster(objects)
  return nodes.map(({ name }) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name }, origin: NOWHERE }))
}

function copyOf({ metadata, spec, status, ...node }: NodeObject, names: Set<string>): NodeObject {
  let number = 2
  while (names.has(`${metadata.name}-${number}`)) number++
  const name = `${metadata.name}-${number}`
  names.add(name)
  const { podCIDR: _, podCIDRs: __, ...ownSpec } = spec ?? {}
  const { addresses: ___, ...ownStatus } = status ?? {}
  const labels = metadata.labels
  return {
    ...node,
    metadata: {
      name,
      ...(labels === undefined
        ? {}
        : { labels: HOSTNAME_LABEL in labels ? { ...labels, [HOSTNAME_LABEL]: name } : { ...labels } }),
    },
    spec: ownSpec,
    status: ownStatus,
  }
}

/** Nodes that an object names. */
function boundNodes(object: KubeObject): string[] {
  if (object.kind === 'Pod') return object.spec.nodeName === undefined ? [] : [object.spec.nodeName]
  if (object.kind === 'EndpointSlice') return object.endpoints.flatMap(({ nodeName }) => nodeName ?? [])
  if (object.kind !== 'Endpoints') return []
  return (object.subsets ?? []).flatMap(({ addresses = [], notReadyAddresses = [] }) =>
    [...addresses, ...notReadyAddresses].flatMap(({ nodeName }) => nodeName ?? []),
  )
}

function isScalable(object: KubeObject): object is Workload {
  return ['Deployment', 'StatefulSet', 'ReplicaSet', 'ReplicationController'].includes(object.kind)
}

function isNamed({ metadata }: KubeObject, namespace: string, name: string): boolean {
  return metadata.name === name && (metadata.namespace ?? 'default') === namespace
}
