/**
 * A hand-made report of the two-plus-one scenario: web-0 and web-1 on node-a, web-2 on node-b, 6,000 connections from
 * outside. Local halves them over the nodes, Cluster gives each pod a third and masquerades two in three … of them.
 */
import type {
  DnsReport,
  IngressReport,
  LatencySummary,
  ReplayReport,
  RunReport,
  SeriesReport,
} from '../../src/report/types.ts'

export function latency(p50: number, p99: number, count = 24_000): LatencySummary {
  return { count, mean: p50 * 1.1, p50, p90: (p50 + p99) / 2, p95: (p50 + p99) / 2, p99, p999: p99 * 1.5, max: p99 * 2 }
}

export function endpoint(
  index: number,
  node: string,
  connections: number,
  total: number,
): RunReport['endpoints'][number] {
  return {
    service: 'default/web:http',
    endpoint: `10.244.${index}.2:8080`,
    pod: `default/web-${index}`,
    node,
    connections,
    packets: connections * 4,
    bytes: connections * 2_000,
    share: total === 0 ? 0 : connections / total,
    podRequests: 0,
    podUtilization: 0,
  }
}

export function nodeReport(node: string, change: Partial<RunReport['nodes'][number]> = {}): RunReport['nodes'][number] {
  return {
    node,
    connections: 3_000,
    conntrackPeak: 1_200,
    conntrackMax: 131_072,
    conntrackDrops: 0,
    earlyDrops: 0,
    snatPortsPeak: 0,
    snatExhausted: 0,
    affinityPeak: 0,
    affinityHits: 0,
    affinityMisses: 0,
    conntrackFirstDropSeconds: null,
    cores: 4,
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
    conntrack: { found: 0, invalid: 0, insert: 6_000, insertFailed: 0, drop: 0, earlyDrop: 0, clashResolve: 0 },
    conntrackHolders: [{ service: 'default/web:http', entries: 1_200, share: 1 }],
    ...change,
  }
}

export const NO_LATENCY: LatencySummary = { count: 0, mean: 0, p50: 0, p90: 0, p95: 0, p99: 0, p999: 0, max: 0 }

function latencies(p50: number, p99: number): Pick<RunReport, 'pathLatencyMicros'> {
  const setups = latency(2 * p50, 2 * p99, 6_000)
  return { pathLatencyMicros: { packet: latency(p50, p99), firstPacket: setups, connectionSetup: setups } }
}

const HISTOGRAM = { fromMicros: [32, 48, 176], toMicros: [36, 52, 192], counts: [12_000, 11_000, 1_000] }

const RATES = { packetsPerSecond: 400, connectionsPerSecond: 100, bitsPerSecond: 1_600_000 }

export function clusterRun(change: Partial<RunReport> = {}): RunReport {
  return {
    policy: 'cluster',
    proxyMode: 'nftables',
    ingressPath: null,
    offered: RATES,
    delivered: RATES,
    connections: { attempted: 6_000, established: 6_000, failed: 0, broken: 0 },
    verdicts: { accept: 24_000, drop: 0, reject: 0, notSent: 0 },
    drops: {},
    pathLatencyMicros: {
      packet: latency(52, 190),
      firstPacket: latency(64, 226, 6_000),
      connectionSetup: latency(104, 380, 6_000),
    },
    requestLatencyMicros: NO_LATENCY,
    histograms: {
      packet: HISTOGRAM,
      firstPacket: HISTOGRAM,
      connectionSetup: HISTOGRAM,
      request: { fromMicros: [], toMicros: [], counts: [] },
    },
    crossNodeFraction: 0.5,
    masqueradedFraction: 1,
    clientIpPreservedFraction: 0,
    endpoints: [
      endpoint(0, 'node-a', 2_010, 6_000),
      endpoint(1, 'node-a', 1_985, 6_000),
      endpoint(2, 'node-b', 2_005, 6_000),
    ],
    imbalance: [{ service: 'default/web:http', endpoints: 3, maxOverMean: 1.005, coefficientOfVariation: 0.0054 }],
    services: [{ service: 'default/web:http', ...latencies(52, 190), requestLatencyMicros: NO_LATENCY }],
    nodes: [
      nodeReport('node-a', { snatPortsPeak: 40 }),
      nodeReport('node-b', { conntrackPeak: 1_900, snatPortsPeak: 55 }),
    ],
    dns: dnsReport(),
    ingress: null,
    series: seriesReport(),
    ...change,
  }
}

/** Four quarters of a minute, as even as the runs are; `change` says what differs. */
export function seriesReport(change: Partial<SeriesReport> = {}): SeriesReport {
  const each = (count: number): number[] => [count, count, count, count]
  const counts = { packets: each(6_000), connections: each(1_500), bytes: each(3_000_000) }
  return {
    binSeconds: 15,
    offered: counts,
    delivered: counts,
    failedConnections: each(0),
    brokenConnections: each(0),
    notSent: each(0),
    dropsByReason: {},
    pathLatencyMicros: { count: each(6_000), p50: [52, 52, 52, null], p99: [190, 190, 190, null] },
    nodes: ['node-a', 'node-b'].map((node) => ({
      node,
      conntrackEntries: [600, 1_200, 1_200, 1_200],
      sourcePorts: each(0),
      affinityEntries: each(0),
      cpuUtilization: each(0),
    })),
    nodesLeftOut: 0,
    endpoints: [0, 1, 2].map((i) => ({
      service: 'default/web:http',
      endpoint: `10.244.${i}.2:8080`,
      connections: each(500),
    })),
    endpointsLeftOut: 0,
    requestsByStatus: {},
    dnsQueries: each(0),
    ...change,
  }
}

