/**
 * Every way a packet can end, in one numbered list: code, name, verdict and one sentence for the report.
 *
 * Codes are written into results and never reused; a retired one keeps its number. Names are the only strings that
 * leave the core. Source: the reasons are kube-proxy's and conntrack's own cases (netfilter verdicts ACCEPT, DROP,
 * REJECT), plus the few that lie outside both: the load balancer, routing, and a connection that lost its entry.
 */

export const ACCEPT = 0
export const DROP = 1
export const REJECT = 2

export type Verdict = typeof ACCEPT | typeof DROP | typeof REJECT

export const VERDICT_NAMES: readonly string[] = ['accept', 'drop', 'reject']

export const REASON_NONE = 0
export const REASON_NO_ENDPOINT = 1
export const REASON_NO_LOCAL_ENDPOINT = 2
export const REASON_NOT_IN_SOURCE_RANGES = 3
export const REASON_CONNTRACK_FULL = 4
export const REASON_INSERT_FAILED = 5
export const REASON_SNAT_PORTS_EXHAUSTED = 6
export const REASON_INVALID_STATE = 7
export const REASON_NO_SUCH_PORT = 8
export const REASON_UNALLOCATED_CLUSTER_IP = 9
export const REASON_NO_HEALTHY_NODE = 10
export const REASON_NO_ROUTE = 11
export const REASON_REPLY_BYPASSES_NAT = 12
export const REASON_NO_SERVICE = 13
export const REASON_ENTRY_LOST = 14
export const REASON_REPLY_LOST = 15
export const REASON_NODE_IP_NOT_IN_RANGES = 16

export const REASON_BACKEND_GONE = 17
export const REASON_BACKLOG_FULL = 18
export const REASON_NAME_NOT_RESOLVED = 19
export const REASON_DNS_LOST = 20
export const REASON_POD_QUEUE_FULL = 21
export const REASON_NO_IPVS_CONNECTION = 22
export const REASON_ENDPOINT_IS_SERVICE = 23
export const REASON_ENDPOINT_NOT_ROUTED = 24
export const REASON_POLICY_EGRESS = 25
export const REASON_POLICY_INGRESS = 26
export const REASON_POLICY_DNS = 27
export const REASON_POD_STOPPED = 28
export const REASON_NODE_DOWN = 29

export interface Reason {
  readonly code: number
  /** Stable name, used as a key in JSON. */
  readonly name: string
  readonly verdict: Verdict
  readonly sentence: string
}

