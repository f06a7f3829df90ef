/**
 * What the run comes to, in a few sentences for the one who has to decide.
 *
 * With a Local and a Cluster run of the same proxy mode: where they differ, and nothing where they do not. With one
 * run: what failed and what is uneven, without a comparison. Every number is a field of the report.
 */
import { reasonSentence } from './reasons.ts'
import type { EndpointReport, ReplayReport, RunReport } from './types.ts'
import { formatCount, formatMicros, formatPercent } from './units.ts'

/** A share is called uneven from a tenth above fair on: less changes no decision. */
const UNEVEN_FROM = 1.1
/** … and when fair dice would give that many connections less than about once in a thousand times. */
const UNEVEN_DEVIATIONS = 3
/** Latencies nearer than this are called equal: the histogram's buckets are about as wide. */
const LATENCY_NOISE = 0.05

/** One to five sentences; never empty. */
export function conclude(report: ReplayReport): string[] {
  const sentences = new Map<string, string[]>()
  const modes = new Set(report.runs.map(({ proxyMode }) => proxyMode)).size
  const paths = new Set(report.runs.map(({ ingressPath }) => ingressPath)).size
  for (const local of report.runs) {
    if (local.policy !== 'local') continue
    const isCounterpart = (run: RunReport): boolean =>
      run.policy === 'cluster' && run.proxyMode === local.proxyMode && run.ingressPath === local.ingressPath
    const cluster = report.runs.find(isCounterpart)
    if (cluster === undefined) continue
    const text = comparePolicies(local, cluster).join('\n')
    const name = [...(modes > 1 ? [local.proxyMode] : []), ...(paths > 1 ? [local.ingressPath ?? ''] : [])].join(' ')
    sentences.set(text, [...(sentences.get(text) ?? []), name])
  }
  if (sentences.size === 0) return describeRuns(report.runs)
  if (report.comparedServices.length === 0 && [...sentences.keys()].every((text) => text === '')) {
    return ['No Service can be reached from outside the cluster, so externalTrafficPolicy changes nothing here.']
  }
  return [...sentences].flatMap(([text, modes]) => {
    const lines = text === '' ? ['Local and Cluster do the same to this traffic.'] : text.split('\n')
    return sentences.size === 1 ? lines : lines.map((line) => `${modes.join(', ')}: ${line}`)
  })
}

function comparePolicies(local: RunReport, cluster: RunReport): string[] {
  const kept = clientAddress(local, cluster)
  const crossed = crossings(local, cluster)
  const first = [kept, crossed].filter((phrase) => phrase !== '').join(' and ')
  return [
    first === '' ? '' : `Local ${first}.`,
    failures(local, cluster),
    errors(local, cluster),
    ...shares(local, cluster),
    latency(local, cluster),
    conntrack(local, cluster),
  ].filter((sentence) => sentence !== '')
}

function clientAddress(local: RunReport, cluster: RunReport): string {
  const [ours, theirs] = [local.clientIpPreservedFraction, cluster.clientIpPreservedFraction]
  if (formatPercent(ours) === formatPercent(theirs)) return ''
  const on = ours === 1 ? 'every connection' : `${formatPercent(ours)} of connections`
  return `keeps the client address on ${on} (Cluster: ${theirs === 0 ? 'on none' : formatPercent(theirs)})`
}

function crossings(local: RunReport, cluster: RunReport): string {
  const [ours, theirs] = [local.crossNodeFraction, cluster.crossNodeFraction]
  if (formatPercent(ours) === formatPercent(theirs)) return ''
  const crosses = ours === 0 ? 'never crosses nodes' : `crosses nodes on ${formatPercent(ours)} of connections`
  return `${crosses} (Cluster: ${theirs === 0 ? 'never' : formatPercent(theirs)})`
}

function failures(local: RunReport, cluster: RunReport): string {
  const [ours, theirs] = [failedFraction(local), failedFraction(cluster)]
  if (local.connections.failed === cluster.connections.failed || formatPercent(ours) === formatPercent(theirs))
    return ''
  const worse = ours > theirs ? local : cluster
  const [name, other] = ours > theirs ? ['Local', 'Cluster'] : ['Cluster', 'Local']
  const otherFraction = Math.min(ours, theirs)
  const otherText = otherFraction === 0 ? 'none' : formatPercent(otherFraction)
  return `${ours > theirs ? 'But with' : 'With'} ${name} ${formatPercent(Math.max(ours, theirs))} of connections fail (${other}: ${otherText})${mainReason(worse)}.`
}

