/**
 * Columns by frontend: where a Service port is reached, what is asked there (source ranges), and over which nodes its load balancer comes.
 */
import {
  FRONTEND_HOST_PORT,
  FRONTEND_NAMES,
  frontendHash,
  NODE_PORT_ADDRESS,
  NODE_PORT_ADDRESS_IPV6,
} from '../../native-free-core/index.ts'
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { ipFamily, parseCidr } from '../k8s/ip.ts'
import { maskWords } from './address-columns.ts'
import { announcingNodes } from './announcing.ts'
import { balancedNodes, eligibleNodes } from './by-node.ts'
import { Column } from './columns.ts'
import type { Frontend, ProxyService } from './frontends.ts'
import type { HostPortService } from './host-ports.ts'
import type { Registry } from './registry.ts'
import type { ProxyEndpoint } from './usable.ts'
import { balancedBy, type ClusterViews } from './views.ts'

/** A Service port's endpoints, for what its load balancer asks of nodes. */
export interface BalancedEndpoints {
  /** As the manifests have them. */
  readonly written: readonly ProxyEndpoint[]
  /** As kube-proxy takes them. */
  readonly known: readonly ProxyEndpoint[]
}

export class FrontendColumns {
  readonly servicePort: Column = new Column()
  readonly kind: Column = new Column()
  readonly rangeStart: Column = new Column()
  readonly rangeCount: Column = new Column()
  readonly nodeStart: Column = new Column()
  readonly nodeCount: Column = new Column()
  readonly nodePort: Column = new Column()
  /** Eight words a source range. */
  readonly ranges: number[] = []
  readonly balancerNodes: number[] = []
  readonly #cluster: Cluster
  readonly #registry: Registry
  readonly #nodeIndex: ReadonlyMap<string, number>
  readonly #views: ClusterViews | null
  readonly #warnings: Warning[]
  readonly #entries: { readonly id: number; readonly frontend: Frontend; readonly address: number }[] = []
  readonly #taken = new Set<number>()
  readonly #nodePortKeys: ReadonlySet<string>
  /** Node by its own address. */
  readonly #owners: ReadonlyMap<string, number>

