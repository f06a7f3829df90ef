/** Numbers → names: a merged run as the report has it. Pure. */
import {
  bucketMiddle,
  ENDPOINT_BYTES,
  ENDPOINT_CONNECTIONS,
  ENDPOINT_PACKETS,
  ENDPOINT_WORDS,
  HISTOGRAM_BUCKETS,
  HISTOGRAM_LENGTH,
  HISTOGRAM_MAX,
  HISTOGRAM_SUM,
  histogramCount,
  LATENCY_LENGTH,
  NODE_AFFINITY_HITS,
  NODE_AFFINITY_MISSES,
  NODE_ARRIVED,
  NODE_BACKLOG_DROPS,
  NODE_CONNECTIONS,
  NODE_CONNTRACK_DROPS,
  NODE_EARLY_DROPS,
  NODE_FOUND,
  NODE_FROM_OUTSIDE,
  NODE_INSERT,
  NODE_INSERT_FAILED,
  NODE_INVALID,
  NODE_LEFT,
  NODE_SNAT_EXHAUSTED,
  NODE_STAYED,
  NODE_WORDS,
  POD_QUEUE_BUSY,
  POD_QUEUE_REQUESTS,
  POD_QUEUE_WORDS,
  percentile,
  REASONS,
  REJECT,
  SAMPLES,
  TOTAL_ACCEPTED_BYTES,
  TOTAL_ACCEPTED_PACKETS,
  TOTAL_ATTEMPTED,
  TOTAL_BROKEN,
  TOTAL_CLIENT_IP_KEPT,
  TOTAL_CROSS_NODE,
  TOTAL_ESTABLISHED,
  TOTAL_FAILED,
  TOTAL_MASQUERADED,
  TOTAL_NOT_SENT,
  TOTAL_OFFERED_BYTES,
  TOTAL_OFFERED_PACKETS,
} from '../../native-free-core/index.ts'
import type {
  EndpointReport,
  ImbalanceReport,
  LatencyHistogram,
  LatencySummary,
  NodeReport,
  RunReport,
  ServiceReport,
} from '../report/types.ts'
import type { MergedRun } from './merge.ts'
import { Places } from './places.ts'
import type { PlannedRun, ReplayPlan } from './plan.ts'
import { dnsReport } from './summarize-dns.ts'
import { ingressReport } from './summarize-ingress.ts'
import { seriesReport } from './summarize-series.ts'

const NANOS_PER_MICRO = 1000
const MAX_HOLDERS = 5
/** Of a report's histogram, for each doubling. */
const BINS = 8
const NO_SERVICE = '(no Service)'

/** Seconds of the whole trace (and its ticks), and of the part in which connections begin: rates of connections are over that. */
export interface Spans {
  readonly durationSeconds: number
  readonly arrivalSeconds: number
  readonly durationTicks: number
}

