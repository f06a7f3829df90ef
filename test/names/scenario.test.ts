/** Names in a scenario and in a trace's header: what may be written, what is refused, what a reader finds. */
import { describe, expect, it } from 'vitest'
import { formatInspection } from '../../src/commands/inspect-text.ts'
import { UserError } from '../../src/errors.ts'
import { addressText, DEFAULT_DNS } from '../../src/trace/format.ts'
import { parseHeader } from '../../src/trace/header.ts'
import { inspectTrace } from '../../src/trace/inspect.ts'
import { openTrace } from '../../src/trace/read.ts'
import { parseScenario } from '../../src/trace/scenario.ts'
import { temporaryFolder, traceOf } from '../replay/support.ts'
import { clusterIp, dials, mysql, objects } from './cluster.ts'

const folder = temporaryFolder()

function scenario(change: object): object {
  return { name: 'names', duration: '5s', traffic: [dials('mysql', 3306, 5)], ...change }
}

function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof UserError) return `${error.code} ${error.message}`
    throw error
  }
  return 'nothing'
}

describe('a scenario', () => {
  const parsed = (change: object) => parseScenario(JSON.stringify(scenario(change)), 'scenario.yaml')

  it('asks for A and AAAA, caches nothing and knows nothing outside unless it says so', () => {
    expect(parsed({}).dns).toEqual(DEFAULT_DNS)
    expect(
      parsed({ dns: { families: 'AAAA', cacheSeconds: '1m', upstream: ['x.example. 5 A 192.0.2.1'] } }).dns,
    ).toEqual({
      families: ['AAAA'],
      cacheSeconds: 60,
      upstream: ['x.example. 5 A 192.0.2.1'],
    })
    expect(parsed({ dns: { families: ['AAAA', 'A'] } }).dns.families).toEqual(['A', 'AAAA'])
  })

  it.each([
    [{ to: { name: 'mysql' } }, 'traffic[0].to.port is missing'],
    [{ to: { name: 'mysql', port: 0 } }, 'traffic[0].to.port must be a number from 1 to 65535'],
    [{ to: { name: 'my sql', port: 1 } }, 'traffic[0].to.name is no domain name: my sql'],
    [{ to: { name: 'a..b', port: 1 } }, 'traffic[0].to.name is no domain name: a..b'],
    [{ to: { name: `${'x'.repeat(64)}.b`, port: 1 } }, `traffic[0].to.name is no domain name: ${'x'.repeat(64)}.b`],
    [{ to: { name: 'mysql', port: 1, service: 'mysql' } }, 'traffic[0].to.service does not go with name'],
    [{ to: { name: 'mysql', port: 1, via: 'clusterIP' } }, 'traffic[0].to.via does not go with name'],
    [{ to: { name: 'mysql', port: 1, protocol: 'ICMP' } }, 'traffic[0].to.protocol must be one of TCP, UDP, SCTP'],
  ])('target %j is refused', (change, message) => {
    const traffic = [{ ...dials('mysql', 3306, 5), ...change }]
    expect(refusal(() => parsed({ traffic }))).toBe(`E_SCENARIO_FIELD ${message}`)
  })

  it.each([
    [{ familys: ['A'] }, 'dns.familys is not a field of a scenario'],
    [{ families: ['A', 'SRV'] }, 'dns.families[1] must be one of A, AAAA'],
    [{ cacheSeconds: 'long' }, 'dns.cacheSeconds must be a duration such as 10ms, 60s or 70m'],
    [{ upstream: ['db.example A 192.0.2.1'] }, 'dns.upstream[0] must be `name ttl type data`'],
    [{ upstream: ['db.example. 60 A 2001:db8::1'] }, 'dns.upstream[0] 2001:db8::1 is no address of type A'],
    [{ upstream: ['db.example. 60 AAAA here'] }, 'dns.upstream[0] here is no address of type AAAA'],
  ])('dns %j is refused', (dns, message) => {
    expect(refusal(() => parsed({ dns }))).toBe(`E_SCENARIO_FIELD ${message}`)
  })

  it('names are for pods: others have no resolver', async () => {
    const traffic = [{ ...dials('mysql', 3306, 5), from: { external: { addresses: 5 } } }]
    await expect(traceOf(folder, 'outside', scenario({ traffic }), objects(...mysql(1)))).rejects.toThrow(
      'traffic[0].to.name: is a name, and only pods have a resolver',
    )
  })
})

