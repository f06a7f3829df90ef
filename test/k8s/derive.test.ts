import { describe, expect, it, test } from 'vitest'
import { cidrContains, parseCidr } from '../../src/k8s/ip.ts'
import { clusterOf, codes, derivedOf, failure, pod, podsOf, service } from './helpers.ts'

const deployment = (name: string, replicas: number, spec = '{containers: [{name: c}]}', kind = 'Deployment') => `
---
apiVersion: apps/v1
kind: ${kind}
metadata: {name: ${name}}
spec: {replicas: ${replicas}, selector: {matchLabels: {app: ${name}}}, template: {metadata: {labels: {app: ${name}}}, spec: ${spec}}}`
const svc = (name: string, spec: string) => `
---
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: ${spec}`
const node = (name: string, rest = 'spec: {}', labels = '{}') => `
---
apiVersion: v1
kind: Node
metadata: {name: ${name}, labels: ${labels}}
${rest}`
const written = (name: string, rest: string, labels = '{app: web}') => `
---
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: ${labels}}
${rest}`

describe('nodes', () => {
  it('are three when the manifests have none, and the report says so', () => {
    const cluster = clusterOf('')
    expect(
      cluster.nodes.map(({ name, addresses, podCidrs, cpus, zone, ready }) => ({
        name,
        addresses,
        podCidrs,
        cpus,
        zone,
        ready,
      })),
    ).toEqual(
      [1, 2, 3].map((i) => ({
        name: `node-${i}`,
        addresses: [`10.0.0.${10 + i}`],
        podCidrs: [`10.244.${i}.0/24`],
        cpus: 4,
        zone: '',
        ready: true,
      })),
    )
    expect(derivedOf(cluster, 'Node node-1')).toBe(
      'not in the manifests, address 10.0.0.11, podCIDR 10.244.1.0/24, 4 CPUs',
    )
    expect(cluster.clusterCidrs).toEqual(['10.244.0.0/16'])
  })

  it('are those that pods name when there is no Node object, and no others', () => {
    const cluster = clusterOf(
      written('a', 'spec: {nodeName: gke-7}\nstatus: {hostIP: 192.168.49.2, podIP: 172.17.0.3}'),
    )
    expect(cluster.nodes.map(({ name, addresses }) => [name, addresses])).toEqual([['gke-7', ['192.168.49.2']]])
    expect(codes(cluster)).toEqual(['W_NODES_ASSUMED'])
  })

  it('without written addresses have those of their pods', () => {
    const cluster = clusterOf(node('a') + written('x', 'spec: {nodeName: a}\nstatus: {hostIP: 192.168.49.2}'))
    expect(cluster.nodes[0]!.addresses).toEqual(['192.168.49.2'])
  })

  it('keep what is written: addresses in order, CPUs, podCIDRs, zone', () => {
    const cluster = clusterOf(
      node(
        'a',
        'spec: {podCIDR: 10.9.0.0/24}\nstatus: {capacity: {cpu: 2500m}, conditions: [{type: Ready, status: "False"}], addresses: [{type: Hostname, address: a}, {type: ExternalIP, address: 1.2.3.4}, {type: InternalIP, address: 192.168.0.2}]}',
        '{topology.kubernetes.io/zone: z1}',
      ) + node('b', 'status: {capacity: {cpu: 8}}'),
    )
    expect(cluster.nodes[0]).toMatchObject({
      addresses: ['192.168.0.2', '1.2.3.4'],
      cpus: 2.5,
      podCidrs: ['10.9.0.0/24'],
      zone: 'z1',
      ready: false,
    })
    expect(cluster.nodes[1]).toMatchObject({ cpus: 8, podCidrs: ['10.244.1.0/24'] })
    expect(derivedOf(cluster, 'Node a')).toMatch(/^NotReady: taken to be down/)
  })

  it('get the podCIDR that their written pods are in', () => {
    const status = (ip: string) => `status: {podIP: ${ip}}`
    const cluster = clusterOf(
      node('a') +
        node('b') +
        written('x', `spec: {nodeName: b}\n${status('10.244.1.9')}`) +
        written('y', `spec: {nodeName: a}\n${status('10.244.7.9')}`),
    )
    expect(cluster.nodes.map(({ podCidrs }) => podCidrs[0])).toEqual(['10.244.7.0/24', '10.244.1.0/24'])
  })

  it('stay out of blocks that something written is in', () => {
    const cluster = clusterOf(svc('dns', '{clusterIP: 10.0.0.10, ports: [{port: 53}]}'))
    expect(cluster.nodes[0]!.addresses).toEqual(['172.18.0.11'])
  })

  it('have both families when anything is dual stack', () => {
    const cluster = clusterOf(
      svc('a', '{ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}') + deployment('web', 1),
    )
    expect(cluster.nodes[0]!.podCidrs).toEqual(['10.244.1.0/24', 'fd00:10:244:1::/64'])
    expect(cluster.nodes[0]!.addresses).toEqual(['10.0.0.11', 'fd00:10::b'])
    expect(podsOf(cluster, 'Deployment default/web')[0]!.addresses).toEqual(['10.244.1.2', 'fd00:10:244:1::2'])
    expect(service(cluster, 'default/a').clusterIPs.map((ip) => ip.includes(':'))).toEqual([false, true])
    expect(cluster.serviceCidrs).toEqual(['10.96.0.0/12', 'fd00:10:96::/112'])
  })

  it('stay IPv4 beside an IPv6-only Service, in whatever order the objects come', () => {
    const six = svc('six', '{ipFamilies: [IPv6], ports: [{port: 80}]}')
    const any = svc('any', '{ports: [{port: 80}]}')
    for (const text of [six + any, any + six]) {
      const cluster = clusterOf(text)
      expect(service(cluster, 'default/any').ipFamilies).toEqual(['IPv4'])
      expect(service(cluster, 'default/six').ipFamilies).toEqual(['IPv6'])
      expect(cluster.nodes[0]!.addresses).toEqual(['10.0.0.11', 'fd00:10::b'])
    }
  })

  it('take pods from the clusterCIDR of kube-proxy', () => {
    const cluster = clusterOf(
      'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.50.0.0/16',
    )
    expect(cluster.nodes.map(({ podCidrs }) => podCidrs[0])).toEqual(['10.50.1.0/24', '10.50.2.0/24', '10.50.3.0/24'])
    expect(cluster.clusterCidrs).toEqual(['10.50.0.0/16'])
  })
})

