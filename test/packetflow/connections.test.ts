/**
 * Connections over time: conntrack keeps what is under way where it is, whatever happens to the rules.
 *
 * Source: the nat rules see the first packet of a connection only (kernel NAT); kube-proxy never deletes TCP entries, and
 * UDP entries only when their endpoint serves no more (pkg/proxy/conntrack/cleanup.go); timers of nf_conntrack.
 */
import { describe, expect, test } from 'vitest'
import type { Answer, Explanation } from '../../src/explain/types.ts'
import { CLIENT, type Manifest, MODES, outcome, service, slice, stateful, world } from './support.ts'

const VIP = '172.30.0.41'
const LB = '1.2.3.4'
const PORTS = [
  { name: 'p80', port: 80, protocol: 'TCP', nodePort: 3001 },
  { name: 'dns', port: 53, protocol: 'UDP', nodePort: 3053 },
]
const SLICE_PORTS = [
  { name: 'p80', port: 80, protocol: 'TCP' },
  { name: 'dns', port: 53, protocol: 'UDP' },
]

/** Pods of their own, so that an endpoint that leaves the slice is still there to be talked to. */
const PODS = [1, 2, 3].map((i) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: `web-${i}`, namespace: 'ns1' },
  spec: { nodeName: 'test-node' },
  status: { podIP: `10.0.1.${i}`, podIPs: [{ ip: `10.0.1.${i}` }] },
}))
const THREE = ['10.0.1.1@test-node', '10.0.1.2@test-node', '10.0.1.3@test-node']
const endpoints = (...list: string[]): Manifest => slice('svc1', list, SLICE_PORTS)

function given(mode: (typeof MODES)[number], spec: Manifest = {}): Manifest[] {
  return [
    ...world(mode),
    ...PODS,
    service('svc1', { type: 'LoadBalancer', clusterIP: VIP, ports: PORTS, ...spec }, [LB]),
    endpoints(...THREE),
  ]
}

function line(id: string, time: number, more: Manifest = {}): Manifest {
  return { id, time, from: '10.0.0.2:40000', to: `${VIP}:80`, protocol: 'tcp', ...more }
}

function get(answers: ReadonlyMap<unknown, Answer>, id: string): Explanation {
  return answers.get(id)!.explanation
}

function detail(explanation: Explanation, stage: string): string {
  return explanation.steps
    .filter((step) => step.stage === stage)
    .map((step) => step.detail)
    .join('\n')
}

describe('a connection that is quiet for twenty minutes and goes on', () => {
  test.each([
    ['nftables', 'dnat', null],
    ['iptables', 'dnat', null],
    ['ipvs', 'reject', 'no-ipvs-connection'],
  ] as const)('%s: %s', (mode, verdict, reason) => {
    const quiet = { ...line('later', 1_200), flags: 'PSH,ACK' }
    const answers = stateful(given(mode), [line('first', 0), line('second', 10), quiet])
    expect(get(answers, 'later')).toMatchObject({ verdict, reason })
  })
})

