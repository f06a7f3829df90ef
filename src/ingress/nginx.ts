/**
 * ingress-nginx: its Ingresses as the server and location blocks that the controller would write.
 *
 * Where it leaves the letter of the API: the server block of the most specific host owns the request, so a path that none of
 * its locations matches gets that host's default backend or 404, never a rule of another host; ImplementationSpecific is
 * Prefix; `rewrite-target` or `use-regex` on one Ingress makes every location of the host a case-insensitive regular
 * expression without an end, Exact ones too; a location whose path ends in a slash redirects the path without it (301);
 * plain HTTP is sent to HTTPS (308) where the host has a certificate. A resource backend is skipped.
 * Source: ingress-nginx internal/ingress/controller/{controller,location}.go, template/template.go, docs/user-guide/
 * ingress-path-matching.md; nginx's ngx_http_core_find_static_location and proxy_pass (auto_redirect).
 */
import { type NginxAnnotations, readAnnotations, takesSnippets } from './nginx-annotations.ts'
import type { NginxConfig } from './nginx-config.ts'
import type { PathType, ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { compileRegex, type LinearRegex } from './regex.ts'
import { wildcardOf } from './request.ts'
import type { Action, BackendRef, Canary, Host, Listener, PathMatch, Rewrite, Rule } from './rules.ts'

/** One location block in the making. */
interface Location {
  readonly path: string
  readonly pathType: 'Exact' | 'Prefix'
  /** As written: a canary's has to be the same. */
  readonly writtenType: PathType
  readonly owner: ReadIngress | null
  readonly annotations: NginxAnnotations | null
  readonly action: Action
  /** `Prefix /foo of Ingress default/web`, or the default backend's name. */
  readonly text: string
  /** The root location every server starts with, which a rule for `/` replaces. */
  readonly isDefault: boolean
  readonly where: string
}

interface Server {
  readonly name: string
  readonly locations: Location[]
  aliases: readonly string[]
  readonly tlsPassthrough: boolean
  /** Of the first Ingress of the host that asks for one. */
  clientCertificate: Host['clientCertificate']
}

/** The catch-all server's name in ingress-nginx is `_`; here it is the host of every host. */
const ANY_HOST = ''

/**
 * @param ingresses   oldest first
 * @param ownDefault  the controller's --default-backend-service; null answers 404
 * @param firstPort   the first port of a Service, for the `default-backend` annotation
 * @param config      the controller's ConfigMap
 */
export function nginxListener(
  text: string,
  ingresses: readonly ReadIngress[],
  ownDefault: BackendRef | null,
  warn: Warn,
  firstPort: (service: string) => number | null,
  config: NginxConfig,
): Listener {
  const read = ingresses
    .filter((ingress) => takesSnippets(ingress, config, warn))
    .map((ingress) => ({ ingress, annotations: readAnnotations(ingress, config, warn) }))
  const main = read.filter(({ annotations }) => annotations.canary === null)
  const servers = new Map<string, Server>([[ANY_HOST, newServer(ANY_HOST, controllersDefault(ownDefault), false)]])
  const certificates = new Map<string, string>()
  for (const { ingress, annotations } of main) {
    if (ingress.defaultBackend?.ref && ingress.rules.length === 0)
      setCatchAll(servers.get(ANY_HOST)!, ingress, annotations)
    for (const { host } of ingress.rules) {
      if (!servers.has(host))
        servers.set(host, newServer(host, serversDefault(ingress, annotations, ownDefault), annotations.tlsPassthrough))
      const server = servers.get(host)!
      if (server.aliases.length === 0) server.aliases = annotations.aliases
      if (annotations.clientCertificate !== null)
        server.clientCertificate ??= { ...annotations.clientCertificate, text: ingress.text }
      // An alias has HTTPS only where its name is in the certificate, for which spec.tls.hosts has to stand.
      const covered = annotations.aliases.filter((alias) => ingress.tls.some(({ hosts }) => hosts.includes(alias)))
      for (const name of ingress.tls.length > 0 && host !== ANY_HOST ? [host, ...covered] : []) {
        if (!certificates.has(name)) certificates.set(name, certificateFor(ingress, name))
      }
    }
  }
  for (const { ingress, annotations } of main) {
    for (const rule of ingress.rules) {
      const instead = standIn(ingress, annotations, firstPort)
      for (const path of rule.paths)
        addLocation(servers.get(rule.host)!, { ingress, annotations, path, instead }, config.strictPaths, warn)
    }
  }
  putCanaries(servers, read, warn)
  const hosts = [...servers.values()].map((server) => toHost(server, servers, config, warn))
  return {
    text,
    hosts: [...hosts, ...wwwRedirects(servers)],
    fallback: null,
    hostOwnsRequest: true,
    inOrder: false,
    wildcards: 'one label',
    client: config.client,
    believesForwarded: config.believesForwarded,
    redirectStatus: config.redirectStatus,
    pathReading: 'nginx',
    backendLookup: 'ingress-nginx',
    certificates,
    addresses: new Set(ingresses.flatMap((ingress) => ingress.addresses)),
  }
}

/** The Service of the `default-backend` annotation, on its first port; null where it is not set. */
function standIn(
  ingress: ReadIngress,
  annotations: NginxAnnotations,
  firstPort: (service: string) => number | null,
): BackendRef | null {
  const name = annotations.defaultBackend
  if (name === null) return null
  return { namespace: ingress.namespace, name, port: firstPort(`${ingress.namespace}/${name}`), byClusterIp: false }
}

function newServer(name: string, root: Location, tlsPassthrough: boolean): Server {
  return { name, locations: [root], aliases: [], tlsPassthrough, clientCertificate: null }
}

function controllersDefault(ownDefault: BackendRef | null): Location {
  const action: Action =
    ownDefault === null
      ? { kind: 'respond', status: 404, why: 'no rule matches; the built-in default backend answers 404' }
      : { kind: 'backend', backend: ownDefault, instead: null }
  return {
    path: '/',
    pathType: 'Prefix',
    writtenType: 'Prefix',
    owner: null,
    annotations: null,
    action,
    text: "the controller's default backend",
    isDefault: true,
    where: '',
  }
}

/** The root location that a host starts with: the default backend of the Ingress that names the host first, or the controller's. */
function serversDefault(ingress: ReadIngress, annotations: NginxAnnotations, ownDefault: BackendRef | null): Location {
  const own = controllersDefault(ownDefault)
  const ref = ingress.defaultBackend?.ref
  // The controller's default location carries the annotations of that Ingress too: its redirects hold for every path.
  if (!ref) return { ...own, annotations, action: annotations.redirect ?? own.action }
  return {
    ...own,
    owner: ingress,
    annotations,
    action: toBackend(ref, annotations, null),
    text: `default backend of ${ingress.text}`,
  }
}

/** Of the Ingresses with a default backend and without rules the oldest has the catch-all server. */
function setCatchAll(server: Server, ingress: ReadIngress, annotations: NginxAnnotations): void {
  const before = server.locations[0]!
  if (!before.isDefault) return
  server.locations[0] = {
    ...before,
    owner: ingress,
    // Redirects and rewrites of such an Ingress are kept away from the catch-all server.
    annotations: { ...annotations, rewriteTarget: '', useRegex: false, redirect: null, appRoot: null },
    action: toBackend(ingress.defaultBackend!.ref!, { ...annotations, redirect: null }, null),
    text: `default backend of ${ingress.text}`,
    isDefault: false,
  }
}

function toBackend(ref: BackendRef, annotations: NginxAnnotations, instead: BackendRef | null): Action {
  if (annotations.redirect !== null) return annotations.redirect
  return { kind: 'backend', backend: { ...ref, byClusterIp: annotations.byClusterIp }, instead }
}

/** A path of an Ingress, and what is said where it stands. */
interface Written {
  readonly ingress: ReadIngress
  readonly annotations: NginxAnnotations
  readonly path: ReadPath
  /** Backend of requests whose own backend has no endpoint. */
  readonly instead: BackendRef | null
}

function addLocation(server: Server, written: Written, strict: boolean, warn: Warn): void {
  const { ingress, annotations, path, instead } = written
  // A resource backend has its warning already; nginx goes on as if the path were not there.
  if (path.backend.ref === null) return
  const pathType = path.pathType === 'Exact' ? 'Exact' : 'Prefix'
  const where = `${ingress.text}, ${path.field}`
  if (strict && path.pathType !== 'ImplementationSpecific' && !/^\/[A-Za-z0-9._\-/]*$/.test(path.path)) {
    warn(
      where,
      'W_INGRESS_PATH',
      `${path.path} with pathType ${path.pathType} is refused by ingress-nginx 1.12 and later (strict-validate-path-type); use ImplementationSpecific`,
    )
  }
  const location: Location = {
    path: path.path,
    pathType,
    writtenType: path.pathType,
    owner: ingress,
    annotations,
    action: toBackend(path.backend.ref, annotations, instead),
    text: `${path.pathType} ${path.path} of ${ingress.text}`,
    isDefault: false,
    where,
  }
  const at = server.locations.findIndex((other) => other.path === location.path && other.pathType === pathType)
  const earlier = server.locations[at]
  if (earlier === undefined) server.locations.push(location)
  else if (earlier.isDefault) server.locations[at] = location
  else warn(where, 'W_INGRESS_CONFLICT', `${location.text} is never reached: ${earlier.text} comes first on this host`)
}

function toHost(server: Server, servers: ReadonlyMap<string, Server>, config: NginxConfig, warn: Warn): Host {
  // The table asks the longest path, as written, first; among equals nginx's expressions come in this order: last in the
  // alphabet first.
  const sorted = [...server.locations].sort((a, b) => (a.path < b.path ? 1 : a.path > b.path ? -1 : 0))
  const cause = sorted.find((location) => needsRewrite(location) || location.annotations?.useRegex === true)
  const exact = new Set(sorted.filter(({ pathType }) => pathType === 'Exact').map(({ path }) => path))
  const made =
    cause === undefined ? plainRules(sorted) : sorted.flatMap((location) => regexRules(location, exact, warn))
  // Certificates are fetched over plain HTTP.
  const isPlain = ({ path }: Rule): boolean => config.noTlsRedirect.some((prefix) => path.startsWith(prefix))
  const rules = made.map((rule): Rule => (isPlain(rule) ? { ...rule, httpsRedirect: 'never' } : rule))
  return {
    name: server.name,
    aliases: server.aliases.filter((alias) => alias !== server.name && !servers.has(alias)),
    rules,
    fallback: null,
    tlsPassthrough: server.tlsPassthrough,
    clientCertificate: server.clientCertificate ?? null,
    appRoot: sorted.find((location) => location.annotations?.appRoot)?.annotations?.appRoot ?? null,
    redirectToHost: null,
    note: cause === undefined ? null : regexNote(cause),
  }
}

/** Which annotation of which Ingress has changed what the paths of all the host's Ingresses mean. */
function regexNote(cause: Location): string {
  const annotation = needsRewrite(cause) ? 'rewrite-target' : 'use-regex'
  return `${annotation} of ${cause.owner?.text ?? cause.text} makes every path of this host, of whichever Ingress, a case-insensitive regular expression that has to match the beginning only`
}

function needsRewrite(location: Location): boolean {
  const target = location.annotations?.rewriteTarget ?? ''
  return target !== '' && target !== location.path
}

/** `location = /foo` and `location /foo/` for Prefix /foo; a path with a slash at its end sends the one without it there. */
function plainRules(locations: readonly Location[]): Rule[] {
  const rules: Rule[] = []
  const exact = new Set(locations.filter(({ pathType }) => pathType === 'Exact').map(({ path }) => path))
  for (const location of locations) {
    const { path, pathType } = location
    if (pathType === 'Exact') rules.push(toRule(location, path, { kind: 'exact', path }, null))
    else {
      if (!exact.has(path) && path !== '/') rules.push(toRule(location, path, { kind: 'exact', path }, null))
      const folder = path.endsWith('/') ? path : `${path}/`
      rules.push(toRule(location, folder, { kind: 'prefix', path: folder }, null))
    }
  }
  const taken = new Set(rules.flatMap(({ match }) => (match.kind === 'exact' ? [match.path] : [])))
  for (const location of locations) {
    const bare = location.path.replace(/\/$/, '')
    if (bare === '' || bare === location.path || taken.has(bare)) continue
    taken.add(bare)
    const action: Action = { kind: 'redirect', status: 301, to: location.path, keepsQuery: true }
    rules.push({ ...toRule(location, bare, { kind: 'exact', path: bare }, null), action, httpsRedirect: 'never' })
  }
  return rules
}

/**
 * `location ~* "^/foo"`; a Prefix location without regular expressions of its own is still split in two, where it stands in
 * the order of paths as written.
 * @param exact  paths of the host's Exact locations: a Prefix of the same path is not split
 */
function regexRules(location: Location, exact: ReadonlySet<string>, warn: Warn): Rule[] {
  const { path, pathType, annotations } = location
  const own = needsRewrite(location) || annotations?.useRegex === true
  const isSplit = !own && pathType === 'Prefix' && !path.endsWith('/')
  const paths = !isSplit ? [path] : exact.has(path) ? [`${path}/`] : [`${path}/`, path]
  const compiled = compileRegex(path)
  if (!compiled.ok) {
    warn(
      `${location.where}.path`,
      'W_INGRESS_REGEX',
      `${path} cannot be used as a regular expression: ${compiled.problem}; the path is left out`,
    )
    return []
  }
  const rewrite = needsRewrite(location) ? rewriteOf(location, compiled.regex, warn) : null
  return paths.flatMap((text) => {
    const located = text === path ? compiled : compileRegex(text)
    return located.ok ? [toRule(location, path, { kind: 'regex', regex: located.regex }, rewrite)] : []
  })
}

function rewriteOf(location: Location, regex: LinearRegex, warn: Warn): Rewrite {
  const target = location.annotations?.rewriteTarget ?? ''
  const variable = /\$(?!\d)\w+/.exec(target)
  if (variable !== null)
    warn(
      location.where,
      'W_NOT_MODELLED',
      `rewrite-target ${target} uses nginx's ${variable[0]}, which is not modelled and is kept as it stands`,
    )
  return { regex, target }
}

function toRule(location: Location, path: string, match: PathMatch, rewrite: Rewrite | null): Rule {
  const { owner, annotations, action, text } = location
  return {
    match,
    path,
    owner: owner?.name ?? null,
    text,
    action,
    rewrite,
    httpsRedirect: annotations?.httpsRedirect ?? 'never',
    keepsTrailingSlash: annotations?.preserveTrailingSlash ?? false,
    sourceRanges: annotations?.sourceRanges ?? null,
    authentication: annotations?.authentication ?? null,
    maxBodyBytes: annotations?.maxBodyBytes ?? 0,
    balancing: annotations?.balancing ?? null,
  }
}

/**
 * Canaries stand behind backends, not behind paths: one that finds its host and path among the main ones is asked wherever their
 * Service's port is a backend, of any host. The first of a backend counts. Source: ingress-nginx controller.go
 * mergeAlternativeBackends, balancer.lua route_to_alternative_balancer (alternative_backends[1]).
 */
function putCanaries(
  servers: ReadonlyMap<string, Server>,
  read: readonly { readonly ingress: ReadIngress; readonly annotations: NginxAnnotations }[],
  warn: Warn,
): void {
  const canaries = new Map<string, Canary>()
  for (const { ingress, annotations } of read) {
    const settings = annotations.canary
    if (settings === null) continue
    for (const { host, paths } of ingress.rules) {
      for (const { path, pathType, backend, field } of paths) {
        const { ref } = backend
        if (ref === null) continue
        const where = `${ingress.text}, ${field}`
        const location = servers
          .get(host)
          ?.locations.find((one) => one.path === path && one.writtenType === pathType && !one.isDefault)
        const main = location?.action.kind === 'backend' ? backendKey(location.action.backend) : null
        if (main === null || main === backendKey(ref)) {
          const message = 'there is no main Ingress with this host, path and pathType: the canary gets nothing here'
          warn(where, 'W_INGRESS_CONFLICT', message)
          continue
        }
        const earlier = canaries.get(main)
        if (earlier === undefined) {
          canaries.set(main, { ...settings, backend: ref, text: ingress.text })
        } else if (backendKey(earlier.backend) !== backendKey(ref)) {
          const message = `the second canary of Service ${main}: the proxy looks at the first alone, that of ${earlier.text}, and this one gets nothing`
          warn(where, 'W_INGRESS_CONFLICT', message)
        }
      }
    }
    if (settings.share > 0 && settings.share < 1) {
      const message = `the canary's share of ${Number((settings.share * 100).toFixed(3))} % is told by explain; a replay leaves those requests with the main Ingress`
      warn(ingress.text, 'W_NOT_MODELLED', message)
    }
  }
  for (const { locations } of servers.values()) {
    locations.forEach((location, i) => {
      const { action } = location
      const canary = action.kind === 'backend' ? canaries.get(backendKey(action.backend)) : undefined
      if (action.kind === 'backend' && canary !== undefined)
        locations[i] = { ...location, action: { ...action, canary } }
    })
  }
}

function backendKey({ namespace, name, port }: BackendRef): string {
  return `${namespace}/${name}:${port}`
}

/** The Secret of the TLS entry that names the host; any other entry still turns HTTPS on, with the default certificate. */
function certificateFor(ingress: ReadIngress, host: string): string {
  const named = ingress.tls.find(({ hosts }) => hosts.includes(host))
  const covering = ingress.tls.find(({ hosts }) => hosts.length === 0 || hosts.includes(wildcardOf(host) ?? host))
  return (named ?? covering)?.secret ?? ''
}

/** `from-to-www-redirect`: the other one of example.com and www.example.com sends its clients here. */
function wwwRedirects(servers: ReadonlyMap<string, Server>): Host[] {
  const redirects: Host[] = []
  for (const { name, locations } of servers.values()) {
    if (name === ANY_HOST || name.startsWith('*.') || !locations.some(({ annotations }) => annotations?.fromToWww))
      continue
    const from = name.startsWith('www.') ? name.slice(4) : `www.${name}`
    if (servers.has(from)) continue
    redirects.push({
      name: from,
      aliases: [],
      rules: [],
      fallback: null,
      tlsPassthrough: false,
      appRoot: null,
      redirectToHost: name,
      note: null,
    })
  }
  return redirects
}
