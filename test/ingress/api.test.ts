/**
 * What the Ingress API and its documentation say of paths, hosts, default backends and backends, under a controller that
 * follows them to the letter. Source: kubernetes.io/docs/concepts/services-networking/ingress.
 */
import { describe, expect, it } from 'vitest'
import { compileRoutes } from '../../src/ingress/index.ts'
import { backendOf, clusterFromText, clusterOf, clusterWith, generic, ingress, service } from './build.ts'
import { get, verdict, warningCodes } from './support.ts'

describe('path examples table', () => {
  // Each path leads to a Service of its own number, so that the row shows which one was taken.
  const rows: [paths: string, request: string, answer: string][] = [
    ['Prefix /', '/', '200 default/s0:80'],
    ['Prefix /', '/any/path', '200 default/s0:80'],
    ['Exact /foo', '/foo', '200 default/s0:80'],
    ['Exact /foo', '/bar', '404'],
    ['Exact /foo', '/foo/', '404'],
    ['Exact /foo/', '/foo', '404'],
    ['Prefix /foo', '/foo', '200 default/s0:80'],
    ['Prefix /foo', '/foo/', '200 default/s0:80'],
    ['Prefix /foo/', '/foo', '200 default/s0:80'],
    ['Prefix /foo/', '/foo/', '200 default/s0:80'],
    ['Prefix /aaa/bb', '/aaa/bbb', '404'],
    ['Prefix /aaa/bbb', '/aaa/bbb', '200 default/s0:80'],
    ['Prefix /aaa/bbb/', '/aaa/bbb', '200 default/s0:80'],
    ['Prefix /aaa/bbb', '/aaa/bbb/', '200 default/s0:80'],
    ['Prefix /aaa/bbb', '/aaa/bbb/ccc', '200 default/s0:80'],
    ['Prefix /aaa/bbb', '/aaa/bbbxyz', '404'],
    ['Prefix /, Prefix /aaa', '/aaa/ccc', '200 default/s1:80'],
    ['Prefix /, Prefix /aaa, Prefix /aaa/bbb', '/aaa/bbb', '200 default/s2:80'],
    ['Prefix /, Prefix /aaa, Prefix /aaa/bbb', '/ccc', '200 default/s0:80'],
    ['Prefix /aaa', '/ccc', '404'],
    ['Prefix /foo, Exact /foo', '/foo', '200 default/s1:80'],
    ['Exact /foo, Prefix /foo', '/foo/', '200 default/s1:80'],
    ['ImplementationSpecific /foo', '/foo/bar', '200 default/s0:80'],
    ['Prefix /Foo', '/foo', '404'],
  ]
  it.each(rows)('%s, request %s: %s', (paths, request, answer) => {
    const lines = paths.split(', ').map((entry, i) => {
      const [pathType, path] = entry.split(' ')
      return `example.test ${path} ${pathType} s${i}`
    })
    const cluster = clusterWith(
      generic,
      [ingress('web', lines)],
      lines.map((_line, i) => service(`s${i}`)),
    )
    expect(verdict(get(cluster, `http://example.test${request}`))).toBe(answer)
  })

  it('uses the default backend for what no path matches', () => {
    const cluster = clusterWith(
      generic,
      [ingress('web', ['example.test /aaa Prefix a'], { spec: { defaultBackend: backendOf('rest') } })],
      [service('a'), service('rest')],
    )
    expect(verdict(get(cluster, 'http://example.test/ccc'))).toBe('200 default/rest:80')
  })
})

