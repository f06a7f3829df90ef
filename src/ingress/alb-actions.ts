/**
 * `alb.ingress.kubernetes.io/actions.NAME` and `ssl-redirect`: what an ALB does in place of sending a request to a Service.
 *
 * An action is for a backend of its name with port `use-annotation`; one that no backend names is nothing. A redirect that would lead
 * a client to where it is has no rule on that listener, so the next rule has its requests. `ssl-redirect` takes all rules off
 * the group's HTTP listener, which sends everything to HTTPS. An Ingress is on the listeners of its `listen-ports` alone.
 * Source: aws-load-balancer-controller pkg/ingress/{enhanced_backend_builder,rule_optimizer,model_build_listener_rules}.go,
 * docs/guide/ingress/annotations.md; Elastic Load Balancing guide, redirect actions.
 */
import { ALB_PREFIX } from './classes.ts'
import { toBackend } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import type { Action, BackendRef, Canary } from './rules.ts'

export type Scheme = 'http' | 'https'
const PORTS: Readonly<Record<Scheme, string>> = { http: '80', https: '443' }
const SCHEMES = ['http', 'https'] as const
const USE_ANNOTATION = 'use-annotation'

/** Where what a rule names is done: `schemes` without one where the controller makes no rule. */
export interface AlbAction {
  readonly action: Action
  readonly schemes: readonly Scheme[]
}

interface Redirect {
  readonly protocol: string
  readonly host: string
  readonly port: string
  readonly path: string
  readonly query: string
  readonly status: number
}

/** Warnings: W_NOT_MODELLED, W_INGRESS_ANNOTATION, W_INGRESS_BACKEND. @param patterns  of the path, as the rule has them */
export function actionOf(
  ingress: ReadIngress,
  host: string,
  path: ReadPath,
  patterns: readonly string[],
  warn: Warn,
): AlbAction {
  const schemes = listenersOf(ingress) ?? SCHEMES
  const { ref } = path.backend
  if (ref === null || ref.port !== USE_ANNOTATION) return { action: toBackend(path.backend), schemes }
  const key = `${ALB_PREFIX}actions.${ref.name}`
  const where = `${ingress.text}, annotation ${key}`
  const refused = (why: string): AlbAction => {
    warn(
      where,
      'W_INGRESS_ANNOTATION',
      `${why}: the controller refuses the whole load balancer; 503 stands for it here`,
    )
    return { action: { kind: 'respond', status: 503, why: `${key} ${why}` }, schemes }
  }
  const written = ingress.annotations.get(key)
  if (written === undefined) return refused('is named by a backend and is not there')
  const config = objectOf(written)
  if (config === null) return refused('is no JSON object')
  const type = text(config, 'type')
  if (type === 'fixed-response') {
    const status = Number(text(fields(config, 'fixedResponseConfig'), 'statusCode'))
    if (!Number.isInteger(status) || status < 200 || status > 599) return refused('has no statusCode from 200 to 599')
    return { action: { kind: 'respond', status, why: `fixed-response of ${key}` }, schemes }
  }
  if (type === 'redirect') {
    const redirect = redirectOf(fields(config, 'redirectConfig'))
    if (redirect === null) return refused('has no statusCode HTTP_301 or HTTP_302')
    const to = `${redirect.protocol}://${redirect.host}:${redirect.port}${redirect.path}${redirect.query}`
    const action: Action = { kind: 'redirect', status: redirect.status, to, keepsQuery: false, fills: true }
    return { action, schemes: schemes.filter((scheme) => !loops(redirect, scheme, host, patterns)) }
  }
  if (type !== 'forward') return refused(`has type ${type || '(none)'}`)
  const action = forwardOf(config, key, ingress.namespace, where, warn)
  return typeof action === 'string' ? refused(action) : { action, schemes }
}

