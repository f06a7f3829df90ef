/** Requests: which rule takes them, who may answer, and the whole way of `--to URL`. */
import { describe, expect, test } from 'vitest'
import { detail, explain, file, lines, one, SHOP } from './support.ts'

const CONTROLLER = `
---
apiVersion: v1
kind: Service
metadata: {name: controller, namespace: ingress, labels: {app.kubernetes.io/name: ingress-nginx}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  externalTrafficPolicy: POLICY
  selector: {app: proxy}
  ports: [{name: http, port: 80, targetPort: 80}, {name: https, port: 443, targetPort: 443}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: proxy, namespace: ingress, labels: {app: proxy, app.kubernetes.io/name: ingress-nginx}}, spec: {nodeName: n2}, status: {podIP: 10.244.2.80}}
`

describe('HTTP lines', () => {
  test('a rule with endpoints, one without, and no rule', () => {
    const [ok, broken, none] = lines([
      { id: 'ok', url: 'http://shop.example/cart' },
      { id: 'broken', url: 'http://shop.example/broken' },
      { id: 'none', url: 'http://other.example/' },
    ])
    expect(ok).toMatchObject({
      id: 'ok',
      verdict: 'accept',
      reason: null,
      service: 'shop/web:http',
      ingress: { status: 200, service: 'shop/web', port: 80, ingress: 'shop/shop' },
    })
    expect([...(ok?.endpoints ?? [])].sort()).toEqual(['10.244.1.5:8080', '10.244.2.5:8080'])
    expect(broken).toMatchObject({
      verdict: 'reject',
      reason: 'http-503',
      endpoints: [],
      ingress: { status: 503, service: 'shop/empty' },
    })
    expect(none).toMatchObject({
      verdict: 'reject',
      reason: 'http-404',
      service: null,
      ingress: { status: 404, service: null, port: null, ingress: null },
    })
    expect(ok?.steps.every(({ stage }) => stage === 'ingress')).toBe(true)
  })

  test('the Host header may be another, and packets may stand beside requests', () => {
    const answers = lines([
      { id: 1, url: 'http://192.0.2.1/', host: 'shop.example' },
      { id: 2, from: '10.244.1.9', to: '10.96.0.20:80' },
    ])
    expect(answers.map(({ verdict }) => verdict)).toEqual(['accept', 'dnat'])
  })

  test('with --stateful the rules are those of the moment', () => {
    const answers = lines(
      [
        { id: 1, time: 0, url: 'http://shop.example/' },
        { time: 1, delete: { kind: 'Ingress', namespace: 'shop', name: 'shop' } },
        { id: 2, time: 2, url: 'http://shop.example/' },
      ],
      { stateful: true },
    )
    expect(answers.map(({ ingress }) => ingress?.status)).toEqual([200, 404])
  })
})

describe('--to URL', () => {
  const url = 'http://shop.example/cart'
  const withController = (policy: string): string[] => [file(`${SHOP}${CONTROLLER.replace('POLICY', policy)}`)]

  test('through the proxy of the cluster: balancer, node, proxy pod, rule, backend pod', () => {
    const explanation = one({ manifests: withController('Local'), from: '203.0.113.7', to: url })
    expect(explanation).toMatchObject({ verdict: 'accept', service: 'shop/web:http', ingress: { status: 200 } })
    expect(explanation.steps.map(({ at, stage }) => `${at} ${stage}`)).toEqual([
      'load balancer route',
      'node n2 frontend',
      'node n2 policy',
      'node n2 endpoint',
      'node n2 dnat',
      'node n2 masquerade',
      'node n2 route',
      'pod ingress/proxy deliver',
      'ingress proxy ingress',
      'ingress proxy ingress',
      'ingress proxy ingress',
      'ingress proxy route',
    ])
    expect(detail(explanation, 'deliver')).toBe('sees the client as 203.0.113.7')
    expect(explanation.steps.at(-1)?.detail).toContain('X-Forwarded-For holds the address of the client')
  })

  test('under Cluster the proxy sees the node, and X-Forwarded-For says so', () => {
    const explanation = one({ manifests: withController('Cluster'), from: '203.0.113.7', to: url })
    expect(detail(explanation, 'deliver')).toBe('sees 192.168.0.1 in place of 203.0.113.7')
    expect(explanation.steps.at(-1)?.detail).toContain('X-Forwarded-For holds the address of the node')
  })

  test('the connection that does not get to the proxy', () => {
    const broken = withController('Local').map(() =>
      file(`${SHOP}${CONTROLLER.replace('POLICY', 'Local').replace('app: proxy}\n', 'app: gone}\n')}`),
    )
    const explanation = one({ manifests: broken, from: '203.0.113.7', to: url })
    expect(explanation).toMatchObject({ verdict: 'drop', reason: 'no-healthy-node' })
    const text = explain({ manifests: broken, from: '203.0.113.7', to: url }).stdout.replace(/\s+/g, ' ')
    expect(text).toContain('the connection does not reach the ingress proxy')
  })

  test('without --from, or without a proxy in the manifests, the way in is told in general', () => {
    const explanation = one({ to: url })
    expect(explanation.verdict).toBe('accept')
    expect(explanation.steps.map(({ at }) => at)).toContain('layer-4 load balancer')
    expect(explanation.steps.at(-1)?.detail).toContain("note: the proxy's own Service is not in the manifests")
  })

  test('a rule that is not there', () => {
    expect(one({ from: '203.0.113.7', to: 'http://other.example/' })).toMatchObject({
      verdict: 'reject',
      reason: 'http-404',
    })
  })
})

