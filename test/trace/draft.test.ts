/** `dpemu init`: what a person would expect a first scenario to have, and that it runs as it stands. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runInit } from '../../src/commands/init.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { readScenario } from '../../src/trace/scenario.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { ROOT, temporaryFolder } from '../replay/support.ts'

const folder = temporaryFolder()

function drafted(
  name: string,
  manifests: readonly string[],
  input = '',
): { file: string; text: string; stderr: string } {
  const file = join(folder, `${name}.yaml`)
  const io = fakeIo({}, input)
  expect(runInit({ manifests, output: file, force: true, quiet: false }, io)).toBe(0)
  return { file, text: readFileSync(file, 'utf8'), stderr: io.written.stderr }
}

describe('the bundled manifests', () => {
  test.each(['storefront', 'two-plus-one', 'mysql', 'ingress-hosts', 'ingress-paths', 'ingress-ways', 'affinity-1800'])(
    'of %s give a draft that runs as it stands',
    async (name) => {
      const { file } = drafted(name, [join(ROOT, 'traces', name, 'manifests')])
      const output = join(folder, `${name}.msgpack`)
      const { totals } = await generateTrace({ scenarioPath: file, output, manifests: [] })
      expect(totals.connections).toBeGreaterThan(100)
    },
  )
})

test('a real application: its load balancer, and who calls whom by the environment', () => {
  const { file, stderr } = drafted('boutique', [join(ROOT, 'test/k8s/manifests/real/online-boutique.yaml')])
  const { traffic } = readScenario(file)
  const names = traffic.map(({ name }) => name)
  expect(names).toContain('clients-of-frontend-external')
  // frontend's PRODUCT_CATALOG_SERVICE_ADDR, checkoutservice's SHIPPING_SERVICE_ADDR, cartservice's REDIS_ADDR.
  expect(names).toContain('frontend-to-productcatalogservice')
  expect(names).toContain('checkoutservice-to-shippingservice')
  expect(names).toContain('cartservice-to-redis-cart')
  expect(names).not.toContain('adservice-to-adservice')
  expect(stderr).toMatch(/^dpemu: drafted \d+ streams of traffic\n/m)
  expect(stderr).toContain('next: dpemu generate ')
})

const POD = (env: string, replicas: number): string => `
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {replicas: ${replicas}, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i, env: [{name: X, value: "${env}"}]}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: api, namespace: shop}, spec: {replicas: 1, selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}, spec: {containers: [{name: c, image: i}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {selector: {app: api}, ports: [{name: grpc, port: 9000}, {name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: None, selector: {app: api}, ports: [{port: 5432}]}}
`

test.each<[string, string]>([
  ['api:9000', 'to: { service: shop/api, port: 9000 }'],
  ['http://api/v1', 'to: { service: shop/api, port: 80 }'],
  ['http://api.shop.svc.cluster.local:80/', 'to: { service: shop/api, port: 80 }'],
  ['postgres://user:secret@db:5432/orders', 'to: { name: db, port: 5432 }'],
  ['jdbc:postgresql://db.shop/orders', 'to: { name: db.shop, port: 5432 }'],
])('X=%s: %s', (value, to) => {
  const { text } = drafted('env', ['-'], POD(value, 3))
  expect(text).toContain(`- name: web-to-${to.includes('api') ? 'api' : 'db'}\n`)
  expect(text).toContain(to)
  // Rates go by replicas, and no value of the environment is written down.
  expect(text).toContain('arrivals: { rate: 30 }')
  expect(text).not.toContain('secret')
})

test.each(['other:9000', 'api:9001', 'my-api:9000', 'rapid', ''])('X=%s names no Service', (value) => {
  const { text } = drafted('env', ['-'], POD(value, 1))
  expect(text).not.toContain('web-to-')
})

test('what generate would refuse stands as a comment with the reason', () => {
  const { text, stderr } = drafted(
    'refused',
    ['-'],
    `${POD('api:9000', 1)}---
{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: in, namespace: shop}, spec: {ingressClassName: nginx, rules: [{host: a.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}]}}]}}`,
  )
  expect(text).toMatch(/# Left out: .*ingress/)
  expect(text).toMatch(/^ {2}# {3}- name: clients-of-ingress-in|^ {2}# - name: clients-of-ingress-in/m)
  expect(stderr).toContain('1 left out with the reason')
})

test('a file that is there is not written over, unless forced', () => {
  const file = join(folder, 'mine.yaml')
  writeFileSync(file, 'mine')
  const options = { manifests: [join(ROOT, 'traces/two-plus-one/manifests')], output: file, quiet: true }
  expect(() => runInit({ ...options, force: false }, fakeIo())).toThrow(
    expect.objectContaining({ code: 'E_OUTPUT', exitCode: 2 }),
  )
  expect(readFileSync(file, 'utf8')).toBe('mine')
  expect(runInit({ ...options, force: true }, fakeIo())).toBe(0)
  expect(existsSync(file) && readFileSync(file, 'utf8')).toContain('Drafted by dpemu init')
})
