/**
 * Google's controller: an Ingress as the URL map of its own load balancer.
 *
 * The most specific host owns the request; of its paths the longest that fits has it, else the Ingress's default backend (without
 * one the cluster's, which answers 404). A path is itself alone unless it ends in `/*`, which is everything below the slash:
 * Of several rules with one host the last has it, of equal paths the last too.
 * ImplementationSpecific is read so as it stands (`/` is the root and nothing else), a Prefix is `/foo` and `/foo/*`.
 * Source: ingress-gce pkg/controller/translator (pathsForPathType), pkg/utils; Cloud Load Balancing, URL maps: host and path
 * patterns.
 */
import { certificatesOf, everyPath, fallbackRule, plainHost, plainRule, toBackend } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { type Action, type Host, type Listener, type PathMatch, PEER, type Rule } from './rules.ts'

const NOT_MODELLED = /^(networking\.gke\.io\/.*frontendconfig|networking\.gke\.io\/v1beta1\.FrontendConfig)$/i
const ALLOW_HTTP = 'kubernetes.io/ingress.allow-http'

/** Warnings: W_NOT_MODELLED, W_INGRESS_PATH, W_INGRESS_CONFLICT. @param ingresses  the one of this load balancer */
export function gceListener(text: string, ingresses: readonly ReadIngress[], warn: Warn): Listener {
  const [ingress] = ingresses
  const hosts = new Map<string, Map<string, Rule>>()
  for (const { host, paths } of ingress?.rules ?? []) {
    const replaced = [...(hosts.get(host)?.values() ?? [])]
    if (replaced.length > 0) {
      const names = [...new Set(replaced.map(({ text }) => text))].join(', ')
      const message = `a further rule for host ${host || '(any)'} replaces the paths of the one before: ${names} is never reached; write all paths of a host in one rule`
      warn(ingress!.text, 'W_INGRESS_CONFLICT', message)
    }
    const rules = new Map<string, Rule>()
    hosts.set(host, rules)
    for (const path of paths) {
      const name = `${path.pathType} ${path.path} of ${ingress!.text}`
      const where = `${ingress!.text}, ${path.field}`
      for (const { match, length } of matches(path, where, warn))
        putRule(rules, plainRule(ingress!.name, name, match, length, toBackend(path.backend)), where, warn)
    }
  }
  if (ingress !== undefined) warnOfAnnotations(ingress, warn)
  return {
    text,
    ...served(
      Array.from(hosts, ([name, rules]) => plainHost(name, [...rules.values()], null)),
      ingress === undefined ? null : fallbackRule(ingress),
      ingress?.annotations.get(ALLOW_HTTP) === 'false',
    ),
    hostOwnsRequest: true,
    inOrder: false,
    wildcards: 'any depth',
    client: PEER,
    redirectStatus: 308,
    pathReading: 'rfc3986',
    backendLookup: 'api',
    certificates: certificatesOf(ingresses),
    addresses: new Set(ingresses.flatMap(({ addresses }) => addresses)),
  }
}

/** Without plain HTTP there is no forwarding rule for port 80: what answers there (404) knows none of the rules. */
function served(hosts: Host[], fallback: Rule | null, httpsOnly: boolean): Pick<Listener, 'hosts' | 'fallback'> {
  if (!httpsOnly) return { hosts, fallback }
  const all = hosts.some(({ name }) => name === '') ? hosts : [...hosts, plainHost('', [], null)]
  const nothing: Action = { kind: 'respond', status: 404, why: `${ALLOW_HTTP} is false: nothing is served on port 80` }
  return {
    hosts: all.map((host) => ({ ...host, scheme: 'https', fallback })),
    fallback: everyPath(null, "Google's front end", nothing),
  }
}

/** The last of equal paths stays. */
function putRule(rules: Map<string, Rule>, rule: Rule, where: string, warn: Warn): void {
  const key = `${rule.match.kind} ${rule.path}`
  const earlier = rules.get(key)
  rules.set(key, rule)
  if (earlier !== undefined) {
    const message = `${earlier.text} is never reached: the controller takes the last of equal paths, ${rule.text}`
    warn(where, 'W_INGRESS_CONFLICT', message)
  }
}

/** `length` is the text whose length counts for the order of paths. */
function matches(
  { path, pathType, isWritten }: ReadPath,
  where: string,
  warn: Warn,
): { match: PathMatch; length: string }[] {
  const exactly = (text: string): { match: PathMatch; length: string } => ({
    match: { kind: 'exact', path: text },
    length: text,
  })
  const below = (text: string): { match: PathMatch; length: string } => ({
    match: { kind: 'prefix', path: text },
    length: `${text}*`,
  })
  // Left out it is `/*`.
  if (!isWritten) return [below('/')]
  const star = path.indexOf('*')
  if (pathType === 'Prefix') {
    const bare = path.replace(/\/$/, '')
    if (star < 0) return bare === '' ? [below('/')] : [exactly(bare), below(`${bare}/`)]
  } else if (star < 0) return [exactly(path)]
  else if (pathType === 'ImplementationSpecific' && path.endsWith('/*') && star === path.length - 1)
    return [below(path.slice(0, -1))]
  const rule = 'a * is allowed at the end alone, behind a slash, with pathType ImplementationSpecific'
  warn(where, 'W_INGRESS_PATH', `${pathType} ${path} is refused by Google's controller: ${rule}; the path is left out`)
  return []
}

function warnOfAnnotations(ingress: ReadIngress, warn: Warn): void {
  for (const key of ingress.annotations.keys()) {
    if (NOT_MODELLED.test(key)) warn(`${ingress.text}, annotation ${key}`, 'W_NOT_MODELLED', 'is not modelled')
  }
}
