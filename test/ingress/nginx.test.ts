/**
 * What ingress-nginx does that the API does not say. Sources: kubernetes/ingress-nginx test/e2e (ingress, annotations,
 * servicebackend, defaultbackend), docs/user-guide/ingress-path-matching.md, docs/examples/rewrite, and the code named in
 * src/ingress/nginx.ts.
 */
import { describe, expect, it } from 'vitest'
import type { Ingress } from '../../src/k8s/types.ts'
import { backendOf, clusterWith, ingress, nginx, service } from './build.ts'
import { get, verdict, warningCodes } from './support.ts'

const made = ['a', 'b', 'c', 'd', 'service1', 'service2', 'service3'].map((name) => service(name))
const PREFIX = 'nginx.ingress.kubernetes.io/'
const annotated = (annotations: Record<string, string>): { annotations: Record<string, string> } => ({
  annotations: Object.fromEntries(Object.entries(annotations).map(([name, value]) => [PREFIX + name, value])),
})
const cluster = (...ingresses: Ingress[]) => clusterWith(nginx, ingresses, made)

describe('paths without regular expressions', () => {
  const rows: [string, string[], string, string][] = [
    ['Exact before Prefix', ['h /exact Exact a', 'h /exact Prefix b'], '/exact', '200 default/a:80'],
    [
      'Prefix below an Exact of the same path',
      ['h /exact Exact a', 'h /exact Prefix b'],
      '/exact/suffix',
      '200 default/b:80',
    ],
    ['Prefix is whole elements', ['h /aaa Prefix a'], '/aaacccc', '404'],
    ['Prefix with a slash after it', ['h /aaa Prefix a'], '/aaa/', '200 default/a:80'],
    ['Exact root', ['h / Exact a', 'h / Prefix b'], '/', '200 default/a:80'],
    ['Prefix root beside it', ['h / Exact a', 'h / Prefix b'], '/bar', '200 default/b:80'],
    ['falls to the root for a longer word', ['h / Prefix a', 'h /foo Prefix b'], '/foobar', '200 default/a:80'],
    ['ImplementationSpecific is Prefix', ['h /foo ImplementationSpecific a'], '/foo/bar', '200 default/a:80'],
    ['no path is /', ['h - ImplementationSpecific a'], '/x', '200 default/a:80'],
    [
      'a path with a slash at its end redirects the one without',
      ['h /foo/ Prefix a'],
      '/foo?x=1',
      '301 http://h/foo/?x=1',
    ],
    ['unless that one is there', ['h /foo/ Prefix a', 'h /foo Exact b'], '/foo', '200 default/b:80'],
    ['escapes are decoded', ['h /foo Prefix a'], '/%66oo%2Fx', '200 default/a:80'],
    ['slashes are merged', ['h /foo/bar Exact a'], '//foo///bar', '200 default/a:80'],
    ['dot segments are resolved', ['h /foo Exact a'], '/x/%2e%2e/foo', '200 default/a:80'],
    ['nothing is above /', ['h / Prefix a'], '/../x', '400'],
    ['a broken escape is no request', ['h / Prefix a'], '/%zz', '400'],
    ['case counts', ['h /foo Prefix a'], '/FOO', '404'],
  ]
  it.each(rows)('%s', (_name, rules, path, answer) => {
    expect(verdict(get(cluster(ingress('web', rules)), `http://h${path}`))).toBe(answer)
  })

  it('keeps the older of two Ingresses with the same path and type', () => {
    const both = cluster(
      ingress('exact-suffix', ['h /exact Prefix a']),
      ingress('duplicated-prefix', ['h /exact Prefix b']),
    )
    expect(verdict(get(both, 'http://h/exact/suffix'))).toBe('200 default/a:80')
    expect(warningCodes(both)).toContain('W_INGRESS_CONFLICT')
  })
})

