/** Any requests on any small site, by any packets: nothing throws, and every request is counted once, where it belongs. */
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileRoutes, INGRESS_PATHS, requestFor, route } from '../../dist/src/ingress/index.js'
import { deriveCluster } from '../../dist/src/k8s/derive.js'
import { parseManifests } from '../../dist/src/k8s/load.js'
import type { IngressReport } from '../../src/report/types.ts'
import type { TraceContent, TraceRequest } from '../../src/trace/format.ts'
import { openTrace } from '../../src/trace/read.ts'
import { type Row, writeRows } from '../trace/support.ts'
import { HOST, type SiteOptions, site, visitors } from './site.ts'
import { replayed, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
const SEED = 20_261
const NGINX = 'nginx.ingress.kubernetes.io/'

const sites: fc.Arbitrary<SiteOptions> = fc.record({
  nodes: fc.constant(3),
  cpus: fc.constantFrom('1', '2', '4', '7'),
  proxies: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 2 }),
  web: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 3 }),
  front: fc.constantFrom('LoadBalancer', 'NodePort', 'hostNetwork'),
  ipMode: fc.constantFrom('VIP', 'Proxy'),
  policy: fc.constantFrom('Cluster', 'Local'),
  ingressClass: fc.constantFrom('nginx', 'alb'),
  tls: fc.boolean(),
  annotations: fc.constantFrom(
    {},
    { [`${NGINX}service-upstream`]: 'true' },
    { [`${NGINX}rewrite-target`]: '/$1' },
    { [`${NGINX}permanent-redirect`]: 'https://elsewhere.example.com' },
    { [`${NGINX}whitelist-source-range`]: '10.0.0.0/8' },
  ),
  webSpec: fc.constantFrom(
    {},
    { sessionAffinity: 'ClientIP' },
    { type: 'ClusterIP', ports: [{ name: 'http', port: 80, targetPort: 8080 }] },
  ),
})

const text = fc.oneof(fc.string({ maxLength: 12 }), fc.string({ unit: 'grapheme', maxLength: 6 }))
const asked: fc.Arbitrary<TraceRequest> = fc.record({
  host: fc.oneof(fc.constantFrom(HOST, HOST.toUpperCase(), `${HOST}:80`, '', '[::1]', 'x'.repeat(300)), text),
  path: fc.oneof(fc.constantFrom('/', '', '/a/../b', '/%2e%2e/%', '//', '/?', '/#'), text),
  method: fc.constantFrom('GET', 'POST', 'HEAD', 'PATCH', 'x'),
  scheme: fc.constantFrom('http' as const, 'https' as const),
})

interface Event {
  readonly connection: number
  readonly pause: number
  readonly flags: number
  readonly length: number
  readonly asks: readonly [number, number, number] | null
}
const [SYN, ACK, PSH, FIN, RST, REPLY] = [0x02, 0x10, 0x18, 0x11, 0x04, 0x80]
const event: fc.Arbitrary<Event> = fc.record({
  connection: fc.nat(7),
  pause: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 100_000 }) }, fc.constant(650_000_000)),
  flags: fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(PSH, PSH | REPLY) },
    { weight: 4, arbitrary: fc.constantFrom(ACK, ACK | REPLY) },
    fc.constantFrom(SYN, SYN | ACK | REPLY, FIN, FIN | REPLY, FIN | PSH | REPLY, RST, RST | REPLY),
  ),
  length: fc.integer({ min: 40, max: 1500 }),
  asks: fc.option(fc.tuple(fc.nat(5), fc.nat(2000), fc.constantFrom(0, 1, 900, 4000, 0xffff_ffff)), {
    nil: null,
    freq: 3,
  }),
})

/** Events as packets: what was asked is asked by segments of the client. @param opened  bits of connections with a handshake */
function rowsOf(events: readonly Event[], requests: number, opened: number): Row[] {
  let tick = 0
  const seen = new Set<number>()
  return events.flatMap(({ connection, pause, flags, length, asks }): Row[] => {
    tick += pause
    const handshake: Row[] = [SYN, SYN | ACK | REPLY, ACK].map((part) => ({
      connection,
      tick,
      flags: part,
      length: 52,
    }))
    const opens = !seen.has(connection) && ((opened >> connection) & 1) !== 0
    seen.add(connection)
    const may = asks !== null && (flags & REPLY) === 0
    const asked = may ? { asks: [asks[0] % requests, asks[1], asks[2]] as const } : {}
    return [...(opens ? handshake : []), { connection, tick, flags, length, ...asked }]
  })
}

function contentOf(path: string): TraceContent {
  const trace = openTrace(path)
  const { format, version, tickNanos, lanes, ...content } = trace.header
  trace.close()
  return content
}

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0)

