/** No object, host or path may crash the matcher, and path matching agrees with a model that only knows the documentation. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileRoutes, parseHttpLine, requestFor, route } from '../../src/ingress/index.ts'
import type { Ingress } from '../../src/k8s/types.ts'
import { clusterOf, clusterWith, generic, ingress, nginx, service } from './build.ts'

const seed = 20261122
const statuses = new Set([200, 301, 302, 308, 400, 403, 404, 414, 502, 503])

describe('garbage', () => {
  const busy = (theClass: typeof generic) =>
    compileRoutes(
      clusterWith(
        theClass,
        [
          ingress('a', ['foo.com /a Prefix s', '*.foo.com /b Exact s', '- / Prefix s']),
          ingress('b', ['foo.com /x(.*) ImplementationSpecific s'], {
            annotations: { 'nginx.ingress.kubernetes.io/rewrite-target': '/$1' },
          }),
        ],
        [service('s')],
      ),
    )
  const odd = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 30 }),
    fc.string({ unit: fc.constantFrom(...'./%*:[]\\?#@aF0 '), maxLength: 30 }),
    fc.constantFrom('foo.com', 'x.foo.com', '/a', '/x/%41'),
  )
  it.each([
    ['a letter-true controller', busy(generic)],
    ['ingress-nginx', busy(nginx)],
  ])('any host and path get an answer from %s', (_name, table) => {
    fc.assert(
      fc.property(odd, odd, fc.constantFrom('http' as const, 'https' as const), (host, path, scheme) => {
        const result = route(table, requestFor(host, path, scheme))
        expect(statuses.has(result.status)).toBe(true)
        expect(result.steps.length).toBeGreaterThan(0)
        expect(result.status === 200).toBe(result.backendId >= 0)
        expect(result.location !== null).toBe(result.status >= 300 && result.status < 400)
      }),
      { seed, numRuns: 2000 },
    )
  })
  it('any line is a request or a UserError of wrong usage', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          fc.record(
            { id: fc.jsonValue(), url: fc.oneof(fc.webUrl(), odd), host: fc.jsonValue(), headers: fc.jsonValue() },
            { requiredKeys: [] },
          ),
        ),
        (line) => {
          try {
            expect(parseHttpLine(line).path.length).toBeGreaterThan(0)
          } catch (error) {
            expect(error).toMatchObject({ name: 'UserError', code: 'E_USAGE', exitCode: 2 })
          }
        },
      ),
      { seed, numRuns: 1000 },
    )
  })
  it('any Ingress is compiled, with warnings at most', () => {
    const junk = fc.jsonValue({ maxDepth: 3 })
    const text = fc.oneof(odd, junk)
    const backend = fc.oneof(
      junk,
      fc.record(
        {
          service: fc.record(
            { name: text, port: fc.oneof(junk, fc.record({ number: junk, name: text }, { requiredKeys: [] })) },
            { requiredKeys: [] },
          ),
          resource: junk,
        },
        { requiredKeys: [] },
      ),
    )
    const path = fc.record(
      { path: text, pathType: fc.oneof(fc.constantFrom('Exact', 'Prefix', 'ImplementationSpecific'), junk), backend },
      { requiredKeys: [] },
    )
    const rule = fc.record(
      {
        host: text,
        http: fc.oneof(junk, fc.record({ paths: fc.oneof(junk, fc.array(fc.oneof(junk, path), { maxLength: 3 })) })),
      },
      { requiredKeys: [] },
    )
    const spec = fc.record(
      {
        ingressClassName: fc.oneof(fc.constantFrom('web', 'nginx'), junk),
        defaultBackend: backend,
        rules: fc.oneof(junk, fc.array(fc.oneof(junk, rule), { maxLength: 3 })),
        tls: fc.oneof(
          junk,
          fc.array(fc.oneof(junk, fc.record({ hosts: junk, secretName: text }, { requiredKeys: [] })), {
            maxLength: 2,
          }),
        ),
      },
      { requiredKeys: [] },
    )
    const annotations = fc.dictionary(
      fc
        .constantFrom(
          'rewrite-target',
          'use-regex',
          'server-alias',
          'whitelist-source-range',
          'permanent-redirect',
          'permanent-redirect-code',
          'canary',
          'default-backend',
          'auth-url',
          'auth-signin',
          'auth-tls-secret',
          'proxy-body-size',
          'upstream-hash-by',
          'server-snippet',
        )
        .map((name) => `nginx.ingress.kubernetes.io/${name}`),
      odd,
    )
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.oneof(spec, junk), annotations), { maxLength: 3 }),
        odd,
        odd,
        (made, host, url) => {
          const ingresses = made.map(
            ([each, notes], i) =>
              ({ ...ingress(`i${i}`, [], { annotations: notes }), spec: each }) as unknown as Ingress,
          )
          const table = compileRoutes(
            clusterOf({ ingresses, ingressClasses: [generic, { ...nginx, metadata: { name: 'nginx' } }] }),
          )
          expect(
            statuses.has(route(table, requestFor(host, `/${url}`)).status) ||
              table.rules.some((each) => each.action.kind === 'redirect'),
          ).toBe(true)
        },
      ),
      { seed, numRuns: 1500 },
    )
  })
})

describe('paths against a model', () => {
  const element = fc.constantFrom('a', 'b', 'ab', 'A', 'foo')
  const anyPath = fc
    .tuple(fc.array(element, { maxLength: 3 }), fc.boolean())
    .map(([words, slash]) => (words.length === 0 ? '/' : `/${words.join('/')}${slash ? '/' : ''}`))
  const rules = fc.uniqueArray(fc.tuple(fc.constantFrom('Exact', 'Prefix'), anyPath), {
    minLength: 1,
    maxLength: 6,
    selector: ([kind, path]) => `${kind} ${path}`,
  })
  const words = (path: string): string[] => path.split('/').filter((word) => word !== '')

  it('Exact first, then the Prefix with most elements, and of two spellings the longer', () => {
    fc.assert(
      fc.property(rules, anyPath, (made, request) => {
        const cluster = clusterWith(
          generic,
          [
            ingress(
              'web',
              made.map(([kind, path], i) => `h ${path} ${kind} s${i}`),
            ),
          ],
          made.map((_rule, i) => service(`s${i}`)),
        )
        const exact = made.findIndex(([kind, path]) => kind === 'Exact' && path === request)
        const asked = words(request)
        let expected = exact
        if (exact < 0) {
          let most = -1
          made.forEach(([kind, path], i) => {
            const own = words(path)
            const fits = kind === 'Prefix' && own.length <= asked.length && own.every((word, at) => word === asked[at])
            if (fits && path.length > most) {
              most = path.length
              expected = i
            }
          })
        }
        const result = route(compileRoutes(cluster), requestFor('h', request))
        expect([result.status, result.service]).toEqual(expected < 0 ? [404, null] : [200, `default/s${expected}`])
      }),
      { seed, numRuns: 2000 },
    )
  })
  it('ids are positions in the table, and the same request has the same ones', () => {
    fc.assert(
      fc.property(rules, anyPath, (made, request) => {
        const cluster = clusterWith(
          nginx,
          [
            ingress(
              'web',
              made.map(([kind, path], i) => `h ${path} ${kind} s${i}`),
            ),
          ],
          made.map((_rule, i) => service(`s${i}`)),
        )
        const table = compileRoutes(cluster)
        expect(table.rules.map((rule) => rule.id)).toEqual([...table.rules.keys()])
        expect(table.hosts.map((host) => host.id)).toEqual([...table.hosts.keys()])
        expect(table.backends.map((backend) => backend.id)).toEqual([...table.backends.keys()])
        const result = route(table, requestFor('h', request))
        expect(route(compileRoutes(cluster), requestFor('H:80', request))).toEqual({
          ...result,
          location: result.location === null ? null : expect.any(String),
          steps: expect.any(Array),
        })
        if (result.backendId >= 0) expect(table.rules[result.ruleId]?.backendId).toBe(result.backendId)
      }),
      { seed, numRuns: 300 },
    )
  })
})