describe('pods of workloads', () => {
  it('are named as a cluster names them and spread over the nodes', () => {
    const cluster = clusterOf(deployment('web', 4))
    const pods = podsOf(cluster, 'Deployment default/web')
    for (const { name } of pods)
      expect(name).toMatch(/^web-[bcdfghjklmnpqrstvwxz2456789]{10}-[bcdfghjklmnpqrstvwxz2456789]{5}$/)
    expect(new Set(pods.map(({ name }) => name)).size).toBe(4)
    expect(pods.map(({ nodeName }) => nodeName)).toEqual(['node-1', 'node-2', 'node-3', 'node-1'])
    expect(pods.map(({ addresses }) => addresses[0])).toEqual(['10.244.1.2', '10.244.2.2', '10.244.3.2', '10.244.1.3'])
    expect(derivedOf(cluster, 'Deployment default/web')).toBe('4 pods: 2 on node-1, node-2, node-3')
  })

  it('of a StatefulSet have their ordinal, host name and subdomain', () => {
    const text = deployment('db', 2, '{containers: []}', 'StatefulSet').replace(
      'spec: {',
      'spec: {serviceName: db-headless, ordinals: {start: 5}, ',
    )
    const pods = podsOf(clusterOf(text), 'StatefulSet default/db')
    expect(pods.map(({ name, hostname, subdomain }) => [name, hostname, subdomain])).toEqual([
      ['db-5', 'db-5', 'db-headless'],
      ['db-6', 'db-6', 'db-headless'],
    ])
    expect(pods[0]!.labels['statefulset.kubernetes.io/pod-name']).toBe('db-5')
  })

  it('of a DaemonSet are one on each node it may run on, cordoned nodes too', () => {
    const taint = 'spec: {taints: [{key: gpu, effect: NoSchedule}]}'
    const cluster = clusterOf(
      node('a') +
        node('b', 'spec: {unschedulable: true}') +
        node('c', taint) +
        deployment('agent', 1, '{hostNetwork: true}', 'DaemonSet'),
    )
    const pods = podsOf(cluster, 'DaemonSet default/agent')
    expect(pods.map(({ nodeName }) => nodeName)).toEqual(['a', 'b'])
    expect(pods.map(({ addresses }) => addresses)).toEqual(cluster.nodes.slice(0, 2).map(({ addresses }) => addresses))
  })

  test.each([
    ['nodeSelector', '{nodeSelector: {disk: ssd}}', ['b', 'b']],
    ['nodeSelector for the label that every kubelet sets', '{nodeSelector: {kubernetes.io/os: linux}}', ['a', 'b']],
    ['a toleration', '{nodeSelector: {gpu: "1"}, tolerations: [{key: gpu, operator: Exists}]}', ['c', 'c']],
    ['a toleration of another value', '{nodeSelector: {gpu: "1"}, tolerations: [{key: gpu, value: x}]}', ['', '']],
    [
      'required node affinity',
      '{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: DoesNotExist}]}]}}}}',
      ['a', 'a'],
    ],
    ['nodeName, past taints', '{nodeName: c}', ['c', 'c']],
    ['nothing that is there', '{nodeSelector: {disk: tape}}', ['', '']],
  ])('go where they may with %s', (_, spec, expected) => {
    const nodes =
      node('a') +
      node('b', 'spec: {}', '{disk: ssd}') +
      node('c', 'spec: {taints: [{key: gpu, value: "1", effect: NoSchedule}]}', '{gpu: "1", disk: x}') +
      node('d', 'spec: {unschedulable: true}')
    const cluster = clusterOf(nodes + deployment('web', 2, spec))
    expect(podsOf(cluster, 'Deployment default/web').map(({ nodeName }) => nodeName)).toEqual(expected)
    expect(codes(cluster)).toEqual(expected[0] === '' ? ['W_POD_UNPLACED'] : [])
  })

  it('spread over zones before nodes', () => {
    const zone = (z: string) => `{topology.kubernetes.io/zone: ${z}}`
    const cluster = clusterOf(
      node('a1', 'spec: {}', zone('a')) +
        node('a2', 'spec: {}', zone('a')) +
        node('b1', 'spec: {}', zone('b')) +
        deployment('web', 4),
    )
    expect(podsOf(cluster, 'Deployment default/web').map(({ nodeName }) => nodeName)).toEqual(['a1', 'b1', 'a2', 'b1'])
  })

  it('are not made twice when their Pods are written, with or without the ReplicaSet between', () => {
    const owned = (kind: string, name: string) =>
      `{name: web-abc-1, labels: {app: web}, ownerReferences: [{kind: ${kind}, name: ${name}, controller: true}]}`
    const running = (metadata: string) => `\n---\napiVersion: v1\nkind: Pod\nmetadata: ${metadata}\nspec: {}`
    const set = deployment('web-abc', 2, '{}', 'ReplicaSet')
      .replaceAll('app: web-abc', 'app: web')
      .replace('{name: web-abc}', '{name: web-abc, ownerReferences: [{kind: Deployment, name: web, controller: true}]}')
    for (const text of [
      running(owned('ReplicaSet', 'web-abc')),
      running(owned('ReplicaSet', 'web-abc')) + set,
      running('{name: web-abc-1, labels: {app: web}}'),
    ]) {
      const pods = podsOf(clusterOf(deployment('web', 2) + text), 'Deployment default/web')
      expect(pods).toHaveLength(2)
      expect(pods[0]!.name).toBe('web-abc-1')
    }
    const foreign = clusterOf(deployment('web', 2) + running(owned('Job', 'other')))
    expect(podsOf(foreign, 'Deployment default/web')).toHaveLength(2)
    expect(pod(foreign, 'default/web-abc-1').owner).toBe('Job default/other')
  })

  it('may be none', () => {
    expect(clusterOf(deployment('web', 0)).pods).toEqual([])
  })

  it('run out of a small podCIDR with one warning', () => {
    const cluster = clusterOf(node('a', 'spec: {podCIDR: 10.1.0.0/29}') + deployment('web', 9))
    expect(podsOf(cluster, 'Deployment default/web').map(({ addresses }) => addresses[0])).toEqual([
      '10.1.0.2',
      '10.1.0.3',
      '10.1.0.4',
      '10.1.0.5',
      '10.1.0.6',
      undefined,
      undefined,
      undefined,
      undefined,
    ])
    expect(cluster.warnings.map(({ message }) => message)).toEqual([
      '4 of its 9 pods fit on no node and have no address: on the node that it could be on no address is left',
    ])
  })
})