/** As kubernetes/ingress-nginx#11078 and #8425 ask: one Ingress's rewrite-target, and what becomes of another's paths. */
describe('another Ingress makes the paths of the host regular expressions', () => {
  const site = ingress('site', ['h /(.*) ImplementationSpecific a'], annotated({ 'rewrite-target': '/$1' }))
  const host = (...rules: string[]) => cluster(site, ingress('plain', rules))
  const plain = ['h /api Prefix b', 'h /ws/ Prefix b', 'h /reports Prefix b']
  it.each([
    ['the catch-all is written longer than /api', plain, '/api/v1', '200 default/a:80'],
    ['with and without more behind it', plain, '/api', '200 default/a:80'],
    ['and longer than /ws/', plain, '/ws/x', '200 default/a:80'],
    ['but shorter than /reports', plain, '/reports/q1', '200 default/b:80'],
    ['/list is as long, and comes first in reverse order', ['h /list Prefix b'], '/list', '200 default/b:80'],
    ['an Exact has no end', ['h /exact Exact b'], '/exactly', '200 default/b:80'],
    ['case does not count', plain, '/REPORTS', '200 default/b:80'],
    [
      'an Exact beside the Prefix: the first of the file',
      ['h /abcdef Prefix b', 'h /abcdef Exact c'],
      '/abcdef',
      '200 default/c:80',
    ],
  ])('%s', (_name, rules, path, answer) => {
    expect(verdict(get(host(...rules), `http://h${path}`))).toBe(answer)
  })
  it('names the Ingress that did it', () => {
    const { steps } = get(host(...plain), 'http://h/reports')
    expect(steps.map(({ detail }) => detail).join()).toContain(
      'rewrite-target of Ingress default/site makes every path',
    )
  })
})

describe('the host owns the request', () => {
  const hosts = cluster(ingress('web', ['foo.com /foo Prefix a', '*.wild.com /w Prefix b', '- / Prefix c']))
  it.each([
    ['foo.com/foo', '200 default/a:80'],
    ['foo.com/bar', '404'],
    ['x.wild.com/w', '200 default/b:80'],
    ['x.wild.com/', '404'],
    ['y.x.wild.com/w', '200 default/c:80'],
    ['else.com/bar', '200 default/c:80'],
  ])('%s: %s', (url, answer) => {
    expect(verdict(get(hosts, `http://${url}`))).toBe(answer)
  })
})

describe('default backends', () => {
  const withDefault = (name: string, rules: string[], backend: string, more = {}): Ingress =>
    ingress(name, rules, { ...more, spec: { defaultBackend: backendOf(backend) } })
  it("an Ingress's own takes what its hosts' paths leave, and never an unknown host", () => {
    const one = cluster(withDefault('one', ['foo.com /foo Prefix a'], 'd'))
    expect(verdict(get(one, 'http://foo.com/x'))).toBe('200 default/d:80')
    expect(verdict(get(one, 'http://else.com/x'))).toBe('404')
  })
  it('the oldest Ingress without rules keeps the catch-all server', () => {
    const three = cluster(
      withDefault('with-rules', ['foo.com /foo Prefix a'], 'a'),
      withDefault('older', [], 'b'),
      withDefault('newer', [], 'c'),
    )
    expect(verdict(get(three, 'http://else.com/x'))).toBe('200 default/b:80')
  })
  it('nothing stands in for a cluster IP: with service-upstream a Service without pods is 502', () => {
    const rules = ['h / Prefix empty']
    const upstream = annotated({ 'default-backend': 'd', 'service-upstream': 'true' })
    const both = clusterWith(nginx, [ingress('web', rules, upstream)], [...made, service('empty', { endpoints: 0 })])
    expect(verdict(get(both, 'http://h/'))).toBe('502 default/empty:80')
  })
  it('an Ingress without rules takes unknown hosts, never the paths of a known one', () => {
    const two = cluster(ingress('web', ['foo.com /foo Prefix a']), {
      ...ingress('all', []),
      spec: { defaultBackend: backendOf('d') },
    })
    expect(verdict(get(two, 'http://else.com/x'))).toBe('200 default/d:80')
    expect(verdict(get(two, 'http://foo.com/x'))).toBe('404')
  })
  it('a host without paths gets it', () => {
    const only = cluster({
      ...ingress('only', []),
      spec: { rules: [{ host: 'only-backend' }], defaultBackend: backendOf('d') },
    })
    expect(verdict(get(only, 'http://only-backend/'))).toBe('200 default/d:80')
  })
  it('the default-backend annotation stands in for a backend without endpoints', () => {
    const invalid = cluster(ingress('web', ['h / Prefix invalid'], annotated({ 'default-backend': 'd' })))
    expect(verdict(get(invalid, 'http://h/alma/armud'))).toBe('200 default/d:80')
    const fine = cluster(ingress('web', ['h / Prefix a'], annotated({ 'default-backend': 'd' })))
    expect(verdict(get(fine, 'http://h/alma/armud'))).toBe('200 default/a:80')
  })
})

