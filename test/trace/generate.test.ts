import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { UserError } from '../../src/errors.ts'
import { addressText, TICKS_PER_SECOND } from '../../src/trace/format.ts'
import { type GenerateOptions, generateTrace } from '../../src/trace/generate.ts'
import { openTrace } from '../../src/trace/read.ts'
import { verifyTrace } from '../../src/trace/verify.ts'
import { type ReadPacket, readAll, temporaryFolder } from './support.ts'

const folder = temporaryFolder()
mkdirSync(join(folder, 'manifests'))
writeFileSync(
  join(folder, 'manifests', 'cluster.yaml'),
  `
apiVersion: v1
kind: Node
metadata: { name: one }
spec: { podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:1::/64'] }
status: { addresses: [{ type: InternalIP, address: 192.168.1.1 }, { type: InternalIP, address: 'fd00:a::1' }] }
---
apiVersion: v1
kind: Node
metadata: { name: two }
spec: { podCIDR: 10.244.2.0/24, podCIDRs: [10.244.2.0/24, 'fd00:2::/64'] }
status: { addresses: [{ type: InternalIP, address: 192.168.1.2 }, { type: InternalIP, address: 'fd00:a::2' }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd00:96::10']
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  selector: { app: web }
  ports: [{ name: http, port: 80, nodePort: 30080 }, { name: admin, port: 8443, nodePort: 30443 }]
status: { loadBalancer: { ingress: [{ ip: 192.0.2.10 }] } }
---
apiVersion: v1
kind: Service
metadata: { name: sticky }
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.11
  sessionAffinity: ClientIP
  selector: { app: web }
  ports: [{ name: http, port: 80, nodePort: 30081 }]
status: { loadBalancer: { ingress: [{ ip: 192.0.2.11, ipMode: Proxy }] } }
---
apiVersion: v1
kind: Service
metadata: { name: dns }
spec:
  clusterIP: 10.96.0.53
  selector: { app: web }
  ports: [{ name: dns, port: 53, protocol: UDP }]
---
apiVersion: v1
kind: Service
metadata: { name: nameless }
spec: { clusterIP: None, selector: { app: web }, ports: [{ port: 80 }] }
---
apiVersion: v1
kind: Pod
metadata: { name: client, labels: { app: client } }
spec: { nodeName: one, containers: [{ name: c }] }
status: { podIP: 10.244.1.7, podIPs: [{ ip: 10.244.1.7 }, { ip: 'fd00:1::7' }] }
`,
)

let runs = 0
/** Generate a scenario of streams in the test's cluster. */
async function generate(streams: string, options: Partial<GenerateOptions> & { head?: string } = {}) {
  const { head = 'duration: 10s', ...rest } = options
  const scenarioPath = join(folder, 'scenario.yaml')
  writeFileSync(scenarioPath, `name: test\n${head}\nmanifests: [manifests]\ntraffic:\n${streams}`)
  const output = join(folder, `trace-${runs++}.msgpack`)
  const result = await generateTrace({ scenarioPath, output, ...rest })
  expect(verifyTrace(output)).toEqual(result.totals)
  const trace = openTrace(output)
  trace.close()
  return { output, result, header: trace.header, packets: readAll(output) }
}

async function errorOf(streams: string): Promise<UserError> {
  const error = await generate(streams).catch((error: unknown) => error)
  if (!(error instanceof UserError)) throw error
  expect(readdirSync(folder).filter((name) => name.includes('.tmp-'))).toEqual([])
  return error
}

/** One connection as a line a packet: direction, flags, length. */
function lines(packets: readonly ReadPacket[], connection = 0): string[] {
  const names = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG']
  return packets
    .filter((packet) => packet.connection === connection)
    .map(({ flags, length }) => {
      const set = names.filter((_, bit) => flags & (1 << bit)).join('+')
      return `${flags & 128 ? '<' : '>'} ${set} ${length}`
    })
}

const ONE = 'from: { pods: { name: client } }\n    arrivals: { connections: 1 }'

