/** What requests are answered with, and what becomes of exchanges that do not go as they should. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { IngressPath } from '../../src/ingress/index.ts'
import type { IngressReport } from '../../src/report/types.ts'
import type { Row } from '../trace/support.ts'
import { writeRows } from '../trace/support.ts'
import { type KubeObject, pod } from './cluster.ts'
import { HOST, ingress, type SiteOptions, site, visitors, webService } from './site.ts'
import { replayed, replayedOnce, temporaryFolder, traceOf } from './support.ts'

const folder = temporaryFolder()
let traces = 0

function trace(objects: readonly KubeObject[], stream: object = {}, connections = 40): Promise<string> {
  const scenario = { seed: 3, duration: '20s', traffic: [visitors(connections, stream)] }
  return traceOf(folder, `answers-${traces++}`, scenario, objects)
}

function modelFile(constants: object): string {
  const path = join(folder, `model-${traces++}.yaml`)
  writeFileSync(path, JSON.stringify(constants))
  return path
}

async function answered(
  objects: readonly KubeObject[],
  path: IngressPath,
  stream: object = {},
  model: object | null = null,
): Promise<IngressReport> {
  const file = await trace(objects, stream)
  const change = model === null ? {} : { model: modelFile(model) }
  const { ingress } = await replayedOnce(file, { ingressPaths: [path], ...change })
  return ingress!
}

const asks = (host: string, path = '/'): object => ({ http: [{ host, path }] })
const NO_PODS: SiteOptions = { web: [] }
const without = (objects: readonly KubeObject[], kind: string, name: string): KubeObject[] =>
  objects.filter((one) => one.kind !== kind || one.metadata.name !== name)
const PATHS: readonly IngressPath[] = ['instance', 'ip', 'proxy']
const UPSTREAM = { 'nginx.ingress.kubernetes.io/service-upstream': 'true' }
/** One node takes what two entries are, and no more. */
const TIGHT = { conntrackMax: 2, tcpTimeWaitSeconds: 1000 }

type Answered = [string, readonly KubeObject[], IngressPath, object, Record<string, number>]

describe('a request is answered', () => {
  const all = (status: number): Record<string, number> => ({ [status]: 40 })
  test.each<Answered>([
    ...PATHS.map((path): Answered => [`200, path ${path}`, site(), path, {}, all(200)]),
    ...PATHS.map(
      (path): Answered => [`404: no rule knows the host, path ${path}`, site(), path, asks('b.test'), all(404)],
    ),
    ...PATHS.map(
      (path): Answered => [
        `503: the Service is not there, path ${path}`,
        without(site(), 'Service', 'web'),
        path,
        {},
        all(503),
      ],
    ),
    ['503: no pods, path ip', site(NO_PODS), 'ip', {}, all(503)],
    ['503: no pods, path proxy', site(NO_PODS), 'proxy', {}, all(503)],
    ['502: no pods, path instance, Cluster: the node refuses', site(NO_PODS), 'instance', {}, all(502)],
    [
      '503: no pods, path instance, Local: no node is healthy',
      site({ ...NO_PODS, policy: 'Local' }),
      'instance',
      {},
      all(503),
    ],
    [
      '503: no node port, path instance',
      site({ webSpec: { type: 'ClusterIP', ports: [{ name: 'http', port: 80, targetPort: 8080 }] } }),
      'instance',
      {},
      all(503),
    ],
    ['502: no pods behind service-upstream', site({ ...NO_PODS, annotations: UPSTREAM }), 'proxy', {}, all(502)],
    [
      '308 to HTTPS where the host has a certificate',
      site({ tls: true }),
      'proxy',
      { to: { ingress: 'site', port: 80 } },
      all(308),
    ],
    ['200 over HTTPS there', site({ tls: true }), 'proxy', {}, all(200)],
  ])('%s', async (_, objects, path, stream, expected) => {
    const report = await answered(objects, path, stream)
    expect(report.byStatus).toEqual(expected)
    expect(report.requests).toBe(40)
    expect(report.unmatched).toBe(expected[404] ?? 0)
    expect(report.pods.reduce((sum, { requests }) => sum + requests, 0)).toBe(expected[200] ?? 0)
    expect(report.upstream.failed).toBe((expected[502] ?? 0) + (expected[504] ?? 0))
  })

  test('504: the node’s conntrack table is full and drops the SYN', async () => {
    const stream = { requests: 3, close: 'none', responseBytes: 0 }
    const report = await answered(site({ nodes: 1, web: [1] }), 'ip', stream, TIGHT)
    expect(Object.keys(report.byStatus)).toEqual(['200', '504'])
    expect(report.byStatus['504']).toBe(report.upstream.failed)
  })

  test('and each with a proxy’s time, whoever answers', async () => {
    const file = await trace(site(), asks('b.test'))
    const { endpoints, drops } = await replayedOnce(file)
    const proxy = endpoints.find(({ pod, service }) => pod === 'edge/proxy-0' && service === 'edge/proxy:http')
    expect(proxy).toMatchObject({ podRequests: 40 })
    // 62 µs each, in 20 s and what the last exchange takes.
    expect(Math.abs(proxy!.podUtilization / ((40 * 62e-6) / 20) - 1)).toBeLessThan(0.05)
    expect(drops).toEqual({})
  })

  test('by the rules of the proxy that it has got to', async () => {
    // Two controllers serve one host; each sends it to a Service of its own.
    const objects = [
      ...site(),
      webService({ selector: { app: 'web' } }, 'other', '10.96.80.3', 30082),
      ingress('moved', 'alb', { [HOST]: 'other' }, { ip: '203.0.113.81' }),
    ]
    const file = await trace(objects, { to: [{ ingress: 'site' }, { ingress: 'moved' }] })
    const { rules, requests, proxies } = (await replayedOnce(file)).ingress!
    expect(requests).toBe(40)
    for (const [service, pod] of [
      ['default/web', 'edge/proxy-0'],
      ['default/other', null],
    ] as const) {
      const took = proxies.find((proxy) => proxy.pod === pod)!.requests
      expect(took).toBeGreaterThan(0)
      expect(rules.find((rule) => rule.service === service)!.requests).toBe(took)
    }
  })
})

