/**
 * A kernel's conntrack beside the model's, connection by connection: states, timeouts, marks of ASSURED and UNREPLIED, source ports, what
 * stays after a change, how a refusal looks.
 *
 * Real sockets go through the rules of node `a`; what `conntrack -L` and `-E` say there is compared with the table that the same packets
 * leave in the dataplane, both read by the reader of `dpemu conntrack`. Timeouts are seconds here, by sysctl on one side and by the model's
 * constants on the other, so that waiting for them is short. What cannot be asked here says why.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Model } from '../../src/compile/model.ts'
import { parseTable, type TableEntry } from '../../src/conntrack/lines.ts'
import type { KubeProxyConfiguration } from '../../src/k8s/types.ts'
import { tableRows, tableText } from '../../src/replay/table-dump.ts'
import { clusterOf, type EndpointSpec, type ServiceSpec } from '../core/cluster.ts'
import { FLAGS, type FlagName, Lab } from '../core/harness.ts'
import { dumpOf } from '../rules/dumps.ts'
import { HOLD_PORT, type Place, Site, whyNot } from './site.ts'
import { judge, type World } from './worlds.ts'

const reason = whyNot()
if (reason !== null) console.log(`live tests are skipped: ${reason}`)
const site = new Site()

/** Seconds, all different, so that a wrong one shows. */
const TIMEOUTS = {
  tcpSynSentSeconds: ['tcp_timeout_syn_sent', 21],
  tcpSynRecvSeconds: ['tcp_timeout_syn_recv', 17],
  tcpEstablishedSeconds: ['tcp_timeout_established', 60],
  tcpFinWaitSeconds: ['tcp_timeout_fin_wait', 27],
  tcpCloseWaitSeconds: ['tcp_timeout_close_wait', 33],
  tcpLastAckSeconds: ['tcp_timeout_last_ack', 13],
  tcpTimeWaitSeconds: ['tcp_timeout_time_wait', 9],
  tcpCloseSeconds: ['tcp_timeout_close', 5],
  tcpUnacknowledgedSeconds: ['tcp_timeout_unacknowledged', 47],
  udpSeconds: ['udp_timeout', 6],
  udpStreamSeconds: ['udp_timeout_stream', 11],
} as const
const MODEL = Object.fromEntries(
  Object.entries(TIMEOUTS).map(([name, [, seconds]]) => [name, seconds]),
) as Partial<Model>
const CLIENT = '198.51.100.7'
const NODE = '192.168.0.1'
const WEB = 30081
const DNS = 30053
const KUBE_PROXY: Partial<KubeProxyConfiguration> = { detectLocalMode: 'ClusterCIDR', clusterCIDR: '10.1.0.0/16' }
/** Seconds of rounding between the two tables; what passes between a packet and the look at its entry comes on top, measured. */
const SLACK_SECONDS = 2
/** A refusal that comes while the socket is still being connected shows only when the SYN is sent again. */
const PATIENCE = 4000

/** Services without endpoints, in IPv6. */
const NOTHING: World = {
  family: 'IPv6',
  mode: 'nftables',
  detector: 'ClusterCIDR',
  masqueradeAll: false,
  serviceCidrs: false,
  external: 'Cluster',
  internal: 'Cluster',
  ranges: [],
  affinitySeconds: 0,
  endpoints: [],
}

interface Sides {
  readonly web: readonly EndpointSpec[]
  readonly dns: readonly EndpointSpec[]
  readonly external?: 'Cluster' | 'Local'
}

const POD5: EndpointSpec = { address: '10.1.0.5', node: 'a' }
const POD6: EndpointSpec = { address: '10.1.0.6', node: 'a' }
const REMOTE: EndpointSpec = { address: '10.1.1.5', node: 'b' }

function clusterWith({ web, dns, external = 'Cluster' }: Sides) {
  const services: ServiceSpec[] = [
    { name: 'web', clusterIP: '10.96.0.10', targetPort: HOLD_PORT, nodePort: WEB, external, endpoints: web },
    { name: 'dns', clusterIP: '10.96.0.11', protocol: 'UDP', port: 53, nodePort: DNS, external, endpoints: dns },
  ]
  return clusterOf({ nodes: 3, kubeProxy: { mode: 'nftables', ...KUBE_PROXY }, services })
}

