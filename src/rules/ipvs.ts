/**
 * kube-proxy's virtual servers in ipvs mode (`ipvsadm -R`) and the members of its sets (`ipset restore`).
 *
 * Each address and port is a virtual server of its own, with every real server at weight 1. Which ones it has does not depend on the
 * client: policy Local means the node's own, and where there are none, the cluster's if the port uses those at all.
 * The fixed iptables rules that look into the sets are beside this. Source: pkg/proxy/ipvs/{proxier,ipset}.go.
 */
import { ipvsIptables } from './ipvs-iptables.ts'
import { joinPort, type NodeRules, type PortRules, type RuleEndpoint } from './node-rules.ts'

/** `--tcp-service` and its like: one letter, and what SCTP has. */
const FLAGS: Readonly<Record<string, string>> = { tcp: '-t', udp: '-u', sctp: '--sctp-service' }

const HASHES: readonly (readonly [name: string, type: string])[] = [
  ['LOOP-BACK', 'hash:ip,port,ip'],
  ['CLUSTER-IP', 'hash:ip,port'],
  ['EXTERNAL-IP', 'hash:ip,port'],
  ['EXTERNAL-IP-LOCAL', 'hash:ip,port'],
  ['LOAD-BALANCER', 'hash:ip,port'],
  ['LOAD-BALANCER-LOCAL', 'hash:ip,port'],
  ['LOAD-BALANCER-FW', 'hash:ip,port'],
  ['LOAD-BALANCER-SOURCE-CIDR', 'hash:ip,port,net'],
  ['LOAD-BALANCER-SOURCE-IP', 'hash:ip,port,ip'],
  ['NODE-PORT-TCP', 'bitmap:port'],
  ['NODE-PORT-LOCAL-TCP', 'bitmap:port'],
  ['NODE-PORT-UDP', 'bitmap:port'],
  ['NODE-PORT-LOCAL-UDP', 'bitmap:port'],
  ['NODE-PORT-SCTP-HASH', 'hash:ip,port'],
  ['NODE-PORT-LOCAL-SCTP-HASH', 'hash:ip,port'],
  ['HEALTH-CHECK-NODE-PORT', 'bitmap:port'],
  ['IPVS-IPS', 'hash:ip'],
]

export interface IpvsRules {
  readonly ipvsadm: string
  readonly ipset: string
  /** Of this family: `iptables-restore` or `ip6tables-restore`. */
  readonly iptables: string
}

/** What the ports of a node add up to. */
interface Tables {
  readonly servers: string[]
  /** By the names of `HASHES`, which all are there. */
  readonly members: ReadonlyMap<string, Set<string>>
}

export function ipvsRules(rules: NodeRules): IpvsRules {
  const tables: Tables = { servers: [], members: new Map(HASHES.map(([name]) => [name, new Set<string>()])) }
  for (const port of rules.ports) {
    writeLoopBack(port, tables)
    writeAddresses(rules, port, tables)
    if (port.nodePort > 0) writeNodePort(rules, port, tables)
    if (port.healthCheckNodePort > 0) add(tables, 'HEALTH-CHECK-NODE-PORT', String(port.healthCheckNodePort))
  }
  return {
    ipvsadm: tables.servers.map((command) => `${command}\n`).join(''),
    ipset: `${ipsets(rules, tables).join('\n')}\n`,
    iptables: ipvsIptables(rules, tables.members),
  }
}

function add({ members }: Tables, set: string, member: string): void {
  members.get(set)!.add(member)
}

/** A member of a `hash:ip,port` set. */
function ipPort(port: PortRules, address: string, number: number): string {
  return `${address},${port.name.protocol}:${number}`
}

/** Endpoints of this node, which reach themselves masqueraded. */
function writeLoopBack(port: PortRules, tables: Tables): void {
  for (const one of [...port.cluster, ...port.local]) {
    if (one.local) add(tables, 'LOOP-BACK', `${ipPort(port, one.address, one.port)},${one.address}`)
  }
}

