import { describe, expect, it, test } from 'vitest'
import { clusterOf, codes, derivedOf, endpointsOf, slicesOf } from './helpers.ts'

const svc = (spec: string, metadata = '{name: web}') =>
  `\n---\napiVersion: v1\nkind: Service\nmetadata: ${metadata}\nspec: ${spec}`
const pod = (name: string, ip: string, spec = '{}', status = '', metadata = '') =>
  `\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: ${name}, labels: {app: web}${metadata}}\nspec: ${spec}\nstatus: {podIP: ${ip}${status}}`
const slice = (text = 'addresses: [10.9.9.9]') =>
  `\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: [{${text}}], ports: [{name: "", port: 80, protocol: TCP}]}`
const endpoints = (name = 'web', extra = '') =>
  `\n---\n{apiVersion: v1, kind: Endpoints, metadata: {name: ${name}}, subsets: [{addresses: [{ip: 10.8.0.1, nodeName: node-1}, {ip: "2001:db8::1"}], notReadyAddresses: [{ip: 10.8.0.2}], ports: [{port: 9376}]${extra}}]}`
const node = (name: string, zone: string) =>
  `\n---\n{apiVersion: v1, kind: Node, metadata: {name: ${name}, labels: {topology.kubernetes.io/zone: ${zone}}}}`
const selecting = '{selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}'

describe('endpoints of a selector', () => {
  it('are the pods with those labels in that namespace', () => {
    const other = pod('c', '10.1.0.3').replace('name: c', 'name: c, namespace: other')
    const cluster = clusterOf(svc(selecting) + pod('a', '10.1.0.1', '{nodeName: n1}') + pod('b', '10.1.0.2') + other)
    expect(endpointsOf(cluster, 'web')).toEqual(['10.1.0.1:8080', '10.1.0.2:8080'])
    const [made] = slicesOf(cluster, 'web')
    expect(made).toMatchObject({
      addressType: 'IPv4',
      metadata: {
        namespace: 'default',
        labels: { 'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io' },
      },
      ports: [{ name: '', port: 8080, protocol: 'TCP' }],
    })
    expect(made!.endpoints[0]).toEqual({
      addresses: ['10.1.0.1'],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: 'n1',
      targetRef: { kind: 'Pod', name: 'a', namespace: 'default' },
    })
    expect(derivedOf(cluster, 'Service default/web')).toMatch(/2 endpoints from its selector$/)
  })

  // kubernetes staging/src/k8s.io/endpointslice/utils.go, podToEndpoint
  const notReady = ', conditions: [{type: Ready, status: "False"}]'
  const leaving = ', deletionTimestamp: "2024-01-01T00:00:00Z"'
  test.each([
    ['ready', '', '', 'false', [true, true, false]],
    ['not ready', notReady, '', 'false', [false, false, false]],
    ['not ready, published anyway', notReady, '', 'true', [true, false, false]],
    ['terminating', '', leaving, 'false', [false, true, true]],
    ['terminating and not ready', notReady, leaving, 'false', [false, false, true]],
    ['terminating, published anyway', '', leaving, 'true', [true, true, true]],
  ])('%s', (_, status, metadata, publish, [ready, serving, terminating]) => {
    const cluster = clusterOf(
      svc(`{publishNotReadyAddresses: ${publish}, selector: {app: web}, ports: [{port: 80}]}`) +
        pod('a', '10.1.0.1', '{}', status, metadata),
    )
    expect(slicesOf(cluster, 'web')[0]!.endpoints[0]!.conditions).toEqual({ ready, serving, terminating })
  })

  test.each([
    ['finished', pod('a', '10.1.0.1', '{}', ', phase: Failed')],
    ['pending without an address', pod('a', '""', '{}', ', phase: Pending')],
  ])('leave out pods that are %s', (_, text) => {
    expect(endpointsOf(clusterOf(svc(selecting) + text), 'web')).toEqual([])
  })

  it('resolve named ports pod by pod; different numbers are different slices', () => {
    const named = (number: number) =>
      `{containers: [{ports: [{name: http, containerPort: ${number}}, {name: http, containerPort: 1, protocol: UDP}]}]}`
    const cluster = clusterOf(
      svc('{selector: {app: web}, ports: [{port: 80, targetPort: http}]}') +
        pod('a', '10.1.0.1', named(8080)) +
        pod('b', '10.1.0.2', named(9090)) +
        pod('c', '10.1.0.3', named(8080)),
    )
    expect(endpointsOf(cluster, 'web')).toEqual(['10.1.0.1:8080', '10.1.0.3:8080', '10.1.0.2:9090'])
    expect(new Set(slicesOf(cluster, 'web').map(({ metadata }) => metadata.name)).size).toBe(2)
  })

  it('find the port of a sidecar, and warn of a name that no pod has', () => {
    const sidecar =
      '{initContainers: [{restartPolicy: Always, ports: [{name: proxy, containerPort: 15001}]}, {ports: [{name: init, containerPort: 7}]}]}'
    const cluster = clusterOf(
      svc(
        '{selector: {app: web}, ports: [{name: p, port: 80, targetPort: proxy}, {name: i, port: 81, targetPort: init}]}',
      ) + pod('a', '10.1.0.1', sidecar),
    )
    expect(endpointsOf(cluster, 'web')).toEqual(['10.1.0.1:15001'])
    expect(cluster.warnings).toMatchObject([
      {
        code: 'W_TARGET_PORT',
        message: 'targetPort "init" is not the name of a TCP port of the pod that it selects: port 81 has no endpoints',
      },
    ])
  })

  test.each([
    ['hostname and subdomain', '{hostname: db-0, subdomain: web}', 'db-0'],
    ['another subdomain', '{hostname: db-0, subdomain: other}', undefined],
    ['no hostname', '{subdomain: web}', undefined],
  ])('have a host name by the pod with %s', (_, spec, hostname) => {
    const [made] = slicesOf(clusterOf(svc(selecting) + pod('a', '10.1.0.1', spec)), 'web')
    expect(made!.endpoints[0]!.hostname).toBe(hostname)
  })

  // kubernetes staging/src/k8s.io/endpointslice/trafficdist/trafficdist.go
  test.each([
    ['', undefined],
    ['PreferClose', { forZones: [{ name: 'z1' }] }],
    ['PreferSameZone', { forZones: [{ name: 'z1' }] }],
    ['PreferSameNode', { forZones: [{ name: 'z1' }], forNodes: [{ name: 'n1' }] }],
  ])('have the hints of trafficDistribution %j', (distribution, hints) => {
    const text =
      svc(`{trafficDistribution: "${distribution}", selector: {app: web}, ports: [{port: 80}]}`) + node('n1', 'z1')
    const unready = pod('b', '10.1.0.2', '{nodeName: n1}', ', conditions: [{type: Ready, status: "False"}]')
    const [made] = slicesOf(clusterOf(text + pod('a', '10.1.0.1', '{nodeName: n1}') + unready), 'web')
    expect(made!.endpoints.map((endpoint) => endpoint.hints)).toEqual([hints, undefined])
    expect(made!.endpoints[0]!.zone).toBe('z1')
  })

  it('get no hints from topology-mode: Auto, and the user is told', () => {
    const cluster = clusterOf(
      svc(selecting, '{name: web, annotations: {service.kubernetes.io/topology-mode: Auto}}') + pod('a', '10.1.0.1'),
    )
    expect(codes(cluster)).toEqual(['W_NOT_MODELLED'])
  })

  it('are in a slice for each family of the Service', () => {
    const dual = pod('a', '10.1.0.1', '{}', ', podIPs: [{ip: 10.1.0.1}, {ip: "2001:db8::a"}]')
    const spec = (families: string) => svc(`{ipFamilies: ${families}, selector: {app: web}, ports: [{port: 80}]}`)
    expect(endpointsOf(clusterOf(spec('[IPv4, IPv6]') + dual), 'web')).toEqual(['10.1.0.1:80', '2001:db8::a:80'])
    expect(endpointsOf(clusterOf(spec('[IPv6]') + dual), 'web')).toEqual(['2001:db8::a:80'])
  })

  it('are none with a warning when no pod matches', () => {
    const cluster = clusterOf(svc(selecting))
    expect(cluster.slices).toEqual([])
    expect(cluster.warnings).toMatchObject([
      {
        code: 'W_NO_ENDPOINTS',
        where: 'Service default/web (test.yaml, document 1)',
        message: 'no pod has the labels app=web that it selects: it has no endpoints',
      },
    ])
  })
})