describe('written pods', () => {
  test.each([
    ['without status: it will run', 'spec: {}', { ready: true, addresses: ['10.244.1.2'], nodeName: 'node-1' }],
    [
      'with addresses: they stay',
      'spec: {nodeName: node-2}\nstatus: {podIP: 10.7.0.9, phase: Running}',
      { ready: true, addresses: ['10.7.0.9'], nodeName: 'node-2' },
    ],
    ['not ready', 'spec: {}\nstatus: {conditions: [{type: Ready, status: "False"}]}', { ready: false }],
    ['pending: nowhere', 'spec: {}\nstatus: {phase: Pending}', { ready: false, addresses: [], nodeName: '' }],
    [
      'on the host network',
      'spec: {hostNetwork: true, nodeName: node-2}',
      { hostNetwork: true, addresses: ['10.0.0.12'] },
    ],
  ])('%s', (_, rest, expected) => {
    const names = ['node-1', 'node-2']
      .map((name) => written(`on-${name}`, `spec: {nodeName: ${name}}\nstatus: {podIP: 10.200.0.${name.slice(-1)}}`))
      .join('')
    expect(pod(clusterOf(names + written('x', rest)), 'default/x')).toMatchObject(expected)
  })

  it('that are finished have no part, and those being deleted are terminating', () => {
    const cluster = clusterOf(
      written('done', 'spec: {}\nstatus: {phase: Succeeded, podIP: 10.1.1.1}') +
        written('leaving', 'spec: {}').replace(
          'name: leaving',
          'name: leaving, deletionTimestamp: "2024-01-01T00:00:00Z"',
        ),
    )
    expect(cluster.pods.map(({ name, terminating }) => [name, terminating])).toEqual([['leaving', true]])
  })

  it('on a node that is not among the Nodes are a warning, and their endpoints keep the name', () => {
    const cluster = clusterOf(
      node('a') +
        written('x', 'spec: {nodeName: gone}\nstatus: {podIP: 10.1.1.1}') +
        svc('web', '{selector: {app: web}, ports: [{port: 80}]}'),
    )
    expect(pod(cluster, 'default/x')).toMatchObject({ nodeName: '', addresses: ['10.1.1.1'] })
    expect(cluster.slices[0]!.endpoints[0]!.nodeName).toBe('gone')
    expect(codes(cluster)).toEqual(['W_UNKNOWN_NODE', 'W_UNKNOWN_NODE'])
  })
})

