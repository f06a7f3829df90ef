/**
 * The `nginx.ingress.kubernetes.io/*` annotations that decide where a request goes, read as ingress-nginx reads them.
 *
 * Three kinds: those below are modelled; those in HARMLESS change headers, buffers, logs or timeouts and never the route;
 * every other one is a W_NOT_MODELLED warning.
 * Source: ingress-nginx docs/user-guide/nginx-configuration/annotations.md.
 */
import { signInUrl } from './access.ts'
import { NGINX_PREFIX } from './classes.ts'
import { bodySize, type NginxConfig } from './nginx-config.ts'
import type { ReadIngress, Warn } from './read-ingress.ts'
import { compileRegex } from './regex.ts'
import type { Action, Authentication, Canary } from './rules.ts'
import { parseRanges, type SourceRanges } from './source-ranges.ts'

export type CanarySettings = Omit<Canary, 'backend' | 'text'>

export interface NginxAnnotations {
  /** '' for none. */
  readonly rewriteTarget: string
  readonly useRegex: boolean
  readonly httpsRedirect: 'never' | 'if-certificate' | 'always'
  readonly preserveTrailingSlash: boolean
  readonly aliases: readonly string[]
  readonly sourceRanges: SourceRanges | null
  /** Null for a main Ingress. */
  readonly canary: CanarySettings | null
  readonly authentication: Authentication | null
  /** Of the whole host; null for none. */
  readonly clientCertificate: { readonly errorPage: string | null } | null
  /** 0 for no limit. */
  readonly maxBodyBytes: number
  /** By what requests are told apart that stay with one endpoint; null for taking turns. */
  readonly balancing: string | null
  readonly appRoot: string | null
  readonly redirect: Extract<Action, { kind: 'redirect' }> | null
  /** Takes over while a backend of the Ingress has no endpoint. */
  readonly defaultBackend: string | null
  readonly tlsPassthrough: boolean
  readonly byClusterIp: boolean
  readonly fromToWww: boolean
}

const MODELLED: ReadonlySet<string> = new Set([
  'rewrite-target',
  'use-regex',
  'ssl-redirect',
  'force-ssl-redirect',
  'preserve-trailing-slash',
  'server-alias',
  'whitelist-source-range',
  'allowlist-source-range',
  'denylist-source-range',
  'app-root',
  'permanent-redirect',
  'permanent-redirect-code',
  'temporal-redirect',
  'temporal-redirect-code',
  'default-backend',
  'ssl-passthrough',
  'service-upstream',
  'from-to-www-redirect',
  'canary',
  'canary-weight',
  'canary-weight-total',
  'canary-by-header',
  'canary-by-header-value',
  'canary-by-header-pattern',
  'canary-by-cookie',
  'auth-type',
  'auth-secret',
  'auth-secret-type',
  'auth-realm',
  'satisfy',
  'auth-url',
  'auth-signin',
  'auth-signin-redirect-param',
  'auth-tls-secret',
  'auth-tls-verify-client',
  'auth-tls-error-page',
  'proxy-body-size',
])
const HARMLESS =
  /^(proxy-|client-|cors-|ssl-(ciphers|prefer)|enable-(cors|access-log|rewrite-log|opentracing|opentelemetry)|connection-proxy-header$|backend-protocol$|upstream-vhost$|x-forwarded-prefix$|http2-push-preload$|custom-headers$|session-cookie-|auth-tls-(verify-depth|pass-certificate)|auth-(keepalive|method|request-redirect|response-headers|proxy-set-headers|cache-|always-set-cookie))/

/** Text that goes into nginx' configuration as it is. */
const SNIPPET = /^(server|configuration|stream|auth|modsecurity)-snippet$/
/** Told in words; which endpoint it is, is not. */
const BALANCING: ReadonlySet<string> = new Set(['affinity', 'upstream-hash-by'])
const UNTOLD =
  '; 1.12 and later let the Ingress in only where the ConfigMap, which is not in the manifests, has annotations-risk-level: Critical'

