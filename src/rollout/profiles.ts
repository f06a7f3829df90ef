/**
 * Who learns of a change how late: load balancers by cloud, control planes by size. All data, each with its source.
 *
 * A load balancer probes every `intervalMs` and takes a target out after `unhealthy` failures in a row. What is marked as an assumption
 * or a report is listed under `derived` of every run that rests on it.
 */

/** What a load balancer asks to learn whether a node may have new connections. */
export type ProbeKind =
  /** kube-proxy's :10256/healthz: the node, not the pods. */
  | 'healthz'
  /** The Service's health check node port: whether the node has a ready endpoint of it. */
  | 'health-check-port'
  /** The Service's node port: whether anything answers there, on this node or behind it. */
  | 'node-port'

export interface ProbeSettings {
  readonly kind: ProbeKind
  readonly intervalMs: number
  readonly unhealthy: number
  readonly healthy: number
  readonly timeoutMs: number
}

export interface LoadBalancer {
  readonly name: string
  /**
   * `nodes`: new connections go to nodes; `pods`: straight to pods; `leader`: all to one node that answers for the address;
   * `routes`: to every node that announces the address.
   */
  readonly targets: 'nodes' | 'pods' | 'leader' | 'routes'
  /** By externalTrafficPolicy; without meaning for leaders and routes, which are not probed. */
  readonly cluster: ProbeSettings
  readonly local: ProbeSettings
  /** From "unhealthy" until no new connection arrives. */
  readonly propagationMs: number
  /** Of pods as targets: from un-ready to no new connection, and from ready to the first one. Of leaders and routes: how long a move takes. */
  readonly deregisterMs: number
  readonly registerMs: number
  /** Of leaders and routes: until a node that died without a word is missed. */
  readonly deadMs: number
  /** What becomes of open connections when their target turns unhealthy. */
  readonly onUnhealthy: 'reset' | 'keep' | 'move'
  /** Of routes: whether flows to the nodes that stay are hashed anew when their number changes. */
  readonly hashing: 'modulo' | 'resilient'
  /** All targets unhealthy: it sends to all of them. */
  readonly failOpen: boolean
  /** Of pods as targets: a new pod counts as ready only once it is one. */
  readonly readinessGate: boolean
  readonly source: string
}

const seconds = (value: number): number => value * 1000

function probe(kind: ProbeKind, unhealthy: number, interval: number, timeout: number, healthy: number): ProbeSettings {
  return {
    kind,
    intervalMs: seconds(interval),
    unhealthy,
    healthy,
    timeoutMs: seconds(Math.min(timeout, interval)),
  }
}

const NONE = probe('healthz', 1, 10, 1, 1)
const BASE = {
  targets: 'nodes',
  propagationMs: 0,
  deregisterMs: 0,
  registerMs: 0,
  deadMs: 0,
  onUnhealthy: 'keep',
  hashing: 'modulo',
  failOpen: false,
  readinessGate: false,
} as const

