/**
 * Traefik's Middleware objects: what `router.middlewares` of an Ingress names, and what it makes of the Ingress's routers.
 *
 * A name is `NAMESPACE-NAME@kubernetescrd`. A router that names one which does not exist is not made, so its requests are 404. Read are
 * stripPrefix, addPrefix, replacePath, redirectScheme, ipAllowList, chain, and that a password (basicAuth, digestAuth) or
 * another service (forwardAuth) is asked; the first that changes the path counts.
 * Source: traefik pkg/provider/kubernetes/crd/kubernetes.go (makeID), pkg/server/router, pkg/middlewares/{stripprefix,
 * addprefix,replacepath,redirect}.
 */
import type { Middleware } from '../k8s/types.ts'
import type { ReadIngress, Warn } from './read-ingress.ts'
import { compileRegex } from './regex.ts'
import type { Action, Rule } from './rules.ts'
import { parseRanges } from './source-ranges.ts'

/** What all routers of an Ingress get; `https` is a redirect of plain requests. */
export interface Middlewares {
  readonly rule: Partial<Pick<Rule, 'rewrite' | 'sourceRanges' | 'authentication'>>
  readonly https: Action | null
}

const MAX_CHAIN = 10
type Spec = NonNullable<Middleware['spec']>

/**
 * @returns  null where the Ingress's routers are not made
 * Warnings: W_INGRESS_ANNOTATION, W_NOT_MODELLED.
 */
export function middlewaresOf(
  { annotations, text }: ReadIngress,
  key: string,
  all: readonly Middleware[],
  warn: Warn,
): Middlewares | null {
  const where = `${text}, annotation ${key}`
  const known = new Map(
    all.map(({ metadata, spec }) => [`${metadata.namespace ?? 'default'}-${metadata.name}`, spec ?? {}]),
  )
  const names = (annotations.get(key) ?? '').split(',').flatMap((name) => name.trim() || [])
  const specs: Spec[] = []
  for (const written of names) {
    const [name = '', provider = ''] = written.split('@')
    const spec = known.get(name)
    if (provider === 'kubernetescrd' && spec !== undefined) specs.push(...unchained(spec, known, 0))
    else if (provider === 'kubernetescrd' && (known.size > 0 || !name.includes('-'))) {
      const message = `there is no Middleware ${written} (NAMESPACE-NAME@kubernetescrd is its name): Traefik makes no router of this Ingress, and other rules or 404 have its requests`
      warn(where, 'W_INGRESS_ANNOTATION', message)
      return null
    } else {
      warn(where, 'W_NOT_MODELLED', `${written} is not in the manifests: requests are taken as if it were not there`)
    }
  }
  return merged(specs, where, warn)
}

function unchained(spec: Spec, known: ReadonlyMap<string, Spec>, depth: number): Spec[] {
  if (spec.chain === undefined || depth > MAX_CHAIN) return [spec]
  return (spec.chain.middlewares ?? []).flatMap(({ name = '', namespace = 'default' }) => {
    const next = known.get(`${namespace}-${name}`)
    return next === undefined ? [] : unchained(next, known, depth + 1)
  })
}

function merged(specs: readonly Spec[], where: string, warn: Warn): Middlewares {
  let rule: Middlewares['rule'] = {}
  let https: Action | null = null
  for (const spec of specs) {
    const list = spec.ipAllowList ?? spec.ipWhiteList
    if (list !== undefined)
      rule = { ...rule, sourceRanges: { allow: parseRanges((list.sourceRange ?? []).join(',')).ranges, deny: [] } }
    if (spec.basicAuth !== undefined || spec.digestAuth !== undefined)
      rule = { ...rule, authentication: { kind: 'password', orAddress: false } }
    if (spec.forwardAuth !== undefined)
      rule = { ...rule, authentication: { kind: 'service', orAddress: false, signIn: null } }
    if (spec.redirectScheme?.scheme === 'https') https = toHttps(spec.redirectScheme)
    const rewrite = rewriteOf(spec)
    if (rewrite !== null && rule.rewrite !== undefined)
      warn(where, 'W_NOT_MODELLED', 'the second of two Middlewares that change the path is not modelled')
    else if (rewrite !== null) rule = { ...rule, rewrite }
    for (const kind of ['stripPrefixRegex', 'replacePathRegex', 'redirectRegex', 'errors', 'plugin'] as const)
      if (spec[kind] !== undefined) warn(where, 'W_NOT_MODELLED', `a Middleware with ${kind} is not modelled`)
  }
  return { rule, https }
}

/** 301 and 302 for GET; other methods are told 308 and 307, which this does not tell apart. */
function toHttps({ permanent = false, port = '' }: NonNullable<Spec['redirectScheme']>): Action {
  const at = port === '' || port === '443' ? '' : `:${port}`
  return {
    kind: 'redirect',
    status: permanent ? 301 : 302,
    to: `https://$host${at}$request_uri`,
    keepsQuery: false,
    fills: true,
  }
}

function rewriteOf({ stripPrefix, addPrefix, replacePath }: Spec): Rule['rewrite'] {
  if (stripPrefix?.prefixes?.length)
    return pathRule(`^(?:${stripPrefix.prefixes.map(literally).join('|')})/?(.*)$`, '/$1')
  if (addPrefix?.prefix) return pathRule('^(.*)$', `${addPrefix.prefix.replaceAll('$', '')}$1`)
  return replacePath?.path ? pathRule('^.*$', replacePath.path.replaceAll('$', '')) : null
}

function pathRule(source: string, target: string): Rule['rewrite'] {
  const compiled = compileRegex(source)
  return compiled.ok ? { regex: compiled.regex, target } : null
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}
