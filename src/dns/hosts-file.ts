/**
 * A pod's /etc/hosts as kubelet writes it, which C libraries and Go read before they ask DNS: its own names and hostAliases.
 *
 * On the node's network a pod has the node's file, of which nothing is known, and its hostAliases. Names are compared without
 * regard to case and as they stand: no search domain is put behind them.
 * Source: kubernetes/kubernetes pkg/kubelet/kubelet_pods.go managedHostsFileContent, hostsEntriesFromHostAliases.
 */
import type { ClusterPod } from '../k8s/cluster.ts'
import { lower, parseAddress } from './domain-names.ts'

export interface HostsEntry {
  readonly addresses: readonly string[]
  /** Where the lines come from: `hostAliases of pod default/web`. */
  readonly from: string
}

/** null for a name that stands not in the file. */
export function hostsEntry(pod: ClusterPod, name: string, clusterDomain: string): HostsEntry | null {
  const wanted = lower(name)
  const title = `pod ${pod.namespace}/${pod.name}`
  if (!pod.hostNetwork && ownNames(pod, clusterDomain).includes(wanted) && pod.addresses.length > 0)
    return { addresses: pod.addresses, from: `the own name of ${title}` }
  const addresses = (pod.hostAliases ?? []).flatMap(({ ip = '', hostnames = [] }) => {
    const address = parseAddress(ip)
    return address !== null && hostnames.some((hostname) => lower(hostname) === wanted) ? [address.text] : []
  })
  return addresses.length === 0 ? null : { addresses: [...new Set(addresses)], from: `hostAliases of ${title}` }
}

function ownNames({ name, namespace, hostname, subdomain }: ClusterPod, clusterDomain: string): string[] {
  // A host name has 63 characters at most.
  const short = (hostname === '' ? name : hostname).slice(0, 63).replace(/[-.]+$/, '')
  return subdomain === '' ? [short] : [short, `${short}.${subdomain}.${namespace}.svc.${clusterDomain}`]
}