describe('a connection', () => {
  it('of TCP: handshake, request, response with an ACK for every second segment, close', async () => {
    const { packets } = await generate(
      `  - ${ONE}\n    to: { service: web, port: http }\n    requestBytes: 400\n    responseBytes: 4000\n`,
    )
    expect(lines(packets)).toEqual([
      ...['> SYN 52', '< SYN+ACK 52', '> ACK 40'],
      '> PSH+ACK 440',
      ...['< ACK 1500', '< ACK 1500', '> ACK 40', '< PSH+ACK 1120', '> ACK 40'],
      ...['> FIN+ACK 40', '< FIN+ACK 40', '> ACK 40'],
    ])
  })

  it('paces answers by the round trip and requests by the think time', async () => {
    const { packets } = await generate(
      `  - ${ONE}\n    to: { service: web, port: 80 }\n    requests: 2\n    rtt: 20ms\n    serverTime: 5ms\n    thinkTime: 1s\n`,
    )
    const ms = packets.map((packet) => Math.round(((packet.tick - packets[0].tick) / TICKS_PER_SECOND) * 1000))
    // SYN, SYN/ACK, ACK, request, response, ACK; a second later request, response, ACK; FIN, FIN, ACK.
    expect(ms).toEqual([0, 10, 20, 20, 35, 45, 1045, 1060, 1070, 1070, 1080, 1090])
  })

  it.each([
    ['rst', ['< RST+ACK 40']],
    ['client-rst', ['> RST+ACK 40']],
    ['none', []],
  ])('closes by %s', async (close, expected) => {
    const { packets } = await generate(
      `  - ${ONE}\n    to: { service: web, port: 80 }\n    requests: 0\n    close: ${close}\n`,
    )
    expect(lines(packets)).toEqual(['> SYN 52', '< SYN+ACK 52', '> ACK 40', ...expected])
  })

  it('of UDP: requests and responses, nothing else', async () => {
    const { packets, header } = await generate(
      `  - ${ONE}\n    to: { service: dns }\n    requests: 2\n    requestBytes: 50\n    responseBytes: 100\n`,
    )
    expect(lines(packets)).toEqual(['>  78', '<  128', '>  78', '<  128'])
    expect(header.destinations[0]).toMatchObject({ protocol: 17, port: 53, to: 'clusterIP' })
  })

  it('of UDP without responses', async () => {
    const { packets } = await generate(
      `  - ${ONE}\n    to: { address: 10.1.2.3, port: 8125, protocol: UDP }\n    requests: 3\n    requestBytes: 10\n    responseBytes: 0\n`,
    )
    expect(lines(packets)).toEqual(['>  38', '>  38', '>  38'])
  })

  it('over IPv6 has a longer header', async () => {
    const { packets, header } = await generate(
      `  - ${ONE}\n    to: { address: 'fd00:96::10', port: 80 }\n    requests: 0\n`,
    )
    expect(lines(packets)[0]).toBe('> SYN 72')
    expect(addressText(header.addresses, packets[0].client)).toBe('fd00:1::7')
  })
})

describe('destinations', () => {
  const from = 'from: { external: { addresses: 50 } }\n    arrivals: { rate: 100 }\n    requests: 0'
  const dialled = async (to: string, of = from) => {
    const { header } = await generate(`  - ${of}\n    to: ${to}\n`)
    return header.destinations.map(({ address, port, to, node, service, servicePort, steer }) =>
      [`${addressText(header.addresses, address)}:${port}`, to, node, service, servicePort, steer].join(' '),
    )
  }

  it.each([
    ['{ service: web, port: 80 }', ['192.0.2.10:80 loadBalancerIP  default/web 80 tuple']],
    ['{ service: default/web, port: admin }', ['192.0.2.10:8443 loadBalancerIP  default/web 8443 tuple']],
    ['{ service: web, port: http, via: clusterIP }', ['10.96.0.10:80 clusterIP  default/web 80 tuple']],
    [
      '{ service: web, port: http, via: nodePort }',
      ['192.168.1.1:30080 nodePort one default/web 80 tuple', '192.168.1.2:30080 nodePort two default/web 80 tuple'],
    ],
    ['{ service: web, port: http, via: nodePort, node: two }', ['192.168.1.2:30080 nodePort two default/web 80 tuple']],
    ['{ service: sticky }', ['192.0.2.11:80 loadBalancerIP  default/sticky 80 destination']],
    ['{ service: sticky, via: nodePort, node: one }', ['192.168.1.1:30081 nodePort one default/sticky 80 client']],
    ['{ address: 192.0.2.77, port: 443 }', ['192.0.2.77:443 address    tuple']],
  ])('%s', async (to, expected) => {
    expect(await dialled(to)).toEqual(expected)
  })

  it('pods dial the cluster IP', async () => {
    expect(await dialled('{ service: web, port: 80 }', ONE)).toEqual(['10.96.0.10:80 clusterIP  default/web 80 tuple'])
  })

  it('are chosen by weight', async () => {
    const { packets } = await generate(
      `  - from: { external: { addresses: 50 } }\n    arrivals: { connections: 4000 }\n    requests: 0\n    to:\n      - { service: web, port: 80, weight: 3 }\n      - { service: sticky }\n`,
    )
    const first = packets.filter((packet) => packet.flags === 2 && packet.destination === 0).length
    expect(first / 4000).toBeCloseTo(0.75, 1)
  })

  it.each([
    ['{ service: wep, port: 80 }', 'there is no Service default/wep', 'did you mean default/web?'],
    ['{ service: web }', 'must be one of Service default/web: http, admin', ''],
    ['{ service: web, port: 81 }', 'must be one of', ''],
    ['{ service: nameless }', 'is headless', 'address and port'],
    ['{ service: dns }', 'cannot be reached from outside', ''],
    ['{ service: web, port: 80, via: externalIP }', "has no externalIP of its clients' IP family", ''],
    ['{ service: web, port: 80, via: nodePort, node: tow }', 'is not a node', 'did you mean two?'],
    ['{ service: web, port: 80, node: two }', 'goes with via: nodePort', ''],
    ["{ address: 'fd00::1', port: 80 }", 'has no client of its IP family', ''],
  ])('%s is refused', async (to, message, hint) => {
    const error = await errorOf(`  - ${from}\n    to: ${to}\n`)
    expect(error.code).toBe('E_SCENARIO_FIELD')
    expect(error.message).toContain(message)
    expect(error.hint).toContain(hint)
  })
})

