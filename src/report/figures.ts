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
  const add = (figure: Omit<Figure, 'of' | 'format'> & Partial<Pick<Figure, 'of' | 'format'>>): void => {
    figures.push({ of: '', format: formatPercent, ...figure })
  }
  add({
    effect: 'connections-failed',
    label: 'connections that fail',
    evidence: 'connections.failed',
    value: ratio(failed, attempted),
    matters: 0.0005,
  })
  add({
    effect: 'network-policy',
    label: 'connections that NetworkPolicies drop',
    evidence: 'drops',
    value: ratio(policyDrops(run), attempted),
    matters: 0.0005,
  })
  add({
    effect: 'connections-broken',
    label: 'connections that break',
    evidence: 'connections.broken',
    value: ratio(broken, established),
    matters: 0.0005,
  })
  const { ingress, dns } = run
  if (ingress !== null) {
    add({
      effect: 'requests-failed',
      label: 'requests answered 5xx',
      evidence: 'ingress.byStatus',
      value: statuses(run, '5'),
      matters: 0.0005,
    })
    add({
      effect: 'requests-refused',
      label: 'requests answered 4xx',
      evidence: 'ingress.byStatus',
      value: statuses(run, '4'),
      matters: 0.0005,
    })
    add({
      effect: 'forwarded-for',
      label: 'client connections whose proxy does not know the client',
      evidence: 'ingress.xForwardedForClientFraction',
      value: 1 - ingress.xForwardedForClientFraction,
      matters: 0.0005,
    })
    const busiest = busiestPod(run)
    if (busiest > 0)
      add({
        effect: 'request-imbalance',
        label: 'requests of the busiest pod over the mean of its Service',
        evidence: 'ingress.pods[].requests',
        value: busiest,
        matters: 1.1,
        format: formatRatio,
      })
  }
  if (dns.connections > 0)
    add({
      effect: 'names-failed',
      label: 'connections whose name is not resolved',
      evidence: 'dns.failed',
      value: ratio(dns.failed + dns.lost, dns.connections),
      matters: 0.0005,
    })
  for (const { of, path, latency, request } of latenciesOf(run, report)) {
    add({
      effect: 'request-p50',
      label: 'request latency p50',
      evidence: `${path}requestLatencyMicros.p50`,
      value: request.p50,
      matters: 0,
      format: formatMicros,
      of,
    })
    add({
      effect: 'request-p99',
      label: 'request latency p99',
      evidence: `${path}requestLatencyMicros.p99`,
      value: request.p99,
      matters: 0,
      format: formatMicros,
      of,
    })
    add({
      effect: 'path-p50',
      label: 'path latency p50',
      evidence: `${path}pathLatencyMicros.packet.p50`,
      value: latency.packet.p50,
      matters: 0,
      format: formatMicros,
      of,
    })
    add({
      effect: 'path-p99',
      label: 'path latency p99',
      evidence: `${path}pathLatencyMicros.packet.p99`,
      value: latency.packet.p99,
      matters: 0,
      format: formatMicros,
      of,
    })
    add({
      effect: 'setup-p99',
      label: 'connection setup p99',
      evidence: `${path}pathLatencyMicros.connectionSetup.p99`,
      value: latency.connectionSetup.p99,
      matters: 0,
      format: formatMicros,
      of,
    })
  }
  add({
    effect: 'client-address',
    label: 'connections without the client address',
    evidence: 'clientIpPreservedFraction',
    value: established * (1 - run.clientIpPreservedFraction),
    matters: 0.5,
    format: formatRounded,
  })
  add({
    effect: 'crossings',
    label: 'connections that cross nodes',
    evidence: 'crossNodeFraction',
    value: established * run.crossNodeFraction,
    matters: 0.5,
    format: formatRounded,
  })
  const compared = comparedPorts(run, report)
  const worstFirst = [...run.imbalance].sort((x, y) => y.maxOverMean - x.maxOverMean)
  for (const { service, endpoints, maxOverMean } of worstFirst) {
    if (compared.has(service) && endpoints > 1)
      add({
        effect: 'imbalance',
        label: 'fullest endpoint over the mean',
        evidence: 'imbalance[].maxOverMean',
        value: maxOverMean,
        matters: 1.1,
        format: formatRatio,
        of: service,
      })
  }
  add({
    effect: 'conntrack',
    label: 'fill of the fullest conntrack table',
    evidence: 'nodes[].conntrackPeak',
    value: most(run.nodes.map((node) => ratio(node.conntrackPeak, node.conntrackMax))),
    matters: 0.5,
  })
  add({
    effect: 'source-ports',
    label: 'source ports in use on the fullest node',
    evidence: 'nodes[].snatPortsPeak',
    value: most(run.nodes.map((node) => node.snatPortsPeak / SOURCE_PORTS)),
    matters: 0.5,
  })
  add({
    effect: 'cpu',
    label: 'CPU of the busiest node at its peak',
    evidence: 'nodes[].cpuUtilizationPeak',
    value: most(run.nodes.map((node) => node.cpuUtilizationPeak)),
    matters: 0.5,
  })
  add({
    effect: 'pod-cpu',
    label: 'CPU of the busiest pod',
    evidence: 'endpoints[].podUtilization',
    value: most(run.endpoints.map((endpoint) => endpoint.podUtilization)),
    matters: 0.5,
  })
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
