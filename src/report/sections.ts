/**
 * What a replay report says, section by section, in the order in which someone decides: the verdict in words,
 * thresholds, traffic and outcomes, latency, where connections went, what it cost the nodes, then the fine print, and
 * the emulator's own speed last and apart.
 *
 * Sections and columns that would hold only zeros are left out; the JSON has every field.
 */
import { formatWarning } from '../errors.ts'
import { chanceLines } from './chance.ts'
import { conclude } from './conclusion.ts'
import { courseSection } from './course-section.ts'
import { dnsSections } from './dns-section.ts'
import {
  type Cell,
  listSection,
  type ReportDocument,
  runTable,
  type Section,
  shorten,
  textSection,
} from './document.ts'
import { endpointSections } from './endpoint-sections.ts'
import { ingressSections } from './ingress-section.ts'
import { nodeSection } from './node-section.ts'
import { reasonSentence } from './reasons.ts'
import { runNames } from './run-names.ts'
import { axisOf, sparkline } from './sparkline.ts'
import { cellsOver, drawsText } from './spread.ts'
import type { ThresholdResult } from './threshold.ts'
import { thresholdLines } from './threshold-lines.ts'
import { timelineSections } from './timeline-section.ts'
import type { LatencyHistogram, LatencySummary, ModelConstant, ReplayReport, RunReport } from './types.ts'
import {
  clipEnd,
  clipMiddle,
  countOf,
  emulatesText,
  formatBitRate,
  formatBytes,
  formatCount,
  formatMicros,
  formatNanos,
  formatPercent,
  formatRate,
  formatSeconds,
} from './units.ts'

const MAX_CHANGES = 5
const MAX_DERIVED = 10
const MAX_SERVICES = 12
const SERVICE_WIDTH = 40
const MAX_WARNINGS = 20
const SPARKLINE_WIDTH = 12
/** In a narrower terminal figures are worth more. */
const LEAST_WIDTH_FOR_SPARKLINES = 80

/** One value of every run as a table row. */
type RunValue = (run: RunReport) => Cell

export interface DocumentOptions {
  /** List all constants of the model; otherwise those that were set. */
  readonly constants?: boolean | undefined
  /** Columns that there are; null or left out: not known. */
  readonly width?: number | null | undefined
}

export function replayDocument(
  whole: ReplayReport,
  thresholds: readonly ThresholdResult[],
  options: DocumentOptions = {},
): ReportDocument {
  const report = withoutTwins(whole)
  const { width = null } = options
  const sections: Section[] = []
  if (thresholds.length > 0) {
    const on = whole.draws === null ? '' : `, on the medians of ${drawsText(whole.draws)}`
    sections.push(listSection(`Thresholds${on}`, thresholdLines(thresholds)))
  }
  sections.push(textSection('In short', [...conclude(whole), ...chanceLines(whole)]))
  sections.push(trafficSection(report))
  sections.push(...timelineSections(report))
  sections.push(outcomeSection(report))
  sections.push(...dropSection(report))
  sections.push(latencySection(report, width))
  sections.push(...serviceLatencySection(report))
  sections.push(...endpointSections(report, width))
  sections.push(...nodeSection(report))
  sections.push(...courseSection(report, width === null || width >= LEAST_WIDTH_FOR_SPARKLINES))
  sections.push(...dnsSections(report))
  sections.push(...ingressSections(report))
  sections.push(...finePrint(report, options.constants))
  sections.push(engineSection(report))
  return { title: `dpemu replay: ${report.trace.name}`, subtitle: subtitle(report), sections }
}

/** Runs that came to the same in everything are one column, with the names of all of them. */
function withoutTwins(report: ReplayReport): ReplayReport {
  const [first, ...others] = report.runs
  if (first === undefined || others.length === 0) return report
  const figures = ({ policy: _, proxyMode: __, ingressPath: ___, ...rest }: RunReport): string => JSON.stringify(rest)
  const ofFirst = figures(first)
  if (others.some((run) => figures(run) !== ofFirst)) return report
  const draws =
    report.draws === null
      ? null
      : { ...report.draws, least: report.draws.least.slice(0, 1), most: report.draws.most.slice(0, 1) }
  return { ...report, draws, runs: [{ ...first, policy: runNames(report.runs).join(' = ') }] }
}