function labWith(sides: Sides, clients: readonly string[] = [CLIENT]): Lab {
  const dials = [`${NODE}:${WEB}/tcp`, `${NODE}:${DNS}/udp`, '10.96.0.11:53/udp']
  return new Lab(clusterWith(sides), dials, { clients, model: MODEL, mode: 'nftables', connections: 4096 })
}

/** What the model's node has, in the words of `conntrack -L`. */
function modelTable(lab: Lab, nowMs: number): TableEntry[] {
  const node = lab.nodeNames.indexOf('a')
  return parseTable(tableText([tableRows(lab.dataplane.table, 0, node, nowMs)], lab.registry), 'model')
}

function kernelTable(): TableEntry[] {
  return parseTable(site.run('node', ['conntrack', '-L', '-o', 'extended']), 'conntrack -L')
}

/** An entry without what chance decides (masqueraded ports) and without the seconds. */
function shape({ protocol, state, original, reply }: TableEntry): string {
  const text = (tuple: TableEntry['original'], hidesPort: boolean): string =>
    `${tuple.source}:${tuple.sourcePort} > ${tuple.destination}:${hidesPort ? '*' : tuple.destinationPort}`
  const isMasqueraded = reply.destination !== original.source
  return `${protocol} ${state} | ${text(original, false)} | ${text(reply, isMasqueraded)}`
}

/** The one entry of a client's port; with what the kernel shows of the flags that a state does not tell. */
function entryOf(table: readonly TableEntry[], sourcePort: number): TableEntry | undefined {
  return table.find(({ original }) => original.source === CLIENT && original.sourcePort === sourcePort)
}

function flagsOf(sourcePort: number): string {
  const line = site
    .run('node', ['conntrack', '-L'])
    .split('\n')
    .find((text) => text.includes(`src=${CLIENT} `) && text.includes(`sport=${sourcePort} `))
  return [/\[UNREPLIED\]/, /\[ASSURED\]/].map((flag) => (flag.test(line ?? '') ? '1' : '0')).join('')
}

/** @param sinceMs  when the last packet set out, on `performance.now`'s clock */
function sameAs(lab: Lab, sourcePort: number, nowMs: number, sinceMs: number): void {
  const kernel = entryOf(kernelTable(), sourcePort)
  const model = entryOf(modelTable(lab, nowMs), sourcePort)
  expect(kernel === undefined ? 'no entry' : shape(kernel)).toBe(model === undefined ? 'no entry' : shape(model))
  if (kernel === undefined || model === undefined) return
  const late = model.seconds! - kernel.seconds!
  expect(late, `kernel ${kernel.seconds} s, model ${model.seconds} s`).toBeGreaterThanOrEqual(-1)
  const passed = (performance.now() - sinceMs) / 1000
  expect(late, `kernel ${kernel.seconds} s, model ${model.seconds} s`).toBeLessThanOrEqual(SLACK_SECONDS + passed)
}

const wait = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1000))

let port = 41_000

/** A connection both ways: a socket on one side, packets of the model on the other. */
class Pair {
  readonly lab: Lab
  readonly sourcePort = port++
  private readonly connection: number
  private nowMs = 1000
  /** The last time that a socket was asked to send. */
  private askedAt = performance.now()

  constructor(lab: Lab, to = `${NODE}:${WEB}/tcp`) {
    this.lab = lab
    this.connection = lab.connect(CLIENT, to, this.sourcePort)
  }

  get now(): number {
    return this.nowMs
  }

  packets(...list: readonly (readonly ['client' | 'server', FlagName])[]): string[] {
    return list.map(([from, flag]) => {
      this.nowMs += 10
      const length = flag === 'data' ? 500 : 52
      return this.lab.send({ connection: this.connection, atMs: this.nowMs, from, flags: FLAGS[flag], length })
    })
  }

  passes(seconds: number): void {
    this.nowMs += seconds * 1000
  }

