import { readFileSync } from 'node:fs'
import { Ajv, type ValidateFunction } from 'ajv'
import { describe, expect, test } from 'vitest'
import { mergeDraws } from '../../src/report/draws.ts'
import { SHAPE } from '../../src/report/fields.ts'
import { renderJson } from '../../src/report/json.ts'
import { TIMELINE_SHAPE } from '../../src/report/timeline-types.ts'
import type { ReplayReport, RunReport } from '../../src/report/types.ts'
import type { TraceInspection } from '../../src/trace/inspect.ts'
import { clusterRun, ingressReport, localRun, report } from './fixture.ts'

function schema(name: string): ValidateFunction {
  const file = new URL(`../../schemas/${name}.schema.json`, import.meta.url)
  return new Ajv({ strict: true, allowUnionTypes: true }).compile(JSON.parse(readFileSync(file, 'utf8')))
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Every document that lacks one field somewhere, with the path of that field. */
function* withoutOneField(value: Json, path = ''): Generator<[string, Json]> {
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      for (const [where, less] of withoutOneField(item, `${path}[${i}]`))
        yield [where, value.map((other, j) => (i === j ? less : other))]
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      const { [key]: _, ...rest } = value
      yield [`${path}.${key}`, rest]
      for (const [where, less] of withoutOneField(item, `${path}.${key}`)) yield [where, { ...value, [key]: less }]
    }
  }
}

/** Answers by status are open, like drops by reason. */
const WITH_REQUESTS: RunReport = localRun({ ingress: ingressReport({ byStatus: {} }) })

function drawn(): ReplayReport {
  const reports = [1, 2].map(() => report([WITH_REQUESTS, { ...WITH_REQUESTS, proxyMode: 'ipvs' }]))
  return mergeDraws({ seeds: [1, 2], placements: [{ placement: 0, pods: {} }], reports })
}

describe('replay -o json', () => {
  const validate = schema('replay')

  test('begins with the schema version and fits the schema', () => {
    const text = renderJson(report())
    expect(text.startsWith('{\n  "schemaVersion": 1,\n  "kind": "replay",\n')).toBe(true)
    expect(text.endsWith('}\n')).toBe(true)
    validate(JSON.parse(text))
    expect(validate.errors ?? []).toEqual([])
  })

  test('every field of the contract is required by the schema', () => {
    const full = JSON.parse(renderJson(report([WITH_REQUESTS]))) as Json
    const optional = [...withoutOneField(full)].filter(([, less]) => validate(less)).map(([path]) => path)
    expect(optional).toEqual([])
  })

  test('the fields that thresholds know are those of the document', () => {
    const keys = (value: unknown): unknown =>
      Array.isArray(value)
        ? [keys(value[0])]
        : typeof value === 'object' && value !== null
          ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, keys(inner)]))
          : null
    const { conclusion: _, thresholds: __, ...document } = JSON.parse(renderJson(drawn()))
    // Of a replay with a Timeline.
    expect(keys(SHAPE)).toEqual(keys({ ...document, timeline: TIMELINE_SHAPE }))
  })

  test('several draws fit', () => {
    validate(JSON.parse(renderJson(drawn())))
    expect(validate.errors ?? []).toEqual([])
  })

  test.each<[string, Json]>([
    ['a policy that does not exist', { policy: 'Local' }],
    ['a share above one', { crossNodeFraction: 1.2 }],
    ['a count that is no whole number', { connections: { attempted: 1.5, established: 1, failed: 0 } }],
    ['a latency that is missing (NaN becomes null)', { masqueradedFraction: null }],
  ])('%s is refused', (_, change) => {
    const [run] = report().runs
    expect(validate({ ...report(), runs: [{ ...run, ...(change as object) }] })).toBe(false)
  })

  test('fields may be added', () => {
    expect(validate({ ...JSON.parse(renderJson(report())), added: true, runs: [{ ...clusterRun(), more: [] }] })).toBe(
      true,
    )
  })
})

