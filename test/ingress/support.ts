/** Asking a cluster for a URL, in one line. */

import { compileRoutes, type IngressOptions, parseHttpLine, type RouteResult, route } from '../../src/ingress/index.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'

export function get(cluster: Cluster, url: string, line: object = {}, options: IngressOptions = {}): RouteResult {
  return route(compileRoutes(cluster, options), parseHttpLine({ id: 'r', url, ...line }))
}

/** `200 default/web:80`, `404`, `308 https://host/`: what a row states. */
export function verdict(result: RouteResult): string {
  if (result.location !== null) return `${result.status} ${result.location}`
  return result.service === null ? `${result.status}` : `${result.status} ${result.service}:${result.port ?? '?'}`
}

export function warningCodes(cluster: Cluster): string[] {
  return compileRoutes(cluster).warnings.map((warning) => warning.code)
}
