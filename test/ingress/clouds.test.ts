/**
 * Cloud load balancers' own reading of paths and hosts, in the words of those who ask why their rule is never reached.
 */
import { describe, expect, test } from 'vitest'
import { compileRoutes } from '../../src/ingress/index.ts'
import type { Ingress, IngressClass } from '../../src/k8s/types.ts'
import { backendOf, clusterWith, ingress, ingressClass, service } from './build.ts'
import { get, verdict } from './support.ts'

const alb = ingressClass('alb', 'ingress.k8s.aws/alb')
const gce = ingressClass('gce', 'k8s.io/ingress-gce')
const traefik = ingressClass('traefik', 'traefik.io/ingress-controller')
const other = ingressClass('edge', 'example.com/edge')
const services = ['web', 'api', 'admin', 'assets', 'spare'].map((name) => service(name))

function ask(theClass: IngressClass, ingresses: readonly Ingress[], url: string): string {
  const named = ingresses.map((one) => ({
    ...one,
    spec: { ...one.spec, ingressClassName: theClass.metadata.name },
  }))
  return verdict(get(clusterWith(theClass, named, services), url))
    .replace('default/', '')
    .replace(':80', '')
}

function codes(theClass: IngressClass, ingresses: readonly Ingress[]): string[] {
  const named = ingresses.map((one) => ({ ...one, spec: { ...one.spec, ingressClassName: theClass.metadata.name } }))
  return compileRoutes(clusterWith(theClass, named, services)).warnings.map(({ code, message }) => `${code} ${message}`)
}

const group = (name: string, order?: string): Record<string, string> => ({
  'alb.ingress.kubernetes.io/group.name': name,
  ...(order === undefined ? {} : { 'alb.ingress.kubernetes.io/group.order': order }),
})

