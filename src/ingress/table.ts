/**
 * The routing table: listeners, hosts, rules and backends with dense ids, made once and read for every request.
 *
 * Ids are positions in `hosts`, `rules` and `backends`. A replay resolves each distinct (host, path) of its trace once with
 * `route` and carries the ids on; nothing of a host or a path is looked at per packet.
 * Invariants: a host's `exact` rules are asked before its `ordered` ones; `ordered` holds the longest path first and, among
 * equals, the order of the front. Cost of a lookup: one map read for the host and for an exact path, then linear in the
 * host's other rules.
 */
import type { Warning } from '../errors.ts'
import type { Backend, BackendResolver } from './backends.ts'
import { fits } from './glob.ts'
import { wildcardOf } from './request.ts'
import type { BackendRef, Host, Listener, PathMatch, Rule } from './rules.ts'

export interface CompiledRule extends Rule {
  readonly id: number
  /** -1 where the rule does not lead to a backend. */
  readonly backendId: number
  /** The backend that stands in while the first is not usable; -1 for none. */
  readonly insteadId: number
  /** Of the canary; -1 for none. */
  readonly canaryId: number
}

export interface CompiledHost extends Omit<Host, 'rules' | 'fallback'> {
  readonly id: number
  readonly exact: ReadonlyMap<string, CompiledRule>
  readonly ordered: readonly CompiledRule[]
  readonly fallback: CompiledRule | null
}

export interface CompiledListener extends Omit<Listener, 'hosts' | 'fallback'> {
  readonly id: number
  /** As the front has them. */
  readonly all: readonly CompiledHost[]
  /** By name and by alias; `*.rest` for wildcards, '' for any host. */
  readonly hosts: ReadonlyMap<string, CompiledHost>
  readonly fallback: CompiledRule | null
}

export interface RouteTable {
  readonly listeners: readonly CompiledListener[]
  readonly hosts: readonly CompiledHost[]
  readonly rules: readonly CompiledRule[]
  readonly backends: readonly Backend[]
  readonly warnings: readonly Warning[]
}

/**
 * Order and number what the fronts have written.
 *
 * @param listeners  of every front; the order settles ties between listeners that fit a request equally
 * @param resolve    finds the endpoints of a backend
 * @param warnings   of the fronts; W_INGRESS_BACKEND for every backend that is not usable is added
 */
export function compileTable(
  listeners: readonly Listener[],
  resolve: BackendResolver,
  warnings: readonly Warning[],
): RouteTable {
  const table = {
    hosts: [] as CompiledHost[],
    rules: [] as CompiledRule[],
    backends: [] as Backend[],
    warnings: [...warnings],
  }
  const backendIds = new Map<string, number>()

  const backendId = (ref: BackendRef, lookup: Listener['backendLookup'], user: string): number => {
    const key = JSON.stringify([ref.namespace, ref.name, ref.port, ref.byClusterIp, lookup])
    const known = backendIds.get(key)
    if (known !== undefined) return known
    const backend = resolve(ref, lookup, table.backends.length)
    table.backends.push(backend)
    backendIds.set(key, backend.id)
    if (!backend.usable) table.warnings.push({ code: 'W_INGRESS_BACKEND', where: user, message: backend.why })
    return backend.id
  }
  const addRule = (rule: Rule, lookup: Listener['backendLookup']): CompiledRule => {
    const { action } = rule
    const compiled: CompiledRule = {
      ...rule,
      id: table.rules.length,
      backendId: action.kind === 'backend' ? backendId(action.backend, lookup, rule.text) : -1,
      insteadId:
        action.kind === 'backend' && action.instead !== null ? backendId(action.instead, lookup, rule.text) : -1,
      canaryId:
        action.kind === 'backend' && action.canary !== undefined
          ? backendId(action.canary.backend, lookup, action.canary.text)
          : -1,
    }
    table.rules.push(compiled)
    return compiled
  }
  const addHost = (host: Host, lookup: Listener['backendLookup']): CompiledHost => {
    const rules = host.rules.map((rule) => addRule(rule, lookup))
    const exact = new Map<string, CompiledRule>()
    for (const rule of rules)
      if (rule.match.kind === 'exact' && !exact.has(rule.match.path)) exact.set(rule.match.path, rule)
    const ordered = rules.filter((rule) => rule.match.kind !== 'exact').sort((a, b) => b.path.length - a.path.length)
    const fallback = host.fallback === null ? null : addRule(host.fallback, lookup)
    const compiled: CompiledHost = { ...host, id: table.hosts.length, exact, ordered, fallback }
    table.hosts.push(compiled)
    return compiled
  }
  const compiledListeners = listeners.map((listener, id): CompiledListener => {
    const hosts = new Map<string, CompiledHost>()
    const added = listener.hosts.map((host) => addHost(host, listener.backendLookup))
    for (const host of added) if (!hosts.has(host.name)) hosts.set(host.name, host)
    // Names before aliases, whatever their order: a host's own rules are never hidden by another's alias.
    for (const host of added) for (const alias of host.aliases) if (!hosts.has(alias)) hosts.set(alias, host)
    return {
      ...listener,
      id,
      all: added,
      hosts,
      fallback: listener.fallback === null ? null : addRule(listener.fallback, listener.backendLookup),
    }
  })
  return { listeners: compiledListeners, ...table }
}

/** The entries of a listener that cover a host, in its order or the most specific first: exact, wildcard, any. */
export function hostsFor(listener: CompiledListener, host: string): readonly CompiledHost[] {
  const names = namesCovering(host, listener.wildcards === 'any depth')
  if (listener.inOrder) return listener.all.filter(({ name }) => names.includes(name))
  return names.flatMap((name) => listener.hosts.get(name) ?? [])
}

function namesCovering(host: string, anyDepth: boolean): string[] {
  const names = host === '' ? [] : [host]
  let wildcard = wildcardOf(host)
  while (wildcard !== null) {
    names.push(wildcard)
    wildcard = anyDepth ? wildcardOf(wildcard.slice(2)) : null
  }
  return [...names, '']
}

/** The Secret of the certificate that a client asking for `host` is shown, '' for the proxy's own; undefined for none. */
export function certificateOf(listener: CompiledListener, host: string): string | undefined {
  const { certificates } = listener
  return certificates.get(host) ?? certificates.get(wildcardOf(host) ?? host) ?? certificates.get('')
}

/** The rule of a host that a path (read as the listener reads paths) falls to; null where none matches. */
export function ruleFor(host: CompiledHost, path: string): CompiledRule | null {
  return host.exact.get(path) ?? host.ordered.find((rule) => matches(rule.match, path)) ?? null
}

function matches(match: PathMatch, path: string): boolean {
  switch (match.kind) {
    case 'exact':
      return path === match.path
    case 'elements':
      return path === match.path || (path.startsWith(match.path) && path.charCodeAt(match.path.length) === 47)
    case 'prefix':
      return path.startsWith(match.path)
    case 'pattern':
      return fits(match.path, path)
    case 'regex':
      return match.regex.exec(path, true) !== null
  }
}
