/** The walks that a replay resolves by, held against the resolver that `dig --from` asks. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nameColumns } from '../../src/compile/dns-columns.ts'
import { Registry } from '../../src/compile/registry.ts'
import { parseUpstream } from '../../src/dns/records.ts'
import { podResolvConf, resolveName } from '../../src/dns/resolver.ts'
import { createDnsServer } from '../../src/dns/zone.ts'
import type { Warning } from '../../src/errors.ts'
import type { Cluster } from '../../src/k8s/cluster.ts'
import { deriveCluster } from '../../src/k8s/derive.ts'
import { parseManifests } from '../../src/k8s/load.ts'
import { planNames } from '../../src/replay/dns-questions.ts'
import type { AddressType, TraceDestination, TraceHeader } from '../../src/trace/format.ts'
import { pod } from '../replay/cluster.ts'
import { CLIENT, COREDNS, clusterIp, corefile, headless, mysql, NODES } from './cluster.ts'

const UPSTREAM = [
  'www.example.com. 60 A 203.0.113.7',
  'www.example.com. 60 AAAA 2001:db8::7',
  'alias.example.com. 60 CNAME www.example.com.',
]
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED']
const external = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'db', namespace: 'default' },
  spec: { type: 'ExternalName', externalName: 'alias.example.com' },
}

function clusterOf(...objects: readonly object[]): Cluster {
  const text = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })
  return deriveCluster(parseManifests([{ name: 'objects.json', text }]).objects)
}

const HOME = clusterOf(
  ...NODES,
  ...COREDNS,
  CLIENT,
  ...mysql(3),
  clusterIp('web', 'web'),
  headless('empty', 'none', 80),
  external,
)

/** A trace of one pod, 10.244.1.50, that dials names. */
function headerOf(
  names: readonly string[],
  families: readonly AddressType[],
  clients = ['pod/default/client'],
): TraceHeader {
  const destinations = names.map(
    (name): TraceDestination => ({
      ...{ address: 0, port: 3306, protocol: 6, to: 'name', name },
      ...{ service: null, servicePort: null, node: null, steer: 'client' },
    }),
  )
  return {
    ...{ format: 'dpemu-trace', version: 1, tickNanos: 100, lanes: 16, name: 'names', manifests: [], changes: [] },
    provenance: { generator: 'a test', seed: 1, scenario: null },
    addresses: { v4: Uint8Array.of(0, 0, 0, 0, 10, 244, 1, 50), v6: new Uint8Array(0) },
    clientNames: clients.map((name) => [1, name] as const),
    destinations,
    dns: { families, cacheSeconds: 0, upstream: UPSTREAM },
  }
}

function plan(header: TraceHeader, stages: readonly Cluster[] = [HOME]) {
  const registry = new Registry()
  registry.preload(header.addresses.v4, header.addresses.v6)
  const warnings: Warning[] = []
  return { registry, warnings, tables: planNames(header, stages, new Int32Array(0), registry, warnings) }
}

