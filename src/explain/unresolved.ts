/**
 * Why a name has no address for who asks: the object and field behind it, in one sentence.
 *
 * The most particular reason wins: what the name is (an alias, an endpoint, a Service without endpoints), where its Service
 * is otherwise, how the pod asks, and last that nobody told what the outside knows.
 * Cost: one pass over the Service's endpoints, or over the pods of its namespace.
 */

import { parseAddress } from '../dns/domain-names.ts'
import type { Resolution } from '../dns/resolver.ts'
import type { ClusterPod, ClusterService } from '../k8s/cluster.ts'
import { nearestName } from '../nearest.ts'
import type { Directory } from './context.ts'

/** Of this many the names are told. */
const MAX_NAMES = 5

/**
 * @param service  whose name, or a name below it, was asked; null for none
 * @param pod      who asks; null for no pod
 */
export function whyUnresolved(
  host: string,
  resolution: Resolution,
  service: ClusterService | null,
  pod: ClusterPod | null,
  directory: Directory,
): string {
  if (service !== null) return ofService(resolution.qname, service, directory)
  const last = resolution.queries.find(({ qname }) => qname === resolution.qname)
  const own = ownResolver(pod)
  const hint = own === '' ? whereElse(host, pod, directory) : ''
  const parts = [
    ...(own === '' ? [] : [own]),
    ...(hint === '' ? [] : [hint]),
    ...(own === '' && hint === '' && resolution.queries.some(({ unknown }) => unknown)
      ? ['names outside the cluster are not known here: say what they are with --upstream, or give the address']
      : []),
  ]
  const rcode = last?.unknown === true && hint === '' ? 'unknown' : (last?.rcode ?? 'NXDOMAIN')
  return `${rcode}${parts.length > 0 ? `, ${parts.join('; ')}` : ''}`
}

function ofService(qname: string, service: ClusterService, directory: Directory): string {
  const { namespace, name, externalName } = service
  if (service.type === 'ExternalName') {
    return parseAddress(externalName) === null
      ? 'NXDOMAIN, nothing is published below an ExternalName Service'
      : `NXDOMAIN, externalName ${externalName} is an address, and CoreDNS makes no CNAME of one: give the Service an EndpointSlice instead`
  }
  const label = endpointLabelOf(qname, service, directory.cluster.clusterDomain)
  if (label !== '') return ofEndpoint(label, service, directory)
  const endpoints = directory.dns.index.endpoints(name, namespace)
  if (endpoints.some(({ ready }) => ready)) return 'no address of a family that was asked for'
  const notReady = endpoints.map(({ podName, written }) => (podName === '' ? written : `pod ${namespace}/${podName}`))
  if (notReady.length > 0) {
    const verb = notReady.length === 1 ? 'is' : 'are'
    return `NXDOMAIN, no endpoint is published: ${few(notReady)} ${verb} not ready (publishNotReadyAddresses is not set)`
  }
  return 'NXDOMAIN, no endpoint is published'
}

function ofEndpoint(label: string, service: ClusterService, directory: Directory): string {
  const { namespace, name } = service
  const endpoints = directory.dns.index.endpoints(name, namespace)
  const pod = directory.cluster.pods.find((one) => one.namespace === namespace && one.name === label)
  const named = endpoints.find(({ hostname, podName }) => hostname === label || podName === label)
  if (named !== undefined && !named.ready) {
    return `NXDOMAIN, pod ${namespace}/${label} is not ready: its endpoint is not published`
  }
  const ready = endpoints.filter((endpoint) => endpoint.ready)
  const published = `${ready.length} ${ready.length === 1 ? 'endpoint is' : 'endpoints are'} published`
  if (pod === undefined) return `NXDOMAIN, ${published}, and there is no pod ${namespace}/${label}`
  if (pod.subdomain !== name) {
    const field = pod.owner.startsWith('StatefulSet')
      ? `serviceName of ${pod.owner}`
      : `subdomain of pod ${namespace}/${label}`
    const value = pod.subdomain === '' ? 'not set' : pod.subdomain
    return `NXDOMAIN, ${published}, none with the host name ${label}: ${field} is ${value}, not ${name}`
  }
  if (named === undefined)
    return `NXDOMAIN, ${published}, none of pod ${namespace}/${label}: Service ${namespace}/${name} does not select it`
  return `NXDOMAIN, ${published}, none with the host name ${label}`
}

/** Label of an endpoint below a Service's name, '' for the Service itself and for ports. */
function endpointLabelOf(qname: string, { name, namespace }: ClusterService, domain: string): string {
  const end = `.${name}.${namespace}.svc.${domain}.`
  const folded = qname.toLowerCase()
  const label = folded.endsWith(end) ? folded.slice(0, -end.length) : ''
  return label.includes('.') ? '' : label
}

/** How a pod asks, where that is not the cluster's DNS. */
function ownResolver(pod: ClusterPod | null): string {
  if (pod === null) return ''
  const at = `pod ${pod.namespace}/${pod.name}`
  if (pod.hostNetwork && pod.dnsPolicy === 'ClusterFirst') {
    return `${at} is on its node's network and asks the node's resolver: that needs dnsPolicy ClusterFirstWithHostNet`
  }
  if (pod.dnsPolicy === 'Default') return `${at} has dnsPolicy Default and asks its node's resolver`
  if (pod.dnsPolicy === 'None' && (pod.dnsConfig.nameservers ?? []).length === 0)
    return `${at} has no nameserver (dnsPolicy None)`
  return ''
}

/** The same Service in another namespace, or one spelt alike. */
function whereElse(host: string, pod: ClusterPod | null, directory: Directory): string {
  const labels = host.replace(/\.$/, '').split('.')
  const services = [...directory.services.values()]
  for (const at of [1, 0]) {
    // With a namespace behind it, the name says where to look.
    if (labels.length > at + 1) continue
    const elsewhere = services.filter(({ name, namespace }) => name === labels[at] && namespace !== pod?.namespace)
    if (elsewhere.length === 0) continue
    const where = elsewhere.map(({ namespace }) => namespace)
    return `Service ${labels[at]} is in namespace ${few(where)}: ask for ${labels.slice(0, at + 1).join('.')}.${where[0]}`
  }
  const near = nearestName(
    labels[0]!,
    services.map(({ name }) => name),
  )
  const meant = near === null || labels.length > 2 ? undefined : services.find(({ name }) => name === near)
  return meant === undefined || meant.name === labels[0] ? '' : `did you mean ${meant.namespace}/${meant.name}?`
}

function few(items: readonly string[]): string {
  const shown = items.slice(0, MAX_NAMES).join(', ')
  return items.length > MAX_NAMES ? `${shown} and ${items.length - MAX_NAMES} more` : shown
}
