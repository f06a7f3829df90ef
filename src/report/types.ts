/**
 * The JSON contract of `dpemu replay -o json`, schema version 1. Fields are only ever added within a version.
 *
 * `merge` and `summarize` make this document; text and Markdown are views of it, thresholds are expressions over it.
 * Everything but `engine` is a function of trace, manifests, options, seed and version; `engine` is measured.
 */
import type { Warning } from '../errors.ts'
import type { TimelineReport } from './timeline-types.ts'

export type { TimelineReport } from './timeline-types.ts'

export interface ReplayReport {
  schemaVersion: 1
  kind: 'replay'
  trace: TraceSummary
  inputs: InputsReport
  /** Services whose externalTrafficPolicy the runs differ in: `namespace/name`. */
  comparedServices: string[]
  /** With several draws the median of each figure by itself, of those that occurred: the lower of two in the middle. */
  runs: RunReport[]
  /** null: one draw, of which `runs` are the figures. */
  draws: DrawsReport | null
  /** Constants of the path-latency model that the runs used. */
  model: ModelConstant[]
  /** What the manifests left out and dpemu filled in. */
  derived: { object: string; what: string }[]
  warnings: Warning[]
  /** Seconds from the start at which the trace changes the cluster, in order. */
  changes: number[]
  emulates: Emulated
  /** Of a replay with a Timeline only. */
  timeline?: TimelineReport
  engine: EngineReport
}

/** The same replay over several seeds (traffic, and every random choice on the way), placements of the pods, or both. */
export interface DrawsReport {
  /** Seeds times placements. */
  count: number
  /** The first is that of the trace (or `--seed`), the others are derived from it. */
  seeds: number[]
  placements: PlacementReport[]
  /** What each draw by itself would be answered: `Local`, `Local at a cost`, `not Local`, `Cluster`, `no difference`, by pair of runs. */
  advice: { pair: string; answer: string; draws: number }[]
  /** Of every figure of `runs`, by itself. */
  least: DrawnRun[]
  most: DrawnRun[]
  /** The runs of each draw, seeds slowest. Not in the JSON: they are what it sums up. */
  each?: readonly (readonly RunReport[])[]
}

/** Distributions are added up over the draws, in `runs`; the course of a run is that of the first draw. */
export type DrawnRun = Omit<RunReport, 'histograms' | 'series'>

export interface PlacementReport {
  /** 0: the one that is derived without --placements. */
  placement: number
  /** Owner (`Deployment default/web`) to node to pods, of those that are not the same in every placement. */
  pods: Record<string, Record<string, number>>
}

/** Releases whose behaviour is emulated, as text: `1.31 to 1.35`. */
export interface Emulated {
  kubernetes: string
  kernel: string
  coredns: string
  ingressNginx: string
}

export interface TraceSummary {
  name: string
  packets: number
  connections: number
  durationSeconds: number
  /** In which connections begin; `connectionsPerSecond` is over these, other rates are over `durationSeconds`. */
  arrivalSeconds: number
  clients: number
  bytes: number
}

/** Digests, equal where the inputs are: of what packets hang on in the manifests' objects, and of a trace's header, index and totals. */
export interface InputsReport {
  trace: string
  manifests: string
  /** That every random choice is a function of. */
  seed: number
}

export interface ModelConstant {
  name: string
  value: number
  unit: string
  source: string
  /** By a model file. */
  isSet: boolean
}

export interface Rates {
  packetsPerSecond: number
  connectionsPerSecond: number
  bitsPerSecond: number
}

/** Microseconds. All 0 where nothing was recorded; `count` tells. */
export interface LatencySummary {
  count: number
  mean: number
  p50: number
  p90: number
  p95: number
  p99: number
  p999: number
  max: number
}

/**
 * A latency's whole distribution: values from `fromMicros[i]` to below `toMicros[i]` were recorded `counts[i]` times. Eight bins for
 * each doubling; bins without a value are left out.
 */
export interface LatencyHistogram {
  fromMicros: number[]
  toMicros: number[]
  counts: number[]
}

export interface PathLatency {
  packet: LatencySummary
  firstPacket: LatencySummary
  connectionSetup: LatencySummary
}

