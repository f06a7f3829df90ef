/**
 * What a name stands for in the kubernetes plugin, before it becomes records: addresses or host names, with port and name.
 *
 * Invariants: names come in folded; backends carry the objects' own case, and the zone in the case of the question.
 * Cost: map look-ups; linear in the endpoints of the one Service that is asked for.
 * Source: coredns/coredns plugin/kubernetes/{kubernetes,parse,ns}.go.
 */

import { absolute, below, isReverse, labelsOf, lower, parseAddress } from './domain-names.ts'
import type { KubernetesPlugin } from './kubernetes-plugin.ts'
import type { Upstream } from './records.ts'
import { type DnsServer, endpointLabel, type IndexedEndpoint, isPublished, type ZoneIndex } from './zone.ts'

/** What the plugin found for a name: an address or a host name, the port of SRV, and the name of its own. */
export interface Backend {
  readonly host: string
  /** CNAME for a host name. */
  readonly kind: 'A' | 'AAAA' | 'CNAME'
  /** -1: no SRV. */
  readonly port: number
  /** SRV target, absolute, zone in the case of the question. */
  readonly name: string
}

/** The parts of a question that the functions below hand on. */
export interface Context {
  readonly server: DnsServer
  readonly plugin: KubernetesPlugin
  /** In the case of the question. */
  readonly zone: string
  readonly upstream: Upstream
  /** Address of who asks, '' where it is not known. */
  readonly client: string
  readonly nodeSearches: readonly string[]
  readonly depth: number
  readonly behind: DnsServer | null
}

/** The Services that hold the server's own address, else `ns.dns.<zone>` with that address. Source: ns.go nsAddrs. */
export function nameServers(context: Context): Backend[] {
  const { plugin, zone } = context
  const { index } = context.server
  const own = index.serverAddresses()
  const servers = new Map<string, Backend>()
  const add = (name: string, host: string): void => {
    const address = parseAddress(host)
    if (address !== null)
      servers.set(`${name} ${address.text}`, { host: address.text, kind: address.type, port: -1, name })
  }
  const held = own.flatMap(({ text }) => index.endpointsByAddress(text)).filter(({ endpoint }) => isPublished(endpoint))
  for (const { namespace, service: serviceName } of plugin.noEndpoints ? [] : held) {
    const service = index.service(serviceName, namespace)
    if (service === undefined) continue
    const name = below(`${service.name}.${service.namespace}.svc`, zone)
    for (const clusterIp of service.clusterIPs) add(name, clusterIp)
    if (!service.headless) continue
    for (const endpoint of index.endpoints(serviceName, namespace)) {
      if (isPublished(endpoint)) add(`${endpointLabel(endpoint, plugin)}.${name}`, endpoint.address.text)
    }
  }
  if (servers.size === 0) for (const { text } of own) add(below('ns.dns', zone), text)
  return [...servers.values()]
}

/**
 * The backends that a name stands for; none for a name that exists without any; null for a name that does not exist.
 *
 * @param name  folded
 */
export function backendsOf(context: Context, name: string, qtype: string): readonly Backend[] | null {
  // As with NS, a zone in capitals is not found here.
  if (name === below('ns.dns', context.zone) && qtype !== 'PTR' && qtype !== 'TXT') {
    return nameServers(context).flatMap((server) => (server.kind === qtype ? [{ ...server, name }] : []))
  }
  const request = parseRequest(name, lower(context.zone), context.plugin.zonal)
  if (request === null) return null
  if (request.kind === 'apex') return []
  const { plugin, server } = context
  const { namespace } = request
  if (isReverse(name)) return null
  if (!server.index.hasNamespace(namespace) || (plugin.namespaces.size > 0 && !plugin.namespaces.has(namespace)))
    return null
  return request.kind === 'pod' ? podBackends(context, request) : serviceBackends(context, request)
}

interface NameRequest {
  readonly kind: 'svc' | 'pod'
  readonly namespace: string
  /** '' where the name ends at the namespace. */
  readonly service: string
  readonly endpoint: string
  readonly port: string
  readonly protocol: string
  /** Topology zone that is asked for; '' for any. */
  readonly zone: string
  /** `prefer`: all endpoints where the zone has none; else (`pin`) none. */
  readonly preferred: boolean
}

/** Whether a name asks for the endpoints of one topology zone: such names exist without any. */
export function asksZone({ plugin, zone }: Context, name: string): boolean {
  const request = parseRequest(name, lower(zone), plugin.zonal)
  return request !== null && request.kind === 'svc' && request.zone !== ''
}

/**
 * The labels of a name by their meaning. Source: parse.go: `[[port.]protocol.|endpoint.]service.namespace.svc|pod`, the
 * underscores of port and protocol optional; with option zonal also `zone.pin|prefer._zone.service.namespace.svc`, where the
 * zone may have several labels.
 *
 * @returns null for a name that cannot exist, `apex` for the zone itself, `svc` and `pod`
 */
