/**
 * F5's NGINX Ingress Controller (`nginx.org/ingress-controller`): a host belongs to one Ingress, the oldest that names it.
 *
 * The others are rejected for that host. Minions share the host of a master (`nginx.org/mergeable-ingress-type`), and of two with
 * one path the older has it. Prefix and ImplementationSpecific are plain nginx locations: the longest that the path begins with, by
 * characters. A rule without a host is refused. A host with a certificate sends plain HTTP to HTTPS (301).
 * Source: nginx/kubernetes-ingress internal/k8s/configuration.go (Wins, rebuildHosts), internal/configs/ingress.go
 * (generateIngressPath), version1/nginx.ingress.tmpl; docs, Handling Host and Listener Collisions, Cross-namespace Configuration.
 */
import { addRule, certificatesOf, fallbackRule, plainHost, plainRule, toBackend } from './plain-rules.ts'
import type { ReadIngress, ReadPath, Warn } from './read-ingress.ts'
import { type Listener, PEER, type Rule } from './rules.ts'

const MERGEABLE = 'nginx.org/mergeable-ingress-type'
/** They decide where a request goes. */
const NOT_MODELLED =
  /^nginx\.(org|com)\/(path-regex|redirect-to-https|.*snippets|policies|jwt-.*|basic-auth-.*|sticky-cookie-services)$/

interface Owned {
  readonly owner: ReadIngress
  readonly rules: Map<string, Rule>
}

/** Warnings: W_INGRESS_CONFLICT, W_INGRESS_HOST, W_NOT_MODELLED. @param ingresses  oldest first */
export function nginxIncListener(text: string, ingresses: readonly ReadIngress[], warn: Warn): Listener {
  const hosts = new Map<string, Owned>()
  const isMinion = (ingress: ReadIngress): boolean => ingress.annotations.get(MERGEABLE) === 'minion'
  for (const ingress of ingresses) {
    for (const key of ingress.annotations.keys())
      if (NOT_MODELLED.test(key)) warn(`${ingress.text}, annotation ${key}`, 'W_NOT_MODELLED', 'is not modelled')
    if (isMinion(ingress)) continue
    for (const { host, paths } of ingress.rules) {
      if (host === '') {
        warn(ingress.text, 'W_INGRESS_HOST', 'a rule without a host is refused by this controller; it is left out')
        continue
      }
      const taken = hosts.get(host)
      if (taken !== undefined && taken.owner !== ingress) {
        const message = `host ${host} belongs to ${taken.owner.text}, which is older: the controller rejects it here (all hosts are taken by other resources), and its paths are never reached`
        warn(ingress.text, 'W_INGRESS_CONFLICT', message)
        continue
      }
      const owned = taken ?? { owner: ingress, rules: new Map<string, Rule>() }
      hosts.set(host, owned)
      addPaths(owned.rules, ingress, paths, warn)
    }
  }
  for (const ingress of ingresses.filter(isMinion)) {
    for (const { host, paths } of ingress.rules) {
      const master = hosts.get(host)
      if (master?.owner.annotations.get(MERGEABLE) === 'master') addPaths(master.rules, ingress, paths, warn)
      else
        warn(
          ingress.text,
          'W_INGRESS_CONFLICT',
          `there is no master for host ${host}: the controller rejects the minion`,
        )
    }
  }
  return {
    text,
    hosts: Array.from(hosts, ([name, { owner, rules }]) => plainHost(name, [...rules.values()], fallbackRule(owner))),
    fallback: null,
    hostOwnsRequest: true,
    inOrder: false,
    wildcards: 'any depth',
    client: PEER,
    redirectStatus: 301,
    pathReading: 'nginx',
    backendLookup: 'nginx-inc',
    certificates: certificatesOf(ingresses),
    addresses: new Set(ingresses.flatMap(({ addresses }) => addresses)),
  }
}

function addPaths(rules: Map<string, Rule>, ingress: ReadIngress, paths: readonly ReadPath[], warn: Warn): void {
  for (const path of paths) {
    const kind = path.pathType === 'Exact' ? 'exact' : 'prefix'
    const text = `${path.pathType} ${path.path} of ${ingress.text}`
    const rule = plainRule(ingress.name, text, { kind, path: path.path }, path.path, toBackend(path.backend))
    addRule(rules, { ...rule, httpsRedirect: 'if-certificate' }, `${ingress.text}, ${path.field}`, warn)
  }
}