/** Connections of client 1 to the front of a site with one proxy and one pod; `rows` are its packets. */
async function told(rows: readonly Row[], change: SiteOptions = {}, connections = 1) {
  const made = await trace(site({ web: [1], ...change }), {}, 1)
  const { openTrace } = await import('../../src/trace/read.ts')
  const opened = openTrace(made)
  const { format, version, tickNanos, lanes, ...content } = opened.header
  opened.close()
  const path = join(folder, `told-${traces++}.msgpack`)
  const clients = Array.from({ length: connections }, (_, i) => ({
    client: clientOf(content),
    destination: 0,
    sourcePort: 50_000 + i,
  }))
  writeRows(path, content, clients, rows, 1000)
  const run = await replayedOnce(path)
  return { ...run, ingress: run.ingress!, path }
}

/** Some address that is no entrance. */
function clientOf({
  addresses,
  destinations,
}: {
  addresses: { v4: Uint8Array; v6: Uint8Array }
  destinations: readonly { address: number }[]
}): number {
  for (let id = 0; id < addresses.v4.length / 4 + addresses.v6.length / 16; id++) {
    if (!destinations.some(({ address }) => address === id)) return id
  }
  throw new Error('no client')
}

const SYN = 0x02
const SYN_ACK = 0x92
const ACK = 0x10
const PSH = 0x18
const REPLY = 0x98
const FIN = 0x11
const RST = 0x04
const UNKNOWN = 0xffffffff
const HANDSHAKE: readonly Row[] = [
  { connection: 0, tick: 0, flags: SYN, length: 52 },
  { connection: 0, tick: 100, flags: SYN_ACK, length: 52 },
  { connection: 0, tick: 200, flags: ACK, length: 40 },
]
const packet = (tick: number, flags: number, length: number, more: Partial<Row> = {}): Row => ({
  connection: 0,
  tick,
  flags,
  length,
  ...more,
})
const request = (tick: number, answer: number): Row => packet(tick, PSH, 140, { asks: [0, 100, answer] })
const CLOSED_NONE = { idle: 0, poolFull: 0, worn: 0, aborted: 0, broken: 0 }