describe('explain -o json', () => {
  const validate = schema('explain')
  const sample = {
    schemaVersion: 1,
    id: 'p01',
    verdict: 'dnat',
    endpoints: ['10.180.0.1:80'],
    masquerade: true,
    reason: null,
    service: 'default/web:http',
    frontend: 'clusterIP',
    node: 'test-node',
    steps: [{ at: 'node test-node', stage: 'frontend', detail: 'clusterIP 172.30.0.41:80/tcp' }],
  }

  test('a packet, a dropped one, a stateful one and a request fit', () => {
    const samples = [
      sample,
      { ...sample, verdict: 'drop', endpoints: [], reason: 'no-local-endpoint', frontend: 'nodePort' },
      { ...sample, id: 7, chosen: '10.180.0.1:80' },
      { ...sample, ingress: { status: 200, service: 'default/web', port: 80, ingress: 'default/web' } },
      { ...sample, ingress: { status: 404, service: null, port: null, ingress: null } },
    ]
    for (const document of samples) {
      validate(document)
      expect(validate.errors ?? []).toEqual([])
    }
  })

  test.each(['schemaVersion', 'verdict', 'endpoints', 'masquerade', 'reason', 'service', 'frontend', 'node', 'steps'])(
    '%s is required',
    (field) => {
      const { [field as keyof typeof sample]: _, ...rest } = sample
      expect(validate(rest)).toBe(false)
    },
  )

  test('an endpoint is listed once', () => {
    expect(validate({ ...sample, endpoints: ['10.180.0.1:80', '10.180.0.1:80'] })).toBe(false)
  })
})

describe('dig -o json', () => {
  const validate = schema('dig')
  const record = {
    name: '_http._tcp.web.default.svc.cluster.local.',
    ttl: 5,
    type: 'SRV',
    data: '0 100 80 web.default.svc.cluster.local.',
  }
  const sample = {
    schemaVersion: 1,
    id: 'q1',
    qname: record.name,
    qtype: 'SRV',
    rcode: 'NOERROR',
    answer: [record],
    authority: [],
    additional: [],
  }

  test('an answer fits, with or without an id', () => {
    const { id: _, ...rest } = sample
    for (const document of [sample, rest, { ...sample, rcode: 'NXDOMAIN', answer: [] }]) {
      validate(document)
      expect(validate.errors ?? []).toEqual([])
    }
  })

  test('names are absolute and the sections are there', () => {
    expect(validate({ ...sample, answer: [{ ...record, name: 'web' }] })).toBe(false)
    for (const { 0: field } of Object.entries(sample).filter(([key]) => key !== 'id')) {
      const { [field as keyof typeof sample]: _, ...rest } = sample
      expect(validate(rest)).toBe(false)
    }
  })
})

describe('inspect -o json', () => {
  const validate = schema('inspect')
  const spread = { count: 4, mean: 60, min: 40, p50: 52, p90: 100, p99: 100, max: 100 }
  const sample = {
    schemaVersion: 1,
    kind: 'inspect',
    file: {
      bytes: 900,
      format: 'dpemu-trace',
      version: 1,
      windows: 1,
      connectionBlocks: 1,
      packetBlocks: 1,
      requestBlocks: 1,
      maxRows: 4,
    },
    name: 'one-connection',
    provenance: { generator: 'dpemu 0.1.0', seed: 1, scenario: null },
    totals: { packets: 4, connections: 1, bytes: 240, durationSeconds: 0.5, clients: 1 },
    rates: { packetsPerSecond: 8, connectionsPerSecond: 2, bitsPerSecond: 3_840 },
    directions: { original: { packets: 2, bytes: 120 }, reply: { packets: 2, bytes: 120 } },
    protocols: [{ protocol: 'TCP', connections: 1, packets: 4, bytes: 240 }],
    destinations: [
      {
        address: '198.51.100.10',
        port: 80,
        protocol: 'TCP',
        to: 'loadBalancerIP',
        service: 'default/web',
        servicePort: 80,
        node: null,
        steer: 'tuple',
        connections: 1,
        packets: 4,
        bytes: 240,
      },
    ],
    requests: { count: 1, distinct: 1, top: [{ host: 'web.example.com', path: '/', count: 1, share: 1 }] },
    topClients: [{ address: '203.0.113.7', name: null, connections: 1 }],
    packetBytes: spread,
    connectionPackets: spread,
    connectionBytes: spread,
    lanes: { count: 64, used: 1, maxPackets: 4, maxOverMean: 64, slots: 1 },
    manifests: [{ name: 'web.yaml', bytes: 300 }],
  } satisfies TraceInspection

  test('a small trace fits, and every field is required', () => {
    validate(sample)
    expect(validate.errors ?? []).toEqual([])
    const optional = [...withoutOneField(sample as Json)].filter(([, less]) => validate(less)).map(([path]) => path)
    expect(optional).toEqual([])
  })
})