  /** @param warnings  is added to */
  constructor(
    cluster: Cluster,
    registry: Registry,
    nodeIndex: ReadonlyMap<string, number>,
    services: readonly ProxyService[],
    views: ClusterViews | null,
    warnings: Warning[],
  ) {
    this.#cluster = cluster
    this.#registry = registry
    this.#nodeIndex = nodeIndex
    this.#views = views
    this.#warnings = warnings
    this.#nodePortKeys = new Set(
      services.flatMap(({ frontends, family }) =>
        frontends.flatMap((one) => (one.kind === 'nodePort' ? nodePortKey(family, one) : [])),
      ),
    )
    this.#owners = new Map(
      cluster.nodes.flatMap(({ name, addresses }) =>
        addresses.map((address) => [address, nodeIndex.get(name)!] as const),
      ),
    )
  }

  add(servicePort: number, proxied: ProxyService, endpoints: BalancedEndpoints): void {
    for (const one of proxied.frontends) {
      const anyNode = proxied.family === 'IPv4' ? NODE_PORT_ADDRESS : NODE_PORT_ADDRESS_IPV6
      const address = one.address === null ? anyNode : this.#registry.address(one.address)
      const id = this.#registry.frontend(address, one.port, one.protocol)
      if (!this.#take(id, one, address, proxied)) continue
      this.servicePort.set(id, servicePort)
      this.kind.set(id, FRONTEND_NAMES.indexOf(one.kind))
      this.nodePort.set(id, proxied.port.nodePort)
      if (one.kind === 'loadBalancerIP') this.#setRanges(id, proxied)
      if (one.kind === 'loadBalancerIP' || one.kind === 'loadBalancerProxy') {
        const nodes = this.#nodesBehind(one, proxied, endpoints)
        this.nodeStart.set(id, this.balancerNodes.length)
        this.nodeCount.set(id, nodes.length)
        this.balancerNodes.push(...nodes)
      }
    }
  }

  addHostPort({ servicePort, frontends }: HostPortService): void {
    for (const { address, port, protocol } of frontends) {
      const id = this.#registry.frontend(address, port, protocol)
      if (this.#taken.has(id)) continue
      this.#taken.add(id)
      this.#entries.push({ id, frontend: { kind: 'hostPort', address: null, port, protocol }, address })
      this.servicePort.set(id, servicePort)
      this.kind.set(id, FRONTEND_HOST_PORT)
    }
  }

  /** The hash table that packets look frontends up in: address, port, protocol, id + 1; a third of it full at most. */
  table(): Int32Array {
    let slots = 16
    while (slots < this.#entries.length * 3) slots *= 2
    const table = new Int32Array(slots * 4)
    for (const { id, frontend, address } of this.#entries) {
      let i = frontendHash(address, frontend.port, frontend.protocol) & (slots - 1)
      while (table[i * 4 + 3] !== 0) i = (i + 1) & (slots - 1)
      table.set([address, frontend.port, frontend.protocol, id + 1], i * 4)
    }
    return table
  }

  /** @returns false where another Service has the frontend */
  #take(id: number, frontend: Frontend, address: number, proxied: ProxyService): boolean {
    // Node ports are translated in PREROUTING, before anything could come to kube-proxy's own socket.
    const isHealthCheck = frontend.kind === 'healthCheckNodePort'
    if (isHealthCheck && this.#nodePortKeys.has(nodePortKey(proxied.family, frontend))) {
      this.#warnings.push(hidden(proxied, frontend))
      return false
    }
    if (this.#taken.has(id)) {
      if (!isHealthCheck) this.#warnings.push(conflict(proxied, frontend))
      return false
    }
    this.#taken.add(id)
    this.#entries.push({ id, frontend, address })
    return true
  }

  #setRanges(id: number, { service, family }: ProxyService): void {
    const written = service.sourceRanges.filter((range) => ipFamily(range) === family)
    this.rangeStart.set(id, this.ranges.length / 8)
    this.rangeCount.set(id, written.length)
    for (const range of written) this.ranges.push(...maskWords(parseCidr(range)!))
  }

  /** Nodes that a load balancer sends new connections to. */
  #nodesBehind(frontend: Frontend, proxied: ProxyService, { written, known }: BalancedEndpoints): readonly number[] {
    // Without a node port there is nothing for it to connect to.
    if (frontend.kind === 'loadBalancerProxy' && proxied.port.nodePort === 0) return []
    // A node's own address (bare metal, ServiceLB of k3s) is answered for by that node, whatever it has.
    const owner = frontend.kind === 'loadBalancerIP' ? this.#owners.get(frontend.address!) : undefined
    if (owner !== undefined) return [owner]
    const { namespace, name } = proxied.service
    const viewed = balancedBy(this.#views, `${namespace}/${name}`, this.#nodeIndex)
    if (viewed !== null) return viewed
    const { nodes } = this.#cluster
    const { announced, address } = frontend
    if (announced === undefined) return balancedNodes(proxied, known, nodes, this.#nodeIndex)
    const ready = eligibleNodes(nodes).map((node) => node.name)
    const names = announcingNodes(announced, address!, proxied.externalLocal, written, ready)
    return names.map((node) => this.#nodeIndex.get(node)!)
  }
}

function nodePortKey(family: string, { port, protocol }: Frontend): string {
  return `${family} ${port} ${protocol}`
}

function hidden({ service }: ProxyService, { port }: Frontend): Warning {
  return {
    code: 'W_FRONTEND_TAKEN',
    where: `Service ${service.namespace}/${service.name}`,
    message: `healthCheckNodePort ${port} is taken as a nodePort too: its rules come first, so health checks are answered by that Service's pods and say nothing about this one`,
  }
}

function conflict(proxied: ProxyService, frontend: Frontend): Warning {
  return {
    code: 'W_FRONTEND_TAKEN',
    where: `Service ${proxied.service.namespace}/${proxied.service.name}`,
    message: `${frontend.kind} ${frontend.address ?? '(every node)'} port ${frontend.port} belongs to another Service already and is left to it`,
  }
}
