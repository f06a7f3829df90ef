/**
 * KubeProxyConfiguration with its defaults, as the rest of dpemu asks for it.
 *
 * Source: pkg/proxy/apis/config/v1alpha1/defaults.go, cmd/kube-proxy/app/server_linux.go, pkg/proxy/conntrack/sysctls.go,
 * pkg/proxy/util/nodeport_addresses.go. kubeadm writes clusterCIDR, so a cluster without any KubeProxyConfiguration
 * gets the detector that kubeadm's would; one with a configuration gets exactly what it says.
 */
import type { Warning } from '../errors.ts'
import type { Cluster, ClusterNode } from '../k8s/cluster.ts'
import { type Cidr, cidrContains, ipFamily, parseCidr } from '../k8s/ip.ts'
import type { KubeProxyConfiguration } from '../k8s/types.ts'
import { dropsLocalFromInside, emulatedMinor, prefersSameTopology } from '../kubernetes-version.ts'

export type ProxyMode = 'nftables' | 'iptables' | 'ipvs'
export type Detector = 'none' | 'ClusterCIDR' | 'NodeCIDR' | 'LocalPods'
export type IpvsScheduler = 'rr' | 'lc' | 'sh' | 'dh'

export interface ProxySettings {
  readonly mode: ProxyMode
  readonly detector: Detector
  /** First cluster CIDR of each family, for detector ClusterCIDR. */
  readonly detectorCidrs: readonly string[]
  readonly masqueradeAll: boolean
  readonly localhostNodePorts: boolean
  /** As written: CIDRs and the words `primary`, `localhost`, `all`; null for the mode's default. */
  readonly nodePortAddresses: readonly string[] | null
  readonly scheduler: IpvsScheduler
  readonly sameNodeTopology: boolean
  /** kube-proxy goes by a name that no node has: no endpoint is local anywhere, and no node is in a zone. */
  readonly isMisnamed: boolean
  /** nftables of older releases: Local without an endpoint on the node drops what node and pods of the cluster send as well. */
  readonly localDropsAll: boolean
  readonly conntrackMaxPerCore: number
  readonly conntrackMin: number
  /** Seconds; 0 leaves the kernel's. */
  readonly tcpEstablishedSeconds: number
  readonly tcpCloseWaitSeconds: number
  readonly udpSeconds: number
  readonly udpStreamSeconds: number
  /** Of ipvs's own table of connections; a connection is forgotten by conntrack too when ipvs forgets it, not the other way round. */
  readonly ipvsTcpSeconds: number
  readonly ipvsFinSeconds: number
  readonly ipvsUdpSeconds: number
}

/** nf_conntrack_max of a kernel that nobody configured: its buckets on a machine with 4 GiB and more. */
export const KERNEL_CONNTRACK_MAX = 262_144
/** Current kube-proxy does not scale past this, however many cores. */
const CONNTRACK_MAX_SCALED = 1_048_576

/** tcp_timeouts of linux net/netfilter/ipvs/ip_vs_proto_tcp.c, which kube-proxy's ipvs.tcpTimeout and tcpFinTimeout replace. */
const IPVS_TCP_SECONDS = 900
const IPVS_FIN_SECONDS = 120
/** The same table's CLOSE_WAIT, which nothing replaces. */
export const IPVS_CLOSE_WAIT_SECONDS = 60
/** ip_vs_proto_udp.c: 5 minutes. */
const IPVS_UDP_SECONDS = 300

const MODES: readonly string[] = ['nftables', 'iptables', 'ipvs']

/**
 * Equal weights make some schedulers the same: wrr is rr, wlc, sed and nq choose as lc does; the hashing ones are kept apart.
 */
const SCHEDULERS: Readonly<Record<string, IpvsScheduler>> = {
  '': 'rr',
  rr: 'rr',
  wrr: 'rr',
  lc: 'lc',
  wlc: 'lc',
  sed: 'lc',
  nq: 'lc',
  sh: 'sh',
  mh: 'sh',
  dh: 'dh',
}

