/** Names in a replay: what they cost, where they lead, and what happens when the cluster changes under them. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { RunReport } from '../../src/report/types.ts'
import { type KubeObject, pod, NODES as TWO_NODES } from '../replay/cluster.ts'
import { manifestFile, replayed, resultText, sumOf, temporaryFolder, traceOf } from '../replay/support.ts'
import { CLIENT, COREDNS, clusterIp, corefile, dials, headless, mysql, NODES, objects } from './cluster.ts'

const folder = temporaryFolder()
let traces = 0

interface Setting {
  readonly dns?: object
  readonly duration?: string
  readonly changes?: readonly object[]
}

async function trace(traffic: readonly object[], cluster: readonly object[], setting: Setting = {}): Promise<string> {
  return traceOf(folder, `t${traces++}`, { seed: 5, duration: '30s', traffic, ...setting }, cluster)
}

async function run(
  traffic: readonly object[],
  cluster: readonly object[],
  setting: Setting = {},
): Promise<RunReport & { codes: string[] }> {
  const { runs, given } = await replayed(await trace(traffic, cluster, setting), { policies: ['as-is'] })
  return { ...runs[0], codes: given.map(({ code }) => code) }
}

const web = [pod('web-0', 'node-2', '10.244.2.10'), clusterIp('web', 'web')]

describe('names in a pod’s /etc/hosts', () => {
  const aliased = {
    ...CLIENT,
    spec: { ...CLIENT.spec, hostAliases: [{ ip: '10.96.0.77', hostnames: ['old.example.com', 'www.example.com'] }] },
  }
  const cluster = (client: object) =>
    objects(...web, {
      ...clusterIp('till', 'web'),
      spec: { ...clusterIp('till', 'web').spec, clusterIP: '10.96.0.77' },
    })
      .filter((one) => (one as typeof CLIENT).metadata.name !== 'client')
      .concat([client] as never)

  it('are not asked for, and lead where the file says', async () => {
    const { dns, connections } = await run([dials('old.example.com', 80, 20)], cluster(aliased))
    expect(connections).toMatchObject({ attempted: 20, established: 20 })
    expect(dns).toMatchObject({ connections: 20, resolved: 20, queries: 0, packets: 0 })
  })

  it('are asked for as before by a pod without them, and any other name by the same pod', async () => {
    const setting = { dns: { families: ['A'], upstream: ['www.example.com. 60 A 203.0.113.7'] } }
    const plain = await run([dials('www.example.com', 80, 20)], cluster(CLIENT), setting)
    expect(plain.dns).toMatchObject({ resolved: 20, queries: 80 })
    const other = await run([dials('web', 80, 20)], cluster(aliased), setting)
    expect(other.dns).toMatchObject({ resolved: 20, queries: 20 })
  })
})

describe('who reads the replies', () => {
  // reference: musl lookup_name.c name_from_dns_search, name_from_dns; glibc res_query.c; Go goLookupIPCNAMEOrder.
  const failing = corefile(`template ANY ANY svc.cluster.local {
      match "^www[.]example[.]com[.]svc[.]"
      rcode SERVFAIL
      fallthrough
    }`)
  const noAaaa = corefile(`template ANY AAAA . {
      rcode NXDOMAIN
    }`)
  it.each([
    ['glibc walks on through a failing search domain', 'glibc', failing, 'www.example.com', 20, 160],
    ['Go too', 'go', failing, 'www.example.com', 20, 160],
    ['musl ends there', 'musl', failing, 'www.example.com', 0, 80],
    ['old musl too', 'musl-1.1', failing, 'www.example.com', 0, 80],
    ['glibc takes the address beside an NXDOMAIN for AAAA', 'glibc', noAaaa, 'web', 20, 40],
    ['musl believes the NXDOMAIN, try for try', 'musl', noAaaa, 'web', 0, 160],
    ['old musl takes what it has', 'musl-1.1', noAaaa, 'web', 20, 40],
    ['musl does not search from ndots dots on', 'musl', noAaaa, 'a.b.c.d.e.f', 0, 40],
  ])('%s', async (_words, resolver, config, name, resolved, queries) => {
    const { dns } = await run([dials(name, 80, 20)], objects(...web, config), {
      dns: { resolver, upstream: ['www.example.com. 60 A 203.0.113.7'] },
    })
    expect(dns).toMatchObject({ connections: 20, resolved, queries })
  })
})

describe('what a name costs under ndots:5, in queries a connection (A alone)', () => {
  // reference: the order of tries in resolv.conf(5), ndots:5 and kubelet's search list.
  it.each([
    ['web', 1],
    ['web.default', 2],
    ['web.default.svc', 3],
    ['web.default.svc.cluster.local', 4],
    ['web.default.svc.cluster.local.', 1],
    ['mysql-0.mysql.default.svc.cluster.local', 1],
    ['www.example.com', 4],
  ])('%s: %i', async (name, queries) => {
    const port = name.startsWith('web') ? 80 : 3306
    const { dns, connections } = await run([dials(name, port, 20)], objects(...web, ...mysql(1)), {
      dns: { families: ['A'], upstream: ['www.example.com. 60 A 203.0.113.7'] },
    })
    expect(connections).toMatchObject({ attempted: 20, established: 20 })
    expect(dns).toMatchObject({
      connections: 20,
      resolved: 20,
      queries: 20 * queries,
      queriesPerConnection: queries,
      byType: { A: 20 * queries },
      packets: 40 * queries,
    })
    expect(dns.byRcode).toEqual(queries === 1 ? { NOERROR: 20 } : { NOERROR: 20, NXDOMAIN: 20 * (queries - 1) })
  })

  it('twice as many where A and AAAA are asked together, in as many flows', async () => {
    const alone = await run([dials('web.default', 80, 20)], objects(...web), { dns: { families: ['A'] } })
    const both = await run([dials('web.default', 80, 20)], objects(...web))
    expect(both.dns.queries).toBe(2 * alone.dns.queries)
    expect(both.dns.byType).toEqual({ A: 40, AAAA: 40 })
    expect(both.dns.conntrackEntries).toBe(alone.dns.conntrackEntries)
    expect(both.dns.bytes).toBeGreaterThan(1.9 * alone.dns.bytes)
  })

  it('a pod with ndots:1 asks a full name once', async () => {
    const thrifty = { ...CLIENT, spec: { ...CLIENT.spec, dnsConfig: { options: [{ name: 'ndots', value: '1' }] } } }
    const { dns } = await run([dials('web.default.svc.cluster.local', 80, 10)], [...NODES, ...COREDNS, thrifty, ...web])
    expect(dns.queriesPerConnection).toBe(2)
  })

  it('the set-up of a connection takes as much longer as its questions travel', async () => {
    const dialled = await run([dials('web.default.svc', 80, 50)], objects(...web), { dns: { families: ['A'] } })
    const address = { ...dials('web', 80, 50), to: { service: 'web' } }
    const direct = await run([address], objects(...web))
    const { packet } = direct.pathLatencyMicros
    const more = dialled.pathLatencyMicros.connectionSetup.mean - direct.pathLatencyMicros.connectionSetup.mean
    // Three steps, each a round trip to another node, first packets being slower.
    expect(more).toBeGreaterThan(3 * 2 * packet.p50)
    expect(more).toBeLessThan(3 * 3 * packet.p50)
    expect(dialled.pathLatencyMicros.connectionSetup.count).toBe(50)
  })
})

describe('the queries are traffic', () => {
  it('each flow has an entry on the client’s node and one on CoreDNS’, for the DNS Service', async () => {
    const { dns, nodes } = await run([dials('web', 80, 40)], objects(...web))
    expect(dns.conntrackEntries).toBe(80)
    expect(dns.conntrackPeak).toBe(80)
    const inserted = Object.fromEntries(nodes.map(({ node, conntrack }) => [node, conntrack.insert]))
    const [a, b] = dns.servers
    // The connections to web cross node-1 and node-2.
    expect(inserted).toEqual({ 'node-1': 80, 'node-2': 40 + a.queries / 2, 'node-3': b.queries / 2 })
    const serviceEntries = nodes.find(({ node }) => node === 'node-1')!.conntrackHolders
    expect(serviceEntries).toContainEqual({ service: 'kube-system/kube-dns:dns', entries: 40, share: 0.5 })
  })

  it('the load on each CoreDNS pod is told, and is the Service’s own balance', async () => {
    const { dns, endpoints } = await run([dials('web', 80, 2000)], objects(...web), { duration: '400s' })
    expect(dns.servers.map(({ pod: name, node }) => [name, node])).toEqual([
      ['kube-system/coredns-a', 'node-2'],
      ['kube-system/coredns-b', 'node-3'],
    ])
    expect(dns.servers[0].queries + dns.servers[1].queries).toBe(4000)
    for (const { share } of dns.servers) expect(share).toBeCloseTo(0.5, 1)
    const flows = endpoints.filter(({ service }) => service === 'kube-system/kube-dns:dns')
    expect(flows.map(({ connections }) => connections * 2)).toEqual(dns.servers.map(({ queries }) => queries))
    expect(flows.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(dns.bytes)
  })

  it('a DNS Service without endpoints rejects them, and no connection gets further', async () => {
    const { connections, drops, dns } = await run([dials('web', 80, 10)], [...NODES, COREDNS[2], CLIENT, ...web])
    expect(connections).toMatchObject({ attempted: 10, established: 0, failed: 10 })
    expect(drops).toEqual({ 'dns-lost': 10 })
    expect(dns).toMatchObject({ connections: 10, lost: 10, resolved: 0, queries: 0 })
  })

  it('without a DNS Service in the manifests names are answered for nothing, with a warning', async () => {
    const { connections, dns, codes } = await run([dials('web', 80, 10)], [...NODES, CLIENT, ...web])
    expect(connections.established).toBe(10)
    expect(dns).toMatchObject({ queries: 20, conntrackEntries: 0, packets: 0, servers: [] })
    expect(codes).toEqual(['W_NO_DNS_SERVICE'])
  })

  it('a pod that uses its node’s resolver asks outside: the cluster’s names do not exist there', async () => {
    const outsider = { ...CLIENT, spec: { ...CLIENT.spec, dnsPolicy: 'Default' } }
    const { drops, dns, codes } = await run(
      [dials('web.default.svc.cluster.local', 80, 10), dials('db.example.com', 5432, 10)],
      [...NODES, ...COREDNS, outsider, ...web],
      { dns: { upstream: ['db.example.com. 60 A 203.0.113.9'] } },
    )
    expect(drops).toEqual({ 'name-not-resolved': 10 })
    expect(dns).toMatchObject({ resolved: 10, failed: 10, conntrackEntries: 0 })
    expect(codes).toEqual(['W_NODE_RESOLVER'])
  })

  it('a truncated reply is asked for again over TCP, through the Service’s TCP port', async () => {
    // 29 addresses do not fit into 512 bytes.
    const many = Array.from({ length: 29 }, (_, i) =>
      pod(`m-${i}`, `node-${(i % 3) + 1}`, `10.244.${(i % 3) + 1}.${60 + i}`, 'many'),
    )
    const { dns, endpoints, connections } = await run(
      [dials('mysql', 3306, 300)],
      objects(...many, headless('mysql', 'many', 3306)),
      { dns: { families: ['A'] } },
    )
    expect(connections.established).toBe(300)
    expect(dns).toMatchObject({ queries: 300, tcpRetries: 300, packets: 600 + 9 * 300 })
    expect(dns.servers.reduce((sum, { queries }) => sum + queries, 0)).toBe(600)
    expect(endpoints.filter(({ service }) => service === 'default/mysql:mysql').length).toBe(29)
    expect(endpoints.filter(({ service }) => service === 'kube-system/kube-dns:dns-tcp').length).toBe(2)
  })
})

describe('where a name leads', () => {
  const sharesOf = ({ endpoints }: RunReport, service: string): [string | null, number][] =>
    endpoints.filter((one) => one.service === service).map(({ pod: name, connections }) => [name, connections])

  it('headless: to a pod directly, any of them, crossing nodes as they are placed', async () => {
    const result = await run([dials('mysql', 3306, 3000)], objects(...mysql(3)), { duration: '600s' })
    const shares = sharesOf(result, 'default/mysql:mysql')
    expect(shares.map(([name]) => name)).toEqual(['default/mysql-0', 'default/mysql-1', 'default/mysql-2'])
    for (const [, connections] of shares) expect(connections).toBeGreaterThan(900)
    expect(result).toMatchObject({ masqueradedFraction: 0, clientIpPreservedFraction: 1 })
    // mysql-0 sits on the client's node.
    expect(result.crossNodeFraction).toBeCloseTo((3000 - shares[0][1]) / 3000, 10)
    expect(result.dns.headless).toEqual(['default/mysql:mysql'])
  })

  it('a stable name: always the same pod; the others are shown idle', async () => {
    const result = await run([dials('mysql-1.mysql', 3306, 100)], objects(...mysql(3)))
    expect(sharesOf(result, 'default/mysql:mysql')).toEqual([
      ['default/mysql-0', 0],
      ['default/mysql-1', 100],
      ['default/mysql-2', 0],
    ])
    expect(result.imbalance.find(({ service }) => service === 'default/mysql:mysql')!.maxOverMean).toBeCloseTo(3, 10)
  })

  it('headless: no affinity and no balancing by the dataplane, whatever the Service says', async () => {
    const sticky = headless('mysql', 'mysql', 3306)
    const asked = { ...sticky, spec: { ...sticky.spec, sessionAffinity: 'ClientIP' } }
    const result = await run([dials('mysql', 3306, 200)], objects(...mysql(3).slice(0, 3), asked))
    expect(sharesOf(result, 'default/mysql:mysql').every(([, connections]) => connections > 30)).toBe(true)
    expect(sumOf(result.nodes, 'affinityHits') + sumOf(result.nodes, 'affinityMisses')).toBe(0)
  })

  it('a Service: to its cluster IP, where the dataplane balances', async () => {
    const second = pod('web-1', 'node-3', '10.244.3.10')
    const result = await run([dials('web', 80, 400)], objects(...web, second))
    const shares = sharesOf(result, 'default/web:http')
    expect(shares.map(([name]) => name)).toEqual(['default/web-0', 'default/web-1'])
    for (const [, connections] of shares) expect(connections).toBeGreaterThan(150)
    expect(result.dns.headless).toEqual([])
  })

  it('a Service’s port that it does not have is refused, as its address would refuse it', async () => {
    const { drops } = await run([dials('web', 81, 10)], objects(...web))
    expect(drops).toEqual({ 'no-such-port': 10 })
  })

  it('ExternalName: out of the cluster, masqueraded', async () => {
    const outside: KubeObject = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'db', namespace: 'default' },
      spec: { type: 'ExternalName', externalName: 'db.example.com' },
    }
    const result = await run([dials('db', 3306, 50)], objects(outside), {
      dns: { upstream: ['db.example.com. 300 A 203.0.113.60'] },
    })
    expect(result.connections.established).toBe(50)
    expect(result).toMatchObject({ masqueradedFraction: 1, clientIpPreservedFraction: 0, crossNodeFraction: 0 })
    expect(result.endpoints.map(({ service }) => service)).not.toContain('default/db')
  })

  it('a Service without selector: by DNAT to what its Endpoints say', async () => {
    const endpoints = {
      apiVersion: 'v1',
      kind: 'Endpoints',
      metadata: { name: 'legacy', namespace: 'default' },
      subsets: [{ addresses: [{ ip: '192.168.1.1' }], ports: [{ name: 'http', port: 9376 }] }],
    }
    const result = await run([dials('legacy', 80, 30)], [...objects(clusterIp('legacy', null)), endpoints])
    expect(result.endpoints.find(({ service }) => service === 'default/legacy:http')).toMatchObject({
      endpoint: '192.168.1.1:9376',
      connections: 30,
      pod: null,
    })
  })

  it('a name that nobody knows: every step of the search, and then nothing is dialled', async () => {
    const { connections, drops, dns } = await run([dials('msyql', 3306, 10)], objects(...mysql(1)))
    expect(connections).toMatchObject({ established: 0, failed: 10 })
    expect(drops).toEqual({ 'name-not-resolved': 10 })
    expect(dns).toMatchObject({ queries: 80, failed: 10, withoutResolver: 0, byRcode: { NXDOMAIN: 80 } })
  })

  it('a name with addresses of the other IP family only', async () => {
    const { drops, dns } = await run([dials('v6.example.com', 80, 10)], objects(), {
      dns: { upstream: ['v6.example.com. 60 AAAA 2001:db8::7'] },
    })
    expect(drops).toEqual({ 'name-not-resolved': 10 })
    expect(dns.failed).toBe(10)
  })

  it('clients that are no pods of the manifests have no resolver, and a warning counts them', async () => {
    const path = await trace([dials('web', 80, 10)], objects(...web))
    const without = manifestFile(folder, 'no-client', [...NODES, ...COREDNS, ...web])
    const { runs, given } = await replayed(path, { policies: ['as-is'], manifests: [without] })
    expect(runs[0].drops).toEqual({ 'name-not-resolved': 10 })
    expect(runs[0].dns).toMatchObject({ queries: 0, failed: 10, withoutResolver: 10 })
    expect(given.map(({ code }) => code)).toEqual(['W_CLIENT_MISSING', 'W_NO_RESOLVER'])
    expect(given[1].message).toContain('10 connections')
  })
})

describe('a change of the cluster on the way', () => {
  const gone = (name: string, at: string): object => ({ at, delete: { kind: 'Pod', namespace: 'default', name } })
  const traffic = [dials('mysql', 3306, 3000)]
  const minute = { duration: '60s' }
  const after20 = { ...minute, changes: [gone('mysql-2', '20s')] }

  it('without caches every answer is that of the moment', async () => {
    const result = await run(traffic, objects(...mysql(3), corefile('')), after20)
    expect(result.dns).toMatchObject({ staleAnswers: 0, goneAddresses: 0, resolved: 3000 })
    expect(result.drops).toEqual({})
    const shares = result.endpoints.filter(({ service }) => service === 'default/mysql:mysql')
    // A third of 20 seconds' connections.
    expect(shares[2].connections).toBeGreaterThan(270)
    expect(shares[2].connections).toBeLessThan(400)
  })

  it('a replica’s cache goes on naming a pod that is gone, for less than 30 s', async () => {
    const result = await run(traffic, objects(...mysql(3), corefile('cache 30')), after20)
    const { staleAnswers, goneAddresses } = result.dns
    expect(staleAnswers).toBeGreaterThan(0)
    // Every second query of 30 s, a third of the answers each.
    expect(staleAnswers).toBeLessThan(600)
    expect(goneAddresses).toBe(staleAnswers)
    expect(result.drops).toEqual({ 'backend-gone': staleAnswers })
    expect(result.connections).toMatchObject({ attempted: 3000, failed: staleAnswers })
  })

  it('a client’s own cache asks less and is behind by itself', async () => {
    const fresh = await run(traffic, objects(...mysql(3), corefile('')), { ...after20, dns: { cacheSeconds: '10s' } })
    expect(fresh.dns.cached).toBeGreaterThan(2900)
    expect(fresh.dns.queries).toBe(2 * (3000 - fresh.dns.cached))
    expect(fresh.dns.resolved).toBe(3000)
    expect(fresh.dns.staleAnswers).toBeLessThanOrEqual(500)
  })

  it('a pod that joins is dialled, and the report knows it', async () => {
    const [, , joining] = mysql(3)
    const changes = [{ at: '20s', apply: joining }]
    const result = await run(traffic, objects(...mysql(2), corefile('')), { ...minute, changes })
    const shares = result.endpoints.filter(({ service }) => service === 'default/mysql:mysql')
    expect(shares.map(({ pod: name, node }) => [name, node])).toEqual([
      ['default/mysql-0', 'node-1'],
      ['default/mysql-1', 'node-2'],
      ['default/mysql-2', 'node-3'],
    ])
    expect(shares[2].connections).toBeGreaterThan(500)
  })

  it('a DNS server that goes away: later queries go to the other', async () => {
    const changes = [{ at: '20s', delete: { kind: 'Pod', namespace: 'kube-system', name: 'coredns-a' } }]
    const result = await run(traffic, objects(...mysql(3)), { ...minute, changes })
    expect(result.dns).toMatchObject({ lost: 0, resolved: 3000 })
    expect(result.dns.servers.map(({ share }) => Math.round(share * 6))).toEqual([1, 5])
  })

  it('a Service that goes away leaves an address that nobody has', async () => {
    const changes = [{ at: '20s', delete: { kind: 'Service', namespace: 'default', name: 'web' } }]
    const result = await run([dials('web', 80, 600)], objects(...web, corefile('cache 30')), { ...minute, changes })
    const { goneAddresses, staleAnswers, failed } = result.dns
    expect(goneAddresses).toBeGreaterThan(0)
    expect(staleAnswers).toBe(goneAddresses)
    expect(result.drops).toEqual({ 'no-service': goneAddresses, 'name-not-resolved': failed })
    expect(failed + goneAddresses + result.connections.established).toBe(600)
  })

  it('an open connection stays where it is', async () => {
    const long = dials('mysql', 3306, 60, { requests: 40, thinkTime: '1s' })
    const changes = [
      {
        at: '20s',
        apply: {
          ...mysql(1)[1],
          metadata: { name: 'mysql', namespace: 'default' },
          spec: { ...mysql(1)[1].spec, selector: { app: 'none' } },
        },
      },
    ]
    const result = await run([long], objects(...mysql(3), corefile('')), { ...minute, changes })
    expect(result.connections.broken).toBe(0)
    expect(result.drops).toEqual({ 'name-not-resolved': result.connections.failed })
    expect(result.connections.established).toBeGreaterThan(10)
  })
})

describe('the same bytes', () => {
  it('for 1, 2 and 7 workers, names and addresses mixed', async () => {
    const clients = Array.from({ length: 12 }, (_, i) =>
      pod(`c-${i}`, `node-${(i % 3) + 1}`, `10.244.${(i % 3) + 1}.${200 + i}`, 'client'),
    )
    const path = await trace(
      [
        dials('mysql', 3306, 800),
        dials('mysql-0.mysql', 3306, 400),
        dials('web', 80, 400),
        { ...dials('web', 80, 400), to: { service: 'web' } },
        { ...dials('web', 80, 200), to: { service: 'kube-system/kube-dns', port: 'dns' } },
      ],
      objects(...clients, ...mysql(3), ...web),
      {
        dns: { cacheSeconds: '200ms' },
        changes: [{ at: '10s', delete: { kind: 'Pod', namespace: 'default', name: 'mysql-1' } }],
      },
    )
    const [one, two, seven] = await Promise.all(
      [1, 2, 7].map(async (workers) => {
        const { given: _, ...report } = await replayed(path, { workers })
        return report
      }),
    )
    expect(resultText(two)).toBe(resultText(one))
    expect(resultText(seven)).toBe(resultText(one))
    expect(one.engine.shards).toBe(16)
    expect(one.runs[0].dns.queries).toBeGreaterThan(1000)
  })

  it('a trace without names has a dns part of zeros', async () => {
    const stream = {
      from: { external: { addresses: 5 } },
      to: { address: '10.244.1.50', port: 80 },
      arrivals: { connections: 5 },
    }
    const { dns } = await run([stream], [...TWO_NODES, CLIENT])
    expect(dns).toEqual({
      ...{ queries: 0, byRcode: {}, byType: {}, connections: 0, queriesPerConnection: 0, resolved: 0, cached: 0 },
      ...{ failed: 0, withoutResolver: 0, lost: 0, staleAnswers: 0, goneAddresses: 0, tcpRetries: 0, packets: 0 },
      ...{ bytes: 0, conntrackEntries: 0, conntrackPeak: 0, servers: [], headless: [] },
    })
  })
})

describe('questions take their turn in the nodes’ queues', () => {
  // Constant costs: 4 ms a packet and node, so that a handful of questions a second keeps a core busy.
  const slow = { establishedNanos: 4_000_000, firstPacketP50Nanos: 0, firstPacketP90Nanos: 0, firstPacketP99Nanos: 0 }

  async function slowRun(to: string, rate: number): Promise<RunReport> {
    const path = join(folder, `slow-${traces}.yaml`)
    writeFileSync(path, JSON.stringify(slow))
    const dials = { from: { pods: { name: 'client' } }, to: { name: to, port: 80 }, arrivals: { rate }, requests: 1 }
    const made = await trace([dials], objects(...web), { dns: { families: ['A'] } })
    return (await replayed(made, { policies: ['as-is'], model: path })).runs[0]!
  }

  it('each costs every node on its way CPU time', async () => {
    const [short, long] = [await slowRun('web.', 1), await slowRun('web.default.svc', 1)]
    const busy = (run: RunReport): number =>
      run.nodes.reduce((sum, { cpuUtilization, cores }) => sum + cpuUtilization * cores, 0)
    expect(short.connections.failed).toBe(short.connections.attempted)
    // Three questions and replies over two nodes each, for every connection; what else there is, is the connection itself.
    const perConnection = (run: RunReport): number => (busy(run) * 30) / run.connections.attempted
    const ofQuestions = (long.dns.packets / long.connections.attempted) * 2 * 0.004
    expect(ofQuestions).toBeCloseTo(6 * 2 * 0.004, 6)
    const packets = long.verdicts.accept / long.connections.attempted
    expect(perConnection(long)).toBeGreaterThan(ofQuestions + packets * 0.004)
    expect(perConnection(long)).toBeLessThan(ofQuestions + packets * 2 * 0.004 * 1.05)
  })

  it('and waiting for them is part of the set-up, more of it the more there is to ask at once', async () => {
    const [quiet, busy] = [await slowRun('web.default.svc', 1), await slowRun('web.default.svc', 12)]
    const extra = busy.pathLatencyMicros.connectionSetup.mean - quiet.pathLatencyMicros.connectionSetup.mean
    const ofItsOwn = busy.pathLatencyMicros.packet.mean - quiet.pathLatencyMicros.packet.mean
    expect(extra).toBeGreaterThan(4 * Math.max(0, ofItsOwn))
    expect(extra).toBeGreaterThan(4_000)
  })
})
