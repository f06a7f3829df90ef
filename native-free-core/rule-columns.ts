/**
 * The compiled manifests: which address and port is a frontend, which endpoints may answer, and where everything lives.
 *
 * Layout: one Int32Array. Word 0 is the magic, word 1 the version, word 2 the number of columns, then an offset and a
 * length for each column of `RULE_COLUMNS` in order, then the columns. It is read only, may be shared between threads,
 * and moving it is a copy of words. Strings are left behind in `compile`; indices are dense.
 *
 * Identities that state refers to (address id, endpoint id, service port id) keep their numbers when rules are compiled
 * again for a changed cluster, so conntrack and affinity entries outlive a change as they do on a node.
 * Source of the rules themselves: kube-proxy's proxier.go of each mode; src/compile holds the mapping.
 */
import type {
  AddressId,
  EndpointId,
  Int32Column,
  Nanos,
  NodeId,
  Port,
  Protocol,
  ServicePortId,
  SetId,
} from './kinds.ts'

const MAGIC = 0x64705275
const VERSION = 1

/** Column names in file order. All are Int32. */
export const RULE_COLUMNS = [
  /** One record of `SETTING_*` words. */
  'settings',
  /** Four words an address, IPv4 as ::ffff:a.b.c.d, big end first; for source ranges. */
  'addressWords',
  /** `ADDRESS_*` bits by address id. */
  'addressFlags',
  /** Node that owns the address (its own, or its pod's), or -1. */
  'addressNode',
  /** Node whose podCIDR holds the address, or -1; for the NodeCIDR and interface detectors. */
  'addressDetectNode',
  /** By node × 2 + family (0 IPv4, 1 IPv6): address id that masquerading takes towards a pod of the same node / elsewhere. */
  'nodeLocalEgress',
  'nodeRemoteEgress',
  /** By node × 2 + family: primary address id or -1, for loadBalancerSourceRanges' own-node rule. */
  'nodePrimary',
  /** By node: index of its zone, -1 without. */
  'nodeZone',
  /** By node: cores, each with a receive queue of its own. */
  'nodeCores',
  /** By node: nf_conntrack_max. */
  'nodeConntrackMax',
  /** Open-addressed table of frontends, four words a slot: address id (or NODE_PORT_ADDRESS…), port, protocol, index + 1. */
  'frontendTable',
  /** By frontend: service port id, `FRONTEND_*` kind, first source range and count, first LB node and count. */
  'frontendServicePort',
  'frontendKind',
  'frontendRangeStart',
  'frontendRangeCount',
  'frontendNodeStart',
  'frontendNodeCount',
  /** For a proxying load balancer: the node port that it connects to, else 0. */
  'frontendNodePort',
  /** Eight words a range: four of the address, four of the mask. */
  'ranges',
  /** Node indices that the load balancer may choose, one run a frontend. */
  'balancerNodes',
  /** By service port id: `SERVICE_*` bits, affinity timeout in ms, rule position (how many rules are passed before it). */
  'serviceFlags',
  'serviceAffinityMs',
  'servicePosition',
  /** By service port id: default cluster set, and the run of per-node overrides in `overrides`. */
  'clusterSet',
  'clusterOverrideStart',
  'clusterOverrideCount',
  /** By service port id: set of all serving endpoints, for the clean-up of UDP entries. */
  'servingSet',
  /** By service port id: run of nodes that have local endpoints. */
  'localOverrideStart',
  'localOverrideCount',
  /** Two words an override, sorted by node within a run: node, set. */
  'overrides',
  /** By set: first member and count in `members`; set 0 is empty. */
  'setStart',
  'setCount',
  /** Endpoint ids in rule order (the string order of ip:port). */
  'members',
  /** By endpoint id: address id, port, node that its slice names or -1, service port id, 1 while it is in use by any rule. */
  'endpointAddress',
  'endpointPort',
  'endpointNode',
  'endpointServicePort',
  'endpointAlive',
  /** By destination of the trace: address id, port, protocol. */
  'destinationAddress',
  'destinationPort',
  'destinationProtocol',
  /** `DESTINATION_*`: what the trace meant. */
  'destinationIsService',
  /** By destination: index of the name that is dialled, or -1. The columns from here to `nameAnswers` are empty without names. */
  'destinationName',
  /** One record of `NAMES_*` words. */
  'nameSettings',
  /** By address id: the client's resolv.conf, or -1. By resolv.conf: address id of its server, or `SERVER_*`. */
  'resolverOf',
  'resolverServer',
  /** By name × resolv.confs + resolv.conf: run of steps. */
  'walkStart',
  'walkCount',
  /** `QUERY_*` words of dns-client.ts by step × types + type; `ANSWER_WORDS` an address. */
  'nameQueries',
  'nameAnswers',
  /** By address id: the pod there that is a queue of its own, or -1. By such pod: CPU time of a request, ns. */
  'addressPodQueue',
  'podQueueNanos',
  /** By address id: the HTTP proxy there, or -1; empty without any. By proxy: its `WAY_*`, and its worker processes. */
  'addressProxy',
  'proxyWay',
  'proxyWorkers',
  /** By proxy × 2: the ports it listens on. By proxy × 2 + family: the address id that it opens connections from, or -1. */
  'proxyPorts',
  'proxySource',
  /** By proxy: 1 where it takes who opened a connection for its client, whatever NAT made of the address. */
  'proxyTold',
  /** By proxy × classes of clients + class: where its routes begin. From there by request of the trace: its route. */
  'proxyRoutes',
  /** By address id: its class as a client; empty where all are of one. */
  'addressClass',
  'requestRoute',
  /** By route: the backend that gets the request, or -1 where the proxy answers. */
  'routeBackend',
  /** By backend × PROXY_WAYS + way: run of `targets`, TARGET_WORDS each. */
  'backendStart',
  'backendCount',
  'targets',
  /** NetworkPolicies; all empty without any, see policy.ts. By address id: `POLICY_ADDRESS_WORDS`. */
  'addressPolicy',
  /** By profile, and once more at the end: where its run of rule numbers begins. */
  'profileStart',
  'profileRules',
  /** `RULE_WORDS` a rule; a peer is a group, or ~block; bits of `SETTING_POLICY_WORDS` words a group, one a class. */
  'policyRules',
  'policyPeers',
  'policyGroups',
  /** `BLOCK_WORDS` a block, eight words an exception, `PORT_WORDS` a port. */
  'policyBlocks',
  'policyExcepts',
  'policyPorts',
  /** By class, and once more at the end: where its run of named ports begins, of `NAMED_WORDS` each. */
  'policyClassPorts',
  'policyNames',
  /** By address id of the trace: the id that the client has in this cluster; empty where all kept theirs. */
  'clientMap',
  /** Timeouts by conntrack state, ms. */
  'timeouts',
  /** One-way propagation in ns by zone pair: zones + 1 squared (index 0 is "no zone"), see cost-model.ts. */
  'propagation',
] as const