describe.each(MODES)('%s', (mode) => {
  test('the second packet of a connection meets its entry, and the rules are not asked', () => {
    const answers = stateful(given(mode), [line('first', 0), line('second', 10)])
    const first = get(answers, 'first')
    const second = get(answers, 'second')
    expect(detail(first, 'conntrack')).toContain('miss')
    expect(detail(first, 'endpoint')).toContain(String(first.chosen))
    expect(detail(second, 'conntrack')).toBe(
      // ipvs' own table forgets first.
      `hit: ESTABLISHED, ${mode === 'ipvs' ? '890 s left, the timer starts again at 900' : '86390 s left, the timer starts again at 86400'} s: the stored translation applies, the rules are not asked`,
    )
    expect(second).toMatchObject({
      verdict: 'dnat',
      chosen: first.chosen,
      endpoints: [first.chosen],
      service: first.service,
    })
    expect(second.steps.some(({ stage }) => stage === 'policy')).toBe(false)
  })

  test('an established connection survives the removal of its endpoint from the slice; a new one chooses among the rest', () => {
    const first = get(stateful(given(mode), [line('a', 0)]), 'a').chosen!
    const left = THREE.filter((one) => !first.startsWith(`${one.split('@')[0]}:`))
    const answers = stateful(given(mode), [
      line('a', 0),
      { time: 5, apply: endpoints(...left) },
      line('b', 10),
      line('c', 11, { from: '10.0.0.2:40001' }),
    ])
    expect(get(answers, 'b')).toMatchObject({ verdict: 'dnat', chosen: first })
    expect(get(answers, 'c').endpoints).toHaveLength(2)
    expect(get(answers, 'c').endpoints).not.toContain(first)
    expect(get(answers, 'c').endpoints).toContain(get(answers, 'c').chosen)
  })

  test('… and that of every endpoint, and of the Service; new ones are refused', () => {
    const answers = stateful(given(mode), [
      line('a', 0),
      { time: 5, apply: endpoints() },
      line('b', 10),
      line('c', 11, { from: '10.0.0.2:40001' }),
      { time: 12, delete: { kind: 'Service', namespace: 'ns1', name: 'svc1' } },
      line('d', 13),
      line('e', 14, { from: '10.0.0.2:40002' }),
    ])
    expect(get(answers, 'b')).toMatchObject({ verdict: 'dnat', chosen: get(answers, 'a').chosen })
    expect(outcome(get(answers, 'c'))).toBe('reject no-endpoint')
    expect(get(answers, 'c').chosen).toBeNull()
    expect(get(answers, 'd')).toMatchObject({ verdict: 'dnat', chosen: get(answers, 'a').chosen })
    expect(get(answers, 'e')).toMatchObject({ verdict: 'none', chosen: null })
  })

  test('… but not the end of its pod: conntrack still sends it there', () => {
    const first = get(stateful(given(mode), [line('a', 0)]), 'a').chosen!
    const index = Number(first.slice(7, 8))
    const answers = stateful(given(mode), [
      line('a', 0),
      { time: 5, delete: { kind: 'Pod', namespace: 'ns1', name: `web-${index}` } },
      { time: 5, apply: endpoints(...THREE.filter((_, i) => i !== index - 1)) },
      line('b', 10),
    ])
    expect(get(answers, 'b')).toMatchObject({ verdict: 'drop', reason: 'backend-gone', chosen: first })
  })

  test('a Service that comes to life lets the client in at its next try', () => {
    const answers = stateful(
      [...world(mode), ...PODS, service('svc1', { clusterIP: VIP, ports: PORTS.slice(0, 1) })],
      [line('a', 0), { time: 5, apply: endpoints(...THREE) }, line('b', 6)],
    )
    expect(outcome(get(answers, 'a'))).toBe('reject no-endpoint')
    expect(get(answers, 'b')).toMatchObject({ verdict: 'dnat' })
    expect(get(answers, 'b').endpoints).toContain(get(answers, 'b').chosen)
  })

  test('a policy that is flipped counts for new connections only', () => {
    const remote = [...given(mode).filter(({ kind }) => kind !== 'EndpointSlice'), endpoints('10.0.1.9@node2')]
    const flipped = service(
      'svc1',
      { type: 'LoadBalancer', clusterIP: VIP, ports: PORTS, externalTrafficPolicy: 'Local' },
      [LB],
    )
    const to = { to: `${LB}:80` }
    const answers = stateful(remote, [
      line('a', 0, { from: `${CLIENT}:40000`, ...to }),
      { time: 5, apply: flipped },
      line('b', 6, { from: `${CLIENT}:40000`, ...to }),
      line('c', 7, { from: `${CLIENT}:40001`, ...to }),
    ])
    expect(outcome(get(answers, 'a'))).toBe('dnat 10.0.1.9:80 masq')
    expect(outcome(get(answers, 'b'))).toBe('dnat 10.0.1.9:80 masq')
    if (mode === 'ipvs') {
      expect(get(answers, 'c')).toMatchObject({ verdict: 'dnat', reason: 'reply-bypasses-nat', chosen: '10.0.1.9:80' })
    } else expect(outcome(get(answers, 'c'))).toBe('drop no-local-endpoint')
  })
})

