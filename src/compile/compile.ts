/**
 * Cluster → RuleSet: the manifests become the typed arrays that the core decides by.
 *
 * Pure but for the registry, which hands out numbers. The order of rules is kube-proxy's: service ports sorted by name,
 * endpoints by the string of ip:port. Cost: linear in Service ports and endpoints.
 */
import {
  DETECTOR_CLUSTER_CIDR,
  DETECTOR_LOCAL_PODS,
  DETECTOR_NODE_CIDR,
  DETECTOR_NONE,
  HOST_PORTS_BRIDGE,
  HOST_PORTS_ROUTED,
  MODE_IPTABLES,
  MODE_IPVS,
  MODE_NFTABLES,
  packRules,
  type RuleColumns,
  SCHEDULER_DH,
  SCHEDULER_LC,
  SCHEDULER_RR,
  SCHEDULER_SH,
  SETTING_BALANCER_NANOS,
  SETTING_CLEANS_EMPTY,
  SETTING_CLIENT_NANOS,
  SETTING_COLD_SCAN_PERMILLE,
  SETTING_COST_ESTABLISHED,
  SETTING_COST_FIRST_MASQUERADE,
  SETTING_COST_FIRST_MEAN,
  SETTING_COST_FIRST_P50,
  SETTING_COST_FIRST_P90,
  SETTING_COST_FIRST_P99,
  SETTING_COST_MASQUERADED,
  SETTING_COST_PER_RULE_PICOS,
  SETTING_COUNT,
  SETTING_DETECTOR,
  SETTING_DROP_UNALLOCATED,
  SETTING_EGRESS_MASQUERADE,
  SETTING_FRONTEND_MASK,
  SETTING_GC_INTERVAL_MS,
  SETTING_HOST_PORTS,
  SETTING_IPVS_UDP_MS,
  SETTING_LOCAL_DELIVERY_NANOS,
  SETTING_LOCAL_DROPS_ALL,
  SETTING_MASQUERADE_ALL,
  SETTING_MODE,
  SETTING_NODES,
  SETTING_RANDOM_FULLY,
  SETTING_RULE_COUNT,
  SETTING_SCHEDULER,
  SETTING_SERVICE_EXPONENTIAL,
  SETTING_TCP_LOOSE,
  SETTING_UNACKNOWLEDGED_MS,
  SETTING_ZONES,
} from '../../native-free-core/index.ts'
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { ipFamily, parseCidr } from '../k8s/ip.ts'
import type { TrafficPolicy } from '../k8s/types.ts'
import { cleansEmptyServices, emulatedMinor } from '../kubernetes-version.ts'
import { type PolicyTables, policyTables } from '../policy/compile.ts'
import { addressColumns, gatewayText } from './address-columns.ts'
import { balancedNodes } from './by-node.ts'
import { destinationMeaning, type NameTables, nameColumns } from './dns-columns.ts'
import { FrontendColumns } from './frontend-columns.ts'
import { type ProxyService, proxyServices } from './frontends.ts'
import { cutTimeout, OPEN_END_MS } from './horizon.ts'
import { hostPortServices, pairsByBridge } from './host-ports.ts'
import { type IngressTables, ingressColumns, type NodePortTargets, targetEndpoints } from './ingress.ts'
import { conntrackMax, type ProxyMode, type ProxySettings, proxySettings } from './kube-proxy.ts'
import type { Model } from './model.ts'
import { stationColumns } from './pod-queues.ts'
import { propagationColumn } from './propagation.ts'
import type { Registry } from './registry.ts'
import { ServiceColumns } from './service-columns.ts'
import { timeoutColumn } from './timeouts.ts'
import { endpointsOfPort, slicesByService } from './usable.ts'
import { type ClusterViews, endpointsByNode, takenOver, unionOf, viewedAddresses } from './views.ts'