export interface RunReport {
  /** `cluster`, `local` or `as-is`. */
  policy: string
  proxyMode: string
  /** How HTTP requests get to backends: `instance`, `ip`, `proxy`, or `as-is`; null where none goes through a proxy. */
  ingressPath: string | null
  offered: Rates
  delivered: Rates
  /** `broken`: established, and lost later because their conntrack entry was. */
  connections: { attempted: number; established: number; failed: number; broken: number }
  /** Packets by verdict; packets of failed connections that were never sent are in `notSent`. */
  verdicts: { accept: number; drop: number; reject: number; notSent: number }
  /** Drop and reject reason (`no-local-endpoint`, `conntrack-full`, …) to packets. */
  drops: Record<string, number>
  pathLatencyMicros: PathLatency
  /**
   * From sending the last packet of a request to the end of its service: path latency, waiting in the pod, and its CPU time there.
   * Only where pods are modelled as queues (`podRequestNanos`).
   */
  requestLatencyMicros: LatencySummary
  histograms: {
    packet: LatencyHistogram
    firstPacket: LatencyHistogram
    connectionSetup: LatencyHistogram
    request: LatencyHistogram
  }
  /** Fractions of established connections. */
  crossNodeFraction: number
  masqueradedFraction: number
  clientIpPreservedFraction: number
  endpoints: EndpointReport[]
  imbalance: ImbalanceReport[]
  services: ServiceReport[]
  nodes: NodeReport[]
  dns: DnsReport
  /** null where no HTTP request goes through a proxy. */
  ingress: IngressReport | null
  /** null: it was left out (`--no-series`). */
  series: SeriesReport | null
}

/**
 * A run over virtual time, in at most 256 bins of `binSeconds`: bin k is from k × binSeconds to before (k + 1) × binSeconds, the last
 * one has the end as well. Lists are by bin. Counts add up to the figures of the run. Levels are those at the end of a bin,
 * over all shards at the same moment, so the highest of a level is the run's peak. With several draws: the first one's.
 */
export interface SeriesReport {
  binSeconds: number
  /** `connections`: attempted. */
  offered: SeriesCounts
  /** `connections`: established. */
  delivered: SeriesCounts
  failedConnections: number[]
  brokenConnections: number[]
  /** Packets of connections that had failed. */
  notSent: number[]
  /** Drop and reject reason to packets; those that occurred. */
  dropsByReason: Record<string, number[]>
  /** Of delivered packets, within 1.6 %; null in a bin without one. */
  pathLatencyMicros: { count: number[]; p50: (number | null)[]; p99: (number | null)[] }
  /** In the order of the run's `nodes`; at most 256, those that came nearest to a limit. */
  nodes: NodeSeries[]
  nodesLeftOut: number
  /** In the order of the run's `endpoints`; at most 256: those of compared Services first, then those with the most connections. */
  endpoints: EndpointSeries[]
  endpointsLeftOut: number
  /** Status to HTTP requests; those that occurred. */
  requestsByStatus: Record<string, number[]>
  dnsQueries: number[]
}

export interface SeriesCounts {
  packets: number[]
  connections: number[]
  bytes: number[]
}

export interface NodeSeries {
  node: string
  /** At the end of the bin; the limit is the node's `conntrackMax`. */
  conntrackEntries: number[]
  /** At the end of the bin, towards the destination with the most of them. */
  sourcePorts: number[]
  /** At the end of the bin. */
  affinityEntries: number[]
  /** CPU time of packets over what the cores have in the bin. */
  cpuUtilization: number[]
}

export interface EndpointSeries {
  /** `namespace/name:port`. */
  service: string
  /** `ip:port`. */
  endpoint: string
  /** Begun in the bin. */
  connections: number[]
}

/** What HTTP requests came to that reached the proxies of Ingresses. */
export interface IngressReport {
  /** Of clients, with a request at least. */
  connections: number
  requests: number
  requestsPerConnection: number
  /** Status to requests. 200 stands for whatever the backend says. */
  byStatus: Record<string, number>
  /** That no rule took: 404. */
  unmatched: number
  rules: IngressRuleReport[]
  /** Connections of proxies to backends; they are in `endpoints`, `nodes` and `drops`, not in `connections` of the run. */
  upstream: {
    connections: number
    /** Requests that went over one that was there. */
    reused: number
    reuseFraction: number
    requestsPerConnection: number
    crossNodeFraction: number
    masqueradedFraction: number
    /** Requests for which none could be had: answered 502 or 504. */
    failed: number
    /** By the proxy, and those that broke. */
    closed: { idle: number; poolFull: number; worn: number; aborted: number; broken: number }
  }
  pods: IngressPodReport[]
  proxies: IngressProxyReport[]
  /** Part of the client connections whose proxy knows the client's address, and puts it into X-Forwarded-For. */
  xForwardedForClientFraction: number
}

export interface IngressRuleReport {
  /** `Prefix /foo of Ingress default/web`; null for requests that no rule took. */
  rule: string | null
  /** `namespace/name`. */
  ingress: string | null
  service: string | null
  /** As the rule has it; a backend that gave no connection has made it 502, 503 or 504 in `byStatus`. */
  status: number
  requests: number
  share: number
}

/** An endpoint behind an Ingress: its share of requests beside its connections, which `endpoints` has shares of. */
export interface IngressPodReport {
  service: string
  endpoint: string
  pod: string | null
  node: string | null
  requests: number
  /** Of all requests that backends got. */
  share: number
  connections: number
}

