/**
 * The cluster that every core row runs on: 1024 Services of 8 endpoints each, compiled as `replay` compiles manifests.
 *
 * Every Service has a cluster IP, dialled by pods, and a load-balancer address, dialled from outside and masqueraded
 * (policy Cluster); every eighth has ClientIP affinity. Nothing is switched off. The only constants that are not dpemu's
 * own are the timeouts of closed connections: two seconds, so that a run of seconds sees entries expire at a steady rate.
 */
import type { RuleColumns } from '../native-free-core/index.ts'
import { compileRules, type Destination } from '../src/compile/compile.ts'
import { type Model, parseModel } from '../src/compile/model.ts'
import { Registry } from '../src/compile/registry.ts'
import type { Cluster, ClusterNode, ClusterService } from '../src/k8s/cluster.ts'
import type { EndpointSlice, Origin } from '../src/k8s/types.ts'

/** Seed of every choice that the dataplane makes. */
export const RUN_SEED = 7
export const SERVICES = 1024
export const ENDPOINTS_PER_SERVICE = 8
export const AFFINITY_EVERY = 8
export const CLIENTS_INSIDE = 1024
export const CLIENTS_OUTSIDE = 4096

/** Time between sweeps of expired entries, and what a closed connection's entry lives. */
export const SWEEP_MS = 2000
const CLOSED_SECONDS = 2
const PROTOCOL_TCP = 6

export interface World {
  readonly cluster: Cluster
  readonly registry: Registry
  readonly model: Model
  /** Packed rule set, as a worker gets it. */
  readonly rules: Int32Array
  readonly columns: RuleColumns
  /** Cluster IPs of all Services in order, then their load-balancer addresses. */
  readonly destinations: readonly Destination[]
  /** Address ids. */
  readonly clientsInside: Int32Array
  readonly clientsOutside: Int32Array
  readonly nodes: number
  readonly endpoints: number
}

/** @param nodes  1 to 64; endpoints and client pods are dealt out over them in turn */
export function createWorld(nodes = 1): World {
  const cluster = createCluster(nodes)
  const registry = new Registry()
  const ids = (count: number, text: (i: number) => string): Int32Array =>
    Int32Array.from({ length: count }, (_, i) => registry.address(text(i)))
  const clientsOutside = ids(CLIENTS_OUTSIDE, (i) => `198.18.${i >> 8}.${i & 255}`)
  const clientsInside = ids(CLIENTS_INSIDE, (i) => podAddress(i, nodes, 192))
  const dial = (address: string): Destination => ({
    address: registry.address(address),
    port: 80,
    protocol: PROTOCOL_TCP,
    isService: true,
  })
  const destinations = [
    ...cluster.services.map((service) => dial(service.clusterIPs[0])),
    ...cluster.services.map((service) => dial(service.loadBalancer[0].ip)),
  ]
  const model = parseModel(
    `conntrackMax: 8000000\ntcpTimeWaitSeconds: ${CLOSED_SECONDS}\ntcpCloseSeconds: ${CLOSED_SECONDS}\n`,
    'bench',
  )
  const compiled = compileRules(cluster, registry, {
    policy: null,
    mode: null,
    model,
    destinations,
    clientMap: new Int32Array(0),
    gcIntervalMs: SWEEP_MS,
  })
  return {
    cluster,
    registry,
    model,
    rules: compiled.rules,
    columns: compiled.columns,
    destinations,
    clientsInside,
    clientsOutside,
    nodes,
    endpoints: registry.endpoints.length,
  }
}

const NOWHERE: Origin = { file: 'bench', document: 1, item: -1 }

function createCluster(nodes: number): Cluster {
  const services = Array.from({ length: SERVICES }, (_, i) => service(i))
  return {
    nodes: Array.from({ length: nodes }, (_, i) => node(i)),
    pods: Array.from({ length: CLIENTS_INSIDE }, (_, i) => ({
      namespace: 'bench',
      name: `client-${i}`,
      labels: {},
      nodeName: nodeName(i % nodes),
      addresses: [podAddress(i, nodes, 192)],
      hostNetwork: false,
      hostname: '',
      subdomain: '',
      dnsPolicy: 'ClusterFirst',
      dnsConfig: {},
      ready: true,
      terminating: false,
      cpuLimit: 0,
      ports: [],
      owner: '',
    })),
    services,
    slices: services.map((one, i) => slice(one, i, nodes)),
    namespaces: ['bench'],
    ingresses: [],
    ingressClasses: [],
    kubernetesMinor: null,
    ingressConfigs: [],
    serviceCidrs: ['10.96.0.0/12'],
    serviceCidrsWritten: true,
    clusterCidrs: ['10.0.0.0/10'],
    kubeProxy: null,
    corefile: null,
    clusterDomain: 'cluster.local',
    derived: [],
    warnings: [],
  }
}

function nodeName(i: number): string {
  return `node-${i}`
}

function node(i: number): ClusterNode {
  return {
    name: nodeName(i),
    labels: {},
    zone: '',
    addresses: [`192.168.0.${i + 10}`],
    podCidrs: [`10.${i}.0.0/16`],
    // Enough that no CPU queue is full at a packet a second and connection.
    cpus: 64,
    ready: true,
  }
}

/** The i-th pod's address: in its node's block, from the third byte `first` on. */
function podAddress(i: number, nodes: number, first: number): string {
  const within = Math.floor(i / nodes)
  return `10.${i % nodes}.${first + (within >> 8)}.${within & 255}`
}

function service(i: number): ClusterService {
  return {
    namespace: 'bench',
    name: `service-${String(i).padStart(4, '0')}`,
    labels: {},
    annotations: {},
    type: 'LoadBalancer',
    headless: false,
    clusterIPs: [`10.96.${i >> 8}.${i & 255}`],
    ipFamilies: ['IPv4'],
    externalIPs: [],
    loadBalancer: [{ ip: `100.64.${i >> 8}.${i & 255}`, hostname: '', ipMode: 'VIP' }],
    sourceRanges: [],
    externalName: '',
    ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 30_000 + i }],
    selector: null,
    externalTrafficPolicy: 'Cluster',
    internalTrafficPolicy: 'Cluster',
    healthCheckNodePort: 0,
    publishNotReadyAddresses: false,
    affinityTimeoutSeconds: i % AFFINITY_EVERY === 0 ? 10_800 : 0,
    trafficDistribution: '',
    origin: NOWHERE,
  }
}

function slice(owner: ClusterService, i: number, nodes: number): EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: owner.name, namespace: 'bench', labels: { 'kubernetes.io/service-name': owner.name } },
    origin: NOWHERE,
    addressType: 'IPv4',
    endpoints: Array.from({ length: ENDPOINTS_PER_SERVICE }, (_, j) => {
      const number = i * ENDPOINTS_PER_SERVICE + j
      return {
        addresses: [podAddress(number, nodes, 16)],
        conditions: { ready: true },
        nodeName: nodeName(number % nodes),
      }
    }),
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  }
}