export const LOAD_BALANCERS: readonly LoadBalancer[] = [
  {
    ...BASE,
    name: 'gke-l4',
    cluster: probe('healthz', 3, 8, 1, 1),
    local: probe('health-check-port', 2, 3, 1, 1),
    failOpen: true,
    source: 'kubernetes/ingress-gce pkg/l4/healthchecks: 3 × 8 s under Cluster, 2 × 3 s under Local',
  },
  {
    ...BASE,
    name: 'gce-ccm',
    cluster: probe('healthz', 3, 8, 1, 1),
    local: probe('health-check-port', 3, 8, 1, 1),
    failOpen: true,
    source: 'kubernetes/cloud-provider-gcp providers/gce/gce.go: 3 × 8 s',
  },
  {
    ...BASE,
    name: 'gke-neg',
    targets: 'pods',
    cluster: probe('node-port', 2, 15, 15, 1),
    local: probe('node-port', 2, 15, 15, 1),
    deregisterMs: seconds(60),
    registerMs: seconds(30),
    readinessGate: true,
    source:
      'kubernetes/ingress-gce pkg/neg (its readiness gate is always there); about 60 s until a removed pod gets nothing: reports (ingress-gce#2222)',
  },
  {
    ...BASE,
    name: 'azure',
    cluster: probe('node-port', 2, 5, 5, 1),
    local: probe('health-check-port', 2, 5, 5, 1),
    source: 'kubernetes-sigs/cloud-provider-azure pkg/consts: 2 × 5 s; probes of mode servicenodeport under Cluster',
  },
  {
    ...BASE,
    name: 'aws-clb',
    cluster: probe('node-port', 6, 10, 5, 2),
    local: probe('health-check-port', 6, 10, 5, 2),
    source: 'kubernetes/cloud-provider-aws aws_loadbalancer.go: 6 × 10 s',
  },
  {
    ...BASE,
    name: 'aws-nlb',
    cluster: probe('node-port', 3, 10, 6, 3),
    local: probe('health-check-port', 2, 10, 6, 2),
    propagationMs: seconds(35),
    onUnhealthy: 'reset',
    failOpen: true,
    source:
      'kubernetes-sigs/aws-load-balancer-controller: 3 × 10 s, 2 × 10 s under Local; 30 to 40 s more: reports (aws/containers-roadmap#470)',
  },
  {
    ...BASE,
    name: 'aws-nlb-ccm',
    cluster: probe('node-port', 3, 30, 10, 3),
    local: probe('health-check-port', 2, 10, 10, 2),
    propagationMs: seconds(35),
    onUnhealthy: 'reset',
    failOpen: true,
    source: 'kubernetes/cloud-provider-aws aws.go: 3 × 30 s, 2 × 10 s under Local; 30 to 40 s more: reports',
  },
  {
    ...BASE,
    name: 'aws-nlb-ip',
    targets: 'pods',
    cluster: probe('node-port', 3, 10, 6, 3),
    local: probe('node-port', 3, 10, 6, 3),
    deregisterMs: seconds(120),
    registerMs: seconds(180),
    onUnhealthy: 'reset',
    failOpen: true,
    source:
      'reports: about 120 s after deregistration, 180 s until registered (aws-load-balancer-controller#2366, #1834)',
  },
  {
    ...BASE,
    name: 'aws-alb-ip',
    targets: 'pods',
    cluster: probe('node-port', 2, 15, 5, 2),
    local: probe('node-port', 2, 15, 5, 2),
    deregisterMs: seconds(25),
    registerMs: seconds(30),
    source: 'reports: 5 to 70 s after deregistration (aws-load-balancer-controller#1064, #2106)',
  },
  {
    ...BASE,
    name: 'metallb-l2',
    targets: 'leader',
    cluster: NONE,
    local: NONE,
    deregisterMs: seconds(1),
    registerMs: seconds(1),
    deadMs: seconds(10),
    onUnhealthy: 'move',
    source:
      'metallb/metallb speaker, concepts/layer2: more than 10 s count as a fault; 1 s for a planned move: assumption',
  },
  {
    ...BASE,
    name: 'metallb-bgp',
    targets: 'routes',
    cluster: NONE,
    local: NONE,
    deregisterMs: seconds(1),
    registerMs: seconds(1),
    deadMs: seconds(90),
    onUnhealthy: 'move',
    source: 'metallb/metallb concepts/bgp; hold time 90 s and 1 s for a withdrawal: assumptions',
  },
]

/** Quantiles of the whole lag from a change to a node's rules: probability and milliseconds, ascending. */
export type LagQuantiles = readonly (readonly [probability: number, ms: number])[]