function holds(report: IngressReport): void {
  const { requests, rules, byStatus, pods, proxies, connections, upstream } = report
  const answered = byStatus['200'] ?? 0
  expect(sum(rules.map((rule) => rule.requests))).toBe(requests)
  expect(sum(Object.values(byStatus))).toBe(requests)
  expect(sum(pods.map((pod) => pod.requests))).toBe(answered)
  expect(sum(proxies.map((proxy) => proxy.requests))).toBe(requests)
  expect(sum(proxies.map((proxy) => proxy.connections))).toBe(connections)
  expect(sum(pods.map((pod) => pod.connections))).toBe(upstream.connections)
  expect(upstream.connections + upstream.reused).toBe(answered)
  expect(upstream.failed).toBeLessThanOrEqual((byStatus['502'] ?? 0) + (byStatus['504'] ?? 0))
  // None is closed twice.
  expect(sum(Object.values(upstream.closed))).toBeLessThanOrEqual(upstream.connections)
  expect(connections).toBeLessThanOrEqual(requests)
  for (const count of Object.values(byStatus)) expect(count).toBeGreaterThan(0)
}

let traces = 0

describe('whatever is sent', () => {
  test('is counted once', async () => {
    let met = 0
    await fc.assert(
      fc.asyncProperty(
        sites,
        fc.array(asked, { minLength: 1, maxLength: 6 }),
        fc.array(event, { minLength: 10, maxLength: 120, size: 'max' }),
        fc.nat(255),
        async (options, requests, events, opened) => {
          const scenario = { seed: 3, duration: '1s', traffic: [visitors(4)] }
          const content = contentOf(await traceOf(folder, `any-${traces++}`, scenario, site(options)))
          const path = join(folder, `any-${traces++}.msgpack`)
          const client = content.destinations.length
          const connections = Array.from({ length: 8 }, (_, i) => ({
            client,
            destination: i % content.destinations.length,
            sourcePort: 50_000 + i,
          }))
          const rows = rowsOf(events, requests.length, opened)
          writeRows(path, { ...content, requests }, connections, rows, 16)
          const ingressPaths = options.front === 'LoadBalancer' ? INGRESS_PATHS : (['instance', 'ip'] as const)
          const policies = ['as-is'] as const
          const { runs } = await replayed(path, { policies, ingressPaths, shards: 1 })
          const again = await replayed(path, { policies, ingressPaths })
          const asks = rows.filter((row) => row.asks !== undefined).length
          for (const [i, { ingress, verdicts }] of runs.entries()) {
            if (asks === 0) continue
            holds(ingress!)
            expect(ingress!.requests).toBeLessThanOrEqual(asks)
            if (verdicts.drop + verdicts.reject + verdicts.notSent === 0) expect(ingress!.requests).toBe(asks)
            met += ingress!.requests
            const other = again.runs[i].ingress!
            holds(other)
            expect([other.requests, other.connections, other.rules]).toEqual([
              ingress!.requests,
              ingress!.connections,
              ingress!.rules,
            ])
          }
        },
      ),
      { seed: SEED, numRuns: 20 },
    )
    expect(met).toBeGreaterThan(400)
  }, 120_000)
})

describe('explain and replay', () => {
  test('give a request the same rule and answer', async () => {
    await fc.assert(
      fc.asyncProperty(sites, fc.array(asked, { minLength: 1, maxLength: 6 }), async (options, requests) => {
        const objects = site({ ...options, annotations: {}, webSpec: {} })
        const scenario = { seed: 3, duration: '1s', traffic: [visitors(1)] }
        const content = contentOf(await traceOf(folder, `same-${traces++}`, scenario, objects))
        const path = join(folder, `same-${traces++}.msgpack`)
        const rows = requests.flatMap((_, i): Row[] => [
          { connection: 0, tick: i * 2000, flags: 0x18, length: 140, asks: [i, 100, 500] },
          { connection: 0, tick: i * 2000 + 1000, flags: 0x98, length: 540 },
        ])
        const clients = [{ client: content.destinations.length, destination: 0, sourcePort: 50_000 }]
        writeRows(path, { ...content, requests }, clients, rows, 1000)
        const { runs } = await replayed(path, { policies: ['as-is'], ingressPaths: ['ip'], workers: 1 })
        const table = compileRoutes(
          deriveCluster(
            parseManifests([{ name: 'site', text: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }) }])
              .objects,
          ),
        )
        const expected: Record<string, number> = {}
        for (const { host, path: url, method, scheme } of requests) {
          const { status, ruleId } = route(table, { ...requestFor(host, url, scheme), method })
          const key = `${table.rules[ruleId]?.text ?? null} → ${status}`
          expected[key] = (expected[key] ?? 0) + 1
        }
        const rules = runs[0].ingress!.rules.map(({ rule, status, requests: count }) => [`${rule} → ${status}`, count])
        expect(Object.fromEntries(rules)).toEqual(expected)
      }),
      { seed: SEED, numRuns: 25 },
    )
  }, 120_000)
})
