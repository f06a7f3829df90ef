/**
 * What the proxy does with one request: which backend, or which answer of its own, and why.
 *
 * The order is nginx's, of which the API text is a part: host → client certificate → server-wide redirects → path → size → redirects of the location
 * → HTTPS redirect → client address → backend. Every step that decided something is in `steps`.
 * Never throws; a request that no server accepts is answered 400 or 414. Cost: see table.ts; nothing is kept between calls.
 */
import { accessOf, type Refusal, tooLarge } from './access.ts'
import type { Backend } from './backends.ts'
import { clientOf } from './client.ts'
import { unmet } from './conditions.ts'
import { filled, withQuery } from './fill.ts'
import { type HttpRequest, readHost, readPath } from './request.ts'
import type { Canary, Rewrite } from './rules.ts'
import {
  type CompiledHost,
  type CompiledListener,
  type CompiledRule,
  certificateOf,
  hostsFor,
  type RouteTable,
  ruleFor,
} from './table.ts'

export interface RouteStep {
  readonly stage: 'ingress'
  readonly detail: string
}

export interface RouteResult {
  /**
   * 200 a backend gets the request · 3xx redirect · 400, 414 no proper request, or no certificate of the client · 401 no password or session ·
   * 403 client not let in · 404 no rule · 413 too large ·
   * 444 the connection is closed without an answer · 502 the cluster IP behind the rule refuses · 503 a rule, but no usable backend.
   */
  readonly status: number
  /** `namespace/name` of the Service the rule names, usable or not; null where no Service is named. */
  readonly service: string | null
  /** Its port's number; null where it cannot be told. */
  readonly port: number | null
  /** `namespace/name` of the Ingress whose rule decided; null for the proxy's own answer. */
  readonly ingress: string | null
  /** Positions in the table; -1 for none. */
  readonly listenerId: number
  readonly hostId: number
  readonly ruleId: number
  readonly backendId: number
  /** Path and query as the backend gets them. */
  readonly path: string
  /** Of a redirect; null otherwise. */
  readonly location: string | null
  /** Where TLS ends: null for plain HTTP. */
  readonly tlsEndsAt: 'proxy' | 'backend' | null
  /** `namespace/name` of the Secret shown to the client, '' for the proxy's own certificate, null where it shows none. */
  readonly certificate: string | null
  /** `ip:port` of every endpoint that the request may be given to. */
  readonly endpoints: readonly string[]
  /** One sentence. */
  readonly reason: string
  readonly steps: readonly RouteStep[]
}

/** A result in the making. */
interface Answer {
  request: HttpRequest
  steps: RouteStep[]
  listener: CompiledListener | null
  host: CompiledHost | null
  rule: CompiledRule | null
  path: string
  tlsEndsAt: RouteResult['tlsEndsAt']
  certificate: string | null
  /** Whom the proxy takes for the client; '' where nobody knows. */
  client: string
}

