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

export function ipvsRules(rules: NodeRules): IpvsRules {
  const servers: string[] = []
  const members = new Map<string, Set<string>>(HASHES.map(([name]) => [name, new Set()]))
  const add = (set: string, member: string): void => {
    members.get(set)!.add(member)
  }
  for (const port of rules.ports) {
    const { protocol } = port.name
    const key = (address: string, number = port.port): string => `${address},${protocol}:${number}`
    // What the node has on another interface is not put on the dummy one.
    const bind = (address: string): void => {
      if (!rules.addresses.includes(address)) add('IPVS-IPS', address)
    }
    const serve = (address: string, number: number, isExternal: boolean): void => {
      servers.push(...virtualServer(rules, port, address, number, isExternal))
    }
    for (const one of [...port.cluster, ...port.local]) {
      if (one.local) add('LOOP-BACK', `${one.address},${protocol}:${one.port},${one.address}`)
    }
    for (const address of port.clusterIPs) {
      serve(address, port.port, false)
      add('CLUSTER-IP', key(address))
      bind(address)
    }
    const local = port.externalLocal ? '-LOCAL' : ''
    for (const address of port.externalIPs) {
      serve(address, port.port, true)
      add(`EXTERNAL-IP${local}`, key(address))
      bind(address)
    }
    for (const address of port.loadBalancerIPs) {
      serve(address, port.port, true)
      add('LOAD-BALANCER', key(address))
      bind(address)
      if (port.externalLocal) add('LOAD-BALANCER-LOCAL', key(address))
      if (port.sourceRanges.length === 0) continue
      add('LOAD-BALANCER-FW', key(address))
      for (const range of port.sourceRanges) add('LOAD-BALANCER-SOURCE-CIDR', `${key(address)},${range}`)
      if (port.nodeInRanges) add('LOAD-BALANCER-SOURCE-IP', `${key(address)},${address}`)
    }
    if (port.nodePort > 0) {
      for (const address of rules.nodePortIPs) serve(address, port.nodePort, true)
      for (const kind of port.externalLocal ? ['', '-LOCAL'] : ['']) {
        if (protocol !== 'sctp') add(`NODE-PORT${kind}-${protocol.toUpperCase()}`, String(port.nodePort))
        else {
          for (const address of rules.nodePortIPs) add(`NODE-PORT${kind}-SCTP-HASH`, key(address, port.nodePort))
        }
      }
    }
    if (port.healthCheckNodePort > 0) add('HEALTH-CHECK-NODE-PORT', String(port.healthCheckNodePort))
  }
  const prefix = rules.family === 'IPv4' ? 'KUBE-' : 'KUBE-6-'
  const inet = rules.family === 'IPv4' ? 'inet' : 'inet6'
  const sets = HASHES.flatMap(([name, type]) => {
    const shape = type === 'bitmap:port' ? 'range 0-65535' : `family ${inet} hashsize 1024 maxelem 65536`
    const list = [...members.get(name)!].map((member) => `add ${prefix}${name} ${member}`)
    return [`create ${prefix}${name} ${type} ${shape}`, ...list]
  })
  return {
    ipvsadm: servers.map((line) => `${line}\n`).join(''),
    ipset: `${sets.join('\n')}\n`,
    iptables: ipvsIptables(rules, members),
  }
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