describe('how a path is read', () => {
  const cluster = clusterWith(
    generic,
    [ingress('web', ['h /foo Prefix foo', 'h /caf%C3%A9 Exact cafe', 'h / Exact root'])],
    [service('foo'), service('cafe'), service('root')],
  )
  it.each([
    ['/foo?x=/bar', '200 default/foo:80', 'the query is no part of it'],
    ['/foo#part', '200 default/foo:80', 'nor is the fragment'],
    ['/%66oo', '200 default/foo:80', 'an escaped letter is the letter'],
    ['/bar/../foo', '200 default/foo:80', 'dot segments are resolved'],
    ['/./foo/.', '200 default/foo:80', 'and so is a single dot'],
    ['/foo%2Fbar', '404', 'an escaped slash separates nothing'],
    ['//foo', '404', 'an empty element is an element'],
    ['/caf%c3%a9', '200 default/cafe:80', 'escapes compare without case'],
    ['/café', '200 default/cafe:80', 'and with the letters they stand for'],
    ['', '200 default/root:80', 'no path is /'],
    ['/../..', '200 default/root:80', 'there is nothing above /'],
  ])('%s: %s (%s)', (path, answer) => {
    expect(verdict(get(cluster, `http://h${path}`))).toBe(answer)
  })
  it('answers 414 for a path over 8 KiB', () => {
    expect(get(cluster, `http://h/${'a'.repeat(9000)}`).status).toBe(414)
  })
})

describe('hosts', () => {
  const wild = clusterWith(
    generic,
    [ingress('web', ['*.foo.com / Prefix wild', 'bar.foo.com /own Prefix exact', 'a.b / Prefix exact'])],
    [service('wild'), service('exact')],
  )
  it.each([
    ['bar.foo.com/x', '200 default/wild:80', 'rules that match are ranked, and only the wildcard has this path'],
    ['bar.foo.com/own', '200 default/exact:80', 'the exact host comes first'],
    ['baz.bar.foo.com/', '404', 'a wildcard covers one label'],
    ['foo.com/', '404', 'and not none'],
    ['BAR.Foo.COM/own', '200 default/exact:80', 'case does not count'],
    ['bar.foo.com:8080/own', '200 default/exact:80', 'nor does the port'],
    ['bar.foo.com./own', '200 default/exact:80', 'nor the final dot'],
    ['a.b./', '200 default/exact:80', 'nor the final dot of a short name'],
  ])('%s: %s (%s)', (url, answer) => {
    expect(verdict(get(wild, `http://${url}`))).toBe(answer)
  })

  const any = clusterWith(
    generic,
    [ingress('web', ['first.bar.com / Prefix one', '- / Prefix any'])],
    [service('one'), service('any')],
  )
  it.each([
    ['http://first.bar.com/', {}, '200 default/one:80'],
    ['http://else.bar.com/', {}, '200 default/any:80'],
    ['http://192.0.2.1/', {}, '200 default/any:80'],
    ['http://[2001:db8::1]:8080/', {}, '200 default/any:80'],
    ['http://first.bar.com/', { host: '' }, '200 default/any:80'],
    ['http://192.0.2.1/', { host: 'first.bar.com' }, '200 default/one:80'],
    ['http://192.0.2.1/', { headers: { Host: 'FIRST.bar.com' } }, '200 default/one:80'],
    ['http://first.bar.com/', { host: 'first.bar.com/evil' }, '400'],
  ])('%s %o: %s', (url, line, answer) => {
    expect(verdict(get(any, url, line))).toBe(answer)
  })
})

describe('default backends', () => {
  const made = [service('a'), service('b'), service('d'), service('e'), service('own')]
  it('an Ingress without rules takes every request', () => {
    const cluster = clusterWith(generic, [ingress('all', [], { spec: { defaultBackend: backendOf('d') } })], made)
    for (const [url, line] of [
      ['http://my-host/', {}],
      ['http://my-host/sub-path', { method: 'POST' }],
      ['http://x/resource', { host: '', method: 'PUT' }],
    ] as const) {
      const result = get(cluster, url, line)
      expect([result.status, result.service, result.ingress]).toEqual([200, 'default/d', 'default/all'])
    }
  })
  it('goes by the Ingress that has the host, then the one without rules, then any', () => {
    const one = ingress('one', ['one /a Prefix a'], { spec: { defaultBackend: backendOf('d') } })
    const two = ingress('two', ['two /b Prefix b'])
    const all = ingress('all', [], { spec: { defaultBackend: backendOf('e') } })
    const cluster = clusterWith(generic, [one, two, all], made)
    expect(verdict(get(cluster, 'http://one/x'))).toBe('200 default/d:80')
    expect(verdict(get(cluster, 'http://two/x'))).toBe('200 default/e:80')
    expect(verdict(get(clusterWith(generic, [one, two], made), 'http://two/x'))).toBe('200 default/d:80')
    expect(verdict(get(clusterWith(generic, [two], made), 'http://two/x'))).toBe('404')
  })
  it("asks the controller's own last", () => {
    const cluster = clusterWith(generic, [ingress('two', ['two /b Prefix b'])], made)
    const own = { defaultBackend: { namespace: 'default', name: 'own', port: 80, byClusterIp: false } }
    expect(verdict(get(cluster, 'http://two/x', {}, own))).toBe('200 default/own:80')
    expect(verdict(get(cluster, 'http://two/b', {}, own))).toBe('200 default/b:80')
  })
  it('a rule with a host and no paths leaves the host to it', () => {
    const cluster = clusterWith(
      generic,
      [ingress('one', [], { spec: { rules: [{ host: 'only' }], defaultBackend: backendOf('d') } })],
      made,
    )
    expect(verdict(get(cluster, 'http://only/x'))).toBe('200 default/d:80')
  })
})