/** @param mode overrides the configuration's; null leaves it, and nftables where it says nothing */
export function proxySettings(cluster: Cluster, mode: ProxyMode | null, warnings: Warning[]): ProxySettings {
  const config = cluster.kubeProxy
  const written = config?.mode ?? ''
  if (written !== '' && !MODES.includes(written)) {
    warnings.push(notModelled('mode', `kube-proxy mode "${written}" is not modelled; nftables is used`))
  }
  // A configuration without a mode is iptables on Linux; where there is no configuration at all, the newer default is shown.
  const otherwise: ProxyMode = config === null || written !== '' ? 'nftables' : 'iptables'
  const chosen = mode ?? (MODES.includes(written) ? (written as ProxyMode) : otherwise)
  const scheduler = config?.ipvs?.scheduler ?? ''
  if (chosen === 'ipvs' && SCHEDULERS[scheduler] === undefined) {
    warnings.push(notModelled('ipvs.scheduler', `ipvs scheduler "${scheduler}" is not modelled; rr is used`))
  }
  if (chosen === 'ipvs' && (scheduler === 'mh' || scheduler === 'sed' || scheduler === 'nq')) {
    warnings.push(
      notModelled('ipvs.scheduler', `ipvs scheduler "${scheduler}" is modelled as ${SCHEDULERS[scheduler]}`),
    )
  }
  warnings.push(...notModelledIn(config))
  warnOfKeywords(config, chosen, warnings)
  const { detector, detectorCidrs } = detectorOf(cluster, warnings)
  const isMisnamed = goesByNoNode(cluster)
  if (isMisnamed) {
    warnings.push({
      code: 'W_NODE_NAME',
      where: 'KubeProxyConfiguration hostnameOverride',
      message: `"${config?.hostnameOverride}" is no node's name: kube-proxy takes no endpoint for one of its own node, so that traffic policy Local finds none anywhere and health check ports say 503`,
    })
  }
  // ipvs has no masqueradeAll of its own in v1alpha1: kube-proxy gives it the one of iptables (--masquerade-all).
  const shared = config?.iptables?.masqueradeAll
  const masqueradeAll =
    chosen === 'nftables'
      ? config?.nftables?.masqueradeAll
      : chosen === 'ipvs'
        ? (config?.ipvs?.masqueradeAll ?? shared)
        : shared
  return {
    mode: chosen,
    detector,
    detectorCidrs,
    masqueradeAll: masqueradeAll ?? false,
    localhostNodePorts: config?.iptables?.localhostNodePorts ?? true,
    nodePortAddresses: config?.nodePortAddresses?.length ? config.nodePortAddresses : null,
    scheduler: SCHEDULERS[scheduler] ?? 'rr',
    isMisnamed,
    localDropsAll: chosen === 'nftables' && dropsLocalFromInside(emulatedMinor(cluster.kubernetesMinor)),
    sameNodeTopology:
      config?.featureGates?.['PreferSameTrafficDistribution'] ??
      prefersSameTopology(emulatedMinor(cluster.kubernetesMinor)),
    conntrackMaxPerCore: config?.conntrack?.maxPerCore ?? 32_768,
    conntrackMin: config?.conntrack?.min ?? 131_072,
    tcpEstablishedSeconds: seconds(config?.conntrack?.tcpEstablishedTimeout, 86_400, warnings),
    tcpCloseWaitSeconds: seconds(config?.conntrack?.tcpCloseWaitTimeout, 3_600, warnings),
    udpSeconds: seconds(config?.conntrack?.udpTimeout, 0, warnings),
    udpStreamSeconds: seconds(config?.conntrack?.udpStreamTimeout, 0, warnings),
    ipvsTcpSeconds: seconds(config?.ipvs?.tcpTimeout, 0, warnings) || IPVS_TCP_SECONDS,
    ipvsFinSeconds: seconds(config?.ipvs?.tcpFinTimeout, 0, warnings) || IPVS_FIN_SECONDS,
    ipvsUdpSeconds: seconds(config?.ipvs?.udpTimeout, 0, warnings) || IPVS_UDP_SECONDS,
  }
}