export type RuleColumn = (typeof RULE_COLUMNS)[number]
/** Columns whose values are ids. */
interface IdColumns {
  addressNode: Int32Column<NodeId>
  addressDetectNode: Int32Column<NodeId>
  nodeLocalEgress: Int32Column<AddressId>
  nodeRemoteEgress: Int32Column<AddressId>
  nodePrimary: Int32Column<AddressId>
  frontendServicePort: Int32Column<ServicePortId>
  frontendNodePort: Int32Column<Port>
  balancerNodes: Int32Column<NodeId>
  clusterSet: Int32Column<SetId>
  servingSet: Int32Column<SetId>
  members: Int32Column<EndpointId>
  endpointAddress: Int32Column<AddressId>
  endpointPort: Int32Column<Port>
  endpointNode: Int32Column<NodeId>
  endpointServicePort: Int32Column<ServicePortId>
  destinationAddress: Int32Column<AddressId>
  destinationPort: Int32Column<Port>
  destinationProtocol: Int32Column<Protocol>
  resolverServer: Int32Column<AddressId>
  proxySource: Int32Column<AddressId>
  proxyPorts: Int32Column<Port>
  clientMap: Int32Column<AddressId>
  propagation: Int32Column<Nanos>
}
export type RuleColumns = Record<Exclude<RuleColumn, keyof IdColumns>, Int32Array> & IdColumns

