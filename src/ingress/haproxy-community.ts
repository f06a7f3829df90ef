/**
 * The community's HAProxy Ingress (`haproxy-ingress.github.io/controller`): paths of four types, the longest first.
 *
 * ImplementationSpecific is what `path-type` says, `begin` by default: by characters and without regard to case. Exact and
 * Prefix mind case, Prefix goes by elements; `regex` has to match the beginning. Of equal paths the order is exact, prefix,
 * begin, regex; two of one type: the older Ingress has it. A path that its host has not is looked for among wildcard hosts
 * and rules without a host (strict-host off). A host with TLS sends plain HTTP to HTTPS (302), challenges of ACME apart. The
 * first default backend is for all, else 404.
 * Source: jcmoraisjr/haproxy-ingress docs/content/en/docs/configuration/keys.md (path-type, strict-host, ssl-redirect),
 * pkg/haproxy/types/maps.go, pkg/converters/ingress/ingress.go.
 */
import { addRule, certificatesOf, fallbackRule, plainHost, plainRule, toBackend } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { compileRegex } from './regex.ts'
import { type Listener, type PathMatch, PEER, type Rule } from './rules.ts'

const ANNOTATION = /^(?:haproxy-ingress\.github\.io|ingress\.kubernetes\.io)\/(.+)$/
const ACME = '/.well-known/acme-challenge'
/** They decide where a request goes, or whether it is let through. */
const NOT_MODELLED =
  /^(affinity|allowlist-.*|app-root|auth-.*|balance-algorithm|blue-green-.*|config-(backend|frontend).*|denylist-.*|http-header-match.*|limit-.*|oauth.*|redirect-(from|to).*|rewrite-target|server-alias.*|ssl-passthrough.*|waf.*|whitelist-.*)$/
const ORDER = ['exact', 'prefix', 'begin', 'regex'] as const
type PathKind = (typeof ORDER)[number]

interface Entry {
  readonly ingress: ReadIngress
  readonly path: ReadPath
  readonly kind: PathKind
  readonly redirects: boolean
}

/** Warnings: W_INGRESS_CONFLICT, W_INGRESS_REGEX, W_NOT_MODELLED. @param ingresses  oldest first */
export function haproxyCommunityListener(text: string, ingresses: readonly ReadIngress[], warn: Warn): Listener {
  const hosts = new Map<string, Entry[]>()
  for (const ingress of ingresses) {
    const settings = settingsOf(ingress, warn)
    const redirects = !/^(false|0|no|off)$/i.test(settings.get('ssl-redirect') ?? '')
    for (const { host, paths } of ingress.rules) {
      const entries = paths.map((path): Entry => ({ ingress, path, kind: kindOf(path, settings), redirects }))
      hosts.set(host, [...(hosts.get(host) ?? []), ...entries])
    }
  }
  const first = ingresses.find(({ defaultBackend }) => defaultBackend !== null)
  return {
    text,
    hosts: Array.from(hosts, ([name, entries]) => plainHost(name, rulesOf(entries, warn), null)),
    fallback: first === undefined ? null : fallbackRule(first),
    hostOwnsRequest: false,
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

function kindOf({ pathType }: ReadPath, settings: ReadonlyMap<string, string>): PathKind {
  if (pathType === 'Exact') return 'exact'
  if (pathType === 'Prefix') return 'prefix'
  const written = settings.get('path-type')?.toLowerCase()
  return ORDER.find((kind) => kind === written) ?? 'begin'
}

/** The table keeps the order of equal lengths. */
function rulesOf(entries: readonly Entry[], warn: Warn): Rule[] {
  const sorted = ORDER.map((kind) => entries.filter((entry) => entry.kind === kind))
  return sorted.flatMap((ofKind) => {
    const rules = new Map<string, Rule>()
    for (const { ingress, path, kind, redirects } of ofKind) {
      const where = `${ingress.text}, ${path.field}`
      const match = matchOf(path.path, kind, where, warn)
      if (match === null) continue
      const name = `${path.pathType} ${path.path} of ${ingress.text}`
      const rule = plainRule(ingress.name, name, match, path.path, toBackend(path.backend))
      const isPlain = !redirects || path.path.startsWith(ACME)
      addRule(rules, { ...rule, httpsRedirect: isPlain ? 'never' : 'if-certificate' }, where, warn)
    }
    return [...rules.values()]
  })
}

function matchOf(path: string, kind: PathKind, where: string, warn: Warn): PathMatch | null {
  if (kind === 'exact') return { kind: 'exact', path }
  if (kind === 'prefix') return { kind: 'elements', path: path.replace(/\/$/, '') }
  const compiled = compileRegex(kind === 'begin' ? path.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&') : path)
  if (compiled.ok) return { kind: 'regex', regex: compiled.regex }
  warn(
    where,
    'W_INGRESS_REGEX',
    `${path} cannot be used as a regular expression: ${compiled.problem}; the path is left out`,
  )
  return null
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