export function summarizeRun(run: PlannedRun, merged: MergedRun, plan: ReplayPlan, spans: Spans): RunReport {
  const { durationSeconds: seconds, arrivalSeconds } = spans
  const { result, layout } = merged
  const total = (word: number): number => result[layout.totals + word]!
  const established = total(TOTAL_ESTABLISHED)
  const fraction = (word: number): number => (established === 0 ? 0 : total(word) / established)
  const drops: Record<string, number> = {}
  let dropped = 0
  let rejected = 0
  for (const { code, name, verdict } of REASONS) {
    const packets = result[layout.reasons + code]!
    if (packets === 0) continue
    drops[name] = packets
    if (verdict === REJECT) rejected += packets
    else dropped += packets
  }
  const latency = (at: number): LatencySummary => summarizeLatency(sumOfSlots(merged, at))
  const places = new Places(run, plan)
  const endpoints = endpointReports(run, merged, plan, places, seconds)
  const nodes = nodeReports(run, merged, plan, seconds)
  return {
    policy: run.policy,
    proxyMode: run.mode,
    ingressPath: run.ingress === null ? null : (run.ingress.path ?? 'as-is'),
    offered: {
      packetsPerSecond: total(TOTAL_OFFERED_PACKETS) / seconds,
      connectionsPerSecond: total(TOTAL_ATTEMPTED) / arrivalSeconds,
      bitsPerSecond: (total(TOTAL_OFFERED_BYTES) * 8) / seconds,
    },
    delivered: {
      packetsPerSecond: total(TOTAL_ACCEPTED_PACKETS) / seconds,
      connectionsPerSecond: established / arrivalSeconds,
      bitsPerSecond: (total(TOTAL_ACCEPTED_BYTES) * 8) / seconds,
    },
    connections: {
      attempted: total(TOTAL_ATTEMPTED),
      established,
      failed: total(TOTAL_FAILED),
      broken: total(TOTAL_BROKEN),
    },
    verdicts: {
      accept: total(TOTAL_ACCEPTED_PACKETS),
      drop: dropped,
      reject: rejected,
      notSent: total(TOTAL_NOT_SENT),
    },
    drops,
    pathLatencyMicros: {
      packet: latency(layout.packetHistogram),
      firstPacket: latency(layout.firstHistogram),
      connectionSetup: latency(layout.setupHistogram),
    },
    requestLatencyMicros: latency(layout.requestHistogram),
    histograms: {
      packet: binned(sumOfSlots(merged, layout.packetHistogram)),
      firstPacket: binned(sumOfSlots(merged, layout.firstHistogram)),
      connectionSetup: binned(sumOfSlots(merged, layout.setupHistogram)),
      request: binned(sumOfSlots(merged, layout.requestHistogram)),
    },
    crossNodeFraction: fraction(TOTAL_CROSS_NODE),
    masqueradedFraction: fraction(TOTAL_MASQUERADED),
    clientIpPreservedFraction: fraction(TOTAL_CLIENT_IP_KEPT),
    endpoints,
    imbalance: imbalanceOf(endpoints),
    services: serviceReports(merged, plan),
    nodes,
    dns: dnsReport(merged, plan, places),
    ingress: ingressReport(merged, run.ingress, plan, places),
    series: seriesReport(run, merged, plan, endpoints, nodes, spans.durationTicks),
  }
}

export function summarizeLatency(histogram: Float64Array): LatencySummary {
  const count = histogramCount(histogram)
  const micros = (nanos: number): number => nanos / NANOS_PER_MICRO
  return {
    count,
    mean: count === 0 ? 0 : micros(histogram[HISTOGRAM_SUM]! / count),
    p50: micros(percentile(histogram, 0.5)),
    p90: micros(percentile(histogram, 0.9)),
    p95: micros(percentile(histogram, 0.95)),
    p99: micros(percentile(histogram, 0.99)),
    p999: micros(percentile(histogram, 0.999)),
    max: micros(histogram[HISTOGRAM_MAX]!),
  }
}

/** Of the core's fine buckets sixteen are one of eight for each doubling, and the first eight are one each. */
export function binned(histogram: Float64Array): LatencyHistogram {
  const counts = new Map<number, { to: number; count: number }>()
  for (let bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
    const count = histogram[bucket]!
    if (count === 0) continue
    const nanos = Math.floor(bucketMiddle(bucket))
    const width = nanos < BINS ? 1 : 2 ** (Math.floor(Math.log2(nanos)) - Math.log2(BINS))
    const from = Math.floor(nanos / width) * width
    const bin = counts.get(from)
    if (bin === undefined) counts.set(from, { to: from + width, count })
    else bin.count += count
  }
  const bins = [...counts]
  return {
    fromMicros: bins.map(([from]) => from / NANOS_PER_MICRO),
    toMicros: bins.map(([, { to }]) => to / NANOS_PER_MICRO),
    counts: bins.map(([, { count }]) => count),
  }
}

/** The histogram that begins at `at` in slot 0, over all slots. */
function sumOfSlots({ result, layout }: MergedRun, at: number): Float64Array {
  const sum = new Float64Array(HISTOGRAM_LENGTH)
  for (let slot = 0; slot < layout.latencies; slot++) {
    const histogram = slotHistogram(result, at, slot)
    const highest = Math.max(sum[HISTOGRAM_MAX]!, histogram[HISTOGRAM_MAX]!)
    for (let i = 0; i < HISTOGRAM_LENGTH; i++) sum[i]! += histogram[i]!
    sum[HISTOGRAM_MAX] = highest
  }
  return sum
}

