/** Runs and reports made by hand, and a measurer that answers at once. */

import type { Measurer } from '../../src/capacity/children.ts'
import type { Measurement } from '../../src/capacity/measure.ts'
import type {
  BrokenObjective,
  CapacityCell,
  CapacityReport,
  CapacityRun,
  Figures,
} from '../../src/report/capacity-types.ts'
import type { LatencySummary, NodeReport, RunReport } from '../../src/report/types.ts'
import { parseScenario, type Scenario } from '../../src/trace/scenario.ts'

export function latency(p99: number, count = 1000): LatencySummary {
  return { count, mean: p99 / 2, p50: p99 / 2, p90: p99 * 0.9, p95: p99 * 0.9, p99, p999: p99 * 2, max: p99 * 3 }
}

const RATES = { packetsPerSecond: 9000, connectionsPerSecond: 1000, bitsPerSecond: 1e6 }

export function figures(change: Partial<Figures> = {}): Figures {
  return {
    dropFraction: 0,
    failedFraction: 0,
    brokenFraction: 0,
    conntrackFraction: 0.25,
    snatFraction: 0.01,
    cpuFraction: 0.1,
    cpuPeakFraction: 0.2,
    crossNodeFraction: 0.5,
    masqueradedFraction: 1,
    clientIpPreservedFraction: 0,
    maxOverMean: 1.1,
    offered: RATES,
    delivered: RATES,
    pathLatencyMicros: { packet: latency(120), firstPacket: latency(150), connectionSetup: latency(250) },
    requestLatencyMicros: latency(0, 0),
    podFraction: 0,
    drops: {},
    ...change,
  }
}

export function measurement(change: Partial<Measurement> = {}): Measurement {
  return {
    proxyMode: 'nftables',
    connections: 100_000,
    packets: 900_000,
    durationSeconds: 100,
    settled: true,
    figures: figures(),
    culprits: { conntrack: null, snat: null, cpu: null, pod: null, queue: null, drop: null },
    warnings: [],
    ...change,
  }
}

export function capacityRun(change: Partial<CapacityRun> = {}): CapacityRun {
  return {
    connectionsPerSecond: 1000,
    timesScenario: 1,
    connections: 100_000,
    packets: 900_000,
    durationSeconds: 100,
    settled: true,
    holds: true,
    figures: figures(),
    ...change,
  }
}

export const BROKEN: BrokenObjective = {
  objective: 'conntrackFraction < 80%',
  figure: 'conntrackFraction',
  value: 0.808,
  limit: 0.8,
  excess: 0.01,
  node: 'node-b',
  service: 'default/web:http',
  serviceShare: 0.98,
  reason: null,
}

/** A knee at 4,000 connections a second. */
export function kneeCell(change: Partial<CapacityCell> = {}): CapacityCell {
  const atKnee = capacityRun({
    connectionsPerSecond: 4000,
    timesScenario: 4,
    figures: figures({ conntrackFraction: 0.79 }),
  })
  const above = capacityRun({
    connectionsPerSecond: 4040,
    timesScenario: 4.04,
    settled: false,
    holds: false,
    figures: figures({ conntrackFraction: 0.808 }),
  })
  return {
    name: 'policy=cluster',
    policy: 'cluster',
    proxyMode: 'nftables',
    parameters: {},
    knee: {
      outcome: 'found',
      connectionsPerSecond: 4000,
      failsAtConnectionsPerSecond: 4040,
      timesScenario: 4,
      holdsAgainAtConnectionsPerSecond: null,
    },
    run: atKnee,
    tried: [capacityRun(), atKnee, above],
    broke: [BROKEN],
    draws: null,
    ...change,
  }
}

export function plainCell(nodes: number, change: Partial<CapacityCell> = {}): CapacityCell {
  return {
    name: `nodes=${nodes}, policy=local`,
    policy: 'local',
    proxyMode: 'nftables',
    parameters: { nodes },
    knee: null,
    run: capacityRun(),
    tried: [],
    broke: [],
    draws: null,
    ...change,
  }
}