/** `addressFlags` bits. */
export const ADDRESS_CLUSTER_IP = 1
export const ADDRESS_IN_SERVICE_CIDR = 2
export const ADDRESS_NODE = 4
/** Answers node ports on its node, by nodePortAddresses and the mode's rules. */
export const ADDRESS_NODE_PORTS = 8
export const ADDRESS_POD = 16
/** Matches the ClusterCIDR detector. */
export const ADDRESS_DETECTED = 32
/** 127.0.0.0/8, ::1: local wherever it is seen. */
export const ADDRESS_LOOPBACK = 64
/** The address of a load balancer that connects to node ports from it; without, `FRONTEND_BALANCER_PROXY` keeps the source. */
export const ADDRESS_BALANCER = 128
/** An address of a load balancer, an external IP or the like: traffic from outside goes through it to a node. */
export const ADDRESS_EXTERNAL_FRONTEND = 256

/** In a pod CIDR: traffic to it does not leave the cluster. */
export const ADDRESS_POD_RANGE = 512
export const ADDRESS_IPV6 = 1024
/** Some pod or endpoint has it: packets to it are answered. */
export const ADDRESS_LIVE = 2048
/** ipvs: bound to kube-ipvs0, so that every node takes it for its own; of a node's own address every other node does. */
export const ADDRESS_ON_EVERY_NODE = 4096
/** Of a pod: the network plugin leaves its packets to the outside as they are. */
export const ADDRESS_KEEPS_SOURCE = 8192
/** Of a pod that refuses new connections: it has stopped listening, or does not listen yet. */
export const ADDRESS_STOPPED = 16384
/** Of a pod that nothing comes back from: its node is down, or nobody has its address any more. */
export const ADDRESS_SILENT = 32768

/** Start of the empty set of a node that knows of no endpoint anywhere, where other nodes still know of one. */
export const SET_NOWHERE = -1

/** In `balancerNodes`, in place of a node: a target that is down. */
export const BALANCER_NODE_DOWN = -3

/** Stand for "any address of this node that serves node ports" in the frontend table; each family has rules of its own. */
export const NODE_PORT_ADDRESS = -2
export const NODE_PORT_ADDRESS_IPV6 = -3

/** Frontend kinds. */
export const FRONTEND_CLUSTER_IP = 0
export const FRONTEND_NODE_PORT = 1
export const FRONTEND_LOAD_BALANCER_IP = 2
export const FRONTEND_EXTERNAL_IP = 3
/** The health check port of a Local load balancer: accepted at the node. */
export const FRONTEND_HEALTH_CHECK = 4
/** A load balancer address with ipMode Proxy, or in place of a host name: no rule on any node; it leads to the node port. */
export const FRONTEND_BALANCER_PROXY = 5
/** A pod's hostPort on its node: no rule of kube-proxy, see host-port.ts. */
export const FRONTEND_HOST_PORT = 6
export const FRONTEND_NAMES: readonly string[] = [
  'clusterIP',
  'nodePort',
  'loadBalancerIP',
  'externalIP',
  'healthCheckNodePort',
  'loadBalancerProxy',
  'hostPort',
]

/** `serviceFlags` bits. */
export const SERVICE_EXTERNAL_LOCAL = 1
export const SERVICE_INTERNAL_LOCAL = 2
export const SERVICE_USES_CLUSTER = 4
export const SERVICE_USES_LOCAL = 8
/** Some ready or serving-terminating endpoint exists on some node. */
export const SERVICE_HAS_ANY = 16