/** Warnings: W_NOT_MODELLED, W_INGRESS_ANNOTATION for a value that cannot be read (its default then holds). */
export function readAnnotations(ingress: ReadIngress, config: NginxConfig, warn: Warn): NginxAnnotations {
  const where = (name: string): string => `${ingress.text}, annotation ${NGINX_PREFIX}${name}`
  const get = (name: string): string => (ingress.annotations.get(NGINX_PREFIX + name) ?? '').trim()
  const bad = (name: string, problem: string): void =>
    warn(where(name), 'W_INGRESS_ANNOTATION', `${problem}; it is ignored`)
  const flag = (name: string, missing: boolean): boolean => {
    const value = get(name)
    // What Go's strconv.ParseBool takes.
    if (/^(1|t|true)$/i.test(value)) return true
    if (/^(0|f|false)$/i.test(value)) return false
    if (value !== '') bad(name, `${JSON.stringify(value)} is neither true nor false`)
    return missing
  }
  const ranges = (names: readonly string[]) =>
    names.flatMap((name) => {
      const parsed = parseRanges(get(name))
      if (parsed.bad.length > 0) bad(name, `${parsed.bad.join(', ')} is no CIDR`)
      return parsed.ranges
    })
  const redirect = (name: string, code: number): NginxAnnotations['redirect'] => {
    const to = get(name)
    if (to === '') return null
    const written = Number(get(`${name}-code`) || code)
    return {
      kind: 'redirect',
      status: Number.isInteger(written) && written >= 300 && written <= 308 ? written : code,
      to,
      keepsQuery: false,
      fills: true,
    }
  }

  const canary = flag('canary', false)
  for (const key of ingress.annotations.keys()) {
    if (!key.startsWith(NGINX_PREFIX)) continue
    const name = key.slice(NGINX_PREFIX.length)
    if (MODELLED.has(name) || HARMLESS.test(name)) continue
    const isSnippet = SNIPPET.test(name)
    if (isSnippet && config.snippets === 'ignored') continue
    if (BALANCING.has(name)) warn(where(name), 'W_NOT_MODELLED', 'is told by explain; in a replay endpoints take turns')
    else
      warn(where(name), 'W_NOT_MODELLED', `is not modelled${isSnippet && config.snippets === 'not told' ? UNTOLD : ''}`)
  }
  const aliases = get('server-alias')
    .split(',')
    .map((alias) => alias.trim().toLowerCase())
  const regexAlias = aliases.find((alias) => alias.startsWith('~'))
  if (regexAlias !== undefined)
    warn(where('server-alias'), 'W_NOT_MODELLED', `alias ${regexAlias} is a regular expression, which is not modelled`)
  const allow = ranges(['whitelist-source-range', 'allowlist-source-range'])
  const deny = ranges(['denylist-source-range'])
  const forced = flag('force-ssl-redirect', config.forceSslRedirect)
  const redirects = flag('ssl-redirect', config.sslRedirect)
  return {
    rewriteTarget: get('rewrite-target'),
    useRegex: flag('use-regex', false),
    httpsRedirect: forced ? 'always' : redirects ? 'if-certificate' : 'never',
    preserveTrailingSlash: flag('preserve-trailing-slash', config.preserveTrailingSlash),
    aliases: aliases.filter((alias) => alias !== '' && !alias.startsWith('~')),
    sourceRanges: lists(allow, deny, config.sourceRanges),
    canary: canary ? canarySettings(get, bad) : null,
    authentication: authenticationOf(get),
    clientCertificate: certificateOf(get),
    balancing:
      get('affinity') === 'cookie'
        ? `affinity: a client that sends cookie ${get('session-cookie-name') || 'INGRESSCOOKIE'} stays with`
        : get('upstream-hash-by') === '' || get('upstream-hash-by-subset') === 'true'
          ? null
          : `upstream-hash-by: all requests with one value of ${get('upstream-hash-by')} go to`,
    maxBodyBytes: bodySize(get('proxy-body-size'), config.maxBodyBytes, (problem) => bad('proxy-body-size', problem)),
    appRoot: get('app-root') || null,
    redirect: redirect('temporal-redirect', 302) ?? redirect('permanent-redirect', 301),
    defaultBackend: get('default-backend') || null,
    tlsPassthrough: flag('ssl-passthrough', false),
    byClusterIp: flag('service-upstream', config.byClusterIp),
    fromToWww: flag('from-to-www-redirect', false),
  }
}