/** What a trace dials, bound to this cluster's addresses. */
export interface Destination {
  /** Address id. */
  readonly address: number
  readonly port: number
  readonly protocol: number
  /** The trace meant a Service, so "no rule" is a failure and not plain traffic. */
  readonly isService: boolean
  /** What the client resolves first; `address` then only says of which IP family it is. */
  readonly name?: string
}

export interface CompileOptions {
  readonly policy: TrafficPolicy | null
  readonly mode: ProxyMode | null
  readonly model: Model
  readonly destinations: readonly Destination[]
  /** By address id of the trace: the id its client has in this cluster; empty for "the same". */
  readonly clientMap: Int32Array
  /** Milliseconds between sweeps of expired entries. */
  readonly gcIntervalMs: number
  /** The run's last millisecond, for timeouts that the clock cannot hold (horizon.ts); left out where it is not known. */
  readonly endMs?: number
  /** Of a trace that dials names: what they mean in this cluster. */
  readonly names?: NameTables | null
  /** Of a trace with HTTP requests through proxies: how they are routed in this cluster. */
  readonly ingress?: IngressTables | null
  /** Of a moment of a timeline: who knows what. */
  readonly views?: ClusterViews | null
  /** The rule set that this one follows: what is equal is left out of `rules`. */
  readonly before?: RuleColumns | null
}

export interface Compiled {
  /** The packed rule set: `openRules` gives the columns. */
  readonly rules: Int32Array
  readonly columns: RuleColumns
  readonly settings: ProxySettings
  readonly services: readonly ProxyService[]
  readonly policies: PolicyTables
  readonly warnings: readonly Warning[]
}

const MODES: Readonly<Record<ProxyMode, number>> = {
  nftables: MODE_NFTABLES,
  iptables: MODE_IPTABLES,
  ipvs: MODE_IPVS,
}
const SCHEDULERS = { rr: SCHEDULER_RR, lc: SCHEDULER_LC, sh: SCHEDULER_SH, dh: SCHEDULER_DH } as const
const DETECTORS = {
  none: DETECTOR_NONE,
  ClusterCIDR: DETECTOR_CLUSTER_CIDR,
  NodeCIDR: DETECTOR_NODE_CIDR,
  LocalPods: DETECTOR_LOCAL_PODS,
} as const

const ANY_MACHINE: Destination = { address: 0, port: 0, protocol: 6, isService: false }
const ANY_SERVICE: Destination = { ...ANY_MACHINE, isService: true }

/** Receive queues that one byte of flow hash can be spread over. */
const MAX_CORES = 256

