/**
 * Numbers → names for the course of a run: the `series` part of its report. Pure.
 *
 * Counters come bin by bin from the core, levels from its samples, which are taken at the ends of the same bins. A trace too short
 * for all of them has fewer; what happens at its very end is in the last one.
 */
import {
  REASONS,
  SAMPLES,
  SERIES_BUCKETS,
  type SeriesLayout,
  seriesBucketMiddle,
  seriesLayout,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_ATTEMPTED,
  TOTAL_BROKEN,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_NOT_SENT,
  TOTAL_OFFERED_BYTES,
  TOTAL_OFFERED_PACKETS,
  ticksPerSample,
} from '../../native-free-core/index.ts'
import type { EndpointReport, NodeReport, NodeSeries, SeriesReport } from '../report/types.ts'
import { ADDRESS_TYPES, TICKS_PER_SECOND } from '../trace/format.ts'
import type { MergedRun } from './merge.ts'
import { extentOf, type PlannedRun, type ReplayPlan } from './plan.ts'
import { requestsByStatus } from './summarize-ingress.ts'

/** That a series lists by themselves. */
const MAX_NODES = 256
const MAX_ENDPOINTS = 256
/** Source ports towards one destination that masquerading may use. */
const USER_PORTS = 64_512
const NANOS_PER_MICRO = 1000

/** By node and sample: source ports towards the destination with the most of them. */
type PortsByNode = ReadonlyMap<number, Int32Array>

/**
 * @param endpoints      of the run's report
 * @param nodes          of the run's report
 * @param durationTicks  of the trace
 */
export function seriesReport(
  run: PlannedRun,
  merged: MergedRun,
  plan: ReplayPlan,
  endpoints: readonly EndpointReport[],
  nodes: readonly NodeReport[],
  durationTicks: number,
): SeriesReport | null {
  const { series } = merged
  if (series === null || plan.seriesEndpoints === null) return null
  const binTicks = ticksPerSample(durationTicks)
  const bins = new Bins(Math.min(SAMPLES, Math.max(1, Math.ceil(durationTicks / binTicks))))
  const layout = seriesLayout(extentOf(plan).routes ?? 0)
  const word = (at: number): number[] => bins.sums((bin) => series.counts[bin * layout.words + at]!)
  const counts = (packets: number, connections: number, bytes: number): SeriesReport['offered'] => ({
    packets: word(layout.totals + packets),
    connections: word(layout.totals + connections),
    bytes: word(layout.totals + bytes),
  })
  const drops = REASONS.map(({ code, name }) => [name, word(layout.reasons + code)] as const)
  const queries = ADDRESS_TYPES.map((_, i) => word(layout.dnsTypes + i))
  const shownNodes = nodesNearestToLimits(nodes)
  return {
    binSeconds: binTicks / TICKS_PER_SECOND,
    offered: counts(TOTAL_OFFERED_PACKETS, TOTAL_ATTEMPTED, TOTAL_OFFERED_BYTES),
    delivered: counts(TOTAL_ACCEPTED_PACKETS, TOTAL_ESTABLISHED, TOTAL_ACCEPTED_BYTES),
    failedConnections: word(layout.totals + TOTAL_FAILED),
    brokenConnections: word(layout.totals + TOTAL_BROKEN),
    notSent: word(layout.totals + TOTAL_NOT_SENT),
    dropsByReason: Object.fromEntries(drops.filter(([, packets]) => packets.some((count) => count !== 0))),
    pathLatencyMicros: latencies(series.latencies, bins),
    nodes: nodeSeries(run, merged, plan, shownNodes, bins, binTicks),
    nodesLeftOut: nodes.length - shownNodes.size,
    ...endpointSeries(merged, plan, endpoints, bins),
    requestsByStatus: statuses(run, series.counts, layout, bins),
    dnsQueries: bins.list((bin) => queries.reduce((sum, ofType) => sum + ofType[bin]!, 0)),
  }
}

/** Bins that a run has, out of those that the core keeps. */
class Bins {
  readonly count: number

  constructor(count: number) {
    this.count = count
  }

  list<Value>(of: (bin: number) => Value): Value[] {
    return Array.from({ length: this.count }, (_, bin) => of(bin))
  }

  /** What a bin has gained; the core's bin behind the last one is for the tick at which the trace ends. */
  sums(gained: (bin: number) => number): number[] {
    return this.list((bin) => this.parts(bin).reduce((sum, part) => sum + gained(part), 0))
  }

  /** The core's bins that a bin is made of. */
  parts(bin: number): readonly number[] {
    return bin === this.count - 1 && this.count < SAMPLES ? [bin, bin + 1] : [bin]
  }
}

function latencies(recorded: Uint32Array, bins: Bins): SeriesReport['pathLatencyMicros'] {
  const histogram = new Float64Array(SERIES_BUCKETS)
  const figures = bins.list((bin) => {
    histogram.fill(0)
    let count = 0
    for (const part of bins.parts(bin)) {
      for (let bucket = 0; bucket < SERIES_BUCKETS; bucket++) {
        const packets = recorded[part * SERIES_BUCKETS + bucket]!
        histogram[bucket]! += packets
        count += packets
      }
    }
    return { count, p50: quantile(histogram, count, 0.5), p99: quantile(histogram, count, 0.99) }
  })
  return {
    count: figures.map(({ count }) => count),
    p50: figures.map(({ p50 }) => p50),
    p99: figures.map(({ p99 }) => p99),
  }
}