/** @param listenerId  the proxy that the request has got to; left out: the one that the host's name leads to */
export function route(table: RouteTable, request: HttpRequest, listenerId = -1): RouteResult {
  const answer: Answer = {
    request,
    steps: [],
    listener: null,
    host: null,
    rule: null,
    path: withQuery(request.path === '' ? '/' : request.path, request.query),
    tlsEndsAt: request.scheme === 'https' ? 'proxy' : null,
    certificate: null,
    client: request.from,
  }
  const host = readHost(request.host)
  if (host === null) return refuse(answer, 400, `${JSON.stringify(request.host)} is no Host header`)
  const listener = table.listeners[listenerId] ?? chooseListener(table, request, host, answer)
  if (listener === null) return refuse(answer, 404, 'no controller serves any Ingress')
  answer.listener = listener
  if (request.scheme === 'https') answer.certificate = certificateOf(listener, host) ?? ''
  const client = clientOf(listener.client, request)
  if (!('address' in client)) return refuse(answer, client.status, client.why)
  if (client.how !== null) step(answer, client.how)
  answer.client = client.address

  const reading = readPath(request.path, listener.pathReading)
  if (!('path' in reading)) return refuse(answer, reading.status, reading.why)
  const { path } = reading
  if (path !== request.path) step(answer, `path ${request.path} is read as ${path}`)

  const candidates = hostsFor(listener, host).filter(({ scheme }) => scheme === undefined || scheme === request.scheme)
  answer.host = candidates[0] ?? null
  const owner = listener.hostOwnsRequest ? answer.host : null
  if (owner !== null) {
    const unknown = withoutCertificate(owner, request)
    if (unknown !== null) return refusal(answer, unknown)
    const early = serverWide(owner, path, host, answer)
    if (early !== null) return early
  }
  const passedThrough = owner?.tlsPassthrough === true && request.scheme === 'https'
  if (passedThrough) {
    answer.tlsEndsAt = 'backend'
    answer.certificate = null
    step(
      answer,
      'TLS passes through unopened: the host name in its hello is all the proxy sees, so the rule for / applies',
    )
  }
  const rule = findRule(listener, candidates, passedThrough ? '/' : path, answer)
  if (rule === null)
    return refuse(answer, 404, `no rule matches host ${host === '' ? '(none)' : host} and path ${path}`)
  answer.rule = rule
  return passedThrough ? toBackend(table, rule, answer) : apply(table, rule, path, host, answer)
}

/** TLS has been spoken when this is found out, so the answer is one of HTTP. Source: nginx ngx_http_process_request. */
function withoutCertificate(owner: CompiledHost, request: HttpRequest): Refusal | null {
  const { clientCertificate = null } = owner
  if (clientCertificate === null || request.scheme === 'http' || owner.tlsPassthrough) return null
  if (request.isAuthenticated === true) return null
  const { errorPage } = clientCertificate
  const why = `no certificate of the client was sent, and ${clientCertificate.text} asks for one (auth-tls-secret), for every path of this host`
  return { status: errorPage === null ? 400 : 302, location: errorPage, why }
}

/** Redirects that a server block makes before it looks at its locations. */
function serverWide(owner: CompiledHost, path: string, host: string, answer: Answer): RouteResult | null {
  const { request } = answer
  if (owner.redirectToHost !== null) {
    // With the port of the server block and without a slash at the end. Source: ingress-nginx lua/nginx/ngx_srv_redirect.lua.
    const port = request.scheme === 'https' ? 443 : 80
    return redirect(
      answer,
      answer.listener!.redirectStatus,
      `${request.scheme}://${owner.redirectToHost}:${port}${answer.path.replace(/\/$/, '')}`,
      `from-to-www-redirect sends ${host} to ${owner.redirectToHost}`,
    )
  }
  if (owner.appRoot !== null && path === '/') {
    return redirect(
      answer,
      302,
      `${request.scheme}://${request.host}${owner.appRoot}`,
      `app-root sends / to ${owner.appRoot}`,
    )
  }
  return null
}

function findRule(
  listener: CompiledListener,
  candidates: readonly CompiledHost[],
  path: string,
  answer: Answer,
): CompiledRule | null {
  const asked = listener.hostOwnsRequest ? candidates.slice(0, 1) : candidates
  for (const host of asked) {
    const rule = ruleFor(host, path)
    const missing = unmet(rule?.conditions ?? [], answer.request, answer.client)
    if (missing !== null) {
      step(answer, `${rule!.text} is passed over: ${missing}`)
      continue
    }
    if (host.note !== null) step(answer, host.note)
    if (rule !== null) return found(answer, host, rule)
    if (!listener.inOrder) step(answer, `host ${hostText(host)}: no path of it matches ${path}`)
  }
  for (const host of asked) if (host.fallback !== null) return found(answer, host, host.fallback)
  if (listener.fallback !== null) step(answer, listener.fallback.text)
  return listener.fallback
}

function found(answer: Answer, host: CompiledHost, rule: CompiledRule): CompiledRule {
  answer.host = host
  step(answer, `host ${hostText(host)}: ${rule.text}`)
  return rule
}

