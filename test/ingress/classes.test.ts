/** Which controller serves which Ingress, and which controller gets a request. */
import { describe, expect, it } from 'vitest'
import { compileRoutes } from '../../src/ingress/index.ts'
import type { Ingress, IngressClass } from '../../src/k8s/types.ts'
import { clusterOf, DEFAULT, generic, ingress, ingressClass, nginx, service } from './build.ts'
import { get, verdict, warningCodes } from './support.ts'

const plain = ingressClass('plain', 'example.com/plain')
const byField = (name: string): Ingress => ingress('web', ['h / Prefix s'], { spec: { ingressClassName: name } })
const byAnnotation = (name: string): Ingress =>
  ingress('web', ['h / Prefix s'], { annotations: { 'kubernetes.io/ingress.class': name } })
const noClass = ingress('web', ['h / Prefix s'])
const s = service('s')
const clusterFor = (ingressClasses: IngressClass[], ingresses: Ingress[]) =>
  clusterOf({ ingressClasses, ingresses, services: [s.service], slices: [s.slice] })

describe('an Ingress and its class', () => {
  const rows: [string, IngressClass[], Ingress, number, boolean][] = [
    ['names a class that exists', [plain], byField('plain'), 200, false],
    ['names a class that does not exist', [plain], byField('some-invalid-class-name'), 404, true],
    ['names a class by annotation', [plain], byAnnotation('plain'), 200, false],
    ['names no class that exists by annotation', [plain], byAnnotation('testclass'), 404, true],
    [
      'names nginx by annotation, and the class of ingress-nginx has another name',
      [ingressClass('public', 'k8s.io/ingress-nginx')],
      byAnnotation('nginx'),
      200,
      false,
    ],
    ['names none, and there is a default class', [plain, generic], noClass, 200, false],
    ['names none, and no class is the default', [plain], noClass, 404, true],
    ['names none, and there are no classes', [], noClass, 200, true],
    ['names a class, and there are no classes', [], byField('nginx'), 200, true],
  ]
  it.each(rows)('%s', (_name, classes, web, status, warned) => {
    const cluster = clusterFor(classes, [web])
    expect(get(cluster, 'http://h/').status).toBe(status)
    expect(warningCodes(cluster).includes('W_INGRESS_CLASS')).toBe(warned)
  })

  it('is served by the newest of several default classes', () => {
    const dated = (name: string, controller: string, creationTimestamp: string): IngressClass => {
      const made = ingressClass(name, controller, DEFAULT)
      return { ...made, metadata: { ...made.metadata, creationTimestamp } }
    }
    const cluster = clusterFor(
      [dated('a', 'example.com/a', '2025-01-01T00:00:00Z'), dated('b', 'example.com/b', '2026-01-01T00:00:00Z')],
      [noClass],
    )
    expect(compileRoutes(cluster).listeners.map((listener) => listener.text)).toEqual([
      'IngressClass b (example.com/b)',
    ])
    expect(warningCodes(cluster)).toEqual(['W_INGRESS_CLASS'])
  })

  it('goes by the field where the annotation says something else', () => {
    const both = ingress('web', ['h / Prefix s'], {
      annotations: { 'kubernetes.io/ingress.class': 'nginx' },
      spec: { ingressClassName: 'plain' },
    })
    const cluster = clusterFor([plain, nginx], [both])
    expect(compileRoutes(cluster).listeners.map((listener) => listener.text)).toEqual([
      'IngressClass plain (example.com/plain)',
    ])
  })
})

describe('which controllers are ingress-nginx', () => {
  it.each([
    [ingressClass('x', 'k8s.io/ingress-nginx'), true],
    [ingressClass('x', 'k8s.io/internal-ingress-nginx'), true],
    [ingressClass('nginx', ''), true],
    [ingressClass('nginx', 'nginx.org/ingress-controller'), false],
    [ingressClass('x', 'traefik.io/ingress-controller'), false],
  ])('%j: %s', (theClass, is) => {
    const [listener] = compileRoutes(clusterFor([theClass], [byField(theClass.metadata.name)])).listeners
    expect(listener?.backendLookup === 'ingress-nginx').toBe(is)
  })
})

describe('several controllers', () => {
  const a = service('a')
  const b = service('b')
  const address = (ip: string) => ({ status: { loadBalancer: { ingress: [{ ip }] } } })
  const cluster = clusterOf({
    ingressClasses: [plain, nginx],
    ingresses: [
      { ...ingress('a', ['- / Prefix a'], { spec: { ingressClassName: 'plain' } }), ...address('192.0.2.1') },
      { ...ingress('b', ['foo.com /b Prefix b'], { spec: { ingressClassName: 'nginx' } }), ...address('192.0.2.2') },
    ],
    services: [a.service, b.service],
    slices: [a.slice, b.slice],
  })
  it.each<[string, object, string, string]>([
    ['http://foo.com/b', {}, '200 default/b:80', 'the one that knows the host by name'],
    ['http://foo.com/x', {}, '404', 'even for a path that only the other would take'],
    ['http://bar.com/', {}, '200 default/a:80', 'else the one that takes any host'],
    ['http://192.0.2.1/b', { host: 'foo.com' }, '200 default/a:80', 'an address says which'],
    ['http://192.0.2.2/', { host: 'bar.com' }, '404', 'and the other knows nothing of this host'],
  ])('%s %o: %s (%s)', (url, line, answer) => {
    expect(verdict(get(cluster, url, line))).toBe(answer)
  })
  it('classes of one controller are one proxy, and their rules merge', () => {
    const two = clusterOf({
      ingressClasses: [ingressClass('x', 'example.com/c'), ingressClass('y', 'example.com/c')],
      ingresses: [
        ingress('a', ['h /a Prefix a'], { spec: { ingressClassName: 'x' } }),
        ingress('b', ['h /b Prefix b'], { spec: { ingressClassName: 'y' } }),
      ],
      services: [a.service, b.service],
      slices: [a.slice, b.slice],
    })
    expect(compileRoutes(two).listeners).toHaveLength(1)
    expect(verdict(get(two, 'http://h/b'))).toBe('200 default/b:80')
  })
})
