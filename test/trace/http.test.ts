/** HTTP in generated traces: what clients of an Ingress dial, and which packets begin which requests. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { addressText, FLAG_REPLY } from '../../src/trace/format.ts'
import { generateTrace } from '../../src/trace/generate.ts'
import { inspectTrace } from '../../src/trace/inspect.ts'
import { openTrace } from '../../src/trace/read.ts'
import { verifyTrace } from '../../src/trace/verify.ts'
import { type ReadPacket, readAll, temporaryFolder } from './support.ts'

const folder = temporaryFolder()
const ingress = (name: string, className: string, spec = '', status = '') => `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: ${name} }
spec:
  ingressClassName: ${className}
  ${spec}
  defaultBackend: { service: { name: web, port: { number: 80 } } }
status: { loadBalancer: { ingress: [${status}] } }
---`
const ingressClass = (name: string, controller: string) => `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: { name: ${name} }
spec: { controller: ${controller} }
---`
const node = (name: string, last: number) => `
apiVersion: v1
kind: Node
metadata: { name: ${name} }
spec: { podCIDR: 10.244.${last}.0/24 }
status: { addresses: [{ type: InternalIP, address: 192.168.0.${last} }] }
---`
const proxy = (type: string, affinity: string) => `
apiVersion: v1
kind: Service
metadata: { name: proxy, namespace: edge }
spec:
  type: ${type}
  sessionAffinity: ${affinity}
  selector: { app.kubernetes.io/name: ingress-nginx }
  ports: [{ name: http, port: 80, nodePort: 30080 }, { name: https, port: 443, nodePort: 30443 }]
status: { loadBalancer: { ingress: [${type === 'LoadBalancer' ? '{ ip: 192.0.2.80 }' : ''}] } }
---
apiVersion: v1
kind: Pod
metadata: { name: proxy, namespace: edge, labels: { app.kubernetes.io/name: ingress-nginx } }
spec: { nodeName: a, containers: [{ name: c }] }
---`
const WEB = `
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: LoadBalancer
  selector: { app: web }
  ports: [{ name: plain, port: 80 }, { name: https, port: 8443 }, { name: dns, port: 53, protocol: UDP }]
status: { loadBalancer: { ingress: [{ ip: 192.0.2.10 }] } }
---
apiVersion: v1
kind: Pod
metadata: { name: client, labels: { app: client } }
spec: { nodeName: a, containers: [{ name: c }] }
---`
const SITE = [
  ...[node('a', 1), node('b', 2), WEB],
  ...[ingressClass('nginx', 'k8s.io/ingress-nginx'), ingressClass('alb', 'ingress.k8s.aws/alb')],
  ingress('plain', 'nginx'),
  ingress('secure', 'nginx', 'tls: [{ hosts: [a.example.com] }]'),
  ingress('cloud', 'alb', '', '{ ip: 198.18.0.2 }'),
  ingress('orphan', 'other'),
].join('')

let runs = 0
async function generate(
  stream: string,
  options: { front?: string; from?: string; seed?: number; beside?: string } = {},
) {
  const { front = proxy('LoadBalancer', 'None'), from = '{ external: { addresses: 20 } }' } = options
  writeFileSync(join(folder, 'site.yaml'), `${SITE}${front}`)
  const scenarioPath = join(folder, 'scenario.yaml')
  const lines = [`- from: ${from}`, '  arrivals: { rate: 50 }', ...stream.split('\n').map((line) => `  ${line}`)]
  const traffic = [...lines, ...(options.beside === undefined ? [] : [options.beside])]
  writeFileSync(
    scenarioPath,
    `name: test\nduration: 10s\nmanifests: [site.yaml]\ntraffic:\n${traffic.map((line) => `  ${line}\n`).join('')}`,
  )
  const output = join(folder, `trace-${runs++}.msgpack`)
  const { totals } = await generateTrace({
    scenarioPath,
    output,
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  })
  expect(verifyTrace(output)).toEqual(totals)
  const trace = openTrace(output)
  trace.close()
  return { output, header: trace.header, requestCount: trace.requestCount, packets: readAll(output) }
}

const HTTP = 'http: [{ host: a.example.com, path: /1, weight: 3 }, { host: a.example.com, path: /2, method: POST }]'

describe('clients of an Ingress dial its entrance', () => {
  it.each<[string, string, string | undefined, string[]]>([
    ['no TLS', '{ ingress: plain }', undefined, ['192.0.2.80:80  tuple http']],
    ['no TLS, port 443', '{ ingress: default/plain, port: 443 }', undefined, ['192.0.2.80:443  tuple https']],
    ['TLS', '{ ingress: secure }', undefined, ['192.0.2.80:443  tuple https']],
    ['TLS, port 80', '{ ingress: secure, port: 80 }', undefined, ['192.0.2.80:80  tuple http']],
    ['a proxy with affinity', '{ ingress: plain }', proxy('LoadBalancer', 'ClientIP'), ['192.0.2.80:80  client http']],
    [
      'a proxy with affinity behind a load balancer that hides its clients',
      '{ ingress: plain }',
      proxy('LoadBalancer', 'ClientIP').replace('ip: 192.0.2.80', 'ip: 192.0.2.80, ipMode: Proxy'),
      ['192.0.2.80:80  destination http'],
    ],
    [
      'node ports',
      '{ ingress: secure }',
      proxy('NodePort', 'None'),
      ['192.168.0.1:30443 a tuple https', '192.168.0.2:30443 b tuple https'],
    ],
    ['a cloud load balancer', '{ ingress: cloud }', undefined, ['198.18.0.2:80  tuple http']],
    ['a cloud load balancer, to pods', '{ ingress: cloud, path: ip }', undefined, ['198.18.0.2:80  tuple http']],
    [
      'the proxies, where the class has a load balancer',
      '{ ingress: cloud, path: proxy }',
      undefined,
      ['192.0.2.80:80  tuple http'],
    ],
  ])('%s', async (_, to, front, expected) => {
    const { header } = await generate(`to: ${to}\n${HTTP}`, front === undefined ? {} : { front })
    const schemes = [...new Set(header.requests!.map(({ scheme }) => scheme))]
    const name = to.includes('secure') ? 'secure' : to.includes('cloud') ? 'cloud' : 'plain'
    for (const destination of header.destinations)
      expect(destination).toMatchObject({ to: 'ingress', ingress: `default/${name}`, service: null, servicePort: null })
    const path = /path: (\w+)/.exec(to)?.[1]
    for (const destination of header.destinations) expect(destination.path).toBe(path)
    expect(
      header.destinations.map(({ address, port, node, steer }) =>
        [`${addressText(header.addresses, address)}:${port}`, node, steer, ...schemes].join(' '),
      ),
    ).toEqual(expected)
  })

  it('and none of them has its address', async () => {
    // 198.18.0.2 would be the second client.
    const { header, packets } = await generate(`to: { ingress: cloud }\n${HTTP}`, {
      from: '{ external: { addresses: 3 } }',
    })
    const clients = new Set(packets.map(({ client }) => addressText(header.addresses, client)))
    expect([...clients].sort()).toEqual(['198.18.0.1', '198.18.0.3', '198.18.0.4'])
  })

  it.each([
    [
      '{ ingress: plan }',
      HTTP,
      'traffic[0].to.ingress: there is no Ingress default/plan',
      'did you mean default/plain?',
    ],
    ['{ ingress: plain, path: pods }', HTTP, 'traffic[0].to.path must be one of instance, ip, proxy', ''],
    ['{ service: web, path: ip }', HTTP, 'traffic[0].to.path goes with ingress only', ''],
    ['{ ingress: orphan }', HTTP, 'traffic[0].to.ingress: no controller serves Ingress default/orphan', ''],
    ['{ service: web, port: dns }', HTTP, 'traffic[0].to: is not TCP', ''],
    ['{ address: 10.1.1.1, port: 53, protocol: UDP }', HTTP, 'traffic[0].to: is not TCP', ''],
  ])('%s is refused', async (to, http, message, hint) => {
    const error: unknown = await generate(`to: ${to}\n${http}`).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(UserError)
    expect(error).toMatchObject({ code: 'E_SCENARIO_FIELD', where: join(folder, 'scenario.yaml') })
    expect((error as UserError).message).toContain(message)
    expect((error as UserError).hint).toContain(hint)
  })

  it('and a client of another IP family has nothing to dial', async () => {
    const error: unknown = await generate(`to: { ingress: plain }\n${HTTP}`, {
      from: "{ addresses: ['2001:db8::7'] }",
    }).catch((error: unknown) => error)
    expect((error as UserError).message).toBe("traffic[0].to.ingress: has no address of its clients' IP family")
  })
})

describe('the scheme', () => {
  it.each([
    ['{ service: web, port: plain }', 'http'],
    ['{ service: web, port: https }', 'https'],
    ['{ service: web, port: https, via: nodePort }', 'https'],
    ['{ service: edge/proxy, port: 443 }', 'https'],
    ['{ address: 10.1.1.1, port: 443 }', 'https'],
    ['{ address: 10.1.1.1, port: 8443 }', 'http'],
  ])('of %s is %s', async (to, scheme) => {
    const { header } = await generate(`to: ${to}\n${HTTP}`)
    expect(header.requests).toEqual([
      { host: 'a.example.com', path: '/1', method: 'GET', scheme },
      { host: 'a.example.com', path: '/2', method: 'POST', scheme },
    ])
  })

  it('is each target’s own, and a request is listed once for each', async () => {
    const { header, packets } = await generate(
      `to: [{ ingress: plain }, { ingress: plain, port: 443 }, { ingress: cloud }]\n${HTTP}`,
    )
    expect(header.requests).toHaveLength(4)
    for (const { asks, destination } of packets) {
      if (asks === undefined) continue
      expect(header.requests![asks[0]].scheme).toBe(header.destinations[destination].port === 443 ? 'https' : 'http')
    }
  })
})

describe('requests', () => {
  const byConnection = (packets: readonly ReadPacket[]): ReadPacket[][] => {
    const groups = new Map<number, ReadPacket[]>()
    for (const packet of packets) groups.set(packet.connection, [...(groups.get(packet.connection) ?? []), packet])
    return [...groups.values()]
  }
  const payload = (packets: readonly ReadPacket[]): number => packets.reduce((sum, { length }) => sum + length - 40, 0)

  it('begin with the first segment of each exchange, and their sizes are those of the packets', async () => {
    const { packets, requestCount } = await generate(
      `to: { ingress: plain }\n${HTTP}\nrequests: { uniform: [0, 5] }\nrequestBytes: { uniform: [1, 4000] }\nresponseBytes: { uniform: [0, 9000] }\nthinkTime: 100ms`,
    )
    let seen = 0
    for (const all of byConnection(packets)) {
      const data = all.filter(({ flags, length }) => (flags & 2) === 0 && length > 40)
      if (data.length === 0) continue
      expect(data[0].asks).toBeDefined()
      const starts = data.flatMap(({ asks }, i) => (asks === undefined ? [] : [i]))
      seen += starts.length
      starts.forEach((start, i) => {
        const exchange = data.slice(start, starts[i + 1])
        const [, requestBytes, responseBytes] = data[start].asks!
        expect(payload(exchange.filter(({ flags }) => (flags & FLAG_REPLY) === 0))).toBe(requestBytes)
        expect(payload(exchange.filter(({ flags }) => (flags & FLAG_REPLY) !== 0))).toBe(responseBytes)
        expect(exchange.findIndex(({ flags }) => flags & FLAG_REPLY) === 0).toBe(false)
      })
    }
    expect(seen).toBeGreaterThan(500)
    expect(seen).toBe(requestCount)
  })

  it('are chosen one by one, by weight', async () => {
    const { output, packets } = await generate(`to: { ingress: plain }\n${HTTP}\nrequests: 10`)
    const { requests } = inspectTrace(output)
    expect(requests.top.map(({ path }) => path)).toEqual(['/1', '/2'])
    expect(requests.top[0].share).toBeCloseTo(0.75, 1)
    const mixed = byConnection(packets).filter(
      (all) => new Set(all.flatMap(({ asks }) => (asks === undefined ? [] : [asks[0]]))).size > 1,
    )
    expect(mixed.length).toBeGreaterThan(300)
  })

  it('are none of a stream without http', async () => {
    const { header, requestCount } = await generate('to: { service: web, port: plain }')
    expect(header).not.toHaveProperty('requests')
    expect(requestCount).toBe(0)
    const beside = '- { from: { addresses: [203.0.113.9] }, to: { service: web, port: plain }, arrivals: { rate: 50 } }'
    const both = await generate(`to: { ingress: plain }\n${HTTP}`, { beside })
    const asking = new Set(both.packets.flatMap(({ asks, destination }) => (asks === undefined ? [] : [destination])))
    expect([...asking]).toEqual([0])
    expect(new Set(both.packets.map(({ destination }) => destination)).size).toBe(2)
  })
})

describe('the same scenario with http', () => {
  const stream = `to: [{ ingress: plain }, { ingress: secure }]\n${HTTP}\nrequests: { uniform: [1, 6] }\nresponseBytes: google-rpc`

  it('and seed give the same bytes, another seed gives others', async () => {
    const [one, again, other] = [await generate(stream), await generate(stream), await generate(stream, { seed: 2 })]
    expect(readFileSync(again.output).equals(readFileSync(one.output))).toBe(true)
    expect(readFileSync(other.output).equals(readFileSync(one.output))).toBe(false)
  })

  it('opens the same connections, whatever is asked for', async () => {
    const opened = ({ packets }: { packets: readonly ReadPacket[] }) =>
      packets.filter(({ flags }) => flags === 2).map(({ tick, client, sourcePort }) => [tick, client, sourcePort])
    const other = stream.replace(HTTP, 'http: { host: other.example.com }')
    expect(opened(await generate(other))).toEqual(opened(await generate(stream)))
  })
})
