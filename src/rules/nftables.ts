/**
 * kube-proxy's table in nftables mode, as `nft -f` reads it and `nft list` shows it.
 *
 * Source: pkg/proxy/nftables/proxier.go and README.md of Kubernetes 1.31 to 1.35. Chains for a Service: `service-` (policy Cluster),
 * `local-` (policy Local), `external-` (node ports, external and load-balancer addresses), `firewall-` (source ranges), `endpoint-`.
 */
import { nftablesEndpointName, nftablesPortName, portText } from './names.ts'
import {
  isExternallyAccessible,
  joinPort,
  type NodeRules,
  type PortRules,
  type RuleEndpoint,
  reachable,
} from './node-rules.ts'

/** A table in the making: maps by name, and chains in the order they are met. */
interface Table {
  readonly serviceIPs: string[]
  readonly nodePorts: string[]
  readonly noEndpoints: string[]
  readonly noEndpointNodePorts: string[]
  readonly firewall: string[]
  readonly sets: string[]
  readonly chains: string[]
}

/** @returns the table of one family; replaces one that is there */
export function nftablesRules(rules: NodeRules): string {
  const ip = rules.family === 'IPv4' ? 'ip' : 'ip6'
  const type = rules.family === 'IPv4' ? 'ipv4_addr' : 'ipv6_addr'
  const table: Table = {
    serviceIPs: [],
    nodePorts: [],
    noEndpoints: [],
    noEndpointNodePorts: [],
    firewall: [],
    sets: [],
    chains: [],
  }
  for (const port of rules.ports) writePort(rules, port, table, ip, type)
  const key = `${ip} daddr . meta l4proto . th dport`
  const notLocalhost = rules.family === 'IPv4' ? 'ip daddr != 127.0.0.0/8' : 'ip6 daddr != ::1'
  const nodePort = rules.nodePortsAnywhere
    ? `fib daddr type local ${notLocalhost} meta l4proto . th dport`
    : `${ip} daddr @nodeport-ips meta l4proto . th dport`
  const verdicts = `${type} . inet_proto . inet_service : verdict`
  const lines = [
    // Loading replaces the whole table, whether it is there or not.
    `table ${ip} kube-proxy`,
    `delete table ${ip} kube-proxy`,
    `table ${ip} kube-proxy {`,
    '\tcomment "rules for kube-proxy"',
    ...object('set cluster-ips', [`type ${type}`, 'comment "Active ClusterIPs"', ...elements(rules.clusterIPs)]),
    ...(rules.nodePortsAnywhere
      ? []
      : object('set nodeport-ips', [
          `type ${type}`,
          'comment "IPs that accept NodePort traffic"',
          ...elements(rules.nodePortIPs),
        ])),
    ...object('map no-endpoint-services', [
      `type ${verdicts}`,
      'comment "vmap to drop or reject packets to services with no endpoints"',
      ...elements(table.noEndpoints),
    ]),
    ...object('map no-endpoint-nodeports', [
      'type inet_proto . inet_service : verdict',
      'comment "vmap to drop or reject packets to service nodeports with no endpoints"',
      ...elements(table.noEndpointNodePorts),
    ]),
    ...object('map firewall-ips', [
      `type ${verdicts}`,
      'comment "destinations that are subject to LoadBalancerSourceRanges"',
      ...elements(table.firewall),
    ]),
    ...object('map service-ips', [
      `type ${verdicts}`,
      'comment "ClusterIP, ExternalIP and LoadBalancer IP traffic"',
      ...elements(table.serviceIPs),
    ]),
    ...object('map service-nodeports', [
      'type inet_proto . inet_service : verdict',
      'comment "NodePort traffic"',
      ...elements(table.nodePorts),
    ]),
    ...table.sets,
    ...base('filter-prerouting-pre-dnat', 'filter', 'prerouting', -110, ['ct state new jump firewall-check']),
    ...base('filter-output-pre-dnat', 'filter', 'output', -110, ['ct state new jump firewall-check']),
    ...base('filter-input', 'filter', 'input', 0, [
      'ct state new jump nodeport-endpoints-check',
      'ct state new jump service-endpoints-check',
    ]),
    ...base('filter-forward', 'filter', 'forward', 0, [
      'ct state new jump service-endpoints-check',
      'ct state new jump cluster-ips-check',
    ]),
    ...base('filter-output', 'filter', 'output', 0, [
      'ct state new jump service-endpoints-check',
      'ct state new jump cluster-ips-check',
    ]),
    ...base('nat-prerouting', 'nat', 'prerouting', -100, ['jump services']),
    ...base('nat-output', 'nat', 'output', -100, ['jump services']),
    ...base('nat-postrouting', 'nat', 'postrouting', 100, ['jump masquerading']),
    ...chain('services', [`${key} vmap @service-ips`, `${nodePort} vmap @service-nodeports`]),
    ...chain('service-endpoints-check', [`${key} vmap @no-endpoint-services`]),
    ...chain('nodeport-endpoints-check', [`${nodePort} vmap @no-endpoint-nodeports`]),
    ...chain('firewall-check', [`${key} vmap @firewall-ips`]),
    ...chain('cluster-ips-check', [
      `${ip} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"`,
      ...(rules.serviceCidrs.length === 0
        ? []
        : [`${ip} daddr { ${rules.serviceCidrs.join(', ')} } drop comment "Drop traffic to unallocated ClusterIPs"`]),
    ]),
    ...chain('reject-chain', ['reject'], 'helper for @no-endpoint-services / @no-endpoint-nodeports'),
    ...chain('mark-for-masquerade', ['meta mark set meta mark | 0x4000']),
    ...chain('masquerading', [
      'meta mark & 0x4000 == 0 return',
      'meta mark set meta mark ^ 0x4000',
      'masquerade fully-random',
    ]),
    ...table.chains,
    '}',
  ]
  return `${lines.join('\n')}\n`
}

