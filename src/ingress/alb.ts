/**
 * AWS' controller: the Ingresses of one Application Load Balancer as its listener's rules.
 *
 * Rules are asked in one order, whatever their hosts: Ingresses by group.order, then by name, in each the rules as written, in
 * each rule exact paths, then prefixes from the longest, then ImplementationSpecific as written. The first rule whose host
 * and path patterns fit, and whose conditions hold, has the request. A Prefix is two patterns, `/foo` and `/foo/*`; ImplementationSpecific is a pattern as
 * it stands, so `/foo` is that path alone and `/*` everything, and a `*` may stand in the middle. One Ingress of a group may have a default
 * backend; without one 404 is answered. Paths are compared as sent, with regard to case.
 * Source: aws-load-balancer-controller pkg/ingress/model_build_listener_rules.go (sortIngressPaths, buildPathPatterns,
 * buildDefaultActions), docs/guide/ingress/annotations.md; Elastic Load Balancing guide, path and host conditions.
 */

import { actionOf, sslRedirectOf } from './alb-actions.ts'
import { conditionsOf } from './alb-conditions.ts'
import { ALB_PREFIX } from './classes.ts'
import { certificatesOf, everyPath, fallbackRule, plainHost, plainRule } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { type Host, type Listener, type PathMatch, PEER, type Rule } from './rules.ts'

const ROUTING = /^(transforms\.|auth-|use-regex-path-match$)/
const WILDCARD = /[*?]/

/** Warnings: W_NOT_MODELLED, W_INGRESS_PATH, W_INGRESS_CONFLICT. @param ingresses  of one load balancer, in its order */
export function albListener(text: string, ingresses: readonly ReadIngress[], warn: Warn): Listener {
  for (const ingress of ingresses) warnOfAnnotations(ingress, warn)
  const withDefault = ingresses.filter(({ defaultBackend }) => defaultBackend !== null)
  for (const { text: other } of withDefault.slice(1)) {
    const message = `its default backend is the second of this load balancer after that of ${withDefault[0]!.text}: the controller refuses the whole group, and the first is used here`
    warn(other, 'W_INGRESS_CONFLICT', message)
  }
  return {
    text,
    hosts: [...sslRedirect(ingresses), ...ingresses.flatMap((ingress) => ruleHosts(ingress, warn))],
    fallback: withDefault[0] === undefined ? null : fallbackRule(withDefault[0]),
    hostOwnsRequest: false,
    inOrder: true,
    wildcards: 'any depth',
    client: PEER,
    redirectStatus: 308,
    pathReading: 'as sent',
    backendLookup: 'api',
    certificates: certificatesOf(ingresses),
    addresses: new Set(ingresses.flatMap(({ addresses }) => addresses)),
  }
}

/** A host for each rule, so that all of them stand in the order in which they are asked. */
function ruleHosts(ingress: ReadIngress, warn: Warn): Host[] {
  return ingress.rules.flatMap(({ host, paths }) =>
    inOrder(paths).flatMap((path) => {
      const { pathType, field } = path
      if (pathType !== 'ImplementationSpecific' && WILDCARD.test(path.path)) {
        const message = `${path.path} with pathType ${pathType}: the controller refuses wildcards there, and with them the whole load balancer; use ImplementationSpecific. The path is left out here`
        warn(`${ingress.text}, ${field}`, 'W_INGRESS_PATH', message)
        return []
      }
      const text = `${pathType} ${path.path} of ${ingress.text}`
      const conditions = conditionsOf(ingress, path.backend.ref?.name ?? '', warn)
      const matches = [...patterns(path), ...conditions.paths.map((one): PathMatch => ({ kind: 'pattern', path: one }))]
      const { action, schemes } = actionOf(ingress, host, path, matches.map(patternText), warn)
      const [scheme] = schemes
      if (scheme === undefined) return []
      const rules = matches.map(
        (match): Rule => ({
          ...plainRule(ingress.name, text, match, path.path, action),
          conditions: conditions.others,
        }),
      )
      const hosts = host === '' && conditions.hosts.length > 0 ? conditions.hosts : [host, ...conditions.hosts]
      return hosts.map(
        (name): Host => ({ ...plainHost(name, rules, null), ...(schemes.length === 1 ? { scheme } : {}) }),
      )
    }),
  )
}

/** The HTTP listener of a group with ssl-redirect: it has no rules, and what comes in goes to HTTPS. */
function sslRedirect(ingresses: readonly ReadIngress[]): Host[] {
  const action = sslRedirectOf(ingresses)
  if (action === null) return []
  const rule = everyPath(null, 'ssl-redirect of the load balancer', action)
  return [{ ...plainHost('', [rule], null), scheme: 'http' }]
}

function patternText(match: PathMatch): string {
  if (match.kind === 'regex') return ''
  return match.kind === 'prefix' ? `${match.path}*` : match.path
}

function inOrder(paths: readonly ReadPath[]): ReadPath[] {
  const of = (type: ReadPath['pathType']): ReadPath[] => paths.filter(({ pathType }) => pathType === type)
  const prefixes = of('Prefix').sort((a, b) => b.path.length - a.path.length)
  return [...of('Exact'), ...prefixes, ...of('ImplementationSpecific')]
}

function patterns({ path, pathType }: ReadPath): PathMatch[] {
  if (pathType === 'Exact') return [{ kind: 'exact', path }]
  if (pathType === 'ImplementationSpecific') return [{ kind: 'pattern', path }]
  const bare = path.replace(/\/$/, '')
  return bare === ''
    ? [{ kind: 'prefix', path: '/' }]
    : [
        { kind: 'exact', path: bare },
        { kind: 'prefix', path: `${bare}/` },
      ]
}

/** Those that decide where a request goes and are not modelled. */
function warnOfAnnotations(ingress: ReadIngress, warn: Warn): void {
  for (const [key, value] of ingress.annotations) {
    if (!key.startsWith(ALB_PREFIX)) continue
    const name = key.slice(ALB_PREFIX.length)
    const where = `${ingress.text}, annotation ${key}`
    if (ROUTING.test(name)) warn(where, 'W_NOT_MODELLED', 'is not modelled')
    if (name === 'target-group-attributes') {
      for (const attribute of value.split(',').map((one) => one.trim())) {
        if (asksForMore(attribute)) warn(where, 'W_NOT_MODELLED', `${attribute} is not modelled: targets take turns`)
      }
    }
  }
}

/** Stickiness, or an order that is not round robin. */
function asksForMore(attribute: string): boolean {
  const [name = '', value = ''] = attribute.split('=').map((part) => part.trim())
  if (name === 'stickiness.enabled') return value === 'true'
  return name === 'load_balancing.algorithm.type' && value !== 'round_robin'
}
