/**
 * Columns by service port and by endpoint: which sets of endpoints a Service has, on which node it has others, its policies and affinity.
 */
import {
  SERVICE_EXTERNAL_LOCAL,
  SERVICE_HAS_ANY,
  SERVICE_INTERNAL_LOCAL,
  SERVICE_USES_CLUSTER,
  SERVICE_USES_LOCAL,
} from '../../native-free-core/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { clusterByNode, localByNode } from './by-node.ts'
import { Column, Sets } from './columns.ts'
import type { ProxyService } from './frontends.ts'
import { cutTimeout } from './horizon.ts'
import type { HostPortService } from './host-ports.ts'
import type { ProxySettings } from './kube-proxy.ts'
import type { Registry } from './registry.ts'
import { clusterEndpoints, isFallback, type ProxyEndpoint } from './usable.ts'

/** A Service port's endpoints. */
export interface KnownEndpoints {
  /** As kube-proxy takes them: their nodes are '' where it does not know its own name. */
  readonly known: readonly ProxyEndpoint[]
  /** Of nodes that know others, in the middle of a change; null: all know the same. */
  readonly byNode: ReadonlyMap<string, readonly ProxyEndpoint[]> | null
}

export class ServiceColumns {
  readonly flags: Column = new Column()
  readonly affinityMs: Column = new Column()
  readonly position: Column = new Column()
  readonly clusterSet: Column = new Column()
  readonly servingSet: Column = new Column()
  readonly clusterStart: Column = new Column()
  readonly clusterCount: Column = new Column()
  readonly localStart: Column = new Column()
  readonly localCount: Column = new Column()
  /** Pairs of a node and the set that it uses in place of the others'. */
  readonly overrides: number[] = []
  readonly sets: Sets = new Sets()
  readonly endpointNode: Column = new Column()
  readonly endpointAlive: Column = new Column()
  readonly #cluster: Cluster
  readonly #registry: Registry
  readonly #settings: ProxySettings
  readonly #nodeIndex: ReadonlyMap<string, number>
  readonly #endMs: number

  constructor(
    cluster: Cluster,
    registry: Registry,
    settings: ProxySettings,
    nodeIndex: ReadonlyMap<string, number>,
    endMs: number,
  ) {
    this.#cluster = cluster
    this.#registry = registry
    this.#settings = settings
    this.#nodeIndex = nodeIndex
    this.#endMs = endMs
  }

  /** @param position  among the Services, in the order of kube-proxy's rules */
  add(servicePort: number, position: number, proxied: ProxyService, { known, byNode }: KnownEndpoints): void {
    const ids = this.#endpointIds(servicePort, [...known, ...[...(byNode?.values() ?? [])].flat()])
    const setOf = (list: readonly ProxyEndpoint[]): number => {
      for (const one of list) this.endpointAlive.set(ids.get(one)!, 1)
      return this.sets.add(list.map((one) => ids.get(one)!))
    }
    const setOrNowhere = (list: readonly ProxyEndpoint[] | null): number =>
      list === null ? this.sets.nowhere() : setOf(list)
    const usesCluster = !proxied.internalLocal || proxied.externallyAccessible
    const usesLocal = proxied.internalLocal || (proxied.externalLocal && proxied.externallyAccessible)

    this.clusterSet.set(servicePort, usesCluster ? setOf(clusterEndpoints(known)) : 0)
    this.servingSet.set(servicePort, this.sets.add(known.filter((one) => one.serving).map((one) => ids.get(one)!)))
    const nodes = this.#cluster.nodes
    const topology = usesCluster ? clusterByNode(known, byNode, this.#settings, nodes, this.#nodeIndex) : []
    this.clusterStart.set(servicePort, this.overrides.length / 2)
    this.clusterCount.set(servicePort, topology.length)
    this.overrides.push(...topology.flatMap(([node, list]) => [node, setOrNowhere(list)]))

    // Local sets are compiled for every Service, so that a Local load balancer's health check can ask for them.
    const local = (usesLocal ? localByNode(known, byNode) : [])
      .flatMap(([name, list]) => {
        const node = this.#nodeIndex.get(name)
        return node === undefined ? [] : [[node, setOrNowhere(list)] as const]
      })
      .sort((a, b) => a[0] - b[0])
    this.#setLocal(servicePort, local)

    this.flags.set(
      servicePort,
      (proxied.externalLocal ? SERVICE_EXTERNAL_LOCAL : 0) |
        (proxied.internalLocal ? SERVICE_INTERNAL_LOCAL : 0) |
        (usesCluster ? SERVICE_USES_CLUSTER : 0) |
        (usesLocal ? SERVICE_USES_LOCAL : 0) |
        (known.some((one) => one.ready || isFallback(one)) ? SERVICE_HAS_ANY : 0),
    )
    this.affinityMs.set(servicePort, cutTimeout(proxied.service.affinityTimeoutSeconds * 1000, this.#endMs))
    this.position.set(servicePort, position)
  }

  /** Host ports are a Service of the node's own. */
  addHostPort({ servicePort, nodes }: HostPortService, position: number): void {
    for (const [node, ids] of nodes) {
      for (const id of ids) {
        this.endpointNode.set(id, node)
        this.endpointAlive.set(id, 1)
      }
    }
    this.flags.set(servicePort, SERVICE_EXTERNAL_LOCAL | SERVICE_USES_LOCAL | SERVICE_HAS_ANY)
    this.position.set(servicePort, position)
    this.#setLocal(
      servicePort,
      nodes.map(([node, ids]) => [node, this.sets.add(ids)]),
    )
  }

  #endpointIds(servicePort: number, endpoints: readonly ProxyEndpoint[]): Map<ProxyEndpoint, number> {
    const ids = new Map<ProxyEndpoint, number>()
    for (const one of endpoints) {
      const id = this.#registry.endpoint(servicePort, this.#registry.address(one.address), one.port)
      ids.set(one, id)
      this.endpointNode.set(id, this.#nodeIndex.get(one.nodeName) ?? -1)
    }
    return ids
  }

  #setLocal(servicePort: number, local: readonly (readonly [node: number, set: number])[]): void {
    this.localStart.set(servicePort, this.overrides.length / 2)
    this.localCount.set(servicePort, local.length)
    this.overrides.push(...local.flat())
  }
}
