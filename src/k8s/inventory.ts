/**
 * The objects of the manifests by kind, and the notes that are taken while the rest is derived.
 */
import type { Warning } from '../errors.ts'
import type { DerivedNote } from './cluster.ts'
import type {
  Advertisement,
  CalicoPool,
  ConfigMap,
  EndpointSlice,
  Endpoints,
  HorizontalPodAutoscaler,
  Ingress,
  IngressClass,
  IpAddressPool,
  KubeObject,
  KubeProxyConfiguration,
  Middleware,
  Namespace,
  NetworkPolicy,
  NodeObject,
  Origin,
  Pod,
  Service,
  ServiceCidr,
  Workload,
} from './types.ts'

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name'

export interface Inventory {
  readonly services: Service[]
  readonly endpoints: Endpoints[]
  readonly slices: EndpointSlice[]
  readonly nodes: NodeObject[]
  readonly pods: Pod[]
  readonly namespaces: Namespace[]
  readonly workloads: Workload[]
  readonly autoscalers: HorizontalPodAutoscaler[]
  readonly ingresses: Ingress[]
  readonly ingressClasses: IngressClass[]
  readonly middlewares: Middleware[]
  readonly serviceCidrs: ServiceCidr[]
  readonly configMaps: ConfigMap[]
  readonly addressPools: IpAddressPool[]
  readonly advertisements: Advertisement[]
  readonly calicoPools: CalicoPool[]
  readonly networkPolicies: NetworkPolicy[]
  kubeProxy: KubeProxyConfiguration | null
}

export function takeInventory(objects: readonly KubeObject[]): Inventory {
  const inventory: Inventory = {
    services: [],
    endpoints: [],
    slices: [],
    nodes: [],
    pods: [],
    namespaces: [],
    workloads: [],
    autoscalers: [],
    ingresses: [],
    ingressClasses: [],
    middlewares: [],
    serviceCidrs: [],
    configMaps: [],
    addressPools: [],
    advertisements: [],
    calicoPools: [],
    networkPolicies: [],
    kubeProxy: null,
  }
  for (const object of objects) {
    switch (object.kind) {
      case 'Service':
        inventory.services.push(object)
        break
      case 'Endpoints':
        inventory.endpoints.push(object)
        break
      case 'EndpointSlice':
        inventory.slices.push(object)
        break
      case 'Node':
        inventory.nodes.push(object)
        break
      case 'Pod':
        inventory.pods.push(object)
        break
      case 'Namespace':
        inventory.namespaces.push(object)
        break
      case 'Deployment':
      case 'ReplicaSet':
      case 'ReplicationController':
      case 'StatefulSet':
      case 'DaemonSet':
      case 'Job':
        inventory.workloads.push(object)
        break
      case 'HorizontalPodAutoscaler':
        inventory.autoscalers.push(object)
        break
      case 'Ingress':
        inventory.ingresses.push(object)
        break
      case 'IngressClass':
        inventory.ingressClasses.push(object)
        break
      case 'Middleware':
        inventory.middlewares.push(object)
        break
      case 'ServiceCIDR':
        inventory.serviceCidrs.push(object)
        break
      case 'ConfigMap':
        inventory.configMaps.push(object)
        break
      case 'IPAddressPool':
        inventory.addressPools.push(object)
        break
      case 'L2Advertisement':
      case 'BGPAdvertisement':
        inventory.advertisements.push(object)
        break
      case 'IPPool':
        inventory.calicoPools.push(object)
        break
      case 'NetworkPolicy':
        inventory.networkPolicies.push(object)
        break
      case 'KubeProxyConfiguration':
        inventory.kubeProxy = object
    }
  }
  return inventory
}

/** `default/web`; a namespaced object always has its namespace once it is loaded. */
export function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace ?? 'default'}/${object.metadata.name}`
}

/** `Service default/web` or `Node node-1`, as notes and warnings name an object. */
export function titleOf(object: KubeObject): string {
  const { namespace, name } = object.metadata
  return namespace === undefined ? `${object.kind} ${name}` : `${object.kind} ${namespace}/${name}`
}

/** Of an object in a list its name tells more than its position. */
function placeOf({ file, document, item }: Origin): string {
  return item >= 0 ? file : `${file}, document ${document}`
}

/** What was filled in, one note an object, and what the user should know. */
export class Notes {
  readonly warnings: Warning[] = []
  readonly #derived = new Map<string, string[]>()
  readonly #places: ReadonlyMap<string, Origin>

  /** @param objects  what the notes will be about: a warning says in which file its object is */
  constructor(objects: readonly KubeObject[] = []) {
    this.#places = new Map(objects.map((object) => [titleOf(object), object.origin]))
  }

  derive(object: string, what: string): void {
    const parts = this.#derived.get(object)
    if (parts === undefined) this.#derived.set(object, [what])
    else parts.push(what)
  }

  /** @param where  the title of an object */
  warn(code: string, where: string, message: string): void {
    const origin = this.#places.get(where)
    this.warnings.push({ code, where: origin === undefined ? where : `${where} (${placeOf(origin)})`, message })
  }

  derived(): DerivedNote[] {
    return Array.from(this.#derived, ([object, parts]) => ({ object, what: parts.join(', ') }))
  }
}