describe('an exchange', () => {
  test.each<[string, readonly Row[], { requests?: number; connections: number; reused: number; closed?: object }]>([
    [
      'that is whole leaves its connection to the next',
      [...HANDSHAKE, request(300, 500), packet(400, REPLY, 540), request(500, 500), packet(600, REPLY, 540)],
      { requests: 2, connections: 1, reused: 1 },
    ],
    [
      'whose answer comes in parts is whole with the last',
      [...HANDSHAKE, request(300, 3000), packet(400, REPLY, 1500), packet(410, REPLY, 1500), packet(420, REPLY, 120)],
      { connections: 1, reused: 0 },
    ],
    [
      'that a client leaves without a word is still under way',
      [...HANDSHAKE, request(300, 500)],
      { connections: 1, reused: 0 },
    ],
    [
      'that a client resets in mid-answer takes its connection with it',
      [...HANDSHAKE, request(300, 3000), packet(400, REPLY, 1500), packet(500, RST, 40)],
      { connections: 1, reused: 0, closed: { aborted: 1 } },
    ],
    [
      'that a client finishes in mid-answer does, too',
      [...HANDSHAKE, request(300, 3000), packet(400, REPLY, 1500), packet(500, FIN, 40)],
      { connections: 1, reused: 0, closed: { aborted: 1 } },
    ],
    [
      'whose last part comes with the FIN is whole',
      [...HANDSHAKE, request(300, 2000), packet(400, REPLY, 1500), packet(410, 0x99, 580)],
      { connections: 1, reused: 0 },
    ],
    [
      'of unknown length ends with the next request',
      [...HANDSHAKE, request(300, UNKNOWN), packet(400, REPLY, 1500), request(500, UNKNOWN), packet(600, REPLY, 90)],
      { requests: 2, connections: 1, reused: 1 },
    ],
    [
      'of unknown length ends with the connection',
      [
        ...HANDSHAKE,
        request(300, UNKNOWN),
        packet(400, REPLY, 1500),
        packet(500, FIN | 0x80, 40),
        packet(600, FIN, 40),
      ],
      { connections: 1, reused: 0 },
    ],
    [
      'of unknown length that a client resets has been cut short',
      [...HANDSHAKE, request(300, UNKNOWN), packet(400, REPLY, 1500), packet(500, RST, 40)],
      { connections: 1, reused: 0, closed: { aborted: 1 } },
    ],
    [
      'without an answer is not over with an ACK for the first part of the request',
      [
        ...HANDSHAKE,
        packet(300, ACK, 1500, { asks: [0, 2000, 0] }),
        packet(350, ACK | 0x80, 40),
        packet(360, PSH, 580),
        packet(500, RST, 40),
      ],
      { connections: 1, reused: 0, closed: { aborted: 1 } },
    ],
    [
      'that another request overtakes ends there',
      [...HANDSHAKE, request(300, 5000), packet(400, REPLY, 1500), request(500, 500), packet(600, REPLY, 540)],
      { requests: 2, connections: 1, reused: 1 },
    ],
    [
      'of a trace that begins in mid-flow',
      [request(0, 500), packet(100, REPLY, 540), request(200, 500), packet(300, REPLY, 540)],
      { requests: 2, connections: 1, reused: 1 },
    ],
  ])('%s', async (_, rows, { requests = 1, connections, reused, closed = {} }) => {
    const { ingress: report } = await told(rows)
    expect([report.requests, report.byStatus]).toEqual([requests, { 200: requests }])
    expect([report.upstream.connections, report.upstream.reused]).toEqual([connections, reused])
    expect(report.upstream.closed).toEqual({ ...CLOSED_NONE, ...closed })
  })

  test('brings every packet of request and answer to the pod and back, and none else', async () => {
    const rows = [
      ...HANDSHAKE,
      request(300, 3000),
      packet(400, REPLY, 1500),
      packet(410, REPLY, 1620),
      packet(420, ACK, 40),
    ]
    const { endpoints } = await told(rows)
    expect(endpoints.find(({ service }) => service === 'default/web:http')).toMatchObject({
      packets: 3,
      connections: 1,
    })
    expect(endpoints.find(({ service }) => service === 'edge/proxy:http')).toMatchObject({ packets: 7, connections: 1 })
  })

  const SECOND = 10_000_000
  test.each<[string, number, object, number]>([
    ['59 s later the connection is used again', 59 * SECOND, {}, 1],
    ['60 s later it has been closed, and another is opened', 61 * SECOND, { idle: 1 }, 2],
  ])('%s', async (_, apart, closed, connections) => {
    const rows = [
      ...HANDSHAKE,
      request(300, 500),
      packet(400, REPLY, 540),
      request(400 + apart, 500),
      packet(500 + apart, REPLY, 540),
    ]
    const { ingress: report } = await told(rows)
    expect(report.upstream.connections).toBe(connections)
    expect(report.upstream.closed).toEqual({ ...CLOSED_NONE, ...closed })
  })

  test('1 h after it was opened a connection is closed when it comes back', async () => {
    const gap = 50 * SECOND
    const exchanges = Array.from({ length: 80 }, (_, i) => [
      request(300 + i * gap, 500),
      packet(400 + i * gap, REPLY, 540),
    ])
    const { ingress: report } = await told([...HANDSHAKE, ...exchanges.flat()])
    expect(report.upstream.closed).toEqual({ ...CLOSED_NONE, worn: 1 })
    expect([report.upstream.connections, report.upstream.reused]).toEqual([2, 78])
  })

  test('of more requests at once than a pool keeps: the connections beyond 320 are closed, the oldest first', async () => {
    const many = 350
    const rows = (at: number, flags: number, length: number, asks?: Row['asks']): Row[] =>
      Array.from({ length: many }, (_, connection) => ({
        connection,
        tick: at + connection,
        flags,
        length,
        ...(asks ? { asks } : {}),
      }))
    const all = [
      ...rows(0, SYN, 52),
      ...rows(1000, SYN_ACK, 52),
      ...rows(2000, ACK, 40),
      ...rows(3000, PSH, 140, [0, 100, 500]),
      ...rows(4000, REPLY, 540),
    ]
    const { ingress: report } = await told(all, {}, many)
    expect(report.upstream.connections).toBe(many)
    expect(report.upstream.closed).toEqual({ ...CLOSED_NONE, poolFull: many - 320 })
  })
})