describe('backends', () => {
  it.each([
    ['nonexistent Service', ['h / Prefix nonexistent-svc'], '503 default/nonexistent-svc:80'],
    ['no endpoints', ['h / Prefix empty'], '503 default/empty:80'],
    ['the target port in place of the port', ['h / Prefix a:8080'], '200 default/a:80'],
    ['ExternalName without the port', ['h / Prefix httpbin:80'], '200 default/httpbin:80'],
    ['ExternalName with loopback', ['h / Prefix local:80'], '503 default/local:80'],
  ])('%s', (_name, rules, answer) => {
    const services = [
      ...made,
      service('empty', { endpoints: 0 }),
      service('httpbin', { type: 'ExternalName', externalName: 'httpbin.org.', ports: [] }),
      service('local', { type: 'ExternalName', externalName: 'localhost', ports: [] }),
    ]
    expect(verdict(get(clusterWith(nginx, [ingress('web', rules)], services), 'http://h/'))).toBe(answer)
  })
  it('skips a resource backend: 404', () => {
    const rules = [
      {
        host: 'h',
        http: {
          paths: [
            { path: '/', pathType: 'Prefix' as const, backend: { resource: { kind: 'Anything', name: 'mytest' } } },
          ],
        },
      },
    ]
    const resource = cluster(ingress('web', [], { spec: { rules } }))
    expect(verdict(get(resource, 'http://h/'))).toBe('404')
    expect(warningCodes(resource)).toEqual(['W_NOT_MODELLED'])
  })
  it('service-upstream sends to the cluster IP, and kube-proxy refuses where there is no endpoint', () => {
    const upstream = annotated({ 'service-upstream': 'true' })
    expect(get(cluster(ingress('web', ['h / Prefix a'], upstream)), 'http://h/').steps.at(-1)?.detail).toContain(
      'kube-proxy picks',
    )
    const empty = clusterWith(
      nginx,
      [ingress('web', ['h / Prefix empty'], upstream)],
      [service('empty', { endpoints: 0 })],
    )
    expect(get(empty, 'http://h/').status).toBe(502)
  })
})

describe('regular expressions', () => {
  const priority = cluster(
    ingress('test-ingress-1', [
      'test.com /foo/bar ImplementationSpecific service1',
      'test.com /foo/bar/ ImplementationSpecific service2',
    ]),
    ingress(
      'test-ingress-2',
      ['test.com /foo/bar/(.+) ImplementationSpecific service3'],
      annotated({ 'rewrite-target': '/$1' }),
    ),
  )
  const warning = cluster(
    ingress(
      'test-ingress-3',
      [
        'test.com /foo/bar/bar ImplementationSpecific service1',
        'test.com /foo/bar/[A-Z0-9]{3} ImplementationSpecific service2',
      ],
      annotated({ 'use-regex': 'true' }),
    ),
  )
  const tie = cluster(
    ingress(
      'web',
      ['h /.b ImplementationSpecific a', 'h /a. ImplementationSpecific b'],
      annotated({ 'use-regex': 'true' }),
    ),
  )
  const exact = cluster(ingress('web', ['h /admin Exact a'], annotated({ 'use-regex': 'true' })))
  it.each([
    ['the longest path first', priority, 'test.com/foo/bar/1', '200 default/service3:80'],
    ['then the next', priority, 'test.com/foo/bar/', '200 default/service2:80'],
    ['then the shortest', priority, 'test.com/foo/bar', '200 default/service1:80'],
    ['without regard to case on the whole host', priority, 'test.com/FOO/Bar', '200 default/service1:80'],
    ['a longer expression hides a plain path', warning, 'test.com/foo/bar/bar', '200 default/service2:80'],
    ['of two equally long, the last in the alphabet', tie, 'h/ab', '200 default/b:80'],
    ['Exact has no end either', exact, 'h/administrator', '200 default/a:80'],
    ['what nothing matches', exact, 'h/other', '404'],
  ])('%s', (_name, from, url, answer) => {
    expect(verdict(get(from, `http://${url}`))).toBe(answer)
  })
  it('leaves out a path that is no expression, with a warning', () => {
    const broken = cluster(
      ingress(
        'web',
        ['h /a(b ImplementationSpecific a', 'h /(?>x) ImplementationSpecific b', 'h /c ImplementationSpecific c'],
        annotated({ 'use-regex': 'true' }),
      ),
    )
    expect(warningCodes(broken).filter((code) => code === 'W_INGRESS_REGEX')).toHaveLength(2)
    expect(verdict(get(broken, 'http://h/c'))).toBe('200 default/c:80')
  })
  it('warns of an expression under Prefix, which newer versions refuse', () => {
    expect(
      warningCodes(cluster(ingress('web', ['h /x(/|$)(.*) Prefix a'], annotated({ 'use-regex': 'true' })))),
    ).toEqual(['W_INGRESS_PATH'])
  })
  it('an expression made to run for ever does not', () => {
    const evil = cluster(ingress('web', ['h /(a+)+$ ImplementationSpecific a'], annotated({ 'use-regex': 'true' })))
    expect(get(evil, `http://h/${'a'.repeat(4000)}!`).status).toBe(404)
  })
})

