/**
 * The flow record of a connection: one cache line that says who talks to whom, how it was translated, and where its entries are.
 *
 * A flow record is 16 int32 words. It is written when the trace defines the connection and filled in when the opening packet
 * passes. The fast path takes the entries' places from here and checks every word of their keys, so that a place that has
 * been given to another connection is noticed; it saves the hash and one miss in the index (a fifth to two fifths, bench: packet-step), not the lookup's
 * meaning. Flow records are numbered by lane and slot, so their number is the most connections under way at once, not all of them.
 */

export const FLOW_WORDS = 16
export const FLOW_SHIFT = 4

/** Client's address id, the address id it dials, its ports (source << 16 | destination). */
export const FLOW_CLIENT = 0
export const FLOW_DESTINATION = 1
export const FLOW_PORTS = 2
/** `FLOW_NEW` … in the low 8 bits, protocol above. */
export const FLOW_STATUS = 3
/** Conntrack entries on the first and second node that the connection crosses; 0 for none. */
export const FLOW_ENTRY = 4
export const FLOW_ENTRY2 = 5
/** node << 8 | protocol of those nodes; negative for none. */
export const FLOW_NODE_PROTOCOL = 6
export const FLOW_NODE_PROTOCOL2 = 7
/** Path latency of a packet of the established connection in either direction, ns, without waiting. */
export const FLOW_FORWARD_NANOS = 8
/**
 * Receive-side scaling: the flow's hash in the low 8 bits; `FLOW_*` above; its core on the first and second node in bits 16 to
 * 23 and 24 to 31.
 */
export const FLOW_FLAGS = 9
/** Path latency of the opening packet, ns: the first half of the connection's set-up. */
export const FLOW_FIRST_NANOS = 10
/** Endpoint id, or -1 where the connection goes to no Service. */
export const FLOW_ENDPOINT = 11
/** What the pod sees: its own address id, the source's address id, ports (source << 16 | destination). */
export const FLOW_BACKEND = 12
export const FLOW_NAT_SOURCE = 13
export const FLOW_NAT_PORTS = 14
/** Index in the trace's destination table. */
export const FLOW_DESTINATION_INDEX = 15

export const FLOW_HASH_BITS = 255
/** The first node masquerades: its packets cost more there. */
export const FLOW_MASQUERADED = 256
/** A reply has been seen. */
export const FLOW_ANSWERED = 512
/** It leads to an HTTP proxy. */
export const FLOW_PROXIED = 1024
/** Where its cores stand. */
export const FLOW_CORE_SHIFT = 16
export const FLOW_CORE2_SHIFT = 24

/** Defined, no packet yet. */
export const FLOW_NEW = 0
/** On one node. */
export const FLOW_OPEN = 1
/** On two nodes, translated on the first. */
export const FLOW_OPEN2 = 2
/**
 * Any other path: through another node's node port, so translated on the second node and perhaps crossing a third, whose
 * entry and node << 8 | protocol stand in `thirdEntries`. Rare, and always taken by the slow path.
 */
export const FLOW_CHAIN = 3
/** Its opening packet was lost, or it broke: the rest is not sent. */
export const FLOW_FAILED = 4
/** Its pod has gone: TCP breaks at the next packet, UDP vanishes until its entries expire or are cleaned up. */
export const FLOW_ORPHANED = 5
/** It ends at a balancer outside the cluster: no node sees it. */
export const FLOW_EDGE = 6

/** Lanes of a trace that hold flows dealt out one by one, as receive-side scaling deals them out to cores. */
export interface Lanes {
  /** Of the whole trace: a power of two. */
  readonly count: number
  /** Numbers of the lanes here; by their place the first flow record of each, and the number of flow records at the end. */
  readonly lane: Int32Array
  readonly firstFlow: Int32Array
}
