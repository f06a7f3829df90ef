/**
 * kube-proxy's tables in iptables mode, as `iptables-restore` (IPv6: `ip6tables-restore`) reads them, with the jumps into them.
 *
 * Source: pkg/proxy/iptables/proxier.go of Kubernetes 1.31 to 1.35. Chains for a Service: `KUBE-SVC-` (policy Cluster), `KUBE-SVL-` (policy
 * Local), `KUBE-EXT-` (node ports, external and load-balancer addresses), `KUBE-FW-` (source ranges), `KUBE-SEP-` (an endpoint).
 */
import { iptablesEndpointChain, iptablesPortChain, portText } from './names.ts'
import {
  isExternallyAccessible,
  joinPort,
  type NodeRules,
  type PortRules,
  type RuleEndpoint,
  reachable,
} from './node-rules.ts'

const MARK = '0x4000'

interface Tables {
  readonly filterServices: string[]
  readonly filterExternal: string[]
  readonly filterNodePorts: string[]
  readonly firewall: string[]
  readonly services: string[]
  readonly nodePorts: string[]
  readonly chains: string[]
  readonly rules: string[]
}

export function iptablesRules(rules: NodeRules): string {
  const tables: Tables = {
    filterServices: [],
    filterExternal: [],
    filterNodePorts: [],
    firewall: [],
    services: [],
    nodePorts: [],
    chains: [],
    rules: [],
  }
  for (const port of rules.ports) writePort(rules, port, tables)
  const isNew = '-m conntrack --ctstate NEW '
  const localnet = rules.localhostNodePorts
  const lines = [
    '*filter',
    ...['INPUT', 'FORWARD', 'OUTPUT'].map((name) => `:${name} ACCEPT [0:0]`),
    ...['KUBE-EXTERNAL-SERVICES', 'KUBE-FIREWALL', 'KUBE-FORWARD', 'KUBE-NODEPORTS', 'KUBE-PROXY-FIREWALL'].map(
      declared,
    ),
    declared('KUBE-SERVICES'),
    `-A INPUT ${isNew}${comment('kubernetes load balancer firewall')}-j KUBE-PROXY-FIREWALL`,
    `-A INPUT ${comment('kubernetes health check service ports')}-j KUBE-NODEPORTS`,
    `-A INPUT ${isNew}${comment('kubernetes externally-visible service portals')}-j KUBE-EXTERNAL-SERVICES`,
    '-A INPUT -j KUBE-FIREWALL',
    `-A FORWARD ${isNew}${comment('kubernetes load balancer firewall')}-j KUBE-PROXY-FIREWALL`,
    `-A FORWARD ${comment('kubernetes forwarding rules')}-j KUBE-FORWARD`,
    `-A FORWARD ${isNew}${comment('kubernetes service portals')}-j KUBE-SERVICES`,
    `-A FORWARD ${isNew}${comment('kubernetes externally-visible service portals')}-j KUBE-EXTERNAL-SERVICES`,
    `-A OUTPUT ${isNew}${comment('kubernetes load balancer firewall')}-j KUBE-PROXY-FIREWALL`,
    `-A OUTPUT ${isNew}${comment('kubernetes service portals')}-j KUBE-SERVICES`,
    '-A OUTPUT -j KUBE-FIREWALL',
    ...(localnet
      ? [
          `-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 ${comment('block incoming localnet connections')}-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`,
        ]
      : []),
    ...(rules.dropInvalid ? ['-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP'] : []),
    `-A KUBE-FORWARD ${comment('kubernetes forwarding rules')}-m mark --mark ${MARK}/${MARK} -j ACCEPT`,
    `-A KUBE-FORWARD ${comment('kubernetes forwarding conntrack rule')}-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    ...tables.filterNodePorts,
    ...tables.firewall,
    ...tables.filterServices,
    ...tables.filterExternal,
    'COMMIT',
    '*nat',
    ...['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'].map((name) => `:${name} ACCEPT [0:0]`),
    ...['KUBE-MARK-MASQ', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', 'KUBE-SERVICES'].map(declared),
    ...tables.chains.map(declared),
    `-A PREROUTING ${comment('kubernetes service portals')}-j KUBE-SERVICES`,
    `-A OUTPUT ${comment('kubernetes service portals')}-j KUBE-SERVICES`,
    `-A POSTROUTING ${comment('kubernetes postrouting rules')}-j KUBE-POSTROUTING`,
    `-A KUBE-MARK-MASQ -j MARK --or-mark ${MARK}`,
    `-A KUBE-POSTROUTING -m mark ! --mark ${MARK}/${MARK} -j RETURN`,
    `-A KUBE-POSTROUTING -j MARK --xor-mark ${MARK}`,
    `-A KUBE-POSTROUTING ${comment('kubernetes service traffic requiring SNAT')}-j MASQUERADE --random-fully`,
    ...tables.nodePorts,
    ...tables.services,
    ...nodePortJumps(rules),
    ...tables.rules,
    'COMMIT',
  ]
  return `${lines.join('\n')}\n`
}

/** Node ports come last: whatever else is local has its own rule before. */
function nodePortJumps(rules: NodeRules): string[] {
  const note = comment('kubernetes service nodeports; NOTE: this must be the last rule in this chain')
  const to = `${note}-j KUBE-NODEPORTS`
  if (!rules.nodePortsAnywhere) return rules.nodePortIPs.map((address) => `-A KUBE-SERVICES -d ${address} ${to}`)
  const not = rules.family === 'IPv6' ? '! -d ::1/128 ' : rules.localhostNodePorts ? '' : '! -d 127.0.0.0/8 '
  return [`-A KUBE-SERVICES ${not}-m addrtype --dst-type LOCAL ${to}`]
}

/** A Service port and what its rules say in common. */
interface PortChains {
  readonly port: PortRules
  /** namespace/name:port, as comments have it. */
  readonly text: string
  readonly cluster: string
  readonly local: string
  readonly external: string
  readonly firewall: string
  /** The chain of in-cluster traffic, by internalTrafficPolicy. */
  readonly internal: string
  /** Whether the policy leaves an endpoint on this node. */
  readonly hasInternal: boolean
  readonly hasExternal: boolean
  /** loadBalancerSourceRanges are looked at. */
  readonly usesFirewall: boolean
}

function writePort(rules: NodeRules, port: PortRules, tables: Tables): void {
  const { name, externalLocal, internalLocal, hasAny } = port
  const cluster = iptablesPortChain('KUBE-SVC-', name)
  const local = iptablesPortChain('KUBE-SVL-', name)
  const chains: PortChains = {
    port,
    text: portText(name),
    cluster,
    local,
    external: iptablesPortChain('KUBE-EXT-', name),
    firewall: iptablesPortChain('KUBE-FW-', name),
    internal: internalLocal ? local : cluster,
    hasInternal: hasAny && (internalLocal ? port.local : port.cluster).length > 0,
    hasExternal: hasAny && (externalLocal ? port.local : port.cluster).length > 0,
    usesFirewall: hasAny && port.loadBalancerIPs.length > 0 && port.sourceRanges.length > 0,
  }
  writeFrontends(rules, chains, tables)
  if (chains.usesFirewall) writeFirewall(chains, tables)
  if (port.healthCheckNodePort > 0) {
    tables.filterNodePorts.push(
      `-A KUBE-NODEPORTS ${comment(`${chains.text} health check node port`)}-p tcp -m tcp --dport ${port.healthCheckNodePort} -j ACCEPT`,
    )
  }
  writePolicyChains(rules, chains, tables)
  if (hasAny && isExternallyAccessible(port)) {
    tables.chains.push(chains.external)
    tables.rules.push(...externalLines(rules, chains))
  }
  writeEndpoints(chains, tables)
}

/** Matches the port of one address. */
function portMatch({ name, port }: PortRules, address: string): string {
  return `-d ${address} -p ${name.protocol} -m ${name.protocol} --dport ${port}`
}

/** Where each frontend leads, and what refuses it where the policy leaves no endpoint. */
function writeFrontends(rules: NodeRules, chains: PortChains, tables: Tables): void {
  const { port, text, external, firewall, internal, hasInternal, hasExternal } = chains
  const { hasAny } = port
  const { protocol } = port.name
  const reject = `REJECT --reject-with ${rules.family === 'IPv4' ? 'icmp-port-unreachable' : 'icmp6-port-unreachable'}`
  const why = comment(hasAny ? `${text} has no local endpoints` : `${text} has no endpoints`)
  const refuse = (match: string): string => `${why}${match} -j ${hasAny ? 'DROP' : reject}`

  for (const address of port.clusterIPs) {
    const match = portMatch(port, address)
    if (hasInternal) tables.services.push(`-A KUBE-SERVICES ${comment(`${text} cluster IP`)}${match} -j ${internal}`)
    else tables.filterServices.push(`-A KUBE-SERVICES ${refuse(match)}`)
  }
  for (const [list, what, target] of [
    [port.externalIPs, 'external IP', external],
    [port.loadBalancerIPs, 'loadbalancer IP', chains.usesFirewall ? firewall : external],
  ] as const) {
    for (const address of list) {
      const match = portMatch(port, address)
      if (hasAny) tables.services.push(`-A KUBE-SERVICES ${comment(`${text} ${what}`)}${match} -j ${target}`)
      if (!hasExternal) tables.filterExternal.push(`-A KUBE-EXTERNAL-SERVICES ${refuse(match)}`)
    }
  }
  if (port.nodePort > 0) {
    const match = `-p ${protocol} -m ${protocol} --dport ${port.nodePort}`
    if (hasAny) tables.nodePorts.push(`-A KUBE-NODEPORTS ${comment(text)}${match} -j ${external}`)
    if (!hasExternal) {
      tables.filterExternal.push(`-A KUBE-EXTERNAL-SERVICES ${refuse(`-m addrtype --dst-type LOCAL ${match}`)}`)
    }
  }
}

/** loadBalancerSourceRanges. */
function writeFirewall({ port, text, firewall, external }: PortChains, tables: Tables): void {
  tables.chains.push(firewall)
  const sources = [...port.sourceRanges, ...(port.nodeInRanges ? port.loadBalancerIPs : [])]
  for (const source of sources) {
    tables.rules.push(`-A ${firewall} -s ${source} ${comment(`${text} loadbalancer IP`)}-j ${external}`)
  }
  const note = `other traffic to ${text} will be dropped by KUBE-PROXY-FIREWALL`
  tables.rules.push(`-A ${firewall} ${comment(note)}`.trimEnd())
  for (const address of port.loadBalancerIPs) {
    const traffic = `${text} traffic not accepted by ${firewall}`
    tables.firewall.push(`-A KUBE-PROXY-FIREWALL ${comment(traffic)}${portMatch(port, address)} -j DROP`)
  }
}

/** The chains that choose an endpoint: `KUBE-SVC-` among all, `KUBE-SVL-` among the node's own. */
function writePolicyChains(rules: NodeRules, chains: PortChains, tables: Tables): void {
  const { port, internal, hasInternal } = chains
  const write = (chain: string, list: readonly RuleEndpoint[]): void => {
    tables.chains.push(chain)
    if (hasInternal && chain === internal) tables.rules.push(...clusterIPMarks(rules, chains))
    tables.rules.push(...balance(port, chain, list))
  }
  if (port.usesCluster && port.cluster.length > 0) write(chains.cluster, port.cluster)
  if ((port.internalLocal || port.externalLocal) && port.local.length > 0) write(chains.local, port.local)
}

/** Whose traffic to a cluster IP is masqueraded: everybody's, or that of no pod. */
function clusterIPMarks(rules: NodeRules, { port, text, internal }: PortChains): string[] {
  if (!rules.masqueradeAll && rules.settings.detector === 'none') return []
  const match = rules.masqueradeAll ? '' : detectorMatch(rules, false)
  return port.clusterIPs.map(
    (address) => `-A ${internal} ${match}${comment(`${text} cluster IP`)}${portMatch(port, address)} -j KUBE-MARK-MASQ`,
  )
}

/** The chain `KUBE-EXT-`: under policy Local, pods and the node itself take the short circuit to all endpoints. */
function externalLines(rules: NodeRules, { port, text, cluster, local, external, hasExternal }: PortChains): string[] {
  const write = (match: string, why: string, target: string): string =>
    `-A ${external} ${match}${comment(`${why} for ${text} external destinations`)}-j ${target}`
  const last = hasExternal ? [`-A ${external} -j ${port.externalLocal ? local : cluster}`] : []
  if (!port.externalLocal) return [write('', 'masquerade traffic', 'KUBE-MARK-MASQ'), ...last]
  const isLocal = '-m addrtype --src-type LOCAL '
  const hasCluster = port.cluster.length > 0
  return [
    ...(rules.detector !== null && hasCluster ? [write(detectorMatch(rules, true), 'pod traffic', cluster)] : []),
    write(isLocal, 'masquerade LOCAL traffic', 'KUBE-MARK-MASQ'),
    ...(hasCluster ? [write(isLocal, 'route LOCAL traffic', cluster)] : []),
    ...last,
  ]
}

/** A chain for each endpoint: marks a hairpin, remembers the client under ClientIP affinity, translates. */
function writeEndpoints({ port, text }: PortChains, tables: Tables): void {
  const { protocol } = port.name
  for (const one of reachable(port)) {
    const endpoint = joinPort(one.address, one.port)
    const chain = iptablesEndpointChain(port.name, endpoint)
    tables.chains.push(chain)
    tables.rules.push(`-A ${chain} -s ${one.address} ${comment(text)}-j KUBE-MARK-MASQ`)
    const remember = port.affinitySeconds > 0 ? `-m recent --name ${chain} --set ` : ''
    tables.rules.push(
      `-A ${chain} -p ${protocol} ${comment(text)}${remember}-m ${protocol} -j DNAT --to-destination ${endpoint}`,
    )
  }
}

function balance(port: PortRules, chain: string, list: readonly RuleEndpoint[]): string[] {
  const { name } = port
  const lines: string[] = []
  const note = (one: RuleEndpoint): string => comment(`${portText(name)} -> ${joinPort(one.address, one.port)}`)
  const chainOf = (one: RuleEndpoint): string => iptablesEndpointChain(name, joinPort(one.address, one.port))
  if (port.affinitySeconds > 0) {
    for (const one of list) {
      const own = chainOf(one)
      const check = `-m recent --name ${own} --rcheck --seconds ${port.affinitySeconds} --reap `
      lines.push(`-A ${chain} ${note(one)}${check}-j ${own}`)
    }
  }
  list.forEach((one, i) => {
    const left = list.length - i
    const share = left > 1 ? `-m statistic --mode random --probability ${probability(left)} ` : ''
    lines.push(`-A ${chain} ${note(one)}${share}-j ${chainOf(one)}`)
  })
  return lines
}

/** Ten decimals, rounded as kube-proxy prints them. */
function probability(left: number): string {
  return (1 / left).toFixed(10)
}

function detectorMatch({ detector }: NodeRules, isPod: boolean): string {
  const not = isPod ? '' : '! '
  if (detector === null) return ''
  if ('cidr' in detector) return `${not}-s ${detector.cidr} `
  return `${not}-i ${detector.interface}${detector.isPrefix ? '+' : ''} `
}

function declared(chain: string): string {
  return `:${chain} - [0:0]`
}

function comment(text: string): string {
  return `-m comment --comment ${/[ ;]/.test(text) ? `"${text}"` : text} `
}