/** A Service port and what its rules say in common. */
interface PortChains {
  readonly port: PortRules
  readonly ip: string
  /** What the port's chains are called behind their prefix. */
  readonly base: string
  /** namespace/name:port, as comments have it. */
  readonly comment: string
  /** The chain of in-cluster traffic, by internalTrafficPolicy. */
  readonly internal: string
  /** Whether the policy leaves an endpoint on this node. */
  readonly hasInternal: boolean
  readonly hasExternal: boolean
}

function writePort(rules: NodeRules, port: PortRules, table: Table, ip: string, type: string): void {
  const { name, externalLocal, internalLocal, hasAny } = port
  const base = nftablesPortName(name)
  const chains: PortChains = {
    port,
    ip,
    base,
    comment: portText(name),
    internal: internalLocal ? `local-${base}` : `service-${base}`,
    hasInternal: hasAny && (internalLocal ? port.local : port.cluster).length > 0,
    hasExternal: hasAny && (externalLocal ? port.local : port.cluster).length > 0,
  }
  writeFrontends(chains, table)
  if (port.loadBalancerIPs.length > 0 && port.sourceRanges.length > 0) writeFirewall(chains, table)
  writePolicyChains(rules, chains, table)
  if (hasAny && isExternallyAccessible(port)) {
    table.chains.push(...chain(`external-${base}`, externalLines(rules, chains)))
  }
  writeEndpoints(chains, table, type)
}

function addressKey({ name, port }: PortRules, address: string): string {
  return `${address} . ${name.protocol} . ${port}`
}

/** Elements of the maps: where each frontend leads, and what refuses it where the policy leaves no endpoint. */
function writeFrontends({ port, base, comment, internal, hasInternal, hasExternal }: PortChains, table: Table): void {
  const { hasAny } = port
  const external = `external-${base}`
  const refusal = `comment "${comment}" : ${hasAny ? 'drop' : 'goto reject-chain'}`
  for (const address of port.clusterIPs) {
    if (hasInternal) table.serviceIPs.push(`${addressKey(port, address)} : goto ${internal}`)
    else table.noEndpoints.push(`${addressKey(port, address)} ${refusal}`)
  }
  for (const address of [...port.externalIPs, ...port.loadBalancerIPs]) {
    if (hasAny) table.serviceIPs.push(`${addressKey(port, address)} : goto ${external}`)
    if (!hasExternal) table.noEndpoints.push(`${addressKey(port, address)} ${refusal}`)
  }
  if (port.nodePort > 0) {
    const key = `${port.name.protocol} . ${port.nodePort}`
    if (hasAny) table.nodePorts.push(`${key} : goto ${external}`)
    if (!hasExternal) table.noEndpointNodePorts.push(`${key} ${refusal}`)
  }
}

/** loadBalancerSourceRanges. */
function writeFirewall({ port, ip, base, comment }: PortChains, table: Table): void {
  const sources = [...port.sourceRanges, ...(port.nodeInRanges ? outside(port) : [])]
  table.chains.push(...chain(`firewall-${base}`, [`${ip} saddr != { ${sources.join(', ')} } drop`]))
  for (const address of port.loadBalancerIPs) {
    table.firewall.push(`${addressKey(port, address)} comment "${comment}" : goto firewall-${base}`)
  }
}

