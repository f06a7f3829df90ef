/**
 * What a run counted, in one Float64Array: sections of fixed length, so that merging two results is addition.
 *
 * Layout: `resultLayout` gives the offset of each section. Series are samples at fixed virtual times; the value of a node
 * at a sample is the sum over all shards, whatever worker ran them, so a peak read after merging is the node's own.
 * Only the maxima inside the histograms and the times in `firstFull` are not sums.
 */

import { REASON_COUNT } from './drop-reasons.ts'
import { HISTOGRAM_LENGTH, HISTOGRAM_MAX } from './histogram.ts'

/** Samples of a series over a run. */
export const SAMPLES = 256

/** Scalars, in order. */
export const TOTAL_OFFERED_PACKETS = 0
export const TOTAL_OFFERED_BYTES = 1
export const TOTAL_ACCEPTED_PACKETS = 2
export const TOTAL_ACCEPTED_BYTES = 3
export const TOTAL_NOT_SENT = 4
export const TOTAL_ATTEMPTED = 5
export const TOTAL_ESTABLISHED = 6
export const TOTAL_CROSS_NODE = 7
export const TOTAL_MASQUERADED = 8
export const TOTAL_CLIENT_IP_KEPT = 9
export const TOTAL_FAILED = 10
/** Connections that were established and broke later: their entry was lost and the rules had changed their mind. */
export const TOTAL_BROKEN = 11
export const TOTAL_COUNT = 16

/** Per node, in order. */
export const NODE_CONNECTIONS = 0
export const NODE_CONNTRACK_DROPS = 1
export const NODE_EARLY_DROPS = 2
export const NODE_SNAT_EXHAUSTED = 3
export const NODE_AFFINITY_HITS = 4
export const NODE_AFFINITY_MISSES = 5
/** The kernel's own counters of /proc/net/stat/nf_conntrack: tuples found taken, INVALID, inserts, inserts that clashed. */
export const NODE_FOUND = 6
export const NODE_INVALID = 7
export const NODE_INSERT = 8
export const NODE_INSERT_FAILED = 9
/** Packets that found a receive queue full. */
export const NODE_BACKLOG_DROPS = 10
/** Established connections to Services that enter here: those of clients outside of the cluster. */
export const NODE_FROM_OUTSIDE = 11
/** Of the same: to an endpoint here, to one elsewhere; and those that come to one here from another node. The next word is of those masqueraded. */
export const NODE_STAYED = 12
export const NODE_LEFT = 14
export const NODE_ARRIVED = 16
export const NODE_WORDS = 18

/** Per endpoint, in order. */
export const ENDPOINT_CONNECTIONS = 0
export const ENDPOINT_PACKETS = 1
export const ENDPOINT_BYTES = 2
export const ENDPOINT_WORDS = 3

/** What names cost and gave, in order. Connections that dialled a name, and how their resolution ended. */
export const DNS_CONNECTIONS = 0
export const DNS_RESOLVED = 1
/** By the client's own cache, without a question; they are among the resolved. */
export const DNS_CACHED = 2
export const DNS_NOT_RESOLVED = 3
/** Of these: the client has no resolver that the manifests tell of. */
export const DNS_NO_RESOLVER = 4
export const DNS_LOST = 5
/** Resolved to an address out of a cache that the name does not have any more; to one where nobody is. */
export const DNS_STALE = 6
export const DNS_GONE = 7
/** Questions asked again over TCP. */
export const DNS_TCP = 8
/** Conntrack entries made for questions, on all nodes; packets and bytes of questions and replies. */
export const DNS_ENTRIES = 9
export const DNS_PACKETS = 10
export const DNS_BYTES = 11
/** Questions by type (A, AAAA), and by the reply's rcode (0 to 5). */
export const DNS_TYPES = 12
export const DNS_RCODES = 14
export const DNS_WORDS = 20

/** Per pod that is modelled as a queue of its own, in order. */
export const POD_QUEUE_REQUESTS = 0
/** CPU time of requests, ns. */
export const POD_QUEUE_BUSY = 1
/** Requests that found the queue full. */
export const POD_QUEUE_REFUSED = 2
export const POD_QUEUE_WORDS = 3

/** What requests through HTTP proxies came to, in order: requests; their clients' connections; proxies that saw the client's address. */
export const INGRESS_REQUESTS = 0
export const INGRESS_CONNECTIONS = 1
export const INGRESS_CLIENT_SEEN = 2
/** No target was there (503), it refused (502), or nothing came back (504). */
export const INGRESS_UNAVAILABLE = 3
export const INGRESS_REFUSED = 4
export const INGRESS_TIMED_OUT = 5
/** Connections to backends: opened, across nodes, masqueraded; used again. */
export const INGRESS_OPENED = 6
export const INGRESS_CROSS_NODE = 7
export const INGRESS_MASQUERADED = 8
export const INGRESS_REUSED = 9
/** Closed: idle for too long, too many idle ones, old or of many requests, client gone; and those that broke. */
export const INGRESS_IDLE_CLOSED = 10
export const INGRESS_EVICTED = 11
export const INGRESS_WORN = 12
export const INGRESS_ABORTED = 13
export const INGRESS_BROKEN = 14
export const INGRESS_WORDS = 15

