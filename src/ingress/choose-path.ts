/**
 * Which of the three paths the requests of an Ingress take, and which Service stands before an in-cluster proxy.
 *
 * The controller decides: AWS and Google run load balancers outside the cluster, everything else is a proxy in pods.
 * Pure. Cost: constant, or one pass over the Services.
 * Sources: aws-load-balancer-controller docs, annotation `target-type`; GKE container-native load balancing, annotation
 * `cloud.google.com/neg`; the labels that the manifests and charts of the proxies set.
 */
import type { IngressPath } from '../ingress-path.ts'
import type { Cluster, ClusterService } from '../k8s/cluster.ts'

/** By `spec.controller`, or by the class name that stands for it where there is no IngressClass object. */
const ALB = /^(ingress\.k8s\.aws\/alb|alb)$/
const ALB_TARGET_TYPE = 'alb.ingress.kubernetes.io/target-type'
const GCE = /^k8s\.io\/ingress-gce|^networking\.gke\.io\/|^gce(-internal)?$/
const TRAEFIK = /^traefik\.io\/|^traefik$/
const NGINX_INC = 'nginx.org/ingress-controller'
const HAPROXY = /^haproxy\.(org|com)\/ingress-controller/
const HAPROXY_COMMUNITY = /^haproxy-ingress\.github\.io\/controller/
const NEG = 'cloud.google.com/neg'

export interface ChosenPath {
  readonly path: IngressPath
  /** What had to be assumed, in a sentence; null where the objects tell. */
  readonly assumed: string | null
}

/**
 * @param controller   `spec.controller` of the IngressClass, or the class's name where that is all there is
 * @param annotations  of the Ingress
 * @param backend      the Service behind the rule; undefined where there is none
 * @param backendName  `namespace/name` of that Service, there or not
 */
export function choosePath(
  controller: string,
  annotations: Readonly<Record<string, string>>,
  backend: ClusterService | undefined,
  backendName: string,
): ChosenPath {
  if (ALB.test(controller)) return { path: annotations[ALB_TARGET_TYPE] === 'ip' ? 'ip' : 'instance', assumed: null }
  if (!GCE.test(controller)) return { path: 'proxy', assumed: null }
  if (hasNetworkEndpointGroup(backend)) return { path: 'ip', assumed: null }
  return {
    path: 'instance',
    assumed: `no ${NEG} annotation on Service ${backendName}: instance groups are assumed, though VPC-native GKE clusters default to network endpoint groups`,
  }
}

/** Whose load balancers a controller runs outside the cluster; null for a proxy in pods. */
export function cloudOf(controller: string): 'alb' | 'gce' | null {
  if (ALB.test(controller)) return 'alb'
  return GCE.test(controller) ? 'gce' : null
}

/** Which proxy in pods, of those that read Ingresses in a way of their own; null for any other. */
export function proxyOf(controller: string): 'traefik' | 'nginx-inc' | 'haproxy' | 'haproxy-ingress' | null {
  if (TRAEFIK.test(controller)) return 'traefik'
  if (HAPROXY.test(controller)) return 'haproxy'
  if (HAPROXY_COMMUNITY.test(controller)) return 'haproxy-ingress'
  return controller === NGINX_INC ? 'nginx-inc' : null
}

export function isCloudController(controller: string): boolean {
  return cloudOf(controller) !== null
}

/**
 * The Service that leads to the in-cluster proxy: by name where the caller knows it, else the outward Service that selects
 * or is labelled as an ingress controller.
 */
export function findProxyService(cluster: Cluster, name?: string): ClusterService | undefined {
  if (name !== undefined) return cluster.services.find((service) => `${service.namespace}/${service.name}` === name)
  return cluster.services.find(
    (service) =>
      (service.type === 'LoadBalancer' || service.type === 'NodePort') &&
      (isIngressProxy(service.labels) || isIngressProxy(service.selector ?? {})),
  )
}

/** The label that the ingress-nginx manifests and chart set; other charts set their own name there. */
export function isIngressProxy(labels: Readonly<Record<string, string>>): boolean {
  return /^(ingress-nginx|nginx-ingress|traefik|haproxy-ingress|kubernetes-ingress|contour|kong|ambassador|emissary-ingress)$/.test(
    labels['app.kubernetes.io/name'] ?? '',
  )
}

function hasNetworkEndpointGroup(service: ClusterService | undefined): boolean {
  try {
    const value: unknown = JSON.parse(service?.annotations[NEG] ?? 'null')
    return typeof value === 'object' && value !== null && (value as Record<string, unknown>)['ingress'] === true
  } catch {
    return false
  }
}
