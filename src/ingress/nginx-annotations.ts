/**
 * The `nginx.ingress.kubernetes.io/*` annotations that decide where a request goes, read as ingress-nginx reads them.
 *
 * Three kinds: those below are modelled; those in HARMLESS change headers, buffers, logs or timeouts and never the route;
 * every other one is a W_NOT_MODELLED warning.
 * Source: ingress-nginx docs/user-guide/nginx-configuration/annotations.md.
 */
import { NGINX_PREFIX } from './classes.ts'
import type { NginxConfig } from './nginx-config.ts'
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
])
const HARMLESS =
  /^(proxy-|client-|cors-|ssl-(ciphers|prefer)|enable-(cors|access-log|rewrite-log|opentracing|opentelemetry)|connection-proxy-header$|backend-protocol$|upstream-vhost$|x-forwarded-prefix$|http2-push-preload$|custom-headers$|session-cookie-)/

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
    if (!MODELLED.has(name) && !HARMLESS.test(name)) warn(where(name), 'W_NOT_MODELLED', 'is not modelled')
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
    authentication: /^(basic|digest)$/.test(get('auth-type')) ? { orAddress: get('satisfy') === 'any' } : null,
    appRoot: get('app-root') || null,
    redirect: redirect('temporal-redirect', 302) ?? redirect('permanent-redirect', 301),
    defaultBackend: get('default-backend') || null,
    tlsPassthrough: flag('ssl-passthrough', false),
    byClusterIp: flag('service-upstream', config.byClusterIp),
    fromToWww: flag('from-to-www-redirect', false),
  }
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
