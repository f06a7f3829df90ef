/** DNS and Ingress: what names cost and gave, and where requests went. */
import type { ReplayPage } from '../../src/report/html/page-data.ts'
import { formatCount, formatPercent, formatRatio } from '../../src/report/units.ts'
import { barChart } from '../charts/bars.ts'
import { runTable, table } from '../table.ts'
import { grid, type Part, part, titled } from './section.ts'

export function ingressPart({ report: { runs }, runNames }: ReplayPage): Part | null {
  const ingresses = runs.map(({ ingress }) => ingress)
  if (ingresses.every((ingress) => ingress === null)) return null
  const statuses = [...new Set(ingresses.flatMap((ingress) => Object.keys(ingress?.byStatus ?? {})))].sort()
  const ruleName = ({ rule, service }: { readonly rule: string | null; readonly service: string | null }): string =>
    rule === null ? 'no rule' : `${rule}${service === null ? '' : ` → ${service}`}`
  const rules = [...new Set(ingresses.flatMap((ingress) => ingress?.rules.map(ruleName) ?? []))]
  const podRows = ingresses.flatMap((ingress, i) => ingress?.pods.map((pod) => ({ run: runNames[i]!, ...pod })) ?? [])
  const ruleRows = ingresses.flatMap(
    (ingress, i) => ingress?.rules.map((rule) => ({ run: runNames[i]!, name: ruleName(rule), ...rule })) ?? [],
  )
  return part(
    'ingress',
    'Ingress',
    'HTTP requests that reached proxies: by the rule that took them, and by status.',
    grid(
      titled(
        'Requests by rule',
        barChart({
          label: 'Requests by rule of an Ingress',
          rows: rules.map((name) => ({
            name,
            values: ingresses.map((ingress) =>
              ingress === null
                ? null
                : ingress.rules
                    .filter((rule) => ruleName(rule) === name)
                    .reduce((sum, { requests }) => sum + requests, 0),
            ),
          })),
          runs: runNames,
          format: formatCount,
          noun: 'rules',
        }),
      ),
      titled(
        'Requests by status',
        barChart({
          label: 'Requests by HTTP status',
          rows: statuses.map((name) => ({
            name,
            values: ingresses.map((ingress) => (ingress === null ? null : (ingress.byStatus[name] ?? 0))),
          })),
          runs: runNames,
          format: formatCount,
          noun: 'statuses',
        }),
      ),
    ),
    runTable('Proxies', runNames, [
      { name: 'requests', values: ingresses.map((one) => one?.requests ?? null), text: formatCount },
      { name: 'connections of clients', values: ingresses.map((one) => one?.connections ?? null), text: formatCount },
      { name: 'no rule took', values: ingresses.map((one) => one?.unmatched ?? null), text: formatCount, bad: true },
      {
        name: 'connections to backends',
        values: ingresses.map((one) => one?.upstream.connections ?? null),
        text: formatCount,
      },
      {
        name: 'requests over a connection that was there',
        values: ingresses.map((one) => one?.upstream.reuseFraction ?? null),
        text: formatPercent,
      },
      {
        name: 'connections to backends that crossed nodes',
        values: ingresses.map((one) => one?.upstream.crossNodeFraction ?? null),
        text: formatPercent,
      },
      {
        name: 'requests without a backend',
        values: ingresses.map((one) => one?.upstream.failed ?? null),
        text: formatCount,
        bad: true,
      },
      {
        name: 'client address in X-Forwarded-For',
        values: ingresses.map((one) => one?.xForwardedForClientFraction ?? null),
        text: formatPercent,
      },
    ]),
    table(
      'Rules',
      [
        { head: 'rule', value: ({ name }) => name },
        { head: 'run', value: ({ run }) => run },
        { head: 'status', value: ({ status }) => status },
        { head: 'requests', value: ({ requests }) => requests, text: ({ requests }) => formatCount(requests) },
        { head: 'share', value: ({ share }) => share, text: ({ share }) => formatPercent(share) },
      ],
      ruleRows,
    ),
    table(
      'Endpoints behind Ingresses',
      [
        { head: 'endpoint', value: ({ pod, endpoint }) => pod ?? endpoint },
        { head: 'node', value: ({ node }) => node },
        { head: 'Service port', value: ({ service }) => service },
        { head: 'run', value: ({ run }) => run },
        { head: 'requests', value: ({ requests }) => requests, text: ({ requests }) => formatCount(requests) },
        { head: 'share of requests', value: ({ share }) => share, text: ({ share }) => formatPercent(share) },
        {
          head: 'connections',
          value: ({ connections }) => connections,
          text: ({ connections }) => formatCount(connections),
        },
      ],
      podRows,
    ),
  )
}

export function dnsPart({ report: { runs }, runNames }: ReplayPage): Part | null {
  const all = runs.map(({ dns }) => dns)
  if (all.every(({ connections, queries }) => connections === 0 && queries === 0)) return null
  const codes = [...new Set(all.flatMap(({ byRcode }) => Object.keys(byRcode)))].sort()
  const types = [...new Set(all.flatMap(({ byType }) => Object.keys(byType)))].sort()
  const servers = all.flatMap(({ servers: list }, i) => list.map((server) => ({ run: runNames[i]!, ...server })))
  const row = (name: string, of: (dns: (typeof all)[number]) => number, bad = false) => ({
    name,
    values: all.map(of),
    text: formatCount,
    bad,
  })
  return part(
    'dns',
    'DNS',
    'What the names cost that connections dialled, and what they gave.',
    grid(
      titled(
        'Queries by answer',
        barChart({
          label: 'DNS queries by response code',
          rows: codes.map((name) => ({ name, values: all.map(({ byRcode }) => byRcode[name] ?? 0) })),
          runs: runNames,
          format: formatCount,
          noun: 'codes',
        }),
      ),
      titled(
        'Queries by type',
        barChart({
          label: 'DNS queries by type',
          rows: types.map((name) => ({ name, values: all.map(({ byType }) => byType[name] ?? 0) })),
          runs: runNames,
          format: formatCount,
          noun: 'types',
        }),
      ),
    ),
    runTable('Names', runNames, [
      row('connections that dialled a name', ({ connections }) => connections),
      row('queries', ({ queries }) => queries),
      {
        name: 'queries a connection',
        values: all.map(({ queriesPerConnection }) => queriesPerConnection),
        text: formatRatio,
      },
      row('resolved', ({ resolved }) => resolved),
      row('of these by the client’s own cache', ({ cached }) => cached),
      row('failed', ({ failed }) => failed, true),
      row('of these without a resolver', ({ withoutResolver }) => withoutResolver, true),
      row('lost queries', ({ lost }) => lost, true),
      row('answers out of date', ({ staleAnswers }) => staleAnswers, true),
      row('addresses where nobody was any more', ({ goneAddresses }) => goneAddresses, true),
      row('repeated over TCP', ({ tcpRetries }) => tcpRetries),
      row('conntrack entries made', ({ conntrackEntries }) => conntrackEntries),
      row('conntrack entries at most', ({ conntrackPeak }) => conntrackPeak),
    ]),
    table(
      'Servers',
      [
        { head: 'server', value: ({ pod, address }) => pod ?? address },
        { head: 'node', value: ({ node }) => node },
        { head: 'run', value: ({ run }) => run },
        { head: 'queries', value: ({ queries }) => queries, text: ({ queries }) => formatCount(queries) },
        { head: 'share', value: ({ share }) => share, text: ({ share }) => formatPercent(share) },
      ],
      servers,
    ),
  )
}