/** The frontends with an address of their own: cluster IPs, external IPs, load-balancer IPs. */
function writeAddresses(rules: NodeRules, port: PortRules, tables: Tables): void {
  const write = (set: string, address: string, isExternal: boolean): void => {
    tables.servers.push(...virtualServer(rules, port, address, port.port, isExternal))
    add(tables, set, ipPort(port, address, port.port))
    // What the node has on another interface is not put on the dummy one.
    if (!rules.addresses.includes(address)) add(tables, 'IPVS-IPS', address)
  }
  for (const address of port.clusterIPs) write('CLUSTER-IP', address, false)
  const externalSet = port.externalLocal ? 'EXTERNAL-IP-LOCAL' : 'EXTERNAL-IP'
  for (const address of port.externalIPs) write(externalSet, address, true)
  for (const address of port.loadBalancerIPs) {
    write('LOAD-BALANCER', address, true)
    if (port.externalLocal) add(tables, 'LOAD-BALANCER-LOCAL', ipPort(port, address, port.port))
    if (port.sourceRanges.length > 0) writeSourceRanges(port, address, tables)
  }
}

function writeSourceRanges(port: PortRules, address: string, tables: Tables): void {
  const member = ipPort(port, address, port.port)
  add(tables, 'LOAD-BALANCER-FW', member)
  for (const range of port.sourceRanges) add(tables, 'LOAD-BALANCER-SOURCE-CIDR', `${member},${range}`)
  if (port.nodeInRanges) add(tables, 'LOAD-BALANCER-SOURCE-IP', `${member},${address}`)
}

/** SCTP has no bitmap of ports: its node ports are written with each address. */
function writeNodePort(rules: NodeRules, port: PortRules, tables: Tables): void {
  const { protocol } = port.name
  for (const address of rules.nodePortIPs) {
    tables.servers.push(...virtualServer(rules, port, address, port.nodePort, true))
  }
  for (const kind of port.externalLocal ? ['', '-LOCAL'] : ['']) {
    if (protocol !== 'sctp') add(tables, `NODE-PORT${kind}-${protocol.toUpperCase()}`, String(port.nodePort))
    else {
      for (const address of rules.nodePortIPs) {
        add(tables, `NODE-PORT${kind}-SCTP-HASH`, ipPort(port, address, port.nodePort))
      }
    }
  }
}

/** As `ipset restore` reads them. */
function ipsets(rules: NodeRules, { members }: Tables): string[] {
  const prefix = rules.family === 'IPv4' ? 'KUBE-' : 'KUBE-6-'
  const inet = rules.family === 'IPv4' ? 'inet' : 'inet6'
  return HASHES.flatMap(([name, type]) => {
    const shape = type === 'bitmap:port' ? 'range 0-65535' : `family ${inet} hashsize 1024 maxelem 65536`
    const list = [...members.get(name)!].map((member) => `add ${prefix}${name} ${member}`)
    return [`create ${prefix}${name} ${type} ${shape}`, ...list]
  })
}

function virtualServer(
  { settings }: NodeRules,
  port: PortRules,
  address: string,
  number: number,
  isExternal: boolean,
): string[] {
  const server = `${FLAGS[port.name.protocol]} ${joinPort(address, number)}`
  const persistent = port.affinitySeconds > 0 ? ` -p ${port.affinitySeconds}` : ''
  return [
    `-A ${server} -s ${settings.scheduler}${persistent}`,
    ...realServers(port, isExternal).map((one) => `-a ${server} -r ${joinPort(one.address, one.port)} -m -w 1`),
  ]
}

function realServers(port: PortRules, isExternal: boolean): readonly RuleEndpoint[] {
  if (!(isExternal ? port.externalLocal : port.internalLocal)) return port.cluster
  return port.local.length > 0 || !port.usesCluster ? port.local : port.cluster
}