function mainReason(run: RunReport): string {
  const [reason] = Object.entries(run.drops).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))[0] ?? ['']
  if (reason === '') return ''
  const sentence = reasonSentence(reason)
  return `, mostly ${reason}${sentence === '' ? '' : ` (${sentence})`}`
}

interface Uneven {
  readonly endpoint: EndpointReport
  readonly fair: number
  readonly otherShare: number
}

/** The endpoint that gains most where the policies share a Service out differently; one sentence a policy. */
function shares(local: RunReport, cluster: RunReport): string[] {
  const otherOf: [string, RunReport, string, RunReport][] = [
    ['Local', local, 'Cluster', cluster],
    ['Cluster', cluster, 'Local', local],
  ]
  return otherOf.flatMap(([name, run, otherName, other]) => {
    const uneven = unevenServices(run, other)
    const worst = uneven[0]
    if (worst === undefined) return []
    const { endpoint, fair, otherShare } = worst
    const more =
      uneven.length === 1
        ? ''
        : uneven.length === 2
          ? '; one more Service is uneven'
          : `; ${formatCount(uneven.length - 1)} more Services are uneven`
    return `${name === 'Local' ? 'But with' : 'With'} ${name} ${endpointName(endpoint)} gets ${formatPercent(endpoint.share)} of the connections to ${endpoint.service} (fair share ${formatPercent(fair)}, ${otherName} ${formatPercent(otherShare)})${more}.`
  })
}

/** Services whose fullest endpoint is above its fair share under `run` and clearly fuller than under `other`. */
function unevenServices(run: RunReport, other: RunReport): Uneven[] {
  const before = new Map(other.endpoints.map((endpoint) => [endpointKey(endpoint), endpoint.share]))
  const otherRatios = new Map(other.imbalance.map((row) => [row.service, row.maxOverMean]))
  const fullestOf = fullestEndpoints(run)
  const found: Uneven[] = []
  for (const { service, endpoints, maxOverMean } of run.imbalance) {
    const otherRatio = otherRatios.get(service) ?? 0
    if (otherRatio === 0 || maxOverMean < UNEVEN_FROM || maxOverMean < otherRatio * UNEVEN_FROM) continue
    const fullest = fullestOf.get(service)
    if (fullest === undefined || !beyondChance(fullest, 1 / endpoints)) continue
    found.push({ endpoint: fullest, fair: 1 / endpoints, otherShare: before.get(endpointKey(fullest)) ?? 0 })
  }
  return found.sort((a, b) => b.endpoint.share / b.fair - a.endpoint.share / a.fair)
}

/** Connections above fair, against the standard deviation of a binomial draw. */
function beyondChance(endpoint: EndpointReport, fair: number): boolean {
  if (endpoint.share <= 0) return false
  const total = endpoint.connections / endpoint.share
  return endpoint.connections - total * fair > UNEVEN_DEVIATIONS * Math.sqrt(total * fair * (1 - fair))
}

/** By Service port, the endpoint with the largest share; the first of equals. */
function fullestEndpoints(run: RunReport): Map<string, EndpointReport> {
  const fullest = new Map<string, EndpointReport>()
  for (const endpoint of run.endpoints) {
    const before = fullest.get(endpoint.service)
    if (before === undefined || endpoint.share > before.share) fullest.set(endpoint.service, endpoint)
  }
  return fullest
}

function latency(local: RunReport, cluster: RunReport): string {
  const [ours, theirs] = [local.pathLatencyMicros.packet, cluster.pathLatencyMicros.packet]
  if (ours.count === 0 || theirs.count === 0) return ''
  const differ = (a: number, b: number): boolean => Math.abs(a - b) > LATENCY_NOISE * Math.max(a, b)
  const parts: string[] = []
  if (differ(ours.p50, theirs.p50)) parts.push(`p50 ${formatMicros(ours.p50)} instead of ${formatMicros(theirs.p50)}`)
  if (differ(ours.p99, theirs.p99)) parts.push(`p99 ${formatMicros(ours.p99)} instead of ${formatMicros(theirs.p99)}`)
  return parts.length === 0 ? '' : `Path latency (model) under Local: ${parts.join(', ')}.`
}

