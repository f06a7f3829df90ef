/**
 * The figures of a run that a decision may rest on, each so that less is better, with where in the report it stands.
 *
 * Of latencies and shares only those of the compared Services count: the policy changes nothing for the others. What the policy
 * changes for all traffic together (client addresses, hops) is counted in connections, since the same trace went through both runs
 * and connections inside of the cluster cancel out.
 */
import type { EndpointReport, ReplayReport, RunReport } from './types.ts'
import { formatCount, formatMicros, formatPercent, formatRatio } from './units.ts'

/** Ports that one address has for masquerading: 1024 to 65535. */
const SOURCE_PORTS = 64_512

export interface Figure {
  /** Stable, for scripts: `request-p99`, `imbalance` … */
  readonly effect: string
  /** Of which Service port, node or pod; '' for the run. */
  readonly of: string
  /** Path below `runs[]`. */
  readonly evidence: string
  readonly value: number
  /** Below it the value is no reason for anything, whatever it was before. */
  readonly matters: number
  readonly label: string
  readonly format: (value: number) => string
}

/** Of one run; the same effects in the same order for every run of a report. */
export function figuresOf(run: RunReport, report: Pick<ReplayReport, 'comparedServices'>): Figure[] {
  const { attempted, established, failed, broken } = run.connections
  const figures: Figure[] = []
  const add = (
    effect: string,
    label: string,
    evidence: string,
    value: number,
    matters: number,
    format = formatPercent,
    of = '',
  ): void => {
    figures.push({ effect, of, evidence, value, matters, label, format })
  }
  add('connections-failed', 'connections that fail', 'connections.failed', ratio(failed, attempted), 0.0005)
  add('network-policy', 'connections that NetworkPolicies drop', 'drops', ratio(policyDrops(run), attempted), 0.0005)
  add('connections-broken', 'connections that break', 'connections.broken', ratio(broken, established), 0.0005)
  const { ingress, dns } = run
  if (ingress !== null) {
    add('requests-failed', 'requests answered 5xx', 'ingress.byStatus', statuses(run, '5'), 0.0005)
    add('requests-refused', 'requests answered 4xx', 'ingress.byStatus', statuses(run, '4'), 0.0005)
    add(
      'forwarded-for',
      'client connections whose proxy does not know the client',
      'ingress.xForwardedForClientFraction',
      1 - ingress.xForwardedForClientFraction,
      0.0005,
    )
    const busiest = busiestPod(run)
    if (busiest > 0)
      add(
        'request-imbalance',
        'requests of the busiest pod over the mean of its Service',
        'ingress.pods[].requests',
        busiest,
        1.1,
        formatRatio,
      )
  }
  if (dns.connections > 0)
    add(
      'names-failed',
      'connections whose name is not resolved',
      'dns.failed',
      ratio(dns.failed + dns.lost, dns.connections),
      0.0005,
    )
  for (const { of, path, latency, request } of latenciesOf(run, report)) {
    add('request-p50', 'request latency p50', `${path}requestLatencyMicros.p50`, request.p50, 0, formatMicros, of)
    add('request-p99', 'request latency p99', `${path}requestLatencyMicros.p99`, request.p99, 0, formatMicros, of)
    add('path-p50', 'path latency p50', `${path}pathLatencyMicros.packet.p50`, latency.packet.p50, 0, formatMicros, of)
    add('path-p99', 'path latency p99', `${path}pathLatencyMicros.packet.p99`, latency.packet.p99, 0, formatMicros, of)
    add(
      'setup-p99',
      'connection setup p99',
      `${path}pathLatencyMicros.connectionSetup.p99`,
      latency.connectionSetup.p99,
      0,
      formatMicros,
      of,
    )
  }
  add(
    'client-address',
    'connections without the client address',
    'clientIpPreservedFraction',
    established * (1 - run.clientIpPreservedFraction),
    0.5,
    formatRounded,
  )
  add(
    'crossings',
    'connections that cross nodes',
    'crossNodeFraction',
    established * run.crossNodeFraction,
    0.5,
    formatRounded,
  )
  const compared = comparedPorts(run, report)
  const worstFirst = [...run.imbalance].sort((x, y) => y.maxOverMean - x.maxOverMean)
  for (const { service, endpoints, maxOverMean } of worstFirst) {
    if (compared.has(service) && endpoints > 1)
      add(
        'imbalance',
        'fullest endpoint over the mean',
        'imbalance[].maxOverMean',
        maxOverMean,
        1.1,
        formatRatio,
        service,
      )
  }
  add(
    'conntrack',
    'fill of the fullest conntrack table',
    'nodes[].conntrackPeak',
    most(run.nodes.map((node) => ratio(node.conntrackPeak, node.conntrackMax))),
    0.5,
  )
  add(
    'source-ports',
    'source ports in use on the fullest node',
    'nodes[].snatPortsPeak',
    most(run.nodes.map((node) => node.snatPortsPeak / SOURCE_PORTS)),
    0.5,
  )
  add(
    'cpu',
    'CPU of the busiest node at its peak',
    'nodes[].cpuUtilizationPeak',
    most(run.nodes.map((node) => node.cpuUtilizationPeak)),
    0.5,
  )
  add(
    'pod-cpu',
    'CPU of the busiest pod',
    'endpoints[].podUtilization',
    most(run.endpoints.map((endpoint) => endpoint.podUtilization)),
    0.5,
  )
  return figures
}

