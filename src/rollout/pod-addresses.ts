/**
 * Addresses for the pods of a course: those that are there at the start keep theirs, each new one gets one that nobody has had.
 *
 * New addresses come from the top of the node's pod block, else from behind those of the workload's other pods. An address that was used is not
 * given out again, so that whoever still dials it meets nobody.
 */
import type { Cluster, ClusterNode, ClusterPod } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { titleOf } from '../k8s/inventory.ts'
import { ipFamily, ipFromBigInt, ipToBigInt, parseCidr } from '../k8s/ip.ts'
import type { KubeObject } from '../k8s/types.ts'
import type { Course } from './happenings.ts'
import type { Site } from './site.ts'

/** The pods of a course by id, as the cluster has them; null for one that never got a node. */
export function podsOfCourse(course: Course, site: Site, base: Cluster): (ClusterPod | null)[] {
  const written = new Map(base.pods.map((pod) => [`${pod.owner} ${pod.name}`, pod]))
  const models = site.workloads.map(({ title }) => base.pods.find(({ owner }) => owner === title))
  const nodes = new Map(base.nodes.map((node) => [node.name, node]))
  const used = new Set([
    ...base.pods.flatMap(({ addresses }) => addresses),
    ...base.nodes.flatMap(({ addresses }) => addresses),
    ...base.services.flatMap(({ clusterIPs }) => clusterIPs),
  ])
  return course.pods.map(({ createdMs, name, node, workload }): ClusterPod | null => {
    const { title } = site.workloads[workload]!
    const old = createdMs < 0 ? written.get(`${title} ${name}`) : undefined
    if (old !== undefined) return old
    const model = models[workload]
    const host = nodes.get(course.nodes[node]?.name ?? '')
    if (model === undefined || host === undefined) return null
    const addresses = model.hostNetwork
      ? model.addresses.map((one) => host.addresses.find((own) => ipFamily(own) === ipFamily(one)) ?? one)
      : model.addresses.map((one) => freeAddress(one, host, used))
    return { ...model, name, nodeName: host.name, addresses, terminating: false, ready: true }
  })
}

/** The cluster with at least one pod of each workload that the site follows, so that there is one to go by. */
export function withModels(objects: readonly KubeObject[], site: Site, base: Cluster): Cluster {
  const empty = new Set(
    site.workloads.map(({ title }) => title).filter((title) => base.pods.every(({ owner }) => owner !== title)),
  )
  if (empty.size === 0) return base
  const filled = objects.map(
    (object): KubeObject =>
      empty.has(titleOf(object)) && 'spec' in object
        ? ({ ...object, spec: { ...(object.spec as object), replicas: 1 } } as KubeObject)
        : object,
  )
  return deriveCluster(filled, base)
}

function freeAddress(like: string, { podCidrs }: ClusterNode, used: Set<string>): string {
  const family = ipFamily(like)
  const block = podCidrs.map((text) => parseCidr(text)).find((cidr) => cidr?.family === family)
  let address = like
  // The first of a block is the network's, the second the bridge's, the last is for broadcasts.
  if (block) {
    let value = block.last - 1n
    do address = ipFromBigInt(value--, family)
    while (used.has(address) && value > block.first + 1n)
  }
  for (let value = ipToBigInt(like) + 1n; used.has(address); value++) address = ipFromBigInt(value, family)
  used.add(address)
  return address
}