/**
 * Whether the controller keeps an Ingress: one with a snippet (risk Critical) is left out as a whole, as if it were not there, unless
 * annotations-risk-level lets it in. Source: ingress-nginx internal/ingress/annotations (Extract, CheckAnnotationRisk), controller/
 * store (syncIngress), 1.12 and later.
 * Warnings: W_INGRESS_ANNOTATION.
 */
export function takesSnippets(ingress: ReadIngress, { snippets }: NginxConfig, warn: Warn): boolean {
  const names = [...ingress.annotations.keys()].flatMap((key) =>
    key.startsWith(NGINX_PREFIX) && SNIPPET.test(key.slice(NGINX_PREFIX.length))
      ? [key.slice(NGINX_PREFIX.length)]
      : [],
  )
  if (names.length === 0 || snippets === 'taken' || snippets === 'not told') return true
  const why =
    snippets === 'refused'
      ? 'is of risk Critical, and annotations-risk-level of the ConfigMap is not: ingress-nginx 1.12 and later leave the whole Ingress out (its webhook refuses it), and so does dpemu'
      : 'does nothing: allow-snippet-annotations of the ConfigMap is not true'
  warn(ingress.text, 'W_INGRESS_ANNOTATION', `${names.join(', ')} ${why}`)
  return snippets !== 'refused'
}

/** auth-url comes before a password where both are set: it is the one that can send a client on. */
function authenticationOf(get: (name: string) => string): Authentication | null {
  const orAddress = get('satisfy') === 'any'
  if (get('auth-url') !== '') {
    const signIn = get('auth-signin')
    const parameter = get('auth-signin-redirect-param') || 'rd'
    return { kind: 'service', orAddress, signIn: signIn === '' ? null : signInUrl(signIn, parameter) }
  }
  return /^(basic|digest)$/.test(get('auth-type')) ? { kind: 'password', orAddress } : null
}

/** `on` where nothing else is said. The Secret is taken to be there: Secrets are not read. */
function certificateOf(get: (name: string) => string): NginxAnnotations['clientCertificate'] {
  if (get('auth-tls-secret') === '' || /^(off|optional|optional_no_ca)$/.test(get('auth-tls-verify-client')))
    return null
  return { errorPage: get('auth-tls-error-page') || null }
}

/** A total of 100 or less is not looked at. Source: ingress-nginx annotations/canary, balancer.lua route_to_alternative_balancer. */
function canarySettings(get: (name: string) => string, bad: (name: string, problem: string) => void): CanarySettings {
  const whole = (name: string, missing: number): number => {
    const written = get(name)
    if (/^\d+$/.test(written)) return Number(written)
    if (written !== '') bad(name, `${JSON.stringify(written)} is no whole number`)
    return missing
  }
  const written = get('canary-by-header-pattern')
  const compiled = written === '' ? null : compileRegex(written)
  if (compiled?.ok === false) bad('canary-by-header-pattern', compiled.problem)
  return {
    share: Math.min(1, whole('canary-weight', 0) / Math.max(100, whole('canary-weight-total', 100))),
    header: get('canary-by-header').toLowerCase(),
    value: get('canary-by-header-value'),
    pattern: compiled?.ok === true ? compiled.regex : null,
    cookie: get('canary-by-cookie'),
  }
}

/** A list that the Ingress does not write is the ConfigMap's. */
function lists(
  allow: SourceRanges['allow'],
  deny: SourceRanges['deny'],
  whole: SourceRanges | null,
): SourceRanges | null {
  if (allow.length + deny.length === 0) return whole
  return {
    allow: allow.length > 0 ? allow : (whole?.allow ?? []),
    deny: deny.length > 0 ? deny : (whole?.deny ?? []),
  }
}