describe('written endpoints', () => {
  it('in slices stand, and nothing is made beside them', () => {
    const cluster = clusterOf(svc(selecting) + pod('a', '10.1.0.1') + slice() + endpoints())
    expect(endpointsOf(cluster, 'web')).toEqual(['10.9.9.9:80'])
    expect(cluster.warnings).toEqual([])
  })

  it('in an Endpoints object are mirrored for a Service without selector', () => {
    const cluster = clusterOf(svc('{ports: [{port: 80, targetPort: 9376}]}') + endpoints())
    expect(
      slicesOf(cluster, 'web').map(({ addressType, endpoints }) => [
        addressType,
        endpoints.map(({ addresses, conditions }) => [addresses[0], conditions!.ready]),
      ]),
    ).toEqual([
      [
        'IPv4',
        [
          ['10.8.0.1', true],
          ['10.8.0.2', false],
        ],
      ],
      ['IPv6', [['2001:db8::1', true]]],
    ])
    expect(derivedOf(cluster, 'Service default/web')).toContain('3 endpoints mirrored from its Endpoints object')
  })

  it('in an Endpoints object are used for a selector only where there are no pods', () => {
    expect(endpointsOf(clusterOf(svc(selecting) + endpoints()), 'web')).toContain('10.8.0.1:9376')
    expect(endpointsOf(clusterOf(svc(selecting) + endpoints() + pod('a', '10.1.0.1')), 'web')).toEqual([
      '10.1.0.1:8080',
    ])
  })

  it('that nothing can use are left out with a warning', () => {
    const unlabelled = slice().replace('labels: {kubernetes.io/service-name: web}', 'labels: {}')
    const names = slice('addresses: [db.example.com]').replace('IPv4', 'FQDN')
    expect(codes(clusterOf(unlabelled))).toEqual(['W_NO_SERVICE'])
    expect(codes(clusterOf(names))).toEqual(['W_NOT_MODELLED'])
    expect(codes(clusterOf(endpoints('alone')))).toEqual(['W_NO_SERVICE'])
  })

  it('on a node that is not among the Nodes keep its name, with one warning', () => {
    const cluster = clusterOf(svc(selecting) + node('n1', 'z') + slice('addresses: [10.9.9.9], nodeName: gone'))
    expect(cluster.slices[0]!.endpoints[0]!.nodeName).toBe('gone')
    expect(codes(cluster)).toEqual(['W_UNKNOWN_NODE'])
    expect(cluster.nodes.map(({ name }) => name)).toEqual(['n1'])
  })
})
