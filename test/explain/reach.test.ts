/** Who reaches what, in the words of those who ask, and a suite of expectations as CI runs it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import { afterAll, describe, expect, test } from 'vitest'
import { runReach } from '../../src/commands/reach.ts'
import { loadManifests } from '../../src/explain/context.ts'
import { parseExpectations } from '../../src/explain/expectations.ts'
import { reachOf } from '../../src/explain/reach.ts'
import { fakeIo } from '../cli/fake-io.ts'
import { one, SHOP } from './support.ts'

const folder = mkdtempSync(join(tmpdir(), 'dpemu-reach-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function place(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** web on n1 alone, api on both nodes; who asks is on both. */
const CLUSTER = `
${[1, 2].map((n) => `{apiVersion: v1, kind: Node, metadata: {name: n${n}}, spec: {podCIDR: 10.244.${n}.0/24}, status: {addresses: [{type: InternalIP, address: 192.168.0.${n}}]}}`).join('\n---\n')}
---
${pod('web-1', 'web', 'n1', '10.244.1.5')}
---
${pod('api-1', 'api', 'n1', '10.244.1.6')}
---
${pod('api-2', 'api', 'n2', '10.244.2.6')}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {type: LoadBalancer, clusterIP: 10.96.0.20, selector: {app: web}, internalTrafficPolicy: Local, ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]}, status: {loadBalancer: {ingress: [{ip: 198.51.100.10}]}}}
---
{apiVersion: v1, kind: Service, metadata: {name: api, namespace: shop}, spec: {clusterIP: 10.96.0.30, selector: {app: api}, ports: [{name: grpc, port: 9000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: gone, namespace: shop}, spec: {clusterIP: 10.96.0.40, selector: {app: nobody}, ports: [{port: 80}]}}
`

function pod(name: string, app: string, node: string, ip: string): string {
  const owner = `ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: ${app}-5c4, uid: x, controller: true}]`
  const labels = `{app: ${app}, pod-template-hash: 5c4}`
  return `{apiVersion: v1, kind: Pod, metadata: {name: ${name}, namespace: shop, labels: ${labels}, ${owner}}, spec: {nodeName: ${node}, containers: [{name: c, ports: [{containerPort: 8080}]}]}, status: {podIP: ${ip}, conditions: [{type: Ready, status: "True"}]}}`
}

const manifests = place('cluster.yaml', CLUSTER)
const loaded = loadManifests([manifests], () => '')

function outcomeOf(from: string, to: string): string {
  const { cells, sources } = reachOf(loaded)
  const source = sources.find(({ name, object }) => name === from || object === from)!.name
  return cells.find((cell) => cell.from === source && cell.to === to)!.outcome
}

describe('the matrix', () => {
  const [web, api] = reachOf(loaded)
    .sources.slice(1)
    .map(({ name }) => name) as [string, string]

  test.each<[string, string, string, string]>([
    ['a client outside gets to a LoadBalancer Service', 'outside', 'shop/web:http', 'deliver'],
    ['a client outside does not get to a ClusterIP Service', 'outside', 'shop/api:grpc', 'none'],
    ['a pod gets to a ClusterIP Service', web, 'shop/api:grpc', 'deliver'],
    ['internalTrafficPolicy Local: from the node of the pod, not from the other', api, 'shop/web:http', 'some'],
    ['the only pods are on the node that has the endpoint', web, 'shop/web:http', 'deliver'],
    ['a Service without endpoints refuses', api, 'shop/gone:80', 'reject'],
  ])('%s', (_, from, to, outcome) => expect(outcomeOf(from, to)).toBe(outcome))

  test('is what explain says of the same packet', () => {
    const { sources, targets, cells } = reachOf(loaded)
    for (const cell of cells) {
      const clients = sources.find(({ name }) => name === cell.from)!.clients
      const target = targets.find(({ name }) => name === cell.to)!
      if (cell.from === 'outside' && !target.exposed) continue
      const delivered = clients.filter((from) => {
        const { verdict, steps } = one({
          manifests: [manifests],
          from,
          to: target.to,
          protocol: target.protocol.toLowerCase(),
        })
        return verdict !== 'drop' && verdict !== 'reject' && (verdict !== 'none' || steps.at(-1)?.stage === 'deliver')
      })
      expect([cell.from, cell.to, cell.delivered]).toEqual([cell.from, cell.to, delivered.length])
    }
  })
})

