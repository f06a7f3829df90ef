/**
 * Traefik: every path of every Ingress is a router with a rule of its own, and of those that fit a request the longest rule has it.
 *
 * Host and path count together, so a wildcard with a long path comes before a host of its own with a short one. Prefix and
 * ImplementationSpecific compare characters, not elements (strictPrefixMatching, off by default, is not known here). A router
 * with TLS takes TLS connections alone, one on entry point `web` or `websecure` those of port 80 or 443. A Service that does not exist
 * leaves its router out. Rules of one length are in no defined order: routers come out of a map, and the sort is by length alone. The default backend of an Ingress without rules comes last; one of an Ingress with rules does nothing.
 * Source: traefik pkg/provider/kubernetes/ingress (loadConfigurationFromIngresses, loadRouter, buildRule), pkg/muxer/http
 * (GetRulePriority, pathPrefix), pkg/muxer DomainMatchHostExpression; entry points as the chart names them.
 */
import type { Middleware } from '../k8s/types.ts'
import { certificatesOf, everyPath, plainHost, plainRule, toBackend } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { comparablePath, wildcardOf } from './request.ts'
import { type Host, type Listener, type PathMatch, PEER, type Rule } from './rules.ts'
import { middlewaresOf } from './traefik-middlewares.ts'

const PREFIX = 'traefik.ingress.kubernetes.io/'
const ROUTER = `${PREFIX}router.`
const ENTRY_POINTS: ReadonlyMap<string, 'http' | 'https'> = new Map([
  ['web', 'http'],
  ['http', 'http'],
  ['websecure', 'https'],
  ['https', 'https'],
])

interface Router {
  readonly ingress: ReadIngress
  readonly priority: number
  readonly host: Host
}

/**
 * Warnings: W_NOT_MODELLED, W_INGRESS_ANNOTATION, W_INGRESS_BACKEND.
 *
 * @param exists  whether there is a Service `namespace/name`
 * @param middlewares  all of the cluster
 */
export function traefikListener(
  text: string,
  ingresses: readonly ReadIngress[],
  exists: (service: string) => boolean,
  middlewares: readonly Middleware[],
  warn: Warn,
): Listener {
  const routers = ingresses.flatMap((ingress) => routersOf(ingress, exists, middlewares, warn))
  warnOfTies(routers, warn)
  const ruleless = ingresses.find(({ rules, defaultBackend }) => rules.length === 0 && defaultBackend?.ref)
  const last = ruleless === undefined ? [] : defaultRouter(ruleless, warn)
  return {
    text,
    hosts: [...routers.sort((a, b) => b.priority - a.priority).map(({ host }) => host), ...last],
    fallback: null,
    hostOwnsRequest: false,
    inOrder: true,
    wildcards: 'one label',
    client: PEER,
    redirectStatus: 308,
    pathReading: 'rfc3986',
    backendLookup: 'traefik',
    certificates: certificatesOf(ingresses),
    addresses: new Set(ingresses.flatMap(({ addresses }) => addresses)),
  }
}

function routersOf(
  ingress: ReadIngress,
  exists: (service: string) => boolean,
  all: readonly Middleware[],
  warn: Warn,
): Router[] {
  const schemes = schemesOf(ingress, warn)
  warnOfAnnotations(ingress, warn)
  const middlewares = middlewaresOf(ingress, `${ROUTER}middlewares`, all, warn)
  if (schemes === null || middlewares === null) return []
  const written = Number(ingress.annotations.get(`${ROUTER}priority`) ?? 0)
  const matcher = ingress.annotations.get(`${ROUTER}pathmatcher`) ?? 'PathPrefix'
  return ingress.rules.flatMap(({ host, paths }) =>
    paths.flatMap((path): Router[] => {
      const where = `${ingress.text}, ${path.field}`
      const { ref } = path.backend
      if (ref === null) return []
      if (!exists(`${ref.namespace}/${ref.name}`)) {
        const message = `Service ${ref.namespace}/${ref.name} does not exist: Traefik makes no router of the path, and other rules or 404 have its requests`
        warn(where, 'W_INGRESS_BACKEND', message)
        return []
      }
      const kind = path.pathType === 'Exact' ? 'Path' : path.pathType === 'Prefix' ? 'PathPrefix' : matcher
      if (kind !== 'Path' && kind !== 'PathPrefix') {
        warn(where, 'W_NOT_MODELLED', `path matcher ${kind} is not modelled; the path is left out`)
        return []
      }
      const rule = ruleText(host, path, kind)
      const compared = comparablePath(path.path)
      const match: PathMatch = { kind: kind === 'Path' ? 'exact' : 'prefix', path: compared }
      const own = plainRule(
        ingress.name,
        `${path.pathType} ${path.path} of ${ingress.text}`,
        match,
        rule,
        toBackend(path.backend),
      )
      const priority = written || rule.length
      const make = (made: Rule, scheme: Pick<Host, 'scheme'>): Router => ({
        ingress,
        priority,
        host: { ...plainHost(host, [made], null), ...scheme },
      })
      const changed: Rule = { ...own, ...middlewares.rule }
      const { https } = middlewares
      if (https === null || schemes.scheme === 'https') return [make(changed, schemes)]
      const redirect = make({ ...own, action: https }, { scheme: 'http' })
      return schemes.scheme === 'http' ? [redirect] : [redirect, make(changed, { scheme: 'https' })]
    }),
  )
}