/** One file for all nodes, with a name that none of them has; a node's own file names that node. Nodes that were made up have other names anyway. */
function goesByNoNode({ kubeProxy, nodes, nodesMadeUp }: Cluster): boolean {
  const name = (kubeProxy?.hostnameOverride ?? '').trim().toLowerCase()
  return name !== '' && nodesMadeUp !== true && nodes.every((node) => node.name !== name)
}

/** Gates whose older behaviour, without them, is not modelled. */
const GATES_ON: readonly string[] = [
  ...['EndpointSliceProxying', 'ServiceInternalTrafficPolicy', 'InternalTrafficPolicy', 'ProxyTerminatingEndpoints'],
  ...['TopologyAwareHints', 'ServiceTrafficDistribution', 'LoadBalancerIPMode'],
]

/** What a configuration asks for and no rule here knows. */
function notModelledIn(config: KubeProxyConfiguration | null): Warning[] {
  const off = GATES_ON.filter((gate) => config?.featureGates?.[gate] === false)
  const gates = off.map((gate) => notModelled('featureGates', `${gate}: false is not modelled; it is on here`))
  if (config?.conntrack?.tcpBeLiberal !== true) return gates
  const message = 'tcpBeLiberal: packets that conntrack finds invalid are dropped here all the same'
  return [...gates, notModelled('conntrack.tcpBeLiberal', message)]
}

function detectorOf(
  cluster: Cluster,
  warnings: Warning[],
): { readonly detector: Detector; readonly detectorCidrs: readonly string[] } {
  const config = cluster.kubeProxy
  const mode = config?.detectLocalMode ?? ''
  if (mode === 'NodeCIDR') return { detector: 'NodeCIDR', detectorCidrs: [] }
  if (mode === 'BridgeInterface' || mode === 'InterfaceNamePrefix') return { detector: 'LocalPods', detectorCidrs: [] }
  if (mode !== '' && mode !== 'ClusterCIDR') {
    warnings.push(notModelled('detectLocalMode', `detectLocalMode "${mode}" is unknown; no local traffic is detected`))
    return { detector: 'none', detectorCidrs: [] }
  }
  // Pods outside the nodes' podCIDRs have the network plugin's own addresses; kube-proxy gets no clusterCIDR there.
  if (config === null && hasStrangers(cluster)) return { detector: 'none', detectorCidrs: [] }
  const cidrs =
    config === null ? cluster.clusterCidrs : (config.clusterCIDR ?? '').split(',').filter((c) => c.trim() !== '')
  if (cidrs.length === 0) return { detector: 'none', detectorCidrs: [] }
  const first = (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const cidr = cidrs.map((text) => parseCidr(text.trim())).find((parsed) => parsed?.family === family)
    return cidr ? [cidr.text] : []
  })
  return { detector: 'ClusterCIDR', detectorCidrs: first }
}

/** Whether some pod's address is in none of the cluster's pod blocks: VPC plugins and plugins with an IPAM of their own. */
function hasStrangers({ pods, clusterCidrs }: Cluster): boolean {
  const blocks = clusterCidrs.flatMap((text) => parseCidr(text) ?? [])
  return pods.some(
    ({ hostNetwork, addresses }) =>
      !hostNetwork && addresses.some((ip) => !blocks.some((block) => cidrContains(block, ip))),
  )
}

/** nf_conntrack_max as kube-proxy sets it on a node. */
export function conntrackMax(settings: ProxySettings, node: ClusterNode): number {
  if (settings.conntrackMaxPerCore <= 0) return KERNEL_CONNTRACK_MAX
  const scaled = Math.min(settings.conntrackMaxPerCore * Math.ceil(node.cpus), CONNTRACK_MAX_SCALED)
  return Math.max(scaled, settings.conntrackMin)
}