/** Per proxy, in order. */
export const PROXY_CONNECTIONS = 0
export const PROXY_REQUESTS = 1
export const PROXY_WORDS = 2

/** The histograms of one latency slot: packets, first packets, connection set-ups, requests. */
export const LATENCY_LENGTH: number = 4 * HISTOGRAM_LENGTH

export interface ResultLayout {
  readonly totals: number
  /** Packets by drop reason. */
  readonly reasons: number
  /** Latency slots: 0 is for what belongs to no Service, the others are Service ports; all of a run is their sum. */
  readonly latencies: number
  /** The histograms of slot 0; those of slot n are n × LATENCY_LENGTH further on. */
  readonly packetHistogram: number
  readonly firstHistogram: number
  readonly setupHistogram: number
  readonly requestHistogram: number
  readonly nodes: number
  /** By node: 1 + the millisecond at which the conntrack table first refused a connection, 0 for never. */
  readonly firstFull: number
  /** node + sample × nodes. */
  readonly conntrackSeries: number
  readonly affinitySeries: number
  /** CPU time in ns spent on packets, by node and sample interval. */
  readonly busySeries: number
  readonly endpoints: number
  readonly dns: number
  /** DNS questions answered, by endpoint. */
  readonly endpointQueries: number
  readonly podQueues: number
  readonly ingress: number
  /** Requests by route, and by endpoint that they were given to. */
  readonly routes: number
  readonly endpointRequests: number
  readonly proxies: number
  readonly length: number
}

/** How many of what not every run has. */
export interface ResultExtent {
  /** Latency slots; 1 when left out. */
  readonly latencies?: number
  /** Pods that are queues of their own, routes of requests, and HTTP proxies; none when left out. */
  readonly podQueues?: number
  readonly routes?: number
  readonly proxies?: number
}

export function resultLayout(nodes: number, endpoints: number, extent: ResultExtent = {}): ResultLayout {
  const { latencies = 1, podQueues = 0, routes = 0, proxies = 0 } = extent
  const totals = 0
  const reasons = totals + TOTAL_COUNT
  const packetHistogram = reasons + REASON_COUNT
  const firstHistogram = packetHistogram + HISTOGRAM_LENGTH
  const setupHistogram = firstHistogram + HISTOGRAM_LENGTH
  const requestHistogram = setupHistogram + HISTOGRAM_LENGTH
  const nodesAt = packetHistogram + latencies * LATENCY_LENGTH
  const firstFull = nodesAt + nodes * NODE_WORDS
  const conntrackSeries = firstFull + nodes
  const affinitySeries = conntrackSeries + nodes * SAMPLES
  const busySeries = affinitySeries + nodes * SAMPLES
  const endpointsAt = busySeries + nodes * SAMPLES
  const dns = endpointsAt + endpoints * ENDPOINT_WORDS
  const endpointQueries = dns + DNS_WORDS
  const podQueuesAt = endpointQueries + endpoints
  const ingress = podQueuesAt + podQueues * POD_QUEUE_WORDS
  const routesAt = ingress + INGRESS_WORDS
  const endpointRequests = routesAt + routes
  const proxiesAt = endpointRequests + endpoints
  return {
    totals,
    reasons,
    latencies,
    packetHistogram,
    firstHistogram,
    setupHistogram,
    requestHistogram,
    nodes: nodesAt,
    firstFull,
    conntrackSeries,
    affinitySeries,
    busySeries,
    endpoints: endpointsAt,
    dns,
    endpointQueries,
    podQueues: podQueuesAt,
    ingress,
    routes: routesAt,
    endpointRequests,
    proxies: proxiesAt,
    length: proxiesAt + proxies * PROXY_WORDS,
  }
}

/** Adds `from` into `into`; both of the same layout. */
export function mergeResults(into: Float64Array, from: Float64Array, layout: ResultLayout): void {
  const maxima = Array.from(
    { length: layout.latencies * (LATENCY_LENGTH / HISTOGRAM_LENGTH) },
    (_, histogram) => layout.packetHistogram + histogram * HISTOGRAM_LENGTH + HISTOGRAM_MAX,
  )
  const kept = maxima.map((at) => Math.max(into[at], from[at]))
  const firsts: number[] = []
  for (let i = layout.firstFull; i < layout.conntrackSeries; i++) {
    firsts.push(into[i] === 0 || from[i] === 0 ? into[i] + from[i] : Math.min(into[i], from[i]))
  }
  for (let i = 0; i < into.length; i++) into[i] += from[i]
  maxima.forEach((at, i) => {
    into[at] = kept[i]
  })
  into.set(firsts, layout.firstFull)
}

/** A count by (node, something) over time: source ports by endpoint, conntrack entries by service port. */
export interface PairSeries {
  readonly node: number
  readonly other: number
  readonly samples: Int32Array
}