/** Microseconds, by the nearest rank; null of nothing. */
function quantile(histogram: Float64Array, count: number, fraction: number): number | null {
  if (count === 0) return null
  const rank = Math.max(1, Math.ceil(count * fraction))
  let seen = 0
  let bucket = 0
  for (; bucket < SERIES_BUCKETS - 1; bucket++) {
    seen += histogram[bucket]!
    if (seen >= rank) break
  }
  return seriesBucketMiddle(bucket) / NANOS_PER_MICRO
}

/** Places of nodes in the report, as many as there is room for. */
function nodesNearestToLimits(nodes: readonly NodeReport[]): ReadonlySet<number> {
  const places = nodes.map((_, place) => place)
  if (nodes.length <= MAX_NODES) return new Set(places)
  const nearness = nodes.map(({ conntrackPeak, conntrackMax, snatPortsPeak, cpuUtilizationPeak }) =>
    Math.max(conntrackMax === 0 ? 0 : conntrackPeak / conntrackMax, snatPortsPeak / USER_PORTS, cpuUtilizationPeak),
  )
  return new Set(places.sort((a, b) => nearness[b]! - nearness[a]! || a - b).slice(0, MAX_NODES))
}

function nodeSeries(
  run: PlannedRun,
  merged: MergedRun,
  plan: ReplayPlan,
  shown: ReadonlySet<number>,
  bins: Bins,
  binTicks: number,
): NodeSeries[] {
  const { result, layout } = merged
  const names = plan.registry.nodes
  const ports = portsByNode(merged, shown)
  return names.flatMap((name, node): NodeSeries[] => {
    if (!shown.has(node)) return []
    const at = (from: number, bin: number): number => result[from + bin * names.length + node]!
    const nanos = (binTicks / TICKS_PER_SECOND) * 1e9 * (run.compiled.columns.nodeCores[node] ?? 1)
    return [
      {
        node: name,
        conntrackEntries: bins.list((bin) => at(layout.conntrackSeries, bin)),
        sourcePorts: bins.list((bin) => ports.get(node)?.[bin] ?? 0),
        affinityEntries: bins.list((bin) => at(layout.affinitySeries, bin)),
        cpuUtilization: bins.sums((bin) => at(layout.busySeries, bin)).map((busy) => rounded(busy / nanos)),
      },
    ]
  })
}

function portsByNode({ ports }: MergedRun, shown: ReadonlySet<number>): PortsByNode {
  const byNode = new Map<number, Int32Array>()
  for (const { node, samples } of ports) {
    if (!shown.has(node)) continue
    const most = byNode.get(node)
    if (most === undefined) byNode.set(node, samples.slice())
    else {
      samples.forEach((count, bin) => {
        if (count > most[bin]!) most[bin] = count
      })
    }
  }
  return byNode
}

function endpointSeries(
  { series }: MergedRun,
  { registry, seriesEndpoints, comparedServices }: ReplayPlan,
  reports: readonly EndpointReport[],
  bins: Bins,
): Pick<SeriesReport, 'endpoints' | 'endpointsLeftOut'> {
  const key = (service: string, endpoint: string): string => `${service}\n${endpoint}`
  const places = new Map<string, number>()
  seriesEndpoints!.forEach((id, place) => {
    const { servicePort } = registry.endpoints[id]!
    places.set(key(registry.servicePortText(servicePort), registry.endpointText(id)), place)
  })
  const compared = new Set(comparedServices)
  const followed = reports.flatMap((report, order) => {
    const place = places.get(key(report.service, report.endpoint))
    const isCompared = compared.has(report.service.slice(0, report.service.lastIndexOf(':')))
    return place === undefined ? [] : [{ ...report, order, place, isCompared }]
  })
  const shown = followed
    .sort((a, b) => Number(b.isCompared) - Number(a.isCompared) || b.connections - a.connections || a.order - b.order)
    .slice(0, MAX_ENDPOINTS)
    .sort((a, b) => a.order - b.order)
  const width = seriesEndpoints!.length
  return {
    endpoints: shown.map(({ service, endpoint, place }) => ({
      service,
      endpoint,
      connections: bins.sums((bin) => series!.endpoints[bin * width + place]!),
    })),
    endpointsLeftOut: reports.length - shown.length,
  }
}

function statuses(
  { ingress }: PlannedRun,
  counts: Float64Array,
  layout: SeriesLayout,
  bins: Bins,
): Record<string, number[]> {
  if (ingress === null) return {}
  const byBin = bins.list((bin) =>
    requestsByStatus(
      ingress,
      (route) => bins.parts(bin).reduce((sum, part) => sum + counts[part * layout.words + layout.routes + route]!, 0),
      (word) => bins.parts(bin).reduce((sum, part) => sum + counts[part * layout.words + layout.ingress + word]!, 0),
    ),
  )
  const names = [...new Set(byBin.flatMap((byStatus) => Object.keys(byStatus)))].sort()
  return Object.fromEntries(names.map((name) => [name, byBin.map((byStatus) => byStatus[name] ?? 0)]))
}

/** To a millionth: nobody sees more of a curve, and it is a third of the bytes. */
function rounded(value: number): number {
  return Math.round(value * 1e6) / 1e6
}