export interface IngressProxyReport {
  /** null for a cloud load balancer. */
  pod: string | null
  address: string
  node: string | null
  workers: number
  connections: number
  requests: number
  share: number
}

/** What the names cost that connections dialled, and what they gave. Recorded DNS traffic is plain traffic of its Service. */
export interface DnsReport {
  queries: number
  byRcode: Record<string, number>
  byType: Record<string, number>
  /** Connections that dialled a name; they are `resolved`, `failed` or `lost`. */
  connections: number
  queriesPerConnection: number
  resolved: number
  /** Of the resolved: by the client's own cache, without a query. */
  cached: number
  /** No address of the client's IP family; of these, clients that have no resolver here. */
  failed: number
  withoutResolver: number
  /** A query of theirs did not arrive. */
  lost: number
  /** Resolved to an address that the name had no more, out of a cache. */
  staleAnswers: number
  /** Resolved to an address where nobody was any more. */
  goneAddresses: number
  /** Queries repeated over TCP after a truncated reply. */
  tcpRetries: number
  /** Of queries and replies; not part of `offered` and `delivered`, which are the trace's. */
  packets: number
  bytes: number
  /** Made for queries, on all nodes; and the most of the DNS Service at one time. */
  conntrackEntries: number
  conntrackPeak: number
  servers: DnsServerReport[]
  /** Service ports whose pods were dialled directly: `endpoints` has their shares, nobody balanced them. */
  headless: string[]
}

export interface DnsServerReport {
  address: string
  /** `namespace/name`, or null for a server that is no pod. */
  pod: string | null
  node: string | null
  queries: number
  share: number
}

export interface EndpointReport {
  /** `namespace/name:port`. */
  service: string
  /** `ip:port`. */
  endpoint: string
  /** `namespace/name`, or null for an endpoint that is no pod. */
  pod: string | null
  node: string | null
  connections: number
  packets: number
  bytes: number
  /** Of the Service port's connections, 0..1. */
  share: number
  /** Requests to its pod, over all its Service ports, and the part of the pod's CPUs they took; 0 where pods are no queues. */
  podRequests: number
  podUtilization: number
}

/** What a Service port's packets see. */
export interface ServiceReport {
  /** `namespace/name:port`. */
  service: string
  pathLatencyMicros: PathLatency
  requestLatencyMicros: LatencySummary
}

/** Over the connections of a Service port's endpoints, those with none included. */
export interface ImbalanceReport {
  service: string
  endpoints: number
  maxOverMean: number
  coefficientOfVariation: number
}

export interface NodeReport {
  node: string
  /** Connections that entered the cluster's dataplane here. */
  connections: number
  conntrackPeak: number
  conntrackMax: number
  conntrackDrops: number
  /** Virtual time at which the table first refused a connection; null when it never did. */
  conntrackFirstDropSeconds: number | null
  earlyDrops: number
  /** Most source ports in use at once towards one destination. */
  snatPortsPeak: number
  snatExhausted: number
  affinityPeak: number
  affinityHits: number
  affinityMisses: number
  /** Cores, each with a receive queue; CPU time spent on packets over what there was, on average and in the busiest 256th. */
  cores: number
  cpuUtilization: number
  cpuUtilizationPeak: number
  /** Packets that found a receive queue full. */
  backlogDrops: number
  paths: PathsReport
  /** As /proc/net/stat/nf_conntrack counts them; `clashResolve` is always 0: packets here are never simultaneous. */
  conntrack: {
    found: number
    invalid: number
    insert: number
    insertFailed: number
    drop: number
    earlyDrop: number
    clashResolve: number
  }
  /** Service ports with the most entries when the table was fullest, at most five; `(no Service)` for other traffic. */
  conntrackHolders: { service: string; entries: number; share: number }[]
}

/** Where established connections of clients to Services go that enter by a node, and those that come to it. */
export interface PathsReport {
  /** Of those that enter: from clients outside of the cluster. */
  fromOutside: number
  /** They enter here, to an endpoint here; the second likewise, masqueraded. */
  stayed: number
  stayedMasqueraded: number
  /** They enter here, to an endpoint elsewhere. */
  left: number
  leftMasqueraded: number
  /** They entered by another node, to an endpoint here. */
  arrived: number
  arrivedMasqueraded: number
}

export interface EngineReport {
  version: string
  node: string
  machine: string
  workers: number
  shards: number
  wallSeconds: number
  /** Packets of the trace times runs, over wallSeconds. */
  packetsPerSecond: number
  /** CPU time of the packet loop over packets, measured per block: processing time, never path latency. */
  processingNanosPerPacket: { p50: number; p99: number }
  peakRssBytes: number
  nativeAddons: boolean
}
