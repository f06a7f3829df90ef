/**
 * HAProxy's own controller (`haproxy.org/ingress-controller`): hosts and paths as the maps that it looks requests up in.
 *
 * The host is looked up first, by name, by wildcard of one label, then as none; paths of another are not asked. Of its paths
 * Exact comes first, then those that a Prefix or ImplementationSpecific is itself, then the longest that begins the path: a Prefix
 * by elements, ImplementationSpecific by characters. Paths are compared as sent. What is not found goes to the default backend,
 * which is one for all: that of the Ingress read last, else 404. An Ingress with TLS sends plain HTTP to HTTPS (302).
 * Source: haproxytech/kubernetes-ingress pkg/route/route.go (AddHostPathRoute), pkg/controller/controller.go (host_match,
 * path_match), pkg/annotations/ingress/httpsRedirect.go, documentation/annotations.md.
 */
import { addRule, certificatesOf, fallbackRule, plainHost, plainRule, toBackend } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { type Listener, type PathMatch, PEER, type Rule } from './rules.ts'

const ANNOTATION = /^(?:haproxy\.(?:org|com)|ingress\.kubernetes\.io)\/(.+)$/
/** They decide where a request goes, or whether it is let through. */
const NOT_MODELLED =
  /^(allow-list|deny-list|whitelist|blacklist|auth-.*|path-rewrite|request-redirect.*|route-acl|ssl-passthrough|src-ip-header|standalone-backend|cookie-persistence|.*-config-snippet|rate-limit-.*)$/

interface Entry {
  readonly ingress: ReadIngress
  readonly path: ReadPath
  readonly httpsRedirect: Rule['httpsRedirect']
}

/** Warnings: W_INGRESS_CONFLICT, W_NOT_MODELLED. @param ingresses  oldest first */
export function haproxyListener(text: string, ingresses: readonly ReadIngress[], warn: Warn): Listener {
  const hosts = new Map<string, Entry[]>()
  for (const ingress of ingresses) {
    const settings = settingsOf(ingress, warn)
    const redirects = settings.get('ssl-redirect') ?? (ingress.tls.length > 0 ? 'true' : 'false')
    const httpsRedirect = /^(true|1|on|yes|enabled?)$/i.test(redirects) ? 'always' : 'never'
    for (const { host, paths } of ingress.rules) {
      const entries = paths.map((path): Entry => ({ ingress, path, httpsRedirect }))
      hosts.set(host, [...(hosts.get(host) ?? []), ...entries])
    }
  }
  const last = ingresses.filter(({ defaultBackend }) => defaultBackend !== null).at(-1)
  return {
    text,
    hosts: Array.from(hosts, ([name, entries]) => plainHost(name, rulesOf(entries, warn), null)),
    fallback: last === undefined ? null : fallbackRule(last),
    hostOwnsRequest: true,
    inOrder: false,
    wildcards: 'one label',
    client: PEER,
    redirectStatus: 302,
    pathReading: 'as sent',
    backendLookup: 'api',
    certificates: certificatesOf(ingresses),
    addresses: new Set(ingresses.flatMap(({ addresses }) => addresses)),
  }
}

/** A Prefix is two entries: itself, and what is below it. */
function matches({ path, pathType }: ReadPath): Extract<PathMatch, { path: string }>[] {
  if (pathType === 'Exact') return [{ kind: 'exact', path }]
  if (path === '/') return [{ kind: 'prefix', path: '/' }]
  const bare = path.replace(/\/$/, '')
  return [
    { kind: 'exact', path: bare },
    { kind: 'prefix', path: pathType === 'Prefix' ? `${bare}/` : bare },
  ]
}

/** Of one path asked for exactly, pathType Exact has it, whichever Ingress is older. */
function rulesOf(entries: readonly Entry[], warn: Warn): Rule[] {
  const rules = new Map<string, Rule>()
  const isExact = ({ path }: Entry): boolean => path.pathType === 'Exact'
  const exact = new Set(entries.filter(isExact).map(({ path }) => path.path))
  for (const entry of [...entries.filter(isExact), ...entries.filter((one) => !isExact(one))]) {
    const { ingress, path, httpsRedirect } = entry
    for (const match of matches(path)) {
      if (match.kind === 'exact' && !isExact(entry) && exact.has(match.path)) continue
      const name = `${path.pathType} ${path.path} of ${ingress.text}`
      const rule = plainRule(ingress.name, name, match, match.path, toBackend(path.backend))
      addRule(rules, { ...rule, httpsRedirect }, `${ingress.text}, ${path.field}`, warn)
    }
  }
  return [...rules.values()]
}

function settingsOf({ annotations, text }: ReadIngress, warn: Warn): Map<string, string> {
  const settings = new Map<string, string>()
  for (const [key, value] of annotations) {
    const name = ANNOTATION.exec(key)?.[1]
    if (name === undefined) continue
    settings.set(name, value.trim())
    if (NOT_MODELLED.test(name)) warn(`${text}, annotation ${key}`, 'W_NOT_MODELLED', 'is not modelled')
  }
  return settings
}