function slotHistogram(result: Float64Array, at: number, slot: number): Float64Array {
  const from = at + slot * LATENCY_LENGTH
  return result.subarray(from, from + HISTOGRAM_LENGTH)
}

/** Service ports that packets were delivered to, in the order of their names. */
function serviceReports({ result, layout }: MergedRun, plan: ReplayPlan): ServiceReport[] {
  return plan.latencies.services
    .map((service, i): ServiceReport => {
      const latency = (at: number): LatencySummary => summarizeLatency(slotHistogram(result, at, i + 1))
      return {
        service,
        pathLatencyMicros: {
          packet: latency(layout.packetHistogram),
          firstPacket: latency(layout.firstHistogram),
          connectionSetup: latency(layout.setupHistogram),
        },
        requestLatencyMicros: latency(layout.requestHistogram),
      }
    })
    .filter(({ pathLatencyMicros }) => pathLatencyMicros.packet.count > 0)
    .sort((a, b) => compare(a.service, b.service))
}

/** Endpoints of the Service ports that saw connections, those without any included: an idle pod is a finding. */
function endpointReports(
  run: PlannedRun,
  merged: MergedRun,
  plan: ReplayPlan,
  places: Places,
  seconds: number,
): EndpointReport[] {
  const { result, layout } = merged
  const { registry } = plan
  // Those that come with a change of the cluster count too.
  const stages = [run.compiled, ...run.changes.map(({ compiled }) => compiled)]
  const lived = (endpoint: number): boolean => stages.some(({ columns }) => columns.endpointAlive[endpoint] === 1)
  const word = (endpoint: number, at: number): number => result[layout.endpoints + endpoint * ENDPOINT_WORDS + at]!
  const podQueues = new Map(registry.podQueues.map(({ address }, podQueue) => [address, podQueue]))
  const perService = new Map<number, number>()
  registry.endpoints.forEach(({ servicePort }, endpoint) => {
    perService.set(servicePort, (perService.get(servicePort) ?? 0) + word(endpoint, ENDPOINT_CONNECTIONS))
  })
  const reports: EndpointReport[] = []
  registry.endpoints.forEach(({ servicePort }, endpoint) => {
    const connections = word(endpoint, ENDPOINT_CONNECTIONS)
    const ofService = perService.get(servicePort)!
    if (ofService === 0 || (connections === 0 && !lived(endpoint))) return
    reports.push({
      service: registry.servicePortText(servicePort),
      endpoint: registry.endpointText(endpoint),
      pod: places.podOf(endpoint),
      node: places.nodeOf(endpoint),
      connections,
      packets: word(endpoint, ENDPOINT_PACKETS),
      bytes: word(endpoint, ENDPOINT_BYTES),
      share: connections / ofService,
      ...podOf(podQueues.get(registry.endpoints[endpoint]!.address), merged, plan, seconds),
    })
  })
  return reports.sort((a, b) => compare(a.service, b.service) || compare(a.endpoint, b.endpoint))
}

/** What requests cost a pod, over all its Service ports, since they share its CPU; of none where it is no queue. */
function podOf(
  podQueue: number | undefined,
  { result, layout }: MergedRun,
  { registry }: ReplayPlan,
  seconds: number,
): Pick<EndpointReport, 'podRequests' | 'podUtilization'> {
  if (podQueue === undefined) return { podRequests: 0, podUtilization: 0 }
  const at = layout.podQueues + podQueue * POD_QUEUE_WORDS
  const { workers } = registry.podQueues[podQueue]!
  return {
    podRequests: result[at + POD_QUEUE_REQUESTS]!,
    podUtilization: result[at + POD_QUEUE_BUSY]! / (seconds * 1e9 * workers),
  }
}

function imbalanceOf(endpoints: readonly EndpointReport[]): ImbalanceReport[] {
  const byService = new Map<string, number[]>()
  for (const { service, connections } of endpoints) {
    const list = byService.get(service)
    if (list === undefined) byService.set(service, [connections])
    else list.push(connections)
  }
  return [...byService].map(([service, counts]) => {
    const mean = counts.reduce((sum, count) => sum + count, 0) / counts.length
    const variance = counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / counts.length
    return {
      service,
      endpoints: counts.length,
      maxOverMean: mean === 0 ? 0 : Math.max(...counts) / mean,
      coefficientOfVariation: mean === 0 ? 0 : Math.sqrt(variance) / mean,
    }
  })
}

