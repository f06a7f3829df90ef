/**
 * EndpointSlices: the written ones, those that the slice controller would make of selectors and pods, and mirrored
 * Endpoints objects.
 *
 * A Service's endpoints come from one source, the first of: its written slices, its selector and the pods that match,
 * its written Endpoints object.
 * Source: kubernetes/kubernetes staging/src/k8s.io/endpointslice (utils.go, trafficdist/trafficdist.go),
 *         pkg/controller/{endpointslice,endpointslicemirroring}, pkg/api/v1/pod FindPort.
 */
import type { ClusterNode, ClusterService, ClusterServicePort } from './cluster.ts'
import { stableSuffix } from './hash.ts'
import { type Inventory, keyOf, type Notes, SERVICE_NAME_LABEL, titleOf } from './inventory.ts'
import { ipFamily } from './ip.ts'
import { LabelIndex, matchesLabels } from './labels.ts'
import type { PlannedPod } from './pods.ts'
import type { Endpoint, EndpointAddress, EndpointSlice, Endpoints, IpFamily } from './types.ts'

const MANAGED_BY_LABEL = 'endpointslice.kubernetes.io/managed-by'
const SKIP_MIRROR_LABEL = 'endpointslice.kubernetes.io/skip-mirror'
const TOPOLOGY_ANNOTATIONS = ['service.kubernetes.io/topology-mode', 'service.kubernetes.io/topology-aware-hints']
const ZONE_DISTRIBUTIONS: ReadonlySet<string> = new Set(['PreferClose', 'PreferSameZone', 'PreferSameNode'])

/** Of addresses that are named in a warning. */
const MAX_UNUSED = 5

type SlicePorts = NonNullable<EndpointSlice['ports']>

export function deriveSlices(
  inventory: Inventory,
  services: readonly ClusterService[],
  pods: readonly PlannedPod[],
  nodes: ReadonlyMap<string, ClusterNode>,
  notes: Notes,
): EndpointSlice[] {
  const slices = writtenSlices(inventory, notes)
  const sliced = new Set(
    slices.map((slice) => `${slice.metadata.namespace ?? 'default'}/${slice.metadata.labels?.[SERVICE_NAME_LABEL]}`),
  )
  const endpointsOf = new Map(inventory.endpoints.map((endpoints) => [keyOf(endpoints), endpoints]))
  const index = new LabelIndex(
    pods.map((planned) => ({ namespace: planned.pod.namespace, labels: planned.pod.labels, planned })),
  )
  for (const service of services) {
    const key = `${service.namespace}/${service.name}`
    if (service.type === 'ExternalName' || sliced.has(key)) continue
    const matching = service.selector === null ? [] : index.select(service.namespace, service.selector)
    const written = endpointsOf.get(key)
    if (matching.length > 0) {
      slices.push(
        ...selectedSlices(
          service,
          matching.map(({ planned }) => planned),
          nodes,
          notes,
        ),
      )
    } else if (written !== undefined && written.metadata.labels?.[SKIP_MIRROR_LABEL] !== 'true') {
      const mirrored = mirrorEndpoints(service, written)
      slices.push(...mirrored)
      notes.derive(`Service ${key}`, `${count(mirrored)} mirrored from its Endpoints object`)
    } else warnOfNone(service, inventory, notes)
  }
  warnOfMisnamed(services, slices, notes)
  const known = new Set(services.map(({ namespace, name }) => `${namespace}/${name}`))
  for (const endpoints of inventory.endpoints) {
    if (!known.has(keyOf(endpoints))) {
      notes.warn('W_NO_SERVICE', titleOf(endpoints), 'there is no Service of this name: nothing uses these endpoints')
    }
  }
  return slices
}

/** What kube-proxy passes over for a service port without endpoints: slice ports of the protocol that no port of the Service has the name of. */
export function misnamedPorts(
  service: Pick<ClusterService, 'ports'>,
  port: ClusterServicePort,
  slices: readonly EndpointSlice[],
): string[] {
  const offered = slices.filter(({ endpoints }) => (endpoints ?? []).length > 0).flatMap(({ ports }) => ports ?? [])
  const names = new Set(service.ports.map(({ name }) => name))
  const isOwn = offered.some(
    ({ name, protocol }) => (name ?? '') === port.name && (protocol ?? 'TCP') === port.protocol,
  )
  if (isOwn) return []
  const strange = offered.filter(
    ({ name, protocol }) => !names.has(name ?? '') && (protocol ?? 'TCP') === port.protocol,
  )
  return [
    ...new Set(strange.map(({ name, port: number }) => `${number ?? 'any'} ${name ? `'${name}'` : 'without a name'}`)),
  ]
}

