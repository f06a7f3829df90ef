/**
 * What is asked about: every address and port that either side serves, each once.
 *
 * Node ports, health check ports and host ports count once for each node's address; loopback where iptables serves it there.
 * Pods behind headless Services are dialled by their own address, which matters where NetworkPolicies are.
 */
import { PROTOCOL_NUMBERS } from '../compile/frontends.ts'
import { endpointsOfPort, slicesByService } from '../compile/usable.ts'
import { joinPort } from '../explain/dialled-name.ts'
import { canonicalIp, ipFamily } from '../k8s/ip.ts'
import type { IpFamily } from '../k8s/types.ts'
import type { Side, Sides } from './sides.ts'

export type TargetKind =
  | 'clusterIP'
  | 'externalIP'
  | 'loadBalancerIP'
  | 'loadBalancerProxy'
  | 'nodePort'
  | 'healthCheckNodePort'
  | 'hostPort'
  | 'pod'

export interface Target {
  readonly kind: TargetKind
  readonly family: IpFamily
  /** Address id, and as text with its port and protocol: `10.96.0.1:80/tcp`. */
  readonly address: number
  readonly port: number
  readonly protocol: number
  readonly text: string
  /** As `explain --to` takes it. */
  readonly to: string
  /** `shop/web`, a Service, or the workload of a host port. */
  readonly owner: string
  /** Node index of node ports and the like, -1 otherwise. */
  readonly node: number
  /** Source ranges of either side. */
  readonly ranges: readonly string[]
}

const PROTOCOL_TEXT: Readonly<Record<number, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' }

export function targetsOf(sides: Sides): Target[] {
  const found = new Map<string, Target>()
  for (const side of [sides.old, sides.new]) {
    const asked = new Asked(sides, side, found)
    asked.services()
    asked.hostPorts()
    if ([sides.old, sides.new].some(({ cluster }) => (cluster.networkPolicies ?? []).length > 0)) asked.headless()
  }
  return [...found.values()]
}

/** Where iptables mode serves node ports to the node's own processes. */
export const LOOPBACK = '127.0.0.1'

class Asked {
  readonly #sides: Sides
  readonly #side: Side
  readonly #found: Map<string, Target>

  constructor(sides: Sides, side: Side, found: Map<string, Target>) {
    this.#sides = sides
    this.#side = side
    this.#found = found
  }

  services(): void {
    const hasLoopback = [this.#sides.old, this.#sides.new].some(
      ({ context }) => context.compiled.settings.mode === 'iptables',
    )
    for (const { service, family, frontends } of this.#side.context.compiled.services) {
      const owner = `${service.namespace}/${service.name}`
      for (const { kind, address, port, protocol } of frontends) {
        if (address !== null) {
          const ranges = kind === 'loadBalancerIP' ? service.sourceRanges : []
          this.#add(kind as TargetKind, { text: address, port, protocol }, owner, -1, ranges)
          continue
        }
        this.#atNodes(kind as TargetKind, family, port, protocol, owner)
        if (family !== 'IPv4' || !hasLoopback) continue
        for (const { name } of this.#sides.new.cluster.nodes) {
          this.#add(kind as TargetKind, { text: LOOPBACK, port, protocol }, owner, this.#sides.registry.node(name))
        }
      }
    }
  }

  #atNodes(kind: TargetKind, family: IpFamily, port: number, protocol: number, owner: string): void {
    for (const { cluster } of [this.#sides.old, this.#sides.new]) {
      for (const node of cluster.nodes) {
        for (const address of node.addresses) {
          if (ipFamily(address) !== family) continue
          this.#add(kind, { text: address, port, protocol }, owner, this.#sides.registry.node(node.name))
        }
      }
    }
  }

  hostPorts(): void {
    const { cluster, context } = this.#side
    for (const pod of cluster.pods) {
      const node = context.directory.nodes.get(pod.nodeName)
      if (pod.hostNetwork || node === undefined) continue
      const owner = pod.owner === '' ? `${pod.namespace}/${pod.name}` : pod.owner.slice(pod.owner.indexOf(' ') + 1)
      for (const { hostPort, protocol } of pod.ports) {
        if (hostPort === undefined) continue
        for (const address of node.addresses) {
          const index = this.#sides.registry.node(node.name)
          this.#add('hostPort', { text: address, port: hostPort, protocol: PROTOCOL_NUMBERS[protocol] }, owner, index)
        }
      }
    }
  }

  headless(): void {
    const { cluster } = this.#side
    const slices = slicesByService(cluster.slices)
    for (const service of cluster.services) {
      if (!service.headless) continue
      const owner = `${service.namespace}/${service.name}`
      for (const family of ['IPv4', 'IPv6'] as const) {
        for (const port of service.ports) {
          for (const { address, port: number } of endpointsOfPort(port, family, slices.get(owner) ?? [])) {
            const place = { text: address, port: number, protocol: PROTOCOL_NUMBERS[port.protocol] }
            this.#add('pod', place, owner, -1)
          }
        }
      }
    }
  }

  #add(
    kind: TargetKind,
    { text, port, protocol }: { readonly text: string; readonly port: number; readonly protocol: number },
    owner: string,
    node: number,
    ranges: readonly string[] = [],
  ): void {
    const address = canonicalIp(text)
    if (address === null) return
    const key = `${address} ${port} ${protocol}${address === LOOPBACK ? ` ${node}` : ''}`
    const known = this.#found.get(key)
    if (known !== undefined) {
      if (ranges.length > 0) this.#found.set(key, { ...known, ranges: [...new Set([...known.ranges, ...ranges])] })
      return
    }
    const dialled = joinPort(address, port)
    this.#found.set(key, {
      ...{ kind, family: ipFamily(address), address: this.#sides.registry.address(address), port, protocol },
      text: `${dialled}/${PROTOCOL_TEXT[protocol]}`,
      to: dialled,
      ...{ owner, node, ranges },
    })
  }
}
