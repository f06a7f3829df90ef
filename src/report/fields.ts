/**
 * Which fields a replay report has, and what their numbers are: for thresholds, which are checked before a run starts.
 *
 * `SHAPE` is a report with one element in every list. The compiler holds it against the contract in `types.ts`, so a
 * field that is added there without being added here is a build error.
 */
import { TIMELINE_SHAPE } from './timeline-types.ts'
import type {
  LatencyHistogram,
  LatencySummary,
  PathLatency,
  Rates,
  ReplayReport,
  RunReport,
  SeriesCounts,
  SeriesReport,
} from './types.ts'

export const LATENCY_SHAPE: LatencySummary = { count: 0, mean: 0, p50: 0, p90: 0, p95: 0, p99: 0, p999: 0, max: 0 }
export const PATH_LATENCY_SHAPE: PathLatency = {
  packet: LATENCY_SHAPE,
  firstPacket: LATENCY_SHAPE,
  connectionSetup: LATENCY_SHAPE,
}
export const RATES_SHAPE: Rates = { packetsPerSecond: 0, connectionsPerSecond: 0, bitsPerSecond: 0 }

const HISTOGRAM_SHAPE: LatencyHistogram = { fromMicros: [0], toMicros: [0], counts: [0] }

const SERIES_COUNTS_SHAPE: SeriesCounts = { packets: [0], connections: [0], bytes: [0] }
const SERIES_SHAPE: SeriesReport = {
  binSeconds: 0,
  offered: SERIES_COUNTS_SHAPE,
  delivered: SERIES_COUNTS_SHAPE,
  failedConnections: [0],
  brokenConnections: [0],
  notSent: [0],
  dropsByReason: {},
  pathLatencyMicros: { count: [0], p50: [0], p99: [0] },
  nodes: [{ node: '', conntrackEntries: [0], sourcePorts: [0], affinityEntries: [0], cpuUtilization: [0] }],
  nodesLeftOut: 0,
  endpoints: [{ service: '', endpoint: '', connections: [0] }],
  endpointsLeftOut: 0,
  requestsByStatus: {},
  dnsQueries: [0],
}

const RUN_SHAPE: RunReport = {
  policy: '',
  proxyMode: '',
  ingressPath: '',
  offered: RATES_SHAPE,
  delivered: RATES_SHAPE,
  connections: { attempted: 0, established: 0, failed: 0, broken: 0 },
  verdicts: { accept: 0, drop: 0, reject: 0, notSent: 0 },
  drops: {},
  pathLatencyMicros: PATH_LATENCY_SHAPE,
  requestLatencyMicros: LATENCY_SHAPE,
  histograms: {
    packet: HISTOGRAM_SHAPE,
    firstPacket: HISTOGRAM_SHAPE,
    connectionSetup: HISTOGRAM_SHAPE,
    request: HISTOGRAM_SHAPE,
  },
  crossNodeFraction: 0,
  masqueradedFraction: 0,
  clientIpPreservedFraction: 0,
  endpoints: [
    {
      service: '',
      endpoint: '',
      pod: '',
      node: '',
      connections: 0,
      packets: 0,
      bytes: 0,
      share: 0,
      podRequests: 0,
      podUtilization: 0,
    },
  ],
  services: [{ service: '', pathLatencyMicros: PATH_LATENCY_SHAPE, requestLatencyMicros: LATENCY_SHAPE }],
  imbalance: [{ service: '', endpoints: 0, maxOverMean: 0, coefficientOfVariation: 0 }],
  nodes: [
    {
      node: '',
      connections: 0,
      conntrackPeak: 0,
      conntrackMax: 0,
      conntrackDrops: 0,
      conntrackFirstDropSeconds: 0,
      earlyDrops: 0,
      snatPortsPeak: 0,
      snatExhausted: 0,
      affinityPeak: 0,
      affinityHits: 0,
      affinityMisses: 0,
      cores: 0,
      cpuUtilization: 0,
      cpuUtilizationPeak: 0,
      backlogDrops: 0,
      paths: {
        fromOutside: 0,
        stayed: 0,
        stayedMasqueraded: 0,
        left: 0,
        leftMasqueraded: 0,
        arrived: 0,
        arrivedMasqueraded: 0,
      },
      conntrack: { found: 0, invalid: 0, insert: 0, insertFailed: 0, drop: 0, earlyDrop: 0, clashResolve: 0 },
      conntrackHolders: [{ service: '', entries: 0, share: 0 }],
    },
  ],
  dns: {
    queries: 0,
    byRcode: {},
    byType: {},
    connections: 0,
    queriesPerConnection: 0,
    resolved: 0,
    cached: 0,
    failed: 0,
    withoutResolver: 0,
    lost: 0,
    staleAnswers: 0,
    goneAddresses: 0,
    tcpRetries: 0,
    packets: 0,
    bytes: 0,
    conntrackEntries: 0,
    conntrackPeak: 0,
    servers: [{ address: '', pod: '', node: '', queries: 0, share: 0 }],
    headless: [''],
  },
  ingress: {
    connections: 0,
    requests: 0,
    requestsPerConnection: 0,
    byStatus: {},
    unmatched: 0,
    rules: [{ rule: '', ingress: '', service: '', status: 0, requests: 0, share: 0 }],
    upstream: {
      connections: 0,
      reused: 0,
      reuseFraction: 0,
      requestsPerConnection: 0,
      crossNodeFraction: 0,
      masqueradedFraction: 0,
      failed: 0,
      closed: { idle: 0, poolFull: 0, worn: 0, aborted: 0, broken: 0 },
    },
    pods: [{ service: '', endpoint: '', pod: '', node: '', requests: 0, share: 0, connections: 0 }],
    proxies: [{ pod: '', address: '', node: '', workers: 0, connections: 0, requests: 0, share: 0 }],
    xForwardedForClientFraction: 0,
  },
  series: SERIES_SHAPE,
}
const { histograms: _, series: __, ...DRAWN_SHAPE } = RUN_SHAPE

