/**
 * HTTP requests to both sides: every host and path that a rule of either names, over HTTP and HTTPS.
 *
 * For each rule its path and one below it, for each host a path that no rule names, and a host that no rule names; so that what a
 * rule takes, and what falls past all of them, is asked at least once. Paths that a regular expression matches are asked as it is
 * written, which it may not match itself: where rules with one differ that is said.
 */
import { compileRoutes, type RouteResult, type RouteTable, requestFor, route } from '../ingress/index.ts'
import type { Cluster } from '../k8s/cluster.ts'
import type { Ingress } from '../k8s/types.ts'
import type { Gatherer } from './gather.ts'
import { type Objects, stable } from './objects.ts'
import type { Sides } from './sides.ts'
import type { ObjectChange } from './types.ts'

const UNNAMED_HOST = 'no-rule-has.this-host.invalid'
const UNNAMED_PATH = '/no-rule-has-this-path'
const CLIENTS = { name: 'HTTP clients', count: 1 } as const

export function compareRoutes(
  { old, new: changed }: Sides,
  objects: Objects,
  gatherer: Gatherer,
): { readonly questions: number; readonly notCompared: readonly string[] } {
  if (old.cluster.ingresses.length === 0 && changed.cluster.ingresses.length === 0) {
    return { questions: 0, notCompared: [] }
  }
  const before = compileRoutes(old.cluster)
  const after = compileRoutes(changed.cluster)
  const written = ingressChanges(old.cluster, changed.cluster)
  let questions = 0
  for (const [host, paths] of requestsOf(before, after)) {
    for (const path of paths) {
      for (const scheme of ['http', 'https'] as const) {
        questions++
        const request = requestFor(host, path, scheme)
        const was = route(before, request)
        const is = route(after, request)
        const [from, to] = [resultText(was), resultText(is)]
        if (from === to) continue
        gatherer.differences++
        const url = `${scheme}://${host}${path}`
        gatherer.add({
          subject: subjectOf(was, is),
          causes: causesOf(was, is, written, objects),
          difference: { kind: 'route', from, to },
          client: CLIENTS,
          target: url,
          example: () => ({
            ...{ from: '', to: url, old: was.reason, new: is.reason },
            command: `explain --to ${url}`,
          }),
        })
      }
    }
  }
  return { questions, notCompared: [...regexNote(before, after)] }
}

function requestsOf(...tables: readonly RouteTable[]): Map<string, Set<string>> {
  const asked = new Map<string, Set<string>>()
  const pathsOf = (host: string): Set<string> => {
    const known = asked.get(host)
    if (known !== undefined) return known
    const paths = new Set(['/', UNNAMED_PATH])
    asked.set(host, paths)
    return paths
  }
  pathsOf(UNNAMED_HOST)
  for (const { hosts } of tables) {
    for (const { name, aliases, exact, ordered } of hosts) {
      for (const own of [name, ...aliases]) {
        const paths = pathsOf(exampleHost(own))
        for (const { path } of [...exact.values(), ...ordered]) {
          if (!path.startsWith('/')) continue
          paths.add(path)
          paths.add(`${path.replace(/\/$/, '')}/below`)
        }
      }
    }
  }
  // A rule of one host may be another's default.
  return asked
}

function exampleHost(name: string): string {
  return name === '' ? UNNAMED_HOST : name.replace(/^\*\./, 'any.')
}

function resultText({ status, service, port, location, path, tlsEndsAt, certificate }: RouteResult): string {
  if (location !== null) return `${status} to ${location}`
  if (status !== 200) return `${status}${service === null ? '' : ` (Service ${service})`}`
  const passed = tlsEndsAt === 'backend' ? ', TLS unopened' : ''
  const shown = certificate === null || certificate === '' ? '' : `, certificate ${certificate}`
  return `Service ${service}:${port} with path ${path}${passed}${shown}`
}

function subjectOf(was: RouteResult, is: RouteResult): string {
  const ingress = is.ingress ?? was.ingress
  return ingress === null ? 'Ingress' : `Ingress ${ingress}`
}

interface Written {
  readonly byIngress: ReadonlyMap<string, ObjectChange>
  readonly shared: readonly ObjectChange[]
}

function causesOf(was: RouteResult, is: RouteResult, written: Written, objects: Objects): ObjectChange[] {
  const own = [...new Set([was.ingress, is.ingress])].flatMap((name) => written.byIngress.get(name ?? '') ?? [])
  const found = [...own, ...written.shared]
  if (found.length > 0) return found
  // A rule that leads to a Service which has come or gone, or has no endpoint any more.
  const services = [...new Set([was.service, is.service])].filter((name) => name !== null)
  const ofServices = services.flatMap((name) => [...objects.service(name), ...objects.endpoints(name)])
  return ofServices.length > 0 ? ofServices : [...written.byIngress.values()]
}

function ingressChanges(old: Cluster, changed: Cluster): Written {
  const keyOf = ({ metadata }: Ingress): string => `${metadata.namespace ?? 'default'}/${metadata.name}`
  const before = new Map(old.ingresses.map((one) => [keyOf(one), one]))
  const after = new Map(changed.ingresses.map((one) => [keyOf(one), one]))
  const byIngress = new Map<string, ObjectChange>()
  for (const key of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    const was = before.get(key)
    const is = after.get(key)
    const object = `Ingress ${key}`
    if (was === undefined) byIngress.set(key, { object, field: '', from: '', to: 'there' })
    else if (is === undefined) byIngress.set(key, { object, field: '', from: 'there', to: '' })
    else {
      const fields = [
        ...(['ingressClassName', 'defaultBackend', 'tls', 'rules'] as const)
          .filter((field) => stable(was.spec[field]) !== stable(is.spec[field]))
          .map((field) => `spec.${field}`),
        ...annotationsOf(was, is),
      ]
      if (fields.length > 0) byIngress.set(key, { object, field: fields.join(', '), from: '', to: '' })
    }
  }
  const shared: ObjectChange[] = []
  const classes = ({ ingressClasses }: Cluster): string =>
    stable(ingressClasses.map(({ metadata, spec }) => [metadata.name, metadata.annotations ?? {}, spec ?? {}]).sort())
  if (classes(old) !== classes(changed)) shared.push({ object: 'IngressClass', field: 'spec', from: '', to: '' })
  const middlewares = ({ middlewares: all = [] }: Cluster): string =>
    stable(all.map(({ metadata, spec }) => [metadata.namespace ?? 'default', metadata.name, spec ?? {}]).sort())
  if (middlewares(old) !== middlewares(changed)) shared.push({ object: 'Middleware', field: 'spec', from: '', to: '' })
  const configs = ({ ingressConfigs }: Cluster): string =>
    stable(ingressConfigs.map(({ metadata, data }) => [metadata.namespace, metadata.name, data]).sort())
  if (configs(old) !== configs(changed)) {
    shared.push({ object: 'ConfigMap of the ingress controller', field: 'data', from: '', to: '' })
  }
  return { byIngress, shared }
}

function annotationsOf(was: Ingress, is: Ingress): string[] {
  const [a, b] = [was.metadata.annotations ?? {}, is.metadata.annotations ?? {}]
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].sort().filter((name) => a[name] !== b[name])
}

function regexNote(...tables: readonly RouteTable[]): string[] {
  const [a, b] = tables.map(({ rules }) =>
    rules
      .filter(({ match }) => match.kind === 'regex')
      .map(({ text }) => text)
      .sort()
      .join('\n'),
  )
  return a === b ? [] : ['paths that regular expressions of Ingress rules match, besides those that are written there']
}