export function capacityReport(
  cells: CapacityCell[] = [kneeCell()],
  change: Partial<CapacityReport> = {},
): CapacityReport {
  return {
    schemaVersion: 1,
    kind: 'capacity',
    version: '0.1.0',
    scenario: { name: 'storefront', seed: 20, connectionsPerSecond: 1000 },
    search: { tolerance: 0.02, connections: null },
    seeds: [1],
    objectives: ['dropFraction < 0.001', 'conntrackFraction < 80%'],
    axes: [],
    cells,
    crossings: [],
    model: [{ name: 'establishedNanos', value: 2600, unit: 'ns', source: 'measured', isSet: true }],
    warnings: [{ code: 'W_X', where: 'web.yaml', message: 'odd' }],
    emulates: { kubernetes: '1.31 to 1.35', kernel: '6.18', coredns: '1.14.7', ingressNginx: '1.12 and later' },
    ...change,
  }
}

/** Two plain runs over nodes, one of which failed. */
export function gridReport(): CapacityReport {
  const failed = capacityRun({ holds: false, figures: figures({ conntrackFraction: 0.808 }) })
  return capacityReport([plainCell(3, { run: failed, broke: [BROKEN] }), plainCell(6)], {
    search: null,
    axes: [{ name: 'nodes', values: [3, 6] }],
  })
}

export function nodeReport(node: string, change: Partial<NodeReport> = {}): NodeReport {
  return {
    node,
    connections: 500,
    conntrackPeak: 100,
    conntrackMax: 1000,
    conntrackDrops: 0,
    conntrackFirstDropSeconds: null,
    earlyDrops: 0,
    snatPortsPeak: 0,
    snatExhausted: 0,
    affinityPeak: 0,
    affinityHits: 0,
    affinityMisses: 0,
    cores: 4,
    cpuUtilization: 0.1,
    cpuUtilizationPeak: 0.2,
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
    conntrack: { found: 0, invalid: 0, insert: 500, insertFailed: 0, drop: 0, earlyDrop: 0, clashResolve: 0 },
    conntrackHolders: [{ service: 'default/web:http', entries: 90, share: 0.9 }],
    ...change,
  }
}

const EMPTY = { fromMicros: [], toMicros: [], counts: [] }

/** As much of a run as figures are made of. */
export function runReport(nodes: NodeReport[], change: Partial<RunReport> = {}): RunReport {
  const { offered, delivered, pathLatencyMicros } = figures()
  return {
    policy: 'cluster',
    proxyMode: 'nftables',
    ingressPath: null,
    offered,
    delivered,
    connections: { attempted: 1000, established: 1000, failed: 0, broken: 0 },
    verdicts: { accept: 9000, drop: 0, reject: 0, notSent: 0 },
    drops: {},
    pathLatencyMicros,
    requestLatencyMicros: latency(0, 0),
    histograms: { packet: EMPTY, firstPacket: EMPTY, connectionSetup: EMPTY, request: EMPTY },
    crossNodeFraction: 0.5,
    masqueradedFraction: 1,
    clientIpPreservedFraction: 0,
    endpoints: [],
    imbalance: [{ service: 'default/web:http', endpoints: 3, maxOverMean: 1.1, coefficientOfVariation: 0.1 }],
    services: [],
    nodes,
    dns: {} as RunReport['dns'],
    ingress: null,
    series: null,
    ...change,
  }
}

/** What a job asks for, read back from its scenario. */
export interface Asked {
  readonly scenario: Scenario
  readonly rate: number
  readonly connections: number
  readonly policy: string
}

export interface FakeMeasurer {
  readonly asked: Asked[]
  closed: number
  /** For `CapacityHooks.measurer`. */
  make(): Measurer
}

/** Answers each job at once. */
export function fakeMeasurer(answer: (asked: Asked) => Measurement | Promise<Measurement>, lanes = 1): FakeMeasurer {
  const fake: FakeMeasurer = {
    asked: [],
    closed: 0,
    make: () => ({
      lanes,
      measure: async (_lane, job, onProgress) => {
        const scenario = parseScenario(job.scenario, job.name)
        const rate = scenario.traffic.reduce((sum, { arrivals }) => sum + arrivals.perSecond, 0)
        const asked = { scenario, rate, connections: scenario.connections, policy: job.policy }
        fake.asked.push(asked)
        onProgress(0.5)
        return answer(asked)
      },
      close: async () => {
        fake.closed++
      },
    }),
  }
  return fake
}