  async opens(to = NODE, dport = WEB, timeout = 1500): Promise<string> {
    const order = {
      id: this.sourcePort,
      protocol: 'tcp',
      from: CLIENT,
      sourcePort: this.sourcePort,
      to,
      port: dport,
      timeout,
    }
    this.askedAt = performance.now()
    return (await site.ask('client', { open: order })) as string
  }

  client(what: string, timeout = 500): Promise<unknown> {
    this.askedAt = performance.now()
    return site.ask('client', { act: { id: this.sourcePort, what, timeout } })
  }

  server(what: string, place: Place = 'p5'): Promise<unknown> {
    this.askedAt = performance.now()
    return site.ask(place, { act: { port: HOLD_PORT, what } })
  }

  async same(): Promise<void> {
    await wait(0.15)
    sameAs(this.lab, this.sourcePort, this.nowMs, this.askedAt)
  }
}

const HANDSHAKE = [
  ['client', 'syn'],
  ['server', 'synack'],
  ['client', 'ack'],
] as const
const LOCAL: Sides = { web: [POD5], dns: [POD5], external: 'Local' }

describe.skipIf(reason !== null)('conntrack of the kernel and of the model', () => {
  beforeAll(async () => {
    await site.open()
    for (const [name, seconds] of Object.values(TIMEOUTS)) {
      site.run('node', ['sysctl', '-qw', `net.netfilter.nf_conntrack_${name}=${seconds}`])
    }
    await Promise.all(
      [
        ['p5', '10.1.0.5'],
        ['p6', '10.1.0.6'],
        ['remote', '10.1.1.5'],
      ].map(([place, address]) => site.ask(place as Place, { hold: [[address, HOLD_PORT]] })),
    )
  })
  afterAll(() => site.close())

  const load = (sides: Sides): Lab => {
    site.load('nft', dumpOf(clusterWith(sides), 'nftables'))
    return labWith(sides)
  }

  describe.each([
    ['address kept', LOCAL],
    ['masqueraded to another node', { web: [REMOTE], dns: [REMOTE] }],
  ] as const)('%s', (_name, sides) => {
    const place: Place = sides.web[0] === REMOTE ? 'remote' : 'p5'

    test('a handshake, data, and a close by both sides', async () => {
      const pair = new Pair(load(sides))
      expect(await pair.opens()).toBe('open')
      pair.packets(...HANDSHAKE)
      await pair.same()
      expect(flagsOf(pair.sourcePort)).toBe('01')
      await pair.client('send')
      pair.packets(['client', 'data'], ['server', 'ack'])
      await pair.same()
      await pair.client('end')
      pair.packets(['client', 'fin'], ['server', 'ack'])
      await pair.same()
      await pair.server('end', place)
      pair.packets(['server', 'fin'], ['client', 'ack'])
      await pair.same()
      expect(entryOf(kernelTable(), pair.sourcePort)?.state).toBe('TIME_WAIT')
    })

    test('the server closes first, and the client does not', async () => {
      const pair = new Pair(load(sides))
      await pair.opens()
      pair.packets(...HANDSHAKE)
      await pair.server('end', place)
      pair.packets(['server', 'fin'], ['client', 'ack'])
      await pair.same()
      await pair.client('end')
      pair.packets(['client', 'fin'], ['server', 'ack'])
      await pair.same()
    })

    test.each(['client', 'server'] as const)('a reset by the %s', async (who) => {
      const pair = new Pair(load(sides))
      await pair.opens()
      pair.packets(...HANDSHAKE)
      if (who === 'client') await pair.client('reset')
      else await pair.server('reset', place)
      pair.packets([who, 'rst'])
      await pair.same()
      expect(entryOf(kernelTable(), pair.sourcePort)?.state).toBe('CLOSE')
    })
  })

  test('nobody answers: SYN_SENT, and unreplied', async () => {
    // The pod's namespace lets nothing in.
    const lab = load(LOCAL)
    site.run(
      'p5',
      ['nft', '-f', '-'],
      'table ip quiet {\n chain input {\n type filter hook input priority 0;\n policy drop;\n }\n}\n',
    )
    try {
      const pair = new Pair(lab)
      expect(await pair.opens(NODE, WEB, 300)).toBe('silent')
      pair.packets(['client', 'syn'])
      await pair.same()
      expect(flagsOf(pair.sourcePort)).toBe('10')
      await pair.client('close')
    } finally {
      site.run('p5', ['nft', 'delete', 'table', 'ip', 'quiet'])
    }
  })

  test('the pod refuses: the entry goes with the answer', async () => {
    const lab = load(LOCAL)
    site.run(
      'p5',
      ['nft', '-f', '-'],
      'table ip quiet {\n chain input {\n type filter hook input priority 0;\n tcp dport 8081 reject with tcp reset;\n }\n}\n',
    )
    try {
      const pair = new Pair(lab)
      expect(await pair.opens()).toBe('refused')
      pair.packets(['client', 'syn'], ['server', 'rstack'])
      await pair.same()
      expect(entryOf(kernelTable(), pair.sourcePort)).toBeUndefined()
    } finally {
      site.run('p5', ['nft', 'delete', 'table', 'ip', 'quiet'])
    }
  })

  test('entries are forgotten when their time is over, by state', async () => {
    const lab = load(LOCAL)
    const closed = new Pair(lab)
    const reset = new Pair(lab)
    const open = new Pair(lab)
    const ended = new Map<Pair, { from: number; until: number }>()
    for (const pair of [closed, reset, open]) {
      await pair.opens()
      pair.packets(...HANDSHAKE)
      const from = performance.now() / 1000
      if (pair === closed) {
        await pair.client('end')
        await pair.server('end')
        pair.packets(['client', 'fin'], ['server', 'ack'], ['server', 'fin'], ['client', 'ack'])
      } else if (pair === reset) {
        await pair.client('reset')
        pair.packets(['client', 'rst'])
      }
      ended.set(pair, { from, until: performance.now() / 1000 })
    }
    const stateOf = (pair: Pair): string => entryOf(kernelTable(), pair.sourcePort)?.state ?? 'gone'
    const seconds = (): number => performance.now() / 1000
    // A machine that stalls makes the looks rare, not wrong: an entry ended between the last look that saw it and the first that did not.
    for (const [pair, state, timeout] of [
      [reset, 'CLOSE', TIMEOUTS.tcpCloseSeconds[1]],
      [closed, 'TIME_WAIT', TIMEOUTS.tcpTimeWaitSeconds[1]],
    ] as const) {
      const { from, until } = ended.get(pair)!
      let lastSeen = until
      for (;;) {
        const before = seconds()
        const found = stateOf(pair)
        if (found === 'gone') break
        expect(found).toBe(state)
        lastSeen = before
        await wait(0.2)
      }
      const firstGone = seconds()
      expect(lastSeen - until, `${state}: seconds after which it was still there`).toBeLessThan(timeout + 1)
      expect(firstGone - from, `${state}: seconds after which it was gone`).toBeGreaterThan(timeout - 1)
      const model = (after: number): string =>
        entryOf(modelTable(lab, pair.now + after * 1000), pair.sourcePort)?.state ?? 'gone'
      expect([model(timeout - 0.01), model(timeout + 0.01)]).toEqual([state, 'gone'])
    }
    expect(stateOf(open)).toBe('ESTABLISHED')
    expect(entryOf(modelTable(lab, open.now + 12_000), open.sourcePort)?.state).toBe('ESTABLISHED')
  }, 60_000)

  test('conntrack -E tells the states that the model goes through, in its order', async () => {
    const lab = load(LOCAL)
    const events = site.start('node', ['conntrack', '-E', '-p', 'tcp', '-s', CLIENT])
    let said = ''
    events.stdout!.on('data', (chunk) => {
      said += String(chunk)
    })
    const told = (pair: Pair): string[] => said.split('\n').filter((line) => line.includes(`sport=${pair.sourcePort} `))
    try {
      // The listener listens once it tells of a connection.
      for (let heard = false, tries = 0; !heard && tries < 20; tries++) {
        const probe = new Pair(lab)
        await probe.opens()
        await wait(0.3)
        heard = told(probe).length > 0
        await probe.client('close')
      }
      const pair = new Pair(lab)
      const states: string[] = []
      const look = (): void => {
        const state = entryOf(modelTable(lab, pair.now), pair.sourcePort)?.state ?? 'gone'
        if (states.at(-1) !== state) states.push(state)
      }
      const steps = [...HANDSHAKE, ['client', 'fin'], ['server', 'ack'], ['server', 'fin'], ['client', 'ack']] as const
      for (const step of steps) {
        pair.packets(step)
        look()
      }
      await pair.opens()
      await pair.client('end')
      await wait(0.2)
      await pair.server('end')
      for (let tries = 0; tries < 50 && !told(pair).some((line) => line.includes('TIME_WAIT')); tries++) await wait(0.1)
      const kernel = told(pair).map(
        (line) => /\b(SYN_SENT|SYN_RECV|ESTABLISHED|FIN_WAIT|CLOSE_WAIT|LAST_ACK|TIME_WAIT|CLOSE)\b/.exec(line)?.[1],
      )
      expect(kernel.filter((state, i) => state !== kernel[i - 1])).toEqual(states)
      expect(states).toEqual(['SYN_SENT', 'SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK', 'TIME_WAIT'])
    } finally {
      events.kill()
    }
  })

  describe('UDP', () => {
    const udp = async (sourcePort: number): Promise<void> => {
      const order = { id: sourcePort, protocol: 'udp', from: CLIENT, sourcePort, to: NODE, port: DNS }
      await site.ask('client', { open: order })
    }
    const asks = (sourcePort: number, timeout = 400): Promise<unknown> =>
      site.ask('client', { act: { id: sourcePort, what: 'ask', timeout } })

    test('one question and its answer; a stream after two seconds', async () => {
      const lab = load(LOCAL)
      const pair = new Pair(lab, `${NODE}:${DNS}/udp`)
      await udp(pair.sourcePort)
      expect(await asks(pair.sourcePort)).toContain('p5 10.1.0.5')
      pair.packets(['client', 'none'], ['server', 'none'])
      await pair.same()
      await wait(2.5)
      pair.passes(2.5)
      await asks(pair.sourcePort)
      pair.packets(['client', 'none'], ['server', 'none'])
      await pair.same()
      expect(entryOf(kernelTable(), pair.sourcePort)?.state).toBe('ASSURED')
      await pair.client('close')
    })

    test('after a change the old entry keeps its pod until it is deleted; a new port goes to the new pod', async () => {
      const before = { ...LOCAL, dns: [POD5] }
      const after = { ...LOCAL, dns: [POD6] }
      const lab = load(before)
      const old = new Pair(lab, `${NODE}:${DNS}/udp`)
      const fresh = new Pair(lab, `${NODE}:${DNS}/udp`)
      await udp(old.sourcePort)
      expect(await asks(old.sourcePort)).toContain('p5 ')
      old.packets(['client', 'none'], ['server', 'none'])
      site.replace('nft', dumpOf(clusterWith(after), 'nftables'))
      // The kernel alone: the entry stands.
      expect(await asks(old.sourcePort)).toContain('p5 ')
      await udp(fresh.sourcePort)
      expect(await asks(fresh.sourcePort)).toContain('p6 ')
      // What kube-proxy does after the change: entries of the port whose answers come from an endpoint that is gone.
      const deleted = ['conntrack', '-D', '-p', 'udp', '--orig-port-dst', String(DNS), '--reply-src', '10.1.0.5']
      site.run('node', deleted)
      lab.change(clusterWith(after), old.now)
      expect(entryOf(modelTable(lab, old.now), old.sourcePort)).toBeUndefined()
      expect(entryOf(kernelTable(), old.sourcePort)).toBeUndefined()
      expect(await asks(old.sourcePort)).toContain('p6 ')
      old.packets(['client', 'none'], ['server', 'none'])
      await old.same()
    })

    test('no endpoint is left: the old entry goes on, a new port is refused with ICMP port unreachable', async () => {
      const lab = load(LOCAL)
      const old = new Pair(lab, `${NODE}:${DNS}/udp`)
      await udp(old.sourcePort)
      expect(await asks(old.sourcePort)).toContain('p5 ')
      old.packets(['client', 'none'], ['server', 'none'])
      const none = { ...LOCAL, dns: [] }
      site.replace('nft', dumpOf(clusterWith(none), 'nftables'))
      expect(await asks(old.sourcePort)).toContain('p5 ')
      // kube-proxy deletes nothing of a Service without endpoints.
      lab.change(clusterWith(none), old.now)
      await old.same()
      const fresh = new Pair(lab, `${NODE}:${DNS}/udp`)
      expect(fresh.packets(['client', 'none'])).toEqual(['no-endpoint'])
      expect(
        await site.dial('client', [{ protocol: 'udp', from: CLIENT, to: NODE, port: DNS, timeout: 1000 }]),
      ).toEqual(['refused'])
    })
  })

  describe('masquerading', () => {
    const many = Array.from({ length: 700 }, (_, i) => `198.51.100.${(i % 250) + 2}`)
    const clients = [...new Set(many)]

    const portsOf = (table: readonly TableEntry[]): number[] =>
      table
        .filter(({ protocol, original }) => protocol === 'udp' && original.destinationPort === DNS)
        .map(({ reply }) => reply.destinationPort)

    test.each([
      [100, 1, 511],
      [555, 600, 1023],
      [40_000, 1024, 65_535],
    ])('from source port %i: %i to %i, no port twice, on both sides', async (sourcePort, low, high) => {
      const sides = { web: [REMOTE], dns: [REMOTE] }
      site.load('nft', dumpOf(clusterWith(sides), 'nftables'))
      const lab = labWith(sides, clients)
      await site.ask('client', { burst: { from: clients, sourcePort, to: NODE, port: DNS } })
      await wait(0.3)
      for (const client of clients) {
        const connection = lab.connect(client, `${NODE}:${DNS}/udp`, sourcePort)
        lab.send({ connection, atMs: 1000, from: 'client', flags: 0, length: 60 })
      }
      for (const [side, ports] of [
        ['kernel', portsOf(kernelTable())],
        ['model', portsOf(modelTable(lab, 1001))],
      ] as const) {
        expect(new Set(ports).size, side).toBe(ports.length)
        expect(Math.min(...ports), side).toBeGreaterThanOrEqual(low)
        expect(Math.max(...ports), side).toBeLessThanOrEqual(high)
        expect(ports.length, side).toBeGreaterThan(clients.length * 0.95)
        // Spread over the range and not searched from below.
        const middle = (low + high) / 2
        const share = ports.filter((one) => one > middle).length / ports.length
        expect(Math.abs(share - 0.5), side).toBeLessThan(0.16)
      }
    })

    test('more clients than ports: nearly all ports are found, the rest is lost, in the kernel as in the model', async () => {
      const sides = { web: [REMOTE], dns: [REMOTE] }
      const more = Array.from({ length: 640 }, (_, i) =>
        i < 250 ? `198.51.100.${i + 2}` : `10.1.200.${((i - 250) % 250) + 2}`,
      )
      // 500 addresses, two source ports of the smallest range: 1,000 connections for 511 ports.
      const addresses = [...new Set(more)]
      site.load('nft', dumpOf(clusterWith(sides), 'nftables'))
      const lab = labWith(sides, addresses)
      let lost = 0
      for (const sourcePort of [100, 101]) {
        await site.ask('client', { burst: { from: addresses, sourcePort, to: NODE, port: DNS } })
        for (const client of addresses) {
          const connection = lab.connect(client, `${NODE}:${DNS}/udp`, sourcePort)
          const what = lab.send({ connection, atMs: 1000, from: 'client', flags: 0, length: 60 })
          if (what === 'snat-ports-exhausted') lost++
        }
      }
      const kernel = portsOf(kernelTable())
      const model = portsOf(modelTable(lab, 1001))
      console.log(
        `of ${addresses.length * 2} connections ${kernel.length} have a port in the kernel, ${model.length} in the model`,
      )
      expect(lost).toBeGreaterThan(addresses.length * 2 - 512)
      for (const ports of [kernel, model]) {
        expect(new Set(ports).size).toBe(ports.length)
        expect(ports.length).toBeLessThanOrEqual(511)
        expect(ports.length).toBeGreaterThan(480)
      }
      expect(Math.abs(kernel.length - model.length)).toBeLessThan(20)
    }, 60_000)
  })

  describe('how a refusal looks to the client', () => {
    const COUNTERS = `table inet look {
  chain input {
    type filter hook input priority 0;
    icmp type destination-unreachable icmp code 3 counter comment "icmp"
    icmpv6 type destination-unreachable icmpv6 code 4 counter comment "icmp6"
    icmp type destination-unreachable icmp code != 3 counter comment "other"
    icmpv6 type destination-unreachable icmpv6 code != 4 counter comment "other"
    tcp flags & rst == rst counter comment "rst"
  }
}
`
    /** What the client's namespace was sent since it looked last, by comment. */
    const looked = (): string[] => {
      const listing = site.run('client', ['nft', 'list', 'table', 'inet', 'look'])
      const found = [...listing.matchAll(/counter packets (\d+) bytes \d+ comment "(\w+)"/g)]
      return found.filter(([, count]) => count !== '0').map(([, , what]) => what!)
    }

    test.each(['nftables', 'iptables'] as const)(
      '%s: ICMP port unreachable for TCP and UDP, no reset',
      async (mode) => {
        const none = { web: [], dns: [] }
        site.load(mode === 'nftables' ? 'nft' : 'iptables-restore', dumpOf(clusterWith(none), mode))
        site.run('client', ['nft', '-f', '-'], COUNTERS)
        try {
          const to = [
            { protocol: 'tcp', from: CLIENT, to: NODE, port: WEB, timeout: PATIENCE },
            { protocol: 'udp', from: CLIENT, to: NODE, port: DNS, timeout: PATIENCE },
          ] as const
          expect(await site.dial('client', to)).toEqual(['refused', 'refused'])
          expect(looked()).toEqual(['icmp'])
        } finally {
          site.run('client', ['nft', 'delete', 'table', 'inet', 'look'])
        }
      },
    )

    test.each(['nftables', 'iptables'] as const)('%s, IPv6: ICMPv6 port unreachable', async (mode) => {
      const { native } = judge({ ...NOTHING, mode }, [])
      if (mode === 'nftables') site.load('nft', native.nft!)
      else site.load('ip6tables-restore', native['ip6tables-restore']!)
      site.run('client', ['nft', '-f', '-'], COUNTERS)
      try {
        const from = '2001:db8:100::7'
        const to = [
          { protocol: 'tcp', from, to: 'fd00:99::1', port: 30080, timeout: PATIENCE },
          { protocol: 'udp', from, to: 'fd00:99::1', port: 30053, timeout: PATIENCE },
        ] as const
        expect(await site.dial('client', to)).toEqual(['refused', 'refused'])
        expect(looked()).toEqual(['icmp6'])
      } finally {
        site.run('client', ['nft', 'delete', 'table', 'inet', 'look'])
      }
    })

    test('a port that nobody has: the node’s own reset', async () => {
      site.load('nft', dumpOf(clusterWith(LOCAL), 'nftables'))
      site.run('client', ['nft', '-f', '-'], COUNTERS)
      try {
        const said = await site.dial('client', [
          { protocol: 'tcp', from: CLIENT, to: NODE, port: 9, timeout: PATIENCE },
        ])
        expect([said, looked()]).toEqual([['refused'], ['rst']])
      } finally {
        site.run('client', ['nft', 'delete', 'table', 'inet', 'look'])
      }
    })
  })

  test('answers of healthCheckNodePort', ({ skip }) => {
    const why = 'kube-proxy’s own server gives them, and no kube-proxy runs here'
    console.log(`health check answers are not asked for: ${why}`)
    skip(why)
  })
})