export function compileRules(cluster: Cluster, registry: Registry, options: CompileOptions): Compiled {
  const warnings: Warning[] = []
  const endMs = options.endMs ?? OPEN_END_MS
  const settings = proxySettings(cluster, options.mode, warnings)
  const services = proxyServices(cluster.services, options.policy).sort(byName)
  const slices = slicesByService(cluster.slices)
  const nodeIndex = new Map(cluster.nodes.map((node) => [node.name, registry.node(node.name)]))
  const service = new ServiceColumns(cluster, registry, settings, nodeIndex, endMs)
  const frontend = new FrontendColumns(cluster, registry, nodeIndex, services, options.views ?? null, warnings)
  const nodePorts = new Map<string, NodePortTargets>()
  services.forEach((proxied, position) => {
    const { namespace, name } = proxied.service
    const portName = proxied.port.name === '' ? String(proxied.port.port) : proxied.port.name
    const servicePort = registry.servicePort({ namespace, service: name, port: portName, family: proxied.family })
    const byNode = endpointsByNode(options.views, proxied)
    const own = slices.get(`${namespace}/${name}`) ?? []
    const written = byNode === null ? endpointsOfPort(proxied.port, proxied.family, own) : unionOf(byNode)
    const known = settings.isMisnamed ? written.map((one) => ({ ...one, nodeName: '' })) : written
    service.add(servicePort, position, proxied, { known, byNode })
    frontend.add(servicePort, proxied, { written, known })
    const key = `${namespace}/${name}:${portName}`
    if (options.ingress != null && !nodePorts.has(key)) {
      const passing = balancedNodes(proxied, known, cluster.nodes, nodeIndex)
      const names = passing.map((node) => registry.nodes[node]!)
      nodePorts.set(key, { nodePort: proxied.port.nodePort, family: proxied.family, nodes: names })
    }
  })
  const hostPorts = hostPortServices(cluster, registry, nodeIndex)
  for (const one of hostPorts) {
    // Behind all of kube-proxy's rules.
    service.addHostPort(one, services.length)
    frontend.addHostPort(one)
  }

  // Addresses get their numbers before their columns are made.
  const nodes = nodeColumns(cluster, settings, registry, options.model)
  for (const pod of cluster.pods) for (const address of pod.addresses) registry.address(address)
  const policies = policyTables(cluster, registry)
  const ingress = ingressColumns(options.ingress ?? null, cluster, registry, nodePorts)
  const table = frontend.table()
  const settingWords = settingColumn(cluster, registry, settings, options, {
    rules: services.length,
    frontendMask: table.length / 4 - 1,
    zones: nodes.zones,
  })
  for (const [setting, value] of policies.settings) settingWords[setting] = value
  const bridged = pairsByBridge(cluster) ? HOST_PORTS_BRIDGE : HOST_PORTS_ROUTED
  if (hostPorts.length > 0) settingWords[SETTING_HOST_PORTS] = bridged
  const servicePorts = registry.servicePorts.length
  const frontends = registry.frontends.length
  const endpoints = registry.endpoints
  const addresses = viewedAddresses(options.views, registry, () =>
    addressColumns(cluster, settings, registry, services),
  )
  const names = options.names ?? null
  // Proxies' own connections are to any machine or to any Service: two destinations more, whose addresses nobody reads.
  const { ingress: routed = null } = options
  const destinations = routed === null ? options.destinations : [...options.destinations, ANY_MACHINE, ANY_SERVICE]
  const podQueues = stationColumns(cluster, registry, options.model, options.ingress?.proxies ?? [])
  for (const id of names?.knownEndpoints ?? []) service.endpointNode.set(id, addresses.node[endpoints[id]!.address]!)
  for (const id of names?.endpoints ?? []) service.endpointAlive.set(id, 1)
  for (const id of targetEndpoints(ingress)) {
    service.endpointNode.set(id, addresses.node[endpoints[id]!.address]!)
    service.endpointAlive.set(id, 1)
  }
  const columns = takenOver(options.before ?? null, {
    settings: settingWords,
    addressWords: registry.addressWords(),
    addressFlags: addresses.flags,
    addressNode: addresses.node,
    addressDetectNode: addresses.detectNode,
    nodeLocalEgress: nodes.localEgress,
    nodeRemoteEgress: nodes.primary,
    nodePrimary: nodes.primary,
    nodeZone: nodes.zone,
    nodeCores: nodes.cores,
    nodeConntrackMax: nodes.conntrackMax,
    frontendTable: table,
    frontendServicePort: frontend.servicePort.toArray(frontends),
    frontendKind: frontend.kind.toArray(frontends),
    frontendRangeStart: frontend.rangeStart.toArray(frontends),
    frontendRangeCount: frontend.rangeCount.toArray(frontends),
    frontendNodeStart: frontend.nodeStart.toArray(frontends),
    frontendNodeCount: frontend.nodeCount.toArray(frontends),
    frontendNodePort: frontend.nodePort.toArray(frontends),
    ranges: Int32Array.from(frontend.ranges),
    balancerNodes: Int32Array.from(frontend.balancerNodes),
    serviceFlags: service.flags.toArray(servicePorts),
    serviceAffinityMs: service.affinityMs.toArray(servicePorts),
    servicePosition: service.position.toArray(servicePorts),
    clusterSet: service.clusterSet.toArray(servicePorts),
    clusterOverrideStart: service.clusterStart.toArray(servicePorts),
    clusterOverrideCount: service.clusterCount.toArray(servicePorts),
    servingSet: service.servingSet.toArray(servicePorts),
    localOverrideStart: service.localStart.toArray(servicePorts),
    localOverrideCount: service.localCount.toArray(servicePorts),
    overrides: Int32Array.from(service.overrides),
    setStart: Int32Array.from(service.sets.start),
    setCount: Int32Array.from(service.sets.count),
    members: Int32Array.from(service.sets.members),
    endpointAddress: Int32Array.from(endpoints, (one) => one.address),
    endpointPort: Int32Array.from(endpoints, (one) => one.port),
    endpointNode: service.endpointNode.toArray(endpoints.length),
    endpointServicePort: Int32Array.from(endpoints, (one) => one.servicePort),
    endpointAlive: service.endpointAlive.toArray(endpoints.length),
    destinationAddress: Int32Array.from(destinations, (one) => one.address),
    destinationPort: Int32Array.from(destinations, (one) => one.port),
    destinationProtocol: Int32Array.from(destinations, (one) => one.protocol),
    destinationIsService: Int32Array.from(destinations, destinationMeaning),
    ...nameColumns(names, destinations.length, registry.addressCount, endMs),
    ...podQueues,
    ...ingress,
    ...policies.columns,
    clientMap: options.clientMap,
    timeouts: timeoutColumn(settings, options.model, endMs),
    propagation: propagationColumn(nodes.zones, options.model),
  })
  return { rules: packRules(columns, options.before ?? null), columns, settings, services, policies, warnings }
}

