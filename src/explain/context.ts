/**
 * What a packet is explained against: a cluster, the rules that `replay` would run on it, and the objects behind the rules.
 *
 * The rules are compiled by the same code as for a replay, unchanged manifests and, but for `--proxy-mode`, their own mode. Every
 * address that will be asked about must be in the registry before, because what an address counts as is worked out there.
 * Cost: one compile; per service port asked about, one pass over its EndpointSlices.
 */
import { type RuleColumns, SETTING_NODES } from '../../native-free-core/index.ts'
import { type Compiled, compileRules, type Destination } from '../compile/compile.ts'
import type { ProxyService } from '../compile/frontends.ts'
import type { ProxyMode } from '../compile/kube-proxy.ts'
import { DEFAULT_MODEL } from '../compile/model.ts'
import type { Registry } from '../compile/registry.ts'
import { endpointsOfPort, type ProxyEndpoint } from '../compile/usable.ts'
import type { ClusterViews } from '../compile/views.ts'
import type { Upstream } from '../dns/records.ts'
import type { NodeResolver } from '../dns/resolver.ts'
import { createDnsServer, type DnsServer } from '../dns/zone.ts'
import type { Warning } from '../errors.ts'
import type { Cluster, ClusterNode, ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { deriveCluster } from '../k8s/derive.ts'
import { misnamedPorts } from '../k8s/endpoints.ts'
import type { ManifestFile } from '../k8s/files.ts'
import { parseManifests, readManifestFiles, requireObjects } from '../k8s/load.ts'
import type { EndpointSlice, KubeObject } from '../k8s/types.ts'
import type { Libc } from '../libc.ts'

/** Explaining one packet after another needs no sweep of expired entries: they are met or not. */
const GC_INTERVAL_MS = 60_000

/** How names are looked up, and what the outside knows of them. */
export interface DirectoryNaming {
  readonly upstream?: Upstream
  readonly libc?: Libc
  readonly node?: NodeResolver | null
}

export interface LoadedManifests {
  readonly objects: readonly KubeObject[]
  readonly cluster: Cluster
  readonly warnings: readonly Warning[]
  readonly naming?: DirectoryNaming
  readonly mode?: ProxyMode | null
  /** At a moment of a Timeline: who knows what. */
  readonly views?: ClusterViews | null
  /** As they were read. */
  readonly files?: readonly ManifestFile[]
}

/** @throws UserError  for manifests that cannot be used */
export function loadManifests(paths: readonly string[], stdin: () => string): LoadedManifests {
  const files = readManifestFiles(paths, stdin)
  const { objects, warnings } = requireObjects(parseManifests(files), paths)
  const cluster = deriveCluster(objects)
  return { objects, cluster, warnings: [...warnings, ...cluster.warnings], files }
}

/** The cluster's objects by what a user calls them, before there are rules. */
export class Directory {
  readonly cluster: Cluster
  readonly nodes: ReadonlyMap<string, ClusterNode>
  readonly services: ReadonlyMap<string, ClusterService>
  private readonly pods = new Map<string, ClusterPod>()
  private readonly owners = new Map<string, ClusterNode>()
  private readonly clusterIps = new Map<string, ClusterService>()
  readonly naming: DirectoryNaming
  /** In place of the mode that the manifests say; null leaves it. */
  readonly mode: ProxyMode | null
  /** Where nodes and balancers do not know the same. */
  readonly views: ClusterViews | null
  private server: DnsServer | null = null

  constructor(
    cluster: Cluster,
    naming: DirectoryNaming = {},
    mode: ProxyMode | null = null,
    views: ClusterViews | null = null,
  ) {
    this.cluster = cluster
    this.views = views
    this.mode = mode
    this.naming = naming
    this.nodes = new Map(cluster.nodes.map((node) => [node.name, node]))
    this.services = new Map(cluster.services.map((service) => [`${service.namespace}/${service.name}`, service]))
    for (const node of cluster.nodes) for (const address of node.addresses) this.owners.set(address, node)
    for (const pod of cluster.pods) {
      if (pod.hostNetwork) continue
      for (const address of pod.addresses) this.pods.set(address, pod)
    }
    for (const service of cluster.services) {
      if (service.type === 'ExternalName') continue
      for (const address of service.clusterIPs) this.clusterIps.set(address, service)
    }
  }

  /** The pod that has an address of its own; hostNetwork pods have their node's. */
  podAt(address: string): ClusterPod | undefined {
    return this.pods.get(address)
  }

  nodeAt(address: string): ClusterNode | undefined {
    return this.owners.get(address)
  }

  serviceAt(clusterIp: string): ClusterService | undefined {
    return this.clusterIps.get(clusterIp)
  }

  /** @throws UserError  for a Corefile that cannot be used */
  get dns(): DnsServer {
    this.server ??= createDnsServer(this.cluster)
    return this.server
  }
}

/** What is known of a service port beyond the rules. */
export interface PortContext {
  readonly proxied: ProxyService
  /** `Service default/web`. */
  readonly title: string
  /** All of them, in rule order. */
  readonly endpoints: readonly ProxyEndpoint[]
  /** Ports of its EndpointSlices that it does not match by name, `5432 without a name`. */
  readonly misnamed: readonly string[]
}

export class ExplainContext {
  readonly directory: Directory
  readonly registry: Registry
  readonly compiled: Compiled
  readonly rules: RuleColumns
  private readonly ports = new Map<number, PortContext>()
  private readonly proxied = new Map<number, ProxyService>()
  private readonly slices = new Map<string, EndpointSlice[]>()

  /** @param destinations  for a dataplane: what its connections dial */
  constructor(directory: Directory, registry: Registry, destinations: readonly Destination[] = []) {
    this.directory = directory
    this.registry = registry
    this.compiled = compileRules(directory.cluster, registry, {
      policy: null,
      mode: directory.mode,
      model: DEFAULT_MODEL,
      destinations,
      clientMap: new Int32Array(0),
      gcIntervalMs: GC_INTERVAL_MS,
      views: directory.views,
    })
    this.rules = this.compiled.columns
    for (const proxied of this.compiled.services) {
      const { service, port, family } = proxied
      const portName = port.name === '' ? String(port.port) : port.name
      const id = registry.servicePort({ namespace: service.namespace, service: service.name, port: portName, family })
      this.proxied.set(id, proxied)
    }
    for (const slice of directory.cluster.slices) {
      const key = `${slice.metadata.namespace ?? 'default'}/${slice.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`
      const known = this.slices.get(key)
      if (known === undefined) this.slices.set(key, [slice])
      else known.push(slice)
    }
  }

  get cluster(): Cluster {
    return this.directory.cluster
  }

  get nodeCount(): number {
    return this.rules.settings[SETTING_NODES]!
  }

  nodeName(index: number): string {
    return this.registry.nodes[index] ?? ''
  }

  /** The host name that an address stands for, or ''. */
  balancerName(address: string): string {
    const found = this.cluster.services.flatMap(({ loadBalancer }) => loadBalancer).find(({ ip }) => ip === address)
    return found?.hostname ?? ''
  }

  /** The Service port behind a service port id of the rules. */
  port(servicePort: number): PortContext {
    const known = this.ports.get(servicePort)
    if (known !== undefined) return known
    const proxied = this.proxied.get(servicePort)
    if (proxied === undefined) throw new Error(`service port ${servicePort} is in the rules and not in the cluster`)
    const { service, port, family } = proxied
    const key = `${service.namespace}/${service.name}`
    const made = {
      proxied,
      title: `Service ${key}`,
      endpoints: endpointsOfPort(port, family, this.slices.get(key) ?? []),
      misnamed: misnamedPorts(service, port, this.slices.get(key) ?? []),
    }
    this.ports.set(servicePort, made)
    return made
  }
}