describe('backends', () => {
  const named = { ports: [{ name: 'http', protocol: 'TCP' as const, port: 8080, targetPort: 'web', nodePort: 0 }] }
  const rows: [string, string, ReturnType<typeof service>[], string][] = [
    ['a port by number', 'web:80', [service('web')], '200 default/web:80'],
    ['a port by name', 'web:http', [service('web', named)], '200 default/web:8080'],
    ['a port that the Service does not have', 'web:81', [service('web')], '503 default/web:81'],
    ['a port name that the Service does not have', 'web:https', [service('web', named)], '503 default/web:?'],
    ['a target port is no Service port', 'web:8080', [service('web')], '503 default/web:8080'],
    ['no such Service', 'web:80', [], '503 default/web:80'],
    ['a Service of another namespace', 'web:80', [service('other/web')], '503 default/web:80'],
    ['no endpoint at all', 'web:80', [service('web', { endpoints: 0 })], '503 default/web:80'],
    [
      'a UDP port',
      'web:80',
      [service('web', { ports: [{ name: '', protocol: 'UDP', port: 80, targetPort: 80, nodePort: 0 }] })],
      '503 default/web:80',
    ],
    [
      'an ExternalName Service',
      'web:80',
      [service('web', { type: 'ExternalName', externalName: 'example.org' })],
      '200 default/web:80',
    ],
  ]
  it.each(rows)('%s', (_name, backend, made, answer) => {
    expect(verdict(get(clusterWith(generic, [ingress('web', [`h / Prefix ${backend}`])], made), 'http://h/'))).toBe(
      answer,
    )
  })

  it('counts ready endpoints of the right port only', () => {
    const { service: web, slice } = service('web', named)
    const cluster = clusterOf({
      ingresses: [ingress('web', ['h / Prefix web:http'])],
      ingressClasses: [generic],
      services: [web],
      slices: [
        {
          ...slice,
          endpoints: [
            { addresses: ['10.0.0.1'], conditions: { ready: true } },
            { addresses: ['10.0.0.2'], conditions: { ready: false, serving: true, terminating: true } },
            { addresses: ['10.0.0.3'] },
          ],
        },
        { ...slice, addressType: 'IPv6', endpoints: [{ addresses: ['2001:db8::1'], conditions: {} }] },
        { ...slice, ports: [{ name: 'metrics', port: 9090 }], endpoints: [{ addresses: ['10.0.0.9'] }] },
      ],
    })
    expect(get(cluster, 'http://h/').endpoints).toEqual(['10.0.0.1:8080', '10.0.0.3:8080', '[2001:db8::1]:8080'])
  })

  it('a resource backend is not modelled: a warning, and 503', () => {
    const resource = { resource: { kind: 'StorageBucket', name: 'static', apiGroup: 'k8s.example.com' } }
    const cluster = clusterWith(generic, [
      ingress('web', [], {
        spec: { rules: [{ host: 'h', http: { paths: [{ path: '/', pathType: 'Prefix', backend: resource }] } }] },
      }),
    ])
    expect(verdict(get(cluster, 'http://h/'))).toBe('503')
    expect(warningCodes(cluster)).toContain('W_NOT_MODELLED')
  })
})