describe('a walk', () => {
  const label = fc.constantFrom(
    'mysql',
    'mysql-0',
    'web',
    'db',
    'empty',
    'default',
    'kube-system',
    'svc',
    'cluster',
    'local',
    'www',
    'example',
    'com',
    'x',
  )
  const name = fc
    .tuple(fc.array(label, { minLength: 1, maxLength: 6 }), fc.boolean())
    .map(([labels, whole]) => labels.join('.') + (whole ? '.' : ''))

  it('asks what the resolver asks, in its order, as far as it goes, and leads to its addresses', () => {
    const server = createDnsServer(HOME)
    const client = HOME.pods.find((one) => one.name === 'client')!
    const upstream = parseUpstream(UPSTREAM, 'here')
    fc.assert(
      fc.property(name, fc.constantFrom<readonly AddressType[]>(['A'], ['AAAA'], ['A', 'AAAA']), (dialled, types) => {
        const { registry, tables } = plan(headerOf([dialled], types))
        const walk = tables![0].walks[0][0]
        const expected = resolveName(server, podResolvConf(HOME, client), dialled, types, { upstream })
        const asked = walk.flat().slice(0, expected.queries.length)
        expect(asked.map(({ rcode, ends }) => [RCODES[rcode], ends])).toEqual(
          expected.queries.map(({ rcode, answers }) => [rcode, answers > 0]),
        )
        const steps = expected.queries.length / types.length
        const ends = walk.findIndex((step) => step.some((question) => question.ends))
        expect(ends < 0 ? walk.length : ends + 1).toBe(steps)
        const told =
          ends < 0
            ? []
            : walk[ends].flatMap(({ answers }) => answers.map(({ address }) => registry.addressText(address)))
        const records = [...expected.replies.values()].flatMap(({ answer }) => answer)
        expect(told).toEqual(records.filter(({ type }) => type === 'A' || type === 'AAAA').map(({ data }) => data))
      }),
      { seed: 20, numRuns: 300 },
    )
  })

  it('keeps its place and its questions’ numbers whatever the cluster becomes', () => {
    const later = clusterOf(...NODES, ...COREDNS, CLIENT, ...mysql(1))
    const { tables } = plan(headerOf(['mysql', 'web', 'mysql-2.mysql'], ['A', 'AAAA']), [HOME, later])
    const [before, after] = tables!.map((one) => nameColumns(one, 3, 100, 60_000))
    expect(after.walkStart).toEqual(before.walkStart)
    expect(after.walkCount).toEqual(before.walkCount)
    const ids = (one: (typeof tables & object)[number]): number[] => one.walks.flat(3).map(({ id }) => id)
    expect(ids(tables![1])).toEqual(ids(tables![0]))
    // The words differ where the replies do.
    expect(after.nameQueries).not.toEqual(before.nameQueries)
  })

  it('is shared by pods with the same resolv.conf, and not by others', () => {
    const twin = pod('twin', 'node-2', '10.244.2.60', 'client')
    const elsewhere = { ...pod('far', 'node-2', '10.244.2.61', 'client'), metadata: { name: 'far', namespace: 'shop' } }
    const addresses = {
      v4: Uint8Array.of(0, 0, 0, 0, 10, 244, 1, 50, 10, 244, 2, 60, 10, 244, 2, 61),
      v6: new Uint8Array(0),
    }
    const cluster = clusterOf(...NODES, ...COREDNS, CLIENT, twin, elsewhere, ...mysql(1))
    const { tables } = plan({ ...headerOf(['mysql'], ['A']), addresses }, [cluster])
    const [{ resolverOf, walks, servers }] = tables!
    expect([1, 2, 3].map((id) => resolverOf.get(id))).toEqual([0, 0, 1])
    expect(servers).toHaveLength(2)
    expect(walks[0].map((walk) => walk[0][0].ends)).toEqual([true, false])
  })
})

describe('an endpoint', () => {
  it('of a headless Service is the pod at the port that is dialled; the Service’s others are known too', () => {
    const { registry, tables } = plan(headerOf(['mysql-1.mysql'], ['A']))
    const [{ walks, endpoints }] = tables!
    const [{ address, endpoint }] = walks[0][0][0][0].answers
    expect(registry.addressText(address)).toBe('10.244.2.101')
    expect(registry.servicePortText(registry.endpoints[endpoint].servicePort)).toBe('default/mysql:mysql')
    expect([...endpoints].map((id) => registry.endpointText(id)).sort()).toEqual([
      '10.244.1.100:3306',
      '10.244.2.101:3306',
      '10.244.3.102:3306',
    ])
  })

  it('is none where the name is a cluster IP’s or lies outside', () => {
    const { tables } = plan(headerOf(['web', 'db', 'www.example.com.'], ['A']))
    const answers = tables![0].walks.map(([walk]) => walk[0][0].answers.map(({ endpoint }) => endpoint))
    expect(answers).toEqual([[-1], [-1], [-1]])
  })
})

describe('what a question says of itself', () => {
  const question = (cluster: Cluster, name: string, type: AddressType = 'A') =>
    plan(headerOf([name], [type]), [cluster]).tables![0].walks[0][0][0][0]

  it('bytes: IP and UDP headers, 12 of DNS, the name and 4; the reply with its records uncompressed', () => {
    // mysql.default.svc.cluster.local. takes 33 octets on the wire; three A records of 33 + 14.
    expect(question(HOME, 'mysql')).toMatchObject({
      requestBytes: 28 + 12 + 33 + 4,
      replyBytes: 28 + 12 + 37 + 3 * 47,
      tcpBytes: 0,
    })
  })

  it.each([
    ['cache 30', 30_000],
    ['cache 10', 10_000],
    ['', 0],
    ['cache 30 {\n      disable success cluster.local\n    }', 0],
  ])('how long a replica keeps it: %s', (cache, milliseconds) => {
    const cluster = clusterOf(...NODES, ...COREDNS, CLIENT, ...mysql(1), corefile(cache))
    expect(question(cluster, 'mysql').cacheMs).toBe(milliseconds)
  })
})

describe('no names, no cost', () => {
  it('a trace without names has no tables, and columns of nothing', () => {
    const { tables, registry } = plan({ ...headerOf([], ['A']), destinations: [] })
    expect(tables).toBeNull()
    expect(registry.endpoints).toEqual([])
    const { destinationName, ...rest } = nameColumns(null, 2, 50, 60_000)
    expect([...destinationName]).toEqual([-1, -1])
    expect(Object.values(rest).every((column) => column.length === 0)).toBe(true)
  })
})
