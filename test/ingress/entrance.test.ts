/** What the clients of an Ingress dial and which proxies take their requests, from manifests as a user has them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { type Entrance, entranceOf, type IngressPath } from '../../src/ingress/index.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { canonicalIp, cidrContains, parseCidr } from '../../src/k8s/ip.ts'
import type { Ingress } from '../../src/k8s/types.ts'
import { clusterFromText } from './build.ts'

const node = (name: string, last: number, cpus: number, six = '') => `
apiVersion: v1
kind: Node
metadata: { name: ${name} }
spec: { podCIDR: 10.244.${last}.0/24 }
status:
  capacity: { cpu: '${cpus}' }
  addresses: [{ type: InternalIP, address: 192.168.0.${last} }${six}]
---`
const NODES = `${node('a', 1, 4)}${node('b', 2, 8)}${node('c', 3, 2)}`
const BOTH_FAMILIES = `${node('a', 1, 4, ", { type: InternalIP, address: 'fd00::1' }")}`

const service = (name: string, type: string, more = '', ports = '{ port: 80 }') => `
apiVersion: v1
kind: Service
metadata: { name: ${name} ${more} }
spec: { type: ${type}, selector: { app: ${name} }, ports: [${ports}] }
---`
const BACKENDS = `${service('one', 'NodePort')}${service('two', 'NodePort')}`
const NEG = `, annotations: { cloud.google.com/neg: '{"ingress": true}' }`

const ingress = (name: string, options: { className?: string; annotations?: string; status?: string } = {}) => `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: ${name}, annotations: { ${options.annotations ?? ''} } }
spec:
  ${options.className === undefined ? '' : `ingressClassName: ${options.className}`}
  rules:
    - host: app1.example.com
      http:
        paths:
          - { path: /1, pathType: Prefix, backend: { service: { name: one, port: { number: 80 } } } }
          - { path: /2, pathType: Prefix, backend: { service: { name: two, port: { number: 80 } } } }
status: { loadBalancer: { ingress: [${options.status ?? ''}] } }
---`
const ingressClass = (name: string, controller: string) => `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: { name: ${name} }
spec: { controller: ${controller} }
---`
const NGINX = ingressClass('nginx', 'k8s.io/ingress-nginx')
const ALB = ingressClass('alb', 'ingress.k8s.aws/alb')

const LABELS = 'app.kubernetes.io/name: ingress-nginx'
/** A proxy pod on each of these nodes. */
const proxies = (nodes: string, options: { hostNetwork?: boolean; ready?: boolean } = {}) =>
  [...nodes]
    .map(
      (name) => `
apiVersion: v1
kind: Pod
metadata: { name: proxy-${name}, namespace: edge, labels: { ${LABELS} } }
spec: { nodeName: ${name}, hostNetwork: ${options.hostNetwork === true}, containers: [{ name: c }] }
status: { conditions: [{ type: Ready, status: '${options.ready === false ? 'False' : 'True'}' }] }
---`,
    )
    .join('')
const proxyService = (type: string, options: { status?: string; ports?: string; spec?: string } = {}) => `
apiVersion: v1
kind: Service
metadata: { name: proxy, namespace: edge }
spec:
  type: ${type}
  selector: { ${LABELS} }
  ${options.spec ?? ''}
  ports: [${options.ports ?? '{ name: http, port: 80, nodePort: 30080 }, { name: https, port: 443, nodePort: 30443 }'}]
${options.status === undefined ? '' : `status: { loadBalancer: { ingress: [${options.status}] } }`}
---`

const web = ingress('web', { className: 'nginx' })
const SITE = `${NODES}${BACKENDS}${NGINX}${web}`
const cluster = (...texts: string[]): Cluster => clusterFromText('site.yaml', texts.join(''))
const ask = (of: Cluster, path: IngressPath | null = null, scheme: 'http' | 'https' = 'http', name = 'default/web') =>
  entranceOf(of, name, scheme, path)