/** kube-proxy sorts by namespace/name:port; IPv4 and IPv6 have rules of their own. */
function byName(a: ProxyService, b: ProxyService): number {
  const key = (one: ProxyService): string =>
    `${one.service.namespace}/${one.service.name}:${one.port.name} ${one.family}`
  return key(a) < key(b) ? -1 : 1
}

interface NodeColumns {
  readonly localEgress: Int32Array
  readonly primary: Int32Array
  readonly zone: Int32Array
  readonly cores: Int32Array
  readonly conntrackMax: Int32Array
  readonly zones: number
}

function nodeColumns(cluster: Cluster, settings: ProxySettings, registry: Registry, model: Model): NodeColumns {
  // A node that was deleted keeps its index and has nothing else.
  const count = registry.nodes.length
  const localEgress = new Int32Array(count * 2)
  const primary = new Int32Array(count * 2).fill(-1)
  const zoneNames = [...new Set(cluster.nodes.map((node) => node.zone).filter((zone) => zone !== ''))].sort()
  const zone = new Int32Array(count).fill(-1)
  const maxima = new Int32Array(count)
  const cores = new Int32Array(count).fill(1)
  for (const node of cluster.nodes) {
    const i = registry.node(node.name)
    zone[i] = zoneNames.indexOf(node.zone)
    cores[i] = Math.min(MAX_CORES, Math.max(1, Math.floor(node.cpus)))
    maxima[i] = model.conntrackMax > 0 ? model.conntrackMax : conntrackMax(settings, node)
    for (const address of node.addresses) registry.address(address)
    const any = node.addresses.length > 0 ? registry.address(node.addresses[0]!) : -1
    for (const [f, family] of (['IPv4', 'IPv6'] as const).entries()) {
      const own = node.addresses.find((address) => ipFamily(address) === family)
      primary[i * 2 + f] = own === undefined ? any : registry.address(own)
      const cidr = node.podCidrs.map((text) => parseCidr(text)).find((parsed) => parsed?.family === family)
      localEgress[i * 2 + f] = cidr ? registry.address(gatewayText(cidr)) : primary[i * 2 + f]!
    }
  }
  return { localEgress, primary, zone, cores, conntrackMax: maxima, zones: zoneNames.length }
}

