/** Traefik's Middleware objects behind an Ingress, in the words of those who write them. */
import { describe, expect, test } from 'vitest'
import type { Middleware } from '../../src/k8s/types.ts'
import { clusterWith, ingress, ingressClass, service } from './build.ts'
import { get, verdict, warningCodes } from './support.ts'

const traefik = ingressClass('traefik', 'traefik.io/ingress-controller')
const KEY = 'traefik.ingress.kubernetes.io/router.middlewares'

function middleware(name: string, spec: NonNullable<Middleware['spec']>): Middleware {
  const metadata = { name, namespace: 'default' }
  return { apiVersion: 'traefik.io/v1alpha1', kind: 'Middleware', metadata, spec, origin: traefik.origin }
}

const ALL = [
  middleware('strip', { stripPrefix: { prefixes: ['/app'] } }),
  middleware('add', { addPrefix: { prefix: '/v2' } }),
  middleware('whole', { replacePath: { path: '/index.html' } }),
  middleware('https', { redirectScheme: { scheme: 'https', permanent: true } }),
  middleware('office', { ipAllowList: { sourceRange: ['10.0.0.0/8'] } }),
  middleware('password', { basicAuth: {} }),
  middleware('session', { forwardAuth: {} }),
  middleware('both', { chain: { middlewares: [{ name: 'office' }, { name: 'strip' }, { name: 'both' }] } }),
]

function clusterOf(names: string, all: readonly Middleware[] = ALL) {
  const spec = { ingressClassName: 'traefik' }
  const made = ingress('web', ['app.test /app Prefix web'], { annotations: { [KEY]: names }, spec })
  return { ...clusterWith(traefik, [made], [service('web')]), middlewares: all }
}

describe('a router with', () => {
  test.each([
    ['a prefix taken away', 'default-strip@kubernetescrd', {}, '200 default/web:80', '/x'],
    ['a prefix before', 'default-add@kubernetescrd', {}, '200 default/web:80', '/v2/app/x'],
    ['another path in its place', 'default-whole@kubernetescrd', {}, '200 default/web:80', '/index.html'],
    ['HTTPS only', 'default-https@kubernetescrd', {}, '301 https://app.test/app/x', '/app/x'],
    ['a list of clients, and one outside', 'default-office@kubernetescrd', { from: '192.0.2.1' }, '403', '/app/x'],
    [
      'a list of clients, and one inside',
      'default-office@kubernetescrd',
      { from: '10.1.1.1' },
      '200 default/web:80',
      '/app/x',
    ],
    ['a password', 'default-password@kubernetescrd', {}, '401', '/app/x'],
    ['a service that is asked', 'default-session@kubernetescrd', {}, '401', '/app/x'],
    ['a session', 'default-session@kubernetescrd', { headers: { Cookie: 's=1' } }, '200 default/web:80', '/app/x'],
    [
      'a chain, one that names itself too',
      'default-both@kubernetescrd',
      { from: '10.1.1.1' },
      '200 default/web:80',
      '/x',
    ],
    ['two', 'default-office@kubernetescrd, default-strip@kubernetescrd', { from: '192.0.2.1' }, '403', '/app/x'],
    ['one that is not there', 'default-gone@kubernetescrd', {}, '404', '/app/x'],
    ['one of another provider', 'strip@file', {}, '200 default/web:80', '/app/x'],
  ])('%s', (_name, names, line, answer, path) => {
    const result = get(clusterOf(names), 'http://app.test/app/x', line)
    expect(verdict(result)).toBe(answer)
    if (result.status === 200) expect(result.path).toBe(path)
  })
  test('HTTPS only serves HTTPS', () => {
    expect(verdict(get(clusterOf('default-https@kubernetescrd'), 'https://app.test/app/x'))).toBe('200 default/web:80')
  })
  test('a name that may be somewhere else is followed, with a warning', () => {
    const partial = clusterOf('default-strip@kubernetescrd', [])
    expect(verdict(get(partial, 'http://app.test/app/x'))).toBe('200 default/web:80')
    expect(warningCodes(partial)).toContain('W_NOT_MODELLED')
  })
})
