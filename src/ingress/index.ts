/**
 * Ingress routing: from manifests and a request to the Service that gets it, and why.
 *
 * `compileRoutes` once, `route` for each request; `backendPath` tells how a connection gets to the proxy and from there to
 * a pod, `entranceOf` at which addresses. Everything else in this folder is behind these.
 */
import type { Cluster } from '../k8s/cluster.ts'
import { backendResolver } from './backends.ts'
import { type IngressOptions, listenersFromIngresses } from './from-ingress.ts'
import { compileTable, type RouteTable } from './table.ts'

export { INGRESS_PATHS, type IngressPath } from '../ingress-path.ts'
export type { Backend } from './backends.ts'
export { isIngressProxy } from './choose-path.ts'
export { type ControllerGroup, groupByController } from './classes.ts'
export type { ProxyHeader } from './client.ts'
export type { IngressOptions } from './from-ingress.ts'
export {
  type DialledEntrance,
  type Entrance,
  entranceOf,
  findIngress,
  type ProxyReplica,
  SCHEME_PORTS,
  tlsEndsBefore,
} from './ingress-addresses.ts'
export { type BackendPath, type BackendPathQuery, backendPath, type PathHop } from './paths.ts'
export { hasProxyHeader } from './proxy-header.ts'
export { type HttpRequest, parseHttpLine, readHost, requestFor } from './request.ts'
export { type RouteResult, type RouteStep, route } from './route.ts'
export type { RouteTable } from './table.ts'

/**
 * Compile the Ingresses of a cluster.
 *
 * Warnings, in the table: W_INGRESS_CLASS, W_INGRESS_HOST, W_INGRESS_PATH, W_INGRESS_REGEX, W_INGRESS_BACKEND,
 * W_INGRESS_CONFLICT, W_INGRESS_ANNOTATION, W_INGRESS_CONFIG, W_NOT_MODELLED. Errors: none.
 */
export function compileRoutes(cluster: Cluster, options: IngressOptions = {}): RouteTable {
  const { listeners, warnings } = listenersFromIngresses(cluster, options)
  return compileTable(listeners, backendResolver(cluster), warnings)
}