export interface ControlPlane {
  readonly name: string
  /** From the pod's change to its written EndpointSlice, and from there to each watcher. */
  readonly sliceMs: number
  readonly watchMs: number
  /** How long kube-proxy takes to write its rules. */
  readonly syncMs: number
  /** In place of `syncMs`, drawn for each node and sync. */
  readonly syncQuantiles: LagQuantiles | null
  /** kube-proxy's minSyncPeriod; null: as its configuration says, else its default. */
  readonly minSyncMs: number | null
  /** How often the kubelet looks for containers that have ended. */
  readonly relistMs: number
  /** From the end of its last container until the pod's object is gone. */
  readonly removalMs: number
  readonly source: string
}

export const CONTROL_PLANES: readonly ControlPlane[] = [
  {
    name: 'ideal',
    sliceMs: 0,
    watchMs: 0,
    syncMs: 0,
    syncQuantiles: null,
    minSyncMs: 0,
    relistMs: 0,
    removalMs: 0,
    source: 'nobody waits: for comparison',
  },
  {
    name: 'small',
    sliceMs: 50,
    watchMs: 20,
    syncMs: 40,
    syncQuantiles: null,
    minSyncMs: null,
    relistMs: 1000,
    removalMs: 1000,
    source: 'assumption for a cluster of some ten nodes; the kubelet looks for ended containers once a second (PLEG)',
  },
  {
    name: 'busy-100',
    sliceMs: 0,
    watchMs: 0,
    syncMs: 0,
    syncQuantiles: [
      [0.5, 1520],
      [0.9, 2280],
      [0.99, 6820],
    ],
    minSyncMs: 0,
    relistMs: 1000,
    removalMs: 1000,
    source: 'kubernetes/kubernetes#124272: 100 nodes under load, 1.52 / 2.28 / 6.82 s (50, 90, 99 %)',
  },
  {
    name: 'iptables-5k',
    sliceMs: 0,
    watchMs: 0,
    syncMs: 0,
    syncQuantiles: [
      [0.5, 5000],
      [0.9, 15_000],
      [0.99, 30_000],
    ],
    minSyncMs: 0,
    relistMs: 1000,
    removalMs: 1000,
    source: 'KEP-3453: 5 s (50 %) with 5,000 nodes; 15 and 30 s (90, 99 %) are assumptions',
  },
]

/** Used where nothing says otherwise. */
export const DEFAULT_CONTROL_PLANE = 'small'

/**
 * kube-proxy's minSyncPeriod by mode where its configuration has none.
 *
 * Source: kubernetes/kubernetes pkg/proxy/apis/config/v1alpha1/defaults.go for iptables and ipvs; that of nftables is an assumption.
 */
export const DEFAULT_MIN_SYNC_MS: Readonly<Record<'iptables' | 'ipvs' | 'nftables', number>> = {
  iptables: 1000,
  ipvs: 0,
  nftables: 1000,
}

/** The load balancer of a cloud, by what its nodes' providerID starts with. */
export const CLOUDS: readonly (readonly [prefix: string, profile: string])[] = [
  ['gce://', 'gke-l4'],
  ['aws://', 'aws-nlb'],
  ['azure://', 'azure'],
]

/** Annotation and value of a Service that name another one. */
export const SERVICE_HINTS: readonly (readonly [annotation: string, value: RegExp, profile: string])[] = [
  ['service.beta.kubernetes.io/aws-load-balancer-nlb-target-type', /^ip$/, 'aws-nlb-ip'],
  ['service.beta.kubernetes.io/aws-load-balancer-type', /^nlb-ip$/, 'aws-nlb-ip'],
  ['service.beta.kubernetes.io/aws-load-balancer-type', /^external$/, 'aws-nlb'],
  ['service.beta.kubernetes.io/aws-load-balancer-type', /^nlb$/, 'aws-nlb-ccm'],
  ['cloud.google.com/l4-rbs', /./, 'gke-l4'],
  ['networking.gke.io/load-balancer-type', /./, 'gke-l4'],
  ['cloud.google.com/neg', /exposed_ports|"ingress":\s*true/, 'gke-neg'],
]