describe('clients', () => {
  const rest = 'arrivals: { rate: 100 }\n    requests: 0\n    to: { service: web, port: 80 }\n'
  const addresses = async (from: string) => {
    const { header, packets } = await generate(`  - from: ${from}\n    ${rest}`)
    return [...new Set(packets.map((packet) => addressText(header.addresses, packet.client)))].sort()
  }

  it('are pods by name, labels or workload, and named in the header', async () => {
    const { header } = await generate(`  - from: { pods: { selector: { app: client } } }\n    ${rest}`)
    const [[id, name]] = header.clientNames
    expect([addressText(header.addresses, id), name]).toEqual(['10.244.1.7', 'pod/default/client'])
  })

  it('are the first addresses of a CIDR, without those of the cluster', async () => {
    expect(await addresses('{ external: { cidr: 192.0.2.8/29, addresses: 4 } }')).toEqual([
      ...['192.0.2.12', '192.0.2.13', '192.0.2.14', '192.0.2.9'],
    ])
  })

  it('share the addresses of a NAT', async () => {
    expect(await addresses('{ nat: { clients: 100, addresses: 3 } }')).toEqual([
      '198.18.0.1',
      '198.18.0.2',
      '198.18.0.3',
    ])
  })

  it('are the addresses that are given', async () => {
    expect(await addresses('{ addresses: [203.0.113.9] }')).toEqual(['203.0.113.9'])
  })

  it.each([
    ['{ pods: { name: clint } }', 'matches no pod'],
    ['{ external: { cidr: 192.0.2.0/30, addresses: 9 } }', 'has 2 addresses, 9 are asked for'],
    ['{ external: { cidr: 192.0.2.8/29, addresses: 5 } }', 'too few addresses beside those of the cluster'],
  ])('%s is refused', async (from, message) => {
    expect((await errorOf(`  - from: ${from}\n    ${rest}`)).message).toContain(message)
  })

  it('never use a source port twice at once towards a destination, and say when they have none left', async () => {
    const { packets, result } = await generate(
      '  - from: { nat: { clients: 9, addresses: 1 } }\n    arrivals: { connections: 30000 }\n    requests: 0\n    rtt: 1h\n    to: { service: web, port: 80 }\n',
    )
    const opened = packets.filter((packet) => packet.flags === 2)
    expect(opened.length).toBe(28_232)
    expect(new Set(opened.map((packet) => packet.sourcePort)).size).toBe(28_232)
    expect(Math.min(...opened.map((packet) => packet.sourcePort))).toBe(32_768)
    expect(result.warnings.map(({ code, message }) => `${code} ${message}`).join()).toMatch(/W_SOURCE_PORTS 1768 conn/)
  })
})