/** Only where a table is near its limit under one of them: a peak far below it changes no decision. */
function conntrack(local: RunReport, cluster: RunReport): string {
  const [ours, theirs] = [fullestTable(local), fullestTable(cluster)]
  if (Math.max(ours.fill, theirs.fill) < 0.8 || formatPercent(ours.fill) === formatPercent(theirs.fill)) return ''
  return `The fullest conntrack table reaches ${formatPercent(ours.fill)} under Local (${ours.node}) and ${formatPercent(theirs.fill)} under Cluster (${theirs.node}).`
}

function fullestTable(run: RunReport): { node: string; fill: number } {
  let fullest = { node: '', fill: 0 }
  for (const node of run.nodes) {
    const fill = node.conntrackMax > 0 ? node.conntrackPeak / node.conntrackMax : 0
    if (fullest.node === '' || fill > fullest.fill) fullest = { node: node.node, fill }
  }
  return fullest
}

/** Requests that no backend answered: statuses of the proxy's own from 500 on. */
function errors(local: RunReport, cluster: RunReport): string {
  const [ours, theirs] = [errorFraction(local), errorFraction(cluster)]
  if (formatPercent(ours) === formatPercent(theirs)) return ''
  const [name, other, worse] = ours > theirs ? ['Local', 'Cluster', local] : ['Cluster', 'Local', cluster]
  const least = Math.min(ours, theirs)
  return `${name === 'Local' ? 'But with' : 'With'} ${name} ${formatPercent(Math.max(ours, theirs))} of requests are answered ${errorStatuses(worse)} (${other}: ${least === 0 ? 'none' : formatPercent(least)}).`
}

function errorFraction({ ingress }: RunReport): number {
  if (ingress === null || ingress.requests === 0) return 0
  const failed = Object.entries(ingress.byStatus).filter(([status]) => status >= '500')
  return failed.reduce((sum, [, count]) => sum + count, 0) / ingress.requests
}

function errorStatuses({ ingress }: RunReport): string {
  return Object.keys(ingress?.byStatus ?? {})
    .filter((status) => status >= '500')
    .join(' or ')
}

/** One after the other, with their names where they differ. */
function describeRuns(runs: readonly RunReport[]): string[] {
  const described = runs.map(describeRun)
  const names = runs.map(({ policy, proxyMode, ingressPath }) =>
    [policy, proxyMode, ingressPath ?? []].flat().join(', '),
  )
  const same = new Set(described.map((sentences) => sentences.join('\n'))).size === 1
  if (same) return (described[0] ?? []).map(capitalise)
  return described.flatMap((sentences, i) => sentences.map((sentence) => `${names[i]}: ${sentence}`))
}

function describeRun(run: RunReport): string[] {
  const { attempted, failed } = run.connections
  const outcome =
    attempted === 0
      ? 'the trace has no connections.'
      : failed === 0
        ? 'every connection was established.'
        : `${formatPercent(failed / attempted)} of connections failed${mainReason(run)}.`
  const failing = errorFraction(run)
  const sentences = [outcome]
  if (failing > 0) sentences.push(`${formatPercent(failing)} of requests were answered ${errorStatuses(run)}.`)
  const fullestOf = fullestEndpoints(run)
  for (const { service, endpoints, maxOverMean } of [...run.imbalance].sort((a, b) => b.maxOverMean - a.maxOverMean)) {
    const fullest = fullestOf.get(service)
    if (maxOverMean < UNEVEN_FROM || fullest === undefined || !beyondChance(fullest, 1 / endpoints)) continue
    sentences.push(
      `${endpointName(fullest)} got ${formatPercent(fullest.share)} of the connections to ${service} (fair share ${formatPercent(1 / endpoints)}).`,
    )
    break
  }
  return sentences
}

function failedFraction(run: RunReport): number {
  return run.connections.attempted === 0 ? 0 : run.connections.failed / run.connections.attempted
}

function endpointName(endpoint: EndpointReport): string {
  return endpoint.pod === null ? `endpoint ${endpoint.endpoint}` : `pod ${endpoint.pod.replace(/^default\//, '')}`
}

function endpointKey(endpoint: EndpointReport): string {
  return `${endpoint.service} ${endpoint.endpoint}`
}

function capitalise(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1)
}