function settingColumn(
  cluster: Cluster,
  registry: Registry,
  settings: ProxySettings,
  options: CompileOptions,
  sizes: { readonly rules: number; readonly frontendMask: number; readonly zones: number },
): Int32Array {
  const { model } = options
  const words = new Int32Array(SETTING_COUNT)
  words[SETTING_NODES] = registry.nodes.length
  words[SETTING_MODE] = MODES[settings.mode]
  words[SETTING_SCHEDULER] = SCHEDULERS[settings.scheduler]
  words[SETTING_DETECTOR] = DETECTORS[settings.detector]
  words[SETTING_MASQUERADE_ALL] = settings.masqueradeAll ? 1 : 0
  words[SETTING_FRONTEND_MASK] = sizes.frontendMask
  words[SETTING_DROP_UNALLOCATED] = cluster.serviceCidrsWritten ? 1 : 0
  words[SETTING_EGRESS_MASQUERADE] = model.egressMasquerade
  words[SETTING_TCP_LOOSE] = model.tcpLoose
  words[SETTING_RANDOM_FULLY] = model.snatRandomFully
  words[SETTING_UNACKNOWLEDGED_MS] = cutTimeout(model.tcpUnacknowledgedSeconds * 1000, options.endMs ?? OPEN_END_MS)
  words[SETTING_GC_INTERVAL_MS] = options.gcIntervalMs
  words[SETTING_ZONES] = sizes.zones
  words[SETTING_COST_ESTABLISHED] = model.establishedNanos
  words[SETTING_COST_MASQUERADED] = model.masqueradeNanos
  words[SETTING_COST_FIRST_P50] = model.firstPacketP50Nanos
  words[SETTING_COST_FIRST_P90] = model.firstPacketP90Nanos
  words[SETTING_COST_FIRST_P99] = model.firstPacketP99Nanos
  words[SETTING_COST_FIRST_MEAN] = Math.round(meanColdNanos(model))
  words[SETTING_COLD_SCAN_PERMILLE] = Math.round(model.coldScanShare * 1000)
  words[SETTING_COST_FIRST_MASQUERADE] = model.firstMasqueradeNanos
  words[SETTING_COST_PER_RULE_PICOS] = settings.mode === 'iptables' ? Math.round(model.iptablesNanosPerRule * 1000) : 0
  words[SETTING_CLIENT_NANOS] = model.externalNanos
  words[SETTING_BALANCER_NANOS] = model.loadBalancerNanos
  words[SETTING_LOCAL_DELIVERY_NANOS] = model.podDeliveryNanos
  words[SETTING_RULE_COUNT] = sizes.rules
  words[SETTING_SERVICE_EXPONENTIAL] = model.podRequestExponential
  const ipvsUdpSeconds = settings.mode === 'ipvs' ? settings.ipvsUdpSeconds : 0
  words[SETTING_IPVS_UDP_MS] = cutTimeout(ipvsUdpSeconds * 1000, options.endMs ?? OPEN_END_MS)
  words[SETTING_LOCAL_DROPS_ALL] = settings.localDropsAll ? 1 : 0
  words[SETTING_CLEANS_EMPTY] = cleansEmptyServices(emulatedMinor(cluster.kubernetesMinor)) ? 1 : 0
  return words
}

/** Mean of the first packet's cold cost: straight lines between its quantiles, the last carried on (cost-model.ts). */
function meanColdNanos({
  firstPacketP50Nanos: p50,
  firstPacketP90Nanos: p90,
  firstPacketP99Nanos: p99,
}: Model): number {
  const last = p90 + ((p99 - p90) / 0.09) * 0.1
  return (0.5 * p50) / 2 + (0.4 * (p50 + p90)) / 2 + (0.1 * (p90 + last)) / 2
}