/** Words of `settings`. */
export const SETTING_NODES = 0
export const SETTING_MODE = 1
export const SETTING_SCHEDULER = 2
export const SETTING_DETECTOR = 3
export const SETTING_MASQUERADE_ALL = 4
export const SETTING_FRONTEND_MASK = 5
export const SETTING_DROP_UNALLOCATED = 6
export const SETTING_EGRESS_MASQUERADE = 7
export const SETTING_TCP_LOOSE = 8
export const SETTING_RANDOM_FULLY = 9
export const SETTING_UNACKNOWLEDGED_MS = 10
export const SETTING_GC_INTERVAL_MS = 11
export const SETTING_ZONES = 12
/** Costs in ns, see cost-model.ts. */
export const SETTING_COST_ESTABLISHED = 13
export const SETTING_COST_MASQUERADED = 14
export const SETTING_COST_FIRST_P50 = 15
export const SETTING_COST_FIRST_MASQUERADE = 16
/** Picoseconds, so that fractions of a nanosecond a rule survive. */
export const SETTING_COST_PER_RULE_PICOS = 17
export const SETTING_CLIENT_NANOS = 18
export const SETTING_BALANCER_NANOS = 19
export const SETTING_RULE_COUNT = 20
export const SETTING_LOCAL_DELIVERY_NANOS = 21
export const SETTING_COST_FIRST_P90 = 22
export const SETTING_COST_FIRST_P99 = 23
/** Mean of the cold cost, ns; and the share of the scan that it lengthens, per mille. */
export const SETTING_COST_FIRST_MEAN = 24
export const SETTING_COLD_SCAN_PERMILLE = 25
/** 1: a request's CPU time in its pod is exponential, 0: constant. */
export const SETTING_SERVICE_EXPONENTIAL = 26
/** 1: UDP entries of a Service that has no serving endpoint are deleted after a change as well. */
export const SETTING_CLEANS_EMPTY = 27
/** 0: no pod has a host port; else whom portmap masquerades beside loopback: `HOST_PORTS_*`. */
export const SETTING_HOST_PORTS = 28
/** How long ipvs knows a UDP connection after its last packet, ms. */
export const SETTING_IPVS_UDP_MS = 29
/** 1: nftables drops what its own node and pods send where policy Local has no endpoint, as it does for everybody. */
export const SETTING_LOCAL_DROPS_ALL = 30
/** Where NetworkPolicies are asked: `POLICIES_*` of policy.ts. */
export const SETTING_POLICIES = 31
/** Words that a group of pods takes in `policyGroups`. */
export const SETTING_POLICY_WORDS = 32
/** Address id that stands for the cluster's DNS server where the manifests have none and policies are asked; else -1. */
export const SETTING_POLICY_DNS = 33
export const SETTING_COUNT = 34

/** Pods of the node, which hang on one bridge; or a pod alone that reaches itself. */
export const HOST_PORTS_BRIDGE = 1
export const HOST_PORTS_ROUTED = 2

/** Beside the protocol in the frontend table: a host port with a hostIP. */
export const HOST_PORT_ONE_ADDRESS = 256

/** `destinationIsService`: an address and nothing more. */
export const DESTINATION_PLAIN = 0
/** A Service: no rule for it means that the connection fails. */
export const DESTINATION_SERVICE = 1
/** A name: what it means is known by the address that it gives. */
export const DESTINATION_NAME = 2

/** Words of `nameSettings`: resolv.confs, record types asked for (A before AAAA), how long clients keep an answer, C library. */
export const NAMES_RESOLVERS = 0
export const NAMES_TYPES = 1
export const NAMES_CLIENT_CACHE_MS = 2
export const NAMES_LIBC = 3
export const NAMES_SETTINGS = 4
/** Values of NAMES_LIBC: who reads replies. */
export const LIBC_GLIBC = 0
export const LIBC_MUSL = 1
/** Before 1.2.4. */
export const LIBC_MUSL_1_1 = 2
export const LIBC_GO = 3

/** Ways of a proxy: a pod, to pods or cluster IPs; a balancer outside the cluster, to pods; one to node ports. */
export const WAY_PROXY = 0
export const WAY_IP = 1
export const WAY_INSTANCE = 2
export const PROXY_WAYS = 3

/** `resolverServer`: no packet goes to it; and none goes to the cluster's own, since the manifests have none. */
export const SERVER_NONE = -1
export const SERVER_ASSUMED = -2

/** A target: address id, port, endpoint id or -1 where a Service's rules choose, and 1 where it is a Service that is meant. */
export const TARGET_ADDRESS = 0
export const TARGET_PORT = 1
export const TARGET_ENDPOINT = 2
export const TARGET_MEANING = 3
export const TARGET_WORDS = 4