describe('rewrite-target', () => {
  const web = (path: string, target: string) =>
    cluster(
      ingress('web', [`rewrite.bar.com ${path} ImplementationSpecific a`], annotated({ 'rewrite-target': target })),
    )
  it.each([
    ['/something/?(.*)', '/$1', '/something', '/'],
    ['/something/?(.*)', '/$1', '/something/', '/'],
    ['/something/?(.*)', '/$1', '/something/new', '/new'],
    ['/something(/|$)(.*)', '/$2', '/something/new?q=1', '/new?q=1'],
    ['/something', '/', '/SomeThing', '/'],
    ['/a/(.*)', '/b?from=$1', '/a/x?q=1', '/b?from=x&q=1'],
    ['/a/(.*)', '/$1?', '/a/x?q=1', '/x'],
    ['/a/(.*)', '/$1', '/a/with%20space', '/with%20space'],
    ['/a/(.*)', '/$2$1', '/a/x', '/x'],
    ['/same', '/same', '/same/x', '/same/x'],
  ])('path %s, target %s: %s becomes %s', (path, target, request, becomes) => {
    expect(get(web(path, target), `http://rewrite.bar.com${request}`).path).toBe(becomes)
  })
  it('leaves a host alone whose Ingresses have none', () => {
    const two = cluster(
      ingress('web', ['one /x Prefix a'], annotated({ 'rewrite-target': '/' })),
      ingress('other', ['two /x Prefix b']),
    )
    expect(verdict(get(two, 'http://one/XY'))).toBe('200 default/a:80')
    expect(verdict(get(two, 'http://two/XY'))).toBe('404')
  })
  it('a target that is a URL redirects', () => {
    expect(verdict(get(web('/old/(.*)', 'https://new.example.com/$1'), 'http://rewrite.bar.com/old/x?q=1'))).toBe(
      '302 https://new.example.com/x?q=1',
    )
  })
  it('says that variables of nginx are not modelled', () => {
    expect(warningCodes(web('/x', '/$host/$1'))).toContain('W_NOT_MODELLED')
  })
})

