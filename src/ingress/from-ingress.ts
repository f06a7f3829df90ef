/**
 * The Ingress front: the Ingresses of a cluster as neutral listeners, one per controller.
 *
 * A controller that is not ingress-nginx follows the API text to the letter: a rule without a host applies to every
 * request, a path that no rule matches goes to the default backend of an Ingress that has the host, then to the default
 * backend of an Ingress without rules, then to any Ingress's default backend, then to 404. ImplementationSpecific is read
 * as Prefix. TLS ends at the proxy and plain HTTP is served beside it.
 * Source: kubernetes.io/docs/concepts/services-networking/ingress (path types, multiple matches, host table, default
 * backend), API text of IngressSpec and IngressRule.
 */
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { warnOfAlbAnnotations } from './alb-annotations.ts'
import { groupByController } from './classes.ts'
import { nginxListener } from './nginx.ts'
import { type ReadBackend, type ReadIngress, type ReadPath, readIngress, type Warn, warner } from './read-ingress.ts'
import { comparablePath } from './request.ts'
import type { Action, BackendRef, Host, Listener, Rule } from './rules.ts'

export interface IngressOptions {
  /** What a controller answers with when nothing matches (its own default backend Service); null answers 404. */
  readonly defaultBackend?: BackendRef | null
}

export function listenersFromIngresses(
  cluster: Cluster,
  options: IngressOptions = {},
): { readonly listeners: readonly Listener[]; readonly warnings: readonly Warning[] } {
  const { groups, warnings: classWarnings } = groupByController(cluster)
  const warnings: Warning[] = [...classWarnings]
  const warn = warner(warnings)
  const ownDefault = options.defaultBackend ?? null
  const firstPorts = new Map(
    cluster.services.map((service) => [`${service.namespace}/${service.name}`, service.ports[0]?.port ?? null]),
  )
  const firstPort = (service: string): number | null => firstPorts.get(service) ?? null
  const listeners = groups.map((group) => {
    const ingresses = group.ingresses.map((ingress) => readIngress(ingress, warn))
    for (const ingress of group.preset === 'api' ? ingresses : []) warnOfAlbAnnotations(ingress, warn)
    return group.preset === 'ingress-nginx'
      ? nginxListener(group.text, ingresses, ownDefault, warn, firstPort)
      : apiListener(group.text, ingresses, ownDefault, warn)
  })
  return { listeners, warnings }
}

function apiListener(
  text: string,
  ingresses: readonly ReadIngress[],
  ownDefault: BackendRef | null,
  warn: Warn,
): Listener {
  const hosts = new Map<string, { rules: Map<string, Rule>; fallback: Rule | null }>()
  const certificates = new Map<string, string>()
  for (const ingress of ingresses) {
    const fallback = fallbackRule(ingress)
    for (const { host, paths } of ingress.rules) {
      let entry = hosts.get(host)
      if (entry === undefined) {
        entry = { rules: new Map(), fallback: null }
        hosts.set(host, entry)
      }
      entry.fallback ??= fallback
      for (const path of paths) addRule(entry.rules, apiRule(ingress, path), `${ingress.text}, ${path.field}`, warn)
    }
    for (const { hosts: names, secret } of ingress.tls) {
      for (const name of names.length === 0 ? [''] : names) if (!certificates.has(name)) certificates.set(name, secret)
    }
  }
  return {
    text,
    hosts: [...hosts].map(([name, { rules, fallback }]) => plainHost(name, [...rules.values()], fallback)),
    fallback: catchAll(ingresses) ?? controllersOwn(ownDefault),
    hostOwnsRequest: false,
    pathReading: 'rfc3986',
    backendLookup: 'api',
    certificates,
    addresses: new Set(ingresses.flatMap((ingress) => ingress.addresses)),
  }
}

function plainHost(name: string, rules: readonly Rule[], fallback: Rule | null): Host {
  return { name, aliases: [], rules, fallback, tlsPassthrough: false, appRoot: null, redirectToHost: null, note: null }
}

/** Two rules that match the same requests: the older object's stays, and the user hears of it. */
function addRule(rules: Map<string, Rule>, rule: Rule, where: string, warn: Warn): void {
  const { match } = rule
  const key = match.kind === 'regex' ? rule.path : `${match.kind} ${match.path}${rule.path.endsWith('/') ? '/' : ''}`
  const earlier = rules.get(key)
  if (earlier === undefined) rules.set(key, rule)
  else warn(where, 'W_INGRESS_CONFLICT', `${rule.text} is never reached: ${earlier.text} comes first on this host`)
}

function apiRule(ingress: ReadIngress, { path, pathType, backend }: ReadPath): Rule {
  const comparable = comparablePath(path)
  const match =
    pathType === 'Exact'
      ? ({ kind: 'exact', path: comparable } as const)
      : ({ kind: 'elements', path: comparable.replace(/\/$/, '') } as const)
  return {
    match,
    path: comparable,
    owner: ingress.name,
    text: `${pathType} ${path} of ${ingress.text}`,
    action: toBackend(backend),
    rewrite: null,
    httpsRedirect: 'never',
    keepsTrailingSlash: true,
    sourceRanges: null,
  }
}

function toBackend(backend: ReadBackend): Action {
  if (backend.ref === null) return { kind: 'respond', status: 503, why: `${backend.text} is not a Service` }
  return { kind: 'backend', backend: backend.ref, instead: null }
}

function fallbackRule(ingress: ReadIngress): Rule | null {
  if (ingress.defaultBackend === null) return null
  return everyPath(ingress.name, `default backend of ${ingress.text}`, toBackend(ingress.defaultBackend))
}

function catchAll(ingresses: readonly ReadIngress[]): Rule | null {
  const withDefault = ingresses.filter((ingress) => ingress.defaultBackend !== null)
  const first = withDefault.find((ingress) => ingress.rules.length === 0) ?? withDefault[0]
  return first === undefined ? null : fallbackRule(first)
}

function controllersOwn(backend: BackendRef | null): Rule | null {
  return backend === null
    ? null
    : everyPath(null, "the controller's default backend", { kind: 'backend', backend, instead: null })
}

function everyPath(owner: string | null, text: string, action: Action): Rule {
  return {
    match: { kind: 'elements', path: '' },
    path: '/',
    owner,
    text,
    action,
    rewrite: null,
    httpsRedirect: 'never',
    keepsTrailingSlash: true,
    sourceRanges: null,
  }
}