function subtitle(report: ReplayReport): string[] {
  const { trace, runs, comparedServices } = report
  const modes = [...new Set(runs.map((run) => run.proxyMode))].join(', ')
  const compared =
    comparedServices.length === 0 ? [] : [`externalTrafficPolicy set on ${clipEnd(comparedServices.join(', '), 70)}`]
  return [
    `${countOf(trace.connections, 'connection')}, ${countOf(trace.packets, 'packet')} (${formatBytes(trace.bytes)}) over ${formatSeconds(trace.durationSeconds)} from ${countOf(trace.clients, 'client')}; proxy mode ${modes}`,
    ...compared,
    ...drawsLine(report),
    ...changesLine(report),
  ]
}

function drawsLine({ draws }: ReplayReport): string[] {
  if (draws === null) return []
  const { seeds, placements } = draws
  const both = seeds.length > 1 && placements.length > 1
  const of = both ? ` (${countOf(seeds.length, 'seed')} × ${countOf(placements.length, 'placement')})` : ''
  return [
    `medians of ${drawsText(draws)}${of}, each figure by itself; in brackets the least and the most, where they differ`,
  ]
}

/** Figures over a run whose cluster changed are of all of it, before and after. */
function changesLine({ changes }: ReplayReport): string[] {
  if (changes.length === 0) return []
  const at = changes.slice(0, MAX_CHANGES).map(formatSeconds).join(', ')
  const more = changes.length > MAX_CHANGES ? ` and ${changes.length - MAX_CHANGES} times more` : ''
  return [`the cluster changes after ${at}${more}; shares count every endpoint that there was, whenever it came`]
}

function row(report: ReplayReport, label: string, value: RunValue): Cell[] {
  return [label, ...cellsOver(report, value)]
}

/** Cells of two figures have no room for ranges. */
function medians(report: ReplayReport, label: string, value: RunValue): Cell[] {
  return [label, ...report.runs.map(value)]
}

function trafficSection(report: ReplayReport): Section {
  return runTable(
    'Throughput',
    runNames(report.runs),
    [
      row(report, 'offered connections', (run) => formatRate(run.offered.connectionsPerSecond)),
      row(report, 'delivered connections', (run) => formatRate(run.delivered.connectionsPerSecond)),
      row(report, 'offered packets', (run) => formatRate(run.offered.packetsPerSecond)),
      row(report, 'delivered packets', (run) => formatRate(run.delivered.packetsPerSecond)),
      row(report, 'offered bandwidth', (run) => formatBitRate(run.offered.bitsPerSecond)),
      row(report, 'delivered bandwidth', (run) => formatBitRate(run.delivered.bitsPerSecond)),
    ],
    spanNote(report),
  )
}

/** Connections that last go on after the last client has come. */
function spanNote({ trace: { durationSeconds, arrivalSeconds } }: ReplayReport): Cell[] {
  const [all, arriving] = [formatSeconds(durationSeconds), formatSeconds(arrivalSeconds)]
  if (all === arriving) return []
  return [
    { text: `connections: over the ${arriving} in which they come; packets and bandwidth: over ${all}`, tone: 'quiet' },
  ]
}