const dials = ({ dialled }: Entrance): string[] =>
  dialled.map(({ address, port, node, service, servicePort }) =>
    [
      `${address}:${port}`,
      ...(node === null ? [] : [`on ${node}`]),
      ...(service === null ? [] : [`${service}:${servicePort}`]),
    ].join(' '),
  )

describe('the path is that of the controller', () => {
  const cloud = (className: string, annotations = '', backends = BACKENDS) =>
    cluster(NODES, backends, ALB, ingressClass('gce', 'k8s.io/ingress-gce'), ingress('web', { className, annotations }))
  it.each<[string, Cluster, IngressPath]>([
    ['ALB', cloud('alb'), 'instance'],
    ['ALB, target type instance', cloud('alb', 'alb.ingress.kubernetes.io/target-type: instance'), 'instance'],
    ['ALB, target type ip', cloud('alb', 'alb.ingress.kubernetes.io/target-type: ip'), 'ip'],
    ['GCE', cloud('gce'), 'instance'],
    [
      'GCE, every backend with a NEG',
      cloud('gce', '', `${service('one', 'ClusterIP', NEG)}${service('two', 'ClusterIP', NEG)}`),
      'ip',
    ],
    [
      'GCE, one backend with a NEG',
      cloud('gce', '', `${service('one', 'NodePort', NEG)}${service('two', 'NodePort')}`),
      'instance',
    ],
    [
      'class gce by annotation, without an object',
      cluster(NODES, BACKENDS, ingress('web', { annotations: 'kubernetes.io/ingress.class: gce' })),
      'instance',
    ],
    [
      'class gce by annotation beside another class',
      cluster(NODES, BACKENDS, NGINX, ingress('web', { annotations: 'kubernetes.io/ingress.class: gce' })),
      'instance',
    ],
    ['class alb without an object', cluster(NODES, BACKENDS, ingress('web', { className: 'alb' })), 'instance'],
    ['ingress-nginx', cluster(SITE, proxyService('LoadBalancer'), proxies('ab')), 'proxy'],
    [
      'a controller that is not known',
      cluster(NODES, BACKENDS, ingress('web', { className: 'own' }), proxyService('LoadBalancer'), proxies('a')),
      'proxy',
    ],
  ])('%s', (_, of, path) => {
    expect(ask(of).path).toBe(path)
  })

  it('and what GCE leaves open is said', () => {
    const assumed = /no cloud.google.com\/neg annotation on Service default\/(one|two)/
    expect(ask(cloud('gce')).notes.join()).toMatch(assumed)
    const mixed = cloud('gce', '', `${service('one', 'NodePort', NEG)}${service('two', 'NodePort')}`)
    expect(ask(mixed).notes[0]).toMatch(/Service default\/two.*all backends of Ingress default\/web/)
    expect(ask(cloud('alb')).notes.join()).not.toMatch(assumed)
  })

  it.each<[IngressPath, number]>([
    ['instance', 1],
    ['ip', 1],
    ['proxy', 2],
  ])('unless the caller says %s', (path, replicas) => {
    for (const site of [SITE, `${NODES}${BACKENDS}${ALB}${ingress('web', { className: 'alb' })}`]) {
      const entrance = ask(cluster(site, proxyService('LoadBalancer'), proxies('ab')), path)
      expect(entrance.path).toBe(path)
      expect(entrance.replicas).toHaveLength(replicas)
    }
  })
})

