/**
 * Which endpoints a new connection may be given: matching of slices, readiness, termination, topology hints.
 *
 * Source: pkg/proxy/topology.go CategorizeEndpoints, pkg/proxy/endpointslicecache.go.
 */
import { describe } from 'vitest'
import { CLIENT, type Manifest, node, POD, RULE_MODES, row, rows, service, slice, world } from './support.ts'

const VIP = '172.30.0.41'
const LB = '1.2.3.4'
const TO = `${VIP}:80`

describe.each(RULE_MODES)('%s', (mode) => {
  const given = (endpoints: string[], spec: Manifest = {}): Manifest[] => [
    ...world(mode),
    service('svc1', { clusterIP: VIP, type: 'LoadBalancer', ...spec }, [LB]),
    slice('svc1', endpoints),
  ]

  describe('readiness', () => {
    rows(given(['10.0.1.1@test-node', '10.0.1.2@node2 unready']), [
      row('an unready one is left out', POD, TO, 'dnat 10.0.1.1:80'),
    ])
    rows(given(['10.0.1.1@test-node unready', '10.0.1.2@node2 unready']), [
      row('unready and not terminating is never used', POD, TO, 'reject no-endpoint'),
    ])
    rows(given(['10.0.1.1@test-node unready', '10.0.1.2@node2 terminating']), [
      row('terminating and serving is the fallback, on any node', POD, TO, 'dnat 10.0.1.2:80'),
    ])
    rows(given(['10.0.1.1@test-node terminating', '10.0.1.2@test-node', '10.0.1.3@test-node dying']), [
      row('with a ready one the fallback is not needed', POD, TO, 'dnat 10.0.1.2:80'),
    ])
    rows(given(['10.0.1.1@test-node dying']), [
      row('terminating and not serving is never used', POD, TO, 'reject no-endpoint'),
    ])
    rows(given(['10.0.1.9', '10.0.1.10', '10.0.1.1']), [
      row('the order is that of the text', POD, TO, 'dnat 10.0.1.10:80 10.0.1.1:80 10.0.1.9:80'),
    ])
  })

  describe('matching', () => {
    const ports = [
      { name: 'a', port: 80, protocol: 'TCP' },
      { name: 'b', port: 81, protocol: 'TCP' },
    ]
    rows(
      [
        ...world(mode),
        service('svc1', { clusterIP: VIP, ports }),
        slice('svc1', ['10.0.1.1'], [{ name: 'b', port: 8080, protocol: 'TCP' }]),
      ],
      [
        row('by port name: not this one', POD, TO, 'reject no-endpoint'),
        row('by port name: this one', POD, `${VIP}:81`, 'dnat 10.0.1.1:8080'),
      ],
    )
    rows(
      [
        ...world(mode),
        service('svc1', { clusterIP: VIP, ports: [{ name: 'a', port: 80, protocol: 'UDP' }] }),
        slice('svc1', ['10.0.1.1'], [{ name: 'a', port: 80, protocol: 'TCP' }]),
      ],
      [row('by protocol too', POD, TO, 'reject no-endpoint', { protocol: 'UDP' })],
    )
    const two = slice('svc1', ['10.0.1.1@test-node terminating'])
    rows(
      [...given(['10.0.1.1@test-node']), { ...two, metadata: { ...(two['metadata'] as object), name: 'svc1-second' } }],
      [row('a terminating duplicate does not replace a ready one', POD, TO, 'dnat 10.0.1.1:80')],
    )
  })

  describe('policy and fallback are independent', () => {
    rows(given(['10.0.1.1@test-node terminating', '10.0.1.2@node2'], { externalTrafficPolicy: 'Local' }), [
      row('external: the local terminating one', CLIENT, `${LB}:80`, 'dnat 10.0.1.1:80'),
      row('cluster IP: the remote ready one', POD, TO, 'dnat 10.0.1.2:80'),
      row('pod to load balancer: short-circuited to the remote ready one', POD, `${LB}:80`, 'dnat 10.0.1.2:80'),
    ])
    rows(given(['10.0.1.1', '10.0.1.2@node2'], { externalTrafficPolicy: 'Local' }), [
      row('an endpoint without a node is local nowhere', CLIENT, `${LB}:80`, 'drop no-local-endpoint'),
    ])
    rows(given(['10.0.1.1@test-node unready', '10.0.1.2@node2 unready'], { externalTrafficPolicy: 'Local' }), [
      row('none usable anywhere is a reject', CLIENT, `${LB}:80`, 'reject no-endpoint'),
    ])
  })

  describe('topology hints', () => {
    const zones = (endpoints: string[], spec: Manifest = {}): Manifest[] => [
      ...world(mode).filter(({ kind }) => kind !== 'Node'),
      node('test-node', ['192.168.0.2'], { 'topology.kubernetes.io/zone': 'a' }),
      node('node2', ['192.168.0.101'], { 'topology.kubernetes.io/zone': 'b' }),
      node('node3', ['192.168.0.102']),
      service('svc1', { clusterIP: VIP, type: 'LoadBalancer', ...spec }, [LB]),
      slice('svc1', endpoints),
    ]
    const both = ['10.0.1.1@test-node zone=a', '10.0.1.2@node2 zone=b']
    const all = 'dnat 10.0.1.1:80 10.0.1.2:80'
    rows(zones(both), [
      row('its own zone', POD, TO, 'dnat 10.0.1.1:80'),
      row('its own zone, from outside too', CLIENT, `${LB}:80`, 'dnat 10.0.1.1:80 masq'),
      row('the other zone', POD, TO, 'dnat 10.0.1.2:80', { node: 'node2' }),
      row('a node without a zone', POD, TO, all, { node: 'node3' }),
    ])
    rows(zones(['10.0.1.1@test-node zone=a', '10.0.1.2@node2']), [
      row('one ready endpoint without a hint switches them off', POD, TO, all),
    ])
    rows(zones(['10.0.1.1@test-node zone=a', '10.0.1.2@node2 zone=b', '10.0.1.3@node3 unready']), [
      row('an unready one without a hint does not', POD, TO, 'dnat 10.0.1.1:80'),
    ])
    rows(zones(['10.0.1.1@test-node zone=c', '10.0.1.2@node2 zone=b']), [
      row('no endpoint for this zone: no filter', POD, TO, all),
    ])
    rows(zones(['10.0.1.1@test-node zone=b', '10.0.1.2@node2 zone=b'], { externalTrafficPolicy: 'Local' }), [
      row('Local does not ask for hints', CLIENT, `${LB}:80`, 'dnat 10.0.1.1:80'),
    ])
    rows(zones(['10.0.1.1@test-node zone=a node=test-node', '10.0.1.2@node2 zone=a node=node2']), [
      row('hints for nodes come before those for zones', POD, TO, 'dnat 10.0.1.1:80'),
      row('no endpoint for this node, which has no zone: no filter', POD, TO, all, { node: 'node3' }),
    ])
    rows(
      [
        ...zones(['10.0.1.1@test-node zone=a node=node2', '10.0.1.2@node2 zone=a node=test-node']).filter(
          ({ kind }) => kind !== 'KubeProxyConfiguration',
        ),
        ...world(mode, { config: { featureGates: { PreferSameTrafficDistribution: false } } }).filter(
          ({ kind }) => kind === 'KubeProxyConfiguration',
        ),
      ],
      [row('with the feature off, hints for nodes are not looked at', POD, TO, all)],
    )
  })
})
