/**
 * What kube-proxy programs on one node, read out of the columns that `decide` reads; the writers beside this file put it into words.
 *
 * One family at a time, as kube-proxy has a proxier for each. Sets, flags, ranges and frontends are the compiled ones, so what is
 * printed and what is emulated cannot come apart: only names and notation are added here. Cost: one pass over frontends and sets.
 */
import {
  ADDRESS_CLUSTER_IP,
  ADDRESS_LOOPBACK,
  ADDRESS_NODE,
  ADDRESS_NODE_PORTS,
  clusterSetOf,
  FRONTEND_CLUSTER_IP,
  FRONTEND_EXTERNAL_IP,
  FRONTEND_HEALTH_CHECK,
  FRONTEND_LOAD_BALANCER_IP,
  FRONTEND_NODE_PORT,
  localSetOf,
  type RuleColumns,
  SERVICE_EXTERNAL_LOCAL,
  SERVICE_HAS_ANY,
  SERVICE_INTERNAL_LOCAL,
  SERVICE_USES_CLUSTER,
  SETTING_DETECTOR,
  SETTING_DROP_UNALLOCATED,
  SETTING_MASQUERADE_ALL,
} from '../../native-free-core/index.ts'
import type { Compiled } from '../compile/compile.ts'
import type { ProxySettings } from '../compile/kube-proxy.ts'
import type { Registry } from '../compile/registry.ts'
import { UserError } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { ipFamily, parseCidr } from '../k8s/ip.ts'
import type { PortName } from './names.ts'

export type Family = 'IPv4' | 'IPv6'

export interface RuleEndpoint {
  readonly address: string
  readonly port: number
  /** On this node. */
  readonly local: boolean
}

export interface PortRules {
  readonly name: PortName
  readonly clusterIPs: readonly string[]
  readonly externalIPs: readonly string[]
  readonly loadBalancerIPs: readonly string[]
  readonly port: number
  /** 0 without, as the next. */
  readonly nodePort: number
  readonly healthCheckNodePort: number
  /** Canonical CIDRs, disjoint; empty: everybody. They hold for the load balancer's addresses. */
  readonly sourceRanges: readonly string[]
  /** The node's own address is in one of them. */
  readonly nodeInRanges: boolean
  readonly externalLocal: boolean
  readonly internalLocal: boolean
  /** Some usable endpoint on some node: without, clients are refused; with, but none of the policy's, dropped. */
  readonly hasAny: boolean
  readonly usesCluster: boolean
  readonly cluster: readonly RuleEndpoint[]
  readonly local: readonly RuleEndpoint[]
  /** 0 without. */
  readonly affinitySeconds: number
}

/** How the source of a packet is told to be a pod; null: not at all. */
export type DetectorRule = { readonly cidr: string } | { readonly interface: string; readonly isPrefix: boolean } | null

export interface NodeRules {
  readonly node: string
  /** The node's own, of this family. */
  readonly addresses: readonly string[]
  readonly family: Family
  readonly settings: ProxySettings
  readonly detector: DetectorRule
  readonly masqueradeAll: boolean
  /** Addresses that answer node ports; with `nodePortsAnywhere` every local one does, these among them. */
  readonly nodePortIPs: readonly string[]
  readonly nodePortsAnywhere: boolean
  readonly localhostNodePorts: boolean
  /** Drops what has no state, unless told to be liberal. */
  readonly dropInvalid: boolean
  readonly clusterIPs: readonly string[]
  /** Blocks where cluster IPs without a Service are dropped (nftables). */
  readonly serviceCidrs: readonly string[]
  readonly ports: readonly PortRules[]
}

export interface Slot {
  readonly address: number
  readonly port: number
  readonly protocol: number
  readonly frontend: number
}

