/**
 * Ports that containers declare, held against those that connections are sent to.
 *
 * A declaration opens nothing and a missing one closes nothing (API text of Container.ports). But where pods declare ports, and
 * not the one that a Service leads to, a wrong targetPort is the likeliest reason, and the connection is then refused by the pod.
 */
import type { ClusterPod, ClusterService } from './cluster.ts'
import type { Notes } from './inventory.ts'
import type { EndpointSlice } from './types.ts'

/** What a pod declares in place of a port; null where it declares that one, or nothing at all. */
export function declaredInstead({ ports, hostNetwork }: ClusterPod, port: number, protocol: string): string | null {
  if (ports.length === 0 || hostNetwork) return null
  if (ports.some((one) => one.containerPort === port && one.protocol === protocol)) return null
  return [...new Set(ports.map((one) => `${one.containerPort}/${one.protocol}`))].join(', ')
}

/** One warning a Service port that leads to a port which none of its pods declares, where all of them declare some. */
export function warnOfUndeclaredPorts(
  services: readonly ClusterService[],
  slices: readonly EndpointSlice[],
  pods: readonly ClusterPod[],
  notes: Notes,
): void {
  const byAddress = new Map(
    pods.flatMap((pod) => (pod.hostNetwork ? [] : pod.addresses.map((address) => [address, pod] as const))),
  )
  const selecting = new Set(
    services.filter(({ selector }) => selector !== null).map(({ namespace, name }) => `${namespace}/${name}`),
  )
  const told = new Set<string>()
  for (const { metadata, ports = [], endpoints } of slices) {
    const service = `${metadata.namespace ?? 'default'}/${metadata.labels?.['kubernetes.io/service-name'] ?? ''}`
    if (!selecting.has(service)) continue
    const behind = endpoints.flatMap(({ addresses }) => byAddress.get(addresses[0] ?? '') ?? [])
    for (const { port, protocol = 'TCP' } of ports) {
      const key = `${service} ${port}/${protocol}`
      if (typeof port !== 'number' || behind.length === 0 || told.has(key)) continue
      const declared = behind.map((pod) => declaredInstead(pod, port, protocol))
      if (declared.includes(null)) continue
      told.add(key)
      const message = `its targetPort ${port}/${protocol} is declared by none of its pods (they declare ${declared[0]}): unless something listens there all the same, the pods refuse the connections`
      notes.warn('W_PORT_NOT_DECLARED', `Service ${service}`, message)
    }
  }
}
