import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { parseScenario } from '../../src/trace/scenario.ts'

const SMALL = `
name: small
duration: 10s
traffic:
  - from: { external: { addresses: 10 } }
    to: { service: web }
    arrivals: { rate: 5 }
`
/** The small scenario with a line of the stream put in or replaced. */
const withStream = (line: string) => {
  const field = line.split(':')[0].trim()
  return `${SMALL.split('\n')
    .filter((old) => !old.trim().replace('- ', '').startsWith(`${field}:`) || field === 'from')
    .join('\n')}\n    ${line}\n`
}

function errorOf(text: string): UserError {
  try {
    parseScenario(text, 'scenario.yaml')
  } catch (error) {
    if (error instanceof UserError) return error
    throw error
  }
  throw new Error('no error')
}

describe('a scenario', () => {
  it('needs little, and has defaults for the rest', () => {
    const scenario = parseScenario(SMALL, 'scenario.yaml')
    expect(scenario).toMatchObject({
      name: 'small',
      seed: 1,
      durationSeconds: 10,
      connections: Infinity,
      manifests: [],
    })
    expect(scenario.traffic[0]).toMatchObject({
      name: 'traffic[0]',
      from: { kind: 'external', cidr: '198.18.0.0/15', addresses: 10 },
      to: [{ kind: 'service', namespace: 'default', name: 'web', port: null, via: 'auto', weight: 1 }],
      arrivals: { process: 'poisson', perSecond: 5, connections: Infinity },
      mss: 1460,
      close: [{ how: 'fin', weight: 1 }],
    })
  })

  it.each([
    ['thinkTime: 250us', 'thinkTime', { kind: 'constant', value: 0.00025 }],
    ['thinkTime: 1h30m', 'thinkTime', { kind: 'constant', value: 5400 }],
    ['thinkTime: 2.5', 'thinkTime', { kind: 'constant', value: 2.5 }],
    ['requestBytes: 16KiB', 'requestBytes', { kind: 'constant', value: 16_384 }],
    ['requestBytes: websearch', 'requestBytes', { kind: 'profile', name: 'websearch' }],
    ['requestBytes: { profile: hadoop }', 'requestBytes', { kind: 'profile', name: 'hadoop' }],
    ['requests: { uniform: [1, 6] }', 'requests', { kind: 'uniform', from: 1, to: 6 }],
    ['rtt: { lognormal: { median: 40ms, sigma: 0.6 } }', 'rtt', { kind: 'lognormal', median: 0.04, sigma: 0.6 }],
    ['thinkTime: { exponential: { mean: 2s } }', 'thinkTime', { kind: 'exponential', mean: 2 }],
  ] as const)('reads %s', (line, field, expected) => {
    const value = parseScenario(withStream(line), 'scenario.yaml').traffic[0][field] as unknown as typeof expected
    expect(value).toEqual({ ...expected, ...('value' in expected ? { value: expect.closeTo(expected.value, 9) } : {}) })
  })
})

describe('an HTTP stream', () => {
  const HTTP = '[{ host: App1.example.com, path: "/backend1?a=%20", weight: 3 }, { host: "b:8080", method: post }]'
  it.each([
    ['{ ingress: web }', { kind: 'ingress', namespace: 'default', name: 'web', port: null, weight: 1 }],
    [
      '{ ingress: shop/web, port: 443, weight: 2 }',
      { kind: 'ingress', namespace: 'shop', name: 'web', port: 443, weight: 2 },
    ],
    ['{ service: shop/web }', { kind: 'service', namespace: 'shop', name: 'web' }],
  ])('may go to %s', (to, target) => {
    const { traffic } = parseScenario(withStream(`to: ${to}\n    http: ${HTTP}`), 'scenario.yaml')
    expect(traffic[0].to).toMatchObject([{ ...target, field: 'traffic[0].to' }])
    expect(traffic[0].http).toEqual([
      { host: 'App1.example.com', path: '/backend1?a=%20', method: 'GET', weight: 3 },
      { host: 'b:8080', path: '/', method: 'POST', weight: 1 },
    ])
  })

  it('is one by its http alone', () => {
    expect(parseScenario(SMALL, 'scenario.yaml').traffic[0].http).toEqual([])
  })
})