describe('a cloud load balancer', () => {
  const site = (...more: string[]) => cluster(NODES, BACKENDS, ALB, ...more)
  const alb = (status: string) => ingress('web', { className: 'alb', status })

  it.each([
    ['http', '198.51.100.7:80'],
    ['https', '198.51.100.7:443'],
  ] as const)('is dialled at the address of the status: %s', (scheme, dialled) => {
    const entrance = ask(site(alb('{ ip: 198.51.100.7 }')), null, scheme)
    expect(dials(entrance)).toEqual([dialled])
    expect(entrance.replicas).toEqual([{ pod: '', addresses: ['198.51.100.7'], node: null, workers: 16 }])
    expect(entrance.hostNetwork).toBe(false)
    expect(entrance.notes.join()).toContain('16 processes')
  })

  it.each([
    ['no status', ''],
    ['only a host name', '{ hostname: x.elb.amazonaws.com }'],
    ['the address of a node', '{ ip: 192.168.0.2 }'],
  ])('has a derived address with %s', (_, status) => {
    const of = site(alb(status))
    const [{ address }] = ask(of).dialled
    expect(cidrContains(parseCidr('203.0.113.0/24')!, address)).toBe(true)
    expect(ask(of).dialled).toEqual(ask(site(alb(status))).dialled)
    expect(ask(of).notes[0]).toContain(`Ingress default/web is given the address ${address}`)
    expect(ask(of).replicas[0].addresses).toEqual([address])
  })

  it.each([
    ['Ingresses', 0],
    ['Ingresses and Services', 100],
  ])('has an address of its own, however many %s there are', (_, services) => {
    const names = Array.from({ length: 120 }, (_, i) => `web-${i}`)
    const of = site(
      ...names.map((name) => ingress(name, { className: 'alb' })),
      ...names.slice(0, services).map((name) => service(`lb-${name}`, 'LoadBalancer')),
      ingress('written', { className: 'alb', status: `{ ip: 203.0.113.${services === 0 ? 77 : 255} }` }),
    )
    const given = ['written', ...names].map((name) => ask(of, null, 'http', `default/${name}`).dialled[0].address)
    const others = of.services.flatMap(({ loadBalancer }) => loadBalancer.map(({ ip }) => ip))
    expect(others).toHaveLength(services)
    expect(new Set([...given, ...others]).size).toBe(given.length + others.length)
  })

  it('keeps its address when another Ingress comes, wherever that stands', () => {
    const alone = ask(site(alb(''))).dialled
    const other = ingress('another', { className: 'alb' })
    expect(ask(site(alb(''), other)).dialled).toEqual(alone)
    expect(ask(site(other, alb(''))).dialled).toEqual(alone)
  })

  it('is not the proxy whose address the status holds', () => {
    const status = '{ ip: 203.0.113.5 }'
    const of = cluster(
      NODES,
      BACKENDS,
      NGINX,
      ingress('web', { className: 'nginx', status }),
      proxyService('LoadBalancer', { status }),
      proxies('a'),
    )
    expect(dials(ask(of))).toEqual(['203.0.113.5:80 edge/proxy:80'])
    expect(ask(of, 'ip').dialled[0].address).not.toBe('203.0.113.5')
  })

  it('with both IP families is dialled over IPv4, and says so', () => {
    const both = (status: string) => cluster(BOTH_FAMILIES, BACKENDS, ALB, alb(status))
    expect(dials(ask(both("{ ip: '2001:db8::5' }, { ip: 198.51.100.7 }")))).toEqual(['198.51.100.7:80'])
    expect(ask(both('')).notes.join()).toContain('both IP families')
    expect(ask(site(alb(''))).notes.join()).not.toContain('families')
  })

  it('needs node ports of its backends to send to nodes', () => {
    const of = cluster(NODES, service('one', 'ClusterIP'), ALB, alb(''))
    expect(ask(of).notes.slice(-2)).toEqual([
      'Service default/one has no node port, which instance targets need',
      'Service default/two does not exist',
    ])
    expect(ask(of, 'ip').notes.join()).not.toContain('node port')
  })
})

