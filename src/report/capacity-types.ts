/**
 * The JSON contract of `dpemu capacity -o json`, schema version 1. Fields are only ever added within a version.
 *
 * All of it is a function of scenario, manifests, model, options and version: nothing measured is in it, so the same
 * search gives the same bytes, on any machine and with any number of workers.
 */
import type { Warning } from '../errors.ts'
import type { Emulated, LatencySummary, ModelConstant, PathLatency, Rates } from './types.ts'

export interface CapacityReport {
  schemaVersion: 1
  kind: 'capacity'
  version: string
  /** `connectionsPerSecond`: all streams together, as the scenario is written. */
  scenario: { name: string; seed: number; connectionsPerSecond: number }
  /** null where every cell is one plain run. `connections`: of each run; null: as many as the tables need to settle. */
  search: { tolerance: number; connections: number | null } | null
  /** Every search or run was made with each; cells then are those of the median. */
  seeds: number[]
  objectives: string[]
  axes: CapacityAxis[]
  cells: CapacityCell[]
  /** Of a sweep over rates under both policies: where a figure of an objective is lower under one below, under the other above. */
  crossings: Crossing[]
  /** Constants of the model before any axis changes them. */
  model: ModelConstant[]
  warnings: Warning[]
  emulates: Emulated
}

export type ParameterValue = string | number | boolean

export interface CapacityAxis {
  name: string
  values: ParameterValue[]
}

/** One combination of the axes, of policy and of proxy mode. */
export interface CapacityCell {
  /** `nodes=3, policy=local` */
  name: string
  /** `cluster`, `local` or `as-is`. */
  policy: string
  proxyMode: string
  /** Value by axis, policy and proxy mode left out. */
  parameters: Record<string, ParameterValue>
  /** null where the cell is one plain run. */
  knee: Knee | null
  /** The run at the knee, or the plain run; null where no rate held. */
  run: CapacityRun | null
  /** Every run of the search, by rate; empty for a plain run. */
  tried: CapacityRun[]
  /** What failed, the first to break ahead: just above the knee, or in the plain run. */
  broke: BrokenObjective[]
  /**
   * null: one seed. Otherwise the cell of a search is that of the seed with the median knee (the lower of two in the middle), and a
   * plain run has the median of each figure by itself, on which objectives hold or not.
   */
  draws: CellDraws | null
}

export interface CellDraws {
  /** Of the knees of a search; null where none held with some seed. */
  least: number | null
  most: number | null
  /** Of every figure of a plain run; null for a search. */
  leastFigures: Figures | null
  mostFigures: Figures | null
  each: { seed: number; holds: boolean; connectionsPerSecond: number | null; brokeFirst: string | null }[]
}

export interface Crossing {
  /** `requestLatencyMicros.mean` */
  figure: string
  proxyMode: string
  /** Of the cells it was found in, the rate left out. */
  parameters: Record<string, ParameterValue>
  /** The policy with the lower figure below and above. */
  lowerBelow: string
  lowerAbove: string
  /** On a straight line between the two rates of the sweep that it lies between. */
  connectionsPerSecond: number
  betweenConnectionsPerSecond: [number, number]
}

export interface Knee {
  /** `found`; `above`: all rates tried held; `below`: none did. */
  outcome: 'found' | 'above' | 'below'
  /** The highest rate that held; null where none did. */
  connectionsPerSecond: number | null
  /** The lowest rate that failed; null where none did. */
  failsAtConnectionsPerSecond: number | null
  timesScenario: number | null
  /** A rate above the failing one at which all held again; null where there was none. */
  holdsAgainAtConnectionsPerSecond: number | null
}

export interface CapacityRun {
  /** As asked for, all streams together. */
  connectionsPerSecond: number
  timesScenario: number
  connections: number
  packets: number
  durationSeconds: number
  /** The conntrack tables had time to let entries go: what they held is not still growing to where it would be. */
  settled: boolean
  /** All objectives. */
  holds: boolean
  figures: Figures
}

/** One run in figures; where nodes differ, the worst of them. */
export interface Figures {
  /** Packets dropped or rejected, of those sent. */
  dropFraction: number
  /** Connections that were never established, of those attempted. */
  failedFraction: number
  /** Connections lost later, of those established. */
  brokenFraction: number
  /** Fullest conntrack table. */
  conntrackFraction: number
  /** Source ports in use at once towards one destination, of those a node has. */
  snatFraction: number
  /** CPU time spent on packets by the busiest node, on average and in the busiest 256th of the run. */
  cpuFraction: number
  cpuPeakFraction: number
  crossNodeFraction: number
  masqueradedFraction: number
  clientIpPreservedFraction: number
  /** Worst of the Services: its fullest endpoint over the mean. */
  maxOverMean: number
  offered: Rates
  delivered: Rates
  pathLatencyMicros: PathLatency
  requestLatencyMicros: LatencySummary
  /** CPU use of the busiest pod; 0 where pods are no queues. */
  podFraction: number
  /** Drop and reject reason to packets. */
  drops: Record<string, number>
}

export interface BrokenObjective {
  objective: string
  /** Path of the figure: `pathLatencyMicros.packet.p99`. */
  figure: string
  /** null where nothing was recorded. */
  value: number | null
  /** null where it is another figure, of which nothing was recorded. */
  limit: number | null
  /** Beyond the limit, as a part of it; null where the limit is 0 or there is no value. */
  excess: number | null
  /** The node with the worst figure; null where no node has a figure of its own. */
  node: string | null
  /** The Service port that fills that node's table, and its share; with a share of null, the one whose pod is busiest. */
  service: string | null
  serviceShare: number | null
  /** The most frequent drop reason, where dropped or failed traffic is what broke. */
  reason: string | null
}
