/** The text form, as it is pasted into a ticket; and the forms that files get. */
import { readFileSync } from 'node:fs'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { detail, explain, failure, file, lines, one } from './support.ts'

describe('text', () => {
  test('a packet from outside under Local', () => {
    expect(explain({ from: '203.0.113.7', to: '198.51.100.10:80' }).stdout).toMatchInlineSnapshot(`
      "203.0.113.7 → 198.51.100.10:80/tcp   [Service shop/web:http, decided at node n1]

      load balancer
        1  route       externalTrafficPolicy: Local of Service shop/web: healthCheckNodePort answers 200 on nodes
                       with a ready endpoint only; n1, n2 pass; n1 is followed here
      node n1
        2  frontend    198.51.100.10:80/tcp is loadBalancerIP of Service shop/web:http
        3  policy      externalTrafficPolicy: Local of Service shop/web and 203.0.113.7 is outside the cluster: only
                       endpoints on this node (1 of 2)
        4  endpoint    10.244.1.5:8080 (pod shop/web-1, node n1); the only one
        5  dnat        203.0.113.7 → 198.51.100.10:80 tcp becomes 203.0.113.7 → 10.244.1.5:8080 tcp
        6  masquerade  no: externalTrafficPolicy: Local of Service shop/web keeps the client's address
        7  route       10.244.1.5:8080: on this node, no hop
      pod shop/web-1
        8  deliver     sees the client as 203.0.113.7; no container of shop/web-1 declares 8080/TCP (9999/TCP):
                       where nothing listens the pod refuses it

      verdict: dnat to 10.244.1.5:8080; the pod sees the client's address 203.0.113.7
      "
    `)
  })

  test('a packet that nobody takes', () => {
    expect(explain({ from: 'shop/client', to: 'cache.default:6379' }).stdout).toMatchInlineSnapshot(`
      "pod shop/client (10.244.1.9) → cache.default:6379 (10.96.0.30:6379/tcp)   [Service default/cache:6379, decided
      at node n1]

      pod shop/client
        1  dns       cache.default → cache.default.svc.cluster.local (try 2 of the search list) has address
                     10.96.0.30 (clusterIP of Service default/cache)
      node n1
        2  frontend  10.96.0.30:6379/tcp is clusterIP of Service default/cache:6379
        3  policy    internalTrafficPolicy: Cluster of Service default/cache: endpoints on every node (0 of 0)
        4  endpoint  Service default/cache has no endpoint for this port: the Service port has no usable endpoint
                     anywhere; the client gets ICMP port unreachable

      verdict: reject: the Service port has no usable endpoint anywhere; the client gets ICMP port unreachable
               [no-endpoint]
      "
    `)
  })

  test('no line is longer than it must be', () => {
    const { stdout } = explain({ from: 'shop/client', to: 'web:http' })
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(110)
  })

  test('several, with --packets -o text', () => {
    const { stdout } = explain(
      { packets: '-', output: ['text'] },
      '{"id":"a","from":"10.244.1.9","to":"10.96.0.20:80"}\n{"id":"b","from":"10.244.1.9","to":"10.96.0.30:6379"}',
    )
    expect(stdout).toMatch(/^a: pod shop\/client \(10\.244\.1\.9\) → 10\.96\.0\.20:80\/tcp/)
    expect(stdout).toContain('\n\nb: pod shop/client (10.244.1.9) → 10.96.0.30:6379/tcp')
  })
})