describe('what is no HTTP for the proxy', () => {
  test('is none: other ports of a node that a proxy shares, though requests go there', async () => {
    // A DaemonSet of another sort on the host network, dialled by HTTP clients as well.
    const agent: KubeObject = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'agent', namespace: 'default', labels: { app: 'agent' } },
      spec: {
        nodeName: 'node-1',
        hostNetwork: true,
        containers: [{ name: 'agent', image: 'registry.example/agent:1' }],
      },
      status: {
        phase: 'Running',
        podIP: '192.168.40.11',
        podIPs: [{ ip: '192.168.40.11' }],
        conditions: [{ type: 'Ready', status: 'True' }],
      },
    }
    const ports = [{ name: 'http', protocol: 'TCP', port: 9100, targetPort: 9100, nodePort: 30910 }]
    const objects = [...site({ front: 'hostNetwork' }), agent, webService({ ports }, 'agent', '10.96.80.9', 30910)]
    const traffic = [visitors(40), visitors(40, { to: { service: 'agent' } })]
    const file = await traceOf(folder, 'agent', { seed: 3, duration: '20s', traffic }, objects)
    const { ingress: report, endpoints } = await replayedOnce(file)
    expect([report!.requests, report!.connections]).toEqual([40, 40])
    expect(endpoints.find(({ service }) => service === 'default/agent:http')).toMatchObject({ connections: 40 })
  })

  test('a connection to a port that the load balancer does not listen on finds no way', async () => {
    const objects = site({ ingressClass: 'alb' })
    const traffic = [visitors(10), visitors(10, { to: { address: '203.0.113.80', port: 8080 } })]
    const file = await traceOf(folder, 'deaf', { seed: 3, duration: '20s', traffic }, objects)
    const { ingress: report, drops, connections } = await replayedOnce(file)
    expect(report!.requests).toBe(10)
    expect([connections.established, drops]).toEqual([10, { 'no-route': 10 }])
  })
})