/** Of two rules with one priority that fit the same requests either may be asked first. One warning an Ingress. */
function warnOfTies(routers: readonly Router[], warn: Warn): void {
  const told = new Set<ReadIngress>()
  // By priority and host: the routers of that host, and those of hosts that it covers.
  const own = new Map<string, Router[]>()
  const covered = new Map<string, Router[]>()
  for (const router of routers) {
    const { priority, host, ingress } = router
    const wider = [wildcardOf(host.name) ?? '', ''].filter((name) => name !== host.name)
    const others = [
      ...(covered.get(`${priority} ${host.name}`) ?? []),
      ...wider.flatMap((name) => own.get(`${priority} ${name}`) ?? []),
    ]
    const other = told.has(ingress) ? undefined : others.find((one) => canTie(one, router))
    if (other !== undefined) {
      told.add(ingress)
      const names = `${ruleOf(router).text} and ${ruleOf(other).text}`
      const message = `${names} have one priority (${priority}) and fit the same requests: Traefik asks them in no defined order, here in the order written; set router.priority`
      warn(ingress.text, 'W_INGRESS_CONFLICT', message)
    }
    put(own, `${priority} ${host.name}`, router)
    for (const name of new Set([host.name, ...wider])) put(covered, `${priority} ${name}`, router)
  }
}

function put(lists: Map<string, Router[]>, key: string, router: Router): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [router])
  else list.push(router)
}

/** Whether both fit some request and do different things with it; their hosts do already. */
function canTie(one: Router, other: Router): boolean {
  if (one.host.scheme !== undefined && other.host.scheme !== undefined && one.host.scheme !== other.host.scheme)
    return false
  const [a, b] = [ruleOf(one), ruleOf(other)]
  return overlap(a.match, b.match) && JSON.stringify(a.action) !== JSON.stringify(b.action)
}

function overlap(a: PathMatch, b: PathMatch): boolean {
  if (a.kind === 'regex' || b.kind === 'regex') return false
  const fits = (prefix: PathMatch & { path: string }, path: string): boolean =>
    prefix.kind === 'prefix' && path.startsWith(prefix.path)
  return a.path === b.path || fits(a, b.path) || fits(b, a.path)
}

function ruleOf({ host }: Router): Rule {
  return host.rules[0]!
}

/** As Traefik writes it: its length is its priority. */
function ruleText(host: string, path: ReadPath, matcher: string): string {
  const parts = [
    ...(host === '' ? [] : [`Host(${JSON.stringify(host)})`]),
    ...(path.isWritten ? [`${matcher}(${JSON.stringify(path.path)})`] : []),
  ]
  return parts.join(' && ')
}

function defaultRouter(ingress: ReadIngress, warn: Warn): Host[] {
  const schemes = schemesOf(ingress, warn)
  if (schemes === null || ingress.defaultBackend === null) return []
  const rule = everyPath(ingress.name, `default backend of ${ingress.text}`, toBackend(ingress.defaultBackend))
  return [{ ...plainHost('', [rule], null), ...schemes }]
}

/** Which connections reach its routers: `{}` for all of them, null for none. */
function schemesOf({ annotations, text }: ReadIngress, warn: Warn): Pick<Host, 'scheme'> | null {
  const key = `${ROUTER}entrypoints`
  const names = (annotations.get(key) ?? '').split(',').flatMap((name) => name.trim() || [])
  const known = names.flatMap((name) => ENTRY_POINTS.get(name) ?? [])
  const strange = names.filter((name) => !ENTRY_POINTS.has(name))
  if (strange.length > 0)
    warn(`${text}, annotation ${key}`, 'W_NOT_MODELLED', `what entry point ${strange.join(', ')} is, is not known here`)
  const plain = names.length === strange.length || known.includes('http')
  const secure = names.length === strange.length || known.includes('https')
  const tls = [...annotations].some(([name, value]) => name === `${ROUTER}tls` && value.trim() === 'true')
  if (tls && !secure) {
    warn(
      `${text}, annotation ${key}`,
      'W_INGRESS_ANNOTATION',
      'a router with TLS on the plain entry point alone takes no request that a client sends',
    )
    return null
  }
  if (tls || !plain) return { scheme: 'https' }
  return secure ? {} : { scheme: 'http' }
}

/** Those that decide what becomes of a request and are not modelled. */
function warnOfAnnotations({ annotations, text }: ReadIngress, warn: Warn): void {
  for (const key of annotations.keys()) {
    if (key === `${ROUTER}rulesyntax`)
      warn(
        `${text}, annotation ${key}`,
        'W_NOT_MODELLED',
        'is not modelled: requests are taken as if it were not there',
      )
  }
}