export const REASONS: readonly Reason[] = [
  { code: REASON_NONE, name: 'none', verdict: ACCEPT, sentence: 'nothing stood in the way' },
  {
    code: REASON_NO_ENDPOINT,
    name: 'no-endpoint',
    verdict: REJECT,
    sentence: 'the Service port has no usable endpoint anywhere; the client gets ICMP port unreachable',
  },
  {
    code: REASON_NO_LOCAL_ENDPOINT,
    name: 'no-local-endpoint',
    verdict: DROP,
    sentence: 'the traffic policy is Local and this node has no usable endpoint; the client hears nothing',
  },
  {
    code: REASON_NOT_IN_SOURCE_RANGES,
    name: 'not-in-source-ranges',
    verdict: DROP,
    sentence: 'the source is in none of loadBalancerSourceRanges',
  },
  {
    code: REASON_CONNTRACK_FULL,
    name: 'conntrack-full',
    verdict: DROP,
    sentence: "the node's conntrack table is full and early drop found nothing to evict",
  },
  {
    code: REASON_INSERT_FAILED,
    name: 'insert-failed',
    verdict: DROP,
    sentence: 'another entry already holds this tuple',
  },
  {
    code: REASON_SNAT_PORTS_EXHAUSTED,
    name: 'snat-ports-exhausted',
    verdict: DROP,
    sentence: 'no free source port was found for masquerading to this destination',
  },
  {
    code: REASON_INVALID_STATE,
    name: 'invalid-state',
    verdict: DROP,
    sentence: 'conntrack classified the packet as INVALID',
  },
  {
    code: REASON_NO_SUCH_PORT,
    name: 'no-such-port',
    verdict: REJECT,
    sentence: 'the address is a Service’s, but no Service uses this port and protocol',
  },
  {
    code: REASON_UNALLOCATED_CLUSTER_IP,
    name: 'unallocated-cluster-ip',
    verdict: DROP,
    sentence: 'the address is in the Service CIDR but no Service has it',
  },
  {
    code: REASON_NO_HEALTHY_NODE,
    name: 'no-healthy-node',
    verdict: DROP,
    sentence: 'no node passes the load balancer’s health check for this Service',
  },
  {
    code: REASON_NO_ROUTE,
    name: 'no-route',
    verdict: DROP,
    sentence: 'neither source nor destination belongs to the cluster',
  },
  {
    code: REASON_REPLY_BYPASSES_NAT,
    name: 'reply-bypasses-nat',
    verdict: DROP,
    sentence: 'the reply does not pass the node that translated the request, so the client does not recognise it',
  },
  {
    code: REASON_NO_SERVICE,
    name: 'no-service',
    verdict: REJECT,
    sentence: 'the connection was meant for a Service, but no Service has this address and port (any more)',
  },
  {
    code: REASON_ENTRY_LOST,
    name: 'entry-lost',
    verdict: DROP,
    sentence: 'the conntrack entry was gone in mid-connection and the rules gave the packet another endpoint',
  },
  {
    code: REASON_REPLY_LOST,
    name: 'reply-lost',
    verdict: DROP,
    sentence: 'the conntrack entry was gone when the reply came, so it went back untranslated',
  },
  {
    code: REASON_NODE_IP_NOT_IN_RANGES,
    name: 'node-ip-not-in-source-ranges',
    verdict: DROP,
    sentence: 'ipvs blocks the node itself when its address is in none of loadBalancerSourceRanges',
  },
  {
    code: REASON_BACKEND_GONE,
    name: 'backend-gone',
    verdict: DROP,
    sentence: 'conntrack or a stale DNS answer still sends the connection to a pod that is no longer there',
  },
  {
    code: REASON_BACKLOG_FULL,
    name: 'backlog-full',
    verdict: DROP,
    sentence: "a node's receive queue was full: its CPU could not keep up",
  },
  {
    code: REASON_NAME_NOT_RESOLVED,
    name: 'name-not-resolved',
    verdict: DROP,
    sentence: 'the name has no address of the client’s IP family, or the client has no resolver; nothing was dialled',
  },
  {
    code: REASON_DNS_LOST,
    name: 'dns-lost',
    verdict: DROP,
    sentence: 'a DNS query did not reach a server, so nothing was dialled; the resolver’s retries are not modelled',
  },
  {
    code: REASON_POD_QUEUE_FULL,
    name: 'pod-queue-full',
    verdict: DROP,
    sentence: 'as many requests as the pod lets wait were waiting for it already',
  },
  {
    code: REASON_NO_IPVS_CONNECTION,
    name: 'no-ipvs-connection',
    verdict: REJECT,
    sentence: 'ipvs has forgotten the connection and makes a new one for a SYN only; the node answers with a RST',
  },
  {
    code: REASON_ENDPOINT_IS_SERVICE,
    name: 'endpoint-is-service',
    verdict: REJECT,
    sentence: 'the endpoint is itself an address of a Service; a packet is translated once, and then refused there',
  },
  {
    code: REASON_ENDPOINT_NOT_ROUTED,
    name: 'endpoint-not-routed',
    verdict: DROP,
    sentence: 'the endpoint is an address of the Service network, which no machine has: the translated packet is lost',
  },
  {
    code: REASON_POLICY_EGRESS,
    name: 'network-policy-egress',
    verdict: DROP,
    sentence:
      'NetworkPolicies isolate the client pod for egress and no rule of theirs lets the packet out; the client hears nothing',
  },
  {
    code: REASON_POLICY_INGRESS,
    name: 'network-policy-ingress',
    verdict: DROP,
    sentence:
      'NetworkPolicies isolate the pod for ingress and no rule of theirs lets the packet in; the client hears nothing',
  },
  {
    code: REASON_POLICY_DNS,
    name: 'network-policy-dns',
    verdict: DROP,
    sentence: 'NetworkPolicies do not let the question for the name reach the DNS server, so nothing was dialled',
  },
  {
    code: REASON_POD_STOPPED,
    name: 'pod-stopped',
    verdict: REJECT,
    sentence: 'the rules still name a pod that has stopped listening, or already name one that does not listen yet',
  },
  {
    code: REASON_NODE_DOWN,
    name: 'node-down',
    verdict: DROP,
    sentence: 'the load balancer still sends to a node that is down; the client hears nothing',
  },
]

export const REASON_COUNT: number = REASONS.length
