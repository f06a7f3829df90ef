/**
 * The fixed iptables rules of ipvs mode: what looks into the sets, marks for masquerading, filters sources and keeps hosts' ports closed.
 *
 * Which rules there are depends only on which sets have members; who is meant stands in the sets. Virtual servers are not known to
 * iptables: a packet is balanced behind these rules. Source: pkg/proxy/ipvs/proxier.go (writeIptablesRules, iptablesJumpChain).
 */
import type { NodeRules } from './node-rules.ts'

const MARK = '0x4000'
const CHAINS = {
  filter: [
    'KUBE-FORWARD',
    'KUBE-IPVS-FILTER',
    'KUBE-IPVS-OUT-FILTER',
    'KUBE-NODE-PORT',
    'KUBE-PROXY-FIREWALL',
    'KUBE-SOURCE-RANGES-FIREWALL',
  ],
  nat: ['KUBE-LOAD-BALANCER', 'KUBE-MARK-MASQ', 'KUBE-NODE-PORT', 'KUBE-POSTROUTING', 'KUBE-SERVICES'],
} as const

const COMMENTS: Readonly<Record<string, string>> = {
  'LOOP-BACK': 'Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose',
  'CLUSTER-IP': 'Kubernetes service cluster ip + port for masquerade purpose',
  'EXTERNAL-IP': 'Kubernetes service external ip + port for masquerade and filter purpose',
  'EXTERNAL-IP-LOCAL': 'Kubernetes service external ip + port with externalTrafficPolicy=local',
  'LOAD-BALANCER': 'Kubernetes service lb portal',
  'LOAD-BALANCER-LOCAL': 'Kubernetes service load balancer ip + port with externalTrafficPolicy=local',
  'LOAD-BALANCER-FW': 'Kubernetes service load balancer ip + port for load balancer with sourceRange',
  'LOAD-BALANCER-SOURCE-CIDR': 'Kubernetes service load balancer ip + port + source cidr for packet filter purpose',
  'LOAD-BALANCER-SOURCE-IP': 'Kubernetes service load balancer ip + port + source IP for packet filter purpose',
  'NODE-PORT-TCP': 'Kubernetes nodeport TCP port for masquerade purpose',
  'NODE-PORT-LOCAL-TCP': 'Kubernetes nodeport TCP port with externalTrafficPolicy=local',
  'NODE-PORT-UDP': 'Kubernetes nodeport UDP port for masquerade purpose',
  'NODE-PORT-LOCAL-UDP': 'Kubernetes nodeport UDP port with externalTrafficPolicy=local',
  'NODE-PORT-SCTP-HASH': "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
  'NODE-PORT-LOCAL-SCTP-HASH':
    "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
  'HEALTH-CHECK-NODE-PORT': 'Kubernetes health check node port',
}

/** Set, what it is looked up by, where it leads; protocol where the set has ports alone. In kube-proxy's order: Local ports come first. */
const NODE_PORTS: readonly (readonly [set: string, by: string, to: string, protocol: string])[] = [
  ['NODE-PORT-LOCAL-TCP', 'dst', 'RETURN', 'tcp'],
  ['NODE-PORT-TCP', 'dst', 'KUBE-MARK-MASQ', 'tcp'],
  ['NODE-PORT-LOCAL-UDP', 'dst', 'RETURN', 'udp'],
  ['NODE-PORT-UDP', 'dst', 'KUBE-MARK-MASQ', 'udp'],
  ['NODE-PORT-LOCAL-SCTP-HASH', 'dst,dst', 'RETURN', 'sctp'],
  ['NODE-PORT-SCTP-HASH', 'dst,dst', 'KUBE-MARK-MASQ', 'sctp'],
]

/**
 * @param members  of each set, by its name without the prefix
 * @returns        input of `iptables-restore`, or of `ip6tables-restore`
 */
