/** The ConfigMap of ingress-nginx: what it makes the default of, and whom it makes the client. */
import { describe, expect, test } from 'vitest'
import { compileRoutes } from '../../src/ingress/index.ts'
import type { ConfigMap } from '../../src/k8s/types.ts'
import { clusterOf, ingress, ingressClass, nginx, type Objects, service } from './build.ts'
import { get, verdict } from './support.ts'

const web = service('web')
const shop = ingress('shop', ['shop.test / Prefix web'])
const RANGE = 'nginx.ingress.kubernetes.io/whitelist-source-range'

function configMap(data: Record<string, string>, name = 'ingress-nginx-controller', instance = ''): ConfigMap {
  const labels = instance === '' ? {} : { labels: { 'app.kubernetes.io/instance': instance } }
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'ingress-nginx', ...labels },
    data,
    origin: { file: 'test', document: 1, item: -1 },
  }
}

function ask(data: Record<string, string>, line: object, objects: Objects = {}): string {
  const cluster = clusterOf({
    ingresses: [shop],
    ingressClasses: [nginx],
    services: [web.service],
    slices: [web.slice],
    ingressConfigs: [configMap(data)],
    ...objects,
  })
  return verdict(get(cluster, 'http://shop.test/', line)).replace(' default/web:80', '')
}

describe('whom the proxy lets in', () => {
  const OFFICE = { 'whitelist-source-range': '203.0.113.0/24' }
  const own = { ingresses: [ingress('shop', ['shop.test / Prefix web'], { annotations: { [RANGE]: '192.0.2.0/24' } })] }
  const forwarded = (addresses: string): object => ({ headers: { 'X-Forwarded-For': addresses } })
  test.each<[string, Record<string, string>, object, Objects, string]>([
    ['the list of the ConfigMap, where the Ingress has none', OFFICE, { from: '203.0.113.7' }, {}, '200'],
    ['and nobody else', OFFICE, { from: '192.0.2.7' }, {}, '403'],
    ["the Ingress's own list in its place", OFFICE, { from: '203.0.113.7' }, own, '403'],
    ['who is blocked everywhere', { 'block-cidrs': '192.0.2.0/24' }, { from: '192.0.2.7' }, {}, '403'],
    [
      'a header that nobody was told to trust is nothing',
      OFFICE,
      { from: '10.0.0.1', ...forwarded('203.0.113.7') },
      {},
      '403',
    ],
    [
      'a trusted header names the client',
      { ...OFFICE, 'use-forwarded-headers': 'true' },
      { from: '10.0.0.1', ...forwarded('203.0.113.7') },
      {},
      '200',
    ],
    [
      'and where everybody is trusted, as by default, the first address in it does: anybody can write it',
      { ...OFFICE, 'use-forwarded-headers': 'true' },
      { from: '10.0.0.1', ...forwarded('203.0.113.7, 198.51.100.66') },
      {},
      '200',
    ],
    [
      'with the trusted ones written, the last that is none of them',
      { ...OFFICE, 'use-forwarded-headers': 'true', 'proxy-real-ip-cidr': '10.0.0.0/8' },
      { from: '10.0.0.1', ...forwarded('203.0.113.7, 198.51.100.66, 10.0.0.9') },
      {},
      '403',
    ],
    [
      'a peer that is not trusted is the client',
      { ...OFFICE, 'use-forwarded-headers': 'true', 'proxy-real-ip-cidr': '10.0.0.0/8' },
      { from: '198.51.100.66', ...forwarded('203.0.113.7') },
      {},
      '403',
    ],
    [
      'enable-real-ip alone reads the header too, of the name that is written',
      { ...OFFICE, 'enable-real-ip': 'true', 'forwarded-for-header': 'CF-Connecting-IP' },
      { from: '10.0.0.1', headers: { 'cf-connecting-ip': '203.0.113.7' } },
      {},
      '200',
    ],
    [
      'a word that is no address ends the search',
      { ...OFFICE, 'use-forwarded-headers': 'true' },
      { from: '203.0.113.9', ...forwarded('unknown') },
      {},
      '200',
    ],
  ])('%s', (_words, data, line, objects, expected) => {
    expect(ask(data, line, objects)).toBe(expected)
  })
})

describe('redirects to HTTPS', () => {
  const secure = {
    ingresses: [ingress('shop', ['shop.test / Prefix web'], { spec: { tls: [{ hosts: ['shop.test'] }] } })],
  }
  test.each<[string, Record<string, string>, Objects, string]>([
    ['are made by default where there is a certificate', {}, secure, '308 https://shop.test'],
    ['ssl-redirect: false turns them off', { 'ssl-redirect': 'false' }, secure, '200'],
    ['force-ssl-redirect: true makes them everywhere', { 'force-ssl-redirect': 'true' }, {}, '308 https://shop.test'],
    ['http-redirect-code', { 'http-redirect-code': '301' }, secure, '301 https://shop.test'],
    ['no-tls-redirect-locations', { 'no-tls-redirect-locations': '/' }, secure, '200'],
  ])('%s', (_words, data, objects, expected) => {
    expect(ask(data, {}, objects)).toBe(expected)
  })
})

describe('which ConfigMap', () => {
  const two = [
    configMap({ 'force-ssl-redirect': 'true' }, 'public-ingress-nginx-controller', 'public'),
    configMap({}, 'internal-ingress-nginx-controller', 'internal'),
  ]
  const classOf = (instance: string) => ({
    ...ingressClass('nginx', 'k8s.io/ingress-nginx', { 'ingressclass.kubernetes.io/is-default-class': 'true' }),
    metadata: {
      name: 'nginx',
      annotations: { 'ingressclass.kubernetes.io/is-default-class': 'true' },
      labels: { 'app.kubernetes.io/instance': instance },
    },
  })
  test.each([
    ['public', '308 https://shop.test'],
    ['internal', '200'],
  ])('that of the same instance as the class: %s', (instance, expected) => {
    expect(ask({}, {}, { ingressConfigs: two, ingressClasses: [classOf(instance)] })).toBe(expected)
  })

  test('of several without a word the first, and it is said', () => {
    const cluster = clusterOf({ ingresses: [shop], ingressClasses: [nginx], ingressConfigs: two })
    const found = compileRoutes(cluster).warnings.filter(({ code }) => code === 'W_INGRESS_CONFIG')
    expect(found.map(({ where }) => where)).toEqual(['ConfigMap ingress-nginx/public-ingress-nginx-controller'])
  })
})

test('what is not modelled, and what cannot be read, is a warning with its key', () => {
  const data = {
    'server-snippet': 'return 403;',
    'load-balance': 'ewma',
    'ssl-redirect': 'maybe',
    'whitelist-source-range': 'office',
    hsts: 'false',
  }
  const cluster = clusterOf({ ingresses: [shop], ingressClasses: [nginx], ingressConfigs: [configMap(data)] })
  const found = compileRoutes(cluster).warnings.filter(({ where }) => where.startsWith('ConfigMap'))
  expect(found.map(({ code, where }) => `${code} ${where.split('data.')[1]}`).sort()).toEqual([
    'W_INGRESS_CONFIG ssl-redirect',
    'W_INGRESS_CONFIG whitelist-source-range',
    'W_NOT_MODELLED load-balance',
    'W_NOT_MODELLED server-snippet',
  ])
})
