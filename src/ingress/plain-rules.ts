/**
 * Rules as every front writes them that has no annotations of its own to add: a match, a backend, nothing else.
 */
import type { ReadBackend, ReadIngress, Warn } from './read-ingress.ts'
import type { Action, BackendRef, Host, PathMatch, Rule } from './rules.ts'

/** @param path  as it counts for the order of paths: the longest is asked first */
export function plainRule(owner: string | null, text: string, match: PathMatch, path: string, action: Action): Rule {
  return {
    match,
    path,
    owner,
    text,
    action,
    rewrite: null,
    httpsRedirect: 'never',
    keepsTrailingSlash: true,
    sourceRanges: null,
  }
}

export function everyPath(owner: string | null, text: string, action: Action): Rule {
  return plainRule(owner, text, { kind: 'elements', path: '' }, '/', action)
}

export function plainHost(name: string, rules: readonly Rule[], fallback: Rule | null): Host {
  return { name, aliases: [], rules, fallback, tlsPassthrough: false, appRoot: null, redirectToHost: null, note: null }
}

export function toBackend(backend: ReadBackend): Action {
  if (backend.ref === null) return { kind: 'respond', status: 503, why: `${backend.text} is not a Service` }
  return { kind: 'backend', backend: backend.ref, instead: null }
}

export function fallbackRule(ingress: ReadIngress): Rule | null {
  if (ingress.defaultBackend === null) return null
  return everyPath(ingress.name, `default backend of ${ingress.text}`, toBackend(ingress.defaultBackend))
}

export function controllersOwn(backend: BackendRef | null): Rule | null {
  return backend === null
    ? null
    : everyPath(null, "the controller's default backend", { kind: 'backend', backend, instead: null })
}

/** Two rules that match the same requests: the older object's stays, and the user hears of it. */
export function addRule(rules: Map<string, Rule>, rule: Rule, where: string, warn: Warn): void {
  const { match } = rule
  const key = match.kind === 'regex' ? rule.path : `${match.kind} ${match.path}${rule.path.endsWith('/') ? '/' : ''}`
  const earlier = rules.get(key)
  if (earlier === undefined) rules.set(key, rule)
  else warn(where, 'W_INGRESS_CONFLICT', `${rule.text} is never reached: ${earlier.text} comes first on this host`)
}

/** By host (`''` for every one), of several Ingresses: the first that names a host has it. */
export function certificatesOf(ingresses: readonly ReadIngress[]): Map<string, string> {
  const certificates = new Map<string, string>()
  for (const { tls } of ingresses) {
    for (const { hosts, secret } of tls) {
      for (const name of hosts.length === 0 ? [''] : hosts) if (!certificates.has(name)) certificates.set(name, secret)
    }
  }
  return certificates
}