/** @throws UserError `E_NODE` for a node that the manifests do not have */
export function nodeRules(
  cluster: Cluster,
  compiled: Compiled,
  registry: Registry,
  nodeName: string,
  family: Family,
): NodeRules {
  const { columns: rules, settings } = compiled
  const node = registry.nodes.indexOf(nodeName)
  const known = cluster.nodes.find(({ name }) => name === nodeName)
  if (node < 0 || known === undefined) {
    throw new UserError('E_NODE', `there is no node "${nodeName}"`, {
      hint: `the manifests have ${cluster.nodes.map(({ name }) => name).join(', ')}`,
      exitCode: 2,
    })
  }
  const byPort = new Map<number, Slot[]>()
  for (const slot of slots(rules)) {
    const servicePort = rules.frontendServicePort[slot.frontend]!
    const list = byPort.get(servicePort)
    if (list === undefined) byPort.set(servicePort, [slot])
    else list.push(slot)
  }
  const own: string[] = []
  const clusterIPs: string[] = []
  for (let id = 0; id < registry.addressCount; id++) {
    const flags = rules.addressFlags[id]!
    const text = registry.addressText(id)
    if (ipFamily(text) !== family) continue
    if ((flags & ADDRESS_CLUSTER_IP) !== 0) clusterIPs.push(text)
    const isOwn = (flags & ADDRESS_NODE) !== 0 && rules.addressNode[id] === node
    if (isOwn && (flags & ADDRESS_NODE_PORTS) !== 0 && (flags & ADDRESS_LOOPBACK) === 0) own.push(text)
  }
  const ports: PortRules[] = []
  for (const { service, port, family: of } of compiled.services) {
    if (of !== family) continue
    const servicePort = registry.servicePort({
      namespace: service.namespace,
      service: service.name,
      port: port.name === '' ? String(port.port) : port.name,
      family,
    })
    const name = {
      namespace: service.namespace,
      service: service.name,
      port: port.name,
      protocol: port.protocol.toLowerCase(),
    }
    ports.push(
      portRules(rules, registry, node, { name, servicePort, port: port.port, found: byPort.get(servicePort) ?? [] }),
    )
  }
  return {
    node: nodeName,
    addresses: known.addresses.filter((address) => ipFamily(address) === family),
    family,
    settings,
    detector: detectorOf(cluster, compiled, known.podCidrs, family),
    masqueradeAll: rules.settings[SETTING_MASQUERADE_ALL] !== 0,
    nodePortIPs: own.sort(),
    nodePortsAnywhere: servesEveryAddress(settings, family),
    localhostNodePorts: family === 'IPv4' && settings.localhostNodePorts,
    dropInvalid: cluster.kubeProxy?.conntrack?.tcpBeLiberal !== true,
    clusterIPs: clusterIPs.sort(),
    serviceCidrs:
      rules.settings[SETTING_DROP_UNALLOCATED] === 0
        ? []
        : cluster.serviceCidrs.filter((cidr) => ipFamily(cidr.split('/')[0]!) === family),
    ports,
  }
}

/** Occupied slots of the frontend table. */
export function slots({ frontendTable: table }: RuleColumns): Slot[] {
  const found: Slot[] = []
  for (let base = 0; base < table.length; base += 4) {
    if (table[base + 3] === 0) continue
    found.push({
      address: table[base]!,
      port: table[base + 1]!,
      protocol: table[base + 2]!,
      frontend: table[base + 3]! - 1,
    })
  }
  return found
}

interface FoundPort {
  readonly name: PortName
  readonly servicePort: number
  readonly port: number
  /** Every address that leads to it. */
  readonly found: readonly Slot[]
}

function portRules(rules: RuleColumns, registry: Registry, node: number, served: FoundPort): PortRules {
  const { name, servicePort, port, found } = served
  const kindOf = (slot: Slot): number => rules.frontendKind[slot.frontend]!
  const addresses = (kind: number): string[] =>
    found.flatMap((slot) => (kindOf(slot) === kind ? [registry.addressText(slot.address)] : [])).sort()
  const portOf = (kind: number): number => found.find((slot) => kindOf(slot) === kind)?.port ?? 0
  const flags = rules.serviceFlags[servicePort]!
  const endpoints = (set: number): RuleEndpoint[] => {
    const start = rules.setStart[set]!
    return Array.from(rules.members.subarray(start, start + rules.setCount[set]!), (id) => ({
      address: registry.addressText(rules.endpointAddress[id]!),
      port: rules.endpointPort[id]!,
      local: rules.endpointNode[id] === node,
    }))
  }
  const balancer = found.find((slot) => kindOf(slot) === FRONTEND_LOAD_BALANCER_IP)
  const ranges = balancer === undefined ? [] : rangesOf(rules, balancer.frontend)
  const isIpv6 = registry.servicePorts[servicePort]!.family === 'IPv6'
  const primary = rules.nodePrimary[node * 2 + (isIpv6 ? 1 : 0)]!
  return {
    name,
    clusterIPs: addresses(FRONTEND_CLUSTER_IP),
    externalIPs: addresses(FRONTEND_EXTERNAL_IP),
    loadBalancerIPs: addresses(FRONTEND_LOAD_BALANCER_IP),
    port,
    nodePort: portOf(FRONTEND_NODE_PORT),
    healthCheckNodePort: portOf(FRONTEND_HEALTH_CHECK),
    sourceRanges: ranges,
    nodeInRanges: primary >= 0 && ranges.some((range) => contains(range, registry.addressText(primary))),
    externalLocal: (flags & SERVICE_EXTERNAL_LOCAL) !== 0,
    internalLocal: (flags & SERVICE_INTERNAL_LOCAL) !== 0,
    hasAny: (flags & SERVICE_HAS_ANY) !== 0,
    usesCluster: (flags & SERVICE_USES_CLUSTER) !== 0,
    cluster: endpoints(clusterSetOf(rules, servicePort, node)),
    local: endpoints(localSetOf(rules, servicePort, node)),
    affinitySeconds: rules.serviceAffinityMs[servicePort]! / 1000,
  }
}