describe('plain HTTP to HTTPS', () => {
  const tls = [{ hosts: ['foo.com'], secretName: 'cert' }]
  const secured = (annotations: Record<string, string> = {}, rules = ['foo.com / Prefix a']) =>
    cluster({ ...ingress('web', rules, annotated(annotations)), spec: { ...ingress('web', rules).spec, tls } })
  it.each([
    ['redirects where the host has TLS', secured(), 'http://foo.com/x?y=1', '308 https://foo.com/x?y=1'],
    ['drops the slash at the end', secured(), 'http://foo.com/', '308 https://foo.com'],
    ['keeps it if told', secured({ 'preserve-trailing-slash': 'true' }), 'http://foo.com/', '308 https://foo.com/'],
    ['drops the port', secured(), 'http://foo.com:8080/x', '308 https://foo.com/x'],
    ['not for HTTPS', secured(), 'https://foo.com/x', '200 default/a:80'],
    ['not with ssl-redirect false', secured({ 'ssl-redirect': 'false' }), 'http://foo.com/x', '200 default/a:80'],
    [
      'not for the paths of ACME',
      secured({}, ['foo.com /.well-known/acme-challenge Prefix a']),
      'http://foo.com/.well-known/acme-challenge/t',
      '200 default/a:80',
    ],
    [
      'for unknown paths of the host too',
      secured({}, ['foo.com /a Prefix a']),
      'http://foo.com/b',
      '308 https://foo.com/b',
    ],
    [
      'before it looks for endpoints',
      secured({}, ['foo.com / Prefix missing']),
      'http://foo.com/b',
      '308 https://foo.com/b',
    ],
    [
      'also for a host that spec.tls does not name: the default certificate',
      secured({}, ['bar.com / Prefix a']),
      'http://bar.com/x',
      '308 https://bar.com/x',
    ],
    [
      'force-ssl-redirect needs no TLS',
      cluster(ingress('web', ['foo.com / Prefix a'], annotated({ 'force-ssl-redirect': 'true' }))),
      'http://foo.com/x',
      '308 https://foo.com/x',
    ],
    ['not without TLS', cluster(ingress('web', ['foo.com / Prefix a'])), 'http://foo.com/x', '200 default/a:80'],
  ])('%s', (_name, from, url, answer) => {
    expect(verdict(get(from, url))).toBe(answer)
  })
  it('shows the certificate that SNI chooses', () => {
    expect(get(secured(), 'https://foo.com/').certificate).toBe('default/cert')
    expect(get(secured(), 'https://else.com/').certificate).toBe('')
  })
  it('ssl-passthrough leaves TLS and the path to the backend of /', () => {
    const result = get(
      secured({ 'ssl-passthrough': 'true' }, ['foo.com / Prefix a', 'foo.com /b Prefix b']),
      'https://foo.com/b',
    )
    expect([verdict(result), result.tlsEndsAt, result.certificate]).toEqual(['200 default/a:80', 'backend', null])
  })
})