describe('an ALB', () => {
  const star = [
    ingress('shop', ['shop.test /api/*/status ImplementationSpecific api', 'shop.test /* ImplementationSpecific web']),
  ]
  test.each([
    ['a lone /* is every path, deep ones too', star, 'http://shop.test/a/b/c', '200 web'],
    ['and the root', star, 'http://shop.test/', '200 web'],
    ['a * in the middle takes any number of elements', star, 'http://shop.test/api/v1/x/status', '200 api'],
    ['and what does not end so is for the next rule', star, 'http://shop.test/api/v1/state', '200 web'],
    [
      '/ with ImplementationSpecific is the root and nothing else',
      [ingress('shop', ['shop.test / ImplementationSpecific web'])],
      'http://shop.test/cart',
      '404',
    ],
    ['/ with Prefix is everything', [ingress('shop', ['shop.test / Prefix web'])], 'http://shop.test/cart', '200 web'],
    [
      'a Prefix is itself and what is below it, no longer word',
      [ingress('shop', ['shop.test /api Prefix api'])],
      'http://shop.test/apis',
      '404',
    ],
    [
      'one character for each ?',
      [ingress('shop', ['shop.test /v?/x ImplementationSpecific api'])],
      'http://shop.test/v2/x',
      '200 api',
    ],
    [
      'letters count as they are',
      [ingress('shop', ['shop.test /API ImplementationSpecific api'])],
      'http://shop.test/api',
      '404',
    ],
    [
      'patterns come in the order written: an early /* hides what stands below it',
      [ingress('shop', ['shop.test /* ImplementationSpecific web', 'shop.test /admin ImplementationSpecific admin'])],
      'http://shop.test/admin',
      '200 web',
    ],
    [
      'a rule without a host that comes first wins over a host that fits',
      [ingress('shop', ['- /* ImplementationSpecific spare', 'shop.test /* ImplementationSpecific web'])],
      'http://shop.test/',
      '200 spare',
    ],
    [
      '*. covers names of any depth',
      [ingress('shop', ['*.shop.test /* ImplementationSpecific web'])],
      'http://a.b.shop.test/',
      '200 web',
    ],
    [
      'an Ingress without a group has a load balancer of its own: what it does not know is 404 there',
      [ingress('a', ['a.test /x Exact web']), ingress('b', ['a.test /y Exact api', 'b.test /y Exact api'])],
      'http://b.test/x',
      '404',
    ],
    [
      'in a group the lower order comes first, whatever the names are',
      [
        ingress('a-last', ['shop.test /* ImplementationSpecific web'], { annotations: group('shop', '10') }),
        ingress('z-first', ['shop.test /admin ImplementationSpecific admin'], { annotations: group('shop', '-5') }),
      ],
      'http://shop.test/admin',
      '200 admin',
    ],
    [
      'without an order, names decide: the /* of the first hides the other',
      [
        ingress('zebra', ['shop.test /admin ImplementationSpecific admin'], { annotations: group('shop') }),
        ingress('apple', ['shop.test /* ImplementationSpecific web'], { annotations: group('shop') }),
      ],
      'http://shop.test/admin',
      '200 web',
    ],
    [
      "the group's one default backend takes what no rule does, with any host",
      [
        ingress('shop', ['shop.test /api Prefix api'], {
          annotations: group('shop'),
          spec: { defaultBackend: backendOf('spare') },
        }),
      ],
      'http://other.test/',
      '200 spare',
    ],
  ])('%s', (_words, ingresses, url, expected) => {
    expect(ask(alb, ingresses, url)).toBe(expected)
  })

  test('in one rule exact paths come first, then the longest prefix, then patterns', () => {
    const paths = (
      ['/* ImplementationSpecific web', '/a Prefix api', '/a/b Prefix admin', '/a/b Exact assets'] as const
    ).map((line) => {
      const [path, pathType, backend] = line.split(' ') as [string, 'Exact', string]
      return { path, pathType, backend: backendOf(backend) }
    })
    const one = ingress('shop', [], { spec: { rules: [{ host: 'shop.test', http: { paths } }] } })
    expect(['/a/b', '/a/b/c', '/a/x', '/z'].map((path) => ask(alb, [one], `http://shop.test${path}`))).toEqual([
      '200 assets',
      '200 admin',
      '200 api',
      '200 web',
    ])
  })

  test('wildcards in Prefix and Exact are refused by the controller, and so is a second default backend', () => {
    const refused = codes(alb, [
      ingress('a', ['shop.test /x* Prefix web', 'shop.test /y? Exact web'], {
        annotations: group('g'),
        spec: { defaultBackend: backendOf('spare') },
      }),
      ingress('b', ['shop.test /z Exact web'], { annotations: group('g'), spec: { defaultBackend: backendOf('web') } }),
    ])
    expect(refused.filter((one) => one.startsWith('W_INGRESS_PATH'))).toHaveLength(2)
    expect(refused.filter((one) => one.startsWith('W_INGRESS_CONFLICT'))).toEqual([
      expect.stringContaining('the second of this load balancer after that of Ingress default/a'),
    ])
  })
})

describe("Google's load balancer", () => {
  test.each([
    ['/* is everything', ['shop.test /* ImplementationSpecific web'], 'http://shop.test/a/b', '200 web'],
    ['/ is the root and nothing else', ['shop.test / ImplementationSpecific web'], 'http://shop.test/a', '404'],
    [
      '/foo/* is what is below, not /foo',
      ['shop.test /foo/* ImplementationSpecific web'],
      'http://shop.test/foo',
      '404',
    ],
    ['and below', ['shop.test /foo/* ImplementationSpecific web'], 'http://shop.test/foo/bar', '200 web'],
    ['Prefix /foo is both', ['shop.test /foo Prefix web'], 'http://shop.test/foo', '200 web'],
    ['no longer word', ['shop.test /foo Prefix web'], 'http://shop.test/food', '404'],
    [
      'the longest path that fits, whatever the order',
      ['shop.test /* ImplementationSpecific web', 'shop.test /api/* ImplementationSpecific api'],
      'http://shop.test/api/v1',
      '200 api',
    ],
    [
      'the host owns the request: rules for any host are not asked for what it does not have',
      ['shop.test /api Exact api', '- /* ImplementationSpecific spare'],
      'http://shop.test/other',
      '404',
    ],
    ['an empty path is everything', ['shop.test - ImplementationSpecific web'], 'http://shop.test/', '200 web'],
  ])('%s', (_words, rules, url, expected) => {
    expect(ask(gce, [ingress('shop', rules)], url)).toBe(expected)
  })

  test('a * anywhere else is refused', () => {
    const refused = codes(gce, [
      ingress('shop', [
        'shop.test /a/*/b ImplementationSpecific web',
        'shop.test /a* ImplementationSpecific web',
        'shop.test /x/* Prefix web',
      ]),
    ])
    expect(refused.filter((one) => one.startsWith('W_INGRESS_PATH'))).toHaveLength(3)
  })

  test('class gce needs no IngressClass object, whichever others there are', () => {
    const one = ingress('shop', ['shop.test /* ImplementationSpecific web'], {
      annotations: { 'kubernetes.io/ingress.class': 'gce' },
    })
    expect(verdict(get(clusterWith(other, [one], services), 'http://shop.test/a'))).toBe('200 default/web:80')
  })
})