export function ipvsIptables(rules: NodeRules, members: ReadonlyMap<string, ReadonlySet<string>>): string {
  const prefix = rules.family === 'IPv4' ? 'KUBE-' : 'KUBE-6-'
  const has = (set: string): boolean => (members.get(set)?.size ?? 0) > 0
  const look = (set: string, by: string): string => `-m set --match-set ${prefix}${set} ${by} `
  const note = (set: string): string => comment(COMMENTS[set]!)
  /** The rule, where the set has members. */
  const through = (chain: string, set: string, by: string, to: string, before = ''): string[] =>
    has(set) ? [`-A ${chain} ${before}${note(set)}${look(set, by)}-j ${to}`] : []
  // What is not from a container or a local process goes on to the virtual server; so does what is for an address of the node.
  const external = (set: string): string[] =>
    has(set)
      ? [
          `-A KUBE-SERVICES ${note(set)}${look(set, 'dst,dst')}-m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT`,
          `-A KUBE-SERVICES ${note(set)}${look(set, 'dst,dst')}-m addrtype --dst-type LOCAL -j ACCEPT`,
        ]
      : []
  const localhost = rules.family === 'IPv4' ? '127.0.0.0/8' : '::1/128'
  const barred = rules.ports.flatMap((port) =>
    port.sourceRanges.length > 0 && !port.nodeInRanges
      ? port.loadBalancerIPs.map((address) => ({ address, protocol: port.name.protocol, port: port.port }))
      : [],
  )
  const lines = [
    '*filter',
    ...['INPUT', 'FORWARD', 'OUTPUT'].map((name) => `:${name} ACCEPT [0:0]`),
    ...CHAINS.filter.map((name) => `:${name} - [0:0]`),
    `-A INPUT ${comment('kubernetes ipvs access filter')}-j KUBE-IPVS-FILTER`,
    `-A INPUT ${comment('kube-proxy firewall rules')}-j KUBE-PROXY-FIREWALL`,
    `-A INPUT ${comment('kubernetes health check rules')}-j KUBE-NODE-PORT`,
    `-A FORWARD ${comment('kube-proxy firewall rules')}-j KUBE-PROXY-FIREWALL`,
    `-A FORWARD ${comment('kubernetes forwarding rules')}-j KUBE-FORWARD`,
    `-A OUTPUT ${comment('kubernetes ipvs access filter')}-j KUBE-IPVS-OUT-FILTER`,
    ...through('KUBE-PROXY-FIREWALL', 'LOAD-BALANCER-FW', 'dst,dst', 'KUBE-SOURCE-RANGES-FIREWALL'),
    ...through('KUBE-SOURCE-RANGES-FIREWALL', 'LOAD-BALANCER-SOURCE-CIDR', 'dst,dst,src', 'RETURN'),
    ...through('KUBE-SOURCE-RANGES-FIREWALL', 'LOAD-BALANCER-SOURCE-IP', 'dst,dst,src', 'RETURN'),
    '-A KUBE-SOURCE-RANGES-FIREWALL -j DROP',
    // The node reaches such an address from the address itself, which no range holds.
    ...barred.map(
      ({ address, protocol, port }) =>
        `-A KUBE-IPVS-OUT-FILTER -s ${address} -m ipvs --vaddr ${address} --vproto ${protocol} --vport ${port} -j DROP`,
    ),
    `-A KUBE-FORWARD ${comment('kubernetes forwarding rules')}-m mark --mark ${MARK}/${MARK} -j ACCEPT`,
    `-A KUBE-FORWARD ${comment('kubernetes forwarding conntrack rule')}-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-A KUBE-NODE-PORT ${note('HEALTH-CHECK-NODE-PORT')}${look('HEALTH-CHECK-NODE-PORT', 'dst')}-j ACCEPT`,
    // Ports of the host stay closed at the addresses of Services.
    ...['LOAD-BALANCER', 'CLUSTER-IP', 'EXTERNAL-IP', 'EXTERNAL-IP-LOCAL'].map(
      (set) => `-A KUBE-IPVS-FILTER ${look(set, 'dst,dst')}-j RETURN`,
    ),
    `-A KUBE-IPVS-FILTER ${look('HEALTH-CHECK-NODE-PORT', 'dst')}-j RETURN`,
    `-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW ${look('IPVS-IPS', 'dst')}-j REJECT`,
    'COMMIT',
    '*nat',
    ...['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'].map((name) => `:${name} ACCEPT [0:0]`),
    ...CHAINS.nat.map((name) => `:${name} - [0:0]`),
    `-A PREROUTING ${comment('kubernetes service portals')}-j KUBE-SERVICES`,
    `-A OUTPUT ${comment('kubernetes service portals')}-j KUBE-SERVICES`,
    `-A POSTROUTING ${comment('kubernetes postrouting rules')}-j KUBE-POSTROUTING`,
    `-A KUBE-SERVICES -s ${localhost} -j RETURN`,
    ...through('KUBE-POSTROUTING', 'LOOP-BACK', 'dst,dst,src', 'MASQUERADE'),
    ...through('KUBE-SERVICES', 'LOAD-BALANCER', 'dst,dst', 'KUBE-LOAD-BALANCER'),
    ...through('KUBE-LOAD-BALANCER', 'LOAD-BALANCER-LOCAL', 'dst,dst', 'RETURN'),
    ...NODE_PORTS.flatMap(([set, by, to, protocol]) => through('KUBE-NODE-PORT', set, by, to, `-p ${protocol} `)),
    ...clusterIPs(rules, has('CLUSTER-IP'), note('CLUSTER-IP'), look),
    ...(has('EXTERNAL-IP')
      ? [`-A KUBE-SERVICES ${note('EXTERNAL-IP')}${look('EXTERNAL-IP', 'dst,dst')}-j KUBE-MARK-MASQ`]
      : []),
    ...external('EXTERNAL-IP'),
    ...external('EXTERNAL-IP-LOCAL'),
    '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT',
    '-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ',
    ...['CLUSTER-IP', 'LOAD-BALANCER'].flatMap((set) =>
      has(set) ? [`-A KUBE-SERVICES ${look(set, 'dst,dst')}-j ACCEPT`] : [],
    ),
    `-A KUBE-POSTROUTING -m mark ! --mark ${MARK}/${MARK} -j RETURN`,
    `-A KUBE-POSTROUTING -j MARK --xor-mark ${MARK}`,
    `-A KUBE-POSTROUTING ${comment('kubernetes service traffic requiring SNAT')}-j MASQUERADE --random-fully`,
    `-A KUBE-MARK-MASQ -j MARK --or-mark ${MARK}`,
    'COMMIT',
  ]
  return `${lines.join('\n')}\n`
}

/** Without a detector only what the node sends from a Service's own address, the dummy interface's, is masqueraded. */
function clusterIPs(
  { masqueradeAll, settings, detector }: NodeRules,
  isUsed: boolean,
  note: string,
  look: (set: string, by: string) => string,
): string[] {
  if (!isUsed) return []
  const rule = (by: string, match = ''): string[] => [
    `-A KUBE-SERVICES ${note}${look('CLUSTER-IP', by)}${match}-j KUBE-MARK-MASQ`,
  ]
  if (masqueradeAll) return rule('dst,dst')
  if (settings.detector === 'none') return rule('src,dst')
  if (detector === null) return rule('dst,dst')
  return 'cidr' in detector
    ? rule('dst,dst', `! -s ${detector.cidr} `)
    : rule('dst,dst', `! -i ${detector.interface}${detector.isPrefix ? '+' : ''} `)
}

function comment(text: string): string {
  return `-m comment --comment "${text}" `
}
