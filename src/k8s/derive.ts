/**
 * Objects of the manifests to a whole cluster: what they leave out is filled in the way a running cluster would.
 *
 * Invariants: what a manifest says is never overridden; the result depends on the objects and the previous cluster only,
 *             and addresses do not depend on the order of the objects; all that was filled in is listed in `derived`.
 * Order:      blocks of addresses, nodes, pods, Services, endpoints; each needs only those before it.
 * Cost:       10,000 Services with as many slices take some hundred milliseconds.
 */

import { clusterCidrsOf, surveyNetwork } from './addresses.ts'
import type { Cluster, ClusterNode, ClusterService } from './cluster.ts'
import { controllerSettings, isControllerConfig } from './controller-config.ts'
import { corefileOf, nodeDnsCorefileOf } from './corefile-parts.ts'
import { warnOfOtherDataplanes } from './dataplanes.ts'
import { warnOfUndeclaredPorts } from './declared.ts'
import { deriveSlices } from './endpoints.ts'
import { type Inventory, Notes, takeInventory, titleOf } from './inventory.ts'
import { deriveNodes } from './nodes.ts'
import { derivePods } from './pods.ts'
import { namespaceLabelsOf, notePolicies } from './policy-notes.ts'
import { policyPluginOf } from './policy-plugin.ts'
import { deriveServices } from './services.ts'
import type { EndpointSlice, Ingress, KubeObject } from './types.ts'

const DEFAULT_CLUSTER_DOMAIN = 'cluster.local'
const SYSTEM_NAMESPACES = ['default', 'kube-system']

/**
 * @param objects   as load.ts gives them: checked, addresses in canonical text
 * @param previous  the cluster before the objects changed: what it had derived for an object of the same kind,
 *                  namespace and name (node, addresses, ports) is derived again wherever it is still free
 * @param placement  of the pods without a node, of those that kube-scheduler could have made: 0 is the one that is taken otherwise
 * @throws UserError  E_SERVICE_CIDR_FULL, E_NODE_PORTS_FULL
 */
export function deriveCluster(objects: readonly KubeObject[], previous?: Cluster, placement: number = 0): Cluster {
  const inventory = takeInventory(objects)
  const notes = new Notes(objects)
  const network = surveyNetwork(inventory)
  const plannedNodes = deriveNodes(inventory, network, previous, notes)
  const nodes = plannedNodes.map(({ node }) => node)
  const plannedPods = derivePods(inventory, plannedNodes, network, previous, notes, placement)
  warnOfOtherDataplanes(inventory, notes)
  const services = deriveServices(inventory, network, previous, notes, nodes)
  const nodesByName = new Map(nodes.map((node) => [node.name, node]))
  const slices = deriveSlices(inventory, services, plannedPods, nodesByName, notes)
  warnOfUnknownNodes(slices, nodesByName, notes)
  warnOfServiceAddresses(slices, services, notes)
  warnOfUndeclaredPorts(
    services,
    slices,
    plannedPods.map(({ pod }) => pod),
    notes,
  )
  for (const ingress of inventory.ingresses) warnOfMissingBackends(ingress, services, notes)
  const namespaces = namespacesOf(objects)
  const policies = policiesOf(inventory, namespaces)
  if (policies !== null) {
    const { namespaceLabels, policyPlugin: plugin } = policies
    const pods = plannedPods.map(({ pod }) => pod)
    const serviceCidrs = network.serviceCidrs.map(({ text }) => text)
    notePolicies(policies.networkPolicies, { pods, namespaceLabels, serviceCidrs, plugin }, notes)
  }
  const corefile = corefileOf(inventory.configMaps)
  return {
    nodes,
    ...(inventory.nodes.length === 0 ? { nodesMadeUp: true as const } : {}),
    pods: plannedPods.map(({ pod }) => pod),
    services,
    slices,
    namespaces,
    ...policies,
    ingresses: inventory.ingresses,
    ingressClasses: inventory.ingressClasses,
    ...(inventory.middlewares.length === 0 ? {} : { middlewares: inventory.middlewares }),
    serviceCidrs: network.serviceCidrs.map(({ text }) => text),
    serviceCidrsWritten: network.serviceCidrsWritten,
    clusterCidrs:
      network.clusterCidrs.length > 0
        ? network.clusterCidrs.map(({ text }) => text)
        : clusterCidrsOf(nodes.flatMap(({ podCidrs }) => podCidrs)),
    kubeProxy: inventory.kubeProxy,
    calicoPools: inventory.calicoPools.flatMap(({ spec }) =>
      spec.disabled ? [] : { cidr: spec.cidr, nat: spec.natOutgoing ?? false },
    ),
    ingressConfigs: inventory.configMaps
      .filter(({ metadata }) => isControllerConfig(metadata))
      .map((config) => ({ ...config, data: controllerSettings(config.data ?? {}) })),
    kubernetesMinor: previous?.kubernetesMinor ?? oldestMinor(inventory),
    corefile,
    nodeDnsCorefile: nodeDnsCorefileOf(inventory.configMaps),
    clusterDomain: clusterDomainOf(corefile?.text ?? null),
    derived: notes.derived(),
    warnings: notes.warnings,
  }
}