describe('a default backend of an Ingress that has rules', () => {
  const both = ingress('shop', ['shop.test /api Prefix api'], { spec: { defaultBackend: backendOf('spare') } })
  test.each([
    ['takes what the host does not have', other, 'http://shop.test/x', '200 spare'],
    ['and by the API, unknown hosts', other, 'http://unknown.test/', '200 spare'],
    ['with Traefik it is nothing to unknown hosts', traefik, 'http://unknown.test/', '404'],
  ])('%s', (_words, theClass, url, expected) => {
    expect(ask(theClass, [both], url)).toBe(expected)
  })
})

describe('Traefik', () => {
  const ties = (...rules: string[][]) =>
    codes(
      traefik,
      rules.map((written, i) => ingress(`shop-${i}`, written)),
    ).filter((text) => text.includes('no defined order'))

  test.each([
    // Path("/status") and PathPrefix("/"): 15 characters each.
    ['an exact path and the root', [['shop.test /status Exact api', 'shop.test / Prefix web']], 1],
    ['two Ingresses with one rule', [['shop.test /a Prefix api'], ['shop.test /a Prefix web']], 1],
    ['a wildcard and a host of its length', [['*.a.test / Prefix api'], ['x.a.test / Prefix web']], 1],
    ['the host first and the wildcard after it', [['x.a.test / Prefix web'], ['*.a.test / Prefix api']], 1],
    ['paths of one length that are two', [['shop.test /a Prefix api', 'shop.test /b Prefix web']], 0],
    ['hosts of one length that are two', [['shop.test / Prefix api'], ['till.test / Prefix web']], 0],
    ['one Service either way', [['shop.test /status Exact web', 'shop.test / Prefix web']], 0],
    ['rules of two lengths', [['shop.test /api Prefix api', 'shop.test / Prefix web']], 0],
  ] as const)('%s', (_words, rules, warned) => {
    expect(ties(...rules.map((written) => [...written]))).toHaveLength(warned)
  })

  test('a Service without ready endpoints is 503 on an assumption that is told', () => {
    const empty = { ...service('void'), slice: { ...service('void').slice, endpoints: [] } }
    const one = ingress('shop', ['shop.test / Prefix void'], { spec: { ingressClassName: 'traefik' } })
    const cluster = clusterWith(traefik, [one], [empty])
    expect(verdict(get(cluster, 'http://shop.test/'))).toBe('503 default/void:80')
    expect(compileRoutes(cluster).warnings.map(({ message }) => message)).toEqual([
      expect.stringMatching(/allowEmptyServices, which k3s and the chart set and which is assumed/),
    ])
  })
})

test("another controller's annotations are said to do nothing, once an Ingress", () => {
  const one = ingress('shop', ['shop.test / Prefix web'], {
    annotations: {
      'nginx.ingress.kubernetes.io/rewrite-target': '/',
      'nginx.ingress.kubernetes.io/whitelist-source-range': '10.0.0.0/8',
    },
  })
  const said = codes(alb, [one]).filter((text) => text.startsWith('W_INGRESS_ANNOTATION'))
  expect(said).toEqual([expect.stringMatching(/rewrite-target, whitelist-source-range.*do nothing/)])
})