/** The heaviest of its target groups, and the next by its share; the reason where there is none. */
function forwardOf(config: Fields, key: string, namespace: string, where: string, warn: Warn): Action | string {
  const written = field(fields(config, 'forwardConfig'), 'targetGroups')
  const groups = objectsOf(written).map((group) => ({
    name: text(group, 'serviceName'),
    port: text(group, 'servicePort'),
    weight: text(group, 'weight') === '' ? 1 : Number(text(group, 'weight')),
  }))
  const named = groups.filter(({ name }) => name !== '')
  if (named.length < Math.max(groups.length, 1)) {
    const message =
      'target groups that are not made from a Service of the cluster are not modelled: 503 stands for them'
    warn(where, 'W_NOT_MODELLED', message)
  }
  const weighed = named.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight)
  const [first, second, ...others] = weighed
  if (first === undefined)
    return { kind: 'respond', status: 503, why: `no target group of ${key} is of this cluster and has weight` }
  if (others.length > 0) warn(where, 'W_NOT_MODELLED', 'of several weights the two largest are modelled')
  const refOf = ({ name, port }: { name: string; port: string }): BackendRef => {
    return { namespace, name, port: /^\d+$/.test(port) ? Number(port) : port, byClusterIp: false }
  }
  const action: Action = { kind: 'backend', backend: refOf(first), instead: null }
  if (second === undefined) return action
  const total = first.weight + second.weight
  const canary: Canary = {
    backend: refOf(second),
    text: `weight ${second.weight} of ${total} in ${key}`,
    share: second.weight / total,
    header: '',
    value: '',
    pattern: null,
    cookie: '',
    isSplit: true,
  }
  warn(
    where,
    'W_NOT_MODELLED',
    'the shares of its weights are told by explain; a replay leaves all requests with the largest',
  )
  return { ...action, canary }
}

/** Whether the client would be sent to where it is. Source: rule_optimizer.go isInfiniteRedirectRule. */
function loops(redirect: Redirect, scheme: Scheme, host: string, patterns: readonly string[]): boolean {
  const [own, ownPath, ownQuery] = ['$host', '/$path_below_root', '$is_args$args']
  if (redirect.host !== own && redirect.host !== host) return false
  if (redirect.path !== ownPath && !patterns.includes(redirect.path)) return false
  if (redirect.port !== '$server_port' && redirect.port !== PORTS[scheme]) return false
  if (redirect.protocol !== '$scheme' && redirect.protocol !== scheme) return false
  return redirect.query === ownQuery
}

/** What is left out stays as it is; `#{host}` and the like are put in by the variables of route.ts. */
function redirectOf(config: Fields): Redirect | null {
  const status = /^HTTP_(30[12])$/.exec(text(config, 'statusCode'))?.[1]
  if (status === undefined) return null
  const filled = (name: string, missing: string): string =>
    (text(config, name) || missing)
      .replaceAll('#{protocol}', '$scheme')
      .replaceAll('#{host}', '$host')
      .replaceAll('#{port}', '$server_port')
      .replaceAll('#{path}', '$path_below_root')
      .replaceAll('#{query}', '$args')
  const query = filled('query', '#{query}')
  return {
    protocol: filled('protocol', '#{protocol}').toLowerCase(),
    host: filled('host', '#{host}'),
    port: filled('port', '#{port}'),
    path: filled('path', '/#{path}'),
    query: query === '$args' ? '$is_args$args' : `?${query}`,
    status: Number(status),
  }
}

/** The status and where to, of a load balancer whose HTTP listener only redirects; null for others. */
export function sslRedirectOf(ingresses: readonly ReadIngress[]): Action | null {
  const port = ingresses.flatMap(({ annotations }) => annotations.get(`${ALB_PREFIX}ssl-redirect`)?.trim() || [])[0]
  if (port === undefined) return null
  return { kind: 'redirect', status: 301, to: `https://$host:${port}$uri$is_args$args`, keepsQuery: false, fills: true }
}

/** By listen-ports, else by its certificate; null where nothing is said. */
function listenersOf({ annotations }: ReadIngress): Scheme[] | null {
  const written = annotations.get(`${ALB_PREFIX}listen-ports`)
  if (written !== undefined) return SCHEMES.filter((scheme) => new RegExp(`"${scheme}"\\s*:`, 'i').test(written))
  return annotations.has(`${ALB_PREFIX}certificate-arn`) ? ['https'] : null
}

export type Fields = Readonly<Record<string, unknown>>

/** Of a list what are objects. */
export function objectsOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'object' && one !== null) : []
}

function objectOf(json: string): Fields | null {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : null
  } catch {
    return null
  }
}

/** Field names of either spelling: `redirectConfig`, `RedirectConfig`. */
export function field(config: Fields, name: string): unknown {
  return config[name] ?? config[name[0]!.toUpperCase() + name.slice(1)]
}

export function fields(config: Fields, name: string): Fields {
  const value = field(config, name)
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

export function text(config: Fields, name: string): string {
  const value = field(config, name)
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}