function outcomeSection(report: ReplayReport): Section {
  const bad = (count: number, text: string = formatCount(count)): Cell => (count === 0 ? text : { text, tone: 'bad' })
  const rows: Cell[][] = [
    row(report, 'attempted', (run) => formatCount(run.connections.attempted)),
    row(report, 'established', (run) => formatCount(run.connections.established)),
    row(report, 'failed', ({ connections: { attempted, failed } }) =>
      bad(failed, failed === 0 ? '0' : `${formatCount(failed)} (${formatPercent(failed / attempted)})`),
    ),
    row(report, 'client address kept', (run) => formatPercent(run.clientIpPreservedFraction)),
    row(report, 'masqueraded', (run) => formatPercent(run.masqueradedFraction)),
    row(report, 'crossed nodes', (run) => formatPercent(run.crossNodeFraction)),
    row(report, 'packets accepted', (run) => formatCount(run.verdicts.accept)),
  ]
  const rare: [string, (run: RunReport) => number][] = [
    ['broken later', (run) => run.connections.broken],
    ['packets dropped', (run) => run.verdicts.drop],
    ['packets rejected', (run) => run.verdicts.reject],
    ['packets never sent', (run) => run.verdicts.notSent],
  ]
  for (const [label, count] of rare) {
    if (report.runs.some((run) => count(run) > 0)) rows.push(row(report, label, (run) => bad(count(run))))
  }
  return runTable('Connections', runNames(report.runs), rows)
}

function dropSection(report: ReplayReport): Section[] {
  const total = new Map<string, number>()
  for (const run of report.runs) {
    for (const [reason, packets] of Object.entries(run.drops)) total.set(reason, (total.get(reason) ?? 0) + packets)
  }
  const reasons = [...total].filter(([, packets]) => packets > 0).sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1))
  if (reasons.length === 0) return []
  const rows = reasons.map(([reason]) => row(report, reason, (run) => formatCount(run.drops[reason] ?? 0)))
  const meanings = reasons
    .map(([reason]) => [reason, reasonSentence(reason)] as const)
    .filter(([, sentence]) => sentence !== '')
    .map(([reason, sentence]): Cell => ({ text: `${reason}: ${sentence}`, tone: 'quiet' }))
  return [runTable('Packets dropped or rejected, by reason', runNames(report.runs), rows, meanings)]
}

function latencySection(report: ReplayReport, width: number | null): Section {
  const kinds: [string, (run: RunReport) => LatencySummary][] = [
    ['packet', (run) => run.pathLatencyMicros.packet],
    ['first packet', (run) => run.pathLatencyMicros.firstPacket],
    ['connection setup', (run) => run.pathLatencyMicros.connectionSetup],
    ['request, served', (run) => run.requestLatencyMicros],
  ]
  const points: [string, (summary: LatencySummary) => number][] = [
    ['mean', (summary) => summary.mean],
    ['p50', (summary) => summary.p50],
    ['p90', (summary) => summary.p90],
    ['p95', (summary) => summary.p95],
    ['p99', (summary) => summary.p99],
    ['p99.9', (summary) => summary.p999],
    ['max', (summary) => summary.max],
  ]
  const rows: Cell[][] = []
  for (const [kind, summaryOf] of kinds) {
    if (report.runs.every((run) => summaryOf(run).count === 0)) continue
    const shown =
      kind === 'packet' || kind.startsWith('request')
        ? points
        : points.filter(([point]) => point === 'p50' || point === 'p99')
    for (const [point, pointOf] of shown) {
      rows.push(
        row(report, `${kind} ${point}`, (run) =>
          summaryOf(run).count === 0 ? { text: 'none', tone: 'quiet' } : formatMicros(pointOf(summaryOf(run))),
        ),
      )
    }
  }
  if (width === null || width >= LEAST_WIDTH_FOR_SPARKLINES) rows.push(...sparklineRows(report))
  const note = rows.length === 0 ? 'No packet was delivered, so there is none.' : ''
  return runTable('Path latency (model)', runNames(report.runs), rows, note === '' ? [] : [note])
}

/** Whole distributions, on one axis for all runs. */
function sparklineRows({ runs }: ReplayReport): Cell[][] {
  const kinds: [string, (run: RunReport) => LatencyHistogram][] = [
    ['packets', ({ histograms }) => histograms.packet],
    ['requests', ({ histograms }) => histograms.request],
  ]
  return kinds.flatMap(([kind, histogramOf]) => {
    const axis = axisOf(runs.map(histogramOf))
    if (axis === null) return []
    const span = `${formatMicros(axis.fromMicros)} to ${formatMicros(axis.toMicros)}`
    return [[`${kind}, ${span}`, ...runs.map((run) => sparkline(histogramOf(run), axis, SPARKLINE_WIDTH))]]
  })
}

