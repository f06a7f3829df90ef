/**
 * Pods as queues of requests: which pod an address is, how many requests it works on at once, and how long one takes.
 *
 * A pod with a CPU limit of L has floor(L) workers, at least one, and in all the speed of L CPUs; without a limit the model's
 * `podCpus` stands in, and for an HTTP proxy the CPUs of its node, as it makes a worker of each. Only pods that a Service can
 * lead to are queues; what lies outside the cluster answers at once, and so do pods that share their node's address with a proxy.
 * Cost: one pass over pods and endpoints.
 */
import type { Cluster } from '../k8s/cluster.ts'
import type { IngressProxy } from './ingress.ts'
import type { Model } from './model.ts'
import type { Registry } from './registry.ts'

export interface StationColumns {
  readonly addressPodQueue: Int32Array
  readonly podQueueNanos: Int32Array
}

/**
 * To be called when the registry has all endpoints and addresses.
 * @param httpProxies  empty where requests go through none
 */
export function stationColumns(
  cluster: Cluster,
  registry: Registry,
  model: Model,
  httpProxies: readonly IngressProxy[],
): StationColumns {
  const proxyPods = new Map(httpProxies.flatMap(({ pod, addresses }) => addresses.map((address) => [address, pod])))
  const isProxy = (address: number): boolean => proxyPods.has(address)
  if (model.podRequestNanos === 0 && proxyPods.size === 0) {
    return { addressPodQueue: new Int32Array(0), podQueueNanos: new Int32Array(0) }
  }
  const cpus = new Map<number, number>()
  const nodeCpus = new Map(cluster.nodes.map((node) => [node.name, node.cpus]))
  for (const pod of cluster.pods) {
    for (const text of pod.addresses) {
      const address = registry.address(text)
      if (isProxy(address) && proxyPods.get(address) !== `${pod.namespace}/${pod.name}`) continue
      const unlimited = isProxy(address) ? (nodeCpus.get(pod.nodeName) ?? model.podCpus) : model.podCpus
      cpus.set(address, pod.cpuLimit === 0 ? unlimited : pod.cpuLimit)
    }
  }
  const addressPodQueue = new Int32Array(registry.addressCount).fill(-1)
  const nanos: number[] = []
  const endpoints = registry.endpoints.map(({ address }) => address)
  for (const address of [...endpoints, ...proxyPods.keys()]) {
    const limit = cpus.get(address)
    const request = isProxy(address) ? model.proxyRequestNanos : model.podRequestNanos
    if (limit === undefined || request === 0 || addressPodQueue[address]! >= 0) continue
    const workers = Math.min(MAX_WORKERS, Math.max(1, Math.floor(limit)))
    const podQueue = registry.podQueue(address, workers)
    addressPodQueue[address] = podQueue
    nanos[podQueue] = Math.min(MAX_NANOS, Math.round((request * registry.podQueues[podQueue]!.workers) / limit))
  }
  // A pod that has been and is gone leaves a hole.
  return {
    addressPodQueue,
    podQueueNanos: Int32Array.from({ length: registry.podQueues.length }, (_, i) => nanos[i] ?? 0),
  }
}

/** As many as a node's receive queues. */
const MAX_WORKERS = 256
const MAX_NANOS = 0x7fffffff
