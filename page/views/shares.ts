/** Which endpoint gets what part of a Service's connections, against the fair share. */

import type { ReplayPage } from '../../src/report/html/page-data.ts'
import type { EndpointReport } from '../../src/report/types.ts'
import { formatBytes, formatCount, formatPercent, formatRatio } from '../../src/report/units.ts'
import { barChart, MOST_ROWS } from '../charts/bars.ts'
import { chooser, h, shown } from '../dom.ts'
import { table } from '../table.ts'
import { changing, type Part, part } from './section.ts'

export function sharesPart({ report: { runs, comparedServices }, runNames }: ReplayPage): Part | null {
  const services = servicesByWeight({ runs, comparedServices })
  if (services.length === 0) return null
  let chosen = 0
  const view = changing(() => {
    const service = services[chosen]!
    const byRun = runs.map(
      ({ endpoints }) => new Map(endpoints.filter((one) => one.service === service).map((one) => [one.endpoint, one])),
    )
    const all = new Map<string, EndpointReport>()
    for (const map of byRun) for (const [endpoint, one] of map) if (!all.has(endpoint)) all.set(endpoint, one)
    const fair = all.size === 0 ? 0 : 1 / all.size
    // Of very many a share is next to nothing: then it is told in fair shares.
    const unit = all.size > MOST_ROWS ? fair : 1
    const unevenness = runs.map((run, i) => {
      const found = run.imbalance.find((one) => one.service === service)
      return found === undefined
        ? ''
        : `${runNames[i]}: the fullest has ${formatRatio(found.maxOverMean)} times the mean`
    })
    const rows = [...all.values()].map((one) => ({
      name: `${one.pod ?? one.endpoint}${one.node === null ? '' : ` on ${one.node}`}`,
      values: byRun.map((map) => inUnits(map.get(one.endpoint)?.share, unit)),
      limit: fair / unit,
    }))
    return [
      h('p', { class: 'note' }, shown(unevenness.filter((text) => text !== '').join('; '))),
      barChart({
        label: `Shares of the endpoints of ${shown(service)}`,
        rows,
        runs: runNames,
        format: unit === 1 ? formatPercent : (times: number) => `${formatRatio(times)} ×`,
        limitText: `fair share, ${formatPercent(fair)}`,
        noun: 'endpoints',
      }),
    ]
  })
  const rows = runs.flatMap((run, i) => run.endpoints.map((one) => ({ run: runNames[i]!, ...one })))
  type Row = (typeof rows)[number]
  const queues = rows.some(({ podRequests }) => podRequests > 0)
  return part(
    'shares',
    'Shares of endpoints',
    'Of a Service port’s connections, by the endpoint that got them.',
    services.length < 2
      ? h('p', {}, shown(services[0]!))
      : h(
          'div',
          { class: 'choices' },
          chooser('Service port', services, (index) => {
            chosen = index
            view.redraw()
          }),
        ),
    view.element,
    table(
      'All endpoints',
      [
        { head: 'endpoint', value: ({ pod, endpoint }: Row) => pod ?? endpoint },
        { head: 'node', value: ({ node }) => node },
        { head: 'Service port', value: ({ service }) => service },
        { head: 'run', value: ({ run }) => run },
        { head: 'share', value: ({ share }) => share, text: ({ share }) => formatPercent(share) },
        {
          head: 'connections',
          value: ({ connections }) => connections,
          text: ({ connections }) => formatCount(connections),
        },
        { head: 'packets', value: ({ packets }) => packets, text: ({ packets }) => formatCount(packets) },
        { head: 'bytes', value: ({ bytes }) => bytes, text: ({ bytes }) => formatBytes(bytes) },
        ...(queues
          ? [
              {
                head: 'requests',
                value: (row: Row) => row.podRequests,
                text: (row: Row) => formatCount(row.podRequests),
              },
              {
                head: 'pod CPU',
                value: (row: Row) => row.podUtilization,
                text: (row: Row) => formatPercent(row.podUtilization),
              },
            ]
          : []),
      ],
      rows,
    ),
  )
}

/** Service ports: those that the runs differ in first, then those with the most connections. */
export function servicesByWeight({
  runs,
  comparedServices,
}: Pick<ReplayPage['report'], 'runs' | 'comparedServices'>): string[] {
  const counts = new Map<string, number>()
  for (const { service, connections } of runs.flatMap(({ endpoints }) => endpoints))
    counts.set(service, (counts.get(service) ?? 0) + connections)
  const isCompared = (service: string): number =>
    comparedServices.some((name) => service.startsWith(`${name}:`)) ? 1 : 0
  return [...counts]
    .sort(([a, x], [b, y]) => isCompared(b) - isCompared(a) || y - x || (a < b ? -1 : 1))
    .map(([service]) => service)
}

function inUnits(share: number | undefined, unit: number): number | null {
  return share === undefined ? null : share / unit
}
