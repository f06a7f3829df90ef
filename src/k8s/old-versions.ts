/**
 * Objects of API versions that Kubernetes no longer serves, in the shape of the version that took their place.
 *
 * Cost:   nothing but a look at the apiVersion for an object of today.
 * Source: the deprecated API migration guide; kubernetes pkg/apis/{networking,extensions,discovery}/v1beta1 conversion.go, defaults.go.
 */
import { isMap } from './schema.ts'

interface Removed {
  /** The version of Kubernetes from which on it is not served. */
  readonly since: string
  readonly now: string
}

const APPS: Removed = { since: '1.16', now: 'apps/v1' }
const INGRESS: Removed = { since: '1.22', now: 'networking.k8s.io/v1' }
const POLICY: Removed = { since: '1.16', now: 'networking.k8s.io/v1' }
const REMOVED: Readonly<Record<string, Readonly<Record<string, Removed>>>> = {
  'extensions/v1beta1': {
    ...{ Deployment: APPS, DaemonSet: APPS, ReplicaSet: APPS },
    ...{ Ingress: INGRESS, NetworkPolicy: POLICY },
  },
  'apps/v1beta1': { Deployment: APPS, StatefulSet: APPS },
  'apps/v1beta2': { Deployment: APPS, DaemonSet: APPS, ReplicaSet: APPS, StatefulSet: APPS },
  'networking.k8s.io/v1beta1': { Ingress: INGRESS, IngressClass: INGRESS },
  'discovery.k8s.io/v1beta1': { EndpointSlice: { since: '1.25', now: 'discovery.k8s.io/v1' } },
}

export interface Converted {
  readonly value: Record<string, unknown>
  readonly message: string
}

/** `value` as an API server that served both versions would give it in the newer one; null where there is no need. */
export function convertOld(kind: string, value: Record<string, unknown>): Converted | null {
  const { apiVersion } = value
  if (typeof apiVersion !== 'string' || !Object.hasOwn(REMOVED, apiVersion)) return null
  const kinds = REMOVED[apiVersion]!
  if (!Object.hasOwn(kinds, kind)) return null
  const { since, now } = kinds[kind]!
  const converted = { ...convertBody(kind, value), apiVersion: now }
  const message = `${kind} of ${apiVersion} is read as one of ${now}: Kubernetes ${since} and later refuse it`
  return { value: converted, message }
}

function convertBody(kind: string, value: Record<string, unknown>): Record<string, unknown> {
  if (kind === 'Ingress') return { ...value, spec: mapped(value['spec'], ingressSpec) }
  if (kind !== 'EndpointSlice') return value
  return { ...value, endpoints: listed(value['endpoints'], endpoint) }
}

function ingressSpec({ backend: first, rules, ...rest }: Record<string, unknown>): Record<string, unknown> {
  const rule = ({ http, ...others }: Record<string, unknown>): Record<string, unknown> =>
    http === undefined
      ? others
      : { ...others, http: mapped(http, ({ paths, ...more }) => ({ ...more, paths: listed(paths, path) })) }
  const path = ({ backend: to, pathType, ...others }: Record<string, unknown>): Record<string, unknown> => ({
    ...others,
    pathType: pathType ?? 'ImplementationSpecific',
    backend: mapped(to, backend),
  })
  return {
    ...rest,
    ...(first === undefined ? {} : { defaultBackend: mapped(first, backend) }),
    ...(rules === undefined ? {} : { rules: listed(rules, rule) }),
  }
}

function backend({ serviceName, servicePort, ...rest }: Record<string, unknown>): Record<string, unknown> {
  if (serviceName === undefined) return rest
  const port = typeof servicePort === 'number' ? { number: servicePort } : { name: servicePort }
  return { ...rest, service: { name: serviceName, ...(servicePort === undefined ? {} : { port }) } }
}

/** Where an endpoint is stood in a map of topology labels. */
function endpoint({ topology, nodeName, ...rest }: Record<string, unknown>): Record<string, unknown> {
  const labels = isMap(topology) ? topology : {}
  return {
    ...rest,
    nodeName: nodeName ?? labels['kubernetes.io/hostname'],
    zone: labels['topology.kubernetes.io/zone'],
  }
}

/** Values of another shape are left alone: the readers refuse them. */
function mapped(value: unknown, convert: (map: Record<string, unknown>) => unknown): unknown {
  return isMap(value) ? convert(value) : value
}

function listed(value: unknown, convert: (map: Record<string, unknown>) => unknown): unknown {
  return Array.isArray(value) ? value.map((item: unknown) => mapped(item, convert)) : value
}