/** null without NetworkPolicies. */
function policiesOf(inventory: Inventory, namespaces: readonly string[]) {
  if (inventory.networkPolicies.length === 0) return null
  return {
    networkPolicies: inventory.networkPolicies,
    namespaceLabels: namespaceLabelsOf(namespaces, inventory.namespaces),
    policyPlugin: policyPluginOf(inventory),
  }
}

/** One warning a node name: kube-proxy works without the Node object, but no packet enters there. */
function warnOfUnknownNodes(
  slices: readonly EndpointSlice[],
  nodes: ReadonlyMap<string, ClusterNode>,
  notes: Notes,
): void {
  const unknown = new Map<string, { endpoints: number; first: EndpointSlice }>()
  for (const slice of slices) {
    for (const { nodeName = '' } of slice.endpoints) {
      if (nodeName === '' || nodes.has(nodeName)) continue
      const entry = unknown.get(nodeName)
      if (entry === undefined) unknown.set(nodeName, { endpoints: 1, first: slice })
      else entry.endpoints++
    }
  }
  for (const [name, { endpoints, first }] of unknown) {
    const rest = endpoints === 1 ? '' : ` (and ${endpoints - 1} more endpoints)`
    notes.warn(
      'W_UNKNOWN_NODE',
      titleOf(first),
      `an endpoint${rest} is on node ${name}, which is not among the Nodes of the manifests`,
    )
  }
}

/** One warning a slice: kube-proxy makes rules for such endpoints, and what they translate to is for nobody. */
function warnOfServiceAddresses(
  slices: readonly EndpointSlice[],
  services: readonly ClusterService[],
  notes: Notes,
): void {
  const owners = new Map<string, string>()
  for (const { namespace, name, clusterIPs, externalIPs, loadBalancer } of services) {
    for (const ip of clusterIPs) owners.set(ip, `the cluster IP of Service ${namespace}/${name}`)
    for (const ip of [...externalIPs, ...loadBalancer.map((one) => one.ip)])
      if (ip !== '' && !owners.has(ip)) owners.set(ip, `an address of Service ${namespace}/${name} from outside`)
  }
  for (const slice of slices) {
    const found = slice.endpoints.flatMap(({ addresses }) => addresses).find((ip) => owners.has(ip))
    if (found === undefined) continue
    const message = `endpoint ${found} is ${owners.get(found)}: a connection is translated once, so that Service's endpoints are not reached through it`
    notes.warn('W_ENDPOINT_IS_SERVICE', titleOf(slice), message)
  }
}

/** A missing backend is reported, not invented. */
function warnOfMissingBackends(ingress: Ingress, services: readonly ClusterService[], notes: Notes): void {
  const namespace = ingress.metadata.namespace ?? 'default'
  const backends = [
    ingress.spec.defaultBackend,
    ...(ingress.spec.rules ?? []).flatMap(({ http }) => (http?.paths ?? []).map(({ backend }) => backend)),
  ]
  // `use-annotation` is an ALB's: an action of that name, no Service.
  const named = backends.filter((backend) => backend?.service?.port?.name !== 'use-annotation')
  const names = new Set(named.flatMap((backend) => backend?.service?.name ?? []))
  for (const { namespace: of, name } of services) if (of === namespace) names.delete(name)
  for (const name of names) {
    notes.warn(
      'W_BACKEND_MISSING',
      titleOf(ingress),
      `its backend Service ${namespace}/${name} is not in the manifests`,
    )
  }
}

function oldestMinor({ nodes }: Inventory): number | null {
  const minors = nodes.flatMap(({ status }) => /^v1\.(\d+)/.exec(status?.nodeInfo?.kubeletVersion ?? '')?.[1] ?? [])
  return minors.length === 0 ? null : Math.min(...minors.map(Number))
}

/** The first zone of the `kubernetes` plugin that is no reverse zone. */
function clusterDomainOf(corefile: string | null): string {
  const zones =
    /^[ \t]*kubernetes[ \t]+([^{}#\n]*)/m
      .exec(corefile ?? '')?.[1]
      ?.trim()
      .split(/\s+/) ?? []
  const domain = zones.find((zone) => zone !== '' && !/\.arpa\.?$/i.test(zone))
  return domain?.replace(/\.$/, '').toLowerCase() ?? DEFAULT_CLUSTER_DOMAIN
}

function namespacesOf(objects: readonly KubeObject[]): string[] {
  const names = new Set(SYSTEM_NAMESPACES)
  for (const { kind, metadata } of objects) {
    if (kind === 'Namespace') names.add(metadata.name)
    else if (metadata.namespace !== undefined) names.add(metadata.namespace)
  }
  return [...names].sort()
}