describe('the address that the proxy sees', () => {
  const guarded = (policy: string): string[] => {
    const annotations = 'annotations: {nginx.ingress.kubernetes.io/whitelist-source-range: 203.0.113.0/24}'
    const shop = SHOP.replace(
      'metadata: {name: shop, namespace: shop}\n',
      `metadata: {name: shop, namespace: shop, ${annotations}}\n`,
    )
    return [file(`${shop}${CONTROLLER.replace('POLICY', policy)}`)]
  }
  test.each([
    ['Cluster', '203.0.113.7', 403],
    ['Local', '203.0.113.7', 200],
    ['Local', '192.0.2.5', 403],
    ['Cluster', '192.0.2.5', 403],
  ])('whitelist-source-range, %s, client %s: %i', (policy, from, status) => {
    const { ingress } = one({ manifests: guarded(policy), from, to: 'http://shop.example/cart' })
    expect(ingress?.status).toBe(status)
  })
})

describe('the PROXY protocol', () => {
  const config = `
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: ingress-nginx-controller, namespace: ingress}, data: {use-proxy-protocol: "true"}}
`
  const annotated = (text: string, on: string): string =>
    text.replace(
      'labels: {app.kubernetes.io/name: ingress-nginx}}\nspec:\n  type',
      `annotations: {load-balancer.hetzner.cloud/uses-proxyprotocol: "${on}"}, labels: {app.kubernetes.io/name: ingress-nginx}}\nspec:\n  type`,
    )
  const guarded = SHOP.replace(
    'metadata: {name: shop, namespace: shop}\n',
    'metadata: {name: shop, namespace: shop, annotations: {nginx.ingress.kubernetes.io/whitelist-source-range: 203.0.113.0/24}}\n',
  )
  const front = CONTROLLER.replace('POLICY', 'Cluster')
  test.each([
    ['names the client under Cluster too', guarded + front + config, '203.0.113.7', 200],
    ['and refuses others', guarded + front + config, '192.0.2.5', 403],
    ['a pod passes the load balancer by and brings none', SHOP + front + config, '10.244.1.5', 444],
    ['a load balancer that is told not to send it', SHOP + annotated(front, 'false') + config, '203.0.113.7', 444],
    ['a load balancer that sends it to a proxy that is not told', SHOP + annotated(front, 'true'), '203.0.113.7', 400],
    ['sent and expected', guarded + annotated(front, 'true') + config, '203.0.113.7', 200],
  ])('%s', (_words, text, from, status) => {
    const { ingress } = one({ manifests: [file(text)], from, to: 'http://shop.example/cart' })
    expect(ingress?.status).toBe(status)
  })
})

describe("a URL of the cluster's own is no Ingress's", () => {
  const manifests = [file(`${SHOP}${CONTROLLER.replace('POLICY', 'Local')}`)]
  test.each([
    ['shop/client', 'http://web/', 'shop/web:http'],
    ['shop/client', 'http://web.shop/', 'shop/web:http'],
    ['shop/client', 'http://web.shop.svc.cluster.local/x', 'shop/web:http'],
    ['shop/client', 'http://web.shop:9090/x', 'shop/web:metrics'],
    ['shop/client', 'http://10.96.0.20/', 'shop/web:http'],
    ['203.0.113.7', 'http://198.51.100.10/', 'shop/web:http'],
    ['203.0.113.7', 'http://192.168.0.1:30080/', 'shop/web:http'],
  ])('%s asks for %s', (from, to, service) => {
    expect(one({ manifests, from, to })).toMatchObject({ verdict: 'dnat', service })
  })
  test.each(['http://198.51.100.80/', 'http://10.96.0.80/', 'http://controller.ingress/'])(
    "%s is the controller's: its rules decide",
    (to) => {
      expect(one({ manifests, from: 'shop/client', to })).toMatchObject({
        reason: 'http-404',
        ingress: { status: 404 },
      })
    },
  )
  test('in a file of lines too', () => {
    const [answer] = lines([{ id: 1, url: 'http://10.96.0.20/', from: '10.244.1.9' }], { manifests })
    expect(answer).toMatchObject({ verdict: 'dnat', service: 'shop/web:http' })
  })
})