/** Ports are matched by name alone: an unnamed one and a named one are two, though their numbers agree. */
function warnOfMisnamed(services: readonly ClusterService[], slices: readonly EndpointSlice[], notes: Notes): void {
  const byService = new Map<string, EndpointSlice[]>()
  for (const slice of slices) {
    const key = `${slice.metadata.namespace ?? 'default'}/${slice.metadata.labels?.[SERVICE_NAME_LABEL] ?? ''}`
    const known = byService.get(key)
    if (known === undefined) byService.set(key, [slice])
    else known.push(slice)
  }
  for (const service of services) {
    const key = `${service.namespace}/${service.name}`
    const own = byService.get(key)
    if (own === undefined || service.headless || service.type === 'ExternalName') continue
    for (const port of service.ports) {
      const strange = misnamedPorts(service, port, own)
      if (strange.length === 0) continue
      const name = port.name === '' ? 'has no name' : `is named '${port.name}'`
      const message = `its port ${port.port}/${port.protocol} ${name} and its endpoints have port ${strange.slice(0, 5).join(', ')}: ports are matched by name, so it has no endpoint`
      notes.warn('W_PORT_NAME', `Service ${key}`, message)
    }
  }
}

/** Those that something could use: of a Service, with addresses that are IP addresses. */
function writtenSlices({ slices }: Inventory, notes: Notes): EndpointSlice[] {
  return slices.filter((slice) => {
    if (slice.addressType === 'FQDN') {
      notes.warn('W_NOT_MODELLED', titleOf(slice), 'addressType FQDN is not modelled, and kube-proxy ignores it')
      return false
    }
    if ((slice.metadata.labels?.[SERVICE_NAME_LABEL] ?? '') !== '') {
      warnOfMoreAddresses(slice, notes)
      return true
    }
    notes.warn('W_NO_SERVICE', titleOf(slice), `it has no label ${SERVICE_NAME_LABEL}: no Service uses it`)
    return false
  })
}

/** Several addresses are one endpoint, of which kube-proxy takes the first: no way to write down several machines. */
function warnOfMoreAddresses(slice: EndpointSlice, notes: Notes): void {
  const unused = (slice.endpoints ?? []).flatMap(({ addresses }) => addresses.slice(1))
  if (unused.length === 0) return
  const more = unused.length > MAX_UNUSED ? ` and ${unused.length - MAX_UNUSED} more` : ''
  const message = `${unused.slice(0, MAX_UNUSED).join(', ')}${more} get no traffic: of an endpoint's addresses kube-proxy takes the first; write an endpoint for each`
  notes.warn('W_EXTRA_ADDRESS', titleOf(slice), message)
}

function warnOfNone({ namespace, name, selector }: ClusterService, inventory: Inventory, notes: Notes): void {
  const title = `Service ${namespace}/${name}`
  if (selector === null) {
    // Its endpoints are the API servers, which no dump of workloads shows.
    if (title === 'Service default/kubernetes') {
      notes.derive(title, 'no endpoints, for the API servers are not in the manifests')
      return
    }
    notes.warn('W_NO_ENDPOINTS', title, 'it has no selector and the manifests hold no endpoints for it: it has none')
    return
  }
  const maker = inventory.workloads.find(
    (workload) =>
      (workload.metadata.namespace ?? 'default') === namespace &&
      matchesLabels(selector, workload.spec.template.metadata?.labels ?? {}),
  )
  if (maker !== undefined) {
    notes.warn('W_NO_ENDPOINTS', title, `${titleOf(maker)}, whose pods it selects, has none: it has no endpoints`)
    return
  }
  const wanted = Object.entries(selector).map(([key, value]) => `${key}=${value}`)
  notes.warn('W_NO_ENDPOINTS', title, `no pod has the labels ${wanted.join(',')} that it selects: it has no endpoints`)
}

function selectedSlices(
  service: ClusterService,
  selected: readonly PlannedPod[],
  nodes: ReadonlyMap<string, ClusterNode>,
  notes: Notes,
): EndpointSlice[] {
  const title = `Service ${service.namespace}/${service.name}`
  for (const port of service.ports) warnOfUnresolved(port, selected, title, notes)
  const topology = TOPOLOGY_ANNOTATIONS.find((name) => /^auto$/i.test(service.annotations[name] ?? ''))
  if (topology !== undefined) {
    notes.warn('W_NOT_MODELLED', title, `${topology} is not modelled: its endpoints get no hints`)
  }
  const slices: EndpointSlice[] = []
  for (const family of service.ipFamilies) {
    // Pods that resolve a named port to different numbers cannot share a slice.
    const groups = new Map<string, { ports: SlicePorts; endpoints: Endpoint[] }>()
    for (const planned of selected) {
      const address = planned.pod.addresses.find((ip) => ipFamily(ip) === family)
      if (address === undefined) continue
      const numbers = service.ports.map((port) => resolvePort(port, planned))
      const key = numbers.join()
      let group = groups.get(key)
      if (group === undefined) {
        group = { ports: slicePorts(service, numbers), endpoints: [] }
        groups.set(key, group)
      }
      group.endpoints.push(endpointOf(service, planned, address, nodes))
    }
    for (const [key, { ports, endpoints }] of groups) {
      slices.push(makeSlice(service, family, key, 'endpointslice-controller.k8s.io', ports, endpoints))
    }
  }
  notes.derive(title, `${count(slices)} from its selector`)
  return slices
}

