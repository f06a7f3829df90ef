/**
 * An Ingress object, checked: every field has its type, every host and path is one that can match, and what the API server
 * would have refused is a warning and left out. The two fronts (`from-ingress.ts`, `nginx.ts`) read this, never the object.
 *
 * Source: pkg/apis/networking/validation in kubernetes (hosts, paths, backends), and the API text of Ingress.
 */
import type { Warning } from '../errors.ts'
import type { Ingress } from '../k8s/types.ts'
import { ingressText, namespaceOf } from './classes.ts'
import type { BackendRef } from './rules.ts'

export type PathType = 'Exact' | 'Prefix' | 'ImplementationSpecific'

export interface ReadBackend {
  /** null for a resource backend and for none at all. */
  readonly ref: BackendRef | null
  /** `Service default/web port 80`, `StorageBucket static`. */
  readonly text: string
}

export interface ReadPath {
  readonly path: string
  readonly pathType: PathType
  readonly backend: ReadBackend
  /** false: the object has no path, and `/` stands for it. */
  readonly isWritten: boolean
  /** `spec.rules[0].http.paths[1]` */
  readonly field: string
}

export interface ReadRule {
  /** Lower case; `*.rest` or ''. */
  readonly host: string
  readonly paths: readonly ReadPath[]
}

export interface ReadIngress {
  /** `namespace/name`. */
  readonly name: string
  readonly namespace: string
  /** `Ingress namespace/name`. */
  readonly text: string
  readonly annotations: ReadonlyMap<string, string>
  readonly defaultBackend: ReadBackend | null
  readonly rules: readonly ReadRule[]
  /** No hosts means every host; `secret` is `namespace/name`, or '' for the controller's own certificate. */
  readonly tls: readonly { readonly hosts: readonly string[]; readonly secret: string }[]
  /** From status.loadBalancer. */
  readonly addresses: readonly string[]
}

export type Warn = (where: string, code: string, message: string) => void

export function warner(warnings: Warning[]): Warn {
  return (where, code, message) => void warnings.push({ code, where, message })
}

/** Warnings: W_INGRESS_HOST, W_INGRESS_PATH, W_INGRESS_BACKEND, W_NOT_MODELLED. Errors: none, whatever the object holds. */
export function readIngress(ingress: Ingress, warn: Warn): ReadIngress {
  const namespace = namespaceOf(ingress)
  const where = ingressText(ingress)
  const spec = fields(ingress.spec)
  const rules: ReadRule[] = []
  list(spec['rules']).forEach((rule, i) => {
    const host = readRuleHost(fields(rule)['host'], `${where}, spec.rules[${i}].host`, warn)
    if (host === null) return
    const paths: ReadPath[] = []
    list(fields(fields(rule)['http'])['paths']).forEach((path, j) => {
      const read = readPathRule(fields(path), namespace, where, `spec.rules[${i}].http.paths[${j}]`, warn)
      if (read !== null) paths.push(read)
    })
    rules.push({ host, paths })
  })
  const defaultBackend = spec['defaultBackend']
  return {
    name: `${namespace}/${ingress.metadata.name}`,
    namespace,
    text: where,
    annotations: new Map(
      Object.entries(fields(ingress.metadata.annotations)).map(([key, value]) => [key, String(value)]),
    ),
    defaultBackend: isObject(defaultBackend)
      ? readBackend(defaultBackend, namespace, `${where}, spec.defaultBackend`, warn)
      : null,
    rules,
    tls: list(spec['tls']).map((entry) => {
      const secret = text(fields(entry)['secretName'])
      return {
        hosts: list(fields(entry)['hosts']).map((host) => text(host).toLowerCase()),
        secret: secret === '' ? '' : `${namespace}/${secret}`,
      }
    }),
    addresses: list(fields(fields(ingress.status)['loadBalancer'])['ingress'])
      .flatMap((entry) => [text(fields(entry)['ip']), text(fields(entry)['hostname']).toLowerCase()])
      .filter((address) => address !== ''),
  }
}