/** The chains that choose an endpoint: `service-` among all, `local-` among the node's own. */
function writePolicyChains(rules: NodeRules, chains: PortChains, table: Table): void {
  const { port, ip, base, internal, hasInternal } = chains
  const write = (chainName: string, list: readonly RuleEndpoint[]): void => {
    const marks = hasInternal && chainName === internal ? clusterIPMarks(rules, chains) : []
    table.chains.push(...chain(chainName, [...marks, ...balance(port, list, ip)]))
  }
  if (port.usesCluster && port.cluster.length > 0) write(`service-${base}`, port.cluster)
  if ((port.internalLocal || port.externalLocal) && port.local.length > 0) write(`local-${base}`, port.local)
}

/** Whose traffic to a cluster IP is masqueraded: everybody's, or that of no pod. */
function clusterIPMarks(rules: NodeRules, { port, ip }: PortChains): string[] {
  return port.clusterIPs.flatMap((address) => {
    const to = `${ip} daddr ${address} ${port.name.protocol} dport ${port.port}`
    if (rules.masqueradeAll) return [`${to} jump mark-for-masquerade`]
    if (rules.settings.detector === 'none') return []
    return [`${to} ${detectorMatch(rules, ip, false)}jump mark-for-masquerade`]
  })
}

/** The chain `external-`: under policy Local, pods and the node itself take the short circuit to all endpoints. */
function externalLines(rules: NodeRules, { port, ip, base, hasExternal }: PortChains): string[] {
  const last = hasExternal ? [`goto ${port.externalLocal ? 'local' : 'service'}-${base}`] : []
  if (!port.externalLocal) return ['jump mark-for-masquerade', ...last]
  if (rules.settings.localDropsAll && port.local.length === 0) return last
  const cluster = port.cluster.length > 0 ? [`goto service-${base}`] : []
  const pods =
    rules.detector === null
      ? []
      : cluster.map((to) => `${detectorMatch(rules, ip, true)}${to} comment "short-circuit pod traffic"`)
  return [
    ...pods,
    'fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"',
    ...cluster.map((to) => `fib saddr type local ${to} comment "short-circuit local traffic"`),
    ...last,
  ]
}

/** A chain for each endpoint, and with ClientIP affinity the set of its clients. @param type  of an address */
function writeEndpoints({ port, ip }: PortChains, table: Table, type: string): void {
  for (const one of reachable(port)) {
    const own = nftablesEndpointName(port.name, one.address, one.port)
    const lines = [`${ip} saddr ${one.address} jump mark-for-masquerade`]
    if (port.affinitySeconds > 0) {
      table.sets.push(
        ...object(`set affinity-${own}`, [
          `type ${type}`,
          'size 65535',
          'flags dynamic,timeout',
          `timeout ${port.affinitySeconds}s`,
        ]),
      )
      lines.push(`update @affinity-${own} { ${ip} saddr }`)
    }
    lines.push(`meta l4proto ${port.name.protocol} dnat to ${joinPort(one.address, one.port)}`)
    table.chains.push(...chain(`endpoint-${own}`, lines))
  }
}

/** Load-balancer addresses that no source range holds already: a set of intervals has each address once. */
function outside({ loadBalancerIPs, sourceRanges }: PortRules): readonly string[] {
  return sourceRanges.some((range) => range.endsWith('/0')) ? [] : loadBalancerIPs
}

function balance(port: PortRules, list: readonly RuleEndpoint[], ip: string): string[] {
  const nameOf = (one: RuleEndpoint): string => nftablesEndpointName(port.name, one.address, one.port)
  const affine =
    port.affinitySeconds > 0
      ? list.map((one) => `${ip} saddr @affinity-${nameOf(one)} goto endpoint-${nameOf(one)}`)
      : []
  const targets = list.map((one, i) => `${i} : goto endpoint-${nameOf(one)}`)
  return [...affine, `numgen random mod ${list.length} vmap { ${targets.join(', ')} }`]
}

/** The match that says "a pod of ours", or its opposite; '' where there is nothing to match by, so that nothing is a pod. */
function detectorMatch({ detector }: NodeRules, ip: string, isPod: boolean): string {
  const not = isPod ? '' : '!= '
  if (detector === null) return ''
  if ('cidr' in detector) return `${ip} saddr ${not}${detector.cidr} `
  return `iifname ${not}"${detector.interface}${detector.isPrefix ? '*' : ''}" `
}

function elements(list: readonly string[]): string[] {
  return list.length === 0 ? [] : [`elements = { ${list.join(',\n\t\t             ')} }`]
}

function object(head: string, lines: readonly string[]): string[] {
  return [`\t${head} {`, ...lines.map((line) => `\t\t${line}`), '\t}']
}

function chain(name: string, lines: readonly string[], comment = ''): string[] {
  return object(`chain ${name}`, comment === '' ? lines : [`comment "${comment}"`, ...lines])
}

function base(name: string, type: string, hook: string, priority: number, lines: readonly string[]): string[] {
  return object(`chain ${name}`, [`type ${type} hook ${hook} priority ${priority}; policy accept;`, ...lines])
}