function nodeReports(run: PlannedRun, merged: MergedRun, plan: ReplayPlan, seconds: number): NodeReport[] {
  const { result, layout, ports, serviceEntries } = merged
  const nodes = plan.registry.nodes.length
  /** The sample at which a series of a node is highest, and its value. */
  const peak = (at: number, node: number): { value: number; sample: number } => {
    let best = { value: 0, sample: 0 }
    for (let sample = 0; sample < SAMPLES; sample++) {
      const value = result[at + sample * nodes + node]!
      if (value > best.value) best = { value, sample }
    }
    return best
  }
  return plan.registry.nodes.map((name, node) => {
    const word = (at: number): number => result[layout.nodes + node * NODE_WORDS + at]!
    const conntrack = peak(layout.conntrackSeries, node)
    const firstFull = result[layout.firstFull + node]!
    return {
      node: name,
      connections: word(NODE_CONNECTIONS),
      conntrackPeak: conntrack.value,
      conntrackMax: run.compiled.columns.nodeConntrackMax[node]!,
      conntrackDrops: word(NODE_CONNTRACK_DROPS),
      conntrackFirstDropSeconds: firstFull === 0 ? null : (firstFull - 1) / 1000,
      earlyDrops: word(NODE_EARLY_DROPS),
      snatPortsPeak: ports
        .filter((series) => series.node === node)
        .reduce((most, { samples }) => Math.max(most, ...samples), 0),
      snatExhausted: word(NODE_SNAT_EXHAUSTED),
      affinityPeak: peak(layout.affinitySeries, node).value,
      affinityHits: word(NODE_AFFINITY_HITS),
      affinityMisses: word(NODE_AFFINITY_MISSES),
      ...cpuOf(run, merged, plan, node, seconds),
      backlogDrops: word(NODE_BACKLOG_DROPS),
      paths: {
        fromOutside: word(NODE_FROM_OUTSIDE),
        stayed: word(NODE_STAYED),
        stayedMasqueraded: word(NODE_STAYED + 1),
        left: word(NODE_LEFT),
        leftMasqueraded: word(NODE_LEFT + 1),
        arrived: word(NODE_ARRIVED),
        arrivedMasqueraded: word(NODE_ARRIVED + 1),
      },
      conntrack: {
        found: word(NODE_FOUND),
        invalid: word(NODE_INVALID),
        insert: word(NODE_INSERT),
        insertFailed: word(NODE_INSERT_FAILED),
        drop: word(NODE_CONNTRACK_DROPS),
        earlyDrop: word(NODE_EARLY_DROPS),
        clashResolve: 0,
      },
      conntrackHolders: serviceEntries
        .filter((series) => series.node === node && series.samples[conntrack.sample]! > 0)
        .map(({ other, samples }) => ({
          service: other === 0 ? NO_SERVICE : plan.registry.servicePortText(other - 1),
          entries: samples[conntrack.sample]!,
          share: samples[conntrack.sample]! / conntrack.value,
        }))
        .sort((a, b) => b.entries - a.entries || compare(a.service, b.service))
        .slice(0, MAX_HOLDERS),
    }
  })
}

/** CPU time of a node's packets over its cores' time. */
function cpuOf(
  run: PlannedRun,
  { result, layout }: MergedRun,
  plan: ReplayPlan,
  node: number,
  seconds: number,
): Pick<NodeReport, 'cores' | 'cpuUtilization' | 'cpuUtilizationPeak'> {
  const cores = run.compiled.columns.nodeCores[node] ?? 1
  const nodes = plan.registry.nodes.length
  let total = 0
  let most = 0
  for (let sample = 0; sample < SAMPLES; sample++) {
    const busy = result[layout.busySeries + sample * nodes + node]!
    total += busy
    most = Math.max(most, busy)
  }
  const nanos = seconds * 1e9 * cores
  return { cores, cpuUtilization: total / nanos, cpuUtilizationPeak: (most * SAMPLES) / nanos }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
