/**
 * The Ingress front: the Ingresses of a cluster as neutral listeners, one per controller (or per cloud load balancer).
 *
 * ingress-nginx (nginx.ts), F5's (nginx-inc.ts), HAProxy's (haproxy.ts) and the community's for HAProxy (haproxy-community.ts), Traefik (traefik.ts), AWS' (alb.ts) and Google's controller (gce.ts) are read as they read themselves. Any other follows the API text to the letter: a rule without a host applies to every
 * request, a path that no rule matches goes to the default backend of an Ingress that has the host, then to the default
 * backend of an Ingress without rules, then to any Ingress's default backend, then to 404. ImplementationSpecific is read
 * as Prefix. TLS ends at the proxy and plain HTTP is served beside it.
 * Source: kubernetes.io/docs/concepts/services-networking/ingress (path types, multiple matches, host table, default
 * backend), API text of IngressSpec and IngressRule.
 */
import type { Warning } from '../errors.ts'
import type { Cluster } from '../k8s/cluster.ts'
import { albListener } from './alb.ts'
import { ALB_PREFIX, type ControllerGroup, groupByController, NGINX_PREFIX } from './classes.ts'
import { gceListener } from './gce.ts'
import { haproxyListener } from './haproxy.ts'
import { haproxyCommunityListener } from './haproxy-community.ts'
import { nginxListener } from './nginx.ts'
import { configOf } from './nginx-config.ts'
import { nginxIncListener } from './nginx-inc.ts'
import {
  addRule,
  certificatesOf,
  controllersOwn,
  fallbackRule,
  plainHost,
  plainRule,
  toBackend,
} from './plain-rules.ts'
import { type ReadIngress, type ReadPath, readIngress, type Warn, warner } from './read-ingress.ts'
import { comparablePath } from './request.ts'
import { type BackendRef, type Listener, PEER, type Rule } from './rules.ts'
import { traefikListener } from './traefik.ts'

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
  const types = new Map(cluster.services.map(({ namespace, name, type }) => [`${namespace}/${name}`, type]))
  const firstPort = (service: string): number | null => firstPorts.get(service) ?? null
  const listeners = groups.map((group) => {
    const ingresses = group.ingresses.map((ingress) => readIngress(ingress, warn))
    if (group.preset === 'ingress-nginx') {
      const config = configOf(cluster, group, warnings)
      return nginxListener(group.text, ingresses, ownDefault, warn, firstPort, config)
    }
    for (const ingress of ingresses) warnOfForeignAnnotations(ingress, group, warn)
    if (group.preset === 'alb') {
      warnOfInstanceTargets(group, ingresses, (service) => types.get(service) ?? null, warn)
      return albListener(group.text, ingresses, warn)
    }
    if (group.preset === 'gce') return gceListener(group.text, ingresses, warn)
    if (group.preset === 'traefik')
      return traefikListener(
        group.text,
        ingresses,
        (service) => firstPorts.has(service),
        cluster.middlewares ?? [],
        warn,
      )
    if (group.preset === 'haproxy') return haproxyListener(group.text, ingresses, warn)
    if (group.preset === 'haproxy-ingress') return haproxyCommunityListener(group.text, ingresses, warn)
    if (group.preset === 'nginx-inc') return nginxIncListener(group.text, ingresses, warn)
    return apiListener(group, ingresses, ownDefault, warn)
  })
  return { listeners, warnings }
}

/** Such a target group cannot be made, and with it nothing of the load balancer. */
function warnOfInstanceTargets(
  { text }: ControllerGroup,
  ingresses: readonly ReadIngress[],
  typeOf: (service: string) => string | null,
  warn: Warn,
): void {
  for (const ingress of ingresses) {
    if (ingress.annotations.get(`${ALB_PREFIX}target-type`) === 'ip') continue
    const refs = ingress.rules.flatMap(({ paths }) => paths.flatMap(({ backend }) => backend.ref ?? []))
    const names = new Set(refs.map(({ namespace, name }) => `${namespace}/${name}`))
    const inside = [...names].filter((name) => typeOf(name) === 'ClusterIP')
    if (inside.length === 0) continue
    const message = `Service ${inside.join(', ')} has type ClusterIP and so no node port, which target-type instance (the default) needs: the controller cannot make ${text}; annotation target-type ip takes it as it is. The rules are followed here all the same`
    warn(ingress.text, 'W_INGRESS_BACKEND', message)
  }
}

/** What was written for ingress-nginx and says nothing to the controller that serves the Ingress: one warning an object. */
function warnOfForeignAnnotations(ingress: ReadIngress, { text }: ControllerGroup, warn: Warn): void {
  const names = [...ingress.annotations.keys()].filter((key) => key.startsWith(NGINX_PREFIX))
  if (names.length === 0) return
  const listed = names.map((name) => name.slice(NGINX_PREFIX.length)).join(', ')
  warn(
    ingress.text,
    'W_INGRESS_ANNOTATION',
    `${listed}: annotations of ingress-nginx, which do nothing with ${text}; they are ignored`,
  )
}

function apiListener(
  { text }: ControllerGroup,
  ingresses: readonly ReadIngress[],
  ownDefault: BackendRef | null,
  warn: Warn,
): Listener {
  const hosts = new Map<string, { rules: Map<string, Rule>; fallback: Rule | null }>()
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
  }
  return {
    text,
    hosts: [...hosts].map(([name, { rules, fallback }]) => plainHost(name, [...rules.values()], fallback)),
    fallback: catchAll(ingresses) ?? controllersOwn(ownDefault),
    hostOwnsRequest: false,
    inOrder: false,
    wildcards: 'one label',
    client: PEER,
    redirectStatus: 308,
    pathReading: 'rfc3986',
    backendLookup: 'api',
    certificates: certificatesOf(ingresses),
    addresses: new Set(ingresses.flatMap((ingress) => ingress.addresses)),
  }
}

function apiRule(ingress: ReadIngress, { path, pathType, backend }: ReadPath): Rule {
  const comparable = comparablePath(path)
  const match =
    pathType === 'Exact'
      ? ({ kind: 'exact', path: comparable } as const)
      : ({ kind: 'elements', path: comparable.replace(/\/$/, '') } as const)
  return plainRule(ingress.name, `${pathType} ${path} of ${ingress.text}`, match, comparable, toBackend(backend))
}

function catchAll(ingresses: readonly ReadIngress[]): Rule | null {
  const withDefault = ingresses.filter((ingress) => ingress.defaultBackend !== null)
  const first = withDefault.find((ingress) => ingress.rules.length === 0) ?? withDefault[0]
  return first === undefined ? null : fallbackRule(first)
}