describe('a mistake names its field and what to write', () => {
  it.each([
    ['thinktime: 1s', 'traffic[0].thinktime is not a field of a scenario', 'did you mean thinkTime?'],
    ['close: reset', 'traffic[0].close must be one of fin, rst, client-rst, none', ''],
    ['requestBytes: websarch', 'traffic[0].requestBytes must be one of websearch', 'did you mean websearch?'],
    ['thinkTime: 5 parsecs', 'traffic[0].thinkTime must be a duration', ''],
    ['thinkTime: websearch', 'traffic[0].thinkTime must be a duration', ''],
    ['thinkTime: -1', 'traffic[0].thinkTime must be a number', ''],
    ['requestBytes: { uniform: [5, 1] }', 'traffic[0].requestBytes.uniform must be [from, to]', ''],
    ['requestBytes: { uniform: [1, 5], constant: 2 }', 'must have exactly one of', ''],
    ['arrivals: { process: poisson }', 'traffic[0].arrivals needs a rate', ''],
    ['to: []', 'traffic[0].to must have at least one entry', ''],
    ['to: { service: a/b/c }', 'traffic[0].to.service must be name or namespace/name', ''],
    ['to: { address: 10.0.0.300, port: 80 }', 'traffic[0].to.address is no IP address', ''],
    ['to: { address: 10.0.0.3, port: 80, via: nodePort }', 'traffic[0].to.via does not go with address', ''],
    ['mss: 0', 'traffic[0].mss must be a number from 1 to 65000', ''],
    [
      'to: { ingress: web }',
      'traffic[0].http is missing, and an Ingress routes by host and path',
      'host: app.example.com',
    ],
    ['to: { ingress: web, service: web }', 'traffic[0].to.service does not go with ingress', ''],
    ['to: { ingress: web, protocol: TCP }', 'traffic[0].to.protocol does not go with ingress', ''],
    ['to: { ingress: web, via: nodePort }', 'traffic[0].to.via does not go with ingress', ''],
    ['to: { ingress: web, node: a }', 'traffic[0].to.node does not go with ingress', ''],
    ['to: { ingress: web, port: 8080 }', 'traffic[0].to.port of an Ingress must be 80 or 443', ''],
    ['to: { ingress: web, port: http }', 'traffic[0].to.port must be a number', ''],
    ['to: { ingress: a/b/c }', 'traffic[0].to.ingress must be name or namespace/name', ''],
    ['http: []', 'traffic[0].http must have at least one entry', ''],
    ['http: { path: / }', 'traffic[0].http.host is missing', ''],
    ['http: [{ host: "a b" }]', 'traffic[0].http[0].host is no host name: a b', 'app.example.com'],
    ['http: [{ host: a/b }]', 'traffic[0].http[0].host is no host name: a/b', ''],
    ['http: [{ host: bücher.example }]', 'traffic[0].http[0].host is no host name', ''],
    ['http: [{ host: a, path: b }]', 'traffic[0].http[0].path must begin with /', ''],
    ['http: [{ host: a, path: "/a b" }]', 'traffic[0].http[0].path must begin with / and have no spaces', ''],
    ['http: [{ host: a, path: /é }]', 'traffic[0].http[0].path must', 'escape what is not ASCII'],
    ['http: [{ host: a, method: "GET /" }]', 'traffic[0].http[0].method is no HTTP method', ''],
    ['http: [{ host: a, weight: 0 }]', 'traffic[0].http[0].weight must be a number', ''],
    ['http: [{ host: a, pth: / }]', 'traffic[0].http[0].pth is not a field', 'did you mean path?'],
    ['returning: { gap: 5m, visit: 2 }', 'traffic[0].returning.visit is not a field', 'did you mean visits?'],
  ])('%s', (line, message, hint) => {
    const error = errorOf(withStream(line))
    expect(error.code).toBe('E_SCENARIO_FIELD')
    expect(error.where).toBe('scenario.yaml')
    expect(error.message).toContain(message)
    expect(error.hint).toContain(hint)
  })

  it.each([
    ['', 'the scenario is not YAML'],
    ['[]', 'the scenario must be a map'],
    ['name: x', 'traffic must have at least one entry'],
    [SMALL.replace('duration: 10s', ''), 'the scenario has no end'],
    [SMALL.replace('name: small', ''), 'name is missing'],
    [SMALL.replace('external: { addresses: 10 }', 'external: { addresses: 10, cidr: 10.0.0.0/40 }'), 'is no CIDR'],
  ])('of the whole: %#', (text, message) => {
    expect(errorOf(text).message).toContain(message)
  })

  it('what is not YAML is told as such', () => {
    expect(errorOf('name: [').code).toBe('E_SCENARIO_YAML')
  })
})