export const SHAPE: Required<ReplayReport> = {
  schemaVersion: 1,
  kind: 'replay',
  trace: { name: '', packets: 0, connections: 0, durationSeconds: 0, arrivalSeconds: 0, clients: 0, bytes: 0 },
  inputs: { trace: '', manifests: '', seed: 0 },
  comparedServices: [''],
  runs: [RUN_SHAPE],
  draws: {
    count: 0,
    seeds: [0],
    placements: [{ placement: 0, pods: {} }],
    advice: [{ pair: '', answer: '', draws: 0 }],
    least: [DRAWN_SHAPE],
    most: [DRAWN_SHAPE],
  },
  model: [{ name: '', value: 0, unit: '', source: '', isSet: false }],
  derived: [{ object: '', what: '' }],
  warnings: [{ code: '', where: '', message: '' }],
  changes: [0],
  emulates: { kubernetes: '', kernel: '', coredns: '', ingressNginx: '' },
  timeline: TIMELINE_SHAPE,
  engine: {
    version: '',
    node: '',
    machine: '',
    workers: 0,
    shards: 0,
    wallSeconds: 0,
    packetsPerSecond: 0,
    processingNanosPerPacket: { p50: 0, p99: 0 },
    peakRssBytes: 0,
    nativeAddons: false,
  },
}

/** Maps from a name that the run decides to a number of packets or queries; a name that did not occur counts 0. */
const COUNTERS: ReadonlySet<string> = new Set(['drops', 'byRcode', 'byType', 'byStatus'])

export function isCounterMap(field: string): boolean {
  return COUNTERS.has(field)
}

/** What a number of the report measures: decides the units that a threshold may be written in. */
export type Dimension = 'micros' | 'nanos' | 'seconds' | 'bytes' | 'fraction' | 'count'

/** The unit ends the name, here or in a field that holds this one (`pathLatencyMicros.packet.p99`). */
export function dimensionOf(fields: readonly string[]): Dimension {
  const leaf = fields.at(-1) ?? ''
  if (leaf === 'share' || leaf.endsWith('Fraction') || leaf === 'coefficientOfVariation') return 'fraction'
  if (leaf === 'bytes' || leaf.endsWith('Bytes')) return 'bytes'
  if (leaf === 'count') return 'count'
  if (fields.some((field) => field.endsWith('Micros'))) return 'micros'
  if (fields.some((field) => field.includes('Nanos'))) return 'nanos'
  return leaf.endsWith('Seconds') ? 'seconds' : 'count'
}

const TIME_UNITS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  min: 60e9,
  h: 3600e9,
}
const BYTE_UNITS: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
}
const COUNT_UNITS: Readonly<Record<string, number>> = { k: 1e3, M: 1e6, G: 1e9 }
const FRACTION_UNITS: Readonly<Record<string, number>> = { '%': 0.01 }
const NANOS_PER: Readonly<Partial<Record<Dimension, number>>> = { nanos: 1, micros: 1e3, seconds: 1e9 }

/** Every unit a number of this dimension may be written in, and how many of the field's own unit it is. */
export function unitsOf(dimension: Dimension): ReadonlyMap<string, number> {
  const nanos = NANOS_PER[dimension]
  if (nanos !== undefined) {
    return new Map(Object.entries(TIME_UNITS).map(([unit, size]) => [unit, size / nanos]))
  }
  if (dimension === 'bytes') return new Map(Object.entries(BYTE_UNITS))
  return new Map(Object.entries(dimension === 'fraction' ? FRACTION_UNITS : COUNT_UNITS))
}