describe('documents', () => {
  const validate = new Ajv({ strict: true, allowUnionTypes: true }).compile(
    JSON.parse(readFileSync(new URL('../../schemas/explain.schema.json', import.meta.url), 'utf8')) as object,
  )
  const fits = (document: unknown): void => {
    validate(document)
    expect(validate.errors ?? []).toEqual([])
  }

  test('-o json is one document that fits the schema', () => {
    const { stdout } = explain({ from: '203.0.113.7', to: '198.51.100.10:80', output: ['json'] })
    expect(stdout.startsWith('{\n  "schemaVersion": 1,\n  "verdict": "dnat"')).toBe(true)
    fits(JSON.parse(stdout))
  })

  test('every kind of line fits it', () => {
    const answers = lines([
      { from: '203.0.113.7', to: '198.51.100.10:80' },
      { from: '203.0.113.7', to: '198.51.100.11:80' },
      { from: 'shop/client', to: 'billing:443' },
      { from: 'shop/client', to: 'empty:1' },
      { from: 'shop/client', to: 'db:5432' },
      { from: 'shop/client', to: '192.168.0.2:30080' },
      { from: 'shop/client', to: '127.0.0.1:1' },
      { url: 'http://shop.example/' },
      { url: 'http://x/' },
    ])
    expect(answers).toHaveLength(9)
    answers.forEach(fits)
    lines(
      [
        { time: 0, from: 'shop/client:1', to: 'web:http' },
        { time: 1, from: 'shop/client:1', to: 'web:http', direction: 'reply', flags: 'ACK' },
        { time: 2, from: 'shop/client:2', to: 'cache.default:6379' },
        { time: 3, from: 'shop/client:3', to: 'billing:1' },
      ],
      { stateful: true },
    ).forEach(fits)
  })

  test('-o FORMAT=FILE beside standard output', () => {
    const path = file('', 'json')
    const { stdout } = explain({ from: 'shop/client', to: 'web:http', output: ['text', `json=${path}`] })
    expect(stdout).toContain('verdict: dnat')
    fits(JSON.parse(readFileSync(path, 'utf8')))
  })
})

describe('warnings', () => {
  const odd = file(
    'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.9, ports: [{port: 80}], clientIP: 3}\n',
  )
  test('go to standard error, once', () => {
    const { stderr } = explain({ manifests: [odd], from: '10.0.0.1', to: '10.96.0.9:80', quiet: false })
    expect(stderr.match(/spec\.clientIP/g)?.length).toBeGreaterThan(0)
    expect(stderr).toContain('warning')
  })
  test('and not with --quiet', () => {
    expect(explain({ manifests: [odd], from: '10.0.0.1', to: '10.96.0.9:80' }).stderr).toBe('')
  })
})

describe('no input breaks it', () => {
  const word = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.constantFrom(
      'web',
      'shop/web',
      'pod/web-1',
      'node/n1',
      '10.96.0.20',
      '203.0.113.7',
      '::1',
      '[::1]',
      'db',
      'svc/shop/web',
      'a.b.c',
    ),
  )
  const place = fc.oneof(
    word,
    fc.tuple(word, fc.oneof(word, fc.constantFrom('80', 'http', '0', '65536'))).map(([a, b]) => `${a}:${b}`),
  )

  test('whatever is said as --from and --to: an answer, or what is wrong with it', () => {
    fc.assert(
      fc.property(place, place, (from, to) => {
        expect(failure(() => one({ from, to }))).toMatch(/^(no failure|E_\w+ [23] )/)
      }),
      { seed: 7, numRuns: 150 },
    )
  })

  test('whatever stands in a line', () => {
    const value = fc.oneof(place, fc.jsonValue({ maxDepth: 1 }))
    const line = fc.record(
      {
        id: value,
        time: fc.oneof(fc.double(), value),
        from: value,
        to: value,
        protocol: fc.oneof(fc.constantFrom('tcp', 'udp', 'sctp'), value),
        node: fc.oneof(fc.constantFrom('n1', 'n2'), value),
        flags: fc.oneof(fc.constantFrom('SYN', 'FIN,ACK'), value),
        direction: fc.oneof(fc.constantFrom('reply', 'original'), value),
        url: value,
        apply: value,
        delete: value,
      },
      { requiredKeys: ['from', 'to'] },
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 4 }), fc.boolean(), (rows, stateful) => {
        expect(failure(() => lines(rows, { stateful }))).toMatch(/^(no failure|E_\w+ [23] )/)
      }),
      { seed: 8, numRuns: 150 },
    )
  })
})

test('ten thousand lines against a thousand Services are compiled once', () => {
  const services = Array.from(
    { length: 1000 },
    (_, i) =>
      `{apiVersion: v1, kind: Service, metadata: {name: s${i}}, spec: {clusterIP: 10.97.${i >> 8}.${i & 255}, ports: [{port: 80}]}}`,
  )
  const rows = Array.from({ length: 10_000 }, (_, i) => ({
    from: `10.244.1.${i & 127}`,
    to: `10.97.${(i % 1000) >> 8}.${(i % 1000) & 255}:80`,
  }))
  const answers = lines(rows, { manifests: [file(services.join('\n---\n'))] })
  expect(answers).toHaveLength(10_000)
  expect(new Set(answers.map(({ reason }) => reason))).toEqual(new Set(['no-endpoint']))
  expect(detail(answers[0]!, 'endpoint')).toContain('has no endpoint for this port')
})
