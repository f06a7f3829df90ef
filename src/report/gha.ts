/**
 * Figures as github-action-benchmark reads them, to be drawn over commits and to alert on: `[{ name, unit, value }]`.
 *
 * It wants one direction a file: `gha` is customSmallerIsBetter (latency, losses, how full tables get), `gha-bigger` is
 * customBiggerIsBetter (throughput, knees). Names do not change from commit to commit, since they are what it compares by.
 */
import type { CapacityReport, Figures } from './capacity-types.ts'
import { runNames } from './run-names.ts'
import type { ReplayReport, RunReport } from './types.ts'

export type Direction = 'smaller' | 'bigger'

export interface BenchmarkEntry {
  readonly name: string
  readonly unit: string
  readonly value: number
  readonly extra?: string
}

export function renderReplayGha(report: ReplayReport, direction: Direction): string {
  const names = runNames(report.runs)
  return rendered(
    report.runs.flatMap((run, i) => {
      const prefix = `${report.trace.name} ${names[i]}`
      return direction === 'smaller' ? losses(prefix, replayLosses(run)) : throughput(prefix, run)
    }),
  )
}

export function renderCapacityGha(report: CapacityReport, direction: Direction): string {
  return rendered(
    report.cells.flatMap(({ name, knee, run }): BenchmarkEntry[] => {
      const prefix = `${report.scenario.name} ${name}`
      if (direction === 'smaller') return run === null ? [] : losses(prefix, run.figures)
      if (knee === null) return run === null ? [] : throughput(prefix, run.figures)
      const { connectionsPerSecond, failsAtConnectionsPerSecond } = knee
      const extra = failsAtConnectionsPerSecond === null ? {} : { extra: `fails at ${failsAtConnectionsPerSecond}/s` }
      return [{ name: `${prefix} knee`, unit: 'connections/s', value: connectionsPerSecond ?? 0, ...extra }]
    }),
  )
}

type Losses = Pick<Figures, 'dropFraction' | 'failedFraction' | 'conntrackFraction' | 'pathLatencyMicros'>

function replayLosses({ connections, verdicts, nodes, pathLatencyMicros }: RunReport): Losses {
  const lost = verdicts.drop + verdicts.reject
  return {
    dropFraction: part(lost, verdicts.accept + lost),
    failedFraction: part(connections.failed, connections.attempted),
    conntrackFraction: nodes.reduce(
      (most, { conntrackPeak, conntrackMax }) => Math.max(most, part(conntrackPeak, conntrackMax)),
      0,
    ),
    pathLatencyMicros,
  }
}

/** A latency of which nothing was recorded is left out: it is no 0. */
function losses(prefix: string, figures: Losses): BenchmarkEntry[] {
  const { packet, connectionSetup } = figures.pathLatencyMicros
  const latencies = [
    { name: 'packet p50', summary: packet, value: packet.p50 },
    { name: 'packet p99', summary: packet, value: packet.p99 },
    { name: 'connection setup p99', summary: connectionSetup, value: connectionSetup.p99 },
  ]
  return [
    ...latencies
      .filter(({ summary }) => summary.count > 0)
      .map(({ name, value }) => ({ name: `${prefix} path latency, ${name}`, unit: 'µs', value })),
    { name: `${prefix} packets dropped or rejected`, unit: '%', value: percent(figures.dropFraction) },
    { name: `${prefix} connections failed`, unit: '%', value: percent(figures.failedFraction) },
    { name: `${prefix} fullest conntrack table`, unit: '%', value: percent(figures.conntrackFraction) },
  ]
}

function throughput(prefix: string, { delivered }: Pick<Figures, 'delivered'>): BenchmarkEntry[] {
  return [
    { name: `${prefix} delivered connections`, unit: 'connections/s', value: delivered.connectionsPerSecond },
    { name: `${prefix} delivered packets`, unit: 'packets/s', value: delivered.packetsPerSecond },
  ]
}

function rendered(entries: readonly BenchmarkEntry[]): string {
  return `${JSON.stringify(entries, null, 2)}\n`
}

function part(count: number, whole: number): number {
  return whole === 0 ? 0 : count / whole
}

/** Twelve digits: 0.07 is 7 %, not 7.000000000000001 %. */
function percent(fraction: number): number {
  return Number((fraction * 100).toPrecision(12))
}