/** What a rule does with a request that it matches. */
function apply(table: RouteTable, rule: CompiledRule, path: string, host: string, answer: Answer): RouteResult {
  const { request } = answer
  const { action } = rule
  const large = tooLarge(rule, request)
  if (large !== null) return refusal(answer, large)
  if (action.kind === 'redirect') {
    const to = action.fills === true ? filled(action.to, rule, path, request) : action.to
    const target = to.startsWith('/') ? `${request.scheme}://${request.host}${to}` : to
    return redirect(
      answer,
      action.status,
      action.keepsQuery ? withQuery(target, request.query) : target,
      `${rule.text} redirects`,
    )
  }
  const rewritten = rule.rewrite === null ? null : rewritePath(rule.rewrite, path)
  if (rewritten !== null) {
    if (/^https?:\/\//.test(rewritten))
      return redirect(answer, 302, withQuery(rewritten, request.query), `rewrite-target of ${rule.text} is a URL`)
    answer.path = rewrittenUri(rewritten, request.query)
    step(answer, `rewrite ${path} to ${answer.path}`)
  }
  const secured = certificateOf(answer.listener!, host) !== undefined
  const listener = answer.listener!
  const scheme = accessScheme(listener, request)
  if (scheme !== request.scheme) step(answer, `X-Forwarded-Proto or the port of the PROXY protocol says ${scheme}`)
  if (scheme === 'http' && (rule.httpsRedirect === 'always' || (rule.httpsRedirect === 'if-certificate' && secured))) {
    const why =
      rule.httpsRedirect === 'always' ? 'force-ssl-redirect is set' : 'the host has TLS and ssl-redirect is on'
    const raw = withQuery(request.path === '' ? '/' : request.path, request.query)
    const uri = rule.keepsTrailingSlash ? raw : raw.replace(/\/$/, '')
    return redirect(
      answer,
      answer.listener!.redirectStatus,
      `https://${forwardedHost(listener, request) ?? host}${uri}`,
      `plain HTTP is sent to HTTPS: ${why}`,
    )
  }
  const refused = accessOf(rule, path, request, answer.client, (detail) => step(answer, detail))
  if (refused !== null) return refusal(answer, refused)
  if (action.kind === 'respond') return refuse(answer, action.status, action.why)
  return toBackend(table, rule, answer)
}

/** Source: ingress-nginx rootfs/etc/nginx/lua/lua_ingress.lua rewrite: pass_access_scheme, best_http_host. */
function accessScheme(listener: CompiledListener, { scheme, headers, tlsEndedBefore }: HttpRequest): string {
  if (listener.client.kind === 'proxy-protocol' && tlsEndedBefore === true) return 'https'
  return (listener.believesForwarded === true ? headers['x-forwarded-proto'] : undefined) ?? scheme
}

function forwardedHost(listener: CompiledListener, { headers }: HttpRequest): string | null {
  const written = listener.believesForwarded === true ? headers['x-forwarded-host'] : undefined
  return /^[^,:]*/.exec(written ?? '')?.[0].trim() || null
}

function toBackend(table: RouteTable, rule: CompiledRule, answer: Answer): RouteResult {
  if (rule.action.kind !== 'backend')
    return refuse(answer, rule.action.kind === 'respond' ? rule.action.status : 404, `${rule.text} has no backend`)
  const main = table.backends[rule.backendId]!
  const { canary } = rule.action
  const first = canary === undefined ? main : chosen(main, table.backends[rule.canaryId]!, canary, answer)
  const standIn = rule.insteadId < 0 ? undefined : table.backends[rule.insteadId]
  // With service-upstream the cluster IP is the one endpoint, ready pods or not, so nothing stands in.
  if (!first.usable && !first.byClusterIp && standIn?.usable === true) {
    step(answer, `${first.why}; the default-backend annotation stands in`)
    return deliver(answer, standIn)
  }
  return deliver(answer, first)
}

/**
 * The main backend or the canary's: the header decides, then the cookie, then chance, of which the share is told.
 * Source: ingress-nginx rootfs/etc/nginx/lua/balancer.lua route_to_alternative_balancer.
 */
function chosen(main: Backend, other: Backend, canary: Canary, answer: Answer): Backend {
  const name = `${canary.isSplit === true ? '' : 'canary '}Service ${other.service} (${canary.text})`
  if (canary.isSplit === true) {
    step(answer, `${shareText(canary)} ${name}; the others, told here, to Service ${main.service}`)
    return main
  }
  if (!main.usable) {
    step(answer, `${name} is not asked: it stands behind the main Service, which has no endpoint`)
    return main
  }
  if (!other.usable) {
    step(answer, `${name} gets nothing: ${other.why}`)
    return main
  }
  const told = byHeader(canary, answer.request) ?? byCookie(canary, answer.request)
  if (told !== null) {
    step(answer, `${told.how}: ${told.isCanary ? `${name} gets the request` : `${name} does not get the request`}`)
    return told.isCanary ? other : main
  }
  step(
    answer,
    `${shareText(canary)} ${name}${canary.share > 0 && canary.share < 1 ? '; the others are told here' : ''}`,
  )
  return canary.share >= 1 ? other : main
}

function shareText({ share }: Canary): string {
  return `${Number((share * 100).toFixed(3))} % of the requests go to`
}

interface Told {
  readonly isCanary: boolean
  readonly how: string
}

function byHeader({ header, value, pattern }: Canary, { headers }: HttpRequest): Told | null {
  const written = header === '' ? undefined : headers[header]
  if (written === undefined) return null
  const how = `header ${header}: ${written}`
  if (value !== '') return written === value ? { isCanary: true, how } : null
  if (pattern !== null) return pattern.exec(written, false) === null ? null : { isCanary: true, how }
  return written === 'always' || written === 'never' ? { isCanary: written === 'always', how } : null
}

function byCookie({ cookie }: Canary, { headers }: HttpRequest): Told | null {
  if (cookie === '') return null
  const pairs = (headers['cookie'] ?? '').split(';').map((pair) => pair.trim())
  const found = pairs.find((pair) => pair === `${cookie}=always` || pair === `${cookie}=never`)
  return found === undefined ? null : { isCanary: found.endsWith('always'), how: `cookie ${found}` }
}

function deliver(answer: Answer, backend: Backend): RouteResult {
  const name = `Service ${backend.service}${backend.port === null ? '' : ` port ${backend.port}`}`
  step(answer, `backend ${name}: ${backend.why}`)
  const { balancing = null } = answer.rule!
  if (balancing !== null && backend.endpoints.length > 1 && !backend.byClusterIp)
    step(answer, `${balancing} one endpoint of these`)
  if (backend.usable && backend.byClusterIp)
    step(answer, 'service-upstream: the proxy sends to the cluster IP and kube-proxy picks the endpoint')
  // With service-upstream the proxy has an upstream as long as the Service has an address; kube-proxy then refuses.
  const status = backend.usable ? 200 : backend.byClusterIp || backend.refuses === true ? 502 : 503
  return finish(answer, {
    status,
    backend,
    location: null,
    reason: backend.usable ? `${answer.rule!.text} leads to ${name}` : backend.why,
  })
}

function refuse(answer: Answer, status: number, reason: string): RouteResult {
  step(answer, reason)
  return finish(answer, { status, backend: null, location: null, reason })
}

function refusal(answer: Answer, { status, location, why }: Refusal): RouteResult {
  return location === null ? refuse(answer, status, why) : redirect(answer, status, location, why)
}

function redirect(answer: Answer, status: number, location: string, reason: string): RouteResult {
  step(answer, `${status} to ${location}: ${reason}`)
  return finish(answer, { status, backend: null, location, reason })
}

function finish(
  answer: Answer,
  end: { status: number; backend: Backend | null; location: string | null; reason: string },
): RouteResult {
  const { listener, host, rule, path, tlsEndsAt, certificate, steps } = answer
  const { status, backend, location, reason } = end
  return {
    status,
    service: backend?.service ?? null,
    port: backend?.port ?? null,
    ingress: rule?.owner ?? null,
    listenerId: listener?.id ?? -1,
    hostId: host?.id ?? -1,
    ruleId: rule?.id ?? -1,
    backendId: backend?.id ?? -1,
    path,
    location,
    tlsEndsAt,
    certificate,
    endpoints: backend?.endpoints ?? [],
    reason,
    steps,
  }
}

/**
 * The proxy a request goes to. A URL that holds an address of one says so; otherwise the name's DNS record is taken to lead
 * to the proxy that knows the host best: by name, by wildcard, for any host; among equals the one with a matching path.
 */
function chooseListener(
  table: RouteTable,
  request: HttpRequest,
  host: string,
  answer: Answer,
): CompiledListener | null {
  const address = request.authority.replace(/^\[|\]$/g, '').toLowerCase()
  const addressed = table.listeners.filter((listener) => listener.addresses.has(address))
  const among = addressed.length > 0 ? addressed : table.listeners
  const best = among.length > 1 ? bestFit(among, request, host) : (among[0] ?? null)
  if (best !== null) {
    const how = addressed.length > 0 ? `has address ${address}` : among.length > 1 ? 'fits the host best' : ''
    step(answer, how === '' ? best.text : `${best.text} ${how}`)
  }
  return best
}

/** The first of those that fit best, so the order of the table settles ties. */
function bestFit(among: readonly CompiledListener[], request: HttpRequest, host: string): CompiledListener | null {
  let best: CompiledListener | null = null
  let bestRank = -1
  for (const listener of among) {
    const rank = hostFit(listener, request, host)
    if (rank > bestRank) {
      best = listener
      bestRank = rank
    }
  }
  return best
}

/** Twice how specifically a listener knows the host, and one more where it has somewhere to send the path. */
function hostFit(listener: CompiledListener, request: HttpRequest, host: string): number {
  const candidates = hostsFor(listener, host)
  const first = listener.inOrder
    ? candidates.reduce<CompiledHost | undefined>(
        (best, one) => (best === undefined || one.name.length > best.name.length ? one : best),
        undefined,
      )
    : candidates[0]
  const specificity =
    first === undefined
      ? listener.fallback === null
        ? 0
        : 1
      : first.name === ''
        ? 1
        : first.name.startsWith('*.')
          ? 2
          : 3
  const reading = readPath(request.path, listener.pathReading)
  const rule =
    'path' in reading ? candidates.map((entry) => ruleFor(entry, reading.path)).find((entry) => entry !== null) : null
  const answered = (rule ?? listener.fallback)?.action.kind === 'backend' || rule?.action.kind === 'redirect'
  return specificity * 2 + (answered ? 1 : 0)
}

function hostText(host: CompiledHost): string {
  return host.name === '' ? '(any)' : host.name
}

function step(answer: Answer, detail: string): void {
  answer.steps.push({ stage: 'ingress', detail })
}

/** null where the pattern is nowhere in the path: nginx then leaves the path as it is. */
function rewritePath(rewrite: Rewrite, path: string): string | null {
  const groups = rewrite.regex.exec(path, false)
  if (groups === null) return null
  return rewrite.target.replace(/\$(\d)/g, (_whole, digit: string) => groups[Number(digit)] ?? '')
}

/** The replacement's own arguments come first; a `?` at its end keeps the request's away. Source: nginx rewrite. */
function rewrittenUri(rewritten: string, query: string): string {
  const mark = rewritten.indexOf('?')
  const path = escapePath(mark < 0 ? rewritten : rewritten.slice(0, mark))
  const own = mark < 0 ? '' : rewritten.slice(mark + 1)
  if (mark === rewritten.length - 1) return path
  return withQuery(path, [own, query].filter((part) => part !== '').join('&'))
}

/** What cannot stand in a request line is escaped again. Source: ngx_escape_uri. */
function escapePath(path: string): string {
  return path.replace(/[^\u0021-\u007e]+|[%?#]/gu, (run) =>
    Array.from(Buffer.from(run, 'utf8'), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
  )
}