describe('arrivals', () => {
  const stream = (arrivals: string, more = '') =>
    `  - from: { external: { addresses: 500 } }\n    arrivals: ${arrivals}\n    requests: 0\n    to: { service: web, port: 80 }\n${more}`
  const opened = (packets: ReadPacket[]) =>
    packets.filter((packet) => packet.flags === 2).sort((a, b) => a.tick - b.tick)

  it('at a constant rate are evenly spaced', async () => {
    const { packets } = await generate(stream('{ process: constant, rate: 4 }'))
    const ticks = opened(packets).map((packet) => packet.tick)
    expect(ticks).toEqual(Array.from({ length: 41 }, (_, i) => i * 2_500_000))
  })

  it('of a Poisson process have the mean and the spread of one', async () => {
    const { packets } = await generate(stream('{ rate: 1000 }'))
    const ticks = opened(packets).map((packet) => packet.tick)
    const gaps = ticks.slice(1).map((tick, i) => tick - ticks[i])
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length)
    expect(mean / 10_000).toBeCloseTo(1, 1)
    expect(deviation / mean).toBeCloseTo(1, 1)
  })

  it('are as many as are asked for', async () => {
    expect((await generate(stream('{ connections: 1234 }'))).result.totals.connections).toBe(1234)
    const head = 'connections: 77'
    expect((await generate(stream('{ rate: 10 }'), { head })).result.totals.connections).toBe(77)
  })

  it('none within the duration is an error, not an empty trace', async () => {
    expect((await errorOf(stream('{ rate: 1 }', '    start: 1h\n'))).code).toBe('E_SCENARIO_EMPTY')
  })

  it('returning: each client arrives once and comes back after the gap', async () => {
    const { packets } = await generate(
      stream('{ process: constant, rate: 1 }', '    returning: { gap: 3s, visits: 3 }\n').replace('500', '2'),
      { head: 'duration: 60s' },
    )
    const seconds = opened(packets).map((packet) => [packet.client, packet.tick / TICKS_PER_SECOND])
    const [first, second] = [seconds[0][0], seconds[1][0]]
    expect(seconds).toEqual([
      ...[
        [first, 0],
        [second, 1],
        [first, 3],
        [second, 4],
        [first, 6],
        [second, 7],
      ],
    ])
  })

  it('popular clients come more often', async () => {
    const { packets } = await generate(stream('{ connections: 5000 }', '    popularity: { zipf: 1 }\n'))
    const counts = new Map<number, number>()
    for (const { client } of opened(packets)) counts.set(client, (counts.get(client) ?? 0) + 1)
    const sorted = [...counts.values()].sort((a, b) => b - a)
    expect(sorted[0] / sorted[1]).toBeGreaterThan(1.5)
  })
})

describe('the same scenario', () => {
  const streams = `  - from: { external: { addresses: 500 } }
    popularity: { zipf: 1 }
    arrivals: { rate: 200 }
    requests: { uniform: [0, 4] }
    responseBytes: google-rpc
    thinkTime: { exponential: { mean: 100ms } }
    to: { service: web, port: 80 }
    close: { fin: 1, rst: 1, client-rst: 1, none: 1 }
`

  it('and seed give the same bytes, another seed gives others', async () => {
    const [one, again, other] = [await generate(streams), await generate(streams), await generate(streams, { seed: 2 })]
    expect(readFileSync(again.output).equals(readFileSync(one.output))).toBe(true)
    expect(readFileSync(other.output).equals(readFileSync(one.output))).toBe(false)
    expect(other.header.provenance.seed).toBe(2)
  })

  it('is kept in the trace, with its manifests under names that do not tell the machine', async () => {
    const { header } = await generate(streams)
    expect(header.provenance.scenario).toBe(readFileSync(join(folder, 'scenario.yaml'), 'utf8'))
    expect(header.manifests.map((manifest) => manifest.name)).toEqual(['manifests/cluster.yaml'])
  })

  it('takes other manifests instead', async () => {
    const other = join(folder, 'other.yaml')
    writeFileSync(
      other,
      readFileSync(join(folder, 'manifests', 'cluster.yaml'), 'utf8').replaceAll('192.0.2.10', '192.0.2.99'),
    )
    const { header } = await generate(streams, { manifests: [other] })
    expect(addressText(header.addresses, header.destinations[0].address)).toBe('192.0.2.99')
  })

  it('stops when it is told to, and leaves nothing', async () => {
    const stop = new AbortController()
    const endless = streams.replace('rate: 200', 'rate: 100000')
    const run = generate(endless, { signal: stop.signal, onProgress: () => stop.abort(new Error('stopped')) })
    await expect(run).rejects.toThrow('stopped')
    expect(existsSync(join(folder, `trace-${runs - 1}.msgpack`))).toBe(false)
    expect(readdirSync(folder).filter((name) => name.includes('.tmp-'))).toEqual([])
  })

  it('tells how far it is', async () => {
    const seen: number[] = []
    await generate(streams.replace('rate: 200', 'rate: 2500'), {
      onProgress: (done, total) => seen.push(done / total),
    })
    expect(seen.length).toBeGreaterThan(1)
    expect([...seen].sort((a, b) => a - b)).toEqual(seen)
    expect(seen.at(-1)).toBeLessThanOrEqual(1)
  })
})