function count(slices: readonly EndpointSlice[]): string {
  const endpoints = slices.reduce((sum, slice) => sum + slice.endpoints.length, 0)
  return endpoints === 1 ? '1 endpoint' : `${endpoints} endpoints`
}

/** A port that a pod cannot resolve is left out of its slice; the pod stays. */
function slicePorts({ ports }: ClusterService, numbers: readonly (number | null)[]): SlicePorts {
  return ports.flatMap(({ name, protocol }, i) => {
    const port = numbers[i] ?? null
    return port === null ? [] : [{ name, port, protocol }]
  })
}

function resolvePort({ targetPort, protocol }: ClusterServicePort, { pod }: PlannedPod): number | null {
  if (typeof targetPort === 'number') return targetPort
  return pod.ports.find((port) => port.name === targetPort && port.protocol === protocol)?.containerPort ?? null
}

function warnOfUnresolved(
  port: ClusterServicePort,
  selected: readonly PlannedPod[],
  title: string,
  notes: Notes,
): void {
  if (selected.some((planned) => resolvePort(port, planned) !== null)) return
  const pods = selected.length === 1 ? 'the pod' : `any of the ${selected.length} pods`
  const message = `targetPort ${JSON.stringify(port.targetPort)} is not the name of a ${port.protocol} port of ${pods} that it selects: port ${port.port} has no endpoints`
  notes.warn('W_TARGET_PORT', title, message)
}

function endpointOf(
  service: ClusterService,
  { pod, endpointNodeName }: PlannedPod,
  address: string,
  nodes: ReadonlyMap<string, ClusterNode>,
): Endpoint {
  const ready = service.publishNotReadyAddresses || (pod.ready && !pod.terminating)
  const zone = nodes.get(endpointNodeName)?.zone ?? ''
  const hints = ready ? hintsOf(service, zone, endpointNodeName) : {}
  return {
    addresses: [address],
    conditions: { ready, serving: pod.ready, terminating: pod.terminating },
    ...(pod.hostname !== '' && pod.subdomain === service.name ? { hostname: pod.hostname } : {}),
    ...(endpointNodeName === '' ? {} : { nodeName: endpointNodeName }),
    ...(zone === '' ? {} : { zone }),
    ...(hints.forZones === undefined && hints.forNodes === undefined ? {} : { hints }),
    targetRef: { kind: 'Pod', name: pod.name, namespace: pod.namespace },
  }
}

function hintsOf(
  { trafficDistribution }: ClusterService,
  zone: string,
  nodeName: string,
): NonNullable<Endpoint['hints']> {
  if (!ZONE_DISTRIBUTIONS.has(trafficDistribution)) return {}
  return {
    ...(zone === '' ? {} : { forZones: [{ name: zone }] }),
    ...(trafficDistribution === 'PreferSameNode' && nodeName !== '' ? { forNodes: [{ name: nodeName }] } : {}),
  }
}

function mirrorEndpoints(service: ClusterService, { subsets = [] }: Endpoints): EndpointSlice[] {
  const slices: EndpointSlice[] = []
  for (const [index, { addresses = [], notReadyAddresses = [], ports = [] }] of subsets.entries()) {
    const all = [
      ...addresses.map((address) => mirrorAddress(address, true)),
      ...notReadyAddresses.map((address) => mirrorAddress(address, false)),
    ]
    const slicePorts = ports.map(({ name = '', port, protocol = 'TCP' }) => ({ name, port, protocol }))
    for (const family of ['IPv4', 'IPv6'] as const) {
      const endpoints = all.filter(({ addresses: [ip] }) => ipFamily(ip!) === family)
      if (endpoints.length === 0) continue
      slices.push(
        makeSlice(
          service,
          family,
          `subset ${index}`,
          'endpointslicemirroring-controller.k8s.io',
          slicePorts,
          endpoints,
        ),
      )
    }
  }
  return slices
}

function mirrorAddress({ ip, hostname, nodeName, targetRef }: EndpointAddress, ready: boolean): Endpoint {
  return {
    addresses: [ip],
    conditions: { ready },
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  }
}

function makeSlice(
  service: ClusterService,
  addressType: IpFamily,
  seed: string,
  manager: string,
  ports: SlicePorts,
  endpoints: Endpoint[],
): EndpointSlice {
  const suffix = stableSuffix(`${service.namespace}/${service.name} ${addressType} ${seed}`, 5)
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service.name}-${suffix}`,
      namespace: service.namespace,
      labels: { [SERVICE_NAME_LABEL]: service.name, [MANAGED_BY_LABEL]: manager },
    },
    addressType,
    endpoints,
    ports,
    origin: service.origin,
  }
}