function parseRequest(name: string, zone: string, zonal: boolean): NameRequest | { readonly kind: 'apex' } | null {
  const labels = zone === '.' ? labelsOf(name) : name === zone ? [] : labelsOf(name.slice(0, name.length - zone.length))
  const kind = labels.pop()
  if (kind === undefined) return { kind: 'apex' }
  if (kind !== 'svc' && kind !== 'pod') return null
  const namespace = labels.pop()
  if (namespace === undefined) return { kind: 'apex' }
  const service = labels.pop() ?? ''
  const request: NameRequest = {
    ...{ kind, namespace, service },
    ...{ endpoint: '', port: '', protocol: '', zone: '', preferred: false },
  }
  if (labels.length < 2) return { ...request, endpoint: labels[0] ?? '' }
  if (labels.length === 2) return { ...request, port: bare(labels[0]!), protocol: bare(labels[1]!) }
  const [directive, anchor] = labels.slice(-2)
  if (!zonal || kind !== 'svc' || anchor !== '_zone' || (directive !== 'pin' && directive !== 'prefer')) return null
  return { ...request, zone: labels.slice(0, -2).join('.'), preferred: directive === 'prefer' }
}

function bare(label: string): string {
  return label.startsWith('_') ? label.slice(1) : label
}

function podBackends(context: Context, { namespace, service: label }: NameRequest): Backend[] | null {
  const { plugin, server, zone } = context
  if (plugin.pods === 'disabled') return null
  if (label === '') return []
  const dashes = label.split('-').length - 1
  const text = label.replaceAll('-', dashes === 3 && !label.includes('--') ? '.' : ':')
  const address = parseAddress(text)
  if (address === null) return null
  const backend: Backend = {
    host: address.text,
    kind: address.type,
    port: 0,
    name: below(`${label}.${namespace}.pod`, zone),
  }
  if (plugin.pods === 'insecure') return [backend]
  // The name must spell the address as the Pod's status does.
  const pods = server.index.podsByAddress(text).filter((pod) => pod.namespace === namespace)
  return pods.length > 0 ? [backend] : null
}

function serviceBackends(context: Context, request: NameRequest): readonly Backend[] | null {
  const { plugin, server, zone } = context
  const { index } = server
  if (request.service === '') return []
  const service = index.service(request.service, request.namespace)
  if (service === undefined) return null
  const base = below(`${service.name}.${service.namespace}.svc`, zone)
  const asksPort = request.port !== '' || request.protocol !== ''
  // A cluster IP is in no zone.
  if (request.zone !== '' && !service.headless) return null
  if (service.type === 'ExternalName') {
    // Nothing lies below it, and a target that reads as an address is no target.
    if (
      request.endpoint !== '' ||
      asksPort ||
      service.externalName === '' ||
      parseAddress(service.externalName) !== null
    )
      return null
    return [{ host: absolute(service.externalName), kind: 'CNAME', port: 0, name: base }]
  }
  const published = (): readonly OwnEndpoint[] => publishedEndpoints(index, plugin, request)
  if (plugin.ignoreEmptyService && !service.headless && published().length === 0) return null
  const matches = (port: { name: string; protocol: string }): boolean =>
    (request.port === '' || request.port === lower(port.name)) &&
    (request.protocol === '' || request.protocol === lower(port.protocol))
  const backends: Backend[] = []
  if (service.headless || request.endpoint !== '') {
    for (const { label, endpoint } of inZone(published(), request)) {
      if (request.endpoint !== '' && lower(label) !== request.endpoint) continue
      for (const port of endpoint.ports) {
        if (!matches(port)) continue
        backends.push({
          host: endpoint.address.text,
          kind: endpoint.address.type,
          port: port.port,
          name: `${label}.${base}`,
        })
      }
    }
    return backends.length > 0 || request.zone !== '' ? backends : null
  }
  const ports = service.ports.length > 0 ? service.ports : [{ name: '', protocol: '', port: -1 }]
  const matching = ports.filter(matches)
  for (const { port } of matching) {
    for (const clusterIp of service.clusterIPs) {
      const address = parseAddress(clusterIp)
      if (address !== null) backends.push({ host: address.text, kind: address.type, port, name: base })
    }
  }
  return matching.length > 0 ? backends : null
}

interface OwnEndpoint {
  readonly label: string
  readonly endpoint: IndexedEndpoint
}

function inZone(endpoints: readonly OwnEndpoint[], { zone, preferred }: NameRequest): readonly OwnEndpoint[] {
  if (zone === '') return endpoints
  const own = endpoints.filter(({ endpoint }) => endpoint.zone === zone)
  return own.length === 0 && preferred ? endpoints : own
}

function publishedEndpoints(index: ZoneIndex, plugin: KubernetesPlugin, request: NameRequest): readonly OwnEndpoint[] {
  if (plugin.noEndpoints) return []
  return index
    .endpoints(request.service, request.namespace)
    .filter((endpoint) => isPublished(endpoint))
    .map((endpoint) => ({ label: endpointLabel(endpoint, plugin), endpoint }))
}