/** Source ranges of a frontend as CIDRs; those inside another one are left out, which a set of intervals refuses to hold. */
function rangesOf(rules: RuleColumns, frontend: number): string[] {
  const start = rules.frontendRangeStart[frontend]!
  const texts = Array.from({ length: rules.frontendRangeCount[frontend]! }, (_, i) => {
    const words = rules.ranges.subarray((start + i) * 8, (start + i) * 8 + 8)
    return cidrText(words)
  })
  const unique = [...new Set(texts)]
  return unique.filter(
    (text) =>
      !unique.some(
        (other) =>
          other !== text && contains(other, text.split('/')[0]!) && parseCidr(other)!.prefix < parseCidr(text)!.prefix,
      ),
  )
}

function cidrText(words: Int32Array): string {
  const bits = (from: number): bigint =>
    [0, 1, 2, 3].reduce((sum, i) => (sum << 32n) | BigInt(words[from + i]! >>> 0), 0n)
  const prefix = bits(4).toString(2).replaceAll('0', '').length
  const isMapped = prefix >= 96 && bits(0) >> 32n === 0xffffn
  if (isMapped) {
    const low = words[3]! >>> 0
    return `${low >>> 24}.${(low >>> 16) & 255}.${(low >>> 8) & 255}.${low & 255}/${prefix - 96}`
  }
  const groups = [0, 1, 2, 3].flatMap((i) => [(words[i]! >>> 16) & 0xffff, words[i]! & 0xffff])
  return parseCidr(`${groups.map((group) => group.toString(16)).join(':')}/${prefix}`)!.text
}

function contains(cidr: string, address: string): boolean {
  const outer = parseCidr(cidr)
  const inner = parseCidr(`${address}/${address.includes(':') ? 128 : 32}`)
  if (outer === null || inner === null || outer.family !== inner.family) return false
  const shift = BigInt((outer.family === 'IPv4' ? 32 : 128) - outer.prefix)
  return outer.first >> shift === inner.first >> shift
}

function servesEveryAddress(settings: ProxySettings, family: Family): boolean {
  const written = settings.nodePortAddresses
  if (written === null) return settings.mode !== 'nftables'
  if (written.includes('all')) return true
  if (written.some((text) => parseCidr(text.trim()) === null)) return false
  const own = written.flatMap((text) => parseCidr(text.trim()) ?? []).filter((cidr) => cidr.family === family)
  return own.length === 0 || own.some(({ prefix }) => prefix === 0)
}

function detectorOf(
  cluster: Cluster,
  { settings, columns }: Compiled,
  podCidrs: readonly string[],
  family: Family,
): DetectorRule {
  const cidrOf = (texts: readonly string[]): DetectorRule => {
    const cidr = texts.map((text) => parseCidr(text)).find((parsed) => parsed?.family === family)
    return cidr ? { cidr: cidr.text } : null
  }
  if (columns.settings[SETTING_DETECTOR] === 0) return null
  if (settings.detector === 'ClusterCIDR') return cidrOf(settings.detectorCidrs)
  if (settings.detector === 'NodeCIDR') return cidrOf(podCidrs)
  const written = (cluster.kubeProxy ?? {}) as {
    readonly detectLocal?: { readonly bridgeInterface?: string; readonly interfaceNamePrefix?: string }
  }
  const { bridgeInterface, interfaceNamePrefix } = written.detectLocal ?? {}
  if (interfaceNamePrefix !== undefined) return { interface: interfaceNamePrefix, isPrefix: true }
  return { interface: bridgeInterface ?? 'cni0', isPrefix: false }
}

/** Every endpoint that some chain of this node leads to, in rule order. */
export function reachable(port: PortRules): readonly RuleEndpoint[] {
  const usesLocal = port.internalLocal || port.externalLocal
  const cluster = port.usesCluster ? port.cluster : []
  const text = ({ address, port: number }: RuleEndpoint): string => joinPort(address, number)
  const seen = new Map(cluster.map((one) => [text(one), one]))
  if (usesLocal) for (const one of port.local) seen.set(text(one), one)
  return [...seen.keys()].sort().map((key) => seen.get(key)!)
}

export function joinPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

export function isExternallyAccessible(port: PortRules): boolean {
  return port.nodePort > 0 || port.externalIPs.length > 0 || port.loadBalancerIPs.length > 0
}