describe('a trace', () => {
  const mixed = scenario({
    traffic: [
      dials('mysql', 3306, 200),
      dials('mysql-0.mysql', 3306, 200),
      { ...dials('web', 80, 200), to: { service: 'web' } },
    ],
    dns: { families: ['A'], upstream: ['x.example. 5 A 192.0.2.1'] },
  })

  it('holds names as typed, 0.0.0.0 for their address, and a client’s connections together', async () => {
    const trace = openTrace(await traceOf(folder, 'mixed', mixed, objects(...mysql(1), clusterIp('web', 'mysql'))))
    const { destinations, dns, addresses } = trace.header
    trace.close()
    expect(destinations.map(({ to, name, steer }) => [to, name, steer])).toEqual([
      ['name', 'mysql', 'client'],
      ['name', 'mysql-0.mysql', 'client'],
      ['clusterIP', undefined, 'client'],
    ])
    expect(addressText(addresses, destinations[0].address)).toBe('0.0.0.0')
    expect(dns).toEqual({ families: ['A'], cacheSeconds: 0, upstream: ['x.example. 5 A 192.0.2.1'] })
  })

  it('gives no source port of a client to two live connections: their names may lead to one address', async () => {
    const long = { requests: 3, thinkTime: '20s' }
    const traffic = [dials('mysql', 3306, 300, long), dials('mysql-0.mysql', 3306, 300, long)]
    const trace = openTrace(await traceOf(folder, 'ports', scenario({ traffic }), objects(...mysql(1))))
    const ports: number[] = []
    const columns = {
      slot: new Uint32Array(trace.maxRows),
      client: new Uint32Array(trace.maxRows),
      destination: new Uint32Array(trace.maxRows),
      sourcePort: new Uint16Array(trace.maxRows),
    }
    for (let block = 0; block < trace.index.count; block++) {
      if (trace.index.kind[block] !== 0) continue
      ports.push(...columns.sourcePort.subarray(0, trace.readConnections(block, columns)))
    }
    trace.close()
    expect(ports).toHaveLength(600)
    expect(new Set(ports).size).toBe(600)
  })

  it('without names says nothing of DNS', async () => {
    const traffic = [{ ...dials('web', 80, 5), to: { service: 'web' } }]
    const trace = openTrace(
      await traceOf(folder, 'plain', scenario({ traffic }), objects(...mysql(1), clusterIp('web', 'mysql'))),
    )
    const { header } = trace
    trace.close()
    expect('dns' in header).toBe(false)
    expect(header.destinations.every((destination) => !('name' in destination) && destination.steer === 'tuple')).toBe(
      true,
    )
  })

  it('is inspected with its names', async () => {
    const inspection = inspectTrace(
      await traceOf(folder, 'inspected', mixed, objects(...mysql(1), clusterIp('web', 'mysql'))),
    )
    expect(inspection.destinations.map(({ name, to, connections }) => [name, to, connections])).toEqual([
      ['mysql', 'name', 200],
      ['mysql-0.mysql', 'name', 200],
      [undefined, 'clusterIP', 200],
    ])
    expect(formatInspection(inspection)).toMatch(/^mysql-0\.mysql:3306\/TCP +name +- +200 /m)
  })
})

describe('a header that cannot be used names the field', () => {
  const header = (change: object): object => ({
    ...{
      format: 'dpemu-trace',
      version: 1,
      tickNanos: 100,
      lanes: 16,
      name: 'x',
      manifests: [],
      clientNames: [],
      changes: [],
    },
    provenance: { generator: 'a test', seed: 1, scenario: null },
    addresses: { v4: new Uint8Array(4), v6: new Uint8Array(0) },
    destinations: [{ address: 0, port: 1, protocol: 6, to: 'name', name: 'x', steer: 'client' }],
    dns: { families: ['A'], cacheSeconds: 0, upstream: [] },
    ...change,
  })

  it('as it should be, it is read', () => {
    expect(parseHeader(header({}), 'x').destinations[0].name).toBe('x')
  })

  it.each([
    [{ destinations: [{ address: 0, port: 1, protocol: 6, to: 'name', steer: 'client' }] }, 'destinations[0].name'],
    [{ dns: 5 }, 'dns'],
    [{ dns: { families: [], cacheSeconds: 0, upstream: [] } }, 'dns.families'],
    [{ dns: { families: ['MX'], cacheSeconds: 0, upstream: [] } }, 'dns.families'],
    [{ dns: { families: ['A'], cacheSeconds: -1, upstream: [] } }, 'dns.cacheSeconds'],
    [{ dns: { families: ['A'], cacheSeconds: 0, upstream: [7] } }, 'dns.upstream'],
  ])('%j', (change, field) => {
    expect(refusal(() => parseHeader(header(change), 'x'))).toBe(
      `E_TRACE_CORRUPT the header's ${field} is missing or not what it must be`,
    )
  })
})
