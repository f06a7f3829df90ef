/**
 * What HTTP requests came to: status and rule, the connections to backends, and who got the requests.
 *
 * Left out where no request goes through a proxy.
 */
import { type Cell, runTable, type Section } from './document.ts'
import { runNames } from './run-names.ts'
import type { IngressReport, ReplayReport } from './types.ts'
import { clipMiddle, formatCount, formatPercent, formatRatio } from './units.ts'

const NAME_WIDTH = 40
const MAX_ROWS = 16

export function ingressSections(report: ReplayReport): Section[] {
  const { runs } = report
  if (runs.every(({ ingress }) => ingress === null)) return []
  const heads = runNames(runs)
  const row = (label: string, value: (ingress: IngressReport) => Cell): Cell[] => [
    label,
    ...runs.map(({ ingress }): Cell => (ingress === null ? '' : value(ingress))),
  ]
  const rare = (label: string, value: (ingress: IngressReport) => number, tone: 'bad' | 'plain'): Cell[][] => {
    if (runs.every(({ ingress }) => ingress === null || value(ingress) === 0)) return []
    return [row(label, (one) => ({ text: formatCount(value(one)), tone: value(one) > 0 ? tone : 'plain' }))]
  }
  const statuses = [...new Set(runs.flatMap(({ ingress }) => Object.keys(ingress?.byStatus ?? {})))].sort()
  const rows: Cell[][] = [
    row('requests', ({ requests }) => formatCount(requests)),
    ...statuses.map((status) =>
      row(`answered ${status}`, ({ byStatus }) => ({
        text: formatCount(byStatus[status] ?? 0),
        tone: status >= '500' && (byStatus[status] ?? 0) > 0 ? 'bad' : 'plain',
      })),
    ),
    row('client connections', ({ connections }) => formatCount(connections)),
    row('requests each', ({ requestsPerConnection }) => formatRatio(requestsPerConnection)),
    row('client address in X-Forwarded-For', (one) => formatPercent(one.xForwardedForClientFraction)),
    row('connections to backends', ({ upstream }) => formatCount(upstream.connections)),
    row('requests each', ({ upstream }) => formatRatio(upstream.requestsPerConnection)),
    row('crossed nodes', ({ upstream }) => formatPercent(upstream.crossNodeFraction)),
    row('masqueraded', ({ upstream }) => formatPercent(upstream.masqueradedFraction)),
    ...rare('closed, pool full', ({ upstream }) => upstream.closed.poolFull, 'plain'),
    ...rare('closed, client gone', ({ upstream }) => upstream.closed.aborted, 'plain'),
    ...rare('failed', ({ upstream }) => upstream.failed, 'bad'),
    ...rare('broken', ({ upstream }) => upstream.closed.broken, 'bad'),
  ]
  return [
    runTable('Ingress', heads, rows),
    ...listed(report, 'Requests by rule', ({ rules }) =>
      rules.map(({ rule, status, ...row }) => ({ ...row, name: `${rule ?? 'no rule'} → ${status}` })),
    ),
    ...listed(report, 'Requests by pod', ({ pods }) =>
      pods.map(({ pod, endpoint, node, ...row }) => ({
        ...row,
        name: `${pod ?? endpoint}${node === null ? '' : ` on ${node}`}`,
      })),
    ),
    ...listed(report, 'Requests by proxy', ({ proxies }) =>
      proxies.map(({ pod, address, node, ...row }) => ({
        ...row,
        name: pod === null ? `load balancer ${address}` : `${pod}${node === null ? '' : ` on ${node}`}`,
      })),
    ),
  ]
}

interface Listed {
  readonly name: string
  readonly requests: number
  readonly share: number
}

/** A row each name, a cell each run; in the order of the first run that has it. */
function listed(
  { runs }: ReplayReport,
  title: string,
  rowsOf: (ingress: IngressReport) => readonly Listed[],
): Section[] {
  const columns = runs.map(({ ingress }) => byName(ingress === null ? [] : rowsOf(ingress)))
  const names = [...new Set(columns.flatMap((column) => [...column.keys()]))]
  if (names.length === 0) return []
  const rows = names
    .slice(0, MAX_ROWS)
    .map((name): Cell[] => [clipMiddle(name, NAME_WIDTH), ...columns.map((column) => cellOf(column.get(name)))])
  const more = names.length - rows.length
  return [runTable(title, runNames(runs), rows, more > 0 ? [`${more} more (-o json has all).`] : [])]
}

/** A rule that a change of the cluster made lead elsewhere has several rows, a pod on several Service ports, too. */
function byName(rows: readonly Listed[]): ReadonlyMap<string, Listed> {
  const sums = new Map<string, Listed>()
  for (const { name, requests, share } of rows) {
    const before = sums.get(name) ?? { name, requests: 0, share: 0 }
    sums.set(name, { name, requests: before.requests + requests, share: before.share + share })
  }
  return sums
}

function cellOf(row: Listed | undefined): Cell {
  return row === undefined ? '' : `${formatCount(row.requests)} (${formatPercent(row.share)})`
}
