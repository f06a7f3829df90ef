/** Which endpoints a node may use: every statement of kube-proxy's topology.go and endpointslicecache.go, one row each. */
import { describe, expect, test } from 'vitest'
import {
  clusterEndpoints,
  endpointsOfPort,
  isExternallyReachable,
  localEndpoints,
  type ProxyEndpoint,
  topologyEndpoints,
  topologyHints,
  topologyMode,
} from '../../src/compile/usable.ts'
import type { ClusterServicePort } from '../../src/k8s/cluster.ts'
import type { EndpointSlice } from '../../src/k8s/types.ts'
import { serviceOf } from '../core/cluster.ts'

/** `ready`, `draining` (serving and terminating), `unready`, `gone` (terminating, no longer serving). */
type Condition = 'ready' | 'draining' | 'unready' | 'gone'

function endpoint(
  name: string,
  node: string,
  condition: Condition,
  hints: { zones?: string[]; nodes?: string[] } = {},
): ProxyEndpoint {
  return {
    address: name,
    port: 80,
    nodeName: node,
    ready: condition === 'ready',
    serving: condition === 'ready' || condition === 'draining',
    terminating: condition === 'draining' || condition === 'gone',
    zoneHints: hints.zones ?? [],
    nodeHints: hints.nodes ?? [],
  }
}

const names = (endpoints: readonly ProxyEndpoint[] | undefined): string[] =>
  (endpoints ?? []).map(({ address }) => address)

describe('cluster set and local set of node a', () => {
  test.each<[string, [string, string, Condition][], string[], string[]]>([
    [
      'ready ones only',
      [
        ['x', 'a', 'ready'],
        ['y', 'b', 'ready'],
        ['z', 'a', 'draining'],
      ],
      ['x', 'y'],
      ['x'],
    ],
    [
      'none ready: the draining ones, on any node',
      [
        ['x', 'a', 'draining'],
        ['y', 'b', 'draining'],
      ],
      ['x', 'y'],
      ['x'],
    ],
    [
      'neither ready nor terminating is never used',
      [
        ['x', 'a', 'unready'],
        ['y', 'b', 'ready'],
      ],
      ['y'],
      [],
    ],
    [
      'terminating and no longer serving is never used',
      [
        ['x', 'a', 'gone'],
        ['y', 'b', 'gone'],
      ],
      [],
      [],
    ],
    [
      'the two fallbacks are independent: locally draining, remotely ready',
      [
        ['x', 'a', 'draining'],
        ['y', 'b', 'ready'],
      ],
      ['y'],
      ['x'],
    ],
    [
      'a ready local one switches the local fallback off',
      [
        ['x', 'a', 'draining'],
        ['y', 'a', 'ready'],
      ],
      ['y'],
      ['y'],
    ],
    ['an endpoint without a node is local nowhere', [['x', '', 'ready']], ['x'], []],
    ['no endpoint at all', [], [], []],
  ])('%s', (_words, rows, cluster, local) => {
    const endpoints = rows.map(([name, node, condition]) => endpoint(name, node, condition))
    expect(names(clusterEndpoints(endpoints))).toEqual(cluster)
    expect(names(localEndpoints(endpoints).get('a'))).toEqual(local)
    expect(localEndpoints(endpoints).has('')).toBe(false)
  })

  test('a node whose endpoints are all unusable has no local set', () => {
    expect(localEndpoints([endpoint('x', 'a', 'unready')]).has('a')).toBe(false)
  })
})

describe('topology hints', () => {
  function used(endpoints: readonly ProxyEndpoint[], node: string, zone: string, sameNode = true): string[] {
    const mode = topologyMode(endpoints, topologyHints(endpoints, sameNode), node, zone)
    return names(mode === '' ? clusterEndpoints(endpoints) : topologyEndpoints(endpoints, mode, node, zone))
  }
  const east = endpoint('east', 'a', 'ready', { zones: ['east'] })
  const west = endpoint('west', 'b', 'ready', { zones: ['west'] })
  const bare = endpoint('bare', 'c', 'ready')

  test('each zone uses the endpoints that are meant for it', () => {
    expect(used([east, west], 'a', 'east')).toEqual(['east'])
    expect(used([east, west], 'b', 'west')).toEqual(['west'])
  })

  test('one ready endpoint without a hint switches the filter off', () => {
    expect(used([east, west, bare], 'a', 'east')).toEqual(['east', 'west', 'bare'])
  })

  test('unready endpoints without hints do not', () => {
    expect(used([east, west, endpoint('down', 'c', 'unready')], 'a', 'east')).toEqual(['east'])
    expect(used([east, west, endpoint('leaving', 'c', 'draining')], 'a', 'east')).toEqual(['east'])
  })

  test('a zone that no endpoint is meant for uses all', () => {
    expect(used([east, west], 'c', 'north')).toEqual(['east', 'west'])
  })

  test('a node without a zone label uses all', () => {
    expect(used([east, west, endpoint('odd', 'c', 'ready', { zones: [''] })], 'a', '')).toEqual(['east', 'west', 'odd'])
  })

  test('an endpoint may be meant for several zones', () => {
    const both = endpoint('both', 'b', 'ready', { zones: ['east', 'west'] })
    expect(used([east, both], 'a', 'east')).toEqual(['east', 'both'])
    expect(used([east, both], 'b', 'west')).toEqual(['both'])
  })

  test('hints for the same node come before those for the zone', () => {
    const here = endpoint('here', 'a', 'ready', { zones: ['east'], nodes: ['a'] })
    const there = endpoint('there', 'b', 'ready', { zones: ['east'], nodes: ['b'] })
    expect(used([here, there], 'a', 'east')).toEqual(['here'])
    expect(used([here, there], 'c', 'east')).toEqual(['here', 'there'])
    expect(used([here, there], 'a', 'east', false)).toEqual(['here', 'there'])
  })

  test('all node hints or none: one ready endpoint without leaves it to the zone', () => {
    const here = endpoint('here', 'a', 'ready', { zones: ['east'], nodes: ['a'] })
    const elsewhere = endpoint('elsewhere', 'b', 'ready', { zones: ['west'] })
    expect(used([here, elsewhere, east], 'a', 'east')).toEqual(['here', 'east'])
  })

  test('no endpoint ready: hints count for nothing', () => {
    expect(used([endpoint('x', 'a', 'draining', { zones: ['west'] })], 'a', 'east')).toEqual(['x'])
  })
})

