/**
 * Pods as queues of requests: which pod an address is, how many requests it works on at once, and how long one takes.
 *
 * A pod with a CPU limit of L has floor(L) workers, at least one, and in all the speed of L CPUs; without a limit the model's
 * `podCpus` stands in. Only pods that a Service can lead to are queues; what lies outside the cluster answers at once.
 * Cost: one pass over pods and endpoints.
 */
import type { Cluster } from '../k8s/cluster.ts'
import type { Model } from './model.ts'
import type { Registry } from './registry.ts'

export interface StationColumns {
  readonly addressStation: Int32Array
  readonly stationNanos: Int32Array
}

/** To be called when the registry has all endpoints and addresses. */
export function stationColumns(cluster: Cluster, registry: Registry, model: Model): StationColumns {
  if (model.podRequestNanos === 0) return { addressStation: new Int32Array(0), stationNanos: new Int32Array(0) }
  const cpus = new Map<number, number>()
  for (const pod of cluster.pods) {
    const limit = pod.cpuLimit === 0 ? model.podCpus : pod.cpuLimit
    for (const address of pod.addresses) cpus.set(registry.address(address), limit)
  }
  const addressStation = new Int32Array(registry.addressCount).fill(-1)
  const nanos: number[] = []
  for (const { address } of registry.endpoints) {
    const limit = cpus.get(address)
    if (limit === undefined || addressStation[address]! >= 0) continue
    const workers = Math.min(MOST_WORKERS, Math.max(1, Math.floor(limit)))
    const station = registry.station(address, workers)
    addressStation[address] = station
    nanos[station] = Math.min(
      MOST_NANOS,
      Math.round((model.podRequestNanos * registry.stations[station]!.workers) / limit),
    )
  }
  // A pod that has been and is gone leaves a hole.
  return {
    addressStation,
    stationNanos: Int32Array.from({ length: registry.stations.length }, (_, i) => nanos[i] ?? 0),
  }
}

/** As many as a node's receive queues. */
const MOST_WORKERS = 256
const MOST_NANOS = 0x7fffffff