/** First packets that NetworkPolicies have dropped, questions for names among them. */
export function policyDrops({ drops }: Pick<RunReport, 'drops'>): number {
  return Object.entries(drops).reduce((sum, [reason, n]) => sum + (reason.startsWith('network-policy-') ? n : 0), 0)
}

/** Endpoints above fair by more than chance explains: three standard deviations of a binomial draw. */
function beyondChance(endpoint: EndpointReport, fair: number): boolean {
  if (endpoint.share <= 0) return false
  const total = endpoint.connections / endpoint.share
  return endpoint.connections - total * fair > 3 * Math.sqrt(total * fair * (1 - fair))
}

/** An endpoint whose share chance does not explain. */
export interface Uneven {
  readonly endpoint: EndpointReport
  readonly fair: number
}

export interface Shares {
  /** By Service port; those that chance explains are left out. */
  readonly uneven: ReadonlyMap<string, Uneven>
  share(service: string, endpoint: string): number
}

/** Linear in the endpoints. */
export function sharesOf(run: RunReport): Shares {
  const fullest = new Map<string, EndpointReport>()
  const shares = new Map<string, number>()
  for (const endpoint of run.endpoints) {
    shares.set(`${endpoint.service} ${endpoint.endpoint}`, endpoint.share)
    const before = fullest.get(endpoint.service)
    if (before === undefined || endpoint.share > before.share) fullest.set(endpoint.service, endpoint)
  }
  const uneven = new Map<string, Uneven>()
  for (const { service, endpoints } of run.imbalance) {
    const endpoint = fullest.get(service)
    if (endpoint !== undefined && endpoints > 0 && beyondChance(endpoint, 1 / endpoints))
      uneven.set(service, { endpoint, fair: 1 / endpoints })
  }
  return { uneven, share: (service, endpoint) => shares.get(`${service} ${endpoint}`) ?? 0 }
}

/** Ports of the compared Services; all where none is compared, since then the runs differ in something else. */
function comparedPorts(run: RunReport, { comparedServices }: Pick<ReplayReport, 'comparedServices'>): Set<string> {
  const ports = run.imbalance.map(({ service }) => service)
  const wanted = new Set(comparedServices)
  const compared = ports.filter((port) => wanted.has(port.replace(/:[^:]*$/, '')))
  return new Set(compared.length > 0 ? compared : ports)
}

/** The compared Services' latencies where the report has them apart, else the run's. */
function latenciesOf(run: RunReport, report: Pick<ReplayReport, 'comparedServices'>) {
  const wanted = new Set(report.comparedServices)
  const compared = run.services.filter(({ service }) => wanted.has(service.replace(/:[^:]*$/, '')))
  const whole = { of: '', path: '', latency: run.pathLatencyMicros, request: run.requestLatencyMicros }
  const measured = compared.filter(({ pathLatencyMicros }) => pathLatencyMicros.packet.count > 0)
  return measured.length === 0 || run.ingress !== null
    ? [whole]
    : measured.map((one) => ({
        of: one.service,
        path: 'services[].',
        latency: one.pathLatencyMicros,
        request: one.requestLatencyMicros,
      }))
}

function statuses({ ingress }: RunReport, first: string): number {
  if (ingress === null || ingress.requests === 0) return 0
  return (
    Object.entries(ingress.byStatus).reduce((sum, [status, n]) => sum + (status.startsWith(first) ? n : 0), 0) /
    ingress.requests
  )
}

function busiestPod({ ingress }: RunReport): number {
  const byService = new Map<string, number[]>()
  for (const { service, requests } of ingress?.pods ?? [])
    byService.set(service, [...(byService.get(service) ?? []), requests])
  let highest = 0
  for (const requests of byService.values()) {
    const total = requests.reduce((sum, n) => sum + n, 0)
    if (total > 0 && requests.length > 1) highest = Math.max(highest, (most(requests) * requests.length) / total)
  }
  return highest
}

function formatRounded(value: number): string {
  return formatCount(Math.round(value))
}

function ratio(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}

function most(values: readonly number[]): number {
  return values.reduce((highest, value) => Math.max(highest, value), 0)
}