describe('endpoints of a service port', () => {
  const http: ClusterServicePort = { name: 'http', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 0 }

  function slice(
    ports: EndpointSlice['ports'],
    endpoints: EndpointSlice['endpoints'],
    addressType: EndpointSlice['addressType'] = 'IPv4',
  ): EndpointSlice {
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 's' },
      addressType,
      ...(ports === undefined ? {} : { ports }),
      endpoints,
    } as EndpointSlice
  }
  const at = (address: string, conditions = {}): EndpointSlice['endpoints'][number] => ({
    addresses: [address],
    conditions,
  })
  const texts = (slices: EndpointSlice[], port = http, family: 'IPv4' | 'IPv6' = 'IPv4'): string[] =>
    endpointsOfPort(port, family, slices).map((one) => `${one.address}:${one.port}`)

  test('are those of the slice port with its name and protocol; the target port is never read', () => {
    const ports = [
      { name: 'http', port: 9999, protocol: 'TCP' as const },
      { name: 'http', port: 1111, protocol: 'UDP' as const },
      { name: 'metrics', port: 8080, protocol: 'TCP' as const },
    ]
    expect(texts([slice(ports, [at('10.0.0.1')])])).toEqual(['10.0.0.1:9999'])
  })

  test('a slice port without protocol is TCP, without name it is the unnamed one', () => {
    expect(texts([slice([{ port: 80 }], [at('10.0.0.1')])], { ...http, name: '' })).toEqual(['10.0.0.1:80'])
    expect(texts([slice([{ port: 80 }], [at('10.0.0.1')])])).toEqual([])
  })

  test.each([[undefined], [null], [0]])('a slice port whose number is %s is ignored', (port) => {
    const ports = [{ name: 'http', ...(port === undefined ? {} : { port }) }]
    expect(texts([slice(ports, [at('10.0.0.1')])])).toEqual([])
  })

  test('only the first address of an endpoint is used', () => {
    expect(texts([slice([{ name: 'http', port: 80 }], [{ addresses: ['10.0.0.1', '10.0.0.2'] }])])).toEqual([
      '10.0.0.1:80',
    ])
    expect(texts([slice([{ name: 'http', port: 80 }], [{ addresses: [] }])])).toEqual([])
  })

  test('are in the string order of ip:port, whatever the order of the slices', () => {
    const one = slice([{ name: 'http', port: 80 }], [at('10.0.0.9'), at('10.0.0.10')])
    const two = slice([{ name: 'http', port: 80 }], [at('10.0.0.1')])
    expect(texts([one, two])).toEqual(['10.0.0.10:80', '10.0.0.1:80', '10.0.0.9:80'])
    expect(texts([two, one])).toEqual(texts([one, two]))
  })

  test('of the other family and of names are left out', () => {
    const v6 = slice([{ name: 'http', port: 80 }], [at('2001:db8::1')], 'IPv6')
    const named = slice([{ name: 'http', port: 80 }], [at('example.com')], 'FQDN')
    expect(texts([v6, named])).toEqual([])
    expect(texts([v6], http, 'IPv6')).toEqual(['2001:db8::1:80'])
  })

  test('conditions left out mean ready, serving, not terminating', () => {
    const [bare] = endpointsOfPort(http, 'IPv4', [slice([{ name: 'http', port: 80 }], [{ addresses: ['10.0.0.1'] }])])
    expect(bare).toMatchObject({ ready: true, serving: true, terminating: false, nodeName: '' })
  })

  test.each([
    ['a terminating entry never replaces an existing one', [{}, { terminating: true, ready: false }], true],
    ['a later entry that is not terminating replaces', [{ terminating: true, ready: false }, {}], true],
    ['the last of two that are not terminating counts', [{ ready: true }, { ready: false }], false],
  ])('the same ip:port twice: %s', (_words, conditions, ready) => {
    const slices = conditions.map((one) => slice([{ name: 'http', port: 80 }], [at('10.0.0.1', one)]))
    const known = endpointsOfPort(http, 'IPv4', slices)
    expect(known).toHaveLength(1)
    expect(known[0]).toMatchObject({ ready, terminating: false })
  })
})

describe('externally reachable', () => {
  const base = { name: 'web', endpoints: [] }
  test.each([
    ['LoadBalancer', serviceOf({ ...base, type: 'LoadBalancer' }), true],
    ['NodePort', serviceOf({ ...base, nodePort: 30080 }), true],
    ['ClusterIP with external IPs', serviceOf({ ...base, externalIPs: ['203.0.113.9'] }), true],
    ['ClusterIP', serviceOf(base), false],
  ])('%s', (_name, service, expected) => {
    expect(isExternallyReachable(service)).toBe(expected)
  })
})
