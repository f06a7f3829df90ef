/** A small cluster written as values, for the tests that change it: two nodes, three pods, one Service. */

export interface KubeObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string> }
  readonly spec: Readonly<Record<string, unknown>>
  readonly status?: Readonly<Record<string, unknown>>
}

export const LOAD_BALANCER_IP = '192.0.2.80'
export const CLUSTER_IP = '10.96.80.1'
export const NODE_PORT = 30080

export function node(name: string, number: number): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    spec: { podCIDR: `10.244.${number}.0/24` },
    status: {
      capacity: { cpu: '4' },
      conditions: [{ type: 'Ready', status: 'True' }],
      addresses: [{ type: 'InternalIP', address: `192.168.40.${10 + number}` }],
    },
  }
}

export function pod(name: string, nodeName: string, address: string, app = 'web'): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { app } },
    spec: { nodeName, containers: [{ name: app, image: `registry.example/${app}:1` }] },
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  }
}

/** The LoadBalancer Service `default/web`; `spec` and `ip` say what differs. */
export function service(spec: Readonly<Record<string, unknown>> = {}, ip: string = LOAD_BALANCER_IP): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      type: 'LoadBalancer',
      selector: { app: 'web' },
      clusterIP: CLUSTER_IP,
      clusterIPs: [CLUSTER_IP],
      externalTrafficPolicy: 'Cluster',
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: NODE_PORT }],
      ...spec,
    },
    status: { loadBalancer: { ingress: [{ ip }] } },
  }
}

export const NODES: readonly KubeObject[] = [node('node-1', 1), node('node-2', 2)]
export const PODS: readonly KubeObject[] = [
  pod('web-0', 'node-1', '10.244.1.10'),
  pod('web-1', 'node-1', '10.244.1.11'),
  pod('web-2', 'node-2', '10.244.2.10'),
]
/** Pods that dial: one a node. */
export const CLIENTS: readonly KubeObject[] = [
  pod('client-0', 'node-1', '10.244.1.50', 'client'),
  pod('client-1', 'node-2', '10.244.2.50', 'client'),
]

/** Nodes, pods and, last, the Service. */
export function cluster(web: KubeObject = service()): KubeObject[] {
  return [...NODES, ...PODS, ...CLIENTS, web]
}

/** A stream of a scenario: clients outside, through the load balancer, one request each. */
export function stream(arrivals: object, change: object = {}): object {
  return { from: { external: { addresses: 200 } }, to: { service: 'web' }, arrivals, rtt: '10ms', ...change }
}