describe('several Ingresses on one host', () => {
  const made = [service('a'), service('b'), service('team/c')]
  it('are merged, each with the Services of its own namespace', () => {
    const cluster = clusterWith(generic, [ingress('a', ['h /a Prefix a']), ingress('team/c', ['h /c Prefix c'])], made)
    expect(verdict(get(cluster, 'http://h/a'))).toBe('200 default/a:80')
    expect(verdict(get(cluster, 'http://h/c'))).toBe('200 team/c:80')
    expect(get(cluster, 'http://h/c').ingress).toBe('team/c')
  })
  it('the older one keeps a path that both claim, and the user hears of it', () => {
    const dated = (name: string, backend: string, creationTimestamp: string) =>
      ingress(name, [`h / Prefix ${backend}`], { metadata: { creationTimestamp } })
    const cluster = clusterWith(
      generic,
      [dated('a', 'a', '2026-02-01T00:00:00Z'), dated('b', 'b', '2026-01-01T00:00:00Z')],
      made,
    )
    expect(verdict(get(cluster, 'http://h/'))).toBe('200 default/b:80')
    expect(compileRoutes(cluster).warnings).toContainEqual({
      code: 'W_INGRESS_CONFLICT',
      where: 'Ingress default/a, spec.rules[0].http.paths[0]',
      message: 'Prefix / of Ingress default/a is never reached: Prefix / of Ingress default/b comes first on this host',
    })
  })
  it('without dates, the one written first does', () => {
    const cluster = clusterWith(generic, [ingress('z', ['h / Prefix a']), ingress('a', ['h / Prefix b'])], made)
    expect(verdict(get(cluster, 'http://h/'))).toBe('200 default/a:80')
  })
})

describe('TLS', () => {
  const tls = [
    { hosts: ['foo.bar.com'], secretName: 'foo' },
    { hosts: ['*.wild.com'], secretName: 'wild' },
  ]
  const cluster = clusterWith(
    generic,
    [ingress('web', ['foo.bar.com / Prefix s', 'x.wild.com / Prefix s', 'plain.com / Prefix s'], { spec: { tls } })],
    [service('s')],
  )
  it.each([
    ['https://foo.bar.com/', 'default/foo'],
    ['https://x.wild.com/', 'default/wild'],
    ['https://plain.com/', ''],
    ['http://foo.bar.com/', null],
  ])('%s shows certificate %j', (url, certificate) => {
    const result = get(cluster, url)
    expect([result.status, result.certificate, result.tlsEndsAt]).toEqual([
      200,
      certificate,
      certificate === null ? null : 'proxy',
    ])
  })
})

describe('the seed manifests: Services are not in them', () => {
  // Two Ingresses as found in books and blogs: two rules for one host, a rewrite, no class.
  const twoPaths = (name: string, host: string, services: readonly [string, string]): string => `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: ${name}
  annotations:
    nginx.ingress.kubernetes.io/rewrite-target: /
spec:
  rules:
${services.map((each) => `  - host: ${host}\n    http:\n      paths:\n      - path: /${each}\n        pathType: Prefix\n        backend:\n          service:\n            name: ${each}\n            port:\n              number: 80\n`).join('')}`
  const cluster = clusterFromText('seed.yaml', twoPaths('example-ingress', 'www.example.com', ['service1', 'service2']))
  it.each([
    ['http://www.example.com/service1', '503 default/service1:80'],
    ['http://www.example.com/service2/x', '503 default/service2:80'],
    ['http://www.example.com/service3', '404'],
    ['http://example.com/service1', '404'],
  ])('%s: %s', (url, answer) => {
    expect(verdict(get(cluster, url))).toBe(answer)
  })
  it('rewrites as ingress-nginx does, since the annotation asks for it', () => {
    expect(get(cluster, 'http://www.example.com/service1/x').path).toBe('/')
  })
})