/** Of a run without a query, with one element in every list; `change` says what differs. */
export function dnsReport(change: Partial<DnsReport> = {}): DnsReport {
  return {
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
    servers: [{ address: '10.244.0.53', pod: 'kube-system/coredns', node: 'node-a', queries: 0, share: 0 }],
    headless: ['default/mysql:mysql'],
    ...change,
  }
}

export function ingressReport(change: Partial<IngressReport> = {}): IngressReport {
  const backend = { ingress: 'default/site', service: 'default/web', status: 200 }
  return {
    connections: 2_000,
    requests: 6_000,
    requestsPerConnection: 3,
    byStatus: { 200: 5_700, 404: 300 },
    unmatched: 300,
    rules: [
      { ...backend, rule: 'Prefix / of Ingress default/site', requests: 5_700, share: 0.95 },
      { rule: null, ingress: null, service: null, status: 404, requests: 300, share: 0.05 },
    ],
    upstream: {
      connections: 60,
      reused: 5_640,
      reuseFraction: 5_640 / 5_700,
      requestsPerConnection: 95,
      crossNodeFraction: 0.5,
      masqueradedFraction: 0,
      failed: 0,
      closed: { idle: 4, poolFull: 0, worn: 0, aborted: 0, broken: 0 },
    },
    pods: [0, 1, 2].map((i) => ({
      service: 'default/web:http',
      endpoint: `10.244.1.${10 + i}:8080`,
      pod: i === 2 ? null : `default/web-${i}`,
      node: i === 2 ? null : 'node-a',
      requests: 1_900,
      share: 1 / 3,
      connections: 20,
    })),
    proxies: [
      {
        pod: 'edge/proxy-0',
        address: '10.244.1.200',
        node: 'node-a',
        workers: 4,
        connections: 2_000,
        requests: 6_000,
        share: 1,
      },
    ],
    xForwardedForClientFraction: 0,
    ...change,
  }
}

export function localRun(change: Partial<RunReport> = {}): RunReport {
  return {
    ...clusterRun(),
    policy: 'local',
    pathLatencyMicros: {
      packet: latency(41, 120),
      firstPacket: latency(50, 150, 6_000),
      connectionSetup: latency(82, 240, 6_000),
    },
    crossNodeFraction: 0,
    masqueradedFraction: 0,
    clientIpPreservedFraction: 1,
    endpoints: [
      endpoint(0, 'node-a', 1_500, 6_000),
      endpoint(1, 'node-a', 1_500, 6_000),
      endpoint(2, 'node-b', 3_000, 6_000),
    ],
    imbalance: [{ service: 'default/web:http', endpoints: 3, maxOverMean: 1.5, coefficientOfVariation: 0.3536 }],
    nodes: [nodeReport('node-a'), nodeReport('node-b')],
    ...change,
  }
}

export function report(
  runs: RunReport[] = [clusterRun(), localRun()],
  change: Partial<ReplayReport> = {},
): ReplayReport {
  return {
    schemaVersion: 1,
    kind: 'replay',
    trace: {
      name: 'two-plus-one',
      packets: 24_000,
      connections: 6_000,
      durationSeconds: 60,
      arrivalSeconds: 60,
      clients: 500,
      bytes: 12_000_000,
    },
    inputs: { trace: '0123456789abcdef', manifests: 'fedcba9876543210', seed: 21 },
    comparedServices: ['default/web'],
    draws: null,
    runs,
    model: [
      { name: 'linkMicros', value: 45, unit: 'us', source: 'calibration.json rtt_us.sameAz, half of avg', isSet: true },
    ],
    derived: [{ object: 'Service default/web', what: 'clusterIP 10.96.0.12' }],
    warnings: [
      {
        code: 'W_UNKNOWN_FIELD',
        where: 'web.yaml, document 2, spec.clientIP',
        message: 'spec.clientIP is not a field of Service; did you mean spec.sessionAffinityConfig.clientIP?',
      },
    ],
    changes: [],
    emulates: { kubernetes: '1.31 to 1.35', kernel: '6.18', coredns: '1.14.7', ingressNginx: '1.12 and later' },
    engine: {
      version: '0.1.0',
      node: 'v20.20.2',
      machine: 'linux x64, 2 cpus',
      workers: 2,
      shards: 16,
      wallSeconds: 0.21,
      packetsPerSecond: 228_571,
      processingNanosPerPacket: { p50: 310, p99: 820 },
      peakRssBytes: 125_829_120,
      nativeAddons: false,
    },
    ...change,
  }
}
