/** A small site behind an Ingress, written as values: nodes, proxies and the Service before them, backends, one rule for all. */
import { type KubeObject, node, pod } from './cluster.ts'

export const HOST = 'app.example.com'
export const FRONT_IP = '192.0.2.80'
export const CLOUD_IP = '203.0.113.80'
export const WEB_IP = '10.96.80.1'

export interface SiteOptions {
  readonly nodes?: number
  readonly cpus?: string
  /** Nodes by number, one for each proxy pod and each pod of `default/web`. */
  readonly proxies?: readonly number[]
  readonly web?: readonly number[]
  readonly front?: 'LoadBalancer' | 'NodePort' | 'hostNetwork'
  /** Of the status of the proxies' Service. */
  readonly ipMode?: 'VIP' | 'Proxy'
  readonly policy?: 'Cluster' | 'Local'
  /** Of Service `web` and of the proxies' Service. */
  readonly webSpec?: object
  readonly frontSpec?: object
  readonly ingressClass?: 'nginx' | 'alb'
  readonly annotations?: Readonly<Record<string, string>>
  readonly tls?: boolean
}

/** Node `node-N` with so many CPUs. */
function nodeWith(number: number, cpus: string): KubeObject {
  const made = node(`node-${number}`, number)
  return { ...made, status: { ...made.status, capacity: { cpu: cpus } } }
}

export function nodeIp(number: number): string {
  return `192.168.40.${10 + number}`
}

export function proxyPod(i: number, on: number, hostNetwork = false): KubeObject {
  const made = pod(`proxy-${i}`, `node-${on}`, hostNetwork ? nodeIp(on) : `10.244.${on}.${200 + i}`, 'proxy')
  return {
    ...made,
    metadata: { name: `proxy-${i}`, namespace: 'edge', labels: { 'app.kubernetes.io/name': 'ingress-nginx' } },
    spec: { ...made.spec, hostNetwork },
  }
}

export function webPod(i: number, on: number, app = 'web'): KubeObject {
  return pod(`${app}-${i}`, `node-${on}`, `10.244.${on}.${10 + i}`, app)
}

export function webService(spec: object = {}, name = 'web', clusterIP: string = WEB_IP, nodePort = 30081): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: {
      type: 'NodePort',
      clusterIP,
      clusterIPs: [clusterIP],
      selector: { app: name },
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort }],
      ...spec,
    },
  }
}

function frontService({ front, policy, ipMode, frontSpec }: SiteOptions): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'proxy', namespace: 'edge', labels: { 'app.kubernetes.io/name': 'ingress-nginx' } },
    spec: {
      type: front ?? 'LoadBalancer',
      clusterIP: '10.96.80.2',
      clusterIPs: ['10.96.80.2'],
      externalTrafficPolicy: policy ?? 'Cluster',
      selector: { 'app.kubernetes.io/name': 'ingress-nginx' },
      ports: [
        { name: 'http', protocol: 'TCP', port: 80, targetPort: 80, nodePort: 30080 },
        { name: 'https', protocol: 'TCP', port: 443, targetPort: 443, nodePort: 30443 },
      ],
      ...frontSpec,
    },
    status: {
      loadBalancer: front === 'NodePort' ? {} : { ingress: [{ ip: FRONT_IP, ipMode: ipMode ?? 'VIP' }] },
    },
  }
}

export function ingressClass(name: string, controller: string): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'IngressClass',
    metadata: { name },
    spec: { controller },
  }
}

/** Host → Service, every path. */
export function ingress(
  name: string,
  className: string,
  hosts: Readonly<Record<string, string>>,
  { annotations = {}, tls = false, ip = '' }: { annotations?: object; tls?: boolean; ip?: string } = {},
): KubeObject {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name, namespace: 'default', annotations } as KubeObject['metadata'],
    spec: {
      ingressClassName: className,
      ...(tls ? { tls: [{ hosts: Object.keys(hosts), secretName: 'certificate' }] } : {}),
      rules: Object.entries(hosts).map(([host, service]) => ({
        host,
        http: {
          paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: service, port: { number: 80 } } } }],
        },
      })),
    },
    ...(ip === '' ? {} : { status: { loadBalancer: { ingress: [{ ip }] } } }),
  }
}

export const CLASSES: readonly KubeObject[] = [
  ingressClass('nginx', 'k8s.io/ingress-nginx'),
  ingressClass('alb', 'ingress.k8s.aws/alb'),
]

/** Ingress `default/site` leads `HOST` to `default/web`. */
export function site(options: SiteOptions = {}): KubeObject[] {
  const { nodes = 3, cpus = '1', proxies = [1], web = [1, 2, 3], front = 'LoadBalancer', policy = 'Cluster' } = options
  const { ingressClass: className = 'nginx', annotations = {}, tls = false } = options
  const address = className === 'alb' ? { ip: CLOUD_IP } : {}
  return [
    ...Array.from({ length: nodes }, (_, i) => nodeWith(i + 1, cpus)),
    ...CLASSES,
    ...proxies.map((on, i) => proxyPod(i, on, front === 'hostNetwork')),
    ...(front === 'hostNetwork' ? [] : [frontService(options)]),
    ...web.map((on, i) => webPod(i, on)),
    webService({ externalTrafficPolicy: policy, ...options.webSpec }),
    ingress('site', className, { [HOST]: 'web' }, { annotations, tls, ...address }),
  ]
}

/** A stream of clients outside to the Ingress, at even distances: numbers are exact. */
export function visitors(connections: number, change: object = {}): object {
  return {
    from: { external: { addresses: 100 } },
    to: { ingress: 'site' },
    arrivals: { process: 'constant', connections },
    http: [{ host: HOST, path: '/' }],
    rtt: '10ms',
    ...change,
  }
}
