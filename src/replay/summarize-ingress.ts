/** Numbers → names for what HTTP requests came to: the `ingress` part of a run's report. Pure. */
import {
  ENDPOINT_CONNECTIONS,
  ENDPOINT_WORDS,
  INGRESS_ABORTED,
  INGRESS_BROKEN,
  INGRESS_CLIENT_SEEN,
  INGRESS_CONNECTIONS,
  INGRESS_CROSS_NODE,
  INGRESS_EVICTED,
  INGRESS_IDLE_CLOSED,
  INGRESS_MASQUERADED,
  INGRESS_OPENED,
  INGRESS_REFUSED,
  INGRESS_REQUESTS,
  INGRESS_REUSED,
  INGRESS_TIMED_OUT,
  INGRESS_UNAVAILABLE,
  INGRESS_WORN,
  PROXY_CONNECTIONS,
  PROXY_REQUESTS,
  PROXY_WORDS,
} from '../../native-free-core/index.ts'
import type { IngressReport } from '../report/types.ts'
import type { IngressPlan } from './ingress.ts'
import type { MergedRun } from './merge.ts'
import type { Places } from './places.ts'
import type { ReplayPlan } from './plan.ts'

export function ingressReport(
  merged: MergedRun,
  ingress: IngressPlan | null,
  { registry }: ReplayPlan,
  places: Places,
): IngressReport | null {
  if (ingress === null) return null
  const { result, layout } = merged
  const word = (at: number): number => result[layout.ingress + at]!
  const part = (count: number, whole: number): number => (whole === 0 ? 0 : count / whole)
  const requests = word(INGRESS_REQUESTS)
  const connections = word(INGRESS_CONNECTIONS)
  const opened = word(INGRESS_OPENED)
  const reused = word(INGRESS_REUSED)
  const refused = word(INGRESS_REFUSED)
  const timedOut = word(INGRESS_TIMED_OUT)
  const rules = ingress.routes
    .map(({ status, rule, ingress: owner, service }, route) => ({
      rule,
      ingress: owner,
      service,
      status,
      requests: result[layout.routes + route]!,
      share: part(result[layout.routes + route]!, requests),
    }))
    .filter((row) => row.requests > 0)
    .sort((a, b) => b.requests - a.requests || compare(a.rule ?? '', b.rule ?? ''))
  const byStatus = requestsByStatus(ingress, (route) => result[layout.routes + route]!, word)
  const answered = registry.endpoints.reduce((sum, _, endpoint) => sum + result[layout.endpointRequests + endpoint]!, 0)
  return {
    connections,
    requests,
    requestsPerConnection: part(requests, connections),
    byStatus,
    unmatched: rules.reduce((sum, row) => sum + (row.status === 404 ? row.requests : 0), 0),
    rules,
    upstream: {
      connections: opened,
      reused,
      reuseFraction: part(reused, opened + reused),
      requestsPerConnection: part(opened + reused, opened),
      crossNodeFraction: part(word(INGRESS_CROSS_NODE), opened),
      masqueradedFraction: part(word(INGRESS_MASQUERADED), opened),
      failed: refused + timedOut,
      closed: {
        idle: word(INGRESS_IDLE_CLOSED),
        poolFull: word(INGRESS_EVICTED),
        worn: word(INGRESS_WORN),
        aborted: word(INGRESS_ABORTED),
        broken: word(INGRESS_BROKEN),
      },
    },
    pods: registry.endpoints
      .map((_, endpoint) => ({
        service: registry.servicePortText(registry.endpoints[endpoint]!.servicePort),
        endpoint: registry.endpointText(endpoint),
        pod: places.podOf(endpoint),
        node: places.nodeOf(endpoint),
        requests: result[layout.endpointRequests + endpoint]!,
        share: part(result[layout.endpointRequests + endpoint]!, answered),
        connections: result[layout.endpoints + endpoint * ENDPOINT_WORDS + ENDPOINT_CONNECTIONS]!,
      }))
      .filter(({ service }) => ingressServices(ingress).has(service))
      .sort((a, b) => compare(a.service, b.service) || compare(a.endpoint, b.endpoint)),
    proxies: ingress.proxies.map(({ pod, address, node, workers }, proxy) => {
      const at = layout.proxies + proxy * PROXY_WORDS
      return {
        pod,
        address,
        node,
        workers,
        connections: result[at + PROXY_CONNECTIONS]!,
        requests: result[at + PROXY_REQUESTS]!,
        share: part(result[at + PROXY_REQUESTS]!, requests),
      }
    }),
    xForwardedForClientFraction: part(word(INGRESS_CLIENT_SEEN), connections),
  }
}

/**
 * What clients were answered, by status.
 * @param routed  requests by route
 * @param word    counters of `INGRESS_*`
 */
export function requestsByStatus(
  { routes }: IngressPlan,
  routed: (route: number) => number,
  word: (at: number) => number,
): Record<string, number> {
  const byStatus: Record<string, number> = {}
  const add = (status: number, count: number): void => {
    if (count !== 0) byStatus[status] = (byStatus[status] ?? 0) + count
  }
  routes.forEach(({ status }, route) => {
    add(status, routed(route))
  })
  // Routed, and then answered by the proxy after all.
  const unavailable = word(INGRESS_UNAVAILABLE)
  const refused = word(INGRESS_REFUSED)
  const timedOut = word(INGRESS_TIMED_OUT)
  add(200, -(unavailable + refused + timedOut))
  add(502, refused)
  add(503, unavailable)
  add(504, timedOut)
  if (byStatus['200'] === 0) delete byStatus['200']
  return byStatus
}

/** Service ports that routes lead to: a pod without a request is a finding. */
function ingressServices({ tables }: IngressPlan): ReadonlySet<string> {
  return new Set(
    tables.flatMap(({ backends }) =>
      backends.map(({ namespace, service, portName }) => `${namespace}/${service}:${portName}`),
    ),
  )
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
