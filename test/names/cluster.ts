/** A small cluster with a DNS server, written as values: three nodes, CoreDNS, a headless StatefulSet, and clients. */
import { type KubeObject, node, pod } from '../replay/cluster.ts'

export const DNS_IP = '10.96.0.10'
export const NODES: readonly KubeObject[] = [node('node-1', 1), node('node-2', 2), node('node-3', 3)]
export const CLIENT: KubeObject = pod('client', 'node-1', '10.244.1.50', 'client')

/** CoreDNS on node-2 and node-3. */
export const COREDNS: readonly KubeObject[] = [
  dnsPod('coredns-a', 'node-2', '10.244.2.53'),
  dnsPod('coredns-b', 'node-3', '10.244.3.53'),
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kube-dns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
    spec: {
      selector: { 'k8s-app': 'kube-dns' },
      clusterIP: DNS_IP,
      clusterIPs: [DNS_IP],
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
      ],
    },
  },
]

function dnsPod(name: string, nodeName: string, address: string): KubeObject {
  const made = pod(name, nodeName, address, 'coredns')
  return {
    ...made,
    metadata: { name, namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
    spec: { ...made.spec, dnsPolicy: 'Default' },
  }
}

/** Headless `default/mysql` and pod `mysql-N` of its StatefulSet on `node-(N % 3 + 1)`, N from 0 to `replicas` - 1. */
export function mysql(replicas: number): KubeObject[] {
  const members = Array.from({ length: replicas }, (_, i): KubeObject => {
    const made = pod(`mysql-${i}`, `node-${(i % 3) + 1}`, `10.244.${(i % 3) + 1}.${100 + i}`, 'mysql')
    return { ...made, spec: { ...made.spec, hostname: `mysql-${i}`, subdomain: 'mysql' } }
  })
  return [...members, headless('mysql', 'mysql', 3306)]
}

export function headless(name: string, app: string, port: number): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: { clusterIP: 'None', selector: { app }, ports: [{ name, port }] },
  }
}

export function clusterIp(name: string, app: string | null, spec: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace: 'default' },
    spec: {
      ...(app === null ? {} : { selector: { app } }),
      ports: [{ name: 'http', port: 80, targetPort: 8080 }],
      ...spec,
    },
  }
}

export function corefile(cache: string): KubeObject {
  const text = `.:53 {
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      ttl 30
    }
    forward . /etc/resolv.conf
    ${cache}
    loadbalance
}
`
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'coredns', namespace: 'kube-system' },
    data: { Corefile: text },
  } as unknown as KubeObject
}

/** Everything above; `more` is added. */
export function objects(...more: readonly KubeObject[]): KubeObject[] {
  return [...NODES, ...COREDNS, CLIENT, ...more]
}

/** A stream from the client pod to a name: constant arrivals, so that numbers are exact. */
export function dials(name: string, port: number, connections: number, change: object = {}): object {
  return {
    from: { pods: { selector: { app: 'client' } } },
    to: { name, port },
    arrivals: { process: 'constant', connections },
    rtt: '1ms',
    ...change,
  }
}