export const MODE_NFTABLES = 0
export const MODE_IPTABLES = 1
export const MODE_IPVS = 2

export const DETECTOR_NONE = 0
export const DETECTOR_CLUSTER_CIDR = 1
export const DETECTOR_NODE_CIDR = 2
export const DETECTOR_LOCAL_PODS = 3

export const SCHEDULER_RR = 0
export const SCHEDULER_LC = 1
export const SCHEDULER_SH = 2
export const SCHEDULER_DH = 3

/** What stands in the frontend table for a node port that is dialled at `address`. */
export function nodePortAddress(rules: RuleColumns, address: AddressId): AddressId {
  return familyOf(rules, address) === 0 ? NODE_PORT_ADDRESS : NODE_PORT_ADDRESS_IPV6
}

/** What stands in the frontend table for the host ports at all addresses of a node. @param family 0 IPv4, 1 IPv6 */
export function hostPortAddress(node: NodeId, family: number): AddressId {
  return NODE_PORT_ADDRESS_IPV6 - 1 - (node * 2 + family)
}

/** 0 for an IPv4 address id, 1 for IPv6: the second index of per-node address columns. */
export function familyOf(rules: RuleColumns, address: AddressId): number {
  return (rules.addressFlags[address] & ADDRESS_IPV6) === 0 ? 0 : 1
}

/** Stands for the length of a column that is as in the rule set before. */
const AS_BEFORE = -1

/**
 * Lays the columns out in one buffer.
 *
 * @param before  of the rule set that this one follows: columns that are the same arrays are left out
 * @throws Error naming a missing column: a bug of the compiler
 */
export function packRules(columns: RuleColumns, before: RuleColumns | null = null): Int32Array {
  const directory = 3 + RULE_COLUMNS.length * 2
  let length = directory
  for (const name of RULE_COLUMNS) {
    if (columns[name] === undefined) throw new Error(`rule set: column ${name} is missing`)
    if (columns[name] !== before?.[name]) length += columns[name].length
  }
  const words = new Int32Array(new SharedArrayBuffer(length * 4))
  words[0] = MAGIC
  words[1] = VERSION
  words[2] = RULE_COLUMNS.length
  let offset = directory
  RULE_COLUMNS.forEach((name, i) => {
    const column = columns[name]
    words[3 + i * 2] = offset
    if (column === before?.[name]) {
      words[4 + i * 2] = AS_BEFORE
      return
    }
    words[4 + i * 2] = column.length
    words.set(column, offset)
    offset += column.length
  })
  return words
}

/**
 * Views over packed rules.
 *
 * @param before  the rule set that these follow, for columns that they leave out
 * @throws Error naming what was found and what was expected
 */
