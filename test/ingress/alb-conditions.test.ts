/** Conditions and forward actions of an ALB: rows, and annotations of any content. */
import fc from 'fast-check'
import { describe, expect, it, test } from 'vitest'
import { clusterWith, ingress, ingressClass, service } from './build.ts'
import { get, verdict } from './support.ts'

const alb = ingressClass('alb', 'ingress.k8s.aws/alb')
const A = 'alb.ingress.kubernetes.io/'

function clusterOf(annotations: Record<string, string>, port = '80') {
  const spec = { ingressClassName: 'alb' }
  const made = ingress('shop', [`shop.test / Prefix web:${port}`, 'shop.test / Prefix api'], { annotations, spec })
  return clusterWith(alb, [made], [service('web'), service('api')])
}

describe('a rule with a condition has what meets it, and the next rule the rest', () => {
  const conditions: Record<string, unknown> = {
    header: [{ field: 'http-header', httpHeaderConfig: { httpHeaderName: 'X-Try', values: ['yes', 'a*'] } }],
    method: [{ field: 'http-request-method', httpRequestMethodConfig: { values: ['POST'] } }],
    query: [{ field: 'query-string', queryStringConfig: { values: [{ key: 'v', value: '2?' }, { value: 'any' }] } }],
    source: [{ field: 'source-ip', sourceIpConfig: { values: ['10.0.0.0/8'] } }],
    path: [{ field: 'path-pattern', pathPatternConfig: { values: ['/never/*'] } }],
  }
  test.each([
    ['header', {}, 'api'],
    ['header', { headers: { 'x-try': 'YES' } }, 'web'],
    ['header', { headers: { 'x-try': 'abc' } }, 'web'],
    ['header', { headers: { 'x-try': 'no' } }, 'api'],
    ['method', { method: 'post' }, 'web'],
    ['method', {}, 'api'],
    ['query', { url: 'http://shop.test/?v=2x' }, 'web'],
    ['query', { url: 'http://shop.test/?v=3x&w=any' }, 'web'],
    ['query', { url: 'http://shop.test/?v=2' }, 'api'],
    ['source', { from: '10.1.2.3' }, 'web'],
    ['source', { from: '192.0.2.1' }, 'api'],
    ['source', {}, 'api'],
    // One more pattern of the rule's own path.
    ['path', {}, 'web'],
  ])('%s, asked with %j: %s', (name, line, answer) => {
    const cluster = clusterOf({ [`${A}conditions.web`]: JSON.stringify(conditions[name]) })
    expect(verdict(get(cluster, 'http://shop.test/', line))).toBe(`200 default/${answer}:80`)
  })
})

it('takes any content of both annotations', () => {
  const text = fc.oneof(
    fc.json({ maxDepth: 4 }),
    fc
      .array(
        fc.record({ field: fc.constantFrom('http-header', 'query-string', 'x'), queryStringConfig: fc.anything() }),
      )
      .map((v) => JSON.stringify(v) ?? ''),
    fc
      .record({ type: fc.constant('forward'), forwardConfig: fc.record({ targetGroups: fc.anything() }) })
      .map((v) => JSON.stringify(v, (_key, one) => (typeof one === 'bigint' ? 1 : one))),
  )
  fc.assert(
    fc.property(text, text, (conditions, action) => {
      const cluster = clusterOf({ [`${A}conditions.web`]: conditions, [`${A}actions.web`]: action }, 'use-annotation')
      expect(get(cluster, 'http://shop.test/').status).toBeGreaterThanOrEqual(200)
    }),
    { seed: 11, numRuns: 500 },
  )
})