describe('Services', () => {
  it('get a cluster IP, node ports and a load-balancer IP as their type wants', () => {
    const cluster = clusterOf(
      svc('a', '{ports: [{port: 80}]}') +
        svc('b', '{type: NodePort, ports: [{port: 80}]}') +
        svc('c', '{type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}]}') +
        svc(
          'd',
          '{type: LoadBalancer, allocateLoadBalancerNodePorts: false, loadBalancerIP: 198.51.100.7, ports: [{port: 80}]}',
        ) +
        svc('e', '{clusterIP: None, ports: [{port: 80}]}') +
        svc('f', '{type: ExternalName, externalName: db.example.com}'),
    )
    const range = parseCidr('10.96.0.0/12')!
    for (const name of ['a', 'b', 'c', 'd'])
      expect(cidrContains(range, service(cluster, `default/${name}`).clusterIPs[0]!)).toBe(true)
    const ports = cluster.services.map(({ ports }) => ports[0]?.nodePort ?? 0)
    expect(ports.map((port) => port >= 30000 && port <= 32767)).toEqual([false, true, true, false, false, false])
    expect(service(cluster, 'default/c').loadBalancer[0]!.ip).toMatch(/^203\.0\.113\.\d+$/)
    expect(service(cluster, 'default/c').healthCheckNodePort).toBeGreaterThanOrEqual(30000)
    expect(service(cluster, 'default/d').loadBalancer).toEqual([{ ip: '198.51.100.7', hostname: '', ipMode: 'VIP' }])
    expect(service(cluster, 'default/e')).toMatchObject({ headless: true, clusterIPs: [], ipFamilies: ['IPv4'] })
    expect(service(cluster, 'default/f')).toMatchObject({
      type: 'ExternalName',
      clusterIPs: [],
      externalName: 'db.example.com',
    })
  })

  it('keep what is written', () => {
    const cluster = clusterOf(
      `${svc('a', '{type: LoadBalancer, clusterIP: 10.20.30.40, healthCheckNodePort: 30000, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 3001, targetPort: http}]}')}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}, {hostname: lb.example.com, ipMode: Proxy}]}}`,
    )
    expect(cluster.services[0]).toMatchObject({
      clusterIPs: ['10.20.30.40'],
      healthCheckNodePort: 30000,
      ports: [{ name: '', protocol: 'TCP', port: 80, targetPort: 'http', nodePort: 3001 }],
      loadBalancer: [
        { ip: '1.2.3.4', hostname: '', ipMode: 'VIP' },
        { ip: '', hostname: 'lb.example.com', ipMode: 'Proxy' },
      ],
    })
    expect(derivedOf(cluster, 'Service default/a')).toBeUndefined()
    expect(cluster.serviceCidrs).toEqual(['10.20.0.0/16'])
    expect(cluster.serviceCidrsWritten).toBe(false)
  })

  test.each([
    ['{sessionAffinity: ClientIP}', 10800],
    ['{sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}}', 60],
    ['{sessionAffinity: None}', 0],
    ['{}', 0],
  ])('with %s keep a client for %i s', (spec, seconds) => {
    expect(clusterOf(svc('a', spec)).services[0]!.affinityTimeoutSeconds).toBe(seconds)
  })

  it('do not change their addresses when others come, or when the files come in another order', () => {
    const some = Array.from({ length: 30 }, (_, i) => svc(`s${i}`, '{type: NodePort, ports: [{port: 80}]}'))
    const before = clusterOf(some.join(''))
    const after = clusterOf(svc('a-new-one', '{ports: [{port: 80}]}') + [...some].reverse().join(''), before)
    for (const { name, clusterIPs, ports } of before.services) {
      expect(service(after, `default/${name}`)).toMatchObject({ clusterIPs, ports })
    }
    const reversed = clusterOf([...some].reverse().join(''))
    for (const { name, clusterIPs } of before.services) {
      expect(service(reversed, `default/${name}`).clusterIPs).toEqual(clusterIPs)
    }
  })

  it('share no address and no node port, whatever is written', () => {
    const cidr =
      '\n---\napiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: [10.5.0.0/27]}'
    const some = Array.from({ length: 28 }, (_, i) =>
      svc(`s${i}`, `{type: LoadBalancer, ports: [{port: 80}]${i === 5 ? ', clusterIP: 10.5.0.7' : ''}}`),
    )
    const cluster = clusterOf(cidr + some.join(''))
    const valueSets: (string | number)[][] = [
      cluster.services.flatMap(({ clusterIPs }) => clusterIPs),
      cluster.services.map(({ ports }) => ports[0]!.nodePort),
      cluster.services.map(({ loadBalancer }) => loadBalancer[0]!.ip),
    ]
    for (const values of valueSets) expect(new Set(values).size).toBe(28)
    expect(cluster).toMatchObject({ serviceCidrs: ['10.5.0.0/27'], serviceCidrsWritten: true })
    expect(
      failure(() =>
        clusterOf(
          cidr +
            some.join('') +
            svc('x', '{ports: [{port: 1}]}') +
            svc('y', '{ports: [{port: 1}]}') +
            svc('z', '{ports: [{port: 1}]}'),
        ),
      ),
    ).toMatchObject({ code: 'E_SERVICE_CIDR_FULL', exitCode: 3 })
  })

  it('give kube-dns its usual address', () => {
    const dns =
      '\n---\napiVersion: v1\nkind: Service\nmetadata: {name: kube-dns, namespace: kube-system}\nspec: {ports: [{port: 53, protocol: UDP}]}'
    expect(clusterOf(dns).services[0]!.clusterIPs).toEqual(['10.96.0.10'])
  })
})