describe('one packet at a time, as flags and direction say', () => {
  test('a connection from its SYN to the end', () => {
    const answers = stateful(given('nftables'), [
      line('syn', 0, { flags: 'SYN' }),
      line('synack', 0.1, { flags: 'SYN,ACK', direction: 'reply' }),
      line('ack', 0.2, { flags: 'ACK' }),
      line('fin', 1, { flags: 'FIN,ACK' }),
      line('finack', 2, { flags: 'FIN,ACK', direction: 'reply' }),
      line('last', 3, { flags: 'ACK' }),
      line('again', 4),
    ])
    const state = (id: string): string => detail(get(answers, id), 'conntrack')
    expect(state('syn')).toContain('miss')
    expect(state('synack')).toContain('hit: SYN_SENT, 119.9 s left; now SYN_RECV, 60 s left')
    expect(state('ack')).toContain('hit: SYN_RECV, 59.9 s left; now ESTABLISHED, 86400 s left')
    expect(state('fin')).toContain('now FIN_WAIT, 120 s left')
    expect(state('finack')).toContain('now LAST_ACK, 30 s left')
    expect(state('last')).toContain('now TIME_WAIT, 120 s left')
    expect(detail(get(answers, 'synack'), 'deliver')).toBe(`gets the answer from ${VIP}:80, the address it dialled`)
    expect(answers.get('again')?.explanation.verdict).toBe('dnat')
  })

  test('a RST ends it, an ACK after ten seconds opens it anew by pick-up', () => {
    const answers = stateful(given('nftables'), [
      line('a', 0),
      line('rst', 1, { flags: 'RST', direction: 'reply' }),
      line('late', 20, { flags: 'ACK' }),
    ])
    expect(detail(get(answers, 'rst'), 'conntrack')).toContain('now CLOSE, 10 s left')
    expect(detail(get(answers, 'late'), 'conntrack')).toContain('miss')
  })

  test('an answer to a connection that nobody opened is invalid', () => {
    const answers = stateful(given('nftables'), [line('a', 0, { flags: 'SYN,ACK', direction: 'reply' })])
    expect(get(answers, 'a')).toMatchObject({ verdict: 'drop', reason: 'invalid-state', chosen: null })
  })
})

describe('UDP', () => {
  const udp = (id: string, time: number, more: Manifest = {}): Manifest =>
    line(id, time, { to: `${VIP}:53`, protocol: 'udp', ...more })

  test('30 s without an answer, then it is a new connection', () => {
    const answers = stateful(given('nftables'), [udp('a', 0), udp('b', 29), udp('c', 60)])
    expect(detail(get(answers, 'b'), 'conntrack')).toContain('hit: UNREPLIED, 1 s left')
    expect(detail(get(answers, 'c'), 'conntrack')).toContain('miss')
  })

  test('answered and going on, it is a stream of 120 s', () => {
    const answers = stateful(given('nftables'), [
      udp('a', 0),
      udp('answer', 0.5, { direction: 'reply' }),
      udp('b', 5),
      udp('answer2', 5.5, { direction: 'reply' }),
      udp('c', 100),
    ])
    expect(detail(get(answers, 'c'), 'conntrack')).toContain('hit: STREAM')
    expect(get(answers, 'c').chosen).toBe(get(answers, 'a').chosen)
  })

  test('kube-proxy deletes the entries of an endpoint that serves no more', () => {
    const first = get(stateful(given('nftables'), [udp('a', 0)]), 'a').chosen!
    const answers = stateful(given('nftables'), [
      udp('a', 0),
      {
        time: 5,
        apply: endpoints(...THREE.map((one) => (first.startsWith(`${one.split('@')[0]}:`) ? `${one} unready` : one))),
      },
      udp('b', 6),
    ])
    expect(detail(get(answers, 'b'), 'conntrack')).toContain('miss')
    expect(get(answers, 'b').chosen).not.toBe(first)
  })
})

test('the tuple is the connection: another source port or another node is another one', () => {
  const answers = stateful(given('nftables'), [
    line('a', 0),
    line('port', 1, { from: '10.0.0.2:40001' }),
    line('node', 2, { node: 'node2' }),
    line('same', 3),
  ])
  expect(detail(get(answers, 'port'), 'conntrack')).toContain('miss')
  expect(detail(get(answers, 'node'), 'conntrack')).toContain('miss')
  expect(get(answers, 'node').node).toBe('node2')
  expect(detail(get(answers, 'same'), 'conntrack')).toContain('hit')
})

test('the same lines give the same answers', () => {
  const lines = Array.from({ length: 50 }, (_, i) => line(`l${i}`, i, { from: `10.0.0.${i % 7}:${40000 + (i % 11)}` }))
  const text = (): string => JSON.stringify([...stateful(given('ipvs'), lines).values()])
  expect(text()).toBe(text())
})

test('time begins with the first line, so seconds since 1970 do as well', () => {
  const began = 1_700_000_000
  const answers = stateful(given('nftables'), [line('a', began), line('b', began + 10)])
  expect(detail(get(answers, 'b'), 'conntrack')).toContain('86390 s left')
})