/** Service ports side by side, those with the most packets first; with one there is nothing that the totals do not say. */
function serviceLatencySection(report: ReplayReport): Section[] {
  const packets = new Map<string, number>()
  for (const { service, pathLatencyMicros } of report.runs.flatMap((run) => run.services)) {
    packets.set(service, (packets.get(service) ?? 0) + pathLatencyMicros.packet.count)
  }
  if (packets.size < 2) return []
  const ranked = [...packets].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([service]) => service)
  const rows = ranked.slice(0, MAX_SERVICES).map((service) =>
    medians(report, clipMiddle(service, SERVICE_WIDTH), (run) => {
      const latency = run.services.find((one) => one.service === service)?.pathLatencyMicros.packet
      if (latency === undefined) return { text: 'none', tone: 'quiet' }
      return `${formatMicros(latency.p50)} / ${formatMicros(latency.p99)}`
    }),
  )
  const more = ranked.length - rows.length
  const note = more > 0 ? [`${countOf(more, 'more Service port')} with packets (-o json has all).`] : []
  return [runTable('Path latency of packets by Service (model): p50 / p99', runNames(report.runs), rows, note)]
}

/** What the runs rest on: what to know, what was filled in, which releases, and the constants. */
export function finePrint(
  report: Pick<ReplayReport, 'model' | 'derived' | 'warnings' | 'emulates'>,
  allConstants: boolean = false,
): Section[] {
  const sections: Section[] = []
  if (report.warnings.length > 0) {
    const warnings = report.warnings.map((warning) => `${formatWarning(warning)} [${warning.code}]`)
    sections.push(listSection(`Warnings (${report.warnings.length})`, shorten(warnings, MAX_WARNINGS)))
  }
  if (report.derived.length > 0) {
    const derived = report.derived.map(({ object, what }) => `${object}: ${what}`)
    sections.push(listSection('Filled in, as a cluster would', shorten(derived, MAX_DERIVED)))
  }
  sections.push(textSection('Emulated', [emulatesText(report.emulates)]))
  if (report.model.length > 0) sections.push(constantsSection(report.model, allConstants))
  return sections
}

function constantsSection(model: readonly ModelConstant[], all: boolean): Section {
  const shown = all ? model : model.filter(({ isSet }) => isSet)
  const rest = model.length - shown.length
  const lines: Cell[] = shown.map(
    ({ name, value, unit, source }) => `${name} = ${value} ${unit}`.trimEnd() + (source === '' ? '' : ` (${source})`),
  )
  const others = shown.length === 0 ? countOf(rest, 'constant') : `${formatCount(rest)} more`
  if (rest > 0)
    lines.push({
      text: `${others} as measured or documented: --constants lists them with their sources`,
      tone: 'quiet',
    })
  return listSection('Constants of the model', lines)
}

function engineSection({ engine }: ReplayReport): Section {
  const { p50, p99 } = engine.processingNanosPerPacket
  const workers = `${countOf(engine.workers, 'worker')}, ${countOf(engine.shards, 'shard')}`
  return textSection("dpemu's own speed (measured; no part of the result)", [
    `packets emulated: ${formatRate(engine.packetsPerSecond)} for ${formatSeconds(engine.wallSeconds)} (${workers})`,
    `processing time per packet: p50 ${formatNanos(p50)}, p99 ${formatNanos(p99)}`,
    `peak memory: ${formatBytes(engine.peakRssBytes)}; native add-ons: ${engine.nativeAddons ? 'yes' : 'none'}`,
    { text: `dpemu ${engine.version}, Node ${engine.node.replace(/^v/, '')}, ${engine.machine}`, tone: 'quiet' },
  ])
}