describe('the rest of the cluster', () => {
  test.each([
    ['.:53 {\n  kubernetes example.org in-addr.arpa ip6.arpa {\n  }\n}', 'example.org'],
    ['.:53 {\n  kubernetes in-addr.arpa cluster.test. {\n  }\n}', 'cluster.test'],
    ['.:53 {\n  kubernetes\n}', 'cluster.local'],
    ['.:53 {\n  # kubernetes old.zone\n  forward . 1.1.1.1\n}', 'cluster.local'],
  ])('reads the cluster domain of %j', (corefile, domain) => {
    const text = JSON.stringify({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'coredns', namespace: 'kube-system' },
      data: { Corefile: corefile },
    })
    expect(clusterOf(text)).toMatchObject({ corefile: { text: corefile }, clusterDomain: domain })
  })

  it('lists namespaces and reports missing backends', () => {
    const ingress =
      '{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i, namespace: shop}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}]}}]}}'
    const cluster = clusterOf(ingress)
    expect(cluster.namespaces).toEqual(['default', 'kube-system', 'shop'])
    expect(cluster.warnings.map(({ where, message }) => `${where}: ${message}`)).toEqual([
      'Ingress shop/i (test.yaml, document 1): its backend Service shop/gone is not in the manifests',
    ])
  })

  it('changes nothing that was handed out when objects change', () => {
    const before = clusterOf(
      deployment('web', 5) + svc('web', '{type: LoadBalancer, selector: {app: web}, ports: [{port: 80}]}'),
    )
    const after = clusterOf(
      deployment('another', 4) +
        deployment('web', 3) +
        svc('web', '{type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80}]}'),
      before,
    )
    expect(after.nodes).toEqual(before.nodes)
    expect(podsOf(after, 'Deployment default/web')).toEqual(podsOf(before, 'Deployment default/web').slice(0, 3))
    const { clusterIPs, ports, loadBalancer } = before.services[0]!
    expect(after.services[0]).toMatchObject({ clusterIPs, ports, loadBalancer })
    const ips = after.pods.flatMap(({ addresses }) => addresses)
    expect(new Set(ips).size).toBe(ips.length)
  })
})