export function openRules(words: Int32Array, before: RuleColumns | null = null): RuleColumns {
  if (words[0] !== MAGIC) throw new Error(`rule set: magic ${words[0]}, expected ${MAGIC}`)
  if (words[1] !== VERSION) throw new Error(`rule set: version ${words[1]}, expected ${VERSION}`)
  if (words[2] !== RULE_COLUMNS.length) {
    throw new Error(`rule set: ${words[2]} columns, expected ${RULE_COLUMNS.length}`)
  }
  const column = (name: RuleColumn): Int32Array => {
    const at = 3 + RULE_COLUMNS.indexOf(name) * 2
    if (words[at + 1] === AS_BEFORE) {
      if (before === null) throw new Error(`rule set: column ${name} is left out, and nothing came before`)
      return before[name]
    }
    return words.subarray(words[at], words[at] + words[at + 1])
  }
  // A literal: an object that gets its fields one by one turns into a dictionary, and each look into it on the slow path
  // into a hash lookup (nearly twice the time, bench: endpoint-choice).
  return {
    settings: column('settings'),
    addressWords: column('addressWords'),
    addressFlags: column('addressFlags'),
    addressNode: column('addressNode'),
    addressDetectNode: column('addressDetectNode'),
    nodeLocalEgress: column('nodeLocalEgress'),
    nodeRemoteEgress: column('nodeRemoteEgress'),
    nodePrimary: column('nodePrimary'),
    nodeZone: column('nodeZone'),
    nodeCores: column('nodeCores'),
    nodeConntrackMax: column('nodeConntrackMax'),
    frontendTable: column('frontendTable'),
    frontendServicePort: column('frontendServicePort'),
    frontendKind: column('frontendKind'),
    frontendRangeStart: column('frontendRangeStart'),
    frontendRangeCount: column('frontendRangeCount'),
    frontendNodeStart: column('frontendNodeStart'),
    frontendNodeCount: column('frontendNodeCount'),
    frontendNodePort: column('frontendNodePort'),
    ranges: column('ranges'),
    balancerNodes: column('balancerNodes'),
    serviceFlags: column('serviceFlags'),
    serviceAffinityMs: column('serviceAffinityMs'),
    servicePosition: column('servicePosition'),
    clusterSet: column('clusterSet'),
    clusterOverrideStart: column('clusterOverrideStart'),
    clusterOverrideCount: column('clusterOverrideCount'),
    servingSet: column('servingSet'),
    localOverrideStart: column('localOverrideStart'),
    localOverrideCount: column('localOverrideCount'),
    overrides: column('overrides'),
    setStart: column('setStart'),
    setCount: column('setCount'),
    members: column('members'),
    endpointAddress: column('endpointAddress'),
    endpointPort: column('endpointPort'),
    endpointNode: column('endpointNode'),
    endpointServicePort: column('endpointServicePort'),
    endpointAlive: column('endpointAlive'),
    destinationAddress: column('destinationAddress'),
    destinationPort: column('destinationPort'),
    destinationProtocol: column('destinationProtocol'),
    destinationIsService: column('destinationIsService'),
    destinationName: column('destinationName'),
    nameSettings: column('nameSettings'),
    resolverOf: column('resolverOf'),
    resolverServer: column('resolverServer'),
    walkStart: column('walkStart'),
    walkCount: column('walkCount'),
    nameQueries: column('nameQueries'),
    nameAnswers: column('nameAnswers'),
    addressPodQueue: column('addressPodQueue'),
    podQueueNanos: column('podQueueNanos'),
    addressProxy: column('addressProxy'),
    proxyWay: column('proxyWay'),
    proxyWorkers: column('proxyWorkers'),
    proxyPorts: column('proxyPorts'),
    proxySource: column('proxySource'),
    proxyTold: column('proxyTold'),
    proxyRoutes: column('proxyRoutes'),
    addressClass: column('addressClass'),
    requestRoute: column('requestRoute'),
    routeBackend: column('routeBackend'),
    backendStart: column('backendStart'),
    backendCount: column('backendCount'),
    targets: column('targets'),
    addressPolicy: column('addressPolicy'),
    profileStart: column('profileStart'),
    profileRules: column('profileRules'),
    policyRules: column('policyRules'),
    policyPeers: column('policyPeers'),
    policyGroups: column('policyGroups'),
    policyBlocks: column('policyBlocks'),
    policyExcepts: column('policyExcepts'),
    policyPorts: column('policyPorts'),
    policyClassPorts: column('policyClassPorts'),
    policyNames: column('policyNames'),
    clientMap: column('clientMap'),
    timeouts: column('timeouts'),
    propagation: column('propagation'),
  }
}

/** Where the search for (address, port, protocol) begins in the frontend table. */
export function frontendHash(address: AddressId, port: Port, protocol: Protocol): number {
  let h = Math.imul(address ^ Math.imul(port, 0x9e3779b1), 0x85ebca6b) ^ protocol
  h = Math.imul(h ^ (h >>> 15), 0x2c1b3c6d)
  return h ^ (h >>> 13)
}

/** What is in force before a run begins: no node, no address, no rule. */
export const NO_RULES: RuleColumns = noRules()

function noRules(): RuleColumns {
  const directory = 3 + RULE_COLUMNS.length * 2
  const words = new Int32Array(directory + SETTING_COUNT)
  words[0] = MAGIC
  words[1] = VERSION
  words[2] = RULE_COLUMNS.length
  // The settings come first; all other columns are empty.
  words[3] = directory
  words[4] = SETTING_COUNT
  return openRules(words)
}