describe('other annotations', () => {
  const web = (annotations: Record<string, string>, rules = ['foo.com / Prefix a']) =>
    cluster(ingress('web', rules, annotated(annotations)))
  it.each([
    ['server-alias', web({ 'server-alias': 'bar, Baz' }), 'http://baz/', {}, '200 default/a:80'],
    ['app-root', web({ 'app-root': '/app1' }), 'http://foo.com/', {}, '302 http://foo.com/app1'],
    ['app-root only for /', web({ 'app-root': '/app1' }), 'http://foo.com/x', {}, '200 default/a:80'],
    [
      'permanent-redirect',
      web({ 'permanent-redirect': 'http://r.example.com' }),
      'http://foo.com/x?y',
      {},
      '301 http://r.example.com',
    ],
    [
      'permanent-redirect-code',
      web({ 'permanent-redirect': 'http://r.example.com', 'permanent-redirect-code': '308' }),
      'http://foo.com/',
      {},
      '308 http://r.example.com',
    ],
    [
      'temporal-redirect',
      web({ 'temporal-redirect': 'http://r.example.com' }),
      'http://foo.com/',
      {},
      '302 http://r.example.com',
    ],
    [
      'from-to-www-redirect',
      web({ 'from-to-www-redirect': 'true' }),
      'http://www.foo.com/x',
      {},
      '308 http://foo.com:80/x',
    ],
    [
      'whitelist-source-range lets in',
      web({ 'whitelist-source-range': '10.0.0.0/8, 192.0.2.1' }),
      'http://foo.com/',
      { from: '192.0.2.1' },
      '200 default/a:80',
    ],
    ['and keeps out', web({ 'whitelist-source-range': '10.0.0.0/8' }), 'http://foo.com/', { from: '192.0.2.1' }, '403'],
    [
      'denylist-source-range',
      web({ 'denylist-source-range': '2001:db8::/32' }),
      'http://foo.com/',
      { from: '2001:db8::1' },
      '403',
    ],
    [
      'no client address, no check',
      web({ 'whitelist-source-range': '10.0.0.0/8' }),
      'http://foo.com/',
      {},
      '200 default/a:80',
    ],
  ])('%s', (_name, from, url, line, answer) => {
    expect(verdict(get(from, url, line))).toBe(answer)
  })

  // reference: ingress-nginx lua/balancer.lua route_to_alternative_balancer.
  it.each([
    ['by weight alone the others are told', { 'canary-weight': '30' }, {}, 'a', '30 % of the requests go to canary'],
    ['all of them', { 'canary-weight': '100' }, {}, 'b', '100 % of the requests'],
    ['of a total above a hundred', { 'canary-weight': '1', 'canary-weight-total': '1000' }, {}, 'a', '0.1 %'],
    ['a header that says always', { 'canary-by-header': 'X-Try' }, { 'X-Try': 'always' }, 'b', 'header x-try: always'],
    [
      'never, before the weight',
      { 'canary-by-header': 'X-Try', 'canary-weight': '100' },
      { 'X-Try': 'never' },
      'a',
      'never',
    ],
    [
      'another value leaves it to the weight',
      { 'canary-by-header': 'X-Try', 'canary-by-header-value': 'eu', 'canary-weight': '100' },
      { 'X-Try': 'never' },
      'b',
      '100 %',
    ],
    [
      'a pattern',
      { 'canary-by-header': 'X-Try', 'canary-by-header-pattern': 'eu|us' },
      { 'X-Try': 'us-1' },
      'b',
      'us-1',
    ],
    ['a cookie', { 'canary-by-cookie': 'try' }, { cookie: 'a=1; try=always' }, 'b', 'cookie try=always'],
    ['neither', { 'canary-by-cookie': 'try' }, { cookie: 'try=maybe' }, 'a', '0 %'],
  ])('a canary: %s', (_words, annotations, headers, backend, said) => {
    const canary = cluster(
      ingress('web', ['h / Prefix a']),
      ingress('canary', ['h / Prefix b'], annotated({ canary: 'true', ...annotations } as Record<string, string>)),
    )
    const result = get(canary, 'http://h/', { headers })
    expect(verdict(result)).toBe(`200 default/${backend}:80`)
    expect(result.steps.map(({ detail }) => detail).join('\n')).toContain(said)
  })

  it('a canary whose share is drawn says that a replay does not draw, and one without a main path that it is nothing', () => {
    const canary = (rule: string, weight: string) =>
      cluster(
        ingress('web', ['h / Prefix a']),
        ingress('canary', [rule], annotated({ canary: 'true', 'canary-weight': weight })),
      )
    expect(warningCodes(canary('h / Prefix b', '30'))).toEqual(['W_NOT_MODELLED'])
    expect(warningCodes(canary('h / Prefix b', '100'))).toEqual([])
    expect(warningCodes(canary('h / ImplementationSpecific b', '100'))).toEqual(['W_INGRESS_CONFLICT'])
  })

  it('a password is asked for after the address, or in its place', () => {
    const guarded = (more: Record<string, string>) =>
      web({ 'auth-type': 'basic', 'auth-secret': 'users', 'whitelist-source-range': '10.0.0.0/8', ...more })
    const ask = (more: Record<string, string>, from: string, headers = {}) =>
      get(guarded(more), 'http://foo.com/', { from, headers }).status
    const basic = { Authorization: 'Basic eDp5' }
    expect([ask({}, '10.0.0.1'), ask({}, '11.0.0.1'), ask({}, '10.0.0.1', basic)]).toEqual([401, 403, 200])
    const any = { satisfy: 'any' }
    expect([ask(any, '10.0.0.1'), ask(any, '11.0.0.1'), ask(any, '11.0.0.1', basic)]).toEqual([200, 401, 200])
  })

  it.each([
    [{ 'configuration-snippet': 'return 418;' }, ['W_NOT_MODELLED']],
    [{ 'limit-rps': '5' }, ['W_NOT_MODELLED']],
    [{ affinity: 'cookie' }, ['W_NOT_MODELLED']],
    [{ 'server-alias': '~^x' }, ['W_NOT_MODELLED']],
    [{ 'use-regex': 'yes please' }, ['W_INGRESS_ANNOTATION']],
    [{ 'whitelist-source-range': 'office' }, ['W_INGRESS_ANNOTATION']],
    [{ 'proxy-body-size': '8m', 'enable-cors': 'true', 'backend-protocol': 'HTTPS' }, []],
  ])('%j warns %j', (annotations, codes) => {
    expect(warningCodes(web(annotations as Record<string, string>))).toEqual(codes)
  })
})