describe('a proxy that is dialled without a word of an Ingress', () => {
  const client = pod('client', 'node-1', '10.244.1.50', 'client')
  const inside = { from: { pods: { selector: { app: 'client' } } } }
  const dns: readonly KubeObject[] = [
    webService(
      { type: 'ClusterIP', selector: { app: 'dns' }, ports: [{ name: 'dns', protocol: 'UDP', port: 53 }] },
      'kube-dns',
      '10.96.0.10',
      0,
    ),
    pod('dns-0', 'node-2', '10.244.2.53', 'dns'),
  ]

  test.each<[string, SiteOptions, object]>([
    ['as its Service', {}, { to: { service: 'edge/proxy', port: 80 } }],
    ['as its Service, from a pod', {}, { ...inside, to: { service: 'edge/proxy', port: 443 } }],
    ['by the address of its Service', {}, { to: { address: '192.0.2.80', port: 80 } }],
    [
      'by the address of a cloud load balancer',
      { ingressClass: 'alb' },
      { to: { address: '203.0.113.80', port: 443 } },
    ],
    ['by the address of its node', { front: 'hostNetwork' }, { to: { address: '192.168.40.11', port: 80 } }],
    ['by its name', {}, { ...inside, to: { name: 'proxy.edge', port: 80 } }],
  ])('%s: its requests are routed', async (_, change, stream) => {
    const { ingress: report, connections } = await replayedOnce(
      await trace([...site(change), client, ...named(dns)], stream),
    )
    expect(connections.established).toBe(40)
    expect(report).toMatchObject({ requests: 40, byStatus: { 200: 40 } })
  })
})

/** In the namespace and with the label that a DNS Service has. */
function named(objects: readonly KubeObject[]): KubeObject[] {
  return objects.map((one) => ({
    ...one,
    metadata: { ...one.metadata, namespace: 'kube-system', labels: { ...one.metadata.labels, 'k8s-app': 'kube-dns' } },
  }))
}

test('requests that lead to no proxy change nothing, and --ingress-path is said to change nothing', async () => {
  const plain = (http: object): object => ({ to: { service: 'proxy-less' }, ...http })
  const objects = [
    ...site({ front: 'hostNetwork', proxies: [] }),
    webService({ selector: { app: 'web' } }, 'proxy-less', '10.96.80.4', 30083),
  ]
  const withRequests = await trace(objects, plain(asks('x.test')))
  const withoutThem = await trace(objects, plain({ http: undefined }))
  const [one, other] = [await replayed(withRequests), await replayed(withoutThem)]
  expect(one.runs.map(({ ingress: report }) => report)).toEqual([null, null])
  expect(one.runs).toEqual(other.runs)
  expect(one.given).toEqual(other.given)
  const asked = await replayed(withRequests, { ingressPaths: ['ip', 'proxy'] })
  expect(asked.runs).toEqual(one.runs)
  expect(asked.given.map(({ code }) => code)).toContain('W_NO_INGRESS')
})

describe('what an annotation asks for and a replay does not do is a warning', () => {
  const NGINX = 'nginx.ingress.kubernetes.io/'
  const ALB = 'alb.ingress.kubernetes.io/'
  test.each<[string, string, 'nginx' | 'alb', boolean]>([
    [`${NGINX}load-balance`, 'ewma', 'nginx', true],
    [`${NGINX}upstream-hash-by`, '$request_uri', 'nginx', true],
    [`${NGINX}affinity`, 'cookie', 'nginx', true],
    // No share of requests is given to it, so none goes there.
    [`${NGINX}canary`, 'true', 'nginx', false],
    [`${NGINX}limit-rps`, '5', 'nginx', true],
    [`${NGINX}proxy-buffering`, 'off', 'nginx', false],
    [`${ALB}target-group-attributes`, 'stickiness.enabled=true,stickiness.lb_cookie.duration_seconds=60', 'alb', true],
    [`${ALB}target-group-attributes`, 'load_balancing.algorithm.type=least_outstanding_requests', 'alb', true],
    [
      `${ALB}target-group-attributes`,
      'load_balancing.algorithm.type=round_robin, stickiness.enabled=false',
      'alb',
      false,
    ],
    [`${ALB}actions.redirect`, '{"Type":"redirect"}', 'alb', false],
    [`${ALB}scheme`, 'internet-facing', 'alb', false],
  ])('%s: %s', async (key, value, ingressClass, warned) => {
    const file = await trace(site({ ingressClass, annotations: { [key]: value } }), {}, 5)
    const { given } = await replayed(file)
    const said = given.filter(({ code, where }) => code === 'W_NOT_MODELLED' && where.includes(key))
    expect(said).toHaveLength(warned ? 1 : 0)
  })
})