describe('the command', () => {
  const run = (output: string[], expectations?: string): { code: number; text: string } => {
    const io = fakeIo()
    const expect = expectations === undefined ? {} : { expect: place('reach.yaml', expectations) }
    const code = runReach({ manifests: [manifests], output, quiet: true, ...expect }, io)
    return { code, text: io.written.stdout }
  }

  test('as text: a row a Service port, and why not', () => {
    const { code, text } = run([])
    expect(code).toBe(0)
    expect(text).toMatch(/shop\/web:http +yes +yes +1 of 2\n/)
    expect(text).toMatch(/shop\/api:grpc +no +yes +yes\n/)
    expect(text).toMatch(/shop\/gone:80 +no +reject +reject\n/)
    expect(text.replace(/\s+/g, ' ')).toContain('has no load balancer, external IP or node port')
  })

  test('as JSON, by its schema', () => {
    const schema = readFileSync(fileURLToPath(new URL('../../schemas/reach.schema.json', import.meta.url)), 'utf8')
    const validate = new Ajv().compile(JSON.parse(schema))
    const document = JSON.parse(run(['json'], '- { from: outside, to: shop/web:http }').text)
    expect([validate(document), validate.errors]).toEqual([true, null])
    expect(document.expectations).toMatchObject([{ pass: true }])
  })

  test('in another proxy mode than the manifests have, and for another release', () => {
    const local = place('local.yaml', CLUSTER.replace('internalTrafficPolicy: Local,', 'externalTrafficPolicy: Local,'))
    const suite = place('inside.yaml', '- { from: "shop/*", to: "198.51.100.10:80" }')
    const codeOf = (options: object): number =>
      runReach({ manifests: [local], expect: suite, output: [], quiet: true, ...options }, fakeIo())
    expect(codeOf({ proxyMode: 'iptables', kubeVersion: '1.31' })).toBe(0)
    expect(codeOf({ proxyMode: 'nftables', kubeVersion: '1.31' })).toBe(99)
    expect(codeOf({ proxyMode: 'nftables', kubeVersion: '1.35' })).toBe(0)
    expect(() => codeOf({ proxyMode: 'iptable' })).toThrow('no such mode')
  })

  test('as a graph', () => {
    const { text } = run(['dot'])
    expect(text).toContain('"outside" -> "Service shop/web:http";')
    expect(text).toContain('[style=dashed];')
    expect(text).not.toContain('-> "Service shop/gone:80"')
  })

  test('as a picture: the same answers in the same places', () => {
    const { text } = run(['svg'])
    expect(text).toMatch(/^<\?xml version="1\.0" encoding="UTF-8"\?>\n<svg /)
    const words = [...text.matchAll(/text-anchor="middle">([^<]*)</g)].map(([, word]) => word)
    const rows = run([])
      .text.split('\n')
      .filter((line) => /^ {2}shop\//.test(line))
    expect(words).toEqual(rows.flatMap((line) => line.trim().split(/ {2,}/).slice(1)))
    expect(text).toContain('<title>outside → shop/gone:80: none: ')
  })

  test('a suite that holds ends with 0, one that does not with 99 and says what came instead', () => {
    const holds = `
- { from: outside, to: "web.shop:80" }
- { from: outside, to: shop/api:grpc, expect: "drop,reject,none" }
- { from: "shop/*", to: shop/gone:80, expect: no-endpoint }
- { name: by address, from: 10.244.2.6, to: "10.96.0.30:9000" }
`
    expect(run([], holds).code).toBe(0)
    const { code, text } = run(['junit'], `${holds}- { name: web is for all, from: "shop/*", to: shop/web:http }\n`)
    expect(code).toBe(99)
    expect(text).toContain('tests="5" failures="1"')
    expect(text).toMatch(
      /name="web is for all">\n +<failure type="reach" message="expected deliver">pod\/shop\/api-2: drop \(no-local-endpoint\)/,
    )
  })
})

test.each<[string, string]>([
  ['', 'there is no expectation in it'],
  ['- 5', 'it is not a map'],
  ['- { to: x:1 }', 'from is missing'],
  ['- { from: a, to: b, expects: drop }', 'an expectation has no field expects'],
  ['- { from: a, to: b, expect: delivr }', "'delivr' is nothing that a packet can come to"],
  ['- { from: a, to: b, protocol: icmp }', 'protocol "icmp" is not tcp, udp or sctp'],
  ['[', 'this is not YAML'],
])('expectations %j are refused', (text, message) => {
  expect(() => parseExpectations(text, 'reach.yaml')).toThrow(
    expect.objectContaining({ code: 'E_EXPECTATIONS', exitCode: 3, message: expect.stringContaining(message) }),
  )
})

test('explain --expect is a gate', async () => {
  const { runExplain } = await import('../../src/commands/explain.ts')
  const file = place('shop.yaml', SHOP)
  const code = (to: string, expected: string): [number, string] => {
    const io = fakeIo()
    const options = {
      manifests: [file],
      from: '198.18.0.7',
      to,
      expect: expected,
      stateful: false,
      output: [],
      quiet: true,
    }
    return [runExplain(options, io), io.written.stderr]
  }
  expect(code('198.51.100.10:81', 'deliver')[0]).toBe(99)
  expect(code('198.51.100.10:81', 'deliver')[1]).toMatch(/^dpemu: expected deliver, got (drop|reject|none)/)
  expect(code('198.51.100.10:81', 'drop,reject,none')).toEqual([0, ''])
  expect(() => code('198.51.100.10:81', 'arrive')).toThrow(expect.objectContaining({ code: 'E_USAGE', exitCode: 2 }))
})