describe('an in-cluster proxy', () => {
  it.each<[string, string[], 'http' | 'https', string[]]>([
    [
      'LoadBalancer',
      [proxyService('LoadBalancer', { status: '{ ip: 203.0.113.5 }' })],
      'http',
      ['203.0.113.5:80 edge/proxy:80'],
    ],
    [
      'LoadBalancer, https',
      [proxyService('LoadBalancer', { status: '{ ip: 203.0.113.5 }' })],
      'https',
      ['203.0.113.5:443 edge/proxy:443'],
    ],
    [
      'LoadBalancer that has only a host name',
      [proxyService('LoadBalancer', { status: '{ hostname: nlb.example.com }' })],
      'http',
      // An address that stands for the name's: the balancer asks its health checks.
      ['203.0.113.130:80 edge/proxy:80'],
    ],
    [
      'LoadBalancer with external IPs and a host name',
      [proxyService('LoadBalancer', { status: '{ hostname: nlb.example.com }', spec: 'externalIPs: [198.51.100.9]' })],
      'http',
      ['203.0.113.130:80 edge/proxy:80'],
    ],
    [
      'NodePort',
      [proxyService('NodePort')],
      'https',
      [
        '192.168.0.1:30443 on a edge/proxy:443',
        '192.168.0.2:30443 on b edge/proxy:443',
        '192.168.0.3:30443 on c edge/proxy:443',
      ],
    ],
    [
      'ports by their names',
      [proxyService('NodePort', { ports: '{ name: https, port: 8443, nodePort: 30444 }' })],
      'https',
      [
        '192.168.0.1:30444 on a edge/proxy:8443',
        '192.168.0.2:30444 on b edge/proxy:8443',
        '192.168.0.3:30444 on c edge/proxy:8443',
      ],
    ],
  ])('behind %s', (_, front, scheme, dialled) => {
    const entrance = ask(cluster(SITE, ...front, proxies('ab')), null, scheme)
    expect(dials(entrance)).toEqual(dialled)
    expect(entrance.hostNetwork).toBe(false)
    expect(entrance.replicas.map(({ pod, node, workers }) => [pod, node, workers])).toEqual([
      ['edge/proxy-a', 'a', 4],
      ['edge/proxy-b', 'b', 8],
    ])
  })

  it('has a derived address behind a load balancer that has none', () => {
    const of = cluster(SITE, proxyService('LoadBalancer'), proxies('a'))
    const { ip } = of.services.find(({ name }) => name === 'proxy')!.loadBalancer[0]
    expect(dials(ask(of))).toEqual([`${ip}:80 edge/proxy:80`])
  })

  it.each([
    ['http', ['192.168.0.1:80 on a', '192.168.0.3:80 on c']],
    ['https', ['192.168.0.1:443 on a', '192.168.0.3:443 on c']],
  ] as const)('on host network without a Service is dialled on its nodes: %s', (scheme, dialled) => {
    const entrance = ask(cluster(SITE, proxies('ac', { hostNetwork: true })), null, scheme)
    expect(dials(entrance)).toEqual(dialled)
    expect(entrance.hostNetwork).toBe(true)
    expect(entrance.replicas).toEqual([
      { pod: 'edge/proxy-a', addresses: ['192.168.0.1'], node: 'a', workers: 4 },
      { pod: 'edge/proxy-c', addresses: ['192.168.0.3'], node: 'c', workers: 2 },
    ])
  })

  it('on host network behind a Service is dialled by the Service', () => {
    const entrance = ask(cluster(SITE, proxyService('NodePort'), proxies('ac', { hostNetwork: true })))
    expect(entrance.dialled.map(({ port }) => port)).toEqual([30080, 30080, 30080])
    expect(entrance.hostNetwork).toBe(true)
    expect(entrance.replicas.map(({ pod, addresses }) => [pod, ...addresses])).toEqual([
      ['edge/proxy-a', '192.168.0.1'],
      ['edge/proxy-c', '192.168.0.3'],
    ])
  })

  it('may be endpoints that somebody wrote by hand', () => {
    const slice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: proxy-1, namespace: edge, labels: { kubernetes.io/service-name: proxy } }
addressType: IPv4
ports: [{ name: http, port: 80 }]
endpoints:
  - { addresses: [172.16.0.5], nodeName: b }
  - { addresses: [172.16.0.6] }
  - { addresses: [172.16.0.7], conditions: { ready: false } }
---`
    const entrance = ask(
      cluster(
        SITE,
        proxyService('LoadBalancer')
          .replace(/selector.*/, '')
          .replace('namespace: edge', `namespace: edge, labels: { ${LABELS} }`),
        slice,
      ),
    )
    expect(entrance.replicas).toEqual([
      { pod: '172.16.0.5', addresses: ['172.16.0.5'], node: 'b', workers: 8 },
      { pod: '172.16.0.6', addresses: ['172.16.0.6'], node: null, workers: 4 },
    ])
    expect(entrance.notes.join()).toContain('172.16.0.6: node not known')
  })

  it('is what the manifests of ingress-nginx install', () => {
    const file = join(import.meta.dirname, '..', 'k8s', 'manifests', 'real', 'ingress-nginx-cloud.yaml')
    const of = cluster(`${readFileSync(file, 'utf8')}\n---\n`, NODES, BACKENDS, web)
    const entrance = ask(of, null, 'https')
    const { ip } = of.services.find(({ name }) => name === 'ingress-nginx-controller')!.loadBalancer[0]
    expect(dials(entrance)).toEqual([`${ip}:443 ingress-nginx/ingress-nginx-controller:443`])
    // One replica of the Deployment; the pods of its admission Jobs have the same label and are no proxies.
    expect(entrance.replicas.map(({ pod }) => pod)).toEqual([
      expect.stringMatching(/^ingress-nginx\/ingress-nginx-controller-/),
    ])
    expect(entrance.notes.join()).toContain('as many worker processes as its node has CPUs')
  })
})

describe('what cannot be entered says why', () => {
  const lb = proxyService('LoadBalancer')
  it.each<[string, Cluster, IngressPath | null, 'http' | 'https', string, string]>([
    [
      'an Ingress of another name',
      cluster(SITE.replace('{ name: web,', '{ name: wep,'), lb, proxies('a')),
      null,
      'http',
      'there is no Ingress default/web',
      'did you mean default/wep?',
    ],
    [
      'a class that does not exist',
      cluster(NODES, NGINX, ingress('web', { className: 'nginy' }), lb, proxies('a')),
      null,
      'http',
      'no controller serves Ingress default/web: there is no IngressClass nginy',
      'did you mean nginx?',
    ],
    [
      'no class and no default',
      cluster(NODES, NGINX, ingress('web'), lb, proxies('a')),
      null,
      'http',
      'it names no class, and no IngressClass is the default',
      'nginx',
    ],
    ['no proxy anywhere', cluster(SITE), null, 'http', 'no ingress proxy is in the cluster', 'instance or ip'],
    [
      'no proxy where one is asked for',
      cluster(NODES, BACKENDS, ALB, ingress('web', { className: 'alb' })),
      'proxy',
      'http',
      'no ingress proxy is in the cluster',
      'ingress-nginx',
    ],
    [
      'a Service without pods',
      cluster(SITE, lb),
      null,
      'http',
      'no pod of the proxy is ready behind Service edge/proxy',
      'Deployment',
    ],
    [
      'a Service without ready pods',
      cluster(SITE, lb, proxies('ab', { ready: false })),
      null,
      'http',
      'no pod of the proxy is ready',
      'Deployment',
    ],
    [
      'pods without a Service',
      cluster(SITE, proxies('ab')),
      null,
      'http',
      'no Service leads to the ingress proxy from outside',
      'LoadBalancer or NodePort',
    ],
    [
      'a Service without the port',
      cluster(SITE, proxyService('LoadBalancer', { ports: '{ name: http, port: 80 }' }), proxies('a')),
      null,
      'https',
      'Service edge/proxy of the ingress proxy has no TCP port 443, and none named https',
      '80/TCP',
    ],
    [
      'a load balancer without address and node ports',
      cluster(
        SITE,
        proxyService('LoadBalancer', {
          status: '{ hostname: x }',
          ports: '{ port: 80 }',
          spec: 'allocateLoadBalancerNodePorts: false',
        }),
        proxies('a'),
      ),
      null,
      'http',
      'cannot be dialled from outside: it has no node port',
      'node port',
    ],
  ])('%s', (_, of, path, scheme, message, hint) => {
    let error: unknown
    try {
      ask(of, path, scheme)
    } catch (thrown) {
      error = thrown
    }
    expect(error).toBeInstanceOf(UserError)
    expect(error).toMatchObject({ code: 'E_INGRESS_PATH', exitCode: 3 })
    expect((error as UserError).message).toContain(message)
    expect((error as UserError).hint).toContain(hint)
  })

  it('but a class that nobody serves does not matter where the path is given', () => {
    const of = cluster(NODES, BACKENDS, NGINX, ingress('web', { className: 'other' }), lb, proxies('a'))
    for (const path of ['instance', 'ip', 'proxy'] as const) expect(ask(of, path).path).toBe(path)
  })
})

describe('any Ingress', () => {
  const sites = [
    cluster(SITE, proxyService('LoadBalancer'), proxies('ab')),
    cluster(SITE, proxies('ac', { hostNetwork: true }), ALB),
    cluster(SITE, ALB),
  ]
  const junk = fc.jsonValue({ maxDepth: 3 })
  const ip = fc.constantFrom('198.51.100.7', '192.168.0.1', '2001:db8::1', '198.51.100.300', '')
  const ofClass = fc.constantFrom('nginx', 'alb', 'gce', 'none')
  const status = fc.record({
    loadBalancer: fc.record({ ingress: fc.oneof(junk, fc.array(fc.oneof(junk, fc.record({ ip })))) }),
  })
  const spec = fc.record(
    { ingressClassName: fc.oneof(ofClass, junk), rules: junk, defaultBackend: junk },
    { requiredKeys: [] },
  )
  const annotations = fc.dictionary(
    fc.constantFrom('kubernetes.io/ingress.class', 'alb.ingress.kubernetes.io/target-type'),
    fc.oneof(ofClass, fc.constantFrom('ip'), junk),
  )

  it('has an entrance of addresses and replicas, or a UserError says why not', () => {
    const path = fc.constantFrom(null, 'instance', 'ip', 'proxy')
    const reached = new Set<string>()
    fc.assert(
      fc.property(
        fc.constantFrom(...sites),
        fc.oneof(spec, junk),
        fc.oneof(status, junk),
        fc.oneof(annotations, junk),
        path,
        (site, spec, status, annotations, path) => {
          const odd = {
            ...site.ingresses[0],
            metadata: { name: 'odd', annotations },
            spec,
            status,
          } as unknown as Ingress
          const of = { ...site, ingresses: [odd, ...site.ingresses] }
          try {
            const entrance = entranceOf(of, 'default/odd', 'http', path)
            reached.add(`${path} ${entrance.path}`)
            if (path !== null) expect(entrance.path).toBe(path)
            expect(entrance.dialled.length).toBeGreaterThan(0)
            for (const { address, port } of entrance.dialled) {
              expect(canonicalIp(address)).toBe(address)
              expect(port).toBeGreaterThan(0)
            }
            expect(entrance.replicas.length).toBeGreaterThan(0)
            for (const { workers, addresses } of entrance.replicas) {
              expect(workers).toBeGreaterThanOrEqual(1)
              expect(addresses.length).toBeGreaterThan(0)
            }
            if (entrance.path !== 'proxy') {
              const taken = [...of.nodes, ...of.pods].flatMap(({ addresses }) => addresses)
              expect(taken).not.toContain(entrance.dialled[0].address)
            }
          } catch (error) {
            expect(error).toMatchObject({ name: 'UserError', code: 'E_INGRESS_PATH' })
          }
        },
      ),
      { seed: 20261125, numRuns: 1500 },
    )
    expect([...reached].sort()).toEqual([
      ...['instance instance', 'ip ip', 'null instance', 'null ip', 'null proxy', 'proxy proxy'],
    ])
  })
})
