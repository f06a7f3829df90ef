/**
 * Who got the connections: one section a Service port, a row an endpoint, a bar and a share a run, then the imbalance.
 *
 * Services come in the order in which the runs differ most over them; those without a connection are counted only.
 * Cost: a pass over each run's endpoints and a sort per shown Service.
 */
import { type Cell, type Section, textSection } from './document.ts'
import { runNames } from './run-names.ts'
import { cellsOver } from './spread.ts'
import type { EndpointReport, ImbalanceReport, ReplayReport, RunReport } from './types.ts'
import { clipMiddle, countOf, formatBar, formatPercent, formatRatio } from './units.ts'

const MAX_SERVICES = 8
const MAX_ENDPOINTS = 12
const BAR_WIDTH = 8
/** With more runs than this the bars would not fit beside each other. */
const MAX_BARS = 3
/** In a narrower terminal names are worth more. */
const LEAST_WIDTH_FOR_BARS = 80
const NAME_WIDTH = 36
const NODE_WIDTH = 18

interface EndpointRow {
  readonly name: string
  readonly node: string
  readonly endpoint: string
  /** By run; 0 where the run does not list the endpoint. */
  readonly shares: readonly number[]
  /** Between the runs; with one run, from the fair share. */
  readonly difference: number
}

interface ServiceRows {
  readonly service: string
  readonly rows: readonly EndpointRow[]
  readonly connections: number
}

/** @param width  columns that there are; null: not known */
export function endpointSections(report: ReplayReport, width: number | null = null): Section[] {
  const services = collectServices(report.runs)
  const used = services.filter((service) => service.connections > 0)
  const compared = new Set(report.comparedServices)
  const rank = (service: ServiceRows): number => (compared.has(objectOf(service.service)) ? 1 : 0)
  const ranked = used
    .map((service) => ({ service, spread: service.rows.reduce((most, row) => Math.max(most, row.difference), 0) }))
    .sort(
      (a, b) =>
        rank(b.service) - rank(a.service) || b.spread - a.spread || b.service.connections - a.service.connections,
    )
    .map(({ service }) => service)
  // With one endpoint there is nothing to share out: those Services get a line together.
  const shared = ranked.filter((service) => service.rows.length > 1)
  const single = ranked.filter((service) => service.rows.length === 1)
  const sections = shared.slice(0, MAX_SERVICES).map((service) => serviceSection(report, service, width))
  const left = [
    ...(single.length > 0 ? [singleLine(single)] : []),
    ...(shared.length > MAX_SERVICES
      ? [`${countOf(shared.length - MAX_SERVICES, 'more Service port')} with connections (-o json has all).`]
      : []),
    ...(services.length > used.length
      ? [`${countOf(services.length - used.length, 'Service port')} got no connection.`]
      : []),
  ]
  return left.length === 0
    ? sections
    : [...sections, textSection(sections.length === 0 ? 'Services' : 'Other Services', left)]
}

function singleLine(services: readonly ServiceRows[]): string {
  const named = services.slice(0, MAX_SERVICES).map(({ service }) => service)
  const more = services.length > MAX_SERVICES ? ` and ${services.length - MAX_SERVICES} more` : ''
  return `One endpoint takes all connections of ${named.join(', ')}${more}.`
}

function collectServices(runs: readonly RunReport[]): ServiceRows[] {
  const byService = new Map<string, Map<string, EndpointReport[]>>()
  runs.forEach((run, index) => {
    for (const endpoint of run.endpoints) {
      const endpoints = entry(byService, endpoint.service, () => new Map<string, EndpointReport[]>())
      entry(endpoints, endpoint.endpoint, (): EndpointReport[] => [])[index] = endpoint
    }
  })
  return [...byService].map(([service, endpoints]) => {
    const rows = [...endpoints.values()].map((perRun) => endpointRow(perRun, runs.length, endpoints.size))
    const all = [...endpoints.values()].flat().filter((endpoint) => endpoint !== undefined)
    const connections = all.reduce((sum, endpoint) => sum + endpoint.connections, 0)
    return { service, rows, connections }
  })
}

function endpointRow(perRun: readonly EndpointReport[], runCount: number, endpointCount: number): EndpointRow {
  const any = perRun.find((endpoint) => endpoint !== undefined)!
  const shares = Array.from({ length: runCount }, (_, index) => perRun[index]?.share ?? 0)
  const difference = runCount > 1 ? Math.max(...shares) - Math.min(...shares) : Math.abs(shares[0]! - 1 / endpointCount)
  return { name: any.pod ?? any.endpoint, node: any.node ?? '', endpoint: any.endpoint, shares, difference }
}

function serviceSection(report: ReplayReport, service: ServiceRows, width: number | null): Section {
  const { runs, draws } = report
  const shown = mostDifferent(service.rows)
  const left = service.rows.length - shown.length
  const fullest = Math.max(...shown.flatMap((row) => row.shares))
  const bars = draws === null && runs.length <= MAX_BARS && (width === null || width >= LEAST_WIDTH_FOR_BARS)
  const withNode = shown.some((row) => row.node !== '')
  const share = (value: number): Cell => {
    const percent = formatPercent(value).padStart(7)
    return bars ? `${formatBar(fullest === 0 ? 0 : value / fullest, BAR_WIDTH)} ${percent}` : percent
  }
  const rows: Cell[][] = shown.map((row) => [
    clipMiddle(row.name, NAME_WIDTH),
    ...(withNode ? [clipMiddle(row.node, NODE_WIDTH)] : []),
    ...(draws === null ? row.shares.map(share) : cellsOver(report, shareOf(service.service, row.endpoint))),
  ])
  const blank = withNode ? [''] : []
  const ratio = (value: (row: ImbalanceReport) => number): Cell[] =>
    cellsOver(report, ({ imbalance }) => {
      const row = imbalance.find((one) => one.service === service.service)
      return row === undefined ? 'n/a' : formatRatio(value(row))
    })
  rows.push(['fullest over mean', ...blank, ...ratio((row) => row.maxOverMean)])
  rows.push(['coefficient of variation', ...blank, ...ratio((row) => row.coefficientOfVariation)])
  const count = service.rows.length
  return {
    title: `Share of connections: ${service.service} (${countOf(count, 'endpoint')}, fair share ${formatPercent(1 / count)})`,
    table: {
      head: ['endpoint', ...(withNode ? ['node'] : []), ...runNames(runs)],
      align: ['left', ...(withNode ? ['left' as const] : []), ...runs.map(() => 'right' as const)],
      rows,
      runTable: false,
    },
    lines:
      left > 0 ? [{ text: `... and ${left} more endpoints that differ less (-o json has all)`, tone: 'quiet' }] : [],
    list: false,
  }
}

function shareOf(service: string, endpoint: string): (run: Pick<RunReport, 'endpoints'>) => Cell {
  return ({ endpoints }) =>
    formatPercent(endpoints.find((one) => one.service === service && one.endpoint === endpoint)?.share ?? 0)
}

/** All of a short list in its own order; else those that differ most, largest difference first. */
function mostDifferent(rows: readonly EndpointRow[]): readonly EndpointRow[] {
  if (rows.length <= MAX_ENDPOINTS) return rows
  return [...rows].sort((a, b) => b.difference - a.difference).slice(0, MAX_ENDPOINTS)
}

/** `default/web` of `default/web:http`. */
function objectOf(servicePort: string): string {
  const colon = servicePort.lastIndexOf(':')
  return colon < 0 ? servicePort : servicePort.slice(0, colon)
}

function entry<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}