/** null for a host that matches nothing: the API server refuses it. */
function readRuleHost(value: unknown, where: string, warn: Warn): string | null {
  if (value === undefined || value === null || value === '') return ''
  const host = text(value).toLowerCase().replace(/\.$/, '')
  const labels = host.startsWith('*.') ? host.slice(2) : host
  // Underscores are no DNS-1123, but they are found in the wild and harm nobody.
  if (!/^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/.test(labels)) {
    const hint = host.includes('*')
      ? '; a wildcard is *. and a domain'
      : host.includes(':')
        ? '; a host has no port'
        : ''
    warn(where, 'W_INGRESS_HOST', `${JSON.stringify(value)} is no host name${hint}; the rule is left out`)
    return null
  }
  if (/^\d+\.\d+\.\d+\.\d+$/.test(host)) {
    warn(where, 'W_INGRESS_HOST', `${host} is an address, and a host must be a name; the rule is left out`)
    return null
  }
  return host
}

function readPathRule(
  path: Readonly<Record<string, unknown>>,
  namespace: string,
  where: string,
  field: string,
  warn: Warn,
): ReadPath | null {
  const backend = readBackend(path['backend'], namespace, `${where}, ${field}.backend`, warn)
  const pathType = readPathType(path['pathType'], `${where}, ${field}.pathType`, warn)
  const written = path['path']
  // The API lets only ImplementationSpecific leave the path out, for every path.
  if (written === undefined || written === null || written === '')
    return { path: '/', pathType, backend, isWritten: false, field }
  const value = text(written)
  if (!value.startsWith('/')) {
    warn(
      `${where}, ${field}.path`,
      'W_INGRESS_PATH',
      `${JSON.stringify(written)} does not begin with /; the path is left out`,
    )
    return null
  }
  if (pathType !== 'ImplementationSpecific') {
    const odd = /\/\/|\/\.\.?(?=\/|$)|%2f/i.exec(value)
    if (odd !== null)
      warn(
        `${where}, ${field}.path`,
        'W_INGRESS_PATH',
        `${value} holds ${JSON.stringify(odd[0])}, which the API server refuses`,
      )
  }
  return { path: value, pathType, backend, isWritten: true, field }
}

function readPathType(value: unknown, where: string, warn: Warn): PathType {
  if (value === 'Exact' || value === 'Prefix' || value === 'ImplementationSpecific') return value
  const what =
    value === undefined || value === null
      ? 'is required and left out'
      : `${JSON.stringify(value)} is not Exact, Prefix or ImplementationSpecific`
  warn(where, 'W_INGRESS_PATH', `pathType ${what}; ImplementationSpecific is assumed`)
  return 'ImplementationSpecific'
}

function readBackend(value: unknown, namespace: string, where: string, warn: Warn): ReadBackend {
  const backend = fields(value)
  const service = backend['service']
  const resource = backend['resource']
  if (isObject(service)) {
    if (isObject(resource))
      warn(
        where,
        'W_INGRESS_BACKEND',
        'has both a service and a resource, which the API server refuses; the service is used',
      )
    const name = text(service['name'])
    const port = readPort(service['port'], where, warn)
    return {
      ref: { namespace, name, port, byClusterIp: false },
      text: `Service ${namespace}/${name} port ${port ?? '(none)'}`,
    }
  }
  if (isObject(resource)) {
    const what = `${text(resource['kind'])} ${text(resource['name'])}`
    warn(where, 'W_NOT_MODELLED', `resource backend ${what} is not modelled`)
    return { ref: null, text: what }
  }
  warn(where, 'W_INGRESS_BACKEND', 'has neither a service nor a resource')
  return { ref: null, text: 'no backend' }
}

function readPort(value: unknown, where: string, warn: Warn): number | string | null {
  const port = fields(value)
  const number = port['number']
  const name = text(port['name'])
  if (typeof number === 'number') {
    if (name !== '')
      warn(
        where,
        'W_INGRESS_BACKEND',
        'service.port has both a number and a name, which the API server refuses; the number is used',
      )
    return number
  }
  if (name !== '') return name
  warn(where, 'W_INGRESS_BACKEND', 'service.port needs a number or a name')
  return null
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {}
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