/** Lists with words are of Kubernetes 1.37; what nftables then serves on loopback goes through a proxy process. */
function warnOfKeywords(config: KubeProxyConfiguration | null, mode: ProxyMode, warnings: Warning[]): void {
  const written = config?.nodePortAddresses ?? []
  const served = mode === 'nftables' && config?.featureGates?.['KubeProxyNFTablesLocalhostNodePorts'] === true
  if (served && written.some(namesLoopback)) {
    const message =
      'node ports on loopback addresses in nftables mode (KubeProxyNFTablesLocalhostNodePorts) are not modelled: a process of kube-proxy forwards them, and here they are refused'
    warnings.push(notModelled('nodePortAddresses', message))
  }
  const words = written.filter((one) => parseCidr(one.trim()) === null)
  if (words.length === 0 || (written.length === 1 && words[0] === 'primary')) return
  warnings.push(notModelled('nodePortAddresses', `${words.join(', ')} in a list: kube-proxy before 1.37 refuses that`))
}

/** An item of nodePortAddresses that takes loopback addresses in by its name or by a range of theirs; all-zero ranges are no such thing. */
function namesLoopback(item: string): boolean {
  if (item === 'all' || item === 'localhost') return true
  const cidr = parseCidr(item.trim())
  return cidr !== null && cidr.prefix > 0 && (/^127\./.test(cidr.text) || /^::1\b/.test(cidr.text))
}

/** Which of a node's addresses answer node ports. */
export function nodePortAddressesOf(settings: ProxySettings, addresses: readonly string[]): string[] {
  const written = settings.nodePortAddresses
  const primaries = (['IPv4', 'IPv6'] as const).flatMap((family) => {
    const primary = addresses.find((address) => ipFamily(address) === family)
    return primary === undefined ? [] : [primary]
  })
  if (written === null) return settings.mode === 'nftables' ? primaries : [...addresses]
  const cidrs = written.flatMap((text) => parseCidr(text.trim()) ?? [])
  return addresses.filter((address) => {
    if (written.includes('all') || (written.includes('primary') && primaries.includes(address))) return true
    return isAmong(written, cidrs, address)
  })
}

/** CIDRs of the other family only, or an all-zero one, are no limit; words are. */
function isAmong(written: readonly string[], cidrs: readonly Cidr[], address: string): boolean {
  const own = cidrs.filter((cidr) => cidr.family === ipFamily(address))
  if (own.length === 0) return cidrs.length === written.length
  return own.some((cidr) => cidr.prefix === 0 || cidrContains(cidr, address))
}

/** Whether 127.0.0.0/8 answers node ports: iptables only, IPv4 only. */
export function servesLocalhost(settings: ProxySettings): boolean {
  if (settings.mode !== 'iptables' || !settings.localhostNodePorts) return false
  const written = settings.nodePortAddresses
  if (written === null || written.includes('localhost') || written.includes('all')) return true
  const cidrs = written.flatMap((text) => parseCidr(text.trim()) ?? [])
  return isAmong(written, cidrs, '127.0.0.1')
}

/** Seconds of a Go duration such as `24h0m0s`; metav1.Duration in the configuration. */
export function parseGoDuration(text: string): number | null {
  const UNITS: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 1e-3, us: 1e-6, µs: 1e-6, ns: 1e-9 }
  if (text === '0') return 0
  if (!/^[+-]?(\d+(\.\d*)?(h|ms|us|µs|ns|m|s))+$/.test(text)) return null
  let total = 0
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d*)?)(h|ms|us|µs|ns|m|s)/g)) {
    total += Number(number) * UNITS[unit!]!
  }
  return text.startsWith('-') ? -total : total
}

function seconds(text: string | undefined | null, fallback: number, warnings: Warning[]): number {
  if (text === undefined || text === null || text === '') return fallback
  const parsed = parseGoDuration(text)
  if (parsed !== null && parsed >= 0) return parsed
  warnings.push({
    code: 'W_DURATION',
    where: 'KubeProxyConfiguration conntrack',
    message: `"${text}" is not a duration such as 1h0m0s; ${fallback} s is used`,
  })
  return fallback
}

function notModelled(field: string, message: string): Warning {
  return { code: 'W_NOT_MODELLED', where: `KubeProxyConfiguration ${field}`, message }
}
